"""A process that takes one agent through activation or retirement until it kills itself.

    python -m tests.lifecycle.process DIRECTORY activate|retire [NTH]

It goes on where the directory stands. With NTH it kills itself with SIGKILL at the NTH moment between two steps, those
of going on at start included.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from accredit.registry.model import AgentState
from tests.lifecycle.house import House, house, operator

DANA = operator("dana")


async def prepared(place: House, what: str) -> None:
    """Everything before the procedure, which nothing interrupts."""
    if place.registry.catalogue.agent_named("production", "digest") is not None:
        return
    await place.tools()
    request = await place.submitted()
    await place.approve(request.id)
    if what == "retire":
        await place.operations.activate(DANA, place.agent().id)
        await place.operations.join_token(DANA, place.agent().id)


async def _run(path: Path, what: str, nth: int) -> None:
    left = nth

    def at(_: str) -> None:
        nonlocal left
        if armed:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    armed = (path / "prepared").exists()
    async with house(path, at=at) as place:
        await prepared(place, what)
        (path / "prepared").touch()
        armed = True
        found = place.agent()
        if what == "activate" and found.state is not AgentState.ACTIVE:
            await place.operations.activate(DANA, found.id)
        elif what == "retire":
            await place.operations.retire(DANA, found.id, "over")


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
