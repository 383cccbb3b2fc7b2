"""What people do about agents that were found, and the look at the fleet that finds them: findings from end to end.

A look reads what is in memory and one line of roll-ups for each agent. It opens what is new, ends what is not so any
more, tells people of what was not answered in time, and then suspends what nobody has used; it can be repeated at any
time, and ended at any point.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from accredit.audit.model import LastUse
from accredit.audit.ports import Actor, LogReader
from accredit.identity.broker import SealedBroker
from accredit.identity.model import Credential, Operator
from accredit.identity.state import IdentityState
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.discovery.drafting import draft, drafted_name
from accredit.lifecycle.discovery.findings import (
    AgentFinding,
    FindingAnswer,
    FindingKind,
    FindingState,
    Observed,
    answers_to,
    owner_of,
)
from accredit.lifecycle.discovery.keys import FoundKeys
from accredit.lifecycle.discovery.matching import Inventory, Sighting, match
from accredit.lifecycle.discovery.model import Matched
from accredit.lifecycle.discovery.reconciling import (
    ALERTS,
    OBSERVED,
    REGISTRY,
    RETIREMENT_SOURCE,
    UNUSED_US,
    from_alerts,
    from_registry,
    from_scan,
    live,
    moved,
)
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.operations import Operations
from accredit.lifecycle.people_operations import PeopleOperations
from accredit.lifecycle.permission import Permission, require_admin_scope
from accredit.lifecycle.remedies import REMEDY
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.succession import AskedAs
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.service import Monitor
from accredit.registry.authority import Act
from accredit.registry.model import Agent, Role
from accredit.registry.service import Registry

__all__ = ["Answered", "Discovered", "DiscoveryOperations", "FindingView"]

_DAY_US: Final = 86_400_000_000
_COST_DAYS: Final = 30
_MAX_SIGHTINGS: Final = 2_000
_MAX_REASON: Final = 2_000
_AT_ONCE: Final = 500
"""Findings that one look opens, ends, or tells of, at most: the next goes on."""
_LOOK_EVERY_US: Final = 10 * 60_000_000
_OWN_SOURCES: Final = frozenset({ALERTS, OBSERVED, REGISTRY, RETIREMENT_SOURCE, ""})
_STOPPED: Final[Mapping[FindingKind, str]] = {
    FindingKind.VERSION_MISMATCH: "what runs is not what was approved",
    FindingKind.ZOMBIE: "not used for 60 days",
}
"""Kinds of findings whose agent is suspended once they are overdue."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding with all that whoever answers it needs to know, as of now."""

    finding: AgentFinding
    agent: Agent | None
    owner: PersonId | None
    """None: everybody in that role."""
    role: Role
    credentials: tuple[Credential, ...]
    """Those of its agent that let anybody in now."""
    cost_nanos: int
    """Of its agent in the last 30 days, through the gateway; else what the provider's export says."""
    data: tuple[str, ...]
    answers: tuple[FindingAnswer, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer came to."""

    finding: AgentFinding
    draft: str = ""
    """Of `register`: a manifest to be completed and applied."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What one trace of a scan came to."""

    matched: Matched
    finding: str | None
    """The finding about it, if one is open."""


class DiscoveryOperations:
    """Findings, as people and the machinery act on them. Methods of people raise ForbiddenError for who may not."""

    def __init__(
        self,
        *,
        findings: Findings,
        keys: FoundKeys,
        operations: Operations,
        registry: Registry,
        identity: IdentityState,
        lifecycle: Lifecycle,
        people: PeopleOperations,
        monitor: Monitor,
        broker: SealedBroker,
        records: LogReader,
        clock: Clock,
        public_url: str,
    ) -> None:
        self.findings = findings
        self._keys = keys
        self._operations = operations
        self._registry = registry
        self._identity = identity
        self._lifecycle = lifecycle
        self._people = people
        self._monitor = monitor
        self._broker = broker
        self._records = records
        self._clock = clock
        self._public_url = public_url
        self._permission = Permission(registry)
        self._looked_boot_us: int | None = None
        self._alone = asyncio.Lock()

    # -- what people see

    def open_findings(self, kind: FindingKind | None = None) -> Sequence[AgentFinding]:
        """The open findings, those that are due first."""
        return self.findings.find(open_=True, kind=kind)

    def views(self, findings: Sequence[AgentFinding]) -> list[FindingView]:
        """Findings with their live facts, in their order. Reads the roll-ups of the last 30 days of their agents.

        Raises:
            UnavailableError: the log cannot be read.
        """
        agents = {one.seen.agent for one in findings if one.seen.agent is not None}
        since_day = self._clock.now().wall_us // _DAY_US - _COST_DAYS
        used = self._records.last_use(since_day=since_day, agents=agents) if agents else {}
        return [self._view(one, used) for one in findings]

    def _view(self, finding: AgentFinding, used: Mapping[str, LastUse]) -> FindingView:
        agent = None if finding.seen.agent is None else self._registry.get(finding.seen.agent)
        now_us = self._clock.now().wall_us
        owner, role = self._whose(finding, agent)
        cost = int(finding.seen.evidence.get("cost_nanos", 0))
        if agent is not None:
            last = used.get(agent.id)
            cost += last.cost_nanos if last is not None else 0
        return FindingView(
            finding,
            agent,
            owner,
            role,
            tuple(one for one in self._identity.credentials_of(agent.id) if live(one, now_us)) if agent else (),
            cost,
            tuple(sorted(agent.version.data)) if agent else (),
            answers_to(finding),
        )

    def _whose(self, finding: AgentFinding, agent: Agent | None) -> tuple[PersonId | None, Role]:
        """An agent without an owner is whose turn it is to take it over (`lifecycle/succession.py`)."""
        turn = self._people.successions.turn(agent) if agent is not None else None
        if finding.seen.kind is not FindingKind.ORPHAN or turn is None:
            return owner_of(agent, self._registry.organisation)
        role = Role.OPERATOR if turn.as_ is AskedAs.OPERATORS else Role.TEAM_LEAD
        return (turn.persons[0] if len(turn.persons) == 1 else None), role

    def inventory(self) -> Inventory:
        """What is registered, for whoever has something to match to it."""
        catalogue = self._registry.catalogue

        def agent_of_key(hashed: str) -> AgentId | None:
            found = self._identity.opaque_credential(hashed)
            return None if found is None else found.agent

        return Inventory(
            gateway=self._public_url,
            agents={one.id: one for one in catalogue.agents()},
            servers=catalogue.servers(),
            credentials=frozenset(one.name for one in self._broker.credentials()),
            agent_of_key=agent_of_key,
        )

    # -- what people do

    async def discovered(
        self, who: Operator, sightings: Sequence[Sighting], *, source: str, complete: bool
    ) -> list[Discovered]:
        """Match what a scan found to what is registered; with a `source`, open findings on what is not.

        A finding ends when the same source reports everything there is (`complete`) and it is not among it.

        Raises:
            InvalidInputError: there is too much at once, or the source has a name of ours.
            UnavailableError: something could not be made durable; reporting it again completes it.
        """
        if len(sightings) > _MAX_SIGHTINGS:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"more than {_MAX_SIGHTINGS} traces", hint="report in parts")
        matched = await asyncio.to_thread(match, sightings, self.inventory())
        if not source:
            return [Discovered(one, None) for one in matched]
        self._permission.require(Act.REPORT_DISCOVERY, who)
        if source in _OWN_SOURCES:
            raise InvalidInputError(Code.BODY_MALFORMED, f"`{source}` is no name for what was scanned")
        observed = list(from_scan(sightings, matched, source))
        made: list[Discovered] = []
        for one, found in zip(matched, observed, strict=True):
            opened = None if found is None else await self.open_finding(found)
            made.append(Discovered(one, opened.id if opened is not None and opened.open else None))
        await self._keys.note(sightings, matched, source, complete=complete)
        if complete:
            seen = [one for one in observed if one is not None]
            for each in self.findings.no_more(source, frozenset(FindingKind), seen):
                await self.findings.over(each)
        return made

    async def open_finding(self, observed: Observed) -> AgentFinding | None:
        """The finding on something observed, opened if there is none. Raises as `Findings.open_finding`."""
        return await self.findings.open_finding(observed)

    async def answer(self, who: Operator, finding_id: str, answer: FindingAnswer, reason: str) -> Answered:
        """Do what an answer says, and put it on record. What is done to an agent needs the right to do that, too.

        Raises:
            NotFoundError: no such finding, or its agent is gone.
            ConflictError: the finding is over or cannot be answered so, or the agent's state does not allow it.
            ForbiddenError: `separation_of_duties`: a dismissal needs a second person.
            UnavailableError: something could not be made durable; answering again completes it.
        """
        finding = self.findings.known(finding_id)
        agent = None if finding.seen.agent is None else self._registry.get(finding.seen.agent)
        self._permission.require(Act.ANSWER_FINDING, who, agent=agent)
        if not 1 <= len(reason.strip()) <= _MAX_REASON:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a reason has 1 to {_MAX_REASON} characters")
        self.findings.check(finding, answer, who.person, self._second_by(agent))
        if answer in {FindingAnswer.ADOPT, FindingAnswer.SUSPEND, FindingAnswer.RETIRE}:
            if agent is None:
                raise NotFoundError(Code.NOT_FOUND, f"finding `{finding.id}` is about no agent that there is")
            await self._act(who, agent, answer, f"finding {finding.id}: {reason}"[:500])
        after = await self.findings.answered(finding.id, answer, _actor(who), reason, second_by=self._second_by(agent))
        if answer is FindingAnswer.REGISTER:
            known = self._registry.organisation.people.get(who.person)
            team = agent.team.name if agent is not None else ""
            return Answered(after, draft(after, owner=known.email if known else "", team=team))
        return Answered(after)

    async def _act(self, who: Operator, agent: Agent, answer: FindingAnswer, why: str) -> None:
        match answer:
            case FindingAnswer.SUSPEND:
                await self._operations.suspend(who, agent.id, why)
            case FindingAnswer.RETIRE:
                await self._operations.retire(who, agent.id, why)
            case _:
                await self._people.adopt(who, agent.id, why)

    def _second_by(self, agent: Agent | None) -> Callable[[PersonId], bool]:
        """Whether somebody may take the second look: of security, a person, and no owner of the agent's."""

        def may(person: PersonId) -> bool:
            known = self._registry.organisation.people.get(person)
            owns = agent is not None and person in {agent.owner, agent.backup_owner}
            sees = bool(self._registry.organisation.held(person, Role.SECURITY, agent.team.id if agent else None))
            return known is not None and not known.bot and sees and not owns

        return may

    async def look_now(self, who: Operator) -> int:
        """Look at the fleet now instead of within minutes; how many findings are open after.

        Raises:
            UnavailableError: the log cannot be read or written.
        """
        require_admin_scope(who)
        self._permission.require(Act.REPORT_DISCOVERY, who)
        await self.look()
        return len(self.findings.find(open_=True))

    # -- what is due without anybody asking

    async def tidy(self) -> None:
        """Look at the fleet if the last look is some minutes ago, and at what is overdue.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        now = self._clock.now()
        if self._looked_boot_us is None or now.boot_us - self._looked_boot_us >= _LOOK_EVERY_US:
            await self.look()
            self._looked_boot_us = now.boot_us
        await self._overdue()

    async def look(self) -> None:
        """Open what is new and end what is not so any more, as far as the registry and alerts tell.

        Raises:
            UnavailableError: the log cannot be read or written; looking again completes it.
        """
        async with self._alone:
            observed = await asyncio.to_thread(self._observed)
            for source, kinds in (
                (REGISTRY, {FindingKind.EXPIRED, FindingKind.MOVED, FindingKind.ORPHAN, FindingKind.ZOMBIE}),
                (ALERTS, set(FindingKind)),
            ):
                seen = [one for one in observed if one.source == source]
                for each in self.findings.no_more(source, kinds, seen)[:_AT_ONCE]:
                    await self.findings.over(each)
            fresh = [one for one in observed if self.findings.standing(one) is None]
            for one in fresh[:_AT_ONCE]:
                await self.findings.open_finding(one)
            await self._registered()

    async def owner_moved(self, agent: Agent) -> None:
        """Look at once whether an agent's owner lost or has back what it takes; whoever answers for it is told.

        Raises:
            UnavailableError: it could not be made durable; the next look completes it.
        """
        seen = moved(agent, self._registry.entitlements)
        if seen is not None:
            now_us = self._clock.now().wall_us
            await self._monitor.note(Deviation(agent.id, AlertKind.RIGHT_LOST, agent.owner, seen.evidence, now_us))
            await self.findings.open_finding(seen)
            return
        for one in self.findings.find(open_=True, kind=FindingKind.MOVED):
            if one.seen.agent == agent.id:
                await self.findings.over(one.id)

    def _observed(self) -> list[Observed]:
        """What is not right now."""
        now_us = self._clock.now().wall_us
        catalogue = self._registry.catalogue

        def name(agent: AgentId) -> str:
            found = catalogue.agent(agent)
            return agent if found is None else f"{found.environment}/{found.name}"

        used = self._records.last_use(since_day=(now_us - UNUSED_US) // _DAY_US)
        return [
            *from_registry(
                list(catalogue.agents()),
                people=catalogue.people,
                credentials_of=self._identity.credentials_of,
                used=used,
                now_us=now_us,
                entitlements=self._registry.entitlements,
            ),
            *from_alerts(self._monitor.alerts(), name),
        ]

    async def _registered(self) -> None:
        """End findings on what somebody said they register, once it is there."""
        waiting = [
            one
            for one in self.findings.find(open_=True)
            if one.answer is FindingAnswer.REGISTER and one.seen.agent is None
        ]
        if not waiting:
            return
        newest: dict[str, int] = {}
        for agent in self._registry.catalogue.agents():
            newest[agent.name] = max(newest.get(agent.name, 0), agent.registered_us)
        for one in waiting:
            if newest.get(drafted_name(one), 0) >= one.opened_us:
                await self.findings.over(one.id)

    async def _overdue(self) -> None:
        now_us = self._clock.now().wall_us
        for one in self.findings.overdue(now_us)[:_AT_ONCE]:
            if one.escalated_us is None:
                evidence = {"due_us": one.due_us, "finding": one.id, "kind": one.seen.kind.value}
                await self._monitor.note(Deviation(one.seen.agent, AlertKind.FINDING_OVERDUE, one.id, evidence, now_us))
                await self.findings.escalated(one.id)
            why = _STOPPED.get(one.seen.kind)
            if why is not None and one.state is not FindingState.ANSWERED and one.seen.agent:
                await self._suspend(one, one.seen.agent, why)

    async def _suspend(self, finding: AgentFinding, agent: AgentId, why: str) -> None:
        """What nobody answered for is stopped; whoever needs it has it resumed."""
        try:
            await self._lifecycle.suspend(agent, REMEDY, f"finding {finding.id}: {why}, and nobody answered in time")
            await self.findings.over(finding.id)
        except ConflictError as error:
            _log.warning("agent %s of %s is not suspended: %s", agent, finding.id, error.message)
        except AccreditError as error:
            _log.error("agent %s of %s could not be suspended: %s", agent, finding.id, error.message)


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
