"""Streams that tell a client when what it may use has changed.

A client of 2026-07-28 asks for one by a request (Subscriptions); one with a session opens that of its session by GET
(2025-11-25, Streamable HTTP), and takes it up again after the last event that it has seen. What is to be said in a
session is kept for a while without a stream, in bounded room: what does not fit is said in full when there is one.

A stream holds no right: what it says is that a list, or a resource, which the client has to ask for again, is another
now. It ends when its credential does, and what it was to tell of a resource when that is not granted any more.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcNumber
from accredit.gateway.relay import ACKNOWLEDGED, RESOURCE_UPDATED, encode_message
from accredit.gateway.replies import Reply
from accredit.gateway.routing import SUBSCRIPTION_KEY
from accredit.gateway.sessions import ClientSession
from accredit.gateway.sse import KEEP_ALIVE, event_frame, id_frame
from accredit.identity.model import Principal
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, IdSource

__all__ = ["ClientStream", "Lists", "SessionStream", "SharedLooks", "Subscriptions", "Wanted"]

_LONGEST_S: Final = 24 * 3600.0
_ALIVE_S: Final = 15.0
_KEPT_S: Final = 300.0
"""How long what is to be said in a session is kept without a stream."""
_MOST: Final = 8_192
_MOST_OF_ONE: Final = 256
_MOST_WANTED: Final = 64
_SHARED_US: Final = 1_000_000
_MOST_REPLAYED: Final = 64
_MOST_REPLAYED_BYTES: Final = 32 * 1024
_NOTICES: Final[Mapping[str, str]] = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
"""What can be asked for, and what then is sent."""
_RESOURCES: Final = "resourceSubscriptions"

Lists = Callable[[], Mapping[str, object] | None]
"""What the lists hold now, by what is asked for; None: the caller is not let in any more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A resource that a client wants to hear of."""

    granted: Callable[[], bool]
    """Whether it may still want to."""
    visible: Callable[[], bool]
    """Whether it may be told right now."""
    remove: Callable[[], None]
    """Stops listening to its server."""


class ClientStream:
    """What one client wants to hear, and was not told yet."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.over = False
        self._wanted: dict[str, Wanted] = {}
        self._updated: dict[str, None] = {}

    def __contains__(self, uri: str) -> bool:
        return uri in self._wanted

    @property
    def full(self) -> bool:
        """Whether no further resource may be wanted."""
        return len(self._wanted) >= _MOST_WANTED

    def want(self, uri: str, wanted: Wanted) -> None:
        """Tell of a resource from now on."""
        if self.over or self.full or uri in self._wanted:  # two asked at once, or it ended meanwhile
            wanted.remove()
            return
        self._wanted[uri] = wanted

    def unwant(self, uri: str) -> None:
        """Tell of it no more."""
        self._updated.pop(uri, None)
        if (wanted := self._wanted.pop(uri, None)) is not None:
            wanted.remove()

    def update(self, uri: str) -> None:
        """A resource may have changed: many changes before the next word are one."""
        if uri in self._wanted:
            self._updated[uri] = None
            self.wake.set()

    def recheck(self) -> None:
        """Forget what is not granted any more."""
        for uri in [uri for uri, wanted in self._wanted.items() if not wanted.granted()]:
            self.unwant(uri)

    def updates(self) -> list[str]:
        """The resources to tell of now."""
        updated, self._updated = list(self._updated), {}
        return [uri for uri in updated if uri in self._wanted and self._wanted[uri].visible()]

    def all_updated(self) -> None:
        """Some word was lost: all of them may have changed."""
        self._updated = dict.fromkeys(self._wanted)

    def end(self) -> None:
        """Tell of nothing any more."""
        self.over = True
        for uri in list(self._wanted):
            self.unwant(uri)
        self.wake.set()


class SessionStream(ClientStream):
    """That of a session, which may be without a connection for a while."""

    def __init__(self, own: str, principal: Principal) -> None:
        super().__init__()
        self.principal = principal
        """As it was proven last."""
        self.known: Mapping[str, object] | None = None
        """What the lists held when the client was last told."""
        self.turn = 0
        """Of the connection that is served: a newer one takes over from it."""
        self.expiry: asyncio.TimerHandle | None = None
        self._own = own
        self._said = 0
        self._sent: deque[tuple[int, bytes]] = deque()
        self._room = _MOST_REPLAYED_BYTES

    def frame(self, data: bytes = b"") -> bytes:
        """An event that can be sent again."""
        self._said += 1
        own = f"{self._own}-{self._said}"
        framed = event_frame(data, own) if data else id_frame(own)
        self._sent.append((self._said, framed))
        self._room -= len(framed)
        while self._sent and (self._room < 0 or len(self._sent) > _MOST_REPLAYED):
            self._room += len(self._sent.popleft()[1])
        return framed

    def after(self, last: str) -> list[bytes] | None:
        """The events after one; None: it is not known here which those are."""
        own, _, number = last.rpartition("-")
        if own != self._own or not number.isdecimal() or len(number) > 15 or int(number) > self._said:
            return None
        oldest = self._sent[0][0] if self._sent else self._said + 1
        if int(number) + 1 < oldest:
            return None
        return [framed for at, framed in self._sent if at > int(number)]


class SharedLooks:
    """What the lists hold, looked at once for all streams that see the same: until something changes, or for a second.

    That a restriction runs out is no change; streams look for that every 15 s.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[Hashable, tuple[int, Mapping[str, object]]] = {}

    def changed(self) -> None:
        """Whatever was seen may be another now."""
        self._known.clear()

    def of(self, seen_as: Hashable, look: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
        """What there is for whoever sees it as that; `look` says what."""
        now_us = self._clock.now().boot_us
        known = self._known.get(seen_as)
        if known is None or now_us - known[0] > _SHARED_US:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[seen_as] = now_us, look()
        return known[1]


_Notice = tuple[str, Mapping[str, Any]]
_Key = tuple[bytes, str | None, str | None]
Decide = Callable[[str, ClientStream], Awaitable[None]]
"""Has it decided whether a client may hear of a resource; if so, the stream wants it."""


class Subscriptions:
    """The open streams of one process, and what is kept of sessions."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._open: Counter[AgentId] = Counter()
        self._streams: set[ClientStream] = set()
        """Those that are served right now."""
        self._kept: dict[_Key, SessionStream] = {}
        self._kept_of: Counter[AgentId] = Counter()
        self._closing = False

    def __len__(self) -> int:
        """How many streams are open."""
        return self._open.total()

    @property
    def kept(self) -> int:
        """Of how many sessions something is kept."""
        return len(self._kept)

    def changed(self) -> None:
        """Have every stream look whether this changes anything for it."""
        for kept in self._kept.values():
            if kept not in self._streams:
                kept.recheck()
        for stream in self._streams:
            stream.wake.set()

    def close(self) -> None:
        """End every stream, and tell its client that it is the end."""
        self._closing = True
        for key in list(self._kept):
            self._drop(key)
        self.changed()

    # -- of a request

    async def listen(
        self, agent: AgentId, asked: Any, rpc_id: RpcId, lists: Lists, decide: Decide, reply: Reply, flight: Flight
    ) -> None:
        """Serve one stream until its client leaves, its credential ends or the process does.

        Raises:
            RpcError: what is asked for is malformed, or too many streams are open.
        """
        if not isinstance(asked, Mapping):
            raise RpcError(RpcNumber.PARAMS, "`notifications` must be an object", rpc_id=rpc_id)
        uris = asked.get(_RESOURCES) or []
        if not isinstance(uris, list) or len(uris) > _MOST_WANTED or not all(isinstance(uri, str) for uri in uris):
            raise RpcError(
                RpcNumber.PARAMS, f"`{_RESOURCES}` must be a list of at most {_MOST_WANTED} texts", rpc_id=rpc_id
            )
        self._check_room(agent, rpc_id)
        honoured = [name for name in _NOTICES if asked.get(name) is True]
        stream = ClientStream()

        async def notify(*notices: _Notice) -> None:
            meta = {"_meta": {SUBSCRIPTION_KEY: rpc_id}}
            await reply.part(b"".join(event_frame(_message(method, {**meta, **params})) for method, params in notices))

        async def run() -> None:
            known = lists()
            for uri in dict.fromkeys(uris):
                await decide(uri, stream)
            told: dict[str, Any] = dict.fromkeys(honoured, True)
            if heard := [uri for uri in dict.fromkeys(uris) if uri in stream]:
                told[_RESOURCES] = heard
            await notify((ACKNOWLEDGED, {"notifications": told}))
            await self._tell(stream, honoured, known, lists, notify, reply)

        try:
            if not await self._serve(agent, stream, flight, run):
                return
        finally:
            self._streams.discard(stream)
            stream.end()
        await reply.result({"resultType": "complete", "_meta": {SUBSCRIPTION_KEY: rpc_id}})

    # -- of a session

    def of_session(self, session: ClientSession, principal: Principal, rpc_id: RpcId | None) -> SessionStream:
        """What is kept of a session for this user and task.

        Raises:
            RpcError: something is kept of too many sessions.
        """
        user, task = principal.user, principal.task
        key = session.nonce, user.key if user else None, task.key if task else None
        stream = self._kept.get(key)
        if stream is None:
            if self._kept_of[principal.agent] >= _MOST_OF_ONE or len(self._kept) >= _MOST:
                raise _too_many(rpc_id)
            stream = self._kept[key] = SessionStream(self._ids.new("evs"), principal)
            self._kept_of[principal.agent] += 1
        stream.principal = principal
        self._expire_later(key, stream)
        return stream

    async def follow(
        self,
        session: ClientSession,
        principal: Principal,
        last: str | None,
        lists: Lists,
        reply: Reply,
        flight: Flight,
    ) -> None:
        """Serve the stream of a session, after the event `last` if that is given.

        Raises:
            RpcError: too many streams are open.
        """
        self._check_room(principal.agent, None)
        stream = self.of_session(session, principal, None)
        stream.turn += 1
        turn = stream.turn
        stream.wake.set()  # whoever was served before ends

        async def notify(*notices: _Notice) -> None:
            # all of them are kept before any is sent: the client may be gone
            frames = [stream.frame(_message(method, params)) for method, params in notices]
            await reply.part(b"".join(frames))

        async def run() -> None:
            now = lists()
            missed = stream.after(last) if last is not None else []
            if missed is None and now is not None:  # what was said is not known any more
                stream.known = dict.fromkeys(now)
                stream.all_updated()
            # an event without data: from here on the stream can be taken up again
            await reply.part(b"".join(missed) if missed else stream.frame())
            await self._tell(stream, list(_NOTICES), stream.known or now, lists, notify, reply, turn=turn)

        try:
            if await self._serve(principal.agent, stream, flight, run):
                await reply.end()
        finally:
            if stream.turn == turn:
                self._streams.discard(stream)
                for key in [key for key, kept in self._kept.items() if kept is stream]:
                    self._expire_later(key, stream)

    def forget(self, session: ClientSession) -> None:
        """The session ended: nothing is said in it any more."""
        for key in [key for key in self._kept if key[0] == session.nonce]:
            self._drop(key)

    def _expire_later(self, key: _Key, stream: SessionStream) -> None:
        if stream.expiry is not None:
            stream.expiry.cancel()
        stream.expiry = asyncio.get_running_loop().call_later(_KEPT_S, self._expire, key, stream)

    def _expire(self, key: _Key, stream: SessionStream) -> None:
        if self._kept.get(key) is not stream:
            return
        if stream in self._streams:
            self._expire_later(key, stream)
        else:
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        stream = self._kept.pop(key)
        agent = stream.principal.agent
        self._kept_of[agent] -= 1
        if not self._kept_of[agent]:
            del self._kept_of[agent]
        if stream.expiry is not None:
            stream.expiry.cancel()
        stream.end()

    # -- of both

    def _check_room(self, agent: AgentId, rpc_id: RpcId | None) -> None:
        if self._open[agent] >= _MOST_OF_ONE or len(self) >= _MOST:
            raise _too_many(rpc_id)

    async def _serve(
        self, agent: AgentId, stream: ClientStream, flight: Flight, run: Callable[[], Awaitable[None]]
    ) -> bool:
        """Whether its client is still there at the end."""
        self._open[agent] += 1
        self._streams.add(stream)
        try:
            with flight.lasting(_LONGEST_S):
                await run()
        except FlightStopped as stopped:
            return stopped.code is Code.CALL_TIMEOUT
        finally:
            self._open[agent] -= 1
            if not self._open[agent]:
                del self._open[agent]
        return True

    async def _tell(
        self,
        stream: ClientStream,
        honoured: Iterable[str],
        known: Mapping[str, object] | None,
        lists: Lists,
        notify: Callable[..., Awaitable[None]],
        reply: Reply,
        *,
        turn: int | None = None,
    ) -> None:
        """Say what changes, for as long as the caller is let in and nobody took over."""
        while True:
            # what wakes it next comes after this look: a change in between is not missed
            stream.wake.clear()
            before, known = known, lists()
            stream.recheck()
            if known is None or before is None or self._closing or stream.over:
                return
            if isinstance(stream, SessionStream):
                if stream.turn != turn:
                    return
                stream.known = known
            notices: list[_Notice] = [(_NOTICES[name], {}) for name in honoured if known[name] != before[name]]
            notices += [(RESOURCE_UPDATED, {"uri": uri}) for uri in stream.updates()]
            if notices:
                await notify(*notices)
            try:
                async with asyncio.timeout(_ALIVE_S):
                    await stream.wake.wait()
            except TimeoutError:  # a restriction that runs out is no change of state
                await reply.part(KEEP_ALIVE)


def _message(method: str, params: Mapping[str, Any]) -> bytes:
    return encode_message({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})})


def _too_many(rpc_id: RpcId | None) -> RpcError:
    return RpcError(
        RpcNumber.REQUEST,
        f"more than {_MOST_OF_ONE} streams of one agent, or {_MOST} in all",
        code=Code.CONCURRENCY_LIMITED,
        status=429,
        rpc_id=rpc_id,
        hint=Code.CONCURRENCY_LIMITED.remedy,
    )
