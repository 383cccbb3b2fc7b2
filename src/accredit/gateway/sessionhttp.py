"""MCP 2025-11-25, 2025-06-18 and 2025-03-26 over HTTP: sessions, begun by `initialize`, that many calls share.

One session for each server and credential, whatever agents use it: what a server keeps of a session it keeps of us.
Each request has an answer of its own, on the connection it was made on, so what is said there was said to it.

A session that the server ended (404) is begun anew. The request that met the 404 is sent again, once: the standard has
a server refuse it before it looks at it (2025-11-25, Streamable HTTP, "Session Management"). Nothing else is repeated:
an answer that broke off is taken up again where its server says that it can be, by GET and the id of the last event.

Beside the calls each session has one stream that is opened by GET, where the server offers it. There it tells that its
lists or resources changed. What it asks there bears no call's id: it is taken to be about the one call in the session,
if that is one and was the only one for a moment, and else goes to no client.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from accredit.gateway.elicitation import ELICITATION, as_capability
from accredit.gateway.relay import (
    ABOUT_US,
    ALIVE,
    LIST_NOTICES,
    Answer,
    ServerAsk,
    ServerNotice,
    answer_of,
    encode_message,
    read_server_message,
    rpc_request,
    session_headers,
)
from accredit.gateway.resourcewatch import Bells, SubscribedWatch
from accredit.gateway.toolservers import (
    Allowance,
    Asks,
    CallsInside,
    ListNoticed,
    ResourceWatch,
    ServerExchange,
    ToolRequest,
    always,
    negotiated,
    nobody_listens,
    reply_to,
    shared,
)
from accredit.gateway.upstream import Exchange, Upstream
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.model import SESSION_REVISIONS, ToolServer

__all__ = ["SessionHttp", "initialize_params"]

_log = logging.getLogger("accredit.gateway")

_BEGIN_S: Final = 10.0
_ASIDE_S: Final = 5.0
_END_S: Final = 2.0
_MAX_SESSIONS: Final = 256
_MAX_ASIDE: Final = 256
_STRAY_AT_ONCE: Final = 1_000
_STRAY_PER_S: Final = 100.0
_MOST_RESUMED: Final = 5
"""So often in a row an answer is taken up again that brings nothing new."""
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 60.0
_LONGEST_RETRY_S: Final = 10.0
_MOST_ASIDE: Final = 8
_LAST_EVENT: Final = "Last-Event-ID"
_SESSION_ID = re.compile(r"[\x21-\x7e]{1,1024}")
_NOT_FOUND: Final = 404
_BAD_REQUEST: Final = 400


def initialize_params(server: ToolServer) -> dict[str, Any]:
    """What `initialize` says: the newest revision with sessions, and that we ask users where that is registered."""
    capabilities = as_capability(server.elicitation)
    return {"protocolVersion": SESSION_REVISIONS[0], "capabilities": capabilities, "clientInfo": ABOUT_US}


@dataclass(frozen=True, slots=True, eq=False)
class _Session:
    """One that is open; told apart by being another object."""

    server: ToolServer
    id: str | None
    """None: the server keeps none."""
    revision: str
    credential: Mapping[str, str]
    calls: CallsInside[_Exchange] = field(repr=False)
    bells: Bells = field(default_factory=Bells, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return session_headers(self.id, self.revision, self.credential)


_Key = tuple[ServerName, tuple[object, ...], tuple[tuple[str, str], ...]]


class SessionHttp:
    """Implements `ToolServerProtocol`."""

    def __init__(
        self, upstream: Upstream, *, list_noticed: ListNoticed = nobody_listens, first_wait_s: float = _FIRST_WAIT_S
    ) -> None:
        """`first_wait_s` is how long a stream that broke off is left alone, if its server does not say."""
        self._upstream = upstream
        self._list_noticed = list_noticed
        self.first_wait_s = first_wait_s
        self._listening: dict[_Session, asyncio.Task[None]] = {}
        self._ids = itertools.count(1)
        self._sessions: OrderedDict[_Key, asyncio.Task[_Session]] = OrderedDict()
        self._aside: set[asyncio.Task[None]] = set()

    def exchange(
        self,
        server: ToolServer,
        request: ToolRequest,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
    ) -> ServerExchange:
        """As of the port."""
        return _Exchange(self, server, request, dict(credential), recheck, next(self._ids))

    def watch(
        self, server: ToolServer, uri: str, *, credential: Mapping[str, str], recheck: Callable[[], None]
    ) -> ResourceWatch:
        """As of the port."""

        def exchange(request: ToolRequest) -> ServerExchange:
            return self.exchange(server, request, credential=credential, recheck=recheck)

        async def bells() -> Bells:
            return (await self.session(server, dict(credential))).bells

        return SubscribedWatch(uri, bells, exchange)

    def listen(self, server: ToolServer, *, credential: Mapping[str, str]) -> None:
        """Nothing to do: whoever calls in a session hears what is told in it."""

    async def revision(self, server: ToolServer, *, credential: Mapping[str, str]) -> str:
        """As of the port."""
        return (await self.session(server, dict(credential))).revision

    def forget(self, server: ServerName, *, unless: tuple[object, ...] | None = None) -> None:
        """As of the port; a call in flight has a connection of its own, which a revocation ends."""
        for key in [each for each in self._sessions if each[0] == server and each[1] != unless]:
            self._drop(key)

    async def aclose(self) -> None:
        """End every session."""
        for key in list(self._sessions):
            self._drop(key)
        for session in list(self._listening):
            self._deafen(session)
        aside = list(self._aside)
        if aside:
            await asyncio.wait(aside, timeout=_END_S)
        for task in aside:
            task.cancel()
        await asyncio.gather(*aside, return_exceptions=True)

    # -- sessions

    async def session(
        self, server: ToolServer, credential: Mapping[str, str], *, ended: _Session | None = None
    ) -> _Session:
        """The one to use; not that which is known to be over."""
        key = (server.name, server.place, tuple(sorted(credential.items())))
        task = self._sessions.get(key)
        if task is not None and task.done() and (_opened(task) is None or _opened(task) is ended):
            del self._sessions[key]
            if ended is not None:
                self._deafen(ended)
            task = None
        if task is None:
            task = asyncio.get_running_loop().create_task(self._begin(server, credential))
            self._sessions[key] = task
            while len(self._sessions) > _MAX_SESSIONS:
                self._drop(next(iter(self._sessions)))
        self._sessions.move_to_end(key)
        return await shared(task)

    def request(self, session: _Session, body: bytes, recheck: Callable[[], None]) -> Exchange:
        """One request of a session, to be made when its answer is asked for."""
        return self._upstream.exchange(
            session.server.url, session.headers, body, credential=session.credential, recheck=recheck
        )

    def outdated(self, session: _Session) -> None:
        """Begin another one for the next request, without a word to the server."""
        for key, task in list(self._sessions.items()):
            if task.done() and _opened(task) is session:
                del self._sessions[key]
        self._deafen(session)

    def _drop(self, key: _Key) -> None:
        task = self._sessions.pop(key)
        if not task.done():
            task.cancel()
        elif (session := _opened(task)) is not None:
            self._deafen(session)
            if session.id is not None:
                self._later(self._end(session), _END_S)

    async def _begin(self, server: ToolServer, credential: Mapping[str, str]) -> _Session:
        try:
            async with asyncio.timeout(_BEGIN_S):
                return await self._initialize(server, credential)
        except TimeoutError as error:
            raise UnavailableError(
                Code.UPSTREAM_UNREACHABLE, f"the tool server did not begin a session within {_BEGIN_S:g} s"
            ) from error

    async def _initialize(self, server: ToolServer, credential: Mapping[str, str]) -> _Session:
        rpc_id = next(self._ids)
        body = rpc_request("initialize", initialize_params(server), rpc_id=rpc_id, sessions=True)
        headers = session_headers(None, None, credential)
        async with self._upstream.exchange(
            server.url, headers, body, credential=credential, recheck=always
        ) as exchange:
            result = await _result_of(exchange, rpc_id)
            session_id = exchange.header("mcp-session-id")
        if session_id is not None and _SESSION_ID.fullmatch(session_id) is None:
            raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server gave its session a malformed id")
        inside: CallsInside[_Exchange] = CallsInside(asyncio.get_running_loop().time)
        session = _Session(server, session_id, negotiated(result, server.revision), credential, inside)
        await self.notify(session, "notifications/initialized", {})
        return session

    async def notify(self, session: _Session, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification."""
        await self.post(session, {"jsonrpc": "2.0", "method": method, **({"params": dict(params)} if params else {})})

    async def post(self, session: _Session, message: Mapping[str, Any], recheck: Callable[[], None] = always) -> None:
        """Send a message that has no answer of its own."""
        async with self._upstream.exchange(
            session.server.url,
            session.headers,
            encode_message(message),
            credential=session.credential,
            recheck=recheck,
        ) as exchange:
            answer = await exchange.whole()
        if not 200 <= answer.status < 300:
            raise UnavailableError(
                Code.UPSTREAM_INVALID, f"the tool server answered HTTP {answer.status} to a message without an answer"
            )

    async def _end(self, session: _Session) -> None:
        async with self._upstream.exchange(
            session.server.url,
            session.headers,
            b"",
            credential=session.credential,
            recheck=always,
            method="DELETE",
        ) as exchange:
            await exchange.whole()  # 405 says that it keeps sessions for as long as it likes

    # -- what a server says unasked

    def stream(self, session: _Session, last: str | None, recheck: Callable[[], None]) -> Exchange:
        """A stream by GET: what the server says unasked, or after `last` what it said before."""
        headers = {**session.headers, "Accept": "text/event-stream"} | ({} if last is None else {_LAST_EVENT: last})
        return self._upstream.exchange(
            session.server.url, headers, b"", credential=session.credential, recheck=recheck, method="GET"
        )

    @property
    def max_bytes(self) -> int:
        """Of an answer, in however many pieces."""
        return self._upstream.max_result_bytes

    def hear(self, session: _Session) -> None:
        """Listen in a session from now on."""
        if session not in self._listening:
            self._listening[session] = asyncio.get_running_loop().create_task(self._listen(session))

    async def _listen(self, session: _Session) -> None:
        """Hear what a server says unasked, for as long as the session lasts and it offers that."""
        loop = asyncio.get_running_loop()
        allowance = Allowance(_STRAY_AT_ONCE, _STRAY_PER_S, loop.time())
        last: str | None = None
        heard, wait_s = False, self.first_wait_s
        while True:
            begun = loop.time()
            async with self.stream(session, last, always) as exchange:
                try:
                    while (text := await exchange.next()) is not None and exchange.events is not None:
                        if not allowance.take(loop.time()):
                            _log.warning("tool server %s says more unasked than is listened to", session.server.name)
                            return
                        if text:
                            self._unasked(session, read_server_message(text))
                except AccreditError as error:
                    _log.info("tool server %s: its stream ended: %s", session.server.name, error.message)
                events = exchange.events
                if events is None and exchange.status is not None:  # it has none to offer, or no such session any more
                    if exchange.status == _NOT_FOUND and heard:
                        self.outdated(session)
                    return
            if events is not None:
                heard, last = True, events.last_id or last
            retry_s = events.retry_ms / 1000 if events is not None and events.retry_ms is not None else 0.0
            lasted = loop.time() - begun > _LONGEST_WAIT_S
            wait_s = self.first_wait_s if lasted else min(wait_s * 2, _LONGEST_WAIT_S)
            await asyncio.sleep(min(max(wait_s, retry_s), _LONGEST_WAIT_S))

    def _unasked(self, session: _Session, message: dict[str, Any]) -> None:
        if "method" not in message:
            return  # the answers to what we ask come on connections of their own
        said = answer_of(message, rpc_id=0, sessions=True)
        if said.ask is not None:
            about = session.calls.only_one() if said.ask.method == ELICITATION else None
            if about is not None and about.may_be_asked and about.ask_aside(said.ask):
                return
            unclear = said.ask.method == ELICITATION and about is None and bool(session.server.elicitation)
            self._later(self.post(session, reply_to(said.ask, unclear=unclear)), _ASIDE_S)
        elif said.notice is not None:
            self.noticed(session, said.notice)

    def noticed(self, session: _Session, notice: ServerNotice) -> None:
        """Pass on what a server tells of its lists and resources."""
        if notice.method in LIST_NOTICES:
            self._list_noticed(session.server.name)
        else:
            session.bells.ring(notice)

    def _deafen(self, session: _Session) -> None:
        """The session is over: nothing more is heard in it."""
        listening = self._listening.pop(session, None)
        if listening is not None and listening is not asyncio.current_task():
            listening.cancel()
        session.bells.lost()

    # -- beside the calls

    def answer_ask(self, session: _Session, ask: ServerAsk) -> None:
        """Answer a server's request, without keeping the call waiting that it came with."""
        self._later(self.post(session, reply_to(ask)), _ASIDE_S)

    def cancel(self, session: _Session, rpc_id: int) -> None:
        """Tell the server that nobody waits for an answer any more."""
        params = {"requestId": rpc_id, "reason": "the caller does not wait any more"}
        self._later(self.notify(session, "notifications/cancelled", params), _ASIDE_S)

    def _later(self, work: Coroutine[Any, Any, None], patience_s: float) -> None:
        async def bounded() -> None:
            try:
                async with asyncio.timeout(patience_s):
                    await work
            except (AccreditError, TimeoutError) as error:
                _log.info("a message beside a call to a tool server was not taken: %s", type(error).__name__)

        if len(self._aside) >= _MAX_ASIDE:  # whoever makes us send so many is not owed an answer to each
            work.close()
            return
        task = asyncio.get_running_loop().create_task(bounded())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)


class _Exchange:
    """One request of a session."""

    def __init__(
        self,
        sessions: SessionHttp,
        server: ToolServer,
        request: ToolRequest,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
        rpc_id: int,
    ) -> None:
        self._sessions = sessions
        self._server = server
        self._request = request
        self._credential = credential
        self._recheck = recheck
        self._rpc_id = rpc_id
        self._session: _Session | None = None
        self._inner: Exchange | None = None
        self._asks = Asks()
        self._repeated = False
        self._over = False
        self._left = False
        self._earlier = 0
        self._resumed = False
        self._last: str | None = None
        self._retry_ms: int | None = None
        self._tries = 0
        self._aside: deque[ServerAsk] = deque()
        self._rung = asyncio.Event()
        self._reading: asyncio.Task[bytes | None] | None = None

    @property
    def received(self) -> int:
        return self._earlier + (self._inner.received if self._inner is not None else 0)

    @property
    def sent(self) -> bool:
        return self._resumed or (self._inner is not None and self._inner.sent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inner, session = self._inner, self._session
        if inner is None or session is None or self._left:
            return
        self._left = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        session.calls.remove(self._rpc_id, cancelled=not self._over)
        await inner.__aexit__(kind, error, trace)
        if self.sent and not self._over:  # leaving a connection is no cancellation in this era
            self._sessions.cancel(session, self._rpc_id)

    async def next(self) -> Answer | None:
        inner, session = await self._begun()
        while True:
            try:
                text = await self._next_of(inner)
            except AccreditError:
                if self._ended_session(inner, session):
                    inner, session = await self._again(session)
                elif (inner.broke_off or inner.status is None) and self._resumable(inner):
                    inner = await self._resume(inner, session)
                else:
                    raise
                continue
            if self._aside:  # what was read beside it waits
                ask = self._aside.popleft()
                self._asks.take(ask)
                return Answer(ask=ask)
            if self._ended_session(inner, session):
                inner, session = await self._again(session)
                continue
            if inner.status == _BAD_REQUEST:
                self._sessions.outdated(session)  # many servers say so of a session that they have lost
            if text is None and self._resumable(inner):
                inner = await self._resume(inner, session)
                continue
            if text is None:
                self._over = True
                return None
            if self._resumed and inner.events is None:
                raise UnavailableError(
                    Code.UPSTREAM_INVALID, "the tool server's answer broke off, and is not taken up again"
                )
            if not text:
                return ALIVE
            answer = answer_of(read_server_message(text), rpc_id=self._rpc_id, sessions=True)
            if answer.ask is not None:
                self._asks.take(answer.ask)
                if answer.ask.method == ELICITATION and self._request.may_be_asked:
                    return answer
                self._sessions.answer_ask(session, answer.ask)
            elif answer.notice is not None:
                self._sessions.noticed(session, answer.notice)
            elif answer != ALIVE:
                self._over = answer.final
                return answer

    async def _begun(self) -> tuple[Exchange, _Session]:
        if self._inner is None or self._session is None:
            session = await self._sessions.session(self._server, self._credential)
            return self._send(session)
        return self._inner, self._session

    def _send(self, session: _Session) -> tuple[Exchange, _Session]:
        request = self._request
        body = rpc_request(
            request.method,
            request.params,
            rpc_id=self._rpc_id,
            sessions=True,
            progress=request.progress,
            traceparent=request.traceparent,
        )
        self._session = session
        session.calls.add(self._rpc_id, self)
        if not request.method.endswith("/list"):  # a server that is only looked at need not be registered
            self._sessions.hear(session)
        self._inner = self._sessions.request(session, body, self._recheck)
        return self._inner, session

    def _ended_session(self, inner: Exchange, session: _Session) -> bool:
        """Whether the server refused the request for its session alone."""
        return inner.status == _NOT_FOUND and session.id is not None and not self._repeated

    @property
    def may_be_asked(self) -> bool:
        return self._request.may_be_asked

    def ask_aside(self, ask: ServerAsk) -> bool:
        """Take a question that came on the session's own stream; False if there is no room."""
        if len(self._aside) >= _MOST_ASIDE:
            return False
        self._aside.append(ask)
        self._rung.set()
        return True

    async def _next_of(self, inner: Exchange) -> bytes | None:
        """The next text, unless a question came aside: then what is being read is kept for the next time."""
        if not self.may_be_asked:
            return await inner.next()
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(inner.next())
        rung = asyncio.ensure_future(self._rung.wait())
        try:
            await asyncio.wait({self._reading, rung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rung.cancel()
        self._rung.clear()
        if self._aside:
            return b""
        reading, self._reading = self._reading, None
        return reading.result()

    def _resumable(self, inner: Exchange) -> bool:
        """Whether there is an answer to be taken up again, as far as its server has said."""
        if inner.events is not None and inner.events.last_id is not None:
            if inner.events.last_id != self._last:
                self._tries = 0
            self._last, self._retry_ms = inner.events.last_id, inner.events.retry_ms
        answered = inner.status is not None and inner.events is None
        return self._last is not None and not answered and inner.refusal is None

    async def _resume(self, inner: Exchange, session: _Session) -> Exchange:
        """Take up an answer that broke off (2025-11-25, Streamable HTTP, "Resumability and Redelivery").

        INVARIANT: the request itself is never sent again.

        Raises:
            UnavailableError: `upstream_invalid`: it breaks off again and again, or is larger than an answer may be.
        """
        self._tries += 1
        self._resumed = self._repeated = True
        self._earlier += inner.received
        self._inner = self._sessions.stream(session, self._last, self._recheck)
        await inner.__aexit__(None, None, None)
        if self._tries > _MOST_RESUMED or self._earlier > self._sessions.max_bytes:
            raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's answer broke off again and again")
        wait_s = self._sessions.first_wait_s if self._retry_ms is None else self._retry_ms / 1000
        await asyncio.sleep(min(wait_s, _LONGEST_RETRY_S))
        return self._inner

    async def _again(self, ended: _Session) -> tuple[Exchange, _Session]:
        self._repeated = True
        ended.calls.remove(self._rpc_id, cancelled=False)
        if self._inner is not None:
            await self._inner.__aexit__(None, None, None)
        self._inner = None
        return self._send(await self._sessions.session(self._server, self._credential, ended=ended))

    async def respond(self, ask: ServerAsk, said: Mapping[str, Any], recheck: Callable[[], None]) -> None:
        """As of the port."""
        _, session = await self._begun()
        await self._sessions.post(session, {"jsonrpc": "2.0", "id": ask.id, **said}, recheck)


async def _result_of(exchange: Exchange, rpc_id: int) -> dict[str, Any]:
    """Of `initialize`, while which a server may ask nothing but pings, and nothing is answered yet."""
    while (text := await exchange.next()) is not None:
        answer = answer_of(read_server_message(text), rpc_id=rpc_id, sessions=True) if text else ALIVE
        if answer.error is not None:
            raise UnavailableError(
                Code.UPSTREAM_INVALID, f"the tool server answered `initialize` with error {answer.error['code']}"
            )
        if answer.result is not None:
            return answer.result
    raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server did not answer `initialize`")


def _opened(task: asyncio.Task[_Session]) -> _Session | None:
    """What a task that is done has opened, if it has."""
    return None if task.cancelled() or task.exception() is not None else task.result()
