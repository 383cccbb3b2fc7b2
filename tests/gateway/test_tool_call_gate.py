"""Tool calls in answers of models, decided before the agent sees them where a policy says so. With official clients."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import orjson
import pytest

from accredit.audit.records import open_part, part_values
from tests.enforcement.place import GUARDRAILS
from tests.gateway.models import Asked, Room, chat, room, writer
from tests.policies import with_cases

DECIDED = '@tool_calls("{rule}") forbid (principal, action == Action::"llm/chat", resource);'
STRICT = """
forbid (principal, action == Action::"crm/read", resource)
when { context.input has customer_id && context.input.customer_id == "c-66" };
"""
GOOD, BAD, FOREIGN, LOCAL = (
    ("call_1", "crm__read", {"customer_id": "c-1"}),
    ("call_2", "mcp__crm__read", {"customer_id": "c-66"}),
    ("call_3", "count", {"customer_id": "c-1"}),
    ("call_4", "sing", {"song": "x"}),
)
ASKING: dict[str, Any] = {"model": "gpt-x", "messages": [{"role": "user", "content": "Read c-1"}], "max_tokens": 50}
CLAUDE: dict[str, Any] = {"model": "claude-x", "messages": ASKING["messages"], "max_tokens": 50}


def _rules(rule: str = "decided") -> dict[str, str]:
    return with_cases({**GUARDRAILS, "org/models.cedar": DECIDED.replace("{rule}", rule), "org/read.cedar": STRICT})


def _chat_answer(*calls: Any) -> dict[str, Any]:
    asked = [
        {"id": name, "type": "function", "function": {"name": tool, "arguments": json.dumps(given)}}
        for name, tool, given in calls
    ]
    said = {"role": "assistant", "content": None, "tool_calls": asked}
    return {**chat(""), "choices": [{"index": 0, "finish_reason": "tool_calls", "message": said}]}


def _chat_stream(*calls: Any) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}

    def chunk(delta: Any, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"

    sent = [chunk({"role": "assistant", "content": "I look."})]
    for at, (name, tool, given) in enumerate(calls):
        start = {"index": at, "id": name, "type": "function", "function": {"name": tool, "arguments": ""}}
        sent.append(chunk({"tool_calls": [start]}))
        text = json.dumps(given)
        sent += [
            chunk({"tool_calls": [{"index": at, "function": {"arguments": part}}]}) for part in (text[:4], text[4:])
        ]
    return [*sent, chunk({}, "tool_calls"), b"data: [DONE]\n\n"]


def _event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


_USAGE = {"input_tokens": 100, "output_tokens": 20}


def _message(*calls: Any) -> dict[str, Any]:
    blocks = [{"type": "tool_use", "id": name, "name": tool, "input": given} for name, tool, given in calls]
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "usage": _USAGE,
            "stop_reason": "tool_use", "stop_sequence": None,
            "content": [{"type": "text", "text": "I look."}, *blocks]}  # fmt: skip


def _message_stream(*calls: Any) -> list[bytes]:
    whole = _message(*calls)
    sent = [_event("message_start", message={**whole, "content": [], "stop_reason": None})]
    for at, block in enumerate(whole["content"]):
        if block["type"] == "text":
            start, delta = dict[str, Any](type="text", text=""), {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        sent += [_event("content_block_start", index=at, content_block=start),
                 _event("content_block_delta", index=at, delta=delta),
                 _event("content_block_stop", index=at)]  # fmt: skip
    ending = {"stop_reason": "tool_use", "stop_sequence": None}
    return [*sent, _event("message_delta", delta=ending, usage={"output_tokens": 20}), _event("message_stop")]


def _response(*calls: Any) -> dict[str, Any]:
    items = [
        {"type": "function_call", "id": f"fc_{name}", "call_id": name, "name": tool, "status": "completed",
         "arguments": json.dumps(given)}
        for name, tool, given in calls
    ]  # fmt: skip
    return {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-x",
            "output": items, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": {**_USAGE, "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120}}  # fmt: skip


def _response_stream(*calls: Any) -> list[bytes]:
    whole = _response(*calls)
    sent: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": {**whole, "status": "in_progress", "output": [], "usage": None}})
    ]
    for at, item in enumerate(whole["output"]):
        begun = {**item, "arguments": "", "status": "in_progress"}
        of = {"item_id": item["id"], "output_index": at}
        sent += [("response.output_item.added", {"output_index": at, "item": begun}),
                 ("response.function_call_arguments.delta", {**of, "delta": item["arguments"]}),
                 ("response.function_call_arguments.done",
                  {**of, "arguments": item["arguments"], "name": item["name"]}),
                 ("response.output_item.done", {"output_index": at, "item": item})]  # fmt: skip
    sent.append(("response.completed", {"response": whole}))
    return [_event(kind, sequence_number=at, **more) for at, (kind, more) in enumerate(sent)]


def _answers(at: Room, *calls: Any) -> None:
    """The provider asks for these calls from now on, whatever way it is asked."""

    def pieces(asked: Asked) -> list[bytes]:
        if asked.path.endswith("/messages"):
            return _message_stream(*calls)
        return _response_stream(*calls) if asked.path.endswith("/responses") else _chat_stream(*calls)

    at.provider.pieces = pieces
    at.provider.whole = lambda asked: (
        _message(*calls)
        if asked.path.endswith("/messages")
        else _response(*calls)
        if asked.path.endswith("/responses")
        else _chat_answer(*calls)
    )


async def _seen(at: Room) -> dict[str, tuple[list[tuple[str, Any]], str, str]]:
    """What official clients make of an answer, by the way it was asked for: calls, text, and why it stopped."""
    found: dict[str, tuple[list[tuple[str, Any]], str, str]] = {}
    client: Any  # their answers are unions of dozens of types
    claude: Any
    key, address = await at.key(), f"{at.at.url}/llm"
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{address}/openai/v1", max_retries=0) as client:
        whole = await client.chat.completions.create(**ASKING)
        async with client.chat.completions.stream(**ASKING) as stream:
            streamed = await stream.get_final_completion()
        for way, completion in (("chat", whole), ("chat stream", streamed)):
            choice = completion.choices[0]
            calls = [(one.function.name, json.loads(one.function.arguments)) for one in choice.message.tool_calls or []]
            found[way] = calls, choice.message.content or "", choice.finish_reason
        asking: Any = {"model": "gpt-x", "input": "Read c-1", "store": False}
        response = await client.responses.create(**asking)
        async with client.responses.stream(**asking) as events:
            kinds = [event.type async for event in events]
            final = await events.get_final_response()
        assert kinds[-1] == "response.completed"
        for way, answer in (("responses", response), ("responses stream", final)):
            calls = [(one.name, json.loads(one.arguments)) for one in answer.output if one.type == "function_call"]
            found[way] = calls, answer.output_text, str(answer.status)
    async with anthropic.AsyncAnthropic(auth_token=key, base_url=f"{address}/anthropic", max_retries=0) as claude:
        message = await claude.messages.create(**CLAUDE)
        async with claude.messages.stream(**CLAUDE) as stream_of:
            last = await stream_of.get_final_message()
        for way, said in (("messages", message), ("messages stream", last)):
            calls = [(one.name, one.input) for one in said.content if one.type == "tool_use"]
            text = "".join(one.text for one in said.content if one.type == "text")
            found[way] = calls, text, str(said.stop_reason)
    return found


@pytest.mark.requirement("llm:gate")
def test_official_clients_see_what_is_allowed_and_a_text_for_what_is_not(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            await at.at.operator.post("policy/publish", {"files": _rules()})
            _answers(at, BAD, GOOD, FOREIGN, LOCAL)
            for way, (calls, text, stop) in (await _seen(at)).items():
                assert calls == [GOOD[1:], LOCAL[1:]], way
                assert text.count("was withheld") == 2, way
                assert "forbidden_by_policy" in text, way
                assert "org/read.cedar@" in text, way
                assert "tool_not_granted" in text, way
                assert "c-66" not in text, way
                assert stop in {"tool_calls", "completed", "tool_use"}, way
            _answers(at, BAD)
            for way, (calls, text, stop) in (await _seen(at)).items():
                assert calls == [], way
                assert text.count("was withheld") == 1, way
                assert stop in {"stop", "completed", "end_turn"}, way

    asyncio.run(live())


@pytest.mark.requirement("llm:gate")
def test_what_was_decided_is_on_record_and_is_the_reason_of_the_call_that_follows(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            await at.at.operator.post("policy/publish", {"files": _rules()})
            _answers(at, BAD, GOOD, LOCAL)
            answer = await at.post("openai/v1/chat/completions", ASKING)
            asked = answer.headers["accredit-decision"]
            token = await at.at.site.identities["writer"].access_token(f"{at.at.url}/mcp/crm")
            assert (await at.at.call(token, "read", GOOD[2])).allowed
            (await at.at.call(token, "read", BAD[2])).refused("forbidden_by_policy")
            await at.at.settled()
            advice = [(head, body) for head, body in at.at.records("advice")]
            assert [(head["tool"], head["decision"], body["code"], body["reason"]) for head, body in advice] == [
                ("crm/read", "deny", "forbidden_by_policy", asked),
                ("crm/read", "allow", "allowed", asked),
            ]
            assert {body["protocol"] for _, body in advice} == {"llm/answer"}
            decisions = {body["decision_id"]: body for _, body in at.at.records("decision")}
            assert decisions[asked]["judged"]["tool_calls"] == "decided"
            # the call that was shown names the answer; what was withheld was never asked of the agent
            assert [body["reason"] for head, body in at.at.records("decision") if head["tool"] == "crm/read"] == [
                asked,
                None,
            ]
            (outcome,) = [
                one for one in at.at.running.plane.records.records()
                if b'"kind":"outcome"' in one.header and b"gpt-x" in one.header
            ]  # fmt: skip
            weighed = part_values(open_part(outcome, "result", at.at.running.plane.part_keys))["weighed"]
            assert [(one["name"], one["shown"], one["code"], len(one["decisions"])) for one in weighed] == [
                ("mcp__crm__read", False, "forbidden_by_policy", 1),
                ("crm__read", True, "allowed", 1),
                ("sing", True, None, 0),
            ]

    asyncio.run(live())


@pytest.mark.requirement("llm:gate")
def test_tools_that_are_not_registered_are_withheld_where_the_policy_wants_known_ones(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            await at.at.operator.post("policy/publish", {"files": _rules("known")})
            _answers(at, LOCAL, GOOD)
            for way, (calls, text, _) in (await _seen(at)).items():
                assert calls == [GOOD[1:]], way
                assert "tool_unknown" in text, way
            # arguments that are none, or that no tool takes, are not shown either
            _answers(at, ("call_9", "read", ["c-1"]), ("call_8", "read", {"customer": 1}))
            answer = (await at.post("openai/v1/chat/completions", ASKING)).json()
            assert "tool_calls" not in answer["choices"][0]["message"]
            assert "arguments_invalid" in answer["choices"][0]["message"]["content"]

    asyncio.run(live())


@pytest.mark.requirement("llm:gate")
def test_nothing_is_changed_where_nothing_is_withheld_and_only_calls_wait(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            await at.at.operator.post("policy/publish", {"files": _rules()})
            _answers(at, GOOD, LOCAL)
            streamed = {**ASKING, "stream": True, "stream_options": {"include_usage": True}}
            answer = await at.post("openai/v1/chat/completions", streamed)
            assert answer.content == b"".join(_chat_stream(GOOD, LOCAL))
            asked = {"model": "gpt-x", "input": "x", "stream": True, "store": False}
            answer = await at.post("openai/v1/responses", asked)
            assert answer.content == b"".join(_response_stream(GOOD, LOCAL))
            answer = await at.post("anthropic/v1/messages", {**CLAUDE, "stream": True})
            assert answer.content == b"".join(_message_stream(GOOD, LOCAL))
            answer = await at.post("anthropic/v1/messages", CLAUDE)
            assert answer.content == orjson.dumps(_message(GOOD, LOCAL))
            at.provider.pieces = lambda _: [*_chat_stream(GOOD)[:-1], b"data: [DONE]"]
            answer = await at.post("openai/v1/chat/completions", streamed)
            assert answer.content == b"".join(_chat_stream(GOOD)).removesuffix(b"\n\n")
            # an answer under another name is one all the same
            at.provider.pieces, at.provider.status = None, 201
            _answers(at, BAD)
            assert b"c-66" not in (await at.post("openai/v1/chat/completions", ASKING)).content
            at.provider.status = 200
            # what the gate cannot read, the agent does not get
            at.provider.pieces = lambda _: [b"data: {\n\n", *_chat_stream(BAD)]
            answer = await at.post("openai/v1/chat/completions", streamed)
            assert b"upstream_invalid" in answer.content
            assert b"c-66" not in answer.content

    asyncio.run(live())


@pytest.mark.requirement("llm:gate")
def test_a_call_that_a_person_has_to_approve_is_shown_once_one_did(tmp_path: Path) -> None:
    refund = ("call_5", "crm__refund", {"cents": 500})

    async def live() -> None:
        async with room(tmp_path / "data", writer("read", "refund")) as at:
            await at.at.operator.post("policy/publish", {"files": _rules()})
            _answers(at, refund)
            first = (await at.post("openai/v1/chat/completions", ASKING)).json()["choices"][0]
            (waiting,) = (await at.at.operator.get("holds"))["items"]
            assert waiting["id"] in first["message"]["content"]
            assert "500" not in first["message"]["content"].replace(waiting["id"], "")  # which may hold any digits
            shown = await at.at.operator.get(f"holds/{waiting['id']}")
            answer = {"answer": "approve", "view_digest": shown["view_digest"]}
            await at.at.operator.post(f"holds/{waiting['id']}/answer", answer)
            again = (await at.post("openai/v1/chat/completions", ASKING)).json()["choices"][0]
            assert again["message"]["tool_calls"][0]["id"] == "call_5"
            token = await at.at.site.identities["writer"].access_token(f"{at.at.url}/mcp/crm")
            assert (await at.at.call(token, "refund", refund[2])).allowed  # the approval was left for it

    asyncio.run(live())


@pytest.mark.requirement("llm:gate")
def test_the_rule_is_a_policy_that_is_tested_and_bounded_to_models(tmp_path: Path) -> None:
    case = """
agents: {tester: {environment: development, state: draft, models: [gpt/gpt-x]}}
cases:
  - {name: tester's calls are decided, agent: tester, call: {tool: gpt/gpt-x},
     expect: {outcome: allow, tool_calls: decided, policy: org/models.cedar}}
"""

    async def live() -> None:
        async with room(tmp_path / "data") as at:
            files = {**GUARDRAILS, "org/models.cedar": DECIDED.replace("{rule}", "decided"), "tests/models.yaml": case}
            await at.at.operator.post("policy/publish", {"files": files})
            passed = case.replace("tool_calls: decided", "tool_calls: passed")
            status, refused = await at.at.operator.attempt(
                "policy/publish", {"files": {**files, "tests/models.yaml": passed}}
            )
            assert status >= 400
            assert refused["code"] == "policy_tests_failed"
            for text, words in (
                ('@tool_calls("decided") forbid (principal, action, resource);', "which is no model"),
                (
                    '@tool_calls("maybe") forbid (principal, action == Action::"llm/chat", resource);',
                    "nothing that can",
                ),
                (
                    '@tool_calls("known") @hold("security") forbid (principal, action, resource);',
                    "beside",
                ),
                ('@tool_call("known") forbid (principal, action == Action::"llm/chat", resource);', "means nothing"),
            ):
                files = with_cases({"org/models.cedar": text})
                status, refused = await at.at.operator.attempt("policy/publish", {"files": files})
                assert status >= 400
                assert words in str(refused), refused

    asyncio.run(live())
