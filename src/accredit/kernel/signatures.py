"""What a function takes, out of its JSON Schema: names and types, without all that frameworks write differently. Pure.

Two schemas of one function differ in titles, descriptions, defaults, in what counts as required and in how they refer
to parts of themselves. Those of two functions differ in names, types, members or choices, at some depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from accredit.kernel.canonical import Digest, digest

__all__ = ["signature"]

_MAX_DEPTH: Final = 32
_MAX_NODES: Final = 5_000
_PARTS: Final = ("#/$defs/", "#/definitions/")


def signature(schema: object) -> Digest | None:
    """Tells what one function takes from what another does; None if that cannot be read from the schema."""
    if not isinstance(schema, Mapping):
        return None
    reader = _Reader(schema)
    try:
        return digest("signature", orjson.dumps(reader.read(schema, 0), option=orjson.OPT_SORT_KEYS))
    except (ValueError, TypeError, orjson.JSONEncodeError):
        return None


class _Reader:
    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole
        self._nodes = 0

    def read(self, part: object, depth: int) -> Any:
        """The part without what does not count.

        Raises:
            ValueError: it is too deep or too large, as one that contains itself is, or refers to what is not there.
        """
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES or not isinstance(part, Mapping):
            raise ValueError("no schema that can be read")
        if isinstance(reference := part.get("$ref"), str):
            return self.read(self._named(reference), depth + 1)
        choices = part.get("anyOf", part.get("oneOf"))
        if isinstance(choices, list):
            read = [self.read(one, depth + 1) for one in choices if not _null(one)]
            return read[0] if len(read) == 1 else {"choices": sorted(read, key=orjson.dumps)}
        if isinstance(whole := part.get("allOf"), list) and len(whole) == 1:  # as pydantic once wrote a reference
            return self.read(whole[0], depth + 1)
        found: dict[str, Any] = {}
        if types := _types(part):
            found["type"] = types
        values = [part["const"]] if "const" in part else part.get("enum")
        if isinstance(values, list):
            found["values"] = sorted(orjson.dumps(one).decode() for one in values if one is not None)
            found.pop("type", None)  # the values tell
        members = part.get("properties")
        if isinstance(members, Mapping):
            found["members"] = {str(name): self.read(one, depth + 1) for name, one in members.items()}
        elif types == ["object"]:
            found["members"] = {}
        if isinstance(items := part.get("items"), Mapping) and items:
            found["items"] = self.read(items, depth + 1)
        return found

    def _named(self, reference: str) -> object:
        for prefix in _PARTS:
            if reference.startswith(prefix):
                parts = self._whole.get(prefix[2:-1])
                if isinstance(parts, Mapping):
                    return parts.get(reference.removeprefix(prefix))
        raise ValueError("it refers to what is elsewhere")


def _types(part: Mapping[str, Any]) -> list[str]:
    given = part.get("type")
    listed = given if isinstance(given, list) else [given]
    return sorted({one for one in listed if isinstance(one, str) and one != "null"})


def _null(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "null"
