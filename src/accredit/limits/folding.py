"""Counters as a fold of the log: what the records of decisions and outcomes say was taken and used.

A decision record's body carries `reservation: {id, cost, currency, window, throttle?, shares?}`, an outcome's
`settled: {id, cost}`. INVARIANT: the fold of what is durable is never laxer than what was acknowledged: a decision
without its outcome counts in full (rate, concurrency and money) until somebody closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from accredit.kernel.clock import Instant
from accredit.kernel.ids import AgentId
from accredit.limits import gcra
from accredit.limits.budgets import WindowSpend
from accredit.limits.counters import AgentCounters, OpenReservation, OpenShare, close, close_share, spend_in, with_spend
from accredit.limits.gcra import Rate
from accredit.limits.model import Reservation

__all__ = [
    "FoldedCounters",
    "ReservedFact",
    "SettledFact",
    "fold",
    "fold_decision",
    "fold_outcome",
    "fold_share",
    "reservation_fact",
    "settled_fact",
]


@dataclass(frozen=True, slots=True)
class ReservedFact:
    """A decision record's reservation and the record's time."""

    reservation: Reservation
    time_us: int

    @classmethod
    def read(cls, body: Mapping[str, Any], *, agent: str, time_us: int) -> ReservedFact | None:
        """Read a decision record; None if it reserved nothing."""
        fact = body.get("reservation")
        if fact is None:
            return None
        throttle = fact.get("throttle")
        return cls(
            Reservation(
                fact["id"],
                AgentId(agent),
                fact["cost"],
                fact["window"],
                fact["currency"],
                throttle,
                tuple((AgentId(name), slowed) for name, slowed in fact.get("shares", ())),
            ),
            time_us,
        )


@dataclass(frozen=True, slots=True)
class SettledFact:
    """An outcome record's settlement."""

    id: str
    cost_nanos: int

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> SettledFact | None:
        """Read an outcome record; None if it settles nothing."""
        fact = body.get("settled")
        return None if fact is None else cls(fact["id"], fact["cost"])


@dataclass(frozen=True, slots=True)
class FoldedCounters:
    """Every agent's counters and what is still open."""

    counters: Mapping[AgentId, AgentCounters]
    open: Mapping[str, OpenReservation]


def reservation_fact(reservation: Reservation) -> dict[str, Any]:
    """What a decision record's body carries as `reservation`."""
    fact: dict[str, Any] = {
        "id": reservation.id,
        "cost": reservation.cost_nanos,
        "currency": reservation.currency,
        "window": reservation.window,
    }
    if reservation.shares:
        fact["shares"] = [[agent, throttle] for agent, throttle in reservation.shares]
    return fact if reservation.throttle is None else {**fact, "throttle": reservation.throttle}


def settled_fact(reservation: Reservation, cost_nanos: int) -> dict[str, Any]:
    """What an outcome record's body carries as `settled`."""
    return {"id": reservation.id, "cost": cost_nanos}


def fold_decision(
    counters: AgentCounters, fact: ReservedFact, *, rate: Rate, now: Instant
) -> tuple[AgentCounters, OpenReservation]:
    """Count a recorded reservation, room or not: it was admitted."""
    reservation = fact.reservation
    if reservation.throttle is not None:
        slowed = Rate.per_minute(reservation.throttle)
        rate = slowed if slowed.interval_us > rate.interval_us else rate
    state = gcra.count(rate, counters.rate, _counted_at(fact, now))
    return (
        AgentCounters(state, counters.in_flight + 1, _opened(counters, reservation)),
        OpenReservation(reservation, rate, state.admitted),
    )


def fold_share(
    counters: AgentCounters, fact: ReservedFact, agent: AgentId, throttle: int | None, *, rate: Rate, now: Instant
) -> tuple[AgentCounters, OpenShare]:
    """Count what a recorded reservation took of an agent that handed the work on."""
    state, slowed = counters.rate, None
    if throttle is not None:
        slowed = Rate.per_minute(throttle)
        slowed = slowed if slowed.interval_us > rate.interval_us else rate
        state = gcra.count(slowed, state, _counted_at(fact, now))
    mark = state.admitted if state is not None else 0
    counted = AgentCounters(state, counters.in_flight, _opened(counters, fact.reservation))
    return counted, OpenShare(agent, slowed, mark)


def _counted_at(fact: ReservedFact, now: Instant) -> int:
    # boot time does not survive a restart: the record's age is known by the wall clock, and never below zero
    return now.boot_us - max(now.wall_us - fact.time_us, 0)


def _opened(counters: AgentCounters, reservation: Reservation) -> tuple[WindowSpend, ...]:
    spend = spend_in(counters, reservation.window, reservation.currency)
    return with_spend(counters, replace(spend, open_nanos=spend.open_nanos + reservation.cost_nanos))


def fold_outcome(counters: AgentCounters, opened: OpenReservation, fact: SettledFact) -> AgentCounters:
    """Settle a recorded reservation at the recorded cost."""
    return close(counters, opened, cost_nanos=fact.cost_nanos)


def fold(
    facts: Iterable[ReservedFact | SettledFact], *, rate_of: Callable[[AgentId], Rate], now: Instant
) -> FoldedCounters:
    """Fold records in log order.

    The records may start anywhere at or before the present UTC day's first: a settlement of something not seen belongs
    to a window that is over.
    """
    counters: dict[AgentId, AgentCounters] = {}
    opened: dict[str, OpenReservation] = {}
    for fact in facts:
        if isinstance(fact, ReservedFact):
            agent = fact.reservation.agent
            before = counters.get(agent, AgentCounters())
            counters[agent], one = fold_decision(before, fact, rate=rate_of(agent), now=now)
            shares = []
            for name, throttle in fact.reservation.shares:
                before = counters.get(name, AgentCounters())
                counters[name], share = fold_share(before, fact, name, throttle, rate=rate_of(name), now=now)
                shares.append(share)
            opened[fact.reservation.id] = replace(one, shares=tuple(shares))
        elif (known := opened.pop(fact.id, None)) is not None:
            agent = known.reservation.agent
            counters[agent] = fold_outcome(counters[agent], known, fact)
            for share in known.shares:
                before = counters[share.agent]
                counters[share.agent] = close_share(before, share, known.reservation, cost_nanos=fact.cost_nanos)
    return FoldedCounters(counters, opened)
