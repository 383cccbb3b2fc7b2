"""`/metrics`, read as Prometheus reads it, beside calls of a running installation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from accredit.enforcement.model import Admitted, CallEnd
from accredit.kernel.codes import Code
from tests.enforcement.place import WORKER, Place, place
from tests.gateway.models import room
from tests.gateway.spans import message

_Sample = tuple[str, frozenset[tuple[str, str]]]


async def _scraped(at: Place, token: str | None, **headers: str) -> httpx2.Response:
    given = headers | ({"authorization": f"Bearer {token}"} if token else {})
    return await at.site.agents_http.get(f"{at.url}/metrics", headers=given)


async def _samples(at: Place) -> dict[_Sample, float]:
    answer = await _scraped(at, at.site.operator_token)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _of(name: str, **labels: str) -> _Sample:
    return name, frozenset(labels.items())


@pytest.mark.requirement("metrics:authenticated")
def test_metrics_are_for_whoever_holds_a_role(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            for token in (None, "guess", await at.token("worker")):
                answer = await _scraped(at, token)
                assert (answer.status_code, "accredit_calls" in answer.text) == (401, False)
            answer = await _scraped(at, at.site.operator_token, host="rebound.example.net")
            assert answer.status_code == 403
            await at.settled()
            assert {body["code"] for _, body in at.records("refused.authentication")} >= {"api_token_unknown"}
            open_metrics = await _scraped(
                at, at.site.operator_token, accept="application/openmetrics-text; version=1.0.0"
            )
            assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
            assert open_metrics.text.endswith("# EOF\n")

    asyncio.run(live())


@pytest.mark.requirement("metrics:calls", "metrics:state")
def test_calls_their_time_and_what_stands_open_are_measured(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            assert (await _samples(at))[_of("accredit_holds_open")] == 0
            token = await at.token("worker")
            assert (await at.call(token)).allowed
            (await at.call(token, "no-such-tool")).refused("tool_not_granted")
            (await at.call(token, "refund", {"cents": 5})).refused("held")
            admitted = await at.admit(await at.principal("worker"))
            assert isinstance(admitted, Admitted)
            await at.settled()
            found = await _samples(at)
            assert found[_of("accredit_calls_total", protocol="mcp", outcome="allow", code="allowed")] == 2
            assert found[_of("accredit_calls_total", protocol="mcp", outcome="deny", code="tool_not_granted")] == 1
            assert found[_of("accredit_calls_total", protocol="mcp", outcome="hold", code="held")] == 1
            assert found[_of("accredit_decision_seconds_count", protocol="mcp", outcome="allow")] == 2
            assert found[_of("accredit_audit_ack_seconds_count")] == 4
            assert found[_of("accredit_upstream_seconds_count", protocol="mcp", end="ok")] == 1
            assert found[_of("accredit_cost_usd_total", protocol="mcp")] == pytest.approx(0.05)
            assert found[_of("accredit_holds_open")] == 1
            assert found[_of("accredit_calls_in_flight")] == 1
            assert found[_of("accredit_budget_reserved_usd")] == pytest.approx(0.05)
            assert found[_of("accredit_audit_records_total")] >= len(at.records()) - 2
            assert found[_of("accredit_audit_healthy")] == 1
            assert found[_of("accredit_policy_release")] >= 1
            assert found[_of("accredit_agents", state="draft")] == 1
            at.settle(admitted, CallEnd.TIMEOUT, code=Code.CALL_TIMEOUT)
            key = (await at.operator.post("agents/worker/keys", {"days": 1}))["key"]
            given = {"authorization": f"Bearer {key}", "content-type": "application/x-protobuf"}
            use = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read"}
            body = message({"attributes": use}).SerializeToString()
            await at.site.agents_http.post(f"{at.url}/otlp/v1/traces", content=body, headers=given)
            found = await _samples(at)
            assert found[_of("accredit_upstream_seconds_count", protocol="mcp", end="timeout")] == 1
            assert found[_of("accredit_otlp_spans_received_total", result="recorded")] == 1

    asyncio.run(live())


@pytest.mark.requirement("metrics:calls")
def test_tokens_and_detections_are_counted_by_kind(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as there:
            body = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}
            answer = await there.post("openai/v1/chat/completions", body)
            assert answer.status_code == 200, answer.text
            await there.at.settled()
            used = answer.json()["usage"]
            found = await _samples(there.at)
            assert found[_of("accredit_llm_tokens_total", direction="input")] == used["prompt_tokens"]
            assert found[_of("accredit_llm_tokens_total", direction="output")] == used["completion_tokens"]
            at = there.at
            token = await at.token("writer")
            at.site.box.answer = _leaking
            await at.call(token)
            await at.settled()
            found = await _samples(at)
            assert any(name == "accredit_detections_total" for name, _ in found)

    asyncio.run(live())


async def _leaking(writer: asyncio.StreamWriter, seen: object) -> None:
    from tests.gateway.stage import Seen, http_json

    assert isinstance(seen, Seen)
    content = [{"type": "text", "text": "card 4111 1111 1111 1111, mail ann@example.com"}]
    result = {"resultType": "complete", "content": content}
    writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))


@pytest.mark.requirement("metrics:bounded")
def test_nothing_an_agent_or_its_traffic_chooses_becomes_a_label(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            token = await at.token("worker")
            for number in range(30):
                await at.call(token, f"zq-tool-{number}")
            answer = await _scraped(at, at.site.operator_token)
            assert "zq-tool" not in answer.text
            allowed = {"protocol", "outcome", "code", "le", "end", "kind", "direction", "severity", "state", "result"}
            labels = {
                label
                for family in text_string_to_metric_families(answer.text)
                for sample in family.samples
                for label in sample.labels
            }
            assert labels <= allowed
            agent = (await at.operator.get("agents/worker"))["id"]
            for word in (agent, "worker", "crm", "127.0.0.1"):
                assert word not in answer.text

    asyncio.run(live())
