"""The statistical part of a baseline: sessions that people accepted as what an agent does, and how they came about.

A baseline is learned: while sessions are collected it is *learning*, then *proposed* with what is in them, then
*accepted*. The sessions themselves are kept apart from control state, by the digest that stands here (`fitted.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import PersonId

__all__ = ["BaselinePart", "Behaviour", "BehaviourState", "FittedBaseline", "Learning", "LearningSource"]


class LearningSource(StrEnum):
    """Where the sessions of a baseline are from."""

    TRIAL = "trial"
    """What the agent did since learning began."""
    RECORDED = "recorded"
    """Sessions that were on record already."""
    PREVIOUS = "previous"
    """The baseline of the version before, as it was."""


class BaselinePart(StrEnum):
    """Sessions of an agent by what they are to its baseline."""

    ACCEPTED = "accepted"
    PROPOSAL = "proposal"
    PREVIOUS = "previous"
    RECENT = "recent"
    """The newest of those after the accepted ones."""


class BehaviourState(StrEnum):
    """How far the statistical part of a baseline is."""

    NONE = "none"
    LEARNING = "learning"
    PROPOSED = "proposed"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Learning:
    """Sessions are being collected."""

    since_us: int
    """Only sessions that began since then count."""
    sessions: int
    """How many are wanted."""
    until_us: int
    """When people are told, if there are too few by then. It goes on."""
    by: PersonId | None = None
    """Who asked for it; None: it began with the version."""


@dataclass(frozen=True, slots=True)
class FittedBaseline:
    """Sessions that a detector is fitted to, or would be."""

    digest: Digest
    """Of the sessions as they are kept."""
    ids: tuple[str, ...]
    """The sessions, in the order they were finished."""
    first_us: int
    """When the first of them began."""
    last_us: int
    """When the last of them ended."""
    views: Mapping[str, int]
    """In how many of the sessions each number was measured."""
    source: LearningSource
    version: Digest
    """The version that was in force."""
    left_out: int
    """How many sessions of that time were not taken, because of alerts or a quarantine."""
    proposed_us: int
    proposed_by: PersonId | None
    """Who asked for it to be learned; None: it began with the version."""
    after: int = 0
    """Number of the agent's newest session when it was accepted: only what was finished later is compared with it."""
    accepted_us: int | None = None
    accepted_by: PersonId | None = None
    """None: no person had to (outside of production, or carried over with an approved change)."""
    detectors: Mapping[str, str] = field(default_factory=dict)
    """The detectors that were in use when it was accepted, and their versions."""

    @property
    def sessions(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """All of it. What is accepted is compared with until another is accepted, also while that one is learned."""

    learning: Learning | None = None
    proposal: FittedBaseline | None = None
    accepted: FittedBaseline | None = None
    previous: FittedBaseline | None = None
    """What was accepted before, to be looked at."""

    @property
    def state(self) -> BehaviourState:
        if self.proposal is not None:
            return BehaviourState.PROPOSED
        if self.learning is not None:
            return BehaviourState.LEARNING
        return BehaviourState.ACCEPTED if self.accepted is not None else BehaviourState.NONE
