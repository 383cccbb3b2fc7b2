"""What may still be spent: reservations and refusals."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, ToolId
from accredit.kernel.money import Money
from accredit.registry.model import AgentLimits, Tool

__all__ = ["LimitRefusal", "LimitUsage", "Reservation", "Share", "Spend"]


@dataclass(frozen=True, slots=True)
class Share:
    """An agent that handed on the work a call is made for: the call is counted in its budget, and at its throttle.

    Its own rate and concurrency are of the calls it makes itself.
    """

    agent: AgentId
    name: str
    limits: AgentLimits
    throttle: int | None = None
    """Calls per minute that a restriction leaves it, its own and those made of what it handed on together."""
    cap: Money | None = None
    """What a restriction leaves it to be spent in a day, if one does."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What one admitted call would use up."""

    agent: AgentId
    tool: ToolId
    limits: AgentLimits
    cost_nanos: int | None
    """None if no price is registered, which is refused: 0 only if 0 is written."""
    currency: str
    throttle: int | None = None
    """Calls per minute that a restriction leaves; it never raises the limits' own rate."""
    shares: tuple[Share, ...] = ()
    """Whoever handed the work on, each of whom must have room as well."""
    cap: Money | None = None
    """What may be spent in a day, if a restriction caps it: never above the cap there is without it."""

    @classmethod
    def of(
        cls,
        agent: AgentId,
        tool: Tool,
        limits: AgentLimits,
        *,
        price: Money | None,
        throttle: int | None = None,
        cap: Money | None = None,
        shares: tuple[Share, ...] = (),
    ) -> Spend:
        """The spend of one call of `tool` at that price."""
        if price is None:
            return cls(agent, tool.id, limits, None, "", throttle, shares, cap)
        return cls(agent, tool.id, limits, price.nanos, price.currency, throttle, shares, cap)

    @property
    def calls_per_minute(self) -> int:
        """The rate that counts."""
        own = self.limits.calls_per_minute
        return own if self.throttle is None else min(own, self.throttle)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Taken room, to be settled or released exactly once."""

    id: str
    agent: AgentId
    cost_nanos: int
    window: str
    """The budget window reserved in (`2026-11-22`, UTC day); settled in the same one."""
    currency: str = "USD"
    throttle: int | None = None
    """The rate it was counted at, if a restriction slowed it: a restart must not count it at a faster one."""
    shares: tuple[tuple[AgentId, int | None], ...] = ()
    """Who handed the work on, each with the throttle it was counted at: its budget holds the cost as well."""


@dataclass(frozen=True, slots=True)
class LimitRefusal:
    """No room: which limit, and when there may be again."""

    code: Code
    retry_after_s: float
    """0 when waiting alone changes nothing."""
    detail: str


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """How much of its limits an agent has used: what `limits show` shows."""

    agent: AgentId
    calls_per_minute: int
    calls_left: int
    """Calls that would be admitted this moment as far as the rate goes."""
    concurrency: int
    in_flight: int
    window: str
    cap: Money | None
    spent: Money
    open: Money
    """Reserved by calls that have not been settled yet; like `spent`, with what is made of work it handed on."""
    left: Money | None
