"""Accounts that persons connect, once each, so that agents acting for them reach a tool server as them and nobody else.

The code comes back to a page of the console, in the session that asked for it: state, session, person, credential and
PKCE verifier belong together, are used once and end after ten minutes. Each credential has its own redirect URI and
names the one issuer whose answers count (RFC 9207), so no other server's code is taken for this one's.

What was given is sealed under the row's own place. INVARIANT: an account counts only while what was consented to is
what the credential still says: another origin, client, scope or server, and the person connects anew.
"""

from __future__ import annotations

import hmac
import logging
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.oauthclient import GONE, TokenClient, UpstreamToken, authorization_url, granted
from accredit.identity.upstreams import (
    BrokeredCredential,
    ConnectedAccount,
    OAuthSettings,
    TokenPost,
    UpstreamKind,
    settings_document,
)
from accredit.kernel.canonical import canonical, digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import IdSource, PersonId
from accredit.kernel.sealing import Sealer
from accredit.kernel.strictjson import parse_strict

__all__ = ["CONNECTED", "Accounts", "owner_of"]

CONNECTED: Final = "account.connected"

_log = logging.getLogger("accredit.identity")
_PENDING_US: Final = 600_000_000
_MOST_PENDING: Final = 1_000
_MOST_PENDING_EACH: Final = 8
_MAX_CODE: Final = 4_096
_MAX_SEALED: Final = 64 * 1024
_EARLY_US: Final = 30_000_000
_SYSTEM: Final = Actor(basis="system")
_Opened = Callable[[str], tuple[BrokeredCredential, TokenClient]]


@dataclass(frozen=True, slots=True)
class _Pending:
    """Somebody went to an authorization server and is expected back."""

    person: PersonId
    session: str
    credential: str
    terms: str
    verifier: str = field(repr=False)
    until_us: int


@dataclass(frozen=True, slots=True)
class _Tokens:
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    until_us: int
    """Wall time: this is stored."""


@dataclass(frozen=True, slots=True)
class _Account:
    key: str
    credential: str
    person: PersonId
    terms: str
    connected_us: int
    serial: int
    sealed: bytes = field(repr=False)


class Accounts:
    """Connects, refreshes and disconnects. Used from one event loop."""

    def __init__(
        self,
        control: ControlLog,
        sealer: Sealer,
        post: TokenPost,
        *,
        opened: _Opened,
        clock: Clock,
        ids: IdSource,
        public_url: str,
    ) -> None:
        self._control = control
        self._sealer = sealer.derive("identity/accounts")
        self._post = post
        self._opened = opened
        self._clock = clock
        self._ids = ids
        self._public_url = public_url
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()
        self._known: dict[str, _Account] = {}
        self._fresh: dict[str, _Tokens] = {}
        """The newest tokens of those used: what a server rotated counts even if it could not be stored."""
        for row in control.view.scan(rows.UPSTREAM_ACCOUNT):
            self._fold(row.key, row.doc)
        control.subscribe(self._on_change)

    # -- connecting

    def redirect_uri(self, credential: str) -> str:
        """Where a credential's authorization server sends people back to: to be registered there."""
        return f"{self._public_url}/console/accounts/{credential}/callback"

    def begin(self, credential: str, *, person: PersonId, session: str) -> str:
        """The address where this person consents.

        Raises:
            NotFoundError: it is no credential that persons connect accounts for.
        """
        shown, _ = self._connectable(credential)
        state, verifier = self._secret(), self._secret()
        now_us = self._clock.now().boot_us
        for known in [key for key, one in self._pending.items() if one.until_us <= now_us]:
            del self._pending[known]
        own = [key for key, one in self._pending.items() if one.person == person]
        for known in own[: max(0, len(own) - _MOST_PENDING_EACH + 1)]:
            del self._pending[known]
        if len(self._pending) >= _MOST_PENDING:
            self._pending.popitem(last=False)
        self._pending[_hashed(state)] = _Pending(
            person, session, credential, _terms(shown), verifier, now_us + _PENDING_US
        )
        return authorization_url(
            _oauth(shown), redirect_uri=self.redirect_uri(credential), state=state, verifier=verifier
        )

    async def finish(
        self, credential: str, answer: Mapping[str, str], *, person: PersonId, session: str, actor: Actor
    ) -> ConnectedAccount:
        """Take what came back from the authorization server (RFC 6749 §4.1.2), and ask it for the tokens.

        Raises:
            ForbiddenError: `not_authorised`: nobody of this session went there, or the answer is of another server.
            InvalidInputError: the server said no.
            NotFoundError: there is no such credential (any more).
            UnavailableError: the server gave no usable token.
        """
        pending = self._pending.pop(_hashed(answer.get("state", "")[:512]), None)  # once, whatever comes of it
        if pending is None or pending.until_us <= self._clock.now().boot_us:
            raise _foreign("it was not asked for here, or more than ten minutes ago")
        same = (pending.person, pending.session, pending.credential) == (person, session, credential)
        shown, client = self._connectable(credential)
        oauth = _oauth(shown)
        if not same or pending.terms != _terms(shown):
            raise _foreign("another session asked for it, or the credential changed meanwhile")
        if not hmac.compare_digest(answer.get("iss", "").encode(), oauth.issuer.encode()):
            raise _foreign("it does not come from the issuer that the credential names")
        if "error" in answer:
            raise InvalidInputError(
                Code.UPSTREAM_NOT_CONNECTED, "the authorization server did not consent", hint="connect it again"
            )
        code = answer.get("code", "")
        if not 1 <= len(code) <= _MAX_CODE or not code.isascii() or not code.isprintable():
            raise InvalidInputError(Code.UPSTREAM_NOT_CONNECTED, "the authorization server's answer holds no code")
        now = self._clock.now()
        form = client.code(
            code, pending.verifier, self.redirect_uri(credential), jti=self._ids.new("jti"), now_s=now.wall_s
        )
        token = granted(oauth, *await self._post(form))
        tokens = _Tokens(token.access, token.refresh, now.wall_us + token.life_s * 1_000_000)
        key, earlier = self._key(credential, person), None
        if (known := self._known.get(key)) is not None:
            earlier = self._tokens(known)

        def build(view: StateView) -> Change:
            if (row := view.get(rows.SECRET, credential)) is None or row.doc["version"] != shown.version:
                raise _foreign("the credential changed meanwhile")
            stored = view.get(rows.UPSTREAM_ACCOUNT, key)
            serial = stored.doc["serial"] + 1 if stored else 1
            account = _Account(key, credential, person, pending.terms, now.wall_us, serial, b"")
            body = {"account": key, "credential": credential}
            return Change(Facts(CONNECTED), (self._write(account, tokens),), actor, body)

        await self._control.transact(build)
        if earlier is not None:
            await self._revoke(client, oauth, earlier)
        return ConnectedAccount(credential, now.wall_us)

    def of(self, person: PersonId) -> tuple[ConnectedAccount, ...]:
        """What a person has connected that still counts."""
        found = [one for one in self._known.values() if one.person == person and self._counts(one)]
        return tuple(
            ConnectedAccount(one.credential, one.connected_us) for one in sorted(found, key=lambda a: a.credential)
        )

    async def disconnect(self, credential: str, *, person: PersonId, actor: Actor) -> bool:
        """Forget a person's account here at once, then revoke it there (RFC 7009); gives whether that was answered.

        Raises:
            NotFoundError: there is none.
        """
        key = self._key(credential, person)
        account = self._known.get(key)
        if account is None:
            raise NotFoundError(Code.NOT_FOUND, f"no account is connected for `{credential[:80]}`")
        tokens = self._tokens(account)
        await self._forget(key, "account.disconnected", actor)
        try:
            shown, client = self._opened(credential)
        except AccreditError:
            return False
        return tokens is not None and await self._revoke(client, _oauth(shown), tokens)

    def removal(self, view: StateView, credential: str) -> tuple[Write, ...]:
        """The removal of every account of a credential: part of its own."""
        return tuple(
            Write(row.kind, row.key, None)
            for row in view.scan(rows.UPSTREAM_ACCOUNT)
            if row.doc["credential"] == credential
        )

    def owner(self, key: str) -> tuple[str, str] | None:
        """Credential and person of a row, while it is known."""
        account = self._known.get(key)
        return None if account is None else (account.credential, account.person)

    # -- using

    async def token(
        self, shown: BrokeredCredential, client: TokenClient, person: PersonId, *, anew: bool
    ) -> UpstreamToken:
        """A token of that person: the one there is, or what its refresh token gives (`anew`: that alone).

        Raises:
            UnavailableError: `upstream_not_connected`, or the server gave none.
        """
        account = self._known.get(self._key(shown.name, person))
        if account is None or not self._counts(account) or (tokens := self._tokens(account)) is None:
            raise self.not_connected(shown.name)
        now = self._clock.now()
        left_us = tokens.until_us - now.wall_us
        if left_us > _EARLY_US and not anew:
            return UpstreamToken(tokens.access, left_us // 1_000_000)
        if not tokens.refresh:
            await self._forget(account.key, "account.lapsed", _SYSTEM)
            raise self.not_connected(shown.name)
        try:
            form = client.refresh(tokens.refresh, jti=self._ids.new("jti"), now_s=now.wall_s)
            token = granted(_oauth(shown), *await self._post(form))
        except UnavailableError as error:
            if error.cause != GONE:
                raise
            await self._forget(account.key, "account.lapsed", _SYSTEM)
            raise self.not_connected(shown.name) from error
        until_us = now.wall_us + token.life_s * 1_000_000
        fresh = _Tokens(token.access, token.refresh or tokens.refresh, until_us)
        if account.key in self._known:
            await self._renewed(account, fresh)
        if account.key not in self._known:  # disconnected meanwhile: what came of it is not used
            self._fresh.pop(account.key, None)
            await self._revoke(client, _oauth(shown), fresh)
            raise self.not_connected(shown.name)
        return token

    def not_connected(self, credential: str) -> UnavailableError:
        """Says where the user can connect an account; nothing in it is anybody's secret."""
        return UnavailableError(
            Code.UPSTREAM_NOT_CONNECTED,
            Code.UPSTREAM_NOT_CONNECTED.meaning,
            hint=f"have the user open {self._public_url}/console/accounts and connect `{credential[:80]}`",
        )

    async def _renewed(self, account: _Account, tokens: _Tokens) -> None:
        self._fresh[account.key] = tokens

        def build(view: StateView) -> Change | None:
            row = view.get(rows.UPSTREAM_ACCOUNT, account.key)
            if row is None:
                return None
            again = _account(account.key, {**row.doc, "serial": row.doc["serial"] + 1})
            body = {"account": account.key, "credential": account.credential}
            return Change(Facts("account.refreshed"), (self._write(again, tokens),), _SYSTEM, body)

        await self._control.transact(build)

    async def _forget(self, key: str, event: str, actor: Actor) -> None:
        def build(view: StateView) -> Change | None:
            row = view.get(rows.UPSTREAM_ACCOUNT, key)
            if row is None:
                return None
            body = {"account": key, "credential": row.doc["credential"]}
            return Change(Facts(event), (Write(row.kind, key, None),), actor, body, narrowing=True)

        await self._control.transact(build)

    async def _revoke(self, client: TokenClient, oauth: OAuthSettings, tokens: _Tokens) -> bool:
        if not oauth.revocation_endpoint:
            return False
        token, hint = (tokens.refresh, "refresh_token") if tokens.refresh else (tokens.access, "access_token")
        try:
            now_s = self._clock.now().wall_s
            status, _ = await self._post(client.revocation(token, hint, jti=self._ids.new("jti"), now_s=now_s))
        except UnavailableError as error:
            _log.warning("an account's tokens could not be revoked: %s", error.cause)
            return False
        return status == 200

    # -- what is stored

    def _connectable(self, credential: str) -> tuple[BrokeredCredential, TokenClient]:
        try:
            shown, client = self._opened(credential)
        except UnavailableError as error:
            raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{credential[:80]}` to connect") from error
        if shown.kind is not UpstreamKind.OAUTH_USER:
            raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{credential[:80]}` to connect")
        return shown, client

    def _counts(self, account: _Account) -> bool:
        if (rows.UPSTREAM_ACCOUNT, account.key) in self._control.unproven:
            return False
        try:
            shown, _ = self._opened(account.credential)
        except UnavailableError:
            return False
        return shown.kind is UpstreamKind.OAUTH_USER and _terms(shown) == account.terms

    def _key(self, credential: str, person: PersonId) -> str:
        return self._sealer.fingerprint(canonical([credential, person])).replace("hmac-sha256:", "acc_")

    def _secret(self) -> str:
        return urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()

    def _tokens(self, account: _Account) -> _Tokens | None:
        found = self._fresh.get(account.key)
        if found is not None:
            return found
        try:
            opened = self._sealer.open(account.sealed, belongs_to=_belonging(account))
            doc = parse_strict(opened, max_bytes=_MAX_SEALED)
        except AccreditError as error:
            _log.error("a connected account does not open: %s", error.cause)
            return None
        return _Tokens(doc["access"], doc["refresh"], doc["until_us"])

    def _write(self, account: _Account, tokens: _Tokens) -> Write:
        secret = canonical({"access": tokens.access, "refresh": tokens.refresh, "until_us": tokens.until_us})
        doc = {
            "connected_us": account.connected_us,
            "credential": account.credential,
            "person": account.person,
            "sealed": b64encode(self._sealer.seal(secret, belongs_to=_belonging(account))).decode(),
            "serial": account.serial,
            "terms": account.terms,
        }
        return Write(rows.UPSTREAM_ACCOUNT, account.key, doc)

    def _on_change(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == rows.UPSTREAM_ACCOUNT:
                self._fold(write.key, write.doc)

    def _fold(self, key: str, doc: Mapping[str, Any] | None) -> None:
        self._fresh.pop(key, None)
        if doc is None:
            self._known.pop(key, None)
        else:
            self._known[key] = _account(key, doc)


def owner_of(doc: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """Credential and person of a row's document."""
    return None if doc is None else (doc["credential"], doc["person"])


def _terms(shown: BrokeredCredential) -> str:
    """What a person consents to: where the token goes, whose it is, and how far it reaches."""
    told = settings_document(_oauth(shown))
    for name in ("authentication", "definitions", "public_key", "revocation_endpoint"):
        told.pop(name, None)
    return str(digest_value("upstream-terms", {"oauth": told, "origin": shown.origin}))


def _oauth(shown: BrokeredCredential) -> OAuthSettings:
    if shown.oauth is None:
        raise UnavailableError(Code.UPSTREAM_CREDENTIAL, f"`{shown.name[:80]}` is of another kind by now")
    return shown.oauth


def _account(key: str, doc: Mapping[str, Any]) -> _Account:
    return _Account(
        key,
        doc["credential"],
        PersonId(doc["person"]),
        doc["terms"],
        doc["connected_us"],
        doc["serial"],
        b64decode(doc["sealed"]),
    )


def _belonging(account: _Account) -> bytes:
    # a row moved to another person, credential or consent, or rolled back to an older grant, does not open
    return canonical(
        {
            "credential": account.credential,
            "key": account.key,
            "person": account.person,
            "serial": account.serial,
            "terms": account.terms,
        }
    )


def _hashed(state: str) -> bytes:
    return sha256(state.encode("utf-8", "surrogatepass")).digest()


def _foreign(cause: str) -> ForbiddenError:
    return ForbiddenError(
        Code.NOT_AUTHORISED, f"this answer of an authorization server is not taken: {cause}", hint="connect it again"
    )
