"""Everything registered as values, immutable; a change makes the next one by sharing what it did not touch.

What does not hold together (a version, team or definition that is missing or not what its digest says) is left out,
so whoever asks meets "no such agent" or "no such tool": a denial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accredit.audit.ports import Change, StateView
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId, ToolId, tool_id, tool_name
from accredit.registry import rows
from accredit.registry.addresses import same_address
from accredit.registry.model import (
    LATEST_REVISION,
    Agent,
    AgentState,
    AgentVersion,
    Effect,
    Environment,
    Person,
    Team,
    Tier,
    Tool,
    ToolGrant,
    ToolServer,
    WriteScope,
)
from accredit.registry.pinning import read_definition
from accredit.registry.versions import money_from, rates_from, version_from

__all__ = ["Catalogue"]

_KINDS: Final = frozenset({rows.AGENT, rows.PERSON, rows.SERVER, rows.TEAM, rows.TOOL})
"""What changes a catalogue. Versions and definitions are written with what names them, and never again."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Agents, teams, people and tool servers of one moment."""

    _agents: Mapping[AgentId, Agent]
    _names: Mapping[tuple[str, str], AgentId]
    _teams: Mapping[TeamId, Team]
    _people: Mapping[PersonId, Person]
    _addresses: Mapping[str, PersonId]
    _servers: Mapping[ServerName, ToolServer]
    _shared: dict[Digest, ToolGrant] = field(repr=False, compare=False)
    """Equal grants as one object. Only ever added to, so sharing it between catalogues changes none of them."""

    @classmethod
    def of(cls, view: StateView) -> Catalogue:
        """Everything a state holds."""
        shared: dict[Digest, ToolGrant] = {}
        people = {PersonId(row.key): rows.person_from(row.key, row.doc) for row in view.scan(rows.PERSON)}
        teams = {TeamId(row.key): _team(row.key, row.doc) for row in view.scan(rows.TEAM)}
        agents: dict[AgentId, Agent] = {}
        for row in view.scan(rows.AGENT):
            agent = _agent(view, AgentId(row.key), teams, {}, shared)
            if agent is not None:
                agents[agent.id] = agent
        servers: dict[ServerName, ToolServer] = {}
        for row in view.scan(rows.SERVER):
            servers[ServerName(row.key)] = _server(view, row.key, row.doc, {})
        return cls(agents, _named(agents), teams, people, _addressed(people), servers, shared)

    def with_change(self, change: Change, view: StateView) -> Catalogue:
        """The catalogue after a change; `view` may or may not show the change already."""
        touched: dict[str, set[str]] = {}
        for write in change.writes:
            if write.kind in _KINDS:
                touched.setdefault(write.kind, set()).add(write.key)
        if not touched:
            return self
        after = rows.Overlay(view)
        after.put(change.writes)
        people, addresses = self._with_people(touched, after)
        teams = self._teams
        if keys := touched.get(rows.TEAM):
            teams = dict(teams)
            for key in keys:
                row = after.get(rows.TEAM, key)
                _put(teams, TeamId(key), _team(key, row.doc) if row else None)
        agents, names = self._with_agents(touched, after, teams)
        return Catalogue(agents, names, teams, people, addresses, self._with_servers(touched, after), self._shared)

    def _with_people(
        self, touched: Mapping[str, set[str]], after: StateView
    ) -> tuple[Mapping[PersonId, Person], Mapping[str, PersonId]]:
        if not (keys := touched.get(rows.PERSON)):
            return self._people, self._addresses
        people, addresses = dict(self._people), dict(self._addresses)
        for key in keys:
            person, row = PersonId(key), after.get(rows.PERSON, key)
            if (before := people.get(person)) is not None:
                addresses.pop(same_address(before.email), None)
            _put(people, person, rows.person_from(key, row.doc) if row else None)
            if row is not None:
                addresses[same_address(row.doc["email"])] = person
        return people, addresses

    def _with_agents(
        self, touched: Mapping[str, set[str]], after: StateView, teams: Mapping[TeamId, Team]
    ) -> tuple[Mapping[AgentId, Agent], Mapping[tuple[str, str], AgentId]]:
        wanted = {AgentId(key) for key in touched.get(rows.AGENT, ())}
        if keys := touched.get(rows.TEAM):
            # also agents left out because their team was missing
            wanted |= {AgentId(row.key) for row in after.scan(rows.AGENT) if row.doc["team"] in keys}
        if not wanted:
            return self._agents, self._names
        agents = dict(self._agents)
        names = dict(self._names)
        for key in wanted:
            before = agents.get(key)
            known = (before.version, before.candidate) if before else ()
            versions = {version.digest: version for version in known if version is not None}
            agent = _agent(after, key, teams, versions, self._shared)
            _put(agents, key, agent)
            if before is not None and names.get(_name(before)) == key:
                del names[_name(before)]
            if agent is not None and agent.state is not AgentState.RETIRED:
                names[_name(agent)] = key
        return agents, names

    def _with_servers(self, touched: Mapping[str, set[str]], after: StateView) -> Mapping[ServerName, ToolServer]:
        named, pinned = touched.get(rows.SERVER, set()), touched.get(rows.TOOL, set())
        if not named and not pinned:
            return self._servers
        servers = dict(self._servers)
        for key in named:
            row = after.get(rows.SERVER, key)
            before = servers.get(ServerName(key))
            _put(
                servers,
                ServerName(key),
                _server(after, key, row.doc, before.tools if before else {}) if row else None,
            )
        for key in pinned:
            name = ServerName(key.partition("/")[0])
            server, row = servers.get(name), after.get(rows.SERVER, name)
            if name in named or server is None or row is None:
                continue
            tools = dict(server.tools)
            for entry in row.doc["tools"]:
                if tool_id(name, entry["name"]) == key:
                    _put(tools, entry["name"], _tool(after, name, entry, tools.get(entry["name"])))
            servers[name] = replace(server, tools=tools)
        return servers

    def agent(self, agent: AgentId) -> Agent | None:
        return self._agents.get(agent)

    def agent_named(self, environment: str, name: str) -> Agent | None:
        """The one agent of that name in an environment."""
        found = self._names.get((environment, name))
        return None if found is None else self._agents.get(found)

    def agents(self) -> Iterable[Agent]:
        return self._agents.values()

    def person(self, address: str) -> Person | None:
        """The person with that e-mail address; the domain's letter case does not count."""
        found = self._addresses.get(same_address(address))
        return None if found is None else self._people.get(found)

    @property
    def people(self) -> Mapping[PersonId, Person]:
        """Everybody, by id."""
        return self._people

    def person_by_id(self, person: PersonId) -> Person | None:
        return self._people.get(person)

    def persons(self) -> Iterable[Person]:
        return self._people.values()

    def server(self, name: ServerName) -> ToolServer | None:
        return self._servers.get(name)

    def servers(self) -> tuple[ToolServer, ...]:
        """Every tool server, by name."""
        return tuple(self._servers[name] for name in sorted(self._servers))

    def team(self, name: str) -> Team | None:
        return next((team for team in self._teams.values() if team.name == name), None)

    def teams(self) -> tuple[Team, ...]:
        """Every team, by name."""
        return tuple(sorted(self._teams.values(), key=lambda team: team.name))

    def tool(self, tool: ToolId) -> Tool | None:
        server = self._servers.get(ServerName(tool.partition("/")[0]))
        found = None if server is None else server.tools.get(tool_name(tool))
        return found if found is not None and found.id == tool else None


def _put(into: Any, key: Any, value: Any) -> None:
    if value is None:
        into.pop(key, None)
    else:
        into[key] = value


def _team(key: str, doc: Mapping[str, Any]) -> Team:
    return Team(TeamId(key), doc["name"], frozenset(doc["zones"]))


def _named(agents: Mapping[AgentId, Agent]) -> dict[tuple[str, str], AgentId]:
    return {_name(agent): agent.id for agent in agents.values() if agent.state is not AgentState.RETIRED}


def _name(agent: Agent) -> tuple[str, str]:
    return agent.environment.value, agent.name


def _addressed(people: Mapping[PersonId, Person]) -> dict[str, PersonId]:
    return {same_address(person.email): person.id for person in people.values()}


def _agent(
    view: StateView,
    key: AgentId,
    teams: Mapping[TeamId, Team],
    versions: Mapping[Digest, AgentVersion],
    shared: dict[Digest, ToolGrant],
) -> Agent | None:
    row = view.get(rows.AGENT, key)
    if row is None:
        return None
    doc = row.doc
    team = teams.get(doc["team"])
    version = _version(view, doc["version"], versions, shared)
    candidate: Digest | None = doc.get("candidate")
    halted_from, promoted_from, registered_by, tier = (
        doc.get(name) for name in ("halted_from", "promoted_from", "registered_by", "tier")
    )
    if team is None or version is None:
        return None
    return Agent(
        id=key,
        name=doc["name"],
        team=team,
        environment=Environment(doc["environment"]),
        state=AgentState(doc["state"]),
        owner=doc["owner"],
        backup_owner=doc["backup_owner"],
        version=version,
        candidate=None if candidate is None else _version(view, candidate, versions, shared),
        halted_from=None if halted_from is None else AgentState(halted_from),
        promoted_from=None if promoted_from is None else AgentId(promoted_from),
        registered_us=doc.get("registered_us", 0),
        since_us=doc.get("state_us", 0),
        registered_by=None if registered_by is None else PersonId(registered_by),
        tier=None if tier is None else Tier(tier),
    )


def _version(
    view: StateView,
    digest: Digest,
    known: Mapping[Digest, AgentVersion],
    shared: dict[Digest, ToolGrant],
) -> AgentVersion | None:
    stored = view.get(rows.VERSION, digest)
    if stored is None:
        return None
    return known.get(digest) or version_from(stored.doc, shared=shared)


def _server(view: StateView, key: str, doc: Mapping[str, Any], before: Mapping[str, Tool]) -> ToolServer:
    name = ServerName(key)
    tools = {entry["name"]: _tool(view, name, entry, before.get(entry["name"])) for entry in doc["tools"]}
    return ToolServer(
        name=name,
        environment=Environment(doc["environment"]),
        url=doc["url"],
        credential=doc["credential"],
        tools={own: tool for own, tool in tools.items() if tool is not None},
        openapi=doc.get("openapi"),
        api=doc.get("api"),
        elicitation=frozenset(doc.get("elicitation", ())),
        revision=doc.get("revision", LATEST_REVISION),
        launch=rows.launch_from(doc["launch"]) if "launch" in doc else None,
        local="local" in doc,
    )


def _tool(view: StateView, server: ServerName, entry: Mapping[str, Any], before: Tool | None) -> Tool | None:
    own = tool_id(server, entry["name"])
    pin = view.get(rows.TOOL, own)
    if pin is None:
        return None
    pinned: Digest = pin.doc["definition"]
    if before is not None and before.definition_digest == pinned:
        definition: Mapping[str, Any] | None = before.definition
    else:
        stored = view.get(rows.DEFINITION, pinned)
        definition = read_definition(stored.doc["text"], pinned) if stored else None
    if definition is None:
        return None
    return Tool(
        id=own,
        server=server,
        name=entry["name"],
        effect=Effect(entry["effect"]),
        scope=WriteScope(entry["scope"]) if entry["scope"] else None,
        data=frozenset(entry["data"]),
        price=money_from(entry["price"]),
        definition=definition,
        definition_digest=pinned,
        allow_undeclared=entry["allow_undeclared"],
        fields=tuple((name, kind) for name, kind in entry["fields"]),
        rates=rates_from(entry.get("rates")),
    )
