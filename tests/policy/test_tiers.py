"""Policies that speak of risk tiers: what they do to agents, and that none lowers a tier by speaking of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.policy.enforced import AccessOutcome, access, as_it_would_run, enforced_by
from accredit.policy.model import Outcome
from accredit.policy.validation import access_report
from accredit.registry.model import Agent, AgentState, Environment, Tier
from accredit.registry.tiering import Enforced
from tests.policy.test_validation import catalogue, one
from tests.policy.world import READ, REFUND, SERVERS, UPDATE, ask, grant, moved, office_call, snapshot

PRODUCTION = tuple(replace(place, environment=Environment.PRODUCTION) for place in SERVERS)
TOOLS = (READ, UPDATE, REFUND)
HELD = '@hold("security")\n'
SPEAKING = st.builds(
    lambda hold, tiers, form, action: (HELD if hold else "") + form.format(
        scope=f'principal in RiskTier::"{tiers[0]}"',
        body=" || ".join(f'principal in RiskTier::"{tier}"' for tier in tiers),
        action=f', action in Action::"{action}"' if action else ", action",
    ),
    st.booleans(),
    st.lists(st.sampled_from(Tier), min_size=1, max_size=2, unique=True),
    st.sampled_from(
        [
            "forbid ({scope}{action}, resource);",
            "forbid (principal{action}, resource) when {{ {body} }};",
            "forbid (principal{action}, resource) unless {{ {body} }};",
        ]
    ),
    st.sampled_from(["", "@read", "@write", "@irreversible"]),
)  # fmt: skip
SILENT = st.sampled_from(
    [
        "",
        HELD + "forbid (principal, action, resource);\n",
        'forbid (principal, action in Action::"@write", resource);\n',
    ]
)


def running() -> Agent:
    by = one(*(grant(tool) for tool in TOOLS))
    return replace(by, environment=Environment.PRODUCTION, state=AgentState.ACTIVE, tier=Tier.LOW)


@pytest.mark.requirement("policy:tier:lowers-nothing")
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SPEAKING, max_size=3, unique=True), SILENT)
def test_a_tool_counts_as_held_or_closed_only_if_it_is_so_in_every_tier(speaking: list[str], silent: str) -> None:
    under, by = snapshot("\n".join([silent, *speaking]), PRODUCTION), running()
    found = enforced_by(under, by, by.version)
    outcomes = {
        tool: [access(each, tool, under).outcome for tier in Tier for each in as_it_would_run(by, by.version, tier)]
        for tool in TOOLS
    }
    assert found.closed == {tool for tool in TOOLS if set(outcomes[tool]) == {AccessOutcome.FORBIDDEN}}
    shut = {AccessOutcome.FORBIDDEN, AccessOutcome.HELD}
    assert found.held == {tool for tool in TOOLS if set(outcomes[tool]) <= shut} - found.closed
    if any(len(set(one)) > 1 for one in outcomes.values()):
        assert under.tiered


@pytest.mark.requirement("policy:tier:lowers-nothing")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(Tier), st.booleans(), st.booleans(), SILENT)
def test_a_policy_about_one_tier_enforces_nothing_whatever_it_says_of_it(
    tier: Tier, hold: bool, scoped: bool, silent: str  # noqa: FBT001 - drawn
) -> None:  # fmt: skip
    about = f'principal in RiskTier::"{tier}"'
    text = (
        f"forbid ({about}, action, resource);"
        if scoped
        else f"forbid (principal, action, resource) when {{ {about} }};"
    )
    by = running()
    without, plain = (
        enforced_by(snapshot(policies, PRODUCTION), by, by.version)
        for policies in (silent + (HELD if hold else "") + text, silent)
    )
    assert without == plain
    for other in Tier:
        outcome = ask(
            by=moved(by, tier=other), context=office_call(), under=snapshot(silent + text, PRODUCTION)
        ).outcome
        if other is tier:
            assert outcome is Outcome.DENY


@pytest.mark.requirement("policy:tier:lowers-nothing")
def test_policies_about_every_tier_together_enforce_what_they_say() -> None:
    by = running()
    everywhere = "\n".join(f'{HELD}forbid (principal in RiskTier::"{tier}", action, resource);' for tier in Tier)
    assert enforced_by(snapshot(everywhere, PRODUCTION), by, by.version) == Enforced(held=frozenset(TOOLS))


@pytest.mark.requirement("policy:tier:report")
@pytest.mark.parametrize("tier", Tier)
def test_the_access_validation_says_what_is_so_under_the_tier_that_is_judged(tier: Tier) -> None:
    by = running()
    under = snapshot('forbid (principal in RiskTier::"medium", action in Action::"@read", resource);', PRODUCTION)
    # a draft that nobody approved yet stands in no tier of its own: it is judged as it would run
    draft = replace(by, state=AgentState.DRAFT, tier=None)

    def found(**more: Any) -> list[tuple[str, str]]:
        report = access_report(draft.version, catalogue(draft, servers=PRODUCTION), under, draft, **more)
        return [(excess.code.value, excess.what) for excess in report.excess]

    assert (("grant-forbidden", READ) in found(tier=tier)) == (tier is Tier.MEDIUM)
    assert found() == found(tier=Tier.HIGH)
