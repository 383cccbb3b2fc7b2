"""OpenAI Agents SDK, with its own scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call

from tests.adapters.bench import bench

set_tracing_disabled(True)


@function_tool
def read(customer_id: str) -> str:
    """Read a customer."""
    return bench.read(customer_id)


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    asyncio.run(_play(arguments, stream=stream))


async def _play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    model = ScriptedModel([[function_call("read", arguments, call_id="call-1")], [assistant_message("done")]])
    agent = Agent(name="clerk", model=model, tools=[read])
    ran: Any
    if stream:
        ran = Runner.run_streamed(agent, "who is c-1?")
        async for _ in ran.stream_events():
            pass
    else:
        ran = await Runner.run(agent, "who is c-1?")
    for item in ran.to_input_list():
        if item.get("type") == "function_call_output":
            bench.hears(item["output"])
