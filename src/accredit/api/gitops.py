"""A folder of manifests against what is live: difference, export, pruning."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field

from accredit.api.agents import ChangeRow
from accredit.api.asking import Asking, Who
from accredit.api.forms import Form
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.registered import ManagerName, ManifestFile, PolicyFiles
from accredit.api.shown import Items
from accredit.kernel.legible import visible
from accredit.lifecycle.gitops_operations import FolderDifference, ObjectDifference
from accredit.registry.authority import Act

__all__ = ["DifferenceShown", "ExportShown", "FieldRow", "LiveRow", "ObjectRow", "PrunedRow", "gitops"]


class _Diff(Form):
    files: Annotated[list[ManifestFile], Field(max_length=200)]
    policies: PolicyFiles = None
    manager: ManagerName = None
    force: bool = False
    simulate: Annotated[int, Field(ge=1, le=3650)] | None = None
    """Days of recorded calls to judge by what the folder declares; takes whoever may propose policies."""


class _Prune(Form):
    files: Annotated[list[ManifestFile], Field(max_length=200)]
    confirm: bool = False
    """Without it nothing is done, and what would be is listed."""
    reason: Annotated[str, Field(min_length=1, max_length=500)] = "pruned: it is not in the folder"


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field that changes."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """What applying one object would do."""

    kind: str
    name: str
    environment: str | None
    action: str
    """create, update, unchanged or refused."""
    changes: list[FieldRow]
    facets: list[str]
    approvals: list[str]
    """Roles that would be asked."""
    carried: list[str]
    """Of these, whose earlier votes can be carried over."""
    needs: list[ChangeRow]
    """Of an agent in force in production: what each change against that takes. If none is `approve-anew`, nobody votes,
    unless something else asks for it (`docs/tiers-and-change.md`)."""
    tier_before: str | None
    tier_after: str | None
    faults: list[str]
    taken_over: list[list[str]]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """Something that is live and not in the folder, of a kind that the folder has."""

    kind: str
    name: str
    environment: str | None


@dataclass(frozen=True, slots=True)
class DifferenceShown:
    """A folder against what is live."""

    objects: list[ObjectRow]
    live_only: list[LiveRow]
    pending: bool
    simulation: str | None
    """Of recorded calls, if it was asked for: it is read like any simulation of policies."""


@dataclass(frozen=True, slots=True)
class ExportShown:
    """What is live, as files that `apply` takes without a change."""

    files: dict[str, str]
    policies: dict[str, str]
    unsaid: list[str]


@dataclass(frozen=True, slots=True)
class PrunedRow:
    """Something live that is not in the folder, and what pruning does about it."""

    kind: str
    name: str
    environment: str | None
    does: str
    done: bool


def gitops(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations = plane.room.gitops

    @app.get("/api/v1/manifests", response_model=ExportShown)
    async def manifests(who: Who) -> Json:
        asking.seen_agent(who, None)
        made = await asyncio.to_thread(operations.export)
        return Json(ExportShown(dict(made.files), dict(made.policies), list(made.unsaid)))

    @app.post("/api/v1/diff", response_model=DifferenceShown)
    async def manifests_diff(who: Who, form: _Diff) -> Json:
        asking.seen_agent(who, None)
        if form.simulate is not None:
            asking.require(Act.PUBLISH_POLICY, who)
        files = [(one.name, one.text) for one in form.files]
        found = await operations.difference(who, files, form.policies, manager=form.manager, force=form.force)
        simulation = None
        if form.simulate is not None:
            files_of = form.policies if form.policies is not None else dict(plane.releases.current.files)
            release = await asyncio.to_thread(plane.releases.candidate, files_of)
            agents = frozenset(found.versions) if form.policies is None else None
            started = plane.simulations.start(release, days=form.simulate, agents=agents, versions=found.versions)
            simulation = started.id
        return Json(_difference(found, simulation))

    @app.post("/api/v1/prune", response_model=Items[PrunedRow])
    async def manifests_prune(who: Who, form: _Prune) -> Json:
        asking.seen_agent(who, None)
        files = [(one.name, one.text) for one in form.files]
        done = await operations.prune(who, files, confirmed=form.confirm, reason=form.reason)
        return Json(Items([
            PrunedRow(one.object.kind, one.object.name, one.object.environment, one.does, one.done) for one in done
        ]))  # fmt: skip


def _difference(found: FolderDifference, simulation: str | None) -> DifferenceShown:
    live = [LiveRow(one.kind, one.name, one.environment) for one in found.live_only]
    return DifferenceShown([_object(one) for one in found.objects], live, found.pending, simulation)


def _object(one: ObjectDifference) -> ObjectRow:
    return ObjectRow(
        kind=one.kind,
        name=one.name,
        environment=one.environment,
        action=one.action,
        changes=[FieldRow(each.field, each.before, each.after) for each in one.changes],
        facets=list(one.facets),
        approvals=list(one.roles),
        carried=list(one.carried),
        needs=[ChangeRow(each.facet, each.what, each.why, each.material, each.rule) for each in one.needs],
        tier_before=one.tier_before,
        tier_after=one.tier_after,
        faults=[visible(each) for each in one.faults],
        taken_over=[list(each) for each in one.taken_over],
    )
