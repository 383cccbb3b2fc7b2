"""A LanceDB directory whose tables are the namespaces.

Every change is a new version, and a deleted row stays in its data file, marked as deleted: neither `optimize` nor
cleaning up old versions rewrites the file. So finishing writes every row that is left anew, in place, and then drops
every older version with its files; an index is brought up to date with it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import Capabilities, Finished, Holding, Item, ItemPage, Residue
from accredit.registry.model import Store
from accredit.storage.stores.reading import OffsetPages, item_of, missing
from accredit.storage.stores.residue import searched

__all__ = ["LanceStore"]

_TABLE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}")
_MOST_AT_ONCE: Final = 500


class LanceStore:
    """Items as rows; what is no text, number or time, such as a vector, is not read."""

    def __init__(self, store: Store, path: Path) -> None:
        try:
            import lancedb  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing("store-lancedb", "lancedb") from error
        if not path.is_dir():
            raise UnavailableError(Code.STORE_UNREACHABLE, "there is no such directory")
        self._store, self._path, self._version = store, path, str(lancedb.__version__)
        self._pages: dict[str, OffsetPages] = {}
        with _said():
            self._database = lancedb.connect(str(path))

    @property
    def version(self) -> str:
        return f"lancedb {self._version}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            filter_by=("agent", "user", "time"),
            assign=True,
            compact=True,
            drop=True,
            residual_probe=True,
            versions=True,
        )

    def inventory(self) -> Sequence[Holding]:
        with _said():
            tables = ((name, self._database.open_table(name)) for name in self._names())
            return [Holding(name, table.count_rows()) for name, table in tables if self._has_items(table)]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        pages = self._pages.setdefault(namespace, OffsetPages())
        start = pages.start(after)
        with _said():
            table = self._table(namespace)
            if table is None:
                return ItemPage((), None)
            rows = table.search().select(self._columns(table)).offset(start).limit(limit).to_list()
        items = tuple(self._item(row) for row in rows)
        return ItemPage(items, pages.following(start, items, limit))

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        with _said():
            table = self._table(namespace)
            if table is None or not ids:
                return ()
            found = table.search().select(self._columns(table)).where(self._among(table, ids)).limit(len(ids))
            return tuple(self._item(row) for row in found.to_list())

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        with _said():
            table = self._table(namespace)
            if table is None:
                return
            before = table.count_rows()
            for start in range(0, len(ids), _MOST_AT_ONCE):
                table.delete(self._among(table, ids[start : start + _MOST_AT_ONCE]))
            self._pages.setdefault(namespace, OffsetPages()).note(before - table.count_rows())

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        with _said():
            table = self._table(namespace)
            if table is None or field not in table.schema.names:
                raise InvalidInputError(Code.BODY_MALFORMED, f"`{field[:80]}` is no column")
            table.update(where=self._among(table, ids), values={field: value})

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        copies = ("backups of the directory",)
        with _said():
            table = self._table(namespace)
            if table is None:
                return Finished(("drop",), copies)
            if empty and not table.count_rows():
                self._database.drop_table(namespace)
                return Finished(("drop",), copies)
            key = self._store.id_field
            table.update(where="true", values_sql={key: key})
            table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
        return Finished(("rewrite", "version-cleanup"), copies)

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del namespace
        return searched(
            self._path, markers, but="; pages that are compressed cannot be searched, and older ones are gone"
        )

    def close(self) -> None:
        """Nothing is open."""

    def _names(self) -> list[str]:
        return [name for name in self._database.table_names(limit=10_000) if _TABLE.fullmatch(name)]

    def _table(self, namespace: str) -> Any | None:
        if not _TABLE.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no table")
        return self._database.open_table(namespace) if namespace in self._names() else None

    def _has_items(self, table: Any) -> bool:
        return {self._store.id_field, self._store.text_field} <= set(table.schema.names)

    @staticmethod
    def _columns(table: Any) -> list[str]:
        return [field.name for field in table.schema if not _is_vector(str(field.type))][:100]

    def _among(self, table: Any, ids: Sequence[str]) -> str:
        key = self._store.id_field
        if str(table.schema.field(key).type) not in {"string", "large_string"}:
            numbers = [one for one in ids if re.fullmatch(r"-?[0-9]{1,19}", one)]
            return f"{key} IN ({', '.join(numbers) or 'NULL'})"
        quoted = ", ".join("'" + one.replace("'", "''") + "'" for one in ids)
        return f"{key} IN ({quoted})"

    def _item(self, row: dict[str, Any]) -> Item:
        key, text = str(row.pop(self._store.id_field)), row.pop(self._store.text_field, "")
        return item_of(key, text, row, created=self._store.created_field)


def _is_vector(kind: str) -> bool:
    return kind.startswith(("fixed_size_list", "list", "binary", "large_binary", "fixed_size_binary"))


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UnavailableError(Code.STORE_UNREACHABLE, f"LanceDB refuses: {str(error)[:200]}") from error
