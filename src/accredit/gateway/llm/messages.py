"""Answers of Anthropic's `/messages`: content blocks, each started, filled by deltas and stopped.

A tool call is complete when its block stops, or when the message does without that.
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
from accredit.gateway.llm.lenient import as_count, as_items, as_mapping, as_text, dump

__all__ = ["MessagesReader"]

_QUIET: Final = frozenset({"compaction", "container_upload", "fallback"})
"""Kinds of blocks that neither say nor ask anything, besides those that end with `_tool_result`."""


@dataclass(slots=True)
class _Block:
    kind: str
    id: str = ""
    name: str = ""
    input: str = "{}"
    """What it started with, which counts if no fragments follow."""
    fragments: list[str] = field(default_factory=list)
    told: bool = False
    signed: bool = False
    size: int = 512


class MessagesReader:
    """Reads one answer."""

    def __init__(self) -> None:
        self._named = Named("", "")
        self._used: Used | None = None
        self._uncached = 0
        self._blocks: dict[int, _Block] = {}
        self._over = False
        self.held = 0

    @property
    def pending(self) -> bool:
        """Whether a tool call is not complete."""
        return any(block.kind == "tool_use" for block in self._blocks.values())

    def read(self, event: Mapping[str, Any]) -> list[LlmEvent]:
        """One event of a stream."""
        found: list[LlmEvent] = []
        match event.get("type"):
            case "content_block_delta":
                self._delta(as_count(event.get("index")), as_mapping(event.get("delta")), found)
            case "content_block_start":
                place = as_count(event.get("index"))
                self._stop(place, found)
                self._start(place, as_mapping(event.get("content_block")), found)
            case "content_block_stop":
                self._stop(as_count(event.get("index")), found)
            case "message_start":
                message = as_mapping(event.get("message"))
                self._name(message, found)
                self._content(message.get("content"), found)
                self._usage(message.get("usage"), found)
            case "message_delta":
                self._usage(event.get("usage"), found)
                self._stopped(as_mapping(event.get("delta")), found)
            case "message_stop":
                self._stop_all(found)
                self._over = True
            case "error":
                self._over = True
                found.append(_broke(event))
            case None if event.get("error"):
                self._over = True
                found.append(_broke(event))
            case _:
                pass
        return found

    def whole(self, answer: Mapping[str, Any]) -> list[LlmEvent]:
        """An answer that was not streamed."""
        found: list[LlmEvent] = []
        if answer.get("error"):
            found.append(_broke(answer))
        self._name(answer, found)
        self._content(answer.get("content"), found)
        self._usage(answer.get("usage"), found)
        self._stopped(answer, found)
        return found

    def done(self) -> list[LlmEvent]:
        """`[DONE]`, which no event of this shape is: it says nothing."""
        return []

    def end(self) -> list[LlmEvent]:
        """The stream has ended."""
        if self._over:
            return []
        for block in self._blocks.values():
            if block.kind == "tool_use":
                return [Broke(TRUNCATED, f"the tool call `{block.name[:64]}` was not finished")]
        return [Broke(TRUNCATED, "the stream ended before the answer did")]

    def _name(self, message: Mapping[str, Any], found: list[LlmEvent]) -> None:
        named = Named(as_text(message.get("id")), as_text(message.get("model")))
        if named not in {self._named, Named("", "")}:
            self._named = named
            found.append(named)

    def _content(self, content: Any, found: list[LlmEvent]) -> None:
        for place, block in enumerate(as_items(content)):
            self._start(place, block, found)
            self._stop(place, found)

    def _start(self, place: int, block: Mapping[str, Any], found: list[LlmEvent]) -> None:
        kind = as_text(block.get("type"))
        match kind:
            case "text":
                if text := as_text(block.get("text")):
                    found.append(SaidText(text))
            case "thinking":
                text = as_text(block.get("thinking"))
                if text:
                    found.append(Reasoned(text))
                self._keep(place, _Block(kind, told=bool(text), signed=bool(block.get("signature"))))
            case "redacted_thinking":
                found.append(Reasoned("", opaque=True))
            case "tool_use":
                started = dump(block.get("input") or {})
                self._keep(place, _Block(kind, as_text(block.get("id")), as_text(block.get("name")), started))
            case "server_tool_use":
                found.append(HostedUse(as_text(block.get("name")) or kind))
            case "mcp_tool_use":
                found.append(HostedUse(f"mcp:{as_text(block.get('server_name'))}", as_text(block.get("name"))))
            case _ if kind and kind not in _QUIET and not kind.endswith("_tool_result"):
                found.append(HostedUse(kind))
            case _:
                pass

    def _keep(self, place: int, block: _Block) -> None:
        block.size += len(block.id) + len(block.name) + len(block.input)
        self._blocks[place] = block
        self.held += block.size

    def _delta(self, place: int, delta: Mapping[str, Any], found: list[LlmEvent]) -> None:
        match delta.get("type"):
            case "text_delta":
                if text := as_text(delta.get("text")):
                    found.append(SaidText(text))
            case "thinking_delta":
                if text := as_text(delta.get("thinking")):
                    found.append(Reasoned(text))
                    if block := self._blocks.get(place):
                        block.told = True
            case "signature_delta":
                if block := self._blocks.get(place):
                    block.signed = True
            case "input_json_delta":
                block = self._blocks.get(place)
                if block and block.kind == "tool_use" and (text := as_text(delta.get("partial_json"))):
                    block.fragments.append(text)
                    block.size += len(text) + 64
                    self.held += len(text) + 64
            case _:
                pass

    def _stop(self, place: int, found: list[LlmEvent]) -> None:
        if (block := self._blocks.pop(place, None)) is None:
            return
        self.held -= block.size
        if block.kind == "tool_use":
            found.append(AskedTool(block.id, block.name, "".join(block.fragments) or block.input))
        elif block.signed and not block.told:  # the provider thought, and shows none of it
            found.append(Reasoned("", opaque=True))

    def _stop_all(self, found: list[LlmEvent]) -> None:
        for place in list(self._blocks):
            self._stop(place, found)

    def _stopped(self, ending: Mapping[str, Any], found: list[LlmEvent]) -> None:
        reason = as_text(ending.get("stop_reason"))
        if not reason:
            return
        if reason == "refusal":
            found.append(Declined(as_text(as_mapping(ending.get("stop_details")).get("explanation"))))
        found.append(Stopped(reason))

    def _usage(self, usage: Any, found: list[LlmEvent]) -> None:
        if not isinstance(usage, dict):
            return
        last = self._used or Used(0, 0, 0, 0, 0)
        rounds = list(as_items(usage.get("iterations")))

        def count(name: str, known: int) -> int:
            # the total leaves out the rounds that compacted the context or asked an advisor; their sum does not
            return max(as_count(usage.get(name), known), sum(as_count(each.get(name)) for each in rounds))

        self._uncached = count("input_tokens", self._uncached)
        read = count("cache_read_input_tokens", last.cache_read_tokens)
        written = count("cache_creation_input_tokens", last.cache_write_tokens)
        used = Used(
            self._uncached + read + written,
            count("output_tokens", last.output_tokens),
            read,
            written,
            as_count(as_mapping(usage.get("output_tokens_details")).get("thinking_tokens"), last.reasoning_tokens),
        )
        if used != self._used:
            self._used = used
            found.append(used)


def _broke(event: Mapping[str, Any]) -> Broke:
    error = as_mapping(event.get("error"))
    return Broke(as_text(error.get("type")) or "error", as_text(error.get("message")))
