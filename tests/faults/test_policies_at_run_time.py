"""A forbid that was sound when it was published and errors on one call denies that call, by its own code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.enforcement.place import GUARDRAILS, agent, site, tool
from tests.policies import with_cases


@pytest.mark.requirement("faults:policies:runtime")
def test_a_forbid_that_overflows_on_a_call_denies_it_and_says_which(tmp_path: Path) -> None:
    text = 'forbid (principal, action == Action::"crm/add", resource) when { context.input.n * context.input.n == 49 };'
    facts = {"add": {"effect": "read", "data": ["internal"], "price": "0 USD"}}

    async def live() -> None:
        async with site(tmp_path / "data") as empty, empty.started() as at:
            empty.box.tools = [tool("add", n={"type": "integer"})]
            await at.sign_in()
            await at.operator.put("upstream-credentials/crm-key", {
                "origin": empty.raw.url.removesuffix("/mcp"), "header": "Authorization",
                "value": "0123456789abcdef-brokered"})  # fmt: skip
            await at.apply(*empty.people(), empty.crm(facts), agent("adder", [{"allow": ["add"]}]))
            await at.operator.post("policy/publish", {"files": with_cases({**GUARDRAILS, "org/squares.cedar": text})})
            await at.enrol("adder")
            token = await at.token("adder")
            assert (await at.call(token, "add", {"n": 6})).allowed
            told = (await at.call(token, "add", {"n": 7})).refused("forbidden_by_policy")
            assert "org/squares.cedar" in str(told["policy"])
            told = (await at.call(token, "add", {"n": 2**52})).refused("policy_error")
            assert "org/squares.cedar" in str(told)
            _, body = at.records("decision")[-1]
            assert any("org/squares.cedar" in policy for policy in body["faults"])
            assert [one["arguments"] for one in empty.box.calls] == [{"n": 6}]

    asyncio.run(live())
