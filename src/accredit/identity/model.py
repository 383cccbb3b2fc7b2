"""Who is calling: what a verified token says, and what is registered about those who call. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId, PersonId

__all__ = [
    "ApiToken",
    "ClaimType",
    "Credential",
    "CredentialState",
    "Delegator",
    "Issuer",
    "IssuerKind",
    "OpaqueKey",
    "Operator",
    "Principal",
    "Revocation",
    "RevocationKind",
    "TokenKind",
    "VerifiedTask",
    "VerifiedUser",
]

_NEVER_US = 2**63 - 1


@dataclass(frozen=True, slots=True)
class VerifiedUser:
    """The person an agent acts for, as a registered issuer vouches."""

    issuer: str
    subject: str
    roles: frozenset[str]
    claims: Mapping[str, Any]
    """Typed claims the issuer's registration lets through."""

    @property
    def key(self) -> str:
        """Identifies the user across tokens; personal data."""
        return f"{len(self.issuer)}:{self.issuer}{self.subject}"


@dataclass(frozen=True, slots=True)
class VerifiedTask:
    """The unit of work, as a registered issuer vouches."""

    issuer: str
    id: str
    claims: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Identifies the task across tokens."""
        return f"{len(self.issuer)}:{self.issuer}{self.id}"


@dataclass(frozen=True, slots=True)
class Delegator:
    """An agent that handed work on, and what it proved itself with when it did."""

    agent: AgentId
    credential: CredentialId
    epoch: int


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified agent, on behalf of whom it acts, and what its token is bound to."""

    agent: AgentId
    credential: CredentialId
    """One instance's, public key or opaque; its revocation ends this principal."""
    epoch: int
    expires_us: int
    """Wall time from which it is refused, the tolerance for skewed clocks included."""
    token_digest: str
    user: VerifiedUser | None = None
    task: VerifiedTask | None = None
    """Absent when no task was exchanged or its open state is older than 30 s or closed."""
    task_out: Code | None = None
    """Why the token's task does not count now: `task_closed`, or `task_status_stale`."""
    actors: tuple[str, ...] = ()
    """On behalf of a user or of another agent: who acts, newest first (this agent), then whoever acted before it."""
    delegators: tuple[Delegator, ...] = ()
    """Of these, the agents that handed the work on here, newest first: what ends one of them ends this principal."""
    expires_boot_us: int = _NEVER_US
    """The same expiry on the boot clock: a wall clock set back revives nothing."""
    registrations: tuple[str, ...] = ()
    """Issuer registrations that user and task rest on; revoking one ends this principal."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person acting with a credential of their own."""

    person: PersonId
    credential: str
    scopes: frozenset[str]
    basis: str
    """A `kernel.clearance.Basis`: `single-admin` for the first administrator until a second one joined, else `roles`:
    each act is judged by the roles of whoever does it."""


class CredentialState(StrEnum):
    """What may be done with an enrolled key."""

    ACTIVE = "active"
    PENDING = "pending"
    """Enrolled in production, and not confirmed by the agent's owner yet: it gets no token."""
    LOCKED = "locked"
    """Its join token was used twice, or somebody locked it: refused until revoked and enrolled anew."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class OpaqueKey:
    """A secret we made for a client that can present nothing better; only its hash is kept."""

    hashed: str = field(repr=False)
    environment: str
    epoch: int
    """The agent's when it was made: whatever raises that ends the key for good."""
    audience: str
    """Path below the public URL that it is good at, and below; empty for all of them."""
    expires_us: int


@dataclass(frozen=True, slots=True)
class Credential:
    """One instance of an agent: a public key of its own, or an opaque key of ours."""

    id: CredentialId
    agent: AgentId
    thumbprint: str
    """RFC 7638, SHA-256; unique across the installation. Empty for an opaque key."""
    jwk: Mapping[str, str]
    """Empty for an opaque key."""
    state: CredentialState
    enrolled_us: int
    opaque: OpaqueKey | None = None


class IssuerKind(StrEnum):
    """What a registered issuer vouches for."""

    USER = "user"
    TASK = "task"


class ClaimType(StrEnum):
    """The types a registered claim can have: scalars only, so that a policy can compare them."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose signed word about users or tasks counts, and how far."""

    kind: IssuerKind
    url: str
    """Exactly the `iss` of its tokens."""
    jwks: Mapping[str, Any]
    """Its public keys, inline: nothing is fetched."""
    claims: Mapping[str, ClaimType]
    """The claims that are let through; all others are dropped."""
    token_type: str
    """Exactly the `typ` of its tokens: what is due here is never taken for something else."""
    max_life_s: int
    audience: str = ""
    """Exactly the `aud` of its tokens; empty: an address of ours."""
    roles_claim: str = ""
    """Users only: the claim with the list of role names; empty if it vouches for none."""
    role_names: Mapping[str, str] = field(default_factory=dict)
    """Users only: issuer's name -> our name. Not empty: roles that it does not name are dropped."""
    status_url: str = ""
    """Tasks only: where `{open: bool}` is answered; `{task}` stands for the percent-encoded task id."""
    id: str = ""
    """The name it is registered under: for good, so a name once revoked vouches for nothing again."""
    revoked: bool = False
    """Or its keys cannot be read: either way it vouches for nothing."""
    approved: bool = False
    """Whether two persons signed it off; else its word counts for agents in development alone."""


class TokenKind(StrEnum):
    """How a person presents a secret; one is never taken for the other."""

    TOKEN = "token"  # noqa: S105 - the name of a kind, not a secret
    """As a bearer token of the API."""
    SESSION = "session"
    """As the console's cookie."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A person's credential, without its secret."""

    id: str
    person: PersonId
    profile: str
    """What its holder calls it; of a session `console`."""
    scopes: frozenset[str]
    issued_us: int
    expires_us: int
    revoked: bool = False
    kind: TokenKind = TokenKind.TOKEN
    used_us: int = 0
    """Of a session: when it was last used, as far as that was written down."""


class RevocationKind(StrEnum):
    """What a revocation names."""

    AGENT = "agent"
    CREDENTIAL = "credential"
    ISSUER = "issuer"


@dataclass(frozen=True, slots=True)
class Revocation:
    """Something stopped counting just now: a locked or revoked credential, a revoked agent or issuer registration."""

    kind: RevocationKind
    id: str

    def ends(self, principal: Principal) -> bool:
        """Whether it ends what that principal has in flight."""
        match self.kind:
            case RevocationKind.AGENT:
                return principal.agent == self.id or any(one.agent == self.id for one in principal.delegators)
            case RevocationKind.CREDENTIAL:
                return principal.credential == self.id or any(one.credential == self.id for one in principal.delegators)
            case RevocationKind.ISSUER:
                return self.id in principal.registrations
