"""One installation in a process of its own, to be killed: `python -m tests.chaos.loaded DIRECTORY PORT`.

Serves as `accredit up` does, prints its address, then, if there is one, the first admin's link.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from accredit.bootstrap import run
from accredit.serving import bound, served
from accredit.settings import Settings


async def _serve(directory: Path, port: int) -> None:
    listener = bound("127.0.0.1", port)
    settings = Settings(port=port, disk_reserve_mb=0, attempts_per_minute=1_000_000, checkpoint_seconds=0.05)
    async with run(directory, settings, port=port) as running, served(running.app, listener) as url:
        sys.stdout.write(f"{url} {running.first_link or '-'}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
