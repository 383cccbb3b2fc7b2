"""Tool servers of the era of sessions: how a session begins, is shared, is lost and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import mcp_types as types
import orjson
import pytest
from mcp.server.lowlevel import Server

from accredit.gateway.sessionhttp import SessionHttp
from accredit.gateway.toolservers import ToolRequest, always
from accredit.gateway.upstream import Upstream
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.registry.model import SESSION_REVISIONS, ToolServer
from tests.gateway.scripted import LATEST, LEGACY
from tests.gateway.speaking import last, text_of
from tests.gateway.stage import (
    SECRET,
    RawServer,
    Seen,
    http_json,
    make_server,
    serving,
    tool_result,
    tool_servers,
)

_CREDENTIAL = {"Authorization": SECRET}


class _Peer:
    """A server with sessions that can be lost; remembers what it was told, and in which session."""

    def __init__(self, revision: str = LEGACY) -> None:
        self.revision: Any = revision
        self.begun = 0
        self.alive: set[str] = set()
        self.told: list[tuple[str, str | None]] = []
        self.bodies: list[Any] = []
        self.lost: Callable[[asyncio.StreamWriter], None] = lambda writer: writer.write(
            http_json(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "gone"}}, status="404 Not Found"
            )
        )
        self.call: Callable[[asyncio.StreamWriter, Seen], Any] | None = None
        self.beginning: Callable[[asyncio.StreamWriter, Seen], Any] | None = None

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        session = seen.headers.get("mcp-session-id")
        if seen.head.startswith(b"DELETE"):
            self.told.append(("DELETE", session))
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
            return
        message = seen.message
        self.bodies.append(message)
        self.told.append((message.get("method", "response"), session))
        if message.get("method") == "initialize":
            assert session is None
            assert "mcp-protocol-version" not in seen.headers
            if self.beginning is not None:
                await self.beginning(writer, seen)
                return
            self.begun += 1
            self.alive = {f"s{self.begun}"}
            about = {"protocolVersion": self.revision, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": message["id"], "result": about}
            writer.write(http_json(body, extra=f"mcp-session-id: s{self.begun}\r\n"))
            return
        if session not in self.alive:
            self.lost(writer)
            return
        if "id" not in message or "method" not in message:
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            return
        if self.call is not None:
            await self.call(writer, seen)
            return
        writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": tool_result(str(message["id"]))}))

    def methods(self, name: str) -> list[str | None]:
        return [session for method, session in self.told if method == name]


@asynccontextmanager
async def _place(peer: _Peer, **more: Any) -> AsyncIterator[tuple[SessionHttp, ToolServer]]:
    upstream = Upstream(max_result_bytes=2**20)
    async with RawServer(peer).run() as raw:
        sessions = SessionHttp(upstream)
        try:
            yield sessions, replace(make_server(raw.url), **{"revision": LEGACY, **more})
        finally:
            await sessions.aclose()
            await upstream.aclose()


async def _call(sessions: SessionHttp, server: ToolServer, recheck: Callable[[], None] = always, **more: Any) -> Any:
    request = ToolRequest("tools/call", {"name": "read"}, **more)
    return await last(sessions.exchange(server, request, credential=_CREDENTIAL, recheck=recheck))


@pytest.mark.requirement("gateway:server-sessions:shared")
def test_a_hundred_calls_at_once_share_one_session_and_it_is_ended_at_the_end() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server):
            await asyncio.gather(*(_call(sessions, server) for _ in range(100)))
            assert peer.begun == 1
            assert set(peer.methods("tools/call")) == {"s1"}
            assert peer.methods("notifications/initialized") == ["s1"]
            other = sessions.exchange(
                server,
                ToolRequest("tools/call", {"name": "read"}),
                credential={"Authorization": "other"},
                recheck=always,
            )
            await last(other)
            assert peer.begun == 2, "another credential is another session"
        assert sorted(map(str, peer.methods("DELETE"))) == ["s1", "s2"]

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-sessions:lost")
def test_a_lost_session_is_begun_anew_once_for_all_and_what_met_the_404_is_sent_again() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server):
            await _call(sessions, server)
            for body in (b"", b"gone"):
                peer.alive.clear()
                plain = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (
                    len(body),
                    body,
                )
                peer.lost = lambda writer, plain=plain: writer.write(plain)  # type: ignore[misc]
                before = peer.begun
                answers = await asyncio.gather(*(_call(sessions, server) for _ in range(20)))
                assert len({text_of(answer) for answer in answers}) == 20
                assert peer.begun == before + 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-sessions:lost")
def test_a_call_is_sent_again_once_and_not_if_it_may_not_be_any_more() -> None:
    async def play() -> None:
        peer = _Peer()
        async with _place(peer) as (sessions, server):
            await _call(sessions, server)

            async def never(writer: asyncio.StreamWriter, seen: Seen) -> None:
                peer.lost(writer)

            peer.call = never
            told = len(peer.methods("tools/call"))
            assert (await _call(sessions, server)).error["code"] == -32001
            assert len(peer.methods("tools/call")) == told + 2

            peer.alive.clear()
            checks = 0

            def once() -> None:
                nonlocal checks
                checks += 1
                if checks > 1:
                    raise UnavailableError(Code.AGENT_NOT_ACTIVE, "revoked meanwhile")

            with pytest.raises(AccreditError) as caught:
                await _call(sessions, server, once)
            assert caught.value.code is Code.AGENT_NOT_ACTIVE
            assert len(peer.methods("tools/call")) == told + 3

    asyncio.run(play())


@pytest.mark.parametrize("status", ["500 Internal Server Error", "202 Accepted", "400 Bad Request"])
@pytest.mark.requirement("gateway:server-sessions:lost")
def test_what_may_have_been_executed_is_not_sent_again(status: str) -> None:
    async def play() -> None:
        peer = _Peer()

        async def fail(writer: asyncio.StreamWriter, seen: Seen) -> None:
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

        async with _place(peer) as (sessions, server):
            peer.call = fail
            with pytest.raises(UnavailableError):
                await _call(sessions, server)
            assert len(peer.methods("tools/call")) == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    ("registered", "negotiated", "code"),
    [
        ("2025-06-18", "2025-11-25", None),
        ("2025-03-26", "2025-03-26", None),
        ("2025-11-25", "2025-06-18", Code.UPSTREAM_INVALID),
        ("2025-06-18", "2024-11-05", Code.UPSTREAM_INVALID),
        ("2025-11-25", "2026-07-28", Code.UPSTREAM_INVALID),
        ("2025-11-25", "2099-01-01", Code.UPSTREAM_INVALID),
        ("2025-11-25", None, Code.UPSTREAM_INVALID),
    ],
)
@pytest.mark.requirement("gateway:server-sessions:no-downgrade")
def test_nothing_older_than_what_was_registered_is_spoken(registered: str, negotiated: Any, code: Code | None) -> None:
    async def play() -> None:
        peer = _Peer(negotiated)
        async with _place(peer, revision=registered) as (sessions, server):
            if code is None:
                await _call(sessions, server)
                assert await sessions.revision(server, credential=_CREDENTIAL) == negotiated
                return
            with pytest.raises(UnavailableError) as caught:
                await _call(sessions, server)
            assert caught.value.code is code
            assert peer.methods("tools/call") == []

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:asks")
def test_what_a_server_asks_during_a_call_is_answered_in_the_session_and_not_relayed() -> None:
    async def play() -> None:
        peer = _Peer()

        async def asking(writer: asyncio.StreamWriter, seen: Seen) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            asked = [("ping", 1), ("sampling/createMessage", "two"), ("roots/list", 3), ("elicitation/create", 4)]
            for method, own in asked:
                writer.write(b"data: " + orjson.dumps({"jsonrpc": "2.0", "id": own, "method": method}) + b"\n\n")
            while len(peer.methods("response")) < len(asked):
                await asyncio.sleep(0.01)
            body = {"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result("done")}
            writer.write(b"data: " + orjson.dumps(body) + b"\n\n")
            writer.close()

        async with _place(peer) as (sessions, server):
            peer.call = asking
            assert text_of(await _call(sessions, server)) == "done"
            replies = {body["id"]: body for body in peer.bodies if "method" not in body}
            assert replies[1]["result"] == {}
            assert {replies[own]["error"]["code"] for own in ("two", 3, 4)} == {-32601}
            assert set(peer.methods("response")) == {"s1"}

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:asks")
def test_a_server_that_asks_without_end_is_refused() -> None:
    async def play() -> None:
        peer = _Peer()

        async def asking(writer: asyncio.StreamWriter, seen: Seen) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for own in range(200):
                writer.write(b"data: " + orjson.dumps({"jsonrpc": "2.0", "id": own, "method": "ping"}) + b"\n\n")
            await seen.until_closed()

        async with _place(peer) as (sessions, server):
            peer.call = asking
            with pytest.raises(UnavailableError, match="more than 32 times"):
                await _call(sessions, server)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "upstream_redirect",
        ),
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "upstream_invalid"),
        (http_json({"jsonrpc": "2.0", "id": 999, "result": {"protocolVersion": LEGACY}}), "upstream_invalid"),
        (http_json(b"[]"), "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{", "upstream_invalid"),
    ],
)
@pytest.mark.requirement("gateway:server-sessions:begin")
def test_a_session_that_does_not_begin_fails_the_call_and_not_the_next(answer: bytes, code: str) -> None:
    async def play() -> None:
        peer = _Peer()

        async def broken(writer: asyncio.StreamWriter, seen: Seen) -> None:
            writer.write(answer)
            writer.close()

        async with _place(peer) as (sessions, server):
            peer.beginning = broken
            with pytest.raises(UnavailableError) as caught:
                await _call(sessions, server)
            assert caught.value.code.value == code
            peer.beginning = None
            await _call(sessions, server)

    asyncio.run(play())


@pytest.mark.parametrize("session", ["has space", "x" * 1025, "\x7f"])
@pytest.mark.requirement("gateway:server-sessions:begin")
def test_a_malformed_session_id_is_refused(session: str) -> None:
    async def play() -> None:
        peer = _Peer()

        async def odd(writer: asyncio.StreamWriter, seen: Seen) -> None:
            body = {"jsonrpc": "2.0", "id": seen.message["id"], "result": {"protocolVersion": LEGACY}}
            writer.write(http_json(body, extra=f"mcp-session-id: {session}\r\n"))

        async with _place(peer) as (sessions, server):
            peer.beginning = odd
            with pytest.raises(UnavailableError) as caught:
                await _call(sessions, server)
            assert caught.value.code is Code.UPSTREAM_INVALID

    asyncio.run(play())


@pytest.mark.requirement("gateway:server-sessions:begin")
def test_one_who_leaves_while_a_session_begins_takes_it_from_nobody() -> None:
    async def play() -> None:
        peer, gate = _Peer(), asyncio.Event()
        begin = peer.__call__

        async def slow(writer: asyncio.StreamWriter, seen: Seen) -> None:
            peer.beginning = None
            await gate.wait()
            peer.told.pop()
            peer.bodies.pop()
            await begin(writer, seen)

        async with _place(peer) as (sessions, server):
            peer.beginning = slow
            calls = [asyncio.create_task(_call(sessions, server)) for _ in range(3)]
            await asyncio.sleep(0.05)
            calls[0].cancel()
            await asyncio.sleep(0)
            gate.set()
            async with asyncio.timeout(10):
                ended = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError)
            assert [text_of(answer) for answer in ended[1:] if not isinstance(answer, BaseException)] != []
            assert peer.begun == 1

    asyncio.run(play())


# -- real servers, and which revision they are found to speak


def _sdk(**more: Any) -> Any:
    async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="read", input_schema={"type": "object"})])

    async def call_tool(ctx: Any, params: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=f"read by {params.name}")])

    server = Server("crm", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app(host="127.0.0.1", **more)


@pytest.mark.parametrize("json_response", [True, False], ids=["json", "events"])
@pytest.mark.parametrize("revision", [LATEST, *SESSION_REVISIONS])
@pytest.mark.requirement("gateway:server-sessions:sdk")
def test_a_server_built_with_the_sdk_is_called_in_every_revision_it_speaks(
    revision: str, *, json_response: bool
) -> None:
    async def play() -> None:
        upstream = Upstream(max_result_bytes=2**20)
        async with serving(_sdk(json_response=json_response), lifespan="on") as origin:
            servers = tool_servers(upstream)
            try:
                server = replace(make_server(f"{origin}/mcp"), revision=revision)
                assert await servers.newest_revision(server, credential={}) == LATEST
                for _ in range(3):
                    request = ToolRequest("tools/call", {"name": "read", "arguments": {}})
                    answer = await last(servers.exchange(server, request, credential={}, recheck=always))
                    assert text_of(answer) == "read by read"
            finally:
                await servers.aclose()

    asyncio.run(play())


@pytest.mark.parametrize(
    "refusal",
    [
        http_json(
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "no session"}}, status="400 Bad Request"
        ),
        http_json({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "what?"}}),
        b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n",
        http_json({"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": ["2025-11-25"]}}),
    ],
)
@pytest.mark.requirement("gateway:tool-servers:era-found")
def test_a_server_that_does_not_know_the_newest_revision_is_asked_by_initialize(refusal: bytes) -> None:
    async def play() -> None:
        peer = _Peer("2025-06-18")

        async def serve(writer: asyncio.StreamWriter, seen: Seen) -> None:
            if b"server/discover" in seen.body:
                writer.write(refusal)
            else:
                await peer(writer, seen)

        upstream = Upstream(max_result_bytes=2**20)
        async with RawServer(serve).run() as raw:
            servers = tool_servers(upstream)
            try:
                assert await servers.newest_revision(make_server(raw.url), credential=_CREDENTIAL) == "2025-06-18"
            finally:
                await servers.aclose()

    asyncio.run(play())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ],
)
@pytest.mark.requirement("gateway:tool-servers:era-found")
def test_a_server_that_could_not_be_asked_is_not_taken_for_an_older_one(answer: bytes) -> None:
    async def play() -> None:
        async def serve(writer: asyncio.StreamWriter, seen: Seen) -> None:
            assert b"initialize" not in seen.body
            writer.write(answer)

        upstream = Upstream(max_result_bytes=2**20)
        async with RawServer(serve).run() as raw:
            servers = tool_servers(upstream)
            try:
                with pytest.raises(UnavailableError) as caught:
                    await servers.newest_revision(make_server(raw.url), credential=_CREDENTIAL)
                assert caught.value.code in {Code.UPSTREAM_REDIRECT, Code.UPSTREAM_UNREACHABLE}
            finally:
                await servers.aclose()

    asyncio.run(play())
