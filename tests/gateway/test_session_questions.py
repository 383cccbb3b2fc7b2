"""Questions that a tool server with sessions puts in the middle of a call: to whom, and what becomes of the call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import mcp_types as types
import orjson
import pytest
from mcp.server.lowlevel import Server

from accredit.enforcement.model import CallEnd, Refused
from accredit.gateway import answers, opencalls
from accredit.gateway.toolservers import ToolRequest, always
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import HoldId
from tests.gateway.scripted import LEGACY
from tests.gateway.speaking import VARIABLE, last, program, stdio, text_of
from tests.gateway.stage import (
    SSE_HEAD,
    START_US,
    Peer,
    Seen,
    Stage,
    StagedEnforcement,
    http_json,
    legacy,
    make_gateway,
    make_server,
    make_tool,
    modern,
    serving,
    stage,
    tool_result,
)
from tests.gateway.test_sdk_clients import sdk_client

_FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
_KIM: dict[str, Any] = {"action": "accept", "content": {"name": "Kim"}}
_CALL: dict[str, Any] = {"name": "read_customer", "arguments": {"customer_id": "c-1"}}


def _form(**more: Any) -> dict[str, Any]:
    return {"message": "Who?", "requestedSchema": _SCHEMA, **more}


class _Asker:
    """A server with a session that asks in each call, and tells in its result what it was told."""

    def __init__(self) -> None:
        self.questions: list[tuple[Any, dict[str, Any]]] = [("q", _form())]
        self.told: dict[Any, Any] = {}
        self.methods: list[str] = []
        self.declared: Any = None
        self.heard = asyncio.Event()
        self.after: Callable[[asyncio.StreamWriter, int], None] = lambda writer, rpc_id: None

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if seen.head.startswith(b"DELETE"):
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
            return
        message = seen.message
        self.methods.append(message.get("method", "response"))
        if message.get("method") == "initialize":
            self.declared = message["params"]["capabilities"]
            about = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": message["id"], "result": about}
            writer.write(http_json(body, extra="mcp-session-id: s1\r\n"))
            return
        if message.get("method") != "tools/call":
            if "method" not in message:
                self.told[message["id"]] = message.get("result", message.get("error"))
                self.heard.set()
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            return
        writer.write(SSE_HEAD)
        gone = asyncio.ensure_future(seen.reader.read())
        for own, params in self.questions:
            ask = {"jsonrpc": "2.0", "id": own, "method": "elicitation/create", "params": params}
            writer.write(b"data: " + orjson.dumps(ask) + b"\n\n")
            while own not in self.told:
                self.heard.clear()
                heard = asyncio.ensure_future(self.heard.wait())
                await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
                if gone.done():
                    raise ConnectionResetError
        text = orjson.dumps([self.told[own] for own, _ in self.questions]).decode()
        body = {"jsonrpc": "2.0", "id": message["id"], "result": tool_result(text)}
        writer.write(b"data: " + orjson.dumps(body) + b"\n\n")
        self.after(writer, message["id"])
        writer.close()


@asynccontextmanager
async def _asking(*modes: str, asker: _Asker | None = None) -> AsyncIterator[tuple[Stage, _Asker]]:
    made = asker or _Asker()
    async with stage(made) as at:
        at.point.elicitation = frozenset(modes)
        at.point.target = replace(at.point.target, revision=LEGACY, elicitation=frozenset(modes))
        yield at, made


def _retry(state: str, responses: Any = None) -> tuple[bytes, dict[str, str]]:
    params = {**_CALL, "requestState": state}
    return modern(params=params | ({"inputResponses": responses} if responses else {}), capabilities=_FORMS)


async def _first(at: Stage) -> Any:
    """The question as a client without a session gets it."""
    return (await at.call(*modern(params=_CALL, capabilities=_FORMS))).json["result"]


async def _session(at: Stage, capabilities: Any = None) -> str:
    params = {"protocolVersion": LEGACY, "capabilities": _FORMS if capabilities is None else capabilities}
    return (await at.call(*legacy("initialize", params))).headers["mcp-session-id"]


async def _until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.001)


async def _asked_on_stream(at: Stage, session: str) -> tuple[Peer, asyncio.Task[Any], dict[str, Any]]:
    peer = at.peer()
    task = asyncio.create_task(peer.exchange(*legacy("tools/call", _CALL, session=session)))
    await _until(lambda: any("method" in event for event in peer.reply.events))
    return peer, task, next(event for event in peer.reply.events if "method" in event)


def _answer(rpc_id: Any, session: str, result: Any = None) -> tuple[bytes, dict[str, str]]:
    return orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": result or _KIM}), legacy("x", session=session)[1]


@pytest.mark.requirement("gateway:questions:in-a-call")
def test_a_client_without_a_session_answers_the_call_that_goes_on() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            assert told["resultType"] == "input_required"
            ((name, question),) = told["inputRequests"].items()
            assert question["params"] == {"mode": "form", "message": "crm asks: Who?", "requestedSchema": _SCHEMA}
            assert asker.declared == {"elicitation": {"form": {}}}
            assert asker.told == {}
            done = (await at.call(*_retry(told["requestState"], {name: _KIM}))).json["result"]
            assert orjson.loads(done["content"][0]["text"]) == [_KIM]
            assert asker.methods.count("tools/call") == 1, "it is one call to its server"
            # and two to us, each decided, recorded and paid for
            assert [call.answers for call in at.point.calls] == [{}, {name: _KIM}]
            assert [end.end for end in at.point.settled] == [CallEnd.INPUT_REQUIRED, CallEnd.OK]
            assert at.point.inspected[0]["inputRequests"][name] == question

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:in-a-call")
def test_a_client_with_a_session_is_asked_on_its_stream() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            asker.questions.append((2, _form(message="Sure?")))
            session = await _session(at)
            peer, task, question = await _asked_on_stream(at, session)
            assert question["params"]["message"] == "crm asks: Who?"
            assert (await at.call(*_answer(question["id"], session))).status == 202
            await _until(lambda: len([event for event in peer.reply.events if "method" in event]) == 2)
            again = peer.reply.events[-1]
            decline = {"action": "decline"}
            assert (await at.call(*_answer(again["id"], session, decline))).status == 202
            done = (await task).events[-1]["result"]
            assert orjson.loads(done["content"][0]["text"]) == [_KIM, decline]
            assert [end.end for end in at.point.settled] == [*[CallEnd.INPUT_REQUIRED] * 2, CallEnd.OK]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("registered", "capabilities", "number"),
    [((), _FORMS, -32601), (("form",), {}, -32601), (("url", "form"), {"elicitation": {"url": {}}}, -32602)],
)
@pytest.mark.requirement("gateway:questions:in-a-call")
def test_a_server_that_may_not_ask_or_not_this_client_is_told_so_and_goes_on(
    registered: tuple[str, ...], capabilities: dict[str, Any], number: int
) -> None:
    async def play() -> None:
        async with _asking(*registered) as (at, asker):
            done = (await at.call(*modern(params=_CALL, capabilities=capabilities))).json["result"]
            assert orjson.loads(done["content"][0]["text"])[0]["code"] == number
            assert set(asker.declared.get("elicitation", {})) == set(registered)
            assert len(at.point.calls) == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:masked")
def test_what_a_masked_tool_asks_goes_to_nobody() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            at.point.masked = frozenset({"email"})
            await at.call(*modern(params=_CALL, capabilities=_FORMS))
            assert asker.told["q"]["code"] == -32601

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:in-a-call")
def test_an_address_to_be_visited_is_passed_on_in_its_own_mode() -> None:
    async def play() -> None:
        async with _asking("url") as (at, asker):
            asker.questions = [
                ("q", {"mode": "url", "message": "Connect", "url": "https://x.example/", "elicitationId": "e"})
            ]
            both: dict[str, Any] = {"elicitation": {"url": {}}}
            told = (await at.call(*modern(params=_CALL, capabilities=both))).json["result"]
            ((name, question),) = told["inputRequests"].items()
            assert question["params"]["url"] == "https://x.example/"
            assert question["params"]["elicitationId"] == "e"
            body, headers = _retry(told["requestState"], {name: {"action": "accept"}})
            await at.call(body, headers)
            assert asker.told["q"] == {"action": "accept"}

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:held")
def test_an_answer_that_a_person_has_to_approve_goes_on_when_it_is_and_not_before() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            (name,) = told["inputRequests"]
            at.point.refusal = Refused(
                Code.HELD, Code.HELD.meaning, hold=HoldId("hld_1"), roles=("lead",), expires_us=START_US + 10**9
            )
            held = (await at.call(*_retry(told["requestState"], {name: _KIM}))).json["result"]
            assert list(held["inputRequests"]) == ["approval"]
            assert asker.told == {}
            at.point.refusal = None
            forged = {"approval": {"action": "accept"}, name: {"action": "accept", "content": {"name": "Eve"}}}
            done = (await at.call(*_retry(held["requestState"], forged))).json["result"]
            assert orjson.loads(done["content"][0]["text"]) == [_KIM]
            assert at.point.calls[-1].hold == "hld_1"

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:in-a-call")
def test_an_answer_that_is_refused_reaches_nobody_and_the_call_is_cancelled() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            (name,) = told["inputRequests"]
            at.point.refusal = Refused(Code.POLICY_ERROR, Code.POLICY_ERROR.meaning)
            assert (await at.call(*_retry(told["requestState"], {name: _KIM}))).code == "policy_error"
            await _until(lambda: "notifications/cancelled" in asker.methods)
            assert asker.told == {}

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:bounded")
def test_an_answer_that_may_not_go_out_any_more_does_not() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            (name,) = told["inputRequests"]

            def refuse() -> None:
                raise UnavailableError(Code.AGENT_NOT_ACTIVE, "suspended meanwhile")

            at.point.recheck = refuse
            assert (await at.call(*_retry(told["requestState"], {name: _KIM}))).code == "agent_not_active"
            await _until(lambda: "notifications/cancelled" in asker.methods)
            assert asker.told == {}
            assert not at.point.settled[-1].sent

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:bounded")
def test_a_server_that_moved_meanwhile_gets_no_answer() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            (name,) = told["inputRequests"]
            at.point.target = replace(at.point.target, credential="another")
            assert (await at.call(*_retry(told["requestState"], {name: _KIM}))).code == "snapshot_stale"
            assert asker.told == {}

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:whose")
def test_an_answer_counts_once_and_for_whom_it_was_asked_of() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            (name,) = told["inputRequests"]
            body, headers = _retry(told["requestState"], {name: _KIM})
            for other in ("agent-two", "agent-one for ann"):
                assert (await at.call(body, headers | {"authorization": f"Bearer {other}"})).code == "hold_unknown"
            assert (
                await at.call(*_retry(told["requestState"], {name: {"action": "perhaps"}}))
            ).code == "body_malformed"
            first, second = await asyncio.gather(at.call(body, headers), at.call(body, headers))
            codes = {reply.json["result"].get("structuredContent", {}).get("code", "ok") for reply in (first, second)}
            assert codes == {"ok", "hold_expired"}
            assert asker.told == {"q": _KIM}

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:whose")
def test_the_session_of_another_agent_cannot_answer() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            mine = await _session(at)
            body, headers = legacy("initialize", {"protocolVersion": LEGACY, "capabilities": _FORMS})
            other = {"authorization": "Bearer agent-two"}
            theirs = (await at.call(body, headers | other)).headers["mcp-session-id"]
            _, task, question = await _asked_on_stream(at, mine)
            stolen, head = _answer(question["id"], theirs)
            assert (await at.call(stolen, head | other)).status == 400
            assert (await at.call(stolen, _answer(0, mine)[1] | other)).status == 404
            assert (await at.call(*_answer("elc_forged", mine))).status == 400
            assert asker.told == {}
            assert (await at.call(*_answer(question["id"], mine))).status == 202
            await task

    asyncio.run(play())


@pytest.mark.parametrize(
    ("questions", "told"),
    [
        ([("q", _form(message="x" * 5000))], {}),
        (
            [
                (
                    "q",
                    _form(
                        requestedSchema={
                            "type": "object",
                            "properties": {str(n): {"type": "string"} for n in range(65)},
                        }
                    ),
                )
            ],
            {},
        ),
        ([("q", _form(requestedSchema={"type": "object", "properties": {"password": {"type": "string"}}}))], {}),
        ([("q", _form(mode=["form"]))], {"q": -32602}),
    ],
)
@pytest.mark.requirement("gateway:elicitation:bounded")
def test_what_nobody_should_be_asked_ends_the_call(questions: Any, told: dict[str, int]) -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            asker.questions = questions
            reply = await at.call(*modern(params=_CALL, capabilities=_FORMS))
            assert {own: said["code"] for own, said in asker.told.items()} == told
            if not told:
                assert reply.code == "upstream_invalid"
                await _until(lambda: "notifications/cancelled" in asker.methods)

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:whose")
def test_a_server_that_asks_twice_under_one_id_is_refused() -> None:
    class Twice(_Asker):
        def __init__(self) -> None:
            super().__init__()
            self.questions = [("q", _form()), ("q", _form())]

    async def play() -> None:
        async with _asking("form", asker=Twice()) as (at, _):
            told = await _first(at)
            (name,) = told["inputRequests"]
            assert (await at.call(*_retry(told["requestState"], {name: _KIM}))).code == "upstream_invalid"

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:whose")
def test_what_a_server_asks_after_its_answer_reaches_nobody() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            asker.questions = []
            late = {"jsonrpc": "2.0", "id": "late", "method": "elicitation/create", "params": _form()}
            asker.after = lambda writer, _: writer.write(b"data: " + orjson.dumps(late) + b"\n\n")
            done = (await at.call(*modern(params=_CALL, capabilities=_FORMS))).json["result"]
            assert done["content"][0]["text"] == "[]"
            assert asker.told == {}

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:endless")
def test_a_server_that_asks_without_end_is_stopped() -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            asker.questions = [(own, _form()) for own in range(20)]
            session = await _session(at)
            peer, task, _ = await _asked_on_stream(at, session)
            answered: set[Any] = set()
            while not task.done():
                for event in [one for one in peer.reply.events if "method" in one and one["id"] not in answered]:
                    answered.add(event["id"])
                    await at.call(*_answer(event["id"], session))
                await asyncio.sleep(0.001)
            assert (await task).events[-1]["result"]["structuredContent"]["code"] == "upstream_invalid"
            assert len(at.point.calls) == 8
            await _until(lambda: "notifications/cancelled" in asker.methods)

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:bounded")
def test_calls_that_wait_for_an_answer_are_few_and_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencalls, "_MOST_OF_ONE", 1)

    async def play() -> None:
        async with _asking("form") as (at, asker):
            told = await _first(at)
            (name,) = told["inputRequests"]
            assert (await at.call(*modern(params=_CALL, capabilities=_FORMS))).code == "concurrency_limited"
            await _until(lambda: "notifications/cancelled" in asker.methods)
            await at.call(*_retry(told["requestState"], {name: _KIM}))
            asker.told.clear()
            monkeypatch.setattr("accredit.gateway.mcpcalls.PATIENCE_S", 0.02)
            late = await _first(at)
            await _until(lambda: asker.methods.count("notifications/cancelled") == 2)
            assert (await at.call(*_retry(late["requestState"], {name: _KIM}))).code == "hold_expired"
            assert asker.told == {}

    asyncio.run(play())


@pytest.mark.parametrize("era", ["2026-07-28", LEGACY])
@pytest.mark.requirement("gateway:questions:bounded")
def test_a_revocation_ends_a_call_that_waits_for_an_answer(era: str) -> None:
    async def play() -> None:
        async with _asking("form") as (at, asker):
            if era == LEGACY:
                _, task, _ = await _asked_on_stream(at, await _session(at))
            else:
                await _first(at)
            at.gateway.changed()  # of something else
            await asyncio.sleep(0.01)
            assert "notifications/cancelled" not in asker.methods
            at.point.invalid = Code.CREDENTIAL_REVOKED
            at.gateway.changed()
            await _until(lambda: "notifications/cancelled" in asker.methods)
            if era == LEGACY:
                ended = (await asyncio.wait_for(task, 5)).events[-1]["result"]["structuredContent"]
                assert ended["code"] == "credential_revoked"

    asyncio.run(play())


@pytest.mark.requirement("gateway:questions:bounded")
def test_who_leaves_while_being_asked_and_does_not_come_back_has_the_call_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "_KEPT_S", 0.1)

    async def play() -> None:
        async with _asking("form") as (at, asker):
            peer, task, _ = await _asked_on_stream(at, await _session(at))
            peer.left.set()
            await asyncio.wait_for(task, 5)
            await _until(lambda: "notifications/cancelled" in asker.methods)

    asyncio.run(play())


# -- programs: all calls of all agents are in one stream


def _request(name: str, *, asked: bool = True) -> ToolRequest:
    return ToolRequest("tools/call", {"name": name, "arguments": {}}, capabilities=_FORMS if asked else {})


@pytest.mark.requirement("gateway:questions:whose")
def test_a_program_asks_about_the_one_call_in_it_and_about_none_if_there_are_two(script: str) -> None:
    async def play() -> None:
        server = replace(program(script, LEGACY, "elicits"), elicitation=frozenset({"form"}))
        async with stdio() as protocol:

            def begin(name: str, *, asked: bool = True) -> Any:
                return protocol.exchange(server, _request(name, asked=asked), credential=VARIABLE, recheck=always)

            async with asyncio.timeout(30), begin("echo") as exchange:
                ask = (await exchange.next()).ask
                assert ask.params["message"] == "Who?"
                await exchange.respond(ask, {"result": _KIM}, always)
                assert json.loads(text_of(await exchange.next())) == _KIM
            assert json.loads(text_of(await last(begin("echo", asked=False))))["code"] == -32601
            async with begin("hang") as other:
                waiting = asyncio.create_task(other.next())
                await _until(lambda: other.sent)
                assert json.loads(text_of(await last(begin("echo"))))["code"] == -32603
                waiting.cancel()
            # the program may not have heard yet that nobody waits for the other one
            assert json.loads(text_of(await last(begin("echo"))))["code"] == -32603

    asyncio.run(play())


def _sdk_crm() -> Any:
    """A tool server of the SDK that asks in a call, as one of the era of sessions does."""

    async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="read_customer", input_schema={"type": "object"})])

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        answer = await ctx.session.elicit_form("Who?", _SCHEMA, related_request_id=ctx.request_id)
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(answer.content))])

    server = Server("crm", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app(host="127.0.0.1")


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.requirement("gateway:elicitation:sdk-client")
def test_the_sdk_client_of_each_era_answers_the_sdk_server_of_the_older(mode: str) -> None:
    async def play() -> None:
        async def answer(context: Any, params: Any) -> types.ElicitResult:
            assert params.message == "crm asks: Who?"
            return types.ElicitResult(action="accept", content={"name": "Kim"})

        async with serving(_sdk_crm(), lifespan="on") as upstream:
            target = replace(
                make_server(f"{upstream}/mcp", make_tool()), revision=LEGACY, elicitation=frozenset({"form"})
            )
            point = StagedEnforcement(target)
            point.elicitation = frozenset({"form"})
            gateway = make_gateway(point, ScriptedClock(START_US))
            async with serving(gateway) as origin, sdk_client(origin, mode, elicitation_callback=answer) as client:
                result = await client.call_tool("read_customer", {"customer_id": "c-1"})
            await gateway.aclose()
        assert result.content[0].text == "{'name': 'Kim'}"  # type: ignore[union-attr]
        assert [end.end for end in point.settled] == [CallEnd.INPUT_REQUIRED, CallEnd.OK]

    asyncio.run(play())
