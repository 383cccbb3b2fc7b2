"""Gates: nothing of a tool call passes before it was weighed, and what is withheld leaves an answer that reads well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway.llm.events import AskedTool, Broke, LlmEvent, SaidText, Stopped
from accredit.gateway.llm.extract import extractor
from accredit.gateway.llm.frames import SseFrames
from accredit.gateway.llm.gating import gate_for
from accredit.gateway.llm.shapes import LlmShape
from accredit.kernel.errors import UnavailableError
from tests.gateway.llm.answers import ANSWERS, Answer

WITHHELD = "[withheld]"
GATED = [answer for answer in ANSWERS if answer.shape is not LlmShape.EMBEDDINGS]
WHOLE = [answer for answer in GATED if not any(isinstance(event, Broke) for event in answer.events)]
ASKING = [answer for answer in GATED if any(isinstance(event, AskedTool) for event in answer.events)]


def _read(answer: Answer, body: bytes) -> list[LlmEvent]:
    reader = extractor(answer.shape, streamed=answer.streamed)
    return [*reader.feed(body), *reader.close()]


def _calls(events: Any) -> list[AskedTool]:
    return [event for event in events if isinstance(event, AskedTool)]


def _gated(
    answer: Answer, shows: Callable[[AskedTool], bool], slices: list[bytes] | None = None
) -> tuple[bytes, list[AskedTool]]:
    """What passes the gate, and what was weighed; no call has passed by any moment that was not weighed before."""
    weighed: list[AskedTool] = []

    async def weigh(asked: AskedTool) -> str | None:
        weighed.append(asked)
        return None if shows(asked) else WITHHELD

    async def live() -> bytes:
        gate = gate_for(answer.shape, weigh)
        assert gate is not None
        if not answer.streamed:
            value = json.loads(answer.body())
            return json.dumps(value).encode() if await gate.whole(value) else answer.body()
        frames, passed = SseFrames(), b""
        for piece in slices if slices is not None else [answer.body()]:
            for frame in frames.feed(piece):
                passed += await gate.frame(frame)
                for call in _calls(answer.events):
                    if call.id and call not in weighed:
                        assert json.dumps(call.id).encode() not in passed
        return passed

    return asyncio.run(live()), weighed


@pytest.mark.requirement("llm:gate")
@pytest.mark.parametrize("answer", WHOLE, ids=lambda one: one.name)
def test_an_answer_of_which_nothing_is_withheld_passes_byte_for_byte(answer: Answer) -> None:
    passed, weighed = _gated(answer, lambda _: True)
    assert passed == answer.body()
    assert weighed == _calls(answer.events)


@pytest.mark.requirement("llm:gate")
@pytest.mark.parametrize("answer", ASKING, ids=lambda one: one.name)
def test_what_is_withheld_is_nowhere_in_the_answer_and_a_text_says_so(answer: Answer) -> None:
    passed, _ = _gated(answer, lambda _: False)
    events = _read(answer, passed)
    assert _calls(events) == []
    said = "".join(event.text for event in events if isinstance(event, SaidText))
    assert said.count(WITHHELD) == len(_calls(answer.events))
    assert "".join(event.text for event in answer.events if isinstance(event, SaidText)) in said.replace("\n\n[", "[")
    for call in _calls(answer.events):
        assert not call.id or json.dumps(call.id).encode() not in passed
        assert call.arguments in {"", "{}"} or json.dumps(call.arguments).encode()[1:-1] not in passed
    stops = [event.reason for event in events if isinstance(event, Stopped)]
    assert len(stops) == len([event for event in answer.events if isinstance(event, Stopped)])
    assert not {"tool_use", "tool_calls", "function_call"} & set(stops)


@pytest.mark.requirement("llm:gate")
@given(data=st.data())
def test_any_of_its_calls_can_be_withheld_and_the_others_stay_as_they_are(data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(ASKING))
    calls = _calls(answer.events)
    hidden = data.draw(st.sets(st.integers(0, len(calls) - 1)))
    shown = [call for at, call in enumerate(calls) if at not in hidden]
    body = answer.body()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(body) - 1, 1)), max_size=6)))
    slices = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    passed, _ = _gated(answer, lambda call: call in shown, slices)
    assert _calls(_read(answer, passed)) == shown
    if not hidden:
        assert passed == body
    if answer.shape is LlmShape.RESPONSES and answer.streamed:
        events = [json.loads(frame.data) for frame in SseFrames().feed(passed) if frame.data.startswith(b"{")]
        numbers = [event["sequence_number"] for event in events if "sequence_number" in event]
        assert numbers == sorted(set(numbers))
        first = json.loads(SseFrames().feed(body)[0].data).get("sequence_number", 0)
        assert not numbers or numbers == list(range(first, first + len(numbers)))


@pytest.mark.requirement("llm:gate")
@pytest.mark.parametrize("answer", [one for one in ASKING if one.streamed], ids=lambda one: one.name)
def test_a_call_that_is_cut_off_is_never_shown(answer: Answer) -> None:
    frames = SseFrames().feed(answer.body())
    for count in range(len(frames)):
        body = b"".join(frame.raw for frame in frames[:count])
        passed, weighed = _gated(answer, lambda _: True, [body])
        assert body.startswith(passed) or len(passed) < len(body)
        for call in _calls(answer.events):
            if call.id and call not in weighed:
                assert json.dumps(call.id).encode() not in passed


@pytest.mark.requirement("llm:gate")
@pytest.mark.parametrize("shape", [LlmShape.CHAT, LlmShape.RESPONSES, LlmShape.MESSAGES])
@pytest.mark.parametrize("frame", [b"data: {\n\n", b"data: []\n\n", b"event: x\ndata: 1\n\n"])
def test_a_frame_that_cannot_be_read_ends_the_answer(shape: LlmShape, frame: bytes) -> None:
    with pytest.raises(UnavailableError, match="cannot be decided"):
        _gated(Answer("odd", shape, (), ()), lambda _: True, [frame])
    passed, _ = _gated(Answer("odd", shape, (), ()), lambda _: True, [b": alive\n\n", b"event: ping\n\n"])
    assert passed == b": alive\n\nevent: ping\n\n"
