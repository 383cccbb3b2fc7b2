"""One method of a framework's tools, in every class that defines it, runs only after a yes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import GuardedTools, Schema

__all__ = ["Named", "Refused", "check_every", "positional"]

Named = Callable[..., tuple[str, Mapping[str, Any] | str] | tuple[str, Mapping[str, Any] | str, Schema]]
"""From what the method is called with, the tool's name and its arguments, and their schema if the framework has it."""
Refused = Callable[..., Any]
"""From the decision and what the method is called with, what it answers instead; or it raises."""

_within: ContextVar[tuple[int, type] | None] = ContextVar("accredit_within", default=None)
"""The tool whose method was let through, and the class the method stands in."""


def check_every(
    base: type, method: str, tools: GuardedTools, named: Named, refused: Refused, *, but: tuple[type, ...] = ()
) -> None:
    """Wrap `method` in `base` and in every class below it, those to come included; `but` are left as they are.

    Raises:
        AttributeError: `base` has no such method.
    """
    if not callable(getattr(base, method)):
        raise AttributeError(f"{base.__name__}.{method} cannot be called")  # noqa: TRY004 - not there as it was
    for each in _below(base):
        _wrap(each, method, tools, named, refused, but)
    given = base.__dict__.get("__init_subclass__")

    def joined(cls: type, /, **more: Any) -> None:
        if given is not None:
            given.__func__(cls, **more)
        else:
            super(base, cls).__init_subclass__(**more)  # type: ignore[arg-type]  # it is below base
        _wrap(cls, method, tools, named, refused, but)

    setattr(base, "__init_subclass__", classmethod(joined))  # noqa: B010 - no type says that it may be set


def positional(names: list[str], given: tuple[Any, ...], more: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, of a tool that was called as a function.

    Raises:
        TypeError: more were given than there are names.
    """
    return dict(zip(names[: len(given)], given, strict=True)) | dict(more)


def _below(base: type) -> list[type]:
    found = [base]
    for each in found:
        below: list[type] = type.__subclasses__(each)
        found.extend(one for one in below if one not in found)
    return found


def _wrap(owner: type, method: str, tools: GuardedTools, named: Named, refused: Refused, but: tuple[type, ...]) -> None:
    original = owner.__dict__.get(method)
    if original is None or owner in but or getattr(original, "__isabstractmethod__", False):
        return
    wrapped = _checked(original, owner, tools, named, refused)
    setattr(owner, method, wrapped)


def _checked(original: Any, owner: type, tools: GuardedTools, named: Named, refused: Refused) -> Any:
    def chained(tool: Any) -> bool:
        """Whether this is the inherited part of a method that was let through already."""
        inside = _within.get()
        return inside is not None and inside[0] == id(tool) and inside[1] is not owner and issubclass(inside[1], owner)

    if inspect.isasyncgenfunction(original):

        @functools.wraps(original)
        async def streams(self: Any, *given: Any, **more: Any) -> Any:
            decision = await tools.check_async(*named(self, *given, **more))
            if not _yes(decision):
                yield refused(decision, self, *given, **more)
                return
            async for each in original(self, *given, **more):
                yield each

        return streams

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def awaits(self: Any, *given: Any, **more: Any) -> Any:
            if chained(self):
                return await original(self, *given, **more)
            decision = await tools.check_async(*named(self, *given, **more))
            if not _yes(decision):
                return refused(decision, self, *given, **more)
            mark = _within.set((id(self), owner))
            try:
                return await original(self, *given, **more)
            finally:
                _within.reset(mark)

        return awaits

    @functools.wraps(original)
    def blocks(self: Any, *given: Any, **more: Any) -> Any:
        if chained(self):
            return original(self, *given, **more)
        decision = tools.check(*named(self, *given, **more))
        if not _yes(decision):
            return refused(decision, self, *given, **more)
        mark = _within.set((id(self), owner))
        try:
            return original(self, *given, **more)
        finally:
            _within.reset(mark)

    return blocks


def _yes(decision: object) -> bool:
    return isinstance(decision, ToolDecision) and decision.allowed is True
