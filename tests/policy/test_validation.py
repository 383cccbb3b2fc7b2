from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.kernel.canonical import require_canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, ToolId
from accredit.kernel.money import Money
from accredit.policy.decide import decide
from accredit.policy.enforced import MOST_TOOLS, AccessOutcome, access, enforced_by
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.model import CallRequest, Outcome
from accredit.policy.ports import EngineOutcome, Verdict
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.validation import AccessReport, ExcessKind, access_report
from accredit.registry.catalogue import Catalogue
from accredit.registry.llm_models import ModelRates, model_definition
from accredit.registry.model import (
    Agent,
    AgentState,
    Effect,
    Environment,
    Tier,
    Tool,
    ToolGrant,
    ToolServer,
    WriteScope,
)
from accredit.registry.tiering import Tiering, tiering
from accredit.registry.versions import delegation_of, grant_of
from tests.policy.world import (
    ENGINE,
    OFFICE,
    READ,
    REFUND,
    SERVERS,
    UPDATE,
    agent,
    grant,
    office_call,
    release,
    server,
    tool,
)
from tests.registry.risks import desk, facts_of, fleet_with, plain_agent

HOLD_REFUND = f'@hold("support-lead")\nforbid (principal, action == Action::"{REFUND}", resource);\n'
HOLD_ALL = '@hold("lead")\nforbid (principal, action, resource);\n'
NO_FINANCE = 'forbid (principal, action, resource in DataClass::"financial");\n'
SMALL = f'forbid (principal, action == Action::"{REFUND}", resource) unless {{ context.input has urgent }};\n'


def one(*grants: ToolGrant, delegates: tuple[tuple[str, ToolId], ...] = (), **more: Any) -> Agent:
    made = agent(*grants, **more)
    manifest = {"spec": {"delegates": [{"agent": name} for name in dict(delegates)]}}
    handed = [delegation_of(AgentId(name)) for name in dict(delegates)]
    handed += [delegation_of(AgentId(name), each) for name, each in delegates]
    return replace(made, version=replace(made.version, manifest=manifest, delegates=tuple(handed)))


def catalogue(*agents: Agent, servers: tuple[ToolServer, ...] = SERVERS) -> Catalogue:
    """These agents and servers, as a registry would hold them."""
    return Catalogue(
        {known.id: known for known in agents}, {}, {}, {}, {}, {known.name: known for known in servers}, {}
    )


def report(
    files: dict[str, str] | str,
    by: Agent,
    *others: Agent,
    servers: tuple[ToolServer, ...] = SERVERS,
) -> AccessReport:
    under = PolicySnapshot(release(files), servers, ENGINE)
    return access_report(by.version, catalogue(by, *others, servers=servers), under, by)


def outcomes(found: AccessReport) -> dict[tuple[str, str | None], str]:
    return {(row.tool, row.data_class): row.outcome.value for row in found.rows}


def excess(found: AccessReport) -> list[tuple[str, str]]:
    return [(one.code.value, one.what) for one in found.excess]


# -- outcomes


def _model(*data: str) -> tuple[ToolServer, ToolGrant]:
    """A provider with one model, and the grant of it."""
    name, one_million = ToolId("acme/big"), Money(10**9, "USD")
    rates = ModelRates(one_million, one_million, one_million, one_million, 1_000)
    made = replace(tool(name, data=frozenset(data)), rates=rates, definition=model_definition("openai", "big"))
    return replace(server("acme", made), api="openai"), grant_of(name, model=True)


@pytest.mark.requirement("policy:access:models")
def test_every_language_model_is_judged_as_tools_are() -> None:
    provider, granted = _model("personal")
    by = one(grant(READ), data=frozenset({"personal"}))
    by = replace(by, version=replace(by.version, models=(granted,)))
    rules = {"org/hold.cedar": '@hold("lead")\nforbid (principal, action, resource in Provider::"acme");\n'}
    found = report(rules, by, servers=(*SERVERS, provider))
    assert {(row.tool, row.data_class): row.outcome.value for row in found.models} == {
        ("acme/big", None): "held",
        ("acme/big", "personal"): "held",
    }
    assert [hit.tools for hit in found.ceilings] == [("acme/big",)]
    assert (found.excess, outcomes(found)) == ((), {(READ, None): "allowed", (READ, "personal"): "allowed"})
    no = {"org/no.cedar": 'forbid (principal, action, resource in Provider::"acme");\n'}
    refused = report(no, by, servers=(*SERVERS, provider))
    assert excess(refused) == [("grant-forbidden", "acme/big")]
    assert refused.digest != found.digest
    # what only a model carries is needed for it; what it carries beyond is too much
    alone = replace(by, version=replace(by.version, grants=()))
    assert report("", alone, servers=(*SERVERS, provider)).excess == ()
    secret, granted = _model("secret")
    assert excess(report("", by, servers=(*SERVERS, secret))) == [("data-undeclared", "acme/big")]


@pytest.mark.requirement("policy:access:models")
def test_a_model_whose_provider_is_not_registered_is_out_of_reach_and_no_excess() -> None:
    by = one(grant(READ), data=frozenset({"personal"}))
    by = replace(by, version=replace(by.version, models=(_model()[1],)))
    found = report("", by)
    assert [(row.tool, row.outcome.value, row.code) for row in found.models] == [
        ("acme/big", "forbidden", Code.ACTION_UNKNOWN)
    ]
    assert found.excess == ()
    assert "models" in found.document()
    assert "models" not in report("", one(grant(READ), data=frozenset({"personal"}))).document()


@pytest.mark.requirement("policy:access:rows")
def test_every_granted_tool_is_judged_as_a_whole_and_by_data_class() -> None:
    found = report("", one(grant(READ), grant(UPDATE, hours=OFFICE), grant(REFUND, "support-lead")))
    assert outcomes(found) == {
        (READ, None): "allowed",
        (READ, "personal"): "allowed",
        (UPDATE, None): "conditional",
        (UPDATE, "personal"): "conditional",
        (REFUND, None): "conditional",
        (REFUND, "financial"): "conditional",
    }
    assert found.excess == ()
    assert found.ceilings == ()
    assert found.rows[2].conditions == ("hours: 08:00-18:00 mon,tue,wed,thu,fri Europe/Berlin",)
    assert found.rows[2].policies[0].startswith(f"grant/{UPDATE}@")


@pytest.mark.requirement("policy:access:rows")
def test_holds_ceilings_and_refusals_are_told_apart_and_name_their_policies() -> None:
    files = {"org/hold.cedar": HOLD_REFUND, "org/small.cedar": SMALL, "team/sales/no.cedar": NO_FINANCE}
    by = one(grant(READ), grant(REFUND))
    only_small = report({"org/small.cedar": SMALL}, by)
    assert outcomes(only_small)[REFUND, None] == "conditional"
    assert [(hit.role, hit.reads, hit.tools) for hit in only_small.ceilings] == [(None, ("input.urgent",), (REFUND,))]
    held = report({"org/hold.cedar": HOLD_REFUND, "org/small.cedar": SMALL}, by)
    assert outcomes(held)[REFUND, "financial"] == "held"
    assert [hit.role for hit in held.ceilings] == ["support-lead", None]
    assert held.excess == (), "whoever may ask a person may call"
    closed = report(files, by)
    assert outcomes(closed)[REFUND, None] == "forbidden"
    assert outcomes(closed)[READ, None] == "allowed"
    assert excess(closed) == [("grant-forbidden", REFUND)]
    assert "team/sales/no.cedar@" in closed.excess[0].why


BOTH = tool(ToolId("crm/both"), data=frozenset({"personal", "confidential"}))
PAIR = (server("crm", BOTH),)


@pytest.mark.requirement("policy:access:rows")
def test_a_forbid_on_one_data_class_shows_up_at_that_class() -> None:
    by = one(grant(BOTH.id), data=frozenset({"personal", "confidential"}))
    found = report('forbid (principal, action, resource in DataClass::"personal");', by, servers=PAIR)
    assert outcomes(found) == {
        (BOTH.id, None): "forbidden",
        (BOTH.id, "confidential"): "allowed",
        (BOTH.id, "personal"): "forbidden",
    }
    assert [(one.code, one.what) for one in found.excess] == [(ExcessKind.GRANT_FORBIDDEN, BOTH.id)]
    assert "`personal`" in found.excess[0].why


@pytest.mark.requirement("policy:access:rows")
def test_a_forbid_on_two_classes_together_shows_up_at_the_whole_tool() -> None:
    by = one(grant(BOTH.id), data=frozenset({"personal", "confidential"}))
    text = """forbid (principal, action, resource)
        when { resource in DataClass::"personal" && resource in DataClass::"confidential" };"""
    found = report(text, by, servers=PAIR)
    assert list(outcomes(found).values()) == ["forbidden", "allowed", "allowed"]
    assert excess(found) == [("grant-forbidden", BOTH.id)]


@pytest.mark.requirement("policy:access:rows")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('forbid (principal, action, resource) when { resource in DataClass::"phi" };', "allowed"),
        ('forbid (principal, action, resource) when { principal in Team::"customer-support" };', "forbidden"),
        ('forbid (principal, action, resource) unless { principal in Team::"customer-support" };', "allowed"),
        ("forbid (principal, action, resource) when { principal.rank > 3 };", "forbidden"),  # errors on every call
        ('@hold("x")\nforbid (principal, action, resource) when { principal.rank > 3 };', "forbidden"),
        ('@hold("x")\nforbid (principal, action, resource) when { 1 < 2 };', "held"),
        ('@hold("x")\nforbid (principal, action, resource) when { context has user };', "conditional"),
    ],
)
def test_conditions_that_read_nothing_of_a_call_are_decided_beforehand(text: str, expected: str) -> None:
    assert outcomes(report(text, one(grant(READ))))[READ, "personal"] == expected


@pytest.mark.requirement("policy:access:rows")
def test_an_org_permit_beyond_the_grants_conditions_is_seen() -> None:
    text = f'permit (principal in Team::"customer-support", action == Action::"{READ}", resource);'
    by = one(grant(READ, "customer-support"))
    assert outcomes(report("", by))[READ, None] == "conditional"
    assert outcomes(report(text, by))[READ, None] == "allowed"


@pytest.mark.requirement("policy:access:mask")
def test_a_masked_class_is_told_as_masked_and_is_not_in_excess() -> None:
    placed = replace(BOTH, fields=(("email", "personal"),))
    behind = replace(grant(BOTH.id), mask=frozenset({"personal"}))
    found = report("", one(behind, data=frozenset({"confidential"})), servers=(server("crm", placed),))
    assert list(outcomes(found).values()) == ["allowed", "allowed", "masked"]
    assert found.excess == ()
    unplaced = report("", one(behind, data=frozenset({"confidential"})), servers=PAIR)
    assert unplaced.rows[0].code is Code.MASK_UNPLACEABLE
    assert excess(unplaced) == [("grant-forbidden", BOTH.id)]


# -- excess


@pytest.mark.requirement("policy:access:excess")
def test_data_that_no_tool_carries_and_classes_not_declared_are_in_excess() -> None:
    found = report("", one(grant(READ), grant(REFUND), data=frozenset({"personal", "phi"})))
    assert excess(found) == [("data-undeclared", REFUND), ("data-unused", "phi")]
    assert outcomes(found)[REFUND, "financial"] == "forbidden"
    assert "`financial`" in str(found.excess[0])


@pytest.mark.requirement("policy:access:excess")
def test_a_tool_that_is_not_registered_is_in_excess() -> None:
    gone = ToolId("crm/gone")
    found = report("", one(grant(gone), data=frozenset()))
    assert outcomes(found) == {(gone, None): "forbidden"}
    assert excess(found) == [("grant-forbidden", gone)]
    assert Code.ACTION_UNKNOWN.meaning in found.excess[0].why


@pytest.mark.requirement("policy:access:excess")
def test_what_is_handed_on_to_no_end_or_carries_more_than_the_agent_declares_is_in_excess() -> None:
    personal = frozenset({"personal"})
    reader = one(grant(READ), name="reader", data=personal)
    found = report("", one(data=personal, delegates=(("agt_reader", READ),)), reader)
    assert found.excess == (), "an agent may have others do what it may not do itself"
    (row,) = found.delegates
    assert (row.agent, row.tool, row.outcome, row.reached) == ("agt_reader", READ, "allowed", ("agt_reader",))
    assert row.document() in found.document()["delegates"]
    idle = one(data=personal, delegates=(("agt_reader", UPDATE), ("agt_nobody", READ)))
    assert excess(report("", idle, reader)) == [("delegate-tool", "agt_reader"), ("delegate-unknown", "agt_nobody")]
    bare = one(data=frozenset(), delegates=(("agt_reader", READ),))
    assert ("delegate-data", "agt_reader") in excess(report("", bare, reader))
    forbidden = 'forbid (principal, action == Action::"@delegate", resource == Agent::"agt_reader");'
    closed = report(forbidden, one(data=personal, delegates=(("agt_reader", READ),)), reader)
    assert excess(closed) == [("grant-forbidden", "agt_reader")]
    assert report("", idle, replace(reader, state=AgentState.RETIRED)).excess[0].code == "delegate-unknown"


@pytest.mark.requirement("policy:access:excess")
def test_whom_a_tool_reaches_is_followed_through_everybody_who_hands_that_very_tool_on() -> None:
    personal = frozenset({"personal"})
    reader = one(grant(READ), name="reader", data=personal)
    middle = one(name="middle", data=personal, delegates=(("agt_reader", READ),))
    first = one(data=personal, delegates=(("agt_middle", READ),))
    (row,) = report("", first, middle, reader).delegates
    assert row.reached == ("agt_reader",)
    other = one(name="middle", data=personal, delegates=(("agt_reader", UPDATE),))
    assert excess(report("", first, other, reader)) == [("delegate-tool", "agt_middle")]
    narrower = one(data=personal, delegates=(("agt_reader", READ),))
    assert report("", first, middle, reader).digest != report("", narrower, middle, reader).digest


@pytest.mark.requirement("policy:access:bounded")
def test_more_tools_and_delegates_than_anybody_could_judge_are_in_excess() -> None:
    many = [tool(ToolId(f"crm/t{at}")) for at in range(MOST_TOOLS + 1)]
    servers = (server("crm", *many),)
    by = one(*(grant(each.id) for each in many), data=frozenset({"personal"}))
    found = report(HOLD_ALL, by, servers=servers)
    assert excess(found) == [("too-many", "tools")]
    assert len(found.rows) == 2 * MOST_TOOLS
    assert len(enforced_by(PolicySnapshot(release(HOLD_ALL), servers, ENGINE), by, by.version).held) == MOST_TOOLS
    crowd = [one(grant(READ), name=f"d{at}", data=frozenset({"personal"})) for at in range(300)]
    hub = one(name="hub", data=frozenset({"personal"}), delegates=tuple((f"agt_d{at}", READ) for at in range(300)))
    first = one(data=frozenset({"personal"}), delegates=(("agt_hub", READ),))
    assert excess(report("", first, hub, *crowd)) == [("too-many", "agt_hub")]
    assert ("too-many", "delegates") in excess(report("", hub, *crowd))


# -- what is enforced


def enforced(files: str, by: Agent) -> tuple[frozenset[str], frozenset[str]]:
    found = enforced_by(PolicySnapshot(release(files), SERVERS, ENGINE), by, by.version)
    return found.held, found.closed


@pytest.mark.requirement("policy:enforced:held")
@pytest.mark.parametrize(
    ("text", "held", "closed"),
    [
        ("", (), ()),
        (HOLD_REFUND, (REFUND,), ()),
        ('@hold("x")\nforbid (principal, action in Action::"@external", resource);', (REFUND,), ()),
        ('@hold("x")\nforbid (principal, action, resource);', (READ, REFUND), ()),
        ('@hold("x")\nforbid (principal in Team::"sales", action, resource);', (), ()),
        ('@hold("x")\nforbid (principal, action, resource) when { context.input has urgent };', (), ()),
        ('@hold("x")\nforbid (principal, action, resource) unless { context has task };', (), ()),
        (NO_FINANCE, (), (REFUND,)),
        (HOLD_REFUND + NO_FINANCE, (), (REFUND,)),
    ],
)
def test_a_tool_counts_as_held_only_if_no_call_can_pass_without_a_person(
    text: str, held: tuple[str, ...], closed: tuple[str, ...]
) -> None:
    assert enforced(text, one(grant(READ), grant(REFUND))) == (frozenset(held), frozenset(closed))


@pytest.mark.requirement("policy:enforced:held")
def test_a_hold_on_drafts_does_not_count_for_an_agent_that_would_be_active() -> None:
    production = tuple(replace(known, environment=Environment.PRODUCTION) for known in SERVERS)
    by = replace(one(grant(REFUND)), environment=Environment.PRODUCTION, state=AgentState.SUBMITTED)
    for state, held in (("draft", frozenset()), ("submitted", frozenset()), ("active", frozenset({REFUND}))):
        text = f'@hold("x")\nforbid (principal in State::"{state}", action, resource);'
        under = PolicySnapshot(release(text), production, ENGINE)
        assert enforced_by(under, by, by.version).held == held


@pytest.mark.requirement("policy:enforced:held")
def test_a_version_that_is_not_in_force_is_judged_as_if_it_were() -> None:
    by = one(grant(READ))
    candidate = replace(by.version, grants=(grant(READ), grant(REFUND)))
    under = PolicySnapshot(release(HOLD_REFUND), SERVERS, ENGINE)
    assert enforced_by(under, by, candidate).held == {REFUND}
    assert enforced_by(under, by, by.version).held == set()


class _Broken(CedarEngine):
    """An engine that compiles and cannot judge."""

    def evaluate(self, *args: Any, **kwargs: Any) -> Verdict:
        return Verdict(EngineOutcome.NONE, (), (("", "PanicException"),))


@pytest.mark.requirement("policy:enforced:held")
def test_an_engine_that_fails_holds_nothing_and_reports_nothing() -> None:
    by = one(grant(REFUND))
    under = PolicySnapshot(release(HOLD_REFUND), SERVERS, _Broken())
    with pytest.raises(UnavailableError):
        enforced_by(under, by, by.version)
    with pytest.raises(UnavailableError):
        access_report(by.version, catalogue(by), under, by)


# -- against the decision itself


CONDITIONS = [
    "",
    " when { context.input has urgent };",
    " unless { context has user };",
    ' when { resource in DataClass::"personal" };',
    ' unless { principal in Team::"customer-support" };',
    ' when { context.input has customer_id && context.input.customer_id == "c-77" };',
]
SCOPES = [
    "principal, action, resource",
    f'principal, action == Action::"{READ}", resource',
    'principal in Team::"customer-support", action in Action::"@call_tool", resource',
    'principal, action, resource in DataClass::"financial"',
    'principal in State::"draft", action, resource in Server::"crm"',
]
POLICIES = st.lists(
    st.builds(
        lambda hold, scope, condition: f"{hold}forbid ({scope}){condition or ';'}\n",
        st.sampled_from(["", '@hold("lead")\n', '@hold("security")\n']),
        st.sampled_from(SCOPES),
        st.sampled_from(CONDITIONS),
    ),
    max_size=4,
    unique=True,
)
CONTEXTS = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries(
            {"customer_id": st.sampled_from(["c-77", "c-1"])}, optional={"urgent": st.just(True)}
        )
    },
    optional={
        "user": st.sampled_from([{"id": "u", "roles": []}, {"id": "u", "roles": ["customer-support"]}]),
        "now": st.sampled_from([office_call()["now"], {"minute": 0, "day": "sun", "date": "2026-11-22"}]),
    },
)


@pytest.mark.requirement("policy:access:decided")
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(POLICIES, st.lists(CONTEXTS, min_size=1, max_size=5), st.sampled_from([READ, UPDATE, REFUND]))
def test_what_is_said_beforehand_is_what_every_call_meets(
    policies: list[str], contexts: list[dict[str, Any]], on: ToolId
) -> None:
    by = one(grant(READ, "customer-support"), grant(UPDATE, hours=OFFICE), grant(REFUND))
    under = PolicySnapshot(release("".join(policies)), SERVERS, ENGINE)
    said = access(by, on, under)
    met = {decide(CallRequest(by, on, context), under).outcome for context in contexts}
    if said.outcome is AccessOutcome.FORBIDDEN:
        assert met == {Outcome.DENY}
    if said.outcome is AccessOutcome.HELD:
        assert Outcome.ALLOW not in met
    if said.outcome is AccessOutcome.ALLOWED:
        assert met == {Outcome.ALLOW}
    if Outcome.ALLOW in met:
        assert said.outcome in {AccessOutcome.ALLOWED, AccessOutcome.CONDITIONAL}


# -- digest


@pytest.mark.requirement("policy:access:digest")
def test_the_report_is_canonical_and_moves_only_with_what_concerns_the_agent() -> None:
    by = one(grant(READ), grant(REFUND))
    base = report({"org/hold.cedar": HOLD_REFUND}, by)
    require_canonical(base.document())
    assert base.digest == report({"org/hold.cedar": HOLD_REFUND}, by).digest
    elsewhere = 'forbid (principal in Team::"sales", action, resource);'
    other = report({"org/hold.cedar": HOLD_REFUND, "team/sales/no.cedar": elsewhere}, by)
    assert (other.digest, other.release == base.release) == (base.digest, False)
    prompt_changed = replace(by, version=replace(by.version, digest=other.digest))
    assert report({"org/hold.cedar": HOLD_REFUND}, prompt_changed).digest == base.digest
    for changed in (
        report({"org/hold.cedar": HOLD_REFUND.replace("support-lead", "security")}, by),
        report({"org/hold.cedar": HOLD_REFUND, "org/small.cedar": SMALL}, by),
        report({"org/hold.cedar": HOLD_REFUND}, one(grant(READ), grant(REFUND), data=frozenset({"personal"}))),
        report({"org/hold.cedar": HOLD_REFUND}, one(grant(READ))),
        report({"org/hold.cedar": HOLD_REFUND}, by, servers=_with(REFUND, effect=Effect.IRREVERSIBLE)),
        report({"org/hold.cedar": HOLD_REFUND}, by, servers=_with(REFUND, effect=Effect.WRITE, scope=WriteScope.OWN)),
        report({"org/hold.cedar": HOLD_REFUND}, by, servers=_with(READ, definition_digest=base.digest)),
    ):
        assert changed.digest != base.digest


def _with(name: ToolId, **changes: Any) -> tuple[ToolServer, ...]:
    def of(known: Tool) -> Tool:
        return replace(known, **changes) if known.id == name else known

    return tuple(replace(one, tools={own: of(known) for own, known in one.tools.items()}) for one in SERVERS)


@pytest.mark.requirement("policy:access:digest")
def test_making_a_report_leaves_the_caches_of_calls_alone() -> None:
    by = one(grant(READ), grant(REFUND))
    under = PolicySnapshot(release(HOLD_REFUND), SERVERS, ENGINE)
    before = under.slice_for(by, READ)
    held = under.bytes_held
    access_report(by.version, catalogue(by), under, by)
    assert under.slice_for(by, READ) is before
    assert under.bytes_held == held


@pytest.mark.requirement("policy:access:rows")
def test_a_policy_for_the_agent_itself_is_in_its_report() -> None:
    files = {"agent/support-copilot/no.cedar": 'forbid (principal == Agent::"support-copilot", action, resource);'}
    by = one(grant(READ), data=frozenset({"personal"}))
    assert excess(report(files, by)) == [("grant-forbidden", READ)]
    assert report(files, replace(by, id=AgentId("agt_x"))).excess == ()


# -- on a real registry


@pytest.mark.requirement("policy:enforced:tier")
def test_following_the_advice_on_a_registered_agent_lowers_its_tier() -> None:
    remove = {"effect": "irreversible", "data": ["public"]}
    query = {"effect": "read", "data": ["internal", "personal"], "fields": {"email": "personal"}}
    grants = [{"server": "desk", "allow": ["remove", "query"]}]
    fleet = fleet_with(
        desk(remove=remove, query=query),
        plain_agent(tools=grants, data=["internal", "personal", "public"], autonomy="each-act-approved"),
    )

    def found(policies: str = "") -> Tiering:
        under = PolicySnapshot(release(policies), fleet.registry.catalogue.servers(), ENGINE)
        return tiering(facts_of(fleet, enforced=partial(enforced_by, under)))

    before = found()
    assert before.tier is Tier.HIGH
    assert [str(step) for step in before.lowers[0].ways[0]] == [
        "require approval on `desk/remove`: a `@hold` policy without conditions",
        "mask `personal` in the results of every tool that carries it, and leave it out of `data`",
    ]
    held = '@hold("security")\nforbid (principal, action == Action::"desk/remove", resource);'
    assert found(held).tier is Tier.HIGH
    grants = [{"server": "desk", "allow": ["remove"]}, {"server": "desk", "allow": ["query"], "mask": ["personal"]}]
    fleet.apply(plain_agent(tools=grants, data=["internal", "public"], autonomy="each-act-approved"))
    assert found().tier is Tier.HIGH
    assert found(held).tier is Tier.MEDIUM
    assert found(held.replace(";", " unless { context has user };")).tier is Tier.HIGH
    assert found(held.replace("principal,", 'principal in Team::"sales",')).tier is Tier.HIGH
