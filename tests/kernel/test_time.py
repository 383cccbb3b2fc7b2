"""Hours, clocks and deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.clock import ClockWatch, Deadline, ScriptedClock, SystemClock
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.hours import DAYS, Hours, local_time


def _us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.requirement("kernel:hours:zone")
@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-23T07:59:59+01:00", False),
        ("2026-11-23T08:00:00+01:00", True),
        ("2026-11-23T17:59:59+01:00", True),
        ("2026-11-23T18:00:00+01:00", False),
        ("2026-11-22T12:00:00+01:00", False),  # a Sunday
        ("2026-07-06T06:30:00+00:00", True),  # 08:30 in summer time
        ("2026-11-23T06:30:00+00:00", False),  # 07:30 in winter time
    ],
)
def test_a_window_is_half_open_in_its_own_zone(moment: str, is_open: bool) -> None:  # noqa: FBT001 - a table's column
    hours = Hours.parse("08:00-18:00", ["mon", "tue", "wed", "thu", "fri"], "Europe/Berlin")
    assert hours.includes(local_time(_us(moment), "Europe/Berlin")) is is_open


@pytest.mark.requirement("kernel:hours:midnight")
def test_a_window_over_midnight_belongs_to_the_day_it_starts() -> None:
    hours = Hours.parse("22:00-02:00", ["fri"], "UTC")
    open_at = [
        hours.includes(local_time(_us(moment), "UTC"))
        for moment in ("2026-11-27T23:00+00:00", "2026-11-28T01:59+00:00", "2026-11-28T02:00+00:00",
                       "2026-11-27T01:00+00:00", "2026-11-28T23:00+00:00")
    ]  # fmt: skip
    assert open_at == [True, True, False, False, False]


@pytest.mark.requirement("kernel:hours:dst")
def test_the_hour_that_summer_time_skips_or_repeats_is_judged_by_the_wall_clock() -> None:
    hours = Hours.parse("02:00-03:00", ["sun"], "Europe/Berlin")
    spring = [_us("2026-03-29T00:59+00:00"), _us("2026-03-29T01:00+00:00")]  # 01:59, then 03:00
    autumn = [_us("2026-10-25T00:30+00:00"), _us("2026-10-25T01:30+00:00")]  # 02:30 twice
    assert [hours.includes(local_time(at, "Europe/Berlin")) for at in spring] == [False, False]
    assert [hours.includes(local_time(at, "Europe/Berlin")) for at in autumn] == [True, True]


_WINDOWS = st.builds(
    lambda start, length, days: Hours(start, (start + length) % 1440 or 1440, frozenset(days), "UTC"),
    st.integers(0, 1439), st.integers(1, 1439), st.sets(st.sampled_from(DAYS), min_size=1),
).filter(lambda hours: hours.start != hours.end)  # fmt: skip


@given(_WINDOWS, _WINDOWS)
@pytest.mark.requirement("kernel:hours:narrow")
def test_a_window_within_another_is_never_open_when_that_one_is_closed(inner: Hours, outer: Hours) -> None:
    if inner.within(outer):
        start = datetime(2026, 11, 23, tzinfo=UTC)
        for quarter in range(7 * 96):
            at = local_time(int((start + timedelta(minutes=15 * quarter)).timestamp()) * 1_000_000, "UTC")
            assert outer.includes(at) or not inner.includes(at)


@pytest.mark.parametrize(
    "window", ["8-18", "08:00-08:00", "24:00-25:00", "08:00-24:30", "", "08:60-09:00", "0\u0668:00-18:00"]
)
@pytest.mark.requirement("kernel:hours:zone")
def test_a_malformed_or_empty_window_is_refused(window: str) -> None:
    with pytest.raises(InvalidInputError):
        Hours.parse(window, ["mon"], "UTC")


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "UTC\0"])
@pytest.mark.requirement("kernel:hours:zone")
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        Hours.parse("08:00-18:00", ["mon"], name)


@pytest.mark.requirement("kernel:clock:step")
def test_a_step_of_the_wall_clock_is_distrusted_until_confirmed() -> None:
    clock = ScriptedClock(_us("2026-11-23T12:00+00:00"))
    watch = ClockWatch(clock.now())
    clock.advance(3600)
    assert watch.steady(clock.now())
    clock.step_wall(1.5)  # slewing is followed
    assert watch.steady(clock.now())
    clock.step_wall(-7200)
    assert not watch.steady(clock.now())
    clock.advance(86_400)
    assert not watch.steady(clock.now())
    assert watch.confirm(clock.now()) == -7200 * 1_000_000
    assert watch.steady(clock.now())
    later_us = clock.now().wall_us
    clock.step_wall(-60)
    behind = ClockWatch(clock.now(), later_us)
    assert not behind.steady(clock.now())
    assert behind.stepped_us == -60 * 1_000_000
    assert ClockWatch(clock.now(), clock.now().wall_us + 1_000_000).steady(clock.now())


@pytest.mark.requirement("kernel:clock:deadline")
def test_a_deadline_passes_on_either_clock() -> None:
    clock = ScriptedClock(_us("2026-11-23T12:00+00:00"))
    deadline = Deadline.after(clock.now(), 60)
    clock.step_wall(-86_400)
    clock.advance(59)
    assert not deadline.passed(clock.now())
    clock.advance(1)  # a wall clock set back does not lengthen it
    assert deadline.passed(clock.now())


def test_the_system_clock_gives_both_readings() -> None:
    first, second = SystemClock().now(), SystemClock().now()
    assert second.boot_us >= first.boot_us > 0
    assert first.wall_us > _us("2026-01-01T00:00+00:00")
