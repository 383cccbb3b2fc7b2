"""Whether a look at a campaign was one: how people decided, not what. Pure.

Follows research/compliance-lifecycle.md §4.1. It is counted for everybody together and for each person by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.reviews.model import ROUTINE, ItemDecision, ItemVerdict, Seed

__all__ = ["BULK_PERCENT", "LEAST_MEDIAN_MS", "Carefulness", "carefulness", "careless"]

BULK_PERCENT: Final = 50
"""What share of what stands by itself may be kept in one breath with other things."""
LEAST_MEDIAN_MS: Final = 4_000
"""For how long people have what they decide on before them, in the middle."""


@dataclass(frozen=True, slots=True)
class Carefulness:
    """How a look went."""

    decisions: int
    bulk_percent: int
    median_view_ms: int
    seeded: int
    """Seeded permissions that were decided on,"""
    missed: int
    """and those of them that somebody kept."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Why it does not count; none: it does."""
        if not self.decisions:
            return ()
        return (
            *(("most was kept in bulk",) if self.bulk_percent > BULK_PERCENT else ()),
            *(("it was decided faster than it can be read",) if self.median_view_ms < LEAST_MEDIAN_MS else ()),
            *(("something that was never granted was kept",) if self.missed else ()),
        )


def carefulness(decisions: Iterable[tuple[AgentId, ItemDecision]], seeds: Iterable[Seed]) -> Carefulness:
    """How carefully a set of decisions was made; of several on one permission the last counts for seeds."""
    told = list(decisions)
    alone = [one for _, one in told if one.tool != ROUTINE]
    last = {(agent, one.tool): one.verdict for agent, one in told}
    answers = [last[seed.agent, seed.tool] for seed in seeds if (seed.agent, seed.tool) in last]
    return Carefulness(
        decisions=len(told),
        bulk_percent=sum(one.bulk for one in alone) * 100 // max(len(alone), 1),
        median_view_ms=int(median(one.view_ms for _, one in told)) if told else 0,
        seeded=len(answers),
        missed=sum(one is not ItemVerdict.REMOVE for one in answers),
    )


def careless(decisions: Iterable[tuple[AgentId, ItemDecision]], seeds: Iterable[Seed]) -> frozenset[PersonId]:
    """The people whose own decisions, taken by themselves, do not count."""
    told, planted = list(decisions), list(seeds)
    people = {one.by for _, one in told}
    return frozenset(
        person
        for person in people
        if carefulness([(agent, one) for agent, one in told if one.by == person], planted).flags
    )
