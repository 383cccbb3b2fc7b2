"""Files of other people's tools as plain values: forgiving of what those tools accept, and bounded. Pure.

Unlike manifests (`registry/reading.py`) these are not ours to refuse: comments, trailing commas, anchors and tags are
read past. Nothing is built from a tag, an alias is the same object once more and never a copy, and merges are counted,
so a text of any making takes work in proportion to its length.
"""

from __future__ import annotations

import ast
import re
import tomllib
import warnings
from typing import Any, Final

import orjson
import yaml

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["as_text", "cells", "dotenv", "front_matter", "json_value", "python_tree", "toml_value", "yaml_values"]

_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 60_000
_MAX_MERGED: Final = 100_000
_MAX_DOCUMENTS: Final = 500
_LOADER: Final[type[Any]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VARIABLE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]{0,120})\s*=\s*(.*)")
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)
_JSON_TOKEN: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"?|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?|[,\]}]|[^"/,\]}]+|/', re.DOTALL
)


def _unreadable(code: Code, text: str) -> InvalidInputError:
    return InvalidInputError(code, text)


def as_text(data: bytes) -> str:
    """A file's text: UTF-8, or UTF-16 that says so.

    Raises:
        InvalidInputError: it is neither, or no text.
    """
    try:
        if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            return data.decode("utf-16")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(Code.BODY_MALFORMED, "not text in UTF-8") from error
    if "\0" in text:
        raise _unreadable(Code.BODY_MALFORMED, "not text")
    return text


def json_value(text: str) -> Any:
    """JSON, with comments and trailing commas where editors allow them.

    Raises:
        InvalidInputError: it is not, or is nested too deep.
    """
    if _depth(text) > _MAX_DEPTH:
        raise _unreadable(Code.BODY_TOO_DEEP, f"nested deeper than {_MAX_DEPTH} levels")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return orjson.loads(_without_comments(text))
    except orjson.JSONDecodeError as error:
        raise _unreadable(Code.BODY_MALFORMED, "not JSON") from error


def _depth(text: str) -> int:
    """At most: brackets within texts and comments count too, if they open more than they close."""
    deepest = depth = 0
    for one in _BRACKETS.finditer(text):
        if one[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif one[0] in "]}":
            depth -= 1
    return deepest


def _without_comments(text: str) -> str:
    kept: list[str] = []
    comma = -1  # the last comma kept, if nothing but space came after it
    for match in _JSON_TOKEN.finditer(text):
        piece = match[0]
        if piece.startswith(("//", "/*")):
            continue
        if piece in {"]", "}"} and comma >= 0:
            kept[comma] = ""
        if piece == ",":
            comma = len(kept)
        elif piece.strip():
            comma = -1
        kept.append(piece)
    return "".join(kept)


def toml_value(text: str) -> dict[str, Any]:
    """TOML.

    Raises:
        InvalidInputError: it is not, or is nested too deep.
    """
    if _depth(text) > _MAX_DEPTH or any(line.count(".") > 1_000 for line in text.split("\n")):
        raise _unreadable(Code.BODY_TOO_DEEP, f"nested deeper than {_MAX_DEPTH} levels")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise _unreadable(Code.BODY_MALFORMED, "not TOML") from error


def yaml_values(text: str) -> list[Any]:
    """The documents of a YAML file; every scalar is a text.

    Raises:
        InvalidInputError: it is not YAML, or too deep or large.
    """
    built = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            built.take(event)
    except yaml.YAMLError as error:
        raise _unreadable(Code.BODY_MALFORMED, "not YAML") from error
    return built.documents


class _Builder:
    def __init__(self) -> None:
        self.documents: list[Any] = []
        self._open: list[tuple[list[Any] | dict[str, Any], list[Any]]] = []
        """Containers being filled, with the key that waits for its value."""
        self._anchors: dict[str, Any] = {}
        self._nodes = self._merged = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}
            if len(self.documents) >= _MAX_DOCUMENTS:
                raise _unreadable(Code.BODY_OVERSIZED, f"more than {_MAX_DOCUMENTS} documents")
        elif isinstance(event, yaml.AliasEvent):
            self._put(self._anchors.get(event.anchor or "", ""))
        elif isinstance(event, yaml.ScalarEvent):
            self._named(event.anchor, event.value)
            self._put(event.value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            made: list[Any] | dict[str, Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._named(event.anchor, made)
            if len(self._open) >= _MAX_DEPTH:
                raise _unreadable(Code.BODY_TOO_DEEP, f"nested deeper than {_MAX_DEPTH} levels")
            self._open.append((made, []))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            made, _ = self._open.pop()
            self._put(made)

    def _named(self, anchor: str | None, value: Any) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _unreadable(Code.BODY_OVERSIZED, f"more than {_MAX_NODES} values")
        if anchor is not None:
            self._anchors[anchor] = value

    def _put(self, value: Any) -> None:
        if not self._open:
            self.documents.append(value)
            return
        into, key = self._open[-1]
        if isinstance(into, list):
            into.append(value)
        elif not key:
            key.append(value if isinstance(value, str) else "")
        else:
            name = key.pop()
            if name == "<<":
                self._merge(into, value)
            else:
                into[name] = value

    def _merge(self, into: dict[str, Any], value: Any) -> None:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and one is not into:
                self._merged += len(one)
                if self._merged > _MAX_MERGED:
                    raise _unreadable(Code.BODY_OVERSIZED, f"merges more than {_MAX_MERGED} values")
                for name, each in tuple(one.items()):
                    into.setdefault(name, each)


def front_matter(text: str) -> Any:
    """What stands in YAML before a text in Markdown; None if nothing does.

    Raises:
        InvalidInputError: as `yaml_values`.
    """
    if not text.startswith("---\n"):
        return None
    head, found, _ = text[4:20_000].partition("\n---")
    values = yaml_values(head) if found else []
    return values[0] if values else None


def dotenv(text: str) -> list[tuple[str, str, int]]:
    """(Name, value, line) of a file of variables."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        match = _VARIABLE.fullmatch(line.strip()[:10_000])
        if match is not None and not line.lstrip().startswith("#"):
            value = match[2].strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found.append((match[1], value[1:-1] if quoted else value.split(" #", 1)[0].strip(), number))
    return found


def cells(text: str) -> str:
    """The Python of a notebook, without lines that speak to the notebook.

    Raises:
        InvalidInputError: it is no notebook.
    """
    value = json_value(text)
    found = value.get("cells") if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise _unreadable(Code.BODY_MALFORMED, "not a notebook")
    sources = []
    for cell in found[:5_000]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            whole = "".join(map(str, source)) if isinstance(source, list) else str(source or "")
            lines = ("" if line.lstrip().startswith(("!", "%", "?")) else line for line in whole.split("\n"))
            sources.append("\n".join(lines))
    return "\n".join(sources)


def python_tree(text: str) -> ast.Module:
    """A Python file as a tree; nothing of it runs.

    Raises:
        InvalidInputError: it is not Python of a version that can be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the file's author would be warned of
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(Code.BODY_MALFORMED, "not Python") from error
