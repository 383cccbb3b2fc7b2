"""PydanticAI: `ToolManager._raw_execute`, the last step before a toolset, after validation and all hooks."""

from __future__ import annotations

from typing import Any

from pydantic_ai.tool_manager import ToolManager

from accredit.sdk.adapters.wrapping import check_every
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools, Schema

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every execution of a tool; output tools run nothing."""
    check_every(ToolManager, "_raw_execute", tools, _named, _refused)


def _named(_: Any, validated: Any, **__: Any) -> tuple[str, dict[str, Any], Schema]:
    return (
        validated.call.tool_name,
        validated.validated_args,
        lambda: validated.tool.tool_def.parameters_json_schema,
    )


def _refused(decision: ToolDecision, *_: Any, **__: Any) -> str:
    return decision.refusal()
