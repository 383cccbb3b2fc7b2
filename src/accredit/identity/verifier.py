"""Who a bearer token proves, on every call: verified once, its standing checked always.

A signature costs a tenth of a millisecond and never changes; revocation, expiry and a closed task cost a few table
look-ups and change at any time. So the cache, keyed by the token's SHA-256, holds only what the signature proved, and
everything else is looked at on every call. Of an opaque key nothing is cached: it proves what its hash stands for now.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from accredit.identity.access import ACCESS_TYPE, MAX_LIFE_S, principal_of
from accredit.identity.audience import audience_path, covers
from accredit.identity.enrolment import is_agent_secret
from accredit.identity.model import Principal
from accredit.identity.ports import AgentDirectory
from accredit.identity.rows import secret_hash
from accredit.identity.signing import SigningKeys
from accredit.identity.state import IdentityState
from accredit.identity.tasks import TaskStatus, TaskWatch
from accredit.identity.tokens import MAX_TOKEN_BYTES, TokenRule, peek_claim, read_token, refused, single_audience
from accredit.kernel.clock import Clock, Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError

__all__ = ["AccessTokenVerifier"]

_CAPACITY: Final = 20_000
_CAUSES = {
    Code.STATE_UNPROVEN: "a row behind the token is not proven",
    Code.CREDENTIAL_REVOKED: "revoked",
    Code.CREDENTIAL_LOCKED: "locked",
    Code.CREDENTIAL_PENDING: "waits for the owner's confirmation",
    Code.TOKEN_EXPIRED: "expired while cached, or on the boot clock",
    Code.AGENT_UNKNOWN: "the agent is not registered",
    Code.DELEGATOR_ENDED: "an agent earlier in the chain, or the credential it handed the work on with, does not count",
}


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    taskless: Principal
    """The same without its task, for while the task is not known to be open."""
    audience: str
    task: TaskWatch | None


class AccessTokenVerifier:
    """Implements the enforcement room's `TokenVerifier`."""

    def __init__(
        self,
        state: IdentityState,
        keys: SigningKeys,
        directory: AgentDirectory,
        tasks: TaskStatus,
        *,
        clock: Clock,
        public_url: str,
        capacity: int = _CAPACITY,
    ) -> None:
        self._state = state
        self._keys = keys
        self._directory = directory
        self._tasks = tasks
        self._clock = clock
        self._began = clock.now()
        self._public_url = public_url
        self._capacity = capacity
        self._cache: OrderedDict[bytes, _Verified] = OrderedDict()
        self._rule = TokenRule(frozenset({ACCESS_TYPE}), public_url, MAX_LIFE_S)

    def verify(self, token: str, *, path: str) -> Principal:
        """Verify one access token, or opaque key, for use at `path` (under the public URL). Cached; no I/O.

        Raises:
            UnauthenticatedError: with the token's own reason code and cause, for the record; its message is constant,
                and the caller of the API is told `unauthenticated`.
        """
        now = self._clock.now()
        if is_agent_secret(token):
            return self._keyed(token, path, now)
        verified = self._verified(token, now)
        if not covers(verified.audience, path):
            raise refused(Code.TOKEN_AUDIENCE, f"for {verified.audience or '/'}, used at {path[:80]!r}")
        principal = verified.principal
        if (code := self._refusal(principal, now)) is not None:
            raise refused(code, _CAUSES[code], credential=principal.credential)
        if verified.task is not None and not verified.task.is_open(now):
            return replace(verified.taskless, task_out=verified.task.refusal(now))
        return principal

    def own(self, token: str) -> tuple[Principal, str]:
        """Verify one of our tokens wherever it is for; gives the path it is for as well (RFC 8693 `actor_token`).

        Raises:
            UnauthenticatedError: as `verify`.
        """
        now = self._clock.now()
        verified = self._verified(token, now)
        if (code := self._refusal(verified.principal, now)) is not None:
            raise refused(code, _CAUSES[code], credential=verified.principal.credential)
        return verified.principal, verified.audience

    def still_valid(self, principal: Principal) -> Code | None:
        """Re-check expiry, epoch, credential and issuers now; None if all hold."""
        return self._refusal(principal, self._clock.now())

    def _refusal(self, principal: Principal, now: Instant) -> Code | None:
        if now.wall_us >= principal.expires_us or now.boot_us >= principal.expires_boot_us:
            return Code.TOKEN_EXPIRED
        if self._directory.get(principal.agent) is None:
            # a row that is not loaded cannot say whose it was: the agent may be missing for want of it
            return Code.AGENT_UNKNOWN if self._state.all_proven else Code.STATE_UNPROVEN
        return self._state.refusal(principal)

    def _keyed(self, secret: str, path: str, now: Instant) -> Principal:
        """The agent that an opaque key proves."""
        if len(secret) > MAX_TOKEN_BYTES:
            raise refused(Code.TOKEN_OVERSIZED, f"{len(secret)} characters")
        found = self._state.opaque_credential(secret_hash(secret))
        if found is None or (opaque := found.opaque) is None:
            # a row that is not loaded cannot say whose it was
            unknown = Code.API_TOKEN_UNKNOWN if self._state.all_proven else Code.STATE_UNPROVEN
            raise refused(unknown, "no such opaque key")
        # neither user nor task: there is nobody's word for either
        principal = Principal(
            agent=found.agent,
            credential=found.id,
            epoch=opaque.epoch,
            expires_us=opaque.expires_us,
            token_digest=opaque.hashed,
            expires_boot_us=self._began.boot_us + opaque.expires_us - self._began.wall_us,
        )
        if not covers(opaque.audience, path):
            raise refused(Code.TOKEN_AUDIENCE, f"for {opaque.audience}, used at {path[:80]!r}", credential=found.id)
        if (code := self._refusal(principal, now)) is not None:
            raise refused(code, _CAUSES[code], credential=found.id)
        agent = self._directory.get(found.agent)
        if agent is None or agent.environment != opaque.environment:
            raise refused(Code.CREDENTIAL_REVOKED, "made for another environment", credential=found.id)
        return principal

    def _verified(self, token: str, now: Instant) -> _Verified:
        if not token:
            raise refused(Code.TOKEN_MISSING, "no token")
        if len(token) > MAX_TOKEN_BYTES:  # before hashing: the size of a hash's input is bounded too
            raise refused(Code.TOKEN_OVERSIZED, f"{len(token)} characters")
        if not token.isascii():
            raise refused(Code.TOKEN_MALFORMED, "not ASCII")
        digest = sha256(token.encode()).digest()
        found = self._cache.get(digest)
        if found is not None:
            self._cache.move_to_end(digest)
            return found
        verified = self._read(token, digest.hex(), now)
        self._cache[digest] = verified
        if len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return verified

    def _read(self, token: str, digest: str, now: Instant) -> _Verified:
        try:
            signed = read_token(token, rule=self._rule, keys=self._keys.find, now=now)
        except UnauthenticatedError as error:
            if error.code is Code.TOKEN_EXPIRED:  # said only once the signature held: what it names is our own word
                error.credential = peek_claim(token, "client_id")
            raise
        audience = single_audience(signed.claims)
        path = audience_path(audience, self._public_url)
        if path is None:
            raise refused(Code.TOKEN_AUDIENCE, f"`aud` is {audience[:80]!r}")
        principal, registration = principal_of(signed, digest=digest, now=now)
        issuer = self._state.issuer(registration) if registration else None
        if principal.task is None or issuer is None:
            return _Verified(principal, principal, path, None)
        until = Deadline(principal.expires_us, principal.expires_boot_us)
        watch = self._tasks.watch(issuer, principal.task.id, until=until)
        return _Verified(principal, replace(principal, task=None), path, watch)
