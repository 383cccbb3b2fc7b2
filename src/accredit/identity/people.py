"""How people act: each with a credential of their own, and no way to act for another.

`up` prints one single-use link; whoever opens it first is the first administrator, who acts alone in development and
may invite exactly one more by a link of the same kind. From the moment that one is opened there are two, and every act
is judged by roles, for good. Anybody else signs in by a link that an administrator makes; since whoever holds a link
could be the one behind the account, making one ties the two for a time (DESIGN §4).

A link gives either a token, for programs, or a session, for the console. Neither is ever taken for the other, and
whether the person is still there is looked at on every use.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.model import ApiToken, Operator, TokenKind
from accredit.identity.ports import AttemptGate
from accredit.identity.recognition import Recognition
from accredit.identity.state import IdentityState
from accredit.identity.tokens import MAX_TOKEN_BYTES, refused
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AttemptsLimitedError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from accredit.kernel.ids import IdSource, PersonId
from accredit.registry.addresses import same_address
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Person, Role
from accredit.registry.organisation import AccountTie, Organisation, RoleGrant
from accredit.registry.rows import (
    ACCOUNT_TIE,
    ROLE_GRANT,
    ProvenRows,
    account_tie_doc,
    account_tie_key,
    person_doc,
    person_from,
    role_grant_doc,
)

__all__ = ["Login", "People"]

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LINK_S: Final = 3600
_TOKEN_S: Final = 7 * 86_400
_MAX_TOKEN_S: Final = 90 * 86_400
_SESSION_S: Final = 12 * 3600
_WRITTEN_DOWN_US: Final = 5 * 60_000_000
"""How far behind the last use of a session that is on record may be: a restart counts idleness from there."""
_KEPT_US: Final = 86_400_000_000
"""How long after its end a credential is still known by name, so that its refusal says why."""
_ADMIN: Final = "admin"
_CONSOLE: Final = "console"
_MAX_ALIVE: Final = 10_000
_MAX_ALIVE_EACH: Final = 100
"""Of one person, so that nobody can use up the room of all."""
_AT_ONCE: Final = 200
"""Writes of one change."""
_SYSTEM = Actor(basis="system")

SCOPES: Final = frozenset({_ADMIN, "read"})
"""`read` sees, `admin` changes as well, as far as its holder's roles go."""


@dataclass(frozen=True, slots=True)
class Login:
    """A token or session as it is shown, once, and whose it is."""

    secret: str = field(repr=False)
    token: ApiToken


class People:
    """Gives people their credentials and recognises them.

    `organisation` is read on every use, so it answers from memory.
    """

    def __init__(
        self,
        control: ControlLog,
        state: IdentityState,
        organisation: Callable[[], Organisation],
        *,
        clock: Clock,
        ids: IdSource,
        attempts: AttemptGate,
    ) -> None:
        self._control = control
        self._state = state
        self._organisation = organisation
        self._clock = clock
        self._ids = ids
        self._attempts = attempts
        self._recognition = Recognition(state, organisation, began=clock.now())

    # -- administrators

    async def bootstrap_admin(self, email: str) -> str | None:
        """Make a single-use link (`/login#<secret>`) for the first administrator, voiding an earlier unused one.

        Gives None if an administrator can act already. The first time, the person is registered too. Later the link is
        for whoever is administrator, so that an installation all of whose credentials ended is not lost.

        Raises:
            InvalidInputError: `email` is not an address.
        """
        address = _address(email)
        secret = self._secret("accl_")
        fresh = PersonId(self._ids.new("psn"))
        made: list[str] = []

        def build(view: StateView) -> Change | None:
            now = self._clock.now()
            first = view.get(rows.FIRST_ADMIN, rows.FIRST)
            writes: list[Write] = []
            if first is None:
                person = Person(fresh, address)
                salted = person_doc(person, salt=self._ids.secret(16).hex())
                writes += [
                    Write(rows.FIRST_ADMIN, rows.FIRST, {"person": fresh}),
                    Write(rows.PERSON, fresh, salted),
                    self._made_admin(fresh, now),
                ]
            elif self._state.bootstrapping and not self._recognition.is_admin(PersonId(first.doc["person"])):
                writes.append(self._made_admin(PersonId(first.doc["person"]), now))
            who = fresh if first is None else self._reachable(PersonId(first.doc["person"]), writes)
            body: dict[str, object] = {"person": who}
            if who is not None and not self._somebody_can_act(who):
                expires_us = now.wall_us + _LINK_S * 1_000_000
                writes += _links(view, lambda doc: doc["person"] == who and not doc.get("second"))
                writes.append(Write(rows.LOGIN_LINK, rows.secret_hash(secret), _link(who, expires_us)))
                body["expires_us"] = expires_us
                made.append(secret)
            if not writes:
                return None
            basis = "bootstrap" if self._state.bootstrapping else "recovery"
            kind = "login_link.issued" if made else "role.granted"
            return Change(Facts(kind), tuple(writes), Actor(person=who, basis=basis), body)

        await self._control.transact(build)
        return made[0] if made else None

    async def invite_second_admin(self, operator: Operator, email: str) -> str:
        """Make the single-use link whose opening makes its holder the second administrator and ends the first's time.

        A person who is not registered yet is registered with it. Nothing is tied: these two must be able to begin.

        Raises:
            InvalidInputError: `email` is not an address.
            ForbiddenError: `not_authorised`: the operator is not the single administrator.
            ConflictError: an invitation is open, or the address is the inviter's own, a service account's, somebody's
                who left, or one that differs from a registered one in letter case alone.
        """
        address = _address(email)
        secret = self._secret("accl_")
        fresh = PersonId(self._ids.new("psn"))

        def build(view: StateView) -> Change:
            now = self._clock.now()
            self._check_alone(operator)
            standing = [row for row in view.scan(rows.LOGIN_LINK) if row.doc.get("second")]
            if any(not self._recognition.passed(row.doc["expires_us"], now) for row in standing):
                raise ConflictError(
                    Code.CONFLICT, "an invitation is open already", hint="withdraw it, or wait for an hour"
                )
            writes = [Write(row.kind, row.key, None) for row in standing]  # a clock set back must not open them again
            known = self._at_address(view, address)
            if known is None:
                known = Person(fresh, address)
                writes.append(Write(rows.PERSON, fresh, person_doc(known, salt=self._ids.secret(16).hex())))
            if known.id == operator.person:
                raise ConflictError(Code.CONFLICT, "the second administrator is another person than the first")
            if known.left or known.bot:
                raise ConflictError(
                    Code.PERSON_LEFT if known.left else Code.CONFLICT,
                    "that person has left" if known.left else "a service account cannot be an administrator",
                )
            expires_us = now.wall_us + _LINK_S * 1_000_000
            link = {**_link(known.id, expires_us, by=operator.person), "second": True}
            writes.append(Write(rows.LOGIN_LINK, rows.secret_hash(secret), link))
            return Change(
                Facts("admin.invited"), tuple(writes), _actor(operator), {"expires_us": expires_us, "person": known.id}
            )

        await self._control.transact(build)
        return secret

    async def withdraw_invitation(self, operator: Operator) -> None:
        """Void the open invitation of a second administrator; none being open is no error.

        Raises:
            ForbiddenError: `not_authorised`: the operator is not the single administrator.
        """

        def build(view: StateView) -> Change | None:
            self._check_alone(operator)
            voided = tuple(_links(view, lambda doc: bool(doc.get("second"))))
            if not voided:
                return None
            return Change(Facts("admin.invitation_withdrawn"), voided, _actor(operator), {}, narrowing=True)

        await self._control.transact(build)

    def _check_alone(self, operator: Operator) -> None:
        if (
            not self._state.bootstrapping
            or _ADMIN not in operator.scopes
            or not self._recognition.is_admin(operator.person)
            or self._recognition.person_refusal(operator.person) is not None
        ):
            raise ForbiddenError(
                Code.NOT_AUTHORISED, "only the first administrator invites, and only the second",
                hint="once there are two, others are given the role `admin`",
            )  # fmt: skip

    def _made_admin(self, person: PersonId, now: Instant) -> Write:
        # INVARIANT: nobody stands behind the first two administrators' roles: were one of them to, neither could ever
        # vote on what the other asks for, and no third role could come about
        grant = RoleGrant(self._ids.new("rgr"), Role.ADMIN, person, None, frozenset(), now.wall_us)
        return Write(ROLE_GRANT, grant.id, role_grant_doc(grant))

    def _joined(self, view: StateView, person: PersonId, now: Instant) -> list[Write]:
        """What opening the invitation does beside signing in."""
        if not self._state.bootstrapping:
            raise _link_invalid("there are two administrators")
        first = view.get(rows.FIRST_ADMIN, rows.FIRST)
        if first is None or self._recognition.person_refusal(PersonId(first.doc["person"])) is not None:
            raise _link_invalid("the first administrator does not count any more")
        inviter = PersonId(first.doc["person"])
        ended = tuple(self._ended(view, person))
        if len(ended) > _AT_ONCE:
            raise ConflictError(Code.CONFLICT, "the invited person has too many tokens", hint="end them first")
        ties = {account_tie_key(AccountTie(*pair, 0)) for pair in ((person, inviter), (inviter, person))}
        return [
            Write(rows.SECOND_ADMIN, rows.SECOND, {"person": person}),
            *([] if self._recognition.is_admin(person) else [self._made_admin(person, now)]),
            *(Write(ACCOUNT_TIE, key, None) for key in sorted(ties) if view.get(ACCOUNT_TIE, key) is not None),
            # somebody else may hold these: from here on the account is worth the other half of every decision
            *_links(view, lambda doc: doc["person"] == person and not doc.get("second")),
            *ended,
        ]

    def _reachable(self, first: PersonId, writes: list[Write]) -> PersonId | None:
        """The administrator whom a link for whoever runs this installation is for."""
        if writes or (self._recognition.is_admin(first) and self._recognition.person_refusal(first) is None):
            return first
        return min(self._organisation().holders(Role.ADMIN), default=None)

    def _somebody_can_act(self, who: PersonId) -> bool:
        now = self._clock.now()
        return any(
            (token.person == who or self._recognition.is_admin(token.person))
            and _ADMIN in token.scopes
            and self._recognition.refusal(key, token, now) is None
            for key, token in self._state.keyed_api_tokens()
        )

    def _is_admin(self, person: PersonId) -> bool:
        return bool(self._organisation().held(person, Role.ADMIN, None))

    def _at_address(self, view: StateView, address: str) -> Person | None:
        for row in ProvenRows(view, self._control.unproven).scan(rows.PERSON):
            known = same_address(row.doc["email"])
            if known == address:
                return person_from(row.key, row.doc)
            if known.casefold() == address.casefold():
                raise ConflictError(
                    Code.CONFLICT, f"`{address}` differs from a registered address in letter case alone",
                    hint="write it as it is registered",
                )  # fmt: skip
        return None

    # -- links

    async def sign_in_link(self, operator: Operator, person: PersonId) -> str:
        """Make a single-use link by which somebody signs in, voiding an earlier unused one for the same person.

        For another person it takes the right to manage people, and ties the maker to the account: whoever holds the
        link could open it. For oneself it takes no right and ties nobody.

        Raises:
            ForbiddenError: `not_authorised`.
            NotFoundError: no such person.
            ConflictError: `person_left`.
        """
        secret = self._secret("accl_")

        def build(view: StateView) -> Change:
            now = self._clock.now()
            self._check_manages(operator, person)
            code = self._recognition.person_refusal(person)
            if code is Code.PERSON_LEFT:
                raise ConflictError(code, "that person has left")
            if code is not None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no person `{person[:80]}`")
            expires_us = now.wall_us + _LINK_S * 1_000_000
            writes = list(_links(view, lambda doc: doc["person"] == person and not doc.get("second")))
            link = _link(person, expires_us, by=operator.person)
            writes.append(Write(rows.LOGIN_LINK, rows.secret_hash(secret), link))
            if person != operator.person:
                tie = AccountTie(person, operator.person, now.wall_us)
                writes.append(Write(ACCOUNT_TIE, account_tie_key(tie), account_tie_doc(tie)))
            return Change(
                Facts("login_link.issued"),
                tuple(writes),
                _actor(operator),
                {"expires_us": expires_us, "person": person},
            )

        await self._control.transact(build)
        return secret

    def _check_manages(self, operator: Operator, person: PersonId) -> None:
        if _ADMIN not in operator.scopes:
            raise ForbiddenError(Code.NOT_AUTHORISED, "your token can make no sign-in link")
        if person == operator.person:
            return
        allowed = authority(
            Act.MANAGE_PEOPLE,
            operator.person,
            self._organisation(),
            single_admin=self._state.bootstrapping,
        )
        if isinstance(allowed, Unauthorised):
            who = ", ".join(f"`{one}`" for one in allowed.who_may)
            raise ForbiddenError(Code.NOT_AUTHORISED, f"signing others in takes the role {who}")

    async def login(self, link_secret: str, profile: str, *, source: str) -> Login:
        """Exchange a link, once, for a token in a named profile of its holder.

        Raises:
            UnavailableError: `attempts_limited`.
            InvalidInputError: `profile` is not a name.
            UnauthenticatedError: `link_invalid`: unknown, expired or used, or its holder or maker left.
            ConflictError: too many credentials are alive.
        """
        _check_profile(profile)

        def made(person: PersonId, now: Instant) -> Login:
            return self._new(person, profile, SCOPES, _TOKEN_S, now)

        return await self._opened(link_secret, made, source)

    async def open_session(self, link_secret: str, *, source: str) -> str:
        """Exchange a link, once, for the secret of a new session of the console.

        It ends after 30 minutes without use, and after 12 hours. Nothing that a browser brings along becomes one.

        Raises:
            UnavailableError: `attempts_limited`.
            UnauthenticatedError: `link_invalid`: as `login`.
            ForbiddenError: `not_authorised`: a service account has no sessions; its link is not used up.
            ConflictError: too many credentials are alive.
        """

        def made(person: PersonId, now: Instant) -> Login:
            known = self._organisation().people.get(person)
            if known is not None and known.bot:
                raise ForbiddenError(
                    Code.NOT_AUTHORISED, "a service account opens no session", hint="use `accredit login LINK`"
                )
            return self._new(person, _CONSOLE, SCOPES, _SESSION_S, now, kind=TokenKind.SESSION)

        return (await self._opened(link_secret, made, source)).secret

    async def _opened(self, link_secret: str, make: Callable[[PersonId, Instant], Login], source: str) -> Login:
        if (wait_s := self._attempts.retry_after_s(source)) is not None:
            raise AttemptsLimitedError("too many sign-ins", retry_after_s=wait_s)
        link_key = rows.secret_hash(link_secret[:256])
        made: list[Login] = []

        def build(view: StateView) -> Change:
            row, now = view.get(rows.LOGIN_LINK, link_key), self._clock.now()
            if row is None or self._recognition.passed(row.doc["expires_us"], now):
                raise _link_invalid("unknown, expired or used")
            person = PersonId(row.doc["person"])
            # its maker too: who left may still hold a link they made for somebody
            for one in {person, PersonId(row.doc.get("by", person))}:
                if (code := self._recognition.person_refusal(one)) is not None:
                    raise _link_invalid(f"{one}: {code}")
            self._check_room(now)
            login = make(person, now)
            made.append(login)
            if row.doc.get("second"):
                kind, besides = "admin.joined", self._joined(view, person, now)
            else:
                kind, besides = None, list(self._oldest(person, now))
            return _issued(
                login, Actor(person=person, credential=login.token.id, basis=self._recognition.basis(person)),
                Write(rows.LOGIN_LINK, link_key, None), *besides, kind=kind, source=source,
            )  # fmt: skip

        await self._control.transact(build)
        return made[0]

    # -- tokens and sessions

    async def issue_token(
        self, operator: Operator, profile: str, *, scopes: Iterable[str], ttl_s: int = _TOKEN_S
    ) -> Login:
        """Make a further token for the operator's own use, with no more than the operator's scopes.

        Raises:
            InvalidInputError: profile, scopes or life cannot be accepted.
            ForbiddenError: `not_authorised`: without scope `admin`, or for scopes that the operator does not have; or
                the credential asked with does not count any more.
            ConflictError: too many credentials are alive.
        """
        wanted = frozenset(scopes)
        _check_profile(profile)
        if not wanted or not 60 <= ttl_s <= _MAX_TOKEN_S:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a token has scopes and lives 60 to {_MAX_TOKEN_S} s")
        if _ADMIN not in operator.scopes or not wanted <= operator.scopes:
            raise ForbiddenError(Code.NOT_AUTHORISED, "your token cannot make a token with these scopes")
        made: list[Login] = []

        def build(_: StateView) -> Change:
            now = self._clock.now()
            self._check_room(now)
            if len(self._alive(operator.person, now)) >= _MAX_ALIVE_EACH:
                raise ConflictError(
                    Code.CONFLICT, f"{_MAX_ALIVE_EACH} of your tokens are alive already", hint="revoke some"
                )
            if not self._recognition.stands(operator, now):
                # ended while this waited for its turn: what comes after would outlive the ending
                raise ForbiddenError(Code.NOT_AUTHORISED, "the credential you ask with has ended")
            made.append(self._new(operator.person, profile, wanted, ttl_s, now))
            return _issued(made[0], _actor(operator))

        await self._control.transact(build)
        return made[0]

    def authenticate_operator(self, token: str) -> Operator:
        """Who holds that API token. A session's secret is none.

        Raises:
            UnauthenticatedError: unknown, expired or revoked, or the person left; with a constant message.
        """
        return self._recognised(token, TokenKind.TOKEN, self._clock.now())[1]

    def authenticate_session(self, secret: str, *, touch: bool = True) -> Operator:
        """Whose session of the console that is. A token is none.

        Without `touch` it does not count as use: a page that asks by itself keeps no session alive.

        Raises:
            UnauthenticatedError: as `authenticate_operator`.
        """
        now = self._clock.now()
        key, operator = self._recognised(secret, TokenKind.SESSION, now)
        if touch:
            self._recognition.note_use(key, now)
        return operator

    def _recognised(self, secret: str, kind: TokenKind, now: Instant) -> tuple[str, Operator]:
        if not secret:
            raise refused(Code.TOKEN_MISSING, "no token")
        if len(secret) > MAX_TOKEN_BYTES:
            raise refused(Code.TOKEN_OVERSIZED, f"{len(secret)} characters")
        key = rows.secret_hash(secret)
        found = self._state.api_token(key)
        if found is None or found.kind is not kind:
            raise refused(Code.API_TOKEN_UNKNOWN, "unknown")
        if (code := self._recognition.refusal(key, found, now)) is not None:
            raise refused(code, f"{kind} {found.id}", credential=found.id)
        return key, Operator(found.person, found.id, found.scopes, self._recognition.basis(found.person).value)

    def tokens(self, operator: Operator) -> tuple[ApiToken, ...]:
        """The operator's own tokens and sessions, without their secrets."""
        return tuple(token for token in self._state.api_tokens() if token.person == operator.person)

    async def revoke_token(self, operator: Operator, token_id: str) -> None:
        """End one of the operator's own tokens or sessions: any with scope `admin`, else only the one in use.

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
                    kind = "session.closed" if token.kind is TokenKind.SESSION else "api_token.revoked"
                    write = Write(row.kind, row.key, rows.api_token_doc(replace(token, revoked=True)))
                    return Change(Facts(kind), (write,), _actor(operator), {"token": token.id}, narrowing=True)
            raise NotFoundError(Code.NOT_FOUND, f"you have no token `{token_id[:60]}`")

        await self._control.transact(build)

    async def close_session(self, operator: Operator) -> None:
        """Sign out: end the very credential the operator acts with."""
        await self.revoke_token(operator, operator.credential)

    async def end_credentials_of(self, person: PersonId, actor: Actor, reason: str = "") -> Receipt | None:
        """End every token, session and link of a person, and every link and open join token that they made.

        Accounts in chats that they linked are not theirs any more.

        Repeating it changes nothing further.

        Raises:
            NotFoundError: no such person.
            UnavailableError: it could not be recorded; it is in force all the same.
        """
        receipt: Receipt | None = None
        left = True

        def build(view: StateView) -> Change | None:
            nonlocal left
            if view.get(rows.PERSON, person) is None and (rows.PERSON, person) not in self._control.unproven:
                raise NotFoundError(Code.NOT_FOUND, f"there is no person `{person[:80]}`")
            writes = tuple(islice(self._all_of(view, person), _AT_ONCE + 1))
            left = len(writes) > _AT_ONCE
            if not writes:
                return None
            parts = (Part("text", {"reason": reason[:2000]}),) if reason else ()
            body = {"ended": len(writes[:_AT_ONCE]), "person": person}
            return Change(Facts("person.credentials_ended"), writes[:_AT_ONCE], actor, body, parts, narrowing=True)

        while left:
            receipt = await self._control.transact(build) or receipt
        return receipt

    def _all_of(self, view: StateView, person: PersonId) -> Iterator[Write]:
        yield from self._ended(view, person)
        yield from _links(view, lambda doc: person in {doc["person"], doc.get("by")})
        for kind in (rows.CHAT_CODE, rows.CHAT_LINK):
            yield from (Write(row.kind, row.key, None) for row in view.scan(kind) if row.doc["person"] == person)
        for row in view.scan(rows.JOIN_TOKEN):
            if row.doc.get("by") == person and row.doc["credential"] is None and row.doc["expires_us"] != 0:
                yield Write(row.kind, row.key, {**row.doc, "expires_us": 0})

    def _ended(self, view: StateView, person: PersonId) -> Iterator[Write]:
        for row in view.scan(rows.API_TOKEN):
            if row.doc["person"] == person and not row.doc["revoked"]:
                yield Write(row.kind, row.key, {**row.doc, "revoked": True})

    # -- upkeep

    async def sweep(self) -> None:
        """End idle sessions, write down when the others were last used, and forget what ended long ago."""
        now = self._clock.now()
        idle = [
            (key, token)
            for key, token in self._state.keyed_api_tokens()
            if token.kind is TokenKind.SESSION and not token.revoked and self._recognition.idle(key, token, now)
        ]
        if idle:
            await self._control.transact(lambda view: self._closing(view, idle[:_AT_ONCE], now))
        self._recognition.forget_ended()
        if any(True for _ in self._tidying(self._control.view, now)):
            await self._control.transact(lambda view: self._tidied(view, now))

    def _closing(self, view: StateView, idle: list[tuple[str, ApiToken]], now: Instant) -> Change | None:
        found = [(key, token) for key, token in idle if self._recognition.idle(key, token, now)]  # used again meanwhile
        rows_there = [(key, row) for key, _ in found if (row := view.get(rows.API_TOKEN, key)) is not None]
        if not rows_there:
            return None
        return Change(
            Facts("session.closed"),
            tuple(Write(rows.API_TOKEN, key, {**row.doc, "revoked": True}) for key, row in rows_there),
            _SYSTEM,
            {"cause": "idle", "tokens": sorted(row.doc["id"] for _, row in rows_there)},
            narrowing=True,
        )

    def _tidied(self, view: StateView, now: Instant) -> Change | None:
        writes = tuple(islice(self._tidying(view, now), _AT_ONCE))
        return Change(Facts("credentials.tidied"), writes, _SYSTEM, {"rows": len(writes)}) if writes else None

    def _tidying(self, view: StateView, now: Instant) -> Iterator[Write]:
        # what both clocks say is long over: a wall clock that leaps ahead makes nobody's token forgotten
        surely_us = self._recognition.surely_us(now) - _KEPT_US
        for row in view.scan(rows.LOGIN_LINK):
            if row.doc["expires_us"] <= surely_us:
                yield Write(row.kind, row.key, None)
        for key, token in self._state.keyed_api_tokens():
            if token.expires_us <= surely_us:
                yield Write(rows.API_TOKEN, key, None)
            elif token.kind is TokenKind.SESSION and not token.revoked:
                used_us = self._recognition.last_use_us(key)
                if used_us is not None and used_us - token.used_us >= _WRITTEN_DOWN_US:
                    yield Write(rows.API_TOKEN, key, rows.api_token_doc(replace(token, used_us=used_us)))

    # -- making

    def _check_room(self, now: Instant) -> None:
        alive = sum(
            1 for _, token in self._state.keyed_api_tokens() if not token.revoked and token.expires_us > now.wall_us
        )
        if alive >= _MAX_ALIVE:
            raise ConflictError(Code.CONFLICT, f"{_MAX_ALIVE} tokens are alive already", hint="revoke some")

    def _alive(self, person: PersonId, now: Instant) -> list[tuple[str, ApiToken]]:
        """What a person's tokens and sessions are that did not end, oldest first."""
        found = [
            (key, token)
            for key, token in self._state.keyed_api_tokens()
            if token.person == person and not token.revoked and token.expires_us > now.wall_us
        ]
        return sorted(found, key=lambda each: (each[1].issued_us, each[1].id))

    def _oldest(self, person: PersonId, now: Instant) -> Iterator[Write]:
        """What ends so that a person can sign in: nobody is kept out by what somebody else did with their account."""
        alive = self._alive(person, now)
        for key, token in alive[: max(len(alive) - _MAX_ALIVE_EACH + 1, 0)][:_AT_ONCE]:
            yield Write(rows.API_TOKEN, key, rows.api_token_doc(replace(token, revoked=True)))

    def _secret(self, prefix: str) -> str:
        return prefix + urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()

    def _new(
        self,
        person: PersonId,
        profile: str,
        scopes: frozenset[str],
        ttl_s: int,
        now: Instant,
        *,
        kind: TokenKind = TokenKind.TOKEN,
    ) -> Login:
        session = kind is TokenKind.SESSION
        token = ApiToken(
            id=self._ids.new("ses" if session else "tok"),
            person=person,
            profile=profile,
            scopes=scopes,
            issued_us=now.wall_us,
            expires_us=now.wall_us + ttl_s * 1_000_000,
            kind=kind,
            used_us=now.wall_us if session else 0,
        )
        return Login(self._secret("accs_" if session else "accp_"), token)


def _address(email: str) -> str:
    if not _EMAIL.fullmatch(email):
        raise InvalidInputError(Code.LINK_INVALID, f"`{email[:80]}` is not an e-mail address")
    return same_address(email)


def _check_profile(profile: str) -> None:
    if not _PROFILE.fullmatch(profile):
        raise InvalidInputError(Code.NAME_INVALID, f"`{profile[:80]}` is not a name of a profile")


def _link(person: PersonId, expires_us: int, *, by: PersonId | None = None) -> dict[str, object]:
    return {"expires_us": expires_us, "person": person} | ({"by": by} if by else {})


def _links(view: StateView, wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[Write]:
    """The removal of every link that is wanted gone."""
    return (Write(row.kind, row.key, None) for row in view.scan(rows.LOGIN_LINK) if wanted(row.doc))


def _link_invalid(cause: str) -> UnauthenticatedError:
    return UnauthenticatedError(Code.LINK_INVALID, "the link is unknown, expired or was used", cause=cause)


def _actor(operator: Operator) -> Actor:
    return Actor(person=operator.person, credential=operator.credential, basis=operator.basis)


def _issued(login: Login, actor: Actor, *besides: Write, kind: str | None = None, source: str = "") -> Change:
    token = login.token
    issued = "session.opened" if token.kind is TokenKind.SESSION else "api_token.issued"
    return Change(
        Facts(kind or issued),
        (Write(rows.API_TOKEN, rows.secret_hash(login.secret), rows.api_token_doc(token)), *besides),
        actor,
        {"expires_us": token.expires_us, "kind": token.kind.value, "scopes": sorted(token.scopes), "token": token.id},
        # where somebody signed in from is personal: sealed
        (Part("text", {"source": source[:100]}),) if source else (),
    )
