"""Of which class the values in a call's arguments are, so that a shift shows and nobody's data is kept. Pure.

null, true, false       themselves
n<order>, -n<order>     a number, by half orders of magnitude
e:<hash>                a choice that the pinned schema lists
mail:<hash>             an address, by its domain
url:<hash>              a link, by its host
acct:<letters>          what looks like an IBAN, by its country
d<length>               what begins like a date or another number with separators
s<order>                other text, by doublings of its length

Where a key is not one that the pinned schema names, a keyed hash stands for it, as for everything above that could name
somebody or something: the same whenever it comes again, and of no use elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from accredit.monitoring.profiles.model import ProfiledValue

__all__ = ["MOST_VALUES", "values_of"]

MOST_VALUES: Final = 64
"""Values of one call that are kept."""
_DEEPEST: Final = 8
_MOST_LOOKED_AT: Final = 256
_LONGEST_PATH: Final = 200
_ACCOUNT = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9 ]{8,40}")
_DATE = re.compile(r"[0-9][0-9./:-]{3}")
_LINK = re.compile(r"(?:[a-z][a-z0-9+.-]{1,15}://|www\.)([^/?#\s]{1,255})", re.IGNORECASE)


def values_of(
    arguments: Mapping[str, Any], hashed: Callable[[str], str], schema: Mapping[str, Any] | None = None
) -> tuple[ProfiledValue, ...]:
    """The classes of a call's values, in the order of its arguments, the first `MOST_VALUES` of them.

    `hashed` gives a short keyed hash; `schema` is the pinned input schema, None if everything may be named.
    """
    found: list[ProfiledValue] = []
    for path, value, choices in _leaves(arguments, "", schema, hashed, 0):
        found.append(ProfiledValue(path[:_LONGEST_PATH], _class_of(value, choices, hashed)))
        if len(found) == MOST_VALUES:
            break
    return tuple(found)


def _leaves(
    value: Any, path: str, schema: Any, hashed: Callable[[str], str], depth: int
) -> Iterator[tuple[str, Any, bool]]:
    within = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, Mapping) and depth < _DEEPEST:
        named = within.get("properties")
        for number, (key, inner) in enumerate(value.items()):
            if number == _MOST_LOOKED_AT:
                return
            known = schema is None or (isinstance(named, Mapping) and key in named)
            name = str(key) if known else f"#{hashed(str(key))}"
            inner_schema = None if schema is None else named[key] if known else {}  # type: ignore[index]
            yield from _leaves(inner, f"{path}.{name}" if path else name, inner_schema, hashed, depth + 1)
    elif isinstance(value, list | tuple) and depth < _DEEPEST:
        items = None if schema is None else within.get("items", {})
        for inner in value[:_MOST_LOOKED_AT]:
            yield from _leaves(inner, f"{path}[]", items, hashed, depth + 1)
    else:
        yield path, value, "enum" in within or "const" in within


def _class_of(value: Any, choice: bool, hashed: Callable[[str], str]) -> str:  # noqa: FBT001 - a fact of its place
    if choice:
        return f"e:{hashed(str(value))}"
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _order(value)
        case str():
            return _text_class(value, hashed)
    return "deep"


def _order(value: float) -> str:
    try:
        size = abs(float(value))
    except OverflowError:
        return "n-large"
    if not math.isfinite(size):
        return "n-large"
    return f"{'-' if value < 0 else ''}n{int(math.log10(size + 1) * 2)}"


def _text_class(text: str, hashed: Callable[[str], str]) -> str:
    stripped = text.strip()
    if "@" in stripped and " " not in stripped and len(stripped) <= 320:
        return f"mail:{hashed(stripped.rsplit('@', 1)[1].lower())}"
    if link := _LINK.match(stripped):
        return f"url:{hashed(link[1].lower())}"
    if _ACCOUNT.fullmatch(stripped):
        return f"acct:{stripped[:2]}"
    if _DATE.match(stripped):
        return f"d{min(len(stripped), 40)}"
    return f"s{int(math.log2(len(text) + 1))}"
