"""LangChain: `create_agent`, which is a LangGraph graph with a `ToolNode`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool

from tests.adapters.bench import bench


class _Model(GenericFakeChatModel):
    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


@tool
def read(customer_id: str) -> str:
    """Read a customer."""
    return bench.read(customer_id)


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    called = {"name": "read", "args": dict(arguments), "id": "call-1", "type": "tool_call"}
    said = [AIMessage(content="", tool_calls=[called]), AIMessage(content="done")]
    agent: Any = create_agent(_Model(messages=iter(said)), [read])
    begin = {"messages": [{"role": "user", "content": "who is c-1?"}]}
    messages = list(agent.stream(begin, stream_mode="values"))[-1]["messages"] if stream else None
    for message in messages or agent.invoke(begin)["messages"]:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id == "call-1"
            assert (message.status == "error") is not bool(bench.ran)
            bench.hears(message.content)
