"""What an answer holds is found however its bytes come, and what is not whole is never taken for it."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway.llm.events import (
    MALFORMED,
    OVERSIZED,
    TRUNCATED,
    AskedTool,
    Broke,
    HostedUse,
    LlmEvent,
    Named,
    Reasoned,
    SaidText,
    Stopped,
    Used,
)
from accredit.gateway.llm.extract import FrameExtractor, extractor, usage_only
from accredit.gateway.llm.frames import SseFrame, SseFrames
from accredit.gateway.llm.shapes import LlmShape
from accredit.gateway.sse import EventReader
from tests.gateway.llm.answers import ANSWERS, STREAMS, Answer, added, block, call, chunk, delta

CHAT, RESPONSES, MESSAGES = LlmShape.CHAT, LlmShape.RESPONSES, LlmShape.MESSAGES


def _events(shape: LlmShape, *slices: bytes, streamed: bool = True, most_bytes: int = 2**20) -> list[LlmEvent]:
    reading = extractor(shape, streamed=streamed, most_bytes=most_bytes)
    found = [event for data in slices for event in reading.feed(data)]
    return found + reading.close()


def _stream(*events: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


@pytest.mark.requirement("gateway:llm:answers")
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer.shape} {answer.name}")
def test_everything_an_answer_holds_is_found_in_order(answer: Answer) -> None:
    assert _events(answer.shape, answer.body(), streamed=answer.streamed) == list(answer.events)


@pytest.mark.requirement("gateway:llm:any-split")
@pytest.mark.parametrize("answer", STREAMS, ids=lambda answer: f"{answer.shape} {answer.name}")
def test_every_single_split_gives_the_events_of_the_whole(answer: Answer) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        body = answer.body().replace(b"\n", end)
        assert _events(answer.shape, *(bytes([byte]) for byte in body)) == list(answer.events)
        for cut in range(0, len(body), 1 if end == b"\r\n" and len(body) < 1500 else 7):
            assert _events(answer.shape, body[:cut], body[cut:]) == list(answer.events), cut


@st.composite
def _written(draw: st.DrawFn) -> tuple[Answer, list[bytes]]:
    """A stream written as servers may write it, in slices."""
    answer = draw(st.sampled_from(STREAMS))
    ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
    written = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for frame in answer.frames():
        lines = list(frame)
        text = lines[-1].removeprefix(b"data: ")
        places = [place for place, byte in enumerate(text) if byte == ord(",") and text[place + 1] == ord('"')]
        split: bool = draw(st.booleans())
        if places and split:  # a line end instead of the space that JSON may have here
            place = draw(st.sampled_from(places)) + 1
            value = orjson.loads(text)
            try:
                same = orjson.loads(text[:place] + b"\n" + text[place:]) == value
            except orjson.JSONDecodeError:
                same = False
            if same:
                lines[-1:] = [b"data:" + text[:place], b"data:  " + text[place:]]
        extras: list[list[bytes]] = [[], [b": ping"], [b"id: 1", b"retry: 9"], [b": a\xff", b"unknown"]]
        lines = [*draw(st.sampled_from(extras)), *lines]
        end = draw(ends)
        written += b"".join(line + end for line in [*lines, b""])
        if split:
            written += b": keep-alive" + end + end
    cuts = sorted(draw(st.lists(st.integers(0, len(written)), max_size=12)))
    return answer, [written[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(written)], strict=True)]


@pytest.mark.requirement("gateway:llm:any-split", "gateway:llm:frames-exact")
@given(_written())
def test_any_way_to_write_and_split_a_stream_gives_the_same_events_and_its_bytes(
    case: tuple[Answer, list[bytes]],
) -> None:
    answer, slices = case
    assert _events(answer.shape, *slices) == list(answer.events)
    frames = SseFrames()
    found = [frame for data in slices for frame in frames.feed(data)]
    assert b"".join(frame.raw for frame in found) + frames.rest() == b"".join(slices)
    reading = FrameExtractor(answer.shape)
    assert [event for frame in found for event in reading.take(frame)] + reading.close() == list(answer.events)


_PIECES = st.sampled_from(
    [
        b"data: ", b"data:", b"event: message", b": ping", b"\r", b"\n", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xff",
        b"[DONE]", b'{"choices":[{"delta":{"content":"x"}}]}', b'{"choices":[],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":[],"id":3,"function":{"name":{},"arguments":"a"}}]}}]}',
        b'{"type":"response.completed","response":{"output":[{"type":"function_call"},3,{"type":[]}]}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":[]}}',
        b'{"type":"content_block_stop","index":0}', b'{"type":"content_block_delta","index":{},"delta":[]}',
        b'{"error":5}', b"{", b"}", b"[", b'"', b'"\\ud800"', b"9" * 30, b"[" * 2000, b"null", b"x",
    ]
)  # fmt: skip
_ANY_BYTES = st.lists(_PIECES | st.binary(max_size=8), max_size=30).map(b"".join)


@pytest.mark.requirement("gateway:llm:bounded", "gateway:llm:frames-exact")
@given(
    shape=st.sampled_from(list(LlmShape)),
    body=_ANY_BYTES,
    most=st.integers(1, 400),
    step=st.integers(1, 50),
    streamed=st.booleans(),
)
def test_no_bytes_raise_and_frames_join_back_to_them(
    shape: LlmShape, body: bytes, most: int, step: int, *, streamed: bool
) -> None:
    slices = [body[start : start + step] for start in range(0, len(body), step)]
    _events(shape, *slices, streamed=streamed, most_bytes=most)
    frames = SseFrames(most_bytes=most)
    found = [frame for data in slices for frame in frames.feed(data)]
    assert b"".join(frame.raw for frame in found) + frames.rest() == body
    assert len(frames.rest()) <= most
    for frame in found:
        usage_only(frame)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, item in inner for place in _places(item, (*path, name)))]


@pytest.mark.requirement("gateway:llm:bounded")
@given(st.sampled_from(ANSWERS), st.data())
def test_any_value_anywhere_in_an_answer_is_taken_without_raising(answer: Answer, data: st.DataObject) -> None:
    sent = orjson.loads(orjson.dumps(answer.sent))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from([place for place in _places(sent) if place]))
        inner: Any = sent
        for name in path:
            inner = inner[name]
        inner[last] = data.draw(_JSON)
    body = _stream(*sent) if answer.streamed else orjson.dumps(sent[0])
    for event in _events(answer.shape, body, streamed=answer.streamed):
        hash(event)
        texts = [getattr(event, name) for name in event.__slots__]
        assert all(isinstance(text, str | int) for text in texts)


@pytest.mark.requirement("gateway:llm:bounded")
@pytest.mark.parametrize("shape", list(LlmShape))
@pytest.mark.parametrize("streamed", [True, False])
def test_a_frame_without_end_is_let_go_of_and_reading_stops(shape: LlmShape, *, streamed: bool) -> None:
    reading = extractor(shape, streamed=streamed, most_bytes=100_000)
    slice_ = b'data: {"choices": "' + b"x" * 8_192
    tracemalloc.start()
    found = [event for _ in range(1_000) for event in reading.feed(slice_)]
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(event) for event in found] == [Broke]
    assert found[0] == Broke(OVERSIZED, found[0].message)  # type: ignore[union-attr]
    assert grown < 200_000
    assert peak < 600_000
    assert reading.feed(_stream(chunk(delta(content="a")))) == []
    assert reading.close() == []


@pytest.mark.requirement("gateway:llm:bounded")
@pytest.mark.parametrize(
    ("shape", "event"),
    [
        (CHAT, lambda number: chunk(delta(tool_calls=[call(0, "x" * 50, "a", "f")]))),
        (CHAT, lambda number: chunk(delta(tool_calls=[call(number, "", str(number))]))),
        (CHAT, lambda number: chunk(delta(tool_calls=[call(0, "", "a", str(number))]))),
        (CHAT, lambda number: chunk(delta(number, function_call={"name": "f"}))),
        (RESPONSES, lambda number: added(number, {"type": "function_call", "name": "f" * 1000})),
        (RESPONSES, lambda number: added(number, {"type": "web_search_call"})),
        (MESSAGES, lambda number: block(number, {"type": "tool_use", "input": {"a": "x" * 1000}})[0]),
        (MESSAGES, lambda number: block(number, {"type": "thinking"})[0]),
    ],
)
def test_what_is_begun_and_never_finished_is_bounded_too(shape: LlmShape, event: Any) -> None:
    reading = extractor(shape, streamed=True, most_bytes=20_000)
    if shape is MESSAGES:
        reading.feed(_stream(block(0, {"type": "tool_use", "id": "a", "name": "f"})[0]))
    found = [said for number in range(2_000) for said in reading.feed(_stream(event(number)))]
    assert [said.code for said in found if isinstance(said, Broke)] == [OVERSIZED]
    assert not any(isinstance(said, AskedTool) and "x" in said.arguments for said in found)


@pytest.mark.requirement("gateway:llm:tool-calls-whole", "gateway:llm:incomplete")
@pytest.mark.parametrize("answer", STREAMS, ids=lambda answer: f"{answer.shape} {answer.name}")
def test_a_stream_that_is_cut_off_says_so_and_gives_out_no_unfinished_call(answer: Answer) -> None:
    body = answer.body()
    for cut in range(0, len(body), 5):
        found = _events(answer.shape, body[:cut])
        if found != list(answer.events):
            calls = [event for event in found if isinstance(event, AskedTool)]
            assert set(calls) <= set(answer.events)
            ended = any(isinstance(event, Stopped) for event in found)
            assert ended or isinstance(found[-1], Broke), cut
        assert sum(isinstance(event, Broke) and event.code == TRUNCATED for event in found) <= 1


@pytest.mark.requirement("gateway:llm:tool-calls-whole")
@pytest.mark.parametrize(
    ("shape", "events", "message"),
    [
        (CHAT, [chunk(delta(tool_calls=[call(0, "{}", "a", "rm")]))], "the tool call `rm` was not finished"),
        (
            RESPONSES,
            [added(0, {"type": "function_call", "name": "rm", "arguments": "{}"})],
            "the tool call `rm` was not finished",
        ),
        (
            MESSAGES,
            block(0, {"type": "tool_use", "id": "a", "name": "rm", "input": {}})[:1],
            "the tool call `rm` was not finished",
        ),
        (CHAT, [], "the stream ended before the answer did"),
        (CHAT, [chunk(prompt_filter_results=[])], "the stream ended before the answer did"),
    ],
)
def test_a_call_that_was_not_finished_is_named(shape: LlmShape, events: list[Any], message: str) -> None:
    assert _events(shape, _stream(*events))[-1] == Broke(TRUNCATED, message)


@pytest.mark.requirement("gateway:llm:tool-calls-whole")
@pytest.mark.parametrize("answer", STREAMS, ids=lambda answer: f"{answer.shape} {answer.name}")
def test_a_call_is_pending_from_its_first_frame_to_the_one_that_gives_it_out(answer: Answer) -> None:
    reading, before = FrameExtractor(answer.shape), False
    for frame in SseFrames().feed(answer.body()):
        found = reading.take(frame)
        calls = any(isinstance(event, AskedTool) for event in found)
        begins = any(word in frame.data for word in (b'"tool_calls":[', b'"function_call":{', b'"tool_use","id"'))
        begins |= b"output_item.added" in frame.data and b'"call_id"' in frame.data
        assert reading.pending or calls or not (before or begins)
        before = reading.pending
    assert not before or isinstance(answer.events[-1], Broke)


@pytest.mark.requirement("gateway:llm:tool-calls-whole")
@pytest.mark.parametrize("execution", ["client", "server"])
def test_a_tool_search_is_asked_of_the_agent_only_if_the_agent_is_to_do_it(execution: str) -> None:
    item = {"type": "tool_search_call", "call_id": "a", "execution": execution, "arguments": {"q": 1}}
    found = _events(RESPONSES, _stream(added(0, item), {"type": "response.completed", "response": {"output": [item]}}))
    asked = [AskedTool("a", "tool_search", '{"q":1}')] if execution == "client" else []
    assert found == [HostedUse("tool_search"), *asked, Stopped("completed")]


@pytest.mark.requirement("gateway:llm:tool-calls-whole")
def test_a_call_is_complete_where_the_answer_is_even_if_nothing_said_that_the_call_was() -> None:
    asked = chunk(delta(tool_calls=[call(0, "{}", "a", "f")]))
    assert _events(CHAT, _stream(asked), b"data: [DONE]\n\n")[-1] == AskedTool("a", "f", "{}")
    begun = block(0, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}})[0]
    assert _events(MESSAGES, _stream(begun, {"type": "message_stop"})) == [AskedTool("a", "f", '{"x":1}')]
    restarted = block(0, {"type": "tool_use", "id": "b", "name": "g", "input": {}})
    assert _events(MESSAGES, _stream(begun, *restarted, {"type": "message_stop"})) == [
        AskedTool("a", "f", '{"x":1}'),
        AskedTool("b", "g", "{}"),
    ]


@pytest.mark.requirement("gateway:llm:incomplete")
def test_a_malformed_frame_is_reported_and_reading_goes_on() -> None:
    broken = Broke(MALFORMED, "a frame of the stream is not a JSON object")
    after = _stream(chunk(delta(content="a", reason="stop")))
    for data in (b"data: {]\n\n", b"data: 5\n\n", b"data: [" + b"[" * 3000 + b"\n\n", b"data: {}\ndata: {}\n\n"):
        assert _events(CHAT, data + after) == [broken, Named("chatcmpl-1", "gpt-x"), SaidText("a"), Stopped("stop")]


@pytest.mark.requirement("gateway:llm:incomplete")
@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", TRUNCATED), (b" \n", TRUNCATED), (b'{"id": "a', TRUNCATED), (b"{]}", MALFORMED), (b"[]", TRUNCATED)],
)
def test_a_body_that_is_not_an_object_is_reported(body: bytes, code: str) -> None:
    (found,) = _events(CHAT, body, streamed=False)
    assert isinstance(found, Broke)
    assert found.code == code


@pytest.mark.requirement("gateway:llm:answers")
def test_what_browsers_would_replace_in_a_text_is_replaced_here() -> None:
    line = b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":"stop"}]}\n\n'
    assert _events(CHAT, line % b"a\xffb") == [SaidText("a\ufffdb"), Stopped("stop")]
    assert _events(CHAT, line % b"\\ud83d.") == [SaidText("?."), Stopped("stop")]


@pytest.mark.requirement("gateway:llm:answers")
def test_data_without_the_blank_line_after_it_is_read_when_the_stream_ends() -> None:
    body = _stream(chunk(delta(tool_calls=[call(0, "{}", "a", "f")], reason="tool_calls")))
    for rest in (b"", b"\n", b"\r"):
        found = _events(CHAT, body.rstrip(b"\n") + rest)
        assert found[1:] == [AskedTool("a", "f", "{}"), Stopped("tool_calls")]


@pytest.mark.requirement("gateway:llm:answers")
def test_usage_is_the_latest_of_every_number_and_counts_rounds_the_total_leaves_out() -> None:
    begun = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
    rounds = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 3},
        {"type": "message", "input_tokens": 5, "output_tokens": 7},
    ]
    last = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7, "iterations": rounds}}
    found = _events(MESSAGES, _stream(begun, {**last, "usage": {"output_tokens": 3}}, last, {"type": "message_stop"}))
    assert found == [Used(5, 1, 0, 0, 0), Used(5, 3, 0, 0, 0), Used(108, 17, 3, 0, 0)]
    odd = {"prompt_tokens": -1, "completion_tokens": 3.5, "prompt_tokens_details": None, "total_tokens": "9"}
    assert _events(CHAT, _stream(chunk(usage=odd)))[1] == Used(0, 0, 0, 0, 0)


@pytest.mark.requirement("gateway:llm:answers")
def test_reasoning_that_is_summed_up_and_given_in_full_comes_once_each() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "long"}],
    }
    piece = {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "long"}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    end = {"type": "response.completed", "response": {"status": "completed", "output": [item]}}
    found = _events(RESPONSES, _stream(piece, done, end))
    assert found == [Reasoned("long"), Reasoned("short"), Stopped("completed")]


@pytest.mark.requirement("gateway:llm:frames-exact")
@pytest.mark.parametrize(
    ("sent", "only"),
    [
        (chunk(usage={"prompt_tokens": 1}), True),
        (chunk(usage=None), False),
        (chunk(), False),
        (chunk(delta(content="a"), usage={"prompt_tokens": 1}), False),
        (chunk(delta(content='"usage"')), False),
        ({"usage": {}}, False),
        (chunk(usage={}, error={"message": "x"}), False),
    ],
)
def test_the_chunk_that_only_has_the_usage_is_told_from_others(sent: Any, *, only: bool) -> None:
    (frame,) = SseFrames().feed(_stream(sent))
    assert usage_only(frame) is only


@pytest.mark.requirement("gateway:llm:any-split", "gateway:llm:frames-exact")
@given(_ANY_BYTES, st.integers(1, 50))
def test_frames_have_the_data_of_the_events_the_other_reader_finds(body: bytes, step: int) -> None:
    body = b": so that a byte order mark is no matter\n" + body
    frames = SseFrames()
    found = [frame for start in range(0, len(body), step) for frame in frames.feed(body[start : start + step])]
    messages = [frame.data for frame in found if frame.data and frame.event in {b"", b"message"}]
    assert messages == [data for data in EventReader().feed(body) if data]


@pytest.mark.requirement("gateway:llm:answers")
@pytest.mark.parametrize(
    ("parts", "name"), [(["get", "_", "get"], "get_get"), (["get", "get"], "get"), (["get", "", None], "get")]
)
def test_a_name_in_pieces_is_put_together_and_one_that_is_repeated_is_not(parts: list[Any], name: str) -> None:
    pieces = [chunk(delta(tool_calls=[{"index": 0, "function": {"name": part}}])) for part in parts]
    assert AskedTool("", name, "") in _events(CHAT, _stream(*pieces), b"data: [DONE]\n\n")


@pytest.mark.requirement("gateway:llm:answers")
def test_a_call_of_another_kind_in_a_chat_counts_as_hosted() -> None:
    other = delta(tool_calls=[{"index": 0, "id": "a", "type": "time_travel"}], reason="tool_calls")
    assert _events(CHAT, _stream(chunk(other)))[1:] == [HostedUse("time_travel"), Stopped("tool_calls")]


@pytest.mark.requirement("gateway:llm:frames-exact")
def test_a_frame_has_its_bytes_its_event_and_its_data() -> None:
    frames = SseFrames()
    assert frames.feed(b"\xef\xbb\xbfevent: a\r\ndata:1\r\ndata\r\ndata: 2\r\n\r") == [
        SseFrame(b"\xef\xbb\xbfevent: a\r\ndata:1\r\ndata\r\ndata: 2\r\n\r", b"1\n\n2", b"a")
    ]
    assert frames.feed(b"\n: x\n\n\ndata: [DONE]") == [SseFrame(b"\n: x\n\n", b""), SseFrame(b"\n", b"")]
    assert frames.rest() == b"data: [DONE]"
    large = SseFrames(most_bytes=10)
    assert large.feed(b"data: 1\n\ndata: 123456\n\n") == [
        SseFrame(b"data: 1\n\n", b"1"),
        SseFrame(b"data: 123456\n\n", b"", oversized=True),
    ]
    assert large.feed(b"data: 2\n\n") == [SseFrame(b"data: 2\n\n", b"", oversized=True)]
