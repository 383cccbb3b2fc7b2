"""How much can go wrong with an agent: its tier, computed from facts, explained, and what would lower it. Pure.

Five factors of 0 to 4 give a score; floors raise the tier where a weighted sum would hide the one thing that matters,
and no score lowers them. What a manifest says of itself can only raise a factor: it counts as lower only as far as
something holds it (a mask, a hold, a tool that was not granted). Whatever is not known counts as 3. What was observed
of an agent (`observation.py`) adds to what is registered of it. INVARIANT: it can only raise.

factor     weight  0             1                  2                   3                       4
data       30      public        internal           confidential        personal, financial     phi, special, secret
effect     30      none          read               write, own          write, record;          irreversible;
                                                                        external                administer
autonomy   20      suggests      each act approved  acts with approval  acts unattended         self-starting
exposure   12      staff         employees          partners            web                     public
reach      8       user          team               department          company                 cross-tenant

Floors (DESIGN §6, and research/compliance-lifecycle.md §5, of which those that can never be the highest are left out:
`DATA3`, `DATA4` and `PUBLIC-PERSONAL` are below `sensitive-data`, `WRITE-AUTO` and half of `IRREV` below `write`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from itertools import combinations, islice
from typing import Any

import orjson

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import Effect, Tier, WriteScope

__all__ = [
    "AUDIENCES",
    "AUTONOMY",
    "HIGH_FROM",
    "MEDIUM_FROM",
    "REACH",
    "UNKNOWN",
    "Block",
    "Enforced",
    "Factor",
    "Floor",
    "GrantedTool",
    "Levels",
    "Lowering",
    "RiskFacts",
    "Safeguard",
    "SafeguardKind",
    "SupplierFault",
    "Tiering",
    "data_level",
    "effect_level",
    "exposure_of",
    "floors_of",
    "levels_of",
    "score_of",
    "sensitive",
    "tier_of",
    "tier_rank",
    "tiering",
]

WEIGHTS: Mapping[str, int] = {"data": 30, "effect": 30, "autonomy": 20, "exposure": 12, "reach": 8}
"""In hundredths: a factor of level 4 and weight 100 would be the whole score."""
MEDIUM_FROM, HIGH_FROM = 35, 60
UNKNOWN = 3

_RANKS: Mapping[Tier, int] = {Tier.LOW: 0, Tier.MEDIUM: 1, Tier.HIGH: 2}
AUTONOMY = {"suggests": 0, "each-act-approved": 1, "acts-with-approval": 2, "acts-unattended": 3, "self-starting": 4}
_SELF_STARTING = 4
AUDIENCES = {"staff": 0, "employees": 1, "partners": 2, "web": 3, "public": 4}
_OUTSIDE = 2
REACH = {"user": 0, "team": 1, "department": 2, "company": 3, "cross-tenant": 4}
_EFFECTS = {Effect.READ: 1, Effect.EXTERNAL: 3, Effect.IRREVERSIBLE: 4, Effect.ADMINISTER: 4}
_READ, _OWN, _RECORD, _LASTING = 1, 2, 3, 4
_SENSITIVE = 3
_NOT_KNOWN = frozenset({"unknown"})
"""A data class that no data file has."""
_SOURCES = 12
_SETS = 4
_WORK = 50_000
_SPLIT = 4


def tier_rank(tier: Tier) -> int:
    """Its place among the tiers, low first."""
    return _RANKS[tier]


@cache
def _sensitivities() -> Mapping[str, int]:
    """From the data file of this room: a class that is not in it, or says no sensitivity, is unknown."""
    text = resources.files("accredit.registry").joinpath("data_classes.json").read_bytes()
    return {entry["name"]: entry.get("sensitivity", UNKNOWN) for entry in orjson.loads(text)}


def sensitive(classes: Iterable[str]) -> frozenset[str]:
    """Those of some data classes that are personal or worse."""
    return frozenset(name for name in classes if data_level(name) >= _SENSITIVE)


def data_level(name: str) -> int:
    """How sensitive a data class is, from 0 to 4; one that is not known counts as 3."""
    return _sensitivities().get(name, UNKNOWN)


def effect_level(effect: Effect | None, scope: WriteScope | None) -> int:
    """An effect from 1 to 4; one that is not known counts as 3."""
    if effect is None:
        return UNKNOWN
    if effect is Effect.WRITE:
        return _OWN if scope is WriteScope.OWN else _RECORD
    return _EFFECTS[effect]


# -- facts


@dataclass(frozen=True, slots=True)
class Enforced:
    """What the policies in force do to an agent's tools whatever a call says."""

    held: frozenset[ToolId] = frozenset()
    """Every call waits for a person."""
    closed: frozenset[ToolId] = frozenset()
    """Every call is refused."""


@dataclass(frozen=True, slots=True)
class GrantedTool:
    """One tool an agent was granted, and what is enforced on it."""

    tool: ToolId
    effect: Effect | None
    """None: it is not registered, so nothing is known of it."""
    scope: WriteScope | None = None
    data: frozenset[str] = frozenset()
    """What its results carry."""
    masked: frozenset[str] = frozenset()
    """What the gateway takes out of them."""
    held: bool = False
    closed: bool = False
    seen: frozenset[str] = frozenset()
    """What was found in what it answered the agent, whatever is registered of it."""

    @property
    def carries(self) -> frozenset[str]:
        """The data classes that reach the agent through it."""
        return self.seen | (_NOT_KNOWN if self.effect is None else self.data - self.masked)

    @property
    def level(self) -> int:
        """Its effect from 1 to 4."""
        return effect_level(self.effect, self.scope)

    @property
    def attended(self) -> bool:
        """Whether it does nothing without a person."""
        return self.held or self.closed

    def document(self) -> dict[str, Any]:
        return {
            "closed": self.closed,
            "data": sorted(self.data),
            "effect": self.effect,
            "held": self.held,
            "masked": sorted(self.masked),
            "scope": self.scope,
            "tool": self.tool,
            **({"seen": sorted(self.seen)} if self.seen else {}),
        }


@dataclass(frozen=True, slots=True)
class SupplierFault:
    """A model supplier that would see sensitive data and may not."""

    provider: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class RiskFacts:
    """Everything a tier depends on."""

    declared: frozenset[str]
    """Data classes the manifest names."""
    tools: tuple[GrantedTool, ...]
    autonomy: str
    """This and the next three in the words of the manifest."""
    inputs: frozenset[str]
    audience: str
    reach: str
    annex3: bool = False
    decides: bool = False
    """Whether it has legal or similarly significant effect on a person."""
    prohibited: tuple[str, ...] = ()
    owner_present: bool = True
    supplier_faults: tuple[SupplierFault, ...] = ()
    delegates: tuple[tuple[AgentId, Tier], ...] = ()
    """Agents it may call, each with the highest tier that can be reached through it."""
    incident: bool = False
    """Whether an incident of severity 1 is open."""
    answered: frozenset[str] = frozenset()
    """Data classes found in what its language models answered."""
    heard_from: int = 0
    """The highest exposure of the agents that handed work on to it."""
    served: int = 0
    """The reach that the number of its users shows."""
    workflow: Tier | None = None
    """What it comes to together with the agents that it does one work with; None: it does none with others."""

    @property
    def reached(self) -> frozenset[str]:
        """The data classes in its reach: what a mask does not remove, and what the manifest says."""
        return self.declared.union(self.answered, *(tool.carries for tool in self.tools))

    def document(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "annex3": self.annex3,
            "audience": self.audience,
            "autonomy": self.autonomy,
            "decides": self.decides,
            "declared": sorted(self.declared),
            "delegates": [[agent, tier] for agent, tier in sorted(self.delegates)],
            "incident": self.incident,
            "inputs": sorted(self.inputs),
            "owner_present": self.owner_present,
            "prohibited": sorted(self.prohibited),
            "reach": self.reach,
            "supplier_faults": sorted([fault.provider, fault.model, fault.reason] for fault in self.supplier_faults),
            "tools": [tool.document() for tool in sorted(self.tools, key=lambda tool: tool.tool)],
            **self._observed(),
        }

    def _observed(self) -> dict[str, Any]:
        """What was observed; nothing of it if nothing was, so that what is judged without it keeps its digest."""
        seen = {
            "answered": sorted(self.answered),
            "heard_from": self.heard_from,
            "served": self.served,
            "workflow": self.workflow,
        }
        return {"observed": seen} if any(seen.values()) else {}


# -- score and floors


@dataclass(frozen=True, slots=True)
class Levels:
    """What the facts come to: the factor vector, and the flags that floors look at."""

    data: int
    effect: int
    autonomy: int
    exposure: int
    reach: int
    external: bool = False
    """Whether a tool acts on the world outside."""
    administers: bool = False
    egress: bool = False
    """Whether what it learns can leave: by a tool that writes for others, or to people outside."""
    annex3: bool = False
    decides: bool = False
    incident: bool = False
    delegate: Tier | None = None
    """The highest tier it can invoke."""
    workflow: Tier | None = None
    """The tier of the work that it is a part of."""

    @property
    def vector(self) -> tuple[int, int, int, int, int]:
        """The factors in the order of `WEIGHTS`."""
        return self.data, self.effect, self.autonomy, self.exposure, self.reach


@dataclass(frozen=True, slots=True)
class Floor:
    """A rule below which no score takes the tier."""

    rule: str
    tier: Tier
    reason: str


_Holds = Callable[[Levels], bool]
_FLOORS: tuple[tuple[Floor, _Holds], ...] = (
    (Floor("annex3", Tier.HIGH, "a use listed in Annex III of the EU AI Act"), lambda at: at.annex3),
    (Floor("decision", Tier.HIGH, "a legal or similarly significant effect on a person"), lambda at: at.decides),
    (
        Floor("control", Tier.HIGH, "it can change permissions, policy, identities or logs"),
        lambda at: at.administers,
    ),
    (
        Floor("sensitive-data", Tier.HIGH, "personal, financial, health, special, secret or unknown data in reach"),
        lambda at: at.data >= _SENSITIVE,
    ),
    (Floor("external", Tier.HIGH, "an effect outside the organisation"), lambda at: at.external),
    (
        Floor("irreversible", Tier.HIGH, "what cannot be undone is done without a person"),
        lambda at: at.effect >= _LASTING and at.autonomy >= 3,
    ),
    (
        Floor("trifecta", Tier.HIGH, "confidential data, text from outside and a way out come together"),
        lambda at: at.data >= 2 and at.exposure >= 3 and at.egress,
    ),
    (
        Floor("blast", Tier.HIGH, "it changes things for several tenants or critical infrastructure"),
        lambda at: at.reach >= 4 and at.effect >= _RECORD,
    ),
    (Floor("incident", Tier.HIGH, "an incident of severity 1 is open"), lambda at: at.incident),
    (
        Floor("delegate", Tier.HIGH, "it can invoke an agent of tier high"),
        lambda at: at.delegate is Tier.HIGH,
    ),
    (
        Floor("workflow", Tier.HIGH, "what it does one work with comes to tier high together"),
        lambda at: at.workflow is Tier.HIGH,
    ),
    (Floor("confidential-data", Tier.MEDIUM, "confidential data in reach"), lambda at: at.data == 2),
    (Floor("write", Tier.MEDIUM, "it writes"), lambda at: at.effect >= _OWN),
    (
        Floor("delegate", Tier.MEDIUM, "it can invoke an agent of tier medium"),
        lambda at: at.delegate is Tier.MEDIUM,
    ),
    (
        Floor("workflow", Tier.MEDIUM, "what it does one work with comes to tier medium together"),
        lambda at: at.workflow is Tier.MEDIUM,
    ),
)


def floors_of(levels: Levels) -> tuple[Floor, ...]:
    """The floors that hold, highest first."""
    return tuple(floor for floor, holds in _FLOORS if holds(levels))


def score_of(levels: Levels) -> int:
    """0 to 100, halves rounded up."""
    return (sum(25 * weight * level for weight, level in zip(WEIGHTS.values(), levels.vector, strict=True)) + 50) // 100


def tier_of(levels: Levels) -> Tier:
    """The higher of what the score says and every floor."""
    score = score_of(levels)
    by_score = Tier.HIGH if score >= HIGH_FROM else Tier.MEDIUM if score >= MEDIUM_FROM else Tier.LOW
    return max((by_score, *(floor.tier for floor, holds in _FLOORS if holds(levels))), key=tier_rank)


# -- from facts to levels


def levels_of(facts: RiskFacts) -> Levels:
    """The factor vector and the flags."""
    tools, exposure = facts.tools, exposure_of(facts)
    effects = {tool.effect for tool in tools}
    return Levels(
        data=max(map(data_level, facts.reached), default=0),
        effect=max((tool.level for tool in tools), default=0),
        autonomy=_autonomy(facts),
        exposure=exposure,
        reach=_reach(facts),
        external=Effect.EXTERNAL in effects,
        administers=Effect.ADMINISTER in effects,
        egress=AUDIENCES.get(facts.audience, UNKNOWN) >= _OUTSIDE
        or any(tool.level >= _RECORD and not tool.closed for tool in tools),
        annex3=facts.annex3,
        decides=facts.decides,
        incident=facts.incident,
        delegate=max((tier for _, tier in facts.delegates), key=tier_rank, default=None),
        workflow=facts.workflow,
    )


def _reach(facts: RiskFacts) -> int:
    return max(REACH.get(facts.reach, UNKNOWN), facts.served)


def exposure_of(facts: RiskFacts) -> int:
    """From 0 to 4: who can put text in front of it."""
    heard = facts.inputs | {facts.audience}  # whoever it serves can put text in front of it, said or not
    said = max(AUDIENCES.get(who, UNKNOWN) for who in heard)
    return max(said if facts.inputs else max(UNKNOWN, said), facts.heard_from)


def _autonomy(facts: RiskFacts) -> int:
    return max(AUTONOMY.get(facts.autonomy, UNKNOWN), _unattended(facts.tools))


def _unattended(tools: Iterable[GrantedTool]) -> int:
    """The least autonomy that what is enforced lets anybody claim."""
    acting = [tool for tool in tools if tool.level > _READ]
    alone = max((tool.level for tool in acting if not tool.attended), default=0)
    return 3 if alone >= _RECORD else 2 if alone else 1 if acting else 0


# -- the explanation


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor, what it adds to the score, and where its level comes from."""

    name: str
    level: int
    weight: int
    """Hundredths."""
    points: int
    """Hundredths of a point of the score."""
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Why there is no tier at all: such an agent cannot be submitted."""

    rule: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}"


class SafeguardKind(StrEnum):
    """What can be done so that less can go wrong."""

    MASK = "mask"
    LEAVE_OUT = "leave-out"
    HOLD = "hold"
    DROP_TOOL = "drop-tool"
    DROP_DELEGATE = "drop-delegate"
    DECLARE = "declare"


_ON_TOOLS = {SafeguardKind.HOLD, SafeguardKind.DROP_TOOL}
_WORDS: Mapping[SafeguardKind, str] = {
    SafeguardKind.MASK: "mask `{}` in the results of every tool that carries it, and leave it out of `data`",
    SafeguardKind.LEAVE_OUT: "leave `{}` out of `data`: no granted tool carries it",
    SafeguardKind.HOLD: "require approval on `{}`: a `@hold` policy without conditions",
    SafeguardKind.DROP_TOOL: "do not grant `{}`",
    SafeguardKind.DROP_DELEGATE: "do not delegate to `{}`",
    SafeguardKind.DECLARE: "declare the autonomy `{}`, which the holds then enforce",
}


@dataclass(frozen=True, slots=True, order=True)
class Safeguard:
    """One thing that could be done, to one thing."""

    kind: SafeguardKind
    what: str
    """A data class, tool, delegate or autonomy."""

    def __str__(self) -> str:
        return _WORDS[self.kind].format(self.what)


@dataclass(frozen=True, slots=True)
class Lowering:
    """What reaches a lower tier."""

    tier: Tier
    ways: tuple[tuple[Safeguard, ...], ...]
    """Each enough by itself; none with fewer safeguards is."""


@dataclass(frozen=True, slots=True)
class Tiering:
    """The tier of an agent, and why."""

    tier: Tier | None
    """None if blocked."""
    score: int
    factors: tuple[Factor, ...]
    floors: tuple[Floor, ...]
    blocks: tuple[Block, ...]
    lowers: tuple[Lowering, ...]
    """For each lower tier that can be reached, highest first. One that is missing cannot be: a floor stays."""
    digest: Digest
    """Over the facts and all they came to."""

    def document(self) -> dict[str, Any]:
        """The explanation, ready for JSON."""
        return {
            **_outcome(self.tier, self.score, self.factors, self.floors, self.blocks),
            "digest": self.digest,
            "lowers": [
                {
                    "tier": lowering.tier,
                    "ways": [
                        [{"do": one.kind, "what": one.what, "words": str(one)} for one in way] for way in lowering.ways
                    ],
                }
                for lowering in self.lowers
            ],
        }


def _outcome(
    tier: Tier | None,
    score: int,
    factors: tuple[Factor, ...],
    floors: tuple[Floor, ...],
    blocks: tuple[Block, ...],
) -> dict[str, Any]:
    return {
        "blocks": [{"reason": one.reason, "remedy": one.remedy, "rule": one.rule} for one in blocks],
        "factors": [
            {
                "level": one.level,
                "name": one.name,
                "points": one.points,
                "sources": list(one.sources),
                "weight": one.weight,
            }
            for one in factors
        ],
        "floors": [{"reason": one.reason, "rule": one.rule, "tier": one.tier} for one in floors],
        "score": score,
        "tier": tier,
    }


def tiering(facts: RiskFacts) -> Tiering:
    """The tier of an agent with these facts, its explanation and what would lower it."""
    levels = levels_of(facts)
    blocks = tuple(_blocks(facts))
    tier = None if blocks else tier_of(levels)
    score, floors = score_of(levels), floors_of(levels)
    factors = tuple(
        Factor(name, level, weight, 25 * weight * level, _bounded(_SOURCE_OF[name](facts)))
        for (name, weight), level in zip(WEIGHTS.items(), levels.vector, strict=True)
    )
    found = {"facts": facts.document(), **_outcome(tier, score, factors, floors, blocks)}
    return Tiering(
        tier=tier,
        score=score,
        factors=factors,
        floors=floors,
        blocks=blocks,
        lowers=() if tier is None else tuple(_lowers(facts, tier)),
        digest=digest_value("tiering", found),
    )


def _blocks(facts: RiskFacts) -> Iterator[Block]:
    for practice in sorted(facts.prohibited):
        yield Block(
            "prohibited-use",
            f"`{practice}` is prohibited by Article 5 of the EU AI Act",
            "no control makes this use lawful",
        )
    if not facts.owner_present:
        yield Block("no-owner", "the agent has no owner", "name an owner who is registered and has not left")
    for fault in sorted(facts.supplier_faults, key=lambda fault: (fault.provider, fault.model, fault.reason)):
        yield Block(
            "no-agreement",
            f"`{fault.model}` of `{fault.provider}` {fault.reason}",
            "register an agreement that covers these classes and name it, or mask the classes",
        )


def _bounded(sources: Iterable[str]) -> tuple[str, ...]:
    listed = sorted(sources)
    more = len(listed) - _SOURCES
    return (*listed[:_SOURCES], f"and {more} more") if more > 0 else tuple(listed)


def _data_sources(facts: RiskFacts) -> Iterator[str]:
    top = max(map(data_level, facts.reached), default=0)
    for name in facts.declared:
        if data_level(name) == top:
            yield f"declared: `{name}`"
    for name in facts.answered:
        if data_level(name) == top:
            yield f"observed: its models answered `{name}`"
    for tool in facts.tools:
        for name in tool.carries:
            if data_level(name) == top:
                yield (
                    f"observed: `{tool.tool}` carried `{name}`"
                    if name in tool.seen
                    else (f"`{tool.tool}` carries `{name}`")
                )


def _effect_sources(facts: RiskFacts) -> Iterator[str]:
    top = max((tool.level for tool in facts.tools), default=0)
    for tool in facts.tools:
        if tool.level == top:
            scope = f" {tool.scope or WriteScope.RECORD}" if tool.effect is Effect.WRITE else ""
            yield f"`{tool.tool}`: {tool.effect}{scope}" if tool.effect else f"`{tool.tool}` is not registered"


def _autonomy_sources(facts: RiskFacts) -> Iterator[str]:
    declared, enforced = AUTONOMY.get(facts.autonomy, UNKNOWN), _unattended(facts.tools)
    if declared >= enforced:
        yield f"declared: `{facts.autonomy}`"
    if enforced > declared:
        for tool in facts.tools:
            if tool.level > _READ and (enforced == 1 or not tool.attended) and (enforced < 3 or tool.level >= _RECORD):
                yield f"`{tool.tool}` " + ("acts, once approved" if enforced == 1 else "is not held for approval")


def _exposure_sources(facts: RiskFacts) -> Iterator[str]:
    top = exposure_of(facts)
    if facts.heard_from == top > 0:
        yield "observed: work was handed on to it by agents that such people can reach"
    if not facts.inputs:
        yield "inputs: not declared"
    for who in facts.inputs:
        if AUDIENCES.get(who, UNKNOWN) == top:
            yield f"inputs: `{who}`"
    if AUDIENCES.get(facts.audience, UNKNOWN) == top:
        yield f"audience: `{facts.audience}`"


def _reach_sources(facts: RiskFacts) -> Iterator[str]:
    top = _reach(facts)
    if REACH.get(facts.reach, UNKNOWN) == top:
        yield f"declared: `{facts.reach}`"
    if facts.served == top > 0:
        yield "observed: as many people use it"


_SOURCE_OF: Mapping[str, Callable[[RiskFacts], Iterable[str]]] = {
    "data": _data_sources,
    "effect": _effect_sources,
    "autonomy": _autonomy_sources,
    "exposure": _exposure_sources,
    "reach": _reach_sources,
}


# -- what would lower it


def _lowers(facts: RiskFacts, tier: Tier) -> Iterator[Lowering]:
    """For each lower tier, the smallest sets of safeguards that reach it, by trying them.

    Tools are tried by kind, not one by one: to take a level away, every tool of that level must go or be held. Only
    a data class can also be had out of reach by dropping just those tools that carry it.
    """
    if facts.annex3 or facts.decides or facts.incident or facts.workflow is Tier.HIGH:
        return  # no safeguard of this agent's takes these floors away
    alike = _alike(facts.tools)
    facts = replace(facts, tools=tuple(tools[0] for tools in alike))
    others = {tools[0].tool: [tool.tool for tool in tools] for tools in alike}
    for lower in sorted(_RANKS, key=tier_rank, reverse=True):
        if tier_rank(lower) >= tier_rank(tier):
            continue
        best: set[frozenset[Safeguard]] = set()
        size = -1
        # a bound on work: what was found until then is enough, though perhaps not smallest
        for tried, after in islice(_plans(facts, lower), _WORK // (len(alike) + 1)):
            count = sum(len(others[ToolId(one.what)]) if one.kind in _ON_TOOLS else 1 for one in tried)
            if (size < 0 or count <= size) and tier_rank(tier_of(levels_of(after))) <= tier_rank(lower):
                way = frozenset(
                    replace(one, what=what)
                    for one in tried
                    for what in (others[ToolId(one.what)] if one.kind in _ON_TOOLS else (one.what,))
                )
                best = best | {way} if count == size else {way}
                size = count
        if best:
            ways = sorted((tuple(sorted(way)) for way in best), key=_least_loss)
            yield Lowering(lower, tuple(ways[:_SETS]))


def _alike(tools: Iterable[GrantedTool]) -> list[list[GrantedTool]]:
    """Tools in groups that no rule tells apart."""
    found: dict[tuple[object, ...], list[GrantedTool]] = {}
    for tool in tools:
        found.setdefault((_kind(tool), tool.carries, tool.attended), []).append(tool)
    return list(found.values())


def _kind(tool: GrantedTool) -> tuple[Effect | None, int, bool]:
    return tool.effect, tool.level, tool.closed


def _least_loss(way: tuple[Safeguard, ...]) -> tuple[int, tuple[Safeguard, ...]]:
    """Ways that keep tools come first."""
    return sum(one.kind in {SafeguardKind.DROP_TOOL, SafeguardKind.DROP_DELEGATE} for one in way), way


def _plans(facts: RiskFacts, lower: Tier) -> Iterator[tuple[set[Safeguard], RiskFacts]]:
    too_high = [agent for agent, tier in facts.delegates if tier_rank(tier) > tier_rank(lower)]
    dismissed = {Safeguard(SafeguardKind.DROP_DELEGATE, agent) for agent in too_high}
    facts = replace(facts, delegates=tuple(pair for pair in facts.delegates if pair[0] not in too_high))
    for dropped in _droppings(facts):
        for masked, with_data in _maskings(dropped):
            for held, after in _holdings(with_data):
                gone = {tool.tool for tool in facts.tools} - {tool.tool for tool in after.tools}
                drops = {Safeguard(SafeguardKind.DROP_TOOL, tool) for tool in gone}
                yield dismissed | drops | masked | held, after


def _without(facts: RiskFacts, gone: Iterable[GrantedTool]) -> RiskFacts:
    """The facts without some tools, and without the classes that only they brought."""
    away = {tool.tool for tool in gone}
    kept = tuple(tool for tool in facts.tools if tool.tool not in away)
    brought = frozenset[str]().union(*(tool.carries for tool in facts.tools))
    still = frozenset[str]().union(*(tool.carries for tool in kept))
    return replace(facts, tools=kept, declared=facts.declared - (brought - still))


def _droppings(facts: RiskFacts) -> Iterator[RiskFacts]:
    for kinds in _subsets(list(dict.fromkeys(map(_kind, facts.tools)))):
        yield _without(facts, [tool for tool in facts.tools if _kind(tool) in kinds])


def _maskings(facts: RiskFacts) -> Iterator[tuple[set[Safeguard], RiskFacts]]:
    carried = frozenset[str]().union(*(tool.carries for tool in facts.tools))
    ranked = sorted(facts.reached, key=lambda name: (-data_level(name), name))
    # classes go most sensitive first: one that stays makes it useless to take a lesser one away
    bounds = [at for at, name in enumerate(ranked) if not at or data_level(name) < data_level(ranked[at - 1])]
    for over in (frozenset(ranked[:bound]) for bound in (*bounds, len(ranked))):
        for masked in _subsets(sorted(over), largest_first=True) if len(over) <= _SPLIT else [tuple(over)]:
            taken = frozenset(masked)
            rest = over - taken  # these go with the tools that carry them
            if taken & _NOT_KNOWN or not rest <= carried:
                continue
            dropped = _without(facts, [tool for tool in facts.tools if tool.carries & rest])
            tools = tuple(replace(tool, masked=tool.masked | (tool.data & taken)) for tool in dropped.tools)
            still = frozenset[str]().union(*(tool.carries for tool in dropped.tools))
            kinds = {name: SafeguardKind.MASK if name in still else SafeguardKind.LEAVE_OUT for name in taken}
            needed = taken & dropped.reached
            safeguards = {Safeguard(kinds[name], name) for name in needed}
            yield safeguards, replace(dropped, tools=tools, declared=dropped.declared - taken)


def _holdings(facts: RiskFacts) -> Iterator[tuple[set[Safeguard], RiskFacts]]:
    yield set(), facts
    said = AUTONOMY.get(facts.autonomy, UNKNOWN)
    if said >= _SELF_STARTING:
        return
    for word, from_level in (("acts-with-approval", _RECORD), ("each-act-approved", _OWN)):
        waiting = [tool for tool in facts.tools if tool.level >= from_level]
        if not waiting:
            continue  # without a hold it would be lowered by a statement alone
        held = tuple(replace(tool, held=True) if tool in waiting else tool for tool in facts.tools)
        safeguards = {Safeguard(SafeguardKind.HOLD, tool.tool) for tool in waiting if not tool.attended}
        autonomy = facts.autonomy
        if said > AUTONOMY[word]:
            safeguards.add(Safeguard(SafeguardKind.DECLARE, word))
            autonomy = word
        yield safeguards, replace(facts, tools=held, autonomy=autonomy)


def _subsets(items: list[Any], *, largest_first: bool = False) -> Iterator[tuple[Any, ...]]:
    sizes = range(len(items) + 1)
    for size in reversed(sizes) if largest_first else sizes:
        yield from combinations(items, size)
