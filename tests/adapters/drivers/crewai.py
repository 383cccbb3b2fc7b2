"""CrewAI: a crew of one, whose model calls tools natively."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool

from tests.adapters.bench import bench


@tool("read")
def read(customer_id: str) -> str:
    """Read a customer."""
    return bench.read(customer_id)


# the same call of the next story is a call again, and not the answer of the last
read.cache_function = lambda *_: False


class _Model(BaseLLM):
    arguments: dict[str, Any]

    def supports_function_calling(self) -> bool:
        return True

    def call(self, messages: Any, tools: Any = None, *_: Any, **__: Any) -> Any:
        answers = [one["content"] for one in messages if one.get("role") == "tool"]
        if answers or not tools:
            for each in answers:
                bench.hears(each)
            return "done"
        called = {"name": "read", "arguments": json.dumps(self.arguments)}
        return [{"id": "call-1", "type": "function", "function": called}]


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    model = _Model(model="scripted", arguments=dict(arguments))
    agent = Agent(role="clerk", goal="read customers", backstory="none", llm=model, tools=[read], max_iter=3)
    task = Task(description="who is c-1?", expected_output="a name", agent=agent)
    crew = Crew(agents=[agent], tasks=[task], stream=stream, cache=False)
    ran: Any = crew.kickoff()
    if stream:
        for _ in ran:
            pass
