"""What a release must satisfy before it may be put in force, with every fault named at once.

The layers are kept by scope, not by trust: only `org` may permit, and only an explicit list of tools; a team's
policies speak of that team, an agent's of that agent, and both only forbid. Types come from the pinned tool
definitions, so a policy that could fail on a call is refused here rather than denying that call there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from accredit.kernel.errors import InvalidInputError
from accredit.policy.arguments import ArgumentKind, ArgumentType, input_type
from accredit.policy.config import CONFIG_FILE, Counter
from accredit.policy.entities import (
    DELEGATE,
    ITEM_GROUP,
    MODEL_GROUP,
    RISK_TIER,
    action_facts,
    action_groups,
    resource_facts,
)
from accredit.policy.lint import linted, sized
from accredit.policy.measured import INSTANCE_TYPE, counter_faults, session_type
from accredit.policy.ports import Engine, VetoEngine
from accredit.policy.reads import named_entities
from accredit.policy.release import (
    LintLevel,
    PolicyFinding,
    PolicyInvalidError,
    Release,
    is_policy,
    is_veto,
    layer_of,
    read_release,
)
from accredit.policy.scope import EntityName
from accredit.policy.sources import Layer, Policy
from accredit.registry.manifest import data_classes
from accredit.registry.model import Agent, AgentState, Effect, Environment, Tier, Tool, ToolServer, WriteScope

__all__ = ["ClaimKind", "ContextTypes", "Installation", "examine", "publish"]

_ROOTS = (
    "input",
    "origin",
    "source",
    "user",
    "task",
    "declared",
    "session",
    "instance",
    "actors",
    "hops",
    "tool",
    "now",
)
_NO_TOOL = "@no-tool"


class ClaimKind(StrEnum):
    """The type of a fact in the context, as a registered issuer or the product declares it."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRINGS = "strings"

    def document(self) -> dict[str, Any]:
        """The type in the engine's JSON schema format."""
        scalar = {ClaimKind.INTEGER: "Long", ClaimKind.BOOLEAN: "Boolean"}
        if self is ClaimKind.STRINGS:
            return {"type": "Set", "element": {"type": "String"}}
        return {"type": scalar.get(self, "String")}


@dataclass(frozen=True, slots=True)
class ContextTypes:
    """The facts a policy may read beside the arguments, by their place in the context. All of them may be absent."""

    user: Mapping[str, ClaimKind] = field(default_factory=dict)
    """Beyond `id` and `roles`: the typed claims of the registered user issuer."""
    task: Mapping[str, ClaimKind] = field(default_factory=dict)
    """Beyond `id`: the typed claims of the registered task issuer."""
    declared: Mapping[str, ClaimKind] = field(default_factory=dict)
    provided: Mapping[str, Mapping[str, Mapping[str, ClaimKind]]] = field(default_factory=dict)
    """What registered providers say of `user` and `task`: facts by the provider's name."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What a release may speak of: everything registered when it is published."""

    servers: tuple[ToolServer, ...]
    teams: frozenset[str]
    """Names."""
    agents: Mapping[str, str]
    """Names and the ids they stand for now."""
    types: ContextTypes = field(default_factory=ContextTypes)
    data_classes: frozenset[str] = field(default_factory=lambda: frozenset(data_classes()))
    held_roles: frozenset[str] | None = None
    """Roles that somebody holds; None: not known."""
    veto: VetoEngine | None = None
    """The second engine, if it is installed."""
    fleet: tuple[Agent, ...] = ()
    """Agents whose slices are measured."""

    def tools(self) -> Iterator[tuple[Tool, ToolServer]]:
        """Every registered tool with its server."""
        for server in self.servers:
            for tool in server.tools.values():
                yield tool, server


def publish(files: Mapping[str, str], engine: Engine, installation: Installation) -> Release:
    """The release of these files, checked against everything registered.

    Raises:
        PolicyInvalidError: with every finding that refuses it, each naming path, policy, fault and fix.
        UnavailableError: the engine refused the schema generated from the pinned definitions.
    """
    release, found = examine(files, engine, installation)
    if refused := tuple(one for one in found if one.severity is LintLevel.REFUSED):
        raise PolicyInvalidError(refused)
    return release


def examine(
    files: Mapping[str, str], engine: Engine, installation: Installation
) -> tuple[Release, tuple[PolicyFinding, ...]]:
    """The release of these files and every finding, warnings included, by path and policy.

    Raises:
        PolicyInvalidError: they do not read.
        UnavailableError: the engine refused the schema generated from the pinned definitions.
    """
    release = read_release(files, engine, agents=installation.agents)
    check = _Check(installation, release.config.counters)
    found = [PolicyFinding(CONFIG_FILE, "", message, fix) for message, fix in check.faults]
    found += [finding for policy in release.policies for finding in check.findings(policy)]
    blamed = {finding.policy for finding in found}
    found += check.typed([policy for policy in release.policies if policy.id not in blamed], engine)
    found += [
        PolicyFinding(path, "", f"{layer} `{name}` is not registered", f"register the {layer}, or move the file")
        for path in sorted(filter(is_policy, files))
        for layer, name in (layer_of(path),)
        if (layer is Layer.TEAM and name not in installation.teams)
        or (layer is Layer.AGENT and name not in installation.agents)
    ]
    found += _vetoes(files, installation.veto)
    claims = {*installation.types.user, *installation.types.task, "id", "roles"}
    found += linted(release, list(installation.tools()), claims, installation.held_roles)
    if not found or all(one.severity is LintLevel.WARNING for one in found):
        found += sized(release, installation.servers, installation.fleet, engine)
    return release, tuple(sorted(found, key=lambda finding: (finding.severity, finding.path, finding.policy)))


def _vetoes(files: Mapping[str, str], engine: VetoEngine | None) -> Iterator[PolicyFinding]:
    modules = {path: files[path] for path in sorted(filter(is_veto, files))}
    alone = [*_vetoes_alone(modules, engine)]
    yield from alone
    if engine is None or alone or not modules:
        return
    try:
        engine.compile(modules)  # what each is by itself, all of them together may not be
    except InvalidInputError as error:
        yield PolicyFinding("org/", "", f"modules together: {error.message}", error.hint, "veto-invalid")


def _vetoes_alone(modules: Mapping[str, str], engine: VetoEngine | None) -> Iterator[PolicyFinding]:
    for path, text in modules.items():
        if engine is None:
            message, fix = "the second engine is not installed", "install `accredit[rego]`, or leave the file out"
            yield PolicyFinding(path, "", message, fix, "veto-engine")
            continue
        try:
            engine.check(path, text)
        except InvalidInputError as error:
            yield PolicyFinding(path, "", error.message, error.hint, "veto-invalid")


class _Check:
    """One publish: the installation, prepared once for all policies."""

    def __init__(self, installation: Installation, counters: Sequence[Counter]) -> None:
        self._installation = installation
        tools = {tool.id: tool for tool, _ in installation.tools()}
        self.faults = tuple(counter_faults(counters, tools))
        self._session = session_type(counters, tools)
        self._inputs = {tool.id: input_type(tool.definition) for tool, _ in installation.tools()}
        self._places = [
            (tool, action_facts(tool), resource_facts(tool, server)) for tool, server in installation.tools()
        ]
        groups = {group for effect in Effect for scope in WriteScope for group in action_groups(effect, scope)}
        groups |= {ITEM_GROUP, MODEL_GROUP}
        self._groups = sorted(groups)
        ids = frozenset(installation.agents.values())
        self._known: Mapping[str, tuple[frozenset[str], str]] = {
            "Agent": (ids, "apply the Agent first"),
            "Team": (installation.teams, "apply the Team first"),
            "Server": (self._named(models=False), "apply the ToolServer first"),
            "Tool": (self._resources("Tool"), 'register the tool at its server, and write `Tool::"server/name"`'),
            "Item": (
                self._resources("Item"),
                'register it, and write `Item::"server/prompts/name"`; `accredit server get -o json` shows ids',
            ),
            "Provider": (self._named(models=True), "apply the ModelProvider first"),
            "Model": (self._resources("Model"), 'register the model, and write `Model::"provider/name"`'),
            "Action": (
                frozenset({*(action.name.id for _, action, _ in self._places), *groups, DELEGATE}),
                "use a registered tool's id or a group such as `@read`",
            ),
            "Environment": (frozenset(Environment), "use development, staging or production"),
            "State": (frozenset(AgentState), "use a state of the lifecycle"),
            RISK_TIER: (frozenset(Tier), "use low, medium or high; outside of production every agent counts as high"),
            "DataClass": (installation.data_classes, "use a registered data class"),
        }

    def _resources(self, kind: str) -> frozenset[str]:
        return frozenset(resource.name.id for _, _, resource in self._places if resource.name.type == kind)

    def _named(self, *, models: bool) -> frozenset[str]:
        return frozenset(one.name for one in self._installation.servers if (one.api is not None) is models)

    def findings(self, policy: Policy) -> Iterator[PolicyFinding]:
        """What is wrong with a policy before any type is looked at."""
        if policy.permits and policy.observed_until_us is not None:
            message = "a permit is observed: it would begin to permit when its observation ends"
            yield PolicyFinding(policy.path, policy.id, message, "publish the permit when it is to be in force")
        for message, fix in (*self._scope_faults(policy), *self._name_faults(policy), *self._read_faults(policy)):
            yield PolicyFinding(policy.path, policy.id, message, fix)

    def _scope_faults(self, policy: Policy) -> Iterator[tuple[str, str]]:
        scope, (layer, name) = policy.scope, layer_of(policy.path)
        if policy.permits and layer is not Layer.ORG:
            yield f"a {layer} policy permits", "write a `forbid`: what an agent may do comes from its manifest"
        elif policy.permits:
            actions = scope.action.entities
            if not actions or any(action.id.startswith("@") for action in actions):
                yield "a permit does not list its tools", 'write `action == Action::"server/tool"` or a list of them'
            if scope.principal.free:
                yield "a permit has no principal", "name the team, agent or state it is for"
        only = scope.principal
        if layer is Layer.TEAM and (only.entities != (EntityName("Team", name),) or only.exact):
            yield "a team's policy is not scoped to its team", f'write `principal in Team::"{name}"`'
        agent = self._installation.agents.get(name, name)
        if layer is Layer.AGENT and (only.entities != (EntityName("Agent", agent),) or not only.exact):
            yield "an agent's policy is not scoped to its agent", f'write `principal == Agent::"{name}"`'

    def _name_faults(self, policy: Policy) -> Iterator[tuple[str, str]]:
        named = {*named_entities(orjson.loads(policy.body)), *(policy.scope.principal.entities or ())}
        for name in sorted(named):
            known = self._known.get(name.type)
            if known is None:
                yield f"`{name.type}` is not a type policies can name", f"use one of {', '.join(sorted(self._known))}"
            elif name.id not in known[0]:
                yield f"there is no {name.type.lower()} `{name.id[:120]}`", known[1]

    def _places_of(self, policy: Policy) -> list[Tool]:
        scope = policy.scope
        return [
            tool
            for tool, action, resource in self._places
            if scope.action.admits(action.name, action.ancestors)
            and scope.resource.admits(resource.name, resource.ancestors)
        ]

    def _read_faults(self, policy: Policy) -> Iterator[tuple[str, str]]:
        tools = self._places_of(policy)
        values = {read.path for read in policy.reads if read.value}
        for path in sorted({read.path for read in policy.reads}):
            if path in values and path in {(), ("input",), ("origin",), ("source",)}:
                whole = ".".join(("context", *path))
                yield f"the whole of `{whole}` is read", "read single values of it"
            elif path[0] not in _ROOTS:
                yield f"`context.{path[0][:60]}` does not exist", f"use one of {', '.join(_ROOTS)}"
            elif path[0] == "input":
                yield from self._argument_faults(path, tools)

    def _argument_faults(self, path: tuple[str, ...], tools: Sequence[Tool]) -> Iterator[tuple[str, str]]:
        spelled = ".".join(path)
        found = {tool.id: self._inputs[tool.id].at(path[1:]) for tool in tools}
        for tool, declared in sorted(found.items()):
            if declared is not None and declared.kind is ArgumentKind.UNMAPPED:
                yield (
                    f"`{spelled}` of `{tool}` has no single type: {declared.reason}",
                    "give the argument one type in the tool's schema and pin it again, or scope the policy elsewhere",
                )
        if not any(found.values()):
            yield f"no tool in the policy's scope has an argument `{spelled}`", "correct the name or widen the scope"

    def typed(self, policies: Sequence[Policy], engine: Engine) -> Iterator[PolicyFinding]:
        """What the engine's strict validator says."""
        placed = {policy.id: bool(self._places_of(policy)) for policy in policies}
        for has_tools in (True, False):
            asked = [policy for policy in policies if placed[policy.id] is has_tools]
            if not asked:
                continue
            schema = orjson.dumps(self._schema(has_tools=has_tools)).decode()
            for objection in engine.validate([policy.text for policy in asked], schema):
                policy = asked[objection.position]
                yield PolicyFinding(policy.path, policy.id, objection.message, _fix(objection.message))

    def _schema(self, *, has_tools: bool) -> dict[str, Any]:
        """The engine's schema. Names stand in it as they are: its JSON form takes any text, so nothing is mangled."""
        actions: dict[str, Any] = {group: {} for group in self._groups}
        if has_tools:
            for tool, action, resource in self._places:
                groups = (parent.id for parent in action.parents)
                actions[action.name.id] = self._action(self._inputs[tool.id], groups, resource.name.type)
        else:  # a guardrail may be in force before the first tool it speaks of is registered
            actions[_NO_TOOL] = self._action(ArgumentType(ArgumentKind.RECORD), self._groups)
        actions[DELEGATE] = self._action(ArgumentType(ArgumentKind.RECORD), (), "Agent")
        grouped = {
            "Agent": ["Team", "Environment", "State", RISK_TIER],
            "Tool": ["Server", "DataClass", "Environment"],
            "Item": ["Server", "DataClass", "Environment"],
            "Model": ["Provider", "Environment"],
        }
        kinds = {kind: {"memberOfTypes": grouped.get(kind, [])} for kind in self._known if kind != "Action"}
        return {"": {"entityTypes": kinds, "actions": actions}}

    def _action(self, arguments: ArgumentType, groups: Iterable[str], resource: str = "Tool") -> dict[str, Any]:
        types = self._installation.types
        origins = {name: {"type": "String", "required": name in arguments.required} for name in arguments.fields}
        sources = {
            name: {**ClaimKind.STRINGS.document(), "required": name in arguments.required} for name in arguments.fields
        }
        attributes = {
            "input": {**arguments.document(), "required": True},
            "origin": {"type": "Record", "required": True, "attributes": origins},
            "source": {"type": "Record", "required": True, "attributes": sources},
            "user": _served(
                {**types.user, "id": ClaimKind.STRING, "roles": ClaimKind.STRINGS}, types.provided.get("user", {})
            ),
            "task": _served({**types.task, "id": ClaimKind.STRING}, types.provided.get("task", {})),
            "declared": _record(types.declared),
            "session": {**self._session.document(), "required": True},
            "instance": {**INSTANCE_TYPE.document(), "required": True},
            "actors": {**ClaimKind.STRINGS.document(), "required": False},
            "hops": {**ClaimKind.INTEGER.document(), "required": False},
            "now": {
                **_record(
                    {"minute": ClaimKind.INTEGER, "day": ClaimKind.STRING, "date": ClaimKind.STRING}, required=True
                )
            },
        }
        if resource == "Agent":  # what is handed on; no tool while work is handed on before any call
            attributes["tool"] = {**ClaimKind.STRING.document(), "required": False}
        return {
            "memberOf": [{"id": group} for group in groups],
            "appliesTo": {
                "principalTypes": ["Agent"],
                "resourceTypes": [resource],
                "context": {"type": "Record", "attributes": attributes},
            },
        }


def _record(claims: Mapping[str, ClaimKind], *, required: bool = False) -> dict[str, Any]:
    return {
        "type": "Record",
        "required": required,
        "attributes": {name: {**kind.document(), "required": required} for name, kind in claims.items()},
    }


def _served(claims: Mapping[str, ClaimKind], provided: Mapping[str, Mapping[str, ClaimKind]]) -> dict[str, Any]:
    """A user or task: what the token says, and what each provider does, under the provider's name."""
    made = _record(claims)
    made["attributes"] |= {name: _record(facts) for name, facts in provided.items() if name not in claims}
    return made


def _fix(message: str) -> str:
    if "optional attribute" in message:
        return "guard it: `context has user && context.user has roles && …`"
    if "not found" in message:
        return "scope the policy to tools that have it, or test with `has` first"
    return "correct the expression; types come from the pinned tool definitions"
