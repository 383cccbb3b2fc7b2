"""A small fleet to test with: the example manifests, a tool server that answers from memory, a registry over both."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from accredit.audit.model import Facts, Receipt
from accredit.audit.ports import Actor, Change, Write
from accredit.kernel.canonical import canonical
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import PersonId, SeededIds, TeamId
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.manifest import Document, read_manifests
from accredit.registry.model import LATEST_REVISION, Agent, Role, ToolServer
from accredit.registry.organisation import RoleGrant
from accredit.registry.proposals import Proposal
from accredit.registry.reading import read_documents
from accredit.registry.rows import role_grant_doc
from accredit.registry.service import ApplyResult, Registry
from accredit.storage.memory.control import MemoryControlLog

MANIFESTS = Path(__file__).parent / "manifests"
ADMIN = Actor(person="psn_admin", credential="tok_1", basis="single-admin")
NOW_US = 1_795_392_000_000_000  # 2026-11-23

READ_CUSTOMER: dict[str, Any] = {
    "name": "read_customer",
    "title": "Read a customer",
    "description": "Reads one customer by id.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "customer_id": {"type": "string", "maxLength": 40},
            "nickname": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "maybe": {"type": ["string", "null"]},
            "count": {"type": "integer"},
            "address": {
                "type": "object",
                "properties": {"zip": {"type": "string"}, "flat": {"type": "integer"}},
                "required": ["zip"],
            },
        },
        "required": ["customer_id", "tags", "maybe", "count", "address"],
    },
    "annotations": {"readOnlyHint": True},
}


def definition(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": schema or {"type": "object", "properties": {}}, **more}


class Offered:
    """A `DefinitionSource` that answers from memory and counts how often it was asked."""

    def __init__(self) -> None:
        self.tools: dict[str, Mapping[str, Any]] = {
            "read_customer": copy.deepcopy(READ_CUSTOMER),
            "search_orders": definition("search_orders"),
            "add_note": definition("add_note"),
            "unlisted": definition("unlisted"),
        }
        self.down = False
        self.asked: list[ToolServer] = []

    async def revision(self, server: ToolServer) -> str:
        return LATEST_REVISION

    async def fetch(self, server: ToolServer) -> Mapping[str, Mapping[str, Any]]:
        self.asked.append(server)
        if self.down:
            raise UnavailableError(Code.UPSTREAM_UNREACHABLE, "connection refused")
        return dict(self.tools)


class Doubted(MemoryControlLog):
    """Some rows are not what the log says."""

    def __init__(self) -> None:
        super().__init__()
        self.doubted: frozenset[tuple[str, str]] = frozenset()

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        return self.doubted


class Fleet:
    """A registry in memory."""

    def __init__(self, control: MemoryControlLog | None = None) -> None:
        self.control = control or MemoryControlLog()
        self.offered = Offered()
        self.clock = ScriptedClock(NOW_US)
        self.alone = True
        """Whether there is only one administrator."""
        self.registry = Registry(self.control, SeededIds(1), self.clock, self.offered, bootstrapping=lambda: self.alone)

    def apply(self, *documents: dict[str, Any], actor: Actor = ADMIN) -> list[ApplyResult]:
        return asyncio.run(self.registry.apply_documents(read(*documents), actor))

    def person(self, email: str, *controllers: str) -> PersonId:
        """Registered, if need be; a service account if somebody controls it."""
        self.apply(person_document(email, *controllers))
        found = self.registry.catalogue.person(email)
        assert found is not None
        return found.id

    def grant(self, role: Role, holder: str, team: TeamId | None = None) -> str:
        """A role, as if it had been given long ago."""
        key = f"rgr_{role}_{holder.replace('group:', 'of-')}"
        given = RoleGrant(key, role, holder, team, frozenset({PersonId("psn_long_ago")}), 1)
        self.put("role_grant", key, role_grant_doc(given))
        return key

    def enact(self, proposal: Proposal | None, *by: str, actor: Actor = ADMIN) -> Receipt | None:
        """As the lifecycle room does once other persons signed it off."""
        assert proposal is not None
        subject = Subject(proposal.kind, proposal.digest)
        clearance = Clearance(subject, Basis.APPROVALS, by or ("psn_voter",), "tok_2")
        stored = orjson.loads(canonical(proposal.content))
        return asyncio.run(self.registry.enact(stored, clearance, actor))

    def move(self, agent: Agent, event: AgentEvent, **more: Any) -> Agent:
        asyncio.run(self.registry.transition(agent.id, event, ADMIN, **more))
        found = self.registry.get(agent.id)
        assert found is not None
        return found

    def agent(self, environment: str = "development", name: str = "support-copilot") -> Agent:
        found = self.registry.catalogue.agent_named(environment, name)
        assert found is not None
        return found

    def put(self, kind: str, key: str, doc: dict[str, Any] | None) -> None:
        """Writes a row as another room would, without the registry."""
        change = Change(Facts("test.written"), (Write(kind, key, doc),), ADMIN, {})
        asyncio.run(self.control.transact(lambda _: change))

    def doc(self, kind: str, key: str) -> dict[str, Any]:
        row = self.control.view.get(kind, key)
        assert row is not None
        return dict(row.doc)

    def kinds(self) -> list[str]:
        return [change.facts.kind for change in self.control.events]

    @classmethod
    def registered(cls, *, agent: bool = True) -> Fleet:
        """With everything in the examples."""
        fleet = cls()
        names = ["people", "issuers", "crm"] + (["support-copilot"] if agent else [])
        fleet.apply(*(document for name in names for document in example(name)))
        return fleet

    @classmethod
    def staffed(cls, control: MemoryControlLog | None = None) -> Fleet:
        """The people and issuers of the examples, and two administrators: Ann and Bob."""
        fleet = cls(control)
        fleet.apply(*example("people"), *example("issuers"))
        for email in ("ann@example.com", "bob@example.com"):
            fleet.grant(Role.ADMIN, fleet.person(email))
        fleet.alone = False
        return fleet

    @classmethod
    def in_production(cls, control: MemoryControlLog | None = None) -> Fleet:
        """The examples, moved to production and signed off as far as that takes; the agent is a draft."""
        fleet = cls.staffed(control)
        (server,) = fleet.apply(elsewhere(server_document()))
        fleet.enact(server.proposal)
        fleet.apply(elsewhere(agent_document()))
        return fleet


def person_document(email: str, *controllers: str) -> dict[str, Any]:
    spec = {"email": email, **({"controlledBy": list(controllers)} if controllers else {})}
    return {"apiVersion": "accredit/v1", "kind": "Person", "spec": spec}


def group_document(name: str, members: Sequence[str] = (), groups: Sequence[str] = ()) -> dict[str, Any]:
    spec = {"members": list(members), "groups": list(groups)}
    return {"apiVersion": "accredit/v1", "kind": "Group", "metadata": {"name": name}, "spec": spec}


def elsewhere(document: dict[str, Any], environment: str = "production") -> dict[str, Any]:
    return changed(document, "metadata.environment", environment)


def example(name: str) -> list[dict[str, Any]]:
    return [raw.value for raw in read_documents((MANIFESTS / f"{name}.yaml").read_bytes())]


def agent_document() -> dict[str, Any]:
    return example("support-copilot")[0]


def server_document() -> dict[str, Any]:
    return example("crm")[0]


def read(*documents: dict[str, Any]) -> tuple[Document, ...]:
    return read_manifests(orjson.dumps(list(documents)))


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at `spec.a.0.b` replaced; removed if the value is `...`."""
    made = copy.deepcopy(document)
    node: Any = made
    *steps, last = path.split(".")
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node[step]
    key: Any = int(last) if isinstance(node, list) else last
    if value is ...:
        del node[key]
    else:
        node[key] = value
    return made
