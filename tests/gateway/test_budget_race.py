"""One budget, raced by a hundred calls at once of every protocol and shape, some of whose callers leave."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from accredit.serving import bound, served
from tests.enforcement.place import agent
from tests.gateway.models import Room, room
from tests.gateway.shop import server
from tests.gateway.stage import modern

BUDGET_NANOS = 400_000_000
ASKED: dict[str, Any] = {"model": "gpt-x", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 1000}
CLAUDE: dict[str, Any] = {**ASKED, "model": "claude-x"}
RESPONSE: dict[str, Any] = {"model": "gpt-x", "input": "Say hello", "max_output_tokens": 1000, "store": False}
# by protocol, as records call it; each reserves between one and six hundredths of a dollar
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("openai/v1/chat/completions", ASKED),
    ("openai/v1/chat/completions", {**ASKED, "stream": True}),
    ("openai/v1/responses", RESPONSE),
    ("openai/v1/responses", {**RESPONSE, "stream": True}),
    ("openai/v1/embeddings", {"model": "embed-x", "input": "x" * 10_000}),
    ("anthropic/v1/messages", CLAUDE),
    ("anthropic/v1/messages", {**CLAUDE, "stream": True}),
]
PROTOCOLS = {"mcp/2026-07-28", "http/1.1", "llm/chat", "llm/responses", "llm/embeddings", "llm/messages"}


def _api() -> FastAPI:
    api = FastAPI()

    @api.get("/customers/{customer_id}", operation_id="get_customer", summary="One customer.")
    async def get_customer(customer_id: str) -> dict[str, str]:
        return {"customer_id": customer_id}

    return api


def _racer() -> dict[str, Any]:
    models = [("gpt", "gpt-x"), ("gpt", "embed-x"), ("claude", "claude-x")]
    return agent(
        "writer",
        [{"allow": ["read"]}],
        models=[{"provider": provider, "model": model} for provider, model in models],
        limits={"calls": {"perMinute": 6000}, "concurrency": 200, "cost": {"perDay": "0.4 USD"}},
    )


async def _race(at: Room, url: str) -> list[int | None]:
    identity = at.at.site.identities["writer"]
    key = await at.key()
    tool, api = (
        await identity.access_token(f"{at.at.url}/mcp/crm"),
        await identity.access_token(f"{at.at.url}/http/shop"),
    )

    async def ask(number: int) -> int | None:
        kind = number % (len(MODELS) + 2)
        if kind < len(MODELS):
            return int((await at.post(*MODELS[kind], key)).status_code)
        if kind == len(MODELS):
            body, headers = modern(params={"name": "read", "arguments": {"customer_id": "c-1"}})
            answer = await at.at.post(tool, body, headers | {"mcp-name": "read"}, server="crm")
            return 429 if b'"isError":true' in answer.content else int(answer.status_code)
        given = {"authorization": f"Bearer {api}"}
        return int((await at.at.site.agents_http.get(f"{url}/http/shop/customers/c-1", headers=given)).status_code)

    async def hasty(number: int) -> int | None:
        try:
            async with asyncio.timeout(0.02 if number % 5 == 4 else 30):  # some do not wait for the answer
                return await ask(number)
        except TimeoutError:
            return None

    return await asyncio.gather(*map(hasty, range(100)))


@pytest.mark.requirement("llm:race")
def test_a_budget_raced_by_a_hundred_calls_of_every_protocol_and_shape_is_never_overspent(tmp_path: Path) -> None:
    async def live() -> None:
        facts = {"get_customer": {"effect": "read", "data": ["internal"], "price": "0.05 USD"}}
        async with served(_api(), bound("127.0.0.1", 0)) as shop, room(tmp_path / "data", _racer()) as at:
            await at.at.operator.put(
                "upstream-credentials/shop-key", {"origin": shop, "header": "X-Key", "value": "key-of-the-shop"}
            )
            granted = _racer()
            granted["spec"]["tools"].append({"server": "shop", "allow": ["get_customer"]})
            await at.at.apply(server(shop, facts), granted)
            codes = await _race(at, at.at.url)
            assert {200, 429} <= set(codes) <= {200, 429, None}
            async with asyncio.timeout(10):
                while (await at.at.limits("writer"))["in_flight"]:
                    await asyncio.sleep(0.05)
            outcomes = {one["decision_id"]: one for one in await at.outcomes()}
            decisions = [(head, body) for head, body in at.at.records("decision")]
            allowed = {body["decision_id"]: body for head, body in decisions if head["decision"] == "allow"}
            assert outcomes.keys() == allowed.keys()  # each that was let through was settled, once
            assert 0 < sum(one["settled"]["cost"] for one in outcomes.values()) <= BUDGET_NANOS
            assert {body["protocol"] for _, body in decisions} == PROTOCOLS
            # at no moment was more promised than there is: as the log has it, in order
            left, open_now = BUDGET_NANOS, Counter[str]()
            for head, body in at.at.records():
                if head["kind"] == "decision" and body["decision_id"] in allowed:
                    open_now[body["decision_id"]] = body["reservation"]["cost"]
                elif head["kind"] == "outcome":
                    del open_now[body["decision_id"]]
                    left -= body["settled"]["cost"]
                assert open_now.total() <= left
            refused = {body["code"] for head, body in decisions if head["decision"] == "deny"}
            assert refused == {"budget_exhausted"}

    asyncio.run(live())
