"""Work that is cut into parts: what its agents come to together, and who is held to that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import Agent, Effect, Tier, WriteScope
from accredit.registry.tiering import GrantedTool, RiskFacts, levels_of, tier_of, tier_rank
from accredit.registry.workflow import bound, together, workflows
from tests.registry.drawing import FACTS
from tests.registry.fleet import Fleet
from tests.registry.risks import LOOK, desk, fleet_with, handing_on, plain_agent

EXAMPLES = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
NAMES = [AgentId(f"agt_{letter}") for letter in "abcde"]
PLAIN = RiskFacts(frozenset(), (), "suggests", frozenset({"staff"}), "staff", "user")
READER = replace(PLAIN, declared=frozenset({"confidential"}))
"""By itself medium; what it knows cannot leave."""
HEARER = replace(PLAIN, inputs=frozenset({"web"}), audience="web")
"""By itself low: it hears from anybody and knows nothing."""


def tier(facts: RiskFacts) -> Tier:
    return tier_of(levels_of(facts))


@pytest.mark.requirement("observed:together")
@EXAMPLES
@given(st.lists(FACTS, min_size=1, max_size=4))
def test_together_they_come_to_no_less_than_any_of_them_in_whatever_order(parts: list[RiskFacts]) -> None:
    whole = levels_of(together(parts))
    assert whole == levels_of(together(parts[::-1]))
    for part in parts:
        own = levels_of(part)
        assert all(all_ >= one for all_, one in zip(whole.vector, own.vector, strict=True))
        assert tier_rank(tier_of(whole)) >= tier_rank(tier_of(own))


@pytest.mark.requirement("observed:together")
@EXAMPLES
@given(
    st.lists(FACTS, min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6),
)
def test_whoever_is_held_to_a_workflow_is_below_it_alone_and_the_whole_comes_to_it(
    parts: list[RiskFacts], links: list[tuple[int, int]]
) -> None:
    facts = dict(zip(NAMES, parts, strict=False))
    pairs = [(NAMES[one], NAMES[other]) for one, other in links if max(one, other) < len(parts)]
    found = workflows(facts, pairs)
    assert found == workflows(facts, pairs[::-1]), "the order in which links are seen is nobody's choice"
    linked = {one for pair in pairs for one in pair if pair[0] != pair[1]}
    assert set(found) <= linked
    for agent, (level, group) in found.items():
        assert agent in group
        assert tier_rank(tier(facts[agent])) < tier_rank(level)
        assert tier_rank(tier(together(facts[one] for one in group))) >= tier_rank(level)


@pytest.mark.requirement("observed:split")
def test_two_agents_that_are_low_apart_and_high_together_are_both_held_to_that() -> None:
    sender = replace(HEARER, tools=(GrantedTool(ToolId("s/n"), Effect.WRITE, WriteScope.RECORD, held=True),))
    a, b, c = NAMES[:3]
    facts = {a: READER, b: sender, c: PLAIN}
    assert [tier(one) for one in facts.values()] == [Tier.MEDIUM, Tier.MEDIUM, Tier.LOW]
    assert workflows(facts, [(a, b)]) == {a: (Tier.HIGH, (a, b)), b: (Tier.HIGH, (a, b))}
    assert workflows(facts, []) == {}
    chained = workflows(facts, [(a, c), (c, b)])
    assert {agent: level for agent, (level, _) in chained.items()} == dict.fromkeys((a, b, c), Tier.HIGH)


@pytest.mark.requirement("observed:split")
def test_nobody_hides_two_low_agents_behind_a_high_one() -> None:
    sender = replace(HEARER, tools=(GrantedTool(ToolId("s/n"), Effect.WRITE, WriteScope.RECORD, held=True),))
    a, b, c = NAMES[:3]
    facts = {a: READER, b: sender, c: replace(PLAIN, annex3=True)}
    found = workflows(facts, [(a, b), (b, c), (a, c)])
    assert found == {a: (Tier.HIGH, (a, b)), b: (Tier.HIGH, (a, b))}, "the high one is high anyway"
    assert workflows(facts, [(a, c)]) == {}, "a low one beside a high one is no split"


@pytest.mark.requirement("observed:together")
def test_what_one_part_does_not_declare_is_not_known_of_the_whole() -> None:
    silent = replace(PLAIN, inputs=frozenset())
    assert levels_of(together([silent, replace(PLAIN, inputs=frozenset({"public"}))])).exposure == 4
    assert levels_of(together([silent, PLAIN])).exposure == levels_of(silent).exposure == 3


def _agent(fleet: Fleet, name: str) -> Agent:
    found = fleet.registry.catalogue.agent_named("development", name)
    assert found is not None
    return found


@pytest.mark.requirement("observed:split")
def test_two_agents_are_bound_by_a_person_a_team_or_a_delegation() -> None:
    fleet = fleet_with(
        desk(look=LOOK),
        plain_agent("one", tools=[{"server": "desk", "allow": ["look"]}], data=["public"]),
        plain_agent("two", tools=[{"server": "desk", "allow": ["look"]}], data=["public"], delegates=handing_on("one")),
    )
    one, two = _agent(fleet, "one"), _agent(fleet, "two")
    assert bound(one, two)
    apart = replace(two, owner=type(one.owner)("psn_other"), backup_owner=None)
    assert bound(one, apart), "one team"
    elsewhere = replace(apart, team=replace(two.team, id=type(two.team.id)("team_other")))
    assert bound(one, elsewhere)
    assert bound(elsewhere, one), "it delegates"
    assert not bound(one, replace(elsewhere, version=one.version))
