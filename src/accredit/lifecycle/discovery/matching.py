"""Whether what was found is of an agent that is registered, and reaches what it reaches through the gateway. Pure.

What is exact goes first: a key of ours, an address of the gateway. A name in a file is anybody's to write, so it counts
only where the thing brings no key and no address of its own that lead past the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.model import Matched, MatchVerdict, TraceKind
from accredit.registry.model import Agent, AgentState, Environment, ToolServer

__all__ = ["Inventory", "Sighting", "match", "same_name"]

_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_BELOW: Final = 3
"""How many folders below a manifest programs are of the agent that it declares."""
_OF_A_MANIFEST: Final = frozenset({TraceKind.CODE, TraceKind.DEPLOYMENT, TraceKind.WORKFLOW})
_BY_NAME: Final = frozenset({TraceKind.CODE, TraceKind.WORKFLOW, TraceKind.CARD, TraceKind.USAGE, TraceKind.DEPLOYMENT})


@dataclass(frozen=True, slots=True)
class Sighting:
    """A trace as an installation is told of it."""

    kind: TraceKind
    format: str
    path: str
    name: str = ""
    urls: tuple[str, ...] = ()
    command: str = ""
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    agent: str = ""
    keys: tuple[str, ...] = ()
    """Hashes of keys of ours."""
    secrets: tuple[str, ...] = ()
    """Kinds of other secrets."""
    unread: str = ""
    cost_nanos: int = 0
    last_used: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an installation has registered, as far as something found can be matched to it."""

    gateway: str
    """Its public URL."""
    agents: Mapping[AgentId, Agent]
    servers: tuple[ToolServer, ...]
    credentials: frozenset[str] = frozenset()
    """Names of upstream credentials."""
    agent_of_key: Callable[[str], AgentId | None] = lambda _: None
    """Whose key has that hash."""
    _named: Mapping[str, tuple[Agent, ...]] = field(init=False)
    _referred: Mapping[str, Agent] = field(init=False)

    def __post_init__(self) -> None:
        named: dict[str, list[Agent]] = {}
        referred: dict[str, Agent] = {}
        for agent in self.agents.values():
            named.setdefault(same_name(agent.name), []).append(agent)
            reference = f"{agent.environment}/{agent.name}"
            if reference not in referred or referred[reference].state in _GONE:
                referred[reference] = agent
        object.__setattr__(self, "_named", {name: tuple(found) for name, found in named.items()})
        object.__setattr__(self, "_referred", referred)

    def named(self, name: str) -> tuple[Agent, ...]:
        """Agents of that name, in any environment, those that are not gone first."""
        return tuple(sorted(self._named.get(same_name(name), ()), key=lambda one: (one.state in _GONE, one.id)))

    def referred(self, reference: str) -> Agent | None:
        """The agent with that id, or of that environment and name."""
        found = self.agents.get(AgentId(reference)) or self._referred.get(reference)
        if found is None and "/" not in reference:
            return self._referred.get(f"{Environment.DEVELOPMENT}/{reference}")
        return found


def same_name(name: str) -> str:
    """A name as it is compared: in small letters, all else a hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def match(sightings: Iterable[Sighting], inventory: Inventory) -> list[Matched]:
    """What each is, in their order. Manifests among them speak for the programs that lie beside and below them."""
    given = list(sightings)
    declared = {
        one.path.rpartition("/")[0]: found
        for one in given
        if one.kind is TraceKind.MANIFEST and (found := inventory.referred(one.agent)) is not None
    }
    return [_one(each, inventory, declared) for each in given]


def _one(it: Sighting, inventory: Inventory, declared: Mapping[str, Agent]) -> Matched:
    if it.unread:
        return Matched(MatchVerdict.UNREGISTERED, "it could not be read")
    for key in it.keys:
        found = inventory.agent_of_key(key)
        agent = None if found is None else inventory.agents.get(found)
        if agent is None:
            return Matched(MatchVerdict.UNREGISTERED, "it has a key that is not known here")
        return _of(agent, "its key")
    if it.urls and all(_within(one, inventory.gateway) for one in it.urls) and not it.providers:
        return Matched(MatchVerdict.REGISTERED, "it goes through the gateway")
    if (past := _past_the_gateway(it, inventory)) is not None:
        return past
    if it.agent:
        agent = inventory.referred(it.agent)
        return (
            Matched(MatchVerdict.UNREGISTERED, "it names an agent that there is not")
            if agent is None
            else _of(agent, "it names the agent")
        )
    if it.kind is TraceKind.USAGE and it.name in inventory.credentials:
        return Matched(MatchVerdict.REGISTERED, f"upstream credential `{it.name}`")
    if it.kind in _BY_NAME and it.name and (found_named := inventory.named(it.name)):
        return _of(found_named[0], "its name")
    beside = _declared_above(it.path, declared)
    if it.kind in _OF_A_MANIFEST and beside is not None:
        return _of(beside, "a manifest beside it")
    # a key is registered nowhere by what lies beside it, but whose it probably is counts when that agent goes
    whose = beside.id if it.kind is TraceKind.KEY and beside is not None else ""
    return Matched(MatchVerdict.UNREGISTERED, "nothing registered matches", beside=whose)


def _of(agent: Agent, by: str) -> Matched:
    gone = agent.state in _GONE
    return Matched(MatchVerdict.GHOST if gone else MatchVerdict.REGISTERED, by, agent.id)


def _past_the_gateway(it: Sighting, inventory: Inventory) -> Matched | None:
    """Whether it reaches by itself what is registered behind the gateway."""
    elsewhere = [one for one in it.urls if not _within(one, inventory.gateway)]
    for server in inventory.servers:
        if any(_within(one, server.url) for one in elsewhere):
            return Matched(MatchVerdict.SHADOW, f"it calls `{server.name}` at its own address")
        if it.command and server.launch is not None and _same_program(it.command, server):
            return Matched(MatchVerdict.SHADOW, f"it starts `{server.name}` itself")
        if server.api is not None and it.secrets and {str(server.name), server.api} & set(it.providers):
            return Matched(MatchVerdict.SHADOW, f"it has a key of its own to `{server.name}`")
    return None


def _same_program(command: str, server: ToolServer) -> bool:
    assert server.launch is not None  # noqa: S101 - asked by the caller
    name, _, package = command.partition(" ")
    words = {one.rsplit("/", 1)[-1] for one in (server.launch.command, *server.launch.args)}
    ours = server.launch.command.rsplit("/", 1)[-1]
    return (package.rsplit("/", 1)[-1] in words and bool(package)) or (not package and name == ours)


def _within(url: str, root: str) -> bool:
    there, here = urlsplit(url), urlsplit(root)
    if not here.hostname or there.hostname != here.hostname:
        return False
    ports = {"http": 80, "ws": 80, "https": 443, "wss": 443}
    same = (there.port or ports.get(there.scheme)) == (here.port or ports.get(here.scheme))
    path = here.path.rstrip("/")
    return same and (there.path == path or there.path.startswith(f"{path}/"))


def _declared_above(path: str, declared: Mapping[str, Agent]) -> Agent | None:
    folder = path.rpartition("/")[0]
    for _ in range(_BELOW + 1):
        if folder in declared:
            return declared[folder]
        if not folder:
            return None
        folder = folder.rpartition("/")[0]
    return None
