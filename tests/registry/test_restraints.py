"""Restrictions, incident flags, agreements and masks; and that following the log costs what a change touches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accredit.audit.ports import Actor
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, tool_id
from accredit.registry import rows
from accredit.registry.errors import ManifestError
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.manifest import AgreementManifest
from accredit.registry.model import Person, Restriction, RestrictionKind, Role
from accredit.registry.service import ApplyOutcome
from accredit.registry.tables import Tables
from tests.registry.fleet import ADMIN, Doubted, Fleet, agent_document, changed, read, server_document

HOUR_US = 3_600_000_000
AGREEMENT = {
    "apiVersion": "accredit/v1",
    "kind": "Agreement",
    "metadata": {"name": "dpa-2026-14"},
    "spec": {
        "provider": "anthropic",
        "covers": ["personal", "internal"],
        "document": "sha256:" + "0" * 64,
        "expires": "2027-06-30",
    },
}


def _restricted(
    fleet: Fleet, kind: RestrictionKind = RestrictionKind.READ_ONLY, hours: int = 1, **more: Any
) -> Restriction | None:
    cause = more.pop("cause", "a never-seen tool")
    until_us = fleet.clock.now().wall_us + hours * HOUR_US
    return asyncio.run(fleet.registry.restrict(fleet.agent().id, kind, ADMIN, cause=cause, until_us=until_us, **more))


@pytest.mark.requirement("registry:restriction:narrows")
def test_a_restriction_is_in_force_at_once_until_it_is_over_or_lifted() -> None:
    fleet = Fleet.registered()
    agent = fleet.agent().id
    made = _restricted(fleet, RestrictionKind.THROTTLE, calls_per_minute=6)
    assert made is not None
    assert fleet.registry.restrictions_of(agent) == (made,)
    event = fleet.control.events[-1]
    assert (event.facts.kind, event.facts.agent, event.narrowing) == ("agent.restricted", agent, True)
    assert "never-seen" not in str(event.body)
    assert made.in_force(fleet.clock.now().wall_us)
    assert not made.in_force(made.until_us)
    asyncio.run(fleet.registry.lift_restriction(made.id, ADMIN, "looked into"))
    assert fleet.registry.restrictions_of(agent) == ()
    with pytest.raises(NotFoundError):
        asyncio.run(fleet.registry.lift_restriction(made.id, ADMIN))


@pytest.mark.requirement("registry:restriction:narrows")
def test_what_is_restricted_as_much_already_is_not_restricted_twice_and_what_is_over_goes() -> None:
    fleet = Fleet.registered()
    first = _restricted(fleet, hours=2)
    assert _restricted(fleet, hours=1) is None
    fleet.clock.advance(1)
    longer = _restricted(fleet, hours=3)
    assert fleet.registry.restrictions_of(fleet.agent().id) == (first, longer)
    fleet.clock.advance(4 * 3600)
    fresh = _restricted(fleet)
    assert fleet.registry.restrictions_of(fleet.agent().id) == (fresh,)


@pytest.mark.requirement("registry:restriction:narrows")
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (RestrictionKind.THROTTLE, {}),
        (RestrictionKind.THROTTLE, {"calls_per_minute": 0}),
        (RestrictionKind.READ_ONLY, {"calls_per_minute": 5}),
        (RestrictionKind.HOLD, {}),
        (RestrictionKind.HOLD, {"role": Role.OPERATOR}),
        (RestrictionKind.READ_ONLY, {"role": Role.SECURITY}),
        (RestrictionKind.DROP_TOOL, {}),
        (RestrictionKind.READ_ONLY, {"hours": 0}),
        (RestrictionKind.READ_ONLY, {"hours": 24 * 91}),
        (RestrictionKind.READ_ONLY, {"cause": " "}),
        (RestrictionKind.READ_ONLY, {"cause": "x" * 501}),
    ],
)
def test_a_restriction_that_says_too_little_or_too_much_is_refused(kind: RestrictionKind, more: dict[str, Any]) -> None:
    fleet = Fleet.registered()
    with pytest.raises(InvalidInputError):
        _restricted(fleet, kind, **more)
    assert fleet.registry.restrictions_of(fleet.agent().id) == ()


@pytest.mark.requirement("registry:restriction:narrows")
def test_restrictions_are_bounded_and_not_of_the_retired() -> None:
    fleet = Fleet.registered()
    tool = tool_id("crm", "read_customer")
    assert _restricted(fleet, RestrictionKind.DROP_TOOL, tool=tool) is not None
    for n in range(50):
        assert _restricted(fleet, RestrictionKind.THROTTLE, calls_per_minute=n + 1) is not None
    with pytest.raises(ConflictError):
        _restricted(fleet, RestrictionKind.HOLD, role=Role.SECURITY)
    other = tool_id("crm", "search_orders")
    assert _restricted(fleet, RestrictionKind.DROP_TOOL, tool=other) is not None, "what stops a tool finds room"
    agent = fleet.move(fleet.move(fleet.agent(), AgentEvent.RETIRE), AgentEvent.RETIRED)
    until_us = fleet.clock.now().wall_us + HOUR_US
    for who in (agent.id, AgentId("agt_nobody")):
        with pytest.raises(AccreditError):
            asyncio.run(fleet.registry.restrict(who, RestrictionKind.READ_ONLY, ADMIN, cause="x", until_us=until_us))


@pytest.mark.requirement("registry:incident:flag")
def test_an_incident_is_flagged_at_once_and_closed_once() -> None:
    fleet = Fleet.registered()
    agent = fleet.agent().id
    sam = Actor(person="psn_sam", credential="tok_sam", basis="roles")
    mira = Actor(person="psn_mira", credential="tok_mira", basis="roles")
    made = asyncio.run(fleet.registry.open_incident([agent], 1, sam, "it mailed a customer's file"))
    assert fleet.registry.incidents_of(agent) == (made,) == fleet.registry.incidents()
    assert made.open
    assert fleet.control.events[-1].narrowing
    # nobody alone opens one of the gravest and ends it, and nobody ends one without words
    with pytest.raises(ForbiddenError) as refused:
        asyncio.run(fleet.registry.close_incident(made.id, sam, "it was nothing"))
    assert refused.value.code is Code.SEPARATION_OF_DUTIES
    with pytest.raises(InvalidInputError):
        asyncio.run(fleet.registry.close_incident(made.id, mira, " "))
    assert asyncio.run(fleet.registry.close_incident(made.id, mira, "the customer was told")) is not None
    assert asyncio.run(fleet.registry.close_incident(made.id, mira, "again")) is None
    (closed,) = fleet.registry.incidents_of(agent)
    assert (closed.closed_us, closed.closed_by) == (fleet.clock.now().wall_us, "psn_mira")
    assert (closed.disposition, [one.what for one in closed.events]) == ("the customer was told", ["opened", "closed"])
    for severity in (0, 5):
        with pytest.raises(InvalidInputError):
            asyncio.run(fleet.registry.open_incident([agent], severity, sam, "x"))
    with pytest.raises(NotFoundError):
        asyncio.run(fleet.registry.close_incident("inc_nobody", sam, "x"))


@pytest.mark.requirement("registry:incident:flag")
def test_an_incident_of_an_older_release_is_read_as_what_it_said() -> None:
    old = rows.incident_from("inc_1", {"agent": "agt_1", "severity": 2, "opened_us": 5, "closed_us": None})
    assert (old.agents, old.severity, old.open, old.what, old.events) == (("agt_1",), 2, True, "", ())
    assert rows.incident_from("inc_1", rows.incident_doc(old, salt="00")) == old


@pytest.mark.requirement("registry:state:unproven")
def test_an_agent_is_not_taken_for_unrestricted_while_a_restriction_or_flag_is_missing() -> None:
    control = Doubted()
    fleet = Fleet(control)
    control.doubted = frozenset({("restriction", "rst_1"), ("incident", "inc_1")})
    for ask in (fleet.registry.restrictions_of, fleet.registry.incidents_of):
        with pytest.raises(UnavailableError) as refused:
            ask(AgentId("agt_1"))
        assert refused.value.code is Code.STATE_UNPROVEN


@pytest.mark.requirement("registry:agreement:record")
def test_an_agreement_says_which_supplier_may_see_what_until_when() -> None:
    fleet = Fleet()
    (result,) = fleet.apply(AGREEMENT)
    assert (result.kind, result.name, result.outcome) == ("Agreement", "dpa-2026-14", ApplyOutcome.CREATED)
    agreement = fleet.registry.agreements["dpa-2026-14"]
    expires_us = agreement.expires_us
    assert expires_us is not None
    assert agreement.allows("anthropic", frozenset({"personal"}), now_us=expires_us - 1)
    assert not agreement.allows("anthropic", frozenset({"personal"}), now_us=expires_us)
    assert not agreement.allows("anthropic", frozenset({"phi"}), now_us=0)
    assert not agreement.allows("openai", frozenset({"personal"}), now_us=0)
    assert fleet.apply(AGREEMENT)[0].outcome is ApplyOutcome.UNCHANGED
    assert fleet.apply(changed(AGREEMENT, "spec.expires", ...))[0].outcome is ApplyOutcome.UPDATED
    assert fleet.registry.agreements["dpa-2026-14"].expires_us is None
    (form,) = read(AGREEMENT)
    assert isinstance(form, AgreementManifest)


@pytest.mark.requirement("registry:apply:mask")
def test_a_mask_names_only_what_the_registered_fields_place() -> None:
    fleet = Fleet.registered(agent=False)
    server = changed(server_document(), "spec.tools.read_customer.fields", {"email": "personal", "note": "internal"})
    fleet.apply(server)
    document = agent_document()
    only = changed(document, "spec.tools", [{"server": "crm", "allow": ["read_customer"], "mask": ["personal"]}])
    fleet.apply(changed(only, "spec.data", []))
    assert fleet.agent().version.grants[0].mask == {"personal"}
    assert fleet.agent().version.data == set(), "what is taken out need not be declared"
    for tools in (
        [{"server": "crm", "allow": ["read_customer"], "mask": ["internal"]}],  # placed, and not carried
        [{"server": "crm", "allow": ["read_customer"], "mask": ["phi"]}],
        [{"server": "crm", "allow": ["read_customer", "add_note"], "mask": ["personal"]}],  # carried, and not placed
    ):
        with pytest.raises(ManifestError) as refused:
            fleet.apply(changed(document, "spec.tools", tools))
        assert {fault.code for fault in refused.value.faults} == {Code.MASK_UNPLACEABLE}
        assert refused.value.faults[0].path == "spec.tools[0].mask"


@pytest.mark.requirement("registry:catalogue:shared")
def test_following_the_log_costs_what_a_change_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet.registered()
    for n in range(500):
        fleet.put("person", f"psn_{n}", {"email": f"p{n}@example.com"})
    organisation, catalogue = fleet.registry.organisation, fleet.registry.catalogue
    read_people: list[str] = []

    def counted(key: str, doc: Any) -> Person:
        read_people.append(key)
        return Person(key, doc["email"])  # type: ignore[arg-type]  # a key as the row has it

    monkeypatch.setattr("accredit.registry.rows.person_from", counted)
    fleet.put("epoch", "agt_1", {"epoch": 1})
    assert fleet.registry.catalogue is catalogue
    _restricted(fleet)
    fleet.apply(changed(agent_document(), "spec.purpose", "Something else"))
    assert fleet.registry.organisation is organisation
    read_people.clear()
    fleet.put("role_grant", "rgr_1", {"by": [], "holder": "psn_1", "revoked_us": None, "role": "security",
                                      "since_us": 1, "team": None})  # fmt: skip
    assert fleet.registry.organisation is not organisation
    assert read_people == []
    fleet.put("person", "psn_1", {"email": "new@example.com"})
    assert read_people == ["psn_1"]


@pytest.mark.requirement("registry:catalogue:shared")
def test_what_was_followed_equals_what_is_built_from_the_whole_state() -> None:
    fleet = Fleet.staffed()
    fleet.apply(AGREEMENT)
    cat = fleet.person("cat@example.com")
    fleet.enact(fleet.registry.propose_role(Role.SECURITY, person=cat, actor=ADMIN))
    fleet.put("delegation", "dlg_1", {"holder": cat, "role": "security", "since_us": 1, "to": "psn_1", "until_us": 2})
    fleet.put("delegation", "dlg_1", None)
    rebuilt = Tables(fleet.control.view)
    made = rebuilt.organisation(fleet.registry.catalogue.people)
    followed = fleet.registry.organisation
    assert made.people == followed.people
    assert set(made.grants) == set(followed.grants)
    assert rebuilt.agreements == fleet.registry.agreements
