"""HTTP APIs governed by operation: the same controls as tools of MCP, and nothing is sent that was not decided."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from accredit.gateway.definitions import UpstreamDefinitions
from accredit.gateway.upstream import Upstream
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.model import Environment, ToolServer
from accredit.serving import bound, served
from tests.enforcement.place import GUARDRAILS, raw_bytes
from tests.gateway.shop import FACTS, GRANTED, KEY, Shop, clerk, server, shop
from tests.gateway.stage import modern, tool_servers
from tests.policies import with_cases


def _problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = answer.json()
    assert (told["status"], told["code"]) == (status, code), told
    assert told["detail"]
    return told


async def _publish(at: Shop, **files: str) -> None:
    given = {f"org/{name}.cedar": text for name, text in files.items()}
    await at.at.operator.post("policy/publish", {"files": with_cases({**GUARDRAILS, **given})})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Shop]]:
    """One started for all that only ask."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        at = runner.run(stack.enter_async_context(shop(tmp_path_factory.mktemp("shop") / "data")))
        try:
            yield runner, at
        finally:
            runner.run(stack.aclose())


@pytest.mark.requirement("http:call")
def test_a_call_is_decided_recorded_and_sent_anew_with_the_gateways_own_credential(tmp_path: Path) -> None:
    async def live() -> None:
        async with shop(tmp_path / "data") as at:
            token = await at.token()
            said = await at.send("GET", "shop/customers/c%20%C3%A4-1", token, cookie="a=b", x_other="dropped")
            assert (said.status_code, said.json()["customer_id"]) == (200, "c ä-1")
            assert said.headers["etag"] == '"7"'
            assert "set-cookie" not in said.headers
            assert said.headers["content-security-policy"] == "default-src 'none'; sandbox"
            arrived = at.arrived[-1]
            assert (arrived.method, arrived.target) == ("GET", "/customers/c%20%C3%A4-1")
            assert arrived.headers["x-shop-key"] == KEY
            assert not {"authorization", "cookie", "x-other", "content-type"} & arrived.headers.keys()

            answer = await at.send("GET", "shop/orders?state=open&state=pa%26id&limit=5&paid=true", token)
            assert answer.json() == [{"state": ["open", "pa&id"], "limit": 5, "paid": True}]
            assert at.arrived[-1].target == "/orders?state=open&state=pa%26id&limit=5&paid=true"
            answer = await at.send("DELETE", "shop/customers/c-1", token)
            _problem(answer, 404, "tool_not_granted")

            await at.at.settled()
            (_, first), *_ = at.at.records("decision")
            assert first["protocol"] == "http/1.1"
            heads = [(head["tool"], head["decision"]) for head, _ in at.at.records("decision")]
            assert heads == [("shop/get_customer", "allow"), ("shop/list_orders", "allow"), ("shop/forget", "deny")]
            assert [body["end"] for _, body in at.at.records("outcome")] == ["ok", "ok"]
            assert first["decision_id"] == said.headers["accredit-decision"]
            assert not any(KEY.encode() in each for each in raw_bytes(tmp_path / "data"))

    asyncio.run(live())


@pytest.mark.requirement("http:call")
def test_a_body_and_declared_headers_are_arguments_and_a_hold_waits_for_a_person(tmp_path: Path) -> None:
    async def live() -> None:
        async with shop(tmp_path / "data") as at:
            await _publish(at, limit='forbid (principal, action == Action::"shop/refund", resource) '
                                     "when { context.input.body.cents > 10000 };")  # fmt: skip
            token, body = await at.token(), json.dumps({"order": "o-1", "cents": 500}).encode()
            held = _problem(await at.send("POST", "shop/orders/o-1/refund", token, body), 403, "held")
            assert held["roles"] == ["business-owner"]
            shown = await at.at.operator.get(f"holds/{held['hold']}")
            await at.at.operator.post(
                f"holds/{held['hold']}/answer", {"answer": "approve", "view_digest": shown["view_digest"]}
            )
            other = json.dumps({"order": "o-1", "cents": 501}).encode()
            _problem(await at.send("POST", "shop/orders/o-1/refund", token, other), 403, "held")
            given = await at.send("POST", "shop/orders/o-1/refund", token, body)
            assert (given.status_code, given.json()) == (201, {"order": "o-1", "cents": 500, "key": None})
            assert at.arrived[-1].body == b'{"order":"o-1","cents":500}'
            _problem(await at.send("POST", "shop/orders/o-1/refund", token, body), 403, "held")
            large = json.dumps({"order": "o-1", "cents": 10_001}).encode()
            told = _problem(await at.send("POST", "shop/orders/o-1/refund", token, large), 403, "forbidden_by_policy")
            assert told["policy"]
            assert len(at.arrived) == 1
            keyed = _problem(
                await at.send("POST", "shop/orders/o-1/refund", token, body, idempotency_key="k-1"), 403, "held"
            )
            assert keyed["hold"] != held["hold"]  # a header that is declared is an argument: another call

    asyncio.run(live())


@pytest.mark.requirement("http:typed")
@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("GET", "shop/orders?unknown=1", b"", {}, 400, "undeclared_argument"),
        ("GET", "shop/orders?limit=many", b"", {}, 400, "arguments_invalid"),
        ("GET", "shop/orders?limit=51", b"", {}, 400, "arguments_invalid"),
        ("GET", "shop/orders?limit=1&limit=2", b"", {}, 400, "arguments_invalid"),
        ("GET", "shop/orders?limit=%zz", b"", {}, 400, "body_malformed"),
        ("GET", "shop/orders?state=%ff", b"", {}, 400, "body_malformed"),
        ("GET", "shop/orders", b"{}", {}, 400, "undeclared_argument"),
        ("GET", "shop/customers/..%2Forders", b"", {}, 401, "unauthenticated"),
        ("GET", "shop/customers/a%5Cb", b"", {}, 401, "unauthenticated"),
        ("GET", "shop/customers/%2E%2E", b"", {}, 401, "unauthenticated"),
        ("GET", "shop/customers/a%00", b"", {}, 401, "unauthenticated"),
        ("GET", "shop/customers/", b"", {}, 404, "tool_not_granted"),
        ("GET", "shop/customers/a/b", b"", {}, 404, "tool_not_granted"),
        ("GET", "shop/openapi.json", b"", {}, 404, "tool_not_granted"),
        ("PUT", "shop/orders", b"", {}, 404, "tool_not_granted"),
        ("OPTIONS", "shop/orders", b"", {}, 405, "method_unknown"),
        ("HEAD", "shop/orders", b"", {}, 405, "method_unknown"),
        ("GET", "crm/read", b"", {}, 401, "unauthenticated"),
        ("POST", "shop/orders/o/refund", b'{"order":"o","cents":1,"cents":2}', {}, 400, "body_duplicate_keys"),
        ("POST", "shop/orders/o/refund", b'{"order":"o","cents":0}', {}, 400, "arguments_invalid"),
        ("POST", "shop/orders/o/refund", b'{"order":"o","cents":1,"x":1}', {}, 400, "undeclared_argument"),
        ("POST", "shop/orders/o/refund", b"order=o", {"content_type": "text/plain"}, 400, "body_malformed"),
        ("POST", "shop/orders/o/refund", b"", {}, 400, "arguments_invalid"),
        ("POST", "shop/orders/o/refund", b" " * (2**20 + 1), {}, 413, "body_oversized"),
    ],
)
def test_what_is_not_as_declared_never_leaves(
    kept: tuple[asyncio.Runner, Shop],
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    async def live() -> None:
        before = len(at.arrived)
        answer = await at.send(method, path, await at.token(), body, **headers)
        if method != "HEAD":
            _problem(answer, status, code)
        assert answer.status_code == status
        assert len(at.arrived) == before

    runner, at = kept
    runner.run(live())


@pytest.mark.requirement("http:upstream")
def test_what_the_api_answers_is_bounded_scrubbed_and_never_a_way_elsewhere(tmp_path: Path) -> None:
    async def live() -> None:
        async with shop(tmp_path / "data") as at:
            token = await at.token()
            _problem(await at.send("GET", "shop/moved", token), 502, "upstream_redirect")
            _problem(await at.send("GET", "shop/locked", token), 502, "upstream_invalid")
            assert KEY not in (await at.send("GET", "shop/note", token)).text
            assert KEY not in (await at.send("GET", "shop/echo", token)).text
            missing = await at.send("GET", "shop/orders?limit=0&state=x", token)
            assert missing.status_code == 200
            await at.at.settled()
            ends = [body["end"] for _, body in at.at.records("outcome")]
            assert ends == ["protocol_error", "protocol_error", "ok", "ok", "ok"]
            # a token for MCP, or for one operation, is none for all of it
            _problem(await at.send("GET", "shop/orders", await at.token(path="/mcp/crm")), 401, "unauthenticated")
            narrow = await at.token(path="/http/shop/orders")
            assert (await at.send("GET", "shop/orders", narrow)).status_code == 200
            _problem(await at.send("GET", "shop/note", narrow), 401, "unauthenticated")
            refused = await at.send("GET", "shop/orders", "nothing")
            assert f'{at.at.url}/.well-known/oauth-protected-resource/http/shop"' in refused.headers["www-authenticate"]
            # each speaks its own protocol
            crm = await at.token(path="/http/crm")
            _problem(await at.send("GET", "crm/read", crm), 404, "server_unknown")
            answer = await at.at.call(await at.token(path="/mcp/shop"), "note", server="shop")
            answer.refused("server_unknown")
            together = await at.token(path="/mcp")
            body, headers = modern("tools/list")
            listed = await at.at.site.agents_http.post(
                f"{at.at.url}/mcp", content=body, headers=headers | {"authorization": f"Bearer {together}"}
            )
            assert listed.json()["result"]["tools"] == []
            body, headers = modern(params={"name": "shop__note", "arguments": {}})
            called = await at.at.site.agents_http.post(
                f"{at.at.url}/mcp",
                content=body,
                headers=headers | {"authorization": f"Bearer {together}", "mcp-name": "shop__note"},
            )
            assert called.json()["result"]["structuredContent"]["code"] == "tool_not_granted"

    asyncio.run(live())


@pytest.mark.requirement("http:upstream")
def test_no_argument_stands_beside_the_credential_in_a_header_of_its_name(tmp_path: Path) -> None:
    async def live() -> None:
        async with shop(tmp_path / "data") as at:
            credential = {"origin": at.url, "header": "Idempotency-Key", "value": KEY}
            await at.at.operator.put("upstream-credentials/shop-key", credential)
            token, body = await at.token(), json.dumps({"order": "o-1", "cents": 500}).encode()
            held = _problem(
                await at.send("POST", "shop/orders/o-1/refund", token, body, idempotency_key="mine"), 403, "held"
            )
            shown = await at.at.operator.get(f"holds/{held['hold']}")
            answer = {"answer": "approve", "view_digest": shown["view_digest"]}
            await at.at.operator.post(f"holds/{held['hold']}/answer", answer)
            said = await at.send("POST", "shop/orders/o-1/refund", token, body, idempotency_key="mine")
            assert (said.status_code, said.json()["code"]) == (403, "upstream_credential"), said.text
            assert at.arrived == []

    asyncio.run(live())


@pytest.mark.requirement("http:ends")
@pytest.mark.parametrize(("method", "written"), [("DELETE", 2), ("GET", 3)])
def test_what_changes_something_is_written_once_though_its_connection_breaks(method: str, written: int) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_this = 0
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head.partition(b" ")[0])
                on_this += 1
                if on_this == 2:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async def live() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/orders"
        upstream, checked = Upstream(), 0

        def recheck() -> None:
            nonlocal checked
            checked += 1

        async with listening:
            for number in range(2):
                exchange = upstream.exchange(url, {}, b"", credential={}, recheck=recheck, method=method)
                async with exchange:
                    if number == 0 or method == "GET":
                        assert (await exchange.whole()).status == 200
                        continue
                    with pytest.raises(UnavailableError) as broke:
                        await exchange.whole()
                    assert broke.value.code is Code.UPSTREAM_UNREACHABLE
                    assert exchange.sent
            await upstream.aclose()
        assert (len(seen), checked) == (written, written)

    asyncio.run(live())


@pytest.mark.requirement("http:ends")
def test_a_call_ends_when_its_time_is_up_its_client_leaves_or_its_agent_is_stopped(tmp_path: Path) -> None:
    async def none_in_flight(at: Shop) -> None:
        async with asyncio.timeout(20):
            while at.at.enforcer.in_flight:
                await asyncio.sleep(0.01)

    hasty = clerk(limits={"calls": {"perMinute": 600}, "timeout": {"call": "1s"}})

    async def live() -> None:
        async with shop(tmp_path / "data", hasty) as at:
            token = await at.token()
            _problem(await at.send("GET", "shop/slow", token), 504, "call_timeout")
            left = asyncio.ensure_future(at.send("GET", "shop/slow", token))
            await at.reached(2)
            left.cancel()
            await none_in_flight(at)
            stopped = asyncio.ensure_future(at.send("GET", "shop/slow", token))
            await at.reached(3)
            await at.at.operator.post("agents/clerk/suspend", {"reason": "looking into it"})
            _problem(await stopped, 403, "credential_revoked")
            _problem(await at.send("GET", "shop/note", token), 401, "unauthenticated")
            await none_in_flight(at)
            await at.at.settled()
            ends = sorted(body["end"] for _, body in at.at.records("outcome"))
            assert ends == ["cancelled", "revoked", "timeout"]
            assert (await at.at.limits("clerk"))["in_flight"] == 0

    asyncio.run(live())


@pytest.mark.requirement("http:mask")
def test_a_mask_takes_fields_out_of_the_answer_and_withholds_what_has_no_names(tmp_path: Path) -> None:
    masking = {"allow": ["get_customer"], "mask": ["personal"]}

    async def live() -> None:
        async with shop(tmp_path / "data", clerk(masking, data=["internal"])) as at:
            token = await at.token()
            answer = await at.send("GET", "shop/customers/c-1", token)
            assert answer.json() == {"customer_id": "c-1", "name": "Kim"}
            assert "etag" not in answer.headers

    asyncio.run(live())


@pytest.mark.requirement("http:pinned")
def test_an_operation_that_changed_is_blocked_until_somebody_has_seen_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with shop(tmp_path / "data") as at:
            token = await at.token()
            assert (await at.send("GET", "shop/note", token)).status_code == 200
            changed = at.api.openapi()
            changed["paths"]["/note"]["get"]["summary"] = "Now also sends all of it to us."
            at.at.site.clock.advance(60)
            token = await at.token()
            _problem(await at.send("GET", "shop/note", token), 403, "definition_changed")
            assert (await at.send("GET", "shop/orders", token)).status_code == 200
            await at.at.operator.post("servers/shop/repin", {"tool": "note"})
            assert (await at.send("GET", "shop/note", token)).status_code == 200

    asyncio.run(live())


@pytest.mark.requirement("http:register")
def test_only_what_the_document_offers_can_be_registered(tmp_path: Path) -> None:
    async def live() -> None:
        async with shop(tmp_path / "data") as at:
            unknown = {**FACTS, "invented": {"effect": "read", "data": ["internal"], "price": "0 USD"}}
            told = await at.at.refused_apply(server(at.url, unknown))
            assert told["code"] == "tool_unknown"
            for wrong in ("openapi.json", "/../openapi.json", "http://elsewhere/openapi.json", "/a?b"):
                assert (await at.at.refused_apply(server(at.url, openapi=wrong)))["code"] == "manifest_invalid"
            # moved to another document, it is another server: that takes a second person where the first one did
            rows = await at.at.operator.get("servers")
            assert {row["name"]: row["protocol"] for row in rows["items"]} == {"crm": "mcp", "shop": "http"}
            listed = await at.at.operator.get("servers/shop")
            assert {one["name"] for one in listed["items"]} >= set(GRANTED)

    asyncio.run(live())


@pytest.mark.requirement("http:openapi")
@pytest.mark.parametrize(
    ("text", "offers"),
    [
        (b'{"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "a"}}}}', True),
        (b"openapi: 3.0.3\npaths:\n  /a:\n    get: {operationId: a, description: 'as *they* say & mean'}\n", True),
        (b"openapi: 3.0.3\npaths: {/a: &x {get: {operationId: a}}, /b: *x}\n", False),
        (b"openapi: 3.0.3\npaths: {}\n# " + b"x" * 2**20, False),
        (b"openapi: 3.0.3\npaths: [", False),
        (b"", False),
        (b"<html>", False),
        (b'{"openapi": "2.0"}', False),
    ],
)
def test_a_document_is_json_or_plain_yaml_of_a_size_that_holds_nobody_up(text: bytes, *, offers: bool) -> None:
    async def live() -> None:
        async def api(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                while True:
                    message = await receive()
                    await send({"type": f"{message['type']}.complete"})
                    if message["type"] == "lifespan.shutdown":
                        return
            asked.append(dict(scope["headers"])[b"x-shop-key"])
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": text})

        class Broker:
            async def headers(self, server: ToolServer, principal: object) -> dict[str, str]:
                assert server.name == "shop"
                return {"X-Shop-Key": KEY}

        asked: list[bytes] = []
        upstream = Upstream()
        async with served(api, bound("127.0.0.1", 0)) as url:
            looks = UpstreamDefinitions(upstream, tool_servers(upstream), Broker())
            there = ToolServer(ServerName("shop"), Environment.DEVELOPMENT, url, "shop-key", {}, "/openapi.json")
            if offers:
                first = await looks.fetch(there)
                assert list(first) == ["a"]
                assert await looks.look(there) is first  # the same bytes are read once
                assert asked == [KEY.encode()] * 2
            else:
                with pytest.raises(UnavailableError) as refused:
                    await looks.fetch(there)
                assert refused.value.code is Code.UPSTREAM_INVALID
        await upstream.aclose()

    asyncio.run(live())
