"""Refusals as RFC 9457 problem documents, for protocols that have no form of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from accredit.enforcement.model import Refused
from accredit.kernel.codes import Code

__all__ = ["PROBLEM", "problem_document", "refusal_problem", "status_of"]

PROBLEM: Final = b"application/problem+json"
_STATUS: Final[Mapping[Code, int]] = {
    Code.ARGUMENTS_INVALID: 400,
    Code.UNDECLARED_ARGUMENT: 400,
    Code.TOOL_NOT_GRANTED: 404,
    Code.HOLD_UNKNOWN: 404,
    Code.RATE_LIMITED: 429,
    Code.ATTEMPTS_LIMITED: 429,
    Code.CONCURRENCY_LIMITED: 429,
    Code.BUDGET_EXHAUSTED: 429,
    Code.INTERNAL: 500,
    Code.UPSTREAM_INVALID: 502,
    Code.UPSTREAM_OVERSIZED: 502,
    Code.UPSTREAM_REDIRECT: 502,
    Code.UPSTREAM_UNREACHABLE: 502,
    Code.RESULT_UNDECLARED: 502,
    Code.RESULT_UNMASKABLE: 502,
    Code.AUDIT_UNAVAILABLE: 503,
    Code.STATE_UNPROVEN: 503,
    Code.SNAPSHOT_STALE: 503,
    Code.DEFINITION_UNVERIFIED: 503,
    Code.CALL_TIMEOUT: 504,
    Code.CONNECT_TIMEOUT: 504,
    Code.FIRST_BYTE_TIMEOUT: 504,
    Code.IDLE_TIMEOUT: 504,
}


def status_of(code: Code) -> int:
    """The HTTP status that goes with a call that was not let through, or came to nothing."""
    return _STATUS.get(code, 403)


def problem_document(status: int, code: Code, detail: str, *, kind: str = "", **more: Any) -> bytes:
    """The document; what `more` names stands beside the standard members."""
    return orjson.dumps(
        {
            "type": kind or f"urn:accredit:code:{code}",
            "title": code.meaning,
            "status": status,
            "code": str(code),
            "detail": detail,
            **more,
        }
    )


def refusal_problem(refused: Refused) -> tuple[int, bytes]:
    """What an agent is told of a call that was refused, or came to nothing: the status and the document."""
    status = status_of(refused.code)
    lines = [text for text in (refused.message, refused.detail) if text]
    return status, problem_document(
        status,
        refused.code,
        ". ".join(lines),
        hint=refused.hint,
        policy=list(refused.policies),
        unmet=list(refused.unmet),
        hold=refused.hold,
        roles=list(refused.roles),
        retry_after_s=refused.retry_after_s,
        decision_id=refused.decision_id,
    )
