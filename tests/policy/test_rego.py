"""Rego may only refuse: whatever it says or fails at, nothing is let through that Cedar would not."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.decide import decide
from accredit.policy.engines.rego import RegoEngine
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.policy.ports import VetoAnswer
from accredit.policy.publish import Installation, examine, publish
from accredit.policy.release import PolicyInvalidError, read_release
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.testing import Fleet, run_tests
from tests.policy import world

REGO = RegoEngine()
PLACE: Installation = replace(world.INSTALLATION, veto=REGO)
HEAD = "package accredit.crm\nimport rego.v1\n"
# the mission's example, written as what must not be
CRM = (
    HEAD
    + """
deny contains "the user has no role for this" if { not "customer-support" in input.context.user.roles }
deny contains "another customer's data" if { not input.context.input.customer_id == input.context.task.customer_id }
deny contains "outside of office hours" if { not office }
office if {
  input.context.now.minute >= 480
  input.context.now.minute < 1080
  input.context.now.day in {"mon", "tue", "wed", "thu", "fri"}
}
"""
)
BARE = world.agent(world.grant(world.READ), world.grant(world.REFUND))
"""Granted without any condition: what the other engine has to say is all there is."""


def _ask(text: str, context: Mapping[str, Any], by: Any = BARE, on: Any = world.READ, **files: str) -> Decision:
    release = read_release({"org/crm.rego": text, **files}, world.ENGINE, agents=world.AGENTS)
    return decide(CallRequest(by, on, context), PolicySnapshot(release, world.SERVERS, world.ENGINE, veto=REGO))


def _cedar(context: Mapping[str, Any]) -> Outcome:
    return world.ask("", context).outcome


FORBID = "forbid (principal, action, resource);"
CASES: dict[str, dict[str, Any]] = {
    "right": {},
    "another customer": {"task": {"id": "T", "customer_id": "c-78"}},
    "no task": {"task": None},
    "no user": {"user": None},
    "another role": {"user": {"id": "u", "roles": ["guest"]}},
    "no roles": {"user": {"id": "u", "roles": []}},
    "first minute": {"now": {"minute": 480, "day": "mon", "date": "2026-11-23"}},
    "a minute early": {"now": {"minute": 479, "day": "mon", "date": "2026-11-23"}},
    "last minute": {"now": {"minute": 1079, "day": "fri", "date": "2026-11-27"}},
    "a minute late": {"now": {"minute": 1080, "day": "fri", "date": "2026-11-27"}},
    "a sunday": {"now": {"minute": 600, "day": "sun", "date": "2026-11-29"}},
    "unicode": {"input": {"customer_id": "ç-77\u202e"}, "task": {"id": "T", "customer_id": "ç-77\u202e"}},
    "another type": {"input": {"customer_id": "7"}, "task": {"id": "T", "customer_id": 7}},
}


@pytest.mark.requirement("policy:rego:cases")
@pytest.mark.parametrize("case", CASES)
def test_one_case_table_comes_out_alike_in_both_engines(case: str) -> None:
    context = world.office_call(**CASES[case])
    decided = _ask(CRM, context)
    assert decided.outcome is _cedar(context)
    if decided.outcome is Outcome.DENY:
        assert decided.code is Code.VETOED
        assert decided.policies[0].startswith("org/crm.rego@")


FAULTS: dict[str, str] = {
    "undefined": HEAD + 'deny := {"x"} if { input.nothing }\n',
    "no set": HEAD + 'deny := "no"\n',
    "no texts": HEAD + "deny contains 1\n",
    "in conflict": HEAD + 'deny := {"a"} if { input.context }\ndeny := {"b"} if { input.context.now }\n',
}


@pytest.mark.requirement("policy:rego:fails-closed")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_judged_refuses_with_a_code_of_its_own(fault: str) -> None:
    decided = _ask(FAULTS[fault], world.office_call())
    assert (decided.outcome, decided.code) == (Outcome.DENY, Code.VETO_FAILED)
    assert decided.faults


@pytest.mark.requirement("policy:rego:fails-closed")
def test_without_the_engine_and_with_one_that_panics_everything_is_refused() -> None:
    release = read_release({"org/crm.rego": CRM}, world.ENGINE, agents=world.AGENTS)
    request = CallRequest(BARE, world.READ, world.office_call())

    class Panicking(RegoEngine):
        def ask(self, handle: Any, document: str) -> VetoAnswer:
            raise RecursionError

    for veto in (None, Panicking()):
        decided = decide(request, PolicySnapshot(release, world.SERVERS, world.ENGINE, veto=veto))
        assert (decided.outcome, decided.code) == (Outcome.DENY, Code.VETO_FAILED)
    nan = {**world.office_call(), "declared": {"x": float("nan"), "big": 2**70}}
    assert decide(request, PolicySnapshot(release, world.SERVERS, world.ENGINE, veto=REGO)).outcome is Outcome.ALLOW
    assert _ask(CRM, nan).outcome is Outcome.DENY


@pytest.mark.requirement("policy:rego:never-widens")
@given(
    rego=st.sampled_from([CRM, HEAD + "deny contains m if { false; m := 1 }\n", *FAULTS.values()]),
    cedar=st.sampled_from(["", FORBID, f'@hold("security") {FORBID}']),
    case=st.sampled_from(list(CASES)),
    granted=st.booleans(),
)
def test_with_any_rules_the_outcome_is_the_same_or_a_denial(rego: str, cedar: str, case: str, *, granted: bool) -> None:
    context, by = world.office_call(**CASES[case]), BARE if granted else world.COPILOT
    plain = world.ask(cedar, context, by=by)
    files = {"org/rules.cedar": cedar} if cedar else {}
    both = _ask(rego, context, by, **files)
    assert both.outcome is Outcome.DENY or both.outcome is plain.outcome
    if plain.outcome is Outcome.DENY:
        assert (both.code, both.policies) == (plain.code, plain.policies)
    if both.outcome is Outcome.HOLD:
        assert both.needs == plain.needs


@pytest.mark.requirement("policy:rego:threads")
def test_each_thread_has_an_engine_of_its_own_and_all_say_the_same() -> None:
    handle = REGO.compile({"a": CRM})
    facts = world.office_call()

    wrong: list[int] = []

    def many(number: int) -> None:
        mine = "c-77" if number % 2 else "c-78"
        asked = json.dumps({"context": {**facts, "input": {"customer_id": mine}}})
        refused = [bool(REGO.ask(handle, asked).policies) for _ in range(300)]
        wrong.extend(number for one in refused if one is (mine == "c-77"))

    threads = [threading.Thread(target=many, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


BAD: dict[str, tuple[str, str]] = {
    "does not parse": (HEAD + "deny contains", "does not parse"),
    "another package": ("package other.crm\nimport rego.v1\ndeny contains 1 if { false }\n", "no package of its own"),
    "no deny": (HEAD + "allow := true\n", "has no `deny`"),
    "deny in a comment": (HEAD + "# deny\nallow := true\n", "has no `deny`"),
    "a clock": (HEAD + 'deny contains "x" if { time.now_ns() > 1 }\n', "two ways"),
    "a clock with spaces": (HEAD + 'deny contains "x" if { time . now_ns() > 1 }\n', "does not parse"),
    "chance": (HEAD + 'deny contains "x" if { rand.intn("a", 9) > 1 }\n', "two ways"),
    "the network": (HEAD + 'deny contains "x" if { http.send({}) }\n', "two ways"),
    "the environment": (HEAD + 'deny contains "x" if { opa.runtime().env.A }\n', "two ways"),
    "no set": (FAULTS["no set"], "does not evaluate"),
    "huge": (HEAD + "# " + "x" * 40_000 + '\ndeny contains "x" if { false }\n', "too long"),
    "deep": (HEAD + 'deny contains "x" if { x := ' + "[" * 100 + "]" * 100 + " }\n", "too deeply"),
}  # fmt: skip


@pytest.mark.requirement("policy:rego:lint")
@pytest.mark.parametrize("fault", BAD)
def test_a_module_that_could_not_refuse_or_answers_in_two_ways_is_not_published(fault: str) -> None:
    text, words = BAD[fault]
    with pytest.raises(PolicyInvalidError) as refused:
        publish({"org/crm.rego": text}, world.ENGINE, PLACE)
    (finding,) = refused.value.findings
    assert words in finding.message
    assert finding.fix
    with pytest.raises(InvalidInputError):
        REGO.check("org/crm.rego", text)


@pytest.mark.requirement("policy:rego:lint")
def test_only_the_organisation_has_such_rules_and_only_where_the_engine_is_installed() -> None:
    assert publish({"org/crm.rego": CRM}, world.ENGINE, PLACE).vetoes
    with pytest.raises(PolicyInvalidError, match="not installed"):
        publish({"org/crm.rego": CRM}, world.ENGINE, world.INSTALLATION)
    with pytest.raises(PolicyInvalidError, match="not a path"):
        publish({"team/sales/crm.rego": CRM}, world.ENGINE, PLACE)
    assert examine({"org/crm.rego": CRM}, world.ENGINE, PLACE)[1] == ()


@pytest.mark.requirement("policy:rego:tests")
def test_cases_coverage_and_mutation_take_rego_as_they_take_cedar() -> None:
    cases = """
defaults: {agent: support-copilot, clock: "2026-11-23T10:00:00+01:00"}
cases:
  - name: the right customer
    call: {tool: crm/read_customer, input: {customer_id: c-77}}
    user: {roles: [customer-support]}
    table:
      - {task: {customer_id: c-77}, expect: allow}
      - {task: {customer_id: c-78}, expect: {outcome: deny, code: vetoed, policy: org/crm.rego}}
"""
    agents = {"development/support-copilot": BARE}
    files = {"org/crm.rego": CRM, "tests/crm.yaml": cases}
    release = read_release(files, world.ENGINE, agents=world.AGENTS)
    run = run_tests(release, world.ENGINE, Fleet(agents, world.SERVERS), mutation=True, veto=REGO)
    assert run.failed == ()
    assert (run.survivors, run.branch_share) == ((), 1.0)
    assert (
        release.digest != read_release({**files, "org/crm.rego": CRM + "\n"}, world.ENGINE, agents=world.AGENTS).digest
    )
