"""Observed policies are evaluated apart, can change nothing, and are enforced when their observation ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.config import read_config, with_mode
from accredit.policy.decide import decide
from accredit.policy.enforced import enforced_by
from accredit.policy.listing import listed
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.policy.publish import publish
from accredit.policy.release import PolicyInvalidError
from tests.policy import world

END_US = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z
OBSERVE = '[observe]\n"org/no.cedar" = 2027-01-15T08:00:00Z\n'
FORBID = 'forbid (principal, action == Action::"crm/read_customer", resource);'
HOLD = '@hold("security")\n' + FORBID


def _asked(**changes: Any) -> CallRequest:
    return replace(CallRequest(world.COPILOT, world.READ, world.office_call(), time_us=END_US - 1), **changes)


def _decided(text: str, **changes: Any) -> Decision:
    return decide(_asked(**changes), world.snapshot({"org/no.cedar": text, "accredit.toml": OBSERVE}))


@pytest.mark.requirement("policy:observe:apart")
@pytest.mark.parametrize(("text", "strict"), [(FORBID, Outcome.DENY), (HOLD, Outcome.HOLD)])
def test_an_observed_policy_changes_nothing_and_says_what_it_would_have(text: str, strict: Outcome) -> None:
    plain = decide(_asked(), world.snapshot())
    found = _decided(text)
    assert plain.outcome is found.outcome is Outcome.ALLOW
    assert found.policies == plain.policies
    assert found.observed is not None
    assert found.observed.outcome is strict
    assert found.observed.policies[0].startswith("org/no.cedar@")
    assert plain.observed is None


@pytest.mark.requirement("policy:observe:apart")
def test_it_is_enforced_from_the_moment_named_and_while_the_clock_is_in_doubt() -> None:
    assert _decided(FORBID, time_us=END_US).observed is None
    assert _decided(FORBID, time_us=END_US).code is Code.FORBIDDEN_BY_POLICY
    assert _decided(FORBID, time_trusted=False).code is Code.FORBIDDEN_BY_POLICY


@pytest.mark.requirement("policy:observe:apart")
def test_a_policy_that_errors_while_observed_denies_nothing() -> None:
    found = _decided("forbid (principal, action, resource) when { context.task.customer_id == context.nothing };")
    assert (found.outcome, found.faults) == (Outcome.ALLOW, ())
    assert found.observed is not None
    assert (found.observed.outcome, found.observed.code) == (Outcome.DENY, Code.POLICY_ERROR)


@pytest.mark.requirement("policy:observe:apart")
def test_what_is_observed_neither_lowers_a_tier_nor_hides_a_tool() -> None:
    holding = world.snapshot({"org/no.cedar": HOLD, "accredit.toml": OBSERVE})
    assert not enforced_by(holding, world.COPILOT, world.COPILOT.version).held
    hiding = world.snapshot({"org/no.cedar": FORBID, "accredit.toml": OBSERVE})
    assert listed(world.COPILOT, world.READ, hiding)
    assert not enforced_by(hiding, world.COPILOT, world.COPILOT.version).closed


@pytest.mark.requirement("policy:observe:apart")
def test_the_mode_is_part_of_the_release() -> None:
    observed = world.release({"org/no.cedar": FORBID, "accredit.toml": OBSERVE})
    assert observed.digest != world.release({"org/no.cedar": FORBID}).digest


@pytest.mark.requirement("policy:observe:apart")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"accredit.toml": "[observe]\n"}, ""),
        ({"accredit.toml": "observe = 1"}, "no table"),
        ({"accredit.toml": "["}, "not TOML"),
        ({"accredit.toml": "[other]"}, "`other` is not known"),
        ({"accredit.toml": OBSERVE}, "there is no such policy"),
        ({"org/no.cedar": FORBID, "accredit.toml": OBSERVE.replace("2027-01-15T08:00:00Z", "1")}, "until a moment"),
        (
            {"org/no.cedar": FORBID, "accredit.toml": OBSERVE.replace("08:00:00Z", "08:00:00")},
            "until a moment",
        ),
        (
            {
                "org/no.cedar": 'permit (principal in Team::"sales", action == Action::"crm/read_customer", resource);',
                "accredit.toml": OBSERVE,
            },
            "a permit is observed",
        ),
    ],
)
def test_settings_that_say_nothing_sensible_are_refused(files: dict[str, str], words: str) -> None:
    if not words:
        publish(files, world.ENGINE, world.INSTALLATION)
        return
    with pytest.raises(PolicyInvalidError) as refused:
        publish(files, world.ENGINE, world.INSTALLATION)
    assert any(words in finding.message and finding.fix for finding in refused.value.findings)


_COUNTERS = """# caps
[counters.refunds]
tools = ["shop/refund"]  # [observe] in a comment
window = "1h"
"""


@pytest.mark.requirement("policy:observe:mode")
@pytest.mark.parametrize("text", ["", OBSERVE, _COUNTERS, OBSERVE + "\n" + _COUNTERS, _COUNTERS + "\n" + OBSERVE])
def test_the_mode_of_one_policy_is_changed_and_everything_else_stays(text: str) -> None:
    before, _ = read_config(text)
    observed = with_mode(text, "team/sales/x.cedar@0123456789ab", END_US)
    after, faults = read_config(observed)
    assert not faults
    assert after.counters == before.counters
    assert dict(after.observe) == {**before.observe, "team/sales/x.cedar@0123456789ab": END_US}
    back = with_mode(observed, "team/sales/x.cedar@0123456789ab", None)
    assert read_config(back)[0] == before
    assert all(line in observed for line in _COUNTERS.splitlines() if _COUNTERS in text)
    assert dict(read_config(with_mode(text, "org/no.cedar", None))[0].observe) == {}


@pytest.mark.requirement("policy:observe:mode")
@pytest.mark.parametrize("text", ["observe = {}", 'observe."org/a.cedar" = 2027-01-01', "[observe", "[other]"])
def test_what_cannot_be_changed_with_certainty_is_left_to_its_author(text: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be changed"):
        with_mode(text, "org/no.cedar", END_US)
