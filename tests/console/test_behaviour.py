"""How behaviour is watched, on the page of an agent: what is learned, what is proposed, and each detector."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import httpx2
import pytest

from accredit.console.plots import bar, line
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.baseline_operations import BaselineDifference, BehaviourShown
from accredit.monitoring.behaviour import Behaviour, FittedBaseline, Learning, LearningSource
from accredit.monitoring.drift.describing import described
from accredit.monitoring.drift.watching import DetectorStanding
from tests.console.desk import DECEIVING, NOW_US, Desk
from tests.monitoring.drift.running import profile

_Visit = Callable[[str], httpx2.Client]
_FITTED = FittedBaseline(
    Digest("sha256:" + "5" * 64), ("ses_1",), NOW_US, NOW_US, {"calls": 1}, LearningSource.TRIAL,
    Digest("sha256:" + "6" * 64), 3, NOW_US, None,
)  # fmt: skip
_STANDING = DetectorStanding(
    "views", "1", "200 sessions at least", 12, (0.5, 1.25, 2.5), 2.3, True,
    (("calls", 2.4, 1.0), (DECEIVING, 1.0, 0.5)), 2, "",
)  # fmt: skip


def section(visit: _Visit, agent: AgentId) -> str:
    text = visit("sam").get(f"/console/agents/{agent}").text
    return text.partition('<h2 id="h-behaviour">')[2].partition("</section>")[0]


@pytest.mark.requirement("console:behaviour")
def test_the_page_of_an_agent_says_what_is_learned_and_what_is_compared(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    assert "Nothing of it is learned" in section(visit, agent.id)
    learning = Behaviour(Learning(NOW_US, 60, NOW_US, None))
    desk.behaviour.shown[agent.id] = BehaviourShown(learning, 41, 7, frozenset(), ())
    text = section(visit, agent.id)
    assert "41 of 60 sessions; 7 do not count" in text
    assert "Nothing is compared until a person accepts" in text
    accepted = replace(_FITTED, accepted_us=NOW_US, accepted_by=PersonId("sam"))
    desk.behaviour.shown[agent.id] = BehaviourShown(Behaviour(accepted=accepted), None, 0, frozenset(), (_STANDING,))
    text = section(visit, agent.id)
    assert "Sessions are compared with 1 that were accepted" in text
    assert "sam@example.com" in text
    assert "Changed 2 sessions ago" in text
    assert 'aria-label="statistic: 0.5 to 2.5 over 3 sessions, at most 2.5, threshold 2.3"' in text
    assert "<script>" not in text
    assert "\u202e" not in text
    desk.behaviour.shown[agent.id] = BehaviourShown(
        Behaviour(accepted=accepted), None, 0, frozenset({accepted.digest}), (replace(_STANDING, stopped="no reading"),)
    )
    text = section(visit, agent.id)
    assert "They are not proven" in text
    assert "It is not asked" in text


@pytest.mark.requirement("console:behaviour")
def test_a_proposal_is_shown_with_what_is_in_it(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    sessions = described([profile(agent.id, one, 4 + one) for one in range(3)])
    desk.behaviour.shown[agent.id] = BehaviourShown(Behaviour(proposal=_FITTED), None, 0, frozenset(), ())
    desk.behaviour.differs = BaselineDifference(sessions, sessions, (f"tool {DECEIVING} is new",))
    text = section(visit, agent.id)
    assert "1 sessions from" in text
    assert "100.0 % of calls" in text
    assert "ses_2" in text
    assert "<script>" not in text
    assert "\u202e" not in text


def test_pictures_are_drawn_of_numbers_alone() -> None:
    assert line([1.0], 2.0, "it") == ""
    assert line([math.nan, math.inf, 1.0], 2.0, "it") == ""
    drawn = line([0.0, -4.0, 3.0, math.inf], math.nan, '"><script>')
    assert "script>" not in drawn.replace("&lt;script&gt;", "")
    assert "nan" not in drawn
    assert 'width="120.0"' in bar(9.0, 3.0, "it")
    assert 'width="0.0"' in bar(math.nan, 3.0, "it") + bar(1.0, None, "it") + bar(1.0, 0.0, "it")
