"""What every decision of one moment is judged by: a release and a catalogue, immutable, and their compiled slices.

Agents are not in it: a request brings its agent, and slices are addressed by what they contain, so a new version of
one agent among ten thousand rebuilds nothing here. A slice is what is in scope for (agent's parents, operation,
resource); its handle is shared by every agent whose policies say the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any

import orjson

from accredit.kernel.canonical import Digest, digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import ServerName, ToolId
from accredit.policy.arguments import ArgumentType, input_type
from accredit.policy.cache import HandleCache
from accredit.policy.context import Projection
from accredit.policy.entities import (
    RISK_TIER,
    EntityFacts,
    action_facts,
    callee_facts,
    delegate_action,
    missing_parents,
    principal_facts,
    resource_facts,
)
from accredit.policy.external import ExternalPolicies
from accredit.policy.grants import GrantBook, GrantPermit
from accredit.policy.measured import session_type
from accredit.policy.ports import Engine, Uid, VetoAnswer, VetoEngine
from accredit.policy.release import Release
from accredit.policy.scope import EntityName
from accredit.policy.sources import Policy
from accredit.registry.lifecycle import runs
from accredit.registry.mappings import DeclaredMapping, declared_mapping
from accredit.registry.model import Agent, Effect, Tool, ToolServer

__all__ = ["Compiled", "Inadmissible", "PolicySnapshot", "Slice"]

_BUDGET = 64 * 1024 * 1024
# what handles were measured to take (bench/decision.py reports the process's growth beside these)
_HANDLE_BYTES, _HANDLE_BYTES_PER_CHARACTER = 1500, 12
_SLICE_BYTES, _SLICE_BYTES_PER_GRANT, _ENTITY_BYTES_PER_CHARACTER, _SCOPE_BYTES = 3500, 400, 7, 1000


_NO_TOOL = Tool(
    id=ToolId("@none"),
    server=ServerName("@none"),
    name="@none",
    effect=Effect.READ,
    scope=None,
    data=frozenset(),
    price=None,
    definition={"name": "@none", "inputSchema": {"type": "object"}},
    definition_digest=digest("no-tool", b""),
)
"""What work is handed on for, while that is not known yet."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A handle and what must be sent to it. Shared by all slices with equal bodies."""

    handle: Any
    projection: Projection


@dataclass(frozen=True, slots=True)
class _Place:
    """What every agent's call of one tool has in common: the operation and the thing acted on."""

    tool: Tool
    action: EntityFacts
    groups: frozenset[EntityName]
    resource: EntityFacts
    kinds: frozenset[EntityName]
    action_uid: Uid
    resource_uid: Uid
    entities: Any
    mapping: DeclaredMapping | str | None
    """What the tool declares; a text: why that is malformed."""
    lacking: str
    """The parents that operation or resource should have and have not."""


@dataclass(frozen=True, slots=True)
class Slice:
    """All policies in scope for one agent, operation and resource, and the entities they are judged with."""

    agent: Agent
    tool: Tool
    basis: object
    permit: GrantPermit
    policies: tuple[Policy, ...]
    """In the order of their bodies, which gives equal sets of bodies equal local ids: the positions."""
    key: tuple[object, ...]
    """What the handle is made from; equal keys share one."""
    digest: Digest
    principal: Uid
    action: Uid
    resource: Uid
    entity_digests: Mapping[str, Digest]
    observes: bool
    """Whether any of the policies is, or was, only observed."""
    mapping: DeclaredMapping | str | None
    """Which questions the tool declares for each call; a text: why that is malformed."""
    load: Callable[[], Any]
    loaded: list[Any] = field(default_factory=list)

    @property
    def entities(self) -> Any:
        """The handle of its three entities, made when a call is first judged: comparing slices needs none.

        Raises:
            UnavailableError: the engine refused entities it should accept.
        """
        if not self.loaded:
            self.loaded.append(self.load())
        return self.loaded[0]

    def observed(self, time_us: int) -> frozenset[int]:
        """Positions of the policies that are only observed at that moment."""
        return frozenset(
            i
            for i, policy in enumerate(self.policies)
            if policy.observed_until_us is not None and time_us < policy.observed_until_us
        )

    def ids(self, local: Iterable[str]) -> tuple[str, ...]:
        """The policy ids that local ids stand for, sorted."""
        return tuple(sorted([self.policies[int(position)].id for position in local]))

    @property
    def clocked_permits(self) -> frozenset[int]:
        """Positions of the permits that read the time of day."""
        return frozenset(i for i, policy in enumerate(self.policies) if policy.permits and policy.clocked)

    @property
    def clocked_forbids(self) -> bool:
        """Whether a forbid reads the time of day; the grant's own ceiling aside, which only repeats its permit."""
        return any(
            policy.clocked and not policy.permits and policy is not self.permit.ceiling for policy in self.policies
        )


@dataclass(frozen=True, slots=True)
class Inadmissible:
    """Why a call is refused before any policy is asked: a code, and what it is about."""

    code: Code
    detail: str = ""


class _Index:
    """The policies of a release by the entity their principal scope names."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._any: list[Policy] = []
        self._named: defaultdict[EntityName, list[Policy]] = defaultdict(list)
        self.tiered = False
        self.reads_origin = False
        self.reads_served: frozenset[tuple[str, str]] | None = frozenset()
        for policy in policies:
            constraint = policy.scope.principal
            # the text of a body says it wherever a tier is named in it; more often does no harm
            self.tiered = self.tiered or RISK_TIER in policy.body
            self.reads_origin = self.reads_origin or any(
                read.path[:1] in {(), ("origin",), ("source",)} for read in policy.reads
            )
            for read in policy.reads:
                if read.path == () or (len(read.path) == 1 and read.path[0] in {"task", "user"} and read.value):
                    self.reads_served = None
                elif self.reads_served is not None and len(read.path) > 1 and read.path[0] in {"task", "user"}:
                    self.reads_served |= {(read.path[0], read.path[1])}
            if constraint.entities is None:
                self._any.append(policy)
            else:
                for name in set(constraint.entities):  # the grammar gives a principal scope at most one
                    self._named[name].append(policy)

    def of_parents(self, principal: EntityFacts, place: _Place) -> list[Policy]:
        """What is in scope by anything but the principal's own name."""
        candidates = [*self._any]
        for name in principal.parents:
            candidates += self._named.get(name, ())
        return _admitting(candidates, principal, place)

    def of_itself(self, principal: EntityFacts, place: _Place) -> list[Policy]:
        """What is in scope by the principal's own name."""
        return _admitting(self._named.get(principal.name, []), principal, place)

    def handing_on(self, principal: EntityFacts, action: EntityFacts, resource: EntityFacts) -> list[Policy]:
        """What is in scope when that agent hands work on to the resource."""
        candidates = [*self._any]
        for name in (*principal.parents, principal.name):
            candidates += self._named.get(name, ())
        return [
            policy
            for policy in candidates
            if policy.scope.action.admits(action.name, action.ancestors)
            and policy.scope.resource.admits(resource.name, resource.ancestors)
            and policy.scope.principal.admits(principal.name, principal.ancestors)
        ]


def _admitting(candidates: list[Policy], principal: EntityFacts, place: _Place) -> list[Policy]:
    ancestors = principal.ancestors
    return [
        policy
        for policy in candidates
        if policy.scope.action.admits(place.action.name, place.groups)
        and policy.scope.resource.admits(place.resource.name, place.kinds)
        and policy.scope.principal.admits(principal.name, ancestors)
    ]


class PolicySnapshot:
    """A release and a catalogue with their slices, compiled as they are asked for.

    INVARIANT: what a snapshot answers depends on its release and catalogue alone; the caches below only remember.
    """

    def __init__(
        self,
        release: Release,
        servers: Iterable[ToolServer],
        engine: Engine,
        *,
        budget_bytes: int = _BUDGET,
        grants: GrantBook | None = None,
        veto: VetoEngine | None = None,
        _shared: tuple[HandleCache, _Index] | None = None,
    ) -> None:
        """`grants` may be shared between snapshots; `budget_bytes` bounds handles and entities together."""
        self.release = release
        self.engine = engine
        self._veto = veto
        self._vetoing: Any = None
        self.servers: Mapping[ServerName, ToolServer] = {server.name: server for server in servers}
        self.tools: Mapping[ToolId, Tool] = {
            tool.id: tool for server in self.servers.values() for tool in server.tools.values()
        }
        self.grants = GrantBook(engine) if grants is None else grants
        self._cache, self._index = _shared or (HandleCache(budget_bytes), _Index(release.policies))
        self._org_permits = any(policy.permits for policy in release.policies)
        self._basis = object()
        self._latest: tuple[Agent, EntityFacts] | None = None
        self._session = session_type(release.config.counters, self.tools)
        self._vetoed = [f"{name}\n" for name in sorted(release.vetoes)]
        counters = release.config.counters
        self._measured = tuple((counter.name, str(self._session.fields.get(counter.name))) for counter in counters)

    def with_release(self, release: Release) -> PolicySnapshot:
        """The same catalogue under another release; handles of equal content are kept."""
        return self._with(release, self.servers.values(), (self._cache, _Index(release.policies)))

    def with_catalogue(self, servers: Iterable[ToolServer]) -> PolicySnapshot:
        """The same release over another catalogue; handles of equal content are kept."""
        return self._with(self.release, servers, (self._cache, self._index))

    def beside(self) -> PolicySnapshot:
        """The same release and catalogue with caches of its own: for questions that must not crowd out the calls'."""
        return self._with(self.release, self.servers.values(), (HandleCache(_BUDGET), self._index))

    def _with(
        self, release: Release, servers: Iterable[ToolServer], shared: tuple[HandleCache, _Index]
    ) -> PolicySnapshot:
        return PolicySnapshot(release, servers, self.engine, grants=self.grants, veto=self._veto, _shared=shared)

    @cached_property
    def external(self) -> ExternalPolicies:
        """Types of other applications, as the release defines them."""
        key, model = ("external", self.release.digest), self.release.external
        known: ExternalPolicies | None = self._cache.get(key)
        if known is None or known.model is not model:
            known = ExternalPolicies(model, self.engine, self.release.digest)
            self._cache.put(key, known, 0)  # it bounds itself
        return known

    @property
    def reads_served(self) -> frozenset[tuple[str, str]] | None:
        """What of `user` and `task` the release's policies read, by its first step; None: it may be all."""
        return None if self.vetoes else self._index.reads_served

    @property
    def session(self) -> ArgumentType:
        """The type of `context.session`."""
        return self._session

    @property
    def vetoes(self) -> bool:
        """Whether a second engine has to be asked of what the first lets through; it reads whole calls."""
        return bool(self.release.vetoes)

    def described(self, part: Slice, context: Mapping[str, Any]) -> bytes:
        """A whole call as JSON, for engines that are not asked by scope.

        Raises:
            TypeError: the context is no JSON.
        """
        place = self._place(part.tool, self.servers[part.tool.server])
        return orjson.dumps(
            {
                "principal": _described(principal_facts(part.agent, self.tools)),
                "action": _described(place.action),
                "resource": _described(place.resource),
                "context": context,
            }
        )

    def veto(self, part: Slice, context: Mapping[str, Any]) -> VetoAnswer:
        """What the second engine says of a call. Where it is not installed, or fails, it refuses."""
        named = tuple(sorted(self.release.vetoes))
        if self._veto is None:
            return VetoAnswer(named, "the second engine is not installed")
        try:
            if self._vetoing is None:
                self._vetoing = self._veto.compile(self.release.vetoes)
            return self._veto.ask(self._vetoing, self.described(part, context).decode())
        except (InvalidInputError, TypeError, ValueError, RecursionError) as error:
            return VetoAnswer(named, type(error).__name__)

    @cached_property
    def digest(self) -> Digest:
        """Of the release and of every fact about tools that a decision can depend on."""
        tools = [
            [
                tool.id,
                tool.definition_digest,
                tool.effect,
                tool.scope,
                sorted(tool.data),
                [list(pair) for pair in tool.fields],
                self.servers[name].environment,
            ]
            for name in sorted(self.servers)
            for tool in sorted(self.servers[name].tools.values(), key=lambda tool: tool.id)
        ]
        return digest_value("policy-snapshot", {"release": self.release.digest, "tools": tools})

    @property
    def tiered(self) -> bool:
        """Whether a policy may say something of agents of one risk tier and not of another."""
        return self._index.tiered

    @property
    def reads_origin(self) -> bool:
        """Whether a policy reads where arguments come from: else nobody need find out."""
        return self._index.reads_origin

    @property
    def bytes_held(self) -> int:
        """What compiled handles and entities are estimated to take."""
        return self._cache.bytes_held

    def slice_for(self, agent: Agent, tool_id: ToolId) -> Slice | Inadmissible:
        """The slice of an agent and a tool, or why there is none.

        Raises:
            UnavailableError: the engine refused entities it should accept.
            InvalidInputError: the agent's grant does not compile.
        """
        known: Slice | None = self._cache.get((agent.id, tool_id))
        if known is not None and known.basis is self._basis and (known.agent is agent or _same(known.agent, agent)):
            return known
        made = self._slice(agent, tool_id)
        if isinstance(made, Slice):
            self._cache.put((agent.id, tool_id), made, _slice_bytes(agent))
        return made

    def hop_slice(self, caller: Agent, callee: Agent, tool_id: ToolId) -> Slice | Inadmissible:
        """Everything in scope when one agent hands the use of a tool on to another.

        Raises as `slice_for`.
        """
        key = ("hop", caller.id, callee.id, tool_id)
        known: tuple[Agent, Agent, Slice] | None = self._cache.get(key)
        if known is not None and known[2].basis is self._basis and known[0] is caller and known[1] is callee:
            return known[2]
        made = self._hop_slice(caller, callee, tool_id)
        if isinstance(made, Slice):
            self._cache.put(key, (caller, callee, made), _slice_bytes(caller))
        return made

    def handing_on(self, caller: Agent, callee: Agent) -> Slice | Inadmissible:
        """Everything in scope when one agent hands work on to another, whatever it is going to be used for.

        Raises as `slice_for`.
        """
        return self._hop_slice(caller, callee, None)

    def _hop_slice(self, caller: Agent, callee: Agent, tool_id: ToolId | None) -> Slice | Inadmissible:
        between = f"`{caller.name}` to `{callee.name}`"
        for each in (caller, callee):
            if not runs(each.environment, each.state):
                return Inadmissible(Code.DELEGATOR_ENDED, f"`{each.name}` is `{each.state}`")
        if caller.environment is not callee.environment:
            return Inadmissible(Code.ENVIRONMENT_MISMATCH, f"{between}: they are in different environments")
        grant = caller.version.delegation(callee.id, tool_id)
        tool = _NO_TOOL if tool_id is None else self.tools.get(tool_id)
        if grant is None or tool is None:
            return Inadmissible(Code.DELEGATION_NOT_GRANTED, between)
        if undeclared := tool.data - caller.version.data:
            return Inadmissible(Code.DATA_CLASS_UNDECLARED, f"{between}: {_listed(undeclared)}")
        principal, action, resource = principal_facts(caller, self.tools), delegate_action(), callee_facts(callee)
        if lacking := _lacking(principal) or _lacking(resource):
            return Inadmissible(Code.ENTITY_INCOMPLETE, lacking)
        permit = self.grants.permit(grant)
        policies = sorted([*self._index.handing_on(principal, action, resource), permit.policy], key=_by_body)
        documents = f"[{action.document},{resource.document}]"
        return Slice(
            agent=caller,
            tool=tool,
            basis=self._basis,
            permit=permit,
            policies=tuple(policies),
            key=(tool.definition_digest, self._measured, *[policy.body for policy in policies]),
            digest=digest("slice", "".join(map(_line, policies)).encode()),
            principal=_uid(principal.name),
            action=_uid(action.name),
            resource=_uid(resource.name),
            entity_digests={"principal": principal.digest, "action": action.digest, "resource": resource.digest},
            observes=any(policy.observed_until_us is not None for policy in policies),
            mapping=None,
            load=lambda: self.engine.load(f"[{principal.document}]", self.engine.load(documents)),
        )

    def compiled(self, part: Slice, without: frozenset[int] = frozenset()) -> Compiled:
        """The handle of a slice, with the policies at some positions left out.

        Raises:
            UnavailableError: the engine refused policies it should accept.
        """
        key = (part.key, without) if without else part.key
        known: Compiled | None = self._cache.get(key)
        if known is None:
            kept = [(str(i), policy) for i, policy in enumerate(part.policies) if i not in without]
            known = self._compile(part.tool, kept)
            self._cache.put(key, known, _handle_bytes(policy for _, policy in kept))
        return known

    def alone(self, part: Slice, policies: Iterable[Policy]) -> Compiled:
        """The handle of some policies for the agent and tool of a slice, each under its position among them.

        Raises:
            UnavailableError: the engine refused policies it should accept.
        """
        some = sorted(policies, key=_by_body)
        key = ("alone", part.tool.definition_digest, self._measured, *[policy.body for policy in some])
        known: Compiled | None = self._cache.get(key)
        if known is None:
            known = self._compile(part.tool, [(str(i), policy) for i, policy in enumerate(some)])
            self._cache.put(key, known, _handle_bytes(some))
        return known

    def apart(self, part: Slice) -> Compiled:
        """The handle of the grant's conditions, each a permit of its own under its position.

        Raises:
            UnavailableError: the engine refused policies it should accept.
        """
        key = ("apart", part.permit.policy.id, part.tool.definition_digest, self._measured)
        known: Compiled | None = self._cache.get(key)
        if known is None:
            named = [(str(i), policy) for i, policy in enumerate(part.permit.apart)]
            known = self._compile(part.tool, named)
            self._cache.put(key, known, _handle_bytes(part.permit.apart))
        return known

    def _compile(self, tool: Tool, named: list[tuple[str, Policy]]) -> Compiled:
        handle = self.engine.compile([(name, policy.body) for name, policy in named])
        reads = {read for _, policy in named for read in policy.reads}
        return Compiled(handle, Projection(reads, input_type(tool.definition), self._session))

    def _slice(self, agent: Agent, tool_id: ToolId) -> Slice | Inadmissible:
        if not runs(agent.environment, agent.state):
            return Inadmissible(Code.AGENT_NOT_ACTIVE, f"state `{agent.state}` in `{agent.environment}`")
        tool = self.tools.get(tool_id)
        server = self.servers.get(tool.server) if tool is not None else None
        if server is not None and server.environment != agent.environment:
            return Inadmissible(
                Code.ENVIRONMENT_MISMATCH,
                f"the agent is in `{agent.environment}`, the server in `{server.environment}`",
            )
        grant = agent.version.grant(tool_id)
        if grant is None or (tool is not None and grant.model is not (tool.rates is not None)):
            return Inadmissible(Code.TOOL_NOT_GRANTED, f"`{tool_id[:120]}`")
        if tool is None or server is None:
            return Inadmissible(Code.ACTION_UNKNOWN, f"`{tool_id[:120]}`")
        place = self._place(tool, server)
        if self._latest is None or self._latest[0] is not agent:  # whoever goes through a fleet asks tool by tool
            self._latest = (agent, principal_facts(agent, self.tools))
        principal = self._latest[1]
        if lacking := place.lacking or _lacking(principal):
            return Inadmissible(Code.ENTITY_INCOMPLETE, lacking)
        if unplaced := tool.unplaced(
            grant.mask
        ):  # whoever approved the grant counted on a mask that takes nothing away
            return Inadmissible(Code.MASK_UNPLACEABLE, _listed(unplaced))
        if undeclared := tool.shown(grant.mask) - agent.version.data:
            return Inadmissible(Code.DATA_CLASS_UNDECLARED, _listed(undeclared))
        permit = self.grants.permit(grant)
        policies = [*self._of_parents(principal, place), *self._index.of_itself(principal, place), permit.policy]
        if self._org_permits and permit.ceiling is not None:
            policies.append(permit.ceiling)
        policies.sort(key=_by_body)
        return Slice(
            agent=agent,
            tool=tool,
            basis=self._basis,
            permit=permit,
            policies=tuple(policies),
            key=(tool.definition_digest, self._measured, *[policy.body for policy in policies]),
            digest=digest("slice", "".join([*map(_line, policies), *self._vetoed, *self._mapped(place)]).encode()),
            principal=_uid(principal.name),
            action=place.action_uid,
            resource=place.resource_uid,
            entity_digests={
                "principal": principal.digest,
                "action": place.action.digest,
                "resource": place.resource.digest,
            },
            observes=any(policy.observed_until_us is not None for policy in policies),
            mapping=place.mapping,
            load=partial(self.engine.load, f"[{principal.document}]", place.entities),
        )

    def _mapped(self, place: _Place) -> tuple[str, ...]:
        """What a tool's mapping makes calls depend on besides."""
        return () if place.mapping is None else (f"mapped {self.external.digest}\n",)

    def _place(self, tool: Tool, server: ToolServer) -> _Place:
        key = (self._basis, tool.id)
        known: _Place | None = self._cache.get(key)
        if known is None:
            action, resource = action_facts(tool), resource_facts(tool, server)
            documents = f"[{action.document},{resource.document}]"
            known = _Place(
                tool=tool,
                action=action,
                groups=action.ancestors,
                resource=resource,
                kinds=resource.ancestors,
                action_uid=_uid(action.name),
                resource_uid=_uid(resource.name),
                entities=self.engine.load(documents),
                mapping=_mapping(tool),
                lacking=_lacking(action) or _lacking(resource),
            )
            self._cache.put(key, known, _SLICE_BYTES + len(documents) * _ENTITY_BYTES_PER_CHARACTER)
        return known

    def _of_parents(self, principal: EntityFacts, place: _Place) -> tuple[Policy, ...]:
        """Agents with equal parents share this search: many agents, few kinds of them."""
        key = (self._basis, place.tool.id, principal.parents)
        known: tuple[Policy, ...] | None = self._cache.get(key)
        if known is None:
            known = tuple(self._index.of_parents(principal, place))
            self._cache.put(key, known, _SCOPE_BYTES + len(principal.document))
        return known


def _mapping(tool: Tool) -> DeclaredMapping | str | None:
    try:
        return declared_mapping(tool.definition)
    except InvalidInputError as error:  # pinned before there were mappings, or by a test case
        return error.message


_stamp = lru_cache(maxsize=65_536)(lambda body: digest("body", body.encode())[7:23])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _line(policy: Policy) -> str:
    until = "" if policy.observed_until_us is None else f" observed {policy.observed_until_us}"
    return f"{policy.id} {_stamp(policy.body)}{until}\n"


def _by_body(policy: Policy) -> tuple[str, str]:
    return policy.body, policy.id


def _same(one: Agent, other: Agent) -> bool:
    """Whether two readings of an agent make the same entity and grants."""
    return (
        one.version.digest == other.version.digest
        and one.version.grants == other.version.grants
        and one.version.models == other.version.models
        and one.version.data == other.version.data
        and one.version.delegates == other.version.delegates
        and (one.team, one.environment, one.state, one.tier) == (other.team, other.environment, other.state, other.tier)
    )


def _lacking(facts: EntityFacts) -> str:
    missing = missing_parents(facts)
    return f"`{facts.name.type}` lacks {', '.join(missing)}" if missing else ""


def _described(facts: EntityFacts) -> dict[str, Any]:
    parents = [{"type": kind, "id": name} for kind, name in facts.parents]
    return {"type": facts.name.type, "id": facts.name.id, "parents": parents}


def _uid(name: EntityName) -> Uid:
    return {"type": name.type, "id": name.id}


def _slice_bytes(agent: Agent) -> int:
    return _SLICE_BYTES + _SLICE_BYTES_PER_GRANT * len(agent.version.every_grant)


def _handle_bytes(policies: Iterable[Policy]) -> int:
    return _HANDLE_BYTES + _HANDLE_BYTES_PER_CHARACTER * sum(len(policy.body) for policy in policies)
