"""What agents cost: the daily roll-ups added up, what the month will come to, and days unlike the others. Pure.

Amounts are nano-units of what prices are registered in, added up whatever their currency. Days are whole ones since the
epoch, UTC.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from math import sqrt
from statistics import median
from typing import Final

from accredit.audit.model import UsageDay

__all__ = ["CostBy", "CostForecast", "CostRow", "UnusualDay", "cost_rows", "forecast", "month_days", "unusual_days"]

_LOOKED_AT: Final = 28
_LEAST_DAYS: Final = 14
_RATE_DAYS: Final = 14
_SPREADS: Final = 6.0
_NORMAL: Final = 1.4826
_Z: Final = 1.96
_EPOCH: Final = date(1970, 1, 1)


class CostBy(StrEnum):
    """What costs are added up by."""

    AGENT = "agent"
    TEAM = "team"
    TOOL = "tool"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one agent, team, tool or day came to."""

    key: str
    """An id; of a day its date. Empty: of no registered tool, or of an agent of no team that is known."""
    calls: int
    errors: int
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class CostForecast:
    """What a month will come to if it goes on as it did."""

    so_far_nanos: int
    """Today included, as far as it went."""
    per_day_nanos: int
    """Mean of the last 14 whole days, or of as many as there are."""
    month_nanos: int
    low_nanos: int
    high_nanos: int
    """95 % if days are independent of each other."""
    days: int
    """Whole days it rests on; with none it is what was spent."""


@dataclass(frozen=True, slots=True)
class UnusualDay:
    """A day on which far more was spent than on those before it."""

    day: int
    cost_nanos: int
    usual_nanos: int
    """The median of the 28 days before it."""


def month_days(month: str) -> tuple[int, int]:
    """The first day of a month, and the first of the next.

    Raises:
        ValueError: it is not written `2026-11`.
    """
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).date()
    begin = (first - _EPOCH).days
    return begin, begin + monthrange(first.year, first.month)[1]


def cost_rows(days: Iterable[UsageDay], by: CostBy, *, team_of: Callable[[str], str]) -> tuple[CostRow, ...]:
    """One row for each, the dearest first; of days in their order. Together they are all there is."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for day in days:
        match by:
            case CostBy.AGENT:
                key = day.agent
            case CostBy.TEAM:
                key = team_of(day.agent)
            case CostBy.TOOL:
                key = day.tool
            case CostBy.DAY:
                key = date.fromordinal(_EPOCH.toordinal() + day.day).isoformat()
        sums = found[key]
        sums[0] += day.usage.allows
        sums[1] += day.usage.errors
        sums[2] += day.usage.cost_nanos
    rows = (CostRow(key, *sums) for key, sums in found.items())
    if by is CostBy.DAY:
        return tuple(sorted(rows, key=lambda one: one.key))
    return tuple(sorted(rows, key=lambda one: (-one.cost_nanos, one.key)))


def forecast(daily: Mapping[int, int], *, today: int, month: tuple[int, int], since: int) -> CostForecast:
    """What a month comes to by its end; `daily` is cost by day, `since` the first day that anything could be spent.

    Of a month that is over it is what was spent, of one to come what its days would cost.
    """
    begin, end = month
    spent = sum(cost for day, cost in daily.items() if begin <= day < end)
    whole = [daily.get(day, 0) for day in range(max(since, today - _RATE_DAYS), today)]
    if today >= end or not whole:
        return CostForecast(spent, 0, spent, spent, spent, 0)
    mean = sum(whole) / len(whole)
    spread = sqrt(sum((one - mean) ** 2 for one in whole) / max(len(whole) - 1, 1))
    # today counts as a whole day once it is over; until then as what was spent, if that is more than the mean
    left = end - max(today, begin)
    before = sum(cost for day, cost in daily.items() if begin <= day < min(today, end))
    now = daily.get(today, 0) if begin <= today < end else 0
    rest = max(mean * left, now + mean * (left - 1)) if now else mean * left
    # of the mean that is estimated, and of the days to come
    half = _Z * spread * sqrt(left + left * left / len(whole))
    middle = before + rest
    return CostForecast(
        so_far_nanos=spent,
        per_day_nanos=round(mean),
        month_nanos=round(middle),
        low_nanos=max(spent, round(middle - half)),
        high_nanos=round(middle + half),
        days=len(whole),
    )


def unusual_days(daily: Mapping[int, int], *, since: int, until: int, first: int) -> tuple[UnusualDay, ...]:
    """Days since <= day < until that are at least twice the median of the 28 before them, and 6 spreads (MAD) above.

    `first` is the first day that anything could be spent: before there are 14 days to compare with, none is unusual.
    """
    found = []
    for day in range(since, until):
        before = [daily.get(one, 0) for one in range(max(first, day - _LOOKED_AT), day)]
        if len(before) < _LEAST_DAYS:
            continue
        usual = median(before)
        spread = _NORMAL * median(abs(one - usual) for one in before)
        cost = daily.get(day, 0)
        if cost > max(2 * usual, usual + _SPREADS * spread) and cost > max(before):
            found.append(UnusualDay(day, cost, round(usual)))
    return tuple(found)
