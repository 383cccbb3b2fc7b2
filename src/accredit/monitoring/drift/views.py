"""What of a session is compared with the baseline, as columns of numbers. Pure.

steps, values          how surprising what follows what is, and the classes of the values: mean negative log-likelihood
                       under the baseline's counts
new steps, turns,      how many of these the baseline has not; and whether one is in each of some buckets that they fall
values, classes        into, so that something new that comes again and again is told from ever other new things
numbers                each number of a session, to either side
numbers for the rest   each number as it departs from what the session's other numbers let expect (ridge regression):
                       one may cost much because it is long, and that is nothing; far sharper than the number itself

What a column is of a session of the baseline is computed from the other sessions of it (steps and values in five parts,
what is new by leaving one out, departures by their leverage), so that baseline and later sessions are alike if nothing
changed. Where a number was not measured it is taken for less than all others, on either side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accredit.monitoring.drift.items import ItemCounts, SessionItems, items_of
from accredit.monitoring.drift.numbers import SIZES, number_names, numbers_of
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["Column", "FittedViews", "Side", "ViewKind"]

Floats = NDArray[np.float64]

_FOLDS: Final = 5
_PRIOR: Final = 0.3
"""Added to every count before it is a probability."""
_RIDGE: Final = 5.0
_FARTHEST: Final = 8.0
"""Standard deviations beyond which a number is no more unusual: one wild session must not bend all departures."""
_LEAST_ROOM: Final = 0.05
_DIGITS: Final = 6
_MOST_ITEMS: Final = 2_000
"""Different items of a baseline that are kept; values beyond, the rarest, are new whenever they come."""


class Side(StrEnum):
    """To which side a column is unusual."""

    HIGHER = "higher"
    LOWER = "lower"


class ViewKind(StrEnum):
    """What kind of thing is compared."""

    SURPRISE = "surprise"
    NEW_STEPS = "new steps"
    NEW_TURNS = "new turns"
    NEW_VALUES = "new values"
    NEW_CLASSES = "new classes"
    NUMBER = "number"
    DEPARTURE = "departure"


_NEW: Final = (
    (ViewKind.NEW_STEPS, 16),
    (ViewKind.NEW_TURNS, 16),
    (ViewKind.NEW_VALUES, 16),
    (ViewKind.NEW_CLASSES, 8),
)
"""What may be new, and into how many buckets it falls."""


@dataclass(frozen=True, slots=True)
class Column:
    """One thing that is compared."""

    view: str
    kind: ViewKind
    sides: tuple[Side, ...] = (Side.HIGHER,)


@dataclass(frozen=True, slots=True)
class FittedViews:
    """The columns of one baseline."""

    counts: ItemCounts
    """What the baseline has."""
    names: tuple[str, ...]
    sizes: NDArray[np.intp]
    """Which of the numbers go with each other."""
    middle: Floats
    spread: Floats
    precision: Floats
    """Inverse of the numbers' ridged scatter, standardised."""
    room: int
    """Sessions of the baseline."""

    @classmethod
    def of(cls, sessions: Sequence[SessionProfile]) -> tuple[FittedViews, Floats]:
        """The columns that these sessions make, and what each is of each session, by leaving it out."""
        items = [items_of(one) for one in sessions]
        names = number_names(sessions)
        numbers = np.array([numbers_of(one, names) for one in sessions]).reshape(len(sessions), len(names))
        sizes = _sizes(names)
        middle = np.array([_middle(column) for column in numbers[:, sizes].T])
        spread = np.array([_spread(column) for column in numbers[:, sizes].T])
        scaled = _scaled(numbers[:, sizes], middle, spread)
        precision = np.linalg.inv(scaled.T @ scaled + _RIDGE * np.eye(len(sizes))).astype(np.float64)
        fitted = cls(
            counts=ItemCounts.of(items, most=_MOST_ITEMS),
            names=names,
            sizes=sizes,
            middle=middle,
            spread=spread,
            precision=precision,
            room=len(sessions),
        )
        left_out = fitted._numbers(numbers, left_out=True)
        return fitted, np.hstack([_surprises(items), _novelties(items, fitted.counts), left_out])

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> FittedViews:
        """The columns of a detector's state."""
        names = tuple(state["names"])
        sizes = _sizes(names)
        return cls(
            counts=ItemCounts(
                np.frombuffer(state["keys"], np.uint32),
                np.frombuffer(state["counts"], np.uint16),
                np.frombuffer(state["choices"], np.uint16),
                int(state["steps"]),
            ),
            names=names,
            sizes=sizes,
            middle=np.frombuffer(state["middle"], np.float64),
            spread=np.frombuffer(state["spread"], np.float64),
            precision=np.frombuffer(state["precision"], np.float64).reshape(len(sizes), len(sizes)),
            room=int(state["room"]),
        )

    def columns(self) -> tuple[Column, ...]:
        """What each column is, in the order of the values."""
        return _columns(self.names)

    def __call__(self, session: SessionProfile) -> Floats:
        """What each column is of a session that is not of the baseline."""
        items = items_of(session)
        had = [item for kind in items.had for item in kind]
        looked = (*items.sources, *items.turns, *items.places, *items.values, *had)
        counts, choices = self.counts.find(looked)
        found = _surprise(items, counts, choices, self.counts.steps)
        at = len(looked) - len(had)
        for (_, buckets), kind in zip(_NEW, items.had, strict=True):
            seen = counts[at : at + len(kind)].tolist()
            found.extend(_new([item for item, count in zip(kind, seen, strict=True) if not count], buckets))
            at += len(kind)
        return np.concatenate([found, self._numbers(numbers_of(session, self.names)[None], left_out=False)[0]])

    def _numbers(self, numbers: Floats, *, left_out: bool) -> Floats:
        if not len(self.sizes):
            return numbers
        sizes = numbers[:, self.sizes]
        scaled = _scaled(sizes, self.middle, self.spread)
        own = np.diag(self.precision)
        seen = scaled @ self.precision
        around = np.einsum("ij,ij->i", seen, scaled)[:, None]
        # leverage of each number's regression on the others, by the inverse of a partitioned matrix
        lever = around - 2 * scaled * seen + scaled**2 * own - (seen - scaled * own) ** 2 / own + 1 / self.room
        scale = np.sqrt(np.maximum(1 - lever, _LEAST_ROOM)) if left_out else np.sqrt(1 + np.maximum(lever, 0))
        # where nothing varies a departure is what rounding leaves, which must not be above or below anything
        departures = np.where(np.isnan(sizes), np.nan, np.round(seen / own / scale, _DIGITS))
        return np.hstack([numbers, departures])


@lru_cache(maxsize=64)
def _columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    both = (Side.HIGHER, Side.LOWER)
    return (
        Column("steps", ViewKind.SURPRISE),
        Column("values", ViewKind.SURPRISE),
        *[Column(kind.value, kind) for kind, buckets in _NEW for _ in range(buckets + 1)],
        *[Column(name, ViewKind.NUMBER, both) for name in names],
        *[Column(f"{names[at]} for the rest", ViewKind.DEPARTURE, both) for at in _sizes(names)],
    )


def _sizes(names: Sequence[str]) -> NDArray[np.intp]:
    return np.array([at for at, name in enumerate(names) if name in SIZES], np.intp)


def _middle(column: Floats) -> float:
    found = column[~np.isnan(column)]
    return float(found.mean()) if len(found) else 0.0


def _spread(column: Floats) -> float:
    found = column[~np.isnan(column)]
    return float(found.std()) + 1e-6 if len(found) else 1.0


def _scaled(numbers: Floats, middle: Floats, spread: Floats) -> Floats:
    return np.nan_to_num(np.clip((numbers - middle) / spread, -_FARTHEST, _FARTHEST))


def _surprise(items: SessionItems, counts: NDArray[np.int64], choices: NDArray[np.int64], steps: int) -> list[float]:
    """Of turns under their sources, and of values in their places; of places that are not known nothing is said.

    `counts` and `choices` begin with those of sources, turns, places and values, in this order.
    """
    many, values = len(items.sources), len(items.values)
    at = 2 * many
    turns = _mean_surprise(counts[many:at], counts[:many], np.float64(steps + 1))
    totals = counts[at : at + values]
    known = totals > 0
    return [
        turns,
        _mean_surprise(
            counts[at + values : at + 2 * values][known], totals[known], choices[at : at + values][known] + 1.0
        ),
    ]


def _mean_surprise(of: NDArray[np.int64], under: NDArray[np.int64], choices: NDArray[Any] | np.float64) -> float:
    if not len(of):
        return 0.0
    return float(-np.log((of + _PRIOR) / (under + _PRIOR * choices)).mean())


def _surprises(items: Sequence[SessionItems]) -> Floats:
    found = np.zeros((len(items), 2))
    for fold in range(min(_FOLDS, len(items))):
        rest = ItemCounts.of([one for number, one in enumerate(items) if number % _FOLDS != fold], most=_MOST_ITEMS)
        for number in range(fold, len(items), _FOLDS):
            one = items[number]
            counts, choices = rest.find((*one.sources, *one.turns, *one.places, *one.values))
            found[number] = _surprise(one, counts, choices, rest.steps)
    return found


def _novelties(items: Sequence[SessionItems], known: ItemCounts) -> Floats:
    """What each session of the baseline has that no other one of it has."""
    with_it = Counter(item for one in items for kind in one.had for item in kind)
    found: list[list[float]] = []
    for one in items:
        row: list[float] = []
        for (_, buckets), kind in zip(_NEW, one.had, strict=True):
            kept = known.find(kind)[0].tolist()
            row.extend(
                _new([item for item, count in zip(kind, kept, strict=True) if with_it[item] == 1 or not count], buckets)
            )
        found.append(row)
    return np.array(found).reshape(len(items), sum(buckets + 1 for _, buckets in _NEW))


def _new(items: Sequence[int], buckets: int) -> list[float]:
    within = [0.0] * buckets
    for item in items:
        within[item % buckets] = 1.0
    return [float(len(items)), *within]
