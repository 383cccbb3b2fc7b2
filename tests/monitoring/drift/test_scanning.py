"""The statistic against what is proven of it, and against arithmetic done in another way."""

from __future__ import annotations

from fractions import Fraction
from math import lgamma, log10

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.monitoring.drift.scanning import ChangeScan, _log_gamma


def _scan(levels: list[int], room: int) -> ChangeScan:
    return ChangeScan(np.array(levels), room, np.full(len(levels), 1 / len(levels)))


def _beta_binomial(level: int, room: int, hits: list[bool]) -> Fraction:
    """The probability of these exceedings, one after the other: an urn."""
    above, below, found = level, room + 1 - level, Fraction(1)
    for hit in hits:
        found *= Fraction(above if hit else below, above + below)
        above, below = above + hit, below + (not hit)
    return found


@pytest.mark.requirement("monitoring:drift:exact")
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(10, 60), st.lists(st.booleans(), min_size=1, max_size=12))
def test_it_is_the_sum_over_moments_of_exact_likelihood_ratios(level: int, room: int, hits: list[bool]) -> None:
    scan = _scan([level], room)
    for hit in hits:
        evidence = scan.update(np.array([hit]))
    expected = Fraction(0)
    for moment in range(len(hits)):
        after = hits[moment:]
        under = _beta_binomial(level, room, hits) / _beta_binomial(level, room, hits[:moment])
        usual = Fraction(level, room + 1 - level)
        for odds in (3 * usual, max(10 * usual, Fraction(1))):
            chance = odds / (1 + odds)
            ratio = Fraction(1)
            for hit in after:
                ratio *= chance if hit else 1 - chance
            expected += ratio / under / 2
    assert evidence.stat == pytest.approx(log10(expected), abs=2e-5)


@pytest.mark.requirement("monitoring:drift:exact")
@pytest.mark.parametrize(("level", "room"), [(1, 5), (3, 20), (18, 60)])
def test_its_mean_after_t_sessions_is_t_whatever_the_baseline_was(level: int, room: int) -> None:
    # how often a later value exceeds the J-th largest of n is Beta(J, n + 1 - J): each stream draws its own baseline
    draw, sessions, streams = np.random.default_rng(level), 12, 4_000
    found = np.zeros((streams, sessions))
    for stream in range(streams):
        chance = draw.beta(level, room + 1 - level)
        scan = _scan([level], room)
        for at in range(sessions):
            found[stream, at] = 10 ** scan.update(np.array([draw.random() < chance])).stat
    error = found.std(axis=0) / streams**0.5
    expected = np.arange(1, sessions + 1)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 5 * error + 1e-9)


@pytest.mark.requirement("monitoring:drift:bounded")
def test_moments_are_few_after_a_long_life_and_stand_for_all_of_it() -> None:
    scan, draw = _scan([1, 6, 18], 60), np.random.default_rng(0)
    for _ in range(20_000):
        evidence = scan.update(draw.random(3) < [1 / 61, 6 / 61, 18 / 61])
        assert np.isfinite(evidence.stat)
    moments, stand_for, *_ = scan.state()
    assert len(moments) < 80
    assert (moments[0], stand_for.sum()) == (0, scan.sessions)


@pytest.mark.requirement("monitoring:drift:dated")
def test_a_change_is_dated_near_where_it_began() -> None:
    scan, draw = _scan([6], 60), np.random.default_rng(1)
    for at in range(200):
        evidence = scan.update(np.array([draw.random() < (0.1 if at < 170 else 0.8)]))
    assert 25 <= evidence.since <= 35
    assert evidence.stat > 3


def test_logarithms_of_factorials_are_right_far_beyond_the_table() -> None:
    numbers = np.array([1, 2, 17, 4_095, 4_096, 70_000, 3_000_000_000])
    assert _log_gamma(numbers) == pytest.approx([lgamma(number) for number in numbers.tolist()], rel=1e-12)
