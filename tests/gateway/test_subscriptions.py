"""Streams that tell a client when what it may use is another: what they say, when they end, and how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from accredit.gateway import subscriptions
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.registry.model import Tool
from tests.enforcement.place import WORKER, Place, agent, place
from tests.gateway.stage import TOKEN, Peer, Stage, make_server, make_tool, modern, stage

_TOOLS: dict[str, Any] = {"notifications": {"toolsListChanged": True, "resourcesListChanged": False}}
_ID = "io.modelcontextprotocol/subscriptionId"


def _listening(at: Stage, params: dict[str, Any] | None = None) -> tuple[Peer, asyncio.Task[Any]]:
    peer = at.peer()
    body, headers = modern("subscriptions/listen", params if params is not None else _TOOLS)
    return peer, asyncio.create_task(peer.exchange(body, headers))


async def _events(peer: Peer, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(peer.reply.events) < count:
            await asyncio.sleep(0.001)
    return peer.reply.events


@pytest.mark.requirement("gateway:subscriptions:tools")
def test_a_stream_says_what_it_will_tell_and_then_each_change_of_the_tools_once() -> None:
    async def play() -> None:
        async with stage() as at:
            peer, task = _listening(at)
            (ack,) = await _events(peer, 1)
            assert ack["method"] == "notifications/subscriptions/acknowledged"
            assert ack["params"] == {"_meta": {_ID: 7}, "notifications": {"toolsListChanged": True}}
            at.gateway.changed()  # of something else
            await asyncio.sleep(0.01)
            at.point.target = make_server(at.server.url, make_tool(), make_tool("refund"))
            at.gateway.changed()
            _, notice = await _events(peer, 2)
            assert notice["method"] == "notifications/tools/list_changed"
            assert notice["params"] == {"_meta": {_ID: 7}}
            peer.left.set()
            await task
            assert len(peer.reply.events) == 2

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:shared")
def test_streams_that_see_the_same_are_looked_at_together_and_a_users_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str | None] = []

    async def play() -> None:
        async with stage() as at:
            seen = at.point.visible

            def visible(principal: Principal, *what: Any) -> tuple[Tool, ...]:
                looks.append(principal.user.subject if principal.user else None)
                return seen(principal, *what)

            monkeypatch.setattr(at.point, "visible", visible)
            body, headers = modern("subscriptions/listen", _TOOLS)
            peers = [at.peer() for _ in range(12)]
            whose = [{}, {"authorization": f"{TOKEN} for ada"}, {"authorization": f"{TOKEN} for alan"}]
            tasks = [asyncio.create_task(peer.exchange(body, headers | whose[at % 3])) for at, peer in enumerate(peers)]
            for peer in peers:
                await _events(peer, 1)
            once = looks.count(None)
            assert [looks.count(name) for name in (None, "ada", "alan")] == [once] * 3
            at.point.target = make_server(at.server.url)
            at.gateway.changed()
            for peer in peers:
                await _events(peer, 2)
            assert len(looks) == 2 * 3 * once, "each once more, of twelve streams"
            for peer in peers:
                peer.left.set()
            await asyncio.gather(*tasks)

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:asked-alone")
def test_nobody_is_told_what_was_not_asked_for_and_what_is_malformed_is_refused() -> None:
    async def play() -> None:
        async with stage() as at:
            peer, task = _listening(at, {"notifications": {"toolsListChanged": "yes"}})
            (ack,) = await _events(peer, 1)
            assert ack["params"]["notifications"] == {}
            at.point.target = make_server(at.server.url)
            at.gateway.changed()
            await asyncio.sleep(0.01)
            peer.left.set()
            await task
            assert len(peer.reply.events) == 1
            refused = await at.call(*modern("subscriptions/listen", {"notifications": []}))
            assert refused.json["error"]["code"] == -32602

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:revoked")
def test_a_stream_ends_with_its_credential_and_with_the_process_and_says_so() -> None:
    async def play() -> None:
        async with stage() as at:
            ends = []
            peer, task = _listening(at)
            await _events(peer, 1)
            at.point.invalid = Code.CREDENTIAL_REVOKED
            at.gateway.changed()
            await asyncio.wait_for(task, 5)
            ends.append(peer.reply.events[-1])
            at.point.invalid = None
            peer, task = _listening(at)
            await _events(peer, 1)
            await at.gateway.aclose()
            await asyncio.wait_for(task, 5)
            ends.append(peer.reply.events[-1])
            assert [end["id"] for end in ends] == [7, 7]
            assert all(end["result"] == {"resultType": "complete", "_meta": {_ID: 7}} for end in ends)

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:bounded")
def test_streams_of_one_agent_are_bounded_and_one_that_ends_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_MOST_OF_ONE", 2)

    async def play() -> None:
        async with stage() as at:
            open_streams = [_listening(at) for _ in range(2)]
            for peer, _ in open_streams:
                await _events(peer, 1)
            refused = await at.call(*modern("subscriptions/listen", _TOOLS))
            assert (refused.status, refused.code) == (429, "concurrency_limited")
            open_streams[0][0].left.set()
            await open_streams[0][1]
            peer, task = _listening(at)
            await _events(peer, 1)
            for each in (peer, open_streams[1][0]):
                each.left.set()
            await asyncio.gather(task, open_streams[1][1])

    asyncio.run(play())


@pytest.mark.requirement("gateway:subscriptions:bounded")
def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_ALIVE_S", 0.01)

    async def play() -> None:
        async with stage() as at:
            peer, task = _listening(at)
            async with asyncio.timeout(10):
                while b": alive" not in peer.reply.body:
                    await asyncio.sleep(0.001)
            peer.left.set()
            await task

    asyncio.run(play())


@asynccontextmanager
async def _client(at: Place, path: str) -> AsyncIterator[Client]:
    token = await at.token("worker", server=None if path == "/mcp" else "crm")
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=10, trust_env=False) as http,
        Client(streamable_http_client(f"{at.url}{path}", http_client=http), mode="2026-07-28") as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/mcp", "/mcp/crm"])
@pytest.mark.requirement("gateway:subscriptions:sdk-client")
def test_the_sdk_client_hears_of_a_new_version_and_the_end_at_a_revocation(tmp_path: Path, path: str) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at, _client(at, path) as client:
            before = {tool.name for tool in (await client.list_tools()).tools}
            async with asyncio.timeout(20), client.listen(tools_list_changed=True) as stream:
                assert stream.honored.tools_list_changed
                await at.apply(agent("worker", [{"allow": ["read"]}]))
                heard = await anext(aiter(stream))
                assert type(heard).__name__ == "ToolsListChanged"
                after = {tool.name for tool in (await client.list_tools()).tools}
                assert len(after) == 1
                assert after < before
                await at.operator.post("agents/worker/revoke", {"reason": "no longer trusted"})
                assert [event async for event in stream] == []

    asyncio.run(live())
