"""What this room asks of those that keep agents, credentials, baselines, sign-off and archives.

The rooms above have services of these forms; naming here what is asked of them keeps each step short and lets the
steps be tested without the rooms. Functions that give writes do no I/O: they are called inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from accredit.approvals.model import ApprovalRequest, ApprovalState, Obligation, VoteVerdict
from accredit.audit.archive import Archived
from accredit.audit.model import Receipt
from accredit.audit.ports import Actor, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Clearance
from accredit.kernel.ids import AgentId
from accredit.lifecycle.model import Procedure
from accredit.lifecycle.stored import Capabilities, Finished, Holding, Item, ItemPage, KeyDestroyed, Residue
from accredit.limits.model import Reservation
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Agent, AgentVersion, Role, Store, Tier
from accredit.registry.proposals import Proposal

__all__ = [
    "AbsenceProof",
    "AgentStates",
    "ApprovalDesk",
    "Archive",
    "Baselines",
    "Cleared",
    "Credentials",
    "Delegations",
    "FindsPersonal",
    "LegalHolds",
    "Lenders",
    "Questions",
    "Reservations",
    "Samples",
    "SignOff",
    "StoreAdapter",
    "StoreAdapters",
    "StorePurges",
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
        tier: Tier | None = None,
        also: Callable[[StateView], Iterable[Write]] = lambda _: (),
        reason: str = "",
    ) -> Receipt | None:
        """Move an agent, and write what `also` gives in the same transaction; `also` may raise to refuse.

        `tier` is what an activation was approved under.

        Raises:
            ConflictError: its state does not allow it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cleared:
    """The sign-off an activation rests on."""

    request: str
    clearance: Clearance
    tier: Tier
    """What the version was approved under."""


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


class ApprovalDesk(Protocol):
    """Requests for sign-off, from opening to use. Reading answers from memory, also inside a transaction."""

    async def open_version(self, agent: Agent, version: AgentVersion, operator: Operator) -> ApprovalRequest:
        """Ask for sign-off on a version; an open request for exactly it is given back, an older one superseded."""
        ...

    async def open_proposal(self, proposal: Proposal, operator: Operator) -> ApprovalRequest:
        """Ask for sign-off on a proposed change, and keep its content."""
        ...

    def get(self, request: str) -> ApprovalRequest | None: ...

    def find(self, *, agent: AgentId | None = None, state: ApprovalState | None = None) -> Sequence[ApprovalRequest]:
        """Requests, oldest first."""
        ...

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        """What was proposed, exactly.

        Raises:
            NotFoundError: it is not kept (any more).
        """
        ...

    async def attach_assessment(self, request: str, operator: Operator, form: Mapping[str, Any]) -> Digest: ...

    async def vote(
        self,
        request: str,
        operator: Operator,
        *,
        role: Role,
        verdict: VoteVerdict,
        view_digest: Digest,
        comment: str,
        obligations: Sequence[Obligation] = (),
    ) -> ApprovalRequest:
        """The request after the vote."""
        ...

    async def withdraw(self, request: str, operator: Operator) -> ApprovalRequest: ...

    def clearance(self, request: str, *, operator: Operator) -> Clearance:
        """The sign-off, with everything it rests on checked again now.

        Raises:
            ForbiddenError: `clearance_required`: it is not there, or does not hold (any more).
        """
        ...

    def writes_to_use(self, view: StateView, request: str, now_us: int) -> Sequence[Write]:
        """Note that what was approved is put into force; nothing if that was noted before."""
        ...

    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        """Every open or unused request of an agent withdrawn."""
        ...

    async def mark_used(self, request: str, *, actor: Actor) -> None: ...

    async def lapse(self, request: str, why: str) -> ApprovalRequest:
        """Close an approved request that cannot be put into force (any more)."""
        ...

    async def remind(self) -> int:
        """Tell whoever is due to be told of requests that wait."""
        ...

    async def sweep(self) -> Sequence[ApprovalRequest]:
        """Record what has run out; those requests."""
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


class StoreAdapter(Protocol):
    """One opened store, whatever it is made of. Blocking; used by one thread at a time.

    It only says and does: what belongs to whom, what is held and what is deleted is decided above it, the same for
    every store, so a store cannot decide it. All of it raises UnavailableError (`store_unreachable`) if the store
    cannot do it, and InvalidInputError if a namespace cannot be one of its.
    """

    @property
    def version(self) -> str:
        """Of the adapter and of what it speaks to, for receipts."""
        ...

    def capabilities(self) -> Capabilities: ...

    def inventory(self) -> Sequence[Holding]:
        """Every namespace, by name."""
        ...

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        """At most so many items after a cursor. A namespace that is not there has none.

        Every item that stays throughout is given once, also while others that were given are deleted; the cursor of
        one process may be used in another as long as nothing was deleted.
        """
        ...

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        """Those of some items that are there, in any order."""
        ...

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        """Delete items; those that are not there are no error. Vectors go with their text."""
        ...

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        """Set a field of some items.

        Raises:
            InvalidInputError: the store cannot.
        """
        ...

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        """Make deleted bytes go: compact, rewrite, vacuum, and drop the namespace if it is `empty`. Can be repeated."""
        ...

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        """Look for bytes of deleted items wherever they could be left."""
        ...

    def close(self) -> None: ...


class StoreAdapters(Protocol):
    """Opens registered stores."""

    async def open(self, store: Store) -> StoreAdapter:
        """Raises UnavailableError (`store_unreachable`): it cannot be opened; the hint says what is missing."""
        ...

    async def destroy_key(self, store: Store, scope: str) -> KeyDestroyed:
        """Destroy the key that everything in a scope was encrypted under. Can be repeated.

        Raises:
            InvalidInputError: it is kept where nothing can be destroyed from here.
            UnavailableError: it is not there, or cannot be destroyed now.
        """
        ...

    async def key_gone(self, store: Store, ordered: KeyDestroyed) -> KeyDestroyed:
        """The same of a key whose destruction was ordered, as its service says now; ordered anew if it was taken back.

        Raises as `destroy_key`, but that it is not there any more is what was ordered.
        """
        ...


class Lenders(Protocol):
    """Keeps tokens that were lent for agents."""

    def lent_to(self, agent: AgentId) -> Sequence[str]:
        """Under which credentials one is kept now."""
        ...

    def take_back(self, agent: AgentId) -> Sequence[str]:
        """Forget them all, and revoke those that can be; under which credentials they were."""
        ...


class Delegations(Protocol):
    """Knows which agents hand work to which."""

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        """`callees` and `callers` of an agent."""
        ...

    async def propose(self, agent: Agent) -> Mapping[str, Any]:
        """The same, with the finding that was opened on each callee that nobody else needs; can be repeated.

        Raises:
            UnavailableError: one could not be made durable.
        """
        ...


class AbsenceProof(Protocol):
    """Looks whether anything still lets a retired agent in."""

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        """How many credentials are known and what becomes of them."""
        ...

    async def leave_to_people(self, agent: Agent) -> int:
        """Open a finding on each credential that is not ours to end; how many there are. Raises as `look`."""
        ...

    async def look(self, agent: Agent) -> Mapping[str, Any]:
        """`credentials` with what presenting each comes to, and `open`, what is left to people; can be repeated.

        Raises:
            UnavailableError: a finding on what is left could not be made durable.
        """
        ...


class StorePurges(Protocol):
    """Purges what agents kept in stores."""

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        """What retiring the agent would find, by what is known: `stores`, `planned`, and `open` as of `retire`."""
        ...

    async def retire(self, agent: Agent, procedure: Procedure) -> Mapping[str, Any]:
        """Purge it all: `stores`, `outcomes`, and `open`, what was not reached, checked or erased; can be repeated.

        Raises:
            UnavailableError: a store cannot be reached yet, or a sign-off is still missing.
        """
        ...


class Samples(Protocol):
    """Keeps, sealed and apart from everything else, what a running purge will look for on disk. Blocking."""

    def put(self, purge: str, samples: Sequence[bytes]) -> None: ...

    def get(self, purge: str) -> Sequence[bytes]: ...

    def drop(self, purge: str) -> None: ...


class LegalHolds(Protocol):
    """Knows what must be kept. Answers from memory."""

    def blocks(
        self,
        *,
        agent: AgentId | None = None,
        subject: str | None = None,
        store: str | None = None,
        at_us: int | None = None,
    ) -> tuple[str, ...]:
        """The ids of the holds that keep what is meant from being deleted; None is not known, and could be held.

        Raises:
            ConflictError: a hold is not what the log proves: nothing may be deleted.
        """
        ...


class FindsPersonal(Protocol):
    """Looks for personal data and secrets in a text: the built-in detector, or another behind the same port."""

    @property
    def name(self) -> str: ...

    def seen(self, text: str) -> tuple[Mapping[str, int], bool]:
        """How many different values of each kind, and whether all of the text was looked at."""
        ...

    def data_class(self, kind: str) -> str: ...
