"""Calls in a real log in memory, as the path of a call writes them as far as profiles read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accredit.audit.model import Entry, Facts, Part, Usage
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.following import SessionProfiles
from accredit.monitoring.profiles.ports import ProfileStore
from accredit.storage.memory.records import MemoryRecordStore
from tests.audit.building import STREAM, appended, keys, sealer, writing

A, B = AgentId("agt_a"), AgentId("agt_b")
MINUTE_US = 60_000_000
IDLE_US = 30 * MINUTE_US
BEGAN_US = 20_600 * 86_400_000_000 + 9 * 3_600_000_000
PIN = Digest("sha256:" + "d" * 64)
DEFINITION = '{"name": "pay_invoice", "inputSchema": {"properties": {"iban": {}, "speed": {"enum": ["slow", "fast"]}}}}'


@dataclass
class Call:
    """One call, and how it ended."""

    at_us: int
    agent: AgentId = A
    session: str | None = "ses_1"
    tool: str = "erp/pay_invoice"
    decision: str = "allow"
    end: str | None = "ok"
    """None: it never returned."""
    took_us: int = 250_000
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"iban": "DE89370400440532013000", "speed": "fast"})
    result: Mapping[str, Any] | None = None
    cost_nanos: int = 0
    model: bool = False
    user: str | None = "psd_u"
    task: str | None = None
    reason: str | None = None
    effect: str = "external"
    detected: Mapping[str, int] | None = None
    advice: bool = False


def entries(calls: Iterable[Call]) -> list[Entry]:
    """Decisions and outcomes in the order of their times."""
    made: list[Entry] = []
    for number, call in enumerate(calls):
        facts: dict[str, Any] = {
            "agent": call.agent, "version": "sha256:v", "environment": "production", "tool": call.tool,
            "effect": call.effect, "scope": None, "data_classes": ("internal",), "action": "enforced",
        }  # fmt: skip
        body = {
            "asked_by": call.agent if call.advice else None,
            "decision_id": f"dec_{number}",
            "definition": None if call.model else PIN,
            "protocol": "llm/openai-chat" if call.model else "mcp",
            "reason": call.reason,
            "session": call.session,
            "task": call.task,
            "user": call.user,
        }
        kind = "advice" if call.advice else "decision"
        allowed = call.decision == "allow"
        made.append(
            Entry(
                Facts(kind, decision=call.decision, **facts),
                call.at_us,
                body,
                (Part("arguments", dict(call.arguments)),),
                usage=Usage(allows=allowed),
                refused=not allowed,
            )
        )
        if allowed and call.end is not None and not call.advice:
            outcome: dict[str, Any] = {
                "decision_id": f"dec_{number}", "detected": dict(call.detected) if call.detected else None,
                "duration_us": call.took_us, "end": call.end, "sent": True,
                "settled": {"id": "rsv", "cost": call.cost_nanos} if call.cost_nanos else None,
                "size": 100, "undeclared": [],
            }  # fmt: skip
            parts = (Part("result", dict(call.result)),) if call.result is not None else ()
            made.append(
                Entry(
                    Facts("outcome", decision="allow", **facts),
                    call.at_us + call.took_us,
                    outcome,
                    parts,
                    usage=Usage(),
                )
            )
    return sorted(made, key=lambda one: one.time_us)


def logged(calls: Iterable[Call], held: MemoryRecordStore | None = None) -> MemoryRecordStore:
    """The log with these calls at its end."""
    store = held or MemoryRecordStore(STREAM)
    with writing(store, clock=ScriptedClock(BEGAN_US)) as log:
        appended(log, entries(calls))
    return store


def following(log: MemoryRecordStore, store: ProfileStore) -> SessionProfiles:
    """Profiles as a process that starts keeps them up."""
    return SessionProfiles(
        log,
        store,
        keys=keys(),
        sealer=sealer(),
        idle_us=IDLE_US,
        definition=lambda digest: DEFINITION if digest == PIN else None,
    )
