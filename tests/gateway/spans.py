"""Spans of agents, made by the official SDK and delivered by its exporters, and as bytes for whoever sends others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

__all__ = ["Traced", "delivered", "message", "model_span", "tool_span", "traced"]


@dataclass
class Traced:
    """What an agent's process traced."""

    tracer: Tracer
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()


@contextmanager
def traced(**resource: str) -> Iterator[Traced]:
    """A process that traces, under the names it gives itself (`service_name` is `service.name`)."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({key.replace("_", "."): value for key, value in resource.items()}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    try:
        yield Traced(provider.get_tracer("tests"), kept)
    finally:
        provider.shutdown()


def tool_span(process: Traced, tool: str, *, at: str = "") -> ReadableSpan:
    """`execute_tool`, over at once; `at` is the address of its server."""
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    attributes |= {"server.address": at} if at else {}
    with process.tracer.start_as_current_span(f"execute_tool {tool}", attributes=attributes):
        pass
    return process.spans[-1]


def model_span(at: Traced, provider: str, model: str, **more: Any) -> ReadableSpan:
    """`chat`, over at once."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": model}
    with at.tracer.start_as_current_span(f"chat {model}", kind=SpanKind.CLIENT, attributes=attributes | more):
        pass
    return at.spans[-1]


async def delivered(
    url: str, key: str, spans: Sequence[ReadableSpan], *, compression: Compression = Compression.Gzip
) -> SpanExportResult:
    """Exported by the official client."""
    exporter = OTLPSpanExporter(
        f"{url}/otlp/v1/traces", headers={"authorization": f"Bearer {key}"}, compression=compression, timeout=10
    )
    try:
        return await asyncio.to_thread(exporter.export, spans)
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs


def message(*spans: Mapping[str, Any], **resource: str) -> ExportTraceServiceRequest:
    """A request with these spans: `attributes`, `kind`, `name`, `trace`, `id`, `parent`."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in resource.items():
        group.resource.attributes.add(key=key.replace("_", ".")).value.string_value = value
    scope = group.scope_spans.add()
    for number, given in enumerate(spans, start=1):
        span = scope.spans.add(
            name=given.get("name", "span"),
            kind=given.get("kind", 1),
            trace_id=given.get("trace", b"\x01" * 16),
            span_id=given.get("id", number.to_bytes(8, "big")),
            parent_span_id=given.get("parent", b""),
        )
        for key, value in given.get("attributes", {}).items():
            found = span.attributes.add(key=key).value
            if isinstance(value, str):
                found.string_value = value
            else:
                found.int_value = value
    return request
