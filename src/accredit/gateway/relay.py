"""One JSON-RPC request to a tool server, in either protocol era: how it is written and how its answer is read. Pure.

What goes out is encoded anew from the value that was decided: our id, our client name, no capabilities, and nothing of
the agent's own `_meta`, which nobody decided about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import orjson

from accredit.gateway.jsonrpc import RpcNumber
from accredit.gateway.routing import CAPABILITIES_KEY, CLIENT_INFO_KEY, ERA_KEY, NAMED_BY, Era, encode_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = [
    "ABOUT_US",
    "ACKNOWLEDGED",
    "ALIVE",
    "LIST_NOTICES",
    "RESOURCE_UPDATED",
    "Answer",
    "ServerAsk",
    "ServerNotice",
    "answer_of",
    "encode_message",
    "read_answer",
    "read_server_message",
    "rpc_request",
    "session_headers",
    "upstream_request",
]

ABOUT_US = {"name": "accredit", "version": version("accredit")}
_MAX_ERROR_TEXT = 1024
_MAX_ID = 256
_MAX_REQUIRED = 1024
_MAX_URI = 1024
_MOST_URIS = 64
RESOURCE_UPDATED = "notifications/resources/updated"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_LISTED = ("prompts", "resources", "tools")
LIST_NOTICES = frozenset(f"notifications/{kind}/list_changed" for kind in _LISTED)
_NOTICES = LIST_NOTICES | {ACKNOWLEDGED, RESOURCE_UPDATED}
_META: Mapping[str, Any] = {
    ERA_KEY: Era.STATELESS.value,
    CLIENT_INFO_KEY: ABOUT_US,
    CAPABILITIES_KEY: {},
}
_HEADERS: Mapping[str, str] = {
    "Accept": "application/json, text/event-stream",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"{ABOUT_US['name']}/{ABOUT_US['version']}",
    "MCP-Protocol-Version": Era.STATELESS.value,
}


@dataclass(frozen=True, slots=True)
class ServerAsk:
    """A request that a tool server made while it worked on ours; the era of sessions alone allows that."""

    id: str | int
    method: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """What a tool server tells that belongs to no request: a list changed, a resource did, or what it will tell of."""

    method: str
    uris: tuple[str, ...] = ()
    lists: bool = False
    """Whether it says that it will tell of changed lists."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One message of an answer: at most one of these is set; none for a notification that is not relayed."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    ask: ServerAsk | None = None
    notice: ServerNotice | None = None

    @property
    def final(self) -> bool:
        """Whether it ends the call."""
        return self.result is not None or self.error is not None


ALIVE = Answer()
"""A sign of life: there is nothing to relay yet."""


def upstream_request(
    method: str,
    params: Mapping[str, Any],
    *,
    rpc_id: int,
    credential: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
    progress: bool = False,
    traceparent: str | None = None,
    capabilities: Mapping[str, Any] | None = None,
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one request; the progress token is our id, since the agent's means nothing upstream."""
    headers = {**_HEADERS, "Mcp-Method": method}
    if (named_by := NAMED_BY.get(method)) is not None:
        headers["Mcp-Name"] = encode_value(params[named_by])
    if extra:
        headers.update(extra)
    headers.update(credential)
    return headers, rpc_request(
        method,
        params,
        rpc_id=rpc_id,
        sessions=False,
        progress=progress,
        traceparent=traceparent,
        capabilities=capabilities,
    )


def session_headers(session: str | None, revision: str | None, credential: Mapping[str, str]) -> dict[str, str]:
    """Headers of one message of a session; `revision` is None until it is negotiated."""
    headers = {**_HEADERS}
    del headers["MCP-Protocol-Version"]
    if revision is not None:
        headers["MCP-Protocol-Version"] = revision
    if session is not None:
        headers["Mcp-Session-Id"] = session
    headers.update(credential)
    return headers


def rpc_request(
    method: str,
    params: Mapping[str, Any],
    *,
    rpc_id: int,
    sessions: bool,
    progress: bool = False,
    traceparent: str | None = None,
    capabilities: Mapping[str, Any] | None = None,
) -> bytes:
    """One request; in the era of sessions, what it says of itself was said by `initialize`."""
    meta: dict[str, Any] = {} if sessions else dict(_META)
    if capabilities and not sessions:
        meta[CAPABILITIES_KEY] = capabilities
    if progress:
        meta["progressToken"] = rpc_id
    if traceparent is not None:
        meta["traceparent"] = traceparent
    given = {**params, "_meta": meta} if meta else dict(params)
    return orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": given})


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Write a message that carries a tool server's value.

    Raises:
        UnavailableError: `upstream_invalid`: it nests more deeply than JSON is written here.
    """
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError as error:
        raise _invalid("answered with JSON that nests too deeply") from error


def _invalid(text: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_INVALID, f"the tool server {text}")


def read_answer(text: bytes, *, rpc_id: int) -> Answer:
    """Read one message of a tool server's answer.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    return answer_of(read_server_message(text), rpc_id=rpc_id)


def read_server_message(text: bytes) -> dict[str, Any]:
    """Any one message of a tool server.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid("answered with something that is not JSON") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise _invalid("answered with something that is not JSON-RPC 2.0")
    return message


def answer_of(message: dict[str, Any], *, rpc_id: int, sessions: bool = False) -> Answer:
    """What a message says about the request of that id; in the era of sessions it may be a request of the server's.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    if "method" in message:
        return _unasked(message, rpc_id, sessions=sessions)
    if "error" in message:
        error_id, fault = message.get("id"), message["error"]
        if (error_id is not None and not _same(error_id, rpc_id)) or not isinstance(fault, dict):
            raise _invalid("answered another request")
        number, words = fault.get("code"), fault.get("message")
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(words, str):
            raise _invalid("answered with a malformed error")
        return Answer(error={"code": number, "message": words[:_MAX_ERROR_TEXT], **_required(number, fault)})
    if not _same(message.get("id"), rpc_id):
        raise _invalid("answered another request")
    result = message.get("result")
    if not isinstance(result, dict):
        raise _invalid("answered without a result")
    return Answer(result=result)


def _required(number: int, fault: Mapping[str, Any]) -> dict[str, Any]:
    """What a client must declare for this call to be served; of other errors the data is the server's own affair."""
    data = fault.get("data")
    required = data.get("requiredCapabilities") if isinstance(data, dict) else None
    if (
        number != RpcNumber.CAPABILITY
        or not isinstance(required, dict)
        or len(encode_message(required)) > _MAX_REQUIRED
    ):
        return {}
    return {"data": {"requiredCapabilities": required}}


def _same(given: Any, rpc_id: int) -> bool:
    return type(given) is int and given == rpc_id


def _unasked(message: dict[str, Any], rpc_id: int, *, sessions: bool) -> Answer:
    method, params = message["method"], message.get("params")
    if "id" in message:
        if not sessions:
            raise _invalid("sent a request of its own, which this protocol version forbids")
        given = message["id"]
        short = isinstance(given, str) and len(given) <= _MAX_ID
        if not isinstance(method, str) or not (short or (type(given) is int and abs(given) < 2**53)):
            raise _invalid("sent a malformed request of its own")
        return Answer(ask=ServerAsk(given, method, params if isinstance(params, dict) else {}))
    if method == "notifications/progress" and isinstance(params, dict):
        kept = {key: params[key] for key in ("progress", "total", "message") if key in params}
        if _same(params.get("progressToken"), rpc_id) and "progress" in kept:
            return Answer(progress=kept)
    if isinstance(method, str) and method in _NOTICES:
        given = params if isinstance(params, dict) else {}
        return Answer(notice=ServerNotice(method, _uris(given), _lists(given)))
    return Answer()


def _uris(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The resources that a notice names: the one that changed, or those whose changes will be told of."""
    told = params.get("notifications")
    named = told.get("resourceSubscriptions") if isinstance(told, dict) else None
    given = named if isinstance(named, list) else [params.get("uri")]
    return tuple(uri for uri in given[:_MOST_URIS] if isinstance(uri, str) and len(uri) <= _MAX_URI)


def _lists(params: Mapping[str, Any]) -> bool:
    told = params.get("notifications")
    return isinstance(told, dict) and any(told.get(f"{kind}ListChanged") is True for kind in _LISTED)
