"""A production fleet under watch: a real registry and a real log in memory, restartable monitoring over both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from accredit.audit.model import Entry, Facts, Receipt, Usage
from accredit.audit.ports import Change, StateView, Write
from accredit.enforcement.model import CallEnd
from accredit.enforcement.records import unauthenticated_entry
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, PersonId, SeededIds, ToolId
from accredit.monitoring.baselines import BaselineKeeper
from accredit.monitoring.model import Alert, AlertKind, AlertState, Baseline, PresentTier, Remediation
from accredit.monitoring.service import Monitor
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Agent, Tier
from accredit.storage.memory.control import MemoryControlLog
from accredit.storage.memory.records import MemoryRecordStore
from tests.audit.building import STREAM, appended, writing
from tests.registry.fleet import ADMIN, Fleet, agent_document, changed, elsewhere

OPERATOR = Operator(PersonId("psn_security"), "tok_9", frozenset({"operate"}), "roles")
READ, SEARCH, NOTE = ToolId("crm/read_customer"), ToolId("crm/search_orders"), ToolId("crm/add_note")
CREDENTIAL = CredentialId("crd_1")
SUBJECT = Digest("sha256:" + "c" * 64)
"""What the approval was for."""


class KilledError(BaseException):
    """Stands for kill -9: nothing may catch it."""


class MortalControlLog(MemoryControlLog):
    """Control state that outlives the process, which dies at a chosen transaction: before it, or right after it."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions = 0
        self.dies_at: tuple[int, str] | None = None
        self.lost: set[tuple[str, str]] = set()
        """Rows the log contradicts."""

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.lost)

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        self.transactions += 1
        if self.dies_at == (self.transactions, "before"):
            raise KilledError
        receipt = await super().transact(build)
        if self.dies_at == (self.transactions, "after"):
            raise KilledError
        return receipt


class Watch:
    """One installation: its fleet, its log, and the monitoring of the present process."""

    def __init__(self, *, tier: Tier | None = Tier.HIGH) -> None:
        self.control = MortalControlLog()
        self.fleet = Fleet.in_production(self.control)
        self.id = self.fleet.agent("production").id
        self.clock = self.fleet.clock
        self.store = MemoryRecordStore(STREAM)
        self.tier = tier
        """What every agent comes to now; one is approved under what it comes to then."""
        self.unknown: set[AgentId] = set()
        """Agents of which nobody can say."""
        self.taken: set[CredentialId] = set()
        """Credentials that were revoked or locked."""
        self.keys: dict[CredentialId, AgentId] = {CREDENTIAL: self.id}
        self.restart()

    def restart(self) -> None:
        """Another process: only control state and log go on."""
        self.baselines = BaselineKeeper(self.control, lambda: self.fleet.registry.catalogue)
        self.monitor = Monitor(
            self.control,
            self.store,
            self.baselines,
            catalogue=lambda: self.fleet.registry.catalogue,
            agent_of=self.keys.get,
            clock=self.clock,
            ids=SeededIds(3),
            tier_of=self.present,
            taken=self.taken.__contains__,
        )
        asyncio.run(self.monitor.start())

    def present(self, agent: Agent) -> PresentTier:
        if agent.id in self.unknown:
            raise UnavailableError(Code.ENGINE_FAILED, "the engine could not judge it")
        return PresentTier(self.tier, floors=("external",) if self.tier is Tier.HIGH else ())

    # -- the agent's life

    @property
    def agent(self) -> Agent:
        found = self.fleet.registry.get(self.id)
        assert found is not None
        return found

    def activate(self) -> Agent:
        """Through the gate: the version that waits comes into force together with its baseline."""
        for event in (AgentEvent.SUBMIT, AgentEvent.APPROVE):
            self.fleet.move(self.agent, event)
        agent = self.agent
        version = agent.candidate or agent.version

        def also(view: StateView) -> tuple[Write, ...]:
            return tuple(self.baselines.writes_to_open(view, agent, version, SUBJECT, self.clock.now().wall_us))

        return self.fleet.move(agent, AgentEvent.ACTIVATE, also=also, tier=self.tier)

    def declare(self, **changes: Any) -> None:
        """Another version, with these changes of `spec`."""
        document = elsewhere(agent_document())
        for key, value in changes.items():
            document = changed(document, f"spec.{key}", value)
        self.fleet.apply(document)

    def retire(self) -> Agent:
        def also(view: StateView) -> tuple[Write, ...]:
            return tuple(self.baselines.writes_to_close(view, self.agent.id, self.clock.now().wall_us))

        self.fleet.move(self.agent, AgentEvent.RETIRE, also=also)
        agent = self.agent
        return self.fleet.move(agent, AgentEvent.RETIRED)

    @property
    def baseline(self) -> Baseline:
        found = self.baselines.of(self.agent.id)
        assert found is not None
        return found

    def rewrite(self, **changes: Any) -> None:
        """Change the agent's row as nobody should."""
        self.fleet.put("agent", self.agent.id, {**self.fleet.doc("agent", self.agent.id), **changes})

    def repin(self, tool: ToolId) -> Digest:
        """Another definition of a tool is pinned, as if two people had agreed."""
        other = self.fleet.doc("tool", SEARCH if tool == READ else READ)["definition"]
        text = self.fleet.doc("definition", other)
        assert text
        self.fleet.put("tool", tool, {**self.fleet.doc("tool", tool), "definition": other})
        return Digest(other)

    # -- what the log gets

    def record(self, *entries: Entry) -> None:
        with writing(self.store, clock=self.clock) as log:
            appended(log, entries)

    def call(
        self, tool: ToolId | None = READ, decision: str = "allow", code: Code | None = None, **changes: Any
    ) -> Entry:
        """A decision's record, as far as monitoring reads it; the form of the real one is `test_installed`'s matter."""
        agent: Agent = changes.pop("agent", None) or self.agent
        said: Mapping[str, Any] = changes.pop("said", {})
        found = None if tool is None else self.fleet.registry.catalogue.tool(tool)
        facts = Facts(
            "decision",
            agent=agent.id,
            version=agent.version.digest,
            environment=agent.environment.value,
            tool=tool,
            data_classes=tuple(sorted(found.data)) if found else (),
            decision=decision,
            action="enforced",
        )
        known = code or (Code.ALLOWED if decision == "allow" else Code.HELD)
        body: dict[str, Any] = {
            "code": known.value,
            "definition": found.definition_digest if found else None,
            "unknown_tool": None if tool else "fp_0123",
            **said,
        }
        usage = Usage(allows=decision == "allow", denies=decision == "deny", holds=decision == "hold")
        entry = Entry(facts, self.clock.now().wall_us, body, usage=usage)
        return replace(entry, facts=replace(facts, **changes))

    def ended(self, tool: ToolId = READ, end: CallEnd = CallEnd.OK, **said: Any) -> Entry:
        """An outcome's record, as far as monitoring reads it."""
        agent = self.agent
        facts = Facts(
            "outcome", agent=agent.id, version=agent.version.digest, environment=agent.environment.value, tool=tool,
            decision="allow", action="enforced",
        )  # fmt: skip
        body = {"decision_id": "dec_1", "end": end.value, "undeclared": [], **said}
        return Entry(facts, self.clock.now().wall_us, body, usage=Usage(errors=end is not CallEnd.OK))

    def denied(self, tool: ToolId | None, code: Code = Code.TOOL_NOT_GRANTED, **changes: Any) -> Entry:
        return self.call(tool, "deny", code, **changes)

    def turned_away(self, credential: str | None = CREDENTIAL, code: Code = Code.CREDENTIAL_REVOKED) -> Entry:
        now = self.clock.now().wall_us
        return unauthenticated_entry(code, time_us=now, source="10.0.0.1", path="/mcp/crm", credential=credential)

    # -- watching

    def round(self) -> tuple[Remediation, ...]:
        return asyncio.run(self.monitor.round())

    def said(self, **posture: Any) -> None:
        self.monitor.note_posture(self.agent.id, CREDENTIAL, posture)

    def alerts(self, state: AlertState | None = None) -> list[tuple[AlertKind, str]]:
        """(kind, matter) of the alerts, sorted."""
        return sorted((alert.kind, alert.matter) for alert in self.monitor.alerts(state=state))

    def only(self, kind: AlertKind) -> Alert:
        (found,) = (alert for alert in self.monitor.alerts() if alert.kind is kind)
        return found

    def resolve(self, alert: Alert, note: str = "") -> Alert:
        return asyncio.run(self.monitor.resolve(alert.id, OPERATOR, note))

    def quarantine(self) -> None:
        """What the lifecycle does about a remediation."""
        self.fleet.move(self.agent, AgentEvent.QUARANTINE)

    def remedied(self, *remediations: Remediation) -> None:
        for each in remediations:
            asyncio.run(self.monitor.mark_remedied(each.alert, actor=ADMIN))
