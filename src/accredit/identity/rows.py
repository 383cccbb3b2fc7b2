"""The kinds of control state this room stores, each a document under a key, and their reading and writing.

kind            key                       document
credential      credential id (`crd_…`)   one instance's public key or the hash of its opaque one, and state
key_thumbprint  RFC 7638 thumbprint       {credential}: kept for good, so a key is enrolled once
epoch           agent id                  {epoch}: raised by every revocation of the agent; exists from the first
                                          enrolment on, so that a missing one is noticed
join_token      SHA-256 of the secret     agent, expiry, pins, who made it, and the credential it enrolled
enrolment       agent id                  {version, by}: in production, sign-off of that version is on record and its
                                          activation began, so keys may enrol
signing_key     kid                       our own key: public part, sealed private part, state
card_key        kid                       the same, of the keys that sign agent cards alone
secret          name                      a brokered upstream credential, sealed
upstream_account a keyed digest           a person's account at a credential's authorization server, its tokens sealed
api_token       SHA-256 of the secret     a person's token, or session of the console
login_link      SHA-256 of the secret     {person, expires_us, by?, second?}: a single-use sign-in link, who made it,
                                          and whether opening it makes the second administrator
enforcement_key SHA-256 of the secret     a key of an enforcement point (`points.py`)
chat_link       a keyed digest            {channel, person, since_us}: an account in a chat that somebody linked
chat_code       SHA-256 of the secret     {channel, person, expires_us}: with which one does
directory_key   SHA-256 of the secret     a key of a directory, and who made it (`directory_keys.py`)
first_admin     `first`                   {person}
second_admin    `second`                  {person}: ends the time of the single administrator, for good

The registry owns kinds `person`, `role_grant`, `account_tie`, `issuer` and `enforcement_point`. Here the first two
administrators are registered and get their role, and whoever makes a sign-in link is tied to its account; of an issuer
or enforcement point this room reads the row and, to revoke it, sets `revoked`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from accredit.identity.model import (
    ApiToken,
    ClaimType,
    Credential,
    CredentialState,
    Issuer,
    IssuerKind,
    OpaqueKey,
    TokenKind,
)
from accredit.kernel.ids import AgentId, CredentialId, PersonId

__all__ = [
    "API_TOKEN",
    "CARD_KEY",
    "CHAT_CODE",
    "CHAT_LINK",
    "CREDENTIAL",
    "DIRECTORY_KEY",
    "ENFORCEMENT_KEY",
    "ENROLMENT",
    "EPOCH",
    "FIRST",
    "FIRST_ADMIN",
    "ISSUER",
    "JOIN_TOKEN",
    "KEY_THUMBPRINT",
    "LOGIN_LINK",
    "PERSON",
    "SECOND",
    "SECOND_ADMIN",
    "SECRET",
    "SIGNING_KEY",
    "UPSTREAM_ACCOUNT",
    "api_token_doc",
    "api_token_from",
    "credential_doc",
    "credential_from",
    "issuer_from",
    "secret_hash",
]

API_TOKEN = "api_token"  # noqa: S105 - the kind of a row, not a secret
CARD_KEY = "card_key"
CHAT_CODE = "chat_code"
CHAT_LINK = "chat_link"
CREDENTIAL = "credential"
DIRECTORY_KEY = "directory_key"
ENFORCEMENT_KEY = "enforcement_key"
ENROLMENT = "enrolment"
EPOCH = "epoch"
FIRST_ADMIN = "first_admin"
ISSUER = "issuer"
JOIN_TOKEN = "join_token"  # noqa: S105 - the kind of a row, not a secret
KEY_THUMBPRINT = "key_thumbprint"
LOGIN_LINK = "login_link"
PERSON = "person"
SECOND_ADMIN = "second_admin"
SECRET = "secret"  # noqa: S105 - the kind of a row, not a secret
SIGNING_KEY = "signing_key"
UPSTREAM_ACCOUNT = "upstream_account"

FIRST: Final = "first"
SECOND: Final = "second"
"""The one key of each kind of administrator."""

_TASK_TYPE: Final = "task+jwt"
_MAX_LIFE_S: Final = {IssuerKind.USER: 86_400, IssuerKind.TASK: 900}


def secret_hash(secret: str) -> str:
    """The key under which a secret we gave out is found: looked up by hash first, so timing tells nothing.

    No slow hash is needed: what is hashed is 256 random bits.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def credential_doc(credential: Credential) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "agent": credential.agent,
        "enrolled_us": credential.enrolled_us,
        "jwk": dict(credential.jwk),
        "state": credential.state.value,
        "thumbprint": credential.thumbprint,
    }
    if (opaque := credential.opaque) is not None:
        doc["opaque"] = {
            "audience": opaque.audience,
            "environment": opaque.environment,
            "epoch": opaque.epoch,
            "expires_us": opaque.expires_us,
            "hashed": opaque.hashed,
        }
    return doc


def credential_from(key: str, doc: Mapping[str, Any]) -> Credential:
    return Credential(
        CredentialId(key),
        AgentId(doc["agent"]),
        doc["thumbprint"],
        doc["jwk"],
        CredentialState(doc["state"]),
        doc["enrolled_us"],
        OpaqueKey(**doc["opaque"]) if "opaque" in doc else None,
    )


def issuer_from(key: str, doc: Mapping[str, Any]) -> Issuer:
    kind = IssuerKind(doc["use"])
    return Issuer(
        kind=kind,
        url=doc["issuer"],
        jwks=doc["jwks"],
        claims={name: ClaimType(claim) for name, claim in doc["claims"].items()},
        token_type=_TASK_TYPE if kind is IssuerKind.TASK else doc["token_type"],
        max_life_s=_MAX_LIFE_S[kind],
        audience=doc["audience"] or "",
        roles_claim=doc["roles_claim"] or "",
        role_names=dict(doc["role_names"]),
        status_url=doc["status_url"] or "",
        id=key,
        revoked=doc.get("revoked", False),
        approved="enacted" in doc,
    )


def api_token_doc(token: ApiToken) -> dict[str, Any]:
    return {
        "expires_us": token.expires_us,
        "id": token.id,
        "issued_us": token.issued_us,
        "kind": token.kind.value,
        "person": token.person,
        "profile": token.profile,
        "revoked": token.revoked,
        "scopes": sorted(token.scopes),
        "used_us": token.used_us,
    }


def api_token_from(doc: Mapping[str, Any]) -> ApiToken:
    return ApiToken(
        id=doc["id"],
        person=PersonId(doc["person"]),
        profile=doc["profile"],
        scopes=frozenset(doc["scopes"]),
        issued_us=doc["issued_us"],
        expires_us=doc["expires_us"],
        revoked=doc["revoked"],
        kind=TokenKind(doc.get("kind", TokenKind.TOKEN.value)),  # older rows are all tokens
        used_us=doc.get("used_us", 0),
    )
