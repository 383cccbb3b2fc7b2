"""The manifest compiler: golden texts, and literals that mean exactly the text they were made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.hours import Hours
from accredit.kernel.ids import tool_id
from accredit.policy.grants import GrantBook, grant_text, quoted
from accredit.policy.model import Outcome
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry.model import ToolGrant
from tests.policy.world import ENGINE, READ, SUPPORT_GRANT, agent, ask, grant, release, server, tool

GOLDEN = Path(__file__).parent / "golden"
NIGHT = Hours.parse("22:00-02:00", ["fri", "sat"], "America/New_York")
CASES = {
    "bare": grant(READ),
    "role": grant(READ, "customer-support"),
    "same-as": grant(READ, same_as=(("input.customer_id", "task.customer_id"), ("input.owner", "user.id"))),
    "office-hours": grant(READ, hours=Hours.parse("08:00-18:00", ["mon", "tue"], "Europe/Berlin")),
    "over-midnight": grant(READ, hours=NIGHT),
    "until-midnight": grant(READ, hours=Hours.parse("22:00-24:00", ["sun"], "UTC")),
    "mission": SUPPORT_GRANT,
    "odd-names": grant(
        tool_id("crm", 'read.customer-v2/"x" é'),
        'lead "é"\n\u202e\\',
        (("input.customer-id", "task.if"), ("input.a.b", "task.c")),
    ),
}
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@pytest.mark.requirement("policy:grant:golden")
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_grant_compiles_to_the_permit_on_file(name: str) -> None:
    assert grant_text(CASES[name]) + "\n" == (GOLDEN / f"{name}.cedar").read_text(encoding="utf-8")


@pytest.mark.requirement("policy:grant:golden")
@pytest.mark.parametrize("name", sorted(CASES))
def test_every_golden_permit_is_read_back_by_the_engine(name: str) -> None:
    permit = GrantBook(ENGINE).permit(CASES[name])
    assert permit.policy.permits
    assert len(permit.apart) == len(permit.conditions)


@pytest.mark.requirement("policy:grant:escaping")
@settings(max_examples=80)
@given(TEXT)
def test_a_literal_means_the_very_text_it_was_made_of(text: str) -> None:
    (source,) = ENGINE.read(f"permit (principal, action, resource) when {{ {quoted(text)} == context.x }};")
    assert source.tree["conditions"][0]["body"]["=="]["left"] == {"Value": text}


@pytest.mark.requirement("policy:grant:escaping")
@settings(max_examples=40)
@given(TEXT, TEXT)
def test_a_role_is_satisfied_by_that_very_role_alone(role: str, other: str) -> None:
    name = tool_id("crm", "read")
    under = PolicySnapshot(release(), (server("crm", tool(name)),), ENGINE)
    by = agent(grant(name, role))
    for roles in ([role], [other], [], [role, other]):
        outcome = ask(context={"input": {}, "user": {"roles": roles}}, on=name, by=by, under=under).outcome
        assert (outcome is Outcome.ALLOW) is (role in roles)


@pytest.mark.requirement("policy:grant:escaping")
@settings(max_examples=30)
@given(TEXT.filter(bool), TEXT.filter(bool).filter(lambda name: "." not in name))
def test_any_tool_and_argument_name_can_be_granted(own: str, argument: str) -> None:
    name = tool_id("crm", own)
    under = PolicySnapshot(release(), (server("crm", tool(name, {argument: {"type": "string"}})),), ENGINE)
    by = agent(grant(name, same_as=((f"input.{argument}", "task.id"),)))
    if argument in {"__entity", "__extn", "__expr"}:
        return
    for value, outcome in (("T", Outcome.ALLOW), ("U", Outcome.DENY)):
        context = {"input": {argument: value}, "task": {"id": "T"}}
        assert ask(context=context, on=name, by=by, under=under).outcome is outcome


@pytest.mark.requirement("policy:grant:shared")
def test_equal_grants_are_one_permit_and_a_forged_digest_is_not_believed() -> None:
    book = GrantBook(ENGINE)
    assert book.permit(SUPPORT_GRANT) is book.permit(grant(READ, *_parts(SUPPORT_GRANT)))
    forged = ToolGrant(READ, SUPPORT_GRANT.digest)
    assert book.permit(forged).conditions == ()
    book.keep([])
    assert book.permit(SUPPORT_GRANT).conditions != ()


def _parts(given_grant: ToolGrant) -> tuple[str | None, tuple[tuple[str, str], ...], Hours | None]:
    return given_grant.user_role, given_grant.same_as, given_grant.hours


@pytest.mark.parametrize("path", ["declared.role", "input", "input.", "session.calls", "customer_id"])
def test_a_path_that_proves_nothing_cannot_be_compared(path: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        grant_text(grant(READ, same_as=((path, "task.customer_id"),)))
    assert refused.value.code is Code.MANIFEST_INVALID
