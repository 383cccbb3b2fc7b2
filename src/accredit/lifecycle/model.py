"""Procedures, receipts and what is told of one agent, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId

__all__ = ["Done", "Procedure", "ProcedureKind", "RetirementReceipt", "Step"]


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


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was carried out."""

    step: Step
    at_us: int
    result: Mapping[str, Any]
    """Counts, digests and positions; goes into the receipt."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """An activation or retirement, perhaps half-way."""

    id: str
    kind: ProcedureKind
    agent: AgentId
    version: Digest
    by: PersonId
    credential: str
    reason: str
    """A person's words: shown to people, sealed in the log."""
    begun_us: int
    done: tuple[Done, ...] = ()
    ended_us: int | None = None


@dataclass(frozen=True, slots=True)
class RetirementReceipt:
    """What was done when an agent was retired."""

    agent: AgentId
    procedure: str
    steps: tuple[Done, ...]
    retired_us: int
    position: int
    """Seq of the control record that ended it."""
    open: tuple[str, ...]
    """What could not be reached, checked or erased, in plain words."""
