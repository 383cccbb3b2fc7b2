"""What is reported of agents in production: findings for people, counted apart, and ground for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from accredit.audit.model import Entry, Facts, Part
from accredit.monitoring.model import AlertKind, ReportedUse
from tests.monitoring.watch import READ, SEARCH, KilledError, Watch


def _report(watch: Watch, tool: str | None, *, granted: bool, count: int = 1, **changes: Any) -> Entry:
    body = {"count": count, "credential": "crd_1", "granted": granted, "point": None, "unknown_agent": None,
            "unknown_tool": None if tool else "hmac-sha256:00", "used": "tool"} | changes  # fmt: skip
    agent = None if changes.get("unknown_agent") else watch.id
    facts = Facts("reported", agent=agent, environment="production", tool=tool)
    return Entry(facts, watch.clock.now().wall_us, body, (Part("request", {"name": "x"}),), refused=True)


@pytest.mark.requirement("otlp:apart", "otlp:findings")
def test_a_report_in_production_is_a_finding_and_nothing_is_done_on_its_strength() -> None:
    watch = Watch()
    watch.activate()
    baseline, agent = watch.baseline, watch.agent
    watch.record(
        _report(watch, "crm/delete_customer", granted=False),
        _report(watch, None, granted=False),
        _report(watch, None, granted=False, used="model"),
        _report(watch, None, granted=True, used="nothing", unknown_agent="hmac-sha256:11"),
        _report(watch, READ, granted=True, count=3),
    )
    assert watch.round() == ()  # no remediation, in the highest tier
    assert {kind for kind, _ in watch.alerts()} == {
        AlertKind.REPORTED_AGENT,
        AlertKind.REPORTED_MODEL,
        AlertKind.REPORTED_TOOL,
    }
    assert all(alert.remediation.value == "none" and alert.remedied for alert in watch.monitor.alerts())
    assert (watch.baseline, watch.agent) == (baseline, agent)
    assert [use.count for use in watch.monitor.reported(watch.id)] == [1, 3, 2]
    assert all(use.last_us is None for use in watch.monitor.usage(watch.agent))


@pytest.mark.requirement("otlp:apart")
def test_a_report_makes_nothing_old_that_is_measured_later() -> None:
    watch = Watch()
    watch.activate()
    watch.record(_report(watch, "crm/delete_customer", granted=False))
    watch.round()
    watch.record(watch.denied(SEARCH))
    before = set(watch.alerts())
    watch.round()
    assert (AlertKind.FIRST_DENIAL, SEARCH) in set(watch.alerts()) - before


@pytest.mark.requirement("otlp:findings")
def test_a_finding_that_was_resolved_opens_again_when_it_is_reported_again() -> None:
    watch = Watch()
    watch.activate()
    watch.record(_report(watch, None, granted=False))
    watch.round()
    watch.record(_report(watch, None, granted=False))
    watch.round()
    first = watch.only(AlertKind.REPORTED_TOOL)
    assert first.count == 2
    watch.resolve(first)
    watch.clock.advance(60)
    watch.record(_report(watch, None, granted=False))
    watch.round()
    assert watch.alerts().count((AlertKind.REPORTED_TOOL, "unregistered")) == 2


@pytest.mark.requirement("otlp:findings")
def test_any_number_of_names_that_nobody_registered_is_a_bounded_number_of_findings() -> None:
    watch = Watch()
    watch.record(
        *(_report(watch, None, granted=True, used="nothing", unknown_agent=f"hmac-sha256:{n}") for n in range(520))
    )
    watch.round()
    matters = [matter for kind, matter in watch.alerts() if kind is AlertKind.REPORTED_AGENT]
    assert (len(matters), "many" in matters) == (501, True)


@pytest.mark.requirement("otlp:apart", "otlp:durable")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_while_it_counts_counts_nothing_twice_and_loses_nothing(moment: str) -> None:
    watch = Watch()
    watch.activate()
    watch.round()
    watch.record(_report(watch, READ, granted=True, count=3), _report(watch, READ, granted=True, count=4))
    watch.round()
    watch.clock.advance(61)
    watch.control.dies_at = (watch.control.transactions + 1, moment)
    with pytest.raises(KilledError):
        watch.round()
    watch.control.dies_at = None
    watch.restart()
    watch.round()
    (use,) = watch.monitor.reported(watch.id)
    assert (use.tool, use.count) == (READ, 7)
    assert isinstance(use, ReportedUse)


@pytest.mark.requirement("otlp:apart")
def test_a_count_that_the_log_contradicts_does_not_keep_others_from_being_written() -> None:
    watch = Watch()
    watch.activate()
    watch.control.lost.add(("reported_use", watch.id))
    watch.record(_report(watch, READ, granted=True))
    watch.round()
    watch.clock.advance(61)
    watch.record(_report(watch, None, granted=False), _report(watch, None, granted=False))
    watch.round()
    cursor = watch.control.view.get("monitoring", "cursor")
    assert cursor is not None
    assert cursor.doc["position"] == watch.store.size()  # saved, and the row that is not ours to write was left alone
    assert watch.control.view.get("reported_use", watch.id) is None
