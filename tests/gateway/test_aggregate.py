"""`/mcp`: the tools of every server in one list, each under one name, decided like any other call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Write
from accredit.gateway.aggregate import AggregatedNames, aggregated_name
from accredit.kernel.codes import Code
from accredit.kernel.ids import ServerName
from accredit.registry.model import ToolServer
from tests.enforcement.place import CRM_TOOLS, Place, ToolBox, agent, encoded_name, site, tool
from tests.gateway.stage import DISCOVERED, Reply, answer_ok, legacy, make_server, make_tool, modern, stage

_MODELS_TAKE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_SERVERS = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True).map(ServerName)
_TOOLS = st.text(min_size=1, max_size=128) | st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True)
# what was once a way for one tool to be taken for another
_ODD = ("search.all", "a" * 100, "_read", "__read", "crm__read", "read ", "ünder", "x" * 59, "x" * 60, "-", "_")


def _servers(*found: tuple[str, str]) -> dict[ServerName, ToolServer]:
    """Tool servers that have these (server, tool)."""
    named: dict[ServerName, dict[str, Any]] = {}
    for server, own in found:
        named.setdefault(ServerName(server), {})[own] = make_tool(own)
    base = make_server("http://127.0.0.1:1")
    return {
        server: ToolServer(server, base.environment, base.url, base.credential, tools)
        for server, tools in named.items()
    }


@given(st.lists(st.tuples(_SERVERS, _TOOLS), min_size=1, max_size=12, unique=True))
@pytest.mark.requirement("gateway:aggregate:names")
def test_every_tool_has_one_name_that_models_take_and_that_reads_back_as_that_tool_alone(
    found: list[tuple[ServerName, str]],
) -> None:
    names = {pair: aggregated_name(*pair) for pair in found}
    assert all(_MODELS_TAKE.fullmatch(name) for name in names.values())
    assert len(set(names.values())) == len(found)
    servers, reading = _servers(*found), AggregatedNames()
    for pair, name in names.items():
        assert reading.read(name, servers) == pair


@given(st.sampled_from(_ODD) | _TOOLS, _SERVERS)
@pytest.mark.requirement("gateway:aggregate:names")
def test_no_name_that_a_server_gives_a_tool_reads_as_a_tool_of_another_server(own: str, hostile: str) -> None:
    servers = _servers(("crm", "read"), ("crm", "search.all"), (hostile, own))
    meant = AggregatedNames().read(aggregated_name(ServerName(hostile), own), servers)
    assert meant == (hostile, own)
    for victim in ("crm__read", aggregated_name(ServerName("crm"), "search.all")):
        server = AggregatedNames().read(victim, servers)
        assert server is not None
        assert server[0] == "crm"


@pytest.mark.parametrize(
    "name", ["search.all", "crm__search.all", "crm__" + "a" * 100, "_crm__search-all_" + "0" * 24, "crm_read", "__read"]
)
@pytest.mark.requirement("gateway:aggregate:names")
def test_a_tool_answers_to_no_other_name_than_its_own(name: str) -> None:
    servers = _servers(("crm", "read"), ("crm", "search.all"), ("crm", "a" * 100))
    assert AggregatedNames().read(name, servers) is None


def test_servers_whose_long_names_begin_alike_are_told_apart() -> None:
    alike = "the-same-long-beginning-of-a-name"
    servers = _servers((f"{alike}-a", "x" * 60), (f"{alike}-b", "x" * 60))
    names = {server: aggregated_name(server, "x" * 60) for server in servers}
    reading = AggregatedNames()
    assert {reading.read(name, servers) for name in names.values()} == {(server, "x" * 60) for server in servers}


def test_what_is_known_of_a_servers_names_follows_the_server() -> None:
    reading, name = AggregatedNames(), aggregated_name(ServerName("crm"), "search.all")
    assert reading.read(name, _servers(("crm", "read"))) is None
    assert reading.read(name, _servers(("crm", "search.all"))) == ("crm", "search.all")
    assert reading.read(name, _servers(("crm", "other.one"))) is None


# -- the endpoint


def _call(name: str, arguments: Mapping[str, Any] | None = None) -> tuple[bytes, dict[str, str]]:
    body, headers = modern(params={"name": name, "arguments": dict(arguments or {"customer_id": "c-1"})})
    return body, headers | {"mcp-name": encoded_name(name)}


@pytest.mark.parametrize("own", ["read_customer", "search.all", "ünder"])
@pytest.mark.requirement("gateway:aggregate:call")
def test_a_call_is_decided_and_forwarded_under_the_servers_own_name(own: str) -> None:
    async def play() -> None:
        async with stage(answer_ok, make_tool(own)) as at:
            listed = (await at.call(*modern("tools/list", {}), path="/mcp")).json["result"]["tools"]
            assert [one["_meta"] for one in listed] == [{"dev.accredit/tool": at.point.target.tools[own].id}]
            reply = await at.call(*_call(listed[0]["name"]), path="/mcp")
            assert not reply.json["result"]["isError"]
            assert [(call.server, call.tool) for call in at.point.calls] == [("crm", own)]
            seen = at.server.seen[0]
            assert seen.message["params"]["name"] == own
            assert seen.headers["mcp-name"] == encoded_name(own)

    asyncio.run(play())


@pytest.mark.requirement("gateway:routing:header-body")
def test_the_header_is_compared_with_the_name_that_was_called() -> None:
    async def play() -> None:
        async with stage() as at:
            body, headers = _call("crm__read_customer")
            for wrong in ("read_customer", "crm__other"):
                reply = await at.call(body, headers | {"mcp-name": wrong}, path="/mcp")
                assert (reply.status, reply.code) == (400, "header_mismatch")
            schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
            at.point.target = make_server(at.server.url, make_tool("query", schema))
            body, headers = _call("crm__query", {"region": "eu"})
            assert (await at.call(body, headers, path="/mcp")).code == "header_mismatch"
            assert at.point.calls == []
            assert (await at.call(body, headers | {"mcp-param-region": "eu"}, path="/mcp")).status == 200
            assert at.server.seen[0].headers["mcp-param-region"] == "eu"

    asyncio.run(play())


@pytest.mark.requirement("gateway:list:pinned-private")
def test_the_list_of_all_is_pinned_and_private_and_a_masked_or_odd_definition_keeps_what_it_says() -> None:
    async def play() -> None:
        looked: list[str] = []

        class Watch:
            def freshen(self, server: Any) -> None:
                looked.append(server.name)

        pinned = make_tool("read_customer", _meta={"own": 1, "dev.accredit/tool": "other/tool"}, title="Look")
        async with stage(answer_ok, pinned, watch=Watch()) as at:
            reply = await at.call(*modern("tools/list", {}), path="/mcp")
            assert reply.headers["cache-control"] == "private, no-store"
            result = reply.json["result"]
            assert (result["cacheScope"], result["ttlMs"]) == ("private", 5000)
            assert [(one["name"], one["title"], one["_meta"]) for one in result["tools"]] == [
                ("crm__read_customer", "Look", {"own": 1, "dev.accredit/tool": "crm/read_customer"})
            ]
            assert looked == ["crm"]
            assert at.server.seen == []

    asyncio.run(play())


@pytest.mark.requirement("gateway:session:sealed")
def test_a_session_of_all_servers_is_none_of_one_server_and_the_other_way_round() -> None:
    async def play() -> None:
        async with stage() as at, stage() as other:
            own = await at.begin()
            initialize = legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
            shared = (await at.call(*initialize, path="/mcp")).headers["mcp-session-id"]
            for session, path, status in (
                (shared, "/mcp", 200),
                (own, "/mcp", 404),
                (shared, "/mcp/crm", 404),
                (own, "/mcp/crm", 200),
            ):
                assert (await at.call(*legacy("ping", session=session), path=path)).status == status
                assert (await other.call(*legacy("ping", session=session), path=path)).status == status

    asyncio.run(play())


@pytest.mark.requirement("gateway:discover")
def test_all_servers_together_say_what_is_served_like_each_of_them() -> None:
    async def play() -> None:
        async with stage() as at:
            for path in ("/mcp", "/mcp/crm"):
                reply = await at.call(*modern("server/discover", {}), path=path)
                assert reply.json["result"]["capabilities"] == DISCOVERED

    asyncio.run(play())


@pytest.mark.requirement("gateway:authentication:constant-text")
def test_an_unproven_caller_is_shown_the_metadata_of_all_servers() -> None:
    async def play() -> Reply:
        async with stage() as at:
            body, headers = modern()
            return await at.call(body, headers | {"authorization": "Bearer wrong"}, path="/mcp")

    reply = asyncio.run(play())
    assert reply.status == 401
    assert reply.headers["www-authenticate"].endswith('/.well-known/oauth-protected-resource/mcp"')


# -- in a whole installation

_BOTH = agent("worker", [{"allow": ["read", "refund"]}, {"server": "erp", "allow": ["read", "search.all"]}])
_ERP = {name: {"effect": "read", "data": ["internal"], "price": "0.05 USD"} for name in ("read", "count", "search.all")}


async def _registered(at: Place) -> None:
    """Two servers, and the worker that may use some of both."""
    await at.site.register(at)
    await at.apply(at.site.crm(_ERP, "erp"), _BOTH)
    await at.enrol("worker")


async def _elsewhere(at: Place) -> None:
    """The same tools again at a server in staging, as rows: no single person may register it."""
    control = at.running.plane.control
    server, name = control.view.get("server", "erp"), "stage-crm"
    assert server is not None
    pins = [
        Write("tool", row.key.replace("erp/", f"{name}/"), row.doc)
        for row in control.view.scan("tool")
        if row.key.startswith("erp/")
    ]
    writes = (Write("server", name, {**server.doc, "environment": "staging"}), *pins)
    await control.transact(lambda _: Change(Facts("server.registered"), writes, Actor(), {}))
    assert at.enforcer.server(ServerName(name)).tools


async def _listed(at: Place, token: str, server: str | None) -> list[str]:
    answer = await at.post(token, *modern("tools/list", {}), server=server)
    return [one["name"] for one in answer.json()["result"]["tools"]]


_ALIAS = aggregated_name(ServerName("erp"), "search.all")


@pytest.mark.requirement("gateway:aggregate:list")
@pytest.mark.requirement("gateway:aggregate:call")
def test_an_agent_lists_and_calls_what_it_may_use_of_every_server_of_its_environment(tmp_path: Path) -> None:
    async def live() -> None:
        box = ToolBox(*CRM_TOOLS, tool("search.all"))
        async with site(tmp_path / "data", box=box) as empty, empty.started() as at:
            await _registered(at)
            token = await at.token("worker", server=None)
            assert await _listed(at, token, None) == ["crm__read", "crm__refund", "erp__read", _ALIAS]
            assert await _listed(at, token, "erp") == ["read", "search.all"]
            for name, server, own in (("crm__read", "crm", "read"), (_ALIAS, "erp", "search.all")):
                assert (await at.call(token, name, {"customer_id": "c-1"}, server=None)).allowed
                assert (await at.call(token, own, {"customer_id": "c-1"}, server=server)).allowed
            assert [call["name"] for call in box.calls] == ["read", "read", "search.all", "search.all"]
            await at.settled()
            decided = at.records("decision")
            assert [header["tool"] for header, _ in decided[:4]] == ["crm/read"] * 2 + ["erp/search.all"] * 2
            assert {body["code"] for _, body in decided} == {decided[0][1]["code"]}
            (await at.call(token, "crm__refund", {"cents": "x"}, server=None)).refused("arguments_invalid")
            held = (await at.call(token, "crm__refund", {"cents": 5}, server=None)).refused("held")
            again = (await at.call(token, "refund", {"cents": 5}, server="crm")).refused("held")
            assert held["hold"] == again["hold"]

    asyncio.run(live())


@pytest.mark.requirement("gateway:aggregate:unknown")
def test_a_name_that_is_nobodys_or_of_another_environment_is_refused_like_an_unknown_tool_and_is_on_record(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*CRM_TOOLS, tool("search.all"))) as empty:
            async with empty.started() as at:
                await _registered(at)
                await _elsewhere(at)
                token = await at.token("worker", server=None)
                unknown = (await at.call(token, "nothing", server="crm")).refused("tool_not_granted")
                names = (
                    "crm__nothing",
                    "none__read",
                    "stage-crm__read",
                    aggregated_name(ServerName("stage-crm"), "search.all"),
                    "read",
                    "crm/read",
                    "crm__search.all",
                    "erp__search.all",
                    "_erp__search-all_" + "0" * 24,
                    "CRM__read",
                    "_",
                    "crm__" + "x" * 200,
                )
                for name in names:
                    told = (await at.call(token, name, server=None)).refused("tool_not_granted")
                    assert {**told, "decision_id": ""} == {**unknown, "decision_id": ""}, name
                await at.settled()
                assert empty.box.calls == []
                # equal refusals are recorded one by one until they are a flood
                found = [body for _, body in at.records("decision") if body["code"] == "tool_not_granted"]
                assert len(found) == 1 + len(names)
                assert all(body["unknown_tool"] for body in found)
            empty.verified()

    asyncio.run(live())


@pytest.mark.requirement("gateway:aggregate:audience")
def test_a_token_for_all_servers_works_at_each_and_one_for_a_server_only_there(tmp_path: Path) -> None:
    async def live() -> None:
        box = ToolBox(*CRM_TOOLS, tool("search.all"))
        async with site(tmp_path / "data", box=box) as empty, empty.started() as at:
            await _registered(at)
            everywhere, crm = await at.token("worker", server=None), await at.token("worker")
            for token, server, status in (
                (everywhere, None, 200),
                (everywhere, "crm", 200),
                (everywhere, "erp", 200),
                (crm, "crm", 200),
                (crm, None, 401),
                (crm, "erp", 401),
            ):
                answer = await at.post(token, *modern("tools/list", {}), server=server)
                assert answer.status_code == status, (server, answer.text)
            metadata = await at.site.agents_http.get(f"{at.url}/.well-known/oauth-protected-resource/mcp")
            assert metadata.json()["resource"] == f"{at.url}/mcp"

    asyncio.run(live())


@pytest.mark.requirement("gateway:aggregate:one-down")
def test_a_server_that_is_down_or_whose_row_is_not_proven_leaves_the_others_usable(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*CRM_TOOLS, tool("search.all"))) as empty:
            async with empty.started() as at:
                await _registered(at)
                real = at.ports["definitions"].real

                async def refusal(server: ServerName, asked: Any) -> Code | None:
                    return Code.DEFINITION_UNVERIFIED if server == "erp" else await real.refusal(server, asked)

                at.ports["definitions"].instead["refusal"] = refusal
                token = await at.token("worker", server=None)
                assert "erp__read" in await _listed(at, token, None)
                (await at.call(token, "erp__read", server=None)).refused("definition_unverified")
                assert (await at.call(token, "crm__read", server=None)).allowed
            assert empty.sql("control.db", "DELETE FROM state WHERE kind = 'server' AND key = 'erp'") == 1
            async with empty.started() as at:
                token = await at.token("worker", server=None)
                assert await _listed(at, token, None) == ["crm__read", "crm__refund"]
                (await at.call(token, "erp__read", server=None)).refused("state_unproven")
                assert (await at.call(token, "crm__read", server=None)).allowed

    asyncio.run(live())


@pytest.mark.parametrize("mode", ["2026-07-28", "auto", "legacy"])
@pytest.mark.requirement("gateway:eras:sdk-client")
@pytest.mark.requirement("gateway:aggregate:call")
def test_the_sdk_client_of_each_era_uses_tools_of_several_servers_at_one_address(tmp_path: Path, mode: Any) -> None:
    async def live() -> None:
        box = ToolBox(*CRM_TOOLS, tool("search.all"))
        async with site(tmp_path / "data", box=box) as empty, empty.started() as at:
            await _registered(at)
            headers = {"authorization": f"Bearer {await at.token('worker', server=None)}"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=20, trust_env=False) as http,
                Client(streamable_http_client(f"{at.url}/mcp", http_client=http), mode=mode) as client,
            ):
                listed = [one.name for one in (await client.list_tools()).tools]
                assert listed == ["crm__read", "crm__refund", "erp__read", _ALIAS]
                for name in ("crm__read", "erp__read", _ALIAS):
                    assert not (await client.call_tool(name, {"customer_id": "c-1"})).is_error, name
                assert (await client.call_tool("crm__count", {})).is_error
            assert [call["name"] for call in box.calls] == ["read", "read", "search.all"]

    asyncio.run(live())
