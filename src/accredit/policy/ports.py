"""The one port of this room: a policy engine, spoken to in values. `engines/` holds the implementations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Engine",
    "EngineOutcome",
    "EngineSource",
    "Objection",
    "Residual",
    "Uid",
    "Verdict",
    "VetoAnswer",
    "VetoEngine",
]

Uid = Mapping[str, str]
"""An entity's name as the engine takes it: `{"type": …, "id": …}`."""


class EngineOutcome(StrEnum):
    """What the engine says; `none` is not a denial but a failure to judge, and is treated as a denial apart."""

    ALLOW = "allow"
    DENY = "deny"
    NONE = "none"


class Verdict(NamedTuple):
    """One evaluation: the outcome, the ids that determined it, and (id, words) of every policy that errored."""

    outcome: EngineOutcome
    reasons: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]


class Residual(NamedTuple):
    """What is left to ask of one policy when of a call only agent, operation and resource are known."""

    truth: bool | None
    """Whether its conditions hold, whatever the call says; None: that depends, or they cannot be judged."""
    error: bool = False
    """Whether they cannot be judged, whatever the call says."""
    tree: Mapping[str, Any] | None = None
    """The condition that is left, as a syntax tree."""
    text: str = ""
    """The same in the engine's words; empty if it has none."""


@dataclass(frozen=True, slots=True)
class EngineSource:
    """One policy of a text, as the engine itself read it."""

    text: str
    """The policy alone, in the engine's own spelling."""
    tree: Mapping[str, Any]
    """Its syntax tree."""
    template: bool


@dataclass(frozen=True, slots=True)
class Objection:
    """What the validator holds against the policy at `position` of those it was given."""

    position: int
    message: str


@dataclass(frozen=True, slots=True)
class VetoAnswer:
    """What an engine that may only refuse says of one call."""

    policies: tuple[str, ...] = ()
    """Ids of those that refuse, or could not judge; empty: none stands against the call."""
    fault: str = ""
    """Why one could not judge; that refuses too."""


class VetoEngine(Protocol):
    """A second engine, asked of what the first would let through. It can take away and never give."""

    @property
    def version(self) -> str:
        """Name and version, part of the digest of a release that uses it."""
        ...

    def check(self, path: str, text: str) -> None:
        """Read one module.

        Raises:
            InvalidInputError: it would not load, could not refuse, or could answer one call in two ways.
        """
        ...

    def compile(self, modules: Mapping[str, str]) -> Any:
        """Make a handle of modules by their ids; usable from any thread.

        Raises:
            InvalidInputError: one does not load.
        """
        ...

    def ask(self, handle: Any, document: str) -> VetoAnswer:
        """Ask about one call, given as a JSON document. Never raises to say no: a failure is a refusal with a fault."""
        ...


class Engine(Protocol):
    """Reads, compiles and evaluates policies. Handles are opaque; nothing is shared between two of them."""

    @property
    def version(self) -> str:
        """Name and version of the engine, part of every release digest."""
        ...

    def read(self, text: str) -> tuple[EngineSource, ...]:
        """Split a text into its policies, in order.

        Raises:
            InvalidInputError: the text does not parse, or does not survive the engine's own round trip.
        """
        ...

    def compile(self, policies: Sequence[tuple[str, str]]) -> Any:
        """Make a handle of (id, syntax tree as JSON) pairs; ids are the caller's and come back in verdicts.

        Raises:
            UnavailableError: the engine refused what `read` accepted.
        """
        ...

    def load(self, entities: str, beside: Any = None) -> Any:
        """Make a handle of entities given as a JSON list, beside those of another handle, which stays as it is.

        Raises:
            UnavailableError: the engine refused them.
        """
        ...

    def evaluate(self, handle: Any, principal: Uid, action: Uid, resource: Uid, context: str, entities: Any) -> Verdict:
        """Evaluate once. Never raises to say no: whatever goes wrong inside is outcome `none`."""
        ...

    def residuals(
        self, handle: Any, principal: Uid, action: Uid, resource: Uid, entities: Any
    ) -> Mapping[str, Residual]:
        """What is left of each policy of a handle while nothing is known of the context. Tells; never decides.

        Raises:
            UnavailableError: the engine could not tell.
        """
        ...

    def validate(self, policies: Sequence[str], schema: str) -> tuple[Objection, ...]:
        """Type-check policies strictly against a schema given as JSON; empty means all passed.

        Raises:
            UnavailableError: the engine refused the schema.
        """
        ...
