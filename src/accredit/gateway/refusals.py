"""What an agent is told when a call is not forwarded, or came to nothing: a result it can read and a code it can test.

Policy, limit and hold refusals of `tools/call` are results with `isError`, so that a model sees the reason and the
remedy; nothing here says how the inside works. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accredit.enforcement.model import CallEnd, Refused
from accredit.gateway.elicitation import ELICITATION
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError

__all__ = ["APPROVAL_KEY", "approval_request", "end_of", "failure", "input_required", "refusal_result"]

APPROVAL_KEY = "approval"

_ENDS = {
    Code.CALL_TIMEOUT: CallEnd.TIMEOUT,
    Code.CONNECT_TIMEOUT: CallEnd.UNREACHABLE,
    Code.FIRST_BYTE_TIMEOUT: CallEnd.TIMEOUT,
    Code.IDLE_TIMEOUT: CallEnd.TIMEOUT,
    Code.CANCELLED: CallEnd.CANCELLED,
    Code.UPSTREAM_UNREACHABLE: CallEnd.UNREACHABLE,
    Code.UPSTREAM_INVALID: CallEnd.PROTOCOL_ERROR,
    Code.UPSTREAM_OVERSIZED: CallEnd.PROTOCOL_ERROR,
    Code.UPSTREAM_REDIRECT: CallEnd.PROTOCOL_ERROR,
    Code.RESULT_UNDECLARED: CallEnd.WITHHELD,
    Code.RESULT_UNMASKABLE: CallEnd.WITHHELD,
    Code.INTERNAL: CallEnd.PROTOCOL_ERROR,
}


def end_of(code: Code) -> CallEnd:
    """How a call ended that was stopped with this code; whatever is not the call's own end is a revocation."""
    return _ENDS.get(code, CallEnd.REVOKED)


def failure(code: Code, *, error: AccreditError | None = None) -> Refused:
    """What the agent learns of a call that was admitted and came to nothing."""
    if error is not None:
        return Refused(code, error.message, error.hint)
    return Refused(code, code.meaning, code.remedy)


def refusal_result(refused: Refused) -> dict[str, Any]:
    """The `isError` result of a call that was refused or failed."""
    lines = [f"{refused.code}: {refused.message}"]
    if refused.detail:
        lines.append(refused.detail)
    if refused.unmet:
        lines.append("unmet: " + "; ".join(refused.unmet))
    if refused.policies:
        lines.append("policy: " + ", ".join(refused.policies))
    if refused.hold is not None:
        lines.append(f"hold: {refused.hold}")
    if refused.retry_after_s is not None:
        lines.append(f"retry after {refused.retry_after_s:g} s")
    if refused.hint:
        lines.append(f"hint: {refused.hint}")
    return {
        "content": [{"type": "text", "text": "\n".join(lines)}],
        "structuredContent": {
            "code": refused.code.value,
            "message": refused.message,
            "hint": refused.hint,
            "policy": list(refused.policies),
            "detail": refused.detail,
            "unmet": list(refused.unmet),
            "hold": refused.hold,
            "roles": list(refused.roles),
            "retry_after_s": refused.retry_after_s,
            "decision_id": refused.decision_id,
        },
        "isError": True,
    }


def approval_request(refused: Refused, state: str) -> dict[str, Any]:
    """The `InputRequiredResult` of a held call: the client's user is asked to confirm once somebody has approved."""
    who = " and ".join(refused.roles) or "an approver"
    question = {
        "method": ELICITATION,
        "params": {
            "mode": "form",
            "message": f"This call waits for {who} to approve hold {refused.hold}. "
            "Accept once it is approved, to try again.",
            "requestedSchema": {"type": "object", "properties": {}},
        },
    }
    return input_required({APPROVAL_KEY: question}, state)


def input_required(requests: Mapping[str, Any], state: str) -> dict[str, Any]:
    """The result that asks a client for something before the call is made (MCP 2026-07-28, MRTR)."""
    return {"resultType": "input_required", "inputRequests": requests, "requestState": state}
