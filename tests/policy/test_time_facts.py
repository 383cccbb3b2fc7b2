"""`context.now` and the hours of a grant, together, over the edges of days, zones and daylight saving."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.hours import DAYS, Hours, local_time
from accredit.policy.context import now_facts
from accredit.policy.model import Outcome
from tests.policy.world import READ, agent, ask, grant, snapshot

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    """The moment at which a clock in that zone shows this."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1_000_000)


@pytest.mark.requirement("policy:hours:dst")
@pytest.mark.parametrize(
    ("moment", "minute", "day", "date"),
    [
        (at("2026-03-29T01:59:59"), 119, "sun", "2026-03-29"),
        (at("2026-03-29T01:59:59") + 1_000_000, 180, "sun", "2026-03-29"),  # 02:00 does not exist
        (at("2026-10-25T02:30:00", fold=0), 150, "sun", "2026-10-25"),
        (at("2026-10-25T02:30:00", fold=1), 150, "sun", "2026-10-25"),  # an hour later, the same reading
        (at("2026-12-31T23:59:59"), 1439, "thu", "2026-12-31"),
        (at("2027-01-01T00:00:00"), 0, "fri", "2027-01-01"),
    ],
)
def test_now_is_what_a_clock_on_the_wall_shows(moment: int, minute: int, day: str, date: str) -> None:
    assert now_facts(moment, BERLIN) == {"minute": minute, "day": day, "date": date}


@pytest.mark.requirement("policy:hours:dst")
@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        (at("2026-10-25T01:59:00"), False),
        (at("2026-10-25T02:00:00", fold=0), True),
        (at("2026-10-25T02:59:00", fold=0), True),
        (at("2026-10-25T02:00:00", fold=1), True),
        (at("2026-10-25T02:59:00", fold=1), True),
        (at("2026-10-25T03:00:00"), False),
        (at("2026-03-29T01:59:00") + 60_000_000, False),
    ],
)
def test_an_hour_that_comes_twice_is_open_twice_and_one_that_is_skipped_never(moment: int, *, allowed: bool) -> None:
    by = agent(grant(READ, hours=Hours.parse("02:00-03:00", ["sun"], BERLIN)))
    decision = ask(context={"input": {}, "now": now_facts(moment, BERLIN)}, by=by)
    assert (decision.outcome is Outcome.ALLOW) is allowed


@pytest.mark.requirement("policy:hours:kernel")
@settings(max_examples=60)
@given(
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.sampled_from([BERLIN, "UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"]),
    st.integers(1_700_000_000, 1_900_000_000),
)
def test_a_permit_is_open_exactly_when_the_kernel_says_the_hours_are(
    start: int, end: int, days: set[str], zone: str, second: int
) -> None:
    if start == end:
        return
    hours = Hours(start, end, frozenset(days), zone)
    decision = ask(
        context={"input": {}, "now": now_facts(second * 1_000_000, zone)},
        by=agent(grant(READ, hours=hours)),
        under=snapshot(),
    )
    assert (decision.outcome is Outcome.ALLOW) is hours.includes(local_time(second * 1_000_000, zone))
