"""More than one person of a role, answers that approve nothing, and what is said when nobody can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.approvals.gates import gate
from accredit.approvals.model import ApprovalState, SubjectKind, VoteVerdict
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, InvalidInputError
from accredit.registry.model import APPROVER_ROLES, GateRule, Role, Tier
from accredit.registry.organisation import Delegation
from tests.approvals.office import (
    ASSESSMENT,
    BO,
    CARA,
    DANA,
    DAY_S,
    LENA,
    MIRA,
    NOW_US,
    SAM,
    UNA,
    Office,
    grant,
    operator,
)

TWO = GateRule({Role.SECURITY: 2})


def run(scenario: Callable[[Office], Coroutine[Any, Any, None]], **given: Any) -> Office:
    office = Office(**given)
    asyncio.run(scenario(office))
    return office


async def refusal_of(answer: Coroutine[Any, Any, Any]) -> AccreditError:
    with pytest.raises(AccreditError) as refused:
        await answer
    return refused.value


def ruled(office: Office, rule: GateRule | None) -> None:
    office.grounds = replace(office.grounds, rule=rule)


def two_of_security(office: Office) -> None:
    ruled(office, TWO)
    office.organise(grants=(*office.organisation.grants, grant(UNA, Role.SECURITY)))


@pytest.mark.requirement("gates:rule:stricter")
@given(
    st.sampled_from([None, *Tier]),
    st.sampled_from(SubjectKind),
    st.builds(GateRule, st.dictionaries(st.sampled_from(sorted(APPROVER_ROLES)), st.integers(-3, 10)), st.booleans()),
)
def test_no_rule_of_an_organisation_takes_anything_from_a_built_in_gate(
    tier: Tier | None, kind: SubjectKind, rule: GateRule
) -> None:
    asked = {need.role: need for need in gate(kind, tier, rule)}
    for need in gate(kind, tier):
        found = asked[need.role]
        assert found.count >= max(need.count, rule.roles.get(need.role, 1))
        assert (found.facets, found.validation, found.assessment) == (need.facets, need.validation, need.assessment)
        assert found.comment >= need.comment
    assert set(rule.roles) <= set(asked)
    assert not rule.comment or all(need.comment for need in asked.values())


@pytest.mark.requirement("gates:quorum")
def test_a_role_of_which_two_must_approve_is_complete_with_two_different_persons() -> None:
    async def scenario(office: Office) -> None:
        two_of_security(office)
        request = await office.asked()
        await office.vote(request, LENA)
        half = await office.vote(request, SAM)
        assert half.state is ApprovalState.OPEN
        assert [(need.role, half.wanted(need)) for need in half.missing] == [(Role.SECURITY, 1)]
        again = await refusal_of(office.vote(request, SAM))
        assert again.code is Code.SEPARATION_OF_DUTIES
        with pytest.raises(ForbiddenError, match="lacks the approval of `security`"):
            office.cleared(request)
        whole = await office.vote(request, UNA, Role.SECURITY)
        assert whole.state is ApprovalState.APPROVED
        assert set(office.cleared(request).by) == {LENA, SAM, UNA}
        office.organise(grants=tuple(one for one in office.organisation.grants if one.holder != UNA))
        with pytest.raises(ForbiddenError, match="votes do not count any more"):
            office.cleared(request)

    run(scenario)


@pytest.mark.requirement("gates:quorum")
def test_a_delegate_and_who_they_vote_for_are_one_person_of_a_quorum() -> None:
    async def scenario(office: Office) -> None:
        ruled(office, TWO)
        office.organise(
            delegations=(Delegation("dlg_1", SAM, MIRA, Role.SECURITY, NOW_US - 9, NOW_US + DAY_S * 1_000_000),)
        )
        request = await office.asked()
        await office.vote(request, MIRA, Role.SECURITY)
        assert (await refusal_of(office.vote(request, SAM))).code is Code.SEPARATION_OF_DUTIES
        (lead, security) = office.approvals.outlook(request.id)
        assert (lead.role, lead.short) == (Role.TEAM_LEAD, False)
        assert (security.wanted, security.could, security.short) == (1, (), True)

    run(scenario)


@pytest.mark.requirement("gates:quorum")
def test_two_approvers_at_once_are_both_counted_and_one_person_at_once_is_counted_once() -> None:
    async def scenario(office: Office) -> None:
        two_of_security(office)
        request = await office.asked()
        digest = office.approvals.view(request.id)[1]
        await asyncio.gather(
            office.vote(request, SAM, view=digest), office.vote(request, UNA, Role.SECURITY, view=digest)
        )
        assert [need.role for need in office.present(request).missing] == [Role.TEAM_LEAD]
        other = await office.asked("v2")
        digest = office.approvals.view(other.id)[1]
        answers = await asyncio.gather(
            office.vote(other, LENA, view=digest), office.vote(other, LENA, view=digest), return_exceptions=True
        )
        assert sum(isinstance(one, AccreditError) for one in answers) == 1

    run(scenario)


@pytest.mark.requirement("gates:rule:now")
def test_a_gate_made_stricter_holds_at_once_and_one_made_looser_for_what_is_asked_afterwards() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        office.cleared(request)
        two_of_security(office)
        with pytest.raises(ForbiddenError, match="lacks the approval of `security`"):
            office.cleared(request)
        open_one = await office.asked("v2")
        ruled(office, None)
        assert [need.count for need in office.present(open_one).needs] == [1, 2]
        ruled(office, GateRule({Role.COMPLIANCE: 1}, comment=True))
        needs = office.present(open_one).needs
        assert [(need.role, need.count, need.comment) for need in needs] == [
            (Role.TEAM_LEAD, 1, True),
            (Role.SECURITY, 2, True),
            (Role.COMPLIANCE, 1, True),
        ]

    run(scenario)


@pytest.mark.requirement("gates:quorum")
def test_of_two_business_owners_one_is_who_accepts_the_residual_risk() -> None:
    async def scenario(office: Office) -> None:
        ruled(office, GateRule({Role.BUSINESS_OWNER: 2}))
        office.organise(
            grants=(*office.organisation.grants, grant(UNA, Role.BUSINESS_OWNER), grant(MIRA, Role.BUSINESS_OWNER))
        )
        request = await office.asked()
        await office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT)
        await office.vote(request, UNA, Role.BUSINESS_OWNER)
        refused = await refusal_of(office.vote(request, MIRA, Role.BUSINESS_OWNER))
        assert refused.code is Code.ASSESSMENT_REQUIRED
        await office.vote(request, BO)
        for person in (SAM, CARA):
            request = await office.vote(request, person)
        assert request.state is ApprovalState.APPROVED

    run(scenario, tier=Tier.HIGH)


@pytest.mark.requirement("signoff:abstain")
def test_an_abstention_answers_approves_nothing_and_leaves_the_role_to_somebody_else() -> None:
    async def scenario(office: Office) -> None:
        office.organise(grants=(*office.organisation.grants, grant(UNA, Role.SECURITY)))
        request = await office.asked()
        await office.vote(request, LENA)
        silent = await refusal_of(office.vote(request, SAM, verdict=VoteVerdict.ABSTAIN, comment=" "))
        assert silent.code is Code.COMMENT_REQUIRED
        after = await office.vote(request, SAM, verdict=VoteVerdict.ABSTAIN, comment="I built the tool")
        assert after.state is ApprovalState.OPEN
        assert [need.role for need in after.missing] == [Role.SECURITY]
        assert (await refusal_of(office.vote(request, SAM))).code is Code.SEPARATION_OF_DUTIES
        whole = await office.vote(request, UNA, Role.SECURITY)
        assert whole.state is ApprovalState.APPROVED
        assert office.cleared(request).by == (LENA, UNA)

    office = run(scenario)
    office.restart()
    (request,) = office.approvals.find()
    assert [vote.verdict for vote in request.votes] == [VoteVerdict.APPROVE, VoteVerdict.ABSTAIN, VoteVerdict.APPROVE]


@pytest.mark.requirement("signoff:abstain")
def test_an_abstention_is_not_carried_over_to_a_later_version() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await office.vote(request, SAM, verdict=VoteVerdict.ABSTAIN)
        assert (await office.asked("v2")).votes == ()

    run(scenario)


@pytest.mark.requirement("signoff:outlook")
def test_a_requester_who_is_the_only_security_reviewer_is_told_that_nobody_can_and_what_to_do() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked(by=SAM)
        await office.vote(request, LENA)
        refused = await refusal_of(office.vote(request, SAM))
        assert refused.code is Code.SEPARATION_OF_DUTIES
        (security,) = office.approvals.outlook(request.id)
        assert security.short
        assert security.barred == {SAM: "who asked for it does not vote on it"}
        assert "nobody can approve as `security`" in security.said
        assert "give the role to somebody" in security.said
        assert office.present(request).state is ApprovalState.OPEN
        office.organise(grants=(*office.organisation.grants, grant(UNA, Role.SECURITY)))
        (security,) = office.approvals.outlook(request.id)
        assert (security.could, security.short) == ((UNA,), False)

    run(scenario)


@pytest.mark.requirement("signoff:outlook")
def test_an_owner_deleted_while_their_agent_is_judged_stays_on_the_asking_side() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked(by=MIRA)
        left = replace(office.organisation.people[DANA], left=True)
        office.organise(
            people={**office.organisation.people, DANA: left},
            grants=(*office.organisation.grants, grant(DANA, Role.SECURITY)),
        )
        assert (await refusal_of(office.vote(request, DANA, Role.SECURITY))).code is Code.SEPARATION_OF_DUTIES
        office.grounds = replace(office.grounds, blocks=("its owner has left",))
        assert (await refusal_of(office.vote(request, LENA))).code is Code.APPROVAL_BLOCKED
        assert isinstance(await refusal_of(office.asked("v2")), ForbiddenError)

    run(scenario)


@pytest.mark.requirement("signoff:votes:stale")
def test_a_vote_on_a_digest_that_was_superseded_counts_nowhere() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        digest = office.approvals.view(request.id)[1]
        newer = await office.asked("v2")
        assert isinstance(await refusal_of(office.vote(request, LENA, view=digest)), ConflictError)
        stale = await refusal_of(office.vote(newer, LENA, view=digest))
        assert isinstance(stale, ConflictError)
        assert isinstance(await refusal_of(office.vote(newer, LENA, comment="x" * 4_001)), InvalidInputError)
        assert office.present(newer).votes == ()

    run(scenario)
