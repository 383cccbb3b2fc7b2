"""What the tests of this room are about: one agent's limits and calls of one tool."""

from __future__ import annotations

from dataclasses import replace

from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import AgentId, SeededIds, ToolId
from accredit.kernel.money import Money
from accredit.limits.model import LimitRefusal, Reservation, Share, Spend
from accredit.limits.service import AttemptRates, Limits
from accredit.registry.model import AgentLimits
from accredit.storage.memory.counters import MemoryCounterStore

MIDDAY_US = 1_795_348_800_000_000  # 2026-11-22 12:00 UTC
AGENT = AgentId("agt_1")
TOOL = ToolId("crm/read_customer")
LIMITS = AgentLimits(
    calls_per_minute=1_000, concurrency=1_000, call_timeout_s=30, run_timeout_s=1200, cost_per_day=Money(10)
)


def limits_with(**changes: object) -> AgentLimits:
    return replace(LIMITS, **changes)  # type: ignore[arg-type]  # names and types are the test's own business


def spend(
    cost: int | None = 1,
    *,
    limits: AgentLimits = LIMITS,
    agent: AgentId = AGENT,
    currency: str = "USD",
    throttle: int | None = None,
    shares: tuple[Share, ...] = (),
) -> Spend:
    return Spend(agent, TOOL, limits, cost, currency, throttle, shares)


CALLER = AgentId("agt_2")


def shared(*, limits: AgentLimits = LIMITS, throttle: int | None = None, agent: AgentId = CALLER) -> Share:
    """What is taken of whoever handed the work on."""
    return Share(agent, "planner", limits, throttle)


class Room:
    """A `Limits` with its clock and store at hand."""

    def __init__(self, *, attempts: AttemptRates | None = None, capacity: int = 65_536, seed: int = 1) -> None:
        self.clock = ScriptedClock(MIDDAY_US)
        self.store = MemoryCounterStore(capacity=capacity)
        self.limits = Limits(self.clock, SeededIds(seed), self.store, attempts=attempts)

    def take(self, asked: Spend) -> Reservation:
        taken = self.limits.reserve(asked)
        assert isinstance(taken, Reservation), taken
        return taken

    def refused(self, asked: Spend) -> LimitRefusal:
        taken = self.limits.reserve(asked)
        assert isinstance(taken, LimitRefusal), taken
        return taken
