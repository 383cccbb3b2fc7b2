"""What a module may use, judged on its syntax tree: everything that is not listed here is refused.

A module is asked again when history is replayed, possibly years later and on another machine. So what it calls must be
a function of what it was given: no clock, no chance, no zone of the machine, no network, no environment. And as the
engine cannot be stopped while it evaluates, what turns a short text into a long list or a long number is refused, and
so is what depends on itself.

The tree's node kinds are listed as well: a kind that a later engine adds is refused until somebody has looked at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.policy.engines.rego_bounds import refused

__all__ = ["Dependencies", "allowed", "dependencies", "settled"]

_MAX_NODES: Final = 8192
_MAX_RULES: Final = 512
_MAX_CHAIN: Final = 32
_MAX_STACK: Final = 256
"""Levels of expressions, summed along rules that depend on one another: each takes some of the thread's stack."""

_MARKED: Final = frozenset({"time.add_date", "time.clock", "time.date", "time.diff", "time.format", "time.weekday"})
"""Given an instant, and where it is a list, a zone."""
_INSTANTS: Final = frozenset({"time.parse_ns", "time.parse_rfc3339_ns", "time.add_date", "to_number"})
_FUNCTIONS: Final = _MARKED | {
    *("abs", "ceil", "concat", "contains", "count", "endswith", "floor", "format_int", "indexof", "indexof_n"),
    *("intersection", "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "lower"),
    *("max", "min", "product", "replace", "round", "sort", "split", "sprintf", "startswith", "substring", "sum"),
    *("to_number", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix", "type_name"),
    *("union", "upper"),
    *("array.concat", "array.reverse", "array.slice"),
    *("base64.decode", "base64.encode", "base64.is_valid"),
    *("base64url.decode", "base64url.encode", "base64url.encode_no_pad"),
    *("bits.and", "bits.negate", "bits.or", "bits.rsh", "bits.xor"),
    *("glob.match", "glob.quote_meta", "graph.reachable", "hex.decode", "hex.encode"),
    *("json.filter", "json.is_valid", "json.marshal", "json.remove", "json.unmarshal"),
    *("net.cidr_contains", "net.cidr_is_valid"),
    *("object.filter", "object.get", "object.keys", "object.remove", "object.subset", "object.union", "object.union_n"),
    *("regex.find_n", "regex.is_valid", "regex.match", "regex.replace", "regex.split"),
    *("semver.compare", "semver.is_valid"),
    *("strings.any_prefix_match", "strings.any_suffix_match", "strings.count", "strings.replace_n", "strings.reverse"),
    *("time.parse_duration_ns", "time.parse_ns", "time.parse_rfc3339_ns"),
    *("units.parse", "units.parse_bytes"),
    *("urlquery.decode", "urlquery.decode_object", "urlquery.encode", "urlquery.encode_object"),
}
_SPACES: Final = frozenset(name.partition(".")[0] for name in _FUNCTIONS) | {
    *(
        "azure",
        "crypto",
        "http",
        "io",
        "numbers",
        "opa",
        "print",
        "rand",
        "rego",
        "test",
        "trace",
        "uuid",
        "walk",
        "yaml",
    ),
}
"""The first words of the engine's functions: no name of the module's own may be one."""

_KINDS: Final = frozenset(
    {
        *("Default", "Spec", "Compr", "Func", "Set", "Expr", "NotExpr", "SomeIn", "SomeVars", "Every"),
        *("Bool", "Null", "Number", "RawString", "String", "Array", "ArrayCompr", "Object", "ObjectCompr", "SetCompr"),
        *(
            "Var",
            "RefBrack",
            "RefDot",
            "Call",
            "ArithExpr",
            "AssignExpr",
            "BinExpr",
            "BoolExpr",
            "Membership",
            "UnaryExpr",
        ),
    }
)
_WIDE: Final = re.compile(r"%[^A-Za-z%]*(?:[0-9]{3}|[*\[])")


@dataclass(frozen=True, slots=True)
class _Rule:
    """Definitions of one name: how deep their expressions nest, and the rules they may ask."""

    depth: int
    asks: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Which rules of one module ask which, of any module."""

    package: str
    rules: Mapping[str, _Rule]
    functions: frozenset[str] = field(default=frozenset())

    @property
    def refusing(self) -> bool:
        """Whether it has the rule that refuses calls."""
        return "deny" in self.rules and "deny" not in self.functions


def allowed(module: Mapping[str, Any]) -> Dependencies:
    """Read one module, as the engine gives its tree and its text.

    Raises:
        InvalidInputError: it uses something that is not listed, or depends on itself.
    """
    tree = module["ast"]
    if tree.get("target"):
        raise refused("has a `__target__`", "leave it out")
    found = dependencies(module)
    _heads(tree, found)
    for number, (kind, body, _) in enumerate(_nodes(tree["rules"])):
        if number >= _MAX_NODES:
            raise refused("is too long or nested too deeply", f"keep it to {_MAX_NODES} expressions")
        if kind not in _KINDS:
            raise refused(f"has an expression of kind `{kind}`, which nobody has judged yet", "write it in another way")
        if kind == "Call":
            _called(body, found.functions)
    if any(part.get("with_mods") for part in _statements(tree["rules"])):
        raise refused(
            "replaces by `with` what it was given, so that one call could be answered in two ways",
            "write a function, and give it the value",
        )
    settled([found])
    return found


def dependencies(module: Mapping[str, Any]) -> Dependencies:
    """Which rules ask which.

    Raises:
        InvalidInputError: a reference does not say which rule it asks.
    """
    tree = module["ast"]
    package = _path(tree["package"]["refr"])[-1]
    imports = dict(_imported(tree, module["source"]["contents"].encode()))
    named: dict[str, list[tuple[Any, Any]]] = {}
    functions = set()
    for rule in tree["rules"]:
        (body,) = rule.values()
        ((kind, head),) = body.get("head", {"Default": body}).items()
        name = _path(head["refr"])[0]
        named.setdefault(name, []).append((rule, head))
        if kind == "Func" or body.get("args"):
            functions.add(name)
    names = frozenset(named)
    return Dependencies(
        package,
        {
            name: _Rule(
                max(depth for rule, _ in rules for _, _, depth in _nodes(rule)),
                frozenset(one for rule, head in rules for one in _asked(rule, head, package, names, imports)),
            )
            for name, rules in named.items()
        },
        frozenset(functions),
    )


def settled(modules: Iterable[Dependencies]) -> None:
    """Let through what asks itself nowhere, and whose longest chain of questions is bounded.

    Raises:
        InvalidInputError: a rule depends on itself, or on too long a chain of others.
    """
    rules: dict[tuple[str, str], _Rule] = {}
    for module in modules:
        for name, rule in module.rules.items():
            known = rules.get((module.package, name), _Rule(0, frozenset()))
            rules[module.package, name] = _Rule(max(known.depth, rule.depth), known.asks | rule.asks)
    done: dict[tuple[str, str], tuple[int, int]] = {}
    for start, first in rules.items():
        path: list[tuple[tuple[str, str], Iterator[tuple[str, str]]]] = [(start, iter(first.asks))]
        while path:
            at, asks = path[-1]
            following = next((one for one in asks if one in rules and one not in done), None)
            if following is not None:
                if any(following == seen for seen, _ in path):
                    raise refused(f"has `{following[1]}`, which depends on itself", "write it without itself")
                path.append((following, iter(rules[following].asks)))
                continue
            path.pop()
            below = [done[one] for one in rules[at].asks if one in rules]
            chain = 1 + max((length for length, _ in below), default=0)
            stack = rules[at].depth + max((levels for _, levels in below), default=0)
            if chain > _MAX_CHAIN or stack > _MAX_STACK:
                raise refused(
                    f"has `{at[1]}`, which is nested too deeply in others",
                    f"keep it to {_MAX_CHAIN} rules that ask one another, and their expressions to {_MAX_STACK} levels",
                )
            done[at] = chain, stack


def _nodes(value: Any) -> Iterator[tuple[str, Any, int]]:
    """Every node of a tree with its kind, and how many stand around it."""
    waiting = [(value, 0)]
    while waiting:
        here, depth = waiting.pop()
        if isinstance(here, list):
            waiting += [(one, depth) for one in here]
        elif isinstance(here, dict):
            kind = next(iter(here)) if len(here) == 1 else ""
            if kind[:1].isupper():
                yield kind, here[kind], depth
            waiting += [(one, depth + kind[:1].isupper()) for one in here.values()]


def _statements(value: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += here
        elif isinstance(here, dict):
            if "literal" in here:
                yield here
            waiting += here.values()


def _path(node: Mapping[str, Any]) -> list[str]:
    """The names of a reference, up to the first that is not written out; none, where it does not begin with one."""
    found: list[str] = []
    while True:
        ((kind, body),) = node.items()
        if kind == "Var":
            return [body["value"], *reversed(found)]
        if kind == "RefDot":
            found.append(body["field"][1])
        elif kind == "RefBrack":
            ((index, value),) = body["index"].items()
            found = [*found, value["value"]] if index == "String" else []
        else:
            return []
        node = body["refr"]


def _imported(tree: Mapping[str, Any], source: bytes) -> Iterator[tuple[str, list[str]]]:
    for one in tree["imports"]:
        path, alias = _path(one["refr"]), one.get("as")
        name = source[alias["start"] : alias["end"]].decode() if alias else path[-1]
        if path[0] == "data" and (path[1:2] != ["accredit"] or len(path) < 3):
            raise refused(f"imports `{'.'.join(path)}`", "import `rego.v1`, what `input` holds or `data.accredit.NAME`")
        if path[0] == "rego" and path != ["rego", "v1"]:
            raise refused(f"imports `{'.'.join(path)}`", "import `rego.v1`")
        if name in _SPACES:
            raise refused(
                f"imports something as `{name}`, as functions of the engine are called", "import it `as NAME`"
            )
        if path[0] in {"data", "input"}:
            yield name, path


def _heads(tree: Mapping[str, Any], found: Dependencies) -> None:
    if len(tree["rules"]) > _MAX_RULES:
        raise refused("is too long or nested too deeply", f"keep it to {_MAX_RULES} rules")
    for name in found.rules:
        if name in _SPACES:
            raise refused(f"has a rule of its own called `{name}`, as a function of the engine is", "name it otherwise")
    for rule in tree["rules"]:
        shape = rule.get("Spec", {}).get("head", {}).get("Func") or rule.get("Default", {})
        if shape and "Var" not in shape["refr"]:
            raise refused(f"has a function called `{'.'.join(_path(shape['refr']))}`", "name it with one word")


def _asked(
    rule: Any, head: Mapping[str, Any], package: str, names: frozenset[str], imports: Mapping[str, list[str]]
) -> Iterator[tuple[str, str]]:
    """The rules that a definition may ask. Where a name could be a local one as well, it counts as the rule's."""
    within = set(_roots(head))
    for kind, body, _ in _nodes(rule):
        if kind not in {"Var", "RefDot", "RefBrack"} or id(body) in within:
            continue
        within.update(_roots(body))
        path = _path({kind: body})
        if not path:
            continue
        if path[0] in imports:
            path = [*imports[path[0]], *path[1:]]
        if path[0] == "data":
            if path[1:2] != ["accredit"] or len(path) < 4:
                raise refused(
                    f"reads `{'.'.join(path)}` as a whole, or by a name that is not written out",
                    "write `data.accredit.NAME.RULE`",
                )
            yield path[2], path[3]
        elif path[0] in names:
            yield package, path[0]


def _roots(body: Mapping[str, Any]) -> Iterator[int]:
    while "refr" in body:
        (body,) = body["refr"].values()
        yield id(body)


def _called(call: Mapping[str, Any], functions: frozenset[str]) -> None:
    callee = call["fcn"]
    path = ".".join(_path(callee))
    if path in functions:
        return
    if any(kind == "RefBrack" for kind, _, _ in _nodes(callee)):
        raise refused(
            f"calls `{path}` by brackets, so that it might be one that answers one call in two ways",
            "call functions by their names, written with dots",
        )
    if path not in _FUNCTIONS:
        raise refused(
            f"calls `{path}`, which is neither its own nor listed: others may answer one call in two ways or cost"
            " without bound",
            "use what `input` holds; the time is `input.context.now`",
        )
    given = call["params"]
    if path in _MARKED:
        for instant in given[: 2 if path == "time.diff" else 1]:
            _in_utc(instant, path)
    if path == "sprintf" and given:
        ((kind, body),) = given[0].items()
        if kind not in {"String", "RawString"} or _WIDE.search(body["value"]):
            raise refused(
                "calls `sprintf` with a form that is not written out, or with a width of more than two digits",
                'write the form where it is used, like `sprintf("%s of %s", [a, b])`',
            )


def _in_utc(instant: Mapping[str, Any], path: str) -> None:
    ((kind, body),) = instant.items()
    if kind == "Array":
        zone = body["items"][1:2]
        if not zone or zone[0].get("String", {}).get("value") == "UTC":
            return
    elif kind in {"Number", "ArithExpr"} or (kind == "Call" and ".".join(_path(body["fcn"])) in _INSTANTS):
        return
    raise refused(
        f"calls `{path}` where the zone is not the literal `UTC`, so that machines could answer one call in two ways",
        f'write `{path}([ns, "UTC"])`, or use `input.context.now`',
    )
