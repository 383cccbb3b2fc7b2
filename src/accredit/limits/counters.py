"""One agent's counters as a value, and the one step that takes rate, concurrency and budget together.

Because the counters are immutable, a refusal at any stage undoes all: nothing was written. A store keeps the value
and makes the step atomic; it decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId
from accredit.kernel.money import Money
from accredit.limits import budgets, gcra
from accredit.limits.budgets import DAY_US, Budget, WindowSpend, window_of
from accredit.limits.gcra import Rate, RateState
from accredit.limits.model import LimitRefusal, Reservation, Share, Spend

__all__ = [
    "AgentCounters",
    "OpenReservation",
    "OpenShare",
    "Taken",
    "close",
    "close_share",
    "idle",
    "spend_in",
    "take",
    "take_share",
    "with_spend",
]

_WINDOWS = 3  # today's, one still settling, and one a clock step may return to


@dataclass(frozen=True, slots=True)
class AgentCounters:
    """Everything counted for one agent."""

    rate: RateState | None = None
    in_flight: int = 0
    """Open reservations."""
    windows: tuple[WindowSpend, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenShare:
    """What a reservation took of an agent that handed the work on."""

    agent: AgentId
    rate: Rate | None
    """None: nothing slowed it, so no place in its rate was taken."""
    mark: int


@dataclass(frozen=True, slots=True)
class OpenReservation:
    """A reservation and what is needed to give its place in the rate back."""

    reservation: Reservation
    rate: Rate
    mark: int
    shares: tuple[OpenShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """Room was taken: the counters after it, and what to settle or give back."""

    counters: AgentCounters
    open: OpenReservation


def spend_in(counters: AgentCounters, window: str, currency: str) -> WindowSpend:
    """What the agent spent and holds open in a window."""
    for spend in counters.windows:
        if spend.window == window and spend.currency == currency:
            return spend
    return WindowSpend(window, currency)


def with_spend(counters: AgentCounters, spend: WindowSpend) -> tuple[WindowSpend, ...]:
    """The windows with one replaced. Old ones are dropped, but never one that still has something open."""
    others = [one for one in counters.windows if (one.window, one.currency) != (spend.window, spend.currency)]
    if not others:
        return (spend,)
    kept = sorted([*others, spend], key=lambda one: (one.window, one.currency))
    days = sorted({one.window for one in kept})[-_WINDOWS:]
    return tuple(one for one in kept if one.open_nanos or one.window in days)


def take(
    counters: AgentCounters, spend: Spend, *, budget: Budget | None, reservation_id: str, now: Instant
) -> Taken | LimitRefusal:
    """Take room for one call, in the order rate, concurrency, budget (DESIGN §3.13)."""
    limits, per_minute = spend.limits, spend.calls_per_minute
    rate = Rate.per_minute(per_minute)
    admitted = gcra.admit(rate, counters.rate, now.boot_us)
    if admitted.state is None:
        return LimitRefusal(Code.RATE_LIMITED, admitted.retry_after_us / 1_000_000, f"{per_minute} calls a minute")
    if counters.in_flight >= limits.concurrency:
        return LimitRefusal(Code.CONCURRENCY_LIMITED, 1.0, f"{limits.concurrency} calls at a time")
    window = window_of(now.wall_us)
    cost = None if spend.cost_nanos is None else Money(spend.cost_nanos, spend.currency)
    reserved = budgets.reserve(budget, spend_in(counters, window, spend.currency), cost, wall_us=now.wall_us)
    if isinstance(reserved, LimitRefusal):
        return reserved
    cost_nanos = spend.cost_nanos or 0  # a missing price was refused just now
    return Taken(
        AgentCounters(admitted.state, counters.in_flight + 1, with_spend(counters, reserved)),
        OpenReservation(
            Reservation(
                reservation_id,
                spend.agent,
                cost_nanos,
                window,
                spend.currency,
                spend.throttle,
                tuple((share.agent, share.throttle) for share in spend.shares),
            ),
            rate,
            admitted.state.admitted,
        ),
    )


def take_share(
    counters: AgentCounters, share: Share, spend: Spend, *, budget: Budget | None, now: Instant
) -> tuple[AgentCounters, OpenShare] | LimitRefusal:
    """Take room for a call in the throttle and budget of an agent that handed the work on."""
    whose, rate, state = f"of `{share.name}`, who handed the work on", None, counters.rate
    if share.throttle is not None:
        per_minute = min(share.limits.calls_per_minute, share.throttle)
        rate = Rate.per_minute(per_minute)
        admitted = gcra.admit(rate, state, now.boot_us)
        if admitted.state is None:
            retry_after_s = admitted.retry_after_us / 1_000_000
            return LimitRefusal(Code.RATE_LIMITED, retry_after_s, f"{per_minute} calls a minute {whose}")
        state = admitted.state
    cost = None if spend.cost_nanos is None else Money(spend.cost_nanos, spend.currency)
    before = spend_in(counters, window_of(now.wall_us), spend.currency)
    reserved = budgets.reserve(budget, before, cost, wall_us=now.wall_us)
    if isinstance(reserved, LimitRefusal):
        return replace(reserved, detail=f"{reserved.detail}: {whose}")
    mark = state.admitted if state is not None else 0
    return (
        AgentCounters(state, counters.in_flight, with_spend(counters, reserved)),
        OpenShare(share.agent, rate, mark),
    )


def close_share(
    counters: AgentCounters, share: OpenShare, reservation: Reservation, *, cost_nanos: int | None
) -> AgentCounters:
    """Settle an agent's share of a reservation, or with None give it back; as `close`."""
    rate = counters.rate
    if cost_nanos is None and rate is not None and share.rate is not None:
        rate = gcra.give_back(share.rate, rate, share.mark)
    return AgentCounters(rate, counters.in_flight, with_spend(counters, _settled(counters, reservation, cost_nanos)))


def _settled(counters: AgentCounters, reservation: Reservation, cost_nanos: int | None) -> WindowSpend:
    return budgets.settle(
        spend_in(counters, reservation.window, reservation.currency),
        reserved_nanos=reservation.cost_nanos,
        cost_nanos=cost_nanos or 0,
    )


def close(counters: AgentCounters, taken: OpenReservation, *, cost_nanos: int | None) -> AgentCounters:
    """Settle at `cost_nanos`, or with None give everything back, the place in the rate included."""
    reservation = taken.reservation
    rate = counters.rate
    if cost_nanos is None and rate is not None:
        rate = gcra.give_back(taken.rate, rate, taken.mark)
    settled = _settled(counters, reservation, cost_nanos)
    return AgentCounters(rate, counters.in_flight - 1, with_spend(counters, settled))


def idle(counters: AgentCounters, now: Instant) -> AgentCounters | None:
    """The counters without what time has made irrelevant; None if nothing is left to remember."""
    # a share of a reservation is open money without a call in flight
    opened = counters.in_flight or any(one.open_nanos for one in counters.windows)
    if opened or (counters.rate is not None and counters.rate.full_at_us > now.boot_us):
        return counters
    yesterday = window_of(now.wall_us - DAY_US)  # kept for a clock that steps back over midnight
    windows = tuple(one for one in counters.windows if one.window >= yesterday and one.spent_nanos)
    return AgentCounters(windows=windows) if windows else None
