"""Applying manifests: what may be registered, what is refused, and what is recorded."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from accredit.audit.ports import Row
from accredit.kernel.canonical import require_canonical
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId, SeededIds
from accredit.registry.errors import ManifestError
from accredit.registry.service import ApplyOutcome, Registry
from accredit.registry.versions import delegate_ids, version_from
from accredit.storage.memory.control import MemoryControlLog
from tests.registry.fleet import (
    ADMIN,
    MANIFESTS,
    NOW_US,
    READ_CUSTOMER,
    Fleet,
    Offered,
    agent_document,
    changed,
    definition,
    example,
    read,
    server_document,
)


def _person(email: str) -> dict[str, Any]:
    return {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": email}}


def _team(name: str, *zones: str) -> dict[str, Any]:
    return {"apiVersion": "accredit/v1", "kind": "Team", "metadata": {"name": name}, "spec": {"zones": list(zones)}}


def _faults(fleet: Fleet, *documents: dict[str, Any]) -> dict[str, Code]:
    """Paths and codes of what is refused; nothing may have changed."""
    events = len(fleet.control.events)
    with pytest.raises(ManifestError) as refused:
        fleet.apply(*documents)
    assert len(fleet.control.events) == events
    return {fault.path: fault.code for fault in refused.value.faults}


@pytest.mark.requirement("registry:version:idempotent")
def test_applying_the_examples_registers_them_and_applying_them_again_changes_nothing() -> None:
    fleet = Fleet()
    files = [(path.name, path.read_text()) for path in sorted(MANIFESTS.glob("*.yaml"))]
    first = asyncio.run(fleet.registry.apply(files, ADMIN))
    assert [(result.kind, result.name, result.outcome) for result in first] == [
        ("Person", "dana@example.com", ApplyOutcome.CREATED),
        ("Person", "lee@example.com", ApplyOutcome.CREATED),
        ("Team", "customer-support", ApplyOutcome.CREATED),
        ("Issuer", "staff", ApplyOutcome.CREATED),
        ("Issuer", "tickets", ApplyOutcome.CREATED),
        ("ToolServer", "crm", ApplyOutcome.CREATED),
        ("Agent", "support-copilot", ApplyOutcome.CREATED),
    ]
    assert all(result.id for result in first)
    events = len(fleet.control.events)
    second = asyncio.run(fleet.registry.apply(files, ADMIN))
    assert {result.outcome for result in second} == {ApplyOutcome.UNCHANGED}
    assert [result.id for result in second] == [result.id for result in first]
    assert len(fleet.control.events) == events


@pytest.mark.requirement("registry:apply:record")
def test_every_change_is_recorded_with_its_actor_and_nothing_personal() -> None:
    fleet = Fleet.registered()
    assert fleet.kinds() == [
        "person.registered", "person.registered", "team.registered", "issuer.registered", "issuer.registered",
        "server.registered", "tool.pinned", "tool.pinned", "tool.pinned", "agent.registered",
    ]  # fmt: skip
    for change in fleet.control.events:
        assert change.actor == ADMIN
        require_canonical(change.body)
        said = orjson.dumps([change.body, [(write.kind, write.key) for write in change.writes]])
        assert b"example.com/" not in said or change.facts.kind == "server.registered"
        assert b"dana" not in said
        assert b"lee@" not in said
    registered = fleet.control.events[-1].facts
    agent = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    assert (registered.agent, registered.version) == (agent.id, agent.version.digest)
    assert registered.environment == "development"


@pytest.mark.requirement("registry:apply:record")
def test_rows_of_equal_addresses_in_two_installations_have_different_digests() -> None:
    rows: list[Row] = []
    for seed in (1, 2):
        control = MemoryControlLog()
        registry = Registry(control, SeededIds(seed), ScriptedClock(NOW_US), Offered(), bootstrapping=lambda: True)
        asyncio.run(registry.apply_documents(read(_person("dana@example.com")), ADMIN))
        rows += control.view.scan("person")
    assert rows[0].doc["email"] == rows[1].doc["email"]
    assert rows[0].digest != rows[1].digest


@pytest.mark.requirement("registry:apply:all-or-nothing")
def test_one_fault_anywhere_and_nothing_of_all_the_files_is_applied() -> None:
    fleet = Fleet()
    faults = _faults(
        fleet,
        *example("people"),
        *example("issuers"),
        server_document(),
        changed(agent_document(), "spec.owner", "eve@example.com"),
        changed(changed(agent_document(), "metadata.name", "other"), "metadata.team", "ghosts"),
    )
    assert faults == {"spec.owner": Code.OWNER_UNKNOWN, "metadata.team": Code.TEAM_UNKNOWN}


@pytest.mark.requirement("registry:apply:all-or-nothing")
def test_faults_of_several_files_are_told_together() -> None:
    fleet = Fleet()
    with pytest.raises(ManifestError) as refused:
        asyncio.run(
            fleet.registry.apply([("a.yaml", "kind: Agent"), ("b.yaml", "a: 1\na: 2"), ("c.yaml", b"\xff")], ADMIN)
        )
    assert {fault.document for fault in refused.value.faults} == {
        "Agent in document 1",
        "file `b.yaml`",
        "file `c.yaml`",
    }


@pytest.mark.requirement("registry:apply:owner")
def test_an_unknown_owner_or_backup_owner_is_refused() -> None:
    fleet = Fleet.registered(agent=False)
    document = changed(changed(agent_document(), "spec.owner", "a@example.com"), "spec.backupOwner", "b@example.com")
    assert _faults(fleet, document) == {"spec.owner": Code.OWNER_UNKNOWN, "spec.backupOwner": Code.OWNER_UNKNOWN}
    assert "spec.backupOwner" in _faults(fleet, changed(agent_document(), "spec.backupOwner", "dana@example.com"))


@pytest.mark.requirement("registry:apply:owner")
def test_the_letter_case_of_a_domain_does_not_count_and_of_a_local_part_makes_no_second_person() -> None:
    fleet = Fleet.registered(agent=False)
    assert fleet.apply(_person("dana@EXAMPLE.com"))[0].outcome is ApplyOutcome.UNCHANGED
    assert _faults(fleet, _person("Dana@example.com")) == {"spec.email": Code.CONFLICT}
    (result,) = fleet.apply(changed(agent_document(), "spec.owner", "dana@Example.Com"))
    agent = fleet.registry.get(AgentId(result.id))
    owner = fleet.registry.catalogue.person("dana@example.com")
    assert agent is not None
    assert owner is not None
    assert agent.owner == owner.id
    assert b"@" not in orjson.dumps(agent.version.manifest)


@pytest.mark.requirement("registry:apply:names")
def test_a_name_is_one_team_s_per_environment() -> None:
    fleet = Fleet.registered()
    fleet.apply(_team("finance", "Europe/Berlin"))
    assert _faults(fleet, changed(agent_document(), "metadata.team", "finance")) == {"metadata.name": Code.NAME_TAKEN}
    assert _faults(fleet, agent_document(), agent_document()) == {"metadata.name": Code.NAME_TAKEN}


@pytest.mark.requirement("registry:apply:names")
def test_of_two_agents_registered_at_once_under_one_name_exactly_one_wins() -> None:
    fleet = Fleet.registered(agent=False)
    fleet.apply(_team("finance", "Europe/Berlin"))
    original = fleet.control.transact

    async def transact(build: Any) -> Any:
        await asyncio.sleep(0)  # both have checked before either commits
        return await original(build)

    fleet.control.transact = transact  # type: ignore[method-assign] # lets the two interleave

    async def both() -> Any:
        theirs = changed(agent_document(), "metadata.team", "finance")
        return await asyncio.gather(
            fleet.registry.apply_documents(read(agent_document()), ADMIN),
            fleet.registry.apply_documents(read(theirs), ADMIN),
            return_exceptions=True,
        )

    outcomes = asyncio.run(both())
    refused = [outcome for outcome in outcomes if isinstance(outcome, ManifestError)]
    assert [error.code for error in refused] == [Code.NAME_TAKEN]
    assert fleet.kinds().count("agent.registered") == 1
    assert len(list(fleet.registry.catalogue.agents())) == 1


@pytest.mark.requirement("registry:apply:production")
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_nothing_enters_staging_or_production_and_no_server_there_is_asked(environment: str) -> None:
    fleet = Fleet.registered(agent=False)
    asked = len(fleet.offered.asked)
    for document in (agent_document(), server_document()):
        moved = changed(document, "metadata.environment", environment)
        assert _faults(fleet, moved) == {"metadata.environment": Code.PRODUCTION_REFUSED}
    assert len(fleet.offered.asked) == asked


@pytest.mark.requirement("registry:apply:tools")
def test_only_registered_tools_can_be_granted_and_only_with_their_data_declared() -> None:
    fleet = Fleet.registered(agent=False)
    tools = [
        {"server": "crm", "allow": ["read_customer", "unlisted", "nowhere"]},
        {"server": "erp", "allow": ["read_customer"]},
    ]
    document = changed(changed(agent_document(), "spec.tools", tools), "spec.data", ["internal"])
    assert _faults(fleet, document) == {
        "spec.tools[0].allow[0]": Code.DATA_CLASS_UNDECLARED,
        "spec.tools[0].allow[1]": Code.TOOL_UNKNOWN,
        "spec.tools[0].allow[2]": Code.TOOL_UNKNOWN,
        "spec.tools[1].server": Code.TOOL_UNKNOWN,
    }


@pytest.mark.requirement("registry:apply:tools")
def test_a_server_of_another_environment_cannot_be_granted_nor_its_name_taken() -> None:
    fleet = Fleet.registered(agent=False)
    fleet.put("server", "crm", {**fleet.doc("server", "crm"), "environment": "staging"})
    assert _faults(fleet, agent_document()) == {
        "spec.tools[0].server": Code.ENVIRONMENT_MISMATCH,
        "spec.tools[1].server": Code.ENVIRONMENT_MISMATCH,
    }
    assert _faults(fleet, server_document()) == {"metadata.name": Code.NAME_TAKEN}


def test_tool_names_with_dots_dashes_slashes_and_unicode_are_registered_and_granted() -> None:
    fleet = Fleet.registered(agent=False)
    names = ["crm.read-customer", "crm/read~customer", "kunde lesen ß", "读取"]
    fleet.offered.tools |= {name: definition(name) for name in names}
    tools = {name: {"effect": "read", "data": []} for name in names}
    document = changed(agent_document(), "spec.tools", [{"server": "odd", "allow": names}])
    fleet.apply(changed(changed(server_document(), "metadata.name", "odd"), "spec.tools", tools), document)
    agent = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    granted = [fleet.registry.catalogue.tool(grant.tool) for grant in agent.version.grants]
    assert sorted(tool.name for tool in granted if tool) == sorted(names)
    assert all(grant.tool.isascii() and grant.tool.count("/") == 1 for grant in agent.version.grants)


@pytest.mark.requirement("registry:apply:hours")
@pytest.mark.parametrize(
    ("path", "value", "fault", "code"),
    [
        ("spec.hours.zone", "Asia/Tokyo", "spec.hours.zone", Code.ZONE_UNREGISTERED),
        ("spec.tools.1.hours.zone", "Asia/Tokyo", "spec.tools[1].hours.zone", Code.ZONE_UNREGISTERED),
        ("spec.hours.zone", "Europe/Atlantis", "spec.hours", Code.MANIFEST_INVALID),
        ("spec.tools.1.hours.window", "07:00-17:00", "spec.tools[1].hours", Code.MANIFEST_INVALID),
        ("spec.tools.1.hours.days", ["sat"], "spec.tools[1].hours", Code.MANIFEST_INVALID),
        ("spec.hours", ..., "spec.tools[1].hours", Code.MANIFEST_INVALID),
    ],
)
def test_hours_are_in_a_registered_zone_and_a_grant_only_narrows_them(
    path: str, value: Any, fault: str, code: Code
) -> None:
    fleet = Fleet.registered(agent=False)
    assert _faults(fleet, changed(agent_document(), path, value))[fault] is code


def test_a_team_cannot_register_a_zone_that_does_not_exist() -> None:
    assert _faults(Fleet(), _team("a", "Europe/Berlin", "Mars/Olympus")) == {"spec.zones[1]": Code.MANIFEST_INVALID}


@pytest.mark.requirement("registry:apply:same-as")
@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ("input.nickname", "task.customer_id", "not required"),
        ("input.tags", "task.customer_id", "scalar"),
        ("input.maybe", "task.customer_id", "scalar"),
        ("input.address", "task.customer_id", "scalar"),
        ("input.address.flat", "task.customer_id", "not required"),
        ("input.nothing", "task.customer_id", "declares no"),
        ("input.customer_id.x", "task.customer_id", "not always an object"),
        ("input.count", "task.customer_id", "type integer"),
        ("input.customer_id", "task.other", "no task issuer declares"),
    ],
)
def test_a_same_as_of_absent_or_differently_typed_values_is_refused(left: str, right: str, said: str) -> None:
    fleet = Fleet.registered(agent=False)
    with pytest.raises(ManifestError, match=said) as refused:
        fleet.apply(changed(agent_document(), "spec.tools.0.when.sameAs", {left: right}))
    assert refused.value.code is Code.CONDITION_UNTYPED
    assert refused.value.faults[0].path == f"spec.tools[0].when.sameAs.{left}"


@pytest.mark.requirement("registry:apply:same-as")
def test_a_same_as_of_a_required_nested_scalar_or_one_behind_a_reference_is_accepted() -> None:
    fleet = Fleet.registered(agent=False)
    fleet.apply(changed(agent_document(), "spec.tools.0.when.sameAs", {"input.address.zip": "task.customer_id"}))
    schema = {
        "type": "object", "properties": {"id": {"$ref": "#/$defs/Id"}}, "required": ["id"],
        "$defs": {"Id": {"type": "string", "minLength": 1}},
    }  # fmt: skip
    fleet.offered.tools["unlisted"] = definition("unlisted", schema)
    fleet.apply(
        changed(server_document(), "spec.tools.unlisted", {"effect": "read", "data": []}),
        changed(
            agent_document(),
            "spec.tools",
            [{"server": "crm", "allow": ["unlisted"], "when": {"sameAs": {"input.id": "task.customer_id"}}}],
        ),
    )


@pytest.mark.requirement("registry:apply:same-as")
def test_two_task_issuers_cannot_give_a_claim_two_types() -> None:
    fleet = Fleet.registered(agent=False)
    _, task = example("issuers")
    other = changed(changed(task, "metadata.name", "cases"), "spec.issuer", "https://cases.example.com")
    assert _faults(fleet, changed(other, "spec.claims", {"customer_id": "integer"})) == {
        "spec.claims.customer_id": Code.CONDITION_UNTYPED
    }
    assert _faults(fleet, changed(task, "metadata.name", "again")) == {"spec.issuer": Code.CONFLICT}
    fleet.apply(other)


def test_an_issuer_is_stored_in_the_form_that_identity_reads() -> None:
    fleet = Fleet.registered(agent=False)
    assert fleet.doc("issuer", "tickets") == {
        "name": "tickets",
        "use": "task",
        "issuer": "https://tickets.example.com",
        "jwks": {"keys": example("issuers")[1]["spec"]["jwks"]["keys"]},
        "audience": None,
        "roles_claim": None,
        "role_names": [],
        "claims": {"customer_id": "string"},
        "status_url": "https://tickets.example.com/status/{task}",
        "token_type": None,
    }
    user = fleet.doc("issuer", "staff")
    assert (user["roles_claim"], user["status_url"], user["token_type"]) == ("roles", None, "at+jwt")


def test_a_revoked_issuer_is_not_revived_by_applying_it_again() -> None:
    fleet = Fleet.registered(agent=False)
    fleet.put("issuer", "staff", {**fleet.doc("issuer", "staff"), "revoked": True})
    assert _faults(fleet, example("issuers")[0]) == {"metadata.name": Code.CREDENTIAL_REVOKED}


def test_delegates_are_resolved_to_agents_of_the_environment() -> None:
    fleet = Fleet.registered()
    caller = changed(agent_document(), "metadata.name", "caller")

    def handing_on(agent: str, tool: str = "search_orders", **when: Any) -> dict[str, Any]:
        tools = [{"server": "crm", "allow": [tool], **({"when": when} if when else {})}]
        return changed(caller, "spec.delegates", [{"agent": agent, "tools": tools}])

    assert _faults(fleet, handing_on("nobody")) == {"spec.delegates[0].agent": Code.NOT_FOUND}
    assert _faults(fleet, handing_on("caller")) == {"spec.delegates[0].agent": Code.NOT_FOUND}
    assert _faults(fleet, handing_on("support-copilot", "gone")) == {
        "spec.delegates[0].tools[0].allow[0]": Code.TOOL_UNKNOWN
    }
    assert _faults(fleet, handing_on("support-copilot", sameAs={"input.nothing": "task.customer_id"})) == {
        "spec.delegates[0].tools[0].when.sameAs.input.nothing": Code.CONDITION_UNTYPED
    }
    assert _faults(fleet, changed(handing_on("support-copilot"), "spec.data", [])).keys() >= {
        "spec.delegates[0].tools[0].allow[0]"
    }
    fleet.apply(handing_on("support-copilot", userRole="customer-support"))
    assert _faults(fleet, handing_on("caller")) == {"spec.delegates[0].agent": Code.MANIFEST_INVALID}
    found = fleet.registry.catalogue.agent_named("development", "caller")
    other = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert found is not None
    assert other is not None
    assert found.version.manifest["spec"]["delegates"] == [
        {
            "agent": other.id,
            "tools": [{"sameAs": [], "tool": "crm/search_orders", "userRole": "customer-support"}],
        }
    ]
    whole, one = found.version.delegates
    assert (whole.callee, whole.tool, whole.user_role) == (other.id, None, None)
    assert (one.callee, one.tool, one.user_role) == (other.id, "crm/search_orders", "customer-support")
    assert one.hours == found.version.grants[0].hours, "what is handed on is so in the agent's own hours"
    before = found.version.facets
    fleet.apply(handing_on("support-copilot", "read_customer", userRole="customer-support"))
    after = fleet.registry.catalogue.agent(found.id)
    assert after is not None
    assert {name for name in before if after.version.facets[name] != before[name]} == {"delegates"}


@pytest.mark.parametrize(
    ("delegates", "path"),
    [
        (["support-copilot"], "spec.delegates[0]"),
        ([{"agent": "support-copilot", "tools": []}], "spec.delegates[0].tools"),
        ([{"agent": "support-copilot"}], "spec.delegates[0].tools"),
        ([{"agent": "support-copilot", "tools": [{"server": "crm", "allow": ["a"], "mask": []}]}],
         "spec.delegates[0].tools[0].mask"),
        ([{"agent": "support-copilot", "tools": [{"server": "crm", "allow": ["a", "a"]}]}],
         "spec.delegates[0].tools[0].allow"),
        ([{"agent": "support-copilot", "tools": [{"server": "crm", "allow": ["a"]}] * 2}], "spec.delegates[0]"),
        ([{"agent": "support-copilot", "tools": [{"server": "crm", "allow": ["a"]}]}] * 2, "spec"),
    ],
)  # fmt: skip
def test_delegates_of_another_form_are_refused(delegates: list[Any], path: str) -> None:
    fleet = Fleet.registered()
    caller = changed(agent_document(), "metadata.name", "caller")
    assert _faults(fleet, changed(caller, "spec.delegates", delegates)) == {path: Code.MANIFEST_INVALID}


def test_a_version_from_before_tools_were_delegated_hands_on_nothing() -> None:
    fleet = Fleet.registered()
    agent = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    doc = fleet.doc("version", agent.version.digest)
    older = {**doc, "manifest": {**doc["manifest"], "spec": {**doc["manifest"]["spec"], "delegates": ["agt_other"]}}}
    assert version_from(older).delegates == ()
    assert delegate_ids(older["manifest"]["spec"]) == ("agt_other",)


def test_an_agent_that_would_be_over_already_and_a_call_longer_than_its_run_are_refused() -> None:
    fleet = Fleet.registered(agent=False)
    document = changed(changed(agent_document(), "spec.expires", "2026-11-22"), "spec.limits.timeout.run", "10s")
    assert _faults(fleet, document) == {
        "spec.expires": Code.MANIFEST_INVALID,
        "spec.limits.timeout": Code.MANIFEST_INVALID,
    }
    fleet.apply(changed(agent_document(), "spec.expires", "2026-11-23"))


def test_an_unproven_row_is_an_outage_and_not_an_invitation_to_register_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet.registered()
    unproven = frozenset({("agent_name", "development/support-copilot")})
    monkeypatch.setattr(MemoryControlLog, "unproven", property(lambda _: unproven))
    with pytest.raises(UnavailableError) as refused:
        fleet.apply(changed(agent_document(), "spec.reach", "user"))
    assert refused.value.code is Code.STATE_UNPROVEN


def test_versions_of_an_unknown_agent_are_not_found() -> None:
    with pytest.raises(NotFoundError):
        Fleet().registry.versions(AgentId("agt_nobody"))


def test_a_thousand_and_one_manifests_at_once_are_refused() -> None:
    fleet = Fleet()
    people = read(*(_person(f"p{n}@example.com") for n in range(1_000))) + read(_person("q@example.com"))
    with pytest.raises(Exception, match="more than 1000 manifests"):
        asyncio.run(fleet.registry.apply_documents(people, ADMIN))


def test_a_dropped_tool_stays_granted_on_paper_and_is_gone_from_the_catalogue() -> None:
    fleet = Fleet.registered()
    fleet.apply(changed(server_document(), "spec.tools.read_customer", ...))
    agent = fleet.registry.catalogue.agent_named("development", "support-copilot")
    assert agent is not None
    assert fleet.registry.catalogue.tool(agent.version.grants[0].tool) is None
    assert READ_CUSTOMER["name"] not in fleet.registry.catalogue.servers()[0].tools
