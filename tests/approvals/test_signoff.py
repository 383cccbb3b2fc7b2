from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from accredit.approvals.assessment import assessment_schema, read_assessment
from accredit.approvals.duties import Barred, Eligible
from accredit.approvals.gates import answer_us, gate
from accredit.approvals.model import ApprovalRequest, ApprovalState, Grounds, SubjectKind, VoteVerdict
from accredit.approvals.requests import view_digest
from accredit.approvals.rows import APPROVAL, approval_doc, read_approval
from accredit.approvals.rows import ASSESSMENT as ASSESSMENT_ROW
from accredit.kernel.canonical import Digest, canonical, digest
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, UnavailableError
from accredit.registry.model import Role, Tier
from accredit.registry.organisation import AccountTie, Delegation
from accredit.registry.versions import FACETS
from tests.approvals.office import (
    AGENT,
    ASSESSMENT,
    BO,
    CARA,
    DANA,
    DAY_S,
    LENA,
    MIRA,
    NOW_US,
    OLD_US,
    POLICY,
    SAM,
    UNA,
    Office,
    grant,
    operator,
    role_proposal,
    version,
)


def run(scenario: Callable[[Office], Coroutine[Any, Any, None]], **given: Any) -> Office:
    office = Office(**given)
    asyncio.run(scenario(office))
    return office


async def refusal_of(answer: Coroutine[Any, Any, Any]) -> AccreditError:
    with pytest.raises(AccreditError) as refused:
        await answer
    return refused.value


def not_cleared(office: Office, request: ApprovalRequest) -> str:
    with pytest.raises(ForbiddenError) as refused:
        office.cleared(request)
    assert refused.value.code is Code.CLEARANCE_REQUIRED
    return refused.value.message


# -- gates


@pytest.mark.requirement("gates:tiers")
def test_each_tier_has_its_gate_and_a_version_without_one_that_of_the_highest() -> None:
    def roles(tier: Tier | None) -> list[Role]:
        return [need.role for need in gate(SubjectKind.AGENT_VERSION, tier)]

    assert roles(Tier.LOW) == [Role.TEAM_LEAD]
    assert roles(Tier.MEDIUM) == [Role.TEAM_LEAD, Role.SECURITY]
    assert roles(Tier.HIGH) == [Role.SECURITY, Role.COMPLIANCE, Role.BUSINESS_OWNER]
    assert roles(None) == roles(Tier.HIGH)
    high = gate(SubjectKind.AGENT_VERSION, Tier.HIGH)
    assert all(need.assessment and need.comment for need in high)
    for tier in (Tier.MEDIUM, Tier.HIGH):
        assert [need.role for need in gate(SubjectKind.AGENT_VERSION, tier) if need.validation] == [Role.SECURITY]
    assert [need.role for need in gate(SubjectKind.ROLE_GRANT, None)] == [Role.ADMIN]
    assert [need.role for need in gate(SubjectKind.TOOL_FACT, None)] == [Role.SECURITY]
    assert [need.role for need in gate(SubjectKind.POLICY_RELEASE, None)] == [Role.SECURITY]


@pytest.mark.requirement("gates:facets")
@pytest.mark.parametrize("tier", list(Tier))
def test_every_facet_is_judged_by_somebody_at_every_tier(tier: Tier) -> None:
    needs = gate(SubjectKind.AGENT_VERSION, tier)
    assert {facet for need in needs for facet in need.facets} == set(FACETS)
    assert all(list(need.facets) == sorted(need.facets) for need in needs)
    assert all(set(need.facets) == set(FACETS) for need in needs if need.role is Role.TEAM_LEAD)


# -- the way through


@pytest.mark.requirement("signoff:clearance:voters")
def test_a_complete_gate_gives_a_clearance_that_names_the_voters_and_their_credentials() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        assert request.state is ApprovalState.OPEN
        assert "`team-lead`, `security`" in not_cleared(office, request)
        half = await office.vote(request, LENA)
        assert [need.role for need in half.missing] == [Role.SECURITY]
        assert "`security`" in not_cleared(office, half)
        whole = await office.vote(request, SAM)
        assert whole.state is ApprovalState.APPROVED
        clearance = office.cleared(whole)
        assert clearance.basis is Basis.APPROVALS
        assert clearance.by == (LENA, SAM)
        assert clearance.credential == "tok_lena,tok_sam"
        clearance.covers("agent-version", version().digest)

    office = run(scenario)
    votes = [event for event in office.slow.events if event.facts.kind == "approval.voted"]
    assert [(event.actor.person, event.actor.credential) for event in votes] == [
        (LENA, "tok_lena"),
        (SAM, "tok_sam"),
    ]


@pytest.mark.requirement("signoff:votes:record")
def test_a_vote_is_recorded_with_those_who_could_sign_in_as_its_voter() -> None:
    async def scenario(office: Office) -> None:
        office.organise(ties=(AccountTie(LENA, MIRA, NOW_US), AccountTie(SAM, MIRA, NOW_US - 31 * DAY_S * 1_000_000)))
        request = await office.asked()
        await office.vote(request, LENA)
        await office.vote(request, SAM)

    office = run(scenario)
    votes = [event for event in office.slow.events if event.facts.kind == "approval.voted"]
    assert [event.body["account_by"] for event in votes] == [[MIRA], []]


@pytest.mark.requirement("signoff:assessment:bound", "signoff:comment")
def test_a_high_gate_takes_an_assessment_three_people_and_their_words() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        assert (await refusal_of(office.vote(request, SAM))).code is Code.ASSESSMENT_REQUIRED
        first = await office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT)
        assert (await refusal_of(office.vote(request, SAM, comment="  "))).code is Code.COMMENT_REQUIRED
        voted = await office.vote(request, SAM)
        assert voted.votes[0].assessment == first
        second = await office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT)
        assert second != first
        assert [row.key for row in office.control.view.scan(ASSESSMENT_ROW)] == [second]
        assert office.present(request).votes == ()
        for person in (SAM, CARA, BO):
            voted = await office.vote(request, person)
        assert {vote.assessment for vote in voted.votes} == {second}
        assert office.cleared(voted).by == (SAM, CARA, BO)

    run(scenario, tier=Tier.HIGH)


@pytest.mark.requirement("signoff:assessment:holds")
def test_an_assessment_that_counts_on_a_policy_which_is_not_in_force_any_more_clears_nothing() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT)
        for person in (SAM, CARA, BO):
            await office.vote(request, person)
        office.cleared(request)
        office.grounds = replace(office.grounds, policies=frozenset())
        assert POLICY in not_cleared(office, request)

    run(scenario, tier=Tier.HIGH)


@pytest.mark.requirement("signoff:assessment:accepted")
def test_a_residual_risk_is_accepted_by_the_vote_of_whoever_the_assessment_names_or_in_their_place() -> None:
    async def scenario(office: Office) -> None:
        office.organise(
            grants=(*office.organisation.grants, grant(MIRA, Role.BUSINESS_OWNER)),
            delegations=(Delegation("d", BO, UNA, Role.BUSINESS_OWNER, OLD_US, NOW_US + 10**12),),
        )
        request = await office.asked()
        await office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT)
        for person in (SAM, CARA):
            await office.vote(request, person)
        other = await refusal_of(office.vote(request, MIRA, Role.BUSINESS_OWNER))
        assert (other.code, "somebody else" in other.message) == (Code.ASSESSMENT_REQUIRED, True)
        voted = await office.vote(request, UNA, Role.BUSINESS_OWNER)
        assert voted.votes[-1].for_person == BO
        assert office.cleared(voted).by == (SAM, CARA, UNA)

    run(scenario, tier=Tier.HIGH)


@pytest.mark.requirement("signoff:assessment:accepted")
def test_somebody_else_than_who_is_to_accept_the_residual_risk_may_reject() -> None:
    async def scenario(office: Office) -> None:
        office.organise(grants=(*office.organisation.grants, grant(MIRA, Role.BUSINESS_OWNER)))
        request = await office.asked()
        await office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT)
        rejected = await office.vote(request, MIRA, Role.BUSINESS_OWNER, VoteVerdict.REJECT)
        assert rejected.state is ApprovalState.REJECTED

    run(scenario, tier=Tier.HIGH)


@pytest.mark.requirement("signoff:assessment:form")
@pytest.mark.parametrize(
    "change",
    [
        {"risks": []},
        {"residual": "low"},
        {"acceptedBy": "dana@example.com"},
        {"acceptedBy": DANA},
        {"acceptedBy": UNA},
        {"more": 1},
        {"risks": [{**ASSESSMENT["risks"][0], "likelihood": "2"}]},
        {"risks": [{**ASSESSMENT["risks"][0], "mitigations": [{"policy": "org/none.000000000000"}]}]},
        {"risks": [{**ASSESSMENT["risks"][0], "mitigations": [{}]}]},
        {"risks": [{**ASSESSMENT["risks"][0], "mitigations": [], "residual": "low"}]},
        {"risks": [{**ASSESSMENT["risks"][0], "risk": "x" * 2_001}]},
    ],
)
def test_an_assessment_that_does_not_say_what_it_must_is_refused(change: dict[str, Any]) -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        refused = await refusal_of(
            office.approvals.attach_assessment(request.id, operator(DANA), {**ASSESSMENT, **change})
        )
        assert refused.code is Code.ASSESSMENT_INVALID
        assert office.present(request).assessment is None

    run(scenario, tier=Tier.HIGH)


def test_the_form_of_an_assessment_is_published_and_a_gate_without_one_takes_none() -> None:
    assert set(assessment_schema()["required"]) == {"risks", "residual", "acceptedBy"}
    assert read_assessment(ASSESSMENT, policies={POLICY}).accepter == BO

    async def scenario(office: Office) -> None:
        request = await office.asked()
        refused = await refusal_of(office.approvals.attach_assessment(request.id, operator(DANA), ASSESSMENT))
        assert refused.code is Code.CONFLICT

    run(scenario)


@pytest.mark.requirement("signoff:excess")
def test_excess_blocks_the_vote_that_judges_it_and_a_clearance_given_on_what_later_is_excess() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        clean = office.grounds
        office.grounds = replace(clean, excess=("`crm/export` is forbidden by org policy",))
        assert (await refusal_of(office.vote(request, SAM))).code is Code.ACCESS_EXCESS
        await office.vote(request, LENA)
        office.grounds = clean
        await office.vote(request, SAM)
        office.cleared(request)
        office.grounds = replace(clean, excess=("`crm/export` is forbidden by org policy",))
        assert "crm/export" in not_cleared(office, request)
        office.grounds = replace(clean, validation=None)
        not_cleared(office, request)

    run(scenario)


@pytest.mark.requirement("signoff:blocked")
def test_what_has_no_tier_is_neither_opened_nor_voted_on_nor_cleared() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        office.grounds = replace(office.grounds, tier=None, blocks=("no agreement with the supplier",))
        assert "lacks the approval" in not_cleared(office, request)
        assert (await refusal_of(office.asked("v2"))).code is Code.APPROVAL_BLOCKED
        assert "no agreement" in (await refusal_of(office.vote(request, SAM))).message

    run(scenario)


@pytest.mark.requirement("signoff:rejected")
def test_one_rejection_ends_a_request_and_says_why() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await office.vote(request, LENA)
        refused = await refusal_of(office.vote(request, SAM, verdict=VoteVerdict.REJECT, comment=" "))
        assert refused.code is Code.COMMENT_REQUIRED
        over = await office.vote(request, SAM, verdict=VoteVerdict.REJECT, comment="too broad")
        assert over.state is ApprovalState.REJECTED
        assert (await refusal_of(office.vote(request, SAM))).code is Code.CONFLICT
        not_cleared(office, request)
        assert office.approvals.view(request.id) == ("", "")

    run(scenario)


# -- duties at the desk


@pytest.mark.requirement("signoff:self")
@pytest.mark.parametrize("person", [DANA, UNA])
def test_who_asked_or_holds_no_role_does_not_vote(person: Any) -> None:
    async def scenario(office: Office) -> None:
        office.organise(grants=(*office.organisation.grants, grant(DANA, Role.SECURITY)))
        request = await office.asked()
        for verdict in VoteVerdict:
            refused = await refusal_of(office.vote(request, person, Role.SECURITY, verdict))
            assert refused.code is Code.SEPARATION_OF_DUTIES
        assert (await refusal_of(office.vote(request, SAM, Role.COMPLIANCE))).code is Code.CONFLICT
        alone = replace(operator(SAM), basis=Basis.SINGLE_ADMIN.value)
        assert isinstance(office.approvals.standing(request.id, operator(person))[Role.SECURITY], Barred)
        assert office.approvals.standing(request.id, operator(SAM))[Role.SECURITY] == Eligible()
        shown = office.approvals.view(request.id)[1]
        refused = await refusal_of(
            office.approvals.vote(
                request.id, alone, role=Role.SECURITY, verdict=VoteVerdict.APPROVE, view_digest=shown, comment=""
            )
        )
        assert refused.code is Code.TWO_PERSONS_REQUIRED

    run(scenario)


@pytest.mark.requirement("signoff:role-late")
def test_a_role_granted_after_the_request_opened_gives_no_vote_on_it() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        office.clock.advance(60)
        await office.record_role(grant(UNA, Role.SECURITY, since_us=office.clock.now().wall_us))
        refused = await refusal_of(office.vote(request, UNA, Role.SECURITY))
        assert refused.code is Code.SEPARATION_OF_DUTIES
        office.clock.advance(60)
        later = await office.asked("v2")
        await office.vote(later, UNA, Role.SECURITY)

    run(scenario)


@pytest.mark.requirement("signoff:clock")
def test_a_role_that_a_clock_set_back_dates_before_the_request_ends_the_request() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        office.clock.step_wall(-3_600)
        assert (await refusal_of(office.vote(request, SAM))).code is Code.CLOCK_UNCONFIRMED
        office.watch.confirm(office.clock.now())
        await office.record_role(grant(UNA, Role.SECURITY, since_us=office.clock.now().wall_us))
        assert office.present(request).state is ApprovalState.EXPIRED
        office.clock.advance(7_200)
        assert (await refusal_of(office.vote(request, LENA))).code is Code.CONFLICT
        assert [one.state for one in await office.approvals.sweep()] == [ApprovalState.EXPIRED]
        office.restart()
        assert office.present(request).state is ApprovalState.EXPIRED

    run(scenario)


@pytest.mark.requirement("signoff:clock")
def test_no_role_comes_about_in_a_process_that_started_with_the_clock_before_an_open_request() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        office.clock.step_wall(-3_600)
        office.restart()  # which sees no step
        asked = await office.approvals.open_proposal(role_proposal(), operator(DANA))
        await office.vote(asked, MIRA)
        with pytest.raises(UnavailableError) as refused:
            office.cleared(asked)
        assert refused.value.code is Code.CLOCK_UNCONFIRMED
        assert request.id in refused.value.message
        office.clock.advance(3_601)
        office.restart()
        office.cleared(asked)
        await office.record_role(grant(UNA, Role.SECURITY, since_us=office.clock.now().wall_us))
        assert (await refusal_of(office.vote(request, UNA, Role.SECURITY))).code is Code.SEPARATION_OF_DUTIES

    run(scenario)


@pytest.mark.requirement("signoff:clock")
@pytest.mark.parametrize("end", ["withdrawn", "used"])
def test_a_request_that_is_over_or_used_keeps_no_role_from_coming_about(end: str) -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        if end == "used":
            await office.approvals.mark_used(request.id, actor=office.slow.events[-1].actor)
        else:
            await office.approvals.withdraw(request.id, operator(DANA))
        office.clock.step_wall(-3_600)
        office.restart()
        asked = await office.approvals.open_proposal(role_proposal(), operator(DANA))
        await office.vote(asked, MIRA)
        office.cleared(asked)

    run(scenario)


@pytest.mark.requirement("signoff:clock", "signoff:expiry")
@pytest.mark.parametrize("seconds", [-86_400 * 40, -3_600, -3, 3, 3_600, 86_400 * 13, 86_400 * 15])
def test_no_step_of_the_clock_approves_anything_or_prolongs_a_request(seconds: int) -> None:
    async def scenario(office: Office) -> None:
        office.organise(grants=(*office.organisation.grants, grant(UNA, Role.SECURITY, since_us=NOW_US + 1)))
        request = await office.asked()  # at NOW_US: una holds the role since a moment later
        office.clock.step_wall(seconds)
        for person in (SAM, UNA, LENA):
            refused = await refusal_of(office.vote(request, person, Role.SECURITY if person == UNA else None))
            assert refused.code in {Code.CLOCK_UNCONFIRMED, Code.CONFLICT}
        office.watch.confirm(office.clock.now())
        refused = await refusal_of(office.vote(request, UNA, Role.SECURITY))
        assert refused.code in {Code.SEPARATION_OF_DUTIES, Code.CONFLICT}
        office.clock.advance(14 * DAY_S)
        assert office.present(request).state is ApprovalState.EXPIRED, "it outlived its term"
        not_cleared(office, request)

    run(scenario)


@pytest.mark.requirement("signoff:clock")
def test_nothing_is_approved_or_cleared_while_the_clock_is_in_doubt() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        office.clock.step_wall(3)
        with pytest.raises(UnavailableError) as refused:
            office.cleared(request)
        assert refused.value.code is Code.CLOCK_UNCONFIRMED
        office.watch.confirm(office.clock.now())
        office.cleared(request)

    run(scenario)


@pytest.mark.requirement("signoff:votes:at-once")
def test_of_two_votes_at_once_by_one_person_or_in_one_role_one_counts() -> None:
    async def scenario(office: Office) -> None:
        office.organise(grants=(*office.organisation.grants, grant(SAM, Role.TEAM_LEAD), grant(UNA, Role.SECURITY)))
        request = await office.asked()
        answers = await asyncio.gather(
            office.vote(request, SAM, Role.SECURITY),
            office.vote(request, SAM, Role.TEAM_LEAD),
            office.vote(request, UNA, Role.SECURITY),
            office.vote(request, SAM, Role.SECURITY, VoteVerdict.REJECT),
            return_exceptions=True,
        )
        assert [isinstance(answer, ApprovalRequest) for answer in answers] == [True, False, False, False]
        assert [vote.person for vote in office.present(request).votes] == [SAM]

    run(scenario)


@pytest.mark.requirement("signoff:delegation")
def test_a_vote_under_a_delegation_says_for_whom_and_outlives_the_delegation_but_not_the_holders_role() -> None:
    async def scenario(office: Office) -> None:
        until_us = NOW_US + DAY_S * 1_000_000
        office.organise(delegations=(Delegation("d", SAM, UNA, Role.SECURITY, OLD_US, until_us),))
        request = await office.asked()
        await office.vote(request, UNA, Role.SECURITY)
        voted = await office.vote(request, LENA)
        assert [vote.for_person for vote in voted.votes] == [SAM, None]
        office.clock.advance(2 * DAY_S)
        office.cleared(request)
        office.organise(grants=tuple(one for one in office.organisation.grants if one.holder != SAM))
        assert "role is not held" in not_cleared(office, request)

    run(scenario)


@pytest.mark.requirement("signoff:clearance:again")
@pytest.mark.parametrize("turn", ["left", "author", "tie", "delegation", "revoked"])
def test_a_vote_that_could_not_be_cast_any_more_clears_nothing_and_somebody_else_can_vote(turn: str) -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        organisation = office.organisation
        match turn:
            case "left":
                gone = replace(organisation.people[SAM], left=True)
                office.organise(people={**organisation.people, SAM: gone})
            case "tie":
                office.organise(ties=(AccountTie(SAM, DANA, NOW_US),))
            case "delegation":
                office.organise(delegations=(Delegation("d", DANA, SAM, Role.AUDITOR, NOW_US, NOW_US + 1),))
            case "revoked":
                ended = tuple(
                    replace(one, revoked_us=NOW_US) if one.holder == SAM else one for one in organisation.grants
                )
                office.organise(grants=ended)
            case "author":
                office.organise(grants=tuple(
                    replace(one, by=frozenset({DANA})) if one.holder == SAM else one for one in organisation.grants
                ))  # fmt: skip
        assert "security" in not_cleared(office, request)
        assert office.present(request).state is ApprovalState.OPEN
        await office.approvals.sweep()
        row = office.control.view.get(APPROVAL, request.id)
        assert row is not None
        assert [vote.person for vote in read_approval(row.doc).votes] == [LENA]
        office.organise(grants=(*office.organisation.grants, grant(UNA, Role.SECURITY)))
        whole = await office.vote(request, UNA, Role.SECURITY)
        assert whole.state is ApprovalState.APPROVED
        assert office.cleared(whole).by == (LENA, UNA)

    run(scenario)


# -- votes bind to what was judged


@pytest.mark.requirement("signoff:facets:void")
@pytest.mark.parametrize(("facet", "stays"), [("owner", SAM), ("purpose", SAM), ("tools", None), ("prompt", None)])
def test_a_change_of_a_facet_voids_the_votes_of_the_roles_that_judge_it(facet: str, stays: Any) -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        office.change(facet)
        assert "has changed" in not_cleared(office, request)
        assert [vote.person for vote in office.present(request).votes] == ([stays] if stays else [])

    run(scenario)


@pytest.mark.requirement("signoff:facets:void")
def test_another_tier_or_access_validation_voids_what_was_judged_before() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        before = office.grounds
        office.grounds = replace(before, validation=Digest("sha256:another"))
        assert [vote.person for vote in office.present(request).votes] == [LENA]
        office.grounds = replace(before, tier=Tier.HIGH)
        present = office.present(request)
        assert (present.tier, present.votes, present.state) == (Tier.HIGH, (), ApprovalState.OPEN)
        not_cleared(office, request)

    run(scenario)


@pytest.mark.requirement("signoff:carried")
def test_a_new_version_supersedes_the_request_and_carries_over_the_votes_it_leaves_standing() -> None:
    async def scenario(office: Office) -> None:
        first = await office.approved()
        office.clock.advance(60)
        office.change("owner")
        second = await office.asked("v2")
        assert second.id != first.id
        assert [(vote.person, vote.carried_from) for vote in second.votes] == [(SAM, first.id)]
        assert office.present(first).state is ApprovalState.SUPERSEDED
        assert (await refusal_of(office.approvals.withdraw(first.id, operator(DANA)))).code is Code.CONFLICT
        assert "superseded" in not_cleared(office, first)
        refused = await refusal_of(office.vote(first, SAM, view=first.votes[0].view_digest))
        assert refused.code is Code.CONFLICT
        whole = await office.vote(second, LENA)
        assert office.cleared(whole).by == (SAM, LENA)

    run(scenario)


@pytest.mark.requirement("signoff:carried:fresh")
def test_no_version_is_approved_by_carried_votes_alone() -> None:
    async def scenario(office: Office) -> None:
        first = await office.approved()
        await office.approvals.mark_used(first.id, actor=office.slow.events[-1].actor)
        office.clock.advance(60)
        for name in ("v1", "v2"):
            again = await office.asked(name)
            assert again.votes == ()
            assert again.state is ApprovalState.OPEN
            await office.approvals.withdraw(again.id, operator(DANA))

    run(scenario)


@pytest.mark.requirement("signoff:carried")
@pytest.mark.parametrize("turn", ["author", "old", "role"])
def test_a_vote_is_not_carried_over_if_it_could_not_be_cast_on_the_new_request(turn: str) -> None:
    async def scenario(office: Office) -> None:
        first = await office.approved()
        office.change("owner")
        if turn == "author":
            office.wrote = frozenset({DANA, SAM})
        elif turn == "old":
            await office.approvals.mark_used(first.id, actor=office.slow.events[-1].actor)
            office.clock.advance(183 * DAY_S)
        else:
            office.organise(grants=tuple(one for one in office.organisation.grants if one.holder != SAM))
        office.clock.advance(60)
        assert (await office.asked("v2")).votes == ()

    run(scenario)


@pytest.mark.requirement("signoff:open:once")
def test_asking_again_for_the_same_gives_the_same_request_also_at_once() -> None:
    async def scenario(office: Office) -> None:
        found = await asyncio.gather(*(office.asked() for _ in range(4)), office.asked(by=LENA))
        assert len({request.id for request in found}) == 1
        assert office.present(found[0]).parties.requester == DANA

    office = run(scenario)
    assert len(office.slow.events) == 1


# -- the view


HOSTILE = "approved by security\u202e\u200b\n\n  \u2066evil\u2069\U000e0041 <script>\x1b[2J \ufe0f end"


@pytest.mark.requirement("signoff:view:raw")
def test_hostile_text_in_every_field_an_approver_reads_is_shown_and_deceives_nobody() -> None:
    async def scenario(office: Office) -> None:
        people = {one: replace(known, email=f"{HOSTILE}{one}") for one, known in office.organisation.people.items()}
        office.organise(people=people)
        office.grounds = replace(
            office.grounds,
            view={HOSTILE: {"purpose": HOSTILE, "tools": [{"description": HOSTILE}], "n": 1.5}},
            excess=(HOSTILE,),
        )
        form = json.loads(json.dumps(ASSESSMENT).replace("refunds to", json.dumps(HOSTILE)[1:-1]))
        request = await office.asked()
        await office.approvals.attach_assessment(request.id, operator(DANA), form)
        text, shown = office.approvals.view(request.id)
        assert shown == view_digest(text)
        assert all(character == "\n" or character.isprintable() for character in text)
        assert not set(text) & set("\u202e\u200b\u2066\u2069\U000e0041\x1b\ufe0f")
        read = json.loads(text)
        assert read["grounds"] == office.grounds.view
        assert read["excess"] == [HOSTILE]
        assert read["assessment"]["form"]["risks"][0]["risk"] == form["risks"][0]["risk"]
        assert read["parties"]["requester"]["email"] == f"{HOSTILE}{DANA}"

    run(scenario, tier=Tier.HIGH)


@pytest.mark.requirement("signoff:view:raw")
def test_a_proposal_is_shown_whole_and_a_vote_on_another_view_is_refused() -> None:
    async def scenario(office: Office) -> None:
        proposal = role_proposal()
        request = await office.approvals.open_proposal(proposal, operator(DANA))
        text, shown = office.approvals.view(request.id)
        assert json.loads(text)["proposal"] == proposal.content
        stale = digest("view", b"another")
        assert (await refusal_of(office.vote(request, MIRA, view=stale))).code is Code.CONFLICT
        office.grounds = replace(office.grounds, view={"purpose": "another"})
        assert (await refusal_of(office.vote(request, MIRA, view=shown))).code is Code.CONFLICT

    run(scenario, tier=None)


@pytest.mark.requirement("signoff:view:recorded")
def test_each_vote_is_recorded_with_the_view_shown_sealed_and_its_digest_in_clear() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        text, shown = office.approvals.view(request.id)
        await office.vote(request, LENA, comment="secret thoughts")
        event = office.slow.events[-1]
        assert event.body["view"] == shown
        assert event.parts[0].value == {"comment": "secret thoughts", "view": text}
        assert office.approvals.view(request.id) == (text, shown)  # a vote does not change what others look at
        for made in office.slow.events:
            clear = canonical(made.body)
            assert not any(word in clear for word in (b"secret", b"example.com", b"answer tickets"))

    run(scenario)


def test_what_nobody_could_read_is_not_opened() -> None:
    async def scenario(office: Office) -> None:
        office.grounds = replace(office.grounds, view={"text": "x" * 2_200_000})
        assert (await refusal_of(office.asked())).code is Code.BODY_OVERSIZED
        office.grounds = replace(office.grounds, view={"number": float("nan")})
        assert (await refusal_of(office.asked())).code is Code.UNENCODABLE_INPUT

    run(scenario)


# -- time


@pytest.mark.requirement("signoff:expiry")
@pytest.mark.parametrize(("tier", "days"), [(Tier.LOW, 7), (Tier.MEDIUM, 14), (Tier.HIGH, 30), (None, 7)])
@pytest.mark.parametrize("clock", ["both", "wall", "boot", "restart"])
def test_a_request_expires_by_whichever_clock_says_so_first(tier: Tier | None, days: int, clock: str) -> None:
    assert answer_us(tier) == days * DAY_S * 1_000_000

    async def scenario(office: Office) -> None:
        request = (
            await office.asked() if tier else await office.approvals.open_proposal(role_proposal(), operator(DANA))
        )
        office.clock.advance(days * DAY_S - 1)
        if clock == "restart":
            office.restart()
        assert office.present(request).state is ApprovalState.OPEN
        if clock == "wall":
            office.clock.step_wall(1)
        else:
            office.clock.advance(1)
        if clock == "boot":
            office.clock.step_wall(-3_600)
            office.watch.confirm(office.clock.now())
        assert office.present(request).state is ApprovalState.EXPIRED
        assert office.approvals.find(state=ApprovalState.OPEN) == ()
        refused = await refusal_of(office.vote(request, LENA, view=Digest("sha256:0")))
        assert refused.code is Code.CONFLICT
        not_cleared(office, request)
        assert [one.id for one in await office.approvals.sweep()] == [request.id]
        assert await office.approvals.sweep() == ()

    run(scenario, tier=tier)


@pytest.mark.requirement("signoff:expiry")
def test_a_request_that_expires_between_two_votes_is_not_completed() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        await office.vote(request, LENA)
        shown = office.approvals.view(request.id)[1]
        office.clock.advance(14 * DAY_S)
        assert isinstance(await refusal_of(office.vote(request, SAM, view=shown)), ConflictError)
        assert (await office.asked()).id != request.id

    run(scenario)


@pytest.mark.requirement("signoff:unused")
def test_an_approval_that_nobody_used_for_thirty_days_lapses() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        office.clock.advance(30 * DAY_S - 1)
        office.cleared(request)
        office.clock.advance(1)
        assert "expired" in not_cleared(office, request)
        assert [one.state for one in await office.approvals.sweep()] == [ApprovalState.EXPIRED]
        await refusal_of(office.approvals.mark_used(request.id, actor=office.slow.events[0].actor))

    run(scenario)


@pytest.mark.requirement("signoff:reopened")
def test_an_approved_request_whose_votes_were_voided_after_its_time_is_over_and_can_be_asked_anew() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        office.clock.advance(20 * DAY_S)
        office.change("tools")
        assert office.present(request).state is ApprovalState.EXPIRED
        again = await office.asked()
        assert again.id != request.id
        assert office.present(request).state is ApprovalState.SUPERSEDED

    run(scenario)


# -- use


@pytest.mark.requirement("signoff:used")
def test_a_version_in_force_keeps_its_clearance_and_another_subject_is_cleared_once() -> None:
    async def scenario(office: Office) -> None:
        actor = operator(DANA)
        request = await office.approved()
        await office.approvals.mark_used(request.id, actor=office.slow.events[-1].actor)
        await office.approvals.mark_used(request.id, actor=office.slow.events[-1].actor)
        office.clock.advance(60 * DAY_S)
        office.cleared(request)
        assert office.present(request).used_us is not None
        role = await office.approvals.open_proposal(role_proposal(), actor)
        role = await office.vote(role, MIRA)
        assert office.approvals.content(role) == role_proposal().content
        office.cleared(role)
        await office.approvals.mark_used(role.id, actor=office.slow.events[-1].actor)
        assert "already" in not_cleared(office, role)
        with pytest.raises(AccreditError):
            office.approvals.content(role)

    office = run(scenario)
    assert sum(event.facts.kind == "approval.used" for event in office.slow.events) == 2


@pytest.mark.requirement("signoff:void-agent")
def test_what_is_still_asked_about_an_agent_ends_within_another_change() -> None:
    async def scenario(office: Office) -> None:
        used = await office.approved()
        await office.approvals.mark_used(used.id, actor=office.slow.events[-1].actor)
        open_one = await office.asked("v2")
        writes = office.approvals.writes_to_void(office.control.view, AGENT, NOW_US)
        assert [write.key for write in writes] == [open_one.id]
        assert writes[0].doc is not None
        assert read_approval(writes[0].doc).state is ApprovalState.WITHDRAWN

    run(scenario)


def test_a_request_that_cannot_be_put_into_force_lapses_and_a_withdrawn_one_stays_so() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approvals.open_proposal(role_proposal(), operator(DANA))
        await office.vote(request, MIRA)
        assert (await office.approvals.lapse(request.id, "the ground moved")).state is ApprovalState.EXPIRED
        not_cleared(office, request)
        other = await office.asked()
        assert (await office.approvals.withdraw(other.id, operator(DANA))).state is ApprovalState.WITHDRAWN
        assert (await refusal_of(office.vote(other, LENA, view=Digest("sha256:0")))).code is Code.CONFLICT
        assert (await refusal_of(office.approvals.withdraw("apr_none", operator(DANA)))).code is Code.NOT_FOUND
        assert office.approvals.of_agent(AGENT) == (office.present(other),)

    run(scenario, tier=Tier.LOW)


@pytest.mark.requirement("signoff:kept")
def test_what_ended_without_use_is_forgotten_after_ninety_days_and_what_was_used_is_not() -> None:
    async def scenario(office: Office) -> None:
        used = await office.approved()
        await office.approvals.mark_used(used.id, actor=office.slow.events[-1].actor)
        other = await office.asked("v2")
        await office.approvals.withdraw(other.id, operator(DANA))
        office.clock.advance(90 * DAY_S)
        await office.approvals.sweep()
        assert office.approvals.get(other.id) is None
        assert office.present(used).state is ApprovalState.APPROVED
        office.grounds = replace(office.grounds, tier=Tier.HIGH)
        high = await office.asked("v3")
        await office.approvals.attach_assessment(high.id, operator(DANA), ASSESSMENT)
        await office.approvals.withdraw(high.id, operator(DANA))
        office.clock.advance(90 * DAY_S)
        await office.approvals.sweep()
        assert list(office.control.view.scan(ASSESSMENT_ROW)) == []

    run(scenario)


# -- faults


@pytest.mark.requirement("signoff:durable")
def test_a_vote_that_cannot_be_made_durable_does_not_count() -> None:
    async def scenario(office: Office) -> None:
        request = await office.asked()
        office.slow.failing = True
        with pytest.raises(UnavailableError):
            await office.vote(request, LENA)
        assert office.present(request).votes == ()
        office.slow.failing = False
        await office.vote(request, LENA)
        office.restart()
        assert [vote.person for vote in office.present(request).votes] == [LENA]
        await office.vote(request, SAM)
        office.cleared(request)

    run(scenario)


@pytest.mark.requirement("signoff:unknown-grounds")
def test_grounds_that_cannot_be_known_approve_nothing() -> None:
    async def scenario(office: Office) -> None:
        request = await office.approved()
        shown = request.votes[0].view_digest

        def down(request: ApprovalRequest) -> Grounds:
            raise UnavailableError(Code.STATE_UNPROVEN, "a stored agreement is not what the log proves")

        office.approvals._grounds = down
        with pytest.raises(UnavailableError):
            office.cleared(request)
        assert office.present(request).state is ApprovalState.APPROVED  # what is on record, which clears nothing
        assert (await refusal_of(office.vote(request, SAM, view=shown))).code is Code.STATE_UNPROVEN
        assert await office.approvals.sweep() == ()

    run(scenario)


def test_a_request_survives_its_row() -> None:
    async def scenario(office: Office) -> None:
        first = await office.approved()
        office.change("owner")
        for request in (
            first,
            await office.asked("v2"),
            await office.approvals.open_proposal(role_proposal(), operator(DANA)),
        ):
            assert read_approval(approval_doc(request)) == request

    run(scenario)


def test_one_person_cannot_flood_the_desk() -> None:
    async def scenario(office: Office) -> None:
        for number in range(100):
            proposal = role_proposal()
            content = {**proposal.content, "grant": f"rgr_{number}"}
            made = replace(proposal, content=content, digest=digest("proposal", str(number).encode()))
            await office.approvals.open_proposal(made, operator(DANA))
        assert (await refusal_of(office.asked())).code is Code.CONFLICT
        await office.asked(by=LENA)

    run(scenario, tier=Tier.LOW)
