"""The kinds of control state that reviews are, and their reading and writing.

kind             key          document
review_campaign  campaign id  a set of agents under review, with what was seeded in it; never removed
agent_review     review id    the review of one agent in a campaign, with every decision; never removed
review_mark      agent id     what the last review of the agent left: its version, grants and stated needs

The `nonce` of a document keeps the digest of its row, which stands in the log in clear, from giving away the words in
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId, ToolId
from accredit.lifecycle.reviews.model import (
    AcceptedIdentity,
    AgentReview,
    AgentReviewState,
    ItemDecision,
    ItemVerdict,
    NeedStatement,
    Removal,
    ReviewCampaign,
    ReviewKind,
    ReviewMark,
    ReviewTrigger,
    Seed,
)
from accredit.registry.model import Tier
from accredit.registry.rows import review_schedule_doc, review_schedule_from

__all__ = [
    "AGENT_REVIEW",
    "REVIEW_CAMPAIGN",
    "REVIEW_MARK",
    "agent_review_doc",
    "agent_review_from",
    "campaign_doc",
    "campaign_from",
    "mark_doc",
    "mark_from",
]

REVIEW_CAMPAIGN: Final = "review_campaign"
AGENT_REVIEW: Final = "agent_review"
REVIEW_MARK: Final = "review_mark"


def campaign_doc(one: ReviewCampaign, *, nonce: str) -> dict[str, Any]:
    return {
        "accepted": [
            {"at_us": each.at_us, "by": each.by, "reason": each.reason, "subject": each.subject}
            for each in one.accepted
        ],
        "barred": sorted(one.barred),
        "begun_us": one.begun_us,
        "by": one.by,
        "closed_by": one.closed_by,
        "closed_us": one.closed_us,
        "flags": [list(each) for each in one.flags],
        "grace_us": one.grace_us,
        "kind": one.kind.value,
        "look": one.look,
        "look_us": one.look_us,
        "nonce": nonce,
        "population": dict(one.population),
        "reason": one.reason,
        "respond_us": one.respond_us,
        "schedule": one.scope.name,
        "scope": review_schedule_doc(one.scope),
        "seeds": [[each.agent, each.tool, each.granted_us] for each in one.seeds],
    }


def campaign_from(key: str, doc: Mapping[str, Any]) -> ReviewCampaign:
    return ReviewCampaign(
        id=key,
        kind=ReviewKind(doc["kind"]),
        scope=review_schedule_from(doc["schedule"], doc["scope"]),
        reason=doc["reason"],
        begun_us=doc["begun_us"],
        by=doc["by"],
        respond_us=doc["respond_us"],
        grace_us=doc["grace_us"],
        look=doc["look"],
        look_us=doc["look_us"],
        flags=tuple((look, why) for look, why in doc["flags"]),
        barred=frozenset(PersonId(each) for each in doc["barred"]),
        seeds=tuple(Seed(AgentId(agent), ToolId(tool), granted_us) for agent, tool, granted_us in doc["seeds"]),
        accepted=tuple(
            AcceptedIdentity(each["subject"], PersonId(each["by"]), each["at_us"], each["reason"])
            for each in doc["accepted"]
        ),
        closed_us=doc["closed_us"],
        closed_by=doc["closed_by"],
        population=doc["population"],
    )


def _decision_doc(one: ItemDecision) -> dict[str, Any]:
    return {
        "at_us": one.at_us,
        "bulk": one.bulk,
        "by": one.by,
        "covers": list(one.covers),
        "look": one.look,
        "reason": one.reason,
        "tool": one.tool,
        "verdict": one.verdict.value,
        "version": one.version,
        "view_ms": one.view_ms,
    }


def _decision_from(doc: Mapping[str, Any]) -> ItemDecision:
    return ItemDecision(
        tool=ToolId(doc["tool"]),
        verdict=ItemVerdict(doc["verdict"]),
        by=PersonId(doc["by"]),
        at_us=doc["at_us"],
        view_ms=doc["view_ms"],
        bulk=doc["bulk"],
        look=doc["look"],
        version=Digest(doc["version"]),
        reason=doc["reason"],
        covers=tuple(ToolId(each) for each in doc["covers"]),
    )


def _removal_doc(one: Removal) -> dict[str, Any]:
    return {
        "placed_us": one.placed_us,
        "settled_us": one.settled_us,
        "silent": one.silent,
        "tool": one.tool,
        "undone_us": one.undone_us,
        "until_us": one.until_us,
        "verified_us": one.verified_us,
    }


def _removal_from(doc: Mapping[str, Any]) -> Removal:
    return Removal(
        tool=ToolId(doc["tool"]),
        silent=doc["silent"],
        placed_us=doc["placed_us"],
        until_us=doc["until_us"],
        verified_us=doc["verified_us"],
        settled_us=doc["settled_us"],
        undone_us=doc["undone_us"],
    )


def agent_review_doc(one: AgentReview, *, nonce: str) -> dict[str, Any]:
    need = one.need
    return {
        "agent": one.agent,
        "begun_us": one.begun_us,
        "campaign": one.campaign,
        "decisions": [_decision_doc(each) for each in one.decisions],
        "due_us": one.due_us,
        "ended_us": one.ended_us,
        "extended": one.extended,
        "look": one.look,
        "need": None
        if need is None
        else {"at_us": need.at_us, "by": need.by, "needed": need.needed, "text": need.text},
        "nonce": nonce,
        "outcome": one.outcome.value if one.outcome else None,
        "removals": [_removal_doc(each) for each in one.removals],
        "state": one.state.value,
        "tier": one.tier.value if one.tier else None,
        "told": one.told,
        "triggers": [[kind.value, matter] for kind, matter in one.triggers],
    }


def agent_review_from(key: str, doc: Mapping[str, Any]) -> AgentReview:
    need = doc["need"]
    return AgentReview(
        id=key,
        campaign=doc["campaign"],
        agent=AgentId(doc["agent"]),
        tier=Tier(doc["tier"]) if doc["tier"] else None,
        begun_us=doc["begun_us"],
        due_us=doc["due_us"],
        triggers=tuple((ReviewTrigger(kind), matter) for kind, matter in doc["triggers"]),
        extended=doc["extended"],
        told=doc["told"],
        look=doc["look"],
        outcome=AgentReviewState(doc["outcome"]) if doc["outcome"] else None,
        state=AgentReviewState(doc["state"]),
        need=None if need is None else NeedStatement(need["needed"], need["text"], PersonId(need["by"]), need["at_us"]),
        decisions=tuple(_decision_from(each) for each in doc["decisions"]),
        removals=tuple(_removal_from(each) for each in doc["removals"]),
        ended_us=doc["ended_us"],
    )


def mark_doc(one: ReviewMark, *, nonce: str) -> dict[str, Any]:
    before = None if one.before is None else _mark(one.before)
    return {**_mark(one), "before": before, "nonce": nonce}


def _mark(one: ReviewMark) -> dict[str, Any]:
    return {
        "at_us": one.at_us,
        "grants": [[tool, *digests] for tool, digests in sorted(one.grants.items())],
        "outcome": one.outcome.value,
        "review": one.review,
        "texts": list(one.texts),
        "version": one.version,
    }


def mark_from(key: str, doc: Mapping[str, Any]) -> ReviewMark:
    return ReviewMark(
        agent=AgentId(key),
        review=doc["review"],
        at_us=doc["at_us"],
        outcome=AgentReviewState(doc["outcome"]),
        version=Digest(doc["version"]),
        texts=tuple(doc["texts"]),
        grants={ToolId(tool): (grant, definition) for tool, grant, definition in doc["grants"]},
        before=mark_from(key, doc["before"]) if doc.get("before") is not None else None,
    )
