"""`/scim/v2`: users and groups as a directory provisions them (RFC 7644).

Whoever asks proves to be a directory by a key that is good for this and nothing else, and sees its own resources alone.
Every answer, a refusal too, has the RFC's form; each bounds what it reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accredit.api.outer_body import read_body
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import moment
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from accredit.kernel.strictjson import parse_strict
from accredit.registry.directories import DirectoryGroup, DirectoryUser
from accredit.registry.provisioning import Provisioner
from accredit.registry.scim.attributes import GROUP, USER, ResourceType, read_resource
from accredit.registry.scim.documents import (
    MOST_LISTED,
    chosen,
    error_body,
    list_body,
    resource_types,
    schema_documents,
    service_provider_config,
)
from accredit.registry.scim.errors import ScimError, ScimType
from accredit.registry.scim.filters import holds, read_filter
from accredit.registry.scim.patching import patched

__all__ = ["scim_routes"]

_ROOT: Final = "/scim/v2"
_MEDIA: Final = "application/scim+json"
_MAX_BODY: Final = 2**20
_MAX_DEPTH: Final = 12
_MAX_ID: Final = 200
_PER_MINUTE: Final = 3_000
_METHODS: Final = ["DELETE", "GET", "PATCH", "POST", "PUT"]

_Handler = Callable[[Request, Provisioner], Awaitable[Response]]


def scim_routes(plane: ControlPlane) -> list[Route]:
    """The routes, the last of which answers what is at none of the others."""
    operations, base = plane.room.directories, f"{plane.public_url}{_ROOT}"

    def shown(one: DirectoryUser | DirectoryGroup) -> dict[str, Any]:
        of = USER if isinstance(one, DirectoryUser) else GROUP
        extensions = [urn for urn in of.extensions if urn in one.resource]
        return {
            "schemas": [of.schema, *extensions],
            "id": one.id,
            **one.resource,
            "meta": {
                "resourceType": of.name,
                "created": moment(one.created_us),
                "lastModified": moment(one.changed_us),
                "location": f"{base}/{of.name}s/{one.id}",
                "version": _etag(plane.registry.provisioning.version(one)),
            },
        }

    def answered(request: Request, one: DirectoryUser | DirectoryGroup, status: int = 200) -> Response:
        whole = shown(one)
        meta = whole["meta"]
        headers = {"etag": meta["version"], "location": meta["location"]}
        return _scim(chosen(whole, *_wanted(request)), status, headers)

    # -- the resources of one kind

    def found(by: Provisioner, of: ResourceType, id_: str) -> DirectoryUser | DirectoryGroup:
        provisioning = plane.registry.provisioning
        return provisioning.user(by.directory, id_) if of is USER else provisioning.group(by.directory, id_)

    async def listed(request: Request, by: Provisioner, of: ResourceType) -> Response:
        text = request.query_params.get("filter")
        wanted = None if text is None else read_filter(text, of)
        start = max(1, _number(request, "startIndex", 1))
        count = min(MOST_LISTED, max(0, _number(request, "count", MOST_LISTED)))

        def looked() -> tuple[list[dict[str, Any]], int]:
            every = operations.users(by.directory) if of is USER else operations.groups(by.directory)
            if wanted is not None:
                every = [one for one in every if holds(wanted, _asked(one, of))]  # type: ignore[assignment]  # as it was
            page = every[start - 1 : start - 1 + count]
            return [chosen(shown(one), *_wanted(request)) for one in page], len(every)

        page, total = await asyncio.to_thread(looked)
        return _scim(list_body(page, total=total, start=start))

    async def created(request: Request, by: Provisioner, of: ResourceType) -> Response:
        form = await _json(request)
        fresh = read_resource(form, of)
        put = operations.put_user if of is USER else operations.put_group
        done = await put(by, None, lambda _: fresh)
        assert done.resource is not None  # noqa: S101 - it was just made
        return answered(request, done.resource, 201)

    async def got(request: Request, by: Provisioner, of: ResourceType) -> Response:
        one = found(by, of, _id(request))
        if _etag(plane.registry.provisioning.version(one)) in _tags(request, "if-none-match"):
            return Response(status_code=304)
        return answered(request, one)

    async def changed(request: Request, by: Provisioner, of: ResourceType) -> Response:
        id_, form = _id(request), await _json(request)
        found(by, of, id_)
        if request.method == "PUT":
            fresh = read_resource(form, of)

        def made(before: Mapping[str, Any]) -> dict[str, Any]:
            return patched(before, form, of, id_=id_) if request.method == "PATCH" else fresh

        put = operations.put_user if of is USER else operations.put_group
        done = await put(by, id_, made, expected=_expected(request))
        assert done.resource is not None  # noqa: S101 - it was changed, not taken away
        return answered(request, done.resource)

    async def removed(request: Request, by: Provisioner, of: ResourceType) -> Response:
        remove = operations.remove_user if of is USER else operations.remove_group
        await remove(by, _id(request), expected=_expected(request))
        return Response(status_code=204)

    def resources(of: ResourceType) -> tuple[_Handler, _Handler]:
        async def every(request: Request, by: Provisioner) -> Response:
            return await (created if request.method == "POST" else listed)(request, by, of)

        async def one(request: Request, by: Provisioner) -> Response:
            doing = {"DELETE": removed, "GET": got}.get(request.method, changed)
            return await doing(request, by, of)

        return every, one

    # -- what it says of itself

    async def config(_: Request, __: Provisioner) -> Response:
        return _scim(service_provider_config(base))

    def described(documents: list[dict[str, Any]]) -> tuple[_Handler, _Handler]:
        async def every(_: Request, __: Provisioner) -> Response:
            return _scim(list_body(documents, total=len(documents), start=1))

        async def one(request: Request, _: Provisioner) -> Response:
            wanted = _id(request)
            document = next((each for each in documents if each["id"] == wanted), None)
            if document is None:
                raise NotFoundError(Code.NOT_FOUND, "there is no such document")
            return _scim(document)

        return every, one

    async def nowhere(_: Request, __: Provisioner) -> Response:
        raise NotFoundError(Code.NOT_FOUND, "there is no such path", hint="see `/scim/v2/ServiceProviderConfig`")

    # -- who asks, and what becomes of a refusal

    def guarded(handler: _Handler, *methods: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                by = directory(request)
                if limited := plane.limits.asked(f"scim/{by.directory}", _PER_MINUTE):
                    refusal = _refused(429, ScimType.NONE, "too many requests", limited.code)
                    refusal.headers["retry-after"] = str(max(1, round(limited.retry_after_s)))
                    return refusal
                if request.method not in methods:
                    refusal = _refused(405, ScimType.NONE, "this path does not take that", Code.METHOD_UNKNOWN)
                    refusal.headers["allow"] = ", ".join(methods)
                    return refusal
                return await handler(request, by)
            except UnauthenticatedError:
                refusal = _refused(401, ScimType.NONE, "the key was not accepted", Code.UNAUTHENTICATED)
                refusal.headers["www-authenticate"] = "Bearer"
                return refusal
            except ScimError as error:
                return _refused(error.status, error.scim_type, error.message, error.code)
            except ConflictError as error:
                failed = "if-match" in request.headers and error.code is Code.CONFLICT
                return _refused(412 if failed else 409, ScimType.NONE, error.message, error.code)
            except InvalidInputError as error:
                status = 413 if error.code is Code.BODY_OVERSIZED else 400
                return _refused(status, ScimType.INVALID_SYNTAX, error.message, error.code)
            except AccreditError as error:
                return _refused(error.status, ScimType.NONE, error.message, error.code)

        return answer

    def directory(request: Request) -> Provisioner:
        given = request.headers.getlist("authorization")
        scheme, _, key = (given[0] if len(given) == 1 else "").partition(" ")
        try:
            return operations.keys.authenticate(key.strip() if scheme.lower() == "bearer" else "")
        except UnauthenticatedError as error:
            source = request.client.host if request.client else ""
            plane.enforcer.turned_away(
                error.code, path=_ROOT, source=source, credential=error.credential, cause=error.cause
            )
            raise

    routes: list[Route] = []

    def add(path: str, handler: _Handler, *methods: str) -> None:
        routes.append(Route(f"{_ROOT}{path}", guarded(handler, *methods), methods=_METHODS))

    for of in (USER, GROUP):
        many, single = resources(of)
        add(f"/{of.name}s", many, "GET", "POST")
        add(f"/{of.name}s/{{id:path}}", single, "GET", "PUT", "PATCH", "DELETE")
    for name, documents in (("ResourceTypes", resource_types(base)), ("Schemas", schema_documents(base))):
        many, single = described(documents)
        add(f"/{name}", many, "GET")
        add(f"/{name}/{{id:path}}", single, "GET")
    add("/ServiceProviderConfig", config, "GET")
    add("/{id:path}", nowhere, *_METHODS)
    return routes


def _scim(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Json:
    answer = Json(content, status, headers)
    answer.headers["content-type"] = _MEDIA
    return answer


def _refused(status: int, scim_type: ScimType, detail: str, code: Code) -> Json:
    return _scim(error_body(status, scim_type, detail, str(code)), status)


def _asked(one: DirectoryUser | DirectoryGroup, of: ResourceType) -> dict[str, Any]:
    """What a filter is asked of."""
    meta = {"created": moment(one.created_us), "lastModified": moment(one.changed_us), "resourceType": of.name}
    return {**one.resource, "id": one.id, "meta": meta}


async def _json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {_MEDIA, "application/json"}:
        raise ScimError(ScimType.INVALID_SYNTAX, f"a body here is `{_MEDIA}`", status=415)
    body = await read_body(request, _MAX_BODY)
    return parse_strict(body, max_bytes=_MAX_BODY, max_depth=_MAX_DEPTH)


def _id(request: Request) -> str:
    found: str = request.path_params["id"]
    if len(found) > _MAX_ID or "/" in found:
        raise NotFoundError(Code.NOT_FOUND, f"there is nothing at `{quote(found[:60])}`")
    return found


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if len(text) > 9 or not text.removeprefix("-").isdecimal() or not text.isascii():
        raise ScimError(ScimType.INVALID_VALUE, f"`{name}` is a number")
    return int(text)


def _wanted(request: Request) -> tuple[list[str], list[str]]:
    return tuple(  # type: ignore[return-value]  # of two names
        [one for one in request.query_params.get(name, "")[:2_000].split(",") if one.strip()]
        for name in ("attributes", "excludedAttributes")
    )


def _etag(version: str) -> str:
    return f'W/"{version}"'


def _tags(request: Request, header: str) -> list[str]:
    given = request.headers.get(header, "")
    return [f"W/{one.strip().removeprefix('W/')}" for one in given[:1_000].split(",") if one.strip()]


def _expected(request: Request) -> list[str] | None:
    """The versions that a client means to change (RFC 7232 §3.1); None: whichever there is."""
    if "if-match" not in request.headers:
        return None
    return [one.removeprefix("W/").strip('"') for one in _tags(request, "if-match")]
