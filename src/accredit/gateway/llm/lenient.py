"""JSON that a provider sent, read so that nothing in it can raise: what is not of the kind asked for is as if absent.

The opposite of `kernel/strictjson.py`, which is for what we decide on and then encode anew. These bytes go on as they
are, so what any client may make of them is taken in: invalid UTF-8 and halves of surrogate pairs are replaced, as
browsers do, and of a repeated key the last counts, as everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

__all__ = ["as_count", "as_items", "as_mapping", "as_text", "dump", "load_mapping"]

_NOTHING: Final[Mapping[str, Any]] = {}
_MOST_COUNT: Final = 2**53


def load_mapping(data: bytes) -> Mapping[str, Any] | None:
    """The object this text is, or None."""
    try:
        value = orjson.loads(data)
    except ValueError:
        try:
            loose = json.loads(data.decode(errors="replace"))
            value = orjson.loads(json.dumps(loose, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def dump(value: Any) -> str:
    """The value as JSON text; empty, which is not JSON, if it is nested too deep for that."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return ""


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else _NOTHING


def as_text(value: Any) -> str:
    """The value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_items(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a list; none if it is not a list."""
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def as_count(value: Any, otherwise: int = 0) -> int:
    """The value if it is a number of things, else what is known otherwise."""
    counts = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_COUNT
    return value if counts else otherwise
