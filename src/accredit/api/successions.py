"""Agents whose owner left: who is asked to take them over, what comes next, and taking one over."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from accredit.api.asking import Asking, Who
from accredit.api.forms import Named, Reason
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, optional_moment
from accredit.lifecycle.succession import Succession, next_step

__all__ = ["AdoptedAgent", "SuccessionRow", "successions"]


@dataclass(frozen=True, slots=True)
class SuccessionRow:
    """An agent whose owner left."""

    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    owner: str
    """Who left."""
    since: str
    asked_as: str
    """As what whoever is asked now is asked: backup owner, manager, team or operators."""
    asked: list[str]
    """Whose turn it is; whoever was asked before may take it over still."""
    accepted_by: str | None
    """Who took it over, in a version that is not in force yet."""
    accepted: str | None
    step: str
    """What was done so far."""
    next: str | None
    """What comes next if nobody takes it over; null: time alone does nothing more."""
    next_at: str | None


@dataclass(frozen=True, slots=True)
class AdoptedAgent:
    """An agent that somebody took over."""

    agent: str
    owner: str
    """Of the version in force."""
    next_owner: str | None
    """Of the version that waits to be submitted, signed off and activated."""
    state: str


def successions(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room = plane.room.people

    @app.get("/api/v1/successions", response_model=Items[SuccessionRow])
    async def successions_list(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        own = {one.agent for one in room.waiting(who)} | {one.id for one in asking.visible(who)}
        found = [one for one in room.successions.all() if one.agent in own]
        chosen, following = page(found, lambda one: (since(one.began_us), one.id), limit, after)
        return Json(Items([row(one) for one in chosen], following))

    @app.post("/api/v1/agents/{name:agent}/adopt", response_model=AdoptedAgent)
    async def agent_adopt(who: Who, name: Named, form: Reason) -> Json:
        found = asking.agent(name)
        if who.person not in room.successions.persons(found):
            asking.seen(who, name)
        now = await room.adopt(who, found.id, form.reason)
        waits = None if now.candidate is None else now.candidate.manifest["spec"]["owner"]
        return Json(AdoptedAgent(now.id, now.owner, waits, now.state))

    def row(one: Succession) -> SuccessionRow:
        following = next_step(one, room.successions.times)
        return SuccessionRow(
            agent=one.agent,
            agent_name=asking.name(one.agent),
            owner=one.owner,
            since=moment(one.began_us),
            asked_as=one.turn.as_,
            asked=list(one.turn.persons),
            accepted_by=one.accepted_by,
            accepted=optional_moment(one.accepted_us),
            step=one.step,
            next=following[0] if following else None,
            next_at=moment(following[1]) if following else None,
        )
