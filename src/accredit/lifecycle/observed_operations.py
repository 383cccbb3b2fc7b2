"""Agents as they are observed, against what is declared of them: weighed beside the calls, explained to whoever looks.

A round reads on in the log, weighs the agents of which something new was seen, and puts what counts in force; from then
on every tier rests on it, and whatever that raises is answered as any tier that rose (`monitoring/remedy.py`). Now and
then the fleet is looked at for work that was cut into parts, and for what does not fit what is said of an agent; those
are findings. INVARIANT: until all days of the window are read, nothing that was in force before is taken back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.findings import FindingKind, Observed
from accredit.lifecycle.discovery.reconciling import OBSERVED
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.discovery.suspecting import just_under, seen_once, unlike_its_purpose
from accredit.lifecycle.judging import Judging
from accredit.monitoring.deadlines import suspension_due_us
from accredit.monitoring.model import AlertKind, Severity
from accredit.monitoring.observations import Observations, ObservedAgent
from accredit.monitoring.observing import ObservedTraffic, WorkedWith
from accredit.monitoring.service import Monitor
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, AgentState, Environment
from accredit.registry.observation import (
    WINDOW_DAYS,
    FactorSeen,
    ObservedRisk,
    SeenClass,
    Sighted,
    factors_seen,
    observed_risk,
    told_of,
)
from accredit.registry.risk import exposure_by
from accredit.registry.service import Registry
from accredit.registry.tiering import RiskFacts, floors_of, levels_of, score_of, tier_of, tier_rank
from accredit.registry.workflow import TOGETHER, Workflow, bound, together, workflows

__all__ = ["ObservedOperations", "ObservedView", "WindowSeen"]

_MOST_READ: Final = 50_000
"""Records that one round reads at most; the next one goes on."""
_MOST_WEIGHED: Final = 500
_MOST_OPENED: Final = 500
_LOOK_EVERY_US: Final = 10 * 60_000_000
_KINDS: Final = frozenset(
    {
        FindingKind.DATA_SEEN,
        FindingKind.NEAR_THRESHOLD,
        FindingKind.PURPOSE_MISMATCH,
        FindingKind.SPLIT_WORKFLOW,
        FindingKind.UNDER_DECLARED,
    }
)
_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WindowSeen:
    """An agent's factors over some days."""

    days: int
    factors: tuple[FactorSeen, ...]
    in_part: bool
    """There was more than is kept of one agent."""


@dataclass(frozen=True, slots=True)
class ObservedView:
    """What was observed of an agent, for whoever asks why its tier is what it is."""

    windows: tuple[WindowSeen, ...]
    """The shorter one first. What the longer one shows raises the tier."""
    once: tuple[SeenClass, ...]
    """Data classes that were seen, undeclared, too seldom to count."""
    workflow: Workflow | None
    behind: int | None
    """How many records are not read yet; None: reading has not begun. Until then what is in force is from before."""

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "behind": self.behind,
            "once": [
                {
                    "checked": one.checked,
                    "data_class": one.data_class,
                    "records": list(one.records),
                    "subjects": one.subjects,
                    "tools": sorted({tool for _, tool in one.places}),
                }
                for one in self.once
            ],
            "windows": [
                {
                    "days": one.days,
                    "factors": [factor.document() for factor in one.factors],
                    "in_part": one.in_part,
                }
                for one in self.windows
            ],
            "workflow": self.workflow.document() if self.workflow is not None else None,
        }


class ObservedOperations:
    """Weighs what agents do, and explains it."""

    def __init__(
        self,
        traffic: ObservedTraffic,
        observations: Observations,
        judging: Judging,
        registry: Registry,
        monitor: Monitor,
        findings: Findings,
        clock: Clock,
    ) -> None:
        self._traffic = traffic
        self._observations = observations
        self._judging = judging
        self._registry = registry
        self._monitor = monitor
        self._findings = findings
        self._clock = clock
        self._waiting: dict[AgentId, None] = {}
        """To be weighed, in the order in which something was seen of them."""
        self._whole = False
        """Whether all of the window was read once, and what was in force before is looked at again."""
        self._looked_boot_us: int | None = None
        self._nearness: dict[AgentId, tuple[Digest, Mapping[str, Any] | None]] = {}
        """Of the newest declaration of each agent: how near to a threshold it came, when it was first looked at."""
        self._alone = asyncio.Lock()

    # -- explained

    def view(self, agent: Agent) -> ObservedView:
        """What was observed of an agent against its version in force. Computes; to be called from a thread.

        Raises:
            UnavailableError: what is enforced cannot be told now.
        """
        now_us = self._clock.now().wall_us
        registered = self._judging.registered(agent, agent.version)
        exposures = exposure_by(self._registry.catalogue)
        uses = [self._traffic.use(agent.id, now_us, days=days) for days in WINDOW_DAYS]
        return ObservedView(
            tuple(WindowSeen(use.days, factors_seen(registered, use, exposures), use.in_part) for use in uses),
            tuple(
                one for one in uses[-1].data if one.sighted is Sighted.ONCE and one.data_class not in registered.reached
            ),
            self._observations.workflow(agent.id),
            self._traffic.behind,
        )

    # -- what is due without anybody asking

    async def round(self) -> None:
        """Read on, weigh what is new, and look at the fleet if the last look is some minutes ago.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        async with self._alone:
            now = self._clock.now()
            complete = await asyncio.to_thread(self._traffic.catch_up, now.wall_us, at_most=_MOST_READ)
            self._wait(self._traffic.touched())
            if complete and not self._whole:
                self._wait(self._observations.agents())  # what nothing shows any more is over
                self._whole = True
            await self._weigh(now.wall_us, complete=complete)
            due = self._looked_boot_us is None or now.boot_us - self._looked_boot_us >= _LOOK_EVERY_US
            if complete and not self._waiting and due:
                await self._look(now.wall_us)
                self._looked_boot_us = now.boot_us

    async def look(self) -> None:
        """Do all of it now, whenever the last look was.

        Raises:
            UnavailableError: as `round`.
        """
        while True:
            self._looked_boot_us = None
            await self.round()
            if not self._waiting and not self._traffic.behind:
                return

    async def _weigh(self, now_us: int, *, complete: bool) -> None:
        batch = list(islice(self._waiting, _MOST_WEIGHED))
        if not batch:
            return
        found = await asyncio.to_thread(self._weighed, batch, now_us, complete=complete)
        await self._keep(found)
        for agent in batch:
            self._waiting.pop(agent, None)

    def _wait(self, agents: Iterable[AgentId]) -> None:
        for agent in sorted(agents):
            self._waiting.setdefault(agent)

    async def _keep(self, found: Mapping[AgentId, ObservedAgent]) -> None:
        changed = {agent: one for agent, one in found.items() if one != self._observations.of(agent)}
        if changed:
            await self._observations.keep(changed)
            self._monitor.look_again(changed)

    def _weighed(self, agents: Iterable[AgentId], now_us: int, *, complete: bool) -> dict[AgentId, ObservedAgent]:
        found: dict[AgentId, ObservedAgent] = {}
        for agent_id in agents:
            before = self._observations.of(agent_id)
            agent = self._registry.get(agent_id)
            if agent is None or agent.state in _GONE:
                found[agent_id] = ObservedAgent()
                continue
            seen = observed_risk(self._traffic.use(agent_id, now_us))
            found[agent_id] = replace(before, risk=seen if complete else _both(before.risk, seen))
        return found

    # -- the look at the fleet

    async def _look(self, now_us: int) -> None:
        works = await asyncio.to_thread(self._works, now_us)
        changed = {
            agent: replace(self._observations.of(agent), workflow=works.get(agent))
            for agent in {*works, *self._observations.agents()}
            if not _same(self._observations.workflow(agent), works.get(agent))
        }
        await self._keep(changed)
        observed = await asyncio.to_thread(lambda: list(self._suspected(now_us)))
        for each in self._findings.no_more(OBSERVED, _KINDS, observed)[:_MOST_OPENED]:
            await self._findings.over(each)
        fresh = [one for one in observed if self._findings.standing(one) is None]
        for one in fresh[:_MOST_OPENED]:
            await self._findings.open_finding(one)

    def _works(self, now_us: int) -> dict[AgentId, Workflow]:
        """Work that several agents do together, where it comes to more than any of them does alone."""
        catalogue = self._registry.catalogue

        def one_of(agent: AgentId) -> Agent | None:
            found = catalogue.agent(agent)
            return found if found is not None and _watched(found) else None

        links: list[WorkedWith] = []
        members: dict[AgentId, Agent] = {}
        for pair in self._traffic.worked_together(now_us):
            if pair.tasks < TOGETHER and pair.handed_on < TOGETHER:
                continue
            first, second = (one_of(agent) for agent in pair.agents)
            if first is not None and second is not None and bound(first, second):
                links.append(pair)
                members |= {first.id: first, second.id: second}
        facts: dict[AgentId, RiskFacts] = {}
        for agent_id, agent in sorted(members.items()):
            try:
                facts[agent_id] = self._judging.alone(agent)
            except AccreditError as error:
                _log.warning("what %s comes to cannot be told now: %s", agent_id, error.message)
        found = workflows(facts, [pair.agents for pair in links])
        return {
            agent: Workflow(group, tier, _floors(facts[one] for one in group), _records(links, frozenset(group)))
            for agent, (tier, group) in found.items()
        }

    def _suspected(self, now_us: int) -> Iterator[Observed]:
        risen = {
            one.agent
            for one in self._monitor.alerts()
            if one.kind is AlertKind.POSTURE_TIER and one.closed_us is None and one.agent is not None
        }
        for agent in list(self._registry.catalogue.agents()):
            if not _watched(agent):
                continue
            use = self._traffic.use(agent.id, now_us)
            purpose = str(agent.version.manifest["spec"]["purpose"])
            if use.tools and (unlike := unlike_its_purpose(purpose, use)) is not None:
                yield _about(FindingKind.PURPOSE_MISMATCH, agent, Severity.INFO, unlike)
            try:
                if agent.id in risen:
                    yield from self._raised(agent)
                if use.data and (once := seen_once(use, self._judging.registered(agent, agent.version).reached)):
                    yield _about(FindingKind.DATA_SEEN, agent, Severity.WARNING, once)
                if (near := self._near(agent)) is not None:
                    yield _about(FindingKind.NEAR_THRESHOLD, agent, Severity.INFO, near)
            except AccreditError as error:
                _log.warning("what %s comes to cannot be told now: %s", agent.id, error.message)

    def _raised(self, agent: Agent) -> Iterator[Observed]:
        """Of an agent whose tier rose: by what was observed, or by the work it does with others."""
        alerts = self._monitor.alerts(agent=agent.id)
        alert = next((one for one in alerts if one.kind is AlertKind.POSTURE_TIER and one.closed_us is None), None)
        if alert is None:
            return
        due_us, observation = suspension_due_us(agent, alerts), self._observations.of(agent.id)
        told = {"alert": alert.id, "approved_as": alert.matter, "suspended_us": due_us}
        if observation.workflow is not None:
            evidence = {**told, **observation.workflow.document()}
            yield _about(FindingKind.SPLIT_WORKFLOW, agent, Severity.CRITICAL, evidence)
        observed, registered = self._judging.alone(agent), self._judging.registered(agent, agent.version)
        tiers = [tier_rank(tier_of(levels_of(facts))) for facts in (observed, registered)]
        if tiers[0] > tiers[1]:
            evidence = {**told, "observed": list(told_of(observed)), "tier": alert.evidence["seen"]}
            yield _about(FindingKind.UNDER_DECLARED, agent, Severity.CRITICAL, evidence)

    def _near(self, agent: Agent) -> Mapping[str, Any] | None:
        newest = (agent.candidate or agent.version).digest
        known = self._nearness.get(agent.id)
        if known is None or known[0] != newest:
            known = self._nearness[agent.id] = (newest, self._nearness_of(agent, newest))
        return known[1]

    def _nearness_of(self, agent: Agent, newest: Digest) -> Mapping[str, Any] | None:
        declared = self._registry.versions(agent.id)[-2:][::-1]
        if len(declared) < 2 or declared[0].digest != newest:
            return None
        found = [levels_of(self._judging.registered(agent, version)) for version in declared]
        return just_under([(score_of(levels), tier_of(levels)) for levels in found])


def _watched(agent: Agent) -> bool:
    return agent.environment is Environment.PRODUCTION and runs(agent.environment, agent.state)


def _both(before: ObservedRisk, now: ObservedRisk) -> ObservedRisk:
    return ObservedRisk(
        before.data | now.data,
        before.callers | now.callers,
        max(before.reach, now.reach),
    )


def _same(one: Workflow | None, other: Workflow | None) -> bool:
    """Whether two are the same but for the records that show them, which change with every call."""
    return (one and replace(one, records=())) == (other and replace(other, records=()))


def _floors(parts: Iterable[RiskFacts]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(floor.rule for floor in floors_of(levels_of(together(parts)))))


def _records(links: Iterable[WorkedWith], group: frozenset[AgentId]) -> tuple[int, ...]:
    return tuple(sorted({record for one in links if group.issuperset(one.agents) for record in one.records})[-10:])


def _about(kind: FindingKind, agent: Agent, severity: Severity, evidence: Mapping[str, Any]) -> Observed:
    return Observed(kind, agent.id, severity, f"{agent.environment}/{agent.name}", agent.id, OBSERVED, evidence)
