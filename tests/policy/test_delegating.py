"""The right of a chain is the intersection of everybody's in it: stated once, and looked for exceptions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.decide import decide, judge_hop
from accredit.policy.difference import slice_diff
from accredit.policy.model import CallRequest, Decision, Hop, Outcome
from accredit.policy.publish import examine
from accredit.policy.recorded import Judgement, RecordedBody, RecordedHead
from accredit.policy.release import read_release
from accredit.policy.replay import PastHandover, Unrepeatable, replay, reproduce
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.testing import Fleet, run_tests
from accredit.registry.model import Agent, AgentState, Restriction, RestrictionKind
from accredit.registry.versions import delegation_of
from tests.policy.world import ENGINE, INSTALLATION, OFFICE, READ, REFUND, SERVERS, UPDATE, agent, grant, office_call

NAMES = ("first", "second", "third", "fourth")
TOOLS = (READ, UPDATE, REFUND)
SAME = (("input.customer_id", "task.customer_id"),)


def handing(by: Agent, *handed: tuple[str, ToolId, str | None, tuple[tuple[str, str], ...]]) -> Agent:
    """The agent, with these delegations: to whom, which tool, for which role, with what equal."""
    callees = [delegation_of(AgentId(f"agt_{name}")) for name in dict.fromkeys(name for name, *_ in handed)]
    tools = [delegation_of(AgentId(f"agt_{name}"), on, user_role=role, same_as=same) for name, on, role, same in handed]
    return replace(by, version=replace(by.version, delegates=(*callees, *tools)))


def hops_between(*agents: Agent, restrictions: Mapping[str, tuple[Restriction, ...]] | None = None) -> tuple[Hop, ...]:
    """The hops of a chain, given from the agent that began it to the one that acts."""
    pairs = itertools.pairwise(agents)
    return tuple(Hop(one, other, (restrictions or {}).get(one.name, ())) for one, other in reversed(list(pairs)))


def judged(
    agents: Sequence[Agent],
    under: PolicySnapshot,
    *,
    on: ToolId = READ,
    restrictions: Mapping[str, tuple[Restriction, ...]] | None = None,
    lifted: Iterable[str] = (),
    **changes: Any,
) -> Decision:
    return decide(request(agents, on, restrictions=restrictions, lifted=lifted, **changes), under)


def request(
    agents: Sequence[Agent],
    on: ToolId = READ,
    *,
    restrictions: Mapping[str, tuple[Restriction, ...]] | None = None,
    lifted: Iterable[str] = (),
    time_us: int = 1_795_428_000_000_000,
    **changes: Any,
) -> CallRequest:
    facts = office_call(**changes)
    facts["actors"] = [one.id for one in reversed(agents)]
    if len(agents) > 1:
        facts["hops"] = len(agents) - 1
    if on == REFUND:
        facts["input"] = {**facts["input"], "amount": 5}
    hops = hops_between(*agents, restrictions=restrictions)
    return CallRequest(agents[-1], on, facts, frozenset(lifted), time_us=time_us, hops=hops)


def under(text: str = "") -> PolicySnapshot:
    names = {name: AgentId(f"agt_{name}") for name in NAMES}
    return PolicySnapshot(read_release({"org/a.cedar": text}, ENGINE, agents=names), SERVERS, ENGINE)


_role = st.sampled_from([None, "customer-support", "sales"])
_same = st.sampled_from([(), SAME])
_handed = st.tuples(st.sampled_from(TOOLS), _role, _same)


@st.composite
def _chains(draw: st.DrawFn) -> list[Agent]:
    names = NAMES[: draw(st.integers(2, 4))]
    found = []
    for number, name in enumerate(names):
        tools = draw(st.lists(_handed, max_size=3, unique_by=lambda one: one[0]))
        made = agent(*(grant(on, role, same) for on, role, same in tools), name=name)
        if number + 1 < len(names):
            to = names[number + 1]
            handed = draw(st.lists(_handed, max_size=3, unique_by=lambda one: one[0]))
            made = handing(made, *((to, on, role, same) for on, role, same in handed))
        found.append(made)
    return found


_FORBIDS = (
    "",
    'forbid (principal, action == Action::"@delegate", resource == Agent::"third");',
    (
        'forbid (principal == Agent::"second", action == Action::"@delegate", resource)'
        ' when { context has tool && context.tool == "crm/read_customer" };'
    ),
    (
        "forbid (principal, action, resource) when { context has user && context.user has roles"
        ' && context.user.roles.contains("sales") };'
    ),
    '@hold("lead") forbid (principal, action == Action::"@delegate", resource == Agent::"second");',
    '@hold("lead") forbid (principal, action == Action::"crm/read_customer", resource) when { context has hops };',
    'forbid (principal, action in Action::"@write", resource) when { context has hops && context.hops > 1 };',
)
_SNAPSHOTS = {text: under(text) for text in _FORBIDS}
_GRAVITY = (Outcome.ALLOW, Outcome.HOLD, Outcome.DENY)
_users = st.sampled_from(
    [None, {"id": "u", "roles": []}, {"id": "u", "roles": ["sales"]}, {"id": "u", "roles": ["customer-support"]}]
)
_customers = st.sampled_from(["c-77", "c-1"])


@pytest.mark.requirement("delegation:law:intersection")
@settings(max_examples=150, deadline=None)
@given(_chains(), st.sampled_from(TOOLS), st.sampled_from(_FORBIDS), _users, _customers)
def test_a_chain_may_what_the_last_agent_may_and_every_hop_hands_on(
    agents: list[Agent], on: ToolId, text: str, user: dict[str, Any] | None, customer: str
) -> None:
    snapshot = _SNAPSHOTS[text]
    asked = request(agents, on, user=user, input={"customer_id": customer})
    alone = decide(replace(asked, hops=()), snapshot)
    hops = [judge_hop(hop, asked, snapshot) for hop in asked.hops]
    gravest = max((one.outcome for one in (alone, *hops)), key=_GRAVITY.index)
    whole = decide(asked, snapshot)
    assert whole.outcome is gravest
    assert whole == decide(asked, snapshot)
    assert (whole.outcome is Outcome.HOLD) is bool(whole.needs)
    # the naive version: each hop names the tool, and its conditions hold
    roles = set(user["roles"]) if user is not None else set()
    for hop in asked.hops:
        named = hop.caller.version.delegation(hop.callee.id, on)
        met = named is not None and (named.user_role is None or named.user_role in roles)
        met = met and (not named.same_as or customer == "c-77")  # type: ignore[union-attr]
        if not met:
            assert whole.outcome is Outcome.DENY


@pytest.mark.requirement("delegation:difference:named")
@settings(max_examples=100, deadline=None)
@given(_chains(), st.sampled_from(TOOLS), st.permutations(_FORBIDS), _users)
def test_a_difference_names_everybody_whose_chain_comes_out_otherwise(
    agents: list[Agent], on: ToolId, texts: list[str], user: dict[str, Any] | None
) -> None:
    base, candidate = _SNAPSHOTS[texts[0]], _SNAPSHOTS[texts[1]]
    changed = slice_diff(base, candidate, agents)
    named = {(one.agent, one.tool, one.callee) for one in changed}
    assert len(named) == len(changed)
    asked = request(agents, on, user=user)
    old, new = decide(asked, base), decide(asked, candidate)
    steps = [(agents[-1].id, on, None), *((hop.caller.id, on, hop.callee.id) for hop in asked.hops)]
    if named.isdisjoint(steps):
        assert (old.outcome, old.code, old.policies) == (new.outcome, new.code, new.policies)
    if Outcome.ALLOW in {old.outcome, new.outcome} and old.outcome is not new.outcome:
        there = [one for one in changed if one.tool == on]
        touched = {each for one in there for each in (one.agent, one.callee, *one.through, *one.onward)}
        assert {agent.id for agent in agents} <= touched
        for alone in agents:  # whichever of them is asked about
            found = slice_diff(base, candidate, [alone], fleet=agents)
            assert {(one.agent, one.tool, one.callee) for one in found} & set(steps)
            assert set(found) <= set(changed)
    for hop in asked.hops:
        handed = [judge_hop(hop, replace(asked, hops=()), each, handing=True) for each in (base, candidate)]
        if (hop.caller.id, "@delegate", hop.callee.id) not in named:
            assert len({(one.outcome, one.code, one.policies) for one in handed}) == 1
    for one in changed:
        if one.tool == "@delegate":
            continue
        above: set[AgentId] = set()
        for _ in agents:  # the naive version: whoever delegates the tool to somebody found before
            above |= {
                each.id
                for each in agents
                for grant in each.version.delegates
                if grant.tool == one.tool and grant.callee in {one.agent, *above}
            }
        assert set(one.through) == above


@pytest.mark.requirement("delegation:law:narrowing")
@settings(max_examples=150, deadline=None)
@given(_chains(), st.sampled_from(TOOLS), st.sampled_from(_FORBIDS), _users, st.data())
def test_taking_something_from_anybody_in_the_chain_never_lets_more_through(
    agents: list[Agent], on: ToolId, text: str, user: dict[str, Any] | None, data: st.DataObject
) -> None:
    snapshot = _SNAPSHOTS[text]
    before = judged(agents, snapshot, on=on, user=user)
    at = data.draw(st.integers(0, len(agents) - 1))
    one = agents[at]
    kept = tuple(each for each in one.version.delegates if data.draw(st.booleans()))
    narrowed = [
        replace(each, user_role="nobody") if each.tool is not None and data.draw(st.booleans()) else each
        for each in kept
    ]
    narrower = replace(one, version=replace(one.version, delegates=tuple(narrowed)))
    for changed, more in (
        ([*agents[:at], narrower, *agents[at + 1 :]], {}),
        ([*agents[:at], replace(one, state=AgentState.SUSPENDED), *agents[at + 1 :]], {}),
        (agents, {"restrictions": {one.name: (_restriction(one),)}}),
        ([*agents[:at], replace(one, version=replace(one.version, data=frozenset())), *agents[at + 1 :]], {}),
    ):
        after = judged(changed, snapshot, on=on, user=user, **more)
        assert _GRAVITY.index(after.outcome) >= _GRAVITY.index(before.outcome)


def _restriction(on: Agent) -> Restriction:
    return Restriction("rst_1", on.id, RestrictionKind.READ_ONLY, None, "alr_1", 0, 2**62)


@pytest.mark.requirement("delegation:law:narrowing")
@settings(max_examples=60, deadline=None)
@given(_chains(), st.sampled_from(TOOLS), st.sampled_from(_FORBIDS), st.sampled_from(_FORBIDS), _users)
def test_one_more_forbid_never_lets_more_through(
    agents: list[Agent], on: ToolId, text: str, more: str, user: dict[str, Any] | None
) -> None:
    before = judged(agents, _SNAPSHOTS[text], on=on, user=user)
    after = judged(agents, under(f"{text}\n{more}" if more != text else text), on=on, user=user)
    assert _GRAVITY.index(after.outcome) >= _GRAVITY.index(before.outcome)


def _pair(*, tool: ToolId = READ, role: str | None = None, same: tuple[tuple[str, str], ...] = ()) -> list[Agent]:
    return [handing(agent(name="first"), ("second", tool, role, same)), agent(grant(READ), name="second")]


@pytest.mark.requirement("delegation:hop:decided")
def test_a_refusal_says_which_hop_it_was() -> None:
    none = judged(_pair(tool=UPDATE), under())
    assert (none.code, none.detail) == (Code.DELEGATION_NOT_GRANTED, "`first` to `second`")
    unmet = judged(_pair(role="sales"), under())
    assert (unmet.code, unmet.unmet) == (Code.DELEGATION_UNMET, ("delegation first to second: userRole: sales",))
    text = 'forbid (principal, action == Action::"@delegate", resource == Agent::"second");'
    forbidden = judged(_pair(), under(text))
    assert forbidden.code is Code.DELEGATION_FORBIDDEN
    assert [name.partition("@")[0] for name in forbidden.policies] == ["org/a.cedar"]
    assert forbidden.entities is not None
    assert "hop1" in forbidden.entities


@pytest.mark.requirement("delegation:hop:conditions")
def test_the_hours_of_whoever_hands_on_count_in_its_own_zone() -> None:
    first, second = _pair()
    whole, one = first.version.delegates
    first = replace(first, version=replace(first.version, delegates=(whole, replace(one, hours=OFFICE))))
    assert judged([first, second], under()).outcome is Outcome.ALLOW
    night = judged([first, second], under(), time_us=1_795_428_000_000_000 + 12 * 3_600_000_000)
    assert night.code is Code.DELEGATION_UNMET
    doubted = replace(request([first, second]), time_trusted=False)
    assert decide(doubted, under()).code is Code.CLOCK_UNCONFIRMED


@pytest.mark.requirement("delegation:policy:errors")
def test_a_policy_on_handing_on_that_fails_refuses() -> None:
    text = 'forbid (principal, action == Action::"@delegate", resource) when { context.user.level > 3 };'
    assert judged(_pair(), under(text)).code is Code.POLICY_ERROR


@pytest.mark.requirement("delegation:policy:observed")
def test_an_observed_policy_on_handing_on_changes_nothing_and_says_what_it_would() -> None:
    names = {name: AgentId(f"agt_{name}") for name in NAMES}
    files = {
        "org/a.cedar": 'forbid (principal, action == Action::"@delegate", resource);',
        "accredit.toml": '[observe]\n"org/a.cedar" = 2027-01-01\n',
    }
    found = judged(_pair(), PolicySnapshot(read_release(files, ENGINE, agents=names), SERVERS, ENGINE))
    assert found.outcome is Outcome.ALLOW
    assert found.observed is not None
    assert (found.observed.outcome, found.observed.code) == (Outcome.DENY, Code.DELEGATION_FORBIDDEN)


@pytest.mark.requirement("delegation:policy:typed")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('forbid (principal, action == Action::"@delegate", resource) when { context.input.customer_id == "x" };',
         "no tool in the policy's scope has an argument"),
        ('forbid (principal, action == Action::"@delegate", resource) when { context.tool == "x" };', "optional"),
        (('forbid (principal, action == Action::"@delegate", resource)'
         ' when { context has hops && context.hops > "x" };'), "Long"),
        ('forbid (principal, action == Action::"@delegate", resource == Agent::"nobody");', "there is no agent"),
        ('permit (principal == Agent::"support-copilot", action == Action::"@delegate", resource);',
         "does not list its tools"),
        (('forbid (principal, action == Action::"@delegate", resource == Agent::"support-copilot")'
         ' when { context has tool && context.tool like "crm/*" && context has hops && context.hops > 1 };'), ""),
        ('forbid (principal, action == Action::"@delegate", resource in Team::"sales");', ""),
        (('forbid (principal, action, resource) when { context has hops && context has actors'
         ' && context.actors.contains("agt_x") };'), ""),
    ],
)  # fmt: skip
def test_policies_on_handing_on_are_typed_when_they_are_published(text: str, fault: str) -> None:
    _, found = examine({"org/a.cedar": text}, ENGINE, INSTALLATION)
    refused = [one.message for one in found if one.severity == "refused"]
    if not fault:
        assert refused == []
        assert "unreachable" not in {one.rule for one in found}
    else:
        assert any(fault in message for message in refused), refused


@pytest.mark.requirement("delegation:cases")
def test_cases_say_who_handed_the_work_on() -> None:
    cases = """
servers: {crm: {tools: {read: {effect: read}, write: {effect: write}}}}
agents:
  desk: {tools: [crm/read, crm/write]}
  middle: {delegates: [{agent: desk, tools: [crm/read, {tool: crm/write, userRole: lead}]}]}
  boss: {delegates: [{agent: middle, tools: [crm/read]}]}
defaults: {agent: desk}
cases:
  - {name: alone, call: {tool: crm/read}, expect: allow}
  - {name: handed on, call: {tool: crm/read}, actors: [desk, middle], expect: allow}
  - {name: twice, call: {tool: crm/read}, actors: [desk, middle, boss], expect: {outcome: deny, policy: org/a.cedar}}
  - name: not so far
    call: {tool: crm/write}
    user: {roles: [lead]}
    actors: [middle, boss]
    expect: {outcome: deny, code: delegation_not_granted}
  - name: conditions
    call: {tool: crm/write}
    actors: [middle]
    table:
      - {user: {roles: [lead]}, expect: allow}
      - {user: {roles: []}, expect: {outcome: deny, code: delegation_unmet}}
  - name: somebody outside
    call: {tool: crm/read}
    actors: [desk, {external: portal}]
    expect: {outcome: deny, policy: org/b.cedar}
"""
    files = {
        "org/a.cedar": 'forbid (principal, action == Action::"crm/read", resource)'
        " when { context has hops && context.hops > 1 };",
        "org/b.cedar": 'forbid (principal, action == Action::"crm/read", resource)'
        ' when { context has actors && context.actors.contains("portal") };',
        "tests/a.yaml": cases,
    }
    run = run_tests(read_release(files, ENGINE, agents={}), ENGINE, Fleet({}, ()), mutation=True)
    assert run.failed == ()
    assert run.survivors == ()
    for actors, why in (("[desk, nobody]", "no agent is called"), ("[middle, desk]", "comes twice"),
                        ("[middle, boss, {external: a}, {external: b}]", "more than 4")):  # fmt: skip
        text = cases.replace("[desk, middle, boss]", actors)
        again = run_tests(read_release({**files, "tests/a.yaml": text}, ENGINE, agents={}), ENGINE, Fleet({}, ()))
        assert [one.name for one in again.failed] == ["twice"]
        assert why in again.failed[0].why


def _past(why: Unrepeatable | None, judged: Judgement | UnsetType, hop: Hop | None = None) -> PastHandover:
    def opened() -> CallRequest:
        raise InvalidInputError(Code.LOG_INVALID, "the parts of record 7 do not open")

    return PastHandover(
        seq=7,
        header=RecordedHead("agt_first", "allow", "delegation", 0, None, "sha256:0"),
        stated=RecordedBody(control=1, decision_id="dec_7", judged=judged, release="sha256:1", session="ses_1"),
        body={"callee": "agt_second"},
        hop=hop,
        policy=under() if hop is not None else None,
        why=why,
        opened=opened,
    )


@pytest.mark.requirement("delegation:past:handed")
def test_a_hand_over_that_cannot_be_judged_again_is_counted_so_and_breaks_nothing() -> None:
    hop = Hop(handing(agent(name="first"), ("second", READ, None, ())), agent(grant(READ), name="second"))
    judged = Judgement("allowed", "allow", True)
    candidate = under('forbid (principal, action == Action::"@delegate", resource);').release
    for past, why in (
        (_past(Unrepeatable.OLDER, UNSET), Unrepeatable.OLDER),
        (_past(Unrepeatable.STATE, judged), Unrepeatable.STATE),
        (_past(Unrepeatable.CUT, judged, hop), Unrepeatable.CUT),
        (_past(None, judged, hop), Unrepeatable.UNOPENED),
    ):
        proof, trial = reproduce([past]), replay([past], candidate)
        assert proof.unrepeatable == trial.unrepeatable == {why: 1}
        assert (proof.judged, proof.again, trial.judged, trial.again) == (1, 0, 1, 0)
        assert (trial.changes, trial.used) == ({}, {})
        (run,) = trial.runs.values()
        assert (run.agent, run.tools, run.completed, run.breaks) == (
            "agt_first",
            frozenset({"@delegate agt_second"}),
            True,
            None,
        )
