"""Everything that is settled before a call is decided: who may speak, how, and what is not served at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.enforcement.model import Refused
from accredit.gateway.jsonrpc import RpcNumber
from accredit.kernel.codes import Code
from tests.gateway.stage import (
    DISCOVERED,
    LEGACY,
    MODERN,
    Reply,
    answer_ok,
    base_headers,
    legacy,
    make_tool,
    modern,
    stage,
)


def _one(body: bytes, headers: Mapping[str, str] | list[tuple[str, str]], **how: Any) -> Reply:
    """One request to a gateway; whatever it is, nothing may be decided by it."""

    async def play() -> Reply:
        async with stage() as at:
            reply = await at.call(body, headers, **how)
            assert at.point.calls == []
            assert at.server.seen == []
            return reply

    return asyncio.run(play())


def _number(reply: Reply) -> int:
    return int(reply.json["error"]["code"])


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8700"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "127.0.0.1:80@evil"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "file://127.0.0.1"},
    ],
)
@pytest.mark.requirement("gateway:address:allow-list")
def test_a_host_or_origin_that_is_not_on_the_list_is_refused_first(change: dict[str, str]) -> None:
    body, headers = modern()
    reply = _one(body, headers | change | {"authorization": "nonsense"})
    assert (reply.status, reply.code) == (403, "origin_refused")


@pytest.mark.parametrize(
    "change",
    [{"host": "localhost:1234"}, {"host": "[::1]:9"}, {"origin": "http://127.0.0.1:8700"}, {"host": "LOCALHOST"}],
)
def test_loopback_is_on_the_list(change: dict[str, str]) -> None:
    body, headers = modern("tools/list", {})
    assert _one(body, headers | change).status == 200


def test_a_request_without_host_is_refused() -> None:
    body, headers = modern()
    del headers["host"]
    assert _one(body, headers).status == 403


@pytest.mark.parametrize("authorization", ["Bearer wrong", "", None])
@pytest.mark.requirement("gateway:authentication:constant-text")
def test_an_unproven_caller_gets_one_constant_text_and_the_way_to_the_metadata(authorization: str | None) -> None:
    body, headers = modern()
    del headers["authorization"]
    reply = _one(body, headers | ({} if authorization is None else {"authorization": authorization}))
    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert b"secret" not in reply.body
    assert (
        reply.headers["www-authenticate"]
        == 'Bearer resource_metadata="http://127.0.0.1:8700/.well-known/oauth-protected-resource/mcp/crm"'
    )


def test_a_credential_that_died_while_the_body_came_in_is_not_accepted() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.invalid = Code.CREDENTIAL_REVOKED
            assert (await at.call(*modern())).status == 401
            assert at.point.calls == []

    asyncio.run(play())


@pytest.mark.parametrize(
    "path", ["/mcp/unknown", "/mcp/", "/mcp/CRM", "/mcp/crm/", "/mcp/crm/x", "/mcp/../crm", "/mcp/é"]
)
def test_a_path_that_names_no_server_is_not_found(path: str) -> None:
    reply = _one(*modern(), path=path)
    assert (reply.status, reply.code) == (404, "server_unknown")


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "PATCH"])
def test_other_http_methods_are_refused_with_what_is_allowed(method: str) -> None:
    reply = _one(b"", base_headers(), method=method)
    # a stream is opened by GET in a session alone
    assert (reply.status, reply.headers["allow"]) == (405, "POST, DELETE" if method == "GET" else "GET, POST, DELETE")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/jsonx"}, 415),
        ({"content-type": ""}, 415),
        ({"accept": "application/json"}, 406),
        ({"accept": "text/event-stream"}, 406),
        ({"accept": "text/html"}, 406),
    ],
)
def test_content_type_and_accept_are_checked(change: dict[str, str], status: int) -> None:
    body, headers = modern("tools/list", {})
    assert _one(body, headers | change).status == status


@pytest.mark.parametrize("accept", ["*/*", "application/*, text/*", "text/event-stream;q=1, application/json;q=0.5"])
def test_an_accept_that_covers_both_forms_is_enough(accept: str) -> None:
    body, headers = modern("tools/list", {})
    assert _one(body, headers | {"accept": accept, "content-type": "application/json; charset=utf-8"}).status == 200


@pytest.mark.requirement("gateway:body:bounded")
def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read() -> None:
    body, headers = modern()
    reply = _one(body, headers | {"content-length": str(2**16 + 1)}, chunks=[b"x"], stall=True)
    assert (reply.status, reply.code) == (413, "body_oversized")


@pytest.mark.requirement("gateway:body:bounded")
def test_a_streamed_body_is_cut_off_at_the_cap() -> None:
    reply = _one(b"", modern()[1], chunks=[b" " * 2**15] * 3, stall=True)
    assert (reply.status, reply.code) == (413, "body_oversized")


@pytest.mark.requirement("gateway:body:bounded")
def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    async def play() -> None:
        async with stage(upload_timeout_s=0.01) as at:
            reply = await at.call(b"", modern()[1], chunks=[b"{"], stall=True)
            assert (reply.status, reply.headers["connection"]) == (408, "close")

    asyncio.run(play())


def test_a_body_in_pieces_is_put_together() -> None:
    body, headers = modern("tools/list", {})
    assert _one(b"", headers, chunks=[body[:10], body[10:11], body[11:]]).json["result"]["tools"]


def test_a_client_that_leaves_while_sending_is_forgotten() -> None:
    async def play() -> None:
        async with stage() as at:
            peer = at.peer()
            peer.left.set()
            reply = await peer.exchange(b"", modern()[1], chunks=[b"{"], stall=True)
            assert reply == Reply()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("body", "number", "code"),
    [
        (b"", RpcNumber.PARSE, "body_malformed"),
        (b"{", RpcNumber.PARSE, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}', RpcNumber.PARSE, "body_duplicate_keys"),
        (b'{"a": ' * 70 + b"1" + b"}" * 70, RpcNumber.PARSE, "body_too_deep"),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', RpcNumber.REQUEST, "body_malformed"),
        (b"[]", RpcNumber.REQUEST, "body_malformed"),
        (b"5", RpcNumber.REQUEST, "body_malformed"),
        (b'{"id": 1, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {}}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 99999999999999999, "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": "' + b"x" * 257 + b'", "method": "ping"}', RpcNumber.REQUEST, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', RpcNumber.PARAMS, "body_malformed"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": 5}}', RpcNumber.PARAMS, "body_malformed"),
    ],
)
@pytest.mark.requirement("gateway:body:strict")
def test_a_malformed_message_is_refused_by_name(body: bytes, number: int, code: str) -> None:
    reply = _one(body, base_headers())
    assert (reply.status, _number(reply), reply.code) == (400, number, code)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.text(max_size=3) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "_meta"]), inner, max_size=4)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=40)
@pytest.mark.requirement("gateway:body:strict")
def test_no_body_makes_the_gateway_stumble(body: bytes) -> None:
    assert 400 <= _one(body, base_headers(mcp_protocol_version=MODERN)).status < 500


# -- header = body, in the stateless era


@pytest.mark.parametrize(
    "change",
    [
        {"mcp-protocol-version": None},
        {"mcp-protocol-version": LEGACY},
        {"mcp-method": None},
        {"mcp-method": "tools/list"},
        {"mcp-method": "TOOLS/CALL"},
        {"mcp-name": None},
        {"mcp-name": "delete_customer"},
        {"mcp-name": "=?base64?ZGVsZXRlX2N1c3RvbWVy?="},
        {"mcp-name": "=?base64?####?="},
    ],
)
@pytest.mark.requirement("gateway:routing:header-body")
def test_a_routing_header_that_differs_from_the_body_is_refused(change: dict[str, str | None]) -> None:
    body, headers = modern()
    sent = {key: value for key, value in (headers | change).items() if value is not None}
    reply = _one(body, sent)
    assert (reply.status, _number(reply), reply.code) == (400, RpcNumber.HEADER, "header_mismatch")
    assert reply.json["id"] == 7 or change.get("mcp-protocol-version")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp-name", "read_customer"),
        ("Mcp-Method", "tools/list"),
        ("mcp-protocol-version", MODERN),
        ("mcp-session-id", "x"),
        ("authorization", "Bearer agent-two"),
        ("host", "127.0.0.1:8700"),
        ("content-type", "application/json"),
        ("mcp-param-region", "eu"),
    ],
)
@pytest.mark.requirement("gateway:routing:repeated")
def test_a_repeated_deciding_header_is_refused(name: str, value: str) -> None:
    body, headers = modern()
    repeated = [*(headers | {"mcp-param-region": "eu", "mcp-session-id": "x"}).items(), (name, value)]
    reply = _one(body, repeated)
    assert (reply.status, reply.code) == (400, "header_mismatch")


def test_an_encoded_name_is_compared_after_decoding() -> None:
    async def play() -> None:
        async with stage() as at:
            body, headers = modern()
            reply = await at.call(body, headers | {"mcp-name": "=?base64?cmVhZF9jdXN0b21lcg==?="})
            assert not reply.json["result"]["isError"]

    asyncio.run(play())


@pytest.mark.requirement("gateway:routing:parameters")
def test_parameter_headers_must_say_what_the_arguments_say() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    tool = make_tool("query", schema)

    async def play() -> None:
        async with stage(answer_ok, tool) as at:
            params = {"name": "query", "arguments": {"region": "eu"}}
            body, headers = modern(params=params)
            for wrong in ({}, {"mcp-param-region": "us"}):
                reply = await at.call(body, headers | wrong)
                assert (reply.status, _number(reply)) == (400, RpcNumber.HEADER)
            assert at.point.calls == []
            reply = await at.call(body, headers | {"mcp-param-region": "eu", "mcp-param-other": "ignored"})
            assert reply.status == 200
            assert at.server.seen[0].headers["mcp-param-region"] == "eu"
            assert "mcp-param-other" not in at.server.seen[0].headers

    asyncio.run(play())


@pytest.mark.requirement("gateway:routing:told-nothing")
def test_of_a_tool_that_is_not_granted_no_header_says_that_it_exists() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}

    async def play() -> None:
        async with stage(answer_ok, make_tool("query", schema)) as at:
            at.point.grants = False
            at.point.refusal = Refused(Code.TOOL_NOT_GRANTED, "no", "ask")
            answers = []
            for name in ("query", "nothing"):
                body, headers = modern(params={"name": name, "arguments": {"region": "eu"}})
                reply = await at.call(body, headers | {"mcp-param-region": "us"})
                answers.append((reply.status, reply.body))
            assert answers[0] == answers[1]
            assert answers[0][0] == 200
            assert len(at.point.calls) == 2

    asyncio.run(play())


@pytest.mark.parametrize(
    ("meta", "number"),
    [
        ({"io.modelcontextprotocol/protocolVersion": "2027-01-01"}, RpcNumber.HEADER),
        ({"io.modelcontextprotocol/protocolVersion": 5}, RpcNumber.HEADER),
        ({"io.modelcontextprotocol/clientCapabilities": []}, RpcNumber.PARAMS),
    ],
)
def test_the_envelope_of_the_stateless_era_is_checked(meta: dict[str, Any], number: int) -> None:
    body, headers = modern(meta=meta)
    assert _number(_one(body, headers)) == number


def test_a_missing_envelope_is_named() -> None:
    body, headers = modern()
    message = orjson.loads(body)
    del message["params"]["_meta"]
    reply = _one(orjson.dumps(message), headers)
    assert _number(reply) == RpcNumber.PARAMS
    assert "protocolVersion" in reply.json["error"]["message"]


def test_an_unknown_version_is_told_the_served_ones() -> None:
    body, headers = modern(meta={"io.modelcontextprotocol/protocolVersion": "2099-01-01"})
    reply = _one(body, headers | {"mcp-protocol-version": "2099-01-01"})
    # what `server/discover` says: a request with `_meta` of its own can be of no other version
    assert (_number(reply), reply.json["error"]["data"]["supported"]) == (-32022, [MODERN])


def test_a_client_of_sessions_of_an_unknown_version_is_told_both_eras() -> None:
    body, headers = legacy("tools/list", session="x")
    reply = _one(body, headers | {"mcp-protocol-version": "2024-11-05"})
    assert (_number(reply), reply.json["error"]["data"]["supported"]) == (-32022, [MODERN, LEGACY])


@pytest.mark.requirement("gateway:routing:white-space")
def test_white_space_around_a_header_is_no_part_of_its_value() -> None:
    body, headers = modern()
    spaced = {name: f" \t{value}  " if name.startswith("mcp-") else value for name, value in headers.items()}

    async def play() -> int:
        async with stage() as at:
            return (await at.call(body, spaced)).status

    assert asyncio.run(play()) == 200
    assert _number(_one(body, headers | {"mcp-name": " read_customers "})) == RpcNumber.HEADER


@pytest.mark.parametrize("method", ["resources/subscribe", "prompts/gets", "initialize", "ping", "tasks/list", "x"])
@pytest.mark.requirement("gateway:method:unknown-denied")
def test_an_unknown_method_is_denied_and_never_forwarded(method: str) -> None:
    reply = _one(*modern(method, {}))
    assert (reply.status, _number(reply), reply.code) == (404, RpcNumber.METHOD, "method_unknown")


@pytest.mark.requirement("gateway:method:unknown-denied")
def test_an_unknown_notification_is_denied() -> None:
    assert _one(*modern("notifications/roots/list_changed", {}, rpc_id=None)).status == 404
    assert _one(*modern("tools/call", rpc_id=None)).status == 404


def test_a_cancel_notice_of_the_stateless_era_is_taken_without_effect() -> None:
    body, headers = modern("notifications/cancelled", {"requestId": 7}, rpc_id=None)
    reply = _one(body, headers)
    assert (reply.status, reply.body) == (202, b"")


@pytest.mark.requirement("gateway:discover")
def test_discover_says_what_is_served_and_asks_not_to_be_shared() -> None:
    reply = _one(*modern("server/discover", {}))
    result = reply.json["result"]
    assert result["supportedVersions"] == [MODERN]
    assert (result["cacheScope"], result["capabilities"]) == ("private", DISCOVERED)


# -- tools/list


@pytest.mark.requirement("gateway:list:pinned-private")
def test_the_list_is_the_pinned_one_private_and_at_most_five_seconds_old() -> None:
    async def play() -> None:
        looked = []

        class Watch:
            def freshen(self, server: Any) -> None:
                looked.append(server.name)

        tool = make_tool("read_customer", title=None, annotations={"readOnlyHint": True})
        async with stage(answer_ok, tool, watch=Watch()) as at:
            reply = await at.call(*modern("tools/list", {}))
            result = reply.json["result"]
            assert (result["cacheScope"], result["ttlMs"], result["resultType"]) == ("private", 5000, "complete")
            assert reply.headers["cache-control"] == "private, no-store"
            listed = result["tools"][0]
            assert listed["description"] == "The pinned words on read_customer."
            assert listed["annotations"] == {"readOnlyHint": True}
            assert "title" not in listed
            assert looked == ["crm"]
            assert at.server.seen == []

    asyncio.run(play())


def test_a_cursor_that_was_never_given_out_is_refused() -> None:
    assert _number(_one(*modern("tools/list", {"cursor": "x"}))) == RpcNumber.PARAMS


# -- sessions


@pytest.mark.parametrize("asked", [LEGACY, "2025-06-18", "2025-03-26", "2024-11-05", "1999-01-01", MODERN])
@pytest.mark.requirement("gateway:session:negotiation")
def test_initialize_answers_every_version_with_the_newest_of_its_era(asked: str) -> None:
    reply = _one(*legacy("initialize", {"protocolVersion": asked, "capabilities": {}, "clientInfo": {}}))
    assert reply.json["result"]["protocolVersion"] == LEGACY
    assert reply.headers["mcp-session-id"].isascii()
    assert "resultType" not in reply.json["result"]


@pytest.mark.requirement("gateway:session:sealed")
def test_a_session_is_served_by_any_replica_and_only_to_its_own_credential_and_server() -> None:
    async def play() -> None:
        async with stage() as first, stage() as second:
            session = await first.begin()
            body, headers = legacy("ping", session=session)
            assert (await first.call(body, headers)).json == {"jsonrpc": "2.0", "id": 7, "result": {}}
            assert (await second.call(body, headers)).status == 200
            foreign = await first.call(body, headers | {"authorization": "Bearer agent-two"})
            assert (foreign.status, foreign.code) == (404, "session_unknown")
            flipped = session[:-2] + ("A" if session[-2] != "A" else "B") + session[-1]
            for wrong in ("", "x", flipped, session + "A", "é" * 10, "A" * 1000):
                assert (await first.call(body, headers | {"mcp-session-id": wrong})).status == 404
            first.clock.advance(25 * 3600)
            assert (await first.call(body, headers)).status == 404

    asyncio.run(play())


def test_delete_ends_a_session() -> None:
    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            body, headers = legacy("ping", session=session)
            ended = await at.call(b"", headers, method="DELETE")
            assert (ended.status, ended.body, "content-length" in ended.headers) == (204, b"", False)
            assert (await at.call(body, headers)).status == 404
            assert (await at.call(b"", headers, method="DELETE")).status == 404

    asyncio.run(play())


def test_what_needs_a_session_says_so() -> None:
    reply = _one(*legacy("tools/list"))
    assert (reply.status, reply.code) == (400, "session_unknown")


def test_a_session_speaks_the_version_it_negotiated() -> None:
    async def play() -> None:
        async with stage() as at:
            body, headers = legacy("ping", session=await at.begin())
            del headers["mcp-protocol-version"]
            assert (await at.call(body, headers)).status == 200
            reply = await at.call(body, headers | {"mcp-protocol-version": "2025-06-18"})
            assert (reply.status, reply.code) == (400, "protocol_version")

    asyncio.run(play())


def test_a_session_client_is_held_to_routing_headers_if_it_sends_them() -> None:
    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            body, headers = legacy("tools/call", {"name": "read_customer", "arguments": {}}, session=session)
            for wrong in ({"mcp-method": "tools/list"}, {"mcp-name": "other"}):
                assert (await at.call(body, headers | wrong)).code == "header_mismatch"
            assert at.point.calls == []

    asyncio.run(play())


@pytest.mark.requirement("gateway:method:unknown-denied")
def test_to_a_session_an_unknown_method_is_an_error_that_does_not_end_it() -> None:
    async def play() -> None:
        async with stage() as at:
            session = await at.begin()
            reply = await at.call(*legacy("logging/setLevel", session=session))
            assert (reply.status, _number(reply)) == (200, RpcNumber.METHOD)
            reply = await at.call(*legacy("notifications/initialized", rpc_id=None, session=session))
            assert (reply.status, reply.body) == (202, b"")

    asyncio.run(play())


def test_a_failure_inside_shows_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with stage() as at:

            def broken(*_: Any) -> Any:
                raise RuntimeError("the inside")

            at.point.visible = broken  # type: ignore[method-assign, assignment]  # a fault of the room above
            reply = await at.call(*modern("tools/list", {}))
            assert (reply.status, reply.code) == (500, "internal")
            assert b"inside" not in reply.body

    asyncio.run(play())
    assert "the inside" in caplog.text
