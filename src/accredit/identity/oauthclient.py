"""The gateway as a client of other people's authorization servers: what it asks, and what of an answer counts. Pure.

RFC 6749  §2.3.1 client password, §4.1.3 code, §4.4.2 client credentials, §5 answers, §6 refresh
RFC 7523  §2.2 `private_key_jwt`       RFC 7636  PKCE, S256 alone      RFC 7009  revocation
RFC 8693  token exchange               RFC 8707  `resource`            RFC 9207  `iss`
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from accredit.identity.keys import SigningKey, sign
from accredit.identity.scrubbing import MIN_SECRET
from accredit.identity.upstreams import (
    BrokeredCredential,
    ClientAuthentication,
    ExchangeSubject,
    OAuthSettings,
    TokenForm,
)
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.kernel.strictjson import parse_strict

__all__ = ["GONE", "TokenClient", "UpstreamToken", "authorization_url", "challenge_of", "granted", "subject_claims"]

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type of token
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_ASSERTION_LIFE_S: Final = 60
_MAX_TOKEN: Final = 8_192
_MAX_LIFE_S: Final = 86_400
_UNTOLD_LIFE_S: Final = 60
"""Of a token whose answer does not say how long it lives."""
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750 §2.1, `b64token`."""
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_ERRORS: Final = frozenset(
    {"invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "invalid_target", "server_error",
     "temporarily_unavailable", "unauthorized_client", "unsupported_grant_type", "unsupported_token_type"}
)  # fmt: skip
"""What may be repeated of a refusal: its other words can quote what was sent."""
GONE: Final = "invalid_grant"


@dataclass(frozen=True, slots=True)
class UpstreamToken:
    """What an authorization server gave."""

    access: str = field(repr=False)
    life_s: int
    refresh: str = field(default="", repr=False)


class TokenClient:
    """One credential's client at its authorization server, with its secret opened."""

    __slots__ = ("_oauth", "_secret")

    def __init__(self, shown: BrokeredCredential, secret: str) -> None:
        assert shown.oauth is not None  # noqa: S101 - of these kinds it has settings
        self._oauth = shown.oauth
        self._secret = secret

    def __repr__(self) -> str:
        return f"TokenClient({self._oauth.client_id})"

    def client_credentials(self, *, jti: str, now_s: int) -> TokenForm:
        """RFC 6749 §4.4.2."""
        return self._form({"grant_type": "client_credentials", **self._wanted()}, jti, now_s)

    def exchange(self, claims: Mapping[str, Any], *, jti: str, now_s: int) -> TokenForm:
        """RFC 8693 §2.1. The subject token is our own: what an agent or user showed us is never passed on."""
        told = {**claims, "aud": self._oauth.issuer or self._oauth.token_endpoint, "iat": now_s,
                "exp": now_s + _ASSERTION_LIFE_S, "jti": f"{jti}.s"}  # fmt: skip
        fields = {
            "grant_type": _EXCHANGE,
            "subject_token": sign(told, typ="JWT", key=self.key()),
            "subject_token_type": _JWT,
            "requested_token_type": _ACCESS_TOKEN,
            **self._wanted(),
        }
        if self._oauth.audience:
            fields["audience"] = self._oauth.audience
        return self._form(fields, jti, now_s)

    def code(self, code: str, verifier: str, redirect_uri: str, *, jti: str, now_s: int) -> TokenForm:
        """RFC 6749 §4.1.3 with RFC 7636 §4.5."""
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri,
                  "code_verifier": verifier}  # fmt: skip
        if self._oauth.resource:
            fields["resource"] = self._oauth.resource
        return self._form(fields, jti, now_s)

    def refresh(self, refresh: str, *, jti: str, now_s: int) -> TokenForm:
        """RFC 6749 §6."""
        return self._form({"grant_type": "refresh_token", "refresh_token": refresh, **self._wanted()}, jti, now_s)

    def revocation(self, token: str, hint: str, *, jti: str, now_s: int) -> TokenForm:
        """RFC 7009 §2.1."""
        fields = {"token": token, "token_type_hint": hint}
        return self._form(fields, jti, now_s, url=self._oauth.revocation_endpoint)

    def _wanted(self) -> dict[str, str]:
        told = {"scope": self._oauth.scope, "resource": self._oauth.resource}
        return {name: value for name, value in told.items() if value}

    def _form(self, fields: dict[str, str], jti: str, now_s: int, *, url: str = "") -> TokenForm:
        oauth = self._oauth
        match oauth.authentication:
            case ClientAuthentication.CLIENT_SECRET_BASIC:
                # §2.3.1: both are form-encoded before they are joined
                pair = f"{quote_plus(oauth.client_id)}:{quote_plus(self._secret)}"
                headers = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
                return TokenForm(url or oauth.token_endpoint, fields, headers)
            case ClientAuthentication.CLIENT_SECRET_POST:
                proof = {"client_secret": self._secret}
            case ClientAuthentication.PRIVATE_KEY_JWT:
                claims = {"iss": oauth.client_id, "sub": oauth.client_id, "jti": jti, "iat": now_s,
                          "aud": oauth.issuer or oauth.token_endpoint, "exp": now_s + _ASSERTION_LIFE_S}  # fmt: skip
                proof = {
                    "client_assertion_type": _ASSERTION_TYPE,
                    "client_assertion": sign(claims, typ="JWT", key=self.key()),
                }
            case ClientAuthentication.NONE:
                proof = {}
        return TokenForm(url or oauth.token_endpoint, {**fields, "client_id": oauth.client_id, **proof})

    def key(self) -> SigningKey:
        """The key of a client that proves itself by one.

        Raises:
            UnavailableError: it does not open.
        """
        try:
            key = ECKey.import_key(parse_strict(self._secret.encode(), max_bytes=1024))
        except (AccreditError, JoseError, ValueError) as error:
            raise _refused("the credential's key does not open") from error
        return SigningKey(key.thumbprint(), key)


def subject_claims(oauth: OAuthSettings, *, us: str, user: str, actors: Sequence[str]) -> dict[str, Any]:
    """What we say of user and agents in an exchange: every actor is told, the newest outermost (RFC 8693 §4.1)."""
    if oauth.subject is ExchangeSubject.AGENT:
        return {"iss": us, "sub": actors[0]}
    act: dict[str, Any] = {}
    for actor in reversed(actors):
        act = {"sub": actor, **({"act": act} if act else {})}
    return {"iss": us, "sub": user, "act": act}


def challenge_of(verifier: str) -> str:
    """RFC 7636 §4.2, S256."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def authorization_url(oauth: OAuthSettings, *, redirect_uri: str, state: str, verifier: str) -> str:
    """RFC 6749 §4.1.1 with RFC 7636 §4.3 and RFC 8707 §2.1."""
    told = {
        "response_type": "code",
        "client_id": oauth.client_id,
        "redirect_uri": redirect_uri,
        "scope": oauth.scope,
        "resource": oauth.resource,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        # OpenID Connect Core §11: without it there would be no refresh token
        "prompt": "consent" if "offline_access" in oauth.scope.split() else "",
    }
    asked = urlencode({name: value for name, value in told.items() if value})
    return f"{oauth.authorization_endpoint}{'&' if urlsplit(oauth.authorization_endpoint).query else '?'}{asked}"


def granted(oauth: OAuthSettings, status: int, body: bytes, *, exchanged: bool = False) -> UpstreamToken:
    """The token in an answer (RFC 6749 §5.1), if it is one that may be used.

    Raises:
        UnavailableError: `upstream_token`: a refusal, no answer of that form, a token that is no bearer token, or one
            that reaches further than was asked for. The cause of `invalid_grant` is exactly that.
    """
    try:
        answer = parse_strict(body, max_bytes=len(body) + 1)
    except AccreditError as error:
        raise _refused(f"HTTP {status} without JSON") from error
    if not isinstance(answer, dict):
        raise _refused(f"HTTP {status} without a JSON object")
    if status != 200:
        told = answer.get("error")
        raise _refused(told if isinstance(told, str) and told in _ERRORS else f"HTTP {status}")
    access, kind, refresh = answer.get("access_token"), answer.get("token_type"), answer.get("refresh_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _refused("the token is no bearer token")
    if not isinstance(access, str) or not MIN_SECRET <= len(access) <= _MAX_TOKEN or not _TOKEN.fullmatch(access):
        raise _refused("the access token is missing or malformed")
    if exchanged and answer.get("issued_token_type") not in {_ACCESS_TOKEN, _JWT}:  # RFC 8693 §2.2.1
        raise _refused("what was issued is no access token")
    if refresh is not None and (
        not isinstance(refresh, str) or not 1 <= len(refresh) <= _MAX_TOKEN or not _PRINTABLE.fullmatch(refresh)
    ):
        raise _refused("the refresh token is malformed")
    scope = answer.get("scope")
    if scope is not None and not isinstance(scope, str):
        raise _refused("the scope is malformed")
    if scope and oauth.scope and set(scope.split()) - set(oauth.scope.split()):
        raise _refused("the token reaches further than the scope that was asked for")
    life = answer.get("expires_in", _UNTOLD_LIFE_S)
    if isinstance(life, str) and life.isascii() and life.isdigit() and len(life) < 12:
        life = int(life)  # a common mistake of servers, with one reading
    if isinstance(life, bool) or not isinstance(life, int) or life <= 0:
        raise _refused("the token's life is malformed")
    return UpstreamToken(access, min(life, _MAX_LIFE_S), refresh or "")


def _refused(cause: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_TOKEN, Code.UPSTREAM_TOKEN.meaning, cause=cause)
