"""Policies: checking them, publishing them, and which are in force."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import FastAPI
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form
from accredit.api.people import AskedFor
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items
from accredit.approvals.model import ApprovalRequest

__all__ = ["FindingRow", "PublishedRelease", "ReleaseShown", "policies"]


_SHOWN: Final = 100


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
class ReleaseShown:
    """The release in force, and those before it."""

    release: str
    engine: str
    policies: list[str]
    history: list[dict[str, Any]]
    """The newest hundred."""


def policies(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""

    @app.post("/api/v1/policy/lint", response_model=Items[FindingRow])
    async def policy_lint(who: Who, form: _Policies) -> Json:
        asking.require_reader(who)
        found = await asyncio.to_thread(plane.releases.lint, form.files)
        return Json(Items([FindingRow(one.path, one.policy, one.message, one.fix) for one in found]))

    @app.post(
        "/api/v1/policy/publish",
        response_model=PublishedRelease,
        responses={202: {"model": AskedFor, "description": "it waits for the sign-off of a second person"}},
    )
    async def policy_publish(who: Who, form: _Policies) -> Json:
        made = await plane.room.operations.publish(who, form.files)
        if isinstance(made, ApprovalRequest):
            return Json(AskedFor(made.id, made.state), 202)
        return Json(PublishedRelease(made, len(plane.releases.current.policies), who.basis))

    @app.get("/api/v1/policy/release", response_model=ReleaseShown)
    async def policy_release(who: Who) -> Json:
        asking.require_reader(who)
        current = plane.releases.current
        shown = [one.id for one in current.policies]
        return Json(ReleaseShown(current.digest, current.engine, shown, plane.releases.history()[:_SHOWN]))
