"""The value that only sign-off makes and that a service demands before it acts on an approved subject."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError

__all__ = ["Basis", "Clearance", "Subject"]


class Basis(StrEnum):
    """What a clearance, or an act, rests on."""

    APPROVALS = "approvals"
    ROLES = "roles"
    """Of an act, never of a clearance: the roles of whoever did it."""
    SINGLE_ADMIN = "single-admin"
    """Development only, until a second administrator exists: one person filled every role, and exports say so."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is signed off: a kind of thing and the digest of exactly this one."""

    kind: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Clearance:
    """Sign-off on exactly one subject, by whom and with which credential."""

    subject: Subject
    basis: Basis
    by: tuple[str, ...]
    credential: str
    behind: tuple[str, ...] = ()
    """In whose place some of those voted."""

    def covers(self, kind: str, digest: Digest) -> None:
        """Check that this clearance is for that very subject.

        Raises:
            ForbiddenError: it is for another one.
        """
        if self.subject != Subject(kind, digest):
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, f"the clearance given is not for this {kind}")
