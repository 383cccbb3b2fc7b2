"""What an agent's client answers to a tool server is decided on, recorded and held as part of the call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.model import Admitted, CallEnd, Refused
from accredit.kernel.codes import Code
from tests.enforcement.place import WORKER, Place, place
from tests.gateway.stage import http_json, modern, tool_result
from tests.policies import with_cases

_POLICIES = {
    "org/answers.cedar": """
@hold("security")
forbid (principal, action, resource)
when { context has declared && context.declared has answers && context.declared.answers has who &&
       context.declared.answers.who has content && context.declared.answers.who.content has amount &&
       context.declared.answers.who.content.amount > 100 };
"""
}


def _answers(amount: int) -> dict[str, Any]:
    return {"who": {"action": "accept", "content": {"amount": amount}}}


@pytest.mark.requirement("gateway:elicitation:decided")
def test_policies_find_the_answers_among_the_agents_own_claims_and_a_grant_is_for_those_alone(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            await at.operator.post("policy/publish", {"files": with_cases(_POLICIES)})
            who = await at.principal("worker")
            few = await at.admit(who, "read", answers=_answers(7))
            assert isinstance(few, Admitted)
            at.settle(few, CallEnd.INPUT_REQUIRED)
            many = await at.admit(who, "read", answers=_answers(700))
            more = await at.admit(who, "read", answers=_answers(800))
            assert isinstance(many, Refused)
            assert isinstance(more, Refused)
            assert (many.code, more.code) == (Code.HELD, Code.HELD)
            assert many.hold != more.hold
            shown = await at.operator.get(f"holds/{many.hold}")
            assert "700" in shown["view"]
            await at.settled()
            assert at.records("outcome")[-1][1]["end"] == "input_required"
            forged = await at.admit(who, "read", answers=_answers(7), declared={"answers": "none"})
            assert isinstance(forged, Admitted)
            at.settle(forged)

    asyncio.run(live())


async def _told(at: Place, token: str, **params: Any) -> Any:
    body, headers = modern(
        params={"name": "read", "arguments": {}, **params}, capabilities={"elicitation": {"form": {}}}
    )
    return (await at.post(token, body, headers)).json()["result"]


@pytest.mark.requirement("gateway:elicitation:opt-in")
def test_a_server_registered_to_ask_asks_and_one_that_is_not_any_more_does_not(tmp_path: Path) -> None:
    async def ask(writer: Any, seen: Any) -> None:
        params = seen.message["params"]
        question = {
            "method": "elicitation/create",
            "params": {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}},
        }
        asked = {"resultType": "input_required", "inputRequests": {"who": question}, "requestState": "s"}
        result = tool_result("done") if "inputResponses" in params else asked
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            at.site.box.answer = ask
            token = await at.token("worker")
            assert (await _told(at, token))["structuredContent"]["code"] == "upstream_invalid"
            server = at.site.crm()
            server["spec"]["elicitation"] = ["form"]
            await at.apply(server)
            told = await _told(at, token)
            assert told["inputRequests"]["who"]["params"]["message"] == "crm asks: Who?"
            done = await _told(
                at, token, requestState=told["requestState"], inputResponses={"who": {"action": "accept"}}
            )
            assert done["content"][0]["text"] == "done"
            server["spec"]["openapi"] = "/openapi.json"
            assert "elicitation" in (await at.refused_apply(server))["detail"]
            del server["spec"]["openapi"]
            server["spec"]["revision"] = "2025-03-26"
            assert "has no questions to users" in (await at.refused_apply(server))["detail"]
            await at.apply(at.site.crm())
            assert (await _told(at, token))["structuredContent"]["code"] == "upstream_invalid"

    asyncio.run(live())
