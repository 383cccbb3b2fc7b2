"""Erasing somebody from the log: what goes, what stays provable, who decides, and what a crash leaves."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.audit.erasing import ErasureState
from accredit.audit.model import Entry, Facts, Part, Pseudonym
from accredit.audit.records import PART_ERASED, PartKeys, header_of
from accredit.audit.subjects import EVERY_SENSE, SubjectSense
from accredit.audit.verify import VerifyReport, verify_log
from accredit.kernel.clearance import Subject
from accredit.kernel.errors import ConflictError, ForbiddenError, NotFoundError
from accredit.kernel.ids import RandomIds
from accredit.kernel.sealing import AesGcmSealer
from accredit.registry.model import Role
from accredit.storage.sqlite.records import SqliteRecordReader
from tests.audit.building import STREAM, signer
from tests.lifecycle.house import NOW_US, House, house, operator

CORA, SAM, ADA, OLIVE, DANA = (operator(name) for name in ("cora", "sam", "ada", "olive", "dana"))
CALLS = frozenset({"arguments", "context", "result"})
USERS = ("alice", "bob", "carol", "dave")
KEYS = PartKeys(AesGcmSealer(bytes(32), RandomIds()), STREAM)


def call(number: int, user: str, note: str = "") -> tuple[Entry, Entry]:
    """A decision for a user and its outcome."""
    facts = Facts("decision", agent=f"agt_{number % 3}", tool="crm/read", decision="allow", action="enforced")
    about = {"decision_id": f"dec_{number}", "user": f"psd_{user}", "task": None}
    said = {"id": f"ticket-{number:05d}", "note": note or "nothing"}
    decision = Entry(
        facts,
        NOW_US + number,
        about,
        (Part("arguments", said), Part("context", {"user": {"name": f"{user}-claim"}})),
        pseudonyms=(Pseudonym("user", f"13:https://idp.x{user}", f"psd_{user}"),),
    )
    result = Part("result", {"text": f"record of ticket-{number:05d}"})
    outcome = Entry(Facts("outcome", agent=facts.agent), NOW_US + number, {"decision_id": f"dec_{number}"}, (result,))
    return decision, outcome


async def fill(place: House, calls: list[tuple[str, str]]) -> None:
    for number, (user, note) in enumerate(calls):
        for entry in call(number, user, note):
            await place.log.append(entry)


async def asked(place: House, subject: str, who: object = OLIVE, **senses: frozenset[SubjectSense]) -> str:
    acts = place.room.record_operations
    _, request = await acts.erase(who, subject, senses.get("senses", EVERY_SENSE), "asked to")  # type: ignore[arg-type]
    return request.id


async def erase(place: House, subject: str) -> None:
    await place.approve(await asked(place, subject))
    await place.room.record_operations.round()


def verified(path: Path, *, opened: bool = True) -> VerifyReport:
    return verify_log(
        lambda: SqliteRecordReader(path / "audit.db"), verifier=signer().verifier(), keys=KEYS if opened else None
    )


def openable(path: Path) -> set[tuple[int, str]]:
    reader = SqliteRecordReader(path / "audit.db")
    try:
        keys = reader.wrapped_keys(0, reader.size())
        return {(seq, name) for seq, names in keys.items() for name in names if name in CALLS}
    finally:
        reader.close()


def leaves(path: Path, upto: int) -> list[bytes]:
    reader = SqliteRecordReader(path / "audit.db")
    try:
        return [b"".join(row[1:5]) for row in reader.rows(0, upto)]
    finally:
        reader.close()


def of_calls(path: Path, numbers: set[int]) -> set[tuple[int, str]]:
    """The parts of these calls, found by what the records' bodies say."""
    reader = SqliteRecordReader(path / "audit.db")
    try:
        return {
            (record.seq, part.name)
            for record in reader.records()
            for number in numbers
            if f'"decision_id":"dec_{number}"'.encode() in record.body
            for part in record.parts
        }
    finally:
        reader.close()


@pytest.mark.requirement("keeping:erase:exactly")
@settings(max_examples=5, deadline=None)
@given(st.lists(st.sampled_from(USERS), min_size=1, max_size=12), st.sets(st.sampled_from(USERS), max_size=3))
def test_whoever_is_erased_every_other_record_is_proven_byte_by_byte(of: list[str], gone: set[str]) -> None:
    gone &= set(of)

    async def go(path: Path) -> None:
        async with house(path) as place:
            await fill(place, [(user, "") for user in of])
            size = place.records.size()
            before, keys = leaves(path, size), openable(path)
            for user in sorted(gone):
                await erase(place, user)
            numbers = {number for number, user in enumerate(of) if user in gone}
            erased = of_calls(path, numbers)
            assert keys - openable(path) == erased
            assert leaves(path, size) == before
            assert {one.pseudonym for one in place.log.pseudonyms()} == {f"psd_{user}" for user in set(of) - gone}
            assert all(one.state is ErasureState.ENDED for one in place.room.erasures.all())
        report = verified(path)
        assert report.ok, report.what
        assert report.erased == len(erased)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(go(Path(directory)))


@pytest.mark.requirement("keeping:erase:residue")
def test_no_file_has_a_byte_of_a_destroyed_key_or_of_a_forgotten_name_left(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [(USERS[number % 4], "") for number in range(200)])
            wrapped = place.records.wrapped_keys(0, place.records.size())
            sealed = {name: value for name, _, value in place.records.pseudonyms()}
            doomed = {wrapped[seq][name] for seq, name in of_calls(tmp_path, set(range(0, 200, 4)))}
            kept = {wrapped[seq][name] for seq, name in of_calls(tmp_path, set(range(1, 200, 4)))}
            assert len(doomed) == 150
            await erase(place, "alice")
            # while the server runs: database, WAL and shared memory as they are
            held = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())
            assert not [one for one in doomed if one[:16] in held or one[-16:] in held]
            assert sealed["psd_alice"][:16] not in held
            assert all(one in held for one in kept)
            assert sealed["psd_bob"] in held

    asyncio.run(go())


@pytest.mark.requirement("keeping:erase:named")
def test_neither_the_request_nor_the_record_of_an_erasure_says_who_it_was(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice-in-chains", "")])
            await erase(place, "alice-in-chains")
            (done,) = place.room.erasures.all()
            assert (done.records, done.parts, done.forgotten, done.kept) == (2, 3, 1, {})

    asyncio.run(go())
    for one in (one for one in tmp_path.rglob("*") if one.is_file()):
        held = one.read_bytes()  # the calls of this test spell their pseudonym so
        assert held.count(b"alice-in-chains") == held.count(b"psd_alice-in-chains")


@pytest.mark.requirement("keeping:erase:found")
def test_a_subject_is_found_by_user_claim_detected_value_and_literal_text(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            notes = ["write to Eve@Example.org today", "customer C-8812 called", "c-88120 and xc-8812", "nothing"]
            await fill(place, [("bob", note) for note in notes])
            every = openable(tmp_path)
            await erase(place, "eve@example.org")
            await erase(place, "c-8812")
            assert every - openable(tmp_path) == of_calls(tmp_path, {0, 1})
            await erase(place, "BOB-claim")
            assert every - openable(tmp_path) == of_calls(tmp_path, {0, 1, 2, 3})
            with pytest.raises(NotFoundError):
                await asked(place, "c-8812")
            with pytest.raises(NotFoundError):
                await asked(place, "carol")

    asyncio.run(go())
    assert verified(tmp_path).ok


@pytest.mark.requirement("keeping:erase:shared")
def test_a_part_about_two_goes_when_either_is_erased(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", "on behalf of carol@example.org"), ("carol", "")])
            await erase(place, "carol@example.org")
            assert of_calls(tmp_path, {0}).isdisjoint(openable(tmp_path))
            assert of_calls(tmp_path, {1}) <= openable(tmp_path)

    asyncio.run(go())


@pytest.mark.requirement("keeping:erase:two")
def test_nobody_erases_alone(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", "")])
            every = openable(tmp_path)
            for who in (SAM, DANA):
                with pytest.raises(ForbiddenError):
                    await asked(place, "alice", who)
            request = await asked(place, "alice", CORA)
            with pytest.raises(ForbiddenError):
                await place.vote(request, Role.COMPLIANCE)  # cora asked
            await place.room.record_operations.round()
            assert every == openable(tmp_path)
            assert not place.room.erasures.all()

    asyncio.run(go())


@pytest.mark.requirement("keeping:hold:beats")
def test_a_hold_keeps_what_it_means_and_the_receipt_names_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", ""), ("alice", ""), ("alice", "")])
            hold = await place.room.record_operations.place_hold(SAM, "m", since_us=NOW_US + 1, until_us=NOW_US + 2)
            await erase(place, "alice")
            assert of_calls(tmp_path, {1}) <= openable(tmp_path)
            assert of_calls(tmp_path, {0, 2}).isdisjoint(openable(tmp_path))
            (done,) = place.room.erasures.all()
            assert (done.state, dict(done.kept), done.forgotten) == (ErasureState.ENDED, {hold.id: 2}, 0)
            assert [one.pseudonym for one in place.log.pseudonyms()] == ["psd_alice"]
            await place.room.record_operations.lift_hold(CORA, hold.id, "over")
            await erase(place, "alice")
            assert of_calls(tmp_path, {0, 1, 2}).isdisjoint(openable(tmp_path))
            assert place.log.pseudonyms() == []

    asyncio.run(go())
    assert verified(tmp_path).ok


@pytest.mark.requirement("keeping:hold:beats")
def test_a_hold_on_the_subject_by_another_name_of_theirs_keeps_the_call(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", "customer of eve@example.org")])
            hold = await place.room.record_operations.place_hold(SAM, "m", subject="eve@example.org")
            every = openable(tmp_path)
            await erase(place, "alice")
            assert every == openable(tmp_path)
            assert place.room.erasures.all()[0].kept == {hold.id: 2}

    asyncio.run(go())


class KilledError(Exception):
    """The process is gone."""


def quiet(_: str) -> None:
    """Lives on."""


def dying(at: str, times: int) -> Callable[[str], None]:
    left = [times]

    def step(name: str) -> None:
        if name == at:
            left[0] -= 1
            if left[0] == 0:
                raise KilledError

    return step


@pytest.mark.requirement("keeping:erase:resumed")
@pytest.mark.parametrize("where", ["at", "within"])
@pytest.mark.parametrize("nth", [1, 2])
def test_killed_at_any_step_an_erasure_is_completed_and_the_log_verifies(tmp_path: Path, where: str, nth: int) -> None:
    steps = ("committed", "appended", "placed", "enforced") if where == "within" else ("batch", "scrubbed", "ended")

    async def go(path: Path, step: str) -> None:
        die = dying(step, nth)
        on = [False]

        def at(name: str) -> None:
            if on[0]:
                die(name)

        async with house(path, at=at if where == "at" else quiet, within=at if where == "within" else quiet) as place:
            await fill(place, [("alice" if number % 2 else "bob", "") for number in range(160)])
            await place.approve(await asked(place, "alice"))
            on[0] = True
            with contextlib.suppress(KilledError):
                await place.room.record_operations.round()
            on[0] = False
        assert verified(path).ok, step
        async with house(path) as place:
            await place.room.record_operations.round()
            (done,) = place.room.erasures.all()
            assert (done.state, done.parts) == (ErasureState.ENDED, 3 * 80), step
        gone = of_calls(path, {number for number in range(160) if number % 2})
        assert gone.isdisjoint(openable(path))
        assert verified(path).ok, step

    for step in steps:
        (path := tmp_path / step).mkdir()
        asyncio.run(go(path, step))


@pytest.mark.requirement("keeping:erase:resumed")
def test_a_hold_that_is_placed_while_an_erasure_runs_keeps_what_is_not_gone_yet(tmp_path: Path) -> None:
    async def go() -> None:
        placed: list[str] = []
        async with house(tmp_path) as place:
            await fill(place, [("alice", "")] * 100)
            await place.approve(await asked(place, "alice"))
            erasures = place.room.erasures
            (begun,) = erasures.all()
            page = await asyncio.to_thread(erasures._next_page, begun)
            hold = await place.room.record_operations.place_hold(SAM, "m", since_us=1)
            placed.append(hold.id)
            after = await erasures._erase(begun, page)
            assert (after.parts, set(after.kept)) == (0, {hold.id})
            await place.room.record_operations.round()
            assert place.room.erasures.all()[0].parts == 0

    asyncio.run(go())


@pytest.mark.requirement("keeping:erase:tombstone")
def test_a_key_without_a_tombstone_a_forged_one_and_a_returned_key_are_found(tmp_path: Path) -> None:
    import sqlite3

    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", ""), ("bob", "")])
            await erase(place, "alice")

    asyncio.run(go())
    database = tmp_path / "audit.db"
    original = database.read_bytes()
    (seq, name), *_ = sorted(of_calls(tmp_path, {1}))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM part_keys WHERE seq = ? AND name = ?", (seq, name))
    report = verified(tmp_path)
    assert (report.ok, f"record {seq}" in report.what, "no tombstone" in report.what) == (False, True, True)
    database.write_bytes(original)
    (seq, name), *_ = sorted(of_calls(tmp_path, {0}))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO part_keys VALUES (?, ?, ?)", (seq, name, b"x" * 60))
    assert not verified(tmp_path).ok
    database.write_bytes(original)
    reader = SqliteRecordReader(database)
    stones = [record.seq for record in reader.records() if header_of(record)["kind"] == PART_ERASED]
    reader.close()
    for stone in stones[:1]:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            (body,) = connection.execute("SELECT body FROM records WHERE seq = ?", (stone,)).fetchone()
            forged = body.replace(b'"part":"arguments"', b'"part":"argumentz"')
            assert forged != body
            connection.execute("UPDATE records SET body = ? WHERE seq = ?", (forged, stone))
        report = verified(tmp_path, opened=False)
        assert (report.ok, report.first_bad) == (False, stone)


@pytest.mark.requirement("keeping:erase:tombstone")
def test_a_tombstone_of_what_is_not_written_yet_does_not_verify(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            early = {"erased": [{"part": "arguments", "seq": place.records.size() + 1}]}
            await place.log.append(Entry(Facts(PART_ERASED), NOW_US, early))
            await fill(place, [("alice", "")])

    asyncio.run(go())
    report = verified(tmp_path, opened=False)
    assert (report.ok, "not written yet" in report.what) == (False, True)


def test_the_erasure_of_a_subject_rests_on_the_very_digest_that_was_signed_off(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", "")])
            request = await asked(place, "alice")
            await place.approve(request)
            found = place.approvals.get(request)
            assert found is not None
            assert isinstance(found.subject, Subject)
            assert place.room.erasures.all()[0].approved == found.subject.digest

    asyncio.run(go())


@pytest.mark.requirement("keeping:hold:proven")
def test_with_a_hold_that_the_log_contradicts_nothing_is_erased(tmp_path: Path) -> None:
    import sqlite3

    async def first() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", "")])
            await place.approve(await asked(place, "alice"))
            await place.room.record_operations.place_hold(SAM, "m", until_us=1)

    asyncio.run(first())
    database = next(path for path in tmp_path.rglob("*.db") if path.name != "audit.db")
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM state WHERE kind = 'legal-hold'")

    async def go() -> None:
        async with house(tmp_path) as place:
            every = openable(tmp_path)
            with pytest.raises(ConflictError):
                await place.room.record_operations.round()
            assert every == openable(tmp_path)

    asyncio.run(go())
