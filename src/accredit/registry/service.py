"""Registers what manifests declare, moves agents through their states, and writes all else this room keeps.

`apply` reads everything, checks everything against a state in which all of it is already there, and only then commits
object by object, what others name first, each in a transaction that checks it again. So a file with a fault changes
nothing; and if the ground moves in between, what was committed stands and applying the file again completes it.

What takes two persons is not committed but proposed (docs/adr/0006): the result says so, and `enact` writes it once it
is signed off. While there is only one administrator nothing can be proposed, and nothing enters staging or production.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

import orjson

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, Row, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, IdSource, PersonId, ServerName, TeamId, ToolId, tool_id
from accredit.registry import rows
from accredit.registry.appointments import (
    check_grantable,
    delegation_ended,
    keeps_administrators,
    person_left,
    role_delegated,
    role_revoked,
)
from accredit.registry.catalogue import Catalogue
from accredit.registry.certifiability import uncertifiable
from accredit.registry.declarations import (
    UNKNOWN_REVISION,
    Build,
    Declarations,
    Definitions,
    author,
    declared_twice,
    launch_awaits,
    local_definitions,
    not_alone,
    pinning,
    place,
    server_of,
    some_of,
)
from accredit.registry.directories import DIRECTORY_KINDS, Entitlements, directory_from
from accredit.registry.errors import ManifestError, ManifestFault
from accredit.registry.field_owners import Managed, managed_fields, managed_from
from accredit.registry.handover import declared_without, handed_over
from accredit.registry.incidents import incident_closed, incident_frozen, incident_opened, incident_raised
from accredit.registry.items import item_kind
from accredit.registry.lifecycle import AgentEvent, AgentStep, Inapplicable, after
from accredit.registry.llm_models import model_definition
from accredit.registry.manifest import (
    AgentManifest,
    AgreementManifest,
    ContextProviderManifest,
    DirectoryManifest,
    Document,
    EnforcementPointManifest,
    GateManifest,
    GroupManifest,
    IssuerManifest,
    ModelProviderManifest,
    PersonManifest,
    ReviewScheduleManifest,
    StoreManifest,
    TeamManifest,
    TemplateManifest,
    ToolServerManifest,
    read_manifests,
)
from accredit.registry.mappings import declared_mapping
from accredit.registry.model import (
    Agent,
    AgentState,
    AgentVersion,
    Agreement,
    Environment,
    GateRule,
    Incident,
    Restriction,
    RestrictionKind,
    ReviewSchedule,
    Role,
    Store,
    Tier,
    ToolServer,
)
from accredit.registry.organisation import Delegation, Organisation
from accredit.registry.pinning import definition_digest, differs_in_little, read_definition
from accredit.registry.planning import PlannedAction, PlannedObject, field_changes, object_name
from accredit.registry.poisoning import ToolNames
from accredit.registry.ports import DefinitionSource
from accredit.registry.prices import PriceBook
from accredit.registry.proposals import (
    Proposal,
    as_enacted,
    enact_directory,
    enact_gate,
    enact_group,
    enact_pins,
    enact_repin,
    enact_role,
    enact_server,
    enact_store,
    enact_template,
    enact_vouching,
    issuer_body,
    proposal_digest,
    proposed,
    repin_content,
    role_content,
    subject_kind,
)
from accredit.registry.provisioning import Provisioning, kept_groups
from accredit.registry.registration import called, fault_at, person_at, row_named, shown, team_named
from accredit.registry.restating import Names, Restated, restated, restated_row, restated_version
from accredit.registry.restraints import agent_restricted, restriction_lifted
from accredit.registry.schemas import compile_arguments
from accredit.registry.tables import ORGANISATION_KINDS, Tables
from accredit.registry.templates import Template
from accredit.registry.versions import version_from

__all__ = ["ApplyOutcome", "ApplyResult", "Registry", "Repinned", "read_files"]

_Asked = TypeVar("_Asked")

_MAX_DOCUMENTS: Final = 1_000
_MAX_OFFERED: Final = 2_000
_MAX_REASON: Final = 2_000
_PINS_AT_ONCE: Final = 80
_NARROWING: Final = frozenset({AgentEvent.SUSPEND, AgentEvent.QUARANTINE, AgentEvent.RETIRE})
_RECORDED: Final[Mapping[AgentEvent, str]] = {
    AgentEvent.SUBMIT: "agent.submitted",
    AgentEvent.APPROVE: "agent.approved",
    AgentEvent.REJECT: "agent.rejected",
    AgentEvent.WITHDRAW: "agent.withdrawn",
    AgentEvent.LAPSE: "agent.lapsed",
    AgentEvent.ACTIVATE: "agent.activated",
    AgentEvent.SUSPEND: "agent.suspended",
    AgentEvent.RESUME: "agent.resumed",
    AgentEvent.QUARANTINE: "agent.quarantined",
    AgentEvent.LIFT: "agent.lifted",
    AgentEvent.RETIRE: "agent.retiring",
    AgentEvent.RETIRED: "agent.retired",
}
"""The kind of record of each event; a declaration has its own."""
_OF_THE_DECLARED: Final = frozenset(
    {
        AgentEvent.SUBMIT,
        AgentEvent.APPROVE,
        AgentEvent.REJECT,
        AgentEvent.WITHDRAW,
        AgentEvent.LAPSE,
        AgentEvent.ACTIVATE,
    }
)
"""Events that speak of the newest version declared, not of the one in force."""


class ApplyOutcome(StrEnum):
    """What applying one manifest did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    """Something moved after the first objects were written: it is as it was, and so is what rests on it."""
    PENDING = "pending"
    """Nothing is in force yet: it takes two persons and waits for sign-off."""


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
    """Of an agent: the newest declared, in force or not."""
    facets: tuple[str, ...] = ()
    """Of an agent: the facets that changed."""
    expires: str | None = None
    """Of an agent: the last day on which it runs, be it one that nobody named."""
    proposal: Proposal | None = None
    """What waits, if it is pending: to be kept, and signed off."""
    fault: str | None = None
    """Why it failed."""
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a tool server: what is noticeable about definitions it was registered with (`poisoning.py`), by tool. Of an
    agent: which of its stores cannot be certified, and why."""


@dataclass(frozen=True, slots=True)
class Repinned:
    """A tool whose changed definition was taken over."""

    tool: ToolId
    before: Digest
    after: Digest
    flags: tuple[str, ...] = ()
    """What is noticeable about the new one (`poisoning.py`)."""


class Registry:
    """The one writer of the registry's rows."""

    def __init__(
        self,
        control: ControlLog,
        ids: IdSource,
        clock: Clock,
        definitions: DefinitionSource,
        *,
        bootstrapping: Callable[[], bool],
        prices: PriceBook | None = None,
        development_days: int = 0,
    ) -> None:
        """`bootstrapping` says whether there are not two administrators yet; without `prices` lists alone hold.

        `development_days` is how long an agent in development runs that names no last day; 0: for good.
        """
        self._control = control
        self._ids = ids
        self._clock = clock
        self._definitions = definitions
        self._bootstrapping = bootstrapping
        self.catalogue = Catalogue.of(control.view)
        """Everything registered, as of now."""
        self._tables = Tables(control.view)
        self.entitlements = Entitlements.of(control.view)
        """What directories say of people, as of now."""
        self._declarations = Declarations(
            ids,
            clock,
            catalogue=lambda: self.catalogue,
            organisation=lambda: self.organisation,
            entitlements=lambda: self.entitlements,
            prices=prices or PriceBook(clock),
            development_days=development_days,
        )
        control.subscribe(self._follow)
        self.provisioning = Provisioning(
            control,
            ids,
            clock,
            entitlements=lambda: self.entitlements,
            organisation=self._proven_for_directories,
            find_person=lambda view, address: person_at(view, address, self.catalogue.person(address)),
        )
        """The one writer of users and groups of directories."""

    def _follow(self, change: Change) -> None:
        self.catalogue = self.catalogue.with_change(change, self._control.view)
        self._tables.follow(change)
        self.entitlements = self.entitlements.after(change.writes)

    # -- reading

    def get(self, agent: AgentId) -> Agent | None:
        """The agent of that id as it stands now; from memory."""
        return self.catalogue.agent(agent)

    def versions(self, agent: AgentId) -> tuple[AgentVersion, ...]:
        """Every version that was declared, oldest first; one that came back stands there again.

        Raises:
            NotFoundError: no such agent.
        """
        row = self._agent_row(agent, self._control.view)
        stored = [self._control.view.get(rows.VERSION, entry["version"]) for entry in row.doc["history"]]
        return tuple(version_from(each.doc) for each in stored if each is not None)

    def differs_in_little(self, approved: Digest, now: Digest) -> bool:
        """Whether one pinned definition differs from another in little alone; no, if one of them is not known."""
        found = []
        for digest in (approved, now):
            row = self._control.view.get(rows.DEFINITION, digest)
            read = None if row is None else read_definition(row.doc["text"], digest)
            if read is None:
                return False
            found.append(read)
        return differs_in_little(*found)

    def definition_text(self, digest: Digest) -> str | None:
        """The text of a pinned definition; None if there is none of that digest."""
        row = self._control.view.get(rows.DEFINITION, digest)
        return None if row is None else str(row.doc["text"])

    def stated(self, version: AgentVersion) -> Restated:
        """A version as a manifest says it now.

        Raises:
            UnavailableError: the log contradicts a row it takes.
        """
        return self.stated_form(version.manifest)

    def stated_form(self, form: Mapping[str, Any]) -> Restated:
        """The same of a canonical manifest that need not be a version. Raises as `stated`."""
        return restated_version(form, Names(self._proven(self._control.view)))

    def restated(self) -> tuple[Restated, ...]:
        """Everything that is registered and still there, as manifests. May be called from a thread.

        Raises:
            UnavailableError: the log contradicts a row it takes.
        """
        return tuple(restated(self._proven(self._control.view)))

    def granted_since(self, agent: AgentId) -> Mapping[ToolId, int]:
        """Since when each tool and model of the version in force stands in every version that was declared.

        Raises:
            NotFoundError: no such agent.
        """
        found = self._registered(agent)
        history = self._agent_row(agent, self._control.view).doc["history"]
        end = max((at for at, entry in enumerate(history) if entry["version"] == found.version.digest), default=-1)
        still = {grant.tool for grant in found.version.every_grant}
        since = dict.fromkeys(still, history[end]["at_us"] if end >= 0 else found.registered_us)
        for entry in reversed(history[: max(end, 0)]):
            stored = self._control.view.get(rows.VERSION, entry["version"])
            if stored is None:
                break
            still &= {grant.tool for grant in version_from(stored.doc).every_grant}
            if not still:
                break
            since |= dict.fromkeys(still, entry["at_us"])
        return since

    def authors(self, agent: AgentId) -> frozenset[PersonId]:
        """Who had a hand in the newest version declared: everybody who declared one since that in force was declared.

        Somebody's change that a later declaration took over is still theirs.

        Raises:
            NotFoundError: no such agent.
        """
        doc = self._agent_row(agent, self._control.view).doc
        history = doc["history"]
        since = 0
        if doc.get("candidate") is not None:
            since = max((at + 1 for at, entry in enumerate(history) if entry["version"] == doc["version"]), default=0)
        newest = doc.get("candidate") or doc["version"]
        return frozenset(
            PersonId(entry["by"])
            for at, entry in enumerate(history)
            if entry.get("by") and (at >= since or entry["version"] == newest)
        )

    @property
    def organisation(self) -> Organisation:
        """People, groups, roles, delegations and ties as of now; rows the log contradicts are not in it."""
        return self._tables.organisation(self.catalogue.people)

    def proven_organisation(self) -> Organisation:
        """The same, for whoever decides on votes: somebody barred by a row that was tampered with must stay barred.

        Raises:
            UnavailableError: the log contradicts a row of it (`state_unproven`).
        """
        self._require_proven(ORGANISATION_KINDS)
        return self.organisation

    def _proven_for_directories(self) -> Organisation:
        self._require_proven({*ORGANISATION_KINDS, *DIRECTORY_KINDS})
        return self.organisation

    @property
    def agreements(self) -> Mapping[str, Agreement]:
        """Agreements with suppliers, by name; some may be over."""
        return self._tables.agreements

    def gate(self, name: str) -> GateRule | None:
        """What the organisation asks of a gate beyond what is built in, by the name of its tier or kind.

        Raises:
            UnavailableError: the log contradicts a gate's row.
        """
        self._require_proven({rows.GATE})
        return self._tables.gate(name)

    def templates_of(self, team: TeamId) -> tuple[Template, ...]:
        """The templates of a team, by name; some may be over.

        Raises:
            UnavailableError: the log contradicts a template's row.
        """
        self._require_proven({rows.TEMPLATE})
        return self._tables.templates_of(team)

    @property
    def stores(self) -> Mapping[str, Store]:
        """Registered stores of memory and knowledge, by name.

        Raises:
            UnavailableError: the log contradicts a store's row.
        """
        self._require_proven({rows.STORE})
        return self._tables.stores

    @property
    def review_schedules(self) -> tuple[ReviewSchedule, ...]:
        """Schedules of reviews, by name.

        Raises:
            UnavailableError: the log contradicts a schedule's row.
        """
        self._require_proven({rows.REVIEW_SCHEDULE})
        return self._tables.review_schedules

    def restrictions_of(self, agent: AgentId) -> tuple[Restriction, ...]:
        """The agent's restrictions that were not lifted, oldest first; some may be over.

        Raises:
            UnavailableError: the log contradicts a restriction's row.
        """
        self._require_proven({rows.RESTRICTION})
        return tuple(sorted(self._tables.restrictions_of(agent), key=lambda one: (one.opened_us, one.id)))

    def narrowings_of(self, agent: AgentId) -> tuple[Restriction, ...]:
        """The same, and what the agent may not do because its owner has no right to it.

        Raises:
            UnavailableError: the log contradicts a row of either.
        """
        self._require_proven(DIRECTORY_KINDS)
        found = self.catalogue.agent(agent)
        return (*self.restrictions_of(agent), *(self.entitlements.lost_by(found) if found is not None else ()))

    def restriction(self, restriction: str) -> Restriction | None:
        """The restriction of that id, if it was not lifted; from memory."""
        return self._tables.restriction(restriction)

    def incident(self, incident: str) -> Incident | None:
        """The incident of that id; from memory."""
        return self._tables.incident(incident)

    def incidents(self) -> tuple[Incident, ...]:
        """Every incident, oldest first, closed ones included. Raises as `incidents_of`."""
        self._require_proven({rows.INCIDENT})
        return tuple(sorted(self._tables.incidents, key=lambda one: (one.opened_us, one.id)))

    def incidents_of(self, agent: AgentId) -> tuple[Incident, ...]:
        """The agent's incidents, oldest first, closed ones included.

        Raises:
            UnavailableError: the log contradicts an incident's row.
        """
        self._require_proven({rows.INCIDENT})
        return tuple(sorted(self._tables.incidents_of(agent), key=lambda one: (one.opened_us, one.id)))

    def _require_proven(self, kinds: Iterable[str]) -> None:
        if (unproven := self._control.unproven) and (lost := {kind for kind, _ in unproven} & set(kinds)):
            raise UnavailableError(Code.STATE_UNPROVEN, f"a stored {min(lost)} is not what the audit log proves")

    def _agent_row(self, agent: AgentId, view: StateView) -> Row:
        row = view.get(rows.AGENT, agent)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return row

    def _registered(self, agent: AgentId) -> Agent:
        found = self.catalogue.agent(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found

    # -- applying

    async def apply(self, files: Iterable[tuple[str, str | bytes]], actor: Actor) -> list[ApplyResult]:
        """Apply the manifests of some files, given as (name, text). Applying them again changes nothing.

        Raises:
            ManifestError: with every fault found; nothing was changed.
            InvalidInputError: a file cannot be read at all.
            UnavailableError: a tool server could not be asked for its definitions, or a change not made durable.
        """
        return await self.apply_documents(read_files(files), actor)

    async def apply_documents(
        self, documents: Sequence[Document], actor: Actor, *, manager: str | None = None, force: bool = False
    ) -> list[ApplyResult]:
        """Apply manifests that were read already, under the name of a field manager if there is one.

        What is managed under another name is not changed, or with `force` taken over (`field_owners.py`).

        Raises:
            ManifestError: with every fault found; nothing was changed.
            UnavailableError: a tool server could not be asked for its definitions, or a change not made durable.
        """
        planned, offers = await self._planned(documents, actor, manager, force=force)
        if faults := [fault for each in planned for fault in each.faults]:
            raise ManifestError(faults)
        results: list[ApplyResult] = []
        for each in planned:
            try:
                results.append(await self._commit(each, offers, actor, manager))
            except AccreditError as error:
                if not any(one.outcome is not ApplyOutcome.UNCHANGED for one in results):
                    raise  # nothing of it was done
                failed = ApplyResult(each.kind, each.name, "", ApplyOutcome.FAILED, each.environment)
                results.append(replace(failed, fault=error.message))
        return results

    async def plan(
        self, documents: Sequence[Document], actor: Actor, *, manager: str | None = None, force: bool = False
    ) -> list[PlannedObject]:
        """What applying manifests would do; nothing is changed. An object that would be refused says why.

        No tool server is asked: whoever may look at differences must not make us call addresses of theirs. So the
        definitions of tools that are not pinned yet are not looked at.

        Raises:
            ManifestError: they are not applied together, whatever is registered: too many, or one twice.
        """
        return (await self._planned(documents, actor, manager, force=force, ask=False))[0]

    async def _planned(
        self, documents: Sequence[Document], actor: Actor, manager: str | None, *, force: bool, ask: bool = True
    ) -> tuple[list[PlannedObject], Mapping[str, Definitions]]:
        if len(documents) > _MAX_DOCUMENTS:
            raise InvalidInputError(
                Code.MANIFEST_INVALID, f"more than {_MAX_DOCUMENTS} manifests", hint="apply in parts"
            )
        view = self._proven(self._control.view)
        ordered = sorted((self._merged(document, view, manager) for document in documents), key=place)
        faults = [*declared_twice(ordered)]
        alone = self._bootstrapping()
        if alone:
            faults += [fault for document in ordered for fault in not_alone(document)]
        if faults:
            raise ManifestError(faults)
        offers: dict[str, Definitions] = {}
        for at, document in enumerate(ordered):
            if isinstance(document, ModelProviderManifest):
                models = document.spec.models
                offers[document.metadata.name] = {one: model_definition(document.spec.api, one) for one in models}
            elif isinstance(document, ToolServerManifest) and not ask:
                offers[document.metadata.name] = {own: _unseen_definition(own) for own in document.spec.registered}
            elif isinstance(document, ToolServerManifest):
                ordered[at], offers[document.metadata.name] = await self._offer(document)
        overlay, shown = rows.Overlay(self._control.view), rows.Overlay(self._control.view)
        waiting: set[str] = set()
        found: list[PlannedObject] = []
        for document in ordered:
            proposal, writes = None, 0
            try:
                if not alone:
                    proposal = self._declarations.proposal(document, offers, actor, self._proven(overlay))
                if proposal is not None:
                    if isinstance(document, ToolServerManifest | ModelProviderManifest | StoreManifest):
                        waiting.add(document.metadata.name)
                    shown.put(as_enacted(proposal.content))
                else:
                    for step in self._declarations.steps(document, offers, actor, frozenset(waiting)):
                        change = step(self._proven(overlay))
                        overlay.put(change.writes if change else ())
                        shown.put(change.writes if change else ())
                        writes += change is not None
            except ManifestError as error:
                found.append(PlannedObject(document, PlannedAction.REFUSED, faults=error.faults))
                continue
            found.append(self._foreseen(document, shown, proposal, manager, changed=writes > 0, force=force))
        return found, offers

    def _merged(self, document: Document, view: StateView, manager: str | None) -> Document:
        """The manifest with what it leaves out and others manage as that stands now."""
        owners = managed_from(_doc(view.get(rows.FIELD_OWNER, self._managed_key(document, view))))
        written = _written(document)
        theirs = {field for field, one in owners.items() if one != manager and field not in written}
        row = row_named(document, view, self.catalogue)
        live = restated_row(document.kind, row, Names(view)) if theirs and row is not None else None
        kept = {field: one for field, one in live.document["spec"].items() if field in theirs} if live else {}
        if not kept:
            return document
        raw = document.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return type(document).model_validate_json(orjson.dumps(raw | {"spec": raw["spec"] | kept}))

    def _managed_key(self, document: Document, view: StateView) -> str:
        """Under which it is kept who manages what of an object: an agent's id, so that a used name inherits nothing."""
        match document:
            case AgentManifest():
                row = row_named(document, view, self.catalogue)
                return f"Agent/{row.key if row is not None else '-'}"
            case PersonManifest():
                # manifests manage nothing of people, whose names are addresses; a directory may (`provisioning.py`)
                row = row_named(document, view, self.catalogue)
                return f"Person/{row.key if row is not None else '-'}"
            case _:
                return f"{document.kind}/{object_name(document)}"

    def _foreseen(
        self,
        document: Document,
        shown: rows.Overlay,
        proposal: Proposal | None,
        manager: str | None,
        *,
        changed: bool,
        force: bool,
    ) -> PlannedObject:
        view, then = self._proven(self._control.view), self._proven(shown)
        before, after = row_named(document, view, self.catalogue), row_named(document, then, self.catalogue)
        stated = [
            None if row is None else restated_row(document.kind, row, Names(state))
            for row, state in ((before, view), (after, then))
        ]
        changes = field_changes(stated[0], stated[1]) if changed or proposal is not None else ()
        owners = managed_from(_doc(view.get(rows.FIELD_OWNER, self._managed_key(document, view))))
        managed = managed_fields(
            owners, written=_written(document), changed=[one.field for one in changes], manager=manager
        )
        whose = f"`{manager}`" if manager else "who names no manager"
        faults = tuple(
            fault_at(
                document, f"spec.{one.field}", Code.CONFLICT,
                f"`{one.field}` is managed by `{one.manager}`, not by {whose}",
                "leave it out, or take it over with `--force`",
            )
            for one in managed.conflicts
        ) if not force else ()  # fmt: skip
        version = None
        if isinstance(document, AgentManifest) and changed and after is not None:
            stored = then.get(rows.VERSION, after.doc.get("candidate") or after.doc["version"])
            version = version_from(stored.doc) if stored is not None else None
        action = PlannedAction.UNCHANGED
        if changed or proposal is not None:
            action = PlannedAction.CREATE if before is None else PlannedAction.UPDATE
        return PlannedObject(
            document,
            PlannedAction.REFUSED if faults else action,
            changes,
            proposal,
            faults,
            before.key if before is not None and document.kind == "Agent" else None,
            version,
            tuple((one.field, one.manager) for one in managed.conflicts) if force else (),
        )

    async def _commit(
        self, planned: PlannedObject, offers: Mapping[str, Definitions], actor: Actor, manager: str | None
    ) -> ApplyResult:
        document, proposal = planned.document, None
        if not self._bootstrapping():
            proposal = self._declarations.proposal(document, offers, actor, self._proven(self._control.view))
        if proposal is not None:
            name = proposal.about.partition(":")[2]
            where = proposal.environment.value if proposal.environment else None
            flags = self._flags(document, offers)
            return ApplyResult(document.kind, name, name, ApplyOutcome.PENDING, where, proposal=proposal, flags=flags)
        made: list[Change] = []

        def recorded(step: Build) -> Callable[[StateView], Change | None]:
            def build(view: StateView) -> Change | None:
                change = step(self._proven(view))
                if change is not None and not made:
                    change = self._managing(change, planned, self._proven(view), manager)
                if change is not None:
                    made.append(change)
                return change

            return build

        flags = self._flags(document, offers)
        for step in self._declarations.steps(document, offers, actor):
            await self._control.transact(recorded(step))
        if not made and manager is not None:
            await self._control.transact(lambda view: self._managing(None, planned, self._proven(view), manager, actor))
        return replace(self._result(document, made), flags=flags)

    def _managing(
        self,
        change: Change | None,
        planned: PlannedObject,
        view: StateView,
        manager: str | None,
        actor: Actor | None = None,
    ) -> Change | None:
        """The change, and who manages what afterwards; without one that alone, or nothing if it is so.

        Raises:
            ConflictError: somebody came to manage a field of it meanwhile.
        """
        document = planned.document
        agent = change.facts.agent if change is not None else None
        key = f"Agent/{agent}" if agent is not None else self._managed_key(document, view)
        owners = managed_from(_doc(view.get(rows.FIELD_OWNER, key)))
        fields = [one.field for one in planned.changes] if change is not None else []
        managed = managed_fields(owners, written=_written(document), changed=fields, manager=manager)
        if {(one.field, one.manager) for one in managed.conflicts} - set(planned.taken_over):
            raise ConflictError(Code.CONFLICT, "somebody else came to manage a field meanwhile", hint="apply it again")
        if isinstance(document, PersonManifest):
            taken = {field for field, _ in planned.taken_over}
            told_of = managed.owners.items()
            managed = Managed({field: one for field, one in told_of if field in taken or one == owners.get(field)}, ())
        if managed.owners == owners:
            return change
        doc = {"fields": [[field, one] for field, one in managed.owners.items()]} if managed.owners else None
        write = Write(rows.FIELD_OWNER, key, doc)
        told = {"manager": manager, "taken_over": [list(one) for one in planned.taken_over]}
        if change is None:
            assert actor is not None  # noqa: S101 - given where there is no change
            return Change(Facts("fields.managed"), (write,), actor, {"object": key, **told})
        return replace(change, writes=(*change.writes, write), body={**change.body, **told})

    def _flags(self, document: Document, offers: Mapping[str, Definitions]) -> Mapping[str, tuple[str, ...]]:
        if isinstance(document, AgentManifest):
            stored = [store.model_dump() for store in document.spec.stores]
            return {one.entry: (f"cannot certify: {one.why}",) for one in uncertifiable(stored, self.stores)}
        if not isinstance(document, ToolServerManifest | ModelProviderManifest):
            return {}
        return self._declarations.flags(document, offers[document.metadata.name])

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
            case (
                IssuerManifest()
                | GroupManifest()
                | AgreementManifest()
                | EnforcementPointManifest()
                | ContextProviderManifest()
                | GateManifest()
                | ReviewScheduleManifest()
                | TemplateManifest()
                | DirectoryManifest()
            ):
                return ApplyResult(document.kind, document.metadata.name, document.metadata.name, outcome)
            case ToolServerManifest() | ModelProviderManifest():
                name = document.metadata.name
                return ApplyResult(document.kind, name, name, outcome, document.metadata.environment)
            case StoreManifest():
                name = document.metadata.name
                return ApplyResult("Store", name, name, outcome, document.metadata.environment)
            case AgentManifest():
                name, environment = document.metadata.name, document.metadata.environment
                agent = self.catalogue.agent_named(environment, name)
                declared = (agent.candidate or agent.version) if agent else None
                changed = made[0].body.get("facets_changed", ()) if made else ()
                return ApplyResult(
                    "Agent",
                    name,
                    agent.id if agent else "",
                    outcome,
                    environment,
                    declared.digest if declared else None,
                    tuple(changed),
                    expires=declared.manifest["spec"]["expires"] if declared else None,
                )

    async def hand_over(self, agent: AgentId, owner: PersonId, actor: Actor) -> Receipt | None:
        """Declare the newest version of an agent with another owner; None if they own it already.

        Raises:
            NotFoundError: no such agent.
            ConflictError: the owner is nobody who is there, or the agent's state does not allow it.
        """
        return await self._control.transact(
            lambda view: handed_over(agent, owner, actor, self._proven(view), now_us=self._clock.now().wall_us)
        )

    async def declare_without(self, agent: AgentId, tools: Collection[ToolId], actor: Actor) -> Receipt | None:
        """Declare the version in force without some tools and models; None if another waits or it grants none of them.

        Raises:
            NotFoundError: no such agent.
            ConflictError: the agent's state does not allow it.
        """
        return await self._control.transact(
            lambda view: declared_without(agent, tools, actor, self._proven(view), now_us=self._clock.now().wall_us)
        )

    # -- tool servers

    async def _offer(self, manifest: ToolServerManifest) -> tuple[ToolServerManifest, Definitions]:
        """What the server offers, if one of its tools is not pinned yet: else nobody needs to ask.

        The manifest comes back with the revision of MCP that it is to be spoken to in: the one it names, else the one
        that is registered, else the newest that the server speaks now.

        INVARIANT: a program is not started before two persons signed off how it is started.
        """
        if declared := local_definitions(manifest):
            return manifest, declared
        name, view = manifest.metadata.name, self._proven(self._control.view)
        row = view.get(rows.SERVER, name)
        if launch_awaits(manifest, row.doc if row else None):
            return manifest, {}
        asked = server_of(manifest, row.doc if row else None)
        unpinned = not all(view.get(rows.TOOL, tool_id(name, own)) for own in manifest.spec.registered)
        if asked.revision == UNKNOWN_REVISION:
            asked = replace(asked, revision=await self._asking(asked, self._definitions.revision))
        if asked.protocol == "mcp":
            manifest = manifest.model_copy(
                update={"spec": manifest.spec.model_copy(update={"revision": asked.revision})}
            )
        return manifest, await self._ask(asked) if unpinned else {}

    async def _asking(self, server: ToolServer, ask: Callable[[ToolServer], Awaitable[_Asked]]) -> _Asked:
        try:
            return await ask(server)
        except UnavailableError as error:
            raise UnavailableError(
                error.code,
                f"tool server `{server.name}` could not be asked for its tools: {error.message}",
                hint=error.hint,
                cause=error.cause,
            ) from error

    async def _ask(self, server: ToolServer) -> Definitions:
        offered = await self._asking(server, self._definitions.fetch)
        if sum(item_kind(name) is None for name in offered) > _MAX_OFFERED:
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

    async def repin(self, server: ServerName, tool: str | None, actor: Actor) -> tuple[Repinned, ...] | Proposal:
        """Take over what the server offers now for one of its registered tools, or all; says what changed.

        Outside of development it takes two persons: nothing is changed, and the proposal is returned.

        Raises:
            NotFoundError: no such server, or no such registered tool.
            InvalidInputError: the server does not offer a tool any more, or its new schema is refused; nothing changed.
            UnavailableError: the server could not be asked, or a change not made durable.
        """
        known = self.catalogue.server(server)
        if known is None:
            raise NotFoundError(Code.SERVER_UNKNOWN, f"no tool server is called `{server[:80]}`")
        if known.local:
            raise InvalidInputError(
                Code.BODY_MALFORMED, f"nobody can be asked what the functions of `{server}` are",
                hint="apply its manifest with their new definitions",
            )  # fmt: skip
        if tool is not None and tool not in known.tools:
            raise NotFoundError(Code.TOOL_UNKNOWN, f"the tool server `{server}` has no registered {called(tool)}")
        wanted = sorted(known.tools) if tool is None else [tool]
        offered = await self._ask(known)
        known = self.catalogue.server(server) or known  # it may have changed while the server was asked
        wanted = [own for own in wanted if own in known.tools]
        fresh: dict[str, Mapping[str, Any]] = {}
        for own in wanted:
            if own not in offered:
                raise InvalidInputError(
                    Code.TOOL_UNKNOWN, f"the tool server `{server}` does not offer {shown(own)} any more",
                    hint="remove it from the server's manifest",
                )  # fmt: skip
            if definition_digest(offered[own]) != known.tools[own].definition_digest:
                compile_arguments(offered[own].get("inputSchema"), allow_undeclared=known.tools[own].allow_undeclared)
                declared_mapping(offered[own])
                fresh[own] = offered[own]
        names = ToolNames(tool.id for each in self.catalogue.servers() for tool in each.tools.values())
        flags = {own: names.flags(definition, known.tools[own].id) for own, definition in fresh.items()}
        if fresh and known.environment is not Environment.DEVELOPMENT:
            before = {own: known.tools[own].definition for own in fresh}
            content = repin_content(
                server,
                known.environment,
                fresh,
                before,
                self._proven(self._control.view),
                flags=flags,
                by=author(actor),
            )
            return proposed(content, about=f"server:{server}", environment=known.environment)
        repinned: list[Repinned] = []
        for own, definition in fresh.items():
            before_digest, after = known.tools[own].definition_digest, definition_digest(definition)
            one = Repinned(known.tools[own].id, before_digest, after, flags[own])
            await self._control.transact(partial(self._repin, known, own, one, offered, actor))
            repinned.append(one)
        return tuple(repinned)

    def _repin(
        self, server: ToolServer, own: str, one: Repinned, offered: Definitions, actor: Actor, view: StateView
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
        body = {"after": one.after, "before": one.before, "flags": list(one.flags), "tool": one.tool}
        return Change(facts, pinning(one.tool, offered[own], self._clock.now().wall_us), actor, body)

    # -- an agent's states

    def require(self, agent: AgentId, event: AgentEvent) -> None:
        """Check that an event can happen to an agent as it stands now.

        Raises:
            NotFoundError: no such agent.
            ConflictError: `transition_refused`: its state does not allow it.
        """
        self._step(self._agent_row(agent, self._control.view), event)

    def in_force(self, agent: Agent, version: AgentVersion) -> bool:
        """Whether a version is the one that is enforced, and no newer one waits."""
        now = self.catalogue.agent(agent.id)
        return now is not None and now.candidate is None and now.version.digest == version.digest

    async def transition(
        self,
        agent: AgentId,
        event: AgentEvent,
        actor: Actor,
        *,
        version: Digest | None = None,
        tier: Tier | None = None,
        also: Callable[[StateView], Iterable[Write]] = lambda _: (),
        reason: str = "",
    ) -> Receipt | None:
        """Move an agent to where an event leads: the one writer of states. None if it has happened already.

        `version` is what the event speaks of, if the caller means a particular one, and `tier` what an activation was
        approved under: without it nothing of the agent is let through. `also` gives writes for the same transaction
        and may refuse; whoever activates in production has its clearance checked there. Activating ends the
        restrictions that wait for a new approval. Stopping is in force at once. Retiring ends with the name free for
        others; the id is never used again.

        Raises:
            NotFoundError: no such agent.
            ConflictError: `transition_refused`: its state does not allow it; `conflict`: another version was declared.
            UnavailableError: the change was not made durable; a narrowing one is in force all the same.
        """
        return await self._control.transact(partial(self._transition, agent, event, actor, version, tier, also, reason))

    def _step(self, row: Row, event: AgentEvent) -> AgentStep:
        doc, halted_from = row.doc, row.doc.get("halted_from")
        step = after(
            event,
            Environment(doc["environment"]),
            AgentState(doc["state"]),
            halted_from=None if halted_from is None else AgentState(halted_from),
            candidate=doc.get("candidate") is not None,
        )
        if isinstance(step, Inapplicable):
            raise ConflictError(Code.TRANSITION_REFUSED, step.why, hint=step.hint)
        return step

    def _transition(
        self,
        agent: AgentId,
        event: AgentEvent,
        actor: Actor,
        version: Digest | None,
        tier: Tier | None,
        also: Callable[[StateView], Iterable[Write]],
        reason: str,
        view: StateView,
    ) -> Change | None:
        proven = self._proven(view)
        row = self._agent_row(agent, proven)
        step = self._step(row, event)
        candidate: Digest | None = row.doc.get("candidate")
        about: Digest = row.doc["version"]
        if candidate is not None and event in _OF_THE_DECLARED:
            about = candidate
        if version is not None and version != about:
            raise ConflictError(Code.CONFLICT, "another version was declared meanwhile", hint="look at the agent again")
        halted_from = step.halted_from.value if step.halted_from else None
        before = {"halted_from": None, "tier": None, **row.doc}
        doc = {**before, "halted_from": halted_from, "state": step.state.value}
        if step.state.value != row.doc["state"]:
            doc["state_us"] = self._clock.now().wall_us
        if step.takes_candidate and candidate is not None:
            stored = proven.get(rows.VERSION, candidate)
            if stored is None:
                raise UnavailableError(Code.STATE_UNPROVEN, "the version to be put in force is missing")
            spec = stored.doc["manifest"]["spec"]
            doc |= {
                "backup_owner": spec["backupOwner"],
                "candidate": None,
                "owner": spec["owner"],
                "version": candidate,
            }
        writes = [*also(view)]
        body: dict[str, Any] = {"from": row.doc["state"], "to": doc["state"]}
        if event is AgentEvent.ACTIVATE and (step.takes_candidate or doc["state"] != row.doc["state"]):
            doc["tier"] = tier.value if tier else None
            ended = sorted(one.id for one in self._tables.restrictions_of(agent) if one.until_approved)
            writes += [Write(rows.RESTRICTION, one, None) for one in ended]
            body |= {"ended": ended, "tier": doc["tier"]}
        if doc != before:
            writes.insert(0, Write(rows.AGENT, agent, doc))
        place = f"{doc['environment']}/{doc['name']}"
        named = proven.get(rows.AGENT_NAME, place) if event is AgentEvent.RETIRED else None
        if named is not None and named.doc["agent"] == agent:
            writes.append(Write(rows.AGENT_NAME, place, None))
        if not writes:
            return None
        return Change(
            Facts(_RECORDED[event], agent=agent, version=about, environment=doc["environment"]),
            tuple(writes),
            actor,
            body,
            (Part("text", {"reason": reason[:_MAX_REASON]}),) if reason else (),
            narrowing=event in _NARROWING,
        )

    # -- what takes two persons

    def propose_role(
        self,
        role: Role,
        *,
        person: PersonId | None = None,
        group: str | None = None,
        team: str | None = None,
        actor: Actor,
    ) -> Proposal:
        """What would give a role to a person or a group, for one team (its name or id) or for all.

        Raises:
            ConflictError: there is only one administrator (`two_persons_required`); the person has left, or holds it.
            NotFoundError: no such person, group or team.
            InvalidInputError: not exactly one of person and group, or the role is not for them.
        """
        if (person is None) == (group is None):
            raise InvalidInputError(Code.BODY_MALFORMED, "a role is given to a person or to a group")
        self._require_two()
        holder = person if person is not None else f"group:{group}"
        team_id = self._team_id(team)
        organisation = self.proven_organisation()
        check_grantable(organisation, role, holder, team_id)
        keeper = self.entitlements.keeper(group) if group is not None else None
        content = role_content(
            self._ids.new("rgr"), role, holder, team_id, organisation, by=author(actor), keeper=keeper
        )
        return proposed(content, about=f"role:{holder}", beneficiaries=organisation.persons(holder))

    def _team_id(self, team: str | None) -> TeamId | None:
        if team is None:
            return None
        for known in self.catalogue.teams():
            if team in {known.id, known.name}:
                return known.id
        raise NotFoundError(Code.TEAM_UNKNOWN, f"no team is called `{team[:80]}`")

    def _require_two(self) -> None:
        if self._bootstrapping():
            raise ConflictError(Code.TWO_PERSONS_REQUIRED, Code.TWO_PERSONS_REQUIRED.meaning)

    async def enact(self, content: Mapping[str, Any], clearance: Clearance, actor: Actor) -> Receipt | None:
        """Put a proposal into force; None if it was before. Doing it again, or going on half-way, changes nothing more.

        Raises:
            ForbiddenError: the clearance is for something else, or not the word of approvers (`clearance_required`).
            ConflictError: what the approvers judged changed since; nothing is in force.
            UnavailableError: it could not be made durable.
        """
        clearance.covers(subject_kind(content), proposal_digest(content))
        if clearance.basis is not Basis.APPROVALS:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "this takes the sign-off of a second person")
        by, behind = (frozenset(PersonId(one) for one in each) for each in (clearance.by, clearance.behind))
        receipt: Receipt | None = None
        while True:
            left: list[bool] = []
            done = await self._control.transact(partial(self._enact, content, by, behind, actor, left))
            receipt = done or receipt
            if not left:
                return receipt

    def _enact(
        self,
        content: Mapping[str, Any],
        by: frozenset[PersonId],
        behind: frozenset[PersonId],
        actor: Actor,
        left: list[bool],
        view: StateView,
    ) -> Change | None:
        """One transaction of it; `left` is filled if more are to follow."""
        proven, now_us = self._proven(view), self._clock.now().wall_us
        body: dict[str, Any] = {"by": sorted(by), "proposal": proposal_digest(content)}
        match content["change"]:
            case "role":
                self._require_proven(ORGANISATION_KINDS)
                writes = enact_role(content, proven, self.organisation, by=by, now_us=now_us)
                body |= {key: content[key] for key in ("grant", "holder", "role", "team")}
                facts = Facts("role.granted")
            case "group":
                self._require_proven(ORGANISATION_KINDS)
                writes = enact_group(content, proven, self.organisation, by=by, now_us=now_us)
                self._keeps_administrators(writes)
                body["group"] = content["name"]
                facts = Facts("group.composed")
            case "directory":
                self._require_proven({*ORGANISATION_KINDS, *DIRECTORY_KINDS})
                writes = enact_directory(content, proven, self.organisation, by=by)
                writes = (*writes, *self._kept_by_directory(content["name"], writes, proven, now_us))
                body["directory"] = content["name"]
                facts = Facts("directory.mapped")
            case "gate":
                writes = enact_gate(content, proven)
                body["gate"] = content["name"]
                facts = Facts("gate.set")
            case "template":
                writes = enact_template(content, proven, by=(*by, *behind))
                body["template"] = content["name"]
                facts = Facts("template.approved")
            case "store":
                writes = enact_store(content, proven)
                body["store"] = content["name"]
                kind = "store.updated" if content["before"] else "store.registered"
                facts = Facts(kind, environment=content["doc"]["environment"])
            case "issuer":
                writes = enact_vouching(content, proven)
                body |= issuer_body(content["name"], content["doc"])
                facts = Facts("issuer.updated" if content["before"] else "issuer.registered")
            case "context-provider":
                writes = enact_vouching(content, proven)
                body |= {"context_provider": content["name"], **content["doc"]}
                facts = Facts("context_provider.updated" if content["before"] else "context_provider.registered")
            case "server":
                return self._enact_server(content, body, actor, left, proven)
            case _:
                pins, writes = enact_repin(content, proven, now_us=now_us, at_most=_PINS_AT_ONCE)
                if len(pins) == _PINS_AT_ONCE:
                    left.append(True)
                body["tools"] = [[tool_id(content["server"], pin["tool"]), pin["definition"]] for pin in pins]
                facts = Facts("tool.repinned", environment=content["environment"])
        return Change(facts, writes, actor, body) if writes else None

    def _enact_server(
        self, content: Mapping[str, Any], body: dict[str, Any], actor: Actor, left: list[bool], view: StateView
    ) -> Change | None:
        """First the pins, some at a time: without the server they mean nothing."""
        name, environment = content["name"], content["doc"]["environment"]
        unpinned = [pin for pin in content["pins"] if view.get(rows.TOOL, tool_id(name, pin["tool"])) is None]
        if unpinned:
            some = unpinned[:_PINS_AT_ONCE]
            writes = enact_pins(content, some, view, now_us=self._clock.now().wall_us)
            if writes:
                left.append(True)
            body["tools"] = [[tool_id(name, pin["tool"]), pin["definition"]] for pin in some]
            facts = Facts("tool.pinned", environment=environment)
        else:
            writes = enact_server(content, view)
            body |= {"server": name, "tools": some_of([tool_id(name, pin["tool"]) for pin in content["pins"]])}
            facts = Facts("server.updated" if content["before"] else "server.registered", environment=environment)
        return Change(facts, writes, actor, body) if writes else None

    def _kept_by_directory(self, name: str, writes: Sequence[Write], view: StateView, now_us: int) -> list[Write]:
        """The groups of ours that a mapping that comes into force changes."""
        mapped = next((write.doc for write in writes if write.kind == rows.DIRECTORY), None)
        if mapped is None:
            return []
        hands, before = directory_from(name, mapped).by, self.entitlements
        after = before.after(writes)
        return kept_groups(view, self.organisation, before, after, (), name, by=hands, now_us=now_us)

    def _keeps_administrators(self, writes: Sequence[Write]) -> None:
        organisation = self.organisation
        for write in writes:
            if write.doc is not None:
                groups = {**organisation.groups, write.key: rows.group_from(write.key, write.doc)}
                keeps_administrators(organisation, replace(organisation, groups=groups))

    # -- who loses or lends a role, and who leaves

    async def revoke_role(self, grant: str, actor: Actor, reason: str = "") -> Receipt | None:
        """Take a role back, at once; None if that was done before.

        Raises:
            NotFoundError: no such grant.
            ConflictError: there would be fewer than two administrators.
        """
        return await self._control.transact(
            lambda view: role_revoked(
                self._proven(view), self.organisation, grant, actor, now_us=self._clock.now().wall_us, reason=reason
            )
        )

    async def delegate(self, to: PersonId, role: Role, until_us: int, actor: Actor) -> Delegation:
        """Let another person vote in the actor's place in one role, for at most 90 days.

        Raises:
            NotFoundError: no such person.
            ForbiddenError: the actor does not hold the role.
            InvalidInputError: it is to oneself or a service account, or for no time or too long.
            ConflictError: there is only one administrator; the person has left; or it is so already.
        """
        self._require_two()
        now_us = self._clock.now().wall_us
        made = Delegation(self._ids.new("dlg"), author(actor), to, role, now_us, until_us)
        await self._control.transact(lambda _: role_delegated(self.proven_organisation(), made, actor, now_us=now_us))
        return made

    async def end_delegation(self, delegation: str, actor: Actor) -> Receipt | None:
        """End a delegation now: either side may, and an administrator. None if it is over.

        Raises:
            NotFoundError: no such delegation.
            ForbiddenError: the actor is none of these.
        """
        return await self._control.transact(
            lambda view: delegation_ended(
                self._proven(view), self.organisation, delegation, actor, now_us=self._clock.now().wall_us
            )
        )

    async def person_left(self, person: PersonId, actor: Actor, reason: str = "") -> Receipt | None:
        """Note that somebody is not there any more: no vote of theirs counts. Their credentials are identity's to end.

        Raises:
            NotFoundError: no such person.
            ConflictError: there would be fewer than two administrators.
        """
        return await self._control.transact(
            lambda view: person_left(self._proven(view), self.organisation, person, actor, reason=reason)
        )

    # -- restrictions and incidents

    async def restrict(
        self,
        agent: AgentId,
        kind: RestrictionKind,
        actor: Actor,
        *,
        cause: str,
        until_us: int,
        tool: ToolId | None = None,
        calls_per_minute: int | None = None,
        role: Role | None = None,
        until_approved: bool = False,
        alert: str | None = None,
    ) -> Restriction | None:
        """Narrow an agent or one of its tools for a time, at once. None if one as narrow is in force as long.

        With `until_approved` it ends sooner if a version of the agent is approved and put in force meanwhile. `alert`
        is what it answers, if nobody places it.

        Raises:
            NotFoundError: no such agent.
            InvalidInputError: the kind and what it needs do not fit, or it is for no time or longer than 90 days.
            ConflictError: the agent is retired, or too many restrictions are in force.
        """
        found, now_us = self._registered(agent), self._clock.now().wall_us
        made = Restriction(
            self._ids.new("rst"), agent, kind, tool, cause, now_us, until_us, calls_per_minute, role, until_approved,
            alert,
        )  # fmt: skip
        salt = self._ids.secret(16).hex()
        receipt = await self._control.transact(
            lambda _: agent_restricted(
                made, found, self._tables.restrictions_of(agent), actor, salt=salt, now_us=now_us
            )
        )
        return made if receipt is not None else None

    async def lift_restriction(self, restriction: str, actor: Actor, reason: str = "") -> Receipt | None:
        """End a restriction before its time.

        Raises:
            NotFoundError: no such restriction; it may be over.
            ConflictError: the version in force was approved under it.
        """
        return await self._control.transact(
            lambda view: restriction_lifted(self._proven(view), restriction, actor, reason=reason)
        )

    async def open_incident(
        self,
        agents: Sequence[AgentId],
        severity: int,
        actor: Actor,
        what: str,
        *,
        rule: str = "",
        linked: Sequence[str] = (),
        incident: str | None = None,
    ) -> Incident:
        """Put on record that something went wrong; while one of severity 1 is open, its agents' tier is high.

        With an id in `incident`, opening it again opens the same one.

        Raises:
            NotFoundError: no such agent.
            InvalidInputError: there is no such severity, or too much is named.
        """
        first, *others = [self._registered(one).id for one in dict.fromkeys(agents)]
        made = Incident(
            id=incident or self._ids.new("inc"),
            agent=first,
            severity=severity,
            opened_us=self._clock.now().wall_us,
            others=tuple(others),
            what=what,
            opened_by=None if actor.person is None else PersonId(actor.person),
            rule=rule,
            linked=tuple(dict.fromkeys(linked)),
        )
        salt = self._ids.secret(16).hex()
        await self._control.transact(lambda view: incident_opened(view, made, actor, salt=salt))
        return self._tables.incident(made.id) or made

    async def raise_incident(
        self, incident: str, severity: int, actor: Actor, why: str, *, linked: Sequence[str] = ()
    ) -> Receipt | None:
        """Make an incident graver; None if it is over, or as grave with all of that linked.

        Raises:
            NotFoundError: no such incident.
        """
        now_us, salt = self._clock.now().wall_us, self._ids.secret(16).hex()
        return await self._control.transact(
            lambda view: incident_raised(
                self._proven(view), incident, severity, actor, why=why, linked=linked, now_us=now_us, salt=salt
            )
        )

    async def freeze_incident(self, incident: str, holds: Sequence[str], actor: Actor) -> Receipt | None:
        """Note the legal holds that keep an incident's evidence; None if they are noted.

        Raises:
            NotFoundError: no such incident.
        """
        now_us, salt = self._clock.now().wall_us, self._ids.secret(16).hex()
        return await self._control.transact(
            lambda view: incident_frozen(self._proven(view), incident, holds, actor, now_us=now_us, salt=salt)
        )

    async def close_incident(self, incident: str, actor: Actor, disposition: str) -> Receipt | None:
        """Close an incident; None if it is closed.

        Raises:
            NotFoundError: no such incident.
            ForbiddenError: `separation_of_duties`: who opened one of severity 1 does not close it.
            InvalidInputError: it is not said what it came to.
        """
        now_us, salt = self._clock.now().wall_us, self._ids.secret(16).hex()
        return await self._control.transact(
            lambda view: incident_closed(
                self._proven(view), incident, actor, disposition=disposition, now_us=now_us, salt=salt
            )
        )

    def _proven(self, view: StateView) -> StateView:
        return rows.ProvenRows(view, self._control.unproven)


def _unseen_definition(own: str) -> Mapping[str, Any]:
    """What stands in for a definition that nobody asked for yet, where only what would change is looked at."""
    return {"inputSchema": {"properties": {}, "type": "object"}, "name": own}


def _written(document: Document) -> frozenset[str]:
    """The keys of `spec` that a manifest writes."""
    return frozenset(document.model_dump(by_alias=True, exclude_unset=True)["spec"])


def _doc(row: Row | None) -> Mapping[str, Any] | None:
    return None if row is None else row.doc


def read_files(files: Iterable[tuple[str, str | bytes]]) -> list[Document]:
    """Every manifest in some files, given as (name, text).

    Raises:
        ManifestError: with every fault found, files that cannot be read at all among them.
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
    return documents
