"""The deadline of agents whose risk tier rose: tells those who answer for them, and suspends them when it is over.

What was told is a row, so nobody is told the same again by whoever starts next. A row is of one deadline: a new one
begins with telling again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.errors import AccreditError
from accredit.lifecycle.remedies import REMEDY
from accredit.lifecycle.rows import TIER_DEADLINE
from accredit.lifecycle.service import Lifecycle
from accredit.monitoring.deadlines import DeadlineTold, deadline_told, suspension_due_us
from accredit.monitoring.model import AlertKind
from accredit.monitoring.service import Monitor
from accredit.registry.model import Agent
from accredit.registry.service import Registry

__all__ = ["RisenTiers"]

_MOST: Final = 100
"""Agents that one round suspends, and tells of."""
_WHY: Final = (
    "its risk tier is higher than it was approved under, and in five days nobody put that right or approved it"
)
_log = logging.getLogger(__name__)


class RisenTiers:
    """The deadline of agents whose tier rose. While `steady` says that the wall clock is in doubt nothing is due."""

    def __init__(
        self,
        control: ControlLog,
        lifecycle: Lifecycle,
        registry: Registry,
        monitor: Monitor,
        clock: Clock,
        *,
        steady: Callable[[Instant], bool] = lambda _: True,
    ) -> None:
        self._control = control
        self._lifecycle = lifecycle
        self._registry = registry
        self._monitor = monitor
        self._clock = clock
        self._steady = steady

    async def round(self) -> int:
        """Suspend whoever is due, a bounded number; how many. One that fails is tried again in the next round.

        Whoever answers for an agent that is not due yet is told in time.
        """
        now, done, told = self._clock.now(), 0, 0
        if not self._steady(now):
            return 0
        risen = {
            one.agent for one in self._monitor.alerts() if one.kind is AlertKind.POSTURE_TIER and not one.closed_us
        }
        for agent_id in sorted(one for one in risen if one is not None):
            agent = self._registry.get(agent_id)
            due_us = None if agent is None else suspension_due_us(agent, self._monitor.alerts(agent=agent_id))
            if agent is None or due_us is None:
                continue
            try:
                if now.wall_us >= due_us:
                    await self._lifecycle.suspend(agent_id, REMEDY, _WHY)
                    done += 1
                elif told < _MOST:
                    told += await self._tell(agent, due_us, now.wall_us)
            except AccreditError as error:
                _log.error("the deadline of %s, whose tier rose, was not kept: %s", agent_id, error.message)
            if done == _MOST:
                break
        return done

    async def _tell(self, agent: Agent, due_us: int, now_us: int) -> bool:
        row = self._control.view.get(TIER_DEADLINE, agent.id)
        before = row.doc["stage"] if row is not None and row.doc["due_us"] == due_us else 0
        due = deadline_told(agent, due_us, self._registry.organisation, told=before, now_us=now_us)
        if due is None or (TIER_DEADLINE, agent.id) in self._control.unproven:
            return False
        await self._control.transact(partial(self._telling, agent, due, due_us))
        return True

    @staticmethod
    def _telling(agent: Agent, due: DeadlineTold, due_us: int, view: StateView) -> Change | None:
        doc = {"due_us": due_us, "stage": due.stage}
        row = view.get(TIER_DEADLINE, agent.id)
        if row is not None and row.doc == doc:
            return None
        facts = Facts("tier.reminded", agent=agent.id, environment=agent.environment.value)
        return Change(facts, (Write(TIER_DEADLINE, agent.id, doc),), Actor(basis="system"), {**doc, "to": list(due.to)})
