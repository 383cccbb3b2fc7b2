"""Servers as processes of their own, which say where they are and answer each line with a token."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator

__all__ = ["answered", "process"]


@contextlib.asynccontextmanager
async def process(script: str, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a script until the end of the block; its first line is its address."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, script, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert started.stdout is not None and started.stdin is not None
    try:
        url = (await asyncio.wait_for(started.stdout.readline(), 30)).decode().strip()
        if not url:
            raise SystemExit(f"{arguments[0]} did not start")
        yield started, url
    finally:
        started.stdin.close()
        try:
            await asyncio.wait_for(started.wait(), 10)
        except TimeoutError:
            started.kill()


async def answered(started: asyncio.subprocess.Process) -> str:
    """What it says to one more line."""
    assert started.stdout is not None and started.stdin is not None
    started.stdin.write(b"\n")
    await started.stdin.drain()
    return (await asyncio.wait_for(started.stdout.readline(), 30)).decode().strip()
