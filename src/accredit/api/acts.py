"""What is done to an agent: from submission to retirement, and what narrows or ends it in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from accredit.api.agents import (
    AgentRow,
    ProcedureShown,
    Retirement,
    agent_row,
    procedure_shown,
    retirement_asked,
    retirement_shown,
)
from accredit.api.approvals import ApprovalRow, approval_row
from accredit.api.asking import Asking, Who
from accredit.api.forms import AnyRole, Form, Named, Nothing, Reason
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.revocations import EndedCredentials, timed
from accredit.api.shown import moment
from accredit.api.watching import RestrictionRow, restriction_row
from accredit.approvals.model import ApprovalRequest
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError
from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import RestrictionKind, Tier

__all__ = ["Activated", "AgentKeyMade", "AgentStanding", "JoinTokenShown", "Submission", "acts"]

_MINUTE_US = 60_000_000


class _JoinToken(Form):
    thumbprint: Annotated[str, Field(max_length=64)] | None = None
    source: Annotated[str, Field(max_length=64)] | None = None
    """Network the instance must call from, as CIDR."""


class _KeyLife(Form):
    days: Annotated[int, Field(ge=1, le=90)] = 30
    path: Annotated[str, Field(max_length=256)] = ""
    """Where alone it is good, and below: `/mcp/crm`. Everywhere, if left out."""


class _Restrict(Form):
    kind: Annotated[RestrictionKind, Field(strict=False)]
    minutes: Annotated[int, Field(ge=1, le=90 * 24 * 60)]
    cause: Annotated[str, Field(min_length=1, max_length=500)]
    tool: Annotated[str, Field(max_length=2_000)] | None = None
    """As `server/tool`; without one every tool is meant."""
    calls_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Of a throttle."""
    role: AnyRole | None = None
    """Of a hold: who lets a call through."""


class _Retire(Reason):
    plan: Annotated[str, Field(max_length=80)] | None = None
    """Digest of the plan that is confirmed; without it, whatever the plan is now."""


@dataclass(frozen=True, slots=True)
class JoinTokenShown:
    """A single-use secret with which one instance enrols its key."""

    join_token: str
    expires: str


@dataclass(frozen=True, slots=True)
class AgentKeyMade:
    """An opaque key of one instance, shown this once."""

    key: str
    credential: str
    expires: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted agent; in production with the request about it."""

    agent: str
    agent_state: str
    id: str | None
    """Of the request; None where no gate is needed."""
    state: str | None
    request: ApprovalRow | None


@dataclass(frozen=True, slots=True)
class AgentStanding:
    """An agent after something was done to it."""

    agent: AgentRow
    state: str


@dataclass(frozen=True, slots=True)
class Activated(AgentStanding):
    """The same with what activating it did."""

    procedure: ProcedureShown


def acts(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room, operations = plane.room, plane.room.operations

    def standing(agent: AgentId) -> AgentStanding:
        now = asking.agent(agent)
        tier: Tier | None
        try:
            tier = room.judging.tier_of(now)
        except AccreditError:
            tier = None
        return AgentStanding(agent_row(now, tier), now.state)

    @app.post("/api/v1/agents/{name:agent}/join-tokens", response_model=JoinTokenShown, status_code=201)
    async def join_token(who: Who, name: Named, form: _JoinToken) -> Json:
        made = await operations.join_token(
            who, asking.seen(who, name).id, thumbprint=form.thumbprint, source=form.source
        )
        return Json(JoinTokenShown(made.secret, moment(made.expires_us)), 201)

    @app.post("/api/v1/agents/{name:agent}/keys", response_model=AgentKeyMade, status_code=201)
    async def agent_key(who: Who, name: Named, form: _KeyLife) -> Json:
        made = await operations.issue_agent_key(who, asking.seen(who, name).id, days=form.days, path=form.path)
        return Json(AgentKeyMade(made.secret, made.credential.id, moment(made.expires_us)), 201)

    @app.post("/api/v1/agents/{name:agent}/revoke", response_model=EndedCredentials)
    async def agent_revoke(who: Who, name: Named, form: Reason) -> Json:
        agent = asking.seen(who, name).id
        return Json(await timed(plane, agent, operations.revoke_agent(who, agent, form.reason)))

    @app.post("/api/v1/agents/{name:agent}/submit", response_model=Submission)
    async def agent_submit(who: Who, name: Named, _: Nothing | None = None) -> Json:
        agent = asking.seen(who, name).id
        request = await operations.submit(who, agent)
        row = None if request is None else approval_row(request, asking)
        return Json(Submission(
            agent, asking.agent(agent).state, row.id if row else None, row.state if row else None, row
        ))  # fmt: skip

    @app.post("/api/v1/agents/{name:agent}/activate", response_model=Activated)
    async def agent_activate(who: Who, name: Named, _: Nothing | None = None) -> Json:
        agent = asking.seen(who, name).id
        procedure = await operations.activate(who, agent)
        now = standing(agent)
        return Json(Activated(now.agent, now.state, procedure=procedure_shown(procedure)))

    @app.post("/api/v1/agents/{name:agent}/suspend", response_model=AgentStanding)
    async def agent_suspend(who: Who, name: Named, form: Reason) -> Json:
        agent = asking.seen(who, name).id
        await operations.suspend(who, agent, form.reason)
        return Json(standing(agent))

    @app.post("/api/v1/agents/{name:agent}/resume", response_model=AgentStanding)
    async def agent_resume(who: Who, name: Named, form: Reason) -> Json:
        agent = asking.seen(who, name).id
        await operations.resume(who, agent, form.reason)
        return Json(standing(agent))

    @app.post("/api/v1/agents/{name:agent}/quarantine", response_model=AgentStanding)
    async def agent_quarantine(who: Who, name: Named, form: Reason) -> Json:
        agent = asking.seen(who, name).id
        await operations.quarantine(who, agent, form.reason)
        return Json(standing(agent))

    @app.post("/api/v1/agents/{name:agent}/lift", response_model=AgentStanding)
    async def agent_lift(who: Who, name: Named, form: Reason) -> Json:
        agent = asking.seen(who, name).id
        await operations.lift(who, agent, form.reason)
        return Json(standing(agent))

    @app.post("/api/v1/agents/{name:agent}/retire", response_model=Retirement)
    async def agent_retire(who: Who, name: Named, form: _Retire) -> Json:
        agent = asking.seen(who, name).id
        made = await operations.retire(who, agent, form.reason, None if form.plan is None else Digest(form.plan))
        if isinstance(made, ApprovalRequest):
            return Json(retirement_asked(asking.agent(agent), approval_row(made, asking)))
        return Json(retirement_shown(asking.agent(agent), made, room.retirements.certificates.newest(agent)))

    @app.post("/api/v1/agents/{name:agent}/restrictions", response_model=RestrictionRow, status_code=201)
    async def agent_restrict(who: Who, name: Named, form: _Restrict) -> Json:
        now_us = plane.clock.now().wall_us
        made = await operations.restrict(
            who,
            asking.seen(who, name).id,
            form.kind,
            cause=form.cause,
            until_us=now_us + form.minutes * _MINUTE_US,
            tool=None if form.tool is None else ToolId(form.tool),
            calls_per_minute=form.calls_per_minute,
            role=form.role,
        )
        if made is None:
            raise ConflictError(Code.CONFLICT, "a restriction as narrow is in force for as long already")
        return Json(restriction_row(made, now_us, asking), 201)
