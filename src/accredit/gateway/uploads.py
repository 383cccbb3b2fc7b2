"""The bodies of requests, each bounded in size and time, and all that are under way together in size.

A caller that has proven itself may send as slowly as the time allows, on as many connections as it likes: what one of
them holds in memory that way takes nothing from the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from accredit.gateway.jsonrpc import RpcError, RpcNumber
from accredit.kernel.codes import Code

__all__ = ["Uploads"]

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_SWALLOWED_BYTES: Final = 8 * 2**20
_SWALLOWED_S: Final = 0.5
"""How much of a body that is too large is taken in and forgotten, so that its sender reads the refusal."""


_OF_ONE: Final = 32 * 2**20
_OF_ALL: Final = 256 * 2**20
"""Bytes that wait for the rest of their bodies at one door: of one caller, and of all. More where bodies are large."""
_BODIES_OF_ONE: Final = 4
_BODIES_OF_ALL: Final = 32


class Uploads:
    """Reads the bodies that come to one door of the gateway."""

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._of_one = max(_OF_ONE, _BODIES_OF_ONE * max_bytes)
        self._of_all = max(_OF_ALL, _BODIES_OF_ALL * max_bytes)
        self._held: Counter[str] = Counter()

    async def read(self, receive: _Receive, head: Mapping[str, str], *, sender: str) -> bytes | None:
        """The whole body, or None if the client left before sending it. `sender` is who has proven itself.

        Raises:
            RpcError: it is too large (413), took too long (408), or too much is under way already (429).
        """
        declared = head.get("content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._max_bytes:
            raise await _oversized(receive, self._max_bytes)
        chunks: list[bytes] = []
        size = held = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        return None
                    chunk: bytes = event.get("body", b"")
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise await _oversized(receive, self._max_bytes)
                    if not event.get("more_body"):
                        return chunk if not chunks else b"".join((*chunks, chunk))
                    if self._held[sender] + len(chunk) > self._of_one or self._held.total() + len(chunk) > self._of_all:
                        raise _crowded()
                    chunks.append(chunk)
                    held += len(chunk)
                    self._held[sender] += len(chunk)
        except TimeoutError as error:
            raise RpcError(
                RpcNumber.REQUEST,
                f"the body did not arrive within {self._timeout_s:g} s",
                status=408,
                headers=((b"connection", b"close"),),
            ) from error
        finally:
            if held:
                self._held[sender] -= held
            if not self._held[sender]:
                del self._held[sender]


def _crowded() -> RpcError:
    return RpcError(
        RpcNumber.REQUEST,
        "too many bytes of unfinished bodies are held already",
        code=Code.CONCURRENCY_LIMITED,
        status=429,
        hint=Code.CONCURRENCY_LIMITED.remedy,
        headers=((b"connection", b"close"), (b"retry-after", b"1")),
    )


async def _oversized(receive: _Receive, max_bytes: int) -> RpcError:
    # a connection closed on unread bytes is reset, and the client never sees why (RFC 9112 §9.6)
    left = _SWALLOWED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SWALLOWED_S):
            while left > 0 and (event := await receive()).get("more_body"):
                left -= len(event.get("body", b""))
    return RpcError(
        RpcNumber.REQUEST,
        f"the body is larger than {max_bytes} bytes",
        code=Code.BODY_OVERSIZED,
        status=413,
        hint=Code.BODY_OVERSIZED.remedy,
        headers=((b"connection", b"close"),),
    )
