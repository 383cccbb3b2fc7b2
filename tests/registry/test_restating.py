"""What is registered, stated as manifests again: applying it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.registry.manifest import KINDS
from accredit.registry.reading import read_documents
from accredit.registry.restating import restated
from accredit.registry.service import ApplyOutcome
from accredit.registry.writing import manifest_yaml
from tests.registry.fleet import (
    ADMIN,
    Fleet,
    agent_document,
    changed,
    example,
    group_document,
    person_document,
)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
_AMBIGUOUS = st.sampled_from(
    ["no", "on", "y", "~", "null", "1.5e3", "0x10", "010", "12:30:45", "2027-01-01", ".5", "-", "", " a", "a: b",
     "a #b", "[a]", "{a}", "&a", "*a", "!a", "%a", "@a", "`a", "'a", '"a', "a\nb", "\u202ea", "---", "...",
     "? a", "| a", "> a"]
)  # fmt: skip
_VALUES = st.recursive(
    st.one_of(_TEXT, _AMBIGUOUS, st.booleans(), st.integers(-(10**9), 10**9), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(_TEXT, _AMBIGUOUS), inner)),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.dictionaries(_TEXT, _VALUES, min_size=1, max_size=3), min_size=1, max_size=2),
    st.lists(_TEXT, max_size=2),
)
@pytest.mark.requirement("registry:restating:yaml")
def test_what_is_written_as_yaml_reads_back_as_itself(documents: list[dict[str, Any]], above: list[str]) -> None:
    text = manifest_yaml(documents, above=above)
    assert text.isascii()
    assert [one.value for one in read_documents(text.encode())] == documents


def _applied_again(fleet: Fleet) -> dict[str, str]:
    """What applying everything that is stated does."""
    stated = list(restated(fleet.control.view))
    text = manifest_yaml([one.document for one in stated])
    results = asyncio.run(fleet.registry.apply([("all.yaml", text)], ADMIN))
    assert len(results) == len(stated)
    return {f"{one.kind} {one.name}": one.outcome for one in results if one.outcome is not ApplyOutcome.UNCHANGED}


def _everything() -> Fleet:
    fleet = Fleet.registered(agent=False)
    fleet.apply(
        person_document("bot@example.com", "dana@example.com"),
        changed(person_document("junior@example.com"), "spec.manager", "dana@example.com"),
        {
            "apiVersion": "accredit/v1", "kind": "Agreement", "metadata": {"name": "dpa-2026-14"},
            "spec": {"provider": "anthropic", "covers": ["personal"], "document": "sha256:" + "1" * 64,
                     "expires": "2027-12-31"},
        },
        {
            "apiVersion": "accredit/v1", "kind": "ContextProvider", "metadata": {"name": "tickets-db"},
            "spec": {"of": "task", "issuer": "tickets", "url": "https://facts.example.com/x",
                     "facts": {"open": "boolean"}, "ttl": "90s", "off": True},
        },
        {
            "apiVersion": "accredit/v1", "kind": "EnforcementPoint", "metadata": {"name": "gate"},
            "spec": {"types": ["user"], "servers": ["crm"], "calls": {"perMinute": 5}, "reports": "development"},
        },
        {
            "apiVersion": "accredit/v1", "kind": "ModelProvider",
            "metadata": {"name": "local", "environment": "development"},
            "spec": {"api": "openai", "url": "https://models.example.com", "models": {
                "größer-1": {"input": "0.25 EUR", "output": "1.123456789 EUR", "maxOutput": 4096}}},
        },
        {
            "apiVersion": "accredit/v1", "kind": "ModelProvider",
            "metadata": {"name": "openai-here", "environment": "development"},
            "spec": {"api": "openai", "url": "https://proxy.example.com", "prices": "openai",
                     "models": {"gpt-4o": {"maxOutput": 500}}},
        },
    )  # fmt: skip
    fleet.apply({
        "apiVersion": "accredit/v1", "kind": "Store", "metadata": {"name": "notes", "environment": "development"},
        "spec": {"adapter": "sqlite", "location": "/srv/notes.db", "namespaces": ["support-*"], "shared": True,
                 "ownerField": "agent", "items": {"text": "body", "created": "at"}},
    })  # fmt: skip
    fleet.apply({
        "apiVersion": "accredit/v1", "kind": "ReviewSchedule", "metadata": {"name": "yearly-close"},
        "spec": {
            "scope": {"tiers": ["high", "low"], "teams": ["customer-support"]}, "every": {"high": 1}, "day": 15,
            "graceDays": 0,
            "seasonal": [{"server": "crm", "allow": ["read_customer", "close year"], "everyMonths": 12}],
        },
    })  # fmt: skip
    fleet.apply({
        "apiVersion": "accredit/v1", "kind": "ToolServer", "metadata": {"name": "own", "environment": "development"},
        "spec": {
            "tools": {"sum": {"effect": "read", "data": [], "price": "0 USD"}},
            "definitions": {"sum": {"description": "Adds", "inputSchema": {
                "type": "object", "properties": {"a": {"type": "number", "maximum": 0.5}}}}},
        },
    })  # fmt: skip
    fleet.apply(*example("support-copilot"))
    fleet.apply(
        changed(agent_document(), "metadata.name", "desk")
        | {"spec": agent_document()["spec"] | {
            "delegates": [{"agent": "support-copilot", "tools": [
                {"server": "crm", "allow": ["search_orders"]},
                {"server": "crm", "allow": ["read_customer"], "when": {"userRole": "größer"}},
            ]}],
            "hours": {"window": "22:00-24:00", "zone": "Europe/Berlin", "days": ["sun"]},
            "tools": [{"server": "crm", "allow": ["read_customer", "search_orders"], "mask": []}],
        }}
    )  # fmt: skip
    return fleet


@pytest.mark.requirement("registry:restating:idempotent")
def test_applying_all_that_is_stated_changes_nothing() -> None:
    fleet = _everything()
    elsewhere = {"Directory", "Group", "Gate", "Template"}  # they take two persons: below
    assert {one.kind for one in restated(fleet.control.view)} == set(KINDS) - elsewhere
    before = len(fleet.control.events)
    assert _applied_again(fleet) == {}
    assert len(fleet.control.events) == before
    assert all(one.unsaid == () for one in restated(fleet.control.view))


_GATE: dict[str, Any] = {
    "apiVersion": "accredit/v1", "kind": "Gate", "metadata": {"name": "medium"},
    "spec": {"roles": {"security": 2}, "comment": True, "backups": {"security": ["group:all", "ann@example.com"]},
             "heads": {"team-lead": ["lee@example.com"]}},
}  # fmt: skip


def _templates() -> Iterator[dict[str, Any]]:
    for name, autonomy, cost in (("reader", ["suggests"], None), ("writer", ["suggests", "acts-unattended"], "5 EUR")):
        yield {
            "apiVersion": "accredit/v1", "kind": "Template", "metadata": {"name": name, "team": "customer-support"},
            "spec": {
                "tools": [{"server": "crm", "allow": ["search_orders", "read_customer"]}], "data": ["personal"],
                "models": [{"provider": "anthropic", "model": "claude x"}], "autonomy": autonomy,
                "audience": ["staff"], "inputs": ["staff", "web"], "reach": ["team"], "expires": "2027-05-31",
                "limits": {"timeout": {"call": "1500ms"}, **({"cost": {"perDay": cost}} if cost else {})},
            },
        }  # fmt: skip


@pytest.mark.requirement("registry:restating:idempotent")
def test_a_company_with_groups_servers_in_production_and_candidates_is_stated_whole() -> None:
    fleet = Fleet.in_production()
    (asked,) = fleet.apply(group_document("support", ["dana@example.com", "lee@example.com"]))
    fleet.enact(asked.proposal)
    (asked,) = fleet.apply(group_document("all", ["ann@example.com"], ["support"]))
    fleet.enact(asked.proposal)
    mapped = [
        {"name": "AI Leads", "group": "leads"},
        {"name": "Größe", "team": "customer-support", "userRoles": ["größer"], "tools": ["crm/read_customer"]},
    ]
    (asked,) = fleet.apply({
        "apiVersion": "accredit/v1", "kind": "Directory", "metadata": {"name": "entra"},
        "spec": {"issuer": "staff", "subject": "userName", "groups": mapped},
    })  # fmt: skip
    fleet.enact(asked.proposal)
    for document in (_GATE, *_templates()):
        (asked,) = fleet.apply(document)
        fleet.enact(asked.proposal)
    # what one person vouched for alone is asked for, in whatever words
    assert _applied_again(fleet) == {"Issuer staff": "pending", "Issuer tickets": "pending"}
    found = restated(fleet.control.view, kinds=["Group", "Gate", "Template"])
    assert [one.name for one in found] == [
        "all",
        "leads",
        "support",
        "medium",
        "customer-support/reader",
        "customer-support/writer",
    ]


_GRANTS = st.lists(
    st.fixed_dictionaries(
        {
            "server": st.just("crm"),
            "allow": st.sampled_from(["read_customer", "search_orders", "add_note"]).map(lambda one: [one]),
        },
        optional={
            "when": st.fixed_dictionaries({}, optional={"userRole": st.sampled_from(["a", "größer", "no"])}),
            "hours": st.just({"window": "09:00-12:00", "zone": "Europe/Berlin", "days": ["mon"]}),
        },
    ),
    unique_by=lambda one: str(one["allow"]),
    max_size=3,
)
_SPEC: dict[str, st.SearchStrategy[Any]] = {
    "purpose": st.sampled_from(["a", "Zwölf Boxkämpfer", "no", "12:30", "line\none", "'", '"', "# x"]),
    "tools": _GRANTS,
    "data": st.sampled_from([["internal", "personal"], ["phi", "personal", "internal", "public"]]),
    "autonomy": st.sampled_from(["suggests", "acts-unattended"]),
    "inputs": st.lists(st.sampled_from(["staff", "web", "public"]), unique=True, min_size=1),
    "use": st.fixed_dictionaries(
        {"annex3": st.booleans(), "decidesOnPeople": st.booleans()},
        optional={"prohibited": st.lists(st.sampled_from(["manipulation", "social-scoring"]), unique=True)},
    ),
    "limits": st.fixed_dictionaries(
        {},
        optional={
            "cost": st.builds(
                lambda nanos, currency: {"perDay": f"{nanos // 10**9}.{nanos % 10**9:09} {currency}"},
                st.integers(0, 10**15),
                st.sampled_from(["USD", "EUR"]),
            ),
            "timeout": st.builds(
                lambda call, unit: {"call": f"{call}{unit}", "run": "2h"},
                st.integers(1, 59),
                st.sampled_from(["s", "00ms"]),
            ),
            "concurrency": st.integers(1, 1000),
        },
    ),
    "models": st.lists(
        st.fixed_dictionaries(
            {"provider": st.sampled_from(["a", "b"]), "model": st.sampled_from(["1", "x 2"])},
            optional={"agreement": st.just("dpa-1")},
        ),
        unique_by=lambda one: str(sorted(one.items())),
        max_size=3,
    ),
    "stores": st.lists(
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from(["memory", "knowledge"]),
                "adapter": st.just("qdrant"),
                "namespace": st.sampled_from(["n", "ä"]),
            }
        ),
        unique_by=lambda one: str(sorted(one.items())),
        max_size=2,
    ),
}
_SPECS = st.fixed_dictionaries(
    _SPEC,
    optional={"expires": st.dates(min_value=date(2027, 1, 1)).map(str),
              "backupOwner": st.just("lee@example.com"), "businessService": st.just("ä b")},
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(_SPECS)
@pytest.mark.requirement("registry:restating:idempotent")
def test_every_agent_that_can_be_declared_is_stated_so_that_its_version_stays(spec: dict[str, Any]) -> None:
    fleet = Fleet.registered(agent=False)
    rest = {key: agent_document()["spec"][key] for key in ("owner", "hours", "prompt", "audience", "reach")}
    fleet.apply(agent_document() | {"spec": rest | spec})
    before = fleet.agent().version.digest
    assert _applied_again(fleet) == {}
    assert fleet.agent().version.digest == before


@pytest.mark.requirement("registry:restating:said")
def test_whoever_left_is_not_stated_and_what_thereby_cannot_be_said_is_told() -> None:
    fleet = Fleet.in_production()
    dana = fleet.person("dana@example.com")
    fleet.apply(person_document("bot@example.com", "dana@example.com"))
    asyncio.run(fleet.registry.person_left(dana, ADMIN, "gone"))
    found = {f"{one.kind} {one.name}": one for one in restated(fleet.control.view)}
    assert "Person dana@example.com" not in found
    assert found["Person bot@example.com"].unsaid[-1] == "nobody is left who answers for this account"
    assert found["Agent support-copilot"].unsaid == ("its owner has left",)
    assert "owner" not in found["Agent support-copilot"].document["spec"]


@pytest.mark.requirement("registry:restating:idempotent")
def test_many_tools_granted_alike_are_stated_in_forms_that_the_schema_allows() -> None:
    fleet = Fleet.registered(agent=False)
    names = [f"tool_{at}" for at in range(250)]
    fleet.offered.tools = {name: {"name": name, "inputSchema": {"type": "object", "properties": {}}} for name in names}
    tools = {name: {"effect": "read", "data": [], "price": "0 USD"} for name in names}
    fleet.apply({
        "apiVersion": "accredit/v1", "kind": "ToolServer", "metadata": {"name": "big", "environment": "development"},
        "spec": {"url": "http://127.0.0.1:9/mcp", "tools": tools},
    })  # fmt: skip
    many = [{"server": "big", "allow": names[at : at + 100]} for at in range(0, 250, 100)]
    fleet.apply(changed(agent_document(), "spec.tools", many))
    assert _applied_again(fleet) == {}
