"""A traces request of OTLP/HTTP, in protobuf or JSON, as plain spans. Pure.

INVARIANT: what is decoded is bounded before it is. A protobuf message of two bytes becomes an object of seventy, so the
messages in a body are counted by their frames first, and objects of JSON by their braces. Attributes that hold lists
or maps are left out: nothing that is read stands in one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import parse_strict

__all__ = ["MAX_BODY", "MAX_SPANS", "PlainSpan", "decompressed", "spans_of_json", "spans_of_protobuf"]

MAX_BODY: Final = 4 * 2**20
"""Of a request, before and after decompression."""
MAX_SPANS: Final = 10_000
MAX_MESSAGES: Final = 200_000
MAX_ATTRIBUTES: Final = 256
_MAX_MEMBERS: Final = 64
"""Of one gzip body: what is left of it is copied for each, so many small ones would cost the square of their number."""
MAX_TEXT: Final = 1_024
"""Characters of an attribute's key or value; a longer value is cut, a longer key is left out."""
_MAX_DEPTH: Final = 32
_TRACE, _SPAN = 16, 8
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class PlainSpan:
    """One span, whichever encoding it came in."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    """Empty if it has none."""
    name: str
    kind: int
    """As the protocol numbers them: 2 server, 3 client."""
    failed: bool
    attributes: Mapping[str, Scalar]
    resource: Mapping[str, Scalar]


def _malformed(what: str) -> InvalidInputError:
    return InvalidInputError(Code.BODY_MALFORMED, what)


def _too_much(what: str) -> InvalidInputError:
    return InvalidInputError(Code.BODY_OVERSIZED, what, hint="send smaller batches")


def decompressed(body: bytes, encoding: str, *, max_bytes: int = MAX_BODY) -> bytes:
    """The body without its content encoding (`gzip`, RFC 1952, or none).

    Raises:
        InvalidInputError: another encoding, not gzip, cut short, of too many members, or too large once decompressed.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise _malformed("the content encoding is neither `gzip` nor `identity`")
    found = bytearray()
    members = 0
    while body:  # §2.2: members may follow one another
        members += 1
        if members > _MAX_MEMBERS:
            raise _too_much(f"the gzip body has more than {_MAX_MEMBERS} members")
        member = zlib.decompressobj(wbits=31)
        try:
            found += member.decompress(body, max_bytes + 1 - len(found))
        except zlib.error as error:
            raise _malformed("the body is not gzip") from error
        if len(found) > max_bytes:
            raise _too_much(f"the body is larger than {max_bytes} bytes once decompressed")
        if not member.eof:
            raise _malformed("the gzip body is cut short")
        body = member.unused_data
    return bytes(found)


# -- protobuf

_FRAMES: Final[Mapping[str, Mapping[int, str]]] = {
    "request": {1: "resource_spans"},
    "resource_spans": {1: "resource", 2: "scope_spans"},
    "resource": {1: "attribute", 3: "entity"},
    "scope_spans": {1: "scope", 2: "span"},
    "scope": {3: "attribute"},
    "span": {9: "attribute", 11: "event", 13: "link", 15: "leaf"},
    "event": {3: "attribute"},
    "link": {4: "attribute"},
    "attribute": {2: "value"},
    "value": {5: "values", 6: "attributes"},
    "values": {1: "value"},
    "attributes": {1: "attribute"},
    "entity": {},
    "leaf": {},
}
"""The messages of the protocol that hold messages, by field number."""


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _malformed("the body is no OTLP message")


def _count_messages(data: bytes) -> None:
    """Refuse what would become too many objects.

    Raises:
        InvalidInputError: too many messages or values, too deep, or frames that do not fit.
    """
    left, waiting = MAX_MESSAGES, [(0, len(data), "request", 0)]
    while waiting:
        at, end, message, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise InvalidInputError(Code.BODY_TOO_DEEP, f"nested deeper than {_MAX_DEPTH} levels")
        within = _FRAMES[message]
        while at < end:
            left -= 1
            if left < 0:
                raise _too_much(f"the body has more than {MAX_MESSAGES} fields")
            tag, at = _varint(data, at, end)
            match tag & 7:
                case 0:
                    _, at = _varint(data, at, end)
                case 1:
                    at += 8
                case 2:
                    size, at = _varint(data, at, end)
                    inner = within.get(tag >> 3)
                    if at + size > end:
                        raise _malformed("the body is no OTLP message")
                    if inner is not None:
                        waiting.append((at, at + size, inner, depth + 1))
                    at += size
                case 5:
                    at += 4
                case _:  # groups, which OTLP never had
                    raise _malformed("the body is no OTLP message")
            if at > end:
                raise _malformed("the body is no OTLP message")


def spans_of_protobuf(data: bytes) -> tuple[list[PlainSpan], int]:
    """The spans of an `ExportTraceServiceRequest`, and how many more could not be taken.

    Raises:
        InvalidInputError: it is no such message, or there is too much of it.
    """
    # here, not above: whoever never receives telemetry does not pay for reading it
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    _count_messages(data)
    try:
        request = ExportTraceServiceRequest.FromString(data)
    except DecodeError as error:
        raise _malformed("the body is no OTLP message") from error
    found: list[PlainSpan] = []
    refused = 0
    for group in request.resource_spans:
        resource = _scalars(_pairs_of_protobuf(group.resource.attributes))
        for scope in group.scope_spans:
            for span in scope.spans:
                if len(found) >= MAX_SPANS or len(span.attributes) > MAX_ATTRIBUTES or resource is None:
                    refused += 1
                    continue
                made = _span(
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.name,
                    span.kind,
                    span.status.code,
                    _pairs_of_protobuf(span.attributes),
                    resource,
                )
                refused += made is None
                found += [made] if made is not None else []
    return found, refused


def _pairs_of_protobuf(attributes: Any) -> Iterator[tuple[str, Scalar]]:
    for pair in attributes:
        kind = pair.value.WhichOneof("value")
        if kind in {"string_value", "int_value", "double_value", "bool_value"}:
            yield pair.key, getattr(pair.value, kind)


# -- JSON


def spans_of_json(data: bytes) -> tuple[list[PlainSpan], int]:
    """The same of its JSON encoding (OTLP §"JSON Protobuf Encoding"): ids in hex, fields it does not know ignored.

    Raises:
        InvalidInputError: it is no such message, or there is too much of it.
    """
    if data.count(b"{") + data.count(b"[") > MAX_MESSAGES:
        raise _too_much(f"the body has more than {MAX_MESSAGES} objects and lists")
    request = parse_strict(data, max_bytes=MAX_BODY)
    found: list[PlainSpan] = []
    refused = 0
    for group in _objects(request, "resourceSpans"):
        resource = _scalars(_pairs_of_json(_object(group, "resource")))
        for scope in _objects(group, "scopeSpans"):
            for span in _objects(scope, "spans"):
                many = len(_objects(span, "attributes")) > MAX_ATTRIBUTES
                if len(found) >= MAX_SPANS or many or resource is None:
                    refused += 1
                    continue
                made = _span(
                    _hex(span, "traceId"),
                    _hex(span, "spanId"),
                    _hex(span, "parentSpanId"),
                    _text(span, "name"),
                    _number(span, "kind"),
                    _number(_object(span, "status"), "code"),
                    _pairs_of_json(span),
                    resource,
                )
                refused += made is None
                found += [made] if made is not None else []
    return found, refused


def _object(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _malformed(f"`{key}` is not an object")
    return found


def _objects(value: Any, key: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, dict):
        raise _malformed("the body is not a JSON object")
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _malformed(f"`{key}` is not a list of objects")
    return found


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key) or ""
    if not isinstance(found, str):
        raise _malformed(f"`{key}` is not a text")
    return found


def _hex(value: Mapping[str, Any], key: str) -> bytes:
    found = _text(value, key)
    if not _HEX.fullmatch(found):
        raise _malformed(f"`{key}` is not in hex")
    return bytes.fromhex(found)


def _number(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key) or 0
    if not isinstance(found, int) or isinstance(found, bool):
        raise _malformed(f"`{key}` is not a number")
    return found


def _pairs_of_json(value: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    for pair in _objects(value, "attributes"):
        held = _object(pair, "value")
        for kind in ("stringValue", "intValue", "doubleValue", "boolValue"):
            found = held.get(kind)
            if kind == "intValue" and isinstance(found, str) and re.fullmatch(r"-?[0-9]{1,19}", found):
                found = int(found)  # 64-bit numbers are texts in protobuf's JSON, and both are to be taken
            if isinstance(found, str | int | float):
                yield _text(pair, "key"), found


# -- both


def _scalars(pairs: Iterator[tuple[str, Scalar]]) -> dict[str, Scalar] | None:
    """Attributes by key; None if one stands twice, for two readers could take either."""
    found: dict[str, Scalar] = {}
    for key, value in pairs:
        if key in found:
            return None
        if len(key) <= MAX_TEXT:
            found[key] = value[:MAX_TEXT] if isinstance(value, str) else value
    return found


def _span(
    trace_id: bytes,
    span_id: bytes,
    parent_id: bytes,
    name: str,
    kind: int,
    status: int,
    pairs: Iterator[tuple[str, Scalar]],
    resource: Mapping[str, Scalar],
) -> PlainSpan | None:
    """None: no valid span. Its ids are of fixed length and not all zero; a parent may be absent."""
    attributes = _scalars(pairs)
    if attributes is None or len(trace_id) != _TRACE or len(span_id) != _SPAN or not any(trace_id) or not any(span_id):
        return None
    parent = parent_id if len(parent_id) == _SPAN and any(parent_id) else b""
    return PlainSpan(trace_id, span_id, parent, name[:MAX_TEXT], kind, status == 2, attributes, resource)
