"""An archive in Parquet: what it holds, what it proves, and what any change to it comes to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accredit.audit import sealed_archive
from accredit.audit.sealed_archive import SealedArchive, seal_archive
from accredit.audit.verify import Anchor, VerifyReport, verify_log
from accredit.kernel.errors import AccreditError, InvalidInputError, UnavailableError
from accredit.storage.parquet import LocalFolder, ParquetForm
from accredit.storage.sqlite.records import SqliteRecordStore
from tests.audit.building import appended, control, decision, filled, new_store, signer, writing

FORM = ParquetForm()


def sealed(store: SqliteRecordStore, directory: Path) -> int:
    return seal_archive(
        store, LocalFolder(directory), FORM, checkpoint=store.checkpoints()[-1][1], verifier=signer().verifier()
    )


def judged(directory: Path, anchor: bytes | None = None) -> VerifyReport:
    archive = SealedArchive(LocalFolder(directory), FORM)
    anchors = [Anchor("kept", anchor)] if anchor else []
    report = verify_log(lambda: archive, verifier=signer().verifier(), anchors=anchors, rollups=False)
    if report.ok:
        archive.require_whole()
    return report


def stored(directory: Path, count: int) -> SqliteRecordStore:
    store = new_store("sqlite", directory)
    assert isinstance(store, SqliteRecordStore)
    filled(store, count)
    return store


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one tile, so that a small log has several."""
    monkeypatch.setattr(sealed_archive, "RANGE", 256)


@pytest.mark.requirement("keeping:archive:proven")
def test_an_archive_has_the_exact_bytes_of_every_record_and_no_key(tmp_path: Path, ranges: None) -> None:
    del ranges
    store = stored(tmp_path, 700)
    size = sealed(store, tmp_path / "archive")
    archive = SealedArchive(LocalFolder(tmp_path / "archive"), FORM)
    assert size == archive.size() == store.size()
    assert list(archive.rows(0, size)) == list(store.rows(0, size))
    assert list(archive.rows(250, 520)) == list(store.rows(250, 520))
    assert archive.hashes(1, 0, 2) == store.hashes(1, 0, 2)
    assert len(archive.files) == 3
    report = judged(tmp_path / "archive", store.checkpoints()[-1][1])
    assert (report.ok, report.size, report.signed) == (True, size, size)
    held = b"".join(one.read_bytes() for one in (tmp_path / "archive").iterdir())
    wrapped = [key for keys in store.wrapped_keys(0, size).values() for key in keys.values()]
    assert wrapped
    assert not [one for one in wrapped if one[:16] in held]
    tables = [pq.read_table(tmp_path / "archive" / one["name"]) for one in archive.files]
    assert pa.concat_tables(tables).column("kind").to_pylist().count("decision") == store.kind_counts()["decision"]


@pytest.mark.requirement("keeping:archive:continued")
def test_archiving_again_writes_what_is_new_and_what_was_changed(tmp_path: Path, ranges: None) -> None:
    del ranges
    store, directory = stored(tmp_path, 300), tmp_path / "archive"
    sealed(store, directory)
    first = directory / "records-000000000000.parquet"
    untouched = first.stat().st_ino
    with writing(store, seed=2) as log:
        appended(log, [decision(number) for number in range(1_000, 1_300)])
    assert sealed(store, directory) == store.size()
    assert first.stat().st_ino == untouched
    assert judged(directory).ok
    data = first.read_bytes()
    first.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    sealed(store, directory)
    assert first.read_bytes() == data
    assert judged(directory).ok


@pytest.mark.requirement("keeping:archive:continued")
def test_a_folder_with_another_logs_archive_or_a_longer_one_is_left_as_it_is(tmp_path: Path) -> None:
    store, directory = stored(tmp_path, 40), tmp_path / "archive"
    sealed(store, directory)
    before = {one.name: one.read_bytes() for one in directory.iterdir()}
    with pytest.raises(InvalidInputError):
        seal_archive(
            store, LocalFolder(directory), FORM, checkpoint=store.checkpoints()[0][1], verifier=signer().verifier()
        )
    manifest = orjson.loads(before["manifest.json"])
    (directory / "manifest.json").write_bytes(orjson.dumps(manifest | {"stream": "str_other"}))
    with pytest.raises(InvalidInputError):
        sealed(store, directory)
    assert (directory / "checkpoints.json").read_bytes() == before["checkpoints.json"]


class BrokenError(Exception):
    """The process is gone."""


@pytest.mark.requirement("keeping:archive:continued")
@pytest.mark.parametrize("dies_at", range(5))
def test_killed_while_it_is_written_an_archive_is_what_it_was_or_complete(
    tmp_path: Path, ranges: None, dies_at: int
) -> None:
    del ranges
    store, directory = stored(tmp_path, 300), tmp_path / "archive"
    sealed(store, directory)
    with writing(store, seed=2) as log:
        appended(log, [control(number) for number in range(1_000, 1_400)])

    class Dying(LocalFolder):
        left = dies_at

        def create(self, name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as the folder's own
            if self.left == 0:
                raise BrokenError
            self.left -= 1
            return super().create(name)

    with pytest.raises(BrokenError) if dies_at < 4 else pytest.MonkeyPatch.context():
        seal_archive(store, Dying(directory), FORM, checkpoint=store.checkpoints()[-1][1], verifier=signer().verifier())
    sealed(store, directory)
    report = judged(directory)
    assert (report.ok, report.size) == (True, store.size())


def _rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        path = directory / "records-000000000000.parquet"
        pq.write_table(change(pq.read_table(path)), path, compression="zstd", row_group_size=2_048)

    return spoil


def _with(name: str, place: int, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table.column(name).to_pylist()
        values[place] = value
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))

    return change


def _flipped(name: str) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        value = table.column(name).to_pylist()[3]
        return _with(name, 3, value[:-1] + bytes([value[-1] ^ 1]))(table)

    return _rewritten(change)


SPOILED: dict[str, Callable[[Path], object]] = {
    "a file is gone": lambda at: (at / "records-000000000000.parquet").unlink(),
    "a file is cut": lambda at: (at / "records-000000000000.parquet").write_bytes(
        (at / "records-000000000000.parquet").read_bytes()[:-200]
    ),
    "the checkpoints are gone": lambda at: (at / "checkpoints.json").unlink(),
    "a decision is another in its column": _rewritten(_with("decision", 3, "deny")),
    "a time is another in its column": _rewritten(_with("time", 3, 5)),
    "an agent is another in its column": _rewritten(_with("agent", 3, "agt_other")),
    "an outbox id is another": _rewritten(_with("outbox", 3, "out_other")),
    "a place is another": _rewritten(_with("seq", 3, 4)),
    "a record is gone": _rewritten(lambda table: table.slice(0, table.num_rows - 1)),
    "the first record is gone": _rewritten(lambda table: table.slice(1)),
    "a column is gone": _rewritten(lambda table: table.drop_columns(["tool"])),
    "a body is another": _flipped("body"),
    "a header is another": _flipped("header"),
    "a leaf is another": _flipped("leaf"),
    "a sealed part is another": _flipped("sealed"),
    "the same rows stand in another file": _rewritten(lambda table: table),
}


@pytest.mark.requirement("keeping:archive:proven")
@pytest.mark.parametrize("what", sorted(SPOILED))
def test_any_change_to_an_archive_is_found(tmp_path: Path, what: str) -> None:
    store, directory = stored(tmp_path, 30), tmp_path / "archive"
    sealed(store, directory)
    assert judged(directory).ok
    SPOILED[what](directory)
    if what == "the same rows stand in another file":
        path = directory / "records-000000000000.parquet"
        pq.write_table(pq.read_table(path), path, compression="gzip", row_group_size=2_048)
    try:
        found = not judged(directory).ok
    except AccreditError:
        found = True
    assert found


@pytest.mark.requirement("keeping:archive:proven")
def test_an_archive_that_was_cut_short_is_found_against_a_checkpoint_kept_elsewhere(tmp_path: Path) -> None:
    store = stored(tmp_path, 60)
    shorter = tmp_path / "shorter"
    seal_archive(store, LocalFolder(shorter), FORM, checkpoint=store.checkpoints()[0][1], verifier=signer().verifier())
    assert judged(shorter).ok
    assert not judged(shorter, store.checkpoints()[-1][1]).ok


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    store = stored(tmp_path, 10)
    (tmp_path / "archive").write_text("a file")
    with pytest.raises(UnavailableError):
        sealed(store, tmp_path / "archive")
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    with pytest.raises(InvalidInputError):
        SealedArchive(LocalFolder(tmp_path / "none"), FORM)
