"""What the decision answers, seen from outside: the mission's example, the codes, holds, time and faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accredit.kernel.codes import Code
from accredit.kernel.hours import Hours
from accredit.kernel.ids import tool_id
from accredit.policy.decide import decide
from accredit.policy.entities import principal_facts
from accredit.policy.listing import listed
from accredit.policy.model import CallRequest, HoldNeed, Outcome
from accredit.policy.ports import EngineOutcome, Uid, Verdict
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.registry.model import AgentState, Effect, Environment, Team
from tests.policy.world import (
    COPILOT,
    ENGINE,
    READ,
    REFUND,
    SERVERS,
    SUPPORT_GRANT,
    UPDATE,
    agent,
    ask,
    grant,
    office_call,
    release,
    server,
    snapshot,
    tool,
)

SATURDAY = {"minute": 600, "day": "sat", "date": "2026-11-28"}
HOLD = '@hold("crm-owner") forbid (principal, action in Action::"@read", resource);'


# -- the mission's own example


@pytest.mark.requirement("policy:mission:example")
def test_customer_data_is_read_for_a_support_user_on_the_active_ticket_in_office_hours() -> None:
    decision = ask()
    assert (decision.outcome, decision.code) == (Outcome.ALLOW, Code.ALLOWED)
    assert [policy.partition("@")[0] for policy in decision.policies] == ["grant/crm/read_customer"]


@pytest.mark.requirement("policy:mission:example")
@pytest.mark.parametrize(
    ("changes", "code", "unmet"),
    [
        ({"user": None}, Code.USER_ROLE_REQUIRED, ["userRole: customer-support"]),
        ({"user": {"id": "u", "roles": ["sales"]}}, Code.USER_ROLE_REQUIRED, ["userRole: customer-support"]),
        ({"user": {"id": "u"}}, Code.USER_ROLE_REQUIRED, ["userRole: customer-support"]),
        ({"task": None}, Code.TASK_MISMATCH, ["sameAs: input.customer_id = task.customer_id"]),
        ({"task": {"customer_id": "c-78"}}, Code.TASK_MISMATCH, ["sameAs: input.customer_id = task.customer_id"]),
        ({"task": {"customer_id": None}}, Code.TASK_MISMATCH, ["sameAs: input.customer_id = task.customer_id"]),
        ({"now": SATURDAY}, Code.OUTSIDE_HOURS, ["hours: 08:00-18:00 mon,tue,wed,thu,fri Europe/Berlin"]),
        (
            {"now": SATURDAY, "task": None},
            Code.TASK_MISMATCH,
            ["sameAs: input.customer_id = task.customer_id", "hours: 08:00-18:00 mon,tue,wed,thu,fri Europe/Berlin"],
        ),
    ],
)
def test_each_condition_that_does_not_hold_denies_and_is_named(
    changes: dict[str, Any], code: Code, unmet: list[str]
) -> None:
    decision = ask(context=office_call(**changes))
    assert (decision.outcome, decision.code, list(decision.unmet)) == (Outcome.DENY, code, unmet)


@pytest.mark.requirement("policy:provenance:declared")
def test_what_an_agent_declares_satisfies_neither_role_nor_ticket() -> None:
    claims = {"roles": ["customer-support"], "user": {"roles": ["customer-support"]}, "customer_id": "c-77"}
    claims |= {"task": {"customer_id": "c-77"}}
    decision = ask(context=office_call(user=None, task=None, declared=claims))
    assert decision.code is Code.USER_ROLE_REQUIRED
    assert len(decision.unmet) == 2


@pytest.mark.requirement("policy:hours:half-open")
@pytest.mark.parametrize(
    ("minute", "allowed"), [(479, False), (480, True), (1079, True), (1080, False), (0, False), (1439, False)]
)
def test_hours_begin_at_their_first_minute_and_end_before_their_last(minute: int, *, allowed: bool) -> None:
    now = {"minute": minute, "day": "mon", "date": "2026-11-23"}
    assert (ask(context=office_call(now=now)).outcome is Outcome.ALLOW) is allowed


@pytest.mark.requirement("policy:hours:midnight")
@pytest.mark.parametrize(
    ("day", "minute", "allowed"),
    [("fri", 1320, True), ("fri", 60, False), ("sat", 60, True), ("sat", 120, False), ("sat", 1320, False)],
)
def test_a_window_over_midnight_belongs_to_the_day_it_began(day: str, minute: int, *, allowed: bool) -> None:
    night = agent(grant(READ, hours=Hours.parse("22:00-02:00", ["fri"], "Europe/Berlin")))
    now = {"minute": minute, "day": day, "date": "2026-11-27"}
    assert (ask(context=office_call(now=now), by=night).outcome is Outcome.ALLOW) is allowed


# -- before any policy


@pytest.mark.requirement("policy:refused:before-policies")
def test_an_agent_is_refused_before_policies_for_what_it_is_or_lacks() -> None:
    retired = replace(COPILOT, state=AgentState.RETIRED)
    elsewhere = replace(COPILOT, environment=Environment.STAGING)
    teamless = replace(COPILOT, team=replace(COPILOT.team, name=""))
    staging = (*SERVERS[1:], replace(SERVERS[0], environment=Environment.STAGING))
    assert ask(by=retired).code is Code.AGENT_NOT_ACTIVE
    assert ask(by=elsewhere).code is Code.AGENT_NOT_ACTIVE
    assert ask(under=snapshot(servers=staging)).code is Code.ENVIRONMENT_MISMATCH
    assert ask(by=agent(grant(UPDATE))).code is Code.TOOL_NOT_GRANTED
    assert ask(on=tool_id("crm", "drop_all")).code is Code.TOOL_NOT_GRANTED
    assert ask(under=snapshot(servers=SERVERS[1:])).code is Code.ACTION_UNKNOWN
    assert ask(by=teamless).code is Code.ENTITY_INCOMPLETE


@pytest.mark.requirement("policy:data:undeclared")
def test_a_tool_whose_data_class_the_manifest_does_not_name_is_denied() -> None:
    decision = ask(by=agent(SUPPORT_GRANT, data=frozenset({"internal"})))
    assert (decision.code, decision.detail) == (Code.DATA_CLASS_UNDECLARED, "`personal`")


@pytest.mark.requirement("policy:data:undeclared")
def test_a_class_added_to_a_tool_later_takes_the_tool_away() -> None:
    under = snapshot()
    assert ask(under=under).outcome is Outcome.ALLOW
    grown = {"read_customer": replace(SERVERS[0].tools["read_customer"], data=frozenset({"personal", "phi"}))}
    later = under.with_catalogue((replace(SERVERS[0], tools=grown), SERVERS[1]))
    assert ask(under=later).code is Code.DATA_CLASS_UNDECLARED
    assert ask(under=under).outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:data:undeclared")
def test_an_agent_stands_in_no_grant_of_a_tool_whose_data_it_may_not_touch() -> None:
    tools = {found.id: found for server in SERVERS for found in server.tools.values()}
    facts = principal_facts(agent(SUPPORT_GRANT, grant(REFUND), data=frozenset({"financial"})), tools)
    assert [name.id for name in facts.parents if name.type == "Grant"] == [grant(REFUND).digest]


@pytest.mark.requirement("policy:slice:flat")
def test_asking_whether_a_value_is_there_needs_the_value_but_not_what_it_is() -> None:
    text = "forbid (principal, action, resource) when { context has user && context.input has note };"
    big = {"input": {"note": 2**80}, "user": {"id": "u"}}
    assert ask(text, big, on=UPDATE).code is Code.FORBIDDEN_BY_POLICY
    assert ask(text, {"input": {"note": None}, "user": {}}, on=UPDATE).outcome is Outcome.ALLOW
    assert ask(text, {"input": {"note": 1}, "user": None}, on=UPDATE).outcome is Outcome.ALLOW


# -- holds


@pytest.mark.requirement("policy:hold:grant")
def test_a_held_call_names_policy_and_role_and_passes_with_that_grant_alone() -> None:
    under = snapshot(HOLD)
    held = ask(under=under)
    assert (held.outcome, held.code) == (Outcome.HOLD, Code.HELD)
    assert held.needs == (HoldNeed(held.policies[0], "crm-owner"),)
    assert held.lifted == ()
    passed = ask(under=under, lifted=frozenset({held.policies[0], "org/other@000000000000"}))
    assert (passed.outcome, passed.lifted) == (Outcome.ALLOW, held.policies)
    assert ask(under=under, lifted=frozenset({"org/other@000000000000"})).outcome is Outcome.HOLD


@pytest.mark.requirement("policy:hold:grant")
def test_a_grant_that_is_not_needed_is_not_used() -> None:
    under = snapshot('@hold("crm-owner") forbid (principal, action, resource) when { context.session.calls > 3 };')
    part = under.slice_for(COPILOT, READ)
    assert isinstance(part, Slice)
    lifted = frozenset(policy.id for policy in part.policies if policy.hold)
    quiet = ask(context=office_call(session={"calls": 1}), under=under, lifted=lifted)
    assert (quiet.outcome, quiet.lifted) == (Outcome.ALLOW, ())


@pytest.mark.requirement("policy:hold:not-a-way-round")
def test_a_hold_is_no_way_round_a_plain_forbid_an_error_or_a_missing_role() -> None:
    plain = ask(HOLD + 'forbid (principal, action, resource in Server::"crm");')
    broken = ask(HOLD + "forbid (principal, action, resource) when { context.session.calls > 3 };")
    roleless = ask(HOLD, office_call(user=None))
    assert (plain.code, len(plain.policies)) == (Code.FORBIDDEN_BY_POLICY, 2)
    assert (broken.code, broken.needs) == (Code.POLICY_ERROR, ())
    assert (roleless.outcome, roleless.code) == (Outcome.DENY, Code.USER_ROLE_REQUIRED)


# -- time


@pytest.mark.requirement("policy:time:untrusted")
def test_an_unconfirmed_clock_denies_what_depends_on_time_and_only_that() -> None:
    timed_forbid = "forbid (principal, action, resource) when { context.now.minute < 60 };"
    assert ask(time_trusted=False).code is Code.CLOCK_UNCONFIRMED
    assert ask(on=UPDATE, time_trusted=False).outcome is Outcome.ALLOW
    assert ask(timed_forbid, on=UPDATE, time_trusted=False).code is Code.CLOCK_UNCONFIRMED
    assert ask(timed_forbid, on=UPDATE).outcome is Outcome.ALLOW


# -- faults


class FailingEngine:
    """Cedar, but one that cannot judge."""

    version = "failing"
    read = staticmethod(ENGINE.read)
    compile = staticmethod(ENGINE.compile)
    load = staticmethod(ENGINE.load)
    validate = staticmethod(ENGINE.validate)
    residuals = staticmethod(ENGINE.residuals)

    def evaluate(self, handle: Any, principal: Uid, action: Uid, resource: Uid, context: str, entities: Any) -> Verdict:
        return Verdict(EngineOutcome.NONE, (), ())


@pytest.mark.requirement("policy:decide:no-decision")
def test_an_engine_that_gives_no_decision_denies_with_its_own_code() -> None:
    under = PolicySnapshot(release(), SERVERS, FailingEngine())
    assert ask(under=under).code is Code.NO_DECISION


@pytest.mark.requirement("policy:decide:no-decision")
def test_an_engine_fed_rubbish_gives_no_decision_and_raises_nothing() -> None:
    nobody = {"type": "Agent", "id": "x"}
    verdict = ENGINE.evaluate("permit(", nobody, nobody, nobody, "{}", ENGINE.load("[]"))
    assert verdict.outcome is EngineOutcome.NONE


@pytest.mark.requirement("policy:fault:quotes-no-input")
def test_the_words_of_a_fault_quote_no_value_of_the_call() -> None:
    text = 'forbid (principal, action, resource) when { decimal(context.input.customer_id).lessThan(decimal("1.0")) };'
    secret = "4111 `1111` 1111"
    decision = ask(text, office_call(input={"customer_id": secret}, task={"customer_id": secret}))
    assert decision.code is Code.POLICY_ERROR
    assert "1111" not in decision.faults[0].message


def test_a_decision_carries_what_it_was_judged_by() -> None:
    under = snapshot(HOLD)
    decision = ask(under=under)
    assert decision.release == under.release.digest
    assert decision.slice is not None
    assert set(decision.entities or ()) == {"principal", "action", "resource"}


@pytest.mark.requirement("policy:decide:pure")
def test_the_same_request_and_snapshot_give_the_same_decision() -> None:
    request = CallRequest(COPILOT, READ, office_call(session={"calls": 9}))
    one, other = snapshot(HOLD), snapshot(HOLD)
    assert decide(request, one) == decide(request, one) == decide(request, other)


# -- snapshots


@pytest.mark.requirement("policy:snapshot:swap")
def test_a_new_release_decides_anew_and_leaves_the_old_snapshot_as_it_was() -> None:
    before = snapshot()
    after = before.with_release(release('forbid (principal in Team::"customer-support", action, resource);'))
    assert ask(under=before).outcome is Outcome.ALLOW
    assert ask(under=after).code is Code.FORBIDDEN_BY_POLICY
    assert ask(under=before).outcome is Outcome.ALLOW
    assert before.digest != after.digest == after.with_catalogue(SERVERS).digest


@pytest.mark.requirement("policy:snapshot:swap")
def test_an_agent_that_changes_is_judged_as_it_is_now() -> None:
    under = snapshot('forbid (principal in Team::"sales", action, resource);')
    assert ask(under=under).outcome is Outcome.ALLOW
    moved = replace(COPILOT, team=Team(COPILOT.team.id, "sales", frozenset()))
    assert ask(under=under, by=moved).code is Code.FORBIDDEN_BY_POLICY
    assert ask(under=under, by=agent(grant(UPDATE))).code is Code.TOOL_NOT_GRANTED
    assert ask(under=under).outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:snapshot:bounded")
def test_decisions_do_not_depend_on_how_much_may_be_remembered() -> None:
    forgetful = PolicySnapshot(release(HOLD), SERVERS, ENGINE, budget_bytes=0)
    for _ in range(2):
        for context in (office_call(), office_call(user=None)):
            assert ask(context=context, under=forgetful) == ask(HOLD, context)
    assert forgetful.bytes_held == 0


@pytest.mark.requirement("policy:snapshot:bounded")
def test_what_is_remembered_stays_within_its_bytes() -> None:
    bounded = PolicySnapshot(release(HOLD), SERVERS, ENGINE, budget_bytes=60_000)
    for number in range(40):
        ask(under=bounded, by=agent(grant(READ, f"role-{number}"), name=f"agent-{number}"))
        assert bounded.bytes_held <= 60_000
    assert bounded.bytes_held > 20_000


# -- lists


@pytest.mark.requirement("policy:list:slice")
def test_a_list_leaves_out_what_no_context_could_allow_and_nothing_else() -> None:
    def shown(text: str, name: str = READ) -> bool:
        return listed(COPILOT, tool_id(*name.split("/", 1)), snapshot(text))

    assert shown("")
    assert not shown("", "crm/unknown")
    assert not shown('forbid (principal, action in Action::"@read", resource in Server::"crm");')
    assert shown('forbid (principal, action in Action::"@read", resource) when { context.session.calls > 3 };')
    assert shown('forbid (principal, action, resource in Server::"shop");')
    assert shown(HOLD)
    for never in (
        'principal == Team::"customer-support", action',
        "principal is Team, action",
        'principal, action == Action::"@read"',
    ):
        assert shown(f"forbid ({never}, resource);")


@pytest.mark.requirement("policy:entity:groups")
@pytest.mark.parametrize(
    ("effect", "groups"),
    [
        (Effect.READ, ["@read"]),
        (Effect.WRITE, ["@write", "@write-record"]),
        (Effect.EXTERNAL, ["@external"]),
        (Effect.IRREVERSIBLE, ["@irreversible"]),
        (Effect.ADMINISTER, ["@administer"]),
    ],
)
def test_an_operation_stands_in_the_groups_of_its_effect(effect: Effect, groups: list[str]) -> None:
    name = tool_id("ops", "act")
    servers = (server("ops", tool(name, effect=effect)),)
    for group in (*groups, "@call_tool"):
        text = f'forbid (principal, action in Action::"{group}", resource);'
        under = snapshot(text, servers)
        assert ask(on=name, by=agent(grant(name)), under=under).code is Code.FORBIDDEN_BY_POLICY
    other = snapshot('forbid (principal, action in Action::"@write-own", resource);', servers)
    assert ask(on=name, by=agent(grant(name)), under=other).outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:agent:reused-name")
def test_a_policy_for_an_agent_does_not_pass_to_another_that_takes_its_name() -> None:
    files = {"agent/support-copilot/quiet.cedar": 'forbid (principal == Agent::"support-copilot", action, resource);'}
    under = snapshot(files)
    namesake = replace(COPILOT, id=type(COPILOT.id)("agt_namesake"))
    assert ask(under=under).code is Code.FORBIDDEN_BY_POLICY
    assert ask(under=under, by=namesake).outcome is Outcome.ALLOW


def test_a_refund_of_another_server_is_not_touched_by_crm_policies() -> None:
    assert ask(HOLD, {"input": {"amount": 5}}, on=REFUND).outcome is Outcome.ALLOW
