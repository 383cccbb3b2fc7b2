"""What an agent may call against what it calls: the daily roll-ups, folded. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Final

from accredit.audit.model import ToolDays, UsageDay
from accredit.kernel.ids import AgentId, ToolId
from accredit.monitoring.model import ToolHistory, ToolUse, UnusedPermission

__all__ = ["WINDOW_DAYS", "YEAR_DAYS", "tool_histories", "unused_permissions", "use_by_tool"]

YEAR_DAYS: Final = 366
"""How far back a use is looked for."""
WINDOW_DAYS: Final = 90
"""How far back calls are counted whose coming out tells whether a permission does what it should."""


def use_by_tool(granted: Collection[ToolId], days: Iterable[UsageDay]) -> tuple[ToolUse, ...]:
    """One entry for each tool that is granted or was called, by tool id; calls of no registered tool come last."""
    called: defaultdict[str, list[UsageDay]] = defaultdict(list)
    for day in days:
        called[day.tool].append(day)
    named = [_use(ToolId(tool), called[tool], granted=tool in granted) for tool in sorted({*granted, *called} - {""})]
    others = [_use(None, called[""], granted=False)] if "" in called else []
    return (*named, *others)


def unused_permissions(
    uses: Iterable[ToolUse], *, today: int, days: int, registered_day: int, in_force_day: int
) -> tuple[UnusedPermission, ...]:
    """What is granted and was not used for at least so many days, longest idle first; `uses` of the last `YEAR_DAYS`.

    Days are whole ones since the epoch, UTC. A call that was held or refused is no use of it.
    """
    found = []
    for use in uses:
        if use.tool is None or not use.granted:
            continue
        since = registered_day if use.last_used_day is None else use.last_used_day
        idle = min(max(today - since, 0), YEAR_DAYS)
        if idle >= days:
            version_days = max(today - in_force_day, 0)
            found.append(UnusedPermission(use.tool, use.last_used_day, idle, version_days, use.denies))
    return tuple(sorted(found, key=lambda one: (-one.idle_days, one.tool)))


def tool_histories(found: Iterable[ToolDays]) -> dict[tuple[AgentId, ToolId], ToolHistory]:
    """What agents made of tools in the last `YEAR_DAYS`, with sums of the last `WINDOW_DAYS`, by agent and tool."""
    return {
        (AgentId(one.agent), ToolId(one.tool)): ToolHistory(
            last_used_day=one.used[-1] if one.used else None,
            first_used_day=one.used[0] if one.used else None,
            period_days=_period(one.used),
            allows=one.allows,
            denies=one.denies,
            cost_nanos=one.cost_nanos,
        )
        for one in found
    }


def _period(used: tuple[int, ...]) -> int | None:
    pauses = sorted(later - earlier for earlier, later in pairwise(used))
    return pauses[-2] if len(pauses) > 1 else None


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
