"""One agent's procedures over the real control log on disk; what the steps ask of other rooms is played by rows.

`Yard` is what outlives a process; `Yard.running` is one process of it, as killed as a test likes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accredit.audit.archive import Archived
from accredit.audit.control import ProvenControlLog
from accredit.audit.model import Facts, Receipt
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, UnavailableError
from accredit.kernel.ids import AgentId, PersonId, SeededIds, TeamId, ToolId
from accredit.lifecycle.model import Procedure
from accredit.lifecycle.ports import Cleared
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.steps import mirrored_steps
from accredit.limits.model import Reservation
from accredit.registry.certifiability import store_entry
from accredit.registry.lifecycle import AgentEvent, AgentStep, Inapplicable, after
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Environment,
    Team,
    Tier,
    ToolGrant,
)
from accredit.storage.sqlite.state import SqliteControlStore
from tests.state.installation import Installation

AGENT = AgentId("agt_1")
OLIVE = Operator(PersonId("psn_olive"), "tok_olive", frozenset({"admin"}), "roles")
V1, V2 = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
STORES = [{"kind": "memory", "adapter": "qdrant", "namespace": "support"}]


class Purges:
    """A `StorePurges` that can reach none of the stores."""

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        entries = [store_entry(one) for one in agent.version.manifest["spec"]["stores"]]
        return {"open": [f"{one}: nobody can look" for one in entries], "stores": entries}

    async def retire(self, agent: Agent, procedure: Procedure) -> Mapping[str, Any]:
        del procedure
        return self.foresee(agent)


class Lent:
    """`Lenders` that lent nothing."""

    def lent_to(self, agent: AgentId) -> Sequence[str]:
        del agent
        return ()

    def take_back(self, agent: AgentId) -> Sequence[str]:
        return self.lent_to(agent)


class Alone:
    """`Delegations` of an agent that knows no other."""

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        del agent
        return {"callees": [], "callers": []}

    async def propose(self, agent: Agent) -> Mapping[str, Any]:
        return self.foresee(agent)


class NothingKnown:
    """An `AbsenceProof` that knows of no credential."""

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        del agent
        return {"credentials": 0}

    async def leave_to_people(self, agent: Agent) -> int:
        del agent
        return 0

    async def look(self, agent: Agent) -> Mapping[str, Any]:
        del agent
        return {"credentials": [], "open": []}


class KilledError(Exception):
    """The process is gone."""


def version(digest: Digest) -> AgentVersion:
    return AgentVersion(
        digest=digest,
        manifest={"spec": {"stores": STORES}},
        facets={},
        grants=(ToolGrant(ToolId("crm/read"), Digest("sha256:g")),),
        data=frozenset({"internal"}),
        zone="UTC",
        limits=AgentLimits(60, 4, 30.0, 1200.0, None),
    )


class Agents:
    """An `AgentStates` of one agent: `{state, version, candidate, halted_from?}`."""

    def __init__(self, control: ProvenControlLog) -> None:
        self._control = control

    def get(self, agent: AgentId) -> Agent | None:
        row = self._control.view.get("agent", agent)
        if row is None:
            return None
        candidate, halted_from = row.doc["candidate"], row.doc.get("halted_from")
        return Agent(
            id=agent,
            name="support",
            team=Team(TeamId("team_1"), "support", frozenset()),
            environment=Environment.PRODUCTION,
            state=AgentState(row.doc["state"]),
            owner=PersonId("psn_dana"),
            backup_owner=None,
            version=version(row.doc["version"]),
            candidate=version(candidate) if candidate else None,
            halted_from=AgentState(halted_from) if halted_from else None,
        )

    def require(self, agent: AgentId, event: AgentEvent) -> None:
        self._step(agent, event)

    def _step(self, agent: AgentId, event: AgentEvent) -> AgentStep:
        found = self.get(agent)
        assert found is not None
        step = after(
            event,
            found.environment,
            found.state,
            halted_from=found.halted_from,
            candidate=found.candidate is not None,
        )
        if isinstance(step, Inapplicable):
            raise ConflictError(Code.TRANSITION_REFUSED, step.why, hint=step.hint)
        return step

    async def transition(
        self,
        agent: AgentId,
        event: AgentEvent,
        actor: Actor,
        *,
        version: Digest | None = None,
        tier: Tier | None = None,
        also: Callable[[StateView], Iterable[Write]] = lambda _: (),
        reason: str = "",
    ) -> Receipt | None:
        def build(view: StateView) -> Change | None:
            row = view.get("agent", agent)
            assert row is not None
            step = self._step(agent, event)
            doc: dict[str, Any] = {**row.doc, "state": step.state.value, "halted_from": step.halted_from}
            if version is not None:
                doc |= {"version": version, "candidate": None, "tier": tier}
            writes = (*([] if doc == {"halted_from": None, **row.doc} else [Write("agent", agent, doc)]), *also(view))
            if not writes:
                return None
            narrowing = event not in {AgentEvent.ACTIVATE, AgentEvent.RESUME, AgentEvent.LIFT}
            return Change(Facts(f"agent.{event.value}d", agent=agent), writes, actor, {}, narrowing=narrowing)

        return await self._control.transact(build)


class Rooms:
    """Every other port of the lifecycle: what is given and taken are rows of the kinds named here."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    # sign-off
    def cleared(self, agent: Agent, version: AgentVersion, operator: Operator) -> Cleared:
        if version.digest not in self._yard.approved:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "security has not approved")
        subject = Subject("agent-version", version.digest)
        return Cleared("apr_1", Clearance(subject, Basis.APPROVALS, ("psn_sam",), operator.credential), Tier.LOW)

    def writes_to_use(self, view: StateView, request: str, now_us: int) -> Sequence[Write]:
        return () if view.get("used", request) else (Write("used", request, {"at_us": now_us}),)

    # credentials: an `enrolment`, an `epoch`, keys
    def writes_to_open(self, view: StateView, agent: AgentId, clearance: Clearance, version: Digest) -> Sequence[Write]:
        return (Write("enrolment", agent, {"version": version}),)

    def writes_to_close(self, view: StateView, agent: AgentId) -> Sequence[Write]:
        return (Write("enrolment", agent, None),) if view.get("enrolment", agent) else ()

    def writes_to_halt(self, view: StateView, agent: AgentId) -> Sequence[Write]:
        row = view.get("epoch", agent)
        return (Write("epoch", agent, {"epoch": row.doc["epoch"] + 1 if row else 1}),)

    def writes_to_end(self, view: StateView, agent: AgentId) -> Sequence[Write]:
        keys = [row for row in view.scan("key") if row.doc["live"]]
        return (*self.writes_to_halt(view, agent), *(Write("key", row.key, {"live": False}) for row in keys))

    # what people are asked
    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        return tuple(Write("hold", row.key, None) for row in view.scan("hold"))


class Baselines:
    """Baselines as rows."""

    def writes_to_open(
        self, view: StateView, agent: Agent, version: AgentVersion, clearance: Digest | None, now_us: int
    ) -> Sequence[Write]:
        return (Write("baseline", agent.id, {"version": version.digest, "closed_us": None}),)

    def writes_to_close(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        row = view.get("baseline", agent)
        if row is None or row.doc["closed_us"] is not None:
            return ()
        return (Write("baseline", agent, {**row.doc, "closed_us": now_us}),)


class Counters:
    """Reservations of a process; they do not outlive it."""

    def __init__(self) -> None:
        self.open: list[Reservation] = [Reservation("rsv_1", AGENT, 5, "2026-11-22")]

    def open_reservations(self) -> list[Reservation]:
        return list(self.open)

    def release(self, reservation: Reservation) -> bool:
        if reservation not in self.open:
            return False
        self.open.remove(reservation)
        return True


class Shelf:
    """An `Archive` that outlives the process; `fails` says so once."""

    def __init__(self) -> None:
        self.written: list[AgentId] = []
        self.fails = False

    async def write(self, agent: AgentId) -> Archived:
        if self.fails:
            self.fails = False
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "no room for the archive")
        self.written.append(agent)
        return Archived(f"{agent}.jsonl", "0" * 64, 7, "checkpoint")

    def name(self, agent: AgentId) -> str:
        return f"{agent}.jsonl"


@dataclass
class Process:
    """One process."""

    control: ProvenControlLog
    lifecycle: Lifecycle
    agents: Agents
    counters: Counters

    @property
    def state(self) -> AgentState:
        return self.agent.state

    @property
    def agent(self) -> Agent:
        found = self.agents.get(AGENT)
        assert found is not None
        return found

    def rows(self, kind: str) -> dict[str, dict[str, Any]]:
        return {row.key: dict(row.doc) for row in self.control.view.scan(kind)}

    async def put(self, *writes: tuple[str, str, dict[str, Any] | None]) -> None:
        made = Change(Facts("test.put"), tuple(Write(*each) for each in writes), Actor(), {})
        await self.control.transact(lambda _: made)

    @property
    def runs(self) -> bool:
        """Whether the agent could do anything: it is in force, by the rows alone."""
        return self.state is AgentState.ACTIVE


class Yard:
    """A data directory, and what lies outside of it."""

    def __init__(self, path: Path) -> None:
        self.installation = Installation(path)
        self.approved = {V1}
        self.shelf = Shelf()

    @asynccontextmanager
    async def running(self, *, at: Callable[[str], None] = lambda _: None) -> AsyncIterator[Process]:
        place = self.installation
        control = place.service(SqliteControlStore(place.database))
        await control.start()
        rooms, counters, agents = Rooms(self), Counters(), Agents(control)
        steps = mirrored_steps(
            credentials=rooms,
            questions=rooms,
            sign_off=rooms,
            policies_about=lambda agent: ("agent/support/hours.0123456789ab",),
            reservations=counters,
            baselines=Baselines(),
            archive=self.shelf,
            purges=Purges(),
            lenders=Lent(),
            delegations=Alone(),
            absence=NothingKnown(),
        )
        lifecycle = Lifecycle(
            control, agents, rooms, rooms, steps, clock=place.clock, ids=SeededIds(place.clock.now().wall_us), at=at
        )
        place.clock.advance(1)
        try:
            yield Process(control, lifecycle, agents, counters)
        finally:
            await control.close()

    async def begin(self, process: Process, *, state: AgentState = AgentState.APPROVED) -> None:
        """An agent with a key, in a state."""
        await process.put(
            ("agent", AGENT, {"state": state.value, "version": V1, "candidate": None}),
            ("key", "crd_1", {"live": True}),
            ("hold", "hld_1", {}),
        )

    async def with_candidate(self, process: Process) -> None:
        """A newer version, approved."""
        self.approved.add(V2)
        row = process.rows("agent")[AGENT]
        await process.put(("agent", AGENT, {**row, "candidate": V2}))


class Killer:
    """Dies at the nth moment between two steps."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.passed: list[str] = []

    def __call__(self, moment: str) -> None:
        self.passed.append(moment)
        if len(self.passed) == self.nth:
            raise KilledError(moment)
