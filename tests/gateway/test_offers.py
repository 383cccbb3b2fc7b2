"""What a tool server changes, adds or calls by another name: blocked for every agent, and a finding for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.server.lowlevel import Server

from accredit.gateway.definitions import WatchedDefinitions
from accredit.kernel.ids import tool_id
from accredit.registry.items import prompt_key, resource_key
from accredit.serving import bound, served
from tests.enforcement.place import Place, Told, agent, document, place
from tests.gateway.stage import modern

_SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
_PAGE, _CARD = "lib://page", "lib://card/{id}"
_READS = {"data": ["internal"], "price": "0 USD"}
_KINDS = ("tool", "resource", "template", "prompt")
_NAMES = {"tool": "find", "resource": resource_key(_PAGE), "template": resource_key(_CARD), "prompt": prompt_key("ask")}
_RENAMED = {
    "tool": "search", "resource": resource_key("lib://page2"), "template": resource_key("lib://cards/{id}"),
    "prompt": prompt_key("inquire"),
}  # fmt: skip


@dataclass
class _Shelf:
    """A server's lists, by kind."""

    at: Place
    lists: dict[str, list[Any]] = field(
        default_factory=lambda: {
            "tool": [types.Tool(name="find", description="Finds one.", input_schema=_SCHEMA)],
            "resource": [types.Resource(uri=_PAGE, name="page", description="A page.")],
            "template": [types.ResourceTemplate(uri_template=_CARD, name="card", description="A card.")],
            "prompt": [
                types.Prompt(name="ask", description="Asks.", arguments=[types.PromptArgument(name="id")]),
            ],
        }
    )

    def change(self, kind: str, **fields: Any) -> None:
        self.lists[kind][0] = self.lists[kind][0].model_copy(update=fields)

    async def use(self, token: str, kind: str) -> Told:
        uses: dict[str, tuple[str, dict[str, Any]]] = {
            "tool": ("tools/call", {"name": "find", "arguments": {"id": "x"}}),
            "resource": ("resources/read", {"uri": _PAGE}),
            "template": ("resources/read", {"uri": "lib://card/x"}),
            "prompt": ("prompts/get", {"name": "ask", "arguments": {"id": "x"}}),
        }
        method, params = uses[kind]
        return Told(await self.at.post(token, *modern(method, params), server="shelf"))

    async def alerts(self) -> dict[tuple[str, str], dict[str, Any]]:
        await self.at.running.plane.room.monitor.round()
        found = (await self.at.operator.get("alerts"))["items"]
        return {(one["kind"], one["matter"]): one for one in found if one["kind"] != "first-denial"}


def _app(made: _Shelf) -> Any:
    async def tools(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=made.lists["tool"])

    async def resources(ctx: Any, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=made.lists["resource"])

    async def templates(ctx: Any, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=made.lists["template"])

    async def prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=made.lists["prompt"])

    async def call(ctx: Any, params: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text="found")])

    async def read(ctx: Any, params: Any) -> types.ReadResourceResult:
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text="x")])

    async def get(ctx: Any, params: Any) -> types.GetPromptResult:
        said = types.PromptMessage(role="user", content=types.TextContent(type="text", text="x"))
        return types.GetPromptResult(messages=[said])

    server = Server(
        "shelf", version="1", on_list_tools=tools, on_call_tool=call, on_list_resources=resources,
        on_list_resource_templates=templates, on_read_resource=read, on_list_prompts=prompts, on_get_prompt=get,
    )  # fmt: skip
    return server.streamable_http_app(json_response=True, host="127.0.0.1")


@asynccontextmanager
async def _shelf(data: Path) -> AsyncIterator[tuple[_Shelf, str]]:
    async with place(data) as at:
        made = _Shelf(at)
        async with served(_app(made), bound("127.0.0.1", 0)) as origin:
            spec = {
                "url": f"{origin}/mcp",
                "tools": {"find": {"effect": "read", **_READS}},
                "resources": {_PAGE: _READS, _CARD: _READS},
                "prompts": {"ask": _READS},
            }
            await at.apply(document("ToolServer", {"name": "shelf", "environment": "development"}, spec))
            grants = [{"server": "shelf", "allow": ["find"], "resources": [_PAGE, _CARD], "prompts": ["ask"]}]
            await at.apply(agent("reader", grants, data=["internal"]))
            await at.enrol("reader")
            token = await at.token("reader", server="shelf")
            for kind in _KINDS:
                assert (await made.use(token, kind)).allowed, kind
            at.site.clock.advance(20)  # the next call looks again, and at all there is
            assert (await made.use(token, "tool")).allowed
            await _at_rest(made)
            assert await made.alerts() == {}
            yield made, token


async def _at_rest(made: _Shelf) -> None:
    """Everything the server lists was looked at: a call began that, and does not wait for it."""
    watch = made.at.running.plane.definitions
    assert isinstance(watch, WatchedDefinitions)
    async with asyncio.timeout(20):
        while watch._looking or watch._wholly:
            await asyncio.sleep(0.01)


_SCHEMAS: dict[str, dict[str, Any]] = {
    "tool": {"input_schema": {**_SCHEMA, "required": []}},
    "resource": {"mime_type": "text/html"},
    "template": {"mime_type": "text/html"},
    "prompt": {"arguments": [types.PromptArgument(name="id", required=True)]},
}


@pytest.mark.parametrize("case", ["description", "schema"])
@pytest.mark.requirement("gateway:offer:changed")
def test_what_changed_is_blocked_and_a_finding(tmp_path: Path, case: str) -> None:
    async def live() -> None:
        async with _shelf(tmp_path / "data") as (made, token):
            for count, kind in enumerate(_KINDS, start=1):
                made.change(kind, **({"description": "Another one."} if case == "description" else _SCHEMAS[kind]))
                made.at.site.clock.advance(31)
                (await made.use(token, kind)).refused("definition_changed")
                changed = {("posture-definition", tool_id("shelf", _NAMES[one])) for one in _KINDS[:count]}
                assert set(await made.alerts()) == changed
                for other in _KINDS[count:]:  # and nothing else is blocked with it
                    assert (await made.use(token, other)).allowed, (kind, other)

    asyncio.run(live())


@pytest.mark.parametrize("case", ["added", "renamed"])
@pytest.mark.requirement("gateway:offer:added")
def test_what_is_added_or_called_otherwise_reaches_no_agent_and_is_a_finding(tmp_path: Path, case: str) -> None:
    async def live() -> None:
        async with _shelf(tmp_path / "data") as (made, token):
            for kind, member in zip(_KINDS, ("name", "uri", "uri_template", "name"), strict=True):
                named = {member: _RENAMED[kind].rpartition("prompts/")[2].removeprefix("resources/")}
                if case == "renamed":
                    made.change(kind, **named)
                else:
                    new = {**named, "description": "Something new."}
                    made.lists[kind].append(made.lists[kind][0].model_copy(update=new))
            made.at.site.clock.advance(301)
            for kind in _KINDS:
                told = await made.use(token, kind)
                if case == "renamed":
                    told.refused("definition_changed")
                else:
                    assert told.allowed
            await _at_rest(made)
            found = {matter: one for (kind, matter), one in (await made.alerts()).items() if kind == "new-offer"}
            assert set(found) == {tool_id("shelf", name) for name in _RENAMED.values()}
            for kind in _KINDS:
                alert = found[tool_id("shelf", _RENAMED[kind])]
                old = tool_id("shelf", _NAMES[kind]) if case == "renamed" else None
                assert alert["evidence"].get("renamed_from") == old
                assert (alert["agent"], alert["severity"], alert["remediation"]) == (None, "warning", "none")
            for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list"):
                listed = str(Told(await made.at.post(token, *modern(method, {}), server="shelf")).json["result"])
                assert not any(name in listed for name in ("search", "page2", "cards", "inquire")), method
            # told once: whoever said that it is over is not told again
            for alert in found.values():
                await made.at.operator.post(
                    f"alerts/{alert['id']}/resolve", {"note": "known", "disposition": "expected-change"}
                )
            made.at.site.clock.advance(301)
            await made.use(token, "tool")
            await _at_rest(made)
            left = [one for (kind, _), one in (await made.alerts()).items() if kind == "new-offer"]
            assert all(one["closed"] for one in left)

    asyncio.run(live())
