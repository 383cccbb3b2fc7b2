"""Stores that are slow, down, forgetful, or lie; and one in memory that is none of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.lifecycle.ports import StoreAdapter
from accredit.lifecycle.stored import (
    Capabilities,
    Finished,
    Holding,
    Item,
    ItemPage,
    KeyDestroyed,
    ResidualBytes,
    Residue,
)
from accredit.registry.model import Store

__all__ = ["Shelf", "Shelves", "item"]


def item(at: int, text: str = "", **fields: str) -> Item:
    return Item(f"it-{at:06d}", text or f"note number {at:06d} about a customer's question", fields)


@dataclass
class Shelf:
    """A store in memory. Each fault is something to be switched on."""

    kept: dict[str, dict[str, Item]] = field(default_factory=dict)
    down: bool = False
    keeps: bool = False
    """Says that it deleted, and keeps."""
    hides: bool = False
    """Shows nothing of what it should have deleted, and keeps the bytes."""
    circles: bool = False
    endless: bool = False
    greedy: bool = False
    shuffles: bool = False
    """Gives its items in another order each time."""
    calls: int = 0
    deleted: int = 0
    largest: int = 0
    keys: dict[str, int | None] = field(default_factory=dict)
    """Scopes that have a key, with when it is gone."""
    on_delete: Callable[[int], None] = lambda _: None
    _hidden: set[str] = field(default_factory=set)

    def put(self, namespace: str, items: Iterable[Item]) -> None:
        self.kept.setdefault(namespace, {}).update((one.id, one) for one in items)

    @property
    def version(self) -> str:
        return "shelf 1"

    def capabilities(self) -> Capabilities:
        return Capabilities(assign=True, compact=True, drop=True, residual_probe=True)

    def inventory(self) -> Sequence[Holding]:
        self._require_up()
        return [Holding(name, len(items)) for name, items in sorted(self.kept.items())]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        self._require_up()
        self.calls += 1
        if self.endless:
            return ItemPage((), f"c{self.calls}")
        there = [one for key, one in self.kept.get(namespace, {}).items() if key not in self._hidden]
        there.sort(key=lambda one: one.id)
        if self.greedy:
            return ItemPage(tuple(there) * 300, None)
        if self.circles:
            return ItemPage(tuple(there[:limit]), f"c{self.calls % 3}")
        found = tuple(one for one in there if after is None or one.id > after)[:limit]
        self.largest = max(self.largest, len(found))
        following = found[-1].id if len(found) == limit else None
        return ItemPage(found[::-1] if self.shuffles and self.calls % 2 else found, following)

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        self._require_up()
        return [self.kept[namespace][one] for one in ids if one in self.kept.get(namespace, {})]

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        self._require_up()
        self.deleted += len(ids)
        if self.hides:
            self._hidden |= set(ids)
        elif not self.keeps:
            for one in ids:
                self.kept.get(namespace, {}).pop(one, None)
        self.on_delete(self.deleted)

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        self._require_up()
        for one in ids:
            before = self.kept[namespace][one]
            self.kept[namespace][one] = Item(before.id, before.text, {**before.fields, field: value})

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        self._require_up()
        if empty and not self.kept.get(namespace):
            self.kept.pop(namespace, None)
        return Finished(("compact",), ("backups of the shelf",))

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        self._require_up()
        texts = [one.text.encode() for items in self.kept.values() for one in items.values()]
        found = any(marker in text for marker in markers for text in texts)
        return Residue(ResidualBytes.FOUND if found else ResidualBytes.NONE, f"{len(markers)} samples searched")

    def close(self) -> None:
        """Nothing is open."""

    def _require_up(self) -> None:
        if self.down:
            raise UnavailableError(Code.STORE_UNREACHABLE, "the shelf is down")


@dataclass
class Shelves:
    """`StoreAdapters` of named shelves."""

    of: Mapping[str, StoreAdapter]

    async def open(self, store: Store) -> StoreAdapter:
        return self.of[store.name]

    async def destroy_key(self, store: Store, scope: str) -> KeyDestroyed:
        shelf = self.of[store.name]
        if not isinstance(shelf, Shelf) or scope not in shelf.keys:
            raise UnavailableError(Code.STORE_UNREACHABLE, "no such key")
        return KeyDestroyed(scope, "fp-1", shelf.keys[scope])

    async def key_gone(self, store: Store, ordered: KeyDestroyed) -> KeyDestroyed:
        return await self.destroy_key(store, ordered.scope)
