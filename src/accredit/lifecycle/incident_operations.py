"""Incidents as people and one rule open, freeze and close them, with the question of who may asked first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from accredit.audit.legal_holds import LegalHoldKeeper
from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.canonical import digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.findings import AgentFinding, FindingKind
from accredit.lifecycle.discovery.keys import FoundKey, FoundKeys
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.ghosts import GHOST_RULE, haunting
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.service import Lifecycle
from accredit.monitoring.service import Monitor
from accredit.registry.authority import Act
from accredit.registry.model import Agent, Incident
from accredit.registry.service import Registry

__all__ = ["IncidentOperations"]

_RULE: Final = Actor(basis="system")
_log = logging.getLogger(__name__)


class IncidentOperations:
    """Opens, freezes and closes them. Methods of people raise ForbiddenError for whoever may not."""

    def __init__(
        self,
        *,
        registry: Registry,
        lifecycle: Lifecycle,
        monitor: Monitor,
        findings: Findings,
        keys: FoundKeys,
        legal_holds: LegalHoldKeeper,
        records: Callable[[], int],
    ) -> None:
        """`records` says how many records the log holds."""
        self._registry = registry
        self._lifecycle = lifecycle
        self._monitor = monitor
        self._findings = findings
        self._keys = keys
        self._legal_holds = legal_holds
        self._records = records
        self._permission = Permission(registry)

    # -- what people do

    def get(self, incident: str) -> Incident:
        """The incident of that id.

        Raises:
            NotFoundError: there is none.
        """
        found = self._registry.incident(incident)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no incident `{incident[:80]}`", hint="see `incident list`")
        return found

    async def open(
        self, who: Operator, agents: Sequence[AgentId], severity: int, what: str, *, linked: Sequence[str] = ()
    ) -> Incident:
        """Put on record that something went wrong with agents. Raises as `Registry.open_incident`.

        `linked` names alerts and findings by their ids, and records as `record:SEQ`.

        Raises:
            NotFoundError: no such agent, or nothing has an id that is linked.
        """
        for agent in agents:
            self._permission.require(Act.FLAG_INCIDENT, who, agent=self._known(agent))
        for one in linked:
            self._require_there(one)
        return await self._registry.open_incident(agents, severity, _actor(who), what, linked=linked)

    def _require_there(self, linked: str) -> None:
        number = linked.removeprefix("record:")
        if number != linked:
            there = number.isdecimal() and len(number) < 19 and int(number) < self._records()
        else:
            there = self._monitor.alert(linked) is not None or self._findings.get(linked) is not None
        if not there:
            raise NotFoundError(Code.NOT_FOUND, f"there is no alert, finding or record `{linked[:80]}`")

    async def freeze(self, who: Operator, incident: str) -> Incident:
        """Keep all records and stored items of an incident's agents from every deletion, by a legal hold on each.

        Doing it again places what is missing. The holds are lifted like any other, by another person than who froze.

        Raises:
            NotFoundError: no such incident.
            ConflictError: too many legal holds are in force.
            UnavailableError: it could not be recorded; holds that were placed are in force all the same.
        """
        self._permission.require(Act.PLACE_LEGAL_HOLD, who)
        found = self.get(incident)
        holding = {one.agent: one.id for one in self._legal_holds.open() if one.incident == incident}
        for agent in found.agents:
            if agent not in holding:
                placed = await self._legal_holds.place(
                    matter=f"incident {incident}", by=_actor(who), agent=agent, incident=incident
                )
                holding[agent] = placed.id
        await self._registry.freeze_incident(incident, sorted(holding.values()), _actor(who))
        return self.get(incident)

    async def close(self, who: Operator, incident: str, disposition: str) -> Incident:
        """Close an incident with what it came to. Raises as `Registry.close_incident`."""
        known = self._registry.incident(incident)
        for agent in known.agents if known else (None,):
            self._permission.require(
                Act.CLOSE_INCIDENT, who, agent=None if agent is None else self._registry.get(agent)
            )
        self.get(incident)
        if not disposition.strip():
            raise InvalidInputError(Code.BODY_MALFORMED, "say in words what the incident came to")
        await self._registry.close_incident(incident, _actor(who), disposition)
        return self.get(incident)

    # -- what is due without anybody asking

    async def round(self) -> None:
        """Open an incident on each retired agent that is seen; one of each agent while it is open.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        keys = self._keys.by_agent()
        findings: dict[AgentId | None, list[AgentFinding]] = {}
        for one in self._findings.find(open_=True, kind=FindingKind.GHOST):
            findings.setdefault(one.seen.agent, []).append(one)
        for procedure in self._lifecycle.retirements():
            told = findings.get(procedure.agent, []), keys.get(procedure.agent, [])
            try:
                await self._look_at(procedure.agent, procedure.begun_us, *told)
            except AccreditError as error:
                _log.warning("a ghost of %s is not an incident yet: %s", procedure.agent, error.message)

    async def _look_at(
        self, agent: AgentId, retired_us: int, findings: Sequence[AgentFinding], keys: Sequence[FoundKey]
    ) -> None:
        alerts = self._monitor.alerts(agent=agent)
        if not (alerts or findings or keys):
            return
        earlier = [one for one in self._registry.incidents_of(agent) if one.rule == GHOST_RULE]
        closed_us = max((one.closed_us or 0 for one in earlier), default=0)
        seen = haunting(retired_us, alerts, findings, keys, since_us=closed_us)
        if seen is None:
            return
        standing = next((one for one in earlier if one.open), None)
        if standing is not None:
            # only what makes it graver is news; more of the same is counted by its alert
            if seen.severity < standing.severity:
                await self._registry.raise_incident(standing.id, seen.severity, _RULE, seen.why, linked=seen.linked)
            return
        named = digest_value("ghost-incident", [agent, len(earlier)]).removeprefix("sha256:")[:32]
        await self._registry.open_incident(
            [agent], seen.severity, _RULE, seen.why, rule=GHOST_RULE, linked=seen.linked, incident=f"inc_{named}"
        )

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
