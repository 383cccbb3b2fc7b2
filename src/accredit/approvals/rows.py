"""Holds and requests for sign-off as rows of control state, there and back.

kind         key               document
hold         hold id           one held call
approval     request id        one request with the votes that count
proposal     subject digest    {content, nonce}: what is proposed, whole, until it is enacted or given up
assessment   digest            {agent, by, form, nonce}: one risk assessment, never changed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Hold,
    HoldGrant,
    HoldState,
    Obligation,
    Parties,
    RoleNeed,
    Vote,
    VoteVerdict,
)
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Subject
from accredit.kernel.ids import AgentId, HoldId, PersonId, ToolId
from accredit.kernel.money import Money
from accredit.policy.model import HoldNeed
from accredit.registry.model import Environment, RestrictionKind, Role, Tier

__all__ = [
    "APPROVAL",
    "ASSESSMENT",
    "KIND",
    "PROPOSAL",
    "approval_doc",
    "hold_doc",
    "obligation_doc",
    "read_approval",
    "read_hold",
]

APPROVAL = "approval"
ASSESSMENT = "assessment"
KIND = "hold"
PROPOSAL = "proposal"


def hold_doc(hold: Hold) -> dict[str, Any]:
    """The row's document: canonical, the raw values in it as one text."""
    return {
        "agent": hold.agent,
        "barred": [[person, stands_as] for person, stands_as in sorted(hold.barred.items())],
        "closed_us": hold.closed_us,
        "denied_by": hold.denied_by,
        "denied_reason": hold.denied_reason,
        "environment": hold.environment.value,
        "expires_us": hold.expires_us,
        "grants": [
            {
                "at_us": grant.at_us,
                "basis": grant.basis,
                "credential": grant.credential,
                "for_person": grant.for_person,
                "id": grant.id,
                "person": grant.person,
                "policy": grant.policy,
                "reason": grant.reason,
                "role": grant.role,
                "view_digest": grant.view_digest,
            }
            for grant in hold.grants
        ],
        "id": hold.id,
        "needs": [[need.policy, need.role] for need in hold.needs],
        "opened_us": hold.opened_us,
        "request": hold.request,
        "state": hold.state.value,
        "team": hold.team,
        "tool": hold.tool,
        "version": hold.version,
        "view": hold.view,
        "view_digest": hold.view_digest,
    }


def read_hold(doc: Mapping[str, Any]) -> Hold:
    """The hold a proven row holds."""
    return Hold(
        id=HoldId(doc["id"]),
        agent=AgentId(doc["agent"]),
        version=Digest(doc["version"]),
        environment=Environment(doc["environment"]),
        tool=ToolId(doc["tool"]),
        request=Digest(doc["request"]),
        needs=tuple(HoldNeed(policy, role) for policy, role in doc["needs"]),
        state=HoldState(doc["state"]),
        opened_us=doc["opened_us"],
        expires_us=doc["expires_us"],
        barred={PersonId(person): stands_as for person, stands_as in doc["barred"]},
        view=doc["view"],
        view_digest=Digest(doc["view_digest"]),
        grants=tuple(
            HoldGrant(
                grant["id"],
                grant["policy"],
                grant["role"],
                PersonId(grant["person"]),
                grant["credential"],
                grant["basis"],
                Digest(grant["view_digest"]),
                grant["reason"],
                grant["at_us"],
                grant.get("for_person"),
            )
            for grant in doc["grants"]
        ),
        denied_by=None if doc["denied_by"] is None else PersonId(doc["denied_by"]),
        denied_reason=doc["denied_reason"],
        closed_us=doc["closed_us"],
        team=doc.get("team"),
    )


def approval_doc(request: ApprovalRequest) -> dict[str, Any]:
    """The row of a request; its nonce keeps the row's digest, which the log carries in clear, from being guessed."""
    return {
        "about": request.about,
        "agent": request.agent,
        "assessment": request.assessment,
        "decided_us": request.decided_us,
        "expires_us": request.expires_us,
        "id": request.id,
        "needs": [
            {
                "assessment": need.assessment,
                "comment": need.comment,
                "count": need.count,
                "facets": list(need.facets),
                "role": need.role.value,
                "template": need.template,
                "validation": need.validation,
            }
            for need in request.needs
        ],
        "nonce": request.nonce,
        "obligations": [obligation_doc(one) for one in request.obligations],
        "opened_us": request.opened_us,
        "parties": {
            "authors": sorted(request.parties.authors),
            "beneficiaries": sorted(request.parties.beneficiaries),
            "owners": sorted(request.parties.owners),
            "requester": request.parties.requester,
        },
        "reminded": request.reminded,
        "state": request.state.value,
        "subject": {"digest": request.subject.digest, "kind": request.subject.kind},
        "team": request.team,
        "tier": request.tier.value if request.tier else None,
        "told": list(request.told),
        "used_us": request.used_us,
        "votes": [
            {
                "assessment": vote.assessment,
                "at_us": vote.at_us,
                "carried_from": vote.carried_from,
                "comment": vote.comment,
                "credential": vote.credential,
                "for_person": vote.for_person,
                "judged": vote.judged,
                "person": vote.person,
                "role": vote.role.value,
                "verdict": vote.verdict.value,
                "view_digest": vote.view_digest,
            }
            for vote in request.votes
        ],
    }


def read_approval(doc: Mapping[str, Any]) -> ApprovalRequest:
    """The request a proven row holds."""
    parties = doc["parties"]
    return ApprovalRequest(
        id=doc["id"],
        subject=Subject(doc["subject"]["kind"], doc["subject"]["digest"]),
        about=doc["about"],
        agent=doc["agent"],
        team=doc["team"],
        tier=Tier(doc["tier"]) if doc["tier"] else None,
        needs=tuple(
            RoleNeed(
                Role(need["role"]),
                tuple(need["facets"]),
                need["validation"],
                need["assessment"],
                need["comment"],
                need.get("count", 1),
                need.get("template"),
            )
            for need in doc["needs"]
        ),
        parties=Parties(
            parties["requester"],
            frozenset(parties["authors"]),
            frozenset(parties["owners"]),
            frozenset(parties["beneficiaries"]),
        ),
        state=ApprovalState(doc["state"]),
        opened_us=doc["opened_us"],
        expires_us=doc["expires_us"],
        nonce=doc["nonce"],
        votes=tuple(
            Vote(
                role=Role(vote["role"]),
                person=vote["person"],
                credential=vote["credential"],
                verdict=VoteVerdict(vote["verdict"]),
                comment=vote["comment"],
                judged=vote["judged"],
                view_digest=vote["view_digest"],
                at_us=vote["at_us"],
                assessment=vote["assessment"],
                for_person=vote["for_person"],
                carried_from=vote["carried_from"],
            )
            for vote in doc["votes"]
        ),
        assessment=doc["assessment"],
        decided_us=doc["decided_us"],
        used_us=doc["used_us"],
        obligations=tuple(_obligation(one) for one in doc.get("obligations", ())),
        reminded=doc.get("reminded", 0),
        told=tuple(PersonId(one) for one in doc.get("told", ())),
    )


def obligation_doc(one: Obligation) -> dict[str, Any]:
    """An obligation as it stands in a row, in a record and in what voters are shown."""
    cost = one.cost_per_day
    return {
        "as": one.as_role.value,
        "by": one.by,
        "calls_per_minute": one.calls_per_minute,
        "cost_per_day": None if cost is None else [cost.nanos, cost.currency],
        "days": one.days,
        "kind": one.kind.value,
        "role": None if one.role is None else one.role.value,
        "share_percent": one.share_percent,
        "tool": one.tool,
    }


def _obligation(doc: Mapping[str, Any]) -> Obligation:
    return Obligation(
        kind=RestrictionKind(doc["kind"]),
        by=PersonId(doc["by"]),
        as_role=Role(doc["as"]),
        tool=None if doc["tool"] is None else ToolId(doc["tool"]),
        calls_per_minute=doc["calls_per_minute"],
        cost_per_day=None if doc["cost_per_day"] is None else Money(*doc["cost_per_day"]),
        role=None if doc["role"] is None else Role(doc["role"]),
        share_percent=doc["share_percent"],
        days=doc["days"],
    )
