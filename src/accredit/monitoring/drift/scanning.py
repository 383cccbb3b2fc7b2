"""Whether a run of sessions exceeds the baseline's levels more often since some moment: an e-detector. Pure.

A row is a level: the J-th largest of n values of a baseline. If baseline and later sessions are exchangeable, how often
later ones exceed it follows the Beta-binomial law of parameters J and n + 1 - J exactly, however few sessions the
baseline has (order statistics; ties make it less). So for each row, each moment k at which something may have begun,
and each of two odds that exceeding may have grown to, the ratio

    likelihood of the exceedings since k at those odds
    --------------------------------------------------------------------
    their Beta-binomial probability, given the baseline and all before k

has mean at most 1 at any time, and what is not known of the baseline is in it instead of being taken for known. The
statistic is the weighted mean over rows of the sum over moments of the mean over odds (Shiryaev and Roberts;
e-detectors: Shin, Ramdas and Rinaldo, arXiv 2203.03532, definition 2.2). While nothing changes its mean after t
sessions is at most t, so with an alarm at c the mean number of sessions until a false one is at least c, over baseline
and sessions alike.

Moments are thinned out with their age, by the count of sessions alone; one that is kept counts for those beside it that
are not. So work and memory have a bound, and a change that creeps is still compared with the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChangeScan", "Evidence"]

_MORE: Final = 3.0
_MUCH_MORE: Final = 10.0
"""Factors of the odds that are looked for; the larger one, or every other session if that is more: a baseline that
never varies says that anything else is rare, and what is then so all the time must not be taken for a little more."""
_ALTERNATIVES: Final = 2
_ALL_AGES: Final = 12
"""Moments up to so many sessions ago are all kept."""
_RATIO: Final = 1.2
"""Of the ages of neighbours beyond."""
_TABLE: Final = np.array([0.0, *(lgamma(number) for number in range(1, 4_096))])
_HALF_LOG_2PI: Final = 0.9189385332046727
_MOST_LOG: Final = 600.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the sessions so far come to."""

    stat: float
    """Decimal logarithm of the statistic."""
    rows: NDArray[np.float64]
    """The statistic of each row alone, as a decimal logarithm."""
    since: int
    """How many sessions ago (0: the newest) the change most likely began, if there is one."""


class ChangeScan:
    """The running state of one agent."""

    __slots__ = (
        "_begun", "_gain", "_hits", "_levels", "_loss", "_moments", "_others", "_stand_for", "_under", "_weights",
        "sessions",
    )  # fmt: skip

    def __init__(self, levels: NDArray[np.int64], room: int, weights: NDArray[np.float64]) -> None:
        """`levels` are the rows' J, `room` is n; `weights` of the rows come to 1."""
        self._levels = levels
        self._others = room + 1 - levels
        self._weights = weights
        usual = levels / self._others
        odds = np.array([_MORE * usual, np.maximum(_MUCH_MORE * usual, 1.0)])
        self._loss = (-np.log1p(odds)).astype(np.float32)[:, :, None]
        self._gain = np.log(odds).astype(np.float32)[:, :, None]
        """By how much more a session counts that exceeds than one that does not."""
        self.sessions = 0
        self._hits = np.zeros(len(levels), np.int64)
        self._moments = np.zeros(0, np.int64)
        self._stand_for = np.zeros(0, np.int64)
        """How many moments each one kept counts for: itself and those near it that are not."""
        self._begun = np.zeros((len(levels), 0), np.float32)
        """Hits before each moment."""
        self._under = np.zeros((len(levels), 0), np.float32)
        """Logarithm of the Beta-binomial probability of all before each moment, but for a constant."""

    def update(self, exceeds: NDArray[np.bool_]) -> Evidence:
        """One more session: of each row, whether it exceeds the level."""
        self._begin()
        self.sessions += 1
        self._hits = self._hits + exceeds
        hits = self._hits.astype(np.float32)[:, None] - self._begun
        after = (self.sessions - self._moments).astype(np.float32)
        null = self._under - self._probability()[:, None]
        found = self._gain * hits
        found += self._loss * after
        found += null
        most = float(found.max(initial=0.0))
        found -= np.float32(most)
        ratios = np.exp(found, out=found).sum(axis=0) / _ALTERNATIVES
        tiny = np.finfo(np.float64).tiny
        by_row = np.maximum(ratios @ self._stand_for, tiny)
        return Evidence(
            stat=(most + log(max(float(by_row @ self._weights), tiny))) / log(10),
            rows=(most + np.log(by_row)) / log(10),
            since=self.sessions - 1 - int(self._moments[int((self._weights @ ratios).argmax())]),
        )

    def state(self) -> tuple[NDArray[np.int64], ...]:
        """All that sessions changed: whole numbers, none below 0, small ones above all."""
        begun = self._begun.astype(np.int64)
        return (
            self._moments,
            self._stand_for,
            self._hits,
            np.diff(begun, axis=1, prepend=0, append=self._hits[:, None]).T.ravel(),
        )

    def restore(self, sessions: int, state: Sequence[NDArray[np.int64]]) -> None:
        """Go on from a state after so many sessions.

        Raises:
            ValueError: it is none of these rows.
        """
        moments, stand_for, hits, steps = state
        shape = (len(moments) + 1, len(self._levels))
        if len(hits) != len(self._levels) or len(stand_for) != len(moments) or len(steps) != shape[0] * shape[1]:
            raise ValueError("the state has other rows")
        begun = np.cumsum(steps.reshape(shape), axis=0)[:-1].T
        before = _log_beta(self._levels[:, None] + begun, self._others[:, None] + moments - begun)
        self.sessions, self._moments, self._stand_for, self._hits = sessions, moments, stand_for, hits
        self._begun, self._under = begun.astype(np.float32), before.astype(np.float32)

    def _probability(self) -> NDArray[np.float32]:
        return _log_beta(self._levels + self._hits, self._others + self.sessions - self._hits).astype(np.float32)

    def _begin(self) -> None:
        """Something may begin now.

        Of three neighbours that are old, the middle one goes if the outer two are near enough for their age.
        """
        moments = [*self._moments.tolist(), self.sessions]
        stand_for = [*self._stand_for.tolist(), 1]
        kept = [0]
        for at in range(1, len(moments)):
            if (
                at + 1 < len(moments)
                and self.sessions - moments[at] > _ALL_AGES
                and self.sessions - moments[kept[-1]] <= _RATIO * (self.sessions - moments[at + 1])
            ):
                stand_for[at + 1] += stand_for[at]
            else:
                kept.append(at)
        self._moments = np.array([moments[at] for at in kept])
        self._stand_for = np.array([stand_for[at] for at in kept])
        self._begun = _with(self._begun, kept, self._hits.astype(np.float32))
        self._under = _with(self._under, kept, self._probability())


def _with(columns: NDArray[np.float32], kept: list[int], newest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those columns that are kept, the last of which is the newest."""
    made = np.empty((len(newest), len(kept)), np.float32)
    made[:, :-1] = columns if len(kept) == columns.shape[1] + 1 else columns[:, kept[:-1]]
    made[:, -1] = newest
    return made


def _log_beta(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    return _log_gamma(one) + _log_gamma(other) - _log_gamma(one + other)


def _log_gamma(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of whole numbers from 1 on; by Stirling's series where the table ends, exact to 1e-12."""
    if not numbers.size or numbers.max() < len(_TABLE):
        return _TABLE[numbers]
    large = np.maximum(numbers, len(_TABLE)).astype(np.float64)
    series = (large - 0.5) * np.log(large) - large + _HALF_LOG_2PI + 1 / (12 * large)
    return np.where(numbers < len(_TABLE), _TABLE[np.minimum(numbers, len(_TABLE) - 1)], series)
