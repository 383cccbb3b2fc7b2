"""What agents did, folded from the log: the same however it was read, within its window and its bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.audit.model import Entry
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import AgentId, ToolId
from accredit.monitoring.observing import ObservedTraffic
from accredit.registry.observation import ObservedUse, Sighted
from accredit.storage.memory.records import MemoryRecordStore
from tests.audit.building import STREAM, appended, writing
from tests.monitoring.traffic import DAY_US, called, ended, traffic

NOW_US = 20_600 * DAY_US + 3_600_000_000
A, B = AgentId("agt_a"), AgentId("agt_b")
READ, WRITE = ToolId("crm/read"), ToolId("crm/write")


def logged(*entries: Entry, store: MemoryRecordStore | None = None) -> MemoryRecordStore:
    held = store or MemoryRecordStore(STREAM)
    with writing(held, clock=ScriptedClock(NOW_US)) as log:
        appended(log, entries)
    return held


def read(store: MemoryRecordStore, *, at_most: int = 10_000, now_us: int = NOW_US) -> ObservedTraffic:
    found = ObservedTraffic(store)
    while not found.catch_up(now_us, at_most=at_most):
        pass
    return found


def use(*entries: Entry, days: int = 30, now_us: int = NOW_US, agent: AgentId = A) -> ObservedUse:
    return read(logged(*entries), now_us=now_us).use(agent, now_us, days=days)


def asked(store: MemoryRecordStore, at_most: int) -> tuple[Any, ...]:
    found = read(store, at_most=at_most)
    return (found.use(A, NOW_US), found.use(A, NOW_US, days=14), found.use(B, NOW_US), found.worked_together(NOW_US))


KINDS = st.sampled_from(["email", "card", "iban", "ip_address", "private_key", "no-such-kind"])
CALLS = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.integers(0, 45),
        st.sampled_from([("crm/read", "read", None), ("crm/write", "write", "record"), ("crm/send", "external", None)]),
        st.dictionaries(KINDS, st.integers(1, 4), max_size=2),
        st.sampled_from([None, "psd_u1", "psd_u2"]),
        st.sampled_from([None, "psd_t1", "psd_t2"]),
        st.booleans(),
        st.sampled_from(["ok", "withheld", "timeout"]),
    ),
    max_size=12,
)


def made(calls: Iterable[tuple[Any, ...]]) -> list[Entry]:
    found: list[Entry] = []
    for number, (agent, ago, (tool, effect, scope), detected, user, task, granted, end) in enumerate(
        sorted(calls, key=lambda call: -call[1])
    ):
        at_us = NOW_US - ago * DAY_US
        found += [
            called(
                agent, tool, number=number, at_us=at_us, effect=effect, scope=scope, user=user, task=task,
                granted=granted,
            ),
            ended(
                agent, tool, number=number, at_us=at_us, effect=effect, scope=scope, detected=detected, end=end
            ),
        ]  # fmt: skip
    return found


@pytest.mark.requirement("observed:folded")
@settings(max_examples=25, deadline=None)
@given(CALLS, st.integers(1, 7))
def test_it_is_the_same_read_at_once_in_pieces_or_in_another_process(calls: list[tuple[Any, ...]], piece: int) -> None:
    entries = made(calls)
    half = len(entries) // 2
    store = logged(*entries[:half])
    going_on = read(store, at_most=piece)
    logged(*entries[half:], store=store)
    while not going_on.catch_up(NOW_US, at_most=piece):
        pass
    whole = asked(store, 10_000)
    assert asked(store, piece) == whole
    assert whole == (
        going_on.use(A, NOW_US), going_on.use(A, NOW_US, days=14), going_on.use(B, NOW_US),
        going_on.worked_together(NOW_US),
    )  # fmt: skip


@pytest.mark.requirement("observed:folded")
@settings(max_examples=25, deadline=None)
@given(CALLS)
def test_the_shorter_window_never_shows_more_than_the_longer_one(calls: list[tuple[Any, ...]]) -> None:
    found = read(logged(*made(calls)))
    short, long = found.use(A, NOW_US, days=14), found.use(A, NOW_US)
    assert short.users <= long.users
    assert {one.tool for one in short.tools} <= {one.tool for one in long.tools}
    longer = {one.data_class: one for one in long.data}
    for one in short.data:
        assert one.checked <= longer[one.data_class].checked
        assert one.subjects <= longer[one.data_class].subjects


@pytest.mark.requirement("observed:counts")
def test_checked_values_add_up_over_calls_and_others_need_two_subjects() -> None:
    card = use(*traffic(A, 3, at_us=NOW_US, detected={"card": 1}, task="psd_one"))
    assert [(one.data_class, one.checked, one.subjects, one.sighted) for one in card.data] == [
        ("financial", 3, 1, Sighted.COUNTS)
    ]
    same = use(*traffic(A, 9, at_us=NOW_US, detected={"email": 1}, task="psd_one"))
    assert [(one.checked, one.subjects, one.sighted) for one in same.data] == [(0, 1, Sighted.ONCE)]
    tasks = use(*traffic(A, 2, at_us=NOW_US, detected={"email": 1}, tasks=True))
    assert [(one.subjects, one.sighted) for one in tasks.data] == [(2, Sighted.COUNTS)]
    values = use(*traffic(A, 1, at_us=NOW_US, detected={"email": 2}))
    assert [(one.subjects, one.sighted) for one in values.data] == [(2, Sighted.COUNTS)]
    addresses = use(*traffic(A, 9, at_us=NOW_US, detected={"ip_address": 5}, tasks=True))
    assert [one.sighted for one in addresses.data] == [Sighted.ONCE], "an address of a machine is nobody"


@pytest.mark.requirement("observed:counts")
def test_what_the_agent_was_never_told_was_not_seen_by_it() -> None:
    first = called(A, at_us=NOW_US)
    assert use(first, ended(A, at_us=NOW_US, detected={"card": 9}, end="withheld")).data == ()
    assert use(first, ended(A, at_us=NOW_US, detected={"card": 9})).data != ()


@pytest.mark.requirement("observed:executed", "observed:explained")
def test_what_was_sent_was_executed_and_what_a_person_granted_was_attended() -> None:
    found = use(
        *traffic(A, 2, at_us=NOW_US, tool=WRITE, effect="write", scope="record"),
        called(A, WRITE, number=7, at_us=NOW_US, effect="write", scope="record", granted=True),
        ended(A, WRITE, number=7, at_us=NOW_US, effect="write", scope="record", sent=False, end="unreachable"),
        called(A, READ, number=8, at_us=NOW_US, decision="hold"),
    )
    (tool,) = found.tools
    assert (tool.tool, tool.level, tool.executed, tool.alone, tool.attended) == (WRITE, 3, 2, 2, 1)


@pytest.mark.requirement("observed:folded")
@pytest.mark.parametrize(("ago", "in_30", "in_14"), [(0, True, True), (13, True, True), (14, True, False),
                                                     (29, True, False), (30, False, False)])  # fmt: skip
def test_a_window_has_today_and_the_days_before(ago: int, in_30: bool, in_14: bool) -> None:  # noqa: FBT001 - cases
    then = traffic(A, 3, at_us=NOW_US - ago * DAY_US, detected={"card": 1}, user="psd_u")
    found = read(logged(*then))
    for days, within in ((30, in_30), (14, in_14)):
        seen = found.use(A, NOW_US, days=days)
        assert (bool(seen.data), bool(seen.tools), bool(seen.users)) == (within, within, within)


@pytest.mark.requirement("observed:folded")
def test_what_leaves_the_window_is_forgotten_and_told_of_as_changed() -> None:
    found = read(logged(*traffic(A, 3, at_us=NOW_US, detected={"card": 1}, task="psd_t")))
    assert found.touched() == {A}
    assert found.touched() == frozenset()
    assert found.catch_up(NOW_US + 29 * DAY_US, at_most=10)
    assert found.use(A, NOW_US + 29 * DAY_US).data
    assert found.catch_up(NOW_US + 30 * DAY_US, at_most=10)
    assert found.touched() == {A}
    assert found.agents() == frozenset()


@pytest.mark.requirement("observed:reach")
def test_users_are_never_counted_as_more_than_there_are() -> None:
    entries = [called(A, number=n, at_us=NOW_US, user=f"psd_{n}") for n in range(300)]
    found = use(*entries)
    assert 230 <= found.users <= 300
    assert use(*entries[:2], *entries[:2]).users == 2


@pytest.mark.requirement("observed:split")
def test_agents_that_worked_on_the_same_tasks_or_handed_work_on_are_told_in_pairs() -> None:
    found = read(
        logged(
            *(called(A, number=n, at_us=NOW_US, task=f"psd_{n}") for n in range(4)),
            *(called(B, number=n, at_us=NOW_US, task=f"psd_{n}") for n in range(1, 9)),
            *(called(B, number=n, at_us=NOW_US, callers=(A,)) for n in range(10, 12)),
        )
    )
    (pair,) = found.worked_together(NOW_US)
    assert (pair.agents, pair.tasks, pair.handed_on) == ((A, B), 3, 2)
    assert pair.records


@pytest.mark.requirement("observed:folded")
def test_of_one_agent_a_bounded_amount_is_kept_the_newest_and_that_is_said() -> None:
    entries = [
        called(A, f"crm/t{n}", number=n, at_us=NOW_US, effect="external", callers=(f"agt_{n}",)) for n in range(450)
    ]
    found = use(*entries)
    assert (len(found.tools), len(found.callers), found.in_part) == (400, 50, True)
    assert "crm/t449" in {one.tool for one in found.tools}
    many = [ended(A, number=n, at_us=NOW_US, version=f"sha256:{n}", detected={"card": 1}) for n in range(60)]
    (seen,) = use(*many).data
    assert len(seen.places) == 50
    assert ("sha256:59", READ) in seen.places
    assert seen.checked == 60


@pytest.mark.requirement("observed:folded")
def test_a_long_log_is_not_read_from_its_beginning() -> None:
    old = [called(B, number=n, at_us=NOW_US - 40 * DAY_US + n) for n in range(20)]
    store = logged(*old, *traffic(A, 1, at_us=NOW_US))
    found = ObservedTraffic(store)
    assert found.behind is None
    assert found.catch_up(NOW_US, at_most=store.size() - 20)
    assert not found.behind
    assert found.agents() == {A}
