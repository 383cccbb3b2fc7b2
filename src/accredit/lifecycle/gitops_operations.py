"""A folder of manifests against what is live: what applying it would do, what is live and not in it, and all that is.

Nothing here decides who may what: changes go through `operations.py`. What is looked at here is for whoever may see
everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.approvals.gates import gate, gate_name
from accredit.approvals.model import RoleNeed, SubjectKind, VoteVerdict
from accredit.approvals.requests import plain
from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.operations import Operations
from accredit.lifecycle.ports import ApprovalDesk
from accredit.policy.difference import release_diff
from accredit.policy.releases import PolicyReleases
from accredit.registry.addresses import same_address
from accredit.registry.changes import FacetChange, changes_between
from accredit.registry.lifecycle import runs
from accredit.registry.manifest import AgentManifest
from accredit.registry.model import Agent, AgentState, AgentVersion, Environment, Tier
from accredit.registry.planning import FieldChange, PlannedAction, PlannedObject, object_name
from accredit.registry.restating import Restated
from accredit.registry.service import Registry, read_files
from accredit.registry.writing import manifest_yaml

__all__ = [
    "POLICY_SET",
    "Exported",
    "FolderDifference",
    "GitopsOperations",
    "LiveObject",
    "ObjectDifference",
    "PolicyOutcome",
    "Pruned",
]

POLICY_SET: Final = "PolicySet"
_TOGETHER: Final[Mapping[str, str]] = {
    "Person": "people.yaml",
    "Group": "groups.yaml",
    "Team": "teams.yaml",
    "Agreement": "agreements.yaml",
    "Issuer": "issuers.yaml",
    "ContextProvider": "context-providers.yaml",
    "EnforcementPoint": "enforcement-points.yaml",
    "Directory": "directories.yaml",
    "ReviewSchedule": "review-schedules.yaml",
}
"""Kinds of which all objects stand in one file; of the others each has its own."""
_APART: Final[Mapping[str, str]] = {"ToolServer": "servers", "ModelProvider": "models", "Store": "stores",
    "Gate": "gates", "Template": "templates"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ObjectDifference:
    """What applying one object would do, and whom it would ask."""

    kind: str
    name: str
    environment: str | None
    action: str
    changes: tuple[FieldChange, ...] = ()
    facets: tuple[str, ...] = ()
    """Of an agent: those that change."""
    roles: tuple[str, ...] = ()
    """Whose approval it would take."""
    needs: tuple[FacetChange, ...] = ()
    """Of an agent that has a version in force in production: what each change against that takes."""
    carried: tuple[str, ...] = ()
    """Of these, roles whose earlier votes judge nothing that changes: they can be carried over."""
    tier_before: Tier | None = None
    tier_after: Tier | None = None
    faults: tuple[str, ...] = ()
    taken_over: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LiveObject:
    """Something that is live, of a kind that a folder has, and not in the folder."""

    kind: str
    name: str
    environment: str | None


@dataclass(frozen=True, slots=True)
class FolderDifference:
    """A folder against what is live."""

    objects: tuple[ObjectDifference, ...]
    live_only: tuple[LiveObject, ...]
    versions: Mapping[str, Mapping[str, Any]]
    """Documents of the versions that live agents would get, by agent id: what a simulation takes."""

    @property
    def pending(self) -> bool:
        """Whether anything is not as the folder says."""
        return bool(self.live_only) or any(one.action != PlannedAction.UNCHANGED for one in self.objects)


@dataclass(frozen=True, slots=True)
class Exported:
    """What is live as files that `apply` takes without a change."""

    files: Mapping[str, str]
    policies: Mapping[str, str]
    unsaid: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """What became of the policies of a folder."""

    result: str
    release: str
    approval: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """Something live that is not in the folder, what pruning does about it, and whether it was done."""

    object: LiveObject
    does: str
    done: bool = False


class GitopsOperations:
    """Differences, exports and pruning."""

    def __init__(
        self,
        *,
        registry: Registry,
        releases: PolicyReleases,
        judging: Judging,
        approvals: ApprovalDesk,
        operations: Operations,
    ) -> None:
        self._registry = registry
        self._releases = releases
        self._judging = judging
        self._approvals = approvals
        self._operations = operations

    # -- out

    def export(self) -> Exported:
        """Everything that is registered, and the policies in force. May be called from a thread.

        Raises:
            UnavailableError: the log contradicts a row it takes.
        """
        files: dict[str, list[Mapping[str, Any]]] = {}
        unsaid: list[str] = []
        for one in self._registry.restated():
            files.setdefault(_file_of(one), []).append(one.document)
            unsaid += [f"{one.kind} {one.name}: {why}" for why in one.unsaid]
        policies = dict(self._releases.current.files)
        return Exported({name: manifest_yaml(files[name]) for name in sorted(files)}, policies, tuple(unsaid))

    # -- against what is live

    async def difference(
        self,
        who: Operator,
        files: Iterable[tuple[str, str | bytes]],
        policies: Mapping[str, str] | None = None,
        *,
        manager: str | None = None,
        force: bool = False,
    ) -> FolderDifference:
        """What applying a folder would do. Nothing is changed, and no tool server is asked.

        Raises:
            ManifestError: a file cannot be read, or the manifests are not applied together.
            UnavailableError: the log contradicts a row this rests on.
        """
        documents = await asyncio.to_thread(read_files, tuple(files))
        planned = await self._registry.plan(documents, _actor(who), manager=manager, force=force)
        objects = [await asyncio.to_thread(self._object, each) for each in planned]
        if policies is not None:
            objects.append(await asyncio.to_thread(self._policies, policies))
        versions = {each.agent: _version_doc(each.version) for each in planned if each.agent and each.version}
        live_only = await asyncio.to_thread(self._live_only, planned)
        return FolderDifference(tuple(objects), live_only, versions)

    def _live_only(self, planned: Iterable[PlannedObject]) -> tuple[LiveObject, ...]:
        told = {_key(each.kind, each.environment, object_name(each.document)) for each in planned}
        kinds = {kind for kind, _, _ in told}
        return tuple(
            LiveObject(one.kind, one.name, one.environment)
            for one in self._registry.restated()
            if one.kind in kinds and _key(one.kind, one.environment, one.name) not in told
        )

    def _object(self, planned: PlannedObject) -> ObjectDifference:
        made = ObjectDifference(
            planned.kind,
            planned.name,
            planned.environment,
            planned.action.value,
            planned.changes,
            faults=tuple(str(fault) for fault in planned.faults),
            taken_over=planned.taken_over,
        )
        if planned.proposal is not None:
            kind = SubjectKind(planned.proposal.kind)
            made = replace(made, roles=tuple(need.role.value for need in self._needs(kind, None)))
        if planned.version is not None and isinstance(planned.document, AgentManifest):
            made = self._agent(made, planned, planned.version)
        return made

    def _agent(self, made: ObjectDifference, planned: PlannedObject, version: AgentVersion) -> ObjectDifference:
        live = self._registry.get(AgentId(planned.agent)) if planned.agent else None
        known = (live.candidate or live.version).facets if live else {}
        facets = tuple(sorted(facet for facet, one in version.facets.items() if known.get(facet) != one))
        agent = live or self._unborn(planned.document, version)
        before = _told(lambda: self._judging.tiering(live, live.candidate or live.version).tier) if live else None
        after = _told(lambda: self._judging.tiering(agent, version).tier) if agent else None
        made = replace(made, facets=facets, tier_before=before, tier_after=after)
        if agent is None or agent.environment is not Environment.PRODUCTION:
            return made
        needs = self._needs(SubjectKind.AGENT_VERSION, after)
        carried = self._carried(agent.id, version, after) if live else frozenset()
        roles = tuple(need.role.value for need in needs)
        kept = tuple(need.role.value for need in needs if need.role in carried)
        # a new version is never approved by old votes alone (`approvals/counting.py`)
        made = replace(made, roles=roles, carried=kept if len(kept) < len(roles) else ())
        if live is None or not runs(live.environment, live.state):
            return made
        little = self._registry.differs_in_little
        return replace(made, needs=changes_between(live.version.manifest, version.manifest, little=little))

    def _carried(self, agent: AgentId, version: AgentVersion, tier: Tier | None) -> frozenset[Any]:
        """Roles that approved an earlier version, in the same tier, of which nothing they judge is different now."""
        facets = {one.digest: one.facets for one in self._registry.versions(agent)}
        found = set()
        for request in self._approvals.find(agent=agent):
            judged = facets.get(Digest(request.subject.digest))
            if judged is None or request.tier != tier:
                continue
            votes = {vote.role for vote in request.votes if vote.verdict is VoteVerdict.APPROVE}
            for need in self._needs(SubjectKind.AGENT_VERSION, tier):
                if need.role in votes and all(judged.get(one) == version.facets.get(one) for one in need.facets):
                    found.add(need.role)
        return frozenset(found)

    def _needs(self, kind: SubjectKind, tier: Tier | None) -> tuple[RoleNeed, ...]:
        """Whom a request would be asked of, the organisation's own gates included."""
        return gate(kind, tier, self._registry.gate(gate_name(kind, tier)))

    def _unborn(self, document: AgentManifest | Any, version: AgentVersion) -> Agent | None:
        """An agent that is only declared in the folder, as it would be."""
        team = self._registry.catalogue.team(document.metadata.team)
        if team is None:
            return None
        spec = version.manifest["spec"]
        return Agent(
            id=AgentId("agt_declared"),
            name=document.metadata.name,
            team=team,
            environment=Environment(document.metadata.environment),
            state=AgentState.DRAFT,
            owner=spec["owner"],
            backup_owner=spec["backupOwner"],
            version=version,
        )

    def _policies(self, policies: Mapping[str, str]) -> ObjectDifference:
        made = ObjectDifference(POLICY_SET, "policies", None, PlannedAction.UNCHANGED.value)
        try:
            found = release_diff(self._releases.current, self._releases.candidate(policies))
        except AccreditError as error:
            return replace(made, action=PlannedAction.REFUSED.value, faults=(error.message,))
        if not found.files:
            return made
        changes = tuple(FieldChange(one.path, None, one.text) for one in found.files)
        roles = tuple(need.role.value for need in self._needs(SubjectKind.POLICY_RELEASE, None))
        return replace(made, action=PlannedAction.UPDATE.value, changes=changes, roles=roles)

    # -- in

    async def apply_policies(self, who: Operator, policies: Mapping[str, str]) -> PolicyOutcome:
        """Publish the policies of a folder, or ask for that; what keeps them from it is said, not raised."""
        current = self._releases.current
        if dict(current.files) == dict(policies):
            return PolicyOutcome("unchanged", current.digest)
        try:
            made = await self._operations.publish(who, policies)
        except ConflictError as error:
            if error.code is Code.REHEARSAL_REQUIRED:
                raise  # the command simulates first, and asks again
            return PolicyOutcome("failed", current.digest, why=error.message)
        except AccreditError as error:
            return PolicyOutcome("failed", current.digest, why=error.message)
        if isinstance(made, str):
            return PolicyOutcome("updated", made)
        return PolicyOutcome("pending", current.digest, made.id)

    async def prune(
        self, who: Operator, files: Iterable[tuple[str, str | bytes]], *, confirmed: bool, reason: str
    ) -> tuple[Pruned, ...]:
        """End what is live and not in a folder, where it can be ended at once; without confirmation it is listed.

        An agent is never ended here: who answers for it retires it, as the list says.

        Raises:
            InvalidInputError: the folder has no manifest.
            ForbiddenError: they may not end one of them; nothing after it was ended.
        """
        documents = await asyncio.to_thread(read_files, tuple(files))
        if not documents:
            raise InvalidInputError(Code.MANIFEST_INVALID, "an empty folder prunes nothing", hint="name the right one")
        planned = [PlannedObject(one, PlannedAction.UNCHANGED) for one in documents]
        found: list[Pruned] = []
        for one in await asyncio.to_thread(self._live_only, planned):
            match one.kind:
                case "Issuer":
                    if confirmed:
                        await self._operations.revoke_issuer(who, one.name, reason)
                    found.append(Pruned(one, "revoked, with every token it vouched for", confirmed))
                case "EnforcementPoint":
                    if confirmed:
                        await self._operations.revoke_point(who, one.name, reason)
                    found.append(Pruned(one, "revoked, with its keys", confirmed))
                case "Agent":
                    found.append(Pruned(one, f"nothing: `accredit agent retire {one.environment}/{one.name}` ends it"))
                case "Person":
                    found.append(Pruned(one, f"nothing: `accredit person leave {one.name}` says that they left"))
                case _:
                    found.append(Pruned(one, "nothing: what others may rest on is not taken away"))
        return tuple(found)


def _file_of(one: Restated) -> str:
    """Where an object stands; names of objects are plain, so these are paths below the folder."""
    if one.kind == "Agent":
        return f"agents/{one.environment}/{one.name}.yaml"
    return _TOGETHER.get(one.kind) or f"{_APART[one.kind]}/{one.name}.yaml"


def _key(kind: str, environment: str | None, name: str) -> tuple[str, str, str]:
    if kind == "Person":
        return kind, "", same_address(name)
    return kind, environment or "" if kind == "Agent" else "", name


def _version_doc(version: AgentVersion) -> dict[str, Any]:
    return {"digest": version.digest, "facets": dict(version.facets), "manifest": plain(version.manifest)}


def _told(ask: Callable[[], Tier | None]) -> Tier | None:
    try:
        return ask()
    except AccreditError:
        return None  # it cannot be told now


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
