"""Which answer of a model a call is said to follow from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.enforcement.model import AskedCall
from accredit.enforcement.reasons import JoinedBy, Listener, Reasons, WantedCall
from accredit.kernel.ids import AgentId, CredentialId, DecisionId, ServerName, ToolId

AGENT = AgentId("agt_1")
ONE = Listener(AGENT, CredentialId("cred_1"), "ses_1", None, None)
OTHER = replace(ONE, credential=CredentialId("cred_2"))
THIRD = replace(ONE, credential=CredentialId("cred_3"))
GRANTED = [(ServerName(server), tool, ToolId(f"{server}/{tool}")) for server, tool in
           (("crm", "read"), ("crm", "read-customer"), ("erp", "read"))]  # fmt: skip
HOUR_US = 3_600_000_000


def fresh() -> Reasons:
    return Reasons(lambda what, text: f"{what}:{text}")


def wants(*asked: tuple[str, ...], reasons: Reasons | None = None, agent: AgentId = AGENT) -> list[WantedCall]:
    return (reasons or fresh()).wanted(agent, [AskedCall(*one) for one in asked], lambda: GRANTED)


def told(*asked: tuple[str, ...], decision: str = "dec_1", at_us: int = 0, into: Reasons | None = None,
         to: Listener = ONE) -> Reasons:  # fmt: skip
    reasons = into or fresh()
    reasons.told(to, DecisionId(decision), wants(*asked, reasons=reasons, agent=to.agent), at_us)
    return reasons


def of(reasons: Reasons, arguments: dict[str, Any], *, who: Listener = ONE, server: str = "crm", tool: str = "read",
       at_us: int = 1, call: str | None = None) -> tuple[str, JoinedBy] | None:  # fmt: skip
    found = reasons.of(who, server, tool, ToolId(f"{server}/{tool}"), arguments, at_us, call=call)
    return (found.decision, found.by) if found is not None else None


def follows(reasons: Reasons, arguments: dict[str, Any], **how: Any) -> str | None:
    found = of(reasons, arguments, **how)
    return found[0] if found is not None else None


@pytest.mark.requirement("llm:joined")
@pytest.mark.parametrize(
    ("asked", "server", "tool", "found"),
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
def test_names_as_frameworks_give_them_to_models(*, asked: str, server: str, tool: str, found: bool) -> None:
    reasons = told((asked, "{}"))
    assert follows(reasons, {}, server=server, tool=tool) == ("dec_1" if found else None)
    # and as they are read back: by the granted tools that the name can mean
    again = fresh()
    again.told(ONE, DecisionId("dec_1"), [WantedCall.read(one.fact()) for one in wants((asked, "{}"))], 0)
    assert follows(again, {}, server=server, tool=tool) == ("dec_1" if found else None)


@pytest.mark.requirement("llm:joined")
def test_a_name_with_a_server_means_no_other_servers_tool() -> None:
    (both,), (one,) = wants(("read", "{}")), wants(("crm__read", "{}"))
    assert (both.tools, one.tools) == (("crm/read", "erp/read"), ("crm/read",))


@pytest.mark.requirement("llm:joined")
@pytest.mark.parametrize(
    ("text", "arguments", "found"),
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
    *, text: str, arguments: dict[str, object], found: bool
) -> None:
    assert (follows(told(("read", text)), arguments) is not None) == found


@pytest.mark.requirement("llm:joined")
def test_arguments_without_a_json_form_follow_from_nothing() -> None:
    reasons = told(("read", "{}"))
    deep: dict[str, Any] = {}
    for _ in range(2_000):
        deep = {"a": deep}
    assert follows(reasons, deep) is None
    assert follows(reasons, {"a": 2**70}) is None


@pytest.mark.requirement("llm:joined")
def test_the_newest_answer_of_the_last_hour_counts() -> None:
    reasons = told(("read", "{}"))
    told(("crm_read", "{}"), decision="dec_2", at_us=5, into=reasons)
    assert follows(reasons, {}, at_us=6) == "dec_2"
    assert follows(reasons, {}, at_us=5 + HOUR_US) == "dec_2"
    assert follows(reasons, {}, at_us=6 + HOUR_US) is None


# -- who was told


@pytest.mark.requirement("llm:joined:agent")
def test_another_credential_of_the_agent_follows_what_one_was_told_in_the_same_session() -> None:
    reasons = told(("read", "{}", "call_1"))
    assert of(reasons, {}, who=OTHER) == ("dec_1", JoinedBy.ARGUMENTS)
    assert of(reasons, {"a": 1}, who=OTHER, call="call_1") == ("dec_1", JoinedBy.CALL)
    for elsewhere in (
        replace(OTHER, session="ses_2"),
        replace(OTHER, session=None),
        replace(OTHER, agent=AgentId("agt_2")),
    ):
        assert follows(reasons, {}, who=elsewhere, call="call_1") is None
        assert reasons.of_results(elsewhere, ["call_1"], 1) is None


@pytest.mark.requirement("llm:joined:agent")
def test_what_two_others_were_told_alike_is_nobodys_reason_and_ones_own_goes_first() -> None:
    reasons = told(("read", "{}", "call_1"))
    told(("read", "{}", "call_2"), decision="dec_2", at_us=1, into=reasons, to=THIRD)
    assert follows(reasons, {}, who=OTHER) is None
    # an id tells them apart
    assert of(reasons, {}, who=OTHER, call="call_2") == ("dec_2", JoinedBy.ARGUMENTS)
    # who was told itself follows that, though another was told later
    assert follows(reasons, {}) == "dec_1"
    # two equal ones of one other: the newest
    told(("read", '{"b": 1}'), decision="dec_3", at_us=2, into=reasons)
    told(("read", '{"b": 1}'), decision="dec_4", at_us=3, into=reasons)
    assert follows(reasons, {"b": 1}, who=OTHER, at_us=4) == "dec_4"
    # what one's own credential was asked of another tool does not stand in the way
    told(("read_customer", '{"b": 1}'), decision="dec_5", at_us=3, into=reasons, to=OTHER)
    assert follows(reasons, {"b": 1}, who=OTHER, at_us=4) == "dec_4"


@pytest.mark.requirement("llm:joined:agent")
def test_nothing_is_joined_across_users_or_tasks_and_the_same_session_goes_first() -> None:
    kim, eve = replace(ONE, user="usr_kim", session="ses_kim"), replace(ONE, user="usr_eve", session="ses_eve")
    reasons = told(("read", "{}"), to=kim)
    assert follows(reasons, {}, who=eve) is None
    assert follows(reasons, {}, who=kim) == "dec_1"
    assert follows(reasons, {}, who=replace(kim, task="tsk_1", session="ses_task")) == "dec_1"
    # asked for nobody in particular: anybody's call may follow it, unless there is one of the same session
    told(("read", "{}"), decision="dec_2", at_us=1, into=reasons)
    assert follows(reasons, {}, who=eve) == "dec_2"
    assert follows(reasons, {}, who=kim) == "dec_1"
    one, two = replace(ONE, task="tsk_1", session="ses_a"), replace(ONE, task="tsk_2", session="ses_b")
    told(("read", '{"a": 1}'), decision="dec_3", into=reasons, to=one)
    assert follows(reasons, {"a": 1}, who=two) is None


# -- by the provider's id


@pytest.mark.requirement("llm:joined:call")
def test_an_id_picks_the_answer_among_equal_ones_and_says_so_if_arguments_differ() -> None:
    reasons = told(("read", '{"n": 1}', "call_1"))
    told(("read", '{"n": 1}', "call_2"), decision="dec_2", at_us=1, into=reasons)
    assert of(reasons, {"n": 1}, call="call_1") == ("dec_1", JoinedBy.ARGUMENTS)
    assert of(reasons, {"n": 1}, call="call_2") == ("dec_2", JoinedBy.ARGUMENTS)
    assert of(reasons, {"n": 2}, call="call_1") == ("dec_1", JoinedBy.CALL)
    assert of(reasons, {"n": 2}) is None
    # what is not known, or of another tool, is as if nothing was said
    for unknown in ("call_3", "", "x" * 300):
        assert of(reasons, {"n": 1}, call=unknown) == ("dec_2", JoinedBy.ARGUMENTS)
    assert of(reasons, {"n": 2}, call="call_1", tool="read-customer") is None
    assert of(reasons, {"n": 2}, call="call_1", at_us=HOUR_US + 1) is None


@pytest.mark.requirement("llm:joined:call")
def test_a_custom_tools_free_text_is_joined_by_its_id_alone() -> None:
    reasons = told(("read", "free text", "call_1"))
    assert of(reasons, {"text": "free text"}, call="call_1") == ("dec_1", JoinedBy.CALL)
    assert of(reasons, {"text": "free text"}) is None


@pytest.mark.requirement("llm:joined:call")
def test_results_name_the_newest_answer_that_asked_for_one_of_their_calls() -> None:
    reasons = told(("read", "{}", "call_1"))
    told(("no_such_tool", "{}", "call_2"), decision="dec_2", at_us=1, into=reasons)
    found = reasons.of_results(ONE, ["call_2", "call_1", "call_9"], 2)
    assert found is not None
    assert (found.decision, found.by) == ("dec_2", JoinedBy.RESULT)
    assert reasons.of_results(ONE, ["call_9"], 2) is None
    # of a long conversation the newest results are looked at
    assert reasons.of_results(ONE, ["call_1", *(f"old_{number}" for number in range(64))], 2) is None


# -- bounds


@pytest.mark.requirement("llm:joined")
def test_what_is_remembered_is_bounded_for_each_credential_and_in_all() -> None:
    reasons = fresh()
    for number in range(100):
        told(("read", json.dumps({"n": number})), into=reasons)
    alone = replace(ONE, session=None)
    kept = [number for number in range(100) if follows(reasons, {"n": number}, who=alone)]
    assert kept == list(range(36, 100))
    for number in range(2_100):
        listener = Listener(AGENT, CredentialId(f"many_{number}"), f"ses_many_{number}", None, None)
        told(("read", "{}"), decision="dec_9", at_us=2, into=reasons, to=listener)
    assert follows(reasons, {"n": 99}, at_us=3) is None
    assert follows(reasons, {}, who=listener, at_us=3) == "dec_9"


@pytest.mark.requirement("llm:joined")
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=90))
def test_what_is_joined_is_what_looking_at_every_answer_would_find(asked: list[tuple[int, int]]) -> None:
    """Against all that one credential was told, in order: the newest equal one among its last 64."""
    reasons, seen = fresh(), []
    for number, (given_n, given_call) in enumerate(asked):
        told(
            ("read", json.dumps({"n": given_n}), f"c{given_call}"), decision=f"dec_{number}", at_us=number, into=reasons
        )
        seen.append((given_n, f"c{given_call}", f"dec_{number}"))
    alone, last = replace(ONE, session=None), seen[-64:]
    for arguments in range(4):
        expected = [decision for wanted, _, decision in last if wanted == arguments]
        assert follows(reasons, {"n": arguments}, who=alone, at_us=100) == (expected[-1] if expected else None)
        for call in ("c0", "c1", "c2"):
            named = [decision for _, own, decision in last if own == call]
            known = named or expected
            assert follows(reasons, {"n": arguments}, who=alone, at_us=100, call=call) == (known[-1] if known else None)
