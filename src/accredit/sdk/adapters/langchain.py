"""LangChain and LangGraph: `BaseTool.run` and `arun`, through which agents, `ToolNode` and `invoke` all go."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from accredit.sdk.adapters.wrapping import check_every
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools, Schema

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every run of a LangChain tool."""
    for method in ("run", "arun"):
        check_every(BaseTool, method, tools, _named, _refused)


def _named(tool: BaseTool, tool_input: str | dict[str, Any], *_: Any, **__: Any) -> tuple[str, dict[str, Any], Schema]:
    def schema() -> object:
        given = tool.tool_call_schema
        return given if isinstance(given, dict) else given.model_json_schema()

    if isinstance(tool_input, str):  # a tool of one text
        names = list(tool.args)
        return tool.name, {names[0] if len(names) == 1 else "input": tool_input}, schema
    # what LangGraph injects (state, store, runtime) no model chose
    return tool.name, tool._filter_injected_args(tool_input), schema  # noqa: SLF001 - which these are, only it knows


def _refused(
    decision: ToolDecision, tool: BaseTool, *_: Any, tool_call_id: str | None = None, **__: Any
) -> ToolMessage | str:
    if tool_call_id is None:
        return decision.refusal()
    return ToolMessage(decision.refusal(), name=tool.name, tool_call_id=tool_call_id, status="error")
