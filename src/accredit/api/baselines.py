"""Baselines of behaviour: how they are learned, what is in them, who accepts them, and how detectors stand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Reason
from accredit.api.paging import After, Limit, page
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, optional_moment
from accredit.kernel.canonical import Digest
from accredit.lifecycle.baseline_operations import BehaviourShown
from accredit.monitoring.behaviour import BaselinePart, FittedBaseline, LearningSource
from accredit.monitoring.drift.describing import SessionsDescribed
from accredit.monitoring.drift.watching import DetectorStanding
from accredit.monitoring.model import Baseline
from accredit.registry.model import Agent

__all__ = [
    "BaselineRow",
    "BehaviourDifference",
    "BehaviourStanding",
    "DescribedShown",
    "DetectorRow",
    "FittedShown",
    "LearningShown",
    "baselines",
]


_DAY_US: Final = 86_400_000_000


class _Learn(Form):
    source: Annotated[LearningSource, Field(strict=False)] = LearningSource.TRIAL
    days: Annotated[int, Field(ge=1, le=3_650)] | None = None
    """Of recorded sessions: only those that began in so many days."""
    sessions: Annotated[int, Field(ge=1, le=1_000)] | None = None


class _Accept(Form):
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of the proposal, as it was shown."""


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """An agent's baseline in a list."""

    agent: str
    name: str
    version: str
    state: str
    """Of its behaviour: learning, proposed, accepted or none."""
    sessions: int | None
    """That are compared with; None: none are."""
    accepted: str | None
    accepted_by: str | None
    proposed: str | None
    """Digest of what waits for somebody who accepts it."""
    learning: str | None
    """Since when sessions are collected."""


@dataclass(frozen=True, slots=True)
class FittedShown:
    """Sessions that are compared with, or would be."""

    digest: str
    sessions: int
    first: str
    last: str
    source: str
    version: str
    """The version that was in force."""
    views: dict[str, int]
    """In how many of the sessions each number was measured."""
    left_out: int
    """Sessions of that time that were not taken, because of alerts or a quarantine."""
    proposed: str
    proposed_by: str | None
    accepted: str | None
    accepted_by: str | None
    detectors: dict[str, str]
    proven: bool
    """Whether the sessions are there and have this digest."""


@dataclass(frozen=True, slots=True)
class LearningShown:
    """Sessions are being collected."""

    since: str
    collected: int
    wanted: int
    left_out: int
    until: str
    """When people are told if there are too few."""
    by: str | None


@dataclass(frozen=True, slots=True)
class DetectorRow:
    """How one detector stands."""

    detector: str
    version: str
    promise: str
    """What is guaranteed of its alarms."""
    sessions: int
    """Since it began, or began anew."""
    stats: list[float]
    """After each of the last sessions, oldest first."""
    threshold: float | None
    """It alarms at this level."""
    alarmed: bool
    views: list[dict[str, Any]]
    """`view`, `stat` and `score` after the last session, most evident first."""
    since: int | None
    """How many sessions ago the change began, by the evidence so far."""
    stopped: str
    """Why it is not asked any more; empty: it is."""


@dataclass(frozen=True, slots=True)
class BehaviourStanding:
    """How an agent's behaviour is compared with what was accepted."""

    agent: str
    version: str
    state: str
    learning: LearningShown | None
    proposal: FittedShown | None
    accepted: FittedShown | None
    previous: FittedShown | None
    detectors: list[DetectorRow]


@dataclass(frozen=True, slots=True)
class DescribedShown:
    """What some sessions are like."""

    sessions: int
    calls: int
    first: str | None
    last: str | None
    tools: dict[str, float]
    """Share of the calls."""
    outcomes: dict[str, float]
    hours: list[int]
    """Sessions by the hour of their first call, UTC."""
    spreads: dict[str, dict[str, Any]]
    """Of each number: in how many sessions it was `measured`, `least`, `lower` quarter, `median`, `upper`, `most`."""
    extremes: list[dict[str, Any]]
    """The sessions with most calls."""


@dataclass(frozen=True, slots=True)
class BehaviourDifference:
    """How sessions differ from others."""

    before: DescribedShown
    after: DescribedShown
    words: list[str]


def baselines(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    room = plane.room
    operations = room.baseline_operations

    async def standing(agent: Agent) -> Json:
        found = await asyncio.to_thread(operations.show, agent.id)
        return Json(_standing(agent, found))

    @app.get("/api/v1/baselines", response_model=Items[BaselineRow])
    async def baseline_list(who: Who, limit: Limit = 100, after: After = None) -> Json:
        asking.require_reader(who)

        def listed() -> Items[BaselineRow]:
            seen, following = page(asking.visible(who), lambda one: (one.environment, one.name, one.id), limit, after)
            rows = [(agent, room.baselines.of(agent.id)) for agent in seen]
            return Items([_row(agent, one) for agent, one in rows if one is not None and one.open], following)

        return Json(await asyncio.to_thread(listed))

    @app.get("/api/v1/agents/{name:agent}/behaviour", response_model=BehaviourStanding)
    async def agent_behaviour(who: Who, name: Named) -> Json:
        return await standing(asking.seen(who, name))

    @app.get("/api/v1/agents/{name:agent}/behaviour/sessions", response_model=DescribedShown)
    async def agent_behaviour_sessions(
        who: Who, name: Named, of: Annotated[BaselinePart, Query()] = BaselinePart.ACCEPTED
    ) -> Json:
        agent = asking.seen(who, name)
        return Json(_described(await asyncio.to_thread(operations.describe, agent.id, of)))

    @app.get("/api/v1/agents/{name:agent}/behaviour/diff", response_model=BehaviourDifference)
    async def agent_behaviour_diff(
        who: Who,
        name: Named,
        before: Annotated[BaselinePart, Query()] = BaselinePart.ACCEPTED,
        after: Annotated[BaselinePart, Query()] = BaselinePart.RECENT,
    ) -> Json:
        agent = asking.seen(who, name)
        found = await asyncio.to_thread(operations.compare, agent.id, before, after)
        return Json(BehaviourDifference(_described(found.before), _described(found.after), list(found.words)))

    @app.post("/api/v1/agents/{name:agent}/baseline/learn", response_model=BehaviourStanding)
    async def baseline_learn(who: Who, name: Named, form: _Learn) -> Json:
        agent = asking.agent(name)
        since_us = None if form.days is None else plane.clock.now().wall_us - form.days * _DAY_US
        await operations.learn(who, agent.id, form.source, since_us=since_us, sessions=form.sessions)
        return await standing(agent)

    @app.post("/api/v1/agents/{name:agent}/baseline/accept", response_model=BehaviourStanding)
    async def baseline_accept(who: Who, name: Named, form: _Accept) -> Json:
        agent = asking.agent(name)
        await operations.accept(who, agent.id, Digest(form.digest))
        return await standing(agent)

    @app.post("/api/v1/agents/{name:agent}/baseline/reset", response_model=BehaviourStanding)
    async def baseline_reset(who: Who, name: Named, form: Reason) -> Json:
        agent = asking.agent(name)
        await operations.reset(who, agent.id, form.reason)
        return await standing(agent)


def _row(agent: Agent, baseline: Baseline) -> BaselineRow:
    behaviour = baseline.behaviour
    accepted, proposal, learning = behaviour.accepted, behaviour.proposal, behaviour.learning
    return BaselineRow(
        agent.id,
        f"{agent.environment}/{agent.name}",
        baseline.version,
        behaviour.state,
        accepted.sessions if accepted else None,
        optional_moment(accepted.accepted_us if accepted else None),
        accepted.accepted_by if accepted else None,
        proposal.digest if proposal else None,
        moment(learning.since_us) if learning else None,
    )


def _standing(agent: Agent, found: BehaviourShown) -> BehaviourStanding:
    behaviour, learning = found.behaviour, found.behaviour.learning

    def fitted(one: FittedBaseline | None) -> FittedShown | None:
        return None if one is None else FittedShown(
            one.digest, one.sessions, moment(one.first_us), moment(one.last_us), one.source, one.version,
            dict(one.views), one.left_out, moment(one.proposed_us), one.proposed_by, optional_moment(one.accepted_us),
            one.accepted_by, dict(one.detectors), one.digest not in found.unproven,
        )  # fmt: skip

    return BehaviourStanding(
        agent.id,
        agent.version.digest,
        behaviour.state,
        None
        if learning is None
        else LearningShown(
            moment(learning.since_us),
            found.collected or 0,
            learning.sessions,
            found.left_out,
            moment(learning.until_us),
            learning.by,
        ),
        fitted(behaviour.proposal),
        fitted(behaviour.accepted),
        fitted(behaviour.previous),
        [_detector(one) for one in found.detectors],
    )


def _detector(one: DetectorStanding) -> DetectorRow:
    return DetectorRow(
        one.detector,
        one.version,
        one.promise,
        one.fed,
        [round(stat, 3) for stat in one.stats],
        one.threshold,
        one.alarmed,
        [{"view": view, "stat": round(stat, 3), "score": round(score, 3)} for view, stat, score in one.views],
        one.since,
        one.stopped,
    )


def _described(one: SessionsDescribed) -> DescribedShown:
    return DescribedShown(first=optional_moment(one.first_us), last=optional_moment(one.last_us), **one.document())
