"""What a function takes, by schemas that are written in different ways."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

from accredit.kernel.signatures import signature

_ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "of the order", "maxLength": 40},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"cents": {"type": "integer"}}}},
        "way": {"enum": ["post", "pickup"]},
    },
    "required": ["id"],
}


class _Line(BaseModel):
    cents: int


class _Order(BaseModel):
    id: str
    lines: list[_Line] | None = None
    way: Literal["pickup", "post"] = "post"


@pytest.mark.requirement("sdk:local:signature")
def test_one_function_has_one_signature_however_its_schema_is_written() -> None:
    assert signature(_Order.model_json_schema()) == signature(_ORDER) is not None
    strict = {**_ORDER, "additionalProperties": False, "required": ["id", "lines", "way"], "title": "Order"}
    assert signature(strict) == signature(_ORDER)


@pytest.mark.parametrize(
    "change",
    [
        {"id": {"type": "integer"}},
        {"id": {"type": ["string", "integer"]}},
        {"way": {"enum": ["post", "pickup", "drone"]}},
        {"way": {"type": "string"}},
        {"lines": {"type": "array", "items": {"type": "object", "properties": {"euros": {"type": "integer"}}}}},
        {"more": {"type": "string"}},
    ],
)
@pytest.mark.requirement("sdk:local:signature")
def test_two_functions_have_two(change: dict[str, Any]) -> None:
    other = {**_ORDER, "properties": {**_ORDER["properties"], **change}}
    assert signature(other) not in {signature(_ORDER), None}


_SELF: dict[str, Any] = {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}}
_DEEP: dict[str, Any] = {}
for _ in range(200):
    _DEEP = {"items": _DEEP, "type": "array"}


@pytest.mark.parametrize(
    "schema",
    [None, "text", [], _SELF, _DEEP, {"$ref": "https://elsewhere.example/s"}, {"properties": {"a": True}},
     {"properties": {str(n): {} for n in range(6_000)}}, {"enum": [{1: 2}]}],
    ids=lambda each: str(each)[:24],
)  # fmt: skip
@pytest.mark.requirement("sdk:local:signature")
def test_what_cannot_be_read_has_none(schema: object) -> None:
    assert signature(schema) is None
