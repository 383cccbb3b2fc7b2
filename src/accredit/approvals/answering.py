"""Who may answer a hold, and what the answer makes of it. Pure.

Each policy that held the call names a role, and whoever answers for it must hold that role by the same rules as at any
gate (`duties.py`): held before the question came up, by nobody's favour who stands on the call's side. The sides of a
call are the user it serves and the agent's owners; one of them answers only where a policy names exactly that.

Until there are two administrators, the one fills every role, in development only, and every grant says `single-admin`
(DESIGN §4). That lends nobody the right to approve a call that serves themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from accredit.approvals.duties import Barred, BarredReason, Eligible, duty
from accredit.approvals.model import Hold, HoldGrant, HoldRefusal, HoldState, HoldVerdict, Parties
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.ids import PersonId
from accredit.policy.model import HoldNeed
from accredit.registry.model import Environment, Role
from accredit.registry.organisation import Organisation

__all__ = ["answer", "may_answer", "over"]

_OVER = {
    HoldState.DENIED: (Code.HOLD_DENIED, "the hold was denied"),
    HoldState.EXPIRED: (Code.HOLD_EXPIRED, "the hold has expired"),
    HoldState.USED: (Code.GRANT_USED, "the hold's grants were used"),
    HoldState.GRANTED: (Code.CONFLICT, "the hold has all its grants already"),
}
_SERVED = "user"
_ROLES = {role.value: role for role in Role}


def over(hold: Hold, state: HoldState, now_us: int) -> Hold:
    """The hold as it is kept once it is over: without the raw values, which live on sealed in the log alone."""
    return replace(hold, state=state, view="", closed_us=now_us)


def may_answer(
    hold: Hold, person: PersonId, need: HoldNeed, organisation: Organisation, *, now_us: int
) -> Eligible | Barred:
    """Whether a person may answer for one of a hold's policies, by the roles of the organisation."""
    if hold.barred.get(person) == need.role:
        known = organisation.people.get(person)
        if known is None:
            return Barred(BarredReason.UNKNOWN)
        if known.bot:
            return Barred(BarredReason.BOT)
        return Barred(BarredReason.LEFT) if known.left else Eligible()
    if (role := _ROLES.get(need.role)) is None:
        return Barred(BarredReason.ROLE_NOT_HELD)
    served = frozenset(one for one, stands_as in hold.barred.items() if stands_as == _SERVED)
    sides = Parties(None, owners=frozenset(hold.barred) - served, beneficiaries=served)
    return duty(organisation, sides, person, role, hold.team, opened_us=hold.opened_us, now_us=now_us)


def answer(
    hold: Hold,
    operator: Operator,
    verdict: HoldVerdict,
    *,
    role: str | None,
    view_digest: Digest,
    reason: str,
    now_us: int,
    use_us: int,
    new_grant_id: Callable[[], str],
    organisation: Organisation,
) -> Hold | HoldRefusal:
    """The hold after a person's answer in one role, or (None) in every role still wanted that they may answer in.

    The hold's state must be the present one: expiry is the caller's to know. A grant that completes the hold can be
    used for `use_us` from then on. Denial in any wanted role ends it.
    """
    if hold.state is not HoldState.OPEN:
        return HoldRefusal(*_OVER[hold.state], hold.id)
    if view_digest != hold.view_digest:
        return HoldRefusal(Code.CONFLICT, "the view that was answered is not this hold's", hold.id)
    wanted = [need for need in hold.missing if role in {None, need.role}]
    if not wanted:
        return HoldRefusal(Code.CONFLICT, f"the hold waits for no answer by `{str(role)[:80]}`", hold.id)
    if operator.basis == Basis.SINGLE_ADMIN:
        may = _may_alone(hold, operator.person, wanted)
    elif operator.basis == Basis.ROLES:
        may = _may_by_roles(hold, operator.person, wanted, organisation, now_us)
    else:
        may = HoldRefusal(Code.NOT_AUTHORISED, "nothing says by what right this is answered", hold.id)
    if isinstance(may, HoldRefusal):
        return may
    if verdict is HoldVerdict.DENY:
        return replace(over(hold, HoldState.DENIED, now_us), denied_by=operator.person, denied_reason=reason)
    given = tuple(
        HoldGrant(
            new_grant_id(),
            need.policy,
            need.role,
            operator.person,
            operator.credential,
            operator.basis,
            view_digest,
            reason,
            now_us,
            for_person,
        )
        for need, for_person in may
    )
    answered = replace(hold, grants=(*hold.grants, *given))
    if answered.missing:
        return answered
    return replace(answered, state=HoldState.GRANTED, expires_us=now_us + use_us)


def _may_alone(
    hold: Hold, person: PersonId, wanted: list[HoldNeed]
) -> list[tuple[HoldNeed, PersonId | None]] | HoldRefusal:
    if hold.environment is not Environment.DEVELOPMENT:
        return HoldRefusal(Code.NOT_AUTHORISED, "one administrator alone answers in development only", hold.id)
    stands_as = hold.barred.get(person)
    if stands_as is not None and any(need.role != stands_as for need in wanted):
        return HoldRefusal(Code.NOT_AUTHORISED, f"the `{stands_as}` of a call may not answer for it", hold.id)
    return [(need, None) for need in wanted]


def _may_by_roles(
    hold: Hold, person: PersonId, wanted: list[HoldNeed], organisation: Organisation, now_us: int
) -> list[tuple[HoldNeed, PersonId | None]] | HoldRefusal:
    answers = [(need, may_answer(hold, person, need, organisation, now_us=now_us)) for need in wanted]
    may = [(need, one.for_person) for need, one in answers if isinstance(one, Eligible)]
    if may:
        return may
    why = "; ".join(dict.fromkeys(f"`{need.role}`: {one.detail}" for need, one in answers if isinstance(one, Barred)))
    return HoldRefusal(Code.SEPARATION_OF_DUTIES, f"you may not answer for this call as {why}", hold.id)
