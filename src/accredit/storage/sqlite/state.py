"""Control state in `control.db`: one table of documents and the outbox of their changes.

Rooms define documents; this file knows none of them, so a new kind of document needs no migration. What the rows claim
is proven elsewhere, by the log (docs/adr/0003).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from accredit.audit.ports import OutboxEntry, RowWrite, StateRow
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.storage.sqlite.files import create_private

__all__ = ["SqliteControlStore"]

_APPLICATION_ID: Final = 0x61636372  # "accr"

_MIGRATIONS: Final = (
    # 1. documents, and the changes on their way into the log
    (
        """
        CREATE TABLE state (
            kind TEXT NOT NULL, key TEXT NOT NULL, doc BLOB NOT NULL, digest TEXT NOT NULL, outbox_id TEXT NOT NULL,
            PRIMARY KEY (kind, key)
        )
        """,
        """
        CREATE TABLE outbox (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sealed BLOB, stream TEXT, seq INTEGER
        )
        """,
        "CREATE INDEX outbox_undrained ON outbox (number) WHERE seq IS NULL",
    ),
)
"""Ordered; one that was released is never edited."""

# CAST, because whoever tampers with the file may leave any type in any column, and such a row must still be found
_ROWS: Final = """
    SELECT CAST(kind AS TEXT), CAST(key AS TEXT), CAST(doc AS BLOB), CAST(digest AS TEXT), CAST(outbox_id AS TEXT)
    FROM state
"""
_PUT: Final = "INSERT OR REPLACE INTO state (kind, key, doc, digest, outbox_id) VALUES (?, ?, ?, ?, ?)"


class SqliteControlStore:
    """A `ControlStore` in one SQLite file. Opened read-only it serves `doctor` and `export` beside a running server."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        if not read_only:
            create_private(path)
        with self._wrapped():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
            self._database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        # text that is no UTF-8 was not written here: it must be shown as another key, not stop the reading
        self._database.text_factory = lambda raw: raw.decode(errors="replace")
        try:
            with self._wrapped():
                if read_only:
                    self._require_version()
                else:
                    self._prepare()
        except BaseException:
            self._database.close()
            raise

    def rows(self) -> Iterator[StateRow]:
        with self._wrapped():
            for kind, key, doc, digest, outbox_id in self._database.execute(_ROWS):
                yield StateRow(kind, key, doc, digest, outbox_id)

    def undrained(self) -> Sequence[OutboxEntry]:
        with self._wrapped():
            found = self._database.execute(
                "SELECT CAST(id AS TEXT), CAST(sealed AS BLOB) FROM outbox WHERE seq IS NULL ORDER BY number"
            ).fetchall()
        return [OutboxEntry(entry_id, sealed or b"") for entry_id, sealed in found]

    def commit(self, entry: OutboxEntry, writes: Sequence[RowWrite]) -> None:
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM outbox WHERE id = ?", (entry.id,)).fetchone():
                return
            database.execute("INSERT INTO outbox (id, sealed) VALUES (?, ?)", (entry.id, entry.sealed))
            for write in writes:
                if write.doc is None:
                    database.execute("DELETE FROM state WHERE kind = ? AND key = ?", (write.kind, write.key))
                else:
                    database.execute(_PUT, (write.kind, write.key, write.doc, write.digest, entry.id))

    def place(self, outbox_id: str, stream: str, seq: int) -> None:
        # not worth a sync of its own: if it is lost, the log is asked for the place at the next start
        with self._wrapped():
            self._database.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._transaction() as database:
                    database.execute(
                        "UPDATE outbox SET sealed = NULL, stream = ?, seq = ? WHERE id = ?", (stream, seq, outbox_id)
                    )
            finally:
                self._database.execute("PRAGMA synchronous = FULL")

    def replace(self, rows: Sequence[StateRow], *, forget: Sequence[str]) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM state")
            database.executemany(_PUT, [(row.kind, row.key, row.doc, row.digest, row.outbox_id) for row in rows])
            database.executemany("DELETE FROM outbox WHERE CAST(id AS TEXT) = ?", [(entry,) for entry in forget])

    def close(self) -> None:
        with self._wrapped():
            self._database.close()

    def _prepare(self) -> None:
        # secure_delete: what is erased or replaced must not linger in free pages
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        version = self._require_version()
        for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
            with self._transaction() as database:
                for statement in statements:
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {number}")

    def _require_version(self) -> int:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        if version > len(_MIGRATIONS) or (version and application != _APPLICATION_ID):
            raise ConflictError(
                Code.CONFLICT,
                f"`{self._path.name}` has schema {version}, this release knows up to {len(_MIGRATIONS)}",
                hint="start the release that wrote it, or restore the backup taken before",
            )
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._wrapped():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # some failures, a full disk for one, have rolled back already
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise UnavailableError(
                Code.DISK_LOW if full else Code.AUDIT_UNAVAILABLE,
                f"`{self._path.name}` cannot be {'written: the disk is full' if full else 'used'}",
                cause=repr(error)[:400],
            ) from error
