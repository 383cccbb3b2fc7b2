from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from accredit.kernel.canonical import require_canonical
from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import Effect, Tier, WriteScope
from accredit.registry.tiering import (
    GrantedTool,
    Levels,
    RiskFacts,
    Safeguard,
    SafeguardKind,
    SupplierFault,
    floors_of,
    levels_of,
    score_of,
    tier_of,
    tier_rank,
    tiering,
)
from tests.registry.drawing import FACTS, TIERS

ARCHETYPES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "tiers" / "archetypes.json").read_bytes())
VECTORS: list[tuple[int, int, int, int, int]] = list(product(range(5), range(5), range(5), range(5), range(5)))
FLAGS = ("external", "administers", "egress", "annex3", "decides", "incident")


def read_facts(doc: Mapping[str, Any]) -> RiskFacts:
    """The facts of an archetype, as any engine would read them."""
    tools = tuple(
        GrantedTool(
            tool=ToolId(tool["tool"]),
            effect=Effect(tool["effect"]) if tool["effect"] else None,
            scope=WriteScope(tool["scope"]) if "scope" in tool else None,
            data=frozenset(tool["data"]),
            masked=frozenset(tool.get("masked", ())),
            held=tool.get("held", False),
            closed=tool.get("closed", False),
        )
        for tool in doc["tools"]
    )
    return RiskFacts(
        declared=frozenset(doc["declared"]),
        tools=tools,
        autonomy=doc["autonomy"],
        inputs=frozenset(doc["inputs"]),
        audience=doc["audience"],
        reach=doc["reach"],
        annex3=doc.get("annex3", False),
        decides=doc.get("decides", False),
        prohibited=tuple(doc.get("prohibited", ())),
        owner_present=doc.get("owner_present", True),
        supplier_faults=tuple(SupplierFault(*fault) for fault in doc.get("supplier_faults", ())),
        delegates=tuple((AgentId(agent), Tier(tier)) for agent, tier in doc.get("delegates", ())),
        incident=doc.get("incident", False),
    )


def archetype(name: str) -> RiskFacts:
    return read_facts(next(one["facts"] for one in ARCHETYPES if one["name"] == name))


# -- golden


@pytest.mark.requirement("registry:tier:golden")
@pytest.mark.parametrize("case", ARCHETYPES, ids=lambda case: str(case["name"]))
def test_the_archetypes_come_out_as_on_file(case: dict[str, Any]) -> None:
    found = tiering(read_facts(case["facts"]))
    assert {
        "factors": {factor.name: factor.level for factor in found.factors},
        "score": found.score,
        "floors": [[floor.rule, floor.tier] for floor in found.floors],
        "blocks": [block.rule for block in found.blocks],
        "tier": found.tier,
    } == case["expect"]
    assert sum(factor.points for factor in found.factors) in range(found.score * 100 - 50, found.score * 100 + 51)


@pytest.mark.requirement("registry:tier:golden")
def test_the_golden_file_has_every_archetype_that_was_promised() -> None:
    tiers = {case["name"]: case["expect"]["tier"] for case in ARCHETYPES}
    promised = {
        "handbook Q&A": "low",
        "read-only BI on public data": "low",
        "reader of confidential code": "medium",
        "writer to an internal tracker": "medium",
        "BI agent reading personal data": "high",
        "clinical note drafter": "high",
        "CV ranker": "high",
        "IAM helper": "high",
        "mailer to customers": "high",
        "refunds with per-act approval": "high",
        "the same BI agent behind an enforced mask of personal fields": "medium",
    }
    assert len(tiers) == len(ARCHETYPES) >= 20
    assert {name: tiers.get(name) for name in promised} == promised


# -- all vectors


def naive_tier(at: Levels) -> Tier:
    """The table of the research and the floors of DESIGN §6, all of them, written down again."""
    d, a, u, x, r = at.vector
    exact = 30 * d + 30 * a + 20 * u + 12 * x + 8 * r  # four times the score
    found = [Tier.HIGH if exact >= 238 else Tier.MEDIUM if exact >= 138 else Tier.LOW]
    high = (
        at.annex3
        or at.decides
        or at.administers
        or (d == 4 and (at.egress or a >= 3))
        or (a == 4 and u >= 3)
        or (d >= 2 and x >= 3 and at.egress)
        or (x == 4 and d >= 3)
        or (r == 4 and a >= 3)
        or at.incident
        or at.delegate is Tier.HIGH
        or d >= 3
        or at.external
    )
    medium = d >= 2 or a >= 2 or at.delegate is Tier.MEDIUM
    found += [Tier.HIGH] * high + [Tier.MEDIUM] * medium
    return max(found, key=TIERS.index)


@pytest.fixture(scope="module")
def tiers_of_all() -> dict[tuple[Any, ...], int]:
    """The rank of every factor vector with every combination of flags and of the tier it can invoke."""
    found = {}
    for flags in product((False, True), repeat=len(FLAGS)):
        given_flags: Any = dict(zip(FLAGS, flags, strict=True))
        for vector in VECTORS:
            found[vector, flags] = tier_rank(tier_of(replace(Levels(*vector), **given_flags)))
    return found


@pytest.mark.requirement("registry:tier:monotone")
def test_raising_any_factor_or_flag_never_lowers_the_tier(tiers_of_all: dict[tuple[Any, ...], int]) -> None:
    violations = 0
    for (vector, flags), rank in tiers_of_all.items():
        for place in range(5):
            if vector[place] < 4:
                higher = (*vector[:place], vector[place] + 1, *vector[place + 1 :])
                violations += tiers_of_all[higher, flags] < rank
        for place, flag in enumerate(flags):
            if not flag:
                violations += tiers_of_all[vector, (*flags[:place], True, *flags[place + 1 :])] < rank
    assert len(tiers_of_all) == 5**5 * 2**6
    assert violations == 0


@pytest.mark.requirement("registry:tier:monotone")
def test_no_floor_is_overridden_by_any_score(tiers_of_all: dict[tuple[Any, ...], int]) -> None:
    for vector, (egress, delegate) in product(VECTORS, product((False, True), (None, *TIERS))):
        at = Levels(*vector, egress=egress, delegate=delegate)
        tier = tier_of(at)
        assert tier is naive_tier(at)
        assert all(tier_rank(floor.tier) <= tier_rank(tier) for floor in floors_of(at))
        assert delegate is None or tier_rank(delegate) <= tier_rank(tier)
    for place, flag in enumerate(FLAGS):
        if flag != "egress":
            assert all(rank == 2 for (_, flags), rank in tiers_of_all.items() if flags[place])


@pytest.mark.requirement("registry:tier:monotone")
def test_a_higher_tier_that_it_can_invoke_never_lowers_its_own() -> None:
    for vector, egress in product(VECTORS, (False, True)):
        ranks = [tier_rank(tier_of(Levels(*vector, egress=egress, delegate=one))) for one in (None, *TIERS)]
        assert ranks == sorted(ranks)


@pytest.mark.requirement("registry:tier:floors")
@pytest.mark.parametrize(
    ("levels", "rule", "tier"),
    [
        (Levels(0, 0, 0, 0, 0, annex3=True), "annex3", Tier.HIGH),
        (Levels(0, 0, 0, 0, 0, decides=True), "decision", Tier.HIGH),
        (Levels(0, 4, 0, 0, 0, administers=True), "control", Tier.HIGH),
        (Levels(3, 0, 0, 0, 0), "sensitive-data", Tier.HIGH),
        (Levels(0, 3, 0, 0, 0, external=True), "external", Tier.HIGH),
        (Levels(0, 4, 3, 0, 0), "irreversible", Tier.HIGH),
        (Levels(2, 0, 0, 3, 0, egress=True), "trifecta", Tier.HIGH),
        (Levels(0, 3, 0, 0, 4), "blast", Tier.HIGH),
        (Levels(0, 0, 0, 0, 0, incident=True), "incident", Tier.HIGH),
        (Levels(0, 0, 0, 0, 0, delegate=Tier.HIGH), "delegate", Tier.HIGH),
        (Levels(2, 0, 0, 0, 0), "confidential-data", Tier.MEDIUM),
        (Levels(0, 2, 0, 0, 0), "write", Tier.MEDIUM),
        (Levels(0, 0, 0, 0, 0, delegate=Tier.MEDIUM), "delegate", Tier.MEDIUM),
    ],
)
def test_each_floor_holds_against_a_low_score(levels: Levels, rule: str, tier: Tier) -> None:
    assert score_of(levels) < 60
    assert tier in {floor.tier for floor in floors_of(levels) if floor.rule == rule}
    assert tier_of(levels) is tier


@pytest.mark.requirement("registry:tier:floors")
def test_a_score_between_two_numbers_is_rounded_up() -> None:
    assert score_of(Levels(0, 1, 4, 0, 1)) == 30  # 29.5
    assert score_of(Levels(1, 1, 0, 4, 0)) == 27
    assert score_of(Levels(0, 1, 3, 4, 0)) == 35  # 34.5: medium, not low


# -- from facts


EXAMPLES = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])


def rank(facts: RiskFacts) -> int:
    return tier_rank(tier_of(levels_of(facts)))


def controlled(facts: RiskFacts) -> Iterator[RiskFacts]:
    """The facts with one more control each."""
    for at, tool in enumerate(facts.tools):
        for changed in (
            replace(tool, held=True),
            replace(tool, closed=True),
            replace(tool, masked=tool.masked | tool.data),
            *(replace(tool, masked=tool.masked | {name}) for name in tool.data),
        ):
            yield replace(facts, tools=(*facts.tools[:at], changed, *facts.tools[at + 1 :]))
        yield replace(facts, tools=(*facts.tools[:at], *facts.tools[at + 1 :]))
    for at in range(len(facts.delegates)):
        yield replace(facts, delegates=(*facts.delegates[:at], *facts.delegates[at + 1 :]))


def riskier(facts: RiskFacts) -> Iterator[RiskFacts]:
    """The facts with one thing more that can go wrong."""
    yield replace(facts, declared=facts.declared | {"secret"})
    yield replace(facts, inputs=facts.inputs | {"public"})
    yield replace(facts, audience="public")
    yield replace(facts, reach="cross-tenant")
    yield replace(facts, autonomy="self-starting")
    yield replace(facts, annex3=True)
    yield replace(facts, decides=True)
    yield replace(facts, incident=True)
    yield replace(facts, delegates=(*facts.delegates, (AgentId("agt_9"), Tier.HIGH)))
    for effect in (*Effect, None):
        yield replace(facts, tools=(*facts.tools, GrantedTool(ToolId("s/z"), effect)))


@pytest.mark.requirement("registry:tier:monotone")
@EXAMPLES
@given(FACTS)
def test_controls_never_raise_the_tier_and_risks_never_lower_it(facts: RiskFacts) -> None:
    before = rank(facts)
    assert all(rank(after) <= before for after in controlled(facts))
    assert all(rank(after) >= before for after in riskier(facts))


@pytest.mark.requirement("registry:tier:enforced")
@pytest.mark.parametrize(
    ("autonomy", "tools", "level"),
    [
        ("suggests", [(Effect.READ, None, False)], 0),
        ("suggests", [(Effect.WRITE, WriteScope.OWN, False)], 2),
        ("suggests", [(Effect.WRITE, WriteScope.OWN, True)], 1),
        ("suggests", [(Effect.WRITE, None, False)], 3),
        ("each-act-approved", [], 1),
        ("each-act-approved", [(Effect.EXTERNAL, None, True)], 1),
        ("each-act-approved", [(Effect.EXTERNAL, None, False)], 3),
        ("each-act-approved", [(Effect.EXTERNAL, None, True), (Effect.IRREVERSIBLE, None, False)], 3),
        ("each-act-approved", [(Effect.EXTERNAL, None, True), (Effect.WRITE, WriteScope.OWN, False)], 2),
        ("acts-with-approval", [(Effect.EXTERNAL, None, True), (Effect.WRITE, WriteScope.OWN, False)], 2),
        ("acts-with-approval", [(Effect.ADMINISTER, None, False)], 3),
        ("acts-with-approval", [(None, None, False)], 3),
        ("acts-unattended", [(Effect.EXTERNAL, None, True)], 3),
        ("self-starting", [], 4),
        ("somehow", [], 3),
    ],
)
def test_declared_approval_counts_only_as_far_as_holds_are_enforced(
    autonomy: str, tools: list[tuple[Effect | None, WriteScope | None, bool]], level: int
) -> None:
    granted = tuple(
        GrantedTool(ToolId(f"s/{at}"), effect, scope, held=held) for at, (effect, scope, held) in enumerate(tools)
    )
    facts = replace(archetype("handbook Q&A"), autonomy=autonomy, tools=granted)
    assert {factor.name: factor.level for factor in tiering(facts).factors}["autonomy"] == level


@pytest.mark.requirement("registry:tier:enforced")
@pytest.mark.parametrize(
    ("tool", "audience", "egress"),
    [
        (GrantedTool(ToolId("s/a"), Effect.READ), "employees", False),
        (GrantedTool(ToolId("s/a"), Effect.WRITE, WriteScope.OWN), "employees", False),
        (GrantedTool(ToolId("s/a"), Effect.WRITE), "employees", True),
        (GrantedTool(ToolId("s/a"), Effect.EXTERNAL), "staff", True),
        (GrantedTool(ToolId("s/a"), Effect.IRREVERSIBLE, held=True), "staff", True),
        (GrantedTool(ToolId("s/a"), Effect.EXTERNAL, closed=True), "employees", False),
        (GrantedTool(ToolId("s/a"), None), "employees", True),
        (GrantedTool(ToolId("s/a"), Effect.READ), "partners", True),
        (GrantedTool(ToolId("s/a"), Effect.READ), "ether", True),
    ],
)
def test_a_way_out_is_a_tool_that_writes_for_others_or_people_outside(
    tool: GrantedTool,
    audience: str,
    egress: bool,  # noqa: FBT001 - a parameter of the table above
) -> None:
    assert levels_of(replace(archetype("handbook Q&A"), tools=(tool,), audience=audience)).egress is egress


@pytest.mark.requirement("registry:tier:enforced")
def test_whoever_an_agent_serves_can_put_text_in_front_of_it() -> None:
    facts = archetype("handbook Q&A")
    for inputs, audience, level in (
        ({"staff"}, "staff", 0),
        ({"staff"}, "public", 4),
        ({"staff", "web"}, "staff", 3),
        (set(), "staff", 3),
        (set(), "public", 4),
        ({"ether"}, "staff", 3),
    ):
        heard = replace(facts, inputs=frozenset(inputs), audience=audience)
        assert levels_of(heard).exposure == level
        assert tiering(heard).factors[3].sources


@pytest.mark.requirement("registry:tier:enforced")
def test_a_class_is_out_of_reach_only_if_every_tool_that_carries_it_is_masked() -> None:
    masked = archetype("the same BI agent behind an enforced mask of personal fields")
    another = GrantedTool(ToolId("crm/read"), Effect.READ, data=frozenset({"personal"}))
    assert tiering(masked).tier is Tier.MEDIUM
    assert tiering(replace(masked, tools=(*masked.tools, another))).tier is Tier.HIGH
    assert tiering(replace(masked, declared=masked.declared | {"personal"})).tier is Tier.HIGH


@pytest.mark.requirement("registry:tier:blocks")
def test_what_blocks_leaves_no_tier_and_no_way_round() -> None:
    fine = archetype("BI agent reading personal data")
    for blocked in (
        replace(fine, owner_present=False),
        replace(fine, prohibited=("social-scoring",)),
        replace(fine, supplier_faults=(SupplierFault("example", "model-1", "names no agreement"),)),
    ):
        found = tiering(blocked)
        assert found.tier is None
        assert found.lowers == ()
        assert len(found.blocks) == 1
        assert found.factors == tiering(fine).factors
        assert str(found.blocks[0])


# -- explanation


@pytest.mark.requirement("registry:tier:explained")
def test_every_factor_says_where_it_comes_from() -> None:
    found = tiering(archetype("refunds with per-act approval"))
    assert {factor.name: factor.sources for factor in found.factors} == {
        "data": (
            "`crm/read_customer` carries `personal`",
            "`shop/refund` carries `financial`",
            "declared: `financial`",
            "declared: `personal`",
        ),
        "effect": ("`shop/refund`: irreversible",),
        "autonomy": ("declared: `each-act-approved`",),
        "exposure": ("audience: `public`", "inputs: `public`"),
        "reach": ("declared: `company`",),
    }
    pretends = tiering(archetype("clean-up that only says it is approved"))
    assert pretends.factors[2].sources == ("`sandbox/delete` is not held for approval",)


@pytest.mark.requirement("registry:tier:explained")
@EXAMPLES
@given(FACTS)
def test_the_explanation_is_canonical_bounded_and_has_a_source_for_every_level(facts: RiskFacts) -> None:
    found = tiering(facts)
    document = found.document()
    require_canonical(document)
    assert all(factor.sources or factor.level == 0 for factor in found.factors)
    assert tiering(replace(facts, tools=tuple(reversed(facts.tools)))) == found


@pytest.mark.requirement("registry:tier:explained")
def test_the_digest_moves_with_everything_that_matters() -> None:
    facts = archetype("refunds with per-act approval")
    digests = {tiering(one).digest for one in (facts, *controlled(facts), *riskier(facts))}
    digests |= {
        tiering(one).digest
        for one in (
            replace(facts, owner_present=False),
            replace(facts, prohibited=("social-scoring",)),
            replace(facts, supplier_faults=(SupplierFault("a", "b", "c"),)),
            replace(facts, inputs=frozenset({"public"})),
        )
    }
    distinct = {json.dumps(one.document(), sort_keys=True) for one in (facts, *controlled(facts), *riskier(facts))}
    assert len(digests) == len(distinct) + 4


@pytest.mark.requirement("registry:tier:lowers")
def test_the_way_down_is_named_in_words() -> None:
    reader = tiering(archetype("BI agent reading personal data"))
    assert [(lowering.tier, [[str(one) for one in way] for way in lowering.ways]) for lowering in reader.lowers] == [
        (
            Tier.MEDIUM,
            [
                ["mask `personal` in the results of every tool that carries it, and leave it out of `data`"],
                ["do not grant `warehouse/query`"],
            ],
        ),
        (Tier.LOW, [["do not grant `warehouse/query`"]]),
    ]
    pretends = tiering(archetype("clean-up that only says it is approved"))
    assert pretends.lowers[0].ways[0] == (Safeguard(SafeguardKind.HOLD, "sandbox/delete"),)
    assert tiering(archetype("credit decision")).lowers == ()


def applied(facts: RiskFacts, way: Iterable[Safeguard]) -> RiskFacts | None:
    """The facts once these safeguards are there; None where a word would be declared that nothing enforces."""
    of = {kind: {one.what for one in way if one.kind is kind} for kind in SafeguardKind}
    brought = frozenset[str]().union(*(tool.carries for tool in facts.tools))
    tools = tuple(
        replace(
            tool,
            held=tool.held or tool.tool in of[SafeguardKind.HOLD],
            masked=tool.masked | (tool.data & of[SafeguardKind.MASK]),
        )
        for tool in facts.tools
        if tool.tool not in of[SafeguardKind.DROP_TOOL]
    )
    kept = frozenset[str]().union(*(tool.carries for tool in tools))
    gone = (brought - kept) | of[SafeguardKind.MASK] | of[SafeguardKind.LEAVE_OUT]
    made = replace(
        facts,
        tools=tools,
        declared=facts.declared - gone,
        delegates=tuple(pair for pair in facts.delegates if pair[0] not in of[SafeguardKind.DROP_DELEGATE]),
    )
    for word in of[SafeguardKind.DECLARE]:
        if facts.autonomy == "self-starting" or len(of[SafeguardKind.DECLARE]) > 1:
            return None
        from_level = {"acts-with-approval": 3, "each-act-approved": 2}[word]
        waiting = [tool for tool in tools if tool.level >= from_level]
        if not waiting or not all(tool.attended for tool in waiting):
            return None
        made = replace(made, autonomy=word)
    return made


def everything(facts: RiskFacts) -> list[Safeguard]:
    carried = frozenset[str]().union(*(tool.carries for tool in facts.tools))
    return [
        *(Safeguard(SafeguardKind.MASK, name) for name in sorted(carried - {"unknown"})),
        *(Safeguard(SafeguardKind.LEAVE_OUT, name) for name in sorted(facts.declared - carried)),
        *(Safeguard(SafeguardKind.HOLD, tool.tool) for tool in facts.tools if tool.level > 1),
        *(Safeguard(SafeguardKind.DROP_TOOL, tool.tool) for tool in facts.tools),
        *(Safeguard(SafeguardKind.DROP_DELEGATE, agent) for agent, _ in facts.delegates),
        *(Safeguard(SafeguardKind.DECLARE, word) for word in ("acts-with-approval", "each-act-approved")),
    ]


@pytest.mark.requirement("registry:tier:lowers")
@settings(EXAMPLES, max_examples=40)
@given(FACTS)
def test_no_smaller_set_of_safeguards_reaches_a_lower_tier(facts: RiskFacts) -> None:
    """Against trying every set in the order of size."""
    facts = replace(facts, annex3=False, decides=False, incident=False)
    now = rank(facts)
    named = {lowering.tier: lowering for lowering in tiering(facts).lowers}
    assert all(tier_rank(tier) < now for tier in named)
    for tier in TIERS[:now]:
        lowering = named.get(tier)
        size = len(lowering.ways[0]) if lowering else 4
        for way in lowering.ways if lowering else ():
            after = applied(facts, way)
            assert after is not None
            assert rank(replace(after)) <= tier_rank(tier)
            assert len(way) == size
        for smaller in range(min(size, 4)):
            for way in combinations(everything(facts), smaller):
                after = applied(facts, way)
                assert after is None or rank(after) > tier_rank(tier), (tier, way)


@pytest.mark.requirement("registry:tier:lowers")
def test_looking_for_a_way_down_is_bounded_however_many_tools_are_granted() -> None:
    kinds = ["public", "internal", "confidential", "personal", "financial", "phi", "special", "secret"]
    tools = tuple(
        GrantedTool(ToolId(f"s/t{at}"), list(Effect)[at % 5], data=frozenset(kinds[: at % 9])) for at in range(2_000)
    )
    found = tiering(replace(archetype("handbook Q&A"), tools=tools, declared=frozenset(kinds)))
    assert found.tier is Tier.HIGH
    assert all(len(factor.sources) <= 13 for factor in found.factors)
