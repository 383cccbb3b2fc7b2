"""What adapters share in reading items: bounds and moments."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import Item

__all__ = ["OffsetPages", "basic_pair", "bounded", "item_of", "missing", "moment_us"]

_MOST_TEXT: Final = 262_144
_MOST_FIELDS: Final = 100


def bounded(value: Any, most: int = _MOST_TEXT) -> tuple[str, bool]:
    """A value as text, and whether that is all of it."""
    if value is None:
        return "", True
    if isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value[:most]).decode("utf-8", "replace")
        return text, len(value) <= most
    if isinstance(value, Mapping | list | tuple):
        text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    else:
        text = str(value)
    return text[:most], len(text) <= most


def moment_us(value: Any) -> int | None:
    """Epoch seconds, milliseconds or an ISO time in microseconds; None if it is none of these."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    if isinstance(value, int | float):
        seconds = value / 1_000 if value > 10**11 else value
        return int(seconds * 1_000_000) if 0 <= seconds < 10**11 else None
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment_us(read)


def item_of(key: str, text: Any, fields: Mapping[str, Any], *, created: str | None = None) -> Item:
    """An item, each part of it within bounds."""
    said, whole = bounded(text)
    kept = {str(name)[:200]: bounded(value, 1_000)[0] for name, value in list(fields.items())[:_MOST_FIELDS]}
    when = moment_us(fields.get(created)) if created is not None else None
    return Item(key, said, {name: value for name, value in kept.items() if value}, when, whole)


def basic_pair(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of a brokered credential of kind `basic` (RFC 7617), for what does not speak HTTP."""
    kind, _, encoded = next(
        (value for name, value in headers.items() if name.lower() == "authorization"), ""
    ).partition(" ")
    if kind.lower() != "basic":
        return None
    user, _, password = b64decode(encoded).decode().partition(":")
    return user, password


def missing(extra: str, package: str) -> UnavailableError:
    """The client library of an adapter is not installed."""
    return UnavailableError(
        Code.STORE_UNREACHABLE, f"`{package}` is not installed", hint=f"pip install 'accredit[{extra}]'"
    )


class OffsetPages:
    """Cursors for a store that can only be read from the n-th item on, also while earlier items are deleted.

    A cursor says how many items stood before it, and how many this adapter had deleted by then: what it deleted since
    stood before it too, for nothing is deleted that was not read.
    """

    def __init__(self) -> None:
        self._deleted = 0

    def start(self, cursor: str | None) -> int:
        """From which item on to read.

        Raises:
            InvalidInputError: it is no cursor.
        """
        if cursor is None:
            return 0
        read, _, deleted = cursor.partition("-")
        if not (read.isdecimal() and deleted.isdecimal() and len(cursor) < 40):
            raise InvalidInputError(Code.BODY_MALFORMED, "this is no place in the store")
        return max(int(read) - max(self._deleted - int(deleted), 0), 0)

    def following(self, start: int, found: Sequence[Item], limit: int) -> str | None:
        """The cursor after a page; None if it was the last."""
        return f"{start + len(found)}-{self._deleted}" if len(found) == limit else None

    def note(self, deleted: int) -> None:
        """So many items that were read are gone."""
        self._deleted += deleted
