"""A whole control plane in little, on disk: run as a program, it changes state until it is killed.

    python -m tests.state.process DIRECTORY [STEP NTH]

It continues where the directory stands and says `try N` before and `ack N` after change N. With STEP and NTH it kills
itself with SIGKILL when that step is reached for the NTH time, those of its recovery at start included. With step
`reserved` the disk is full after ten changes, and what comes then is a revocation.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from accredit.audit.checkpoint import CheckpointSigner, CheckpointVerifier, log_origin
from accredit.audit.control import ProvenControlLog
from accredit.audit.doctor import Diagnosis, StateDoctor
from accredit.audit.model import StoredRecord
from accredit.audit.ports import Change
from accredit.audit.records import PartKeys, open_part, part_values
from accredit.audit.verify import verify_log
from accredit.audit.writer import LogWriter
from accredit.kernel.clock import SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import RandomIds
from accredit.storage.datadir import DataDirectory
from accredit.storage.sqlite.records import SqliteRecordReader, SqliteRecordStore
from accredit.storage.sqlite.state import SqliteControlStore
from tests.state.installation import STREAM, always, change

CHANGES = 40


def nth(n: int) -> Change:
    """Change N: two rows that must never part, over three keys; some remove, some narrow."""
    key = f"k{n % 3}"
    doc = None if n % 7 == 6 else {"n": n, "email": f"user{n}@example.com"}
    return change(("thing", key, doc), ("twin", key, doc), narrowing=n % 5 == 4, kind="thing.put", n=n)


def state_after(count: int) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What the first `count` changes leave: the model."""
    rows: dict[tuple[str, str], Mapping[str, Any]] = {}
    for n in range(count):
        for write in nth(n).writes:
            rows.pop((write.kind, write.key), None)
            if write.doc is not None:
                rows[write.kind, write.key] = write.doc
    return rows


def shown(service: ProvenControlLog) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row.kind, row.key): row.doc for kind in ("thing", "twin") for row in service.view.scan(kind)}


def fill(service: ProvenControlLog) -> None:
    """Make the disk full: the database may not grow by a page."""
    store = service._store
    assert isinstance(store, SqliteControlStore)
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")


@asynccontextmanager
async def opened(path: Path, *, at: Callable[[str], None] = lambda _: None) -> AsyncIterator[ProvenControlLog]:
    ids, clock = RandomIds(), SystemClock()
    directory = DataDirectory.open(path, ids=ids)
    seed = directory.signing_key().private_bytes_raw()  # before there is a log: a key is not made anew beside one
    records = SqliteRecordStore(directory.audit_db, stream=STREAM)
    signer = CheckpointSigner(log_origin("test", STREAM), seed)
    log = LogWriter(records, sealer=directory.sealer, signer=signer, clock=clock, ids=ids)
    service = ProvenControlLog(
        store=SqliteControlStore(directory.control_db),
        log=log,
        records=records,
        reserve=directory.reserve(),
        verify_log=lambda: (
            None
        ),  # the writer has read its tail; the whole log is verified by the tests of the audit room
        sealer=directory.sealer,
        clock=clock,
        ids=ids,
        at=at,
    )
    await service.start()
    try:
        yield service
    finally:
        await service.close()
        await asyncio.to_thread(log.close)
        records.close()
        directory.close()


def require_verified(directory: DataDirectory, signer: CheckpointSigner) -> None:
    """The audit room's own verification, every record of it."""
    report = verify_log(lambda: SqliteRecordReader(directory.audit_db), verifier=CheckpointVerifier(signer.vkey))
    if not report.ok:
        raise UnavailableError(Code.LOG_INVALID, report.what)


def examined(path: Path) -> Diagnosis:
    """What the doctor says of a directory nobody holds or somebody does."""
    directory = DataDirectory.read(path, ids=RandomIds())
    store, records = SqliteControlStore(directory.control_db, read_only=True), SqliteRecordReader(directory.audit_db)
    keys = PartKeys(directory.sealer, records.stream)

    def opener(record: StoredRecord, name: str) -> Mapping[str, Any]:
        return part_values(open_part(record, name, keys))

    try:
        return StateDoctor(
            store=store, records=records, reserve=directory.reserve(), open_part=opener, sealer=directory.sealer
        ).diagnose()
    finally:
        store.close()
        records.close()
        directory.close()


async def _run(path: Path, at: Callable[[str], None]) -> None:
    async with opened(path, at=at) as service:
        row = service.view.get("progress", "next")
        for n in range(row.doc["n"] if row else 0, CHANGES):
            made = nth(n)
            whole = change(
                *((write.kind, write.key, write.doc) for write in made.writes),
                ("progress", "next", {"n": n + 1}),
                narrowing=made.narrowing,
                n=n,
            )
            print(f"try {n}", flush=True)  # noqa: T201 - what the parent reads
            await service.transact(always(whole))
            print(f"ack {n}", flush=True)  # noqa: T201 - as above
            if n == 9 and "reserved" in sys.argv:
                fill(service)
                revoked = change(("thing", "revoked", {"why": "x" * 20_000}), narrowing=True)
                await service.transact(always(revoked))


def main() -> None:
    left = int(sys.argv[3]) if len(sys.argv) > 2 else 0

    def at(step: str) -> None:
        nonlocal left
        if len(sys.argv) > 2 and step == sys.argv[2]:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(_run(Path(sys.argv[1]), at))


if __name__ == "__main__":
    main()
