"""What one record tells the rules of immediate events. Pure; only headers and bodies are read."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.audit.model import StoredRecord
from accredit.audit.records import REPEATED, body_of, header_of
from accredit.enforcement.model import CallEnd
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId, ToolId
from accredit.monitoring.novelty import says_of_agent

__all__ = ["CallMade", "CallReturned", "MoreRefusals", "made_in"]

_FAILED = frozenset(
    {
        CallEnd.TOOL_ERROR.value,
        CallEnd.PROTOCOL_ERROR.value,
        CallEnd.UNREACHABLE.value,
        CallEnd.TIMEOUT.value,
    }
)
"""Ends that are errors. What was cancelled, revoked or withheld is somebody's decision."""


@dataclass(frozen=True, slots=True)
class CallMade:
    """A decision on a call."""

    position: int
    time_us: int
    agent: AgentId
    credential: CredentialId
    tool: ToolId | None
    session: str | None
    decision: str
    refused: bool
    """Denied, for what the agent did and not for how this installation was."""
    repeats: int
    circle: int
    turns: int
    waits: bool
    """It waits for a person, or was let through by one: it is repeated on purpose."""
    place: str
    version: str | None
    other_prompt: bool
    """Of a request to a model: it is told something else than what was approved."""


@dataclass(frozen=True, slots=True)
class CallReturned:
    """How a call ended."""

    position: int
    time_us: int
    agent: AgentId
    tool: ToolId | None
    failed: bool
    other_model: bool
    """Of a model: another one answered, by its provider's word."""


@dataclass(frozen=True, slots=True)
class MoreRefusals:
    """Equal refusals of a minute beyond those that have a record of their own."""

    position: int
    time_us: int
    agent: AgentId
    tool: ToolId | None
    count: int


def made_in(record: StoredRecord) -> CallMade | CallReturned | MoreRefusals | None:
    """What a record tells, if anything. Records of versions before these facts tell of no repetition and no place."""
    header = header_of(record)
    if not header["agent"] or header["kind"] not in {"decision", "outcome", REPEATED}:
        return None
    agent, tool = AgentId(header["agent"]), ToolId(header["tool"]) if header["tool"] else None
    body = body_of(record)
    match header["kind"]:
        case "decision":
            circle, turns = body.get("circle") or (0, 0)
            return CallMade(
                position=record.seq,
                time_us=header["time"],
                agent=agent,
                credential=CredentialId(body.get("credential") or ""),
                tool=tool,
                session=body.get("session"),
                decision=header["decision"],
                refused=header["decision"] == "deny" and _tells(body["code"]),
                repeats=body.get("repeats") or 0,
                circle=circle,
                turns=turns,
                waits=header["decision"] == "hold" or bool(body.get("grants")) or bool(body.get("hold")),
                place=body.get("place") or "",
                version=header["version"],
                other_prompt=body.get("prompt_approved") is False,
            )
        case "outcome":
            other = body.get("other_model") is not None
            return CallReturned(record.seq, header["time"], agent, tool, body.get("end") in _FAILED, other)
        case _:
            told = _tells(body["code"])
            return MoreRefusals(record.seq, header["time"], agent, tool, body["count"]) if told else None


def _tells(code: str) -> bool:
    """Whether a denial says how the agent behaves: one that was stopped is refused whatever it does."""
    return says_of_agent(code) and code != Code.AGENT_NOT_ACTIVE.value
