"""Agents through the registry: states, candidates, names, authors, and what a change of an agent's row carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accredit.audit.ports import Actor, StateView, Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.registry.errors import ManifestError
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Agent, AgentState
from accredit.registry.service import ApplyOutcome
from tests.registry.fleet import ADMIN, Doubted, Fleet, agent_document, changed, elsewhere, example, server_document

DOCUMENT = elsewhere(agent_document())
OTHER = changed(DOCUMENT, "spec.reach", "company")


def _active(fleet: Fleet) -> Agent:
    agent = fleet.agent("production")
    for event in (AgentEvent.SUBMIT, AgentEvent.APPROVE, AgentEvent.ACTIVATE):
        agent = fleet.move(agent, event)
    return agent


def _refused(fleet: Fleet, agent: Agent, event: AgentEvent, **more: Any) -> AccreditError:
    events = len(fleet.control.events)
    with pytest.raises(AccreditError) as refused:
        fleet.move(agent, event, **more)
    assert len(fleet.control.events) == events
    return refused.value


@pytest.mark.requirement("registry:state:recorded")
def test_each_step_is_a_record_with_states_version_and_actor_and_the_words_sealed() -> None:
    fleet = Fleet.in_production()
    agent = _active(fleet)
    fleet.move(agent, AgentEvent.SUSPEND, reason="Dana is on leave")
    *steps, suspended = fleet.control.events[-4:]
    assert [event.facts.kind for event in steps] == ["agent.submitted", "agent.approved", "agent.activated"]
    assert suspended.facts.kind == "agent.suspended"
    assert suspended.narrowing
    assert (suspended.facts.agent, suspended.facts.version) == (agent.id, agent.version.digest)
    assert suspended.body == {"from": "active", "to": "suspended"}
    assert [part.value for part in suspended.parts] == [{"reason": "Dana is on leave"}]
    assert not any(event.narrowing for event in steps)


@pytest.mark.requirement("registry:state:recorded")
def test_a_step_that_was_done_already_is_no_second_record() -> None:
    fleet = Fleet.in_production()
    agent = fleet.move(_active(fleet), AgentEvent.SUSPEND)
    events = len(fleet.control.events)
    assert fleet.move(agent, AgentEvent.SUSPEND).state is AgentState.SUSPENDED
    assert len(fleet.control.events) == events


@pytest.mark.requirement("registry:state:recorded")
def test_what_goes_with_a_step_is_written_with_it_or_keeps_it_from_happening() -> None:
    fleet = Fleet.in_production()
    agent = fleet.agent("production")
    fleet.move(agent, AgentEvent.SUBMIT, also=lambda _: [Write("other", "a", {"n": 1})])
    assert [write.kind for write in fleet.control.events[-1].writes] == ["agent", "other"]

    def never(_: StateView) -> list[Write]:
        raise ForbiddenError(Code.CLEARANCE_REQUIRED, "not cleared")

    assert _refused(fleet, agent, AgentEvent.APPROVE, also=never).code is Code.CLEARANCE_REQUIRED
    assert fleet.agent("production").state is AgentState.SUBMITTED


@pytest.mark.requirement("registry:state:recorded")
def test_a_step_the_state_does_not_allow_is_refused_and_changes_nothing() -> None:
    fleet = Fleet.in_production()
    agent = fleet.agent("production")
    refusal = _refused(fleet, agent, AgentEvent.ACTIVATE)
    assert isinstance(refusal, ConflictError)
    assert refusal.code is Code.TRANSITION_REFUSED
    with pytest.raises(ConflictError):
        fleet.registry.require(agent.id, AgentEvent.ACTIVATE)
    fleet.registry.require(agent.id, AgentEvent.SUBMIT)
    with pytest.raises(NotFoundError):
        asyncio.run(fleet.registry.transition(AgentId("agt_nobody"), AgentEvent.SUBMIT, ADMIN))


@pytest.mark.requirement("registry:state:recorded")
def test_of_two_that_act_at_once_the_second_meets_what_the_first_left() -> None:
    fleet = Fleet.in_production()
    agent = fleet.move(fleet.agent("production"), AgentEvent.SUBMIT)

    async def both() -> tuple[Any, ...]:
        return await asyncio.gather(
            fleet.registry.transition(agent.id, AgentEvent.APPROVE, ADMIN),
            fleet.registry.transition(agent.id, AgentEvent.REJECT, ADMIN),
            return_exceptions=True,
        )

    approved, rejected = asyncio.run(both())
    assert approved is not None
    assert isinstance(rejected, ConflictError)
    assert fleet.agent("production").state is AgentState.APPROVED


@pytest.mark.requirement("registry:state:candidate")
def test_a_version_of_a_running_agent_waits_beside_the_one_in_force_until_it_is_activated() -> None:
    fleet = Fleet.in_production()
    agent = _active(fleet)
    (result,) = fleet.apply(changed(OTHER, "spec.owner", "ann@example.com"))
    waiting = fleet.agent("production")
    assert waiting.version is agent.version
    assert waiting.candidate is not None
    assert (result.version, result.outcome) == (waiting.candidate.digest, ApplyOutcome.UPDATED)
    assert set(result.facets) == {"audience", "owner"}
    assert (waiting.owner, waiting.state) == (agent.owner, AgentState.ACTIVE)
    assert not fleet.registry.in_force(waiting, agent.version)
    assert fleet.apply(changed(OTHER, "spec.owner", "ann@example.com"))[0].outcome is ApplyOutcome.UNCHANGED
    for event in (AgentEvent.SUBMIT, AgentEvent.APPROVE):
        assert fleet.move(waiting, event) == waiting
    old = agent.version.digest
    assert _refused(fleet, waiting, AgentEvent.ACTIVATE, version=old).code is Code.CONFLICT
    now = fleet.move(waiting, AgentEvent.ACTIVATE, version=waiting.candidate.digest)
    assert (now.version, now.candidate, now.state) == (waiting.candidate, None, AgentState.ACTIVE)
    assert now.owner != agent.owner
    assert fleet.registry.in_force(now, now.version)
    assert [one.digest for one in fleet.registry.versions(agent.id)] == [old, now.version.digest]


@pytest.mark.requirement("registry:state:candidate")
def test_declaring_what_is_in_force_takes_the_candidate_back() -> None:
    fleet = Fleet.in_production()
    agent = _active(fleet)
    fleet.apply(OTHER)
    (result,) = fleet.apply(DOCUMENT)
    assert result.outcome is ApplyOutcome.UPDATED
    assert fleet.agent("production").candidate is None
    assert fleet.agent("production").version is agent.version


@pytest.mark.requirement("registry:state:candidate")
def test_what_was_never_in_force_is_replaced_and_must_be_submitted_anew() -> None:
    fleet = Fleet.in_production()
    agent = fleet.agent("production")
    for event in (AgentEvent.SUBMIT, AgentEvent.APPROVE):
        agent = fleet.move(agent, event)
    fleet.apply(OTHER)
    now = fleet.agent("production")
    assert (now.state, now.candidate) == (AgentState.DRAFT, None)
    assert now.version.digest != agent.version.digest


@pytest.mark.requirement("registry:state:candidate")
def test_in_development_what_is_declared_runs_and_in_staging_what_is_submitted() -> None:
    fleet = Fleet.staffed()
    fleet.apply(*example("crm"), agent_document())
    halted = fleet.move(fleet.agent(), AgentEvent.QUARANTINE)
    fleet.apply(changed(agent_document(), "spec.reach", "company"))
    now = fleet.agent()
    assert (now.state, now.halted_from, now.candidate) == (AgentState.QUARANTINED, AgentState.DRAFT, None)
    assert now.version.digest != halted.version.digest
    staging = changed(elsewhere(server_document(), "staging"), "metadata.name", "crm-staging")
    fleet.enact(fleet.apply(staging)[0].proposal)
    document = elsewhere(agent_document(), "staging")
    for index in (0, 1):
        document = changed(document, f"spec.tools.{index}.server", "crm-staging")
    fleet.apply(document)
    submitted = fleet.move(fleet.agent("staging"), AgentEvent.SUBMIT)
    fleet.apply(changed(document, "spec.reach", "company"))
    waiting = fleet.agent("staging")
    assert waiting.version is submitted.version
    assert waiting.candidate is not None
    assert fleet.move(waiting, AgentEvent.SUBMIT).version is waiting.candidate
    assert waiting.promoted_from == now.id


@pytest.mark.requirement("registry:state:names")
def test_retirement_frees_the_name_and_never_the_id() -> None:
    fleet = Fleet.in_production()
    agent = fleet.move(_active(fleet), AgentEvent.RETIRE)
    with pytest.raises(ManifestError) as refused:
        fleet.apply(OTHER)
    assert refused.value.code is Code.TRANSITION_REFUSED
    agent = fleet.move(agent, AgentEvent.RETIRED)
    assert fleet.registry.catalogue.agent_named("production", "support-copilot") is None
    assert fleet.registry.get(agent.id) == agent
    (result,) = fleet.apply(DOCUMENT)
    assert result.outcome is ApplyOutcome.CREATED
    fresh = fleet.agent("production")
    assert fresh.id != agent.id
    assert fresh.state is AgentState.DRAFT
    fleet.put("agent", agent.id, {**fleet.doc("agent", agent.id), "state_us": 5})
    assert fleet.agent("production") == fresh, "a change of the retired one takes no name away"


@pytest.mark.requirement("registry:state:names")
def test_a_promoted_agent_links_the_one_it_came_from() -> None:
    fleet = Fleet.staffed()
    development = changed(server_document(), "metadata.name", "crm-dev")
    document = agent_document()
    for index in (0, 1):
        document = changed(document, f"spec.tools.{index}.server", "crm-dev")
    fleet.apply(development, document)
    fleet.enact(fleet.apply(elsewhere(server_document()))[0].proposal)
    fleet.apply(DOCUMENT)
    promoted = fleet.agent("production")
    assert promoted.promoted_from == fleet.agent().id
    assert promoted.id != fleet.agent().id
    assert promoted.registered_by == ADMIN.person
    assert promoted.registered_us == fleet.clock.now().wall_us
    assert fleet.agent().promoted_from is None


@pytest.mark.requirement("registry:state:authors")
def test_everybody_who_declared_since_the_version_in_force_is_an_author() -> None:
    fleet = Fleet.in_production()
    ann, bob, cat = (Actor(person=f"psn_{name}", credential="tok_1") for name in ("ann", "bob", "cat"))
    agent = _active(fleet)
    assert fleet.registry.authors(agent.id) == {ADMIN.person}
    fleet.apply(OTHER, actor=ann)
    fleet.apply(changed(OTHER, "spec.purpose", "Answer more"), actor=bob)
    assert fleet.registry.authors(agent.id) == {ann.person, bob.person}, "what Ann wrote is in what Bob declared"
    fleet.move(agent, AgentEvent.ACTIVATE)
    fleet.apply(changed(OTHER, "spec.purpose", "Answer less"), actor=cat)
    assert fleet.registry.authors(agent.id) == {cat.person}
    with pytest.raises(NotFoundError):
        fleet.registry.authors(AgentId("agt_nobody"))


@pytest.mark.requirement("registry:state:unproven")
def test_an_agent_whose_row_was_tampered_with_goes_nowhere() -> None:
    control = Doubted()
    fleet = Fleet.in_production(control)
    agent = fleet.agent("production")
    control.doubted = frozenset({("agent", agent.id)})
    with pytest.raises(UnavailableError) as refused:
        fleet.move(agent, AgentEvent.SUBMIT)
    assert refused.value.code is Code.STATE_UNPROVEN
    control.doubted = frozenset({("version", agent.version.digest)})
    assert fleet.move(agent, AgentEvent.SUBMIT).state is AgentState.SUBMITTED


@pytest.mark.requirement("registry:state:unproven")
def test_rows_written_before_candidates_existed_still_count() -> None:
    fleet = Fleet.in_production()
    agent = fleet.agent("production")
    doc = fleet.doc("agent", agent.id)
    old = {"backup_owner", "environment", "name", "owner", "state", "team", "version"}
    fleet.put(
        "agent", agent.id, {key: doc[key] for key in old} | {"history": [{"at_us": 1, "version": doc["version"]}]}
    )
    assert fleet.agent("production").candidate is None
    assert fleet.registry.authors(agent.id) == set()
    fleet.apply(OTHER)
    now = fleet.agent("production")
    assert (now.registered_us, now.registered_by, now.promoted_from) == (0, None, None)
    assert fleet.move(now, AgentEvent.SUBMIT).state is AgentState.SUBMITTED
