"""The gate for answers of `/responses`: an item that is withheld becomes a message in its place.

Events carry numbers that say their order, so while a call is not complete all that follows it waits: items come one
after the other anyway. Where a message took the place of a call, later events are numbered anew. The whole response at
the end of a stream says the same as its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.gateway.llm.events import AskedTool
from accredit.gateway.llm.frames import SseFrame
from accredit.gateway.llm.gate import Weighing, blank, event_of, opaque, written
from accredit.gateway.llm.lenient import as_count, as_mapping, as_text
from accredit.gateway.llm.responses import RESPONSE_ENDS, asked_of, is_call

__all__ = ["ResponsesGate"]

_FILLS: Final = ("response.function_call_arguments.", "response.custom_tool_call_input.")
_DONE: Final = b"[DONE]"


@dataclass(slots=True)
class _Waiting:
    frame: SseFrame
    event: dict[str, Any]
    place: int | None
    """Of the call that it belongs to."""


class ResponsesGate:
    """Gates one answer."""

    def __init__(self, weigh: Weighing) -> None:
        self._weigh = weigh
        self._texts: dict[AskedTool, str | None] = {}
        self._open: set[int] = set()
        self._waiting: list[_Waiting] = []
        self._weighed: set[int] = set()
        """Places of calls that were weighed in the stream."""
        self._instead: dict[int, dict[str, Any]] = {}
        """The message in the place of each call that was withheld."""
        self._told: set[int] = set()
        self._shift = 0

    async def frame(self, frame: SseFrame) -> bytes:
        """As `AnswerGate.frame`."""
        if blank(frame) or frame.data.startswith(_DONE):
            return frame.raw
        event = event_of(frame)
        kind, place = as_text(event.get("type")), as_count(event.get("output_index"))
        call: int | None = None
        if kind in {"response.output_item.added", "response.output_item.done"}:
            item = as_mapping(event.get("item"))
            if is_call(item):
                call = place
                self._open.add(place)
                if kind.endswith(".done"):
                    await self._take(place, item)
            elif place in self._open:
                raise opaque("an item of the answer changed its kind")
        elif kind.startswith(_FILLS) or ("output_index" in event and place in self._open | self._weighed):
            call = place
            if place not in self._weighed:
                self._open.add(place)
        elif isinstance(response := event.get("response"), dict):
            changed = await self.whole(response)
            if kind in RESPONSE_ENDS:
                # what never ended in the stream, and does not stand in the whole, is nothing that can be shown
                self._waiting = [one for one in self._waiting if one.place is None or one.place not in self._open]
                self._open.clear()
            return self._passed() + self._numbered(frame, event, changed=changed)
        self._waiting.append(_Waiting(frame, event, call))
        return b"" if self._open else self._passed()

    async def whole(self, answer: dict[str, Any]) -> bool:
        """As `AnswerGate.whole`."""
        changed, given = False, answer.get("output")
        output: list[Any] = given if isinstance(given, list) else []
        for place, item in enumerate(output):
            if isinstance(item, dict) and is_call(item):
                await self._take(place, item)
                if place in self._instead:
                    output[place] = self._instead[place]
                    changed = True
        return changed

    async def _take(self, place: int, item: Mapping[str, Any]) -> None:
        """Weigh a call that is complete; what a stream says twice is weighed once."""
        asked = asked_of(item)
        if asked not in self._texts:
            self._texts[asked] = await self._weigh(asked)
        if (text := self._texts[asked]) is not None:
            self._instead[place] = _message(as_text(item.get("id")) or asked.id, text)
        self._weighed.add(place)
        self._open.discard(place)

    def _passed(self) -> bytes:
        """All that waited, with each call that was withheld replaced as a whole where it began."""
        out = []
        for one in self._waiting:
            if one.place is None or one.place not in self._instead:
                out.append(self._numbered(one.frame, one.event))
                continue
            if one.place not in self._told:
                self._told.add(one.place)
                out += self._message_events(one.place, one.event)
            self._shift -= 1
        self._waiting.clear()
        return b"".join(out)

    def _message_events(self, place: int, event: Mapping[str, Any]) -> list[bytes]:
        whole = self._instead[place]
        part = whole["content"][0]
        at = {"item_id": whole["id"], "output_index": place, "content_index": 0}
        events: list[dict[str, Any]] = [
            {"type": "response.output_item.added", "output_index": place,
             "item": {**whole, "status": "in_progress", "content": []}},
            {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
            {"type": "response.output_text.delta", **at, "delta": part["text"], "logprobs": []},
            {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
            {"type": "response.content_part.done", **at, "part": part},
            {"type": "response.output_item.done", "output_index": place, "item": whole},
        ]  # fmt: skip
        number = event.get("sequence_number")
        if isinstance(number, int):
            events = [{**one, "sequence_number": number + self._shift + at} for at, one in enumerate(events)]
        self._shift += len(events)
        return [written(one, str(one["type"]).encode()) for one in events]

    def _numbered(self, frame: SseFrame, event: dict[str, Any], *, changed: bool = False) -> bytes:
        number = event.get("sequence_number")
        if self._shift and isinstance(number, int):
            return written({**event, "sequence_number": number + self._shift}, frame.event)
        return written(event, frame.event) if changed else frame.raw


def _message(item: str, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    # the provider numbers items by kind; nothing of this one was ever said to it
    return {"id": f"msg_{item.removeprefix('fc_')}", "type": "message", "status": "completed", "role": "assistant",
            "content": content}  # fmt: skip
