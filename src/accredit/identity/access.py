"""Our own access tokens: what goes into one, and the principal that comes out of one. Pure in both directions.

Without a user `sub` is the agent. On behalf of a user `sub` is the user and `act` the chain of actors with the agent
on top (RFC 8693 §4.1). User and task go in as the verified values, with the registration they rest on, so that
reading a token asks no issuer again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.identity.model import Principal, VerifiedTask, VerifiedUser
from accredit.identity.tokens import SKEW_S, SignedClaims, refused
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId

__all__ = ["AccessGrant", "access_claims", "principal_of"]

ACCESS_TYPE: Final = "at+jwt"
MAX_LIFE_S: Final = 300


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """What one access token is going to say."""

    agent: AgentId
    credential: CredentialId
    epoch: int
    version: str
    audience: str
    jti: str
    issued_s: int
    expires_s: int
    user: VerifiedUser | None = None
    user_registration: str = ""
    task: VerifiedTask | None = None
    task_registration: str = ""
    earlier_actors: tuple[str, ...] = ()


def access_claims(grant: AccessGrant, *, issuer: str) -> dict[str, Any]:
    """The claims of an access token (RFC 9068 §2.2, RFC 8693 §4)."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": grant.agent,
        "aud": grant.audience,
        "client_id": grant.credential,
        "jti": grant.jti,
        "iat": grant.issued_s,
        "exp": grant.expires_s,
        "epoch": grant.epoch,
        "agent_ver": grant.version,
    }
    if grant.user is None:
        return claims
    act: dict[str, Any] | None = None
    for actor in reversed((grant.agent, *grant.earlier_actors)):
        act = {"sub": actor} if act is None else {"sub": actor, "act": act}
    user = grant.user
    claims |= {
        "sub": user.subject,
        "act": act,
        "user": {
            "iss": user.issuer,
            "reg": grant.user_registration,
            "roles": sorted(user.roles),
            "claims": dict(user.claims),
        },
    }
    if grant.task is not None:
        claims["task"] = {
            "iss": grant.task.issuer,
            "reg": grant.task_registration,
            "id": grant.task.id,
            "claims": dict(grant.task.claims),
        }
    return claims


def _actors(claims: Mapping[str, Any]) -> tuple[str, ...]:
    chain, at = [], claims.get("act")
    while at is not None:
        chain.append(at["sub"])
        at = at.get("act")
    return tuple(chain)


def principal_of(token: SignedClaims, *, digest: str, now: Instant) -> tuple[Principal, str]:
    """The principal a token of ours proves, and the registration its task rests on (empty without a task).

    Raises:
        UnauthenticatedError: `token_claims`: signed by us and yet not of our form.
    """
    claims = token.claims
    ends_us = (token.expires_s + SKEW_S) * 1_000_000
    try:
        actors = _actors(claims)
        principal = Principal(
            agent=AgentId(actors[0] if actors else claims["sub"]),
            credential=CredentialId(claims["client_id"]),
            epoch=claims["epoch"],
            expires_us=ends_us,
            token_digest=digest,
            actors=actors,
            expires_boot_us=now.boot_us + ends_us - now.wall_us,
        )
        if not actors:
            return principal, ""
        user = claims["user"]
        registrations = (user["reg"],)
        principal = replace(
            principal,
            user=VerifiedUser(user["iss"], claims["sub"], frozenset(user["roles"]), user["claims"]),
            registrations=registrations,
        )
        if "task" not in claims:
            return principal, ""
        task = claims["task"]
        principal = replace(
            principal,
            task=VerifiedTask(task["iss"], task["id"], task["claims"]),
            registrations=(*registrations, task["reg"]),
        )
        return principal, task["reg"]
    except (KeyError, TypeError) as error:
        raise refused(Code.TOKEN_CLAIMS, f"not the form of an access token: {error!r}") from error
