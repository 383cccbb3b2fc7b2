"""Microsoft Agent Framework."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
    tool,
)

from tests.adapters.bench import bench


@tool(approval_mode="never_require")
def read(customer_id: Annotated[str, "whom"]) -> str:
    """Read a customer."""
    return bench.read(customer_id)


class _Client(FunctionInvocationLayer, BaseChatClient):
    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments

    def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **_: Any) -> Any:
        found = [one for message in messages for one in message.contents if one.type == "function_result"]
        for each in found:
            bench.hears(each.result or str(each.exception))
        called = Content.from_function_call("call-1", "read", arguments=json.dumps(dict(self.arguments)))
        contents = [Content.from_text("done")] if found else [called]
        if stream:

            async def pieces() -> AsyncIterator[ChatResponseUpdate]:
                yield ChatResponseUpdate(role="assistant", contents=contents)

            return ResponseStream(pieces(), finalizer=ChatResponse.from_updates)

        async def whole() -> ChatResponse:
            return ChatResponse(messages=[Message(role="assistant", contents=contents)])

        return whole()


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    asyncio.run(_play(arguments, stream=stream))


async def _play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    agent: Any = Agent(client=_Client(arguments), tools=[read])
    if stream:
        async for _ in agent.run("who is c-1?", stream=True):
            pass
    else:
        await agent.run("who is c-1?")
