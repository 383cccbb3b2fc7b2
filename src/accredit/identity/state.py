"""What this room knows right now: a fold of its rows, kept current by every change as it comes into force.

The fold is what makes a revocation hold on the next call: the control log calls it synchronously, for a narrowing
change even before the record is durable, and it then tells those who have calls in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from accredit.audit.ports import Change, ControlLog
from accredit.identity import rows
from accredit.identity.keys import VerifyingKey, agent_key, issuer_keys
from accredit.identity.model import (
    ApiToken,
    ClaimType,
    Credential,
    CredentialState,
    Issuer,
    IssuerKind,
    Principal,
    Revocation,
    RevocationKind,
)
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, CredentialId

__all__ = ["IdentityState"]

_REFUSALS = {
    CredentialState.PENDING: Code.CREDENTIAL_PENDING,
    CredentialState.LOCKED: Code.CREDENTIAL_LOCKED,
    CredentialState.REVOKED: Code.CREDENTIAL_REVOKED,
}


class IdentityState:
    """Credentials, epochs, issuers and people's tokens as of now."""

    def __init__(self, control: ControlLog) -> None:
        self._control = control
        self._credentials: dict[CredentialId, tuple[Credential, VerifyingKey | None]] = {}
        self._by_hash: dict[str, CredentialId] = {}
        self._by_agent: dict[AgentId, set[CredentialId]] = {}
        self._epochs: dict[AgentId, int] = {}
        self._issuers: dict[str, tuple[Issuer, Mapping[str, VerifyingKey]]] = {}
        self._api_tokens: dict[str, ApiToken] = {}
        self._listeners: list[Callable[[Revocation], None]] = []
        self._folds: dict[str, Callable[[str, Mapping[str, Any] | None], None]] = {
            rows.CREDENTIAL: self._fold_credential,
            rows.EPOCH: self._fold_epoch,
            rows.ISSUER: self._fold_issuer,
            rows.API_TOKEN: self._fold_api_token,
        }
        for kind, fold in self._folds.items():
            for row in control.view.scan(kind):
                fold(row.key, row.doc)
        control.subscribe(self._on_change)

    def on_revoked(self, listener: Callable[[Revocation], None]) -> None:
        """Be called, synchronously, whenever an agent, credential or issuer stops counting."""
        self._listeners.append(listener)

    def credential(self, credential: CredentialId) -> Credential | None:
        found = self._credentials.get(credential)
        return self._as_of_now(found[0]) if found else None

    def opaque_credential(self, hashed: str) -> Credential | None:
        """The credential whose opaque key has that hash."""
        found = self._by_hash.get(hashed)
        return None if found is None else self.credential(found)

    def _as_of_now(self, credential: Credential) -> Credential:
        # what raised the epoch ended the opaque keys made before, row by row or not
        opaque = credential.opaque
        if opaque is None or opaque.epoch == self._epochs.get(credential.agent):
            return credential
        return replace(credential, state=CredentialState.REVOKED)

    def credential_key(self, credential: CredentialId) -> VerifyingKey | None:
        found = self._credentials.get(credential)
        return found[1] if found else None

    def credentials_of(self, agent: AgentId) -> tuple[Credential, ...]:
        """All keys enrolled for an agent, oldest first; of opaque ones that ended, the newest."""
        mine = tuple(self._by_agent.get(agent, ()))  # at once: it may be asked from another thread
        found = [self._as_of_now(self._credentials[one][0]) for one in mine]
        return tuple(sorted(found, key=lambda credential: (credential.enrolled_us, credential.id)))

    def with_credentials(self) -> frozenset[AgentId]:
        """Every agent for which a key was ever enrolled."""
        return frozenset(agent for agent, keys in self._by_agent.items() if keys)

    def epoch(self, agent: AgentId) -> int | None:
        """The agent's epoch; None before anything was enrolled for it."""
        return self._epochs.get(agent)

    def issuer(self, registration: str) -> Issuer | None:
        found = self._issuers.get(registration)
        return found[0] if found else None

    def issuers(self) -> tuple[Issuer, ...]:
        """Every registration, revoked ones included, by id."""
        return tuple(issuer for _, (issuer, _) in sorted(self._issuers.items()))

    def issuer_by_url(self, kind: IssuerKind, url: str | None) -> tuple[Issuer, Mapping[str, VerifyingKey]] | None:
        """The registration in force for an `iss`, else a revoked one, else None."""
        found = [entry for entry in self._issuers.values() if entry[0].kind is kind and entry[0].url == url]
        return min(found, key=lambda entry: entry[0].revoked, default=None)

    def claim_types(self, kind: IssuerKind) -> dict[str, ClaimType]:
        """The typed claims that users or tasks can have: what a policy may compare with."""
        return {
            name: claim
            for issuer, _ in self._issuers.values()
            if issuer.kind is kind and not issuer.revoked
            for name, claim in issuer.claims.items()
        }

    def api_token(self, secret_hash: str) -> ApiToken | None:
        return self._api_tokens.get(secret_hash)

    def api_tokens(self) -> tuple[ApiToken, ...]:
        """Every token given out, oldest first."""
        return tuple(sorted(self._api_tokens.values(), key=lambda token: (token.issued_us, token.id)))

    def keyed_api_tokens(self) -> tuple[tuple[str, ApiToken], ...]:
        """(Hash of the secret, token) of every token and session there is."""
        return tuple(self._api_tokens.items())

    @property
    def bootstrapping(self) -> bool:
        """Whether the first administrator is still alone.

        INVARIANT: it ends once, for good: an administrator who could become the only one by removing the other would
        invite themself under a second name. What the log contradicts does not bring it back either.
        """
        return self._control.view.get(rows.SECOND_ADMIN, rows.SECOND) is None and self.proven(
            rows.SECOND_ADMIN, rows.SECOND
        )

    def proven(self, kind: str, key: str) -> bool:
        """Whether the log bears a row out."""
        return (kind, key) not in self._control.unproven

    @property
    def all_proven(self) -> bool:
        """Whether the log bears every row out, of whatever kind."""
        return not self._control.unproven

    def refusal(self, principal: Principal) -> Code | None:
        """Why that principal does not count any more, expiry and the agent itself apart. Called on every call."""
        unproven = self._control.unproven
        if unproven and not unproven.isdisjoint(
            {(rows.CREDENTIAL, principal.credential), (rows.EPOCH, principal.agent)}
            | {(rows.ISSUER, registration) for registration in principal.registrations}
            | {(rows.CREDENTIAL, one.credential) for one in principal.delegators}
            | {(rows.EPOCH, one.agent) for one in principal.delegators}
        ):
            return Code.STATE_UNPROVEN
        found = self._credentials.get(principal.credential)
        if found is None or found[0].agent != principal.agent:
            return Code.CREDENTIAL_REVOKED
        if found[0].state is not CredentialState.ACTIVE:
            return _REFUSALS[found[0].state]
        if self._epochs.get(principal.agent) != principal.epoch:
            return Code.CREDENTIAL_REVOKED
        for registration in principal.registrations:
            issuer = self._issuers.get(registration)
            if issuer is None or issuer[0].revoked:
                return Code.CREDENTIAL_REVOKED
        for one in principal.delegators:
            before = self._credentials.get(one.credential)
            if (
                before is None
                or before[0].agent != one.agent
                or before[0].state is not CredentialState.ACTIVE
                or self._epochs.get(one.agent) != one.epoch
            ):
                return Code.DELEGATOR_ENDED
        return None

    def _on_change(self, change: Change) -> None:
        ended: list[Revocation] = []
        for write in change.writes:
            fold = self._folds.get(write.kind)
            if fold is not None:
                before = self._standing(write.kind, write.key)
                fold(write.key, write.doc)
                after = self._standing(write.kind, write.key)
                if before is not None and before != after:
                    ended.append(before[0])
        for revocation in ended:
            for listener in self._listeners:
                listener(revocation)

    def _standing(self, kind: str, key: str) -> tuple[Revocation, int] | None:
        """What a row supports at this moment; None if it supports nothing."""
        if kind == rows.CREDENTIAL:
            credential = self.credential(CredentialId(key))
            if credential is not None and credential.state is CredentialState.ACTIVE:
                return Revocation(RevocationKind.CREDENTIAL, key), 0
        elif kind == rows.EPOCH and AgentId(key) in self._epochs:
            return Revocation(RevocationKind.AGENT, key), self._epochs[AgentId(key)]
        elif kind == rows.ISSUER:
            issuer = self.issuer(key)
            if issuer is not None and not issuer.revoked:
                return Revocation(RevocationKind.ISSUER, key), 0
        return None

    def _fold_credential(self, key: str, doc: Mapping[str, Any] | None) -> None:
        gone = self._credentials.pop(CredentialId(key), None)
        if gone is not None:
            self._by_agent[gone[0].agent].discard(gone[0].id)
            if gone[0].opaque is not None:
                self._by_hash.pop(gone[0].opaque.hashed, None)
        if doc is None:
            return
        credential = rows.credential_from(key, doc)
        self._by_agent.setdefault(credential.agent, set()).add(credential.id)
        if credential.opaque is not None:
            self._by_hash[credential.opaque.hashed] = credential.id
            self._credentials[credential.id] = (credential, None)
        else:
            self._credentials[credential.id] = (credential, agent_key(dict(credential.jwk), kid=key))

    def _fold_epoch(self, key: str, doc: Mapping[str, Any] | None) -> None:
        if doc is None:
            self._epochs.pop(AgentId(key), None)
        else:
            self._epochs[AgentId(key)] = doc["epoch"]

    def _fold_issuer(self, key: str, doc: Mapping[str, Any] | None) -> None:
        if doc is None:
            self._issuers.pop(key, None)
            return
        issuer = rows.issuer_from(key, doc)
        try:
            self._issuers[key] = (issuer, issuer_keys(issuer.jwks))
        except InvalidInputError:
            # a form cannot see that a point lies off its curve; one such issuer must not keep all others from counting
            self._issuers[key] = (replace(issuer, revoked=True), {})

    def _fold_api_token(self, key: str, doc: Mapping[str, Any] | None) -> None:
        if doc is None:
            self._api_tokens.pop(key, None)
        else:
            self._api_tokens[key] = rows.api_token_from(doc)
