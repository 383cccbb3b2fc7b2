"""Registers what manifests declare: people, teams, issuers, tool servers with their pinned definitions, agents.

`apply` reads everything, checks everything against a state in which all of it is already there, and only then commits
object by object in the order of `KINDS`, each in a transaction that checks it again. So a file with a fault changes
nothing; and if the ground moves in between, what was committed stands and applying the file again completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.hours import zone
from accredit.kernel.ids import AgentId, IdSource, ServerName, TeamId, ToolId, tool_id
from accredit.kernel.money import Money
from accredit.registry import rows
from accredit.registry.addresses import same_address
from accredit.registry.catalogue import Catalogue
from accredit.registry.errors import ManifestError, ManifestFault
from accredit.registry.manifest import (
    KINDS,
    AgentManifest,
    Document,
    IssuerManifest,
    PersonManifest,
    TeamManifest,
    ToolServerManifest,
    read_manifests,
)
from accredit.registry.model import Agent, AgentState, AgentVersion, Environment, ToolServer
from accredit.registry.pinning import definition_digest, definition_text
from accredit.registry.ports import DefinitionSource
from accredit.registry.registration import (
    AgentCheck,
    agent_row,
    fault_at,
    names_there,
    person_at,
    pinned_definition,
    shown,
    team_named,
)
from accredit.registry.schemas import compile_arguments
from accredit.registry.versions import (
    facets,
    money_doc,
    version_digest,
    version_from,
)

__all__ = ["ApplyOutcome", "ApplyResult", "Registry", "Repinned"]

_MAX_DOCUMENTS: Final = 1_000
_MAX_OFFERED: Final = 2_000
_MAX_HISTORY: Final = 1_000

_Definitions = Mapping[str, Mapping[str, Any]]
_Build = Callable[[StateView], Change | None]
"""One transaction: judged against a state, it gives what to write, or nothing if it is so already."""


class ApplyOutcome(StrEnum):
    """What applying one manifest did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """One applied manifest."""

    kind: str
    name: str
    """Of a person: the e-mail address."""
    id: str
    """Of people, teams and agents; of issuers and tool servers the name."""
    outcome: ApplyOutcome
    environment: str | None = None
    version: Digest | None = None
    """Of an agent: its current version."""
    facets: tuple[str, ...] = ()
    """Of an agent: the facets that changed."""


@dataclass(frozen=True, slots=True)
class Repinned:
    """A tool whose changed definition was taken over."""

    tool: ToolId
    before: Digest
    after: Digest


class Registry:
    """The one writer of the registry's rows."""

    def __init__(self, control: ControlLog, ids: IdSource, clock: Clock, definitions: DefinitionSource) -> None:
        self._control = control
        self._ids = ids
        self._clock = clock
        self._definitions = definitions
        self.catalogue = Catalogue.of(control.view)
        """Everything registered, as of now."""
        control.subscribe(self._follow)

    def _follow(self, change: Change) -> None:
        self.catalogue = self.catalogue.with_change(change, self._control.view)

    # -- reading

    def get(self, agent: AgentId) -> Agent | None:
        """The agent of that id as it stands now; from memory."""
        return self.catalogue.agent(agent)

    def versions(self, agent: AgentId) -> tuple[AgentVersion, ...]:
        """Every version that was current, oldest first; one that came back stands there again.

        Raises:
            NotFoundError: no such agent.
        """
        row = self._control.view.get(rows.AGENT, agent)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        stored = [self._control.view.get(rows.VERSION, entry["version"]) for entry in row.doc["history"]]
        return tuple(version_from(each.doc) for each in stored if each is not None)

    # -- applying

    async def apply(self, files: Iterable[tuple[str, str | bytes]], actor: Actor) -> list[ApplyResult]:
        """Apply the manifests of some files, given as (name, text). Applying them again changes nothing.

        Raises:
            ManifestError: with every fault found; nothing was changed.
            InvalidInputError: a file cannot be read at all.
            UnavailableError: a tool server could not be asked for its definitions, or a change not made durable.
        """
        documents: list[Document] = []
        faults: list[ManifestFault] = []
        for name, text in files:
            try:
                documents += read_manifests(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
            except ManifestError as error:
                faults += error.faults
            except InvalidInputError as error:
                faults.append(ManifestFault(f"file `{ascii(name)[1:-1][:200]}`", "", error.message, error.hint))
        if faults:
            raise ManifestError(faults)
        return await self.apply_documents(documents, actor)

    async def apply_documents(self, documents: Sequence[Document], actor: Actor) -> list[ApplyResult]:
        """Apply manifests that were read already.

        Raises:
            ManifestError: with every fault found; nothing was changed.
            UnavailableError: a tool server could not be asked for its definitions, or a change not made durable.
        """
        if len(documents) > _MAX_DOCUMENTS:
            raise InvalidInputError(
                Code.MANIFEST_INVALID, f"more than {_MAX_DOCUMENTS} manifests", hint="apply in parts"
            )
        order = list(KINDS)
        ordered = sorted(documents, key=lambda document: order.index(document.kind))
        faults = [*_declared_twice(ordered), *(fault for document in ordered for fault in _production(document))]
        if faults:
            raise ManifestError(faults)
        offers = {
            document.metadata.name: await self._offer(document)
            for document in ordered
            if isinstance(document, ToolServerManifest)
        }
        planned = rows.Overlay(self._control.view)
        for document in ordered:
            try:
                for step in self._steps(document, offers, actor):
                    change = step(self._proven(planned))
                    planned.put(change.writes if change else ())
            except ManifestError as error:
                faults += error.faults
        if faults:
            raise ManifestError(faults)
        return [await self._commit(document, offers, actor) for document in ordered]

    async def _commit(self, document: Document, offers: Mapping[str, _Definitions], actor: Actor) -> ApplyResult:
        made: list[Change] = []

        def recorded(step: _Build) -> Callable[[StateView], Change | None]:
            def build(view: StateView) -> Change | None:
                change = step(self._proven(view))
                if change is not None:
                    made.append(change)
                return change

            return build

        for step in self._steps(document, offers, actor):
            await self._control.transact(recorded(step))
        return self._result(document, made)

    def _result(self, document: Document, made: Sequence[Change]) -> ApplyResult:
        outcome = ApplyOutcome.UNCHANGED
        if made:
            registered = made[0].facts.kind.endswith(".registered")
            outcome = ApplyOutcome.CREATED if registered else ApplyOutcome.UPDATED
        view = self._proven(self._control.view)
        match document:
            case PersonManifest():
                person = person_at(view, document.spec.email, self.catalogue.person(document.spec.email))
                return ApplyResult("Person", document.spec.email, person or "", outcome)
            case TeamManifest():
                team = team_named(view, document.metadata.name)
                return ApplyResult("Team", document.metadata.name, team.id if team else "", outcome)
            case IssuerManifest():
                return ApplyResult("Issuer", document.metadata.name, document.metadata.name, outcome)
            case ToolServerManifest():
                name = document.metadata.name
                return ApplyResult("ToolServer", name, name, outcome, document.metadata.environment)
            case AgentManifest():
                name, environment = document.metadata.name, document.metadata.environment
                agent = self.catalogue.agent_named(environment, name)
                changed = made[0].body.get("facets_changed", ()) if made else ()
                return ApplyResult(
                    "Agent",
                    name,
                    agent.id if agent else "",
                    outcome,
                    environment,
                    agent.version.digest if agent else None,
                    tuple(changed),
                )

    def _steps(self, document: Document, offers: Mapping[str, _Definitions], actor: Actor) -> Iterator[_Build]:
        match document:
            case PersonManifest():
                yield partial(self._put_person, document, actor)
            case TeamManifest():
                yield partial(self._put_team, document, actor)
            case IssuerManifest():
                yield partial(self._put_issuer, document, actor)
            case ToolServerManifest():
                offer = offers[document.metadata.name]
                yield partial(self._put_server, document, offer, actor)
                for own in document.spec.tools:
                    yield partial(self._pin, document, own, offer, actor)
            case AgentManifest():
                yield partial(self._put_agent, document, actor)

    # -- people, teams, issuers

    def _put_person(self, manifest: PersonManifest, actor: Actor, view: StateView) -> Change | None:
        address = same_address(manifest.spec.email)
        for row in view.scan(rows.PERSON):
            known = same_address(row.doc["email"])
            if known == address:
                return None
            if known.lower() == address.lower():
                raise _fault(
                    manifest,
                    "spec.email",
                    Code.CONFLICT,
                    f"`{address}` differs from a registered address in letter case alone",
                    "write it as it is registered",
                )
        person = self._ids.new("psn")
        doc = {"email": address, "salt": self._ids.secret(16).hex()}
        return Change(Facts("person.registered"), (Write(rows.PERSON, person, doc),), actor, {"person": person})

    def _put_team(self, manifest: TeamManifest, actor: Actor, view: StateView) -> Change | None:
        for index, name in enumerate(manifest.spec.zones):
            try:
                zone(name)
            except InvalidInputError as error:
                raise _fault(manifest, f"spec.zones[{index}]", error.code, error.message, error.hint) from error
        known = team_named(view, manifest.metadata.name)
        doc = {"name": manifest.metadata.name, "zones": sorted(manifest.spec.zones)}
        if known is not None and known.zones == frozenset(doc["zones"]):
            return None
        team = known.id if known else TeamId(self._ids.new("team"))
        kind = "team.updated" if known else "team.registered"
        return Change(Facts(kind), (Write(rows.TEAM, team, doc),), actor, {"team": team, **doc})

    def _put_issuer(self, manifest: IssuerManifest, actor: Actor, view: StateView) -> Change | None:
        spec, name = manifest.spec, manifest.metadata.name
        doc = {
            "audience": spec.audience,
            "claims": dict(sorted(spec.claims.items())),
            "issuer": spec.issuer,
            "jwks": spec.jwks.model_dump(exclude_none=True, by_alias=True),
            "name": name,
            # pairs, not an object: names of roles need not be ASCII, keys must
            "role_names": [list(pair) for pair in sorted(spec.role_names.items())] if spec.use == "user" else [],
            "roles_claim": spec.roles_claim if spec.use == "user" else None,
            "status_url": spec.status_url if spec.use == "task" else None,
            "token_type": spec.token_type if spec.use == "user" else None,
            "use": spec.use,
        }
        row = view.get(rows.ISSUER, name)
        if row is not None and row.doc.get("revoked"):
            # registering it again would revive what was revoked
            raise _fault(
                manifest, "metadata.name", Code.CREDENTIAL_REVOKED, f"the issuer `{name}` was revoked",
                "register it under another name, with new keys",
            )  # fmt: skip
        if row is not None and {key: row.doc.get(key) for key in doc} == doc:
            return None
        # tokens rest on the name: one that came to mean another issuer would vouch for what it never said
        faults = [
            fault_at(
                manifest, f"spec.{path}", Code.CONFLICT, f"the issuer `{name}` is registered with another",
                "register it under another name",
            )
            for path in ("issuer", "use")
            if row is not None and row.doc[path] != doc[path]
        ]  # fmt: skip
        for other in view.scan(rows.ISSUER):
            if other.key == name or other.doc.get("revoked") or other.doc.get("use") != spec.use:
                continue
            if other.doc["issuer"] == spec.issuer:
                faults.append(
                    fault_at(manifest, "spec.issuer", Code.CONFLICT, "another issuer of this use has this address")
                )
            # a policy reads `context.task.customer_id` whoever vouched for it, so it has one type
            faults += [
                fault_at(
                    manifest, f"spec.claims.{claim}", Code.CONDITION_UNTYPED, "another issuer gives it another type"
                )
                for claim, kind in spec.claims.items()
                if other.doc["claims"].get(claim, kind) != kind
            ]
        if faults:
            raise ManifestError(faults)
        body = {"issuer": name, "use": spec.use, "kids": [key.kid for key in spec.jwks.keys]}
        write = Write(rows.ISSUER, name, {**(row.doc if row else {}), **doc})
        return Change(Facts("issuer.updated" if row else "issuer.registered"), (write,), actor, body)

    # -- tool servers

    async def _offer(self, manifest: ToolServerManifest) -> _Definitions:
        """What the server offers, if one of its tools is not pinned yet: else nobody needs to ask."""
        name, view = manifest.metadata.name, self._proven(self._control.view)
        if all(view.get(rows.TOOL, tool_id(name, own)) for own in manifest.spec.tools):
            return {}
        asked = ToolServer(
            ServerName(name),
            Environment(manifest.metadata.environment),
            manifest.spec.url,
            manifest.spec.credential,
            {},
        )
        return await self._ask(asked)

    async def _ask(self, server: ToolServer) -> _Definitions:
        try:
            offered = await self._definitions.fetch(server)
        except UnavailableError as error:
            raise UnavailableError(
                error.code,
                f"tool server `{server.name}` could not be asked for its tools: {error.message}",
                hint=error.hint,
                cause=error.cause,
            ) from error
        if len(offered) > _MAX_OFFERED:
            raise UnavailableError(
                Code.UPSTREAM_OVERSIZED, f"tool server `{server.name}` offers more than {_MAX_OFFERED} tools"
            )
        for name, definition in offered.items():
            if not isinstance(definition, Mapping) or definition.get("name") != name:
                raise UnavailableError(
                    Code.UPSTREAM_INVALID,
                    f"tool server `{server.name}` defines its tool {shown(name)} under another name",
                )
        return offered

    def _put_server(
        self, manifest: ToolServerManifest, offer: _Definitions, actor: Actor, view: StateView
    ) -> Change | None:
        name, environment, spec = manifest.metadata.name, manifest.metadata.environment, manifest.spec
        row = view.get(rows.SERVER, name)
        if row is not None and row.doc["environment"] != environment:
            # the name alone stands in tool ids and addresses, so it means one server
            raise _fault(
                manifest, "metadata.name", Code.NAME_TAKEN,
                f"the tool server `{name}` belongs to {row.doc['environment']}", "choose another name",
            )  # fmt: skip
        faults = [fault for own in spec.tools for fault in self._tool_faults(view, manifest, own, offer)]
        if faults:
            raise ManifestError(faults)
        tools = [
            {
                "allow_undeclared": form.allow_undeclared,
                "data": sorted(form.data),
                "effect": form.effect,
                "fields": [list(pair) for pair in sorted(form.fields.items())],
                "name": own,
                "price": money_doc(Money.parse(form.price)) if form.price is not None else None,
                "scope": form.scope if form.effect == "write" else None,
            }
            for own, form in sorted(spec.tools.items())
        ]
        doc = {"credential": spec.credential, "environment": environment, "tools": tools, "url": spec.url}
        if row is not None and row.doc == doc:
            return None
        return Change(
            Facts("server.updated" if row else "server.registered", environment=environment),
            (Write(rows.SERVER, name, doc),),
            actor,
            {"server": name, "url": spec.url, "tools": [tool_id(name, own) for own in sorted(spec.tools)]},
        )

    def _tool_faults(
        self, view: StateView, manifest: ToolServerManifest, own: str, offer: _Definitions
    ) -> Iterator[ManifestFault]:
        """What keeps a tool from being pinned, or its pinned schema from being compiled as is asked now."""
        path, tool = f"spec.tools.{shown(own)}", tool_id(manifest.metadata.name, own)
        pinned = pinned_definition(view, tool)
        definition = offer.get(own) if pinned is None else pinned[1]
        if definition is None:
            yield fault_at(
                manifest, path, Code.TOOL_UNKNOWN, f"the server offers no tool {shown(own)}", names_there(offer)
            )
            return
        try:
            definition_text(definition)
            compile_arguments(definition.get("inputSchema"), allow_undeclared=manifest.spec.tools[own].allow_undeclared)
        except InvalidInputError as error:
            yield fault_at(manifest, path, error.code, error.message, error.hint)

    def _pin(
        self, manifest: ToolServerManifest, own: str, offer: _Definitions, actor: Actor, view: StateView
    ) -> Change | None:
        name = manifest.metadata.name
        tool = tool_id(name, own)
        if view.get(rows.TOOL, tool) is not None:
            # INVARIANT: a pin once made changes by `repin` alone, even if the tool was dropped and listed again
            return None
        form = manifest.spec.tools[own]
        digest = definition_digest(offer[own])
        facts = Facts(
            "tool.pinned",
            environment=manifest.metadata.environment,
            tool=tool,
            effect=form.effect,
            scope=form.scope if form.effect == "write" else None,
            data_classes=tuple(sorted(form.data)),
        )
        return Change(facts, self._pinning(tool, offer[own]), actor, {"definition": digest, "tool": tool})

    def _pinning(self, tool: ToolId, definition: Mapping[str, Any]) -> tuple[Write, ...]:
        digest = definition_digest(definition)
        return (
            Write(rows.DEFINITION, digest, {"text": definition_text(definition)}),
            Write(rows.TOOL, tool, {"definition": digest, "pinned_us": self._clock.now().wall_us}),
        )

    async def repin(self, server: ServerName, tool: str | None, actor: Actor) -> tuple[Repinned, ...]:
        """Take over what the server offers now for one of its registered tools, or all; says what changed.

        Raises:
            NotFoundError: no such server, or no such registered tool.
            InvalidInputError: the server does not offer a tool any more, or its new schema is refused; nothing changed.
            UnavailableError: the server could not be asked, or a change not made durable.
        """
        known = self.catalogue.server(server)
        if known is None:
            raise NotFoundError(Code.SERVER_UNKNOWN, f"no tool server is called `{server[:80]}`")
        if tool is not None and tool not in known.tools:
            raise NotFoundError(Code.TOOL_UNKNOWN, f"the tool server `{server}` has no registered tool {shown(tool)}")
        wanted = sorted(known.tools) if tool is None else [tool]
        offered = await self._ask(known)
        fresh: dict[str, Mapping[str, Any]] = {}
        for own in wanted:
            if own not in offered:
                raise InvalidInputError(
                    Code.TOOL_UNKNOWN, f"the tool server `{server}` does not offer {shown(own)} any more",
                    hint="remove the tool from the server's manifest",
                )  # fmt: skip
            if definition_digest(offered[own]) != known.tools[own].definition_digest:
                compile_arguments(offered[own].get("inputSchema"), allow_undeclared=known.tools[own].allow_undeclared)
                fresh[own] = offered[own]
        repinned: list[Repinned] = []
        for own, definition in fresh.items():
            one = Repinned(known.tools[own].id, known.tools[own].definition_digest, definition_digest(definition))
            await self._control.transact(partial(self._repin, known, own, one, offered, actor))
            repinned.append(one)
        return tuple(repinned)

    def _repin(
        self, server: ToolServer, own: str, one: Repinned, offered: _Definitions, actor: Actor, view: StateView
    ) -> Change:
        row = self._proven(view).get(rows.TOOL, one.tool)
        if row is None or row.doc["definition"] != one.before:
            raise InvalidInputError(Code.CONFLICT, f"the pin of {shown(own)} changed meanwhile", hint="look again")
        tool = server.tools[own]
        facts = Facts(
            "tool.repinned",
            environment=server.environment.value,
            tool=one.tool,
            effect=tool.effect.value,
            scope=tool.scope.value if tool.scope else None,
            data_classes=tuple(sorted(tool.data)),
        )
        body = {"after": one.after, "before": one.before, "tool": one.tool}
        return Change(facts, self._pinning(one.tool, offered[own]), actor, body)

    # -- agents

    def _put_agent(self, manifest: AgentManifest, actor: Actor, view: StateView) -> Change | None:
        name, environment = manifest.metadata.name, manifest.metadata.environment
        team = team_named(view, manifest.metadata.team)
        row = agent_row(view, environment, name)
        if row is not None and team is not None and row.doc["team"] != team.id:
            raise _fault(
                manifest, "metadata.name", Code.NAME_TAKEN, f"another team has an agent `{name}` in {environment}"
            )
        now = self._clock.now().wall_us
        form = AgentCheck(view, manifest, likely=self.catalogue, now_us=now).canonical()
        digest, parts = version_digest(form), facets(form)
        if row is not None and row.doc["version"] == digest:
            return None
        agent = AgentId(row.key if row else self._ids.new("agt"))
        before = view.get(rows.VERSION, row.doc["version"]) if row else None
        doc = {
            "backup_owner": form["spec"]["backupOwner"],
            "environment": environment,
            "history": [*(row.doc["history"] if row else ()), {"at_us": now, "version": digest}][-_MAX_HISTORY:],
            "name": name,
            "owner": form["spec"]["owner"],
            "state": row.doc["state"] if row else AgentState.DRAFT.value,
            "team": form["metadata"]["team"],
            "version": digest,
        }
        writes = [Write(rows.AGENT, agent, doc)]
        if row is None:
            writes.append(Write(rows.AGENT_NAME, f"{environment}/{name}", {"agent": agent}))
        if view.get(rows.VERSION, digest) is None:
            writes.append(Write(rows.VERSION, digest, {"digest": digest, "facets": parts, "manifest": form}))
        body: dict[str, Any] = {"facets": parts, "name": name, "owner": doc["owner"], "team": doc["team"]}
        if row is not None:
            known = before.doc["facets"] if before else {}
            body["previous"] = row.doc["version"]
            body["facets_changed"] = sorted(facet for facet in parts if parts[facet] != known.get(facet))
        facts = Facts(
            "agent.versioned" if row else "agent.registered", agent=agent, version=digest, environment=environment
        )
        return Change(facts, tuple(writes), actor, body)

    def _proven(self, view: StateView) -> StateView:
        return rows.ProvenRows(view, self._control.unproven)


def _fault(document: Document, path: str, code: Code, message: str, hint: str = "") -> ManifestError:
    return ManifestError([fault_at(document, path, code, message, hint)])


def _key(document: Document) -> tuple[str, ...]:
    match document:
        case PersonManifest():
            return ("Person", same_address(document.spec.email))
        case AgentManifest():
            return ("Agent", document.metadata.environment, document.metadata.name)
        case _:
            return (document.kind, document.metadata.name)


def _declared_twice(documents: Sequence[Document]) -> Iterator[ManifestFault]:
    seen: set[tuple[str, ...]] = set()
    for document in documents:
        if _key(document) in seen:
            yield fault_at(document, "metadata.name", Code.NAME_TAKEN, "declared twice in what is applied", "keep one")
        seen.add(_key(document))


def _production(document: Document) -> Iterator[ManifestFault]:
    """Until approvals exist, a draft and a tool server without clearance live in development only (DESIGN §6)."""
    if isinstance(document, AgentManifest | ToolServerManifest) and document.metadata.environment != "development":
        environment = document.metadata.environment
        yield fault_at(document, "metadata.environment", Code.PRODUCTION_REFUSED, f"nothing enters {environment} yet")
