"""People, their roles, groups and delegations. Addresses stand in bodies and answers, never in a URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import AnyRole, Form, Named, Nothing, Reason
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment
from accredit.kernel.ids import PersonId, TeamId
from accredit.registry.organisation import Delegation, RoleGrant

__all__ = [
    "AskedFor",
    "DelegationRow",
    "EndedDelegation",
    "GroupRow",
    "LeftPerson",
    "PersonRow",
    "RevokedRole",
    "RoleRow",
    "SignInLink",
    "SignedOut",
    "VoidedInvitation",
    "people",
]

_DAY_US = 86_400_000_000
_GROUP = "group:"


class _Invitation(Form):
    email: Annotated[str, Field(min_length=3, max_length=254)]


class _RoleForm(Form):
    role: AnyRole
    person: Annotated[str, Field(max_length=64)] | None = None
    group: Annotated[str, Field(max_length=64)] | None = None
    team: Annotated[str, Field(max_length=64)] | None = None
    """Its name or id; without one the role is for every team."""


class _Delegation(Form):
    to: Annotated[str, Field(max_length=64)]
    role: AnyRole
    days: Annotated[int, Field(ge=1, le=90)]


@dataclass(frozen=True, slots=True)
class PersonRow:
    """Somebody with an account."""

    id: str
    email: str
    bot: bool
    left: bool
    manager: str | None


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A link by which one person signs in, once and within the hour."""

    link: str


@dataclass(frozen=True, slots=True)
class LeftPerson:
    """Who left; nothing of theirs works any more."""

    left: str


@dataclass(frozen=True, slots=True)
class SignedOut:
    """Whose tokens, sessions and links ended."""

    signed_out: str


@dataclass(frozen=True, slots=True)
class AskedFor:
    """A change that waits for the sign-off of a second person: the request about it."""

    approval: str
    state: str


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role that a person or a group holds."""

    id: str
    role: str
    person: str | None
    email: str | None
    group: str | None
    team: str | None
    """None: for every team."""
    since: str
    by: list[str]
    """Who asked for it and who approved it."""


@dataclass(frozen=True, slots=True)
class RevokedRole:
    """Which grant ended."""

    revoked: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A named set of persons and of other groups."""

    name: str
    members: list[str]
    groups: list[str]


@dataclass(frozen=True, slots=True)
class DelegationRow:
    """Somebody votes in another's place for a time."""

    id: str
    holder: str
    to: str
    role: str
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class EndedDelegation:
    """Which delegation is over."""

    ended: str


@dataclass(frozen=True, slots=True)
class VoidedInvitation:
    """Whether no invitation is open any more."""

    withdrawn: bool


def people(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations, registry = plane.room.operations, plane.registry

    def link(secret: str) -> SignInLink:
        # the secret stands behind `#`, which browsers and proxies do not send on
        return SignInLink(f"{plane.public_url}/login#{secret}")

    @app.get("/api/v1/persons", response_model=Items[PersonRow])
    async def persons(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found = plane.snapshots.current.catalogue.persons()
        chosen, following = page(found, lambda one: (one.id,), limit, after)
        return Json(Items([PersonRow(one.id, one.email, one.bot, one.left, one.manager) for one in chosen], following))

    @app.post("/api/v1/invitations", response_model=SignInLink, status_code=201)
    async def invitation(who: Who, form: _Invitation) -> Json:
        return Json(link(await operations.invite(who, form.email)), 201)

    @app.delete("/api/v1/invitations", response_model=VoidedInvitation)
    async def invitation_withdraw(who: Who) -> Json:
        await operations.withdraw_invitation(who)
        return Json(VoidedInvitation(withdrawn=True))

    @app.post("/api/v1/persons/{person}/sign-in-link", response_model=SignInLink, status_code=201)
    async def sign_in_link(who: Who, person: Named, _: Nothing | None = None) -> Json:
        return Json(link(await operations.sign_in_link(who, PersonId(person))), 201)

    @app.post("/api/v1/persons/{person}/leave", response_model=LeftPerson)
    async def person_leave(who: Who, person: Named, form: Reason) -> Json:
        await operations.person_left(who, PersonId(person), form.reason)
        return Json(LeftPerson(person))

    @app.post("/api/v1/persons/{person}/sign-out", response_model=SignedOut)
    async def person_sign_out(who: Who, person: Named, form: Reason) -> Json:
        await operations.end_credentials(who, PersonId(person), form.reason)
        return Json(SignedOut(person))

    @app.get("/api/v1/roles", response_model=Items[RoleRow])
    async def roles(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        live = (one for one in registry.organisation.grants if one.revoked_us is None)
        chosen, following = page(live, lambda one: (since(one.since_us), one.id), limit, after)
        return Json(Items([role_row(one) for one in chosen], following))

    @app.post("/api/v1/roles", response_model=AskedFor, status_code=202)
    async def role_grant(who: Who, form: _RoleForm) -> Json:
        person = None if form.person is None else PersonId(form.person)
        request = await operations.propose_role(who, form.role, person=person, group=form.group, team=form.team)
        return Json(AskedFor(request.id, request.state), 202)

    @app.post("/api/v1/roles/{grant}/revoke", response_model=RevokedRole)
    async def role_revoke(who: Who, grant: Named, form: Reason) -> Json:
        await operations.revoke_role(who, grant, form.reason)
        return Json(RevokedRole(grant))

    @app.get("/api/v1/groups", response_model=Items[GroupRow])
    async def groups(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(registry.organisation.groups.values(), lambda one: (one.name,), limit, after)
        return Json(Items([
            GroupRow(one.name, [member.person for member in one.members], [name for name, _ in one.groups])
            for one in found
        ], following))  # fmt: skip

    @app.get("/api/v1/delegations", response_model=Items[DelegationRow])
    async def delegations(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        known = registry.organisation
        found = known.delegations if asking.sees_all(who) else known.delegations_of(who.person)
        now_us = plane.clock.now().wall_us
        running = (one for one in found if now_us < one.until_us)
        chosen, following = page(running, lambda one: (since(one.since_us), one.id), limit, after)
        return Json(Items([_delegation(one) for one in chosen], following))

    @app.post("/api/v1/delegations", response_model=DelegationRow, status_code=201)
    async def delegation_add(who: Who, form: _Delegation) -> Json:
        until_us = plane.clock.now().wall_us + form.days * _DAY_US
        return Json(_delegation(await operations.delegate(who, PersonId(form.to), form.role, until_us)), 201)

    @app.post("/api/v1/delegations/{delegation}/end", response_model=EndedDelegation)
    async def delegation_end(who: Who, delegation: Named, _: Nothing | None = None) -> Json:
        await operations.end_delegation(who, delegation)
        return Json(EndedDelegation(delegation))

    def role_row(one: RoleGrant) -> RoleRow:
        group = one.holder.removeprefix(_GROUP) if one.holder.startswith(_GROUP) else None
        return RoleRow(
            id=one.id,
            role=one.role,
            person=None if group else one.holder,
            email=None if group else asking.address(one.holder),
            group=group,
            team=team_name(one.team),
            since=moment(one.since_us),
            by=sorted(one.by),
        )

    def team_name(team: TeamId | None) -> str | None:
        known = (one.name for one in plane.snapshots.current.catalogue.teams() if one.id == team)
        return next(known, team)


def _delegation(one: Delegation) -> DelegationRow:
    return DelegationRow(one.id, one.holder, one.to, one.role, moment(one.since_us), moment(one.until_us))
