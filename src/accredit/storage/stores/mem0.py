"""A memory service with mem0's HTTP interface; a namespace is the `agent_id` that its memories are kept under.

Not verified against a real service: tests play its documented contract. What lies behind the service (its vector
store, its graph, its history of changes) has rules of its own, so whether bytes are left cannot be checked from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import (
    Capabilities,
    Finished,
    Holding,
    Item,
    ItemPage,
    ResidualBytes,
    Residue,
)
from accredit.registry.model import Store
from accredit.storage.stores.asking import HttpAsking
from accredit.storage.stores.reading import OffsetPages, item_of

__all__ = ["Mem0Store"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,126}")
_PAGE: Final = 100
_NOT_THERE: Final = frozenset({404})


class Mem0Store:
    """Items as memories."""

    def __init__(self, store: Store, headers: Mapping[str, str]) -> None:
        self._store = store
        self._service = HttpAsking(store.location, headers)
        self._pages: dict[str, OffsetPages] = {}

    @property
    def version(self) -> str:
        return "mem0 v1"

    def capabilities(self) -> Capabilities:
        return Capabilities(filter_by=("agent", "user", "session"))

    def inventory(self) -> Sequence[Holding]:
        names = sorted(one for one in self._store.namespaces if not one.endswith("*"))
        return [Holding(name, self._page(name, 0)[1], owner_hint=name) for name in names]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        pages = self._pages.setdefault(namespace, OffsetPages())
        start = pages.start(after)
        found, more = self._page(namespace, start // _PAGE)[0], True
        items = tuple(self._item(one) for one in found[start % _PAGE :][:limit])
        more = len(found) == _PAGE or start % _PAGE + len(items) < len(found)
        return ItemPage(items, pages.following(start, items, len(items)) if more and items else None)

    def _page(self, namespace: str, number: int) -> tuple[list[Mapping[str, Any]], int]:
        if not _NAME.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no agent's id")
        query = {"agent_id": namespace, "page": str(number + 1), "page_size": str(_PAGE)}
        answer = self._service.ask("GET", "/v1/memories/", query=query, absent=_NOT_THERE)
        found = answer.get("results") if isinstance(answer, Mapping) else answer
        if answer is None:
            return [], 0
        if not isinstance(found, list) or len(found) > _PAGE:
            raise UnavailableError(Code.STORE_UNTRUSTED, "the service's answer is no page of memories")
        return found, int(answer.get("count", len(found))) if isinstance(answer, Mapping) else len(found)

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        found = [self._service.ask("GET", _path(one), absent=_NOT_THERE) for one in ids]
        return tuple(self._item(one) for one in found if one and one.get("agent_id", namespace) == namespace)

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        if not _NAME.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no agent's id")
        for one in ids:
            if self._service.ask("DELETE", _path(one), absent=_NOT_THERE) is not None:
                self._pages.setdefault(namespace, OffsetPages()).note(1)

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        del namespace, ids, field, value
        raise InvalidInputError(Code.BODY_MALFORMED, "a memory cannot be given to another agent")

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        del namespace, empty
        copies = ("the service's history of changes", "the vector store behind the service", "the service's backups")
        return Finished((), copies)

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del namespace, markers
        return Residue(ResidualBytes.NOT_CHECKABLE, "what lies behind the service cannot be looked into")

    def close(self) -> None:
        self._service.close()

    def _item(self, memory: Mapping[str, Any]) -> Item:
        fields = {name: value for name, value in memory.items() if name not in {"id", "memory", "metadata"}}
        fields |= memory.get("metadata") or {}
        return item_of(str(memory["id"]), memory.get("memory", ""), fields, created="created_at")


def _path(key: str) -> str:
    return f"/v1/memories/{quote(key, safe='')}/"
