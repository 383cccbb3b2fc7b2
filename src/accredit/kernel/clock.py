"""Time as a port: wall and boot time are always read together, and a scripted clock moves both.

DESIGN §11: no setting or header moves the clock; a step of more than 2 s of wall time against boot time makes
time-dependent permits deny until somebody confirms the clock; expiries use the later of wall and boot time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["BothClocks", "Clock", "ClockWatch", "Deadline", "Instant", "ScriptedClock", "SystemClock"]

_STEP_US = 2_000_000
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Instant:
    """One reading of both clocks, in integer microseconds."""

    wall_us: int
    boot_us: int

    @property
    def wall_s(self) -> int:
        """Whole seconds since the epoch, as JWT claims count them."""
        return self.wall_us // 1_000_000


class Clock(Protocol):
    """Gives the present moment."""

    def now(self) -> Instant: ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1000, time.clock_gettime_ns(_BOOT_CLOCK) // 1000)  # noqa: TID251 - the one place that may ask the machine


class ScriptedClock:
    """A clock that moves only when told to; both readings move together unless a step is asked for."""

    def __init__(self, wall_us: int, boot_us: int = 1_000_000_000) -> None:
        self._now = Instant(wall_us, boot_us)

    def now(self) -> Instant:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        moved = int(seconds * 1_000_000)
        self._now = Instant(self._now.wall_us + moved, self._now.boot_us + moved)

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as a faulty time source would."""
        self._now = Instant(self._now.wall_us + int(seconds * 1_000_000), self._now.boot_us)


@dataclass(frozen=True, slots=True)
class Deadline:
    """An expiry on both clocks: past as soon as either says so."""

    wall_us: int
    boot_us: int

    @classmethod
    def after(cls, now: Instant, seconds: float) -> Deadline:
        span = int(seconds * 1_000_000)
        return cls(now.wall_us + span, now.boot_us + span)

    def passed(self, now: Instant) -> bool:
        return now.wall_us >= self.wall_us or now.boot_us >= self.boot_us


class BothClocks:
    """The present by the wall clock, and by the boot clock counted from one reading on."""

    def __init__(self, began: Instant) -> None:
        self._began = began

    def passed(self, at_us: int, now: Instant) -> bool:
        """Whether a moment is over by the later of both: a wall clock set back revives nothing."""
        return max(now.wall_us, self._by_boot_us(now)) >= at_us

    def surely_us(self, now: Instant) -> int:
        """The present by the slower of both: a wall clock that leaps ahead makes nothing long over."""
        return min(now.wall_us, self._by_boot_us(now))

    def _by_boot_us(self, now: Instant) -> int:
        return self._began.wall_us + now.boot_us - self._began.boot_us


class ClockWatch:
    """Notices a step of the wall clock against the boot clock and stays alarmed until confirmed.

    `latest_us` is the latest wall time known from before the start: a clock that stands before it was set back.
    """

    def __init__(self, start: Instant, latest_us: int = 0) -> None:
        self._offset_us = start.wall_us - start.boot_us
        behind_us = latest_us - start.wall_us
        self._stepped_us = -behind_us if behind_us > _STEP_US else 0

    def steady(self, now: Instant) -> bool:
        """Whether the wall clock can be trusted at this reading. Slewing below 2 s is followed."""
        offset = now.wall_us - now.boot_us
        moved = offset - self._offset_us
        self._offset_us = offset
        if abs(moved) > _STEP_US:
            self._stepped_us = moved
        return self._stepped_us == 0

    @property
    def stepped_us(self) -> int:
        """The unconfirmed step in microseconds, 0 when steady."""
        return self._stepped_us

    def confirm(self, now: Instant) -> int:
        """Accept the present wall clock; returns the step that was confirmed."""
        stepped, self._stepped_us = self._stepped_us, 0
        self._offset_us = now.wall_us - now.boot_us
        return stepped
