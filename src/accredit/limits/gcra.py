"""Rates: the generic cell rate algorithm, clock reading and state in, decision out.

One number per key says when the bucket will be full again (the theoretical arrival time); boot time in integer
microseconds, so no setting and no time source moves it. Law: of the calls that are not given back, no span of t
holds more than burst + rate·t. Calls of one key may come at different rates, if their bursts take equally long to fill:
each counts for its own interval, so a slowed call uses up more of the room of all.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rate", "RateDecision", "RateState", "admit", "count", "give_back"]

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` calls at once, one more every `interval_us`."""

    interval_us: int
    burst: int

    @classmethod
    def per_minute(cls, calls: int) -> Rate:
        """A minute's worth at once, handed out again evenly; intervals are rounded up, against the caller."""
        return cls(-(-_MINUTE_US // max(calls, 1)), max(calls, 0))


@dataclass(frozen=True, slots=True)
class RateState:
    """What is remembered of one key. A key whose `full_at_us` has passed need not be remembered."""

    full_at_us: int
    last_us: int
    """When the last call was admitted."""
    admitted: int
    """The newest call's mark: no more than `admitted - m` calls stand after mark m."""
    widest_us: int
    """The widest interval of a call since the bucket was last full: a restriction may have slowed some of them."""


@dataclass(frozen=True, slots=True)
class RateDecision:
    """Admitted with the new state, or refused with `state` None and a time to wait."""

    state: RateState | None
    remaining: int
    retry_after_us: int


def count(rate: Rate, state: RateState | None, now_us: int) -> RateState:
    """The state after one more call, room or not: for calls that were admitted before."""
    interval_us = rate.interval_us
    if state is None:
        return RateState(now_us + interval_us, now_us, 1, interval_us)
    now_us = max(now_us, state.last_us)  # threads read the clock before they get here, in any order
    if state.full_at_us <= now_us:
        return RateState(now_us + interval_us, now_us, state.admitted + 1, interval_us)
    widest_us = max(interval_us, state.widest_us)
    return RateState(state.full_at_us + interval_us, now_us, state.admitted + 1, widest_us)


def admit(rate: Rate, state: RateState | None, now_us: int) -> RateDecision:
    """Decide one call."""
    taken_us = 0 if state is None else max(state.full_at_us - max(now_us, state.last_us), 0)
    room_us = rate.burst * rate.interval_us - taken_us
    if room_us < rate.interval_us:
        return RateDecision(None, 0, rate.interval_us - room_us)
    return RateDecision(count(rate, state, now_us), room_us // rate.interval_us - 1, 0)


def give_back(rate: Rate, state: RateState, mark: int) -> RateState:
    """Undo the admission that left `mark` in `admitted`, as far as that cannot lend anybody a second call.

    With a_i the later admissions and n_i the calls from the i-th on, the state without this call is
    max(full_at - T, a_i + n_i·T). Handing back T blindly would forget the second term: a call given back after the
    bucket had filled again would let burst + 1 through at once. The bound used here, last + later·T with the widest T
    since the bucket was full, needs no history and is exact when the later calls came close together at one rate.
    """
    later = state.admitted - mark
    full_at_us = state.full_at_us - rate.interval_us
    if later > 0:
        full_at_us = min(state.full_at_us, max(full_at_us, state.last_us + later * state.widest_us))
    # the newest call's mark is free again; any other's stays counted, which errs against the caller
    return RateState(full_at_us, state.last_us, state.admitted - (later == 0), state.widest_us)
