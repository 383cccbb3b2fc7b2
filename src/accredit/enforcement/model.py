"""One call on its way through: what a protocol hands in, and what it gets back. Values only, but for `Admitted`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.approvals.model import Hold, HoldState
from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.ids import DecisionId, HoldId, ServerName
from accredit.kernel.money import Money
from accredit.policy.model import Outcome, ToolCallRule
from accredit.registry.items import ItemKind
from accredit.registry.model import Tool, ToolServer

__all__ = ["Admitted", "Advice", "AskedCall", "Call", "CallEnd", "CallResult", "Refused", "WeighedCall"]


@dataclass(frozen=True, slots=True)
class Call:
    """One `tools/call` as a protocol understood it. Sizes were capped and JSON read strictly before."""

    principal: Principal
    server: ServerName | None
    """None: the client named a tool among those of all servers, and no server of its environment can have it."""
    tool: str
    """The server's own tool name; as sent where there is no server. Of an item: its name among the tools."""
    arguments: Mapping[str, Any]
    protocol: str
    """For the record: `mcp/2026-07-28`, `mcp/2025-11-25`."""
    source: str
    """The peer's address."""
    run_label: str | None = None
    """The client's own label of its run: never trusted, only a label (DESIGN §3.15)."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """The agent's own claims; they never satisfy a verified condition."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What its client answers to what the tool server asked before: as much the agent's own word as `declared`, among
    which policies find it."""
    denied: DecisionId | None = None
    """The advice that a person had to approve this, which the agent now asks for."""
    asked_by: str | None = None
    """The enforcement point that asks whether this call would be allowed; None: the agent itself speaks."""
    signature: str | None = None
    """What the function takes that the agent's own program would run, by its word (`kernel.signatures`)."""
    objection: Code | None = None
    """Why the protocol it came in by does not let it through, whatever policies say."""
    reason: DecisionId | None = None
    """The decision on the model's answer that asks for this, where that is known already."""
    named_call: str | None = None
    """The provider's id of the model's call that this one is, by the agent's word."""
    results: tuple[str, ...] = ()
    """Of a request to a model: the provider's names of the calls whose results it brings, oldest first."""
    system_texts: tuple[str, ...] = ()
    """Of a request to a model: what its program tells the model to be and to do."""
    cost: Money | None = None
    """What it can cost at worst, if that depends on the call; None: the price of its tool."""
    item: ItemKind | None = None
    """What kind of item it reads; None: it calls a tool or model. What has the name and is not of that kind is not
    meant."""
    completes: str | None = None
    """The argument of an item for which its server is asked what could stand there."""
    watches: bool = False
    """Whether it does not read its item, but wants to be told when that changes."""
    resumes: DecisionId | None = None
    """The decision on a call whose end an earlier process did not see: it is not made again, its server is only asked
    how it ended."""
    span: tuple[bytes, bytes] | None = None
    """Trace and span id that the caller said it is in (W3C `traceparent`): only to know its own telemetry again."""
    sampled: bool = True
    """False if the caller said with it that nobody records this trace."""
    hold: HoldId | None = None
    """The hold this call says it continues; taken only from state this gateway sealed, or from the agent's `_meta`
    (it names a hold, it proves nothing)."""


class CallEnd(StrEnum):
    """How an admitted call ended."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    PROTOCOL_ERROR = "protocol_error"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    """Cancelled by us because the credential, agent or server was revoked, halted or restricted meanwhile."""
    INPUT_REQUIRED = "input_required"
    """The tool server asked for something first: nothing is done yet, as far as it says."""
    WITHHELD = "withheld"
    """The server answered, and the agent was not told: the answer holds a class that the agent was not approved for, or
    cannot be shown to be free of a masked one."""


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that a model asks its agent to make."""

    name: str
    """As the agent told the model: the tool's own name, or one with its server's before it."""
    arguments: str
    """JSON."""
    id: str = ""
    """The provider's own name of this call, which comes back with its result."""


@dataclass(frozen=True, slots=True)
class WeighedCall:
    """What a call that a model asks for would come to, if its agent made it. On record as advice."""

    decisions: tuple[DecisionId, ...] = ()
    """One for each registered tool that the name can mean; none: there is no such tool."""
    code: Code = Code.ALLOWED
    """Of the first that was not allowed."""
    policies: tuple[str, ...] = ()
    hold: HoldId | None = None
    """That waits for a person."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """What is recorded as the outcome."""

    end: CallEnd
    code: Code | None = None
    size: int = 0
    """Bytes received from the tool server."""
    result: Mapping[str, Any] | None = None
    """The JSON-RPC result object, sealed into the outcome record; None when there was none."""
    sent: bool = True
    """False if the request body provably never left: nothing is charged."""
    cost_nanos: int | None = None
    """What it did cost; None: what was reserved."""
    tokens: tuple[int, int] | None = None
    """Of a language model: input and output, as its provider counted them."""


@dataclass(slots=True)
class Admitted:
    """A call that may be forwarded now, once. The decision record is durable."""

    decision_id: DecisionId
    call: Call
    tool: Tool
    server: ToolServer
    """As it was when this was decided: the re-check refuses if it has another place since."""
    headers: Mapping[str, str] = field(repr=False)
    """The brokered upstream credential. Never to be shown to the agent."""
    call_timeout_s: float
    run_timeout_s: float
    """How long its agent may be at work on anything."""
    recheck: Callable[[], None]
    """INVARIANT: called as the very first statement of writing the request body (DESIGN §3.12).

    Raises UnauthenticatedError or UnavailableError if the call may no longer be sent."""
    elicitation: frozenset[str] = frozenset()
    """How the tool server may ask the agent's user for something."""
    masked: frozenset[str] = frozenset()
    """Properties that must be taken out of the result, at any depth, before the agent sees any of it."""
    tool_calls: ToolCallRule | None = None
    """Of a request to a model: what must be done with the tool calls in its answer before the agent sees them."""
    traceparent: str | None = None
    """What to pass on as trace context, if we trace this call ourselves; None: the caller's own."""
    cancel: Callable[[Code], None] | None = None
    """Set by the protocol while the call is in flight; revocation calls it from the event loop."""

    @property
    def url(self) -> str:
        """Of the tool server."""
        return self.server.url


@dataclass(frozen=True, slots=True)
class Advice:
    """What a call, or a question of an enforcement point, comes to. It is on record, and nothing was reserved."""

    decision_id: DecisionId
    outcome: Outcome
    code: Code
    request: Digest | None = None
    """Of a hold, or where an approval was named: exactly what a person would approve."""
    hold: Hold | None = None
    """That was opened for it, or that the caller named as its approval."""
    standing: HoldState | None = None
    """Where the approval that the caller named stood before; None if it is none for this."""

    @property
    def allowed(self) -> bool:
        """Whether the caller may go ahead."""
        return self.outcome is Outcome.ALLOW


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not be forwarded. Everything here may be told to the agent."""

    code: Code
    message: str
    hint: str = ""
    decision_id: DecisionId | None = None
    policies: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    detail: str = ""
    retry_after_s: float | None = None
    hold: HoldId | None = None
    """Set with code `held`: the hold that waits for a person."""
    roles: tuple[str, ...] = ()
    """With a hold: the roles that must approve."""
    expires_us: int | None = None
