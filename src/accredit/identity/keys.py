"""Public keys as records: one key, one id, one algorithm, fixed when it is registered and never by a token.

A thumbprint is only as unique as the encoding it is taken of: the same point with a padded coordinate has another
RFC 7638 thumbprint in most libraries. So keys are re-encoded from their numbers before anything is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["SigningKey", "VerifyingKey", "agent_key", "issuer_keys", "new_signing_key", "sign"]

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BESIDES = frozenset({"kid", "use", "alg", "key_ops"})
_MAX_KEYS: Final = 16
_MAX_TEXT: Final = 1024
_P256_TEXT: Final = 43  # 32 bytes in base64url
_RSA_TEXT: Final = (342, 683)  # 2048 and 4096 bits in base64url

_ES256: Final = "ES256"
_SIGNING = jws.JWSRegistry(algorithms=[_ES256])


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, the id tokens name it by and the only algorithm it is used with."""

    kid: str
    algorithm: str
    key: Key = field(repr=False, compare=False)
    jwk: Mapping[str, str]
    """Public members alone, re-encoded."""
    thumbprint: str


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private P-256 key with the id of its public half."""

    kid: str
    key: ECKey = field(repr=False, compare=False)

    def public(self) -> VerifyingKey:
        return _record(self.kid, _ES256, ECKey.import_key(self.key.public_key))

    def private_jwk(self) -> bytes:
        """The private key itself, to be sealed at once."""
        return canonical(_texts(self.key.as_dict(private=True)))


def new_signing_key(kid: str) -> SigningKey:
    """Generate a P-256 key."""
    return SigningKey(kid, ECKey.generate_key("P-256"))


def _texts(jwk: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in sorted(jwk.items()) if isinstance(value, str)}


def _record(kid: str, algorithm: str, key: Key) -> VerifyingKey:
    # built from the numbers, not from the text that was sent
    canonical_key: Key = type(key).import_key(key.public_key)  # type: ignore[arg-type]  # each class takes its own native key
    return VerifyingKey(
        kid, algorithm, canonical_key, _texts(canonical_key.as_dict(private=False)), canonical_key.thumbprint()
    )


def _unsuitable(message: str, hint: str = "", cause: str = "") -> InvalidInputError:
    return InvalidInputError(Code.KEY_UNSUITABLE, message, hint=hint, cause=cause)


def _plain_members(jwk: Any) -> dict[str, Any]:
    if not isinstance(jwk, dict) or len(jwk) > 12:
        raise _unsuitable("the key is not a JSON Web Key")
    if private := _PRIVATE & set(jwk):
        # What is refused here has travelled: the remedy is a new key, not a corrected request.
        raise _unsuitable(
            f"the key carries the private member `{min(private)}`",
            hint="this private key has left its instance: generate another and send its public half alone",
        )
    if any(isinstance(value, str) and len(value) > _MAX_TEXT for value in jwk.values()):
        raise _unsuitable("a member of the key is too long")
    return jwk


def agent_key(jwk: Any, *, kid: str = "") -> VerifyingKey:
    """Read the public key an instance enrols: P-256, canonical, with nothing private in it.

    Raises:
        InvalidInputError: `key_unsuitable`.
    """
    members = _plain_members(jwk)
    if members.get("kty") != "EC" or members.get("crv") != "P-256":
        raise _unsuitable("the key is not on the curve P-256")
    if unknown := set(members) - {"kty", "crv", "x", "y"} - _BESIDES:
        raise _unsuitable(f"the key carries the unknown member `{min(map(str, unknown))[:40]}`")
    if members.get("alg", _ES256) != _ES256 or members.get("use", "sig") != "sig":
        raise _unsuitable("the key is not one for ES256 signatures")
    if any(not isinstance(members.get(axis), str) or len(members[axis]) != _P256_TEXT for axis in ("x", "y")):
        raise _unsuitable("a coordinate of the key is not 32 bytes")
    try:
        key = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": members["x"], "y": members["y"]})
        return _record(kid, _ES256, key)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _unsuitable("the key is not a point on P-256", cause=repr(error)) from error


def _issuer_key(jwk: Any) -> VerifyingKey:
    members = _plain_members(jwk)
    kid = members.get("kid")
    if not isinstance(kid, str) or not 1 <= len(kid) <= 128:
        raise _unsuitable("a key of the set has no `kid`")
    named = members.get("alg")
    key: Key
    try:
        match members.get("kty"), members.get("crv"):
            case "EC", "P-256":
                key, algorithm = ECKey.import_key({name: members[name] for name in ("kty", "crv", "x", "y")}), _ES256
            case "OKP", "Ed25519":
                key, algorithm = OKPKey.import_key({name: members[name] for name in ("kty", "crv", "x")}), "Ed25519"
            case "RSA", None if not _RSA_TEXT[0] <= len(members["n"]) <= _RSA_TEXT[1]:
                raise _unsuitable(f"the key `{kid[:40]}` has not 2048 to 4096 bits")
            case "RSA", None:
                key, algorithm = RSAKey.import_key({name: members[name] for name in ("kty", "n", "e")}), "RS256"
                numbers = key.public_key.public_numbers()
                if not 2048 <= key.public_key.key_size <= 4096 or numbers.e != 65537:
                    raise _unsuitable(f"the key `{kid[:40]}` has not 2048 to 4096 bits and the exponent 65537")
            case _:
                raise _unsuitable(f"the key `{kid[:40]}` is neither P-256, Ed25519 nor RSA")
        if named not in {None, algorithm}:
            raise _unsuitable(f"the key `{kid[:40]}` is for another algorithm than {algorithm}")
        return _record(kid, algorithm, key)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _unsuitable(f"the key `{kid[:40]}` cannot be read", cause=repr(error)) from error


def issuer_keys(jwks: Any) -> dict[str, VerifyingKey]:
    """Read an issuer's inline JWKS: public keys by `kid`, each with the one algorithm of its type.

    Raises:
        InvalidInputError: `key_unsuitable`: no keys, too many, a private or weak one, or two of one `kid`.
    """
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= _MAX_KEYS:
        raise _unsuitable(f"a key set has 1 to {_MAX_KEYS} entries under `keys`")
    records = [_issuer_key(jwk) for jwk in keys]
    by_kid = {record.kid: record for record in records}
    if len(by_kid) != len(records):
        raise _unsuitable("two keys of the set have one `kid`")
    return by_kid


def sign(claims: Mapping[str, Any], *, typ: str, key: SigningKey) -> str:
    """A compact ES256 JWS of the claims' canonical bytes."""
    return jws.serialize_compact(
        {"alg": _ES256, "typ": typ, "kid": key.kid}, canonical(claims), key.key, registry=_SIGNING
    )
