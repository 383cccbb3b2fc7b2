"""Pinned input schemas as Cedar types: one mapping, used both to validate policies and to encode the values they read.

What has no single Cedar type (a union, a free object, a mixed list) is left out with the reason, so that a policy
that reads it can be refused by name instead of silently never matching.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.registry.schemas import but_for_null

__all__ = ["ArgumentKind", "ArgumentType", "argument_type", "input_type"]

_MAX_DEPTH = 16
_COMPOSED = ("$ref", "$dynamicRef", "allOf", "not", "if", "then", "else", "dependentSchemas", "patternProperties")


class ArgumentKind(StrEnum):
    """How Cedar sees a JSON value."""

    STRING = "String"
    LONG = "Long"
    BOOL = "Boolean"
    DECIMAL = "decimal"
    SET = "Set"
    RECORD = "Record"
    UNMAPPED = "unmapped"


@dataclass(frozen=True, slots=True)
class ArgumentType:
    """The type of one argument."""

    kind: ArgumentKind
    element: ArgumentType | None = None
    fields: Mapping[str, ArgumentType] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    reason: str = ""
    """Why it does not map."""

    def at(self, path: tuple[str, ...]) -> ArgumentType | None:
        """The type at a path below this one; the first that does not map ends it; None if nothing is declared there."""
        found: ArgumentType | None = self
        for step in path:
            if found is None or found.kind is ArgumentKind.UNMAPPED:
                return found
            found = found.fields.get(step)
        return found

    def document(self) -> dict[str, Any]:
        """This type in the engine's JSON schema format; fields that do not map are left out."""
        match self.kind:
            case ArgumentKind.DECIMAL:
                return {"type": "Extension", "name": "decimal"}
            case ArgumentKind.SET if self.element is not None:
                return {"type": "Set", "element": self.element.document()}
            case ArgumentKind.RECORD:
                return {
                    "type": "Record",
                    "attributes": {
                        name: {**kind.document(), "required": name in self.required}
                        for name, kind in self.fields.items()
                        if kind.kind is not ArgumentKind.UNMAPPED
                    },
                }
        return {"type": self.kind.value}


_SCALARS = {
    "string": ArgumentKind.STRING,
    "integer": ArgumentKind.LONG,
    "boolean": ArgumentKind.BOOL,
    "number": ArgumentKind.DECIMAL,
}


def _unmapped(reason: str) -> ArgumentType:
    return ArgumentType(ArgumentKind.UNMAPPED, reason=reason)


def argument_type(schema: Any, depth: int = 0) -> ArgumentType:
    """The Cedar type of the values a JSON Schema describes."""
    if not isinstance(schema, Mapping):
        return _unmapped("it has no schema")
    schema, _ = but_for_null(schema)
    if depth > _MAX_DEPTH:
        return _unmapped("it is nested too deeply")
    if any(word in schema for word in ("anyOf", "oneOf")) or isinstance(schema.get("type"), list):
        return _unmapped("it is a union of types")
    if composed := next((word for word in _COMPOSED if word in schema), None):
        return _unmapped(f"its schema uses `{composed}`")
    kind = schema.get("type")
    if kind is None and isinstance(schema.get("enum"), list):
        kind = _kind_of(schema["enum"])
    if kind in _SCALARS:
        return ArgumentType(_SCALARS[kind])
    if kind == "array":
        element = argument_type(schema.get("items"), depth + 1)
        if element.kind in {ArgumentKind.UNMAPPED, ArgumentKind.SET, ArgumentKind.RECORD} or "prefixItems" in schema:
            return _unmapped("it is a list of more than one scalar type")
        return ArgumentType(ArgumentKind.SET, element=element)
    properties = schema.get("properties")
    if kind == "object" and isinstance(properties, Mapping) and properties:
        return _record(properties, schema.get("required"), depth)
    return _unmapped("it is a free object" if kind == "object" else "its schema declares no type")


def _kind_of(values: list[Any]) -> str | None:
    if all(isinstance(value, str) for value in values):
        return "string"
    return "integer" if all(type(value) is int for value in values) else None


def _record(properties: Mapping[str, Any], required: Any, depth: int) -> ArgumentType:
    named = required if isinstance(required, list) else []
    return ArgumentType(
        ArgumentKind.RECORD,
        fields={name: argument_type(schema, depth + 1) for name, schema in properties.items()},
        required=frozenset(
            name
            for name in named
            if name in properties and isinstance(properties[name], Mapping) and not but_for_null(properties[name])[1]
        ),
    )


def input_type(definition: Mapping[str, Any]) -> ArgumentType:
    """The type of `context.input` for a tool's pinned definition: always a record, without arguments if none map."""
    schema = definition.get("inputSchema")
    found = argument_type(schema)
    return found if found.kind is ArgumentKind.RECORD else ArgumentType(ArgumentKind.RECORD)
