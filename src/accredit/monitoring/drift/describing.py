"""What some sessions are like, and how others differ from them, in numbers and in words for people. Pure.

Names of tools and views alone are repeated, never a value of anybody's. Nothing here decides: a difference in words is
no finding, it is what whoever looks at one, or accepts a baseline, reads.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accredit.monitoring.profiles.model import CallOutcome, Feature, SessionProfile

__all__ = ["SessionsDescribed", "Spread", "described", "differences", "sparkline"]

_MOST_TOOLS: Final = 50
_MOST_WORDS: Final = 12
_EXTREMES: Final = 5
_BARS: Final = "▁▂▃▄▅▆▇█"
_SHARES: Final = frozenset(
    {
        Feature.DENIED,
        Feature.EMPTY,
        Feature.ERRORS,
        Feature.HELD,
        Feature.INVALID,
        Feature.REASONED,
        Feature.REFUSALS,
        Feature.TRUNCATED,
    }
)
_CALLED: Final[Mapping[str, str]] = {
    Feature.ANSWER_BYTES: "bytes of the last answer",
    Feature.ARGUMENT_BYTES: "bytes of arguments",
    Feature.CALLS: "calls per session",
    Feature.COST: "cost per session",
    Feature.DATA_CLASSES: "different data classes touched",
    Feature.DENIED: "denied calls",
    Feature.EMPTY: "empty answers",
    Feature.ERRORS: "failed calls",
    Feature.FEEDBACK: "feedback of users",
    Feature.HELD: "held calls",
    Feature.HOUR: "hour of the first call (UTC)",
    Feature.INVALID: "answers of another form than asked for",
    Feature.LATENCY: "seconds in tools and models",
    Feature.OFF_TASK: "calls that share no word with the request",
    Feature.REASONED: "calls that follow from an answer on record",
    Feature.REASONING_BYTES: "bytes of reasoning",
    Feature.REFUSALS: "answers that decline",
    Feature.REPEATS: "repeated calls per session",
    Feature.RESULT_BYTES: "bytes of results",
    Feature.SECONDS: "seconds per session",
    Feature.TAINTED: "values that came from results alone",
    Feature.TOKENS: "tokens per session",
    Feature.TOOLS: "different tools per session",
    Feature.TRUNCATED: "answers cut short",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """How a number lies over sessions."""

    measured: int
    """In how many sessions."""
    least: float
    lower: float
    """A quarter of the sessions is below it."""
    median: float
    upper: float
    """A quarter of the sessions is above it."""
    most: float

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        numbers = (self.least, self.lower, self.median, self.upper, self.most)
        names = ("least", "lower", "median", "upper", "most")
        return {"measured": self.measured, **{name: round(one, 6) for name, one in zip(names, numbers, strict=True)}}


@dataclass(frozen=True, slots=True)
class SessionsDescribed:
    """What some sessions are like."""

    sessions: int
    calls: int
    first_us: int | None
    """When the first began."""
    last_us: int | None
    """When the last ended."""
    tools: Mapping[str, float]
    """Share of the calls by tool, the most used first; of no registered one under the empty name."""
    outcomes: Mapping[str, float]
    """Share of the calls by how they came out."""
    hours: tuple[int, ...]
    """Sessions by the hour of their first call, UTC."""
    spreads: Mapping[str, Spread]
    extremes: tuple[tuple[str, int, float], ...]
    """(session, calls, cost) of those with most calls, most first: what would not be seen in a median."""

    def document(self) -> dict[str, Any]:
        """Ready for JSON; times are left to whoever shows them."""
        return {
            "calls": self.calls,
            "extremes": [{"session": one, "calls": calls, "cost": cost} for one, calls, cost in self.extremes],
            "hours": list(self.hours),
            "outcomes": {name: round(share, 4) for name, share in self.outcomes.items()},
            "sessions": self.sessions,
            "spreads": {name: spread.document() for name, spread in self.spreads.items()},
            "tools": {name or "not registered": round(share, 4) for name, share in self.tools.items()},
        }


def described(sessions: Sequence[SessionProfile]) -> SessionsDescribed:
    """What these sessions are like."""
    tools: Counter[str] = Counter(call.tool for one in sessions for call in one.calls)
    outcomes: Counter[str] = Counter(call.outcome.value for one in sessions for call in one.calls)
    calls = sum(tools.values())
    hours = [0] * 24
    numbers: dict[str, list[float]] = {}
    for one in sessions:
        hour = one.features.get(Feature.HOUR)
        if hour is not None and math.isfinite(hour):
            hours[int(hour) % 24] += 1
        for name, number in one.features.items():
            if math.isfinite(number):
                numbers.setdefault(name, []).append(float(number))
    longest = sorted(sessions, key=lambda one: (-_calls(one), one.session))[:_EXTREMES]
    return SessionsDescribed(
        sessions=len(sessions),
        calls=calls,
        first_us=min((one.began_us for one in sessions), default=None),
        last_us=max((one.ended_us for one in sessions), default=None),
        tools={name: count / calls for name, count in tools.most_common(_MOST_TOOLS)},
        outcomes={name: count / calls for name, count in outcomes.most_common()},
        hours=tuple(hours),
        spreads={name: _spread(numbers[name]) for name in sorted(numbers)},
        extremes=tuple((one.session, _calls(one), one.features.get(Feature.COST, 0.0)) for one in longest),
    )


def differences(before: SessionsDescribed, after: SessionsDescribed) -> tuple[str, ...]:
    """How sessions differ from earlier ones, one sentence each, what moved most first.

    A number is named if the medians lie apart by more than either's middle half, or a share by 5 % of the calls.
    """
    if not before.sessions or not after.sessions:
        return ()
    found = [*_of_tools(before, after), *_of_outcomes(before, after), *_of_spreads(before, after)]
    found.sort(key=lambda one: (-one[0], one[1]))
    return tuple(words for _, words in found[:_MOST_WORDS])


def sparkline(numbers: Sequence[float], *, most: float | None = None) -> str:
    """Numbers as a line of bars, from 0 to the biggest (or to `most`); what is not finite is a gap."""
    finite = [number for number in numbers if math.isfinite(number)]
    top = most if most is not None else max(finite, default=0.0)
    if top <= 0:
        return "".join(_BARS[0] if math.isfinite(number) else " " for number in numbers)
    return "".join(
        _BARS[min(len(_BARS) - 1, max(0, int(number / top * len(_BARS))))] if math.isfinite(number) else " "
        for number in numbers
    )


def _calls(session: SessionProfile) -> int:
    return int(session.features.get(Feature.CALLS, len(session.calls)))


def _spread(numbers: Sequence[float]) -> Spread:
    ordered = sorted(numbers)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return Spread(len(ordered), ordered[0], at(0.25), at(0.5), at(0.75), ordered[-1])


_Moved = tuple[float, str]
"""How far, by which sentences are ordered, and the sentence."""


def _of_tools(before: SessionsDescribed, after: SessionsDescribed) -> list[_Moved]:
    found = []
    for name in sorted({*before.tools, *after.tools}):
        old, new = before.tools.get(name, 0.0), after.tools.get(name, 0.0)
        tool = f"tool {name}" if name else "calls of no registered tool"
        if not old:
            found.append((1.0 + new, f"{tool} is new: {_percent(new)} of calls"))
        elif not new:
            found.append((1.0 + old, f"{tool} is not used any more: it had {_percent(old)} of calls"))
        elif abs(new - old) >= 0.05:
            found.append((abs(new - old), f"{tool}: {_percent(old)} -> {_percent(new)} of calls"))
    return found


def _of_outcomes(before: SessionsDescribed, after: SessionsDescribed) -> list[_Moved]:
    found = []
    for outcome in CallOutcome:
        old, new = before.outcomes.get(outcome.value, 0.0), after.outcomes.get(outcome.value, 0.0)
        if outcome is not CallOutcome.OK and abs(new - old) >= 0.05:
            found.append((abs(new - old) + 0.5, f"calls that ended {outcome}: {_percent(old)} -> {_percent(new)}"))
    return found


def _of_spreads(before: SessionsDescribed, after: SessionsDescribed) -> list[_Moved]:
    found = []
    for name in sorted({*before.spreads, *after.spreads}):
        old, new, what = before.spreads.get(name), after.spreads.get(name), _CALLED.get(name, name)
        if old is None or new is None:
            gone = "is not measured any more" if new is None else "was not measured before"
            found.append((0.3, f"{what}: {gone}"))
            continue
        apart = abs(new.median - old.median)
        middle = max(old.upper - old.lower, new.upper - new.lower, 1e-9)
        if apart > middle:
            words = f"{what}: median {_number(name, old.median)} -> {_number(name, new.median)}"
            found.append((min(1.0, apart / (apart + middle)), words))
    return found


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.01 or not share else "under 1 %"


def _number(name: str, number: float) -> str:
    return _percent(number) if name in _SHARES else f"{number:.4g}"
