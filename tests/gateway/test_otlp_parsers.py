"""The readers of telemetry against whatever bytes there are: they answer, within bounds, and agree with each other."""

from __future__ import annotations

import gzip
from contextlib import suppress
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from accredit.gateway.otlp import decoding
from accredit.gateway.otlp.decoding import PlainSpan, decompressed, spans_of_json, spans_of_protobuf
from accredit.gateway.otlp.reading import read_report
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from tests.gateway.spans import message

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_names = st.sampled_from(
    ["gen_ai.operation.name", "gen_ai.tool.name", "mcp.method.name", "gen_ai.request.model", "gen_ai.system", "x"]
)
_values = st.one_of(_texts, st.integers(-(2**63), 2**63 - 1), st.sampled_from(["execute_tool", "chat", "tools/call"]))
_spans = st.lists(
    st.fixed_dictionaries(
        {
            "attributes": st.dictionaries(_names, _values, max_size=6),
            "kind": st.integers(0, 5),
            "name": _texts,
            "trace": st.binary(min_size=0, max_size=17) | st.just(b"\x01" * 16),
            "id": st.binary(min_size=8, max_size=8) | st.just(b""),
            "parent": st.binary(min_size=8, max_size=8) | st.just(b""),
        }
    ),
    max_size=5,
)


def _as_json(request: ExportTraceServiceRequest) -> bytes:
    """As OTLP spells it: ids in hex."""
    value: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    spans = [
        (named, span)
        for named, group in zip(value.get("resourceSpans", []), request.resource_spans, strict=True)
        for span in group.scope_spans[0].spans
    ]
    for group in value.get("resourceSpans", []):
        for scope in group.get("scopeSpans", []):
            for shown, (_, span) in zip(scope.get("spans", []), spans, strict=True):
                shown |= {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex()}
                shown["parentSpanId"] = span.parent_span_id.hex()
    return orjson.dumps(value)


@pytest.mark.requirement("otlp:parsers")
@given(_spans)
@settings(max_examples=150, deadline=None)
def test_both_encodings_of_a_request_say_the_same(spans: list[dict[str, Any]]) -> None:
    request = message(*spans, service_name="worker")
    by_protobuf, by_json = spans_of_protobuf(request.SerializeToString()), spans_of_json(_as_json(request))
    assert by_protobuf == by_json
    assert len(by_protobuf[0]) + by_protobuf[1] == len(spans)
    assert read_report(by_protobuf[0]) == read_report(by_json[0])


@pytest.mark.requirement("otlp:parsers")
@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (spans_of_protobuf, spans_of_json, lambda body: decompressed(body, "gzip")):
        with suppress(InvalidInputError):
            read(data)


@pytest.mark.requirement("otlp:parsers")
@given(_spans, st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_request_is_read_or_refused(spans: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = bytearray(message(*spans, service_name="worker").SerializeToString())
    if whole:
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    for body in (bytes(whole), bytes(whole[: len(whole) // 2])):
        with suppress(InvalidInputError):
            read_report(spans_of_protobuf(body)[0])


@pytest.mark.requirement("otlp:bounds")
def test_spans_attributes_texts_and_depth_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"key-{number}": number for number in range(decoding.MAX_ATTRIBUTES + 1)}
    request = message({"attributes": many}, {"attributes": {"x": "y" * 5_000}})
    for read, body in ((spans_of_protobuf, request.SerializeToString()), (spans_of_json, _as_json(request))):
        (kept,), refused = read(body)
        assert (refused, len(str(kept.attributes["x"]))) == (1, decoding.MAX_TEXT)
    monkeypatch.setattr(decoding, "MAX_SPANS", 3)
    assert [len(spans_of_protobuf(message(*[{}] * 5).SerializeToString())[0]), 2] == [3, 2]
    deep = AnyValue()
    inner = deep
    for _ in range(200):
        inner = inner.array_value.values.add()
    attribute = b"\x12" + _length(len(deep.SerializeToString())) + deep.SerializeToString()
    for number in (9, 2, 2, 1):
        attribute = bytes([number << 3 | 2]) + _length(len(attribute)) + attribute
    with pytest.raises(InvalidInputError) as caught:
        spans_of_protobuf(attribute)
    assert caught.value.code is Code.BODY_TOO_DEEP
    with pytest.raises(InvalidInputError) as caught:
        spans_of_json(b'{"resourceSpans":' + b"[" * 100 + b"]" * 100 + b"}")
    assert caught.value.code is Code.BODY_TOO_DEEP
    with pytest.raises(InvalidInputError) as caught:
        spans_of_json(b"[" + b"{}," * 250_000 + b"{}]")
    assert caught.value.code is Code.BODY_OVERSIZED


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])


@pytest.mark.requirement("otlp:bounds")
def test_a_body_of_many_empty_members_is_refused_before_it_costs_the_square_of_their_number() -> None:
    empty = gzip.compress(b"")
    assert decompressed(empty * 63 + gzip.compress(b"a"), "gzip") == b"a"
    with pytest.raises(InvalidInputError) as caught:
        decompressed(empty * 65, "gzip")
    assert caught.value.code is Code.BODY_OVERSIZED


@pytest.mark.requirement("otlp:bounds")
def test_what_a_body_becomes_is_bounded_whatever_it_is_compressed_as() -> None:
    assert decompressed(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", max_bytes=2) == b"ab"
    for bomb in (gzip.compress(bytes(2**24)), gzip.compress(b"a") * 3, gzip.compress(b"") + gzip.compress(b"abc")):
        with pytest.raises(InvalidInputError) as caught:
            decompressed(bomb, "gzip", max_bytes=2)
        assert caught.value.code is Code.BODY_OVERSIZED


@pytest.mark.requirement("otlp:bounds", "otlp:parsers")
def test_a_span_that_two_readers_could_read_differently_is_not_taken() -> None:
    request = message({"attributes": {"gen_ai.tool.name": "read"}})
    twice = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="gen_ai.tool.name")
    twice.value.string_value = "refund"
    assert spans_of_protobuf(request.SerializeToString()) == ([], 1)
    assert spans_of_json(_as_json(request)) == ([], 1)


@pytest.mark.requirement("otlp:parsers")
@pytest.mark.parametrize(
    ("kind", "attributes", "used", "name"),
    [
        (1, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, "tool", "t"),
        (3, {"mcp.method.name": "tools/call", "gen_ai.tool.name": "t"}, "tool", "t"),
        (3, {"mcp.method.name": "tools/call"}, "tool", "named"),
        (
            3,
            {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1"},
            "model",
            "m",
        ),
        (3, {"gen_ai.operation.name": "embeddings", "gen_ai.response.model": "m-1"}, "model", "m-1"),
        (1, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "part"}, "nothing", ""),
        (3, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "callee"}, None, ""),
        (2, {"mcp.method.name": "tools/call", "gen_ai.tool.name": "t"}, None, ""),
        (3, {"mcp.method.name": "initialize"}, None, ""),
        (3, {"http.request.method": "POST"}, None, ""),
    ],
)
def test_which_spans_tell_of_a_use(kind: int, attributes: dict[str, str], used: str | None, name: str) -> None:
    span = PlainSpan(b"\x01" * 16, b"\x02" * 8, b"", "what named", kind, False, attributes, {})
    said = read_report([span]).said
    assert [(one.used.value, one.name) for one in said] == ([(used, name)] if used else [])
