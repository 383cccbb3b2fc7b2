"""Registers what manifests declare, moves agents through their states, and writes all else this room keeps.

`apply` reads everything, checks everything against a state in which all of it is already there, and only then commits
object by object, what others name first, each in a transaction that checks it again. So a file with a fault changes
nothing; and if the ground moves in between, what was committed stands and applying the file again completes it.

What takes two persons is not committed but proposed (docs/adr/0006): the result says so, and `enact` writes it once it
is signed off. While there is only one administrator nothing can be proposed, and nothing enters staging or production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, Row, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.hours import zone
from accredit.kernel.ids import AgentId, IdSource, PersonId, ServerName, TeamId, ToolId, tool_id
from accredit.kernel.money import Money
from accredit.registry import rows
from accredit.registry.addresses import same_address
from accredit.registry.appointments import (
    check_grantable,
    delegation_ended,
    keeps_administrators,
    person_left,
    role_delegated,
    role_revoked,
)
from accredit.registry.catalogue import Catalogue
from accredit.registry.errors import ManifestError, ManifestFault
from accredit.registry.lifecycle import AgentEvent, AgentStep, Inapplicable, after, awaits_candidate
from accredit.registry.manifest import (
    KINDS,
    AgentManifest,
    AgreementManifest,
    Document,
    GroupManifest,
    IssuerManifest,
    PersonManifest,
    TeamManifest,
    ToolServerManifest,
    read_manifests,
)
from accredit.registry.model import (
    Agent,
    AgentState,
    AgentVersion,
    Agreement,
    Environment,
    Incident,
    Person,
    Restriction,
    RestrictionKind,
    Role,
    ToolServer,
)
from accredit.registry.organisation import AccountTie, Delegation, Organisation
from accredit.registry.pinning import definition_digest, definition_text
from accredit.registry.ports import DefinitionSource
from accredit.registry.proposals import (
    Proposal,
    enact_group,
    enact_pins,
    enact_repin,
    enact_role,
    enact_server,
    group_content,
    proposal_digest,
    proposed,
    repin_content,
    role_content,
    server_content,
    subject_kind,
)
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
from accredit.registry.restraints import agent_restricted, incident_closed, incident_flagged, restriction_lifted
from accredit.registry.schemas import compile_arguments
from accredit.registry.tables import ORGANISATION_KINDS, Tables
from accredit.registry.versions import (
    expiry_us,
    facets,
    money_doc,
    version_digest,
    version_from,
)

__all__ = ["ApplyOutcome", "ApplyResult", "Registry", "Repinned"]

_MAX_DOCUMENTS: Final = 1_000
_MAX_OFFERED: Final = 2_000
_MAX_HISTORY: Final = 1_000
_MAX_REASON: Final = 2_000
_MAX_TIES: Final = 200
_PINS_AT_ONCE: Final = 100
_MAX_NAMED: Final = 200
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

_Definitions = Mapping[str, Mapping[str, Any]]
_Build = Callable[[StateView], Change | None]
"""One transaction: judged against a state, it gives what to write, or nothing if it is so already."""


class ApplyOutcome(StrEnum):
    """What applying one manifest did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
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
    proposal: Proposal | None = None
    """What waits, if it is pending: to be kept, and signed off."""


@dataclass(frozen=True, slots=True)
class Repinned:
    """A tool whose changed definition was taken over."""

    tool: ToolId
    before: Digest
    after: Digest


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
    ) -> None:
        """`bootstrapping` says whether there are not two administrators yet."""
        self._control = control
        self._ids = ids
        self._clock = clock
        self._definitions = definitions
        self._bootstrapping = bootstrapping
        self.catalogue = Catalogue.of(control.view)
        """Everything registered, as of now."""
        self._tables = Tables(control.view)
        control.subscribe(self._follow)

    def _follow(self, change: Change) -> None:
        self.catalogue = self.catalogue.with_change(change, self._control.view)
        self._tables.follow(change)

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

    @property
    def agreements(self) -> Mapping[str, Agreement]:
        """Agreements with suppliers, by name; some may be over."""
        return self._tables.agreements

    def restrictions_of(self, agent: AgentId) -> tuple[Restriction, ...]:
        """The agent's restrictions that were not lifted, oldest first; some may be over.

        Raises:
            UnavailableError: the log contradicts a restriction's row.
        """
        self._require_proven({rows.RESTRICTION})
        return tuple(sorted(self._tables.restrictions_of(agent), key=lambda one: (one.opened_us, one.id)))

    def incidents_of(self, agent: AgentId) -> tuple[Incident, ...]:
        """The agent's incident flags, oldest first, closed ones included.

        Raises:
            UnavailableError: the log contradicts a flag's row.
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
        ordered = sorted(documents, key=_place)
        faults = [*_declared_twice(ordered)]
        if self._bootstrapping():
            faults += [fault for document in ordered for fault in _not_alone(document)]
        if faults:
            raise ManifestError(faults)
        offers = {
            document.metadata.name: await self._offer(document)
            for document in ordered
            if isinstance(document, ToolServerManifest)
        }
        planned = rows.Overlay(self._control.view)
        waiting: set[str] = set()
        for document in ordered:
            try:
                if self._proposal(document, offers, actor, self._proven(planned)) is not None:
                    waiting |= {document.metadata.name} if isinstance(document, ToolServerManifest) else set()
                    continue
                for step in self._steps(document, offers, actor, frozenset(waiting)):
                    change = step(self._proven(planned))
                    planned.put(change.writes if change else ())
            except ManifestError as error:
                faults += error.faults
        if faults:
            raise ManifestError(faults)
        return [await self._commit(document, offers, actor) for document in ordered]

    def _proposal(
        self, document: Document, offers: Mapping[str, _Definitions], actor: Actor, view: StateView
    ) -> Proposal | None:
        """What has to be proposed instead of committed, if anything."""
        if self._bootstrapping():
            return None
        match document:
            case GroupManifest():
                return self._group_proposal(document, actor, view)
            case ToolServerManifest():
                return self._server_proposal(document, offers[document.metadata.name], actor, view)
            case _:
                return None

    async def _commit(self, document: Document, offers: Mapping[str, _Definitions], actor: Actor) -> ApplyResult:
        proposal = self._proposal(document, offers, actor, self._proven(self._control.view))
        if proposal is not None:
            name = proposal.about.partition(":")[2]
            where = proposal.environment.value if proposal.environment else None
            return ApplyResult(document.kind, name, name, ApplyOutcome.PENDING, where, proposal=proposal)
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
            case IssuerManifest() | GroupManifest() | AgreementManifest():
                return ApplyResult(document.kind, document.metadata.name, document.metadata.name, outcome)
            case ToolServerManifest():
                name = document.metadata.name
                return ApplyResult("ToolServer", name, name, outcome, document.metadata.environment)
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
                )

    def _steps(
        self,
        document: Document,
        offers: Mapping[str, _Definitions],
        actor: Actor,
        waiting: frozenset[str] = frozenset(),
    ) -> Iterator[_Build]:
        match document:
            case PersonManifest():
                yield partial(self._put_person, document, actor)
            case TeamManifest():
                yield partial(self._put_team, document, actor)
            case GroupManifest():
                return  # it is so already, or it is proposed
            case AgreementManifest():
                yield partial(self._put_agreement, document, actor)
            case IssuerManifest():
                yield partial(self._put_issuer, document, actor)
            case ToolServerManifest():
                offer = offers[document.metadata.name]
                yield partial(self._put_server, document, offer, actor)
                for own in document.spec.tools:
                    yield partial(self._pin, document, own, offer, actor)
            case AgentManifest():
                yield partial(self._put_agent, document, waiting, actor)

    # -- people, groups, teams, agreements, issuers

    def _put_person(self, manifest: PersonManifest, actor: Actor, view: StateView) -> Change | None:
        address = same_address(manifest.spec.email)
        controllers = self._controllers(manifest, view)
        known = person_at(view, address, self.catalogue.person(address))
        if known is not None:
            return self._put_controllers(manifest, known, controllers, actor, view)
        for row in view.scan(rows.PERSON):
            if same_address(row.doc["email"]).casefold() == address.casefold():
                raise _fault(
                    manifest,
                    "spec.email",
                    Code.CONFLICT,
                    f"`{address}` differs from a registered address in letter case alone",
                    "write it as it is registered",
                )
        person = Person(
            PersonId(self._ids.new("psn")), address, bot=controllers is not None, controllers=controllers or frozenset()
        )
        write = Write(rows.PERSON, person.id, rows.person_doc(person, salt=self._ids.secret(16).hex()))
        return Change(Facts("person.registered"), (write,), actor, {"bot": person.bot, "person": person.id})

    def _controllers(self, manifest: PersonManifest, view: StateView) -> frozenset[str] | None:
        """Ids of persons and names of groups; None for a person."""
        if manifest.spec.controlled_by is None:
            return None
        found, faults = set(), []
        for index, name in enumerate(manifest.spec.controlled_by):
            path = f"spec.controlledBy[{index}]"
            if name.startswith("group:"):
                found.add(name)
                if view.get(rows.GROUP, name.removeprefix("group:")) is None:
                    faults.append(fault_at(manifest, path, Code.NOT_FOUND, f"there is no group `{name[6:]}`"))
                continue
            person = person_at(view, name, self.catalogue.person(name))
            row = view.get(rows.PERSON, person) if person is not None else None
            known = rows.person_from(row.key, row.doc) if row is not None else None
            if known is None or known.left or known.bot:
                message = f"`{name}` is not a registered person who is there"
                faults.append(fault_at(manifest, path, Code.NOT_FOUND, message, "people answer for service accounts"))
            else:
                found.add(known.id)
        if faults:
            raise ManifestError(faults)
        return frozenset(found)

    def _put_controllers(
        self,
        manifest: PersonManifest,
        person: PersonId,
        controllers: frozenset[str] | None,
        actor: Actor,
        view: StateView,
    ) -> Change | None:
        row = view.get(rows.PERSON, person)
        known = rows.person_from(person, row.doc) if row else None
        if row is None or known is None or known.left:
            raise _fault(manifest, "spec.email", Code.CONFLICT, f"`{manifest.spec.email}` has left", "take them out")
        if known.bot != (controllers is not None):
            # else a service account could be turned into somebody who votes
            raise _fault(
                manifest, "spec.controlledBy", Code.CONFLICT,
                f"`{manifest.spec.email}` is registered as a {'service account' if known.bot else 'person'}",
                "what an account is does not change: register another address",
            )  # fmt: skip
        if controllers is None or controllers == known.controllers:
            return None
        # whoever answered for it a moment ago could still be behind what it asked for
        former = sorted(
            {one for holder in known.controllers - controllers for one in self.organisation.persons(holder)}
        )
        if len(former) > _MAX_TIES:
            raise _fault(manifest, "spec.controlledBy", Code.CONFLICT, "too many people answered for it until now")
        now_us = self._clock.now().wall_us
        ties = [AccountTie(person, one, now_us) for one in former if one != person]
        return Change(
            Facts("person.updated"),
            (
                Write(rows.PERSON, person, {**row.doc, "controllers": sorted(controllers)}),
                *(Write(rows.ACCOUNT_TIE, rows.account_tie_key(tie), rows.account_tie_doc(tie)) for tie in ties),
            ),
            actor,
            {"controllers": sorted(controllers), "person": person},
        )

    def _group_proposal(self, manifest: GroupManifest, actor: Actor, view: StateView) -> Proposal | None:
        name, spec = manifest.metadata.name, manifest.spec
        faults, members = [], []
        for index, address in enumerate(spec.members):
            person = person_at(view, address, self.catalogue.person(address))
            row = view.get(rows.PERSON, person) if person is not None else None
            if person is None or row is None or row.doc.get("left"):
                message = f"`{address}` is not a registered person who is there"
                faults.append(fault_at(manifest, f"spec.members[{index}]", Code.NOT_FOUND, message, "apply a Person"))
            else:
                members.append(person)
        for index, inner in enumerate(spec.groups):
            if inner == name or view.get(rows.GROUP, inner) is None:
                message = f"there is no other group `{inner}`"
                faults.append(fault_at(manifest, f"spec.groups[{index}]", Code.NOT_FOUND, message, "sign it off first"))
        if faults:
            raise ManifestError(faults)
        content = group_content(name, members, spec.groups, view, self.organisation, by=_author(actor))
        if content is None:
            return None
        before = self.organisation.persons(f"group:{name}")
        inner_members = {one for inner in spec.groups for one in self.organisation.persons(f"group:{inner}")}
        return proposed(content, about=f"group:{name}", beneficiaries={*members, *inner_members} - before)

    def _put_agreement(self, manifest: AgreementManifest, actor: Actor, view: StateView) -> Change | None:
        name, spec = manifest.metadata.name, manifest.spec
        agreement = Agreement(
            name,
            spec.provider,
            frozenset(spec.covers),
            Digest(spec.document),
            expiry_us(spec.expires.isoformat()) if spec.expires else None,
        )
        row, doc = view.get(rows.AGREEMENT, name), rows.agreement_doc(agreement)
        if row is not None and row.doc == doc:
            return None
        kind = "agreement.updated" if row else "agreement.registered"
        return Change(Facts(kind), (Write(rows.AGREEMENT, name, doc),), actor, {"agreement": name, **doc})

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
        row, doc = view.get(rows.SERVER, name), _server_doc(manifest)
        self._check_server(manifest, offer, row, view)
        if row is not None and _facts_of(row.doc) == doc:
            return None
        if row is not None and "enacted" in row.doc:
            doc = {**doc, "enacted": row.doc["enacted"]}  # less than what was signed off, or new tools beside it
        return Change(
            Facts("server.updated" if row else "server.registered", environment=environment),
            (Write(rows.SERVER, name, doc),),
            actor,
            {"server": name, "url": spec.url, "tools": _named([tool_id(name, own) for own in sorted(spec.tools)])},
        )

    def _check_server(
        self, manifest: ToolServerManifest, offer: _Definitions, row: Row | None, view: StateView
    ) -> None:
        """Check a server against what is registered, pinned and offered.

        Raises:
            ManifestError: the name belongs elsewhere, or a tool cannot be pinned.
        """
        name = manifest.metadata.name
        if row is not None and row.doc["environment"] != manifest.metadata.environment:
            # the name alone stands in tool ids and addresses, so it means one server
            raise _fault(
                manifest, "metadata.name", Code.NAME_TAKEN,
                f"the tool server `{name}` belongs to {row.doc['environment']}", "choose another name",
            )  # fmt: skip
        faults = [fault for own in manifest.spec.tools for fault in self._tool_faults(view, manifest, own, offer)]
        if faults:
            raise ManifestError(faults)

    def _server_proposal(
        self, manifest: ToolServerManifest, offer: _Definitions, actor: Actor, view: StateView
    ) -> Proposal | None:
        name, environment = manifest.metadata.name, Environment(manifest.metadata.environment)
        row, doc = view.get(rows.SERVER, name), _server_doc(manifest)
        if not _takes_two(name, row.doc if row else None, doc, view):
            return None
        self._check_server(manifest, offer, row, view)
        pinned = {own: pinned_definition(view, tool_id(name, own)) for own in manifest.spec.tools}
        definitions = {own: offer[own] if pin is None else pin[1] for own, pin in pinned.items()}
        content = server_content(name, doc, view, definitions, by=_author(actor))
        try:
            return proposed(content, about=f"server:{name}", environment=environment)
        except InvalidInputError as error:
            raise _fault(manifest, "spec.tools", error.code, error.message, error.hint) from error

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
        if tool is not None and tool not in known.tools:
            raise NotFoundError(Code.TOOL_UNKNOWN, f"the tool server `{server}` has no registered tool {shown(tool)}")
        wanted = sorted(known.tools) if tool is None else [tool]
        offered = await self._ask(known)
        known = self.catalogue.server(server) or known  # it may have changed while the server was asked
        wanted = [own for own in wanted if own in known.tools]
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
        if fresh and known.environment is not Environment.DEVELOPMENT:
            before = {own: known.tools[own].definition for own in fresh}
            content = repin_content(
                server, known.environment, fresh, before, self._proven(self._control.view), by=_author(actor)
            )
            return proposed(content, about=f"server:{server}", environment=known.environment)
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

    def _put_agent(
        self, manifest: AgentManifest, waiting: frozenset[str], actor: Actor, view: StateView
    ) -> Change | None:
        name, environment = manifest.metadata.name, Environment(manifest.metadata.environment)
        team = team_named(view, manifest.metadata.team)
        row = agent_row(view, environment, name)
        if row is not None and team is not None and row.doc["team"] != team.id:
            raise _fault(
                manifest, "metadata.name", Code.NAME_TAKEN, f"another team has an agent `{name}` in {environment}"
            )
        now = self._clock.now().wall_us
        form = AgentCheck(view, manifest, likely=self.catalogue, now_us=now, waiting=waiting).canonical()
        digest, parts = version_digest(form), facets(form)
        declared = (row.doc.get("candidate") or row.doc["version"]) if row else None
        if declared == digest:
            return None
        agent = AgentId(row.key if row else self._ids.new("agt"))
        doc: dict[str, Any] = {
            "backup_owner": form["spec"]["backupOwner"],
            "candidate": None,
            "environment": environment.value,
            "halted_from": None,
            "name": name,
            "owner": form["spec"]["owner"],
            "promoted_from": _lower(view, environment, name, form["metadata"]["team"]),
            "registered_by": actor.person,
            "registered_us": now,
            "state": AgentState.DRAFT.value,
            "state_us": now,
            "team": form["metadata"]["team"],
            "version": digest,
        }
        if row is not None:
            doc = _declared_anew(manifest, row.doc, digest, doc)
        history = row.doc["history"] if row else ()
        doc["history"] = [*history, {"at_us": now, "by": actor.person, "version": digest}][-_MAX_HISTORY:]
        writes = [Write(rows.AGENT, agent, doc)]
        if row is None:
            writes.append(Write(rows.AGENT_NAME, f"{environment}/{name}", {"agent": agent}))
        if view.get(rows.VERSION, digest) is None:
            writes.append(Write(rows.VERSION, digest, {"digest": digest, "facets": parts, "manifest": form}))
        body: dict[str, Any] = {
            "facets": parts,
            "in_force": doc["version"] == digest,
            "name": name,
            "owner": form["spec"]["owner"],
            "state": doc["state"],
            "team": doc["team"],
        }
        if declared is not None:
            before = view.get(rows.VERSION, declared)
            known = before.doc["facets"] if before else {}
            body["previous"] = declared
            body["facets_changed"] = sorted(facet for facet in parts if parts[facet] != known.get(facet))
        facts = Facts(
            "agent.versioned" if row else "agent.registered", agent=agent, version=digest, environment=environment.value
        )
        return Change(facts, tuple(writes), actor, body)

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
        also: Callable[[StateView], Iterable[Write]] = lambda _: (),
        reason: str = "",
    ) -> Receipt | None:
        """Move an agent to where an event leads: the one writer of states. None if it has happened already.

        `version` is what the event speaks of, if the caller means a particular one. `also` gives writes for the same
        transaction and may refuse; whoever activates in production has its clearance checked there. Stopping is in
        force at once. Retiring ends with the name free for others; the id is never used again.

        Raises:
            NotFoundError: no such agent.
            ConflictError: `transition_refused`: its state does not allow it; `conflict`: another version was declared.
            UnavailableError: the change was not made durable; a narrowing one is in force all the same.
        """
        return await self._control.transact(partial(self._transition, agent, event, actor, version, also, reason))

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
        doc = {**row.doc, "halted_from": halted_from, "state": step.state.value}
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
        if doc != {"halted_from": None, **row.doc}:
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
            {"from": row.doc["state"], "to": doc["state"]},
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
        content = role_content(self._ids.new("rgr"), role, holder, team_id, organisation, by=_author(actor))
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
        by = frozenset(PersonId(one) for one in clearance.by)
        receipt: Receipt | None = None
        while True:
            left: list[bool] = []
            done = await self._control.transact(partial(self._enact, content, by, actor, left))
            receipt = done or receipt
            if not left:
                return receipt

    def _enact(
        self, content: Mapping[str, Any], by: frozenset[PersonId], actor: Actor, left: list[bool], view: StateView
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
            body |= {"server": name, "tools": _named([tool_id(name, pin["tool"]) for pin in content["pins"]])}
            facts = Facts("server.updated" if content["before"] else "server.registered", environment=environment)
        return Change(facts, writes, actor, body) if writes else None

    def _keeps_administrators(self, writes: Sequence[Write]) -> None:
        organisation = self.organisation
        for write in writes:
            if write.doc is not None:
                groups = {**organisation.groups, write.key: rows.group_from(write.key, write.doc)}
                keeps_administrators(organisation, replace(organisation, groups=groups))

    # -- who loses or lends a role, and who leaves

    async def revoke_role(self, grant: str, actor: Actor) -> Receipt | None:
        """Take a role back, at once; None if that was done before.

        Raises:
            NotFoundError: no such grant.
            ConflictError: there would be fewer than two administrators.
        """
        return await self._control.transact(
            lambda view: role_revoked(
                self._proven(view), self.organisation, grant, actor, now_us=self._clock.now().wall_us
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
        made = Delegation(self._ids.new("dlg"), _author(actor), to, role, now_us, until_us)
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
    ) -> Restriction | None:
        """Narrow an agent or one of its tools for a time, at once. None if one as narrow is in force as long.

        Raises:
            NotFoundError: no such agent.
            InvalidInputError: the kind and what it needs do not fit, or it is for no time or longer than 90 days.
            ConflictError: the agent is retired, or too many restrictions are in force.
        """
        found, now_us = self._registered(agent), self._clock.now().wall_us
        made = Restriction(self._ids.new("rst"), agent, kind, tool, cause, now_us, until_us, calls_per_minute, role)
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
        """
        return await self._control.transact(
            lambda view: restriction_lifted(self._proven(view), restriction, actor, reason=reason)
        )

    async def flag_incident(self, agent: AgentId, severity: int, actor: Actor, note: str = "") -> Incident:
        """Flag that something went wrong with an agent; while one of severity 1 is open, its tier is high.

        Raises:
            NotFoundError: no such agent.
            InvalidInputError: there is no such severity.
        """
        found = self._registered(agent)
        made = Incident(self._ids.new("inc"), agent, severity, self._clock.now().wall_us)
        await self._control.transact(lambda _: incident_flagged(made, found, actor, note=note))
        return made

    async def close_incident(self, incident: str, actor: Actor, note: str = "") -> Receipt | None:
        """Close a flag; None if it is closed.

        Raises:
            NotFoundError: no such incident.
        """
        return await self._control.transact(
            lambda view: incident_closed(
                self._proven(view), incident, actor, note=note, now_us=self._clock.now().wall_us
            )
        )

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


def _not_alone(document: Document) -> Iterator[ManifestFault]:
    """What one administrator alone cannot do."""
    if isinstance(document, AgentManifest | ToolServerManifest) and document.metadata.environment != "development":
        environment = document.metadata.environment
        yield fault_at(
            document, "metadata.environment", Code.PRODUCTION_REFUSED,
            f"nothing enters {environment} while there is only one administrator",
        )  # fmt: skip
    if isinstance(document, GroupManifest):
        yield fault_at(
            document, "", Code.TWO_PERSONS_REQUIRED, "a group takes two persons, as the roles it can give do"
        )


def _place(document: Document) -> tuple[int, bool]:
    """What others name comes first; a service account may name a group."""
    account = isinstance(document, PersonManifest) and document.spec.controlled_by is not None
    return _ORDER.index("Group" if account else document.kind), account


_ORDER: Final = list(KINDS)


def _author(actor: Actor) -> PersonId:
    if actor.person is None:
        raise ForbiddenError(Code.NOT_AUTHORISED, "only a person can ask for this")
    return PersonId(actor.person)


def _server_doc(manifest: ToolServerManifest) -> dict[str, Any]:
    """What the operator says, as stored."""
    spec = manifest.spec
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
    environment = manifest.metadata.environment
    return {"credential": spec.credential, "environment": environment, "tools": tools, "url": spec.url}


def _named(tools: Sequence[str]) -> list[str]:
    """Tools for a record's body, which has its bounds: all of them stand in the row."""
    some = list(tools[:_MAX_NAMED])
    return some if len(some) == len(tools) else [*some, f"and {len(tools) - len(some)} more"]


def _facts_of(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A tool server's row without what it rests on."""
    return {key: value for key, value in doc.items() if key != "enacted"}


def _takes_two(server: str, before: Mapping[str, Any] | None, doc: Mapping[str, Any], view: StateView) -> bool:
    """Whether a tool server's change takes two persons: nothing is proposed that only takes tools away.

    In development a new server, and a tool that was never pinned, are somebody's own business. A tool that was there
    once is not: taken away and listed again it could come back with other facts.
    """
    development = doc["environment"] == Environment.DEVELOPMENT
    if before is None:
        return not development
    if any(before[key] != doc[key] for key in ("credential", "url")):
        return True
    known = {entry["name"]: entry for entry in before["tools"]}
    for entry in doc["tools"]:
        pinned = view.get(rows.TOOL, tool_id(server, entry["name"])) is not None
        if entry["name"] in known:
            if known[entry["name"]] != entry or not (development or pinned):
                return True
        elif pinned or not development:
            return True
    return False


def _lower(view: StateView, environment: Environment, name: str, team: str) -> AgentId | None:
    """The agent of the same name and team in the next lower environment that has one."""
    order = [Environment.STAGING, Environment.DEVELOPMENT]
    below = order if environment is Environment.PRODUCTION else order[1:] if environment in order[:1] else []
    for one in below:
        row = agent_row(view, one, name)
        if row is not None and row.doc["team"] == team:
            return AgentId(row.key)
    return None


def _declared_anew(
    manifest: AgentManifest, before: Mapping[str, Any], digest: Digest, fresh: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of an agent of which another version is declared."""
    environment, state = Environment(before["environment"]), AgentState(before["state"])
    step = after(AgentEvent.DECLARE, environment, state)
    if isinstance(step, Inapplicable):
        raise _fault(manifest, "metadata.name", Code.TRANSITION_REFUSED, step.why, step.hint)
    older = {"candidate": None, "halted_from": None, "promoted_from": None, "registered_by": None, "registered_us": 0}
    doc = {**older, "state_us": fresh["state_us"], **before}
    if awaits_candidate(environment, state):
        return {**doc, "candidate": None if digest == before["version"] else digest}
    doc |= {key: fresh[key] for key in ("backup_owner", "candidate", "owner", "version")}
    if step.state is not state:
        doc |= {"state": step.state.value, "state_us": fresh["state_us"]}
    return doc
