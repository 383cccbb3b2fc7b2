"""Reading what somebody sends to a route that is open to anybody who can reach the port: bounded in size and time."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["read_body"]

_UPLOAD_S: Final = 10


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        InvalidInputError: it is larger than `limit` bytes, or did not arrive in time.
    """
    found = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD_S):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise InvalidInputError(Code.BODY_OVERSIZED, f"a body here has at most {limit} bytes")
    except TimeoutError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, f"the body did not arrive within {_UPLOAD_S} s") from error
    return bytes(found)
