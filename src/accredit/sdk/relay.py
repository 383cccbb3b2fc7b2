"""The agent's own door to the gateway, on loopback, for a program that was started by `accredit run`.

The program holds a secret that is good here, for this run, and nowhere else; each request goes on with the agent's
real credential, renewed when it must be. So stock clients, which read a key once and keep it, outlive every token, and
a key that the program leaks is worth nothing once it ended.

Nothing is decided here: bytes go through as they are, both ways, streams as they come. Only what serves agents is
reached.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.sdk.guard import AsyncTokens
from accredit.sdk.wire import checked_url

__all__ = ["relaying"]

_ROUTES: Final = ("/access/v1", "/llm", "/mcp", "/http")
"""What serves agents; a token for one of them is good below it."""
_UNSAFE: Final = re.compile(r"[\\\x00-\x20\x7f]|//|/\.{1,2}(?:/|$)|%(?:2[eEfF5]|5[cC]|[01][0-9A-Fa-f]|7[fF])")
"""What could read as another path further on."""
_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "host", "content-length", "expect"}
)  # fmt: skip
"""Of one connection (RFC 9110 §7.6.1), or made anew."""
_WITHHELD: Final = _HOP | {"authorization", "x-api-key", "cookie", "origin"}
_TIMEOUT: Final = ClientTimeout(total=None, connect=30, sock_connect=10)
"""A stream may be silent for long; how long a call may take is the gateway's to say."""
_BUFFER: Final = 64 * 1024
_STOP_S: Final = 1.0


@asynccontextmanager
async def relaying(base_url: str, tokens: AsyncTokens, secret: str) -> AsyncIterator[str]:
    """Serve until the context ends; gives the address.

    Raises:
        InvalidInputError: `base_url` would carry the credential in clear.
        OSError: no port of loopback could be opened.
    """
    upstream = checked_url(base_url)
    # redirects are not followed, and no proxy of the environment is used: a credential goes to one place
    session = ClientSession(
        timeout=_TIMEOUT,
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_BUFFER,
        connector=TCPConnector(limit=0),  # as many as the program opens: streams stay for long
    )
    # aiohttp's own bound on bodies does not apply to those that are streamed; the gateway has bounds of its own
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _Relay(upstream, tokens, secret, session).serve)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_S)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # the terminal is the program's
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        await session.close()


class _Relay:
    def __init__(self, upstream: str, tokens: AsyncTokens, secret: str, session: ClientSession) -> None:
        self._upstream = upstream
        self._host = urlsplit(upstream).netloc
        self._tokens = tokens
        self._secret = secret.encode()
        self._session = session

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One request; what fails before the answer began is a problem document."""
        if not self._known(request):
            return _problem(401, Code.UNAUTHENTICATED, "the key is not this run's")
        target = request.raw_path
        path = target.partition("?")[0]
        route = next((one for one in _ROUTES if path == one or path.startswith(f"{one}/")), None)
        if route is None or _UNSAFE.search(path):
            return _problem(404, Code.NOT_FOUND, "nothing here serves agents")
        try:
            token = await self._tokens.access_token(f"{self._upstream}{route}")
        except AccreditError as error:
            return _problem(503, error.code, error.message)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _WITHHELD]
        headers += [("Authorization", f"Bearer {token}"), ("Host", self._host)]
        if (length := request.headers.get("Content-Length")) is not None:
            headers.append(("Content-Length", length))
        try:
            answered = self._session.request(
                request.method,
                URL(f"{self._upstream}{target}", encoded=True),
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            async with answered as answer:
                if answer.status == 401:
                    self._forget()
                return await self._passed(request, answer)
        except (ClientError, OSError, TimeoutError) as error:
            return _problem(502, Code.UPSTREAM_UNREACHABLE, f"accredit cannot be reached ({type(error).__name__})")

    def _known(self, request: web.Request) -> bool:
        """By bearer token or `x-api-key`, once."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = [bearer] if scheme.lower() == "bearer" else []
        given += request.headers.getall("x-api-key", [])
        return len(given) > 0 and all(hmac.compare_digest(one.encode(), self._secret) for one in given)

    def _forget(self) -> None:
        """The next request gets a new token, if there still is one."""
        forget = getattr(self._tokens, "forget_tokens", None)
        if forget is not None:
            forget()

    async def _passed(self, request: web.Request, answer: Any) -> web.StreamResponse:
        headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
        if (length := answer.headers.get("Content-Length")) is not None:
            headers.append(("Content-Length", length))
        passed = web.StreamResponse(status=answer.status, reason=answer.reason)
        passed.headers.clear()
        for name, value in headers:
            passed.headers.add(name, value)
        await passed.prepare(request)
        try:
            async for piece in answer.content.iter_any():
                await passed.write(piece)
        except (ClientError, OSError, asyncio.IncompleteReadError):
            # what broke off must not look like a whole answer
            if request.transport is not None:
                request.transport.abort()
            return passed
        with suppress(OSError):  # whoever asked went away
            await passed.write_eof()
        return passed


def _problem(status: int, code: Code, detail: str) -> web.Response:
    body = {"type": "about:blank", "status": status, "code": code.value, "detail": detail}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/problem+json")
