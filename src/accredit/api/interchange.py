"""Agents in the forms of others: cards, records, bills of materials and documentation out, drafts of manifests in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.kernel.legible import visible
from accredit.lifecycle.interchange_operations import Imported
from accredit.registry.interchange.facts import AgentDocument, ExchangeForm

__all__ = ["DraftShown", "ExchangedDocument", "MissingRow", "interchange"]

_URL = r"^https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,1024})?$"


class _Card(Form):
    interface: Annotated[str, Field(pattern=_URL, max_length=1400)] | None = None
    """Where the agent answers to A2A; it stands in the card, signed."""


class _Import(Form):
    text: Annotated[str, Field(max_length=2**20)]
    form: Annotated[ExchangeForm, Field(strict=False)] | None = None
    """Told by the document itself, if left out."""
    keys: Annotated[dict[str, Any], Field(max_length=4)] | None = None
    """A JWKS: whose signatures on an agent card count, beside this installation's."""


@dataclass(frozen=True, slots=True)
class ExchangedDocument:
    """An agent in one of the forms."""

    form: str
    media_type: str
    document: dict[str, Any]
    text: str | None
    """The same to be read by people (Markdown), if the form has one."""
    unsaid: list[str]
    """What is on record and does not stand in it."""


@dataclass(frozen=True, slots=True)
class MissingRow:
    """What the owner has to write."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class DraftShown:
    """A manifest to be completed. It grants nothing."""

    form: str
    verified: bool
    """Whether one of the keys that count signed the document."""
    signature: str
    text: str
    """The manifest as YAML, with what is missing as a comment."""
    manifest: dict[str, Any]
    claimed: list[str]
    missing: list[MissingRow]
    unsaid: list[str]
    """What the document says and no manifest can."""


def interchange(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations = plane.room.interchange

    @app.get("/api/v1/agents/{name:agent}/export", response_model=ExchangedDocument)
    async def agent_export(
        who: Who,
        name: Named,
        form: Annotated[ExchangeForm, Query()],
        spec_version: Annotated[Literal["1.6", "1.7"], Query()] = "1.6",
    ) -> Json:
        agent = asking.seen(who, name)
        made = await asyncio.to_thread(operations.document, agent.id, form, spec_version=spec_version)
        return Json(_document(made))

    @app.post("/api/v1/agents/{name:agent}/card", response_model=ExchangedDocument)
    async def agent_card(who: Who, name: Named, form: _Card) -> Json:
        agent = asking.seen(who, name)
        return Json(_document(await operations.sign_card(who, agent.id, form.interface)))

    @app.post("/api/v1/agent-drafts", response_model=DraftShown)
    async def agent_draft(who: Who, form: _Import) -> Json:
        asking.require_reader(who)
        data = form.text.encode("utf-8", "surrogatepass")
        return Json(_draft(await asyncio.to_thread(operations.draft, data, form.form, form.keys)))


def _document(made: AgentDocument) -> ExchangedDocument:
    unsaid = [visible(one) for one in made.unsaid]
    return ExchangedDocument(made.form.value, made.media_type, dict(made.body), made.text, unsaid)


def _draft(made: Imported) -> DraftShown:
    draft = made.draft
    return DraftShown(
        form=draft.form.value,
        verified=made.signature.verified,
        signature=made.signature.why,
        text=made.text,
        manifest=dict(draft.manifest),
        claimed=list(draft.claimed),
        missing=[MissingRow(one.path, one.why) for one in draft.missing],
        unsaid=list(draft.unsaid),
    )
