"""An explanation names what determined a decision, what that read, and changes that really change the outcome."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.ids import tool_id
from accredit.policy.decide import decide
from accredit.policy.explanation import MOST_TRIALS, Explanation, explain
from accredit.policy.model import CallRequest
from tests.policy import world

LIMIT = """forbid (principal, action == Action::"shop/refund", resource)
when { context.input.amount.greaterThan(decimal("100.0")) };"""
HELD = """@hold("security")
forbid (principal, action == Action::"shop/refund", resource)
unless { context has user && context.user has roles && context.user.roles.contains("lead") };"""


def _explained(policies: str = "", context: dict[str, Any] | None = None, on: Any = world.READ) -> Explanation:
    request = CallRequest(world.COPILOT, on, world.office_call() if context is None else context)
    return explain(request, world.snapshot(policies))


def _changes(found: Explanation) -> dict[str, str]:
    return {one.change: one.outcome for one in found.alternatives}


@pytest.mark.requirement("policy:explain:changes")
def test_a_refusal_by_the_grant_says_the_facts_and_the_change_of_one_fact_that_was_missing() -> None:
    found = _explained(context=world.office_call(task={"id": "T-9", "customer_id": "c-78"}))
    assert (found.outcome, found.code) == ("deny", "task_mismatch")
    assert found.unmet == ("sameAs: input.customer_id = task.customer_id",)
    (permit,) = found.policies
    facts = {fact.path: fact for fact in permit.facts}
    assert facts["context.task.customer_id"].value == "c-78"
    assert "task issuer" in facts["context.task.customer_id"].vouched
    assert "as the agent sent" in facts["context.input.customer_id"].vouched
    assert _changes(found)['`context.input.customer_id` is "c-78"'] == "allow"
    assert _changes(found)['`context.task.customer_id` is "c-77"'] == "allow"


@pytest.mark.requirement("policy:explain:changes")
def test_two_facts_that_were_both_missing_are_named_together() -> None:
    context = world.office_call(task={"id": "T-9", "customer_id": "c-78"}, user={"id": "u-1", "roles": ["guest"]})
    found = _explained(context=context)
    both = [one for one in _changes(found) if "customer_id" in one and '"customer-support"' in one]
    assert both
    assert all(" and " in one for one in _changes(found))


@pytest.mark.requirement("policy:explain:changes")
def test_a_forbid_is_explained_by_its_text_its_absence_and_the_value_that_passes() -> None:
    context = {"input": {"amount": 250}, "now": {"minute": 600, "day": "mon", "date": "2026-11-23"}}
    found = _explained(LIMIT, context, world.REFUND)
    (policy,) = found.policies
    assert "greaterThan" in policy.text
    assert policy.facts[0].value == 250
    assert _changes(found)[f"without policy {policy.id}"] == "allow"
    assert _changes(found)["`context.input.amount` is 100.0"] == "allow"


@pytest.mark.requirement("policy:explain:changes")
def test_a_hold_names_the_person_who_could_lift_it_and_the_fact_that_would_have_spared_it() -> None:
    found = _explained(HELD, {"input": {"amount": 1}, "user": {"id": "u", "roles": ["guest"]}}, world.REFUND)
    assert found.outcome == "hold"
    assert found.policies[0].role == "security"
    assert _changes(found)["a person of `security` approves"] == "allow"
    assert _changes(found)['`context.user.roles` is ["guest","lead"]'] == "allow"


@pytest.mark.requirement("policy:explain:changes")
def test_what_no_policy_decided_is_explained_by_its_code_alone() -> None:
    found = explain(CallRequest(world.COPILOT, tool_id("crm", "nothing"), {}), world.snapshot())
    assert (found.code, found.meaning) == ("tool_not_granted", Code.TOOL_NOT_GRANTED.meaning)
    assert not found.policies
    assert not found.alternatives


_VALUES = st.sampled_from(["lead", "guest", "c-77", "c-78", "EUR"])


@pytest.mark.requirement("policy:explain:true")
@given(
    amount=st.integers(0, 300),
    roles=st.lists(_VALUES, max_size=2, unique=True),
    both=st.booleans(),
)
def test_the_outcome_explained_is_the_decision_and_the_search_is_bounded(
    amount: int, roles: list[str], *, both: bool
) -> None:
    context = {"input": {"amount": amount}, "user": {"id": "u", "roles": roles}}
    request = CallRequest(world.COPILOT, world.REFUND, context)
    snapshot = world.snapshot(LIMIT + HELD if both else HELD)
    found = explain(request, snapshot)
    decision = decide(request, snapshot)
    assert (found.outcome, found.code) == (decision.outcome.value, decision.code.value)
    assert tuple(one.id for one in found.policies) == decision.policies
    assert len(found.alternatives) <= MOST_TRIALS + 10
    assert all(one.outcome != found.outcome for one in found.alternatives)
    assert found == explain(request, snapshot)
