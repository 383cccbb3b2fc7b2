"""The numbers of a session, on scales on which a difference means about the same everywhere. Pure.

Sizes, times and counts are compared by their ratio (logarithms), shares as they are, the hour as a point on a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log1p, pi, sin
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accredit.monitoring.profiles.model import Feature, SessionProfile

__all__ = ["HOUR_PARTS", "SIZES", "number_names", "numbers_of"]

HOUR_PARTS: Final = ("hour-east", "hour-north")
"""The two coordinates of the hour on its circle."""
SIZES: Final = frozenset(
    {
        Feature.CALLS,
        Feature.TOOLS,
        Feature.REPEATS,
        Feature.ERRORS,
        Feature.ARGUMENT_BYTES,
        Feature.RESULT_BYTES,
        Feature.COST,
        Feature.TOKENS,
        Feature.ANSWER_BYTES,
        Feature.LATENCY,
        Feature.SECONDS,
        Feature.REASONING_BYTES,
    }
)
"""What grows with how much there is to do, so that one of them tells what the others should be."""
_SHARES: Final = frozenset(
    {
        Feature.ERRORS,
        Feature.FEEDBACK,
        Feature.REASONED,
        Feature.REFUSALS,
        Feature.EMPTY,
        Feature.TRUNCATED,
        Feature.INVALID,
    }
)
_MOST_SCORES: Final = 8
"""Evaluators whose scores are views."""
_SCORE: Final = "score:"


def number_names(sessions: Sequence[SessionProfile]) -> tuple[str, ...]:
    """The numbers that most of these sessions have, in a fixed order. Evaluators' scores come last, by name."""
    most = [name for feature in Feature if _common(name := feature.value, sessions)]
    names = [part for name in most for part in (HOUR_PARTS if name == Feature.HOUR.value else (name,))]
    scores = sorted({name for one in sessions for name in one.features if name.startswith(_SCORE)})
    return (*names, *[name for name in scores if _common(name, sessions)][:_MOST_SCORES])


def _common(name: str, sessions: Sequence[SessionProfile]) -> bool:
    return 2 * sum(name in one.features for one in sessions) > len(sessions)


def numbers_of(session: SessionProfile, names: Sequence[str]) -> NDArray[np.float64]:
    """These numbers of a session; NaN where it was not measured."""
    found = session.features
    hour = found.get(Feature.HOUR.value)
    return np.array(
        [
            (float("nan") if hour is None else (cos if name == HOUR_PARTS[0] else sin)(hour * pi / 12))
            if name in HOUR_PARTS
            else float("nan")
            if (value := found.get(name)) is None
            else value
            if name in _SHARES or name.startswith(_SCORE)
            else log1p(max(value, 0.0))
            for name in names
        ],
        np.float64,
    )
