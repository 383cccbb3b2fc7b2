from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.approvals.model import HeldCall
from accredit.approvals.requests import exact_json, request_digest, view_digest, view_text
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, ToolId
from tests.approvals.desk import AGENT, PRINCIPAL, SECURITY, TOOL, call

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_the_encoding_of_a_value_reads_back_as_the_value(value: Any) -> None:
    assert json.loads(exact_json(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert exact_json(dict(reversed(value.items()))) == exact_json(value)


@pytest.mark.requirement("holds:request:encoding")
@pytest.mark.parametrize(
    "value",
    [float("nan"), {"a": [float("inf")]}, 2**64, {1: 2}, "\ud800", {"a": (1,)}, object()],
    ids=["nan", "infinity", "wide", "key", "surrogate", "tuple", "object"],
)
def test_a_value_without_one_json_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        exact_json(value)
    assert refused.value.code is Code.UNENCODABLE_INPUT


USER, TASK = PRINCIPAL.user, PRINCIPAL.task
assert USER is not None
assert TASK is not None


@pytest.mark.requirement("holds:request:exact")
@pytest.mark.parametrize(
    "other",
    [
        call(agent=replace(AGENT, id=AgentId("agt_2"))),
        call(agent=replace(AGENT, version=replace(AGENT.version, digest=Digest("sha256:v2")))),
        call(principal=replace(PRINCIPAL, user=None)),
        call(principal=replace(PRINCIPAL, user=replace(USER, subject="mallory@example.com"))),
        call(principal=replace(PRINCIPAL, user=replace(USER, issuer="https://idp2"))),
        call(principal=replace(PRINCIPAL, task=None)),
        call(principal=replace(PRINCIPAL, task=replace(TASK, id="T-2"))),
        call(tool=replace(TOOL, id=ToolId("crm/refund2"))),
        call(tool=replace(TOOL, definition_digest=Digest("sha256:d2"))),
        call(resource="invoice/1"),
        call({"customer_id": "C-8", "amount": 19.9}),
        call({"customer_id": "C-7", "amount": 19.90001}),
        call({"customer_id": "C-7", "amount": 19.9, "note": None}),
        call({}),
        call(answers={"who": {"action": "accept", "content": {"name": "Kim"}}}),
        call(answers={"who": {"action": "decline"}}),
    ],
)
def test_another_request_has_another_digest(other: HeldCall) -> None:
    assert request_digest(other) != request_digest(call())


@pytest.mark.requirement("holds:request:exact")
def test_the_same_request_of_another_instance_has_the_same_digest() -> None:
    again = call({"amount": 19.9, "customer_id": "C-7"}, principal=replace(PRINCIPAL, epoch=4, token_digest="x"))
    assert request_digest(again) == request_digest(call())


@pytest.mark.requirement("holds:view:raw")
@given(JSON)
def test_the_view_says_exactly_what_will_be_sent_in_characters_that_show(value: Any) -> None:
    text = view_text(call({"value": value}), [SECURITY], nonce="n")
    assert json.loads(text)["arguments"] == {"value": value}
    assert all(character == "\n" or character.isprintable() for character in text)


@pytest.mark.requirement("holds:view:raw")
@pytest.mark.parametrize(
    "character", ["\u202e", "\u200b", "\U000e0041", "\u00a0", "\ufe0f", "\u3164", "\u2028", "\x1b", "\x7f", "\u2800"]
)
def test_characters_that_deceive_the_eye_are_escaped_and_letters_are_not(character: str) -> None:
    text = view_text(call({"note": f"für {character}日本"}), [SECURITY], nonce="n")
    assert character not in text
    assert "für " in text
    assert "日本" in text
    assert json.loads(text)["arguments"]["note"] == f"für {character}日本"


@pytest.mark.requirement("holds:record:clear")
def test_the_digest_of_a_view_cannot_be_computed_from_the_call_alone() -> None:
    one, two = (view_text(call(), [SECURITY], nonce=nonce) for nonce in ("a", "b"))
    assert view_digest(one) != view_digest(two)


@pytest.mark.requirement("gateway:elicitation:decided")
def test_the_view_says_what_was_answered_to_the_tool_server() -> None:
    answers = {"who": {"action": "accept", "content": {"name": "Kim"}}}
    assert json.loads(view_text(call(answers=answers), [SECURITY], nonce="n"))["answers"] == answers
    assert "answers" not in json.loads(view_text(call(), [SECURITY], nonce="n"))
