"""The requirements manifest: every promised behaviour, where the promise stands, and (by mark) the tests of it.

Each room has a module here with `REQUIREMENTS: tuple[Requirement, ...]`. A test names the entries it proves with
`@pytest.mark.requirement("area:feature:variant")`. `tests/architecture/test_requirements.py` checks both directions.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

__all__ = ["Requirement", "all_requirements"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One promise."""

    id: str
    """`area:feature:variant`."""
    source: str
    """Where it is promised: `DESIGN §3.11`, `RFC 8693 §4.1`, `trap policy-engines §3.1`, `threat …`."""
    behaviour: str
    """One sentence."""


def all_requirements() -> dict[str, Requirement]:
    """Every entry by id; an id defined twice is an error."""
    found: dict[str, Requirement] = {}
    for module in pkgutil.iter_modules(__path__):
        for entry in importlib.import_module(f"{__name__}.{module.name}").REQUIREMENTS:
            assert entry.id not in found, f"requirement {entry.id} is defined twice"
            found[entry.id] = entry
    return found
