"""Pinned input schemas as validators that judge a call's arguments in microseconds and cannot be made to hang.

Two schemas are compiled from one: the server's own, and a closed one that refuses what the server's leaves undeclared
(DESIGN §3.4). Arguments must satisfy both, so closing can only narrow. Closing puts `unevaluatedProperties: false`
where an object begins (the arguments themselves, and nested objects that declare properties), never inside `allOf`,
`anyOf` and their like, which describe the same object together. In the closed copy

- `additionalProperties` and `unevaluatedProperties` of a closed object declare nothing: names come from `properties`
  and `patternProperties`; a nested object without those (a map) stays as open as its schema says;
- what stands under `not`, `if`, `contains` and `propertyNames` is a question, not a declaration: it is left as it is,
  and properties only seen there are not declared.

Bounds, checked before compiling: bytes and depth of the definition (`pinning`), the number of subschemas, references
(local JSON pointers only, no cycle on one value), and how many subschemas can look at one and the same value however
deep it stands. Patterns run in a linear-time engine: look-around and back-references do not compile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import MAX_DEPTH

__all__ = ["ArgumentFault", "ArgumentValidator", "but_for_null", "compile_arguments", "resolve_pointer"]

_MAX_SUBSCHEMAS = 2_000
_MAX_LOOKS = 1_024
"""How many subschemas may judge one value."""
_EXPLAINED_LOOKS = 64
"""Up to here the engine is asked for the fault's place: it builds a tree of all failed branches first."""
_REGEX_BYTES = 2**20
_MAX_SHOWN = 80

_DRAFTS = frozenset(
    f"{scheme}://json-schema.org/{draft}"
    for scheme in ("http", "https")
    for draft in (
        "draft/2020-12/schema",
        "draft/2020-12/schema#",
        "draft/2019-09/schema",
        "draft/2019-09/schema#",
        "draft-07/schema",
        "draft-07/schema#",
    )
)
_SILENT = frozenset({"dependencies", "additionalItems", "$recursiveRef", "$recursiveAnchor"})
"""Restrictions of older drafts that 2020-12 would ignore: taking them as if they were not there would widen."""
_FOREIGN = frozenset({"$dynamicRef", "$dynamicAnchor", "$vocabulary"})

_UNDECLARED = (
    jsonschema_rs.ValidationErrorKind.AdditionalProperties,
    jsonschema_rs.ValidationErrorKind.UnevaluatedProperties,
)
_TELLING = frozenset(
    {"const", "enum", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength", "maxProperties", "maximum"}
    | {"minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "type", "uniqueItems"}
)

_SAME_ONE = ("then", "else")
_SAME_LIST = ("allOf", "anyOf", "oneOf")
_SAME_MAP = ("dependentSchemas",)
_PROPERTY_MAP = ("properties", "patternProperties")
_PROPERTY_ONE = ("additionalProperties", "unevaluatedProperties")
_ITEM_ONE = ("items", "unevaluatedItems")
_ITEM_LIST = ("prefixItems",)
_QUESTION = ("not", "if", "contains", "propertyNames")
_DROPPED = frozenset(
    {"$schema", "$id", "$anchor", "$defs", "definitions", "$comment", "title", "description", "examples"}
)
"""Say nothing of a value. An anchor is one more name of a place: references by that name are refused as not local."""


@dataclass(frozen=True, slots=True)
class ArgumentFault:
    """Why a call's arguments are refused. Everything here may be told to the agent."""

    code: Code
    """`undeclared_argument` or `arguments_invalid`."""
    path: str
    """JSON pointer into the arguments; of an undeclared one, with its name."""
    expected: str

    @property
    def detail(self) -> str:
        """One line for the caller."""
        return f"at `{self.path or '/'}`: expected {self.expected}"


class ArgumentValidator:
    """Judges the arguments of one tool."""

    __slots__ = ("_closed", "_explains", "_open", "_schema")

    def __init__(
        self,
        schema: Mapping[str, Any],
        open_: jsonschema_rs.Validator,
        closed: jsonschema_rs.Validator | None,
        *,
        explains: bool,
    ) -> None:
        self._schema = schema
        self._open = open_
        self._closed = closed
        self._explains = explains

    def fault(self, arguments: Mapping[str, Any]) -> ArgumentFault | None:
        """None if the arguments fit; never raises, never echoes a value, pure."""
        try:
            if not self._open.is_valid(arguments):
                return self._place(self._open, arguments, Code.ARGUMENTS_INVALID)
            if self._closed is not None and not self._closed.is_valid(arguments):
                return self._place(self._closed, arguments, Code.UNDECLARED_ARGUMENT)
        except ValueError:  # the engine met a value that is no JSON, or gave up: cannot be judged, so refused
            return ArgumentFault(Code.ARGUMENTS_INVALID, "", "a JSON value")
        if self._closed is None and (path := _respelled(self._schema, arguments)):
            return ArgumentFault(Code.UNDECLARED_ARGUMENT, _pointer(path), "the declared spelling of that name")
        return None

    def _place(self, validator: jsonschema_rs.Validator, arguments: Mapping[str, Any], code: Code) -> ArgumentFault:
        if not self._explains:
            return ArgumentFault(code, "", "arguments of the tool's input schema")
        try:
            validator.validate(arguments)
        except jsonschema_rs.ValidationError as error:
            kind, path = error.kind, error.instance_path
            if isinstance(kind, _UNDECLARED):
                return ArgumentFault(Code.UNDECLARED_ARGUMENT, _pointer([*path, *kind.unexpected[:1]]), "nothing here")
            return ArgumentFault(code, _pointer(path), _expectation(kind))
        raise ValueError("valid after all")


def but_for_null(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The schema without its null alternative, and whether it had one: a null is dropped, so it means absent."""
    kinds = schema.get("type")
    if isinstance(kinds, list) and "null" in kinds and len(kinds) == 2:
        return {**schema, "type": next(kind for kind in kinds if kind != "null")}, True
    for word in ("anyOf", "oneOf"):
        ways = schema.get(word)
        if isinstance(ways, list) and len(ways) == 2 and {"type": "null"} in ways and "type" not in schema:
            other = next((way for way in ways if way != {"type": "null"}), None)
            if isinstance(other, Mapping):
                return {**{key: value for key, value in schema.items() if key != word}, **other}, True
    return schema, False


def compile_arguments(schema: Any, *, allow_undeclared: bool) -> ArgumentValidator:
    """The validator of a pinned `inputSchema`.

    Raises:
        InvalidInputError: `schema_refused`: it is not a schema of objects, or breaks one of the bounds above.
    """
    if not isinstance(schema, Mapping):
        raise _refused("the input schema is not an object", hint="give `inputSchema` with `type: object`")
    dialect = schema.get("$schema")
    if dialect is not None and dialect not in _DRAFTS:
        raise _refused(f"`$schema` {_shown(dialect)} is not a known draft", hint="write it in JSON Schema 2020-12")
    if schema.get("type") != "object":
        raise _refused("the input schema's `type` is not `object`", hint="arguments are an object")
    bounds = _Bounds(schema)
    looks = bounds.check()
    open_ = _compiled(_Rewriter(schema).document(closed=False))
    closed = None if allow_undeclared else _compiled(_Rewriter(schema).document(closed=True))
    return ArgumentValidator(schema, open_, closed, explains=looks <= _EXPLAINED_LOOKS)


def resolve_pointer(root: Any, reference: Any) -> Any:
    """What a local reference (`#`, `#/$defs/Name`) points at.

    Raises:
        InvalidInputError: `schema_refused`: it is not local, or points at nothing.
    """
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise _refused(f"the reference {_shown(reference)} is not local", hint="move what it names into `$defs`")
    node = root
    for step in reference.split("/")[1:]:
        key = step.replace("%25", "%").replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and len(key) < 6 and int(key) < len(node):
            node = node[int(key)]
        else:
            raise _refused(f"the reference {_shown(reference)} points at nothing")
    return node


def _refused(text: str, *, hint: str = "", cause: str = "") -> InvalidInputError:
    return InvalidInputError(Code.SCHEMA_REFUSED, text, hint=hint, cause=cause)


def _shown(value: Any) -> str:
    return f"`{ascii(value)[:_MAX_SHOWN]}`"


def _respelled(schema: Any, arguments: Any) -> list[str]:
    """Where a name stands that is another spelling of a declared one; empty if nowhere.

    Some who read the arguments take one for the other (Go's `encoding/json` does), and policies read the declared one.
    What stands behind references and in branches is not looked at.
    """
    declared = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(declared, Mapping) or not isinstance(arguments, Mapping):
        return []
    folded = {name.casefold() for name in declared}
    for name, value in arguments.items():
        if name not in declared:
            if name.casefold() in folded:
                return [name]
        elif below := _respelled(declared[name], value):
            return [name, *below]
    return []


def _pointer(path: list[Any]) -> str:
    text = "".join("/" + str(step)[:_MAX_SHOWN].replace("~", "~0").replace("/", "~1") for step in path[:16])
    return ascii(text)[1:-1]


def _expectation(kind: jsonschema_rs.ValidationErrorKind) -> str:
    """What the schema wanted, from the schema alone: the value sent is not repeated."""
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        said = f"required {kind.property}"
    elif kind.name in _TELLING:
        said = f"{kind.name} {kind.value}"
    else:
        said = kind.name  # the value of `anyOf` and its like is the tree of what failed, the value sent included
    return ascii(said[:200])[1:-1]


def _compiled(document: Any) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.Draft202012Validator(
            document,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES),
            validate_formats=False,  # `format` is an annotation in 2020-12
            offline=True,
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "the engine refuses it"
        raise _refused(f"the input schema does not compile: {ascii(reason)[1:-1][:200]}", cause=repr(error)) from error


def _subschemas(
    node: Mapping[str, Any], ones: tuple[str, ...], lists: tuple[str, ...], maps: tuple[str, ...]
) -> list[Any]:
    found = [node[key] for key in ones if key in node]
    for key in lists:
        found += node[key] if isinstance(node.get(key), list) else []
    for key in maps:
        found += node[key].values() if isinstance(node.get(key), Mapping) else []
    return found


class _Bounds:
    """Counts what judging one value can cost, before anything is compiled."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._seen: dict[int, Any] = {}
        self._same: dict[int, list[Any]] = {}
        self._looks: dict[tuple[int, int], int] = {}

    def check(self) -> int:
        self._walk(self._root)
        looks = self._looks_at(self._root, MAX_DEPTH)
        if looks > _MAX_LOOKS:
            raise _refused(
                "the input schema's alternatives multiply with depth",
                hint="have fewer alternatives describe the same property of a recursive schema",
            )
        return looks

    def _walk(self, root: Any) -> None:
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, bool) or id(node) in self._seen:
                continue
            if not isinstance(node, Mapping):
                raise _refused("a subschema is neither an object nor a boolean")
            self._seen[id(node)] = node
            if len(self._seen) > _MAX_SUBSCHEMAS:
                raise _refused(f"the input schema has more than {_MAX_SUBSCHEMAS} subschemas")
            for key in node.keys() & (_SILENT | _FOREIGN):
                raise _refused(f"the keyword `{key}` is not supported", hint="use the keywords of JSON Schema 2020-12")
            if "$id" in node and node is not root:
                raise _refused("a nested `$id` changes what references mean", hint="remove it")
            if "$ref" in node:
                waiting.append(resolve_pointer(self._root, node["$ref"]))
            waiting += _subschemas(
                node,
                (*_SAME_ONE, *_PROPERTY_ONE, *_ITEM_ONE, *_QUESTION),
                (*_SAME_LIST, *_ITEM_LIST),
                (*_SAME_MAP, *_PROPERTY_MAP),
            )
        self._no_cycle_on_one_value()

    def _on_same_value(self, node: Mapping[str, Any]) -> list[Any]:
        found = self._same.get(id(node))
        if found is None:
            found = _subschemas(node, (*_SAME_ONE, "not", "if"), _SAME_LIST, _SAME_MAP)
            if "$ref" in node:
                found.append(resolve_pointer(self._root, node["$ref"]))
            found = self._same[id(node)] = [child for child in found if isinstance(child, Mapping)]
        return found

    def _no_cycle_on_one_value(self) -> None:
        done: set[int] = set()
        for start in self._seen.values():
            if id(start) in done:
                continue
            path: set[int] = {id(start)}
            stack = [(start, iter(self._on_same_value(start)))]
            while stack:
                node, children = stack[-1]
                child = next(children, None)
                if child is None:
                    stack.pop()
                    path.discard(id(node))
                    done.add(id(node))
                elif id(child) in path:
                    raise _refused("a reference leads back to itself without taking a step into the value")
                elif id(child) not in done:
                    path.add(id(child))
                    stack.append((child, iter(self._on_same_value(child))))

    def _looks_at(self, node: Any, depth: int) -> int:
        """At least the number of subschemas that judge one value at `depth` below this one, along the worst path.

        Computed level by level: `level[k]` of a schema is 1 + those on the same value, and one step down at most the
        sum over them, of properties or of items, since a value is an object or a list.
        """
        order = self._inner_first()
        below = dict.fromkeys(order, 0)
        for _ in range(depth + 1):
            here: dict[int, tuple[int, int, int]] = {}  # own looks, through properties, through items
            for key in order:
                schema = self._seen[key]
                own, properties, items = 1, 0, 0
                named = schema.get("properties")
                if isinstance(named, Mapping):
                    properties += max((self._of(child, below) for child in named.values()), default=0)
                for child in _subschemas(schema, (*_PROPERTY_ONE, "propertyNames"), (), ("patternProperties",)):
                    properties += self._of(child, below)
                items += max((self._of(child, below) for child in _subschemas(schema, (), _ITEM_LIST, ())), default=0)
                for child in _subschemas(schema, (*_ITEM_ONE, "contains"), (), ()):
                    items += self._of(child, below)
                for child in self._on_same_value(schema):
                    one, two, three = here[id(child)]
                    own, properties, items = own + one, properties + two, items + three
                here[key] = (own, properties, items)
            level = {key: max(own, properties, items) for key, (own, properties, items) in here.items()}
            if max(level.values()) > _MAX_LOOKS:
                return _MAX_LOOKS + 1
            if level == below:
                break
            below = level
        return below[id(node)]

    @staticmethod
    def _of(child: Any, below: dict[int, int]) -> int:
        return below.get(id(child), 0)

    def _inner_first(self) -> list[int]:
        order: list[int] = []
        done: set[int] = set()
        for start in self._seen.values():
            stack = [(start, False)]
            while stack:
                node, expanded = stack.pop()
                if expanded:
                    if id(node) not in done:
                        done.add(id(node))
                        order.append(id(node))
                elif id(node) not in done:
                    stack.append((node, True))
                    stack += [(child, False) for child in self._on_same_value(node) if id(child) not in done]
        return order


class _Rewriter:
    """Writes a schema anew with numbered definitions, one for each place referred to and way of taking it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._numbers: dict[tuple[str, str], int] = {}
        self._waiting: list[tuple[Any, str, int]] = []

    def document(self, *, closed: bool) -> dict[str, Any]:
        """The schema itself, or its closed copy."""
        made = self._object(self._root, always=True) if closed else self._plain(self._root)
        definitions: dict[str, Any] = {}
        while self._waiting:
            node, way, number = self._waiting.pop()
            definitions[f"d{number}"] = self._part(node, way)
        return {**made, "$defs": definitions} if definitions else made

    def _part(self, node: Any, way: str) -> Any:
        if way == "plain":
            return self._plain(node)
        return self._shared(node, strip=way == "strip")

    def _reference(self, pointer: str, way: str) -> str:
        number = self._numbers.get((pointer, way))
        if number is None:
            number = self._numbers[pointer, way] = len(self._numbers)
            self._waiting.append((resolve_pointer(self._root, pointer), way, number))
        return f"#/$defs/d{number}"

    def _plain(self, node: Any) -> Any:
        """As it is; only references are renumbered."""
        return self._rebuilt(node, self._plain, self._plain, "plain")

    def _object(self, node: Any, *, always: bool = False) -> Any:
        """Where a value of its own begins: closed if it declares properties."""
        if not isinstance(node, Mapping):
            return node
        if not always and not self._declares(node):
            return self._shared(node, strip=False)
        made: dict[str, Any] = self._shared(node, strip=True)
        made["unevaluatedProperties"] = False
        return made

    def _shared(self, node: Any, *, strip: bool) -> Any:
        """One of perhaps several schemas of the same value."""
        if not isinstance(node, Mapping):
            return node
        if strip:
            node = {key: value for key, value in node.items() if key not in _PROPERTY_ONE or value is False}
        return self._rebuilt(
            node,
            lambda child: self._shared(child, strip=strip),
            self._object,
            "strip" if strip else "keep",
        )

    def _rebuilt(self, node: Any, same: Any, inner: Any, way: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        made: dict[str, Any] = {}
        for key, value in node.items():
            if key in _DROPPED:
                continue
            if key == "$ref":
                made[key] = self._reference(value, way)
            elif key == "if" and way != "plain":
                # twice `not`: the same answer, and properties seen in a question stay undeclared
                made[key] = {"not": {"not": self._plain(value)}}
            elif key in _QUESTION:
                made[key] = self._plain(value)
            elif key in _SAME_ONE:
                made[key] = same(value)
            elif key in _SAME_LIST and isinstance(value, list):
                made[key] = [same(child) for child in value]
            elif key in _SAME_MAP and isinstance(value, Mapping):
                made[key] = {name: same(child) for name, child in value.items()}
            elif key in _PROPERTY_ONE or key in _ITEM_ONE:
                made[key] = inner(value)
            elif key in _ITEM_LIST and isinstance(value, list):
                made[key] = [inner(child) for child in value]
            elif key in _PROPERTY_MAP and isinstance(value, Mapping):
                made[key] = {name: inner(child) for name, child in value.items()}
            else:
                made[key] = value
        return made

    def _declares(self, node: Any) -> bool:
        """Whether the schemas of this value together name any property."""
        if not isinstance(node, Mapping):
            return False
        if any(node.get(key) for key in _PROPERTY_MAP):
            return True
        children = _subschemas(node, _SAME_ONE, _SAME_LIST, _SAME_MAP)
        if "$ref" in node:
            children.append(resolve_pointer(self._root, node["$ref"]))
        return any(self._declares(child) for child in children)
