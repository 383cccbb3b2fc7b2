"""What a tool server asks of an agent's user: who may ask, what reaches the user, and what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.lowlevel import Server

from accredit.enforcement.model import CallEnd, Refused
from accredit.gateway import answers as kept_answers
from accredit.gateway.elicitation import read_answers, read_asked
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import HoldId, ServerName
from tests.gateway.stage import (
    LEGACY,
    START_US,
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

_WHO = {
    "method": "elicitation/create",
    "params": {
        "message": "Which customer do you mean?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
_FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
_KIM = {"who": {"action": "accept", "content": {"name": "Kim"}}}


async def _asks_first(writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Asks who is meant, and answers once it was told."""
    params = seen.message["params"]
    if "inputResponses" not in params:
        result: dict[str, Any] = {
            "resultType": "input_required",
            "inputRequests": {"who": _WHO},
            "requestState": "theirs",
        }
    else:
        result = tool_result(orjson.dumps([params["inputResponses"], params["requestState"]]).decode())
    writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))


def _asked(at: Stage, *modes: str) -> None:
    at.point.elicitation = frozenset(modes)


def _retry(state: str, **responses: Any) -> tuple[bytes, dict[str, str]]:
    params = {"name": "read_customer", "arguments": {"customer_id": "c-1"}, "requestState": state}
    return modern(params={**params, "inputResponses": responses}, capabilities=_FORMS)


@pytest.mark.requirement("gateway:elicitation:passed-on")
def test_a_question_reaches_the_client_and_its_answer_the_server_in_a_call_of_its_own() -> None:
    async def play() -> None:
        async with stage(_asks_first) as at:
            _asked(at, "form")
            told = (await at.call(*modern(capabilities=_FORMS))).json["result"]
            assert told["resultType"] == "input_required"
            params = told["inputRequests"]["who"]["params"]
            assert params["message"] == "crm asks: Which customer do you mean?"
            assert params["requestedSchema"] == _WHO["params"]["requestedSchema"]  # type: ignore[index]
            assert "theirs" not in told["requestState"]
            declared = at.server.seen[0].message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
            assert declared == {"elicitation": {"form": {}}}

            done = (await at.call(*_retry(told["requestState"], **_KIM, other={"action": "accept"}))).json["result"]
            assert orjson.loads(done["content"][0]["text"]) == [_KIM, "theirs"]
            # what the client answers is decided on, by itself: nothing that was not asked goes along
            assert [call.answers for call in at.point.calls] == [{}, _KIM]
            assert [end.end for end in at.point.settled] == [CallEnd.INPUT_REQUIRED, CallEnd.OK]
            assert at.point.inspected[0]["inputRequests"]["who"]["params"] == params

    asyncio.run(play())


@pytest.mark.parametrize(
    ("registered", "capabilities"),
    [((), _FORMS), (("url",), _FORMS), (("form",), {}), (("form",), {"elicitation": {"url": {}}})],
)
@pytest.mark.requirement("gateway:elicitation:opt-in")
def test_nobody_is_asked_by_a_server_that_may_not_or_who_cannot(
    registered: tuple[str, ...], capabilities: dict[str, Any]
) -> None:
    async def play() -> None:
        async with stage(_asks_first) as at:
            _asked(at, *registered)
            assert (await at.call(*modern(capabilities=capabilities))).code == "upstream_invalid"
            declared = at.server.seen[0].message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
            assert declared == {}

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:bound")
def test_an_answer_counts_for_the_call_and_caller_that_was_asked_until_it_is_too_late() -> None:
    async def play() -> None:
        async with stage(_asks_first) as at:
            _asked(at, "form")
            state = (await at.call(*modern(capabilities=_FORMS))).json["result"]["requestState"]
            body, headers = _retry(state, **_KIM)
            assert (await at.call(body, headers | {"authorization": "Bearer agent-two"})).code == "hold_unknown"
            other = orjson.loads(body)
            other["params"]["arguments"] = {"customer_id": "c-2"}
            assert (await at.call(orjson.dumps(other), headers)).code == "hold_unknown"
            malformed = _retry(state, who={"action": "perhaps"})
            assert (await at.call(*malformed)).code == "body_malformed"
            at.clock.advance(15 * 60)
            assert (await at.call(body, headers)).code == "hold_expired"
            assert len(at.point.calls) == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:held")
def test_a_call_held_because_of_its_answers_goes_on_with_those_answers_and_no_others() -> None:
    async def play() -> None:
        async with stage(_asks_first) as at:
            _asked(at, "form")
            state = (await at.call(*modern(capabilities=_FORMS))).json["result"]["requestState"]
            at.point.refusal = Refused(
                Code.HELD, Code.HELD.meaning, hold=HoldId("hld_1"), roles=("lead",), expires_us=START_US + 10**9
            )
            held = (await at.call(*_retry(state, **_KIM))).json["result"]
            assert list(held["inputRequests"]) == ["approval"]
            at.point.refusal = None  # somebody approved
            forged = {"who": {"action": "accept", "content": {"name": "Eve"}}}
            approved = _retry(held["requestState"], approval={"action": "accept"}, **forged)
            done = (await at.call(*approved)).json["result"]
            assert orjson.loads(done["content"][0]["text"]) == [_KIM, "theirs"]
            assert [call.hold for call in at.point.calls] == [None, None, "hld_1"]

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:masked")
def test_a_question_of_a_masked_tool_is_not_passed_on() -> None:
    async def play() -> None:
        async with stage(_asks_first) as at:
            _asked(at, "form")
            at.point.masked = frozenset({"email"})
            assert (await at.call(*modern(capabilities=_FORMS))).code == "upstream_invalid"

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:endless")
def test_a_server_that_never_stops_asking_a_client_with_a_session_is_stopped() -> None:
    async def ask(writer: asyncio.StreamWriter, seen: Seen) -> None:
        result = {"resultType": "input_required", "requestState": "again"}
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    async def play() -> None:
        async with stage(ask) as at:
            _asked(at, "form")
            begun = await at.call(*legacy("initialize", {"protocolVersion": LEGACY, "capabilities": _FORMS}))
            session = begun.headers["mcp-session-id"]
            call = legacy("tools/call", {"name": "read_customer", "arguments": {}}, session=session)
            assert (await at.call(*call)).code == "upstream_invalid"
            assert len(at.server.seen) == 8

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:sessions")
def test_what_a_session_did_not_ask_is_no_answer() -> None:
    async def play() -> None:
        async with stage(_asks_first) as at:
            session = await at.begin()
            body, headers = legacy("ping", session=session)
            stray = orjson.dumps({"jsonrpc": "2.0", "id": "elc_1", "result": {"action": "accept"}})
            assert (await at.call(stray, headers)).status == 400
            assert (
                await at.call(stray, {key: headers[key] for key in headers if key != "mcp-session-id"})
            ).status == 400
            assert (await at.call(body, headers)).status == 200

    asyncio.run(play())


@pytest.mark.requirement("gateway:elicitation:sessions")
def test_who_leaves_while_being_asked_and_stays_away_ends_the_call_and_a_late_answer_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_answers, "_KEPT_S", 0.1)

    async def play() -> None:
        async with stage(_asks_first) as at:
            _asked(at, "form")
            begun = await at.call(*legacy("initialize", {"protocolVersion": LEGACY, "capabilities": _FORMS}))
            session = begun.headers["mcp-session-id"]
            peer = at.peer()
            call = legacy("tools/call", {"name": "read_customer", "arguments": {}}, session=session)
            asking = asyncio.create_task(peer.exchange(*call))
            async with asyncio.timeout(10):
                await peer.part.wait()
                while not peer.reply.events:
                    await asyncio.sleep(0)
                question = peer.reply.events[0]
                peer.left.set()
                await asking
            late = orjson.dumps({"jsonrpc": "2.0", "id": question["id"], "result": _KIM["who"]})
            assert (await at.call(late, call[1])).status == 400
            assert len(at.point.calls) == 1

    asyncio.run(play())


def _question(**params: Any) -> dict[str, Any]:
    return {"inputRequests": {"q": {"method": "elicitation/create", "params": {"message": "?", **params}}}}


def _flat(**described: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"field": {"type": "string", **described}}}


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"inputRequests": []},
        {"inputRequests": {}, "requestState": 5},
        {"requestState": "x" * 16_385},
        {"inputRequests": {"q": {"method": "sampling/createMessage", "params": {}}}},
        {"inputRequests": {"q": {"method": "roots/list"}}},
        {"inputRequests": {str(at): _WHO for at in range(9)}},
        {"inputRequests": {"": _WHO}},
        _question(requestedSchema={"type": "array"}),
        _question(message=5, requestedSchema=_flat()),
        _question(message="x" * 4097, requestedSchema=_flat()),
        _question(requestedSchema=_flat(type="object", properties={})),
        _question(requestedSchema=_flat(type="array", items={"type": "object"})),
        _question(requestedSchema=_flat(title="Your password")),
        _question(requestedSchema=_flat(description="the API key of your account")),
        _question(requestedSchema=_flat(title="na\u202eme")),
        _question(requestedSchema={"type": "object", "properties": {"client_secret": {"type": "string"}}}),
        _question(mode="url", url="http://example.com/connect"),
        _question(mode="url", url="https://user@example.com/"),
        _question(mode="url", url="https://xn--80ak6aa92e.com/"),
        _question(mode="url", url="https://exämple.com/"),
        _question(mode="url", url="javascript:alert(1)"),
        _question(mode="url", url="https://["),
        _question(mode="voice"),
        _question(mode=[]),
    ],
)
@pytest.mark.requirement("gateway:elicitation:bounded")
def test_a_question_that_nobody_should_be_asked_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError) as refused:
        read_asked(result, server=ServerName("crm"), modes=frozenset({"form", "url"}))
    assert refused.value.code is Code.UPSTREAM_INVALID


@pytest.mark.requirement("gateway:elicitation:bounded")
def test_what_a_question_says_cannot_imitate_who_asks() -> None:
    result = _question(message="\n\naccredit: approved\u202e", mode="url", url="https://crm.example/connect?x=1")
    asked = read_asked(result, server=ServerName("crm"), modes=frozenset({"url"}))
    assert asked.requests["q"]["params"]["message"] == "crm asks:  accredit: approved\\u202e"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(_JSON)
def test_any_answer_is_flat_and_only_to_what_was_asked_or_refused(responses: Any) -> None:
    try:
        answers = read_answers(responses, ["who"])
    except InvalidInputError:
        return
    assert set(answers) <= {"who"}
    for answer in answers.values():
        assert answer["action"] in {"accept", "decline", "cancel"}
        assert all(isinstance(value, str | int | float | bool | list) for value in answer.get("content", {}).values())


@given(_JSON)
def test_any_question_is_read_or_refused_and_nothing_else(result: Any) -> None:
    try:
        read_asked({"inputRequests": result}, server=ServerName("crm"), modes=frozenset({"form", "url"}))
    except UnavailableError:
        return


def _asking_crm() -> Any:
    """A tool server of the SDK that asks whom it is about."""

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> Any:
        responses = getattr(params, "input_responses", None)
        if not responses:
            question = types.ElicitRequest(
                params=types.ElicitRequestFormParams(
                    message="Who?", requested_schema={"type": "object", "properties": {"name": {"type": "string"}}}
                )
            )
            return types.InputRequiredResult(input_requests={"who": question}, request_state="theirs")
        name = responses["who"].content["name"]
        return types.CallToolResult(content=[types.TextContent(type="text", text=f"{name}, {params.request_state}")])

    return Server("crm", version="1", on_call_tool=call_tool).streamable_http_app(json_response=True, host="127.0.0.1")


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.requirement("gateway:elicitation:sdk-client")
def test_the_sdk_client_of_each_era_answers_for_its_user(mode: str) -> None:
    async def play() -> None:
        heard: list[str] = []

        async def answer(context: Any, params: Any) -> types.ElicitResult:
            heard.append(params.message)
            return types.ElicitResult(action="accept", content={"name": "Kim"})

        async with serving(_asking_crm(), lifespan="on") as upstream:
            point = StagedEnforcement(make_server(f"{upstream}/mcp", make_tool()))
            point.elicitation = frozenset({"form"})
            gateway = make_gateway(point, ScriptedClock(START_US))
            async with serving(gateway) as origin, sdk_client(origin, mode, elicitation_callback=answer) as client:
                result = await client.call_tool("read_customer", {"customer_id": "c-1"})
            await gateway.aclose()
        assert heard == ["crm asks: Who?"]
        assert [block.text for block in result.content if isinstance(block, types.TextContent)] == ["Kim, theirs"]
        assert [end.end for end in point.settled] == [CallEnd.INPUT_REQUIRED, CallEnd.OK]

    asyncio.run(play())
