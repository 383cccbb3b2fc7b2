"""Directories that provision people here: what their groups give, their keys, and what they say of whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Reason
from accredit.api.paging import MOST, After, Limit, page
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment
from accredit.kernel.ids import TeamId
from accredit.registry.directories import DirectoryRule

__all__ = ["DirectoryKeyMade", "DirectoryKeyRow", "DirectoryRow", "EndedDirectoryKey", "MappedGroupRow", "directories"]


class _KeyLife(Form):
    days: Annotated[int, Field(ge=1, le=365)] = 90


@dataclass(frozen=True, slots=True)
class MappedGroupRow:
    """What one group of a directory gives to those in it."""

    name: str
    group: str | None
    """The group of ours that it keeps."""
    team: str | None
    user_roles: list[str]
    """Roles that they have where an agent acts for them."""
    tools: list[str]
    """Tools that they alone have a right to."""
    members: int
    """Active users in it now, those of groups in it among them."""


@dataclass(frozen=True, slots=True)
class DirectoryKeyRow:
    """A key of a directory, without its secret."""

    id: str
    issued: str
    expires: str
    revoked: bool
    by: str | None
    """Who made it: they could be behind what is done with it."""


@dataclass(frozen=True, slots=True)
class DirectoryRow:
    """Whoever provisions people here, and exactly what that gives."""

    name: str
    url: str
    """Where it sends what it says."""
    issuer: str | None
    subject: str
    groups: list[MappedGroupRow]
    users: int
    active: int
    unmapped: int
    """Groups that give nothing."""
    keys: list[DirectoryKeyRow]


@dataclass(frozen=True, slots=True)
class DirectoryKeyMade:
    """A key of a directory, shown once."""

    id: str
    secret: str
    expires: str


@dataclass(frozen=True, slots=True)
class EndedDirectoryKey:
    """Which key ended."""

    revoked: str


def directories(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations, registry = plane.room.directories, plane.registry

    def team_name(team: TeamId | None) -> str | None:
        known = (one.name for one in registry.catalogue.teams() if one.id == team)
        return None if team is None else next(known, team)

    def row(rule: DirectoryRule) -> DirectoryRow:
        entitlements = registry.entitlements
        users, groups = operations.users(rule.name), operations.groups(rule.name)
        mapped = {one.name.casefold() for one in rule.groups}
        return DirectoryRow(
            name=rule.name,
            url=f"{plane.public_url}/scim/v2",
            issuer=rule.issuer,
            subject=rule.subject,
            groups=[
                MappedGroupRow(
                    one.name,
                    one.group,
                    team_name(one.team),
                    sorted(one.user_roles),
                    sorted(one.tools),
                    len(entitlements.within(rule.name, one.name)),
                )
                for one in rule.groups
            ],
            users=len(users),
            active=sum(one.active for one in users),
            unmapped=sum(one.name.casefold() not in mapped for one in groups),
            keys=[
                DirectoryKeyRow(one.id, moment(one.issued_us), moment(one.expires_us), one.revoked, one.by)
                for one in operations.keys.all(rule.name)
            ],
        )

    @app.get("/api/v1/directories", response_model=Items[DirectoryRow])
    async def directories_list(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(operations.all(), lambda one: (one.name,), limit, after)
        return Json(Items([row(one) for one in found], following))

    @app.post("/api/v1/directories/{directory}/keys", response_model=DirectoryKeyMade, status_code=201)
    async def directory_key(who: Who, directory: Named, form: _KeyLife) -> Json:
        made = await operations.issue_key(who, directory, form.days)
        return Json(DirectoryKeyMade(made.id, made.secret, moment(made.expires_us)), 201)

    @app.post("/api/v1/directories/{directory}/keys/{key}/revoke", response_model=EndedDirectoryKey)
    async def directory_key_revoke(who: Who, directory: Named, key: Named, form: Reason) -> Json:
        await operations.revoke_key(who, directory, key, form.reason)
        return Json(EndedDirectoryKey(key))
