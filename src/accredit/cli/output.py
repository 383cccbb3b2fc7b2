"""How answers are shown: a table for people, JSON or YAML for programs. Text from agents and tools is only data."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

__all__ = ["Format", "plain", "show"]


class Format(StrEnum):
    """`-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


_DECEIVING = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def plain(value: Any, *, limit: int | None = 120) -> str:
    """One line a terminal cannot be fooled by: control, bidi and zero-width characters are shown escaped."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    shown = "".join(
        character if unicodedata.category(character) not in _DECEIVING else
        character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )  # fmt: skip
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def show(value: Any, output: Format, *, columns: Sequence[str] = ()) -> None:
    """Print an answer; `columns` choose and order what a table shows."""
    if output is Format.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=True))
    elif output is Format.YAML:
        import yaml  # noqa: PLC0415 - most commands never need it

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=False), end="")
    else:
        _table(value, columns)


def _table(value: Any, columns: Sequence[str]) -> None:
    rows = value.get("items") if isinstance(value, Mapping) else value
    if isinstance(rows, list):
        names = list(columns) or list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))
        cells = [[plain(row.get(name)) for name in names] for row in rows if isinstance(row, Mapping)]
        widths = [max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(names)]
        for line in [[name.upper() for name in names], *cells]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if not cells:
            print("(none)", file=sys.stderr)
    elif isinstance(value, Mapping):
        width = max((len(str(key)) for key in value), default=0)
        for key, item in value.items():
            print(f"{str(key).ljust(width)}  {plain(item, limit=2000)}")
    elif value is not None:
        print(plain(value, limit=10_000))
