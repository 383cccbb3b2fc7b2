"""Agents, versions, people, teams and tools as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from accredit.kernel.canonical import Digest
from accredit.kernel.hours import Hours
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId, ToolId
from accredit.kernel.money import Money
from accredit.registry.items import ItemKind, item_kind
from accredit.registry.llm_models import ModelRates

__all__ = [
    "APPROVER_ROLES",
    "LATEST_REVISION",
    "SESSION_REVISIONS",
    "Agent",
    "AgentLimits",
    "AgentState",
    "AgentVersion",
    "Agreement",
    "DelegateGrant",
    "Effect",
    "Environment",
    "GateRule",
    "Incident",
    "IncidentEvent",
    "Launch",
    "Person",
    "Restriction",
    "RestrictionKind",
    "ReviewSchedule",
    "Role",
    "SeasonalUse",
    "Store",
    "Team",
    "Tier",
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
    """Where an agent stands in its life (DESIGN §6); `lifecycle.py` of this room says what leads where."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    QUARANTINED = "quarantined"
    RETIRING = "retiring"
    RETIRED = "retired"


class Tier(StrEnum):
    """How much can go wrong; computed and explained, never declared."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Role(StrEnum):
    """What a person may be trusted with; held by a role grant, never by declaration."""

    TEAM_LEAD = "team-lead"
    SECURITY = "security"
    COMPLIANCE = "compliance"
    BUSINESS_OWNER = "business-owner"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ADMIN = "admin"


APPROVER_ROLES = frozenset({Role.TEAM_LEAD, Role.SECURITY, Role.COMPLIANCE, Role.BUSINESS_OWNER, Role.ADMIN})
"""Roles that vote."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account. The id is opaque; the e-mail is personal data and stays out of the log's clear text."""

    id: PersonId
    email: str
    bot: bool = False
    """A service account: it acts, and never votes."""
    controllers: frozenset[str] = frozenset()
    """Of a bot: ids of the persons, and names of the groups (as `group:NAME`), who control it."""
    left: bool = False
    """Left the organisation: no credential works, no vote counts, nothing can be owned anew."""
    manager: PersonId | None = None
    """Who is asked about what this person leaves behind."""


_EACH: Final = "{namespace}"
"""What in the name of a key stands for a namespace."""


@dataclass(frozen=True, slots=True)
class Store:
    """A registered store of memory or knowledge."""

    name: str
    environment: Environment
    adapter: str
    location: str
    """A path of this machine or a URL, without a secret."""
    credential: str | None
    namespaces: tuple[str, ...]
    """Names, or beginnings that end in `*`."""
    shared: bool
    """Whether one namespace holds what belongs to several agents."""
    owner_field: str | None
    subject_field: str | None
    key_scope: str | None
    id_field: str
    text_field: str
    created_field: str | None

    def holds(self, namespace: str) -> bool:
        """Whether it is registered for that namespace."""
        return any(namespace.startswith(one[:-1]) if one.endswith("*") else namespace == one for one in self.namespaces)

    def opened_by(self, key: str) -> bool:
        """Whether that key is the one of the store, or of a namespace that it is registered for."""
        if self.key_scope is None or _EACH not in self.key_scope:
            return self.key_scope == key
        first, *rest = (re.escape(one) for one in self.key_scope.split(_EACH))
        found = re.fullmatch(f"{first}(?P<namespace>.*){'(?P=namespace)'.join(rest)}", key)
        return found is not None and self.holds(found["namespace"])


@dataclass(frozen=True, slots=True)
class Agreement:
    """A record that a supplier may process data: the contract itself lies elsewhere, its digest here."""

    name: str
    provider: str
    """As manifests name it in `models[].provider`."""
    covers: frozenset[str]
    """Data classes it allows the supplier to see."""
    document: Digest
    expires_us: int | None

    def allows(self, provider: str, classes: frozenset[str], *, now_us: int) -> bool:
        """Whether it is in force for that supplier and all these data classes."""
        in_force = self.expires_us is None or now_us < self.expires_us
        return in_force and provider == self.provider and classes <= self.covers


class RestrictionKind(StrEnum):
    """How an agent or tool is narrowed; none ever widens."""

    THROTTLE = "throttle"
    HOLD = "hold"
    DROP_TOOL = "drop-tool"
    READ_ONLY = "read-only"
    DAILY_COST = "daily-cost"
    """A cap below that of the version; comes with an approval only."""
    CANARY = "canary"
    """A share of the sessions is let through; comes with an approval only."""
    RIGHT = "right"
    """Whoever stands behind the agent has no right to the tool; follows from what directories say, and is in no row."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A time-boxed narrowing of one agent, or of one of its tools. Quarantine is a state, not one of these."""

    id: str
    agent: AgentId
    kind: RestrictionKind
    tool: ToolId | None
    """None: every tool."""
    cause: str
    """The alert it answers, or what a person said."""
    opened_us: int
    until_us: int
    calls_per_minute: int | None = None
    """Of a throttle."""
    role: Role | None = None
    """Of a hold: who can let a call through."""
    until_approved: bool = False
    """Whether a new approval, put in force, ends it as well."""
    alert: str | None = None
    """The alert or succession it answers, if nobody placed it: it goes when that is over by itself."""
    approval: str | None = None
    """The request under which the version is approved, if it is part of that: nobody lifts it."""
    cost_per_day: Money | None = None
    """Of a daily cost."""
    share_percent: int | None = None
    """Of a canary: how many of a hundred sessions are let through."""

    def in_force(self, now_us: int) -> bool:
        return now_us < self.until_us


@dataclass(frozen=True, slots=True)
class GateRule:
    """What the organisation asks of one gate beyond what is built in, and who is told when nobody answers."""

    roles: Mapping[Role, int] = field(default_factory=dict)
    """How many persons of a role must approve; fewer than are built in change nothing."""
    comment: bool = False
    """Whether every approval needs words."""
    backups: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    """By role: who is told once most of the time is over: ids of persons, and groups as `group:NAME`."""
    heads: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    """The same, when nearly all of it is."""


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One thing that was done about an incident."""

    at_us: int
    what: str
    """opened, raised, frozen or closed."""
    by: PersonId | None
    """None: a rule did it."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class SeasonalUse:
    """That a tool is used in seasons: long pauses between two uses are no sign that nobody needs it."""

    tool: ToolId
    every_months: int


@dataclass(frozen=True, slots=True)
class ReviewSchedule:
    """Which agents in production are reviewed how often, and how long people have to answer.

    Of the selections each that names anything must match; one that names nothing matches every agent.
    """

    name: str
    teams: frozenset[str] = frozenset()
    """Names of teams."""
    tiers: frozenset[Tier] = frozenset()
    agents: frozenset[str] = frozenset()
    """Names of agents."""
    services: frozenset[str] = frozenset()
    """Business services."""
    months: Mapping[Tier, int] = field(default_factory=dict)
    """By tier: how many months lie between two reviews."""
    day: int = 1
    """Of the month (UTC), on which a review begins."""
    respond_days: int = 14
    """How long people have to answer,"""
    grace_days: int = 7
    """and how much longer before an agent of the high tier is suspended."""
    seasonal: tuple[SeasonalUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong with agents; one of severity 1 that is open raises their tier."""

    id: str
    agent: AgentId
    """The first one it is about."""
    severity: int
    """1 is the gravest."""
    opened_us: int
    closed_us: int | None = None
    others: tuple[AgentId, ...] = ()
    """Further agents that it is about."""
    what: str = ""
    opened_by: PersonId | None = None
    rule: str = ""
    """Which rule opened it, if nobody did: `ghost`."""
    closed_by: PersonId | None = None
    disposition: str = ""
    """What it came to, in words."""
    holds: tuple[str, ...] = ()
    """Ids of the legal holds that keep its agents' records."""
    linked: tuple[str, ...] = ()
    """Ids of alerts and findings, and `record:SEQ`."""
    events: tuple[IncidentEvent, ...] = ()
    """What was done, the first first."""

    @property
    def open(self) -> bool:
        return self.closed_us is None

    @property
    def agents(self) -> tuple[AgentId, ...]:
        return (self.agent, *self.others)


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
    fields: tuple[tuple[str, str], ...] = ()
    """(Name of a property of its results, data class it carries), sorted: what a grant's mask can take away."""
    rates: ModelRates | None = None
    """Set: it is a language model, and its server the provider."""

    @property
    def item(self) -> ItemKind | None:
        """Set: it is a resource, a template of resources, or a prompt, which is read and not called."""
        return item_kind(self.name) if self.rates is None else None

    def carrying(self, classes: frozenset[str]) -> frozenset[str]:
        """The properties of its results that carry one of these data classes."""
        return frozenset(name for name, kind in self.fields if kind in classes)

    def shown(self, mask: frozenset[str]) -> frozenset[str]:
        """The data classes left to whoever has that mask; one that no field places cannot be taken away."""
        return self.data - (mask - self.unplaced(mask)) if mask else self.data

    def unplaced(self, mask: frozenset[str]) -> frozenset[str]:
        """The data classes of a mask that the tool carries and no registered field places."""
        return (mask & self.data) - {kind for _, kind in self.fields} if mask else mask


LATEST_REVISION: Final = "2026-07-28"
"""The revision of MCP without sessions."""
SESSION_REVISIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Those with sessions that are spoken to tool servers, newest first."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a tool server that is started here, and spoken to over its standard input and output, is started."""

    command: str
    """An absolute path; no shell reads it."""
    args: tuple[str, ...] = ()
    directory: str | None = None
    """Where it works; None: an empty directory of its own."""
    env: tuple[tuple[str, str], ...] = ()
    """All of its environment but the credential, sorted: nothing is inherited."""
    credential_variable: str | None = None
    """Under which name it finds the brokered credential there."""
    network: str = "none"
    """`none`, or `host`: that of the machine accredit runs on."""
    reads: tuple[str, ...] = ()
    """What it sees, to read, of places that are private to it otherwise; sorted."""
    writes: tuple[str, ...] = ()
    """What it may write, as far as its user may; sorted."""


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server, or an HTTP API, that offers tools."""

    name: ServerName
    environment: Environment
    url: str
    credential: str | None
    """Name of the brokered upstream credential."""
    tools: Mapping[str, Tool]
    """By the server's own tool name; its items by theirs (`items.py`)."""
    openapi: str | None = None
    """Where an HTTP API says what it offers: a path below its URL."""
    api: str | None = None
    """How a provider of models is spoken to: `openai` or `anthropic`."""
    elicitation: frozenset[str] = frozenset()
    """How an MCP server may ask the agent's user for something: `form`, `url`."""
    revision: str = LATEST_REVISION
    """Of MCP: what it was registered to speak, and nothing older is ever spoken to it."""
    launch: Launch | None = None
    """Of a server that is started here; its URL is then `stdio:` and its name."""
    local: bool = False
    """Whether its tools are functions of a program, asked about and never called from here; its URL is `local:NAME`."""

    @property
    def place(self) -> tuple[object, ...]:
        """Where a call to it goes, and how: if any of it is another, it is another server."""
        return (self.url, self.credential, self.revision, self.launch, self.elicitation)

    @property
    def protocol(self) -> str:
        """`mcp`, `http`, `llm` or `local`."""
        if self.local:
            return "local"
        return "llm" if self.api is not None else "http" if self.openapi is not None else "mcp"


@dataclass(frozen=True, slots=True)
class ToolGrant:
    """What the manifest says about one tool or item, normalised; equal grants have equal digests (DESIGN §3.7)."""

    tool: ToolId
    digest: Digest
    user_role: str | None = None
    same_as: tuple[tuple[str, str], ...] = ()
    """(`input.customer_id`, `task.customer_id`) pairs, sorted."""
    hours: Hours | None = None
    """The agent's hours, narrowed by the grant's own."""
    mask: frozenset[str] = frozenset()
    """Data classes that the gateway takes out of the results before the agent sees them."""
    model: bool = False
    """Whether it is one of a language model."""


@dataclass(frozen=True, slots=True)
class DelegateGrant:
    """What the manifest lets another agent do in this one's stead, normalised: one tool, and under which conditions."""

    callee: AgentId
    tool: ToolId | None
    """None: that work may be handed on at all. It permits no call."""
    digest: Digest
    user_role: str | None = None
    same_as: tuple[tuple[str, str], ...] = ()
    hours: Hours | None = None
    """Those of the agent that delegates."""


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
    models: tuple[ToolGrant, ...] = ()
    """The language models it may use."""
    delegates: tuple[DelegateGrant, ...] = ()
    """Whom it may hand work on to; for each, first one without a tool."""

    @property
    def every_grant(self) -> tuple[ToolGrant, ...]:
        """Those of tools, then those of language models."""
        return (*self.grants, *self.models)

    def grant(self, tool: ToolId) -> ToolGrant | None:
        """The grant of a tool or model."""
        return next((grant for grant in self.every_grant if grant.tool == tool), None)

    def delegation(self, callee: AgentId, tool: ToolId | None) -> DelegateGrant | None:
        """What is delegated to an agent of a tool or model; without a tool: whether it is handed anything at all."""
        return next((one for one in self.delegates if one.callee == callee and one.tool == tool), None)


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
    """The one in force: what is enforced."""
    candidate: AgentVersion | None = None
    """A newer one that was declared and is not in force: it needs its own approval and activation."""
    halted_from: AgentState | None = None
    """While suspended or quarantined: the state it returns to."""
    promoted_from: AgentId | None = None
    """The agent of the same name and team in a lower environment that this one was promoted from."""
    registered_us: int = 0
    registered_by: PersonId | None = None
    since_us: int = 0
    """When it came into its state."""
    tier: Tier | None = None
    """The one the version in force was approved under, in production; elsewhere nobody judges it. What it comes to now
    is computed anew by whoever asks."""
