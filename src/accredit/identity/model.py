"""Who is calling: what a verified token says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accredit.kernel.ids import AgentId, CredentialId, PersonId

__all__ = ["Operator", "Principal", "VerifiedTask", "VerifiedUser"]


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
class Principal:
    """A verified agent, on behalf of whom it acts, and what its token is bound to."""

    agent: AgentId
    credential: CredentialId
    """One instance's key; its revocation ends this principal."""
    epoch: int
    expires_us: int
    token_digest: str
    user: VerifiedUser | None = None
    task: VerifiedTask | None = None
    """Absent when no task was exchanged or its open state is older than 30 s or closed."""
    actors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """A person acting with a credential of their own."""

    person: PersonId
    credential: str
    scopes: frozenset[str]
    basis: str
    """`single-admin` until a second administrator exists."""
