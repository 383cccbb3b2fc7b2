"""The `mcp` SDK's own client, in both eras, through a real server, to a tool server built with the same SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from accredit.enforcement.model import CallEnd, Refused
from accredit.gateway.mcp import McpGateway
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.ids import HoldId
from tests.gateway.stage import START_US, StagedEnforcement, make_gateway, make_server, make_tool, serving

_SCHEMA = {
    "type": "object",
    "properties": {"customer_id": {"type": "string"}, "region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["customer_id"],
}
_ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def _crm(reached: list[tuple[str, Mapping[str, Any]]], *, json_response: bool) -> Any:
    """A tool server: what it lists live differs from what is pinned, to show which of both an agent sees."""

    async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[types.Tool(name="read_customer", description="Changed since!", input_schema=_SCHEMA)]
        )

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        reached.append((ctx.request.headers["authorization"], dict(params.arguments or {})))
        await ctx.session.report_progress(1, 2, "half way")
        text = types.TextContent(type="text", text="Ada Example")
        return types.CallToolResult(content=[text], structured_content={"name": "Ada Example"})

    server = Server("crm", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app(json_response=json_response, host="127.0.0.1")


@asynccontextmanager
async def sdk_client(origin: str, mode: Any, **more: Any) -> AsyncIterator[Client]:
    headers = {"authorization": "Bearer agent-one"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=10, trust_env=False) as http,
        Client(streamable_http_client(f"{origin}/mcp/crm", http_client=http), mode=mode, **more) as client,
    ):
        yield client


@asynccontextmanager
async def _through(
    reached: list[Any], *, json_response: bool = True
) -> AsyncIterator[tuple[str, StagedEnforcement, McpGateway]]:
    async with serving(_crm(reached, json_response=json_response), lifespan="on") as upstream:
        point = StagedEnforcement(make_server(f"{upstream}/mcp", make_tool("read_customer", _SCHEMA)))
        gateway = make_gateway(point, ScriptedClock(START_US))
        async with serving(gateway) as origin:
            try:
                yield origin, point, gateway
            finally:
                await gateway.aclose()


@pytest.mark.parametrize("mode", ["2026-07-28", "auto", "legacy"])
@pytest.mark.requirement("gateway:eras:sdk-client")
def test_the_sdk_client_of_each_era_lists_pinned_tools_and_calls_them(mode: str) -> None:
    async def play() -> None:
        reached: list[Any] = []
        async with _through(reached) as (origin, point, _), sdk_client(origin, mode) as client:
            listed = (await client.list_tools()).tools
            assert [tool.description for tool in listed] == ["The pinned words on read_customer."]
            result = await client.call_tool("read_customer", {"customer_id": "c-1", "region": "Zürich "})
            assert result.structured_content == {"name": "Ada Example"}
            assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
            assert point.calls[0].protocol == f"mcp/{client.protocol_version}"
        assert reached == [("Bearer brokered-secret", {"customer_id": "c-1", "region": "Zürich "})]
        assert [settled.end for settled in point.settled] == [CallEnd.OK]

    asyncio.run(play())


@_ERAS
@pytest.mark.requirement("gateway:relay:progress")
def test_progress_of_a_streaming_tool_server_reaches_the_sdk_client(mode: str) -> None:
    async def play() -> None:
        heard: list[tuple[float, float | None, str | None]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        reached: list[Any] = []
        async with (
            _through(reached, json_response=False) as (origin, point, _),
            sdk_client(origin, mode) as client,
        ):
            await client.list_tools()
            result = await client.call_tool("read_customer", {"customer_id": "c-1"}, progress_callback=hear)
            assert not result.is_error
        assert heard == [(1, 2, "half way")]
        assert [settled.end for settled in point.settled] == [CallEnd.OK]

    asyncio.run(play())


@_ERAS
@pytest.mark.requirement("gateway:refusal:readable")
def test_a_refusal_is_a_result_that_the_sdk_client_can_read(mode: str) -> None:
    async def play() -> None:
        async with _through([]) as (origin, point, _), sdk_client(origin, mode) as client:
            point.refusal = Refused(
                Code.FORBIDDEN_BY_POLICY, "a policy forbids this call", hint="ask its author", policies=("org/x-1",)
            )
            result = await client.call_tool("read_customer", {"customer_id": "c-1"})
            assert result.is_error
            assert result.structured_content is not None
            assert result.structured_content["code"] == "forbidden_by_policy"
            assert result.structured_content["policy"] == ["org/x-1"]

    asyncio.run(play())


@_ERAS
def test_the_sdk_client_learns_that_a_method_is_not_served(mode: str) -> None:
    async def play() -> None:
        async with _through([]) as (origin, _, _), sdk_client(origin, mode) as client:
            with pytest.warns(MCPDeprecationWarning), pytest.raises(MCPError) as caught:
                await client.set_logging_level("info")
            assert caught.value.code == types.METHOD_NOT_FOUND

    asyncio.run(play())


@pytest.mark.requirement("gateway:hold:elicitation")
def test_a_held_call_of_a_client_that_can_ask_its_user_continues_once_it_is_granted() -> None:
    async def play() -> None:
        reached: list[Any] = []
        asked: list[str] = []
        async with _through(reached) as (origin, point, _):
            point.refusal = Refused(
                Code.HELD, Code.HELD.meaning, hold=HoldId("hld_1"), roles=("support-lead",), expires_us=START_US + 10**9
            )

            async def confirm(context: Any, params: Any) -> types.ElicitResult:
                asked.append(params.message)
                if len(asked) == 2:
                    point.refusal = None  # somebody approved
                return types.ElicitResult(action="accept", content={})

            async with sdk_client(origin, "2026-07-28", elicitation_callback=confirm) as client:
                result = await client.call_tool("read_customer", {"customer_id": "c-1"})
            assert not result.is_error
            assert [call.hold for call in point.calls] == [None, "hld_1", "hld_1"]
            assert "support-lead" in asked[0]

    asyncio.run(play())


@_ERAS
@pytest.mark.requirement("gateway:hold:no-elicitation")
def test_a_held_call_of_a_client_that_cannot_ask_its_user_is_an_error_that_names_the_hold(mode: str) -> None:
    async def play() -> None:
        async with _through([]) as (origin, point, _), sdk_client(origin, mode) as client:
            point.refusal = Refused(Code.HELD, Code.HELD.meaning, hold=HoldId("hld_1"), roles=("support-lead",))
            result = await client.call_tool("read_customer", {"customer_id": "c-1"})
            assert result.structured_content is not None
            assert (result.is_error, result.structured_content["hold"]) == (True, "hld_1")

    asyncio.run(play())


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])  # one closes its connection, the other sends a notification
@pytest.mark.requirement("gateway:cancel:client")
def test_a_call_that_the_sdk_client_cancels_is_cancelled_upstream_and_settled(mode: str) -> None:
    async def play() -> None:
        arrived, ended = asyncio.Event(), asyncio.Event()

        async def hang(scope: Any, receive: Any, send: Any) -> None:
            while (await receive()).get("more_body"):
                pass
            arrived.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            ended.set()

        async with serving(hang) as upstream:
            point = StagedEnforcement(make_server(f"{upstream}/mcp", make_tool("read_customer", _SCHEMA)))
            gateway = make_gateway(point, ScriptedClock(START_US))
            async with serving(gateway) as origin, sdk_client(origin, mode) as client:
                task = asyncio.create_task(client.call_tool("read_customer", {"customer_id": "c-1"}))
                async with asyncio.timeout(10):
                    await arrived.wait()
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    await ended.wait()
            await gateway.aclose()
            assert [settled.end for settled in point.settled] == [CallEnd.CANCELLED]

    asyncio.run(play())
