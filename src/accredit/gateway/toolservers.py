"""How a request reaches a tool server and its answers come back: one port, and who serves which server.

Three implementations pass the one conformance suite (`tests/gateway/test_tool_server_protocols.py`): HTTP without
sessions (`statelesshttp.py`), HTTP with them (`sessionhttp.py`), and programs that are started here (`stdio.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from accredit.gateway.elicitation import ELICITATION
from accredit.gateway.jsonrpc import RpcNumber
from accredit.gateway.relay import Answer, ServerAsk
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.model import LATEST_REVISION, SESSION_REVISIONS, ToolServer

__all__ = [
    "DISCOVER",
    "Allowance",
    "Asks",
    "CallsInside",
    "ListNoticed",
    "ResourceWatch",
    "ServerExchange",
    "ToolRequest",
    "ToolServerProtocol",
    "ToolServers",
    "always",
    "answered",
    "discovered",
    "negotiated",
    "nobody_listens",
    "reply_to",
    "shared",
]

_MAX_ASKS: Final = 32
_CROSSING_S: Final = 5.0
"""For so long what a server asks may be about a call that it has not heard the end of."""


def always() -> None:
    """The re-check of a request that is no call of an agent."""


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """What is asked of a tool server, as it was decided."""

    method: str
    params: Mapping[str, Any]
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Headers that repeat arguments, where there are headers."""
    progress: bool = False
    """Whether notices of progress are wanted."""
    traceparent: str | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """What the client behind the call can do; a session announces what its server is registered to ask for."""

    @property
    def may_be_asked(self) -> bool:
        """Whether its user may be asked for something while it is worked on."""
        return "elicitation" in self.capabilities


DISCOVER: Final = ToolRequest("server/discover", {})


class ServerExchange(Protocol):
    """One request and what came back of it. Leaving it before its end cancels the request at the server."""

    @property
    def received(self) -> int:
        """Bytes of the answer so far."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the request may have left this process."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def next(self) -> Answer | None:
        """The next message of the answer, `ALIVE` for a sign of life, None if the answer ended without a response.

        A question to the agent's user comes only where the request may be asked; every other request of the server's
        was answered already.

        INVARIANT: what it gives was said in answer to this request, and not with the credential that went in.

        Raises:
            UnavailableError: the server is unreachable, or its answer too large or not what the protocol requires.
            AccreditError: whatever the re-check raised; then nothing was sent.
        """
        ...

    async def respond(self, ask: ServerAsk, said: Mapping[str, Any], recheck: Callable[[], None]) -> None:
        """Tell the server what is said to its question: `result` or `error`.

        INVARIANT: `recheck` is the first statement of writing it.

        Raises:
            UnavailableError: the server takes it no more.
            AccreditError: whatever the re-check raised; then nothing was sent.
        """
        ...


class ResourceWatch(Protocol):
    """Word of one resource's changes. Leaving it tells the server that nobody listens any more."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def begin(self) -> None:
        """Ask for it.

        Raises:
            UnavailableError: the server does not tell, or is unreachable.
            AccreditError: whatever the re-check raised; then nothing was sent.
        """
        ...

    async def next(self) -> None:
        """Wait until the server says that it changed.

        Raises:
            UnavailableError: it tells nothing any more, unless it is asked again.
        """
        ...


class ToolServerProtocol(Protocol):
    """Speaks to tool servers of one kind."""

    def exchange(
        self,
        server: ToolServer,
        request: ToolRequest,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
    ) -> ServerExchange:
        """A request to be made when its answer is first asked for.

        INVARIANT: `recheck` is the first statement of writing it (DESIGN §3.12), each time it is written.
        """
        ...

    def watch(
        self, server: ToolServer, uri: str, *, credential: Mapping[str, str], recheck: Callable[[], None]
    ) -> ResourceWatch:
        """Word of a resource's changes, to be asked for.

        INVARIANT: `recheck` is the first statement of writing what asks for it.
        """
        ...

    def listen(self, server: ToolServer, *, credential: Mapping[str, str]) -> None:
        """Hear from now on when the server says that a list of its changed, as far as it tells; again, it does nothing.

        `credential` is the gateway's own.
        """
        ...

    async def revision(self, server: ToolServer, *, credential: Mapping[str, str]) -> str:
        """The revision that is spoken to it: of the era of `server.revision`, and nothing older.

        Raises:
            UnavailableError: it is unreachable, or speaks none such (`upstream_invalid`).
        """
        ...

    def forget(self, server: ServerName, *, unless: tuple[object, ...] | None = None) -> None:
        """End everything that is kept open to that server, unless at that place: it is not registered so any more."""
        ...

    async def aclose(self) -> None:
        """End everything that is kept open."""
        ...


ListNoticed = Callable[[ServerName], None]
"""Is told that a server says that one of its lists is another now."""


def nobody_listens(_: ServerName) -> None:
    """Nobody wants to know of changed lists."""


class Allowance:
    """How much a server may say that nobody asked for: so many at once, and so many a second."""

    __slots__ = ("_at", "_left", "_most", "_per_s")

    def __init__(self, most: int, per_s: float, now: float) -> None:
        self._most, self._per_s = most, per_s
        self._left, self._at = float(most), now

    def take(self, now: float) -> bool:
        """Whether one more is within it."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_s) - 1
        self._at = now
        return self._left >= 0


class Asks:
    """What a server has asked while it worked on one request."""

    __slots__ = ("_count", "_known")

    def __init__(self) -> None:
        self._count = 0
        self._known: set[str | int] = set()

    def take(self, ask: ServerAsk) -> None:
        """Note one more.

        Raises:
            UnavailableError: `upstream_invalid`: there were too many, or this question was put before.
        """
        self._count += 1
        if self._count > _MAX_ASKS:
            raise UnavailableError(
                Code.UPSTREAM_INVALID, f"the tool server asked more than {_MAX_ASKS} times while it worked on one call"
            )
        if ask.method == ELICITATION:
            if ask.id in self._known:
                raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server asked under the same `id` twice")
            self._known.add(ask.id)


_Inside = TypeVar("_Inside", bound="_MayBeAsked")


class _MayBeAsked(Protocol):
    @property
    def may_be_asked(self) -> bool: ...


class CallsInside(Generic[_Inside]):
    """The requests that a session or program works on, where a question may come that does not say which it is about.

    INVARIANT: nobody is asked about somebody else's call, as far as the protocol lets us see whose it is.
    """

    __slots__ = ("_clear_at", "_known", "_now")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[int, _Inside] = {}
        self._clear_at = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, rpc_id: int, request: _Inside) -> None:
        self._known[rpc_id] = request

    def get(self, rpc_id: int) -> _Inside | None:
        return self._known.get(rpc_id)

    def remove(self, rpc_id: int, *, cancelled: bool) -> bool:
        """Nobody waits for an answer any more; whether somebody did. `cancelled`: the server has yet to hear of it."""
        waited = self._known.pop(rpc_id, None) is not None
        if waited and cancelled:
            self._clear_at = self._now() + _CROSSING_S
        return waited

    def clear(self) -> list[_Inside]:
        """Forget all of them; those that there were."""
        known, self._known = self._known, {}
        return list(known.values())

    def only_one(self) -> _Inside | None:
        """The one that a question is about; None: it could be about another."""
        if len(self._known) != 1 or self._now() < self._clear_at:
            return None
        return next(iter(self._known.values()))


def reply_to(ask: ServerAsk, *, unclear: bool = False) -> dict[str, Any]:
    """The response to a server's request that goes to no client: a ping is answered, nothing else is served.

    `unclear`: it is about a call, and nobody can tell which.
    """
    if ask.method == "ping":
        return {"jsonrpc": "2.0", "id": ask.id, "result": {}}
    words = "it cannot be told which request this is about" if unclear else "no such capability was declared"
    number = RpcNumber.INTERNAL if unclear else RpcNumber.METHOD
    return {"jsonrpc": "2.0", "id": ask.id, "error": {"code": int(number), "message": words}}


async def discovered(exchange: ServerExchange) -> str:
    """The revision without sessions, if the server says by `server/discover` that it speaks it.

    Raises:
        UnavailableError: it does not (`upstream_invalid`), or is unreachable.
    """
    result = await answered(exchange, DISCOVER.method)
    versions = result.get("supportedVersions")
    if not isinstance(versions, list) or LATEST_REVISION not in versions:
        raise UnavailableError(Code.UPSTREAM_INVALID, f"the tool server does not speak MCP {LATEST_REVISION}")
    return LATEST_REVISION


async def answered(exchange: ServerExchange, method: str) -> dict[str, Any]:
    """The result of a request of our own.

    Raises:
        UnavailableError: there is none.
    """
    async with exchange:
        while (answer := await exchange.next()) is not None:
            if answer.error is not None:
                raise UnavailableError(
                    Code.UPSTREAM_INVALID, f"the tool server answered `{method}` with error {answer.error['code']}"
                )
            if answer.result is not None:
                return answer.result
    raise UnavailableError(Code.UPSTREAM_INVALID, f"the tool server did not answer `{method}`")


def negotiated(result: Mapping[str, Any], at_least: str) -> str:
    """The revision that `initialize` came to.

    Raises:
        UnavailableError: `upstream_invalid`: one that is not spoken here, or older than what was registered.
    """
    found = result.get("protocolVersion")
    if found not in SESSION_REVISIONS or found < at_least:
        raise UnavailableError(
            Code.UPSTREAM_INVALID,
            f"the tool server speaks no MCP {at_least or SESSION_REVISIONS[-1]}",
            hint="if that is as it shall be, name the `revision` in its manifest and have it signed off",
            cause=ascii(found)[:80],
        )
    return str(found)


_Opened = TypeVar("_Opened")


async def shared(task: asyncio.Task[_Opened]) -> _Opened:
    """What others wait for as well: who waits may leave, and the task goes on; if it is ended, nobody else is."""
    try:
        await asyncio.wait({task})
        return task.result()
    except asyncio.CancelledError as error:
        if task.cancelled():
            raise UnavailableError(
                Code.UPSTREAM_UNREACHABLE, "the tool server is not registered so any more"
            ) from error
        raise


class ToolServers:
    """The port for all kinds of tool servers: each is spoken to as it was registered, and in no older way."""

    def __init__(
        self, *, stateless: ToolServerProtocol, sessions: ToolServerProtocol, stdio: ToolServerProtocol
    ) -> None:
        self._stateless = stateless
        self._sessions = sessions
        self._stdio = stdio

    def _of(self, server: ToolServer) -> ToolServerProtocol:
        if server.launch is not None:
            return self._stdio
        return self._stateless if server.revision == LATEST_REVISION else self._sessions

    def exchange(
        self,
        server: ToolServer,
        request: ToolRequest,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
    ) -> ServerExchange:
        """As of the port."""
        return self._of(server).exchange(server, request, credential=credential, recheck=recheck)

    def watch(
        self, server: ToolServer, uri: str, *, credential: Mapping[str, str], recheck: Callable[[], None]
    ) -> ResourceWatch:
        """As of the port."""
        return self._of(server).watch(server, uri, credential=credential, recheck=recheck)

    def listen(self, server: ToolServer, *, credential: Mapping[str, str]) -> None:
        """As of the port."""
        self._of(server).listen(server, credential=credential)

    async def revision(self, server: ToolServer, *, credential: Mapping[str, str]) -> str:
        """As of the port."""
        return await self._of(server).revision(server, credential=credential)

    async def newest_revision(self, server: ToolServer, *, credential: Mapping[str, str]) -> str:
        """The newest revision that it speaks and we do: asked once, when it is registered.

        2026-07-28, Transports, "Backward Compatibility": `server/discover` first; whatever does not know it is sent
        `initialize`. A program that says nothing, or ends, knows it no more than one that answers with an error.

        Raises:
            UnavailableError: it is unreachable, or speaks none.
        """
        latest = replace(server, revision=LATEST_REVISION)
        try:
            return await self.revision(latest, credential=credential)
        except UnavailableError as error:
            silent = server.launch is not None and error.code is Code.UPSTREAM_UNREACHABLE
            if error.code is not Code.UPSTREAM_INVALID and not silent:
                raise
        return await self.revision(replace(server, revision=SESSION_REVISIONS[-1]), credential=credential)

    def forget(self, server: ServerName, *, unless: tuple[object, ...] | None = None) -> None:
        """As of the port."""
        for each in (self._stateless, self._sessions, self._stdio):
            each.forget(server, unless=unless)

    async def aclose(self) -> None:
        """As of the port."""
        await asyncio.gather(self._stdio.aclose(), self._sessions.aclose())
        await self._stateless.aclose()  # last: sessions are ended over its connections
