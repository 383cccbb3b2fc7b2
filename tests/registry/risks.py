"""Agents and tools made for judging their risk, registered through real manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId
from accredit.registry.model import Agent, AgentVersion, Agreement, Incident
from accredit.registry.observation import NOTHING_OBSERVED, ObservedRisk
from accredit.registry.organisation import Organisation
from accredit.registry.risk import risk_facts
from accredit.registry.tiering import Enforced, RiskFacts
from tests.registry.fleet import NOW_US, Fleet, agent_document, changed, definition, server_document

DPA = Agreement("dpa-2026-14", "anthropic", frozenset({"personal", "phi"}), Digest("sha256:0"), None)


def desk(**tools: dict[str, Any]) -> dict[str, Any]:
    """A tool server with these tools, free of charge."""
    document = changed(
        server_document(), "spec.tools", {name: {"price": "0 USD", **tool} for name, tool in tools.items()}
    )
    return changed(document, "metadata.name", "desk")


def plain_agent(name: str = "helper", **spec: Any) -> dict[str, Any]:
    """The example agent under a name, without tools and data, and with these parts of `spec`."""
    document = changed(agent_document(), "metadata.name", name)
    for key, value in {"tools": [], "data": [], "delegates": [], **spec}.items():
        document = changed(document, f"spec.{key}", value)
    return document


def handing_on(*names: str, tool: str = "look") -> list[dict[str, Any]]:
    """The `delegates` of an agent that hands a tool of the desk on to these."""
    return [{"agent": name, "tools": [{"server": "desk", "allow": [tool]}]} for name in names]


LOOK = {"effect": "read", "data": ["public"]}


def fleet_with(*documents: dict[str, Any]) -> Fleet:
    fleet = Fleet.registered(agent=False)
    for document in documents:
        if document["kind"] == "ToolServer":
            fleet.offered.tools = {own: definition(own) for own in document["spec"]["tools"]}
    fleet.apply(*documents)
    return fleet


def facts_of(
    fleet: Fleet,
    name: str = "helper",
    *,
    agreements: Mapping[str, Agreement] | None = None,
    enforced: Callable[[Agent, AgentVersion], Enforced] = lambda _agent, _version: Enforced(),
    incidents: Callable[[AgentId], Iterable[Incident]] = lambda _: (),
    now_us: int = NOW_US,
    observed: Callable[[AgentId], ObservedRisk] = lambda _: NOTHING_OBSERVED,
) -> RiskFacts:
    catalogue = fleet.registry.catalogue
    agent = catalogue.agent_named("development", name)
    assert agent is not None
    return risk_facts(
        agent,
        agent.version,
        catalogue,
        agreements={DPA.name: DPA} if agreements is None else agreements,
        organisation=Organisation(people={person.id: person for person in catalogue.persons()}),
        enforced=enforced,
        incidents=incidents,
        now_us=now_us,
        observed=observed,
    )
