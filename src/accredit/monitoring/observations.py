"""What was observed of each agent and counts for its tier, from one start to the next: rows that the log proves.

The days of the window are folded from the log again at every start (`observing.py`), which takes a while. Until that
is through, what the process before this one found stands, and only more can be added: nobody is taken for less because
a process began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.ids import AgentId, ToolId
from accredit.monitoring.rows import OBSERVED
from accredit.registry.model import Tier
from accredit.registry.observation import NOTHING_OBSERVED, ObservedRisk
from accredit.registry.workflow import Workflow

__all__ = ["Observations", "ObservedAgent"]


@dataclass(frozen=True, slots=True)
class ObservedAgent:
    """Of one agent: what was observed, and the work it does with others if that comes to more than it does alone."""

    risk: ObservedRisk = NOTHING_OBSERVED
    workflow: Workflow | None = None


_NOTHING: Final = ObservedAgent()


class Observations:
    """Every agent's observation that is in force. Read from any thread."""

    def __init__(self, control: ControlLog) -> None:
        self._control = control
        self._all: dict[AgentId, ObservedAgent] = {
            AgentId(row.key): _from(row.doc) for row in control.view.scan(OBSERVED)
        }
        self.revision = 0
        """Another one whenever any of them changed."""
        control.subscribe(self._follow)

    def of(self, agent: AgentId) -> ObservedAgent:
        """What is in force of an agent."""
        return self._all.get(agent, _NOTHING)

    def risk(self, agent: AgentId) -> ObservedRisk:
        """What was observed of an agent."""
        return self.of(agent).risk

    def workflow(self, agent: AgentId) -> Workflow | None:
        """The work that an agent is a part of, if that comes to more than the agent does alone."""
        return self.of(agent).workflow

    def agents(self) -> frozenset[AgentId]:
        """Those of which anything is in force."""
        return frozenset(self._all)

    def writable(self, agent: AgentId) -> bool:
        """Whether a row of this agent can be written: what the log contradicts cannot be written over."""
        return (OBSERVED, agent) not in self._control.unproven

    async def keep(self, found: Mapping[AgentId, ObservedAgent]) -> None:
        """Put these in force.

        Raises:
            UnavailableError: they could not be made durable; keeping them again completes it.
        """

        def build(_: StateView) -> Change | None:
            writes = [
                Write(OBSERVED, agent, _doc(one) if one != _NOTHING else None)
                for agent, one in sorted(found.items())
                if one != self.of(agent) and self.writable(agent)
            ]
            if not writes:
                return None
            return Change(Facts("monitoring.observed"), tuple(writes), Actor(), {"agents": [one.key for one in writes]})

        await self._control.transact(build)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind != OBSERVED:
                continue
            self.revision += 1
            if write.doc is None:
                self._all.pop(AgentId(write.key), None)
            else:
                self._all[AgentId(write.key)] = _from(write.doc)


def _doc(one: ObservedAgent) -> dict[str, Any]:
    work = one.workflow
    return {
        "callers": sorted(one.risk.callers),
        "data": [list(each) for each in sorted(one.risk.data)],
        "reach": one.risk.reach,
        "workflow": None
        if work is None
        else {
            "agents": list(work.agents),
            "floors": list(work.floors),
            "records": list(work.records),
            "tier": work.tier,
        },
    }


def _from(doc: Mapping[str, Any]) -> ObservedAgent:
    work = doc["workflow"]
    return ObservedAgent(
        ObservedRisk(
            frozenset((version, ToolId(tool), kind) for version, tool, kind in doc["data"]),
            frozenset(AgentId(one) for one in doc["callers"]),
            doc["reach"],
        ),
        work
        and Workflow(
            tuple(AgentId(one) for one in work["agents"]),
            Tier(work["tier"]),
            tuple(work["floors"]),
            tuple(work["records"]),
        ),
    )
