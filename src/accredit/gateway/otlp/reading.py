"""Which spans tell that an agent used a tool or a model, or that an agent was at work. Pure.

    span                                               tells of
    gen_ai.operation.name = execute_tool               a tool, by gen_ai.tool.name
    mcp.method.name = tools/call, not kind SERVER      a tool, by gen_ai.tool.name
    gen_ai.operation.name = chat, embeddings, …        a model, by gen_ai.request.model, else gen_ai.response.model
    gen_ai.operation.name = invoke_agent, not CLIENT   an agent at work
    kind SERVER                                        nothing: whoever serves does not say who called
    invoke_agent, create_agent of kind CLIENT          nothing: the agent named is the one that is called

Every span says by its parent where it stands, whatever it tells of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from accredit.enforcement.reported import Report, Said, SpanRef, UseKind
from accredit.gateway.otlp import names
from accredit.gateway.otlp.decoding import PlainSpan, Scalar

__all__ = ["read_report"]

_SERVER: Final = 2
_CLIENT: Final = 3
_MOST_TOKENS: Final = 2**32


def read_report(spans: Iterable[PlainSpan], *, invalid: int = 0) -> Report:
    """What these spans say, in their order; `invalid` is how many beside them could not be read."""
    said: list[Said] = []
    parents: dict[SpanRef, SpanRef] = {}
    for span in spans:
        place = (span.trace_id, span.span_id)
        if span.parent_id:
            parents[place] = (span.trace_id, span.parent_id)
        if (found := _said(span, place)) is not None:
            said.append(found)
    return Report(tuple(said), parents, invalid)


def _said(span: PlainSpan, place: SpanRef) -> Said | None:
    attributes = {names.FORMER.get(key, key): value for key, value in span.attributes.items() if key in names.FORMER}
    attributes |= span.attributes

    def text(key: str) -> str:
        value: Scalar | None = attributes.get(key)
        return value if isinstance(value, str) else ""

    operation, method = text(names.OPERATION), text(names.MCP_METHOD)
    used, name = UseKind.NOTHING, ""
    if span.kind == _SERVER:
        return None
    if method == names.TOOLS_CALL or operation == names.EXECUTE_TOOL:
        # where the attribute is missing the span's own name has it: `tools/call NAME`, `execute_tool NAME`
        used, name = UseKind.TOOL, text(names.TOOL_NAME) or span.name.partition(" ")[2]
    elif operation in names.MODEL_OPERATIONS:
        used, name = UseKind.MODEL, text(names.REQUEST_MODEL) or text(names.RESPONSE_MODEL)
    elif operation not in names.INVOKE_AGENT or span.kind == _CLIENT:
        return None
    service = span.resource.get(names.SERVICE_NAME)
    return Said(
        place=place,
        used=used,
        name=name,
        provider=text(names.PROVIDER),
        server_address=text(names.SERVER_ADDRESS),
        agent_id=text(names.AGENT_ID) or _of(span, names.AGENT_ID),
        agent_name=text(names.AGENT_NAME) or _of(span, names.AGENT_NAME),
        service_name=service if isinstance(service, str) else "",
        decision=text(names.DECISION_ID),
        failed=span.failed or names.ERROR_TYPE in attributes,
        input_tokens=_tokens(attributes.get(names.INPUT_TOKENS)),
        output_tokens=_tokens(attributes.get(names.OUTPUT_TOKENS)),
    )


def _of(span: PlainSpan, key: str) -> str:
    value = span.resource.get(key)
    return value if isinstance(value, str) else ""


def _tokens(value: Scalar | None) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else 0
