"""What becomes of any call of an agent to a tool, as far as that can be said without the call: a preview for people.

The engine evaluates the policies of a slice with nothing known of the context, and each is left true, false, failing or
open. From what an open condition can still come to follows what a call can still come to, by the steps of `decide`. It
is never said that a call is always, never or only with approval let through where one is not (property:
tests/policy/test_reach.py); `depends` may be said where a closer look would tell.

`enforced.access` answers a coarser question for tiers and sign-offs, which rest on it: it asks the very evaluation that
decides, while partial evaluation is no stable part of the engine. Nothing rests on a reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.policy.entities import DELEGATE, principal_facts
from accredit.policy.ports import Residual
from accredit.policy.reads import chain, context_reads, named_entities
from accredit.policy.scope import EntityName
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.policy.sources import Policy
from accredit.registry.model import Agent

__all__ = ["Reach", "Reaches", "reach"]

_MOST_CONDITIONS: Final = 20
_LONGEST: Final = 300
_ANY: Final = frozenset({True, False, None})
"""What a condition can come to; None: it cannot be judged."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What calls of an agent to a tool can come to.

    Aside from what no policy has a say in: a reserved key, a value that cannot be put to the engine, a clock that is
    not confirmed, a restriction in force, an engine outside of the process. Policies that are only observed are left
    out, whenever their observation ends.
    """

    outcome: str
    """`always` or `never` let through, `held` (each call waits for a person), `held or denied`, or `depends`."""
    may: tuple[str, ...]
    """Outcomes there can be: `allow`, `deny`, `fail` (denied, because a policy could not be judged), `hold`. Sorted."""
    depends: tuple[str, ...] = ()
    """On what: the conditions that are left, in the words of the grant or of the engine. At most twenty."""
    reads: tuple[str, ...] = ()
    """The paths these read. Sorted."""


def reach(part: Slice, snapshot: PolicySnapshot) -> Reach:
    """What calls in scope of a slice can come to."""
    left_out = part.observed(0)
    try:
        handle = snapshot.compiled(part, left_out).handle
        found = snapshot.engine.residuals(handle, part.principal, part.action, part.resource, part.entities)
    except UnavailableError as error:
        return Reach("depends", ("allow", "deny", "fail", "hold"), (error.message,))
    judged = [
        (part.policies[int(name)], residual, _ends(residual)) for name, residual in sorted(found.items(), key=_at)
    ]
    may = _outcomes([(policy, ends) for policy, _, ends in judged])
    vetoed = snapshot.vetoes and part.action["id"] != DELEGATE  # no second engine is asked of a hand-over
    if (vetoed or part.mapping is not None) and may & {"allow", "hold"}:
        may |= {"deny", "fail"}
    left = [(policy, residual) for policy, residual, ends in judged if len(ends) > 1]
    words = _word(may)
    if words in {"always", "never"}:
        return Reach(words, tuple(sorted(may)))
    conditions = dict.fromkeys(said for policy, residual in left for said in _said(policy, residual, part))
    if vetoed:
        conditions.update(dict.fromkeys(f"not refused by {name}" for name in sorted(snapshot.release.vetoes)))
    if part.mapping is not None:
        conditions["not refused by what the tool's mapping asks of policies under ext/"] = None
    paths = {".".join(("context", *path)) for policy, residual in left for path in _paths(policy, residual)}
    return Reach(words, tuple(sorted(may)), tuple(conditions)[:_MOST_CONDITIONS], tuple(sorted(paths)))


def _at(item: tuple[str, Any]) -> int:
    return int(item[0])


def _word(may: frozenset[str]) -> str:
    if may == {"allow"}:
        return "always"
    if may <= {"deny", "fail"}:
        return "never"
    if may == {"hold"}:
        return "held"
    return "depends" if "allow" in may else "held or denied"


def _outcomes(policies: Iterable[tuple[Policy, frozenset[bool | None]]]) -> frozenset[str]:
    """The steps of `decide`, for all that each policy can come to."""
    permits: list[frozenset[bool | None]] = []
    forbids: list[frozenset[bool | None]] = []
    holds: list[frozenset[bool | None]] = []
    asides: list[frozenset[bool | None]] = []
    """Of forbids that stand aside, since the tool calls in the answer are decided: they matter if they fail."""
    for policy, ends in policies:
        kind = forbids if policy.absolute else holds if policy.hold is not None else asides
        (permits if policy.permits else kind).append(ends)
    found = set()
    if any(None in ends for ends in (*forbids, *holds, *asides)):
        found.add("fail")
    if {None} in (*forbids, *holds, *asides):
        return frozenset(found)
    if any(True in ends for ends in forbids) or {True} not in permits:
        found.add("deny")
    if {True} not in forbids and any(True in ends for ends in permits):
        if any(True in ends for ends in holds):
            found.add("hold")
        if {True} not in holds:
            found.add("allow")
    return frozenset(found)


def _ends(residual: Residual) -> frozenset[bool | None]:
    if residual.error:
        return frozenset({None})
    if residual.truth is not None:
        return frozenset({residual.truth})
    try:
        return _possible(residual.tree)
    except RecursionError:
        return _ANY


def _possible(node: Any) -> frozenset[bool | None]:
    """What a condition can come to if nothing is known of what it reads. More is right, less would not be."""
    match node:
        case {"Value": bool(value)}:
            return frozenset({value})
        case {"&&": {"left": left, "right": right}}:
            before = _possible(left)
            return before - {True} | _possible(right) if True in before else before
        case {"||": {"left": left, "right": right}}:
            before = _possible(left)
            return before - {False} | _possible(right) if False in before else before
        case {"!": {"arg": inner}}:
            return frozenset(None if end is None else not end for end in _possible(inner))
        case {"if-then-else": {"if": test, "then": then, "else": other}}:
            tested = _possible(test)
            return (
                tested & {None}
                | (_possible(then) if True in tested else frozenset())
                | (_possible(other) if False in tested else frozenset())
            )
        case {"has": {"left": left, "attr": str()}} if chain(left) == ():
            return frozenset({True, False})
    return _ANY


def _said(policy: Policy, residual: Residual, part: Slice) -> Iterable[str]:
    if policy is part.permit.policy:
        return (condition.label for condition in part.permit.conditions)
    if policy is part.permit.ceiling:  # repeats a condition of its permit
        return ()
    word = "allowed" if policy.permits else "denied" if policy.absolute else "held"
    if policy.tool_calls is not None:
        word = f"allowed with tool calls {policy.tool_calls}"
    said = f"when {residual.text}" if residual.text else f"by {policy.id}"
    text = f"{word} {said}"
    return (text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…",)


def _paths(policy: Policy, residual: Residual) -> Iterable[tuple[str, ...]]:
    try:
        reads = context_reads({"conditions": [{"body": residual.tree}]})
    except (InvalidInputError, RecursionError):
        reads = policy.reads
    return (read.path for read in reads)


class Reaches:
    """The reaches of many agents under one snapshot: those that policies cannot tell apart are asked once."""

    def __init__(self, snapshot: PolicySnapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[object, Reach] = {}
        self._named: dict[object, frozenset[str]] = {}
        self._latest: tuple[Agent, tuple[EntityName, ...]] | None = None

    def of(self, part: Slice) -> Reach:
        """The reach of a slice of this snapshot."""
        agent = part.agent
        named = self._named.get(part.key)
        if named is None:
            named = self._named[part.key] = frozenset().union(*map(_agents_named, {one.body for one in part.policies}))
        if self._latest is None or self._latest[0] is not agent:  # whoever goes through a fleet asks tool by tool
            self._latest = (agent, principal_facts(agent, self._snapshot.tools).parents)
        key = (
            part.key,
            part.observed(0),
            tuple(policy.id for policy in part.policies),
            part.entity_digests["action"],
            part.entity_digests["resource"],
            self._latest[1],
            agent.id if agent.id in named else None,
        )
        known = self._known.get(key)
        if known is None:
            known = reach(part, self._snapshot)
            # what compares a fact with the agent itself is said of this one alone
            if not any(agent.id in condition for condition in known.depends):
                self._known[key] = known
        return known


@lru_cache(maxsize=65_536)
def _agents_named(body: str) -> frozenset[str]:
    return frozenset(name.id for name in named_entities(orjson.loads(body)) if name.type == "Agent")
