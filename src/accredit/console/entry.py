"""What every request for a page passes first: whose session it is, how much it sends, and that the page itself asks.

Routes do not choose to be guarded: what is not named open here is not, also a path that does not exist. Every answer,
whoever makes it, leaves with the headers that keep a browser from running or showing anything foreign.
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from accredit.console.ports import RefusalSink, Sessions
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, InvalidInputError, UnauthenticatedError

__all__ = ["ConsoleEntry", "SessionCookie", "Visit", "is_fragment", "is_poll"]

LOGIN: Final = "/login"
STATIC: Final = "/console/static/"
_MAX_BODY: Final = 256 * 1024
_MAX_OPEN_BODY: Final = 4096
"""Of a form by somebody who proved nothing yet."""
_MAX_FIELDS: Final = 400
_UPLOAD_S: Final = 15

_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with `no-referrer` browsers send forms without their origin
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NAMES: Final = frozenset(name for name, _ in _HEADERS)

_AGAIN: Final = "load the page again and repeat it there"
Failure = Callable[[Request, AccreditError], Response]
"""Makes the page that says what was refused."""
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Visit:
    """Whoever asks for a page, and what came with it."""

    operator: Operator
    secret: str
    form: dict[str, str]

    @property
    def csrf(self) -> str:
        """What a form of this session carries: known to the session's pages alone."""
        made = hmac.digest(self.secret.encode(), b"accredit console form", "sha256")
        return urlsafe_b64encode(made).rstrip(b"=").decode()


class SessionCookie:
    """The cookie that holds a session's secret.

    With https its name makes browsers insist that this very host set it, over https. On loopback without https the
    port is in the name, so that two installations do not end each other's sessions.
    """

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        self._secure = parts.scheme == "https"
        self.name = "__Host-accredit" if self._secure else f"accredit-{parts.port or 80}"

    def read(self, request: Request) -> str:
        return request.cookies.get(self.name, "")

    def put(self, answer: Response, secret: str) -> None:
        """It ends with the browser's own session; the server ends it earlier."""
        answer.set_cookie(self.name, secret, path="/", httponly=True, samesite="lax", secure=self._secure)

    def remove(self, answer: Response) -> None:
        answer.delete_cookie(self.name, path="/", httponly=True, samesite="lax", secure=self._secure)


def is_fragment(request: Request) -> bool:
    """Whether a part of the page is asked for, by a page that has the rest."""
    return request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers


def is_poll(request: Request) -> bool:
    """Whether nobody did anything: a page keeps itself fresh. Such a request keeps no session alive."""
    return is_fragment(request) and request.headers.get("hx-source", "").endswith("#live")


class ConsoleEntry:
    """ASGI middleware of the console."""

    def __init__(
        self, app: ASGIApp, *, sessions: Sessions, cookie: SessionCookie, refused: RefusalSink, failed: Failure
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._cookie = cookie
        self._refused = refused
        self._failed = failed

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = _with_headers(send, public=scope["path"].startswith(STATIC))
        request = Request(scope, receive)
        try:
            answer = await self._admit(request)
        except _GoneError:
            return
        except AccreditError as error:
            answer = self._failed(request, error)
        if answer is not None:
            await answer(scope, receive, answered)
        else:
            await self._app(scope, receive, answered)

    async def _admit(self, request: Request) -> Response | None:
        """None for whoever may go on to the routes."""
        path, changing = request.url.path, request.method not in {"GET", "HEAD"}
        if path.startswith(STATIC):
            return None
        if changing:
            _require_own_page(request)
        secret = self._cookie.read(request)
        if path == LOGIN:
            request.state.form = await _form(request, _MAX_OPEN_BODY) if changing else {}
            request.state.operator = self._known(secret)
            return None
        try:
            operator = self._sessions.authenticate_session(secret, touch=not is_poll(request))
        except UnauthenticatedError as error:
            if secret:
                source = request.client.host if request.client else ""
                self._refused(error.code, path=path, source=source, cause=error.cause)
            return self._to_login(request)
        visit = Visit(operator, secret, await _form(request, _MAX_BODY) if changing else {})
        if changing:
            if not hmac.compare_digest(visit.form.pop("csrf", "").encode(), visit.csrf.encode()):
                raise ForbiddenError(Code.NOT_AUTHORISED, "this form is not of your present session", hint=_AGAIN)
            if "admin" not in operator.scopes:
                raise ForbiddenError(Code.NOT_AUTHORISED, "this session may read and not change")
        request.state.visit = visit
        return None

    def _known(self, secret: str) -> Operator | None:
        try:
            return self._sessions.authenticate_session(secret, touch=False) if secret else None
        except UnauthenticatedError:
            return None

    def _to_login(self, request: Request) -> Response:
        if is_fragment(request):
            return Response(status_code=401, headers={"hx-refresh": "true"})
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        onwards = f"{LOGIN}?next={quote(back, safe='')}" if request.method == "GET" else LOGIN
        answer = RedirectResponse(onwards, 303)
        self._cookie.remove(answer)
        return answer


class _GoneError(Exception):
    pass


def _require_own_page(request: Request) -> None:
    """A change comes from a page of this very origin, as the browser itself says.

    Raises:
        ForbiddenError: it comes from elsewhere, or from something that does not say.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = urlsplit(origin).netloc == request.headers.get("host") if origin else False
    if site != "same-origin" and (site is not None or not own):
        raise ForbiddenError(Code.NOT_AUTHORISED, "this form was not sent by a page of this console", hint=_AGAIN)
    if origin and not own:
        raise ForbiddenError(Code.NOT_AUTHORISED, "this form was not sent by a page of this console", hint=_AGAIN)


async def _form(request: Request, limit: int) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(request, limit)
    if body and kind != "application/x-www-form-urlencoded":
        raise InvalidInputError(Code.BODY_MALFORMED, "a form here is `application/x-www-form-urlencoded`")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, "the form cannot be read") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidInputError(Code.BODY_DUPLICATE_KEYS, "a field of the form is repeated")
    # browsers end lines with CR LF, whatever was typed
    return {name: value.replace("\r\n", "\n") for name, value in form.items()}


async def _body(request: Request, limit: int) -> bytes:
    found = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD_S):
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise _GoneError
                found += message.get("body", b"")
                if len(found) > limit:
                    raise InvalidInputError(Code.BODY_OVERSIZED, f"a form here has at most {limit} bytes")
                if not message.get("more_body", False):
                    return bytes(found)
    except TimeoutError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, f"the form did not arrive within {_UPLOAD_S} s") from error


def _with_headers(send: _Send, *, public: bool) -> _Send:
    async def answered(message: _Message) -> None:
        if message["type"] == "http.response.start":
            given = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _NAMES]
            if not (public and any(name.lower() == b"cache-control" for name, _ in given)):
                given = [(name, value) for name, value in given if name.lower() != b"cache-control"]
                given += [(b"cache-control", b"no-store"), (b"vary", b"cookie, hx-request, hx-target")]
            message["headers"] = [*given, *_HEADERS]
        await send(message)

    return answered
