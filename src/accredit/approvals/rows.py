"""A hold as a row of control state, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accredit.approvals.model import Hold, HoldGrant, HoldState
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, HoldId, PersonId, ToolId
from accredit.policy.model import HoldNeed
from accredit.registry.model import Environment

__all__ = ["KIND", "hold_doc", "read_hold"]

KIND = "hold"


def hold_doc(hold: Hold) -> dict[str, Any]:
    """The row's document: canonical, the raw values in it as one text."""
    return {
        "agent": hold.agent,
        "barred": [[person, stands_as] for person, stands_as in sorted(hold.barred.items())],
        "closed_us": hold.closed_us,
        "denied_by": hold.denied_by,
        "denied_reason": hold.denied_reason,
        "environment": hold.environment.value,
        "expires_us": hold.expires_us,
        "grants": [
            {
                "at_us": grant.at_us,
                "basis": grant.basis,
                "credential": grant.credential,
                "id": grant.id,
                "person": grant.person,
                "policy": grant.policy,
                "reason": grant.reason,
                "role": grant.role,
                "view_digest": grant.view_digest,
            }
            for grant in hold.grants
        ],
        "id": hold.id,
        "needs": [[need.policy, need.role] for need in hold.needs],
        "opened_us": hold.opened_us,
        "request": hold.request,
        "state": hold.state.value,
        "tool": hold.tool,
        "version": hold.version,
        "view": hold.view,
        "view_digest": hold.view_digest,
    }


def read_hold(doc: Mapping[str, Any]) -> Hold:
    """The hold a proven row holds."""
    return Hold(
        id=HoldId(doc["id"]),
        agent=AgentId(doc["agent"]),
        version=Digest(doc["version"]),
        environment=Environment(doc["environment"]),
        tool=ToolId(doc["tool"]),
        request=Digest(doc["request"]),
        needs=tuple(HoldNeed(policy, role) for policy, role in doc["needs"]),
        state=HoldState(doc["state"]),
        opened_us=doc["opened_us"],
        expires_us=doc["expires_us"],
        barred={PersonId(person): stands_as for person, stands_as in doc["barred"]},
        view=doc["view"],
        view_digest=Digest(doc["view_digest"]),
        grants=tuple(
            HoldGrant(
                grant["id"],
                grant["policy"],
                grant["role"],
                PersonId(grant["person"]),
                grant["credential"],
                grant["basis"],
                Digest(grant["view_digest"]),
                grant["reason"],
                grant["at_us"],
            )
            for grant in doc["grants"]
        ),
        denied_by=None if doc["denied_by"] is None else PersonId(doc["denied_by"]),
        denied_reason=doc["denied_reason"],
        closed_us=doc["closed_us"],
    )
