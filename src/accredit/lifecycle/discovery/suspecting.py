"""What about an agent's use does not fit what is said of it: for people to look at, and nothing is done on it. Pure.

Each of it is a hint. A purpose is free text, a score moves for good reasons, and one card number may be a test's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from accredit.registry.model import Tier
from accredit.registry.observation import CONSEQUENTIAL, ObservedUse, Sighted
from accredit.registry.tiering import HIGH_FROM, MEDIUM_FROM, tier_rank

__all__ = ["just_under", "seen_once", "unlike_its_purpose"]

_READING: Final = re.compile(
    r"\b(?:answer|analy[sz]|explain|find|inform|look|monitor|observ|overview|question|read|recommend|report|review|"
    r"search|show|suggest|summar|translat|watch|antwort|auskunft|auswert|bericht|beantwort|les|such|zusammenfass)\w*",
    re.IGNORECASE,
)
_ACTING: Final = re.compile(
    r"\b(?:add|administ|approv|assign|cancel|creat|delet|deploy|edit|execut|grant|handl|manag|merg|modif|notif|operat|pay|"
    r"provision|publish|purg|refund|remov|resolv|restart|send|transfer|updat|writ|aender|änder|anleg|bearbeit|erstell|"
    r"losch|lösch|schreib|versend|überweis|veranlass)\w*"
    # these are things as well, and verbs where verbs stand
    r"|(?:\b(?:and|or|to|then|und|oder|zu)\s+|[,;]\s*|^)"
    r"(?:act|book|buch|chang|clos|file|fix|issu|messag|open|order|post|process|schedul|set)\w*",
    re.IGNORECASE,
)
_ENOUGH_CALLS: Final = 10
_SHOWN: Final = 10
_NEAR: Final = 5
"""So many points of score below a threshold are just under it."""


def unlike_its_purpose(purpose: str, use: ObservedUse) -> Mapping[str, Any] | None:
    """What the agent did, if its purpose speaks of reading only and most of what it did changes things for others."""
    executed = [one for one in use.tools if one.executed]
    total = sum(one.executed for one in executed)
    acting = [one for one in executed if one.level >= CONSEQUENTIAL]
    acted = sum(one.executed for one in acting)
    if total < _ENOUGH_CALLS or 2 * acted < total:
        return None
    if _ACTING.search(purpose) or not _READING.search(purpose):
        return None
    return {
        "acting_calls": acted,
        "calls": total,
        "records": sorted({record for one in acting for record in one.records})[-_SHOWN:],
        "tools": sorted({one.tool for one in acting})[:_SHOWN],
    }


def just_under(newest_first: Sequence[tuple[int, Tier]]) -> Mapping[str, Any] | None:
    """What happened, if the newest declaration brought the score from a threshold or above it to just under it.

    Each is (score, tier) of a declaration without anything observed. The tier must have fallen with it.
    """
    if len(newest_first) < 2:
        return None
    (score, tier), (before, tier_before) = newest_first[:2]
    for threshold in (HIGH_FROM, MEDIUM_FROM):
        if threshold - _NEAR <= score < threshold <= before and tier_rank(tier) < tier_rank(tier_before):
            return {"score": score, "score_before": before, "threshold": threshold, "tier_before": tier_before.value}
    return None


def seen_once(use: ObservedUse, known: Iterable[str]) -> Mapping[str, Any] | None:
    """Data classes that were found in results, are none of the `known`, and were found too seldom to count."""
    told = set(known)
    found = [one for one in use.data if one.sighted is Sighted.ONCE and one.data_class not in told]
    if not found:
        return None
    return {
        "classes": [one.data_class for one in found],
        "records": sorted({record for one in found for record in one.records})[-_SHOWN:],
        "tools": sorted({tool for one in found for _, tool in one.places})[:_SHOWN],
    }
