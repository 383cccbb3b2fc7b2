"""The built-in detector of behaviour drift: many views of a session, one statistic, a bound on its false alarms."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.monitoring.drift.fleet import DEFAULT_THRESHOLD
from accredit.monitoring.drift.ports import Reading, ViewReading
from accredit.monitoring.drift.scanning import ChangeScan, Evidence
from accredit.monitoring.drift.views import Column, FittedViews, Side, ViewKind
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["BehaviourDetector"]

_LEVELS: Final = (0.02, 0.1, 0.3)
"""The values that these shares of the baseline reach."""
_SHARE: Final = {
    ViewKind.SURPRISE: 0.1,
    ViewKind.NEW_STEPS: 0.08,
    ViewKind.NEW_TURNS: 0.08,
    ViewKind.NEW_VALUES: 0.08,
    ViewKind.NEW_CLASSES: 0.08,
    ViewKind.NUMBER: 0.3,
    ViewKind.DEPARTURE: 0.3,
}
"""What of the statistic each kind of view is."""
_SHOWN: Final = 5
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">HI")
_STORED: Final = frozenset({"|u1", "<u2", "<u4", "<u8"})
_LARGEST: Final = 1_048_576
"""Bytes of a state before it is packed."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The levels that sessions are held against."""

    columns: NDArray[np.intp]
    signs: NDArray[np.float64]
    limits: NDArray[np.float64]
    levels: NDArray[np.int64]


class BehaviourDetector:
    """See `views.py` for what is compared and `scanning.py` for what the statistic promises.

    `stat` is the decimal logarithm of an e-detector: at a threshold of log10(c) the mean number of sessions until a
    false alarm is at least c, over baselines and sessions alike, if nothing changes from session to session and columns
    are functions of one session. Columns that are fitted to the baseline are compared with what they are of sessions
    left out, for which that holds nearly, not exactly. What it comes to on recorded agents, `bench/drift.py` measures.
    """

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._threshold = threshold

    @property
    def threshold(self) -> float:
        """The level of `stat` at which it alarms."""
        return self._threshold

    def fit(self, sessions: Sequence[SessionProfile]) -> None:
        """Begin anew with these sessions as the approved behaviour; of none, nothing is ever evident."""
        views, baseline = FittedViews.of(sessions)
        self._begin(views, _rows(views, baseline))

    def _begin(self, views: FittedViews, rows: _Rows) -> None:
        self._views, self._rows = views, rows
        kinds = _kinds(views.columns())[rows.columns]
        self._scan = ChangeScan(rows.levels, views.room, _weights(kinds))
        self._strange = np.log((views.room + 1) / rows.levels)

    def update(self, session: SessionProfile) -> Reading:
        """One more session, in the order they ended."""
        rows = self._rows
        if not len(rows.levels):
            return Reading(0.0, -np.inf)
        exceeds = rows.signs * self._views(session)[rows.columns] > rows.limits
        evidence = self._scan.update(exceeds)
        shown = self._shown(evidence, exceeds) if evidence.stat > 0 else ()
        since = evidence.since if evidence.stat > 0 else None
        return Reading(float((self._strange * exceeds).mean()), evidence.stat, shown, since)

    def _shown(self, evidence: Evidence, exceeds: NDArray[np.bool_]) -> tuple[ViewReading, ...]:
        rows, columns = self._rows, self._views.columns()
        found: dict[str, ViewReading] = {}
        for row in np.argsort(-evidence.rows)[: 4 * _SHOWN].tolist():
            view = _name(columns[rows.columns[row]], rows.signs[row])
            if view not in found and len(found) < _SHOWN and evidence.rows[row] > 0:
                score = float(self._strange[row]) if exceeds[row] else 0.0
                found[view] = ViewReading(view, float(evidence.rows[row]), score)
        return tuple(found.values())

    # -- between processes

    def state(self) -> bytes:
        """All that `fit` and `update` made, in at most 20 KB."""
        views, rows = self._views, self._rows
        moments, stand_for, hits, steps = self._scan.state()
        packed = msgspec.msgpack.encode(
            {
                "threshold": self._threshold,
                "keys": views.counts.keys.tobytes(),
                "counts": views.counts.counts.tobytes(),
                "choices": views.counts.choices.tobytes(),
                "steps": views.counts.steps,
                "names": views.names,
                "middle": views.middle.tobytes(),
                "spread": views.spread.tobytes(),
                "precision": views.precision.tobytes(),
                "room": views.room,
                "columns": rows.columns.astype(np.uint16).tobytes(),
                "signs": rows.signs.astype(np.int8).tobytes(),
                "limits": rows.limits.tobytes(),
                "levels": rows.levels.astype(np.uint32).tobytes(),
                "sessions": self._scan.sessions,
                "moments": _small(moments),
                "stand_for": _small(stand_for),
                "hits": _small(hits),
                "begun": _small(steps),
            }
        )
        return _HEAD.pack(_VERSION, len(packed)) + zlib.compress(packed, 1)

    def restore(self, state: bytes) -> None:
        """Go on from a `state()`, without `fit`.

        Raises:
            InvalidInputError: it is none.
        """
        try:
            version, size = _HEAD.unpack_from(state)
            most = min(size, _LARGEST) + 1 if version == _VERSION else 1
            unpacking = zlib.decompressobj()
            packed = unpacking.decompress(state[_HEAD.size :], most)
            whole = len(packed) == size and unpacking.eof
            found = msgspec.msgpack.decode(packed if whole else b"", type=dict[str, Any])
            views = FittedViews.restored(found)
            rows = _Rows(
                np.frombuffer(found["columns"], np.uint16).astype(np.intp),
                np.frombuffer(found["signs"], np.int8).astype(np.float64),
                np.frombuffer(found["limits"], np.float64),
                np.frombuffer(found["levels"], np.uint32).astype(np.int64),
            )
            self._threshold = float(found["threshold"])
            self._begin(views, rows)
            self._scan.restore(
                int(found["sessions"]),
                [_large(found[name]) for name in ("moments", "stand_for", "hits", "begun")],
            )
        except (zlib.error, msgspec.MsgspecError, struct.error, LookupError, TypeError, ValueError) as error:
            raise InvalidInputError(Code.STATE_UNPROVEN, "it is no state of this detector") from error


def _rows(views: FittedViews, baseline: NDArray[np.float64]) -> _Rows:
    found: list[tuple[int, float, float, int]] = []
    for number, column in enumerate(views.columns()):
        for side in column.sides:
            sign = 1.0 if side is Side.HIGHER else -1.0
            found.extend((number, sign, limit, level) for level, limit in _levels(sign * baseline[:, number]))
    columns, signs, limits, levels = zip(*found, strict=True) if found else ((), (), (), ())
    return _Rows(
        np.array(columns, np.intp),
        np.array(signs, np.float64),
        np.array(limits, np.float64),
        np.array(levels, np.int64),
    )


def _levels(values: NDArray[np.float64]) -> list[tuple[int, float]]:
    """(J, value): one more than how many of the baseline exceed that value; of equal values once."""
    found = np.sort(np.nan_to_num(values, nan=-np.inf))[::-1]
    limits = {float(found[max(1, round(share * len(found))) - 1]) for share in _LEVELS} if len(found) else set()
    return [(int((found > limit).sum()) + 1, limit) for limit in sorted(limits) if limit > -np.inf]


_KINDS: Final = tuple(ViewKind)
_SHARES: Final = np.array([_SHARE[kind] for kind in _KINDS])


@lru_cache(maxsize=64)
def _kinds(columns: tuple[Column, ...]) -> NDArray[np.intp]:
    return np.array([_KINDS.index(column.kind) for column in columns], np.intp)


def _weights(kinds: NDArray[np.intp]) -> NDArray[np.float64]:
    """Each kind of view has its share, whatever number of rows it has; of kinds that are not there, the others."""
    rows = np.bincount(kinds, minlength=len(_KINDS))
    shares = _SHARES[kinds] / rows[kinds]
    all_: np.float64 = _SHARES[rows > 0].sum()
    return np.asarray(shares / all_ if len(shares) else shares, np.float64)


def _small(numbers: NDArray[np.int64]) -> tuple[str, bytes]:
    """Whole numbers, none below 0, in as few bytes each as the largest takes."""
    kind = np.min_scalar_type(int(numbers.max(initial=0))).str
    return kind, numbers.astype(kind).tobytes()


def _large(stored: Sequence[Any]) -> NDArray[np.int64]:
    kind, numbers = stored
    if kind not in _STORED:
        raise ValueError("no kind of number that is kept")
    return np.frombuffer(numbers, kind).astype(np.int64)


def _name(column: Column, sign: float) -> str:
    if len(column.sides) == 1:
        return column.view
    return f"{column.view} {Side.HIGHER if sign > 0 else Side.LOWER}"
