"""Nothing loads that cannot fire: what is refused and what warned of, with its fix, and what it would have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import tool_id, tool_name
from accredit.policy.lint import SLICE_BUDGET
from accredit.policy.model import Outcome
from accredit.policy.publish import ClaimKind, ContextTypes, examine, publish
from accredit.policy.release import LintLevel, PolicyFinding, PolicyInvalidError
from tests.policy import world

PLACE = replace(
    world.INSTALLATION,
    types=ContextTypes(user={"department": ClaimKind.STRING}, task={"customer_id": ClaimKind.STRING}),
    held_roles=frozenset({"security"}),
    fleet=(world.COPILOT,),
)
REFUND = 'forbid (principal, action == Action::"shop/refund", resource)'
READ = 'forbid (principal, action == Action::"crm/read_customer", resource)'


def _found(text: str, files: Mapping[str, str] | None = None) -> list[PolicyFinding]:
    try:
        return list(examine({"org/rules.cedar": text, **(files or {})}, world.ENGINE, PLACE)[1])
    except PolicyInvalidError as error:
        return list(error.findings)


CLAIMED = """ unless { context has declared && context.declared has customer_id && context has task
&& context.task has customer_id && context.declared.customer_id == "c" };"""
OTHERS = """ when { context has task && context.task has customer_id
&& context.input.customer_id != context.task.customer_id };"""
REFUSED: dict[str, tuple[str, str]] = {
    "hold on a permit": (
        '@hold("security") permit (principal in Team::"sales", action == Action::"shop/refund", resource);',
        "stands on a permit",
    ),
    "hold without a role": (f"@hold {REFUND};", "names no role"),
    "hold by no role": (f'@hold("boss") {REFUND};', "is no role"),
    "hold by who answers none": (f'@hold("auditor") {REFUND};', "answers no hold"),
    "hold misspelled": (f'@hodl("security") {REFUND};', "holds no call"),
    "hold in another case": (f'@Hold("security") {REFUND};', "holds no call"),
    "unknown attribute": (f"{REFUND} when {{ context.input.amout > 1 }};", "has an argument"),
    "unknown action": ('forbid (principal, action == Action::"shop/refnd", resource);', "no action"),
    "unknown fact": (f"{REFUND} when {{ context.session.refunds > 1 }};", "refunds"),
    "unguarded optional": (f'{REFUND} when {{ context.user.department == "x" }};', "optional"),
    "wrong type": (f"{REFUND} when {{ context.input.amount > 10 }};", ""),
    "always false": (f"{REFUND} when {{ false }};", "always false"),
    "never at once": (f"{REFUND} when {{ context.session.calls > 5 && context.session.calls < 3 }};", "can never act"),
    "never two values": (
        f'{REFUND} when {{ context.now.day == "mon" && context.now.day == "tue" }};',
        "context.now.day",
    ),
    "never such a minute": (f"{REFUND} when {{ context.now.minute >= 1440 }};", "context.now.minute"),
    "never such a day": (f'{REFUND} when {{ context.now.day == "monday" }};', "context.now.day"),
    "never such days": (f'{REFUND} when {{ ["Mon", "Tue"].contains(context.now.day) }};', "context.now.day"),
    "never such an enum": (
        f'{REFUND} when {{ context.input has currency && context.input.currency == "eur" }};',
        "context.input.currency",
    ),
    "never such an origin": (f'{REFUND} when {{ context.origin.amount == "verified" }};', "context.origin.amount"),
    "never absent and read": (
        f'{REFUND} when {{ !(context has task) && context has task && context.task.id == "x" }};',
        "context.task",
    ),
    "never nothing": (f"{REFUND} unless {{ true }};", "always false"),
    "a claim of its own": (
        READ + CLAIMED,
        "claims itself",
    ),
    "too many wildcards": (
        f'{READ} when {{ context.input.customer_id like "*a*a*a*a*a*a*a*a*a*" }};',
        "wildcards",
    ),
    "hidden characters": (f'{READ} when {{ context.input.customer_id == "c\u202e77" }};', "deceive the eye"),
    "a lookalike id": ('forbid (principal, action == Action::"crm/re\u0430d_customer", resource);', "no action"),
    "a duplicate": (f"{READ};\n{READ};", "stands twice"),
}


@pytest.mark.requirement("policy:lint:refused")
@pytest.mark.parametrize("fault", REFUSED)
def test_what_could_never_act_as_meant_is_refused_with_its_fix(fault: str) -> None:
    text, words = REFUSED[fault]
    found = [one for one in _found(text) if one.severity is LintLevel.REFUSED]
    assert found, "it would have been published"
    assert any(words in one.message for one in found), found
    assert all(one.fix and one.rule for one in found)
    assert all(one.path == "org/rules.cedar" for one in found)
    with pytest.raises(PolicyInvalidError):
        publish({"org/rules.cedar": text}, world.ENGINE, PLACE)


INERT = [
    "always false", "never at once", "never two values", "never such a minute", "never such a day", "never such days",
    "hold in another case", "never nothing",
]  # fmt: skip


@pytest.mark.requirement("policy:lint:refused")
@pytest.mark.parametrize("fault", INERT)
def test_such_a_policy_would_have_been_without_force(fault: str) -> None:
    text, _ = REFUSED[fault]
    context = {
        "input": {"amount": 1}, "session": {"calls": 4}, "now": {"minute": 600, "day": "mon", "date": "2026-11-23"}
    }  # fmt: skip
    decided = world.ask(text, context, on=world.REFUND)
    if fault.startswith("hold"):
        assert decided.outcome is Outcome.DENY  # nobody is asked: it refuses for good
    else:
        assert decided.outcome is Outcome.ALLOW


WARNED: dict[str, tuple[str, str]] = {
    "scope-free": ('forbid (principal, action, resource) when { context.now.day == "sun" };', "every slice"),
    "unreachable": ('forbid (principal, action in Action::"@administer", resource);', "no registered tool"),
    "annotation-unknown": (f'@note("x") {READ};', "means nothing"),
    "hold-unanswered": (f'@hold("compliance") {REFUND};', "nobody holds"),
    "shadowed": (f'{REFUND};\n{REFUND} when {{ context.now.day == "sun" }};', "can change nothing"),
}


@pytest.mark.requirement("policy:lint:warned")
@pytest.mark.parametrize("rule", WARNED)
def test_what_is_only_doubtful_is_published_and_said(rule: str) -> None:
    text, words = WARNED[rule]
    found = _found(text)
    assert {one.severity for one in found} == {LintLevel.WARNING}
    assert any(one.rule == rule and words in one.message and one.fix for one in found), found
    assert publish({"org/rules.cedar": text}, world.ENGINE, PLACE).policies


@pytest.mark.requirement("policy:lint:warned")
def test_equal_policies_in_two_files_and_slices_beyond_the_budget_are_said() -> None:
    found = _found(f"{READ};", {"org/same.cedar": f"{READ};"})
    assert [one.rule for one in found] == ["shadowed"]
    many = "\n".join(f'{READ} when {{ context.input.customer_id == "c{number}" }};' for number in range(SLICE_BUDGET))
    sizes = [one for one in _found(many) if one.rule == "slice-size"]
    assert len(sizes) == 1
    assert f"meets {SLICE_BUDGET + 1}" in sizes[0].message
    beyond = "\n".join(f'{READ} when {{ context.input.customer_id == "c{number}" }};' for number in range(220))
    (over,) = [one for one in _found(beyond) if one.rule == "slice-size"]
    assert over.severity is LintLevel.REFUSED


@pytest.mark.requirement("policy:lint:warned")
@pytest.mark.parametrize(
    "text",
    [
        f"{REFUND} when {{ context.session.calls > 5 || context.session.calls < 3 }};",
        f'{REFUND} when {{ !(context.now.day == "mon" && context.now.day == "tue") }};',
        f'{REFUND} unless {{ context.now.day == "mon" && context.now.minute < 600 }};',
        f'{REFUND} when {{ context.input has currency && context.input.currency == "EUR" }};',
        f'{READ} when {{ context.input.customer_id like "c-*-*" }};',
        f'@description("why") @owner("a") {READ};',
    ],
)
def test_what_can_act_is_not_taken_for_what_cannot(text: str) -> None:
    assert _found(text) == []


# the ten ordinary deny rules of which nine never fired in the leading peer (research/peers.md §3.3)
_SQL = 'forbid (principal, action == Action::"crm/update_customer", resource) when '
TEN: dict[str, tuple[str, dict[str, Any]]] = {
    "not": (f"{READ} when {{ !(context has user) }};", {"user": None}),
    "not in": (
        f'{READ} when {{ context has user && context.user has roles && !(context.user.roles.contains("lead")) }};', {}
    ),
    "text with and": (
        f'{READ} when {{ context.input.customer_id == "a and b" }};', {"input": {"customer_id": "a and b"}}
    ),
    "starts with": (f'{READ} when {{ context.input.customer_id like "c-*" }};', {}),
    "contains text": (
        f'{READ} when {{ context.input.customer_id like "*DROP*" }};', {"input": {"customer_id": "x DROP y"}}
    ),
    "two facts": (
        READ + OTHERS,
        {"task": {"id": "T", "customer_id": "c-1"}},
    ),
    "limit of a fact": (f"{READ} when {{ context.session.calls > 3 }};", {"session": {"calls": 4}}),
    "negative": (f"{READ} when {{ context.session.calls > -1 }};", {"session": {"calls": 1}}),
    "equals": (f'{READ} when {{ context.now.day == "mon" }};', {}),
    "or in brackets": (f'{READ} when {{ (context.now.day == "sun" || context.now.day == "mon") }};', {}),
}  # fmt: skip


@pytest.mark.requirement("policy:lint:ten")
@pytest.mark.parametrize("rule", TEN)
def test_ten_ordinary_deny_rules_fire(rule: str) -> None:
    text, changes = TEN[rule]
    assert publish({"org/rules.cedar": text}, world.ENGINE, PLACE).policies
    decided = world.ask(text, world.office_call(**changes))
    assert decided.outcome is Outcome.DENY
    assert decided.policies[0].startswith("org/rules.cedar@")


@pytest.mark.requirement("policy:lint:names")
@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_tool_names_are_mangled_reversibly_and_without_collision(one: str, other: str) -> None:
    try:
        first, second = tool_id("crm", one), tool_id("crm", other)
    except (AccreditError, UnicodeError):
        return
    assert tool_name(first) == one
    assert (first == second) == (one == other)
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-%/")


_WORDS = """forbid permit (principal,action,resource) when { } ; context . input has && == "x" @hold ( ) like "*a*"
unless principal in Team::"sales" [ ] 1 - ! \u202e \x00 é // if then else true decimal( $ ?principal"""
_PIECES = st.sampled_from([*_WORDS.split(), "\n"])


@pytest.mark.requirement("policy:lint:hostile")
@given(st.lists(_PIECES, max_size=40).map(" ".join))
def test_whatever_is_written_is_linted_or_refused_and_nothing_else_happens(text: str) -> None:
    for finding in _found(text):
        assert finding.message
        assert finding.fix


@pytest.mark.requirement("policy:lint:hostile")
@pytest.mark.parametrize(
    "text",
    [
        "forbid (principal, action, resource) when { " + "(" * 5000 + "true" + ")" * 5000 + " };",
        "forbid (principal, action, resource) when { " + "!" * 5000 + "true };",
        "forbid (principal, action, resource) when { context" + ".a" * 3000 + " };",
        'forbid (principal, action, resource) when { "' + "x" * 200_000 + '" == "" };',
        "forbid (principal, action, resource) when { [" + "1," * 30_000 + "1].isEmpty() };",
        "/*" * 1000,
    ],
)
def test_huge_and_deep_text_is_refused(text: str) -> None:
    assert [one for one in _found(text) if one.severity is LintLevel.REFUSED]


@pytest.mark.requirement("policy:lint:hostile")
def test_many_files_are_linted_and_each_fault_has_its_own_place() -> None:
    files = {
        f"org/f{number}.cedar": f'{READ} when {{ context.input.customer_id == "{number}" }};' for number in range(300)
    }
    files["org/f7.cedar"] = "forbid (principal"
    with pytest.raises(PolicyInvalidError) as refused:
        publish(files, world.ENGINE, PLACE)
    assert [one.path for one in refused.value.findings] == ["org/f7.cedar"]
