"""Conditions that no call can meet, found by what they demand of each fact alone.

Only what is certain is said: the conjunction of a policy's conditions is read as demands on single facts (bounds of
integers, values of texts, presence), each fact has the values that its type or its pinned schema leaves it, and a fact
left without any makes the policy one that can never act. Everything else (an `or`, arithmetic, two facts compared) is
taken to be possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from accredit.kernel.hours import DAYS
from accredit.policy.measured import ORIGINS
from accredit.policy.reads import chain
from accredit.policy.sources import Policy

__all__ = ["impossible"]

_Path = tuple[str, ...]
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(slots=True)
class _Left:
    """What is left of the values a fact can have."""

    least: int = _LEAST
    most: int = _MOST
    texts: frozenset[str] | None = None
    """None: any text."""
    without: frozenset[Any] = frozenset()
    fixed: tuple[Any, ...] = ()
    """Values it was said to equal."""
    absent: bool = False
    read: bool = False

    def empty(self) -> bool:
        """Whether nothing is left."""
        if self.least > self.most or (self.absent and self.read) or len(set(map(repr, self.fixed))) > 1:
            return True
        if self.texts is not None and not self.texts - self.without:
            return True
        if not self.fixed:
            return False
        value = self.fixed[0]
        if value in self.without:
            return True
        if type(value) is int:
            return not self.least <= value <= self.most
        return isinstance(value, str) and self.texts is not None and value not in self.texts


def impossible(policy: Policy, enums: Mapping[_Path, frozenset[str]]) -> str | None:
    """The fact that no call could have as the policy's conditions demand; None if none was found.

    `enums` are the texts that pinned schemas allow arguments to be, over all tools in the policy's scope.
    """
    left: dict[_Path, _Left] = {}
    for demand in _demands(orjson.loads(policy.body)["conditions"]):
        if demand is None:
            return "a condition that is always false"
        path, kind, value = demand
        fact = left.get(path)
        if fact is None:
            fact = left[path] = _domain(path, enums)
        _narrow(fact, kind, value)
        if fact.empty():
            return f"context.{'.'.join(path)}"
    return None


def _domain(path: _Path, enums: Mapping[_Path, frozenset[str]]) -> _Left:
    if path == ("now", "minute"):
        return _Left(0, 24 * 60 - 1)
    if path == ("now", "day"):
        return _Left(texts=frozenset(DAYS))
    if path[0] == "origin":
        return _Left(texts=frozenset(ORIGINS))
    if path in {("session", "calls"), ("session", "calls_of_tool"), ("instance", "calls")}:
        return _Left(least=1)
    return _Left(texts=enums.get(path))


def _narrow(fact: _Left, kind: str, value: Any) -> None:
    if kind == "absent":
        fact.absent = True
        return
    fact.read = True
    match kind, value:
        case "==", _:
            fact.fixed = (*fact.fixed, value)
        case "!=", _:
            fact.without |= {value}
        case "<", int():
            fact.most = min(fact.most, value - 1)
        case "<=", int():
            fact.most = min(fact.most, value)
        case ">", int():
            fact.least = max(fact.least, value + 1)
        case ">=", int():
            fact.least = max(fact.least, value)
        case "among", frozenset():
            fact.texts = value if fact.texts is None else fact.texts & value


_Demand = tuple[_Path, str, Any]


def _demands(conditions: Iterable[Mapping[str, Any]]) -> Iterator[_Demand | None]:
    """What must hold of single facts; None for a demand that nothing meets."""
    for condition in conditions:
        yield from _of(condition["body"], held=condition["kind"] == "when")


def _of(node: Any, *, held: bool) -> Iterator[_Demand | None]:
    match node:
        case {"Value": bool(value)}:
            if value is not held:
                yield None
        case {"!": {"arg": inner}}:
            yield from _of(inner, held=not held)
        case {"&&": {"left": left, "right": right}} if held:
            yield from _of(left, held=True)
            yield from _of(right, held=True)
        case {"||": {"left": left, "right": right}} if not held:
            yield from _of(left, held=False)
            yield from _of(right, held=False)
        case {"has": {"left": left, "attr": str(attr)}}:
            path = chain(left)
            if path is not None:
                yield (*path, attr), "present" if held else "absent", None
        case {"contains": {"left": {"Set": list(items)}, "right": right}} if held:
            path, values = chain(right), [item.get("Value") for item in items]
            if path and all(isinstance(value, str) for value in values):
                yield path, "among", frozenset(values)
        case {**fields} if len(fields) == 1:
            ((kind, inner),) = fields.items()
            yield from _comparison(str(kind), inner, held=held)


def _comparison(kind: str, inner: Any, *, held: bool) -> Iterator[_Demand]:
    if kind not in _FLIPPED or not isinstance(inner, Mapping):
        return
    for side, other, said in ((inner["left"], inner["right"], kind), (inner["right"], inner["left"], _FLIPPED[kind])):
        path = chain(side)
        value = other.get("Value") if isinstance(other, Mapping) and len(other) == 1 else None
        if path and isinstance(value, str | int):
            yield path, said if held else _NEGATED[said], value
