"""How people act: each with a credential of their own, and no way to act for another.

`up` prints one single-use link; whoever opens it first is the first admin. Until there are more people with roles,
that one person fills every role, and every act says so (`single-admin`). A new link is made only while nobody holds a
token that works, and it is for the same person.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.model import ApiToken, Operator
from accredit.identity.ports import AttemptGate
from accredit.identity.state import IdentityState
from accredit.identity.tokens import MAX_TOKEN_BYTES, refused
from accredit.kernel.clearance import Basis
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import IdSource, PersonId

__all__ = ["Login", "People"]

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LINK_S: Final = 3600
_TOKEN_S: Final = 7 * 86_400
_MAX_TOKEN_S: Final = 90 * 86_400
_FIRST: Final = "first"
_ADMIN: Final = "admin"
_MAX_TOKENS: Final = 10_000

SCOPES: Final = frozenset({_ADMIN, "read"})
"""`read` sees, `admin` changes as well."""


@dataclass(frozen=True, slots=True)
class Login:
    """A token as it is shown, once, and whose it is."""

    secret: str = field(repr=False)
    token: ApiToken


class People:
    """Gives people their credentials and recognises them."""

    def __init__(
        self, control: ControlLog, state: IdentityState, *, clock: Clock, ids: IdSource, attempts: AttemptGate
    ) -> None:
        self._control = control
        self._state = state
        self._clock = clock
        self._ids = ids
        self._attempts = attempts
        self._began = clock.now()

    async def bootstrap_admin(self, email: str) -> str | None:
        """Make the first admin's single-use link secret (`/login#<secret>`), voiding an earlier unused one.

        Gives None if somebody can already act with a token. The first time, the person is registered too.

        Raises:
            InvalidInputError: `email` is not an address.
        """
        if not _EMAIL.fullmatch(email):
            raise InvalidInputError(Code.LINK_INVALID, f"`{email[:80]}` is not an e-mail address")
        secret = self._secret("accl_")
        fresh = PersonId(self._ids.new("psn"))
        made: list[str] = []

        def build(view: StateView) -> Change | None:
            now = self._clock.now()
            if any(self._refusal(token, now) is None for token in self._state.api_tokens()):
                return None
            first = view.get(rows.FIRST_ADMIN, _FIRST)
            person = first.doc["person"] if first else fresh
            expires_us = now.wall_us + _LINK_S * 1_000_000
            link = {"expires_us": expires_us, "person": person}
            writes = [Write(row.kind, row.key, None) for row in view.scan(rows.LOGIN_LINK)]
            writes.append(Write(rows.LOGIN_LINK, rows.secret_hash(secret), link))
            if first is None:
                writes.append(Write(rows.FIRST_ADMIN, _FIRST, {"person": person}))
                writes.append(Write(rows.PERSON, person, {"email": email}))
            made.append(secret)
            actor = Actor(person=person, basis="bootstrap")
            return Change(
                Facts("login_link.issued"), tuple(writes), actor, {"expires_us": expires_us, "person": person}
            )

        await self._control.transact(build)
        return made[0] if made else None

    async def login(self, link_secret: str, profile: str, *, source: str) -> Login:
        """Exchange a link, once, for a token in a named profile of its holder.

        Raises:
            UnavailableError: `attempts_limited`.
            InvalidInputError: `profile` is not a name.
            UnauthenticatedError: `link_invalid`: unknown, expired or used.
        """
        if (wait_s := self._attempts.retry_after_s(source)) is not None:
            raise UnavailableError(Code.ATTEMPTS_LIMITED, "too many sign-ins", hint=f"retry in {wait_s:.0f} s")
        link_key = rows.secret_hash(link_secret[:256])
        made: list[Login] = []

        def build(view: StateView) -> Change:
            row, now = view.get(rows.LOGIN_LINK, link_key), self._clock.now()
            if row is None or now.wall_us >= row.doc["expires_us"]:
                raise UnauthenticatedError(Code.LINK_INVALID, "the link is unknown, expired or was used")
            login = self._new_token(PersonId(row.doc["person"]), profile, SCOPES, _TOKEN_S, now)
            made.append(login)
            return _issued(login, login.token.person, login.token.id, Write(rows.LOGIN_LINK, link_key, None))

        await self._control.transact(build)
        return made[0]

    async def issue_token(
        self, operator: Operator, profile: str, *, scopes: Iterable[str], ttl_s: int = _TOKEN_S
    ) -> Login:
        """Make a further token for the operator's own use, with no more than the operator's scopes.

        Raises:
            InvalidInputError: profile, scopes or life cannot be accepted.
            ForbiddenError: `not_authorised`: without scope `admin`, or for scopes that the operator does not have.
            ConflictError: too many tokens are alive.
        """
        wanted = frozenset(scopes)
        if not wanted or not 60 <= ttl_s <= _MAX_TOKEN_S:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a token has scopes and lives 60 to {_MAX_TOKEN_S} s")
        if _ADMIN not in operator.scopes or not wanted <= operator.scopes:
            raise ForbiddenError(Code.NOT_AUTHORISED, "your token cannot make a token with these scopes")
        if len(self._state.api_tokens()) >= _MAX_TOKENS:
            raise ConflictError(Code.CONFLICT, f"there are {_MAX_TOKENS} tokens already", hint="revoke some")
        login = self._new_token(operator.person, profile, wanted, ttl_s, self._clock.now())
        change = _issued(login, operator.person, operator.credential)
        await self._control.transact(lambda _: change)
        return login

    def authenticate_operator(self, token: str) -> Operator:
        """Who holds that API token.

        Raises:
            UnauthenticatedError: unknown, expired or revoked; with a constant message.
        """
        if not token:
            raise refused(Code.TOKEN_MISSING, "no token")
        if len(token) > MAX_TOKEN_BYTES:
            raise refused(Code.TOKEN_OVERSIZED, f"{len(token)} characters")
        key = rows.secret_hash(token)
        found = self._state.api_token(key)
        if found is None:
            raise refused(Code.API_TOKEN_UNKNOWN, "unknown")
        code = self._refusal(found, self._clock.now())
        if code is None and not self._state.proven(rows.API_TOKEN, key):
            code = Code.STATE_UNPROVEN
        if code is not None:
            raise refused(code, f"api token {found.id}")
        return Operator(found.person, found.id, found.scopes, found.basis)

    def tokens(self, operator: Operator) -> tuple[ApiToken, ...]:
        """The operator's own tokens, without their secrets."""
        return tuple(token for token in self._state.api_tokens() if token.person == operator.person)

    async def revoke_token(self, operator: Operator, token_id: str) -> None:
        """End one of the operator's own tokens: any with scope `admin`, else only the one in use.

        Raises:
            ForbiddenError: `not_authorised`.
            NotFoundError: the operator has no such token.
        """

        def build(view: StateView) -> Change | None:
            if _ADMIN not in operator.scopes and token_id != operator.credential:
                raise ForbiddenError(Code.NOT_AUTHORISED, "your token can end no token but itself")
            for row in view.scan(rows.API_TOKEN):
                token = rows.api_token_from(row.doc)
                if token.id == token_id and token.person == operator.person:
                    if token.revoked:
                        return None
                    return Change(
                        Facts("api_token.revoked"),
                        (Write(row.kind, row.key, rows.api_token_doc(replace(token, revoked=True))),),
                        Actor(person=operator.person, credential=operator.credential, basis=operator.basis),
                        {"token": token.id},
                        narrowing=True,
                    )
            raise NotFoundError(Code.NOT_FOUND, f"you have no token `{token_id[:60]}`")

        await self._control.transact(build)

    def _refusal(self, token: ApiToken, now: Instant) -> Code | None:
        if token.revoked:
            return Code.CREDENTIAL_REVOKED
        # the later of both clocks: a wall clock set back revives no token
        by_boot_us = self._began.wall_us + now.boot_us - self._began.boot_us
        return Code.TOKEN_EXPIRED if max(now.wall_us, by_boot_us) >= token.expires_us else None

    def _secret(self, prefix: str) -> str:
        return prefix + urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()

    def _new_token(self, person: PersonId, profile: str, scopes: frozenset[str], ttl_s: int, now: Instant) -> Login:
        if not _PROFILE.fullmatch(profile):
            raise InvalidInputError(Code.NAME_INVALID, f"`{profile[:80]}` is not a name of a profile")
        token = ApiToken(
            id=self._ids.new("tok"),
            person=person,
            profile=profile,
            scopes=scopes,
            basis=Basis.SINGLE_ADMIN.value,
            issued_us=now.wall_us,
            expires_us=now.wall_us + ttl_s * 1_000_000,
        )
        return Login(self._secret("accp_"), token)


def _issued(login: Login, person: PersonId, credential: str, *besides: Write) -> Change:
    token = login.token
    return Change(
        Facts("api_token.issued"),
        (Write(rows.API_TOKEN, rows.secret_hash(login.secret), rows.api_token_doc(token)), *besides),
        Actor(person=person, credential=credential, basis=token.basis),
        {"expires_us": token.expires_us, "scopes": sorted(token.scopes), "token": token.id},
    )
