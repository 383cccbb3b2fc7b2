"""What one agent's documents are made of, and the block in which those that have room for it carry our facts whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId

__all__ = [
    "GOVERNANCE",
    "PEOPLE",
    "AgentDocument",
    "AgentFacts",
    "ExchangeForm",
    "SignedOff",
    "ToolFacts",
    "governance",
    "moment",
]

GOVERNANCE: Final = "accredit/governance/v1"
"""The name of the block and its form."""
PEOPLE: Final = frozenset({"owner", "backupOwner"})
"""Keys of `spec` that name somebody: no document has them."""


class ExchangeForm(StrEnum):
    """In which form an agent is exchanged."""

    A2A = "a2a"
    OASF = "oasf"
    CYCLONEDX = "cyclonedx"
    ANNEX_IV = "annex-iv"


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """A tool, resource or prompt that the version grants, as its server defined it and its operator registered it."""

    id: str
    server: str
    name: str
    description: str
    """Of the server: a claim."""
    effect: str
    data: tuple[str, ...]
    definition: Digest


@dataclass(frozen=True, slots=True)
class SignedOff:
    """A role's approval that the version in force rests on."""

    role: str
    at_us: int
    record: int | None


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent, as of one moment."""

    id: AgentId
    version: Digest
    """In force."""
    state: str
    tier: str | None
    manifest: Mapping[str, Any]
    """As `restating.py` states it."""
    declared_us: int
    at_us: int
    tools: tuple[ToolFacts, ...] = ()
    signed_off: tuple[SignedOff, ...] = ()
    interface: str | None = None
    """Where it answers to A2A, if somebody said so: it is not registered."""
    program: str = ""
    """What made the document, and its version."""
    unsaid: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def team(self) -> str:
        return str(self.manifest["metadata"]["team"])

    @property
    def spec(self) -> Mapping[str, Any]:
        """What the manifest says, without people."""
        return {key: value for key, value in self.manifest["spec"].items() if key not in PEOPLE}


@dataclass(frozen=True, slots=True)
class AgentDocument:
    """An agent in one of the forms."""

    form: ExchangeForm
    media_type: str
    body: Mapping[str, Any]
    unsaid: tuple[str, ...] = field(default=())
    """What stands in our records and not in it."""
    text: str | None = None
    """The same to be read by people, if the form has one."""


def governance(facts: AgentFacts) -> dict[str, Any]:
    """Our facts as one value of JSON; `drafting.py` reads it back."""
    return {
        "schema": GOVERNANCE,
        "agent": facts.id,
        "version": facts.version,
        "state": facts.state,
        "tier": facts.tier,
        "manifest": {"metadata": dict(facts.manifest["metadata"]), "spec": dict(facts.spec)},
        "tools": {
            one.id: {"data": list(one.data), "definition": one.definition, "effect": one.effect} for one in facts.tools
        },
        "signedOff": [{"at": moment(one.at_us), "record": one.record, "role": one.role} for one in facts.signed_off],
    }


def moment(at_us: int) -> str:
    """A time as RFC 3339 has it, in whole seconds."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
