"""The body of one request, bounded in size and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from accredit.gateway.jsonrpc import RpcError, RpcNumber
from accredit.kernel.codes import Code

__all__ = ["read_upload"]

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_SWALLOWED_BYTES: Final = 8 * 2**20
_SWALLOWED_S: Final = 0.5
"""How much of a body that is too large is taken in and forgotten, so that its sender reads the refusal."""


async def read_upload(receive: _Receive, head: Mapping[str, str], *, max_bytes: int, timeout_s: float) -> bytes | None:
    """The whole body, or None if the client left before sending it.

    Raises:
        RpcError: it is too large (413), or took too long (408).
    """
    declared = head.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > max_bytes:
        raise await _oversized(receive, max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    return None
                chunk: bytes = event.get("body", b"")
                size += len(chunk)
                if size > max_bytes:
                    raise await _oversized(receive, max_bytes)
                if not event.get("more_body"):
                    return chunk if not chunks else b"".join((*chunks, chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise RpcError(
            RpcNumber.REQUEST,
            f"the body did not arrive within {timeout_s:g} s",
            status=408,
            headers=((b"connection", b"close"),),
        ) from error


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
