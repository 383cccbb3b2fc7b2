from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accredit.limits.gcra import Rate, RateState, admit, count, give_back

RATES = st.builds(Rate, st.integers(1, 50), st.integers(0, 6))


def worst_excess(rate: Rate, standing: list[int]) -> int:
    """The largest number of calls in a span of t beyond burst + t/interval, over all spans: the naive law."""
    times = sorted(standing)
    return max(
        (
            (j - i + 1) - (rate.burst + (times[j] - times[i]) // rate.interval_us)
            for i in range(len(times))
            for j in range(i, len(times))
        ),
        default=0,
    )


@pytest.mark.requirement("limits:rate:law")
@given(RATES, st.lists(st.integers(0, 60), max_size=80))
def test_no_span_of_time_holds_more_than_burst_plus_rate(rate: Rate, steps: list[int]) -> None:
    now, state, standing = 1_000, None, []
    for step in steps:
        now += step
        decided = admit(rate, state, now)
        if decided.state is not None:
            state = decided.state
            standing.append(now)
    assert worst_excess(rate, standing) <= 0


@pytest.mark.requirement("limits:rate:law", "limits:rate:give-back")
@given(RATES, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=80))
def test_the_law_holds_for_calls_that_stand_whatever_others_are_given_back(
    rate: Rate, script: list[tuple[int, int]]
) -> None:
    now, state = 1_000, None
    marks: dict[int, int] = {}  # mark -> admitted at, while it may still be given back
    for step, undo in script:
        now += step
        if undo and marks and state is not None:
            mark = sorted(marks)[undo % len(marks)]
            del marks[mark]
            state = give_back(rate, state, mark)
            continue
        decided = admit(rate, state, now)
        if decided.state is not None:
            state = decided.state
            marks[state.admitted] = now
    assert worst_excess(rate, list(marks.values())) <= 0


@pytest.mark.requirement("limits:rate:throttled")
@example([(0, 10, 0), (10, 30, 0), (0, 10, 2), (0, 30, 0), (0, 10, 0)])
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([10, 20, 30, 60]), st.integers(0, 5)), max_size=60))
def test_calls_slowed_by_a_restriction_count_for_more_of_the_room_whatever_is_given_back(
    script: list[tuple[int, int, int]],
) -> None:
    now, state = 1_000, None
    standing: dict[int, tuple[int, int]] = {}  # mark -> admitted at, own interval
    for step, interval, undo in script:
        now += step
        if undo and standing and state is not None:
            mark = sorted(standing)[undo % len(standing)]
            _, own = standing.pop(mark)
            state = give_back(Rate(own, 60 // own), state, mark)
            continue
        decided = admit(Rate(interval, 60 // interval), state, now)
        if decided.state is not None:
            state = decided.state
            standing[state.admitted] = (now, interval)
    calls = sorted(standing.values())
    for i, (since, _) in enumerate(calls):
        for j in range(i, len(calls)):
            assert sum(own for _, own in calls[i : j + 1]) <= 60 + calls[j][0] - since


@pytest.mark.requirement("limits:rate:give-back")
def test_a_bucket_that_filled_again_takes_no_place_back() -> None:
    # the trap: handing the interval back blindly lets burst + 1 calls through at one moment
    rate = Rate(10, 2)
    first = count(rate, None, 0)
    second = count(rate, first, 100)
    state: RateState | None = give_back(rate, second, first.admitted)
    at_once = 1
    while state is not None and (state := admit(rate, state, 100).state):
        at_once += 1
    assert at_once == rate.burst


@pytest.mark.requirement("limits:rate:give-back")
def test_giving_back_an_early_call_does_not_hide_a_late_one_from_the_next() -> None:
    rate = Rate(10, 2)
    first = count(rate, None, 0)
    second = count(rate, first, 0)
    third = count(rate, second, 25)
    left = give_back(rate, give_back(rate, third, first.admitted), second.admitted)
    fourth = admit(rate, left, 25)
    assert fourth.state is not None
    assert admit(rate, fourth.state, 25).state is None


@pytest.mark.requirement("limits:rate:give-back")
@given(RATES.filter(lambda rate: rate.burst > 0), st.integers(1, 6), st.sampled_from([1, -1]))
def test_calls_of_one_moment_given_back_in_turn_leave_the_bucket_as_it_was(rate: Rate, calls: int, turn: int) -> None:
    state, marks = None, []
    for _ in range(min(calls, rate.burst)):
        state = count(rate, state, 500)
        marks.append(state.admitted)
    assert state is not None
    for mark in marks[::turn]:
        state = give_back(rate, state, mark)
    assert admit(rate, state, 500).remaining == admit(rate, None, 500).remaining


@pytest.mark.requirement("limits:rate:retry")
@given(RATES.filter(lambda rate: rate.burst > 0), st.lists(st.integers(0, 20), max_size=20))
def test_a_refused_call_is_admitted_after_the_wait_and_not_a_microsecond_before(rate: Rate, steps: list[int]) -> None:
    now, state = 0, None
    for step in steps:
        now += step
        state = admit(rate, state, now).state or state
    refused = admit(rate, state, now)
    if refused.state is None:
        assert admit(rate, state, now + refused.retry_after_us).state is not None
        assert admit(rate, state, now + refused.retry_after_us - 1).state is None


@given(st.integers(1, 10_000))
def test_a_minutes_rate_admits_a_minutes_worth_at_once_and_never_two_in_the_next(calls: int) -> None:
    rate = Rate.per_minute(calls)
    assert rate.burst == calls
    assert calls * rate.interval_us >= 60_000_000


def test_a_rate_of_zero_admits_nothing() -> None:
    assert admit(Rate.per_minute(0), None, 10).state is None


def test_a_clock_reading_that_comes_late_counts_as_now() -> None:
    state = count(Rate(10, 1), None, 100)
    assert admit(Rate(10, 1), state, 40).state is None
    assert count(Rate(10, 1), state, 40).last_us == 100
