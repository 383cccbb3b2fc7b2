"""What is reported of agents (`enforcement/reports.py`): findings for people, and how often it was said.

INVARIANT: a report opens alerts of kinds of its own, to which there is no automatic answer, and is counted apart. It is
no part of a baseline, makes nothing old that is new, and is no use of a permission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.audit.model import StoredRecord
from accredit.audit.ports import Change, ControlLog, Write
from accredit.audit.records import body_of, header_of
from accredit.kernel.ids import AgentId, ToolId
from accredit.monitoring.model import AlertKind, Deviation, ReportedUse
from accredit.monitoring.novelty import UNREGISTERED
from accredit.monitoring.rows import REPORTED_USE
from accredit.registry.model import Agent, AgentState

__all__ = ["ReportedUses", "SeenReport", "findings", "report_in"]

_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_MOST_TOOLS: Final = 200
"""Of one agent; further ones are counted together."""


@dataclass(frozen=True, slots=True)
class SeenReport:
    """A `reported` record, as its header and body tell it."""

    position: int
    time_us: int
    agent: AgentId | None
    environment: str
    used: str
    """tool, model or nothing."""
    tool: ToolId | None
    granted: bool
    unknown_agent: str | None
    """Keyed fingerprint of a name that nobody registered."""
    point: str | None
    """The collector that said it; None: the agent itself."""
    count: int


def report_in(record: StoredRecord) -> SeenReport | None:
    """What a record reports, if it does."""
    header = header_of(record)
    if header["kind"] != "reported":
        return None
    body = body_of(record)
    return SeenReport(
        position=record.seq,
        time_us=header["time"],
        agent=AgentId(header["agent"]) if header["agent"] else None,
        environment=header["environment"],
        used=body["used"],
        tool=ToolId(header["tool"]) if header["tool"] else None,
        granted=body["granted"],
        unknown_agent=body["unknown_agent"],
        point=body["point"],
        count=body["count"],
    )


def findings(seen: SeenReport, agent: Agent | None) -> tuple[Deviation, ...]:
    """What of a report people should look into. `agent` is the registered one, as it is now."""
    evidence: Mapping[str, Any] = {
        "environment": seen.environment,
        "record": seen.position,
        "reported_by": seen.point or "the agent itself",
    }

    def finding(kind: AlertKind, matter: str) -> Deviation:
        return Deviation(seen.agent, kind, matter, evidence, seen.time_us, seen.position)

    found: list[Deviation] = []
    if seen.agent is None:
        # of an agent that nobody registered everything it does is the same finding
        return (finding(AlertKind.REPORTED_AGENT, seen.unknown_agent or UNREGISTERED),)
    if seen.unknown_agent is not None:
        found.append(finding(AlertKind.REPORTED_AGENT, UNREGISTERED))
    if agent is not None and agent.state in _GONE:
        found.append(finding(AlertKind.REPORTED_AGENT, agent.state.value))
    if seen.used != "nothing" and not seen.granted:
        kind = AlertKind.REPORTED_MODEL if seen.used == "model" else AlertKind.REPORTED_TOOL
        found.append(finding(kind, seen.tool or UNREGISTERED))
    return tuple(found)


@dataclass(slots=True)
class _Counted:
    position: int
    """Of the newest record counted."""
    uses: dict[str, ReportedUse]
    written: bool = True


class ReportedUses:
    """How often what was reported, by agent. Counted in memory, written together with the cursor."""

    def __init__(self, control: ControlLog) -> None:
        self._control = control
        self._agents: dict[AgentId, _Counted] = {}
        for row in control.view.scan(REPORTED_USE):
            self._agents[AgentId(row.key)] = _from(row.doc)

    def of(self, agent: AgentId) -> tuple[ReportedUse, ...]:
        """What was reported of an agent, by tool id; what has none comes last."""
        counted = self._agents.get(agent)
        if counted is None:
            return ()
        return tuple(use for _, use in sorted(counted.uses.items(), key=lambda item: (item[0] == "", item[0])))

    def count(self, seen: SeenReport) -> None:
        """Add a report. One that is read again is counted once."""
        if seen.agent is None or seen.used == "nothing":
            return
        counted = self._agents.setdefault(seen.agent, _Counted(-1, {}))
        if seen.position <= counted.position:
            return
        key = seen.tool or ""
        if key not in counted.uses and len(counted.uses) >= _MOST_TOOLS:
            key = ""
        before = counted.uses.get(key) or ReportedUse(ToolId(key) if key else None, 0, seen.time_us, seen.time_us)
        last_us = max(before.last_us, seen.time_us)
        counted.uses[key] = replace(before, count=before.count + seen.count, last_us=last_us)
        counted.position, counted.written = seen.position, False

    @property
    def uncounted(self) -> int:
        """Of how many agents counts are not written yet."""
        return len(self._waiting())

    def writes(self, limit: int) -> tuple[Write, ...]:
        """Counts that are not written yet."""
        return tuple(Write(REPORTED_USE, agent, _doc(self._agents[agent])) for agent in self._waiting()[:limit])

    def _waiting(self) -> list[AgentId]:
        unproven = self._control.unproven  # what the log contradicts cannot be written over
        waiting = (agent for agent, counted in sorted(self._agents.items()) if not counted.written)
        return [agent for agent in waiting if (REPORTED_USE, agent) not in unproven]

    def follow(self, change: Change) -> None:
        """Note what is written. To be told of every change."""
        for write in change.writes:
            counted = self._agents.get(AgentId(write.key)) if write.kind == REPORTED_USE else None
            if counted is not None and write.doc is not None and write.doc["position"] == counted.position:
                counted.written = True


def _doc(counted: _Counted) -> dict[str, Any]:
    uses = [[key, use.count, use.first_us, use.last_us] for key, use in sorted(counted.uses.items())]
    return {"position": counted.position, "uses": uses}


def _from(doc: Mapping[str, Any]) -> _Counted:
    uses = {
        key: ReportedUse(ToolId(key) if key else None, count, first_us, last_us)
        for key, count, first_us, last_us in doc["uses"]
    }
    return _Counted(doc["position"], uses)
