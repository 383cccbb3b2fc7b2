"""What this room asks of others: somebody who appends records durably, and a proven store of control state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from accredit.audit.model import Entry, Facts, Part, Receipt, StoredRecord
from accredit.kernel.canonical import Digest

__all__ = ["Actor", "AuditLog", "Change", "ControlLog", "RecordReader", "Row", "StateView", "Write"]


class AuditLog(Protocol):
    """Appends records; what it acknowledged is on disk and stays."""

    def append(self, entry: Entry) -> Awaitable[Receipt]:
        """Queue the entry at once (order of calls = order in the log); the awaitable ends when it is durable.

        Raises (from the awaitable, or at once when the queue is full):
            UnavailableError: the record could not be made durable (`audit_unavailable`, `disk_low`); whoever asked
                must not act.
        """
        ...


class RecordReader(Protocol):
    """Reads durable records back, in order."""

    def size(self) -> int:
        """How many records the stream holds."""
        ...

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        """Records start <= seq < stop."""
        ...

    def control_records(self, start: int = 0) -> Iterator[StoredRecord]:
        """Only those with an outbox id, in order."""
        ...

    def by_outbox(self, outbox_id: str) -> int | None:
        """The seq of the record with that outbox id."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One row of control state, as stored: canonical JSON and its digest."""

    kind: str
    key: str
    doc: Mapping[str, Any]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Write:
    """A row to be put in place, or removed when `doc` is None."""

    kind: str
    key: str
    doc: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it and with which credential. Opaque ids only."""

    person: str | None = None
    agent: str | None = None
    credential: str = ""
    basis: str = ""
    """`single-admin` where one person filled every role, `bootstrap` in the first admin's own period, else empty."""


@dataclass(frozen=True, slots=True)
class Change:
    """One control event: what changes, who did it, and the header facts of its record."""

    facts: Facts
    writes: tuple[Write, ...]
    actor: Actor
    body: Mapping[str, Any]
    """Further canonical facts for the record's body."""
    parts: tuple[Part, ...] = ()
    narrowing: bool = False
    """Revocations, suspensions: in force in memory at once, and in force even if recording fails (DESIGN §4)."""


class StateView(Protocol):
    """Control state as proven by the log, read inside or outside a transaction."""

    def get(self, kind: str, key: str) -> Row | None: ...

    def scan(self, kind: str) -> Iterator[Row]: ...


class ControlLog(Protocol):
    """Control state and its events: row and record are one (DESIGN §3.2, §5).

    Rows are documents of a kind under a key. Every change is one transaction with its outbox entry; the drain makes
    it a record of the log. A widening change is acknowledged and visible only when its record is durable.
    """

    @property
    def view(self) -> StateView:
        """State as of now: proven and drained rows only."""
        ...

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        """(kind, key) of rows the log contradicts: changed, rolled back, or missing without a removal."""
        ...

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        """Run `build` alone against the present state and commit what it returns; None changes nothing.

        `build` raises to refuse. Listeners have seen the change when this returns.

        Raises:
            UnavailableError: the change could not be made durable. A narrowing one is in force all the same.
        """
        ...

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Be called, in order and synchronously, with every change as it comes into force."""
        ...
