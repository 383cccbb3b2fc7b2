"""Agents' keys, and the upstream credentials that the broker keeps for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Nothing, Reason
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.revocations import EndedCredentials, timed
from accredit.api.shown import Items, moment
from accredit.identity.model import Credential
from accredit.identity.upstreams import (
    BrokeredCredential,
    ClientAuthentication,
    ConnectedAccount,
    ExchangeSubject,
    OAuthSettings,
    UpstreamKind,
    settings_document,
)
from accredit.kernel.ids import CredentialId

__all__ = [
    "AccountRow",
    "CredentialRow",
    "Disconnected",
    "RemovedUpstream",
    "UpstreamRow",
    "credential_row",
    "credentials",
]


class _Confirm(Form):
    thumbprint: Annotated[str, Field(max_length=64)]


_Url = Annotated[str, Field(max_length=1024)]


class _OAuth(Form):
    token_endpoint: _Url
    client_id: Annotated[str, Field(min_length=1, max_length=1024)]
    authentication: Annotated[ClientAuthentication, Field(strict=False)]
    scope: Annotated[str, Field(max_length=1024)] = ""
    resource: _Url = ""
    audience: _Url = ""
    subject: Annotated[ExchangeSubject, Field(strict=False)] = ExchangeSubject.USER
    issuer: _Url = ""
    authorization_endpoint: _Url = ""
    revocation_endpoint: _Url = ""
    users: _Url = ""
    definitions: Annotated[str, Field(max_length=63)] = ""


class _Upstream(Form):
    origin: Annotated[str, Field(max_length=512)]
    kind: Annotated[UpstreamKind, Field(strict=False)] = UpstreamKind.HEADER
    header: Annotated[str, Field(max_length=128)] = "Authorization"
    value: Annotated[str, Field(max_length=8192)] = ""
    username: Annotated[str, Field(max_length=1024)] = ""
    oauth: _OAuth | None = None
    new_key: bool = False


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """One instance's key; an opaque one has no thumbprint, and ends by itself."""

    id: str
    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    thumbprint: str
    state: str
    enrolled: str
    expires: str | None
    """Of an opaque key."""
    path: str | None
    """Of an opaque key: where it is good, and below."""


@dataclass(frozen=True, slots=True)
class UpstreamRow:
    """A brokered credential, without its value."""

    name: str
    kind: str
    header: str
    origin: str
    version: int
    username: str
    oauth: dict[str, Any] | None
    redirect_uri: str | None
    """Of accounts of persons: to be registered at the authorization server."""


@dataclass(frozen=True, slots=True)
class RemovedUpstream:
    """A brokered credential that is gone, and every account connected for it."""

    name: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A credential that persons connect accounts for, and whether whoever asks has."""

    credential: str
    issuer: str
    scope: str
    connected: str | None
    link: str
    """Where one connects."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """An account is not used any more."""

    credential: str
    revoked: bool
    """Whether its authorization server said that its tokens are dead; they are forgotten here anyway."""


def credentials(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations = plane.room.operations

    @app.get("/api/v1/credentials", response_model=Items[CredentialRow])
    async def credentials(
        who: Who, agent: Annotated[str | None, Query(max_length=200)] = None, limit: Limit = MOST, after: After = None
    ) -> Json:
        wanted = [asking.seen(who, agent)] if agent else asking.visible(who)
        found = (one for each in wanted for one in plane.identity.credentials_of(each.id))
        chosen, following = page(found, lambda one: (since(one.enrolled_us), one.id), limit, after)
        return Json(Items([credential_row(one, asking) for one in chosen], following))

    @app.post("/api/v1/credentials/{credential}/confirm", response_model=CredentialRow)
    async def credential_confirm(who: Who, credential: Named, form: _Confirm) -> Json:
        confirmed = await operations.confirm_credential(who, CredentialId(credential), form.thumbprint)
        return Json(credential_row(confirmed, asking))

    @app.post("/api/v1/credentials/{credential}/revoke", response_model=EndedCredentials)
    async def credential_revoke(who: Who, credential: Named, form: Reason) -> Json:
        ending = operations.revoke_credential(who, CredentialId(credential), form.reason)
        return Json(await timed(plane, credential, ending))

    @app.get("/api/v1/upstream-credentials", response_model=Items[UpstreamRow])
    async def upstream_credentials(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.broker.credentials(), lambda one: (one.name,), limit, after)
        return Json(Items([_brokered(one, plane) for one in found], following))

    @app.put("/api/v1/upstream-credentials/{name}", response_model=UpstreamRow)
    async def upstream_credential(who: Who, name: Named, form: _Upstream) -> Json:
        stored = await operations.store_credential(
            who,
            name,
            origin=form.origin,
            header=form.header,
            value=form.value,
            kind=form.kind,
            username=form.username,
            oauth=OAuthSettings(**dict(form.oauth)) if form.oauth is not None else None,
            new_key=form.new_key,
        )
        return Json(_brokered(stored, plane))

    @app.delete("/api/v1/upstream-credentials/{name}", response_model=RemovedUpstream)
    async def upstream_credential_remove(who: Who, name: Named) -> Json:
        await operations.remove_credential(who, name)
        return Json(RemovedUpstream(name))

    @app.get("/api/v1/accounts", response_model=Items[AccountRow])
    async def accounts(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        own = {one.credential: one for one in plane.broker.connected(who.person)}
        found, following = page(plane.broker.offered(), lambda one: (one.name,), limit, after)
        return Json(Items([_account(one, own.get(one.name), plane) for one in found], following))

    @app.post("/api/v1/accounts/{name}/disconnect", response_model=Disconnected)
    async def account_disconnect(who: Who, name: Named, _: Nothing | None = None) -> Json:
        return Json(Disconnected(name, await operations.disconnect_account(who, name)))


def credential_row(one: Credential, asking: Asking) -> CredentialRow:
    """A key."""
    opaque = one.opaque
    return CredentialRow(
        one.id,
        one.agent,
        asking.name(one.agent),
        one.thumbprint,
        one.state,
        moment(one.enrolled_us),
        moment(opaque.expires_us) if opaque else None,
        (opaque.audience or "/") if opaque else None,
    )


def _brokered(one: BrokeredCredential, plane: ControlPlane) -> UpstreamRow:
    redirect = plane.broker.accounts.redirect_uri(one.name) if one.kind is UpstreamKind.OAUTH_USER else None
    oauth = settings_document(one.oauth) if one.oauth is not None else None
    return UpstreamRow(one.name, one.kind, one.header, one.origin, one.version, one.username, oauth, redirect)


def _account(one: BrokeredCredential, own: ConnectedAccount | None, plane: ControlPlane) -> AccountRow:
    oauth = one.oauth
    return AccountRow(
        one.name,
        oauth.issuer if oauth else "",
        oauth.scope if oauth else "",
        moment(own.connected_us) if own else None,
        f"{plane.public_url}/console/accounts",
    )
