"""Profiles of sessions in `profiles.db`: beside control state and log, of both of which all in it can be made again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import SessionProfile
from accredit.monitoring.profiles.ports import KeptProfile, Progress
from accredit.storage.profiles import packed, unpacked
from accredit.storage.sqlite.files import create_private

__all__ = ["SqliteProfileStore"]

_FORMAT: Final = 1
_APPLICATION_ID: Final = 0x61636370  # "accp"
_SCHEMA: Final = (
    """
    CREATE TABLE profiles (
        number INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, session TEXT NOT NULL, ended_us INTEGER NOT NULL,
        packed BLOB NOT NULL, UNIQUE (agent, session)
    )
    """,
    "CREATE INDEX profiles_agent ON profiles (agent, number)",
    "CREATE INDEX profiles_ended ON profiles (ended_us)",
    "CREATE TABLE states (agent TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE progress (
        only INTEGER PRIMARY KEY CHECK (only = 1), position INTEGER NOT NULL, open_from INTEGER NOT NULL,
        until_us INTEGER NOT NULL, watched INTEGER NOT NULL
    )
    """,
    "INSERT INTO progress VALUES (1, 0, 0, 0, 0)",
)
_MOST_NAMED: Final = 500


class SqliteProfileStore:
    """A `ProfileStore` in one SQLite file. One in a format that is not known is made anew: the log has it all."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is not there.

        Raises:
            UnavailableError: it cannot be used.
        """
        self._path = path
        self._alone = threading.RLock()
        create_private(path)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            # what is damaged is worth nothing: everything in it follows from the log
            if getattr(error, "sqlite_errorcode", None) not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise self._failed(error) from error
            self._database.close()
            for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                each.unlink(missing_ok=True)
            create_private(path)
            with self._wrapped():
                self._open()

    def _open(self) -> None:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        self._database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        if (version, application) != (_FORMAT, _APPLICATION_ID):
            with self._transaction() as database:
                named = database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                )
                for (table,) in named.fetchall():
                    database.execute(f'DROP TABLE "{table}"')
                for statement in _SCHEMA:
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {_FORMAT}")

    @property
    def progress(self) -> Progress:
        with self._wrapped():
            return Progress(*self._database.execute("SELECT position, open_from, until_us FROM progress").fetchone())

    def keep(self, profiles: Sequence[SessionProfile], progress: Progress) -> None:
        with self._transaction() as database:
            for one in profiles:
                name = self._free(one)
                row = (
                    one.agent,
                    name,
                    one.ended_us,
                    packed(one if name == one.session else replace(one, session=name)),
                )
                database.execute("INSERT INTO profiles (agent, session, ended_us, packed) VALUES (?, ?, ?, ?)", row)
            database.execute(
                "UPDATE progress SET position = ?, open_from = ?, until_us = ?",
                (progress.position, progress.open_from, progress.until_us),
            )

    def _free(self, one: SessionProfile) -> str:
        part, name = 0, one.session
        taken = "SELECT 1 FROM profiles WHERE agent = ? AND session = ?"
        while self._database.execute(taken, (one.agent, name)).fetchone() is not None:
            part += 1
            name = f"{one.session}+{part}"
        return name

    def after(self, number: int, limit: int) -> Sequence[KeptProfile]:
        return self._found("number > ? ORDER BY number LIMIT ?", number, limit)

    def newest(self, agent: AgentId, limit: int, *, since_us: int = 0) -> Sequence[KeptProfile]:
        return self._found("agent = ? AND ended_us >= ? ORDER BY number DESC LIMIT ?", agent, since_us, limit)

    def find(self, agent: AgentId, session: str) -> KeptProfile | None:
        return next(iter(self._found("agent = ? AND session = ?", agent, session)), None)

    def counts(self) -> Mapping[AgentId, int]:
        with self._wrapped():
            return {
                AgentId(agent): many
                for agent, many in self._database.execute("SELECT agent, count(*) FROM profiles GROUP BY agent")
            }

    def forget(self, agents: Sequence[AgentId]) -> None:
        with self._transaction() as database:
            for agent in agents:
                database.execute("DELETE FROM profiles WHERE agent = ?", (agent,))
                database.execute("DELETE FROM states WHERE agent = ?", (agent,))

    def sweep(self, *, before_us: int, most: int) -> int:
        with self._transaction() as database:
            gone = database.execute("DELETE FROM profiles WHERE ended_us < ?", (before_us,)).rowcount
            many = database.execute("SELECT agent FROM profiles GROUP BY agent HAVING count(*) > ?", (most,)).fetchall()
            for (agent,) in many:
                gone += database.execute(
                    "DELETE FROM profiles WHERE agent = ?1 AND number <= "
                    "(SELECT number FROM profiles WHERE agent = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                    (agent, most),
                ).rowcount
        return int(gone)

    def clear(self) -> None:
        with self._transaction() as database:
            for table in ("profiles", "states", "sqlite_sequence"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this file
            database.execute("UPDATE progress SET position = 0, open_from = 0, until_us = 0, watched = 0")

    def states(self, agents: Sequence[AgentId]) -> Mapping[AgentId, bytes]:
        found: dict[AgentId, bytes] = {}
        with self._wrapped():
            for at in range(0, len(agents), _MOST_NAMED):
                some = agents[at : at + _MOST_NAMED]
                places = ", ".join("?" * len(some))
                rows = self._database.execute(f"SELECT agent, state FROM states WHERE agent IN ({places})", some)  # noqa: S608
                found.update({AgentId(agent): state for agent, state in rows})
        return found

    @property
    def watched(self) -> int:
        with self._wrapped():
            return int(self._database.execute("SELECT watched FROM progress").fetchone()[0])

    def keep_states(self, states: Mapping[AgentId, bytes], *, watched: int) -> None:
        with self._transaction() as database:
            database.executemany(
                "INSERT OR REPLACE INTO states VALUES (?, ?)", [(agent, one) for agent, one in states.items() if one]
            )
            database.executemany(
                "DELETE FROM states WHERE agent = ?", [(agent,) for agent, one in states.items() if not one]
            )
            database.execute("UPDATE progress SET watched = ?", (watched,))

    def close(self) -> None:
        """Nothing may be asked of it any more."""
        with self._wrapped():
            self._database.close()

    def _found(self, which: str, *values: Any) -> list[KeptProfile]:
        with self._wrapped():
            wanted = f"SELECT number, agent, packed FROM profiles WHERE {which}"  # noqa: S608 - of this file's own
            rows = self._database.execute(wanted, values).fetchall()
        return [KeptProfile(number, unpacked(AgentId(agent), one)) for number, agent, one in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._wrapped():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            with self._alone:
                yield
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> UnavailableError:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        return UnavailableError(
            Code.DISK_LOW if full else Code.AUDIT_UNAVAILABLE,
            f"`{self._path.name}` cannot be {'written: the disk is full' if full else 'used'}",
            hint="" if full else "it can be moved away: everything in it is made again from the log",
            cause=repr(error)[:400],
        )
