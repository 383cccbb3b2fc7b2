"""Claude Agent SDK: a `PreToolUse` hook of our own in every session, for every tool, before those of the program.

A hook that fails is by default no decision and the tool runs; this one blocks (`on_failure`), and its time is longer
than a check may take.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from claude_agent_sdk._internal.query import Query

from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]

_TIMEOUT_S: Final = 120.0


def install(tools: GuardedTools) -> None:
    """Check every use of a tool, built-in ones included."""
    given = Query.__init__
    if "hooks" not in inspect.signature(given).parameters:
        raise AttributeError("Query.hooks")

    async def before(use: Any, _: str | None, __: Any) -> dict[str, Any]:
        decision = await tools.check_async(use["tool_name"], use["tool_input"])
        if decision.allowed is True:
            return {}  # what the program's own settings say of it still counts
        refused = {"permissionDecision": "deny", "permissionDecisionReason": decision.refusal()}
        return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **refused}}

    ours = {"matcher": None, "hooks": [before], "timeout": _TIMEOUT_S, "on_failure": "block"}

    def begin(self: Query, *args: Any, **more: Any) -> None:
        bound = inspect.signature(given).bind(self, *args, **more)
        hooks = dict(bound.arguments.get("hooks") or {})
        bound.arguments["hooks"] = hooks | {"PreToolUse": [ours, *hooks.get("PreToolUse", [])]}
        given(*bound.args, **bound.kwargs)

    Query.__init__ = begin
