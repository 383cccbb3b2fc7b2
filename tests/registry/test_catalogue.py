"""The catalogue: everything registered as values, rebuilt where it changed and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from accredit.audit.model import Facts
from accredit.audit.ports import Change, Write
from accredit.kernel.ids import AgentId, ServerName, tool_id
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import AgentVersion
from accredit.registry.versions import version_from
from tests.registry.fleet import ADMIN, Fleet, agent_document, changed, example, server_document


def _agent(catalogue: Catalogue, name: str = "support-copilot") -> Any:
    agent = catalogue.agent_named("development", name)
    assert agent is not None
    return agent


@pytest.mark.requirement("registry:catalogue:shared")
def test_followed_change_by_change_it_equals_what_is_built_from_the_whole_state() -> None:
    fleet = Fleet.registered()
    fleet.apply(changed(agent_document(), "metadata.name", "second"))
    fleet.apply(changed(agent_document(), "spec.reach", "user"))
    fleet.apply({"apiVersion": "accredit/v1", "kind": "Team", "metadata": {"name": "customer-support"},
                 "spec": {"zones": ["Europe/Berlin", "UTC"]}})  # fmt: skip
    fleet.apply(changed(server_document(), "spec.tools.add_note", ...))
    fleet.offered.tools["read_customer"] = {**fleet.offered.tools["read_customer"], "title": "New"}
    asyncio.run(fleet.registry.repin(ServerName("crm"), None, ADMIN))
    fleet.put("person", "psn_new", {"email": "new@example.com"})
    fleet.put("server", "gone", {**fleet.doc("server", "crm")})
    fleet.put("server", "gone", None)
    assert fleet.registry.catalogue == Catalogue.of(fleet.control.view)
    assert _agent(fleet.registry.catalogue, "second").team.zones == {"Europe/Berlin", "UTC"}


@pytest.mark.requirement("registry:catalogue:shared")
def test_a_change_of_one_agent_among_many_rebuilds_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet.registered()
    fleet.apply(*(changed(agent_document(), "metadata.name", f"agent-{n}") for n in range(200)))
    before = fleet.registry.catalogue
    built: list[str] = []

    def counted(doc: Mapping[str, Any], **more: Any) -> AgentVersion:
        built.append(doc["digest"])
        return version_from(doc, **more)

    monkeypatch.setattr("accredit.registry.catalogue.version_from", counted)
    fleet.apply(changed(changed(agent_document(), "metadata.name", "agent-7"), "spec.reach", "user"))
    after = fleet.registry.catalogue
    assert built == [_agent(after, "agent-7").version.digest]
    assert [agent.name for agent in before.agents() if after.agent(agent.id) is not agent] == ["agent-7"]
    assert after.servers()[0] is before.servers()[0]
    built.clear()
    fleet.put("epoch", _agent(after, "agent-8").id, {"epoch": 1})
    assert built == []


@pytest.mark.requirement("registry:catalogue:shared")
def test_a_catalogue_handed_out_does_not_change_any_more() -> None:
    fleet = Fleet.registered()
    before = fleet.registry.catalogue
    agent, tools = _agent(before), dict(before.servers()[0].tools)
    fleet.apply(changed(agent_document(), "spec.reach", "user"), changed(server_document(), "spec.tools.add_note", ...))
    assert _agent(before) is agent
    assert before.servers()[0].tools == tools


@pytest.mark.requirement("registry:catalogue:proven")
def test_what_does_not_hold_together_is_left_out() -> None:
    fleet = Fleet.registered()
    agent = _agent(fleet.registry.catalogue)
    tool = tool_id("crm", "read_customer")
    definition = fleet.doc("tool", tool)["definition"]
    text = fleet.doc("definition", definition)["text"]
    fleet.put("definition", definition, {"text": text.replace("Reads", "Sends")})
    rebuilt = Catalogue.of(fleet.control.view)
    assert rebuilt.tool(tool) is None
    assert rebuilt.tool(tool_id("crm", "add_note")) is not None
    for kind, key in (("tool", tool_id("crm", "add_note")), ("version", agent.version.digest)):
        fleet.put(kind, key, None)
    rebuilt = Catalogue.of(fleet.control.view)
    assert rebuilt.tool(tool_id("crm", "add_note")) is None
    assert rebuilt.agent(agent.id) is None
    assert rebuilt.agent_named("development", "support-copilot") is None


@pytest.mark.requirement("registry:catalogue:proven")
def test_an_agent_whose_team_is_missing_is_left_out_until_it_is_back() -> None:
    fleet = Fleet.registered()
    agent = _agent(fleet.registry.catalogue)
    doc = fleet.doc("team", agent.team.id)
    fleet.put("team", agent.team.id, None)
    assert fleet.registry.catalogue.agent(agent.id) is None
    fleet.put("team", agent.team.id, doc)
    assert fleet.registry.catalogue.agent(agent.id) == agent


def test_a_narrowing_change_counts_although_the_stored_state_does_not_show_it() -> None:
    fleet = Fleet.registered()
    agent = _agent(fleet.registry.catalogue)
    change = Change(Facts("agent.retired"), (Write("agent", agent.id, None),), ADMIN, {}, narrowing=True)
    after = fleet.registry.catalogue.with_change(change, fleet.control.view)
    assert after.agent(agent.id) is None
    assert fleet.registry.catalogue.agent(agent.id) == agent


def test_people_teams_and_tools_are_found_by_what_callers_know() -> None:
    fleet = Fleet.registered()
    catalogue = fleet.registry.catalogue
    dana = catalogue.person("dana@EXAMPLE.COM")
    assert dana is not None
    assert catalogue.person_by_id(dana.id) == dana
    assert catalogue.person("Dana@example.com") is None
    assert {person.email for person in catalogue.persons()} == {"dana@example.com", "lee@example.com"}
    team = catalogue.team("customer-support")
    assert team is not None
    assert catalogue.teams() == (team,)
    assert catalogue.team("nobody") is None
    assert catalogue.server(ServerName("erp")) is None
    assert catalogue.agent(AgentId("agt_nobody")) is None
    assert catalogue.tool(tool_id("erp", "x")) is None


def test_a_first_person_written_by_the_bootstrap_of_identity_can_own_an_agent() -> None:
    fleet = Fleet()
    fleet.put("person", "psn_first", {"email": "dana@example.com"})
    fleet.apply(*(document for name in ("people", "issuers", "crm", "support-copilot") for document in example(name)))
    assert _agent(fleet.registry.catalogue).owner == "psn_first"
