"""How an instance of an agent gets its identity: it brings its own public key and a join token, once.

A join token used a second time means that two parties held it and nobody knows which one is the agent, so the key
that the first use enrolled is locked (DESIGN §4).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.keys import agent_key
from accredit.identity.model import Credential, CredentialState
from accredit.identity.ports import AgentDirectory, AttemptGate
from accredit.identity.state import IdentityState
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, IdSource
from accredit.kernel.strictjson import parse_strict
from accredit.registry.model import Agent, AgentState

__all__ = ["Enrolment", "JoinToken"]

_TTL_S: Final = 900
_MAX_TTL_S: Final = 86_400
_MAX_BODY: Final = 4096
_MAX_CREDENTIALS: Final = 1000
_PREFIX: Final = "accj_"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token as it is shown, once."""

    secret: str = field(repr=False)
    agent: AgentId
    expires_us: int


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

    def _agent(self, agent: AgentId) -> Agent:
        found = self._directory.get(agent)
        if found is None or found.state is AgentState.RETIRED:
            raise NotFoundError(Code.AGENT_UNKNOWN, f"there is no agent `{agent[:80]}` to enrol for")
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
            InvalidInputError: the life, the thumbprint or the address range has another form.
        """
        registered = self._agent(agent)
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
            "cidr": allowed_cidr,
            "credential": None,
            "expires_us": expires_us,
            "pin": pin_thumbprint,
        }
        facts = Facts("join_token.issued", agent=agent, environment=registered.environment.value)
        change = Change(
            facts, (Write(rows.JOIN_TOKEN, rows.secret_hash(secret), doc),), actor, {"expires_us": expires_us}
        )
        await self._control.transact(lambda _: change)
        return JoinToken(secret, agent, expires_us)

    async def enrol_request(self, body: bytes, *, source: str) -> dict[str, str]:
        """Answer `POST /enrol`: `{join_token, jwk}` -> `{credential_id, agent_id, token_endpoint}`.

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
            "token_endpoint": self._token_endpoint,
        }

    async def enrol(self, join_token: object, jwk: object, *, source: str) -> Credential:
        """Enrol a public key against a join token, once.

        Raises:
            UnavailableError: `attempts_limited`: too many attempts from that address.
            InvalidInputError: `key_unsuitable`: not a plain P-256 public key.
            UnauthenticatedError: `join_token_invalid`.
            ForbiddenError: `join_token_reused`: a second use; what the first enrolled is locked now.
            ConflictError: `key_shared`: the key is enrolled already, here or for another agent.
        """
        if (wait_s := self._attempts.retry_after_s(source)) is not None:
            raise UnavailableError(Code.ATTEMPTS_LIMITED, "too many attempts to enrol", hint=f"retry in {wait_s:.0f} s")
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
            self._admissible(row.doc, key.thumbprint, source, now.wall_us)
            agent = self._agent(AgentId(row.doc["agent"]))
            if view.get(rows.KEY_THUMBPRINT, key.thumbprint) is not None or (
                (rows.KEY_THUMBPRINT, key.thumbprint) in self._control.unproven
            ):
                raise ConflictError(Code.KEY_SHARED, "this key is enrolled already")
            if len(self._state.credentials_of(agent.id)) >= _MAX_CREDENTIALS:
                raise ConflictError(Code.CONFLICT, f"the agent has {_MAX_CREDENTIALS} keys already")
            credential = Credential(
                credential_id, agent.id, key.thumbprint, key.jwk, CredentialState.ACTIVE, now.wall_us
            )
            enrolled.append(credential)
            writes = [
                Write(rows.JOIN_TOKEN, token_key, {**row.doc, "credential": credential.id}),
                Write(rows.CREDENTIAL, credential.id, rows.credential_doc(credential)),
                Write(rows.KEY_THUMBPRINT, key.thumbprint, {"credential": credential.id}),
            ]
            if view.get(rows.EPOCH, agent.id) is None:
                writes.append(Write(rows.EPOCH, agent.id, {"epoch": 1}))
            return Change(
                Facts("credential.enrolled", agent=agent.id, environment=agent.environment.value),
                tuple(writes),
                Actor(agent=agent.id, credential=credential.id),
                {"credential": credential.id, "thumbprint": key.thumbprint},
            )

        await self._control.transact(build)
        if refusal:
            raise refusal[0]
        return enrolled[0]

    @staticmethod
    def _admissible(doc: Mapping[str, Any], thumbprint: str, source: str, wall_us: int) -> None:
        if wall_us >= doc["expires_us"]:
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


def _invalid(cause: str) -> UnauthenticatedError:
    return UnauthenticatedError(Code.JOIN_TOKEN_INVALID, "the join token is not valid here", cause=cause)


def _lock(view: StateView, credential: CredentialId, agent: AgentId) -> Change | None:
    """The change that a second use of a join token brings: none if the key does not count any more anyway."""
    row = view.get(rows.CREDENTIAL, credential)
    if row is None or row.doc["state"] != CredentialState.ACTIVE.value:
        return None
    return Change(
        Facts("credential.locked", agent=agent),
        (Write(rows.CREDENTIAL, credential, {**row.doc, "state": CredentialState.LOCKED.value}),),
        Actor(credential=credential),
        {"credential": credential, "cause": Code.JOIN_TOKEN_REUSED.value},
        narrowing=True,
    )
