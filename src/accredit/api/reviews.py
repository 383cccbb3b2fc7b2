"""Reviews of agents: campaigns, the card of each agent under review, and what people say to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Nothing
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.policies import SimulationShown, simulation_shown
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, money, optional_moment
from accredit.kernel.ids import ToolId
from accredit.kernel.money import Money
from accredit.lifecycle.reviews.cards import PermissionItem
from accredit.lifecycle.reviews.deciding import AskedDecision, standing
from accredit.lifecycle.reviews.gathering import AgentCard
from accredit.lifecycle.reviews.model import ROUTINE, AgentReview, ItemVerdict, ReviewCampaign
from accredit.lifecycle.reviews.report import ReviewReport
from accredit.registry.model import Tier

__all__ = [
    "AgentCardShown",
    "AgentReviewRow",
    "CampaignReport",
    "CampaignRow",
    "PermissionRow",
    "reviews",
]

_ROUTINE = "routine"
_WINDOW_DAYS = 90
_EPOCH = date(1970, 1, 1)
_Name = Annotated[str, Field(min_length=1, max_length=63)]
_Names = Annotated[list[_Name], Field(max_length=500)]
_Permission = Annotated[str, Field(min_length=1, max_length=600)]
_NONE: list[str] = Field(default_factory=list)


class _Said(Form):
    permission: _Permission
    """Its id, or `routine` for the line of those in use, of little effect and as they were."""
    verdict: Annotated[ItemVerdict, Field(strict=False)]
    reason: Annotated[str, Field(max_length=2_000)] = ""


class _Decide(Form):
    view: Annotated[str, Field(max_length=80)]
    """The `view` of the card that was looked at."""
    decisions: Annotated[list[_Said], Field(min_length=1, max_length=500)]


class _Need(Form):
    needed: bool
    statement: Annotated[str, Field(min_length=1, max_length=4_000)]


class _Start(Form):
    teams: _Names = _NONE
    tiers: Annotated[list[Annotated[Tier, Field(strict=False)]], Field(max_length=3)] = Field(default_factory=list)
    agents: _Names = _NONE
    services: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=500)] = _NONE
    respond_days: Annotated[int, Field(ge=1, le=30)] = 14
    grace_days: Annotated[int, Field(ge=0, le=14)] = 7
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class _Accept(Form):
    identity: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class _Include(Form):
    agent: Annotated[str, Field(min_length=1, max_length=200)]


class _Simulate(Form):
    permissions: Annotated[list[_Permission], Field(min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True)
class PermissionRow:
    """One permission of an agent under review."""

    permission: str
    effect: str
    scope: str
    data: list[str]
    granted: str
    last_used: str | None
    """The day; null: not in a year."""
    idle_days: int
    calls: int
    """That were let through in the last 90 days: so many would have failed without it."""
    denied: int
    why_alone: list[str]
    """Why it is decided on by itself; nothing: it belongs to the line of routine ones."""
    suggestion: str | None
    suggested_because: str
    decision: str | None
    """In this look."""
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class AgentReviewRow:
    """The review of one agent."""

    id: str
    campaign: str
    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    tier: str | None
    state: str
    look: int
    """A second one is somebody else's."""
    begun: str
    due: str
    extended: bool
    triggers: list[str]
    need: str | None
    """What its owner says it is needed for; null: nothing yet."""
    needed: bool | None
    need_by: str | None
    decisions: int
    """In this look."""
    removed: list[str]
    verified: bool
    """Whether everything that was taken away is shown to be out of reach."""
    ended: str | None


@dataclass(frozen=True, slots=True)
class AgentCardShown:
    """All that whoever reviews an agent needs to know, as of now."""

    review: AgentReviewRow
    view: str
    """What a decision binds to."""
    version: str
    purpose: str
    owner: str
    backup_owner: str | None
    reviewed: str | None
    """When the last review was over."""
    changes: list[str]
    """Since then."""
    incidents: list[str]
    alerts: list[str]
    findings: list[str]
    cost: str | None
    """Of 90 days."""
    delegates: list[str]
    needs_before: list[str]
    """What its owners said it was needed for, newest first: it is not said again."""
    permissions: list[PermissionRow]
    """Each decided on by itself, riskiest and longest unused first."""
    routine: list[PermissionRow]
    """Decided on with one word, as `routine`."""
    removed: list[str]
    waiting: list[str]


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A campaign."""

    id: str
    kind: str
    schedule: str
    scope: list[str]
    reason: str
    begun: str
    by: str | None
    agents: int
    open_agents: int
    look: int
    closed: str | None


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """What a campaign came to, or waits for."""

    campaign: CampaignRow
    waiting: list[str]
    """Why it cannot be closed."""
    outcomes: dict[str, int]
    population: dict[str, int]
    """Every identity that was seen, by what it is to the campaign."""
    identities: list[dict[str, str]]
    """Those that are missing, or were accepted."""
    reviewers: list[str]
    looks: list[dict[str, int]]
    looked_again_because: list[str]
    """Told once the campaign is closed, as seeded permissions are."""
    seeded: list[dict[str, str]]
    removed: int
    verified: int
    silent: int
    """Agents for which nobody answered in time."""
    text: str


def reviews(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room = plane.room.reviews

    @app.get("/api/v1/reviews", response_model=Items[AgentReviewRow])
    async def reviews_list(
        who: Who,
        state: Literal["open", "ended", "all"] = "open",
        campaign: Annotated[str | None, Query(max_length=80)] = None,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        limit: Limit = 200,
        after: After = None,
    ) -> Json:
        named = asking.seen(who, agent).id if agent else None
        found = room.reviews.find(open_={"open": True, "ended": False, "all": None}[state], agent=named)
        if campaign is not None:
            found = tuple(one for one in found if one.campaign == campaign)
        if named is None and not asking.sees_all(who):
            own = {one.id for one in asking.visible(who)}
            found = tuple(one for one in found if one.agent in own)
        chosen, following = page(found, lambda one: (since(one.due_us), one.id), min(limit, MOST), after)
        return Json(Items([row(one) for one in chosen], following))

    @app.get("/api/v1/reviews/{review}", response_model=AgentCardShown)
    async def review_get(who: Who, review: Named) -> Json:
        seen(who, review)
        card = await asyncio.to_thread(room.card, review)
        room.served(who, card)
        return Json(shown(card))

    @app.post("/api/v1/reviews/{review}/decide", response_model=AgentCardShown)
    async def review_decide(who: Who, review: Named, form: _Decide) -> Json:
        seen(who, review)
        asked = [
            AskedDecision(ROUTINE if one.permission == _ROUTINE else ToolId(one.permission), one.verdict, one.reason)
            for one in form.decisions
        ]
        return Json(shown(await room.decide(who, review, asked, form.view)))

    @app.post("/api/v1/reviews/{review}/need", response_model=AgentReviewRow)
    async def review_need(who: Who, review: Named, form: _Need) -> Json:
        seen(who, review)
        return Json(row(await room.state_need(who, review, needed=form.needed, text=form.statement)))

    @app.post("/api/v1/reviews/{review}/simulate", response_model=SimulationShown, status_code=202)
    async def review_simulate(who: Who, review: Named, form: _Simulate) -> Json:
        found = seen(who, review)
        card = await asyncio.to_thread(room.card, review)
        narrower = await asyncio.to_thread(room.narrower, card, [ToolId(one) for one in form.permissions])
        made = plane.simulations.start(
            plane.releases.current, days=_WINDOW_DAYS, agents=frozenset({found.agent}), versions={found.agent: narrower}
        )
        return Json(simulation_shown(made), 202)

    @app.get("/api/v1/review-campaigns", response_model=Items[CampaignRow])
    async def campaigns_list(
        who: Who, state: Literal["open", "closed", "all"] = "all", limit: Limit = 200, after: After = None
    ) -> Json:
        asking.seen_agent(who, None)
        found = room.reviews.campaigns(open_={"open": True, "closed": False, "all": None}[state])
        chosen, following = page(found, lambda one: (since(one.begun_us), one.id), limit, after, newest_first=True)
        return Json(Items([campaign_row(one) for one in chosen], following))

    @app.post("/api/v1/review-campaigns", response_model=CampaignRow, status_code=201)
    async def campaign_start(who: Who, form: _Start) -> Json:
        made = await room.start(
            who,
            teams=form.teams,
            tiers=form.tiers,
            agents=form.agents,
            services=form.services,
            respond_days=form.respond_days,
            grace_days=form.grace_days,
            reason=form.reason,
        )
        return Json(campaign_row(made), 201)

    @app.get("/api/v1/review-campaigns/{campaign}", response_model=CampaignReport)
    async def campaign_report(who: Who, campaign: Named) -> Json:
        asking.seen_agent(who, None)
        return Json(reported(await asyncio.to_thread(room.report, campaign)))

    @app.post("/api/v1/review-campaigns/{campaign}/close", response_model=CampaignReport)
    async def campaign_close(who: Who, campaign: Named, _: Nothing | None = None) -> Json:
        return Json(reported(await room.close(who, campaign)))

    @app.post("/api/v1/review-campaigns/{campaign}/accept", response_model=CampaignReport)
    async def campaign_accept(who: Who, campaign: Named, form: _Accept) -> Json:
        await room.accept(who, campaign, form.identity, form.reason)
        return Json(reported(await asyncio.to_thread(room.report, campaign)))

    @app.post("/api/v1/review-campaigns/{campaign}/include", response_model=AgentReviewRow, status_code=201)
    async def campaign_include(who: Who, campaign: Named, form: _Include) -> Json:
        return Json(row(await room.include(who, campaign, asking.seen(who, form.agent).id)), 201)

    def seen(who: Who, review: str) -> AgentReview:
        """The review, for somebody who may look at its agent."""
        found = room.reviews.review(review)
        asking.seen_agent(who, found.agent)
        return found

    def row(one: AgentReview) -> AgentReviewRow:
        need = one.need
        return AgentReviewRow(
            id=one.id,
            campaign=one.campaign,
            agent=one.agent,
            agent_name=asking.name(one.agent),
            tier=one.tier,
            state=one.state,
            look=one.look,
            begun=moment(one.begun_us),
            due=moment(one.due_us),
            extended=one.extended,
            triggers=sorted({kind.value for kind, _ in one.triggers}),
            need=need.text if need else None,
            needed=need.needed if need else None,
            need_by=need.by if need else None,
            decisions=len({each.tool for each in one.decisions if each.look == one.look}),
            removed=[each.tool for each in one.removals],
            verified=all(each.verified_us is not None for each in one.removals),
            ended=optional_moment(one.ended_us),
        )

    def shown(card: AgentCard) -> AgentCardShown:
        said = standing(card.review.decisions, card.review.look, card.version)

        def permission(item: PermissionItem) -> PermissionRow:
            decision = said.get(item.tool)
            if decision is None and item.routine and ROUTINE in said and item.tool in said[ROUTINE].covers:
                decision = said[ROUTINE]
            used = item.last_used_day
            return PermissionRow(
                permission=item.tool,
                effect=item.effect,
                scope=item.scope,
                data=list(item.data),
                granted=moment(item.granted_us),
                last_used=None if used is None else (_EPOCH + timedelta(days=used)).isoformat(),
                idle_days=item.idle_days,
                calls=item.calls,
                denied=item.denies,
                why_alone=[one.value for one in item.why_alone],
                suggestion=item.suggestion.verdict.value if item.suggestion else None,
                suggested_because=item.suggestion.reason if item.suggestion else "",
                decision=decision.verdict.value if decision else None,
                decided_by=decision.by if decision else None,
            )

        agent = card.agent
        return AgentCardShown(
            review=row(card.review),
            view=card.digest,
            version=card.version,
            purpose=card.purpose,
            owner=agent.owner,
            backup_owner=agent.backup_owner,
            reviewed=optional_moment(card.reviewed_us),
            changes=[str(one) for one in card.changes],
            incidents=[f"{one.id} severity {one.severity}" for one in card.incidents],
            alerts=[f"{one.id} {one.kind} {one.state}" for one in card.alerts],
            findings=[f"{one.id} {one.seen.kind}" for one in card.findings],
            cost=money(Money(card.cost_nanos, "USD")) if card.cost_nanos else None,
            delegates=sorted({asking.name(one.callee) or one.callee for one in agent.version.delegates}),
            needs_before=list(card.texts),
            permissions=[permission(one) for one in card.alone],
            routine=[permission(one) for one in card.routine],
            removed=[one.tool for one in card.dropped],
            waiting=[one or _ROUTINE for one in room.waiting(card)],
        )

    def campaign_row(one: ReviewCampaign) -> CampaignRow:
        found = room.reviews.of_campaign(one.id)
        scope = one.scope
        return CampaignRow(
            id=one.id,
            kind=one.kind,
            schedule=scope.name,
            scope=[
                *(f"team {name}" for name in sorted(scope.teams)),
                *(f"tier {name.value}" for name in sorted(scope.tiers)),
                *(f"agent {name}" for name in sorted(scope.agents)),
                *(f"service {name}" for name in sorted(scope.services)),
            ],
            reason=one.reason,
            begun=moment(one.begun_us),
            by=one.by,
            agents=len(found),
            open_agents=sum(each.open for each in found),
            look=one.look,
            closed=optional_moment(one.closed_us),
        )

    def reported(report: ReviewReport) -> CampaignReport:
        campaign = report.campaign
        open_ = campaign.open
        return CampaignReport(
            campaign=campaign_row(campaign),
            waiting=list(report.waiting),
            outcomes=dict(report.outcomes()),
            population=dict(report.population),
            identities=[
                {"id": one.subject, "name": one.name, "standing": one.standing.value, "what": one.what}
                for one in report.identities[:MOST]
            ],
            reviewers=list(report.reviewers),
            looks=[
                {
                    "bulk_percent": one.bulk_percent,
                    "decisions": one.decisions,
                    "median_view_ms": one.median_view_ms,
                    "missed": one.missed,
                    "seeded": one.seeded,
                }
                for one in report.looks
            ],
            looked_again_because=[] if open_ else [f"look {look}: {why}" for look, why in campaign.flags],
            seeded=[]
            if open_
            else [
                {"agent": one.agent, "permission": one.tool, "agent_name": asking.name(one.agent) or ""}
                for one in campaign.seeds
            ],
            removed=report.removed,
            verified=report.verified,
            silent=report.silent,
            text=report.text(asking.address, asking.name),
        )
