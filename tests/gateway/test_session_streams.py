"""Streams of sessions, and word of resources that changed: who hears what, until when, and after a break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.model import CallEnd, Refused
from accredit.gateway import subscriptions
from accredit.kernel.codes import Code
from accredit.registry.items import ItemKind
from accredit.registry.model import Tool
from tests.gateway.library import CARD, GRANTED, SHELF, Library, library, reader
from tests.gateway.scripted import LEGACY
from tests.gateway.stage import (
    TOKEN,
    Peer,
    Seen,
    Stage,
    answer_ok,
    http_json,
    legacy,
    make_server,
    make_tool,
    modern,
    stage,
)

_URI = "lib://shelf"
_NO_ITEMS: dict[str, Any] = {}


def _item(uri: str = _URI) -> Tool:
    return replace(make_tool(f"resources/{uri}"), definition={"uri": uri, "name": "shelf"})


async def _until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.001)


@dataclass
class _Following:
    """A client that reads the stream of its session."""

    peer: Peer
    task: asyncio.Task[Any]

    @property
    def methods(self) -> list[str]:
        return [event["method"] for event in self.peer.reply.events]

    @property
    def ids(self) -> list[str]:
        lines = self.peer.reply.body.split(b"\r\n")
        return [line.removeprefix(b"id: ").decode() for line in lines if line.startswith(b"id: ")]

    async def heard(self, count: int) -> list[str]:
        await _until(lambda: len(self.methods) >= count)
        return self.methods

    async def leave(self) -> None:
        self.peer.left.set()
        await asyncio.wait_for(self.task, 10)


def _get(session: str, **more: str) -> dict[str, str]:
    head = {"host": "127.0.0.1:8700", "authorization": TOKEN, "accept": "text/event-stream", "mcp-session-id": session}
    return head | {key.replace("_", "-"): value for key, value in more.items()}


async def _follow(at: Stage, session: str, **more: str) -> _Following:
    peer = at.peer()
    task = asyncio.create_task(peer.exchange(b"", _get(session, **more), method="GET"))
    await _until(lambda: peer.reply.body or task.done())
    return _Following(peer, task)


async def _change(at: Stage, *names: str) -> None:
    at.point.target = make_server(at.server.url, *(make_tool(name) for name in names))
    at.gateway.changed()
    await asyncio.sleep(0)


@pytest.mark.requirement("gateway:session-streams:told")
def test_a_session_hears_of_a_changed_list_once_and_of_nothing_else() -> None:
    async def play() -> None:
        async with stage() as at:
            begun = await at.call(*legacy("initialize", {"protocolVersion": LEGACY, "capabilities": {}}))
            assert begun.json["result"]["capabilities"]["tools"] == {"listChanged": True}
            stream = await _follow(at, begun.headers["mcp-session-id"])
            assert stream.peer.reply.headers["content-type"] == "text/event-stream"
            assert len(stream.ids) == 1, "from the beginning on it can be taken up"
            at.gateway.changed()  # of something else
            await _change(at, "read_customer", "refund")
            assert await stream.heard(1) == ["notifications/tools/list_changed"]
            await stream.leave()
            assert len(stream.methods) == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"accept": "application/json"}, 406),
        ({"mcp_protocol_version": "2024-01-01"}, 400),
        ({"authorization": "Bearer agent-two"}, 404),
        ({"authorization": "Bearer nobody"}, 401),
        ({"origin": "https://evil.example"}, 403),
    ],
)
@pytest.mark.requirement("gateway:session-streams:told")
def test_a_stream_is_for_the_owner_of_its_session(headers: dict[str, str], status: int) -> None:
    async def play() -> None:
        async with stage() as at:
            reply = (await _follow(at, await at.begin(), **headers)).peer.reply
            assert reply.status == status
            assert b"text/event-stream" not in reply.headers.get("content-type", "").encode()

    asyncio.run(play())


@pytest.mark.parametrize("end", ["delete", "revoked", "process"])
@pytest.mark.requirement("gateway:session-streams:told")
def test_a_stream_ends_with_its_session_its_credential_and_the_process(end: str) -> None:
    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            stream = await _follow(at, session)
            if end == "delete":
                assert (await at.call(b"", _get(session), method="DELETE")).status == 204
            elif end == "revoked":
                at.point.invalid = Code.CREDENTIAL_REVOKED
                at.gateway.changed()
            else:
                await at.gateway.aclose()
            await asyncio.wait_for(stream.task, 10)
            assert stream.peer.reply.complete
            if end == "delete":
                assert (await _follow(at, session)).peer.reply.status == 404
                assert at.gateway._subscriptions.kept == 0

    asyncio.run(play())


@pytest.mark.requirement("gateway:session-streams:resumed")
def test_what_was_said_while_nobody_listened_and_what_was_lost_is_said_again_once() -> None:
    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            first = await _follow(at, session)
            start = first.ids[0]
            await _change(at, "read_customer", "refund")
            await first.heard(1)
            await first.leave()
            await _change(at, "refund")
            again = await _follow(at, session, last_event_id=first.ids[1])
            assert await again.heard(1) == ["notifications/tools/list_changed"]
            await again.leave()
            # the client says that it has seen nothing since the beginning
            lost = await _follow(at, session, last_event_id=start)
            assert await lost.heard(2) == ["notifications/tools/list_changed"] * 2
            assert lost.ids[:1] == first.ids[1:2]
            await lost.leave()
            seen = await _follow(at, session, last_event_id=lost.ids[-1])
            at.gateway.changed()
            await asyncio.sleep(0.01)
            assert seen.methods == []
            await seen.leave()

    asyncio.run(play())


@pytest.mark.requirement("gateway:session-streams:resumed")
def test_an_id_that_is_not_of_this_session_brings_nothing_of_another_and_everything_is_said_anew() -> None:
    async def play() -> None:
        async with stage() as at:
            mine, other = await at.begin(), await at.begin()
            theirs = await _follow(at, other)
            await _change(at, "read_customer", "refund")
            await theirs.heard(1)
            every = {f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")}
            for forged in (theirs.ids[0], "evs_x-1", "-", "9" * 400, theirs.ids[0].rpartition("-")[0] + "-99999"):
                stream = await _follow(at, mine, last_event_id=forged)
                assert set(await stream.heard(3)) == every
                assert not set(stream.ids) & set(theirs.ids)
                await stream.leave()
            await theirs.leave()

    asyncio.run(play())


@pytest.mark.requirement("gateway:session-streams:bounded")
def test_events_that_are_not_kept_any_more_are_said_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_MOST_REPLAYED", 3)

    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            stream = await _follow(at, session)
            for count in range(1, 8):
                await _change(at, f"tool{count}")
                await stream.heard(count)
            await stream.leave()
            late = await _follow(at, session, last_event_id=stream.ids[1])
            assert len(set(await late.heard(3))) == 3
            await late.leave()
            kept = next(iter(at.gateway._subscriptions._kept.values()))
            assert len(kept._sent) <= 3

    asyncio.run(play())


@pytest.mark.requirement("gateway:session-streams:bounded")
def test_a_newer_stream_takes_over_and_what_is_kept_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_KEPT_S", 0.05)
    monkeypatch.setattr(subscriptions, "_MOST_OF_ONE", 2)

    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            old = await _follow(at, session)
            new = await _follow(at, session)
            await asyncio.wait_for(old.task, 10)
            await _change(at, "refund")
            await new.heard(1)
            assert old.methods == []
            second = await _follow(at, await at.begin())
            assert (await _follow(at, await at.begin())).peer.reply.status == 429
            await asyncio.sleep(0.1)
            assert at.gateway._subscriptions.kept == 2, "what is listened to is kept"
            await new.leave()
            await second.leave()
            await _until(lambda: at.gateway._subscriptions.kept == 0)

    asyncio.run(play())


# -- resources


async def _subscribing(writer: asyncio.StreamWriter, seen: Seen) -> None:
    """A server with sessions that lets itself be subscribed to."""
    message = seen.message if seen.body else {}
    if message.get("method") == "initialize":
        about = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
        writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": about}))
    elif message.get("method", "").startswith("resources/"):
        writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": {}}))
    else:
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")


@asynccontextmanager
async def _shelf(*uris: str) -> AsyncIterator[Stage]:
    async with stage(_subscribing) as at:
        tools = {item.name: item for item in map(_item, uris or (_URI,))}
        at.point.target = replace(at.point.target, revision=LEGACY, tools=tools)
        yield at


def _upstream(at: Stage, method: str) -> int:
    return sum(seen.message["method"] == method for seen in at.server.seen if seen.body)


async def _subscribe(at: Stage, session: str, uri: str = _URI, method: str = "resources/subscribe") -> Any:
    return await at.call(*legacy(method, {"uri": uri}, session=session))


def _tell(at: Stage, uri: str = _URI) -> None:
    """As if its server had said so."""
    for key, watched in at.gateway._calls._watches._watched.items():
        if key[3] == uri:
            watched.tell()


@pytest.mark.requirement("gateway:subscriptions:resources")
def test_a_subscription_is_decided_like_a_read_once_and_ends_when_nobody_is_left() -> None:
    async def play() -> None:
        async with _shelf() as at:
            sessions = [await at.begin() for _ in range(2)]
            for session in (*sessions, sessions[0]):
                assert (await _subscribe(at, session)).json["result"] == {}
            assert [(call.tool, call.item, call.watches) for call in at.point.calls] == [
                (f"resources/{_URI}", ItemKind.RESOURCE, True)
            ] * 2
            assert [end.end for end in at.point.settled] == [CallEnd.OK] * 2
            assert _upstream(at, "resources/subscribe") == 1
            streams = [await _follow(at, session) for session in sessions]
            _tell(at)
            for stream in streams:
                await stream.heard(1)
                assert stream.peer.reply.events[0]["params"] == {"uri": _URI}
            await _subscribe(at, sessions[0], method="resources/unsubscribe")
            _tell(at)
            await streams[1].heard(2)
            assert len(streams[0].methods) == 1
            assert _upstream(at, "resources/unsubscribe") == 0
            assert (await at.call(b"", _get(sessions[1]), method="DELETE")).status == 204
            await _until(lambda: _upstream(at, "resources/unsubscribe") == 1)
            await streams[0].leave()

    asyncio.run(play())


@pytest.mark.parametrize("refusal", [None, Refused(Code.HELD, Code.HELD.meaning), Refused(Code.POLICY_ERROR, "no")])
@pytest.mark.requirement("gateway:subscriptions:resources")
def test_who_may_not_read_hears_of_nothing(refusal: Refused | None) -> None:
    async def play() -> None:
        async with _shelf() as at:
            at.point.refusal = refusal
            session = await at.begin()
            told = await _subscribe(at, session, _URI if refusal else "lib://unknown")
            expected = refusal.code.value if refusal else "tool_not_granted"
            assert told.json["error"]["data"]["code"] == expected
            body, headers = modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": [_URI, "x"]}})
            if refusal:
                peer = at.peer()
                task = asyncio.create_task(peer.exchange(body, headers))
                await _until(lambda: peer.reply.events)
                assert peer.reply.events[0]["params"]["notifications"] == {}
                peer.left.set()
                await task
            assert _upstream(at, "resources/subscribe") == 0

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:resources")
def test_what_changed_without_a_stream_is_told_once_and_only_if_it_may_be_told_by_then() -> None:
    async def play() -> None:
        async with _shelf(_URI, "lib://other") as at:
            session = await at.begin()
            for uri in (_URI, "lib://other"):
                await _subscribe(at, session, uri)
                for _ in range(3):
                    _tell(at, uri)
            at.point.target = replace(at.point.target, tools={f"resources/{_URI}": _item()})  # not listed any more
            stream = await _follow(at, session)
            await stream.heard(1)
            await asyncio.sleep(0.01)
            assert [event["params"] for event in stream.peer.reply.events] == [{"uri": _URI}]
            await stream.leave()
            at.point.grants = False
            at.gateway.changed()
            await _until(lambda: _upstream(at, "resources/unsubscribe") == 2)

    asyncio.run(play())


@pytest.mark.parametrize("code", [Code.CREDENTIAL_REVOKED, Code.TOKEN_EXPIRED])
@pytest.mark.requirement("gateway:subscriptions:resources")
def test_a_revocation_ends_subscriptions_and_a_token_that_ran_out_does_not_yet(code: Code) -> None:
    async def play() -> None:
        async with _shelf() as at:
            session = await at.begin()
            await _subscribe(at, session)
            stream = await _follow(at, session)
            at.point.invalid = code
            at.gateway.changed()
            await asyncio.wait_for(stream.task, 10)
            _tell(at)
            at.gateway.changed()
            if code is Code.CREDENTIAL_REVOKED:
                await _until(lambda: _upstream(at, "resources/unsubscribe") == 1)
                assert stream.methods == []
                return
            at.point.invalid = None  # the client has another token
            again = await _follow(at, session, last_event_id=stream.ids[-1])
            assert await again.heard(1) == ["notifications/resources/updated"]
            await again.leave()

    asyncio.run(play())


@pytest.mark.requirement("gateway:session-streams:bounded")
def test_subscriptions_of_one_session_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_MOST_WANTED", 1)

    async def play() -> None:
        async with _shelf(_URI, "lib://other") as at:
            session = await at.begin()
            assert (await _subscribe(at, session)).status == 200
            refused = await _subscribe(at, session, "lib://other")
            assert (refused.status, refused.code) == (429, "concurrency_limited")
            await _subscribe(at, session, method="resources/unsubscribe")
            assert (await _subscribe(at, session, "lib://other")).status == 200
            for uri in ("", "x" * 1025, 5):
                assert (await _subscribe(at, session, uri)).json["error"]["code"] == -32602  # type: ignore[arg-type]
            many = modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["a", "b"]}})
            assert (await at.call(*many)).json["error"]["code"] == -32602

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:resources")
def test_a_server_that_tells_of_nothing_makes_the_subscription_fail() -> None:
    async def play() -> None:
        async with stage(answer_ok) as at:
            at.point.target = replace(at.point.target, tools={f"resources/{_URI}": _item()})
            session = await at.begin()
            told = await _subscribe(at, session)
            assert told.json["error"]["data"]["code"] == "upstream_invalid"
            assert at.point.settled[-1].end is not CallEnd.OK

    asyncio.run(play())


# -- a whole installation, with the SDK on both sides


async def _told_through(lib: Library, mode: str, server: str | None) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def handle(message: Any) -> None:
        if type(message).__name__ == "ResourceUpdatedNotification":
            heard.put_nowait(str(message.params.uri))

    token = await lib.token(server=server)
    async with asyncio.timeout(30), lib.client(mode, token, server, message_handler=handle) as client:
        if mode == "legacy":
            await client.subscribe_resource(SHELF)
            await lib.update(SHELF)
            assert await heard.get() == SHELF
            await client.unsubscribe_resource(SHELF)
            return
        uris = [SHELF, CARD.format(customer_id="7"), "lib://card/vault"]
        async with client.listen(resource_subscriptions=uris) as stream:
            assert stream.honored.resource_subscriptions == uris[:2], "the vault is not granted"
            await lib.update(SHELF)
            event = await anext(aiter(stream))
            assert (type(event).__name__, str(event.uri)) == ("ResourceUpdated", SHELF)  # type: ignore[union-attr]
            await lib.at.operator.post("agents/reader/revoke", {"reason": "no longer trusted"})
            assert [event async for event in stream] == []


@pytest.mark.parametrize(
    ("revision", "mode", "server"),
    [
        ("2026-07-28", "2026-07-28", "library"),
        ("2026-07-28", "legacy", "library"),
        (LEGACY, "2026-07-28", "library"),
        (LEGACY, "legacy", None),
    ],
)
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.requirement("gateway:subscriptions:resources")
def test_the_sdk_client_of_each_era_hears_of_a_resource_of_the_sdk_server_of_each(
    tmp_path: Path, revision: str, mode: str, server: str | None
) -> None:
    async def live() -> None:
        async with library(tmp_path / "data", reader(GRANTED), revision=revision) as lib:
            await _told_through(lib, mode, server)
            await lib.at.settled()
            decided = [body for header, body in lib.at.records("decision")]
            assert decided, "it is on record"
            if mode == "legacy" and revision == LEGACY:
                await _until(lambda: ("resources/unsubscribe", SHELF) in lib.arrived)

    asyncio.run(live())
