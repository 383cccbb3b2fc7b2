"""Incidents: what went wrong with agents, what is kept because of it, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Named, Nothing, Reason
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, optional_moment
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.registry.model import Incident

__all__ = ["IncidentEventRow", "IncidentRow", "incident_row", "incidents"]

_NONE: list[str] = Field(default_factory=list)
_Ids = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=50)]


class _Incident(Reason):
    severity: Annotated[int, Field(ge=1, le=4)] = 1
    agents: _Ids = _NONE
    """Further agents that it is about."""
    linked: _Ids = _NONE
    """Ids of alerts and findings, and `record:SEQ`."""


@dataclass(frozen=True, slots=True)
class IncidentEventRow:
    """One thing that was done about an incident."""

    at: str
    what: str
    by: str | None
    """Null: a rule did it."""
    text: str


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """Something that went wrong with agents."""

    id: str
    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    severity: int
    opened: str
    closed: str | None
    agents: list[str]
    """All that it is about."""
    what: str
    opened_by: str | None
    rule: str
    """Which rule opened it, if nobody did."""
    closed_by: str | None
    disposition: str
    holds: list[str]
    """Legal holds that keep its agents' records."""
    linked: list[str]
    timeline: list[IncidentEventRow]


def incidents(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room, registry = plane.room.incidents, plane.registry

    def seen(who: Operator, incident: str) -> Incident:
        """One for somebody who may look at any agent it is about; it is not told whether there is another."""
        found = registry.incident(incident)
        known = () if found is None else (asking.agent(one) for one in found.agents)
        if found is None or not any(asking.may_see(who, one) for one in known):
            raise NotFoundError(Code.NOT_FOUND, f"there is no incident `{incident[:80]}`", hint="see `incident list`")
        return found

    @app.post("/api/v1/agents/{name:agent}/incidents", response_model=IncidentRow, status_code=201)
    async def incident_open(who: Who, name: Named, form: _Incident) -> Json:
        agents = [asking.seen(who, one).id for one in (name, *form.agents)]
        return Json(
            incident_row(await room.open(who, agents, form.severity, form.reason, linked=form.linked), asking), 201
        )

    @app.get("/api/v1/incidents", response_model=Items[IncidentRow])
    async def incidents(
        who: Who,
        state: Literal["open", "all"] = "open",
        agent: Annotated[str | None, Query(max_length=200)] = None,
        limit: Limit = MOST,
        after: After = None,
    ) -> Json:
        if agent:
            found = registry.incidents_of(asking.seen(who, agent).id)
        else:
            mine = None if asking.sees_all(who) else {one.id for one in asking.visible(who)}
            found = tuple(one for one in registry.incidents() if mine is None or mine & set(one.agents))
        wanted = (one for one in found if one.open or state == "all")
        chosen, following = page(wanted, lambda one: (since(one.opened_us), one.id), limit, after, newest_first=True)
        return Json(Items([incident_row(one, asking) for one in chosen], following))

    @app.get("/api/v1/incidents/{incident}", response_model=IncidentRow)
    async def incident_get(who: Who, incident: Named) -> Json:
        return Json(incident_row(seen(who, incident), asking))

    @app.post("/api/v1/incidents/{incident}/freeze", response_model=IncidentRow)
    async def incident_freeze(who: Who, incident: Named, _: Nothing | None = None) -> Json:
        return Json(incident_row(await room.freeze(who, incident), asking))

    @app.post("/api/v1/incidents/{incident}/close", response_model=IncidentRow)
    async def incident_close(who: Who, incident: Named, form: Reason) -> Json:
        return Json(incident_row(await room.close(who, incident, form.reason), asking))


def incident_row(one: Incident, asking: Asking) -> IncidentRow:
    """An incident."""
    return IncidentRow(
        id=one.id,
        agent=one.agent,
        agent_name=asking.name(one.agent),
        severity=one.severity,
        opened=moment(one.opened_us),
        closed=optional_moment(one.closed_us),
        agents=list(one.agents),
        what=one.what,
        opened_by=one.opened_by,
        rule=one.rule,
        closed_by=one.closed_by,
        disposition=one.disposition,
        holds=list(one.holds),
        linked=list(one.linked),
        timeline=[IncidentEventRow(moment(each.at_us), each.what, each.by, each.text) for each in one.events],
    )
