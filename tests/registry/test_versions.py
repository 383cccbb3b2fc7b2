"""Versions: canonical, immutable, addressed by digest, with a facet for every field."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accredit.kernel.ids import ServerName, tool_id
from accredit.kernel.money import Money
from accredit.registry.service import ApplyOutcome
from accredit.registry.versions import FACETS
from tests.registry.fleet import ADMIN, Fleet, agent_document, changed, server_document

# every field of an agent's manifest, another value for it, and the facets it belongs to
CHANGES: list[tuple[str, Any, set[str]]] = [
    ("purpose", "Answer tickets", {"purpose"}),
    ("businessService", "care", {"owner"}),
    ("businessService", ..., {"owner"}),
    ("owner", "lee2@example.com", {"owner"}),
    ("backupOwner", ..., {"owner"}),
    ("tools.1.allow", ["search_orders", "add_note"], {"tools"}),
    ("tools.0.when", ..., {"tools"}),
    ("tools.0.when.userRole", "other", {"tools"}),
    ("tools.0.when.sameAs", {}, {"tools"}),
    ("tools.1.hours", ..., {"tools"}),
    ("hours.window", "07:00-18:00", {"tools"}),
    ("hours.days", ["sun", "mon", "tue", "wed", "thu", "fri"], {"tools"}),
    ("data", ["internal", "personal", "public"], {"data"}),
    ("models", [], {"models"}),
    ("models.0.agreement", ..., {"models"}),
    ("prompt.digest", "sha256:" + "0" * 64, {"prompt"}),
    ("autonomy", "suggests", {"autonomy"}),
    ("audience", "staff", {"audience"}),
    ("inputs", ["web"], {"audience"}),
    ("reach", "user", {"audience"}),
    ("use.annex3", True, {"purpose"}),
    ("use.decidesOnPeople", True, {"purpose"}),
    (
        "delegates",
        [{"agent": "helper", "tools": [{"server": "crm", "allow": ["search_orders"]}]}],
        {"delegates"},
    ),
    ("stores", [], {"stores"}),
    ("limits.cost.perDay", "51 USD", {"limits"}),
    ("limits.calls.perMinute", 61, {"limits"}),
    ("limits.timeout.call", "31s", {"limits"}),
    ("limits.timeout.run", "21m", {"limits"}),
    ("limits.concurrency", 5, {"limits"}),
    ("expires", "2027-07-01", {"limits"}),
]

SAME: list[tuple[str, Any]] = [
    ("data", ["personal", "internal"]),
    ("hours.days", ["fri", "mon", "tue", "wed", "thu"]),
    ("limits.timeout.call", "30000ms"),
    ("limits.cost.perDay", "50.00 USD"),
    ("delegates", ...),
    ("owner", "dana@EXAMPLE.com"),
]


def _fleet() -> Fleet:
    fleet = Fleet.registered()
    helper = changed(agent_document(), "metadata.name", "helper")
    fleet.apply({"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "lee2@example.com"}}, helper)
    return fleet


@pytest.mark.requirement("registry:facet:exact")
@pytest.mark.parametrize(("path", "value", "facets"), CHANGES, ids=[f"{path}={value}" for path, value, _ in CHANGES])
def test_changing_a_field_changes_exactly_its_facet(path: str, value: Any, facets: set[str]) -> None:
    fleet = _fleet()
    before = fleet.registry.catalogue.agent_named("development", "support-copilot")
    (result,) = fleet.apply(changed(agent_document(), f"spec.{path}", value))
    after = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert before is not None
    assert after is not None
    assert result.outcome is ApplyOutcome.UPDATED
    assert set(result.facets) == facets
    differing = {name for name in FACETS if before.version.facets[name] != after.version.facets[name]}
    assert differing == facets
    assert before.version.digest != after.version.digest


@pytest.mark.requirement("registry:version:idempotent")
@pytest.mark.parametrize(("path", "value"), SAME, ids=[path for path, _ in SAME])
def test_manifests_that_mean_the_same_are_the_same_version(path: str, value: Any) -> None:
    fleet = Fleet.registered()
    events = len(fleet.control.events)
    (result,) = fleet.apply(changed(agent_document(), f"spec.{path}", value))
    assert result.outcome is ApplyOutcome.UNCHANGED
    assert len(fleet.control.events) == events


@pytest.mark.requirement("registry:facet:exact")
def test_every_field_of_the_canonical_form_belongs_to_exactly_one_facet() -> None:
    agent = Fleet.registered().registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    keys = [key for facet in FACETS.values() for key in facet]
    assert sorted(keys) == sorted(agent.version.manifest["spec"])
    assert set(agent.version.facets) == set(FACETS)


@pytest.mark.requirement("registry:facet:exact")
def test_a_repinned_definition_makes_a_version_that_differs_in_its_tools_alone() -> None:
    fleet = Fleet.registered()
    fleet.offered.tools["read_customer"] = {**fleet.offered.tools["read_customer"], "description": "Reads more."}
    asyncio.run(fleet.registry.repin(ServerName("crm"), None, ADMIN))
    (result,) = fleet.apply(agent_document())
    assert (result.outcome, result.facets) == (ApplyOutcome.UPDATED, ("tools",))


@pytest.mark.requirement("registry:version:immutable")
def test_versions_are_kept_as_they_were_and_a_former_manifest_brings_its_version_back() -> None:
    fleet = Fleet.registered()
    first = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert first is not None
    rows = {row.key: row for row in fleet.control.view.scan("version")}
    fleet.apply(changed(agent_document(), "spec.reach", "user"))
    fleet.apply(agent_document())
    now = fleet.registry.get(first.id)
    assert now is not None
    assert now.version.digest == first.version.digest
    assert [version.digest == first.version.digest for version in fleet.registry.versions(first.id)] == [
        True,
        False,
        True,
    ]
    assert all(fleet.control.view.get("version", key) == row for key, row in rows.items())
    assert len(list(fleet.control.view.scan("version"))) == 2


def test_a_version_holds_grants_limits_and_zone_ready_for_decisions() -> None:
    agent = Fleet.registered().registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    read, search = agent.version.grants
    assert (read.tool, search.tool) == (tool_id("crm", "read_customer"), tool_id("crm", "search_orders"))
    assert read.user_role == "customer-support"
    assert read.same_as == (("input.customer_id", "task.customer_id"),)
    assert read.hours is not None
    assert search.hours is not None
    assert (read.hours.start, read.hours.end) == (8 * 60, 18 * 60)
    assert (search.hours.start, search.hours.end) == (9 * 60, 17 * 60)
    assert agent.version.zone == "Europe/Berlin"
    assert agent.version.data == {"internal", "personal"}
    limits = agent.version.limits
    assert (limits.calls_per_minute, limits.concurrency) == (60, 4)
    assert (limits.call_timeout_s, limits.run_timeout_s) == (30.0, 1200.0)
    assert limits.cost_per_day == Money.parse("50 USD")
    assert agent.version.expires_us == 1_814_400_000_000_000  # the end of 2027-06-30, UTC


def test_an_agent_without_limits_or_hours_gets_the_defaults_and_utc() -> None:
    fleet = Fleet.registered(agent=False)
    document = changed(changed(changed(agent_document(), "spec.limits", ...), "spec.hours", ...), "spec.tools.1", ...)
    fleet.apply(changed(document, "spec.expires", ...))
    agent = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    assert agent.version.zone == "UTC"
    assert agent.version.grants[0].hours is None
    assert agent.version.limits.calls_per_minute == 60
    assert agent.version.limits.cost_per_day is None
    assert agent.version.expires_us is None


def test_equal_grants_of_two_agents_are_one_object() -> None:
    fleet = _fleet()
    one = fleet.registry.catalogue.agent_named("development", "support-copilot")
    other = fleet.registry.catalogue.agent_named("development", "helper")
    assert one is not None
    assert other is not None
    assert one.version.grants[0] is other.version.grants[0]


def test_the_largest_amount_a_manifest_can_name_has_a_canonical_form() -> None:
    fleet = Fleet.registered(agent=False)
    document = changed(server_document(), "spec.tools.add_note.price", "9007199 USD")
    fleet.apply(document)
    tool = fleet.registry.catalogue.tool(tool_id("crm", "add_note"))
    assert tool is not None
    assert tool.price == Money.parse("9007199 USD")
