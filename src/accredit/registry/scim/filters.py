"""Filters and paths (RFC 7644 §3.4.2.2, §3.5.2): read by a parser with bounds, and asked of a resource.

    filter  = or           or   = and *("or" and)        and = factor *("and" factor)
    factor  = "not" "(" filter ")" | "(" filter ")" | path "[" filter "]" | path "pr" | path op value
    path    = [urn ":"] name ["." name]                  op  = eq ne co sw ew gt ge lt le

A name that nobody knows makes a filter malformed: what it was meant to leave out would be let in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.registry.scim.attributes import Attribute, ResourceType
from accredit.registry.scim.errors import ScimError, ScimType

__all__ = [
    "Both",
    "Compared",
    "Either",
    "Filter",
    "Inverted",
    "NamedAttribute",
    "Target",
    "Within",
    "holds",
    "read_filter",
    "read_target",
    "terms",
]

_MAX_LENGTH: Final = 2_048
_MAX_DEPTH: Final = 10
_MAX_TERMS: Final = 40
_OPERATORS: Final = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_TOKEN: Final = re.compile(
    r"""[ \t]+|[()\[\]]|"(?:[^"\\\x00-\x1f]|\\.)*"|-?[0-9][0-9.eE+-]*|[A-Za-z$][A-Za-z0-9$_:.-]*|\.[A-Za-z$][\w$-]*"""
)
_NAME: Final = re.compile(r"[A-Za-z$][A-Za-z0-9$_-]*")
_VIRTUAL: Final = {
    "id": Attribute("id", exact=True),
    "meta": Attribute(
        "meta", "complex", subs=(Attribute("resourceType"), Attribute("created"), Attribute("lastModified"))
    ),
}
"""What is not kept and can be asked for."""


@dataclass(frozen=True, slots=True)
class NamedAttribute:
    """Which attribute is meant, and which of its sub-attributes."""

    attribute: Attribute
    schema: str = ""
    sub: Attribute | None = None

    @property
    def exact(self) -> bool:
        """Whether letter case counts."""
        leaf = self.sub or self.attribute
        return leaf.exact


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison; without a value, whether there is anything at all (`pr`)."""

    named: NamedAttribute
    operator: str
    value: str | bool | float | None = None


@dataclass(frozen=True, slots=True)
class Within:
    """Whether one value of an attribute satisfies all of a filter."""

    named: NamedAttribute
    inner: Filter


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Inverted:
    part: Filter


Filter = Compared | Within | Both | Either | Inverted


@dataclass(frozen=True, slots=True)
class Target:
    """What a path of a PATCH names: an attribute, some of its values, a sub-attribute of it or of these."""

    named: NamedAttribute | None
    """None: an attribute of the RFC that is not kept here."""
    inner: Filter | None = None


def read_filter(text: str, of: ResourceType) -> Filter:
    """Read a filter.

    Raises:
        ScimError: `invalidFilter`: it is none, or too long, deep or many.
    """
    reader = _Reader(text, of, ScimType.INVALID_FILTER)
    found = reader.either(0)
    reader.end()
    return found


def read_target(text: str, of: ResourceType) -> Target:
    """Read a path.

    Raises:
        ScimError: `invalidPath`: it is none, or names what nobody knows.
    """
    reader = _Reader(text, of, ScimType.INVALID_PATH)
    word = reader.take()
    if word is None or not _NAME.match(word):
        raise reader.wrong("a path begins with an attribute")
    if reader.ignored(word):
        return Target(None)
    named = reader.named(word)
    inner = None
    if reader.peek() == "[":
        if named.sub is not None or not named.attribute.many:
            raise reader.wrong("only an attribute of many values is filtered")
        reader.take()
        inner = reader.either(1, within=named.attribute)
        reader.expect("]")
        after = reader.take()
        if after is not None:
            sub = named.attribute.sub(after[1:]) if after.startswith(".") else None
            if sub is None:
                raise reader.wrong(f"`{named.attribute.name}` has no such part")
            named = NamedAttribute(named.attribute, named.schema, sub)
    reader.end()
    return Target(named, inner)


class _Reader:
    """Reads words one by one. Its depth and the number of its terms are bounded, so its work is."""

    def __init__(self, text: str, of: ResourceType, fault: ScimType) -> None:
        self._of = of
        self._fault = fault
        self._terms = 0
        self._at = 0
        if len(text) > _MAX_LENGTH:
            raise self.wrong(f"it is longer than {_MAX_LENGTH} characters")
        self._words: list[str] = []
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self.wrong(f"it cannot be read from character {place + 1} on")
            place = found.end()
            if not found[0].isspace():
                self._words.append(found[0])

    def wrong(self, why: str) -> ScimError:
        what = "filter" if self._fault is ScimType.INVALID_FILTER else "path"
        return ScimError(self._fault, f"the {what} is refused: {why}")

    def peek(self) -> str | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def take(self) -> str | None:
        word = self.peek()
        self._at += 1
        return word

    def expect(self, wanted: str) -> None:
        if self.take() != wanted:
            raise self.wrong(f"`{wanted}` is missing")

    def end(self) -> None:
        if self.peek() is not None:
            raise self.wrong("something stands behind its end")

    # -- the grammar, from the weakest binding to the strongest

    def either(self, depth: int, within: Attribute | None = None) -> Filter:
        if depth > _MAX_DEPTH:
            raise self.wrong(f"it is nested deeper than {_MAX_DEPTH}")
        return self._several("or", Either, lambda: self._both(depth, within))

    def _both(self, depth: int, within: Attribute | None) -> Filter:
        return self._several("and", Both, lambda: self._factor(depth, within))

    def _several(self, word: str, kind: type[Both | Either], one: Callable[[], Filter]) -> Filter:
        parts = [one()]
        while (self.peek() or "").lower() == word:
            self.take()
            parts.append(one())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _factor(self, depth: int, within: Attribute | None) -> Filter:
        word = self.take()
        if word is None:
            raise self.wrong("it ends too early")
        if word.lower() == "not" and self.peek() == "(":
            self.take()
            inner = self.either(depth + 1, within)
            self.expect(")")
            return Inverted(inner)
        if word == "(":
            inner = self.either(depth + 1, within)
            self.expect(")")
            return inner
        named = self.named(word, within)
        if self.peek() == "[":
            if within is not None or named.sub is not None or not named.attribute.many:
                raise self.wrong("only an attribute of many values is filtered")
            self.take()
            part = Within(named, self.either(depth + 1, named.attribute))
            self.expect("]")
            return part
        return self._compared(named)

    def _compared(self, named: NamedAttribute) -> Compared:
        self._terms += 1
        if self._terms > _MAX_TERMS:
            raise self.wrong(f"it has more than {_MAX_TERMS} terms")
        operator = (self.take() or "").lower()
        if operator == "pr":
            return Compared(named, operator)
        if operator not in _OPERATORS:
            raise self.wrong("an operator is missing")
        value = self._value(self.take())
        leaf = _leaf(named)
        if leaf.kind == "boolean" and isinstance(value, str) and value.casefold() in {"true", "false"}:
            value = value.casefold() == "true"
        if leaf.kind == "boolean" and (operator not in {"eq", "ne"} or not isinstance(value, bool)):
            raise self.wrong(f"`{leaf.name}` is true or false")
        if leaf.kind != "boolean" and operator not in {"eq", "ne"} and not isinstance(value, str):
            raise self.wrong(f"`{leaf.name}` is compared with a text")
        return Compared(named, operator, value)

    def _value(self, word: str | None) -> str | bool | float | None:
        try:
            value = json.loads(word or "")
        except ValueError as error:
            raise self.wrong("a value is missing") from error
        if not isinstance(value, str | bool | int | float | None):
            raise self.wrong("a value is missing")
        return value

    # -- names

    def ignored(self, word: str) -> bool:
        """Whether a path names an attribute of the RFC that is not kept here; the rest of it is not looked at."""
        urn, name = _apart(word)
        home, first = self._of.home(urn), name.partition(".")[0].casefold()
        if home is None or self._of.find(home, first) is not None or first not in self._of.ignored:
            return False
        self._at = len(self._words)
        return True

    def named(self, word: str, within: Attribute | None = None) -> NamedAttribute:
        """What a name stands for; `within` is whose sub-attributes are meant."""
        urn, name = _apart(word)
        first, dot, second = name.partition(".")
        if within is not None:
            sub = within.sub(name) if not urn else None
            if sub is None:
                raise self.wrong(f"`{within.name}` has no part `{word[:60]}`")
            return NamedAttribute(within, "", sub)
        home = self._of.home(urn)
        attribute = None if home is None else self._of.find(home, first)
        if attribute is None and not home and self._fault is ScimType.INVALID_FILTER:
            attribute = _VIRTUAL.get(first.casefold())
        if attribute is None:
            raise self.wrong(f"there is no attribute `{word[:100]}`")
        sub = attribute.sub(second) if dot else None
        if dot and sub is None:
            raise self.wrong(f"`{attribute.name}` has no part `{second[:60]}`")
        return NamedAttribute(attribute, home or "", sub)


def _apart(word: str) -> tuple[str, str]:
    """The URN of a schema and what stands behind it; versions in a URN have dots of their own."""
    urn, colon, name = word.rpartition(":")
    return (urn, name) if colon else ("", word)


def _leaf(named: NamedAttribute) -> Attribute:
    """What is compared: of an attribute of parts, its value."""
    if named.sub is not None or named.attribute.kind != "complex":
        return named.sub or named.attribute
    return named.attribute.sub("value") or named.attribute


def terms(found: Filter) -> dict[str, str | bool | float | None] | None:
    """What a filter within an attribute demands, if it demands equality alone: sub-attribute and value."""
    match found:
        case Compared(named, "eq", value) if named.sub is not None:
            return {named.sub.name: value}
        case Both(parts):
            told: dict[str, str | bool | float | None] = {}
            for part in parts:
                inner = terms(part)
                if inner is None or told.keys() & inner.keys():
                    return None
                told |= inner
            return told
        case _:
            return None


def holds(found: Filter, resource: Mapping[str, Any], *, within: bool = False) -> bool:
    """Whether a resource, or with `within` one value of an attribute of it, satisfies a filter."""
    match found:
        case Both(parts):
            return all(holds(part, resource, within=within) for part in parts)
        case Either(parts):
            return any(holds(part, resource, within=within) for part in parts)
        case Inverted(part):
            return not holds(part, resource, within=within)
        case Within(named, inner):
            return any(holds(inner, one, within=True) for one in _home(resource, named).get(named.attribute.name, ()))
        case Compared():
            told = list(_told(found.named, resource, within=within))
            if found.operator == "ne":  # RFC 7644 §3.4.2.2: not equal, whether there is a value or none
                return not any(_compares(one, "eq", found.value, exact=found.named.exact) for one in told)
            return any(_compares(one, found.operator, found.value, exact=found.named.exact) for one in told)


def _home(resource: Mapping[str, Any], named: NamedAttribute) -> Mapping[str, Any]:
    home = resource.get(named.schema, {}) if named.schema else resource
    return home if isinstance(home, Mapping) else {}


def _told(named: NamedAttribute, resource: Mapping[str, Any], *, within: bool) -> Iterable[Any]:
    if within:
        return [] if named.sub is None or named.sub.name not in resource else [resource[named.sub.name]]
    value = _home(resource, named).get(named.attribute.name)
    if value is None:
        return []
    if named.attribute.kind != "complex":
        return [value]
    part = _leaf(named).name
    every = value if isinstance(value, list) else [value]
    return [one[part] for one in every if part in one] if part != named.attribute.name else [every]


def _compares(told: Any, operator: str, value: Any, *, exact: bool) -> bool:
    if operator == "pr":
        return True
    if isinstance(told, bool) or isinstance(value, bool) or not isinstance(told, str) or not isinstance(value, str):
        return operator == "eq" and type(told) is type(value) and told == value
    ours, theirs = (told, value) if exact else (told.casefold(), value.casefold())
    match operator:
        case "eq":
            return ours == theirs
        case "co":
            return theirs in ours
        case "sw":
            return ours.startswith(theirs)
        case "ew":
            return ours.endswith(theirs)
        case "gt":
            return ours > theirs
        case "ge":
            return ours >= theirs
        case "lt":
            return ours < theirs
        case _:
            return ours <= theirs
