"""The starter library: guardrails of an organisation as readable policies with their tests, to be copied and adapted.

It is a policy directory like any other (`library/`); `accredit policy init` writes a copy. Each file says what it does
and what to adapt. Files that name tools, arguments or claims are refused by `policy lint` until these are yours.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

__all__ = ["starter_files"]

_ROOT: Final = "accredit.policy.starter"


def starter_files() -> dict[str, str]:
    """Every file of the library, by its path in a policy directory."""
    return dict(sorted(_texts(resources.files(_ROOT).joinpath("library"), "")))


def _texts(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found = []
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _texts(entry, f"{path}/")
        elif entry.name.endswith((".cedar", ".toml", ".yaml")):
            found.append((path, entry.read_text(encoding="utf-8")))
    return found
