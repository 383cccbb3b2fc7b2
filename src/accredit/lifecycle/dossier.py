"""Everything that is known of one agent in one value.

Who approved it, what data it may access, what tools it may invoke, when security last reviewed it, and what happens
when it is decommissioned: the five questions of DESIGN §6, and what else stands about it.

Each answer names the record of the log it rests on, so whoever doubts it can have that proven. What cannot be said now
(the engine fails, a row is not what the log proves) is said to be so; it is never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from accredit.approvals.model import ApprovalRequest, Vote
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.envelope import EnvelopeView, envelope_view
from accredit.lifecycle.granted import model_documents
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.model import Planned, Procedure, ProcedureKind, RetirementReceipt
from accredit.lifecycle.observed_operations import ObservedOperations, ObservedView
from accredit.lifecycle.ports import ApprovalDesk
from accredit.lifecycle.reviews.model import AgentReviewState
from accredit.lifecycle.reviews.service import Reviews
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.timeline import Timeline, TimelineEvent
from accredit.monitoring.baselines import BaselineKeeper
from accredit.monitoring.model import Alert, Baseline, Posture, ReportedUse, ToolUse
from accredit.monitoring.service import Monitor
from accredit.policy.validation import AccessReport, AccessRow
from accredit.registry.changes import FacetChange, changes_between
from accredit.registry.model import Agent, Incident, Restriction, Role
from accredit.registry.service import Registry
from accredit.registry.tiering import Tiering

__all__ = ["ApprovalAnswer", "DeclaredVersion", "Dossier", "Dossiers", "RecordedVote", "SecurityReview"]

_SHOWN: Final = 200
_UNJUDGED: Final[Mapping[str, Any]] = {"code": None, "conditions": (), "outcome": None, "policies": (), "record": None}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RecordedVote:
    """A vote and where it stands in the log."""

    vote: Vote
    record: int | None
    """None: it is older than what was read of the log."""


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """Who approved what is in force."""

    request: ApprovalRequest
    votes: tuple[RecordedVote, ...]
    record: int | None
    """Of the vote that completed the gate."""


@dataclass(frozen=True, slots=True)
class SecurityReview:
    """The newest look that somebody in the role security took: at a request, or in a review."""

    at_us: int
    person: PersonId
    request: str | None
    record: int | None
    review: str | None = None


@dataclass(frozen=True, slots=True)
class DeclaredVersion:
    """A version and who declared it."""

    digest: Digest
    at_us: int
    by: str | None


@dataclass(frozen=True, slots=True)
class Dossier:
    """One agent, as of one moment."""

    agent: Agent
    at_us: int
    position: int
    """Of the newest control record in force."""
    tiering: Tiering | None
    """None only if it cannot be computed now: see `unanswered`."""
    observed: ObservedView | None
    """What was observed against what is declared. None only if that cannot be computed now: see `unanswered`."""
    access: AccessReport | None
    approved: ApprovalAnswer | None
    """None: nobody did; nothing outside of production needs it."""
    changes: tuple[FacetChange, ...]
    """What the newest declaration changes against the version in force, if it is not that."""
    envelope: EnvelopeView
    """What may change without another vote, and what did."""
    waiting: ApprovalRequest | None
    """A request that people are asked to vote on now."""
    review: SecurityReview | None
    plan: tuple[Planned, ...]
    """What retirement would do now; empty once it is retired."""
    receipt: RetirementReceipt | None
    procedure: Procedure | None
    timeline: tuple[TimelineEvent, ...]
    """Newest first."""
    versions: tuple[DeclaredVersion, ...]
    restrictions: tuple[Restriction, ...]
    incidents: tuple[Incident, ...]
    alerts: tuple[Alert, ...]
    baseline: Baseline | None
    postures: tuple[Posture, ...]
    usage: tuple[ToolUse, ...]
    reported: tuple[ReportedUse, ...]
    """What others say of it, or it of itself, past the gateway: apart from what was measured."""
    models: tuple[Mapping[str, Any], ...]
    """Its language models as they are registered (`granted.model_documents`)."""
    records: Mapping[str, int | None]
    """Where the log holds what an answer rests on: `version`, `state`, `policy`, `receipt`, `tool/ID` or a model's."""
    unanswered: tuple[str, ...]
    """What could not be found out, and why."""

    def answers(self) -> dict[str, dict[str, Any]]:
        """The five questions, ready for JSON."""
        rows = self.access.rows if self.access else ()
        return {
            "approved_by": self._approved_by(),
            "data": {
                "rows": [self._row(row) for row in rows if row.data_class is not None],
                "declared": sorted(self.agent.version.data),
                "record": self.records["version"],
            },
            "tools": {
                "rows": [
                    {**self._row(row), "definition": row.definition, "effect": row.effect}
                    for row in rows
                    if row.data_class is None
                ],
                "models": self._models(),
                "release": self.access.release if self.access else None,
                "record": self.records["version"],
            },
            "security_review": {
                "at_us": self.review.at_us if self.review else None,
                "person": self.review.person if self.review else None,
                "request": self.review.request if self.review else None,
                "review": self.review.review if self.review else None,
                "record": self.review.record if self.review else None,
            },
            "decommissioning": self._decommissioning(),
        }

    def _approved_by(self) -> dict[str, Any]:
        if self.approved is None:
            return {"request": None, "votes": [], "record": self.records["version"]}
        return {
            "request": self.approved.request.id,
            "votes": [
                {
                    "assessment": one.vote.assessment,
                    "at_us": one.vote.at_us,
                    "carried_from": one.vote.carried_from,
                    "comment": one.vote.comment,
                    "credential": one.vote.credential,
                    "for_person": one.vote.for_person,
                    "person": one.vote.person,
                    "record": one.record,
                    "role": one.vote.role,
                    "verdict": one.vote.verdict,
                    "view_digest": one.vote.view_digest,
                }
                for one in self.approved.votes
            ],
            "record": self.approved.record,
        }

    def _row(self, row: AccessRow) -> dict[str, Any]:
        return {
            "code": str(row.code) if row.code else None,
            "conditions": list(row.conditions),
            "data_class": row.data_class,
            "outcome": row.outcome,
            "policies": list(row.policies),
            "record": self.records.get(f"tool/{row.tool}"),
            "tool": row.tool,
        }

    def _models(self) -> list[dict[str, Any]]:
        rows = self.access.models if self.access else ()
        whole = {row.tool: row for row in rows if row.data_class is None}
        used = {use.tool: use.last_us for use in self.usage}
        return [
            {
                **facts,
                **(self._row(whole[facts["tool"]]) if facts["tool"] in whole else _UNJUDGED),
                "data": [
                    {"data_class": row.data_class, "outcome": row.outcome}
                    for row in rows
                    if row.tool == facts["tool"] and row.data_class is not None
                ],
                "last_used_us": used.get(facts["tool"]),
            }
            for facts in self.models
        ]

    def _decommissioning(self) -> dict[str, Any]:
        if self.receipt is not None:
            return {
                "open": list(self.receipt.open),
                "record": self.records["receipt"],
                "retired_us": self.receipt.retired_us,
                "steps": [
                    {"at_us": done.at_us, "open": list(done.open), "result": dict(done.result), "step": done.step}
                    for done in self.receipt.steps
                ],
            }
        return {
            "open": [each for planned in self.plan for each in planned.open],
            "record": self.records["state"],
            "retired_us": None,
            "steps": [
                {"does": one.does, "open": list(one.open), "result": dict(one.result), "step": one.step}
                for one in self.plan
            ],
        }


class Dossiers:
    """Puts dossiers together. Reads the log and nothing else outside of memory; may be called from a thread."""

    def __init__(
        self,
        registry: Registry,
        approvals: ApprovalDesk,
        lifecycle: Lifecycle,
        judging: Judging,
        monitor: Monitor,
        baselines: BaselineKeeper,
        timeline: Timeline,
        reviews: Reviews,
        observed: ObservedOperations,
        *,
        now_us: Callable[[], int],
        position: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._approvals = approvals
        self._lifecycle = lifecycle
        self._judging = judging
        self._monitor = monitor
        self._baselines = baselines
        self._timeline = timeline
        self._reviews = reviews
        self._observed = observed
        self._now_us = now_us
        self._position = position

    def of(self, agent_id: AgentId) -> Dossier:
        """The agent's dossier as of now.

        Raises:
            NotFoundError: no such agent.
            UnavailableError: the log cannot be read.
        """
        agent = self._registry.get(agent_id)
        if agent is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent_id[:80]}`")
        unanswered: list[str] = []

        def asked(what: str, answer: Callable[[], _T], otherwise: _T) -> _T:
            try:
                return answer()
            except AccreditError as error:
                unanswered.append(f"{what}: {error.message}")
                return otherwise

        events = self._timeline.of(agent_id)
        no_requests: tuple[ApprovalRequest, ...] = ()
        no_plan: tuple[Planned, ...] = ()
        requests = asked("approvals", lambda: tuple(self._approvals.find(agent=agent_id)), no_requests)
        receipt = self._lifecycle.receipt(agent_id)
        if receipt is None:
            plan = asked("retirement plan", lambda: self._lifecycle.retirement_plan(agent_id), no_plan)
        else:
            plan = no_plan
        approved = self._approved(agent, requests, events)
        return Dossier(
            agent=agent,
            at_us=self._now_us(),
            position=self._position(),
            tiering=asked("risk tier", lambda: self._judging.tiering(agent, agent.version), None),
            observed=asked("what was observed", lambda: self._observed.view(agent), None),
            access=asked("access", lambda: self._judging.access(agent, agent.version), None),
            approved=approved,
            changes=self._changes(agent),
            envelope=envelope_view(agent, [one.vote for one in approved.votes] if approved else (), events),
            waiting=next((one for one in reversed(requests) if one.state == "open"), None),
            review=self._review(agent, requests, events),
            plan=plan,
            receipt=receipt,
            procedure=self._lifecycle.procedure(agent_id),
            timeline=tuple(reversed(events[-_SHOWN:])),
            versions=_versions(events),
            restrictions=asked("restrictions", lambda: self._registry.narrowings_of(agent_id), ()),
            incidents=asked("incidents", lambda: self._registry.incidents_of(agent_id), ()),
            alerts=self._monitor.alerts(agent=agent_id, limit=_SHOWN),
            baseline=self._baselines.of(agent_id),
            postures=self._monitor.postures(agent_id),
            usage=asked("usage", lambda: self._monitor.usage(agent), ()),
            reported=self._monitor.reported(agent.id),
            models=tuple(model_documents(agent.version, self._registry.catalogue)),
            records=self._records(agent),
            unanswered=tuple(unanswered),
        )

    def _review(
        self, agent: Agent, requests: Iterable[ApprovalRequest], events: tuple[TimelineEvent, ...]
    ) -> SecurityReview | None:
        organisation = self._registry.organisation
        looks = [
            SecurityReview(decision.at_us, decision.by, None, _record_of_decision(one.id, decision.by, events), one.id)
            for one in self._reviews.find(agent=agent.id)
            if one.state is AgentReviewState.ANSWERED
            for decision in one.decisions[-1:]
            if organisation.held(decision.by, Role.SECURITY, agent.team.id)
        ]
        voted = _vote(requests, events)
        return max([*looks, *([voted] if voted is not None else [])], key=lambda one: one.at_us, default=None)

    def _changes(self, agent: Agent) -> tuple[FacetChange, ...]:
        if agent.candidate is None:
            return ()
        little = self._registry.differs_in_little
        return changes_between(agent.version.manifest, agent.candidate.manifest, little=little)

    def _records(self, agent: Agent) -> dict[str, int | None]:
        rows = {
            "policy": ("policy_current", "current"),
            "receipt": ("receipt", agent.id),
            "state": ("agent", agent.id),
            "version": ("version", agent.version.digest),
            **{f"tool/{grant.tool}": ("tool", grant.tool) for grant in agent.version.every_grant},
        }
        return {name: self._timeline.record_of(kind, key) for name, (kind, key) in rows.items()}

    def _approved(
        self, agent: Agent, requests: Iterable[ApprovalRequest], events: tuple[TimelineEvent, ...]
    ) -> ApprovalAnswer | None:
        """The request that the version in force rests on: the one its activation used."""
        about = [one for one in requests if one.subject.digest == agent.version.digest]
        procedure = self._lifecycle.procedure(agent.id)
        rests_on = procedure.request if procedure and procedure.kind is ProcedureKind.ACTIVATE else None
        found = next((one for one in about if one.id == rests_on), None)
        if found is None:
            used = [one for one in about if one.used_us is not None]
            found = max(used, key=lambda one: (one.used_us or 0, one.id), default=None)
        if found is None:
            found = max((one for one in about if one.state == "approved"), key=lambda one: one.opened_us, default=None)
        if found is None:
            return None
        votes = tuple(RecordedVote(vote, _record_of(vote, found, events)) for vote in found.votes)
        return ApprovalAnswer(found, votes, max((one.record for one in votes if one.record is not None), default=None))


def _record_of(vote: Vote, request: ApprovalRequest, events: tuple[TimelineEvent, ...]) -> int | None:
    """The record of a vote: cast on this request or, if it was carried over, on the one it came from."""
    on = vote.carried_from or request.id
    return next(
        (
            event.record
            for event in reversed(events)
            if event.person == vote.person and event.body.get("request") == on and event.body.get("role") == vote.role
        ),
        None,
    )


def _record_of_decision(review: str, person: PersonId, events: tuple[TimelineEvent, ...]) -> int | None:
    """The record of somebody's last decision in a review."""
    told = (one for one in reversed(events) if one.kind == "review.decided" and one.body.get("review") == review)
    return next((one.record for one in told if one.person == person), None)


def _vote(requests: Iterable[ApprovalRequest], events: tuple[TimelineEvent, ...]) -> SecurityReview | None:
    looks = [(vote, request) for request in requests for vote in request.votes if vote.role is Role.SECURITY]
    if not looks:
        return None
    vote, request = max(looks, key=lambda look: (look[0].at_us, look[1].opened_us))
    return SecurityReview(vote.at_us, vote.person, request.id, _record_of(vote, request, events))


def _versions(events: Iterable[TimelineEvent]) -> tuple[DeclaredVersion, ...]:
    """Newest first."""
    declared = [
        DeclaredVersion(Digest(event.version), event.at_us, event.person)
        for event in events
        if event.kind in {"agent.registered", "agent.versioned"} and event.version
    ]
    return tuple(reversed(declared))
