"""OpenAI Agents SDK: `FunctionTool.on_invoke_tool`, whenever it is set: functions, MCP tools, agents as tools.

Tools that run here in another way (shell, computer, patches, custom) cannot be made: nothing could be checked. What
the provider runs itself is refused by the gateway (`hosted_tool`).
"""

from __future__ import annotations

import inspect
from typing import Any, Never

from agents import ApplyPatchTool, ComputerTool, CustomTool, FunctionTool, LocalShellTool, ShellTool

from accredit.sdk.guard import ToolDecision, ToolRefusedError
from accredit.sdk.guarded import GuardedTools

__all__ = ["install"]

_UNCHECKABLE = (ApplyPatchTool, ComputerTool, CustomTool, LocalShellTool, ShellTool)


def install(tools: GuardedTools) -> None:
    """Check every invocation of a function tool."""
    if "on_invoke_tool" not in FunctionTool.__dataclass_fields__:
        raise AttributeError("FunctionTool.on_invoke_tool")
    given = FunctionTool.__setattr__

    def keep(self: FunctionTool, name: str, value: Any) -> None:
        if name == "on_invoke_tool" and not isinstance(value, _Checked):
            value = _Checked(value, self, tools)
        given(self, name, value)

    FunctionTool.__setattr__ = keep
    for kind in _UNCHECKABLE:
        kind.__init__ = _refuse


def _refuse(self: Any, *_: Any, **__: Any) -> Never:
    name = type(self).__name__
    raise ToolRefusedError(
        ToolDecision(allowed=False, code="uncheckable", message=f"calls of {name} cannot be checked")
    )


class _Checked:
    """What a tool does, after a yes. Everything else the SDK asks of an invoker is the original's."""

    def __init__(self, invoker: Any, tool: FunctionTool, tools: GuardedTools) -> None:
        self._invoker = invoker
        self._tool = tool
        self._tools = tools

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and not name.startswith("__agents_"):
            raise AttributeError(name)
        return getattr(self._invoker, name)

    def __agents_bind_function_tool__(self, tool: FunctionTool) -> _Checked:
        """For a copy of the tool: the SDK binds invokers to the tool they belong to."""
        invoker = self._invoker
        bind = getattr(invoker, "__agents_bind_function_tool__", None)
        if callable(bind):
            invoker = bind(tool)
        elif inspect.ismethod(invoker) and invoker.__self__ is self._tool and tool is not self._tool:
            invoker = invoker.__func__.__get__(tool, type(tool))
        return _Checked(invoker, tool, self._tools)

    async def __call__(self, context: Any, arguments: str) -> Any:
        decision = await self._tools.check_async(self._tool.name, arguments, lambda: self._tool.params_json_schema)
        if decision.allowed is not True:
            return decision.refusal()
        return await self._invoker(context, arguments)
