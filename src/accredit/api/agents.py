"""Agents, to be looked at: the list, and everything that is known of one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query

from accredit.api.approvals import ApprovalRow
from accredit.api.asking import Asking, Who
from accredit.api.credentials import CredentialRow, credential_row
from accredit.api.forms import Named
from accredit.api.incidents import IncidentRow, incident_row
from accredit.api.paging import After, Limit, Place, page
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, dated, moment, money, optional_moment
from accredit.api.watching import AlertRow, RestrictionRow, alert_row, restriction_row
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.kernel.money import Money
from accredit.lifecycle.certificates import Certificate
from accredit.lifecycle.dossier import Dossier
from accredit.lifecycle.envelope import EnvelopeView
from accredit.lifecycle.model import Done, Procedure, RetirementReceipt
from accredit.lifecycle.timeline import TimelineEvent
from accredit.limits.model import LimitUsage
from accredit.monitoring.model import Baseline, Posture, ReportedUse, ToolUse, UnusedPermission
from accredit.registry.model import Agent, AgentState, AgentVersion, Environment, Tier

__all__ = [
    "AgentDossier",
    "AgentRow",
    "AgentTier",
    "AgentValidation",
    "BaselineShown",
    "CertificateLink",
    "CertificateShown",
    "ChangeRow",
    "EnvelopeShown",
    "EnvelopeUseRow",
    "EventRow",
    "GrantRow",
    "KnownCredentialRow",
    "LimitsShown",
    "ObservedShown",
    "PlanShown",
    "PostureRow",
    "ProcedureShown",
    "ReceiptShown",
    "ReportedUseRow",
    "Retirement",
    "StepShown",
    "TierShown",
    "ToolUseRow",
    "UnusedRow",
    "UsageRow",
    "ValidationShown",
    "VersionRow",
    "agent_row",
    "agents",
    "procedure_shown",
    "receipt_shown",
    "retirement_asked",
    "retirement_shown",
]

_DAY_US: Final = 86_400_000_000
_MAX_PAGE: Final = 200
_SHOWN_EVENTS: Final = 20
_NOT_SHOWN: Final = frozenset({"before", "checkpoint"})
"""Of a step's result: what undoing it would put back, and what the receipt says itself."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent in a list."""

    id: str
    name: str
    environment: str
    team: str
    state: str
    tier: str | None
    """None: it has none, or it cannot be told now."""
    owner: str
    """Id of a person."""
    version: str
    """In force."""
    candidate: str | None
    """Declared, and not in force."""


@dataclass(frozen=True, slots=True)
class GrantRow:
    """What the version in force says about one tool."""

    tool: str
    grant: str
    user_role: str | None
    same_as: dict[str, str]
    hours: bool
    mask: list[str]


@dataclass(frozen=True, slots=True)
class LimitsShown:
    """How much of its limits an agent has used."""

    calls_per_minute: int
    calls_left: int
    concurrency: int
    in_flight: int
    window: str
    cap: str | None
    spent: str | None
    reserved: str | None
    left: str | None


@dataclass(frozen=True, slots=True)
class TierShown:
    """The risk tier of one version, and why."""

    version: str
    tier: str | None
    """None: it is blocked, and cannot be submitted."""
    score: int
    factors: list[dict[str, Any]]
    floors: list[dict[str, Any]]
    blocks: list[dict[str, Any]]
    lowers: list[dict[str, Any]]
    """For each lower tier that can be reached, the smallest sets of safeguards that would."""
    digest: str


@dataclass(frozen=True, slots=True)
class ObservedShown:
    """What was observed of an agent in the last days, against its version in force."""

    windows: list[dict[str, Any]]
    """For 14 and 30 days, by factor: `declared`, `observed`, whether that is `higher`, `evidence`, `records`."""
    once: list[dict[str, Any]]
    """Data classes seen too seldom to count."""
    workflow: dict[str, Any] | None
    """The work that it does with others, if that comes to more than it does alone."""
    behind: int | None
    """Records that are not read yet; null: reading has not begun."""


@dataclass(frozen=True, slots=True)
class AgentTier(TierShown):
    """Of the version in force, and of the candidate if there is one."""

    candidate: TierShown | None
    observed: ObservedShown


@dataclass(frozen=True, slots=True)
class ValidationShown:
    """What one version could do under the release in force, and what is too much."""

    version: str
    release: str
    rows: list[dict[str, Any]]
    excess: list[dict[str, Any]]
    ceilings: list[dict[str, Any]]
    delegates: list[dict[str, Any]]
    models: list[dict[str, Any]]
    """As `rows`, of language models."""
    digest: str


@dataclass(frozen=True, slots=True)
class AgentValidation(ValidationShown):
    """Of the version in force, and of the candidate if there is one."""

    candidate: ValidationShown | None


@dataclass(frozen=True, slots=True)
class StepShown:
    """A step of an activation or retirement."""

    step: str
    at: str | None
    """None: it has not been done."""
    does: str | None
    """Of a plan: in words."""
    result: dict[str, Any]
    open: list[str]
    """What it could not reach, check or erase."""


@dataclass(frozen=True, slots=True)
class PlanShown:
    """What retiring an agent would do now."""

    agent: str
    steps: list[StepShown]
    digest: str
    """Of what is decided: what is confirmed with `agent retire --digest`, or signed off."""
    tier: str | None
    needs_sign_off: bool
    """A second person has to agree."""
    decided: dict[str, Any]
    moving: dict[str, Any]
    """What else is so now and no part of what is agreed to: open questions, newest plans of stores."""
    stores: list[dict[str, Any]]
    """How many items each declared namespace holds now, or why that is not known."""


@dataclass(frozen=True, slots=True)
class KnownCredentialRow:
    """A credential that is known to be an agent's, or to be used for it."""

    kind: str
    id: str
    name: str
    reach: str
    """ours, brokered or elsewhere: who can end it."""
    state: str
    shared: bool
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CertificateLink:
    """One certificate of an agent."""

    id: str
    number: int
    status: str
    issued: str
    digest: str


@dataclass(frozen=True, slots=True)
class CertificateShown:
    """A certificate of a retirement, the newest unless another is asked for, and those whose place it took."""

    id: str
    agent: str
    number: int
    status: str
    """complete, complete with exceptions, or pending."""
    issued: str
    digest: str
    pending: list[str]
    exceptions: list[str]
    says: dict[str, Any]
    """All of it; times are microseconds, as they are signed."""
    note: str
    """The signed note: kept in a file, `accredit audit verify FILE --vkey` checks it."""
    earlier: list[CertificateLink]


@dataclass(frozen=True, slots=True)
class ReceiptShown:
    """What was done when an agent was retired."""

    agent: str
    procedure: str
    retired: str
    steps: list[StepShown]
    open: list[str]
    checkpoint: str
    """Of the log, signed, as the archive has it: keep it, and a log cut short later is found against it."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """A retirement that was carried out, or is asked for."""

    agent: str
    state: str
    """Of the agent."""
    approval: str | None
    """Id of the request, if a second person has to agree."""
    request: ApprovalRow | None
    procedure: str | None
    retired: str | None
    steps: list[StepShown]
    open: list[str]
    checkpoint: str | None
    certificate: str | None
    """Id of the newest certificate."""
    certificate_status: str | None


@dataclass(frozen=True, slots=True)
class ProcedureShown:
    """An activation or retirement, perhaps half-way."""

    id: str
    kind: str
    agent: str
    version: str
    by: str
    basis: str
    request: str | None
    begun: str
    ended: str | None
    outcome: str | None
    steps: list[StepShown]


@dataclass(frozen=True, slots=True)
class BaselineShown:
    """What an agent was approved to do, and what its instances say they are."""

    agent: str
    version: str
    clearance: str | None
    made: str
    closed: str | None
    tools: list[str]
    data: list[str]
    destinations: list[str]
    definitions: dict[str, str]
    prompt: str
    models: list[list[str]]
    postures: list[PostureRow]


@dataclass(frozen=True, slots=True)
class PostureRow:
    """What one instance last said of itself; None where it said nothing."""

    credential: str
    version: str | None
    prompt: str | None
    models: list[list[str]] | None
    at: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """One record of the log about an agent."""

    record: int
    at: str
    kind: str
    person: str | None
    credential: str
    basis: str
    version: str | None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What an agent used of one tool on one day."""

    day: str
    tool: str
    allows: int
    denies: int
    holds: int
    errors: int
    cost: str
    last: str


@dataclass(frozen=True, slots=True)
class ToolUseRow:
    """What became of an agent's calls of one tool over the last days: granted against used."""

    tool: str | None
    granted: bool
    allows: int
    denies: int
    holds: int
    errors: int
    cost: str
    last: str | None


@dataclass(frozen=True, slots=True)
class UnusedRow:
    """A tool or model that an agent may call and does not."""

    tool: str
    last_used: str | None
    """The newest day on which a call was allowed; null: none in a year."""
    idle_days: int
    """Since then; of what was never used, since the agent was registered, a year at most."""
    version_days: int
    """For how many days the version in force has been so: what it was granted newly may not have had its time."""
    denies: int


@dataclass(frozen=True, slots=True)
class ReportedUseRow:
    """How often it was reported that an agent used a tool or model past the gateway. A claim, not a measurement."""

    tool: str | None
    """Null: none that is registered."""
    count: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version and who declared it."""

    version: str
    at: str
    by: str | None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One thing that the newest declaration changes against the version in force."""

    facet: str
    what: str
    why: str
    material: bool
    """Whether whoever judges the facet must look again; if nothing must be, nobody votes."""
    rule: str
    """`approve-anew`, `envelope` or `log-only`."""


@dataclass(frozen=True, slots=True)
class EnvelopeUseRow:
    """A version that was approved without a vote since it is within the envelope."""

    record: int
    at: str
    version: str
    by: str | None
    """Id of whoever asked for it."""
    changes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class EnvelopeShown:
    """What may change of an agent without another vote, as of its version in force."""

    parts: dict[str, Any]
    """`models`, `prompts`, `limits`, `definitions`; empty: nothing may."""
    until: str | None
    """When the votes that it rests on are too old."""
    uses: list[EnvelopeUseRow]
    since_votes: int
    """Uses since a person last voted."""


@dataclass(frozen=True, slots=True)
class AgentDossier:
    """Everything that is known of one agent."""

    id: str
    name: str
    environment: str
    team: str
    state: str
    tier: str | None
    owner: str
    """An address, or the id of somebody who is not known any more."""
    owner_id: str
    backup_owner: str | None
    version: str
    candidate: str | None
    halted_from: str | None
    promoted_from: str | None
    purpose: str
    answers: dict[str, dict[str, Any]]
    """The five questions: approved_by, data, tools (and models), security_review, decommissioning; each names its
    record."""
    tiering: TierShown | None
    observed: ObservedShown | None
    changes: list[ChangeRow]
    envelope: EnvelopeShown
    waiting: str | None
    """A request that people are asked to vote on now."""
    tools: list[GrantRow]
    data: list[str]
    facets: dict[str, str]
    limits: LimitsShown
    credentials: list[CredentialRow]
    restrictions: list[RestrictionRow]
    incidents: list[IncidentRow]
    alerts: list[AlertRow]
    baseline: BaselineShown | None
    usage: list[ToolUseRow]
    reported: list[ReportedUseRow]
    versions: list[VersionRow]
    timeline: list[EventRow]
    procedure: ProcedureShown | None
    manifest: dict[str, Any]
    position: int
    """Of the newest control record in force when this was put together."""
    unanswered: list[str]
    """What could not be found out, and why."""


def agents(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room = plane.room

    def tier_of(agent: Agent) -> Tier | None:
        try:
            return room.judging.tier_of(agent)
        except AccreditError:
            return None

    @app.get("/api/v1/agents", response_model=Items[AgentRow])
    async def agents(
        who: Who,
        environment: Environment | None = None,
        team: Annotated[str | None, Query(max_length=64)] = None,
        state: AgentState | None = None,
        tier: Tier | None = None,
        owner: Annotated[str | None, Query(max_length=64)] = None,
        q: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 50,
        after: After = None,
    ) -> Json:
        found = (
            agent
            for agent in asking.visible(who)
            if (environment is None or agent.environment is environment)
            and (team is None or agent.team.name == team)
            and (state is None or agent.state is state)
            and (owner is None or owner in {agent.owner, agent.backup_owner})
            and (not q or q.lower() in agent.name or q == agent.id)
            and (tier is None or tier_of(agent) is tier)
        )

        def listed() -> Items[AgentRow]:
            chosen, following = page(found, _place, limit, after)
            return Items([agent_row(agent, tier_of(agent)) for agent in chosen], following)

        return Json(await asyncio.to_thread(listed))

    @app.get("/api/v1/agents/{name:agent}/timeline", response_model=Items[EventRow])
    async def agent_timeline(
        who: Who,
        name: Named,
        limit: Limit = 100,
        before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    ) -> Json:
        agent = asking.seen(who, name)
        events = (await asyncio.to_thread(room.timeline.of, agent.id, limit=limit + 1, before=before))[::-1]
        following = str(events[limit - 1].record) if len(events) > limit else None
        return Json(Items([_event(one) for one in events[:limit]], following))

    @app.get("/api/v1/agents/{name:agent}/tier", response_model=AgentTier)
    async def agent_tier(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        shown = await asyncio.to_thread(_tier, plane, agent, agent.version)
        candidate = await asyncio.to_thread(_tier, plane, agent, agent.candidate) if agent.candidate else None
        return Json(AgentTier(
            shown.version, shown.tier, shown.score, shown.factors, shown.floors, shown.blocks, shown.lowers,
            shown.digest, candidate=candidate,
            observed=ObservedShown(**(await asyncio.to_thread(room.observed.view, agent)).document()),
        ))  # fmt: skip

    @app.get("/api/v1/agents/{name:agent}/envelope", response_model=EnvelopeShown)
    async def agent_envelope(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        return Json(_envelope((await asyncio.to_thread(room.dossiers.of, agent.id)).envelope))

    @app.get("/api/v1/agents/{name:agent}/validation", response_model=AgentValidation)
    async def agent_validation(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        shown = await asyncio.to_thread(_validation, plane, agent, agent.version)
        candidate = await asyncio.to_thread(_validation, plane, agent, agent.candidate) if agent.candidate else None
        return Json(AgentValidation(
            shown.version, shown.release, shown.rows, shown.excess, shown.ceilings, shown.delegates, shown.models,
            shown.digest, candidate=candidate,
        ))  # fmt: skip

    @app.get("/api/v1/agents/{name:agent}/plan", response_model=PlanShown)
    async def agent_plan(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        planned = await asyncio.to_thread(room.retirements.plan, agent.id)
        return Json(PlanShown(
            agent.id,
            [StepShown(one.step, None, one.does, dated(one.result), list(one.open)) for one in planned.steps],
            planned.digest,
            planned.tier,
            planned.needs_sign_off,
            dict(planned.decided),
            dict(planned.moving),
            await room.retirements.stores(agent.id),
        ))  # fmt: skip

    @app.get("/api/v1/agents/{name:agent}/credentials", response_model=Items[KnownCredentialRow])
    async def agent_credentials(who: Who, name: Named) -> Json:
        found = room.retirements.credentials(asking.seen(who, name).id)
        return Json(Items([
            KnownCredentialRow(one.kind, one.id, one.name, one.reach, one.state, one.shared, dated(one.evidence))
            for one in found
        ]))  # fmt: skip

    @app.get("/api/v1/agents/{name:agent}/certificate", response_model=CertificateShown)
    async def agent_certificate(
        who: Who, name: Named, number: Annotated[int | None, Query(ge=1, le=1_000_000)] = None
    ) -> Json:
        agent = asking.seen(who, name)
        found = room.retirements.certificates.all_of(agent.id)
        return Json(_certificate([one for one in found if number is None or one.number <= number], agent))

    @app.get("/api/v1/agents/{name:agent}/receipt", response_model=ReceiptShown)
    async def agent_receipt(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        found = room.lifecycle.receipt(agent.id)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"`{agent.name}` is not retired", hint="see `accredit agent plan`")
        return Json(receipt_shown(found))

    @app.get("/api/v1/agents/{name:agent}/baseline", response_model=BaselineShown)
    async def agent_baseline(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        found = room.baselines.of(agent.id)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"`{agent.name}` has no baseline", hint="activation opens one")
        return Json(_baseline(found, room.monitor.postures(agent.id)))

    @app.get("/api/v1/agents/{name:agent}/usage", response_model=Items[UsageRow])
    async def agent_usage(who: Who, name: Named, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Json:
        return Json(Items(_usage(plane, asking.seen(who, name), days)))

    @app.get("/api/v1/agents/{name:agent}/unused", response_model=Items[UnusedRow])
    async def agent_unused(who: Who, name: Named, days: Annotated[int, Query(ge=1, le=366)] = 90) -> Json:
        agent = asking.seen(who, name)
        return Json(Items([_unused(one) for one in await asyncio.to_thread(room.monitor.unused, agent, days=days)]))

    @app.get("/api/v1/agents/{name:agent}/reported", response_model=Items[ReportedUseRow])
    async def agent_reported(who: Who, name: Named) -> Json:
        found = room.monitor.reported(asking.seen(who, name).id)
        return Json(Items([_reported(one) for one in found]))

    @app.get("/api/v1/agents/{name:agent}/limits", response_model=LimitsShown)
    async def agent_limits(who: Who, name: Named) -> Json:
        agent = asking.seen(who, name)
        return Json(_limits(plane.limits.show(agent.id, agent.version.limits)))

    @app.get("/api/v1/agents/{name:agent}", response_model=AgentDossier)
    async def agent(who: Who, name: Named) -> Json:
        found = asking.seen(who, name)
        return Json(_dossier(plane, asking, await asyncio.to_thread(room.dossiers.of, found.id)))


# -- the list


def agent_row(agent: Agent, tier: Tier | None) -> AgentRow:
    """An agent in a list."""
    return AgentRow(
        id=agent.id,
        name=agent.name,
        environment=agent.environment,
        team=agent.team.name,
        state=agent.state,
        tier=tier,
        owner=agent.owner,
        version=agent.version.digest,
        candidate=agent.candidate.digest if agent.candidate else None,
    )


def _place(agent: Agent) -> Place:
    return agent.name, agent.environment.value, agent.id


# -- one agent


def _dossier(plane: ControlPlane, asking: Asking, found: Dossier) -> AgentDossier:
    agent, version = found.agent, found.agent.version
    now_us = found.at_us
    return AgentDossier(
        id=agent.id,
        name=agent.name,
        environment=agent.environment,
        team=agent.team.name,
        state=agent.state,
        tier=found.tiering.tier if found.tiering else None,
        owner=asking.address(agent.owner) or agent.owner,
        owner_id=agent.owner,
        backup_owner=agent.backup_owner,
        version=version.digest,
        candidate=agent.candidate.digest if agent.candidate else None,
        halted_from=agent.halted_from,
        promoted_from=agent.promoted_from,
        purpose=version.manifest["spec"]["purpose"],
        answers=dated(found.answers()),
        tiering=TierShown(version=version.digest, **found.tiering.document()) if found.tiering else None,
        observed=ObservedShown(**found.observed.document()) if found.observed else None,
        changes=[ChangeRow(one.facet, one.what, one.why, one.material, one.rule) for one in found.changes],
        envelope=_envelope(found.envelope),
        waiting=found.waiting.id if found.waiting else None,
        tools=[
            GrantRow(one.tool, one.digest, one.user_role, dict(one.same_as), bool(one.hours), sorted(one.mask))
            for one in version.grants
        ],
        data=sorted(version.data),
        facets=dict(version.facets),
        limits=_limits(plane.limits.show(agent.id, version.limits)),
        credentials=[credential_row(one, asking) for one in plane.identity.credentials_of(agent.id)],
        restrictions=[restriction_row(one, now_us, asking) for one in found.restrictions],
        incidents=[incident_row(one, asking) for one in found.incidents],
        alerts=[alert_row(one, asking) for one in found.alerts],
        baseline=_baseline(found.baseline, found.postures) if found.baseline else None,
        usage=[_tool_use(one) for one in found.usage],
        reported=[_reported(one) for one in found.reported],
        versions=[VersionRow(one.digest, moment(one.at_us), one.by) for one in found.versions],
        timeline=[_event(one) for one in found.timeline[:_SHOWN_EVENTS]],
        procedure=procedure_shown(found.procedure) if found.procedure else None,
        manifest=dated(version.manifest),
        position=found.position,
        unanswered=list(found.unanswered),
    )


def _envelope(one: EnvelopeView) -> EnvelopeShown:
    return EnvelopeShown(
        parts=dated(one.parts),
        until=None if one.until_us is None else moment(one.until_us),
        uses=[
            EnvelopeUseRow(
                use.record,
                moment(use.at_us),
                use.version,
                use.by,
                [dict(change) for change in use.changes],
            )
            for use in one.uses
        ],
        since_votes=one.since_votes,
    )


def _tier(plane: ControlPlane, agent: Agent, version: AgentVersion) -> TierShown:
    return TierShown(version=version.digest, **plane.room.judging.tiering(agent, version).document())


def _validation(plane: ControlPlane, agent: Agent, version: AgentVersion) -> ValidationShown:
    report = plane.room.judging.access(agent, version)
    document = report.document()
    return ValidationShown(
        version=version.digest,
        release=report.release,
        rows=document["rows"],
        excess=document["excess"],
        ceilings=document["ceilings"],
        delegates=document.get("delegates", []),
        models=document.get("models", []),
        digest=report.digest,
    )


def receipt_shown(one: RetirementReceipt) -> ReceiptShown:
    """A retirement."""
    return ReceiptShown(
        one.agent, one.procedure, moment(one.retired_us), _steps(one.steps), list(one.open), one.checkpoint
    )


def retirement_shown(agent: Agent, receipt: RetirementReceipt, certificate: Certificate | None) -> Retirement:
    """One that was carried out."""
    shown = receipt_shown(receipt)
    return Retirement(
        agent=shown.agent,
        state=agent.state,
        approval=None,
        request=None,
        procedure=shown.procedure,
        retired=shown.retired,
        steps=shown.steps,
        open=shown.open,
        checkpoint=shown.checkpoint,
        certificate=None if certificate is None else certificate.id,
        certificate_status=None if certificate is None else certificate.status,
    )


def retirement_asked(agent: Agent, request: ApprovalRow) -> Retirement:
    """One that a second person has to agree to."""
    return Retirement(
        agent=agent.id,
        state=agent.state,
        approval=request.id,
        request=request,
        procedure=None,
        retired=None,
        steps=[],
        open=[],
        checkpoint=None,
        certificate=None,
        certificate_status=None,
    )


def _certificate(found: Sequence[Certificate], agent: Agent) -> CertificateShown:
    if not found:
        raise NotFoundError(
            Code.NOT_FOUND, f"`{agent.name}` has no certificate", hint="one is issued when it is retired"
        )
    newest = found[-1]
    says = dict(newest.document)
    return CertificateShown(
        id=newest.id,
        agent=agent.id,
        number=newest.number,
        status=newest.status,
        issued=moment(newest.issued_us),
        digest=newest.digest,
        pending=list(says["pending"]),
        exceptions=list(says["exceptions"]),
        says=says,
        note=newest.note,
        earlier=[
            CertificateLink(one.id, one.number, one.status, moment(one.issued_us), one.digest) for one in found[:-1]
        ],
    )


def _steps(steps: Iterable[Done]) -> list[StepShown]:
    """Steps that were carried out."""
    shown = [(one, {name: part for name, part in one.result.items() if name not in _NOT_SHOWN}) for one in steps]
    return [StepShown(one.step, moment(one.at_us), None, dated(result), list(one.open)) for one, result in shown]


def procedure_shown(one: Procedure) -> ProcedureShown:
    """An activation or retirement."""
    return ProcedureShown(
        id=one.id,
        kind=one.kind,
        agent=one.agent,
        version=one.version,
        by=one.by,
        basis=one.basis,
        request=one.request,
        begun=moment(one.begun_us),
        ended=optional_moment(one.ended_us),
        outcome=one.outcome,
        steps=_steps(one.done),
    )


def _baseline(one: Baseline, postures: Iterable[Posture]) -> BaselineShown:
    return BaselineShown(
        agent=one.agent,
        version=one.version,
        clearance=one.clearance,
        made=moment(one.made_us),
        closed=optional_moment(one.closed_us),
        tools=sorted(one.tools),
        data=sorted(one.data),
        destinations=sorted(one.destinations),
        definitions=dict(sorted(one.definitions.items())),
        prompt=one.prompt,
        models=_models(one.models),
        postures=[
            PostureRow(
                each.credential,
                each.version,
                each.prompt,
                None if each.models is None else _models(each.models),
                moment(each.at_us),
            )
            for each in postures
        ],
    )


def _models(models: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [list(pair) for pair in sorted(models)]


def _event(one: TimelineEvent) -> EventRow:
    return EventRow(one.record, moment(one.at_us), one.kind, one.person, one.credential, one.basis, one.version)


def _limits(one: LimitUsage) -> LimitsShown:
    return LimitsShown(
        calls_per_minute=one.calls_per_minute,
        calls_left=one.calls_left,
        concurrency=one.concurrency,
        in_flight=one.in_flight,
        window=one.window,
        cap=money(one.cap),
        spent=money(one.spent),
        reserved=money(one.open),
        left=money(one.left),
    )


def _tool_use(one: ToolUse) -> ToolUseRow:
    return ToolUseRow(
        tool=one.tool,
        granted=one.granted,
        allows=one.allows,
        denies=one.denies,
        holds=one.holds,
        errors=one.errors,
        cost=str(Money(one.cost_nanos)),
        last=optional_moment(one.last_us),
    )


def _unused(one: UnusedPermission) -> UnusedRow:
    last = None if one.last_used_day is None else moment(one.last_used_day * _DAY_US)[:10]
    return UnusedRow(one.tool, last, one.idle_days, one.version_days, one.denies)


def _reported(one: ReportedUse) -> ReportedUseRow:
    return ReportedUseRow(one.tool, one.count, moment(one.first_us), moment(one.last_us))


def _usage(plane: ControlPlane, agent: Agent, days: int) -> list[UsageRow]:
    since = plane.clock.now().wall_us // _DAY_US - days + 1
    return [
        UsageRow(
            day=moment(row.day * _DAY_US)[:10],
            tool=row.tool,
            allows=row.usage.allows,
            denies=row.usage.denies,
            holds=row.usage.holds,
            errors=row.usage.errors,
            cost=str(Money(row.usage.cost_nanos)),
            last=moment(row.last_us),
        )
        for row in plane.log.usage(since_day=since, agent=AgentId(agent.id))
    ]
