"""The table of automatic answers: what is built in, and what a release adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.monitoring.model import AlertKind, RemediationKind
from accredit.monitoring.remedy import remedy_for
from accredit.policy.config import ANSWERED, STATISTICAL, AutomaticAnswer, RemediationRule, read_config
from accredit.registry.model import Environment, RestrictionKind, Tier

RULE = """
[[remediation]]
on = ["behaviour-drift"]
do = "hold"
role = "security"
"""
RULES = st.builds(
    RemediationRule,
    on=st.frozensets(st.sampled_from(sorted(ANSWERED)), min_size=1),
    do=st.sampled_from(AutomaticAnswer),
    for_s=st.integers(60, 7 * 86_400),
    acts=st.booleans(),
    environment=st.sampled_from(["production", "staging"]),
    tiers=st.frozensets(st.sampled_from(["low", "medium", "high"]), min_size=1),
)


@pytest.mark.requirement("monitoring:remediation:rules")
def test_a_rule_is_read_and_only_rehearses_unless_it_says_that_it_acts() -> None:
    config, faults = read_config(RULE)
    assert faults == ()
    on = frozenset({"behaviour-drift"})
    assert config.remediations == (RemediationRule(on, AutomaticAnswer.HOLD, 86_400, acts=False, role="security"),)
    (acting,) = read_config(RULE + 'mode = "act"\nfor = "4h"\ntiers = ["high"]')[0].remediations
    assert (acting.acts, acting.for_s, acting.tiers) == (True, 4 * 3600, frozenset({"high"}))


@pytest.mark.requirement("monitoring:remediation:faults")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('on = ["behaviour-drift"]\ndo = "quarantine"', "statistic"),
        ('on = ["behaviour-drift"]\ndo = "suspend"', "statistic"),
        ('on = ["new-tool", "behaviour-drift"]\ndo = "drop-tool"', "statistic"),
        ('on = ["no-such"]\ndo = "suspend"', "kind of alert"),
        ('on = ["reported-tool"]\ndo = "suspend"', "kind of alert"),
        ('on = []\ndo = "suspend"', "kind of alert"),
        ('on = ["new-tool"]\ndo = "erase"', "nothing that is known"),
        ('on = ["new-tool"]\ndo = "suspend"\nmode = "later"', "nothing that is known"),
        ('on = ["new-tool"]\ndo = "suspend"\nfor = "8d"', "seven days"),
        ('on = ["new-tool"]\ndo = "suspend"\nfor = 5', "seven days"),
        ('on = ["new-tool"]\ndo = "throttle"', "rate"),
        ('on = ["new-tool"]\ndo = "throttle"\ncalls_per_minute = 0', "rate"),
        ('on = ["new-tool"]\ndo = "throttle"\ncalls_per_minute = true', "rate"),
        ('on = ["new-tool"]\ndo = "suspend"\ncalls_per_minute = 5', "rate"),
        ('on = ["new-tool"]\ndo = "hold"', "role"),
        ('on = ["new-tool"]\ndo = "hold"\nrole = "king"', "role"),
        ('on = ["new-tool"]\ndo = "suspend"\ntiers = ["top"]', "tier or environment"),
        ('on = ["new-tool"]\ndo = "suspend"\nelse = 1', "key"),
    ],
)
def test_what_could_not_be_meant_is_refused_with_what_would_be(text: str, says: str) -> None:
    config, ((message, fix),) = read_config(f"[[remediation]]\n{text}")
    assert says in message
    assert fix
    assert config.remediations == ()


@pytest.mark.requirement("monitoring:remediation:faults")
def test_the_list_has_an_end_and_is_a_list() -> None:
    assert read_config('[[remediation]]\non = "new-tool"\ndo = "suspend"\n' * 65)[1]
    assert read_config('remediation = "x"')[1]


@pytest.mark.requirement("monitoring:remediation:rules")
def test_every_kind_that_rules_can_answer_is_one_of_monitoring() -> None:
    assert ANSWERED - {kind.value for kind in AlertKind} - STATISTICAL == set()


@pytest.mark.requirement("monitoring:remediation:stronger")
@given(
    st.sampled_from([kind for kind in AlertKind if kind.value in ANSWERED]), st.sampled_from(Environment),
    st.none() | st.sampled_from(Tier), st.lists(RULES, max_size=6),
)  # fmt: skip
def test_rules_add_to_what_is_built_in_and_never_take_from_it(
    kind: AlertKind, environment: Environment, tier: Tier | None, rules: list[RemediationRule]
) -> None:
    built_in, with_rules = remedy_for(kind, environment, tier), remedy_for(kind, environment, tier, rules)
    order = [
        None,
        *[RestrictionKind(one) for one in ("throttle", "hold", "read-only", "drop-tool")],
        "quarantine",
        "suspend",
    ]

    def strength(remedy: object) -> int:
        stops = {RemediationKind.QUARANTINE: "quarantine", RemediationKind.SUSPEND: "suspend"}
        done = stops.get(remedy.kind, remedy.restriction)  # type: ignore[attr-defined]
        return order.index(done)

    fitting = [
        one for one in rules
        if kind.value in one.on and one.environment == environment.value and (tier or Tier.HIGH).value in one.tiers
    ]  # fmt: skip
    expected = max([strength(built_in), *[list(AutomaticAnswer).index(one.do) + 1 for one in fitting if one.acts]])
    assert strength(with_rules) == expected
    assert bool(with_rules.rehearsed) == any(not one.acts for one in fitting)
    assert with_rules.severity == built_in.severity


@pytest.mark.requirement("monitoring:remediation:statistic")
@given(
    st.text('abcdehnoqrstuv -"[]=\n', max_size=80),
    st.sampled_from(AutomaticAnswer),
    st.sampled_from(sorted(STATISTICAL)),
)
def test_no_text_of_a_release_has_a_statistic_stop_an_agent(more: str, do: AutomaticAnswer, kind: str) -> None:
    config, _ = read_config(f'[[remediation]]\non = ["{kind}", "new-tool"]\ndo = "{do}"\nmode = "act"\n{more}')
    for rule in config.remediations:
        if rule.on & STATISTICAL:
            assert rule.do in {AutomaticAnswer.THROTTLE, AutomaticAnswer.HOLD, AutomaticAnswer.READ_ONLY}
