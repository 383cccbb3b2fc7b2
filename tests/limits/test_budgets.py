from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.money import Money
from accredit.limits.budgets import Budget, WindowSpend, reserve, settle, window_of
from accredit.limits.model import LimitRefusal
from tests.limits.fleet import MIDDAY_US

EMPTY = WindowSpend("2026-11-22", "USD")


@pytest.mark.requirement("limits:budget:cap")
@given(
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 9)), max_size=60),
)
def test_spent_and_open_stay_within_the_cap_and_nothing_is_lost(cap: int, script: list[tuple[int, int, int]]) -> None:
    state, spent = EMPTY, 0
    opened: list[int] = []
    for cost, act, pick in script:
        if act == 0 or not opened:
            taken = reserve(Budget(Money(cap)), state, Money(cost), wall_us=MIDDAY_US)
            fits = spent + sum(opened) + cost <= cap
            assert isinstance(taken, WindowSpend) == fits
            if isinstance(taken, WindowSpend):
                state = taken
                opened.append(cost)
        else:
            reserved = opened.pop(pick % len(opened))
            used = min(cost, reserved) if act == 1 else 0
            spent += used
            state = settle(state, reserved_nanos=reserved, cost_nanos=used)
        assert (state.spent_nanos, state.open_nanos) == (spent, sum(opened))
        assert spent + sum(opened) <= cap


@pytest.mark.requirement("limits:budget:overrun")
def test_usage_beyond_the_reservation_is_booked_in_full_and_stops_the_next_call() -> None:
    budget = Budget(Money(10))
    state = reserve(budget, EMPTY, Money(4), wall_us=MIDDAY_US)
    assert isinstance(state, WindowSpend)
    state = settle(state, reserved_nanos=4, cost_nanos=13)
    assert (state.spent_nanos, state.open_nanos) == (13, 0)
    refused = reserve(budget, state, Money(1), wall_us=MIDDAY_US)
    assert isinstance(refused, LimitRefusal)
    assert refused.code is Code.BUDGET_EXHAUSTED


@pytest.mark.requirement("limits:budget:share")
@given(st.lists(st.integers(0, 40), max_size=20))
def test_one_agent_never_holds_more_than_a_fifth_of_a_shared_budget(costs: list[int]) -> None:
    state, held = EMPTY, 0
    for cost in costs:
        taken = reserve(Budget(Money(100), shared=True), state, Money(cost), wall_us=MIDDAY_US, held_nanos=held)
        assert isinstance(taken, WindowSpend) == (held + cost <= 20)
        if isinstance(taken, WindowSpend):
            state, held = taken, held + cost


@pytest.mark.requirement("limits:price:missing")
@pytest.mark.parametrize("budget", [None, Budget(Money(10))])
def test_a_missing_price_is_refused_with_and_without_a_budget(budget: Budget | None) -> None:
    refused = reserve(budget, EMPTY, None, wall_us=MIDDAY_US)
    assert isinstance(refused, LimitRefusal)
    assert refused.code is Code.PRICE_MISSING
    assert isinstance(reserve(budget, EMPTY, Money(0), wall_us=MIDDAY_US), WindowSpend)


@pytest.mark.requirement("limits:price:currency")
def test_a_price_in_another_currency_is_refused_even_at_zero() -> None:
    refused = reserve(Budget(Money(10, "USD")), WindowSpend("2026-11-22", "EUR"), Money(0, "EUR"), wall_us=MIDDAY_US)
    assert isinstance(refused, LimitRefusal)
    assert refused.code is Code.CURRENCY_MISMATCH


def test_a_price_that_no_record_can_carry_is_refused() -> None:
    refused = reserve(None, EMPTY, Money(2**53), wall_us=MIDDAY_US)
    assert isinstance(refused, LimitRefusal)


def test_an_exhausted_budget_says_when_the_day_turns_and_an_impossible_call_does_not() -> None:
    full = WindowSpend("2026-11-22", "USD", spent_nanos=10)
    later = reserve(Budget(Money(10)), full, Money(1), wall_us=MIDDAY_US)
    never = reserve(Budget(Money(10)), EMPTY, Money(11), wall_us=MIDDAY_US)
    assert isinstance(later, LimitRefusal)
    assert isinstance(never, LimitRefusal)
    assert (later.retry_after_s, never.retry_after_s) == (12 * 3600, 0)


@given(st.timedeltas(timedelta(0), timedelta(days=80_000)))
def test_the_window_is_the_utc_day(age: timedelta) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + age
    assert window_of(age // timedelta(microseconds=1)) == moment.date().isoformat()
