"""Google ADK: an `LlmAgent` in a `Runner`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types

from tests.adapters.bench import bench


class _Model(BaseLlm):
    arguments: dict[str, Any]

    async def generate_content_async(self, llm_request: Any, *_: Any, **__: Any) -> AsyncGenerator[LlmResponse, None]:
        found = [part.function_response for content in llm_request.contents for part in content.parts or []]
        answers = [one.response for one in found if one is not None]
        for each in answers:
            bench.hears(each)
        said = types.FunctionCall(name="read", args=self.arguments, id="call-1")
        part = types.Part(text="done") if answers else types.Part(function_call=said)
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


def read(customer_id: str) -> str:
    """Read a customer."""
    return bench.read(customer_id)


def play(arguments: Mapping[str, Any], *, stream: bool) -> None:
    asyncio.run(_play(dict(arguments), stream=stream))


async def _play(arguments: dict[str, Any], *, stream: bool) -> None:
    agent = LlmAgent(name="clerk", model=_Model(model="scripted", arguments=arguments), tools=[read])
    runner = InMemoryRunner(agent, app_name="desk")
    session = await runner.session_service.create_session(app_name="desk", user_id="ann")
    message = types.Content(role="user", parts=[types.Part(text="who is c-1?")])
    mode = RunConfig(streaming_mode=StreamingMode.SSE if stream else StreamingMode.NONE)
    async for _ in runner.run_async(user_id="ann", session_id=session.id, new_message=message, run_config=mode):
        pass
