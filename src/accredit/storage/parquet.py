"""Records in Parquet (zstd), by pyarrow, and the folder such files stand in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from accredit.audit.model import StoredRow
from accredit.audit.sealed_archive import COLUMNS, columns_of
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError, UnavailableError

__all__ = ["LocalFolder", "ParquetForm"]

_GROUP: Final = 2_048
"""Rows that are read and written at a time."""
_LEVEL: Final = 3
_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        *(pa.field(name, pa.int64() if name == "time" else pa.string()) for name in COLUMNS),
        pa.field("leaf", pa.binary(), nullable=False),
        pa.field("outbox", pa.string()),
        pa.field("header", pa.binary(), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
        pa.field("sealed", pa.binary(), nullable=False),
    ]
)


class ParquetForm:
    """The `Columnar` of archives."""

    def write(self, file: BinaryIO, rows: Iterator[StoredRow]) -> None:
        with pq.ParquetWriter(file, _SCHEMA, compression="zstd", compression_level=_LEVEL) as writer:
            while group := list(islice(rows, _GROUP)):
                taken = list(zip(*(columns_of(row[1]) for row in group), strict=True))
                seqs, headers, bodies, leaves, sealed, outboxes = zip(*group, strict=True)
                columns = [seqs, *taken, leaves, outboxes, headers, bodies, sealed]
                arrays = [pa.array(one, field.type) for one, field in zip(columns, _SCHEMA, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), row_group_size=_GROUP)

    def read(self, file: BinaryIO, start: int, stop: int) -> Iterator[tuple[StoredRow, tuple[Any, ...]]]:
        try:
            parquet = pq.ParquetFile(file)
            if not parquet.schema_arrow.equals(_SCHEMA):
                raise InvalidInputError(Code.LOG_INVALID, "a file of the archive has other columns")
            at = 0
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                if count > _GROUP:
                    raise InvalidInputError(Code.LOG_INVALID, "a file of the archive has groups that are too long")
                if at < stop and at + count > start:
                    yield from islice(_rows(parquet.read_row_group(group)), max(0, start - at), stop - at)
                at += count
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                Code.LOG_INVALID, "a file of the archive does not read", cause=repr(error)[:400]
            ) from error


def _rows(table: pa.Table) -> Iterator[tuple[StoredRow, tuple[Any, ...]]]:
    columns = [table.column(name).to_pylist() for name in table.column_names]
    for seq, *taken, leaf, outbox, header, body, sealed in zip(*columns, strict=True):
        yield (seq, header, body, leaf, sealed, outbox), tuple(taken)


class LocalFolder:
    """The `ArchiveFolder` in a directory, readable by its owner alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> Sequence[str]:
        try:
            return sorted(one.name for one in self._directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failed(error) from error

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        try:
            file = (self._directory / name).open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(Code.NOT_FOUND, f"the archive has no file `{name}`") from error
        except OSError as error:
            raise _failed(error) from error
        with file:
            yield file

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        unfinished = self._directory / f"{name}.unfinished"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._directory / name)
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise _failed(error) from error
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def _failed(error: OSError) -> UnavailableError:
    return UnavailableError(Code.AUDIT_UNAVAILABLE, "the archive cannot be read or written", cause=repr(error))
