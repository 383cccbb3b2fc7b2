"""The log as an archive that is small, can be asked questions, and proves itself: columnar files of exact bytes.

    manifest.json                      what this is: origin, verifier key, size, newest checkpoint, every file
    checkpoints.json                   every checkpoint kept, in order
    records-000000000000.parquet       records by ranges of 65,536: whole tiles of the tree; the last is shorter

A record stands there in its own bytes (header, salted body, leaf hash, sealed parts, outbox id), beside columns
taken out of its header so that questions need not read it. Verifying hashes the bytes and compares those columns with
them: an answer from a column is an answer from what was signed. What was archived before is not written again.

Wrapped data keys stay at home: a copy of them would outlive the erasure of a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Final, Protocol

import orjson

from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.merkle import TILE_WIDTH, tree_root
from accredit.audit.model import LastUse, StoredRecord, StoredRow, ToolDays, UsageDay
from accredit.audit.ports import LogReader, LogTotals
from accredit.audit.records import stored_record
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError

__all__ = ["ARCHIVE_FORMAT", "COLUMNS", "ArchiveFolder", "Columnar", "SealedArchive", "columns_of", "seal_archive"]

ARCHIVE_FORMAT: Final = "accredit.log/archive@v1"
RANGE: Final = TILE_WIDTH * TILE_WIDTH
COLUMNS: Final = ("time", "kind", "agent", "environment", "tool", "effect", "decision", "action")
"""Fields of the header that have a column of their own."""
_MANIFEST: Final = "manifest.json"
_CHECKPOINTS: Final = "checkpoints.json"
_MAX_MANIFEST: Final = 64 * 2**20
_CHUNK: Final = 1_048_576


class ArchiveFolder(Protocol):
    """Where an archive's files are. A file is there whole or not at all. Raises UnavailableError."""

    def names(self) -> Sequence[str]:
        """The files there, in order."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Read a file, from any place in it.

        Raises:
            NotFoundError: it is not there.
        """
        ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a file; it takes the place of another of that name, durably, when the block ends without an error."""
        ...


class Columnar(Protocol):
    """The form of the files: rows with the columns of `columns_of` beside them."""

    def write(self, file: BinaryIO, rows: Iterator[StoredRow]) -> None: ...

    def read(self, file: BinaryIO, start: int, stop: int) -> Iterator[tuple[StoredRow, tuple[Any, ...]]]:
        """Rows start <= place in the file < stop.

        Raises:
            InvalidInputError: it is not of the form.
        """
        ...


def columns_of(header: bytes) -> tuple[Any, ...]:
    """What the columns beside a record say."""
    fields = orjson.loads(header[2:])
    return tuple(fields[name] for name in COLUMNS)


def seal_archive(
    reader: LogReader, folder: ArchiveFolder, form: Columnar, *, checkpoint: bytes, verifier: CheckpointVerifier
) -> int:
    """Write what a checkpoint covers and the archive does not have whole; returns how many records it now holds.

    Raises:
        InvalidInputError: the checkpoint is not this log's, or the folder holds another log's archive.
        UnavailableError: reading or writing failed; what the archive held before is as it was.
    """
    head = verifier.verify(checkpoint)
    before: dict[str, dict[str, Any]] = {}
    if _MANIFEST in folder.names():
        held = SealedArchive(folder, form)
        if (held.origin, held.stream) != (head.origin, reader.stream) or held.size() > head.size:
            raise InvalidInputError(Code.LOG_INVALID, "the folder holds the archive of another log, or of a longer one")
        before = {one["name"]: one for one in held.files}
    files = []
    for start in range(0, head.size, RANGE):
        stop = min(start + RANGE, head.size)
        name = f"records-{start:012d}.parquet"
        known = before.get(name)
        root = tree_root(_leaves(reader, start, stop)).hex()
        if known is None or (known["stop"], known["root"]) != (stop, root) or _digest(folder, name) != known["sha256"]:
            with folder.create(name) as file:
                form.write(file, reader.rows(start, stop))
            known = {"name": name, "root": root, "sha256": _digest(folder, name), "start": start, "stop": stop}
        files.append(known)
    notes = [note.decode() for size, note in reader.checkpoints() if size <= head.size]
    with folder.create(_CHECKPOINTS) as file:
        file.write(orjson.dumps(notes))
    manifest = {
        "checkpoint": checkpoint.decode(),
        "columns": list(COLUMNS),
        "files": files,
        "format": ARCHIVE_FORMAT,
        "origin": head.origin,
        "size": head.size,
        "stream": reader.stream,
        "vkey": verifier.vkey,
    }
    with folder.create(_MANIFEST) as file:  # last: complete
        file.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return head.size


def _leaves(reader: LogReader, start: int, stop: int) -> list[bytes]:
    leaves = reader.hashes(0, start, stop)
    if len(leaves) != stop - start:
        raise InvalidInputError(Code.LOG_INVALID, f"the log lacks a record between {start} and {stop - 1}")
    return leaves


def _digest(folder: ArchiveFolder, name: str) -> str:
    digest = hashlib.sha256()
    with folder.open(name) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class SealedArchive:
    """Reads an archive: a `LogReader` without data keys and roll-ups, for `verify_log` among others."""

    def __init__(self, folder: ArchiveFolder, form: Columnar) -> None:
        """Open one.

        Raises:
            InvalidInputError: the folder holds no complete archive.
        """
        self._folder = folder
        self._form = form
        try:
            with folder.open(_MANIFEST) as file:
                manifest: dict[str, Any] = orjson.loads(file.read(_MAX_MANIFEST))
            self.files: list[dict[str, Any]] = [dict(one) for one in manifest["files"]]
            self.vkey, self.origin = str(manifest["vkey"]), str(manifest["origin"])
            self._stream, self._size = str(manifest["stream"]), int(manifest["size"])
            expected = [
                (f"records-{at:012d}.parquet", at, min(at + RANGE, self._size)) for at in range(0, self._size, RANGE)
            ]
            complete = [(one["name"], one["start"], one["stop"]) for one in self.files] == expected
            complete = complete and manifest["format"] == ARCHIVE_FORMAT and manifest["columns"] == list(COLUMNS)
        except (NotFoundError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(Code.LOG_INVALID, "not a complete archive of a log", cause=repr(error)) from error
        if not complete:
            raise InvalidInputError(Code.LOG_INVALID, "the archive is incomplete, or in a format of another release")

    def require_whole(self) -> None:
        """Check that every file is the one the manifest names, byte by byte.

        Raises:
            InvalidInputError: one is missing, or is another.
        """
        for one in self.files:
            try:
                same = _digest(self._folder, one["name"]) == one["sha256"]
            except NotFoundError as error:
                raise InvalidInputError(Code.LOG_INVALID, f"the archive lacks `{one['name']}`") from error
            if not same:
                raise InvalidInputError(Code.LOG_INVALID, f"`{one['name']}` is not as it was archived")
            if tree_root(self.hashes(0, one["start"], one["stop"])).hex() != one["root"]:
                raise InvalidInputError(Code.LOG_INVALID, f"`{one['name']}` does not hold the records it is said to")

    @property
    def stream(self) -> str:
        return self._stream

    def size(self) -> int:
        return self._size

    def rows(self, start: int, stop: int) -> Iterator[StoredRow]:
        stop = min(stop, self._size)
        for one in self.files:
            first, last = max(start, one["start"]), min(stop, one["stop"])
            if first >= last:
                continue
            with self._opened(one["name"]) as file:
                for row, columns in self._form.read(file, first - one["start"], last - one["start"]):
                    if columns != _columns(row):
                        raise InvalidInputError(
                            Code.LOG_INVALID, f"record {row[0]} has columns that are not those of its header"
                        )
                    yield row

    def _opened(self, name: str) -> AbstractContextManager[BinaryIO]:
        try:
            return self._folder.open(name)
        except NotFoundError as error:
            raise InvalidInputError(Code.LOG_INVALID, f"the archive lacks `{name}`") from error

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        for row in self.rows(start, self._size if stop is None else stop):
            yield stored_record(self._stream, row, {})

    def control_records(self, start: int = 0) -> Iterator[StoredRecord]:
        return (record for record in self.records(start) if record.outbox_id is not None)

    def by_outbox(self, outbox_id: str) -> int | None:
        return next((record.seq for record in self.control_records() if record.outbox_id == outbox_id), None)

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Of the leaves as stored; of what is above them as they make it."""
        width = TILE_WIDTH**level
        stop = min(stop, self._size // width)
        if level == 0:
            return [row[3] for row in self.rows(start, stop)]
        return [
            tree_root([row[3] for row in self.rows(index * width, (index + 1) * width)]) for index in range(start, stop)
        ]

    def checkpoints(self) -> list[tuple[int, bytes]]:
        try:
            with self._opened(_CHECKPOINTS) as file:
                notes = orjson.loads(file.read(_MAX_MANIFEST))
            return [(int(note.split("\n")[1]), note.encode()) for note in notes]
        except (ValueError, AttributeError, IndexError, TypeError) as error:
            raise InvalidInputError(Code.LOG_INVALID, "the archive's checkpoints are not framed") from error

    def wrapped_keys(self, start: int, stop: int) -> dict[int, dict[str, bytes]]:
        """None: an archive holds no keys."""
        del start, stop
        return {}

    def wrapped_keys_of(self, name: str, start: int, stop: int) -> dict[int, bytes]:
        """None."""
        del name, start, stop
        return {}

    def kind_counts(self) -> dict[str, int]:
        """Counted anew: an archive keeps no counts of its own."""
        counts: dict[str, int] = {}
        for _, header, *_ in self.rows(0, self._size):
            kind = str(orjson.loads(header[2:])["kind"])
            counts[kind] = counts.get(kind, 0) + 1
        return counts

    def usage(
        self, *, since_day: int = 0, until_day: int | None = None, agent: str | None = None, tool: str | None = None
    ) -> list[UsageDay]:
        """None: roll-ups are not evidence."""
        del since_day, until_day, agent, tool
        return []

    def tool_days(self, agents: Collection[str], *, since_day: int, counted_since: int) -> list[ToolDays]:
        """None: roll-ups are not evidence."""
        del agents, since_day, counted_since
        return []

    def last_use(self, *, since_day: int, agents: Collection[str] | None = None) -> dict[str, LastUse]:
        """None: roll-ups are not evidence."""
        del since_day, agents
        return {}

    def totals(self) -> LogTotals:
        """Size and checkpoints: an archive keeps no counts."""
        return LogTotals(self._size, self.checkpoints(), {}, [])


def _columns(row: StoredRow) -> tuple[Any, ...] | None:
    try:
        return columns_of(row[1])
    except (ValueError, KeyError, TypeError):
        return None
