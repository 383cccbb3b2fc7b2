"""What this room asks of others: somebody who appends records durably, and a proven store of control state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from accredit.audit.merkle import TileReader
from accredit.audit.model import Entry, Facts, LastUse, Part, Receipt, StoredRecord, StoredRow, ToolDays, UsageDay
from accredit.audit.records import EncodedRecord
from accredit.kernel.canonical import Digest

__all__ = [
    "Actor",
    "AuditLog",
    "Change",
    "Commit",
    "ControlLog",
    "ControlStore",
    "LogReader",
    "LogTotals",
    "NarrowingReserve",
    "OutboxEntry",
    "RecordReader",
    "RecordStore",
    "Reserved",
    "Row",
    "RowWrite",
    "StateRow",
    "StateView",
    "SubjectStore",
    "Write",
]


class AuditLog(Protocol):
    """Appends records; what it acknowledged is on disk and stays."""

    def append(self, entry: Entry) -> Awaitable[Receipt]:
        """Queue the entry at once (order of calls = order in the log); the awaitable ends when it is durable.

        Raises (from the awaitable, or at once when the queue is full):
            UnavailableError: the record could not be made durable (`audit_unavailable`, `disk_low`); whoever asked
                must not act.
            InvalidInputError: the entry has no canonical form (`unencodable_input`); nothing was written.
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


class LogReader(RecordReader, TileReader, Protocol):
    """Everything stored of one stream, for whoever serves, proves, exports or verifies it. From any thread.

    All of it raises UnavailableError if the store cannot be read.
    """

    @property
    def stream(self) -> str:
        """The stream's id."""
        ...

    def rows(self, start: int, stop: int) -> Iterator[StoredRow]:
        """Stored bytes of start <= seq < stop, in order."""
        ...

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """(size, note) of every checkpoint kept, in order of size."""
        ...

    def wrapped_keys(self, start: int, stop: int) -> dict[int, dict[str, bytes]]:
        """The wrapped data keys still there, by seq and part name."""
        ...

    def wrapped_keys_of(self, name: str, start: int, stop: int) -> dict[int, bytes]:
        """Those of the parts of one name, by seq."""
        ...

    def kind_counts(self) -> dict[str, int]:
        """How many records of each kind the stream holds."""
        ...

    def usage(
        self, *, since_day: int = 0, until_day: int | None = None, agent: str | None = None, tool: str | None = None
    ) -> list[UsageDay]:
        """The daily roll-up, since_day <= day < until_day, in order of day, agent and tool."""
        ...

    def tool_days(self, agents: Collection[str], *, since_day: int, counted_since: int) -> list[ToolDays]:
        """The same from a day on for each tool of some agents, in order of both; sums are of `counted_since` on."""
        ...

    def last_use(self, *, since_day: int, agents: Collection[str] | None = None) -> dict[str, LastUse]:
        """The same from a day on, added up for each agent that has any; of some agents much faster than of all."""
        ...

    def totals(self) -> LogTotals:
        """What the store says of the whole stream at one moment, also while it is written."""
        ...


@dataclass(frozen=True, slots=True)
class LogTotals:
    """A consistent reading of everything that must agree with the records below `size`."""

    size: int
    checkpoints: list[tuple[int, bytes]]
    kinds: dict[str, int]
    usage: list[UsageDay]


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction makes durable, all or nothing."""

    records: Sequence[EncodedRecord]
    nodes: Sequence[tuple[int, int, bytes]]
    """(tile level, index, hash) of every tile that these records completed."""
    kinds: Mapping[str, int]
    """New counts of the kinds that changed."""
    usage: Sequence[UsageDay] = ()
    """To be added to the roll-up."""
    pseudonyms: Sequence[tuple[str, str, bytes]] = ()
    """(pseudonym, kind, sealed value); one already stored stays as it is."""
    erased: Sequence[tuple[int, str]] = ()
    """(seq, part name) of data keys to destroy: those that a tombstone among the records names."""
    forgotten: Sequence[str] = ()
    """Pseudonyms whose mapping is destroyed."""


class RecordStore(LogReader, Protocol):
    """The durable home of one stream. Only its writer's thread changes it."""

    def commit(self, commit: Commit) -> None:
        """Make it durable before returning.

        Raises:
            UnavailableError: it is not known to be durable. Nothing more may be committed before `reopen`.
        """
        ...

    def keep_checkpoint(self, size: int, note: bytes) -> None:
        """Make a checkpoint durable before returning. Raises as `commit`."""
        ...

    def pseudonyms(self) -> list[tuple[str, str, bytes]]:
        """(pseudonym, kind, sealed value), those not erased."""
        ...

    def free_bytes(self) -> int:
        """Room left where the store grows."""
        ...

    def tidy(self) -> None:
        """Do upkeep that must not delay commits: called from a thread of its own, now and then."""
        ...

    def reopen(self) -> None:
        """Forget the connection after a failure and read anew what is there. Raises UnavailableError."""
        ...


class SubjectStore(RecordReader, Protocol):
    """Keeps, beside the records, which of them concern whom: by names that say nothing (`SubjectKeys`). Erasable.

    All of it raises UnavailableError if the store cannot be read or written. From any thread.
    """

    def indexed(self) -> int:
        """How many records were looked at, from the first on."""
        ...

    def index(self, pairs: Sequence[tuple[str, int]], *, upto: int) -> None:
        """Note (name, seq) pairs, and that the records below `upto` were looked at; in one transaction."""
        ...

    def concerning(self, names: Collection[str], start: int, stop: int, limit: int) -> list[int]:
        """The records under any of the names, start <= seq < stop, in order, at most so many."""
        ...

    def names_of(self, seq: int) -> frozenset[str]:
        """Whom a record concerns."""
        ...

    def unindex(self, names: Collection[str], upto: int) -> None:
        """Forget these names of the records below `upto`."""
        ...

    def scrub(self) -> None:
        """Leave no copy of what was erased in any file of the store, once it returns.

        Raises:
            UnavailableError: somebody reads an older state just now; try again later.
        """
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
    """`roles`: judged by those of its person; `single-admin`, where one person filled every role; `bootstrap` and
    `recovery` for a link to an administrator made at the start; `system` for nobody."""


@dataclass(frozen=True, slots=True)
class Change:
    """One control event: what changes, who did it, and the header facts of its record.

    Kinds and keys are opaque text without personal data, for they stand in clear in the log; docs are sealed there, in
    part `state`. The record's body gets `actor`, `changes` and `follows` beside what is given here.
    """

    facts: Facts
    writes: tuple[Write, ...]
    actor: Actor
    body: Mapping[str, Any]
    """Further canonical facts for the record's body."""
    parts: tuple[Part, ...] = ()
    narrowing: bool = False
    """Revocations, suspensions: in force in memory at once, and in force even if recording fails (DESIGN §4)."""


class StateView(Protocol):
    """Control state as proven by the log, read inside or outside a transaction. Reading does no I/O.

    A view is live: who keeps one sees every later change. Docs cannot be modified; take `{**row.doc, …}`.
    """

    def get(self, kind: str, key: str) -> Row | None: ...

    def scan(self, kind: str) -> Iterator[Row]:
        """The rows of a kind as of now, in the order of their keys; later changes do not disturb the iteration."""
        ...


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
        """(kind, key) of rows the log contradicts: changed, rolled back, or missing without a removal.

        They are not in the view, and what depends on one is denied (`state_unproven`). Cheap: asked on every call.
        """
        ...

    @property
    def position(self) -> int:
        """The seq of the newest control record in force, -1 before the first."""
        ...

    @property
    def recorded(self) -> int | None:
        """The same, if the log up to it tells the whole state in force: what a decision's record refers to.

        None while a narrowing change is in force that is not in the log yet. Cheap: asked on every call.
        """
        ...

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        """Run `build` alone against the present state and commit what it returns; None changes nothing.

        `build` does no I/O and raises to refuse. Listeners have seen the change when this returns. A caller that is
        cancelled meanwhile does not undo what `build` returned.

        Raises:
            InvalidInputError: the change is too large, has no canonical form, or a kind or key another form.
            ConflictError: a widening change writes a row the log contradicts (`state_unproven`).
            UnavailableError: the change could not be made durable. A narrowing one is in force all the same; another
                comes into force as a whole or not at all, once the log is available again.
        """
        ...

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Be called, in order and synchronously, with every change as it comes into force."""
        ...


@dataclass(frozen=True, slots=True)
class StateRow:
    """A row exactly as the store holds it, proven or not."""

    kind: str
    key: str
    doc: bytes
    digest: str
    outbox_id: str
    """The change that wrote it."""


@dataclass(frozen=True, slots=True)
class RowWrite:
    """A row's new bytes, or its removal when `doc` and `digest` are None."""

    kind: str
    key: str
    doc: bytes | None
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A change on its way into the log, sealed so that nobody without the root key can slip one in."""

    id: str
    sealed: bytes


class ControlStore(Protocol):
    """Rows of control state and the outbox of their changes in one database. Blocking; called by one thread at a time.

    Every method raises UnavailableError when the store cannot do it, and then nothing of it was done.
    """

    def rows(self) -> Iterator[StateRow]:
        """All rows, in any order."""
        ...

    def undrained(self) -> Sequence[OutboxEntry]:
        """The entries without a place in the log, oldest first."""
        ...

    def commit(self, entry: OutboxEntry, writes: Sequence[RowWrite]) -> None:
        """Put rows and entry on disk together; an entry that is there already changes nothing."""
        ...

    def place(self, outbox_id: str, stream: str, seq: int) -> None:
        """Note an entry's place in the log and erase its content; need not be durable when it returns."""
        ...

    def replace(self, rows: Sequence[StateRow], *, forget: Sequence[str]) -> None:
        """Put these rows in place of all others and drop the entries of those ids, in one transaction."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


@dataclass(frozen=True, slots=True)
class Reserved:
    """A payload in the reserve and where it stands."""

    slot: int
    order: int
    payload: bytes


class NarrowingReserve(Protocol):
    """Room set aside for narrowing changes when nothing else can be written. Blocking; one thread at a time."""

    def entries(self) -> Sequence[Reserved]:
        """What was put and not cleared, oldest first."""
        ...

    def put(self, payload: bytes) -> int:
        """Make a payload durable without asking the disk for more room; returns its slot.

        Raises:
            UnavailableError: the reserve is full, or writing in place failed.
        """
        ...

    def clear(self, slot: int) -> None:
        """Free a slot.

        Raises:
            UnavailableError: writing in place failed.
        """
        ...
