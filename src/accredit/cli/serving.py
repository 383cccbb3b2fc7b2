"""`accredit up`: one process that answers until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from accredit.bootstrap import bound, run, served
from accredit.settings import Settings, load_settings

__all__ = ["run_up"]


def run_up(data: Path, port: int | None) -> int:
    """Serve the data directory until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings(data, os.environ, port=port)
    uvloop.run(_serve(data, settings.host, settings.port, port))
    return 0


async def _serve(data: Path, host: str, wanted: int, given: int | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with contextlib.closing(bound(host, wanted)) as listener:
        await _until(stopping, data, load_settings(data, os.environ, port=given), listener)


async def _until(stopping: asyncio.Event, data: Path, settings: Settings, listener: socket.socket) -> None:
    port = int(listener.getsockname()[1])
    async with run(data, settings, port=port) as running, served(running.app, listener) as address:
        running.data.announce(running.plane.public_url)
        print(f"accredit answers at {running.plane.public_url} (listening on {address})", flush=True)
        print(f"log key: {running.vkey}", flush=True)
        if running.link:
            print(f"sign in, once, with: accredit login '{running.link}'", flush=True)
        await stopping.wait()
        print("stopping", file=sys.stderr)
