"""The life of a change when something fails at any of its steps."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.control import ProvenControlLog
from accredit.audit.ports import Change, StateView
from accredit.audit.records import body_of
from accredit.audit.reserve import SLOT_BYTES, SLOTS
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.kernel.ids import SeededIds
from accredit.storage.sqlite.state import SqliteControlStore
from tests.state.installation import REFUSAL, Installation, change
from tests.state.process import fill

SECRET = "dana@example.com"


def play(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


async def put(service: ProvenControlLog, key: str, doc: dict[str, Any] | None, *, narrowing: bool = False) -> None:
    await service.transact(lambda _: change(("thing", key, doc), narrowing=narrowing))


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.mark.requirement("state:change:survives-restart")
def test_state_survives_a_restart(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "a", {"n": 1})
            await put(service, "b", {"n": 2})
            await put(service, "a", {"n": 3})
            await put(service, "b", None)
            position = service.position
        async with home.running() as service:
            assert home.docs(service) == {"a": {"n": 3}}
            assert (service.unproven, service.position, service.waiting) == (frozenset(), position, 0)

    play(scenario())


@pytest.mark.requirement("state:record:complete-and-sealed")
def test_the_record_holds_actor_changes_and_its_predecessor_and_no_doc_in_clear(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await service.transact(lambda _: change(("person", "psn_1", {"email": SECRET}), ticket="t-1"))
            await service.transact(lambda _: change(("person", "psn_1", None)))

    play(scenario())
    first, second = home.journal.kept
    body = body_of(first)
    assert body["actor"] == {"person": "psn_1", "agent": None, "credential": "crd_1", "basis": ""}
    assert body["ticket"] == "t-1"
    assert (body["follows"], body_of(second)["follows"]) == (None, 0)
    ((kind, key, digest),) = body["changes"]
    assert (kind, key) == ("person", "psn_1")
    assert digest.startswith("sha256:")
    assert body_of(second)["changes"] == [["person", "psn_1", None]]
    assert home.journal.open_part(first, "state") == {"person/psn_1": {"email": SECRET}}
    assert home.journal.open_part(second, "state") == {"person/psn_1": None}
    assert SECRET.encode() not in b"".join((first.header, first.body, *(part.ciphertext for part in first.parts)))


def test_the_outbox_never_holds_a_doc_in_clear_and_forgets_it_once_recorded(home: Installation) -> None:
    found: list[list[tuple[Any, ...]]] = []

    def look(step: str) -> None:
        if step in {"committed", "placed"}:
            beside = sqlite3.connect(home.database)
            found.append(beside.execute("SELECT sealed, stream, seq FROM outbox").fetchall())
            beside.close()

    async def scenario() -> None:
        async with home.running(at=look) as service:
            await service.transact(lambda _: change(("person", "psn_1", {"email": SECRET})))

    play(scenario())
    ((sealed, stream, seq),), placed = found
    assert (stream, seq) == (None, None)
    assert SECRET.encode() not in sealed
    assert placed == [(None, "stream-1", 0)]


def test_every_commit_but_the_note_of_a_place_is_synced(home: Installation) -> None:
    store = SqliteControlStore(home.database)

    def synchronous() -> int:
        (level,) = store._database.execute("PRAGMA synchronous").fetchone()
        return int(level)

    assert synchronous() == 2
    store.place("evt_none", "stream-1", 0)
    assert synchronous() == 2
    assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._database.execute("PRAGMA secure_delete").fetchone() == (1,)
    store.close()


def test_a_database_of_a_newer_release_or_of_something_else_is_not_touched(home: Installation) -> None:
    SqliteControlStore(home.database).close()
    for pragma in ("user_version = 99", "application_id = 7"):
        beside = sqlite3.connect(home.database)
        beside.execute(f"PRAGMA {pragma}")
        beside.close()
        with pytest.raises(ConflictError):
            SqliteControlStore(home.database)
        with pytest.raises(ConflictError):
            SqliteControlStore(home.database, read_only=True)
    home.database.write_bytes(b"not a database, but long enough to look like one" * 20)
    with pytest.raises(UnavailableError):
        SqliteControlStore(home.database)


@pytest.mark.requirement("state:change:durable-before-visible")
def test_a_change_is_not_visible_before_its_record_is_durable(home: Installation) -> None:
    async def scenario() -> None:
        home.journal.gate = asyncio.Event()
        heard: list[Change] = []
        async with home.running() as service:
            service.subscribe(heard.append)
            task = asyncio.ensure_future(put(service, "a", {"n": 1}))
            while service.waiting == 0:
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert (home.docs(service), heard, service.position) == ({}, [], -1)
            assert not service.refused, "it is on its way, which is no trouble"
            home.journal.gate.set()
            await task
            assert home.docs(service) == {"a": {"n": 1}}
            assert len(heard) == 1

    play(scenario())


@pytest.mark.requirement("state:change:cancelled-caller")
def test_a_cancelled_caller_does_not_lose_the_change(home: Installation) -> None:
    async def scenario() -> None:
        home.journal.gate = asyncio.Event()
        async with home.running() as service:
            task = asyncio.ensure_future(put(service, "a", {"n": 1}))
            while service.waiting == 0:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            home.journal.gate.set()
            await put(service, "b", {"n": 2})
            assert home.docs(service) == {"a": {"n": 1}, "b": {"n": 2}}

    play(scenario())


def test_a_listener_that_fails_keeps_the_change_from_nobody(home: Installation, caplog: Any) -> None:
    async def scenario() -> None:
        heard: list[Change] = []
        faults: list[Exception] = []

        def broken(one: Change) -> None:
            raise RuntimeError("lost track")

        async with home.running(on_fault=faults.append) as service:
            service.subscribe(broken)
            service.subscribe(heard.append)
            await put(service, "a", {})
            await put(service, "a", None, narrowing=True)
            assert home.docs(service) == {}
            assert len(heard) == 2
            assert [str(fault) for fault in faults] == ["lost track"] * 2

    play(scenario())


@pytest.mark.requirement("state:change:log-refuses")
def test_a_widening_change_the_log_refuses_is_whole_or_not_there(home: Installation) -> None:
    async def scenario() -> None:
        heard: list[Change] = []
        async with home.running() as service:
            await put(service, "a", {"n": 1})
            service.subscribe(heard.append)
            home.journal.refusal = REFUSAL
            with pytest.raises(UnavailableError, match="not in force"):
                await put(service, "a", {"n": 2})
            with pytest.raises(UnavailableError, match="nothing was changed"):
                await put(service, "b", {})
            assert (home.docs(service), heard, service.waiting) == ({"a": {"n": 1}}, [], 1)
            assert service.refused
        # the log still refuses when the next process starts: the row cannot be shown, and neither can the old one
        async with home.running() as service:
            assert home.docs(service) == {}
            assert service.unproven == {("thing", "a")}
            home.journal.refusal = None
            service.subscribe(heard.append)
            await service.drain()
            assert (home.docs(service), service.unproven) == ({"a": {"n": 2}}, frozenset())
            assert len(heard) == 1
        async with home.running() as service:
            assert (home.docs(service), service.unproven, service.waiting) == ({"a": {"n": 2}}, frozenset(), 0)
            assert not service.refused
            await put(service, "b", {})
        assert [body_of(record)["follows"] for record in home.journal.kept] == [None, 0, 1]

    play(scenario())


def test_a_record_the_log_wrote_and_denied_is_found_and_not_written_twice(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            home.journal.refusal, home.journal.refuses_after_writing = REFUSAL, True
            with pytest.raises(UnavailableError, match="not in force"):
                await put(service, "a", {"n": 1})
            assert home.docs(service) == {}
            home.journal.refusal = None
            await put(service, "b", {"n": 2})
            assert home.docs(service) == {"a": {"n": 1}, "b": {"n": 2}}
        async with home.running() as service:
            assert home.docs(service) == {"a": {"n": 1}, "b": {"n": 2}}
        assert [body_of(record)["follows"] for record in home.journal.kept] == [None, 0]

    play(scenario())


def test_what_waits_is_recorded_in_the_background_once_the_log_is_back(home: Installation) -> None:
    async def scenario() -> None:
        recorded = asyncio.Event()
        async with home.running(retry_s=0.001) as service:
            home.journal.refusal = REFUSAL
            with pytest.raises(UnavailableError):
                await put(service, "a", {"n": 1})
            service.subscribe(lambda _: recorded.set())
            home.journal.refusal = None
            await asyncio.wait_for(recorded.wait(), 20)
            assert home.docs(service) == {"a": {"n": 1}}

    play(scenario())


# -- narrowing


@pytest.mark.requirement("state:narrowing:at-once")
def test_a_narrowing_change_is_in_force_before_anything_is_written(home: Installation) -> None:
    async def scenario() -> None:
        steps: list[tuple[str, bool]] = []
        heard: list[Change] = []
        async with home.running(at=lambda step: steps.append((step, bool(heard)))) as service:
            await put(service, "key", {"state": "active"})
            service.subscribe(heard.append)
            steps.clear()
            await put(service, "key", {"state": "revoked"}, narrowing=True)
            assert steps[:3] == [("built", False), ("narrowed", True), ("committed", True)]
            assert len(heard) == 1

    play(scenario())


@pytest.mark.requirement("state:narrowing:survives-log-failure")
@pytest.mark.parametrize("after_writing", [False, True])
def test_a_narrowing_change_the_log_refuses_stays_in_force_over_restarts(
    home: Installation, *, after_writing: bool
) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "key", {"state": "active"})
            home.journal.refusal, home.journal.refuses_after_writing = REFUSAL, after_writing
            with pytest.raises(UnavailableError, match="in force all the same"):
                await put(service, "key", {"state": "revoked"}, narrowing=True)
            assert home.docs(service) == {"key": {"state": "revoked"}}
        home.journal.refuses_after_writing = False
        async with home.running() as service:
            assert home.docs(service) == {"key": {"state": "revoked"}}
            assert service.unproven == frozenset()
            home.journal.refusal = None
            await put(service, "other", {})
            assert service.waiting == 0
        async with home.running() as service:
            assert home.docs(service) == {"key": {"state": "revoked"}, "other": {}}
        assert len(home.journal.kept) == 3

    play(scenario())


@pytest.mark.requirement("state:narrowing:full-disk")
def test_a_revocation_on_a_full_disk_survives_a_restart(home: Installation) -> None:
    large = "x" * 20_000

    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "key", {"state": "active"})
            fill(service)
            with pytest.raises(UnavailableError) as refused:
                await put(service, "new", {"text": large})
            assert refused.value.code is Code.DISK_LOW
            assert home.docs(service) == {"key": {"state": "active"}}
            with pytest.raises(UnavailableError, match="in force all the same"):
                await put(service, "key", {"state": "revoked", "why": large}, narrowing=True)
            assert home.docs(service)["key"]["state"] == "revoked"
        assert len(home.reserve.entries()) == 1
        assert len(home.journal.kept) == 1
        # the disk is still full when the next process starts
        service = home.service(SqliteControlStore(home.database))
        fill(service)
        await service.start()
        assert home.docs(service)["key"]["state"] == "revoked"
        assert (service.unproven, service.waiting) == (frozenset(), 1)
        await service.close()
        # and then there is room again
        async with home.running() as service:
            assert home.docs(service)["key"]["state"] == "revoked"
            assert (service.unproven, service.waiting) == (frozenset(), 0)
            assert home.reserve.entries() == ()
        async with home.running() as service:
            assert home.docs(service)["key"]["state"] == "revoked"
        assert len(home.journal.kept) == 2

    play(scenario())


def test_a_second_revocation_on_a_full_disk_stands_above_the_first(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "key", {"state": "active", "epoch": 1})
            fill(service)
            for epoch in (2, 3):
                with pytest.raises(UnavailableError):
                    await put(service, "key", {"epoch": epoch, "pad": "x" * 9_000}, narrowing=True)
            with pytest.raises(UnavailableError, match="nothing was changed"):
                await put(service, "key", {"epoch": 4})
        async with home.running() as service:
            assert home.docs(service)["key"]["epoch"] == 3
        assert [body_of(record)["follows"] for record in home.journal.kept] == [None, 0, 1]

    play(scenario())


@pytest.mark.requirement("state:narrowing:not-undone-by-older")
def test_an_older_change_that_is_recorded_late_does_not_undo_a_revocation(home: Installation) -> None:
    async def scenario() -> None:
        seen: list[Any] = []
        async with home.running() as service:
            await put(service, "key", {"state": "active", "note": 1})
            home.journal.refusal = REFUSAL
            with pytest.raises(UnavailableError):
                await put(service, "key", {"state": "active", "note": 2})
            with pytest.raises(UnavailableError):
                await put(service, "key", {"state": "revoked", "note": 1}, narrowing=True)
            service.subscribe(lambda one: seen.append([write.doc for write in one.writes]))
            home.journal.refusal = None
            await service.drain()
            assert home.docs(service)["key"]["state"] == "revoked"
            assert seen == [[]]
        async with home.running() as service:
            assert home.docs(service)["key"]["state"] == "revoked"
            assert service.unproven == frozenset()

    play(scenario())


def test_a_full_reserve_says_that_the_revocation_ends_with_the_process(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "key", {"state": "active"})
            fill(service)
            home.reserve.put(bytes(SLOT_BYTES * SLOTS - 60))
            with pytest.raises(UnavailableError, match="only until this process ends"):
                await put(service, "key", {"state": "revoked", "why": "x" * 9_000}, narrowing=True)
            assert home.docs(service)["key"]["state"] == "revoked"

    play(scenario())


# -- what somebody slipped in


@pytest.mark.requirement("state:proof:foreign-outbox")
@pytest.mark.parametrize("where", ["outbox", "reserve"])
def test_a_change_slipped_into_outbox_or_reserve_is_never_recorded(
    home: Installation, tmp_path: Path, where: str
) -> None:
    other_path = tmp_path / "other"
    other_path.mkdir()
    other = Installation(other_path)
    other.ids, other.sealer = SeededIds(2), other.sealer.derive("another installation")

    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "a", {"n": 1})
        other.journal.refusal = REFUSAL
        async with other.running() as service:
            with pytest.raises(UnavailableError):
                await put(service, "a", {"admin": True})
        beside = SqliteControlStore(other.database)
        (forged,) = beside.undrained()
        beside.close()
        if where == "outbox":
            store = SqliteControlStore(home.database)
            store.commit(forged, ())
            store.close()
        else:
            home.reserve.put(forged.id.encode() + b"\n" + forged.sealed)
        async with home.running() as service:
            assert home.docs(service) == {"a": {"n": 1}}
            assert service.foreign == (forged.id,)
            await put(service, "b", {})
        assert len(home.journal.kept) == 2

    play(scenario())


def test_a_widening_change_of_an_unproven_row_is_refused_and_a_narrowing_one_is_not(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "key", {"state": "revoked"})
        beside = sqlite3.connect(home.database)
        with beside:
            beside.execute("DELETE FROM state")
        beside.close()
        async with home.running() as service:
            assert service.unproven == {("thing", "key")}
            with pytest.raises(ConflictError) as refused:
                await put(service, "key", {"state": "active"})
            assert refused.value.code is Code.STATE_UNPROVEN
            await put(service, "key", {"state": "revoked", "again": True}, narrowing=True)
            assert service.unproven == frozenset()
        async with home.running() as service:
            assert home.docs(service) == {"key": {"state": "revoked", "again": True}}

    play(scenario())


def test_nothing_starts_on_a_log_that_does_not_verify(home: Installation) -> None:
    def refuse() -> None:
        raise UnavailableError(Code.LOG_INVALID, "record 0 is not in the signed tree")

    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "a", {})
        service = home.service(SqliteControlStore(home.database), verify_log=refuse)
        with pytest.raises(UnavailableError) as refused:
            await service.start()
        assert refused.value.code is Code.LOG_INVALID
        with pytest.raises(UnavailableError):
            await put(service, "b", {})
        assert home.docs(service) == {}
        await service.close()

    play(scenario())


def test_a_closed_control_log_takes_no_change(home: Installation) -> None:
    async def scenario() -> None:
        async with home.running() as service:
            await put(service, "a", {})
        built: list[StateView] = []
        with pytest.raises(UnavailableError):
            await service.transact(built.append)
        assert built == []

    play(scenario())
