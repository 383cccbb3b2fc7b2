"""CrewAI: the methods that run a tool, not its hooks: after a hook that raises, CrewAI runs the tool.

A result from CrewAI's own cache is not a run, and is not checked.
"""

from __future__ import annotations

import json
from typing import Any

from crewai.tools.base_tool import BaseTool
from crewai.tools.structured_tool import CrewStructuredTool

from accredit.sdk.adapters.wrapping import check_every, positional
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every run of a tool, whichever of its forms an agent was given."""
    for method in ("run", "arun"):
        check_every(BaseTool, method, tools, _called, _refused)
    for method in ("invoke", "ainvoke"):
        check_every(CrewStructuredTool, method, tools, _invoked, _refused)


def _called(tool: BaseTool, *given: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    return tool.name, positional(list(tool.args_schema.model_fields), given, more)


def _invoked(tool: CrewStructuredTool, *_: Any, **more: Any) -> tuple[str, dict[str, Any] | str]:
    given = more.pop("input", None) if not _ else _[0]
    return tool.name, given if isinstance(given, str) else dict(given)


def _refused(decision: ToolDecision, *_: Any, **__: Any) -> str:
    return json.dumps(json.loads(decision.refusal()))
