"""YAML and JSON files as plain values, read strictly: what two readers could understand differently is refused.

YAML is taken from the parser's events, not its constructor: no tags, anchors, aliases or merge keys, no repeated keys,
the scalars of YAML 1.2's core schema only (so `no`, `2027-06-30` and `10:30` are texts), and bounded size, depth and
count before anything is built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import parse_strict

__all__ = ["RawDocument", "read_documents"]

MAX_BYTES = 2**20
_MAX_DEPTH = 32
_MAX_NODES = 100_000
_MAX_DOCUMENTS = 1_000
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,18}|[0-9]{1,18}\.[0-9]{0,18})(?:[eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One document of a file, and the lines its values stand on."""

    value: Any
    lines: dict[tuple[str | int, ...], int]
    """By path; empty for JSON."""


def read_documents(data: bytes) -> tuple[RawDocument, ...]:
    """The documents of a file: JSON (one object or a list of them) if it starts with `{` or `[`, else YAML.

    Raises:
        InvalidInputError: too large, too deep, malformed, or ambiguous.
    """
    if len(data) > MAX_BYTES:
        raise InvalidInputError(Code.MANIFEST_INVALID, f"{len(data)} bytes are more than the {MAX_BYTES} allowed")
    if data.lstrip()[:1] in {b"{", b"["}:
        parsed = parse_strict(data, max_bytes=MAX_BYTES, max_depth=_MAX_DEPTH)
        values = parsed if isinstance(parsed, list) else [parsed]
        if len(values) > _MAX_DOCUMENTS:
            raise _refused(f"more than {_MAX_DOCUMENTS} documents")
        return tuple(RawDocument(value, {}) for value in values)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _refused("the file is not UTF-8", cause=repr(error)) from error
    reader = _YamlReader()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" at line {mark.line + 1}" if mark is not None else ""
        if error.problem and "nesting depth" in error.problem:  # the parser reads ahead, and some builds have a bound
            raise _refused(f"nested deeper than {_MAX_DEPTH} levels{at}", cause=str(error)) from error
        raise _refused(f"not YAML{at}: {error.problem or error.context}", cause=str(error)) from error
    except yaml.YAMLError as error:
        raise _refused("not YAML: a character that may not stand in it", cause=str(error)) from error
    return tuple(reader.documents)


def _refused(text: str, *, cause: str = "", hint: str = "") -> InvalidInputError:
    return InvalidInputError(Code.MANIFEST_INVALID, text[:300], cause=cause, hint=hint)


class _Container:
    """A list or mapping being filled."""

    def __init__(self, value: list[Any] | dict[str, Any], path: tuple[str | int, ...]) -> None:
        self.value = value
        self.path = path
        self.key = ""
        self.keyed = False
        """Whether a mapping's key was read and its value is due."""


class _YamlReader:
    def __init__(self) -> None:
        self.documents: list[RawDocument] = []
        self._open: list[_Container] = []
        self._lines: dict[tuple[str | int, ...], int] = {}
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.AliasEvent):
            raise _refused(f"an alias at line {line}", hint="write the value out")
        if isinstance(event, yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._admit(event, line)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start({}, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start([], line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            ended = self._open.pop()
            if not self._open:
                self._finish(ended.value)

    def _admit(self, event: yaml.NodeEvent, line: int) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _refused(f"more than {_MAX_NODES} values", hint="split the file")
        if event.anchor is not None:
            raise _refused(f"an anchor at line {line}", hint="write the value out")
        if getattr(event, "tag", None) is not None:
            raise _refused(f"a tag at line {line}", hint="leave the tag out; values have their plain types")

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.value, dict) and not parent.keyed:
            key = event.value
            if key in parent.value:
                raise _refused(f"the key `{key[:80]}` is repeated at line {line}", hint="keep one of them")
            parent.key, parent.keyed = key, True
            self._lines[*parent.path, key] = line
            return
        value = _plain(event.value) if event.implicit[0] else event.value  # implicit: neither quoted nor tagged
        if parent is None:
            self._finish(value)
        else:
            self._place(value, line)

    def _start(self, value: list[Any] | dict[str, Any], line: int) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise _refused(f"nested deeper than {_MAX_DEPTH} levels at line {line}")
        if not self._open:
            self._lines = {(): line}
            path: tuple[str | int, ...] = ()
        else:
            parent = self._open[-1]
            if isinstance(parent.value, dict) and not parent.keyed:
                raise _refused(f"a key at line {line} is not a text")
            path = self._place(value, line)
        self._open.append(_Container(value, path))

    def _place(self, value: Any, line: int) -> tuple[str | int, ...]:
        parent = self._open[-1]
        if isinstance(parent.value, list):
            path = (*parent.path, len(parent.value))
            parent.value.append(value)
            self._lines[path] = line
        else:
            path = (*parent.path, parent.key)
            parent.value[parent.key] = value
            parent.keyed = False
        return path

    def _finish(self, value: Any) -> None:
        if value is not None:  # an empty document between two `---`
            if len(self.documents) >= _MAX_DOCUMENTS:
                raise _refused(f"more than {_MAX_DOCUMENTS} documents", hint="split the file")
            self.documents.append(RawDocument(value, self._lines))
        self._lines = {}


def _plain(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
