"""Who could complete a request, and where nobody could: told before a term runs out in silence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accredit.approvals.duties import Barred, Eligible, duty
from accredit.approvals.model import ApprovalRequest, RoleNeed
from accredit.kernel.ids import PersonId
from accredit.registry.model import Role
from accredit.registry.organisation import Organisation

__all__ = ["RoleOutlook", "outlook"]


@dataclass(frozen=True, slots=True)
class RoleOutlook:
    """How it stands with one role that has not approved."""

    role: Role
    wanted: int
    """How many more persons must approve in it."""
    could: tuple[PersonId, ...]
    """Who may vote in it now, in their own name or another's."""
    barred: Mapping[PersonId, str]
    """Who holds the role, or votes for somebody who does, and may not: why."""

    @property
    def short(self) -> bool:
        """Whether too few can: the request is not going to be approved as things stand."""
        return len(self.could) < self.wanted

    @property
    def said(self) -> str:
        """The outcome in plain words."""
        if not self.short:
            return f"{self.wanted} of {len(self.could)} who could approve as `{self.role}`"
        of_whom = "nobody can" if not self.could else f"only {len(self.could)} of the {self.wanted} needed can"
        reasons = "; ".join(dict.fromkeys(self.barred.values())) or "nobody holds the role"
        return (
            f"{of_whom} approve as `{self.role}` ({reasons}): give the role to somebody who stands on no side of it, "
            "and ask again"
        )


def outlook(request: ApprovalRequest, organisation: Organisation, *, now_us: int) -> tuple[RoleOutlook, ...]:
    """For each role the request wants; the request as it counts now."""
    return tuple(_of_role(request, need, organisation, now_us) for need in request.missing)


def _of_role(request: ApprovalRequest, need: RoleNeed, organisation: Organisation, now_us: int) -> RoleOutlook:
    holders = organisation.holders(need.role, request.team)
    lent = {
        one.to
        for one in organisation.delegations
        if one.role is need.role and one.holder in holders and one.since_us <= now_us < one.until_us
    }
    could: dict[PersonId, PersonId] = {}
    """By whose right: two who could vote by one right are one."""
    barred: dict[PersonId, str] = {}
    for person in sorted(holders | lent):
        answer = duty(
            organisation, request.parties, person, need.role, request.team,
            opened_us=request.opened_us, now_us=now_us, others=request.votes,
        )  # fmt: skip
        match answer:
            case Eligible(for_person):
                could.setdefault(for_person or person, person)
            case Barred():
                barred[person] = answer.detail
    return RoleOutlook(need.role, request.wanted(need), tuple(sorted(set(could.values()))), barred)
