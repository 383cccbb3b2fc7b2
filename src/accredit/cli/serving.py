"""`accredit up`: one process that answers until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop

from accredit.bootstrap import run
from accredit.serving import bound, keep_what_is_loaded, served
from accredit.settings import Settings, load_settings

__all__ = ["run_up"]


def run_up(data: Path, port: int | None) -> int:
    """Serve the data directory until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings(data, os.environ, port=port)
    uvloop.run(_serve(data, settings))
    return 0


async def _serve(data: Path, settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with contextlib.closing(bound(settings.host, settings.port)) as listener:
        port = int(listener.getsockname()[1])
        async with run(data, settings, port=port) as running, served(running.app, listener) as address:
            keep_what_is_loaded()
            print(f"accredit answers at {running.plane.public_url} (listening on {address})", flush=True)
            print(f"log key: {running.vkey}", flush=True)
            if running.link:
                print(f"sign in, once, with: accredit login '{running.link}'", flush=True)
                print("or open that link in a browser: the console is at /console", flush=True)
            if behind_us := -running.plane.watch.stepped_us:
                print(f"warning: the clock stands {behind_us // 1_000_000} s before the newest record", file=sys.stderr)
                print("hint: what depends on time is refused until `accredit doctor --confirm-clock`", file=sys.stderr)
            await stopping.wait()
            print("stopping", file=sys.stderr)
