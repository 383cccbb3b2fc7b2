"""Telemetry of agents, sent by the official exporters to a running installation."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind

from accredit.audit.records import PartKeys, open_part, part_values
from accredit.enforcement.model import Admitted
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from tests.enforcement.place import WORKER, Place, agent, document, place, raw_bytes
from tests.gateway.models import room
from tests.gateway.spans import delivered, message, model_span, tool_span, traced

PROTOBUF = "application/x-protobuf"
OTHER = agent("other", [{"allow": ["read"]}])
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read"}


async def _key(at: Place, name: str = "worker") -> str:
    return str((await at.operator.post(f"agents/{name}/keys", {"days": 1}))["key"])


async def _collector(at: Place, **spec: Any) -> str:
    given = {"reports": "development"} | spec
    await at.apply(document("EnforcementPoint", {"name": "collector"}, given))
    return str((await at.operator.post("enforcement-points/collector/keys", {}))["secret"])


async def _send(
    at: Place, key: str | None, content: bytes, kind: str = PROTOBUF, path: str = "/otlp/v1/traces", **headers: str
) -> httpx2.Response:
    given = {"content-type": kind} | ({"authorization": f"Bearer {key}"} if key else {})
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await at.site.agents_http.post(f"{at.url}{path}", content=content, headers=given)


def _rejected(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.status_code == 200, answer.content
    assert answer.headers["content-type"] == PROTOBUF
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    return partial.rejected_spans, partial.error_message


def _reported(at: Place) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return at.records("reported")


def _said(at: Place, header: Mapping[str, Any]) -> Mapping[str, Any]:
    plane = at.running.plane
    record = next(plane.records.records(header["seq"], header["seq"] + 1))
    assert isinstance(plane.part_keys, PartKeys)
    return part_values(open_part(record, "request", plane.part_keys))


async def _alerts(at: Place) -> dict[tuple[str, str | None, str], Mapping[str, Any]]:
    await at.running.plane.room.monitor.round()
    found = (await at.operator.get("alerts"))["items"]
    return {(one["kind"], one["agent_name"], one["matter"]): one for one in found}


@pytest.mark.requirement("otlp:clients")
@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_official_exporter_delivers_and_uses_are_on_record(tmp_path: Path, compression: Compression) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            with traced(service_name="worker") as process:
                tool_span(process, "read")
                tool_span(process, "read")
                with process.tracer.start_as_current_span("POST", kind=SpanKind.CLIENT):
                    pass  # of no use
            sent = await delivered(at.url, await _key(at), process.spans, compression=compression)
            assert sent is SpanExportResult.SUCCESS
            ((header, body),) = _reported(at)
            assert (header["tool"], header["decision"], header["action"]) == ("crm/read", None, None)
            assert (body["count"], body["granted"], body["used"], body["point"]) == (2, True, "tool", None)
            assert header["agent"] == (await at.operator.get("agents/worker"))["id"]

    asyncio.run(live())


@pytest.mark.requirement("otlp:clients", "otlp:parsers", "otlp:answers")
def test_json_is_taken_as_the_specification_spells_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            key = await _key(at)
            body = MessageToDict(message({"attributes": TOOL}), use_integers_for_enums=True)
            (span,) = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
            span |= {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "EEE19B7EC3C1B174", "unknownField": [1]}
            span["attributes"].append({"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}})
            answer = await _send(at, key, json.dumps(body).encode(), "application/json; charset=utf-8")
            assert (answer.status_code, answer.json()) == (200, {})
            ((header, _),) = _reported(at)
            said = _said(at, header)
            assert said["spans"] == ["5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174"]
            assert said["input_tokens"] == 7
            span["traceId"] = "00" * 16  # no valid one
            answer = await _send(at, key, json.dumps(body).encode(), "application/json")
            assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"

    asyncio.run(live())


@pytest.mark.requirement("otlp:answers", "otlp:identity", "otlp:bounds")
def test_what_cannot_be_taken_is_refused_in_the_senders_encoding(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            key = await _key(at)
            fine = message({"attributes": TOOL}).SerializeToString()

            async def refused(status: int, content: bytes, key: str | None = key, **more: Any) -> str:
                answer = await _send(at, key, content, **more)
                assert answer.status_code == status, answer.content
                assert answer.headers["content-type"] == PROTOBUF
                assert answer.content[:1] == b"\x12"  # a google.rpc.Status with its message
                if status in {401, 413, 400, 415, 404}:
                    assert "retry-after" not in answer.headers
                return answer.content[2:].decode("utf-8", "replace")

            await refused(401, fine, None)
            await refused(401, fine, "not-a-token")
            await refused(415, fine, kind="text/plain")
            await refused(404, fine, path="/otlp/v1/metrics")
            await refused(400, b"\xff" * 20)
            await refused(400, fine, content_encoding="zstd")
            await refused(400, b"no gzip", content_encoding="gzip")
            await refused(400, gzip.compress(fine)[:-4], content_encoding="gzip")
            assert "decompressed" in await refused(413, gzip.compress(bytes(64 * 2**20)), content_encoding="gzip")
            await refused(413, bytes(4 * 2**20 + 1))
            await refused(413, b"\x0a\x00" * 1_000_000)  # two bytes each: few as bytes, many as objects
            refusal = await _send(at, key, b"[]", "application/json")
            assert (refusal.status_code, set(refusal.json())) == (400, {"message"})
            assert _reported(at) == []
            assert (await _send(at, key, gzip.compress(fine), content_encoding="gzip")).status_code == 200

    asyncio.run(live())


@pytest.mark.requirement("otlp:answers", "otlp:durable")
def test_who_cannot_be_served_now_is_told_when_to_try_again(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, attempts_per_minute=10) as at:
            key, fine = await _key(at), message({"attributes": TOOL}).SerializeToString()

            async def broken(entry: Any) -> None:
                raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the log takes nothing")

            at.ports["audit"].instead["append"] = broken
            answer = await _send(at, key, fine)
            assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (503, True)
            del at.ports["audit"].instead["append"]
            # what is sent again after that is counted, once
            assert _rejected(await _send(at, key, fine)) == (0, "")
            assert _rejected(await _send(at, key, fine)) == (0, "")
            assert [body["count"] for _, body in _reported(at)] == [1]
            answers = [await _send(at, key, fine) for _ in range(30)]
            limited = [one for one in answers if one.status_code == 429]
            assert limited
            assert all(int(one.headers["retry-after"]) >= 1 for one in limited)

    asyncio.run(live())


@pytest.mark.requirement("otlp:identity")
def test_spans_that_claim_another_agents_identity_are_refused_and_noted(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, OTHER) as at:
            key = await _key(at)
            other = (await at.operator.get("agents/other"))["id"]
            for claim in ({"gen_ai.agent.id": other}, {"gen_ai.agent.name": "other"},
                          {"gen_ai.agent.name": "development/other"}):  # fmt: skip
                rejected, why = _rejected(
                    await _send(at, key, message({"attributes": TOOL | claim}).SerializeToString())
                )
                assert rejected == 1
                assert "may not speak for" in why
            as_service = message({"attributes": TOOL}, service_name="other").SerializeToString()
            assert _rejected(await _send(at, key, as_service))[0] == 1
            assert _reported(at) == []
            await at.settled()
            noted = [body for _, body in at.records("refused.authentication")]
            assert [body["code"] for body in noted] == ["report_for_another"]  # the rest of the minute is counted
            mine = message({"attributes": TOOL | {"gen_ai.agent.name": "worker"}}, service_name="crm-workers")
            assert _rejected(await _send(at, key, mine.SerializeToString())) == (0, "")
            # the one that is called is no claim, and a server does not say who called it
            called = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "other"}
            served = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "read", "gen_ai.agent.name": "other"}
            spans = message({"attributes": called, "kind": 3, "id": b"\x07" * 8},
                            {"attributes": served, "kind": 2, "id": b"\x08" * 8})  # fmt: skip
            assert _rejected(await _send(at, key, spans.SerializeToString())) == (0, "")
            assert [header["agent"] != other for header, _ in _reported(at)] == [True]

    asyncio.run(live())


@pytest.mark.requirement("otlp:identity")
def test_a_revoked_credential_reports_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            made = await at.operator.post("agents/worker/keys", {"days": 1})
            fine = message({"attributes": TOOL}).SerializeToString()
            assert (await _send(at, made["key"], fine)).status_code == 200
            await at.operator.post("agents/worker/revoke", {"reason": "test"})
            assert (await _send(at, made["key"], fine)).status_code == 401

    asyncio.run(live())


@pytest.mark.requirement("otlp:collector", "otlp:findings", "otlp:sealed")
def test_a_collector_makes_agents_visible_that_do_not_pass_the_gateway(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, OTHER) as at:
            key = await _collector(at)
            with traced(service_name="shadow-bot-zq4711qz") as process:
                tool_span(process, "drop_all_tables_zq4711qz")
                tool_span(process, "read")
            assert await delivered(at.url, key, process.spans) is SpanExportResult.SUCCESS
            with traced(service_name="worker") as known:
                tool_span(known, "read")
            assert await delivered(at.url, key, known.spans) is SpanExportResult.SUCCESS
            found = await _alerts(at)
            ((shadow, alert),) = [(key, one) for key, one in found.items() if key[0] == "reported-agent"]
            assert shadow[1] is None
            assert alert["agent"] is None
            assert (alert["remediation"], alert["severity"]) == ("none", "warning")
            assert alert["evidence"]["reported_by"] == "collector"
            assert alert["evidence"]["said"]["service"] == "shadow-bot-zq4711qz"  # for people to look into
            assert [header["agent"] is None for header, _ in _reported(at)] == [True, True, False]
            # and stands nowhere in clear
            assert not any(b"zq4711qz" in each for each in raw_bytes(tmp_path / "data"))
            resolved = await at.operator.post(
                f"alerts/{alert['id']}/resolve", {"note": "told the team", "disposition": "true-positive"}
            )
            assert resolved["state"] == "resolved"

    asyncio.run(live())


@pytest.mark.requirement("otlp:collector", "otlp:identity")
def test_a_collector_speaks_for_its_environment_alone_and_a_point_that_is_none_for_nobody(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            worker = (await at.operator.get("agents/worker"))["id"]
            claimed = message({"attributes": TOOL | {"gen_ai.agent.id": worker}}).SerializeToString()
            key = await _collector(at, reports="staging")
            assert _rejected(await _send(at, key, claimed))[0] == 1
            named = message({"attributes": TOOL}, service_name="worker").SerializeToString()
            assert _rejected(await _send(at, key, named))[0] == 0  # another one, of that name, in staging
            ((header, _),) = _reported(at)
            assert (header["agent"], header["environment"], header["tool"]) == (None, "staging", None)
            await at.apply(document("EnforcementPoint", {"name": "asker"}, {"types": ["user"]}))
            asker = str((await at.operator.post("enforcement-points/asker/keys", {}))["secret"])
            assert (await _send(at, asker, claimed)).status_code == 403

    asyncio.run(live())


@pytest.mark.requirement("otlp:findings", "otlp:sealed")
def test_what_is_not_granted_is_a_finding_and_what_is_granted_is_none(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as there:
            at = there.at
            with traced(service_name="writers") as process:
                tool_span(process, "read")  # granted
                model_span(process, "gpt", "gpt-x")  # granted
                model_span(process, "openai", "gpt-x")  # the same, as its provider calls itself
                tool_span(process, "crm__refund")  # registered, not granted
                model_span(process, "gpt", "gpt-dear")  # registered, not granted
                tool_span(process, "secret_name_zq4711qz")
                model_span(process, "mistral", "large_zq4711qz")
                tool_span(process, "read", at="elsewhere.example")  # another one of that name
            sent = await delivered(at.url, await _key(at, "writer"), process.spans)
            assert sent is SpanExportResult.SUCCESS
            name = "development/writer"
            kinds = {"reported-agent", "reported-tool", "reported-model"}
            found = {key for key in await _alerts(at) if key[0] in kinds}
            assert found == {
                ("reported-tool", name, "crm/refund"),
                ("reported-tool", name, "unregistered"),
                ("reported-model", name, "gpt/gpt-dear"),
                ("reported-model", name, "unregistered"),
            }
            assert not any(b"zq4711qz" in each for each in raw_bytes(tmp_path / "data"))

    asyncio.run(live())


@pytest.mark.requirement("otlp:passed")
def test_a_call_that_passed_the_gateway_is_not_counted_twice(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, OTHER) as at:
            key = await _key(at)
            with traced(service_name="worker") as process, process.tracer.start_as_current_span("task"):
                attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read"}
                with process.tracer.start_as_current_span("execute_tool read", attributes=attributes):
                    mcp = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "read"}
                    with process.tracer.start_as_current_span(
                        "tools/call read", kind=SpanKind.CLIENT, attributes=mcp
                    ), process.tracer.start_as_current_span("POST", kind=SpanKind.CLIENT) as request:  # fmt: skip
                        context = request.get_span_context()
                        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
                        token = await at.token("worker")
                        told = await at.call(token, meta={"traceparent": parent})
                        assert told.allowed
                        # it is passed on: the tool server continues the trace
                        assert at.site.box.calls[-1]["_meta"]["traceparent"] == parent
            inner = [one for one in process.spans if one.name in {"POST", "tools/call read"}]
            outer = [one for one in process.spans if one not in inner]
            # they end from the inside out, and the outer ones may come with a later batch
            assert await delivered(at.url, key, inner) is SpanExportResult.SUCCESS
            assert await delivered(at.url, key, outer) is SpanExportResult.SUCCESS
            assert _reported(at) == []
            # nobody hides behind another's call
            assert await delivered(at.url, await _collector(at), process.spans) is SpanExportResult.SUCCESS
            other = [{"attributes": TOOL, "trace": context.trace_id.to_bytes(16, "big"),
                      "id": context.span_id.to_bytes(8, "big")}]  # fmt: skip
            assert _reported(at) == []
            answer = await _send(at, await _key(at, "other"), message(*other).SerializeToString())
            assert _rejected(answer) == (0, "")
            assert [body["count"] for _, body in _reported(at)] == [1]

    asyncio.run(live())


@pytest.mark.requirement("otlp:passed")
def test_a_decision_id_counts_if_it_let_that_agent_use_that_tool(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, OTHER) as at:
            admitted = await at.admit(await at.principal("worker"))
            assert isinstance(admitted, Admitted)
            at.settle(admitted)

            async def counted(name: str, decision: str, tool: str, number: int) -> int:
                before = len(_reported(at))
                attributes = {**TOOL, "gen_ai.tool.name": tool, "accredit.decision.id": decision}
                spans = message({"attributes": attributes, "id": bytes([number]) * 8})
                assert _rejected(await _send(at, await _key(at, name), spans.SerializeToString())) == (0, "")
                return len(_reported(at)) - before

            assert await counted("worker", admitted.decision_id, "read", 1) == 0
            assert await counted("worker", admitted.decision_id, "refund", 2) == 1
            assert await counted("worker", "dec_made_up", "read", 3) == 1
            assert await counted("other", admitted.decision_id, "read", 4) == 1

    asyncio.run(live())


@pytest.mark.requirement("otlp:passed", "otlp:findings")
def test_no_trick_with_ids_makes_a_use_disappear(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            key, trace, one, two = await _key(at), b"\x05" * 16, b"\x01" * 8, b"\x02" * 8
            parent = f"00-{trace.hex()}-{one.hex()}-01"
            assert (await at.call(await at.token("worker"), meta={"traceparent": parent})).allowed
            refund = TOOL | {"gen_ai.tool.name": "refund"}
            spans = message(
                {"attributes": TOOL, "trace": trace, "id": one},  # passed
                {"attributes": refund, "trace": trace, "id": one},  # in its place: did not
                {"attributes": refund, "trace": b"\x06" * 16, "id": one, "parent": one},  # within itself
                {"attributes": refund, "trace": b"\x07" * 16, "id": one, "parent": two},  # each within the other
                {"attributes": refund, "trace": b"\x07" * 16, "id": two, "parent": one},
                {"attributes": refund, "trace": b"\x08" * 16, "id": one},
                {"attributes": refund, "trace": b"\x08" * 16, "id": two, "parent": one},  # truly within: one use
            )
            assert _rejected(await _send(at, key, spans.SerializeToString())) == (0, "")
            assert [(header["tool"], body["count"]) for header, body in _reported(at)] == [("crm/refund", 5)]

    asyncio.run(live())


@pytest.mark.requirement("otlp:bounds", "otlp:collapsed")
def test_a_request_of_ten_thousand_names_keeps_no_call_waiting(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            key, token = await _key(at), await at.token("worker")
            spans = [
                {"attributes": TOOL | {"gen_ai.tool.name": f"made-up-{number}"}, "id": (number + 1).to_bytes(8, "big")}
                for number in range(10_000)
            ]
            body = gzip.compress(message(*spans).SerializeToString())
            sending = asyncio.create_task(_send(at, key, body, content_encoding="gzip"))
            calls = 0
            while not sending.done():
                told = await at.call(token)
                assert told.allowed, told.json
                calls += 1
                await asyncio.sleep(0.02)  # within the rate of the agent
            assert _rejected(await sending) == (0, "")
            assert calls >= 2
            assert sum(body["count"] for _, body in _reported(at)) == 10_000
            assert len(_reported(at)) == 21

    asyncio.run(live())


@pytest.mark.requirement("otlp:collapsed", "otlp:durable")
def test_a_flood_of_equal_uses_is_two_records_and_no_use_is_lost(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            key = await _key(at)
            for batch in range(5):
                spans = [
                    {"attributes": TOOL, "id": (batch * 100 + number + 1).to_bytes(8, "big")} for number in range(100)
                ]
                assert _rejected(await _send(at, key, message(*spans).SerializeToString())) == (0, "")
            assert [body["count"] for _, body in _reported(at)] == [100]
            many = [
                {
                    "attributes": TOOL | {"gen_ai.tool.name": f"made-up-{number}"},
                    "id": (9000 + number).to_bytes(8, "big"),
                }
                for number in range(500)
            ]
            await _send(at, key, message(*many).SerializeToString())
            unknown = [body for _, body in _reported(at) if body["unknown_tool"]]
            assert len(unknown) == 21  # twenty names and the rest
            assert sum(body["count"] for body in unknown) == 500
        async with at.site.started() as again:  # what waited was written when the process ended
            granted = [body["count"] for _, body in _reported(again) if body["granted"]]
            assert granted == [100, 400]
            again.site.verified()

    asyncio.run(live())


@pytest.mark.requirement("otlp:apart", "otlp:shown")
def test_reported_use_is_shown_apart_and_is_no_use(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            before = await at.operator.get("agents/worker")
            limits = await at.limits("worker")
            with traced(service_name="worker") as process:
                tool_span(process, "read")
                tool_span(process, "refund")
                tool_span(process, "count")
            assert await delivered(at.url, await _key(at), process.spans) is SpanExportResult.SUCCESS
            found = await _alerts(at)
            assert {key[0] for key in found} == {"reported-tool"}  # nothing measured: no novelty
            reported = (await at.operator.get("agents/worker/reported"))["items"]
            assert [(one["tool"], one["count"]) for one in reported] == [
                ("crm/count", 1), ("crm/read", 1), ("crm/refund", 1)
            ]  # fmt: skip
            after = await at.operator.get("agents/worker")
            assert after["reported"] == reported
            assert (await at.operator.get("agents/worker/usage"))["items"] == []
            assert all(one["allows"] == one["denies"] == 0 and one["last"] is None for one in after["usage"])
            assert (after["tiering"], after["state"], after["restrictions"], after["baseline"]) == (
                before["tiering"], before["state"], before["restrictions"], before["baseline"]
            )  # fmt: skip
            assert await at.limits("worker") == limits
            # what was reported is as new as ever once it is measured
            await at.admit(await at.principal("worker"), "count")
            await at.settled()
            assert ("new-tool", "development/worker", "crm/count") in await _alerts(at)
        async with at.site.started() as again:
            kept = (await again.operator.get("agents/worker/reported"))["items"]
            assert kept == reported

    asyncio.run(live())
