"""Traps of the engine, each reproduced once and never fallen into (research on policy engines, §3)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.context import reserved_key
from accredit.policy.model import Outcome
from accredit.policy.ports import EngineOutcome
from accredit.policy.release import PolicyInvalidError
from accredit.policy.snapshot import PolicySnapshot
from tests.policy.world import (
    COPILOT,
    ENGINE,
    READ,
    REFUND,
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


@pytest.mark.requirement("policy:trap:1-erroring-forbid")
@pytest.mark.parametrize(
    ("condition", "session"),
    [
        ("context.session.calls > 3", None),
        ("context.session.calls > 3", {}),
        ("context.session.calls > 3", {"calls": "many"}),
        ("context.session.calls + 1 > 3", {"calls": 2**63 - 1}),
        ("principal.tier == 1", None),
        ('resource.owner == "x"', None),
    ],
)
def test_a_forbid_that_errors_denies_and_is_named(condition: str, session: Any) -> None:
    text = f"forbid (principal, action, resource) when {{ {condition} }};"
    decision = ask(text, {"input": {}, "session": session}, on=UPDATE)
    assert (decision.outcome, decision.code) == (Outcome.DENY, Code.POLICY_ERROR)
    assert [fault.policy for fault in decision.faults] == list(decision.policies)
    assert decision.policies[0].startswith("org/rules.cedar@")


@pytest.mark.requirement("policy:trap:1-erroring-permit")
def test_a_permit_that_errors_permits_nothing_and_takes_nothing_away() -> None:
    permit = (
        'permit (principal in Team::"customer-support", action == Action::"{}", resource) when {{ context.missing }};'
    )
    other = ask(permit.format(UPDATE), {"input": {}}, on=UPDATE)
    assert (other.outcome, len(other.faults)) == (Outcome.ALLOW, 1)
    alone = ask(permit.format(READ), office_call(user=None))
    assert (alone.code, len(alone.faults)) == (Code.USER_ROLE_REQUIRED, 1)


_PLACES = [
    lambda key: {"input": {key: 1}},
    lambda key: {"input": {"a": [{"b": [[{key: {"type": "Agent", "id": COPILOT.id}}]]}]}},
    lambda key: {"user": {"claims": {key: None}}},
    lambda key: {"declared": {"x": ({key: 1},)}},
    lambda key: {"provider": {"facts": {key: 1.5}}},
    lambda key: {key: 1},
]


@pytest.mark.requirement("policy:trap:2-entity-injection")
@pytest.mark.parametrize("key", ["__entity", "__extn", "__expr"])
@pytest.mark.parametrize("place", _PLACES)
def test_a_reserved_key_at_any_depth_of_any_part_of_the_context_is_refused(key: str, place: Any) -> None:
    decision = ask(context={**office_call(), **place(key)}, on=UPDATE)
    assert (decision.outcome, decision.code, decision.detail) == (Outcome.DENY, Code.RESERVED_KEY, f"`{key}`")


@pytest.mark.requirement("policy:trap:2-entity-injection")
def test_an_argument_cannot_pose_as_an_entity_and_text_about_one_is_just_text() -> None:
    text = "forbid (principal, action, resource) unless { context.input.note == principal };"
    posing = {"input": {"note": {"__entity": {"type": "Agent", "id": COPILOT.id}}}}
    assert ask(text, posing, on=UPDATE).code is Code.RESERVED_KEY
    for note in ("__entity", '{"__entity": 1}', "\\u005f_entity"):
        assert ask(text, {"input": {"note": note}}, on=UPDATE).code is Code.FORBIDDEN_BY_POLICY


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("__entity"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=6) | st.sampled_from(["__entity", "__extn", '"__expr', "__expr"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in _keys(item)}
    return {key for item in value for key in _keys(item)} if isinstance(value, list) else set()


@pytest.mark.requirement("policy:trap:2-entity-injection")
@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=6), _JSON, max_size=3))
def test_the_scan_finds_a_reserved_key_exactly_when_there_is_one(context: dict[str, Any]) -> None:
    assert (reserved_key(context) is not None) is bool(_keys(context) & {"__entity", "__extn", "__expr"})


@pytest.mark.requirement("policy:trap:3-json-legal")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (10, Code.ALLOWED),
        (10.5, Code.ALLOWED),
        (10.1234, Code.ALLOWED),
        (1e1, Code.ALLOWED),
        (-0.0, Code.ALLOWED),
        (1e2, Code.FORBIDDEN_BY_POLICY),
        (10.5001, Code.FORBIDDEN_BY_POLICY),
        (10.50001, Code.UNENCODABLE_INPUT),
        (1e15, Code.UNENCODABLE_INPUT),
        (2**70, Code.UNENCODABLE_INPUT),
        (1e-5, Code.UNENCODABLE_INPUT),
        (float("nan"), Code.UNENCODABLE_INPUT),
        (float("inf"), Code.UNENCODABLE_INPUT),
        (None, Code.ALLOWED),
    ],
)
def test_a_number_reaches_the_policy_exactly_or_not_at_all(value: Any, code: Code) -> None:
    text = (
        "forbid (principal, action, resource)"
        ' when { context.input has amount && context.input.amount.greaterThan(decimal("10.5")) && '
        'context.input.amount.lessThan(decimal("900.0")) };'
    )
    assert ask(text, {"input": {"amount": value}}, on=REFUND).code is code


@pytest.mark.requirement("policy:trap:3-json-legal")
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([1, 2], Code.ALLOWED),
        ([1, 7], Code.FORBIDDEN_BY_POLICY),
        ([2.0, 7.0], Code.FORBIDDEN_BY_POLICY),
        ([2**63 - 1], Code.ALLOWED),
        ([2**63], Code.UNENCODABLE_INPUT),
        ([-(2**63) - 1], Code.UNENCODABLE_INPUT),
        ([1.5], Code.UNENCODABLE_INPUT),
        ([1, None], Code.UNENCODABLE_INPUT),
    ],
)
def test_integers_beyond_64_bits_fractions_and_nulls_in_lists_are_refused(lines: list[Any], code: Code) -> None:
    text = "forbid (principal, action, resource) when { context.input has lines && context.input.lines.contains(7) };"
    assert ask(text, {"input": {"lines": lines}}, on=REFUND).code is code


@pytest.mark.requirement("policy:trap:3-json-legal")
def test_what_no_policy_reads_stays_out_whatever_it_is() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    odd = {"amount": 1.123456789, "big": 2**80, "deep": deep, "body": "x" * 65_536, "none": None, "list": [None]}
    assert ask(context={"input": odd}, on=REFUND).outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:trap:3-json-legal")
def test_a_context_nested_beyond_all_bounds_is_refused_not_searched() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert ask(context={"input": {"deep": deep}}, on=UPDATE).code is Code.UNENCODABLE_INPUT


@pytest.mark.requirement("policy:trap:4-closed-records")
def test_an_argument_the_schema_does_not_declare_cannot_change_what_the_engine_sees() -> None:
    decision = ask(context=office_call(input={"customer_id": "c-77", "extra": {"a": 1}}))
    assert decision.outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:trap:5-positional-ids")
def test_an_id_stays_when_its_neighbours_change_and_moves_when_its_text_does() -> None:
    one, two = (
        "forbid (principal, action, resource) when { false };",
        'forbid (principal in Team::"sales", action, resource);',
    )
    ids = [policy.id for policy in release(one + two).policies]
    assert [policy.id for policy in release(f"// reordered\n{two}\n\n{one}").policies] == ids[::-1]
    assert release(two.replace("sales", "customer-support")).policies[0].id not in ids
    assert all(policy_id.startswith("org/rules.cedar@") and len(policy_id.partition("@")[2]) == 12 for policy_id in ids)


@pytest.mark.requirement("policy:trap:5-positional-ids")
def test_an_id_annotation_neither_names_nor_merges_policies() -> None:
    text = (
        '@id("a") forbid (principal, action, resource); @id("a") forbid (principal, action, resource in Server::"crm");'
    )
    decision = ask(text)
    assert len(set(decision.policies)) == 2
    with pytest.raises(PolicyInvalidError, match="stands twice"):
        release("forbid (principal, action, resource);" * 2)


@pytest.mark.requirement("policy:trap:6-broken-text")
def test_broken_text_is_refused_when_it_is_read_and_an_old_snapshot_goes_on() -> None:
    under = snapshot()
    with pytest.raises(PolicyInvalidError) as refused:
        release("forbid (principal, action")
    assert refused.value.code is Code.POLICY_INVALID
    assert refused.value.findings[0].path == "org/rules.cedar"
    assert ask(under=under).outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:trap:7-typed-by-us")
def test_numbers_of_a_schema_are_decimals_without_a_schema_in_the_call() -> None:
    text = 'forbid (principal, action, resource) when { context.input.amount == decimal("5.0000") };'
    assert ask(text, {"input": {"amount": 5}}, on=REFUND).code is Code.FORBIDDEN_BY_POLICY
    assert ask(text, {"input": {"amount": 5.0001}}, on=REFUND).outcome is Outcome.ALLOW


@pytest.mark.requirement("policy:trap:8-empty-metrics")
def test_an_answer_without_metrics_is_no_decision() -> None:
    nobody = {"type": "Agent", "id": "x"}
    handle = ENGINE.compile([])
    assert (
        ENGINE.evaluate(handle, nobody, nobody, nobody, '{"x": 1.5}', ENGINE.load("[]")).outcome is EngineOutcome.NONE
    )


@pytest.mark.requirement("policy:trap:9-prints")
def test_deciding_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ask()
    ask("forbid (principal, action, resource) when { context.absent };")
    assert capfd.readouterr() == ("", "")


@pytest.mark.requirement("policy:trap:10-templates")
def test_a_template_has_no_place_in_a_file() -> None:
    with pytest.raises(PolicyInvalidError, match="template"):
        release("forbid (principal == ?principal, action, resource);")


@pytest.mark.requirement("policy:trap:native-recursion")
@pytest.mark.parametrize(
    "condition",
    [
        "(" * 5000 + "true" + ")" * 5000,
        "[" * 1000 + "]" * 1000 + " == 1",
        "if true then " * 100 + "true" + " else true" * 100,
        " && ".join(["true"] * 2000),
        "context" + ".a" * 500,
        "context has " + ".".join(["a"] * 500),
        '"' + ")" * 40 + '" == "" && ' + "(" * 5000 + "true" + ")" * 5000,
        "// )))))\n" * 20 + "(" * 1000 + "true" + ")" * 1000,
    ],
)
def test_a_policy_deep_enough_to_end_the_process_is_refused_first(condition: str) -> None:
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        ENGINE.read(f"permit (principal, action, resource) when {{ {condition} }};")


def test_the_engine_really_ends_the_process_on_such_a_policy() -> None:
    """If this fails the binding has learned to refuse by itself, and the measuring can go."""
    deep = "(" * 20_000 + "true" + ")" * 20_000
    code = (
        f"import cedarpy; cedarpy.policies_to_json_str({f'permit (principal, action, resource) when {{ {deep} }};'!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=60).returncode < 0


def test_the_longest_policy_that_is_read_also_compiles_and_decides() -> None:
    condition = " && ".join([f"context.session.a{number} == {number}" for number in range(40)])
    decision = ask(f"forbid (principal, action, resource) when {{ {condition} }};", on=UPDATE, context={"input": {}})
    assert decision.code is Code.POLICY_ERROR


@pytest.mark.requirement("policy:entity:missing-group")
def test_a_group_forbid_fires_only_because_the_entity_names_its_groups() -> None:
    """What the engine does without the parent, and so why an entity without one is refused beforehand."""
    text = 'permit (principal, action, resource); forbid (principal, action in Action::"@read", resource);'
    names = {"principal": ("Agent", "a"), "action": ("Action", READ), "resource": ("Tool", READ)}
    request = {part: {"type": kind, "id": name} for part, (kind, name) in names.items()}
    without = cedarpy.is_authorized({**request, "context": {}}, text, "[]")
    action = {"uid": request["action"], "attrs": {}, "parents": [{"type": "Action", "id": "@read"}]}
    with_groups = cedarpy.is_authorized({**request, "context": {}}, text, json.dumps([action]))
    assert (without.decision.value, with_groups.decision.value) == ("Allow", "Deny")


def test_an_agent_with_many_grants_is_judged_by_the_one_for_the_tool() -> None:
    names = [f"tool{number}" for number in range(30)]
    tools = tuple(tool(type(READ)(f"many/{name}")) for name in names)
    under = PolicySnapshot(release(), (server("many", *tools),), ENGINE)
    by = agent(*(grant(found.id, f"role-{number}") for number, found in enumerate(tools)))
    for number in (0, 7, 29):
        context = {"input": {}, "user": {"roles": [f"role-{number}"]}}
        assert ask(context=context, on=tools[number].id, by=by, under=under).outcome is Outcome.ALLOW
        assert ask(context=context, on=tools[3].id, by=by, under=under).code is Code.USER_ROLE_REQUIRED
