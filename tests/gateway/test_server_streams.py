"""What a tool server with sessions says unasked, and answers that break off and are taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway import sessionhttp
from accredit.gateway.resourcewatch import ResourceWatches
from accredit.gateway.sessionhttp import SessionHttp
from accredit.gateway.sse import EventReader
from accredit.gateway.statelesshttp import StatelessHttp
from accredit.gateway.toolservers import ToolRequest, always
from accredit.gateway.upstream import Upstream
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from tests.gateway.scripted import LEGACY
from tests.gateway.speaking import last, text_of
from tests.gateway.stage import SECRET, SSE_HEAD, RawServer, Seen, http_json, make_server, tool_result

_CREDENTIAL = {"Authorization": SECRET}
_SHELF = "lib://shelf"


def _event(message: Any, own: str | None = None, retry_ms: int | None = None) -> bytes:
    head = (b"" if own is None else f"id: {own}\n".encode()) + (b"" if retry_ms is None else b"retry: %d\n" % retry_ms)
    return head + b"data: " + (orjson.dumps(message) if message is not None else b"") + b"\n\n"


def _notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


class _Peer:
    """A server with sessions whose streams by GET a test writes to."""

    def __init__(self) -> None:
        self.begun = 0
        self.gets: list[tuple[str | None, str | None]] = []
        """Session and last event id of each."""
        self.methods: list[str] = []
        self.params: list[Any] = []
        self.replies: list[Any] = []
        self.stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        """What goes to the stream that nobody asked for; None ends it."""
        self.call: Callable[[asyncio.StreamWriter, Seen], Any] | None = None
        self.resumed: Callable[[asyncio.StreamWriter, Seen], Any] | None = None
        self.refuses: dict[str, int] = {}

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if seen.head.startswith(b"DELETE"):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        if seen.head.startswith(b"GET"):
            await self._get(writer, seen)
            return
        message = seen.message
        method = message.get("method", "response")
        self.methods.append(method)
        self.params.append(message.get("params"))
        if method == "initialize":
            self.begun += 1
            about = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": message["id"], "result": about}
            writer.write(http_json(body, extra=f"mcp-session-id: s{self.begun}\r\n"))
        elif "id" not in message or method == "response":
            if method == "response":
                self.replies.append(message)
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        elif method in self.refuses:
            error = {"code": self.refuses[method], "message": "no"}
            writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "error": error}))
        elif method == "tools/call" and self.call is not None:
            await self.call(writer, seen)
        else:
            result = tool_result() if method == "tools/call" else {}
            writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": result}))

    async def _get(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        last_id = seen.headers.get("last-event-id")
        assert seen.headers["authorization"] == SECRET
        self.gets.append((seen.headers.get("mcp-session-id"), last_id))
        if last_id is not None and self.resumed is not None:
            await self.resumed(writer, seen)
            return
        writer.write(SSE_HEAD)
        while (piece := await self.stream.get()) is not None:
            writer.write(piece)
            await writer.drain()
        writer.close()


class _Heard(list[str]):
    def __call__(self, name: str) -> None:
        self.append(name)


@asynccontextmanager
async def _place(peer: _Peer) -> AsyncIterator[tuple[SessionHttp, Any, _Heard]]:
    upstream, heard = Upstream(max_result_bytes=2**16), _Heard()
    async with RawServer(peer, streams=True).run() as raw:
        sessions = SessionHttp(upstream, list_noticed=heard, first_wait_s=0.01)
        try:
            yield sessions, replace(make_server(raw.url), revision=LEGACY), heard
        finally:
            await sessions.aclose()
            await upstream.aclose()


async def _call(sessions: SessionHttp, server: Any, recheck: Callable[[], None] = always) -> Any:
    request = ToolRequest("tools/call", {"name": "read"}, progress=True)
    return await last(sessions.exchange(server, request, credential=_CREDENTIAL, recheck=recheck))


async def _until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.001)


@pytest.mark.requirement("gateway:server-streams:heard")
def test_a_changed_list_is_heard_of_on_the_stream_and_what_is_asked_there_reaches_no_client() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, heard):
            await _call(sessions, server)
            ask = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "?"}}
            answer = {"jsonrpc": "2.0", "id": 2, "result": tool_result("stray")}
            for said in (ask, {**ask, "id": 3, "method": "ping"}, answer, _notice("tools/list_changed")):
                peer.stream.put_nowait(_event(said))
            await _until(lambda: heard and len(peer.replies) == 2)
            assert heard == ["crm"]
            assert {reply["id"]: reply.get("error", {}).get("code") for reply in peer.replies} == {1: -32601, 3: None}
            assert peer.gets == [("s1", None)], "one stream, in the session"

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:heard")
def test_a_server_that_is_only_looked_at_is_not_listened_to() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, _):
            look = sessions.exchange(server, ToolRequest("tools/list", {}), credential=_CREDENTIAL, recheck=always)
            await last(look)
            await asyncio.sleep(0.05)
            assert peer.gets == []
            await _call(sessions, server)
            await _until(lambda: peer.gets)

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:heard")
def test_a_stream_that_broke_off_is_taken_up_after_its_last_event() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, heard):
            await _call(sessions, server)
            peer.stream.put_nowait(_event(_notice("prompts/list_changed"), "e-7", retry_ms=1))
            peer.stream.put_nowait(None)
            await _until(lambda: len(peer.gets) == 2)
            assert peer.gets[1] == ("s1", "e-7")
            peer.stream.put_nowait(_event(_notice("tools/list_changed")))
            await _until(lambda: len(heard) == 2)
        assert peer.methods.count("initialize") == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:bounded")
def test_a_stream_without_end_is_listened_to_no_more_and_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessionhttp, "_STRAY_AT_ONCE", 20)
    monkeypatch.setattr(sessionhttp, "_STRAY_PER_S", 0.0)

    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, heard):
            await _call(sessions, server)
            for _ in range(100):
                peer.stream.put_nowait(_event(_notice("tools/list_changed")))
            await _until(lambda: len(heard) == 20)
            await asyncio.sleep(0.05)
            assert len(heard) == 20
            assert len(peer.gets) == 1, "nor is it opened again"
            await _call(sessions, server)

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:bounded")
def test_a_stream_ends_with_its_session() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, heard):
            await _call(sessions, server)
            await _until(lambda: peer.gets)
            sessions.forget(server.name)
            await _call(sessions, server)
            await _until(lambda: len(peer.gets) == 2)
            assert [session for session, _ in peer.gets] == ["s1", "s2"]
            assert heard == []

    asyncio.run(play())


_FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
_ASK = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "?"}}


@pytest.mark.requirement("gateway:questions:whose")
def test_what_is_asked_on_the_stream_is_about_the_one_call_in_the_session_or_about_none() -> None:
    async def play() -> None:
        peer, gate = _Peer(), asyncio.Event()

        async def slow(writer: asyncio.StreamWriter, seen: Seen) -> None:
            await gate.wait()
            body = {"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result("done")}
            writer.write(http_json(body))

        async with _place(peer) as (sessions, plain, _):
            peer.call, server = slow, replace(plain, elicitation=frozenset({"form"}))

            def begin(capabilities: Any = _FORMS) -> Any:
                request = ToolRequest("tools/call", {"name": "read"}, capabilities=capabilities)
                return sessions.exchange(server, request, credential=_CREDENTIAL, recheck=always)

            async def replied(own: int) -> Any:
                peer.stream.put_nowait(_event({**_ASK, "id": own}))
                await _until(lambda: any(reply["id"] == own for reply in peer.replies))
                return next(reply for reply in peer.replies if reply["id"] == own)

            async with asyncio.timeout(20), begin() as exchange:
                reading = asyncio.create_task(exchange.next())
                await _until(lambda: peer.methods.count("tools/call") == 1 and peer.gets)
                peer.stream.put_nowait(_event(_ASK))
                ask = (await reading).ask
                assert ask.params == {"message": "?"}
                await exchange.respond(ask, {"result": {"action": "decline"}}, always)
                assert peer.replies[-1]["result"] == {"action": "decline"}
                async with begin({}) as other:
                    beside = asyncio.create_task(other.next())
                    await _until(lambda: peer.methods.count("tools/call") == 2)
                    assert (await replied(2))["error"]["code"] == -32603, "of two calls it could be either's"
                    beside.cancel()
                assert (await replied(3))["error"]["code"] == -32603, "the other may not have ended there yet"
                gate.set()
                assert text_of(await exchange.next()) == "done"
            assert (await replied(4))["error"]["code"] == -32603, "of none it is nobody's"

    asyncio.run(play())


# -- answers that are taken up again


def _breaking(peer: _Peer, *first: bytes, end: Callable[[asyncio.StreamWriter, Seen, int], None]) -> None:
    """The answer to a call breaks off after `first`; the stream that takes it up is written by `end`."""
    asked: list[int] = []

    async def call(writer: asyncio.StreamWriter, seen: Seen) -> None:
        asked.append(seen.message["id"])
        writer.write(SSE_HEAD)
        for piece in first:
            writer.write(piece)
        writer.close()

    async def resumed(writer: asyncio.StreamWriter, seen: Seen) -> None:
        end(writer, seen, asked[0])
        writer.close()

    peer.call, peer.resumed = call, resumed


def _done(writer: asyncio.StreamWriter, _: Seen, rpc_id: int) -> None:
    body = {"jsonrpc": "2.0", "id": rpc_id, "result": tool_result("whole")}
    writer.write(SSE_HEAD + _event(body, "e-2"))


@pytest.mark.requirement("gateway:server-streams:resumed")
def test_an_answer_that_broke_off_is_taken_up_again_and_the_call_is_made_once() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, _):
            _breaking(peer, _event(None, "e-1", retry_ms=1), end=_done)
            assert text_of(await _call(sessions, server)) == "whole"
            assert ("s1", "e-1") in peer.gets
            assert peer.methods.count("tools/call") == 1
            assert "notifications/cancelled" not in peer.methods

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:resumed")
def test_an_answer_whose_server_gave_no_ids_has_broken_off() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, _):
            _breaking(peer, b": alive\n\n", end=_done)
            with pytest.raises(AssertionError, match="no response"):
                await _call(sessions, server)
            assert [last_id for _, last_id in peer.gets if last_id] == []
            assert peer.methods.count("tools/call") == 1

    asyncio.run(play())


def _nothing(writer: asyncio.StreamWriter, _: Seen, __: int) -> None:
    writer.write(SSE_HEAD)


def _elsewhere(writer: asyncio.StreamWriter, _: Seen, rpc_id: int) -> None:
    writer.write(SSE_HEAD + _event({"jsonrpc": "2.0", "id": rpc_id + 1, "result": tool_result("another's")}))


def _gone(writer: asyncio.StreamWriter, _: Seen, __: int) -> None:
    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")


def _plain(writer: asyncio.StreamWriter, _: Seen, rpc_id: int) -> None:
    writer.write(http_json({"jsonrpc": "2.0", "id": rpc_id, "result": tool_result("no stream")}))


def _endless(writer: asyncio.StreamWriter, _: Seen, __: int) -> None:
    writer.write(SSE_HEAD + _event(_notice("message", data="x" * 60_000), "e-n", retry_ms=0))


@pytest.mark.parametrize("end", [_nothing, _elsewhere, _gone, _plain, _endless])
@pytest.mark.requirement("gateway:server-streams:resumed")
def test_what_is_not_taken_up_as_it_should_be_fails_and_nothing_is_sent_twice(end: Any) -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, _):
            _breaking(peer, _event(None, "e-1", retry_ms=1), end=end)
            with pytest.raises(UnavailableError) as caught:
                await _call(sessions, server)
            assert caught.value.code in {Code.UPSTREAM_INVALID, Code.UPSTREAM_OVERSIZED}
            assert peer.methods.count("tools/call") == 1
            assert len([1 for _, last_id in peer.gets if last_id]) <= 6

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:resumed")
def test_an_answer_of_an_agent_that_is_revoked_meanwhile_is_not_taken_up() -> None:
    async def play() -> None:
        peer, checks = _Peer(), 0

        def once() -> None:
            nonlocal checks
            checks += 1
            if checks > 1:
                raise UnavailableError(Code.AGENT_NOT_ACTIVE, "revoked meanwhile")

        async with _place(peer) as (sessions, server, _):
            _breaking(peer, _event(None, "e-1", retry_ms=1), end=_done)
            with pytest.raises(AccreditError) as caught:
                await _call(sessions, server, once)
            assert caught.value.code is Code.AGENT_NOT_ACTIVE
            assert [last_id for _, last_id in peer.gets if last_id] == []

    asyncio.run(play())


@given(st.lists(st.tuples(st.sampled_from(["a", "b-2", "", "x\0", "ü", "y" * 1025]), st.booleans()), max_size=6))
def test_the_last_id_is_that_of_the_last_event_that_could_be_sent_back(events: list[tuple[str, bool]]) -> None:
    reader = EventReader()
    expected: str | None = None
    for own, with_data in events:
        reader.feed(f"id: {own}\n".encode() + (b"data: x\n" if with_data else b"") + b"\n")
        expected = own if own in {"a", "b-2"} else None
    reader.feed(b"id: never dispatched\n")
    assert reader.last_id == expected


# -- resources that are watched


@asynccontextmanager
async def _watching(peer: _Peer) -> AsyncIterator[tuple[ResourceWatches, Any, list[str]]]:
    async with _place(peer) as (sessions, server, _):
        watches = ResourceWatches(sessions, first_wait_s=0.01)
        try:
            yield watches, server, []
        finally:
            await watches.aclose()


def _refuse() -> None:
    raise UnavailableError(Code.AGENT_NOT_ACTIVE, "not any more")


@pytest.mark.requirement("gateway:server-streams:watched")
def test_a_resource_is_subscribed_to_once_and_until_nobody_listens() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _watching(peer) as (watches, server, heard):

            async def add(name: str) -> Callable[[], None]:
                return await watches.add(
                    server, _SHELF, lambda: heard.append(name), credential=_CREDENTIAL, recheck=always
                )

            first, second = await asyncio.gather(add("first"), add("second"))
            assert peer.methods.count("resources/subscribe") == 1
            peer.stream.put_nowait(_event(_notice("resources/updated", uri="lib://other")))
            peer.stream.put_nowait(_event(_notice("resources/updated", uri=_SHELF)))
            await _until(lambda: len(heard) == 2)
            assert set(heard) == {"first", "second"}
            first()
            await asyncio.sleep(0.05)
            assert "resources/unsubscribe" not in peer.methods
            second()
            second()
            await _until(lambda: "resources/unsubscribe" in peer.methods)
            assert len(watches) == 0

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:watched")
def test_a_server_that_does_not_tell_is_said_to_and_asked_again_by_the_next() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _watching(peer) as (watches, server, heard):
            peer.refuses["resources/subscribe"] = -32601
            for _ in range(2):
                with pytest.raises(UnavailableError, match="error -32601"):
                    await watches.add(server, _SHELF, heard.clear, credential=_CREDENTIAL, recheck=always)
            assert len(watches) == 0
            assert peer.methods.count("resources/subscribe") == 2
            with pytest.raises(AccreditError, match="not any more"):
                await watches.add(server, _SHELF, heard.clear, credential=_CREDENTIAL, recheck=_refuse)
            assert peer.methods.count("resources/subscribe") == 2

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:watched")
def test_a_session_that_is_lost_is_subscribed_in_anew_and_everybody_told() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server, _):
            watches, heard = ResourceWatches(sessions, first_wait_s=0.01), asyncio.Event()
            await watches.add(server, _SHELF, heard.set, credential=_CREDENTIAL, recheck=always)
            sessions.forget(server.name)
            await asyncio.wait_for(heard.wait(), 10)
            assert peer.methods.count("resources/subscribe") == 2
            assert peer.begun == 2
            await watches.aclose()

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-streams:watched")
def test_a_server_of_the_newest_revision_tells_in_an_answer_that_goes_on() -> None:
    async def play() -> None:
        more, gone, asked = asyncio.Queue[bytes](), asyncio.Event(), []

        async def listen(writer: asyncio.StreamWriter, seen: Seen) -> None:
            asked.append(seen.message["params"]["notifications"])
            writer.write(SSE_HEAD)
            told = {"notifications": {"resourceSubscriptions": [_SHELF]}}
            writer.write(_event(_notice("subscriptions/acknowledged", **told)))
            waiting = asyncio.ensure_future(seen.until_closed())
            while not waiting.done():
                piece = asyncio.ensure_future(more.get())
                await asyncio.wait({piece, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if piece.done():
                    writer.write(piece.result())
            gone.set()
            await waiting

        upstream, heard = Upstream(), asyncio.Event()
        async with RawServer(listen).run() as raw:
            watches = ResourceWatches(StatelessHttp(upstream))
            remove = await watches.add(make_server(raw.url), _SHELF, heard.set, credential=_CREDENTIAL, recheck=always)
            assert asked == [{"resourceSubscriptions": [_SHELF]}]
            more.put_nowait(_event(_notice("resources/updated", uri="lib://other")))
            more.put_nowait(_event(_notice("resources/updated", uri=_SHELF)))
            await asyncio.wait_for(heard.wait(), 10)
            remove()
            await asyncio.wait_for(gone.wait(), 10)
            await watches.aclose()
        await upstream.aclose()

    asyncio.run(play())
