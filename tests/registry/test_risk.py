from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.kernel.ids import PersonId, ToolId
from accredit.registry import rows
from accredit.registry.model import Agreement, Effect, Incident, Tier, WriteScope
from accredit.registry.tiering import Enforced, Tiering, levels_of, tiering
from tests.registry.fleet import NOW_US, Fleet
from tests.registry.risks import DPA, LOOK, desk, facts_of, fleet_with, handing_on, plain_agent

EFFECTS = ["read", "write", "external", "irreversible", "administer"]
CLASSES = ["public", "internal", "confidential", "personal", "phi"]
LEVELS = {"public": 0, "internal": 1, "confidential": 2, "personal": 3, "phi": 4}
AUDIENCES = ["staff", "employees", "partners", "web", "public"]


def tier(fleet: Fleet, name: str = "helper", **more: Any) -> Tiering:
    return tiering(facts_of(fleet, name, **more))


MASKED = desk(query={"effect": "read", "data": ["internal", "personal"], "fields": {"email": "personal"}})


@pytest.mark.requirement("registry:tier:facts")
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    effects=st.lists(st.sampled_from(EFFECTS), min_size=1, max_size=3),
    carried=st.lists(st.frozensets(st.sampled_from(CLASSES), max_size=2), min_size=3, max_size=3),
    declared=st.frozensets(st.sampled_from(CLASSES), max_size=2),
    autonomy=st.sampled_from(["suggests", "each-act-approved", "acts-with-approval", "acts-unattended"]),
    inputs=st.frozensets(st.sampled_from(AUDIENCES), min_size=1, max_size=2),
    audience=st.sampled_from(AUDIENCES),
    own=st.booleans(),
    masked=st.booleans(),
)
def test_the_facts_are_those_of_the_registered_manifests(
    *,
    effects: list[str],
    carried: list[frozenset[str]],
    declared: frozenset[str],
    autonomy: str,
    inputs: frozenset[str],
    audience: str,
    own: bool,
    masked: bool,
) -> None:
    tools: dict[str, dict[str, Any]] = {}
    for at, effect in enumerate(effects):
        tools[f"t{at}"] = {"effect": effect, "data": sorted(carried[at])}
        tools[f"t{at}"] |= {"fields": {name: name for name in carried[at]}} if masked else {}
        tools[f"t{at}"] |= {"scope": "own"} if own and effect == "write" else {}
    seen = declared if masked else declared.union(*carried[: len(effects)])
    grants = [
        {"server": "desk", "allow": [name], **({"mask": tool["data"]} if masked else {})}
        for name, tool in tools.items()
    ]
    spec: dict[str, Any] = {
        "tools": grants,
        "data": sorted(seen),
        "autonomy": autonomy,
        "inputs": sorted(inputs),
        "audience": audience,
        "reach": "company",
    }
    facts = facts_of(fleet_with(desk(**tools), plain_agent(**spec)))
    strength = {"read": 1, "write": 2 if own else 3, "external": 3, "irreversible": 4, "administer": 4}
    strongest = max(strength[one] for one in effects)
    alone = 3 if strongest >= 3 else 2 if strongest == 2 else 0
    found = levels_of(facts)
    assert found.vector == (
        max((LEVELS[name] for name in seen), default=0),
        strongest,
        max(alone, ["suggests", "each-act-approved", "acts-with-approval", "acts-unattended"].index(autonomy)),
        max(AUDIENCES.index(who) for who in inputs | {audience}),
        3,
    )
    assert (found.external, found.administers) == ("external" in effects, "administer" in effects)
    assert {tool.tool for tool in facts.tools} == {f"desk/{name}" for name in tools}


@pytest.mark.requirement("registry:tier:facts")
def test_a_mask_takes_a_class_out_of_reach_and_the_tier_down() -> None:
    query = {"server": "desk", "allow": ["query"]}
    autonomy = {"autonomy": "acts-unattended", "reach": "company"}
    openly = fleet_with(MASKED, plain_agent(tools=[query], data=["internal", "personal"], **autonomy))
    behind = fleet_with(MASKED, plain_agent(tools=[{**query, "mask": ["personal"]}], data=["internal"], **autonomy))
    assert tier(openly).tier is Tier.HIGH
    assert tier(behind).tier is Tier.MEDIUM


@pytest.mark.requirement("registry:tier:enforced")
def test_a_mask_whose_field_is_registered_no_more_does_not_count() -> None:
    query = {"server": "desk", "allow": ["query"], "mask": ["personal"]}
    fleet = fleet_with(MASKED, plain_agent(tools=[query], data=["internal"]))
    assert tier(fleet).tier is Tier.LOW
    row = fleet.doc(rows.SERVER, "desk")
    entries = [{**entry, "fields": []} for entry in row["tools"]]
    fleet.put(rows.SERVER, "desk", {**row, "tools": entries})
    assert tier(fleet).tier is Tier.HIGH
    fleet.put(rows.SERVER, "desk", None)
    gone = facts_of(fleet).tools[0]
    assert (gone.effect, gone.level, gone.carries) == (None, 3, frozenset({"unknown"}))
    assert tier(fleet).tier is None, "no agreement covers what nobody knows"


@pytest.mark.requirement("registry:tier:enforced")
def test_holds_count_by_what_is_enforced_and_not_by_what_is_declared() -> None:
    note = desk(note={"effect": "write", "data": ["public"]})
    fleet = fleet_with(
        note, plain_agent(tools=[{"server": "desk", "allow": ["note"]}], data=["public"], autonomy="each-act-approved")
    )
    held = Enforced(held=frozenset({ToolId("desk/note")}))
    assert levels_of(facts_of(fleet)).autonomy == 3
    assert levels_of(facts_of(fleet, enforced=lambda _agent, _version: held)).autonomy == 1
    tool = facts_of(fleet).tools[0]
    assert (tool.effect, tool.scope) == (Effect.WRITE, WriteScope.RECORD)


@pytest.mark.requirement("registry:tier:blocks")
def test_sensitive_data_needs_an_agreement_in_force_with_that_supplier_for_those_classes() -> None:
    query = {"server": "desk", "allow": ["query"]}
    fleet = fleet_with(MASKED, plain_agent(tools=[query], data=["internal", "personal"]))
    over = Agreement(DPA.name, DPA.provider, DPA.covers, DPA.document, NOW_US)
    narrow = Agreement(DPA.name, DPA.provider, frozenset({"phi"}), DPA.document, None)
    other = Agreement(DPA.name, "somebody", DPA.covers, DPA.document, None)
    assert tier(fleet).blocks == ()
    assert tier(fleet, agreements={DPA.name: over}, now_us=NOW_US - 1).blocks == ()
    for agreements, words in (
        ({}, "no agreement `dpa-2026-14` is registered"),
        ({DPA.name: over}, "has expired"),
        ({DPA.name: narrow}, "does not cover `personal`"),
        ({DPA.name: other}, "with `somebody`"),
    ):
        found = tier(fleet, agreements=agreements)
        assert found.tier is None
        assert [block.rule for block in found.blocks] == ["no-agreement"]
        assert words in found.blocks[0].reason
    model = {"provider": "anthropic", "model": "claude-sonnet-5"}
    unnamed = fleet_with(MASKED, plain_agent(tools=[query], data=["internal", "personal"], models=[model]))
    assert tier(unnamed).tier is None
    harmless = fleet_with(
        MASKED, plain_agent(tools=[{**query, "mask": ["personal"]}], data=["internal"], models=[model])
    )
    assert tier(harmless).tier is Tier.LOW


@pytest.mark.requirement("registry:tier:blocks")
@pytest.mark.parametrize("change", [{"left": True}, {"bot": True}, None])
def test_an_owner_who_left_or_is_nobody_leaves_no_tier(change: dict[str, Any] | None) -> None:
    fleet = fleet_with(plain_agent())
    assert tier(fleet).tier is Tier.LOW
    owner = PersonId(fleet.registry.catalogue.agent_named("development", "helper").owner)  # type: ignore[union-attr] # registered above
    fleet.put(rows.PERSON, owner, {**fleet.doc(rows.PERSON, owner), **change} if change else None)
    found = tier(fleet)
    assert found.tier is None
    assert [block.rule for block in found.blocks] == ["no-owner"]


@pytest.mark.requirement("registry:tier:blocks")
def test_a_prohibited_use_has_no_tier() -> None:
    use = {"annex3": True, "decidesOnPeople": True, "prohibited": ["social-scoring"]}
    found = tier(fleet_with(plain_agent(use=use)))
    assert found.tier is None
    assert [block.rule for block in found.blocks] == ["prohibited-use"]
    assert {floor.rule for floor in found.floors} == {"annex3", "decision"}


@pytest.mark.requirement("registry:tier:delegates")
def test_an_agent_is_at_least_what_it_can_invoke_however_far_away() -> None:
    mail = desk(send={"effect": "external", "data": ["public"]}, look=LOOK)
    sender = plain_agent("sender", tools=[{"server": "desk", "allow": ["send"]}], data=["public"])
    fleet = fleet_with(mail, sender, plain_agent("middle", delegates=handing_on("sender"), data=["public"]))
    fleet.apply(plain_agent("first", delegates=handing_on("middle"), data=["public"]), plain_agent("alone"))
    assert [tier(fleet, name).tier for name in ("alone", "middle", "first")] == [Tier.LOW, Tier.HIGH, Tier.HIGH]
    # who may call each other do not raise each other by that alone
    fleet.apply(plain_agent("ping", delegates=handing_on("alone"), data=["public"]))
    fleet.apply(plain_agent("alone", delegates=handing_on("ping"), data=["public"]))
    assert [tier(fleet, name).tier for name in ("alone", "ping")] == [Tier.LOW, Tier.LOW]
    middle = fleet.registry.catalogue.agent_named("development", "middle")
    assert middle is not None
    fleet.put(rows.AGENT, middle.id, None)
    assert facts_of(fleet, "first").delegates == ((middle.id, Tier.HIGH),), "whoever is unknown could be anything"


@pytest.mark.requirement("registry:tier:delegates")
def test_whoever_reaches_more_agents_than_can_be_judged_is_high() -> None:
    fleet = fleet_with(desk(look=LOOK), plain_agent("d0"))
    for at in range(1, 202):
        fleet.apply(plain_agent(f"d{at}", delegates=handing_on(f"d{at - 1}"), data=["public"]))
    assert tier(fleet, "d200").tier is Tier.LOW
    assert tier(fleet, "d201").tier is Tier.HIGH


@pytest.mark.requirement("registry:tier:delegates")
def test_a_retired_delegate_can_be_reached_no_more() -> None:
    mail = desk(send={"effect": "external", "data": ["public"]}, look=LOOK)
    sender = plain_agent("sender", tools=[{"server": "desk", "allow": ["send"]}], data=["public"])
    fleet = fleet_with(mail, sender, plain_agent("first", delegates=handing_on("sender"), data=["public"]))
    assert tier(fleet, "first").tier is Tier.HIGH
    ((reached, _),) = facts_of(fleet, "first").delegates
    fleet.put(rows.AGENT, reached, {**fleet.doc(rows.AGENT, reached), "state": "retired"})
    assert tier(fleet, "first").tier is Tier.LOW


@pytest.mark.requirement("registry:tier:facts")
def test_only_an_open_incident_of_the_gravest_severity_raises_the_tier() -> None:
    fleet = fleet_with(plain_agent())
    agent = fleet.registry.catalogue.agent_named("development", "helper")
    assert agent is not None
    grave = Incident("inc_1", agent.id, 1, NOW_US)
    for incident, expected in (
        (grave, Tier.HIGH),
        (Incident("inc_1", agent.id, 1, NOW_US, NOW_US), Tier.LOW),
        (Incident("inc_1", agent.id, 2, NOW_US), Tier.LOW),
    ):
        assert tier(fleet, incidents=lambda _, one=incident: (one,)).tier is expected
