"""Agents' keys, and the upstream credentials that the broker keeps for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Reason
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.revocations import EndedCredentials, timed
from accredit.api.shown import Items, moment
from accredit.identity.broker import BrokeredCredential
from accredit.identity.model import Credential
from accredit.kernel.ids import CredentialId

__all__ = ["CredentialRow", "UpstreamRow", "credential_row", "credentials"]


class _Confirm(Form):
    thumbprint: Annotated[str, Field(max_length=64)]


class _Upstream(Form):
    origin: Annotated[str, Field(max_length=512)]
    header: Annotated[str, Field(max_length=128)]
    value: Annotated[str, Field(min_length=1, max_length=8192)]


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
    header: str
    origin: str
    version: int


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
        return Json(Items([_brokered(one) for one in found], following))

    @app.put("/api/v1/upstream-credentials/{name}", response_model=UpstreamRow)
    async def upstream_credential(who: Who, name: Named, form: _Upstream) -> Json:
        stored = await operations.store_credential(who, name, origin=form.origin, header=form.header, value=form.value)
        return Json(_brokered(stored))


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


def _brokered(one: BrokeredCredential) -> UpstreamRow:
    return UpstreamRow(one.name, one.header, one.origin, one.version)
