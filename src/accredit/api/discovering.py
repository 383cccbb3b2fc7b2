"""Findings about agents that nobody registered or looks after, and what scans report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Nothing, Reason
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, dated, moment, money, optional_moment
from accredit.kernel.money import Money
from accredit.lifecycle.discovery.findings import AgentFinding, FindingAnswer, FindingKind
from accredit.lifecycle.discovery.matching import Sighting
from accredit.lifecycle.discovery.model import TraceKind
from accredit.lifecycle.discovery.shown import program, tidy
from accredit.lifecycle.discovery.shown import url as plain_url
from accredit.lifecycle.discovery_operations import FindingView

__all__ = ["AgentFindingRow", "AnsweredFinding", "DiscoveredRow", "LookedAt", "discovering"]

_MOST_TRACES = 500
_NONE: list[str] = Field(default_factory=list)
_Text = Annotated[str, Field(max_length=400)]
_Few = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=64)]


_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Trace(Form):
    """One thing that a scan found."""

    kind: Annotated[TraceKind, Field(strict=False)]
    format: Annotated[str, Field(max_length=80)]
    path: _Text
    name: _Text = ""
    urls: _Few = _NONE
    command: _Text = ""
    providers: _Few = _NONE
    models: _Few = _NONE
    agent: _Text = ""
    keys: Annotated[list[_Hash], Field(max_length=64)] = _NONE
    """Hashes of opaque keys of agents."""
    secrets: _Few = _NONE
    """Kinds of other secrets."""
    unread: _Text = ""
    cost_nanos: Annotated[int, Field(ge=0, lt=2**53)] = 0
    last_used: Annotated[str, Field(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")] = ""


class _Discovery(Form):
    traces: Annotated[list[_Trace], Field(max_length=_MOST_TRACES)]
    source: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9._/@:-]*$")] = ""
    """What was scanned. With a name, findings are opened; without one, it is only said what is registered."""
    complete: bool = False
    """Whether this is all there is in it: findings of this source on anything else end."""


class _Answer(Reason):
    answer: Annotated[FindingAnswer, Field(strict=False)]


@dataclass(frozen=True, slots=True)
class DiscoveredRow:
    """What one trace is to this installation."""

    verdict: str
    """registered, shadow, ghost or unregistered."""
    by: str
    agent: str | None
    agent_name: str | None
    """environment/name of the agent."""
    finding: str | None


@dataclass(frozen=True, slots=True)
class AgentFindingRow:
    """A finding, with what is so now of what it is about."""

    id: str
    kind: str
    name: str
    agent: str | None
    agent_name: str | None
    """environment/name of the agent."""
    severity: str
    state: str
    owner: str | None
    """Null: everybody in the role."""
    role: str
    opened: str
    due: str
    escalated: str | None
    answers: list[str]
    credentials: list[str]
    """Of its agent, those that let anybody in now."""
    cost: str | None
    """Of the last 30 days, or what the provider's export says."""
    data: list[str]
    source: str
    evidence: dict[str, Any]
    answer: str | None
    by: str | None
    second: str | None
    reason: str
    closed: str | None


@dataclass(frozen=True, slots=True)
class AnsweredFinding:
    """A finding after an answer."""

    finding: AgentFindingRow
    draft: str
    """Of `register`: a manifest to be completed and applied."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """How many findings are open after a look at the fleet."""

    open: int


def discovering(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room = plane.room.discovery

    @app.get("/api/v1/findings", response_model=Items[AgentFindingRow])
    async def findings(
        who: Who,
        state: Literal["open", "answered", "over", "all"] = "open",
        kind: FindingKind | None = None,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        limit: Limit = 200,
        after: After = None,
    ) -> Json:
        named = asking.seen(who, agent).id if agent else None
        wanted = {"open": True, "answered": True, "over": False, "all": None}[state]
        found = room.findings.find(open_=wanted, kind=kind, agent=named)
        if state == "answered":
            found = tuple(one for one in found if one.answer is not None)
        if named is None and not asking.sees_all(who):
            own = {one.id for one in asking.visible(who)}
            found = tuple(one for one in found if one.seen.agent in own)
        chosen, following = page(found, lambda one: (since(one.due_us), one.id), min(limit, MOST), after)
        views = await asyncio.to_thread(room.views, chosen)
        return Json(Items([row(one) for one in views], following))

    @app.get("/api/v1/findings/{finding}", response_model=AgentFindingRow)
    async def finding_get(who: Who, finding: Named) -> Json:
        return Json(await shown(seen(who, finding)))

    @app.post("/api/v1/finding-looks", response_model=LookedAt)
    async def findings_look(who: Who, _: Nothing | None = None) -> Json:
        return Json(LookedAt(await room.look_now(who)))

    @app.post("/api/v1/findings/{finding}/answer", response_model=AnsweredFinding)
    async def finding_answer(who: Who, finding: Named, form: _Answer) -> Json:
        found = seen(who, finding)
        made = await room.answer(who, found.id, form.answer, form.reason)
        return Json(AnsweredFinding(await shown(made.finding), made.draft))

    @app.post("/api/v1/discoveries", response_model=Items[DiscoveredRow])
    async def discoveries(who: Who, form: _Discovery) -> Json:
        if not asking.sees_all(who):
            asking.seen_agent(who, None)
        sightings = [_sighting(one) for one in form.traces]
        made = await room.discovered(who, sightings, source=form.source, complete=form.complete)
        return Json(
            Items(
                [
                    DiscoveredRow(
                        one.matched.verdict,
                        one.matched.by,
                        one.matched.agent or None,
                        asking.name(one.matched.agent or None),
                        one.finding,
                    )
                    for one in made
                ]
            )
        )

    def seen(who: Who, finding: str) -> AgentFinding:
        """The finding, for somebody who may look at it."""
        found = room.findings.known(finding)
        asking.seen_agent(who, found.seen.agent)
        return found

    async def shown(one: AgentFinding) -> AgentFindingRow:
        (view,) = await asyncio.to_thread(room.views, [one])
        return row(view)

    def row(view: FindingView) -> AgentFindingRow:
        one = view.finding
        return AgentFindingRow(
            id=one.id,
            kind=one.seen.kind,
            name=one.seen.name,
            agent=one.seen.agent,
            agent_name=asking.name(one.seen.agent),
            severity=one.seen.severity,
            state=one.state,
            owner=view.owner,
            role=view.role,
            opened=moment(one.opened_us),
            due=moment(one.due_us),
            escalated=optional_moment(one.escalated_us),
            answers=list(view.answers),
            credentials=[credential.id for credential in view.credentials],
            cost=money(Money(view.cost_nanos, "USD")) if view.cost_nanos else None,
            data=list(view.data),
            source=one.seen.source,
            evidence=dated(one.seen.evidence),
            answer=one.answer,
            by=one.by,
            second=one.second,
            reason=one.reason,
            closed=optional_moment(one.closed_us),
        )


def _sighting(one: _Trace) -> Sighting:
    """A trace as it is kept: whoever sends it may be no scanner of ours, so each text is made fit to be shown again."""
    return Sighting(
        kind=one.kind,
        format=tidy(one.format, 80),
        path=tidy(one.path, 400),
        name=tidy(one.name),
        urls=tuple(found for each in one.urls if (found := plain_url(each))),
        command=program(one.command, None),
        providers=tuple(tidy(each, 80) for each in one.providers),
        models=tuple(tidy(each) for each in one.models),
        agent=tidy(one.agent),
        keys=tuple(one.keys),
        secrets=tuple(tidy(each, 80) for each in one.secrets),
        unread=tidy(one.unread),
        cost_nanos=one.cost_nanos,
        last_used=one.last_used,
    )
