"""Microsoft Agent Framework: `FunctionTool.invoke`, after all middleware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_framework import Content, FunctionTool

from accredit.sdk.adapters.wrapping import check_every
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every invocation of a function tool."""
    check_every(FunctionTool, "invoke", tools, _named, _refused)


def _named(
    tool: FunctionTool, *, arguments: Any = None, context: Any = None, **more: Any
) -> tuple[str, Mapping[str, Any]]:
    direct = {name: value for name, value in more.items() if name not in {"tool_call_id", "skip_parsing"}}
    given = arguments if arguments is not None or direct else getattr(context, "arguments", None)
    if given is None:
        return tool.name, direct
    return tool.name, given.model_dump(mode="json") if hasattr(given, "model_dump") else given


def _refused(decision: ToolDecision, *_: Any, skip_parsing: bool = False, **__: Any) -> Any:
    return decision.refusal() if skip_parsing else [Content.from_text(decision.refusal())]
