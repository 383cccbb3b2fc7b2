"""Who loses a role, who lends their vote, and who leaves: what each writes. Pure; giving a role is a proposal.

INVARIANT: none of it leaves fewer than two administrators: otherwise one of them could make themselves the only one,
and the rules for a single administrator would apply again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import PersonId, TeamId
from accredit.registry import rows
from accredit.registry.model import APPROVER_ROLES, Person, Role
from accredit.registry.organisation import Delegation, Organisation

__all__ = [
    "check_grantable",
    "delegation_ended",
    "keeps_administrators",
    "person_left",
    "person_returned",
    "role_delegated",
    "role_revoked",
]

TEAM_ROLES: Final = frozenset({Role.TEAM_LEAD, Role.BUSINESS_OWNER})
"""Roles that can be for one team alone."""
_MAX_DELEGATION_US: Final = 90 * 86_400_000_000
_MAX_REASON: Final = 2_000


def check_grantable(organisation: Organisation, role: Role, holder: str, team: TeamId | None) -> None:
    """Check that a role can be given to a person or group at all.

    Raises:
        NotFoundError: no such person or group.
        InvalidInputError: a service account shall vote, or a role that knows no teams shall be for one.
        ConflictError: the person has left, or holds that very role by a grant of their own already.
    """
    if team is not None and role not in TEAM_ROLES:
        raise InvalidInputError(Code.BODY_MALFORMED, f"the role `{role}` is for every team", hint="leave the team out")
    if holder.startswith("group:"):
        if holder.removeprefix("group:") not in organisation.groups:
            raise NotFoundError(Code.NOT_FOUND, f"there is no group `{holder[6:80]}`")
    else:
        known = _somebody(organisation, PersonId(holder))
        if known.bot and role in APPROVER_ROLES:
            raise InvalidInputError(Code.BODY_MALFORMED, "a service account cannot hold a role that votes")
    if any(
        grant.revoked_us is None and (grant.role, grant.holder, grant.team) == (role, holder, team)
        for grant in organisation.grants
    ):
        raise ConflictError(Code.CONFLICT, f"the role `{role}` was given there already")


def _somebody(organisation: Organisation, person: PersonId) -> Person:
    """A person who is there.

    Raises:
        NotFoundError: no such person.
        ConflictError: the person has left.
    """
    known = organisation.people.get(person)
    if known is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no person `{person[:80]}`")
    if known.left:
        raise ConflictError(Code.CONFLICT, "that person has left")
    return known


def keeps_administrators(before: Organisation, after: Organisation) -> None:
    """Check that a change leaves two administrators, if it takes one away.

    Raises:
        ConflictError: it would not.
    """
    left = after.holders(Role.ADMIN)
    if len(left) < 2 and before.holders(Role.ADMIN) - left:
        raise ConflictError(
            Code.TWO_PERSONS_REQUIRED, "this would leave fewer than two administrators",
            hint="give somebody else the role `admin` first; ending a person's credentials needs no second one",
        )  # fmt: skip


def role_revoked(
    view: StateView, organisation: Organisation, grant_id: str, actor: Actor, *, now_us: int, reason: str
) -> Change | None:
    """Take a role back; nothing if that was done before.

    Raises:
        NotFoundError: no such grant.
        ConflictError: there would be fewer than two administrators.
    """
    row = view.get(rows.ROLE_GRANT, grant_id)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no role grant `{grant_id[:80]}`")
    grant = rows.role_grant_from(row.key, row.doc)
    if grant.revoked_us is not None:
        return None
    if grant.role is Role.ADMIN:
        others = tuple(one for one in organisation.grants if one.id != grant.id)
        keeps_administrators(organisation, replace(organisation, grants=others))
    write = Write(rows.ROLE_GRANT, grant.id, {**row.doc, "revoked_us": now_us})
    body = {"grant": grant.id, "holder": grant.holder, "role": grant.role.value, "team": grant.team}
    parts = (Part("text", {"reason": reason[:_MAX_REASON]}),) if reason else ()
    return Change(Facts("role.revoked"), (write,), actor, body, parts, narrowing=True)


def role_delegated(organisation: Organisation, delegation: Delegation, actor: Actor, *, now_us: int) -> Change:
    """Let somebody else vote in one's place for a time.

    Raises:
        NotFoundError: no such person.
        ForbiddenError: the holder does not hold the role.
        InvalidInputError: the time is over or too long, or it is to oneself or a service account.
        ConflictError: the person has left, or it is so already.
    """
    role, holder = delegation.role, delegation.holder
    if role not in APPROVER_ROLES or not any(held is role for held, _ in organisation.roles_of(holder)):
        raise ForbiddenError(Code.NOT_AUTHORISED, f"you do not hold the role `{role}`, or it does not vote")
    known = _somebody(organisation, delegation.to)
    if known.bot or known.id == holder:
        raise InvalidInputError(Code.BODY_MALFORMED, "a vote is delegated to another person, not a service account")
    if not now_us < delegation.until_us <= now_us + _MAX_DELEGATION_US:
        raise InvalidInputError(Code.BODY_MALFORMED, "a delegation ends later than now and within 90 days")
    if any(
        (one.to, one.role) == (delegation.to, role) and one.holder == holder and now_us < one.until_us
        for one in organisation.delegations_of(holder)
    ):
        raise ConflictError(Code.CONFLICT, "that is delegated already", hint="end the delegation that is there first")
    body = {"delegation": delegation.id, "holder": holder, "role": role.value, "to": delegation.to}
    write = Write(rows.DELEGATION, delegation.id, rows.delegation_doc(delegation))
    return Change(Facts("role.delegated"), (write,), actor, {**body, "until_us": delegation.until_us})


def delegation_ended(
    view: StateView, organisation: Organisation, delegation_id: str, actor: Actor, *, now_us: int
) -> Change | None:
    """End a delegation now; nothing if it is over.

    Raises:
        NotFoundError: no such delegation.
        ForbiddenError: it is neither one's own nor is one an administrator.
    """
    row = view.get(rows.DELEGATION, delegation_id)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no delegation `{delegation_id[:80]}`")
    delegation = rows.delegation_from(row.key, row.doc)
    who = PersonId(actor.person or "")
    if who not in {delegation.holder, delegation.to} and not organisation.held(who, Role.ADMIN, None):
        raise ForbiddenError(Code.NOT_AUTHORISED, "a delegation is ended by its two sides or an administrator")
    if delegation.until_us <= now_us:
        return None
    write = Write(rows.DELEGATION, delegation.id, {**row.doc, "until_us": now_us})
    return Change(Facts("delegation.ended"), (write,), actor, {"delegation": delegation.id}, narrowing=True)


def person_left(
    view: StateView, organisation: Organisation, person: PersonId, actor: Actor, *, reason: str, mark: str | None = None
) -> Change | None:
    """Note that somebody is not there any more; nothing if that was noted before.

    There is no way back, but by the word of the directory whose `mark` this is (`person_returned`).

    Raises:
        NotFoundError: no such person.
        ConflictError: there would be fewer than two administrators.
    """
    row = view.get(rows.PERSON, person)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no person `{person[:80]}`")
    known = rows.person_from(row.key, row.doc)
    if known.left:
        return None
    people = {**organisation.people, person: replace(known, left=True)}
    keeps_administrators(organisation, replace(organisation, people=people))
    write = Write(rows.PERSON, person, {**row.doc, "left": True, **({"left_by": mark} if mark else {})})
    parts = (Part("text", {"reason": reason[:_MAX_REASON]}),) if reason else ()
    return Change(Facts("person.left"), (write,), actor, {"person": person}, parts, narrowing=True)


def person_returned(view: StateView, organisation: Organisation, person: PersonId, *, now_us: int) -> tuple[Write, ...]:
    """What somebody who left comes back with: nothing of what they held.

    Roles of their own are revoked, delegations from and to them end, and they are in no group that people composed.

    Raises:
        NotFoundError: no such person.
    """
    row = view.get(rows.PERSON, person)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no person `{person[:80]}`")
    writes = [Write(rows.PERSON, person, {**row.doc, "left": False, "left_by": None})]
    for grant in organisation.grants:
        held = view.get(rows.ROLE_GRANT, grant.id)
        if grant.holder == person and grant.revoked_us is None and held is not None:
            writes.append(Write(rows.ROLE_GRANT, grant.id, {**held.doc, "revoked_us": now_us}))
    for one in organisation.delegations_of(person):
        lent = view.get(rows.DELEGATION, one.id)
        if one.until_us > now_us and lent is not None:
            writes.append(Write(rows.DELEGATION, one.id, {**lent.doc, "until_us": now_us}))
    for group in organisation.groups.values():
        composed = view.get(rows.GROUP, group.name)
        if composed is not None and any(member.person == person for member in group.members):
            rest = [one for one in composed.doc["members"] if one["person"] != person]
            writes.append(Write(rows.GROUP, group.name, {**composed.doc, "members": rest}))
    return tuple(writes)
