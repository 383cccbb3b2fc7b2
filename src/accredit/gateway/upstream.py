"""The way to a tool server: one pooled client, one request per call, nothing sent that was not re-checked.

INVARIANT: the first statement of writing a request is the re-check of what admitted it (DESIGN §3.12). aiohttp writes
the body in a task of its own, after connecting, which may take a while; and it keeps the headers back until the first
byte of the body. So a call revoked in between leaves nothing on the wire, the brokered credential included.

A request is written a second time in two cases, after the same re-check. It went out with a lent token, and the answer
is a 401 whose challenge says `invalid_token` (RFC 6750 §3.1): then it was not applied (RFC 9110 §15.5.2), and is
repeated once with another token. Any other 401 may mean anything, and is the end of the call. Or it is a GET, and the
connection that was kept open turned out to be closed (§9.2.2): the client below repeats it by itself. It would repeat a
PUT and a DELETE as well, but what an API makes of the second one nobody decided.

INVARIANT: nothing comes out of an exchange, an answer or the cause of a failure, with the credential that went in.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.payload import Payload
from yarl import URL

from accredit.gateway.sse import EventReader
from accredit.identity.scrubbing import without_credential
from accredit.identity.upstreams import UpstreamLease
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError

__all__ = ["Exchange", "HttpAnswer", "Upstream", "scrubbed"]

# Shorter than the 5 s after which common servers drop an idle connection, so that we seldom write into a closed one.
_KEEP_ALIVE_S = 4.0
_PASSED_ON = ("etag", "last-modified", "retry-after", "content-language")
_PASSED_ON_OF_MODELS = ("request-id", "x-request-id", "retry-after", "retry-after-ms", "x-should-retry")
_RATE_OF_MODELS = re.compile(r"(?:x|anthropic)-ratelimit-[a-z]{1,16}(?:-[a-z]{1,16}){0,4}")
_INVALID_TOKEN = re.compile(r"""\bBearer\b.*\berror\s*=\s*"?invalid_token\b""", re.IGNORECASE)
_MAX_CHALLENGE = 2048
_CLEANED_AT_ONCE = 256 * 1024
_MOST_RATES = 24
_UNREACHABLE_STATUS = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What an HTTP API answered."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    """Those that an agent may be told."""
    body: bytes


class _Body(Payload):
    """Bytes that know the exchange they belong to."""

    def __init__(self, value: bytes, exchange: Exchange) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)
        self.exchange = exchange

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        text: str = self._value.decode(encoding, errors)
        return text

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._value)


class _Request(aiohttp.ClientRequest):
    """Writes nothing before the exchange has agreed."""

    async def write_bytes(self, writer: AbstractStreamWriter, conn: Any, content_length: int | None = None) -> None:
        exchange = self.body.exchange  # type: ignore[union-attr]  # every body of this session is a _Body
        try:
            exchange.before_write()
        except Exception as error:  # noqa: BLE001 - whatever it is, the call must not go out and the reader must learn it
            exchange.refusal = error
            conn.protocol.set_exception(aiohttp.ClientConnectionError("not sent"))
            return
        # nothing yields between here and the transport's write
        await super().write_bytes(writer, conn, content_length)


class Exchange:
    """One request to a tool server and what came back of it, as JSON texts in order."""

    __slots__ = (
        "_answers",
        "_body",
        "_credentials",
        "_done",
        "_events",
        "_headers",
        "_limit",
        "_method",
        "_recheck",
        "_response",
        "_session",
        "_url",
        "_written_once",
        "broke_off",
        "received",
        "refusal",
        "sent",
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
        max_bytes: int,
        method: str = "POST",
    ) -> None:
        self._session = session
        self._method = method
        self._url = url
        self._headers = headers
        self._body = body
        self._credentials: tuple[Mapping[str, str], ...] = (credential,)
        self._recheck = recheck
        self._limit = max_bytes
        self._response: aiohttp.ClientResponse | None = None
        self._events: EventReader | None = None
        self._answers: deque[bytes] = deque()
        self._done = False
        self._written_once = False
        self.received = 0
        """Bytes of the answer so far."""
        self.sent = False
        """Whether the request may have left this process."""
        self.refusal: Exception | None = None
        self.broke_off = False
        """Whether the connection ended before the answer did."""

    def before_write(self) -> None:
        """Re-check, then note that from here on the request counts as sent.

        Raises:
            UnavailableError: it was written on a connection that broke: nobody knows what became of it.
            AccreditError: whatever the re-check raised.
        """
        if self._written_once and self._method != "GET":
            raise UnavailableError(
                Code.UPSTREAM_UNREACHABLE, Code.UPSTREAM_UNREACHABLE.meaning, cause="the connection broke once written"
            )
        self._recheck()
        self.sent = self._written_once = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing a connection whose answer is not complete is how a call is cancelled upstream; a complete one has
        # gone back to the pool by itself.
        if self._response is not None:
            self._response.close()

    async def next(self) -> bytes | None:
        """The next JSON text of the answer, `b""` for a sign of life, None at the end.

        Raises:
            UnavailableError: unreachable, a redirect, too large, or not what the protocol requires.
            AccreditError: whatever the re-check raised; then nothing was sent.
        """
        try:
            response = self._response or await self._begin()
            while not self._answers and not self._done:
                await self._read(response.content)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise self._failure(error) from error
        return await self._told(self._answers.popleft()) if self._answers else None

    async def _told(self, text: bytes) -> bytes:
        """A JSON text without the credential; a large one keeps nobody else waiting."""
        large = len(text) > _CLEANED_AT_ONCE and any(self._credentials)
        return await asyncio.to_thread(self._scrubbed, text) if large else self._scrubbed(text)

    def _scrubbed(self, text: bytes) -> bytes:
        for credential in self._credentials:
            text = scrubbed(credential, text)
        return text

    @property
    def status(self) -> int | None:
        """Of the answer, once its head is there."""
        return self._response.status if self._response is not None else None

    @property
    def events(self) -> EventReader | None:
        """Of an answer that is a stream of events."""
        return self._events

    def header(self, name: str) -> str | None:
        """One of the answer, once its head is there."""
        return self._response.headers.get(name) if self._response is not None else None

    def _failure(self, error: Exception) -> AccreditError:
        if self.refusal is not None:
            if isinstance(self.refusal, AccreditError):
                return self.refusal
            return UnavailableError(Code.INTERNAL, Code.INTERNAL.meaning, cause=repr(self.refusal))
        # the parser's error quotes a malformed answer: servers echo headers, and choose what a terminal shows
        quoted = f"{type(error).__name__}: {error}".encode(errors="backslashreplace")
        cause = self.clean(quoted).decode().encode("unicode_escape").decode("ascii")[:500]
        if self._response is not None:
            self.broke_off = True
            return UnavailableError(Code.UPSTREAM_INVALID, "the tool server's answer broke off", cause=cause)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return UnavailableError(Code.CONNECT_TIMEOUT, Code.CONNECT_TIMEOUT.meaning, cause=cause)
        if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError | ValueError):
            return UnavailableError(Code.UPSTREAM_INVALID, "the tool server does not answer in HTTP", cause=cause)
        return UnavailableError(Code.UPSTREAM_UNREACHABLE, Code.UPSTREAM_UNREACHABLE.meaning, cause=cause)

    async def whole(self) -> HttpAnswer:
        """The answer of an HTTP API, whatever it says, once all of it is there.

        Raises:
            UnavailableError: unreachable, a redirect, too large, or not HTTP.
            AccreditError: whatever the re-check raised; then nothing was sent.
        """
        try:
            response = await self._asked()
            chunks = []
            while chunk := await response.content.readany():
                self._count(chunk)
                chunks.append(chunk)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise self._failure(error) from error
        if response.status in {401, 407}:
            raise self._unexpected(401)
        body, kind = b"".join(chunks), response.headers.get("content-type", "")
        told = ((name, response.headers[name]) for name in _PASSED_ON if name in response.headers)
        scrubbed = await (self._told(body) if "json" in kind else self.cleaned(body))
        return HttpAnswer(
            response.status,
            self._without(kind),
            tuple((name, self._without(value)) for name, value in told),
            scrubbed,
        )

    async def begun(self) -> HttpAnswer:
        """The answer of a provider of models, once its head is there: its body is still to be read piece by piece.

        Raises as `whole`.
        """
        try:
            response = await self._asked()
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise self._failure(error) from error
        if response.status in {401, 407}:
            raise self._unexpected(401)
        told = [name for name in _PASSED_ON_OF_MODELS if name in response.headers]
        # a name can tell as much as a value
        told += [
            name
            for name in map(str.lower, response.headers)
            if _RATE_OF_MODELS.fullmatch(name) and self._without(name) == name
        ][:_MOST_RATES]
        return HttpAnswer(
            response.status,
            self._without(response.headers.get("content-type", "")),
            tuple((name, self._without(response.headers[name])) for name in told),
            b"",
        )

    async def piece(self) -> bytes:
        """The next piece, empty at the end. As it came: whoever passes it on makes it `clean` where it cannot be cut.

        Raises as `whole`.
        """
        if self._response is None:
            return b""
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise self._failure(error) from error
        self._count(chunk)
        return chunk

    def clean(self, text: bytes) -> bytes:
        """A text without the credential that went in."""
        for credential in self._credentials:
            text = without_credential(credential, text)
        return text

    async def cleaned(self, text: bytes) -> bytes:
        """The same for a whole body: a large one keeps nobody else waiting."""
        return await asyncio.to_thread(self.clean, text) if len(text) > _CLEANED_AT_ONCE else self.clean(text)

    def _without(self, value: str) -> str:
        return self.clean(value.encode("latin-1", "replace")).decode("latin-1")

    async def _begin(self) -> aiohttp.ClientResponse:
        response = await self._asked()
        kind = response.content_type
        if kind == "text/event-stream" and response.status == 200:
            self._events = EventReader()
        elif kind != "application/json":
            raise self._unexpected(response.status)
        return response

    async def _written(self) -> aiohttp.ClientResponse:
        self._written_once = False
        self._response = await self._session.request(
            self._method,
            URL(self._url, encoded=True),
            data=_Body(self._body, self),
            headers=self._headers,
            allow_redirects=False,
            skip_auto_headers=() if self._body else ("Content-Type",),
        )
        return self._response

    async def _asked(self) -> aiohttp.ClientResponse:
        response = await self._written()
        if response.status == 401 and isinstance(lease := self._credentials[-1], UpstreamLease):
            told = ", ".join(response.headers.getall("www-authenticate", []))[:_MAX_CHALLENGE]
            if _INVALID_TOKEN.search(told) and (other := await lease.renewed()) is not None:
                response.close()
                self._response = None
                self._credentials = (*self._credentials, other)  # of what comes back now either may be part
                self._headers = {**self._headers, **other}
                response = await self._written()
        if 300 <= response.status < 400 and response.status != 304:
            raise UnavailableError(Code.UPSTREAM_REDIRECT, Code.UPSTREAM_REDIRECT.meaning)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server compressed its answer without being asked")
        if (response.content_length or 0) > self._limit:
            raise self._oversized()
        return response

    @staticmethod
    def _unexpected(status: int) -> UnavailableError:
        if status in {401, 403}:
            return UnavailableError(Code.UPSTREAM_INVALID, "the tool server refused the gateway's own credential")
        if status in _UNREACHABLE_STATUS:
            return UnavailableError(Code.UPSTREAM_UNREACHABLE, f"the tool server is not available (HTTP {status})")
        return UnavailableError(
            Code.UPSTREAM_INVALID, f"the tool server answered HTTP {status} without a JSON-RPC message"
        )

    def _oversized(self) -> UnavailableError:
        return UnavailableError(
            Code.UPSTREAM_OVERSIZED, f"the answer is larger than {self._limit} bytes", hint="see `max_result_bytes`"
        )

    async def _read(self, content: aiohttp.StreamReader) -> None:
        if self._events is not None:
            chunk = await content.readany()
            self._count(chunk)
            self._answers.extend(self._events.feed(chunk))
            self._done = not chunk
            return
        chunks = []
        while chunk := await content.readany():
            self._count(chunk)
            chunks.append(chunk)
        self._answers.append(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        self._done = True

    def _count(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.received > self._limit:
            raise self._oversized()


def scrubbed(credential: Mapping[str, str], text: bytes) -> bytes:
    """A JSON text of a tool server without the credential that it was given.

    Raises:
        UnavailableError: it nests more deeply than JSON is read here.
    """
    if not credential:
        return text
    if b"\\u" in text or b"\\/" in text:  # JSON can escape any letter: spelled anew, each has one spelling
        try:
            text = orjson.dumps(orjson.loads(text))
        except orjson.JSONDecodeError:
            pass  # whoever reads it refuses it whole
        except orjson.JSONEncodeError as error:
            raise UnavailableError(
                Code.UPSTREAM_INVALID, "the tool server answered with JSON that nests too deeply"
            ) from error
    return without_credential(credential, text)


class Upstream:
    """The client of all tool servers of one process. Connections are kept per server; nothing else is shared."""

    def __init__(self, *, max_result_bytes: int = 16 * 2**20, connect_timeout_s: float = 5.0) -> None:
        self.max_result_bytes = max_result_bytes
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            auto_decompress=False,
            trust_env=False,
        )

    def exchange(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
        method: str = "POST",
    ) -> Exchange:
        """A request to be made when its answer is first asked for; use it as an async context manager.

        `credential` names which of the headers must not come back.
        """
        if self._session is None:
            self._session = self._open()
        return Exchange(
            self._session,
            url,
            headers,
            body,
            credential=credential,
            recheck=recheck,
            max_bytes=self.max_result_bytes,
            method=method,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
            await asyncio.sleep(0)  # lets transports finish closing before the loop may end
