"""What sessions are like and how others differ, told to people."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.ids import AgentId
from accredit.monitoring.drift.describing import described, differences, sparkline
from accredit.monitoring.profiles.model import CallOutcome, Feature, ProfiledCall, SessionProfile
from tests.monitoring.drift.running import profile

AGENT = AgentId("agt_1")


def sessions(many: int, *tools: str, calls: float = 4.0, denied: int = 0, **features: float) -> list[SessionProfile]:
    made = tuple(
        ProfiledCall(tool, CallOutcome.DENIED if at < denied else CallOutcome.OK) for at, tool in enumerate(tools)
    )
    own = {Feature.CALLS.value: calls, **features}
    return [replace(profile(AGENT, one, at_us=one * 1_000_000), calls=made, features=own) for one in range(many)]


@pytest.mark.requirement("baseline:described")
def test_differences_are_told_in_words_what_moved_most_first() -> None:
    before = described(sessions(20, "crm/read", "crm/read", "crm/note", "crm/note", cost=1.0))
    after = described(sessions(20, "crm/read", "crm/refund", "", "crm/read", calls=7, denied=1, cost=1.0, tokens=5))
    assert differences(before, after) == (
        "tool crm/note is not used any more: it had 50 % of calls",
        "calls of no registered tool is new: 25 % of calls",
        "tool crm/refund is new: 25 % of calls",
        "calls per session: median 4 -> 7",
        "calls that ended denied: 0 % -> 25 %",
        "tokens per session: was not measured before",
    )
    assert differences(before, before) == ()
    assert differences(described([]), after) == ()


@pytest.mark.requirement("baseline:described")
def test_what_is_in_sessions_is_counted_with_hours_quartiles_and_extremes() -> None:
    made = [replace(one, features={**one.features, "hour": 9.0 + at}) for at, one in enumerate(sessions(5, "a/b"))]
    made[3] = replace(made[3], features={"calls": 90.0, "hour": 12.5, "cost": 2.0, "score:x": math.inf})
    found = described(made)
    assert (found.sessions, found.calls, found.tools, found.outcomes) == (5, 5, {"a/b": 1.0}, {"ok": 1.0})
    assert found.hours[9:14] == (1, 1, 1, 1, 1)
    calls = found.spreads["calls"]
    assert (calls.least, calls.lower, calls.median, calls.upper, calls.most) == (4, 4, 4, 4, 90)
    assert found.extremes[0] == ("ses_3", 90, 2.0)
    assert "score:x" not in found.spreads


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_quartiles_lie_in_their_order_among_what_was_measured(numbers: list[float]) -> None:
    made = [replace(profile(AGENT, at), features={"cost": one}) for at, one in enumerate(numbers)]
    found = described(made).spreads["cost"]
    assert min(numbers) == found.least <= found.lower <= found.median <= found.upper <= found.most == max(numbers)


def test_numbers_are_drawn_in_a_line_of_bars() -> None:
    assert sparkline([0, 1, 2, 4]) == "▁▃▅█"
    assert sparkline([1, 2], most=8) == "▂▃"
    assert sparkline([math.nan, -1, 0]) == " ▁▁"
    assert sparkline([]) == ""
