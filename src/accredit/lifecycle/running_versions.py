"""Goes round the agents in production and checks that what runs is what was approved, place by place.

Changes come into force in memory before everything that is compared has followed, so a difference counts once it is
seen the same in two looks. What the log contradicts from the start on is told at once: it changes no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from accredit.audit.ports import ControlLog
from accredit.enforcement.snapshot import Snapshot
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.ids import AgentId
from accredit.lifecycle.timeline import Timeline
from accredit.monitoring.baselines import BaselineKeeper
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.rows import BASELINE
from accredit.monitoring.running import UNPROVEN, RunningFacts, drift_of_running
from accredit.monitoring.service import Monitor
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Environment
from accredit.registry.rows import AGENT, VERSION
from accredit.registry.service import Registry

__all__ = ["RunningVersions"]

_AT_ONCE: Final = 250
"""Agents that one round looks at; the next goes on."""
_CALLS_FIRST: Final = 10
"""After so many agents calls that wait go first."""
_MOST_UNPROVEN: Final = 100


@dataclass(frozen=True, slots=True)
class _Seen:
    agent: AgentId
    matter: str
    expected: str | None
    seen: str | None


class RunningVersions:
    """The continuous check of versions in force against approved ones."""

    def __init__(
        self,
        control: ControlLog,
        registry: Registry,
        snapshot: Callable[[], Snapshot],
        baselines: BaselineKeeper,
        timeline: Timeline,
        monitor: Monitor,
        clock: Clock,
    ) -> None:
        self._control = control
        self._registry = registry
        self._snapshot = snapshot
        self._baselines = baselines
        self._timeline = timeline
        self._monitor = monitor
        self._clock = clock
        self._left: deque[AgentId] = deque()
        self._once: frozenset[_Seen] = frozenset()
        """What was seen in the last look, and once only."""

    async def round(self) -> None:
        """Look at the next agents, and again at those of which something was seen in the last round.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        await self._unproven()
        await asyncio.to_thread(self._timeline.catch_up)
        now_us = self._clock.now().wall_us
        if not self._left:
            self._left.extend(agent.id for agent in self._registry.catalogue.agents() if _watched(agent))
        turn = [self._left.popleft() for _ in range(min(_AT_ONCE, len(self._left)))]
        found: dict[_Seen, Deviation] = {}
        for number, agent_id in enumerate(dict.fromkeys((*sorted({one.agent for one in self._once}), *turn))):
            if number % _CALLS_FIRST == 0:
                await asyncio.sleep(0)
            agent = self._registry.get(agent_id)
            if agent is not None and _watched(agent):
                found |= {_key(one): one for one in drift_of_running(self._facts(agent), now_us)}
        for key, deviation in found.items():
            if key in self._once:
                await self._monitor.note(deviation)
        self._once = frozenset(found.keys() - self._once)

    async def _unproven(self) -> None:
        """Tell of agents in force whose rows the log contradicts: nothing of them passes, and somebody has to look."""
        lost = {row for row in self._control.unproven if row[0] in {AGENT, BASELINE, VERSION}}
        if not lost:
            return
        by_version: dict[str, list[AgentId]] = {}
        for row in self._control.view.scan(AGENT):
            by_version.setdefault(row.doc["version"], []).append(AgentId(row.key))
        agents = {AgentId(key) for kind, key in lost if kind != VERSION}
        agents |= {agent for kind, key in lost if kind == VERSION for agent in by_version.get(key, ())}
        for agent in sorted(agents)[:_MOST_UNPROVEN]:
            version = self._control.view.get(AGENT, agent)
            about = {(AGENT, agent), (BASELINE, agent), (VERSION, version.doc["version"] if version else "")} & lost
            evidence = {"expected": "what the log proves", "seen": sorted(f"{kind}/{key}" for kind, key in about)}
            now_us = self._clock.now().wall_us
            await self._monitor.note(Deviation(agent, AlertKind.POSTURE_VERSION, UNPROVEN, evidence, now_us))

    def _facts(self, agent: Agent) -> RunningFacts:
        names = ((AGENT, agent.id), (VERSION, agent.version.digest), (BASELINE, agent.id))
        rows: dict[str, Digest | None] = {}
        logged: dict[str, Digest | None] = {}
        for kind, key in names:
            row = self._control.view.get(kind, key)
            rows[f"{kind}/{key}"] = None if row is None else row.digest
            if self._timeline.knows(kind, key):
                logged[f"{kind}/{key}"] = self._timeline.digest_of(kind, key)
        judged = self._snapshot().catalogue.agent(agent.id)
        return RunningFacts(agent, judged, self._baselines.of(agent.id), rows, logged)


def _watched(agent: Agent) -> bool:
    return agent.environment is Environment.PRODUCTION and runs(agent.environment, agent.state)


def _key(one: Deviation) -> _Seen:
    assert one.agent is not None  # noqa: S101 - it is an agent's version
    evidence: Mapping[str, str | None] = one.evidence
    return _Seen(one.agent, one.matter, evidence["expected"], evidence["seen"])
