"""Laws of judging the past again: what is asked once, or not at all, comes out as if every call were asked whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy import replay as module
from accredit.policy.context import LooksAt
from accredit.policy.decide import decide
from accredit.policy.model import CallRequest, Decision, ExternalName, ExternalRequest, Outcome
from accredit.policy.ports import VetoAnswer
from accredit.policy.recorded import Judgement, RecordedHead, answer_fact, judgement_fact, read_body
from accredit.policy.replay import CallChange, PastQuestion, Unrepeatable, replay, reproduce
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry.model import Agent, Restriction, RestrictionKind, Role, Tier
from tests.policy.test_equivalence import CONDITIONS, CONTEXTS, TOOLS
from tests.policy.world import COPILOT, ENGINE, READ, SERVERS, UPDATE, digest, moved, office_call, release, snapshot

HIDDEN = {"customer_id": {"deep": [{"__entity": {"type": "Agent", "id": "x"}}]}}
TWIN = moved(COPILOT, id=AgentId("agt_twin"), tier=Tier.LOW)
"""Another agent with the same grants, and other attributes."""
RESTRICTIONS = tuple(
    Restriction(f"rst_{kind}", COPILOT.id, kind, None, "alr_1", 0, 10**18, role=Role.SECURITY)
    for kind in (RestrictionKind.READ_ONLY, RestrictionKind.HOLD)
)
FAILING = {Code.POLICY_ERROR, Code.UNENCODABLE_INPUT, Code.NO_DECISION, Code.ENGINE_FAILED, Code.ENTITY_INCOMPLETE}


@dataclass
class Past:
    """A recorded decision in memory."""

    seq: int
    made: CallRequest
    snapshot: PolicySnapshot
    decision: Decision
    why: Unrepeatable | None = None

    def __post_init__(self) -> None:
        agent = self.made.agent
        self.header = _head(agent=agent.id, tool=self.made.tool, decision=self.outcome)
        stated = {"decision_id": f"dec_{self.seq}", "session": f"ses_{self.seq % 3}", "control": 1}
        self.body: Mapping[str, Any] = judgement_fact(self.made, self.decision) | stated
        self.stated = read_body(orjson.dumps(self.body))
        self.agent: Agent | None = agent
        self.opened = 0

    @property
    def judgement(self) -> Judgement | None:
        return self.stated.judged or None

    @property
    def outcome(self) -> str:
        return self.decision.outcome.value

    @property
    def policy(self) -> PolicySnapshot | None:
        return self.snapshot

    def facts(self, looks_at: LooksAt | None = None, *, clean: bool = False) -> Mapping[str, Any] | None:
        self.opened += 1
        whole = self.made.context
        if looks_at is None:
            return whole
        if not clean and b"__e" in orjson.dumps(whole):
            return None
        found = {name: value for name, value in whole.items() if name in looks_at.parts}
        if "input" in found and looks_at.arguments is not None:
            found["input"] = {name: value for name, value in whole["input"].items() if name in looks_at.arguments}
        return found

    def texts(self, looks_at: LooksAt) -> Hashable:
        self.opened += 1
        return orjson.dumps(self.facts(looks_at, clean=True), option=orjson.OPT_SORT_KEYS)

    def request(self, facts: Mapping[str, Any] | None = None) -> CallRequest:
        return replace(self.made, context=self.made.context if facts is None else facts)


def _head(**stated: str) -> RecordedHead:
    fields: dict[str, Any] = dict.fromkeys(("agent", "decision", "tool", "version"))
    return RecordedHead(**fields | {"kind": "decision", "time": 1} | stated)


@st.composite
def texts(draw: st.DrawFn) -> dict[str, str]:
    """A release of up to four policies, one of which may be observed until moment 50."""
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        hold = draw(st.sampled_from(["", "", '@hold("security") ']))
        action = draw(st.sampled_from(["action", f'action == Action::"{READ}"', 'action in Action::"@write"']))
        lines.append(f"{hold}forbid (principal, {action}, resource) {draw(st.sampled_from(CONDITIONS))};")
    files = {f"org/p{number}.cedar": line for number, line in enumerate(dict.fromkeys(lines))}
    observes = draw(st.booleans())
    if files and observes:
        files["accredit.toml"] = f'[observe]\n"{draw(st.sampled_from(sorted(files)))}" = 1970-01-02\n'
    return files


@st.composite
def requests(draw: st.DrawFn, lift: list[str]) -> CallRequest:
    """A call as it may come: held before or not, by a steady clock or not, under a restriction or not."""
    context = draw(CONTEXTS)
    if draw(st.integers(0, 9)) == 0:
        context = {**context, "input": HIDDEN}
    return CallRequest(
        draw(st.sampled_from([COPILOT, TWIN])),
        draw(TOOLS),
        context,
        lifted=frozenset(draw(st.lists(st.sampled_from(lift), max_size=2))) if lift else frozenset(),
        time_trusted=draw(st.sampled_from([True, True, True, False])),
        restrictions=draw(st.sampled_from([(), (), (), *((one,) for one in RESTRICTIONS)])),
        time_us=draw(st.sampled_from([1, 2 * 86_400_000_000])),
    )


@pytest.mark.requirement("policy:replay:once")
@settings(max_examples=80)
@given(st.data())
def test_asking_once_is_as_good_as_asking_every_time(data: st.DataObject) -> None:
    base = snapshot(data.draw(texts()))
    candidate = release(data.draw(texts()))
    after = base.with_release(candidate)
    lift = sorted(policy.id for each in (base.release, candidate) for policy in each.policies if policy.hold)
    calls = []
    for seq, asked in enumerate(data.draw(st.lists(requests(lift), max_size=12))):
        calls.append(Past(seq, asked, base, decide(asked, base)))
    proof = reproduce(calls)
    assert proof.differences == []
    assert proof.same == proof.judged == len(calls)

    expected: Counter[CallChange] = Counter()
    for call in calls:
        now = decide(call.made, after)
        was = call.decision
        if now.outcome is not was.outcome or (now.code in FAILING and was.code not in FAILING):
            policies = now.policies or was.policies
            who, tool = call.made.agent.id, call.made.tool
            expected[CallChange(who, tool, was.outcome, now.outcome, now.code.value, policies)] += 1
    found = replay(calls, candidate)
    assert found.changes == expected
    assert found.again + found.untouched == len(calls)
    went = [call.made for call in calls if decide(call.made, after).outcome is not Outcome.DENY]
    usable = Counter((made.agent.id, made.tool) for made in went)
    assert found.usable == usable


def _calls(count: int, base: PolicySnapshot, on: ToolId = READ) -> list[Past]:
    made = [CallRequest(COPILOT, on, office_call(session={"calls": 1, "seconds": n})) for n in range(count)]
    return [Past(seq, one, base, decide(one, base)) for seq, one in enumerate(made)]


@pytest.mark.requirement("policy:replay:once")
def test_equal_questions_are_asked_once_and_of_untouched_calls_nothing_is_opened() -> None:
    base = snapshot("forbid (principal, action, resource) when { context.session.calls > 5 };")
    reads, updates = _calls(40, base), _calls(40, base, UPDATE)
    narrower = {**base.release.files, "org/more.cedar": f'forbid (principal, action == Action::"{READ}", resource);'}
    found = replay([*reads, *updates], release(narrower))
    assert (found.distinct, found.again, found.untouched) == (1, 40, 40)
    assert {call.opened for call in updates} == {0}
    # a policy that looks at what no two calls share makes every call a question of its own
    finer = release("forbid (principal, action, resource) when { context.session.seconds > 99 };")
    assert replay(reads, finer).distinct == 40


@pytest.mark.requirement("policy:replay:once")
def test_agents_share_an_answer_where_no_condition_looks_at_them_and_have_their_own_where_one_does() -> None:
    base = snapshot()
    twins = [moved(COPILOT, id=AgentId(f"agt_{number}"), tier=tuple(Tier)[number % 3]) for number in range(12)]
    made = [CallRequest(one, UPDATE, office_call(input={"customer_id": f"c-{n}"})) for one in twins for n in range(5)]
    calls = [Past(seq, one, base, decide(one, base)) for seq, one in enumerate(made)]
    alike = replay(calls, release('forbid (principal, action, resource) when { context.input.customer_id == "c-7" };'))
    assert (alike.distinct, alike.again, alike.changes) == (5, 60, Counter())
    tiered = replay(calls, release('forbid (principal, action, resource) when { principal in RiskTier::"high" };'))
    assert sum(tiered.changes.values()) == 20
    assert {change.agent for change in tiered.changes} == {"agt_2", "agt_5", "agt_8", "agt_11"}


@pytest.mark.requirement("policy:replay:once")
@pytest.mark.parametrize("observed", [True, False])
def test_one_context_is_another_question_with_another_grant_clock_moment_or_restriction(*, observed: bool) -> None:
    files = {
        "org/held.cedar": '@hold("security") forbid (principal, action, resource);',
        "org/night.cedar": "forbid (principal, action, resource) when { context.now.minute < 60 };",
    }
    if observed:
        files["org/later.cedar"] = "forbid (principal, action, resource) when { context.session.calls > 0 };"
        files["accredit.toml"] = '[observe]\n"org/later.cedar" = 1970-01-02\n'
    base = snapshot(files)
    (held,) = (policy.id for policy in base.release.policies if policy.hold)
    calls: list[Past] = []
    for lifted, steady, time_us, restrictions in product(
        (frozenset(), frozenset({held})), (True, False), (1, 2 * 86_400_000_000), ((), RESTRICTIONS[:1], RESTRICTIONS)
    ):
        context = office_call(session={"calls": 1})
        asked = CallRequest(COPILOT, UPDATE, context, lifted, steady, restrictions, time_us)
        calls.append(Past(len(calls), asked, base, decide(asked, base)))
    assert len({repr(call.decision) for call in calls}) == (5 if observed else 4)
    for some in (calls, calls[::-1]):
        assert reproduce(some).same == len(calls) == 24


@pytest.mark.requirement("policy:replay:once")
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    monkeypatch.setattr(module, "_PAIRS", 1)
    base = snapshot()
    calls = [one for pair in zip(_calls(30, base), _calls(30, base, UPDATE), strict=True) for one in pair]
    finer = release("forbid (principal, action, resource) when { context.session.seconds == 7 };")
    found = replay(calls, finer)
    assert sum(found.changes.values()) == 2
    assert found.distinct == 60


@pytest.mark.requirement("policy:replay:once")
def test_a_tool_that_touches_other_data_is_another_question() -> None:
    before = snapshot("forbid (principal, action, resource) when { context.session.calls > 5 };")
    public = [replace(one, tools={k: replace(t, data=frozenset({"public"})) for k, t in one.tools.items()})
              for one in before.servers.values()]  # fmt: skip
    moved = replace(COPILOT, version=replace(COPILOT.version, data=COPILOT.version.data | {"public"}))
    after = before.with_catalogue(public)
    asked = [(CallRequest(moved, READ, office_call(session={"calls": 1})), policy) for policy in (before, after)]
    calls = [Past(seq, one, policy, decide(one, policy)) for seq, (one, policy) in enumerate(asked)]
    assert calls[0].body["slice"] == calls[1].body["slice"]
    assert calls[0].body["entities"] != calls[1].body["entities"]
    assert reproduce(calls).same == 2


@pytest.mark.requirement("policy:replay:questions")
def test_a_question_is_answered_by_the_release_of_then_however_many_there_were() -> None:
    asked = ExternalRequest(ExternalName("user", "ann"), "read", ExternalName("file", "plan"), time_us=1)
    scope = 'principal is Ext::user, action == Action::"ext/read", resource is Ext::file'
    files = [{"ext/a.cedar": f"permit ({scope});"}, {"ext/a.cedar": f"permit ({scope}); forbid ({scope});"}]

    def past(seq: int) -> PastQuestion:
        under = snapshot(files[seq % 2])  # gone when the next one is made, as states of the past are
        fact = answer_fact(decision := decide(asked, under))
        body = orjson.loads(orjson.dumps(fact)) | {"decision_id": f"dec_{seq}", "asked_by": "app"}
        return PastQuestion(seq, _head(decision=decision.outcome.value), body, under, None, lambda: asked)

    proof = reproduce(past(seq) for seq in range(40))
    assert (proof.differences, proof.same, proof.distinct) == ([], 40, 2)
    found = replay((past(seq) for seq in range(40)), release(files[0]))
    ((change, count),) = found.changes.items()
    assert (change.before, change.after, count, found.untouched) == ("deny", "allow", 20, 20)


class _Odd:
    """A second engine that refuses calls of an odd second: what no policy of the first looks at."""

    version = "odd 1"

    def check(self, path: str, text: str) -> None:
        """Anything loads."""

    def compile(self, modules: Mapping[str, str]) -> Any:
        return sorted(modules)

    def ask(self, handle: Any, document: str) -> VetoAnswer:
        odd = orjson.loads(document)["context"]["session"]["seconds"] % 2
        return VetoAnswer(tuple(handle)) if odd else VetoAnswer()


@pytest.mark.requirement("policy:replay:once")
def test_what_a_second_engine_reads_is_never_taken_for_the_same_question() -> None:
    alone = PolicySnapshot(release(), SERVERS, ENGINE, veto=_Odd())
    both = replace(alone.release, digest=digest("both"), vetoes={"org/odd.rego@1": ""})
    calls = _calls(10, alone)
    found = replay(calls, both)
    assert (found.again, sum(found.changes.values())) == (10, 5)
    assert {one.code for one in found.changes} == {Code.VETOED.value}
    judged = [Past(c.seq, c.made, alone.with_release(both), decide(c.made, alone.with_release(both))) for c in calls]
    assert reproduce(judged).same == 10
    # under the same rules of both engines nothing can change
    assert replay(judged, both).untouched == 10


@pytest.mark.requirement("enforcement:reproduce:told")
@settings(max_examples=30)
@given(st.sampled_from(["outcome", "code", "policies", "unmet", "slice", "entities", "faults", "observed", "lifted"]))
def test_every_stated_thing_that_does_not_come_out_again_is_named(name: str) -> None:
    base = snapshot('@hold("security") forbid (principal, action, resource) when { context.session.calls > 0 };')
    (call,) = _calls(1, base)
    within = name in {"outcome", "code", "observed"}
    other: Any = "deny" if name == "outcome" else "another" if name in {"code", "slice"} else ["another"]
    judged = {**call.body["judged"], name: other} if within else call.body["judged"]
    call.body = {**call.body, "judged": judged} if within else {**call.body, name: other}
    call.stated = read_body(orjson.dumps(call.body))
    (difference,) = reproduce([call]).differences
    assert difference.what == (name,)
    assert (call.outcome, difference.again) == (Outcome.HOLD, "hold")
