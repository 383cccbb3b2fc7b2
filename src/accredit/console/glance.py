"""What a voter asks first about an agent's version, picked from the very view the vote is bound to. Pure.

Nothing is computed or added: each value stands in the view as well, which the page shows whole below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Glance", "GlanceTool", "glance_of"]

_PARTS: Final = ("access", "agent", "manifest", "tier", "tools")
_FACTS: Final = (
    ("Autonomy", "autonomy"),
    ("Who meets it", "audience"),
    ("Who puts text in front of it", "inputs"),
    ("How far it reaches", "reach"),
    ("Data it declares", "data"),
    ("Models", "models"),
    ("Stores", "stores"),
    ("Agents it may call", "delegates"),
    ("Hours", "hours"),
    ("Limits", "limits"),
    ("Expires", "expires"),
    ("What may change without another vote", "envelope"),
    ("Business service", "businessService"),
)


@dataclass(frozen=True, slots=True)
class GlanceTool:
    """One granted tool or model: what it is, and what would become of a call of it."""

    facts: Mapping[str, Any]
    outcome: str
    policies: Sequence[str]
    conditions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Glance:
    """The same values as in the view, in the order of the questions."""

    purpose: Any
    facts: tuple[tuple[str, Any], ...]
    tools: tuple[GlanceTool, ...]
    models: tuple[GlanceTool, ...]
    tier: Mapping[str, Any]
    changes: tuple[tuple[str, Any, Any], ...]
    """What the newer declaration says otherwise: field, before, now. Empty where it replaces nothing."""
    reasons: tuple[Mapping[str, Any], ...]
    """What each change is, facet by facet, and whether it must be looked at (`registry.changes`)."""
    replaces: str | None
    """Digest of the version in force."""


def glance_of(view: Mapping[str, Any]) -> Glance | None:
    """None if the view is about something else than an agent's version."""
    grounds = view.get("grounds")
    if not isinstance(grounds, Mapping) or not all(grounds.get(part) for part in _PARTS if part != "tools"):
        return None
    spec = grounds["manifest"]["spec"]
    access = grounds["access"]
    judged = (*access["rows"], *(access.get("models") or ()))
    rows = {row["tool"]: row for row in judged if row["data_class"] is None}
    before = grounds.get("replaces")
    earlier = before["manifest"]["spec"] if before else {}
    changed = sorted(name for name in {*spec, *earlier} if spec.get(name) != earlier.get(name)) if before else []
    return Glance(
        purpose=spec.get("purpose"),
        facts=(
            *((label, spec.get(name)) for label, name in _FACTS),
            *((("Stores nobody can certify", found),) if (found := grounds.get("stores")) else ()),
        ),
        tools=tuple(_tool(one, rows.get(one["tool"], {})) for one in grounds.get("tools") or ()),
        models=tuple(_tool(one, rows.get(one["tool"], {})) for one in grounds.get("models") or ()),
        tier=grounds["tier"],
        changes=tuple((name, earlier.get(name), spec.get(name)) for name in changed),
        reasons=tuple(before.get("changes") or ()) if before else (),
        replaces=before["version"] if before else None,
    )


def _tool(facts: Mapping[str, Any], row: Mapping[str, Any]) -> GlanceTool:
    return GlanceTool(
        facts, row.get("outcome") or "not registered", row.get("policies") or (), row.get("conditions") or ()
    )
