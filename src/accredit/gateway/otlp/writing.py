"""Calls that are over as spans of the semantic conventions: one of the call, within it one of the decision. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from accredit.enforcement.model import CallEnd
from accredit.enforcement.tracing import FinishedCall
from accredit.gateway.otlp import names
from accredit.kernel.canonical import digest
from accredit.policy.model import Outcome

__all__ = ["export_request"]

_SERVER, _INTERNAL = 2, 1
_ERROR: Final = 2
_VERDICTS: Final = {Outcome.ALLOW: "allow", Outcome.DENY: "deny", Outcome.HOLD: "escalate"}


def export_request(calls: Iterable[FinishedCall], *, version: str) -> bytes:
    """An `ExportTraceServiceRequest` with the spans of these calls."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    _put(group.resource.attributes, {names.SERVICE_NAME: "accredit", "service.version": version})
    scope = group.scope_spans.add()
    scope.scope.name = "accredit"
    for call in calls:
        _call(scope.spans.add(), call)
        _decision(scope.spans.add(), call)
    return bytes(request.SerializeToString())


def _call(span: Any, call: FinishedCall) -> None:
    span.trace_id, span.span_id, span.kind = call.span.trace_id, call.span.span_id, _SERVER
    if call.span.parent_id:
        span.parent_span_id = call.span.parent_id
    _time(span, call.started_us, call.duration_us)
    protocol, _, shape = call.protocol.partition("/")
    tool = call.tool.name if call.tool is not None else ""
    attributes: dict[str, str | int] = {names.DECISION_ID: call.decision_id}
    if call.agent is not None:
        attributes |= {names.AGENT_ID: call.agent.id, names.AGENT_NAME: call.agent.name}
    if protocol == "llm":
        operation = shape if shape in names.MODEL_OPERATIONS else "chat"
        attributes[names.OPERATION] = operation
        if call.tool is not None:
            attributes |= {names.PROVIDER: call.tool.server, names.REQUEST_MODEL: tool}
        if call.tokens is not None:
            attributes |= {names.INPUT_TOKENS: call.tokens[0], names.OUTPUT_TOKENS: call.tokens[1]}
    else:
        operation = names.TOOLS_CALL if protocol == "mcp" else names.EXECUTE_TOOL
        attributes[names.OPERATION] = names.EXECUTE_TOOL
        if protocol == "mcp":
            attributes |= {names.MCP_METHOD: names.TOOLS_CALL, names.MCP_VERSION: shape}
        if tool:
            attributes[names.TOOL_NAME] = tool
    if (error := _error(call)) is not None:
        attributes[names.ERROR_TYPE] = error
        span.status.code = _ERROR
    span.name = f"{operation} {tool}".strip()
    _put(span.attributes, attributes)


def _error(call: FinishedCall) -> str | None:
    if call.outcome is not Outcome.ALLOW:
        return str(call.code)
    return None if call.end is CallEnd.OK or call.end is None else str(call.end)


def _decision(span: Any, call: FinishedCall) -> None:
    """As a guardrail that ran within the call: what it found, and what was done about it."""
    span.trace_id, span.parent_span_id, span.kind = call.span.trace_id, call.span.span_id, _INTERNAL
    named = digest("decision-span", call.span.trace_id + call.span.span_id)
    span.span_id = bytes.fromhex(named.removeprefix("sha256:"))[:8]
    span.name = f"{names.RUN_GUARDRAIL} accredit"
    _time(span, call.started_us, call.decided_us)
    attributes: dict[str, str | int] = {
        names.OPERATION: names.RUN_GUARDRAIL,
        names.GUARDRAIL_NAME: "accredit",
        names.VERDICT: _VERDICTS[call.outcome],
        names.VERDICT_REASON: call.code.value if call.outcome is not Outcome.ALLOW else "allowed",
        names.ACTION: "allow" if call.outcome is Outcome.ALLOW else "block",
    }
    if call.outcome is not Outcome.ALLOW and call.policies:
        attributes[names.POLICY_RULE] = call.policies[0]
    _put(span.attributes, attributes)


def _time(span: Any, started_us: int, duration_us: int) -> None:
    span.start_time_unix_nano = started_us * 1_000
    span.end_time_unix_nano = (started_us + duration_us) * 1_000


def _put(into: Any, attributes: dict[str, str | int]) -> None:
    for key, value in attributes.items():
        if isinstance(value, int):
            into.add(key=key).value.int_value = value
        else:
            into.add(key=key).value.string_value = value
