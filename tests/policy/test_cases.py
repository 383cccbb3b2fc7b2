"""Policy tests: read strictly, run by the same decide, and honest about what they leave untested."""

from __future__ import annotations

import contextlib
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.errors import AccreditError, InvalidInputError
from accredit.policy.cases import read_cases
from accredit.policy.junit import junit_xml
from accredit.policy.release import read_release
from accredit.policy.testing import Fleet, TestRun, run_tests
from tests.policy import world

FLEET = Fleet({"development/support-copilot": world.COPILOT}, world.SERVERS)
POLICIES = """
@hold("security")
forbid (principal, action == Action::"shop/refund", resource)
when { context.input.amount.greaterThan(decimal("100.0")) };
forbid (principal in Team::"customer-support", action == Action::"crm/update_customer", resource)
unless { context has user && context.user has roles && context.user.roles.contains("lead") };
"""
LIMIT = """forbid (principal, action == Action::"shop/refund", resource)
when { context.input.amount.greaterThan(decimal("100.0")) };
"""
CASES = """
defaults:
  agent: support-copilot
  user: {id: u-1, roles: [customer-support]}
  clock: "2026-11-23T10:00:00+01:00"
cases:
  - name: small refunds
    call: {tool: shop/refund, input: {amount: 10}}
    expect: allow
  - name: large refunds
    call: {tool: shop/refund}
    expect: {outcome: hold, role: security, policy: org/rules.cedar}
    table:
      - input: {amount: 101}
      - {name: far beyond, input: {amount: 5000.5}}
  - name: a person approved it
    call: {tool: shop/refund, input: {amount: 500}}
    granted: [org/rules.cedar]
    expect: allow
  - name: who may update
    call: {tool: crm/update_customer, input: {customer_id: c-1, note: x}}
    table:
      - {user: {roles: [lead]}, expect: {outcome: allow, policy: grant/crm/update_customer}}
      - {user: {roles: [guest]}, expect: {outcome: deny, code: forbidden_by_policy}}
  - name: the right customer
    call: {tool: crm/read_customer, input: {customer_id: c-77}}
    table:
      - {task: {customer_id: c-77}, expect: allow}
      - task: {customer_id: c-78}
        expect: {outcome: deny, code: task_mismatch, unmet: ["sameAs: input.customer_id = task.customer_id"]}
      - {task: {customer_id: c-77}, clock: "2026-11-23T19:00:00+01:00", expect: {outcome: deny, code: outside_hours}}
"""


def _run(cases: str = CASES, policies: str = POLICIES, **how: Any) -> TestRun:
    files = {"org/rules.cedar": policies, "tests/rules.yaml": cases}
    return run_tests(read_release(files, world.ENGINE, agents=world.AGENTS), world.ENGINE, FLEET, **how)


@pytest.mark.requirement("policy:tests:run")
def test_cases_pass_or_say_what_happened_instead() -> None:
    run = _run()
    assert run.failed == ()
    assert len(run.cases) == 9
    assert run.passed
    wrong = _run(CASES.replace("expect: {outcome: hold, role: security,", "expect: {outcome: hold, role: admin,"))
    assert [one.name for one in wrong.failed] == ["large refunds: 1", "large refunds: far beyond"]
    assert "waits for `security`" in wrong.failed[0].why
    denied = _run(CASES.replace("input: {amount: 10}", "input: {amount: 10.00001}"))
    assert "unencodable_input" in denied.failed[0].why
    assert not _run("cases: []").passed


@pytest.mark.requirement("policy:tests:run")
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("{agent: nobody, call: {tool: shop/refund}, expect: deny}", "no agent is called"),
        ("{agent: support-copilot, call: {tool: shop/nothing}, expect: deny}", "there is no tool"),
        ("{agent: support-copilot, call: {tool: shop/refund}, expect: deny}", "before any policy is asked"),
        (
            "{agent: support-copilot, call: {tool: shop/refund, input: {amount: 1, x: 1}}, expect: deny}",
            "before any policy is asked",
        ),
        (
            (
                "{agent: support-copilot, call: {tool: shop/refund, input: {amount: 1}},"
                " expect: {outcome: allow, policy: org/rules.cedar}}"
            ),
            "expected `org/rules.cedar` to determine it",
        ),
    ],
)
def test_a_case_that_reaches_no_policy_fails_and_says_why(case: str, words: str) -> None:
    (result,) = _run(f"cases: [{{name: x, {case[1:]}]").cases
    assert not result.passed
    assert words in result.why


@pytest.mark.requirement("policy:tests:coverage")
def test_coverage_is_by_policy_and_by_branch() -> None:
    assert _run().branch_share == 1.0
    assert _run().determined == 2
    first = "  - name: small refunds\n    call: {tool: shop/refund, input: {amount: 10}}\n    expect: allow\n"
    only = CASES.split("  - name: a person", maxsplit=1)[0].replace(first, "")
    run = _run(only)
    assert {(one.in_scope, one.determined, one.stood_aside) for one in run.coverage} == {
        (True, True, False),
        (False, False, False),
    }
    assert (run.determined, run.branch_share) == (1, 0.25)


@pytest.mark.requirement("policy:tests:mutation")
def test_a_policy_whose_loss_no_case_notices_survives() -> None:
    assert _run(mutation=True).survivors == ()
    idle = POLICIES + LIMIT.replace("100.0", "9999999.0")
    survivors = _run(policies=idle, mutation=True).survivors
    assert survivors is not None
    assert len(survivors) == 1
    assert _run(policies=idle).survivors is None


FIXTURES = """
servers:
  bank:
    tools:
      pay:
        effect: external
        data: [financial]
        input: {type: object, properties: {iban: {type: string}}, required: [iban]}
agents:
  payer:
    team: treasury
    tier: medium
    data: [financial]
    tools: [{tool: bank/pay, userRole: clerk, hours: {window: "08:00-18:00", zone: Europe/Berlin}}]
cases:
  - name: fixtures stand in for what is not registered
    agent: payer
    call: {tool: bank/pay, input: {iban: DE1}}
    table:
      - {user: {roles: [clerk]}, clock: "2026-11-23T10:00:00+01:00", expect: {outcome: hold, role: security}}
      - {user: {roles: [clerk]}, clock: "2026-11-23T19:00:00+01:00", expect: {outcome: deny, code: outside_hours}}
      - {user: {roles: [clerk]}, tier: low, clock: "2026-11-23T10:00:00+01:00", expect: allow}
      - {user: {roles: [clerk]}, state: suspended, expect: {outcome: deny, code: agent_not_active}}
"""
OF_PAYER = """@hold("security")
forbid (principal == Agent::"payer", action, resource) unless { principal in RiskTier::"low" };"""


@pytest.mark.requirement("policy:tests:fixtures")
def test_a_library_is_tested_without_an_installation() -> None:
    files = {"agent/payer/own.cedar": OF_PAYER, "tests/pay.yaml": FIXTURES}
    run = run_tests(read_release(files, world.ENGINE, agents={}), world.ENGINE, Fleet({}, ()), mutation=True)
    assert run.failed == ()
    assert (run.survivors, run.branch_share) == ((), 1.0)


MODELS = """
servers:
  gpt: {models: [gpt-x, gpt-y]}
agents:
  writer: {team: docs, models: [gpt/gpt-x]}
cases:
  - name: short answers, without what deletes
    agent: writer
    call: {tool: gpt/gpt-x, input: {user_text: hello}}
    table:
      - {input: {max_output_tokens: 8000}, expect: allow}
      - {input: {max_output_tokens: 8001}, expect: {outcome: deny, policy: org/models.cedar}}
      - {input: {tools: [delete_everything]}, expect: {outcome: deny, policy: org/models.cedar}}
  - name: no other model
    agent: writer
    call: {tool: gpt/gpt-y}
    expect: {outcome: deny, code: tool_not_granted}
"""
OF_MODELS = """
forbid (principal, action == Action::"llm/chat", resource in Provider::"gpt")
when { context.input.max_output_tokens > 8000 };
forbid (principal, action in Action::"@call_model", resource == Model::"gpt/gpt-x")
when { context.input.tools.contains("delete_everything") };
"""


@pytest.mark.requirement("policy:tests:fixtures")
def test_policies_on_language_models_are_tested_like_any_other() -> None:
    files = {"org/models.cedar": OF_MODELS, "tests/models.yaml": MODELS}
    run = run_tests(read_release(files, world.ENGINE, agents={}), world.ENGINE, Fleet({}, ()), mutation=True)
    assert run.failed == ()
    assert (run.survivors, run.branch_share) == ((), 1.0)
    wrong = MODELS.replace("user_text: hello", "temperature: 1")
    (said, *_) = run_tests(
        read_release(files | {"tests/models.yaml": wrong}, world.ENGINE, agents={}), world.ENGINE, Fleet({}, ())
    ).failed
    assert "temperature" in str(said)


ITEMS = """
servers:
  lib:
    environment: production
    resources: {"lib://shelf": {data: [internal]}, "lib://card/{customer}": {data: [personal]}}
    prompts: {letter: {data: [internal], arguments: [tone]}}
agents:
  reader:
    team: docs
    data: [internal, personal]
    tools: ["lib/resources/lib://shelf", "lib/resources/lib://card/{customer}", lib/prompts/letter]
cases:
  - name: cards of customers
    agent: reader
    call: {tool: "lib/resources/lib://card/{customer}"}
    table:
      - {input: {customer: c-1}, expect: allow}
      - {input: {customer: c-9}, expect: {outcome: deny, policy: org/items.cedar}}
      - {input: {uri: "lib://card/c-9"}, expect: {outcome: deny, policy: org/items.cedar}}
  - {name: the shelf, agent: reader, call: {tool: "lib/resources/lib://shelf"}, expect: allow}
  - name: no strict letters
    agent: reader
    call: {tool: lib/prompts/letter}
    table:
      - {input: {tone: kind}, expect: allow}
      - {input: {tone: strict}, expect: {outcome: deny, policy: org/items.cedar}}
"""
OF_ITEMS = """
forbid (principal, action in Action::"@read", resource == Item::"lib/resources/lib%3A%2F%2Fcard%2F%7Bcustomer%7D")
when { context.input.uri like "lib://card/*" && context.input.customer == "c-9" };
forbid (principal, action == Action::"lib/prompts/letter", resource in Server::"lib")
when { context.input.tone == "strict" };
"""


@pytest.mark.requirement("policy:tests:fixtures", "items:policies")
def test_policies_on_resources_and_prompts_are_tested_like_any_other() -> None:
    files = {"org/items.cedar": OF_ITEMS, "tests/items.yaml": ITEMS}
    run = run_tests(read_release(files, world.ENGINE, agents={}), world.ENGINE, Fleet({}, ()), mutation=True)
    assert run.failed == ()
    assert run.survivors == ()
    for right, wrong, said in (
        ("{customer: c-1}", '{customer: c-1, uri: "lib://card/c-2"}', "not the one"),
        ("{tone: kind}", "{mood: kind}", "mood"),
    ):
        with_fault = {**files, "tests/items.yaml": ITEMS.replace(right, wrong)}
        again = run_tests(read_release(with_fault, world.ENGINE, agents={}), world.ENGINE, Fleet({}, ()))
        assert said in str(again.failed[0])
    with pytest.raises(InvalidInputError, match="can be registered"):
        read_cases("tests/items.yaml", ITEMS.replace('"lib://shelf": {', '"lib://{a}{b}": {'))


@pytest.mark.requirement("policy:tests:strict")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("servers: {a: {}}\ncases: []", "has `tools`"),
        ("servers: {a: {models: [m], tools: {t: {effect: read}}}}\ncases: []", "has `tools`"),
        ("", "one document"),
        ("- a", "one document"),
        ("cases: 1", "cases"),
        ("cases: []\nextra: 1", "extra"),
        ("cases: [{name: a, expct: deny}]", "expct"),
        ("cases: [{name: a, expect: deny}]", "lacks one of"),
        ("cases: [{name: a, name: b}]", "repeated"),
        ("cases: &a []\nagents: *a", "anchor"),
        ("cases: [{name: a, agent: b, call: {tool: c}, expect: deny, clock: now}]", "no time"),
        ('cases: [{name: a, agent: b, call: {tool: c}, expect: deny, clock: "2026-01-01T00:00:00"}]', "no zone"),
        ("agents: {a: {tools: [{tool: t/x, hours: {window: x}}]}}\ncases: []", "window of hours"),
        ("cases: []\n---\ncases: []", "one document"),
        ("cases: [" + "[" * 40, "nested"),
    ],
)
def test_what_is_not_of_the_form_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as refused:
        read_cases("tests/a.yaml", text)
    assert refused.value.message.startswith("tests/a.yaml: ")
    assert refused.value.hint


@pytest.mark.requirement("policy:tests:strict")
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for tried in (text, "cases:\n" + text, "cases: [{name: " + text):
        with contextlib.suppress(AccreditError):
            read_cases("tests/a.yaml", tried)


@pytest.mark.requirement("policy:tests:junit")
def test_the_report_is_xml_whatever_names_say() -> None:
    name = '"a \\"<&>\u202e\\""'
    cases = CASES.replace("small refunds", name).replace("expect: allow", "expect: deny", 1)
    run = _run(cases, mutation=True)
    root = ET.fromstring(junit_xml(run, seconds=1.5))  # noqa: S314 - our own output
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures")) == ("9", "1")
    (suite,) = root
    assert suite.get("name") == "tests/rules.yaml"
    failures = suite.findall("testcase/failure")
    assert len(failures) == 1
    assert "expected deny" in str(failures[0].get("message"))
