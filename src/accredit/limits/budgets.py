"""Budgets: reserve at admission, settle on usage, in the UTC day that the reservation was made in.

INVARIANT: as long as usage stays within what was reserved, spent + open never exceeds the cap, whatever the order of
reserving, settling and releasing. Usage beyond the reservation is booked in full: it happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from accredit.kernel.codes import Code
from accredit.kernel.money import Money
from accredit.limits.model import LimitRefusal

__all__ = ["Budget", "WindowSpend", "reserve", "settle", "window_of"]

DAY_US = 86_400_000_000
_RECORDABLE = 2**53  # the largest integer a record carries exactly
_OPEN_SHARE = 5  # one agent may hold a fifth of a shared budget in open reservations (DESIGN §3.13)


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap per UTC day: an agent's own, or one that several agents share."""

    cap: Money
    shared: bool = False


@dataclass(frozen=True, slots=True)
class WindowSpend:
    """What was spent and what is reserved in one window and currency."""

    window: str
    currency: str
    spent_nanos: int = 0
    open_nanos: int = 0


@lru_cache(maxsize=8)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY_US / 1_000_000, UTC).date().isoformat()


def window_of(wall_us: int) -> str:
    """The UTC day a moment belongs to."""
    return _day(wall_us // DAY_US)


def reserve(
    budget: Budget | None, state: WindowSpend, cost: Money | None, *, wall_us: int, held_nanos: int = 0
) -> WindowSpend | LimitRefusal:
    """Reserve `cost` in `state`; `held_nanos` is what the asking agent holds open of a shared budget already."""
    if cost is None:
        return LimitRefusal(Code.PRICE_MISSING, 0, "the tool has no registered price")
    if not 0 <= cost.nanos < _RECORDABLE:
        return LimitRefusal(Code.BUDGET_EXHAUSTED, 0, f"a price of {cost} cannot be recorded exactly")
    if budget is not None:
        cap = budget.cap
        if cost.currency != cap.currency:
            return LimitRefusal(
                Code.CURRENCY_MISMATCH, 0, f"the price is in {cost.currency}, the budget in {cap.currency}"
            )
        if cost.nanos > cap.nanos:
            return LimitRefusal(Code.BUDGET_EXHAUSTED, 0, f"one call costs {cost}, the budget is {cap} a day")
        left_s = (DAY_US - wall_us % DAY_US) / 1_000_000
        left = cap.nanos - state.spent_nanos - state.open_nanos
        if cost.nanos > left:
            left_text = Money(max(left, 0), cap.currency)
            return LimitRefusal(
                Code.BUDGET_EXHAUSTED, left_s, f"the call costs {cost}, {left_text} of {cap} a day are left"
            )
        if budget.shared and _OPEN_SHARE * (held_nanos + cost.nanos) > cap.nanos:
            return LimitRefusal(
                Code.BUDGET_EXHAUSTED, 1.0, f"one agent may hold a fifth of the shared {cap} in open calls"
            )
    return WindowSpend(state.window, state.currency, state.spent_nanos, state.open_nanos + cost.nanos)


def settle(state: WindowSpend, *, reserved_nanos: int, cost_nanos: int) -> WindowSpend:
    """Turn a reservation into what was really used; 0 gives it back."""
    assert 0 <= reserved_nanos <= state.open_nanos, "settled more than is open"  # noqa: S101 - a programming mistake
    assert cost_nanos >= 0, "a cost below zero"  # noqa: S101 - a programming mistake
    spent_nanos, open_nanos = state.spent_nanos + cost_nanos, state.open_nanos - reserved_nanos
    return WindowSpend(state.window, state.currency, spent_nanos, open_nanos)
