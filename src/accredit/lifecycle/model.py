"""Procedures, receipts and what is told of one agent, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId

__all__ = ["Done", "Planned", "Procedure", "ProcedureEnd", "ProcedureKind", "RetirementReceipt", "Step"]


class ProcedureKind(StrEnum):
    """What takes several steps."""

    ACTIVATE = "activate"
    RETIRE = "retire"


class Step(StrEnum):
    """What activation gives and retirement takes; `steps.py` of this room holds both orders and what each step does."""

    CREDENTIAL = "credential"
    """Activation lets instances enrol; retirement revokes every key, token and join token."""
    POLICY = "policy"
    """The approved version comes into force; its grants are withdrawn."""
    LIMITS = "limits"
    """Its ceilings are taken into account; its counters and reservations are given back."""
    AUDIT = "audit"
    """Where its records begin is noted; they are sealed under a checkpoint and archived with proofs."""
    BASELINE = "baseline"
    """Opened from the approved version; closed."""
    STORES = "stores"
    """What it may keep is written down; each store is reviewed and what cannot be shown to be gone is said."""
    ACCESS = "access"
    """Of a retirement alone: what was lent for it is taken back."""
    DELEGATES = "delegates"
    """Of a retirement alone: those that were there for it alone are named, for people to retire or suspend."""
    ABSENCE = "absence"
    """Of a retirement alone: every credential is presented once more, and what is not ours to end is left to people."""


class ProcedureEnd(StrEnum):
    """How a procedure ended."""

    COMPLETED = "completed"
    ABANDONED = "abandoned"
    """What it had given was taken back: its clearance did not hold to the end, or the agent was stopped meanwhile."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was carried out."""

    step: Step
    at_us: int
    result: Mapping[str, Any]
    """Counts, digests and positions; goes into the receipt."""
    open: tuple[str, ...] = ()
    """What it could not reach, check or erase, in plain words."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a step would do now."""

    step: Step
    does: str
    result: Mapping[str, Any]
    open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Procedure:
    """An activation or retirement, perhaps half-way."""

    id: str
    kind: ProcedureKind
    agent: AgentId
    version: Digest
    by: PersonId
    credential: str
    basis: str
    reason: str
    """A person's words: shown to people, sealed in the log."""
    begun_us: int
    request: str | None = None
    """The approval it rests on; of a retirement that needed none, none."""
    approvers: tuple[str, ...] = ()
    """Of a retirement: who signed it off."""
    plan: Digest | None = None
    """Of a retirement: what was confirmed or signed off."""
    done: tuple[Done, ...] = ()
    ended_us: int | None = None
    outcome: ProcedureEnd | None = None

    def did(self, step: Step) -> bool:
        """Whether the step is done."""
        return any(each.step is step for each in self.done)


@dataclass(frozen=True, slots=True)
class RetirementReceipt:
    """What was done when an agent was retired."""

    agent: AgentId
    procedure: str
    steps: tuple[Done, ...]
    retired_us: int
    open: tuple[str, ...]
    """What could not be reached, checked or erased, in plain words."""

    @property
    def checkpoint(self) -> str:
        """The signed checkpoint that the agent's archive stands under."""
        return next(str(done.result["checkpoint"]) for done in self.steps if done.step is Step.AUDIT)
