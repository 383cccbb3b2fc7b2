"""What every request to `/api` passes before a route sees it: who is asking, how much it sends, and that it is JSON.

Routes do not choose to be guarded: what is not named open here is not, also a path that does not exist. Nothing of a
body is read for somebody who proved nothing, except a sign-in's few bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp

from accredit.api.plane import ControlPlane
from accredit.api.problems import problem, refusal_of
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, UnauthenticatedError
from accredit.kernel.strictjson import parse_strict

__all__ = ["ControlEntry"]

_MAX_BODY: Final = 8 * 2**20
_MAX_OPEN_BODY: Final = 4096
_MAX_DEPTH: Final = 32
_UPLOAD_S: Final = 30
_LOGIN: Final = "/api/v1/login"
_OPEN: Final = (_LOGIN, "/api/v1/schemas/", "/api/openapi.json")
_ASKING: Final = frozenset({"/api/v1/agent-drafts", "/api/v1/diff", "/api/v1/policy/lint"})
"""Posts that change nothing."""

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class ControlEntry:
    """ASGI middleware of the control plane's API."""

    def __init__(self, app: ASGIApp, plane: ControlPlane) -> None:
        self._app = app
        self._plane = plane

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        refusal, body = None, b""
        path: str = scope["path"]
        is_open = path.startswith(_OPEN[1]) or path in _OPEN
        try:
            if not is_open:
                scope.setdefault("state", {})["operator"] = self._operator(scope, path)
            body = await _body(receive, _MAX_OPEN_BODY if is_open else _MAX_BODY)
            refusal = _malformed(scope, body)
        except _OversizedError as error:
            refusal = problem(413, Code.BODY_OVERSIZED, f"a body here has at most {error} bytes", "send less at once")
        except _GoneError:
            return
        except TimeoutError:
            refusal = problem(408, Code.BODY_MALFORMED, f"the body did not arrive within {_UPLOAD_S} s")
        except AccreditError as error:
            refusal = refusal_of(error)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        waiting: list[_Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> _Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replayed, send)

    def _operator(self, scope: _Message, path: str) -> Operator:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").decode("latin-1").partition(" ")
        source = scope["client"][0] if scope.get("client") else ""
        try:
            found = self._plane.people.authenticate_operator(token.strip() if scheme.lower() == "bearer" else "")
        except UnauthenticatedError as error:
            self._plane.enforcer.turned_away(error.code, path=path, source=source, cause=error.cause)
            raise
        reading = scope["method"] in {"GET", "HEAD"} or path in _ASKING
        # whoever may only read may still end the very token it holds
        leaving = scope["method"] == "DELETE" and path == f"/api/v1/tokens/{found.credential}"
        if not (reading or leaving or "admin" in found.scopes):
            self._plane.enforcer.turned_away(Code.NOT_AUTHORISED, path=path, source=source, credential=found.credential)
            raise ForbiddenError(Code.NOT_AUTHORISED, "this token may read and not change", hint="use another token")
        return found


class _OversizedError(Exception):
    pass


class _GoneError(Exception):
    pass


async def _body(receive: _Receive, limit: int) -> bytes:
    found = bytearray()
    async with asyncio.timeout(_UPLOAD_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _GoneError
            found += message.get("body", b"")
            if len(found) > limit:
                raise _OversizedError(limit)
            if not message.get("more_body", False):
                return bytes(found)


def _malformed(scope: _Message, body: bytes) -> Response | None:
    """A body is one JSON value without repeated keys; a parser further in would let the last of them win."""
    if not body:
        return None
    kind = b"".join(value for name, value in scope["headers"] if name == b"content-type")
    if kind.partition(b";")[0].strip().lower() != b"application/json":
        return problem(415, Code.BODY_MALFORMED, "a body here is `application/json`")
    parse_strict(body, max_bytes=_MAX_BODY, max_depth=_MAX_DEPTH)
    return None
