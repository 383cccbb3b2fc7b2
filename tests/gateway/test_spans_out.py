"""Spans of our own, as a collector gets them from a running installation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from accredit.enforcement.model import CallEnd
from accredit.enforcement.tracing import FinishedCall
from accredit.gateway.spansender import SpanSender
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import DecisionId, SeededIds
from accredit.policy.model import Outcome
from accredit.serving import bound, served
from accredit.settings import load_settings
from tests.enforcement.place import SECRET, WORKER, place
from tests.gateway.models import chat, provider, writer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def lifespan(receive: Any, send: Any) -> None:
    """Starts and stops."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class Collector:
    """Keeps every body; answers as told."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []
        """What the next requests are answered with; 200 after them."""
        self.came = asyncio.Event()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.bodies.append(body)
            self.came.set()
        await send({"type": "http.response.start", "status": status, "headers": [(b"location", b"http://127.0.0.1/")]})
        await send({"type": "http.response.body", "body": b""})

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span for request in requests for group in request.resource_spans for scope in group.scope_spans
            for span in scope.spans
        ]  # fmt: skip

    async def until(self, number: int) -> list[Span]:
        async with asyncio.timeout(20):
            while len(self.spans()) < number:
                self.came.clear()
                await self.came.wait()
        return self.spans()


@asynccontextmanager
async def _collector() -> AsyncIterator[tuple[Collector, str]]:
    there = Collector()
    async with served(there, bound("127.0.0.1", 0)) as url:
        yield there, f"{url}/v1/traces"


def _attributes(span: Span) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.mark.requirement("otlp:out:names", "otlp:out:context", "otlp:out:silent")
def test_a_call_is_a_span_in_its_callers_trace_and_says_nothing_of_its_content(tmp_path: Path) -> None:
    async def live() -> None:
        async with _collector() as (there, url), place(tmp_path / "data", WORKER, otlp_endpoint=url) as at:
            token = await at.token("worker")
            content = {"customer_id": "zq-argument"}
            assert (await at.call(token, "read", content, meta={"traceparent": PARENT})).allowed
            upstream = at.site.box.calls[-1]["_meta"]["traceparent"]
            (await at.call(token, "zq-tool", content)).refused("tool_not_granted")
            (await at.call(token, "refund", {"cents": 5})).refused("held")
            # the caller records nothing of its trace: nor do we
            assert (await at.call(token, meta={"traceparent": f"{PARENT[:-2]}00"})).allowed
            read, decided, refused, denied, held, asked = await there.until(6)
            found = _attributes(read)
            assert (read.name, read.kind, read.status.code) == ("tools/call read", 2, 0)
            assert read.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
            assert read.parent_span_id.hex() == "b7ad6b7169203331"
            assert upstream == f"00-{read.trace_id.hex()}-{read.span_id.hex()}-01"
            assert found["mcp.method.name"] == "tools/call"
            assert found["mcp.protocol.version"] == "2026-07-28"
            assert (found["gen_ai.operation.name"], found["gen_ai.tool.name"]) == ("execute_tool", "read")
            assert found["gen_ai.agent.name"] == "worker"
            await at.settled()
            assert found["accredit.decision.id"] in {body["decision_id"] for _, body in at.records("decision")}
            assert (decided.trace_id, decided.parent_span_id) == (read.trace_id, read.span_id)
            assert _attributes(decided)["gen_ai.security.verdict.type"] == "allow"
            assert read.start_time_unix_nano <= decided.end_time_unix_nano <= read.end_time_unix_nano
            assert (refused.name, refused.status.code) == ("tools/call", 2)  # the name is the agent's
            assert _attributes(refused)["error.type"] == "tool_not_granted"
            assert _attributes(denied)["gen_ai.security.action.type"] == "block"
            assert _attributes(held)["error.type"] == "held"
            assert _attributes(asked)["gen_ai.security.verdict.type"] == "escalate"
            assert _attributes(asked)["gen_ai.security.policy.rule.id"].startswith("org/guardrails.cedar")
            assert len(there.spans()) == 6
            everything = b"".join(there.bodies)
            assert not any(word in everything for word in (b"zq-", SECRET.encode(), token.encode()))

    asyncio.run(live())


@pytest.mark.requirement("otlp:out:names")
def test_a_chat_is_a_span_with_its_model_and_tokens(tmp_path: Path) -> None:
    async def model(scope: Any, receive: Any, send: Any) -> None:
        import orjson

        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(chat("zq-words"))})

    async def live() -> None:
        async with (
            _collector() as (there, url),
            served(model, bound("127.0.0.1", 0)) as models,
            place(tmp_path / "data", otlp_endpoint=url) as at,
        ):
            await at.operator.put(
                "upstream-credentials/llm-key", {"origin": models, "header": "X-Key", "value": "zq-key-of-ours"}
            )
            await at.apply(provider("gpt", "openai", models, "gpt-x"),
                           writer(models=[{"provider": "gpt", "model": "gpt-x"}]))  # fmt: skip
            await at.enrol("writer")
            token = await at.site.identities["writer"].access_token(f"{at.url}/llm")
            body = {"model": "gpt-x", "max_completion_tokens": 9, "messages": [{"role": "user", "content": "zq-hi"}]}
            answer = await at.site.agents_http.post(
                f"{at.url}/llm/openai/v1/chat/completions", json=body, headers={"authorization": f"Bearer {token}"}
            )
            assert answer.status_code == 200, answer.text
            call, _ = await there.until(2)
            found = _attributes(call)
            assert call.name == "chat gpt-x"
            assert (found["gen_ai.provider.name"], found["gen_ai.request.model"]) == ("gpt", "gpt-x")
            assert found["gen_ai.usage.input_tokens"] == answer.json()["usage"]["prompt_tokens"]
            assert b"zq-" not in b"".join(there.bodies)

    asyncio.run(live())


def _finished(sender: SpanSender) -> FinishedCall:
    return FinishedCall(
        sender.began(None), DecisionId("dec_1"), "mcp/2026-07-28", None, None, Outcome.ALLOW, Code.ALLOWED, (),
        1_790_000_000_000_000, 5, 10, CallEnd.OK,
    )  # fmt: skip


@pytest.mark.requirement("otlp:out:beside")
def test_what_does_not_fit_or_is_not_taken_is_dropped_and_counted() -> None:
    async def live() -> None:
        async with _collector() as (there, url):
            sender = SpanSender(url, SeededIds(1), queue=16, every_s=0.001)
            for _ in range(20):
                sender.finished(_finished(sender))
            assert sender.counts == (0, 4)
            running = asyncio.create_task(sender.run())
            there.statuses = [503]  # tried again
            await there.until(32)
            while sender.sent < 16:
                await asyncio.sleep(0)
            assert sender.counts == (16, 4)
            for status in (400, 302):  # not tried again, not followed
                there.statuses = [status]
                dropped = sender.dropped
                sender.finished(_finished(sender))
                async with asyncio.timeout(20):
                    while sender.dropped == dropped:
                        await asyncio.sleep(0.001)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert len(there.bodies) == 1
            sender.finished(_finished(sender))
            await sender.aclose()  # what is left is sent
            assert sender.counts == (17, 6)

    asyncio.run(live())


@pytest.mark.requirement("otlp:out:beside")
def test_calls_go_on_while_no_collector_answers(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, otlp_endpoint="http://127.0.0.1:9/v1/traces", otlp_queue=16) as at:
            token = await at.token("worker")
            for _ in range(20):
                assert (await at.call(token)).allowed
            answer = await at.site.agents_http.get(
                f"{at.url}/metrics", headers={"authorization": f"Bearer {at.site.operator_token}"}
            )
            assert 'accredit_otlp_spans_exported_total{result="dropped"}' in answer.text

    asyncio.run(live())


@pytest.mark.requirement("otlp:out:beside")
@pytest.mark.parametrize("url", ["http://collector.example/v1/traces", "file:///x", "http://a:b@127.0.0.1/v1/traces"])
def test_an_unsafe_endpoint_refuses_to_start(url: str) -> None:
    with pytest.raises(InvalidInputError, match="otlp_endpoint"):
        load_settings(None, {"ACCREDIT_OTLP_ENDPOINT": url})
