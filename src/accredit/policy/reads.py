"""What a policy reads of the context: the paths that must be sent to the engine, and nothing else need be.

A path is read for its value or only asked for with `has`; both count. A node this module does not know is refused,
because a projection that misses a read would change decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.scope import EntityName

__all__ = ["Read", "asks_entities", "chain", "context_reads", "named_entities"]

_BINARY = {"==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "in", "contains", "containsAll", "containsAny"}
_BINARY |= {"hasTag", "getTag"}
_UNARY = {"!", "neg", "isEmpty"}
_FUNCTIONS = {"decimal", "lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual", "ip", "isIpv4", "isIpv6"}
_FUNCTIONS |= {"isLoopback", "isMulticast", "isInRange", "datetime", "duration", "offset", "durationSince", "toDate"}
_FUNCTIONS |= {"toTime", "toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"}


class Read(NamedTuple):
    """A path below `context`, and whether its value is read or only its presence."""

    path: tuple[str, ...]
    value: bool


def chain(node: Any) -> tuple[str, ...] | None:
    """The path of an attribute chain that starts at `context`, if this is one."""
    match node:
        case {"Var": "context"}:
            return ()
        case {".": {"left": left, "attr": str(attr)}}:
            before = chain(left)
            return None if before is None else (*before, attr)
    return None


def _walk(node: Any) -> Iterator[Read]:
    path = chain(node)
    if path is not None:
        yield Read(path, value=True)
        return
    if not isinstance(node, Mapping) or len(node) != 1:
        raise _unknown(node)
    ((kind, inner),) = node.items()
    match kind, inner:
        case ("Value", _) | ("Var", "principal" | "action" | "resource"):
            return
        case "has", {"left": left, "attr": str(attr)}:
            asked = chain(left)
            if asked is None:
                yield from _walk(left)
            else:
                yield Read((*asked, attr), value=False)
        case (".", {"left": operand, "attr": str()}) | ("like", {"left": operand, "pattern": list()}):
            yield from _walk(operand)
        case "is", {"left": left, "entity_type": str(), **rest} if rest.keys() <= {"in"}:
            yield from _walk(left)
            if "in" in rest:
                yield from _walk(rest["in"])
        case "if-then-else", {"if": test, "then": then, "else": other}:
            for part in (test, then, other):
                yield from _walk(part)
        case "Record", {**fields}:
            for value in fields.values():
                yield from _walk(value)
        case ("Set", list(items)):
            for item in items:
                yield from _walk(item)
        case _, {"left": left, "right": right} if kind in _BINARY:
            yield from _walk(left)
            yield from _walk(right)
        case _, {"arg": argument} if kind in _UNARY:
            yield from _walk(argument)
        case _, list(arguments) if kind in _FUNCTIONS:
            for argument in arguments:
                yield from _walk(argument)
        case _:
            raise _unknown(node)


def _unknown(node: Any) -> InvalidInputError:
    kind = next(iter(node), "") if isinstance(node, Mapping) else node
    return InvalidInputError(
        Code.POLICY_INVALID, f"the condition uses `{str(kind)[:40]}`, which is not supported", hint="write it otherwise"
    )


def context_reads(tree: Mapping[str, Any]) -> frozenset[Read]:
    """Every path below `context` that the conditions of a policy read.

    Raises:
        InvalidInputError: a condition has a part whose reads cannot be known.
    """
    return frozenset(read for condition in tree["conditions"] for read in _walk(condition["body"]))


def asks_entities(tree: Mapping[str, Any]) -> bool:
    """Whether the conditions of a policy look at principal, action or resource; its scope aside."""

    def asks(node: Any) -> bool:
        if isinstance(node, list):
            return any(map(asks, node))
        if not isinstance(node, Mapping):
            return False
        return node.get("Var") in ("principal", "action", "resource") or any(map(asks, node.values()))

    return asks([condition["body"] for condition in tree["conditions"]])


def named_entities(node: Any) -> Iterator[EntityName]:
    """Every entity a syntax tree names, in scope and conditions."""
    if isinstance(node, list):
        for item in node:
            yield from named_entities(item)
    elif isinstance(node, Mapping):
        match node:
            case {"type": str(kind), "id": str(name)} if len(node) == 2:
                yield EntityName(kind, name)
            case _:
                for item in node.values():
                    yield from named_entities(item)
