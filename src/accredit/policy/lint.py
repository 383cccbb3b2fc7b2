"""What is wrong with policies that are understood: those that could never act, would act everywhere, or trust a claim.

A finding is refused where a policy would be silently without force, or open, although its author meant it to act;
otherwise it is a warning, which is published and said.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from accredit.kernel.errors import InvalidInputError
from accredit.kernel.legible import visible
from accredit.policy.contradiction import impossible
from accredit.policy.entities import DELEGATE, RISK_TIER, action_facts, resource_facts
from accredit.policy.external import ExternalModel
from accredit.policy.ports import Engine
from accredit.policy.release import LintLevel, PolicyFinding, Release
from accredit.policy.scope import Constraint, EntityName
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.policy.sources import Policy
from accredit.registry.mappings import declared_mapping
from accredit.registry.model import APPROVER_ROLES, Agent, Role, Tool, ToolServer

__all__ = ["SLICE_BUDGET", "SLICE_LIMIT", "linted", "sized"]

SLICE_BUDGET: Final = 15
"""Policies in a slice beyond which it is said."""
SLICE_LIMIT: Final = 200
"""And beyond which nothing is published."""
_MOST_WILDCARDS: Final = 8
_KNOWN_NOTES: Final = frozenset({"hold", "tool_calls", "description", "owner", "ticket", "severity"})
_Said = tuple[str, LintLevel, str, str]
"""Rule, severity, message, fix."""


def linted(
    release: Release,
    places: Sequence[tuple[Tool, ToolServer]],
    claims: Iterable[str],
    held_roles: frozenset[str] | None,
) -> Iterator[PolicyFinding]:
    """Everything wrong with policies one by one and side by side.

    `claims` are the names of verified claims, `held_roles` the roles that somebody holds (None: not known).
    """
    known = [(tool, action_facts(tool), resource_facts(tool, server)) for tool, server in places]
    groups = {action.name: action.ancestors for _, action, _ in known}
    verified = frozenset(claims)
    for policy in release.policies:
        tools = [
            tool
            for tool, action, resource in known
            if policy.scope.action.admits(action.name, action.ancestors)
            and policy.scope.resource.admits(resource.name, resource.ancestors)
        ]
        said = [
            *_notes(policy), *_hold(policy, held_roles), *_tool_calls(policy, tools), *_hidden(policy), *_globs(policy),
            *_scope(policy, tools, known), *_never(policy, tools), *_declared(policy, verified),
        ]  # fmt: skip
        for rule, severity, message, fix in said:
            yield PolicyFinding(policy.path, policy.id, message, fix, rule, severity)
    yield from _shadowed(release.policies, groups)
    yield from _external(release.external)
    for tool, _ in places:
        yield from _unanswered(release.external, tool)


def _external(external: ExternalModel) -> Iterator[PolicyFinding]:
    """The same of types of other applications, as far as it can be told without knowing their calls."""
    for policy in external.policies:
        for rule, severity, message, fix in (*_notes(policy), *_hidden(policy), *_globs(policy), *_never(policy, ())):
            yield PolicyFinding(policy.path, policy.id, message, fix, rule, severity)
    for name in external.entities:
        if visible(name.id) != name.id:
            message = f"an entity's id has characters that show nothing or deceive the eye: {_excerpt(name.id)}"
            yield PolicyFinding("ext/", "", message, "write it in plain characters", "hidden-characters")
    yield from _shadowed(external.policies, {})


def _unanswered(external: ExternalModel, tool: Tool) -> Iterator[PolicyFinding]:
    """Questions of a tool's mapping that no policy can answer with yes."""
    try:
        mapping = declared_mapping(tool.definition)
    except InvalidInputError as error:
        yield PolicyFinding("", "", f"`{tool.id}`: {error.message}", error.hint, "mapping-invalid", LintLevel.WARNING)
        return
    for subject, action, resource in mapping.literals() if mapping is not None else ():
        unknown = [f"`{kind}`" for kind in (subject, resource) if kind and kind not in external.types]
        unknown += [f"`{action}`"] if action and action not in external.actions else []
        if unknown:
            asked = ", ".join(unknown)
            message = f"every call of `{tool.id}` is refused: nothing under ext/ speaks of {asked}, as its mapping does"
            fix = f"write policies for `Ext::{subject or 'TYPE'}` and `Ext::{resource or 'TYPE'}`, see docs/authzen.md"
            yield PolicyFinding("ext/", "", message, fix, "mapping-unanswered", LintLevel.WARNING)


def _notes(policy: Policy) -> Iterator[_Said]:
    for name in sorted(policy.notes):
        if name in _KNOWN_NOTES:
            continue
        why, fix = next((told for meant, told in _MEANT.items() if _near(name.casefold(), meant)), ("", ""))
        yield (
            "annotation-unknown",
            LintLevel.REFUSED if why else LintLevel.WARNING,
            f"`@{visible(name)[:60]}` means nothing here{why}",
            fix or "leave it out, or use @description, @owner, @ticket or @severity",
        )


_MEANT: Final = {
    "hold": (": it holds no call", 'write `@hold("role")`'),
    "tool_calls": (": it decides no tool call", 'write `@tool_calls("decided")`'),
}


def _tool_calls(policy: Policy, tools: Sequence[Tool]) -> Iterator[_Said]:
    """It stands aside for what only answers of models can have: beside other tools it would be no forbid at all."""
    if policy.tool_calls is not None and (others := [tool.id for tool in tools if tool.rates is None]):
        yield (
            "tool-calls-scope",
            LintLevel.REFUSED,
            f"`@tool_calls` speaks of `{others[0]}`, which is no model",
            'limit it: `action == Action::"llm/chat"`',
        )


def _near(one: str, other: str) -> bool:
    """Whether a word could be meant for the other: at most two letters put in, left out or changed."""
    before = list(range(len(other) + 1))
    for at, char in enumerate(one, 1):
        now = [at]
        for to, wanted in enumerate(other, 1):
            now.append(min(before[to] + 1, now[-1] + 1, before[to - 1] + (char != wanted)))
        before = now
    return before[-1] <= 2


def _hold(policy: Policy, held: frozenset[str] | None) -> Iterator[_Said]:
    role = policy.hold
    if role is None:
        return
    if role not in {str(one) for one in APPROVER_ROLES}:
        named = ", ".join(sorted(APPROVER_ROLES))
        known = " is a role that answers no hold" if role in set(Role) else " is no role"
        yield "hold-role", LintLevel.REFUSED, f'`@hold("{role[:60]}")`: `{role[:60]}`{known}', f"use one of {named}"
    elif held is not None and role not in held:
        message = f"nobody holds the role `{role}`, so every call it holds waits in vain"
        yield "hold-unanswered", LintLevel.WARNING, message, f"`accredit role grant {role} --person …`"


def _hidden(policy: Policy) -> Iterator[_Said]:
    scope = policy.scope
    names = [str(name) for part in (scope.principal, scope.action, scope.resource) for name in part.entities or ()]
    written = "\n".join([policy.body, *sorted(names), *sorted(policy.notes)])
    if visible(written) != written:
        message = f"a name or text has characters that show nothing or deceive the eye: {_excerpt(written)}"
        yield "hidden-characters", LintLevel.REFUSED, message, "write what is meant in plain characters"


def _excerpt(text: str) -> str:
    shown = visible(text)
    at = next((i for i, (one, other) in enumerate(zip(text, shown, strict=False)) if one != other), 0)
    return f"`{shown[max(0, at - 20) : at + 40]}`"


def _globs(policy: Policy) -> Iterator[_Said]:
    if any(found > _MOST_WILDCARDS for found in _wildcards(orjson.loads(policy.body)["conditions"])):
        message = f"a pattern has more than {_MOST_WILDCARDS} wildcards"
        yield "glob-heavy", LintLevel.REFUSED, message, "use fewer `*`: matching time grows with each"


def _wildcards(node: Any) -> Iterator[int]:
    if isinstance(node, list):
        for item in node:
            yield from _wildcards(item)
    elif isinstance(node, Mapping):
        match node:
            case {"like": {"pattern": list(pattern), **rest}}:
                yield sum(part == "Wildcard" for part in pattern)
                yield from _wildcards(rest)
            case _:
                for item in node.values():
                    yield from _wildcards(item)


def _scope(policy: Policy, tools: Sequence[Tool], known: Sequence[Any]) -> Iterator[_Said]:
    scope = policy.scope
    if scope.principal.free and scope.action.free and scope.resource.free:
        message = "speaks of every agent, tool and thing, and stands in every slice"
        yield "scope-free", LintLevel.WARNING, message, 'name a group such as `action in Action::"@write"`'
    elif known and not tools and not _speaks_of_handing_on(policy):
        message = "no registered tool is in its scope: it acts on nothing yet"
        yield "unreachable", LintLevel.WARNING, message, "correct the scope, unless the tool is still to come"


def _speaks_of_handing_on(policy: Policy) -> bool:
    """Whether it can be in scope when an agent hands work on: that needs no tool."""
    action, resource = EntityName("Action", DELEGATE), policy.scope.resource
    named = {name.type for name in resource.entities or ()} | ({resource.type} if resource.type is not None else set())
    return policy.scope.action.admits(action, frozenset({action})) and named <= _CALLEES


_CALLEES: Final = frozenset({"Agent", "Environment", RISK_TIER, "State", "Team"})


def _never(policy: Policy, tools: Sequence[Tool]) -> Iterator[_Said]:
    fact = impossible(policy, _enums(tools))
    if fact is None:
        return
    said = fact if not fact.startswith("context.") else f"no call can have `{fact}` as it demands"
    yield "always-false", LintLevel.REFUSED, f"can never act: {said}", "correct the condition, or leave the policy out"


def _enums(tools: Sequence[Tool]) -> dict[tuple[str, ...], frozenset[str]]:
    """The texts an argument can be, where every tool in scope that has it fixes them."""
    found: defaultdict[tuple[str, ...], list[frozenset[str] | None]] = defaultdict(list)
    for tool in tools:
        schema = tool.definition.get("inputSchema")
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        for name, one in properties.items() if isinstance(properties, Mapping) else ():
            values = one.get("enum") if isinstance(one, Mapping) else None
            if isinstance(one, Mapping) and "const" in one:
                values = [one["const"]]
            fixed = isinstance(values, list) and all(isinstance(value, str) for value in values)
            found["input", name].append(frozenset(values) if fixed and isinstance(values, list) else None)
    return {
        path: frozenset[str]().union(*(one for one in each if one is not None))
        for path, each in found.items()
        if None not in each
    }


def _declared(policy: Policy, verified: frozenset[str]) -> Iterator[_Said]:
    for path in sorted({read.path for read in policy.reads if read.path[:1] == ("declared",) and len(read.path) > 1}):
        if path[1] in verified:
            yield (
                "declared-claim",
                LintLevel.REFUSED,
                f"reads `context.{'.'.join(path)}`, which the agent claims itself, where a verified `{path[1]}` exists",
                f"read it from `context.user` or `context.task`, where an issuer vouches for `{path[1]}`",
            )


def _shadowed(
    policies: Sequence[Policy], groups: Mapping[EntityName, frozenset[EntityName]]
) -> Iterator[PolicyFinding]:
    """Policies that cannot matter beside another: equal ones, and those under a refusal without conditions."""
    first: dict[object, Policy] = {}
    total = [one for one in policies if not one.permits and not one.conditions and one.absolute]
    total = [one for one in total if one.observed_until_us is None]
    for policy in policies:
        key = (policy.body, policy.scope, policy.hold, policy.tool_calls, policy.observed_until_us)
        same = first.setdefault(key, policy)
        over = next((one for one in total if one is not policy and _covers(one, policy, groups)), None)
        if same is not policy:
            message, fix = f"says what `{same.id}` says", "keep one of them"
        elif over is not None and not (over.body == policy.body and over.scope == policy.scope):
            message, fix = (
                f"can change nothing: `{over.id}` refuses all it speaks of",
                "leave it out, or narrow that one",
            )
        else:
            continue
        yield PolicyFinding(policy.path, policy.id, message, fix, "shadowed", LintLevel.WARNING)


def _covers(wide: Policy, narrow: Policy, groups: Mapping[EntityName, frozenset[EntityName]]) -> bool:
    one, other = wide.scope, narrow.scope
    return (
        _contains(one.principal, other.principal, {})
        and _contains(one.action, other.action, groups)
        and _contains(one.resource, other.resource, {})
    )


def _contains(wide: Constraint, narrow: Constraint, groups: Mapping[EntityName, frozenset[EntityName]]) -> bool:
    if wide == narrow or (wide.entities is None and wide.type in {None, narrow.type}):
        return True
    if wide.type is not None or wide.entities is None or narrow.entities is None:
        return False
    if wide.exact:
        return narrow.exact and set(narrow.entities) <= set(wide.entities)
    return all(groups.get(name, frozenset({name})) & set(wide.entities) for name in narrow.entities)


def sized(
    release: Release, servers: Sequence[ToolServer], fleet: Iterable[Agent], engine: Engine
) -> Iterator[PolicyFinding]:
    """Slices of this fleet over the budget. Agents of equal parents and no policy of their own count once."""
    snapshot = PolicySnapshot(release, servers, engine)
    named = {name for policy in release.policies for name in policy.scope.principal.entities or ()}
    seen: set[object] = set()
    sizes: Tally[int] = Tally()
    largest: tuple[int, str, str] = (0, "", "")
    for agent in fleet:
        own = agent.id if EntityName("Agent", agent.id) in named else None
        for grant in agent.version.every_grant:
            key = (own, agent.team.name, agent.environment, agent.state, agent.tier, grant.tool)
            if key in seen:
                continue
            seen.add(key)
            part = snapshot.slice_for(agent, grant.tool)
            if isinstance(part, Slice):
                sizes[len(part.policies)] += 1
                largest = max(largest, (len(part.policies), f"{agent.environment}/{agent.name}", grant.tool))
    size, who, tool = largest
    if size > SLICE_BUDGET:
        over = sum(count for length, count in sizes.items() if length > SLICE_BUDGET)
        message = f"{over} of {sum(sizes.values())} kinds of call meet more than {SLICE_BUDGET} policies; {who} calling"
        message += f" `{tool}` meets {size}"
        severity = LintLevel.REFUSED if size > SLICE_LIMIT else LintLevel.WARNING
        yield PolicyFinding("", "", message, "scope policies by team, tool group or data class", "slice-size", severity)
