"""Which schedule an agent is reviewed by, and when its next review is due. Pure.

Of several schedules that select an agent the one that asks most often counts, so a schedule can only add reviews.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from accredit.registry.model import Agent, ReviewSchedule, SeasonalUse, Tier

__all__ = ["BUILT_IN", "due_us", "months_of", "schedule_of", "seasonal", "selects"]

BUILT_IN: Final = ReviewSchedule("", months={Tier.LOW: 12, Tier.MEDIUM: 6, Tier.HIGH: 3})
"""What holds where no schedule says anything."""
_DAY_US: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1)


def selects(schedule: ReviewSchedule, agent: Agent, tier: Tier | None) -> bool:
    """Whether a schedule is about an agent. One of which nobody knows the tier counts as high."""
    service = agent.version.manifest["spec"]["businessService"]
    return (
        (not schedule.teams or agent.team.name in schedule.teams)
        and (not schedule.tiers or (tier or Tier.HIGH) in schedule.tiers)
        and (not schedule.agents or agent.name in schedule.agents)
        and (not schedule.services or service in schedule.services)
    )


def months_of(schedule: ReviewSchedule, tier: Tier | None) -> int:
    """How many months lie between two reviews of an agent of that tier."""
    known = tier or Tier.HIGH
    return min(schedule.months.get(known, BUILT_IN.months[known]), BUILT_IN.months[known])


def schedule_of(agent: Agent, tier: Tier | None, schedules: Iterable[ReviewSchedule]) -> ReviewSchedule:
    """The schedule that an agent is reviewed by."""
    chosen = [one for one in schedules if selects(one, agent, tier)]
    return min(chosen, key=lambda one: (months_of(one, tier), one.respond_days, one.name), default=BUILT_IN)


def seasonal(agent: Agent, tier: Tier | None, schedules: Iterable[ReviewSchedule]) -> dict[str, SeasonalUse]:
    """The tools that are used in seasons, by any schedule that is about the agent; the shortest season counts."""
    found: dict[str, SeasonalUse] = {}
    for schedule in schedules:
        if selects(schedule, agent, tier):
            for one in schedule.seasonal:
                known = found.get(one.tool)
                if known is None or one.every_months < known.every_months:
                    found[one.tool] = one
    return found


def due_us(last_us: int, months: int, day: int) -> int:
    """The start (UTC) of that day of the month, so many months after the one in which the last review was."""
    last = datetime.fromtimestamp(last_us / 1_000_000, UTC).date()
    number = last.year * 12 + last.month - 1 + months
    year, month = divmod(number, 12)
    at = date(year, month + 1, min(day, calendar.monthrange(year, month + 1)[1]))
    if at <= last:  # a review in the last days of a month, and one month between two
        at = last + timedelta(days=1)
    return (at - _EPOCH).days * _DAY_US
