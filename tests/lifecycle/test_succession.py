"""Who is asked to take over an agent, and when it is narrowed: laws of the decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.ids import PersonId, TeamId
from accredit.lifecycle.succession import (
    ACCEPTED_US,
    AskedAs,
    Succession,
    SuccessionStep,
    SuccessionTimes,
    SuccessionTurn,
    asked,
    due_at,
    next_step,
    ownerless,
)
from accredit.registry.model import Agent, AgentState, Environment, Person, Role, Team
from accredit.registry.organisation import Organisation, RoleGrant
from tests.approvals.desk import AGENT

_DAY_US = 86_400_000_000
_TIMES = SuccessionTimes()
_NAMES = [PersonId(name) for name in ("ann", "ben", "cho", "dee", "eve")]


@st.composite
def organisations(draw: st.DrawFn) -> Organisation:
    people = {
        name: Person(
            name,
            f"{name}@example.com",
            bot=draw(st.booleans()) and draw(st.booleans()),
            left=draw(st.booleans()),
            manager=draw(st.none() | st.sampled_from(_NAMES)),
        )
        for name in _NAMES
    }
    grants = tuple(
        RoleGrant(f"rgr_{number}", role, holder, None, frozenset(), 0)
        for number, (role, holder) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from([Role.TEAM_LEAD, Role.OPERATOR]), st.sampled_from(_NAMES))))
        )
    )
    return Organisation(people, {}, grants)


def _agent(owner: PersonId = _NAMES[0], backup: PersonId | None = _NAMES[1]) -> Agent:
    return replace(
        AGENT,
        owner=owner,
        backup_owner=backup,
        team=Team(TeamId("team_1"), "support", frozenset()),
        state=AgentState.ACTIVE,
        environment=Environment.PRODUCTION,
    )


@pytest.mark.requirement("people:succession:line")
@given(organisations(), st.integers(0, 90), st.integers(0, 90), st.sampled_from([None, *_NAMES]))
def test_whoever_is_asked_is_there_and_nobody_is_asked_less_later(
    organisation: Organisation, days: int, more: int, backup: PersonId | None
) -> None:
    agent = _agent(backup=backup)
    line = asked(agent, organisation, elapsed_us=days * _DAY_US, times=_TIMES)
    later = asked(agent, organisation, elapsed_us=(days + more) * _DAY_US, times=_TIMES)
    assert line
    assert later[: len(line)] == line
    assert [one.as_ for one in later] == sorted((one.as_ for one in later), key=list(AskedAs).index)
    for one in later:
        for person in one.persons:
            known = organisation.people[person]
            assert not known.left
            assert not known.bot
    whole = asked(agent, organisation, elapsed_us=_TIMES.read_only_us, times=_TIMES)
    assert whole[-1].as_ in {AskedAs.TEAM, AskedAs.OPERATORS}
    assert bool(whole[-1].persons) or not organisation.holders(Role.OPERATOR)


@pytest.mark.requirement("people:succession:line")
def test_managers_above_each_other_end_with_the_team() -> None:
    ann, ben, cho = _NAMES[:3]
    people = {
        ann: Person(ann, "a@example.com", left=True, manager=ben),
        ben: Person(ben, "b@example.com", left=True, manager=cho),
        cho: Person(cho, "c@example.com", left=True, manager=ben),
    }
    (only,) = asked(_agent(backup=None), Organisation(people), elapsed_us=0, times=_TIMES)
    assert only == SuccessionTurn(AskedAs.OPERATORS, ())
    back = Organisation(people | {cho: replace(people[cho], left=False)})
    first, last = asked(_agent(backup=None), back, elapsed_us=90 * _DAY_US, times=_TIMES)
    assert first == SuccessionTurn(AskedAs.MANAGER, (cho,))
    assert last.as_ is AskedAs.OPERATORS


@pytest.mark.requirement("people:succession:narrows")
@given(
    st.sampled_from(SuccessionStep),
    st.none() | st.integers(0, 100),
    st.sampled_from(["there", "gone"]),
    st.lists(st.integers(1, 60), min_size=3, max_size=3),
)
def test_steps_come_in_order_and_accepting_only_ever_gives_a_bounded_time(
    step: SuccessionStep, accepted_day: int | None, still: str, days: list[int]
) -> None:
    times = SuccessionTimes.in_days(*sorted(days))
    accepted_us = None if accepted_day is None else accepted_day * _DAY_US
    by = _NAMES[1] if still == "there" and accepted_us is not None else None
    made = Succession("suc_1", _agent().id, _NAMES[0], 0, SuccessionTurn(AskedAs.TEAM, ()), step, by, accepted_us)
    plain = replace(made, accepted_by=None, accepted_us=None)
    for one in SuccessionStep:
        least = due_at(plain, one, times)
        assert least <= due_at(made, one, times) <= max(least, (accepted_us or 0) + ACCEPTED_US)
        if by is None:
            assert due_at(made, one, times) == least
    following = next_step(made, times)
    steps = list(SuccessionStep)
    assert (following is None) == (step is steps[-1])
    assert following is None or following[0] is steps[steps.index(step) + 1]


@pytest.mark.requirement("people:succession:steps")
def test_an_agent_at_its_end_needs_no_owner() -> None:
    gone = Organisation({})
    assert ownerless(_agent(), gone)
    assert not ownerless(replace(_agent(), state=AgentState.RETIRED), gone)
    assert not ownerless(replace(_agent(), state=AgentState.RETIRING), gone)
