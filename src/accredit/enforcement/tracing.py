"""Spans of our own about the calls that take this path: what they are, and where they stand in their caller's trace.

A span tells which agent called which registered tool or model, when, and what came of it. INVARIANT: nothing that an
agent, a user or a tool said stands in one: no arguments, results, prompts, unknown names or labels, and no credential.
"""

from __future__ import annotations

from dataclasses import dataclass

from accredit.enforcement.model import CallEnd
from accredit.kernel.codes import Code
from accredit.kernel.ids import DecisionId
from accredit.policy.model import Outcome
from accredit.registry.model import Agent, Tool

__all__ = ["CallSpan", "FinishedCall"]


@dataclass(frozen=True, slots=True)
class CallSpan:
    """The span of one call, while it lasts."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    """The caller's span; empty where it named none."""

    @property
    def traceparent(self) -> str:
        """What is passed on to the tool server, so that its spans are children of this one (W3C Trace Context §3.2)."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-01"


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A call that is over: refused, or ended."""

    span: CallSpan
    decision_id: DecisionId
    protocol: str
    agent: Agent | None
    tool: Tool | None
    """None: no registered one."""
    outcome: Outcome
    code: Code
    """Of a refusal, or of an end that was none of the tool's."""
    policies: tuple[str, ...]
    """That determined the outcome, by id."""
    started_us: int
    decided_us: int
    """How long deciding took."""
    duration_us: int
    end: CallEnd | None = None
    """None: it was not let through."""
    tokens: tuple[int, int] | None = None
