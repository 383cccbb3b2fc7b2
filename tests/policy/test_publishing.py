"""What may be put in force, and what is refused by name with its fix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cedar_mcp_schema_generator
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.ids import tool_id
from accredit.policy.arguments import ArgumentKind, argument_type, input_type
from accredit.policy.grants import GrantBook
from accredit.policy.publish import ClaimKind, ContextTypes, Installation, publish
from accredit.policy.release import PolicyFinding, PolicyInvalidError, Release
from tests.policy.world import COPILOT, ENGINE, INSTALLATION, READ, REFUND, SERVERS, SUPPORT_GRANT, server, tool

TYPES = ContextTypes(task={"customer_id": ClaimKind.STRING}, user={"clearance": ClaimKind.INTEGER})
HERE = replace(INSTALLATION, types=TYPES)


def put(files: str | dict[str, str], installation: Installation = HERE) -> Release:
    return publish({"org/rules.cedar": files} if isinstance(files, str) else files, ENGINE, installation)


def refused(files: str | dict[str, str], installation: Installation = HERE) -> tuple[PolicyFinding, ...]:
    with pytest.raises(PolicyInvalidError) as error:
        put(files, installation)
    assert all(finding.message and finding.fix for finding in error.value.findings)
    return error.value.findings


def on(name: str, condition: str, effect: str = "forbid", principal: str = "principal") -> str:
    return f'{effect} ({principal}, action == Action::"{name}", resource) when {{ {condition} }};'


@pytest.mark.requirement("policy:publish:layers")
def test_every_layer_publishes_what_its_scope_allows() -> None:
    release = put(
        {
            "org/rules.cedar": 'forbid (principal in State::"retired", action, resource in DataClass::"secret");'
            '@hold("business-owner") forbid (principal, action in Action::"@external", resource);'
            f'permit (principal in Team::"sales", action == Action::"{READ}", resource in Server::"crm");',
            "team/sales/quiet.cedar": 'forbid (principal in Team::"sales", action in Action::"@write", resource);'
            'forbid (principal is Agent in Team::"sales", action in Action::"@external", resource);',
            "agent/support-copilot/cap.cedar": on(
                REFUND,
                'context.input.amount.greaterThan(decimal("100.0"))',
                principal='principal == Agent::"support-copilot"',
            ),
        }
    )
    assert len(release.policies) == 6
    assert dict(release.agents) == {"support-copilot": COPILOT.id}
    assert [policy.hold for policy in release.policies if policy.hold] == ["business-owner"]


@pytest.mark.requirement("policy:publish:layers")
@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (
            "team/sales/a.cedar",
            f'permit (principal in Team::"sales", action == Action::"{READ}", resource);',
            "permits",
        ),
        ("agent/support-copilot/a.cedar", "permit (principal, action, resource);", "permits"),
        ("org/a.cedar", 'permit (principal in Team::"sales", action, resource);', "list its tools"),
        ("org/a.cedar", 'permit (principal in Team::"sales", action in Action::"@read", resource);', "list its tools"),
        ("org/a.cedar", f'permit (principal, action == Action::"{READ}", resource);', "no principal"),
        ("org/a.cedar", f'permit (principal is Agent, action == Action::"{READ}", resource);', "no principal"),
        ("team/sales/a.cedar", "forbid (principal, action, resource);", "scoped to its team"),
        (
            "team/sales/a.cedar",
            'forbid (principal in Team::"customer-support", action, resource);',
            "scoped to its team",
        ),
        ("team/sales/a.cedar", 'forbid (principal == Team::"sales", action, resource);', "scoped to its team"),
        ("agent/support-copilot/a.cedar", "forbid (principal, action, resource);", "scoped to its agent"),
        (
            "agent/support-copilot/a.cedar",
            'forbid (principal in Agent::"support-copilot", action, resource);',
            "scoped to its agent",
        ),
        ("team/ghosts/a.cedar", 'forbid (principal in Team::"ghosts", action, resource);', "ghosts"),
        ("agent/ghost/a.cedar", 'forbid (principal == Agent::"ghost", action, resource);', "ghost"),
        ("rules.cedar", "forbid (principal, action, resource);", "not a path"),
        ("org/../a.cedar", "forbid (principal, action, resource);", "not a path"),
        ("org/sub/a.cedar", "forbid (principal, action, resource);", "not a path"),
    ],
)
def test_a_layer_that_reaches_beyond_itself_is_refused(path: str, text: str, words: str) -> None:
    assert any(words in finding.message for finding in refused({path: text}))


@pytest.mark.requirement("policy:publish:hold")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f'@hold("r") permit (principal in Team::"sales", action == Action::"{READ}", resource);',
            "stands on a permit",
        ),
        ("@hold forbid (principal, action, resource);", "names no role"),
        ('@hold("") forbid (principal, action, resource);', "names no role"),
        ('@hold("Two Words") forbid (principal, action, resource);', "names no role"),
    ],
)
def test_a_hold_needs_a_forbid_and_a_role(text: str, words: str) -> None:
    (finding,) = refused(text)
    assert words in finding.message
    assert finding.policy.startswith("org/rules.cedar@")


@pytest.mark.requirement("policy:publish:names")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('forbid (principal, action == Action::"crm/drop", resource);', "no action `crm/drop`"),
        ('forbid (principal, action in Action::"@reads", resource);', "no action `@reads`"),
        ('forbid (principal, action, resource in Server::"crn");', "no server `crn`"),
        ('forbid (principal in Team::"suport", action, resource);', "no team `suport`"),
        ('forbid (principal == Agent::"nobody", action, resource);', "no agent `nobody`"),
        ('forbid (principal, action, resource in DataClass::"private");', "no dataclass `private`"),
        ('forbid (principal, action, resource in Environment::"prod");', "no environment `prod`"),
        ('forbid (principal in State::"asleep", action, resource);', "no state `asleep`"),
        ('forbid (principal in RiskTier::"critical", action, resource);', "no risktier `critical`"),
        ('forbid (principal in Grant::"sha256:00", action, resource);', "`Grant` is not a type"),
        ('forbid (principal, action, resource) when { principal in Team::"suport" };', "no team `suport`"),
        ('forbid (principal, action, resource == Tool::"crm/drop");', "no tool `crm/drop`"),
    ],
)
def test_a_name_nobody_registered_is_refused(text: str, words: str) -> None:
    assert any(words in finding.message for finding in refused(text))


@pytest.mark.requirement("policy:publish:typed")
@pytest.mark.parametrize(
    "condition",
    [
        'context.input.currency == "EUR"',
        'context.input.amount.lessThan(decimal("5.0")) && context.input.lines.contains(3)',
        "context.input.urgent",
        'context.input.address.city like "B*"',
        'context.input has note && context.input.note == "x"',
        'context has user && context.user has roles && context.user.roles.contains("x")',
        "context has user && context.user has clearance && context.user.clearance > 3",
        'context has task && context.task has customer_id && context.task.customer_id == "c"',
        'context.now.minute < 480 && context.now.day == "sat" && context.now.date like "2026-*"',
        "context has session && context.session has calls && context.session.calls > 10",
        'context has origin && context.origin has amount && context.origin.amount == "tool_result"',
        'context has actors && context.actors.contains("agt_x")',
        'principal in Team::"sales" || resource in DataClass::"financial"',
    ],
)
def test_conditions_are_typed_by_the_pinned_definitions(condition: str) -> None:
    properties = {
        "amount": {"type": "number"},
        "currency": {"type": "string", "enum": ["EUR"]},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "urgent": {"type": "boolean"},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    strict = (server("shop", tool(REFUND, properties, required=tuple(properties))),)
    assert put(on(REFUND, condition), replace(HERE, servers=strict)).policies


@pytest.mark.requirement("policy:publish:typed")
@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("context.input.lines.contains(3)", "optional attribute"),
        ('context.user.roles.contains("x")', "optional attribute"),
        ('context has user && context.user.roles.contains("x")', "optional attribute"),
        ("context.input.amount > 3", "type"),
        ('context.input.amount == "3"', "type"),
        ('context has session && context.session has calls && context.session.calls == "x"', "type"),
        ("context has task && context.task has status", ""),
        ("context.secret == 1", "`context.secret` does not exist"),
        ('context == {"a": 1}', "the whole of `context` is read"),
        ('context.input == {"amount": 1}', "the whole of `context.input` is read"),
    ],
)
def test_a_condition_that_could_fail_on_a_call_is_refused(condition: str, words: str) -> None:
    if not words:
        # `has` of a claim no issuer declares is false by type, never an error
        assert put(on(REFUND, condition)).policies
        return
    assert any(words in finding.message for finding in refused(on(REFUND, condition)))


@pytest.mark.requirement("policy:publish:unmapped")
@pytest.mark.parametrize(
    ("argument", "why"),
    [("filter", "union"), ("extra", "free object"), ("mixed", "no schema")],
)
@pytest.mark.parametrize("form", ["context.input has {} && context.input.{} == 1", "context.input has {}"])
def test_a_policy_that_reads_an_argument_without_a_type_is_refused_by_name(argument: str, why: str, form: str) -> None:
    (finding,) = refused(on(REFUND, form.format(*[argument] * form.count("{}"))))
    assert f"`input.{argument}` of `{REFUND}`" in finding.message
    if why != "no schema":
        assert why in finding.message
    assert "schema" in finding.fix


@pytest.mark.requirement("policy:publish:unmapped")
def test_an_argument_no_tool_in_scope_has_is_refused_because_it_could_never_match() -> None:
    (finding,) = refused(on(READ, "context.input has amont"))
    assert "no tool in the policy's scope has an argument `input.amont`" in finding.message


@pytest.mark.requirement("policy:publish:collected")
def test_all_faults_are_named_at_once() -> None:
    found = refused(
        {
            "org/a.cedar": 'forbid (principal in Team::"x", action, resource); forbid (principal, action',
            "org/b.cedar": "permit (principal, action, resource);",
            "team/sales/c.cedar": "forbid (principal == ?principal, action, resource);",
        }
    )
    assert {finding.path for finding in found} == {"org/a.cedar", "team/sales/c.cedar"}
    found = refused(
        {
            "org/a.cedar": 'forbid (principal in Team::"x", action, resource);',
            "org/b.cedar": "permit (principal, action, resource);",
            "org/c.cedar": on(REFUND, "context.input.amount > 3"),
        }
    )
    assert {finding.path for finding in found} == {"org/a.cedar", "org/b.cedar", "org/c.cedar"}


@pytest.mark.requirement("policy:publish:typed")
def test_a_guardrail_may_stand_before_the_first_tool_it_speaks_of() -> None:
    text = 'forbid (principal, action in Action::"@irreversible", resource) when { context.now.minute < 480 };'
    assert put(text).policies
    assert put(text, replace(HERE, servers=())).policies
    wrong = text.replace("context.now.minute", "context.now.minutes")
    assert refused(wrong)


@pytest.mark.requirement("policy:release:digest")
def test_a_release_is_addressed_by_texts_engine_and_resolved_names() -> None:
    rule = 'forbid (principal == Agent::"support-copilot", action, resource);'
    one = put(rule)
    assert put(rule).digest == one.digest
    assert put(rule + " // comment").digest != one.digest
    assert put({"org/other.cedar": rule}).digest != one.digest
    assert put(rule, replace(HERE, agents={"support-copilot": "agt_new"})).digest != one.digest
    assert put(rule, replace(HERE, agents={**HERE.agents, "bystander": "agt_b"})).digest == one.digest
    escaped = put(rule.replace("support", "\\u{73}upport"))
    assert dict(escaped.agents) == dict(one.agents)


@pytest.mark.requirement("policy:grant:typed")
def test_a_compiled_grant_passes_the_same_validation_as_a_written_policy() -> None:
    text = GrantBook(ENGINE).permit(SUPPORT_GRANT).policy.text
    written = text.replace(f'principal in Grant::"{SUPPORT_GRANT.digest}"', 'principal in Team::"sales"')
    assert put(written).policies


# -- the official generator as an oracle

STUB = """namespace G {
  @mcp_principal entity Agent;
  @mcp_resource entity Server;
  @mcp_action("call_tool") action "call_tool" appliesTo { principal: [Agent], resource: [Server] };
}"""
_SCALAR = st.sampled_from(["string", "integer", "boolean", "number"]).map(lambda kind: {"type": kind})
_PROPERTY = _SCALAR | _SCALAR.map(lambda item: {"type": "array", "items": item})
_OBJECT = st.dictionaries(st.sampled_from("abcde"), _PROPERTY, min_size=1, max_size=4).flatmap(
    lambda fields: st.sets(st.sampled_from(sorted(fields))).map(
        lambda required: {"type": "object", "properties": fields, "required": sorted(required)}
    )
)


def _shape(kind: dict[str, Any], commons: dict[str, Any]) -> Any:
    """A type of either schema in one spelling."""
    while (name := str(kind.get("name") or kind.get("type")).split("::")[-1]) in commons:
        kind = commons[name]
    name = str(kind.get("name") or kind.get("type")).split("::")[-1]
    if kind.get("type") == "Set":
        return ("set", _shape(kind["element"], commons))
    if kind.get("type") == "Record":
        return {key: (value.get("required", True), _shape(value, commons)) for key, value in kind["attributes"].items()}
    return {"Boolean": "bool", "Bool": "bool"}.get(name, name.lower())


@pytest.mark.requirement("policy:publish:oracle")
@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from("vwxyz"), _PROPERTY | _OBJECT, min_size=1, max_size=4), st.data())
def test_arguments_are_typed_as_the_official_generator_types_them(
    properties: dict[str, Any], data: st.DataObject
) -> None:
    required = sorted(data.draw(st.sets(st.sampled_from(sorted(properties)))))
    schema = {"type": "object", "properties": properties, "required": required}
    tools = [{"name": "act", "description": "", "inputSchema": schema}]
    config = {"objectsAsRecords": True, "numbersAsDecimal": True, "flattenNamespaces": True}
    theirs = orjson.loads(cedar_mcp_schema_generator.generate_schema_or_raise(STUB, tools, config=config)["schemaJson"])
    space = next(iter(theirs.values()))
    commons = {name: kind for part in theirs.values() for name, kind in part.get("commonTypes", {}).items()}
    context = space["actions"]["act"]["appliesTo"]["context"]
    while (name := str(context.get("name") or context["type"]).split("::")[-1]) in commons:
        context = commons[name]
    expected = _shape(context["attributes"]["input"], commons)
    assert _shape(input_type({"inputSchema": schema}).document(), {}) == expected


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"enum": ["a", "b"]}, ArgumentKind.STRING),
        ({"enum": [1, 2]}, ArgumentKind.LONG),
        ({"enum": ["a", 1]}, ArgumentKind.UNMAPPED),
        ({"type": ["integer", "null"]}, ArgumentKind.LONG),
        ({"type": ["integer", "string"]}, ArgumentKind.UNMAPPED),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, ArgumentKind.DECIMAL),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, ArgumentKind.UNMAPPED),
        ({"$ref": "#/$defs/x"}, ArgumentKind.UNMAPPED),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            ArgumentKind.UNMAPPED,
        ),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}, ArgumentKind.UNMAPPED),
        ({"type": "object", "properties": {}}, ArgumentKind.UNMAPPED),
        (True, ArgumentKind.UNMAPPED),
        ({}, ArgumentKind.UNMAPPED),
    ],
)
def test_what_has_no_single_type_is_unmapped_and_null_means_absent(schema: Any, kind: ArgumentKind) -> None:
    found = argument_type(schema)
    assert found.kind is kind
    assert bool(found.reason) is (kind is ArgumentKind.UNMAPPED)


@pytest.mark.requirement("policy:publish:names")
@pytest.mark.parametrize("own", ["read.customer-v2", "a/b c", "läs", "@read", "__cedar", "if"])
def test_tools_of_any_name_are_typed_without_renaming(own: str) -> None:
    name = tool_id("odd", own)
    servers = (*SERVERS, server("odd", tool(name, {"customer-id": {"type": "string"}}, required=("customer-id",))))
    text = on(name, 'context.input["customer-id"] == "c"')
    assert put(text, replace(HERE, servers=servers)).policies
