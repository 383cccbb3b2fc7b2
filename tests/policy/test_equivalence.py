"""Laws over random policy sets: a slice decides as the flat set, and a hold is what DESIGN §3.11 says it is.

The reference below asks the engine directly: every policy under its own id and text, a store of the whole fleet with
the groups in it, the whole context unprojected. It shares no code with the room but the grant's own permit text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cedarpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accredit.kernel.canonical import digest as hashed
from accredit.kernel.codes import Code
from accredit.policy.decide import decide
from accredit.policy.entities import action_facts, principal_facts, resource_facts
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.policy.release import Release
from accredit.policy.scope import EntityName
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.policy.sources import Layer, Policy, linked, policy_of
from tests.policy.world import COPILOT, ENGINE, READ, REFUND, SERVERS, SUPPORT_GRANT, UPDATE, digest, office_call

ME, OTHER = COPILOT.id, "agt_other"
PRINCIPALS = [
    "principal",
    f'principal == Agent::"{ME}"',
    f'principal == Agent::"{OTHER}"',
    'principal in Team::"customer-support"',
    'principal in Team::"ghosts"',
    'principal in State::"draft"',
    'principal in Environment::"development"',
    f'principal in Grant::"{SUPPORT_GRANT.digest}"',
    f'principal in Agent::"{ME}"',
    'principal == Team::"customer-support"',
    "principal is Agent",
    "principal is Team",
    'principal is Agent in Team::"customer-support"',
    'principal is Agent in Team::"sales"',
]
ACTIONS = [
    "action",
    f'action == Action::"{READ}"',
    f'action == Action::"{REFUND}"',
    'action in Action::"@read"',
    'action in Action::"@external"',
    'action in Action::"@call_tool"',
    'action in Action::"@ghost"',
    f'action in [Action::"{READ}", Action::"{UPDATE}"]',
    f'action in [Action::"@write", Action::"{REFUND}"]',
    "action in []",
]
RESOURCES = [
    "resource",
    f'resource == Tool::"{READ}"',
    'resource == Tool::"crm/ghost"',
    'resource in Server::"crm"',
    'resource in Server::"shop"',
    'resource in DataClass::"personal"',
    'resource in DataClass::"secret"',
    'resource in Environment::"development"',
    "resource is Tool",
    "resource is Server",
    'resource is Tool in Server::"crm"',
    'resource is Tool in DataClass::"financial"',
]
CONDITIONS = [
    "",
    "when { true }",
    "when { false }",
    "when { context has user }",
    'when { context has task && context.task has customer_id && context.task.customer_id == "c-77" }',
    'unless { context has user && context.user.roles.contains("customer-support") }',
    "when { context.session.calls > 3 }",
    "when { context.session.calls + 1 > 3 }",
    "when { context.absent.value == 1 }",
    "unless { context.absent has value }",
    "when { principal.tier == 1 }",
    'when { principal in RiskTier::"high" }',
    'when { principal in Team::"customer-support" && resource in DataClass::"personal" }',
    'when { context.user == {"id": "u-1", "roles": ["customer-support", "employee"]} }',
    'when { context.input has amount && context.input.amount.greaterThan(decimal("10.5")) }',
    "when { if context has declared then context.declared has role else false }",
    "when { context.now.minute < 480 || context.now.minute >= 1080 } unless { context has user }",
    "when { context has user } when { context.user has roles && context.user.roles.isEmpty() && context.missing }",
    "when { 1 }",
    'when { context has user && context.user.id like "u-*" && "personal" like "p*" }',
]


@dataclass(frozen=True)
class Given:
    """One random policy: its text, its role of `@hold`, and the values of its slots if it is a template."""

    text: str
    hold: str | None
    slots: tuple[tuple[str, str, str], ...] = ()

    @property
    def id(self) -> str:
        return f"org/random.cedar@{hashed('test', repr(self).encode())[7:19]}"

    @property
    def permits(self) -> bool:
        return self.text.startswith("permit")


@lru_cache(maxsize=20_000)
def _tree(text: str) -> dict[str, Any]:
    whole = json.loads(cedarpy.policies_to_json_str(text))
    (tree,) = {**whole["staticPolicies"], **whole["templates"]}.values()
    return dict(tree)


@lru_cache(maxsize=20_000)
def _policy(random: Given) -> Policy:
    text = f'@hold("{random.hold}") {random.text}' if random.hold else random.text
    (source,) = ENGINE.read(text)
    if random.slots:
        slots = {slot: EntityName(kind, name) for slot, kind, name in random.slots}
        return linked(source, "org/random.cedar", slots, random.id)
    return policy_of(source, "org/random.cedar", Layer.ORG, policy_id=random.id)


def _policies(roles: st.SearchStrategy[str | None]) -> st.SearchStrategy[Given]:
    @st.composite
    def build(draw: st.DrawFn) -> Given:
        effect = draw(st.sampled_from(["forbid", "forbid", "forbid", "permit"]))
        # half of all scopes speak about everybody, or most policies of a set would be out of scope and prove nothing
        principal, action, resource = (
            forms[0] if draw(st.booleans()) else draw(st.sampled_from(forms))
            for forms in (PRINCIPALS, ACTIONS, RESOURCES)
        )
        slots = []
        if draw(st.integers(0, 5)) == 0:
            principal = draw(st.sampled_from(["principal == ?principal", "principal is Agent in ?principal"]))
            kind, name = draw(
                st.sampled_from([("Agent", ME), ("Agent", OTHER), ("Team", "customer-support"), ("Team", "sales")])
            )
            slots.append(("?principal", kind, name))
        if draw(st.integers(0, 5)) == 0:
            resource = "resource in ?resource"
            kind, name = draw(st.sampled_from([("Server", "crm"), ("DataClass", "personal"), ("Server", "ghost")]))
            slots.append(("?resource", kind, name))
        text = f"{effect} ({principal}, {action}, {resource}) "
        text += draw(st.sampled_from(CONDITIONS)) + ";"
        return Given(text, draw(roles) if effect == "forbid" else None, tuple(slots))

    return build()


CONTEXTS = st.fixed_dictionaries(
    {
        "input": st.sampled_from([{"customer_id": "c-77"}, {"customer_id": "c-78", "amount": 11}, {"amount": 10.25}]),
        "now": st.sampled_from([{"minute": 600, "day": "mon", "date": "x"}, {"minute": 30, "day": "sat", "date": "x"}]),
    },
    optional={
        "user": st.sampled_from([{"id": "u-1", "roles": ["customer-support", "employee"]}, {"id": "u-2", "roles": []}]),
        "task": st.sampled_from([{"customer_id": "c-77"}, {"id": "T"}]),
        "session": st.sampled_from([{"calls": 1}, {"calls": 9}, {"calls": 2**63 - 1}, {"calls": "nine"}]),
        "declared": st.sampled_from([{"role": "customer-support"}, {}]),
    },
)


def _fleet() -> str:
    """Every agent, tool and group of the installation in one store, as a fleet-wide handle would hold them."""
    tools = {tool.id: tool for server in SERVERS for tool in server.tools.values()}
    facts = [principal_facts(COPILOT, tools)]
    for server in SERVERS:
        for tool in server.tools.values():
            facts += [action_facts(tool), resource_facts(tool, server)]
    groups = {parent for fact in facts for parent in fact.parents}
    documents = [json.loads(fact.document) for fact in facts]
    documents += [{"uid": {"type": kind, "id": name}, "attrs": {}, "parents": []} for kind, name in sorted(groups)]
    return json.dumps(documents)


FLEET = cedarpy.Entities.from_json_str(_fleet())


def _typed(context: Mapping[str, Any]) -> str:
    """The whole context, `amount` as the decimal its schema makes it for the tool that declares it."""
    arguments = dict(context["input"])
    if "amount" in arguments:
        arguments["amount"] = {"__extn": {"fn": "decimal", "arg": f"{arguments['amount']:.4f}"}}
    return json.dumps({**context, "input": arguments})


@dataclass(frozen=True)
class Flat:
    """The flat set: every policy in one handle."""

    randoms: tuple[Given, ...]
    grant: str
    grant_id: str

    def evaluate(self, tool: str, context: str, without: frozenset[str]) -> tuple[str, set[str], set[str]]:
        static = {self.grant_id: _tree(self.grant)}
        templates, links = {}, []
        for one in self.randoms:
            if one.id in without:
                continue
            if one.slots:
                templates[f"template {one.id}"] = _tree(one.text)
                values = {slot: {"type": kind, "id": name} for slot, kind, name in one.slots}
                links.append({"templateId": f"template {one.id}", "newId": one.id, "values": values})
            else:
                static[one.id] = _tree(one.text)
        handle = cedarpy.PolicySet.from_json_str(
            json.dumps({"staticPolicies": static, "templates": templates, "templateLinks": links})
        )
        names = {"principal": ("Agent", ME), "action": ("Action", tool), "resource": ("Tool", tool)}
        request = {part: {"type": kind, "id": name} for part, (kind, name) in names.items()}
        result = cedarpy.is_authorized({**request, "context": context}, handle, FLEET)
        errors = {line.split("`")[1] for line in result.diagnostics.errors}
        return result.decision.value, set(result.diagnostics.reasons), errors

    def decide(self, tool: str, context: str, lifted: frozenset[str]) -> tuple[Outcome, set[str], set[str], set[str]]:
        """Outcome, determining policies, needs and used grants, word by word as DESIGN §3.10 and §3.11 say."""
        forbids = {one.id: one for one in self.randoms if not one.permits}
        decision, reasons, errors = self.evaluate(tool, context, frozenset())
        if errors & forbids.keys():
            return Outcome.DENY, errors & forbids.keys(), set(), set()
        if decision == "Allow":
            return Outcome.ALLOW, reasons, set(), set()
        if reasons and all(forbids[name].hold for name in reasons):
            again, permits, _ = self.evaluate(tool, context, frozenset(reasons))
            if again == "Allow" and reasons <= lifted:
                return Outcome.ALLOW, permits, set(), reasons
            if again == "Allow":
                return Outcome.HOLD, reasons, reasons - lifted, set()
        return Outcome.DENY, reasons, set(), set()


def _both(
    randoms: list[Given], context: dict[str, Any], tool: str, lift: Any
) -> tuple[Decision, tuple[Outcome, set[str], set[str], set[str]], set[str], PolicySnapshot]:
    unique = tuple({one.id: one for one in randoms}.values())
    policies = tuple(_policy(one) for one in unique)
    release = Release(digest(*(one.id for one in unique)), "test", {}, {}, policies)
    snapshot = PolicySnapshot(release, SERVERS, ENGINE)
    agent = COPILOT
    grant = next(grant for grant in agent.version.grants if grant.tool == tool)
    permit = snapshot.grants.permit(grant)
    lifted = frozenset(one.id for one, taken in zip(unique, lift, strict=False) if taken)
    flat = Flat(unique, permit.policy.text, permit.policy.id)
    if permit.ceiling is not None and any(one.permits for one in unique):
        flat = Flat((*unique, _Ceiling(permit.ceiling.text, None, named=permit.ceiling.id)), flat.grant, flat.grant_id)
    decision = decide(CallRequest(agent, grant.tool, context, lifted), snapshot)
    encoded = _typed(context) if tool == REFUND else json.dumps(context)
    return decision, flat.decide(tool, encoded, lifted), flat.evaluate(tool, encoded, frozenset())[2], snapshot


@dataclass(frozen=True)
class _Ceiling(Given):
    named: str = ""

    @property
    def id(self) -> str:
        return self.named


ROLES = st.sampled_from([None, "crm-owner", "security"])
LIFTS = st.lists(st.booleans(), min_size=8, max_size=8)
TOOLS = st.sampled_from([READ, UPDATE, REFUND])


def _agree(randoms: list[Given], context: dict[str, Any], tool: str, lift: list[bool]) -> None:
    # a fraction that no schema declares is refused before the engine: that is the tests' of encoding
    assume(tool == REFUND or not isinstance(context["input"].get("amount"), float))
    decision, (outcome, policies, needs, lifted), errors, _ = _both(randoms, context, tool, lift)
    assert decision.outcome is outcome
    assert set(decision.policies) == policies
    assert {need.policy for need in decision.needs} == needs
    assert set(decision.lifted) == lifted
    assert {fault.policy for fault in decision.faults} == errors
    roles = {_policy(one).id: one.hold for one in randoms}
    assert all(roles[need.policy] == need.role for need in decision.needs)


@pytest.mark.requirement("policy:slice:flat", "policy:hold:semantics", "policy:scope:forms")
@settings(max_examples=120)
@given(st.lists(_policies(ROLES), max_size=8), CONTEXTS, TOOLS, LIFTS)
def test_a_slice_decides_as_the_flat_set_with_reasons_errors_and_holds(
    randoms: list[Given], context: dict[str, Any], tool: str, lift: list[bool]
) -> None:
    _agree(randoms, context, tool, lift)


@pytest.mark.requirement("policy:hold:semantics")
@settings(max_examples=60)
@given(
    st.lists(_policies(st.sampled_from(["crm-owner", "security"])).filter(lambda one: not one.permits), max_size=5),
    LIFTS,
)
def test_holds_alone_are_lifted_exactly_by_their_own_grants(randoms: list[Given], lift: list[bool]) -> None:
    _agree(randoms, office_call(), READ, lift)


@pytest.mark.requirement("policy:decide:forbid-wins")
@settings(max_examples=40)
@given(st.lists(_policies(ROLES), max_size=6), _policies(ROLES).filter(lambda one: not one.permits), CONTEXTS)
def test_adding_a_forbid_never_allows_more(randoms: list[Given], added: Given, context: dict[str, Any]) -> None:
    before, *_ = _both(randoms, context, REFUND, [])
    after, *_ = _both([*randoms, added], context, REFUND, [])
    if before.outcome is not Outcome.ALLOW:
        assert after.outcome is not Outcome.ALLOW


@pytest.mark.requirement("policy:slice:shared")
def test_agents_with_equal_policies_share_one_handle_whatever_their_ids() -> None:
    text = 'forbid (principal == Agent::"{}", action, resource) when {{ context.session.calls > 3 }};'
    randoms = [Given(text.format(ME), None), Given(text.format(OTHER), None)]
    policies = tuple(_policy(one) for one in randoms)
    assert policies[0].body == policies[1].body
    assert policies[0].id != policies[1].id
    snapshot = PolicySnapshot(Release(digest("shared"), "test", {}, {}, policies), SERVERS, ENGINE)
    part = snapshot.slice_for(COPILOT, READ)
    assert isinstance(part, Slice)
    # what made them equal must not make one agent's policy another's
    assert policies[0] in part.policies
    assert policies[1] not in part.policies


def test_a_ceiling_of_hours_binds_what_an_org_permit_would_add() -> None:
    permit = f'permit (principal in Team::"customer-support", action == Action::"{READ}", resource);'
    late = {**office_call(), "now": {"minute": 1200, "day": "mon", "date": "2026-11-23"}}
    decision, *_ = _both([Given(permit, None)], late, READ, [])
    assert decision.code is Code.OUTSIDE_HOURS
    allowed, *_ = _both([Given(permit, None)], {**office_call(), "task": {}}, READ, [])
    assert allowed.outcome is Outcome.ALLOW
