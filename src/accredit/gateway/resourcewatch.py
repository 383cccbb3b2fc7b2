"""Word of changes of resources at tool servers: asked for once, however many clients want to hear of one.

A server with sessions is subscribed to by a request, and tells beside all requests; one of 2026-07-28 tells in an
answer that goes on. When either ends it is asked again, and everybody is told, since a change may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, Self

from accredit.gateway.relay import ACKNOWLEDGED, RESOURCE_UPDATED, ServerNotice
from accredit.gateway.toolservers import (
    ServerExchange,
    ToolRequest,
    ToolServerProtocol,
    answered,
)
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.model import ToolServer

__all__ = ["Bell", "Bells", "ListeningWatch", "ResourceWatches", "SubscribedWatch", "Updated", "listen_to"]

_log = logging.getLogger("accredit.gateway")

_LAST_WORD_S: Final = 5.0
_BEGIN_S: Final = 10.0
_MOST_WATCHED: Final = 4_096
_PAUSE_S: Final = 0.05
_LONGEST_WAIT_S: Final = 60.0

Updated = Callable[[], None]
"""Is told that a resource may have changed."""


class Bells:
    """Who waits for word of which resource from one session or program."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, set[Bell]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, bell: Bell) -> None:
        self._of.setdefault(bell.uri, set()).add(bell)

    def remove(self, bell: Bell) -> None:
        left = self._of.get(bell.uri, set())
        left.discard(bell)
        if not left:
            self._of.pop(bell.uri, None)

    def ring(self, notice: ServerNotice) -> None:
        """Tell those who wait for what changed."""
        for uri in notice.uris:
            for bell in self._of.get(uri, ()):
                bell.ring()

    def lost(self) -> None:
        """Tell all of them that nothing is heard here any more."""
        of, self._of = self._of, {}
        for bell in (bell for each in of.values() for bell in each):
            bell.lose()


class Bell:
    """Rung when one resource has changed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._some = asyncio.Event()
        self._lost = False

    def ring(self) -> None:
        self._some.set()

    def lose(self) -> None:
        self._lost = True
        self._some.set()

    async def next(self) -> None:
        """Wait for the next ring; several at once are one.

        Raises:
            UnavailableError: nothing is heard any more.
        """
        await self._some.wait()
        self._some.clear()
        if self._lost:
            raise UnavailableError(Code.UPSTREAM_UNREACHABLE, "the session with the tool server ended")


class SubscribedWatch:
    """`ResourceWatch` of the era of sessions: subscribed to by a request, told of beside all requests."""

    def __init__(
        self, uri: str, bells: Callable[[], Awaitable[Bells]], exchange: Callable[[ToolRequest], ServerExchange]
    ) -> None:
        self._uri = uri
        self._bells = bells
        self._exchange = exchange
        self._bell = Bell(uri)
        self._in: Bells | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in is None:
            return
        self._in.remove(self._bell)
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await answered(self._exchange(ToolRequest("resources/unsubscribe", {"uri": self._uri})), "")
        except (AccreditError, TimeoutError) as fault:
            _log.info("a tool server was not told that nobody listens: %s", type(fault).__name__)

    async def begin(self) -> None:
        self._in = await self._bells()
        self._in.add(self._bell)  # before it is asked: the first word may come with the answer
        await answered(self._exchange(ToolRequest("resources/subscribe", {"uri": self._uri})), "resources/subscribe")

    async def next(self) -> None:
        await self._bell.next()


class ListeningWatch:
    """`ResourceWatch` of 2026-07-28: an answer that goes on for as long as somebody listens."""

    def __init__(self, uri: str, exchange: ServerExchange) -> None:
        self._uri = uri
        self._exchange = exchange

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)

    async def begin(self) -> None:
        if self._uri not in (await self._notice(ACKNOWLEDGED)).uris:
            raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server tells nothing of that resource")

    async def next(self) -> None:
        while self._uri not in (await self._notice(RESOURCE_UPDATED)).uris:
            pass

    async def _notice(self, method: str) -> ServerNotice:
        while (answer := await self._exchange.next()) is not None:
            if answer.notice is not None and answer.notice.method == method:
                return answer.notice
            if answer.final:
                break
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server ended its word of changes")


def listen_to(uri: str) -> ToolRequest:
    """The request of 2026-07-28 for word of one resource's changes."""
    return ToolRequest("subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}})


_Key = tuple[ServerName, tuple[object, ...], tuple[tuple[str, str], ...], str]


class _Watched:
    """One resource, and who wants to hear of it."""

    def __init__(self) -> None:
        self.heard_by: set[Updated] = set()
        self.rechecks: list[Callable[[], None]] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.running: asyncio.Task[None] | None = None

    def recheck(self) -> None:
        """Whether anybody who wants to hear of it may still ask; who may not any more has been taken out since."""
        refused: AccreditError | None = None
        for one in self.rechecks:
            try:
                one()
            except AccreditError as error:
                refused = error
            else:
                return
        if refused is not None:
            raise refused

    def begun(self) -> bool:
        """Note that the server tells; True if it did before."""
        if self.ready.done():
            return True
        self.rechecks.clear()
        self.ready.set_result(None)
        return False

    def tell(self) -> None:
        for updated in list(self.heard_by):
            updated()


class ResourceWatches:
    """What the clients of one process want to hear of."""

    def __init__(self, tool_servers: ToolServerProtocol, *, first_wait_s: float = 1.0) -> None:
        self._tool_servers = tool_servers
        self._first_wait_s = first_wait_s
        self._watched: dict[_Key, _Watched] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many resources are watched."""
        return len(self._watched)

    async def add(
        self,
        server: ToolServer,
        uri: str,
        updated: Updated,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
    ) -> Callable[[], None]:
        """Tell `updated` of changes until what is returned is called.

        Raises:
            UnavailableError: the server does not tell of them, or is unreachable.
            ConflictError: too many are watched.
            AccreditError: whatever the re-check raised; then nothing was sent.
        """
        recheck()
        key = (server.name, server.place, tuple(sorted(credential.items())), uri)
        watched = self._watched.get(key)
        if watched is None:
            if len(self._watched) >= _MOST_WATCHED:
                raise ConflictError(Code.CONCURRENCY_LIMITED, f"more than {_MOST_WATCHED} resources are watched")
            watched = self._watched[key] = _Watched()
            work = self._run(key, watched, server, credential)
            watched.running = asyncio.get_running_loop().create_task(work)

        def remove() -> None:
            watched.heard_by.discard(updated)
            if not watched.heard_by and self._watched.get(key) is watched:
                self._end(key)

        watched.heard_by.add(updated)
        if not watched.ready.done():
            watched.rechecks.append(recheck)
        try:
            await asyncio.wait({watched.ready})
            watched.ready.result()
        except BaseException:
            remove()
            raise
        return remove

    async def _run(self, key: _Key, watched: _Watched, server: ToolServer, credential: Mapping[str, str]) -> None:
        loop, wait_s, begun = asyncio.get_running_loop(), self._first_wait_s, 0.0
        while True:
            try:
                async with self._tool_servers.watch(
                    server, key[3], credential=credential, recheck=watched.recheck
                ) as watch:
                    async with asyncio.timeout(_BEGIN_S):
                        await watch.begin()
                    if watched.begun():
                        watched.tell()  # of what was missed in between
                    begun = loop.time()
                    while True:
                        await watch.next()
                        watched.tell()
                        await asyncio.sleep(_PAUSE_S)  # more often than that nobody is told
            except (AccreditError, TimeoutError) as error:
                _log.info("tool server %s tells no more of a resource: %s", server.name, type(error).__name__)
                if not watched.ready.done():
                    late = UnavailableError(Code.UPSTREAM_UNREACHABLE, "the tool server did not answer in time")
                    watched.ready.set_exception(error if isinstance(error, AccreditError) else late)
                    if self._watched.get(key) is watched:
                        del self._watched[key]
                    return
            wait_s = self._first_wait_s if loop.time() - begun > _LONGEST_WAIT_S else min(wait_s * 2, _LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)

    def _end(self, key: _Key) -> None:
        running = self._watched.pop(key).running
        if running is not None:
            running.cancel()
            self._ending.add(running)
            running.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """Listen to nothing any more."""
        for key in list(self._watched):
            self._end(key)
        await asyncio.gather(*self._ending, return_exceptions=True)
