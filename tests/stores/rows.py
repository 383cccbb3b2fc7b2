"""What tests put into a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One item as an application would put it."""

    id: str
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)
