"""A bare ASGI MCP server (era 2026-07-28) to stand behind the gateway, and a client that calls tools at it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

__all__ = ["MODERN", "Measured", "bare_server", "caller", "drive"]

MODERN = "2026-07-28"
_TOOL = {
    "name": "read_customer",
    "description": "Reads one customer record.",
    "inputSchema": {
        "type": "object",
        "properties": {"customer_id": {"type": "string"}, "fields": {"type": "array", "items": {"type": "string"}}},
        "required": ["customer_id"],
    },
}
_RECORD = {"id": "c-42", "name": "Ada Example", "email": "ada@example.com", "plan": "gold", "notes": "x" * 512}


async def bare_server(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as fast as ASGI can."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = orjson.loads(body)
    result: dict[str, Any] = {"resultType": "complete"}
    match asked["method"]:
        case "tools/list":
            result |= {"tools": [_TOOL], "ttlMs": 60000, "cacheScope": "public"}
        case "server/discover":
            result |= {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "public",
                       "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "bare", "version": "1"}}}  # fmt: skip
        case "tools/call":
            result |= {"content": [{"type": "text", "text": orjson.dumps(_RECORD).decode()}], "isError": False}
    answer = orjson.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def caller(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> Callable[[], Awaitable[bool]]:
    """One `tools/call`; False if it was refused or failed."""
    ids = itertools.count(1)
    sent = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": "read_customer",
        **headers,
    }
    params = {
        "name": "read_customer",
        "arguments": {"customer_id": "c-42", "fields": ["name", "email"]},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }

    async def call() -> bool:
        body = orjson.dumps({"jsonrpc": "2.0", "id": next(ids), "method": "tools/call", "params": params})
        async with session.post(url, data=body, headers=sent) as answer:
            raw = await answer.read()
            if answer.status != 200:
                return False
            result = orjson.loads(raw).get("result")
            return bool(result) and not result.get("isError")

    return call


@dataclass(slots=True)
class Measured:
    """What one target did."""

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    errors: int = 0


async def drive(call: Callable[[], Awaitable[bool]], into: Measured, *, calls: int, at_once: int) -> None:
    """Make calls with so many at once and add up what happened."""
    left = calls

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            if await call():
                into.latencies_s.append(time.perf_counter() - began)
            else:
                into.errors += 1

    began = time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(at_once)])
    into.wall_s += time.perf_counter() - began
