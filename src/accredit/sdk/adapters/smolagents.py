"""smolagents: `Tool.__call__`, through which both kinds of agents call tools, from Python too.

What a `CodeAgent`'s Python does besides calling tools cannot be seen here. A remote executor, where tools run
elsewhere, cannot be made.
"""

from __future__ import annotations

from typing import Any, Never

from smolagents import FinalAnswerTool, Tool
from smolagents.remote_executors import RemotePythonExecutor

from accredit.sdk.adapters.wrapping import check_every, positional
from accredit.sdk.guard import ToolDecision, ToolRefusedError
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]


def install(tools: GuardedTools) -> None:
    """Check every call of a tool but that which ends a run with its answer."""
    check_every(Tool, "__call__", tools, _named, _refused)
    # it has the inherited method: its own is the plain one again
    FinalAnswerTool.__call__ = Tool.__call__.__wrapped__
    RemotePythonExecutor.__init__ = _elsewhere


def _named(tool: Tool, *given: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    more.pop("sanitize_inputs_outputs", None)  # how it is called, not with what
    if len(given) == 1 and not more and isinstance(given[0], dict) and all(name in tool.inputs for name in given[0]):
        return tool.name, given[0]  # smolagents reads one dict as all arguments
    return tool.name, positional(list(tool.inputs), given, more)


def _refused(decision: ToolDecision, *_: Any, **__: Any) -> Never:
    # an answer would have the tool's type, and a program would go on with it
    raise ToolRefusedError(decision)


def _elsewhere(*_: Any, **__: Any) -> Never:
    raise ToolRefusedError(ToolDecision(allowed=False, code="uncheckable", message="tools that run elsewhere"))
