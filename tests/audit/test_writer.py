"""The writer: order, durability, bounds, failures, checkpoints."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from accredit.audit.anchor import CheckpointFile
from accredit.audit.merkle import subtree_root
from accredit.audit.model import Facts, Pseudonym, Usage
from accredit.audit.ports import Commit
from accredit.audit.records import body_of, header_of, open_part, part_values
from accredit.audit.writer import LogSettings, LogWriter
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, UnavailableError
from accredit.storage.memory.records import MemoryRecordStore
from accredit.storage.sqlite.records import SqliteRecordStore
from tests.audit.building import (
    START_US,
    STORES,
    STREAM,
    appended,
    control,
    decision,
    filled,
    keys,
    new_store,
    signer,
    writing,
)


class _Gate(MemoryRecordStore):
    """A store whose commits wait until they may go on, and fail when told to."""

    def __init__(self) -> None:
        super().__init__(STREAM)
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.groups: list[int] = []
        self.fail_commits = 0
        self.fail_checkpoints = 0
        self.fail_reopens = 0
        self.lands = False
        """Whether a commit that fails is on disk all the same."""

    def commit(self, commit: Commit) -> None:
        self.entered.set()
        assert self.open.wait(20)
        if self.fail_commits:
            self.fail_commits -= 1
            if self.lands:
                super().commit(commit)
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "did not take a commit", cause="EIO")
        self.groups.append(len(commit.records))
        super().commit(commit)

    def keep_checkpoint(self, size: int, note: bytes) -> None:
        if self.fail_checkpoints:
            self.fail_checkpoints -= 1
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "did not take a checkpoint", cause="EIO")
        super().keep_checkpoint(size, note)

    def reopen(self) -> None:
        if self.fail_reopens:
            self.fail_reopens -= 1
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "cannot be opened", cause="EIO")


async def _until(log: LogWriter, *, healthy: bool) -> None:
    for _ in range(5_000):
        if log.healthy is healthy:
            return
        await asyncio.sleep(0.002)
    raise AssertionError("the log did not change its mind")


@pytest.mark.requirement("audit:writer:order")
@pytest.mark.parametrize("kind", STORES)
def test_order_of_calls_is_order_in_the_log_and_no_number_is_left_out(kind: str, tmp_path: Path) -> None:
    store = new_store(kind, tmp_path)
    with writing(store) as log:
        receipts = appended(log, [control(n) if n % 3 == 0 else decision(n) for n in range(50)])
        receipts += appended(log, [decision(n) for n in range(50, 90)])
    placed = [receipt.seq for receipt in receipts]
    assert placed == sorted(placed)
    records = list(store.records())
    assert [record.seq for record in records] == list(range(len(records)))
    seen: dict[str, int] = {}
    for record in records:
        fields = header_of(record)
        assert fields["seq"] == record.seq
        assert fields["kind_seq"] == seen.get(fields["kind"], 0)
        seen[fields["kind"]] = fields["kind_seq"] + 1
    assert store.kind_counts() == seen
    for receipt in receipts:
        assert records[receipt.seq].leaf_hash == receipt.leaf_hash
    store.close()


@pytest.mark.requirement("audit:writer:durable")
def test_what_was_acknowledged_is_there_after_the_process_forgot_everything(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path / "audit.db", stream=STREAM)
    with writing(store) as log:
        receipts = appended(log, [decision(n) for n in range(20)])
    store.close()
    again = SqliteRecordStore(tmp_path / "audit.db")
    with writing(again, seed=2) as log:
        receipts += appended(log, [decision(n) for n in range(20, 30)])
    records = list(again.records())
    assert [records[receipt.seq].leaf_hash for receipt in receipts] == [receipt.leaf_hash for receipt in receipts]
    assert [body_of(records[receipt.seq])["decision_id"] for receipt in receipts] == [f"dec_{n}" for n in range(30)]
    assert part_values(open_part(records[receipts[3].seq], "context", keys()))["big"] == 2**70
    again.close()


@pytest.mark.requirement("audit:writer:group")
def test_what_queues_during_a_commit_is_committed_together() -> None:
    store = _Gate()

    async def go(log: LogWriter) -> None:
        first = log.append(decision(0))
        assert await asyncio.to_thread(store.entered.wait, 20)
        rest = [log.append(decision(n)) for n in range(1, 101)]
        store.open.set()
        await asyncio.wait_for(asyncio.gather(first, *rest), 20)

    with writing(store, settings=LogSettings(min_free_bytes=0, checkpoint_s=1e6)) as log:
        asyncio.run(asyncio.wait_for(_first(log), 20))
        store.groups.clear()
        store.entered.clear()
        store.open.clear()
        asyncio.run(go(log))
        assert store.groups == [1, 100]


async def _first(log: LogWriter) -> None:
    await log.append(decision(0))
    await log.checkpoint()


@pytest.mark.requirement("audit:writer:group")
def test_a_group_is_bounded_in_records_and_in_bytes() -> None:
    store = _Gate()
    settings = LogSettings(min_free_bytes=0, group=7, group_bytes=5_000, checkpoint_s=1e6)
    with writing(store, settings=settings) as log:
        appended(log, [decision(n) for n in range(40)])
    assert max(store.groups) <= 1 + 7  # a census may stand beside them
    assert [header_of(record)["seq"] for record in store.records()] == list(range(store.size()))
    sent = [body_of(record)["decision_id"] for record in store.records() if header_of(record)["kind"] == "decision"]
    assert sent == [f"dec_{n}" for n in range(40)]


@pytest.mark.requirement("audit:writer:bounded")
def test_a_full_queue_refuses_at_once_and_drops_nothing() -> None:
    store = _Gate()

    async def go(log: LogWriter) -> None:
        waiting = [log.append(decision(n)) for n in range(10)]
        with pytest.raises(UnavailableError) as refused:
            log.append(decision(99))
        assert refused.value.code is Code.AUDIT_UNAVAILABLE
        store.open.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 20)
        await log.append(decision(10))

    store.open.clear()
    with writing(store, settings=LogSettings(queue=10, min_free_bytes=0)) as log:
        asyncio.run(go(log))
    decisions = [record for record in store.records() if header_of(record)["kind"] == "decision"]
    assert len(decisions) == 11


@pytest.mark.requirement("audit:record:bounded")
def test_an_entry_that_cannot_be_encoded_fails_alone_and_takes_no_number() -> None:
    store = MemoryRecordStore(STREAM)

    async def go(log: LogWriter) -> list[object]:
        entries = [decision(0), decision(1, body={"x": 1.5}), decision(2)]
        waiting = [log.append(entry) for entry in entries]
        return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)

    with writing(store) as log:
        first, wrong, last = asyncio.run(go(log))
    assert isinstance(wrong, InvalidInputError)
    kinds = [header_of(record)["kind_seq"] for record in store.records() if header_of(record)["kind"] == "decision"]
    assert kinds == [0, 1]
    assert not isinstance(first, Exception)
    assert not isinstance(last, Exception)


@pytest.mark.requirement("audit:writer:failure")
@pytest.mark.parametrize("lands", [False, True])
def test_a_failed_commit_fails_its_callers_and_the_tail_is_read_anew(*, lands: bool) -> None:
    store = _Gate()
    store.lands = lands
    store.fail_reopens = 1

    async def go(log: LogWriter) -> None:
        await log.append(decision(0))
        store.fail_commits = 1
        store.entered.clear()
        store.open.clear()
        waiting = [log.append(decision(1))]
        assert await asyncio.to_thread(store.entered.wait, 20)
        waiting += [log.append(decision(2)), log.append(control(3))]
        store.open.set()
        for failed in await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20):
            assert isinstance(failed, UnavailableError)
            assert failed.code is Code.AUDIT_UNAVAILABLE
        await _until(log, healthy=False)
        with pytest.raises(UnavailableError):
            log.append(decision(4))
        await _until(log, healthy=True)
        await log.append(decision(5))

    with writing(store) as log:
        asyncio.run(go(log))
    sent = [body_of(record)["decision_id"] for record in store.records() if header_of(record)["kind"] == "decision"]
    # what was refused is at most there unacknowledged, never twice; what came after follows without a gap
    assert sent == (["dec_0", "dec_1", "dec_5"] if lands else ["dec_0", "dec_5"])
    assert [header_of(record)["seq"] for record in store.records()] == list(range(store.size()))


@pytest.mark.requirement("audit:writer:failure")
def test_a_store_that_does_not_come_back_keeps_the_log_closed() -> None:
    store = _Gate()

    async def go(log: LogWriter) -> None:
        await log.append(decision(0))
        store.fail_commits, store.fail_reopens = 1, 10**6
        with pytest.raises(UnavailableError):
            await log.append(decision(1))
        assert not log.healthy
        with pytest.raises(UnavailableError):
            log.append(control(2))
        with pytest.raises(UnavailableError):
            log.checkpoint()

    with writing(store) as log:
        asyncio.run(go(log))


@pytest.mark.requirement("audit:writer:disk")
def test_a_low_disk_refuses_calls_takes_control_records_and_notices_room_again() -> None:
    store, clock = MemoryRecordStore(STREAM), ScriptedClock(START_US)

    async def go(log: LogWriter) -> None:
        await log.append(decision(0))
        store.free = 100
        clock.advance(0.2)  # room is measured ten times a second, not with every group
        await log.append(control(1))
        await _until(log, healthy=False)
        with pytest.raises(UnavailableError) as refused:
            log.append(decision(2))
        assert refused.value.code is Code.DISK_LOW
        await log.append(control(3))
        store.free = 10**9
        for _ in range(2_000):
            try:
                await log.append(decision(4))
                break
            except UnavailableError:
                await asyncio.sleep(0.001)
        assert log.healthy

    with writing(store, clock=clock, settings=LogSettings(min_free_bytes=1_000)) as log:
        asyncio.run(asyncio.wait_for(go(log), 30))
    assert [record.outbox_id for record in store.control_records()] == ["out_1", "out_3"]


@pytest.mark.requirement("audit:writer:outbox")
@pytest.mark.parametrize("kind", STORES)
def test_an_outbox_id_in_the_log_gives_the_receipt_it_has(kind: str, tmp_path: Path) -> None:
    store = new_store(kind, tmp_path)
    with writing(store) as log:
        one, same, other = appended(log, [control(1), control(1), control(2)])
        (again,) = appended(log, [control(1, body={"actor": "per_2"})])
    assert one == same == again != other
    with writing(store, seed=2) as log:
        assert appended(log, [control(1)]) == [one]
    assert [record.outbox_id for record in store.control_records()] == ["out_1", "out_2"]
    assert [body_of(record)["outbox"] for record in store.control_records()] == ["out_1", "out_2"]
    store.close()


@pytest.mark.requirement("audit:writer:census", "audit:writer:checkpoint")
def test_every_checkpoint_follows_a_census_and_signs_what_is_durable() -> None:
    store, clock = MemoryRecordStore(STREAM), ScriptedClock(START_US)
    published = []

    async def go(log: LogWriter) -> None:
        for number in range(6):
            await log.append(decision(number))
            clock.advance(0.6)
        published.append(log.latest_checkpoint())
        asked = await log.checkpoint()
        assert asked == log.latest_checkpoint()
        assert await log.checkpoint() == asked  # nothing new: nothing is signed

    with writing(store, clock=clock) as log:
        asyncio.run(asyncio.wait_for(go(log), 20))
    kept = store.checkpoints()
    assert 3 <= len(kept) <= 6
    assert kept[-1][1] == log.latest_checkpoint()
    records = list(store.records())
    for size, note in kept:
        head = signer().verifier().verify(note)
        assert (head.size, head.root) == (size, subtree_root(store, 0, size))
        fields = body_of(records[size - 1])
        assert header_of(records[size - 1])["kind"] == "census"
        before = [header_of(record)["kind"] for record in records[: size - 1]]
        assert fields["counts"] == {kind: before.count(kind) for kind in set(before)}
        assert fields["size"] == size - 1
    assert published[0] is not None


@pytest.mark.requirement("audit:writer:checkpoint")
def test_a_checkpoint_that_could_not_be_kept_is_not_published() -> None:
    store = _Gate()

    async def go(log: LogWriter) -> None:
        await log.append(decision(0))
        before = await log.checkpoint()
        store.fail_checkpoints = 1
        await log.append(decision(1))
        with pytest.raises(UnavailableError):
            await log.checkpoint()
        assert log.latest_checkpoint() == before
        await _until(log, healthy=True)
        assert await log.checkpoint() != before

    with writing(store, settings=LogSettings(min_free_bytes=0, checkpoint_s=1e6)) as log:
        asyncio.run(asyncio.wait_for(go(log), 30))
    assert log.latest_checkpoint() == store.checkpoints()[-1][1]


@pytest.mark.requirement("audit:writer:fork")
def test_a_log_put_back_from_an_older_copy_is_not_continued(tmp_path: Path) -> None:
    anchor = CheckpointFile(tmp_path / "audit.checkpoint")
    old, full = MemoryRecordStore(STREAM), MemoryRecordStore(STREAM)
    for store, count in ((old, 5), (full, 9)):
        with writing(store, anchor=anchor if store is full else None) as log:
            appended(log, [decision(number) for number in range(count)])
    assert anchor.newest() == full.checkpoints()[-1][1]
    with pytest.raises(ConflictError) as refused, writing(old, anchor=anchor):
        pass
    assert "put back the newest copy" in refused.value.hint
    with writing(full, anchor=anchor, seed=3) as log:  # the whole one goes on
        appended(log, [decision(10)])
    other = MemoryRecordStore(STREAM)
    with writing(other, seed=4) as log:
        appended(log, [decision(number) for number in range(20)])
    with pytest.raises(ConflictError), writing(other, anchor=anchor):  # as long, but another history
        pass


@pytest.mark.requirement("audit:writer:fork")
def test_a_log_that_contradicts_itself_is_not_continued(tmp_path: Path) -> None:
    def refused(change: str, *values: object) -> None:
        path = tmp_path / "audit.db"
        path.unlink(missing_ok=True)
        store = SqliteRecordStore(path, stream=STREAM)
        filled(store, 20)
        store._writing.execute(change, values)
        with pytest.raises(AccreditError), writing(store):
            pass
        store.close()

    refused("UPDATE records SET body = body || x'20' WHERE seq = 19")
    refused("DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)")
    refused("DELETE FROM records WHERE seq = 3")
    refused("UPDATE kinds SET count = count + 1 WHERE kind = 'decision'")
    refused("UPDATE checkpoints SET note = ?", signer(b"x" * 32).sign(20, bytes(32)))


@pytest.mark.requirement("audit:writer:rollup")
def test_usage_is_rolled_up_by_day_agent_and_tool() -> None:
    store = MemoryRecordStore(STREAM)
    day = START_US // 86_400_000_000
    denied = Usage(denies=1)
    other = Facts("decision", agent="agt_9", decision="deny")
    with writing(store) as log:
        appended(log, [decision(n, facts=replace(decision(0).facts, agent="agt_0")) for n in range(4)])
        appended(log, [decision(7, facts=other, usage=denied, time_us=START_US + 86_400_000_000)])
    first, second = log.usage()
    assert (first.day, first.agent, first.tool, first.last_us) == (day, "agt_0", "crm/read_customer", START_US + 3)
    assert first.usage == Usage(allows=4, cost_nanos=8_000_000)
    assert (second.day, second.agent, second.tool, second.usage) == (day + 1, "agt_9", "", denied)
    assert log.usage(agent="agt_9") == [second]


@pytest.mark.requirement("audit:writer:pseudonyms")
def test_pseudonyms_are_kept_sealed_with_the_record_that_first_uses_them(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path / "audit.db", stream=STREAM)
    named = Pseudonym("user", "dana@example.com", "psn_1")
    with writing(store) as log:
        appended(log, [decision(0, pseudonyms=(named,))])
        assert log.pseudonyms() == [named]
    with writing(store, seed=2) as log:
        assert log.pseudonyms() == [named]
    store.close()
    assert b"dana@example.com" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.requirement("audit:writer:durable")
def test_a_caller_who_went_away_does_not_keep_its_record_from_the_log() -> None:
    store = _Gate()

    async def go(log: LogWriter) -> None:
        future = asyncio.ensure_future(log.append(decision(0)))
        future.cancel()
        store.open.set()
        await log.append(decision(1))

    store.open.clear()
    with writing(store) as log:
        asyncio.run(asyncio.wait_for(go(log), 20))
    assert store.kind_counts()["decision"] == 2


@pytest.mark.requirement("audit:writer:failure")
def test_a_closed_log_takes_nothing_and_closing_writes_what_was_queued() -> None:
    store = _Gate()
    store.open.clear()

    async def go(log: LogWriter) -> None:
        waiting = [log.append(decision(n)) for n in range(5)]
        closing = asyncio.create_task(asyncio.to_thread(log.close))
        await asyncio.sleep(0)
        store.open.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 20)
        await closing
        assert not log.healthy
        with pytest.raises(UnavailableError):
            log.append(decision(9))

    with writing(store) as log:
        asyncio.run(asyncio.wait_for(go(log), 30))
    assert store.checkpoints()[-1][0] == store.size()
