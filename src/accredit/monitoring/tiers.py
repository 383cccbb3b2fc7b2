"""Which agents' tiers are to be computed anew: a bounded number in each round.

Nearly everything registered can move a tier, and time can: agreements run out. So the watch goes round all agents that
run in production, slowly; it hurries while something changed that many rest on, and whom a change names comes first.
However many are named, and however often one cannot be computed, the turn goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from accredit.audit.ports import Change
from accredit.kernel.ids import AgentId
from accredit.policy.releases import CURRENT
from accredit.registry import rows
from accredit.registry.catalogue import Catalogue
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Environment

__all__ = ["TierRounds"]

_MANY: Final = frozenset({CURRENT, rows.AGREEMENT, rows.SERVER, rows.TEAM, rows.TOOL})
"""Kinds of rows on which the tiers of many agents rest."""
_HURRIED: Final = 250
_SLOWLY: Final = 20


class TierRounds:
    """Goes round the agents whose tier is watched."""

    def __init__(self, catalogue: Callable[[], Catalogue]) -> None:
        self._catalogue = catalogue
        self._named: dict[AgentId, None] = {}
        """In the order in which they were named."""
        self._callable = False
        """Whether an agent changed that others may call: what it can do they can."""
        self._left: deque[AgentId] = deque()
        """Of the present turn."""
        self._changed = True
        """Whether something many rest on changed in the present turn: whoever had theirs is due again."""
        self._hurried = True

    def follow(self, change: Change) -> None:
        """Take note of a change. Costs nothing by itself."""
        for write in change.writes:
            if write.kind in _MANY:
                self._changed = self._hurried = True
            elif write.kind == rows.AGENT:
                self._name(AgentId(write.key))
                self._callable = True
            elif write.kind == rows.INCIDENT and write.doc is not None:
                self._name(AgentId(write.doc["agent"]))
                self._callable = True

    def again(self, agent: AgentId) -> None:
        """It could not be computed, or is to be looked at anew: after all who were named before it."""
        self._name(agent)

    def take(self) -> tuple[AgentId, ...]:
        """The next ones."""
        if self._callable:
            self._callable = False
            for agent in self._watched():
                if agent.version.manifest["spec"]["delegates"]:
                    self._name(agent.id)
        named = list(islice(self._named, _HURRIED))
        for one in named:
            del self._named[one]
        if not self._left:
            self._hurried, self._changed = self._changed, False
            self._left.extend(agent.id for agent in self._watched())
        room = max(_SLOWLY, _HURRIED - len(named)) if self._hurried else _SLOWLY
        turn = [self._left.popleft() for _ in range(min(room, len(self._left)))]
        return tuple(dict.fromkeys((*named, *turn)))

    def _name(self, agent: AgentId) -> None:
        self._named.setdefault(agent)

    def _watched(self) -> list[Agent]:
        return [
            agent
            for agent in self._catalogue().agents()
            if agent.environment is Environment.PRODUCTION and runs(agent.environment, agent.state)
        ]
