"""Why a decision came out as it did: what determined it, which facts that read, and what would have changed it.

Nothing here is guessed from text. A change is named only after the same `decide` was asked with that change made, and
came to another outcome. Which changes are tried is read from the conditions: the values a fact is compared with, the
other side of a comparison of two facts, presence for what is asked with `has`; one fact at a time, then two, and never
more than `MOST_TRIALS` in all. An explanation changes nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import orjson

from accredit.kernel.codes import Code
from accredit.policy.context import now_facts
from accredit.policy.decide import decide, decide_without
from accredit.policy.mapped import questions_asked
from accredit.policy.model import CallRequest, Decision, ExternalRequest, Hop, Outcome
from accredit.policy.reads import chain
from accredit.policy.snapshot import Inadmissible, PolicySnapshot
from accredit.policy.sources import Policy

__all__ = ["MOST_TRIALS", "Alternative", "ExplainedPolicy", "Explanation", "JudgedEntity", "ReadFact", "explain"]

MOST_TRIALS: Final = 200
_VOUCHED: Final[Mapping[str, str]] = {
    "actors": "the token's chain of actors, verified",
    "hops": "the token's chain of actors: how often the work was handed on",
    "declared": "the agent's own claim: nobody vouches for it",
    "input": "the call's arguments, as the agent sent them and the pinned schema allows",
    "instance": "measured by us over all calls with this credential",
    "now": "our clock, in the zone registered for the agent",
    "origin": "measured by us: where the argument's value was seen before",
    "source": "measured by us: the tools in whose results the argument's value was seen",
    "session": "measured by us over this agent's calls for this user and task",
    "task": "the registered task issuer, signed, or a registered context provider",
    "tool": "the tool that is handed on",
    "user": "the registered user issuer, signed, or a registered context provider",
}
_VOUCHED_OUTSIDE: Final[Mapping[str, str]] = {
    "action": "the enforcement point that asked, or the tool's mapping",
    "caller": "the enforcement point's own key, verified, or the tool server's name",
    "now": "our clock, in UTC",
    "request": "the enforcement point that asked, or the tool's mapping; of that, `agent` is ours",
}
_COMPARED: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "contains", "containsAll", "containsAny", "in"})
_DECIMALS: Final = frozenset({"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"})
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class ReadFact:
    """One fact that a policy reads."""

    path: str
    present: bool
    value: Any
    """As it was recorded; None if it was absent."""
    vouched: str
    """Who vouches for it, in words."""


@dataclass(frozen=True, slots=True)
class ExplainedPolicy:
    """A policy that determined the outcome, or whose conditions were not met."""

    id: str
    layer: str
    effect: str
    role: str | None
    """Of its `@hold`."""
    text: str
    facts: tuple[ReadFact, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Something that would have changed the outcome, tried with the same engine."""

    change: str
    outcome: str
    code: str


@dataclass(frozen=True, slots=True)
class JudgedEntity:
    """Somebody or something of another application, as it was judged."""

    type: str
    id: str
    attributes: Mapping[str, Any]
    """All that the release says of it; or of what was sent, what policies have a name for."""
    vouched: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that can be said of one decision from its own facts."""

    outcome: str
    code: str
    meaning: str
    remedy: str
    detail: str
    unmet: tuple[str, ...]
    policies: tuple[ExplainedPolicy, ...]
    alternatives: tuple[Alternative, ...]
    observed: Alternative | None
    """What the decision would have been with the observed policies enforced."""
    entities: tuple[JudgedEntity, ...] = ()
    """Subject and resource of each question about other applications' types."""


def explain(request: CallRequest | ExternalRequest, snapshot: PolicySnapshot) -> Explanation:
    """Explain the decision on a request. The same arguments always give the same explanation."""
    decision = decide(request, snapshot)
    determining = _determining(request, snapshot, decision)
    seen = decision.observed
    return Explanation(
        outcome=decision.outcome.value,
        code=decision.code.value,
        meaning=decision.code.meaning,
        remedy=decision.code.remedy,
        detail=decision.detail,
        unmet=decision.unmet,
        policies=tuple(_explained(policy, asked) for policy, asked in determining),
        alternatives=tuple(_alternatives(request, snapshot, decision, [policy for policy, _ in determining])),
        observed=Alternative("the observed policies were enforced", seen.outcome.value, seen.code.value)
        if seen
        else None,
        entities=_entities(request, snapshot),
    )


_Determining = Sequence[tuple[Policy, CallRequest | ExternalRequest]]
"""Policies, each with what it was asked about: the call or question itself, or what a tool's mapping made of a call."""


def _determining(request: CallRequest | ExternalRequest, snapshot: PolicySnapshot, decision: Decision) -> _Determining:
    """The policies that determined the decision; of a denial by default, the permits that were not satisfied."""
    named = set(decision.policies)
    scoped: list[tuple[Policy, CallRequest | ExternalRequest]] = [
        (policy, question)
        for question in questions_asked(request, snapshot)
        for policy in snapshot.external.in_scope(question)
    ]
    permits = [(policy, question) for policy, question in scoped if policy.permits]
    if isinstance(request, CallRequest):
        part = snapshot.slice_for(request.agent, request.tool)
        if isinstance(part, Inadmissible):
            return ()
        scoped = [*((policy, request) for policy in part.policies), *scoped]
        if decision.code is not Code.MAPPING_DENIED:
            permits = [(part.permit.policy, request)]
        for hop in request.hops:
            handed = snapshot.hop_slice(hop.caller, hop.callee, request.tool)
            if isinstance(handed, Inadmissible):
                continue
            facts = {**request.context, "tool": request.tool}
            asked = replace(request, context=facts)
            scoped += [(policy, asked) for policy in handed.policies]
            if decision.code is Code.DELEGATION_UNMET and _blamed(hop, decision):
                permits = [(handed.permit.policy, asked)]
    found = {policy.id: (policy, asked) for policy, asked in reversed(scoped) if policy.id in named}
    if not found and decision.outcome is Outcome.DENY:
        found = {policy.id: (policy, asked) for policy, asked in reversed(permits)}
    return [found[name] for name in sorted(found)]


def _blamed(hop: Hop, decision: Decision) -> bool:
    """Whether it was this hop that refused; `detail` names it first."""
    return decision.detail.startswith(f"`{hop.caller.name}` to `{hop.callee.name}`")


def _entities(request: CallRequest | ExternalRequest, snapshot: PolicySnapshot) -> tuple[JudgedEntity, ...]:
    found: dict[tuple[str, str], JudgedEntity] = {}
    who = "the tool's mapping" if isinstance(request, CallRequest) else "the enforcement point that asked"
    for question in questions_asked(request, snapshot):
        for asked in (question.subject, question.resource):
            attributes, known = snapshot.external.attributes(asked)
            vouched = "the release" if known else who
            found.setdefault((asked.type, asked.id), JudgedEntity(asked.type, asked.id, attributes, vouched))
    return tuple(found.values())


def _facts(request: CallRequest | ExternalRequest) -> Mapping[str, Any]:
    """What the conditions of policies read."""
    if isinstance(request, CallRequest):
        return request.context
    return {
        "action": request.arguments,
        "caller": request.caller,
        "now": now_facts(request.time_us, "UTC"),
        "request": request.context,
    }


def _under(request: CallRequest | ExternalRequest, facts: Mapping[str, Any]) -> CallRequest | ExternalRequest | None:
    """The same request over other facts; None if it cannot be had: of a question, the time."""
    if isinstance(request, CallRequest):
        return replace(request, context=facts)
    if facts.get("now") != _facts(request)["now"]:
        return None
    action, sent = facts.get("action", {}), facts.get("request", {})
    return replace(request, arguments=action, context=sent, caller=facts.get("caller", ""))


def _explained(policy: Policy, asked: CallRequest | ExternalRequest) -> ExplainedPolicy:
    context, vouched = _facts(asked), _VOUCHED if isinstance(asked, CallRequest) else _VOUCHED_OUTSIDE
    paths = sorted({read.path for read in policy.reads})
    return ExplainedPolicy(
        id=policy.id,
        layer=policy.layer.value,
        effect="permit" if policy.permits else "forbid",
        role=policy.hold,
        text=policy.text,
        facts=tuple(_fact(path, context, vouched) for path in paths),
    )


def _fact(path: tuple[str, ...], context: Mapping[str, Any], vouched: Mapping[str, str]) -> ReadFact:
    value = _at(context, path)
    present = value is not _ABSENT
    by = vouched.get(path[0], "nobody") if path else "all of the above"
    return ReadFact(".".join(("context", *path)), present, value if present else None, by)


def _at(context: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if not isinstance(context, Mapping) or step not in context:
            return _ABSENT
        context = context[step]
    return context


def _with(context: Mapping[str, Any], path: tuple[str, ...], value: Any) -> Mapping[str, Any] | None:
    """The context with that value at that path; None if something that is no record stands in the way."""
    below = context.get(path[0], {})
    if len(path) == 1:
        if value is _ABSENT:
            return {key: kept for key, kept in context.items() if key != path[0]}
        return {**context, path[0]: value}
    if not isinstance(below, Mapping):
        return None
    changed = _with(below, path[1:], value)
    return None if changed is None else {**context, path[0]: changed}


_Change = tuple[tuple[str, ...], Any]


def _alternatives(
    request: CallRequest | ExternalRequest,
    snapshot: PolicySnapshot,
    decision: Decision,
    determining: Sequence[Policy],
) -> Iterator[Alternative]:
    if not determining:
        return
    for policy in determining:
        if policy.id in decision.policies:
            yield from _told(f"without policy {policy.id}", decision, decide_without(request, snapshot, {policy.id}))
    if len(decision.policies) > 1:
        yield from _told(
            "without all of these policies", decision, decide_without(request, snapshot, {*decision.policies})
        )
    if isinstance(request, CallRequest):
        yield from _lighter(request, snapshot, decision)
    facts = _facts(request)
    changes = list(dict.fromkeys(_keyed(change) for change in _candidates(determining, facts)))
    tried = 0
    for size in (1, 2):
        found = False
        for chosen in combinations(changes, size):
            if tried >= MOST_TRIALS or len({path for path, _ in chosen}) < size:
                continue
            tried += 1
            changed: Mapping[str, Any] | None = facts
            for path, value in chosen:
                changed = None if changed is None else _with(changed, path, _unkeyed(value))
            trial = None if changed is None else _under(request, changed)
            if trial is None:
                continue
            told = list(_told(_words(chosen), decision, decide(trial, snapshot)))
            found = found or bool(told)
            yield from told
        if found:
            return  # what takes two changes is no news where one is enough


def _lighter(request: CallRequest, snapshot: PolicySnapshot, decision: Decision) -> Iterator[Alternative]:
    """The same call with less against it."""
    if request.hops:
        yield from _told("the agent were asked for it directly", decision, decide(replace(request, hops=()), snapshot))
    if request.restrictions or any(hop.restrictions for hop in request.hops):
        hops = tuple(replace(hop, restrictions=()) for hop in request.hops)
        free = replace(request, restrictions=(), hops=hops)
        yield from _told("without the restrictions", decision, decide(free, snapshot))
    if decision.needs:
        lifted = request.lifted | {need.policy for need in decision.needs}
        roles = " and ".join(sorted({f"`{need.role}`" for need in decision.needs}))
        yield from _told(f"a person of {roles} approves", decision, decide(replace(request, lifted=lifted), snapshot))


def _told(change: str, before: Decision, after: Decision) -> Iterator[Alternative]:
    if after.outcome is not before.outcome:
        yield Alternative(change, after.outcome.value, after.code.value)


def _words(chosen: Iterable[tuple[tuple[str, ...], bytes]]) -> str:
    return " and ".join(
        f"`context.{'.'.join(path)}` is absent" if value == _GONE else f"`context.{'.'.join(path)}` is {value.decode()}"
        for path, value in chosen
    )


_GONE: Final = b""


def _keyed(change: _Change) -> tuple[tuple[str, ...], bytes]:
    path, value = change
    return path, _GONE if value is _ABSENT else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _unkeyed(value: bytes) -> Any:
    return _ABSENT if value == _GONE else orjson.loads(value)


def _candidates(policies: Iterable[Policy], context: Mapping[str, Any]) -> Iterator[_Change]:
    for policy in policies:
        for condition in orjson.loads(policy.body)["conditions"]:
            yield from _suggested(condition["body"], context)


def _suggested(node: Any, context: Mapping[str, Any]) -> Iterator[_Change]:
    """Values that would turn a comparison in this expression round."""
    if isinstance(node, list):
        for item in node:
            yield from _suggested(item, context)
        return
    if not isinstance(node, Mapping):
        return
    for kind, inner in node.items():
        match kind, inner:
            case "has", {"left": left, "attr": str(attr)}:
                path = chain(left)
                if path and _at(context, (*path, attr)) is not _ABSENT:
                    yield (*path, attr), _ABSENT
            case _, {"left": left, "right": right} if kind in _COMPARED:
                yield from _compared(left, right, context)
            case _, [left, right] if kind in _DECIMALS:
                yield from _compared(left, right, context)
            case _:
                pass
        yield from _suggested(inner, context)


def _compared(left: Any, right: Any, context: Mapping[str, Any]) -> Iterator[_Change]:
    for side, other in ((left, right), (right, left)):
        path = chain(side)
        if not path:
            continue
        against = chain(other)
        if against:
            value = _at(context, against)
            if value is not _ABSENT and not isinstance(value, Mapping):
                yield path, value
            continue
        known = _at(context, path)
        for literal in _literals(other):
            if isinstance(known, list | tuple):
                listed = list(known)
                yield path, [one for one in listed if one != literal] if literal in listed else [*listed, literal]
            else:
                yield path, literal
                if type(literal) is int:
                    yield from ((path, literal - 1), (path, literal + 1))
            if known is _ABSENT and isinstance(literal, str):
                yield path, [literal]


def _literals(node: Any) -> Iterator[Any]:
    match node:
        case {"Value": str() | bool() | int() as value}:
            yield value
        case {"Set": list(items)}:
            for item in items:
                yield from _literals(item)
        case {"decimal": [{"Value": str(text)}]}:
            number = float(text)
            yield from (number, number - 1, number + 1)
