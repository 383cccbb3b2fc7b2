"""A tier that rises under an agent in production: told once, held while it lasts, over when it is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.monitoring.model import Alert, AlertKind, AlertState, PresentTier, RemediationKind, Severity
from accredit.monitoring.posture import drift_of_tier
from accredit.monitoring.tiers import TierRounds
from accredit.policy.releases import CURRENT
from accredit.registry import rows
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Agent, AgentState, Environment, RestrictionKind, Tier
from accredit.registry.tiering import tier_rank
from tests.monitoring.watch import READ, KilledError, Watch

DAY_S = 86_400
WEEK_S = 7 * DAY_S


def risen() -> Watch:
    """An agent that was approved as low and is high now; nobody looked yet."""
    watch = Watch(tier=Tier.LOW)
    watch.activate()
    assert watch.round() == ()
    watch.tier = Tier.HIGH
    changed(watch)
    return watch


def changed(watch: Watch) -> None:
    """Something that many tiers rest on."""
    watch.fleet.put(CURRENT, "release", {"digest": "sha256:" + "0" * 64})


def of_tier(watch: Watch, state: AlertState | None = None) -> list[Alert]:
    return [one for one in watch.monitor.alerts(state=state) if one.kind is AlertKind.POSTURE_TIER]


# -- what is drift


@pytest.mark.requirement("monitoring:tier:risen")
@pytest.mark.parametrize("approved", [None, *Tier])
@pytest.mark.parametrize("now", [None, *Tier])
def test_more_than_it_was_approved_under_is_drift_and_no_tier_is_more_than_any(
    approved: Tier | None, now: Tier | None
) -> None:
    agent = replace(Watch(tier=Tier.LOW).activate(), tier=approved)
    found = drift_of_tier(agent, PresentTier(now, ("external",), () if now else ("an agreement has expired",)), 5)
    above = approved is not None and (now is None or tier_rank(now) > tier_rank(approved))
    assert (found is not None) == above
    if found is not None:
        assert approved is not None
        assert (found.kind, found.matter, found.at_us) == (AlertKind.POSTURE_TIER, approved.value, 5)
        assert found.evidence["seen"] == (now.value if now else None)
        assert found.evidence["expected"] == approved.value
        assert found.evidence["floors"] == ["external"]
    for state in AgentState:
        for environment in Environment:
            elsewhere = replace(agent, state=state, environment=environment)
            if (environment, state) != (Environment.PRODUCTION, AgentState.ACTIVE):
                assert drift_of_tier(elsewhere, PresentTier(now), 5) is None


# -- told, held, over


@pytest.mark.requirement("monitoring:tier:once", "monitoring:remediation:table")
def test_one_alert_is_opened_and_asks_for_every_call_to_be_held_until_the_agent_is_approved_anew() -> None:
    watch = risen()
    (due,) = watch.round()
    (alert,) = of_tier(watch)
    assert (alert.severity, alert.state, alert.remedied) == (Severity.CRITICAL, AlertState.OPEN, False)
    assert (due.alert, due.kind, due.restriction, due.tool) == (
        alert.id,
        RemediationKind.RESTRICT,
        RestrictionKind.HOLD,
        None,
    )
    assert (due.for_s, due.until_approved) == (WEEK_S, True)
    watch.remedied(due)
    for tier in (Tier.MEDIUM, None, Tier.HIGH):  # further up and down again, always above what was approved
        watch.tier = tier
        changed(watch)
        assert watch.round() == ()
    assert [one.id for one in of_tier(watch)] == [alert.id]
    written = watch.control.transactions
    watch.restart()
    assert watch.round() == ()
    assert watch.control.transactions == written


@pytest.mark.requirement("monitoring:tier:renewed")
def test_the_answer_is_given_again_a_day_before_it_ends_as_long_as_nothing_is_over() -> None:
    watch = risen()
    watch.remedied(*watch.round())
    watch.clock.advance(6 * DAY_S - 1)
    assert watch.round() == ()
    watch.clock.advance(1)
    watch.restart()  # nothing has changed: the round alone comes by
    for turn in range(1, 4):
        (due,) = watch.round()
        (alert,) = of_tier(watch)
        assert (due.alert, due.kind, alert.count) == (alert.id, RemediationKind.RESTRICT, 1 + turn)
        assert watch.round() == (due,)  # until it is done
        watch.remedied(due)
        assert watch.round() == ()
        watch.clock.advance(6 * DAY_S)
    assert watch.fleet.kinds().count("alert.opened") == 1


@pytest.mark.requirement("monitoring:tier:over")
def test_what_is_put_right_ends_the_alert_and_asks_for_its_hold_to_be_lifted() -> None:
    watch = risen()
    watch.remedied(*watch.round())
    watch.tier = Tier.LOW
    changed(watch)
    (due,) = watch.round()
    (alert,) = of_tier(watch)
    assert (alert.state, alert.closed_us, alert.by) == (AlertState.RESOLVED, watch.clock.now().wall_us, None)
    assert (due.kind, due.alert) == (RemediationKind.LIFT, alert.id)
    watch.restart()
    assert [one.kind for one in watch.round()] == [RemediationKind.LIFT]  # until it is done
    watch.remedied(due)
    assert watch.round() == ()
    watch.tier = Tier.MEDIUM
    changed(watch)
    (again,) = watch.round()
    assert (again.kind, again.alert == alert.id) == (RemediationKind.RESTRICT, False)


@pytest.mark.requirement("monitoring:tier:over", "monitoring:alert:again")
def test_what_a_person_resolves_while_it_is_still_so_lifts_nothing_and_is_told_anew() -> None:
    watch = risen()
    watch.remedied(*watch.round())
    (alert,) = of_tier(watch)
    watch.resolve(alert, "seen")
    (due,) = watch.round()
    assert (due.kind, due.alert == alert.id) == (RemediationKind.RESTRICT, False)


@pytest.mark.requirement("monitoring:tier:approved-anew")
@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("answered", [True, False])
def test_a_new_version_put_in_force_ends_the_alert_whatever_its_tier(tier: Tier, *, answered: bool) -> None:
    watch = risen()
    due = watch.round()
    if answered:
        watch.remedied(*due)
    watch.tier = tier
    watch.declare(purpose="Something that was looked at anew")
    watch.activate()
    assert [one.kind for one in watch.monitor.open_remediations()] == [], "a hold would follow the approval"
    assert [one.kind for one in watch.round()] == [RemediationKind.LIFT]
    assert of_tier(watch, AlertState.OPEN) == []


@pytest.mark.requirement("monitoring:tier:approved-anew")
def test_a_tier_that_rises_again_right_after_a_new_approval_is_another_alert() -> None:
    watch = risen()
    watch.remedied(*watch.round())
    (before,) = of_tier(watch)
    watch.tier = Tier.LOW
    watch.clock.advance(1)
    watch.declare(purpose="Something that was looked at anew")
    watch.activate()  # which ends the hold
    watch.tier = Tier.HIGH  # before anybody looked
    assert [one.kind for one in watch.round()] == [RemediationKind.LIFT, RemediationKind.RESTRICT]
    (after,) = of_tier(watch, AlertState.OPEN)
    assert after.id != before.id


@pytest.mark.requirement("monitoring:tier:once")
@pytest.mark.parametrize("event", [AgentEvent.SUSPEND, AgentEvent.QUARANTINE])
def test_an_agent_that_does_not_run_is_told_of_once_it_runs_again(event: AgentEvent) -> None:
    watch = risen()
    watch.fleet.move(watch.agent, event)
    assert watch.round() == ()
    assert of_tier(watch) == []
    watch.fleet.move(watch.agent, AgentEvent.RESUME if event is AgentEvent.SUSPEND else AgentEvent.LIFT)
    assert len(watch.round()) == 1


@pytest.mark.requirement("monitoring:tier:once")
def test_a_retired_agent_has_nothing_left_to_hold() -> None:
    watch = risen()
    assert len(watch.round()) == 1
    watch.retire()
    assert watch.round() == ()
    (alert,) = of_tier(watch)
    assert alert.remedied


@pytest.mark.requirement("monitoring:round:kill", "monitoring:tier:once", "monitoring:tier:over")
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_write_the_alert_is_neither_lost_nor_doubled_and_its_end_neither(when: str) -> None:
    for after_nth in range(1, 9):
        watch = Watch(tier=Tier.LOW)
        watch.activate()
        watch.round()
        watch.control.dies_at = (watch.control.transactions + after_nth, when)

        def persist(watch: Watch = watch) -> None:
            """As the lifecycle does: every answer is carried out and noted, over however many processes."""
            for _ in range(4):
                try:
                    watch.restart()
                    watch.remedied(*watch.round())
                except KilledError:
                    watch.control.dies_at = None

        watch.tier = Tier.HIGH
        persist()
        assert [(one.state, one.remedied) for one in of_tier(watch)] == [(AlertState.OPEN, True)]
        watch.tier = Tier.LOW
        persist()
        assert [(one.state, one.remedied) for one in of_tier(watch)] == [(AlertState.RESOLVED, True)]
        assert watch.fleet.kinds().count("alert.opened") == 1


# -- what cannot be known


@pytest.mark.requirement("monitoring:tier:unknown")
def test_a_tier_that_cannot_be_computed_ends_nothing_and_is_compared_as_soon_as_it_can_be() -> None:
    watch = risen()
    watch.remedied(*watch.round())
    watch.unknown.add(watch.id)
    watch.tier = Tier.LOW
    for _ in range(3):
        assert watch.round() == ()
    assert [one.state for one in of_tier(watch)] == [AlertState.OPEN]
    watch.unknown.clear()
    assert [one.kind for one in watch.round()] == [RemediationKind.LIFT]


@pytest.mark.requirement("monitoring:tier:unknown", "monitoring:posture:definition")
def test_an_agent_whose_tier_cannot_be_computed_is_judged_as_the_highest_and_stops_no_round() -> None:
    watch = Watch(tier=Tier.LOW)
    watch.activate()
    watch.unknown.add(watch.id)
    watch.repin(READ)
    (due,) = watch.round()
    assert due.kind is RemediationKind.QUARANTINE


@pytest.mark.requirement("monitoring:tier:unknown")
def test_whatever_keeps_a_tier_from_being_computed_no_round_ends_in_it() -> None:
    for error in (InvalidInputError, ConflictError, UnavailableError):
        watch = risen()

        def fails(agent: Agent, error: type[AccreditError] = error) -> PresentTier:
            raise error(Code.ENGINE_FAILED, "a grant does not compile")

        watch.monitor._tier_of = fails
        assert watch.round() == ()


# -- whose turn it is


class Crowd:
    """Many agents in production, as far as it matters whose turn it is."""

    def __init__(self, count: int) -> None:
        model = Watch(tier=Tier.LOW).activate()
        names = [AgentId(f"agt_{number:05}") for number in range(count)]
        self.all = {name: replace(model, id=name) for name in names}
        catalogue: Any = self
        self.rounds = TierRounds(lambda: catalogue)

    def agents(self) -> list[Agent]:
        return list(self.all.values())

    def change(self, *writes: tuple[str, str]) -> None:
        made = tuple(Write(kind, key, {"agent": key}) for kind, key in writes)
        self.rounds.follow(Change(Facts("test"), made, Actor(), {}))

    def taken(self, rounds: int) -> Counter[AgentId]:
        """How often each had its turn."""
        seen: Counter[AgentId] = Counter()
        for _ in range(rounds):
            found = self.rounds.take()
            assert len(found) == len(set(found)) <= 270
            seen.update(found)
        return seen


@pytest.mark.requirement("monitoring:tier:rounds")
def test_everybody_has_a_turn_in_a_hurry_after_a_change_that_many_rest_on_and_slowly_else() -> None:
    crowd = Crowd(1_000)
    assert set(crowd.taken(4)) == set(crowd.all)
    assert all(len(crowd.rounds.take()) == 20 for _ in range(50))
    for kind in (CURRENT, rows.AGREEMENT, rows.SERVER, rows.TEAM, rows.TOOL):
        crowd.taken(3)  # in the middle of a turn
        crowd.change((kind, "x"))
        assert set(crowd.taken(8)) == set(crowd.all), kind
        assert all(len(crowd.rounds.take()) == 20 for _ in range(50)), kind
    crowd.change((rows.ROLE_GRANT, "x"), (rows.PERSON, "x"), (rows.RESTRICTION, "x"))
    assert len(crowd.rounds.take()) == 20


@pytest.mark.requirement("monitoring:tier:rounds")
def test_a_slow_turn_is_fair() -> None:
    crowd = Crowd(130)
    crowd.taken(20)
    seen = crowd.taken(7 * 10)
    assert set(seen) == set(crowd.all)
    assert set(seen.values()) == {10}


@pytest.mark.requirement("monitoring:tier:rounds")
def test_whom_a_change_names_comes_first_and_so_does_whoever_could_call_it() -> None:
    crowd = Crowd(1_000)
    crowd.taken(60)
    first, caller = AgentId("agt_00998"), AgentId("agt_00999")
    model = crowd.all[caller]
    spec = {**model.version.manifest["spec"], "delegates": [first]}
    crowd.all[caller] = replace(model, version=replace(model.version, manifest={"spec": spec}))
    for kind in (rows.AGENT, rows.INCIDENT):
        crowd.change((kind, first))
        assert set(crowd.rounds.take()[:2]) == {first, caller}
        assert len(crowd.rounds.take()) == 20


@pytest.mark.requirement("monitoring:tier:rounds", "monitoring:tier:unknown")
def test_however_many_are_named_again_and_again_everybody_else_has_a_turn() -> None:
    crowd = Crowd(1_000)
    crowd.taken(60)
    stubborn = [AgentId(f"agt_{number:05}") for number in range(600)]
    seen: Counter[AgentId] = Counter()
    for one in stubborn:
        crowd.rounds.again(one)
    for _ in range(120):
        found = crowd.rounds.take()
        assert len(found) <= 270
        seen.update(found)
        for one in found:
            if one in stubborn:
                crowd.rounds.again(one)
    assert set(seen) == set(crowd.all)
    assert min(seen[one] for one in stubborn) >= 40


@pytest.mark.requirement("monitoring:tier:rounds")
def test_who_does_not_run_in_production_has_no_turn() -> None:
    crowd = Crowd(3)
    halted, elsewhere, running = crowd.all
    crowd.all[halted] = replace(crowd.all[halted], state=AgentState.SUSPENDED)
    crowd.all[elsewhere] = replace(crowd.all[elsewhere], environment=Environment.STAGING, state=AgentState.SUBMITTED)
    assert set(crowd.taken(5)) == {running}
