"""The tools of `server-everything`, listed and called with the SDK's own client: what comes back, as one check each."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.conformance.comparing import Check, Outcome

__all__ = ["Listed", "called", "listed"]

_CALLS: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("echo", {"message": "hällo \U0001f680"}),
    ("get-sum", {"a": 2, "b": -0.5}),
    ("get-sum", {"a": "not a number", "b": 1}),
    ("get-tiny-image", {}),
    ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("get-structured-content", {"location": "New York"}),
    ("get-resource-reference", {"resourceType": "Text", "resourceId": 1}),
    ("get-resource-links", {"count": 3}),
    ("trigger-long-running-operation", {"duration": 0.2, "steps": 2}),
)
_TIME: Final = re.compile(r"(?<=created at )\d{1,2}:\d\d:\d\d[ \w]*(?:\\u202f)?(?:[AP]M)?")


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(timeout=30, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode="auto") as client,
    ):
        yield client


@dataclass(frozen=True, slots=True)
class Listed:
    """What a server says it has."""

    tools: tuple[str, ...]
    resources: tuple[str, ...]
    """By URI, and templates as they are written."""
    prompts: tuple[str, ...]


async def listed(url: str) -> Listed:
    """What a server lists, asked in whichever era it speaks."""
    async with _client(url) as client:
        able = client.server_capabilities
        tools = [one.name for one in (await client.list_tools()).tools]  # some of the kits' servers declare nothing
        resources, prompts = list[str](), list[str]()
        if able.resources:
            resources += [one.uri for one in (await client.list_resources()).resources]
            resources += [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
        if able.prompts:
            prompts += [one.name for one in (await client.list_prompts()).prompts]
    return Listed(tuple(tools), tuple(resources), tuple(prompts))


def _seen(value: Any) -> str:
    """A value by its digest: equal values, equal names, whatever time of day the server wrote into them."""
    return sha256(_TIME.sub("", json.dumps(value, sort_keys=True)).encode()).hexdigest()[:16]


async def called(url: str) -> Outcome:
    """What listing the tools and calling each of them gives: definitions, results, errors and notices of progress."""
    found: dict[str, list[Check]] = {}
    async with _client(url) as client:
        for tool in (await client.list_tools()).tools:
            # `execution` is of the tasks of 2025-11-25; the later era, in which the gateway is asked, has none of it
            seen = _seen(tool.model_dump(mode="json", exclude={"execution"}))
            found[f"tools/list {tool.name}"] = [Check("definition", seen, "SUCCESS")]
        for name, arguments in _CALLS:
            notices: list[tuple[float, float | None]] = []

            async def noticed(
                progress: float, total: float | None, message: str | None, into: list[Any] = notices
            ) -> None:
                into.append((progress, total))

            try:
                result = await client.call_tool(name, dict(arguments), progress_callback=noticed)
                said = result.model_dump(mode="json", exclude={"meta"})
                status, words = ("FAILURE" if result.is_error else "SUCCESS"), json.dumps(said)[:200]
            except MCPError as error:
                said, status, words = {"error": error.error.code}, "FAILURE", str(error)
            checks = found.setdefault(f"tools/call {name}", [])
            checks += [Check("result", _seen(said), status, words), Check("progress", _seen(notices), "SUCCESS")]
    return found
