"""What the log holds: entries to be written, and what their writer gets back. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "Entry",
    "Facts",
    "LastUse",
    "Part",
    "Pseudonym",
    "Receipt",
    "StoredPart",
    "StoredRecord",
    "StoredRow",
    "ToolDays",
    "Usage",
    "UsageDay",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """The fixed, non-personal header fields of a record that its author supplies (DESIGN §5); absent = null.

    Nothing an agent chooses may stand here.
    """

    kind: str
    """`noun.verb` for control events, else `decision`, `outcome`, `refused`, …"""
    agent: str | None = None
    version: str | None = None
    environment: str | None = None
    tool: str | None = None
    effect: str | None = None
    scope: str | None = None
    data_classes: tuple[str, ...] = ()
    decision: str | None = None
    """allow, deny or hold."""
    action: str | None = None
    """What was done with the decision: enforced, observed or advice."""


@dataclass(frozen=True, slots=True)
class Part:
    """A sealed, separately erasable piece of a record: context, arguments, request, reasoning, result, state, text.

    `value` is a JSON object of exactly the values seen or sent; each top-level pair is committed to by itself.
    """

    name: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a record adds to the daily roll-up of its agent and tool."""

    allows: int = 0
    denies: int = 0
    holds: int = 0
    errors: int = 0
    cost_nanos: int = 0


@dataclass(frozen=True, slots=True)
class UsageDay:
    """One row of the daily roll-up, kept in the transaction of the records it counts."""

    day: int
    """Whole days since the epoch, UTC."""
    agent: str
    tool: str
    """Empty where a record names none."""
    usage: Usage
    last_us: int
    """Time of the newest record counted."""


@dataclass(frozen=True, slots=True)
class LastUse:
    """What the daily roll-ups of some days say of one agent, all tools together."""

    last_us: int
    """Time of the newest record counted."""
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class ToolDays:
    """What the daily roll-ups say of one agent and tool: on which days calls were allowed, and sums of the latest."""

    agent: str
    tool: str
    """Empty where a record names none."""
    used: tuple[int, ...]
    """Whole days since the epoch, UTC, in order."""
    allows: int
    denies: int
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class Pseudonym:
    """A random name for a user or task, new with the record that carries it; the mapping is erasable (DESIGN §5)."""

    kind: str
    """`user` or `task`."""
    value: str
    """Whom it stands for: personal data, kept only in the erasable table."""
    pseudonym: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A record about to be written."""

    facts: Facts
    time_us: int
    body: Mapping[str, Any]
    """Canonical values only: ASCII keys, no floats, integers within ±2^53, no personal data in clear."""
    parts: tuple[Part, ...] = ()
    outbox_id: str | None = None
    """Set for control events: the log holds at most one record with it."""
    usage: Usage | None = None
    pseudonyms: tuple[Pseudonym, ...] = ()
    """Mappings that become durable with this record."""
    awaited: bool = True
    """False if nobody waits for it: it is written with the next record somebody does wait for, or some milliseconds
    later."""
    refused: bool = False
    """A refused call keeps digests of its parts and at most 4 KB of them."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of place: the entry is durable at this position."""

    stream: str
    seq: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A sealed part as stored. The key is None once the part is erased."""

    name: str
    ciphertext: bytes
    wrapped_key: bytes | None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as stored: exact bytes, never re-encoded."""

    stream: str
    seq: int
    header: bytes
    """u16 length ‖ canonical JSON (DESIGN §5)."""
    salt: bytes
    body: bytes
    leaf_hash: bytes
    outbox_id: str | None
    parts: tuple[StoredPart, ...]


StoredRow: TypeAlias = tuple[int, bytes, bytes, bytes, bytes, str | None]
"""A record as a store keeps it: seq, header, salt ‖ body, leaf hash, sealed parts, outbox id. A tuple, because a
verifier reads hundreds of thousands a second."""
