"""What agents cost: shown, forecast and exported for showback."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import FastAPI, Query

from accredit.api.asking import Asking, Who
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.audit.model import UsageDay
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.kernel.money import Money
from accredit.monitoring.costs import CostBy, CostForecast, UnusualDay, cost_rows, forecast, month_days, unusual_days

__all__ = ["CostForecastShown", "CostShownRow", "CostsShown", "UnusualDayShown", "costs"]

_DAY_US = 86_400_000_000
_BEFORE = 42
"""Days before a month that forecasts and comparisons look at."""
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class CostShownRow:
    """What one agent, team, tool or day came to."""

    key: str
    name: str
    """Of an agent environment/name."""
    calls: int
    errors: int
    cost: str


@dataclass(frozen=True, slots=True)
class CostForecastShown:
    """What the month will come to if it goes on as it did."""

    so_far: str
    per_day: str
    month: str
    low: str
    high: str
    days: int
    """Whole days it rests on."""


@dataclass(frozen=True, slots=True)
class UnusualDayShown:
    """A day on which far more was spent than before."""

    day: str
    cost: str
    usual: str


@dataclass(frozen=True, slots=True)
class CostsShown:
    """A month's costs."""

    month: str
    by: str
    total: str
    """All rows together, and all that the log has of the agents asked about."""
    rows: list[CostShownRow]
    forecast: CostForecastShown
    unusual: list[UnusualDayShown]


def costs(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add this route."""

    @app.get("/api/v1/costs", response_model=CostsShown)
    async def costs(
        who: Who,
        month: Annotated[str | None, Query(pattern=r"^[0-9]{4}-[0-9]{2}$")] = None,
        by: CostBy = CostBy.AGENT,
        agent: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Json:
        today = plane.clock.now().wall_us // _DAY_US
        chosen = month or datetime.fromtimestamp(today * 86_400, UTC).strftime("%Y-%m")
        try:
            days = month_days(chosen)
        except ValueError as error:
            raise InvalidInputError(Code.BODY_MALFORMED, f"`{chosen}` is no month", hint="write 2026-11") from error
        named = asking.seen(who, agent).id if agent else None
        own = None if asking.sees_all(who) else {one.id for one in asking.visible(who)}
        found = await asyncio.to_thread(plane.log.usage, since_day=days[0] - _BEFORE, until_day=days[1], agent=named)
        return Json(_shown(plane, asking, [one for one in found if own is None or one.agent in own], chosen, by, today))


def _shown(
    plane: ControlPlane, asking: Asking, found: list[UsageDay], month: str, by: CostBy, today: int
) -> CostsShown:
    days, catalogue = month_days(month), plane.snapshots.current.catalogue

    def team_of(agent: str) -> str:
        known = catalogue.agent(AgentId(agent))
        return known.team.name if known is not None else ""

    inside = [one for one in found if days[0] <= one.day < days[1]]
    daily: defaultdict[int, int] = defaultdict(int)
    for one in found:
        daily[one.day] += one.usage.cost_nanos
    first = min(daily, default=today)
    rows = cost_rows(inside, by, team_of=team_of)
    return CostsShown(
        month=month,
        by=by.value,
        total=_money(sum(row.cost_nanos for row in rows)),
        rows=[
            CostShownRow(
                row.key,
                asking.name(AgentId(row.key)) or "" if by is CostBy.AGENT and row.key else row.key,
                row.calls,
                row.errors,
                _money(row.cost_nanos),
            )
            for row in rows
        ],
        forecast=_forecast(forecast(daily, today=today, month=days, since=first)),
        unusual=[
            _unusual(one) for one in unusual_days(daily, since=days[0], until=min(today + 1, days[1]), first=first)
        ],
    )


def _forecast(found: CostForecast) -> CostForecastShown:
    return CostForecastShown(
        _money(found.so_far_nanos),
        _money(found.per_day_nanos),
        _money(found.month_nanos),
        _money(found.low_nanos),
        _money(found.high_nanos),
        found.days,
    )


def _unusual(one: UnusualDay) -> UnusualDayShown:
    day = date.fromordinal(_EPOCH + one.day).isoformat()
    return UnusualDayShown(day, _money(one.cost_nanos), _money(one.usual_nanos))


def _money(nanos: int) -> str:
    return str(Money(nanos))
