"""kill -9 while the log is being written: what was acknowledged is there, and the log verifies and goes on."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - seeded here: rounds must repeat
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from accredit.audit.anchor import CheckpointFile
from accredit.audit.verify import Anchor, verify_log
from accredit.storage.sqlite.records import SqliteRecordReader
from tests.audit.appending import opened
from tests.audit.building import decision, keys, signer

_ROOT = Path(__file__).parents[2]


def _killed_after(directory: Path, seed: int, lines: int) -> dict[int, str]:
    """Let the process acknowledge that many records, kill it, and return all it acknowledged."""
    acknowledged: dict[int, str] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.audit.appending", str(directory), str(seed)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if not line.endswith("\n"):
                break
            word, seq, leaf = line.split()
            assert word == "ack"
            acknowledged[int(seq)] = leaf
            if len(acknowledged) == lines:
                program.send_signal(signal.SIGKILL)
        assert program.wait(60) == -signal.SIGKILL
    return acknowledged


@pytest.mark.requirement("audit:writer:kill")
def test_no_acknowledged_record_is_lost_to_kill_nine(tmp_path: Path, rounds: int) -> None:
    draw = random.Random(20_261_123)
    acknowledged: dict[int, str] = {}
    anchor = CheckpointFile(tmp_path / "checkpoint")
    for number in range(rounds):
        acknowledged |= _killed_after(tmp_path, number, draw.randint(1, 600))
        kept = anchor.newest()
        anchors = [Anchor("local file", kept)] if kept else []
        report = verify_log(
            partial(SqliteRecordReader, tmp_path / "audit.db"),
            verifier=signer().verifier(),
            anchors=anchors,
            keys=keys(),
        )
        assert report.ok, f"round {number}: {report.what}"
        reader = SqliteRecordReader(tmp_path / "audit.db")
        found = {seq: leaf.hex() for seq, _, _, leaf, _, _ in reader.rows(0, reader.size())}
        reader.close()
        lost = {seq for seq, leaf in acknowledged.items() if found.get(seq) != leaf}
        assert lost == set(), f"round {number}"
    store, log = opened(tmp_path)

    async def go_on() -> int:
        return (await log.append(decision(1))).seq

    assert asyncio.run(asyncio.wait_for(go_on(), 30)) > max(acknowledged)
    log.close()
    store.close()
