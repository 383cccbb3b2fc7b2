"""When an agent is at work, and how often it makes a call again: what an unusual hour and retries are held against.

Rows that the log proves, one per agent, so a restart forgets nothing. They change at most once an hour for an agent
that is active. Hours are of UTC, the newest day of each is kept.

An hour is new if the agent was at work in neither it nor its neighbours in the last 30 days, and is known well enough:
on at least 14 different days of those. The rule counts hours and estimates nothing; what it costs in false alarms is
that an agent whose days begin or end within one new hour in n days is told of once, and never for that hour again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["NO_HABITS", "Habits", "habits_doc", "habits_from"]

_DAY_US: Final = 86_400_000_000
_HOUR_US: Final = 3_600_000_000
KNOWN_DAYS: Final = 14
_WINDOW_DAYS: Final = 30
_MOST_CALLS: Final = 10_000
"""Calls behind the share of those that are made again; older ones weigh less."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Of one agent."""

    hours: tuple[int, ...] = (-1,) * 24
    """By hour of the day: the newest day (whole days since the epoch) with a call in it; -1: none."""
    days: tuple[int, ...] = ()
    """Days with a call, the newest ones."""
    calls: int = 0
    again: int = 0
    """How many of the calls were made before in their session."""

    def usual(self, at_us: int) -> bool | None:
        """Whether it is at work at this hour; None: not known well enough."""
        day, hour = at_us // _DAY_US, at_us % _DAY_US // _HOUR_US
        since = day - _WINDOW_DAYS
        if sum(since <= one < day for one in self.days) < KNOWN_DAYS:
            return None
        return any(self.hours[(hour + near) % 24] >= since for near in (-1, 0, 1))

    def seen(self, at_us: int) -> Habits:
        """After a call at that time; itself if nothing is new in that. What is older than known is nothing new."""
        day, hour = at_us // _DAY_US, at_us % _DAY_US // _HOUR_US
        if self.hours[hour] >= day:
            return self
        hours = (*self.hours[:hour], day, *self.hours[hour + 1 :])
        days = self.days if day in self.days else tuple(sorted((*self.days, day)))[-_WINDOW_DAYS:]
        return replace(self, hours=hours, days=days)

    def counted(self, *, again: bool) -> Habits:
        """After one more call, which was made before or was not."""
        if self.calls >= _MOST_CALLS:
            return replace(self, calls=self.calls // 2 + 1, again=self.again // 2 + again)
        return replace(self, calls=self.calls + 1, again=self.again + again)


NO_HABITS: Final = Habits()


def habits_doc(habits: Habits) -> dict[str, Any]:
    """As a row."""
    return {"again": habits.again, "calls": habits.calls, "days": list(habits.days), "hours": list(habits.hours)}


def habits_from(doc: Mapping[str, Any]) -> Habits:
    """From a row."""
    return Habits(tuple(doc["hours"]), tuple(doc["days"]), doc["calls"], doc["again"])
