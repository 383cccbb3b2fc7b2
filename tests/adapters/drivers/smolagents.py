"""smolagents: a `ToolCallingAgent`, and when streamed a `CodeAgent`, which calls tools from Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from smolagents import ChatMessage, CodeAgent, MessageRole, Model, ToolCallingAgent, tool
from smolagents.models import ChatMessageStreamDelta, ChatMessageToolCall, ChatMessageToolCallFunction

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
        super().__init__(model_id="scripted")
        self.arguments = dict(arguments)
        self.turn = 0

    def generate(self, messages: Any, **_: Any) -> ChatMessage:
        self.turn += 1
        if self.turn > 1:
            bench.hears(_text(messages[-1]))
        name, given = ("read", self.arguments) if self.turn == 1 else ("final_answer", {"answer": "done"})
        called = ChatMessageToolCall(ChatMessageToolCallFunction(given, name), f"call-{self.turn}", "function")
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=[called])

    def generate_stream(self, messages: Any, **_: Any) -> Iterator[ChatMessageStreamDelta]:
        self.turn += 1
        if self.turn > 1:
            bench.hears(_text(messages[-1]))
        called = f"print(read(**{json.dumps(self.arguments)}))" if self.turn == 1 else 'final_answer("done")'
        for piece in ("Thought: as told\n<code>\n", called, "\n</code>"):
            yield ChatMessageStreamDelta(content=piece)


def _text(message: Any) -> str:
    content = message.content
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    model = _Model(arguments)
    if stream:
        agent: Any = CodeAgent([read], model, stream_outputs=True, verbosity_level=0, max_steps=3)
        for _ in agent.run("who is c-1?", stream=True):
            pass
    else:
        ToolCallingAgent([read], model, verbosity_level=0, max_steps=3).run("who is c-1?")
