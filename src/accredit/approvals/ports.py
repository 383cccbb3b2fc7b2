"""What this room asks of those who know what a request rests on."""

from __future__ import annotations

from typing import Protocol

from accredit.approvals.easing import Replacing
from accredit.approvals.model import ApprovalRequest, Grounds

__all__ = ["GroundsSource", "ReplacingSource"]


class GroundsSource(Protocol):
    """Computes what a request rests on. Answers from memory: it is asked inside transactions."""

    def __call__(self, request: ApprovalRequest) -> Grounds:
        """The grounds as of now, for an agent version of exactly that version.

        Raises:
            NotFoundError: what the request is about does not exist.
            UnavailableError: it cannot be computed, or rests on a row that the log contradicts.
        """
        ...


class ReplacingSource(Protocol):
    """Computes what a version would replace. Answers from memory."""

    def __call__(self, request: ApprovalRequest) -> Replacing | None:
        """What is in force and what the version asked about changes; None if it replaces nothing.

        Raises:
            NotFoundError, UnavailableError: as `GroundsSource`.
        """
        ...
