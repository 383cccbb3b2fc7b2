"""The lifecycle among the real rooms, in one process: a log in memory, control state on disk, sign-off by a plain desk.

The desk counts a vote of anybody as long as it completes the roles; who may vote is tested where it is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Parties,
    RoleNeed,
    SubjectKind,
    Vote,
    VoteVerdict,
)
from accredit.approvals.service import Holds
from accredit.audit.archive import Archived
from accredit.audit.control import ProvenControlLog
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.audit.writer import LogWriter
from accredit.enforcement.snapshot import SnapshotKeeper
from accredit.identity.broker import SealedBroker
from accredit.identity.credentials import AgentCredentials
from accredit.identity.enrolment import Enrolment
from accredit.identity.model import Operator
from accredit.identity.people import People
from accredit.identity.revocation import Revocations
from accredit.identity.state import IdentityState
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId, RandomIds
from accredit.kernel.sealing import AesGcmSealer
from accredit.lifecycle.dossier import Dossiers
from accredit.lifecycle.joining import OpenQuestions, VersionSignOff
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.operations import Operations
from accredit.lifecycle.remedies import Remedies
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.steps import mirrored_steps
from accredit.lifecycle.timeline import Timeline
from accredit.limits.service import Limits
from accredit.monitoring.baselines import BaselineKeeper
from accredit.monitoring.service import Monitor
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.publish import Installation
from accredit.policy.releases import PolicyReleases
from accredit.registry import rows
from accredit.registry.manifest import Document, read_manifests
from accredit.registry.model import Agent, AgentVersion, Person, Role, ToolServer
from accredit.registry.organisation import RoleGrant
from accredit.registry.proposals import Proposal
from accredit.registry.service import Registry
from accredit.storage.memory.counters import MemoryCounterStore
from accredit.storage.memory.records import MemoryRecordStore
from accredit.storage.sqlite.state import SqliteControlStore
from tests.audit.building import STREAM, signer
from tests.identity.world import Gate
from tests.state.installation import Installation as Place

NOW_US = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z
PEOPLE = ("ada", "mira", "dana", "lee", "olive", "sam", "una")
ROLES = {"ada": Role.ADMIN, "mira": Role.ADMIN, "olive": Role.OPERATOR, "sam": Role.SECURITY, "una": Role.AUDITOR}
"""Who holds which role, for every team. Dana owns the agents and lee backs her up."""
VIEW = Digest("sha256:" + "5" * 64)


def operator(name: str, *, scopes: frozenset[str] = frozenset({"admin", "read"}), basis: str = "roles") -> Operator:
    return Operator(PersonId(f"psn_{name}"), f"tok_{name}", scopes, basis)


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object", "properties": {}}}


def server(name: str = "crm", environment: str = "production", **facts: Any) -> dict[str, Any]:
    told = {"read": {"effect": "read", "data": ["internal"], "price": "0 USD"}}
    return {
        "apiVersion": "accredit/v1",
        "kind": "ToolServer",
        "metadata": {"name": name, "environment": environment},
        "spec": {"url": "http://127.0.0.1:9/mcp", "tools": told | facts},
    }


def agent(name: str = "digest", environment: str = "production", **spec: Any) -> dict[str, Any]:
    told = {
        "purpose": "be governed",
        "owner": "dana@example.com",
        "backupOwner": "lee@example.com",
        "tools": [{"server": "crm", "allow": ["read"]}],
        "data": ["internal"],
        "models": [],
        "prompt": {"digest": "sha256:" + "0" * 64},
        "autonomy": "suggests",
        "audience": "employees",
        "inputs": ["employees"],
        "reach": "team",
        "use": {"annex3": False, "decidesOnPeople": False},
        "stores": [{"kind": "memory", "adapter": "qdrant", "namespace": "digest"}],
        "limits": {"calls": {"perMinute": 60}, "concurrency": 2},
    }
    return {
        "apiVersion": "accredit/v1",
        "kind": "Agent",
        "metadata": {"name": name, "team": "support", "environment": environment},
        "spec": told | spec,
    }


def read(*documents: Mapping[str, Any]) -> tuple[Document, ...]:
    return read_manifests(orjson.dumps(list(documents)))


def file(*documents: Mapping[str, Any]) -> list[tuple[str, str | bytes]]:
    return [("f.json", orjson.dumps(list(documents)))]


class Offers:
    """A `DefinitionSource` that offers the same few tools everywhere."""

    def __init__(self) -> None:
        self.tools = {name: tool(name) for name in ("read", "write")}

    async def fetch(self, server: ToolServer) -> Mapping[str, Mapping[str, Any]]:
        return dict(self.tools)


class Desk:
    """An `ApprovalDesk` in rows of kind `asked`."""

    def __init__(self, control: ProvenControlLog) -> None:
        self._control = control
        self._made: dict[str, ApprovalRequest] = {}
        self._contents: dict[str, Mapping[str, Any]] = {}
        self.refuses: set[str] = set()
        """Requests whose clearance does not hold any more."""

    def _put(self, request: ApprovalRequest) -> ApprovalRequest:
        self._made[request.id] = request
        return request

    def _open(
        self, kind: SubjectKind, digest: Digest, about: str, who: Operator, agent: Agent | None
    ) -> ApprovalRequest:
        role = {SubjectKind.AGENT_VERSION: Role.SECURITY, SubjectKind.ROLE_GRANT: Role.ADMIN}.get(kind, Role.SECURITY)
        number = len(self._made) + 1
        return self._put(
            ApprovalRequest(
                id=f"apr_{number}",
                subject=Subject(kind.value, digest),
                about=about,
                agent=agent.id if agent else None,
                team=None,
                tier=None,
                needs=(RoleNeed(role),),
                parties=Parties(who.person),
                state=ApprovalState.OPEN,
                opened_us=number,
                expires_us=10**18,
                nonce="n",
            )
        )

    async def open_version(self, agent: Agent, version: AgentVersion, operator: Operator) -> ApprovalRequest:
        for request in self.find(agent=agent.id, state=ApprovalState.OPEN):
            if request.subject.digest == version.digest:
                return request
            self._put(replace(request, state=ApprovalState.SUPERSEDED))
        return self._open(SubjectKind.AGENT_VERSION, version.digest, agent.id, operator, agent)

    async def open_proposal(self, proposal: Proposal, operator: Operator) -> ApprovalRequest:
        made = self._open(SubjectKind(proposal.kind), proposal.digest, proposal.about, operator, None)
        self._contents[made.id] = proposal.content
        return made

    def get(self, request: str) -> ApprovalRequest | None:
        return self._made.get(request)

    def find(self, *, agent: AgentId | None = None, state: ApprovalState | None = None) -> Sequence[ApprovalRequest]:
        return [one for one in self._made.values() if agent in {None, one.agent} and state in {None, one.state}]

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        return self._contents[request.id]

    async def attach_assessment(self, request: str, operator: Operator, form: Mapping[str, Any]) -> Digest:
        self._put(replace(self._made[request], assessment=VIEW))
        return VIEW

    async def vote(
        self, request: str, operator: Operator, *, role: Role, verdict: VoteVerdict, view_digest: Digest, comment: str
    ) -> ApprovalRequest:
        before = self._made[request]
        vote = Vote(role, operator.person, operator.credential, verdict, comment, VIEW, view_digest, before.opened_us)
        state = ApprovalState.APPROVED if verdict is VoteVerdict.APPROVE else ApprovalState.REJECTED
        made = Change(
            Facts("approval.voted", agent=before.agent),
            (Write("asked", request, {"votes": len(before.votes) + 1}),),
            Actor(person=operator.person, credential=operator.credential, basis=operator.basis),
            {"request": request, "role": role.value},
        )
        await self._control.transact(lambda _: made)
        return self._put(replace(before, votes=(*before.votes, vote), state=state))

    async def withdraw(self, request: str, operator: Operator) -> ApprovalRequest:
        return self._put(replace(self._made[request], state=ApprovalState.WITHDRAWN))

    def clearance(self, request: str, *, operator: Operator) -> Clearance:
        found = self._made.get(request)
        if found is None or found.state is not ApprovalState.APPROVED or request in self.refuses:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "that is not approved")
        by = tuple(vote.person for vote in found.votes)
        return Clearance(found.subject, Basis.APPROVALS, by, operator.credential)

    def writes_to_use(self, view: StateView, request: str, now_us: int) -> Sequence[Write]:
        self._put(replace(self._made[request], used_us=now_us))
        return ()

    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        for request in self.find(agent=agent, state=ApprovalState.OPEN):
            self._put(replace(request, state=ApprovalState.WITHDRAWN))
        return ()

    async def mark_used(self, request: str, *, actor: Actor) -> None:
        self._put(replace(self._made[request], used_us=5))

    async def lapse(self, request: str, why: str) -> ApprovalRequest:
        return self._put(replace(self._made[request], state=ApprovalState.EXPIRED))

    async def sweep(self) -> Sequence[ApprovalRequest]:
        return []

    def expire(self, request: str) -> None:
        self._put(replace(self._made[request], state=ApprovalState.EXPIRED))


class Shelf:
    """An `Archive` that keeps names."""

    def __init__(self) -> None:
        self.written: list[AgentId] = []

    def name(self, agent: AgentId) -> str:
        return f"{agent}.jsonl"

    async def write(self, agent: AgentId) -> Archived:
        self.written.append(agent)
        return Archived(self.name(agent), "0" * 64, 1, 1)


@dataclass
class House:
    """One process of it."""

    control: ProvenControlLog
    clock: ScriptedClock
    registry: Registry
    identity: IdentityState
    desk: Desk
    monitor: Monitor
    lifecycle: Lifecycle
    operations: Operations
    judging: Judging
    dossiers: Dossiers
    timeline: Timeline
    holds: Holds
    releases: PolicyReleases
    keeper: SnapshotKeeper
    offers: Offers
    records: MemoryRecordStore

    async def put(self, *writes: Write) -> None:
        made = Change(Facts("test.put"), writes, Actor(), {})
        await self.control.transact(lambda _: made)

    def agent(self, name: str = "digest", environment: str = "production") -> Agent:
        found = self.registry.catalogue.agent_named(environment, name)
        assert found is not None
        return found

    async def people(self) -> None:
        """Everybody, with their roles, and a team."""
        await self.put(
            *(
                Write(
                    rows.PERSON,
                    f"psn_{name}",
                    rows.person_doc(Person(PersonId(f"psn_{name}"), f"{name}@example.com"), salt="00"),
                )
                for name in PEOPLE
            ),
            *(
                Write(
                    rows.ROLE_GRANT,
                    f"rgr_{name}",
                    rows.role_grant_doc(RoleGrant(f"rgr_{name}", role, f"psn_{name}", None, frozenset(), 1)),
                )
                for name, role in ROLES.items()
            ),
            Write(rows.TEAM, "team_1", {"name": "support", "zones": []}),
        )

    async def tools(self, document: Mapping[str, Any] | None = None) -> None:
        """A production tool server, signed off by security."""
        (applied,) = await self.operations.apply(operator("olive"), file(document or server()))
        assert applied.request is not None
        await self.approve(applied.request.id)

    async def approve(self, request: str, who: str = "sam", role: Role = Role.SECURITY) -> ApprovalRequest:
        return await self.operations.vote(operator(who), request, role, VoteVerdict.APPROVE, VIEW, "fine")

    async def submitted(self, **spec: Any) -> ApprovalRequest:
        """An agent in production, waiting for sign-off."""
        await self.operations.apply(operator("dana"), file(agent(**spec)))
        request = await self.operations.submit(operator("dana"), self.agent().id)
        assert request is not None
        return request

    async def active(self, **spec: Any) -> Agent:
        """An agent in production, in force."""
        request = await self.submitted(**spec)
        await self.approve(request.id)
        await self.operations.activate(operator("dana"), self.agent().id)
        return self.agent()


@asynccontextmanager
async def house(path: Path) -> AsyncIterator[House]:
    place, clock, ids = Place(path), ScriptedClock(NOW_US), RandomIds()
    sealer, store = AesGcmSealer(bytes(32), ids), MemoryRecordStore(STREAM)
    log = LogWriter(store, sealer=sealer, signer=signer(), clock=clock, ids=ids)
    control = ProvenControlLog(
        store=SqliteControlStore(place.database),
        log=log,
        records=store,
        reserve=place.reserve,
        verify_log=lambda: None,
        sealer=sealer,
        clock=clock,
        ids=ids,
        retry_s=3_600,
    )
    await control.start()
    identity, offers = IdentityState(control), Offers()
    broker, engine = SealedBroker(control, sealer), CedarEngine()
    releases = PolicyReleases(
        control,
        engine,
        clock,
        lambda: Installation(
            servers=tuple(keeper.current.catalogue.servers()),
            teams=frozenset(team.name for team in keeper.current.catalogue.teams()),
            agents={one.name: one.id for one in keeper.current.catalogue.agents()},
        ),
    )
    keeper = SnapshotKeeper(control, releases, engine)
    registry = Registry(control, ids=ids, clock=clock, definitions=offers, bootstrapping=lambda: False)
    judging = Judging(registry, lambda: keeper.current, clock)
    desk, holds = Desk(control), Holds(control, ids, clock)
    limits = Limits(clock, ids, MemoryCounterStore())
    credentials, baselines = AgentCredentials(), BaselineKeeper(control, lambda: registry.catalogue)
    sign_off = VersionSignOff(desk)
    lifecycle = Lifecycle(
        control,
        registry,
        sign_off,
        credentials,
        mirrored_steps(
            credentials=credentials,
            questions=OpenQuestions(holds, desk),
            sign_off=sign_off,
            policies_about=lambda _: (),
            reservations=limits,
            baselines=baselines,
            archive=Shelf(),
        ),
        clock=clock,
        ids=ids,
    )
    monitor = Monitor(
        control,
        store,
        baselines,
        catalogue=lambda: registry.catalogue,
        agent_of=lambda one: found.agent if (found := identity.credential(one)) else None,
        clock=clock,
        ids=ids,
        tier_of=lambda one: judging.tier_of(found) if (found := registry.get(one)) else None,
    )
    await monitor.start()
    timeline = Timeline(store)
    operations = Operations(
        registry=registry,
        identity=identity,
        people=People(control, identity, lambda: registry.organisation, clock=clock, ids=ids, attempts=Gate()),
        enrolment=Enrolment(
            control, registry, identity, clock=clock, ids=ids, attempts=Gate(), token_endpoint="https://a.example/t"
        ),
        revocations=Revocations(control, registry),
        broker=broker,
        releases=releases,
        approvals=desk,
        holds=holds,
        monitor=monitor,
        lifecycle=lifecycle,
        remedies=Remedies(lifecycle, registry, monitor, clock),
        judging=judging,
    )
    dossiers = Dossiers(
        registry, desk, lifecycle, judging, monitor, baselines, timeline,
        now_us=lambda: clock.now().wall_us, position=lambda: control.position,
    )  # fmt: skip
    made = House(
        control, clock, registry, identity, desk, monitor, lifecycle, operations, judging, dossiers, timeline, holds,
        releases, keeper, offers, store,
    )  # fmt: skip
    await made.people()
    try:
        yield made
    finally:
        await control.close()
        await asyncio.to_thread(log.close)


__all__ = ["House", "NotFoundError", "agent", "file", "house", "operator", "read", "server", "tool"]
