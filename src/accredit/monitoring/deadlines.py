"""How long an agent may go on in a higher risk tier than it was approved under, before it is suspended. Pure.

From the first moment on each of its calls waits for a person (`remedy.py`); what has not been put right or approved
anew after five days is stopped. Acknowledging the alert changes nothing, and resolving it while it is so does not begin
the days anew. Whoever resumes the agent after they ended gives it five more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from accredit.monitoring.model import Alert, AlertKind
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Environment

__all__ = ["ANSWER_US", "suspension_due_us"]

_DAY_US: Final = 86_400_000_000
ANSWER_US: Final = 5 * _DAY_US


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
