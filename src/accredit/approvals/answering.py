"""Who may answer a hold, and what the answer makes of it. Pure.

Until people have roles, one administrator fills every role, in development only, and every grant says `single-admin`
(DESIGN §4). That lends nobody the right to approve a call that serves themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from accredit.approvals.model import Hold, HoldGrant, HoldRefusal, HoldState, HoldVerdict
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.registry.model import Environment

__all__ = ["answer", "over"]

_OVER = {
    HoldState.DENIED: (Code.HOLD_DENIED, "the hold was denied"),
    HoldState.EXPIRED: (Code.HOLD_EXPIRED, "the hold has expired"),
    HoldState.USED: (Code.GRANT_USED, "the hold's grants were used"),
    HoldState.GRANTED: (Code.CONFLICT, "the hold has all its grants already"),
}


def over(hold: Hold, state: HoldState, now_us: int) -> Hold:
    """The hold as it is kept once it is over: without the raw values, which live on sealed in the log alone."""
    return replace(hold, state=state, view="", closed_us=now_us)


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
) -> Hold | HoldRefusal:
    """The hold after a person's answer in one role, or (None) in every role still wanted.

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
    if operator.basis != Basis.SINGLE_ADMIN or hold.environment is not Environment.DEVELOPMENT:
        return HoldRefusal(Code.NOT_AUTHORISED, "only the single administrator of a development fills roles", hold.id)
    stands_as = hold.barred.get(operator.person)
    if stands_as is not None and any(need.role != stands_as for need in wanted):
        return HoldRefusal(Code.NOT_AUTHORISED, f"the `{stands_as}` of a call may not answer for it", hold.id)
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
        )
        for need in wanted
    )
    answered = replace(hold, grants=(*hold.grants, *given))
    if answered.missing:
        return answered
    return replace(answered, state=HoldState.GRANTED, expires_us=now_us + use_us)
