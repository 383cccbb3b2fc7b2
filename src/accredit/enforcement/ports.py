"""The controls one call passes, each a port of its own: each can be replaced, and the demo proves each is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from accredit.approvals.model import HeldCall, Hold, HoldRefusal, HoldState
from accredit.audit.ports import AuditLog
from accredit.enforcement.model import CallEnd
from accredit.enforcement.tracing import CallSpan, FinishedCall
from accredit.identity.model import Principal
from accredit.identity.providers import ProvidedFacts
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.detector import Sensitive
from accredit.kernel.ids import AgentId, CredentialId, HoldId, ServerName, ToolId
from accredit.limits.model import LimitRefusal, Reservation, Spend
from accredit.policy.model import CallRequest, Decision, ExternalRequest, HoldNeed, Outcome
from accredit.policy.ports import VetoAnswer
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry.model import Agent, Tool, ToolServer
from accredit.registry.schemas import ArgumentFault

__all__ = [
    "CallMeasures",
    "CallTracer",
    "Controls",
    "CredentialBroker",
    "DefinitionWatch",
    "FactControl",
    "HoldControl",
    "OutsideVeto",
    "SpendControl",
    "TokenVerifier",
]


class TokenVerifier(Protocol):
    """Says who a bearer token proves, or refuses."""

    def verify(self, token: str, *, path: str) -> Principal:
        """Verify one access token for use at `path` (under the public URL). Cached; no I/O.

        Raises:
            UnauthenticatedError: with the token's own reason code, for the record; the caller of the API is told one
                constant text.
        """
        ...

    def still_valid(self, principal: Principal) -> Code | None:
        """Re-check epoch, credential and expiry now; None if all hold. Must be cheap: called before every send."""
        ...


class CredentialBroker(Protocol):
    """Holds upstream credentials; agents never see them."""

    async def headers(self, server: ToolServer, principal: Principal | None) -> Mapping[str, str]:
        """The headers to inject for that server, whose URL must have the origin the credential is pinned to.

        `principal` is whose call it is; None: the gateway itself asks, for definitions. May ask an authorization
        server for a token, bounded in time; for what is at hand it does not wait.

        Raises:
            UnavailableError: the credential is missing, pinned to another origin, or no token was to be had for it.
        """
        ...


class DefinitionWatch(Protocol):
    """Knows whether a server still offers a tool exactly as pinned."""

    async def refusal(self, server: ServerName, tool: Tool) -> Code | None:
        """None if the tool was seen at the server as pinned within the last 30 s (asks the server if not).

        Else `definition_changed` or `definition_unverified`.
        """
        ...

    def forget(self, server: ServerName) -> None:
        """Trust no earlier look at this server: it was registered or pinned anew."""
        ...


class SpendControl(Protocol):
    """Counts attempts, and takes rate, concurrency and money before a call and settles them after."""

    def attempt(self, credential: CredentialId | None, source: str) -> LimitRefusal | None: ...

    def reserve(self, spend: Spend, *, now: Instant | None = None) -> Reservation | LimitRefusal: ...

    def release(self, reservation: Reservation) -> bool: ...

    def settle(self, reservation: Reservation, cost_nanos: int) -> bool: ...


class HoldControl(Protocol):
    """Asks people about a call, and uses what they gave exactly once."""

    def any_granted(self, agent: AgentId) -> bool: ...

    def grants_for(self, request: Digest) -> frozenset[str]: ...

    def state(self, hold: HoldId, agent: AgentId, request: Digest) -> HoldState | None: ...

    async def open(self, call: HeldCall, needs: Iterable[HoldNeed]) -> Hold | HoldRefusal: ...

    async def consume(
        self, request: Digest, policies: Collection[str], *, credential: CredentialId
    ) -> tuple[str, ...] | HoldRefusal: ...


class OutsideVeto(Protocol):
    """An engine outside of this process that may refuse what our policies let through."""

    async def ask(self, document: bytes) -> VetoAnswer:
        """What it says of one call, given as JSON. A failure is a refusal with a fault, never an error."""
        ...


class FactControl(Protocol):
    """Knows of users and tasks what registered providers say."""

    async def of(self, principal: Principal, wanted: Iterable[tuple[str, str]] | None) -> ProvidedFacts:
        """What is known of that user and task, within the time registered. Never raises to say no."""
        ...


class CallTracer(Protocol):
    """Keeps spans of calls and sends them somewhere, or drops them: it can hold up nothing and refuse nothing."""

    def began(self, caller: tuple[bytes, bytes] | None) -> CallSpan:
        """The span of a call that was made within that span of its caller's."""
        ...

    def finished(self, call: FinishedCall) -> None: ...


class CallMeasures(Protocol):
    """Counts what happens on the path. It can refuse nothing, and must cost next to nothing."""

    def decided(self, protocol: str, outcome: Outcome, code: Code, duration_us: int) -> None: ...

    def recorded(self, duration_us: int) -> None: ...

    def ended(
        self, protocol: str, end: CallEnd, duration_us: int, cost_nanos: int, tokens: tuple[int, int] | None
    ) -> None: ...

    def detected(self, kind: Sensitive, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Controls:
    """Everything that can say no to a call."""

    verifier: TokenVerifier
    definitions: DefinitionWatch
    broker: CredentialBroker
    spend: SpendControl
    holds: HoldControl
    validate: Callable[[Tool, Mapping[str, Any]], ArgumentFault | None]
    decide: Callable[[CallRequest | ExternalRequest, PolicySnapshot], Decision]
    listed: Callable[[Agent, ToolId, PolicySnapshot], bool]
    audit: AuditLog
    outside: OutsideVeto | None = None
    facts: FactControl | None = None
