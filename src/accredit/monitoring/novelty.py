"""What a record of the log tells for the first time: a tool, a destination, a data class, a denial, a ghost. Pure.

Read from headers and bodies alone; sealed parts stay sealed. Nothing an agent chooses stands there in clear, so
nothing it chooses can become the matter of an alert: a name that no tool has is one matter, whatever the name.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from accredit.audit.model import StoredRecord
from accredit.audit.records import body_of, header_of
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId, ToolId
from accredit.monitoring.model import AlertKind, Deviation

__all__ = [
    "FOLDED",
    "MANY",
    "NOVELTIES",
    "UNREGISTERED",
    "KnownBehaviour",
    "SeenCall",
    "SeenRefusal",
    "SeenStranger",
    "ghost",
    "ghost_call",
    "novelties",
    "says_of_agent",
    "seen_in",
    "stopped_call",
    "used_after",
]

NOVELTIES: Final = frozenset(
    {
        AlertKind.FIRST_DENIAL,
        AlertKind.NEW_DATA_CLASS,
        AlertKind.NEW_DESTINATION,
        AlertKind.NEW_HOURS,
        AlertKind.NEW_TOOL,
        AlertKind.POSTURE_INSTRUCTIONS,
    }
)
"""Of these there is one alert ever: what was resolved once is not new again."""

UNREGISTERED: Final = "unregistered"
"""The matter of an alert on names that no registered tool has."""

MANY: Final = "many"
"""The matter of the alert that stands for all further ones of its kind on an agent that has very many."""

FOLDED: Final = NOVELTIES | {
    AlertKind.ERROR_RISE,
    AlertKind.LOOP,
    AlertKind.REVOKED_USE,
    AlertKind.SHARED_KEY,
    AlertKind.TASK_MISMATCH,
}
"""Of these an agent has so many alerts at most, and one for all further ones (`MANY`)."""

_SHOWN: Final = 100
_NOTICED_US: Final = 300_000_000

_NOT_BEHAVIOUR: Final = {
    code.value
    for code in (
        Code.ATTEMPTS_LIMITED,
        Code.AUDIT_UNAVAILABLE,
        Code.CLOCK_UNCONFIRMED,
        Code.CONCURRENCY_LIMITED,
        Code.DEFINITION_CHANGED,
        Code.DEFINITION_UNVERIFIED,
        Code.DISK_LOW,
        Code.ENGINE_FAILED,
        Code.INTERNAL,
        Code.LIMITS_UNAVAILABLE,
        Code.NO_DECISION,
        Code.RATE_LIMITED,
        Code.SNAPSHOT_STALE,
        Code.UPSTREAM_CREDENTIAL,
    )
}
"""Denials that say how this installation or its tool servers were, not what the agent did."""


_STRANGE: Final = {
    code.value
    for code in (
        Code.TOKEN_ALGORITHM,
        Code.TOKEN_HEADER,
        Code.TOKEN_ISSUER,
        Code.TOKEN_KEY_UNKNOWN,
        Code.TOKEN_MALFORMED,
        Code.TOKEN_SIGNATURE,
        Code.TOKEN_TYPE,
    )
}
"""Refusals of whoever shows a credential of somebody else's, or none that there ever was."""


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A decision as its record tells it."""

    position: int
    time_us: int
    agent: AgentId
    version: str | None
    tool: ToolId | None
    data: tuple[str, ...]
    decision: str
    code: str = ""
    """Of a denial: why."""
    definition: str | None = None
    """Of a denial: the digest the tool was pinned to."""
    unregistered: bool = False
    """Of a denial: whether no registered tool has the name that was called."""
    in_program: bool = False
    """What is defined otherwise is the function in the agent's own program, which it asked about."""
    detected: bool = False
    """The data classes are what was found in the result, and nothing of the tool or the agent accounts for."""


@dataclass(frozen=True, slots=True)
class SeenRefusal:
    """Somebody was turned away who proved a credential that does not count."""

    position: int
    time_us: int
    credential: CredentialId
    code: str


@dataclass(frozen=True, slots=True)
class SeenStranger:
    """Somebody was turned away with a credential that nobody here was given."""

    position: int
    time_us: int
    code: str


@dataclass(frozen=True, slots=True)
class KnownBehaviour:
    """What is nothing new: the approved sets, and where the call's tool leads."""

    tools: AbstractSet[ToolId]
    data: AbstractSet[str]
    masked: AbstractSet[str]
    """Data classes of this tool that the gateway takes out before the agent sees them."""
    destinations: AbstractSet[str]
    destination: str | None
    """The origin of the tool's server; None if it has none any more."""


def says_of_agent(code: str) -> bool:
    """Whether a denial for that reason says what the agent did, and not how this installation was."""
    return code not in _NOT_BEHAVIOUR


def seen_in(record: StoredRecord) -> SeenCall | SeenRefusal | SeenStranger | None:
    """What a record tells this room, if anything."""
    header = header_of(record)
    match header["kind"]:
        case "decision":
            denied = header["decision"] == "deny"
            body = body_of(record) if denied else {}  # what else a body says of a call is nothing new
            return SeenCall(
                position=record.seq,
                time_us=header["time"],
                agent=AgentId(header["agent"]),
                version=header["version"],
                tool=ToolId(header["tool"]) if header["tool"] else None,
                data=tuple(header["data_classes"] or ()),
                decision=header["decision"],
                code=body["code"] if denied else "",
                definition=body["definition"] if denied else None,
                unregistered=denied and body["unknown_tool"] is not None,
            )
        case "advice":
            body = body_of(record)
            if body.get("signature") != "other" or not header["tool"]:
                return None
            return SeenCall(
                position=record.seq,
                time_us=header["time"],
                agent=AgentId(header["agent"]),
                version=header["version"],
                tool=ToolId(header["tool"]),
                data=(),
                decision="deny",  # whether it was let through or not: it is no use of a tool
                code=Code.DEFINITION_CHANGED.value,
                definition=body["definition"],
                in_program=True,
            )
        case "outcome":
            undeclared = body_of(record).get("undeclared")
            if not undeclared:
                return None
            return SeenCall(
                position=record.seq,
                time_us=header["time"],
                agent=AgentId(header["agent"]),
                version=header["version"],
                tool=ToolId(header["tool"]) if header["tool"] else None,
                data=tuple(undeclared),
                decision="allow",
                detected=True,
            )
        case "refused.authentication":
            body = body_of(record)
            if body["credential"] is None:
                strange = body["code"] in _STRANGE
                return SeenStranger(record.seq, header["time"], body["code"]) if strange else None
            return SeenRefusal(record.seq, header["time"], CredentialId(body["credential"]), body["code"])
        case _:
            return None


def novelties(call: SeenCall, known: KnownBehaviour) -> tuple[Deviation, ...]:
    """What of a call was never seen, as far as the approved sets tell; whether it was seen before, its alerts tell."""
    found = []
    denied = call.decision == "deny"

    def find(kind: AlertKind, matter: str, expected: AbstractSet[str] = frozenset()) -> None:
        evidence = {
            "code": call.code or None,
            "decision": call.decision,
            "expected": sorted(expected)[:_SHOWN],
            "record": call.position,
            "seen": matter,
        }
        found.append(Deviation(call.agent, kind, matter, evidence, call.time_us, call.position, call.tool))

    if call.detected:
        for name in sorted(set(call.data) - known.data):
            find(AlertKind.NEW_DATA_CLASS, name, known.data)
        return tuple(found)
    if call.tool is not None and call.code == Code.DEFINITION_CHANGED.value:
        where = "in the agent's own program" if call.in_program else "at the tool server"
        evidence = {"expected": call.definition, "record": call.position, "seen": f"another one {where}"}
        found.append(
            Deviation(
                call.agent,
                AlertKind.POSTURE_DEFINITION,
                call.tool,
                evidence,
                call.time_us,
                call.position,
                call.tool,
            )
        )
    if call.unregistered:
        find(AlertKind.NEW_TOOL, UNREGISTERED, known.tools)
    elif call.tool is not None and call.tool not in known.tools:
        find(AlertKind.NEW_TOOL, call.tool, known.tools)
    if not denied or call.code == Code.DATA_CLASS_UNDECLARED.value:
        for name in sorted(set(call.data) - known.masked - known.data):
            find(AlertKind.NEW_DATA_CLASS, name, known.data)
    if not denied and known.destination is not None and known.destination not in known.destinations:
        find(AlertKind.NEW_DESTINATION, known.destination, known.destinations)
    if denied and says_of_agent(call.code):
        find(AlertKind.FIRST_DENIAL, call.tool or (UNREGISTERED if call.unregistered else call.code))
    return tuple(found)


def ghost(refusal: SeenRefusal, agent: AgentId) -> Deviation:
    """A retired agent's credential is still in use."""
    evidence = {"code": refusal.code, "record": refusal.position}
    return Deviation(agent, AlertKind.GHOST, refusal.credential, evidence, refusal.time_us, refusal.position)


def used_after(refusal: SeenRefusal, agent: AgentId, why: str) -> Deviation:
    """What was taken from an agent that is still there is in use: its credential is revoked or locked."""
    evidence = {"code": refusal.code, "record": refusal.position, "why": why}
    return Deviation(agent, AlertKind.REVOKED_USE, refusal.credential, evidence, refusal.time_us, refusal.position)


def stopped_call(call: SeenCall, since_us: int) -> Deviation | None:
    """An agent that was stopped goes on calling, longer than it takes to notice that everything is refused."""
    if call.code != Code.AGENT_NOT_ACTIVE.value or call.time_us < since_us + _NOTICED_US:
        return None
    evidence = {"code": call.code, "record": call.position, "since_us": since_us}
    return Deviation(call.agent, AlertKind.REVOKED_USE, "call", evidence, call.time_us, call.position, call.tool)


def ghost_call(call: SeenCall) -> Deviation:
    """A call of an agent was let through after it was retired: what must not be."""
    evidence = {"decision": call.decision, "record": call.position}
    return Deviation(call.agent, AlertKind.GHOST, "call", evidence, call.time_us, call.position, call.tool)
