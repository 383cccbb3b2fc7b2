"""Alerts and restrictions: what was seen, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query

from accredit.api.asking import Asking, Who
from accredit.api.forms import Named, Note, Reason, Resolution
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, dated, moment, optional_moment
from accredit.kernel.ids import AgentId
from accredit.monitoring.model import Alert, AlertState
from accredit.registry.model import Restriction

__all__ = [
    "AlertRow",
    "LiftedRestriction",
    "RestrictionRow",
    "alert_row",
    "restriction_row",
    "watching",
]


@dataclass(frozen=True, slots=True)
class AlertRow:
    """Something to look at."""

    id: str
    kind: str
    agent: str | None
    """Null: it is about no agent of ours."""
    agent_name: str | None
    """environment/name of the agent."""
    matter: str
    severity: str
    state: str
    evidence: dict[str, Any]
    opened: str
    last: str
    count: int
    remediation: str
    rehearsed: str
    """What rules that only rehearse would have done; empty: nothing."""
    remedied: bool
    by: str | None
    note: str
    disposition: str | None
    """What it turned out to be, by whoever resolved it."""
    closed: str | None


@dataclass(frozen=True, slots=True)
class RestrictionRow:
    """A time-boxed narrowing of an agent."""

    id: str
    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    kind: str
    tool: str | None
    cause: str
    opened: str
    until: str
    in_force: bool
    calls_per_minute: int | None
    role: str | None


@dataclass(frozen=True, slots=True)
class LiftedRestriction:
    """Which restriction is over."""

    lifted: str


def watching(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room, registry = plane.room, plane.registry

    @app.get("/api/v1/alerts", response_model=Items[AlertRow])
    async def alerts(
        who: Who,
        state: AlertState | Literal["all"] = AlertState.OPEN,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        limit: Limit = 200,
        after: After = None,
    ) -> Json:
        wanted = None if state == "all" else AlertState(state)
        named = asking.seen(who, agent).id if agent else None
        found = room.monitor.alerts(agent=named, state=wanted)
        if named is None and not asking.sees_all(who):
            own = {one.id for one in asking.visible(who)}
            found = tuple(one for one in found if one.agent in own)
        chosen, following = page(found, lambda one: (since(one.opened_us), one.id), limit, after, newest_first=True)
        return Json(Items([alert_row(one, asking) for one in chosen], following))

    @app.post("/api/v1/alerts/{alert}/ack", response_model=AlertRow)
    async def alert_ack(who: Who, alert: Named, form: Note) -> Json:
        return Json(alert_row(await room.operations.acknowledge(who, alert, form.note), asking))

    @app.post("/api/v1/alerts/{alert}/resolve", response_model=AlertRow)
    async def alert_resolve(who: Who, alert: Named, form: Resolution) -> Json:
        resolved = await room.operations.resolve(who, alert, form.note, disposition=form.disposition)
        return Json(alert_row(resolved, asking))

    @app.get("/api/v1/restrictions", response_model=Items[RestrictionRow])
    async def restrictions(
        who: Who, agent: Annotated[str | None, Query(max_length=200)] = None, limit: Limit = MOST, after: After = None
    ) -> Json:
        now_us = plane.clock.now().wall_us
        found = (one for each in narrowed(who, agent) for one in registry.restrictions_of(each))
        standing = (one for one in found if one.in_force(now_us))
        chosen, following = page(standing, lambda one: (since(one.opened_us), one.id), limit, after, newest_first=True)
        return Json(Items([restriction_row(one, now_us, asking) for one in chosen], following))

    @app.post("/api/v1/restrictions/{restriction}/lift", response_model=LiftedRestriction)
    async def restriction_lift(who: Who, restriction: Named, form: Reason) -> Json:
        await room.operations.lift_restriction(who, restriction, form.reason)
        return Json(LiftedRestriction(restriction))

    def narrowed(who: Who, agent: str | None) -> list[AgentId]:
        """The agents asked about that have any restriction on record."""
        if agent is not None:
            return [asking.seen(who, agent).id]
        on_record = plane.snapshots.current.restrictions
        return [one.id for one in asking.visible(who) if one.id in on_record]


def alert_row(one: Alert, asking: Asking) -> AlertRow:
    """An alert."""
    return AlertRow(
        id=one.id,
        kind=one.kind,
        agent=one.agent,
        agent_name=None if one.agent is None else asking.name(one.agent),
        matter=one.matter,
        severity=one.severity,
        state=one.state,
        evidence=dated(one.evidence),
        opened=moment(one.opened_us),
        last=moment(one.last_us),
        count=one.count,
        remediation=one.remediation,
        rehearsed=one.rehearsed,
        remedied=one.remedied,
        by=one.by,
        note=one.note,
        disposition=one.disposition.value if one.disposition else None,
        closed=optional_moment(one.closed_us),
    )


def restriction_row(one: Restriction, now_us: int, asking: Asking) -> RestrictionRow:
    """A restriction."""
    return RestrictionRow(
        id=one.id,
        agent=one.agent,
        agent_name=asking.name(one.agent),
        kind=one.kind,
        tool=one.tool,
        cause=one.cause,
        opened=moment(one.opened_us),
        until=moment(one.until_us),
        in_force=one.in_force(now_us),
        calls_per_minute=one.calls_per_minute,
        role=one.role,
    )
