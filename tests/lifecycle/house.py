"""The lifecycle among the real rooms, on disk, so that a process of it can be killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from accredit.approvals.model import ApprovalRequest, VoteVerdict
from accredit.approvals.service import Holds
from accredit.approvals.signoff import Approvals
from accredit.audit.certificates import certificate_name
from accredit.audit.control import ProvenControlLog
from accredit.audit.model import Facts
from accredit.audit.notes import NoteSigner, NoteVerifier
from accredit.audit.ports import Actor, Change, Write
from accredit.audit.records import PartKeys
from accredit.audit.retention import Schedule
from accredit.audit.writer import LogWriter
from accredit.enforcement.history import History
from accredit.enforcement.sharding import ShardedHistory
from accredit.enforcement.snapshot import Snapshot, SnapshotKeeper
from accredit.identity.broker import SealedBroker
from accredit.identity.directory_keys import DirectoryKeys
from accredit.identity.enrolment import Enrolment
from accredit.identity.model import Operator
from accredit.identity.people import People
from accredit.identity.points import EnforcementPoints
from accredit.identity.revocation import Revocations
from accredit.identity.signing import CARDS, SigningKeys
from accredit.identity.state import IdentityState
from accredit.identity.tokenpost import HttpTokenPost
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import PersonId, RandomIds, ServerName, tool_id
from accredit.kernel.sealing import AesGcmSealer
from accredit.lifecycle.model import RetirementReceipt
from accredit.lifecycle.operations import Operations
from accredit.lifecycle.ports import StoreAdapter, StoreAdapters
from accredit.lifecycle.room import LifecycleRoom, furnished
from accredit.lifecycle.stored import KeyDestroyed
from accredit.limits.service import Limits
from accredit.policy.decide import decide
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.model import CallRequest, Decision
from accredit.policy.publish import Installation
from accredit.policy.rehearsing import Rehearsals
from accredit.policy.releases import PolicyReleases
from accredit.policy.simulating import Simulations
from accredit.policy.testing import Fleet
from accredit.registry import rows
from accredit.registry.manifest import Document, read_manifests
from accredit.registry.model import LATEST_REVISION, Agent, Person, Role, Store, ToolServer
from accredit.registry.organisation import RoleGrant
from accredit.registry.service import Registry
from accredit.storage.archive import FileArchive
from accredit.storage.memory.counters import MemoryCounterStore
from accredit.storage.memory.fitted import MemoryFittedStore
from accredit.storage.memory.profiles import MemoryProfileStore
from accredit.storage.sqlite.records import SqliteRecordStore
from accredit.storage.sqlite.state import SqliteControlStore
from accredit.storage.stores.opening import OpenedStores
from accredit.storage.stores.samples import FileSamples
from tests.audit.building import STREAM, signer
from tests.identity.world import Gate
from tests.monitoring.drift.running import Kind
from tests.state.installation import Installation as Place

NOW_US = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z
PEOPLE = ("ada", "mira", "bo", "cora", "dana", "lee", "lena", "olive", "sam", "una")
ROLES = {
    "ada": Role.ADMIN,
    "mira": Role.ADMIN,
    "bo": Role.BUSINESS_OWNER,
    "cora": Role.COMPLIANCE,
    "lena": Role.TEAM_LEAD,
    "olive": Role.OPERATOR,
    "sam": Role.SECURITY,
    "una": Role.AUDITOR,
}
"""Who holds which role, for every team. Dana owns the agents and lee backs her up."""
VOTERS = {
    Role.ADMIN: "ada",
    Role.BUSINESS_OWNER: "bo",
    Role.COMPLIANCE: "cora",
    Role.SECURITY: "sam",
    Role.TEAM_LEAD: "lena",
}
ASSESSMENT: Mapping[str, Any] = {
    "acceptedBy": "psn_" + "b0" * 16,
    "residual": "medium",
    "risks": [
        {
            "impact": 3,
            "likelihood": 2,
            "mitigations": [{"measure": "somebody looks at every tenth answer"}],
            "residual": "medium",
            "risk": "it says what is not so",
        }
    ],
}


def person_id(name: str) -> PersonId:
    return PersonId(ASSESSMENT["acceptedBy"] if name == "bo" else f"psn_{name}")


def operator(name: str, *, scopes: frozenset[str] = frozenset({"admin", "read"}), basis: str = "roles") -> Operator:
    return Operator(person_id(name), f"tok_{name}", scopes, basis)


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object", "properties": {}}}


def server(name: str = "crm", environment: str = "production", **facts: Any) -> dict[str, Any]:
    told = {"read": {"effect": "read", "data": ["internal"], "price": "0 USD"}}
    return {
        "apiVersion": "accredit/v1",
        "kind": "ToolServer",
        "metadata": {"name": name, "environment": environment},
        "spec": {"url": f"http://127.0.0.1:{9 if environment == 'production' else 8}/mcp", "tools": told | facts},
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

    async def revision(self, server: ToolServer) -> str:
        return LATEST_REVISION

    async def fetch(self, server: ToolServer) -> Mapping[str, Mapping[str, Any]]:
        return dict(self.tools)


async def no_headers(_: Store) -> Mapping[str, str]:
    return {}


class Opened:
    """The `StoreAdapters` of the moment."""

    def __init__(self, now: StoreAdapters) -> None:
        self.now = now

    async def open(self, store: Store) -> StoreAdapter:
        return await self.now.open(store)

    async def destroy_key(self, store: Store, scope: str) -> KeyDestroyed:
        return await self.now.destroy_key(store, scope)

    async def key_gone(self, store: Store, ordered: KeyDestroyed) -> KeyDestroyed:
        return await self.now.key_gone(store, ordered)


class Steadiness:
    """Whether the wall clock can be trusted."""

    steady = True


@dataclass
class House:
    """One process of it."""

    control: ProvenControlLog
    clock: ScriptedClock
    registry: Registry
    room: LifecycleRoom
    releases: PolicyReleases
    offers: Offers
    records: SqliteRecordStore
    steadiness: Steadiness
    snapshot: Callable[[], Snapshot]
    adapters: Opened
    log: LogWriter

    def shelves(self, adapters: StoreAdapters) -> None:
        """From now on stores are opened by these."""
        self.adapters.now = adapters

    @property
    def operations(self) -> Operations:
        return self.room.operations

    @property
    def approvals(self) -> Approvals:
        return self.room.approvals

    async def put(self, *writes: Write) -> None:
        made = Change(Facts("test.put"), writes, Actor(), {})
        await self.control.transact(lambda _: made)

    def agent(self, name: str = "digest", environment: str = "production") -> Agent:
        found = self.registry.catalogue.agent_named(environment, name)
        assert found is not None
        return found

    def decision(self, name: str = "digest", tool: str = "read") -> Decision:
        """What a call of it would come to now, by the snapshot that calls are judged by."""
        agent, snapshot = self.agent(name), self.snapshot()
        on = snapshot.restrictions_on(agent.id, now_us=self.clock.now().wall_us, time_trusted=True)
        request = CallRequest(
            agent=agent, tool=tool_id(ServerName("crm"), tool), context={"input": {}}, restrictions=on
        )
        return decide(request, snapshot.policy)

    async def people(self) -> None:
        """Everybody, with their roles, and a team."""
        await self.put(
            *(
                Write(
                    rows.PERSON,
                    person_id(name),
                    rows.person_doc(Person(person_id(name), f"{name}@example.com"), salt="00"),
                )
                for name in PEOPLE
            ),
            *(
                Write(
                    rows.ROLE_GRANT,
                    f"rgr_{name}",
                    rows.role_grant_doc(RoleGrant(f"rgr_{name}", role, person_id(name), None, frozenset(), 1)),
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

    async def vote(self, request: str, role: Role, verdict: VoteVerdict = VoteVerdict.APPROVE) -> ApprovalRequest:
        """One vote, by whoever has the role, on what is shown now."""
        _, digest = self.approvals.view(request)
        return await self.operations.vote(operator(VOTERS[role]), request, role, verdict, digest, "looked at it")

    async def approve(self, request: str) -> ApprovalRequest:
        """Every vote that is wanted, and the assessment if one is."""
        found = self.approvals.get(request)
        assert found is not None
        if any(need.assessment for need in found.needs):
            await self.operations.assess(operator("dana"), request, ASSESSMENT)
        for need in found.missing:
            found = await self.vote(request, need.role)
        return found

    async def approve_and_die(self, request: str) -> None:
        """Every vote, and then nothing more: the process ended before what they decided was in force."""
        found = self.approvals.get(request)
        assert found is not None
        for need in found.missing:
            _, digest = self.approvals.view(request)
            who = operator(VOTERS[need.role])
            await self.approvals.vote(
                request, who, role=need.role, verdict=VoteVerdict.APPROVE, view_digest=digest, comment="fine"
            )

    async def submitted(self, **spec: Any) -> ApprovalRequest:
        """An agent in production, waiting for sign-off."""
        await self.operations.apply(operator("dana"), file(agent(**spec)))
        request = await self.operations.submit(operator("dana"), self.agent().id)
        assert request is not None
        return request

    async def retired(self, reason: str = "over", *, who: str = "dana", name: str = "digest") -> RetirementReceipt:
        """That agent at its end, signed off by security where that is asked for."""
        agent = self.agent(name).id
        made = await self.operations.retire(operator(who), agent, reason)
        if isinstance(made, ApprovalRequest):
            await self.approve(made.id)
        receipt = self.room.lifecycle.receipt(agent)
        assert receipt is not None
        return receipt

    async def active(self, **spec: Any) -> Agent:
        """An agent in production, in force."""
        request = await self.submitted(**spec)
        await self.approve(request.id)
        await self.operations.activate(operator("dana"), self.agent().id)
        return self.agent()


@asynccontextmanager
async def house(
    path: Path,
    *,
    at: Callable[[str], None] = lambda _: None,
    within: Callable[[str], None] = lambda _: None,
    schedule: Schedule | None = None,
) -> AsyncIterator[House]:
    """One process; `at` is called between any two steps of a procedure, `within` at each step of every transaction."""
    place, clock, ids = Place(path), ScriptedClock(NOW_US), RandomIds()
    sealer, store = AesGcmSealer(bytes(32), ids), SqliteRecordStore(path / "audit.db", stream=STREAM)
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
        at=within,
    )
    await control.start()
    identity, offers = IdentityState(control), Offers()
    broker = SealedBroker(
        control,
        sealer,
        HttpTokenPost(),
        person=lambda address: registry.catalogue.person(address),  # noqa: PLW0108 - bound below, called later
        clock=clock,
        ids=ids,
        public_url="https://accredit.example",
    )
    engine = CedarEngine()
    policy_signer = NoteSigner("accredit.policy/test", bytes(32))
    releases = PolicyReleases(
        control,
        engine,
        clock,
        lambda: Installation(
            servers=tuple(keeper.current.catalogue.servers()),
            teams=frozenset(team.name for team in keeper.current.catalogue.teams()),
            agents={one.name: one.id for one in keeper.current.catalogue.agents()},
        ),
        policy_signer,
    )
    keeper = SnapshotKeeper(control, releases, engine)
    registry = Registry(control, ids=ids, clock=clock, definitions=offers, bootstrapping=lambda: False)
    holds, steadiness = Holds(control, ids, clock), Steadiness()
    history = History(store, PartKeys(sealer, STREAM), engine, policy_signer, clock)
    simulations = Simulations(
        ShardedHistory(history, lambda: contextlib.nullcontext(history)),
        lambda: keeper.current.policy,
        lambda: {one.id: one for one in keeper.current.catalogue.agents()},
        clock=clock,
        ids=ids,
    )
    rehearsals = Rehearsals(releases, engine, lambda: Fleet({}, ()), simulations, now_us=lambda: clock.now().wall_us)
    adapters = Opened(OpenedStores([path / "stores"], apart_from=path / "data", headers=no_headers))
    room = furnished(
        control=control,
        records=store,
        registry=registry,
        identity=identity,
        people=People(control, identity, lambda: registry.organisation, clock=clock, ids=ids, attempts=Gate()),
        enrolment=Enrolment(
            control, registry, identity, clock=clock, ids=ids, attempts=Gate(), token_endpoint="https://a.example/t"
        ),
        revocations=Revocations(control, registry),
        points=EnforcementPoints(control, clock=clock, ids=ids),
        directory_keys=DirectoryKeys(control, clock=clock, ids=ids),
        broker=broker,
        releases=releases,
        snapshot=lambda: keeper.current,
        holds=holds,
        limits=Limits(clock, ids, MemoryCounterStore()),
        archive=FileArchive(
            path / "archive", path / "audit.db", checkpoint=log.checkpoint, verifier=signer().verifier()
        ),
        at=at,
        sealer=sealer,
        subjects=store,
        part_keys=PartKeys(sealer, STREAM),
        pseudonyms=log.pseudonyms,
        schedule=schedule,
        profiles=MemoryProfileStore(),
        fitted=MemoryFittedStore(),
        detectors=(Kind(),),
        session_idle_us=30 * 60_000_000,
        clock=clock,
        ids=ids,
        rehearse=rehearsals.rehearse,
        adapters=adapters,
        samples=FileSamples(path / "purges", sealer),
        steady=lambda _: steadiness.steady,
        card_keys=SigningKeys(control, sealer, clock=clock, ids=ids, use=CARDS),
        certifies=NoteSigner(certificate_name(NoteVerifier(signer().vkey).public.hex()[:16]), b"s" * 32),
        checkpoint=log.checkpoint,
        public_url="https://a.example",
        program="accredit",
    )
    await room.start()
    made = House(
        control, clock, registry, room, releases, offers, store, steadiness, lambda: keeper.current, adapters, log
    )
    if control.view.get(rows.TEAM, "team_1") is None:
        await made.people()
    try:
        yield made
    finally:
        await room.close()
        await control.close()
        await asyncio.to_thread(log.close)
        store.close()
