"""One admitted call: what goes out, what comes back, and that every end is settled once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.enforcement.model import CallEnd, Refused
from accredit.kernel.codes import Code
from accredit.kernel.ids import HoldId
from tests.gateway.stage import (
    SECRET,
    SSE_HEAD,
    START_US,
    Reply,
    Script,
    Seen,
    Stage,
    answer_ok,
    http_json,
    legacy,
    make_principal,
    modern,
    stage,
    tool_result,
)


def _sse(*messages: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(message) + b"\n\n" for message in messages)


def _response(seen: Seen, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.message["id"], "result": result}


def _run(script: Script, *, body: tuple[bytes, dict[str, str]] | None = None, **how: Any) -> tuple[Reply, Stage]:
    """One call against a scripted tool server."""

    async def play() -> tuple[Reply, Stage]:
        async with stage(script, **how) as at:
            return await at.call(*(body or modern())), at

    return asyncio.run(play())


# -- what goes out


@pytest.mark.requirement("gateway:upstream:no-passthrough")
def test_the_tool_server_sees_the_brokered_credential_and_nothing_of_the_agents() -> None:
    meta = {
        "dev.accredit/run": "run-1",
        "progressToken": "secret-token",
        "example.com/own": "x",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    body, headers = modern(rpc_id="agent-chosen-id", meta=meta)
    reply, at = _run(
        answer_ok, body=(body, headers | {"cookie": "a=b", "x-forwarded-for": "1.2.3.4", "baggage": "k=v"})
    )
    seen = at.server.seen[0]
    assert seen.headers["authorization"] == SECRET
    assert not {"cookie", "x-forwarded-for", "baggage", "mcp-session-id", "origin"} & set(seen.headers)
    assert b"agent-" not in seen.head + seen.body
    assert b"secret-token" not in seen.body
    assert b"example.com" not in seen.body
    assert seen.message["params"]["_meta"]["traceparent"] == meta["traceparent"]
    assert SECRET.encode() not in reply.body
    assert reply.json["id"] == "agent-chosen-id"


@pytest.mark.requirement("gateway:upstream:re-encoded")
def test_what_is_sent_is_encoded_anew_from_what_was_decided() -> None:
    body, headers = modern(
        params={"name": "read_customer", "arguments": {"b": 1.50, "a": "\u00e9"}, "extra": "dropped"}
    )
    spaced = body.replace(b'"b":1.5', b' "b" :  1.500 ').replace(b"\xc3\xa9", b"\\u00e9")
    _, at = _run(answer_ok, body=(spaced, headers))
    assert at.server.seen[0].message["params"]["arguments"] == at.point.calls[0].arguments == {"b": 1.5, "a": "é"}
    assert b"1.500" not in at.server.seen[0].body
    assert "extra" not in at.server.seen[0].message["params"]


def test_the_call_says_who_what_and_from_where() -> None:
    meta = {"dev.accredit/run": "run-1", "dev.accredit/declared": {"step": 3}, "dev.accredit/hold": "hld_9"}
    _, at = _run(answer_ok, body=modern(meta=meta))
    call = at.point.calls[0]
    assert call.principal == make_principal()
    assert (call.server, call.tool, call.source, call.protocol) == (
        "crm",
        "read_customer",
        "192.0.2.7",
        "mcp/2026-07-28",
    )
    assert (call.run_label, call.declared, call.hold) == ("run-1", {"step": 3}, "hld_9")


@pytest.mark.parametrize(
    ("meta", "headers", "label"),
    [
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, {}, "a" * 32),
        ({}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "a" * 32),
        ({}, {"traceparent": f"00-{'0' * 32}-{'b' * 16}-01"}, None),
        ({"baggage": "k=v, dev.accredit/run=run%2D7;p=1"}, {}, "run-7"),
        ({}, {"baggage": "dev.accredit/run=run-8"}, "run-8"),
        ({"traceparent": 5, "baggage": 5}, {}, None),
        ({}, {}, None),
    ],
)
def test_a_run_label_is_taken_from_the_trace_context(meta: Any, headers: Any, label: str | None) -> None:
    body, sent = modern(meta=meta)
    _, at = _run(answer_ok, body=(body, sent | headers))
    assert at.point.calls[0].run_label == label


@pytest.mark.parametrize(
    "meta",
    [
        {"dev.accredit/declared": []},
        {"dev.accredit/declared": {"a": "x" * 5000}},
        {"dev.accredit/run": "x" * 129},
        {"dev.accredit/run": 5},
    ],
)
def test_claims_out_of_bounds_are_refused(meta: Any) -> None:
    async def play() -> None:
        async with stage() as at:
            assert (await at.call(*modern(meta=meta))).status == 400
            assert at.point.calls == []

    asyncio.run(play())


@pytest.mark.parametrize(
    "params", [{"name": ""}, {"name": 5}, {"name": "x" * 257}, {"name": "read_customer", "arguments": []}, {}]
)
def test_a_call_without_name_or_with_arguments_of_another_type_is_refused(params: Any) -> None:
    async def play() -> None:
        async with stage() as at:
            body, headers = modern(params=params)
            if params.get("name") == "":
                headers["mcp-name"] = ""
            reply = await at.call(body, headers)
            assert reply.status == 400
            assert at.point.calls == []

    asyncio.run(play())


def test_a_tool_that_nobody_registered_is_the_enforcement_points_to_refuse() -> None:
    name = "../é tool"
    body, headers = modern(params={"name": name})
    reply, at = _run(answer_ok, body=(body, headers | {"mcp-name": "=?base64?Li4vw6kgdG9vbA==?="}))
    assert reply.code == "tool_not_granted"
    assert at.point.calls[0].tool == name
    assert at.server.seen == []


def test_connections_are_kept_between_calls() -> None:
    async def play() -> None:
        async with stage() as at:
            for _ in range(5):
                await at.call(*modern())
            assert (len(at.server.seen), at.server.connections) == (5, 1)
            assert [seen.message["id"] for seen in at.server.seen] == [1, 2, 3, 4, 5]

    asyncio.run(play())


# -- what comes back


@pytest.mark.requirement("gateway:relay:json")
def test_a_result_is_relayed_recorded_and_translated_for_sessions() -> None:
    result = tool_result(
        structuredContent=[1], ttlMs=5, _meta={"io.modelcontextprotocol/serverInfo": {}, "example.com/x": 1}
    )

    async def script(writer: Any, seen: Seen) -> None:
        writer.write(http_json(_response(seen, result)))

    async def play() -> None:
        async with stage(script) as at:
            assert (await at.call(*modern())).json["result"] == result
            session = await at.begin()
            reply = await at.call(*legacy("tools/call", {"name": "read_customer"}, session=session))
            assert reply.json["result"] == {
                "content": result["content"],
                "isError": False,
                "_meta": {"example.com/x": 1},
            }
            assert [settled.result for settled in at.point.settled] == [result, result]
            assert at.point.settled[0].size == len(orjson.dumps(_response(at.server.seen[0], result)))

    asyncio.run(play())


def test_a_failing_tool_is_a_tool_error() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        writer.write(http_json(_response(seen, {"content": [], "isError": True})))

    reply, at = _run(script)
    assert reply.json["result"]["isError"]
    assert at.point.settled[0].end is CallEnd.TOOL_ERROR


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "404 Not Found"])
def test_an_error_of_the_tool_server_is_relayed_without_its_data(status: str) -> None:
    async def script(writer: Any, seen: Seen) -> None:
        error = {"code": -32602, "message": "no such tool" + "x" * 2000, "data": "stack trace"}
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "error": error}, status=status))

    reply, at = _run(script)
    assert reply.status == 200
    assert reply.json["error"]["code"] == -32602
    assert len(reply.body) < 1200
    assert b"stack" not in reply.body
    assert at.point.settled[0].end is CallEnd.PROTOCOL_ERROR


@pytest.mark.requirement("gateway:answer:capability")
def test_a_capability_the_tool_server_needs_is_named_to_the_client_and_nothing_else_of_its_data() -> None:
    required: Any = {"sampling": {}}
    told: list[tuple[int, Any]] = []

    async def script(writer: Any, seen: Seen) -> None:
        data = {"requiredCapabilities": required, "trace": "a stack trace"}
        error = {"code": -32021, "message": "needs a model", "data": data}
        answer = {"jsonrpc": "2.0", "id": seen.message["id"], "error": error}
        writer.write(http_json(answer, status="400 Bad Request"))

    async def scenario() -> None:
        nonlocal required
        async with stage(script) as at:
            reply = await at.call(*modern())
            told.append((reply.status, reply.json["error"]["data"]))
            session = await at.begin()
            called = legacy("tools/call", {"name": "read_customer", "arguments": {}}, session=session)
            told.append(((await at.call(*called)).status, None))
            for other in ({"x": "y" * 2000}, ["sampling"]):
                required = other
                reply = await at.call(*modern())
                told.append((reply.status, reply.json["error"].get("data")))

    asyncio.run(scenario())
    assert told == [(400, {"requiredCapabilities": {"sampling": {}}}), (200, None), (400, None), (400, None)]


@pytest.mark.requirement("gateway:relay:sse")
def test_a_stream_is_relayed_frame_by_frame_with_the_clients_own_ids() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        note = {"progressToken": seen.message["params"]["_meta"]["progressToken"], "progress": 1, "message": "half"}
        writer.write(SSE_HEAD + b": hello\r\n\r\n")
        writer.write(_sse({"jsonrpc": "2.0", "method": "notifications/progress", "params": note}))
        writer.write(
            _sse(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": {**note, "progressToken": 999}},
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "never asked for"}},
                _response(seen, tool_result("done")),
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": note},
            )
        )
        writer.close()

    reply, at = _run(script, body=modern(meta={"progressToken": "mine"}))
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["x-accel-buffering"] == "no"
    progress, final = reply.events
    assert progress["params"] == {"progressToken": "mine", "progress": 1, "message": "half"}
    assert (final["id"], final["result"]["content"][0]["text"]) == (7, "done")
    assert reply.complete
    assert at.point.settled[0].end is CallEnd.OK


@pytest.mark.requirement("gateway:relay:progress-token")
@pytest.mark.parametrize("token", ["x" * 257, True, 1.5, ["x"], None])
def test_a_progress_token_that_is_no_short_name_gets_no_notices(token: Any) -> None:
    async def script(writer: asyncio.StreamWriter, seen: Seen) -> None:
        assert "progressToken" not in seen.message["params"]["_meta"]
        note = {"progressToken": seen.message["id"], "progress": 1}
        writer.write(SSE_HEAD)
        writer.write(_sse({"jsonrpc": "2.0", "method": "notifications/progress", "params": note}))
        writer.write(_sse(_response(seen, tool_result())))
        writer.close()

    reply, _ = _run(script, body=modern(meta={"progressToken": token}))
    assert reply.json["result"]["content"][0]["text"] == "ok"


def test_a_stream_with_nothing_before_its_end_is_answered_as_json() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        writer.write(SSE_HEAD + _sse(_response(seen, tool_result("done"))))
        writer.close()

    reply, _ = _run(script)
    assert reply.json["result"]["content"][0]["text"] == "done"


def _raw(payload: bytes) -> Script:
    async def script(writer: Any, seen: Seen) -> None:
        writer.write(payload.replace(b"ID", str(seen.message["id"]).encode()))
        writer.close()

    return script


_OVERSIZED = b"x" * (2**20 + 1)
_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
_FAULTS: dict[str, tuple[bytes, str, CallEnd]] = {
    "redirect": (
        http_json({}, status="307 Temporary Redirect", extra="location: http://127.0.0.1:1/\r\n"),
        "upstream_redirect",
        CallEnd.PROTOCOL_ERROR,
    ),
    "not json": (http_json(b"{nope"), "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "empty": (http_json(b""), "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "not an object": (http_json([1]), "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "no version": (
        http_json(b'{"id": ID, "result": {"content": []}}', extra="x: y\r\n"),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "another id": (
        http_json({"jsonrpc": "2.0", "id": 4711, "result": tool_result()}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "id as text": (
        http_json({"jsonrpc": "2.0", "id": "1", "result": tool_result()}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "id as float": (
        http_json({"jsonrpc": "2.0", "id": 1.0, "result": tool_result()}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "id true": (
        http_json({"jsonrpc": "2.0", "id": True, "result": tool_result()}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "error for another": (
        http_json({"jsonrpc": "2.0", "id": 9, "error": {"code": 1, "message": ""}}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "malformed error": (
        http_json({"jsonrpc": "2.0", "id": 1, "error": {"code": "x"}}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "a request of its own": (
        http_json({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage"}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "result of another type": (
        http_json({"jsonrpc": "2.0", "id": 1, "result": []}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "no content": (http_json({"jsonrpc": "2.0", "id": 1, "result": {}}), "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "isError of another type": (
        http_json({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "isError": 1}}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "asks for input": (
        http_json({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "requestState": "x"}}),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "nests too deeply": (
        http_json(b'{"jsonrpc": "2.0", "id": 1, "result": {"content": [' + b"[" * 400 + b"]" * 400 + b"]}}"),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "html": (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi",
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "accepted": (b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "compressed": (
        http_json(b"\x1f\x8b", extra="content-encoding: gzip\r\n"),
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "credential refused": (
        b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n",
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "unavailable": (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "upstream_unreachable", CallEnd.UNREACHABLE),
    "not http": (b"SSH-2.0-OpenSSH\r\n\r\n", "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "closes at once": (b"", "upstream_unreachable", CallEnd.UNREACHABLE),
    "says it is too large": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 67108864\r\n\r\n{",
        "upstream_oversized",
        CallEnd.PROTOCOL_ERROR,
    ),
    "is too large": (_CHUNKED + b"%x\r\n" % len(_OVERSIZED) + _OVERSIZED, "upstream_oversized", CallEnd.PROTOCOL_ERROR),
    "streams too much": (SSE_HEAD + b": " + _OVERSIZED, "upstream_oversized", CallEnd.PROTOCOL_ERROR),
    "breaks off": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        "upstream_invalid",
        CallEnd.PROTOCOL_ERROR,
    ),
    "breaks a chunk": (_CHUNKED + b"zz\r\n", "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "stream without response": (SSE_HEAD + b"data: \n\n", "upstream_invalid", CallEnd.PROTOCOL_ERROR),
    "stream of nonsense": (SSE_HEAD + b"data: {nope\n\n", "upstream_invalid", CallEnd.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("fault", _FAULTS)
@pytest.mark.requirement("gateway:upstream:faults")
def test_a_faulty_tool_server_is_named_and_the_call_settled(fault: str) -> None:
    payload, code, end = _FAULTS[fault]
    reply, at = _run(_raw(payload), body=modern(rpc_id="mine"))
    final = reply.json if reply.headers["content-type"] == "application/json" else reply.events[-1]
    assert final["id"] == "mine"
    assert final["result"]["structuredContent"]["code"] == code
    assert reply.complete
    [settled] = at.point.settled
    assert (settled.end, settled.code and settled.code.value, settled.sent) == (end, code, True)
    assert len(at.server.seen) == 1, "a call is never repeated by us"


@given(st.binary(max_size=200), st.sampled_from([SSE_HEAD, _CHUNKED, b"HTTP/1.1 200 OK\r\n", b""]))
@settings(max_examples=25)
@pytest.mark.requirement("gateway:settle:once")
def test_whatever_bytes_a_tool_server_sends_the_call_is_answered_and_settled_once(noise: bytes, head: bytes) -> None:
    reply, at = _run(_raw(head + noise))
    assert reply.complete
    assert len(at.point.settled) == 1


@pytest.mark.requirement("gateway:upstream:faults")
def test_a_tool_server_that_is_down_costs_nothing() -> None:
    async def play() -> None:
        async with stage() as at:
            gone = at.server.url
            at.point.target = type(at.point.target)(
                at.point.target.name, at.point.target.environment, "http://127.0.0.1:1/mcp", None, at.point.target.tools
            )
            assert gone != at.point.target.url
            assert (await at.call(*modern())).code == "upstream_unreachable"
            assert [(s.end, s.sent) for s in at.point.settled] == [(CallEnd.UNREACHABLE, False)]

    asyncio.run(play())


async def _hang(writer: Any, seen: Seen) -> None:
    await seen.until_closed()


async def _hang_in_stream(writer: Any, seen: Seen) -> None:
    writer.write(SSE_HEAD + b": on my way\r\n\r\n")
    await writer.drain()
    await seen.until_closed()


_HANGS = pytest.mark.parametrize("script", [_hang, _hang_in_stream])


@_HANGS
@pytest.mark.requirement("gateway:call:timeout")
def test_a_tool_server_that_takes_too_long_is_cut_off(script: Script) -> None:
    async def play() -> None:
        async with stage(script) as at:
            at.point.call_timeout_s = 0.05
            reply = await at.call(*modern())
            final = reply.events[-1] if script is _hang_in_stream else reply.json
            assert final["result"]["structuredContent"]["code"] == "call_timeout"
            assert [(s.end, s.sent) for s in at.point.settled] == [(CallEnd.TIMEOUT, True)]

    asyncio.run(play())


@_HANGS
@pytest.mark.requirement("gateway:cancel:client")
def test_a_client_that_leaves_cancels_the_call_upstream(script: Script) -> None:
    async def play() -> None:
        async with stage(script) as at:
            peer = at.peer()
            task = asyncio.create_task(peer.exchange(*modern()))
            async with asyncio.timeout(10):
                while not at.server.seen:
                    await asyncio.sleep(0)
                peer.left.set()
                await task
                await at.server.closed.wait()
            assert [s.end for s in at.point.settled] == [CallEnd.CANCELLED]

    asyncio.run(play())


@pytest.mark.parametrize("named", [7, "7"])
@pytest.mark.requirement("gateway:cancel:notification")
def test_a_cancel_notice_ends_the_named_call_of_the_same_session_only(named: int | str) -> None:
    async def play() -> None:
        async with stage(_hang) as at:
            session, other = await at.begin(), await at.begin()
            task = asyncio.create_task(
                at.call(*legacy("tools/call", {"name": "read_customer"}, rpc_id=named, session=session))
            )
            async with asyncio.timeout(10):
                await at.point.in_flight.wait()
                for key, request in (
                    (other, named),
                    (session, str(named) if named == 7 else 7),
                    (session, 8),
                    (session, None),
                ):
                    notice = legacy("notifications/cancelled", {"requestId": request}, rpc_id=None, session=key)
                    assert (await at.call(*notice)).status == 202
                assert at.point.settled == []
                notice = legacy("notifications/cancelled", {"requestId": named}, rpc_id=None, session=session)
                await at.call(*notice)
                reply = await task
            assert reply.code == "cancelled"
            assert [s.end for s in at.point.settled] == [CallEnd.CANCELLED]

    asyncio.run(play())


@_HANGS
@pytest.mark.requirement("gateway:settle:once")
def test_a_stopping_server_settles_what_is_in_flight(script: Script) -> None:
    async def play() -> None:
        async with stage(script) as at:
            task = asyncio.create_task(at.call(*modern()))
            async with asyncio.timeout(10):
                await at.point.in_flight.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert [s.end for s in at.point.settled] == [CallEnd.CANCELLED]

    asyncio.run(play())


@pytest.mark.requirement("gateway:settle:once")
def test_a_call_ended_at_any_step_of_its_way_is_settled_once_if_it_was_admitted() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        writer.write(SSE_HEAD + b": alive\n\n")
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(_sse(_response(seen, tool_result())))
        writer.close()

    async def play(at: Stage, steps: int) -> bool:
        task = asyncio.create_task(at.call(*modern()))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(at.point.settled) == len(at.point.admitted)
        return finished

    async def every_step() -> None:
        async with stage(script) as at:
            for steps in range(200):
                if await play(at, steps):
                    break
            else:
                pytest.fail("no call ran to its end")
            ends = {settled.end for settled in at.point.settled}
            assert ends == {CallEnd.OK, CallEnd.CANCELLED}

    asyncio.run(every_step())


@pytest.mark.requirement("gateway:settle:once")
def test_a_call_cancelled_while_it_is_decided_is_never_sent() -> None:
    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            deciding, decide = asyncio.Event(), asyncio.Event()
            admit = at.point.admit

            async def slow(call: Any) -> Any:
                deciding.set()
                await decide.wait()
                return await admit(call)

            at.point.admit = slow  # type: ignore[method-assign]  # the same decision, later
            task = asyncio.create_task(at.call(*legacy("tools/call", {"name": "read_customer"}, session=session)))
            async with asyncio.timeout(10):
                await deciding.wait()
                await at.call(*legacy("notifications/cancelled", {"requestId": 7}, rpc_id=None, session=session))
                decide.set()
                assert (await task).code == "cancelled"
            assert [(s.end, s.sent) for s in at.point.settled] == [(CallEnd.CANCELLED, False)]
            assert at.server.seen == []

    asyncio.run(play())


@pytest.mark.parametrize("script", [answer_ok, _hang_in_stream])
@pytest.mark.requirement("gateway:settle:once")
def test_a_server_that_raises_on_writing_to_a_client_that_left_does_not_unsettle_the_call(script: Script) -> None:
    async def play() -> None:
        async with stage(script) as at:
            body, headers = modern()

            async def receive() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any) -> None:
                raise ConnectionResetError

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/mcp/crm",
                "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
            }
            async with asyncio.timeout(10):
                await asyncio.gather(at.gateway(scope, receive, send), return_exceptions=True)
            assert len(at.point.settled) == 1

    asyncio.run(play())


def test_a_fault_of_our_own_is_settled_and_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with stage() as at:

            def broken() -> None:
                raise RuntimeError("the inside")

            at.point.recheck = broken
            reply = await at.call(*modern())
            assert reply.code == "internal"
            assert b"inside" not in reply.body
            assert [(s.end, s.sent) for s in at.point.settled] == [(CallEnd.PROTOCOL_ERROR, False)]
            assert at.server.seen == []

    asyncio.run(play())
    assert "the inside" in caplog.text


# -- refusals and holds


@pytest.mark.requirement("gateway:refusal:readable")
def test_a_refusal_names_its_code_policy_remedy_and_decision() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = Refused(
                Code.RATE_LIMITED,
                "the agent's call rate is used up",
                hint="retry later",
                policies=("org/a-1",),
                unmet=("hours",),
                detail="60 a minute",
                retry_after_s=1.5,
            )
            result = (await at.call(*modern())).json["result"]
            assert result["structuredContent"] == {
                "code": "rate_limited",
                "message": "the agent's call rate is used up",
                "hint": "retry later",
                "policy": ["org/a-1"],
                "detail": "60 a minute",
                "unmet": ["hours"],
                "hold": None,
                "roles": [],
                "retry_after_s": 1.5,
                "decision_id": None,
            }
            text = result["content"][0]["text"]
            assert "rate_limited" in text
            assert "retry after 1.5 s" in text
            assert (at.server.seen, at.point.settled) == ([], [])

    asyncio.run(play())


_HELD = Refused(Code.HELD, Code.HELD.meaning, hold=HoldId("hld_1"), roles=("lead",), expires_us=START_US + 60_000_000)


@pytest.mark.parametrize(
    ("capabilities", "asked"),
    [
        ({"elicitation": {}}, True),
        ({"elicitation": {"form": {}}}, True),
        ({"elicitation": {"url": {}}}, False),
        ({}, False),
    ],
)
@pytest.mark.requirement("gateway:hold:elicitation")
def test_only_a_client_that_declared_forms_is_asked_to_wait(capabilities: Any, asked: object) -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            result = (await at.call(*modern(capabilities=capabilities))).json["result"]
            assert result["resultType"] == ("input_required" if asked else "complete")
            if asked:
                assert result["inputRequests"]["approval"]["method"] == "elicitation/create"
                assert "hld_1" not in result["requestState"]
            else:
                assert result["structuredContent"]["hold"] == "hld_1"

    asyncio.run(play())


@pytest.mark.requirement("gateway:hold:state-bound")
def test_the_state_of_a_hold_works_for_its_agent_and_user_until_it_expires() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            capable: dict[str, Any] = {"elicitation": {}}
            state = (await at.call(*modern(capabilities=capable))).json["result"]["requestState"]
            params = {"name": "read_customer", "arguments": {"customer_id": "c-1"}, "requestState": state}
            accepted = {"approval": {"action": "accept", "content": {}}}
            again = modern(params={**params, "inputResponses": accepted}, capabilities=capable)
            assert (await at.call(*again)).json["result"]["resultType"] == "input_required"
            assert at.point.calls[-1].hold == "hld_1"

            count = len(at.point.calls)
            declined = modern(params={**params, "inputResponses": {"approval": {"action": "decline"}}})
            assert (await at.call(*declined)).code == "held"
            body, headers = again
            assert (await at.call(body, headers | {"authorization": "Bearer agent-two"})).code == "hold_unknown"
            for broken in (state[:-4] + "AAAA", "", "é", "x" * 2000, 5):
                reply = await at.call(*modern(params={**params, "requestState": broken}))
                assert reply.code == "hold_unknown"
            at.clock.advance(61)
            assert (await at.call(*again)).code == "hold_expired"
            assert len(at.point.calls) == count, "a state that does not open decides nothing"

    asyncio.run(play())


def test_a_state_is_bound_to_the_user_and_the_arguments_too() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            capable: dict[str, Any] = {"elicitation": {}}
            params = {"name": "read_customer", "arguments": {"customer_id": "c-1", "limit": 1.5}}
            body, headers = modern(params=params, capabilities=capable)
            ada = headers | {"authorization": "Bearer agent-one for ada"}
            state = (await at.call(body, ada)).json["result"]["requestState"]
            retry, _ = modern(params={**params, "requestState": state}, capabilities=capable)
            assert (await at.call(retry, ada)).json["result"]["resultType"] == "input_required"
            for other in ({"authorization": "Bearer agent-one for eve"}, {"authorization": "Bearer agent-one"}):
                assert (await at.call(retry, headers | other)).code == "hold_unknown"
            changed = {**params, "arguments": {"customer_id": "c-2", "limit": 1.5}, "requestState": state}
            assert (await at.call(modern(params=changed)[0], ada)).code == "hold_unknown"

    asyncio.run(play())


def test_a_hold_named_in_meta_is_passed_on_if_it_can_be_one() -> None:
    _, at = _run(answer_ok, body=modern(meta={"dev.accredit/hold": "hld_7"}))
    assert at.point.calls[0].hold == "hld_7"
    reply, at = _run(answer_ok, body=modern(meta={"dev.accredit/hold": "x" * 65}))
    assert (reply.code, at.point.calls) == ("hold_unknown", [])
