"""Operating hours: half-open minutes of the day on named weekdays in one IANA zone (DESIGN §8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["DAYS", "Hours", "LocalTime", "local_time", "zone"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTES = 24 * 60


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        InvalidInputError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(
            Code.MANIFEST_INVALID,
            f"`{name[:60]}` is not an IANA time zone",
            hint="for example `Europe/Berlin`",
            cause=repr(error),
        ) from error


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A moment as a wall clock in some zone shows it."""

    minute: int
    """Minute of the day, 0 to 1439."""
    day: str
    """Weekday, `mon` to `sun`."""
    date: str
    """`YYYY-MM-DD`."""


def local_time(wall_us: int, zone_name: str) -> LocalTime:
    """What a wall clock in that zone shows at a moment."""
    return _local_minute(wall_us // 60_000_000, zone_name)


@lru_cache(maxsize=256)
def _local_minute(minute: int, zone_name: str) -> LocalTime:
    moment = (_EPOCH + timedelta(minutes=minute)).astimezone(zone(zone_name))
    return LocalTime(moment.hour * 60 + moment.minute, DAYS[moment.weekday()], moment.date().isoformat())


@dataclass(frozen=True, slots=True)
class Hours:
    """From `start` up to but not including `end`; `end` at or before `start` runs over midnight.

    The days name when a window begins: `fri 22:00-02:00` includes Saturday 01:00 and not Friday 01:00.
    """

    start: int
    end: int
    days: frozenset[str]
    zone: str

    @classmethod
    def parse(cls, window: str, days: list[str], zone_name: str) -> Hours:
        """Read a manifest's `hours`.

        Raises:
            InvalidInputError: window, days or zone have another form, or the window is empty.
        """
        match = _WINDOW.fullmatch(window)
        start, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
        if match is None or end > _MINUTES or start == end:
            raise InvalidInputError(
                Code.MANIFEST_INVALID, f"`{window[:40]}` is not a window of hours", hint="write `08:00-18:00`"
            )
        unknown = [day for day in days if day not in DAYS]
        if unknown or not days:
            raise InvalidInputError(
                Code.MANIFEST_INVALID, f"`{', '.join(unknown)[:40]}` are not weekdays", hint=f"use {', '.join(DAYS)}"
            )
        zone(zone_name)
        return cls(start, end, frozenset(days), zone_name)

    def spans(self) -> tuple[tuple[int, int, frozenset[str]], ...]:
        """The window as same-day spans (start, end, days): one, or two when it runs over midnight."""
        if self.start < self.end:
            return ((self.start, self.end, self.days),)
        following = frozenset(DAYS[(DAYS.index(day) + 1) % 7] for day in self.days)
        late: tuple[int, int, frozenset[str]] = (self.start, _MINUTES, self.days)
        return (late, (0, self.end, following)) if self.end else (late,)

    def includes(self, at: LocalTime) -> bool:
        """Whether the window is open at that local time."""
        return any(start <= at.minute < end and at.day in days for start, end, days in self.spans())

    def within(self, outer: Hours) -> bool:
        """Whether every open minute of this window is open in `outer`; zones must be equal."""
        if self.zone != outer.zone:
            return False
        return all(
            any(o_start <= start and end <= o_end and day in o_days for o_start, o_end, o_days in outer.spans())
            for start, end, days in self.spans()
            for day in days
        )
