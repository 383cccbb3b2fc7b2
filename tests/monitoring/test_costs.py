"""What agents cost, added up from the roll-ups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.model import Usage, UsageDay
from accredit.monitoring.costs import CostBy, cost_rows, forecast, month_days, unusual_days

BEGIN, END = month_days("2026-11")
DAYS = st.lists(
    st.builds(
        lambda day, agent, tool, cost: UsageDay(BEGIN + day, agent, tool, Usage(allows=1, cost_nanos=cost), 1),
        st.integers(0, 29), st.sampled_from(["agt_a", "agt_b", "agt_c"]), st.sampled_from(["crm/read", "", "x/y"]),
        st.integers(0, 10**12),
    ),
    max_size=40,
)  # fmt: skip


@pytest.mark.requirement("monitoring:costs:reconciled")
@given(DAYS, st.sampled_from(CostBy))
def test_however_it_is_added_up_it_is_all_there_is(days: list[UsageDay], by: CostBy) -> None:
    rows = cost_rows(days, by, team_of=lambda agent: "" if agent == "agt_c" else agent[-1])
    assert sum(row.cost_nanos for row in rows) == sum(day.usage.cost_nanos for day in days)
    assert sum(row.calls for row in rows) == len(days)
    assert len({row.key for row in rows}) == len(rows)


def test_a_month_has_its_days_leap_years_included() -> None:
    assert END - BEGIN == 30
    first, last = month_days("2028-02")
    assert last - first == 29
    for wrong in ("2026-13", "2026", "next"):
        with pytest.raises(ValueError, match=r"."):
            month_days(wrong)


@pytest.mark.requirement("monitoring:costs:forecast")
def test_a_month_comes_to_what_its_days_come_to() -> None:
    steady = dict.fromkeys(range(BEGIN - 20, BEGIN + 10), 10)
    told = forecast(steady | {BEGIN + 10: 4}, today=BEGIN + 10, month=(BEGIN, END), since=BEGIN - 20)
    assert (told.so_far_nanos, told.per_day_nanos, told.month_nanos, told.days) == (104, 10, 300, 14)
    assert told.low_nanos == told.high_nanos == 300
    over = forecast(steady, today=END + 3, month=(BEGIN, END), since=BEGIN - 20)
    assert (over.month_nanos, over.so_far_nanos) == (100, 100)
    new = forecast({BEGIN: 7}, today=BEGIN, month=(BEGIN, END), since=BEGIN)
    assert (new.month_nanos, new.days) == (7, 0)


@pytest.mark.requirement("monitoring:costs:forecast")
@given(st.dictionaries(st.integers(BEGIN - 30, END - 1), st.integers(0, 10**12)), st.integers(BEGIN, END - 1))
def test_a_forecast_is_never_less_than_what_was_spent_and_within_its_interval(
    daily: dict[int, int], today: int
) -> None:
    past = {day: cost for day, cost in daily.items() if day <= today}
    told = forecast(past, today=today, month=(BEGIN, END), since=BEGIN - 30)
    assert told.so_far_nanos <= told.month_nanos + 1
    assert told.low_nanos <= told.month_nanos + 1
    assert told.month_nanos <= told.high_nanos + 1


@pytest.mark.requirement("monitoring:costs:unusual")
def test_a_day_is_unusual_against_those_before_it_and_never_while_there_are_few() -> None:
    daily = {day: 100 + day % 7 for day in range(BEGIN - 40, BEGIN + 20)}
    assert unusual_days(daily, since=BEGIN, until=BEGIN + 20, first=BEGIN - 40) == ()
    (one,) = unusual_days(daily | {BEGIN + 5: 900}, since=BEGIN, until=BEGIN + 20, first=BEGIN - 40)
    assert (one.day, one.cost_nanos) == (BEGIN + 5, 900)
    assert 100 <= one.usual_nanos <= 106
    assert unusual_days({BEGIN: 900}, since=BEGIN, until=BEGIN + 5, first=BEGIN - 3) == ()
