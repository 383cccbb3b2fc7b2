"""Where profiles of sessions are kept, with what was made of them. All of it can be made again from the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["KeptProfile", "ProfileStore", "Progress"]


@dataclass(frozen=True, slots=True)
class KeptProfile:
    """A profile and its place among all, in the order they were finished."""

    number: int
    """From 1 on, without gaps; the same whenever they are made again from the same log."""
    profile: SessionProfile


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the log was read, and from where it is read again to know the sessions that were not finished."""

    position: int = 0
    """Every record before it was read."""
    open_from: int = 0
    """Seq of the oldest record of a session that was not finished."""
    until_us: int = 0
    """Sessions that fell due until then are finished."""


class ProfileStore(Protocol):
    """Called from any thread. Whatever cannot be written or read raises `UnavailableError`."""

    @property
    def progress(self) -> Progress:
        """How far the log is in the profiles kept."""
        ...

    def keep(self, profiles: Sequence[SessionProfile], progress: Progress) -> None:
        """Add finished sessions and note how far the log was read, together.

        A session that was kept before and goes on nevertheless is kept beside it, with `+1`, `+2`, … at its name.
        """
        ...

    def after(self, number: int, limit: int) -> Sequence[KeptProfile]:
        """Those behind a number, in their order."""
        ...

    def newest(self, agent: AgentId, limit: int, *, since_us: int = 0) -> Sequence[KeptProfile]:
        """An agent's sessions that ended since then, newest first."""
        ...

    def find(self, agent: AgentId, session: str) -> KeptProfile | None:
        """One session of an agent."""
        ...

    def counts(self) -> Mapping[AgentId, int]:
        """How many sessions of each agent are kept."""
        ...

    def forget(self, agents: Sequence[AgentId]) -> None:
        """Remove all that is kept of these agents."""
        ...

    def sweep(self, *, before_us: int, most: int) -> int:
        """Remove sessions that ended before then, and of each agent all but the newest; how many went."""
        ...

    def clear(self) -> None:
        """Remove everything, to make it again from the log."""
        ...

    # -- what detectors made of them

    def states(self, agents: Sequence[AgentId]) -> Mapping[AgentId, bytes]:
        """What `keep_states` was last given of these agents."""
        ...

    @property
    def watched(self) -> int:
        """Number of the newest profile that is in the states."""
        ...

    def keep_states(self, states: Mapping[AgentId, bytes], *, watched: int) -> None:
        """Keep states (empty: remove) and how far profiles are in them, together."""
        ...
