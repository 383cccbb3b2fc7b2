"""What evaluating a module may cost, estimated on its syntax tree.

The engine cannot be stopped while it evaluates, and short texts exist that take it for ever: loops in loops, functions
that each call the next one twice, texts and numbers that double from line to line. So steps and sizes are counted as if
whatever is not written in the module (an argument, a list in a call) had a usual size. That is an estimate: a call with
longer lists costs more than it says. It holds for what a module does of itself, which is what publishing can refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.kernel.errors import InvalidInputError
from accredit.policy.engines.rego_bounds import refused

__all__ = ["affordable"]

_MAX_STEPS: Final = 2_000_000
_MAX_SIZE: Final = 100_000_000
_MAX_CHAIN: Final = 64
_ENTRIES: Final = 32
"""Of a list, set or object that is not written in the module."""
_SIZE: Final = 1000
"""Characters and entries of a value that is not written in the module."""
_TIMES: Final = frozenset({"concat", "replace", "strings.replace_n", "regex.replace"})
"""Whose result may be as long as the product of what they are given."""
_SWELLING: Final = {"urlquery.encode": 3, "urlquery.encode_object": 3, "json.marshal": 6, "hex.encode": 2}


@dataclass(frozen=True, slots=True)
class _Cost:
    """Steps to evaluate an expression, and entries and size of what it comes to."""

    steps: int = 1
    entries: int = _ENTRIES
    size: int = _SIZE


@dataclass(slots=True)
class _Scope:
    """The names of one query and of those around it, and how often its statements are evaluated."""

    bound: set[str] = field(default_factory=set)
    assigned: dict[str, tuple[Any, _Scope]] = field(default_factory=dict)
    times: int = 1


def affordable(module: Mapping[str, Any]) -> None:
    """Let through a module that costs little on calls of usual size; it must not depend on itself.

    Raises:
        InvalidInputError: it could take the engine very long, or very much memory.
    """
    reader = _Reader(module)
    steps = sum(reader.defined(name).steps for name in reader.rules if name not in reader.functions)
    if steps > _MAX_STEPS:
        raise _dear(f"about {steps:.0e} steps")


def _dear(how: str) -> InvalidInputError:
    return refused(
        f"could cost {how}, and an evaluation cannot be stopped",
        "loop over less at once, and name in a rule what is asked more than once",
    )


class _Reader:
    """One module's rules. Each expression is read once."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self._text: bytes = module["source"]["contents"].encode()
        self._known: dict[int, _Cost] = {}
        self._whole: dict[str, _Cost] = {}
        self._reading: set[int] = set()
        self._depth = 0
        self.rules: dict[str, list[tuple[str, Any, Any]]] = {}
        self.functions: set[str] = set()
        for rule in module["ast"]["rules"]:
            (body,) = rule.values()
            ((kind, head),) = body.get("head", {"Default": body}).items()
            name = _root(head)
            self.rules.setdefault(name, []).append((kind, head, body))
            if kind == "Func" or body.get("args"):
                self.functions.add(name)

    def defined(self, name: str) -> _Cost:
        """All definitions of one name."""
        if name not in self._whole:
            parts = [self._definition(*one) for one in self.rules[name]]
            self._whole[name] = _checked(_sum(parts))
        return self._whole[name]

    def _definition(self, kind: str, head: Mapping[str, Any], body: Mapping[str, Any]) -> _Cost:
        params = {name for one in head.get("args", ()) for name in _names(one)}
        found = []
        bodies: list[Any] = body.get("bodies") or [{"query": {"stmts": []}}]
        for part in bodies:
            scope = _Scope(set(params))
            steps = self._query(part["query"], scope)
            values = [head.get("key"), head.get("value"), (head.get("assign") or {}).get("value")]
            values.append((part.get("assign") or {}).get("value"))
            if "RefBrack" in head["refr"]:
                values.append(head["refr"]["RefBrack"]["index"])
            results = [self._cost(one, scope) for one in values if isinstance(one, dict)]
            whole = _sum(results)
            steps = (steps + whole.steps) * scope.times
            if kind == "Set" or "Var" not in head["refr"]:
                found.append(_Cost(steps, scope.times, scope.times * (whole.size + 1)))
            else:
                found.append(_Cost(steps, whole.entries, whole.size))
        return _sum(found)

    def _query(self, query: Mapping[str, Any], scope: _Scope) -> int:
        """Steps of one pass; `scope.times` becomes the number of passes."""
        for statement in query["stmts"]:
            ((kind, body),) = statement["literal"].items()
            if kind == "SomeVars":
                for span in body["vars"]:
                    scope.bound.discard(self._said(span))
        for statement in query["stmts"]:
            ((kind, body),) = statement["literal"].items()
            if kind == "SomeIn":
                scope.bound |= {*_names(body["value"]), *_names(body["key"])}
            elif kind == "Expr" and "AssignExpr" in body["expr"]:
                sides = body["expr"]["AssignExpr"]
                for one, other in ((sides["lhs"], sides["rhs"]), (sides["rhs"], sides["lhs"])):
                    if sides["op"] == "ColEq" and one is sides["rhs"]:
                        continue
                    scope.bound |= set(_names(one))
                    if "Var" in one:
                        scope.assigned[one["Var"]["value"]] = (other, scope)
        return sum(self._statement(one["literal"], scope) for one in query["stmts"])

    def _statement(self, literal: Mapping[str, Any], scope: _Scope) -> int:
        ((kind, body),) = literal.items()
        if kind == "SomeIn":
            over = self._cost(body["collection"], scope)
            scope.times *= max(1, over.entries)
            return over.steps + 1
        if kind == "Every":
            over = self._cost(body["domain"], scope)
            inner = _inner(scope)
            inner.bound |= {self._said(body[one]) for one in ("key", "value") if body[one]}
            steps = self._query(body["query"], inner)
            return over.steps + max(1, over.entries) * steps * inner.times
        return self._cost(body["expr"], scope).steps if "expr" in body else 1

    def _cost(self, node: Mapping[str, Any], scope: _Scope) -> _Cost:
        if id(node) not in self._known:
            self._depth += 1
            if self._depth > _MAX_CHAIN * 2:
                raise _dear("more than can be told, as it computes one thing from another so many times")
            ((kind, body),) = node.items()
            self._reading.add(id(node))
            self._known[id(node)] = _checked(self._kind(kind, body, scope))
            self._reading.discard(id(node))
            self._depth -= 1
        return self._known[id(node)]

    def _kind(self, kind: str, body: Any, scope: _Scope) -> _Cost:
        if kind == "Var":
            return self._name(body["value"], scope)
        if kind in {"String", "RawString"}:
            return _Cost(1, 1, len(body["value"]) + 1)
        if kind in {"Number", "Bool", "Null"}:
            return _Cost(1, 1, 8)
        if kind in {"ArrayCompr", "SetCompr", "ObjectCompr"}:
            inner = _inner(scope)
            steps = self._query(body["query"], inner)
            made = _sum([self._cost(body[one], inner) for one in ("term", "key", "value") if one in body])
            return _Cost((steps + made.steps) * inner.times, inner.times, inner.times * (made.size + 1))
        if kind in {"RefDot", "RefBrack"}:
            return self._reference(kind, body, scope)
        parts = [self._cost(one, scope) for one in _parts(body)]
        whole = _sum(parts)
        if kind in {"Array", "Set", "Object"}:
            return _Cost(whole.steps + 1, len(parts), whole.size + 1)
        if kind == "Call":
            return self._called(_dotted(body["fcn"]), parts, whole)
        return _Cost(whole.steps + 1, max(1, whole.entries), whole.size)

    def _name(self, name: str, scope: _Scope) -> _Cost:
        if name in scope.assigned:
            node, where = scope.assigned[name]
            if id(node) in self._reading:
                return _Cost()
            value = self._cost(node, where)
            return _Cost(1, value.entries, value.size)
        if name in self.rules and name not in self.functions:
            value = self.defined(name)
            return _Cost(1, value.entries, value.size)
        return _Cost()

    def _reference(self, kind: str, body: Mapping[str, Any], scope: _Scope) -> _Cost:
        over = self._cost(body["refr"], scope)
        if kind == "RefDot":
            return _Cost(over.steps + 1, max(_ENTRIES, over.entries), max(_SIZE, over.size))
        index = body["index"]
        free = [name for name in _names(index) if name == "_" or name not in scope.bound]
        free = [name for name in free if name not in self.rules and name not in {"input", "data"}]
        if free:
            scope.times *= max(1, over.entries)
            scope.bound |= {*free} - {"_"}
        return _Cost(over.steps + self._cost(index, scope).steps, max(_ENTRIES, over.entries), max(_SIZE, over.size))

    def _called(self, path: str, parts: list[_Cost], whole: _Cost) -> _Cost:
        if path in self.functions:
            made = self.defined(path)
            grown = max(1, made.size // _SIZE) * max(1, whole.size)
            return _Cost(whole.steps + made.steps, max(made.entries, whole.entries), max(made.size, grown))
        size = whole.size
        if path in _TIMES:
            size = 1
            for one in parts:
                size *= max(1, one.size)
        size *= _SWELLING.get(path, 2 if path.startswith("base64") else 1)
        return _Cost(whole.steps + 1, max(1, whole.entries), size)

    def _said(self, span: Mapping[str, Any]) -> str:
        return self._text[span["start"] : span["end"]].decode()


def _inner(scope: _Scope) -> _Scope:
    return _Scope(set(scope.bound), dict(scope.assigned))


def _sum(parts: list[_Cost]) -> _Cost:
    return _Cost(sum(one.steps for one in parts), sum(one.entries for one in parts), sum(one.size for one in parts))


def _checked(cost: _Cost) -> _Cost:
    if cost.steps > _MAX_STEPS:
        raise _dear(f"about {cost.steps:.0e} steps" if cost.steps < 10**300 else "more steps than can be told")
    if cost.size > _MAX_SIZE:
        raise _dear("more memory than can be told")
    return cost


def _root(head: Mapping[str, Any]) -> str:
    node: Mapping[str, Any] = head["refr"]
    while "Var" not in node:
        (body,) = node.values()
        node = body["refr"]
    return str(node["Var"]["value"])


def _dotted(node: Mapping[str, Any]) -> str:
    if "Var" in node:
        return str(node["Var"]["value"])
    return f"{_dotted(node['RefDot']['refr'])}.{node['RefDot']['field'][1]}"


def _names(pattern: Mapping[str, Any] | None) -> Iterator[str]:
    """The names a pattern binds."""
    for kind, body in (pattern or {}).items():
        if kind == "Var":
            yield body["value"]
        elif kind in {"Array", "Set", "Object"}:
            for one in _parts(body):
                yield from _names(one)


def _parts(body: Mapping[str, Any]) -> Iterator[Any]:
    """The expressions directly in an expression."""
    for one in ("expr", "lhs", "rhs", "key", "value", "collection"):
        if isinstance(body.get(one), dict):
            yield body[one]
    yield from body.get("items", ())
    yield from body.get("params", ())
    for entry in body.get("fields", ()):
        yield from entry[1:]
