"""One installation in a process that kills itself: `python -m tests.gateway.deferring DIRECTORY PORT MOMENT`.

The moments are those of a held call that its client asks about: `admitted`, its decision is durable; `begun`, that is
noted and nothing was sent; `ending`, its server has answered; `ended`, how it ended is kept and not told. At any other
it lives until its input ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from accredit import bootstrap
from accredit.bootstrap import run
from accredit.gateway.ports import DeferredStanding, KeptCall
from accredit.serving import bound, served
from accredit.settings import Settings
from accredit.storage.sqlite.deferred import SqliteDeferredCallStore

_BEFORE = {DeferredStanding.WAITS: "admitted", DeferredStanding.BEGUN: "ending"}
_AFTER = {DeferredStanding.WAITS: "begun", DeferredStanding.BEGUN: "ended"}


class _Mortal(SqliteDeferredCallStore):
    moment = ""

    def advance(self, call: KeptCall, *, after: DeferredStanding) -> bool:
        self._reached(_BEFORE[after])
        advanced = super().advance(call, after=after)
        self._reached(_AFTER[after])
        return advanced

    def _reached(self, moment: str) -> None:
        if moment == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


async def _serve(directory: Path, port: int) -> None:
    listener = bound("127.0.0.1", port)
    settings = Settings(port=port, disk_reserve_mb=0)
    async with run(directory, settings, port=port) as running, served(running.app, listener) as url:
        sys.stdout.write(f"{url} {running.first_link or '-'}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    _Mortal.moment = sys.argv[3]
    setattr(bootstrap, "SqliteDeferredCallStore", _Mortal)  # noqa: B010 - the one place that names it
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
