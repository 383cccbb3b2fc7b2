"""Our own access tokens: what goes into one, and the principal that comes out of one. Pure in both directions.

Without a user `sub` is the agent. On behalf of a user `sub` is the user and `act` the chain of actors with the agent
on top (RFC 8693 §4.1). User and task go in as the verified values, with the registration they rest on, so that
reading a token asks no issuer again.

An agent that hands work on gets a second kind of token for the agent it names: `typ: delegation+jwt`, with that agent
as `aud` and in `may_act` (RFC 8693 §4.4), and `reach`, the address that what is made of it may not go beyond. It is
good at our token endpoint alone, and only to that agent. In `act` of what comes out, whoever handed it on follows; in
`hops` stands with which credential and under which epoch each of them did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.identity.model import Delegator, Principal, VerifiedTask, VerifiedUser
from accredit.identity.tokens import SKEW_S, SignedClaims, refused
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId

__all__ = ["AccessGrant", "access_claims", "delegation_claims", "principal_of"]

ACCESS_TYPE: Final = "at+jwt"
DELEGATION_TYPE: Final = "delegation+jwt"
MAX_ACTORS: Final = 4
"""In one chain, the agent that acts included (DESIGN §4)."""
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
    delegators: tuple[Delegator, ...] = ()
    """Of these the newest: agents that handed the work on here."""

    @property
    def chain(self) -> tuple[str, ...]:
        """Everybody who acts, newest first."""
        return (self.agent, *self.earlier_actors)


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
    if grant.user is None and not grant.delegators:
        return claims
    # without a user the work is that of whoever began it
    claims |= {"sub": grant.chain[-1], "act": _nested(grant.chain)}
    if grant.delegators:
        claims["hops"] = [
            {"sub": one.agent, "client_id": one.credential, "epoch": one.epoch} for one in grant.delegators
        ]
    if (user := grant.user) is not None:
        claims |= {
            "sub": user.subject,
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


def delegation_claims(grant: AccessGrant, *, callee: AgentId, issuer: str) -> dict[str, Any]:
    """The claims of a token that hands work on to another agent; of the grant, `audience` is how far it reaches."""
    return {
        **access_claims(grant, issuer=issuer),
        "act": _nested(grant.chain),
        "aud": callee,
        "may_act": {"sub": callee},
        "reach": grant.audience,
    }


def _nested(chain: Sequence[str]) -> dict[str, Any]:
    """The chain as `act` (RFC 8693 §4.1): the newest outermost."""
    act: dict[str, Any] = {"sub": chain[-1]}
    for actor in reversed(chain[:-1]):
        act = {"sub": actor, "act": act}
    return act


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
            delegators=tuple(
                Delegator(AgentId(one["sub"]), CredentialId(one["client_id"]), one["epoch"])
                for one in claims.get("hops", ())
            ),
        )
        # INVARIANT: whoever handed it on stands in the chain, in that order and before anybody that an issuer named
        if actors[1 : 1 + len(principal.delegators)] != tuple(one.agent for one in principal.delegators):
            raise refused(Code.TOKEN_ACTOR, "`hops` and `act` tell of different chains")
        if "user" not in claims:
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
