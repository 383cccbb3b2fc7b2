"""What a detector of behaviour drift promises. A plug-in point (DESIGN §2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from accredit.kernel.canonical import Digest
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["DetectorFaultError", "DetectorKind", "DriftDetector", "FittedStore", "Reading", "ViewReading"]


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


class DetectorFaultError(Exception):
    """A detector did not do what it promises; the message is in words of ours."""


class DetectorKind(Protocol):
    """One way to detect, of which every agent has a detector of its own."""

    @property
    def name(self) -> str:
        """What it is called; states are kept under it."""
        ...

    @property
    def version(self) -> str:
        """A state of another version is not gone on from."""
        ...

    @property
    def promise(self) -> str:
        """What is guaranteed of its alarms, in a sentence for people; empty: nothing."""
        ...

    @property
    def e_detector(self) -> bool:
        """Whether `stat` is the decimal logarithm of an e-detector: then it is weighed among those of all agents."""
        ...

    @property
    def stopped(self) -> str | None:
        """Why no detector of this kind is asked any more in this process; None: all is well."""
        ...

    def make(self) -> DriftDetector:
        """A detector that is fitted to nothing yet."""
        ...


class FittedStore(Protocol):
    """Keeps the sessions of baselines by their digest, which whoever reads them checks. Called from worker threads.

    All of it raises UnavailableError if it cannot be written or read.
    """

    def put(self, digest: Digest, kept: bytes) -> None:
        """Keep these durably; under a digest that is there already, in its place."""
        ...

    def get(self, digest: Digest) -> bytes | None:
        """What is kept under a digest."""
        ...

    def keep_only(self, digests: Collection[Digest]) -> int:
        """Remove all others; how many there were."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
