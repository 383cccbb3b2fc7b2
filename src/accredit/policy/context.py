"""The context on its way into the engine: scanned whole, then only what the policies read, typed exactly.

The engine takes `__entity`, `__extn` and `__expr` objects in JSON for entities and values of other types, so whoever
could place such a key in an argument would choose its type: the keys are refused at any depth, before projection.
A number is never rounded on its way: what does not fit exactly is an error of its own, not a different number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Any

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.hours import local_time
from accredit.policy.arguments import ArgumentKind, ArgumentType
from accredit.policy.reads import Read

__all__ = ["LooksAt", "Projection", "now_facts", "reserved_key"]

_RESERVED = frozenset({"__entity", "__extn", "__expr"})
_MAX_DEPTH = 128
_LONG = 2**63
_PLACES = Decimal("0.0001")
_EXACT = Context(prec=40)
_DECIMAL = Decimal("922337203685477.5807")


def now_facts(wall_us: int, zone: str) -> dict[str, int | str]:
    """`context.now`: the minute of the day, weekday and date that a clock in the agent's zone shows.

    Raises:
        InvalidInputError: there is no such zone.
    """
    local = local_time(wall_us, zone)
    return {"minute": local.minute, "day": local.day, "date": local.date}


def reserved_key(context: Mapping[str, Any]) -> str | None:
    """The first reserved key at any depth of the whole context, or None.

    Raises:
        InvalidInputError: the context is nested too deeply to be searched.
    """
    try:
        # every reserved key starts so; text inside a value has its quotes escaped, so a hit is rare and then searched
        if b'"__e' not in orjson.dumps(context):
            return None
    except TypeError:
        pass  # not plain JSON: searched value by value
    level: list[Any] = [context]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                found = _RESERVED.intersection(item)
                if found:
                    return min(found)
                below += [
                    value for value in item.values() if isinstance(value, Mapping | list | tuple | set | frozenset)
                ]
            else:
                below += [value for value in item if isinstance(value, Mapping | list | tuple | set | frozenset)]
        if not below:
            return None
        level = below
    raise InvalidInputError(Code.UNENCODABLE_INPUT, f"the context is nested deeper than {_MAX_DEPTH} levels")


def _unencodable(path: str, why: str) -> InvalidInputError:
    return InvalidInputError(Code.UNENCODABLE_INPUT, f"`{path[:120]}` {why}")


def _decimal(value: float, path: str) -> dict[str, Any]:
    try:
        exact = Decimal(repr(value))
        placed = exact.quantize(_PLACES, context=_EXACT)
    except InvalidOperation as error:
        raise _unencodable(path, "does not fit a decimal") from error
    if placed != exact or abs(placed) > _DECIMAL:
        raise _unencodable(path, "has more than four decimal places, or is too large")
    return {"__extn": {"fn": "decimal", "arg": str(placed)}}


def _encoded(value: Any, declared: ArgumentType | None, path: str) -> Any:
    """A value exactly as the engine will see it; `declared` is the type its pinned schema gives it, if any."""
    kind = type(value)
    if kind is str or kind is bool:
        return value
    numeric = declared is not None and declared.kind is ArgumentKind.DECIMAL
    if kind is int:
        if numeric:
            return _decimal(value, path)
        if not -_LONG <= value < _LONG:
            raise _unencodable(path, "does not fit 64 bits")
        return value
    if kind is float:
        if numeric:
            return _decimal(value, path)
        if declared is not None and declared.kind is ArgumentKind.LONG and value.is_integer() and abs(value) < 2**53:
            return int(value)  # JSON Schema calls 5.0 an integer, and it is exactly 5
        raise _unencodable(path, "is a number with a fraction where the schema declares none")
    if kind is not list and isinstance(value, Mapping):
        fields = declared.fields if declared is not None else {}
        if not all(type(key) is str for key in value):
            raise _unencodable(path, "has a key that is not text")
        return {
            key: _encoded(item, fields.get(key), f"{path}.{key}") for key, item in value.items() if item is not None
        }
    if isinstance(value, list | tuple | set | frozenset):
        element = declared.element if declared is not None else None
        if None in value:  # dropping it could make `containsAll` true
            raise _unencodable(path, "is a list with a null in it")
        return [_encoded(item, element, path) for item in value]
    if isinstance(value, str):
        return str(value)
    raise _unencodable(path, f"is a {kind.__name__}, which is not JSON")


class _Part:
    """One step of the paths to be sent."""

    __slots__ = ("declared", "parts", "path", "sent", "whole")

    def __init__(self, declared: ArgumentType | None, path: str) -> None:
        self.declared = declared
        self.path = path
        self.whole = False
        self.parts: dict[str, _Part] = {}
        self.sent: tuple[tuple[str, bool, _Part], ...] = ()

    def settle(self) -> None:
        """Fix the order of parts; a value that is sent whole needs none."""
        self.sent = () if self.whole else tuple((key, part.whole, part) for key, part in self.parts.items())
        for part in self.parts.values():
            part.settle()


def _selected(part: _Part, value: Mapping[str, Any]) -> dict[str, Any]:
    selected: dict[str, Any] = {}
    for key, whole, below in part.sent:
        item = value.get(key)
        if item is None:
            continue
        if whole:
            selected[key] = item if type(item) is str else _encoded(item, below.declared, below.path)
        elif not below.sent:
            selected[key] = True  # only asked for with `has`: any value says so
        elif type(item) is dict or isinstance(item, Mapping):
            selected[key] = _selected(below, item)
        else:
            selected[key] = _encoded(item, below.declared, below.path)
    return selected


@dataclass(frozen=True, slots=True)
class LooksAt:
    """What of a context is enough to project it."""

    parts: frozenset[str]
    """Names of the whole context's parts; arguments stand under `input`."""
    arguments: frozenset[str] | None
    """Names of arguments; None: all of them."""


class Projection:
    """Which paths of the context are sent to the engine, and how each is typed: compiled once per slice."""

    def __init__(self, reads: Iterable[Read], arguments: ArgumentType, session: ArgumentType | None = None) -> None:
        """For these reads, `context.input` being typed as the tool's pinned schema says, `context.session` as given."""
        fields = {"input": arguments} if session is None else {"input": arguments, "session": session}
        self._root = _Part(ArgumentType(ArgumentKind.RECORD, fields=fields), "")
        for read in sorted(reads):
            part = self._root
            for step in read.path:
                known = part.parts.get(step)
                if known is None:
                    declared = part.declared.fields.get(step) if part.declared is not None else None
                    known = part.parts[step] = _Part(declared, f"{part.path}.{step}" if part.path else step)
                part = known
            part.whole = part.whole or read.value
        self._root.settle()

    @property
    def looks_at(self) -> LooksAt | None:
        """The parts of the context that are looked at, by their first step; None: all of them."""
        root = self._root
        if root.whole:
            return None
        arguments = root.parts.get("input")
        return LooksAt(
            frozenset(root.parts),
            frozenset() if arguments is None else None if arguments.whole else frozenset(arguments.parts),
        )

    def of(self, context: Mapping[str, Any]) -> str:
        """The projected context as JSON text.

        Raises:
            InvalidInputError: a value that a policy reads cannot be encoded exactly.
        """
        root = self._root
        try:
            sent = _encoded(context, root.declared, "context") if root.whole else _selected(root, context)
            return orjson.dumps(sent).decode()
        except (TypeError, RecursionError) as error:
            raise _unencodable("context", "cannot be encoded") from error
