"""Finished sessions of agents, and how far monitoring has read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query

from accredit.api.asking import Asking, Who
from accredit.api.forms import Named, Nothing
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment
from accredit.lifecycle.review_operations import LeastPrivilege
from accredit.lifecycle.session_operations import ProfilesStanding
from accredit.monitoring.accuracy import Accuracy
from accredit.monitoring.profiles.model import Feature, SessionProfile
from accredit.monitoring.profiles.ports import KeptProfile

__all__ = [
    "AccuracyRow",
    "LeastPrivilegeShown",
    "MonitoringShown",
    "SessionCallRow",
    "SessionRow",
    "SessionShown",
    "SuggestedRemoval",
    "sessions",
]

_MOST: int = 500


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One finished session, in short. What was not measured is null."""

    number: int
    session: str
    version: str | None
    began: str
    ended: str
    calls: float | None
    tools: float | None
    denied: float | None
    errors: float | None
    """Share of the calls that were carried out."""
    cost: float | None
    seconds: float | None
    in_part: bool
    """Something of it was erased."""


@dataclass(frozen=True, slots=True)
class SessionCallRow:
    """One call of it."""

    tool: str
    """Empty: no registered one."""
    outcome: str
    values: list[str]
    """Of the arguments: where each stood, and of which class it is."""


@dataclass(frozen=True, slots=True)
class SessionShown:
    """All that detectors know of a session."""

    number: int
    session: str
    version: str | None
    began: str
    ended: str
    first_record: int
    last_record: int
    in_part: bool
    numbers: dict[str, float]
    sequence: list[SessionCallRow]


@dataclass(frozen=True, slots=True)
class MonitoringShown:
    """How far monitoring has read."""

    behind: int
    position: int
    rebuilding: bool


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """How often one kind of alert was right, by what people said of its alerts."""

    kind: str
    agent: str | None
    """Null: of all agents together."""
    agent_name: str | None
    alerts: int
    true_positive: int
    expected_change: int
    false_positive: int
    test: int
    duplicate: int
    unknown: int
    """Nobody said what they were: they count neither way."""
    false_share: float | None
    """Of those that were judged."""
    false_low: float | None
    false_high: float | None
    """Its 95 % interval."""
    sessions: int | None
    false_per_1000: float | None
    """False alarms in 1,000 finished sessions that are kept."""


@dataclass(frozen=True, slots=True)
class SuggestedRemoval:
    """A permission that an agent could do without."""

    tool: str
    reason: str
    effect: str
    idle_days: int
    calls: int
    """Calls let through in the last 90 days, which would have failed without it."""
    denies: int


@dataclass(frozen=True, slots=True)
class LeastPrivilegeShown:
    """What an agent could do without, by its use."""

    permissions: int
    removals: list[SuggestedRemoval]
    failing: int
    """Calls of the last 90 days that would have failed without all of these."""
    manifest: dict[str, Any]
    """The agent's manifest without them, to be applied."""
    unsaid: list[str]
    """What no manifest can say of it any more."""


def sessions(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    kept = plane.room.sessions

    @app.get("/api/v1/agents/{name:agent}/sessions", response_model=Items[SessionRow])
    async def agent_sessions(who: Who, name: Named, limit: Annotated[int, Query(ge=1, le=_MOST)] = 50) -> Json:
        found = await kept.newest(asking.seen(who, name), limit)
        return Json(Items([_row(one.number, one.profile) for one in found]))

    @app.get("/api/v1/agents/{name:agent}/sessions/{session}", response_model=SessionShown)
    async def agent_session(who: Who, name: Named, session: Named) -> Json:
        return Json(_shown(await kept.one(asking.seen(who, name), session)))

    @app.get("/api/v1/agents/{name:agent}/suggestion", response_model=LeastPrivilegeShown)
    async def agent_suggestion(who: Who, name: Named) -> Json:
        return Json(_suggestion(await asyncio.to_thread(plane.room.reviews.suggested, asking.seen(who, name))))

    @app.get("/api/v1/monitoring", response_model=MonitoringShown)
    async def monitoring(who: Who) -> Json:  # noqa: ARG001 - whoever is signed in may see it
        return Json(_standing(kept.standing))

    @app.get("/api/v1/monitoring/accuracy", response_model=Items[AccuracyRow])
    async def monitoring_accuracy(
        who: Who,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        by_agent: bool = False,  # noqa: FBT001, FBT002 - a query
    ) -> Json:
        named = asking.seen(who, agent).id if agent else None
        own = None if asking.sees_all(who) else {one.id for one in asking.visible(who)}
        found = await kept.accuracy(named, by_agent=by_agent or named is not None, visible=own)
        return Json(Items([_accuracy(one, asking) for one in found]))

    @app.post("/api/v1/monitoring/rebuild", response_model=MonitoringShown)
    async def monitoring_rebuild(who: Who, form: Nothing) -> Json:  # noqa: ARG001 - it has no fields
        return Json(_standing(await kept.rebuild(who)))


def _row(number: int, one: SessionProfile) -> SessionRow:
    def found(feature: Feature) -> float | None:
        return one.features.get(feature.value)

    return SessionRow(
        number=number,
        session=one.session,
        version=one.version,
        began=moment(one.began_us),
        ended=moment(one.ended_us),
        calls=found(Feature.CALLS),
        tools=found(Feature.TOOLS),
        denied=found(Feature.DENIED),
        errors=found(Feature.ERRORS),
        cost=found(Feature.COST),
        seconds=found(Feature.SECONDS),
        in_part=one.in_part,
    )


def _shown(kept: KeptProfile) -> SessionShown:
    one = kept.profile
    return SessionShown(
        number=kept.number,
        session=one.session,
        version=one.version,
        began=moment(one.began_us),
        ended=moment(one.ended_us),
        first_record=one.first,
        last_record=one.last,
        in_part=one.in_part,
        numbers=dict(sorted(one.features.items())),
        sequence=[
            SessionCallRow(call.tool, call.outcome.value, [f"{value.path}: {value.kind}" for value in call.values])
            for call in one.calls
        ],
    )


def _accuracy(one: Accuracy, asking: Asking) -> AccuracyRow:
    low, high = one.false_between or (None, None)
    return AccuracyRow(
        kind=one.kind.value,
        agent=one.agent,
        agent_name=asking.name(one.agent) if one.agent else None,
        alerts=one.alerts,
        **{each.value.replace("-", "_"): count for each, count in one.dispositions.items()},
        unknown=one.unknown,
        false_share=_rounded(one.false_share),
        false_low=_rounded(low),
        false_high=_rounded(high),
        sessions=one.sessions,
        false_per_1000=_rounded(one.false_per_1000),
    )


def _suggestion(found: LeastPrivilege) -> LeastPrivilegeShown:
    return LeastPrivilegeShown(
        permissions=len(found.permissions),
        removals=[
            SuggestedRemoval(
                one.tool,
                one.suggestion.reason if one.suggestion else "",
                one.effect,
                one.idle_days,
                one.calls,
                one.denies,
            )
            for one in found.removals
        ],
        failing=sum(one.calls for one in found.removals),
        manifest=dict(found.manifest.document),
        unsaid=list(found.manifest.unsaid),
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _standing(found: ProfilesStanding) -> MonitoringShown:
    return MonitoringShown(found.behind, found.position, found.rebuilding)
