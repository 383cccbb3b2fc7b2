"""Claude Agent SDK: its control protocol with a scripted command line, and a tool server in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, Transport, create_sdk_mcp_server, query, tool

from tests.adapters.bench import bench


@tool("read", "Read a customer", {"customer_id": str})
async def read(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": bench.read(arguments["customer_id"])}]}


class _CommandLine(Transport):
    """Asks the hooks before it asks for the tool, as the real one does, and honours a refusal and a failure."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(arguments)
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._written: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ready = False

    async def connect(self) -> None:
        self._ready = True
        self._task = asyncio.ensure_future(self._lives())

    async def write(self, data: str) -> None:
        for line in data.splitlines():
            self._written.put_nowait(json.loads(line))

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self._in.get()).get("type") != "over":
            yield message

    async def close(self) -> None:
        self._ready = False
        self._task.cancel()

    def is_ready(self) -> bool:
        return self._ready

    async def end_input(self) -> None:
        """The script knows when it is over."""

    async def _asked(self, **request: Any) -> dict[str, Any]:
        self._in.put_nowait({"type": "control_request", "request_id": request["subtype"], "request": request})
        while True:
            message = await self._written.get()
            if message["type"] == "control_response":
                return dict(message["response"])

    async def _to_server(self, **message: Any) -> dict[str, Any]:
        answer = await self._asked(subtype="mcp_message", server_name="crm", message={"jsonrpc": "2.0", **message})
        return dict(answer["response"]["mcp_response"])

    async def _lives(self) -> None:
        try:
            await self._plays()
        finally:
            self._in.put_nowait({"type": "over"})

    async def _plays(self) -> None:
        while (message := await self._written.get())["type"] != "control_request":
            pass
        hooks = message["request"]["hooks"]["PreToolUse"]
        assert hooks[0]["onFailure"] == "block"
        assert hooks[0].get("matcher") is None
        began = {"commands": [], "hook_on_failure_supported": True}
        answer = {"subtype": "success", "request_id": message["request_id"], "response": began}
        self._in.put_nowait({"type": "control_response", "response": answer})
        while (await self._written.get())["type"] != "user":
            pass
        use = {"hook_event_name": "PreToolUse", "tool_name": "mcp__crm__read", "tool_input": self._arguments,
               "tool_use_id": "toolu_1", "session_id": "s", "transcript_path": "", "cwd": ""}  # fmt: skip
        hooked = await self._asked(
            subtype="hook_callback", callback_id=hooks[0]["hookCallbackIds"][0], input=use, tool_use_id="toolu_1"
        )
        decided = hooked.get("response", {}).get("hookSpecificOutput", {})
        if hooked["subtype"] == "error":
            bench.hears("the hook failed")
        elif decided.get("permissionDecision") == "deny":
            bench.hears(decided["permissionDecisionReason"])
        else:
            opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            await self._to_server(id=0, method="initialize", params=opening)
            await self._to_server(method="notifications/initialized")
            called = await self._to_server(
                id=1, method="tools/call", params={"name": "read", "arguments": self._arguments}
            )
            bench.hears(called["result"]["content"][0]["text"])
        self._in.put_nowait(
            {"type": "result", "subtype": "success", "duration_ms": 1, "duration_api_ms": 1, "is_error": False,
             "num_turns": 1, "session_id": "s", "total_cost_usd": 0.0, "result": "done"}
        )  # fmt: skip


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    asyncio.run(_play(arguments, stream=stream))


async def _play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    options = ClaudeAgentOptions(mcp_servers={"crm": create_sdk_mcp_server("crm", tools=[read])})
    line = _CommandLine(arguments)
    if stream:
        async with ClaudeSDKClient(options, transport=line) as client:
            await client.query("who is c-1?")
            async for _ in client.receive_response():
                pass
    else:
        async for _ in query(prompt="who is c-1?", options=options, transport=line):
            pass
