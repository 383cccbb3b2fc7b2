"""Headers that repeat the body (MCP 2026-07-28, Streamable HTTP, "Request Metadata"), and the two protocol eras. Pure.

A proxy on the way may route by these headers; we decide by the body. So both must say the same, and a header that two
readers could read differently (sent twice, not ASCII) is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accredit.gateway.jsonrpc import RpcError, RpcMessage, RpcNumber
from accredit.kernel.codes import Code

__all__ = [
    "CAPABILITIES_KEY",
    "CLIENT_INFO_KEY",
    "ERA_KEY",
    "NAMED_BY",
    "SUBSCRIPTION_KEY",
    "Era",
    "ParamHeader",
    "check_parameters",
    "decode_value",
    "encode_value",
    "era_of",
    "parameter_headers",
    "read_head",
    "rendered_parameters",
]

ERA_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_KEY = "io.modelcontextprotocol/clientInfo"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"
NAMED_BY = {
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/cancel": "taskId",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tools/call": "name",
}
"""Methods whose request repeats a parameter in the header `Mcp-Name`, and which one."""

_SENTINEL = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_PLAIN = re.compile(r"[\x20-\x7e]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL = re.compile(r"(-?[0-9]{1,17})(?:\.0{1,17})?")
_PARAM_PREFIX = "mcp-param-"
# A second copy of one of these would let two readers disagree.
_ONCE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "origin",
        "x-api-key",
    }
)


class Era(StrEnum):
    """The newest revision of each kind of client; the value is its name on the wire."""

    STATELESS = "2026-07-28"
    SESSIONS = "2025-11-25"


@dataclass(frozen=True, slots=True)
class ParamHeader:
    """One argument that its schema mirrors to a header (`x-mcp-header`)."""

    name: str
    """`Mcp-Param-<token>`."""
    path: tuple[str, ...]
    integer: bool


def read_head(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name, the last of a repeated one, without the white space around them (RFC 9110 §5.5).

    Raises:
        RpcError: a header that decides something is repeated.
    """
    head: dict[str, str] = {}
    for key, value in raw:
        name = key.decode("latin-1")
        if name in head and (name in _ONCE or name.startswith(_PARAM_PREFIX)):
            raise RpcError(
                RpcNumber.HEADER, f"the header `{name[:80]}` appears more than once", code=Code.HEADER_MISMATCH
            )
        head[name] = value.decode("latin-1").strip(" \t")
    return head


def encode_value(value: str) -> str:
    """A text as a header value: plain if it survives as such, else in the Base64 sentinel."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def decode_value(value: str) -> str | None:
    """The inverse of `encode_value`; None if the value could not have come from it."""
    if not _PLAIN.fullmatch(value):
        return None
    sentinel = _SENTINEL.fullmatch(value)
    if sentinel is None:
        return value
    try:
        decoded = base64.b64decode(sentinel[1], validate=True)
        text = decoded.decode()
    except (binascii.Error, ValueError):
        return None
    return text if base64.b64encode(decoded).decode() == sentinel[1] else None


def _mismatch(message: RpcMessage, text: str) -> RpcError:
    return RpcError(RpcNumber.HEADER, text, code=Code.HEADER_MISMATCH, rpc_id=message.id)


def _unsupported(message: RpcMessage, requested: str, *supported: Era) -> RpcError:
    return RpcError(
        RpcNumber.VERSION,
        "the protocol version is not supported",
        code=Code.PROTOCOL_VERSION,
        rpc_id=message.id,
        hint=f"use {Era.STATELESS}, or {Era.SESSIONS} after `initialize`",
        extra={"supported": [era.value for era in supported], "requested": requested[:80]},
    )


def era_of(head: Mapping[str, str], message: RpcMessage) -> Era:
    """Which era a message belongs to, once its headers agree with its body.

    Raises:
        RpcError: `-32020` if header and body differ, `-32022` for a version served in neither era.
    """
    version = head.get("mcp-protocol-version")
    claimed = message.meta.get(ERA_KEY)
    method = head.get("mcp-method")
    if method is not None and method != message.method:
        raise _mismatch(message, "the header `Mcp-Method` differs from the body's `method`")
    if version != Era.STATELESS and claimed is None:
        if version is None or version == Era.SESSIONS or message.method == "initialize":
            _check_name(head, message, required=False)
            return Era.SESSIONS
        raise _unsupported(message, version, Era.STATELESS, Era.SESSIONS)
    if message.id is None and claimed is None:
        return Era.STATELESS  # the revision defines no header or `_meta` duties for a posted notification
    for key in (ERA_KEY, CAPABILITIES_KEY):
        if key not in message.meta:
            raise RpcError(RpcNumber.PARAMS, f"`params._meta` lacks `{key}`", rpc_id=message.id)
    if not isinstance(message.meta[CAPABILITIES_KEY], dict):
        raise RpcError(RpcNumber.PARAMS, f"`params._meta[{CAPABILITIES_KEY}]` must be an object", rpc_id=message.id)
    if version is None or version != claimed:
        raise _mismatch(message, "the header `MCP-Protocol-Version` differs from the body's `_meta`")
    if version != Era.STATELESS:
        raise _unsupported(message, version, Era.STATELESS)  # a request with `_meta` of its own has no other
    if method is None:
        raise _mismatch(message, "the header `Mcp-Method` is missing")
    _check_name(head, message, required=True)
    return Era.STATELESS


def _check_name(head: Mapping[str, str], message: RpcMessage, *, required: bool) -> None:
    given, parameter = head.get("mcp-name"), NAMED_BY.get(message.method)
    if parameter is None or (given is None and not required):
        return
    if given is None:
        raise _mismatch(message, "the header `Mcp-Name` is missing")
    if decode_value(given) != message.params.get(parameter):
        raise _mismatch(message, f"the header `Mcp-Name` differs from the body's `params.{parameter}`")


def _annotated(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or len(path) > 16:
        return
    for name, inner in properties.items():
        if isinstance(inner, Mapping):
            if "x-mcp-header" in inner:
                yield (*path, name), inner["x-mcp-header"], inner.get("type")
            yield from _annotated(inner, (*path, name))


def parameter_headers(schema: Any) -> tuple[ParamHeader, ...]:
    """The arguments an input schema mirrors to headers; none at all if any annotation breaks the specification's rules.

    A conforming client drops a tool with a broken annotation, so there is nothing to compare or to send.
    """
    found: dict[str, ParamHeader] = {}
    for path, token, kind in _annotated(schema, ()):
        valid = isinstance(token, str) and _TOKEN.fullmatch(token) and kind in ("string", "integer", "boolean")
        if not valid or token.lower() in found:
            return ()
        found[token.lower()] = ParamHeader(f"Mcp-Param-{token}", path, kind == "integer")
    return tuple(found.values())


def _rendered(arguments: Any, header: ParamHeader) -> str | None:
    node = arguments
    for key in header.path:
        node = node.get(key) if isinstance(node, Mapping) else None
    match node:
        case bool():
            return "true" if node else "false"
        case float() if header.integer and node.is_integer():
            return str(int(node))
        case int() | str():
            return str(node)
        case _:
            return None


def rendered_parameters(headers: tuple[ParamHeader, ...], arguments: Mapping[str, Any]) -> dict[str, str]:
    """The `Mcp-Param-*` headers that belong to these arguments."""
    return {
        header.name: encode_value(value) for header in headers if (value := _rendered(arguments, header)) is not None
    }


def check_parameters(
    headers: tuple[ParamHeader, ...], head: Mapping[str, str], message: RpcMessage, arguments: Mapping[str, Any]
) -> None:
    """Compare the `Mcp-Param-*` headers that a tool's schema asks for with the arguments.

    Raises:
        RpcError: one is missing, unexpected or differs.
    """
    for header in headers:
        given = head.get(header.name.lower())
        expected = _rendered(arguments, header)
        if given is None and expected is None:
            continue
        decoded = None if given is None else decode_value(given)
        if decoded is not None and header.integer and (decimal := _DECIMAL.fullmatch(decoded)):
            decoded = str(int(decimal[1]))
        if decoded is None or decoded != expected:
            raise _mismatch(message, f"the header `{header.name}` differs from the argument `{'.'.join(header.path)}`")
