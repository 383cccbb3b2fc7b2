"""A data directory with control state in it, and a log in memory whose records are the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accredit.audit.control import ProvenControlLog
from accredit.audit.doctor import StateDoctor
from accredit.audit.model import Entry, Facts, Receipt, StoredPart, StoredRecord
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.audit.records import SALT_SIZE, PartBounds, PartKeys, encode, open_part, part_values, sealed_parts
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.kernel.ids import SeededIds
from accredit.kernel.sealing import AesGcmSealer, Sealer
from accredit.storage.datadir import ReserveFile
from accredit.storage.sqlite.state import SqliteControlStore

STREAM = "stream-1"
REFUSAL = UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is gone")


def change(
    *writes: tuple[str, str, Mapping[str, Any] | None], kind: str = "thing.put", narrowing: bool = False, **body: Any
) -> Change:
    return Change(
        Facts(kind),
        tuple(Write(*write) for write in writes),
        Actor(person="psn_1", credential="crd_1"),
        body,
        narrowing=narrowing,
    )


def always(made: Change) -> Callable[[StateView], Change]:
    """A build that makes this change whatever the state."""
    return lambda _: made


@dataclass
class JournalLog:
    """An `AuditLog` and its `RecordReader` in memory."""

    sealer: Sealer
    kept: list[StoredRecord] = field(default_factory=list)
    refusal: AccreditError | None = None
    refuses_after_writing: bool = False
    """The record is kept and the writer says it failed: what a failed fsync can mean."""
    gate: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.ids = SeededIds(7)
        self.keys = PartKeys(self.sealer, STREAM)

    async def append(self, entry: Entry) -> Receipt:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None and not self.refuses_after_writing:
            raise self.refusal
        seq = next((record.seq for record in self.kept if record.outbox_id == entry.outbox_id is not None), None)
        if seq is None:
            seq = len(self.kept)
            self.kept.append(self._record(entry, seq))
        if self.refusal is not None:
            raise self.refusal
        return Receipt(STREAM, seq, self.kept[seq].leaf_hash)

    def _record(self, entry: Entry, seq: int) -> StoredRecord:
        made = encode(
            entry,
            stream=STREAM,
            seq=seq,
            kind_seq=sum(record.seq >= 0 for record in self.kept),
            draw=self.ids.secret,
            keys=self.keys,
            bounds=PartBounds(),
        )
        wrapped = dict(made.wrapped)
        parts = tuple(StoredPart(name, text, wrapped[name]) for name, text in sealed_parts(made.sealed))
        salt, body = made.body[:SALT_SIZE], made.body[SALT_SIZE:]
        return StoredRecord(STREAM, seq, made.header, salt, body, made.leaf_hash, made.outbox_id, parts)

    def erase_parts(self, seq: int) -> None:
        record = self.kept[seq]
        self.kept[seq] = replace(record, parts=tuple(replace(part, wrapped_key=None) for part in record.parts))

    def open_part(self, record: StoredRecord, name: str) -> Mapping[str, Any]:
        return part_values(open_part(record, name, self.keys))

    def size(self) -> int:
        return len(self.kept)

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        return iter(self.kept[start:stop])

    def control_records(self, start: int = 0) -> Iterator[StoredRecord]:
        return (record for record in self.kept[start:] if record.outbox_id is not None)

    def by_outbox(self, outbox_id: str) -> int | None:
        return next((record.seq for record in self.kept if record.outbox_id == outbox_id), None)


class Installation:
    """One data directory over several lives of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids = SeededIds(1)
        self.sealer = AesGcmSealer(bytes(32), self.ids)
        self.journal = JournalLog(self.sealer)
        self.clock = ScriptedClock(1_800_000_000_000_000)
        reserve = path / "narrowing.reserve"
        if not reserve.exists():
            reserve.write_bytes(bytes(4_194_304))
        self.reserve = ReserveFile(reserve)

    @property
    def database(self) -> Path:
        return self.path / "control.db"

    def service(
        self,
        store: SqliteControlStore,
        *,
        at: Callable[[str], None] = lambda _: None,
        retry_s: float = 3_600,
        verify_log: Callable[[], None] = lambda: None,
        on_fault: Callable[[Exception], None] = lambda _: None,
    ) -> ProvenControlLog:
        return ProvenControlLog(
            store=store,
            log=self.journal,
            records=self.journal,
            reserve=self.reserve,
            verify_log=verify_log,
            sealer=self.sealer,
            clock=self.clock,
            ids=self.ids,
            at=at,
            retry_s=retry_s,
            on_fault=on_fault,
        )

    @asynccontextmanager
    async def running(self, **options: Any) -> Any:
        service = self.service(SqliteControlStore(self.database), **options)
        await service.start()
        try:
            yield service
        finally:
            await service.close()

    def doctor(self, store: SqliteControlStore) -> StateDoctor:
        return StateDoctor(
            store=store,
            records=self.journal,
            reserve=self.reserve,
            open_part=self.journal.open_part,
            sealer=self.sealer,
        )

    def docs(self, service: ProvenControlLog, kind: str = "thing") -> dict[str, Mapping[str, Any]]:
        return {row.key: row.doc for row in service.view.scan(kind)}
