"""What works beside a server, or without one: verify, export, doctor. And what a kept checkpoint finds."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from accredit.cli.profile import keep_checkpoint
from tests.api.installation import Installation
from tests.cli.conftest import Cli


def _copy(place: Installation, target: Path) -> Path:
    """The data directory as it is now, without the server that holds it."""
    place.do(place.plane.enforcer.drained())
    target.mkdir(mode=0o700)
    for file in place.data.iterdir():
        if (
            file.is_file()
            and file.suffix != ".lock"
            and not file.name.startswith(("audit.db", "control.db", "deferred.db"))
        ):
            shutil.copy2(file, target / file.name)
    for name in ("audit.db", "control.db"):
        with sqlite3.connect(place.data / name) as original, sqlite3.connect(target / name) as copy:
            original.backup(copy)
        original.close()
        copy.close()
    return target


@pytest.mark.requirement("cli:offline:beside")
def test_verify_export_and_doctor_work_beside_the_server_and_repair_does_not(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    ran = signed_in("audit", "verify", place.data, "-o", "json")
    assert (ran.code, ran.json["verified"]) == (0, True)
    assert signed_in("audit", "verify", place.data, "--open", "-o", "json").json["parts_opened"] > 0
    ran = signed_in("doctor", "--data", place.data, "-o", "json")
    assert (ran.code, ran.json["sound"]) == (0, True)
    ran = signed_in("doctor", "--confirm-clock", "-o", "json")
    assert (ran.code, abs(ran.json["confirmed_step_s"]) < 2) == (0, True)
    ran = signed_in("doctor", "--data", place.data, "--repair")
    assert ran.code == 1
    assert "data_directory_held" in ran.err
    assert place.url in ran.err
    ran = signed_in("up", "--data", place.data, "--port", "0")
    assert ran.code == 1
    assert place.url in ran.err


@pytest.mark.requirement("cli:offline:export")
def test_an_export_verifies_anywhere_and_says_on_what_basis_people_acted(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    signed_in("agent", "enrol", "ticket-counter")
    place.checkpoint()  # an export reaches as far as the newest checkpoint
    ran = signed_in("audit", "export", "out", "--data", place.data, "-o", "json")
    assert ran.code == 0, ran.err
    assert ran.json["bases"] == ["bootstrap", "single-admin"]
    vkey = place.world.running.vkey
    assert vkey in ran.json["verify"]
    ran = signed_in("audit", "verify", "out", "--vkey", vkey, "-o", "json")
    assert (ran.code, ran.json["verified"], ran.json["bases"]) == (0, True, ["bootstrap", "single-admin"])
    assert signed_in("audit", "verify", "out").code == 1, "the key must come from elsewhere"
    assert signed_in("audit", "export", "out", "--data", place.data).code == 1, "nothing is written over"
    manifest = tmp_path / "out" / "manifest.json"
    told = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**told, "bases": []}))
    ran = signed_in("audit", "verify", "out", "--vkey", vkey, "-o", "json")
    assert (ran.code, ran.json["what"]) == (1, "the manifest states other bases of authority than the records")
    manifest.write_text(json.dumps(told))
    bundle = next(path for path in (tmp_path / "out" / "records").rglob("*") if path.is_file())
    content = bytearray(bundle.read_bytes())
    content[200] ^= 1
    bundle.write_bytes(content)
    assert signed_in("audit", "verify", "out", "--vkey", vkey).code == 1


@pytest.mark.requirement("cli:offline:truncated")
def test_a_log_cut_short_is_found_against_the_checkpoint_kept_in_the_profile(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    place.checkpoint()
    signed_in("agent", "enrol", "ticket-counter")
    kept = json.loads((tmp_path / "profile.json").read_text())["checkpoint"]
    assert kept.startswith("accredit.log/")
    place.checkpoint()
    cut = _copy(place, tmp_path / "cut")
    assert signed_in("audit", "verify", cut).code == 0
    size = int(kept.split("\n")[1])
    with sqlite3.connect(cut / "audit.db") as log:
        log.execute("DELETE FROM records WHERE seq >= ?", (size - 2,))
        log.execute("DELETE FROM checkpoints WHERE size > ?", (size - 2,))
    log.close()
    (cut / "checkpoint").unlink()
    ran = signed_in("audit", "verify", cut, "-o", "json")
    assert (ran.code, ran.json["verified"]) == (1, False)
    note = tmp_path / "kept"
    note.write_text(kept)
    assert signed_in("audit", "verify", cut, "--checkpoint", note).code == 1
    assert signed_in("audit", "verify", cut, "--checkpoint", "missing").code == 6


@pytest.mark.requirement("cli:offline:truncated")
def test_the_kept_checkpoint_is_not_given_up_for_one_an_honest_log_could_not_show(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    environ = {"ACCREDIT_PROFILE": str(tmp_path / "profile.json")}
    older = place.checkpoint()
    signed_in("agent", "enrol", "ticket-counter")
    newer = place.checkpoint()
    assert keep_checkpoint(environ, place.url, newer.decode()) == ""
    before = (tmp_path / "profile.json").read_text()
    assert "cut off or replaced" in keep_checkpoint(environ, place.url, older.decode())
    lines = newer.decode().split("\n")
    other_root = "\n".join([lines[0], lines[1], older.decode().split("\n")[2], *lines[3:]])
    assert "cut off or replaced" in keep_checkpoint(environ, place.url, other_root)
    assert "another" in keep_checkpoint(environ, place.url, newer.decode().replace("accredit.log", "accredit.lag", 1))
    assert "read" in keep_checkpoint(environ, place.url, "nonsense")
    assert keep_checkpoint(environ, "http://127.0.0.1:1", "nonsense") == "", "not this profile's log"
    assert (tmp_path / "profile.json").read_text() == before


@pytest.mark.requirement("cli:offline:beside")
def test_doctor_finds_a_row_that_somebody_changed_and_repair_puts_it_right(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    copy = _copy(place, tmp_path / "changed")
    assert signed_in("doctor", "--data", copy).code == 0
    with sqlite3.connect(copy / "control.db") as state:
        (table,) = [name for (name,) in state.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                    if any(column[1] == "doc" for column in state.execute(f"PRAGMA table_info({name})"))]  # fmt: skip
        state.execute(f"DELETE FROM {table} WHERE kind = 'agent'")  # noqa: S608 - a name from the schema
    state.close()
    ran = signed_in("doctor", "--data", copy, "-o", "json")
    assert (ran.code, {one["finding"] for one in ran.json["differences"]}) == (1, {"missing"})
    assert signed_in("doctor", "--data", copy, "--repair").code == 0
    assert signed_in("doctor", "--data", copy, "-o", "json").json["sound"] is True


@pytest.mark.requirement("cli:offline:prove")
def test_a_proof_can_be_written_printed_or_given_as_json_and_verifies_anywhere(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    assert signed_in("audit", "prove", "2", "--to", "p.tlog-proof").code == 0
    written = (tmp_path / "p.tlog-proof").read_text()
    assert re.match(r"c2sp\.org/tlog-proof@v1\nextra [A-Za-z0-9+/=]+\nindex 2\n", written)
    verified = signed_in("audit", "verify", "p.tlog-proof", "--vkey", place.world.running.vkey, "-o", "json")
    assert verified.json["verified"] is True
    assert verified.json["header"]["seq"] == verified.json["record"] == 2
    (tmp_path / "p.tlog-proof").write_text(written.replace("index 2", "index 1"))
    assert signed_in("audit", "verify", "p.tlog-proof", "--vkey", place.world.running.vkey).code == 1
    assert signed_in("audit", "verify", "p.tlog-proof").code == 1
    assert signed_in("audit", "prove", "2").out.split("\n")[:2] == written.split("\n")[:2]
    assert signed_in("audit", "prove", "2", "-o", "json").json["proof"].split("\n")[2] == "index 2"
