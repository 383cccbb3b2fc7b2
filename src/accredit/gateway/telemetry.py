"""Telemetry of agents as a bare ASGI app: OTLP/HTTP traces (specification 1.x), in protobuf and JSON.

Life of a request: 1 Host and Origin; 2 who is sending; 3 content type; 4 the body, bounded before and after it is
decompressed; 5 spans, bounded; 6 what they say, on record; 7 the answer, in the encoding of the request. A span that is
not taken is counted in `partial_success`, and is not to be sent again; 429 and 503 with `Retry-After` may be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from accredit.enforcement.advice import Asker
from accredit.enforcement.reported import Report
from accredit.enforcement.reports import TakenReport
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.jsonrpc import RpcError
from accredit.gateway.otlp.decoding import MAX_BODY, decompressed, spans_of_json, spans_of_protobuf
from accredit.gateway.otlp.reading import read_report
from accredit.gateway.routing import read_head
from accredit.gateway.uploads import Uploads
from accredit.identity.metadata import challenge
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    AttemptsLimitedError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)

__all__ = ["TRACES", "OtlpGateway", "ReportDesk"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("accredit.gateway")

TRACES: Final = "/otlp/v1/traces"
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_UPLOAD_S: Final = 10.0
_RETRY_S: Final = 5
_MOST_WAITING: Final = 16
"""Large bodies that wait to be read."""
_ONE_READING: Final = 64 * 1024
"""A body up to this is read where it is; a larger one in a thread, so that calls go on."""


class ReportDesk(Protocol):
    """Who takes reports, and knows who may send them."""

    def authenticate(self, authorization: str | None, *, path: str, source: str) -> Asker:
        """The agent or enforcement point behind an `Authorization` header.

        Raises:
            UnauthenticatedError: nobody was proven.
        """
        ...

    def still_valid(self, asker: Asker) -> bool: ...

    async def take(self, sender: Asker, report: Report, *, path: str, source: str) -> TakenReport: ...


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class OtlpGateway:
    """The ASGI app, for every path below `/otlp/`."""

    def __init__(self, desk: ReportDesk, *, public_url: str, allowed_hosts: Iterable[str] = ()) -> None:
        self._desk = desk
        self._public_url = public_url
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._uploads = Uploads(max_bytes=MAX_BODY, timeout_s=_UPLOAD_S)
        self._reading = asyncio.Semaphore(1)
        """Large bodies are read one at a time: that bounds what reading them takes."""
        self._waiting = 0

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one request. Nothing escapes but cancellation and what `send` itself raises."""
        types = [value for name, value in scope["headers"] if name == b"content-type"]
        media_type = types[0].decode("latin-1").partition(";")[0].strip().lower() if len(types) == 1 else ""
        json = media_type == _JSON  # what is neither is answered in protobuf
        try:
            said = await self._serve(scope, receive, media_type)
        except AccreditError as error:
            said = self._refusal(error, json=json)
        except Exception:  # noqa: BLE001 - the outermost boundary: logged, and answered without its text
            _log.exception("a telemetry request failed")
            said = _Said(500, _status(Code.INTERNAL.meaning, json=json))
        if said is None:
            return
        headers = [
            (b"content-type", (_JSON if json else _PROTOBUF).encode()),
            (b"content-length", b"%d" % len(said.body)),
            (b"cache-control", b"no-store"),
            *said.headers,
        ]
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        await send({"type": "http.response.body", "body": said.body})

    async def _serve(self, scope: _Scope, receive: _Receive, media_type: str) -> _Said | None:
        head = read_head(scope["headers"])  # 1
        self._addresses.check(head.get("host"), head.get("origin"))
        path, source = scope["path"], (scope.get("client") or ("",))[0]
        sender = self._desk.authenticate(head.get("authorization"), path=path, source=source)  # 2
        if path != TRACES:
            raise NotFoundError(Code.NOT_FOUND, f"traces are taken at {TRACES}, and nothing else")
        json = media_type == _JSON
        if scope["method"] != "POST":
            return _Said(405, _status("traces are posted", json=json), ((b"allow", b"POST"),))
        if not json and media_type != _PROTOBUF:  # 3
            return _Said(415, _status(f"the content type is neither `{_PROTOBUF}` nor `{_JSON}`", json=json))
        named = sender.agent if isinstance(sender, Principal) else f"point/{sender.name}"
        body = await self._uploads.read(receive, head, sender=named)  # 4
        if body is None:
            return None
        report = await self._report(body, head.get("content-encoding", "").strip().lower(), json=json)  # 5
        if not self._desk.still_valid(sender):  # the body may have taken its time
            raise UnauthenticatedError(Code.CREDENTIAL_REVOKED, "the credential is not valid any more")
        taken = await self._desk.take(sender, report, path=path, source=source)  # 6
        beyond = f"{report.invalid} spans are not valid, have too many attributes, or are too many for a request"
        others = f"{taken.refused} spans tell of an agent that this sender may not speak for"
        why = [text for count, text in ((report.invalid, beyond), (taken.refused, others)) if count]
        return _Said(200, _accepted(report.invalid + taken.refused, "; ".join(why), json=json))  # 7

    async def _report(self, body: bytes, encoding: str, *, json: bool) -> Report:
        def read() -> Report:
            spans, unread = (spans_of_json if json else spans_of_protobuf)(decompressed(body, encoding))
            return read_report(spans, invalid=unread)

        if len(body) <= _ONE_READING and not encoding:
            return read()
        if self._waiting >= _MOST_WAITING:
            raise UnavailableError(Code.CONCURRENCY_LIMITED, "too many large bodies wait to be read")
        self._waiting += 1
        try:
            async with self._reading:
                return await asyncio.to_thread(read)
        finally:
            self._waiting -= 1

    def _refusal(self, error: AccreditError, *, json: bool) -> _Said:
        if isinstance(error, UnauthenticatedError):
            # one constant text: why a credential is not accepted is for the record alone
            told = challenge(self._public_url, TRACES)
            body = _status(Code.UNAUTHENTICATED.meaning, json=json)
            return _Said(401, body, ((b"www-authenticate", told.encode()),))
        more: tuple[tuple[bytes, bytes], ...] = error.headers if isinstance(error, RpcError) else ()
        if isinstance(error, AttemptsLimitedError):
            more = ((b"retry-after", b"%d" % max(1, round(error.retry_after_s + 0.5))),)
        elif error.status == 503:
            more = ((b"retry-after", b"%d" % _RETRY_S),)
        oversized = isinstance(error, InvalidInputError) and error.code is Code.BODY_OVERSIZED
        status = 413 if oversized else error.status
        text = f"{error.message} ({error.code})" + (f"; {error.hint}" if error.hint else "")
        return _Said(status, _status(text, json=json), more)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _text_field(number: int, text: str) -> bytes:
    raw = text.encode()
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _status(message: str, *, json: bool) -> bytes:
    """A `google.rpc.Status`, whose code is the HTTP status alone (OTLP/HTTP §"Failures")."""
    return orjson.dumps({"message": message}) if json else _text_field(2, message)


def _accepted(rejected: int, why: str, *, json: bool) -> bytes:
    """An `ExportTraceServiceResponse`: empty if all was taken (OTLP/HTTP §"Full Success", §"Partial Success")."""
    if json:
        return orjson.dumps(
            {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": why}} if rejected else {}
        )
    if not rejected:
        return b""
    partial = _varint(1 << 3) + _varint(rejected) + _text_field(2, why)
    return _varint(1 << 3 | 2) + _varint(len(partial)) + partial
