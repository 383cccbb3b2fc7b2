"""Calls that go on, in `deferred.db`: beside control state, so that neither waits for the other's writes.

Nothing in it is needed to decide anything. Whoever takes the file away makes its calls unknown, and states that came
back once could come back again; whoever changes it makes a call unreadable, for each is sealed with all that stands
beside it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from accredit.gateway.ports import DeferredStanding, KeptCall, KeptSize
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.storage.sqlite.files import create_private

__all__ = ["SqliteDeferredCallStore"]

_FORMAT: Final = 1
_APPLICATION_ID: Final = 0x61636364  # "accd"
_SCHEMA: Final = (
    """
    CREATE TABLE calls (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL, standing TEXT NOT NULL,
        expires_us INTEGER NOT NULL, bound TEXT NOT NULL, sealed BLOB NOT NULL
    )
    """,
    "CREATE INDEX calls_expiry ON calls (expires_us)",
    "CREATE TABLE spent (state TEXT PRIMARY KEY, until_us INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX spent_until ON spent (until_us)",
)
_PUT: Final = "INSERT INTO calls (id, agent, standing, expires_us, bound, sealed) VALUES (?, ?, ?, ?, ?, ?)"
_OVER: Final = (
    "SELECT (SELECT count(*) FROM calls WHERE expires_us <= ?1) + (SELECT count(*) FROM spent WHERE until_us <= ?1)"
)


class SqliteDeferredCallStore:
    """A `DeferredCallStore` in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is not there.

        Raises:
            UnavailableError: it cannot be used.
            ConflictError: another release wrote it.
        """
        self._path = path
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

    def sizes(self) -> Sequence[KeptSize]:
        with self._wrapped():
            found = self._database.execute(
                "SELECT id, agent, standing, expires_us, bound, length(sealed) FROM calls ORDER BY number"
            ).fetchall()
        return [size for row in found if (size := _size(row)) is not None]

    def get(self, call: str) -> KeptCall | None:
        with self._wrapped():
            row = self._database.execute(
                "SELECT id, agent, standing, expires_us, bound, sealed FROM calls WHERE id = ?", (call,)
            ).fetchone()
        size = _size((*row[:5], 0)) if row is not None else None
        if size is None or not isinstance(row[5], bytes):
            return None
        return KeptCall(size.id, size.agent, size.standing, size.expires_us, size.bound, row[5])

    def add(self, call: KeptCall) -> None:
        with self._transaction() as database:
            database.execute(_PUT, _row(call))

    def advance(self, call: KeptCall, *, after: DeferredStanding) -> bool:
        with self._transaction() as database:
            taken = database.execute("DELETE FROM calls WHERE id = ? AND standing = ?", (call.id, after.value)).rowcount
            if taken:
                database.execute(_PUT, _row(call))
        return bool(taken)

    def forget(self, calls: Sequence[str]) -> None:
        with self._transaction() as database:
            for call in calls:
                database.execute("DELETE FROM calls WHERE id = ?", (call,))

    def spend(self, state: str, *, until_us: int) -> bool:
        with self._transaction() as database:
            return bool(database.execute("INSERT OR IGNORE INTO spent VALUES (?, ?)", (state, until_us)).rowcount)

    def sweep(self, now_us: int) -> int:
        with self._wrapped():
            (over,) = self._database.execute(_OVER, (now_us,)).fetchone()
        if over:
            with self._transaction() as database:
                database.execute("DELETE FROM calls WHERE expires_us <= ?", (now_us,))
                database.execute("DELETE FROM spent WHERE until_us <= ?", (now_us,))
        return int(over)

    def close(self) -> None:
        with self._wrapped():
            self._database.close()

    def _prepare(self) -> None:
        # secure_delete: arguments and results that were let go of must not linger in free pages
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        if version not in {0, _FORMAT} or (version and application != _APPLICATION_ID):
            raise ConflictError(
                Code.CONFLICT,
                f"`{self._path.name}` was written in a format this release does not know",
                hint="start the release that wrote it, or move it away: the calls in it are then unknown",
            )
        if version == 0:
            with self._transaction() as database:
                for statement in _SCHEMA:
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {_FORMAT}")

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
                hint="" if full else "a damaged file can be moved away: the calls in it are then unknown",
                cause=repr(error)[:400],
            ) from error


def _row(call: KeptCall) -> tuple[Any, ...]:
    return call.id, call.agent, call.standing.value, call.expires_us, json.dumps(call.bound), call.sealed


def _size(row: Sequence[Any]) -> KeptSize | None:
    """None for a row that was not written here."""
    own, agent, standing, expires_us, bound, size = row
    try:
        named = tuple(str(one) for one in json.loads(bound))
        return KeptSize(str(own), AgentId(str(agent)), DeferredStanding(standing), int(expires_us), named, int(size))
    except (TypeError, ValueError):
        return None
