"""The gate for answers of `/chat/completions`: a tool call that is withheld is left out, and its choice says so.

A call is complete when its choice says why it stopped, so what has fragments of calls waits until then; text goes on.
A frame that holds both makes all that follow it wait, or text would overtake text.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.gateway.llm.chat import CallFragments, ChatCall
from accredit.gateway.llm.frames import SseFrame
from accredit.gateway.llm.gate import Weighing, blank, event_of, written
from accredit.gateway.llm.lenient import as_count, as_items, as_text

__all__ = ["ChatGate"]

_DONE: Final = b"[DONE]"
_CALLS: Final = ("tool_calls", "function_call")
_FOR_CALLS: Final = frozenset({"tool_calls", "function_call"})
"""Why a choice stopped that asks for calls."""


@dataclass(slots=True)
class _Waiting:
    frame: SseFrame
    chunk: dict[str, Any]
    choices: frozenset[int]
    """Those whose calls must be weighed before it may go."""
    calls: list[tuple[int, Mapping[str, Any], ChatCall]] = field(default_factory=list)
    """Choice, fragment, and the call it belongs to."""


class ChatGate:
    """Gates one answer."""

    def __init__(self, weigh: Weighing) -> None:
        self._weigh = weigh
        self._fragments = CallFragments()
        self._waiting: deque[_Waiting] = deque()
        self._mixed = False
        self._spoken: set[int] = set()
        self._kept: dict[int, list[ChatCall]] = {}
        self._texts: dict[int, list[str]] = {}

    async def frame(self, frame: SseFrame) -> bytes:
        """As `AnswerGate.frame`."""
        if blank(frame):
            return frame.raw
        if frame.data.startswith(_DONE):
            said = b""
            for choice in self._fragments.choices:
                await self._complete(choice)
                said += self._refusal(choice, self._waiting[-1].chunk if self._waiting else {})
            return self._passed() + said + frame.raw
        chunk = event_of(frame)
        item = _Waiting(frame, chunk, frozenset())
        ended: list[int] = []
        mixed = False
        for number, told, said_of in _choices(chunk, "delta"):
            found = self._fragments.of(number, said_of)
            item.calls += [(number, fragment, call) for fragment, call in found]
            more = any(value for key, value in said_of.items() if key not in {"role", *_CALLS})
            mixed = mixed or more
            if more:
                self._spoken.add(number)
            if as_text(told.get("finish_reason")):
                ended.append(number)
        waits = {number for number, _, _ in item.calls} | {one for one in ended if self._fragments.open_in(one)}
        if not waits and not self._mixed:
            return self._written(item)
        item.choices = frozenset(waits)
        self._mixed = self._mixed or mixed or len(waits) > 1
        self._waiting.append(item)
        for number in ended:
            await self._complete(number)
        return self._passed()

    async def whole(self, answer: dict[str, Any]) -> bool:
        """As `AnswerGate.whole`."""
        changed = False
        for number, choice, message in _choices(answer, "message"):
            found = self._fragments.of(number, message)
            await self._complete(number)
            if not self._texts.get(number):
                continue
            changed = True
            item = [(number, fragment, call) for fragment, call in found]
            self._strip(message, number, item)
            text = self._text(number)
            content = message.get("content")
            if isinstance(content, list):
                content.append({"type": "text", "text": text})
            else:
                message["content"] = f"{content}\n\n{text}" if content else text
            self._stopped(number, choice)
        return changed

    async def _complete(self, choice: int) -> None:
        """Weigh all calls of a choice: nothing more comes of them."""
        for call in self._fragments.complete(choice):
            asked = call.asked
            text = await self._weigh(asked) if asked is not None else None
            if text is None:
                self._kept.setdefault(choice, []).append(call)
            else:
                self._texts.setdefault(choice, []).append(text)

    def _passed(self) -> bytes:
        out = []
        while self._waiting and not any(map(self._fragments.open_in, self._waiting[0].choices)):
            item = self._waiting.popleft()
            ended = [number for number, choice, _ in _choices(item.chunk, "delta") if choice.get("finish_reason")]
            out += [self._refusal(number, item.chunk) for number in ended]
            out.append(self._written(item))
        self._mixed = self._mixed and bool(self._waiting)
        return b"".join(out)

    def _refusal(self, choice: int, chunk: Mapping[str, Any]) -> bytes:
        """The text that a choice ends with; nothing if nothing of it was withheld."""
        if not self._texts.get(choice):
            return b""
        text = self._text(choice)
        text = f"\n\n{text}" if choice in self._spoken else text
        said = {"index": choice, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        head = {key: value for key, value in chunk.items() if key not in {"choices", "usage"}}
        return written({**head, "choices": [said]})

    def _text(self, choice: int) -> str:
        return "\n".join(self._texts[choice])

    def _written(self, item: _Waiting) -> bytes:
        """A frame as it came, or without what is withheld; empty if nothing is left of it."""
        chunk = copy.deepcopy(item.chunk) if self._texts else item.chunk
        changed, left = False, False
        for number, choice, said in _choices(chunk, "delta"):
            if self._texts.get(number):
                changed = self._strip(said, number, item.calls) or changed
                changed = self._stopped(number, choice) or changed
            left = left or bool(choice.get("finish_reason")) or any(said.values())
        if not changed:
            return item.frame.raw
        return written(chunk, item.frame.event) if left or chunk.get("usage") else b""

    def _strip(self, said: dict[str, Any], choice: int, calls: list[tuple[int, Mapping[str, Any], ChatCall]]) -> bool:
        """Take the fragments of what is withheld out of a delta or message, and count the others anew."""
        kept = self._kept.get(choice, [])
        place = {id(call): at for at, call in enumerate(call for call in kept if not call.legacy)}
        mine = [(fragment, call) for number, fragment, call in calls if number == choice]
        fragments = []
        for fragment, call in mine:
            if id(call) in place:
                counted = {"index": place[id(call)]} if "index" in fragment else {}
                fragments.append({**fragment, **counted})
        if fragments:
            said["tool_calls"] = fragments
        elif mine:
            said.pop("tool_calls", None)
        if any(call.legacy and call not in kept for _, call in mine):
            said.pop("function_call", None)
        return bool(mine)

    def _stopped(self, number: int, choice: dict[str, Any]) -> bool:
        if not self._kept.get(number) and choice.get("finish_reason") in _FOR_CALLS:
            choice["finish_reason"] = "stop"
            return True
        return False


def _choices(chunk: Mapping[str, Any], member: str) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Number, choice, and what it says there."""
    found = []
    for place, choice in enumerate(as_items(chunk.get("choices"))):
        said = choice.get(member)
        if not isinstance(said, dict):  # as `ChatReader` reads it
            said = choice.get("message" if member == "delta" else "delta")
        found.append((as_count(choice.get("index"), place), choice, said if isinstance(said, dict) else {}))
    return found  # type: ignore[return-value]  # what JSON was read to are plain dictionaries
