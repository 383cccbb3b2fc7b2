"""Whether a retired agent is seen often enough, or well enough, to be an incident. Pure.

    1   it was seen to succeed: a call of it was let through after it was retired, or a provider's export tells of use
    2   somebody reports its work: a claim, and people look into it
    3   its credential was turned away in more than a few minutes (each has one record): somebody still runs it

What was looked into counts no more: alerts and findings that are over, and what was seen before an incident was closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from accredit.lifecycle.discovery.findings import AgentFinding
from accredit.lifecycle.discovery.keys import FoundKey
from accredit.monitoring.model import Alert, AlertKind

__all__ = ["GHOST_RULE", "Haunting", "haunting"]

GHOST_RULE: Final = "ghost"
FEW: Final = 3
"""Minutes with refused uses up to which a retired agent's instance is merely one that nobody stopped yet."""


@dataclass(frozen=True, slots=True)
class Haunting:
    """What is seen of a retired agent."""

    severity: int
    why: str
    linked: tuple[str, ...]


def haunting(
    retired_us: int,
    alerts: Iterable[Alert],
    findings: Iterable[AgentFinding],
    keys: Iterable[FoundKey],
    *,
    since_us: int = 0,
) -> Haunting | None:
    """What is seen of an agent that was retired then; None if it is no incident. `since_us` is when one was closed."""
    seen: list[tuple[int, str, str]] = []
    refused: list[Alert] = []
    for alert in alerts:
        if alert.closed_us is not None or alert.last_us <= since_us or alert.last_us < retired_us:
            continue
        if alert.kind is AlertKind.GHOST and alert.evidence.get("decision") == "allow":
            seen.append((1, "a call of it was let through after it was retired", alert.id))
        elif alert.kind is AlertKind.GHOST:
            refused.append(alert)
        elif alert.kind is AlertKind.REPORTED_AGENT:
            seen.append((2, "somebody reports its work after it was retired", alert.id))
    if sum(one.count for one in refused) > FEW:
        seen += [(3, "its credential is still presented after it was retired", one.id) for one in refused]
    retired_day = datetime.fromtimestamp(retired_us / 1_000_000, UTC).date().isoformat()
    for finding in findings:
        if finding.opened_us > since_us and str(finding.seen.evidence.get("last_used", "")) > retired_day:
            seen.append((1, "its provider tells of use after it was retired", finding.id))
    for key in keys:
        if key.seen_us > since_us and key.exported and key.last_used > retired_day:
            seen.append((1, "its provider tells of use after it was retired", key.id))
    if not seen:
        return None
    gravest = min(seen)
    return Haunting(gravest[0], gravest[1], tuple(dict.fromkeys(one[2] for one in seen)))
