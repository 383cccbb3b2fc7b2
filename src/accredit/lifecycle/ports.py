"""What this room asks of those that keep agents, credentials, baselines, sign-off and archives.

The rooms above have services of these forms; naming here what is asked of them keeps each step short and lets the
steps be tested without the rooms. Functions that give writes do no I/O: they are called inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from accredit.audit.archive import Archived
from accredit.audit.model import Receipt
from accredit.audit.ports import Actor, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Clearance
from accredit.kernel.ids import AgentId
from accredit.limits.model import Reservation
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Agent, AgentVersion

__all__ = [
    "AgentEvent",
    "AgentStates",
    "Archive",
    "Baselines",
    "Cleared",
    "Credentials",
    "Questions",
    "Reservations",
    "SignOff",
]


class AgentStates(Protocol):
    """The one writer of agents' states."""

    def get(self, agent: AgentId) -> Agent | None: ...

    def require(self, agent: AgentId, event: AgentEvent) -> None:
        """Check that an event can happen to an agent as it stands now.

        Raises:
            ConflictError: its state does not allow it.
        """
        ...

    async def transition(
        self,
        agent: AgentId,
        event: AgentEvent,
        actor: Actor,
        *,
        version: Digest | None = None,
        also: Callable[[StateView], Iterable[Write]] = lambda _: (),
        reason: str = "",
    ) -> Receipt | None:
        """Move an agent, and write what `also` gives in the same transaction; `also` may raise to refuse.

        Raises:
            ConflictError: its state does not allow it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cleared:
    """The sign-off an activation rests on."""

    request: str
    clearance: Clearance


class SignOff(Protocol):
    """Knows what was approved. Answers from memory, so that it can be asked inside a transaction."""

    def cleared(self, agent: Agent, version: AgentVersion, operator: Operator) -> Cleared:
        """The clearance for exactly that version, with everything it rests on checked again now.

        Raises:
            ForbiddenError: there is none, or it does not hold (any more); says what is missing.
        """
        ...

    def writes_to_use(self, view: StateView, request: str, now_us: int) -> Sequence[Write]:
        """Note that what was approved is put into force; nothing if it was before."""
        ...


class Credentials(Protocol):
    """Opens and closes an agent's way to credentials."""

    def writes_to_open(
        self, view: StateView, agent: AgentId, clearance: Clearance, version: Digest
    ) -> Sequence[Write]: ...

    def writes_to_close(self, view: StateView, agent: AgentId) -> Sequence[Write]:
        """No instance can be enrolled any more."""
        ...

    def writes_to_end(self, view: StateView, agent: AgentId) -> Sequence[Write]:
        """Every token, key and join token dead; the write that ends all tokens comes first."""
        ...

    def writes_to_halt(self, view: StateView, agent: AgentId) -> Sequence[Write]:
        """Every live token dead; keys stay."""
        ...


class Questions(Protocol):
    """What people are still being asked about an agent: holds and requests for sign-off."""

    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        """All of it closed."""
        ...


class Baselines(Protocol):
    """Keeps what an agent was approved to do."""

    def writes_to_open(
        self, view: StateView, agent: Agent, version: AgentVersion, clearance: Digest | None, now_us: int
    ) -> Sequence[Write]:
        """The version's baseline, in the place of any earlier one."""
        ...

    def writes_to_close(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]: ...


class Reservations(Protocol):
    """Room taken by calls."""

    def open_reservations(self) -> Iterable[Reservation]: ...

    def release(self, reservation: Reservation) -> bool:
        """Give it back; False if it is settled or released already."""
        ...


class Archive(Protocol):
    """Writes an agent's records where they stay."""

    async def write(self, agent: AgentId) -> Archived:
        """Everything recorded of the agent, with proofs under a fresh checkpoint. Writing it again replaces it whole.

        Raises:
            UnavailableError: it could not be written; what was there before is as it was.
        """
        ...

    def name(self, agent: AgentId) -> str:
        """What it is or will be called."""
        ...
