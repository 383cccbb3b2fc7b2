"""Alarms of many agents at once."""

from __future__ import annotations

from math import log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.monitoring.drift.fleet import confirmed
from accredit.monitoring.drift.scanning import ChangeScan

STATS = st.dictionaries(st.integers(0, 50), st.floats(-5, 9), max_size=30)


@pytest.mark.requirement("monitoring:drift:fleet")
@given(STATS, st.floats(0.001, 0.5))
def test_it_is_the_largest_set_that_stands_together(stats: dict[int, float], rate: float) -> None:
    found = confirmed(stats, rate=rate)
    many = len(stats)
    if found:
        smallest = min(stats[key] for key in found)
        assert smallest >= log10(many / (rate * len(found))) - 1e-9
        assert all(stats[key] <= smallest for key in stats.keys() - found)
    for more in range(len(found) + 1, many + 1):
        assert sorted(stats.values(), reverse=True)[more - 1] < log10(many / (rate * more)) + 1e-9


@pytest.mark.requirement("monitoring:drift:fleet")
@given(STATS, st.integers(0, 50), st.floats(0, 5))
def test_more_evidence_of_one_agent_never_takes_another_away(stats: dict[int, float], one: int, more: float) -> None:
    raised = {**stats, one: stats.get(one, -5.0) + more} if one in stats else stats
    assert confirmed(stats) <= confirmed(raised)


@pytest.mark.requirement("monitoring:drift:fleet")
def test_a_fleet_in_which_nothing_changes_is_nearly_never_told_of() -> None:
    draw, agents, sessions = np.random.default_rng(3), 200, 40
    scans = [ChangeScan(np.array([6]), 60, np.ones(1)) for _ in range(agents)]
    chances = draw.beta(6, 55, agents)
    told = alone = 0
    for _ in range(sessions):
        stats = {
            number: scan.update(np.array([draw.random() < chances[number]])).stat for number, scan in enumerate(scans)
        }
        told += bool(confirmed(stats))
        alone += sum(stat >= log10(200) for stat in stats.values())
    assert told == 0
    assert alone > 0  # each by itself would have been
