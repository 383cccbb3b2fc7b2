"""The kinds of control state this room stores, each a document under a key, and their reading and writing.

kind            key                       document
credential      credential id (`crd_…`)   one instance's public key and state
key_thumbprint  RFC 7638 thumbprint       {credential}: kept for good, so a key is enrolled once
epoch           agent id                  {epoch}: raised by every revocation of the agent; exists from the first
                                          enrolment on, so that a missing one is noticed
join_token      SHA-256 of the secret     agent, expiry, pins, and the credential it enrolled
issuer          registration id           a user or task issuer
signing_key     kid                       our own key: public part, sealed private part, state
secret          name                      a brokered upstream credential, sealed
api_token       SHA-256 of the secret     a person's token
login_link      SHA-256 of the secret     a single-use sign-in link
first_admin     `first`                   {person}

The registry owns kind `person`; bootstrapping the first admin writes its first row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from accredit.identity.model import ApiToken, ClaimType, Credential, CredentialState, Issuer, IssuerKind
from accredit.kernel.ids import AgentId, CredentialId, PersonId

__all__ = [
    "API_TOKEN",
    "CREDENTIAL",
    "EPOCH",
    "FIRST_ADMIN",
    "ISSUER",
    "JOIN_TOKEN",
    "KEY_THUMBPRINT",
    "LOGIN_LINK",
    "PERSON",
    "SECRET",
    "SIGNING_KEY",
    "api_token_doc",
    "api_token_from",
    "credential_doc",
    "credential_from",
    "issuer_doc",
    "issuer_from",
    "secret_hash",
]

API_TOKEN = "api_token"  # noqa: S105 - the kind of a row, not a secret
CREDENTIAL = "credential"
EPOCH = "epoch"
FIRST_ADMIN = "first_admin"
ISSUER = "issuer"
JOIN_TOKEN = "join_token"  # noqa: S105 - the kind of a row, not a secret
KEY_THUMBPRINT = "key_thumbprint"
LOGIN_LINK = "login_link"
PERSON = "person"
SECRET = "secret"  # noqa: S105 - the kind of a row, not a secret
SIGNING_KEY = "signing_key"


def secret_hash(secret: str) -> str:
    """The key under which a secret we gave out is found: looked up by hash first, so timing tells nothing.

    No slow hash is needed: what is hashed is 256 random bits.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def credential_doc(credential: Credential) -> dict[str, Any]:
    return {
        "agent": credential.agent,
        "enrolled_us": credential.enrolled_us,
        "jwk": dict(credential.jwk),
        "state": credential.state.value,
        "thumbprint": credential.thumbprint,
    }


def credential_from(key: str, doc: Mapping[str, Any]) -> Credential:
    return Credential(
        CredentialId(key),
        AgentId(doc["agent"]),
        doc["thumbprint"],
        doc["jwk"],
        CredentialState(doc["state"]),
        doc["enrolled_us"],
    )


def issuer_doc(issuer: Issuer) -> dict[str, Any]:
    return {
        "claims": {name: kind.value for name, kind in issuer.claims.items()},
        "jwks": dict(issuer.jwks),
        "kind": issuer.kind.value,
        "max_life_s": issuer.max_life_s,
        "revoked": issuer.revoked,
        # pairs, not an object: names of roles need not be ASCII, keys must
        "role_names": [list(pair) for pair in sorted(issuer.role_names.items())],
        "roles_claim": issuer.roles_claim,
        "status_url": issuer.status_url,
        "token_type": issuer.token_type,
        "url": issuer.url,
    }


def issuer_from(key: str, doc: Mapping[str, Any]) -> Issuer:
    return Issuer(
        kind=IssuerKind(doc["kind"]),
        url=doc["url"],
        jwks=doc["jwks"],
        claims={name: ClaimType(kind) for name, kind in doc["claims"].items()},
        token_type=doc["token_type"],
        max_life_s=doc["max_life_s"],
        roles_claim=doc["roles_claim"],
        role_names=dict(doc["role_names"]),
        status_url=doc["status_url"],
        id=key,
        revoked=doc["revoked"],
    )


def api_token_doc(token: ApiToken) -> dict[str, Any]:
    return {
        "basis": token.basis,
        "expires_us": token.expires_us,
        "id": token.id,
        "issued_us": token.issued_us,
        "person": token.person,
        "profile": token.profile,
        "revoked": token.revoked,
        "scopes": sorted(token.scopes),
    }


def api_token_from(doc: Mapping[str, Any]) -> ApiToken:
    return ApiToken(
        id=doc["id"],
        person=PersonId(doc["person"]),
        profile=doc["profile"],
        scopes=frozenset(doc["scopes"]),
        basis=doc["basis"],
        issued_us=doc["issued_us"],
        expires_us=doc["expires_us"],
        revoked=doc["revoked"],
    )
