"""Answers of `/responses`: output items, each announced, filled by deltas and given whole when it is done.

A tool call is read from the item that is done. What a stream says twice (deltas, the item, the whole response at its
end) comes once; what only the later place holds comes from there.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from accredit.gateway.llm.lenient import as_count, as_mapping, as_text, dump

__all__ = ["RESPONSE_ENDS", "ResponsesReader", "asked_of", "is_call"]

_Telling = type[SaidText | Declined | Reasoned]
_DELTAS: Final[Mapping[str, tuple[_Telling, str, str]]] = {
    "response.output_text.delta": (SaidText, "text", "content_index"),
    "response.refusal.delta": (Declined, "refusal", "content_index"),
    "response.audio.transcript.delta": (SaidText, "transcript", "content_index"),
    "response.reasoning_summary_text.delta": (Reasoned, "summary", "summary_index"),
    "response.reasoning_text.delta": (Reasoned, "content", "content_index"),
}
"""What a piece becomes, which list of its item it belongs to, and the member that counts the parts of that list."""
RESPONSE_ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.canceled"}
)
_CARRIED_OUT_BY_AGENT: Final[Mapping[str, str]] = {
    "apply_patch_call": "operation",
    "computer_call": "action",
    "local_shell_call": "action",
    "shell_call": "action",
    "tool_search_call": "arguments",
}
"""And the member that says what to do."""
_RESULTS: Final = frozenset({"program_output", "mcp_approval_response", "additional_tools", "compaction"})
"""Items that ask for nothing, besides those whose kind ends with `_output`."""

_Key = tuple[str, int, int]


class ResponsesReader:
    """Reads one answer."""

    def __init__(self) -> None:
        self._named = Named("", "")
        self._used: Used | None = None
        self._told: set[_Key] = set()
        """What deltas have said: what kind of text, the item's place, the part's place."""
        self._hosted: set[int] = set()
        self._open: dict[int, str] = {}
        self._asked: set[int] = set()
        """Hashes of the calls that were given out: their arguments may be large."""
        self._over = False

    @property
    def held(self) -> int:
        """About how many bytes are remembered."""
        return 256 * (len(self._told) + len(self._hosted) + len(self._open) + len(self._asked))

    @property
    def pending(self) -> bool:
        """Whether a tool call is not complete."""
        return bool(self._open)

    def read(self, event: Mapping[str, Any]) -> list[LlmEvent]:
        """One event of a stream."""
        found: list[LlmEvent] = []
        kind = as_text(event.get("type"))
        if kind in _DELTAS:
            make, part, index = _DELTAS[kind]
            if text := as_text(event.get("delta")):
                self._told.add((part, as_count(event.get("output_index")), as_count(event.get(index))))
                found.append(make(text))
        elif kind == "response.output_item.added":
            item, place = as_mapping(event.get("item")), as_count(event.get("output_index"))
            self._hosted_use(item, place, found)
            if is_call(item):
                self._open[place] = (as_text(item.get("name")) or as_text(item.get("type")))[:64]
        elif kind == "response.output_item.done":
            place = as_count(event.get("output_index"))
            self._open.pop(place, None)
            self._item(as_mapping(event.get("item")), place, found)
        elif kind in RESPONSE_ENDS:
            self._response(as_mapping(event.get("response")), kind.removeprefix("response."), found)
        elif kind == "error" or (not kind and event.get("error")):
            self._over = True
            details = as_mapping(event.get("error")) or event
            found.append(_broke(details))
        elif isinstance(response := event.get("response"), dict):  # created, queued, in_progress
            self._name(response, found)
        return found

    def whole(self, answer: Mapping[str, Any]) -> list[LlmEvent]:
        """An answer that was not streamed."""
        found: list[LlmEvent] = []
        self._response(answer, as_text(answer.get("status")) or ("" if answer.get("error") else "completed"), found)
        return found

    def done(self) -> list[LlmEvent]:
        """`[DONE]`, which some servers send after the last event: it says nothing new."""
        return []

    def end(self) -> list[LlmEvent]:
        """The stream has ended."""
        if self._over:
            return []
        for name in self._open.values():
            return [Broke(TRUNCATED, f"the tool call `{name}` was not finished")]
        return [Broke(TRUNCATED, "the stream ended before the answer did")]

    def _name(self, response: Mapping[str, Any], found: list[LlmEvent]) -> None:
        named = Named(as_text(response.get("id")), as_text(response.get("model")))
        if named not in {self._named, Named("", "")}:
            self._named = named
            found.append(named)

    def _response(self, response: Mapping[str, Any], status: str, found: list[LlmEvent]) -> None:
        self._over = True
        self._name(response, found)
        for place, item in enumerate(_list(response.get("output"))):
            self._item(as_mapping(item), place, found)
        self._open.clear()
        self._usage(response.get("usage"), found)
        if error := response.get("error"):
            found.append(_broke(as_mapping(error)))
        elif status == "failed":
            found.append(Broke("failed", ""))
        if status in {"completed", "incomplete", "failed", "cancelled", "canceled"}:
            reason = as_text(as_mapping(response.get("incomplete_details")).get("reason"))
            found.append(Stopped(reason or status))

    def _item(self, item: Mapping[str, Any], place: int, found: list[LlmEvent]) -> None:
        match item.get("type"):
            case "message":
                for index, part in enumerate(_list(item.get("content"))):
                    self._tell(SaidText, ("text", place, index), as_mapping(part).get("text"), found)
                    self._tell(Declined, ("refusal", place, index), as_mapping(part).get("refusal"), found)
            case "reasoning":
                for name in ("summary", "content"):
                    for index, part in enumerate(_list(item.get(name))):
                        self._tell(Reasoned, (name, place, index), as_mapping(part).get("text"), found)
                if item.get("encrypted_content"):
                    self._opaque(place, found)
            case "function_call" | "custom_tool_call":
                self._ask(item, found)
            case _:
                self._hosted_use(item, place, found)
                if is_call(item):
                    self._ask(item, found)

    def _tell(self, make: _Telling, key: _Key, text: Any, found: list[LlmEvent]) -> None:
        if key not in self._told and isinstance(text, str) and text:
            self._told.add(key)
            found.append(make(text))

    def _opaque(self, place: int, found: list[LlmEvent]) -> None:
        key = ("encrypted_content", place, 0)
        if key not in self._told:
            self._told.add(key)
            found.append(Reasoned("", opaque=True))

    def _ask(self, item: Mapping[str, Any], found: list[LlmEvent]) -> None:
        asked = asked_of(item)
        mark = hash(asked)
        if mark not in self._asked:
            self._asked.add(mark)
            found.append(asked)

    def _hosted_use(self, item: Mapping[str, Any], place: int, found: list[LlmEvent]) -> None:
        kind = as_text(item.get("type"))
        if kind in {"message", "reasoning", "function_call", "custom_tool_call"}:
            return
        if not kind or kind.endswith("_output") or kind in _RESULTS or place in self._hosted:
            return
        self._hosted.add(place)
        if kind.startswith("mcp_"):  # a call, a list of tools, or a call that waits for approval
            found.append(HostedUse(f"mcp:{as_text(item.get('server_label'))}", as_text(item.get("name"))))
        else:
            found.append(HostedUse(kind.removesuffix("_call")))

    def _usage(self, usage: Any, found: list[LlmEvent]) -> None:
        if not isinstance(usage, dict):
            return
        read, written = as_mapping(usage.get("input_tokens_details")), as_mapping(usage.get("output_tokens_details"))
        used = Used(
            as_count(usage.get("input_tokens")),
            as_count(usage.get("output_tokens")),
            as_count(read.get("cached_tokens")),
            as_count(read.get("cache_write_tokens")),
            as_count(written.get("reasoning_tokens")),
        )
        if used != self._used:
            self._used = used
            found.append(used)


def is_call(item: Mapping[str, Any]) -> bool:
    """Whether the agent is asked to carry something out."""
    kind = as_text(item.get("type"))
    if kind == "tool_search_call":
        return item.get("execution") == "client"
    return kind in {"function_call", "custom_tool_call"} or kind in _CARRIED_OUT_BY_AGENT


def asked_of(item: Mapping[str, Any]) -> AskedTool:
    """What an item asks the agent to carry out, once all of it is there."""
    kind, name, namespace = as_text(item.get("type")), as_text(item.get("name")), as_text(item.get("namespace"))
    match kind:
        case "function_call":
            arguments = as_text(item.get("arguments"))
        case "custom_tool_call":
            arguments = as_text(item.get("input"))
        case _:
            name = kind.removesuffix("_call")
            arguments = dump(item["actions"] if "actions" in item else item.get(_CARRIED_OUT_BY_AGENT.get(kind, "")))
    return AskedTool(
        as_text(item.get("call_id")) or as_text(item.get("id")), f"{namespace}.{name}" if namespace else name, arguments
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _broke(error: Mapping[str, Any]) -> Broke:
    return Broke(
        as_text(error.get("code")) or as_text(error.get("type")) or "error",
        as_text(error.get("message")),
    )
