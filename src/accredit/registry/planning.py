"""What applying manifests would do, object by object, before anything of it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accredit.registry.errors import ManifestFault
from accredit.registry.manifest import Document, TemplateManifest
from accredit.registry.model import AgentVersion
from accredit.registry.proposals import Proposal
from accredit.registry.restating import Restated

__all__ = ["FieldChange", "PlannedAction", "PlannedObject", "field_changes", "object_name"]


class PlannedAction(StrEnum):
    """What would become of an object."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of an object, before and after; None where it is not said."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """One manifest and what applying it would do."""

    document: Document
    action: PlannedAction
    changes: tuple[FieldChange, ...] = ()
    proposal: Proposal | None = None
    """It takes two persons: what they would sign off."""
    faults: tuple[ManifestFault, ...] = ()
    agent: str | None = None
    """The id of an agent that is there already."""
    version: AgentVersion | None = None
    """Of an agent: the version it would declare."""
    taken_over: tuple[tuple[str, str], ...] = ()
    """(Field, who manages it now): taken over by force."""

    @property
    def kind(self) -> str:
        return self.document.kind

    @property
    def name(self) -> str:
        return object_name(self.document)

    @property
    def environment(self) -> str | None:
        return getattr(getattr(self.document, "metadata", None), "environment", None)


def object_name(document: Document) -> str:
    """How an object is called; a person by the address, a template by its team too."""
    metadata = getattr(document, "metadata", None)
    if isinstance(document, TemplateManifest):
        return f"{document.metadata.team}/{document.metadata.name}"
    return str(metadata.name if metadata is not None else document.spec.email)  # type: ignore[union-attr]  # persons


def field_changes(before: Restated | None, after: Restated | None) -> tuple[FieldChange, ...]:
    """The fields in which two statements of an object differ: keys of `spec`, and what stands beside it."""
    old, new = _fields(before), _fields(after)
    return tuple(
        FieldChange(field, old.get(field), new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field)
    )


def _fields(stated: Restated | None) -> Mapping[str, Any]:
    if stated is None:
        return {}
    beside = {f"metadata.{key}": value for key, value in (stated.document.get("metadata") or {}).items()}
    return {**beside, **stated.document["spec"]}
