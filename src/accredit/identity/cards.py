"""Agent cards signed by this installation, and the signatures on those of others (A2A 1.0 §8.4).

A signature is a JWS (RFC 7515) over the card without its signatures, in canonical form (RFC 8785). It is made with a
key for cards alone, which stays published: a card is read long after it was written. Whose signature counts is for
whoever reads a card to say, by handing in keys; an address that a card names (`jku`) is never asked.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from accredit.identity.keys import SigningKey, VerifyingKey
from accredit.kernel.canonical import canonical, canonical_json
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import parse_strict
from accredit.registry.interchange.a2a import without_empty

__all__ = ["CARD_KEYS_PATH", "CardSignature", "signed_card", "verified_card"]

CARD_KEYS_PATH: Final = "/.well-known/agent-card-jwks.json"
_SIGNATURES: Final = "signatures"
_MOST: Final = 8
_DEEPEST: Final = 64
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{1,4096}")
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "ES256": frozenset({"ES256"}),
    "RS256": frozenset({"RS256"}),
    "Ed25519": frozenset({"Ed25519", "EdDSA"}),
}
"""How the algorithm of a key may be spelled in a header."""
_KNOWN: Final = frozenset({"alg", "kid", "jku", "typ"})


@dataclass(frozen=True, slots=True)
class CardSignature:
    """What is known of who wrote a card."""

    kid: str | None
    """Of the key that verifies it; None: none of those that count does."""
    why: str

    @property
    def verified(self) -> bool:
        return self.kid is not None


def signed_card(card: Mapping[str, Any], key: SigningKey, *, keys_url: str) -> dict[str, Any]:
    """The card with one signature of ours, in place of any there was."""
    plain = {name: value for name, value in card.items() if name != _SIGNATURES}
    header = {"alg": "ES256", "jku": keys_url, "kid": key.kid, "typ": "JOSE"}
    token = jws.serialize_compact(header, canonical(plain), key.key, registry=jws.JWSRegistry(algorithms=["ES256"]))
    protected, _, signature = token.split(".")
    return {**plain, _SIGNATURES: [{"protected": protected, "signature": signature}]}


def verified_card(card: Mapping[str, Any], keys: Mapping[str, VerifyingKey]) -> CardSignature:
    """Whether one of some keys, by `kid`, signed a card as it stands here.

    Signed is either the card as written or without what is empty in it (§8.4.1): both say the same.
    """
    signatures = card.get(_SIGNATURES)
    if not isinstance(signatures, list) or not signatures:
        return CardSignature(None, "it is not signed")
    plain = {name: value for name, value in card.items() if name != _SIGNATURES}
    try:
        payloads = [canonical_json(one, max_depth=_DEEPEST) for one in (plain, without_empty(plain) or {})]
    except InvalidInputError as error:
        return CardSignature(None, f"it has no canonical form here: {error.message}")
    named: list[str] = []
    for each in signatures[:_MOST]:
        header = _header(each)
        kid, algorithm = header.get("kid"), header.get("alg")
        key = keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            named.append("its key is not one that counts here")
        elif set(header) - _KNOWN or not isinstance(algorithm, str) or algorithm not in _NAMES[key.algorithm]:
            named.append("its header asks for what is not done here")
        elif any(_verifies(each, payload, algorithm, key) for payload in dict.fromkeys(payloads)):
            return CardSignature(key.kid, f"verified with the key {key.kid}")
        else:
            named.append("it is not what that key signed")
    return CardSignature(None, f"unverified: {named[0]}")


def _header(signature: Any) -> Mapping[str, Any]:
    protected = signature.get("protected") if isinstance(signature, Mapping) else None
    if not isinstance(protected, str) or not _BASE64URL.fullmatch(protected):
        return {}
    try:
        found = parse_strict(urlsafe_b64decode(protected + "=" * (-len(protected) % 4)), max_bytes=4096, max_depth=4)
    except (InvalidInputError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _verifies(signature: Mapping[str, Any], payload: bytes, algorithm: str, key: VerifyingKey) -> bool:
    made = signature.get("signature")
    if not isinstance(made, str) or not _BASE64URL.fullmatch(made):
        return False
    body = urlsafe_b64encode(payload).rstrip(b"=").decode()
    try:
        registry = jws.JWSRegistry(algorithms=[algorithm])
        jws.deserialize_compact(f"{signature['protected']}.{body}.{made}", key.key, registry=registry)
    except (JoseError, ValueError):
        return False
    return True
