"""Google ADK: `BaseTool.run_async` of every kind of tool, after all plugins and callbacks."""

from __future__ import annotations

import json
from typing import Any

from google.adk.tools.base_tool import BaseTool

from accredit.sdk.adapters.wrapping import check_every
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every run of a tool."""
    check_every(BaseTool, "run_async", tools, _named, _refused)


def _named(tool: BaseTool, *, args: dict[str, Any], **_: Any) -> tuple[str, dict[str, Any]]:
    return tool.name, args


def _refused(decision: ToolDecision, *_: Any, **__: Any) -> Any:
    return json.loads(decision.refusal())
