"""One agent's manifest against everything registered: does all it names exist, and fit together?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from accredit.audit.ports import Row, StateView
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, PersonId, TeamId, ToolId, tool_id
from accredit.kernel.money import Money
from accredit.registry import rows
from accredit.registry.addresses import same_address
from accredit.registry.catalogue import Catalogue
from accredit.registry.conditions import argument_type, claim_type
from accredit.registry.errors import ManifestError, ManifestFault
from accredit.registry.items import item_kind, item_name
from accredit.registry.manifest import (
    AgentManifest,
    Document,
    PersonManifest,
    TeamManifest,
    TemplateManifest,
    duration_ms,
)
from accredit.registry.model import Person, Team
from accredit.registry.pinning import read_definition
from accredit.registry.versions import canonical_manifest, expiry_us

__all__ = [
    "AgentCheck",
    "agent_row",
    "called",
    "fault_at",
    "names_there",
    "person_at",
    "pinned_definition",
    "row_named",
    "shown",
    "team_named",
]


class AgentCheck:
    """One agent's manifest against everything registered."""

    def __init__(
        self,
        view: StateView,
        manifest: AgentManifest,
        *,
        likely: Catalogue,
        now_us: int,
        waiting: frozenset[str] = frozenset(),
    ) -> None:
        """`waiting` names the tool servers applied together with it that need a sign-off first."""
        self._view = view
        self._manifest = manifest
        self._likely = likely
        self._team = team_named(view, manifest.metadata.team)
        self._now_us = now_us
        self._waiting = waiting
        self._faults: list[ManifestFault] = []

    def canonical(self) -> dict[str, Any]:
        """The canonical form.

        Raises:
            ManifestError: with everything that is wrong.
        """
        spec, metadata = self._manifest.spec, self._manifest.metadata
        if self._team is None:
            self._add("metadata.team", Code.TEAM_UNKNOWN, f"no team is called `{metadata.team}`")
        owner = self._somebody("spec.owner", spec.owner)
        backup = self._somebody("spec.backupOwner", spec.backup_owner) if spec.backup_owner else None
        if backup is not None and backup == owner:
            self._add("spec.backupOwner", Code.MANIFEST_INVALID, "the backup owner is the owner", "name somebody else")
        self._hours()
        definitions = self._tools()
        delegates = self._delegates()
        self._stores()
        self._times()
        self._envelope()
        if self._faults or self._team is None or owner is None:
            raise ManifestError(self._faults)
        return canonical_manifest(
            self._manifest,
            team=self._team,
            owner=owner,
            backup_owner=backup,
            delegates=delegates,
            definitions=definitions,
        )

    def _add(self, path: str, code: Code, message: str, hint: str = "") -> None:
        self._faults.append(fault_at(self._manifest, path, code, message, hint))

    def _somebody(self, path: str, address: str) -> PersonId | None:
        person = person_at(self._view, address, self._likely.person(address))
        row = self._view.get(rows.PERSON, person) if person is not None else None
        known = rows.person_from(row.key, row.doc) if row is not None else None
        if known is None:
            self._add(path, Code.OWNER_UNKNOWN, f"`{address}` is not a registered person")
        elif known.left:
            self._add(path, Code.OWNER_UNKNOWN, f"`{address}` has left", "name somebody who is there")
        elif known.bot:
            self._add(path, Code.OWNER_UNKNOWN, f"`{address}` is a service account", "name a person")
        return person

    def _hours(self) -> None:
        spec, zones = self._manifest.spec, self._team.zones if self._team else frozenset()
        outer = None
        for path, form in [
            ("spec.hours", spec.hours),
            *((f"spec.tools[{index}].hours", entry.hours) for index, entry in enumerate(spec.tools)),
        ]:
            if form is None:
                continue
            try:
                hours = form.read()
            except InvalidInputError as error:
                self._add(path, error.code, error.message, error.hint)
                continue
            if self._team is not None and form.zone not in zones:
                self._add(f"{path}.zone", Code.ZONE_UNREGISTERED, f"the team has not registered `{form.zone}`")
            if path == "spec.hours":
                outer = hours
            elif spec.hours is None:
                hint = "set `spec.hours`; a grant only narrows them"
                self._add(path, Code.MANIFEST_INVALID, "the agent has no hours that could be narrowed", hint)
            elif outer is not None and not hours.within(outer):
                hint = "a grant may narrow the agent's hours, in their zone, never widen them"
                self._add(path, Code.MANIFEST_INVALID, "these hours are not within the agent's", hint)

    def _tools(self) -> dict[ToolId, Digest]:
        found: dict[ToolId, Digest] = {}
        spec = self._manifest.spec
        for index, form in enumerate(spec.tools):
            path = f"spec.tools[{index}]"
            for at, (own, entry, pinned) in self._offered(path, form.server, form.names):
                found[tool_id(form.server, own)] = pinned[0]
                self._mask(f"{path}.mask", own, entry, form.mask)
                if missing := sorted(set(entry["data"]) - set(form.mask) - set(spec.data)):
                    message = f"{called(own)} carries {', '.join(missing)}, which `spec.data` does not name"
                    self._add(f"{path}.{at}", Code.DATA_CLASS_UNDECLARED, message)
                for left, right in form.when.same_as.items() if form.when else ():
                    self._same(f"{path}.when.sameAs.{left}", pinned[1], left, right)
        return found

    def _offered(
        self, path: str, name: str, named: Iterable[tuple[str, str]]
    ) -> Iterator[tuple[str, tuple[str, Mapping[str, Any], tuple[Digest, Mapping[str, Any]]]]]:
        """What is there of what is `named`: each with its place, its registered facts and its pinned definition."""
        server, environment = self._view.get(rows.SERVER, name), self._manifest.metadata.environment
        if server is None:
            message = f"no tool server is called `{name}`"
            self._add(f"{path}.server", Code.TOOL_UNKNOWN, message, self._first(name))
            return
        if server.doc["environment"] != environment:
            message = f"`{name}` belongs to {server.doc['environment']}, the agent to {environment}"
            self._add(f"{path}.server", Code.ENVIRONMENT_MISMATCH, message)
            return
        entries = {entry["name"]: entry for entry in server.doc["tools"]}
        for place, own in named:
            pinned = pinned_definition(self._view, tool_id(name, own))
            if own in entries and pinned is not None:
                yield place, (own, entries[own], pinned)
                continue
            message = f"the tool server `{name}` has no registered {called(own)}"
            hint = self._first(name) or names_there(entries)
            self._add(f"{path}.{place}", Code.TOOL_UNKNOWN, message, hint)

    def _first(self, server: str) -> str:
        waits = f"the tool server `{server}` is being applied too and needs a sign-off: apply the agent after it"
        return waits if server in self._waiting else ""

    def _mask(self, path: str, own: str, entry: Mapping[str, Any], mask: Iterable[str]) -> None:
        """A mask takes classes out by the tool's registered fields; what these do not place would get through."""
        placed = {kind for _, kind in entry["fields"]} & set(entry["data"])
        if unplaced := sorted(set(mask) - placed):
            message = f"{called(own)} has no registered field that carries {', '.join(unplaced)}"
            self._add(path, Code.MASK_UNPLACEABLE, message)

    def _same(self, path: str, definition: Mapping[str, Any], left: str, right: str) -> None:
        try:
            ours = argument_type(definition["inputSchema"], left)
            theirs = claim_type((row.doc for row in self._view.scan(rows.ISSUER)), right)
        except InvalidInputError as error:
            self._add(path, error.code, error.message, error.hint)
            return
        if ours != theirs:
            self._add(path, Code.CONDITION_UNTYPED, f"`{left}` is of type {ours}, `{right}` of type {theirs}")

    def _delegates(self) -> dict[str, AgentId]:
        found: dict[str, AgentId] = {}
        environment = self._manifest.metadata.environment
        for index, delegate in enumerate(self._manifest.spec.delegates):
            at, name = f"spec.delegates[{index}]", delegate.agent
            row = agent_row(self._view, environment, name)
            if row is None:
                message = f"no agent is called `{name}` in {environment}"
                self._add(f"{at}.agent", Code.NOT_FOUND, message, "apply that agent first")
            elif name == self._manifest.metadata.name:
                self._add(f"{at}.agent", Code.MANIFEST_INVALID, "an agent does not delegate to itself")
            else:
                found[name] = AgentId(row.key)
            for place, form in enumerate(delegate.tools):
                self._delegated(f"{at}.tools[{place}]", form.server, form.allow, form.when.same_as if form.when else {})
        return found

    def _stores(self) -> None:
        environment = self._manifest.metadata.environment
        for index, form in enumerate(self._manifest.spec.stores):
            at, name = f"spec.stores[{index}]", form.store
            if name is None:
                continue
            row = self._view.get(rows.STORE, name)
            if row is None:
                waits = f"the store `{name}` is being applied too and needs a sign-off: apply the agent after it"
                hint = waits if name in self._waiting else ""
                self._add(f"{at}.store", Code.STORE_UNKNOWN, f"no store is called `{name}`", hint)
                continue
            store = rows.store_from(name, row.doc)
            if store.environment.value != environment:
                message = f"`{name}` belongs to {store.environment.value}, the agent to {environment}"
                self._add(f"{at}.store", Code.ENVIRONMENT_MISMATCH, message)
            if store.adapter != form.adapter:
                self._add(f"{at}.adapter", Code.MANIFEST_INVALID, f"the adapter of `{name}` is `{store.adapter}`")
            if form.namespace is not None and not store.holds(form.namespace):
                message = f"`{name}` is not registered for the namespace `{form.namespace}`"
                self._add(f"{at}.namespace", Code.STORE_UNKNOWN, message, f"it has {', '.join(store.namespaces[:10])}")

    def _delegated(self, path: str, server: str, allow: Iterable[str], same_as: Mapping[str, str]) -> None:
        """What is handed on counts as reached: so every data class of it must be the agent's own too."""
        named = ((f"allow[{index}]", own) for index, own in enumerate(allow))
        for place, (own, entry, pinned) in self._offered(path, server, named):
            if missing := sorted(set(entry["data"]) - set(self._manifest.spec.data)):
                message = f"{shown(own)} carries {', '.join(missing)}, which `spec.data` does not name"
                self._add(f"{path}.{place}", Code.DATA_CLASS_UNDECLARED, message)
            for left, right in same_as.items():
                self._same(f"{path}.when.sameAs.{left}", pinned[1], left, right)

    def _envelope(self) -> None:
        """An envelope says what may become of what is there: of a tool that is granted, of a limit that is lower."""
        spec, envelope = self._manifest.spec, self._manifest.spec.envelope
        if envelope is None:
            return
        granted = {tool_id(form.server, name) for form in spec.tools for _, name in form.names}
        for place, tools in enumerate(envelope.definitions):
            for index, own in enumerate(tools.allow):
                if tool_id(tools.server, own) not in granted:
                    at = f"spec.envelope.definitions[{place}].allow[{index}]"
                    self._add(at, Code.MANIFEST_INVALID, f"{shown(own)} of `{tools.server}` is not granted")
        if (most := envelope.limits) is None:
            return
        limits = spec.limits
        if most.cost is not None:
            cap = Money.parse(most.cost.per_day)
            now = Money.parse(limits.cost.per_day) if limits.cost is not None else None
            if now is None or now.currency != cap.currency:
                message = "a budget becomes higher only where the version has one in the same currency"
                self._add("spec.envelope.limits.cost", Code.MANIFEST_INVALID, message)
            elif cap.nanos < now.nanos:
                self._lower("cost")
        for name, cap_, now_ in (
            ("calls", most.calls.per_minute if most.calls else None, limits.calls.per_minute),
            ("concurrency", most.concurrency, limits.concurrency),
            ("timeout.call", _ms(most.timeout.call), duration_ms(limits.timeout.call)),
            ("timeout.run", _ms(most.timeout.run), duration_ms(limits.timeout.run)),
        ):
            if cap_ is not None and cap_ < now_:
                self._lower(name)

    def _lower(self, name: str) -> None:
        self._add(
            f"spec.envelope.limits.{name}", Code.MANIFEST_INVALID, "it is lower than the limit of the version itself"
        )

    def _times(self) -> None:
        spec = self._manifest.spec
        if duration_ms(spec.limits.timeout.call) > duration_ms(spec.limits.timeout.run):
            self._add("spec.limits.timeout", Code.MANIFEST_INVALID, "a call may not take longer than a run")
        until = expiry_us(spec.expires.isoformat()) if spec.expires else None
        if until is not None and until <= self._now_us:
            self._add("spec.expires", Code.MANIFEST_INVALID, f"{spec.expires} is past")


def _ms(text: str | None) -> int | None:
    return None if text is None else duration_ms(text)


def person_at(view: StateView, address: str, likely: Person | None = None) -> PersonId | None:
    """Who has that address; `likely` spares a search if it is still true."""
    wanted = same_address(address)
    if likely is not None:
        row = view.get(rows.PERSON, likely.id)
        if row is not None and same_address(row.doc["email"]) == wanted:
            return likely.id
    return next((PersonId(row.key) for row in view.scan(rows.PERSON) if same_address(row.doc["email"]) == wanted), None)


def team_named(view: StateView, name: str) -> Team | None:
    """The team of that name."""
    return next(
        (
            Team(TeamId(row.key), name, frozenset(row.doc["zones"]))
            for row in view.scan(rows.TEAM)
            if row.doc["name"] == name
        ),
        None,
    )


def agent_row(view: StateView, environment: str, name: str) -> Row | None:
    """The row of the one agent of that name there."""
    named = view.get(rows.AGENT_NAME, f"{environment}/{name}")
    return None if named is None else view.get(rows.AGENT, named.doc["agent"])


def row_named(document: Document, view: StateView, likely: Catalogue) -> Row | None:
    """The row of the object that a manifest is about, if there is one; `likely` spares searches."""
    match document:
        case PersonManifest():
            person = person_at(view, document.spec.email, likely.person(document.spec.email))
            return None if person is None else view.get(rows.PERSON, person)
        case AgentManifest():
            return agent_row(view, document.metadata.environment, document.metadata.name)
        case TeamManifest():
            team = team_named(view, document.metadata.name)
            return None if team is None else view.get(rows.TEAM, team.id)
        case TemplateManifest():
            team = team_named(view, document.metadata.team)
            return None if team is None else view.get(rows.TEMPLATE, f"{team.id}/{document.metadata.name}")
        case _:
            return view.get(_KEPT_AS[document.kind], document.metadata.name)


_KEPT_AS: Final = {
    "Agreement": rows.AGREEMENT,
    "ContextProvider": rows.CONTEXT_PROVIDER,
    "Directory": rows.DIRECTORY,
    "EnforcementPoint": rows.ENFORCEMENT_POINT,
    "Gate": rows.GATE,
    "Group": rows.GROUP,
    "Issuer": rows.ISSUER,
    "ModelProvider": rows.SERVER,
    "ReviewSchedule": rows.REVIEW_SCHEDULE,
    "Store": rows.STORE,
    "ToolServer": rows.SERVER,
}


def pinned_definition(view: StateView, tool: ToolId) -> tuple[Digest, Mapping[str, Any]] | None:
    """A tool's pinned definition and its digest, None if nothing is pinned.

    Raises:
        UnavailableError: something is pinned, and what is stored is not that.
    """
    pin = view.get(rows.TOOL, tool)
    if pin is None:
        return None
    stored = view.get(rows.DEFINITION, pin.doc["definition"])
    definition = read_definition(stored.doc["text"], pin.doc["definition"]) if stored else None
    if definition is None:
        raise UnavailableError(Code.STATE_UNPROVEN, f"the pinned definition of `{tool[:200]}` is missing or changed")
    return pin.doc["definition"], definition


def _label(document: Document) -> str:
    if isinstance(document, PersonManifest):
        return f"Person {document.spec.email}"
    return f"{document.kind} {document.metadata.name}"


def fault_at(document: Document, path: str, code: Code, message: str, hint: str = "") -> ManifestFault:
    """A fault of a document that could be read."""
    return ManifestFault(_label(document), path, message, hint or code.remedy, code)


def shown(name: str) -> str:
    """A name from outside, bounded and unable to imitate the text around it."""
    return f"`{ascii(name)[1:-1][:128]}`"


def called(own: str) -> str:
    """What kind of thing has that name among its server's tools, and its own name."""
    kind = item_kind(own)
    return f"tool {shown(own)}" if kind is None else f"{kind} {shown(item_name(own))}"


def names_there(known: Iterable[str]) -> str:
    """A hint with the names one could have meant."""
    names = sorted(known)
    some = ", ".join(shown(one) for one in names[:10])
    return f"there are {some}{' …' if len(names) > 10 else ''}" if names else ""
