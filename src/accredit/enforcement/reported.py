"""What somebody says that agents did past this path, and what that comes to. Pure: values, and who may say what.

A report is a claim. It names agents, tools and models as its sender knows them; here they are matched with what is
registered. Nothing a report says is a measurement: see `reports.py` for where it goes, and where it never does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from accredit.kernel.ids import AgentId, ToolId, tool_id
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, Tool

__all__ = [
    "Attributed",
    "ForAnotherError",
    "MatchedUse",
    "RegisteredNames",
    "Report",
    "Said",
    "SpanRef",
    "UseKind",
    "speaker",
]

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
    invalid: int = 0
    """Spans that could not be read."""


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

    @property
    def id(self) -> ToolId | None:
        """What it is called here; None: nothing that is known."""
        return self.known or (self.tool.id if self.tool is not None else None)


class RegisteredNames:
    """The tools and models of one environment by the names that telemetry may have for them.

    They are looked up and not searched for: whoever reports chooses how many names there are.
    """

    def __init__(self, catalogue: Catalogue, environment: str, gateway: str) -> None:
        """`gateway` is the host name of this installation, where tools are called too."""
        self._gateway = gateway
        self._tools: defaultdict[str, list[tuple[Tool, str]]] = defaultdict(list)
        """By name: the tools it can mean, each with the host of its server."""
        self._models: dict[ToolId, Tool] = {}
        self._models_named: dict[str, Tool] = {}
        for server in catalogue.servers():
            if server.environment != environment:
                continue
            host = (urlsplit(server.url).hostname or "").lower()
            for tool in server.tools.values():
                if tool.rates is not None:
                    self._models[tool.id] = tool
                    self._models_named.setdefault(_own(tool.id), tool)
                    continue
                for name in {tool.name, tool.id, *(f"{tool.server}{between}{tool.name}" for between in _BETWEEN)}:
                    self._tools[name].append((tool, host))

    def matched(self, said: Said, agent: Agent | None) -> MatchedUse:
        """The tool or model that is meant: a granted one if it can be."""
        if said.used is UseKind.MODEL:
            return self._model(said, agent)
        address = said.server_address.lower()
        # a span that says where it called means no tool of another place; most do not say
        candidates = [
            tool for tool, host in self._tools.get(said.name, ()) if not address or address in {self._gateway, host}
        ]
        for tool in candidates:
            if agent is not None and agent.version.grant(tool.id) is not None:
                return MatchedUse(tool, granted=True)
        return MatchedUse(candidates[0] if candidates else None, granted=False)

    def _model(self, said: Said, agent: Agent | None) -> MatchedUse:
        """By provider and model; by the model's name alone where providers are called otherwise here than there."""
        exactly = tool_id(said.provider, said.name)
        granted = [grant.tool for grant in agent.version.models] if agent is not None else []
        same = [one for one in granted if _own(one) == _own(exactly)]
        if exactly in granted or same:
            chosen = exactly if exactly in granted else same[0]
            return MatchedUse(self._models.get(chosen), granted=True, known=chosen)
        return MatchedUse(self._models.get(exactly) or self._models_named.get(_own(exactly)), granted=False)


def _own(model: ToolId) -> str:
    return model.partition("/")[2]
