"""A process that erases somebody and is killed: `python -m tests.keeping.process DIRECTORY STEP NTH`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.keeping.test_erasing import asked, fill
from tests.lifecycle.house import house

CALLS = 160
"""Every second of them is alice's."""


async def _erasing(path: Path, step: str, nth: int) -> None:
    left = [0]

    def at(name: str) -> None:
        left[0] -= name == step
        if name == step and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async with house(path, at=at, within=at) as place:
        await fill(place, [("alice" if number % 2 else "bob", "") for number in range(CALLS)])
        await place.approve(await asked(place, "alice"))
        left[0] = nth
        await place.room.record_operations.round()


if __name__ == "__main__":
    asyncio.run(_erasing(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
