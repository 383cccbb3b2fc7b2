"""How an instance of an agent gets its identity: it brings its own public key and a join token, once.

A join token used a second time means that two parties held it and nobody knows which one is the agent, so the key
that the first use enrolled is locked (DESIGN §4).

In production a key enrols only once the agent's activation began under a clearance, and counts only when the agent's
owner said that it is the instance's own: by pinning the join token to its thumbprint, or by confirming it afterwards.

A client that can present nothing but a key gets an opaque one of ours: 256 random bits, shown once, kept as a hash. It
is a credential like any other, and weaker than any other, since whoever has seen it once can use it. So it ends by
itself, can be kept to one address, dies with the agent's epoch, proves no user and no task, gets no tokens, and is made
in production by nobody but the agent's owner.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from ipaddress import ip_address, ip_network
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.audience import audience_path
from accredit.identity.keys import agent_key
from accredit.identity.model import Credential, CredentialState, OpaqueKey
from accredit.identity.ports import AgentDirectory, AttemptGate
from accredit.identity.state import IdentityState
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import BothClocks, Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    AttemptsLimitedError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, IdSource
from accredit.kernel.strictjson import parse_strict
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, AgentState, Environment

__all__ = ["Enrolment", "IssuedKey", "JoinToken", "is_agent_secret", "may_enrol"]

_TTL_S: Final = 900
_MAX_TTL_S: Final = 86_400
_MAX_BODY: Final = 4096
_MAX_CREDENTIALS: Final = 1000
"""Of one agent; no more join tokens wait to be used."""
_AT_ONCE: Final = 100
_PREFIX: Final = "accj_"
_KEY_PREFIX: Final = "akey_"
_MAX_KEY_DAYS: Final = 90
_MAX_ALIVE: Final = 20
_MAX_KEPT: Final = 40
"""Opaque keys of one agent that are remembered, ended ones among them: the oldest of these go first."""
_BEFORE_ACTIVE: Final = frozenset({AgentState.DRAFT, AgentState.SUBMITTED, AgentState.REJECTED})


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token as it is shown, once."""

    secret: str = field(repr=False)
    agent: AgentId
    expires_us: int


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """An opaque key as it is shown, once."""

    secret: str = field(repr=False)
    credential: Credential
    expires_us: int


def is_agent_secret(token: str) -> bool:
    """Whether a bearer token has the form of an agent's opaque key rather than of a signed token."""
    return token.startswith(_KEY_PREFIX)


class Enrolment:
    """Gives out join tokens and enrols keys against them."""

    def __init__(
        self,
        control: ControlLog,
        directory: AgentDirectory,
        state: IdentityState,
        *,
        clock: Clock,
        ids: IdSource,
        attempts: AttemptGate,
        token_endpoint: str,
    ) -> None:
        self._control = control
        self._directory = directory
        self._state = state
        self._clock = clock
        self._ids = ids
        self._attempts = attempts
        self._token_endpoint = token_endpoint
        self._clocks = BothClocks(clock.now())

    def _agent(self, view: StateView, agent: AgentId) -> Agent:
        """The agent, if it takes keys."""
        found = self._directory.get(agent)
        if found is None or found.state is AgentState.RETIRED:
            raise NotFoundError(Code.AGENT_UNKNOWN, f"there is no agent `{agent[:80]}` to enrol for")
        row = view.get(rows.ENROLMENT, agent)
        if (code := may_enrol(found, opened_for=row.doc["version"] if row else None)) is not None:
            what = f"the agent is {found.state} in {found.environment}"
            raise ForbiddenError(code, f"no key can be enrolled: {what}")
        return found

    async def issue_join_token(
        self,
        agent: AgentId,
        *,
        actor: Actor,
        ttl_s: int = _TTL_S,
        pin_thumbprint: str | None = None,
        allowed_cidr: str | None = None,
    ) -> JoinToken:
        """Make a single-use join token for an agent; its secret is not kept and cannot be shown again.

        Raises:
            NotFoundError: no such agent.
            ForbiddenError: `enrolment_closed`, `agent_not_active`: the agent takes no keys as it stands.
            InvalidInputError: the life, the thumbprint or the address range has another form.
            ConflictError: too many wait to be used.
        """
        self._agent(self._control.view, agent)
        if not 1 <= ttl_s <= _MAX_TTL_S:
            raise InvalidInputError(Code.JOIN_TOKEN_INVALID, f"a join token lives 1 to {_MAX_TTL_S} s")
        if pin_thumbprint is not None and len(pin_thumbprint) != 43:
            raise InvalidInputError(
                Code.JOIN_TOKEN_INVALID,
                f"`{pin_thumbprint[:60]}` is not a thumbprint",
                hint="RFC 7638 with SHA-256, base64url, 43 characters",
            )
        if allowed_cidr is not None:
            try:
                allowed_cidr = str(ip_network(allowed_cidr))
            except ValueError as error:
                raise InvalidInputError(
                    Code.JOIN_TOKEN_INVALID,
                    f"`{allowed_cidr[:60]}` is not an address range",
                    hint="write `10.0.0.0/8`",
                    cause=repr(error),
                ) from error
        secret = _PREFIX + urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()
        expires_us = self._clock.now().wall_us + ttl_s * 1_000_000
        doc = {
            "agent": agent,
            "by": actor.person,
            "cidr": allowed_cidr,
            "credential": None,
            "expires_us": expires_us,
            "pin": pin_thumbprint,
        }

        def build(view: StateView) -> Change:
            facts = Facts("join_token.issued", agent=agent, environment=self._agent(view, agent).environment.value)
            now = self._clock.now()
            unused = [row for row in view.scan(rows.JOIN_TOKEN) if _unused(row.doc, agent)]
            over = [row for row in unused if self._clocks.passed(row.doc["expires_us"], now)]
            if len(unused) - len(over) >= _MAX_CREDENTIALS:
                raise ConflictError(
                    Code.CONFLICT, f"{_MAX_CREDENTIALS} join tokens of the agent wait to be used", hint="use them first"
                )
            write = Write(rows.JOIN_TOKEN, rows.secret_hash(secret), doc)
            gone = [Write(row.kind, row.key, None) for row in over[:_AT_ONCE]]
            return Change(facts, (write, *gone), actor, {"expires_us": expires_us})

        await self._control.transact(build)
        return JoinToken(secret, agent, expires_us)

    async def enrol_request(self, body: bytes, *, source: str) -> dict[str, str]:
        """Answer `POST /enrol`: `{join_token, jwk}` -> `{credential_id, agent_id, state, token_endpoint}`.

        Raises:
            InvalidInputError, UnauthenticatedError, ForbiddenError, ConflictError, UnavailableError: as `enrol`.
        """
        asked = parse_strict(body, max_bytes=_MAX_BODY, max_depth=4)
        if not isinstance(asked, dict) or set(asked) != {"join_token", "jwk"}:
            raise InvalidInputError(Code.BODY_MALFORMED, "enrolment takes exactly `join_token` and `jwk`")
        credential = await self.enrol(asked["join_token"], asked["jwk"], source=source)
        return {
            "credential_id": credential.id,
            "agent_id": credential.agent,
            "state": credential.state.value,
            "token_endpoint": self._token_endpoint,
        }

    async def enrol(self, join_token: object, jwk: object, *, source: str) -> Credential:
        """Enrol a public key against a join token, once. In production it may wait for the owner (`pending`).

        Raises:
            AttemptsLimitedError: too many attempts from that address.
            InvalidInputError: `key_unsuitable`: not a plain P-256 public key.
            UnauthenticatedError: `join_token_invalid`.
            NotFoundError: the agent is gone.
            ForbiddenError: `join_token_reused`: a second use; what the first enrolled is locked now. Or
                `enrolment_closed`, `agent_not_active`: the agent takes no keys as it stands.
            ConflictError: `key_shared`: the key is enrolled already, here or for another agent.
        """
        if (wait_s := self._attempts.retry_after_s(source)) is not None:
            raise AttemptsLimitedError("too many attempts to enrol", retry_after_s=wait_s)
        if not isinstance(join_token, str) or len(join_token) > 128:
            raise _invalid("not a join token")
        key = agent_key(jwk)
        token_key = rows.secret_hash(join_token)
        credential_id = CredentialId(self._ids.new("crd"))
        enrolled: list[Credential] = []
        refusal: list[AccreditError] = []

        def build(view: StateView) -> Change | None:
            row = view.get(rows.JOIN_TOKEN, token_key)
            if row is None:
                raise _invalid("no such join token")
            if row.doc["credential"] is not None:
                refusal.append(ForbiddenError(Code.JOIN_TOKEN_REUSED, "the join token was used before", cause=source))
                return _lock(view, CredentialId(row.doc["credential"]), AgentId(row.doc["agent"]))
            now = self._clock.now()
            self._admissible(row.doc, key.thumbprint, source, now)
            agent = self._agent(view, AgentId(row.doc["agent"]))
            if view.get(rows.KEY_THUMBPRINT, key.thumbprint) is not None or (
                (rows.KEY_THUMBPRINT, key.thumbprint) in self._control.unproven
            ):
                raise ConflictError(Code.KEY_SHARED, "this key is enrolled already")
            if len(self._state.credentials_of(agent.id)) >= _MAX_CREDENTIALS:
                raise ConflictError(Code.CONFLICT, f"the agent has {_MAX_CREDENTIALS} keys already")
            state = CredentialState.ACTIVE if _vouched(agent, row.doc) else CredentialState.PENDING
            credential = Credential(credential_id, agent.id, key.thumbprint, key.jwk, state, now.wall_us)
            enrolled.append(credential)
            writes = [
                Write(rows.JOIN_TOKEN, token_key, {**row.doc, "credential": credential.id}),
                Write(rows.CREDENTIAL, credential.id, rows.credential_doc(credential)),
                Write(rows.KEY_THUMBPRINT, key.thumbprint, {"credential": credential.id}),
            ]
            writes += self._first_epoch(view, agent.id)
            return Change(
                Facts("credential.enrolled", agent=agent.id, environment=agent.environment.value),
                tuple(writes),
                Actor(agent=agent.id, credential=credential.id),
                {"credential": credential.id, "state": state.value, "thumbprint": key.thumbprint},
            )

        await self._control.transact(build)
        if refusal:
            raise refusal[0]
        return enrolled[0]

    def _first_epoch(self, view: StateView, agent: AgentId) -> list[Write]:
        """An agent's epoch, if this is the first that is enrolled for it.

        INVARIANT: one that somebody took away is not begun again: that would bring back what an earlier epoch ended.
        """
        if (rows.EPOCH, agent) in self._control.unproven:
            raise UnavailableError(
                Code.STATE_UNPROVEN, "the agent's epoch is not what the log says", hint="revoke the agent first"
            )
        return [Write(rows.EPOCH, agent, {"epoch": 1})] if view.get(rows.EPOCH, agent) is None else []

    async def issue_key(self, agent: AgentId, *, actor: Actor, days: int, path: str = "") -> IssuedKey:
        """Make an opaque key, good at `path` under the public URL and below; its secret is in the answer alone.

        Raises:
            NotFoundError: no such agent.
            ForbiddenError: `enrolment_closed`, `agent_not_active`: the agent takes no keys as it stands. Or
                `not_authorised`: it is in production, and this is not its owner or backup owner.
            InvalidInputError: its life is too long or none, or `path` is not a path.
            ConflictError: too many are alive.
            UnavailableError: `state_unproven`: the log contradicts the agent's epoch.
        """
        if not 1 <= days <= _MAX_KEY_DAYS:
            raise InvalidInputError(Code.BODY_MALFORMED, f"an opaque key lives 1 to {_MAX_KEY_DAYS} days")
        if audience_path(path, "") is None:
            raise InvalidInputError(
                Code.TOKEN_AUDIENCE, f"`{path[:80]}` is not a path here", hint="write `/mcp/crm`, or leave it out"
            )
        secret = _KEY_PREFIX + urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()
        made: list[Credential] = []

        def build(view: StateView) -> Change:
            found = self._agent(view, agent)
            if found.environment is Environment.PRODUCTION and actor.person not in _owners(found):
                raise ForbiddenError(
                    Code.NOT_AUTHORISED, "in production the agent's owner or backup owner makes its opaque keys"
                )
            now = self._clock.now()
            first = self._first_epoch(view, agent)
            epoch = view.get(rows.EPOCH, agent)
            opaque = OpaqueKey(
                hashed=rows.secret_hash(secret),
                environment=found.environment.value,
                epoch=epoch.doc["epoch"] if epoch is not None else 1,
                audience=path,
                expires_us=now.wall_us + days * 86_400_000_000,
            )
            credential = Credential(
                CredentialId(self._ids.new("crd")), agent, "", {}, CredentialState.ACTIVE, now.wall_us, opaque
            )
            made.append(credential)
            return Change(
                Facts("credential.key_issued", agent=agent, environment=found.environment.value),
                (
                    Write(rows.CREDENTIAL, credential.id, rows.credential_doc(credential)),
                    *first,
                    *self._over(agent, now),
                ),
                actor,
                {"audience": path, "credential": credential.id, "expires_us": opaque.expires_us},
            )

        await self._control.transact(build)
        credential = made[-1]
        assert credential.opaque is not None  # noqa: S101 - made above
        return IssuedKey(secret, credential, credential.opaque.expires_us)

    def _over(self, agent: AgentId, now: Instant) -> list[Write]:
        """Room for one more opaque key: without the oldest of those that ended."""
        known = self._state.credentials_of(agent)
        opaque = [one for one in known if one.opaque is not None]
        # a locked one is suspect: that it was there is not forgotten, so it keeps its place
        ended = [one for one in opaque if one.state is CredentialState.REVOKED or self._expired(one, now)]
        if len(opaque) - len(ended) >= _MAX_ALIVE:
            raise ConflictError(Code.CONFLICT, f"{_MAX_ALIVE} opaque keys of the agent are alive", hint="revoke some")
        gone = ended[: max(0, len(opaque) - _MAX_KEPT + 1)]
        if len(known) - len(gone) >= _MAX_CREDENTIALS:
            raise ConflictError(Code.CONFLICT, f"the agent has {_MAX_CREDENTIALS} keys already")
        return [Write(rows.CREDENTIAL, one.id, None) for one in gone]

    def _expired(self, credential: Credential, now: Instant) -> bool:
        return credential.opaque is not None and self._clocks.passed(credential.opaque.expires_us, now)

    async def confirm(self, credential: CredentialId, thumbprint: str, *, actor: Actor) -> Credential:
        """Say as the agent's owner that a pending key is the instance's own; from here on it gets tokens.

        Raises:
            NotFoundError: no such credential.
            ForbiddenError: `not_authorised`: only the agent's owner or backup owner can say so.
            ConflictError: `thumbprint_mismatch`: the key enrolled is another one. Or the key waits for nobody.
        """
        confirmed: list[Credential] = []

        def build(view: StateView) -> Change | None:
            row = view.get(rows.CREDENTIAL, credential)
            if row is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{credential[:80]}`")
            found = rows.credential_from(credential, row.doc)
            agent = self._agent(view, found.agent)
            if actor.person not in _owners(agent):
                raise ForbiddenError(Code.NOT_AUTHORISED, "a key is confirmed by the agent's owner or backup owner")
            if not compare_digest(thumbprint.encode("utf-8", "replace"), found.thumbprint.encode()):
                raise ConflictError(Code.THUMBPRINT_MISMATCH, "the key that was enrolled has another thumbprint")
            if found.state not in {CredentialState.PENDING, CredentialState.ACTIVE}:
                raise ConflictError(Code.CONFLICT, f"the key is {found.state}", hint="enrol another")
            now_active = replace(found, state=CredentialState.ACTIVE)
            confirmed.append(now_active)
            if found.state is CredentialState.ACTIVE:
                return None
            return Change(
                Facts("credential.confirmed", agent=agent.id, environment=agent.environment.value),
                (Write(rows.CREDENTIAL, credential, rows.credential_doc(now_active)),),
                actor,
                {"credential": credential, "thumbprint": found.thumbprint},
            )

        await self._control.transact(build)
        return confirmed[0]

    def _admissible(self, doc: Mapping[str, Any], thumbprint: str, source: str, now: Instant) -> None:
        if self._clocks.passed(doc["expires_us"], now):
            raise _invalid("expired")
        if doc["pin"] is not None and doc["pin"] != thumbprint:
            raise _invalid("pinned to another key")
        if doc["cidr"] is not None:
            try:
                inside = ip_address(source) in ip_network(doc["cidr"])
            except ValueError:
                inside = False
            if not inside:
                raise _invalid("used from outside its address range")


def may_enrol(agent: Agent, *, opened_for: Digest | None) -> Code | None:
    """Why no key can be enrolled for the agent now; None if one can.

    `opened_for` is the version for which the agent's activation opened enrolment; it counts in production alone, and
    only while that version is the one in force or the one about to be.
    """
    if agent.environment is not Environment.PRODUCTION:
        return None if runs(agent.environment, agent.state) else Code.AGENT_NOT_ACTIVE
    if agent.state in _BEFORE_ACTIVE:
        return Code.ENROLMENT_CLOSED
    if agent.state not in {AgentState.APPROVED, AgentState.ACTIVE}:
        return Code.AGENT_NOT_ACTIVE
    versions = {agent.version.digest} | ({agent.candidate.digest} if agent.candidate else set())
    return None if opened_for in versions else Code.ENROLMENT_CLOSED


def _unused(join_token: Mapping[str, Any], agent: AgentId) -> bool:
    """Whether it is that agent's and enrolled nobody; a used one is kept, so that a second use is found out."""
    return join_token["agent"] == agent and join_token["credential"] is None


def _owners(agent: Agent) -> frozenset[str]:
    return frozenset(filter(None, (agent.owner, agent.backup_owner)))


def _vouched(agent: Agent, join_token: Mapping[str, Any]) -> bool:
    """Whether a key counts at once: outside production, or if an owner pinned the join token to exactly this key.

    Others who may make join tokens could pin one to a key of their own.
    """
    if agent.environment is not Environment.PRODUCTION:
        return True
    return join_token["pin"] is not None and join_token.get("by") in _owners(agent)


def _invalid(cause: str) -> UnauthenticatedError:
    return UnauthenticatedError(Code.JOIN_TOKEN_INVALID, "the join token is not valid here", cause=cause)


def _lock(view: StateView, credential: CredentialId, agent: AgentId) -> Change | None:
    """The change that a second use of a join token brings: none if the key does not count any more anyway."""
    row = view.get(rows.CREDENTIAL, credential)
    if row is None or row.doc["state"] not in {CredentialState.ACTIVE.value, CredentialState.PENDING.value}:
        return None
    return Change(
        Facts("credential.locked", agent=agent),
        (Write(rows.CREDENTIAL, credential, {**row.doc, "state": CredentialState.LOCKED.value}),),
        Actor(credential=credential),
        {"credential": credential, "cause": Code.JOIN_TOKEN_REUSED.value},
        narrowing=True,
    )
