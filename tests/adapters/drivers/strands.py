"""Strands Agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from strands import Agent, tool
from strands.models import Model

from tests.adapters.bench import bench


@tool
def read(customer_id: str) -> str:
    """Read a customer.

    Args:
        customer_id: Whom.
    """
    return bench.read(customer_id)


class _Model(Model):
    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments

    def update_config(self, **_: Any) -> None:
        """Nothing to configure."""

    def get_config(self) -> Any:
        return {}

    def structured_output(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        results = [block["toolResult"] for message in messages for block in message["content"] if "toolResult" in block]
        for each in results:
            assert (each["status"] == "error") is not bool(bench.ran)
            bench.hears(each["content"][0]["text"])
        yield {"messageStart": {"role": "assistant"}}
        start = {} if results else {"toolUse": {"name": "read", "toolUseId": "call-1"}}
        yield {"contentBlockStart": {"start": start}}
        said = {"text": "done"} if results else {"toolUse": {"input": json.dumps(self.arguments)}}
        yield {"contentBlockDelta": {"delta": said}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if results else "tool_use"}}


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    agent = Agent(model=_Model(arguments), tools=[read], callback_handler=None)

    async def streams() -> None:
        async for _ in agent.stream_async("who is c-1?"):
            pass

    if stream:
        asyncio.run(streams())
    else:
        agent("who is c-1?")
