"""What a detector of behaviour drift promises. A plug-in point (DESIGN §2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["DriftDetector", "Reading", "ViewReading"]


@dataclass(frozen=True, slots=True)
class ViewReading:
    """What one view says after a session."""

    view: str
    stat: float
    """Evidence that the view moved, as `Reading.stat`."""
    score: float
    """How strange this session is in this view alone."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector makes of one more session."""

    score: float
    """How unusual this one session is; bigger is stranger. Says little alone (research: AUROC 0.4 to 0.7)."""
    stat: float
    """Running evidence that sessions are not those of the baseline any more. The alarm is `stat >= threshold`."""
    views: tuple[ViewReading, ...] = ()
    """Most evident first."""
    since: int | None = None
    """How many sessions ago (0: this one) the change began, by the evidence so far; None: nothing is evident."""


class DriftDetector(Protocol):
    """A sequential test of one agent's sessions. One instance per agent and baseline; not thread safe.

    Whatever it raises, and NaN, is its own failure: who runs it goes on with the others and tells people.
    """

    def fit(self, sessions: Sequence[SessionProfile]) -> None:
        """Begin anew with these sessions as the approved behaviour. They may be few, or all alike."""
        ...

    def update(self, session: SessionProfile) -> Reading:
        """One more session, in the order they ended."""
        ...

    @property
    def threshold(self) -> float:
        """The level of `stat` at which it alarms."""
        ...

    def state(self) -> bytes:
        """All that `fit` and `update` made, in at most 20 KB, from which another one of its class goes on."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from a `state()` of the same class, without `fit`.

        Raises:
            InvalidInputError: it is none.
        """
        ...
