"""Definitions of tools as pinned: their canonical text, its digest, and what a server offers now against it.

Six fields of a definition count: name, title, description, inputSchema, outputSchema, annotations; one that is null is
left out. The text is RFC 8785's of these (so `1.0` is `1`, `-0.0` is `0`). It is stored; digests are over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from accredit.kernel.canonical import Digest, canonical_json, digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import Tool

__all__ = [
    "DefinitionDrift",
    "compare",
    "definition_digest",
    "definition_text",
    "differs_in_little",
    "read_definition",
    "same_but_for_name",
]

DEFINITION_FIELDS = ("annotations", "description", "inputSchema", "name", "outputSchema", "title")
_DOMAIN = "tool-definition/v1"
_MAX_BYTES = 64 * 1024
_MAX_DEPTH = 64
_LONG_NUMBER: Final = re.compile(r"\d{16}")


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
        data = canonical_json(counted, max_depth=_MAX_DEPTH)
    except InvalidInputError as error:
        raise InvalidInputError(
            Code.SCHEMA_REFUSED, f"a tool definition cannot be pinned: {error.message}", cause=error.cause
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
    # only a float of 2^53 and more is pinned in so many digits, and it stays one
    value: Mapping[str, Any] = json.loads(data, parse_int=_whole) if _LONG_NUMBER.search(text) else orjson.loads(data)
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


def same_but_for_name(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a definition is another under a new name: all else that makes it a tool, and its words, are the same.

    Raises:
        InvalidInputError: as `definition_text`.
    """
    return definition_text(_nameless(one)) == definition_text(_nameless(other))


def differs_in_little(approved: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a definition says the same to a model as the approved one, and takes nothing that that did not take.

    Only its title and the schema of its results may be others, and optional arguments may be gone.

    Raises:
        InvalidInputError: as `definition_text`.
    """
    before, after = (
        {key: value for key, value in one.items() if key not in {"inputSchema", "outputSchema", "title"}}
        for one in (approved, now)
    )
    if definition_text(before) != definition_text(after):
        return False
    old, new = approved.get("inputSchema") or {}, now.get("inputSchema") or {}
    kept = {name: form for name, form in (old.get("properties") or {}).items() if name in (new.get("properties") or {})}
    narrower = {**old, "properties": kept} if "properties" in old else old
    return definition_text({"inputSchema": narrower}) == definition_text({"inputSchema": new})


def _nameless(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Of an item also without what the server calls it, which its definition tells apart (`items.py`)."""
    found = {key: value for key, value in definition.items() if key != "name"}
    notes = found.get("annotations")
    if isinstance(notes, Mapping) and isinstance(notes.get("mcp"), Mapping):
        own = {key: value for key, value in notes["mcp"].items() if key not in {"name", "uri", "uriTemplate"}}
        found["annotations"] = {**notes, "mcp": own}
    return found


def _digest_or_none(definition: Mapping[str, Any]) -> Digest | None:
    try:
        return definition_digest(definition)
    except InvalidInputError:
        return None


def _whole(text: str) -> int | float:
    value = int(text)
    return value if abs(value) < 2**53 else float(text)
