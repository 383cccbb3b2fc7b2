"""Types of other applications that a release defines, so that those may ask about their own users and records too.

`ext/NAME.cedar` holds policies over `Ext::<type>` and `Action::"ext/<name>"`, `ext/NAME.json` entities in Cedar's own
JSON form. Both stand apart from the policies of agents: neither set is ever compiled together with the other, so
nothing said here reaches an agent, a tool or a guardrail. Permits are allowed, for there is no manifest to permit.

A question is judged like a call: a reserved key anywhere refuses, an error in a forbid denies, an error in a permit
leaves it unsatisfied, an unknown type or operation denies by a code of its own. What the release says of an entity is
all that counts for it; only of an entity that it does not name are the attributes those that the caller sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import orjson

from accredit.kernel.canonical import Digest, digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.policy.arguments import ArgumentKind, ArgumentType
from accredit.policy.cache import HandleCache
from accredit.policy.context import Projection, now_facts, reserved_key
from accredit.policy.model import Decision, ExternalName, ExternalRequest, Outcome, PolicyFault
from accredit.policy.ports import Engine, EngineOutcome, Uid, Verdict
from accredit.policy.reads import Read, named_entities
from accredit.policy.scope import EntityName
from accredit.policy.sources import Layer, Policy, policy_of

__all__ = ["EXTERNAL", "ExternalEntity", "ExternalModel", "ExternalPolicies", "is_external", "read_external"]

_PATH: Final = re.compile(r"ext/[a-z0-9][a-z0-9_.-]{0,62}\.(?:cedar|json)")
_NAMESPACE: Final = "Ext::"
_OPERATION: Final = "ext/"
_TYPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MAX_NAME: Final = 1024
_MAX_FILE: Final = 2**20
_MAX_ENTITIES: Final = 20_000
_MAX_PARENTS: Final = 100
_MAX_ANCESTORS: Final = 1_000
_MAX_DEPTH: Final = 16
_ID: Final = "id"
"""The attribute that every entity has: its own id, which conditions could not read otherwise."""
_RESERVED: Final = frozenset({"__entity", "__extn", "__expr"})
_ANY: Final = ArgumentType(ArgumentKind.RECORD)
_BUDGET: Final = 8 * 2**20
_HANDLE_BYTES, _BYTES_PER_CHARACTER = 2_000, 12
_Fault = tuple[str, str, str, str]
"""Path, policy id, message, fix."""


EXTERNAL: Final = "ext/"
"""How the paths of their files, and the ids of their policies, begin."""


def is_external(path: str) -> bool:
    """Whether a file of a policy directory is about types of other applications."""
    return _PATH.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class ExternalEntity:
    """One entity that a release names."""

    name: EntityName
    document: str
    """As the engine loads it, every ancestor named as a parent."""
    ancestors: frozenset[EntityName]
    """Itself among them, as `in` sees them."""
    digest: Digest
    """Of the document."""


@dataclass(frozen=True, slots=True)
class ExternalModel:
    """What the files under `ext/` of a release say."""

    policies: tuple[Policy, ...] = ()
    entities: Mapping[EntityName, ExternalEntity] = field(default_factory=lambda: MappingProxyType({}))
    types: frozenset[str] = frozenset()
    """Every type that an entity or a policy names, without `Ext::`."""
    actions: tuple[str, ...] = ()
    """Every operation that a policy names, without `ext/`. Sorted."""

    def without(self, policies: Collection[str]) -> ExternalModel:
        """The same less some policies; types and operations stay known."""
        return replace(self, policies=tuple(one for one in self.policies if one.id not in policies))

    def named(self, kind: str) -> tuple[str, ...]:
        """The ids of the entities of a type that the release names, sorted."""
        wanted = f"{_NAMESPACE}{kind}"
        return tuple(sorted(name.id for name in self.entities if name.type == wanted))


# -- reading


def read_external(files: Mapping[str, str], engine: Engine) -> tuple[ExternalModel, tuple[_Fault, ...]]:
    """What these files say, and everything that is wrong with them: nothing that reaches beyond `Ext::` is let in."""
    faults: list[_Fault] = []
    policies: dict[str, Policy] = {}
    raw: dict[EntityName, _Raw] = {}
    for path in sorted(filter(is_external, files)):
        if path.endswith(".json"):
            faults += [(path, "", *fault) for fault in _read_entities(files[path], raw)]
            continue
        for policy, fault in _read_policies(engine, path, files[path]):
            if fault is not None:
                faults.append(fault)
            elif policy is not None and policy.id in policies:
                faults.append((path, policy.id, "the same policy stands twice", "remove one of them"))
            elif policy is not None:
                policies[policy.id] = policy
                faults += [(path, policy.id, *each) for each in _out_of_bounds(policy)]
    entities, unplaced = _placed(raw)
    faults += unplaced
    if not faults:
        faults += _unloadable(engine, entities)
    names = [name for policy in policies.values() for name in _named(policy)]
    types = {name.type for name in (*entities, *names)} | {
        constraint.type
        for policy in policies.values()
        for constraint in (policy.scope.principal, policy.scope.resource)
        if constraint.type is not None
    }
    types |= {parent.type for entity in entities.values() for parent in entity.ancestors}
    actions = {
        name.id.removeprefix(_OPERATION) for policy in policies.values() for name in policy.scope.action.entities or ()
    }
    return ExternalModel(
        tuple(policies.values()),
        MappingProxyType(entities),
        frozenset(kind.removeprefix(_NAMESPACE) for kind in types if kind.startswith(_NAMESPACE)),
        tuple(sorted(actions)),
    ), tuple(faults)


def _read_policies(engine: Engine, path: str, text: str) -> Iterator[tuple[Policy | None, _Fault | None]]:
    try:
        sources = engine.read(text)
    except InvalidInputError as error:
        yield None, (path, "", error.message, error.hint)
        return
    for source in sources:
        policy_id = f"{path}@{digest('policy', source.text.encode())[7:19]}"
        if source.template:
            yield None, (path, policy_id, "a template has no place in a file", "write the entity out")
            continue
        try:
            yield policy_of(source, path, Layer.EXTERNAL), None
        except InvalidInputError as error:
            yield None, (path, policy_id, error.message, error.hint)


def _named(policy: Policy) -> Iterator[EntityName]:
    yield from named_entities(orjson.loads(policy.body))
    yield from policy.scope.principal.entities or ()


def _out_of_bounds(policy: Policy) -> Iterator[tuple[str, str]]:
    """Whatever in a policy is not about external types alone."""
    scope = policy.scope
    if policy.hold is not None:
        yield "`@hold` has no meaning for external types", "take it out: only calls of agents wait for a person"
    if policy.tool_calls is not None:
        yield "`@tool_calls` has no meaning for external types", "take it out: only answers of models have tool calls"
    for part, constraint in (("principal", scope.principal), ("resource", scope.resource)):
        named = {entity.type for entity in constraint.entities or ()} | {constraint.type} - {None}
        if not named and (policy.permits or part == "principal"):
            yield (
                f"the {part} of a policy for external types is not limited to one",
                f"write `{part} is Ext::<type>`, or name an entity of such a type",
            )
        elif any(not kind or not kind.startswith(_NAMESPACE) for kind in named):
            yield f"the {part} is of a type that is not under `Ext::`", "policies for agents belong under `org/`"
    operations = scope.action.entities
    if not operations:
        if policy.permits or operations is not None:
            yield (
                "a policy that permits, or names a list, names no operation",
                'write `action == Action::"ext/<name>"` or a list of them',
            )
    elif any(
        name.type != "Action" or not name.id.startswith(_OPERATION) or name.id == _OPERATION for name in operations
    ):
        yield "an operation is not of the form `ext/<name>`", 'write `Action::"ext/<name>"`'
    foreign = {
        str(name)
        for name in _named(policy)
        if not name.type.startswith(_NAMESPACE) and not (name.type == "Action" and name.id.startswith(_OPERATION))
    }
    for name in sorted(foreign - {str(one) for one in operations or ()}):
        yield f"`{name[:120]}` is not under `Ext::`", "policies for external types name external entities alone"
    roots = {read.path[0] if read.path else "" for read in policy.reads}
    for root in sorted(roots - _ROOTS):
        yield (
            f"`context.{root[:60]}` does not exist" if root else "the whole of `context` is read",
            f"read values of {', '.join(f'context.{each}' for each in sorted(_ROOTS))}",
        )


_ROOTS: Final = frozenset({"action", "request", "now", "caller"})


@dataclass(frozen=True, slots=True)
class _Raw:
    """An entity as a file has it."""

    attributes: Mapping[str, Any]
    parents: frozenset[EntityName]


def _read_entities(text: str, into: dict[EntityName, _Raw]) -> Iterator[tuple[str, str]]:
    fix = 'write `[{"uid": {"type": "Ext::user", "id": "alice"}, "attrs": {…}, "parents": […]}]`'
    if len(text) > _MAX_FILE:
        yield f"the file is longer than {_MAX_FILE} characters", "split it"
        return
    try:
        listed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        yield f"not JSON: {error.msg}", fix
        return
    if not isinstance(listed, list):
        yield "the file is no list of entities", fix
        return
    for at, item in enumerate(listed):
        if len(into) >= _MAX_ENTITIES:
            yield f"more than {_MAX_ENTITIES} entities", "send properties of the others with each question"
            return
        name, entity, fault = _read_entity(item)
        if fault or name is None or entity is None:
            yield f"entity {at}: {fault}", fix
        elif name in into:
            yield f"entity {at}: `{name}` stands twice"[:200], "remove one of them"
        else:
            into[name] = entity


def _read_entity(item: Any) -> tuple[EntityName | None, _Raw | None, str]:
    if not isinstance(item, dict) or not {"uid"} <= item.keys() <= {"uid", "attrs", "parents"}:
        return None, None, "it has other keys than `uid`, `attrs` and `parents`"
    name, attributes, parents = _name(item["uid"]), item.get("attrs", {}), item.get("parents", [])
    if name is None:
        return None, None, "`uid` names no entity under `Ext::`"
    if not isinstance(attributes, dict) or _ID in attributes:
        return None, None, "`attrs` is no object, or has an `id`, which every entity has anyway"
    if fault := _unplain(attributes):
        return None, None, fault
    if not isinstance(parents, list) or len(parents) > _MAX_PARENTS:
        return None, None, f"`parents` is no list of at most {_MAX_PARENTS} names"
    above = [_name(parent) for parent in parents]
    named = frozenset(each for each in above if each is not None)
    if None in above:
        return None, None, "a parent is no entity under `Ext::`"
    return name, _Raw(attributes, named), ""


def _name(node: Any) -> EntityName | None:
    match node:
        case {"type": str(kind), "id": str(name), **more} if not more:
            own = kind.removeprefix(_NAMESPACE)
            if own != kind and _TYPE.fullmatch(own) and 0 < len(name) <= _MAX_NAME:
                return EntityName(kind, name)
    return None


def _unplain(attributes: Mapping[str, Any]) -> str:
    """Why attributes are not plain values; empty if they are."""
    level: list[Any] = [attributes]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if _RESERVED.intersection(item):
                    return "an attribute has a key that stands for another type"
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, float) or item is None:
                return "an attribute is a number with a fraction, or null"
        if not below:
            return ""
        level = below
    return f"attributes are nested deeper than {_MAX_DEPTH} levels"


def _placed(raw: Mapping[EntityName, _Raw]) -> tuple[dict[EntityName, ExternalEntity], list[_Fault]]:
    """The entities with all their ancestors; a parent that has no entry of its own has none."""
    faults: list[_Fault] = []
    made: dict[EntityName, ExternalEntity] = {}
    for name, entity in raw.items():
        ancestors: set[EntityName] = set()
        level = set(entity.parents)
        while level and len(ancestors) <= _MAX_ANCESTORS:
            ancestors |= level
            level = {above for one in level if one in raw for above in raw[one].parents} - ancestors
        if name in ancestors or len(ancestors) > _MAX_ANCESTORS:
            what = "is its own ancestor" if name in ancestors else f"has more than {_MAX_ANCESTORS} ancestors"
            faults.append(("ext/", "", f"`{name}` {what}"[:200], "correct `parents`"))
            continue
        made[name] = _entity(name, entity.attributes, ancestors)
    return made, faults


def _entity(name: EntityName, attributes: Mapping[str, Any], ancestors: Iterable[EntityName] = ()) -> ExternalEntity:
    document = orjson.dumps(
        {
            "uid": {"type": name.type, "id": name.id},
            "attrs": {**attributes, _ID: name.id},
            "parents": [{"type": kind, "id": above} for kind, above in sorted(ancestors)],
        },
        option=orjson.OPT_SORT_KEYS,
    )
    return ExternalEntity(name, document.decode(), frozenset({name, *ancestors}), digest("entity", document))


def _unloadable(engine: Engine, entities: Mapping[EntityName, ExternalEntity]) -> Iterator[_Fault]:
    try:
        engine.load(f"[{','.join(entity.document for entity in entities.values())}]")
    except UnavailableError as error:
        yield "ext/", "", f"the engine does not load the entities: {error.cause[:200]}", "correct names and values"


# -- judging


@dataclass(frozen=True, slots=True)
class _Part:
    """The policies in scope of one question, compiled."""

    handle: Any
    policies: tuple[Policy, ...]
    projection: Projection
    digest: Digest
    clocked: bool


class ExternalPolicies:
    """The external types of one release, ready to be asked about.

    INVARIANT: what is answered depends on the release and the question alone; the cache only remembers.
    """

    def __init__(self, model: ExternalModel, engine: Engine, release: Digest) -> None:
        self.model = model
        self._engine = engine
        self._release = release
        self._cache = HandleCache(_BUDGET)
        # sets of policies are bits of a number: what is in scope is where those of action and both entities meet
        self._policies = tuple(sorted(model.policies, key=lambda policy: (policy.body, policy.id)))
        trees = [orjson.loads(policy.body) for policy in self._policies]
        self._by_action: Mapping[str, int] = {
            action: _bits(_speaks_of(policy, action) for policy in self._policies) for action in model.actions
        }
        self._by_entity: dict[tuple[EntityName, bool], int] = {}
        # an attribute that no policy has a name for cannot be read by one
        self._attributes = Projection(
            {Read((name,), value=True) for tree in trees for name in _attribute_names(tree)}, _ANY
        )
        self._literals = tuple(
            entity.document
            for name in sorted({name for tree in trees for name in named_entities(tree)})
            if (entity := model.entities.get(name)) is not None
        )

    @cached_property
    def digest(self) -> Digest:
        """Of everything that an answer can depend on beside the question."""
        policies = "".join(f"{policy.id}\n" for policy in self._policies)
        entities = "".join(f"{self.model.entities[name].digest}\n" for name in sorted(self.model.entities))
        return digest("external", f"{policies}{entities}{sorted(self.model.types)}".encode())

    @property
    def clocked(self) -> bool:
        """Whether any answer may depend on the time of day."""
        return any(policy.clocked for policy in self.model.policies)

    def decide(self, request: ExternalRequest) -> Decision:
        """Judge one question. Never raises to say no."""
        if request.subject.type not in self.model.types or request.resource.type not in self.model.types:
            return self._denied(Code.TYPE_UNKNOWN)
        if request.action not in self._by_action:
            return self._denied(Code.ACTION_UNKNOWN)
        try:
            facts: dict[str, Any] = {
                "action": request.arguments,
                "caller": request.caller,
                "request": request.context,
            }
            sent = {"subject": request.subject.properties, "resource": request.resource.properties}
            if (found := reserved_key({**facts, **sent})) is not None:
                return self._denied(Code.RESERVED_KEY, detail=f"`{found}`")
            return self._judged(request, facts)
        except InvalidInputError as error:
            return self._denied(Code.UNENCODABLE_INPUT, detail=error.message)
        except UnavailableError:
            return self._denied(Code.ENGINE_FAILED)

    def without(self, policies: Collection[str]) -> ExternalPolicies:
        """The same less some policies: for explaining and testing, never for deciding."""
        return ExternalPolicies(self.model.without(policies), self._engine, self._release)

    def in_scope(self, request: ExternalRequest) -> tuple[Policy, ...]:
        """The policies that could have a say in a question, whatever their conditions read."""
        if request.action not in self._by_action:
            return ()
        try:
            principal, resource = self._entity(request.subject), self._entity(request.resource)
        except InvalidInputError:  # no policy is asked about what the engine cannot be told
            return ()
        return self._of(self._scoped(request.action, principal, resource))

    def attributes(self, asked: ExternalName) -> tuple[Mapping[str, Any], bool]:
        """What policies can read of somebody or something, and whether the release itself says it."""
        known = EntityName(f"{_NAMESPACE}{asked.type}", asked.id) in self.model.entities
        try:
            return orjson.loads(self._entity(asked).document)["attrs"], known
        except InvalidInputError:  # no policy is asked about what the engine cannot be told
            return {}, known

    def _judged(self, request: ExternalRequest, facts: dict[str, Any]) -> Decision:
        principal, resource = self._entity(request.subject), self._entity(request.resource)
        part = self._part(request.action, principal, resource)
        digests = {"principal": principal.digest, "resource": resource.digest}
        if part.clocked:
            if not request.time_trusted:
                return self._denied(Code.CLOCK_UNCONFIRMED, part=part, entities=digests)
            facts["now"] = now_facts(request.time_us, "UTC")
        verdict = self._engine.evaluate(
            part.handle,
            _uid(principal.name),
            {"type": "Action", "id": f"{_OPERATION}{request.action}"},
            _uid(resource.name),
            part.projection.of(facts),
            self._loaded(principal, resource),
        )
        return self._outcome(part, verdict, digests)

    def _outcome(self, part: _Part, verdict: Verdict, digests: Mapping[str, Digest]) -> Decision:
        faults: tuple[PolicyFault, ...] = ()
        blamed: list[str] = []
        if verdict.errors:
            said = sorted((part.policies[int(name)].id if name else "", words) for name, words in verdict.errors)
            faults = tuple(PolicyFault(policy, words) for policy, words in said)
            blamed = [name for name, _ in verdict.errors if not name or not part.policies[int(name)].permits]
        policies = tuple(sorted(part.policies[int(name)].id for name in verdict.reasons))
        if verdict.outcome is EngineOutcome.NONE:
            code, policies = Code.NO_DECISION, ()
        elif blamed:
            code, policies = Code.POLICY_ERROR, tuple(sorted(part.policies[int(name)].id for name in blamed if name))
        elif verdict.outcome is EngineOutcome.ALLOW:
            return Decision(
                Outcome.ALLOW,
                Code.ALLOWED,
                policies=policies,
                faults=faults,
                release=self._release,
                slice=part.digest,
                entities=digests,
            )
        else:
            code = Code.FORBIDDEN_BY_POLICY if policies else Code.NOT_PERMITTED
        return self._denied(code, part=part, entities=digests, policies=policies, faults=faults)

    def _denied(
        self,
        code: Code,
        *,
        part: _Part | None = None,
        entities: Mapping[str, Digest] | None = None,
        policies: tuple[str, ...] = (),
        faults: tuple[PolicyFault, ...] = (),
        detail: str = "",
    ) -> Decision:
        return Decision(
            Outcome.DENY,
            code,
            policies=policies,
            faults=faults,
            release=self._release,
            slice=part.digest if part is not None else None,
            entities=entities,
            detail=detail,
        )

    def _entity(self, asked: ExternalName) -> ExternalEntity:
        name = EntityName(f"{_NAMESPACE}{asked.type}", asked.id)
        known = self.model.entities.get(name)
        if known is not None:  # INVARIANT: what the caller says of it does not count
            return known
        return _entity(name, orjson.loads(self._attributes.of(asked.properties)) if asked.properties else {})

    def _scoped(self, action: str, principal: ExternalEntity, resource: ExternalEntity) -> int:
        return self._by_action[action] & self._admitting(principal, asks=True) & self._admitting(resource, asks=False)

    def _admitting(self, entity: ExternalEntity, *, asks: bool) -> int:
        """The policies whose scope admits an entity as the one who asks, or as what is asked for."""
        key = entity.name, asks
        found = self._by_entity.get(key)
        if found is None:
            constraints = (policy.scope.principal if asks else policy.scope.resource for policy in self._policies)
            found = _bits(constraint.admits(entity.name, entity.ancestors) for constraint in constraints)
            if entity.name in self.model.entities:  # others are without number
                self._by_entity[key] = found
        return found

    def _part(self, action: str, principal: ExternalEntity, resource: ExternalEntity) -> _Part:
        scoped = self._scoped(action, principal, resource)
        known: _Part | None = self._cache.get(scoped)
        if known is None:
            policies = self._of(scoped)
            reads = {read for policy in policies for read in policy.reads}
            known = _Part(
                self._engine.compile([(str(at), policy.body) for at, policy in enumerate(policies)]),
                policies,
                Projection(reads, _ANY),
                digest("slice", "".join(f"{policy.id}\n" for policy in policies).encode()),
                any(policy.clocked for policy in policies),
            )
            size = _HANDLE_BYTES + _BYTES_PER_CHARACTER * sum(len(policy.body) for policy in policies)
            self._cache.put(scoped, known, size)
        return known

    def _of(self, scoped: int) -> tuple[Policy, ...]:
        return tuple(policy for at, policy in enumerate(self._policies) if scoped >> at & 1)

    @cached_property
    def _named(self) -> Any:
        """Every entity of the release, loaded."""
        return self._engine.load(f"[{','.join(entity.document for entity in self.model.entities.values())}]")

    def _loaded(self, principal: ExternalEntity, resource: ExternalEntity) -> Any:
        if principal.name in self.model.entities and resource.name in self.model.entities:
            return self._named
        if principal.name == resource.name and principal.document != resource.document:
            raise InvalidInputError(Code.UNENCODABLE_INPUT, "subject and resource are one, described in two ways")
        # all that conditions can look at: the two asked about, and entities that policies name
        documents = dict.fromkeys((principal.document, resource.document, *self._literals))
        return self._engine.load(f"[{','.join(documents)}]")


def _bits(members: Iterable[bool]) -> int:
    return sum(1 << at for at, member in enumerate(members) if member)


def _speaks_of(policy: Policy, action: str) -> bool:
    operations = policy.scope.action.entities
    return operations is None or any(name.id == f"{_OPERATION}{action}" for name in operations)


def _uid(name: EntityName) -> Uid:
    return {"type": name.type, "id": name.id}


def _attribute_names(node: Any) -> Iterator[str]:
    """Every name that follows a `.` or a `has` in a syntax tree."""
    if isinstance(node, list):
        for item in node:
            yield from _attribute_names(item)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if key in {".", "has"} and isinstance(value, Mapping) and isinstance(value.get("attr"), str):
                yield value["attr"]
            yield from _attribute_names(value)
