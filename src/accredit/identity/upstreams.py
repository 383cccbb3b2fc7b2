"""What is known of upstream credentials, and what a call is lent of one. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

__all__ = [
    "BrokeredCredential",
    "ClientAuthentication",
    "ConnectedAccount",
    "ExchangeSubject",
    "OAuthSettings",
    "TokenForm",
    "TokenPost",
    "UpstreamKind",
    "UpstreamLease",
    "settings_document",
    "settings_of",
]


class UpstreamKind(StrEnum):
    """How the header that goes to a tool server comes about."""

    HEADER = "header"
    """It is what was stored."""
    BASIC = "basic"
    """A name and a password (RFC 7617)."""
    OAUTH_CLIENT = "oauth-client"
    """An access token for the gateway itself (RFC 6749 §4.4)."""
    TOKEN_EXCHANGE = "token-exchange"  # noqa: S105 - the name of a kind, not a secret
    """An access token for agent and user, in exchange for our own word about both (RFC 8693)."""
    OAUTH_USER = "oauth-user"
    """An access token of the very person the agent acts for, who connected an account (RFC 6749 §4.1, RFC 7636)."""


class ClientAuthentication(StrEnum):
    """How the gateway proves itself at the authorization server (RFC 6749 §2.3, RFC 7523 §2.2)."""

    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - a method, not a secret
    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105 - a method, not a secret
    PRIVATE_KEY_JWT = "private_key_jwt"
    """With a key of the credential's own, made here: its public half is for the authorization server."""
    NONE = "none"
    """Not at all: a public client, for accounts of persons alone."""


class ExchangeSubject(StrEnum):
    """Whom an exchanged token is for."""

    USER = "user"
    """The verified user, with the agent as actor; without one the call is refused."""
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """Where and as whom tokens are asked for, and what for: all of it said by the operator, none of it by an agent."""

    token_endpoint: str
    client_id: str
    authentication: ClientAuthentication
    scope: str = ""
    """Space-separated; a token that reaches further is not used."""
    resource: str = ""
    """RFC 8707."""
    audience: str = ""
    """RFC 8693 §2.1."""
    subject: ExchangeSubject = ExchangeSubject.USER
    """Of an exchange."""
    issuer: str = ""
    """Of accounts of persons: exactly the `iss` that must come back with a code (RFC 9207)."""
    authorization_endpoint: str = ""
    revocation_endpoint: str = ""
    """RFC 7009; empty where there is none."""
    users: str = ""
    """Of accounts of persons: exactly the issuer whose word about the user counts."""
    definitions: str = ""
    """Of what needs a user: the credential that the gateway itself asks for definitions with; empty for none."""
    public_key: Mapping[str, str] | None = None
    """Of `private_key_jwt`: to be registered at the authorization server."""


@dataclass(frozen=True, slots=True)
class BrokeredCredential:
    """What may be known of a stored credential."""

    name: str
    header: str
    origin: str
    version: int
    kind: UpstreamKind = UpstreamKind.HEADER
    username: str = ""
    """Of `basic`."""
    oauth: OAuthSettings | None = None


@dataclass(frozen=True, slots=True)
class ConnectedAccount:
    """A person's account at the authorization server of a credential, as far as it may be known."""

    credential: str
    connected_us: int


@dataclass(frozen=True, slots=True)
class TokenForm:
    """One request to an authorization server."""

    url: str
    fields: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class TokenPost(Protocol):
    """Posts a form to a URL an operator registered."""

    async def __call__(self, form: TokenForm) -> tuple[int, bytes]:
        """Status and body: no redirects, at most 64 KiB, at most 10 s.

        Raises:
            UnavailableError: `upstream_token`: there was no such answer.
        """
        ...


class UpstreamLease(Mapping[str, str]):
    """Headers for one call, and a way to newer ones should the tool server say that the token counts no more."""

    __slots__ = ("_headers", "_renew")

    def __init__(self, headers: Mapping[str, str], renew: Callable[[], Awaitable[UpstreamLease | None]]) -> None:
        self._headers = dict(headers)
        self._renew = renew

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __repr__(self) -> str:
        return f"UpstreamLease({', '.join(self._headers)})"

    async def renewed(self) -> UpstreamLease | None:
        """Another token than this one, or None if there is none to be had now.

        Raises:
            UnavailableError: it was asked for and not given.
        """
        return await self._renew()


def settings_document(oauth: OAuthSettings) -> dict[str, Any]:
    """As stored: what is not said is left out."""
    told = {name: getattr(oauth, name) for name in OAuthSettings.__dataclass_fields__}
    if oauth.subject is ExchangeSubject.USER:
        del told["subject"]
    return {name: dict(value) if isinstance(value, Mapping) else str(value) for name, value in told.items() if value}


def settings_of(document: Mapping[str, Any]) -> OAuthSettings:
    """The settings in such a document."""
    told = dict(document)
    told["authentication"] = ClientAuthentication(told["authentication"])
    if "subject" in told:
        told["subject"] = ExchangeSubject(told["subject"])
    return OAuthSettings(**told)
