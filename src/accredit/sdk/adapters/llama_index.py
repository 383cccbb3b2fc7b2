"""LlamaIndex: `call` and `acall` of every tool, and `__call__` of those that have nothing else."""

from __future__ import annotations

from typing import Any

from llama_index.core.tools import BaseTool, FunctionTool, ToolOutput
from llama_index.core.tools.types import AsyncBaseTool, BaseToolAsyncAdapter

from accredit.sdk.adapters.wrapping import check_every, positional
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every call of a tool."""
    # these three only hand on to a method, or to a tool, that is checked
    handing_on = (AsyncBaseTool, BaseToolAsyncAdapter, FunctionTool)
    check_every(BaseTool, "__call__", tools, _named, _refused, but=handing_on)
    for method in ("call", "acall"):
        check_every(AsyncBaseTool, method, tools, _named, _refused, but=(BaseToolAsyncAdapter,))


def _named(tool: BaseTool, *given: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    names = list(tool.metadata.get_parameters_dict().get("properties", {}))
    own = getattr(tool, "ctx_param_name", None), *getattr(tool, "partial_params", ())
    chosen = {name: value for name, value in more.items() if name not in own or name in names}
    return tool.metadata.get_name(), positional(names, given, chosen)


def _refused(decision: ToolDecision, tool: BaseTool, *_: Any, **more: Any) -> ToolOutput:
    said = decision.refusal()
    return ToolOutput(
        content=said, tool_name=tool.metadata.get_name(), raw_input={"kwargs": more}, raw_output=said, is_error=True
    )
