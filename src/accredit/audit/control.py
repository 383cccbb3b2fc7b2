"""Control state and its events as one: a change is in force when, and only when, the log says so (DESIGN §3.2, §4, §5).

The life of a change:

    1 build      alone, against the present state; `build` may refuse
    2 narrow     a narrowing change is in force from here, whatever happens below
    3 commit     rows and outbox entry reach the disk together
    4 append     the record reaches the log, durably
    5 place      the entry learns its place in the log and forgets its content
    6 enforce    the change is in the view, listeners have been called, and the caller is answered

Killed before 3, nothing happened. Killed after 3, the entry is found at start and goes on at 4, where the log knows an
entry it has already. INVARIANT: a row is in the view only if its record is durable, or if it narrows.
A narrowing change that gets stuck at 3 is kept in the reserve; whatever is stuck is tried again in the background,
before any later change, and at start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from accredit.audit.model import Receipt
from accredit.audit.outbox import PURPOSE, Outgoing, framed, open_entry, seal_entry, unframed
from accredit.audit.ports import (
    AuditLog,
    Change,
    ControlStore,
    NarrowingReserve,
    OutboxEntry,
    RecordReader,
    StateView,
)
from accredit.audit.state import LiveState, Shape, prove, read_heads, shape
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, UnavailableError
from accredit.kernel.ids import IdSource
from accredit.kernel.sealing import Sealer

__all__ = ["ProvenControlLog"]

STEPS: Final = ("built", "narrowed", "committed", "appended", "placed", "enforced", "reserved")
"""What `at` is called with, right after each step."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A change that is committed, reserved or at least in force, and not in the log yet."""

    outgoing: Outgoing
    entry: OutboxEntry
    in_force: bool = False
    committed: bool = False
    attempted: bool = False
    """Whether the log may hold it already."""
    slot: int | None = None
    receipt: Receipt | None = None


class ProvenControlLog:
    """The `ControlLog` of one process: a store for the rows, the log for the proof.

    `start` must have returned before anything else is called. `verify_log` is called first of all and raises if the
    records are not the signed tree's. `on_fault` hears of a listener that failed: what it keeps may be stale, so a
    server should stop calling itself ready. `at` is called after each of `STEPS`, for fault tests.
    """

    def __init__(
        self,
        *,
        store: ControlStore,
        log: AuditLog,
        records: RecordReader,
        reserve: NarrowingReserve,
        verify_log: Callable[[], None],
        sealer: Sealer,
        clock: Clock,
        ids: IdSource,
        retry_s: float = 1.0,
        on_fault: Callable[[Exception], None] = lambda _: None,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._log = log
        self._records = records
        self._reserve = reserve
        self._verify_log = verify_log
        self._sealer = sealer.derive(PURPOSE)
        self._clock = clock
        self._ids = ids
        self._retry_s = retry_s
        self._on_fault = on_fault
        self._at = at
        self._state = LiveState()
        self._unproven: frozenset[tuple[str, str]] = frozenset()
        self._newest = -1
        self._position = -1
        self._waiting: list[_Waiting] = []
        self._refused = False
        self._foreign: tuple[str, ...] = ()
        self._listeners: list[Callable[[Change], None]] = []
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="control-state")
        self._running: set[asyncio.Task[Receipt | None]] = set()
        self._retrying: asyncio.Task[None] | None = None
        self._open = False

    # -- reading

    @property
    def view(self) -> StateView:
        return self._state

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        return self._unproven

    @property
    def position(self) -> int:
        return self._position

    @property
    def recorded(self) -> int | None:
        if self._waiting and any(waiting.in_force for waiting in self._waiting):
            return None
        return self._position

    @property
    def waiting(self) -> int:
        """How many changes are not in the log yet."""
        return len(self._waiting)

    @property
    def refused(self) -> bool:
        """Whether the log or the store refused what waits, so that it is not merely on its way."""
        return self._refused and bool(self._waiting)

    @property
    def foreign(self) -> tuple[str, ...]:
        """Ids of outbox entries that this installation did not seal. They are never recorded."""
        return self._foreign

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)

    # -- starting and ending

    async def start(self) -> None:
        """Record what an earlier process left, prove every row, and only then show any.

        What is recorded here is in the view and not announced to listeners. Narrowing changes that still cannot be
        recorded are in force; rows of others that cannot are unproven.

        Raises:
            UnavailableError: the log does not verify (`log_invalid`), or the store cannot be read.
        """
        self._verify_log()
        heads, self._newest = read_heads(self._records.control_records())
        await self._load_waiting()
        for waiting in self._waiting:
            waiting.in_force = True  # the proof below is what shows them
        before = self._newest
        try:
            await self._drain()
        except AccreditError as error:
            _log.warning("control events wait for the log: %s", error.message)
        if self._newest != before:
            heads, self._newest = read_heads(self._records.control_records())
        proof = prove(await self._blocking(lambda: list(self._store.rows())), heads)
        self._state = LiveState(proof.proven)
        self._unproven = proof.unproven
        self._position = self._newest
        for waiting in self._waiting:
            waiting.in_force = waiting.outgoing.shape.change.narrowing
            if waiting.in_force:
                self._show(waiting.outgoing.shape)
        self._open = True
        self._retry_later()

    async def close(self) -> None:
        """Finish what runs, then let go of the store. What waits for the log stays on disk."""
        self._open = False
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])
        if self._running:
            await asyncio.wait(self._running)
        await self._blocking(self._store.close)
        self._thread.shutdown()

    async def _load_waiting(self) -> None:
        entries = await self._blocking(lambda: list(self._store.undrained()))
        reserved = await self._blocking(lambda: list(self._reserve.entries()))
        foreign: list[str] = []
        found: dict[str, _Waiting] = {}
        for entry in entries:
            self._admit(entry, found, foreign, committed=True, slot=None)
        for held in reserved:
            entry = unframed(held.payload)
            if entry.id in found:
                found[entry.id].slot = held.slot
            else:
                self._admit(entry, found, foreign, committed=False, slot=held.slot)
        self._waiting = list(found.values())
        self._foreign = tuple(foreign)

    def _admit(
        self, entry: OutboxEntry, found: dict[str, _Waiting], foreign: list[str], *, committed: bool, slot: int | None
    ) -> None:
        outgoing = open_entry(entry, self._sealer)
        if outgoing is None:
            foreign.append(entry.id)
            _log.error("an outbox entry was not sealed by this installation; run `accredit doctor`")
            return
        found[entry.id] = _Waiting(outgoing, entry, committed=committed, attempted=True, slot=slot)

    # -- changing

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        await self._turn.acquire()
        # the change goes on in a task of its own: a caller that is cancelled must not leave it halfway
        task = asyncio.get_running_loop().create_task(self._transact(build))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Try once more to record what waits.

        Raises:
            AccreditError: the log or the store still refuses.
        """
        async with self._turn:
            await self._drain()

    def _finished(self, task: asyncio.Task[Receipt | None]) -> None:
        self._running.discard(task)
        self._turn.release()
        if not task.cancelled():
            task.exception()  # the caller may be gone; nobody else would take it
        self._retry_later()

    async def _transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        if not self._open:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "control state is not open")
        change = build(self._state)
        if change is None:
            return None
        outgoing = Outgoing(self._ids.new("evt"), self._clock.now().wall_us, shape(change))
        waiting = _Waiting(outgoing, seal_entry(outgoing, self._sealer))
        self._at("built")
        if change.narrowing:
            await self._narrow(waiting)
        else:
            await self._widen(waiting)
        return waiting.receipt

    async def _widen(self, waiting: _Waiting) -> None:
        touched = {(write.kind, write.key) for write in waiting.outgoing.shape.writes} & self._unproven
        if touched:
            kind, key = min(touched)
            raise ConflictError(Code.STATE_UNPROVEN, f"{kind} `{key}` is not what the audit log proves")
        try:
            await self._drain()  # what came before must be recorded before
            await self._commit(waiting)
        except AccreditError as error:
            raise _unrecorded(error, "nothing was changed") from error
        self._waiting.append(waiting)
        try:
            await self._drain()
        except AccreditError as error:
            raise _unrecorded(error, "the change is not in force; it will be once it can be recorded") from error

    async def _narrow(self, waiting: _Waiting) -> None:
        waiting.in_force = True
        self._enforce(waiting.outgoing.shape)
        self._waiting.append(waiting)
        self._at("narrowed")
        try:
            await self._drain()
        except AccreditError as error:
            await self._keep(waiting)
            raise _unrecorded(error, "the change is in force all the same and will be recorded later") from error

    async def _keep(self, waiting: _Waiting) -> None:
        """Make a narrowing change outlive this process although it cannot be recorded."""
        if waiting.committed or waiting.receipt is not None:
            return
        try:
            waiting.slot = await self._blocking(lambda: self._reserve.put(framed(waiting.entry)))
        except AccreditError as error:
            _log.error("a narrowing change is in force in this process only: %s", error.message)
            raise _unrecorded(error, "the change is in force, but only until this process ends") from error
        self._at("reserved")

    async def _drain(self) -> None:
        """Record all that waits, in order, up to the first that cannot be."""
        while self._waiting:
            waiting = self._waiting[0]
            try:
                waiting.receipt = await self._record(waiting)
            except AccreditError:
                self._refused = True
                raise
            self._refused = False
            self._waiting.pop(0)
            self._newest = max(self._newest, waiting.receipt.seq)
            self._at("appended")
            await self._place(waiting, waiting.receipt)
            self._at("placed")
            # before anybody is told: what they make of the change is of this position
            self._position = max(self._position, waiting.receipt.seq)
            if not waiting.in_force:
                self._enforce(waiting.outgoing.shape.less(self._narrowed()))
            self._at("enforced")

    async def _record(self, waiting: _Waiting) -> Receipt:
        if waiting.attempted:
            seq = self._records.by_outbox(waiting.outgoing.id)
            if seq is not None:
                (record,) = self._records.records(seq, seq + 1)
                return Receipt(record.stream, seq, record.leaf_hash)
        if not waiting.committed:
            await self._commit(waiting)
        waiting.attempted = True
        return await self._log.append(waiting.outgoing.record(None if self._newest < 0 else self._newest))

    async def _commit(self, waiting: _Waiting) -> None:
        await self._blocking(lambda: self._store.commit(waiting.entry, waiting.outgoing.shape.writes))
        waiting.committed = True
        self._at("committed")

    async def _place(self, waiting: _Waiting, receipt: Receipt) -> None:
        """Tidy up after a record. It is durable: nothing here can fail the change, and a next start does it again."""
        try:
            await self._blocking(lambda: self._store.place(waiting.outgoing.id, receipt.stream, receipt.seq))
            if waiting.slot is not None:
                slot = waiting.slot
                await self._blocking(lambda: self._reserve.clear(slot))
        except AccreditError as error:
            _log.warning("a recorded control event keeps its outbox entry until the next start: %s", error.message)

    def _narrowed(self) -> set[tuple[str, str]]:
        """Rows narrowed by what still waits: an older change that is recorded only now must not widen them again."""
        return {
            (write.kind, write.key)
            for later in self._waiting
            if later.in_force
            for write in later.outgoing.shape.writes
        }

    def _enforce(self, change: Shape) -> None:
        self._show(change)
        for listener in tuple(self._listeners):
            try:
                listener(change.change)
            except Exception as error:  # noqa: BLE001 - one listener's fault must not keep a revocation from the next
                _log.error("a listener failed on `%s`", change.change.facts.kind, exc_info=error)
                self._on_fault(error)

    def _show(self, change: Shape) -> None:
        self._state.enforce(change)
        if self._unproven:
            self._unproven -= {(write.kind, write.key) for write in change.writes}

    # -- trying again

    def _retry_later(self) -> None:
        if self._waiting and self._open and (self._retrying is None or self._retrying.done()):
            self._retrying = asyncio.get_running_loop().create_task(self._retry())

    async def _retry(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._retry_s)
            try:
                await self.drain()
            except AccreditError:
                continue  # said when it first failed, and told to whoever asks for a change meanwhile

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _unrecorded(error: AccreditError, what: str) -> UnavailableError:
    return UnavailableError(error.code, f"{error.message}: {what}", hint=error.hint, cause=error.cause)
