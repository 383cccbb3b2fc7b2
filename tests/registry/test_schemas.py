"""Validators of pinned schemas: what is undeclared is refused, nothing hangs, nothing is fetched, nothing is echoed."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.schemas import ArgumentFault, compile_arguments
from tests.registry.fleet import Fleet


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _fault(schema: Any, arguments: dict[str, Any], *, allow_undeclared: bool = False) -> ArgumentFault | None:
    return compile_arguments(schema, allow_undeclared=allow_undeclared).fault(arguments)


GOOD: dict[str, Any] = {"customer_id": "c-1", "tags": [], "maybe": None, "count": 3, "address": {"zip": "1"}}


@pytest.mark.requirement("registry:arguments:undeclared")
def test_arguments_are_judged_by_the_pinned_schema() -> None:
    tool = Fleet.registered(agent=False).registry.catalogue.servers()[0].tools["read_customer"]
    validator = compile_arguments(tool.definition["inputSchema"], allow_undeclared=tool.allow_undeclared)
    assert validator.fault(GOOD) is None
    cases: list[tuple[dict[str, Any], Code, str]] = [
        ({**GOOD, "admin": True}, Code.UNDECLARED_ARGUMENT, "/admin"),
        ({**GOOD, "address": {"zip": "1", "x": 1}}, Code.UNDECLARED_ARGUMENT, "/address/x"),
        ({**GOOD, "count": "3"}, Code.ARGUMENTS_INVALID, "/count"),
        ({**GOOD, "tags": ["a", 1]}, Code.ARGUMENTS_INVALID, "/tags/1"),
        ({key: value for key, value in GOOD.items() if key != "count"}, Code.ARGUMENTS_INVALID, ""),
        ({}, Code.ARGUMENTS_INVALID, ""),
    ]
    for arguments, code, path in cases:
        fault = validator.fault(arguments)
        assert fault is not None
        assert (fault.code, fault.path) == (code, path)


@pytest.mark.requirement("registry:arguments:silent")
def test_a_fault_tells_place_and_expectation_and_never_the_value() -> None:
    secret = "hunter2-" * 5_000
    schema = {
        **_object(
            a={"type": "integer"}, b={"anyOf": [{"type": "integer"}, {"maxLength": 3}]}, c={"enum": ["x"]},
            d={"pattern": "^x$"}, e={"propertyNames": {"maxLength": 3}}, f={"not": {"type": "string"}},
        ),
        "required": ["a"],
    }  # fmt: skip
    for arguments in (
        {"a": secret},
        {"a": 1, "b": secret},
        {"a": 1, "c": secret},
        {"a": 1, "d": secret},
        {"a": 1, "e": {secret: 1}},
        {"a": 1, "f": secret},
        {"a": 1, secret: secret},
        {"a": 1, "\u202e\x1b[2J": 1},
        {"z": secret},
    ):
        fault = _fault(schema, arguments)
        assert fault is not None
        assert len(fault.detail) < 400
        assert fault.detail.isascii()
        assert fault.detail.isprintable()
        assert fault.detail.count("hunter2") <= 11  # an undeclared name is named, cut to 80 characters
    assert _fault(schema, {"a": "x"}) == ArgumentFault(Code.ARGUMENTS_INVALID, "/a", "type ['integer']")


@pytest.mark.requirement("registry:arguments:undeclared")
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"customer_id": "c-1", "Customer_ID": "c-2"}, "/Customer_ID"),
        ({"customer_\u0131d": "c-2", "cu\u017ftomer_id": "c-2"}, "/cu\\u017ftomer_id"),
        ({"address": {"zip": "1", "Zip": "2"}}, "/address/Zip"),
    ],
)
def test_where_undeclared_arguments_are_let_through_none_is_a_declared_one_in_another_spelling(
    arguments: dict[str, Any], path: str
) -> None:
    schema = _object(customer_id={"type": "string"}, address=_object(zip={}))
    fault = _fault(schema, arguments, allow_undeclared=True)
    assert fault is not None
    assert (fault.code, fault.path) == (Code.UNDECLARED_ARGUMENT, path)
    assert _fault(schema, {"customer_id": "c-1", "Other": 1, "more": {"Zip": 2}}, allow_undeclared=True) is None


@pytest.mark.requirement("registry:arguments:undeclared")
@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"type": "object"}, {"a": 1}),
        ({**_object(a={}), "additionalProperties": True}, {"b": 1}),
        ({**_object(a={}), "additionalProperties": {"type": "integer"}}, {"b": 1}),
        ({**_object(a={}), "unevaluatedProperties": {}}, {"b": 1}),
        ({**_object(), "allOf": [{"additionalProperties": True}]}, {"b": 1}),
        ({**_object(), "anyOf": [{"properties": {"a": {}}}, {"additionalProperties": {}}]}, {"b": 1}),
        ({"type": "object", "$ref": "#/$defs/Any", "$defs": {"Any": {"additionalProperties": True}}}, {"b": 1}),
        ({"type": "object", "if": {"properties": {"b": {}}}, "then": {}, "else": {}}, {"b": 1}),
        ({**_object(a={}), "not": {"not": {"properties": {"b": {}}}}}, {"b": 1}),
        (_object(list={"type": "array", "items": _object(a={})}), {"list": [{"a": 1}, {"b": 1}]}),
        (_object(pair={"prefixItems": [{}, _object(a={})]}), {"pair": [1, {"b": 1}]}),
        (_object(map={"type": "object", "additionalProperties": _object(a={})}), {"map": {"k": {"b": 1}}}),
        (_object(one={"anyOf": [{"type": "string"}, _object(a={})]}), {"one": {"b": 1}}),
        ({**_object(n={"$ref": "#/$defs/N"}), "$defs": {"N": _object(a={}, n={"$ref": "#/$defs/N"})}},
         {"n": {"n": {"n": {"b": 1}}}}),
        ({**_object(a={}), "patternProperties": {"^x-": _object(a={})}}, {"x-1": {"b": 1}}),
        ({**_object(a={}), "dependentSchemas": {"a": {"properties": {"c": {}}}}}, {"c": 1}),
    ],
)  # fmt: skip
def test_what_is_not_declared_is_refused_wherever_it_stands(schema: Any, arguments: dict[str, Any]) -> None:
    fault = _fault(schema, arguments)
    assert fault is not None
    assert fault.code is Code.UNDECLARED_ARGUMENT
    assert _fault(schema, arguments, allow_undeclared=True) is None


@pytest.mark.requirement("registry:arguments:undeclared")
@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({**_object(a={}), "allOf": [{"properties": {"b": {}}}, {"$ref": "#/$defs/C"}],
          "$defs": {"C": {"properties": {"c": {}}}}}, {"a": 1, "b": 2, "c": 3}),
        ({**_object(kind={}), "oneOf": [{"properties": {"kind": {"const": 1}, "x": {}}, "required": ["x"]},
                                        {"properties": {"kind": {"const": 2}, "y": {}}, "required": ["y"]}]},
         {"kind": 2, "y": 1}),
        (_object(map={"type": "object", "additionalProperties": {"type": "string"}}), {"map": {"any": "x"}}),
        (_object(free={"type": "object"}), {"free": {"any": {"thing": 1}}}),
        (_object(any={}), {"any": {"thing": 1}}),
        ({**_object(a={}), "patternProperties": {"^x-": {}}}, {"x-1": 1}),
        ({**_object(a={}), "dependentSchemas": {"a": {"properties": {"c": {}}}}}, {"a": 1, "c": 1}),
        ({**_object(n={"$ref": "#"})}, {"n": {"n": {"n": {}}}}),
        ({**_object(x={"$ref": "#/properties/y%25z/anyOf/1"}), "properties": {"x": {"$ref": "#/properties/y/anyOf/0"},
          "y": {"anyOf": [_object(a={})]}}}, {"x": {"a": 1}}),
        ({**_object(x={"$ref": "#/$defs/a"}), "$defs": {"a": {"$anchor": "named", **_object(b={})}}}, {"x": {"b": 1}}),
    ],
)  # fmt: skip
def test_what_is_declared_passes_wherever_it_is_declared(schema: Any, arguments: dict[str, Any]) -> None:
    assert _fault(schema, arguments) is None


@pytest.mark.requirement("registry:arguments:bounded")
@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (None, "not an object"),
        (True, "not an object"),
        ({}, "`type` is not `object`"),
        ({"type": ["object", "null"]}, "`type` is not `object`"),
        ({"type": "object", "$schema": "https://evil.example.com/draft"}, "not a known draft"),
        (_object(a={"$ref": "https://evil.example.com/s.json"}), "not local"),
        (_object(a={"$ref": "file:///etc/passwd"}), "not local"),
        (_object(a={"$ref": "other.json#/a"}), "not local"),
        (_object(a={"$ref": "#anchor"}), "not local"),
        (_object(a={"$ref": "#/$defs/None"}), "points at nothing"),
        (_object(a={"$id": "https://evil.example.com/", "$ref": "#"}), "nested `\\$id`"),
        (_object(a={"$dynamicRef": "#x"}), "not supported"),
        (_object(a={"dependencies": {"b": ["c"]}}), "not supported"),
        (_object(a={"type": "objekt"}), "does not compile"),
        (_object(a={"minLength": -1}), "does not compile"),
        (_object(a={"pattern": "(?=a)b"}), "does not compile"),
        (_object(a={"pattern": r"(a)\1"}), "does not compile"),
        (_object(a={"pattern": "a{1000000}"}), "does not compile"),
        (_object(a={"pattern": r"((\w{100}){100}){100}"}), "does not compile"),
        (_object(a={"pattern": "("}), "does not compile"),
        ({"type": "object", "$ref": "#"}, "leads back"),
        ({**_object(), "allOf": [{"anyOf": [{"$ref": "#/allOf/0"}]}]}, "leads back"),
        (_object(**{f"p{n}": {} for n in range(2_001)}), "more than 2000 subschemas"),
        (_object(a=7), "neither an object nor a boolean"),
        (_object(a={"anyOf": [7]}), "neither an object nor a boolean"),
    ],
)
def test_schemas_that_fetch_hang_or_mean_something_else_are_refused_with_the_cause(schema: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as refused:
        compile_arguments(schema, allow_undeclared=False)
    assert refused.value.code is Code.SCHEMA_REFUSED
    assert len(refused.value.message) < 400


@pytest.mark.requirement("registry:arguments:bounded")
def test_alternatives_that_multiply_are_refused_before_anything_is_compiled() -> None:
    chain: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    chain["d40"] = {"type": "string"}
    tree = _object(a={"$ref": "#/$defs/T"})
    branches = [{"properties": {"a": {"$ref": "#/$defs/T"}}}, {"properties": {"a": {"$ref": "#/$defs/T"}}, "x": 1}]
    for schema in (
        {**_object(a={"$ref": "#/$defs/d0"}), "$defs": chain},
        {**tree, "$defs": {"T": {"anyOf": branches}}},
    ):
        with pytest.raises(InvalidInputError, match="multiply"):
            compile_arguments(schema, allow_undeclared=False)


@pytest.mark.requirement("registry:arguments:bounded")
def test_a_recursive_schema_without_multiplying_alternatives_is_accepted_at_any_depth() -> None:
    value = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/V"}},
                       {"type": "object", "additionalProperties": {"$ref": "#/$defs/V"}}]}  # fmt: skip
    schema = {**_object(v={"$ref": "#/$defs/V"}), "$defs": {"V": value}}
    deep: Any = "leaf"
    for _ in range(28):
        deep = [{"k": deep}]
    assert _fault(schema, {"v": deep}) is None
    wrong: Any = 7
    for _ in range(28):
        wrong = [{"k": wrong}]
    assert _fault(schema, {"v": wrong}) is not None


@pytest.mark.requirement("registry:arguments:bounded")
@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "^(.*a){20}$", "(x+x+)+y"])
def test_patterns_that_blow_up_backtracking_engines_answer(pattern: str) -> None:
    hostile = "a" * 50_000 + "x" * 50_000 + "!"
    validator = compile_arguments(_object(a={"pattern": pattern}), allow_undeclared=False)
    validator.fault({"a": hostile})  # the suite's time limit is the assertion
    assert validator.fault({"a": 7}) is None


@pytest.mark.requirement("registry:arguments:bounded")
def test_values_that_are_no_json_are_refused_and_not_raised() -> None:
    for value in (b"x", {1, 2}, object(), float("nan")):
        fault = _fault(_object(a={"type": "string"}), {"a": value})
        assert fault is not None
        assert fault.code is Code.ARGUMENTS_INVALID


def test_a_schema_of_an_older_draft_is_taken_where_both_drafts_agree() -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_object(a={"$ref": "#/definitions/A"}),
              "definitions": {"A": {"type": "string"}}}  # fmt: skip
    assert _fault(schema, {"a": "x"}) is None
    assert _fault(schema, {"a": 1}) is not None


# -- the naive reading, for schemas without composition

_names = st.sampled_from(["a", "b", "c"])
_schemas = st.recursive(
    st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, {"type": "object"}]),
    lambda inner: (
        st.builds(lambda properties: {"type": "object", "properties": properties}, st.dictionaries(_names, inner))
        | st.builds(
            lambda properties, rest: {"type": "object", "properties": properties, "additionalProperties": rest},
            st.dictionaries(_names, inner),
            inner | st.booleans(),
        )
        | st.builds(lambda rest: {"type": "object", "additionalProperties": rest}, inner)
        | st.builds(lambda item: {"type": "array", "items": item}, inner)
    ),
    max_leaves=8,
)
_arguments = st.recursive(
    st.integers(0, 3) | st.sampled_from(["x", "y"]),
    lambda inner: st.dictionaries(_names, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def _undeclared(schema: Any, value: Any, *, top: bool = False) -> bool:
    if not isinstance(schema, dict):
        return False
    if isinstance(value, list):
        return any(_undeclared(schema.get("items", {}), item) for item in value)
    if not isinstance(value, dict):
        return False
    declared = schema.get("properties", {})
    if (top or declared) and not value.keys() <= declared.keys():
        return True
    rest = schema.get("additionalProperties", {})
    return any(_undeclared(declared.get(key, rest), item) for key, item in value.items())


@pytest.mark.requirement("registry:arguments:undeclared")
@given(_schemas, st.dictionaries(_names, _arguments, max_size=3))
def test_without_composition_the_verdict_is_the_schema_s_and_the_naive_closing(
    schema: dict[str, Any], arguments: dict[str, Any]
) -> None:
    schema = {"type": "object", "properties": {}} | (schema if schema.get("type") == "object" else {})
    valid = jsonschema_rs.Draft202012Validator(schema).is_valid(arguments)
    accepted = _fault(schema, arguments) is None
    assert accepted == (valid and not _undeclared(schema, arguments, top=True))
    assert (_fault(schema, arguments, allow_undeclared=True) is None) == valid


_composed = st.recursive(
    _schemas,
    lambda inner: st.builds(
        lambda base, key, parts, question: {**base, key: parts, **({"not": question} if question else {})},
        _schemas, st.sampled_from(["allOf", "anyOf", "oneOf"]), st.lists(inner, min_size=1, max_size=3),
        st.none() | inner,
    ),
    max_leaves=5,
)  # fmt: skip


@pytest.mark.requirement("registry:arguments:undeclared")
@given(_composed, st.dictionaries(_names, _arguments, max_size=3))
def test_closing_a_schema_never_lets_more_pass(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    schema = {**schema, "type": "object"}
    closed = _fault(schema, arguments) is None
    assert not closed or jsonschema_rs.Draft202012Validator(schema).is_valid(arguments)
    assert not closed or _fault(schema, arguments, allow_undeclared=True) is None
    assert _fault(schema, {**arguments, "nobody-declared-this": 1}) is not None
