"""What was shown of a candidate release before anybody may put it in force: its tests passed, and history was replayed.

The value is kept with the release, and part of what its reviewers see and what is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from accredit.kernel.canonical import Digest

__all__ = ["Rehearsal"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The tests and the simulation of exactly one release."""

    release: Digest
    base: Digest
    """The release in force that it was compared with."""
    tests: int
    """How many cases passed. None failed, or there is no rehearsal."""
    covered: int
    """Policies that a case showed to determine an outcome,"""
    policies: int
    """of so many."""
    simulated_us: int
    """When history was replayed,"""
    since_us: int
    """from when on,"""
    until_seq: int
    """up to which record."""
    calls: int
    denied: int
    allowed: int
    held: int
    failing: int
    """Calls replayed, and those that would newly be denied, allowed, held or failing."""
    agents: int
    """Agents with such a call, or whose rules change."""
    breaking: int
    """Recorded runs that completed and would not any more."""
    report: Digest
    """Of the whole report."""

    def document(self) -> dict[str, Any]:
        """All of it, ready for canonical JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Rehearsal:
        """What `document` made."""
        return cls(**document)
