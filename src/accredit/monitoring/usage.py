"""What an agent may call against what it calls: the daily roll-ups, folded. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from accredit.audit.model import UsageDay
from accredit.kernel.ids import ToolId
from accredit.monitoring.model import ToolUse

__all__ = ["use_by_tool"]


def use_by_tool(granted: Collection[ToolId], days: Iterable[UsageDay]) -> tuple[ToolUse, ...]:
    """One entry for each tool that is granted or was called, by tool id; calls of no registered tool come last."""
    called: defaultdict[str, list[UsageDay]] = defaultdict(list)
    for day in days:
        called[day.tool].append(day)
    named = [_use(ToolId(tool), called[tool], granted=tool in granted) for tool in sorted({*granted, *called} - {""})]
    others = [_use(None, called[""], granted=False)] if "" in called else []
    return (*named, *others)


def _use(tool: ToolId | None, days: list[UsageDay], *, granted: bool) -> ToolUse:
    return ToolUse(
        tool=tool,
        granted=granted,
        allows=sum(day.usage.allows for day in days),
        denies=sum(day.usage.denies for day in days),
        holds=sum(day.usage.holds for day in days),
        errors=sum(day.usage.errors for day in days),
        cost_nanos=sum(day.usage.cost_nanos for day in days),
        last_us=max((day.last_us for day in days), default=None),
        last_used_day=max((day.day for day in days if day.usage.allows), default=None),
    )
