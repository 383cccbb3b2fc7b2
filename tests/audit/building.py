"""Logs to test with: real writers over real stores, with a scripted clock and seeded ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accredit.audit.anchor import CheckpointFile
from accredit.audit.checkpoint import CheckpointSigner, log_origin
from accredit.audit.model import Entry, Facts, Part, Receipt, Usage
from accredit.audit.ports import RecordStore
from accredit.audit.records import PartKeys
from accredit.audit.writer import LogSettings, LogWriter
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import SeededIds
from accredit.kernel.sealing import AesGcmSealer
from accredit.storage.memory.records import MemoryRecordStore
from accredit.storage.sqlite.records import SqliteRecordStore

STREAM = "str_test"
START_US = 1_780_000_000_000_000
STORES = ("sqlite", "memory")


def sealer() -> AesGcmSealer:
    return AesGcmSealer(b"k" * 32, SeededIds(7))


def keys() -> PartKeys:
    return PartKeys(sealer(), STREAM)


def signer(seed: bytes = b"s" * 32) -> CheckpointSigner:
    return CheckpointSigner(log_origin("ins_test", STREAM), seed)


def new_store(kind: str, directory: Path) -> SqliteRecordStore | MemoryRecordStore:
    return SqliteRecordStore(directory / "audit.db", stream=STREAM) if kind == "sqlite" else MemoryRecordStore(STREAM)


@contextmanager
def writing(
    store: RecordStore,
    *,
    clock: ScriptedClock | None = None,
    settings: LogSettings | None = None,
    anchor: CheckpointFile | None = None,
    by: CheckpointSigner | None = None,
    seed: int = 1,
) -> Iterator[LogWriter]:
    log = LogWriter(
        store,
        sealer=sealer(),
        signer=by or signer(),
        clock=clock or ScriptedClock(START_US),
        ids=SeededIds(seed),
        anchor=anchor,
        settings=settings or LogSettings(min_free_bytes=0),
    )
    try:
        yield log
    finally:
        log.close()


def appended(log: LogWriter, entries: Iterable[Entry]) -> list[Receipt]:
    async def go() -> list[Receipt]:
        return list(await asyncio.gather(*[log.append(entry) for entry in entries]))

    return asyncio.run(asyncio.wait_for(go(), 30))


def decision(number: int, **changes: Any) -> Entry:
    arguments = {"customer_id": f"c-{number}", "limit": 10, "note": "Ünïcode ✓ " * 4}
    given: dict[str, Any] = {
        "facts": Facts(
            "decision",
            agent=f"agt_{number % 3}",
            version="sha256:" + "a" * 64,
            environment="development",
            tool="crm/read_customer",
            effect="read",
            data_classes=("personal",),
            decision="allow",
            action="enforced",
        ),
        "time_us": START_US + number,
        "body": {"code": "allowed", "decision_id": f"dec_{number}", "policies": ["grant/abc"]},
        "parts": (
            Part("arguments", arguments),
            Part("context", {"task": {"id": "T-1"}, "score": 0.25, "big": 2**70}),
            Part("request", {"tool": "read_customer", "source": "127.0.0.1"}),
        ),
        "usage": Usage(allows=1, cost_nanos=2_000_000),
    }
    return Entry(**(given | changes))


def control(number: int, **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "facts": Facts("agent.submitted", agent=f"agt_{number}"),
        "time_us": START_US + number,
        "body": {"actor": "per_1"},
        "outbox_id": f"out_{number}",
    }
    return Entry(**(given | changes))


def filled(store: RecordStore, count: int, *, every: Callable[[int], Entry] | None = None) -> LogWriter:
    """A closed log of `count` entries, every fifth a control event, in several commits, and its checkpoints."""
    make = every or (lambda number: control(number) if number % 5 == 4 else decision(number))
    with writing(store) as log:
        half = count // 2
        appended(log, [make(number) for number in range(half)])
        appended(log, [make(number) for number in range(half, count)])
    return log
