"""Counters in this process: also the embedded implementation, because counters are a fold of the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from threading import Lock

from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId
from accredit.limits import gcra
from accredit.limits.budgets import Budget
from accredit.limits.counters import (
    AgentCounters,
    OpenReservation,
    OpenShare,
    close,
    close_share,
    idle,
    take,
    take_share,
)
from accredit.limits.folding import FoldedCounters
from accredit.limits.gcra import RateState
from accredit.limits.model import LimitRefusal, Reservation, Spend
from accredit.limits.ports import Attempt

__all__ = ["MemoryCounterStore"]

_NOTHING = AgentCounters()
_SWEPT = 2  # entries looked at per call: more than one, so that idle ones leave faster than new ones come


class MemoryCounterStore:
    """A `CounterStore` in dicts under one lock.

    Attempt buckets are bounded by `capacity`: beyond it, newcomers share one bucket per kind, which is stricter.
    """

    def __init__(self, *, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._agents: OrderedDict[AgentId, AgentCounters] = OrderedDict()
        self._open: dict[str, OpenReservation] = {}
        self._attempts: OrderedDict[tuple[str, str | None], RateState] = OrderedDict()

    def __len__(self) -> int:
        """How many agents and attempt buckets are remembered."""
        return len(self._agents) + len(self._attempts)

    def attempt(self, attempts: Sequence[Attempt], now: Instant) -> LimitRefusal | None:
        with self._lock:
            self._sweep_attempts(now)
            counted: list[tuple[tuple[str, str | None], RateState]] = []
            for one in attempts:
                key: tuple[str, str | None] = (one.kind, one.name)
                if key not in self._attempts and len(self._attempts) >= self._capacity:
                    key = (one.kind, None)
                decided = gcra.admit(one.rate, self._attempts.get(key), now.boot_us)
                if decided.state is None:
                    return LimitRefusal(
                        Code.ATTEMPTS_LIMITED,
                        decided.retry_after_us / 1_000_000,
                        f"too many attempts of this {one.kind.replace('unauthenticated', 'source')}",
                    )
                counted.append((key, decided.state))
            for key, state in counted:
                self._attempts[key] = state
                self._attempts.move_to_end(key)
            return None

    def reserve(
        self, spend: Spend, *, budgets: Sequence[Budget | None], reservation_id: str, now: Instant
    ) -> Reservation | LimitRefusal:
        with self._lock:
            self._sweep_agents(now)
            own = self._agents.get(spend.agent, _NOTHING)
            taken = take(own, spend, budget=budgets[0], reservation_id=reservation_id, now=now)
            if isinstance(taken, LimitRefusal):
                return taken
            counted, shares = {spend.agent: taken.counters}, list[OpenShare]()
            for share, budget in zip(spend.shares, budgets[1:], strict=True):
                before = counted.get(share.agent) or self._agents.get(share.agent, _NOTHING)
                shared = take_share(before, share, spend, budget=budget, now=now)
                if isinstance(shared, LimitRefusal):
                    return shared
                counted[share.agent], part = shared
                shares.append(part)
            self._agents.update(counted)
            self._open[reservation_id] = replace(taken.open, shares=tuple(shares)) if shares else taken.open
            return taken.open.reservation

    def close(self, reservation_id: str, *, cost_nanos: int | None) -> bool:
        with self._lock:
            taken = self._open.get(reservation_id)
            if taken is None:
                return False
            agent = taken.reservation.agent
            self._agents[agent] = close(self._agents[agent], taken, cost_nanos=cost_nanos)
            for share in taken.shares:
                before = self._agents.get(share.agent, _NOTHING)  # one that cost nothing may be forgotten meanwhile
                self._agents[share.agent] = close_share(before, share, taken.reservation, cost_nanos=cost_nanos)
            del self._open[reservation_id]
            return True

    def counters(self, agent: AgentId) -> AgentCounters:
        with self._lock:
            return self._agents.get(agent, _NOTHING)

    def open_reservations(self) -> Sequence[Reservation]:
        with self._lock:
            return [taken.reservation for taken in self._open.values()]

    def restore(self, folded: FoldedCounters) -> None:
        with self._lock:
            self._agents = OrderedDict(folded.counters)
            self._open = dict(folded.open)

    def _sweep_attempts(self, now: Instant) -> None:
        for key in list(islice(self._attempts, _SWEPT)):
            if self._attempts[key].full_at_us <= now.boot_us:
                del self._attempts[key]
            else:
                self._attempts.move_to_end(key)

    def _sweep_agents(self, now: Instant) -> None:
        for agent in list(islice(self._agents, _SWEPT)):
            left = idle(self._agents.pop(agent), now)
            if left is not None:
                self._agents[agent] = left
