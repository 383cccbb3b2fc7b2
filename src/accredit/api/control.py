"""`/api/v1`: what operators do. Every handler authenticates, parses once, calls one service, and shows the answer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response

from accredit import __version__
from accredit.api.entry import ControlEntry
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json, problem, problem_of, unexpected, unrouted
from accredit.api.shown import Shown, moment
from accredit.approvals.model import HoldState, HoldVerdict
from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import AgentId, CredentialId, HoldId, ServerName
from accredit.policy.releases import release_subject
from accredit.registry.manifest import KINDS, schema
from accredit.registry.model import Agent, Environment
from accredit.registry.proposals import Proposal

__all__ = ["control_api"]

_Name = Annotated[str, Path(max_length=200)]
_ENVIRONMENTS = "|".join(Environment)


class _AgentReference(Convertor[str]):
    """An id, a name, or environment/name.

    An environment's name before a slash is always that, so an agent may be called like what can be asked about one.
    """

    regex = f"(?:(?:{_ENVIRONMENTS})/[^/]+|(?!(?:{_ENVIRONMENTS})/)[^/]+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("agent", _AgentReference())


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _File(_Form):
    name: Annotated[str, Field(max_length=255)]
    text: Annotated[str, Field(max_length=2**20)]


class _Apply(_Form):
    files: Annotated[list[_File], Field(min_length=1, max_length=200)]


class _Login(_Form):
    link: Annotated[str, Field(max_length=512)]
    name: Annotated[str, Field(min_length=1, max_length=63)] = "cli"


class _Token(_Form):
    name: Annotated[str, Field(min_length=1, max_length=63)]
    scopes: Annotated[list[Literal["admin", "read"]], Field(min_length=1, max_length=2)]
    days: Annotated[int, Field(ge=1, le=90)] = 7


class _JoinToken(_Form):
    thumbprint: Annotated[str, Field(max_length=64)] | None = None
    source: Annotated[str, Field(max_length=64)] | None = None
    """Network the instance must call from, as CIDR."""


class _Reason(_Form):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class _Repin(_Form):
    tool: Annotated[str, Field(max_length=256)] | None = None


class _Upstream(_Form):
    origin: Annotated[str, Field(max_length=512)]
    header: Annotated[str, Field(max_length=128)]
    value: Annotated[str, Field(min_length=1, max_length=8192)]


class _Answer(_Form):
    answer: Literal["approve", "deny"]
    view_digest: Annotated[str, Field(max_length=80)]
    reason: Annotated[str, Field(max_length=2000)] = ""


class _Policies(_Form):
    files: Annotated[dict[str, Annotated[str, Field(max_length=2**20)]], Field(max_length=5000)]


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457; `code` is stable and listed in docs/codes.md",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": [str(code) for code in Code]},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "string"}},
        "exit_code": {"type": "integer"},
    },
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "refused", "content": {"application/problem+json": {"schema": _PROBLEM}}},
    "5XX": {"description": "cannot be served", "content": {"application/problem+json": {"schema": _PROBLEM}}},
}
_BEARER = HTTPBearer(auto_error=False, description="an operator's API token, from `accredit login LINK`")


def _operator(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Operator:
    found: Operator = request.state.operator  # `ControlEntry` let nobody in without one
    return found


_Who = Annotated[Operator, Depends(_operator)]


class _Described(FastAPI):
    """Says in its description only what it answers."""

    def openapi(self) -> dict[str, Any]:
        fresh = self.openapi_schema is None
        described = super().openapi()
        if fresh:
            for operation in (each for path in described["paths"].values() for each in path.values()):
                operation["responses"].pop("422", None)  # the framework's own; here it is a problem with status 400
            for name in ("HTTPValidationError", "ValidationError"):
                described["components"]["schemas"].pop(name, None)
        return described


def control_api(plane: ControlPlane) -> FastAPI:
    """The application that answers `/api/v1`."""
    app = _Described(
        title="accredit", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
        generate_unique_id_function=lambda route: route.name, responses=_PROBLEMS, redirect_slashes=False,
        exception_handlers={
            AccreditError: problem_of,
            RequestValidationError: _unprocessable,
            HTTPException: unrouted,
            Exception: unexpected,
        },
    )  # fmt: skip
    app.add_middleware(ControlEntry, plane=plane)
    shown = Shown(plane)

    def actor(who: Operator) -> Actor:
        return Actor(person=who.person, credential=who.credential, basis=who.basis)

    def agent_named(name: str) -> Agent:
        catalogue = plane.snapshots.current.catalogue
        environment, _, short = name.rpartition("/")
        found = catalogue.agent(AgentId(name)) or catalogue.agent_named(environment or "development", short)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent is called `{name[:100]}`", hint="see `accredit agent list`")
        return found

    # -- signing in

    @app.post("/api/v1/login")
    async def login(request: Request, form: _Login) -> Json:
        try:
            made = await plane.people.login(form.link, form.name, source=_source(request))
        except UnauthenticatedError as error:  # whoever opens a link may know that it is used up or too old
            plane.enforcer.turned_away(error.code, path=request.url.path, source=_source(request), cause=error.cause)
            return problem(401, error.code, error.message, error.hint)
        return Json({"token": made.secret, "person": made.token.person, "expires": moment(made.token.expires_us)})

    @app.get("/api/v1/whoami")
    async def whoami(who: _Who) -> Json:
        return Json({"person": who.person, "scopes": sorted(who.scopes), "basis": who.basis})

    @app.get("/api/v1/tokens")
    async def tokens(who: _Who) -> Json:
        return Json({"items": [shown.api_token(one) for one in plane.people.tokens(who)]})

    @app.post("/api/v1/tokens")
    async def token_issue(who: _Who, form: _Token) -> Json:
        made = await plane.people.issue_token(who, form.name, scopes=form.scopes, ttl_s=form.days * 86_400)
        return Json({"token": made.secret, **shown.api_token(made.token)}, 201)

    @app.delete("/api/v1/tokens/{token_id}")
    async def token_revoke(who: _Who, token_id: _Name) -> Json:
        await plane.people.revoke_token(who, token_id)
        return Json({"revoked": token_id})

    # -- what there is

    @app.get("/api/v1/schemas/{name}")
    async def published_schema(name: _Name) -> Json:
        kinds = {kind.lower(): kind for kind in KINDS}
        kind = kinds.get(name.removesuffix(".json"))
        if kind is None:
            raise NotFoundError(Code.NOT_FOUND, f"no schema is called `{name[:80]}`", hint=", ".join(sorted(kinds)))
        return Json(schema(kind))

    @app.post("/api/v1/apply")
    async def apply(who: _Who, form: _Apply) -> Json:
        results = await plane.registry.apply([(one.name, one.text) for one in form.files], actor(who))
        for one in results:
            if one.kind == "ToolServer":
                plane.definitions.forget(ServerName(one.name))
        return Json({"items": [shown.applied(one) for one in results]})

    @app.get("/api/v1/agents")
    async def agents(_: _Who) -> Json:
        return Json({"items": [shown.agent_row(agent) for agent in plane.snapshots.current.catalogue.agents()]})

    @app.get("/api/v1/agents/{name:agent}/usage")
    async def agent_usage(_: _Who, name: _Name, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Json:
        return Json({"items": shown.usage(agent_named(name), days)})

    @app.get("/api/v1/agents/{name:agent}/limits")
    async def agent_limits(_: _Who, name: _Name) -> Json:
        agent = agent_named(name)
        return Json(shown.limits(plane.limits.show(agent.id, agent.version.limits)))

    @app.post("/api/v1/agents/{name:agent}/join-tokens")
    async def join_token(who: _Who, name: _Name, form: _JoinToken) -> Json:
        made = await plane.enrolment.issue_join_token(
            agent_named(name).id, actor=actor(who), pin_thumbprint=form.thumbprint, allowed_cidr=form.source
        )
        return Json({"join_token": made.secret, "expires": moment(made.expires_us)}, 201)

    @app.post("/api/v1/agents/{name:agent}/revoke")
    async def agent_revoke(who: _Who, name: _Name, form: _Reason) -> Json:
        agent = agent_named(name)
        began = plane.clock.now()
        before = plane.enforcer.cancelled
        await plane.revocations.revoke_agent(agent.id, actor=actor(who), reason=form.reason)
        return Json(shown.revoked(agent.id, began, plane.enforcer.cancelled - before))

    @app.get("/api/v1/agents/{name:agent}")
    async def agent(_: _Who, name: _Name) -> Json:
        return Json(shown.agent(agent_named(name)))

    @app.get("/api/v1/teams")
    async def teams(_: _Who) -> Json:
        found = plane.snapshots.current.catalogue.teams()
        return Json({"items": [{"id": one.id, "name": one.name, "zones": sorted(one.zones)} for one in found]})

    @app.get("/api/v1/persons")
    async def persons(_: _Who) -> Json:
        found = plane.snapshots.current.catalogue.persons()
        return Json({"items": [{"id": one.id, "email": one.email} for one in found]})

    @app.get("/api/v1/issuers")
    async def issuers(_: _Who) -> Json:
        return Json({"items": [shown.issuer(one) for one in plane.identity.issuers()]})

    @app.post("/api/v1/issuers/{issuer}/revoke")
    async def issuer_revoke(who: _Who, issuer: _Name, form: _Reason) -> Json:
        began, before = plane.clock.now(), plane.enforcer.cancelled
        await plane.revocations.revoke_issuer(issuer, actor=actor(who), reason=form.reason)
        return Json(shown.revoked(issuer, began, plane.enforcer.cancelled - before))

    @app.get("/api/v1/servers")
    async def servers(_: _Who) -> Json:
        return Json({"items": [shown.server_row(one) for one in plane.snapshots.current.catalogue.servers()]})

    @app.get("/api/v1/servers/{name}")
    async def server(_: _Who, name: _Name) -> Json:
        found = plane.enforcer.server(ServerName(name))
        states = {tool.name: await plane.definitions.refusal(found.name, tool) for tool in found.tools.values()}
        return Json({"items": [shown.tool(tool, states[tool.name]) for tool in found.tools.values()]})

    @app.post("/api/v1/servers/{name}/repin")
    async def server_repin(who: _Who, name: _Name, form: _Repin) -> Json:
        repinned = await plane.registry.repin(ServerName(name), form.tool, actor(who))
        plane.definitions.forget(ServerName(name))
        if isinstance(repinned, Proposal):
            return Json({"items": [], "proposal": repinned.digest})
        return Json({"items": [shown.repinned(one) for one in repinned]})

    # -- credentials

    @app.get("/api/v1/credentials")
    async def credentials(_: _Who, agent: Annotated[str | None, Query(max_length=200)] = None) -> Json:
        wanted = [agent_named(agent)] if agent else plane.snapshots.current.catalogue.agents()
        return Json({"items": [
            shown.credential(one) for each in wanted for one in plane.identity.credentials_of(each.id)
        ]})  # fmt: skip

    @app.post("/api/v1/credentials/{credential}/revoke")
    async def credential_revoke(who: _Who, credential: _Name, form: _Reason) -> Json:
        began, before = plane.clock.now(), plane.enforcer.cancelled
        await plane.revocations.revoke_credential(CredentialId(credential), actor=actor(who), reason=form.reason)
        return Json(shown.revoked(credential, began, plane.enforcer.cancelled - before))

    @app.get("/api/v1/upstream-credentials")
    async def upstream_credentials(_: _Who) -> Json:
        return Json({"items": [shown.brokered(one) for one in plane.broker.credentials()]})

    @app.put("/api/v1/upstream-credentials/{name}")
    async def upstream_credential(who: _Who, name: _Name, form: _Upstream) -> Json:
        stored = await plane.broker.store(
            name, origin=form.origin, header=form.header, value=form.value, actor=actor(who)
        )
        return Json(shown.brokered(stored))

    # -- holds

    @app.get("/api/v1/holds")
    async def holds(_: _Who, state: HoldState | Literal["all"] = HoldState.OPEN) -> Json:
        wanted = None if state == "all" else HoldState(state)
        return Json({"items": [shown.hold_row(one) for one in plane.holds.find(state=wanted)]})

    @app.get("/api/v1/holds/{hold}")
    async def hold(_: _Who, hold: _Name) -> Json:
        found = plane.holds.get(HoldId(hold))
        if found is None:
            raise NotFoundError(Code.HOLD_UNKNOWN, f"there is no hold `{hold[:80]}`")
        return Json(shown.hold(found))

    @app.post("/api/v1/holds/{hold}/answer")
    async def hold_answer(who: _Who, hold: _Name, form: _Answer) -> Json:
        verdict = HoldVerdict(form.answer)
        after = await plane.holds.decide(
            HoldId(hold), who, verdict, view_digest=Digest(form.view_digest), reason=form.reason
        )
        return Json(shown.hold_row(after))

    # -- policy

    @app.post("/api/v1/policy/lint")
    async def policy_lint(_: _Who, form: _Policies) -> Json:
        return Json({"items": [shown.finding(one) for one in plane.releases.lint(form.files)]})

    @app.post("/api/v1/policy/publish")
    async def policy_publish(who: _Who, form: _Policies) -> Json:
        if who.basis != Basis.SINGLE_ADMIN:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "publishing needs a second person's approval")
        subject = Subject("policy-release", release_subject(form.files))
        clearance = Clearance(subject, Basis.SINGLE_ADMIN, (who.person,), who.credential)
        release = await plane.releases.publish(form.files, clearance=clearance, actor=actor(who))
        return Json({"release": release.digest, "policies": len(release.policies), "basis": clearance.basis})

    @app.get("/api/v1/policy/release")
    async def policy_release(_: _Who) -> Json:
        current = plane.releases.current
        return Json({
            "release": current.digest,
            "engine": current.engine,
            "policies": [one.id for one in current.policies],
            "history": plane.releases.history(),
        })  # fmt: skip

    # -- the log

    @app.get("/api/v1/audit/records")
    async def records(
        _: _Who,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        kind: Annotated[str | None, Query(max_length=80)] = None,
    ) -> Json:
        wanted = agent_named(agent).id if agent else None
        found = await asyncio.to_thread(shown.newest, limit, before=before, agent=wanted, kind=kind)
        return Json({"items": found})

    @app.get("/api/v1/decisions/{decision}")
    async def decision(who: _Who, decision: _Name) -> Json:
        found = await asyncio.to_thread(shown.decision, decision)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no decision `{decision[:80]}` is among the newest records")
        # who looks into what was sealed is on record before they see it
        await shown.opened(actor(who), found)
        return Json(found)

    @app.get("/api/v1/audit/prove/{seq}")
    async def prove(_: _Who, seq: Annotated[int, Path(ge=0, lt=2**63)]) -> Json:
        checkpoint = await plane.log.checkpoint()
        if seq >= plane.records.size():
            raise NotFoundError(Code.NOT_FOUND, f"the log has no record {seq}")
        proof = await asyncio.to_thread(shown.proof, seq, checkpoint)
        return Json({"proof": proof.decode()})

    @app.post("/api/v1/clock/confirm")
    async def clock_confirm(who: _Who) -> Json:
        return Json({"confirmed_step_s": await shown.confirm_clock(actor(who)) / 1_000_000})

    return app


def _source(request: Request) -> str:
    return request.client.host if request.client else ""


async def _unprocessable(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these alone
    faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}"[:300] for one in error.errors()[:20]]
    return problem(400, Code.BODY_MALFORMED, "the request does not have the form this route takes", errors=faults)
