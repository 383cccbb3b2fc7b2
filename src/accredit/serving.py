"""Listening on a socket: a bounded HTTP head, no signals taken, nothing believed that a proxy header says.

Knows nothing of what is served, so the demo's own servers stand behind the same bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = ["bound", "keep_what_is_loaded", "served"]

_HEAD_BYTES = 64 * 1024
_HEAD_S = 10.0


def keep_what_is_loaded() -> None:
    """Tell the garbage collector that all there is by now stays. To be called once all that serves is loaded.

    Looking through it again would stop every call, at 10,000 agents for 0.5 s.
    """
    gc.collect()
    gc.enable()
    gc.freeze()


class _BoundedHead(HttpToolsProtocol):
    """Bounds what comes before a body, in size and time; the server alone takes any head, for as long as it lasts.

    A piece that ends a body and begins a head is not counted; the loop reads at most 256 KiB at once.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._awaiting = True
        """Whether a head is being waited for: from the connection or its own first byte on, until it is complete."""
        self._in_message = False
        self._size = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._patience = self.loop.call_later(_HEAD_S, self._end, b"408 Request Timeout")

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._awaiting = self._in_message = True
        self._size = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_message = False

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._awaiting, self._size = False, 0

    def data_received(self, data: bytes) -> None:
        counted = self._awaiting or not self._in_message
        super().data_received(data)
        answered = self.cycle is not None and self.cycle.response_complete
        if not (self._awaiting or answered):
            self._relax()  # whoever answers bounds what is still to come
            return
        if counted and self._awaiting:
            self._size += len(data)
        if self._size > _HEAD_BYTES:
            self._end(b"431 Request Header Fields Too Large")
        elif self._patience is None:
            # also for what still comes after the answer: a body nobody reads, or line ends, for ever
            self._patience = self.loop.call_later(_HEAD_S, self._end, b"408 Request Timeout")

    def _relax(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end(self, status: bytes) -> None:
        self._relax()
        if self.transport.is_closing():
            return
        if self._awaiting and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        self.transport.close()


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it: several may share a loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def served(app: Any, listener: socket.socket) -> AsyncIterator[str]:
    """Serve an ASGI application on a bound socket until the context ends; gives its URL."""
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            http=_BoundedHead,
            server_header=False,
            proxy_headers=False,  # a peer's address is the socket's: a header could name any other
            date_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    serving = asyncio.create_task(server.serve([listener]), name="serve")
    try:
        while not server.started:
            if serving.done():
                await serving
                raise UnavailableError(Code.INTERNAL, "the server did not start")
            await asyncio.sleep(0.002)
        host, port = listener.getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving


def bound(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else is started.

    Raises:
        UnavailableError: it is in use.
    """
    # the protocol is named because asyncio turns Nagle's algorithm off only where it is: else 40 ms for each answer
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UnavailableError(
            Code.SETTING_INVALID,
            f"`{host}:{port}` cannot be listened on: {error.strerror}",
            hint="choose another --port",
        ) from error
    return listener
