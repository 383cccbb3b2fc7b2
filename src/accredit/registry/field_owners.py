"""Who manages which field of an object that several apply: one repository its purpose, another its limits. Pure.

A field is a key of `spec`. Whoever applies under a name manages the fields that its manifest writes and nobody managed
before. What one manages another does not change unless it takes the field over, which is recorded; and a manifest that
leaves a field out says nothing about it if somebody else manages it. A manifest applied under no name manages nothing
and is bound by what others manage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FieldConflict", "Managed", "managed_fields", "managed_from"]


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field that another manages and this manifest would change."""

    field: str
    manager: str


@dataclass(frozen=True, slots=True)
class Managed:
    """What applying a manifest means for who manages what."""

    owners: Mapping[str, str]
    """Manager by field, afterwards."""
    conflicts: tuple[FieldConflict, ...]
    """What is taken over, or keeps the manifest from being applied."""


def managed_from(doc: Mapping[str, Any] | None) -> dict[str, str]:
    """Manager by field, as stored."""
    return {} if doc is None else {field: manager for field, manager in doc["fields"]}  # noqa: C416 - pairs of a list


def managed_fields(
    owners: Mapping[str, str], *, written: Iterable[str], changed: Iterable[str], manager: str | None
) -> Managed:
    """Who manages what once a manifest that writes some fields, and changes some, is applied under a name."""
    told = frozenset(written)
    conflicts = tuple(
        FieldConflict(field, owners[field]) for field in sorted(changed) if owners.get(field, manager) != manager
    )
    after = {field: one for field, one in owners.items() if one != manager or field in told}
    if manager is not None:
        taken = {one.field for one in conflicts}
        after |= {field: manager for field in told if field not in owners or field in taken}
    return Managed(dict(sorted(after.items())), conflicts)
