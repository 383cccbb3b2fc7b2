"""Taking it back: agents, keys, issuers. Narrowing changes, so they hold in memory before they are recorded.

Revoking an agent raises its epoch, which ends every token of it wherever it is cached; it also revokes its keys and
voids its open join tokens, else it would simply fetch the next token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.credentials import AgentCredentials
from accredit.identity.model import CredentialState
from accredit.identity.ports import AgentDirectory
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.kernel.ids import AgentId, CredentialId

__all__ = ["Revocations"]

_AT_ONCE: Final = 200
"""Writes of one change."""


class Revocations:
    """Revokes and locks. Repeating any of it changes nothing further and is no error.

    Each method raises UnavailableError if the change could not be recorded; it is in force all the same.
    """

    def __init__(self, control: ControlLog, directory: AgentDirectory) -> None:
        self._control = control
        self._directory = directory
        self._credentials = AgentCredentials()

    async def revoke_agent(self, agent: AgentId, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End every token, key and open join token of an agent.

        Raises:
            NotFoundError: no such agent.
        """
        receipt: Receipt | None = None
        left = True

        def build(view: StateView) -> Change | None:
            nonlocal left
            registered = self._directory.get(agent)
            if registered is None and view.get(rows.EPOCH, agent) is None:
                raise NotFoundError(Code.AGENT_UNKNOWN, f"there is no agent `{agent[:80]}`")
            writes = self._credentials.writes_to_end(view, agent)
            if receipt is not None and len(writes) == 1:  # all but the epoch, which was raised before
                left = False
                return None
            writes, left = writes[:_AT_ONCE], len(writes) > _AT_ONCE
            facts = Facts(
                "agent.revoked", agent=agent, environment=registered.environment.value if registered else None
            )
            keys = sum(write.kind == rows.CREDENTIAL for write in writes)
            return _narrowing(facts, writes, actor, {"credentials": keys}, reason)

        while left:
            receipt = await self._control.transact(build) or receipt
        return receipt

    async def revoke_credential(self, credential: CredentialId, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End one instance's key and its tokens.

        Raises:
            NotFoundError: no such credential.
        """
        return await self._end(credential, CredentialState.REVOKED, "credential.revoked", actor, reason)

    async def lock(self, credential: CredentialId, *, actor: Actor, reason: str = "") -> Receipt | None:
        """Lock one instance's key: it is refused as suspect until it is revoked; a revoked one stays revoked.

        Raises:
            NotFoundError: no such credential.
        """
        return await self._end(credential, CredentialState.LOCKED, "credential.locked", actor, reason)

    async def _end(
        self, credential: CredentialId, state: CredentialState, event: str, actor: Actor, reason: str
    ) -> Receipt | None:
        def build(view: StateView) -> Change | None:
            row = view.get(rows.CREDENTIAL, credential)
            if row is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{credential[:80]}`")
            if row.doc["state"] in {state.value, CredentialState.REVOKED.value}:
                return None
            facts = Facts(event, agent=row.doc["agent"])
            write = Write(rows.CREDENTIAL, credential, {**row.doc, "state": state.value})
            return _narrowing(facts, (write,), actor, {"credential": credential}, reason)

        return await self._control.transact(build)

    async def revoke_issuer(self, registration: str, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End an issuer's registration and every token that rests on its word.

        Raises:
            NotFoundError: no such registration.
        """

        def build(view: StateView) -> Change | None:
            row = view.get(rows.ISSUER, registration)
            if row is None:
                raise NotFoundError(Code.ISSUER_UNKNOWN, f"there is no issuer registration `{registration[:80]}`")
            if row.doc.get("revoked"):
                return None
            write = Write(rows.ISSUER, registration, {**row.doc, "revoked": True})
            return _narrowing(Facts("issuer.revoked"), (write,), actor, {"issuer": registration}, reason)

        return await self._control.transact(build)


def _narrowing(facts: Facts, writes: tuple[Write, ...], actor: Actor, body: Mapping[str, Any], reason: str) -> Change:
    # a reason is free text: it may hold anything, so it is sealed
    parts = (Part("text", {"reason": reason[:2000]}),) if reason else ()
    return Change(facts, writes, actor, body, parts, narrowing=True)
