"""Reading a signed token from outside: bytes in, trusted claims out, or one refusal with its reason.

The token chooses nothing: neither its key (a local table, by exact `kid`), nor the algorithm (fixed with the key),
nor what it is (`typ` must be the one due). Claims are parsed only once the signature holds. Each refusal has its own
code and cause for the record; message and hint are constant, so that a caller cannot feel its way.

    1. size and alphabet                      token_oversized, token_malformed
    2. three segments, header strictly JSON   token_malformed, token_duplicate_keys
    3. header parameters: only known ones     token_header       (RFC 7515 §4.1.2 to §4.1.8, §4.1.11)
    4. `typ`                                  token_type         (RFC 8725 §3.11)
    5. key by exact `kid`                     token_key_unknown
    6. the key's own algorithm                token_algorithm    (RFC 8725 §3.1)
    7. signature                              token_signature
    8. claims strictly JSON                   token_duplicate_keys, token_malformed, token_claims
    9. `iss`                                  token_issuer
   10. `exp`, `iat`, `nbf`, life              token_claims, token_expired, token_not_yet_valid, token_lifetime
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from accredit.identity.keys import VerifyingKey
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnauthenticatedError
from accredit.kernel.strictjson import parse_strict

__all__ = [
    "MAX_TOKEN_BYTES",
    "SKEW_S",
    "SignedClaims",
    "TokenRule",
    "peek_claim",
    "peek_type",
    "read_token",
    "refused",
    "reserved_key",
    "single_audience",
    "text_claim",
]

MAX_TOKEN_BYTES: Final = 8192
SKEW_S: Final = 30
"""How far the clocks of others may be off (DESIGN §11)."""

_MAX_HEADER: Final = 512
_MAX_NUMBER: Final = 2**53
_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")
_KNOWN_HEADERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_OUTWARD = "the caller did not prove who it is"
_RESERVED = frozenset({"__entity", "__extn", "__expr"})
_REGISTRIES = {name: jws.JWSRegistry(algorithms=[name]) for name in ("ES256", "RS256", "Ed25519")}


def refused(code: Code, cause: str, *, credential: str | None = None) -> UnauthenticatedError:
    """A refusal whose outward text is the same for every reason; `credential` only where a signature proved it."""
    return UnauthenticatedError(code, _OUTWARD, hint=Code.UNAUTHENTICATED.remedy, cause=cause, credential=credential)


@dataclass(frozen=True, slots=True)
class TokenRule:
    """What a token must be to count here."""

    types: frozenset[str]
    issuer: str | None
    """Exactly the `iss`."""
    max_life_s: int


@dataclass(frozen=True, slots=True)
class SignedClaims:
    """Claims under a signature that held, within their time."""

    claims: Mapping[str, Any]
    issued_s: int
    expires_s: int


def _decoded(segment: str, what: str) -> bytes:
    if not segment or not _SEGMENT.fullmatch(segment) or len(segment) % 4 == 1:
        raise refused(Code.TOKEN_MALFORMED, f"the {what} is not base64url")
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = parse_strict(data, max_bytes=MAX_TOKEN_BYTES, max_depth=8)
    except InvalidInputError as error:
        code = Code.TOKEN_DUPLICATE_KEYS if error.code is Code.BODY_DUPLICATE_KEYS else Code.TOKEN_MALFORMED
        raise refused(code, f"{what}: {error.message}") from error
    if not isinstance(value, dict):
        raise refused(Code.TOKEN_MALFORMED, f"the {what} is not a JSON object")
    return value


def _segments(token: str) -> list[str]:
    if len(token) > MAX_TOKEN_BYTES:
        raise refused(Code.TOKEN_OVERSIZED, f"{len(token)} characters")
    if not token.isascii():
        raise refused(Code.TOKEN_MALFORMED, "not ASCII")
    segments = token.split(".")
    if len(segments) != 3:
        raise refused(Code.TOKEN_MALFORMED, f"{len(segments)} segments")
    return segments


def peek_type(token: str) -> str | None:
    """The unverified `typ`, good only for choosing by which rule the token has to verify.

    Raises:
        UnauthenticatedError: the token is oversized or malformed.
    """
    head = _segments(token)[0]
    if len(head) > _MAX_HEADER:
        raise refused(Code.TOKEN_HEADER, "the header is longer than 512 characters")
    value = _object(_decoded(head, "header"), "header").get("typ")
    return value if isinstance(value, str) else None


def peek_claim(token: str, name: str) -> str | None:
    """An unverified claim, good only for choosing whose keys the token has to verify under.

    Raises:
        UnauthenticatedError: the token is oversized or malformed.
    """
    value = _object(_decoded(_segments(token)[1], "payload"), "claims").get(name)
    return value if isinstance(value, str) else None


def _number(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # a boolean is an int in Python; a float would make the same moment many
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise refused(Code.TOKEN_CLAIMS, f"`{name}` is {'not a whole number' if name in claims else 'missing'}")
    return value


def reserved_key(value: Any) -> bool:
    """Whether a key reserved for the policy engine stands anywhere in it."""
    if isinstance(value, dict):
        return not _RESERVED.isdisjoint(value) or any(reserved_key(item) for item in value.values())
    return isinstance(value, list) and any(reserved_key(item) for item in value)


def text_claim(claims: Mapping[str, Any], name: str, *, code: Code = Code.TOKEN_CLAIMS, longest: int = 256) -> str:
    """A claim that must be a text of at most that many characters.

    Raises:
        UnauthenticatedError: it is missing or something else.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise refused(code, f"`{name}` is {'not a text of the length allowed' if name in claims else 'missing'}")
    return value


def single_audience(claims: Mapping[str, Any]) -> str:
    """The one audience: a list is refused even if it has one entry, since others were let in by the same token.

    Raises:
        UnauthenticatedError: `token_audience`.
    """
    if isinstance(claims.get("aud"), list):
        raise refused(Code.TOKEN_AUDIENCE, "`aud` is a list")
    return text_claim(claims, "aud", code=Code.TOKEN_AUDIENCE, longest=2048)


def read_token(
    token: str, *, rule: TokenRule, keys: Callable[[str | None], VerifyingKey | None], now: Instant
) -> SignedClaims:
    """Verify a compact JWS and give its claims; the steps are numbered in the module's docstring.

    Raises:
        UnauthenticatedError: with the reason's own code and cause and a constant message.
    """
    # 1, 2
    head, body, _ = _segments(token)
    if len(head) > _MAX_HEADER:
        raise refused(Code.TOKEN_HEADER, "the header is longer than 512 characters")
    header = _object(_decoded(head, "header"), "header")
    # 3
    if foreign := set(header) - _KNOWN_HEADERS:
        raise refused(Code.TOKEN_HEADER, f"the header carries `{min(foreign)[:40]}`")
    # 4
    if header.get("typ") not in rule.types:
        raise refused(Code.TOKEN_TYPE, f"`typ` is {str(header.get('typ'))[:40]!r}")
    # 5
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise refused(Code.TOKEN_KEY_UNKNOWN, "`kid` is not a text")
    key = keys(kid)
    if key is None:
        raise refused(Code.TOKEN_KEY_UNKNOWN, f"`kid` is {str(kid)[:60]!r}")
    # 6
    if header.get("alg") != key.algorithm:
        raise refused(Code.TOKEN_ALGORITHM, f"`alg` is {str(header.get('alg'))[:40]!r}, not {key.algorithm}")
    # 7
    try:
        jws.deserialize_compact(token, key.key, registry=_REGISTRIES[key.algorithm])
    except (JoseError, ValueError, TypeError) as error:
        raise refused(Code.TOKEN_SIGNATURE, "the signature does not verify") from error
    # 8
    claims = _object(_decoded(body, "payload"), "claims")
    if reserved_key(claims):
        raise refused(Code.RESERVED_KEY, "a claim uses a key reserved for the policy engine")
    # 9
    if rule.issuer is not None and claims.get("iss") != rule.issuer:
        raise refused(Code.TOKEN_ISSUER, f"`iss` is {str(claims.get('iss'))[:80]!r}")
    # 10
    issued_s, expires_s = _number(claims, "iat"), _number(claims, "exp")
    starts_s = max(issued_s, _number(claims, "nbf") if "nbf" in claims else 0)
    if now.wall_us >= (expires_s + SKEW_S) * 1_000_000:
        raise refused(Code.TOKEN_EXPIRED, f"expired at {expires_s}")
    if now.wall_us < (starts_s - SKEW_S) * 1_000_000:
        raise refused(Code.TOKEN_NOT_YET_VALID, f"valid from {starts_s}")
    if not 0 < expires_s - issued_s <= rule.max_life_s:
        raise refused(Code.TOKEN_LIFETIME, f"a life of {expires_s - issued_s} s, {rule.max_life_s} s allowed")
    return SignedClaims(claims, issued_s, expires_s)
