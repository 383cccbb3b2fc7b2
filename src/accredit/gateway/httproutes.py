"""From an HTTP request to typed arguments of a registered operation, and from arguments to the request that is sent.

What is decided is what is sent (DESIGN §3.4): the request that goes out is written anew from the arguments. A value of
a path that could be read as another path is no value: `.`, `..`, and what has a slash, a backslash or a control
character in it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, unquote_to_bytes

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import Tool
from accredit.registry.openapi import HttpRoute, route_of
from accredit.registry.schemas import but_for_null

__all__ = ["MatchedOperation", "RenderedRequest", "Routes", "read_arguments", "rendered"]

_PARAMETER: Final = re.compile(r"\{([^{}/]+)\}")
_SEGMENT: Final = "([^/]+)"
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,3})?")
_NO_SEGMENT: Final = re.compile(r"\.{1,2}|.*[/\\\x00-\x1f\x7f].*", re.DOTALL)
_MAX_QUERY: Final = 500
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class MatchedOperation:
    """The operation a request is for, and the values its path holds."""

    tool: Tool
    route: HttpRoute
    path: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """What is sent."""

    method: str
    target: str
    """Path and query, to be put behind the server's URL."""
    headers: Mapping[str, str]
    body: bytes


class Routes:
    """The operations of one server, to be found by method and path: those with fewer parameters first."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        known = [(tool, route) for tool in tools if (route := route_of(tool.definition)) is not None]
        known.sort(key=lambda one: (len(_PARAMETER.findall(one[1].path)), -len(one[1].path), one[1].path, one[0].id))
        self._known = [
            (tool, route, _pattern(route.path), tuple(_pattern(path) for path in route.others)) for tool, route in known
        ]

    def find(self, method: str, raw_path: str) -> MatchedOperation | None:
        """The operation at a path as it came, percent-encoded and without its query.

        Raises:
            InvalidInputError: the path is not well encoded.
        """
        # spelled as it will be sent: `/%6dine` must not pass for a value where `/mine` is an operation of its own
        path = "/".join(quote(_decoded(segment, "the path"), safe="") for segment in raw_path.split("/"))
        for tool, route, pattern, others in self._known:
            if route.method == method and (match := pattern.fullmatch(path)) is not None:
                if any(other.fullmatch(path) for other in others):
                    continue  # that other operation would be called, registered or not
                values = (_decoded(value, "the path") for value in match.groups())
                return MatchedOperation(tool, route, dict(zip(_PARAMETER.findall(route.path), values, strict=True)))
        return None


def _pattern(path: str) -> re.Pattern[str]:
    literal = (re.escape(quote(unquote(text), safe="/")) for text in _PARAMETER.split(path)[::2])
    return re.compile(_SEGMENT.join(literal))


def _decoded(text: str, where: str) -> str:
    try:
        if _BAD_ESCAPE.search(text):
            raise ValueError("a percent sign that encodes nothing")  # noqa: TRY301 - one refusal for all
        return unquote_to_bytes(text).decode()
    except ValueError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, f"{where} is not well encoded") from error


def read_arguments(
    found: MatchedOperation, query: str, headers: Mapping[str, str], body: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments a request stands for; `body` holds its value under `body`, if it has one.

    What is not declared is among them, for whoever validates to refuse it; a text that is no value of the declared type
    stays the text it is.

    Raises:
        InvalidInputError: the query is not well encoded, or a value of the path reads as another path.
    """
    schemas = found.tool.definition["inputSchema"]["properties"]
    arguments: dict[str, Any] = {}
    if found.path:
        typed = {name: _typed(_kind(schemas, "path", name), value) for name, value in found.path.items()}
        # another spelling of a number stays a text, and is refused: what is sent would be another path
        arguments["path"] = {name: typed[name] if _spelled(typed[name]) == found.path[name] else found.path[name]
                             for name in typed}  # fmt: skip
        if any(_NO_SEGMENT.fullmatch(value) for value in found.path.values()):
            raise InvalidInputError(Code.BODY_MALFORMED, "a value of the path would read as another path")
    if asked := _query(found.route, schemas, query):
        arguments["query"] = asked
    declared = schemas.get("header", {}).get("properties", {})
    if sent := {name: _typed(_kind(schemas, "header", name), headers[name]) for name in declared if name in headers}:
        arguments["header"] = sent
    return {**arguments, **body}


def _query(route: HttpRoute, schemas: Mapping[str, Any], query: str) -> dict[str, Any]:
    pairs = query.split("&") if query else []
    if len(pairs) > _MAX_QUERY:
        raise InvalidInputError(Code.BODY_MALFORMED, f"the query has more than {_MAX_QUERY} values")
    given: dict[str, list[str]] = {}
    for pair in filter(None, pairs):
        name, _, value = pair.replace("+", "%20").partition("=")
        given.setdefault(_decoded(name, "the query"), []).append(value)
    found: dict[str, Any] = {}
    for name, values in given.items():
        kind = _kind(schemas, "query", name)
        single = values[0].split(",") if name in route.joined and len(values) == 1 else values
        read = [_typed(kind, _decoded(value, "the query")) for value in single]
        found[name] = read if name in route.listed or name in route.joined or len(read) > 1 else read[0]
    return found


def _kind(schemas: Mapping[str, Any], place: str, name: str) -> str:
    """The declared type of a parameter, or of the members of a list."""
    schema, _ = but_for_null(schemas.get(place, {}).get("properties", {}).get(name, {}))
    kind: str = but_for_null(schema.get("items", schema))[0].get("type", "string")
    return kind


def _typed(kind: str, text: str) -> Any:
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "number" and _NUMBER.fullmatch(text):
        return int(text) if _INTEGER.fullmatch(text) else float(text)
    return _BOOLEANS.get(text, text) if kind == "boolean" else text


def rendered(route: HttpRoute, arguments: Mapping[str, Any]) -> RenderedRequest:
    """The request that validated arguments make."""
    path = arguments.get("path", {})
    target = _PARAMETER.sub(lambda match: quote(_spelled(path[match[1]]), safe=""), route.path)
    pairs = []
    for name, value in arguments.get("query", {}).items():
        values = [_spelled(one) for one in (value if isinstance(value, list) else [value])]
        written = (quote(one, safe="") for one in values)
        pairs += [f"{quote(name, safe='')}={one}" for one in ([",".join(written)] if name in route.joined else written)]
    if pairs:
        target += "?" + "&".join(pairs)
    headers = {name: _spelled(value) for name, value in arguments.get("header", {}).items()}
    body = b""
    if "body" in arguments:
        body = orjson.dumps(arguments["body"])
        headers["content-type"] = "application/json"
    return RenderedRequest(route.method, target, headers, body)


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
