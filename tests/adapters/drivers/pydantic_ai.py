"""PydanticAI, with its function model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from tests.adapters.bench import bench


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    asyncio.run(_play(dict(arguments), stream=stream))


def _answered(messages: list[ModelMessage]) -> bool:
    found = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    for part in found:
        bench.hears(part.content)
    return bool(found)


async def _play(arguments: dict[str, Any], *, stream: bool) -> None:
    def whole(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if _answered(messages):
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("read", arguments, "call-1")])

    async def pieces(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        if _answered(messages):
            yield "done"
        else:
            yield {0: DeltaToolCall("read", json.dumps(arguments), tool_call_id="call-1")}

    agent = Agent(FunctionModel(whole, stream_function=pieces))

    @agent.tool_plain
    def read(customer_id: str) -> str:
        """Read a customer."""
        return bench.read(customer_id)

    if stream:
        async with agent.run_stream("who is c-1?") as running:
            assert await running.get_output() == "done"
    else:
        assert (await agent.run("who is c-1?")).output == "done"
