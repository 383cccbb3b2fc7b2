"""Alerts over their life, over restarts, and over being killed at any write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.monitoring.model import AlertKind, AlertState, RemediationKind
from accredit.registry.lifecycle import AgentEvent
from tests.monitoring.watch import CREDENTIAL, NOTE, OPERATOR, READ, SEARCH, KilledError, MortalControlLog, Watch

_Shown = list[tuple[str, str, str, int, int, bool]]


def _shown(watch: Watch) -> _Shown:
    return sorted(
        (alert.kind.value, alert.matter, alert.state.value, alert.count, alert.position, alert.remedied)
        for alert in watch.monitor.alerts()
    )


@pytest.mark.requirement("monitoring:round:repeat", "monitoring:alert:dedupe")
def test_a_round_repeated_writes_nothing_and_says_the_same() -> None:
    watch = Watch()
    watch.activate()
    watch.repin(READ)
    watch.record(watch.denied(NOTE), watch.denied(SEARCH, Code.DEFINITION_CHANGED))
    first = watch.round()
    shown, written = _shown(watch), watch.control.transactions
    for _ in range(3):
        assert watch.round() == first
    assert (_shown(watch), watch.control.transactions) == (shown, written)


@pytest.mark.requirement("monitoring:alert:lifecycle")
def test_an_alert_is_acknowledged_and_resolved_by_a_person() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.denied(NOTE))
    watch.round()
    alert = watch.only(AlertKind.NEW_TOOL)
    acknowledged = asyncio.run(watch.monitor.acknowledge(alert.id, OPERATOR, "I am looking"))
    assert (acknowledged.state, acknowledged.by, acknowledged.note) == (
        AlertState.ACKNOWLEDGED,
        OPERATOR.person,
        "I am looking",
    )
    resolved = watch.resolve(alert, "a typing mistake")
    assert (resolved.state, resolved.closed_us) == (AlertState.RESOLVED, watch.clock.now().wall_us)
    assert watch.monitor.alert(alert.id) == resolved
    assert [one.kind for one in watch.monitor.alerts(state=AlertState.OPEN)] == [AlertKind.FIRST_DENIAL]
    for again in (watch.monitor.acknowledge, watch.monitor.resolve):
        with pytest.raises(ConflictError):
            asyncio.run(again(alert.id, OPERATOR))
    with pytest.raises(NotFoundError):
        asyncio.run(watch.monitor.resolve("alr_none", OPERATOR))
    with pytest.raises(InvalidInputError):
        asyncio.run(watch.monitor.resolve(watch.only(AlertKind.FIRST_DENIAL).id, OPERATOR, "x" * 2_001))


@pytest.mark.requirement("monitoring:alert:private")
def test_nothing_a_person_writes_or_an_instance_says_stands_in_clear() -> None:
    watch = Watch()
    watch.activate()
    watch.said(models=[["hostile", "words"]])
    watch.round()
    watch.quarantine()
    watch.resolve(watch.only(AlertKind.POSTURE_MODEL), "kim@example.com did it")
    for change in watch.control.events:
        clear = repr((change.facts, change.body, change.actor, [write.key for write in change.writes]))
        assert "hostile" not in clear
        assert "kim@" not in clear
    (doc,) = [row.doc for row in watch.control.view.scan("alert")]
    assert doc["salt"]  # or its digest, which stands in clear, could be guessed
    opened = next(change for change in watch.control.events if change.facts.kind == "alert.opened")
    assert opened.facts.agent == watch.id


@pytest.mark.requirement("monitoring:alert:again", "monitoring:remediation:persists")
def test_drift_that_is_resolved_and_still_there_is_told_and_answered_anew() -> None:
    watch = Watch()
    watch.activate()
    watch.repin(READ)
    (due,) = watch.round()
    first = watch.only(AlertKind.POSTURE_DEFINITION)
    with pytest.raises(ConflictError, match="was not carried out yet"):
        watch.resolve(first)
    watch.quarantine()
    watch.remedied(due)
    assert watch.round() == ()
    watch.resolve(first, "the new definition is fine")
    watch.fleet.move(watch.agent, AgentEvent.LIFT)
    (again,) = watch.round()
    assert again.alert != first.id
    assert len(watch.alerts()) == 2


@pytest.mark.requirement("monitoring:alert:again")
def test_a_new_baseline_ends_the_drift() -> None:
    watch = Watch()
    watch.activate()
    watch.repin(SEARCH)
    (due,) = watch.round()
    watch.quarantine()
    watch.remedied(due)
    watch.declare(purpose="The same, with the new definition")
    watch.fleet.move(watch.agent, AgentEvent.LIFT)
    watch.activate()
    watch.resolve(watch.only(AlertKind.POSTURE_DEFINITION))
    assert watch.round() == ()
    assert watch.alerts(AlertState.OPEN) == []


@pytest.mark.requirement("monitoring:remediation:persists")
def test_what_is_to_be_done_outlives_the_process_until_it_is_marked_as_done() -> None:
    watch = Watch()
    watch.activate()
    watch.repin(READ)
    due = watch.round()
    assert [each.kind for each in due] == [RemediationKind.QUARANTINE]
    watch.restart()
    assert watch.monitor.open_remediations() == watch.round() == due
    watch.remedied(*due)
    watch.remedied(*due)
    assert watch.fleet.kinds().count("alert.remedied") == 1
    watch.restart()
    assert watch.round() == ()
    assert watch.only(AlertKind.POSTURE_DEFINITION).remedied


@pytest.mark.requirement("monitoring:remediation:contained")
def test_what_contains_an_agent_answers_every_alert_on_it() -> None:
    watch = Watch()
    watch.activate()
    watch.repin(READ)
    watch.record(watch.denied(SEARCH, Code.DEFINITION_CHANGED))
    assert len(watch.round()) == 2
    watch.quarantine()
    assert watch.round() == ()
    assert all(alert.remedied for alert in watch.monitor.alerts())
    watch.fleet.move(watch.agent, AgentEvent.LIFT)
    assert watch.round() == ()  # whoever lifts it has seen the alerts


@pytest.mark.requirement("monitoring:remediation:contained")
def test_what_is_due_on_a_suspended_agent_waits_until_it_is_resumed() -> None:
    watch = Watch()
    watch.activate()
    watch.fleet.move(watch.agent, AgentEvent.SUSPEND)
    watch.repin(READ)
    assert watch.round() == ()
    assert not watch.only(AlertKind.POSTURE_DEFINITION).remedied
    watch.fleet.move(watch.agent, AgentEvent.RESUME)
    assert [each.kind for each in watch.round()] == [RemediationKind.QUARANTINE]


@pytest.mark.requirement("monitoring:alert:dedupe", "monitoring:ghost")
def test_a_ghost_is_counted_and_told_anew_only_after_it_was_resolved() -> None:
    watch = Watch()
    watch.activate()
    watch.retire()
    watch.record(*[watch.turned_away() for _ in range(3)])
    watch.round()
    alert = watch.only(AlertKind.GHOST)
    assert alert.count == 3
    watch.record(watch.turned_away())  # seen before it is resolved, read after
    watch.resolve(alert)
    watch.round()
    assert len(watch.alerts()) == 1
    watch.clock.advance(60)
    watch.record(watch.turned_away())
    watch.round()
    assert [one.count for one in watch.monitor.alerts()] == [1, 3]


@pytest.mark.requirement("monitoring:round:kill")
def test_counts_are_written_now_and_then_and_counted_again_from_the_log_otherwise() -> None:
    watch = Watch()
    watch.activate()
    watch.retire()
    watch.record(*[watch.turned_away() for _ in range(5)])
    watch.round()
    written = watch.control.transactions
    watch.record(watch.turned_away())
    watch.round()
    assert watch.control.transactions == written
    watch.restart()
    assert watch.only(AlertKind.GHOST).count == 1
    watch.round()
    assert watch.only(AlertKind.GHOST).count == 6
    watch.clock.advance(60)
    watch.round()
    assert watch.control.transactions == written + 1
    watch.restart()
    assert watch.only(AlertKind.GHOST).count == 6
    assert watch.monitor.behind == 0
    watch.record(watch.turned_away())
    watch.round()
    asyncio.run(watch.monitor.close())
    watch.restart()
    assert watch.only(AlertKind.GHOST).count == 7


def _life(watch: Watch) -> list[Callable[[], object]]:
    """Something of everything, in steps that a killed process goes on with."""
    return [
        lambda: watch.record(watch.denied(NOTE), watch.denied(SEARCH, Code.DEFINITION_CHANGED), watch.denied(None)),
        watch.round,
        lambda: watch.record(*[watch.denied(SEARCH, Code.DEFINITION_CHANGED) for _ in range(2)]),
        watch.round,
        lambda: watch.repin(READ),
        lambda: watch.clock.advance(61),
        watch.round,
        lambda: watch.record(watch.turned_away(), watch.turned_away()),
        watch.round,
        lambda: watch.clock.advance(61),
        watch.round,
    ]


@pytest.mark.requirement("monitoring:round:kill")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_write_no_alert_is_lost_doubled_or_counted_twice(moment: str) -> None:
    def lived(dies_at: int | None) -> tuple[_Shown, int]:
        watch = Watch()
        watch.activate()
        gone = {**watch.fleet.doc("agent", watch.id), "name": "gone", "state": "retired"}
        watch.fleet.put("agent", "agt_gone", gone)
        watch.keys[CREDENTIAL] = AgentId("agt_gone")
        written = 0
        for step in _life(watch):
            before = watch.control.transactions
            if step != watch.round:
                step()
                continue
            if dies_at is not None:
                watch.control.dies_at = (before + dies_at - written, moment)
            try:
                watch.round()
            except KilledError:
                dies_at = None
                watch.control.dies_at = None
                watch.restart()
                watch.round()
            written += watch.control.transactions - before
            watch.control.dies_at = None
        return _shown(watch), written

    expected, written = lived(None)
    assert len(expected) >= 6
    for number in range(1, written + 1):
        assert lived(number)[0] == expected, number


@pytest.mark.requirement("monitoring:round:bounded")
def test_a_round_reads_a_bounded_number_of_records_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accredit.monitoring.service._MAX_READ", 30)
    monkeypatch.setattr("accredit.monitoring.service._BATCH", 7)
    watch = Watch()
    watch.activate()
    watch.record(*[watch.call(READ) for _ in range(80)], watch.denied(NOTE))
    read = []
    while watch.monitor.behind:
        before = watch.monitor.behind
        watch.round()
        read.append(before - watch.monitor.behind)
    assert max(read) == 30
    assert (AlertKind.NEW_TOOL, NOTE) in watch.alerts()


@pytest.mark.requirement("monitoring:round:rollback")
def test_a_cursor_that_is_not_proven_skips_nothing_and_repeats_no_alert() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.denied(NOTE))
    watch.round()
    watch.record(watch.denied(SEARCH, Code.OUTSIDE_HOURS))
    watch.fleet.put("monitoring", "cursor", None)
    watch.control.lost.add(("monitoring", "cursor"))
    watch.restart()
    watch.round()
    assert sorted(watch.alerts()) == [
        (AlertKind.FIRST_DENIAL, NOTE),
        (AlertKind.FIRST_DENIAL, SEARCH),
        (AlertKind.NEW_TOOL, NOTE),
    ]


@pytest.mark.requirement("monitoring:round:rollback")
def test_an_alert_deleted_by_hand_is_told_anew() -> None:
    watch = Watch()
    watch.activate()
    watch.repin(READ)
    (due,) = watch.round()
    watch.fleet.put("alert", due.alert, None)
    watch.control.lost.add(("alert", due.alert))
    watch.restart()
    (again,) = watch.round()
    assert again.alert != due.alert
    assert (again.kind, again.why) == (due.kind, due.why)


@pytest.mark.requirement("monitoring:round:rollback")
def test_a_log_put_back_from_a_copy_is_read_from_its_beginning() -> None:
    watch = Watch()
    watch.activate()
    doc = watch.fleet.doc("monitoring", "cursor")
    watch.fleet.put("monitoring", "cursor", {**doc, "position": 1_000})
    watch.record(watch.denied(NOTE))
    watch.restart()
    watch.round()
    assert (AlertKind.NEW_TOOL, NOTE) in watch.alerts()


@pytest.mark.requirement("monitoring:round:kill")
def test_an_alert_that_could_not_be_recorded_is_tried_again_and_none_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.denied(NOTE), watch.denied(SEARCH, Code.OUTSIDE_HOURS))
    watch.repin(READ)

    async def full(self: MortalControlLog, build: object) -> None:
        raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(MortalControlLog, "transact", full)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                watch.round()
    assert watch.alerts() == []
    watch.round()
    assert len(watch.alerts()) == 4
