from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.approvals.model import Hold, HoldRefusal, HoldState, HoldVerdict
from accredit.approvals.requests import request_digest
from accredit.approvals.rows import hold_doc, read_hold
from accredit.approvals.service import Holds
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest, canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, HoldId, PersonId
from accredit.policy.model import HoldNeed
from accredit.registry.model import Environment
from tests.approvals.desk import ADMIN, AGENT, CREDENTIAL, OWNER, SECURITY, Desk, call

REQUEST = request_digest(call())


def run(scenario: Callable[[Desk], Coroutine[Any, Any, None]]) -> Desk:
    desk = Desk()
    asyncio.run(scenario(desk))
    return desk


async def refusal_of(answer: Coroutine[Any, Any, Any]) -> AccreditError:
    with pytest.raises(AccreditError) as refused:
        await answer
    return refused.value


# -- opening


@pytest.mark.requirement("holds:open:merged")
def test_equal_calls_at_once_open_one_hold() -> None:
    async def scenario(desk: Desk) -> None:
        opened = await asyncio.gather(*(desk.opened() for _ in range(8)))
        assert len({hold.id for hold in opened}) == 1
        assert (await desk.opened(call({}))).id != opened[0].id
        assert (await desk.opened(call(), OWNER)).id != opened[0].id

    desk = run(scenario)
    assert [event.facts.kind for event in desk.control.events] == ["hold.opened"] * 3


@pytest.mark.requirement("holds:open:limit")
def test_the_sixth_open_hold_of_an_agent_is_refused_until_one_is_answered_or_expires() -> None:
    async def scenario(desk: Desk) -> None:
        opened = await asyncio.gather(*(desk.holds.open(call({"number": number}), [SECURITY]) for number in range(9)))
        refusals = [one for one in opened if isinstance(one, HoldRefusal)]
        assert [one.code for one in refusals] == [Code.HOLD_LIMIT] * 4
        other = await desk.opened(call(agent=replace(AGENT, id=AgentId("agt_2"))))
        assert other.agent == "agt_2"
        first = next(one for one in opened if isinstance(one, Hold))
        await desk.approve(first)
        await desk.opened(call({"number": 100}))
        assert (await desk.refused(call({"number": 101}))).code is Code.HOLD_LIMIT
        desk.clock.advance(900)
        await desk.opened(call({"number": 101}))

    run(scenario)


@pytest.mark.requirement("holds:open:denied", "holds:denied:ends")
def test_a_denied_call_is_not_asked_again_while_its_hold_lasts() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened(call(), SECURITY, OWNER)
        denied = await desk.deny(hold)
        assert (denied.state, denied.denied_by, denied.denied_reason) == (
            HoldState.DENIED,
            ADMIN.person,
            "not without an invoice",
        )
        again = await desk.refused(call(), SECURITY, OWNER)
        assert (again.code, again.hold) == (Code.HOLD_DENIED, hold.id)
        assert (await refusal_of(desk.approve(hold))).code is Code.HOLD_DENIED
        assert desk.holds.grants_for(REQUEST) == frozenset()
        desk.clock.advance(900)
        assert (await desk.opened(call(), SECURITY, OWNER)).id != hold.id

    run(scenario)


def test_a_hold_that_cannot_be_made_durable_is_not_open() -> None:
    async def scenario(desk: Desk) -> None:
        desk.control.failing = True
        with pytest.raises(UnavailableError):
            await desk.opened()
        assert desk.holds.find() == ()

    run(scenario)


# -- answering


@pytest.mark.requirement("holds:approver:served")
@pytest.mark.parametrize("verdict", list(HoldVerdict))
def test_the_user_served_and_barred_persons_answer_only_where_the_policy_names_them(verdict: HoldVerdict) -> None:
    async def scenario(desk: Desk) -> None:
        served = replace(ADMIN, person=PersonId("per_user"))
        owner = replace(ADMIN, person=PersonId("per_owner"))
        barred = {served.person: "user", owner.person: "owner"}
        hold = await desk.opened(call(barred=barred), SECURITY, OWNER)

        async def says(operator: Operator, role: str | None) -> Hold:
            return await desk.holds.decide(hold.id, operator, verdict, view_digest=hold.view_digest, role=role)

        for operator, role in [(served, None), (served, "security"), (served, "owner"), (owner, None)]:
            refused = await refusal_of(says(operator, role))
            assert isinstance(refused, ForbiddenError)
            assert refused.code is Code.NOT_AUTHORISED
        assert (await says(owner, "owner")).state is not HoldState.EXPIRED

        confirmed = await desk.opened(call({}, barred=barred), HoldNeed("p", "user"))
        assert (await desk.approve(confirmed, served)).state is HoldState.GRANTED

    run(scenario)


@pytest.mark.requirement("holds:approver:single-admin")
def test_only_the_single_administrator_of_a_development_answers_and_the_record_says_so() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        refused = await refusal_of(desk.approve(hold, replace(ADMIN, basis="")))
        assert refused.code is Code.NOT_AUTHORISED
        granted = await desk.approve(hold)
        assert [grant.basis for grant in granted.grants] == ["single-admin"]
        assert desk.control.events[-1].actor.basis == "single-admin"
        assert desk.control.events[-1].actor.person == ADMIN.person

        elsewhere = await desk.opened(call(agent=replace(AGENT, environment=Environment.PRODUCTION)))
        assert elsewhere.id == hold.id  # the digest binds the version, and a version has one environment
        other = await desk.opened(call({}, agent=replace(AGENT, environment=Environment.PRODUCTION)))
        assert (await refusal_of(desk.approve(other))).code is Code.NOT_AUTHORISED

    run(scenario)


@pytest.mark.requirement("holds:approver:roles")
def test_a_hold_is_granted_only_when_every_need_has_a_grant_by_its_own_role() -> None:
    async def scenario(desk: Desk) -> None:
        second = HoldNeed("org/another.000000000000", "security")
        hold = await desk.opened(call(), OWNER, second, SECURITY)
        half = await desk.approve(hold, role="security")
        assert half.state is HoldState.OPEN
        assert half.missing == (OWNER,)
        assert {(grant.policy, grant.role) for grant in half.grants} == {
            (SECURITY.policy, "security"),
            (second.policy, "security"),
        }
        assert desk.holds.grants_for(REQUEST) == frozenset()
        assert (await refusal_of(desk.approve(hold, role="security"))).code is Code.CONFLICT
        assert (await refusal_of(desk.approve(hold, role="compliance"))).code is Code.CONFLICT
        whole = await desk.approve(hold, role="owner")
        assert whole.state is HoldState.GRANTED
        assert desk.holds.grants_for(REQUEST) == {SECURITY.policy, second.policy, OWNER.policy}

    run(scenario)


@pytest.mark.requirement("holds:approver:at-once")
def test_of_two_answers_at_once_one_counts() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        answers = await asyncio.gather(desk.approve(hold), desk.approve(hold), desk.deny(hold), return_exceptions=True)
        assert [isinstance(answer, Hold) for answer in answers] == [True, False, False]
        assert all(isinstance(answer, ConflictError) for answer in answers[1:])
        found = desk.holds.get(hold.id)
        assert found is not None
        assert len(found.grants) == 1

    run(scenario)


@pytest.mark.requirement("holds:view:digest")
def test_an_answer_to_another_view_is_refused_and_a_grant_names_the_view_shown() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        assert json.loads(hold.view)["arguments"] == call().arguments
        stale = replace(hold, view_digest=Digest("sha256:" + "0" * 64))
        assert (await refusal_of(desk.approve(stale))).code is Code.CONFLICT
        granted = await desk.approve(hold)
        assert granted.grants[0].view_digest == hold.view_digest

    run(scenario)


def test_answers_to_no_hold_and_endless_reasons_are_refused() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        with pytest.raises(NotFoundError):
            await desk.approve(replace(hold, id=HoldId("hld_none")))
        with pytest.raises(InvalidInputError):
            await desk.holds.decide(hold.id, ADMIN, HoldVerdict.DENY, view_digest=hold.view_digest, reason="x" * 2001)
        desk.control.failing = True
        with pytest.raises(UnavailableError):
            await desk.approve(hold)
        assert desk.holds.grants_for(REQUEST) == frozenset()

    run(scenario)


# -- expiry


@pytest.mark.requirement("holds:expiry")
@pytest.mark.parametrize("clock", ["both", "wall", "boot"])
def test_a_hold_expires_by_whichever_clock_says_so_first(clock: str) -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        if clock == "wall":
            desk.clock.step_wall(900)
        else:
            desk.clock.advance(900)
            if clock == "boot":
                desk.clock.step_wall(-3600)
        assert (await refusal_of(desk.approve(hold))).code is Code.HOLD_EXPIRED
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.EXPIRED

    run(scenario)


@pytest.mark.requirement("holds:expiry")
def test_a_grant_can_be_used_for_its_own_term_and_not_after() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        desk.clock.advance(899)
        await desk.approve(hold)
        desk.clock.advance(899)
        assert desk.holds.grants_for(REQUEST) == {SECURITY.policy}
        desk.clock.advance(1)
        assert desk.holds.grants_for(REQUEST) == frozenset()
        assert isinstance(await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL), HoldRefusal)

    run(scenario)


@pytest.mark.requirement("holds:expiry")
def test_a_restart_neither_ends_nor_prolongs_a_hold() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        desk.clock.advance(600)
        desk.restart()
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.OPEN
        desk.clock.advance(300)
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.EXPIRED

        late = await desk.opened()
        desk.clock.step_wall(-86_400)
        desk.restart()
        desk.clock.advance(900)
        assert desk.holds.state(late.id, AGENT.id, REQUEST) is HoldState.EXPIRED

    run(scenario)


@pytest.mark.requirement("holds:expiry")
def test_half_an_answer_does_not_prolong_a_hold() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened(call(), SECURITY, OWNER)
        desk.clock.advance(600)
        desk.clock.step_wall(-600)
        await desk.approve(hold, role="owner")
        desk.clock.advance(300)
        assert (await refusal_of(desk.approve(hold))).code is Code.HOLD_EXPIRED

    run(scenario)


# -- using


@pytest.mark.requirement("holds:grant:once", "holds:grant:recorded")
@settings(max_examples=60)
@given(
    callers=st.integers(2, 6),
    delays=st.lists(st.integers(0, 6), min_size=6, max_size=6),
    turns=st.integers(0, 3),
    cancelled=st.sets(st.integers(0, 5), max_size=2),
    restart=st.booleans(),
)
def test_a_grant_is_used_exactly_once_under_any_interleaving_and_across_a_restart(
    callers: int, delays: list[int], turns: int, cancelled: set[int], *, restart: bool
) -> None:
    async def use(desk: Desk, delay: int) -> tuple[str, ...] | HoldRefusal:
        for _ in range(delay):
            await asyncio.sleep(0)
        return await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)

    async def scenario(desk: Desk) -> None:
        hold = await desk.granted()
        desk.control.turns = turns
        tasks = [asyncio.create_task(use(desk, delays[number])) for number in range(callers)]
        for number in cancelled:
            if number < callers:
                await asyncio.sleep(0)
                tasks[number].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        used = [result for result in results if isinstance(result, tuple)]
        records = [event for event in desk.control.events if event.facts.kind == "hold.used"]
        assert len(used) <= len(records) <= 1
        if not cancelled:
            assert used == [(hold.grants[0].id,)]
            assert records[0].body["grants"] == [hold.grants[0].id]
        if restart and records:
            desk.restart()
        assert desk.holds.grants_for(REQUEST) == frozenset() or not records
        if records:
            late = await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)
            assert isinstance(late, HoldRefusal)
            assert late.code is Code.GRANT_USED

    run(scenario)


@pytest.mark.requirement("holds:grant:once")
def test_of_two_services_over_one_log_one_uses_a_grant() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.granted()
        other = Holds(desk.control, desk.ids, desk.clock)
        results = await asyncio.gather(
            *(one.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL) for one in (desk.holds, other))
        )
        assert [isinstance(result, tuple) for result in results] == [True, False]
        assert [event.facts.kind for event in desk.control.events].count("hold.used") == 1

    run(scenario)


@pytest.mark.requirement("holds:grant:unknown")
def test_a_use_that_fails_leaves_no_usable_grant_and_a_person_can_be_asked_again() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.granted()
        desk.control.failing = True
        with pytest.raises(UnavailableError):
            await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)
        desk.control.failing = False
        assert desk.holds.grants_for(REQUEST) == frozenset()
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.USED
        assert isinstance(await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL), HoldRefusal)
        assert (await desk.opened()).id != hold.id
        desk.clock.advance(900)
        assert await desk.holds.sweep() == 2  # the claimed one is not kept for ever

    run(scenario)


@pytest.mark.requirement("holds:grant:once")
def test_grants_of_two_holds_for_one_call_are_used_together_or_not_at_all() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.granted(call(), SECURITY)
        await desk.granted(call(), OWNER)
        both = {SECURITY.policy, OWNER.policy}
        assert desk.holds.grants_for(REQUEST) == both
        third = await desk.holds.consume(REQUEST, {*both, "org/third"}, credential=CREDENTIAL)
        assert isinstance(third, HoldRefusal)
        assert desk.holds.grants_for(REQUEST) == both
        used = await desk.holds.consume(REQUEST, both, credential=CREDENTIAL)
        assert isinstance(used, tuple)
        assert len(used) == 2
        assert desk.holds.grants_for(REQUEST) == frozenset()

    run(scenario)


@pytest.mark.requirement("holds:grant:once")
def test_a_hold_granted_for_one_execution_lends_no_policy_to_a_second() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.granted(call(), SECURITY, OWNER)
        used = await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)
        assert isinstance(used, tuple)
        assert desk.holds.grants_for(REQUEST) == frozenset()

    run(scenario)


@pytest.mark.requirement("holds:request:exact")
def test_a_grant_lifts_nothing_for_another_request() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.granted()
        other = request_digest(call({"customer_id": "C-7", "amount": 20.0}))
        assert desk.holds.any_granted(AGENT.id)
        assert not desk.holds.any_granted(AgentId("agt_2"))
        assert desk.holds.grants_for(other) == frozenset()
        refused = await desk.holds.consume(other, {SECURITY.policy}, credential=CREDENTIAL)
        assert isinstance(refused, HoldRefusal)
        nothing = await desk.holds.consume(REQUEST, (), credential=CREDENTIAL)
        assert isinstance(nothing, HoldRefusal)

    run(scenario)


# -- telling


@pytest.mark.requirement("holds:state")
def test_a_client_that_comes_back_is_told_where_its_own_hold_stands() -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.OPEN
        assert desk.holds.state(hold.id, AgentId("agt_2"), REQUEST) is None
        assert desk.holds.state(hold.id, AGENT.id, request_digest(call({}))) is None
        assert desk.holds.state(HoldId("hld_none"), AGENT.id, REQUEST) is None
        await desk.approve(hold)
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.GRANTED
        await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.USED
        desk.restart()
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is HoldState.USED

    run(scenario)


def test_holds_are_found_by_agent_and_by_where_they_stand_now() -> None:
    async def scenario(desk: Desk) -> None:
        first = await desk.opened(call({"number": 1}))
        desk.clock.advance(1)
        second = await desk.opened(call({"number": 2}))
        await desk.deny(second)
        assert [hold.id for hold in desk.holds.find()] == [first.id, second.id]
        assert [hold.id for hold in desk.holds.find(state=HoldState.OPEN)] == [first.id]
        assert desk.holds.find(agent=AgentId("agt_2")) == ()
        desk.clock.advance(900)
        assert [hold.id for hold in desk.holds.find(agent=AGENT.id, state=HoldState.EXPIRED)] == [first.id]
        assert desk.holds.get(HoldId("hld_none")) is None

    run(scenario)


# -- keeping


@pytest.mark.requirement("holds:record:clear")
def test_no_argument_user_or_request_digest_stands_in_clear_in_a_record() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.granted()
        await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)
        await desk.deny(await desk.opened(call({"customer_id": "C-9"})))

    desk = run(scenario)
    assert [event.facts.kind for event in desk.control.events] == [
        "hold.opened",
        "hold.granted",
        "hold.used",
        "hold.opened",
        "hold.denied",
    ]
    for event in desk.control.events:
        clear = canonical(event.body)
        for secret in (b"C-7", b"C-9", b"19.9", b"ursula", b"T-1", REQUEST.encode(), b"invoice"):
            assert secret not in clear
        assert event.facts.agent == AGENT.id


@pytest.mark.requirement("holds:kept")
@pytest.mark.parametrize("end", ["deny", "use", "expire"])
def test_a_hold_that_is_over_loses_its_values_and_is_forgotten_later(end: str) -> None:
    async def scenario(desk: Desk) -> None:
        hold = await desk.opened()
        if end == "deny":
            await desk.deny(hold)
        elif end == "use":
            await desk.approve(hold)
            await desk.holds.consume(REQUEST, {SECURITY.policy}, credential=CREDENTIAL)
        else:
            desk.clock.advance(900)
            assert await desk.holds.sweep() == 1
        row = desk.control.view.get("hold", hold.id)
        assert row is not None
        assert b"C-7" not in canonical(row.doc)
        assert await desk.holds.sweep() == 0
        desk.clock.advance(86_400)
        assert await desk.holds.sweep() == 1
        assert desk.control.view.get("hold", hold.id) is None
        assert desk.holds.find() == ()
        assert desk.holds.state(hold.id, AGENT.id, REQUEST) is None

    run(scenario)


def test_a_hold_survives_its_row() -> None:
    async def scenario(desk: Desk) -> None:
        barred = {PersonId("per_user"): "user"}
        for hold in (
            await desk.opened(call(barred=barred), SECURITY, OWNER),
            await desk.granted(call({}, barred=barred)),
            await desk.deny(await desk.opened(call({"a": 1}))),
        ):
            assert read_hold(hold_doc(hold)) == hold

    run(scenario)
