"""Random names for users and tasks in the log's clear text; whom they stand for is kept in an erasable table."""

from __future__ import annotations

from collections.abc import Iterable

from accredit.audit.model import Pseudonym
from accredit.kernel.ids import IdSource

__all__ = ["Pseudonyms"]


class Pseudonyms:
    """Gives the same name for the same user or task, and a new one to whoever is new.

    A new mapping travels with the entry that first uses it and becomes durable with it. If that entry is never
    written, the next one with the same user carries the mapping again.
    """

    def __init__(self, ids: IdSource, known: Iterable[Pseudonym] = ()) -> None:
        self._ids = ids
        self._known = {(one.kind, one.value): one for one in known}
        self._durable = set(self._known)

    def of(self, kind: str, value: str) -> tuple[str, Pseudonym | None]:
        """The name, and the mapping if it is not known to be durable yet."""
        found = self._known.get((kind, value))
        if found is None:
            found = self._known[kind, value] = Pseudonym(kind, value, self._ids.new("psd"))
        return found.pseudonym, None if (kind, value) in self._durable else found

    def forget(self, names: Iterable[str]) -> None:
        """Their mappings were erased: whoever they stood for is new from here on."""
        gone = set(names)
        for key in [key for key, one in self._known.items() if one.pseudonym in gone]:
            del self._known[key]
            self._durable.discard(key)

    def became_durable(self, mappings: Iterable[Pseudonym]) -> None:
        """The entry that carried these was written."""
        self._durable |= {(one.kind, one.value) for one in mappings}
