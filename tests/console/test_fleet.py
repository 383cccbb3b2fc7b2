"""The list of agents, a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.console.fleet import FleetQuery, fleet_page
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import Agent, AgentState, Environment, Tier
from tests.console.desk import Desk, Fleet


def _fleet(size: int) -> list[Agent]:
    fleet = Fleet()
    for at in range(size):
        fleet.add(
            f"agent-{at % 13}-{at}",
            team=("finance", "support")[at % 2],
            environment=tuple(Environment)[at % 3],
            state=tuple(AgentState)[at % 9],
        )
    return fleet.agents()


def _tier(agent: Agent) -> str:
    return (Tier.LOW, Tier.HIGH, "none")[len(agent.name) % 3]


@pytest.mark.requirement("console:fleet:pages")
@given(st.integers(0, 120), st.integers(1, 30))
def test_the_pages_together_are_the_whole_list_in_order_and_each_agent_once(size: int, limit: int) -> None:
    agents = _fleet(size)
    seen: list[Agent] = []
    query = FleetQuery(limit=limit)
    while True:
        page = fleet_page(agents, query, tier_of=_tier)
        assert page.total == size
        seen += page.agents
        if not page.more:
            break
        query = FleetQuery.of(dict(parse_qsl(query.following(page.agents[-1]))))
    assert [one.id for one in seen] == [
        one.id for one in sorted(agents, key=lambda one: (one.name, one.environment.value, one.id))
    ]


@pytest.mark.requirement("console:fleet:filter")
@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        ({"name": "AGENT-7"}, lambda one: "agent-7" in one.name),
        ({"team": "finance"}, lambda one: one.team.name == "finance"),
        ({"environment": "production"}, lambda one: one.environment is Environment.PRODUCTION),
        ({"state": "retired"}, lambda one: one.state is AgentState.RETIRED),
        ({"tier": "high"}, lambda one: _tier(one) is Tier.HIGH),
        ({"name": "nothing like it"}, lambda one: False),
    ],
)
def test_a_filter_keeps_exactly_what_it_names(asked: dict[str, str], holds: Callable[[Agent], bool]) -> None:
    agents = _fleet(90)
    page = fleet_page(agents, FleetQuery.of(asked | {"limit": "200"}), tier_of=_tier)
    assert {one.id for one in page.agents} == {one.id for one in agents if holds(one)}


@pytest.mark.requirement("console:fleet:filter")
@pytest.mark.parametrize(
    "asked",
    [
        {"limit": "0"}, {"limit": "201"}, {"limit": "9" * 5000}, {"limit": "\u0663"}, {"state": "ACTIVE"},
        {"tier": "x"}, {"after": "a/b"},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        FleetQuery.of(asked)


@pytest.mark.requirement("console:fleet:tiers")
def test_a_list_says_how_many_tiers_are_not_known_yet_and_leaves_none_out_for_long(
    visit: Callable[[str], httpx2.Client], desk: Desk
) -> None:
    agents = [desk.fleet.add(f"agent-{at:03d}") for at in range(60)]
    desk.judging_s = 0.01
    desk.kept = dict.fromkeys([one.id for one in agents[:30]], Tier.MEDIUM)
    client = visit("sam")
    first = client.get("/console", params={"tier": "medium"}).text
    assert "34 agents match" in first
    assert "The risk tiers of 26 more are being computed anew" in first
    desk.kept = dict.fromkeys([one.id for one in agents], Tier.MEDIUM)
    assert "60 agents match" in client.get("/console", params={"tier": "medium"}).text
    assert "computed anew" not in client.get("/console").text


@pytest.mark.requirement("console:fleet:tiers")
def test_an_agent_whose_tier_cannot_be_told_is_listed_as_such_and_hides_no_other(
    visit: Callable[[str], httpx2.Client], desk: Desk
) -> None:
    first, second = desk.fleet.add("agent-a"), desk.fleet.add("agent-b")
    desk.unproven = {first.id}
    client = visit("sam")
    page = client.get("/console").text
    assert "not told now" in page
    assert second.id in page
    assert "1 agent matches" in client.get("/console", params={"tier": "medium"}).text
