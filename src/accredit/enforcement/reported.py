"""What somebody says that agents did past this path, and what that comes to. Pure: values, and who may say what.

A report is a claim. It names agents, tools and models as its sender knows them; here they are matched with what is
registered. Nothing a report says is a measurement: see `reports.py` for where it goes, and where it never does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from accredit.kernel.ids import AgentId, ToolId, tool_id
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, Tool, ToolServer

__all__ = ["Attributed", "ForAnotherError", "MatchedUse", "Report", "Said", "SpanRef", "UseKind", "matched", "speaker"]

SpanRef = tuple[bytes, bytes]
"""Trace id and span id."""

_MOST_NAME: Final = 256
_BETWEEN: Final = ("__", "/", ".")
"""What clients put between a server's name and its tool's."""


class UseKind(StrEnum):
    """What a report says was used."""

    TOOL = "tool"
    MODEL = "model"
    NOTHING = "nothing"
    """Only that an agent was at work."""


@dataclass(frozen=True, slots=True)
class Said:
    """One use, as its sender tells it. Every text is the sender's own."""

    place: SpanRef
    used: UseKind
    name: str = ""
    """Of the tool or model."""
    provider: str = ""
    server_address: str = ""
    agent_id: str = ""
    agent_name: str = ""
    service_name: str = ""
    decision: str = ""
    """The id of the decision that it says let this through."""
    failed: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All that one request says, and where each of its spans stands."""

    said: tuple[Said, ...]
    parents: Mapping[SpanRef, SpanRef] = field(default_factory=dict)


class ForAnotherError(Exception):
    """A sender spoke for an agent that it may not speak for."""


@dataclass(frozen=True, slots=True)
class Attributed:
    """Whose use it is."""

    agent: Agent | None
    """None: no registered agent's."""
    unregistered: str = ""
    """A name of an agent that nobody registered; sealed wherever it is kept."""


def speaker(said: Said, own: Agent | None, environment: str, catalogue: Catalogue) -> Attributed:
    """Whose use is told of. `own` is the agent that sends; None: a collector for agents of `environment` sends.

    An agent speaks for itself alone. What it calls its parts is its own affair as long as no registered agent has that
    name in any environment.

    Raises:
        ForAnotherError: it is told of an agent that this sender may not speak for.
    """
    by_id = catalogue.agent(AgentId(said.agent_id)) if said.agent_id else None
    if own is not None:
        named = {own.name, f"{own.environment}/{own.name}"}
        others = [name for name in (said.agent_name, said.service_name) if name and name not in named]
        if (by_id is not None and by_id.id != own.id) or any(_registered(catalogue, name) for name in others):
            raise ForAnotherError
        part = said.agent_name if said.agent_name in others else ""
        return Attributed(own, "" if part == own.id else part[:_MOST_NAME])
    if by_id is not None and by_id.environment != environment:
        raise ForAnotherError
    found = by_id or _named(catalogue, environment, said.agent_name)
    if found is not None:
        return Attributed(found)
    found = _named(catalogue, environment, said.service_name)
    name = said.agent_name or said.service_name
    return Attributed(found, (said.agent_name if found is not None else name)[:_MOST_NAME])


def _named(catalogue: Catalogue, environment: str, name: str) -> Agent | None:
    return catalogue.agent_named(environment, name.removeprefix(f"{environment}/")) if name else None


def _registered(catalogue: Catalogue, name: str) -> bool:
    within, _, own = name.rpartition("/")
    if within:
        return catalogue.agent_named(within, own) is not None
    return any(catalogue.agent_named(each, name) is not None for each in ("development", "staging", "production"))


@dataclass(frozen=True, slots=True)
class MatchedUse:
    """A use of something registered, or of something that is not."""

    tool: Tool | None
    """None: no registered tool or model of the agent's environment has that name."""
    granted: bool
    """By the agent's version in force; of no agent nothing is granted."""
    known: ToolId | None = None
    """Of what is granted without standing behind this gateway: its id in the manifest."""


def matched(said: Said, agent: Agent | None, environment: str, catalogue: Catalogue, gateway: str) -> MatchedUse:
    """The tool or model that is meant. `gateway` is the host name of this installation, where tools are called too."""
    servers = [one for one in catalogue.servers() if one.environment == environment]
    if said.used is UseKind.MODEL:
        return _model(said, agent, servers)
    candidates = [
        tool
        for server in servers
        for tool in server.tools.values()
        if tool.rates is None and _means(said.name, tool) and _is_at(said.server_address, server, gateway)
    ]
    granted = [tool for tool in candidates if agent is not None and agent.version.grant(tool.id) is not None]
    if granted:
        return MatchedUse(granted[0], granted=True)
    return MatchedUse(candidates[0] if candidates else None, granted=False)


def _means(name: str, tool: Tool) -> bool:
    if name in {tool.name, tool.id}:
        return True
    return any(name == f"{tool.server}{between}{tool.name}" for between in _BETWEEN)


def _is_at(address: str, server: ToolServer, gateway: str) -> bool:
    """A span that says where it called means no tool of another place; most do not say."""
    return not address or address.lower() in {gateway, (urlsplit(server.url).hostname or "").lower()}


def _model(said: Said, agent: Agent | None, servers: list[ToolServer]) -> MatchedUse:
    """By provider and model; by the model's name alone where providers are called otherwise here than there."""
    exactly = tool_id(said.provider, said.name)
    models = {tool.id: tool for server in servers for tool in server.tools.values() if tool.rates is not None}
    granted = [grant.tool for grant in agent.version.models] if agent is not None else []
    if (chosen := _first(exactly, granted)) is not None:
        return MatchedUse(models.get(chosen), granted=True, known=chosen)
    found = _first(exactly, list(models))
    return MatchedUse(models[found] if found is not None else None, granted=False)


def _first(exactly: ToolId, among: list[ToolId]) -> ToolId | None:
    if exactly in among:
        return exactly
    own = exactly.partition("/")[2]
    return next((one for one in among if own and one.partition("/")[2] == own), None)
