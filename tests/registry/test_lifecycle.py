"""The states of an agent: every event from every state, and the laws of all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.registry.lifecycle import AgentEvent, AgentStep, Inapplicable, after, awaits_candidate, runs
from accredit.registry.model import AgentState, Environment

D, S, P = Environment.DEVELOPMENT, Environment.STAGING, Environment.PRODUCTION
_RUN_STATE = {D: AgentState.DRAFT, S: AgentState.SUBMITTED, P: AgentState.ACTIVE}


def _everything() -> Iterator[tuple[Environment, AgentState, AgentState | None, bool]]:
    for environment, state, candidate in product(Environment, AgentState, (False, True)):
        halted: tuple[AgentState | None, ...] = (None,)
        if state in {AgentState.SUSPENDED, AgentState.QUARANTINED}:
            halted = (_RUN_STATE[environment],)
        if state is AgentState.QUARANTINED:
            halted = (*halted, AgentState.SUSPENDED)
        yield from ((environment, state, one, candidate) for one in halted)


@pytest.mark.requirement("registry:state:table")
@pytest.mark.parametrize(
    ("environment", "events", "state"),
    [
        (P, "submit approve activate", "active"),
        (P, "submit reject submit approve", "approved"),
        (P, "submit withdraw", "draft"),
        (P, "submit approve lapse", "draft"),
        (P, "submit declare", "draft"),
        (P, "submit approve declare", "draft"),
        (P, "submit approve activate declare", "active"),
        (P, "submit approve activate suspend resume", "active"),
        (P, "submit approve activate quarantine lift", "active"),
        (P, "submit approve activate suspend quarantine lift", "suspended"),
        (P, "submit approve activate suspend quarantine lift resume", "active"),
        (P, "submit approve activate quarantine suspend lift", "suspended"),
        (P, "submit approve activate retire retired", "retired"),
        (P, "retire retired", "retired"),
        (S, "submit", "submitted"),
        (S, "submit suspend resume", "submitted"),
        (S, "submit quarantine lift declare", "submitted"),
        (D, "declare", "draft"),
        (D, "suspend declare resume", "draft"),
        (D, "quarantine suspend lift", "suspended"),
        (D, "quarantine retire retired", "retired"),
    ],
)
def test_an_agent_goes_through_its_life_as_the_table_says(environment: Environment, events: str, state: str) -> None:
    now = AgentStep(AgentState.DRAFT)
    for event in events.split():
        step = after(AgentEvent(event), environment, now.state, halted_from=now.halted_from)
        assert isinstance(step, AgentStep), (event, step)
        now = step
    assert now.state == state


@pytest.mark.requirement("registry:state:table")
@pytest.mark.parametrize(
    ("environment", "state", "event"),
    [
        (D, "draft", "submit"),
        (D, "draft", "approve"),
        (D, "draft", "activate"),
        (S, "draft", "activate"),
        (S, "submitted", "approve"),
        (S, "draft", "suspend"),
        (P, "draft", "approve"),
        (P, "draft", "activate"),
        (P, "submitted", "activate"),
        (P, "rejected", "activate"),
        (P, "rejected", "approve"),
        (P, "draft", "suspend"),
        (P, "approved", "quarantine"),
        (P, "active", "resume"),
        (P, "active", "lift"),
        (P, "quarantined", "resume"),
        (P, "suspended", "lift"),
        (P, "suspended", "activate"),
        (P, "quarantined", "activate"),
        (P, "active", "retired"),
        (P, "retiring", "declare"),
        (P, "retired", "submit"),
    ],
)
def test_what_the_table_does_not_know_is_refused_with_a_reason(
    environment: Environment, state: str, event: str
) -> None:
    halted_from = _RUN_STATE[environment] if state in {"suspended", "quarantined"} else None
    refused = after(AgentEvent(event), environment, AgentState(state), halted_from=halted_from)
    assert isinstance(refused, Inapplicable)
    assert refused.why


@pytest.mark.requirement("registry:state:laws")
def test_nothing_leads_back_from_retirement() -> None:
    for (environment, state, halted_from, candidate), event in product(_everything(), AgentEvent):
        step = after(event, environment, state, halted_from=halted_from, candidate=candidate)
        if state is AgentState.RETIRED and isinstance(step, AgentStep):
            assert step.state is AgentState.RETIRED
        if state is AgentState.RETIRING and isinstance(step, AgentStep):
            assert step.state in {AgentState.RETIRING, AgentState.RETIRED}


@pytest.mark.requirement("registry:state:laws")
def test_only_letting_go_and_putting_in_force_make_an_agent_run_that_did_not() -> None:
    starts = set()
    for (environment, state, halted_from, candidate), event in product(_everything(), AgentEvent):
        step = after(event, environment, state, halted_from=halted_from, candidate=candidate)
        if isinstance(step, AgentStep) and runs(environment, step.state) and not runs(environment, state):
            starts.add((environment, event))
    assert starts == {
        *product(Environment, (AgentEvent.RESUME, AgentEvent.LIFT)),
        (S, AgentEvent.SUBMIT),
        (P, AgentEvent.ACTIVATE),
    }


@pytest.mark.requirement("registry:state:laws")
def test_what_stops_an_agent_always_stops_it_and_can_be_repeated() -> None:
    for environment, state, halted_from, candidate in _everything():
        for event in (AgentEvent.SUSPEND, AgentEvent.QUARANTINE, AgentEvent.RETIRE):
            step = after(event, environment, state, halted_from=halted_from, candidate=candidate)
            if runs(environment, state):
                assert isinstance(step, AgentStep)
            if isinstance(step, AgentStep):
                assert not runs(environment, step.state)
                assert not step.takes_candidate
                again = after(event, environment, step.state, halted_from=step.halted_from, candidate=candidate)
                assert again == step


@pytest.mark.requirement("registry:state:laws")
@given(st.sampled_from([D, S, P]), st.lists(st.sampled_from(list(AgentEvent)), max_size=30))
def test_a_suspension_and_a_quarantine_each_end_by_their_own_event_alone(
    environment: Environment, events: list[AgentEvent]
) -> None:
    """The naive version: two flags beside the state, each set and taken away by its own events."""
    now = AgentStep(AgentState.DRAFT)
    suspended = quarantined = False
    for event in events:
        step = after(event, environment, now.state, halted_from=now.halted_from)
        if isinstance(step, Inapplicable):
            continue
        now = step
        suspended = (suspended or event is AgentEvent.SUSPEND) and event is not AgentEvent.RESUME
        quarantined = (quarantined or event is AgentEvent.QUARANTINE) and event is not AgentEvent.LIFT
        if event in {AgentEvent.RETIRE, AgentEvent.RETIRED}:
            suspended = quarantined = False
        assert (now.state is AgentState.QUARANTINED) == quarantined
        assert (AgentState.SUSPENDED in {now.state, now.halted_from}) == suspended
        if suspended or quarantined:
            assert now.halted_from in {_RUN_STATE[environment], AgentState.SUSPENDED}


@pytest.mark.requirement("registry:state:candidate")
def test_judging_a_candidate_leaves_the_agent_running_and_activating_puts_it_in_force() -> None:
    for event in (AgentEvent.SUBMIT, AgentEvent.APPROVE, AgentEvent.REJECT, AgentEvent.WITHDRAW, AgentEvent.LAPSE):
        assert after(event, P, AgentState.ACTIVE, candidate=True) == AgentStep(AgentState.ACTIVE)
    assert after(AgentEvent.ACTIVATE, P, AgentState.ACTIVE, candidate=True) == AgentStep(
        AgentState.ACTIVE, takes_candidate=True
    )
    assert after(AgentEvent.SUBMIT, S, AgentState.SUBMITTED, candidate=True) == AgentStep(
        AgentState.SUBMITTED, takes_candidate=True
    )


@pytest.mark.requirement("registry:state:candidate")
def test_a_new_approval_lifts_a_quarantine_and_no_suspension() -> None:
    active, suspended, quarantined = AgentState.ACTIVE, AgentState.SUSPENDED, AgentState.QUARANTINED
    activate = AgentEvent.ACTIVATE
    lifted = after(activate, P, quarantined, halted_from=active, candidate=True)
    assert lifted == AgentStep(active, takes_candidate=True)
    still = AgentStep(suspended, active, takes_candidate=True)
    assert after(activate, P, quarantined, halted_from=suspended, candidate=True) == still
    assert after(activate, P, suspended, halted_from=active, candidate=True) == still


@pytest.mark.requirement("registry:state:candidate")
def test_only_what_ran_outside_of_development_has_a_candidate() -> None:
    having = {(environment, state) for environment, state in product(Environment, AgentState)
              if awaits_candidate(environment, state)}  # fmt: skip
    halted = (AgentState.SUSPENDED, AgentState.QUARANTINED)
    assert having == {
        *product((S,), (AgentState.SUBMITTED, AgentState.APPROVED, *halted)),
        *product((P,), (AgentState.ACTIVE, *halted)),
    }
