"""Which stores of an agent nobody could ever certify to be empty of what it kept, and why. Pure.

A receipt says that something is gone only where somebody can look, and tell the agent's from what is others'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from accredit.registry.model import Store

__all__ = ["Uncertifiable", "store_entry", "uncertifiable"]


@dataclass(frozen=True, slots=True)
class Uncertifiable:
    """One entry of a manifest's `stores`."""

    entry: str
    why: str

    def __str__(self) -> str:
        return f"{self.entry}: cannot certify: {self.why}"


def store_entry(declared: Mapping[str, Any]) -> str:
    """What an entry of `stores` is called wherever it is told of."""
    where = declared.get("store") or declared["adapter"]
    return f"{declared['kind']} {where}/{declared.get('namespace') or '?'}"


def uncertifiable(declared: Iterable[Mapping[str, Any]], stores: Mapping[str, Store]) -> tuple[Uncertifiable, ...]:
    """The entries of a manifest's `stores` of which absence cannot be shown, in their order."""
    return tuple(Uncertifiable(store_entry(one), why) for one in declared if (why := _why(one, stores)) is not None)


def _why(declared: Mapping[str, Any], stores: Mapping[str, Store]) -> str | None:
    name = declared.get("store")
    if declared.get("namespace") is None:
        return "it has no namespace, so what is the agent's cannot be told from what is others'"
    if name is None:
        return "it is in no registered store, so nobody can look"
    store = stores.get(name)
    if store is None:
        return f"no store is registered as `{name}`"
    if store.shared and store.owner_field is None:
        return "the namespace is shared, and no field of an item says whose it is"
    return None
