"""How often alerts were right, as far as anybody said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.ids import AgentId
from accredit.monitoring.accuracy import accuracy, wilson
from accredit.monitoring.model import Alert, AlertDisposition, AlertKind, AlertState, RemediationKind, Severity

A, B = AgentId("agt_a"), AgentId("agt_b")


def alert(was: AlertDisposition | None, *, kind: AlertKind = AlertKind.FIRST_DENIAL, agent: AgentId = A) -> Alert:
    return Alert(
        "alr", agent, kind, "m", Severity.WARNING, AlertState.RESOLVED, {}, 1, RemediationKind.NONE, remedied=True,
        disposition=was,
    )  # fmt: skip


@pytest.mark.requirement("monitoring:accuracy:counted")
def test_what_nobody_judged_counts_neither_way() -> None:
    (one,) = accuracy([*map(alert, AlertDisposition), alert(None)])
    assert (one.alerts, one.unknown) == (6, 1)
    assert one.false_share == pytest.approx(1 / 3)
    assert one.false_between is not None
    low, high = one.false_between
    assert low < 1 / 3 < high
    (none,) = accuracy([alert(None)])
    assert (none.false_share, none.false_between, none.false_per_1000) == (None, None, None)


@pytest.mark.requirement("monitoring:accuracy:counted")
def test_each_agent_has_its_own_rate_over_its_own_sessions() -> None:
    false = [alert(AlertDisposition.FALSE_POSITIVE, agent=agent) for agent in (A, A, B)]
    sessions = {A: 4_000, B: 500, None: 4_500}
    found = accuracy(false, by_agent=True, sessions_of=lambda agent: sessions[agent])
    assert [(one.agent, one.false_per_1000) for one in found] == [(A, 0.5), (B, 2.0)]
    (all_,) = accuracy(false, sessions_of=lambda agent: sessions[agent])
    assert all_.false_per_1000 == pytest.approx(3 / 4.5)


@pytest.mark.requirement("monitoring:accuracy:counted")
@given(st.integers(1, 10_000), st.data())
def test_an_interval_has_the_share_in_it_and_stays_a_share(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    low, high = wilson(hits, of)
    assert 0 <= low <= hits / of <= high <= 1
    assert low < high
