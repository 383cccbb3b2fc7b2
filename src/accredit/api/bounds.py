"""A body has a size before anybody reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["bounded_receive"]

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def bounded_receive(receive: _Receive, max_bytes: int) -> _Receive:
    """The same messages, until they add up to more than `max_bytes`.

    Raises (from the returned callable):
        InvalidInputError: they do.
    """
    seen = 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > max_bytes:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"a body here has at most {max_bytes} bytes")
        return message

    return bounded
