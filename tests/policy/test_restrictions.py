"""Restrictions, masks and states: what takes away from a decision, and that nothing of it ever gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.ids import ToolId
from accredit.kernel.money import Money
from accredit.policy.entities import principal_facts
from accredit.policy.listing import listed
from accredit.policy.model import HoldNeed, Outcome
from accredit.policy.restrictions import daily_cap, forbidding, restriction_policy, throttle
from accredit.registry.model import (
    Agent,
    AgentState,
    Environment,
    Restriction,
    RestrictionKind,
    Role,
    Tier,
    Tool,
    ToolServer,
)
from tests.policy.world import (
    COPILOT,
    READ,
    REFUND,
    SERVERS,
    SUPPORT_GRANT,
    UPDATE,
    agent,
    ask,
    grant,
    moved,
    office_call,
    server,
    snapshot,
    tool,
)

KIND = RestrictionKind
TWO_HOLDS = (
    '@hold("a") forbid (principal, action in Action::"@write", resource);\n'
    '@hold("b") forbid (principal, action, resource);'
)
STRICTNESS = {Outcome.ALLOW: 0, Outcome.HOLD: 1, Outcome.DENY: 2}
SNAPSHOTS = [
    snapshot(text)
    for text in (
        "",
        "forbid (principal, action, resource);",
        '@hold("crm-owner") forbid (principal, action in Action::"@read", resource);',
        '@hold("crm-owner") forbid (principal, action, resource) when { context.input.customer_id == "c-77" };',
        TWO_HOLDS,
    )
]
TOOLS: dict[ToolId, Tool] = {one.id: one for place in SERVERS for one in place.tools.values()}
CALLS: dict[ToolId, dict[str, Any]] = {
    READ: office_call(),
    UPDATE: office_call(input={"customer_id": "c-77"}),
    REFUND: office_call(input={"amount": 3, "customer_id": "c-77"}),
}


def restriction(kind: RestrictionKind, name: str = "rst_1", tool: ToolId | None = None, **more: Any) -> Restriction:
    return Restriction(name, COPILOT.id, kind, tool, "alr_1", 0, 10, **more)


RESTRICTIONS = st.builds(
    lambda kind, name, tool, rate, role: restriction(kind, name, tool, calls_per_minute=rate, role=role),
    st.sampled_from(KIND),
    st.sampled_from(["rst_1", "rst_2", "rst_3"]),
    st.sampled_from([None, READ, UPDATE, REFUND]),
    st.none() | st.integers(0, 100),
    st.none() | st.sampled_from(Role),
)
LIFTED = st.frozensets(st.sampled_from([f"restriction/rst_{n}" for n in (1, 2, 3, 4)]))


@pytest.mark.requirement("policy:restriction:narrows")
@given(
    st.sampled_from(SNAPSHOTS),
    st.sampled_from(sorted(CALLS)),
    st.lists(RESTRICTIONS, max_size=3, unique_by=lambda one: one.id),
    RESTRICTIONS.map(lambda one: replace(one, id="rst_4")),
    LIFTED,
)
def test_adding_a_restriction_never_allows_more(
    under: Any, on: ToolId, before: list[Restriction], added: Restriction, lifted: frozenset[str]
) -> None:
    def decided(*restrictions: Restriction) -> Any:
        return ask(on=on, context=CALLS[on], restrictions=restrictions, lifted=lifted, under=under)

    plain, more = decided(*before), decided(*before, added)
    assert STRICTNESS[more.outcome] >= STRICTNESS[plain.outcome]
    if plain.outcome is Outcome.DENY:
        assert more.outcome is Outcome.DENY
    if plain.outcome is more.outcome is Outcome.HOLD:
        assert set(plain.needs) <= set(more.needs)
    for one in (plain, more):
        assert bool(one.needs) is (one.outcome is Outcome.HOLD)
        assert not one.lifted or one.outcome is Outcome.ALLOW
    rates = [throttle(restrictions, TOOLS[on]) for restrictions in (before, [*before, added])]
    assert rates[0] is None or (rates[1] is not None and rates[1] <= rates[0])


@pytest.mark.requirement("policy:restriction:narrows")
@given(st.sampled_from(SNAPSHOTS), st.sampled_from(sorted(CALLS)), st.permutations(["rst_1", "rst_2", "rst_3"]))
def test_the_order_of_restrictions_changes_nothing(under: Any, on: ToolId, names: list[str]) -> None:
    kinds = {
        "rst_1": restriction(KIND.HOLD, "rst_1", role=Role.SECURITY),
        "rst_2": restriction(KIND.READ_ONLY, "rst_2"),
        "rst_3": restriction(KIND.DROP_TOOL, "rst_3", READ),
    }
    first = ask(on=on, context=CALLS[on], restrictions=tuple(kinds.values()), under=under)
    assert ask(on=on, context=CALLS[on], restrictions=tuple(kinds[name] for name in names), under=under) == first


@pytest.mark.requirement("policy:restriction:kinds")
def test_a_dropped_tool_is_denied_and_no_other() -> None:
    dropped = restriction(KIND.DROP_TOOL, tool=READ)
    decision = ask(restrictions=(dropped,))
    assert (decision.outcome, decision.code) == (Outcome.DENY, Code.RESTRICTED)
    assert decision.policies == ("restriction/rst_1",)
    assert decision.detail == "`drop-tool`"
    assert decision.slice is not None
    assert ask(on=UPDATE, restrictions=(dropped,)).outcome is Outcome.ALLOW
    assert ask(on=UPDATE, restrictions=(replace(dropped, tool=None),)).code is Code.RESTRICTED
    assert forbidding((dropped,), TOOLS[READ]) == (dropped,)
    assert forbidding((dropped,), TOOLS[UPDATE]) == ()


@pytest.mark.requirement("policy:restriction:kinds")
def test_a_read_only_agent_reads_and_does_nothing_else() -> None:
    only = restriction(KIND.READ_ONLY)
    assert ask(restrictions=(only,)).outcome is Outcome.ALLOW
    assert ask(on=UPDATE, restrictions=(only,)).code is Code.RESTRICTED
    assert ask(on=REFUND, context=CALLS[REFUND], restrictions=(only,)).code is Code.RESTRICTED


@pytest.mark.requirement("policy:restriction:kinds")
def test_a_hold_asks_its_role_beside_whatever_the_policies_ask_for() -> None:
    held = restriction(KIND.HOLD, role=Role.SECURITY)
    alone = ask(restrictions=(held,))
    assert (alone.outcome, alone.code) == (Outcome.HOLD, Code.HELD)
    assert alone.needs == (HoldNeed("restriction/rst_1", "security"),)
    lifted = frozenset({restriction_policy(held)})
    passed = ask(restrictions=(held,), lifted=lifted)
    assert (passed.outcome, passed.lifted) == (Outcome.ALLOW, ("restriction/rst_1",))

    both = ask('@hold("crm-owner") forbid (principal, action, resource);', restrictions=(held,), lifted=lifted)
    (policy,) = [need.policy for need in both.needs]
    assert both.outcome is Outcome.HOLD
    assert policy.startswith("org/rules.cedar@")
    passed = ask(
        '@hold("crm-owner") forbid (principal, action, resource);', restrictions=(held,), lifted=lifted | {policy}
    )
    assert passed.outcome is Outcome.ALLOW
    assert set(passed.lifted) == {policy, "restriction/rst_1"}
    half = ask('@hold("crm-owner") forbid (principal, action, resource);', restrictions=(held,),
               lifted=frozenset({policy}))  # fmt: skip
    assert half.needs == (HoldNeed("restriction/rst_1", "security"),)
    assert half.lifted == ()


@pytest.mark.requirement("policy:restriction:kinds")
def test_a_restriction_that_lacks_what_its_kind_needs_is_the_strictest_of_it() -> None:
    assert ask(restrictions=(restriction(KIND.HOLD),)).code is Code.RESTRICTED
    assert throttle([restriction(KIND.THROTTLE)], TOOLS[READ]) == 0
    assert throttle([restriction(KIND.THROTTLE, tool=UPDATE, calls_per_minute=3)], TOOLS[READ]) is None


@pytest.mark.requirement("policy:restriction:narrows")
def test_what_policies_deny_keeps_its_own_reason() -> None:
    decision = ask(context=office_call(user=None), restrictions=(restriction(KIND.DROP_TOOL),))
    assert decision.code is Code.USER_ROLE_REQUIRED


# -- states


@pytest.mark.requirement("policy:state:runs")
@pytest.mark.parametrize("environment", Environment)
def test_an_agent_runs_in_the_states_of_its_environment_and_in_no_other(environment: Environment) -> None:
    places = tuple(replace(place, environment=environment) for place in SERVERS)
    running = {
        state
        for state in AgentState
        if ask(
            by=moved(COPILOT, environment=environment, state=state, tier=Tier.LOW), under=snapshot("", places)
        ).outcome
        is Outcome.ALLOW
    }
    assert (
        running
        == {
            Environment.DEVELOPMENT: {AgentState.DRAFT},
            Environment.STAGING: {AgentState.SUBMITTED, AgentState.APPROVED},
            Environment.PRODUCTION: {AgentState.ACTIVE},
        }[environment]
    )


@pytest.mark.requirement("policy:state:runs")
def test_in_production_nothing_is_let_through_without_the_tier_it_was_approved_under() -> None:
    places = tuple(replace(place, environment=Environment.PRODUCTION) for place in SERVERS)
    running = moved(COPILOT, environment=Environment.PRODUCTION, state=AgentState.ACTIVE)
    assert ask(by=running, under=snapshot("", places)).outcome is Outcome.DENY
    for tier in Tier:
        under = snapshot('forbid (principal in RiskTier::"high", action, resource);', places)
        outcome = ask(by=moved(running, tier=tier), under=under).outcome
        assert (outcome is Outcome.DENY) is (tier is Tier.HIGH)
    # elsewhere nobody judged it, so it counts as the highest
    assert ask('forbid (principal in RiskTier::"high", action, resource);').outcome is Outcome.DENY
    assert ask('forbid (principal in RiskTier::"low", action, resource);').outcome is Outcome.ALLOW


# -- masks


def masked_world(*fields: tuple[str, str], mask: frozenset[str], data: frozenset[str]) -> tuple[Agent, ToolServer]:
    """An agent whose grant masks, and a server whose tool carries personal and internal data."""
    read = replace(tool(READ, data=frozenset({"personal", "internal"})), fields=fields)
    return agent(grant(READ, mask=mask), data=data), server("crm", read)


PERSONAL = frozenset({"personal"})
INTERNAL = frozenset({"internal"})


@pytest.mark.requirement("policy:data:masked")
def test_a_class_that_the_grant_masks_need_not_be_declared() -> None:
    who, crm = masked_world(("email", "personal"), mask=PERSONAL, data=INTERNAL)
    under = snapshot("", (crm,))
    assert ask(by=who, context={}, under=under).outcome is Outcome.ALLOW
    assert listed(who, READ, under)
    granted = principal_facts(who, under.tools)
    assert [parent.type for parent in granted.parents].count("Grant") == 1


@pytest.mark.requirement("policy:data:masked")
def test_a_mask_of_a_class_that_no_field_places_takes_the_tool_away_whatever_is_declared() -> None:
    for declared in (INTERNAL, INTERNAL | PERSONAL):
        who, crm = masked_world(("note", "internal"), mask=PERSONAL, data=declared)
        decision = ask(by=who, context={}, under=snapshot("", (crm,)))
        assert (decision.code, decision.detail) == (Code.MASK_UNPLACEABLE, "`personal`")
    (crm_tool,) = crm.tools.values()
    assert crm_tool.shown(PERSONAL) == {"personal", "internal"}
    assert not any(parent.type == "Grant" for parent in principal_facts(
        moved(who, version=replace(who.version, data=INTERNAL)), {READ: crm_tool}).parents)  # fmt: skip


@pytest.mark.requirement("policy:data:masked")
def test_a_mask_of_a_class_the_tool_does_not_carry_changes_nothing() -> None:
    who, crm = masked_world(mask=frozenset({"phi"}), data=INTERNAL | PERSONAL)
    assert ask(by=who, context={}, under=snapshot("", (crm,))).outcome is Outcome.ALLOW
    unmasked = agent(SUPPORT_GRANT, data=frozenset())
    assert ask(by=unmasked).code is Code.DATA_CLASS_UNDECLARED


@pytest.mark.requirement("policy:data:masked")
def test_a_guardrail_on_a_class_still_fires_where_it_is_masked() -> None:
    who, crm = masked_world(("email", "personal"), mask=PERSONAL, data=INTERNAL)
    rule = 'forbid (principal, action, resource in DataClass::"personal");'
    assert ask(by=who, context={}, under=snapshot(rule, (crm,))).code is Code.FORBIDDEN_BY_POLICY


@pytest.mark.requirement("policy:data:masked")
def test_another_field_of_a_class_is_another_snapshot() -> None:
    _, crm = masked_world(("email", "personal"), mask=PERSONAL, data=INTERNAL)
    _, wider = masked_world(("email", "personal"), ("phone", "personal"), mask=PERSONAL, data=INTERNAL)
    assert snapshot("", (crm,)).digest != snapshot("", (wider,)).digest


@pytest.mark.requirement("obligations:canary")
def test_a_canary_lets_about_its_share_of_sessions_through_whole_and_no_call_without_one() -> None:
    share = restriction(KIND.CANARY, share_percent=20)

    def outcome(session: object) -> tuple[Outcome, Code]:
        found = ask(context=office_call(session={"id": session}), restrictions=(share,), under=SNAPSHOTS[0])
        return found.outcome, found.code

    sessions = [f"ses_{number:032x}" for number in range(2_000)]
    through = [one for one in sessions if outcome(one)[0] is Outcome.ALLOW]
    assert 320 <= len(through) <= 480
    assert all(outcome(one) == outcome(one) for one in sessions[:50])
    assert {outcome(one)[1] for one in sessions if one not in set(through)} == {Code.OUTSIDE_CANARY}
    assert outcome(None) == (Outcome.DENY, Code.OUTSIDE_CANARY)
    assert outcome(7) == (Outcome.DENY, Code.OUTSIDE_CANARY)


@pytest.mark.requirement("obligations:in-force")
def test_of_daily_caps_the_least_is_left_and_nothing_where_currencies_differ() -> None:
    caps = [restriction(KIND.DAILY_COST, cost_per_day=Money(nanos)) for nanos in (7, 5)]
    assert daily_cap([], Money(9)) == Money(9)
    assert daily_cap(caps, None) == Money(5)
    assert daily_cap(caps, Money(3)) == Money(3)
    assert daily_cap([restriction(KIND.DAILY_COST, cost_per_day=Money(1, "EUR"))], Money(9)) == Money(0)
