"""OpenAPI documents read as offers of tools: exactly, or not at all, and at no document's mercy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway.httproutes import MatchedOperation, Routes, read_arguments, rendered
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import ServerName, tool_id
from accredit.registry.model import Effect, Tool
from accredit.registry.openapi import offered_operations, route_of
from accredit.registry.pinning import definition_digest
from accredit.registry.schemas import compile_arguments

TEXT = {"type": "string"}


def _document(paths: Mapping[str, Any], version: str = "3.1.0", **components: Any) -> dict[str, Any]:
    return {"openapi": version, "info": {"title": "x", "version": "1"}, "paths": paths, "components": components}


def _one(operation: Mapping[str, Any], path: str = "/a", version: str = "3.1.0", **components: Any) -> dict[str, Any]:
    """The one definition that is offered."""
    (found,) = offered_operations(_document({path: {"post": operation}}, version, **components)).values()
    compile_arguments(found["inputSchema"], allow_undeclared=False)
    return found


def _parameter(name: str, place: str, schema: Mapping[str, Any] = TEXT, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema} | ({"required": True} if place == "path" else {}) | more


def _body(schema: Any, kind: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {kind: {"schema": schema}}} | more}


@pytest.mark.requirement("http:openapi")
def test_an_operation_is_a_tool_whose_arguments_stand_where_they_go() -> None:
    found = _one(
        {
            "operationId": "update",
            "summary": "Update one.",
            "description": "Really.",
            "parameters": [
                {"$ref": "#/components/parameters/Id"},
                _parameter("tag", "query", {"type": "array", "items": {"type": "integer"}}),
                _parameter("fields", "query", {"type": "array", "items": TEXT}, explode=False),
                _parameter("If-Match", "header"),
            ],
            **_body({"$ref": "#/components/schemas/Form"}, required=True),
        },
        "/things/{id}",
        parameters={"Id": _parameter("id", "path")},
        schemas={
            "Form": {"type": "object", "properties": {"size": {"$ref": "#/components/schemas/Size"}, "id": TEXT}},
            "Size": {"type": "integer", "example": 3, "x-note": "ours"},
        },
    )
    assert found["name"] == "update"
    assert found["description"] == "Update one.\nReally."
    http = {"method": "POST", "path": "/things/{id}", "listed": ["tag"], "joined": ["fields"]}
    assert found["annotations"] == {"http": http}
    schema = found["inputSchema"]
    assert schema["required"] == ["body", "path"]
    assert schema["properties"]["path"] == {"type": "object", "properties": {"id": TEXT}, "required": ["id"]}
    assert schema["properties"]["header"]["properties"] == {"if-match": TEXT}
    assert schema["properties"]["body"]["properties"]["size"] == {"type": "integer"}


@pytest.mark.requirement("http:openapi")
def test_words_of_an_older_version_mean_what_they_meant_and_what_only_answers_have_is_not_sent() -> None:
    schema = {
        "type": "object",
        "required": ["id", "amount"],
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "amount": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "nullable": True},
            "kind": {"type": "string", "enum": ["a"], "nullable": True},
        },
    }
    found = _one(_body(schema), version="3.0.3")
    own = found["inputSchema"]["properties"]["body"]
    assert own["required"] == ["amount"]
    assert own["properties"] == {
        "amount": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "kind": {"type": ["string", "null"], "enum": ["a", None]},
    }
    judge = compile_arguments(found["inputSchema"], allow_undeclared=False)
    assert judge.fault({"body": {"amount": 1}}) is None
    assert judge.fault({"body": {"amount": 0}}) is not None
    assert judge.fault({"body": {"amount": 1, "id": 3}}) is not None


@pytest.mark.requirement("http:openapi")
def test_a_schema_that_contains_itself_stays_a_reference() -> None:
    tree = {
        "type": "object",
        "properties": {"below": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
    }
    found = _one(_body({"$ref": "#/components/schemas/Tree"}), schemas={"Tree": tree})
    judge = compile_arguments(found["inputSchema"], allow_undeclared=False)
    assert judge.fault({"body": {"below": [{"below": []}]}}) is None
    assert judge.fault({"body": {"below": [{"below": [{"other": 1}]}]}}) is not None


@pytest.mark.requirement("http:openapi")
@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (_body(TEXT, "multipart/form-data"), "/a"),
        (_body({"$ref": "https://elsewhere/schema.json"}), "/a"),
        (_body({"$ref": "#/components/parameters/X"}), "/a"),
        (_body({"$ref": "#/components/schemas/Missing"}), "/a"),
        ({"parameters": [_parameter("session", "cookie")]}, "/a"),
        ({"parameters": [_parameter("Authorization", "header")]}, "/a"),
        ({"parameters": [_parameter("X-A\r\nB", "header")]}, "/a"),
        ({"parameters": [_parameter("filter", "query", {"type": "object"})]}, "/a"),
        ({"parameters": [_parameter("filter", "query", style="deepObject")]}, "/a"),
        ({"parameters": [_parameter("id", "path", {"type": "array", "items": TEXT})]}, "/{id}"),
        ({"parameters": [_parameter("id", "path", required=False)]}, "/{id}"),
        ({"parameters": [_parameter("other", "path")]}, "/{id}"),
        ({"parameters": [{"$ref": "#/components/parameters/Loop"}]}, "/a"),
        ({"parameters": "none"}, "/a"),
        ({}, "/a?b=c"),
        ({}, "no/slash"),
        ({}, "/a/{}"),
    ],
)
def test_what_cannot_be_rebuilt_from_arguments_is_not_offered(operation: Mapping[str, Any], path: str) -> None:
    loop = {"Loop": {"$ref": "#/components/parameters/Loop"}}
    assert offered_operations(_document({path: {"post": operation}}, parameters=loop)) == {}


@pytest.mark.requirement("http:openapi")
@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"swagger": "2.0", "paths": {}},
        {"openapi": "3.2.0", "paths": {}},
        {"openapi": "3.1.0"},
        _document({"/a": {"get": {"operationId": "x"}}, "/b": {"get": {"operationId": "x"}}}),
        _document({f"/{number}": {"get": {}} for number in range(2_001)}),
    ],
)
def test_a_document_that_is_none_is_refused_whole(document: Any) -> None:
    with pytest.raises(InvalidInputError):
        offered_operations(document)


@pytest.mark.requirement("http:openapi")
def test_a_document_that_grows_as_it_is_read_is_read_only_so_far() -> None:
    schemas: dict[str, Any] = {"S0": TEXT}
    for number in range(1, 40):
        below = {"$ref": f"#/components/schemas/S{number - 1}"}
        schemas[f"S{number}"] = {"type": "object", "properties": {"a": below, "b": below}}
    wide = {f"/p{number}": {"post": _body({"$ref": "#/components/schemas/S39"})} for number in range(100)}
    assert offered_operations(_document(wide, schemas=schemas)) == {}
    deep: Any = TEXT
    for _ in range(3_000):
        deep = {"type": "array", "items": deep}
    assert offered_operations(_document({"/a": {"post": _body(deep)}})) == {}


# -- from arguments to a request, and back


def _tool(definition: Mapping[str, Any]) -> Tool:
    return Tool(
        id=tool_id("shop", definition["name"]),
        server=ServerName("shop"),
        name=definition["name"],
        effect=Effect.READ,
        scope=None,
        data=frozenset(),
        price=None,
        definition=definition,
        definition_digest=definition_digest(definition),
    )


_SEARCH = _one(
    {
        "operationId": "search",
        "parameters": [
            _parameter("id", "path"),
            _parameter("number", "path", {"type": "integer"}),
            _parameter("text", "query"),
            _parameter("limit", "query", {"type": "integer"}),
            _parameter("share", "query", {"type": "number"}),
            _parameter("open", "query", {"type": "boolean"}),
            _parameter("tag", "query", {"type": "array", "items": TEXT}),
            _parameter("field", "query", {"type": "array", "items": {"type": "integer"}}, explode=False),
            _parameter("x-trace", "header"),
        ],
        **_body({"type": "object"}),
    },
    "/v1/{id}/part-{number}",
)
_PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
_SEGMENT = _PRINTABLE.filter(lambda text: bool(text) and text not in {".", ".."} and not set(text) & set("/\\"))
_LONG = st.integers(-(10**15), 10**15)


@pytest.mark.requirement("http:sent-anew")
@given(
    st.fixed_dictionaries({"id": _SEGMENT, "number": _LONG}),
    st.fixed_dictionaries(
        {},
        optional={
            "text": _PRINTABLE,
            "limit": _LONG,
            "share": st.integers(-1000, 1000).map(lambda number: number / 8),
            "open": st.booleans(),
            "tag": st.lists(_PRINTABLE, min_size=1, max_size=4),
            "field": st.lists(_LONG, min_size=1, max_size=4),
        },
    ),
    st.dictionaries(_PRINTABLE, _LONG, min_size=1, max_size=3),
)
def test_what_arguments_make_says_exactly_those_arguments(
    path: dict[str, Any], query: dict[str, Any], body: dict[str, Any]
) -> None:
    tool = _tool(_SEARCH)
    route = route_of(_SEARCH)
    assert route is not None
    arguments: dict[str, Any] = {"path": path, "body": body, "header": {"x-trace": "t-1"}}
    arguments |= {"query": query} if query else {}
    request = rendered(route, arguments)
    target, _, asked = request.target.partition("?")
    assert request.target.isascii()
    found = Routes([tool]).find("POST", target)
    assert found is not None
    again = read_arguments(found, asked, request.headers, {"body": orjson.loads(request.body)})
    assert again == arguments


@pytest.mark.requirement("http:typed")
@given(st.text(alphabet="ab/.%2eEfF5cC\\{}-+ 0", max_size=24))
def test_no_path_finds_its_way_out_of_a_segment(text: str) -> None:
    tool = _tool(_SEARCH)
    try:
        found = Routes([tool]).find("POST", f"/v1/{text}/part-1")
        if found is None:
            return
        arguments = read_arguments(found, "", {}, {})
    except InvalidInputError:
        return
    sent = rendered(found.route, arguments).target
    assert sent.count("/") == 3
    assert "%2F" not in sent
    assert sent.split("/")[2] not in {"", ".", ".."}


@pytest.mark.requirement("http:typed")
def test_a_path_without_parameters_is_found_before_one_with_them() -> None:
    def get(path: str, name: str, *parameters: str) -> dict[str, Any]:
        return {path: {"get": {"operationId": name, "parameters": [_parameter(one, "path") for one in parameters]}}}

    offered = offered_operations(
        _document(
            {
                **get("/things/{id}", "one", "id"),
                **get("/things/mine", "mine"),
                **get("/things/all", "unregistered"),
                **get("/things/{id}/{part}", "part", "id", "part"),
                **get("/things/{id}/secret", "secret", "id"),
                **get("/{kind}/first/x", "first", "kind"),
            }
        )
    )
    assert offered["one"]["annotations"]["http"]["others"] == ["/things/all", "/things/mine"]
    routes = Routes([_tool(definition) for name, definition in offered.items() if name in {"one", "mine", "part"}])

    def name(path: str, method: str = "GET") -> str | None:
        found: MatchedOperation | None = routes.find(method, f"/things/{path}")
        return found.tool.name if found is not None else None

    assert [name(path) for path in ("mine", "other", "%6dine", "Mine")] == ["mine", "one", "mine", "one"]
    # what is an operation of its own is no value of another, whether it is registered or not
    assert [name(path) for path in ("all", "%61ll", "a/secret", "a/b")] == [None, None, None, "part"]
    assert (name(""), name("mine", "POST")) == (None, None)
