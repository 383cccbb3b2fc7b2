"""The doctor rebuilds control state from the log alone and says what differs."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.doctor import Diagnosis, Finding
from accredit.audit.ports import StateRow
from accredit.audit.state import row_digest
from accredit.kernel.errors import UnavailableError
from accredit.storage.sqlite.state import SqliteControlStore
from tests.state.installation import REFUSAL, Installation, always, change
from tests.state.process import fill


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    """Rows `changed`, `back`, `gone`, `fine` and no longer `removed`."""
    home = Installation(tmp_path)

    async def scenario() -> None:
        async with home.running() as service:
            for writes in (
                [("changed", {"n": 1}), ("back", {"n": 1}), ("gone", {"n": 1}), ("fine", {"n": 1})],
                [("back", {"n": 2}), ("removed", {"n": 1})],
                [("removed", None), ("fine", {"n": 3})],
            ):
                await service.transact(always(change(*(("thing", key, doc) for key, doc in writes))))

    asyncio.run(scenario())
    return home


def tamper(home: Installation, *statements: tuple[str, tuple[Any, ...]]) -> None:
    beside = sqlite3.connect(home.database)
    with beside:
        for statement in statements:
            beside.execute(*statement)
    beside.close()


def spoil(home: Installation) -> None:
    older = b'{"n":1}'
    tamper(
        home,
        ("UPDATE state SET doc = ? WHERE key = 'changed'", (b'{"n":9}',)),
        ("UPDATE state SET doc = ?, digest = ? WHERE key = 'back'", (older, row_digest("thing", "back", older))),
        ("DELETE FROM state WHERE key = 'gone'", ()),
        (
            "INSERT INTO state VALUES ('thing', 'removed', ?, ?, 'evt_1')",
            (older, row_digest("thing", "removed", older)),
        ),
        ("INSERT INTO state VALUES ('thing', 'stranger', ?, '', '')", (b"{}",)),
    )


def diagnose(home: Installation) -> Diagnosis:
    store = SqliteControlStore(home.database, read_only=True)
    try:
        return home.doctor(store).diagnose()
    finally:
        store.close()


def repair(home: Installation) -> Diagnosis:
    store = SqliteControlStore(home.database)
    try:
        return home.doctor(store).repair()
    finally:
        store.close()


def docs(home: Installation) -> dict[str, Any]:
    async def scenario() -> dict[str, Any]:
        async with home.running() as service:
            assert service.unproven == frozenset()
            return dict(home.docs(service))

    return asyncio.run(scenario())


def test_untouched_state_is_sound(home: Installation) -> None:
    diagnosis = diagnose(home)
    assert diagnosis.sound
    assert (diagnosis.rows, diagnosis.control_records, diagnosis.undrained) == (4, 3, ())


@pytest.mark.requirement("state:doctor:finds")
def test_every_difference_is_named_for_what_it_is(home: Installation) -> None:
    spoil(home)
    diagnosis = diagnose(home)
    assert not diagnosis.sound
    assert {(one.key, one.finding, one.seq) for one in diagnosis.differences} == {
        ("changed", Finding.CHANGED, 0),
        ("back", Finding.ROLLED_BACK, 1),
        ("gone", Finding.MISSING, 0),
        ("removed", Finding.RESURRECTED, 2),
        ("stranger", Finding.FOREIGN, None),
    }


@pytest.mark.requirement("state:doctor:repairs")
def test_a_repair_makes_the_state_what_the_log_says(home: Installation) -> None:
    whole = docs(home)
    spoil(home)
    assert len(repair(home).differences) == 5
    assert diagnose(home).sound
    assert docs(home) == whole


def test_a_lost_database_is_rebuilt_from_the_log_alone(home: Installation) -> None:
    whole = docs(home)
    for file in home.path.glob("control.db*"):
        file.unlink()
    SqliteControlStore(home.database).close()
    assert {one.finding for one in repair(home).differences} == {Finding.MISSING}
    assert docs(home) == whole


def test_an_erased_part_leaves_a_proven_row_in_place_and_a_changed_one_lost(home: Installation) -> None:
    home.journal.erase_parts(0)
    assert diagnose(home).sound
    tamper(home, ("UPDATE state SET doc = ? WHERE key = 'changed'", (b'{"n":9}',)))
    (difference,) = diagnose(home).differences
    assert (difference.key, difference.finding) == ("changed", Finding.LOST)
    repair(home)

    async def scenario() -> None:
        async with home.running() as service:
            assert service.unproven == {("thing", "changed")}
            assert set(home.docs(service)) == {"back", "gone", "fine"}

    asyncio.run(scenario())


@pytest.mark.requirement("state:doctor:crash-leftovers")
@pytest.mark.parametrize("after_writing", [False, True])
def test_a_change_on_its_way_is_no_fault_and_outlives_a_repair(home: Installation, *, after_writing: bool) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            home.journal.refusal, home.journal.refuses_after_writing = REFUSAL, after_writing
            made = change(("thing", "fine", {"n": 4}), ("thing", "gone", None), ("thing", "new", {}))
            with pytest.raises(UnavailableError):
                await service.transact(lambda _: made)
        home.journal.refusal = None

    asyncio.run(scenario())
    diagnosis = diagnose(home)
    assert diagnosis.sound
    assert len(diagnosis.undrained) == 1
    tamper(home, ("UPDATE state SET doc = ? WHERE key = 'new'", (b'{"admin":true}',)))
    (difference,) = diagnose(home).differences
    assert difference.key == "new"
    repair(home)
    assert docs(home) == {"changed": {"n": 1}, "back": {"n": 2}, "fine": {"n": 4}, "new": {}}
    assert diagnose(home).undrained == ()


def test_a_revocation_in_the_reserve_is_on_its_way(home: Installation) -> None:
    async def scenario() -> None:
        store = SqliteControlStore(home.database)
        service = home.service(store)
        await service.start()
        fill(service)
        made = change(("thing", "fine", {"state": "revoked", "why": "x" * 20_000}), narrowing=True)
        with pytest.raises(UnavailableError):
            await service.transact(lambda _: made)
        await service.close()

    asyncio.run(scenario())
    diagnosis = diagnose(home)
    assert diagnosis.sound
    assert len(diagnosis.undrained) == 1
    repair(home)
    assert docs(home)["fine"]["state"] == "revoked"


def test_an_entry_somebody_slipped_in_is_named_and_dropped(home: Installation) -> None:
    tamper(home, ("INSERT INTO outbox (id, sealed) VALUES ('evt_forged', ?)", (bytes(60),)))
    assert diagnose(home).foreign == ("evt_forged",)
    repair(home)
    assert diagnose(home).sound


def test_a_difference_that_is_only_the_moment_between_two_reads_is_none(home: Installation) -> None:
    """A server records a change between the doctor's reading of the log and of the rows."""
    home_doc = b'{"n":5}'

    class Moving(SqliteControlStore):
        reads = 0

        def rows(self) -> Any:
            self.reads += 1
            for row in super().rows():
                if row.key == "fine" and self.reads == 1:
                    yield StateRow("thing", "fine", home_doc, row_digest("thing", "fine", home_doc), "evt_next")
                else:
                    yield row

    store = Moving(home.database, read_only=True)
    assert home.doctor(store).diagnose().sound
    assert store.reads == 2
    store.close()


def test_a_read_only_store_reads_beside_a_running_server_and_writes_nothing(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await service.transact(lambda _: change(("thing", "live", {})))
            assert diagnose(home).sound
            store = SqliteControlStore(home.database, read_only=True)
            with pytest.raises(UnavailableError):
                store.replace([], forget=[])
            store.close()

    asyncio.run(scenario())
