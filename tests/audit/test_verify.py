"""Whatever is changed in a real log file is found, and the first bad record named."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accredit.audit.merkle import leaf_hash
from accredit.audit.model import Entry, Facts, StoredRow
from accredit.audit.records import PART_ERASED, leaf_data
from accredit.audit.verify import NO_ANCHOR, Anchor, VerifyReport, verify_log
from accredit.audit.writer import LogSettings, LogWriter
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.storage.sqlite.records import SqliteRecordReader, SqliteRecordStore
from tests.audit.building import STREAM, appended, control, decision, filled, keys, signer, writing

_COUNT = 30


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "audit.db"
    store = SqliteRecordStore(path, stream=STREAM)
    filled(store, _COUNT)
    store.close()
    return path


@pytest.fixture
def copy(pristine: Path, tmp_path: Path) -> Path:
    for path in pristine.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / pristine.name


def _verify(path: Path, **given: Any) -> VerifyReport:
    opened: list[SqliteRecordReader] = []

    def reader() -> SqliteRecordReader:
        opened.append(SqliteRecordReader(path))
        return opened[-1]

    try:
        return verify_log(reader, verifier=signer().verifier(), **given)
    finally:
        for each in opened:
            each.close()


def _change(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.commit()


def _newest(path: Path) -> bytes:
    with closing(SqliteRecordReader(path)) as reader:
        return reader.checkpoints()[-1][1]


@pytest.mark.requirement("audit:verify:anchor")
def test_an_untouched_log_verifies_and_says_what_that_does_not_show(pristine: Path) -> None:
    plain, opened = _verify(pristine), _verify(pristine, keys=keys())
    for report in (plain, opened):
        assert report.ok
        assert report.first_bad is None
        assert report.size == report.signed > _COUNT
        assert (report.anchor, report.caveat) == ("none", NO_ANCHOR)
        assert "newest records and checkpoints were removed" in report.caveat
    assert (plain.opened, opened.opened, opened.erased) == (0, 3 * 24, 0)
    anchored = _verify(pristine, anchors=[Anchor("local file", _newest(pristine))])
    assert anchored.ok
    assert anchored.anchor == "local file"
    assert anchored.caveat != NO_ANCHOR


def _cell(store: SqliteRecordStore, column: str, seq: int) -> bytes:
    ((stored,),) = store._read(f"SELECT {column} FROM records WHERE seq = {seq}")  # noqa: S608 - names of this test
    assert isinstance(stored, bytes)
    return stored


def _set(store: SqliteRecordStore, column: str, seq: int, value: object) -> None:
    store._writing.execute(f"UPDATE records SET {column} = ? WHERE seq = ?", (value, seq))  # noqa: S608 - as above


_COLUMNS = ["header", "body", "leaf", "sealed"]


@pytest.mark.requirement("audit:verify:bytes")
@pytest.mark.parametrize("column", _COLUMNS)
def test_every_single_changed_byte_of_a_record_is_found_in_that_record(copy: Path, column: str) -> None:
    store, verifier = SqliteRecordStore(copy), signer().verifier()
    seq = 7
    stored = _cell(store, column, seq)
    assert len(stored) >= 32
    for at in range(len(stored)):
        _set(store, column, seq, stored[:at] + bytes([stored[at] ^ (1 << at % 8)]) + stored[at + 1 :])
        report = verify_log(lambda: store, verifier=verifier)
        assert not report.ok, f"byte {at} of {column}"
        assert report.first_bad == seq, f"byte {at} of {column}: {report.what}"
    _set(store, column, seq, stored)
    assert verify_log(lambda: store, verifier=verifier).ok
    store.close()


@pytest.mark.requirement("audit:verify:bytes")
@given(seq=st.integers(0, _COUNT), column=st.sampled_from(_COLUMNS), data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_changed_added_or_removed_anywhere_are_found_where_they_are(
    copy: Path, seq: int, column: str, data: st.DataObject
) -> None:
    with closing(SqliteRecordStore(copy)) as store:
        stored = _cell(store, column, seq)
        at = data.draw(st.integers(0, len(stored)))
        changed = stored[:at] + data.draw(st.binary(max_size=5)) + stored[at + data.draw(st.integers(0, 5)) :]
        _set(store, column, seq, changed)
        report = verify_log(lambda: store, verifier=signer().verifier())
        _set(store, column, seq, stored)
        assert report.ok is (changed == stored)
        assert report.first_bad == (None if changed == stored else seq)


@pytest.mark.requirement("audit:verify:bytes")
@pytest.mark.parametrize("value", [b"", "text", 7, 1.5])
@pytest.mark.parametrize("column", _COLUMNS)
def test_a_cell_of_another_type_is_found(copy: Path, column: str, value: object) -> None:
    with closing(SqliteRecordStore(copy)) as store:
        _set(store, column, 7, value)
    assert _verify(copy).first_bad == 7


@pytest.mark.requirement("audit:verify:bytes")
def test_a_record_on_a_page_that_cannot_be_read_is_named(pristine: Path) -> None:
    class Unreadable(SqliteRecordReader):
        def rows(self, start: int, stop: int) -> Iterator[StoredRow]:
            if start <= 11 < stop:
                raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the page is gone")
            return super().rows(start, stop)

    with closing(Unreadable(pristine)) as reader:
        report = verify_log(lambda: reader, verifier=signer().verifier())
    assert (report.ok, report.first_bad) == (False, 11)


@pytest.mark.requirement("audit:verify:bytes")
def test_a_changed_outbox_id_is_found(copy: Path) -> None:
    _change(copy, ("UPDATE records SET outbox = 'out_x' WHERE outbox = 'out_9'", ()))
    with closing(SqliteRecordReader(copy)) as reader:
        seq = reader.by_outbox("out_x")
    assert _verify(copy).first_bad == seq


@pytest.mark.requirement("audit:verify:order")
@pytest.mark.parametrize("seq", range(_COUNT + 1))
def test_a_record_dropped_or_swapped_or_moved_down_is_named(pristine: Path, tmp_path: Path, seq: int) -> None:
    path = tmp_path / "changed.db"

    def first_bad(*statements: tuple[str, tuple[object, ...]]) -> int | None:
        shutil.copy(pristine, path)
        _change(path, *statements)
        report = _verify(path)
        assert not report.ok
        return report.first_bad

    gone: tuple[str, tuple[object, ...]] = ("DELETE FROM records WHERE seq = ?", (seq,))
    assert first_bad(gone) == seq
    # the gap closed again: every later record moves down by one
    closed: tuple[str, tuple[object, ...]] = ("UPDATE records SET seq = seq - 1 WHERE seq > ?", (seq,))
    assert first_bad(gone, closed) == seq
    swap: list[tuple[str, tuple[object, ...]]] = [
        ("UPDATE records SET seq = -1 WHERE seq = ?", (seq,)),
        ("UPDATE records SET seq = ? WHERE seq = ?", (seq, seq + 1)),
        ("UPDATE records SET seq = ? WHERE seq = -1", (seq + 1,)),
    ]
    assert first_bad(*swap) == seq


@pytest.mark.requirement("audit:verify:tail")
@pytest.mark.parametrize("left", [0, 1, 15, _COUNT])
def test_a_dropped_tail_is_found_against_a_checkpoint_kept_elsewhere_even_if_all_traces_are_gone(
    copy: Path, left: int
) -> None:
    kept = _newest(copy)
    _forget_after(copy, left)
    without = _verify(copy)
    report = _verify(copy, anchors=[Anchor("local file", kept)])
    assert not report.ok
    assert report.first_bad == left
    assert "missing" in report.what
    # and this is what an anchor is for: by itself the shortened log looks whole
    assert without.ok
    assert "removed together" in without.caveat


def _forget_after(path: Path, left: int) -> None:
    """Shorten the log as somebody would who knows every table, and cannot sign."""
    with closing(SqliteRecordReader(path)) as reader:
        rows = list(reader.rows(0, left))
    kinds: dict[str, int] = {}
    for row in rows:
        kind = orjson.loads(row[1][2:])["kind"]
        kinds[kind] = kinds.get(kind, 0) + 1
    _change(
        path,
        ("DELETE FROM records WHERE seq >= ?", (left,)),
        ("DELETE FROM part_keys WHERE seq >= ?", (left,)),
        ("DELETE FROM checkpoints WHERE size > ?", (left,)),
        ("DELETE FROM kinds", ()),
        ("DELETE FROM usage_daily", ()),
        *((("INSERT INTO kinds VALUES (?, ?)", item)) for item in kinds.items()),
        *_rollup(rows),
    )


def _rollup(rows: list[Any]) -> list[tuple[str, tuple[object, ...]]]:
    totals: dict[tuple[int, str, str], list[int]] = {}
    for _, header, body, *_ in rows:
        facts, counted = orjson.loads(header[2:]), orjson.loads(body[32:]).get("counted")
        if counted:
            key = (facts["time"] // 86_400_000_000, facts["agent"], facts["tool"])
            fold = totals.setdefault(key, [0, 0, 0])
            fold[0] += counted["allows"]
            fold[1] += counted["cost_nanos"]
            fold[2] = max(fold[2], facts["time"])
    return [
        ("INSERT INTO usage_daily VALUES (?, ?, ?, ?, 0, 0, 0, ?, ?)", (*key, allows, cost, last))
        for key, (allows, cost, last) in totals.items()
    ]


@pytest.mark.requirement("audit:verify:tail")
def test_a_dropped_tail_is_found_by_the_logs_own_checkpoints_if_they_were_left(copy: Path) -> None:
    _change(copy, ("DELETE FROM records WHERE seq >= 20", ()))
    report = _verify(copy)
    assert (report.ok, report.first_bad) == (False, 20)


@pytest.mark.requirement("audit:verify:rewrite")
@pytest.mark.parametrize("seq", [0, 7, 20])
def test_a_record_rewritten_with_every_hash_made_to_fit_contradicts_the_signature(copy: Path, seq: int) -> None:
    with closing(SqliteRecordReader(copy)) as reader:
        rows = list(reader.rows(0, reader.size()))
        sizes = [size for size, _ in reader.checkpoints()]
    _, header, body, *_ = rows[seq]
    forged = body[:32] + body[32:].replace(b"allowed", b"ALLOWED").replace(b"per_1", b"per_9")
    assert forged != body
    leaf = leaf_hash(leaf_data(header, forged))
    _change(copy, ("UPDATE records SET body = ?, leaf = ? WHERE seq = ?", (forged, leaf, seq)))
    report = _verify(copy)
    assert not report.ok
    assert report.first_bad == max([size for size in sizes if size <= seq], default=0)
    assert report.first_bad <= seq


@pytest.mark.requirement("audit:verify:rewrite")
def test_a_checkpoint_of_another_key_or_text_is_refused(copy: Path) -> None:
    with closing(SqliteRecordReader(copy)) as reader:
        size, note = reader.checkpoints()[-1]
    head = signer().verifier().verify(note)
    other = signer(b"x" * 32).sign(head.size, head.root)
    for forged in (other, note[:-2] + b"\n", b"", signer().sign(size + 1, head.root)):
        _change(copy, ("UPDATE checkpoints SET note = ? WHERE size = ?", (forged, size)))
        assert not _verify(copy).ok
    _change(copy, ("UPDATE checkpoints SET note = ? WHERE size = ?", (note, size)))
    assert _verify(copy).ok
    fork = signer().sign(size, bytes(32))
    report = _verify(copy, anchors=[Anchor("witness", fork)])
    assert not report.ok
    assert not _verify(copy, anchors=[Anchor("witness", other)]).ok


@pytest.mark.requirement("audit:verify:counts")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE kinds SET count = count + 1 WHERE kind = 'decision'",
        "INSERT INTO kinds VALUES ('more', 1)",
        "UPDATE usage_daily SET allows = allows + 1",
        "UPDATE usage_daily SET cost_nanos = 0",
        "DELETE FROM usage_daily",
    ],
)
def test_counts_that_differ_from_the_records_are_found(copy: Path, change: str) -> None:
    _change(copy, (change, ()))
    assert not _verify(copy).ok
    assert _verify(copy, rollups=False).ok


@pytest.mark.requirement("audit:verify:counts")
def test_a_writer_that_skips_a_number_or_miscounts_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def skipping(name: str, start: Callable[[Any], None]) -> int | None:
        path = tmp_path / f"{name}.db"
        store = SqliteRecordStore(path, stream=STREAM)
        with writing(store) as log:
            appended(log, [decision(0)])
            start(log)
            appended(log, [decision(1)])
        store.close()
        report = _verify(path)
        assert not report.ok
        return report.first_bad

    # two records precede: the first decision and the census of its checkpoint
    assert skipping("kind-seq", lambda log: log._kinds.update(decision=5)) == 2
    assert skipping("census", lambda log: log._kinds.update(unheard=1)) == 3


@pytest.mark.requirement("audit:verify:open")
def test_a_missing_key_needs_its_tombstone(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    store = SqliteRecordStore(path, stream=STREAM)
    filled(store, 10)
    seq = next(row[0] for row in store.rows(2, 10) if row[4])
    store._writing.execute("DELETE FROM part_keys WHERE seq = ? AND name = 'context'", (seq,))
    report = _verify(path, keys=keys())
    assert (report.ok, report.first_bad) == (False, seq)
    assert "tombstone" in report.what
    assert _verify(path).ok  # what can be told without keys still holds
    tombstone = Entry(Facts(PART_ERASED), 1, {"erased": [{"seq": seq, "part": "context"}]}, outbox_id="out_erase")
    with writing(store, seed=2) as log:
        appended(log, [tombstone])
    report = _verify(path, keys=keys())
    assert report.ok
    assert report.erased == 1
    store._writing.execute("DELETE FROM part_keys WHERE seq = ? AND name = 'request'", (seq,))
    assert _verify(path, keys=keys()).first_bad == seq
    store.close()


@pytest.mark.requirement("audit:verify:open")
def test_every_changed_byte_of_a_wrapped_key_and_every_key_too_many_is_found(copy: Path) -> None:
    store = SqliteRecordStore(copy)
    verifier = signer().verifier()
    ((seq, name, wrapped),) = store._read("SELECT seq, name, wrapped FROM part_keys LIMIT 1 OFFSET 5")
    for at in range(len(wrapped)):
        changed = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        store._writing.execute("UPDATE part_keys SET wrapped = ? WHERE seq = ? AND name = ?", (changed, seq, name))
        report = verify_log(lambda: store, verifier=verifier, keys=keys())
        assert (report.ok, report.first_bad) == (False, seq)
    store._writing.execute("UPDATE part_keys SET wrapped = ? WHERE seq = ? AND name = ?", (wrapped, seq, name))
    store._writing.execute("INSERT INTO part_keys VALUES (?, 'extra', ?)", (seq, wrapped))
    assert verify_log(lambda: store, verifier=verifier, keys=keys()).first_bad == seq
    store.close()


def _verify_or_refuse(path: Path) -> bool:
    try:
        return _verify(path).ok
    except AccreditError:  # the file is not even opened as a log
        return False


@pytest.mark.requirement("audit:verify:bytes")
@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
@example(at=7313, bit=7)  # a column name that is not text
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changed_nothing(
    pristine: Path, tmp_path: Path, at: int, bit: int
) -> None:
    data = bytearray(pristine.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path = tmp_path / "flipped.db"
    path.write_bytes(data)
    for old in tmp_path.glob("flipped.db-*"):
        old.unlink()

    def content(of: Path) -> list[Any]:
        with closing(SqliteRecordReader(of)) as reader:
            return [list(reader.rows(0, reader.size())), reader.checkpoints(), reader.usage(), reader.kind_counts()]

    if _verify_or_refuse(path):
        assert content(path) == content(pristine)


@pytest.mark.requirement("audit:verify:processes")
def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accredit.audit.verify.CHUNK", 256)
    path = tmp_path / "audit.db"
    store = SqliteRecordStore(path, stream=STREAM)
    filled(store, 700, every=lambda number: control(number) if number % 5 else decision(number))
    verifier = signer().verifier()
    opening = partial(SqliteRecordReader, path)
    one, two = (verify_log(opening, verifier=verifier, processes=count) for count in (1, 2))
    assert one.ok
    assert one == two
    store._writing.execute("UPDATE records SET header = header || x'00' WHERE seq = 600")
    one, two = (verify_log(opening, verifier=verifier, processes=count) for count in (1, 2))
    assert one.first_bad == 600
    assert one == two
    store.close()


@pytest.mark.requirement("audit:verify:counts")
def test_a_log_that_is_being_written_verifies_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    store = SqliteRecordStore(path, stream=STREAM)
    reports: list[VerifyReport] = []

    async def go(log: LogWriter) -> None:
        written = asyncio.Event()

        async def write() -> None:
            number = 0
            while not written.is_set():
                await asyncio.gather(*[log.append(decision(number + place)) for place in range(20)])
                number += 20

        writing_on = asyncio.create_task(write())
        while len(reports) < 8 or reports[-1].size == reports[0].size:  # on a busy machine the writer may come late
            reports.append(await asyncio.to_thread(_verify, path))
        written.set()
        await writing_on

    with writing(store, settings=LogSettings(min_free_bytes=0, checkpoint_s=0)) as log:
        asyncio.run(asyncio.wait_for(go(log), 60))
    store.close()
    assert [report.what for report in reports if not report.ok] == []
    assert reports[-1].size > reports[0].size
