"""The schedule: which times may be set, what goes when, and what legal holds keep of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.model import Entry, Facts, Part
from accredit.audit.ports import Actor
from accredit.audit.retention import Expiry, RecordClass, Rule, Schedule, class_of, kept, the_schedule
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from tests.keeping.test_erasing import fill, of_calls, openable, verified
from tests.lifecycle.house import NOW_US, House, house, operator

CORA, SAM = operator("cora"), operator("sam")
DAY_S = 86_400
_DAYS = st.integers(1, 50)
_RULES = st.lists(
    st.builds(
        Rule,
        st.sampled_from(["always", "a", "b"]),
        st.just("source"),
        st.one_of(st.none(), _DAYS),
        st.one_of(st.none(), _DAYS),
    ),
    max_size=4,
)


@pytest.mark.requirement("keeping:schedule:bounds")
@given(_RULES, _DAYS, _DAYS, st.one_of(st.none(), _DAYS), st.sets(st.sampled_from(["a", "b"])), st.integers(0, 60))
def test_the_longest_minimum_wins_a_cap_beats_it_and_own_times_stay_between(
    rules: list[Rule], default: int, minimum: int, maximum: int | None, frameworks: set[str], own: int
) -> None:
    one = RecordClass("c", "w", Expiry.PARTS, frozenset(), default, minimum, maximum, tuple(rules))
    found = kept(one, Schedule((one,), frozenset(frameworks)))
    in_force = [rule for rule in rules if rule.framework in {"always", *frameworks}]
    caps = [each for each in [maximum, *(rule.maximum for rule in in_force)] if each is not None]
    floors = [each for each in [minimum, *(rule.minimum for rule in in_force)] if each is not None]
    assert all(found.days <= each for each in caps)
    assert found.days >= min([max(floors), *caps])
    assert found.days == min([max([default, *floors]), *caps])
    bound = Schedule((one,), frozenset(frameworks), {"c": own})
    if own >= min([max(floors), *caps]) and all(own <= each for each in caps):
        assert kept(one, bound).days == own
    else:
        with pytest.raises(InvalidInputError):
            kept(one, bound)


def test_the_schedule_of_this_release_is_sound_and_every_rule_has_its_source() -> None:
    schedule = the_schedule()
    for one in schedule.classes:
        found = kept(one, schedule)
        assert found.minimum <= found.days
        assert all(rule.source and (rule.minimum or rule.maximum) for rule in one.rules)
    for framework in {rule.framework for one in schedule.classes for rule in one.rules}:
        for one in schedule.classes:
            kept(one, Schedule(schedule.classes, frozenset({framework})))
    assert class_of("decision", schedule).name == "call-payload"
    assert class_of("refused.authentication", schedule).name == "access-attempts"


@pytest.mark.requirement("keeping:schedule:bounds")
@pytest.mark.parametrize(
    "said",
    [
        b"[]",
        b"frameworks: finra",
        b"frameworks: [nobody]",
        b"frameworks: [always]",
        b"days: {nothing: 3}",
        b"days: {call-payload: 0}",
        b"days: {call-payload: 4000}",
        b"days: {call-payload: true}",
        b"days: {call-payload: '90'}",
        b"days: {envelopes: 100}",
        b"frameworks: [finra]\ndays: {call-payload: 90}",
        b"frameworks: [gdpr]\ndays: {call-payload: 1099}",
        b"more: 1",
        b"{",
        b"\xff",
        b"[" * 5_000,
    ],
)
def test_a_file_that_leaves_the_bounds_or_the_form_is_refused(said: bytes) -> None:
    with pytest.raises(InvalidInputError):
        the_schedule(said)


async def round_(place: House) -> None:
    await place.room.record_operations.round()


@pytest.mark.requirement("keeping:schedule:carried-out")
def test_parts_go_when_their_time_is_over_and_envelopes_and_control_stay(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", "")] * 3)
            said = (Part("arguments", {"a": 1}),)
            late = Entry(Facts("decision"), NOW_US + DAY_S * 1_000_000, {"decision_id": "dec_late"}, said)
            await place.log.append(late)
            every, size = openable(tmp_path), place.records.size()
            place.clock.advance(90 * DAY_S)
            await round_(place)
            assert openable(tmp_path) == every
            assert [one.parts for one in await place.room.expiries.plan()] == [0, 0]
            place.clock.advance(0.001)
            (due, _) = await place.room.expiries.plan()
            assert (due.records, due.parts, due.kept, due.whole) == (6, 9, {}, True)
            await round_(place)
            assert every - openable(tmp_path) == of_calls(tmp_path, {0, 1, 2})
            written = place.records.size()
            await round_(place)
            assert place.records.size() == written  # a round without anything due writes nothing
            assert [row[0] for row in place.records.rows(0, size)] == list(range(size))
            states = [names for names in place.records.wrapped_keys(0, size).values() if "state" in names]
            assert len(states) == len([one for one in place.records.control_records() if one.seq < size])

    asyncio.run(go())
    report = verified(tmp_path)
    assert (report.ok, report.erased) == (True, 9), report.what


@pytest.mark.requirement("keeping:schedule:held")
@pytest.mark.parametrize(
    "named", [{"agent": AgentId("agt_1")}, {"subject": "bob"}, {"since_us": NOW_US + 1, "until_us": NOW_US + 2}]
)
def test_what_a_hold_keeps_is_passed_over_until_it_is_lifted(tmp_path: Path, named: dict[str, Any]) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await fill(place, [("alice", ""), ("bob", ""), ("carol", "")])
            every = openable(tmp_path)
            if "agent" in named:  # of no registered agent: placed past the check of people's acts
                hold = await place.room.legal_holds.place(matter="m", by=Actor(person=SAM.person), **named)
            else:
                hold = await place.room.record_operations.place_hold(SAM, "m", **named)
            place.clock.advance(91 * DAY_S)
            (due, _) = await place.room.expiries.plan()
            assert (due.records, due.kept) == (4, {hold.id: 2})
            await round_(place)
            assert every - openable(tmp_path) == of_calls(tmp_path, {0, 2})
            await round_(place)
            assert every - openable(tmp_path) == of_calls(tmp_path, {0, 2})
            await place.room.record_operations.lift_hold(CORA, hold.id, "over")
            await round_(place)
            assert every - openable(tmp_path) == of_calls(tmp_path, {0, 1, 2})

    asyncio.run(go())
    assert verified(tmp_path).ok
