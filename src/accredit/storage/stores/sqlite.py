"""A SQLite database whose tables are the namespaces.

Deleted bytes stay in pages and in the write-ahead log until they are overwritten: so `secure_delete` is on, and
finishing empties the log, rewrites the file and empties the log again.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import Capabilities, Finished, Holding, Item, ItemPage, Residue
from accredit.registry.model import Store
from accredit.storage.stores.reading import bounded, moment_us
from accredit.storage.stores.residue import searched

__all__ = ["SqliteItemStore"]

_BUSY_MS: Final = 5_000
_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MOST_AT_ONCE: Final = 500
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_BLOB: Final = re.compile(r"x'(?:[0-9a-f]{2}){1,500}'")


class SqliteItemStore:
    """Items as rows; the key is the registered id field, which must be unique."""

    def __init__(self, store: Store, path: Path) -> None:
        if not path.is_file():
            raise UnavailableError(Code.STORE_UNREACHABLE, "there is no such database")
        self._store = store
        self._path = path
        with self._said():
            self._database = sqlite3.connect(
                f"file:{_quoted(path)}?mode=rw", uri=True, check_same_thread=False, isolation_level=None
            )
            self._database.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            self._database.execute("PRAGMA secure_delete=ON")

    @property
    def version(self) -> str:
        return f"sqlite {sqlite3.sqlite_version}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            filter_by=("agent", "user", "time"), assign=True, compact=True, drop=False, residual_probe=True
        )

    def inventory(self) -> Sequence[Holding]:
        with self._said():
            tables = [
                name
                for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name")
                if _TABLE.fullmatch(name) and not name.startswith("sqlite_") and self._has_items(name)
            ]
            return [
                Holding(name, self._database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608 - the name has the form of one
                for name in tables
            ]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        table, key = self._table(namespace), self._store.id_field
        with self._said():
            if not self._there(table):
                return ItemPage((), None)
            where, start = ("", ()) if after is None else (f'WHERE "{key}" > ?', (_place(after),))
            found = self._database.execute(
                f'SELECT * FROM "{table}" {where} ORDER BY "{key}" LIMIT ?',  # noqa: S608 - names have the form of names
                (*start, limit),
            )
            names, rows = [column[0] for column in found.description], found.fetchall()
        last = rows[-1][names.index(key)] if len(rows) == limit else None
        return ItemPage(tuple(self._items(names, rows)), None if last is None else _cursor(last))

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        table, key = self._table(namespace), self._store.id_field
        keys = [form for one in ids[:_MOST_AT_ONCE] for form in _forms(one)]
        with self._said():
            if not self._there(table):
                return ()
            found = self._database.execute(
                f'SELECT * FROM "{table}" WHERE "{key}" IN ({",".join("?" * len(keys))})',  # noqa: S608 - as above
                keys,
            )
            return tuple(self._items([column[0] for column in found.description], found.fetchall()))

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        table, key = self._table(namespace), self._store.id_field
        with self._said():
            if not self._there(table):
                return
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(
                    f'DELETE FROM "{table}" WHERE "{key}" = ?',  # noqa: S608 - as above
                    ((form,) for one in ids for form in _forms(one)),
                )
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        table, key = self._table(namespace), self._store.id_field
        if not _TABLE.fullmatch(field):
            raise InvalidInputError(Code.BODY_MALFORMED, f"`{field[:80]}` is no column")
        with self._said():
            self._database.executemany(
                f'UPDATE "{table}" SET "{field}" = ? WHERE "{key}" = ?',  # noqa: S608 - as above
                ((value, form) for one in ids for form in _forms(one)),
            )

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        del namespace, empty  # the file is rewritten whole; an empty table holds nothing
        with self._said():
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._database.execute("VACUUM")
            busy, *_ = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise UnavailableError(
                Code.STORE_UNREACHABLE, "another process keeps the write-ahead log from being emptied"
            )
        return Finished(("secure-delete", "vacuum", "wal-truncate"), ("backups of the database file",))

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del namespace
        return searched(self._path, markers)

    def close(self) -> None:
        self._database.close()

    # -- reading rows

    def _items(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[Item]:
        for row in rows:
            read = dict(zip(names, row, strict=True))
            if read[self._store.id_field] is None:
                raise UnavailableError(Code.STORE_UNTRUSTED, "a row has no id, so it could not be deleted by one")
            yield self._item(read)

    def _item(self, row: dict[str, Any]) -> Item:
        store = self._store
        text, whole = bounded(row.pop(store.text_field, ""))
        created = row.get(store.created_field) if store.created_field is not None else None
        key = _spelled(row.pop(store.id_field))
        fields = {name: bounded(value, 1_000)[0] for name, value in row.items() if value is not None}
        return Item(key, text, fields, moment_us(created), whole)

    def _table(self, namespace: str) -> str:
        if not _TABLE.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no table")
        return namespace

    def _there(self, table: str) -> bool:
        known = self._database.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (table,))
        return known.fetchone() is not None

    def _has_items(self, table: str) -> bool:
        columns = {row[1] for row in self._database.execute(f'PRAGMA table_info("{table}")')}
        return self._store.id_field in columns and self._store.text_field in columns

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"the database refuses: {str(error)[:200]}") from error


def _spelled(key: object) -> str:
    return f"x'{key.hex()}'" if isinstance(key, bytes) else str(key)


def _forms(key: str) -> Iterator[object]:
    """What may be stored under an id: a column without a type tells numbers from text. An index finds each."""
    yield key
    if _NUMBER.fullmatch(key):
        yield int(key)
    if _BLOB.fullmatch(key):
        yield bytes.fromhex(key[2:-1])


def _cursor(key: object) -> str:
    return f"{'i' if isinstance(key, int) else 'b' if isinstance(key, bytes) else 't'}{_spelled(key)}"


def _place(cursor: str) -> object:
    kind, key = cursor[:1], cursor[1:]
    if kind == "t":
        return key
    *_, form = _forms(key)
    return form


def _quoted(path: Path) -> str:
    return os.fspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
