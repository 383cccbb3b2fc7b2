"""Holds and what people gave for them. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, HoldId, PersonId, ToolId
from accredit.policy.model import HoldNeed
from accredit.registry.model import Agent, Environment, Tool

__all__ = ["HeldCall", "Hold", "HoldGrant", "HoldRefusal", "HoldState", "HoldVerdict"]


@dataclass(frozen=True, slots=True)
class HeldCall:
    """Exactly one call, as far as an approval binds to it."""

    agent: Agent
    principal: Principal
    tool: Tool
    arguments: Mapping[str, Any]
    resource: str | None = None
    """What is acted on, when that is not the tool itself."""
    barred: Mapping[PersonId, str] = field(default_factory=dict)
    """Persons who may not answer, each with what they are to the call (`user`, `owner`): only a policy that names that
    very role lets them."""


class HoldState(StrEnum):
    """Where a hold stands."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    """Nobody answered, or nobody used the answer, in time."""
    USED = "used"


class HoldVerdict(StrEnum):
    """What a person says to a hold."""

    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class HoldGrant:
    """One person's approval for one policy, in the role the policy named; used once."""

    id: str
    policy: str
    role: str
    person: PersonId
    credential: str
    basis: str
    view_digest: Digest
    """Of the text that person was shown."""
    reason: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A call that waits for people, or what became of it."""

    id: HoldId
    agent: AgentId
    version: Digest
    environment: Environment
    tool: ToolId
    request: Digest
    """What the grants are for. Never to be written in clear: it can be guessed from few arguments."""
    needs: tuple[HoldNeed, ...]
    """Sorted; each needs a grant of its own."""
    state: HoldState
    opened_us: int
    expires_us: int
    """While open, when the question lapses; once granted, when the grants do."""
    barred: Mapping[PersonId, str]
    view: str
    """What an approver is to be shown: JSON text of the raw values, characters that could deceive the eye escaped.
    Empty once the hold is over."""
    view_digest: Digest
    grants: tuple[HoldGrant, ...] = ()
    denied_by: PersonId | None = None
    denied_reason: str = ""
    closed_us: int | None = None

    @property
    def missing(self) -> tuple[HoldNeed, ...]:
        """The needs without a grant."""
        given = {grant.policy for grant in self.grants}
        return tuple(need for need in self.needs if need.policy not in given)


@dataclass(frozen=True, slots=True)
class HoldRefusal:
    """Why a hold cannot be opened, answered or used."""

    code: Code
    detail: str
    hold: HoldId | None = None
