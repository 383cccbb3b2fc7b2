"""The kinds of control state this room stores, and their reading and writing.

kind         key             document
procedure    agent id        the agent's newest activation or retirement: how far it is, and whose word it rests on
receipt      agent id        what was done when it was retired; never removed
certificate  certificate id  what was certified of its retirement (`certificates.py`); never removed
succession   agent id        that its owner left: who is asked, who took over, how far it is narrowed; goes at its end
tier_deadline agent id       {due_us, stage}: when an agent whose tier rose is suspended, and how often people were told

A procedure's `nonce` keeps the digest of its row, which stands in the log in clear, from giving away the words in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.model import Done, Procedure, ProcedureEnd, ProcedureKind, RetirementReceipt, Step
from accredit.lifecycle.succession import AskedAs, Succession, SuccessionStep, SuccessionTurn

__all__ = [
    "PROCEDURE",
    "RECEIPT",
    "SUCCESSION",
    "TIER_DEADLINE",
    "procedure_doc",
    "procedure_from",
    "receipt_doc",
    "receipt_from",
    "succession_doc",
    "succession_from",
]

PROCEDURE: Final = "procedure"
RECEIPT: Final = "receipt"
SUCCESSION: Final = "succession"
TIER_DEADLINE: Final = "tier_deadline"


def _done_doc(done: Done) -> dict[str, Any]:
    return {"at_us": done.at_us, "open": list(done.open), "result": dict(done.result), "step": done.step.value}


def _done_from(doc: Mapping[str, Any]) -> Done:
    return Done(Step(doc["step"]), doc["at_us"], doc["result"], tuple(doc["open"]))


def procedure_doc(procedure: Procedure, *, nonce: str) -> dict[str, Any]:
    return {
        "agent": procedure.agent,
        "approvers": list(procedure.approvers),
        "basis": procedure.basis,
        "begun_us": procedure.begun_us,
        "by": procedure.by,
        "credential": procedure.credential,
        "done": [_done_doc(each) for each in procedure.done],
        "ended_us": procedure.ended_us,
        "id": procedure.id,
        "kind": procedure.kind.value,
        "nonce": nonce,
        "outcome": procedure.outcome.value if procedure.outcome else None,
        "plan": procedure.plan,
        "reason": procedure.reason,
        "request": procedure.request,
        "version": procedure.version,
    }


def procedure_from(doc: Mapping[str, Any]) -> Procedure:
    return Procedure(
        id=doc["id"],
        kind=ProcedureKind(doc["kind"]),
        agent=AgentId(doc["agent"]),
        version=Digest(doc["version"]),
        by=PersonId(doc["by"]),
        credential=doc["credential"],
        basis=doc["basis"],
        reason=doc["reason"],
        begun_us=doc["begun_us"],
        request=doc["request"],
        approvers=tuple(doc.get("approvers", ())),  # older rows have neither
        plan=Digest(doc["plan"]) if doc.get("plan") else None,
        done=tuple(_done_from(each) for each in doc["done"]),
        ended_us=doc["ended_us"],
        outcome=ProcedureEnd(doc["outcome"]) if doc["outcome"] else None,
    )


def receipt_doc(receipt: RetirementReceipt) -> dict[str, Any]:
    return {
        "agent": receipt.agent,
        "open": list(receipt.open),
        "procedure": receipt.procedure,
        "retired_us": receipt.retired_us,
        "steps": [_done_doc(each) for each in receipt.steps],
    }


def receipt_from(doc: Mapping[str, Any]) -> RetirementReceipt:
    return RetirementReceipt(
        agent=AgentId(doc["agent"]),
        procedure=doc["procedure"],
        steps=tuple(_done_from(each) for each in doc["steps"]),
        retired_us=doc["retired_us"],
        open=tuple(doc["open"]),
    )


def succession_doc(one: Succession) -> dict[str, Any]:
    return {
        "accepted_by": one.accepted_by,
        "accepted_us": one.accepted_us,
        "asked_as": one.turn.as_.value,
        "asked": list(one.turn.persons),
        "began_us": one.began_us,
        "id": one.id,
        "owner": one.owner,
        "step": one.step.value,
    }


def succession_from(key: str, doc: Mapping[str, Any]) -> Succession:
    return Succession(
        id=doc["id"],
        agent=AgentId(key),
        owner=PersonId(doc["owner"]),
        began_us=doc["began_us"],
        turn=SuccessionTurn(AskedAs(doc["asked_as"]), tuple(PersonId(one) for one in doc["asked"])),
        step=SuccessionStep(doc["step"]),
        accepted_by=doc["accepted_by"],
        accepted_us=doc["accepted_us"],
    )
