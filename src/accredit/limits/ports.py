"""Who keeps the counters. A store makes each step atomic; what a step decides is in `counters` and `gcra`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from accredit.kernel.clock import Instant
from accredit.kernel.ids import AgentId
from accredit.limits.budgets import Budget
from accredit.limits.counters import AgentCounters
from accredit.limits.folding import FoldedCounters
from accredit.limits.gcra import Rate
from accredit.limits.model import LimitRefusal, Reservation, Spend

__all__ = ["Attempt", "AttemptKind", "CounterStore"]


class AttemptKind(StrEnum):
    """What an attempt is counted against. The kinds never share a bucket."""

    CREDENTIAL = "credential"
    SOURCE = "source"
    UNAUTHENTICATED = "unauthenticated"
    """A source of attempts that proved nobody: its flood must not lock out agents at the same address."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One bucket that an attempt needs room in."""

    kind: AttemptKind
    name: str
    rate: Rate


class CounterStore(Protocol):
    """Keeps counters. Calls, not awaits: one shared by replicas spends a locally leased share.

    Every method may raise UnavailableError; the caller then refuses the call (`limits_unavailable`).
    """

    def attempt(self, attempts: Sequence[Attempt], now: Instant) -> LimitRefusal | None:
        """Count one attempt in every bucket, or in none and say which was full."""
        ...

    def reserve(
        self, spend: Spend, *, budgets: Sequence[Budget | None], reservation_id: str, now: Instant
    ) -> Reservation | LimitRefusal:
        """Do `counters.take`, and `counters.take_share` for each share, atomically: all of it or nothing.

        `budgets` are the agent's own, then those of the shares, in their order.
        """
        ...

    def close(self, reservation_id: str, *, cost_nanos: int | None) -> bool:
        """Do `counters.close`, and `counters.close_share`, once; False, and nothing done, if it is not open."""
        ...

    def counters(self, agent: AgentId) -> AgentCounters:
        """The agent's counters now."""
        ...

    def open_reservations(self) -> Sequence[Reservation]:
        """What is neither settled nor released."""
        ...

    def restore(self, folded: FoldedCounters) -> None:
        """Put the fold of the log in the place of everything counted for agents."""
        ...
