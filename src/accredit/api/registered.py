"""What is registered: applied manifests, teams, tool servers, issuers, enforcement points, agreements, their forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Reason
from accredit.api.paging import MOST, After, Limit, page
from accredit.api.people import AskedFor
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.revocations import EndedCredentials, timed
from accredit.api.shown import Items, moment, money, optional_moment
from accredit.approvals.assessment import assessment_schema
from accredit.approvals.model import ApprovalRequest
from accredit.identity.model import Issuer
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.kernel.ids import ServerName
from accredit.kernel.legible import visible
from accredit.lifecycle.gitops_operations import POLICY_SET
from accredit.lifecycle.operations import Applied
from accredit.registry.manifest import KINDS, schema
from accredit.registry.model import Tool
from accredit.registry.poisoning import ToolNames

__all__ = [
    "AgreementRow",
    "AppliedRow",
    "IssuerRow",
    "ManagerName",
    "ManifestFile",
    "PointKeyMade",
    "PointKeyRow",
    "PointRow",
    "PolicyFiles",
    "ProviderRow",
    "RepinnedRow",
    "ServerRow",
    "TeamRow",
    "ToolRow",
    "registered",
]

_ASSESSMENT = "assessment"


class ManifestFile(Form):
    """A file of manifests."""

    name: Annotated[str, Field(max_length=255)]
    text: Annotated[str, Field(max_length=2**20)]


PolicyFiles = Annotated[dict[str, Annotated[str, Field(max_length=2**20)]], Field(max_length=5000)] | None
"""A policy directory: what is published with the manifests."""
ManagerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")] | None
"""Who manages the fields that the manifests write; without one nobody comes to."""


class _Apply(Form):
    files: Annotated[list[ManifestFile], Field(max_length=200)]
    policies: PolicyFiles = None
    manager: ManagerName = None
    force: bool = False
    """Take over fields that others manage."""


class _PointLife(Form):
    days: Annotated[int, Field(ge=1, le=365)] = 90


class _Repin(Form):
    tool: Annotated[str, Field(max_length=640)] | None = None


@dataclass(frozen=True, slots=True)
class AppliedRow:
    """What became of one manifest."""

    kind: str
    name: str
    result: str
    """created, updated, unchanged, pending, or failed: then what came before it stands."""
    id: str
    approval: str | None
    """Of what is pending: the request that a second person decides."""
    flagged: list[str]
    """Definitions of tools to be looked at before anybody trusts them, and why."""
    why: str | None = None
    """Of what failed."""
    expires: str | None = None
    """Of an agent: the last day (UTC) on which it runs; in development also if its manifest names none."""


@dataclass(frozen=True, slots=True)
class TeamRow:
    """A team and its time zones."""

    id: str
    name: str
    zones: list[str]


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """Whose word about the users or tasks of an issuer is asked for."""

    name: str
    of: str
    issuer: str
    url: str
    facts: dict[str, str]
    credential: str | None
    ttl_s: int
    off: bool


@dataclass(frozen=True, slots=True)
class IssuerRow:
    """Whose word about users or tasks counts."""

    id: str
    use: str
    issuer: str
    claims: dict[str, str]
    revoked: bool


@dataclass(frozen=True, slots=True)
class PointKeyRow:
    """A key of an enforcement point, without its secret."""

    id: str
    issued: str
    expires: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class PointRow:
    """Who may ask for decisions, and about what."""

    name: str
    types: list[str]
    servers: list[str]
    calls_per_minute: int
    reports: str | None
    """The environment of the agents it may report on."""
    revoked: bool
    keys: list[PointKeyRow]


@dataclass(frozen=True, slots=True)
class PointKeyMade:
    """A key of an enforcement point, shown once."""

    id: str
    secret: str
    expires: str


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """What a supplier may process."""

    name: str
    provider: str
    covers: list[str]
    document: str
    expires: str | None


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A tool server."""

    name: str
    environment: str
    url: str
    credential: str | None
    protocol: str
    """`mcp`; `http`: its operations are called below `/http/`; `llm`: its tools are models."""
    tools: int
    revision: str | None
    """Of MCP, that it is spoken to in."""
    command: list[str] | None
    """Of a server that is started here: the program and what it is given."""
    directory: str | None
    env: dict[str, str] | None
    network: str | None
    """Of a program that is started here: `none` or `host`."""
    reads: list[str] | None
    writes: list[str] | None


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool as registered, and whether its server still offers exactly that."""

    id: str
    name: str
    effect: str
    scope: str | None
    data: list[str]
    price: str | None
    pinned: str
    status: str
    flags: list[str]
    """What is noticeable about its definition."""


@dataclass(frozen=True, slots=True)
class RepinnedRow:
    """A tool whose changed definition was taken over."""

    tool: str
    before: str
    after: str
    flags: list[str]


def registered(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations = plane.room.operations

    @app.get("/api/v1/schemas/{name}", response_model=dict[str, Any])
    async def published_schema(name: Named) -> Json:
        kinds = {kind.lower(): kind for kind in KINDS}
        wanted = name.removesuffix(".json")
        if wanted == _ASSESSMENT:
            return Json(assessment_schema())
        if wanted not in kinds:
            there = ", ".join(sorted([*kinds, _ASSESSMENT]))
            raise NotFoundError(Code.NOT_FOUND, f"no schema is called `{name[:80]}`", hint=there)
        return Json(schema(kinds[wanted]))

    @app.post("/api/v1/apply", response_model=Items[AppliedRow])
    async def apply(who: Who, form: _Apply) -> Json:
        if not form.files and form.policies is None:
            raise InvalidInputError(Code.BODY_MALFORMED, "nothing to apply", hint="give `files` or `policies`")
        files = [(one.name, one.text) for one in form.files]
        rows = [_applied(one) for one in await operations.apply(who, files, manager=form.manager, force=form.force)]
        if form.policies is not None:
            made = await plane.room.gitops.apply_policies(who, form.policies)
            rows.append(AppliedRow(POLICY_SET, "policies", made.result, made.release, made.approval, [], made.why))
        return Json(Items(rows))

    @app.get("/api/v1/teams", response_model=Items[TeamRow])
    async def teams(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.snapshots.current.catalogue.teams(), lambda one: (one.name,), limit, after)
        return Json(Items([TeamRow(one.id, one.name, sorted(one.zones)) for one in found], following))

    @app.get("/api/v1/agreements", response_model=Items[AgreementRow])
    async def agreements(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.registry.agreements.values(), lambda one: (one.name,), limit, after)
        return Json(Items([
            AgreementRow(one.name, one.provider, sorted(one.covers), one.document, optional_moment(one.expires_us))
            for one in found
        ], following))  # fmt: skip

    @app.get("/api/v1/issuers", response_model=Items[IssuerRow])
    async def issuers(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.identity.issuers(), lambda one: (one.id,), limit, after)
        return Json(Items([_issuer(one) for one in found], following))

    @app.get("/api/v1/context-providers", response_model=Items[ProviderRow])
    async def context_providers(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.providers.all(), lambda one: (one.name,), limit, after)
        return Json(Items([
            ProviderRow(
                one.name, one.kind, one.issuer, one.url, {name: str(kind) for name, kind in one.facts.items()},
                one.credential, one.ttl_s, one.off,
            )
            for one in found
        ], following))  # fmt: skip

    @app.post("/api/v1/issuers/{issuer}/revoke", response_model=EndedCredentials)
    async def issuer_revoke(who: Who, issuer: Named, form: Reason) -> Json:
        return Json(await timed(plane, issuer, operations.revoke_issuer(who, issuer, form.reason)))

    @app.get("/api/v1/enforcement-points", response_model=Items[PointRow])
    async def enforcement_points(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.points.points(), lambda one: (one.name,), limit, after)
        return Json(Items([
            PointRow(
                one.name, sorted(one.types), sorted(one.servers), one.calls_per_minute, one.reports, one.revoked,
                [PointKeyRow(key.id, moment(key.issued_us), moment(key.expires_us), key.revoked)
                 for key in plane.points.keys(one.name)],
            )
            for one in found
        ], following))  # fmt: skip

    @app.post("/api/v1/enforcement-points/{point}/keys", response_model=PointKeyMade, status_code=201)
    async def enforcement_point_key(who: Who, point: Named, form: _PointLife) -> Json:
        made = await operations.issue_point_key(who, point, form.days)
        return Json(PointKeyMade(made.id, made.secret, moment(made.expires_us)), 201)

    @app.post("/api/v1/enforcement-points/{point}/keys/{key}/revoke", response_model=EndedCredentials)
    async def enforcement_point_key_revoke(who: Who, point: Named, key: Named, form: Reason) -> Json:
        return Json(await timed(plane, key, operations.revoke_point_key(who, point, key, form.reason)))

    @app.post("/api/v1/enforcement-points/{point}/revoke", response_model=EndedCredentials)
    async def enforcement_point_revoke(who: Who, point: Named, form: Reason) -> Json:
        return Json(await timed(plane, point, operations.revoke_point(who, point, form.reason)))

    @app.get("/api/v1/servers", response_model=Items[ServerRow])
    async def servers(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.snapshots.current.catalogue.servers(), lambda one: (one.name,), limit, after)
        return Json(Items([
            ServerRow(
                one.name,
                one.environment,
                one.url,
                one.credential,
                one.protocol,
                len(one.tools),
                one.revision if one.protocol == "mcp" else None,
                [one.launch.command, *one.launch.args] if one.launch else None,
                one.launch.directory if one.launch else None,
                dict(one.launch.env) if one.launch else None,
                one.launch.network if one.launch else None,
                list(one.launch.reads) if one.launch else None,
                list(one.launch.writes) if one.launch else None,
            )
            for one in found
        ], following))  # fmt: skip

    @app.get("/api/v1/servers/{name}", response_model=Items[ToolRow])
    async def server(who: Who, name: Named) -> Json:
        asking.require_reader(who)
        found, catalogue = plane.enforcer.server(ServerName(name)), plane.snapshots.current.catalogue
        names = ToolNames(tool.id for each in catalogue.servers() for tool in each.tools.values())
        return Json(Items([
            _tool(tool, await plane.definitions.refusal(found.name, tool), names) for tool in found.tools.values()
        ]))  # fmt: skip

    @app.post(
        "/api/v1/servers/{name}/repin",
        response_model=Items[RepinnedRow],
        responses={202: {"model": AskedFor, "description": "it waits for the sign-off of a second person"}},
    )
    async def server_repin(who: Who, name: Named, form: _Repin) -> Json:
        made = await operations.repin(who, ServerName(name), form.tool)
        if isinstance(made, ApprovalRequest):
            return Json(AskedFor(made.id, made.state), 202)
        return Json(Items([RepinnedRow(one.tool, one.before, one.after, list(one.flags)) for one in made]))


def _applied(one: Applied) -> AppliedRow:
    result, request = one.result, one.request
    flagged = [visible(f"{own}: {', '.join(flags)}") for own, flags in sorted(result.flags.items())]
    return AppliedRow(
        result.kind,
        result.name,
        result.outcome,
        result.id,
        request.id if request else None,
        flagged,
        result.fault,
        result.expires,
    )


def _issuer(one: Issuer) -> IssuerRow:
    return IssuerRow(one.id, one.kind, one.url, {name: str(kind) for name, kind in one.claims.items()}, one.revoked)


def _tool(tool: Tool, refusal: Code | None, names: ToolNames) -> ToolRow:
    return ToolRow(
        id=tool.id,
        name=tool.name,
        effect=tool.effect,
        scope=tool.scope,
        data=sorted(tool.data),
        price=money(tool.price),
        pinned=tool.definition_digest,
        status="as pinned" if refusal is None else str(refusal),
        flags=list(names.flags(tool.definition, tool.id)),
    )
