"""Agents, versions, people, teams and tools as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.hours import Hours
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId, ToolId
from accredit.kernel.money import Money

__all__ = [
    "Agent",
    "AgentLimits",
    "AgentState",
    "AgentVersion",
    "Effect",
    "Environment",
    "Person",
    "Team",
    "Tool",
    "ToolGrant",
    "ToolServer",
    "WriteScope",
]


class Environment(StrEnum):
    """Where an agent, its credentials and its tool servers live; they never mix."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Effect(StrEnum):
    """What calling a tool can do to the world."""

    READ = "read"
    WRITE = "write"
    EXTERNAL = "external"
    IRREVERSIBLE = "irreversible"
    ADMINISTER = "administer"


class WriteScope(StrEnum):
    """Whose things a write touches: the agent's own, or records others rely on (also when unknown)."""

    OWN = "own"
    RECORD = "record"


class AgentState(StrEnum):
    """The states of DESIGN §6. In this release an agent is a draft until it is retired."""

    DRAFT = "draft"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account. The id is opaque; the e-mail is personal data and stays out of the log's clear text."""

    id: PersonId
    email: str


@dataclass(frozen=True, slots=True)
class Team:
    """A team and the time zones it registered."""

    id: TeamId
    name: str
    zones: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tool:
    """A callable capability of a server, as registered, with its pinned definition."""

    id: ToolId
    server: ServerName
    name: str
    """The server's own name for it."""
    effect: Effect
    scope: WriteScope | None
    """Set for writes only."""
    data: frozenset[str]
    price: Money | None
    definition: Mapping[str, Any]
    """name, title, description, inputSchema, outputSchema, annotations as pinned."""
    definition_digest: Digest
    allow_undeclared: bool = False
    """Whether properties the schema does not declare may pass (DESIGN §3.4): only if an approver said so."""


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server that offers tools."""

    name: ServerName
    environment: Environment
    url: str
    credential: str | None
    """Name of the brokered upstream credential."""
    tools: Mapping[str, Tool]
    """By the server's own tool name."""


@dataclass(frozen=True, slots=True)
class ToolGrant:
    """What the manifest says about one tool, normalised; equal grants have equal digests (DESIGN §3.7)."""

    tool: ToolId
    digest: Digest
    user_role: str | None = None
    same_as: tuple[tuple[str, str], ...] = ()
    """(`input.customer_id`, `task.customer_id`) pairs, sorted."""
    hours: Hours | None = None
    """The agent's hours, narrowed by the grant's own."""


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """Ceilings of one agent; times in seconds. None means the installation's default."""

    calls_per_minute: int
    concurrency: int
    call_timeout_s: float
    run_timeout_s: float
    cost_per_day: Money | None


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """An immutable revision of a manifest."""

    digest: Digest
    manifest: Mapping[str, Any]
    """Canonical form, e-mails resolved to person ids."""
    facets: Mapping[str, Digest]
    grants: tuple[ToolGrant, ...]
    data: frozenset[str]
    zone: str
    """The zone of the agent's hours, `UTC` without hours."""
    limits: AgentLimits
    expires_us: int | None = None
    """When the manifest's last day ends (UTC); None if it names none."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An autonomous program with one record, one owner, one identity."""

    id: AgentId
    name: str
    team: Team
    environment: Environment
    state: AgentState
    owner: PersonId
    backup_owner: PersonId | None
    version: AgentVersion
