"""Where profiles of sessions are kept, with what was made of them. All of it can be made again from the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["KeptProfile", "ProfileStore"]


@dataclass(frozen=True, slots=True)
class KeptProfile:
    """A profile and its place among all, in the order they were finished."""

    number: int
    """From 1 on, without gaps; the same whenever they are made again from the same log."""
    profile: SessionProfile


class ProfileStore(Protocol):
    """Called from worker threads, one at a time. Whatever cannot be written or read raises `UnavailableError`."""

    @property
    def position(self) -> int:
        """Every record before it is in the profiles kept, or in a session that `open_from` reaches back to."""
        ...

    @property
    def open_from(self) -> int:
        """Seq of the oldest record of a session that was not finished at `position`."""
        ...

    def keep(self, profiles: Sequence[SessionProfile], *, position: int, open_from: int) -> None:
        """Add finished sessions and note how far the log was read, together. A session kept before is replaced."""
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

    def forget(self, agents: Sequence[AgentId]) -> None:
        """Remove all that is kept of these agents."""
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
