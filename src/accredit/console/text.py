"""Text that agents, tools or people supplied, as a page shows it: data that cannot pass for the page (DESIGN §11).

Every value stands in an element of its own whose direction touches nothing around it. What shows nothing or reorders
what is shown is spelled out and marked, so are letters of other alphabets inside a Latin word, and of a pile of
combining marks only the first few are drawn.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from markupsafe import Markup, escape

from accredit.kernel.legible import visible

__all__ = ["Datum", "datum", "moment", "nests", "remaining", "rows_alike", "said", "short"]

_MARKS_DRAWN: Final = 3
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_WORD = re.compile(r"[^\W\d_]+")
_LONG: Final = 90
_ALIKE = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "FULLWIDTH", "MATHEMATICAL")
"""Alphabets and forms with letters that look like Latin ones."""

Datum = Markup
"""Markup that `datum` made: nothing in it is what somebody sent."""


def datum(value: Any) -> Datum:
    """A value as a page shows it."""
    if value is None:
        return Markup('<span class="none">none</span>')
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool | int | float):
        return Markup('<code class="literal">{}</code>').format(str(value).lower())
    text = str(value)
    if not text:
        return Markup('<span class="none">empty</span>')
    inside = _drawn(text)
    long = len(text) > _LONG or "\n" in text
    return Markup('<bdi class="datum{}">{}</bdi>').format(" long" if long else "", inside)


def short(value: str | None) -> Datum:
    """A digest or an id by its first characters; whole where the pointer rests on it."""
    if value is None:
        return datum(None)
    label = value.removeprefix("sha256:")
    return Markup('<code class="short" title="{}">{}</code>').format(value, label[:12])


def moment(wall_us: int | None) -> Datum:
    """A moment in UTC, to the second."""
    if wall_us is None:
        return datum(None)
    at = datetime.fromtimestamp(wall_us / 1_000_000, UTC)
    return Markup('<time datetime="{}">{}<span class="zone"> UTC</span></time>').format(
        at.isoformat(timespec="milliseconds"), at.strftime("%Y-%m-%d %H:%M:%S")
    )


def remaining(until_us: int, now_us: int) -> Datum:
    """How long there is left, in the two largest units; the moment itself where the pointer rests."""
    minutes = max(until_us - now_us, 0) // 60_000_000
    days, hours = minutes // 1_440, minutes % 1_440 // 60
    if until_us <= now_us:
        words = "over"
    elif days:
        words = f"in {days} d {hours} h"
    elif hours:
        words = f"in {hours} h {minutes % 60} min"
    else:
        words = f"in {minutes} min" if minutes else "in less than a minute"
    at = datetime.fromtimestamp(until_us / 1_000_000, UTC)
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        at.isoformat(timespec="milliseconds"),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        Markup(' class="soon"') if minutes < 60 else "",
        words,
    )


def said(sentence: Any) -> Datum:
    """A sentence of ours: what stands in backticks in it was supplied, and is shown as such."""
    parts = str(sentence).split("`")
    if len(parts) % 2 == 0:
        return datum(sentence)
    pieces = (
        Markup("<code>{}</code>").format(_drawn(part)) if at % 2 else _drawn(part) for at, part in enumerate(parts)
    )
    return Markup('<bdi class="datum">{}</bdi>').format(Markup().join(pieces))


def rows_alike(value: Any) -> tuple[str, ...] | None:
    """The columns of a list whose items are small objects of the same keys; None if it is no such list."""
    if not isinstance(value, list | tuple) or len(value) < 2 or not all(isinstance(one, Mapping) for one in value):
        return None
    columns = tuple(value[0])
    alike = columns and all(tuple(one) == columns for one in value)
    flat = alike and all(_is_flat(inner) for one in value for inner in one.values())
    return columns if flat and len(columns) <= 6 else None


def nests(value: Any) -> bool:
    """Whether a value has values of its own that take more than a line."""
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value)


def _drawn(text: str) -> Markup:
    return escape(text) if text.isascii() and text.isprintable() else Markup().join(_pieces(text))


def _is_flat(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(not isinstance(one, Mapping | list | tuple) for one in value)
    return not isinstance(value, Mapping)


def _pieces(text: str) -> Iterator[Markup]:
    at = 0
    for word in _WORD.finditer(text):
        yield from _spelled(text[at : word.start()])
        if _mixed(word[0]):
            yield Markup('<span class="odd" title="letters of several alphabets in one word">')
            yield from _spelled(word[0])
            yield Markup("</span>")
        else:
            yield from _spelled(word[0])
        at = word.end()
    yield from _spelled(text[at:])


def _mixed(word: str) -> bool:
    if word.isascii():
        return False
    names = [unicodedata.name(letter, "") for letter in word]
    alike = sum(name.startswith(_ALIKE) for name in names)
    return 0 < alike < len(names) or any(name.startswith(("FULLWIDTH", "MATHEMATICAL")) for name in names)


def _spelled(text: str) -> Iterator[Markup]:
    plain: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        shown = visible(character)
        if _CONTROL.match(character) or (marks > _MARKS_DRAWN and shown == character):
            shown = f"\\u{ord(character):04x}"
        if shown == character:
            plain.append(character)
            continue
        yield escape("".join(plain))
        plain.clear()
        name = unicodedata.name(character, "a character without a name").lower()
        yield Markup('<span class="odd" title="{}">{}</span>').format(f"U+{ord(character):04X} {name}", shown)
    yield escape("".join(plain))
