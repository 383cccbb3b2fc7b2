"""The kind of control state that findings are, and its reading and writing.

kind     key         document
finding  finding id  a finding, whatever became of it; never removed: it is also the memory of what was dismissed

A finding's `salt` keeps the digest of its row, which stands in the log in clear, from giving away the words in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.findings import AgentFinding, FindingAnswer, FindingKind, FindingState, Observed
from accredit.monitoring.model import Severity

__all__ = ["FINDING", "finding_doc", "finding_from"]

FINDING: Final = "finding"


def finding_doc(one: AgentFinding, *, salt: str) -> dict[str, Any]:
    return {
        "agent": one.seen.agent,
        "answer": one.answer.value if one.answer else None,
        "answered_us": one.answered_us,
        "by": one.by,
        "closed_us": one.closed_us,
        "due_us": one.due_us,
        "escalated_us": one.escalated_us,
        "evidence": dict(one.seen.evidence),
        "kind": one.seen.kind.value,
        "name": one.seen.name,
        "opened_us": one.opened_us,
        "reason": one.reason,
        "salt": salt,
        "second": one.second,
        "severity": one.seen.severity.value,
        "source": one.seen.source,
        "state": one.state.value,
        "subject": one.seen.subject,
    }


def finding_from(key: str, doc: Mapping[str, Any]) -> AgentFinding:
    seen = Observed(
        FindingKind(doc["kind"]),
        doc["subject"],
        Severity(doc["severity"]),
        doc["name"],
        AgentId(doc["agent"]) if doc["agent"] else None,
        doc["source"],
        doc["evidence"],
    )
    return AgentFinding(
        id=key,
        seen=seen,
        state=FindingState(doc["state"]),
        opened_us=doc["opened_us"],
        due_us=doc["due_us"],
        escalated_us=doc["escalated_us"],
        answer=FindingAnswer(doc["answer"]) if doc["answer"] else None,
        by=doc["by"],
        second=doc["second"],
        reason=doc["reason"],
        answered_us=doc["answered_us"],
        closed_us=doc["closed_us"],
    )
