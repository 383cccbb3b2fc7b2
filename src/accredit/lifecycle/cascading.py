"""What the end of an agent means for those it hands work to and those that hand work to it.

Delegations are by id and count only while both agents run, so nothing has to be taken out of a manifest for them to be
worth nothing: a name that is used again inherits none of them. Whoever was there for the retired agent alone is found,
for people to retire, suspend, or say what else it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.findings import FindingKind, Observed
from accredit.lifecycle.discovery.reconciling import RETIREMENT_SOURCE
from accredit.lifecycle.discovery.service import Findings
from accredit.monitoring.model import Severity
from accredit.registry.model import Agent, AgentState

__all__ = ["Callee", "Cascade", "Relations", "relations_of", "stranded"]

_GONE = frozenset({AgentState.RETIRING, AgentState.RETIRED})


@dataclass(frozen=True, slots=True)
class Callee:
    """An agent that another hands work to."""

    agent: AgentId
    name: str
    """environment/name."""
    alone: bool
    """No other agent that is not gone hands work to it."""

    def document(self) -> dict[str, Any]:
        return {"agent": self.agent, "alone": self.alone, "name": self.name}


@dataclass(frozen=True, slots=True)
class Relations:
    """Whom an agent hands work to, and who hands work to it; of those that are not gone, by id."""

    callees: tuple[Callee, ...]
    callers: tuple[AgentId, ...]

    def document(self) -> dict[str, Any]:
        """As plans show it."""
        return {"callees": [one.document() for one in self.callees], "callers": list(self.callers)}


def _handed(agent: Agent) -> frozenset[AgentId]:
    """Whom an agent hands work to, by the version in force or one that waits."""
    versions = (agent.version, *([agent.candidate] if agent.candidate else []))
    return frozenset(one.callee for version in versions for one in version.delegates)


def relations_of(agent: Agent, agents: Iterable[Agent]) -> Relations:
    """An agent's place among all of them. Pure."""
    mine, there = _handed(agent), {one.id: one for one in agents if one.state not in _GONE and one.id != agent.id}
    others = {one.id: _handed(one) for one in there.values()}
    needed = {callee for caller, handed in others.items() for callee in handed if callee != caller}
    return Relations(
        tuple(
            Callee(one, f"{there[one].environment}/{there[one].name}", one not in needed)
            for one in sorted(mine)
            if one in there
        ),
        tuple(sorted(caller for caller, handed in others.items() if agent.id in handed)),
    )


def stranded(agent: Agent, agents: Iterable[Agent]) -> bool:
    """Whether an agent that a retired one handed work to still runs without any other that does. Pure."""
    if agent.state in _GONE or agent.state is AgentState.SUSPENDED:
        return False
    return not any(agent.id in _handed(one) for one in agents if one.state not in _GONE and one.id != agent.id)


class Cascade:
    """The `Delegations` of the retirement's steps."""

    def __init__(self, agents: Callable[[], Iterable[Agent]], findings: Findings) -> None:
        self._agents = agents
        self._findings = findings

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        return relations_of(agent, self._agents()).document()

    async def propose(self, agent: Agent) -> Mapping[str, Any]:
        relations, told = relations_of(agent, self._agents()), []
        for one in relations.callees:
            finding = None
            if one.alone:
                seen = Observed(
                    FindingKind.DELEGATE,
                    one.agent,
                    Severity.WARNING,
                    one.name,
                    one.agent,
                    RETIREMENT_SOURCE,
                    {"retired": agent.id},
                )
                opened = await self._findings.open_finding(seen)
                finding = None if opened is None else opened.id
            told.append({**one.document(), "finding": finding})
        return {"callees": told, "callers": list(relations.callers)}
