"""The identity of policies: the text is the truth, everything else is derived from it one policy at a time.

A policy's id is its file's path and the first 12 hex digits of its text's digest, so an id never moves when a
neighbour is edited and never stands for two texts. Annotations live here: the engine's answers do not carry them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from sys import intern
from typing import Any

import orjson

from accredit.kernel.canonical import digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.model import ToolCallRule
from accredit.policy.ports import Engine, EngineSource
from accredit.policy.reads import Read, asks_entities, context_reads
from accredit.policy.scope import EntityName, Scope, read_scope

__all__ = ["Layer", "Policy", "linked", "policy_of", "read_policies"]

_PARTS = {"effect", "principal", "action", "resource", "conditions", "annotations"}
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_OPTIONS = orjson.OPT_SORT_KEYS


class Layer(StrEnum):
    """Who a policy belongs to. Only `grant` (compiled from manifests) and, with a list, `org` may permit.

    `ext` stands apart: its policies are of other applications' types, and never in scope of a call.
    """

    ORG = "org"
    TEAM = "team"
    AGENT = "agent"
    GRANT = "grant"
    EXTERNAL = "ext"


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy under its own id, with all that deciding needs to know of it without asking the engine."""

    id: str
    path: str
    layer: Layer
    text: str
    permits: bool
    hold: str | None
    """The role of its `@hold`: a person of that role may lift this forbid for one call."""
    scope: Scope
    reads: frozenset[Read]
    conditions: int
    body: str
    """What the engine compiles: equal policies of different agents have equal bodies and share one handle."""
    notes: frozenset[str] = frozenset()
    """Names of its annotations."""
    asks_entities: bool = True
    """Whether its conditions look at principal, action or resource: else, where it is in scope, only context counts."""
    tool_calls: ToolCallRule | None = None
    """Of its `@tool_calls`: this forbid stands aside if that is done with the answer of the model it speaks of."""
    observed_until_us: int | None = None
    """Until then it is evaluated apart and changes nothing; None: it is enforced."""

    @property
    def absolute(self) -> bool:
        """Of a forbid, whether nothing lifts it: no person, and nothing that is done with an answer."""
        return self.hold is None and self.tool_calls is None

    @property
    def clocked(self) -> bool:
        """Whether it reads the time of day."""
        return any(read.path[:1] in ((), ("now",)) for read in self.reads)


def _conjuncts(condition: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """`when a && b` as `when a when b`.

    The same by definition, and the engine converts flat trees several times faster than deep ones.
    """
    body, flat = condition["body"], []
    if condition["kind"] == "when":
        while body.keys() == {"&&"}:
            flat.append(body["&&"]["right"])
            body = body["&&"]["left"]
    return [{"kind": condition["kind"], "body": part} for part in (body, *reversed(flat))]


def _body(tree: Mapping[str, Any], scope: Scope) -> str:
    principal = tree["principal"]
    if scope.principal.exact:
        # a slice holds such a policy only for that very principal, so the name decides nothing any more; without it
        # the same ceiling on ten thousand agents is one handle. Property: sliced = flat
        principal = {"op": "All"}
    value = {
        "effect": tree["effect"],
        "principal": principal,
        "action": tree["action"],
        "resource": tree["resource"],
        "conditions": [part for condition in tree["conditions"] for part in _conjuncts(condition)],
    }
    return intern(orjson.dumps(value, option=_OPTIONS).decode())


def _filled(tree: Mapping[str, Any], slots: Mapping[str, EntityName]) -> dict[str, Any]:
    def fill(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if node.keys() >= {"slot"} and node["slot"] in slots:
            name = slots[node["slot"]]
            return {
                **{key: value for key, value in node.items() if key != "slot"},
                "entity": {"type": name.type, "id": name.id},
            }
        return {key: fill(value) for key, value in node.items()}

    return {**tree, "principal": fill(tree["principal"]), "resource": fill(tree["resource"])}


def _hold(tree: Mapping[str, Any]) -> str | None:
    annotations = tree.get("annotations", {})
    if "hold" not in annotations:
        return None
    role = annotations["hold"]
    if tree["effect"] != "forbid":
        raise InvalidInputError(
            Code.POLICY_INVALID, "`@hold` stands on a permit", hint="hold a forbid: a person can lift only a refusal"
        )
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise InvalidInputError(
            Code.POLICY_INVALID, "`@hold` names no role", hint='write `@hold("role")`: the role that may approve'
        )
    return role


def _tool_calls(tree: Mapping[str, Any]) -> ToolCallRule | None:
    annotations = tree.get("annotations", {})
    if "tool_calls" not in annotations:
        return None
    named, hint = annotations["tool_calls"], 'write `@tool_calls("decided")` or `@tool_calls("known")`'
    if tree["effect"] != "forbid" or "hold" in annotations:
        where = "on a permit" if tree["effect"] != "forbid" else "beside `@hold`"
        raise InvalidInputError(
            Code.POLICY_INVALID,
            f"`@tool_calls` stands {where}",
            hint="put it on a forbid of its own, which stands aside where the tool calls in the answer are decided",
        )
    if named not in set(ToolCallRule):
        raise InvalidInputError(Code.POLICY_INVALID, "`@tool_calls` names nothing that can be done", hint=hint)
    return ToolCallRule(named)


_share_scope = lru_cache(maxsize=4096)(lambda scope: scope)
_share_reads = lru_cache(maxsize=4096)(lambda reads: reads)


def policy_of(
    source: EngineSource,
    path: str,
    layer: Layer,
    *,
    names: Mapping[str, str] | None = None,
    slots: Mapping[str, EntityName] | None = None,
    policy_id: str | None = None,
) -> Policy:
    """One policy from what the engine read. `names` maps agent names to agent ids; `slots` fills a template.

    Raises:
        InvalidInputError: its scope, conditions or annotations cannot be understood completely.
    """
    tree = _filled(source.tree, slots or {})
    if not tree.keys() <= _PARTS or tree.get("effect") not in {"permit", "forbid"}:
        raise InvalidInputError(
            Code.POLICY_INVALID, "the policy has a part that is not known", hint="write it otherwise"
        )
    for part in ("principal", "action", "resource", "conditions"):
        tree[part] = _resolved(tree[part], names) if names is not None else tree[part]
    scope = read_scope(tree)
    return Policy(
        id=policy_id or f"{path}@{digest('policy', source.text.encode())[7:19]}",
        path=path,
        layer=layer,
        text=source.text,
        permits=tree["effect"] == "permit",
        hold=_hold(tree),
        tool_calls=_tool_calls(tree),
        scope=_share_scope(scope),
        reads=_share_reads(context_reads(tree)),
        conditions=len(tree["conditions"]),
        body=_body(tree, scope),
        notes=frozenset(tree.get("annotations", ())),
        asks_entities=asks_entities(tree),
    )


def _resolved(node: Any, names: Mapping[str, str]) -> Any:
    """A tree with every agent's name replaced by its id; names nobody has stay and match nothing."""
    if isinstance(node, list):
        return [_resolved(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"type", "id"} and node["type"] == "Agent" and isinstance(node["id"], str):
        return {"type": "Agent", "id": names.get(node["id"], node["id"])}
    return {key: _resolved(value, names) for key, value in node.items()}


def read_policies(
    engine: Engine, path: str, text: str, layer: Layer, *, names: Mapping[str, str] | None = None
) -> tuple[Policy, ...]:
    """The policies of one file, in order.

    Raises:
        InvalidInputError: the text does not parse, or a policy cannot be understood completely.
    """
    return tuple(policy_of(source, path, layer, names=names) for source in engine.read(text))


def linked(source: EngineSource, path: str, slots: Mapping[str, EntityName], policy_id: str) -> Policy:
    """A template with its slots filled, under the id of the link.

    Raises:
        InvalidInputError: a slot is not filled.
    """
    return policy_of(source, path, Layer.ORG, slots=slots, policy_id=policy_id)
