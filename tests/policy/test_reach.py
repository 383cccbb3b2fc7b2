"""What is said of every call beforehand, against the calls themselves."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.policy.decide import decide
from accredit.policy.engines.rego import RegoEngine
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.policy.reach import Reach, Reaches, reach
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.registry.model import Agent
from tests.policy import world
from tests.policy.world import COPILOT, READ, REFUND, UPDATE

OFFICE_SELLER = world.agent(world.grant(REFUND, hours=world.OFFICE), name="seller", team="sales")
FLEET = (COPILOT, OFFICE_SELLER)
ATOMS = st.sampled_from([
    "true",
    "false",
    "context has user",
    "context.session.calls > 3",
    "context.session.calls <= 3",
    'context.now.day == "mon"',
    'context.user.roles.contains("lead")',
    'context has user && context.user has roles && context.user.roles.contains("lead")',
    'principal in Team::"sales"',
    'principal in Team::"customer-support"',
    f'principal == Agent::"{COPILOT.id}"',
    'action in Action::"@read"',
    'resource in DataClass::"financial"',
    "9223372036854775807 + context.session.calls > 0",
    "9223372036854775807 + 1 > 0",
    'context.input.customer_id like "c-*"',
])  # fmt: skip
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({}) && ({})".format, inner, inner),
        st.builds("({}) || ({})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("if ({}) then ({}) else ({})".format, inner, inner, inner),
    ),
    max_leaves=4,
)
POLICY = st.builds(
    "{}forbid (principal, action, resource) {} {{ {} }};".format,
    st.sampled_from(["", '@hold("security") ', '@hold("business-owner") ']),
    st.sampled_from(["when", "unless"]),
    CONDITIONS,
)
CALLS: tuple[dict[str, Any], ...] = tuple(
    world.office_call(session={"calls": calls}, user=user, now=now, input=given)
    for calls, user, now, given in product(
        (1, 9),
        ({"id": "u", "roles": ["lead"]}, {"id": "u", "roles": ["customer-support"]}, None),
        ({"minute": 600, "day": "mon", "date": "2026-11-23"}, {"minute": 1430, "day": "sun", "date": "2026-11-22"}),
        ({"customer_id": "c-77", "amount": 1}, {"customer_id": "x"}),
    )
)


def _part(under: PolicySnapshot, agent: Agent, tool: Any) -> Slice:
    part = under.slice_for(agent, tool)
    assert isinstance(part, Slice)
    return part


def _reached(decision: Decision) -> str:
    return "fail" if decision.code is Code.POLICY_ERROR else decision.outcome.value


def _pairs() -> list[tuple[Agent, Any]]:
    return [(agent, grant.tool) for agent in FLEET for grant in agent.version.grants]


@pytest.mark.requirement("policy:simulate:reach")
@given(st.lists(POLICY, max_size=4))
@example(['@hold("security") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };'])
@example(["forbid (principal, action, resource) when { if context has user then true else true };"])
def test_no_call_comes_to_what_was_not_said_of_it(texts: list[str]) -> None:
    under = world.snapshot({f"org/p{at}.cedar": text for at, text in enumerate(texts)})
    reaches = Reaches(under)
    for agent, tool in _pairs():
        said = reaches.of(_part(under, agent, tool))
        assert said == reach(_part(under, agent, tool), under)
        came_to = {_reached(decide(CallRequest(agent, tool, call), under)) for call in CALLS}
        assert came_to <= set(said.may), (texts, agent.name, tool)
        if said.outcome == "depends":
            assert said.depends
        assert (said.outcome == "always") == (said.may == ("allow",))
        assert (said.outcome == "never") == (not {"allow", "hold"} & set(said.may))


@pytest.mark.requirement("policy:simulate:reach")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("forbid (principal, action, resource);", Reach("never", ("deny",))),
        ('forbid (principal in Team::"ghosts", action, resource);', Reach("always", ("allow",))),
        ('@hold("security") forbid (principal, action, resource);', Reach("held", ("hold",))),
        ("forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };", Reach("never", ("fail",))),
        # decided without the call, though the text reads it
        ('forbid (principal, action, resource) when { principal in Team::"sales" && context.session.calls > 3 };',
         Reach("always", ("allow",))),
        ('forbid (principal, action, resource) when { principal in Team::"customer-support" || context has user };',
         Reach("never", ("deny",))),
        # what is left is said in the author's words
        ('forbid (principal, action, resource) when { action in Action::"@write" && context.session.calls > 3 };',
         Reach("depends", ("allow", "deny", "fail"), ("denied when context.session.calls > 3",),
               ("context.session.calls",))),
        ('@hold("security") forbid (principal, action, resource) unless { context has user };',
         Reach("depends", ("allow", "hold"), ("held when !(context has user)",), ("context.user",))),
    ],
)  # fmt: skip
def test_what_is_left_to_ask_is_said(text: str, expected: Reach) -> None:
    under = world.snapshot(text)
    assert reach(_part(under, COPILOT, UPDATE), under) == expected


@pytest.mark.requirement("policy:simulate:reach")
def test_conditions_of_a_grant_are_told_in_the_words_of_a_refusal() -> None:
    under = world.snapshot()
    said = reach(_part(under, COPILOT, READ), under)
    assert said.outcome == "depends"
    assert said.may == ("allow", "deny")
    assert set(said.depends) == {condition.label for condition in _part(under, COPILOT, READ).permit.conditions}
    assert "context.user.roles" in said.reads


@pytest.mark.requirement("policy:simulate:reach")
def test_a_second_engine_may_refuse_whatever_would_pass() -> None:
    module = 'package accredit.late\n\nimport rego.v1\n\ndeny contains "late" if input.context.now.minute > 900\n'
    under = PolicySnapshot(world.release({"org/late.rego": module}), world.SERVERS, world.ENGINE, veto=RegoEngine())
    said = reach(_part(under, COPILOT, UPDATE), under)
    assert (said.outcome, said.may) == ("depends", ("allow", "deny", "fail"))
    assert said.depends[0].startswith("not refused by org/late.rego")


@pytest.mark.requirement("policy:simulate:reach")
def test_an_engine_that_cannot_tell_leaves_everything_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise UnavailableError(Code.ENGINE_FAILED, "broken")

    under = world.snapshot()
    monkeypatch.setattr(type(under.engine), "residuals", fails)
    said = reach(_part(under, COPILOT, UPDATE), under)
    assert said == Reach("depends", ("allow", "deny", "fail", "hold"), ("broken",))


@pytest.mark.requirement("policy:simulate:reach")
def test_a_long_condition_is_cut_where_it_is_shown_and_judged_whole() -> None:
    long = " || ".join(f"context.session.calls == {at}" for at in range(45))
    under = world.snapshot(f"forbid (principal, action, resource) when {{ {long} }};")
    said = reach(_part(under, COPILOT, UPDATE), under)
    assert said.outcome == "depends"
    assert {"allow", "deny"} <= set(said.may)
    assert len(said.depends[0]) == 300
    decided = decide(CallRequest(COPILOT, UPDATE, world.office_call(session={"calls": 44})), under)
    assert decided.outcome is Outcome.DENY


@pytest.mark.requirement("policy:simulate:reach")
def test_names_that_need_escapes_are_asked_about_as_they_are() -> None:
    quoted = world.agent(world.grant(UPDATE), name="it\"s \\ o'brien")
    under = world.snapshot('@hold("security") forbid (principal, action, resource);')
    assert reach(_part(under, quoted, UPDATE), under) == Reach("held", ("hold",))
