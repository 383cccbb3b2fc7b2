"""What a tool server asks of an agent's user (MCP elicitation): passed on within bounds, and what comes back. Pure.

A server asks only where its registration says so, in a mode that the client has declared. What it says is data for a
person to read: it names the server, and is bounded. Roots and sampling are passed on to nobody: they are deprecated,
and what an agent's model is asked goes through the language models it is granted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import ServerName
from accredit.kernel.legible import visible

__all__ = ["ELICITATION", "PATIENCE_S", "Asked", "as_capability", "declared_modes", "read_answers", "read_asked"]

ELICITATION: Final = "elicitation/create"
PATIENCE_S: Final = 300.0
"""How long a user is waited for while the call goes on in which something is asked."""
_MODES: Final = frozenset({"form", "url"})
_MOST_ASKED: Final = 8
_MAX_NAME: Final = 128
_MAX_MESSAGE: Final = 4096
_MAX_SCHEMA: Final = 16 * 1024
_MAX_FIELDS: Final = 64
_MAX_STATE: Final = 16 * 1024
_MAX_URL: Final = 2048
_MAX_ANSWERS: Final = 16 * 1024
_PLAIN_TYPES: Final = frozenset({"boolean", "integer", "number", "string"})
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]+")
_ACTIONS: Final = frozenset({"accept", "cancel", "decline"})
# the specification forbids to ask for these in a form: whatever stands there, the client and its model can read
_SECRETS: Final = re.compile(
    r"pass(word|code|phrase|wd)|secret|credential|(api|private)[ _-]?key|access[ _-]?token|\b(pin|cvc|cvv)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a tool server wants to know before it goes on."""

    requests: Mapping[str, Mapping[str, Any]]
    """As the client is to be sent them, by the server's own names."""
    state: str | None
    """The server's own, to be brought back."""


def declared_modes(capabilities: Any) -> frozenset[str]:
    """The modes of elicitation that a client declares; an empty object means forms."""
    elicitation = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    if not isinstance(elicitation, Mapping):
        return frozenset()
    return frozenset(elicitation) & _MODES if elicitation else frozenset({"form"})


def as_capability(modes: Iterable[str]) -> dict[str, Any]:
    """What is declared to a tool server that may ask in these modes."""
    named: dict[str, Any] = {mode: {} for mode in sorted(modes)}
    return {"elicitation": named} if named else {}


def read_asked(result: Mapping[str, Any], *, server: ServerName, modes: frozenset[str]) -> Asked:
    """The questions of an `InputRequiredResult`.

    Raises:
        UnavailableError: `upstream_invalid`: not allowed, not declared, or not what the specification has.
    """
    if not modes:
        raise UnavailableError(
            Code.UPSTREAM_INVALID,
            "the tool server asked for input, which it is not registered for or the client did not declare",
            hint="see `elicitation` of the tool server, and the client's capabilities",
        )
    asked, state = result.get("inputRequests", {}), result.get("requestState")
    if not isinstance(asked, Mapping) or len(asked) > _MOST_ASKED or (not asked and state is None):
        raise _invalid(f"asked for nothing, or for more than {_MOST_ASKED} things")
    if state is not None and not (isinstance(state, str) and len(state) <= _MAX_STATE):
        raise _invalid(f"sent a state that is no text of at most {_MAX_STATE} characters")
    return Asked({_named(name): _request(asked[name], server, modes) for name in asked}, state)


def _invalid(text: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_INVALID, f"the tool server {text}")


def _named(name: str) -> str:
    if not 0 < len(name) <= _MAX_NAME:
        raise _invalid("asked without a name for it")
    return name


def _request(request: Any, server: ServerName, modes: frozenset[str]) -> dict[str, Any]:
    params = request.get("params") if isinstance(request, Mapping) else None
    if not isinstance(params, Mapping) or request.get("method") != ELICITATION:
        raise _invalid("asked for something else than an elicitation, which was not declared to it")
    mode, message = params.get("mode", "form"), params.get("message")
    if not isinstance(mode, str) or mode not in modes:
        raise _invalid("asked in a way that was not declared to it")
    if not isinstance(message, str) or len(message) > _MAX_MESSAGE:
        raise _invalid(f"asked without a message of at most {_MAX_MESSAGE} characters")
    # who asks must be clear, and nothing hidden in it: the client only sees us
    told: dict[str, Any] = {"mode": mode, "message": f"{server} asks: {visible(_CONTROLS.sub(' ', message))}"}
    told |= {"requestedSchema": _form(params)} if mode == "form" else {"url": _url(params)}
    if mode == "url" and isinstance(own := params.get("elicitationId"), str):
        told["elicitationId"] = own[:_MAX_NAME]
    return {"method": ELICITATION, "params": told}


def _form(params: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = params.get("requestedSchema")
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or not isinstance(fields, Mapping) or schema.get("type") != "object":
        raise _invalid("asked with a form that is no flat object")
    if len(fields) > _MAX_FIELDS or len(orjson.dumps(schema)) > _MAX_SCHEMA:
        raise _invalid(f"asked with a form of more than {_MAX_FIELDS} fields or {_MAX_SCHEMA} bytes")
    if visible(text := orjson.dumps(schema).decode()) != text:
        raise _invalid("asked with a form whose letters deceive the eye")
    for name, described in fields.items():
        if not isinstance(described, Mapping) or not _is_flat(described):
            raise _invalid("asked with a form that is no flat object")
        words = (name, described.get("title"), described.get("description"))
        if any(isinstance(word, str) and _SECRETS.search(word) for word in words):
            raise _invalid("asked for a secret in a form, where clients and models could read it")
    return schema


def _is_flat(described: Mapping[str, Any]) -> bool:
    kind = described.get("type")
    if kind != "array":
        return isinstance(kind, str) and kind in _PLAIN_TYPES and "properties" not in described
    items = described.get("items")
    return isinstance(items, Mapping) and ("enum" in items or "anyOf" in items)


def _url(params: Mapping[str, Any]) -> str:
    url = params.get("url")
    try:
        parts = urlsplit(url) if isinstance(url, str) and len(url) <= _MAX_URL and url.isascii() else None
        host = parts.hostname if parts is not None else None
    except ValueError:
        parts = host = None
    if parts is None or not host or parts.username is not None or not isinstance(url, str) or not url.isprintable():
        raise _invalid("asked with an address that nobody could check by reading it")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in {"127.0.0.1", "::1", "localhost"}):
        raise _invalid("asked with an address that is not https")
    if any(label.startswith("xn--") for label in host.split(".")):
        raise _invalid("asked with an address that looks like another")
    return url


def read_answers(responses: Any, asked: Iterable[str]) -> dict[str, Any]:
    """What a client answers to the questions that it was asked; of others nothing counts (MRTR, Error Handling).

    Raises:
        InvalidInputError: not what the specification has, or too large.
    """
    if responses is None:
        return {}
    if not isinstance(responses, Mapping):
        raise _malformed("`inputResponses` is not an object")
    answers = {name: _answer(name, responses[name]) for name in asked if name in responses}
    if len(orjson.dumps(answers)) > _MAX_ANSWERS:
        raise _malformed(f"`inputResponses` has more than {_MAX_ANSWERS} bytes")
    return answers


def _malformed(text: str) -> InvalidInputError:
    return InvalidInputError(Code.BODY_MALFORMED, text)


def _answer(name: str, answer: Any) -> dict[str, Any]:
    action = answer.get("action") if isinstance(answer, Mapping) else None
    if not isinstance(action, str) or action not in _ACTIONS:
        raise _malformed(f"the answer to `{name[:_MAX_NAME]}` has no `action` of {', '.join(sorted(_ACTIONS))}")
    content = answer.get("content")
    if action != "accept" or content is None:
        return {"action": action}
    plain = isinstance(content, Mapping) and all(map(_is_plain, content.values()))
    if not plain:
        raise _malformed(f"the answer to `{name[:_MAX_NAME]}` is no flat object")
    return {"action": action, "content": dict(content)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float | bool)
