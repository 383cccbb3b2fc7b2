"""Break-glass: narrow, short, by nobody on the agent's side, told at once, and reviewed, or held against them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.breakglass import GlassReview
from accredit.approvals.model import ApprovalRequest, ApprovalState, Obligation, VoteVerdict
from accredit.approvals.notices import GlassNotice, notices_of, slack_message, webhook_event
from accredit.audit.ports import Change
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError
from accredit.kernel.ids import ServerName, ToolId, tool_id
from accredit.policy.decide import decide
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.registry.model import RestrictionKind, Role
from tests.lifecycle.house import House, agent, file, house, operator, person_id, server

DANA, MIRA, OLIVE, SAM, UNA = (operator(name) for name in ("dana", "mira", "olive", "sam", "una"))
READ = tool_id(ServerName("crm"), "read")
TOOLS = server(write={"effect": "write", "scope": "own", "data": ["internal"], "price": "0 USD"})
HOUR_S, DAY_S = 3_600, 86_400


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def asked(place: House, tool: str = "read") -> Decision:
    """What a call comes to now, with what is broken."""
    found, snapshot, now_us = place.agent(), place.snapshot(), place.clock.now().wall_us
    on = snapshot.restrictions_on(found.id, now_us=now_us, time_trusted=True)
    named = tool_id(ServerName("crm"), tool)
    lifted = snapshot.lifted_on(found.id, named, now_us=now_us, time_trusted=True)
    return decide(
        CallRequest(agent=found, tool=named, context={"input": {}}, lifted=lifted, restrictions=on), snapshot.policy
    )


async def held(place: House) -> str:
    """An agent in force whose calls are held by a restriction; what the hold is called."""
    await place.tools(TOOLS)
    active = await place.active(tools=[{"server": "crm", "allow": ["read", "write"]}])
    made = await place.operations.restrict(
        SAM, active.id, RestrictionKind.HOLD, cause="a look", role=Role.SECURITY,
        until_us=place.clock.now().wall_us + 30 * DAY_S * 1_000_000,
    )  # fmt: skip
    assert made is not None
    return f"restriction/{made.id}"


async def broken(place: House, policy: str, *, who: Any = OLIVE, minutes: int = 60, **more: Any) -> Any:
    return await place.room.breaking.open(
        who, place.agent().id, more.get("tools", [READ]), more.get("policies", [policy]), minutes=minutes,
        reason=more.get("reason", "the queue is on fire"),
    )  # fmt: skip


async def reviewed(place: House, request: str, verdict: VoteVerdict, who: Any = SAM) -> ApprovalRequest:
    _, digest = place.approvals.view(request)
    return await place.operations.vote(who, request, Role.SECURITY, verdict, digest, "looked at what was done")


@pytest.mark.requirement("break-glass:narrow")
def test_holds_of_named_tools_do_not_wait_for_so_long_and_nothing_else_changes(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            assert asked(place).outcome is Outcome.HOLD
            told: list[Change] = []
            place.control.subscribe(told.append)
            made = await broken(place, policy)
            assert asked(place).outcome is Outcome.ALLOW
            assert asked(place).lifted == (policy,)
            assert asked(place, "write").outcome is Outcome.HOLD
            snapshot, now_us = place.snapshot(), place.clock.now().wall_us
            assert not snapshot.lifted_on(place.agent().id, READ, now_us=now_us, time_trusted=False)
            notices = [notice for change in told for notice in notices_of(change, lambda _: "digest")]
            (page,) = [one for one in notices if isinstance(one, GlassNotice)]
            assert webhook_event(page, "https://a.example")["type"] == "break-glass.opened"
            assert (
                "fire"
                not in str(webhook_event(page, "https://a.example")) + slack_message(page, "https://a.example")["text"]
            )
            await place.operations.restrict(
                SAM, place.agent().id, RestrictionKind.READ_ONLY, cause="more", until_us=now_us + DAY_S * 1_000_000
            )
            assert asked(place, "write").code is Code.RESTRICTED
            place.clock.advance(HOUR_S)
            assert asked(place).outcome is Outcome.HOLD
            (one,) = place.room.breaking.all()
            assert (one.id, one.review) == (made.id, GlassReview.WAITS)

    run(story())


@pytest.mark.requirement("break-glass:narrow")
def test_it_names_holds_alone_of_tools_that_are_granted_and_ends_within_eight_hours(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            wrongs: tuple[dict[str, Any], ...] = (
                {"minutes": 481},
                {"minutes": 0},
                {"tools": [ToolId("crm/none")]},
                {"tools": []},
                {"policies": ["org/all.cedar#0123"]},
                {"policies": [policy] * 1 + [f"restriction/{number}" for number in range(20)]},
                {"reason": " "},
            )
            for wrong in wrongs:
                with pytest.raises(InvalidInputError):
                    await broken(place, policy, **wrong)
            assert place.room.breaking.all() == ()
            assert place.approvals.find(state=ApprovalState.OPEN) == ()

    run(story())


@pytest.mark.requirement("break-glass:duties")
def test_nobody_breaks_it_for_an_agent_on_whose_side_they_stand_or_without_the_role(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            for who in (DANA, UNA, MIRA):
                with pytest.raises(ForbiddenError):
                    await broken(place, policy, who=who)
            with pytest.raises(ForbiddenError):
                await broken(place, policy, who=operator("olive", basis="single-admin"))
            await place.operations.apply(DANA, file(agent(backupOwner="olive@example.com", tools=[
                {"server": "crm", "allow": ["read", "write"]}])))  # fmt: skip
            request = await place.operations.submit(DANA, place.agent().id)
            assert request is not None
            await place.approve(request.id)
            await place.operations.activate(DANA, place.agent().id)
            with pytest.raises(ForbiddenError) as refused:
                await broken(place, policy)
            assert refused.value.code is Code.SEPARATION_OF_DUTIES

    run(story())


@pytest.mark.requirement("break-glass:narrow")
def test_what_a_version_was_approved_under_is_not_broken(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(TOOLS)
            request = await place.submitted(tools=[{"server": "crm", "allow": ["read", "write"]}])
            _, digest = place.approvals.view(request.id)
            under = Obligation(RestrictionKind.HOLD, SAM.person, Role.SECURITY, READ, role=Role.SECURITY)
            await place.operations.vote(
                SAM, request.id, Role.SECURITY, VoteVerdict.APPROVE, digest, "with a person", [under]
            )
            await place.vote(request.id, Role.TEAM_LEAD)
            await place.operations.activate(DANA, place.agent().id)
            (one,) = place.registry.restrictions_of(place.agent().id)
            with pytest.raises(InvalidInputError):
                await broken(place, f"restriction/{one.id}")

    run(story())


@pytest.mark.requirement("break-glass:review")
@pytest.mark.parametrize("verdict", [VoteVerdict.APPROVE, VoteVerdict.REJECT])
def test_security_reviews_it_within_three_days_and_a_no_ends_it(tmp_path: Path, verdict: VoteVerdict) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            made = await broken(place, policy, minutes=480)
            request = place.approvals.get(made.request)
            assert request is not None
            assert request.expires_us - request.opened_us == 3 * DAY_S * 1_000_000
            with pytest.raises(ConflictError):
                await place.operations.withdraw(OLIVE, made.request)
            await reviewed(place, made.request, verdict)
            (one,) = place.room.breaking.all()
            upheld = verdict is VoteVerdict.APPROVE
            assert one.review is (GlassReview.UPHELD if upheld else GlassReview.REJECTED)
            assert (asked(place).outcome is Outcome.ALLOW) is upheld
            await place.operations.tidy()
            assert place.room.breaking.all() == (one,)

    run(story())


@pytest.mark.requirement("break-glass:review", "break-glass:duties")
def test_who_broke_it_does_not_review_it_and_breaks_no_other_while_a_review_ran_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            made = await broken(place, policy, who=SAM)
            with pytest.raises(ForbiddenError):
                await reviewed(place, made.request, VoteVerdict.APPROVE)
            place.clock.advance(3 * DAY_S + 1)
            await place.operations.tidy()
            (one,) = place.room.breaking.all()
            assert one.review is GlassReview.OVERDUE
            with pytest.raises(ConflictError, match="not reviewed in time"):
                await broken(place, policy, who=SAM)
            assert (await broken(place, policy)).by == OLIVE.person
            again = await place.room.breaking.review(OLIVE, made.id)
            with pytest.raises(ForbiddenError):
                await reviewed(place, again.id, VoteVerdict.APPROVE)
            await place.operations.tidy()
            assert {one.review for one in place.room.breaking.all()} == {GlassReview.WAITS}

    run(story())


@pytest.mark.requirement("break-glass:narrow")
def test_it_can_be_ended_by_whoever_may_stop_the_agent(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            made = await broken(place, policy)
            await place.room.breaking.end(DANA, made.id)
            assert asked(place).outcome is Outcome.HOLD
            with pytest.raises(ForbiddenError):
                await place.room.breaking.end(replace(UNA, person=person_id("una")), made.id)

    run(story())


@pytest.mark.requirement("break-glass:two-persons")
def test_two_persons_break_it_without_a_page_and_one_of_them_alone_does_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            told: list[Change] = []
            place.control.subscribe(told.append)
            made = await place.room.breaking.open(
                OLIVE, place.agent().id, [READ], [policy], minutes=120, reason="the queue is on fire", second=True
            )
            assert (made.review, made.in_force(place.clock.now().wall_us)) == (GlassReview.ASKED, False)
            assert asked(place).outcome is Outcome.HOLD, "nothing is broken yet"
            assert [one for one in place.approvals.find() if one.subject.kind == "break-glass"] == []
            for who in (OLIVE, DANA):
                with pytest.raises(ForbiddenError):
                    await place.room.breaking.confirm(who, made.id, made.digest)
            other = replace(made, tools=(READ, ToolId("crm/write")))
            with pytest.raises(ConflictError, match="not what is asked for"):
                await place.room.breaking.confirm(SAM, made.id, other.digest)
            assert asked(place).outcome is Outcome.HOLD
            place.clock.advance(600)
            done = await place.room.breaking.confirm(SAM, made.id, made.digest)
            assert (done.second, done.review) == (SAM.person, GlassReview.WAITS)
            assert done.until_us - done.opened_us == 2 * HOUR_S * 1_000_000
            assert done.opened_us == place.clock.now().wall_us, "from when it is confirmed"
            assert asked(place).outcome is Outcome.ALLOW
            notices = [notice for change in told for notice in notices_of(change, lambda _: "digest")]
            assert not any(isinstance(one, GlassNotice) for one in notices), "nobody is paged"
            with pytest.raises(ConflictError, match="does not wait"):
                await place.room.breaking.confirm(SAM, made.id, made.digest)
            # neither of the two looks at it afterwards
            with pytest.raises(ForbiddenError):
                await reviewed(place, done.request, VoteVerdict.APPROVE)
            place.clock.advance(2 * HOUR_S)
            assert asked(place).outcome is Outcome.HOLD

    run(story())


@pytest.mark.requirement("break-glass:two-persons")
def test_what_somebody_asked_for_who_may_not_break_it_any_more_is_not_confirmed(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            made = await place.room.breaking.open(
                OLIVE, place.agent().id, [READ], [policy], minutes=120, reason="the queue is on fire", second=True
            )
            await place.operations.revoke_role(OLIVE, "rgr_olive", "moved on")
            with pytest.raises(ConflictError, match="may not break it any more"):
                await place.room.breaking.confirm(SAM, made.id, made.digest)
            assert asked(place).outcome is Outcome.HOLD

    run(story())


@pytest.mark.requirement("break-glass:two-persons")
def test_what_nobody_confirms_lapses_and_an_overdue_review_is_both_persons(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            policy = await held(place)
            breaking = place.room.breaking

            async def wanted(who: Any = OLIVE) -> Any:
                return await breaking.open(
                    who, place.agent().id, [READ], [policy], minutes=30, reason="the queue is on fire", second=True
                )

            lapsed = await wanted()
            place.clock.advance(HOUR_S)
            with pytest.raises(ConflictError):
                await breaking.confirm(SAM, lapsed.id, lapsed.digest)
            await place.operations.tidy()
            assert {one.id: one.review for one in breaking.all()}[lapsed.id] is GlassReview.LAPSED
            taken_back = await wanted()
            await breaking.end(OLIVE, taken_back.id)
            assert {one.id: one.review for one in breaking.all()}[taken_back.id] is GlassReview.LAPSED
            made = await wanted()
            await breaking.confirm(SAM, made.id, made.digest)
            place.clock.advance(4 * DAY_S)
            await place.operations.tidy()
            assert {one.id: one.review for one in breaking.all()}[made.id] is GlassReview.OVERDUE
            for who in (OLIVE, SAM):
                with pytest.raises(ConflictError, match="not reviewed in time"):
                    await wanted(who)

    run(story())
