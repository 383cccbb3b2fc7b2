"""One stream of the audit log in one SQLite file.

The file belongs to the log alone, so nothing else takes its write lock. WAL with `synchronous=FULL`: a commit returns
after its fsync, and readers see it only then. WAL checkpoints run in the upkeep thread, on a connection of their own;
the writer does one itself only when the WAL has grown past a limit under unbroken load.

Column order matters: `leaf` stands before the long columns, so reading a tile does not walk their overflow pages.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from accredit.audit.model import LastUse, StoredRecord, StoredRow, ToolDays, Usage, UsageDay
from accredit.audit.ports import Commit, LogTotals
from accredit.audit.records import stored_record
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, UnavailableError

__all__ = ["SqliteRecordReader", "SqliteRecordStore"]

_FORMAT = 1
_PAGE = 256
_BLOCK = 64
_STATEMENTS = 6 * _BLOCK
_PAGE_BYTES = 8_192
"""Two decision records to a page: a fifth less per commit than with 4,096 (bench/audit.py)."""
_WAL_FRAMES = 8_192
_SCHEMA = """
CREATE TABLE log (id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, stream TEXT NOT NULL);
CREATE TABLE records (
  seq INTEGER PRIMARY KEY, leaf BLOB NOT NULL, outbox TEXT, header BLOB NOT NULL, body BLOB NOT NULL,
  sealed BLOB NOT NULL
);
CREATE UNIQUE INDEX records_outbox ON records (outbox) WHERE outbox IS NOT NULL;
CREATE INDEX records_control ON records (seq) WHERE outbox IS NOT NULL;
CREATE TABLE part_keys (seq INTEGER, name TEXT, wrapped BLOB NOT NULL, PRIMARY KEY (seq, name)) WITHOUT ROWID;
CREATE TABLE nodes (level INTEGER, idx INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, idx)) WITHOUT ROWID;
CREATE TABLE kinds (kind TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL);
CREATE TABLE pseudonyms (pseudonym TEXT PRIMARY KEY, kind TEXT NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE usage_daily (
  day INTEGER, agent TEXT, tool TEXT, allows INTEGER NOT NULL, denies INTEGER NOT NULL, holds INTEGER NOT NULL,
  errors INTEGER NOT NULL, cost_nanos INTEGER NOT NULL, last_us INTEGER NOT NULL, PRIMARY KEY (day, agent, tool)
) WITHOUT ROWID;
"""
_SUBJECTS = """
CREATE TABLE IF NOT EXISTS part_subjects (subject TEXT, seq INTEGER, PRIMARY KEY (subject, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS part_subjects_seq ON part_subjects (seq);
CREATE TABLE IF NOT EXISTS indexed (id INTEGER PRIMARY KEY CHECK (id = 1), next INTEGER NOT NULL);
INSERT OR IGNORE INTO indexed VALUES (1, 0);
"""
"""A log of an older release has none: what it would say is found in the records."""
_ROW = "SELECT seq, header, body, leaf, sealed, outbox FROM records"


@cache
def _rows(insert: str, width: int, count: int, tail: str) -> str:
    row = f"({', '.join('?' * width)})"
    return f"{insert} VALUES {', '.join([row] * count)}{tail}"


def _put(write: sqlite3.Connection, insert: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """Insert rows a block at a time.

    `executemany` lets go of the GIL for every row, and a busy event loop keeps it for milliseconds each time.
    """
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        write.execute(_rows(insert, len(block[0]), len(block), tail), [value for row in block for value in row])


def _unavailable(what: str, error: Exception) -> UnavailableError:
    return UnavailableError(Code.AUDIT_UNAVAILABLE, f"the audit log's database {what}", cause=repr(error)[:400])


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


_AGENTS_AT_ONCE = 50
_AGENT_DAYS = (
    # of one agent, day by day in the primary key: a range of days would be read of all agents
    "SELECT u.day, u.agent, u.tool, u.allows, u.denies, u.holds, u.errors, u.cost_nanos, u.last_us"
    " FROM json_each(?1) AS d CROSS JOIN usage_daily AS u"
    " WHERE u.day = d.value AND u.agent = ?2 AND (?3 IS NULL OR u.tool = ?3) ORDER BY u.day, u.agent, u.tool"
)
_TOOL_DAYS = (
    # each pair of agent and day is looked up in the primary key: as fast for few agents as for all, in parts
    "SELECT a.key, u.tool, group_concat(CASE WHEN u.allows > 0 THEN u.day END),"
    " sum(CASE WHEN u.day >= ?3 THEN u.allows ELSE 0 END), sum(CASE WHEN u.day >= ?3 THEN u.denies ELSE 0 END),"
    " sum(CASE WHEN u.day >= ?3 THEN u.cost_nanos ELSE 0 END)"
    " FROM json_each(?1) AS a CROSS JOIN json_each(?2) AS d CROSS JOIN usage_daily AS u"
    " ON u.day = d.value AND u.agent = a.value GROUP BY a.key, u.tool ORDER BY a.key, u.tool"
)


class SqliteRecordReader:
    """A stream's records, read-only: for verifiers and exports beside a running server, or without one."""

    def __init__(self, path: Path) -> None:
        """Open an existing log.

        Raises:
            UnavailableError: there is none, or it cannot be read.
            ConflictError: it was written in another format.
        """
        self._path = path
        self._lock = threading.RLock()
        self._reading = self._connect_reading()
        stored = self._read("SELECT format, stream FROM log")
        if len(stored) != 1 or stored[0][0] != _FORMAT:
            raise ConflictError(Code.LOG_INVALID, "the audit log was written in a format this release does not know")
        self._stream: str = stored[0][1]

    def _connect_reading(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise _unavailable("cannot be opened", error) from error
        # a cell that somebody made text must reach the verifier, not fail the whole page it stands in
        connection.text_factory = _text
        return connection

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with self._lock:  # reentrant: `totals` holds it over several reads
                return self._reading.execute(sql, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema can make a message that is no text
            raise _unavailable("cannot be read", error) from error

    @property
    def stream(self) -> str:
        return self._stream

    def size(self) -> int:
        newest: int | None = self._read("SELECT max(seq) FROM records")[0][0]
        return 0 if newest is None else newest + 1

    def _paged(self, sql: str, start: int, stop: int) -> Iterator[StoredRow]:
        # short reads: one long one would keep the WAL from being reset
        while rows := self._read(sql, (start, stop)):
            yield from rows
            start = rows[-1][0] + 1

    def rows(self, start: int, stop: int) -> Iterator[StoredRow]:
        return self._paged(f"{_ROW} WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT {_PAGE}", start, stop)

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        return self._records(self.rows(start, self.size() if stop is None else stop))

    def control_records(self, start: int = 0) -> Iterator[StoredRecord]:
        return self._records(
            self._paged(
                f"{_ROW} INDEXED BY records_control WHERE outbox IS NOT NULL AND seq >= ? AND seq < ?"
                f" ORDER BY seq LIMIT {_PAGE}",
                start,
                self.size(),
            )
        )

    def _records(self, rows: Iterable[StoredRow]) -> Iterator[StoredRecord]:
        for row in rows:
            wrapped = self.wrapped_keys(row[0], row[0] + 1).get(row[0], {}) if row[4] else {}
            try:
                yield stored_record(self._stream, row, wrapped)
            except (ValueError, TypeError, IndexError) as error:
                raise InvalidInputError(Code.LOG_INVALID, f"record {row[0]} is not framed as a record") from error

    def wrapped_keys(self, start: int, stop: int) -> dict[int, dict[str, bytes]]:
        keys: dict[int, dict[str, bytes]] = {}
        for seq, name, wrapped in self._read(
            "SELECT seq, name, wrapped FROM part_keys WHERE seq >= ? AND seq < ?", (start, stop)
        ):
            keys.setdefault(seq, {})[name] = wrapped
        return keys

    def wrapped_keys_of(self, name: str, start: int, stop: int) -> dict[int, bytes]:
        sql = "SELECT seq, wrapped FROM part_keys WHERE seq >= ? AND seq < ? AND name = ?"
        return dict(self._read(sql, (start, stop, name)))

    def by_outbox(self, outbox_id: str) -> int | None:
        found = self._read("SELECT seq FROM records WHERE outbox = ?", (outbox_id,))
        return found[0][0] if found else None

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        if level == 0:
            found = self._read("SELECT leaf FROM records WHERE seq >= ? AND seq < ? ORDER BY seq", (start, stop))
        else:
            found = self._read(
                "SELECT hash FROM nodes WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx", (level, start, stop)
            )
        return [value for (value,) in found]

    def checkpoints(self) -> list[tuple[int, bytes]]:
        return self._read("SELECT size, note FROM checkpoints ORDER BY size")

    def kind_counts(self) -> dict[str, int]:
        return dict(self._read("SELECT kind, count FROM kinds"))

    def usage(
        self, *, since_day: int = 0, until_day: int | None = None, agent: str | None = None, tool: str | None = None
    ) -> list[UsageDay]:
        if agent is not None and since_day > 0:  # some days of one agent among very many: each is looked up
            ((newest,),) = self._read("SELECT max(day) FROM usage_daily", ())
            end = (newest or 0) + 1
            days = orjson.dumps(list(range(since_day, end if until_day is None else min(until_day, end)))).decode()
            rows = self._read(_AGENT_DAYS, (days, agent, tool))
        else:
            rows = self._read(
                "SELECT day, agent, tool, allows, denies, holds, errors, cost_nanos, last_us FROM usage_daily"
                " WHERE day >= ? AND day < ? AND (?3 IS NULL OR agent = ?3) AND (?4 IS NULL OR tool = ?4)"
                " ORDER BY day, agent, tool",
                (since_day, 2**62 if until_day is None else until_day, agent, tool),
            )
        return [UsageDay(day, who, what, Usage(*counts), last) for day, who, what, *counts, last in rows]

    def tool_days(self, agents: Collection[str], *, since_day: int, counted_since: int) -> list[ToolDays]:
        ((newest,),) = self._read("SELECT max(day) FROM usage_daily", ())
        there = orjson.dumps(list(range(since_day, (newest or 0) + 1))).decode()
        wanted, found = sorted(agents), []
        for at in range(0, len(wanted), _AGENTS_AT_ONCE):  # so that others read in between
            some = wanted[at : at + _AGENTS_AT_ONCE]
            rows = self._read(_TOOL_DAYS, (orjson.dumps(some).decode(), there, counted_since))
            found += [
                ToolDays(some[who], tool, tuple(sorted(map(int, used.split(",")))) if used else (), *sums)
                for who, tool, used, *sums in rows
            ]
        return found

    def last_use(self, *, since_day: int, agents: Collection[str] | None = None) -> dict[str, LastUse]:
        among = "" if agents is None else " AND agent IN (SELECT value FROM json_each(?2))"
        sql = f"SELECT agent, max(last_us), sum(cost_nanos) FROM usage_daily WHERE day = ?1{among} GROUP BY agent"  # noqa: S608 - of two texts of ours
        wanted = () if agents is None else (orjson.dumps(sorted(agents)).decode(),)
        days = self._read("SELECT DISTINCT day FROM usage_daily WHERE day >= ? ORDER BY day", (since_day,))
        found: dict[str, LastUse] = {}
        for (day,) in days:  # one by one, so that others read in between
            for agent, last, cost in self._read(sql, (day, *wanted)):
                before = found.get(agent)
                found[agent] = (
                    LastUse(last, cost)
                    if before is None
                    else LastUse(max(before.last_us, last), before.cost_nanos + cost)
                )
        return found

    def totals(self) -> LogTotals:
        with self._lock:
            self._read("BEGIN")  # one snapshot for all of them
            try:
                return LogTotals(self.size(), self.checkpoints(), self.kind_counts(), self.usage())
            finally:
                self._read("COMMIT")

    def pseudonyms(self) -> list[tuple[str, str, bytes]]:
        return self._read("SELECT pseudonym, kind, sealed FROM pseudonyms")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._reading.close()


class SqliteRecordStore(SqliteRecordReader):
    """A stream's durable home. `commit`, `keep_checkpoint` and `reopen` belong to one thread, all else to any."""

    def __init__(self, path: Path, *, stream: str | None = None) -> None:
        """Open a log, or create it with that stream id.

        Raises:
            UnavailableError: the file cannot be opened, or is missing and no stream id was given to create it.
            ConflictError: it holds another stream, or another format.
        """
        self._path = path
        self._wal_is_long = False
        self._upkeep_lock = threading.Lock()
        new = not path.exists()
        if new and stream is None:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "there is no audit log in the data directory")
        if new:
            with suppress(OSError):  # sqlite3 reports it better
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self._writing = self._connect_writing()
        self._upkeep = self._connect_writing()
        try:
            if stream is not None and not self._writing.execute("PRAGMA table_info(log)").fetchall():
                self._writing.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
                self._writing.execute("INSERT INTO log VALUES (1, ?, ?)", (_FORMAT, stream))
                self._writing.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unavailable("cannot be created", error) from error
        super().__init__(path)
        if stream not in {None, self._stream}:
            raise ConflictError(Code.LOG_INVALID, "the data directory holds the audit log of another stream")
        try:
            self._writing.executescript(f"BEGIN IMMEDIATE;{_SUBJECTS}COMMIT;")
        except sqlite3.Error as error:
            raise _unavailable("cannot be written", error) from error

    def _connect_writing(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5,
                                         cached_statements=_STATEMENTS)  # fmt: skip
            connection.executescript(
                f"PRAGMA page_size={_PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                " PRAGMA wal_autocheckpoint=0;"
                " PRAGMA secure_delete=ON; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-16384;"
            )
        except sqlite3.Error as error:
            raise _unavailable("cannot be opened", error) from error
        return connection

    def commit(self, commit: Commit) -> None:
        try:
            write = self._writing
            write.execute("BEGIN IMMEDIATE")
            _put(
                write,
                "INSERT INTO records (seq, leaf, outbox, header, body, sealed)",
                [(r.seq, r.leaf_hash, r.outbox_id, r.header, r.body, r.sealed) for r in commit.records],
            )
            _put(
                write,
                "INSERT INTO part_keys",
                [(r.seq, name, wrapped) for r in commit.records for name, wrapped in r.wrapped],
            )
            _put(write, "INSERT INTO nodes", commit.nodes)
            _put(
                write,
                "INSERT INTO kinds",
                list(commit.kinds.items()),
                " ON CONFLICT (kind) DO UPDATE SET count = excluded.count",
            )
            _put(
                write,
                "INSERT INTO usage_daily",
                [
                    (d.day, d.agent, d.tool, u.allows, u.denies, u.holds, u.errors, u.cost_nanos, d.last_us)
                    for d in commit.usage
                    for u in (d.usage,)
                ],
                " ON CONFLICT (day, agent, tool) DO UPDATE SET allows = allows + excluded.allows,"
                " denies = denies + excluded.denies, holds = holds + excluded.holds,"
                " errors = errors + excluded.errors, cost_nanos = cost_nanos + excluded.cost_nanos,"
                " last_us = max(last_us, excluded.last_us)",
            )
            _put(write, "INSERT OR IGNORE INTO pseudonyms", commit.pseudonyms)
            if commit.erased:
                write.executemany("DELETE FROM part_keys WHERE seq = ? AND name = ?", commit.erased)
            if commit.forgotten:
                write.executemany("DELETE FROM pseudonyms WHERE pseudonym = ?", [(one,) for one in commit.forgotten])
            write.execute("COMMIT")
            if self._wal_is_long:
                self._wal_is_long = False
                write.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.Error as error:
            self._abandon()
            raise _unavailable("did not take a commit", error) from error

    def keep_checkpoint(self, size: int, note: bytes) -> None:
        try:
            self._writing.execute("INSERT INTO checkpoints VALUES (?, ?)", (size, note))
        except sqlite3.Error as error:
            self._abandon()
            raise _unavailable("did not take a checkpoint", error) from error

    def _abandon(self) -> None:
        # whether a failed commit is on disk is not known, and a failed fsync must never be tried again: let go of
        # the connection, so that nothing more can be committed before `reopen` has read what is there
        with suppress(sqlite3.Error):
            self._writing.close()

    def indexed(self) -> int:
        return int(self._read("SELECT next FROM indexed")[0][0])

    def index(self, pairs: Sequence[tuple[str, int]], *, upto: int) -> None:
        with self._upkeep_lock:
            try:
                self._upkeep.execute("BEGIN IMMEDIATE")
                self._upkeep.executemany("INSERT OR IGNORE INTO part_subjects VALUES (?, ?)", pairs)
                self._upkeep.execute("UPDATE indexed SET next = max(next, ?)", (upto,))
                self._upkeep.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise _unavailable("did not take its index of subjects", error) from error

    def concerning(self, names: Collection[str], start: int, stop: int, limit: int) -> list[int]:
        marks = ", ".join("?" * len(names))
        sql = f"SELECT DISTINCT seq FROM part_subjects WHERE subject IN ({marks})"  # noqa: S608 - marks, no values
        sql += " AND seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
        return [seq for (seq,) in self._read(sql, (*names, start, stop, limit))]

    def names_of(self, seq: int) -> frozenset[str]:
        return frozenset(name for (name,) in self._read("SELECT subject FROM part_subjects WHERE seq = ?", (seq,)))

    def unindex(self, names: Collection[str], upto: int) -> None:
        with self._upkeep_lock:
            try:
                self._upkeep.execute("BEGIN IMMEDIATE")
                self._upkeep.executemany(
                    "DELETE FROM part_subjects WHERE subject = ? AND seq < ?", [(name, upto) for name in names]
                )
                self._upkeep.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise _unavailable("did not forget a subject", error) from error

    def _undo(self) -> None:
        with suppress(sqlite3.Error):
            if self._upkeep.in_transaction:
                self._upkeep.execute("ROLLBACK")

    def scrub(self) -> None:
        # pages are overwritten as they are freed (secure_delete); older copies of them stand in the WAL alone, until
        # it is carried over and cut to nothing
        try:
            with self._upkeep_lock:
                (busy, _, _) = self._upkeep.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise _unavailable("cannot be scrubbed", error) from error
        if busy:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the audit log is being read: its WAL cannot be cut now")

    def free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError as error:
            raise _unavailable("cannot be measured", error) from error

    def tidy(self) -> None:
        try:
            with self._upkeep_lock:
                (_, frames, _) = self._upkeep.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise _unavailable("cannot be tidied", error) from error
        self._wal_is_long = frames > _WAL_FRAMES

    def reopen(self) -> None:
        self._abandon()
        with self._lock, suppress(sqlite3.Error):
            self._reading.close()
        with self._upkeep_lock, suppress(sqlite3.Error):
            self._upkeep.close()
        # every connection was closed, so what comes back is what the file holds
        self._writing = self._connect_writing()
        with self._upkeep_lock:
            self._upkeep = self._connect_writing()
        reading = self._connect_reading()
        with self._lock:
            self._reading = reading

    def close(self) -> None:
        """Let go of the file. The writer must have been closed before."""
        super().close()
        with self._upkeep_lock, suppress(sqlite3.Error):
            self._upkeep.close()
        self._abandon()
