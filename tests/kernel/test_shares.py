"""Room that many share: bounded, given back whole, and never all of it one holder's."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.shares import SharedRoom

_ACTS = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=300)


@given(st.integers(0, 40), _ACTS)
@pytest.mark.requirement("kernel:shares")
def test_nobody_takes_more_than_they_leave_and_all_of_it_comes_back(
    capacity: int, acts: list[tuple[bool, int]]
) -> None:
    room, held = SharedRoom(capacity), Counter[int]()
    for takes, holder in acts:
        free = capacity - held.total()
        if takes:
            assert room.take(holder) is (held[holder] < free)
            held[holder] += held[holder] < free
        elif held[holder]:
            room.give(holder)
            held[holder] -= 1
        assert held.total() <= capacity
    for holder in held.elements():
        room.give(holder)
    assert sum(room.take("alone") for _ in range(capacity + 1)) == (capacity + 1) // 2


@given(st.integers(2, 200), st.integers(1, 20))
@pytest.mark.requirement("kernel:shares")
def test_however_many_take_all_they_can_each_gets_the_same_and_one_more_gets_something(
    capacity: int, many: int
) -> None:
    room, held = SharedRoom(capacity), Counter[int]()
    while taken := [holder for holder in range(many) if room.take(holder)]:
        held.update(taken)
    assert max(held.values()) - min(held.get(one, 0) for one in range(many)) <= 1
    if capacity > many:
        assert room.take("late")
