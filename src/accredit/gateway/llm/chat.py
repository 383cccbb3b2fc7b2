"""Answers of `/chat/completions`: deltas of several choices, tool calls put together by index.

Of `/embeddings` only the model and the usage are read, which stand where a chat has them.

A tool call is complete when its choice says why it stopped, or with `[DONE]`: fragments of several may come mixed.
Where others than OpenAI differ, their ways are read too: reasoning as `reasoning_content` or `reasoning`, content as a
list of parts, tool calls without an index or all with the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.gateway.llm.events import (
    TRUNCATED,
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
from accredit.gateway.llm.lenient import as_count, as_items, as_mapping, as_text

__all__ = ["CallFragments", "ChatCall", "ChatReader"]

_LEGACY: Final = -1
"""The place of a choice's `function_call` among its tool calls."""
_QUIET: Final = frozenset({"role", "annotations", "tool_call_id", "name"})


@dataclass(slots=True, eq=False)
class ChatCall:
    """One tool call, put together of its fragments."""

    id: str = ""
    names: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    hosted: str = ""
    named: int = 0
    """How long the name is so far."""
    size: int = 0
    legacy: bool = False
    """It is the one `function_call` of its choice."""

    @property
    def name(self) -> str:
        """All of it that has come."""
        return "".join(self.names)

    @property
    def asked(self) -> AskedTool | None:
        """What the agent is asked to make; None: nothing, the provider made it itself."""
        name, text = self.name, "".join(self.arguments)
        return AskedTool(self.id, name, text) if name or text or not self.hosted else None


class CallFragments:
    """Puts the tool calls of all choices together. Fragments of several may come mixed."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[int, list[ChatCall]]] = {}
        """By choice, then by index: more than one where a new id came with an index that was taken."""
        self.held = 0
        """About how many bytes are remembered."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def open_in(self, choice: int) -> bool:
        """Whether a call of that choice is not complete."""
        return choice in self._calls

    @property
    def choices(self) -> list[int]:
        """Those that have calls that are not complete."""
        return list(self._calls)

    def of(self, choice: int, said: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], ChatCall]]:
        """Take in what a delta or message has of calls: each fragment with the call that it belongs to."""
        found: list[tuple[Mapping[str, Any], ChatCall]] = []
        if isinstance(value := said.get("tool_calls"), list):
            for place, fragment in enumerate(value):
                if isinstance(fragment, dict):
                    found.append((fragment, self._add(choice, fragment, place)))
        if isinstance(value := said.get("function_call"), dict):
            call = self._add(choice, {"function": value}, _LEGACY)
            call.legacy = True
            found.append((value, call))
        return found

    def _add(self, choice: int, fragment: Mapping[str, Any], place: int) -> ChatCall:
        calls = self._calls.setdefault(choice, {}).setdefault(as_count(fragment.get("index"), place), [])
        name = as_text(fragment.get("id"))
        if not calls or (name and calls[-1].id and name != calls[-1].id):
            calls.append(ChatCall())
            self._hold(calls[-1], "")
        call = calls[-1]
        if name and not call.id:
            call.id = name
            self._hold(call, name)
        kind = as_text(fragment.get("type")) or "function"
        body = fragment.get("function") or fragment.get("custom")
        if not isinstance(body, dict):
            if kind not in {"function", "custom"}:
                call.hosted = kind[:64]
            return call
        part = as_text(body.get("name"))
        if part and (len(part) != call.named or part != call.name):  # some repeat the whole name with every fragment
            call.names.append(part)
            call.named += len(part)
            self._hold(call, part)
        if text := as_text(body.get("arguments")) or as_text(body.get("input")):
            call.arguments.append(text)
            self._hold(call, text)
        return call

    def _hold(self, call: ChatCall, text: str) -> None:
        size = len(text) + 256  # what is kept for any text, however short
        call.size += size
        self.held += size

    def complete(self, choice: int) -> list[ChatCall]:
        """Nothing more comes of that choice's calls: all of them, by index."""
        found = [call for _, calls in sorted(self._calls.pop(choice, {}).items()) for call in calls]
        self.held -= sum(call.size for call in found)
        return found


class ChatReader:
    """Reads one answer."""

    def __init__(self) -> None:
        self._named = Named("", "")
        self._used: Used | None = None
        self._calls = CallFragments()
        self._open: set[int] = set()
        self._heard = False
        self._over = False

    @property
    def held(self) -> int:
        """About how many bytes are remembered."""
        return self._calls.held

    @property
    def pending(self) -> bool:
        """Whether a tool call is not complete."""
        return bool(self._calls)

    def read(self, chunk: Mapping[str, Any]) -> list[LlmEvent]:
        """One chunk of a stream."""
        found: list[LlmEvent] = []
        if error := chunk.get("error"):
            found.append(_broke(error))
            self._over = True
        name, model = chunk.get("id"), chunk.get("model")
        if (name != self._named.id or model != self._named.model) and (name or model):
            named = Named(as_text(name), as_text(model))
            if named != self._named:
                self._named = named
                found.append(named)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for place, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._choice(choice, place, found)
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage(usage, found)
        return found

    def whole(self, answer: Mapping[str, Any]) -> list[LlmEvent]:
        """An answer that was not streamed."""
        return self.read(answer) + self.done()

    def done(self) -> list[LlmEvent]:
        """`[DONE]`: nothing follows that belongs to the answer."""
        self._over = True
        found: list[LlmEvent] = []
        for choice in self._calls.choices:
            self._complete(choice, found)
        return found

    def end(self) -> list[LlmEvent]:
        """The stream has ended."""
        if self._calls:
            first = self._calls.complete(self._calls.choices[0])[0]
            return [Broke(TRUNCATED, f"the tool call `{first.name[:64]}` was not finished")]
        if self._over or (self._heard and not self._open):
            return []
        return [Broke(TRUNCATED, "the stream ended before the answer did")]

    def _choice(self, choice: Mapping[str, Any], place: int, found: list[LlmEvent]) -> None:
        self._heard = True
        number = as_count(choice.get("index"), place)
        said = choice.get("delta")
        if not isinstance(said, dict):
            said = choice.get("message")
        if isinstance(said, dict):
            self._calls.of(number, said)
            for key, value in said.items():
                if value is not None and key not in _QUIET:
                    self._part(key, value, found)
        if reason := as_text(choice.get("finish_reason")):
            self._complete(number, found)
            self._open.discard(number)
            found.append(Stopped(reason))
        elif said is not None and number < 1024:
            self._open.add(number)

    def _part(self, key: str, value: Any, found: list[LlmEvent]) -> None:
        match key:
            case "content" if isinstance(value, str):
                if value:
                    found.append(SaidText(value))
            case "content":
                for part in as_items(value):
                    _content(part, found)
            case "reasoning_content" | "reasoning":
                if isinstance(value, str) and value:
                    found.append(Reasoned(value))
            case "reasoning_details":
                if any("data" in detail for detail in as_items(value)):
                    found.append(Reasoned("", opaque=True))
            case "refusal":
                if isinstance(value, str) and value:
                    found.append(Declined(value))
            case "audio":
                if text := as_text(as_mapping(value).get("transcript")):
                    found.append(SaidText(text))
            case _:
                pass

    def _complete(self, choice: int, found: list[LlmEvent]) -> None:
        for call in self._calls.complete(choice):
            if call.hosted:
                found.append(HostedUse(call.hosted, call.name))
            if asked := call.asked:
                found.append(asked)

    def _usage(self, usage: Mapping[str, Any], found: list[LlmEvent]) -> None:
        last = self._used or Used(0, 0, 0, 0, 0)
        prompt, completion = (
            as_mapping(usage.get("prompt_tokens_details")),
            as_mapping(usage.get("completion_tokens_details")),
        )
        used = Used(
            as_count(usage.get("prompt_tokens"), last.input_tokens),
            as_count(usage.get("completion_tokens"), last.output_tokens),
            as_count(prompt.get("cached_tokens"), last.cache_read_tokens),
            as_count(prompt.get("cache_write_tokens"), last.cache_write_tokens),
            as_count(completion.get("reasoning_tokens"), last.reasoning_tokens),
        )
        if used != self._used:
            self._used = used
            found.append(used)


def _content(part: Mapping[str, Any], found: list[LlmEvent]) -> None:
    match part.get("type"):
        case "text":
            if text := as_text(part.get("text")):
                found.append(SaidText(text))
        case "refusal":
            if text := as_text(part.get("refusal")):
                found.append(Declined(text))
        case "thinking":
            inner = part.get("thinking")
            text = inner if isinstance(inner, str) else "".join(as_text(piece.get("text")) for piece in as_items(inner))
            if text:
                found.append(Reasoned(text))
        case _:
            pass


def _broke(error: Any) -> Broke:
    details = as_mapping(error)
    code = details.get("code")
    return Broke(
        as_text(code) or as_text(details.get("type")) or (str(code) if isinstance(code, int) else "error"),
        as_text(details.get("message")) or as_text(error),
    )
