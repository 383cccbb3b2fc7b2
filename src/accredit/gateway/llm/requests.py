"""What a request asks a model for, read from its body once and strictly: of the API's types, or refused by name.

Members that are not named here may hold anything: providers add some every month. Tools are different: whatever is not
a plain function or custom tool, which the agent itself carries out, counts as hosted, under the kind it names. The body
goes on as it came, and some of those who read it take `Model` for `model` (Go's `encoding/json` does): where a member
stands that is read here, no other spelling of one may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from accredit.gateway.llm.shapes import LlmShape
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["IMAGE_CHARACTERS", "MOST_RESULT_CHARACTERS", "MOST_USER_CHARACTERS", "LlmRequest", "read_llm_request"]

MOST_USER_CHARACTERS: Final = 65_536
MOST_RESULT_CHARACTERS: Final = 2**20
IMAGE_CHARACTERS: Final = 16_000
"""What an image counts as, however large it is on the wire: providers scale it down to some thousand tokens."""
_TOKEN_CHARACTERS: Final = 4
_MOST_RESULTS: Final = 1_000
_MOST_TOKENS: Final = 2**31
_IMAGES: Final = frozenset({"computer_screenshot", "image", "image_url", "input_image"})
_PIXELS: Final = frozenset({"data", "image_url", "url"})
"""Members in which an image has its pixels or their address. All else in it counts as the text it is."""
_ENCODED: Final = _IMAGES | {"base64"}
_NO_TEXT: Final = frozenset({"cache_control", "encrypted_content", "file_data", "type"})
_PARTS: Final = frozenset({"input_text", "output_text", "summary_text", "text"})
_OFFERING_ITEMS: Final = frozenset({"additional_tools", "tool_search_output"})
_READ: Final = frozenset(
    {"background", "call_id", "connector_id", "container", "content", "conversation", "custom", "fallbacks"}
    | {"function", "functions", "id", "include_usage", "input", "instructions", "max_completion_tokens"}
    | {"max_output_tokens", "max_tokens", "mcp_server_name", "mcp_servers", "messages", "model", "models", "n", "name"}
    | {"output", "plugins", "previous_response_id", "prompt", "refusal", "role", "server_label", "server_url"}
    | {"skill_id", "skills", "store", "stream", "stream_options", "system", "text", "tool_call_id", "tool_use_id"}
    | {"tools", "tunnel_id", "type", "url", "web_search_options"}
)
"""Every member that is read."""

_SYSTEM: Final = frozenset({"developer", "system"})
"""Roles in which the program speaks, and not its user."""
_MOST_SYSTEM: Final = 16


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """What is decided on before a request goes to a model."""

    model: str
    streamed: bool
    max_output_tokens: int | None
    """For all choices together; None: as many as the model can, for each."""
    choices: int
    """How many answers are asked for at once."""
    wants_usage: bool
    """A stream of a chat is asked to end with the usage."""
    tools: tuple[str, ...]
    """Names of the tools the agent itself carries out; `namespace.name` in a namespace."""
    hosted: tuple[str, ...]
    """Kinds of all others. `mcp:LABEL@ADDRESS` for a server of the Model Context Protocol, `prompt:ID` for a prompt
    that the provider keeps, whose tools cannot be seen, `skill:ID` for a skill, `plugin:ID` for what a relay adds."""
    other_models: tuple[str, ...]
    """Models besides `model` that may take part: fallbacks, also those that relays of providers know, and those hosted
    tools name."""
    stored: bool
    """The provider keeps the answer, or the request builds on something it kept."""
    system_texts: tuple[str, ...]
    """What the program tells the model to be and to do, in order; the first ones."""
    user_text: str
    """The newest text of the user's, at most MOST_USER_CHARACTERS."""
    results: tuple[tuple[str, str], ...]
    """Tool call id and text of its result, oldest first; of more than MOST_RESULT_CHARACTERS the newest."""
    input_bytes: int
    """The text of the whole request, tools and names of members included, to estimate its tokens from: not too few.

    An image counts as IMAGE_CHARACTERS, a token sent as a number as four. What the provider kept is not in it.
    """


def read_llm_request(shape: LlmShape, body: Mapping[str, Any]) -> LlmRequest:
    """Read the body of one request.

    Raises:
        InvalidInputError: a member is missing or not of the type that the API documents.
    """
    reading = _Reading(_spelled(body, ""))
    _READERS[shape](reading)
    _relays(reading)
    return LlmRequest(
        model=_name(body, "model"),
        streamed=_flag(body, "stream"),
        max_output_tokens=reading.most,
        choices=reading.choices,
        wants_usage=reading.wants_usage,
        tools=tuple(reading.tools),
        hosted=tuple(reading.hosted),
        other_models=tuple(reading.models),
        stored=reading.stored,
        system_texts=tuple(text for text in reading.system if text)[:_MOST_SYSTEM],
        user_text=reading.user_text[:MOST_USER_CHARACTERS],
        results=_newest(reading.results),
        input_bytes=_bytes(body),
    )


@dataclass(slots=True)
class _Reading:
    body: Mapping[str, Any]
    most: int | None = None
    choices: int = 1
    wants_usage: bool = False
    tools: list[str] = field(default_factory=list)
    hosted: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    stored: bool = False
    system: list[str] = field(default_factory=list)
    user_text: str = ""
    results: list[tuple[str, str]] = field(default_factory=list)

    def host(self, kind: str, tool: Mapping[str, Any], path: str) -> None:
        self.hosted.append(kind)
        if tool.get("model") is not None:
            self.models.append(_name(tool, "model", path))


def _refuse(path: str, expected: str) -> NoReturn:
    raise InvalidInputError(Code.BODY_MALFORMED, f"`{path}` must be {expected}")


def _spelled(found: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """An object of the API's own, in which each member that is read has one spelling."""
    for name in found:
        if name.isascii() and name.islower():
            continue
        if name not in _READ and (member := name.casefold()) in _READ:
            raise InvalidInputError(
                Code.BODY_MALFORMED,
                f"`{path}{name}` is another spelling of `{member}`",
                hint="some who read it take one for the other: leave it out",
            )
    return found


# A null stands for an absent member, as the clients of both providers write it.


def _name(of: Mapping[str, Any], member: str, path: str = "") -> str:
    value = of.get(member)
    if not isinstance(value, str) or not value:
        _refuse(f"{path}{member}", "a text that is not empty")
    return value


def _text(of: Mapping[str, Any], member: str, path: str = "") -> str:
    value = of.get(member)
    if value is None:
        return ""
    if not isinstance(value, str):
        _refuse(f"{path}{member}", "a text")
    return value


def _flag(of: Mapping[str, Any], member: str, path: str = "") -> bool:
    value = of.get(member)
    if value is None:
        return False
    if not isinstance(value, bool):
        _refuse(f"{path}{member}", "true or false")
    return value


def _number(of: Mapping[str, Any], member: str, path: str = "") -> int | None:
    value = of.get(member)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST_TOKENS:
        _refuse(f"{path}{member}", "a whole number above zero")
    return value


def _object(of: Mapping[str, Any], member: str, path: str = "") -> Mapping[str, Any]:
    value = of.get(member)
    if not isinstance(value, Mapping):
        _refuse(f"{path}{member}", "an object")
    return _spelled(value, f"{path}{member}.")


def _items(of: Mapping[str, Any], member: str, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects in a list, each with the path of what is in it; nothing if there is no list."""
    value = of.get(member)
    if value is None:
        return
    if not isinstance(value, list):
        _refuse(f"{path}{member}", "a list")
    for place, item in enumerate(value):
        if not isinstance(item, Mapping):
            _refuse(f"{path}{member}[{place}]", "an object")
        inner = f"{path}{member}[{place}]."
        yield inner, _spelled(item, inner)


def _content(of: Mapping[str, Any], member: str, path: str) -> str:
    """The text of a message or result: a text, or a list of parts of which only those of text count."""
    value = of.get(member)
    if isinstance(value, str):
        return value
    found: list[str] = []
    for inner, part in _items(of, member, path):
        kind = _name(part, "type", inner)
        if kind in _PARTS:
            if not isinstance(part.get("text"), str):
                _refuse(f"{inner}text", "a text")
            found.append(part["text"])
        elif kind == "refusal":
            found.append(_text(part, "refusal", inner))
        elif isinstance(inside := part.get("content"), str | list):
            found.append(inside if isinstance(inside, str) else _deep(inside))
    return "\n".join(found)


def _chat(reading: _Reading) -> None:
    body = reading.body
    limits = [limit for member in ("max_completion_tokens", "max_tokens") if (limit := _number(body, member))]
    reading.choices = _number(body, "n") or 1
    reading.most = max(limits) * reading.choices if limits else None
    if body.get("stream_options") is not None:
        reading.wants_usage = _flag(_object(body, "stream_options"), "include_usage", "stream_options.")
    reading.stored = _flag(body, "store")
    for path, tool in _items(body, "tools"):
        kind = _name(tool, "type", path)
        if kind in {"function", "custom"}:
            reading.tools.append(_name(_object(tool, kind, path), "name", f"{path}{kind}."))
        else:
            reading.host(kind, tool, path)
    for path, function in _items(body, "functions"):
        reading.tools.append(_name(function, "name", path))
    if body.get("web_search_options") is not None:
        reading.hosted.append("web_search")
    if not isinstance(body.get("messages"), list):
        _refuse("messages", "a list")
    for path, message in _items(body, "messages"):
        role = _name(message, "role", path)
        text = _content(message, "content", path)
        if role == "user":
            reading.user_text = text or reading.user_text
        elif role in _SYSTEM:
            reading.system.append(text)
        elif role == "tool":
            reading.results.append((_name(message, "tool_call_id", path), text))
        elif role == "function":
            reading.results.append(("", text))


def _responses(reading: _Reading) -> None:
    body = reading.body
    reading.most = _number(body, "max_output_tokens")
    _responses_tools(reading, body, "")
    if body.get("prompt") is not None:
        reading.hosted.append(f"prompt:{_name(_object(body, 'prompt'), 'id', 'prompt.')}")
    if isinstance(kept := body.get("conversation"), Mapping):
        _name(_spelled(kept, "conversation."), "id", "conversation.")
    else:
        kept = _text(body, "conversation")
    kept = _flag(body, "background") or _text(body, "previous_response_id") or kept
    _flag(body, "store")
    reading.stored = body.get("store") is not False or bool(kept)  # this API stores unless it is told not to
    reading.system.append(_text(body, "instructions"))
    given = body.get("input")
    if isinstance(given, str):
        reading.user_text = given
        return
    for path, item in _items(body, "input"):
        kind = _text(item, "type", path) or ("message" if "role" in item else "item_reference")
        if kind == "message":
            role = _name(item, "role", path)
            text = _content(item, "content", path)
            if role == "user":
                reading.user_text = text or reading.user_text
            elif role in _SYSTEM:
                reading.system.append(text)
        elif kind.endswith("_call_output"):
            name = _text(item, "call_id", path) or _name(item, "id", path)
            reading.results.append((name, _deep(item.get("output"))))
        elif kind == "mcp_call" and item.get("output") is not None:
            reading.results.append((_name(item, "id", path), _text(item, "output", path)))
        elif kind == "item_reference":
            reading.stored = True
        elif kind in _OFFERING_ITEMS:
            _responses_tools(reading, item, path)


def _responses_tools(reading: _Reading, of: Mapping[str, Any], at: str) -> None:
    for path, tool in _items(of, "tools", at):
        kind = _name(tool, "type", path)
        if kind in {"function", "custom"}:
            reading.tools.append(_name(tool, "name", path))
        elif kind == "namespace":
            space = _name(tool, "name", path)
            for inner, member in _items(tool, "tools", path):
                inner_kind = _name(member, "type", inner)
                if inner_kind in {"function", "custom"}:
                    reading.tools.append(f"{space}.{_name(member, 'name', inner)}")
                else:
                    reading.host(inner_kind, member, inner)
        elif kind == "mcp":
            address = next(
                (text for name in ("server_url", "connector_id", "tunnel_id") if (text := _text(tool, name, path))), ""
            )
            reading.host(f"mcp:{_name(tool, 'server_label', path)}@{address}", tool, path)
        else:
            reading.host(kind, tool, path)


def _messages(reading: _Reading) -> None:
    body = reading.body
    reading.most = _number(body, "max_tokens")
    if reading.most is None:
        _refuse("max_tokens", "a whole number above zero")
    for path, tool in _items(body, "tools"):
        kind = _text(tool, "type", path) or "custom"
        if kind == "custom":
            reading.tools.append(_name(tool, "name", path))
        elif kind == "mcp_toolset":
            reading.host(f"mcp_toolset:{_name(tool, 'mcp_server_name', path)}", tool, path)
        else:
            reading.host(kind, tool, path)
    for path, server in _items(body, "mcp_servers"):
        reading.hosted.append(f"mcp:{_name(server, 'name', path)}@{_text(server, 'url', path)}")
    container = body.get("container")
    if isinstance(container, Mapping):
        _spelled(container, "container.")
        reading.stored = bool(_text(container, "id", "container."))
        for path, skill in _items(container, "skills", "container."):
            reading.hosted.append(f"skill:{_name(skill, 'skill_id', path)}")
    else:
        reading.stored = bool(_text(body, "container"))
    if isinstance(fallbacks := body.get("fallbacks"), list):
        for place, fallback in enumerate(fallbacks):
            if isinstance(fallback, Mapping):
                reading.most = max(reading.most, _number(fallback, "max_tokens", f"fallbacks[{place}].") or 0)
    reading.system.append(_content(body, "system", ""))
    if not isinstance(body.get("messages"), list):
        _refuse("messages", "a list")
    for path, message in _items(body, "messages"):
        role = _name(message, "role", path)
        content = message.get("content")
        if not isinstance(content, str | list):
            _refuse(f"{path}content", "a text or a list")
        said: list[str] = [content] if isinstance(content, str) else []
        if isinstance(content, list):
            for inner, block in _items(message, "content", path):
                kind = _name(block, "type", inner)
                if kind == "text":
                    if not isinstance(block.get("text"), str):
                        _refuse(f"{inner}text", "a text")
                    said.append(block["text"])
                elif kind.endswith("tool_result"):
                    reading.results.append((_name(block, "tool_use_id", inner), _deep(block.get("content"))))
        if role == "user":
            reading.user_text = "\n".join(said) or reading.user_text


def _embeddings(reading: _Reading) -> None:
    given = reading.body.get("input")
    if isinstance(given, str):
        reading.user_text = given
    elif not isinstance(given, list) or not given:
        _refuse("input", "a text or a list that is not empty")
    elif all(isinstance(each, str) for each in given):
        reading.user_text = "\n".join(given)
    elif not _tokens(given) and not all(isinstance(each, list) and _tokens(each) for each in given):
        _refuse("input", "texts, tokens or lists of tokens")


def _relays(reading: _Reading) -> None:
    """What a request may name in any shape: who answers if the model does not, and what a relay adds by itself."""
    body = reading.body
    for member in ("models", "fallbacks"):
        value = body.get(member)
        if member == "fallbacks" and isinstance(value, str):
            reading.models.append(value)
        elif isinstance(value, list):
            for place, one in enumerate(value):
                path = f"{member}[{place}]"
                if isinstance(one, Mapping):
                    reading.models.append(_name(_spelled(one, f"{path}."), "model", f"{path}."))
                elif isinstance(one, str) and one:
                    reading.models.append(one)
                else:
                    _refuse(path, "a model")
        elif value is not None:
            _refuse(member, "a list")
    for path, plugin in _items(body, "plugins"):
        reading.hosted.append(f"plugin:{_name(plugin, 'id', path)}")


def _tokens(values: list[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


_READERS: Final[Mapping[LlmShape, Callable[[_Reading], None]]] = {
    LlmShape.CHAT: _chat,
    LlmShape.RESPONSES: _responses,
    LlmShape.EMBEDDINGS: _embeddings,
    LlmShape.MESSAGES: _messages,
}


def _deep(value: Any) -> str:
    """All text there is in a result, at any depth, but no name of a member, kind or encoded data."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, Mapping) and not _is_one_of(part, _ENCODED):
            waiting.extend(part[name] for name in reversed(part) if name not in _NO_TEXT)
    return "\n".join(found)


def _newest(results: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    kept: list[tuple[str, str]] = []
    left = MOST_RESULT_CHARACTERS
    for name, text in reversed(results[-_MOST_RESULTS:]):
        if left <= 0:
            break
        kept.append((name, text[:left]))
        left -= len(text)
    return tuple(reversed(kept))


def _is_one_of(part: Mapping[str, Any], kinds: frozenset[str]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in kinds


def _bytes(body: Mapping[str, Any]) -> int:
    total = 0
    images: list[Mapping[str, Any]] = []
    waiting: list[Any] = [dict(body)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            total += _length(value)
        elif isinstance(value, dict):
            if _is_one_of(value, _IMAGES):
                images.append(value)
                continue
            for name in value:
                total += _length(name)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            total += _TOKEN_CHARACTERS
    return total + sum(map(_image_bytes, images))


def _image_bytes(image: Mapping[str, Any]) -> int:
    total = IMAGE_CHARACTERS
    waiting: list[Any] = [image]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            total += sum(map(_length, value))
            waiting += (item for name, item in value.items() if name not in _PIXELS or not isinstance(item, str))
        elif isinstance(value, list):
            waiting += value
        else:
            total += _length(value) if isinstance(value, str) else _TOKEN_CHARACTERS
    return total


def _length(text: str) -> int:
    """Bytes of UTF-8: of what models split a text into, no piece is shorter than one."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
