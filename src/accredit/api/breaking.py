"""Break-glass: for a few hours, holds of named tools of one agent do not wait for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Nothing
from accredit.api.paging import After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment
from accredit.approvals.breakglass import BreakGlass
from accredit.kernel.ids import ToolId

__all__ = ["BreakGlassRow", "breaking"]

_Label = Annotated[str, Field(min_length=1, max_length=400)]


class _Break(Form):
    tools: Annotated[tuple[_Label, ...], Field(min_length=1, max_length=20, strict=False)]
    policies: Annotated[tuple[_Label, ...], Field(min_length=1, max_length=20, strict=False)]
    """Ids of the policies and restrictions whose holds do not wait."""
    minutes: Annotated[int, Field(ge=1, le=480)]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    second: bool = False
    """Whether somebody else is to confirm it before it is broken; then nobody is paged."""


class _Confirm(Form):
    digest: Annotated[str, Field(min_length=1, max_length=80)]
    """Of what was shown."""


@dataclass(frozen=True, slots=True)
class BreakGlassRow:
    """One breaking of it."""

    id: str
    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    tools: list[str]
    policies: list[str]
    by: str
    second: str | None
    """Who confirmed it, of two."""
    minutes: int
    """For how long it is once it is confirmed; 0: nobody has to confirm it."""
    digest: str
    """Names what is confirmed."""
    opened: str
    until: str
    in_force: bool
    review: str
    """asked (of a second person), lapsed, waits, upheld, rejected, or overdue: whoever broke it breaks no other."""
    request: str
    """In which it is reviewed."""


def breaking(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations = plane.room.breaking

    def row(one: BreakGlass) -> BreakGlassRow:
        return BreakGlassRow(
            id=one.id,
            agent=one.agent,
            agent_name=asking.name(one.agent),
            tools=list(one.tools),
            policies=list(one.policies),
            by=one.by,
            second=one.second,
            minutes=one.minutes,
            digest=one.digest,
            opened=moment(one.opened_us),
            until=moment(one.until_us),
            in_force=one.in_force(plane.clock.now().wall_us),
            review=one.review,
            request=one.request,
        )

    @app.get("/api/v1/break-glass", response_model=Items[BreakGlassRow])
    async def break_glass(who: Who, limit: Limit = 200, after: After = None) -> Json:
        found = operations.all()
        if not asking.sees_all(who):
            own = {one.id for one in asking.visible(who)}
            found = tuple(one for one in found if one.agent in own)
        chosen, following = page(found, lambda one: (since(one.opened_us), one.id), limit, after, newest_first=True)
        return Json(Items([row(one) for one in chosen], following))

    @app.post("/api/v1/agents/{name:agent}/break-glass", response_model=BreakGlassRow, status_code=201)
    async def break_glass_open(who: Who, name: Named, form: _Break) -> Json:
        made = await operations.open(
            who,
            asking.seen(who, name).id,
            [ToolId(one) for one in form.tools],
            form.policies,
            minutes=form.minutes,
            reason=form.reason,
            second=form.second,
        )
        return Json(row(made), 201)

    @app.post("/api/v1/break-glass/{glass}/confirm", response_model=BreakGlassRow)
    async def break_glass_confirm(who: Who, glass: Named, form: _Confirm) -> Json:
        return Json(row(await operations.confirm(who, glass, form.digest)))

    @app.post("/api/v1/break-glass/{glass}/end", response_model=BreakGlassRow)
    async def break_glass_end(who: Who, glass: Named, _: Nothing | None = None) -> Json:
        return Json(row(await operations.end(who, glass)))

    @app.post("/api/v1/break-glass/{glass}/review", response_model=BreakGlassRow)
    async def break_glass_review(who: Who, glass: Named, _: Nothing | None = None) -> Json:
        await operations.review(who, glass)
        return Json(row(next(one for one in operations.all() if one.id == glass)))
