"""A small CRM fleet that the tests of this room share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.hours import Hours
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId, ToolId, tool_id
from accredit.policy.decide import decide
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.model import CallRequest, Decision
from accredit.policy.publish import Installation
from accredit.policy.release import Release, read_release
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Effect,
    Environment,
    Restriction,
    Team,
    Tool,
    ToolGrant,
    ToolServer,
    WriteScope,
)

ENGINE = CedarEngine()
READ = tool_id("crm", "read_customer")
UPDATE = tool_id("crm", "update_customer")
REFUND = tool_id("shop", "refund")
OFFICE = Hours.parse("08:00-18:00", ["mon", "tue", "wed", "thu", "fri"], "Europe/Berlin")


def digest(*parts: Any) -> Digest:
    return digest_value("test", list(parts))


def tool(
    name: ToolId,
    properties: Mapping[str, Any] | None = None,
    *,
    effect: Effect = Effect.READ,
    scope: WriteScope | None = None,
    data: frozenset[str] = frozenset({"personal"}),
    required: tuple[str, ...] = (),
) -> Tool:
    server, _, own = name.partition("/")
    schema = {"type": "object", "properties": dict(properties or {}), "required": list(required)}
    definition = {"name": own, "inputSchema": schema}
    return Tool(name, ServerName(server), own, effect, scope, data, None, definition, digest(definition))


def server(name: str, *tools: Tool, environment: Environment = Environment.DEVELOPMENT) -> ToolServer:
    return ToolServer(
        ServerName(name), environment, "http://127.0.0.1:1/mcp", None, {tool.name: tool for tool in tools}
    )


SERVERS = (
    server(
        "crm",
        tool(READ, {"customer_id": {"type": "string"}, "limit": {"type": "integer"}}, required=("customer_id",)),
        tool(
            UPDATE,
            {"customer_id": {"type": "string"}, "note": {"type": "string"}},
            effect=Effect.WRITE,
            scope=WriteScope.RECORD,
            required=("customer_id",),
        ),
    ),
    server(
        "shop",
        tool(
            REFUND,
            {
                "amount": {"type": "number"},
                "currency": {"type": "string", "enum": ["EUR", "USD"]},
                "lines": {"type": "array", "items": {"type": "integer"}},
                "urgent": {"type": "boolean"},
                "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                "filter": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "extra": {"type": "object"},
                "mixed": {"type": "array"},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            effect=Effect.EXTERNAL,
            data=frozenset({"financial"}),
            required=("amount",),
        ),
    ),
)


def grant(
    name: ToolId,
    role: str | None = None,
    same_as: tuple[tuple[str, str], ...] = (),
    hours: Hours | None = None,
    mask: frozenset[str] = frozenset(),
) -> ToolGrant:
    span = [hours.start, hours.end, sorted(hours.days), hours.zone] if hours else None
    masked = [sorted(mask)] if mask else []
    own = digest("grant", name, role, [list(pair) for pair in same_as], span, *masked)
    return ToolGrant(name, own, role, same_as, hours, mask)


SUPPORT_GRANT = grant(READ, "customer-support", (("input.customer_id", "task.customer_id"),), OFFICE)


def agent(
    *grants: ToolGrant,
    name: str = "support-copilot",
    team: str = "customer-support",
    data: frozenset[str] = frozenset({"personal", "financial"}),
) -> Agent:
    version = AgentVersion(
        digest=digest("version", name, [grant.digest for grant in grants], sorted(data)),
        manifest={},
        facets={},
        grants=grants,
        data=data,
        zone="Europe/Berlin",
        limits=AgentLimits(60, 4, 30.0, 1200.0, None),
    )
    return Agent(
        id=AgentId(f"agt_{name}"),
        name=name,
        team=Team(TeamId(f"team_{team}"), team, frozenset({"Europe/Berlin"})),
        environment=Environment.DEVELOPMENT,
        state=AgentState.DRAFT,
        owner=PersonId("per_dana"),
        backup_owner=None,
        version=version,
    )


COPILOT = agent(SUPPORT_GRANT, grant(UPDATE), grant(REFUND))
AGENTS = {"support-copilot": COPILOT.id}
INSTALLATION = Installation(servers=SERVERS, teams=frozenset({"customer-support", "sales"}), agents=AGENTS)


def release(files: Mapping[str, str] | str = "") -> Release:
    texts = {"org/rules.cedar": files} if isinstance(files, str) else files
    return read_release(texts, ENGINE, agents=AGENTS)


def snapshot(files: Mapping[str, str] | str = "", servers: tuple[ToolServer, ...] = SERVERS) -> PolicySnapshot:
    return PolicySnapshot(release(files), servers, ENGINE)


def office_call(**changes: Any) -> dict[str, Any]:
    """The context of the mission's own example: right role, right customer, a Monday at ten."""
    context: dict[str, Any] = {
        "input": {"customer_id": "c-77"},
        "user": {"id": "u-1", "roles": ["customer-support", "employee"]},
        "task": {"id": "T-9", "customer_id": "c-77"},
        "now": {"minute": 600, "day": "mon", "date": "2026-11-23"},
    }
    context |= changes
    return {key: value for key, value in context.items() if value is not None}


def ask(
    files: Mapping[str, str] | str = "",
    context: Mapping[str, Any] | None = None,
    *,
    on: ToolId = READ,
    by: Agent = COPILOT,
    lifted: frozenset[str] = frozenset(),
    time_trusted: bool = True,
    restrictions: tuple[Restriction, ...] = (),
    under: PolicySnapshot | None = None,
) -> Decision:
    request = CallRequest(by, on, office_call() if context is None else context, lifted, time_trusted, restrictions)
    return decide(request, under or snapshot(files))


def moved(by: Agent, **changes: Any) -> Agent:
    return replace(by, **changes)
