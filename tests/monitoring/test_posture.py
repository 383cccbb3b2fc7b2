"""What runs is what was approved, or somebody hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.errors import ForbiddenError, InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.monitoring.model import AlertKind, AlertState, RemediationKind, Severity
from accredit.monitoring.posture import NO_BASELINE, posture_from
from accredit.monitoring.remedy import POSTURE_KINDS, remedy_for
from accredit.registry.model import Environment, RestrictionKind, Tier
from tests.monitoring.watch import CREDENTIAL, NOTE, READ, SEARCH, SUBJECT, Watch

OTHER = "sha256:" + "e" * 64


@pytest.mark.requirement("monitoring:baseline:opened")
def test_activation_opens_a_baseline_of_the_posture_and_the_approved_sets() -> None:
    watch = Watch()
    agent = watch.activate()
    baseline = watch.baseline
    assert (baseline.version, baseline.clearance, baseline.open) == (agent.version.digest, SUBJECT, True)
    assert baseline.tools == {READ, SEARCH}
    assert baseline.data == {"internal", "personal"}
    assert baseline.models == {("anthropic", "claude-sonnet-5")}
    assert baseline.prompt == agent.version.manifest["spec"]["prompt"]["digest"]
    assert baseline.destinations == {"http://127.0.0.1:9001"}
    assert baseline.definitions == {tool: watch.fleet.doc("tool", tool)["definition"] for tool in (READ, SEARCH)}
    assert baseline.hours == agent.version.manifest["spec"]["hours"]
    assert baseline.limits == agent.version.manifest["spec"]["limits"]
    assert watch.round() == ()
    assert watch.alerts() == []


@pytest.mark.requirement("monitoring:baseline:approved-pins", "monitoring:posture:definition")
def test_a_tool_pinned_anew_between_approval_and_activation_is_drift_from_the_first_moment() -> None:
    watch = Watch()
    approved = watch.fleet.doc("tool", READ)["definition"]
    pinned = watch.repin(READ)
    watch.activate()
    assert watch.baseline.definitions[READ] == approved != pinned
    (remediation,) = watch.round()
    assert remediation.kind is RemediationKind.QUARANTINE
    assert watch.only(AlertKind.POSTURE_DEFINITION).evidence == {"expected": approved, "seen": pinned}


@pytest.mark.requirement("monitoring:baseline:clearance")
def test_no_baseline_is_opened_in_production_without_a_clearance() -> None:
    watch = Watch()
    agent = watch.agent
    with pytest.raises(ForbiddenError):
        watch.baselines.writes_to_open(watch.control.view, agent, agent.version, None, 1)


@pytest.mark.requirement("monitoring:baseline:closed")
def test_opening_and_closing_a_baseline_twice_is_once() -> None:
    watch = Watch()
    agent = watch.activate()
    view = watch.control.view
    assert watch.baselines.writes_to_open(view, agent, agent.version, SUBJECT, 5) == ()
    made_us = watch.baseline.made_us
    watch.clock.advance(60)
    watch.retire()
    assert watch.baseline.closed_us == watch.clock.now().wall_us > made_us
    assert watch.baselines.writes_to_close(view, agent.id, 9) == ()
    assert watch.baselines.agents() == []
    assert watch.round() == ()


@pytest.mark.requirement("monitoring:baseline:missing")
@pytest.mark.parametrize("how", ["never made", "deleted by hand", "closed"])
def test_an_agent_that_runs_in_production_without_an_open_baseline_is_to_be_quarantined(how: str) -> None:
    watch = Watch()
    if how == "never made":
        watch.rewrite(state="active")
    else:
        agent = watch.activate()
        doc = None if how == "deleted by hand" else {**watch.fleet.doc("baseline", agent.id), "closed_us": 7}
        watch.fleet.put("baseline", agent.id, doc)
    (remediation,) = watch.round()
    assert remediation.kind is RemediationKind.QUARANTINE
    assert watch.alerts() == [(AlertKind.POSTURE_VERSION, NO_BASELINE)]


@pytest.mark.requirement("monitoring:posture:version")
def test_another_version_in_force_than_the_approved_one_is_to_be_quarantined() -> None:
    watch = Watch()
    approved = watch.activate().version.digest
    watch.declare(purpose="Something else altogether")
    candidate = watch.agent.candidate
    assert candidate is not None
    assert watch.round() == ()  # to wait for approval is no drift
    watch.rewrite(version=candidate.digest, candidate=None)
    (remediation,) = watch.round()
    alert = watch.only(AlertKind.POSTURE_VERSION)
    assert (alert.severity, alert.matter) == (Severity.CRITICAL, approved)
    assert alert.evidence == {"expected": approved, "seen": candidate.digest}
    assert (remediation.alert, remediation.agent) == (alert.id, watch.agent.id)
    assert remediation.kind is RemediationKind.QUARANTINE


@pytest.mark.requirement("monitoring:posture:definition")
def test_a_repinned_tool_concerns_every_agent_whose_baseline_has_it_and_no_other() -> None:
    watch = Watch()
    watch.activate()
    assert watch.round() == ()
    watch.repin(NOTE)
    assert watch.round() == ()
    pinned = watch.repin(SEARCH)
    (remediation,) = watch.round()
    assert remediation.why == f"posture-definition: {SEARCH}"
    assert watch.only(AlertKind.POSTURE_DEFINITION).evidence["seen"] == pinned


@pytest.mark.requirement("monitoring:posture:definition")
def test_a_tool_that_is_gone_is_no_drift_for_nothing_can_call_it() -> None:
    watch = Watch()
    watch.activate()
    server = watch.fleet.doc("server", "crm")
    left = [tool for tool in server["tools"] if tool["name"] != "search_orders"]
    watch.fleet.put("server", "crm", {**server, "tools": left})
    assert watch.round() == ()
    assert watch.alerts() == []


@pytest.mark.requirement("monitoring:posture:definition", "monitoring:remediation:table")
@pytest.mark.parametrize("tier", [Tier.LOW, Tier.MEDIUM, Tier.HIGH, None])
def test_the_drifted_tool_of_a_low_agent_is_held_and_any_other_agent_is_quarantined(tier: Tier | None) -> None:
    watch = Watch(tier=tier)
    watch.activate()
    watch.repin(READ)
    (remediation,) = watch.round()
    if tier is Tier.LOW:
        assert remediation.kind is RemediationKind.RESTRICT
        assert (remediation.restriction, remediation.tool) == (RestrictionKind.HOLD, READ)
        assert remediation.for_s == 7 * 86_400
    else:
        assert (remediation.kind, remediation.restriction) == (RemediationKind.QUARANTINE, None)


@pytest.mark.requirement("monitoring:remediation:table")
@given(
    kind=st.sampled_from(AlertKind),
    environment=st.sampled_from(Environment),
    tier=st.sampled_from([*Tier, None]),
)
def test_only_posture_in_production_is_answered_and_never_less_for_a_higher_tier(
    kind: AlertKind, environment: Environment, tier: Tier | None
) -> None:
    remedy = remedy_for(kind, environment, tier)
    posture = kind in POSTURE_KINDS and environment is Environment.PRODUCTION
    by_facet = {AlertKind.POSTURE_ENDPOINT, AlertKind.POSTURE_MODEL, AlertKind.POSTURE_PROMPT}
    told = kind in by_facet and tier is Tier.LOW
    assert (remedy.kind is not RemediationKind.NONE) == (posture and not told)
    urgent = {AlertKind.GHOST, AlertKind.SHARED_KEY}
    assert (remedy.severity is Severity.CRITICAL) == ((posture and not told) or kind in urgent)
    order = [RemediationKind.NONE, RemediationKind.RESTRICT, RemediationKind.QUARANTINE]
    by_tier = [order.index(remedy_for(kind, environment, one).kind) for one in (Tier.LOW, Tier.MEDIUM, Tier.HIGH)]
    assert by_tier == sorted(by_tier)
    assert remedy_for(kind, environment, None) == remedy_for(kind, environment, Tier.HIGH)


@pytest.mark.requirement("running:answered")
@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (AlertKind.POSTURE_VERSION, ("restrict", "quarantine", "quarantine")),
        (AlertKind.POSTURE_DEFINITION, ("restrict", "quarantine", "quarantine")),
        (AlertKind.POSTURE_PROMPT, ("none", "restrict", "quarantine")),
        (AlertKind.POSTURE_MODEL, ("none", "restrict", "quarantine")),
        (AlertKind.POSTURE_TIER, ("restrict", "restrict", "restrict")),
    ],
)
def test_a_difference_is_answered_by_facet_and_tier(kind: AlertKind, answers: tuple[str, str, str]) -> None:
    tiers = (Tier.LOW, Tier.MEDIUM, Tier.HIGH)
    assert tuple(remedy_for(kind, Environment.PRODUCTION, tier).kind.value for tier in tiers) == answers


@pytest.mark.requirement("monitoring:posture:reported")
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"version": OTHER}, AlertKind.POSTURE_VERSION),
        ({"prompt": OTHER}, AlertKind.POSTURE_PROMPT),
        ({"models": [["anthropic", "claude-sonnet-5"], ["openai", "gpt-6"]]}, AlertKind.POSTURE_MODEL),
    ],
)
def test_an_instance_that_reports_something_else_than_approved_is_to_be_quarantined(
    said: dict[str, Any], kind: AlertKind
) -> None:
    watch = Watch()
    agent = watch.activate()
    models = [["anthropic", "claude-sonnet-5"]]
    watch.said(version=agent.version.digest, prompt=watch.baseline.prompt, models=models)
    watch.said(models=[])
    watch.said()
    assert watch.round() == ()
    watch.said(**said)
    (remediation,) = watch.round()
    alert = watch.only(kind)
    assert remediation.kind is RemediationKind.QUARANTINE
    assert alert.evidence["seen"] == next(iter(said.values()))
    assert alert.evidence["credential"] == CREDENTIAL
    assert [posture.credential for posture in watch.monitor.postures(agent.id)] == [CREDENTIAL]
    for value in said.values():
        assert str(value) not in f"{alert.matter}{remediation.why}"


@pytest.mark.requirement("monitoring:posture:one-alert")
def test_an_instance_that_says_ever_new_things_opens_one_alert() -> None:
    watch = Watch()
    watch.activate()
    for number in range(20):
        watch.said(prompt=f"sha256:{number:064x}", models=[["p", f"m{number}"]], version=f"sha256:{number:064x}")
        watch.round()
    kinds = [alert.kind for alert in watch.monitor.alerts()]
    assert sorted(kinds) == [AlertKind.POSTURE_MODEL, AlertKind.POSTURE_PROMPT, AlertKind.POSTURE_VERSION]
    assert len(watch.monitor.postures(watch.agent.id)) == 1
    assert watch.fleet.kinds().count("alert.opened") == 3


@pytest.mark.requirement("monitoring:posture:reported", "monitoring:remediation:table")
def test_outside_of_production_what_an_instance_reports_is_compared_with_the_version_and_told() -> None:
    watch = Watch()
    watch.rewrite(environment="staging", state="submitted")
    watch.said(version=watch.agent.version.digest)
    assert watch.alerts() == []
    watch.said(prompt=OTHER)
    assert watch.round() == ()
    assert watch.only(AlertKind.POSTURE_PROMPT).severity is Severity.WARNING


@pytest.mark.requirement("monitoring:posture:changeover")
def test_for_a_quarter_of_an_hour_after_a_change_instances_may_be_of_the_version_before() -> None:
    watch = Watch()
    before = watch.activate().version.digest
    watch.declare(prompt={"digest": OTHER})
    after = watch.activate().version.digest
    assert before != after
    old = {"version": before, "prompt": watch.fleet.doc("baseline", watch.agent.id)["replaced"]["prompt"]}
    watch.said(**old)
    watch.said(version=after, prompt=OTHER)
    assert watch.round() == ()
    watch.said(version=before, prompt=OTHER)  # neither the one nor the other
    assert len(watch.round()) == 1
    watch.quarantine()
    for alert in watch.monitor.alerts():
        watch.resolve(alert)
    watch.clock.advance(900)
    watch.said(**old)
    watch.round()
    assert (AlertKind.POSTURE_PROMPT, OTHER) in watch.alerts(AlertState.OPEN)


@pytest.mark.requirement("monitoring:posture:bounded")
@given(
    said=st.dictionaries(
        st.sampled_from(["version", "prompt", "models", "purpose"]),
        st.none()
        | st.integers()
        | st.text(max_size=80)
        | st.lists(st.lists(st.text(max_size=200), max_size=3), max_size=60),
    )
)
def test_a_posture_is_read_whole_or_refused(said: dict[str, Any]) -> None:
    try:
        posture = posture_from(AgentId("agt_1"), CREDENTIAL, said, 1)
    except InvalidInputError:
        return
    assert said.keys() <= {"version", "prompt", "models"}
    assert (posture.version, posture.prompt) == (said.get("version"), said.get("prompt"))
    models = said.get("models")
    assert posture.models == (None if models is None else {tuple(model) for model in models})
    assert all(len(name) <= 128 and name.isprintable() for model in posture.models or () for name in model)


@pytest.mark.requirement("monitoring:posture:bounded")
@pytest.mark.parametrize("name", ["", "x" * 129, "gpt\ud800", "gpt\u202e6", "gpt\n6", "gpt\u200b"])
def test_a_model_whose_name_could_not_be_recorded_or_read_is_refused(name: str) -> None:
    watch = Watch()
    watch.activate()
    with pytest.raises(InvalidInputError):
        watch.said(models=[["anthropic", name]])
    assert watch.round() == ()


@pytest.mark.requirement("monitoring:baseline:closed")
def test_what_is_retired_is_compared_with_nothing() -> None:
    watch = Watch()
    watch.activate()
    watch.retire()
    watch.repin(READ)
    assert watch.monitor.check(watch.id) == ()
    assert watch.round() == ()
    assert watch.alerts() == []
