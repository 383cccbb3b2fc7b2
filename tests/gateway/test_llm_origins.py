"""What users ask models for is where arguments come from, and results that come back name the answer that asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.enforcement.place import GUARDRAILS
from tests.gateway.models import chat, room, writer
from tests.policies import with_cases

RULE = """
forbid (principal, action == Action::"crm/read", resource)
unless { context has origin && context.origin has customer_id && context.origin.customer_id == "user_declared" };
"""
CHAT: dict[str, Any] = {"model": "gpt-x", "max_tokens": 50}


def _asking(text: str) -> dict[str, Any]:
    return {**CHAT, "messages": [{"role": "user", "content": text}]}


@pytest.mark.requirement("llm:origins")
def test_what_a_user_asked_a_model_for_is_declared_for_that_credential_alone(tmp_path: Path) -> None:
    other = writer()
    other["metadata"]["name"] = "other"

    async def live() -> None:
        async with room(tmp_path / "data", writer(), other) as at:
            await at.at.operator.post("policy/publish", {"files": with_cases({**GUARDRAILS, "org/read.cedar": RULE})})
            mine, others = [
                await at.at.site.identities[name].access_token(f"{at.at.url}/mcp/crm") for name in ("writer", "other")
            ]
            given = {"customer_id": "US13 3000-0012"}
            (await at.at.call(mine, "read", given)).refused("forbidden_by_policy")
            await at.post("openai/v1/chat/completions", _asking("Who is us1330000012, or c-1?"))
            assert (await at.at.call(mine, "read", given)).allowed
            (await at.at.call(mine, "read", {"customer_id": "c-1"})).refused(
                "forbidden_by_policy"
            )  # too short to match
            (await at.at.call(mine, "read", {"customer_id": "US133000"})).refused(
                "forbidden_by_policy"
            )  # no whole word
            (await at.at.call(others, "read", given)).refused("forbidden_by_policy")
            # neither what was refused nor what another agent asked counts
            await at.post("openai/v1/chat/completions", {**_asking("Who is DE55667788?"), "model": "gpt-dear"})
            (await at.at.call(mine, "read", {"customer_id": "DE55667788"})).refused("forbidden_by_policy")
            await at.post("openai/v1/chat/completions", _asking("Who is DE99887766?"), await at.key("other"))
            (await at.at.call(mine, "read", {"customer_id": "DE99887766"})).refused("forbidden_by_policy")

    asyncio.run(live())


@pytest.mark.requirement("llm:joined")
def test_a_request_that_brings_the_result_of_a_call_names_the_answer_that_asked_for_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(
            tmp_path / "data", writer(), {**writer(), "metadata": {**writer()["metadata"], "name": "other"}}
        ) as at:
            call = {"id": "call_77", "type": "function", "function": {"name": "sing", "arguments": "not json"}}
            said = {"role": "assistant", "content": None, "tool_calls": [call]}
            at.provider.answer = {**chat(""), "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}]}
            first = await at.post("openai/v1/chat/completions", _asking("Sing"))
            back = _asking("Sing")
            back["messages"] += [said, {"role": "tool", "tool_call_id": "call_77", "content": "la la"}]
            for name in ("writer", "other"):
                await at.post("openai/v1/chat/completions", back, await at.key(name))
            await at.at.settled()
            reasons = [body["reason"] for _, body in at.at.records("decision")]
            assert reasons == [None, first.headers["accredit-decision"], None]

    asyncio.run(live())
