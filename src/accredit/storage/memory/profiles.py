"""Profiles of sessions in the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import SessionProfile
from accredit.monitoring.profiles.ports import KeptProfile, Progress

__all__ = ["MemoryProfileStore"]


class MemoryProfileStore:
    """A `ProfileStore`."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.watched = 0
        self._newest = 0
        self._kept: dict[int, SessionProfile] = {}
        self._states: dict[AgentId, bytes] = {}

    def keep(self, profiles: Sequence[SessionProfile], progress: Progress) -> None:
        for one in profiles:
            taken = {kept.session for kept in self._kept.values() if kept.agent == one.agent}
            part, name = 0, one.session
            while name in taken:
                part += 1
                name = f"{one.session}+{part}"
            self._newest += 1
            self._kept[self._newest] = replace(one, session=name)
        self.progress = progress

    def after(self, number: int, limit: int) -> Sequence[KeptProfile]:
        return [KeptProfile(at, one) for at, one in self._kept.items() if at > number][:limit]

    def newest(self, agent: AgentId, limit: int, *, since_us: int = 0) -> Sequence[KeptProfile]:
        found = [
            KeptProfile(at, one) for at, one in self._kept.items() if one.agent == agent and one.ended_us >= since_us
        ]
        return found[::-1][:limit]

    def find(self, agent: AgentId, session: str) -> KeptProfile | None:
        found = (KeptProfile(at, one) for at, one in self._kept.items() if (one.agent, one.session) == (agent, session))
        return next(found, None)

    def counts(self) -> Mapping[AgentId, int]:
        return Counter(one.agent for one in self._kept.values())

    def forget(self, agents: Sequence[AgentId]) -> None:
        self._kept = {at: one for at, one in self._kept.items() if one.agent not in agents}
        for agent in agents:
            self._states.pop(agent, None)

    def sweep(self, *, before_us: int, most: int) -> int:
        before = len(self._kept)
        newest: dict[AgentId, int] = {}
        kept: dict[int, SessionProfile] = {}
        for at, one in reversed(self._kept.items()):
            newest[one.agent] = newest.get(one.agent, 0) + 1
            if one.ended_us >= before_us and newest[one.agent] <= most:
                kept[at] = one
        self._kept = dict(sorted(kept.items()))
        return before - len(self._kept)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def states(self, agents: Sequence[AgentId]) -> Mapping[AgentId, bytes]:
        return {agent: self._states[agent] for agent in agents if agent in self._states}

    def keep_states(self, states: Mapping[AgentId, bytes], *, watched: int) -> None:
        self._states.update(states)
        self._states = {agent: state for agent, state in self._states.items() if state}
        self.watched = watched
