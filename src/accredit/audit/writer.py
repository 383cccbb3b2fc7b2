"""The one thread that makes records durable, in groups as large as whatever queued while the last one was written.

There is no linger timer: an idle log commits an awaited record at once, a busy one commits hundreds together. Only
what nobody waits for (outcomes) may stay some milliseconds, so that it shares a commit with what somebody does. One
transaction
holds records, parts, tree and roll-ups; the futures of a group end in one call into the event loop.

What always holds:
- Seq, and kind_seq per kind, have no gaps; what is acknowledged is on disk.
- A commit that failed is never tried again: the queue is refused, the store reopened and its tail verified first.
- Only a committed size is signed, right after a census record, and a checkpoint is published only once it is itself
  durable. A log that holds less than a checkpoint it once signed is not continued.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from accredit.audit.anchor import CheckpointFile
from accredit.audit.checkpoint import Checkpoint, CheckpointSigner
from accredit.audit.merkle import Frontier, leaf_hash, subtree_root
from accredit.audit.model import Entry, Facts, Pseudonym, Receipt, StoredRow, Usage, UsageDay
from accredit.audit.ports import Commit, RecordStore
from accredit.audit.records import CENSUS, PART_ERASED, EncodedRecord, PartBounds, PartKeys, encode, leaf_data
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, UnavailableError
from accredit.kernel.ids import IdSource
from accredit.kernel.sealing import Sealer

__all__ = ["LogSettings", "LogWriter"]

_log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000
_MAX_KINDS = 1_024
_TAIL = 1_024
_RETRY_S = 1.0
_CLOSE_S = 60.0
_TIDY_BYTES = 4_194_304
_MEASURE_US = 100_000
_NUDGE_S = 0.01
_CROWD = 64

_Pending: TypeAlias = tuple[Entry, "asyncio.Future[Receipt]"]
_Ended: TypeAlias = "tuple[asyncio.Future[Any], Any, AccreditError | None]"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Bounds of the writer. Every one of them refuses; none drops."""

    queue: int = 8_192
    """Entries not yet durable."""
    group: int = 1_024
    group_bytes: int = 8_388_608
    checkpoint_s: float = 1.0
    min_free_bytes: int = 268_435_456
    """Below this only control events and the log's own records are taken."""
    bounds: PartBounds = field(default_factory=PartBounds)


class LogWriter:
    """Appends records to one stream: the `AuditLog`."""

    def __init__(
        self,
        store: RecordStore,
        *,
        sealer: Sealer,
        signer: CheckpointSigner,
        clock: Clock,
        ids: IdSource,
        anchor: CheckpointFile | None = None,
        settings: LogSettings | None = None,
    ) -> None:
        """Continue the stored stream.

        Raises:
            ConflictError: the stored log contradicts itself or a checkpoint it once signed, so it is not continued.
            UnavailableError: it cannot be read.
        """
        self._store = store
        self._settings = settings or LogSettings()
        self._signer = signer
        self._clock = clock
        self._anchor = anchor
        self._stream = store.stream
        self._keys = PartKeys(sealer, store.stream)
        self._random = _Random(ids)
        self._names = sealer.derive(f"audit/pseudonyms/{store.stream}")

        self._wake = threading.Condition(threading.Lock())
        self._queue: deque[_Pending] = deque()
        self._depth = 0
        self._hurried = False
        """Somebody waits for what is queued."""
        self._nudging = False
        self._wanted: list[asyncio.Future[bytes]] = []
        self._closing = False
        self._broken = False
        self._low = False
        self._measure_again = False
        self._measured_us = -_MEASURE_US

        self._published: bytes | None = None
        self._published_size = 0
        self._published_boot_us = 0
        self._frontier = Frontier()
        self._kinds: dict[str, int] = {}
        self._recover()
        self._measure()

        self._tidying = threading.Event()
        self._untidy = 0
        self._to_keep: bytes | None = None
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._upkeep = threading.Thread(target=self._tidy, name="audit-upkeep", daemon=True)
        self._thread.start()
        self._upkeep.start()

    # -- called on the event loop

    def append(self, entry: Entry) -> Awaitable[Receipt]:
        loop = asyncio.get_running_loop()
        with self._wake:
            if self._broken or self._closing:
                raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the audit log does not take records at the moment")
            if self._depth >= self._settings.queue:
                raise UnavailableError(
                    Code.AUDIT_UNAVAILABLE, "too many records wait to be durable", hint="send fewer calls at once"
                )
            if self._low and entry.outbox_id is None:
                self._measure_again = True
                self._wake.notify()
                raise UnavailableError(Code.DISK_LOW, "the data directory is nearly full")
            future: asyncio.Future[Receipt] = loop.create_future()
            self._queue.append((entry, future))
            self._depth += 1
            if entry.awaited or len(self._queue) >= _CROWD:
                self._hurry()
            elif not self._nudging:
                self._nudging = True
                loop.call_later(_NUDGE_S, self._nudge)
        return future

    def _hurry(self) -> None:
        if not self._hurried:
            self._hurried = True
            self._wake.notify()

    def _nudge(self) -> None:
        with self._wake:
            self._nudging = False
            if self._queue:
                self._hurry()

    def checkpoint(self) -> Awaitable[bytes]:
        """Publish a checkpoint over everything appended so far, without waiting for the next one due."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        with self._wake:
            if self._broken or self._closing:
                raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the audit log does not sign at the moment")
            self._wanted.append(future)
            self._wake.notify()
        return future

    # -- called from anywhere

    @property
    def healthy(self) -> bool:
        """Whether call records are taken."""
        return self._thread.is_alive() and not self._broken and not self._low and not self._closing

    @property
    def depth(self) -> int:
        """How many records wait to be durable."""
        return self._depth

    @property
    def vkey(self) -> str:
        """The verifier key of this stream's checkpoints, to be kept elsewhere."""
        return self._signer.vkey

    def latest_checkpoint(self) -> bytes | None:
        """The newest published checkpoint."""
        return self._published

    def usage(
        self, *, since_day: int = 0, until_day: int | None = None, agent: str | None = None, tool: str | None = None
    ) -> list[UsageDay]:
        """The daily roll-up."""
        return self._store.usage(since_day=since_day, until_day=until_day, agent=agent, tool=tool)

    def pseudonyms(self) -> list[Pseudonym]:
        """Whom the pseudonyms in the log stand for, those not erased.

        Raises:
            InvalidInputError: one does not open.
        """
        return [
            Pseudonym(kind, self._names.open(sealed, belongs_to=f"{kind}:{pseudonym}".encode()).decode(), pseudonym)
            for pseudonym, kind, sealed in self._store.pseudonyms()
        ]

    def close(self) -> None:
        """Write what is queued, publish a last checkpoint and stop. The store stays open. Blocks: not on the loop.

        Raises:
            UnavailableError: the disk did not answer in time.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(_CLOSE_S)
        self._tidying.set()
        self._upkeep.join(_CLOSE_S)
        if self._thread.is_alive() or self._upkeep.is_alive():
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the audit log did not close in time")

    # -- the writer's thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._hurried or self._closing or self._wanted or self._measure_again):
                    wait_s = self._until_due()
                    if wait_s is not None and wait_s <= 0:
                        break
                    self._wake.wait(wait_s)
                group = list(islice(self._queue, self._settings.group))
                for _ in group:
                    self._queue.popleft()
                self._hurried = bool(self._queue)
                closing = self._closing and not self._queue
                wanted, self._wanted = self._wanted, []
                self._measure_again = False
            try:
                self._write(group, wanted, closing=closing)
            except Exception as error:  # noqa: BLE001 - the thread's outermost boundary: fail closed, then recover
                self._fail(error, group, wanted)
                if not self._recovered():
                    return
            if closing:
                return

    def _until_due(self) -> float | None:
        """Seconds until the next checkpoint, None if there is nothing new to sign."""
        return None if self._frontier.size == self._published_size else self._interval_left_s()

    def _interval_left_s(self) -> float:
        return self._settings.checkpoint_s - (self._clock.now().boot_us - self._published_boot_us) / 1_000_000

    def _write(self, group: list[_Pending], wanted: list[asyncio.Future[bytes]], *, closing: bool) -> None:
        ended: list[_Ended] = []
        records: list[EncodedRecord] = []
        kinds: dict[str, int] = {}
        ids: dict[str, Receipt] = {}
        usage: dict[tuple[int, str, str], _Counted] = {}
        pseudonyms: list[tuple[str, str, bytes]] = []
        erased: list[tuple[int, str]] = []
        forgotten: list[str] = []
        size, taken = 0, 0
        for entry, future in group:
            taken += 1
            outbox_id = entry.outbox_id
            if outbox_id is not None and (known := ids.get(outbox_id) or self._known(outbox_id)):
                ended.append((future, known, None))
                continue
            try:
                record = self._encoded(entry, len(records), kinds)
            except InvalidInputError as error:
                ended.append((future, None, error))
                continue
            records.append(record)
            receipt = Receipt(self._stream, record.seq, record.leaf_hash)
            ended.append((future, receipt, None))
            if outbox_id is not None:
                ids[outbox_id] = receipt
            if entry.usage is not None:
                _count(usage, entry, entry.usage)
            pseudonyms += map(self._sealed_name, entry.pseudonyms)
            if entry.facts.kind == PART_ERASED:
                erased += [(gone["seq"], gone["part"]) for gone in entry.body["erased"]]
                forgotten += entry.body.get("forgotten", ())
            size += len(record.body) + len(record.sealed)
            if size > self._settings.group_bytes:
                break
        if taken < len(group):
            with self._wake:
                self._queue.extendleft(reversed(group[taken:]))
                self._hurried = True
            del group[taken:]
            closing = False
        sign = (bool(wanted) or closing or self._interval_left_s() <= 0) and bool(
            records or self._frontier.size != self._published_size or (wanted and self._published is None)
        )
        if sign:
            records.append(self._census(len(records), kinds))
        if records:
            nodes = self._frontier.append([record.leaf_hash for record in records])
            counted = [row.day_row() for row in usage.values()]
            self._store.commit(Commit(records, nodes, kinds, counted, pseudonyms, erased, forgotten))
            self._kinds.update(kinds)
        self._end(ended)
        group.clear()
        self._measure()
        if sign:
            self._publish()
        self._end([(future, self._published, None) for future in wanted])
        wanted.clear()
        self._untidy += size
        if self._untidy > _TIDY_BYTES or (sign and self._untidy):
            self._untidy = 0
            self._tidying.set()

    def _encoded(self, entry: Entry, place: int, kinds: dict[str, int]) -> EncodedRecord:
        kind = entry.facts.kind
        kind_seq = kinds[kind] if kind in kinds else self._kinds.get(kind, 0)
        if kind_seq == 0 and len(self._kinds) + len(kinds) >= _MAX_KINDS:
            raise InvalidInputError(Code.UNENCODABLE_INPUT, f"the log has {_MAX_KINDS} kinds of record already")
        record = encode(
            entry,
            stream=self._stream,
            seq=self._frontier.size + place,
            kind_seq=kind_seq,
            draw=self._random.draw,
            keys=self._keys,
            bounds=self._settings.bounds,
        )
        kinds[kind] = kind_seq + 1
        return record

    def _census(self, place: int, kinds: dict[str, int]) -> EncodedRecord:
        counts = self._kinds | kinds
        body = {"counts": counts, "size": self._frontier.size + place}
        return self._encoded(Entry(Facts(CENSUS), self._clock.now().wall_us, body), place, kinds)

    def _sealed_name(self, pseudonym: Pseudonym) -> tuple[str, str, bytes]:
        belongs_to = f"{pseudonym.kind}:{pseudonym.pseudonym}".encode()
        return pseudonym.pseudonym, pseudonym.kind, self._names.seal(pseudonym.value.encode(), belongs_to=belongs_to)

    def _known(self, outbox_id: str) -> Receipt | None:
        seq = self._store.by_outbox(outbox_id)
        return None if seq is None else Receipt(self._stream, seq, self._store.hashes(0, seq, seq + 1)[0])

    def _publish(self) -> None:
        note = self._signer.sign(self._frontier.size, self._frontier.root())
        self._store.keep_checkpoint(self._frontier.size, note)
        self._published, self._published_size = note, self._frontier.size
        self._published_boot_us = self._clock.now().boot_us
        self._to_keep = note
        self._tidying.set()

    def _measure(self) -> None:
        now_us = self._clock.now().boot_us
        if not self._low and 0 <= now_us - self._measured_us < _MEASURE_US:
            return
        self._measured_us = now_us
        low = self._store.free_bytes() < self._settings.min_free_bytes
        if low != self._low:
            _log.log(logging.ERROR if low else logging.INFO, "audit: the disk is %s", "low" if low else "roomy again")
        self._low = low

    def _end(self, ended: Iterable[_Ended]) -> None:
        with self._wake:  # before any of them can ask again
            self._depth = len(self._queue)
        loops: dict[asyncio.AbstractEventLoop, list[_Ended]] = {}
        for each in ended:
            loops.setdefault(each[0].get_loop(), []).append(each)
        for loop, batch in loops.items():
            with suppress(RuntimeError):  # a loop that is closed waits for nothing
                loop.call_soon_threadsafe(_settle, batch)

    # -- when something failed

    def _fail(self, error: Exception, group: list[_Pending], wanted: list[asyncio.Future[bytes]]) -> None:
        cause = error.cause if isinstance(error, AccreditError) else repr(error)[:400]
        _log.error("audit: stopped taking records: %s: %s", error, cause, exc_info=error)
        with self._wake:
            self._broken = True
            futures: list[asyncio.Future[Any]] = [future for _, future in (*group, *self._queue)]
            futures += [*wanted, *self._wanted]
            self._queue.clear()
            self._wanted = []
        self._end(
            (
                future,
                None,
                UnavailableError(Code.AUDIT_UNAVAILABLE, "the record could not be made durable", cause=cause),
            )
            for future in futures
        )

    def _recovered(self) -> bool:
        """Reopen until the stored log is found whole; False when told to close before."""
        while True:
            try:
                self._store.reopen()
                self._recover()
            except AccreditError as error:
                _log.error("audit: not yet taking records: %s: %s", error, error.cause)
            else:
                with self._wake:
                    self._broken = False
                _log.warning("audit: taking records again from %d", self._frontier.size)
                return True
            with self._wake:
                if not self._closing:
                    self._wake.wait(_RETRY_S)
                if self._closing:
                    return False

    def _recover(self) -> None:
        """Read the stored log's edge and verify its tail against itself and against what was signed before."""
        store = self._store
        size = store.size()
        start = max(0, size - _TAIL)
        for seq, row in enumerate(store.rows(start, size), start=start):
            if row[0] != seq or not _is_whole(row):
                raise ConflictError(Code.LOG_INVALID, f"record {seq} of the audit log is not what was written")
        kinds = store.kind_counts()
        if sum(kinds.values()) != size:
            raise ConflictError(
                Code.LOG_INVALID, f"the audit log holds {size} records but counts {sum(kinds.values())}"
            )
        try:
            frontier = Frontier.load(store, size)
            newest = self._guard(size)
        except LookupError as error:
            raise ConflictError(Code.LOG_INVALID, f"the audit log's tree is incomplete: {error}") from error
        self._frontier, self._kinds = frontier, kinds
        self._published, self._published_size = newest

    def _guard(self, size: int) -> tuple[bytes | None, int]:
        """The fork guard: every checkpoint known must be of a beginning of the stored log."""
        kept = self._store.checkpoints()
        notes = [kept[-1][1]] if kept else []
        if self._anchor is not None and (note := self._anchor.newest()) is not None:
            notes.append(note)
        verifier = self._signer.verifier()
        known = [verifier.verify(note) for note in notes]
        if self._signer.last is not None:
            known.append(self._signer.last)
        for checkpoint in known:
            self._extends(checkpoint, size)
        return (kept[-1][1], known[0].size) if kept else (None, 0)

    def _extends(self, checkpoint: Checkpoint, size: int) -> None:
        if checkpoint.size > size:
            raise ConflictError(
                Code.LOG_INVALID,
                f"the audit log holds {size} records but signed a checkpoint of {checkpoint.size}",
                hint="records are missing: put back the newest copy of the log, or start a new stream",
            )
        if subtree_root(self._store, 0, checkpoint.size) != checkpoint.root:
            raise ConflictError(
                Code.LOG_INVALID,
                f"the audit log's first {checkpoint.size} records are not those it signed",
                hint="run `accredit audit verify`; put back the newest copy of the log, or start a new stream",
            )

    # -- the upkeep thread

    def _tidy(self) -> None:
        while True:
            self._tidying.wait()
            self._tidying.clear()
            last = not self._thread.is_alive()
            note, self._to_keep = self._to_keep, None
            try:
                if note is not None and self._anchor is not None:
                    self._anchor.keep(note)
                self._store.tidy()
            except AccreditError as error:
                _log.warning("audit: upkeep failed: %s: %s", error, error.cause)
            if last:
                return


class _Random:
    """Random bytes by the block: one question to the machine for a hundred records. For one thread only."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._block = b""
        self._at = 0

    def draw(self, size: int) -> bytes:
        start, end = self._at, self._at + size
        if end > len(self._block):
            self._block = self._ids.secret(max(65_536, size))
            start, end = 0, size
        self._at = end
        return self._block[start:end]


@dataclass(slots=True)
class _Counted:
    day: int
    agent: str
    tool: str
    last_us: int
    allows: int = 0
    denies: int = 0
    holds: int = 0
    errors: int = 0
    cost_nanos: int = 0

    def day_row(self) -> UsageDay:
        usage = Usage(self.allows, self.denies, self.holds, self.errors, self.cost_nanos)
        return UsageDay(self.day, self.agent, self.tool, usage, self.last_us)


def _count(usage: dict[tuple[int, str, str], _Counted], entry: Entry, counted: Usage) -> None:
    facts = entry.facts
    key = (entry.time_us // _DAY_US, facts.agent or "", facts.tool or "")
    row = usage.get(key)
    if row is None:
        row = usage[key] = _Counted(*key, last_us=entry.time_us)
    row.last_us = max(row.last_us, entry.time_us)
    row.allows += counted.allows
    row.denies += counted.denies
    row.holds += counted.holds
    row.errors += counted.errors
    row.cost_nanos += counted.cost_nanos


def _is_whole(row: StoredRow) -> bool:
    try:
        return leaf_hash(leaf_data(row[1], row[2])) == row[3]
    except TypeError:  # a cell that is no bytes at all
        return False


def _settle(ended: list[_Ended]) -> None:
    for future, result, error in ended:
        if future.done():  # whoever waited has gone
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
