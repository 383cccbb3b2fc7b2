"""What every record store promises, whatever it is made of."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from accredit.audit.merkle import Frontier, subtree_root
from accredit.audit.model import LastUse, ToolDays, Usage, UsageDay
from accredit.audit.ports import Commit, RecordStore
from accredit.audit.records import EncodedRecord, PartBounds, encode, header_of
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.kernel.ids import SeededIds
from accredit.storage.sqlite.records import SqliteRecordReader, SqliteRecordStore
from tests.audit.building import STORES, STREAM, control, decision, keys, new_store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordStore]:
    made = new_store(request.param, tmp_path)
    yield made
    made.close()


def _records(start: int, count: int) -> list[EncodedRecord]:
    draw = SeededIds(start).secret
    return [
        encode(
            control(seq) if seq % 4 == 3 else decision(seq),
            stream=STREAM,
            seq=seq,
            kind_seq=0,
            draw=draw,
            keys=keys(),
            bounds=PartBounds(),
        )
        for seq in range(start, start + count)
    ]


@pytest.mark.requirement("audit:store:conformance")
def test_an_empty_store_is_empty(store: RecordStore) -> None:
    assert store.stream == STREAM
    assert store.size() == 0
    assert not any((list(store.records()), list(store.control_records()), list(store.rows(0, 10))))
    assert store.by_outbox("out_1") is None
    assert not any((store.hashes(0, 0, 5), store.hashes(1, 0, 5), store.wrapped_keys(0, 10), store.kind_counts()))
    assert not any((store.checkpoints(), store.usage(), store.pseudonyms()))
    assert store.free_bytes() > 0


@pytest.mark.requirement("audit:store:conformance")
def test_what_was_committed_comes_back_byte_for_byte_and_in_order(store: RecordStore) -> None:
    edge = Frontier()
    written: list[EncodedRecord] = []
    for start, count in ((0, 300), (300, 1), (301, 299)):
        records = _records(start, count)
        nodes = edge.append([record.leaf_hash for record in records])
        store.commit(Commit(records, nodes, {"decision": start + count}))
        written += records
    assert store.size() == 600
    rows = [(r.seq, r.header, r.body, r.leaf_hash, r.sealed, r.outbox_id) for r in written]
    assert list(store.rows(0, 600)) == rows
    assert list(store.rows(250, 310)) == rows[250:310]
    assert list(store.rows(590, 700)) == rows[590:]
    assert store.kind_counts() == {"decision": 600}
    assert store.hashes(0, 10, 20) == [record.leaf_hash for record in written[10:20]]
    assert subtree_root(store, 0, 600) == edge.root() == Frontier.load(store, 600).root()
    records_read = list(store.records(3, 5))
    assert [record.seq for record in records_read] == [3, 4]
    assert [part.wrapped_key for part in records_read[1].parts] == [wrapped for _, wrapped in written[4].wrapped]
    assert store.wrapped_keys(4, 5) == {4: dict(written[4].wrapped)}
    ((name, _), *_) = written[4].wrapped
    some = {seq: keys[name] for seq, keys in store.wrapped_keys(2, 9).items() if name in keys}
    assert store.wrapped_keys_of(name, 2, 9) == some
    assert some
    assert store.wrapped_keys_of("nothing", 2, 9) == {}
    assert header_of(records_read[0])["kind"] == "agent.submitted"
    assert [record.seq for record in store.records(598)] == [598, 599]


@pytest.mark.requirement("audit:store:conformance")
def test_control_records_are_found_by_place_and_by_outbox_id(store: RecordStore) -> None:
    store.commit(Commit(_records(0, 12), [], {}))
    assert [record.seq for record in store.control_records()] == [3, 7, 11]
    assert [record.outbox_id for record in store.control_records(4)] == ["out_7", "out_11"]
    assert store.by_outbox("out_7") == 7
    assert store.by_outbox("OUT_7") is None


@pytest.mark.requirement("audit:store:conformance")
def test_a_place_or_an_outbox_id_taken_twice_is_refused_whole(store: RecordStore) -> None:
    store.commit(Commit(_records(0, 4), [], {"decision": 3}))
    with pytest.raises(UnavailableError):
        store.commit(Commit(_records(3, 2), [], {"decision": 9}))
    store.reopen()
    assert store.size() == 4
    assert store.kind_counts() == {"decision": 3}
    again = _records(4, 2)
    again[1].outbox_id = "out_3"
    with pytest.raises(UnavailableError):
        store.commit(Commit(again, [], {}))
    store.reopen()
    assert store.size() == 4
    store.commit(Commit(_records(4, 1), [], {}))
    assert store.size() == 5


@pytest.mark.requirement("audit:store:conformance")
def test_checkpoints_are_kept_once_per_size(store: RecordStore) -> None:
    for size in (5, 10):
        store.keep_checkpoint(size, b"note %d" % size)
    assert store.checkpoints() == [(5, b"note 5"), (10, b"note 10")]
    with pytest.raises(UnavailableError):
        store.keep_checkpoint(10, b"another")
    store.reopen()
    assert store.checkpoints() == [(5, b"note 5"), (10, b"note 10")]


@pytest.mark.requirement("audit:store:conformance", "audit:writer:rollup")
def test_the_roll_up_adds_and_is_read_by_day_agent_and_tool(store: RecordStore) -> None:
    one = Usage(allows=1, denies=2, holds=3, errors=4, cost_nanos=5)
    store.commit(Commit([], [], {}, [UsageDay(10, "agt_1", "crm/a", one, 100), UsageDay(11, "agt_2", "", one, 90)]))
    store.commit(Commit([], [], {}, [UsageDay(10, "agt_1", "crm/a", one, 50)]))
    first = UsageDay(10, "agt_1", "crm/a", Usage(2, 4, 6, 8, 10), 100)
    second = UsageDay(11, "agt_2", "", one, 90)
    assert store.usage() == [first, second]
    assert store.usage(since_day=11) == store.usage(agent="agt_2") == [second]
    assert store.usage(until_day=11) == store.usage(tool="crm/a") == [first]
    assert store.usage(agent="agt_1", tool="crm/b") == []


@pytest.mark.requirement("audit:store:conformance", "audit:writer:rollup")
def test_last_use_is_what_the_roll_up_of_the_days_comes_to_for_each_agent(store: RecordStore) -> None:
    days = [
        UsageDay(day, f"agt_{agent}", f"crm/{tool}", Usage(cost_nanos=day + agent), 1_000 * day - 900 * agent + tool)
        for day in range(8, 12)
        for agent in range(3)
        for tool in range(2)
        if (day + agent) % 4
    ]
    store.commit(Commit([], [], {}, days))
    for since in (0, 9, 11, 12):
        rows = store.usage(since_day=since)
        due = {
            agent: LastUse(
                max(row.last_us for row in rows if row.agent == agent),
                sum(row.usage.cost_nanos for row in rows if row.agent == agent),
            )
            for agent in {row.agent for row in rows}
        }
        assert store.last_use(since_day=since) == due
        some = {"agt_1", "agt_nobody"}
        assert store.last_use(since_day=since, agents=some) == {one: due[one] for one in some & set(due)}
    assert store.last_use(since_day=0, agents=()) == {}


@pytest.mark.requirement("audit:store:conformance", "audit:writer:rollup")
def test_the_days_of_a_tool_are_what_the_roll_up_tells_of_it(store: RecordStore) -> None:
    days = [
        UsageDay(day, f"agt_{agent}", f"crm/{tool}" if tool else "", Usage((day + tool) % 3, agent, 1, 1, day), day)
        for day in range(5, 40)
        for agent in range(70)
        for tool in range(3)
        if (day * 7 + agent * 3 + tool) % 4
    ]
    store.commit(Commit([], [], {}, days))
    for some in (set(), {"agt_3"}, {f"agt_{agent}" for agent in range(0, 70, 2)} | {"agt_nobody"}):
        rows = [row for row in store.usage(since_day=9) if row.agent in some]
        due = [
            ToolDays(
                *key,
                tuple(row.day for row in rows if (row.agent, row.tool) == key and row.usage.allows),
                *(
                    sum(getattr(row.usage, name) for row in rows if (row.agent, row.tool) == key and row.day >= 30)
                    for name in ("allows", "denies", "cost_nanos")
                ),
            )
            for key in sorted({(row.agent, row.tool) for row in rows})
        ]
        assert store.tool_days(some, since_day=9, counted_since=30) == due
    for agent, tool, since, until in (("agt_3", None, 9, 30), ("agt_3", "crm/1", 1, None), ("agt_none", None, 1, 50)):
        due_days = [
            row
            for row in store.usage()
            if row.agent == agent and row.day >= since and row.day < (until or 99) and row.tool == (tool or row.tool)
        ]
        assert store.usage(since_day=since, until_day=until, agent=agent, tool=tool) == due_days
    assert store.usage(since_day=9, until_day=3, agent="agt_3") == []


@pytest.mark.requirement("audit:store:conformance")
def test_a_pseudonym_once_given_stays(store: RecordStore) -> None:
    store.commit(Commit([], [], {}, pseudonyms=[("psn_1", "user", b"a"), ("psn_2", "task", b"b")]))
    store.commit(Commit([], [], {}, pseudonyms=[("psn_1", "user", b"other")]))
    assert sorted(store.pseudonyms()) == [("psn_1", "user", b"a"), ("psn_2", "task", b"b")]


@pytest.mark.requirement("audit:store:conformance")
def test_upkeep_changes_nothing_that_can_be_read(store: RecordStore) -> None:
    store.commit(Commit(_records(0, 5), [], {}))
    before = list(store.rows(0, 5))
    store.tidy()
    assert list(store.rows(0, 5)) == before


@pytest.mark.requirement("audit:writer:durable")
def test_sqlite_waits_for_the_disk_and_keeps_its_file_to_its_owner(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path / "audit.db", stream=STREAM)
    assert store._writing.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writing.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writing.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    store.close()
    assert stat.S_IMODE((tmp_path / "audit.db").stat().st_mode) == 0o600


@pytest.mark.requirement("audit:store:conformance")
def test_a_long_wal_is_written_back_and_used_again_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accredit.storage.sqlite.records._WAL_FRAMES", 10)
    store = SqliteRecordStore(tmp_path / "audit.db", stream=STREAM)
    sizes = []
    for start in range(0, 400, 20):
        store.commit(Commit(_records(start, 20), [], {}))
        store.tidy()
        sizes.append((tmp_path / "audit.db-wal").stat().st_size)
    assert max(sizes) < 10 * sizes[0]
    assert store.size() == 400
    store.close()


@pytest.mark.requirement("audit:store:errors")
def test_a_missing_foreign_or_broken_file_is_refused_in_our_own_words(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    for opening in (SqliteRecordReader, SqliteRecordStore):
        with pytest.raises(UnavailableError):
            opening(path)
    assert not path.exists()
    SqliteRecordStore(path, stream=STREAM).close()
    with pytest.raises(ConflictError):
        SqliteRecordStore(path, stream="str_other")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE log SET format = 2")
    connection.commit()
    connection.close()
    with pytest.raises(ConflictError):
        SqliteRecordReader(path)
    path.write_bytes(b"not a database, though long enough to look at" * 100)
    for opening in (SqliteRecordReader, SqliteRecordStore):
        with pytest.raises(UnavailableError):
            opening(path)


@pytest.mark.requirement("audit:store:conformance")
def test_a_reader_beside_the_writer_sees_what_is_committed_and_cannot_write(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path / "audit.db", stream=STREAM)
    reader = SqliteRecordReader(tmp_path / "audit.db")
    store.commit(Commit(_records(0, 3), [], {}))
    assert reader.size() == 3
    with pytest.raises(sqlite3.OperationalError):
        reader._reading.execute("DELETE FROM records")
    reader.close()
    store.close()
