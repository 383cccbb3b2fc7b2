"""A part of the Common Expression Language (cel-spec), exact where it answers at all: for mappings that tools declare.

Why our own: what is mapped decides calls and must come out the same when history is judged again, and mappings are
written by whoever runs a tool server. Of the two bindings there are, one ends the process on a list that holds an
optional value, the other has no optional selection (docs/adr/0010). What is accepted here means what cel-cpp makes of
it (property: tests/kernel/test_cel.py asks both).

Accepted: `int`, `double`, `string`, `bool`, `null`, lists, maps with texts as keys; all operators and `? :`; selection
and index, `.?` and `[?]`; `has`, `all`, `exists`, `exists_one`, `map`, `filter`; `size`, `startsWith`, `endsWith`,
`contains`, `string`, `int`, `double`, `dyn`; `optional.of`, `optional.none`, `orValue`, `or`, `hasValue`, `value`.
Everything else is refused when it is compiled: patterns, time, bytes, unsigned numbers, messages, triple quotes.

Bounded: the text and its nesting when it is compiled, the work when it is evaluated. No error's text has a value in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["ABSENT", "Absent", "CelError", "CelExpression", "compile_cel"]

_MOST_CHARACTERS: Final = 2_000
_MOST_TOKENS: Final = 400
_MOST_LEVELS: Final = 24
_MOST_STEPS: Final = 50_000
_MOST_DEPTH: Final = 64
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+|//[^\n]*)
      |(?P<double>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      |(?P<int>0[xX][0-9a-fA-F]+|\d+)
      |(?P<text>[rR]?(?:"(?:[^"\\\n\r]|\\[^\n\r])*"|'(?:[^'\\\n\r]|\\[^\n\r])*'))
      |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<sign>\.\?|\[\?|&&|\|\||[<>=!]=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_RESERVED: Final = frozenset(
    {
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    }
)  # fmt: skip
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}")
_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})


class CelError(ValueError):
    """An expression that is not accepted, or cannot be evaluated. Its text names no value."""


class Absent:
    """What an optional selection comes to where there is nothing."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class _Optional:
    held: Any
    """ABSENT: nothing."""


_NONE: Final = _Optional(ABSENT)


@dataclass(slots=True)
class _Run:
    names: dict[str, Any]
    left: int = _MOST_STEPS

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _SpentError("it takes too much work")


class _SpentError(CelError):
    """Not to be made up for by the other side of an `||`."""


_Node = Callable[[_Run], Any]


@dataclass(frozen=True, slots=True)
class CelExpression:
    """A compiled expression."""

    text: str
    paths: frozenset[tuple[str, ...]]
    """Every chain of plain selections that begins with a variable, as far as it goes."""
    node: _Node = field(repr=False, compare=False)

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Its value as JSON data, or ABSENT.

        Raises:
            CelError: it cannot be evaluated over these, comes to no JSON value, or takes too much work.
        """
        run = _Run(dict(variables))
        try:
            value = self.node(run)
            if isinstance(value, _Optional):
                value = value.held
            if value is ABSENT:
                return ABSENT
            return _json(run, value, _MOST_DEPTH)
        except RecursionError as error:
            raise CelError("it is nested too deeply") from error


def compile_cel(text: str, variables: Collection[str]) -> CelExpression:
    """Read an expression over these variables.

    Raises:
        CelError: it is not accepted.
    """
    parser = _Parser(text, variables)
    node = parser.whole()
    return CelExpression(text, frozenset(parser.paths), node)


# -- reading


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> Iterator[_Token]:
    if len(text) > _MOST_CHARACTERS:
        raise CelError(f"it is longer than {_MOST_CHARACTERS} characters")
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CelError(f"it cannot be read from character {at + 1} on")
        kind = str(match.lastgroup)
        at = match.end()
        if kind in {"int", "double", "name"} and at < len(text) and (text[at].isalnum() or text[at] == "_"):
            raise CelError(f"it cannot be read from character {at + 1} on")
        if kind != "space":
            yield _Token(kind, match[0])


class _Parser:
    """Recursive descent along cel-spec, Grammar."""

    def __init__(self, text: str, variables: Collection[str]) -> None:
        self._tokens = [*_tokens(text)]
        if len(self._tokens) > _MOST_TOKENS:
            raise CelError(f"it has more than {_MOST_TOKENS} parts")
        self._at = 0
        self._levels = 0
        self._scope: list[str] = [*variables]
        self._global = frozenset(variables)
        self.paths: set[tuple[str, ...]] = set()

    def whole(self) -> _Node:
        node = self._expression()
        if self._at < len(self._tokens):
            raise CelError(f"`{self._peek()[:20]}` is out of place")
        return node

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _sign(self, *texts: str) -> str:
        """Take one of these signs, if one stands here."""
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is not None and token.text in texts and (token.kind == "sign" or token.text == "in"):
            self._at += 1
            return token.text
        return ""

    def _need(self, text: str) -> None:
        if not self._sign(text):
            raise CelError(f"`{text}` is missing" + (f" before `{self._peek()[:20]}`" if self._peek() else ""))

    def _name(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or token.kind != "name":
            raise CelError("a name is missing" + (f" before `{token.text[:20]}`" if token else ""))
        self._at += 1
        return token.text

    def _expression(self) -> _Node:
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            raise CelError(f"it is nested deeper than {_MOST_LEVELS} levels")
        node = self._either()
        if self._sign("?"):
            then = self._either()
            self._need(":")
            node = _conditional(node, then, self._expression())
        self._levels -= 1
        return node

    def _either(self) -> _Node:
        node = self._both()
        while self._sign("||"):
            node = _logical(node, self._both(), decides=True)
        return node

    def _both(self) -> _Node:
        node = self._relation()
        while self._sign("&&"):
            node = _logical(node, self._relation(), decides=False)
        return node

    def _relation(self) -> _Node:
        node = self._addition()
        while sign := self._sign("<", "<=", ">", ">=", "==", "!=", "in"):
            node = _binary(_RELATIONS[sign], node, self._addition())
        return node

    def _addition(self) -> _Node:
        node = self._multiplication()
        while sign := self._sign("+", "-"):
            node = _binary(_ARITHMETIC[sign], node, self._multiplication())
        return node

    def _multiplication(self) -> _Node:
        node = self._unary()
        while sign := self._sign("*", "/", "%"):
            node = _binary(_ARITHMETIC[sign], node, self._unary())
        return node

    def _unary(self) -> _Node:
        if self._sign("!"):
            return self._repeated("!", _not)
        if self._peek() == "-" and self._tokens[self._at].kind == "sign":
            following = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
            if following is None or following.kind not in {"int", "double"}:
                self._at += 1
                return self._repeated("-", _negative)
        return self._member()

    def _repeated(self, sign: str, operation: Callable[[_Run, Any], Any]) -> _Node:
        count = 1
        while self._sign(sign):
            count += 1
        node = self._member()
        for _ in range(count):
            node = _unary(operation, node)
        return node

    def _member(self) -> _Node:
        node, path = self._primary()
        while sign := self._sign(".", ".?", "[", "[?"):
            if sign in {".", ".?"}:
                name = self._name()
                if sign == "." and self._sign("("):
                    self._seen(path)
                    node, path = self._method(node, name), None
                    continue
                if path is not None and sign == ".":
                    path = (*path, name)
                else:
                    self._seen(path)
                    path = None
                node = _select(node, name) if sign == "." else _select_maybe(node, name)
            else:
                index = self._expression()
                self._need("]")
                self._seen(path)
                path = None
                node = _index(node, index) if sign == "[" else _index_maybe(node, index)
        self._seen(path)
        return node

    def _seen(self, path: tuple[str, ...] | None) -> None:
        if path:
            self.paths.add(path)

    def _primary(self) -> tuple[_Node, tuple[str, ...] | None]:
        if self._at >= len(self._tokens):
            raise CelError("it ends too early")
        token = self._tokens[self._at]
        following = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else token
        if token.text == "-" and following.kind in {"int", "double"}:  # `_unary` left it
            self._at += 1
            return self._number(following, "-"), None
        if token.kind in {"int", "double"}:
            return self._number(token, ""), None
        self._at += 1
        if token.kind == "text":
            return _constant(_unescaped(token.text)), None
        if token.text == "(" and token.kind == "sign":
            node = self._expression()
            self._need(")")
            return node, None
        if token.text == "[" and token.kind == "sign":
            return _listed(self._arguments("]")), None
        if token.text == "{" and token.kind == "sign":
            return self._map(), None
        if token.kind == "name":
            return self._named(token.text)
        raise CelError(f"`{token.text[:20]}` is out of place")

    def _number(self, token: _Token, sign: str) -> _Node:
        self._at += 1
        if token.kind == "double":
            value = float(sign + token.text)
            if not math.isfinite(value):
                raise CelError("a number is too large")
            return _constant(value)
        number = int(sign + token.text, 16 if token.text[:2] in {"0x", "0X"} else 10)
        if not _LEAST <= number <= _MOST:
            raise CelError("a number is too large")
        return _constant(number)

    def _named(self, name: str) -> tuple[_Node, tuple[str, ...] | None]:
        if name in {"true", "false", "null"}:
            return _constant({"true": True, "false": False, "null": None}[name]), None
        if self._peek() == "(":
            return self._function(name), None
        if name == "optional" and name not in self._scope:
            self._need(".")
            kind = self._name()
            self._need("(")
            given = self._arguments(")")
            if kind == "of" and len(given) == 1:
                return _unary(lambda _, value: _Optional(value), given[0]), None
            if kind == "none" and not given:
                return _constant(_NONE), None
            raise CelError(f"there is no `optional.{kind[:20]}` with so many arguments")
        if name in _RESERVED or name not in self._scope:
            raise CelError(f"there is no variable `{name[:40]}`")
        free = name in self._global and self._scope.count(name) == 1
        return _variable(name), ((name,) if free else None)

    def _arguments(self, end: str) -> list[_Node]:
        found: list[_Node] = []
        while not self._sign(end):
            if found:
                self._need(",")
                if self._sign(end) and end != ")":
                    break
            found.append(self._expression())
        return found

    def _map(self) -> _Node:
        pairs: list[tuple[_Node, _Node]] = []
        while not self._sign("}"):
            if pairs:
                self._need(",")
                if self._sign("}"):
                    break
            key = self._expression()
            self._need(":")
            pairs.append((key, self._expression()))
        return _mapped(pairs)

    def _function(self, name: str) -> _Node:
        self._need("(")
        if name == "has":
            return self._has()
        given = self._arguments(")")
        function = _FUNCTIONS.get(name)
        if function is None or len(given) != 1:
            raise CelError(f"there is no function `{name[:40]}` with {len(given)} arguments here")
        return _unary(function, given[0])

    def _has(self) -> _Node:
        began = self._at
        self._expression()
        self._need(")")
        ended = self._at - 1
        if ended - began < 3 or self._peek(-3) != "." or self._tokens[ended - 1].kind != "name":
            raise CelError("`has` asks for a selection, such as `has(params.arguments.id)`")
        name = self._tokens[ended - 1].text
        # the same once more, without its last selection
        kept, self._tokens = self._tokens, [*self._tokens[began : ended - 2]]
        paths, self.paths = self.paths, set()
        self._at = 0
        node = self._expression()
        if self._at != len(self._tokens):
            raise CelError("`has` asks for a selection, such as `has(params.arguments.id)`")
        self._tokens, self._at = kept, ended + 1
        self.paths = paths
        return _has(node, name)

    def _method(self, node: _Node, name: str) -> _Node:
        if name in _MACROS:
            return self._macro(node, name)
        given = self._arguments(")")
        if name == "size" and not given:
            return _unary(_size, node)
        if name in {"hasValue", "value"} and not given:
            return _unary(_has_value if name == "hasValue" else _value, node)
        if name in _TEXT_METHODS and len(given) == 1:
            return _binary(_TEXT_METHODS[name], node, given[0])
        if name in {"orValue", "or"} and len(given) == 1:
            return _alternative(node, given[0], whole=name == "or")
        raise CelError(f"there is no method `{name[:40]}` with {len(given)} arguments here")

    def _macro(self, node: _Node, name: str) -> _Node:
        variable = self._name()
        if variable in _RESERVED or variable in self._scope:
            raise CelError(f"`{variable[:40]}` cannot be the name of an element: it means something already")
        self._need(",")
        began = self._at
        self._scope.append(variable)
        given = [self._expression()]
        if name == "map" and self._sign(","):
            given.append(self._expression())
        self._need(")")
        self._scope.pop()
        weight = self._at - began
        return _comprehension(name, node, variable, given, weight)


def _unescaped(text: str) -> str:
    raw = text[0] in "rR"
    inner = text[2:-1] if raw else text[1:-1]
    if raw or "\\" not in inner:
        return inner

    def spelled(match: re.Match[str]) -> str:
        plain, two, four, eight, octal, other = match.groups()
        if plain is not None:
            return _ESCAPED.get(plain, plain)
        if other is not None:
            raise CelError("a text has an escape that there is not")
        code = int(octal, 8) if octal is not None else int(two or four or eight, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise CelError("a text has an escape that is no character")
        return chr(code)

    return _ESCAPE.sub(spelled, inner)


# -- evaluating


def _constant(value: Any) -> _Node:
    return lambda _: value


def _variable(name: str) -> _Node:
    return lambda run: run.names[name]


def _unary(operation: Callable[[_Run, Any], Any], node: _Node) -> _Node:
    return lambda run: operation(run, node(run))


def _binary(operation: Callable[[_Run, Any, Any], Any], left: _Node, right: _Node) -> _Node:
    return lambda run: operation(run, left(run), right(run))


def _conditional(condition: _Node, then: _Node, other: _Node) -> _Node:
    def node(run: _Run) -> Any:
        chosen = condition(run)
        if not isinstance(chosen, bool):
            raise CelError("the condition of `? :` is neither true nor false")
        return then(run) if chosen else other(run)

    return node


def _logical(left: _Node, right: _Node, *, decides: bool) -> _Node:
    """`||` and `&&`: either side may decide, whatever becomes of the other (cel-spec, Logical Operators)."""

    def node(run: _Run) -> bool:
        one = _truth(left, run)
        if one is decides:
            return decides
        other = _truth(right, run)
        if other is decides:
            return decides
        for found in (one, other):
            if isinstance(found, CelError):
                raise found
        return not decides

    return node


def _truth(node: _Node, run: _Run) -> bool | CelError:
    try:
        value = node(run)
    except _SpentError:
        raise
    except CelError as error:
        return error
    return value if isinstance(value, bool) else CelError("a part of a condition is neither true nor false")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(run: _Run, left: Any, right: Any) -> bool:
    run.spend(1)
    if _number(left) and _number(right):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(run, *pair) for pair in zip(left, right, strict=True))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(run, left[key], right[key]) for key in left)
    if isinstance(left, _Optional) and isinstance(right, _Optional):
        if left.held is ABSENT or right.held is ABSENT:
            return left.held is right.held
        return _equal(run, left.held, right.held)
    return type(left) is type(right) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[_Run, Any, Any], bool]:
    def operation(_: _Run, left: Any, right: Any) -> bool:
        if _number(left) and _number(right):
            return compare(left, right)
        if type(left) is type(right) and isinstance(left, str | bool):
            return compare(left, right)
        raise CelError("two values are compared that have no order")

    return operation


def _contained(run: _Run, left: Any, right: Any) -> bool:
    if isinstance(right, list):
        return any(_equal(run, left, item) for item in right)
    if isinstance(right, Mapping) and isinstance(left, str | int | float):
        return isinstance(left, str) and left in right
    raise CelError("`in` asks for a list or a map")


def _added(run: _Run, left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        run.spend((len(left) + len(right)) // 64)
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        run.spend((len(left) + len(right)) // 16)
        return left + right
    return _calculated(left, right, lambda one, other: one + other)


def _calculated(left: Any, right: Any, operation: Callable[[Any, Any], Any]) -> Any:
    if not _number(left) or type(left) is not type(right):
        raise CelError("an operator stands between values that it is not for")
    found = operation(left, right)
    if isinstance(found, int) and not _LEAST <= found <= _MOST:
        raise CelError("a number becomes too large")
    return found


def _divided(_: _Run, left: Any, right: Any) -> Any:
    if isinstance(right, int) and not isinstance(right, bool) and right == 0:
        raise CelError("a number is divided by zero")

    def quotient(one: Any, other: Any) -> Any:
        if isinstance(one, int):
            return abs(one) // abs(other) * (1 if (one < 0) is (other < 0) else -1)
        if other == 0:
            return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)
        return one / other

    return _calculated(left, right, quotient)


def _remainder(_: _Run, left: Any, right: Any) -> Any:
    if not isinstance(left, int) or isinstance(left, bool) or not isinstance(right, int) or isinstance(right, bool):
        raise CelError("an operator stands between values that it is not for")
    if right == 0:
        raise CelError("a number is divided by zero")
    return _calculated(left, right, lambda one, other: int(math.copysign(1, one)) * (abs(one) % abs(other)))


def _not(_: _Run, value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError("`!` stands before what is neither true nor false")
    return not value


def _negative(_: _Run, value: Any) -> Any:
    if not _number(value):
        raise CelError("`-` stands before what is no number")
    if value == _LEAST and isinstance(value, int):
        raise CelError("a number becomes too large")
    return -value


def _at(value: Any, name: Any) -> Any:
    """What a map or list has under a name or at a place; ABSENT if it has not."""
    if isinstance(value, Mapping):
        return value.get(name, ABSENT) if isinstance(name, str) else ABSENT
    if isinstance(value, list):
        if isinstance(name, float) and name.is_integer():
            name = int(name)
        if not isinstance(name, int) or isinstance(name, bool):
            raise CelError("a list is asked for what is no place in it")
        return value[name] if 0 <= name < len(value) else ABSENT
    raise CelError("something is selected from what is neither a map nor a list")


def _taken(value: Any, name: Any, said: str) -> Any:
    if isinstance(value, _Optional):
        return _maybe(value, name)
    found = _at(value, name)
    if found is ABSENT:
        raise CelError(said)
    return found


def _maybe(value: Any, name: Any) -> _Optional:
    if isinstance(value, _Optional):
        if value.held is ABSENT:
            return _NONE
        value = value.held
    found = _at(value, name)
    return _NONE if found is ABSENT else _Optional(found)


def _fields(value: Any) -> Any:
    held = value.held if isinstance(value, _Optional) else value
    if held is not ABSENT and not isinstance(held, Mapping):
        raise CelError("something is selected from what is no map")
    return value


def _select(node: _Node, name: str) -> _Node:
    return lambda run: _taken(_fields(node(run)), name, f"there is no `{name[:60]}`")


def _select_maybe(node: _Node, name: str) -> _Node:
    return lambda run: _maybe(_fields(node(run)), name)


def _index(node: _Node, index: _Node) -> _Node:
    return lambda run: _taken(node(run), index(run), "there is nothing at that place")


def _index_maybe(node: _Node, index: _Node) -> _Node:
    return lambda run: _maybe(node(run), index(run))


def _has(node: _Node, name: str) -> _Node:
    def asked(run: _Run) -> bool:
        value = node(run)
        if isinstance(value, _Optional):
            return _maybe(_fields(value), name).held is not ABSENT
        return _at(_fields(value), name) is not ABSENT

    return asked


def _listed(items: Sequence[_Node]) -> _Node:
    return lambda run: [item(run) for item in items]


def _mapped(pairs: Sequence[tuple[_Node, _Node]]) -> _Node:
    def node(run: _Run) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in pairs:
            key = key_node(run)
            if not isinstance(key, str):
                raise CelError("a key of a map is no text")
            if key in found:
                raise CelError("a key of a map is repeated")
            found[key] = value_node(run)
        return found

    return node


def _alternative(node: _Node, other: _Node, *, whole: bool) -> _Node:
    def chosen(run: _Run) -> Any:
        value = node(run)
        if not isinstance(value, _Optional):
            raise CelError("an alternative is given to what is there anyway")
        if value.held is not ABSENT:
            return value if whole else value.held
        found = other(run)
        if whole and not isinstance(found, _Optional):
            raise CelError("the alternative of `or` is not optional")
        return found

    return chosen


def _has_value(_: _Run, value: Any) -> bool:
    if not isinstance(value, _Optional):
        raise CelError("`hasValue` asks what is there anyway")
    return value.held is not ABSENT


def _value(_: _Run, value: Any) -> Any:
    if not isinstance(value, _Optional) or value.held is ABSENT:
        raise CelError("`value` finds nothing")
    return value.held


def _size(_: _Run, value: Any) -> int:
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise CelError("`size` asks for a text, a list or a map")


def _text(_: _Run, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    raise CelError("`string` is for whole numbers, truth values and texts here")


def _whole(_: _Run, value: Any) -> int:
    if isinstance(value, float) and math.isfinite(value) and float(_LEAST) < value < float(2**63):
        return int(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value) and _LEAST <= int(value) <= _MOST:
        return int(value)
    raise CelError("`int` is given what is no whole number")


def _double(_: _Run, value: Any) -> float:
    if _number(value):
        return float(value)
    raise CelError("`double` is for numbers here")


def _of_texts(operation: Callable[[str, str], bool]) -> Callable[[_Run, Any, Any], bool]:
    def method(run: _Run, value: Any, other: Any) -> bool:
        if not isinstance(value, str) or not isinstance(other, str):
            raise CelError("a method of texts is asked of what is none")
        run.spend(len(value) // 64)
        return operation(value, other)

    return method


def _comprehension(name: str, node: _Node, variable: str, given: Sequence[_Node], weight: int) -> _Node:
    condition, made = given[0], given[-1]

    def elements(run: _Run) -> Iterator[Any]:
        value = node(run)
        if not isinstance(value, list | Mapping):
            raise CelError(f"`{name}` goes through a list or a map")
        # a map has no order; history has to come out the same
        for element in sorted(value) if isinstance(value, Mapping) else value:
            run.spend(1 + weight)
            run.names[variable] = element
            yield element
        run.names.pop(variable, None)

    def deciding(run: _Run) -> bool:
        decides, failed = name == "exists", None
        for _ in elements(run):
            found = _truth(condition, run)
            if found is decides:
                return decides
            failed = found if isinstance(found, CelError) and failed is None else failed
        if failed is not None:
            raise failed
        return not decides

    def holds(run: _Run) -> bool:
        found = condition(run)
        if not isinstance(found, bool):
            raise CelError(f"the condition of `{name}` is neither true nor false")
        return found

    if name in {"all", "exists"}:
        return deciding
    if name == "exists_one":
        return lambda run: sum([holds(run) for _ in elements(run)]) == 1
    if name == "filter":
        return lambda run: [element for element in elements(run) if holds(run)]
    if len(given) == 1:
        return lambda run: [made(run) for _ in elements(run)]
    return lambda run: [made(run) for _ in elements(run) if holds(run)]


_RELATIONS: Final[Mapping[str, Callable[[_Run, Any, Any], bool]]] = {
    "<": _ordered(lambda one, other: bool(one < other)),
    "<=": _ordered(lambda one, other: bool(one <= other)),
    ">": _ordered(lambda one, other: bool(one > other)),
    ">=": _ordered(lambda one, other: bool(one >= other)),
    "==": _equal,
    "!=": lambda run, left, right: not _equal(run, left, right),
    "in": _contained,
}
_ARITHMETIC: Final[Mapping[str, Callable[[_Run, Any, Any], Any]]] = {
    "+": _added,
    "-": lambda _, left, right: _calculated(left, right, lambda one, other: one - other),
    "*": lambda _, left, right: _calculated(left, right, lambda one, other: one * other),
    "/": _divided,
    "%": _remainder,
}
_FUNCTIONS: Final[Mapping[str, Callable[[_Run, Any], Any]]] = {
    "double": _double,
    "dyn": lambda _, value: value,
    "int": _whole,
    "size": _size,
    "string": _text,
}
_TEXT_METHODS: Final[Mapping[str, Callable[[_Run, Any, Any], bool]]] = {
    "contains": _of_texts(lambda text, part: part in text),
    "endsWith": _of_texts(str.endswith),
    "startsWith": _of_texts(str.startswith),
}


def _json(run: _Run, value: Any, levels: int) -> Any:
    run.spend(1)
    if levels < 0:
        raise CelError("it comes to a value that is nested too deeply")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list):
        return [_json(run, item, levels - 1) for item in value]
    if isinstance(value, Mapping):
        return {key: _json(run, item, levels - 1) for key, item in value.items()}
    raise CelError("it comes to what is no JSON value")
