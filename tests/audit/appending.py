"""A process that appends to a log until it is killed, and says what was acknowledged: `python -m … DIRECTORY SEED`."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from accredit.audit.anchor import CheckpointFile
from accredit.audit.writer import LogSettings, LogWriter
from accredit.kernel.clock import SystemClock
from accredit.kernel.ids import RandomIds
from accredit.storage.sqlite.records import SqliteRecordStore
from tests.audit.building import STREAM, control, decision, sealer, signer


def opened(directory: Path) -> tuple[SqliteRecordStore, LogWriter]:
    """The log in that directory, continued; a checkpoint every 5 ms, so that kills hit them too."""
    store = SqliteRecordStore(directory / "audit.db", stream=STREAM)
    log = LogWriter(
        store,
        sealer=sealer(),
        signer=signer(),
        clock=SystemClock(),
        ids=RandomIds(),
        anchor=CheckpointFile(directory / "checkpoint"),
        settings=LogSettings(min_free_bytes=0, checkpoint_s=0.005),
    )
    return store, log


async def _append(log: LogWriter, start: int) -> None:
    async def one(number: int) -> None:
        entry = control(number) if number % 3 == 0 else decision(number)
        receipt = await log.append(entry)
        sys.stdout.write(f"ack {receipt.seq} {receipt.leaf_hash.hex()}\n")
        sys.stdout.flush()

    for number in count(start, 20):
        await asyncio.gather(*[one(number + place) for place in range(1 + number // 20 % 20)])


if __name__ == "__main__":
    store, log = opened(Path(sys.argv[1]))
    asyncio.run(_append(log, int(sys.argv[2]) * 10_000_000))
