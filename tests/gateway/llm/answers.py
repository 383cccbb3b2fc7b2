"""Answers as the providers send them, and what is in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from accredit.gateway.llm.events import (
    AskedTool,
    Broke,
    Declined,
    HostedUse,
    LlmEvent,
    Named,
    Reasoned,
    SaidText,
    Stopped,
    Used,
)
from accredit.gateway.llm.shapes import LlmShape

CHAT, RESPONSES, MESSAGES = LlmShape.CHAT, LlmShape.RESPONSES, LlmShape.MESSAGES
TEXT = "Grüße, 世界 🌍"


@dataclass(frozen=True)
class Answer:
    """A stream, or a body if there is one object."""

    name: str
    shape: LlmShape
    sent: tuple[Mapping[str, Any], ...]
    events: tuple[LlmEvent, ...]
    streamed: bool = True

    def frames(self) -> list[list[bytes]]:
        """The lines of each frame."""
        frames = []
        for event in self.sent:
            named = [b"event: " + event["type"].encode()] if self.shape is not CHAT else []
            frames.append([*named, b"data: " + orjson.dumps(event)])
        return [*frames, [b"data: [DONE]"]] if self.shape is CHAT else frames

    def body(self) -> bytes:
        """The bytes of the answer."""
        if self.streamed:
            return b"".join(line + b"\n" for frame in self.frames() for line in [*frame, b""])
        return orjson.dumps(self.sent[0])


_CHAT_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 24,
    "total_tokens": 144,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
_CHAT_USED = Used(120, 24, 64, 0, 8)


def chunk(*choices: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One chunk of a chat."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    return {**head, "choices": list(choices), **more}


def delta(index: int = 0, reason: str | None = None, **said: Any) -> dict[str, Any]:
    """One choice of a chunk."""
    return {"index": index, "delta": said, "finish_reason": reason, "logprobs": None}


def call(index: int, text: str, name: str | None = None, tool: str | None = None) -> dict[str, Any]:
    """A fragment of a tool call."""
    head = {"id": name, "type": "function"} if name else {}
    return {"index": index, **head, "function": {"arguments": text, **({"name": tool} if tool else {})}}


def _chat() -> Iterable[Answer]:
    named, stop = Named("chatcmpl-1", "gpt-x"), Stopped("stop")
    yield Answer(
        "text",
        CHAT,
        (
            chunk(delta(role="assistant", content="")),
            chunk(delta(content=TEXT)),
            chunk(delta(content="\n\n")),
            chunk(delta(reason="stop")),
            chunk(usage=_CHAT_USAGE),
        ),
        (named, SaidText(TEXT), SaidText("\n\n"), stop, _CHAT_USED),
    )
    yield Answer(
        "parallel tool calls whose fragments are mixed",
        CHAT,
        (
            chunk(delta(role="assistant", content=None)),
            chunk(delta(tool_calls=[call(0, "", "call_a", "get_weather")])),
            chunk(delta(tool_calls=[call(0, '{"city":')])),
            chunk(delta(tool_calls=[call(1, '{"a"', "call_b", "add"), call(0, '"Köln"}')])),
            chunk(delta(tool_calls=[call(1, ":1}")])),
            chunk(delta(reason="tool_calls")),
        ),
        (
            named,
            AskedTool("call_a", "get_weather", '{"city":"Köln"}'),
            AskedTool("call_b", "add", '{"a":1}'),
            Stopped("tool_calls"),
        ),
    )
    yield Answer(
        "tool calls that all have the same index, or none",
        CHAT,
        (
            chunk(delta(tool_calls=[call(0, "{}", "a", "f"), call(0, '{"x":1}', "b", "g")])),
            chunk(delta(tool_calls=[{"id": "b", "function": {"name": "g", "arguments": " "}}], reason="stop")),
        ),
        (named, AskedTool("a", "f", "{}"), AskedTool("b", "g", '{"x":1} '), stop),
    )
    yield Answer(
        "several choices, one of which declines",
        CHAT,
        (
            chunk(delta(0, content="a"), delta(1, refusal="No")),
            chunk(delta(1, refusal=".", tool_calls=[call(0, "{}", "c", "f")])),
            chunk(delta(0, "length")),
            chunk(delta(1, "tool_calls")),
        ),
        (
            named,
            SaidText("a"),
            Declined("No"),
            Declined("."),
            Stopped("length"),
            AskedTool("c", "f", "{}"),
            Stopped("tool_calls"),
        ),
    )
    yield Answer(
        "legacy function call",
        CHAT,
        (
            chunk(delta(function_call={"name": "f", "arguments": ""})),
            chunk(delta(function_call={"arguments": '{"a":2}'})),
            chunk(delta(reason="function_call")),
        ),
        (named, AskedTool("", "f", '{"a":2}'), Stopped("function_call")),
    )
    yield Answer(
        "reasoning, as different servers name it",
        CHAT,
        (
            chunk(delta(reasoning_content="hm", content=None)),
            chunk(delta(reasoning="so", reasoning_details=[{"type": "reasoning.text", "text": "so"}])),
            chunk(delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "e30="}])),
            chunk(delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "parts"}]}])),
            chunk(delta(content=[{"type": "text", "text": "yes"}], reason="stop")),
        ),
        (named, Reasoned("hm"), Reasoned("so"), Reasoned("", opaque=True), Reasoned("parts"), SaidText("yes"), stop),
    )
    yield Answer(
        "an error in the middle",
        CHAT,
        (
            chunk(delta(content="a")),
            {"error": {"message": "overloaded", "type": "server_error", "code": None}},
        ),
        (named, SaidText("a"), Broke("server_error", "overloaded")),
    )
    yield Answer(
        "a whole chat",
        CHAT,
        (
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "gpt-x",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "tool_calls",
                        "logprobs": None,
                        "message": {
                            "role": "assistant",
                            "content": TEXT,
                            "refusal": None,
                            "annotations": [],
                            "reasoning_content": "thinking about it",
                            "tool_calls": [
                                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"é":1}'}},
                                {"id": "b", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
                            ],
                        },
                    }
                ],
                "usage": _CHAT_USAGE,
            },
        ),
        (
            named,
            SaidText(TEXT),
            Reasoned("thinking about it"),
            AskedTool("a", "f", '{"é":1}'),
            AskedTool("b", "sql", "select 1"),
            Stopped("tool_calls"),
            _CHAT_USED,
        ),
        streamed=False,
    )
    yield Answer(
        "embeddings",
        LlmShape.EMBEDDINGS,
        (
            {
                "object": "list",
                "model": "embed-x",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                "usage": {"prompt_tokens": 7, "total_tokens": 7},
            },
        ),
        (Named("", "embed-x"), Used(7, 0, 0, 0, 0)),
        streamed=False,
    )


_RESPONSE_USAGE = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 3},
    "output_tokens": 24,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 144,
}
_RESPONSE_USED = Used(120, 24, 64, 3, 8)
_REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "a plan"}],
    "encrypted_content": "gAAAA",
}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
}
_FUNCTION = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_a",
    "name": "add",
    "arguments": '{"a":1}',
    "status": "completed",
}
_CUSTOM = {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_b", "name": "sql", "input": "select 1"}
_MCP = {
    "id": "mcp_1",
    "type": "mcp_call",
    "server_label": "wiki",
    "name": "ask",
    "arguments": "{}",
    "output": "42",
    "error": None,
}
_SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}
_SHELL = {
    "id": "sh_1",
    "type": "local_shell_call",
    "call_id": "call_c",
    "status": "completed",
    "action": {"type": "exec", "command": ["ls"], "env": {}},
}


def response(*output: Mapping[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    """A response as events hold it, or as a whole."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-y",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if status == "in_progress" else _RESPONSE_USAGE,
        "error": None,
        "incomplete_details": None,
        **more,
    }


def _numbered(*events: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return tuple({**event, "sequence_number": number} for number, event in enumerate(events))


def added(place: int, item: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """An item is announced."""
    return {"type": "response.output_item.added", "output_index": place, "item": {**item, **changed}}


def done(place: int, item: Mapping[str, Any]) -> dict[str, Any]:
    """An item is whole."""
    return {"type": "response.output_item.done", "output_index": place, "item": item}


_CREATED = {"type": "response.created", "response": response(status="in_progress")}


def _piece(kind: str, text: str, place: int, item: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "delta": text, "output_index": place, "item_id": item, **more}


def _responses() -> Iterable[Answer]:
    named = Named("resp_1", "gpt-y")
    yield Answer(
        "reasoning, text and calls",
        RESPONSES,
        _numbered(
            _CREATED,
            {"type": "response.in_progress", "response": response(status="in_progress")},
            added(0, _REASONING, summary=[], encrypted_content=None),
            _piece("reasoning_summary_text", "a ", 0, "rs_1", summary_index=0),
            _piece("reasoning_summary_text", "plan", 0, "rs_1", summary_index=0),
            done(0, _REASONING),
            added(1, _MESSAGE, content=[], status="in_progress"),
            _piece("output_text", "Grüße, ", 1, "msg_1", content_index=0, logprobs=[]),
            _piece("output_text", "世界 🌍", 1, "msg_1", content_index=0, logprobs=[]),
            {
                "type": "response.output_text.done",
                "output_index": 1,
                "item_id": "msg_1",
                "content_index": 0,
                "text": TEXT,
                "logprobs": [],
            },
            done(1, _MESSAGE),
            added(2, _FUNCTION, arguments="", status="in_progress"),
            _piece("function_call_arguments", '{"a":', 2, "fc_1"),
            _piece("function_call_arguments", "1}", 2, "fc_1"),
            done(2, _FUNCTION),
            added(3, _CUSTOM, input=""),
            _piece("custom_tool_call_input", "select 1", 3, "ct_1"),
            done(3, _CUSTOM),
            {
                "type": "response.completed",
                "response": response(_REASONING, _MESSAGE, _FUNCTION, _CUSTOM),
            },
        ),
        (
            named,
            Reasoned("a "),
            Reasoned("plan"),
            Reasoned("", opaque=True),
            SaidText("Grüße, "),
            SaidText("世界 🌍"),
            AskedTool("call_a", "add", '{"a":1}'),
            AskedTool("call_b", "sql", "select 1"),
            _RESPONSE_USED,
            Stopped("completed"),
        ),
    )
    yield Answer(
        "hosted tools, and one the agent carries out",
        RESPONSES,
        _numbered(
            _CREATED,
            added(0, _SEARCH, status="in_progress"),
            {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"},
            done(0, _SEARCH),
            added(1, _MCP, output=None),
            done(1, _MCP),
            added(2, {"id": "x", "type": "time_travel_call"}),
            done(2, {"id": "x", "type": "time_travel_call"}),
            added(3, _SHELL),
            done(3, _SHELL),
            {"type": "response.completed", "response": response(_SEARCH, _MCP, {"type": "time_travel_call"}, _SHELL)},
        ),
        (
            named,
            HostedUse("web_search"),
            HostedUse("mcp:wiki", "ask"),
            HostedUse("time_travel"),
            HostedUse("local_shell"),
            AskedTool("call_c", "local_shell", '{"type":"exec","command":["ls"],"env":{}}'),
            _RESPONSE_USED,
            Stopped("completed"),
        ),
    )
    yield Answer(
        "a refusal that is cut short",
        RESPONSES,
        _numbered(
            _CREATED,
            _piece("refusal", "I can", 0, "msg_1", content_index=0),
            _piece("refusal", "not", 0, "msg_1", content_index=0),
            {
                "type": "response.incomplete",
                "response": response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            },
        ),
        (named, Declined("I can"), Declined("not"), _RESPONSE_USED, Stopped("max_output_tokens")),
    )
    yield Answer(
        "a failure",
        RESPONSES,
        _numbered(
            _CREATED,
            {
                "type": "response.failed",
                "response": response(status="failed", error={"code": "server_error", "message": "sorry"}, usage=None),
            },
        ),
        (named, Broke("server_error", "sorry"), Stopped("failed")),
    )
    yield Answer(
        "an error event",
        RESPONSES,
        _numbered(_CREATED, {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None}),
        (named, Broke("rate_limit_exceeded", "slow down")),
    )
    yield Answer(
        "only the end tells",
        RESPONSES,
        _numbered({"type": "response.completed", "response": response(_REASONING, _MESSAGE, _FUNCTION)}),
        (
            named,
            Reasoned("a plan"),
            Reasoned("", opaque=True),
            SaidText(TEXT),
            AskedTool("call_a", "add", '{"a":1}'),
            _RESPONSE_USED,
            Stopped("completed"),
        ),
    )
    yield Answer(
        "a whole response",
        RESPONSES,
        (response(_REASONING, _MCP, {**_FUNCTION, "namespace": "math"}, _MESSAGE),),
        (
            named,
            Reasoned("a plan"),
            Reasoned("", opaque=True),
            HostedUse("mcp:wiki", "ask"),
            AskedTool("call_a", "math.add", '{"a":1}'),
            SaidText(TEXT),
            _RESPONSE_USED,
            Stopped("completed"),
        ),
        streamed=False,
    )


_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 50,
            "cache_creation_input_tokens": 6,
            "cache_read_input_tokens": 64,
            "output_tokens": 1,
        },
    },
}
_STOP = {"type": "message_stop"}


def block(place: int, start: Mapping[str, Any], *deltas: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A content block from its start to its stop."""
    return [
        {"type": "content_block_start", "index": place, "content_block": start},
        *({"type": "content_block_delta", "index": place, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": place},
    ]


def _fragment(text: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def _stopping(reason: str, **more: Any) -> dict[str, Any]:
    ending = {"stop_reason": reason, "stop_sequence": None, **more}
    return {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 24}}


def _messages() -> Iterable[Answer]:
    named, begun, ended = Named("msg_1", "claude-x"), Used(120, 1, 64, 6, 0), Used(120, 24, 64, 6, 0)
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    yield Answer(
        "thinking, text and calls",
        MESSAGES,
        (
            _START,
            *block(
                0,
                thinking,
                {"type": "thinking_delta", "thinking": "a plan"},
                {"type": "signature_delta", "signature": "c2ln"},
            ),
            {"type": "ping"},
            *block(
                1,
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": TEXT},
                {
                    "type": "citations_delta",
                    "citation": {
                        "type": "char_location",
                        "cited_text": "x",
                        "document_index": 0,
                        "document_title": None,
                        "start_char_index": 0,
                        "end_char_index": 1,
                        "file_id": None,
                    },
                },
            ),
            *block(
                2,
                {"type": "tool_use", "id": "toolu_a", "name": "add", "input": {}},
                _fragment(""),
                _fragment('{"a":'),
                _fragment(" 1.50}"),
            ),
            *block(3, {"type": "tool_use", "id": "toolu_b", "name": "now", "input": {}}),
            _stopping("tool_use"),
            _STOP,
        ),
        (
            named,
            begun,
            Reasoned("a plan"),
            SaidText(TEXT),
            AskedTool("toolu_a", "add", '{"a": 1.50}'),
            AskedTool("toolu_b", "now", "{}"),
            ended,
            Stopped("tool_use"),
        ),
    )
    yield Answer(
        "hidden thinking and hosted tools",
        MESSAGES,
        (
            _START,
            *block(0, thinking, {"type": "signature_delta", "signature": "c2ln"}),
            *block(1, {"type": "redacted_thinking", "data": "e30="}),
            *block(
                2,
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                _fragment('{"query":"x"}'),
            ),
            *block(3, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
            *block(4, {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "ask", "server_name": "wiki", "input": {}}),
            *block(5, {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": []}),
            *block(6, {"type": "time_travel", "id": "x"}),
            _stopping("pause_turn"),
            _STOP,
        ),
        (
            named,
            begun,
            Reasoned("", opaque=True),
            Reasoned("", opaque=True),
            HostedUse("web_search"),
            HostedUse("mcp:wiki", "ask"),
            HostedUse("time_travel"),
            ended,
            Stopped("pause_turn"),
        ),
    )
    yield Answer(
        "a refusal",
        MESSAGES,
        (
            _START,
            _stopping("refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "No."}),
            _STOP,
        ),
        (named, begun, ended, Declined("No."), Stopped("refusal")),
    )
    yield Answer(
        "an error in the middle",
        MESSAGES,
        (
            _START,
            block(0, {"type": "tool_use", "id": "toolu_a", "name": "add", "input": {}}, _fragment("{"))[0],
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        ),
        (named, begun, Broke("overloaded_error", "Overloaded")),
    )
    yield Answer(
        "a whole message",
        MESSAGES,
        (
            {
                **_START["message"],  # type: ignore[dict-item]
                "content": [
                    {"type": "thinking", "thinking": "a plan", "signature": "c2ln"},
                    {"type": "thinking", "thinking": "", "signature": "c2ln"},
                    {"type": "text", "text": TEXT, "citations": None},
                    {"type": "tool_use", "id": "toolu_a", "name": "add", "input": {"a": 1, "b": "ü"}},
                ],
                "stop_reason": "tool_use",
                "usage": {
                    "input_tokens": 50,
                    "cache_read_input_tokens": None,
                    "output_tokens": 24,
                    "output_tokens_details": {"thinking_tokens": 9},
                },
            },
        ),
        (
            named,
            Reasoned("a plan"),
            Reasoned("", opaque=True),
            SaidText(TEXT),
            AskedTool("toolu_a", "add", '{"a":1,"b":"ü"}'),
            Used(50, 24, 0, 0, 9),
            Stopped("tool_use"),
        ),
        streamed=False,
    )
    yield Answer(
        "an error instead of a message",
        MESSAGES,
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}, "request_id": "req_1"},),
        (Broke("rate_limit_error", "slow down"),),
        streamed=False,
    )


ANSWERS = (*_chat(), *_responses(), *_messages())
STREAMS = tuple(answer for answer in ANSWERS if answer.streamed)
