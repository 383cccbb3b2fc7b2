"""What was observed of an agent: what of it counts, and that it can only raise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import AgentVersion, Tier
from accredit.registry.observation import (
    NOTHING_OBSERVED,
    ObservedRisk,
    ObservedUse,
    SeenClass,
    Sighted,
    UsedCaller,
    UsedTool,
    factors_seen,
    observed_risk,
    reach_shown,
    told_of,
    with_observed,
)
from accredit.registry.tiering import Levels, RiskFacts, levels_of, tier_of, tier_rank, tiering
from tests.registry.drawing import FACTS
from tests.registry.risks import LOOK, desk, facts_of, fleet_with, handing_on, plain_agent

EXAMPLES = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
LOOKING: dict[str, Any] = {"tools": [{"server": "desk", "allow": ["look"]}], "data": ["public"]}
FLEET = fleet_with(
    desk(
        look=LOOK,
        send={"effect": "external", "data": ["public"]},
        note={"effect": "write", "scope": "record", "data": ["internal"]},
    ),
    plain_agent(**LOOKING, autonomy="suggests", audience="staff", reach="user", inputs=["staff"]),
    plain_agent("busy", **LOOKING, audience="public", inputs=["public"], delegates=handing_on("helper")),
)
LOOKED, SENT, NOTED = (ToolId(f"desk/{name}") for name in ("look", "send", "note"))


def version() -> AgentVersion:
    agent = FLEET.registry.catalogue.agent_named("development", "helper")
    assert agent is not None
    return agent.version


def seen_by(facts: RiskFacts, seen: ObservedRisk, exposure: int = 0) -> RiskFacts:
    return with_observed(facts, version(), seen, lambda _: exposure)


def higher(after: Levels, before: Levels) -> bool:
    flags = ("external", "administers", "egress", "annex3", "decides", "incident")
    return all(new >= old for new, old in zip(after.vector, before.vector, strict=True)) and all(
        getattr(after, name) >= getattr(before, name) for name in flags
    )


VERSIONS = st.sampled_from([version().digest, "sha256:" + "9" * 64])
NAMES = st.sampled_from([LOOKED, SENT, NOTED, ToolId("s/a"), ToolId("s/b")])
SEEN = st.builds(
    ObservedRisk,
    data=st.frozensets(
        st.tuples(VERSIONS, NAMES, st.sampled_from(["public", "personal", "secret", "phi", "odd"])), max_size=4
    ),
    callers=st.frozensets(st.sampled_from([AgentId("agt_1"), AgentId("agt_2")]), max_size=2),
    reach=st.integers(0, 3),
)


@pytest.mark.requirement("observed:raises")
@EXAMPLES
@given(FACTS, SEEN, SEEN, st.integers(0, 4))
def test_what_is_observed_never_lowers_and_more_of_it_never_lowers_either(
    facts: RiskFacts, seen: ObservedRisk, more: ObservedRisk, exposure: int
) -> None:
    both = ObservedRisk(
        seen.data | more.data,
        seen.callers | more.callers,
        max(seen.reach, more.reach),
    )
    plain, once, twice = (
        levels_of(one) for one in (facts, seen_by(facts, seen, exposure), seen_by(facts, both, exposure))
    )
    assert higher(once, plain)
    assert higher(twice, once)
    assert tier_rank(tier_of(twice)) >= tier_rank(tier_of(once)) >= tier_rank(tier_of(plain))


@pytest.mark.requirement("observed:raises")
def test_of_what_nothing_was_observed_the_explanation_keeps_its_digest() -> None:
    facts = facts_of(FLEET)
    assert seen_by(facts, NOTHING_OBSERVED) is facts
    assert "observed" not in facts.document()


@pytest.mark.requirement("observed:counts")
@pytest.mark.parametrize(
    ("checked", "subjects", "sighted"),
    [(0, 0, Sighted.ONCE), (2, 1, Sighted.ONCE), (3, 0, Sighted.COUNTS), (0, 2, Sighted.COUNTS), (0, 1, Sighted.ONCE)],
)
def test_a_data_class_counts_by_three_checked_values_or_two_subjects(
    checked: int, subjects: int, sighted: Sighted
) -> None:
    one = SeenClass("personal", checked, subjects, (("v1", LOOKED),), (7,))
    assert one.sighted is sighted
    counted = observed_risk(ObservedUse(30, data=(one,))).data
    assert counted == (frozenset({("v1", LOOKED, "personal")}) if sighted is Sighted.COUNTS else frozenset())


@pytest.mark.requirement("observed:raises", "registry:tier:explained")
def test_a_class_that_a_tool_was_seen_to_carry_raises_the_tier_and_says_so() -> None:
    found = tiering(seen_by(facts_of(FLEET), ObservedRisk(data=frozenset({("older", LOOKED, "personal")}))))
    assert found.tier is Tier.HIGH
    assert {factor.name: factor.sources for factor in found.factors}["data"] == (
        "observed: `desk/look` carried `personal`",
    )
    assert told_of(seen_by(facts_of(FLEET), ObservedRisk(data=frozenset({("v", LOOKED, "phi")})))) == (
        "`desk/look` carried `phi`",
    )


@pytest.mark.requirement("observed:over")
def test_what_a_mask_takes_away_now_or_is_not_granted_any_more_was_seen_and_is_over() -> None:
    facts, under = facts_of(FLEET), version().digest
    (tool,) = facts.tools
    masking = replace(facts, tools=(replace(tool, data=frozenset({"personal"}), masked=frozenset({"personal"})),))
    earlier = ObservedRisk(data=frozenset({("older", LOOKED, "personal")}))
    past_it = ObservedRisk(data=frozenset({(under, LOOKED, "personal")}))
    assert tiering(seen_by(masking, earlier)).tier is Tier.LOW
    assert tiering(seen_by(masking, past_it)).tier is Tier.HIGH, "the mask does not hold it"
    closed = replace(facts, tools=(replace(tool, closed=True),))
    assert levels_of(seen_by(closed, past_it)).data == levels_of(closed).data
    assert levels_of(seen_by(replace(facts, tools=()), past_it)).data == 0


@pytest.mark.requirement("observed:executed")
def test_what_is_granted_counts_and_what_was_executed_under_another_version_is_shown() -> None:
    facts = facts_of(FLEET)
    use = ObservedUse(30, tools=(UsedTool("older", SENT, 3, 9, 9, 0, (4,)),))
    assert seen_by(facts, observed_risk(use)) is facts
    effect = {one.name: one for one in factors_seen(facts, use)}["effect"]
    assert (effect.declared, effect.observed, effect.records) == (1, 3, (4,))


@pytest.mark.requirement("observed:exposure")
def test_whoever_hands_work_on_brings_its_exposure_with_it() -> None:
    busy = FLEET.registry.catalogue.agent_named("development", "busy")
    assert busy is not None
    twice, often = (UsedCaller(busy.id, times, (4,)) for times in (2, 3))
    assert observed_risk(ObservedUse(30, callers=(twice,))).callers == frozenset()
    seen = observed_risk(ObservedUse(30, callers=(often,)))
    assert levels_of(seen_by(facts_of(FLEET), seen, exposure=4)).exposure == 4
    unknown = ObservedRisk(callers=frozenset({AgentId("agt_gone")}))
    assert levels_of(facts_of(FLEET, observed=lambda _: unknown)).exposure == 3
    assert (
        levels_of(facts_of(FLEET, observed=lambda agent: seen if agent != busy.id else NOTHING_OBSERVED)).exposure == 4
    )


@pytest.mark.requirement("observed:reach")
@pytest.mark.parametrize(("users", "level"), [(0, 0), (1, 0), (2, 1), (24, 1), (25, 2), (249, 2), (250, 3), (9_999, 3)])
def test_the_number_of_users_shows_a_reach(users: int, level: int) -> None:
    assert reach_shown(users) == level
    assert levels_of(seen_by(facts_of(FLEET), observed_risk(ObservedUse(30, users=users)))).reach == level


@pytest.mark.requirement("observed:explained")
def test_declared_and_observed_stand_side_by_side_with_their_records() -> None:
    use = ObservedUse(
        30,
        data=(SeenClass("personal", 3, 1, (("v", LOOKED),), (5, 9)), SeenClass("phi", 0, 1, (("v", LOOKED),), (6,))),
        tools=(
            UsedTool("v", LOOKED, 1, 40, 40, 0, (9,)),
            UsedTool("v", NOTED, 3, 5, 4, 1, (7, 8)),
        ),
        users=30,
    )
    found = {one.name: one for one in factors_seen(facts_of(FLEET), use)}
    assert {name: (one.declared, one.observed, one.higher) for name, one in found.items()} == {
        "data": (0, 3, True),
        "effect": (1, 3, True),
        "autonomy": (0, 3, True),
        "exposure": (0, None, False),
        "reach": (0, 2, True),
    }
    assert found["data"].records == (5, 9), "what was seen once is no level"
    assert found["autonomy"].evidence == ("4 of 5 consequential calls (80 %) without a person",)
    assert found["effect"].records == (7, 8)


@pytest.mark.requirement("observed:explained")
@pytest.mark.parametrize(("alone", "attended", "level"), [(0, 9, 2), (2, 7, 2), (3, 900, 3), (0, 0, None)])
def test_a_few_calls_without_a_person_may_be_an_accident(alone: int, attended: int, level: int | None) -> None:
    use = ObservedUse(30, tools=(UsedTool("v", NOTED, 3, alone + attended, alone, attended, (1,)),))
    found = {one.name: one for one in factors_seen(facts_of(FLEET), use)}
    assert found["autonomy"].observed == level
