"""Definitions of tools as pinned: their canonical text, its digest, and what a server offers now against it.

Six fields of a definition count: name, title, description, inputSchema, outputSchema, annotations. Schemas may hold
fractions and keys of any script, which the kernel's canonical form does not know, so definitions have a form of their
own, version 1: JSON with keys sorted by code point, absent and null fields left out, shortest round-trip numbers,
whole floats as integers (`1.0` is `1`, `-0.0` is `0`), no whitespace. The text is stored; digests are over it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from accredit.kernel.canonical import Digest, digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import Tool

__all__ = ["DefinitionDrift", "compare", "definition_digest", "definition_text", "read_definition"]

DEFINITION_FIELDS = ("annotations", "description", "inputSchema", "name", "outputSchema", "title")
_DOMAIN = "tool-definition/v1"
_MAX_BYTES = 64 * 1024
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class DefinitionDrift:
    """How an offer differs from what is pinned; names sorted."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    """Offered and not registered. A renamed tool is one of these, never the old one."""
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.missing)


def definition_text(definition: Mapping[str, Any]) -> str:
    """The canonical text of a definition.

    Raises:
        InvalidInputError: it is larger or deeper than allowed, or has no canonical form.
    """
    if not isinstance(definition, Mapping):
        raise InvalidInputError(Code.SCHEMA_REFUSED, "a tool definition is not an object")
    counted = {name: definition[name] for name in DEFINITION_FIELDS if definition.get(name) is not None}
    try:
        data = orjson.dumps(_plain(counted, _MAX_DEPTH), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise InvalidInputError(
            Code.SCHEMA_REFUSED, "a tool definition cannot be encoded", cause=repr(error)
        ) from error
    if len(data) > _MAX_BYTES:
        raise InvalidInputError(
            Code.SCHEMA_REFUSED,
            f"a tool definition of {len(data)} bytes is larger than the {_MAX_BYTES} allowed",
            hint="shorten its description or schemas",
        )
    return data.decode()


def definition_digest(definition: Mapping[str, Any]) -> Digest:
    """Digest of a definition's canonical text.

    Raises:
        InvalidInputError: as `definition_text`.
    """
    return digest(_DOMAIN, definition_text(definition).encode())


def read_definition(text: str, expected: Digest) -> Mapping[str, Any] | None:
    """The definition a stored text holds, or None if the text is not the one that was pinned."""
    data = text.encode("utf-8", "surrogatepass")
    if digest(_DOMAIN, data) != expected:
        return None
    value: Mapping[str, Any] = orjson.loads(data)
    return value


def compare(pinned: Mapping[str, Tool], offered: Mapping[str, Mapping[str, Any]]) -> DefinitionDrift:
    """What a server offers now against the pinned tools, by the server's own names; what cannot be read is changed."""
    changed = [
        name
        for name in pinned.keys() & offered.keys()
        if _digest_or_none(offered[name]) != pinned[name].definition_digest
    ]
    return DefinitionDrift(
        tuple(sorted(changed)),
        tuple(sorted(offered.keys() - pinned.keys())),
        tuple(sorted(pinned.keys() - offered.keys())),
    )


def _digest_or_none(definition: Mapping[str, Any]) -> Digest | None:
    try:
        return definition_digest(definition)
    except InvalidInputError:
        return None


def _plain(value: Any, depth: int) -> Any:
    if depth < 0:
        raise InvalidInputError(Code.SCHEMA_REFUSED, f"a tool definition is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(Code.SCHEMA_REFUSED, "a tool definition holds a number that is not finite")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        return {key: _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    return value
