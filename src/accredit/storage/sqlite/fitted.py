"""Sessions of baselines, in `baselines.db`: apart from profiles, which can be made again when these are gone.

Nothing in it is trusted: what is kept under a digest counts if it has that digest. Whoever takes the file away makes
the server look for the sessions among the profiles, and tell people of each baseline that is not proven any more.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.storage.sqlite.files import create_private

__all__ = ["SqliteFittedStore"]

_FORMAT: Final = 1
_APPLICATION_ID: Final = 0x61636362  # "accb"
_SCHEMA: Final = "CREATE TABLE fitted (digest TEXT PRIMARY KEY, kept BLOB NOT NULL)"


class SqliteFittedStore:
    """A `FittedStore` in one SQLite file. From any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is not there.

        Raises:
            UnavailableError: it cannot be used.
            ConflictError: another release wrote it.
        """
        self._path = path
        self._alone = threading.Lock()
        create_private(path)
        with self._wrapped():
            uri = f"{path.absolute().as_uri()}?mode=rw"
            self._database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            with self._wrapped():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def put(self, digest: Digest, kept: bytes) -> None:
        with self._alone, self._wrapped():
            self._database.execute("INSERT OR REPLACE INTO fitted (digest, kept) VALUES (?, ?)", (digest, kept))

    def get(self, digest: Digest) -> bytes | None:
        with self._alone, self._wrapped():
            row = self._database.execute("SELECT kept FROM fitted WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def keep_only(self, digests: Collection[Digest]) -> int:
        with self._alone, self._wrapped():
            kept = [digest for (digest,) in self._database.execute("SELECT digest FROM fitted").fetchall()]
            over = [(digest,) for digest in kept if digest not in digests]
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("DELETE FROM fitted WHERE digest = ?", over)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        return len(over)

    def close(self) -> None:
        with self._alone, self._wrapped():
            self._database.close()

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        if version not in {0, _FORMAT} or (version and application != _APPLICATION_ID):
            raise ConflictError(
                Code.CONFLICT,
                f"`{self._path.name}` was written in a format this release does not know",
                hint="start the release that wrote it, or move it away: baselines are then looked for in the profiles",
            )
        if version == 0:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(_SCHEMA)
            self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._database.execute(f"PRAGMA user_version = {_FORMAT}")
            self._database.execute("COMMIT")

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise UnavailableError(
                Code.DISK_LOW if full else Code.AUDIT_UNAVAILABLE,
                f"`{self._path.name}` cannot be {'written: the disk is full' if full else 'used'}",
                hint="" if full else "a damaged file can be moved away: baselines are then looked for in the profiles",
                cause=repr(error)[:400],
            ) from error
