"""One question to the policy room and its answer. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.ids import ToolId
from accredit.policy.ports import VetoAnswer
from accredit.registry.model import Agent, Restriction

__all__ = [
    "CallRequest",
    "Decision",
    "ExternalName",
    "ExternalRequest",
    "HoldNeed",
    "Hop",
    "Observation",
    "Outcome",
    "PolicyFault",
    "ToolCallRule",
]


class Outcome(StrEnum):
    """Of evaluating one call."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


class ToolCallRule(StrEnum):
    """What must become of the tool calls in a model's answer before its agent sees them (`@tool_calls("…")`)."""

    DECIDED = "decided"
    """Those of registered tools are decided, and what is not allowed is withheld; others pass."""
    KNOWN = "known"
    """The same, and calls of tools that are not registered are withheld too."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One agent that handed on what a call is made for, and the agent it handed it to. Both as they are now."""

    caller: Agent
    callee: Agent
    restrictions: tuple[Restriction, ...] = ()
    """Those in force on the caller: what they take from it cannot be had by handing it on."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One call to be judged: everything the decision may depend on besides the snapshot."""

    agent: Agent
    tool: ToolId
    context: Mapping[str, Any]
    """The whole context before projection: `input`, `origin`, `user`, `task`, `declared`, `session`, `instance`,
    `actors`, `hops`, `now` (DESIGN §3.6). Absent facts are absent keys."""
    lifted: frozenset[str] = frozenset()
    """Policy ids for which an unused grant for exactly this call exists."""
    time_trusted: bool = True
    """False after a clock step: time-dependent permits deny."""
    restrictions: tuple[Restriction, ...] = ()
    """Those in force on the agent."""
    time_us: int = 0
    """The record's clock, Unix time: observed policies are enforced from the end of their observation."""
    hops: tuple[Hop, ...] = ()
    """How the work came to the agent, the last hop first; empty: nobody handed it on."""
    outside: VetoAnswer | None = None
    """What an engine outside of this process said, which was asked before; None if there is none, or none was asked."""


@dataclass(frozen=True, slots=True)
class ExternalName:
    """Somebody or something of another application, as that names and describes it."""

    type: str
    id: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    """They count only for what the release itself does not name."""


@dataclass(frozen=True, slots=True)
class ExternalRequest:
    """One question of a registered enforcement point about types that a release defines."""

    subject: ExternalName
    action: str
    resource: ExternalName
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Properties of the action."""
    context: Mapping[str, Any] = field(default_factory=dict)
    caller: str = ""
    """The name of the enforcement point."""
    time_us: int = 0
    time_trusted: bool = True


@dataclass(frozen=True, slots=True)
class HoldNeed:
    """A policy that wants a person of a role to approve."""

    policy: str
    role: str


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """A policy that could not be evaluated, and the engine's words."""

    policy: str
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What the decision would have been with the observed policies enforced. It changes nothing."""

    outcome: Outcome
    code: Code
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of evaluating one call."""

    outcome: Outcome
    code: Code
    policies: tuple[str, ...] = ()
    """Ids of the determining policies, sorted."""
    needs: tuple[HoldNeed, ...] = ()
    """Set for a hold: every one needs a grant by its own role."""
    faults: tuple[PolicyFault, ...] = ()
    unmet: tuple[str, ...] = ()
    """For a deny without a forbid: the conditions of the granting permit that did not hold."""
    lifted: tuple[str, ...] = ()
    """Policies whose hold was lifted by a grant for this decision: these grants are to be consumed."""
    release: Digest | None = None
    slice: Digest | None = None
    entities: Mapping[str, Digest] | None = None
    """Digests of the entity facts the engine saw: principal, action, resource."""
    detail: str = ""
    """For the caller: which path or value was at fault; never internals."""
    tool_calls: ToolCallRule | None = None
    """Of an allowed request to a model, what policies demand of the answer: whoever cannot do that must refuse."""
    observed: Observation | None = None
    """Set if a policy in scope is only observed."""
