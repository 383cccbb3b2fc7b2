"""Rego may only refuse: whatever it says or fails at, nothing is let through that Cedar would not."""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
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
from accredit.policy.engines.rego_bounds import bounded
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.policy.ports import VetoAnswer
from accredit.policy.publish import Installation, examine, publish
from accredit.policy.release import PolicyInvalidError, read_release
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.testing import Fleet, run_tests
from tests.families import family
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


def _body(body: str, more: str = "") -> str:
    return f'{HEAD}deny contains "x" if {{\n{body}\n}}\n{more}'


HUNDRED = f"m := {list(range(100))}\n"
TWICE = "\n".join(f'a{number + 1} := concat("", [a{number}, a{number}])' for number in range(40))
LISTS = "\n".join(f"a{number + 1} := array.concat(a{number}, a{number})" for number in range(40))
NUMBERS = "\n".join(f"a{number + 1} := a{number} * a{number}" for number in range(40))
CALLS = "".join(f"f{number}(x) := f{number + 1}(x) + f{number + 1}(x)\n" for number in range(28)) + "f28(x) := x"
SQUARES = "".join(f"s{n + 1} contains [a, b] if {{ some a in s{n}; some b in s{n} }}\n" for n in range(3))
HOLES: dict[str, tuple[str, str]] = {
    "a clock by brackets": (_body('time["now_ns"]() > 1'), "by brackets"),
    "a clock by an escape": (_body('time["now\\u005fns"]() > 1'), "by brackets"),
    "a clock put in": (_body("f with time.parse_duration_ns as time.now_ns", "f := true"), "by `with`"),
    "another input": (_body("f with input as {}", "f := true"), "by `with`"),
    "the machine's zone": (_body('time.clock([input.ns, "Local"])[0] > 1'), "zone"),
    "any zone": (_body('time.weekday([input.ns, "Europe/Lisbon"]) == "Monday"'), "zone"),
    "a zone without a name": (_body('time.date([input.ns, ""])[0] > 1'), "zone"),
    "a zone in a name": (_body('z := "Local"; time.clock([input.ns, z])[0] > 1'), "zone"),
    "a zone in an argument": (_body("time.date(input.at)[0] > 1"), "zone"),
    "a second zone": (_body('time.diff([1, "UTC"], [1, "Local"])[0] > 1'), "zone"),
    "a range": (_body("numbers.range(1, 1000000000)[_] == 3"), "without bound"),
    "addresses": (_body('count(net.cidr_expand("0.0.0.0/0")) > 1'), "without bound"),
    "a tree": (_body("walk(input, [_, _])"), "without bound"),
    "output": (_body('print("x")'), "two ways"),
    "another vendor's": (_body("azure.policy.fn.range(1, 10000000)[_] == 1"), "two ways"),
    "a name of the engine's": (_body("count(1)", "count(x) := 2"), "called `count`"),
    "a name in dots": (_body("true", "a.b(x) := 2"), "called `a.b`"),
    "an import by such a name": (f"{HEAD}import data.accredit.b as time\ndeny contains 1 if false\n", "as `time`"),
    "an import of all": (f"{HEAD}import data as all\ndeny contains 1 if all.x\n", "imports `data`"),
    "a function of another": (f"{HEAD}import data.accredit.b\ndeny contains 1 if b.f(1)\n", "two ways"),
    "all modules": (_body("data[_]"), "as a whole"),
    "a rule by a value": (_body('x := "deny"; data.accredit.crm[x]'), "as a whole"),
    "itself": (_body("f(1)", "f(x) := f(x + 1)"), "depends on itself"),
    "itself by the whole name": (_body("a", "a if data.accredit.crm.b\nb if a"), "depends on itself"),
    "itself by an import": (f"{HEAD}import data.accredit.crm as me\ndeny contains 1 if me.deny\n", "depends on itself"),
    "a long chain": (_body("r0", "".join(f"r{n} if r{n + 1}\n" for n in range(400)) + "r400 := true"), "too deeply"),
    "brackets": (_body("x := " + "[" * 20 + "]" * 20), "too deeply"),
    "operators in lines": (_body("x := 1" + "\n+ 1" * 200), "too deeply"),
    "negative numbers in lines": (_body("x := 1" + "\n-1" * 3000), "too deeply"),
    "signs in lines": (_body("x := " + "-\n" * 3000 + "1"), "too deeply"),
    "steps": (_body("input" + ".a" * 100), "too deeply"),
    "text behind an end": (_body("true") + "# \x00\n[[", "does not parse"),
    "half a character": (_body('x := "\udc80"'), "does not parse"),
    "a target": ('package accredit.crm\n__target__ := "x"\ndeny contains 1 if false\n', "__target__"),
    "a wide form": (_body('sprintf("%1000000000d", [1]) == ""'), "width"),
    "any form": (_body('sprintf(input.form, [1]) == ""'), "width"),
    "a long number": (_body("x := " + "9" * 100), "number"),
    "loops in loops": (_body("count([1 | m[_]; m[_]; m[_]; m[_]]) > 3", HUNDRED), "steps"),
    "loops of names": (_body("m[i] == m[j]\nm[k] == m[l]\n", HUNDRED), "steps"),
    "loops of names given anew": (_body("i := 1\n[1 | some i, j, k, l; m[i]; m[j]; m[k]; m[l]]", HUNDRED), "steps"),
    "every of every": (_body("every a in m {\n" * 4 + "a\n" + "}" * 4, HUNDRED), "steps"),
    "squares": (_body("count(s3) > 1", "s0 := m\n" + HUNDRED + SQUARES), "steps"),
    "calls of calls": (_body("f0(1)", CALLS), "could cost"),
    "a text that doubles": (_body(f'a0 := "{"a" * 99}"\n{TWICE}'), "memory"),
    "a list that doubles": (_body("a0 := [1, 2]\n" + LISTS), "memory"),
    "a number that doubles": (_body("a0 := 12345678901\n" + NUMBERS), "memory"),
}  # fmt: skip


@pytest.mark.requirement("policy:rego:allowed")
@pytest.mark.parametrize("hole", HOLES)
def test_what_is_not_listed_or_bounded_is_refused_and_the_finding_says_what_to_do(hole: str) -> None:
    text, words = HOLES[hole]
    with pytest.raises(InvalidInputError) as refused:
        REGO.check("org/crm.rego", text)
    assert words in refused.value.message
    assert refused.value.hint


FINE: dict[str, str] = {
    "the example": CRM,
    "lines as elsewhere": CRM.replace("\n", "\r\n"),
    "a table": HEAD
    + 'limits := {"read": 3, "pay": 40}\n'
    + 'deny contains sprintf("too much for %s", [tool]) if { tool := input.action.id; input.n > limits[tool] }\n',
    "a list": HEAD
    + "known := {\n"
    + ",\n".join(f'"user-{number}"' for number in range(1000))
    + '\n}\ndeny contains "unknown" if not input.context.user.id in known\n',
    "a function": _body('later(input.at, "2026-01-01T00:00:00Z")', "later(a, b) if ns(a) > ns(b)\n")
    + "ns(text) := time.parse_rfc3339_ns(text)\n",
    "an instant": _body('time.clock([time.parse_rfc3339_ns(input.at), "UTC"])[0] > 18'),
    "a join": _body("some i\ninput.a[i].b == input.c[i].d\nsome k, v in input.e\nv in input.a[k].x"),
    "brackets in texts": _body(f'x := `{"[" * 99}\n`; y := "{"[" * 99}" # {"[" * 99}'),
    "another module's rule": f"{HEAD}import data.accredit.hours\ndeny contains 'late' if not hours.office\n".replace(
        "'", '"'
    ),
}


@pytest.mark.requirement("policy:rego:allowed")
@pytest.mark.parametrize("name", FINE)
def test_ordinary_modules_are_let_through(name: str) -> None:
    REGO.check("org/crm.rego", FINE[name])


WORDS = st.sampled_from(
    (
        *HEAD.split("\n"),
        *("deny", "contains", '"x"', "if", "{", "}", "[", "]", "(", ")", ":=", "=", "==", "|", ".", ",", ";", ":"),
        *("-", "+", "some", "every", "in", "not", "with", "as", "else", "\n", " ", "x", "input", "data", "time.clock"),
        *("1", "-1", "{x |", "`", '"', "#", "set()", "default ", "\x00", "é"),
    )
)


@pytest.mark.requirement("policy:rego:any-text")
@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.lists(WORDS).map(lambda words: _body(" ".join(words)))))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        REGO.check("org/crm.rego", text)


@pytest.mark.requirement("policy:rego:any-text")
@given(st.sampled_from(sorted(HOLES | {name: (text, "") for name, text in FINE.items()})), st.data())
def test_a_text_changed_anywhere_is_read_or_refused(name: str, data: st.DataObject) -> None:
    text = HOLES[name][0] if name in HOLES else FINE[name]
    start = data.draw(st.integers(0, len(text)))
    changed = text[:start] + data.draw(WORDS) + text[start + data.draw(st.integers(0, 8)) :]
    with contextlib.suppress(InvalidInputError):
        REGO.check("org/crm.rego", changed)


DEEPEST = """
import sys
import threading
from accredit.kernel.errors import InvalidInputError
from accredit.policy.engines.rego import RegoEngine
from accredit.policy.engines.rego_bounds import bounded

FORMS = [
    ("abs(", ")"), ("(1 +\\n", ")"), ("[x |\\nx := ", "][0]"), ("max({x |\\nx := ", "})"), ("[1, 1][", "]"),
    ("count([1 |\\nevery x in [1] { x ==\\n", "}])"), ('{"a":\\n', '}["a"]'), ("[", "][0]"), ("", "[0]"),
    ("", "\\n in [1]"), ("", "\\n+ 1"),
]

def module(form, deep, chain, call):
    begin, end = form
    text = 'package accredit.crm\\nimport rego.v1\\ndeny contains "x" if r0' + call + "\\n"
    for number in range(chain):
        inner = f"r{number + 1}{call}" if number + 1 < chain else "1"
        text += f"r{number}{call and '(_)'} := y if {{\\ny := {begin * deep}{inner}{end * deep}\\n}}\\n"
    return text

def passes(text):
    try:
        RegoEngine().check("a", text)
    except InvalidInputError as error:
        return "deeply" not in error.message
    return True

def run():
    for form in FORMS:
        for chain in (1, 4, 12, 30):
            for call in ("", "(1)"):
                shallow, deep = 0, 99
                assert not passes(module(form, deep, chain, call)), (form, chain)
                while deep - shallow > 1:
                    middle = (shallow + deep) // 2
                    if passes(module(form, middle, chain, call)):
                        shallow = middle
                    else:
                        deep = middle

threading.stack_size(int(sys.argv[1]))
thread = threading.Thread(target=run)
thread.start()
thread.join()
print("alive")
"""


@pytest.mark.requirement("policy:rego:any-text")
@pytest.mark.parametrize("stack", family([1024 * 1024, 8 * 1024 * 1024, 0], (1024 * 1024).__eq__))
def test_the_deepest_modules_that_pass_leave_the_process_alive_in_any_thread(stack: int) -> None:
    program = [sys.executable, "-c", DEEPEST, str(stack)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.returncode) == ("alive\n", 0), ended.stderr


@pytest.mark.requirement("policy:rego:any-text")
def test_the_slowest_text_that_is_parsed_is_bounded() -> None:
    slowest = max(
        (deep for deep in range(32) if _is_bounded(_body("x := " + "{1|" * deep + "1" + "|1}" * deep))), default=0
    )
    assert 4 < slowest < 12


def _is_bounded(text: str) -> bool:
    try:
        bounded(text)
    except InvalidInputError:
        return False
    return True


@pytest.mark.requirement("policy:rego:any-text")
def test_input_nested_too_deeply_refuses_with_a_fault() -> None:
    handle = REGO.compile({"a": CRM})
    for deep in (200, 100_000):
        said = REGO.ask(handle, '{"context":' + "[" * deep + "]" * deep + "}")
        assert said.policies == ("a",)
        assert said.fault


@pytest.mark.requirement("policy:rego:allowed")
def test_modules_that_depend_on_themselves_together_refuse_everything() -> None:
    one = f'{HEAD}import data.accredit.hours\ndeny contains "x" if hours.office\noffice if true\n'
    two = 'package accredit.hours\nimport rego.v1\ndeny contains "x" if false\noffice if data.accredit.crm.deny\n'
    for text in (one, two):
        REGO.check("org/crm.rego", text)
    with pytest.raises(InvalidInputError, match="depends on itself"):
        REGO.compile({"one": one, "two": two})
    with pytest.raises(PolicyInvalidError, match="modules together"):
        publish({"org/crm.rego": one, "org/hours.rego": two}, world.ENGINE, PLACE)
    assert REGO.compile({"one": one, "two": two.replace("data.accredit.crm.deny", "true")})


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


@pytest.mark.requirement("policy:rego:threads")
@pytest.mark.parametrize(
    "text",
    [
        "package accredit.x\nimport rego.v1\nallow if true",
        "package accredit.x\nimport rego.v1\ndeny contains 1 if { time.now_ns() > 0 }",
        "package other\nimport rego.v1\ndeny contains 'x' if",
        "package accredit.x\nimport rego.v1\ndeny contains 1",
    ],
)
def test_what_is_refused_leaves_no_engine_for_another_thread_to_drop(text: str) -> None:
    held: list[BaseException] = []

    def refuses() -> None:
        for judged in (lambda: REGO.check("a.rego", text), lambda: REGO.compile({"a.rego": text, "b.rego": CRM})):
            try:
                judged()
            except InvalidInputError as error:
                held.append(error)  # and with it every frame it came through

    thread = threading.Thread(target=refuses)
    thread.start()
    thread.join()
    assert held
    dropped: list[object] = []
    previous, sys.unraisablehook = sys.unraisablehook, dropped.append
    try:
        held.clear()
        gc.collect()
    finally:
        sys.unraisablehook = previous
    assert dropped == []
