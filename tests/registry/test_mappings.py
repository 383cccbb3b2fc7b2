"""Mappings that tools declare are read strictly when they are pinned, and come to exactly the questions they state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.mappings import MappingError, declared_mapping

CUSTOMER: dict[str, Any] = {
    "evaluation": {
        "subject": {"type": "identity", "id": "$token.sub"},
        "action": {"name": "get_customer"},
        "resource": {"type": "customer", "id": "$params.arguments.id"},
        "context": {"agent": "$token.?client_id", "case": "$params.arguments.case"},
    }
}
COPY: dict[str, Any] = {
    "evaluations": {
        "subject": {"id": "$token.sub"},
        "context": {"agent": "$token.?client_id"},
        "evaluations": [
            {"action": {"name": "read"}, "resource": {"type": "storage_object", "id": "$params.arguments.id"}},
            {"action": {"name": "write"}, "resource": {"type": "storage_object", "id": "$params.arguments.case"}},
        ],
    }
}
CALL: dict[str, Any] = {
    "params": {"name": "get_customer", "arguments": {"id": "cust-12345", "case": "case-67890"}},
    "token": {"sub": "alice@example.com", "client_id": "agent-app", "roles": []},
}


def _definition(mapping: Any, **more: Any) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in ("id", "case", "customer-id")}
    schema = {"type": "object", "properties": properties, "x-authzen-mapping": mapping, **more}
    return {"name": "get_customer", "inputSchema": schema}


@pytest.mark.requirement("registry:mappings:read")
def test_the_examples_of_the_binding_come_to_the_requests_it_prints() -> None:
    single = declared_mapping(_definition(CUSTOMER))
    assert single is not None
    assert single.resolved(CALL) == (
        {"type": "identity", "id": "alice@example.com"},
        [
            {
                "action": {"name": "get_customer"},
                "resource": {"type": "customer", "id": "cust-12345"},
                "context": {"agent": "agent-app", "case": "case-67890"},
            }
        ],
    )
    several = declared_mapping(_definition(COPY))
    assert several is not None
    subject, questions = several.resolved(CALL)
    assert subject == {"id": "alice@example.com"}
    assert [(one["action"]["name"], one["resource"]["id"]) for one in questions] == [
        ("read", "cust-12345"),
        ("write", "case-67890"),
    ]
    assert {one["context"]["agent"] for one in questions} == {"agent-app"}
    assert declared_mapping({"inputSchema": {"type": "object"}}) is None


@pytest.mark.requirement("registry:mappings:read")
def test_what_is_absent_is_left_out_and_what_begins_with_two_signs_is_a_text() -> None:
    body = {
        **CUSTOMER["evaluation"],
        "context": {"a": "$token.?task", "price": "$$5", "n": 7, "l": ["$params.name", None]},
    }
    mapping = declared_mapping(_definition({"evaluation": body}))
    assert mapping is not None
    assert mapping.resolved(CALL)[1][0]["context"] == {"price": "$5", "n": 7, "l": ["get_customer", None]}


def _with(**changes: Any) -> dict[str, Any]:
    return {"evaluation": {**CUSTOMER["evaluation"], **changes}}


REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ("x", "exactly one member"),
    "no envelope": ({}, "exactly one member"),
    "two envelopes": ({**CUSTOMER, **COPY}, "exactly one member"),
    "another envelope": ({"search": {}}, "exactly one member"),
    "a body that is none": ({"evaluation": []}, "is no object"),
    "no evaluations": ({"evaluations": {"evaluations": []}}, "no list of 1 to"),
    "too many": ({"evaluations": {"evaluations": [{}] * 17}}, "no list of 1 to"),
    "no resource": ({"evaluation": {"action": {"name": "x"}}}, "`resource` is missing"),
    "no id": (_with(resource={"type": "x"}), "`resource` is missing, or has not"),
    "a member beside properties": (_with(resource={"type": "x", "id": "y", "color": 1}), "unknown members"),
    "a subject with more": (_with(subject={"id": "$token.sub", "role": "admin"}), "other members than"),
    "an unknown member": (_with(foo=1), "no member of an evaluation"),
    "a subject of one evaluation": (
        {"evaluations": {"evaluations": [{**CUSTOMER["evaluation"]}]}},
        "names a subject of its own",
    ),
    "no expression": (_with(action={"name": "$params."}), "`$params.`: a name is missing"),
    "an argument there is not": (_with(action={"name": "$params.arguments.x"}), "declares no `x`"),
    "another parameter": (_with(action={"name": "$params._meta.x"}), "`name` and `arguments`"),
    "a claim that is not offered": (_with(action={"name": "$token.aud"}), "the claims there are"),
    "a pattern": (_with(action={"name": "$params.name.matches('x') ? 'a' : 'b'"}), "no method `matches`"),
    "a number too large": (_with(context={"n": 2**70}), "64-bit"),
    "too long": (_with(context={"x": "y" * 20_000}), "longer than"),
    "too many expressions": (_with(context={str(at): "$token.sub" for at in range(70)}), "more than 64 expressions"),
}


@pytest.mark.requirement("registry:mappings:refused")
@pytest.mark.parametrize("fault", REFUSED)
def test_a_malformed_mapping_is_refused_with_what_is_wrong(fault: str) -> None:
    mapping, words = REFUSED[fault]
    with pytest.raises(InvalidInputError) as refused:
        declared_mapping(_definition(mapping))
    assert refused.value.code is Code.MAPPING_INVALID
    assert words in refused.value.message


@pytest.mark.requirement("registry:mappings:refused")
def test_arguments_that_other_keywords_bring_in_are_not_guessed_about() -> None:
    found = _definition(_with(action={"name": "$params.arguments.other"}), allOf=[{"properties": {"other": {}}}])
    assert declared_mapping(found) is not None


@pytest.mark.requirement("registry:mappings:read")
@pytest.mark.parametrize(
    "changes",
    [
        {"action": {"name": "$params.arguments['none']"}},
        {"resource": "$params.arguments"},
        {"resource": {"type": "x", "id": "$params.arguments.id.x"}},
        {"context": {"l": ["$token.?task"]}},
    ],
)
def test_what_cannot_be_evaluated_is_an_error_of_the_call(changes: dict[str, Any]) -> None:
    if isinstance(changes.get("resource"), str):
        with pytest.raises(InvalidInputError):
            declared_mapping(_definition(_with(**changes)))
        return
    mapping = declared_mapping(_definition(_with(**changes)))
    assert mapping is not None
    with pytest.raises(MappingError):
        mapping.resolved(CALL)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "$", "$$", "$token.sub", "$params.name", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["evaluation", "evaluations", "subject", "action", "resource", "context", "type", "id", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@pytest.mark.requirement("registry:mappings:refused")
@given(mapping=_JSON)
def test_any_mapping_is_read_or_refused(mapping: Any) -> None:
    try:
        found = declared_mapping(_definition(mapping))
    except InvalidInputError:
        return
    assert found is not None
    try:
        found.resolved(CALL)
    except MappingError:
        return
