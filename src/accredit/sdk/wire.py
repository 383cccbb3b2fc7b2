"""What goes over the wire, built and read without sending anything: the same for blocking and async clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import orjson

from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, IdSource
from accredit.kernel.strictjson import parse_strict
from accredit.sdk.keyring import InstanceKey, Keyring

__all__ = [
    "GrantedToken",
    "ReportedPosture",
    "WireAnswer",
    "WireRequest",
    "checked_url",
    "delegation_request",
    "enrol_request",
    "exchange_request",
    "read_enrolment",
    "read_token",
    "token_request",
]

_ASSERTION_LIFE_S: Final = 60
_MAX_ANSWER: Final = 65_536
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type of token


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request to be sent, a POST if it has content: no redirects, since it carries proof of who is asking."""

    url: str
    content_type: str
    content: bytes = field(repr=False)
    token: str = field(default="", repr=False)
    """Sent as bearer token."""

    @property
    def method(self) -> str:
        return "POST" if self.content else "GET"

    @property
    def headers(self) -> dict[str, str]:
        """Everything that goes with it."""
        named = {"Content-Type": self.content_type} if self.content else {}
        return {
            **named,
            "Accept": "application/json",
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
        }


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """What came back."""

    status: int
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GrantedToken:
    """An access token and how long it lasts."""

    access_token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True)
class ReportedPosture:
    """What an instance says it runs; the server holds it against what was approved. None: nothing is said."""

    version: str | None = None
    """Digest of the manifest's version."""
    prompt: str | None = None
    """Digest of the prompt."""
    models: tuple[tuple[str, str], ...] | None = None
    """(Provider, model) pairs, as the manifest names them."""

    def claim(self) -> dict[str, Any]:
        """As it stands in the signed assertion."""
        said: dict[str, Any] = {"version": self.version, "prompt": self.prompt}
        said["models"] = None if self.models is None else [list(pair) for pair in self.models]
        return {name: value for name, value in said.items() if value is not None}


def checked_url(url: str) -> str:
    """An address that secrets may travel to, without a slash at its end.

    Raises:
        InvalidInputError: it is neither https nor http on loopback.
    """
    try:
        parts = urlsplit(url)
        safe = bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        )
    except ValueError:
        safe = False
    if not safe:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{url[:120]}` is neither https nor http on loopback", hint="use https"
        )
    return url.rstrip("/")


def enrol_request(base_url: str, join_token: str, key: InstanceKey) -> WireRequest:
    """`POST /enrol` with the public key alone.

    Raises:
        InvalidInputError: the address would carry the join token in clear.
    """
    body = orjson.dumps({"join_token": join_token, "jwk": key.public_jwk()})
    return WireRequest(f"{checked_url(base_url)}/enrol", "application/json", body)


def read_enrolment(answer: WireAnswer, key: InstanceKey) -> Keyring:
    """What the key was enrolled as.

    Raises:
        AccreditError: the server refused, with the server's code.
    """
    reply = _reply(answer)
    try:
        credential, agent, endpoint = reply["credential_id"], reply["agent_id"], reply["token_endpoint"]
    except KeyError as error:
        raise _unexpected("an enrolment without its names") from error
    if not all(isinstance(text, str) for text in (credential, agent, endpoint)):
        raise _unexpected("an enrolment without its names")
    return Keyring(key, CredentialId(credential), AgentId(agent), checked_url(endpoint))


def token_request(
    keyring: Keyring, resource: str, *, now: Instant, ids: IdSource, posture: ReportedPosture | None = None
) -> WireRequest:
    """`client_credentials` with `private_key_jwt` (RFC 6749 §4.4, RFC 7523 §2.2) for one resource (RFC 8707)."""
    return _form(keyring, {"grant_type": "client_credentials", "resource": resource}, now, ids, posture)


def exchange_request(
    keyring: Keyring,
    resource: str,
    *,
    subject_token: str,
    task_token: str | None,
    now: Instant,
    ids: IdSource,
    posture: ReportedPosture | None = None,
) -> WireRequest:
    """Token exchange (RFC 8693 §2.1): on behalf of the subject, for a task if one is given."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "resource": resource,
        "subject_token": subject_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "requested_token_type": _ACCESS_TOKEN,
    }
    return _form(keyring, form if task_token is None else form | {"task_token": task_token}, now, ids, posture)


def delegation_request(
    keyring: Keyring,
    callee: str,
    *,
    access_token: str,
    resource: str | None,
    now: Instant,
    ids: IdSource,
    posture: ReportedPosture | None = None,
) -> WireRequest:
    """Token exchange (RFC 8693 §2.1) of one's own access token for one that hands its work on to another agent."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": callee,
        "subject_token": access_token,
        "subject_token_type": _ACCESS_TOKEN,
        "requested_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    return _form(keyring, form if resource is None else form | {"resource": resource}, now, ids, posture)


def _form(
    keyring: Keyring, form: Mapping[str, str], now: Instant, ids: IdSource, posture: ReportedPosture | None
) -> WireRequest:
    assertion = keyring.key.sign(
        {
            "iss": keyring.credential,
            "sub": keyring.credential,
            "aud": keyring.token_endpoint,
            "jti": ids.new("jti"),
            "iat": now.wall_s,
            "exp": now.wall_s + _ASSERTION_LIFE_S,
            **({} if posture is None else {"posture": posture.claim()}),
        },
        typ="JWT",
        kid=keyring.credential,
    )
    proof = {
        "client_id": keyring.credential,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    content = urlencode({**form, **proof}).encode()
    return WireRequest(keyring.token_endpoint, "application/x-www-form-urlencoded", content)


def read_token(answer: WireAnswer) -> GrantedToken:
    """The token that was granted.

    Raises:
        AccreditError: the server refused, with the server's code.
    """
    reply = _reply(answer)
    token, life = reply.get("access_token"), reply.get("expires_in")
    if not isinstance(token, str) or not isinstance(life, int) or isinstance(life, bool) or life < 0:
        raise _unexpected("an answer without a token")
    return GrantedToken(token, life)


def _unexpected(cause: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_INVALID, "the server's answer is not what was asked for", cause=cause)


def _reply(answer: WireAnswer) -> dict[str, Any]:
    try:
        reply = parse_strict(answer.content, max_bytes=_MAX_ANSWER, max_depth=8)
    except InvalidInputError as error:
        raise _unexpected(f"status {answer.status}: {error.message}") from error
    if not isinstance(reply, dict):
        raise _unexpected(f"status {answer.status}: not an object")
    if 200 <= answer.status < 300:
        return reply
    raise _error(answer.status, reply)


def _error(status: int, reply: Mapping[str, Any]) -> AccreditError:
    code = next((code for code in Code if code.value == reply.get("code")), Code.INTERNAL)
    message = reply.get("error_description") or reply.get("detail") or reply.get("error") or f"status {status}"
    match status:
        case 401:
            kind: type[AccreditError] = UnauthenticatedError
        case 403:
            kind = ForbiddenError
        case 409:
            kind = ConflictError
        case 400 | 422:
            kind = InvalidInputError
        case _:
            kind = UnavailableError
    return kind(code, str(message)[:500], cause=f"status {status}")
