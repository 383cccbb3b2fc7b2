"""Goes round the agents that run and have a budget, and tells of those whose budget will be gone before its day ends.

By the limits' own figures: what was spent and settled today. Calls in flight count once they are settled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Final

from accredit.kernel.clock import Clock
from accredit.kernel.ids import AgentId
from accredit.kernel.money import Money
from accredit.limits.service import Limits
from accredit.monitoring.events.forecast import spend_forecast
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.service import Monitor
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent
from accredit.registry.service import Registry

__all__ = ["SpendForecasts"]

_DAY_US: Final = 86_400_000_000
_AT_ONCE: Final = 250
"""Agents that one round looks at; the next goes on."""
_CALLS_FIRST: Final = 10
"""After so many agents calls that wait go first."""


class SpendForecasts:
    """The watch over what is being spent."""

    def __init__(self, limits: Limits, registry: Registry, monitor: Monitor, clock: Clock) -> None:
        self._limits = limits
        self._registry = registry
        self._monitor = monitor
        self._clock = clock
        self._left: deque[AgentId] = deque()

    async def round(self) -> None:
        """Look at the next agents.

        Raises:
            UnavailableError: the limits cannot be read, or an alert not be made durable; the next round goes on.
        """
        if not self._left:
            self._left.extend(one.id for one in self._registry.catalogue.agents() if runs(one.environment, one.state))
        for number in range(min(_AT_ONCE, len(self._left))):
            if number % _CALLS_FIRST == 0:
                await asyncio.sleep(0)
            agent = self._registry.get(self._left.popleft())
            found = None if agent is None else self._found(agent)
            if found is not None:
                await self._monitor.note(found)

    def _found(self, agent: Agent) -> Deviation | None:
        used, now_us = self._limits.show(agent.id, agent.version.limits), self._clock.now().wall_us
        if used.cap is None:
            return None
        began_us = now_us // _DAY_US * _DAY_US
        forecast = spend_forecast(
            spent_nanos=used.spent.nanos,
            cap_nanos=used.cap.nanos,
            began_us=began_us,
            ends_us=began_us + _DAY_US,
            now_us=now_us,
        )
        if forecast is None:
            return None
        gone = None
        if forecast.gone_us is not None:
            gone = datetime.fromtimestamp(forecast.gone_us / 1_000_000, UTC).isoformat(timespec="minutes")
        evidence = {
            "cap": str(used.cap),
            "expected": str(Money(forecast.expected_nanos, used.cap.currency)),
            "gone": gone,
            "spent": str(used.spent),
        }
        return Deviation(agent.id, AlertKind.SPEND_FORECAST, used.window, evidence, now_us)
