"""The three entities of one decision. What guardrails select on is a parent, never an attribute (DESIGN §3.5).

A group forbid on an entity that lacks the group does not fire, so an entity without a parent that every decision
needs is refused before anything is evaluated.

In production an agent stands in the risk tier its version was approved under, and one that has none is refused.
Elsewhere nobody judges a tier, and the agent stands in the highest: there no policy on tiers is silently without force,
and what it will do to a high agent shows before production. A policy that is to leave the others alone says so, with
`when { principal in Environment::"production" }`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accredit.kernel.canonical import Digest, canonical, digest
from accredit.kernel.ids import ToolId
from accredit.policy.scope import EntityName
from accredit.registry.llm_models import LLM_OPERATION
from accredit.registry.model import Agent, Effect, Environment, Tier, Tool, ToolServer, WriteScope

__all__ = [
    "DELEGATE",
    "ITEM_GROUP",
    "MODEL_GROUP",
    "RISK_TIER",
    "EntityFacts",
    "action_facts",
    "action_groups",
    "callee_facts",
    "delegate_action",
    "missing_parents",
    "principal_facts",
    "resource_facts",
]

ITEM_GROUP = "@read_item"
"""The group of operations on resources and prompts, which are in `@read` besides."""
DELEGATE = "@delegate"
"""The operation of handing work on to another agent, which is the resource then."""
MODEL_GROUP = "@call_model"
"""The group of operations of language models."""
RISK_TIER = "RiskTier"
"""The type of the tiers agents stand in."""
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "Agent": ("Team", "Environment", "State", RISK_TIER),
    "Action": ("Action",),
    "Tool": ("Server", "Environment"),
    "Item": ("Server", "Environment"),
    "Model": ("Provider", "Environment"),
}


@dataclass(frozen=True, slots=True)
class EntityFacts:
    """An entity and every ancestor it has, named directly."""

    name: EntityName
    parents: tuple[EntityName, ...]
    document: str
    """The entity as the engine loads it, canonical JSON."""
    digest: Digest

    @property
    def ancestors(self) -> frozenset[EntityName]:
        """The parents and the entity itself, as `in` sees them."""
        return frozenset((self.name, *self.parents))


def _facts(name: EntityName, parents: list[EntityName]) -> EntityFacts:
    parents.sort()
    text = canonical(
        {
            "uid": {"type": name.type, "id": name.id},
            "attrs": {},
            "parents": [{"type": kind, "id": entity} for kind, entity in parents],
        }
    )
    return EntityFacts(name, tuple(parents), text.decode(), digest("entity", text))


def missing_parents(facts: EntityFacts) -> tuple[str, ...]:
    """The types of parents that the entity must have and has not, or has with an empty name."""
    present = {kind for kind, name in facts.parents if name}
    return tuple(kind for kind in _NEEDED[facts.name.type] if kind not in present)


def principal_facts(agent: Agent, tools: Mapping[ToolId, Tool]) -> EntityFacts:
    """An agent in its team, environment, state, risk tier and grants.

    It stands in a grant only while every data class of the tool is in its version's `data` or taken out of the results
    by the grant's mask, so a class added to a tool later takes the tool away until the manifest names it.
    """
    data = agent.version.data
    granted = [
        EntityName("Grant", grant.digest)
        for grant in agent.version.every_grant
        if (tool := tools.get(grant.tool)) is not None and tool.shown(grant.mask) <= data
    ]
    delegated = [
        EntityName("Grant", one.digest)
        for one in agent.version.delegates
        if one.tool is None or ((tool := tools.get(one.tool)) is not None and tool.data <= data)
    ]
    return _facts(EntityName("Agent", agent.id), [*_places(agent), *granted, *delegated])


def callee_facts(agent: Agent) -> EntityFacts:
    """An agent as whom work is handed on to."""
    return _facts(EntityName("Agent", agent.id), _places(agent))


def delegate_action() -> EntityFacts:
    """The operation of handing on: it stands in no group, as it is the only one of its kind."""
    return _facts(EntityName("Action", DELEGATE), [])


def _places(agent: Agent) -> list[EntityName]:
    parents = [
        EntityName("Team", agent.team.name),
        EntityName("Environment", agent.environment),
        EntityName("State", agent.state),
    ]
    tier = agent.tier
    if tier is None and agent.environment is not Environment.PRODUCTION:
        tier = Tier.HIGH
    if tier is not None:
        parents.append(EntityName(RISK_TIER, tier))
    return parents


def action_groups(effect: Effect, scope: WriteScope | None) -> tuple[str, ...]:
    """The groups an operation of that effect stands in; groups start with `@`, which no tool id can."""
    groups = ["@call_tool", f"@{Effect(effect)}"]
    if effect is Effect.WRITE:
        groups.append(f"@write-{scope or WriteScope.RECORD}")
    return tuple(groups)


def action_facts(tool: Tool) -> EntityFacts:
    """The operation in its groups."""
    if tool.rates is not None:
        return _facts(EntityName("Action", LLM_OPERATION), [EntityName("Action", MODEL_GROUP)])
    named = (f"@{Effect.READ}", ITEM_GROUP) if tool.item is not None else action_groups(tool.effect, tool.scope)
    groups = [EntityName("Action", group) for group in named]
    return _facts(EntityName("Action", tool.id), groups)


def resource_facts(tool: Tool, server: ToolServer) -> EntityFacts:
    """The tool, item or model as the thing acted on: in its server or provider, data classes and environment."""
    if tool.rates is not None:
        places = [EntityName("Provider", server.name), EntityName("Environment", server.environment)]
        return _facts(EntityName("Model", tool.id), places)
    parents = [
        EntityName("Server", server.name),
        EntityName("Environment", server.environment),
        *(EntityName("DataClass", name) for name in tool.data),
    ]
    return _facts(EntityName("Tool" if tool.item is None else "Item", tool.id), parents)
