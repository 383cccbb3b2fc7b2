"""Headers that repeat the body: the SDK's own codec is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared import inbound

from accredit.gateway.jsonrpc import RpcError, RpcMessage, RpcNumber
from accredit.gateway.routing import (
    check_parameters,
    decode_value,
    encode_value,
    parameter_headers,
    rendered_parameters,
)

_SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "x-mcp-header": "Limit"},
        "nested": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry-Run"}}},
        "free": {"type": "string"},
    },
}
_PLAN = parameter_headers(_SCHEMA)
_ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.text(max_size=12) | st.none(),
        "limit": st.integers(-(2**53), 2**53) | st.none(),
        "nested": st.fixed_dictionaries({}, optional={"dry": st.booleans()}),
        "free": st.text(max_size=4),
    },
)


@given(st.text(max_size=30) | st.sampled_from(["=?base64?literal?=", " padded ", "", "a\nb", "=?base64?=", "é"]))
def test_a_header_value_survives_the_journey_and_equals_the_sdks(text: str) -> None:
    encoded = encode_value(text)
    assert encoded == inbound.encode_header_value(text)
    assert encoded.isascii()
    assert "\n" not in encoded
    assert decode_value(encoded) == text


@pytest.mark.parametrize("value", ["=?base64?####?=", "=?base64?QR==?=", "=?base64?/w==?=", "é", "a\tb", "a\x7f"])
def test_a_header_value_nobody_could_have_encoded_decodes_to_nothing(value: str) -> None:
    assert decode_value(value) is None


@given(_ARGUMENTS)
@pytest.mark.requirement("gateway:routing:parameters")
def test_parameter_headers_are_recomputed_as_the_sdk_would_and_accepted_as_such(arguments: dict[str, Any]) -> None:
    rendered = rendered_parameters(_PLAN, arguments)
    assert rendered == inbound.mcp_param_headers(inbound.x_mcp_header_map(_SCHEMA), arguments)
    head = {name.lower(): value for name, value in rendered.items()}
    check_parameters(_PLAN, head, RpcMessage(1, "tools/call", {}), arguments)


@given(
    _ARGUMENTS,
    st.dictionaries(
        st.sampled_from(["Region", "Limit", "Dry-Run"]),
        st.sampled_from(["eu", "1", "true", "=?base64?ZXU=?=", "01.0", "1e0"]),
    ),
)
@pytest.mark.requirement("gateway:routing:parameters")
def test_parameter_headers_that_the_sdk_refuses_are_refused(arguments: dict[str, Any], sent: dict[str, str]) -> None:
    head = {f"mcp-param-{name.lower()}": value for name, value in sent.items()}
    oracle = inbound.validate_mcp_param_headers(_SCHEMA, arguments, head)
    if oracle is None:
        check_parameters(_PLAN, head, RpcMessage(1, "tools/call", {}), arguments)
        return
    with pytest.raises(RpcError) as caught:
        check_parameters(_PLAN, head, RpcMessage(1, "tools/call", {}), arguments)
    assert caught.value.number == RpcNumber.HEADER == oracle.code


def test_integers_compare_as_numbers() -> None:
    plan = parameter_headers({"properties": {"limit": {"type": "integer", "x-mcp-header": "Limit"}}})
    check_parameters(plan, {"mcp-param-limit": "42.0"}, RpcMessage(1, "tools/call", {}), {"limit": 42})
    assert rendered_parameters(plan, {"limit": 42.0}) == {"Mcp-Param-Limit": "42"}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": ""}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A B"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A\r\nX: y"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}},
        {"properties": {"a": {"type": ["string"], "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": 5}}},
    ],
)
def test_a_broken_annotation_mirrors_nothing(schema: Any) -> None:
    assert inbound.find_invalid_x_mcp_header(schema) is not None
    assert parameter_headers(schema) == ()
