"""Signing in, and one's own tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import FastAPI, Request
from pydantic import Field

from accredit.api.asking import Asking, Who, source_of
from accredit.api.forms import Form, Named
from accredit.api.paging import MOST, After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json, problem
from accredit.api.shown import Items, moment
from accredit.identity.model import ApiToken
from accredit.kernel.errors import UnauthenticatedError

__all__ = ["IssuedToken", "Myself", "RevokedToken", "SignedIn", "TokenRow", "signing_in"]


class _Login(Form):
    link: Annotated[str, Field(max_length=512)]
    name: Annotated[str, Field(min_length=1, max_length=63)] = "cli"


class _Token(Form):
    name: Annotated[str, Field(min_length=1, max_length=63)]
    scopes: Annotated[list[Literal["admin", "read"]], Field(min_length=1, max_length=2)]
    days: Annotated[int, Field(ge=1, le=90)] = 7


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A token, shown once, and whose it is."""

    token: str
    person: str
    email: str | None
    expires: str


@dataclass(frozen=True, slots=True)
class Myself:
    """Whom a token stands for."""

    person: str
    email: str | None
    scopes: list[str]
    basis: str
    """`single-admin` while one administrator acts for every role, then `roles`."""
    roles: list[str]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token or session, without its secret."""

    id: str
    name: str
    kind: str
    scopes: list[str]
    issued: str
    expires: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class IssuedToken(TokenRow):
    """The same with its secret, shown once."""

    token: str


@dataclass(frozen=True, slots=True)
class RevokedToken:
    """Which token ended."""

    revoked: str


def signing_in(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""

    @app.post("/api/v1/login", response_model=SignedIn)
    async def login(request: Request, form: _Login) -> Json:
        source = source_of(request)
        try:
            made = await plane.people.login(form.link, form.name, source=source)
        except UnauthenticatedError as error:  # whoever opens a link may know that it is used up or too old
            plane.enforcer.turned_away(error.code, path=request.url.path, source=source, cause=error.cause)
            return problem(401, error.code, error.message, error.hint)
        return Json(
            SignedIn(made.secret, made.token.person, asking.address(made.token.person), moment(made.token.expires_us))
        )

    @app.get("/api/v1/whoami", response_model=Myself)
    async def whoami(who: Who) -> Json:
        roles = sorted({role.value for role, _ in plane.registry.organisation.roles_of(who.person)})
        return Json(Myself(who.person, asking.address(who.person), sorted(who.scopes), who.basis, roles))

    @app.get("/api/v1/tokens", response_model=Items[TokenRow])
    async def tokens(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        found, following = page(plane.people.tokens(who), lambda one: (since(one.issued_us), one.id), limit, after)
        return Json(Items([_row(one) for one in found], following))

    @app.post("/api/v1/tokens", response_model=IssuedToken, status_code=201)
    async def token_issue(who: Who, form: _Token) -> Json:
        made = await plane.people.issue_token(who, form.name, scopes=form.scopes, ttl_s=form.days * 86_400)
        row = _row(made.token)
        shown = IssuedToken(
            row.id, row.name, row.kind, row.scopes, row.issued, row.expires, row.revoked, token=made.secret
        )
        return Json(shown, 201)

    @app.delete("/api/v1/tokens/{token_id}", response_model=RevokedToken)
    async def token_revoke(who: Who, token_id: Named) -> Json:
        await plane.people.revoke_token(who, token_id)
        return Json(RevokedToken(token_id))


def _row(one: ApiToken) -> TokenRow:
    return TokenRow(
        id=one.id,
        name=one.profile,
        kind=one.kind,
        scopes=sorted(one.scopes),
        issued=moment(one.issued_us),
        expires=moment(one.expires_us),
        revoked=one.revoked,
    )
