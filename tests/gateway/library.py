"""An MCP server with resources, templates, prompts and completion, built with the SDK, and a place that governs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated

from accredit.serving import bound, served
from tests.enforcement.place import Place, Told, agent, document, place
from tests.gateway.stage import modern

__all__ = ["CARD", "GRANTED", "LETTER", "SHELF", "Library", "library", "reader", "server"]

SHELF = "lib://shelf/main"
CARD = "lib://card/{customer_id}"
LETTER = "letter"
ITEMS: Mapping[str, Any] = {
    "resources": {
        SHELF: {"data": ["internal"], "price": "0.01 USD"},
        CARD: {"data": ["personal"], "price": "0.01 USD"},
        "lib://card/vault": {"data": ["secret"], "price": "0 USD"},
    },
    "prompts": {
        LETTER: {"data": ["internal"], "price": "0 USD"},
        "unused": {"data": ["internal"], "price": "0 USD"},
    },
}
GRANTED: Mapping[str, Any] = {"resources": [SHELF, CARD], "prompts": [LETTER]}


@dataclass
class Library:
    """The place, what the server lists, and what arrived there."""

    at: Place = field(init=False)
    url: str = ""
    name: str = "library"
    arrived: list[tuple[str, Any]] = field(default_factory=list)
    resources: list[types.Resource] = field(
        default_factory=lambda: [
            types.Resource(uri=SHELF, name="shelf", description="What stands there.", mime_type="text/plain"),
            types.Resource(uri="lib://card/vault", name="vault"),
        ]
    )
    templates: list[types.ResourceTemplate] = field(
        default_factory=lambda: [types.ResourceTemplate(uri_template=CARD, name="card", description="Who borrows.")]
    )
    prompts: list[types.Prompt] = field(
        default_factory=lambda: [
            types.Prompt(
                name=LETTER,
                description="Writes a letter.",
                arguments=[
                    types.PromptArgument(name="to", required=True),
                    types.PromptArgument(name="tone", description="kind or strict"),
                ],
            ),
            types.Prompt(name="unused"),
        ]
    )
    text: str = "the text of it"
    failure: str | None = None
    sessions: set[Any] = field(default_factory=set)
    """Of the era of sessions, in which something was subscribed to."""
    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    asks: bool = False
    """Whether it wants to know something before it gives a prompt."""

    async def update(self, uri: str) -> None:
        """Tell whoever asked for it that a resource changed."""
        await self.bus.publish(ResourceUpdated(uri=uri))
        for session in list(self.sessions):
            await session.send_resource_updated(uri)

    async def token(self, name: str = "reader", server: str | None = "library", **served: Any) -> str:
        return await self.at.token(name, server=server, **served)

    async def ask(
        self, method: str, params: Mapping[str, Any], *, token: str, server: str | None = "library", **more: Any
    ) -> Told:
        """One request of the stateless era, as bytes."""
        body, headers = modern(method, params, **more)
        return Told(await self.at.post(token, body, headers, server=server))

    async def read(self, uri: str, *, token: str, server: str | None = "library", **more: Any) -> Told:
        return await self.ask("resources/read", {"uri": uri}, token=token, server=server, **more)

    @asynccontextmanager
    async def client(self, mode: Any, token: str, server: str | None = "library", **more: Any) -> AsyncIterator[Client]:
        """The SDK's own client."""
        headers = {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=20, trust_env=False) as http,
            Client(streamable_http_client(self.at.route(server), http_client=http), mode=mode, **more) as client,
        ):
            yield client


def _app(made: Library) -> Any:
    async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[])

    async def list_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=made.resources)

    async def list_templates(ctx: Any, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=made.templates)

    async def list_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=made.prompts)

    async def read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        made.arrived.append(("resources/read", params.uri))
        if made.failure is not None:
            raise MCPError(-32055, made.failure)
        content = types.TextResourceContents(uri=params.uri, text=made.text, mime_type="text/plain")
        return types.ReadResourceResult(contents=[content], ttl_ms=3_600_000, cache_scope="public")

    async def get_prompt(ctx: Any, params: types.GetPromptRequestParams) -> Any:
        made.arrived.append(("prompts/get", (params.name, dict(params.arguments or {}))))
        if made.asks and not params.input_responses:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            form = types.ElicitRequestFormParams(message="Whose letter?", requested_schema=schema)
            return types.InputRequiredResult(
                input_requests={"who": types.ElicitRequest(params=form)}, request_state="s"
            )
        link = types.ResourceLink(type="resource_link", uri="lib://elsewhere", name="untouched")
        said = types.TextContent(type="text", text=made.text)
        return types.GetPromptResult(
            messages=[types.PromptMessage(role="user", content=said), types.PromptMessage(role="user", content=link)]
        )

    async def complete(ctx: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
        known = dict(params.context.arguments or {}) if params.context else {}
        made.arrived.append(("completion/complete", (params.ref, params.argument.name, params.argument.value, known)))
        return types.CompleteResult(completion=types.Completion(values=["Ada", "Alan"], total=2))

    async def subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
        made.arrived.append(("resources/subscribe", params.uri))
        made.sessions.add(ctx.session)
        return types.EmptyResult()

    async def unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        made.arrived.append(("resources/unsubscribe", params.uri))
        return types.EmptyResult()

    server = Server(
        made.name,
        version="1",
        on_list_tools=list_tools,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_list_prompts=list_prompts,
        on_read_resource=read_resource,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(made.bus),
    )
    return server.streamable_http_app(json_response=True, host="127.0.0.1")


def server(url: str, name: str = "library", **spec: Any) -> dict[str, Any]:
    """Its manifest."""
    return document("ToolServer", {"name": name, "environment": "development"}, {"url": url, **ITEMS, **spec})


def reader(*grants: Mapping[str, Any], name: str = "reader", **spec: Any) -> dict[str, Any]:
    """An agent that reads from it."""
    granted = [{"server": "library"} | dict(each) for each in grants or (GRANTED,)]
    return agent(name, granted, **{"data": ["internal", "personal"]} | spec)


@asynccontextmanager
async def library(
    data: Path, *agents: Mapping[str, Any], others: Sequence[str] = (), **spec: Any
) -> AsyncIterator[Library]:
    """A place whose tool server `library` is that one, and its agents, enrolled; `others` are servers just like it."""
    made = Library()
    # the place ends first: a server that ends waits for whoever still listens to it
    async with served(_app(made), bound("127.0.0.1", 0)) as origin, place(data) as made.at:
        made.url = f"{origin}/mcp"
        await made.at.apply(server(made.url, **spec), *(server(made.url, name) for name in others))
        await made.at.apply(*(agents or (reader(),)))
        for each in agents or (reader(),):
            await made.at.enrol(each["metadata"]["name"])
        yield made
