"""What is asked about one agent: which permissions are decided on by themselves, in which order, with what suggestion.

A permission joins the one routine line only if it was used lately, does little, is as it was at the last review, and
nothing speaks against it. INVARIANT: what is not known makes it stand by itself, never join the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.ids import ToolId
from accredit.lifecycle.reviews.model import ItemDecision, ItemVerdict
from accredit.monitoring.model import ToolHistory
from accredit.registry.model import Effect, Tool, WriteScope

__all__ = [
    "RECENT_DAYS",
    "PermissionFacts",
    "PermissionItem",
    "Suggestion",
    "WhyAlone",
    "card_digest",
    "high_effect",
    "permission_items",
]

RECENT_DAYS: Final = 60
"""What was used within so many days is in use; what was granted within them had no time to be."""
_OFTEN_DENIED: Final = 10
"""Calls refused in the window, at least, for a policy to be in the way,"""
_DENIED_PERCENT: Final = 20
"""and such a part of all calls."""
_SEASON_DAYS: Final = 31
_EFFECT: Final[Mapping[Effect, int]] = {
    Effect.READ: 1,
    Effect.WRITE: 3,
    Effect.EXTERNAL: 3,
    Effect.IRREVERSIBLE: 4,
    Effect.ADMINISTER: 4,
}
_DATA: Final[Mapping[str, int]] = {"public": 0, "internal": 1, "confidential": 2, "personal": 3, "financial": 3}
_GRAVE: Final = 4
"""Of data of the classes phi, special and secret, and of any class that an installation added."""
_UNKNOWN: Final = 4


class WhyAlone(StrEnum):
    """Why a permission is decided on by itself."""

    HIGH_EFFECT = "high-effect"
    UNUSED = "unused"
    NEW = "new"
    """Granted since the last review."""
    CHANGED = "changed"
    """What it grants, or what the tool is, is not what it was."""
    EXCEPTION = "exception"
    """Something was let through outside the rules: broken glass, or undeclared arguments."""
    SUGGESTED = "suggested"
    """Something else than keeping it is suggested."""
    UNREGISTERED = "unregistered"
    """The tool is not registered: nobody knows what it would do."""


@dataclass(frozen=True, slots=True)
class PermissionFacts:
    """All that is known of one permission."""

    tool: ToolId
    known: Tool | None
    granted_us: int
    history: ToolHistory | None
    new: bool = False
    changed: bool = False
    exception: bool = False
    signals: tuple[str, ...] = ()
    """What was seen that does not fit its purpose, in plain words."""
    dropped: bool = False
    """Whether a restriction keeps it out of reach already."""
    season_months: int | None = None
    """How often it is used at least, if that was declared."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is suggested, and why."""

    verdict: ItemVerdict
    reason: str


@dataclass(frozen=True, slots=True)
class PermissionItem:
    """One permission as it is put before people."""

    tool: ToolId
    effect: str
    scope: str
    data: tuple[str, ...]
    granted_us: int
    last_used_day: int | None
    idle_days: int
    """Since it was used last, or else since it was granted."""
    calls: int
    """Recorded calls that were let through in the last 90 days: what removing it would have made fail."""
    denies: int
    risk: int
    why_alone: tuple[WhyAlone, ...]
    suggestion: Suggestion | None
    """None: it is too new for anything to be suggested."""
    dropped: bool

    @property
    def routine(self) -> bool:
        """Whether it belongs to the one line."""
        return not self.why_alone


def high_effect(tool: Tool | None) -> bool:
    """Whether what it does reaches beyond the agent's own, or what it shows is of the gravest kind."""
    if tool is None or tool.effect is not Effect.READ:
        return tool is None or not (tool.effect is Effect.WRITE and tool.scope is WriteScope.OWN) or _grave(tool)
    return _grave(tool)


def _grave(tool: Tool) -> bool:
    return any(_DATA.get(one, _GRAVE) >= _GRAVE for one in tool.data)


def permission_items(facts: Iterable[PermissionFacts], *, now_us: int) -> tuple[PermissionItem, ...]:
    """The permissions of an agent, what is riskiest and longest unused first."""
    found = [_item(one, now_us // _DAY_US) for one in facts]
    return tuple(sorted(found, key=lambda one: (-one.risk * (1 + one.idle_days), -one.risk, one.tool)))


_DAY_US: Final = 86_400_000_000


def _item(facts: PermissionFacts, today: int) -> PermissionItem:
    known, history = facts.known, facts.history
    last = history.last_used_day if history is not None else None
    granted_day = facts.granted_us // _DAY_US
    idle = max(today - max(last if last is not None else granted_day, 0), 0)
    suggestion = _suggestion(facts, idle, today - granted_day)
    reasons = {
        WhyAlone.HIGH_EFFECT: high_effect(known),
        WhyAlone.UNUSED: last is None or idle >= RECENT_DAYS,
        WhyAlone.NEW: facts.new,
        WhyAlone.CHANGED: facts.changed,
        WhyAlone.EXCEPTION: facts.exception or (known is not None and known.allow_undeclared),
        WhyAlone.SUGGESTED: suggestion is not None and suggestion.verdict is not ItemVerdict.KEEP,
        WhyAlone.UNREGISTERED: known is None,
    }
    return PermissionItem(
        tool=facts.tool,
        effect=known.effect.value if known is not None else "",
        scope=known.scope.value if known is not None and known.scope is not None else "",
        data=tuple(sorted(known.data)) if known is not None else (),
        granted_us=facts.granted_us,
        last_used_day=last,
        idle_days=idle,
        calls=history.allows if history is not None else 0,
        denies=history.denies if history is not None else 0,
        risk=_risk(known),
        why_alone=tuple(one for one, so in reasons.items() if so),
        suggestion=suggestion,
        dropped=facts.dropped,
    )


def _risk(tool: Tool | None) -> int:
    if tool is None:
        return _UNKNOWN * (1 + _GRAVE)
    own = tool.effect is Effect.WRITE and tool.scope is WriteScope.OWN
    return (2 if own else _EFFECT[tool.effect]) * (1 + max((_DATA.get(one, _GRAVE) for one in tool.data), default=0))


def _suggestion(facts: PermissionFacts, idle: int, granted_days: int) -> Suggestion | None:
    if facts.signals:
        return Suggestion(ItemVerdict.INVESTIGATE, "; ".join(facts.signals))
    history = facts.history
    used = history is not None and history.last_used_day is not None
    if history is not None and used and idle < RECENT_DAYS and _often_denied(history):
        calls = history.allows + history.denies
        return Suggestion(
            ItemVerdict.FIX_POLICY, f"{history.denies} of {calls} calls in 90 days were refused: a policy is in the way"
        )
    if used and idle < RECENT_DAYS:
        return Suggestion(ItemVerdict.KEEP, f"it was used {_days(idle)} ago")
    if granted_days < RECENT_DAYS:
        return None
    if spared := _spared(facts, idle):
        return Suggestion(ItemVerdict.KEEP, spared)
    ever = f"it was not used for {_days(idle)}" if used else f"it was never used in {_days(idle)}"
    return Suggestion(ItemVerdict.REMOVE, ever)


def _often_denied(history: ToolHistory) -> bool:
    calls = history.allows + history.denies
    return history.denies >= _OFTEN_DENIED and history.denies * 100 >= _DENIED_PERCENT * calls


def _spared(facts: PermissionFacts, idle: int) -> str:
    """Why what was not used lately is no candidate for removal; empty: nothing speaks for it."""
    if facts.exception:
        return "it is kept for emergencies: glass was broken for it"
    if facts.season_months is not None and idle < facts.season_months * _SEASON_DAYS + RECENT_DAYS:
        return f"its schedule says that it is used every {facts.season_months} months"
    period = facts.history.period_days if facts.history is not None else None
    if period is not None and idle < 2 * period:
        return f"it is used about every {_days(period)}"
    return ""


def _days(number: int) -> str:
    return "a day" if number == 1 else f"{number} days"


def card_digest(
    version: Digest, look: int, items: Iterable[PermissionItem], decisions: Iterable[ItemDecision]
) -> Digest:
    """What a decision on a card binds to: the version, what stands by itself and why, and what was said so far."""
    told = sorted(
        [one.tool, [why.value for why in one.why_alone], one.suggestion.verdict.value if one.suggestion else "",
         one.dropped]
        for one in items
    )  # fmt: skip
    said = [[one.tool, one.verdict.value, one.by, one.at_us] for one in decisions]
    return digest_value("review-card", {"items": told, "look": look, "said": said, "version": version})
