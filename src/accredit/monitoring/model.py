"""Baselines, alerts and the automatic answers to them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, CredentialId, ToolId
from accredit.monitoring.behaviour import Behaviour
from accredit.registry.model import RestrictionKind, Tier

__all__ = [
    "Alert",
    "AlertDisposition",
    "AlertKind",
    "AlertState",
    "Baseline",
    "Deviation",
    "Posture",
    "PresentTier",
    "Remediation",
    "RemediationKind",
    "Replaced",
    "ReportedUse",
    "Severity",
    "ToolHistory",
    "ToolUse",
    "UnusedPermission",
]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What instances may still say of themselves for a while after a newer version was approved."""

    version: Digest
    prompt: Digest
    models: frozenset[tuple[str, str]]
    until_us: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """The approved behaviour of a version (DESIGN §7): posture digests, and the sets it may move within."""

    agent: AgentId
    version: Digest
    """The approved version, whose digest covers all that a manifest says."""
    definitions: Mapping[ToolId, Digest]
    """Pinned definition of every granted tool."""
    models: frozenset[tuple[str, str]]
    """(provider, model)."""
    prompt: Digest
    destinations: frozenset[str]
    """Origins of the granted tools' servers, and of the providers of its models."""
    data: frozenset[str]
    tools: frozenset[ToolId]
    hours: Mapping[str, Any] | None
    """The agent's hours as its canonical manifest has them; None: always."""
    limits: Mapping[str, Any]
    """As its canonical manifest has them."""
    clearance: Digest | None
    """The subject digest it was approved under; None outside production."""
    made_us: int
    closed_us: int | None = None
    """When the agent retired. A newer version's baseline takes its place."""
    replaced: Replaced | None = None
    """The baseline before this one, while instances change over."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    """What its sessions are compared with, as far as that was learned."""
    places: Mapping[ToolId, str] = field(default_factory=dict)
    """Which of the destinations each granted tool and model had; none in a baseline from before they were kept."""

    @property
    def open(self) -> bool:
        return self.closed_us is None


@dataclass(frozen=True, slots=True)
class Posture:
    """What a running instance says of itself, signed with its own key as part of its token request."""

    agent: AgentId
    credential: CredentialId
    version: Digest | None
    prompt: Digest | None
    models: frozenset[tuple[str, str]] | None
    """None in any place: it said nothing about that."""
    at_us: int


@dataclass(frozen=True, slots=True)
class PresentTier:
    """What an agent's version in force comes to now. Who owns it does not count: that is for people to put right."""

    tier: Tier | None
    """None: by what is known now nobody could approve it."""
    floors: tuple[str, ...] = ()
    """Rules of the floors that hold, highest first."""
    faults: tuple[str, ...] = ()
    """Why it has no tier."""
    observed: tuple[str, ...] = ()
    """What of it was observed and is not registered, in plain words."""


class AlertKind(StrEnum):
    """What was seen."""

    POSTURE_VERSION = "posture-version"
    POSTURE_DEFINITION = "posture-definition"
    POSTURE_MODEL = "posture-model"
    POSTURE_PROMPT = "posture-prompt"
    POSTURE_ENDPOINT = "posture-endpoint"
    """What it calls is somewhere else than where it was approved to be."""
    POSTURE_INSTRUCTIONS = "posture-instructions"
    """A model is told something else than the approved prompt, in a request through the gateway."""
    POSTURE_ANSWER = "posture-answer"
    """Another model than the one it called answered, by its provider's own word."""
    POSTURE_TIER = "posture-tier"
    """More can go wrong with it than was approved: its risk tier rose under it."""
    NEW_TOOL = "new-tool"
    NEW_DESTINATION = "new-destination"
    NEW_DATA_CLASS = "new-data-class"
    NEW_OFFER = "new-offer"
    """A tool server lists something that it did not list before, or another name for what is registered."""
    FIRST_DENIAL = "first-denial"
    NEW_HOURS = "new-hours"
    """It was at work at an hour of the day at which it never was."""
    DENIAL_BURST = "denial-burst"
    """A larger share of its calls is refused than ever."""
    ERROR_RISE = "error-rise"
    """A larger share of its calls of a tool fails than did."""
    RETRY_RISE = "retry-rise"
    """It makes more of its calls again than it did."""
    LOOP = "loop"
    """It makes the same calls over and over in one session."""
    SHARED_KEY = "shared-key"
    """One key is used in two places at once."""
    SPEND_FORECAST = "spend-forecast"
    """As it spends, its budget is gone before the window ends."""
    TASK_MISMATCH = "task-mismatch"
    """A call with an effect that its user did not ask for, about what only a result names."""
    REVOKED_USE = "revoked-use"
    """A credential that was revoked, or is of an agent that was stopped, is still in use."""
    GHOST = "ghost"
    """A retired agent's credential was used."""
    REPORTED_AGENT = "reported-agent"
    """Somebody reports the work of an agent that nobody registered, or that is retired."""
    REPORTED_TOOL = "reported-tool"
    """Somebody reports that an agent used a tool that it is not granted, past the gateway."""
    REPORTED_MODEL = "reported-model"
    """The same of a language model."""
    UNKNOWN_CALLER = "unknown-caller"
    """Somebody comes to the gateway with a credential that nobody here was given."""
    FINDING_OVERDUE = "finding-overdue"
    """A finding about an agent was not answered in time."""
    RIGHT_LOST = "right-lost"
    """Its owner lost a right that its tools take, or moved to another team."""
    OWNERLESS = "ownerless"
    """Nobody took over an agent whose owner left: it was narrowed, or is to be retired."""
    REVIEW = "review"
    """A review of it was not answered in time, took something away, or wants something put right."""
    BEHAVIOUR_DRIFT = "behaviour-drift"
    """Its sessions are not like those of its baseline any more, by a sequential test."""
    UNWATCHED = "unwatched"
    """Its behaviour is not compared with what was accepted, or not by all that should: what it lacks."""


class Severity(StrEnum):
    """How much of a hurry there is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertDisposition(StrEnum):
    """What an alert turned out to be, by whoever resolved it. Each is counted for or against what raised it."""

    TRUE_POSITIVE = "true-positive"
    """It was as the alert said, and wrong."""
    EXPECTED_CHANGE = "expected-change"
    """It was as the alert said, and meant to be."""
    FALSE_POSITIVE = "false-positive"
    """It was not as the alert said."""
    TEST = "test"
    """Somebody tried whether it would be raised."""
    DUPLICATE = "duplicate"
    """Another alert tells of the same."""


class RemediationKind(StrEnum):
    """The automatic answers there are; each is reversible."""

    NONE = "none"
    RESTRICT = "restrict"
    QUARANTINE = "quarantine"
    SUSPEND = "suspend"
    LIFT = "lift"
    """What a restriction answered is over: it ends with its alert. Never the answer to an alert that is open."""


@dataclass(frozen=True, slots=True)
class Remediation:
    """What is to be done about an alert. A value: the lifecycle room carries it out."""

    alert: str
    agent: AgentId
    kind: RemediationKind
    why: str
    restriction: RestrictionKind | None = None
    tool: ToolId | None = None
    for_s: int | None = None
    calls_per_minute: int | None = None
    role: str | None = None
    until_approved: bool = False
    """Of a restriction: whether a new approval ends it as well."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to look at: one per agent, kind and matter while it is not resolved."""

    id: str
    agent: AgentId | None
    """None: what it is about is no agent of ours."""
    kind: AlertKind
    matter: str
    """What exactly: a tool id, a data class, a digest. Never text an agent chose."""
    severity: Severity
    state: AlertState
    evidence: Mapping[str, Any]
    """Expected and seen values, and the record it was seen in."""
    opened_us: int
    remediation: RemediationKind
    remedied: bool
    """Whether the remediation was carried out (true at once if there is none); of an alert that was over by itself,
    whether the restriction that answered it was lifted."""
    count: int = 1
    last_us: int = 0
    by: str | None = None
    """Who acknowledged or resolved it."""
    note: str = ""
    disposition: AlertDisposition | None = None
    """What it turned out to be; None: it is open, or was over without anybody looking into it."""
    closed_us: int | None = None
    """When it was resolved."""
    position: int = -1
    """Seq of the newest record counted in it; -1 if no record shows it."""
    restriction: RestrictionKind | None = None
    """Of a remediation that restricts: how."""
    tool: ToolId | None = None
    """And which tool; None: all."""
    for_s: int | None = None
    """And for how long."""
    calls_per_minute: int | None = None
    role: str | None = None
    rehearsed: str = ""
    """What a rule that only rehearses would have done, in plain words; empty: none would."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """Something that is not as approved, or was never seen before; one of a kind and matter opens an alert."""

    agent: AgentId | None
    """None: no agent of ours."""
    kind: AlertKind
    matter: str
    evidence: Mapping[str, Any]
    """Shown to people, and sealed in the log: unlike the matter it may hold what an instance said of itself."""
    at_us: int
    position: int | None = None
    """Seq of the record it was seen in; None if control state or an instance shows it."""
    tool: ToolId | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What became of an agent's calls of one tool over some days: granted against used against denied."""

    tool: ToolId | None
    """None: calls of no registered tool."""
    granted: bool
    """By the version in force now."""
    allows: int
    denies: int
    holds: int
    errors: int
    cost_nanos: int
    last_us: int | None
    """Time of the newest record of it; None: none in these days."""
    last_used_day: int | None
    """Newest day (whole days since the epoch, UTC) on which a call was allowed."""


@dataclass(frozen=True, slots=True)
class ToolHistory:
    """What an agent made of one tool: when it used it in the last year, and how its calls came out in 90 days."""

    last_used_day: int | None
    """Newest day (whole days since the epoch, UTC) on which a call was allowed; None: none in a year."""
    first_used_day: int | None
    """The oldest such day."""
    period_days: int | None
    """The pause between two uses that came back: the second longest there was. None: there were fewer than two."""
    allows: int
    denies: int
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class UnusedPermission:
    """A tool or model that an agent may call and does not."""

    tool: ToolId
    last_used_day: int | None
    """Newest day (whole days since the epoch, UTC) on which a call was allowed; None: none in a year."""
    idle_days: int
    """Whole days since then; of what was never used, since the agent was registered, a year at most."""
    version_days: int
    """For how many days the version in force has been so: what it was granted newly may not have had its time."""
    denies: int
    """Calls in that year that were refused: somebody wants it, and it does not get through."""


@dataclass(frozen=True, slots=True)
class ReportedUse:
    """How often it was reported that an agent used a tool or model past the gateway. A claim: nothing rests on it."""

    tool: ToolId | None
    """None: no registered tool or model, or too many different ones."""
    count: int
    first_us: int
    last_us: int
    """When reports of it came, by our clock."""
