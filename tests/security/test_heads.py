"""What comes before a body costs a bounded amount of memory and time, whoever sends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from accredit import serving
from accredit.gateway.addresses import HostAllowList
from accredit.kernel.errors import ForbiddenError
from accredit.serving import bound, served

_HEAD = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n"
_BOUND = 2**20
"""More than what is taken in, kernel buffers aside, and far less than what is sent."""


async def _early(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Answers without reading a body."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """One answer of `_early`, or the head of a refusal."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head + await self.reader.readexactly(2) if b" 200 " in head else head

    async def ended(self) -> None:
        with contextlib.suppress(ConnectionError):
            assert await self.reader.read() == b""


@contextlib.asynccontextmanager
async def _connected() -> AsyncIterator[_Connection]:
    async with asyncio.timeout(20), served(_early, bound("127.0.0.1", 0)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        connection = _Connection(*await asyncio.open_connection(host, int(port)))
        try:
            yield connection
        finally:
            connection.writer.close()
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()


@pytest.mark.requirement("security:head:bounded")
@pytest.mark.parametrize("flood", [b"x-a: " + b"a" * 65_000, b"x-a: b\r\n" * 8_000], ids=["one header", "many headers"])
def test_a_head_without_end_is_cut_off(flood: bytes) -> None:
    async def play() -> int:
        async with _connected() as peer:
            await peer.send(_HEAD)
            await asyncio.sleep(0)
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 64 * _BOUND:
                    await peer.send(flood)
                    sent += len(flood)
            return sent

    assert asyncio.run(play()) < 32 * _BOUND


@pytest.mark.requirement("security:head:bounded")
def test_a_head_that_is_too_large_is_told_so_and_an_ordinary_one_is_served_in_any_pieces() -> None:
    async def play() -> None:
        async with _connected() as peer:
            whole = _HEAD + b"x-a: " + b"a" * 30_000 + b"\r\n\r\n"
            for cut in (1, 17, 20_000):  # one connection, three requests
                await peer.send(whole[:cut])
                await peer.send(whole[cut:])
                assert (await peer.answer()).endswith(b"ok")
            await peer.send(_HEAD)
            for _ in range(8):
                await peer.send(b"x-a: " + b"a" * 10_000 + b"\r\n")
            assert (await peer.answer()).startswith(b"HTTP/1.1 431 ")
            await peer.ended()

    asyncio.run(play())


@pytest.mark.requirement("security:head:timely")
@pytest.mark.parametrize("begun", [b"", b"GET", _HEAD], ids=["nothing", "a word", "half a head"])
def test_a_connection_that_says_nothing_whole_is_closed(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HEAD_S", 0.05)

    async def play() -> None:
        async with _connected() as peer:
            await peer.send(begun)
            assert (await peer.answer()).startswith(b"HTTP/1.1 408 ")
            await peer.ended()

    asyncio.run(play())


@pytest.mark.requirement("security:head:timely")
def test_line_ends_between_two_requests_do_not_keep_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HEAD_S", 0.05)

    async def play() -> None:
        async with _connected() as peer:
            await peer.send(_HEAD + b"\r\n")
            assert (await peer.answer()).endswith(b"ok")
            await peer.send(b"\r\n")
            await peer.ended()

    asyncio.run(play())


@pytest.mark.requirement("security:head:bounded")
def test_the_rest_of_a_body_that_nobody_reads_is_no_head() -> None:
    async def play() -> None:
        async with _connected() as peer:
            await peer.send(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 300000\r\n\r\n")
            assert (await peer.answer()).endswith(b"ok")
            for _ in range(3):
                await peer.send(b"a" * 100_000)
            await peer.send(_HEAD + b"\r\n")
            assert (await peer.answer()).endswith(b"ok")

    asyncio.run(play())


@pytest.mark.requirement("security:head:bounded")
def test_a_host_longer_than_any_name_is_refused_and_not_remembered() -> None:
    addresses = HostAllowList("http://127.0.0.1:8700")
    for number in range(50):
        with pytest.raises(ForbiddenError):
            addresses.check(f"{number}" + "a" * 10_000, None)
    addresses.check("127.0.0.1:8700", None)
    assert sum(len(name) for name in addresses._known) < 1_000
