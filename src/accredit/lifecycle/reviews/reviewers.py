"""Who may review an agent: a question about persons, asked when they decide and again when it counts. Pure.

Of the high tier security reviews, and nobody on the agent's side (`approvals.duties`); of others whoever may at all.
A second look is somebody else's than the first.
"""

from __future__ import annotations

from collections.abc import Collection

from accredit.approvals.duties import Barred, barred, duty
from accredit.approvals.model import Parties
from accredit.kernel.ids import PersonId
from accredit.registry.model import Agent, Role, Tier
from accredit.registry.organisation import Organisation

__all__ = ["reviewer_barred"]

_BARRED = "whoever looked before, or whose look did not count, takes no further one"


def reviewer_barred(
    person: PersonId,
    agent: Agent,
    tier: Tier | None,
    organisation: Organisation,
    *,
    authors: frozenset[PersonId],
    before: Collection[PersonId],
    opened_us: int,
    now_us: int,
) -> str | None:
    """Why a person may not decide on what an agent may do, in plain words; None: nothing is in the way.

    `before` took an earlier look. An agent of which nobody knows the tier counts as high.
    """
    if person in before:
        return _BARRED
    owners = frozenset(one for one in (agent.owner, agent.backup_owner) if one is not None)
    if tier in {Tier.LOW, Tier.MEDIUM}:
        reason = barred(
            organisation, Parties(None, frozenset(), frozenset()), person, opened_us=opened_us, now_us=now_us
        )
        return None if reason is None else Barred(reason).detail
    parties = Parties(None, authors, owners)
    answer = duty(organisation, parties, person, Role.SECURITY, agent.team.id, opened_us=opened_us, now_us=now_us)
    return answer.detail if isinstance(answer, Barred) else None
