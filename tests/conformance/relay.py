"""A loopback relay that adds one header to each request and is transparent to every other byte, both ways.

The kits cannot be told to send a credential. What they measure is bytes, so nothing is parsed but where a request's
head ends and how long its body is.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["relay"]

_MAX_HEAD = 2**16
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


async def _requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, header: bytes) -> None:
    """Pass requests on, one after another, each with the header before its own."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if _CHUNKED.search(head):
            raise ConnectionError("a chunked request, which this relay does not read")
        first, _, rest = head.partition(b"\r\n")
        writer.write(first + b"\r\n" + header + b"\r\n" + rest)
        length = _LENGTH.search(head)
        left = int(length[1]) if length else 0
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                raise ConnectionError("the body ended before its length")
            writer.write(piece)
            left -= len(piece)
        await writer.drain()


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def relay(host: str, port: int, header: str) -> AsyncIterator[int]:
    """Relay to that address, adding `header` (`Name: value`); the port it listens at."""
    added = header.encode("ascii")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            there, back = await asyncio.open_connection(host, port, limit=_MAX_HEAD)
            # whichever side goes first takes the other with it: a client that leaves cancels its call
            either = {asyncio.create_task(_requests(reader, back, added)), asyncio.create_task(_answers(there, writer))}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in either:
                    each.cancel()
                await asyncio.gather(*either, return_exceptions=True)
                back.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_MAX_HEAD)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            await server.wait_closed()
