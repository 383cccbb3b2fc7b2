"""Which answer of a model a call is said to follow from."""

from __future__ import annotations

import json

import pytest

from accredit.enforcement.model import AskedCall
from accredit.enforcement.reasons import Reasons
from accredit.kernel.ids import CredentialId, DecisionId

ONE, OTHER = CredentialId("cred_1"), CredentialId("cred_2")
HOUR_US = 3_600_000_000


def told(*asked: tuple[str, str], decision: str = "dec_1", at_us: int = 0, into: Reasons | None = None) -> Reasons:
    reasons = into or Reasons()
    reasons.told(ONE, DecisionId(decision), [AskedCall(*one) for one in asked], at_us)
    return reasons


@pytest.mark.requirement("llm:joined")
@pytest.mark.parametrize(
    ("asked", "server", "tool", "follows"),
    [
        ("read", "crm", "read", True),
        ("crm__read", "crm", "read", True),
        ("mcp__crm__read", "crm", "read", True),
        ("crm.read", "crm", "read", True),
        ("my_crm_read", "crm", "read", True),
        ("read_customer", "crm", "read-customer", True),
        ("unread", "crm", "read", False),
        ("bulk_read", "crm", "read", False),
        ("read", "crm", "read_all", False),
        ("", "crm", "read", False),
    ],
)
def test_names_as_frameworks_give_them_to_models(*, asked: str, server: str, tool: str, follows: bool) -> None:
    found = told((asked, "{}")).of(ONE, server, tool, {}, 1)
    assert found == ("dec_1" if follows else None)


@pytest.mark.requirement("llm:joined")
@pytest.mark.parametrize(
    ("text", "arguments", "follows"),
    [
        ('{"a": 1, "b": {"c": [1, 2.0]}}', {"b": {"c": [1.0, 2]}, "a": 1}, True),
        ('{"a": "\\u00fc"}', {"a": "ü"}, True),
        ("", {}, True),
        ('{"a": 1}', {"a": "1"}, False),
        ('{"a": true}', {"a": 1}, False),
        ('{"a": 1}', {"a": 1, "b": None}, False),
        ("not json", {}, False),
        ('{"a":' * 60 + "1" + "}" * 60, {}, False),
        ('{"a":' * 300 + "1" + "}" * 300, {}, False),
        ('{"a":' * 900 + "1" + "}" * 900, {}, False),
        ('{"a": "' + "x" * 70_000 + '"}', {"a": "x" * 70_000}, False),
    ],
)
def test_arguments_are_the_same_whatever_their_order_and_encoding(
    *, text: str, arguments: dict[str, object], follows: bool
) -> None:
    assert (told(("read", text)).of(ONE, "crm", "read", arguments, 1) is not None) == follows


@pytest.mark.requirement("llm:joined")
def test_reasons_are_of_one_credential_of_the_newest_answer_and_of_the_last_hour() -> None:
    reasons = told(("read", "{}"))
    assert reasons.of(OTHER, "crm", "read", {}, 1) is None
    told(("crm_read", "{}"), decision="dec_2", at_us=5, into=reasons)
    assert reasons.of(ONE, "crm", "read", {}, 6) == "dec_2"
    assert reasons.of(ONE, "crm", "read", {}, 5 + HOUR_US) == "dec_2"
    assert reasons.of(ONE, "crm", "read", {}, 6 + HOUR_US) is None


@pytest.mark.requirement("llm:joined")
def test_what_is_remembered_is_bounded_for_each_credential_and_in_all() -> None:
    reasons = Reasons()
    for number in range(100):
        told(("read", json.dumps({"n": number})), into=reasons)
    kept = [number for number in range(100) if reasons.of(ONE, "crm", "read", {"n": number}, 1)]
    assert kept == list(range(36, 100))
    for number in range(2_100):
        credential = CredentialId(f"many_{number}")
        reasons.told(credential, DecisionId("dec_9"), [AskedCall("read", "{}")], 2)
    assert reasons.of(ONE, "crm", "read", {"n": 99}, 3) is None
    assert reasons.of(CredentialId("many_2099"), "crm", "read", {}, 3) == "dec_9"
