"""What is granted and was not used, with its last use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.ids import ToolId
from accredit.monitoring.model import ToolUse
from accredit.monitoring.usage import YEAR_DAYS, unused_permissions

TODAY = 20_000


def use(name: str, last: int | None, *, granted: bool = True, denies: int = 0) -> ToolUse:
    return ToolUse(ToolId(name), granted, int(last is not None), denies, 0, 0, 0, None, last)


@pytest.mark.requirement("unused:told")
def test_each_permission_is_told_with_its_last_use_longest_idle_first_and_what_is_used_is_not() -> None:
    uses = [
        use("crm/used", TODAY - 89),
        use("crm/idle", TODAY - 90),
        use("crm/never", None, denies=3),
        use("crm/gone", None, granted=False),
        ToolUse(None, False, 0, 9, 0, 0, 0, None, None),
    ]
    found = unused_permissions(uses, today=TODAY, days=90, registered_day=TODAY - 200, in_force_day=TODAY - 3)
    assert [(one.tool, one.last_used_day, one.idle_days, one.version_days, one.denies) for one in found] == [
        ("crm/never", None, 200, 3, 3),
        ("crm/idle", TODAY - 90, 90, 3, 0),
    ]


@pytest.mark.requirement("unused:told")
def test_an_agent_younger_than_the_time_asked_about_has_left_nothing_unused() -> None:
    uses = [use("crm/never", None)]
    assert unused_permissions(uses, today=TODAY, days=90, registered_day=TODAY - 89, in_force_day=TODAY) == ()


@pytest.mark.requirement("unused:told")
@given(st.lists(st.none() | st.integers(TODAY - 500, TODAY + 2), max_size=8), st.integers(1, 366), st.integers(0, 800))
def test_the_longer_the_time_asked_about_the_less_is_told_and_never_more_than_a_year(
    last: list[int | None], days: int, age: int
) -> None:
    uses = [use(f"crm/{number}", one) for number, one in enumerate(last)]

    def told(days: int) -> set[str]:
        found = unused_permissions(uses, today=TODAY, days=days, registered_day=TODAY - age, in_force_day=TODAY)
        assert all(days <= one.idle_days <= YEAR_DAYS for one in found)
        return {one.tool for one in found}

    assert told(days) <= told(max(days - 1, 1))
