"""How a person stands to every role that something waits for. Pure: the decision itself is `approvals.duties`'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accredit.approvals.duties import Barred, Eligible, duty
from accredit.approvals.model import ApprovalRequest
from accredit.kernel.ids import PersonId
from accredit.registry.model import Role
from accredit.registry.organisation import Organisation

__all__ = ["Standing", "standings", "standings_of"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a person stands to one thing that is wanted of a role."""

    role: str
    may: bool
    why: str = ""
    """If not: what is in the way."""
    for_person: PersonId | None = None
    """In whose place it would be, when in another's."""


def standings_of(answers: Mapping[Role, Eligible | Barred]) -> tuple[Standing, ...]:
    """As the page shows them."""
    return tuple(
        Standing(role, may=False, why=answer.detail)
        if isinstance(answer, Barred)
        else Standing(role, may=True, for_person=answer.for_person)
        for role, answer in answers.items()
    )


def standings(
    request: ApprovalRequest, person: PersonId, organisation: Organisation, *, now_us: int
) -> tuple[Standing, ...]:
    """For each role that has not approved yet, by the votes on record.

    For lists: whether those votes still count is asked when one opens the request.
    """
    return standings_of(
        {
            need.role: duty(
                organisation,
                request.parties,
                person,
                need.role,
                request.team,
                opened_us=request.opened_us,
                now_us=now_us,
                others=tuple(vote for vote in request.votes if vote.role is not need.role),
            )
            for need in request.missing
        }
    )
