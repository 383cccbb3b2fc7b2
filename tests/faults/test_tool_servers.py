"""Tool servers that are down, slow or lie: every one is named, and no call goes where it should not."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from tests.enforcement.place import SECRET, Place, ToolBox, agent, document, tool
from tests.faults.conftest import Town
from tests.gateway.stage import SSE_HEAD, RawServer, Script, Seen, answer_ok, http_json, modern, tool_result

_count = itertools.count(1)
_FREE = {"effect": "read", "data": ["internal"], "price": "0 USD"}


@dataclass
class _Stall:
    """One tool server of a test, and one agent that may call it."""

    at: Place
    box: ToolBox
    name: str
    token: str

    async def call(self, tool: str = "look", arguments: Mapping[str, Any] | None = None) -> Any:
        return await self.at.call(self.token, tool, arguments, server=self.name)


def _server(name: str, url: str, tools: Sequence[str]) -> dict[str, Any]:
    spec = {"url": url, "credential": f"{name}-key", "tools": dict.fromkeys(tools, _FREE)}
    return document("ToolServer", {"name": name, "environment": "development"}, spec)


@asynccontextmanager
async def _stall(
    at: Place, *tools: str, call_timeout: str = "20s", answer: Script | None = None
) -> AsyncIterator[_Stall]:
    tools = tools or ("look",)
    name, box = f"stall-{next(_count)}", ToolBox(*map(tool, tools))
    async with RawServer(box).run() as raw:
        await at.operator.put(
            f"upstream-credentials/{name}-key",
            {"origin": raw.url.removesuffix("/mcp"), "header": "Authorization", "value": SECRET},
        )
        granted = agent(
            f"{name}-agent", [{"server": name, "allow": list(tools)}],
            limits={"timeout": {"call": call_timeout}, "concurrency": 8},
        )  # fmt: skip
        await at.apply(_server(name, raw.url, tools), granted)
        await at.enrol(f"{name}-agent")
        if answer is not None:
            box.answer = answer
        yield _Stall(at, box, name, await at.token(f"{name}-agent", server=name))


def _says(message: Callable[[Seen], Any], **how: Any) -> Script:
    async def answer(writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(http_json(message(seen), **how))

    return answer


def _result(seen: Seen, **changed: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result()} | changed


async def _silent(_: asyncio.StreamWriter, seen: Seen) -> None:
    await seen.until_closed()


async def _slow_bytes(writer: asyncio.StreamWriter, seen: Seen) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    await seen.until_closed()


async def _sixty_four_megabytes(writer: asyncio.StreamWriter, _: Seen) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    for _part in range(64):
        writer.write(b"100000\r\n" + b" " * 2**20 + b"\r\n")
        await writer.drain()


_ANSWERS: Mapping[str, tuple[Script, str]] = {
    "another id": (_says(lambda seen: _result(seen, id=999)), "upstream_invalid"),
    "no JSON": (_says(lambda _: b"<html>"), "upstream_invalid"),
    "a repeated key": (_says(lambda _: b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}'), "upstream_invalid"),
    "no result": (_says(lambda seen: _result(seen, result={})), "upstream_invalid"),
    "a question back": (
        _says(lambda seen: _result(seen, result={"resultType": "input_required", "inputRequests": {}})),
        "upstream_invalid",
    ),
    "64 MB said": (
        _says(lambda _: b"{}", extra="content-length: 67108864\r\nx-"), "upstream_oversized",
    ),
    "64 MB sent": (_sixty_four_megabytes, "upstream_oversized"),
    "a redirect": (_says(lambda _: {}, status="307 Temporary", extra="location: /else\r\n"), "upstream_redirect"),
    "refused credential": (_says(lambda _: {}, status="401 No"), "upstream_invalid"),
    "out of order": (_says(lambda _: b"down", status="503 Down", extra="x-a: b\r\n"), "upstream_invalid"),
}  # fmt: skip


@pytest.mark.requirement("faults:servers:answers")
@pytest.mark.parametrize("fault", _ANSWERS)
def test_an_answer_that_is_none_is_named_and_the_call_ends_on_record(town: Town, fault: str) -> None:
    script, code = _ANSWERS[fault]

    async def story() -> None:
        async with _stall(town.at, answer=script) as stall:
            told = await stall.call()
            assert told.why["code"] == code, told.json
            assert told.why["message"]
            assert told.why["hint"]
            assert SECRET not in str(told.json)
            assert len(stall.box.calls) == 1
            await town.at.settled()
            _, body = town.at.records("outcome")[-1]
            assert (body["code"], body["sent"]) == (code, True)

    town.run(story())


@pytest.mark.requirement("faults:servers:slow")
@pytest.mark.parametrize("script", [_silent, _slow_bytes])
def test_a_slow_tool_server_is_cut_off_after_the_agent_s_own_time(
    town: Town, script: Callable[..., Awaitable[None]]
) -> None:
    async def story() -> None:
        async with _stall(town.at, call_timeout="1s", answer=script) as stall:
            (await stall.call()).refused("call_timeout")
            assert town.at.enforcer.in_flight == 0
            await town.at.settled()
            _, body = town.at.records("outcome")[-1]
            assert (body["end"], body["code"]) == ("timeout", "call_timeout")

    town.run(story())


@pytest.mark.requirement("faults:servers:down")
def test_a_tool_server_that_is_down_is_named_costs_nothing_and_is_called_again_when_it_is_back(town: Town) -> None:
    async def story() -> None:
        at = town.at
        async with _stall(at) as stall:
            assert (await stall.call()).allowed
        (await stall.call()).refused("upstream_unreachable")
        await at.settled()
        _, body = at.records("outcome")[-1]
        assert (body["end"], body["sent"], body["settled"]["cost"]) == ("unreachable", False, 0)
        at.site.clock.advance(31)
        (await stall.call()).refused("definition_unverified")
        assert len(stall.box.calls) == 1

    town.run(story())


def _listing(tools: Callable[[ToolBox], list[Any]]) -> Callable[[ToolBox], Script]:
    def lie(box: ToolBox) -> Script:
        return _says(lambda seen: _result(seen, result={"resultType": "complete", "tools": tools(box)}))

    return lie


_LIES: Mapping[str, tuple[Callable[[ToolBox], Script], str]] = {
    "a tool twice": (_listing(lambda box: [*box.tools, *box.tools]), "definition_unverified"),
    "10,000 tools": (_listing(lambda _: [tool(f"t{number}") for number in range(10_000)]), "definition_unverified"),
    "a changed description": (_listing(lambda _: [tool("look") | {"description": "x"}]), "definition_changed"),
    "a changed schema": (_listing(lambda _: [tool("look", extra={"type": "string"})]), "definition_changed"),
    "other names": (_listing(lambda _: [tool("Look"), tool("l\u043e\u043ek")]), "definition_changed"),
    "nothing": (_listing(lambda _: []), "definition_changed"),
    "no list": (lambda _: _says(lambda seen: _result(seen, result={"tools": "look"})), "definition_unverified"),
    "pages without end": (
        lambda _: _says(lambda seen: _result(seen, result={"tools": [], "nextCursor": "more"})),
        "definition_unverified",
    ),
    "another's answer": (lambda _: _says(lambda seen: _result(seen, id=-1)), "definition_unverified"),
}  # fmt: skip


@pytest.mark.requirement("faults:servers:lies")
@pytest.mark.parametrize("lie", _LIES)
def test_a_tool_server_that_lies_about_its_tools_is_not_called_until_it_tells_the_truth(town: Town, lie: str) -> None:
    listing, code = _LIES[lie]

    async def story() -> None:
        async with _stall(town.at) as stall:
            assert (await stall.call()).allowed
            stall.box.listing = listing(stall.box)
            town.at.site.clock.advance(31)
            (await stall.call()).refused(code)
            assert len(stall.box.calls) == 1
            stall.box.listing = None
            town.at.site.clock.advance(31)
            stall.token = await town.at.token(f"{stall.name}-agent", server=stall.name)
            assert (await stall.call()).allowed

    town.run(story())


@pytest.mark.requirement("faults:servers:registration")
def test_a_tool_server_that_lies_when_it_is_registered_is_not_registered(town: Town) -> None:
    async def story() -> None:
        at = town.at
        for lie in ("a tool twice", "10,000 tools", "nothing", "no list", "pages without end", "another's answer"):
            name, box = f"liar-{next(_count)}", ToolBox(tool("look"))
            box.listing = _LIES[lie][0](box)
            async with RawServer(box).run() as raw:
                credential = {"origin": raw.url.removesuffix("/mcp"), "header": "Authorization", "value": SECRET}
                await at.operator.put(f"upstream-credentials/{name}-key", credential)
                problem = await at.refused_apply(_server(name, raw.url, ["look"]))
            assert problem["code"] in {"upstream_invalid", "upstream_oversized", "tool_unknown"}, lie
            assert problem["detail"]
            assert problem["hint"], lie
            assert name not in {one["name"] for one in (await at.operator.get("servers"))["items"]}

    town.run(story())


@pytest.mark.requirement("faults:names:tools")
def test_tools_of_any_name_are_registered_granted_listed_called_and_recorded(town: Town) -> None:
    names = ("a.b", "a-b", "a/b", "a b", "größe", "検索", "50%", "~x", "😀", "a%2Fb", "..", "\uff21")

    async def story() -> None:
        async with _stall(town.at, *names) as stall:
            for name in names:
                assert (await stall.call(name, {"customer_id": name})).allowed, name
            assert [one["name"] for one in stall.box.calls] == list(names)
            assert [one["arguments"]["customer_id"] for one in stall.box.calls] == list(names)
            ids = [header["tool"] for header, _ in town.at.records("decision")[-len(names) :]]
            assert len(set(ids)) == len(names)
            assert all(one.isascii() and one.count("/") == 1 for one in ids)
            (await stall.call("a/b/../b")).refused("tool_not_granted")
            assert len(stall.box.calls) == len(names)

    town.run(story())


async def _reset(writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Some of the answer, then the connection is torn down without a goodbye."""
    token = seen.message["params"]["_meta"].get("progressToken")
    notice = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
    writer.write(SSE_HEAD + b"data: " + orjson.dumps(notice) + b"\r\n\r\ndata: {")
    await writer.drain()
    await asyncio.sleep(0.05)  # what was sent would be thrown away with the connection
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.requirement("faults:servers:answers")
def test_a_stream_that_is_reset_in_the_middle_ends_in_words_for_the_agent_and_on_record(town: Town) -> None:
    async def story() -> None:
        async with _stall(town.at, answer=_reset) as stall:
            body, headers = modern(params={"name": "look", "arguments": {}}, meta={"progressToken": "p"})
            headers["mcp-name"] = "look"
            answer = await town.at.post(stall.token, body, headers, server=stall.name)
            assert answer.headers["content-type"].startswith("text/event-stream")
            frames = [orjson.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
            assert frames[0]["params"] == {"progressToken": "p", "progress": 1}
            assert frames[1]["result"]["structuredContent"]["code"] == "upstream_invalid"
            await town.at.settled()
            assert town.at.records("outcome")[-1][1]["code"] == "upstream_invalid"
            stall.box.answer = answer_ok
            assert (await stall.call()).allowed

    town.run(story())


@pytest.mark.requirement("faults:servers:swapped")
def test_answers_of_two_calls_that_are_swapped_reach_neither_agent(town: Town) -> None:
    waiting: list[tuple[asyncio.StreamWriter, Seen]] = []

    async def swapped(writer: asyncio.StreamWriter, seen: Seen) -> None:
        waiting.append((writer, seen))
        if len(waiting) == 2:
            for (to, _), (_, of) in zip(waiting, reversed(waiting), strict=True):
                secret = tool_result(f"for {of.message['id']} alone")
                to.write(http_json({"jsonrpc": "2.0", "id": of.message["id"], "result": secret}))
                await to.drain()
        else:
            await seen.until_closed()

    async def story() -> None:
        async with _stall(town.at, answer=swapped) as stall:
            for told in await asyncio.gather(stall.call(), stall.call()):
                assert told.why["code"] == "upstream_invalid"
                assert "alone" not in str(told.json)

    town.run(story())


@pytest.mark.requirement("faults:servers:memory")
def test_of_64_mb_no_more_is_taken_than_a_result_may_have(town: Town) -> None:
    sent: list[int] = []

    async def flood(writer: asyncio.StreamWriter, _: Seen) -> None:
        writer.write(SSE_HEAD)
        sent.append(0)
        for _part in range(64):
            writer.write(b": " + b"x" * 2**20 + b"\r\n\r\n")
            await writer.drain()
            sent[-1] += 1

    async def story() -> None:
        async with _stall(town.at, answer=flood) as stall:
            (await stall.call()).refused("upstream_oversized")
            assert 1 <= sent[-1] < 24, "the rest was let in, buffers of both kernels aside"

    town.run(story())


@pytest.mark.requirement("faults:clients:vanish")
def test_a_client_that_vanishes_without_a_goodbye_ends_its_call_at_the_tool_server_too(town: Town) -> None:
    closed = asyncio.Event()

    async def streams(writer: asyncio.StreamWriter, seen: Seen) -> None:
        token = seen.message["params"]["_meta"]["progressToken"]
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
        writer.write(SSE_HEAD + b"data: " + orjson.dumps(note) + b"\r\n\r\n")
        await writer.drain()
        try:
            await seen.until_closed()
        finally:
            closed.set()

    async def story() -> None:
        async with _stall(town.at, answer=streams) as stall:
            body, headers = modern(params={"name": "look", "arguments": {}}, meta={"progressToken": 1})
            given = headers | {"mcp-name": "look", "authorization": f"Bearer {stall.token}"}
            given["content-length"] = str(len(body))
            host, _, port = town.at.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
            writer.write(f"POST /mcp/{stall.name} HTTP/1.1\r\n{head}\r\n".encode() + body)
            await reader.readuntil(b'"progress":1')
            assert town.at.enforcer.in_flight == 1
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            async with asyncio.timeout(10):
                await closed.wait()
                while town.at.enforcer.in_flight:
                    await asyncio.sleep(0.001)
            await town.at.settled()
            _, ended = town.at.records("outcome")[-1]
            assert (ended["code"], ended["sent"]) == ("cancelled", True)

    town.run(story())
