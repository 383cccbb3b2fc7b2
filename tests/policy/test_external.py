"""Policies for types of other applications: kept to themselves, tested like any other, and judged as by all at once."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.decide import decide
from accredit.policy.explanation import explain
from accredit.policy.model import ExternalName, ExternalRequest, Outcome
from accredit.policy.ports import EngineOutcome
from accredit.policy.publish import publish
from accredit.policy.release import PolicyInvalidError
from accredit.policy.testing import Fleet, TestRun, run_tests
from tests.policy import world

_LEADS = {"type": "Ext::group", "id": "leads"}
_STAFF = {"type": "Ext::group", "id": "staff"}
ENTITIES = orjson.dumps(
    [
        {"uid": {"type": "Ext::user", "id": "ann"}, "attrs": {"level": 3}, "parents": [_STAFF]},
        {"uid": {"type": "Ext::user", "id": "bea"}, "attrs": {"level": 1}, "parents": [_LEADS]},
        {"uid": {"type": "Ext::group", "id": "leads"}, "parents": [_STAFF]},
        {"uid": {"type": "Ext::file", "id": "plan"}, "attrs": {"owner": "ann", "secret": True}},
    ]
).decode()  # fmt: skip
POLICIES = """
permit (principal in Ext::group::"staff", action == Action::"ext/read", resource is Ext::file);
permit (principal is Ext::user, action in [Action::"ext/read", Action::"ext/write"], resource is Ext::file)
when { resource has owner && resource.owner == principal.id };
forbid (principal is Ext::user, action, resource is Ext::file)
unless { context.request has mfa && context.request.mfa };
forbid (principal is Ext::user, action == Action::"ext/write", resource == Ext::file::"plan")
when { context.now.minute < 480 || context.caller == "kiosk" };
"""
FILES = {"ext/files.cedar": POLICIES, "ext/files.json": ENTITIES}
CASES = """
defaults:
  ask: {subject: {type: user, id: ann}, resource: {type: file, id: plan}, context: {mfa: true}}
  clock: "2026-11-23T10:00:00Z"
cases:
  - {name: staff read, ask: {action: read}, expect: allow}
  - name: who writes
    ask: {action: write}
    table:
      - {expect: {outcome: allow, policy: ext/files.cedar}}
      - {ask: {subject: {type: user, id: bea}}, expect: {outcome: deny, code: not_permitted}}
      - {ask: {context: {}}, expect: {outcome: deny, code: forbidden_by_policy}}
      - {ask: {caller: kiosk}, expect: deny}
      - {clock: "2026-11-23T07:00:00Z", expect: deny}
  - name: properties count for what the release does not name
    ask: {action: {name: read, properties: {quick: true}}}
    table:
      - ask: {subject: {type: user, id: zoe}, resource: {type: file, id: own, properties: {owner: zoe}}}
        expect: allow
      - {ask: {resource: {type: file, id: own, properties: {owner: zoe}}}, expect: {outcome: allow}}
      - {ask: {subject: {type: user, id: zoe}}, expect: {outcome: deny, code: not_permitted}}
"""


def _question(subject: str, action: str, resource: str = "file:plan", **more: Any) -> ExternalRequest:
    who, what = (ExternalName(kind, name) for kind, _, name in (subject.partition(":"), resource.partition(":")))
    given: dict[str, Any] = {"context": {"mfa": True}, "caller": "app", "time_us": 1_795_428_000_000_000}
    return ExternalRequest(who, action, what, **(given | more))


def _run(cases: str, files: dict[str, str] = FILES, **how: Any) -> TestRun:
    return run_tests(world.release({**files, "tests/files.yaml": cases}), world.ENGINE, Fleet({}, ()), **how)


# -- tests of a release


@pytest.mark.requirement("policy:external:tested")
def test_cases_ask_questions_and_miss_no_policy() -> None:
    run = _run(CASES, mutation=True)
    assert [(one.name, one.why) for one in run.failed] == []
    assert len(run.cases) == 9
    assert (run.determined, run.branch_share, run.survivors) == (4, 1.0, ())


@pytest.mark.requirement("policy:external:tested")
def test_a_policy_that_no_question_reaches_is_named() -> None:
    only = CASES.split("  - name: who writes", maxsplit=1)[0]
    run = _run(only, mutation=True)
    assert run.passed
    assert run.survivors is not None
    assert run.coverage[3].policy in run.survivors
    assert [one.in_scope for one in run.coverage] == [True, True, True, False]


@pytest.mark.requirement("policy:external:tested")
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("{name: x, ask: {action: read}, expect: allow}", "lacks"),
        ("{name: x, ask: {subject: {type: user, id: ann}, action: 7}, expect: allow}", "ask"),
        ("{name: x, ask: {subject: {type: user}}, expect: allow}", "id"),
        ("{name: x, ask: {who: ann}, expect: allow}", "who"),
    ],
)
def test_a_question_that_is_not_whole_is_refused(case: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        _run(f"cases: [{case}]")


MAPPED = """
servers:
  bank:
    tools:
      open:
        effect: read
        data: [financial]
        input:
          type: object
          properties: {account: {type: string}}
          x-authzen-mapping:
            evaluation:
              action: {name: read}
              resource: {type: file, id: $params.arguments.account}
              context: {mfa: "$has(token.user) && token.user.mfa"}
agents: {teller: {data: [financial], tools: [bank/open]}}
defaults: {agent: teller, call: {tool: bank/open}, user: {id: ann, mfa: true}}
cases:
  - name: who may open what
    table:
      - {input: {account: plan}, expect: {outcome: allow, policy: ext/mapped.cedar}}
      - {input: {account: plan}, user: {id: bea, mfa: true}, expect: {outcome: deny, code: mapping_denied}}
      - {input: {account: plan}, user: {id: ann, mfa: false}, expect: {outcome: deny, policy: ext/mapped.cedar}}
      - {input: {}, expect: {outcome: deny, code: mapping_failed}}
      - {input: {account: plan}, user: {roles: []}, expect: {outcome: deny, code: mapping_failed}}
"""


@pytest.mark.requirement("policy:external:tested")
def test_calls_of_tools_that_declare_a_mapping_are_cases_for_what_it_asks() -> None:
    policies = """
permit (principal == Ext::identity::"ann", action == Action::"ext/read", resource is Ext::file);
forbid (principal is Ext::identity, action == Action::"ext/read", resource is Ext::file)
unless { context.request.mfa };
"""
    run = _run(MAPPED, {"ext/mapped.cedar": policies}, mutation=True)
    assert [(one.name, one.why) for one in run.failed] == []
    assert (len(run.cases), run.determined, run.survivors) == (5, 2, ())


# -- explanations


@pytest.mark.requirement("policy:explain:questions")
def test_an_explanation_names_what_was_read_who_vouches_and_what_would_help() -> None:
    found = explain(_question("user:ann", "write", context={}), world.snapshot(FILES))
    assert (found.outcome, found.code) == ("deny", "forbidden_by_policy")
    (forbid,) = found.policies
    assert "has mfa" in forbid.text
    assert {fact.path for fact in forbid.facts} == {"context.request.mfa"}
    assert {fact.vouched for fact in forbid.facts} == {
        "the enforcement point that asked, or the tool's mapping; of that, `agent` is ours"
    }
    assert [(one.id, one.vouched) for one in found.entities] == [("ann", "the release"), ("plan", "the release")]
    assert found.entities[1].attributes == {"id": "plan", "owner": "ann", "secret": True}
    changes = {one.change: one.outcome for one in found.alternatives}
    assert changes[f"without policy {forbid.id}"] == "allow"
    sent = _question("user:zoe", "read", "file:x")
    named = explain(sent, world.snapshot(FILES))
    assert named.code == "not_permitted"
    assert {one.vouched for one in named.entities} == {"the enforcement point that asked"}
    assert [one.effect for one in named.policies] == ["permit"]


@pytest.mark.requirement("policy:explain:questions")
def test_no_explanation_changes_the_time_of_a_question() -> None:
    found = explain(_question("user:ann", "write", time_us=1_795_410_000_000_000), world.snapshot(FILES))
    assert found.code == "forbidden_by_policy"
    assert not [one.change for one in found.alternatives if "context.now" in one.change]


# -- kept to themselves


@pytest.mark.requirement("policy:external:isolated")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("permit (principal, action, resource);", "is not limited to one"),
        ('permit (principal is Ext::user, action == Action::"ext/read", resource);', "resource .* not limited"),
        ("permit (principal is Ext::user, action, resource is Ext::file);", "names no operation"),
        ('permit (principal is Agent, action == Action::"ext/read", resource is Ext::file);', "not under `Ext::`"),
        ('permit (principal is Ext::user, action == Action::"crm/read", resource is Ext::file);', "form `ext/<name>`"),
        ('permit (principal is Ext::user, action == Action::"ext/", resource is Ext::file);', "form `ext/<name>`"),
        (
            'permit (principal is Ext::user, action == Action::"ext/read", resource is Tool);',
            "resource .*not under `Ext::`",
        ),
        (
            (
                'permit (principal is Ext::user, action == Action::"ext/read", resource is Ext::file)'
                ' when { principal in Team::"ops" };'
            ),
            "`Team::.*is not under",
        ),
        (
            (
                'permit (principal is Ext::user, action == Action::"ext/read", resource is Ext::file)'
                " when { context.user.roles.contains(1) };"
            ),
            "`context.user` does not exist",
        ),
        (
            (
                'permit (principal is Ext::user, action == Action::"ext/read", resource is Ext::file)'
                " when { context == context };"
            ),
            "whole of `context`",
        ),
        (
            '@hold("security") forbid (principal is Ext::user, action == Action::"ext/read", resource is Ext::file);',
            "`@hold` has no meaning",
        ),
        ('permit (principal == ?principal, action == Action::"ext/read", resource is Ext::file);', "template"),
    ],
)
def test_nothing_under_ext_reaches_beyond_it(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        world.release({"ext/rules.cedar": text})


@pytest.mark.requirement("policy:external:isolated")
@pytest.mark.parametrize(
    ("entities", "words"),
    [
        ("{}", "no list"),
        ("[", "not JSON"),
        ('[{"uid":{"type":"Agent","id":"a"}}]', "names no entity under"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"parents":[{"type":"Team","id":"ops"}]}]', "parent is no entity"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"attrs":{"x":{"__entity":{"type":"Agent","id":"a"}}}}]', "stands for"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"attrs":{"x":1.5}}]', "fraction"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"attrs":{"id":"b"}}]', "has an `id`"),
        ('[{"uid":{"type":"Ext::user","id":"a"}},{"uid":{"type":"Ext::user","id":"a"}}]', "stands twice"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"parents":[{"type":"Ext::user","id":"a"}]}]', "own ancestor"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"extra":1}]', "other keys"),
        ('[{"uid":{"type":"Ext::user","id":"a"},"attrs":{"x":' + "[" * 40 + "]" * 40 + "}}]", "nested deeper"),
    ],
)
def test_entities_are_plain_and_of_external_types(entities: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        world.release({"ext/things.json": entities})


@pytest.mark.requirement("policy:external:isolated")
def test_external_policies_change_nothing_for_agents_and_agents_policies_nothing_for_them() -> None:
    forbidding = {"org/stop.cedar": "forbid (principal, action, resource);"}
    assert decide(_question("user:ann", "read"), world.snapshot({**FILES, **forbidding})).outcome is Outcome.ALLOW
    wide = {"ext/stop.cedar": "forbid (principal is Ext::user, action, resource);"}
    assert world.ask(wide).outcome is Outcome.ALLOW
    assert world.ask({}).slice == world.ask(wide).slice
    assert decide(_question("user:ann", "read"), world.snapshot({**FILES, **wide})).outcome is Outcome.DENY


@pytest.mark.requirement("policy:external:isolated")
def test_what_a_caller_says_of_somebody_the_release_names_does_not_count() -> None:
    under = world.snapshot(FILES)
    claimed = ExternalName("user", "bea", {"id": "ann", "level": 9})
    owned = ExternalName("file", "plan", {"owner": "bea"})
    asked = ExternalRequest(claimed, "write", owned, context={"mfa": True}, time_us=1_795_428_000_000_000)
    assert decide(asked, under).code is Code.NOT_PERMITTED


@pytest.mark.requirement("policy:external:isolated")
@pytest.mark.parametrize("place", ["context", "arguments", "properties"])
def test_a_reserved_key_refuses_wherever_it_stands(place: str) -> None:
    hidden = {"mfa": True, "deep": [{"__entity": {"type": "Ext::user", "id": "ann"}}]}
    if place == "properties":
        asked = ExternalRequest(ExternalName("user", "zoe", hidden), "read", ExternalName("file", "plan"))
    else:
        more: dict[str, Any] = {place: hidden}
        asked = _question("user:ann", "read", **more)
    assert decide(asked, world.snapshot(FILES)).code is Code.RESERVED_KEY


@pytest.mark.requirement("policy:external:isolated")
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (_question("robot:r", "read"), Code.TYPE_UNKNOWN),
        (_question("user:ann", "erase"), Code.ACTION_UNKNOWN),
        (_question("user:ann", "read", context={"mfa": True, "at": 1.5}), Code.ALLOWED),
        (_question("user:ann", "read", context={"mfa": 2**70}), Code.UNENCODABLE_INPUT),
        (_question("user:ann", "write", time_trusted=False), Code.CLOCK_UNCONFIRMED),
        (_question("user:ann", "read", "user:ann"), Code.NOT_PERMITTED),
    ],
)
def test_what_cannot_be_judged_denies_and_says_why(asked: ExternalRequest, code: Code) -> None:
    assert decide(asked, world.snapshot(FILES)).code is code


_READS = 'permit (principal is Ext::user, action == Action::"ext/read", resource is Ext::file)'


@pytest.mark.requirement("policy:external:linted")
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"{_READS} when {{ context.now.minute < 10 && context.now.minute > 20 }};", "always-false"),
        (f'{_READS} when {{ resource has name && resource.name like "{"*a" * 12}" }};', "glob-heavy"),
        (
            'permit (principal == Ext::user::"a\u200bnn", action == Action::"ext/read", resource is Ext::file);',
            "hidden-characters",
        ),
        (f'@Hold("security") {_READS};', "annotation-unknown"),
    ],
)
def test_what_could_never_act_as_meant_is_refused(text: str, rule: str) -> None:
    with pytest.raises(PolicyInvalidError) as refused:
        publish({"ext/rules.cedar": text}, world.ENGINE, world.INSTALLATION)
    assert rule in {one.rule for one in refused.value.findings}


@pytest.mark.requirement("policy:external:linted")
def test_every_fault_under_ext_is_named_with_its_place() -> None:
    files = {"ext/rules.cedar": "permit (principal, action, resource);", "ext/things.json": "["}
    with pytest.raises(PolicyInvalidError) as refused:
        publish(files, world.ENGINE, world.INSTALLATION)
    assert {one.path for one in refused.value.findings} == set(files)
    lookalike = '[{"uid": {"type": "Ext::user", "id": "b\\u200bob"}}]'
    with pytest.raises(PolicyInvalidError, match="deceive the eye"):
        publish({"ext/things.json": lookalike}, world.ENGINE, world.INSTALLATION)


# -- sliced = flat

_CONDITIONS = (
    "",
    "when { principal has level && principal.level == 1 }",
    "unless { resource has owner && resource.owner == principal.id }",
    "when { context.request has mfa }",
    'when { context.caller == "app" }',
    'when { principal in Ext::group::"leads" }',
)
_SCOPES = ("principal is Ext::user", 'principal in Ext::group::"staff"', 'principal == Ext::user::"bea"')
_ACTIONS = ('action == Action::"ext/read"', 'action in [Action::"ext/read", Action::"ext/write"]')
_RESOURCES = ("resource is Ext::file", 'resource == Ext::file::"plan"')
_TEXTS = st.builds(
    "{} ({}, {}, {}) {};".format,
    st.sampled_from(("permit", "permit", "forbid")),
    st.sampled_from(_SCOPES),
    st.sampled_from(_ACTIONS),
    st.sampled_from(_RESOURCES),
    st.sampled_from(_CONDITIONS),
)


def _with_scope(text: str) -> str:
    """A policy as the engine itself reads it, its scope not taken out."""
    (tree,) = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    return json.dumps(tree)


@pytest.mark.requirement("policy:external:sliced-is-flat")
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(_TEXTS, min_size=1, max_size=6, unique=True))
def test_the_policies_in_scope_decide_as_all_of_them_would(texts: list[str]) -> None:
    under = world.snapshot({"ext/rules.cedar": "\n".join(texts), "ext/things.json": ENTITIES})
    model = under.release.external
    whole = world.ENGINE.compile([(policy.id, _with_scope(policy.text)) for policy in model.policies])
    for who in ("ann", "bea", "zoe"):
        for what in ("plan", "own"):
            for action in model.actions:
                asked = _question(f"user:{who}", action, f"file:{what}", context={"mfa": True})
                made = decide(asked, under)
                documents = [entity.document for entity in model.entities.values()]
                for kind, name in (("user", who), ("file", what)):
                    if f'"{name}"' not in ENTITIES:
                        uid = {"type": f"Ext::{kind}", "id": name}
                        documents.append(orjson.dumps({"uid": uid, "attrs": {"id": name}, "parents": []}).decode())
                context = {"action": {}, "caller": "app", "request": {"mfa": True}}
                flat = world.ENGINE.evaluate(
                    whole,
                    {"type": "Ext::user", "id": who},
                    {"type": "Action", "id": f"ext/{action}"},
                    {"type": "Ext::file", "id": what},
                    orjson.dumps(context).decode(),
                    world.ENGINE.load(f"[{','.join(documents)}]"),
                )
                assert (made.outcome is Outcome.ALLOW) is (flat.outcome is EngineOutcome.ALLOW)
                assert made.policies == tuple(sorted(flat.reasons))
