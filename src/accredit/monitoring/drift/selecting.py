"""Which sessions may become a baseline. Pure.

Whoever steers an agent while it is learned would have what they make it do taken for what it should do. So a session
feeds no baseline that is of another version, during which an alert stood that says that the agent was not as approved,
or during a quarantine. INVARIANT: an alert of a kind that is not known here counts.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from accredit.kernel.canonical import Digest
from accredit.monitoring.model import Alert, AlertKind
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["Period", "Selected", "selected_sessions"]

Period = tuple[int, int | None]
"""From and until, in µs; None: it goes on."""

_NO_SUSPICION: Final = frozenset(
    {
        AlertKind.BEHAVIOUR_DRIFT,  # against what was accepted: another is learned because that may not fit any more
        AlertKind.ERROR_RISE,
        AlertKind.FINDING_OVERDUE,
        AlertKind.FIRST_DENIAL,
        AlertKind.NEW_HOURS,
        AlertKind.NEW_OFFER,
        AlertKind.OWNERLESS,
        AlertKind.RETRY_RISE,
        AlertKind.REVIEW,
        AlertKind.RIGHT_LOST,
        AlertKind.SPEND_FORECAST,
        AlertKind.UNWATCHED,
    }
)
"""Alerts that say nothing against what an agent did meanwhile."""


@dataclass(frozen=True, slots=True)
class Selected:
    """Sessions that may, and how many of the same time and version may not."""

    sessions: tuple[SessionProfile, ...]
    """In the order they were finished."""
    left_out: int


def selected_sessions(
    found: Iterable[SessionProfile],
    *,
    versions: Container[Digest],
    alerts: Iterable[Alert],
    quarantines: Sequence[Period],
    most: int,
) -> Selected:
    """Of an agent's sessions, in their order, the newest that may become its baseline.

    Args:
        found: All that are asked for.
        versions: Those of which they may be.
        alerts: All of the agent, resolved ones as well.
        quarantines: When it was quarantined.
        most: How many are wanted.
    """
    barred = [*quarantines, *((one.opened_us, one.closed_us) for one in alerts if one.kind not in _NO_SUSPICION)]
    taken: list[SessionProfile] = []
    left_out = 0
    for one in found:
        if one.version is None or one.version not in versions:
            continue
        if any(_overlap(one, period) for period in barred):
            left_out += 1
        else:
            taken.append(one)
    return Selected(tuple(taken[-most:]), left_out)


def _overlap(session: SessionProfile, period: Period) -> bool:
    began_us, ended_us = period
    last = max(session.began_us, session.ended_us)  # a clock that was put back makes no session vanish
    return last >= began_us and (ended_us is None or min(session.began_us, session.ended_us) <= ended_us)
