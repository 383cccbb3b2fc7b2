"""Every verb against a running installation: what it does, what it says, and with which code it ends."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from accredit.cli.output import Format, plain, show
from accredit.demo import fleet
from tests.api.installation import Installation
from tests.cli.conftest import Cli


def _files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.requirement("cli:output:formats")
def test_whatever_is_listed_is_the_same_in_all_three_formats(signed_in: Cli) -> None:
    for command in (
        ["agent", "list"], ["team", "list"], ["person", "list"], ["issuer", "list"], ["server", "list"],
        ["credential", "list"], ["credential", "upstream"], ["hold", "list", "--state", "all"], ["token", "list"],
        ["whoami"], ["policy", "show"], ["agent", "get", "ticket-counter"], ["limits", "show", "ticket-counter"],
        ["server", "get", "crm"], ["agent", "usage", "ticket-counter"], ["agent", "logs", "ticket-counter"],
        ["audit", "tail", "--kind", "policy.published"], ["agent", "tier", "ticket-counter"],
        ["agent", "validation", "ticket-counter"], ["agent", "plan", "ticket-counter"],
        ["agent", "timeline", "ticket-counter"], ["approval", "list", "--state", "all"], ["role", "list"],
        ["group", "list"], ["delegation", "list"], ["agreement", "list"], ["alert", "list"], ["restriction", "list"],
        ["incident", "list"], ["schema", "agent"], ["schema", "assessment"],
    ):  # fmt: skip
        shown = {kind: signed_in(*command, "-o", kind) for kind in ("json", "yaml", "table")}
        assert {ran.code for ran in shown.values()} == {0}, command
        found = shown["json"].json
        assert set(yaml.safe_load(shown["yaml"].out)) == set(found)
        assert shown["table"].out, command


@pytest.mark.requirement("cli:agent:answers")
def test_agent_get_says_who_owns_it_and_what_it_may_touch(signed_in: Cli) -> None:
    found = signed_in("agent", "get", "development/support-copilot", "-o", "json").json
    assert found["owner"] == "dana@example.com"
    assert found["team"] == "customer-support"
    assert {tool["tool"] for tool in found["tools"]} == {"crm/read_customer", "crm/search_orders"}
    assert {tool["user_role"] for tool in found["tools"]} == {"customer-support"}
    assert found["data"] == ["personal"]
    assert [one["state"] for one in found["credentials"]] == ["active"]
    assert signed_in("agent", "get", "nobody").code == 6
    table = signed_in("agent", "get", "support-copilot").out
    assert "dana@example.com" in table
    assert "crm/read_customer" in table


@pytest.mark.requirement("cli:apply:all")
def test_apply_takes_files_and_directories_and_all_or_nothing_of_them(signed_in: Cli, tmp_path: Path) -> None:
    def person(address: str) -> str:
        return f"apiVersion: accredit/v1\nkind: Person\nspec: {{email: {address}}}\n"

    team = "apiVersion: accredit/v1\nkind: Team\nmetadata: {name: by-file}\nspec: {zones: [UTC]}\n"
    _files(tmp_path, {"one.yaml": person("one@example.com"), "more/a.yaml": person("a@example.com"),
                      "more/deep/t.yml": team, "more/notes.txt": "not a manifest"})  # fmt: skip
    ran = signed_in("apply", "-f", "one.yaml", "-f", "more", "-o", "json")
    assert (ran.code, {one["result"] for one in ran.json["items"]}) == (0, {"created"})
    again = signed_in("apply", "-f", "one.yaml", "-f", "more", "-o", "json")
    assert {one["result"] for one in again.json["items"]} == {"unchanged"}
    _files(tmp_path, {"bad/a.yaml": person("never@example.com"), "bad/b.yaml": person("x@example.com") + "x: 1\n"})
    ran = signed_in("apply", "-f", "bad")
    assert ran.code == 1
    assert "manifest_invalid" in ran.err
    assert "never@example.com" not in signed_in("person", "list").out


@pytest.mark.requirement("cli:errors:expected")
def test_what_cannot_work_says_so_with_a_hint_and_the_code_of_its_kind(
    signed_in: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").mkdir()
    for words, code, said in (
        (["apply", "-f", "missing.yaml"], 6, "missing.yaml"),
        (["apply", "-f", "binary.yaml"], 1, "not UTF-8"),
        (["apply", "-f", "empty"], 6, "holds no"),
        (["apply"], 2, ""),
        (["policy", "lint", "missing"], 6, "not a directory"),
        (["policy", "publish", "empty"], 6, "holds no"),
        (["policy", "explain", "dec_none"], 6, "dec_none"),
        (["hold", "get", "hld_none"], 6, "hold"),
        (["server", "repin", "none"], 6, "server"),
        (["credential", "revoke", "crd_none", "--reason", "x"], 6, "cred"),
        (["credential", "confirm", "crd_none", "--thumbprint", "-xyz"], 6, "cred"),
        (["agent", "enrol", "none", "--thumbprint", "-x"], 6, "none"),
        (["token", "revoke", "tok_none"], 6, "token"),
        (["audit", "prove", "999999999"], 6, "record"),
        (["audit", "prove", "1", "--to", "no/such/folder/p"], 1, "cannot be written"),
        (["audit", "tail", "--limit", "0"], 1, "limit"),
        (["audit", "verify", "missing"], 6, "data directory"),
        (["audit", "export", "out", "--data", "missing"], 6, "data directory"),
        (["doctor", "--data", "missing"], 6, "data directory"),
        (["login", "http://127.0.0.1:1"], 1, "quotes"),
        (["agent", "get"], 2, ""),
        (["nothing"], 2, ""),
        (["credential", "set", "k", "--origin", "http://127.0.0.1:1"], 1, "no value"),
    ):
        ran = signed_in(*words)
        assert ran.code == code, (words, ran)
        assert said in ran.err, (words, ran)
        assert not ran.out, words
    monkeypatch.setenv("ACCREDIT_URL", "http://127.0.0.1:1")
    ran = signed_in("agent", "list")
    assert ran.code == 1
    assert "no accredit answers at `http://127.0.0.1:1`" in ran.err
    assert "hint: " in ran.err
    monkeypatch.setenv("ACCREDIT_URL", "http://[")
    assert signed_in("agent", "list").code == 1


@pytest.mark.requirement("cli:errors:expected")
def test_whoever_is_not_signed_in_is_told_and_where_the_server_here_answers(
    cli: Cli, place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCREDIT_DATA", str(place.data))
    monkeypatch.setenv("ACCREDIT_URL", "http://127.0.0.1:1")
    assert f"is held by the server at {place.url}" in cli("agent", "list").err
    monkeypatch.setenv("ACCREDIT_URL", place.url)
    ran = cli("agent", "list")
    assert ran.code == 5
    assert "you are not signed in" in ran.err
    assert "accredit login LINK" in ran.err
    assert "is held by" not in ran.err, "it was asked already"


@pytest.mark.requirement("cli:profile:private")
def test_signing_in_works_once_and_keeps_the_token_where_only_its_owner_reads_it(
    cli: Cli, place: Installation, tmp_path: Path
) -> None:
    ran = cli("login", place.link)
    assert ran.code == 5
    assert "link_invalid" in ran.err
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"url": place.url, "token": place.token, "checkpoint": ""}))
    profile.chmod(0o640)
    ran = cli("whoami")
    assert ran.code == 1
    assert "open to others" in ran.err
    profile.chmod(0o600)
    assert cli("whoami").code == 0
    profile.write_text("{")
    assert "not a profile" in cli("whoami").err


@pytest.mark.requirement("cli:profile:private")
def test_a_further_token_goes_into_a_profile_file_and_is_never_printed(
    signed_in: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = signed_in("token", "issue", "ci", "--to", tmp_path / "ci.json", "-o", "json")
    made = json.loads((tmp_path / "ci.json").read_text())["token"]
    assert made.startswith("accp_")
    assert made not in ran.out + ran.err
    assert stat.S_IMODE((tmp_path / "ci.json").stat().st_mode) == 0o600
    assert signed_in("token", "issue", "ci", "--to", tmp_path / "ci.json").code == 1
    monkeypatch.setenv("ACCREDIT_PROFILE", str(tmp_path / "ci.json"))
    assert signed_in("whoami", "-o", "json").json["scopes"] == ["read"]
    refused = signed_in("agent", "enrol", "ticket-counter")
    assert (refused.code, "not_authorised" in refused.err) == (5, True)
    assert signed_in("token", "revoke", ran.json["id"]).code == 0, "a token may always end itself"
    assert signed_in("whoami").code == 5


@pytest.mark.requirement("cli:credential:stdin")
def test_an_upstream_credential_is_read_from_standard_input_alone(signed_in: Cli, place: Installation) -> None:
    ran = signed_in("credential", "set", "spare", "--origin", "http://127.0.0.1:9", stdin="s3cr3t-value\n")
    assert ran.code == 0
    assert "s3cr3t-value" not in ran.out + ran.err + signed_in("credential", "upstream").out
    assert signed_in("credential", "set", "spare", "s3cr3t-value", "--origin", "http://127.0.0.1:9").code == 2


@pytest.mark.requirement("cli:policy:findings")
def test_lint_ends_with_1_when_it_finds_something_and_publish_shows_what(signed_in: Cli, tmp_path: Path) -> None:
    bad = _files(tmp_path / "bad", {"org/a.cedar": "forbid(principal", "org/b.cedar": "permit(principal"})
    ran = signed_in("policy", "lint", bad, "-o", "json")
    assert (ran.code, len(ran.json["items"])) == (1, 2)
    ran = signed_in("policy", "publish", bad)
    assert ran.code == 1
    assert "org/a.cedar" in ran.out
    assert "org/b.cedar" in ran.out
    assert "policy_invalid" in ran.err
    good = _files(tmp_path / "good", fleet.policies())
    assert signed_in("policy", "lint", good).code == 0
    more = _files(tmp_path / "more", {**fleet.policies(), "org/zz.cedar":
                  'forbid(principal, action == Action::"crm/delete_customer", resource);'})  # fmt: skip
    ran = signed_in("policy", "publish", more, "-o", "json")
    assert ran.code == 0, ran.err
    assert ran.json["basis"] == "single-admin"
    assert signed_in("policy", "publish", good).code == 0


def _held(place: Installation, cents: int) -> str:
    told = place.call("refund-desk", "refund_order", {"order_id": "o-1\u202e\x1b[2J", "cents": cents})
    return str(told.structured_content["hold"])


@pytest.mark.requirement("cli:hold:view")
def test_what_is_approved_is_exactly_the_text_that_was_shown(signed_in: Cli, place: Installation) -> None:
    hold = _held(place, 4900)
    found = signed_in("hold", "get", hold, "-o", "json").json
    shown = signed_in("hold", "get", hold)
    assert shown.out.startswith(found["view"] + "\n")
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    assert "4900" in shown.out
    blind = signed_in("hold", "approve", hold)
    assert blind.code == 1
    assert blind.out.startswith(found["view"] + "\n"), "shown before it is asked"
    assert "no terminal" in blind.err
    other = signed_in("hold", "approve", hold, "--view-digest", "sha256:" + "0" * 64)
    assert other.code == 1
    ran = signed_in("hold", "approve", hold, "--view-digest", found["view_digest"], "-o", "json")
    assert (ran.code, ran.json["state"]) == (0, "granted")
    assert {one["basis"] for one in signed_in("hold", "get", hold, "-o", "json").json["grants"]} == {"single-admin"}
    denied = _held(place, 1)
    assert signed_in("hold", "deny", denied, "--reason", "no", "-o", "json").json["state"] == "denied"


@pytest.mark.requirement("cli:hold:view")
def test_at_a_terminal_the_person_is_asked_and_only_yes_is_yes(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    import pty

    hold = _held(place, 12)
    environ = {**os.environ, "ACCREDIT_PROFILE": str(tmp_path / "profile.json")}
    for said, code in (("n\n", 1), ("y\n", 0)):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, said.encode())
            command = [sys.executable, "-c", "from accredit.cli import main; main()", "hold", "approve", hold]
            ran = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, env=environ,
                                 check=False)  # fmt: skip
        finally:
            os.close(ours)
            os.close(theirs)
        assert ran.returncode == code, ran.stderr
        assert "[y/N]" in ran.stderr
        assert '"cents": 12' in ran.stdout


@pytest.mark.requirement("cli:output:escaped")
def test_text_of_agents_and_tools_cannot_play_with_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for hidden in ("\x1b[31m", "\x07", "\u202e", "\u200b", "\u2028", "\U000e0041", "\ud800", "\r\n", "\x9b"):
        shown = plain(f"a{hidden}b")
        assert shown.isascii()
        assert shown.isprintable()
        assert shown != "ab"
    assert plain("grün 東京") == "grün 東京"
    show({"of\x1b": [{"na\u202eme": "\x07"}, {"na\u202eme": ["a\x9b", {"k\u200b": 1}]}]}, Format.TABLE)
    assert capsys.readouterr().out.replace("\n", "").isprintable()


@pytest.mark.requirement("cli:help:nothing")
def test_help_and_version_start_nothing(tmp_path: Path) -> None:
    for words in (["--version"], ["--help"], ["up", "--help"], ["doctor", "--help"]):
        script = (
            "import sys; from accredit.cli import main\n"
            "try:\n main()\nfinally:\n"
            " heavy = {'accredit.bootstrap', 'uvicorn', 'httpx2', 'sqlite3', 'cedarpy'} & set(sys.modules)\n"
            " assert not heavy, heavy\n"
            f" assert {words!r} != ['--version'] or 'cyclopts' not in sys.modules\n"
        )
        ran = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True,
                             timeout=60, check=False)  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("cli:revoke:now")
def test_revoking_says_what_it_reached(signed_in: Cli, place: Installation) -> None:
    ran = signed_in("agent", "enrol", "ticket-counter", "-o", "json")
    assert ran.json["join_token"].startswith("accj_")
    assert ran.code == 0
    refused: Any = signed_in("agent", "revoke", "nobody", "--reason", "x")
    assert refused.code == 6
    assert signed_in("agent", "revoke", "support-copilot").code == 2, "a reason is owed"
