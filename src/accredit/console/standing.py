"""How a person stands to every role that something waits for. Pure: what decides it is the approvals room's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accredit.approvals.answering import answer, may_answer
from accredit.approvals.duties import Barred, Eligible, duty
from accredit.approvals.model import ApprovalRequest, Hold, HoldRefusal, HoldVerdict
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.ids import PersonId
from accredit.registry.model import Role
from accredit.registry.organisation import Organisation

__all__ = ["Standing", "hold_standings", "standings", "standings_of"]


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
    return tuple(_standing(role, answer) for role, answer in answers.items())


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
                others=request.votes,
            )
            for need in request.missing
        }
    )


def hold_standings(hold: Hold, who: Operator, organisation: Organisation, *, now_us: int) -> tuple[Standing, ...]:
    """For each role that has not answered yet."""
    wanted = {need.role: need for need in hold.missing}
    if who.basis == Basis.ROLES:
        return tuple(
            _standing(role, may_answer(hold, who.person, need, organisation, now_us=now_us))
            for role, need in wanted.items()
        )
    # the one administrator there is: what would be said to an approval, tried and not kept
    tried = {
        role: answer(
            hold,
            who,
            HoldVerdict.APPROVE,
            role=role,
            view_digest=hold.view_digest,
            reason="",
            now_us=now_us,
            use_us=0,
            new_grant_id=str,
            organisation=organisation,
        )
        for role in wanted
    }
    return tuple(
        Standing(role, may=False, why=after.detail) if isinstance(after, HoldRefusal) else Standing(role, may=True)
        for role, after in tried.items()
    )


def _standing(role: str, answer: Eligible | Barred) -> Standing:
    if isinstance(answer, Barred):
        return Standing(role, may=False, why=answer.detail)
    return Standing(role, may=True, for_person=answer.for_person)
