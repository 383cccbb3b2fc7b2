"""Approvals that are given under something: what is part of them, what wins, and what they come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.approvals.model import ApprovalState, Obligation, SubjectKind, VoteVerdict
from accredit.approvals.obligations import check_obligations, restrictions_under, together
from accredit.approvals.rows import approval_doc, read_approval
from accredit.audit.ports import Actor
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError
from accredit.kernel.ids import ToolId
from accredit.kernel.money import Money
from accredit.registry.model import RestrictionKind, Role
from accredit.registry.rows import RESTRICTION
from tests.approvals.office import AGENT, DANA, DAY_S, LENA, MIRA, NOW_US, SAM, UNA, Office, operator, role_proposal

KIND = RestrictionKind
TOOL = ToolId("crm/refund")
SLOW = Obligation(KIND.THROTTLE, SAM, Role.SECURITY, calls_per_minute=5)
HELD = Obligation(KIND.HOLD, SAM, Role.SECURITY, TOOL, role=Role.SECURITY)
SHARE = Obligation(KIND.CANARY, SAM, Role.SECURITY, share_percent=5, days=7)
CHEAP = Obligation(KIND.DAILY_COST, SAM, Role.SECURITY, cost_per_day=Money(5_000_000_000))

OBLIGATIONS = st.one_of(
    st.builds(lambda rate: replace(SLOW, calls_per_minute=rate), st.integers(1, 9)),
    st.builds(lambda tool: replace(SLOW, tool=tool), st.sampled_from([None, TOOL])),
    st.builds(lambda nanos: replace(CHEAP, cost_per_day=Money(nanos)), st.integers(0, 9)),
    st.builds(
        lambda share, days: replace(SHARE, share_percent=share, days=days),
        st.integers(1, 99),
        st.none() | st.integers(1, 90),
    ),
    st.builds(lambda role: replace(HELD, role=role), st.sampled_from([Role.SECURITY, Role.COMPLIANCE])),
)


def run(scenario: Callable[[Office], Coroutine[Any, Any, None]], **given: Any) -> Office:
    office = Office(**given)
    office.grounds = replace(office.grounds, tools=frozenset({TOOL}))
    asyncio.run(scenario(office))
    return office


async def refusal_of(answer: Coroutine[Any, Any, Any]) -> AccreditError:
    with pytest.raises(AccreditError) as refused:
        await answer
    return refused.value


async def vote_under(office: Office, request: Any, person: Any, role: Role, *under: Obligation, **more: Any) -> Any:
    shown = office.approvals.view(request.id)[1]
    return await office.approvals.vote(
        request.id, operator(person), role=role, verdict=more.get("verdict", VoteVerdict.APPROVE), view_digest=shown,
        comment=more.get("comment", "but not more than this"), obligations=under,
    )  # fmt: skip


@pytest.mark.requirement("obligations:stricter")
@given(st.lists(OBLIGATIONS, max_size=8))
def test_of_several_obligations_the_stricter_is_what_they_come_to(given: list[Obligation]) -> None:
    found = together(given)
    for one in given:
        (same,) = [each for each in found if (each.kind, each.tool, each.role) == (one.kind, one.tool, one.role)]
        assert (same.calls_per_minute or 0) <= (one.calls_per_minute or 0)
        assert (same.share_percent or 0) <= (one.share_percent or 0)
        assert same.days is None or (one.days is not None and same.days >= one.days)
        if one.cost_per_day is not None and same.cost_per_day is not None:
            assert same.cost_per_day.nanos <= one.cost_per_day.nanos
    assert set(together(reversed(given))) == set(found) or len({one.kind for one in found}) <= len(found)
    assert together(found) == found


@pytest.mark.requirement("obligations:part")
def test_an_obligation_is_in_the_record_is_shown_to_later_voters_and_stays_when_its_vote_does_not_count() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        before = office.approvals.view(request.id)[1]
        await vote_under(office, request, SAM, Role.SECURITY, SLOW, HELD)
        text, after = office.approvals.view(request.id)
        assert before != after
        assert '"calls_per_minute": 5' in text
        stale = await refusal_of(office.vote(request, LENA, view=before))
        assert stale.code is Code.CONFLICT
        approved = await office.vote(request, LENA)
        assert approved.state is ApprovalState.APPROVED
        # Lena approved with it in view: that Sam is gone takes nothing of it away
        office.organise(grants=tuple(one for one in office.organisation.grants if one.holder != SAM))
        assert office.present(request).obligations == (SLOW, HELD)
        assert read_approval(approval_doc(approved)) == approved

    office = run(scenario)
    (cast,) = [one for one in office.slow.events if one.facts.kind == "approval.voted" and one.body["obligations"]]
    assert [one["kind"] for one in cast.body["obligations"]] == ["throttle", "hold"]


@pytest.mark.requirement("obligations:in-force")
def test_what_was_approved_under_comes_into_force_with_the_use_and_once() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await vote_under(office, request, SAM, Role.SECURITY, SLOW, replace(SLOW, calls_per_minute=9), SHARE, CHEAP)
        await office.vote(request, LENA)
        await office.approvals.mark_used(request.id, actor=Actor())
        written = [row.doc for row in office.control.view.scan(RESTRICTION)]
        assert sorted((doc["kind"], doc["until_approved"], doc["approval"]) for doc in written) == [
            ("canary", True, request.id),
            ("daily-cost", True, request.id),
            ("throttle", True, request.id),
        ]
        assert [doc["calls_per_minute"] for doc in written if doc["kind"] == "throttle"] == [5]
        (canary,) = [doc for doc in written if doc["kind"] == "canary"]
        assert canary["until_us"] == NOW_US + 7 * DAY_S * 1_000_000
        await office.approvals.mark_used(request.id, actor=Actor())
        assert [row.doc for row in office.control.view.scan(RESTRICTION)] == written

    run(scenario)


@pytest.mark.requirement("obligations:carried")
def test_a_vote_carried_over_to_a_new_version_stays_under_what_it_was_given_under() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await vote_under(office, request, SAM, Role.SECURITY, SLOW)
        await office.vote(request, LENA)
        office.change("purpose")  # security does not judge it
        newer = await office.asked("v2")
        assert [vote.person for vote in newer.votes] == [SAM]
        assert newer.obligations == (SLOW,)
        office.change("tools")
        newest = await office.asked("v3")
        assert (newest.votes, newest.obligations) == ((), ())

    run(scenario)


@pytest.mark.requirement("obligations:carried")
def test_a_vote_carried_over_and_over_stays_under_it_although_the_request_it_was_cast_on_is_long_over() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await vote_under(office, request, SAM, Role.SECURITY, SLOW)
        for name in ("v2", "v3", "v4"):
            office.change("purpose")  # security does not judge it
            newer = await office.asked(name)
            assert [vote.carried_from for vote in newer.votes] == [request.id]
            assert newer.obligations == (SLOW,)
        approved = await office.vote(newer, LENA)
        assert (approved.state, approved.obligations) == (ApprovalState.APPROVED, (SLOW,))

    run(scenario)


@pytest.mark.requirement("obligations:checked")
@pytest.mark.parametrize(
    "wrong",
    [
        replace(SLOW, calls_per_minute=None),
        replace(SLOW, calls_per_minute=0),
        replace(SLOW, role=Role.SECURITY),
        replace(HELD, role=Role.AUDITOR),
        replace(HELD, tool=ToolId("crm/unknown")),
        replace(SHARE, share_percent=100),
        replace(SHARE, tool=TOOL),
        replace(SHARE, days=91),
        replace(SLOW, days=3),
        replace(CHEAP, tool=TOOL),
        Obligation(KIND.DROP_TOOL, SAM, Role.SECURITY),
        Obligation(KIND.READ_ONLY, SAM, Role.SECURITY, share_percent=5),
    ],
)
def test_an_obligation_that_cannot_be_kept_to_is_refused(wrong: Obligation) -> None:
    check_obligations([SLOW, HELD, SHARE, CHEAP], [], {TOOL})
    with pytest.raises(InvalidInputError):
        check_obligations([wrong], [], {TOOL})


@pytest.mark.requirement("obligations:checked")
def test_obligations_are_bounded_in_number_and_of_one_currency() -> None:
    with pytest.raises(InvalidInputError, match="at most 20"):
        check_obligations([SLOW] * 11, [SLOW] * 10, {TOOL})
    with pytest.raises(InvalidInputError, match="one currency"):
        check_obligations([CHEAP], [replace(CHEAP, cost_per_day=Money(1, "EUR"))], {TOOL})


@pytest.mark.requirement("obligations:checked")
def test_only_the_approval_of_a_version_comes_with_obligations_and_it_needs_words() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        for verdict in (VoteVerdict.REJECT, VoteVerdict.ABSTAIN):
            refused = await refusal_of(vote_under(office, request, SAM, Role.SECURITY, SLOW, verdict=verdict))
            assert refused.code is Code.BODY_MALFORMED
        wordless = await refusal_of(vote_under(office, request, SAM, Role.SECURITY, SLOW, comment=""))
        assert wordless.code is Code.COMMENT_REQUIRED
        role = await office.approvals.open_proposal(role_proposal(), operator(DANA))
        refused = await refusal_of(vote_under(office, role, MIRA, Role.ADMIN, SLOW))
        assert refused.code is Code.BODY_MALFORMED
        assert role.subject.kind == SubjectKind.ROLE_GRANT

    run(scenario)


@pytest.mark.requirement("obligations:in-force")
def test_who_imposed_an_obligation_is_whoever_voted_whatever_was_sent() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        after = await vote_under(office, request, SAM, Role.SECURITY, replace(SLOW, by=UNA, as_role=Role.ADMIN))
        assert after.obligations == (SLOW,)
        (made,) = restrictions_under(after, AGENT, NOW_US)
        assert (made.approval, made.until_approved) == (request.id, True)

    run(scenario)
