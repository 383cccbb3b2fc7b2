"""How long an agent may go on in a higher risk tier than it was approved under, before it is suspended. Pure.

From the first moment on each of its calls waits for a person (`remedy.py`); what has not been put right or approved
anew after five days is stopped. Acknowledging the alert changes nothing, and resolving it while it is so does not begin
the days anew. Whoever resumes the agent after they ended gives it five more.

Those who answer for it are told at once, after half of the days and after 80 %; the last time, or if none of them is
there any more, also those who lead the team or look after security.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from accredit.kernel.ids import PersonId
from accredit.monitoring.model import Alert, AlertKind
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Environment, Role
from accredit.registry.organisation import Organisation

__all__ = ["ANSWER_US", "DeadlineTold", "deadline_told", "suspension_due_us"]

_DAY_US: Final = 86_400_000_000
ANSWER_US: Final = 5 * _DAY_US
_STAGES: Final = (0, 50, 80)
"""In percent of the days."""
_MOST_TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class DeadlineTold:
    """That people are to be told of a deadline, once."""

    stage: int
    """How many of the moments have come; those that were missed are told of together."""
    to: tuple[PersonId, ...]


def deadline_told(
    agent: Agent, due_us: int, organisation: Organisation, *, told: int, now_us: int
) -> DeadlineTold | None:
    """Who is to be told of an agent that is to be suspended; None if nothing is due, or it was told (`told` stages)."""
    since_us = due_us - ANSWER_US
    passed = sum((now_us - since_us) * 100 >= ANSWER_US * percent for percent in _STAGES)
    if passed <= told:
        return None

    def there(people: Iterable[PersonId | None]) -> set[PersonId]:
        return {one for one in people if one and (known := organisation.people.get(one)) and not known.left}

    to = there((agent.owner, agent.backup_owner))
    if passed == len(_STAGES) or not to:
        to |= there(organisation.holders(Role.TEAM_LEAD, agent.team.id))
        to |= there(organisation.holders(Role.SECURITY, agent.team.id))
    return DeadlineTold(passed, tuple(sorted(to)[:_MOST_TOLD]))


def suspension_due_us(agent: Agent, alerts: Iterable[Alert]) -> int | None:
    """When an agent is to be suspended whose tier has risen; None if none rose, or nothing is left to stop.

    `alerts` are those of that agent. A tier that was over by itself and rises again later has its five days anew.
    """
    if agent.environment is not Environment.PRODUCTION or not runs(agent.environment, agent.state):
        return None
    risen = sorted(
        (
            alert
            for alert in alerts
            if alert.kind is AlertKind.POSTURE_TIER and alert.evidence.get("version") == agent.version.digest
        ),
        key=lambda alert: (alert.opened_us, alert.id),
        reverse=True,
    )
    if not risen or risen[0].closed_us is not None:
        return None
    since_us = risen[0].opened_us
    for earlier in risen[1:]:
        # what somebody calls over while it is so opens again in the next rounds
        if earlier.by is None or earlier.closed_us is None or since_us - earlier.closed_us > _DAY_US:
            break
        since_us = earlier.opened_us
    due_us = since_us + ANSWER_US
    return agent.since_us + ANSWER_US if agent.since_us >= due_us else due_us
