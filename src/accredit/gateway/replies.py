"""The one answer to an MCP request, in the client's own era."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from accredit.gateway.jsonrpc import RpcError, RpcId, RpcNumber
from accredit.gateway.relay import encode_message
from accredit.gateway.routing import Era
from accredit.gateway.sse import KEEP_ALIVE, event_frame
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError

__all__ = ["NO_STORE", "PRIVATE", "Keeping", "Reply", "Send"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
PRIVATE = (b"cache-control", b"private, no-store")
_EVENTS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_STATUS_OF = {Code.RATE_LIMITED: 429, Code.ATTEMPTS_LIMITED: 429}


class Keeping(Protocol):
    """Keeps the events of a stream, so that it can be taken up again."""

    @property
    def turn(self) -> int:
        """Not 0 once another connection reads on."""
        ...

    def frame(self, event: bytes) -> bytes:
        """Keep an event; the event with an id."""
        ...

    async def given_up(self) -> None:
        """Wait until it is clear that a client which left does not come back."""
        ...


class Reply:
    """The one answer to a request: JSON, or a stream of events once there is something to say before the end."""

    __slots__ = ("_send", "_streaming", "done", "era", "keep", "kept", "rpc_id", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._streaming = False
        self.started = False
        self.done = False
        self.era = Era.STATELESS
        self.rpc_id: RpcId | None = None
        self.keep: Callable[[], Keeping | None] = _not_kept
        """Asked once the answer is a stream."""
        self.kept: Keeping | None = None

    async def bare(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        await self._send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
        self.started = True
        await self._send({"type": "http.response.body", "body": body})
        self.done = True

    def encode(self, result: Mapping[str, Any]) -> bytes:
        """The response that carries a result, in the client's own era."""
        if self.era is Era.STATELESS:
            if "resultType" not in result:
                result = {"resultType": "complete", **result}
        else:
            result = _for_sessions(result)
        return encode_message({"jsonrpc": "2.0", "id": self.rpc_id, "result": result})

    async def final(self, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        if not self._streaming:
            await self.bare(status, body, _JSON, *(headers or (NO_STORE,)))
            return
        await self._event(event_frame(body), more=False)
        self.done = True

    async def end(self) -> None:
        """End a stream that answers nothing."""
        await self._send({"type": "http.response.body", "body": b""})
        self.done = True

    async def result(self, result: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> None:
        await self.final(self.encode(result), *headers)

    async def error(
        self,
        number: int,
        message: str,
        *headers: tuple[bytes, bytes],
        status: int = 200,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        error: dict[str, Any] = {"code": number, "message": message}
        if data is not None:
            error["data"] = data
        body = encode_message({"jsonrpc": "2.0", "id": self.rpc_id, "error": error})
        await self.final(body, NO_STORE, *headers, status=status)

    async def fault(self, error: AccreditError) -> None:
        """Turn what was raised into the protocol's own error."""
        data = {"code": error.code.value, "hint": error.hint}
        if isinstance(error, RpcError):
            self.rpc_id = error.rpc_id if error.rpc_id is not None else self.rpc_id
            status = 200 if self.era is Era.SESSIONS and error.number == RpcNumber.METHOD else error.status
            await self.error(error.number, error.message, *error.headers, status=status, data={**data, **error.extra})
            return
        # a number of our own, outside the range JSON-RPC keeps for itself: the HTTP status it goes with
        status = _STATUS_OF.get(error.code, error.status)
        await self.error(status, error.message, status=status, data=data)

    async def part(self, body: bytes) -> None:
        """Send a piece of a stream; begins it if this is the first."""
        if not self._streaming:
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_EVENTS)})
            self.started = self._streaming = True
            self.kept = self.keep()
        await self._event(body, more=True)

    async def _event(self, event: bytes, *, more: bool) -> None:
        if self.kept is not None and event != KEEP_ALIVE:
            event = self.kept.frame(event)
        if self.kept is None or self.kept.turn == 0:
            await self._send({"type": "http.response.body", "body": event, "more_body": more})

    def waiting_for(self, receive: Receive) -> Receive:
        """What the client sends; that it left only once it is clear that it does not come back for this answer."""

        async def received() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect" and self.kept is not None:
                await self.kept.given_up()
            return message

        return received


def _not_kept() -> None:
    """A stream that cannot be taken up again."""


def _for_sessions(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as clients of 2025-11-25 know it."""
    known = {key: value for key, value in result.items() if key not in {"resultType", "ttlMs", "cacheScope"}}
    if isinstance(meta := known.get("_meta"), dict):
        kept = {key: value for key, value in meta.items() if not key.startswith("io.modelcontextprotocol/")}
        if kept:
            known["_meta"] = kept
        else:
            del known["_meta"]
    if not isinstance(known.get("structuredContent", known), dict):  # any JSON is allowed there since 2026-07-28 only
        del known["structuredContent"]
    return known
