# ruff: noqa: E501, PT018 - a row of an export is one line; what is there is looked at in one go
"""Providers' exports of use, read."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.errors import InvalidInputError
from accredit.lifecycle.discovery.usage import usage_traces

_OPENAI = {
    "object": "page",
    "data": [
        {
            "start_time": 1_795_392_000,
            "results": [
                {"api_key_id": "key_a", "project_id": "proj_1", "model": "gpt-5", "num_model_requests": 3, "input_tokens": 10, "output_tokens": 2},
                {"api_key_id": "key_b", "project_id": "proj_1", "model": "gpt-5", "num_model_requests": 1, "input_tokens": 1, "output_tokens": 1},
            ],
        },
        {"start_time": 1_795_478_400, "results": [{"api_key_id": "key_a", "project_id": "proj_1", "num_model_requests": 2, "input_tokens": 5, "output_tokens": 0}]},
    ],
}  # fmt: skip
_OPENAI_COST = {
    "data": [
        {
            "start_time": 1_795_392_000,
            "results": [{"api_key_id": "key_a", "project_id": "p", "amount": {"value": 0.06, "currency": "usd"}}],
        }
    ]
}
_ANTHROPIC = {
    "data": [
        {
            "starting_at": "2026-11-23T00:00:00Z",
            "results": [
                {
                    "api_key_id": "apikey_1",
                    "workspace_id": "wrk_1",
                    "model": "claude-sonnet-5",
                    "uncached_input_tokens": 7,
                    "output_tokens": 3,
                }
            ],
        }
    ]
}
_CSVS = {
    "anthropic": "usage_date_utc,model_version,api_key,workspace,usage_input_tokens_no_cache,usage_output_tokens\n2026-11-23,claude,clerk,main,5,6\n",
    "openai": "start_time_iso,project_name,api_key_id,api_key_name,model,num_model_requests,input_tokens,output_tokens\n2026-11-23T00:00:00,main,key_1,clerk,gpt-5,2,5,6\n",
    "azure-openai": "Date,ResourceId,ResourceName,ResourceGroupName,MeterCategory,MeterName,CostInUsd\n11/23/2026,/subscriptions/1/x,clerk,rg,Cognitive Services,gpt-5 tokens,1.25\n11/23/2026,/y,vm,rg,Virtual Machines,D2,9\n",
    "bedrock": "lineItem/ProductCode,lineItem/UsageAccountId,lineItem/UsageStartDate,lineItem/UnblendedCost,line_item_iam_principal\nAmazonBedrock,1234,2026-11-23T00:00:00Z,1.25,clerk\nAmazonS3,1234,2026-11-23T00:00:00Z,7,other\n",
    "vertex": "service.description,project.id,usage_start_time,cost,sku.description\nVertex AI,clerk,2026-11-23T00:00:00Z,1.25,Gemini\nBigQuery,other,2026-11-23,2,x\n",
}  # fmt: skip


@pytest.mark.requirement("discovery:usage")
def test_pages_of_the_usage_api_are_added_up_by_key() -> None:
    first, second = usage_traces("u.json", json.dumps(_OPENAI).encode())
    assert (first.format, first.name, first.models) == ("openai-usage", "key_a", ("gpt-5",))
    assert first.use is not None and second.use is not None
    assert (first.use.requests, first.use.input_tokens, first.use.output_tokens) == (5, 15, 2)
    assert (first.use.first, first.use.last, second.use.requests) == ("2026-11-23", "2026-11-24", 1)


@pytest.mark.requirement("discovery:usage")
def test_cost_is_counted_in_billionths_and_rounded_up() -> None:
    (one,) = usage_traces("c.json", json.dumps(_OPENAI_COST).encode())
    assert one.use is not None and one.use.cost_nanos == 60_000_000
    (claude,) = usage_traces("a.json", json.dumps(_ANTHROPIC).encode())
    assert claude.use is not None
    assert (claude.providers, claude.use.key, claude.use.input_tokens) == (("anthropic",), "apikey_1", 7)


@pytest.mark.requirement("discovery:usage")
@pytest.mark.parametrize("provider", sorted(_CSVS))
def test_a_csv_of_each_provider_gives_the_key_and_nothing_of_other_services(provider: str) -> None:
    (one,) = usage_traces("u.csv", _CSVS[provider].encode())
    assert one.use is not None
    assert (one.format, one.name, one.use.first) == (f"{provider}-usage", "clerk", "2026-11-23")
    assert one.use.input_tokens == 5 or one.use.cost_nanos == 1_250_000_000


@pytest.mark.requirement("discovery:usage")
@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "{}", "[1, 2]", '{"data": []}', '"x"', "\x00"])
def test_what_is_no_export_is_refused_and_not_read_as_no_use(text: str) -> None:
    with pytest.raises(InvalidInputError):
        usage_traces("x", text.encode())


@pytest.mark.requirement("discovery:usage")
@given(
    st.dictionaries(
        st.sampled_from(["api_key_id", "project_id", "cost", "start_time", "input_tokens"]),
        st.text() | st.floats() | st.integers() | st.none(),
    )
)
def test_no_value_in_a_row_makes_reading_fail(row: dict[str, object]) -> None:
    with contextlib.suppress(InvalidInputError):
        for one in usage_traces("x", json.dumps([{**row, "num_model_requests": 1}]).encode()):
            assert one.use is not None and one.use.cost_nanos >= 0 and one.use.requests == 1
