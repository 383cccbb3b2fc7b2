"""Requests that nobody answers: who is told when, and that being told decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.approvals.model import ApprovalState
from accredit.approvals.notices import RequestNotice, notices_of, slack_message, webhook_event
from accredit.approvals.reminders import Urgency, reminder_due
from accredit.kernel.errors import AccreditError
from accredit.registry.model import GateRule, Role, Tier
from accredit.registry.organisation import Group, Membership
from tests.approvals.office import CARA, DANA, DAY_S, LENA, MIRA, NOW_US, OLD_US, SAM, UNA, Office

TERM_S = 14 * DAY_S
RULE = GateRule(backups={Role.SECURITY: frozenset({"group:sec-leads"})}, heads={Role.SECURITY: frozenset({CARA})})


def run(scenario: Callable[[Office], Coroutine[Any, Any, None]], **given: Any) -> Office:
    office = Office(**given)
    leads = Group("sec-leads", (Membership(UNA, frozenset(), OLD_US),), (("sec-leads", OLD_US),))
    office.organise(groups={"sec-leads": leads})
    office.grounds = replace(office.grounds, rule=RULE)
    asyncio.run(scenario(office))
    return office


@pytest.mark.requirement("reminders:stages", "reminders:escalate", "reminders:never-approve")
def test_at_each_stage_those_who_may_vote_then_backups_then_heads_are_told_once() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        told = []
        for percent in (10, 49, 50, 51, 79, 80, 89, 90, 94, 95, 99):
            office.clock.advance(NOW_US / 1e6 + TERM_S * percent / 100 - office.clock.now().wall_us / 1e6)
            if await office.approvals.remind():
                assert await office.approvals.remind() == 0
                told.append((percent, set(office.present(request).told)))
        assert told == [
            (50, {LENA, SAM}),
            (80, {LENA, SAM}),
            (90, {LENA, SAM, UNA}),
            (95, {LENA, SAM, UNA, CARA, MIRA}),
        ]
        present = office.present(request)
        assert (present.state, present.votes, present.expires_us) == (ApprovalState.OPEN, (), request.expires_us)
        for person in (UNA, CARA):
            with pytest.raises(AccreditError):
                await office.vote(request, person, Role.SECURITY)
        office.clock.advance(TERM_S / 100 + 1)
        assert await office.approvals.remind() == 0
        assert office.present(request).state is ApprovalState.EXPIRED

    office = run(scenario)
    kinds = [
        (one.body["stage"], one.body["urgency"]) for one in office.slow.events if one.facts.kind == "approval.reminded"
    ]
    assert kinds == [(1, "reminded"), (2, "reminded"), (3, "backup"), (4, "head")]


@pytest.mark.requirement("reminders:stages")
def test_stages_that_nobody_was_there_for_are_told_of_together_also_after_a_restart() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        office.clock.advance(TERM_S * 0.96)
        office.restart()
        assert await office.approvals.remind() == 1
        assert office.present(request).reminded == 4
        office.restart()
        assert await office.approvals.remind() == 0

    run(scenario)


@pytest.mark.requirement("reminders:stages")
def test_who_has_answered_is_not_reminded_and_a_complete_request_reminds_nobody() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await office.vote(request, SAM)
        office.clock.advance(TERM_S * 0.81)
        await office.approvals.remind()
        assert office.present(request).told == (LENA,)
        await office.vote(request, LENA)
        office.clock.advance(TERM_S * 0.15)
        assert await office.approvals.remind() == 0

    run(scenario)


@pytest.mark.requirement("reminders:escalate")
def test_without_names_the_role_itself_and_then_the_administrators_are_told() -> None:
    async def scenario(office: Office) -> None:
        office.grounds = replace(office.grounds, rule=None)
        request = await office.asked(by=SAM)  # so that nobody may vote as security
        office.clock.advance(TERM_S * 0.5)
        await office.approvals.remind()
        assert office.present(request).told == (LENA,)
        office.clock.advance(TERM_S * 0.4)
        await office.approvals.remind()
        assert set(office.present(request).told) == {LENA, SAM}
        office.clock.advance(TERM_S * 0.06)
        await office.approvals.remind()
        assert set(office.present(request).told) == {LENA, SAM, MIRA}

    run(scenario)


@pytest.mark.requirement("reminders:never-approve")
@given(st.integers(0, 200), st.integers(0, 4), st.sampled_from(Tier))
def test_a_reminder_is_due_only_for_what_is_open_and_never_before_its_stage(
    percent: int, before: int, tier: Tier
) -> None:
    office = Office(tier=tier)
    request = replace(asyncio.run(office.asked()), reminded=before)
    term_us = request.expires_us - request.opened_us
    now_us = request.opened_us + term_us * percent // 100
    due = reminder_due(request, None, office.organisation, now_us=now_us)
    stages = sum(percent >= each for each in (50, 80, 90, 95))
    assert (due is not None) == (stages > before)
    assert due is None or due.stage == stages
    assert due is None or (due.urgency is Urgency.HEAD) == (stages == 4)
    for state in ApprovalState:
        if state is not ApprovalState.OPEN:
            assert reminder_due(replace(request, state=state), None, office.organisation, now_us=now_us) is None


@pytest.mark.requirement("reminders:escalate")
def test_a_reminder_is_told_outside_with_a_link_and_no_text_of_whoever_asked() -> None:
    async def scenario(office: Office) -> None:
        await office.asked(by=DANA)
        office.clock.advance(TERM_S * 0.96)
        await office.approvals.remind()

    office = run(scenario)
    (change,) = [one for one in office.slow.events if one.facts.kind == "approval.reminded"]
    (notice,) = notices_of(change, lambda _: "a <b>*copilot*</b>")
    assert isinstance(notice, RequestNotice)
    assert notices_of(change, lambda _: "x")[0].id == notice.id
    event = webhook_event(notice, "https://accredit.example")
    assert event["type"] == "approval.reminded"
    assert event["data"]["url"].startswith("https://accredit.example/console/approvals/apr_")
    assert "example.com" not in orjson.dumps(event["data"]["to"]).decode()
    text = slack_message(notice, "https://accredit.example")["text"]
    assert "<b>" not in text
    assert "head" in text
