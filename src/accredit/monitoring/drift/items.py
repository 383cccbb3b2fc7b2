"""What a session has or has not: steps, what follows what, values of arguments, their classes. As hashes. Pure.

Detectors ask how often sessions have an item, never what it is, so 32 bits of each are enough: two items that share
them are taken for one, and a view sees less. Nothing here is meant to keep a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accredit.monitoring.profiles.model import CallOutcome, SessionProfile

__all__ = ["KINDS", "Hashes", "ItemCounts", "SessionItems", "items_of"]

Hashes = NDArray[np.uint32]

KINDS: Final = ("steps", "turns", "values", "classes")
"""What may be new in a session."""

_MOST_VALUES: Final = 2_048
"""Values of one session that are looked at."""
_BEGIN: Final = "s^"
_END: Final = "s$"
_MARKS: Final = {
    CallOutcome.OK: "",
    CallOutcome.ERROR: "!",
    CallOutcome.UNKNOWN: "!",
    CallOutcome.DENIED: "-",
    CallOutcome.HELD: "?",
}


@dataclass(frozen=True, slots=True)
class SessionItems:
    """The items of one session. A hash of one kind is never one of another, but by chance."""

    sources: Sequence[int]
    """What is followed by something: a begin, and each call with how it came out."""
    turns: Sequence[int]
    """Each of these with what follows it, an end at last: as many."""
    places: Sequence[int]
    """Of each value, in which argument of which tool it stood."""
    values: Sequence[int]
    """The same with the value's class: as many."""
    had: tuple[Sequence[int], ...]
    """What it has of each of `KINDS`, each once."""


def items_of(session: SessionProfile) -> SessionItems:
    """The items of a session; of one with very many values, those of the first."""
    steps = [f"s{call.tool}{_MARKS[call.outcome]}" for call in session.calls]
    sources = [crc32(step.encode()) for step in (_BEGIN, *steps)]
    turns = [
        crc32(f"t{before}\0{after}".encode()) for before, after in zip((_BEGIN, *steps), (*steps, _END), strict=True)
    ]
    places, values, classes = [], [], []
    for tool, path, kind in islice(
        ((call.tool, value.path, value.kind) for call in session.calls for value in call.values), _MOST_VALUES
    ):
        place = f"p{tool}\0{path}"
        places.append(crc32(place.encode()))
        values.append(crc32(f"v{place}\0{kind}".encode()))
        classes.append(crc32(f"c{kind}".encode()))
    had = tuple(list(dict.fromkeys(each)) for each in (sources[1:], turns, values, classes))
    return SessionItems(sources, turns, places, values, had)


class ItemCounts:
    """How often sessions had each item, and how many different values stood in each place. Immutable."""

    __slots__ = ("choices", "counts", "keys", "steps")

    def __init__(self, keys: Hashes, counts: NDArray[np.uint16], choices: NDArray[np.uint16], steps: int) -> None:
        """`keys` ascending; `choices` are of those that are places; `steps` is how many different steps there were."""
        self.steps = steps
        self.keys = keys
        self.counts = counts
        self.choices = choices

    @classmethod
    def of(cls, sessions: Sequence[SessionItems], *, most: int) -> ItemCounts:
        """Counts over these, at most 65,535 of each. Of more different items than `most`, the rarest values go."""
        counts: dict[int, int] = {}
        choices: dict[int, set[int]] = {}
        for one in sessions:
            _add(counts, (*one.sources, *one.turns, *one.places, *one.values, *one.had[-1]))
            for place, value in zip(one.places, one.values, strict=True):
                choices.setdefault(place, set()).add(value)
        different = {place: len(of) for place, of in choices.items()}
        if len(counts) > most:
            values = sorted(
                {value for of in choices.values() for value in of}, key=lambda value: (counts[value], value)
            )
            for value in values[: len(counts) - most]:
                del counts[value]
        keys = np.array(sorted(counts), np.uint32)
        return cls(
            keys,
            np.array([min(counts[key], 65_535) for key in keys.tolist()], np.uint16),
            np.array([min(different.get(key, 0), 65_535) for key in keys.tolist()], np.uint16),
            len({step for one in sessions for step in one.sources}) + 1,
        )

    def find(self, items: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each of these, how often it was seen, and if it is a place how many values stood there."""
        looked = np.array(items, np.uint32)
        if not len(self.keys):
            return np.zeros(len(looked), np.int64), np.zeros(len(looked), np.int64)
        at = self.keys.searchsorted(looked)
        at[at == len(self.keys)] = 0
        found = self.keys[at] == looked
        return self.counts[at] * found, self.choices[at] * found


def _add(counts: dict[int, int], items: Iterable[int]) -> None:
    for item in items:
        counts[item] = counts.get(item, 0) + 1
