"""The client that the kits' client scenarios start: the SDK's own, straight at the kit's server or through the gateway.

Through the gateway, the kit's server is registered with an installation of its own, so what it sees is the gateway's
upstream client. What a scenario wants called comes in the environment, as the kits hand it to every client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.conformance.calling import listed
from tests.conformance.installing import installation

_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"add_numbers": {"a": 2, "b": 3}}
_FOCAL, _ECHO = "json_schema_2020_12_tool", "json_schema_echo"


async def _act(url: str, scenario: str, wanted: Mapping[str, Any]) -> None:
    """List what there is and call it."""
    async with (
        httpx2.AsyncClient(timeout=20, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode="auto") as client,
    ):
        tools = (await client.list_tools()).tools
        calls = [(one["name"], one["arguments"]) for one in wanted.get("toolCalls", ())]
        if scenario == "json-schema-2020-12-preservation":
            (focal,) = (tool for tool in tools if tool.name == _FOCAL)
            calls = [(_ECHO, {"schema": focal.input_schema})]
        elif not calls and scenario != "json-schema-ref-no-deref":
            calls = [(tool.name, _ARGUMENTS.get(tool.name, _some(tool.input_schema))) for tool in tools]
        for name, arguments in calls:
            with contextlib.suppress(MCPError):  # the kit has seen what it wanted to see
                await client.call_tool(name, dict(arguments))


def _some(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit a schema of plain properties."""
    made: Mapping[str, Any] = {
        "string": "us-west1",
        "integer": 42,
        "number": 1.5,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return {name: made.get(str(each.get("type")), "x") for name, each in schema.get("properties", {}).items()}


async def _main(url: str, *, through: bool) -> None:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    wanted = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    if not through:
        await listed(url)  # as registering does
        await _act(url, scenario, wanted)
        return
    with tempfile.TemporaryDirectory() as place:
        async with installation(Path(place) / "data") as installed:
            reached = await installed.register("kit", url)
            if isinstance(reached, str):
                await _act(reached, scenario, wanted)
            else:
                sys.stderr.write(f"{reached['detail']}\n")


def main() -> None:
    """Be the client, once."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--through", action="store_true", help="through the gateway")
    arguments.add_argument("url")
    given = arguments.parse_args()
    asyncio.run(_main(given.url, through=given.through))


if __name__ == "__main__":
    main()
