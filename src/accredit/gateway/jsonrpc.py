"""JSON-RPC as MCP uses it: one message per POST, read strictly, answered with numbers every client knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import parse_strict

__all__ = ["RpcError", "RpcId", "RpcMessage", "RpcNumber", "RpcResponse", "read_message"]


class RpcNumber(IntEnum):
    """The numbers of errors, JSON-RPC's own and those MCP 2026-07-28 adds."""

    PARSE = -32700
    REQUEST = -32600
    METHOD = -32601
    PARAMS = -32602
    INTERNAL = -32603
    HEADER = -32020
    CAPABILITY = -32021
    VERSION = -32022


RpcId = str | int
_MAX_ID = 256
_MAX_METHOD = 128
_EMPTY: Mapping[str, Any] = {}


class RpcError(InvalidInputError):
    """A message that is answered with a JSON-RPC error instead of a result."""

    def __init__(
        self,
        number: int,
        message: str,
        *,
        code: Code = Code.BODY_MALFORMED,
        status: int = 400,
        hint: str = "",
        rpc_id: RpcId | None = None,
        extra: Mapping[str, Any] = _EMPTY,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.number = number
        self.status = status
        self.rpc_id = rpc_id
        self.extra = extra
        self.headers = headers


@dataclass(frozen=True, slots=True)
class RpcMessage:
    """One request, or a notification if it has no id."""

    id: RpcId | None
    method: str
    params: Mapping[str, Any]
    meta: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    """`_meta` of the parameters, empty if absent; `read_message` has checked that it is an object."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "meta", self.params.get("_meta", _EMPTY))


@dataclass(frozen=True, slots=True)
class RpcResponse:
    """What a client of the era of sessions says to a request of ours; `result` is None for an error."""

    id: RpcId
    result: Mapping[str, Any] | None


def _identifier(value: Any) -> RpcId:
    if isinstance(value, str) and len(value) <= _MAX_ID:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -(2**53) < value < 2**53:
        return value
    raise RpcError(RpcNumber.REQUEST, f"`id` must be an integer or a text of at most {_MAX_ID} characters")


def read_message(body: bytes, *, max_bytes: int) -> RpcMessage | RpcResponse:
    """Read one JSON-RPC message.

    Raises:
        RpcError: not strict JSON, a batch, or another malformed envelope.
    """
    try:
        value = parse_strict(body, max_bytes=max_bytes)
    except InvalidInputError as error:
        oversized = error.code is Code.BODY_OVERSIZED
        raise RpcError(
            RpcNumber.REQUEST if oversized else RpcNumber.PARSE,
            error.message,
            code=error.code,
            status=413 if oversized else 400,
            hint=error.hint,
        ) from error
    if not isinstance(value, dict):
        batch = isinstance(value, list)
        raise RpcError(
            RpcNumber.REQUEST,
            "a batch is not accepted" if batch else "the body is not a JSON object",
            hint="send one JSON-RPC request or notification per POST",
        )
    rpc_id = _identifier(value["id"]) if "id" in value else None
    method = value.get("method")
    if (
        method is None
        and rpc_id is not None
        and value.get("jsonrpc") == "2.0"
        and ("result" in value) != ("error" in value)
    ):
        result = value.get("result")
        return RpcResponse(rpc_id, result if isinstance(result, dict) else None)
    if value.get("jsonrpc") != "2.0" or not isinstance(method, str) or not 0 < len(method) <= _MAX_METHOD:
        raise RpcError(
            RpcNumber.REQUEST,
            'a message needs `"jsonrpc": "2.0"` and a `method`',
            rpc_id=rpc_id,
            hint="see JSON-RPC 2.0",
        )
    params = value.get("params", _EMPTY)
    if not isinstance(params, dict) and params is not _EMPTY:
        raise RpcError(RpcNumber.PARAMS, "`params` must be an object", rpc_id=rpc_id)
    if not isinstance(params.get("_meta", _EMPTY), Mapping):
        raise RpcError(RpcNumber.PARAMS, "`params._meta` must be an object", rpc_id=rpc_id)
    return RpcMessage(rpc_id, method, params)
