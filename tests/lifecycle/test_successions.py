"""An agent whose owner left, from the first question to its end, among the real rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import PersonId
from accredit.lifecycle.discovery.findings import FindingAnswer, FindingKind
from accredit.lifecycle.succession import AskedAs, Succession, SuccessionStep
from accredit.monitoring.model import AlertKind
from accredit.registry import rows
from accredit.registry.errors import ManifestError
from accredit.registry.model import AgentState, Person, RestrictionKind
from tests.lifecycle.house import House, agent, file, house, operator, person_id

_DAY_S = 86_400
_Living = Callable[[House], Coroutine[Any, Any, None]]


def _lived(path: Path, living: _Living, *, at: Callable[[str], None] = lambda _: None) -> None:
    async def run() -> None:
        async with house(path, at=at) as place:
            await living(place)

    asyncio.run(run())


async def _refused(coroutine: Coroutine[Any, Any, Any], code: Code) -> None:
    with pytest.raises(AccreditError) as told:
        await coroutine
    assert told.value.code is code


async def _left(place: House, *names: str) -> None:
    for name in names:
        await place.operations.person_left(operator("ada"), person_id(name), "left")
    await place.room.people.successions.round()


async def _after(place: House, days: float) -> Succession | None:
    """The agent's succession so many days later."""
    place.clock.advance(days * _DAY_S)
    await place.room.people.successions.round()
    return place.room.people.successions.of(place.agent().id)


async def _known(place: House, days: float) -> Succession:
    found = await _after(place, days)
    assert found is not None
    return found


async def _managed(place: House, who: str, manager: str | None) -> None:
    person = {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": f"{who}@example.com"}}
    if manager:
        person["spec"]["manager"] = f"{manager}@example.com"  # type: ignore[index] # a mapping
    await place.operations.apply(operator("ada"), file(person))


def _steps(place: House) -> list[str]:
    return sorted(one.matter for one in place.room.monitor.alerts() if one.kind is AlertKind.OWNERLESS)


async def _owned(place: House, who: str) -> None:
    """The version that waits is signed off and put into force."""
    request = await place.operations.submit(operator(who), place.agent().id)
    assert request is not None
    await place.approve(request.id)
    await place.operations.activate(operator(who), place.agent().id)


@pytest.mark.requirement("people:succession:line", "people:succession:steps")
def test_backup_manager_and_team_are_asked_and_then_the_agent_is_narrowed_step_by_step(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active()
        await _managed(place, "dana", "una")
        assert await _after(place, 0) is None
        await _left(place, "dana")
        begun = await _known(place, 0)
        assert (begun.turn.as_, begun.turn.persons) == (AskedAs.BACKUP, (person_id("lee"),))
        manager = await _known(place, 2.5)
        assert (manager.turn.as_, manager.turn.persons) == (AskedAs.MANAGER, (person_id("una"),))
        team = await _known(place, 2.5)
        assert (team.turn.as_, team.turn.persons) == (AskedAs.TEAM, (person_id("lena"),))
        assert (team.step, place.registry.restrictions_of(place.agent().id)) == (SuccessionStep.ASKED, ())
        assert (await _known(place, 2.1)).step is SuccessionStep.READ_ONLY
        (restriction,) = place.registry.restrictions_of(place.agent().id)
        assert (restriction.kind, restriction.alert) == (RestrictionKind.READ_ONLY, begun.id)
        assert place.agent().state is AgentState.ACTIVE
        assert (await _known(place, 7)).step is SuccessionStep.SUSPENDED
        assert place.agent().state is AgentState.SUSPENDED
        assert (await _known(place, 45)).step is SuccessionStep.SUSPENDED
        assert (await _known(place, 1)).step is SuccessionStep.RETIREMENT
        assert place.agent().state is AgentState.SUSPENDED, "people end it, time does not"
        assert _steps(place) == ["read-only", "retirement-proposed", "suspended"]
        before = place.control.position
        await _known(place, 0)
        assert place.control.position == before, "a round in which nothing is due changes nothing"
        await place.operations.retire(operator("olive"), place.agent().id, "nobody wants it")
        await place.room.people.successions.round()
        assert place.room.people.successions.all() == ()

    _lived(tmp_path, living)


@pytest.mark.requirement("people:adopt", "people:succession:over")
def test_whoever_takes_over_has_time_to_bring_it_into_force_and_gets_back_what_was_taken(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        people = place.room.people
        await place.tools()
        await place.active()
        await _refused(people.adopt(operator("lee"), place.agent().id, "mine"), Code.CONFLICT)
        await _left(place, "dana")
        await _known(place, 7.1)
        for who in ("sam", "una", "bo"):
            await _refused(people.adopt(operator(who), place.agent().id, "mine"), Code.NOT_AUTHORISED)
        read = operator("lee", scopes=frozenset({"read"}))
        await _refused(people.adopt(read, place.agent().id, "mine"), Code.NOT_AUTHORISED)
        await _refused(people.adopt(operator("lee"), place.agent().id, " "), Code.BODY_MALFORMED)
        assert await people.adopt(operator("lee"), place.agent().id, "I know it well") == place.agent()
        assert (place.agent().owner, place.agent().state) == (person_id("dana"), AgentState.ACTIVE)
        accepted = await _known(place, 0)
        assert (accepted.accepted_by, accepted.step) == (person_id("lee"), SuccessionStep.READ_ONLY)
        await _refused(people.adopt(operator("lena"), place.agent().id, "no, mine"), Code.CONFLICT)
        assert (await _known(place, 10)).step is SuccessionStep.READ_ONLY
        await _owned(place, "lee")
        assert await _after(place, 0) is None
        assert place.agent().owner == person_id("lee")
        assert place.registry.restrictions_of(place.agent().id) == ()
        assert place.agent().state is AgentState.ACTIVE

    _lived(tmp_path, living)


@pytest.mark.requirement("people:succession:narrows")
def test_taking_over_and_doing_nothing_gives_two_weeks_once(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        people = place.room.people
        await place.tools()
        await place.active()
        await _left(place, "dana")
        await _known(place, 1)
        await people.adopt(operator("lee"), place.agent().id, "mine")
        assert (await _known(place, 13.9)).step is SuccessionStep.ASKED
        await _left(place, "lee")
        gone = await _known(place, 0)
        assert (gone.accepted_by, gone.step) == (None, SuccessionStep.SUSPENDED), "both steps were due"
        await people.adopt(operator("lena"), place.agent().id, "then it is mine")
        again = await _known(place, 0)
        assert (again.accepted_by, again.accepted_us) == (person_id("lena"), gone.accepted_us)
        assert place.agent().state is AgentState.SUSPENDED, "what was stopped is resumed by people"

    _lived(tmp_path, living)


@pytest.mark.requirement("people:succession:line")
def test_an_emptied_team_leaves_it_to_operators_and_with_nobody_left_it_is_stopped_all_the_same(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active()
        await _left(place, "dana", "lee", "lena")
        found = await _known(place, 0)
        assert (found.turn.as_, found.turn.persons) == (AskedAs.OPERATORS, (person_id("olive"),))
        await _left(place, "olive")
        assert (await _known(place, 0)).turn.persons == ()
        assert (await _known(place, 14.1)).step is SuccessionStep.SUSPENDED
        assert place.agent().state is AgentState.SUSPENDED

    _lived(tmp_path, living)


@pytest.mark.requirement("people:adopt")
def test_somebody_asked_may_take_it_over_without_any_role_and_who_was_not_yet_may_not(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        people = place.room.people
        await place.put(
            Write(rows.PERSON, person_id("max"), rows.person_doc(Person(person_id("max"), "max@example.com"), salt="0"))
        )
        await place.tools()
        await place.active()
        await _managed(place, "dana", "max")
        await _left(place, "dana")
        await _known(place, 1)
        assert people.waiting(operator("max")) == ()
        await _refused(people.adopt(operator("max"), place.agent().id, "mine"), Code.NOT_AUTHORISED)
        waits = await _known(place, 1.5)
        assert people.waiting(operator("max")) == (waits,)
        await people.adopt(operator("max"), place.agent().id, "mine")
        assert (await _known(place, 0)).accepted_by == person_id("max")

    _lived(tmp_path, living)


@pytest.mark.requirement("people:adopt")
def test_an_owner_who_leaves_in_the_middle_of_sign_off_leaves_what_nobody_can_approve_until_it_is_adopted(
    tmp_path: Path,
) -> None:
    async def living(place: House) -> None:
        await place.tools()
        request = await place.submitted()
        await _left(place, "dana")
        assert (await _known(place, 0)).turn.as_ is AskedAs.BACKUP
        waits = place.approvals.get(request.id)
        assert waits is not None
        await _refused(place.vote(request.id, waits.missing[0].role), Code.APPROVAL_BLOCKED)
        await place.room.people.adopt(operator("lee"), place.agent().id, "mine")
        assert place.room.people.successions.all() == (), "it never ran, so it has that owner at once"
        assert place.agent().owner == person_id("lee")
        await _owned(place, "lee")
        assert place.agent().state is AgentState.ACTIVE

    _lived(tmp_path, living)


@pytest.mark.requirement("people:succession:steps")
def test_an_agent_that_does_not_run_is_taken_through_all_the_same(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.operations.apply(operator("dana"), file(agent()))
        await _left(place, "dana")
        assert (await _known(place, 61)).step is SuccessionStep.RETIREMENT
        assert place.agent().state is AgentState.DRAFT

    _lived(tmp_path, living)


@pytest.mark.requirement("people:succession:narrows")
def test_while_the_clock_cannot_be_relied_on_no_deadline_passes(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active()
        await _left(place, "dana")
        await _known(place, 0)
        place.steadiness.steady = False
        assert (await _known(place, 400)).step is SuccessionStep.ASKED
        place.steadiness.steady = True
        assert (await _known(place, 0)).step is SuccessionStep.RETIREMENT

    _lived(tmp_path, living)


@pytest.mark.requirement("people:succession:over")
def test_what_security_lifts_stays_lifted_and_what_a_person_placed_stays_placed(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active()
        await _left(place, "dana")
        await _known(place, 7.1)
        (ours,) = place.registry.restrictions_of(place.agent().id)
        await place.operations.lift_restriction(operator("sam"), ours.id, "it is needed")
        await _known(place, 1)
        assert place.registry.restrictions_of(place.agent().id) == ()
        until = place.clock.now().wall_us + 60 * _DAY_S * 1_000_000
        await place.operations.restrict(
            operator("sam"), place.agent().id, RestrictionKind.READ_ONLY, cause="a look", until_us=until
        )
        await place.room.people.adopt(operator("lee"), place.agent().id, "mine")
        await _owned(place, "lee")
        assert await _after(place, 0) is None
        (left,) = place.registry.restrictions_of(place.agent().id)
        assert left.cause == "a look"

    _lived(tmp_path, living)


@pytest.mark.requirement("people:succession:shown")
def test_a_finding_on_it_is_whose_turn_it_is_and_is_answered_by_taking_over(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery = place.room.discovery
        await place.tools()
        await place.active()
        await _left(place, "dana")
        await _known(place, 0)
        await discovery.look()
        (found,) = discovery.findings.find(open_=True, kind=FindingKind.ORPHAN)
        assert [one.owner for one in discovery.views([found])] == [person_id("lee")]
        await _known(place, 5)
        assert [one.owner for one in discovery.views([found])] == [person_id("lena")]
        await discovery.answer(operator("lena"), found.id, FindingAnswer.ADOPT, "mine")
        assert (await _known(place, 0)).accepted_by == person_id("lena")

    _lived(tmp_path, living)


class _KilledError(Exception):
    """The process ended here."""


@pytest.mark.requirement("people:succession:durable")
def test_a_process_that_ends_at_any_moment_takes_every_step_once(tmp_path: Path) -> None:
    for nth in range(1, 8):
        path = tmp_path / str(nth)
        path.mkdir()
        seen: list[str] = []

        def at(moment: str, seen: list[str] = seen, nth: int = nth) -> None:
            if moment.startswith("succession"):
                seen.append(moment)
                if len(seen) == nth:
                    raise _KilledError

        async def begun(place: House) -> None:
            await place.tools()
            await place.active()
            await _left(place, "dana")
            await _known(place, 0)
            await _known(place, 60.1)
            await place.room.people.adopt(operator("lee"), place.agent().id, "mine")
            await _owned(place, "lee")
            await _after(place, 0)

        async def gone_on(place: House) -> None:
            # the clock of a house begins anew with it
            if place.agent().owner != person_id("lee"):
                assert (await _known(place, 60.1)).step is SuccessionStep.RETIREMENT
                assert place.agent().state is AgentState.SUSPENDED
                assert len(place.registry.restrictions_of(place.agent().id)) == 1
                assert _steps(place) == ["read-only", "retirement-proposed", "suspended"]
                return
            assert await _after(place, 0) is None
            assert place.registry.restrictions_of(place.agent().id) == ()

        with pytest.raises(_KilledError):
            _lived(path, begun, at=at)
        assert len(seen) == nth
        _lived(path, gone_on)


@pytest.mark.requirement("people:manager")
def test_a_manager_is_another_person_who_is_there(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        def known(name: str) -> PersonId | None:
            return place.registry.organisation.people[person_id(name)].manager

        for manager in ("nobody", "dana"):
            with pytest.raises(ManifestError):
                await _managed(place, "dana", manager)
        await _managed(place, "dana", "lena")
        await _managed(place, "lena", "dana")
        assert (known("dana"), known("lena")) == (person_id("lena"), person_id("dana"))
        await _left(place, "lena")
        await _managed(place, "dana", "lena")
        with pytest.raises(ManifestError):
            await _managed(place, "lee", "lena")
        await _managed(place, "dana", None)
        assert known("dana") is None
        bot = {"email": "bot@example.com", "controlledBy": ["dana@example.com"], "manager": "dana@example.com"}
        document = {"apiVersion": "accredit/v1", "kind": "Person", "spec": bot}
        with pytest.raises(ManifestError):
            await place.operations.apply(operator("ada"), file(document))

    _lived(tmp_path, living)
