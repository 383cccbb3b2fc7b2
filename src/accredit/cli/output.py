"""How answers are shown: a table for people, JSON or YAML for programs. Text from agents and tools is only data."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final

__all__ = ["NO_PARTS", "Format", "Parts", "plain", "show"]

Parts = Mapping[str, Sequence[str]]
"""The columns of lists that stand within something, by the names of those."""
NO_PARTS: Final[Parts] = {}


class Format(StrEnum):
    """`-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


_DECEIVING: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})
_NOTHING: Final = "-"
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_BRIEF: Final = len("sha256:") + 12


def plain(value: Any, *, limit: int | None = 120) -> str:
    """One line a terminal cannot be fooled by: control, bidi and zero-width characters are shown escaped."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    shown = "".join(
        character if unicodedata.category(character) not in _DECEIVING else
        character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )  # fmt: skip
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def show(value: Any, output: Format, *, columns: Sequence[str] = (), parts: Parts = NO_PARTS) -> None:
    """Print an answer; `columns` choose and order what a table shows of a list, `parts` of the lists within."""
    if output is Format.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=True))
    elif output is Format.YAML:
        import yaml  # noqa: PLC0415 - most commands never need it

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=False), end="")
    else:
        _table(value, columns, parts)


def _table(value: Any, columns: Sequence[str], parts: Parts) -> None:
    rows = value.get("items") if isinstance(value, Mapping) else value
    if isinstance(rows, list):
        names = list(columns) or _names(rows)
        cells = [[[_cell(_brief(row.get(name)))] for name in names] for row in rows if isinstance(row, Mapping)]
        _print_rows(names, cells, "")
        if not rows:
            print("(none)", file=sys.stderr)
    elif isinstance(value, Mapping):
        _print_fields(value, parts, "")
    elif value is not None:
        print(plain(value, limit=10_000))


def _print_fields(fields: Mapping[str, Any], parts: Parts, indent: str) -> None:
    """What is one line first, then each part under its name."""
    lines = {str(key): one for key, one in fields.items() if not _is_part(one)}
    width = max(map(len, map(plain, lines)), default=0)
    for key, one in lines.items():
        print(f"{indent}{plain(key).ljust(width)}  {_cell(one, limit=2000) or _NOTHING}")
    for key, one in fields.items():
        if not _is_part(one):
            continue
        print(f"{indent}{plain(str(key))}")
        if isinstance(one, Mapping):
            _print_fields(one, parts, f"{indent}  ")
        else:
            chosen = parts.get(key) or _names(one)
            names = [name for name in chosen if any(row.get(name) not in _EMPTY for row in one)]
            _print_rows(names, [[_lines(row.get(name)) for name in names] for row in one], f"{indent}  ")


def _print_rows(names: Sequence[str], rows: Sequence[Sequence[Sequence[str]]], indent: str) -> None:
    """Rows of cells; a cell may have several lines."""
    head = [[plain(name.upper())] for name in names]
    widths = [max(len(line) for row in (head, *rows) for line in row[at]) for at in range(len(names))]
    for row in (head, *rows):
        for line in zip_longest(*row, fillvalue=""):
            padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print(f"{indent}{padded}".rstrip())


def _names(rows: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(str(key) for row in rows if isinstance(row, Mapping) for key in row))


def _is_part(value: Any) -> bool:
    """Whether something takes more than a line: a mapping, or a list of them."""
    return bool(value) and (isinstance(value, Mapping) or (isinstance(value, list) and _all_mappings(value)))


def _all_mappings(values: Sequence[Any]) -> bool:
    return all(isinstance(one, Mapping) for one in values)


def _lines(value: Any) -> list[str]:
    """A cell of a part: a list takes a line for each of what it holds."""
    if isinstance(value, list) and value and not _all_mappings(value):
        return [_cell(_brief(one), limit=300) for one in value]
    return [_cell(_brief(value), limit=300)]


def _brief(value: Any) -> Any:
    """A digest in a row by how it begins: nobody compares digests in columns, and whole ones leave room for nothing."""
    return f"{value[:_BRIEF]}…" if isinstance(value, str) and _DIGEST.fullmatch(value) else value


def _cell(value: Any, *, limit: int = 120) -> str:
    return "" if value in _EMPTY else plain(_phrase(value), limit=limit)


def _phrase(value: Any) -> Any:
    """A list or mapping without its punctuation, if what it holds has none of its own."""
    if value in _EMPTY:
        return _NOTHING
    if isinstance(value, list) and not any(isinstance(one, Mapping | list) for one in value):
        return ", ".join(str(_phrase(one)) for one in value)
    if isinstance(value, Mapping) and not any(isinstance(one, Mapping) for one in value.values()):
        return ", ".join(f"{key}: {_phrase(one)}" for key, one in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
