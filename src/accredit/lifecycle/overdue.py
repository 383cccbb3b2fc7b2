"""Suspends agents that went on for too long in a higher risk tier than they were approved under."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from accredit.kernel.clock import Clock, Instant
from accredit.kernel.errors import AccreditError
from accredit.lifecycle.remedies import REMEDY
from accredit.lifecycle.service import Lifecycle
from accredit.monitoring.deadlines import suspension_due_us
from accredit.monitoring.model import AlertKind
from accredit.monitoring.service import Monitor
from accredit.registry.service import Registry

__all__ = ["RisenTiers"]

_MOST: Final = 100
"""Agents that one round suspends."""
_WHY: Final = (
    "its risk tier is higher than it was approved under, and in five days nobody put that right or approved it"
)
_log = logging.getLogger(__name__)


class RisenTiers:
    """The deadline of agents whose tier rose. While `steady` says that the wall clock is in doubt nothing is due."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        registry: Registry,
        monitor: Monitor,
        clock: Clock,
        *,
        steady: Callable[[Instant], bool] = lambda _: True,
    ) -> None:
        self._lifecycle = lifecycle
        self._registry = registry
        self._monitor = monitor
        self._clock = clock
        self._steady = steady

    async def round(self) -> int:
        """Suspend whoever is due, a bounded number; how many. One that fails is tried again in the next round."""
        now, done = self._clock.now(), 0
        if not self._steady(now):
            return 0
        risen = {
            one.agent for one in self._monitor.alerts() if one.kind is AlertKind.POSTURE_TIER and not one.closed_us
        }
        for agent_id in sorted(one for one in risen if one is not None):
            agent = self._registry.get(agent_id)
            due_us = None if agent is None else suspension_due_us(agent, self._monitor.alerts(agent=agent_id))
            if due_us is None or now.wall_us < due_us:
                continue
            try:
                await self._lifecycle.suspend(agent_id, REMEDY, _WHY)
                done += 1
            except AccreditError as error:
                _log.error("%s is to be suspended since its tier rose: %s", agent_id, error.message)
            if done == _MOST:
                break
        return done
