"""Whether a share rose: of calls that are refused, fail, or are made again. A sequential test with a stated rate. Pure.

Bernoulli CUSUM (Page 1954). After each call the statistic is `max(0, S + ln(p1/p0))` if it was one of those looked for,
else `max(0, S + ln((1-p1)/(1-p0)))`, and an alarm is raised at `S >= h = ln(ONE_IN)`. As long as calls are independent
of each other and come out so with probability p0 at most, there are on average at least `e^h = ONE_IN` calls between
two false alarms (Lorden 1971), whatever p1 is. p1 is the share it is quickest to find.

p0 is not known but bounded: by the upper end of the Wilson interval, at 99 %, of the agent's own last 30 days, today
left out. So in one agent of a hundred p0 may be larger than the bound, and calls that fail together are not
independent: an outage of a tool server is an alarm, and is meant to be. With few calls behind it the bound is near 1,
and nothing is found: an agent is learned first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["ONE_IN", "Rise", "rise_over"]

ONE_IN: Final = 1_000_000
"""Calls of an agent between two false alarms of one rule, on average, at least."""
_Z: Final = 2.326
"""Upper 99 % of the normal distribution."""
_LEAST: Final = 0.01
"""No share is taken to be less likely than this, however long nothing of it was seen."""
_MOST: Final = 0.8
"""Above it a rise would tell nobody anything."""
_TIMES: Final = 4.0
_MORE: Final = 0.25
_HIGHEST: Final = 0.97


@dataclass(frozen=True, slots=True)
class Rise:
    """The test for one agent and one share."""

    p0: float
    """Up to this it is as usual."""
    p1: float
    """What is looked for."""

    def step(self, statistic: float, *, hit: bool, count: int = 1) -> float:
        """The statistic after as many more calls that came out so."""
        change = math.log(self.p1 / self.p0) if hit else math.log((1 - self.p1) / (1 - self.p0))
        # no bound beyond what alarms: one flood does not outweigh an hour
        return min(max(0.0, statistic + change * count), 2 * math.log(ONE_IN))

    @staticmethod
    def alarms(statistic: float) -> bool:
        """Whether it rose."""
        return statistic >= math.log(ONE_IN)


def rise_over(hits: int, calls: int) -> Rise | None:
    """The test against a history of so many calls; None: too few are known, or too many came out so."""
    if calls <= 0:
        return None
    share = min(max(hits / calls, 0.0), 1.0)
    middle = share + _Z * _Z / (2 * calls)
    spread = _Z * math.sqrt(share * (1 - share) / calls + _Z * _Z / (4 * calls * calls))
    p0 = max((middle + spread) / (1 + _Z * _Z / calls), _LEAST)
    if p0 > _MOST:
        return None
    return Rise(p0, min(max(_TIMES * p0, p0 + _MORE), _HIGHEST))
