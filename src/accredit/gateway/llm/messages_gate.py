"""The gate for answers of Anthropic's `/messages`: a content block that is withheld becomes a text block in its place.

Blocks keep their indexes, so nothing that follows has to be counted anew; an answer of which no tool call is left did
not stop for the use of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accredit.gateway.llm.events import AskedTool
from accredit.gateway.llm.frames import SseFrame
from accredit.gateway.llm.gate import Weighing, blank, event_of, written
from accredit.gateway.llm.lenient import as_count, as_mapping, as_text, dump

__all__ = ["MessagesGate"]


@dataclass(slots=True)
class _HeldBlock:
    id: str
    name: str
    input: str
    frames: list[bytes]
    fragments: list[str] = field(default_factory=list)

    @property
    def asked(self) -> AskedTool:
        return AskedTool(self.id, self.name, "".join(self.fragments) or self.input)


class MessagesGate:
    """Gates one answer."""

    def __init__(self, weigh: Weighing) -> None:
        self._weigh = weigh
        self._held: dict[int, _HeldBlock] = {}
        self._shown = self._withheld = 0

    async def frame(self, frame: SseFrame) -> bytes:
        """As `AnswerGate.frame`."""
        if blank(frame):
            return frame.raw
        event = event_of(frame)
        place = as_count(event.get("index"))
        match event.get("type"):
            case "content_block_start":
                before = await self._settled(place)
                block = as_mapping(event.get("content_block"))
                if block.get("type") != "tool_use":
                    return before + frame.raw
                started = dump(block.get("input") or {})
                self._held[place] = _HeldBlock(
                    as_text(block.get("id")), as_text(block.get("name")), started, [frame.raw]
                )
                return before
            case "content_block_delta" if held := self._held.get(place):
                held.frames.append(frame.raw)
                held.fragments.append(as_text(as_mapping(event.get("delta")).get("partial_json")))
                return b""
            case "content_block_stop" if held := self._held.get(place):
                held.frames.append(frame.raw)
                return await self._settled(place)
            case "message_start" if isinstance(message := event.get("message"), dict):
                return written(event, frame.event) if await self.whole(message) else frame.raw
            case "message_delta" | "message_stop":
                before = b"".join([await self._settled(one) for one in list(self._held)])
                delta = event.get("delta")
                changed = isinstance(delta, dict) and self._stopped(delta)
                return before + (written(event, frame.event) if changed else frame.raw)
            case _:
                return frame.raw

    async def whole(self, answer: dict[str, Any]) -> bool:
        """As `AnswerGate.whole`."""
        changed, given = False, answer.get("content")
        content: list[Any] = given if isinstance(given, list) else []
        for place, block in enumerate(content):
            if isinstance(block, dict) and block.get("type") == "tool_use":
                asked = AskedTool(as_text(block.get("id")), as_text(block.get("name")), dump(block.get("input") or {}))
                if (text := await self._weighed(asked)) is not None:
                    content[place] = {"type": "text", "text": text}
                    changed = True
        return self._stopped(answer) or changed

    async def _settled(self, place: int) -> bytes:
        """What becomes of a block that is complete."""
        if (held := self._held.pop(place, None)) is None:
            return b""
        text = await self._weighed(held.asked)
        return b"".join(held.frames) if text is None else b"".join(_text_block(place, text))

    async def _weighed(self, asked: AskedTool) -> str | None:
        text = await self._weigh(asked)
        self._shown += text is None
        self._withheld += text is not None
        return text

    def _stopped(self, ending: dict[str, Any]) -> bool:
        if self._withheld and not self._shown and ending.get("stop_reason") == "tool_use":
            ending["stop_reason"] = "end_turn"
            return True
        return False


def _text_block(place: int, text: str) -> list[bytes]:
    events: list[Mapping[str, Any]] = [
        {"type": "content_block_start", "index": place, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": place, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": place},
    ]
    return [written(event, str(event["type"]).encode()) for event in events]
