"""What the log shows for the first time is told once; what is approved or old is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accredit.audit.model import Usage
from accredit.kernel.codes import Code
from accredit.kernel.ids import ToolId
from accredit.monitoring.model import AlertKind, RemediationKind, Severity
from accredit.monitoring.novelty import MANY, UNREGISTERED
from accredit.registry.lifecycle import AgentEvent
from tests.monitoring.watch import CREDENTIAL, NOTE, READ, SEARCH, Watch

_DAY_S = 86_400


@pytest.mark.requirement("monitoring:novelty:tool", "monitoring:novelty:data", "monitoring:novelty:destination")
def test_calls_within_the_approved_sets_are_nothing_new() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.call(READ), watch.call(SEARCH), watch.call(READ, "hold"), watch.call(READ))
    assert watch.round() == ()
    assert watch.alerts() == []


@pytest.mark.requirement("monitoring:novelty:tool", "monitoring:novelty:denial")
def test_a_tool_outside_of_the_approved_set_is_told_of_once_and_answered_by_nobody() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.denied(NOTE), watch.denied(NOTE))
    assert watch.round() == ()
    assert watch.alerts() == [(AlertKind.FIRST_DENIAL, NOTE), (AlertKind.NEW_TOOL, NOTE)]
    alert = watch.only(AlertKind.NEW_TOOL)
    assert (alert.severity, alert.remediation, alert.remedied) == (Severity.WARNING, RemediationKind.NONE, True)
    assert alert.evidence["record"] == alert.position
    assert alert.evidence["expected"] == [READ, SEARCH]
    watch.resolve(alert)
    watch.record(watch.denied(NOTE))
    watch.round()
    assert len(watch.alerts()) == 2  # what was resolved once is not new again


@pytest.mark.requirement("monitoring:novelty:tool", "monitoring:alert:private")
def test_names_that_no_tool_has_are_one_matter_whatever_they_are() -> None:
    watch = Watch()
    watch.activate()
    watch.record(*[watch.denied(None) for _ in range(5)])
    watch.round()
    assert watch.alerts() == [(AlertKind.FIRST_DENIAL, UNREGISTERED), (AlertKind.NEW_TOOL, UNREGISTERED)]
    assert "fp_0123" not in repr(watch.monitor.alerts())


@pytest.mark.requirement("monitoring:novelty:denial")
def test_being_busy_is_no_first_denial_and_a_hold_is_none_either() -> None:
    watch = Watch()
    watch.activate()
    watch.record(
        watch.denied(READ, Code.RATE_LIMITED), watch.denied(READ, Code.AUDIT_UNAVAILABLE), watch.call(READ, "hold")
    )
    watch.round()
    assert watch.alerts() == []
    watch.record(watch.denied(READ, Code.OUTSIDE_HOURS))
    watch.round()
    alert = watch.only(AlertKind.FIRST_DENIAL)
    assert (alert.severity, alert.evidence["code"]) == (Severity.INFO, "outside_hours")


@pytest.mark.requirement("monitoring:novelty:destination")
def test_a_server_that_moved_is_a_new_destination_once_a_call_went_there() -> None:
    watch = Watch()
    watch.activate()
    watch.fleet.put("server", "crm", {**watch.fleet.doc("server", "crm"), "url": "https://elsewhere.example/mcp"})
    moved = (AlertKind.POSTURE_ENDPOINT, "http://127.0.0.1:9001")
    watch.record(watch.denied(READ, Code.RATE_LIMITED))
    watch.round()
    assert watch.alerts() == [moved]
    watch.record(watch.call(READ), watch.call(SEARCH))
    watch.round()
    assert watch.alerts() == [(AlertKind.NEW_DESTINATION, "https://elsewhere.example:443"), moved]


@pytest.mark.requirement("monitoring:novelty:data")
def test_a_tool_that_carries_another_data_class_than_approved_is_told_of() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.denied(READ, Code.DATA_CLASS_UNDECLARED, data_classes=("financial", "personal")))
    watch.round()
    assert (AlertKind.NEW_DATA_CLASS, "financial") in watch.alerts()
    watch.record(watch.call(READ, data_classes=("phi",)))
    watch.round()
    assert (AlertKind.NEW_DATA_CLASS, "phi") in watch.alerts()


@pytest.mark.requirement("monitoring:novelty:data")
def test_a_data_class_that_the_gateway_takes_out_is_not_reached() -> None:
    watch = Watch()
    watch.activate()
    version = watch.fleet.doc("version", watch.agent.version.digest)
    spec = version["manifest"]["spec"]
    tools = [{**grant, "mask": ["personal"] if grant["tool"] == READ else []} for grant in spec["tools"]]
    masked = {**version["manifest"], "spec": {**spec, "tools": tools, "data": ["internal"]}}
    watch.fleet.put("version", "sha256:masked", {**version, "digest": "sha256:masked", "manifest": masked})
    baseline = {**watch.fleet.doc("baseline", watch.id), "data": ["internal"]}
    watch.fleet.put("baseline", watch.id, baseline)
    watch.record(watch.call(READ, version="sha256:masked"))
    watch.round()
    assert watch.alerts() == []
    watch.record(watch.call(READ, version="sha256:unknown"))  # whose grants cannot be read masks nothing
    watch.round()
    assert watch.alerts() == [(AlertKind.NEW_DATA_CLASS, "personal")]


@pytest.mark.requirement("monitoring:novelty:history")
def test_what_the_days_before_monitoring_began_show_is_not_new() -> None:
    watch = Watch()
    watch.activate()
    for row in list(watch.control.view.scan("monitoring")):
        watch.fleet.put("monitoring", row.key, None)
    watch.record(watch.denied(NOTE))
    watch.clock.advance(_DAY_S)
    watch.restart()
    watch.record(watch.denied(NOTE))
    watch.round()
    assert watch.alerts() == []
    watch.record(watch.denied(ToolId("crm/unlisted")))
    watch.round()
    assert [kind for kind, _ in watch.alerts()] == [AlertKind.FIRST_DENIAL, AlertKind.NEW_TOOL]


@pytest.mark.requirement("monitoring:novelty:tool")
def test_a_new_version_that_was_approved_brings_nothing_new() -> None:
    watch = Watch()
    watch.activate()
    watch.declare(data=["internal", "personal", "confidential"])
    watch.activate()
    watch.record(watch.call(READ, data_classes=("confidential",)))
    assert watch.round() == ()
    assert watch.alerts() == []


@pytest.mark.requirement("monitoring:novelty:bounded")
def test_an_agent_that_tries_very_many_tools_opens_a_bounded_number_of_alerts() -> None:
    watch = Watch()
    watch.activate()
    watch.record(*[replace(watch.denied(NOTE), facts=watch.denied(ToolId(f"crm/t{n}")).facts) for n in range(200)])
    watch.round()
    kinds = [alert.kind for alert in watch.monitor.alerts()]
    assert {kinds.count(kind) for kind in (AlertKind.NEW_TOOL, AlertKind.FIRST_DENIAL)} == {51}
    assert (AlertKind.NEW_TOOL, MANY) in watch.alerts()


@pytest.mark.requirement("monitoring:ghost")
@pytest.mark.parametrize("ended", [False, True], ids=["retiring", "retired"])
def test_a_retired_agents_credential_in_use_is_told_of_at_once(ended: bool) -> None:  # noqa: FBT001 - a parameter
    watch = Watch()
    watch.activate()
    watch.record(watch.turned_away())  # revoked, but its agent lives
    watch.round()
    assert watch.alerts() == []
    if ended:
        watch.retire()
    else:
        watch.fleet.move(watch.agent, AgentEvent.RETIRE)
    watch.record(watch.turned_away(None), watch.turned_away("crd_of_nobody"), watch.turned_away())
    assert watch.round() == ()
    alert = watch.only(AlertKind.GHOST)
    assert (alert.agent, alert.matter, alert.severity) == (watch.id, CREDENTIAL, Severity.CRITICAL)
    assert alert.evidence == {"code": "credential_revoked", "record": alert.position}
    assert len(watch.alerts()) == 1


@pytest.mark.requirement("monitoring:ghost", "incident:ghost")
def test_a_call_that_was_let_through_after_its_agent_was_retired_is_a_ghosts_and_one_from_before_is_not() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.call(READ))  # read only after it is retired
    watch.clock.advance(1)
    watch.retire()
    watch.round()
    assert [kind for kind, _ in watch.alerts() if kind is AlertKind.GHOST] == []
    watch.clock.advance(1)
    watch.record(watch.call(READ), watch.denied(READ, Code.AGENT_NOT_ACTIVE))
    watch.round()
    alert = watch.only(AlertKind.GHOST)
    assert (alert.agent, alert.evidence["decision"], alert.count) == (watch.id, "allow", 1)


@pytest.mark.requirement("monitoring:posture:definition", "monitoring:alert:dedupe")
def test_a_refusal_for_a_drifted_definition_is_to_be_quarantined_once_and_counted() -> None:
    watch = Watch()
    watch.activate()
    watch.record(*[watch.denied(READ, Code.DEFINITION_CHANGED) for _ in range(3)])
    (remediation,) = watch.round()
    alert = watch.only(AlertKind.POSTURE_DEFINITION)
    assert (alert.matter, alert.count, len(watch.alerts())) == (READ, 3, 1)
    assert remediation.kind is RemediationKind.QUARANTINE
    assert alert.evidence["expected"] == watch.baseline.definitions[READ]


@pytest.mark.requirement("monitoring:usage")
def test_use_tells_what_is_granted_what_was_used_and_what_was_denied() -> None:
    watch = Watch()
    watch.activate()
    watch.record(watch.call(READ), watch.call(READ), watch.denied(NOTE), watch.denied(None))
    day = watch.clock.now().wall_us // 86_400_000_000
    watch.clock.advance(_DAY_S)
    watch.record(watch.denied(READ, Code.OUTSIDE_HOURS), replace(watch.call(READ), usage=Usage(errors=1, cost_nanos=7)))
    note, read, search, others = watch.monitor.usage(watch.agent)
    assert (note.tool, note.granted, note.denies, note.last_used_day) == (NOTE, False, 1, None)
    assert (read.tool, read.granted, read.allows, read.denies) == (READ, True, 2, 1)
    assert (read.errors, read.cost_nanos, read.last_used_day) == (1, 7, day)
    assert read.last_us == watch.clock.now().wall_us
    assert (search.granted, search.allows, search.last_us) == (True, 0, None)
    assert (others.tool, others.granted, others.denies) == (None, False, 1)
    today = watch.monitor.usage(watch.agent, days=1)
    assert [(use.tool, use.allows) for use in today] == [(READ, 0), (SEARCH, 0)]
