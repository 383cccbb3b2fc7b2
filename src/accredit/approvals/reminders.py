"""Who is told of a request that nobody completes, and when: reminders that escalate and never approve. Pure.

part of the time   told
50 %, 80 %         everybody who may vote in a role that is wanted
90 %               as well: the role's backups, or else all who hold the role, who can lend or find somebody
95 %               as well: the role's heads, or else the administrators
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from accredit.approvals.model import ApprovalRequest, ApprovalState
from accredit.approvals.outlook import outlook
from accredit.kernel.ids import PersonId
from accredit.registry.model import GateRule, Role
from accredit.registry.organisation import Organisation

__all__ = ["Reminder", "Urgency", "reminder_due"]

_MOST: Final = 100


class Urgency(StrEnum):
    """How far it has come."""

    REMINDED = "reminded"
    """Those who may vote are told."""
    BACKUP = "backup"
    HEAD = "head"


_STAGES: Final = ((50, Urgency.REMINDED), (80, Urgency.REMINDED), (90, Urgency.BACKUP), (95, Urgency.HEAD))


@dataclass(frozen=True, slots=True)
class Reminder:
    """That people are to be told, once."""

    stage: int
    """How many stages have come; those that were missed are told of together."""
    urgency: Urgency
    roles: tuple[Role, ...]
    """That are waited for."""
    to: tuple[PersonId, ...]


def reminder_due(
    request: ApprovalRequest, rule: GateRule | None, organisation: Organisation, *, now_us: int
) -> Reminder | None:
    """What is to be told of a request as it counts now; None if nothing is due, or it was told."""
    if request.state is not ApprovalState.OPEN or not request.missing:
        return None
    term_us = request.expires_us - request.opened_us
    passed = [urgency for percent, urgency in _STAGES if (now_us - request.opened_us) * 100 >= term_us * percent]
    if len(passed) <= request.reminded:
        return None
    urgency = passed[-1]
    roles = tuple(need.role for need in request.missing)
    told = set(chain.from_iterable(one.could for one in outlook(request, organisation, now_us=now_us)))
    for role in roles:
        if urgency is not Urgency.REMINDED:
            told |= _named(rule.backups.get(role) if rule else None, organisation) or organisation.holders(
                role, request.team
            )
        if urgency is Urgency.HEAD:
            told |= _named(rule.heads.get(role) if rule else None, organisation) or organisation.holders(Role.ADMIN)
    return Reminder(len(passed), urgency, roles, tuple(sorted(told)[:_MOST]))


def _named(holders: frozenset[str] | None, organisation: Organisation) -> set[PersonId]:
    """The persons behind some holders who are there."""
    found = set(chain.from_iterable(organisation.persons(one) for one in holders or ()))
    return {one for one in found if (known := organisation.people.get(one)) and not known.left and not known.bot}
