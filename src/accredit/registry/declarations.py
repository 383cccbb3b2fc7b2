"""What one manifest writes into control state, or what it asks for where that takes two persons.

Each step is judged against a state and gives a change, or nothing if it is so already. No I/O: what tool servers offer
is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Row, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, InvalidInputError
from accredit.kernel.hours import zone
from accredit.kernel.ids import AgentId, IdSource, PersonId, ServerName, TeamId, ToolId, item_group, tool_id
from accredit.kernel.money import Money
from accredit.registry import rows
from accredit.registry.addresses import same_address
from accredit.registry.catalogue import Catalogue
from accredit.registry.directories import Entitlements, directory_from
from accredit.registry.errors import ManifestError, ManifestFault
from accredit.registry.handover import MAX_HISTORY, declared_anew
from accredit.registry.items import item_kind, item_name
from accredit.registry.lifecycle import Inapplicable
from accredit.registry.manifest import (
    KINDS,
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
    RatesForm,
    ReviewScheduleManifest,
    StoreManifest,
    TeamManifest,
    TemplateManifest,
    ToolServerManifest,
    duration_ms,
)
from accredit.registry.mappings import declared_mapping
from accredit.registry.model import (
    LATEST_REVISION,
    SESSION_REVISIONS,
    AgentState,
    Agreement,
    Environment,
    GateRule,
    Person,
    ReviewSchedule,
    Role,
    SeasonalUse,
    Store,
    Tier,
    ToolServer,
)
from accredit.registry.organisation import AccountTie, Organisation
from accredit.registry.pinning import definition_digest, definition_text
from accredit.registry.poisoning import ToolNames
from accredit.registry.prices import PriceBook
from accredit.registry.proposals import (
    Proposal,
    directory_content,
    gate_content,
    group_content,
    issuer_body,
    proposed,
    repin_content,
    server_content,
    store_content,
    template_content,
    vouching_content,
)
from accredit.registry.registration import (
    AgentCheck,
    agent_row,
    called,
    fault_at,
    names_there,
    person_at,
    pinned_definition,
    shown,
    team_named,
)
from accredit.registry.schemas import compile_arguments
from accredit.registry.templates import pinned_facts
from accredit.registry.versions import expiry_us, facets, last_day, money_doc, version_digest
from accredit.registry.vouching import (
    VouchingFault,
    issuer_doc,
    issuer_faults,
    only_takes_away,
    provider_doc,
    provider_faults,
    same_word,
)

__all__ = [
    "UNKNOWN_REVISION",
    "Build",
    "Declarations",
    "Definitions",
    "author",
    "declared_twice",
    "launch_awaits",
    "local_definitions",
    "not_alone",
    "pinning",
    "place",
    "server_of",
    "some_of",
]

_TEMPLATE_US: Final = 366 * 86_400_000_000
_MAX_TIES: Final = 200
_MAX_NAMED: Final = 200
_MAX_NAMES: Final = 40_000
"""Characters of them together."""
_PLACE: Final = ("api", "credential", "elicitation", "launch", "local", "openapi", "url")
_STARTED_BY: Final = ("credential", "environment", "launch", "url")

UNKNOWN_REVISION: Final = ""
"""Of a server that nobody has asked yet which revisions of MCP it speaks."""

LOCAL_ADAPTERS: Final = frozenset({"chroma", "files", "lancedb", "qdrant-local", "sqlite"})
"""Adapters of stores that are files of this machine."""

Definitions = Mapping[str, Mapping[str, Any]]
"""What a tool server offers, by its own tool names."""
Build = Callable[[StateView], Change | None]
"""One transaction: judged against a state, it gives what to write, or nothing if it is so already."""


class Declarations:
    """Turns manifests into changes and proposals."""

    def __init__(
        self,
        ids: IdSource,
        clock: Clock,
        *,
        catalogue: Callable[[], Catalogue],
        organisation: Callable[[], Organisation],
        entitlements: Callable[[], Entitlements],
        prices: PriceBook,
        development_days: int = 0,
    ) -> None:
        self._ids = ids
        self._clock = clock
        self._catalogue = catalogue
        self._organisation = organisation
        self._entitlements = entitlements
        self._prices = prices
        self._development_days = development_days

    def steps(
        self,
        document: Document,
        offers: Mapping[str, Definitions],
        actor: Actor,
        waiting: frozenset[str] = frozenset(),
    ) -> Iterator[Build]:
        """The transactions that put a manifest in place; `waiting` names tool servers that need a sign-off first."""
        match document:
            case PersonManifest():
                yield partial(self._put_person, document, actor)
            case TeamManifest():
                yield partial(self._put_team, document, actor)
            case DirectoryManifest() | GroupManifest() | GateManifest() | TemplateManifest():
                return  # it is so already, or it is proposed
            case AgreementManifest():
                yield partial(self._put_agreement, document, actor)
            case IssuerManifest():
                yield partial(self._put_issuer, document, actor)
            case ContextProviderManifest():
                yield partial(self._put_context_provider, document, actor)
            case EnforcementPointManifest():
                yield partial(self._put_enforcement_point, document, actor)
            case StoreManifest():
                yield partial(self._put_store, document, actor)
            case ReviewScheduleManifest():
                yield partial(self._put_review_schedule, document, actor)
            case ToolServerManifest() | ModelProviderManifest():
                offer = offers[document.metadata.name]
                yield partial(self._put_server, document, offer, actor)
                flags = self.flags(document, offer)
                for own in document.spec.registered:
                    yield partial(self._pin, document, own, offer, flags.get(own, ()), actor)
            case AgentManifest():
                yield partial(self._put_agent, document, waiting, actor)

    def proposal(
        self, document: Document, offers: Mapping[str, Definitions], actor: Actor, view: StateView
    ) -> Proposal | None:
        """What a manifest asks for instead, if it takes two persons.

        Raises:
            ManifestError: with everything that is wrong.
        """
        match document:
            case DirectoryManifest():
                return self._directory_proposal(document, actor, view)
            case GroupManifest():
                return self._group_proposal(document, actor, view)
            case GateManifest():
                return self._gate_proposal(document, actor, view)
            case TemplateManifest():
                return self._template_proposal(document, actor, view)
            case StoreManifest():
                return self._store_proposal(document, actor, view)
            case IssuerManifest() | ContextProviderManifest():
                return self._vouching_proposal(document, actor, view)
            case ToolServerManifest() | ModelProviderManifest():
                return self._server_proposal(document, offers[document.metadata.name], actor, view)
            case _:
                return None

    # -- people, groups, teams, agreements, issuers

    def _put_person(self, manifest: PersonManifest, actor: Actor, view: StateView) -> Change | None:
        address = same_address(manifest.spec.email)
        controllers = self._controllers(manifest, view)
        if controllers is not None and manifest.spec.manager is not None:
            message = "a service account has people who control it, and no manager"
            raise _fault(manifest, "spec.manager", Code.CONFLICT, message, "name them under `controlledBy`")
        likely = self._catalogue().person(address)
        if likely is not None and view.get(rows.PERSON, likely.id) is not None:
            return self._put_again(manifest, likely.id, controllers, actor, view)
        folded = address.casefold()
        for row in view.scan(rows.PERSON):
            if row.doc["email"].casefold() != folded:
                continue
            if same_address(row.doc["email"]) == address:
                return self._put_again(manifest, PersonId(row.key), controllers, actor, view)
            raise _fault(
                manifest, "spec.email", Code.CONFLICT,
                f"`{address}` differs from a registered address in letter case alone", "write it as it is registered",
            )  # fmt: skip
        person = Person(
            PersonId(self._ids.new("psn")),
            address,
            bot=controllers is not None,
            controllers=controllers or frozenset(),
            manager=self._manager(manifest, view, None),
        )
        writes = [Write(rows.PERSON, person.id, rows.person_doc(person, salt=self._ids.secret(16).hex()))]
        if actor.person is not None:
            # whoever chose the address may read what is sent there (DESIGN §4)
            tie = AccountTie(person.id, PersonId(actor.person), self._clock.now().wall_us)
            writes.append(Write(rows.ACCOUNT_TIE, rows.account_tie_key(tie), rows.account_tie_doc(tie)))
        return Change(Facts("person.registered"), tuple(writes), actor, {"bot": person.bot, "person": person.id})

    def _controllers(self, manifest: PersonManifest, view: StateView) -> frozenset[str] | None:
        """Ids of persons and names of groups; None for a person."""
        if manifest.spec.controlled_by is None:
            return None
        found, faults = self._holders(manifest, "spec.controlledBy", manifest.spec.controlled_by, view)
        if faults:
            raise ManifestError(faults)
        return found

    def _holders(
        self, manifest: Document, at: str, names: Sequence[str], view: StateView
    ) -> tuple[frozenset[str], list[ManifestFault]]:
        """Ids of persons and names of groups, and what is wrong with those named."""
        found, faults = set(), []
        for index, name in enumerate(names):
            path = f"{at}[{index}]"
            if name.startswith("group:"):
                found.add(name)
                if view.get(rows.GROUP, name.removeprefix("group:")) is None:
                    faults.append(fault_at(manifest, path, Code.NOT_FOUND, f"there is no group `{name[6:]}`"))
                continue
            person = person_at(view, name, self._catalogue().person(name))
            row = view.get(rows.PERSON, person) if person is not None else None
            known = rows.person_from(row.key, row.doc) if row is not None else None
            if known is None or known.left or known.bot:
                message = f"`{name}` is not a registered person who is there"
                faults.append(fault_at(manifest, path, Code.NOT_FOUND, message, "apply a Person"))
            else:
                found.add(known.id)
        return frozenset(found), faults

    def _manager(self, manifest: PersonManifest, view: StateView, known: Person | None) -> PersonId | None:
        """Who the manifest names; whoever is named already may have left meanwhile."""
        address = manifest.spec.manager
        if address is None:
            return None
        person = person_at(view, address, self._catalogue().person(address))
        row = view.get(rows.PERSON, person) if person is not None else None
        named = rows.person_from(row.key, row.doc) if row is not None else None
        if named is not None and known is not None and named.id == known.manager:
            return named.id
        if named is None or named.left or named.bot or (known is not None and named.id == known.id):
            raise _fault(
                manifest, "spec.manager", Code.NOT_FOUND,
                f"`{address}` is not another registered person who is there", "apply the manager's Person first",
            )  # fmt: skip
        return named.id

    def _put_again(
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
        manager = self._manager(manifest, view, known)
        controllers = known.controllers if controllers is None else controllers
        if (controllers, manager) == (known.controllers, known.manager):
            return None
        # whoever answered for it a moment ago could still be behind what it asked for
        former = sorted(
            {one for holder in known.controllers - controllers for one in self._organisation().persons(holder)}
        )
        if len(former) > _MAX_TIES:
            raise _fault(manifest, "spec.controlledBy", Code.CONFLICT, "too many people answered for it until now")
        now_us = self._clock.now().wall_us
        ties = [AccountTie(person, one, now_us) for one in former if one != person]
        return Change(
            Facts("person.updated"),
            (
                Write(rows.PERSON, person, {**row.doc, "controllers": sorted(controllers), "manager": manager}),
                *(Write(rows.ACCOUNT_TIE, rows.account_tie_key(tie), rows.account_tie_doc(tie)) for tie in ties),
            ),
            actor,
            {"controllers": sorted(controllers), "manager": manager, "person": person},
        )

    def _group_proposal(self, manifest: GroupManifest, actor: Actor, view: StateView) -> Proposal | None:
        name, spec = manifest.metadata.name, manifest.spec
        faults, members = [], []
        for index, address in enumerate(spec.members):
            person = person_at(view, address, self._catalogue().person(address))
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
        if (keeper := self._entitlements().keeper(name)) is not None:
            wanted = set(members), set(spec.groups)
            known = rows.group_from(name, kept.doc) if (kept := view.get(rows.GROUP, name)) is not None else None
            if known is None or wanted != ({one.person for one in known.members}, {one for one, _ in known.groups}):
                message = f"the members of `{name}` are what the directory `{keeper}` says"
                faults.append(fault_at(manifest, "spec.members", Code.CONFLICT, message, "change them there"))
        if faults:
            raise ManifestError(faults)
        content = group_content(name, members, spec.groups, view, self._organisation(), by=author(actor))
        if content is None:
            return None
        before = self._organisation().persons(f"group:{name}")
        inner_members = {one for inner in spec.groups for one in self._organisation().persons(f"group:{inner}")}
        return proposed(content, about=f"group:{name}", beneficiaries={*members, *inner_members} - before)

    def _directory_proposal(self, manifest: DirectoryManifest, actor: Actor, view: StateView) -> Proposal | None:
        name, spec = manifest.metadata.name, manifest.spec
        faults: list[ManifestFault] = []

        def add(path: str, code: Code, message: str, hint: str = "") -> None:
            faults.append(fault_at(manifest, path, code, message, hint))

        issuer = view.get(rows.ISSUER, spec.issuer) if spec.issuer is not None else None
        if spec.issuer is not None and (issuer is None or issuer.doc["use"] != "user" or issuer.doc.get("revoked")):
            add("spec.issuer", Code.NOT_FOUND, f"no issuer of users is called `{spec.issuer}`", "register it first")
        groups: list[dict[str, Any]] = []
        seen: set[str] = set()
        for index, one in enumerate(spec.groups):
            at = f"spec.groups[{index}]"
            if one.name.casefold() in seen:
                add(f"{at}.name", Code.NAME_TAKEN, f"`{one.name}` stands in it twice", "say all that it gives at once")
            seen.add(one.name.casefold())
            if one.user_roles and spec.issuer is None:
                add(f"{at}.userRoles", Code.MANIFEST_INVALID, "roles of users need `spec.issuer`")
            team = team_named(view, one.team) if one.team is not None else None
            if one.team is not None and team is None:
                add(f"{at}.team", Code.TEAM_UNKNOWN, f"no team is called `{one.team}`")
            if one.group is not None and (why := self._composed_otherwise(name, one.group, view)):
                add(f"{at}.group", Code.CONFLICT, why, "name another group, or empty it first")
            for place, tool in enumerate(one.tools):
                if self._catalogue().tool(ToolId(tool)) is None:
                    add(f"{at}.tools[{place}]", Code.TOOL_UNKNOWN, f"there is no registered tool {shown(tool)}")
            groups.append({
                "group": one.group,
                "name": one.name,
                "team": team.id if team else None,
                "tools": sorted(one.tools),
                "user_roles": sorted(one.user_roles),
            })  # fmt: skip
        if faults:
            raise ManifestError(faults)
        doc = {
            "groups": sorted(groups, key=lambda one: one["name"]),
            "issuer": spec.issuer,
            "subject": spec.subject,
        }
        content = directory_content(name, doc, view, self._organisation(), by=author(actor))
        if content is None:
            return None
        rule = directory_from(name, {**doc, "by": []})
        before = self._entitlements()
        after = before.after([Write(rows.DIRECTORY, name, {**doc, "by": []})])
        kept = after.kept(rule.name).items()
        gain = {one for group, there in kept for one in there - self._organisation().persons(f"group:{group}")}
        return proposed(content, about=f"directory:{name}", beneficiaries=gain)

    def _composed_otherwise(self, directory: str, group: str, view: StateView) -> str:
        """Why a directory cannot keep a group of ours; empty: it can."""
        keeper, row = self._entitlements().keeper(group), view.get(rows.GROUP, group)
        if keeper is not None:
            return "" if keeper == directory else f"the directory `{keeper}` keeps `{group}` already"
        if row is not None and (row.doc["members"] or row.doc["groups"]):
            return f"`{group}` was composed by people"
        return ""

    def _gate_proposal(self, manifest: GateManifest, actor: Actor, view: StateView) -> Proposal | None:
        name, spec = manifest.metadata.name, manifest.spec
        told: dict[str, dict[Role, frozenset[str]]] = {"backups": {}, "heads": {}}
        faults: list[ManifestFault] = []
        for each, named in (("backups", spec.backups), ("heads", spec.heads)):
            for role, holders in named.items():
                found, wrong = self._holders(manifest, f"spec.{each}.{role}", holders, view)
                told[each][Role(role)] = found
                faults += wrong
        if faults:
            raise ManifestError(faults)
        rule = GateRule(
            {Role(role): count for role, count in spec.roles.items()}, spec.comment, told["backups"], told["heads"]
        )
        content = gate_content(name, rows.gate_doc(rule), view, by=author(actor))
        return None if content is None else proposed(content, about=f"gate:{name}")

    def _template_proposal(self, manifest: TemplateManifest, actor: Actor, view: StateView) -> Proposal | None:
        name, spec = manifest.metadata.name, manifest.spec
        team = team_named(view, manifest.metadata.team)
        faults: list[ManifestFault] = []
        if team is None:
            message = f"no team is called `{manifest.metadata.team}`"
            faults.append(fault_at(manifest, "metadata.team", Code.TEAM_UNKNOWN, message))
        tools: dict[str, dict[str, Any]] = {}
        for index, form in enumerate(spec.tools):
            for place, own in enumerate(form.allow):
                known = self._catalogue().tool(tool_id(ServerName(form.server), own))
                server = self._catalogue().server(ServerName(form.server))
                if known is None or server is None or server.environment is not Environment.PRODUCTION:
                    message = f"the production server `{form.server}` has no registered tool {shown(own)}"
                    at = f"spec.tools[{index}].allow[{place}]"
                    faults.append(fault_at(manifest, at, Code.TOOL_UNKNOWN, message))
                else:
                    tools[known.id] = pinned_facts(known)
        expires_us, now_us = expiry_us(spec.expires.isoformat()), self._clock.now().wall_us
        if expires_us is None or not now_us < expires_us <= now_us + _TEMPLATE_US:
            message = "a template ends later than now and within a year"
            faults.append(fault_at(manifest, "spec.expires", Code.MANIFEST_INVALID, message))
        if faults or team is None:
            raise ManifestError(faults)
        limits, cost = spec.limits, spec.limits.cost
        doc = {
            "audience": sorted(spec.audience),
            "autonomy": sorted(spec.autonomy),
            "data": sorted(spec.data),
            "expires_us": expires_us,
            "inputs": sorted(spec.inputs),
            "limits": {
                "callTimeoutMs": duration_ms(limits.timeout.call),
                "callsPerMinute": limits.calls.per_minute,
                "concurrency": limits.concurrency,
                "costPerDay": money_doc(Money.parse(cost.per_day)) if cost else None,
                "runTimeoutMs": duration_ms(limits.timeout.run),
            },
            "models": sorted([one.provider, one.model] for one in spec.models),
            "reach": sorted(spec.reach),
            "tools": tools,
        }
        content = template_content(name, team.id, doc, view, by=author(actor))
        return None if content is None else proposed(content, about=f"template:{name}", team=team.id)

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

    def _put_review_schedule(self, manifest: ReviewScheduleManifest, actor: Actor, view: StateView) -> Change | None:
        name, spec = manifest.metadata.name, manifest.spec
        for index, team in enumerate(spec.scope.teams or ()):
            if team_named(view, team) is None:
                raise _fault(manifest, f"spec.scope.teams[{index}]", Code.TEAM_UNKNOWN, f"no team is called `{team}`")
        seasonal = [
            SeasonalUse(tool_id(ServerName(form.server), own), form.every_months)
            for form in spec.seasonal
            for own in form.allow
        ]
        if len({one.tool for one in seasonal}) < len(seasonal):
            raise _fault(manifest, "spec.seasonal", Code.MANIFEST_INVALID, "a tool is named twice", "name it once")
        schedule = ReviewSchedule(
            name,
            teams=frozenset(spec.scope.teams or ()),
            tiers=frozenset(Tier(one) for one in spec.scope.tiers or ()),
            agents=frozenset(spec.scope.agents or ()),
            services=frozenset(spec.scope.business_services or ()),
            months={Tier.LOW: spec.every.low, Tier.MEDIUM: spec.every.medium, Tier.HIGH: spec.every.high},
            day=spec.day,
            respond_days=spec.respond_days,
            grace_days=spec.grace_days,
            seasonal=tuple(sorted(seasonal, key=lambda one: one.tool)),
        )
        row, doc = view.get(rows.REVIEW_SCHEDULE, name), rows.review_schedule_doc(schedule)
        if row is not None and row.doc == doc:
            return None
        kind = "review-schedule.updated" if row else "review-schedule.registered"
        return Change(Facts(kind), (Write(rows.REVIEW_SCHEDULE, name, doc),), actor, {"schedule": name, **doc})

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

    def _put_enforcement_point(
        self, manifest: EnforcementPointManifest, actor: Actor, view: StateView
    ) -> Change | None:
        name, spec = manifest.metadata.name, manifest.spec
        doc = {
            "calls_per_minute": spec.calls.per_minute,
            "servers": sorted(spec.servers),
            "types": sorted(spec.types),
            # left out where it is none, as in rows from before there were reports
            **({"reports": spec.reports} if spec.reports else {}),
        }
        row = view.get(rows.ENFORCEMENT_POINT, name)
        if row is not None and row.doc.get("revoked"):
            # registering it again would revive what was revoked
            raise _fault(
                manifest, "metadata.name", Code.CREDENTIAL_REVOKED, f"the enforcement point `{name}` was revoked",
                "register it under another name",
            )  # fmt: skip
        if row is not None and row.doc == doc:
            return None
        kind = "enforcement_point.updated" if row else "enforcement_point.registered"
        return Change(
            Facts(kind), (Write(rows.ENFORCEMENT_POINT, name, doc),), actor, {"enforcement_point": name, **doc}
        )

    def _put_issuer(self, manifest: IssuerManifest, actor: Actor, view: StateView) -> Change | None:
        name, doc = manifest.metadata.name, issuer_doc(manifest)
        row = view.get(rows.ISSUER, name)
        revoked = row is not None and row.doc.get("revoked")
        if same_word(row, doc) and not revoked:
            return None
        _refuse(manifest, issuer_faults(name, doc, view))
        write = Write(rows.ISSUER, name, {**(row.doc if row else {}), **doc})
        kind = "issuer.updated" if row else "issuer.registered"
        return Change(Facts(kind), (write,), actor, issuer_body(name, doc))

    def _put_context_provider(self, manifest: ContextProviderManifest, actor: Actor, view: StateView) -> Change | None:
        name, doc = manifest.metadata.name, provider_doc(manifest)
        row = view.get(rows.CONTEXT_PROVIDER, name)
        if same_word(row, doc):
            return None
        _refuse(manifest, provider_faults(name, doc, view))
        kind = "context_provider.updated" if row else "context_provider.registered"
        write = Write(rows.CONTEXT_PROVIDER, name, {**(row.doc if row else {}), **doc})
        body = {"context_provider": name, **doc}
        return Change(Facts(kind), (write,), actor, body, narrowing=manifest.spec.off)

    def _vouching_proposal(
        self, manifest: IssuerManifest | ContextProviderManifest, actor: Actor, view: StateView
    ) -> Proposal | None:
        """An issuer or provider that nobody else looked at, or that would say more than was looked at."""
        name = manifest.metadata.name
        if isinstance(manifest, IssuerManifest):
            kind, change, doc = rows.ISSUER, "issuer", issuer_doc(manifest)
            faults = issuer_faults(name, doc, view)
        else:
            kind, change, doc = rows.CONTEXT_PROVIDER, "context-provider", provider_doc(manifest)
            faults = provider_faults(name, doc, view)
        row = view.get(kind, name)
        signed_off = row is not None and "enacted" in row.doc and not row.doc.get("revoked")
        if only_takes_away(row, doc) or (signed_off and same_word(row, doc)):
            return None
        _refuse(manifest, faults)
        return proposed(vouching_content(change, name, doc, row, by=author(actor)), about=f"{change}:{name}")

    # -- stores

    def _put_store(self, manifest: StoreManifest, actor: Actor, view: StateView) -> Change | None:
        name, row = manifest.metadata.name, view.get(rows.STORE, manifest.metadata.name)
        doc = self._store_doc(manifest, row)
        if row is not None and {**row.doc, "enacted": None} == {**doc, "enacted": None}:
            return None
        facts = Facts("store.updated" if row else "store.registered", environment=doc["environment"])
        return Change(facts, (Write(rows.STORE, name, doc),), actor, {"adapter": doc["adapter"], "store": name})

    def _store_proposal(self, manifest: StoreManifest, actor: Actor, view: StateView) -> Proposal | None:
        """What is purged rests on where a store is said to be, so outside of development a second person looks."""
        name, row = manifest.metadata.name, view.get(rows.STORE, manifest.metadata.name)
        doc = self._store_doc(manifest, row)
        development = doc["environment"] == Environment.DEVELOPMENT
        if row is not None and {**row.doc, "enacted": None} == {**doc, "enacted": None}:
            return None
        if development and not _shares_place(name, doc, view):
            return None
        content = store_content(name, doc, view, by=author(actor))
        return proposed(content, about=f"store:{name}", environment=Environment(doc["environment"]))

    @staticmethod
    def _store_doc(manifest: StoreManifest, row: Row | None) -> dict[str, Any]:
        spec = manifest.spec
        if row is not None and row.doc["environment"] != manifest.metadata.environment:
            raise _fault(
                manifest, "metadata.environment", Code.NAME_TAKEN,
                f"`{manifest.metadata.name}` is registered in {row.doc['environment']}", "choose another name",
            )  # fmt: skip
        if spec.location.startswith("/") != (spec.adapter in LOCAL_ADAPTERS):
            raise _fault(
                manifest, "spec.location", Code.MANIFEST_INVALID,
                f"`{spec.location[:80]}` is no place of `{spec.adapter}`",
                f"{', '.join(sorted(LOCAL_ADAPTERS))} take a path, all others a URL",
            )  # fmt: skip
        return rows.store_doc(
            Store(
                name=manifest.metadata.name,
                environment=Environment(manifest.metadata.environment),
                adapter=spec.adapter,
                location=spec.location,
                credential=spec.credential,
                namespaces=tuple(sorted(spec.namespaces)),
                shared=spec.shared,
                owner_field=spec.owner_field,
                subject_field=spec.subject_field,
                key_scope=spec.key_scope,
                id_field=spec.items.id,
                text_field=spec.items.text,
                created_field=spec.items.created,
            )
        )

    # -- tool servers

    def flags(
        self, manifest: ToolServerManifest | ModelProviderManifest, offer: Definitions
    ) -> dict[str, tuple[str, ...]]:
        """What is noticeable about the definitions that a server offers, of the tools that are registered of it."""
        name = manifest.metadata.name
        own = [tool_id(name, each) for each in manifest.spec.registered]
        names = ToolNames(
            [*own, *(tool.id for server in self._catalogue().servers() for tool in server.tools.values())]
        )
        offered = {each: offer[each] for each in manifest.spec.registered if each in offer}
        found = {each: names.flags(definition, tool_id(name, each)) for each, definition in offered.items()}
        return {each: flags for each, flags in found.items() if flags}

    def _put_server(
        self, manifest: ToolServerManifest | ModelProviderManifest, offer: Definitions, actor: Actor, view: StateView
    ) -> Change | None:
        name, environment, spec = manifest.metadata.name, manifest.metadata.environment, manifest.spec
        row = view.get(rows.SERVER, name)
        doc = self._server_doc(manifest, row)
        self._check_server(manifest, offer, row, view)
        if row is not None and _facts_of(row.doc) == doc:
            return None
        if row is not None and "enacted" in row.doc:
            doc = {**doc, "enacted": row.doc["enacted"]}  # less than what was signed off, or new tools beside it
        return Change(
            Facts("server.updated" if row else "server.registered", environment=environment),
            (Write(rows.SERVER, name, doc),),
            actor,
            {
                "server": name,
                "url": doc["url"],
                "tools": some_of([tool_id(name, own) for own in sorted(spec.registered)]),
            },
        )

    def _server_doc(self, manifest: ToolServerManifest | ModelProviderManifest, row: Row | None) -> dict[str, Any]:
        """What the operator says, as stored; the prices of models that it does not tell are looked up and stay."""
        doc = _server_doc(manifest, row.doc if row is not None else None)
        if isinstance(manifest, ModelProviderManifest):
            known = {entry["name"]: entry.get("rates") for entry in row.doc["tools"]} if row is not None else {}
            for entry in doc["tools"]:
                entry["rates"] = self._rates(manifest, entry["name"], known.get(entry["name"]))
        return doc

    def _rates(self, manifest: ModelProviderManifest, model: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
        form, spec = manifest.spec.models[model], manifest.spec
        if form.input is not None:
            return _rates_doc(form, form.max_output)
        at = f"spec.models.{shown(model)}"
        found = self._prices.find(spec.api, spec.url, spec.prices, model)
        if found is None:
            raise _fault(
                manifest, at, Code.PRICE_MISSING, "no price of this model is known",
                "give `input`, `output` and `maxOutput`, or add it to the `price_file`; `prices: openai` names whose "
                "list prices hold at an address that does not tell",
            )  # fmt: skip
        listed, source = found
        if (most := form.max_output or listed.max_output) is None:
            raise _fault(manifest, at, Code.PRICE_MISSING, "how much it can answer is not known", "give `maxOutput`")
        doc = {**_rates_doc(listed, most), "source": source}
        # where a price comes from is no change of it: a newer list with the same price leaves what was signed off
        same = before is not None and {**before, "source": source} == doc and "source" in before
        return dict(before) if same and before is not None else doc

    def _check_server(
        self, manifest: ToolServerManifest | ModelProviderManifest, offer: Definitions, row: Row | None, view: StateView
    ) -> None:
        """Check a server against what is registered, pinned and offered.

        Raises:
            ManifestError: the name belongs elsewhere, it may ask in a revision that has no questions, or a tool
                cannot be pinned.
        """
        self._check_name(manifest, row)
        asks_in = isinstance(manifest, ToolServerManifest) and manifest.spec.elicitation and manifest.spec.revision
        if asks_in == SESSION_REVISIONS[-1]:
            raise _fault(
                manifest, "spec.elicitation", Code.MANIFEST_INVALID,
                f"MCP {asks_in} has no questions to users", "leave it out, or name a later `revision`",
            )  # fmt: skip
        faults = [fault for own in manifest.spec.registered for fault in self._tool_faults(view, manifest, own, offer)]
        if faults:
            raise ManifestError(faults)

    @staticmethod
    def _check_name(manifest: ToolServerManifest | ModelProviderManifest, row: Row | None) -> None:
        name = manifest.metadata.name
        if row is not None and row.doc["environment"] != manifest.metadata.environment:
            # the name alone stands in tool ids and addresses, so it means one server
            raise _fault(
                manifest, "metadata.name", Code.NAME_TAKEN,
                f"the tool server `{name}` belongs to {row.doc['environment']}", "choose another name",
            )  # fmt: skip
        local = bool(local_definitions(manifest))
        if row is not None and (
            ("api" in row.doc) is not isinstance(manifest, ModelProviderManifest) or ("local" in row.doc) is not local
        ):
            raise _fault(
                manifest, "metadata.name", Code.NAME_TAKEN,
                f"`{name}` is registered as another kind of server", "choose another name",
            )  # fmt: skip

    def _server_proposal(
        self, manifest: ToolServerManifest | ModelProviderManifest, offer: Definitions, actor: Actor, view: StateView
    ) -> Proposal | None:
        name, environment = manifest.metadata.name, Environment(manifest.metadata.environment)
        row = view.get(rows.SERVER, name)
        doc = self._server_doc(manifest, row)
        moved = self._moved_definitions(manifest, view) if environment is not Environment.DEVELOPMENT else {}
        if not _takes_two(name, row.doc if row else None, doc, view):
            return self._local_repin(manifest, moved, offer, actor, row, view) if moved else None
        if moved:
            raise _fault(
                manifest, "spec.definitions", Code.CONFLICT, "definitions and facts of the tools change together",
                "apply one, have it signed off, and then the other",
            )  # fmt: skip
        if launch_awaits(manifest, row.doc if row else None):
            # how it is started comes first: what tools it has, nobody knows before it was
            doc = {**doc, "tools": row.doc["tools"] if row else []}
            if row is not None and "revision" in row.doc:
                doc = {"revision": row.doc["revision"], **doc}
            self._check_name(manifest, row)
            known = {own: pinned_definition(view, tool_id(name, own)) for own in _names_of(doc)}
            definitions = {own: pin[1] for own, pin in known.items() if pin is not None}
            content = server_content(name, doc, view, definitions, flags={}, by=author(actor))
            return proposed(content, about=f"server:{name}", environment=environment)
        self._check_server(manifest, offer, row, view)
        pinned = {own: pinned_definition(view, tool_id(name, own)) for own in manifest.spec.registered}
        definitions = {own: offer[own] if pin is None else pin[1] for own, pin in pinned.items()}
        flags = self.flags(manifest, definitions)
        content = server_content(name, doc, view, definitions, flags=flags, by=author(actor))
        try:
            return proposed(content, about=f"server:{name}", environment=environment)
        except InvalidInputError as error:
            raise _fault(manifest, "spec.tools", error.code, error.message, error.hint) from error

    @staticmethod
    def _moved_definitions(
        manifest: ToolServerManifest | ModelProviderManifest, view: StateView
    ) -> dict[str, Mapping[str, Any]]:
        """Of a program's functions, what is pinned where another definition is declared now."""
        found = {}
        for own, declared in local_definitions(manifest).items():
            pinned = pinned_definition(view, tool_id(manifest.metadata.name, own))
            try:
                if pinned is not None and definition_digest(declared) != pinned[0]:
                    found[own] = pinned[1]
            except InvalidInputError as error:
                raise _fault(
                    manifest, f"spec.definitions.{shown(own)}", error.code, error.message, error.hint
                ) from error
        return found

    def _local_repin(
        self,
        manifest: ToolServerManifest | ModelProviderManifest,
        moved: Mapping[str, Mapping[str, Any]],
        offer: Definitions,
        actor: Actor,
        row: Row | None,
        view: StateView,
    ) -> Proposal:
        """Other definitions of functions that are registered already."""
        self._check_server(manifest, offer, row, view)
        name, environment = ServerName(manifest.metadata.name), Environment(manifest.metadata.environment)
        content = repin_content(
            name, environment, {own: offer[own] for own in moved}, moved, view,
            flags=self.flags(manifest, offer), by=author(actor),
        )  # fmt: skip
        return proposed(content, about=f"server:{name}", environment=environment)

    def _tool_faults(
        self, view: StateView, manifest: ToolServerManifest | ModelProviderManifest, own: str, offer: Definitions
    ) -> Iterator[ManifestFault]:
        """What keeps a tool from being pinned, or its pinned schema from being compiled as is asked now."""
        path, tool = f"spec.{_at(manifest, own)}", tool_id(manifest.metadata.name, own)
        pinned = pinned_definition(view, tool)
        declared = local_definitions(manifest).get(own)  # what is declared here is judged, whatever was pinned before
        definition = declared or (offer.get(own) if pinned is None else pinned[1])
        if definition is None:
            there = names_there(one for one in offer if item_kind(one) is item_kind(own))
            yield fault_at(manifest, path, Code.TOOL_UNKNOWN, f"the server offers no {called(own)}", there)
            return
        try:
            definition_text(definition)
            allow_undeclared = manifest.spec.registered[own].allow_undeclared
            compile_arguments(definition.get("inputSchema"), allow_undeclared=allow_undeclared)
            declared_mapping(definition)
        except InvalidInputError as error:
            yield fault_at(manifest, path, error.code, error.message, error.hint)

    def _pin(
        self,
        manifest: ToolServerManifest | ModelProviderManifest,
        own: str,
        offer: Definitions,
        flags: Sequence[str],
        actor: Actor,
        view: StateView,
    ) -> Change | None:
        name = manifest.metadata.name
        tool = tool_id(name, own)
        declared, known = local_definitions(manifest).get(own), view.get(rows.TOOL, tool)
        if known is not None and declared is None:
            # INVARIANT: a pin once made changes by `repin` alone, even if the tool was dropped and listed again
            return None
        form = manifest.spec.registered[own]
        digest = definition_digest(offer[own])
        if known is not None and known.doc["definition"] == digest:
            return None
        facts = Facts(
            "tool.pinned" if known is None else "tool.repinned",
            environment=manifest.metadata.environment,
            tool=tool,
            effect=form.effect,
            scope=form.scope if form.effect == "write" else None,
            data_classes=tuple(sorted(form.data)),
        )
        return Change(
            facts,
            pinning(tool, offer[own], self._clock.now().wall_us),
            actor,
            {"flags": list(flags), "tool": tool}
            | ({"definition": digest} if known is None else {"after": digest, "before": known.doc["definition"]}),
        )

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
        checked = AgentCheck(view, manifest, likely=self._catalogue(), now_us=now, waiting=waiting).canonical()
        form = self._ending(checked, row, view, now)
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
            anew = declared_anew(row.doc, digest, doc)
            if isinstance(anew, Inapplicable):
                raise _fault(manifest, "metadata.name", Code.TRANSITION_REFUSED, anew.why, anew.hint)
            doc = anew
        history = row.doc["history"] if row else ()
        doc["history"] = [*history, {"at_us": now, "by": actor.person, "version": digest}][-MAX_HISTORY:]
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

    def _ending(self, form: Mapping[str, Any], row: Row | None, view: StateView, now_us: int) -> Mapping[str, Any]:
        """The form with a last day, for an agent in development that names none: given when it is registered.

        Declared anew before that day it keeps it, and after it that is how it goes on. An agent that was registered
        without a last day goes on without one.
        """
        named = Environment(form["metadata"]["environment"]) is not Environment.DEVELOPMENT or form["spec"]["expires"]
        if named or not self._development_days:
            return form
        newest = view.get(rows.VERSION, row.doc.get("candidate") or row.doc["version"]) if row is not None else None
        given = newest.doc["manifest"]["spec"]["expires"] if newest is not None else None
        if row is not None and given is None:
            return form
        if given is None or (ends_us := expiry_us(given)) is None or ends_us <= now_us:
            given = last_day(now_us, self._development_days)
        return {**form, "spec": {**form["spec"], "expires": given}}


def _at(manifest: ToolServerManifest | ModelProviderManifest, own: str) -> str:
    """Where a manifest of a server names what has that name among its tools."""
    if isinstance(manifest, ModelProviderManifest) or (group := item_group(own)) is None:
        return f"tools.{shown(own)}"
    return f"{group}.{shown(item_name(own))}"


def pinning(tool: ToolId, definition: Mapping[str, Any], now_us: int) -> tuple[Write, ...]:
    """What pins a tool's definition."""
    digest = definition_digest(definition)
    return (
        Write(rows.DEFINITION, digest, {"text": definition_text(definition)}),
        Write(rows.TOOL, tool, {"definition": digest, "pinned_us": now_us}),
    )


def _refuse(document: Document, faults: Iterable[VouchingFault]) -> None:
    found = [fault_at(document, *fault) for fault in faults]
    if found:
        raise ManifestError(found)


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


def declared_twice(documents: Sequence[Document]) -> Iterator[ManifestFault]:
    """What stands twice in a set of manifests."""
    seen: set[tuple[str, ...]] = set()
    for document in documents:
        if _key(document) in seen:
            yield fault_at(document, "metadata.name", Code.NAME_TAKEN, "declared twice in what is applied", "keep one")
        seen.add(_key(document))


def not_alone(document: Document) -> Iterator[ManifestFault]:
    """What one administrator alone cannot do."""
    if (
        isinstance(document, AgentManifest | ToolServerManifest | ModelProviderManifest | StoreManifest)
        and document.metadata.environment != "development"
    ):
        environment = document.metadata.environment
        yield fault_at(
            document, "metadata.environment", Code.PRODUCTION_REFUSED,
            f"nothing enters {environment} while there is only one administrator",
        )  # fmt: skip
    if isinstance(document, ToolServerManifest) and document.spec.stdio is not None:
        yield fault_at(
            document, "spec.stdio", Code.TWO_PERSONS_REQUIRED, "a program that is started here takes two persons"
        )
    if isinstance(document, GateManifest | TemplateManifest):
        yield fault_at(document, "", Code.TWO_PERSONS_REQUIRED, "what gates ask for takes two persons to change")
    if isinstance(document, GroupManifest | DirectoryManifest):
        yield fault_at(
            document, "", Code.TWO_PERSONS_REQUIRED, "a group takes two persons, as the roles it can give do"
        )


def place(document: Document) -> tuple[int, bool]:
    """What others name comes first; a service account may name a group, and a person a manager."""
    if isinstance(document, PersonManifest) and document.spec.controlled_by is not None:
        return _ORDER.index("Group"), True
    return _ORDER.index(document.kind), isinstance(document, PersonManifest) and document.spec.manager is not None


_ORDER: Final = list(KINDS)


def author(actor: Actor) -> PersonId:
    if actor.person is None:
        raise ForbiddenError(Code.NOT_AUTHORISED, "only a person can ask for this")
    return PersonId(actor.person)


def _server_doc(
    manifest: ToolServerManifest | ModelProviderManifest, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the operator says, as stored."""
    spec = manifest.spec
    tools: list[dict[str, Any]] = [
        {
            "allow_undeclared": form.allow_undeclared,
            "data": sorted(form.data),
            "effect": form.effect,
            "fields": [list(pair) for pair in sorted(form.fields.items())],
            "name": own,
            "price": money_doc(Money.parse(form.price)) if form.price is not None else None,
            "scope": form.scope if form.effect == "write" else None,
        }
        for own, form in sorted(spec.registered.items())
    ]
    environment = manifest.metadata.environment
    doc: dict[str, Any] = {
        "credential": spec.credential,
        "environment": environment,
        "tools": tools,
        "url": _url_of(manifest),
    }
    if isinstance(manifest, ModelProviderManifest):
        listed = {"prices": manifest.spec.prices} if manifest.spec.prices else {}
        return {**doc, "api": manifest.spec.api, **listed}
    if manifest.spec.definitions is not None:
        return {**doc, "local": True}
    if manifest.spec.openapi is not None:
        return {**doc, "openapi": manifest.spec.openapi}
    if manifest.spec.elicitation:
        doc["elicitation"] = sorted(set(manifest.spec.elicitation))
    # without one it is the newest; where another stood, or nothing says so, it is written out for whoever signs it off
    said = manifest.spec.stdio is not None or "revision" in (before or {})
    if manifest.spec.revision is not None and (said or manifest.spec.revision != LATEST_REVISION):
        doc["revision"] = manifest.spec.revision
    if manifest.spec.stdio is not None:
        doc["launch"] = rows.launch_doc(manifest.spec.stdio.read())
    return doc


def _url_of(manifest: ToolServerManifest | ModelProviderManifest) -> str:
    return manifest.spec.url or f"{'local' if local_definitions(manifest) else 'stdio'}:{manifest.metadata.name}"


def local_definitions(manifest: ToolServerManifest | ModelProviderManifest) -> Definitions:
    """The definitions that a manifest gives of a program's functions; none of a server that is asked for them."""
    if isinstance(manifest, ModelProviderManifest) or manifest.spec.definitions is None:
        return {}
    return {
        name: {"name": name, **form.model_dump(by_alias=True, exclude_none=True)}
        for name, form in manifest.spec.definitions.items()
    }


def server_of(manifest: ToolServerManifest, before: Mapping[str, Any] | None) -> ToolServer:
    """The server to ask for its tools, whose row now is `before`."""
    spec = manifest.spec
    known = UNKNOWN_REVISION
    if before is not None and before["url"] == _url_of(manifest) and not {"api", "openapi"} & before.keys():
        known = before.get("revision", UNKNOWN_REVISION if "launch" in before else LATEST_REVISION)
    return ToolServer(
        ServerName(manifest.metadata.name),
        Environment(manifest.metadata.environment),
        _url_of(manifest),
        spec.credential,
        {},
        spec.openapi,
        elicitation=frozenset(spec.elicitation),
        revision=LATEST_REVISION if spec.openapi is not None else spec.revision or known,
        launch=spec.stdio.read() if spec.stdio is not None else None,
    )


def launch_awaits(manifest: ToolServerManifest | ModelProviderManifest, before: Mapping[str, Any] | None) -> bool:
    """Whether a program would be started in a way that nobody has signed off yet; `before` is the server's row now."""
    if isinstance(manifest, ModelProviderManifest) or manifest.spec.stdio is None:
        return False
    doc = _server_doc(manifest, before)
    return before is None or any(before.get(key) != doc.get(key) for key in _STARTED_BY)


def _rates_doc(form: RatesForm, most: int | None) -> dict[str, Any]:
    paid, made = form.input or "", form.output or ""
    return {
        "cache_read": money_doc(Money.parse(form.cache_read or paid)),
        "cache_write": money_doc(Money.parse(form.cache_write or paid)),
        "input": money_doc(Money.parse(paid)),
        "max_output": most,
        "output": money_doc(Money.parse(made)),
    }


def _names_of(doc: Mapping[str, Any]) -> list[str]:
    return [entry["name"] for entry in doc["tools"]]


def some_of(tools: Sequence[str]) -> list[str]:
    """Tools for a record's body, which has its bounds: all of them stand in the row."""
    some: list[str] = []
    for tool in tools[:_MAX_NAMED]:
        if sum(map(len, some)) + len(tool) > _MAX_NAMES:
            break
        some.append(tool)
    return some if len(some) == len(tools) else [*some, f"and {len(tools) - len(some)} more"]


def _facts_of(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A tool server's row without what it rests on."""
    return {key: value for key, value in doc.items() if key != "enacted"}


def _takes_two(server: str, before: Mapping[str, Any] | None, doc: Mapping[str, Any], view: StateView) -> bool:
    """Whether a tool server's change takes two persons: nothing is proposed that only takes tools away.

    In development a new server, and a tool that was never pinned, are somebody's own business. A tool that was there
    once is not: taken away and listed again it could come back with other facts. Nor is a server that leads where one
    of another environment does: drafts, which nobody signs off, would act there by what one person says of its tools.
    """
    development = doc["environment"] == Environment.DEVELOPMENT
    if before is None:
        return not development or "launch" in doc or ("local" not in doc and _leads_beyond(doc, view))
    if any(before.get(key) != doc.get(key) for key in _PLACE):
        return True
    # only of a program that was signed off and has not been started yet nobody knows what it speaks
    unknown = "launch" in before and "revision" not in before and not before["tools"]
    if not unknown and before.get("revision", LATEST_REVISION) != doc.get("revision", LATEST_REVISION):
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


def _leads_beyond(doc: Mapping[str, Any], view: StateView) -> bool:
    """Whether a server outside of development is at the same place, or is called with the same credential."""
    return any(
        row.doc["environment"] != Environment.DEVELOPMENT
        and (
            _place_of(row.doc["url"]) == _place_of(doc["url"]) or doc["credential"] in {row.doc["credential"]} - {None}
        )
        for row in view.scan(rows.SERVER)
    )


def _shares_place(name: str, doc: Mapping[str, Any], view: StateView) -> bool:
    """Whether a store of another environment is at, above or below the same place, or opened with the same credential.

    In development one person registers: what others rely on must not be purged by what that person says of it.
    """
    place = f"{doc['location'].rstrip('/')}/"
    for row in view.scan(rows.STORE):
        if row.key == name or row.doc["environment"] == doc["environment"]:
            continue
        other = f"{row.doc['location'].rstrip('/')}/"
        if place.startswith(other) or other.startswith(place):
            return True
        if doc["credential"] is not None and doc["credential"] == row.doc["credential"]:
            return True
    return False


def _place_of(url: str) -> tuple[str | None, str]:
    """Host and port; a port that cannot be is left as it stands."""
    parts = urlsplit(url)
    _, _, port = parts.netloc.rpartition("]")[2].partition(":")
    return parts.hostname, port.lstrip("0") or ("443" if parts.scheme == "https" else "80")


def _lower(view: StateView, environment: Environment, name: str, team: str) -> AgentId | None:
    """The agent of the same name and team in the next lower environment that has one."""
    order = [Environment.STAGING, Environment.DEVELOPMENT]
    below = order if environment is Environment.PRODUCTION else order[1:] if environment in order[:1] else []
    for one in below:
        row = agent_row(view, one, name)
        if row is not None and row.doc["team"] == team:
            return AgentId(row.key)
    return None
