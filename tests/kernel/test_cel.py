"""Expressions mean what cel-cpp makes of them, or are refused; whatever is written, nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.cel import ABSENT, CelError, compile_cel
from tests.kernel.cel_oracle import Oracle

VARIABLES: dict[str, Any] = {
    "params": {
        "name": "transfer",
        "arguments": {
            "id": "c-1", "amount": 20000.5, "n": 3, "zero": 0, "less": -7, "yes": True, "nothing": None,
            "mixed": [1, "a", None, {"b": 2}, 1.0], "numbers": [3, 1, 2], "map": {"k": "v", "deep": {"x": [1]}},
            "customer-id": "q", "big": 2**63 - 1, "accents": "héé", "empty": [],
        },
    },
    "token": {"sub": "alice", "roles": ["treasury", "staff"]},
}  # fmt: skip

MEANT: tuple[str, ...] = (
    "token.sub", "token.?client_id", "token.?sub", "params.arguments.region", 'params.arguments["customer-id"]',
    "params.arguments.amount > 10000 ? 'high' : 'standard'", "token.roles.exists(r, r == 'treasury') ? 'a' : 'b'",
    "'urn:' + params.arguments.id", "params.arguments.n + 1", "params.arguments.n / 0", "-7 / 2", "-7 % 2", "7 % -3",
    "params.arguments.big + 1", "-9223372036854775808", "- 9223372036854775808", "9223372036854775808", "0x1F", "1e3",
    "token.?client_id.orValue('none')", "token.?sub.orValue('none')", "token.?a.b", "params.?arguments.map.k",
    "params.arguments.map[?'k']", "params.arguments.numbers[?7]", "params.arguments.numbers[-1]", "1 == 1.0",
    "params.arguments.numbers[1.0]", "[1, 2] == [1.0, 2]", "1 == true", "'a' == 1", "size('héé')", "1 < 2 < 3",
    "params.arguments.accents.size()", "has(params.arguments.id)", "has(params.arguments.x)", "has(params.x.y)",
    "has(token.?a.b)", "1 in params.arguments.numbers", "'k' in params.arguments.map", "1 in params.arguments.map",
    "params.arguments.numbers.map(x, x * 2)", "params.arguments.numbers.map(x, x > 1, x + 1)", "{'a': 1, 'a': 2}",
    "params.arguments.mixed.all(x, x > 0)", "params.arguments.mixed.exists(x, x > 0)", "1 / 0 == 1 || true",
    "1 / 0 == 1 && false", "1 / 0 == 1 && true", "'x' || true", "--1", "!!true", "-'a'", "null < null", "int(-1.9)",
    "int(1e19)", "int('12')", "int('x')", "5 / 2.0", "5.0 / 0.0", "0.0 / 0.0", "'\\n\\x41\\u00e9\\101'", "r'\\n'",
    "optional.none()", "optional.of(1)", "token.?x.or(token.?sub)", "token.?x == token.?y", "[1, 2,]", "{'a': 1,}",
    "true ? false ? 1 : 2 : 3", "false ? 1 : true ? 2 : 3", "2 + 3 * 4 - 5 % 3", "// said\n1", "params . name",
    "params.arguments.nothing.x", "params.arguments.id.x", "params.arguments.numbers.exists_one(x, x == 1)",
    "size(params.arguments.map.map(k, k))", "dyn(1) == 1.0", "'abc'.contains('b') && 'abc'.startsWith('a')", "[][0]",
)  # fmt: skip


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    asked = Oracle(VARIABLES)
    yield asked
    asked.close()


def _ours(text: str) -> tuple[str, Any]:
    try:
        value = compile_cel(text, VARIABLES).evaluate(VARIABLES)
    except CelError as error:
        return "none", str(error)
    return ("absent", None) if value is ABSENT else ("value", value)


def _same(text: str, oracle: Oracle) -> None:
    kind, value = _ours(text)
    theirs, expected = oracle.ask(text)
    # names are found out by them where they are reached, and may stand for two things
    if theirs == "died" or (kind == "none" and ("there is no variable" in value or "cannot be the name" in value)):
        return
    assert kind == theirs, (text, value, expected)
    if kind == "value":
        assert json.dumps(value, sort_keys=True) == json.dumps(expected, sort_keys=True), text


@pytest.mark.requirement("kernel:cel:meaning")
@pytest.mark.parametrize("text", MEANT)
def test_an_expression_means_what_cel_makes_of_it(oracle: Oracle, text: str) -> None:
    assert oracle.ask(text)[0] != "died"
    _same(text, oracle)


_CHAINS = st.sampled_from(
    [f"params.arguments.{name}" for name in ("id", "amount", "n", "zero", "less", "yes", "nothing", "mixed", "numbers")]
    + ["token.sub", "token.roles", "params.name", "params.arguments.map.k", "params.arguments.none", "e", "f"]
)
_LITERALS = st.sampled_from(
    ["0", "1", "-2", "3", "2.5", "1.0", "'a'", "'treasury'", "''", "true", "false", "null", "[]"]
)
_BINARY = st.sampled_from("+ - * / % < <= > >= == != in && ||".split())  # noqa: SIM905 - signs, not words


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, _BINARY, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("{}({})".format, st.sampled_from(["!", "-"]), inner),
        st.builds("{}({})".format, st.sampled_from(["size", "int", "double", "dyn"]), inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{'a': {}, 'b': {}}}".format, inner, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({}).{}({})".format, inner, st.sampled_from(["contains", "startsWith", "endsWith"]), inner),
        st.builds(
            "({}).{}(e, {})".format, inner, st.sampled_from(["all", "exists", "exists_one", "map", "filter"]), inner
        ),
        st.builds("({}).map(f, {}, {})".format, inner, inner, inner),
        st.builds("({}).?a.orValue({})".format, inner, inner),
        st.builds("has(({}).a)".format, inner),
    )


@pytest.mark.requirement("kernel:cel:meaning")
@settings(max_examples=400, deadline=None)
@given(text=st.recursive(_CHAINS | _LITERALS, _larger, max_leaves=8))
def test_any_expression_means_what_cel_makes_of_it(oracle: Oracle, text: str) -> None:
    _same(text, oracle)


@pytest.mark.requirement("kernel:cel:bounded")
@pytest.mark.parametrize(
    "text",
    [
        "", "(", "1 +", "a", "params.", "params.?", "1u", "b'a'", "'''a'''", "'a", "'\\q'", "'\\ud800'", "1 2",
        "params params",
        "'a'.matches('(a+)+$')", "timestamp('2020-01-01T00:00:00Z')", "params{a: 1}", "[?1]", "{?'a': 1}", "{1: 2}",
        "has(1)", "has(params)", "has(params['a'])", "x.all(params, true)", "[1].all(true, 1)", "size()", "size(1, 2)",
        "for", "optional.x()", "optional", "1.", "1e999", "@", "params.a.b(1)", ".params", "a" * 2_001,
        "(" * 40 + "1" + ")" * 40, "+".join(["1"] * 300), "!" * 500 + "true", "[" * 200,
        "'a'.matches(" * 30,
    ],
)  # fmt: skip
def test_what_is_not_accepted_is_refused_with_a_reason(text: str) -> None:
    kind, why = _ours(text)
    assert kind == "none"
    assert why


@pytest.mark.requirement("kernel:cel:bounded")
@settings(max_examples=300)
@given(
    text=st.text(st.sampled_from([*"paramsrgenti.?[]()'\"+-*/%<>=!&|:,{}012 \\x"]), max_size=60) | st.text(max_size=40)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    _ours(text)


@pytest.mark.requirement("kernel:cel:bounded")
@pytest.mark.parametrize(
    "text",
    [
        "params.l.map(a, params.l.map(b, params.l.map(c, a + b + c)))",
        "params.l.all(a, params.l == params.l)",
        "params.l.exists(a, -1 in params.l)",
        "params.l.map(a, params.l + params.l)",
        "params.l.map(a, 's' + params.t)",
    ],
)
def test_what_takes_too_much_work_is_stopped(text: str) -> None:
    variables = {"params": {"l": list(range(2_000)), "t": "x" * 100_000}}
    with pytest.raises(CelError, match="too much work"):
        compile_cel(text, {"params"}).evaluate(variables)
    # nor can the other side of an `||` make up for it
    with pytest.raises(CelError, match="too much work"):
        compile_cel(f"({text}) == 1 || true", {"params"}).evaluate(variables)


@pytest.mark.requirement("kernel:cel:bounded")
@settings(max_examples=200)
@given(text=st.recursive(_CHAINS | _LITERALS, _larger, max_leaves=8))
def test_no_reason_has_a_value_in_it(text: str) -> None:
    secret = "4111-1111-1111-1111"
    arguments = dict.fromkeys(VARIABLES["params"]["arguments"], secret)
    variables = {"params": {"name": secret, "arguments": arguments}, "token": {"sub": secret, "roles": [secret]}}
    why = ""
    try:
        compile_cel(text, variables).evaluate(variables)
    except CelError as error:
        why = str(error)
    assert secret not in why
