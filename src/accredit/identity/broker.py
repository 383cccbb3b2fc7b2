"""Upstream credentials: sealed at rest, sent only to the origin they were stored for, shown to nobody.

There is no way to read one back: not in the API, not in an event, not in a repr. What comes back from the tool server
is scrubbed of it (`scrubbing.py`), since servers echo headers in their errors.

Of the kinds (`upstreams.py`) two are what was stored; the others are a client at an authorization server, whose tokens
are lent (`leases.py`, `accounts.py`). INVARIANT: no token that an agent or user showed us is ever part of what goes to
a tool server or authorization server; where one is exchanged, the subject token is our own word.
"""

from __future__ import annotations

import asyncio
import logging
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.accounts import CONNECTED, Accounts, owner_of
from accredit.identity.audience import origin_of, public_origin
from accredit.identity.keys import new_signing_key
from accredit.identity.leases import LeaseKey, TokenLeases
from accredit.identity.model import Principal, Revocation, RevocationKind
from accredit.identity.oauthclient import TokenClient, UpstreamToken, granted, subject_claims
from accredit.identity.scrubbing import MIN_SECRET, secret_of
from accredit.identity.upstreams import (
    BrokeredCredential,
    ClientAuthentication,
    ConnectedAccount,
    ExchangeSubject,
    OAuthSettings,
    TokenPost,
    UpstreamKind,
    UpstreamLease,
    settings_document,
    settings_of,
)
from accredit.kernel.canonical import canonical, digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId, IdSource, PersonId, check_name
from accredit.kernel.sealing import Sealer
from accredit.registry.model import Person, ToolServer

__all__ = ["SealedBroker"]

_log = logging.getLogger("accredit.identity")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_STARTED = re.compile(r"stdio:[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,126}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
"""RFC 6749 §3.3."""
_NOT_FOR_SECRETS = frozenset(
    {"connection", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_MAX_VALUE: Final = 4096
_MAX_TEXT: Final = 1024
_AUTHORIZATION: Final = "Authorization"
_OF_A_CALL: Final = frozenset({UpstreamKind.TOKEN_EXCHANGE, UpstreamKind.OAUTH_USER})
"""Kinds that are nobody's before there is a call."""
_CLOSING_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Stored:
    shown: BrokeredCredential
    sealed: bytes = field(repr=False)
    by: str | None = None
    """Who stored it; older rows do not say."""


class SealedBroker:
    """Implements the enforcement room's `CredentialBroker`.

    `person` knows whose address a verified user's is, as the registry does.
    """

    def __init__(
        self,
        control: ControlLog,
        sealer: Sealer,
        post: TokenPost,
        *,
        person: Callable[[str], Person | None],
        clock: Clock,
        ids: IdSource,
        public_url: str,
    ) -> None:
        self._control = control
        self._sealer = sealer.derive("identity/broker")
        self._post = post
        self._person = person
        self._clock = clock
        self._ids = ids
        self._public_url = public_url
        self._leases = TokenLeases(clock)
        self._revoking: set[asyncio.Task[None]] = set()
        self._stored: dict[str, _Stored] = {}
        self._values: dict[str, str] = {}
        """Opened once each and kept in memory, where the request that carries them is as well."""
        for row in control.view.scan(rows.SECRET):
            self._fold(row.key, row.doc)
        control.subscribe(self._on_change)
        self.accounts = Accounts(
            control, sealer, post, opened=self._client, clock=clock, ids=ids, public_url=public_url
        )
        """What persons have connected."""

    # -- keeping

    async def store(
        self,
        name: str,
        *,
        origin: str,
        header: str = _AUTHORIZATION,
        value: str = "",
        kind: UpstreamKind = UpstreamKind.HEADER,
        username: str = "",
        oauth: OAuthSettings | None = None,
        new_key: bool = False,
        actor: Actor,
    ) -> BrokeredCredential:
        """Store or replace a credential for one origin (scheme, host, port).

        `value` is the whole header, the password, or the client's secret. A client that proves itself by a key gets one
        of its own, which it keeps when it is stored again, unless `new_key` is set.

        For a tool server that is started here, the origin is `stdio:` and its name, the header a variable.

        Raises:
            InvalidInputError: something of it cannot be accepted; the value is not repeated.
        """
        check_name(name, "credential")
        started = _STARTED.fullmatch(origin) is not None
        pinned = origin if started else _spelled(public_origin(origin))
        shown = BrokeredCredential(name, header, pinned, 0, kind, username, oauth)
        keyed = _require_sound(shown, value, started=started)
        fresh = new_signing_key("").private_jwk().decode() if keyed else value

        def build(view: StateView) -> Change:
            row = view.get(rows.SECRET, name)
            known = self._stored.get(name) if row is not None else None
            made = replace(shown, version=row.doc["version"] + 1 if row else 1)
            secret = fresh
            if keyed:
                if known is not None and not new_key and _is_keyed(known.shown):
                    secret = self._opened(name)[1]
                made = replace(made, oauth=replace(_oauth(made), public_key=_public_key(made, secret)))
            by = {"by": actor.person} if actor.person else {}
            doc = {**_told(made), **by, "sealed": b64encode(self._seal(made, secret)).decode()}
            writes = (Write(rows.SECRET, name, doc),)
            return Change(Facts("secret.stored"), writes, actor, {"name": name, "version": made.version})

        await self._control.transact(build)
        return self._stored[name].shown

    def _seal(self, shown: BrokeredCredential, secret: str) -> bytes:
        return self._sealer.seal(secret.encode(), belongs_to=_belonging(shown))

    async def remove(self, name: str, *, actor: Actor) -> None:
        """Remove a stored credential, with every account connected for it; calls that need it are refused at once.

        Raises:
            NotFoundError: there is none of that name.
        """

        def build(view: StateView) -> Change:
            if view.get(rows.SECRET, name) is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{name[:80]}`")
            writes = (Write(rows.SECRET, name, None), *self.accounts.removal(view, name))
            return Change(Facts("secret.removed"), writes, actor, {"name": name}, narrowing=True)

        await self._control.transact(build)

    def signing_secret(self, name: str) -> tuple[str, str | None]:
        """The secret of a credential, for checking what somebody signed with it, and who stored it. It goes nowhere.

        A scheme before it (`Bearer`, as `accredit credential set` puts there) is no part of it.

        Raises:
            UnavailableError: there is none of that name that has a value of its own.
        """
        shown, secret = self._opened(name)
        if shown.kind is not UpstreamKind.HEADER:
            raise _unusable(name, "it is of another kind")
        return secret_of(secret), self._stored[name].by

    def credentials(self) -> tuple[BrokeredCredential, ...]:
        """What is stored, without the values."""
        return tuple(stored.shown for _, stored in sorted(self._stored.items()))

    def offered(self) -> tuple[BrokeredCredential, ...]:
        """The credentials that persons connect accounts for."""
        return tuple(one for one in self.credentials() if one.kind is UpstreamKind.OAUTH_USER)

    def connected(self, person: PersonId) -> tuple[ConnectedAccount, ...]:
        """What a person has connected that still counts."""
        return self.accounts.of(person)

    # -- lending

    async def headers(self, server: ToolServer, principal: Principal | None) -> Mapping[str, str]:
        """The headers to inject for that server, whose URL must have the origin the credential is pinned to.

        `principal` is whose call it is; None: the gateway itself asks, for definitions.

        Raises:
            UnavailableError: the credential is missing, unproven, pinned to another origin, or no token was given
                (`upstream_token`); the call has no user that it takes (`upstream_user`), or one who has connected no
                account (`upstream_not_connected`). Nothing was sent to the tool server.
        """
        if server.credential is None:
            return {}
        return await self._headers(server, server.credential, principal)

    async def _headers(self, server: ToolServer, name: str, principal: Principal | None) -> Mapping[str, str]:
        shown, value = self._opened(name)
        if server.launch is not None:
            # whoever stores a credential must not choose which variable of a program it becomes
            if (shown.origin, shown.header) != (server.url, server.launch.credential_variable):
                raise _unusable(name, f"stored as {shown.header} of {shown.origin}")
            return {shown.header: value}
        try:
            origin = _spelled(origin_of(server.url))
        except InvalidInputError as error:
            raise _unusable(name, error.message) from error
        if origin != shown.origin:
            raise _unusable(name, f"pinned to {shown.origin}, the server is at {origin}")
        match shown.kind:
            case UpstreamKind.HEADER:
                return {shown.header: value}
            case UpstreamKind.BASIC:
                pair = f"{shown.username}:{value}"
                return {_AUTHORIZATION: f"Basic {b64encode(pair.encode()).decode()}"}
            case UpstreamKind.OAUTH_CLIENT:
                key = LeaseKey(name, shown.version)
                return await self._lent(key, lambda: self._as_client(name))
            case UpstreamKind.TOKEN_EXCHANGE | UpstreamKind.OAUTH_USER if principal is None:
                own = _oauth(shown).definitions
                if not own:
                    return {}
                if (lender := self._stored.get(own)) is None or lender.shown.kind in _OF_A_CALL:
                    raise _unusable(name, f"`{own}` is no credential to ask for definitions with")
                return await self._headers(server, own, None)
            case UpstreamKind.TOKEN_EXCHANGE:
                return await self._exchanged(shown, principal)
            case UpstreamKind.OAUTH_USER:
                person = self._connected_person(shown, principal)
                key = LeaseKey(name, shown.version, subject=person)
                return await self._lent(
                    key,
                    lambda: self._as_person(shown.name, person),
                    anew=lambda: self._as_person(shown.name, person, anew=True),
                )

    async def _lent(
        self,
        key: LeaseKey,
        ask: Callable[[], Awaitable[UpstreamToken]],
        *,
        anew: Callable[[], Awaitable[UpstreamToken]] | None = None,
    ) -> Mapping[str, str]:
        try:
            access = await self._leases.get(key, ask)
        except UnavailableError as error:
            _log.warning("credential %s: %s (%s)", key.credential, error.code, error.cause)
            raise

        def lease(token: str) -> UpstreamLease:
            async def renewed() -> UpstreamLease | None:
                other = await self._leases.other_than(token, key, anew or ask)
                return None if other is None else lease(other)

            return UpstreamLease({_AUTHORIZATION: f"Bearer {token}"}, renewed)

        return lease(access)

    async def _as_person(self, name: str, person: PersonId, *, anew: bool = False) -> UpstreamToken:
        shown, client = self._client(name)
        return await self.accounts.token(shown, client, person, anew=anew)

    async def _as_client(self, name: str) -> UpstreamToken:
        shown, client = self._client(name)
        form = client.client_credentials(jti=self._ids.new("jti"), now_s=self._clock.now().wall_s)
        return granted(_oauth(shown), *await self._post(form))

    async def _exchanged(self, shown: BrokeredCredential, principal: Principal) -> Mapping[str, str]:
        oauth, subject = _oauth(shown), ""
        if oauth.subject is ExchangeSubject.USER:
            if principal.user is None or principal.user.issuer != oauth.users:
                raise _no_user(shown.name)
            subject = principal.user.subject
        actors = principal.actors or (principal.agent,)
        claims = subject_claims(oauth, us=self._public_url, user=subject, actors=actors)

        async def ask() -> UpstreamToken:
            client = self._client(shown.name)[1]
            form = client.exchange(claims, jti=self._ids.new("jti"), now_s=self._clock.now().wall_s)
            return granted(oauth, *await self._post(form), exchanged=True)

        # whose token it is: a typed digest, since ids of users are free text
        whose = digest_value("upstream-subject", claims)
        return await self._lent(LeaseKey(shown.name, shown.version, principal.agent, whose), ask)

    def _connected_person(self, shown: BrokeredCredential, principal: Principal) -> PersonId:
        """The registered person that the user is, by the word of the one issuer that counts for it."""
        user = principal.user
        if user is None or user.issuer != _oauth(shown).users:
            raise _no_user(shown.name)
        by_subject, email = self._person(user.subject), user.claims.get("email")
        by_email = self._person(email) if isinstance(email, str) else None
        # OpenID Connect Core §5.1: whoever may write an address into their own account is not the one it belongs to. A
        # claim that is not registered is dropped, so that it is missing says nothing
        if by_subject is None and user.claims.get("email_verified") is not True:
            raise _no_user(shown.name)
        found = {person.id: person for person in (by_subject, by_email) if person is not None}
        if len(found) != 1:
            raise _no_user(shown.name)
        (known,) = found.values()
        if known.left or known.bot:
            raise _no_user(shown.name)
        return known.id

    # -- taking back

    def lent_to(self, agent: AgentId) -> tuple[str, ...]:
        """The credentials under which a token of an agent's own is kept now, by name."""
        return tuple(sorted({key.credential for key in self._leases.kept() if key.agent == agent}))

    def take_back(self, agent: AgentId) -> tuple[str, ...]:
        """Forget every token of an agent's own, and revoke it where that can be asked for (RFC 7009); of which."""
        lent = self.lent_to(agent)
        self._take_back(lambda key: key.agent == agent)
        return lent

    def revoked(self, revocation: Revocation) -> None:
        """Take back what was lent for an agent that was revoked."""
        if revocation.kind is RevocationKind.AGENT:
            self.take_back(AgentId(revocation.id))

    async def aclose(self) -> None:
        """Let what is being revoked end, within seconds."""
        if self._revoking:
            _, late = await asyncio.wait(set(self._revoking), timeout=_CLOSING_S)
            for task in late:
                task.cancel()

    def _take_back(self, chosen: Callable[[LeaseKey], bool]) -> None:
        for key, token in self._leases.drop(chosen):
            stored = self._stored.get(key.credential)
            if stored is None or stored.shown.oauth is None or not stored.shown.oauth.revocation_endpoint:
                continue  # it ends by itself, soon
            task = asyncio.get_running_loop().create_task(self._revoke(key.credential, token))
            self._revoking.add(task)
            task.add_done_callback(self._revoking.discard)

    async def _revoke(self, name: str, token: str) -> None:
        try:
            _, client = self._client(name)
            now_s = self._clock.now().wall_s
            await self._post(client.revocation(token, "access_token", jti=self._ids.new("jti"), now_s=now_s))
        except AccreditError as error:
            _log.warning("a token of credential %s could not be revoked: %s", name, error.cause)

    # -- what is stored

    def _client(self, name: str) -> tuple[BrokeredCredential, TokenClient]:
        shown, secret = self._opened(name)
        _oauth(shown)
        return shown, TokenClient(shown, secret)

    def _opened(self, name: str) -> tuple[BrokeredCredential, str]:
        stored = self._stored.get(name)
        if stored is None or (rows.SECRET, name) in self._control.unproven:
            raise _unusable(name, "missing or unproven")
        opened = self._values.get(name)
        if opened is None:
            try:
                opened = self._sealer.open(stored.sealed, belongs_to=_belonging(stored.shown)).decode()
            except AccreditError as error:
                raise _unusable(name, error.cause) from error
            self._values[name] = opened
        return stored.shown, opened

    def _on_change(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == rows.SECRET:
                self._fold(write.key, write.doc)
                self._leases.drop(lambda key, name=write.key: key.credential == name)  # type: ignore[misc]
            elif write.kind == rows.UPSTREAM_ACCOUNT and (write.doc is None or change.facts.kind == CONNECTED):
                # asked before it forgets: this room's listener was there first
                for owner in {self.accounts.owner(write.key), owner_of(write.doc)} - {None}:
                    self._leases.drop(lambda key, owner=owner: (key.credential, key.subject) == owner)  # type: ignore[misc]

    def _fold(self, name: str, doc: Mapping[str, Any] | None) -> None:
        self._values.pop(name, None)
        if doc is None:
            self._stored.pop(name, None)
            return
        shown = BrokeredCredential(
            name,
            doc.get("header", _AUTHORIZATION),
            doc["origin"],
            doc["version"],
            UpstreamKind(doc.get("kind", UpstreamKind.HEADER)),
            doc.get("username", ""),
            settings_of(doc["oauth"]) if "oauth" in doc else None,
        )
        self._stored[name] = _Stored(shown, b64decode(doc["sealed"]), doc.get("by"))


def _told(shown: BrokeredCredential) -> dict[str, Any]:
    """All of a row that is no secret."""
    told: dict[str, Any] = {"origin": shown.origin, "version": shown.version}
    if shown.kind is UpstreamKind.HEADER:
        return {**told, "header": shown.header}
    told["kind"] = shown.kind.value
    if shown.username:
        told["username"] = shown.username
    if shown.oauth is not None:
        told["oauth"] = settings_document(shown.oauth)
    return told


def _belonging(shown: BrokeredCredential) -> bytes:
    # a row moved to another name, origin, header or server of tokens, or rolled back to an older version, does not open
    return canonical({"name": shown.name, **_told(shown)})


def _spelled(origin: tuple[str, str, int]) -> str:
    scheme, host, port = origin
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _unusable(name: str, cause: str) -> UnavailableError:
    return UnavailableError(
        Code.UPSTREAM_CREDENTIAL, f"the credential `{name[:80]}` cannot be used for this server", cause=cause
    )


def _no_user(name: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_USER, Code.UPSTREAM_USER.meaning, cause=f"credential `{name[:80]}`")


def _oauth(shown: BrokeredCredential) -> OAuthSettings:
    if shown.oauth is None:
        raise _unusable(shown.name, "it is no client of an authorization server")
    return shown.oauth


def _is_keyed(shown: BrokeredCredential) -> bool:
    return shown.oauth is not None and shown.oauth.authentication is ClientAuthentication.PRIVATE_KEY_JWT


def _public_key(shown: BrokeredCredential, secret: str) -> Mapping[str, str]:
    key = TokenClient(shown, secret).key().public()
    return {**key.jwk, "alg": key.algorithm, "kid": key.thumbprint, "use": "sig"}


# -- what may be stored


def _bad(message: str, hint: str = "") -> InvalidInputError:
    return InvalidInputError(Code.UPSTREAM_CREDENTIAL, message, hint=hint)


def _require_sound(shown: BrokeredCredential, value: str, *, started: bool) -> bool:
    """Refuse what could not be kept safe or would not work; gives whether the secret is a key to be made here.

    `started`: it is for a tool server that is started here, as a variable of its environment.
    """
    if started:
        if shown.kind is not UpstreamKind.HEADER or not _VARIABLE.fullmatch(shown.header):
            raise _bad(f"`{shown.header[:60]}` is not a variable of an environment, or the value not to be put there")
    elif shown.kind is UpstreamKind.HEADER:
        if not _HEADER.fullmatch(shown.header) or shown.header.lower() in _NOT_FOR_SECRETS:
            raise _bad(f"`{shown.header[:60]}` is not a header for a credential")
    elif shown.header != _AUTHORIZATION:
        raise _bad(f"a credential of kind `{shown.kind}` goes into `Authorization`")
    if (shown.kind is UpstreamKind.BASIC) != bool(shown.username):
        raise _bad("a username belongs to credentials of kind `basic`, and to them alone")
    if ":" in shown.username or len(shown.username) > _MAX_TEXT or not shown.username.isprintable():
        raise _bad("the username holds a colon, is too long, or cannot be printed", hint="see RFC 7617")
    oauth, plain = shown.oauth, shown.kind in {UpstreamKind.HEADER, UpstreamKind.BASIC}
    if plain == (oauth is not None):
        raise _bad(f"settings of an authorization server do not go with kind `{shown.kind}`" if plain else
                   f"kind `{shown.kind}` needs the settings of an authorization server")  # fmt: skip
    if oauth is not None:
        _require_sound_settings(shown.kind, oauth)
        if oauth.authentication in {ClientAuthentication.PRIVATE_KEY_JWT, ClientAuthentication.NONE}:
            if value:
                raise _bad(f"there is no secret to store with `{oauth.authentication}`")
            return oauth.authentication is ClientAuthentication.PRIVATE_KEY_JWT
    if len(value) > _MAX_VALUE or not _VALUE.fullmatch(value) or len(secret_of(value)) < MIN_SECRET:
        raise _bad(
            f"the credential's value is not {MIN_SECRET} to {_MAX_VALUE} characters of printable ASCII",
            hint="a shorter one could not be told apart from ordinary text when answers are scrubbed",
        )
    return False


def _require_sound_settings(kind: UpstreamKind, oauth: OAuthSettings) -> None:
    for url in (oauth.token_endpoint, oauth.authorization_endpoint, oauth.revocation_endpoint):
        if url or url is oauth.token_endpoint:
            public_origin(url)
            if "#" in url:
                raise _bad("the address of an endpoint has no fragment")
    texts = (oauth.client_id, oauth.resource, oauth.audience, oauth.issuer, oauth.users)
    if not oauth.client_id or any(len(text) > _MAX_TEXT or not _plain(text) for text in texts):
        raise _bad("the client id is missing, or a text is too long or not printable ASCII")
    if oauth.scope and (len(oauth.scope) > _MAX_TEXT or not _SCOPE.fullmatch(oauth.scope)):
        raise _bad("the scope is not a list of tokens with one space between them")
    if oauth.definitions:
        check_name(oauth.definitions, "credential")
    by_user = kind is UpstreamKind.OAUTH_USER or (
        kind is UpstreamKind.TOKEN_EXCHANGE and oauth.subject is ExchangeSubject.USER
    )
    if by_user != bool(oauth.users):
        raise _bad("`users` names the issuer of users, for what is called as a user and nothing else")
    if oauth.public_key is not None:
        raise _bad("the public key is made here")
    match kind:
        case UpstreamKind.OAUTH_CLIENT | UpstreamKind.TOKEN_EXCHANGE if oauth.authorization_endpoint:
            raise _bad(f"kind `{kind}` sends nobody to an authorization endpoint")
        case UpstreamKind.OAUTH_CLIENT if oauth.authentication is ClientAuthentication.NONE or oauth.definitions:
            raise _bad("a client for itself proves itself, and asks for definitions as itself")
        case UpstreamKind.TOKEN_EXCHANGE if oauth.authentication is not ClientAuthentication.PRIVATE_KEY_JWT:
            raise _bad("an exchange takes `private_key_jwt`: its key signs what we say of agent and user")
        case UpstreamKind.OAUTH_USER if not (oauth.authorization_endpoint and oauth.issuer):
            raise _bad("accounts of persons need an authorization endpoint and its issuer", hint="see RFC 9207")
    if oauth.audience and kind is not UpstreamKind.TOKEN_EXCHANGE:
        raise _bad("an audience is part of an exchange; elsewhere say `resource`")


def _plain(text: str) -> bool:
    return not text or (text.isascii() and text.isprintable() and " " not in text)
