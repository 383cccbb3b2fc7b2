"""How often what raises alerts was right, by what people said of its alerts. Pure.

Of an alert that nobody resolved, or that was over by itself, nothing is known: it counts neither way. Tests and
duplicates say nothing of whether a detector is right either. What is left is a share with an interval (Wilson, 95 %):
three alerts are not a rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Final

from accredit.kernel.ids import AgentId
from accredit.monitoring.model import Alert, AlertDisposition, AlertKind

__all__ = ["Accuracy", "accuracy", "wilson"]

_Z: Final = 1.959964
_JUDGED: Final = (AlertDisposition.TRUE_POSITIVE, AlertDisposition.EXPECTED_CHANGE, AlertDisposition.FALSE_POSITIVE)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one kind of alert, of one agent or of all."""

    kind: AlertKind
    agent: AgentId | None
    """None: of all agents together."""
    alerts: int
    dispositions: dict[AlertDisposition, int]
    unknown: int
    """Nobody said what they were."""
    false_share: float | None
    """Of those that were judged; None: none was."""
    false_between: tuple[float, float] | None
    """Its 95 % interval."""
    sessions: int | None
    """Sessions in which it could have been raised; None: not known."""
    false_per_1000: float | None
    """False alarms in 1,000 sessions; None: no session is known."""


def accuracy(
    alerts: Iterable[Alert], *, by_agent: bool = False, sessions_of: Callable[[AgentId | None], int] = lambda _: 0
) -> tuple[Accuracy, ...]:
    """One entry for each kind that there were alerts of, or for each agent and kind; most false ones first.

    `sessions_of` tells how many finished sessions of an agent, or of all, are kept.
    """
    found: defaultdict[tuple[AlertKind, AgentId | None], list[Alert]] = defaultdict(list)
    for alert in alerts:
        found[alert.kind, alert.agent if by_agent else None].append(alert)
    made = [_accuracy(kind, agent, of, sessions_of(agent)) for (kind, agent), of in found.items()]
    return tuple(
        sorted(made, key=lambda one: (-one.dispositions[AlertDisposition.FALSE_POSITIVE], one.kind, one.agent or ""))
    )


def _accuracy(kind: AlertKind, agent: AgentId | None, alerts: list[Alert], sessions: int) -> Accuracy:
    counted = {each: sum(alert.disposition is each for alert in alerts) for each in AlertDisposition}
    judged, false = sum(counted[each] for each in _JUDGED), counted[AlertDisposition.FALSE_POSITIVE]
    return Accuracy(
        kind=kind,
        agent=agent,
        alerts=len(alerts),
        dispositions=counted,
        unknown=len(alerts) - sum(counted.values()),
        false_share=false / judged if judged else None,
        false_between=wilson(false, judged) if judged else None,
        sessions=sessions or None,
        false_per_1000=1000 * false / sessions if sessions else None,
    )


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, without correction)."""
    share, spread = hits / of, _Z * _Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
