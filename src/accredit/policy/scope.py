"""The scope of a policy: three constraints read from the engine's own syntax tree, never from text.

Slicing stands on this being exactly the engine's meaning of a scope, so every form is named here and whatever is
not one of them is refused when the policy is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Constraint", "EntityName", "Scope", "read_scope"]


class EntityName(NamedTuple):
    """An entity's type and id."""

    type: str
    id: str

    def __str__(self) -> str:
        return f'{self.type}::"{self.id}"'


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint: `is` a type, and `==` or `in` any of some entities. None means no such demand."""

    type: str | None = None
    entities: tuple[EntityName, ...] | None = None
    exact: bool = False

    def admits(self, name: EntityName, ancestors: frozenset[EntityName]) -> bool:
        """Whether an entity with these ancestors (itself among them) satisfies the constraint."""
        if self.type is not None and name.type != self.type:
            return False
        if self.entities is None:
            return True
        return name in self.entities if self.exact else any(entity in ancestors for entity in self.entities)

    @property
    def free(self) -> bool:
        """Whether every entity (of a type) satisfies it."""
        return self.entities is None


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom, what and on what a policy speaks about."""

    principal: Constraint
    action: Constraint
    resource: Constraint


def _refuse(part: str) -> InvalidInputError:
    return InvalidInputError(
        Code.POLICY_INVALID,
        f"the {part} scope has a form that cannot be sliced",
        hint="use `==`, `in`, `is` or `is … in`",
    )


def _entity(node: Any, part: str, slots: Mapping[str, EntityName]) -> EntityName:
    match node:
        case {"entity": {"type": str(kind), "id": str(name), **more}, **rest} if not more and not rest:
            return EntityName(kind, name)
        case {"slot": str(slot), **rest} if not rest and slot in slots:
            return slots[slot]
    raise _refuse(part)


def _constraint(node: Any, part: str, slots: Mapping[str, EntityName]) -> Constraint:
    match node:
        case {"op": "All", **rest} if not rest:
            return Constraint()
        case {"op": "==" | "in" as op, **rest} if rest.keys() in ({"entity"}, {"slot"}):
            return Constraint(entities=(_entity(rest, part, slots),), exact=op == "==")
        case {"op": "in", "entities": list(entities), **rest} if not rest and part == "action":
            return Constraint(entities=tuple(_entity({"entity": entity}, part, slots) for entity in entities))
        case {"op": "is", "entity_type": str(kind), **rest} if not rest and part != "action":
            return Constraint(type=kind)
        case {"op": "is", "entity_type": str(kind), "in": inner, **rest} if not rest and part != "action":
            return Constraint(type=kind, entities=(_entity(inner, part, slots),))
    raise _refuse(part)


def read_scope(tree: Mapping[str, Any], slots: Mapping[str, EntityName] | None = None) -> Scope:
    """The scope of a policy's syntax tree; `slots` fills a template's.

    Raises:
        InvalidInputError: a constraint has an unknown form or an unfilled slot.
    """
    filled = slots or {}
    return Scope(*(_constraint(tree.get(part), part, filled) for part in ("principal", "action", "resource")))
