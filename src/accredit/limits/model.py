"""What may still be spent: reservations and refusals."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import AgentLimits

__all__ = ["LimitRefusal", "Reservation", "Spend"]


@dataclass(frozen=True, slots=True)
class Spend:
    """What one admitted call would use up."""

    agent: AgentId
    tool: ToolId
    limits: AgentLimits
    cost_nanos: int
    currency: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """Taken room, to be settled or released exactly once."""

    id: str
    agent: AgentId
    cost_nanos: int
    window: str
    """The budget window reserved in (`2026-11-22`, UTC day); settled in the same one."""


@dataclass(frozen=True, slots=True)
class LimitRefusal:
    """No room: which limit, and when there may be again."""

    code: Code
    retry_after_s: float
    detail: str
