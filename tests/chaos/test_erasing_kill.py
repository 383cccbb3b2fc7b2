"""kill -9 while somebody is erased: the next process completes it, and nothing of them can be opened."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accredit.audit.erasing import ErasureState
from tests.keeping.process import CALLS
from tests.keeping.test_erasing import of_calls, openable, verified
from tests.lifecycle.house import house

_ROOT = Path(__file__).parents[2]
_STEPS = ("batch", "scrubbed", "appended", "committed", "enforced", "ended", "placed")


@pytest.mark.requirement("keeping:erase:resumed")
def test_killed_while_it_erases_somebody_the_next_process_completes_it(tmp_path: Path, rounds: int) -> None:
    for number in range(min(rounds, 2 * len(_STEPS))):
        step, nth = _STEPS[number % len(_STEPS)], 1 + number // len(_STEPS)
        path = tmp_path / f"data{number}"
        path.mkdir()
        program = [sys.executable, "-m", "tests.keeping.process", str(path), step, str(nth)]
        ended = subprocess.run(program, cwd=_ROOT, check=False, timeout=100)
        assert ended.returncode in ({-signal.SIGKILL} if nth == 1 else {-signal.SIGKILL, 0}), step
        assert verified(path).ok, step
        asyncio.run(_completed(path, step))
        gone = of_calls(path, {number for number in range(CALLS) if number % 2})
        assert gone
        assert gone.isdisjoint(openable(path)), step
        assert verified(path).ok, step


async def _completed(path: Path, step: str) -> None:
    async with house(path) as place:
        await place.room.record_operations.round()
        (done,) = place.room.erasures.all()
        assert (done.state, done.parts) == (ErasureState.ENDED, 3 * CALLS // 2), step
