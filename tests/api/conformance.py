"""Whether answers are what the API's own description says: status, media type and every key of the body."""

from __future__ import annotations

from typing import Any

import httpx2
import jsonschema_rs
from fastapi import FastAPI
from starlette.routing import Route

__all__ = ["Conformance"]

_PREFIX = "/api/v1/"


class Conformance:
    """Compares each answer with the OpenAPI document; an object may have no key that is not described."""

    def __init__(self, app: FastAPI) -> None:
        described = app.openapi()
        self._components = {"schemas": _closed(described["components"]["schemas"])}
        self._operations = [
            (method, route.path_regex, described["paths"][route.path_format][method.lower()]["responses"])
            for route in app.routes
            if isinstance(route, Route) and route.include_in_schema
            for method in route.methods or ()
        ]
        self._validators: dict[str, jsonschema_rs.Validator] = {}
        self.compared = 0

    def __call__(self, answer: httpx2.Response) -> None:
        """A hook of `httpx2`: looks at every answer of the control plane."""
        path = answer.request.url.path
        if not path.startswith(_PREFIX):
            return
        answer.read()
        method, status = answer.request.method, str(answer.status_code)
        fitting = (responses for one, pattern, responses in self._operations if one == method and pattern.match(path))
        responses = next(fitting, None)
        if responses is None:
            assert status[0] == "4", f"{method} {path} is not described: {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
            return
        found = responses.get(status) or responses.get(f"{status[0]}XX")
        assert found is not None, f"{method} {path} {status} is not described: {answer.text}"
        ((kind, content),) = found["content"].items()
        assert answer.headers["content-type"] == kind, (method, path, answer.headers["content-type"])
        schema = content["schema"]
        key = str(schema)
        if key not in self._validators:
            self._validators[key] = jsonschema_rs.Draft202012Validator(
                {"components": self._components, **_closed(schema)}
            )
        faults = [
            f"{'/'.join(map(str, one.instance_path))}: {one.message}"
            for one in self._validators[key].iter_errors(answer.json())
        ]
        assert not faults, f"{method} {path} {status} is not as described: {faults[:5]}"
        self.compared += 1


def _closed(schema: Any) -> Any:
    """The schema with every object that names its keys closed to others; maps of named things stay open."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(one) for key, one in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found
