"""One small installation in memory: every part of the room wired as bootstrap wires it, on a scripted clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import orjson
from joserfc import jws
from joserfc.jwk import ECKey

from accredit.audit.model import Entry, Facts, Receipt
from accredit.audit.ports import Actor, Change, Write
from accredit.identity.broker import SealedBroker
from accredit.identity.endpoint import TokenEndpoint, TokenRefusal, TokenReply
from accredit.identity.enrolment import Enrolment
from accredit.identity.metadata import token_endpoint
from accredit.identity.model import Credential, Issuer
from accredit.identity.people import People
from accredit.identity.revocation import Revocations
from accredit.identity.signing import SigningKeys
from accredit.identity.state import IdentityState
from accredit.identity.tasks import TaskStatus
from accredit.identity.verifier import AccessTokenVerifier
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, PersonId, SeededIds, TeamId
from accredit.kernel.sealing import AesGcmSealer
from accredit.registry.model import (
    LATEST_REVISION,
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Environment,
    Team,
    ToolServer,
)
from accredit.registry.service import Registry
from accredit.storage.memory.control import MemoryControlLog
from tests.identity.authorization import AuthorizationServer

T = TypeVar("T")

URL = "https://accredit.example"
CRM = f"{URL}/mcp/crm"
USERS = "https://login.example"
TASKS = "https://tickets.example"
ADMIN = Actor(person="psn_admin", credential="tok_admin", basis="single-admin")
START_US = 1_800_000_000_000_000
SUPPORT = AgentId("agt_support")
BILLING = AgentId("agt_billing")

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, bounded."""
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def jwt(key: ECKey, claims: dict[str, Any] | bytes, **header: Any) -> str:
    """A signed token with exactly that header and those claims; `None` leaves a header parameter out."""
    full = {"alg": "ES256", "typ": "JWT", "kid": "k1", **header}
    payload = claims if isinstance(claims, bytes) else orjson.dumps(claims)
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact({k: v for k, v in full.items() if v is not None}, payload, key, registry=registry)


def public(key: ECKey, **members: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), **members}


def version(digit: str = "1") -> AgentVersion:
    digest, limits = Digest("sha256:" + digit * 64), AgentLimits(60, 4, 30.0, 1200.0, None)
    return AgentVersion(digest, {}, {}, (), frozenset(), "UTC", limits)


def agent(
    agent_id: AgentId,
    *,
    state: AgentState = AgentState.DRAFT,
    environment: Environment = Environment.DEVELOPMENT,
    candidate: AgentVersion | None = None,
) -> Agent:
    team = Team(TeamId("team_1"), "support", frozenset({"UTC"}))
    owner, backup = PersonId("psn_1"), PersonId("psn_2")
    return Agent(agent_id, agent_id[4:], team, environment, state, owner, backup, version(), candidate=candidate)


class Directory(dict[AgentId, Agent]):
    """An `AgentDirectory` in a dict."""


class RecordingAudit:
    """An `AuditLog` in a list; `before_durable` runs while an append is awaited."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.before_durable: Callable[[], Coroutine[Any, Any, object]] | None = None
        self.broken = False

    async def append(self, entry: Entry) -> Receipt:
        if self.before_durable is not None:
            await self.before_durable()
        if self.broken:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the record could not be made durable")
        self.entries.append(entry)
        return Receipt("memory", len(self.entries) - 1, b"")


class DoubtedControlLog(MemoryControlLog):
    """Control state of which the log contradicts whatever `doubted` names."""

    doubted: frozenset[tuple[str, str]] = frozenset()

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        return self.doubted


class Gate:
    """An `AttemptGate` that is open until told otherwise."""

    wait_s: float | None = None

    def retry_after_s(self, source: str) -> float | None:
        return self.wait_s


class Statuses:
    """A `StatusFetch`: what each URL answers, or does not."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.before_answer: Callable[[], Coroutine[Any, Any, object]] | None = None

    async def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if self.before_answer is not None:
            await self.before_answer()
        if url not in self.answers:
            raise UnavailableError(Code.TASK_STATUS_STALE, "no answer")
        return self.answers[url]


class NoServers:
    """A `DefinitionSource` without tool servers."""

    async def revision(self, server: ToolServer) -> str:
        return LATEST_REVISION

    async def fetch(self, server: ToolServer) -> Mapping[str, Mapping[str, Any]]:
        raise UnavailableError(Code.UPSTREAM_INVALID, f"there is no `{server.name}`")


class World:
    """An installation with two agents, a user issuer and a task issuer."""

    def __init__(self, control: DoubtedControlLog | None = None, clock: ScriptedClock | None = None) -> None:
        self.clock = clock or ScriptedClock(START_US)
        self.ids = SeededIds(7 if control is None else 8)
        self.control = control or DoubtedControlLog()
        self.sealer = AesGcmSealer(b"k" * 32, self.ids)
        self.directory = Directory({SUPPORT: agent(SUPPORT), BILLING: agent(BILLING)})
        self.audit = RecordingAudit()
        self.gate = Gate()
        self.statuses = Statuses()
        self.tokens = AuthorizationServer("https://auth.example", lambda: self.now_s)
        self.state = IdentityState(self.control)
        self.keys = SigningKeys(self.control, self.sealer, clock=self.clock, ids=self.ids)
        self.tasks = TaskStatus(self.statuses, clock=self.clock)
        self.verifier = self.new_verifier()
        self.endpoint = TokenEndpoint(
            self.state,
            self.keys,
            self.verifier,
            self.directory,
            self.tasks,
            self.audit,
            clock=self.clock,
            ids=self.ids,
            attempts=self.gate,
            public_url=URL,
        )
        self.enrolment = Enrolment(
            self.control,
            self.directory,
            self.state,
            clock=self.clock,
            ids=self.ids,
            attempts=self.gate,
            token_endpoint=token_endpoint(URL),
        )
        self.registry = Registry(
            self.control, self.ids, self.clock, NoServers(), bootstrapping=lambda: self.state.bootstrapping
        )
        self.revocations = Revocations(self.control, self.directory)
        self.people = People(
            self.control,
            self.state,
            lambda: self.registry.organisation,
            clock=self.clock,
            ids=self.ids,
            attempts=self.gate,
        )
        self.broker = self.new_broker()
        self.user_key = ECKey.generate_key("P-256")
        self.task_key = ECKey.generate_key("P-256")

    def new_broker(self, sealer: AesGcmSealer | None = None) -> SealedBroker:
        return SealedBroker(
            self.control,
            sealer or self.sealer,
            self.tokens,
            person=lambda address: self.registry.catalogue.person(address),  # noqa: PLW0108 - always the newest
            clock=self.clock,
            ids=self.ids,
            public_url=URL,
        )

    def new_verifier(self, **options: Any) -> AccessTokenVerifier:
        return AccessTokenVerifier(
            self.state, self.keys, self.directory, self.tasks, clock=self.clock, public_url=URL, **options
        )

    @property
    def now_s(self) -> int:
        return self.clock.now().wall_s

    # -- set-up

    async def started(self) -> World:
        await self.keys.ensure(actor=ADMIN)
        self.users = await self.register("staff", self.user_issuer())
        self.ticketing = await self.register("tickets", self.task_issuer())
        self.task_is(b'{"open": true}')
        return self

    async def register(self, name: str, spec: dict[str, Any]) -> Issuer:
        """Apply an issuer's manifest, as an operator would; a second person signs off what takes two."""
        manifest = {"apiVersion": "accredit/v1", "kind": "Issuer", "metadata": {"name": name}, "spec": spec}
        (applied,) = await self.registry.apply([("issuer.json", orjson.dumps(manifest))], ADMIN)
        if (proposal := applied.proposal) is not None:
            clearance = Clearance(Subject(proposal.kind, proposal.digest), Basis.APPROVALS, ("psn_voter",), "tok_2")
            await self.registry.enact(proposal.content, clearance, ADMIN)
        issuer = self.state.issuer(name)
        assert issuer is not None
        return issuer

    async def person(self, email: str, *, controlled_by: list[str] | None = None) -> PersonId:
        """Register a person, or a service account of those who control it."""
        spec = {"email": email} | ({} if controlled_by is None else {"controlledBy": controlled_by})
        manifest = {"apiVersion": "accredit/v1", "kind": "Person", "spec": spec}
        (applied,) = await self.registry.apply([("person.json", orjson.dumps(manifest))], ADMIN)
        return PersonId(applied.id)

    async def put(self, kind: str, key: str, doc: Mapping[str, Any] | None) -> None:
        """Put a row in place, or remove it, past every service."""
        change = Change(Facts("test.put"), (Write(kind, key, doc),), ADMIN, {})
        await self.control.transact(lambda _: change)

    def user_issuer(self, **changes: Any) -> dict[str, Any]:
        return {
            "use": "user",
            "issuer": USERS,
            "jwks": {"keys": [public(self.user_key, kid="k1")]},
            "claims": {"department": "string", "level": "integer", "staff": "boolean"},
            "tokenType": "JWT",
            "rolesClaim": "groups",
            "roleNames": {"grp-cs": "customer-support"},
            **changes,
        }

    def task_issuer(self, **changes: Any) -> dict[str, Any]:
        return {
            "use": "task",
            "issuer": TASKS,
            "jwks": {"keys": [public(self.task_key, kid="k1")]},
            "claims": {"customer_id": "string"},
            "statusUrl": f"{TASKS}/status/{{task}}",
            **changes,
        }

    def task_is(self, answer: bytes | None, task: str = "T-1") -> None:
        url = f"{TASKS}/status/{task}"
        if answer is None:
            self.statuses.answers.pop(url, None)
        else:
            self.statuses.answers[url] = answer

    async def instance(self, agent_id: AgentId = SUPPORT) -> Instance:
        key = ECKey.generate_key("P-256")
        token = await self.enrolment.issue_join_token(agent_id, actor=ADMIN)
        return Instance(self, key, await self.enrolment.enrol(token.secret, public(key), source="10.0.0.9"))

    # -- tokens of others

    def subject_token(self, **claims: Any) -> str:
        now = self.now_s
        full = {
            "iss": USERS,
            "sub": "kim",
            "aud": URL,
            "iat": now,
            "exp": now + 600,
            "groups": ["grp-cs", "grp-other"],
            "department": "north",
            "nickname": "K",
            **claims,
        }
        return jwt(self.user_key, {name: value for name, value in full.items() if value is not None})

    def task_token(self, **claims: Any) -> str:
        now = self.now_s
        full = {
            "iss": TASKS,
            "sub": "kim",
            "aud": URL,
            "iat": now,
            "exp": now + 600,
            "agent": SUPPORT,
            "task": "T-1",
            "jti": self.ids.new("jti"),
            "customer_id": "C-7",
            **claims,
        }
        return jwt(self.task_key, {name: value for name, value in full.items() if value is not None}, typ="task+jwt")


class Instance:
    """One running instance of an agent."""

    def __init__(self, world: World, key: ECKey, credential: Credential) -> None:
        self.world = world
        self.key = key
        self.credential = credential

    def assertion_claims(self, **claims: Any) -> dict[str, Any]:
        now = self.world.now_s
        full = {
            "iss": self.credential.id,
            "sub": self.credential.id,
            "aud": token_endpoint(URL),
            "jti": self.world.ids.new("jti"),
            "iat": now,
            "exp": now + 60,
            **claims,
        }
        return {name: value for name, value in full.items() if value is not None}

    def assertion(self, **claims: Any) -> str:
        return jwt(self.key, self.assertion_claims(**claims), kid=self.credential.id)

    def proof(self, **claims: Any) -> dict[str, str]:
        return {"client_assertion_type": ASSERTION, "client_assertion": self.assertion(**claims)}

    async def ask(self, **form: str) -> TokenReply | TokenRefusal:
        proof = {} if "client_assertion" in form else self.proof()
        full = {"grant_type": "client_credentials", "resource": CRM, **proof, **form}
        return await self.world.endpoint.token_request(full, "10.0.0.9")

    async def token(self, **form: str) -> str:
        return granted(await self.ask(**form))

    async def ask_exchange(self, proof: dict[str, str] | None = None, /, **form: str) -> TokenReply | TokenRefusal:
        full = {
            "grant_type": EXCHANGE,
            "resource": CRM,
            "subject_token_type": JWT,
            **(self.proof() if proof is None else proof),
            **form,
        }
        if "subject_token" not in full:
            full["subject_token"] = self.world.subject_token()
        return await self.world.endpoint.token_request(full, "10.0.0.9")


def granted(reply: TokenReply | TokenRefusal) -> str:
    assert isinstance(reply, TokenReply), reply
    return reply.access_token


def refusal(reply: TokenReply | TokenRefusal) -> TokenRefusal:
    assert isinstance(reply, TokenRefusal), "a token was granted"
    return reply
