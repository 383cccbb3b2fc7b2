"""Where the steps of this room meet sign-off and holds: what an activation rests on, and what retirement closes."""

from __future__ import annotations

from collections.abc import Sequence

from accredit.approvals.service import Holds
from accredit.audit.ports import StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.ports import ApprovalDesk, Cleared
from accredit.registry.model import Agent, AgentVersion

__all__ = ["OpenQuestions", "VersionSignOff"]


class VersionSignOff:
    """The `SignOff` of versions: the newest request for exactly that version, judged again by the desk. Used once."""

    def __init__(self, approvals: ApprovalDesk) -> None:
        self._approvals = approvals

    def cleared(self, agent: Agent, version: AgentVersion, operator: Operator) -> Cleared:
        about = [one for one in self._approvals.find(agent=agent.id) if one.subject.digest == version.digest]
        newest = max(about, key=lambda one: (one.opened_us, one.id), default=None)
        if newest is None:
            raise ForbiddenError(
                Code.CLEARANCE_REQUIRED, "nobody was asked to sign this version off", hint="submit it first"
            )
        if newest.used_us is not None:
            raise ForbiddenError(
                Code.CLEARANCE_REQUIRED, "the sign-off of this version was used before", hint="submit it again"
            )
        clearance = self._approvals.clearance(newest.id, operator=operator)
        if newest.tier is None:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "the version was not approved under a risk tier")
        return Cleared(newest.id, clearance, newest.tier)

    def writes_to_use(self, view: StateView, request: str, now_us: int) -> Sequence[Write]:
        return self._approvals.writes_to_use(view, request, now_us)


class OpenQuestions:
    """The `Questions` of an agent: holds of its calls, and requests about its versions."""

    def __init__(self, holds: Holds, approvals: ApprovalDesk) -> None:
        self._holds = holds
        self._approvals = approvals

    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        return (
            *self._holds.writes_to_void(view, agent, now_us),
            *self._approvals.writes_to_void(view, agent, now_us),
        )
