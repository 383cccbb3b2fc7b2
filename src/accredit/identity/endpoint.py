"""The token endpoint: an agent proves its key and gets an access token, for itself or on behalf of a user.

Two grants, one answer: `client_credentials` with `private_key_jwt` (RFC 7523 §2.2, RFC 6749 §4.4) and token exchange
(RFC 8693), where our own parameter `task_token` adds the signed task. The token that comes out can never do more than
what went in: same agent, an audience not wider than the actor token's, a life not longer than the shortest of its
sources, every earlier actor kept.

An agent hands work on in two exchanges, each by whoever gets the token. The caller exchanges its own access token with
`audience` naming the callee, which is decided like a call; it gives what it gets to the callee. The callee, and nobody
else, exchanges that for its own access token, in whose chain the caller and everybody before it stands (ADR 15).

INVARIANT: the epoch in a token is read in the same step as the checks of agent, credential and issuers, without
waiting in between; so a revocation that comes at any later moment finds a token with an older epoch. They are checked
once more after the issue is on record, before the token leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from accredit.audit.model import Entry, Facts, Part
from accredit.audit.ports import AuditLog
from accredit.identity.access import (
    ACCESS_TYPE,
    DELEGATION_TYPE,
    MAX_ACTORS,
    MAX_LIFE_S,
    AccessGrant,
    access_claims,
    delegation_claims,
    principal_of,
)
from accredit.identity.audience import audience_path, covers, requested_audience
from accredit.identity.claims import actor_chain, reported_posture, roles_of, typed_claims
from accredit.identity.keys import VerifyingKey, sign
from accredit.identity.metadata import CLIENT_CREDENTIALS, TOKEN_EXCHANGE, token_endpoint
from accredit.identity.model import Delegator, Issuer, IssuerKind, Principal, VerifiedTask, VerifiedUser
from accredit.identity.ports import AgentDirectory, AttemptGate, DelegationGate
from accredit.identity.replay import Replays
from accredit.identity.signing import SigningKeys
from accredit.identity.state import IdentityState
from accredit.identity.tasks import TaskStatus
from accredit.identity.tokens import (
    MAX_TOKEN_BYTES,
    SKEW_S,
    SignedClaims,
    TokenRule,
    peek_claim,
    peek_type,
    read_token,
    refused,
    single_audience,
    text_claim,
)
from accredit.identity.verifier import AccessTokenVerifier
from accredit.kernel.clock import Clock, Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, IdSource
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Environment

__all__ = ["OnPosture", "TokenEndpoint", "TokenRefusal", "TokenReply"]

OnPosture = Callable[[AgentId, CredentialId, Mapping[str, Any]], None]
"""Takes which instance of which agent said what."""

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type of token
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a type of token
_ASSERTION_RULE_TYPES: Final = frozenset({"JWT", "client-authentication+jwt"})
_ASSERTION_LIFE_S: Final = 300
_MAX_PARAMETERS: Final = 24


@dataclass(frozen=True, slots=True)
class TokenReply:
    """A successful answer (RFC 6749 §5.1); to be sent with `Cache-Control: no-store`."""

    access_token: str = field(repr=False)
    expires_in: int
    exchanged: bool

    hands_on: bool = False
    """Whether it is no access token, but one that hands work on to another agent."""

    status = 200

    def body(self) -> dict[str, Any]:
        if self.hands_on:  # RFC 8693 §2.2.1: what is no access token has no type of use
            kind = {"token_type": "N_A", "issued_token_type": _JWT}
            return {"access_token": self.access_token, "expires_in": self.expires_in, **kind}
        reply = {"access_token": self.access_token, "token_type": "Bearer", "expires_in": self.expires_in}
        return reply | {"issued_token_type": _ACCESS_TOKEN} if self.exchanged else reply


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """A refusal (RFC 6749 §5.2). `code` and `cause` are for the record; `body` is what the caller may know."""

    status: int
    error: str
    description: str
    code: Code
    cause: str = ""
    credential: CredentialId | None = None
    """Who was refused, once that was proven."""

    def body(self) -> dict[str, Any]:
        # whoever did not prove who it is learns nothing about why; whoever did may mend its request
        told = Code.UNAUTHENTICATED if self.error == "invalid_client" else self.code
        return {"error": self.error, "error_description": self.description, "code": told.value}


@dataclass(frozen=True, slots=True)
class _Caller:
    """An agent's instance that proved itself, and how far what it proved itself with reaches."""

    agent: AgentId
    credential: CredentialId
    reach: str
    """Path below the public URL that a token for it may not go beyond; empty for anywhere."""
    until_s: int | None = None
    """When what it proved itself with ends, if that bounds what it gets."""


class TokenEndpoint:
    """Answers `POST /oauth/token`."""

    def __init__(
        self,
        state: IdentityState,
        keys: SigningKeys,
        verifier: AccessTokenVerifier,
        directory: AgentDirectory,
        tasks: TaskStatus,
        audit: AuditLog,
        *,
        clock: Clock,
        ids: IdSource,
        attempts: AttemptGate,
        public_url: str,
        delegations: DelegationGate | None = None,
        on_posture: OnPosture = lambda *_: None,
    ) -> None:
        """Without `delegations` nothing is handed on; `on_posture` hears what an instance says it runs."""
        self._state = state
        self._keys = keys
        self._verifier = verifier
        self._directory = directory
        self._tasks = tasks
        self._audit = audit
        self._clock = clock
        self._ids = ids
        self._attempts = attempts
        self._public_url = public_url
        self._delegations = delegations
        self._on_posture = on_posture
        self._handed_on = Replays(clock.now())
        self._assertions = Replays(clock.now())
        self._task_tokens = Replays(clock.now())
        # clients follow RFC 7523 §3 (endpoint) or its revision (issuer), and some put a slash after the issuer
        self._us = frozenset({public_url, public_url + "/", token_endpoint(public_url)})

    async def token_request(self, form: Mapping[str, str], source: str) -> TokenReply | TokenRefusal:
        """Answer one token request, its form already decoded; a repeated parameter is the caller's to refuse."""
        if (wait_s := self._attempts.retry_after_s(source)) is not None:
            description = f"too many attempts, retry in {wait_s:.0f} s"
            return TokenRefusal(429, "temporarily_unavailable", description, Code.ATTEMPTS_LIMITED)
        caller: _Caller | None = None
        try:
            grant_type = self._checked(form)
            caller = self._authenticated(form, grant_type)
            if grant_type == CLIENT_CREDENTIALS:
                return await self._issue(caller, form, None)
            if "audience" in form and self._ours(form.get("subject_token", ""), ACCESS_TYPE):
                return await self._hand_on(caller, form, source)
            return await self._exchange(caller, form)
        except AccreditError as error:
            return _refusal(error, caller)

    @staticmethod
    def _checked(form: Mapping[str, str]) -> str:
        if len(form) > _MAX_PARAMETERS or any(len(value) > MAX_TOKEN_BYTES for value in form.values()):
            raise InvalidInputError(Code.BODY_OVERSIZED, "a parameter is too long, or there are too many")
        grant_type = form.get("grant_type", "")
        if grant_type not in {CLIENT_CREDENTIALS, TOKEN_EXCHANGE}:
            raise InvalidInputError(Code.GRANT_TYPE_UNSUPPORTED, f"`{grant_type[:80]}` is not a grant type here")
        return grant_type

    def _authenticated(self, form: Mapping[str, str], grant_type: str) -> _Caller:
        """Who is asking: by assertion (any grant), or by its own access token as the actor (exchange)."""
        actor = self._actor(form) if grant_type == TOKEN_EXCHANGE and "actor_token" in form else None
        if "client_assertion" not in form:
            if actor is None:
                raise refused(Code.TOKEN_MISSING, "neither `client_assertion` nor `actor_token`")
            return actor
        client = self._client(form)
        if actor is None:
            return client
        if actor.credential != client.credential:
            raise refused(Code.TOKEN_ACTOR, "the actor token belongs to another credential")
        return actor

    def _client(self, form: Mapping[str, str]) -> _Caller:
        """RFC 7523 §3, RFC 7521 §4.2.1."""
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise refused(Code.TOKEN_TYPE, "`client_assertion_type` is not jwt-bearer")
        assertion, now = form["client_assertion"], self._clock.now()
        credential = CredentialId(peek_claim(assertion, "sub") or "")

        def key(kid: str | None) -> VerifyingKey | None:
            # each credential has one key; a `kid` is not needed, but if there is one it must say so
            found = self._state.credential_key(credential)
            return found if found is not None and kid in {None, credential, found.thumbprint} else None

        rule = TokenRule(_ASSERTION_RULE_TYPES, credential, _ASSERTION_LIFE_S)
        signed = read_token(assertion, rule=rule, keys=key, now=now)
        if signed.claims.get("sub") != credential or form.get("client_id", credential) != credential:
            raise refused(Code.TOKEN_SUBJECT, "`iss`, `sub` and `client_id` differ")
        if (audience := single_audience(signed.claims)) not in self._us:
            raise refused(Code.TOKEN_AUDIENCE, f"`aud` is {audience[:80]!r}")
        jti = text_claim(signed.claims, "jti")
        record = self._state.credential(credential)
        agent = record.agent if record else AgentId("")
        if (code := self._standing(agent, credential)) is not None:
            raise refused(code, "of the assertion's credential", credential=credential)
        if signed.issued_s < self._assertions.began_s:
            raise refused(Code.TOKEN_REPLAYED, "issued before this process began to remember")
        posture = reported_posture(signed.claims)
        self._assertions.spend(credential, jti, agent=agent, until=_end(signed, now), now=now)
        if posture is not None:
            self._on_posture(agent, credential, posture)
        return _Caller(agent, credential, reach="")

    def _actor(self, form: Mapping[str, str]) -> _Caller:
        if form.get("actor_token_type") != _ACCESS_TOKEN:
            raise refused(Code.TOKEN_TYPE, "`actor_token_type` is not access_token")
        principal, path = self._verifier.own(form["actor_token"])
        if principal.actors:
            # else the user it acts for now would silently be left out of what comes out
            raise refused(Code.TOKEN_ACTOR, "the actor token itself acts for somebody")
        return _Caller(principal.agent, principal.credential, path, principal.expires_us // 1_000_000 - SKEW_S)

    def _standing(
        self,
        agent: AgentId,
        credential: CredentialId,
        registrations: tuple[str, ...] = (),
        delegators: tuple[Delegator, ...] = (),
    ) -> Code | None:
        epoch = self._state.epoch(agent)
        registered = self._directory.get(agent)
        if registered is None or epoch is None:
            return Code.AGENT_UNKNOWN
        if not runs(registered.environment, registered.state):
            return Code.AGENT_NOT_ACTIVE
        for one in delegators:
            before = self._directory.get(one.agent)
            if before is None or not runs(before.environment, before.state):
                return Code.DELEGATOR_ENDED
        return self._state.refusal(
            Principal(agent, credential, epoch, 0, "", registrations=registrations, delegators=delegators)
        )

    # -- on behalf of a user

    async def _exchange(self, caller: _Caller, form: Mapping[str, str]) -> TokenReply:
        """RFC 8693 §2.1, in order: the subject, who may act for it, the task, and only then the issue."""
        if form.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
            raise InvalidInputError(Code.TOKEN_TYPE, "only access tokens are issued")
        if form.get("subject_token_type") not in {_ACCESS_TOKEN, _JWT, _ID_TOKEN}:
            raise InvalidInputError(Code.TOKEN_TYPE, "`subject_token_type` is not a type of signed token")
        token = form.get("subject_token", "")
        if self._ours(token, DELEGATION_TYPE):
            return await self._issue(caller, form, await self._taken_on(caller, form, token))
        issuer, subject = self._signed_by(IssuerKind.USER, token, caller)
        self._may_act(caller, issuer, subject.claims)
        user = VerifiedUser(
            issuer.url,
            text_claim(subject.claims, "sub", code=Code.TOKEN_SUBJECT),
            roles_of(subject.claims, issuer),
            typed_claims(subject.claims, issuer.claims),
        )
        earlier = actor_chain(subject.claims)
        if any(self._directory.get(AgentId(one)) is not None for one in earlier):
            # an agent of ours hands on by itself: else an issuer could put it in front of work it never saw
            raise refused(Code.TOKEN_ACTOR, "the issuer names an agent of ours as an earlier actor")
        behalf = _Behalf(user, issuer.id, earlier, subject.expires_s)
        if "task_token" in form:
            behalf = await self._with_task(caller, behalf, form["task_token"])
        return await self._issue(caller, form, behalf)

    def _ours(self, token: str, kind: str) -> bool:
        """Whether a token says it is one of ours of that kind: whose rule it has to verify under, and no more."""
        return token != "" and peek_type(token) == kind and peek_claim(token, "iss") == self._public_url

    def _signed_by(self, kind: IssuerKind, token: str, caller: _Caller) -> tuple[Issuer, SignedClaims]:
        if not token:
            raise refused(Code.TOKEN_MISSING, f"no {kind} token")
        url = peek_claim(token, "iss")
        found = self._state.issuer_by_url(kind, url)
        # INVARIANT: our own word never counts as another's, even if an operator registered our address and keys:
        # an agent's access token is of the type that users' tokens mostly are
        if found is None or url in self._us:
            raise refused(Code.ISSUER_UNKNOWN, f"no {kind} issuer of the token's `iss`")
        issuer, keys = found
        if issuer.revoked:
            raise refused(Code.CREDENTIAL_REVOKED, f"the {kind} issuer was revoked")
        agent = self._directory.get(caller.agent)
        if not issuer.approved and (agent is None or agent.environment is not Environment.DEVELOPMENT):
            raise refused(Code.ISSUER_UNAPPROVED, f"the {kind} issuer")
        rule = TokenRule(frozenset({issuer.token_type}), issuer.url, issuer.max_life_s)
        return issuer, read_token(
            token, rule=rule, keys=lambda kid: keys.get(kid) if kid else None, now=self._clock.now()
        )

    def _for_us(self, issuer: Issuer, audience: str) -> bool:
        if issuer.audience:
            return audience == issuer.audience
        return audience in self._us or audience_path(audience, self._public_url) is not None

    def _may_act(self, caller: _Caller, issuer: Issuer, claims: Mapping[str, Any]) -> None:
        """A subject token is for us, or says that this very agent may act (RFC 8693 §4.4); never for another."""
        audience, may_act = single_audience(claims), claims.get("may_act")
        if may_act is None:
            if not self._for_us(issuer, audience):
                raise refused(Code.TOKEN_AUDIENCE, "the subject token is not for us and has no `may_act`")
        elif not isinstance(may_act, dict) or may_act.get("sub") != caller.agent:
            raise refused(Code.TOKEN_ACTOR, "`may_act` does not name this agent")

    async def _with_task(self, caller: _Caller, behalf: _Behalf, token: str) -> _Behalf:
        """DESIGN §4: it names agent, user, task and `jti`, lives 15 minutes at most, and its task is open."""
        issuer, signed = self._signed_by(IssuerKind.TASK, token, caller)
        claims, now = signed.claims, self._clock.now()
        if not self._for_us(issuer, single_audience(claims)):
            raise refused(Code.TOKEN_AUDIENCE, "the task token is not for us")
        if text_claim(claims, "agent", code=Code.TOKEN_ACTOR) != caller.agent:
            raise refused(Code.TOKEN_ACTOR, "the task token names another agent")
        if behalf.user is None or text_claim(claims, "sub", code=Code.TOKEN_SUBJECT) != behalf.user.subject:
            raise refused(Code.TOKEN_SUBJECT, "the task token names another user")
        task = VerifiedTask(issuer.url, text_claim(claims, "task"), typed_claims(claims, issuer.claims))
        jti, until = text_claim(claims, "jti"), _end(signed, now)
        watch = await self._tasks.confirm(issuer, task.id, until=until)
        if (code := watch.refusal(self._clock.now())) is not None:
            raise refused(code, "as the task's issuer says")
        # the instance that brought it may bring it again to renew its access token; nobody else may
        self._task_tokens.spend(issuer.id, jti, agent=caller.agent, holder=caller.credential, until=until, now=now)
        until_s = min(behalf.until_s, signed.expires_s)
        return replace(behalf, until_s=until_s, task=task, task_registration=issuer.id)

    # -- on behalf of another agent

    async def _hand_on(self, caller: _Caller, form: Mapping[str, str], source: str) -> TokenReply:
        """The caller's half: a token that hands what it is doing on to the agent that `audience` names."""
        if self._delegations is None:
            raise refused(Code.DELEGATION_NOT_GRANTED, "nothing can be handed on here")
        if form.get("requested_token_type", _JWT) != _JWT or form.get("subject_token_type") != _ACCESS_TOKEN:
            raise InvalidInputError(Code.TOKEN_TYPE, "an access token is handed on, as a token of type jwt")
        if "scope" in form:  # to leave it out unsaid would hand on more than was asked for
            raise InvalidInputError(Code.TOKEN_CLAIMS, "`scope` is not known here: narrow it in the manifest")
        principal, reach = self._verifier.own(form.get("subject_token", ""))
        if (principal.agent, principal.credential) != (caller.agent, caller.credential):
            raise refused(Code.TOKEN_ACTOR, "what is handed on was issued to another credential")
        audience = requested_audience(form.get("resource") or self._public_url + reach, self._public_url)
        path = audience_path(audience, self._public_url) or ""
        if not (covers(reach, path or "/") and covers(caller.reach, path or "/")):
            raise InvalidInputError(Code.TOKEN_AUDIENCE, "the resource lies beyond what is handed on")
        callee = await self._delegations.hand_on(principal, form["audience"], source=source)
        if (code := self._verifier.still_valid(principal)) is not None:  # under the epoch it was presented with
            raise refused(code, "while it was decided")
        registrations = principal.registrations
        behalf = _Behalf(
            principal.user,
            registrations[0] if principal.user is not None else "",
            principal.actors[1:],
            principal.expires_us // 1_000_000 - SKEW_S,
            principal.task,
            registrations[1] if principal.task is not None else "",
            principal.delegators,
        )
        return await self._made(caller, audience, behalf, callee)

    async def _taken_on(self, caller: _Caller, form: Mapping[str, str], token: str) -> _Behalf:
        """The callee's half: what was handed on to it, and to nobody else. Neither user nor task can be put in."""
        if "task_token" in form:
            raise refused(Code.TOKEN_SUBJECT, "the task is the one that was handed on")
        now = self._clock.now()
        rule = TokenRule(frozenset({DELEGATION_TYPE}), self._public_url, MAX_LIFE_S)
        signed = read_token(token, rule=rule, keys=self._keys.find, now=now)
        may_act = signed.claims.get("may_act")
        if (
            single_audience(signed.claims) != caller.agent
            or not isinstance(may_act, dict)
            or may_act.get("sub") != caller.agent
        ):
            raise refused(Code.TOKEN_AUDIENCE, "it was handed on to another agent")
        giver, task_registration = principal_of(signed, digest=sha256(token.encode()).hexdigest(), now=now)
        if len(giver.actors) >= MAX_ACTORS or caller.agent in giver.actors:
            raise refused(Code.TOKEN_ACTOR, "the chain would be too long, or have this agent in it twice")
        if giver.task is not None and (issuer := self._state.issuer(task_registration)) is not None:
            watch = await self._tasks.confirm(issuer, giver.task.id, until=_end(signed, now))
            if (code := watch.refusal(self._clock.now())) is not None:
                raise refused(code, "as the task's issuer says")
        if signed.issued_s < self._handed_on.began_s:
            raise refused(Code.TOKEN_REPLAYED, "issued before this process began to remember")
        # the instance that took it on may do so again, for another address; no other instance may
        self._handed_on.spend(
            self._public_url,
            text_claim(signed.claims, "jti"),
            agent=caller.agent,
            holder=caller.credential,
            until=_end(signed, now),
            now=now,
        )
        return _Behalf(
            giver.user,
            giver.registrations[0] if giver.user is not None else "",
            giver.actors,
            signed.expires_s,
            giver.task,
            task_registration,
            (Delegator(giver.agent, giver.credential, giver.epoch), *giver.delegators),
            audience_path(text_claim(signed.claims, "reach", longest=2048), self._public_url),
        )

    # -- the issue

    async def _issue(self, caller: _Caller, form: Mapping[str, str], behalf: _Behalf | None) -> TokenReply:
        audience = requested_audience(form.get("resource"), self._public_url)
        path = audience_path(audience, self._public_url) or ""
        if not covers(caller.reach, path or "/"):
            raise InvalidInputError(Code.TOKEN_AUDIENCE, "the resource lies beyond what the actor token is for")
        if behalf is not None and (behalf.reach is None or not covers(behalf.reach, path or "/")):
            raise InvalidInputError(Code.TOKEN_AUDIENCE, "the resource lies beyond what was handed on")
        return await self._made(caller, audience, behalf)

    async def _made(
        self, caller: _Caller, audience: str, behalf: _Behalf | None, callee: AgentId | None = None
    ) -> TokenReply:
        """An access token for the caller; with `callee`, one that hands on to that agent."""
        registrations = behalf.registrations() if behalf else ()
        delegators = behalf.delegators if behalf else ()
        if (code := self._standing(caller.agent, caller.credential, registrations, delegators)) is not None:
            raise refused(code, "before issuing")
        now, agent, epoch = self._clock.now(), self._directory.get(caller.agent), self._state.epoch(caller.agent)
        assert agent is not None and epoch is not None, "checked just now, without waiting"  # noqa: PT018, S101 - one step
        ends = [now.wall_s + MAX_LIFE_S, *([behalf.until_s] if behalf else [])]
        ends += [caller.until_s] if caller.until_s is not None else []
        grant = AccessGrant(
            agent=caller.agent,
            credential=caller.credential,
            epoch=epoch,
            version=agent.version.digest,
            audience=audience,
            jti=self._ids.new("jti"),
            issued_s=now.wall_s,
            expires_s=min(ends),
            user=behalf.user if behalf else None,
            user_registration=behalf.user_registration if behalf else "",
            task=behalf.task if behalf else None,
            task_registration=behalf.task_registration if behalf else "",
            earlier_actors=behalf.earlier_actors if behalf else (),
            delegators=delegators,
        )
        if grant.expires_s <= grant.issued_s:
            raise refused(Code.TOKEN_EXPIRED, "what was presented ends before a token could begin")
        if callee is None:
            claims, kind = access_claims(grant, issuer=self._public_url), ACCESS_TYPE
        else:
            claims, kind = delegation_claims(grant, callee=callee, issuer=self._public_url), DELEGATION_TYPE
        token = sign(claims, typ=kind, key=self._keys.current())
        if len(token) > MAX_TOKEN_BYTES:
            raise InvalidInputError(Code.TOKEN_OVERSIZED, "the claims let through do not fit into one token")
        await self._audit.append(_entry(grant, agent, token, now, callee))
        if (code := self._standing(caller.agent, caller.credential, registrations, delegators)) is not None:
            raise refused(code, "while issuing")
        return TokenReply(token, grant.expires_s - grant.issued_s, behalf is not None, callee is not None)


@dataclass(frozen=True, slots=True)
class _Behalf:
    """For whom, and for which task."""

    user: VerifiedUser | None
    """None: nobody; an agent that acts for no user handed it on."""
    user_registration: str
    earlier_actors: tuple[str, ...]
    until_s: int
    task: VerifiedTask | None = None
    task_registration: str = ""
    delegators: tuple[Delegator, ...] = ()
    reach: str | None = ""
    """Path below the public URL that nothing made of it may go beyond; empty for anywhere, None for nowhere."""

    def registrations(self) -> tuple[str, ...]:
        return tuple(name for name in (self.user_registration, self.task_registration) if name)


def _end(signed: SignedClaims, now: Instant) -> Deadline:
    """When a token of others cannot count any more, the tolerance included."""
    wall_us = (signed.expires_s + SKEW_S) * 1_000_000
    return Deadline(wall_us, now.boot_us + wall_us - now.wall_us)


def _entry(grant: AccessGrant, agent: Agent, token: str, now: Instant, callee: AgentId | None) -> Entry:
    request: dict[str, Any] = {"resource": grant.audience}
    if grant.user is not None:
        request |= {"user_issuer": grant.user.issuer, "user": grant.user.subject, "roles": sorted(grant.user.roles)}
    if grant.task is not None:
        request |= {"task_issuer": grant.task.issuer, "task": grant.task.id}
    return Entry(
        facts=Facts(
            "token.issued", agent=grant.agent, version=agent.version.digest, environment=agent.environment.value
        ),
        time_us=now.wall_us,
        body={
            "actors": list(grant.chain) if grant.user is not None or grant.delegators or callee is not None else [],
            "callee": callee,
            "credential": grant.credential,
            "epoch": grant.epoch,
            "expires_s": grant.expires_s,
            "issuers": [name for name in (grant.user_registration, grant.task_registration) if name],
            "token": sha256(token.encode()).hexdigest(),
        },
        parts=(Part("request", request),),
    )


def _refusal(error: AccreditError, caller: _Caller | None) -> TokenRefusal:
    who = caller.credential if caller else None
    match error:
        case UnauthenticatedError(code=Code.CREDENTIAL_PENDING | Code.AGENT_NOT_ACTIVE) if error.credential:
            # its key proved it: it may know that it has to wait, and for what
            who = CredentialId(error.credential)
            return TokenRefusal(400, "unauthorized_client", error.code.meaning, error.code, error.cause, who)
        case UnauthenticatedError() if caller is None:
            named = CredentialId(error.credential) if error.credential else None
            return TokenRefusal(401, "invalid_client", error.message, error.code, error.cause, named)
        case UnauthenticatedError():
            return TokenRefusal(400, "invalid_grant", error.code.meaning, error.code, error.cause, who)
        case UnavailableError():
            return TokenRefusal(503, "temporarily_unavailable", error.message, error.code, error.cause, who)
        case ForbiddenError():  # RFC 8693 §2.2.2: the target is not one that this may be for
            return TokenRefusal(400, "invalid_target", error.message, error.code, error.cause, who)
        case InvalidInputError(code=Code.TOKEN_AUDIENCE):
            return TokenRefusal(400, "invalid_target", error.message, error.code, error.cause, who)
        case InvalidInputError(code=Code.GRANT_TYPE_UNSUPPORTED):
            return TokenRefusal(400, "unsupported_grant_type", error.message, error.code, error.cause, who)
        case _:
            return TokenRefusal(400, "invalid_request", error.message, error.code, error.cause, who)
