"""What this room asks of others."""

from __future__ import annotations

from typing import Protocol

from accredit.identity.model import Principal
from accredit.kernel.ids import AgentId
from accredit.registry.model import Agent

__all__ = ["AgentDirectory", "AttemptGate", "DelegationGate", "StatusFetch"]


class AgentDirectory(Protocol):
    """Knows the registered agents. Read on every call, so it answers from memory."""

    def get(self, agent: AgentId) -> Agent | None:
        """The agent, or None if there is no such (or only an unproven) one."""
        ...


class DelegationGate(Protocol):
    """Decides whether an agent may hand its work on to another one."""

    async def hand_on(self, principal: Principal, named: str, *, source: str) -> AgentId:
        """The agent that is named, by name or id, if the caller may hand on to it; on record before the answer.

        Raises:
            ForbiddenError: it may not: `delegation_not_granted`, `delegation_forbidden`, `delegation_cycle`,
                `delegation_depth`, or why one of the two does not run.
            UnavailableError: the decision could not be put on record.
        """
        ...


class AttemptGate(Protocol):
    """Limits attempts to authenticate, before any of them costs a signature check."""

    def retry_after_s(self, source: str) -> float | None:
        """Count one attempt from that address; None if it may go on, else when the next one may."""
        ...


class StatusFetch(Protocol):
    """Fetches a task's status from a URL an operator registered."""

    async def __call__(self, url: str) -> bytes:
        """The body of a 200 answer: no redirects, at most 1 KiB, at most 5 s.

        Raises:
            UnavailableError: there was no such answer.
        """
        ...
