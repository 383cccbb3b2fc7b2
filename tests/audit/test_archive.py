"""An agent's archive: complete, checkable without us, and never half-written."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from accredit.audit.archive import (
    Archived,
    seal_agent_archive,
    verify_agent_archive,
    verify_archive,
    write_archive,
)
from accredit.audit.records import header_of
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.storage.memory.records import MemoryRecordStore
from accredit.storage.parquet import LocalFolder, ParquetForm
from tests.audit.building import STREAM, filled, signer

AGENT = AgentId("agt_1")


@pytest.fixture(scope="module")
def store() -> MemoryRecordStore:
    made = MemoryRecordStore(STREAM)
    filled(made, 300)
    return made


def written(store: MemoryRecordStore, path: Path) -> Archived:
    _, checkpoint = store.checkpoints()[-1]
    return write_archive(store, path, AGENT, checkpoint=checkpoint, verifier=signer().verifier())


@pytest.mark.requirement("audit:archive:agent")
def test_an_archive_holds_every_record_of_the_agent_and_each_verifies_with_the_verifier_key_alone(
    store: MemoryRecordStore, tmp_path: Path
) -> None:
    path = tmp_path / "archive" / "agt_1.jsonl"
    made = written(store, path)
    theirs = [record.seq for record in store.records() if header_of(record)["agent"] == AGENT]
    assert (made.name, made.records) == ("agt_1.jsonl", len(theirs))
    assert signer().verifier().verify(made.checkpoint.encode()).size == store.size()
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [orjson.loads(line)["seq"] for line in path.read_bytes().splitlines()[1:]] == theirs
    assert verify_archive(path, signer().verifier()) == len(theirs)
    with pytest.raises(InvalidInputError):
        verify_archive(path, signer(b"x" * 32).verifier())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["agt_1.jsonl"]


@pytest.mark.requirement("audit:archive:agent")
def test_writing_it_again_gives_the_same_bytes(store: MemoryRecordStore, tmp_path: Path) -> None:
    path = tmp_path / "agt_1.jsonl"
    assert written(store, path) == written(store, path)


def _another(line: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return line | changes


@pytest.mark.requirement("audit:archive:agent")
@pytest.mark.parametrize(
    "change",
    [
        lambda line: _another(line, body=line["body"].replace("allow", "alloW").replace("{", "{ ", 1)),
        lambda line: _another(line, seq=line["seq"] + 1),
        lambda line: _another(line, salt="00" * 32),
        lambda line: _another(line, parts=line["parts"][1:]),
        lambda line: _another(line, parts=[[name, "AAAA"] for name, _ in line["parts"]]),
        lambda line: _another(line, header=line["header"].replace("agt_1", "agt_2")),
        lambda line: _another(line, proof=line["proof"].replace("index ", "index 1", 1)),
        lambda line: {"seq": 1},
        lambda _: [],
    ],
)
def test_no_line_of_it_can_be_changed_unnoticed(
    store: MemoryRecordStore, tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    path = tmp_path / "agt_1.jsonl"
    written(store, path)
    lines = path.read_bytes().splitlines()
    lines[3] = orjson.dumps(change(orjson.loads(lines[3])))
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(InvalidInputError):
        verify_archive(path, signer().verifier())


@pytest.mark.requirement("audit:archive:agent")
def test_an_archive_that_cannot_be_written_leaves_what_was_there(store: MemoryRecordStore, tmp_path: Path) -> None:
    path = tmp_path / "agt_1.jsonl"
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(UnavailableError):
        written(store, path)
    assert [each.name for each in tmp_path.iterdir()] == ["agt_1.jsonl"]
    with pytest.raises(UnavailableError):
        verify_archive(path, signer().verifier())


def sealed(store: MemoryRecordStore, path: Path) -> Archived:
    _, checkpoint = store.checkpoints()[-1]
    return seal_agent_archive(
        store, LocalFolder(path), ParquetForm(), AGENT, name="agt_1", checkpoint=checkpoint,
        verifier=signer().verifier(),
    )  # fmt: skip


@pytest.mark.requirement("audit:archive:agent")
def test_a_columnar_archive_of_an_agent_verifies_alone_and_not_once_a_byte_of_it_is_another(
    store: MemoryRecordStore, tmp_path: Path
) -> None:
    path = tmp_path / "agt_1"
    made = sealed(store, path)
    theirs = [record.seq for record in store.records() if header_of(record)["agent"] == AGENT]
    assert made == Archived("agt_1", hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest(), len(theirs),
                            made.checkpoint)  # fmt: skip

    def verified() -> int:
        return verify_agent_archive(LocalFolder(path), ParquetForm(), signer().verifier())

    assert verified() == len(theirs)
    assert pq.read_table(path / "records.parquet", columns=["seq"]).column("seq").to_pylist() == theirs
    assert sealed(store, path) == made, "writing it again gives the same"
    with pytest.raises(InvalidInputError):
        verify_agent_archive(LocalFolder(path), ParquetForm(), signer(b"x" * 32).verifier())
    for name in ("manifest.json", "proofs.jsonl", "records.parquet"):
        kept = (path / name).read_bytes()
        for spoiled in (kept[: len(kept) // 2], kept[:-9] + b"#" + kept[-8:], None):
            if spoiled is None:
                (path / name).unlink()
            else:
                (path / name).write_bytes(spoiled)
            with pytest.raises(InvalidInputError):
                verified()
        (path / name).write_bytes(kept)
    # whoever rewrites the digests as well still cannot make a record of it that was never signed
    manifest = orjson.loads((path / "manifest.json").read_bytes())
    lines = (path / "proofs.jsonl").read_bytes().splitlines()
    swapped = b"\n".join([lines[1], lines[0], *lines[2:]]) + b"\n"
    (path / "proofs.jsonl").write_bytes(swapped)
    manifest["files"]["proofs.jsonl"] = hashlib.sha256(swapped).hexdigest()
    (path / "manifest.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(InvalidInputError):
        verified()
