"""How fast records become durable and how fast they verify (DESIGN §10, row `audit`)."""

from __future__ import annotations

import argparse
import asyncio
import functools
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from _report import report
from accredit.audit.checkpoint import CheckpointSigner, CheckpointVerifier, log_origin
from accredit.audit.merkle import Frontier
from accredit.audit.model import Entry, Facts, Part, Receipt, StoredRow, Usage
from accredit.audit.records import leaf_hashes
from accredit.audit.verify import verify_log
from accredit.audit.writer import LogWriter
from accredit.kernel.clock import SystemClock
from accredit.kernel.ids import RandomIds
from accredit.kernel.sealing import AesGcmSealer
from accredit.storage.sqlite.records import SqliteRecordReader, SqliteRecordStore

STREAM = "str_bench"
DAY_US = 86_400_000_000
AHEAD = 4_000
"""How many records wait at once under full load: well below the queue's bound, well above one group."""


def decision(number: int) -> Entry:
    """A decision record as the gateway writes it: 3 parts, 12 pairs in all, 1 KB of arguments."""
    return Entry(
        Facts(
            "decision",
            agent=f"agt_{number % 1_000:026d}",
            version="sha256:" + "a" * 64,
            environment="development",
            tool=f"crm/tool_{number % 5}",
            effect="read",
            scope="record",
            data_classes=("personal",),
            decision="allow",
            action="enforced",
        ),
        20_000 * DAY_US + number,
        {
            "actors": [],
            "code": "allowed",
            "control": f"{STREAM}:120",
            "credential": "crd_abcdefghijklmnopqrstuvwxyz",
            "decision_id": f"dec_{number:026d}",
            "definition": "sha256:" + "b" * 64,
            "engines": {"cedar": "cedarpy 4.12.2", "tzdata": "2026.6"},
            "policies": ["grant/0123456789abcdef"],
            "release": "sha256:" + "c" * 64,
            "reservation": {"id": f"rsv_{number:026d}", "cost": 2_000_000, "currency": "USD", "window": 20_000},
            "snapshot": "sha256:" + "d" * 64,
            "task": "psd_abcdefghijklmnopqrstuvwxyz",
            "user": "psd_zyxwvutsrqponmlkjihgfedcba",
        },
        (
            Part("arguments", {"customer_id": f"c-{number}", "limit": 20, "note": "n" * 480, "query": "q" * 440}),
            Part(
                "context",
                {
                    "now": {"hour": 9, "weekday": "mon"},
                    "session": {"calls": 3, "labels": ["personal"]},
                    "task": {"id": "T-1024", "customer_id": f"c-{number}"},
                    "user": {"id": "dana@example.com", "roles": ["customer-support"]},
                },
            ),
            Part("request", {"protocol": "mcp/2026-07-28", "server": "crm", "source": "10.0.0.7", "tool": "tool_0"}),
        ),
        usage=Usage(allows=1, cost_nanos=2_000_000),
    )


@contextmanager
def _log(path: Path) -> Iterator[LogWriter]:
    ids = RandomIds()
    store = SqliteRecordStore(path, stream=STREAM)
    log = LogWriter(
        store,
        sealer=AesGcmSealer(bytes(32), ids),
        signer=CheckpointSigner(log_origin("bench", STREAM), bytes(32)),
        clock=SystemClock(),
        ids=ids,
    )
    try:
        yield log
    finally:
        log.close()
        store.close()


def throughput(path: Path, count: int) -> float:
    """Records per second from `append` to the last acknowledgement, as many queued as one group can take."""
    entries = [decision(number) for number in range(512)]  # made ready; each is encoded and sealed anew every time

    async def go(log: LogWriter) -> float:
        started = time.perf_counter()
        waiting: deque[Awaitable[Receipt]] = deque()
        for number in range(count):
            if len(waiting) == AHEAD:
                await waiting.popleft()
            waiting.append(log.append(entries[number & 511]))
        for each in waiting:
            await each
        return count / (time.perf_counter() - started)

    with _log(path) as log:
        return uvloop.run(go(log))


def reference(path: Path, rows: list[StoredRow]) -> float:
    """The same bytes into one bare SQLite table, in as large groups, waiting for the disk as well."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE r (s INTEGER PRIMARY KEY, d)"
    )
    bare = [(seq, header + body + leaf + sealed) for seq, header, body, leaf, sealed, _ in rows]
    started = time.perf_counter()
    for at in range(0, len(bare), 1_024):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO r VALUES (?, ?)", bare[at : at + 1_024])
        connection.execute("COMMIT")
    rate = len(bare) / (time.perf_counter() - started)
    connection.close()
    return rate


def acknowledgement(path: Path, seconds: float, rate: int) -> list[float]:
    """Milliseconds from `append` to durable, arrivals on a fixed beat whatever the answers do."""

    async def go(log: LogWriter) -> list[float]:
        loop = asyncio.get_running_loop()
        took: list[float] = []
        waiting: set[asyncio.Task[None]] = set()

        async def one(entry: Entry) -> None:
            started = time.perf_counter()
            await log.append(entry)
            took.append((time.perf_counter() - started) * 1_000)

        entries = [decision(number) for number in range(int(seconds * rate))]
        begin = loop.time()
        for number, entry in enumerate(entries):
            if (ahead := begin + number / rate - loop.time()) > 0:
                await asyncio.sleep(ahead)
            task = loop.create_task(one(entry))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
        return sorted(took)

    with _log(path) as log:
        return uvloop.run(go(log))


def leaf_verification(rows: list[StoredRow], verifier: CheckpointVerifier, note: bytes) -> float:
    """Records per second from stored bytes in memory to a root equal to the signed one."""
    head = verifier.verify(note)
    started = time.perf_counter()
    leaves = leaf_hashes(rows)
    assert leaves == [row[3] for row in rows]
    tree = Frontier()
    tree.append(leaves)
    assert tree.root() == head.root
    return len(rows) / (time.perf_counter() - started)


def full_verification(path: Path, verifier: CheckpointVerifier, processes: int) -> float:
    """Records per second of `verify_log` on the file, start of its processes included."""
    started = time.perf_counter()
    found = verify_log(functools.partial(SqliteRecordReader, path), verifier=verifier, processes=processes)
    assert found.ok, found.what
    return found.size / (time.perf_counter() - started)


def main() -> None:
    """Measure, say what was measured, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, rounds, seconds = (20_000, 3, 2.0) if quick else (60_000, 5, 5.0)
    directory = Path(tempfile.mkdtemp(prefix="accredit-bench-"))
    try:
        rates, bare, leaves, full = [], [], [], []
        acks: list[list[float]] = []
        for number in range(rounds):
            path = directory / f"{number}.db"
            rates.append(throughput(path, count))
            reader = SqliteRecordReader(path)
            rows, note = list(reader.rows(0, reader.size())), reader.checkpoints()[-1][1]
            reader.close()
            bare.append(reference(directory / f"{number}-bare.db", rows))
            verifier = CheckpointSigner(log_origin("bench", STREAM), bytes(32)).verifier()
            leaves.append(max(leaf_verification(rows, verifier, note) for _ in range(3)))
            full.append(full_verification(path, verifier, 1))
            acks.append(acknowledgement(directory / f"{number}-ack.db", seconds, 1_000))
            kept = path if number == rounds - 1 else None
            size = sum(len(header) + len(body) + len(sealed) for _, header, body, _, sealed, _ in rows) / len(rows)
        assert kept is not None
        both = full_verification(kept, verifier, 2)
        p50 = statistics.median(took[len(took) // 2] for took in acks)
        p99 = statistics.median(took[len(took) * 99 // 100] for took in acks)
        rate, plain = statistics.median(rates), statistics.median(bare)
        leaf = statistics.median(leaves)
        print(
            f"Append: {count:,} decision records (3 parts, 12 pairs, 1 KB of arguments; {size:,.0f} bytes stored) "
            f"through one LogWriter into SQLite with fsync, at most {AHEAD:,} waiting: encoding, sealing, leaf, tree, "
            f"roll-ups, census, checkpoints and commit included. Median of {rounds}: {rate:,.0f} records/s "
            f"(best {max(rates):,.0f}).\n"
            f"Reference, same run: the same bytes into a bare SQLite table in groups of 1,024 with fsync: "
            f"{plain:,.0f} records/s; the log reaches {rate / plain:.2f} of it.\n"
            f"Acknowledgement: 1,000 appends a second on a fixed beat for {seconds:.0f} s, from the call to the "
            f"resolved future: p50 {p50:.2f} ms, p99 {p99:.2f} ms (medians of {rounds}).\n"
            f"Verification, verify_per_s: leaves of rows already read from the file, one process: header and salted "
            f"body to leaf hash, compared with the stored leaf, into the tree, root compared with the signed "
            f"checkpoint: {leaf:,.0f} records/s.\n"
            f"Verification in full, verify_full_per_s: `verify_log` on the file, reading included, and header, "
            f"kind_seq, census, roll-ups and the ciphertext of every part as well: {statistics.median(full):,.0f} "
            f"records/s in one process, {both:,.0f} in two, whose start is included."
        )
        report(
            "audit",
            {
                "records_per_s": rate,
                "ack_p50_ms": p50,
                "verify_per_s": leaf,
                "ack_p99_ms": p99,
                "vs_bare_sqlite": rate / plain,
                "verify_full_per_s": max(statistics.median(full), both),
            },
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
