"""Strands Agents: `AgentTool.stream` of every tool, after all hooks. That of structured output runs nothing."""

from __future__ import annotations

from typing import Any

from strands.tools.structured_output.structured_output_tool import StructuredOutputTool
from strands.types._events import ToolResultEvent
from strands.types.tools import AgentTool

from accredit.sdk.adapters.wrapping import check_every
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every run of a tool."""
    check_every(AgentTool, "stream", tools, _named, _refused, but=(StructuredOutputTool,))


def _named(_: AgentTool, tool_use: Any, *__: Any, **___: Any) -> tuple[str, dict[str, Any]]:
    return tool_use["name"], tool_use["input"]


def _refused(decision: ToolDecision, _: AgentTool, tool_use: Any, *__: Any, **___: Any) -> ToolResultEvent:
    content = [{"text": decision.refusal()}]
    return ToolResultEvent({"toolUseId": tool_use["toolUseId"], "status": "error", "content": content})
