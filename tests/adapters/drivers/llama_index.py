"""LlamaIndex: a `FunctionAgent`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool

from tests.adapters.bench import bench


def read(customer_id: str) -> str:
    """Read a customer."""
    return bench.read(customer_id)


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    asyncio.run(_play(dict(arguments), stream=stream))


async def _play(arguments: dict[str, Any], *, stream: bool) -> None:
    def said(messages: Sequence[ChatMessage], **_: Any) -> ChatMessage:
        answers = [one.content for one in messages if one.role == MessageRole.TOOL]
        if not answers:
            called = ToolCallBlock(tool_call_id="call-1", tool_name="read", tool_kwargs=arguments)
            return ChatMessage(role="assistant", blocks=[called])
        bench.told[:] = [str(each) for each in answers]  # a streamed turn is built piece by piece
        return ChatMessage(role="assistant", content="done")

    model = MockFunctionCallingLLM(response_generator=said, is_chat_model=True)
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(read)], llm=model, streaming=stream)
    running = agent.run("who is c-1?")
    async for _ in running.stream_events():
        pass
    await running
