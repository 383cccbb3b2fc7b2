"""Operations of an OpenAPI document (3.0, 3.1) as definitions of tools: what an HTTP API offers, read as any offer.

An operation becomes a definition whose arguments are `path`, `query`, `header` and `body`, as far as it has them, each
typed by the document's own schemas; `annotations.http` says how they are put together, so that it is pinned with the
rest. Its name is its `operationId`, or its method and path. What a request cannot be rebuilt from exactly is not
offered: bodies other than JSON, cookies, parameters that are objects. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.schemas import but_for_null

__all__ = ["HttpRoute", "offered_operations", "route_of"]

_METHODS: Final = ("delete", "get", "patch", "post", "put")
_VERSION: Final = re.compile(r"3\.[01]\.\d+(?:-.{1,32})?")
_LOCAL: Final = "#/components/"
_SCHEMAS: Final = "#/components/schemas/"
_PLACES: Final = ("path", "query", "header")
_JSON: Final = re.compile(r"application/(?:[A-Za-z0-9.!#$&^_-]{1,64}\+)?json")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_OURS: Final = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "cookie", "expect"}
    | {"forwarded", "host", "keep-alive", "origin", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "user-agent", "via"}
)
"""Headers that are the gateway's own or the connection's: no argument of an agent becomes one of them."""
_TEMPLATE: Final = re.compile(r"\{([^{}/]{1,128})\}")
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}|\{[^{}/]{1,128}\})*){1,32}")
_MAX_OPERATIONS: Final = 2_000
_MAX_REFERENCES: Final = 16
_MAX_SCHEMAS: Final = 2_000
"""Of one operation, each as often as it is referred to."""
_SCHEMA_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_TEXT: Final = 4_096
_MAX_OTHERS: Final = 100
_DROPPED: Final = frozenset({"example", "discriminator", "externalDocs", "xml"})
_SUBSCHEMAS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """How the arguments of one operation make a request."""

    method: str
    path: str
    """With its parameters in braces."""
    listed: frozenset[str] = frozenset()
    """Query parameters that are lists: repeated, but for"""
    joined: frozenset[str] = frozenset()
    """those that are written as one, with commas."""
    others: tuple[str, ...] = ()
    """Paths of other operations of that method which could be meant by the same request, and are then."""


class _UnsupportedError(ValueError):
    """A request of that operation cannot be rebuilt from typed arguments."""


def offered_operations(document: Any) -> dict[str, dict[str, Any]]:
    """A definition of each operation that can be offered, by name.

    Raises:
        InvalidInputError: it is no OpenAPI document of a version known here, or two operations have one name.
    """
    if not isinstance(document, Mapping):
        raise _refused("is not an object")
    version, paths = document.get("openapi"), document.get("paths")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise _refused("says no version 3.0 or 3.1 of OpenAPI")
    if not isinstance(paths, Mapping):
        raise _refused("has no `paths`")
    found: dict[str, dict[str, Any]] = {}
    listed = list(_operations(paths))
    at: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for path, method, *_ in listed:
        at[method, path.count("/")].append(path)
    for path, method, shared, operation in listed:
        name = operation.get("operationId")
        if not isinstance(name, str) or not name:
            name = f"{method}{re.sub(r'[^A-Za-z0-9]+', '_', path)}".rstrip("_")
        if name in found:
            raise _refused(f"has two operations called `{name[:80]}`")
        if len(found) == _MAX_OPERATIONS:
            raise _refused(f"has more than {_MAX_OPERATIONS} operations")
        try:
            definition = _Reader(document).definition(name[:256], method, path, shared, operation)
            if others := _also_meant(path, at[method, path.count("/")]):
                definition["annotations"]["http"]["others"] = others
            found[name] = definition
        except (_UnsupportedError, RecursionError):
            continue
    return found


def route_of(definition: Mapping[str, Any]) -> HttpRoute | None:
    """The route that a pinned definition states; None if it is none of an HTTP API."""
    annotations = definition.get("annotations")
    stated = annotations.get("http") if isinstance(annotations, Mapping) else None
    if not isinstance(stated, Mapping):
        return None
    return HttpRoute(
        stated["method"],
        stated["path"],
        frozenset(stated.get("listed", ())),
        frozenset(stated.get("joined", ())),
        tuple(stated.get("others", ())),
    )


def _refused(what: str) -> InvalidInputError:
    return InvalidInputError(Code.SCHEMA_REFUSED, f"the OpenAPI document {what}")


def _also_meant(path: str, paths: list[str]) -> list[str]:
    """Of paths with as many steps, the others that a request for this one could be for, and that say no less of it."""
    own, count = path.split("/"), len(_TEMPLATE.findall(path))
    if not count:
        return []
    found = []
    for other in paths:
        steps = other.split("/")
        if other == path or len(_TEMPLATE.findall(other)) > count:
            continue
        if all(one == two or "{" in one or "{" in two for one, two in zip(own, steps, strict=True)):
            found.append(other)
    if len(found) > _MAX_OTHERS:
        raise _UnsupportedError("too many paths that could be meant")
    return sorted(found)


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any], Mapping[str, Any]]]:
    for path, item in paths.items():
        if not isinstance(path, str) or not _PATH.fullmatch(path) or not isinstance(item, Mapping):
            continue
        shared = item.get("parameters", [])
        for method in _METHODS:
            operation = item.get(method)
            if isinstance(operation, Mapping) and isinstance(shared, list):
                yield path, method, shared, operation


class _Reader:
    """Reads one operation. What its schemas refer to is put in its place, or under `$defs` if it contains itself."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._defs: dict[str, Any] = {}
        self._wanted: list[str] = []
        self._within: list[str] = []
        """The schemas whose places are being filled."""
        self._read = 0

    def definition(
        self, name: str, method: str, path: str, shared: list[Any], operation: Mapping[str, Any]
    ) -> dict[str, Any]:
        parts: dict[str, tuple[dict[str, Any], list[str]]] = {place: ({}, []) for place in _PLACES}
        listed: list[str] = []
        joined: list[str] = []
        for (place, key), parameter in self._parameters(shared, operation).items():
            schema = self._parameter_schema(place, key, parameter)
            parts[place][0][key] = schema
            if parameter.get("required") is True:
                parts[place][1].append(key)
            if place == "query" and self._is_list(schema):
                (listed if parameter.get("explode", True) else joined).append(key)
        if set(_TEMPLATE.findall(path)) != parts["path"][0].keys():
            raise _UnsupportedError("the path's parameters are not those that are declared")
        properties: dict[str, Any] = {}
        required = []
        for place, (schemas, needed) in parts.items():
            if schemas:
                properties[place] = _object(schemas, needed)
                required += [place] if needed else []
        body = self._body(operation.get("requestBody"))
        if body is not None:
            properties["body"] = body[0]
            required += ["body"] if body[1] else []
        schema = _object(properties, required)
        if defs := self._definitions():
            schema["$defs"] = defs
        http: dict[str, Any] = {"method": method.upper(), "path": path}
        http |= {key: sorted(names) for key, names in (("listed", listed), ("joined", joined)) if names}
        found = {"name": name, "inputSchema": schema, "annotations": {"http": http}}
        texts = [text for text in (operation.get("summary"), operation.get("description")) if isinstance(text, str)]
        if texts:
            found["description"] = "\n".join(texts)[:_MAX_TEXT]
        return found

    def _parameters(self, shared: list[Any], operation: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
        """By place and name; those of the operation stand before those of its path."""
        own = operation.get("parameters", [])
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for one in [*shared, *(own if isinstance(own, list) else [None])]:
            parameter = self._resolved(one)
            place, key = parameter.get("in"), parameter.get("name")
            if place not in _PLACES or not isinstance(key, str) or not 0 < len(key) <= 128:
                raise _UnsupportedError("a parameter in another place, or without a name")
            if place == "header":
                if key.lower() in _OURS or not _HEADER.fullmatch(key) or key.lower().startswith(("proxy-", "sec-")):
                    raise _UnsupportedError("a header that is the gateway's own")
                key = key.lower()
            found[str(place), key] = parameter
        return found

    def _parameter_schema(self, place: str, key: str, parameter: Mapping[str, Any]) -> dict[str, Any]:
        style = parameter.get("style", "form" if place == "query" else "simple")
        if style != ("form" if place == "query" else "simple") or "content" in parameter:
            raise _UnsupportedError(f"`{key}` is written in a style that is not known here")
        if place == "path" and parameter.get("required") is not True:
            raise _UnsupportedError(f"`{key}` of the path is not required")
        schema = self._schema(parameter.get("schema", {}))
        if not (_is_scalar(schema) or (place == "query" and self._is_list(schema))):
            raise _UnsupportedError(f"`{key}` is no single value")
        return schema

    @staticmethod
    def _is_list(schema: Mapping[str, Any]) -> bool:
        own = but_for_null(schema)[0]
        items = own.get("items")
        return own.get("type") == "array" and isinstance(items, Mapping) and _is_scalar(items)

    def _body(self, body: Any) -> tuple[dict[str, Any], bool] | None:
        if body is None:
            return None
        resolved = self._resolved(body)
        content = resolved.get("content")
        kinds = [kind for kind in content if isinstance(kind, str)] if isinstance(content, Mapping) else []
        json_kind = next((kind for kind in kinds if kind.partition(";")[0].strip() == "application/json"), None)
        if json_kind is None or not isinstance(content, Mapping):
            raise _UnsupportedError("the body is not `application/json`")
        media = content[json_kind]
        schema = self._schema(media.get("schema", {}) if isinstance(media, Mapping) else {})
        return schema, resolved.get("required") is True

    def _resolved(self, node: Any) -> Mapping[str, Any]:
        """A parameter or body itself, whatever it is referred to by."""
        for _ in range(_MAX_REFERENCES):
            if not isinstance(node, Mapping):
                break
            reference = node.get("$ref")
            if reference is None:
                return node
            node = self._at(reference)
        raise _UnsupportedError("a reference that leads nowhere")

    def _at(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith(_LOCAL):
            raise _UnsupportedError("a reference out of the document")
        node: Any = self._document
        for step in reference[2:].split("/"):
            if not isinstance(node, Mapping):
                raise _UnsupportedError("a reference that leads nowhere")
            node = node.get(step.replace("~1", "/").replace("~0", "~"))
        return node

    def _schema(self, schema: Any) -> dict[str, Any]:
        """A schema in the terms of JSON Schema 2020-12."""
        self._read += 1
        if self._read > _MAX_SCHEMAS:
            raise _UnsupportedError("schemas that refer to more and more schemas")
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise _UnsupportedError("a schema that is none")
        reference = schema.get("$ref")
        if reference is not None:
            name = str(reference).removeprefix(_SCHEMAS)
            if not str(reference).startswith(_SCHEMAS) or not _SCHEMA_NAME.fullmatch(name):
                raise _UnsupportedError("a reference to something that is no schema")
            if name in self._within or name in self._defs:
                self._wanted.append(name)
                return {"$ref": f"#/$defs/{name}"}
            self._within.append(name)
            placed = self._schema(self._at(reference))
            self._within.pop()
            beside = {key: schema[key] for key in ("description", "default") if key in schema}
            return {**placed, **beside}
        found = {key: self._member(key, value) for key, value in schema.items()}
        told = schema.get("properties")
        unsent = [name for name, one in told.items() if _is_read_only(one)] if isinstance(told, Mapping) else []
        if unsent:  # an answer has them; a request that has them is refused
            found["properties"] = {name: one for name, one in found["properties"].items() if name not in unsent}
            if isinstance(found.get("required"), list):
                found["required"] = [name for name in found["required"] if name not in unsent]
        return self._own_terms(found)

    def _member(self, key: str, value: Any) -> Any:
        if key in _SUBSCHEMAS and isinstance(value, Mapping):
            return {name: self._schema(inner) for name, inner in value.items()}
        if key in {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}:
            return value if isinstance(value, bool) else self._schema(value)
        if key in {"allOf", "anyOf", "oneOf", "prefixItems"} and isinstance(value, list):
            return [self._schema(inner) for inner in value]
        return value

    @staticmethod
    def _own_terms(schema: dict[str, Any]) -> dict[str, Any]:
        """Without what OpenAPI 3.0 says in words of its own."""
        found = {key: value for key, value in schema.items() if key not in _DROPPED and not key.startswith("x-")}
        for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            exclusive = found.get(bound)
            if isinstance(exclusive, bool):
                del found[bound]
                if exclusive and limit in found:
                    found[bound] = found.pop(limit)
        if found.pop("nullable", False) is True and isinstance(found.get("type"), str):
            found["type"] = [found["type"], "null"]
            if isinstance(found.get("enum"), list) and None not in found["enum"]:
                found["enum"] = [*found["enum"], None]
        return {key: value for key, value in found.items() if key not in {"readOnly", "writeOnly", "deprecated"}}

    def _definitions(self) -> dict[str, Any]:
        while self._wanted:
            name = self._wanted.pop()
            if name not in self._defs:
                self._defs[name] = {}  # known from here on
                self._defs[name] = self._schema(self._at(f"{_SCHEMAS}{name}"))
        return self._defs


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = sorted(required)
    return found


def _is_read_only(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("readOnly") is True


def _is_scalar(schema: Mapping[str, Any]) -> bool:
    schema = but_for_null(schema)[0]
    kind = schema.get("type")
    if kind is None:  # by what it may be
        values = [schema["const"]] if "const" in schema else schema.get("enum", ())
        return bool(values) and all(isinstance(value, str) for value in values)
    return kind in {"string", "integer", "number", "boolean"}
