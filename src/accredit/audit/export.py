"""A log as a directory that an auditor verifies without us: C2SP tiles and checkpoint, and the records' own bytes.

    manifest.json      what this is: origin, verifier key, size, newest checkpoint, on what basis people acted
    checkpoint         the newest checkpoint, which covers everything here
    checkpoints.json   every checkpoint kept, in order
    tile/…             C2SP tlog-tiles: hashes and entry bundles
    records/<N>[.p/W]  beside each bundle, per record: u32 length ‖ salt ‖ body, then u32 length ‖ sealed parts

Wrapped data keys stay at home: a copy of them would outlive the erasure of a part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson

from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.merkle import TILE_WIDTH, leaf_hash
from accredit.audit.model import LastUse, StoredRecord, StoredRow, ToolDays, UsageDay
from accredit.audit.ports import LogReader, LogTotals, RecordReader
from accredit.audit.records import body_of, stored_record
from accredit.audit.tiles import TileAddress, entries_of, read_tile, tiles_of
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, UnavailableError

__all__ = ["LogExport", "bases_of", "export_log"]

_FORMAT = "accredit.log/export@v1"
_HASH = 32


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def export_log(reader: LogReader, directory: Path, *, checkpoint: bytes, verifier: CheckpointVerifier) -> int:
    """Write everything that checkpoint covers into a new or empty directory; returns the number of records.

    Raises:
        ConflictError: the directory holds something already.
        InvalidInputError: the checkpoint is not this log's.
        UnavailableError: reading or writing failed; the directory is not complete.
    """
    head = verifier.verify(checkpoint)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ConflictError(Code.CONFLICT, "the directory to export into is not empty")
        for address in tiles_of(head.size):
            _write(directory / "tile" / address.path(), read_tile(reader, address, size=head.size))
            if address.level is None:
                start = address.index * TILE_WIDTH
                frames = []
                for _, _, body, _, sealed, _ in reader.rows(start, start + address.width):
                    frames += [len(body).to_bytes(4, "big"), body, len(sealed).to_bytes(4, "big"), sealed]
                _write(_records_path(directory, address), b"".join(frames))
        notes = [note.decode() for size, note in reader.checkpoints() if size <= head.size]
        _write(directory / "checkpoints.json", orjson.dumps(notes))
        _write(directory / "checkpoint", checkpoint)
        manifest = {
            "bases": bases_of(reader, head.size),
            "checkpoint": checkpoint.decode(),
            "format": _FORMAT,
            "origin": head.origin,
            "size": head.size,
            "stream": reader.stream,
            "vkey": verifier.vkey,
        }
        _write(directory / "manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))  # last: complete
    except OSError as error:
        raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the log could not be exported", cause=repr(error)) from error
    return head.size


def bases_of(reader: RecordReader, size: int) -> list[str]:
    """On what else than roles people acted in the first `size` records: `single-admin`, `bootstrap`, `recovery`."""
    found = set()
    for record in reader.control_records():
        if record.seq >= size:
            break
        actor = body_of(record).get("actor")
        found.add(str(actor.get("basis", "")) if isinstance(actor, dict) else "")
    return sorted(found - {"", "roles", "system"})


def _records_path(directory: Path, address: TileAddress) -> Path:
    return directory / "records" / address.path().removeprefix("entries/")


class LogExport:
    """Reads an export: a `LogReader` without data keys and roll-ups."""

    def __init__(self, directory: Path) -> None:
        """Open an export.

        Raises:
            InvalidInputError: the directory is no complete export.
        """
        self._directory = directory
        try:
            manifest: dict[str, Any] = orjson.loads((directory / "manifest.json").read_bytes())
            complete = manifest["format"] == _FORMAT and manifest["size"] >= 0
            self.checkpoint = (directory / "checkpoint").read_bytes()
            self.vkey = str(manifest["vkey"])
            self.bases = tuple(map(str, manifest["bases"]))
            """As the manifest states them; what the records say is `bases_of`."""
            self._stream = str(manifest["stream"])
            self._size = int(manifest["size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(Code.LOG_INVALID, "not a complete export of a log", cause=repr(error)) from error
        if not complete:
            raise InvalidInputError(Code.LOG_INVALID, "the export is in a format this release does not know")

    @property
    def stream(self) -> str:
        return self._stream

    def size(self) -> int:
        return self._size

    def _file(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise UnavailableError(
                Code.AUDIT_UNAVAILABLE, f"the export lacks `{path.relative_to(self._directory)}`", cause=repr(error)
            ) from error

    def _address(self, level: int | None, index: int) -> TileAddress:
        count = self._size // TILE_WIDTH ** (level or 0)
        return TileAddress(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        found: list[bytes] = []
        stop = min(stop, self._size // TILE_WIDTH**level)
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            tile = self._file(self._directory / "tile" / self._address(level, index).path())
            base = index * TILE_WIDTH
            hashes = [tile[at : at + _HASH] for at in range(0, len(tile), _HASH)]
            found += hashes[max(0, start - base) : stop - base]
        return found

    def rows(self, start: int, stop: int) -> Iterator[StoredRow]:
        stop = min(stop, self._size)
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            address = self._address(None, index)
            base = index * TILE_WIDTH
            leaves = self.hashes(0, base, base + address.width)
            try:
                entries = entries_of(self._file(self._directory / "tile" / address.path()))
                contents = _framed(self._file(_records_path(self._directory, address)))
                if not len(entries) == len(leaves) == len(contents) // 2 == address.width:
                    raise ValueError("records are missing or added")  # noqa: TRY301 - one refusal for every broken file
                outboxes = [orjson.loads(body[32:]).get("outbox") for body in contents[::2]]
            except (ValueError, AttributeError) as error:
                raise InvalidInputError(
                    Code.LOG_INVALID, f"the export's records {base} to {base + address.width - 1} are not framed"
                ) from error
            for place in range(max(0, start - base), min(address.width, stop - base)):
                body, sealed = contents[2 * place], contents[2 * place + 1]
                entry, leaf = entries[place], leaves[place]
                # a bundle's entry that is not the one in the tile must not hide behind a body that is
                shown = leaf if leaf_hash(entry) == leaf else leaf_hash(entry + b"\0")
                yield base + place, entry[:-_HASH], body, shown, sealed, outboxes[place]

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        for row in self.rows(start, self._size if stop is None else stop):
            yield stored_record(self._stream, row, {})

    def control_records(self, start: int = 0) -> Iterator[StoredRecord]:
        return (record for record in self.records(start) if record.outbox_id is not None)

    def by_outbox(self, outbox_id: str) -> int | None:
        return next((record.seq for record in self.control_records() if record.outbox_id == outbox_id), None)

    def checkpoints(self) -> list[tuple[int, bytes]]:
        try:
            notes = orjson.loads(self._file(self._directory / "checkpoints.json"))
            return [(int(note.split("\n")[1]), note.encode()) for note in notes]
        except (ValueError, AttributeError, IndexError, TypeError) as error:
            raise InvalidInputError(Code.LOG_INVALID, "the export's checkpoints are not framed") from error

    def wrapped_keys(self, start: int, stop: int) -> dict[int, dict[str, bytes]]:
        """None: an export holds no keys."""
        del start, stop
        return {}

    def wrapped_keys_of(self, name: str, start: int, stop: int) -> dict[int, bytes]:
        """None."""
        del name, start, stop
        return {}

    def kind_counts(self) -> dict[str, int]:
        """Counted anew: an export keeps no counts of its own."""
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
        """Size and checkpoints: an export keeps no counts."""
        return LogTotals(self._size, self.checkpoints(), {}, [])


def _framed(data: bytes) -> list[bytes]:
    parts = []
    at = 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data) or start > len(data):
            raise ValueError("a record is cut short")
        parts.append(data[start:at])
    return parts
