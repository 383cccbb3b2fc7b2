"""Whether a budget will be gone before its window ends, if an agent spends on as it did. Pure.

What was spent since the window began, and as much per hour as in that time, until it ends. It is arithmetic and not a
test: there is no false-alarm rate, so it speaks only once a fifth of the cap is gone and a tenth of the window is over
(before that one costly call would be a trend), and once for each window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Forecast", "spend_forecast"]

_OVER_PERCENT: Final = 10
_SPENT_PERCENT: Final = 20


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a window comes to."""

    expected_nanos: int
    """At its end."""
    gone_us: int | None
    """When the cap will be reached; None if it was reached already."""


def spend_forecast(*, spent_nanos: int, cap_nanos: int, began_us: int, ends_us: int, now_us: int) -> Forecast | None:
    """What is to come of it, if that is more than the cap; None if it is not, or it is too early to say."""
    over, whole = now_us - began_us, ends_us - began_us
    if cap_nanos <= 0 or whole <= 0 or not 0 < over <= whole:
        return None
    if over * 100 < whole * _OVER_PERCENT or spent_nanos * 100 < cap_nanos * _SPENT_PERCENT:
        return None
    expected = spent_nanos * whole // over
    if expected <= cap_nanos:
        return None
    left = cap_nanos - spent_nanos
    return Forecast(expected, now_us + left * over // spent_nanos if left > 0 else None)
