"""Policies: checking them, publishing them, and which are in force."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named
from accredit.api.paging import Limit
from accredit.api.people import AskedFor
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, dated, moment
from accredit.approvals.model import ApprovalRequest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["FindingRow", "PublicationRow", "PublishedRelease", "PublishedTexts", "ReleaseShown", "policies"]


class _Policies(Form):
    files: Annotated[dict[str, Annotated[str, Field(max_length=2**20)]], Field(max_length=5000)]


@dataclass(frozen=True, slots=True)
class FindingRow:
    """Something wrong with a policy."""

    path: str
    policy: str | None
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release that is in force."""

    release: str
    policies: int
    basis: str


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """One time that a release was put in force."""

    number: int
    digest: str
    published: str
    by: str | None
    approved_by: list[str]
    basis: str
    in_force: bool


@dataclass(frozen=True, slots=True)
class ReleaseShown:
    """A release."""

    release: str
    engine: str
    policies: list[str]
    observed: dict[str, str]
    """Policies and files that are only observed, and until when."""
    counters: list[str]
    fault: str
    """Of the release in force: why the one published last was not taken over; empty if it was."""
    vkey: str
    """What releases are verified with."""


@dataclass(frozen=True, slots=True)
class PublishedTexts:
    """Everything kept of a release and the last time it was put in force."""

    release: str
    engine: str
    files: dict[str, str]
    agents: dict[str, str]
    publication: dict[str, Any]
    """Its number, author, approvers, rehearsal, and the signed note over all of it."""


class _RollBack(Form):
    release: Annotated[str, Field(min_length=1, max_length=80)]


class _Mode(Form):
    policy: Annotated[str, Field(min_length=1, max_length=300)]
    """A policy's id, or the path of a file."""
    until: Annotated[datetime | None, Field(strict=False)] = None
    """Until when it is only observed; None: it is enforced."""


def policies(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""

    @app.post("/api/v1/policy/lint", response_model=Items[FindingRow])
    async def policy_lint(who: Who, form: _Policies) -> Json:
        asking.require_reader(who)
        found = await asyncio.to_thread(plane.releases.lint, form.files)
        return Json(Items([FindingRow(one.path, one.policy, one.message, one.fix) for one in found]))

    waits: Final[dict[int | str, dict[str, Any]]] = {
        202: {"model": AskedFor, "description": "it waits for the sign-off of a second person"}
    }

    def published(who: Who, made: str | ApprovalRequest) -> Json:
        if isinstance(made, ApprovalRequest):
            return Json(AskedFor(made.id, made.state), 202)
        return Json(PublishedRelease(made, len(plane.releases.current.policies), who.basis))

    @app.post("/api/v1/policy/publish", response_model=PublishedRelease, responses=waits)
    async def policy_publish(who: Who, form: _Policies) -> Json:
        return published(who, await plane.room.operations.publish(who, form.files))

    @app.post("/api/v1/policy/rollback", response_model=PublishedRelease, responses=waits)
    async def policy_rollback(who: Who, form: _RollBack) -> Json:
        return published(who, await plane.room.operations.roll_back(who, form.release))

    @app.post("/api/v1/policy/mode", response_model=PublishedRelease, responses=waits)
    async def policy_mode(who: Who, form: _Mode) -> Json:
        return published(who, await plane.room.operations.set_mode(who, form.policy, _until_us(form.until)))

    @app.get("/api/v1/policy/release", response_model=ReleaseShown)
    async def policy_release(who: Who) -> Json:
        asking.require_reader(who)
        current = plane.releases.current
        return Json(
            ReleaseShown(
                release=current.digest,
                engine=current.engine,
                policies=[one.id for one in current.policies],
                observed={name: moment(until_us) for name, until_us in sorted(current.config.observe.items())},
                counters=[one.name for one in current.config.counters],
                fault=plane.releases.fault,
                vkey=plane.releases.vkey,
            )
        )

    @app.get("/api/v1/policy/releases", response_model=Items[PublicationRow])
    async def policy_history(who: Who, limit: Limit = 50, after: Annotated[int | None, Query(ge=1)] = None) -> Json:
        asking.require_reader(who)
        rows = [row for row in plane.releases.history() if after is None or row["number"] < after]
        following = str(rows[limit - 1]["number"]) if len(rows) > limit else None
        return Json(Items([PublicationRow(**row) for row in rows[:limit]], following))

    @app.get("/api/v1/policy/releases/{release}", response_model=PublishedTexts)
    async def policy_texts(who: Who, release: Named) -> Json:
        asking.require_reader(who)
        texts, publication = plane.releases.find(release)
        return Json(
            PublishedTexts(
                release=publication["release"],
                engine=texts["engine"],
                files=dict(texts["files"]),
                agents=dict(texts["agents"]),
                publication=dated(publication),
            )
        )


def _until_us(until: datetime | None) -> int | None:
    if until is not None and until.tzinfo is None:
        raise InvalidInputError(Code.BODY_MALFORMED, "`until` names no zone", hint="write it with an offset or `Z`")
    return None if until is None else int(until.timestamp()) * 1_000_000
