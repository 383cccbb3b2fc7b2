"""`/api/v1`: what operators do. Every handler parses once, calls one service, and shows the answer.

The routes stand in modules of this room by subject. Whatever changes something goes through the operations, which ask
who may.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from accredit import __version__
from accredit.api.acts import acts
from accredit.api.agents import agents
from accredit.api.approvals import approvals
from accredit.api.asking import Asking
from accredit.api.baselines import baselines
from accredit.api.breaking import breaking
from accredit.api.chats import chats
from accredit.api.costs import costs
from accredit.api.credentials import credentials
from accredit.api.directories import directories
from accredit.api.discovering import discovering
from accredit.api.entry import ControlEntry
from accredit.api.gitops import gitops
from accredit.api.incidents import incidents
from accredit.api.interchange import interchange
from accredit.api.keeping import keeping
from accredit.api.people import people
from accredit.api.plane import ControlPlane
from accredit.api.policies import policies
from accredit.api.problems import problem, problem_of, unexpected, unrouted
from accredit.api.records import records
from accredit.api.registered import registered
from accredit.api.reviews import reviews
from accredit.api.sessions import sessions
from accredit.api.signing_in import signing_in
from accredit.api.stores import stores
from accredit.api.successions import successions
from accredit.api.watching import watching
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError

__all__ = ["control_api"]

_SUBJECTS = (
    signing_in,
    registered,
    people,
    agents,
    acts,
    credentials,
    approvals,
    policies,
    costs,
    sessions,
    watching,
    incidents,
    records,
    breaking,
    discovering,
    stores,
    interchange,
    gitops,
    successions,
    keeping,
    directories,
    chats,
    reviews,
    baselines,
)
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


class _Answering(APIRoute):
    """A route that keeps what it answers for the description, whose schemas are made when somebody asks for it."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, response_model: Any = None, **more: Any) -> None:
        self.answer = response_model
        super().__init__(path, endpoint, response_model=None, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answered = super().get_route_handler()
        known = frozenset(one.alias for one in self.dependant.query_params)

        async def handled(request: Request) -> Response:
            _require_known(request, known)
            return await answered(request)

        return handled


class _Described(FastAPI):
    """Says in its description only what it answers."""

    def openapi(self) -> dict[str, Any]:
        fresh = self.openapi_schema is None
        described = super().openapi()
        if fresh:
            self._describe_answers(described)
            for operation in (each for path in described["paths"].values() for each in path.values()):
                operation["responses"].pop("422", None)  # the framework's own; here it is a problem with status 400
            for name in ("HTTPValidationError", "ValidationError"):
                described["components"]["schemas"].pop(name, None)
        return described

    def _describe_answers(self, described: dict[str, Any]) -> None:
        routes = [route for route in self.routes if isinstance(route, _Answering) and route.answer is not None]
        schemas, parts = TypeAdapter.json_schemas(
            [(number, "serialization", TypeAdapter(route.answer)) for number, route in enumerate(routes)],
            ref_template="#/components/schemas/{model}",
        )
        described["components"]["schemas"] |= parts["$defs"]
        for number, route in enumerate(routes):
            for method in route.methods or ():
                answers = described["paths"][route.path_format][method.lower()]["responses"]
                schema = schemas[number, "serialization"]
                answers[str(route.status_code or 200)]["content"] = {"application/json": {"schema": schema}}


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
    app.router.route_class = _Answering
    app.add_middleware(ControlEntry, plane=plane)
    asking = Asking(plane)
    for subject in _SUBJECTS:
        subject(app, plane, asking)
    return app


def _require_known(request: Request, known: frozenset[str]) -> None:
    """What nobody reads, or only the last of, would leave the asker with another answer than they think."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise InvalidInputError(Code.BODY_MALFORMED, f"this route takes no parameter `{name[:80]}`")
        if given.count(name) > 1:
            raise InvalidInputError(Code.BODY_MALFORMED, f"the parameter `{name}` is repeated")


async def _unprocessable(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these alone
    faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}"[:300] for one in error.errors()[:20]]
    return problem(400, Code.BODY_MALFORMED, "the request does not have the form this route takes", errors=faults)
