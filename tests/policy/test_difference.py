"""What a candidate changes before any call: exactly whose rules, what becomes of their calls, and the report of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.legible import visible
from accredit.policy.decide import decide
from accredit.policy.difference import release_diff, slice_diff
from accredit.policy.model import CallRequest, Outcome
from accredit.policy.replay import CallChange, Replayed, RunSeen
from accredit.policy.report import html_report, markdown_report, text_report
from accredit.policy.simulation import SimulationReport, simulation_report
from accredit.registry.model import Agent
from tests.policy import world
from tests.policy.test_equivalence import ACTIONS, PRINCIPALS, RESOURCES

SALES = world.agent(world.grant(world.READ), world.grant(world.REFUND), name="seller", team="sales")
FLEET: tuple[Agent, ...] = (world.COPILOT, SALES)
CONDITIONS = [
    "",
    "when { context.session.calls > 3 }",
    'when { context.now.day == "mon" }',
    'unless { context has user && context.user has roles && context.user.roles.contains("lead") }',
]
_POLICY = st.builds(
    lambda hold, who, what, on, when: f"{hold}forbid ({who}, {what}, {on}) {when};",
    st.sampled_from(["", "", '@hold("security") ']),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(CONDITIONS),
)
_SET = st.lists(_POLICY, max_size=4, unique=True)


def _contexts() -> list[dict[str, Any]]:
    calls = [{"input": {"customer_id": "c-77", "amount": 1}, "session": {"calls": number}} for number in (1, 9)]
    return [world.office_call(**each, user=user) for each in calls for user in ({"id": "u", "roles": ["lead"]}, None)]


@pytest.mark.requirement("policy:simulate:slices")
@given(_SET, _SET, _SET)
def test_what_is_not_named_decides_every_call_as_before_and_what_can_only_end_one_way_does(
    kept: list[str], before: list[str], after: list[str]
) -> None:
    texts = [{f"org/p{at}.cedar": text for at, text in enumerate([*kept, *each])} for each in (before, after)]
    base, candidate = (world.snapshot(each) for each in texts)
    changed = slice_diff(base, candidate, FLEET)
    named = {(one.agent, one.tool) for one in changed}
    assert len(named) == len(changed)
    for agent in FLEET:
        for grant in agent.version.grants:
            asked = [CallRequest(agent, grant.tool, context) for context in _contexts()]
            old, new = ([decide(one, each) for one in asked] for each in (base, candidate))
            if (agent.id, grant.tool) not in named:
                assert [(one.outcome, one.code, one.policies) for one in old] == [
                    (one.outcome, one.code, one.policies) for one in new
                ]
                continue
            (change,) = [one for one in changed if (one.agent, one.tool) == (agent.id, grant.tool)]
            for reach, decisions in ((change.before, old), (change.after, new)):
                outcomes = {one.outcome for one in decisions}
                if reach.outcome in {"always", "never"}:
                    assert outcomes == {Outcome.ALLOW if reach.outcome == "always" else Outcome.DENY}
                if reach.outcome.startswith("held"):
                    assert Outcome.ALLOW not in outcomes
                if reach.outcome == "depends":
                    assert reach.depends


@pytest.mark.requirement("policy:simulate:slices")
def test_a_mode_alone_is_a_change_and_is_named_as_one() -> None:
    text = 'forbid (principal, action == Action::"shop/refund", resource);'
    files = {"org/no.cedar": text}
    observed = {**files, "accredit.toml": '[observe]\n"org/no.cedar" = 2027-01-01\n'}
    changed = slice_diff(world.snapshot(files), world.snapshot(observed), FLEET)
    assert {one.tool for one in changed} == {"shop/refund"}
    assert all(one.observed and not one.added and not one.removed for one in changed)
    assert {(one.before.outcome, one.after.outcome) for one in changed} == {("never", "always")}
    diff = release_diff(world.release(files), world.release(observed))
    assert (diff.added, diff.removed) == ((), ())
    assert [(old, new is not None) for _, old, new in diff.observed] == [(None, True)]
    assert [(one.path, one.change) for one in diff.files] == [("accredit.toml", "added")]
    other = release_diff(world.release(files), world.release({"org/no.cedar": text.replace("refund", "refunds")}))
    assert (len(other.added), len(other.removed)) == (1, 1)
    assert "-forbid" in other.files[0].text


HOSTILE = 'x|y<script>"\u202e[link](http://a)@all\x1b[2J'


def _report(*, hostile: str = "crm/read") -> SimulationReport:
    files = {"org/no.cedar": 'forbid (principal, action == Action::"shop/refund", resource);'}
    base, candidate = world.release({}), world.release(files)
    found = Replayed(decisions=12, judged=12, untouched=4, again=8)
    denied = CallChange(world.COPILOT.id, hostile, "allow", "deny", "forbidden_by_policy", ("org/no.cedar@1",))
    failing = CallChange(world.COPILOT.id, "shop/refund", "allow", "deny", "policy_error", ("org/no.cedar@1",))
    allowed = CallChange(SALES.id, "crm/read", "deny", "allow", "allowed", ())
    found.changes = Counter({denied: 5, failing: 1, allowed: 2})
    found.examples = {denied: (3, "dec_1"), failing: (4, "dec_2"), allowed: (5, "dec_3")}
    found.runs = {
        "ses_1": RunSeen(world.COPILOT.id, frozenset({"crm/read", hostile}), completed=True, breaks=3, example="dec_1"),
        "ses_2": RunSeen(world.COPILOT.id, frozenset({"crm/read", hostile}), completed=True),
        "ses_3": RunSeen(
            world.COPILOT.id, frozenset({"crm/read", hostile}), completed=False, breaks=9, example="dec_9"
        ),
    }
    found.used = Counter({(world.COPILOT.id, "shop/refund"): 1, (world.COPILOT.id, "crm/read"): 4})
    found.usable = Counter({(world.COPILOT.id, "crm/read"): 4})
    found.unrepeatable = Counter({"erased": 2})
    found.missing = Counter({"context.session.refunded": 3})
    snapshot = world.snapshot()
    return simulation_report(
        release_diff(base, candidate),
        slice_diff(snapshot, snapshot.with_release(candidate), FLEET),
        found,
        {agent.id: agent for agent in FLEET},
        since_us=0,
        until_seq=99,
    )


@pytest.mark.requirement("policy:simulate:report")
def test_the_report_counts_by_kind_groups_runs_and_names_whom_to_tell() -> None:
    report = _report()
    assert (report.denied, report.failing, report.allowed, report.held) == (5, 1, 2, 0)
    assert report.breaks
    (flow,) = report.workflows
    assert (flow.runs, flow.of, flow.example) == (1, 2, "dec_1")  # the third had not gone through before
    assert report.unused == ((world.COPILOT.id, "shop/refund"),)
    assert next((one.name, one.owner) for one in report.agents) == ("development/support-copilot", "per_dana")
    assert not report.denies_everything
    document = report.document()
    assert document["schema"] == "accredit/simulation/v1"
    assert document["unrepeatable"] == {"erased": 2}
    assert report.digest == _report().digest
    assert report.digest != _report(hostile="crm/other").digest


@pytest.mark.requirement("policy:simulate:report")
def test_a_candidate_that_denies_everything_is_said_to_in_plain_words() -> None:
    document = {**_report().document(), "denies_everything": True}
    for render in (text_report, markdown_report, html_report):
        assert "denies everything" in render(document)


@pytest.mark.requirement("policy:simulate:shown")
def test_no_name_can_imitate_the_report_it_stands_in() -> None:
    document = _report(hostile=HOSTILE).document()
    people = {"per_dana": f"dana@example.com{HOSTILE}"}
    text, markdown, html = (render(document, people) for render in (text_report, markdown_report, html_report))
    for shown in (text, markdown, html):
        assert "\x1b" not in shown
        assert visible(shown) == shown
        assert "development" in shown
    assert "<script" not in html
    assert 'src="' not in html
    assert "http-equiv" in html
    assert "[link]" not in markdown
    assert "<script" not in markdown
    assert "@all" not in markdown
    assert len({row.count(" | ") for row in markdown.splitlines() if row.startswith("| 5")}) == 1
