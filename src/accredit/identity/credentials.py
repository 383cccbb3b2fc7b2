"""What opens, halts and ends an agent's way to credentials, as writes for a transaction.

Whoever changes an agent's state puts these beside that change, so that there is no moment at which an agent that was
stopped still has a token that works, and none at which a key enrols before sign-off is on record.
"""

from __future__ import annotations

from accredit.audit.ports import StateView, Write
from accredit.identity import rows
from accredit.identity.model import CredentialState
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.kernel.ids import AgentId

__all__ = ["AgentCredentials"]


class AgentCredentials:
    """Gives writes and does no I/O, so all of it can be called inside a transaction."""

    def writes_to_open(
        self, view: StateView, agent: AgentId, clearance: Clearance, version: Digest
    ) -> tuple[Write, ...]:
        """From here on instances of a production agent can be enrolled, for exactly the version signed off.

        Raises:
            ForbiddenError: `clearance_required`: the clearance is for something else, or rests on no approvals.
        """
        del view
        clearance.covers("agent-version", version)
        if clearance.basis is not Basis.APPROVALS:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "production credentials need approvals by two or more people")
        return (Write(rows.ENROLMENT, agent, {"by": sorted(clearance.by), "version": version}),)

    def writes_to_close(self, view: StateView, agent: AgentId) -> tuple[Write, ...]:
        """No instance can be enrolled any more, also with a join token given out before."""
        return () if view.get(rows.ENROLMENT, agent) is None else (Write(rows.ENROLMENT, agent, None),)

    def writes_to_halt(self, view: StateView, agent: AgentId) -> tuple[Write, ...]:
        """Every live token dead, wherever it is cached, and every opaque key for good; keys of instances stay."""
        epoch = view.get(rows.EPOCH, agent)
        return () if epoch is None else (Write(rows.EPOCH, agent, {"epoch": epoch.doc["epoch"] + 1}),)

    def writes_to_end(self, view: StateView, agent: AgentId) -> tuple[Write, ...]:
        """Every token, key and open join token dead; the write that ends all tokens comes first.

        There can be more than one change takes: whoever commits only some of them does it again.
        """
        # an epoch that is missing is made: a row that somebody took away must not keep an agent from being ended
        raised = self.writes_to_halt(view, agent) or (Write(rows.EPOCH, agent, {"epoch": 1}),)
        keys = [
            Write(row.kind, row.key, {**row.doc, "state": CredentialState.REVOKED.value})
            for row in view.scan(rows.CREDENTIAL)
            if row.doc["agent"] == agent and row.doc["state"] != CredentialState.REVOKED.value
        ]
        open_tokens = [
            Write(row.kind, row.key, {**row.doc, "expires_us": 0})
            for row in view.scan(rows.JOIN_TOKEN)
            if row.doc["agent"] == agent and row.doc["credential"] is None and row.doc["expires_us"] != 0
        ]
        return (*raised, *keys, *open_tokens)
