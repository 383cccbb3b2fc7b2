"""Of many agents that are watched at once, whose alarms count: false discoveries are held down over the fleet. Pure.

With a thousand agents, a detector that raises one false alarm in a thousand sessions raises one for every session that
each of them has. Each agent's statistic is an e-detector, so the rule of Benjamini and Hochberg for e-values can be
asked at any time, however the agents depend on each other (Dandapanthula and Ramdas, "Multiple testing in multi-stream
sequential change detection", arXiv 2501.04130, e-d-BH): of N agents the k with the largest statistics count, for the
largest k of which the smallest is at least N / (rate k). The expected share of false ones among those that count, over
the expected sessions of whoever waits for it, is at most `rate`. One agent alone counts at 1 / rate, as if it were the
only one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import log10
from typing import Final, TypeVar

__all__ = ["DEFAULT_THRESHOLD", "FLEET_RATE", "confirmed"]

DEFAULT_THRESHOLD: Final = 2.3
"""200 sessions at least between false alarms by what is proven; on recorded agents less than one in 1,000 sessions."""
FLEET_RATE: Final = 0.005
"""The level of one agent alone is 200, as the built-in detector's own."""

_Key = TypeVar("_Key", bound=Hashable)


def confirmed(stats: Mapping[_Key, float], *, rate: float = FLEET_RATE, among: int = 0) -> frozenset[_Key]:
    """The agents whose statistic (a decimal logarithm, as `Reading.stat`) counts among all that are watched.

    Those whose statistic is below 1 / rate count only together with everybody: they may be left out of `stats` and
    counted in `among`, the number of all agents.
    """
    ordered = sorted(stats.items(), key=lambda one: -one[1])
    level = log10(max(len(ordered), among, 1) / rate)
    last = 0
    for number, (_, stat) in enumerate(ordered, 1):
        if stat >= level - log10(number):
            last = number
    return frozenset(key for key, _ in ordered[:last])
