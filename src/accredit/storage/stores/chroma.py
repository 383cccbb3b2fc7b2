"""A persistent Chroma directory whose collections are the namespaces.

What Chroma deletes stays in the pages of its database, in its full-text index and in the queue from which its vector
index is brought up to date; a deleted collection leaves its folder. Files of the vector index are as large as all the
items they have room for, and what stands in room that is not used was never written: it is memory of the process that
saved them, who may only have read, and has been seen to be text of items. So finishing closes the client, takes the
content out of queued records of deleted items, merges the full-text index, rewrites the database, removes folders that
belong to nothing, and writes zeros over unused room, as is done whenever this adapter lets go of the directory. The
vector index of a collection that still holds items keeps the vectors of deleted ones: said.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import (
    Capabilities,
    Finished,
    Holding,
    Item,
    ItemPage,
    ResidualBytes,
    Residue,
)
from accredit.registry.model import Store
from accredit.storage.stores.reading import OffsetPages, item_of, missing
from accredit.storage.stores.residue import searched

__all__ = ["ChromaStore"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,510}[A-Za-z0-9]")
_SEGMENT: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATABASE: Final = "chroma.sqlite3"
_INDEX_HEADER: Final = "header.bin"
_INDEX: Final = "data_level0.bin"
_LENGTHS: Final = "length.bin"
_LENGTH: Final = 4
"""Bytes for each item in the file of lengths."""
_INDEX_FORM: Final = struct.Struct("<iQQQQ")
"""How the header of an index begins: its version, where items start, for how many there is room, how many there are,
and the bytes of each."""
_INDEX_VERSION: Final = 1
_AT_ONCE: Final = 2**20
_DELETED: Final = 3
"""The operation of a queued record that deletes."""


class ChromaStore:
    """Items as documents with their metadata."""

    def __init__(self, store: Store, path: Path) -> None:
        try:
            import chromadb  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing("store-chroma", "chromadb") from error
        if not (path / _DATABASE).is_file():
            raise UnavailableError(Code.STORE_UNREACHABLE, "there is no such Chroma directory")
        self._chroma, self._store, self._path = chromadb, store, path
        self._pages: dict[str, OffsetPages] = {}
        self._client: Any = None
        self._connect()

    def _connect(self) -> None:
        settings = self._chroma.Settings(anonymized_telemetry=False)  # nothing is sent anywhere
        with _said():
            self._client = self._chroma.PersistentClient(str(self._path), settings=settings)

    @property
    def version(self) -> str:
        return f"chromadb {self._chroma.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            filter_by=("agent", "user", "session"), assign=True, compact=True, drop=True, residual_probe=True
        )

    def inventory(self) -> Sequence[Holding]:
        with _said():
            return [Holding(one.name, one.count()) for one in sorted(self._client.list_collections(), key=_named)]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        pages = self._pages.setdefault(namespace, OffsetPages())
        start = pages.start(after)
        with _said():
            collection = self._collection(namespace)
            if collection is None:
                return ItemPage((), None)
            found = collection.get(limit=limit, offset=start, include=["documents", "metadatas"])
        items = tuple(self._items(found))
        return ItemPage(items, pages.following(start, items, limit))

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        with _said():
            collection = self._collection(namespace)
            if collection is None or not ids:
                return ()
            return tuple(self._items(collection.get(ids=list(ids), include=["documents", "metadatas"])))

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        with _said():
            collection = self._collection(namespace)
            there = collection.get(ids=list(ids), include=[])["ids"] if collection is not None and ids else []
            if collection is not None and there:
                collection.delete(ids=there)
                self._pages.setdefault(namespace, OffsetPages()).note(len(there))

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        with _said():
            collection = self._collection(namespace)
            if collection is None:
                raise InvalidInputError(Code.STORE_UNKNOWN, f"there is no collection `{namespace[:80]}`")
            found = collection.get(ids=list(ids), include=["metadatas"])
            changed = [{**(one or {}), field: value} for one in found["metadatas"]]
            collection.update(ids=found["ids"], metadatas=changed)

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        with _said():
            collection = self._collection(namespace)
            if empty and collection is not None and not collection.count():
                self._client.delete_collection(namespace)
        with self._let_go():
            with _said():
                segments = self._rewrite()
            for folder in self._folders():
                if folder.name not in segments:
                    shutil.rmtree(folder)
        dropped = ("drop",) if empty else ()
        return Finished(
            ("queue-scrub", "vacuum", "folder-cleanup", "index-blanking", *dropped), ("backups of the directory",)
        )

    def _rewrite(self) -> frozenset[str]:
        """Take deleted content out of the database; the ids of the segments that are left."""
        database = sqlite3.connect(self._path / _DATABASE, isolation_level=None, timeout=5)
        try:
            database.execute("PRAGMA secure_delete=ON")
            # what was added is still played back to the vector index, as nothing, and then deleted from it
            database.execute(
                "UPDATE embeddings_queue SET metadata = '{}', vector = zeroblob(length(vector)) WHERE operation != ?"
                " AND seq_id < (SELECT max(seq_id) FROM embeddings_queue AS later WHERE later.topic ="
                " embeddings_queue.topic AND later.id = embeddings_queue.id AND later.operation = ?)",
                (_DELETED, _DELETED),
            )
            # and of collections that are gone nothing is
            database.execute(
                "DELETE FROM embeddings_queue WHERE NOT EXISTS (SELECT 1 FROM collections"
                " WHERE embeddings_queue.topic LIKE '%' || collections.id)"
            )
            database.execute("INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES('optimize')")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return frozenset(str(row[0]) for row in database.execute("SELECT id FROM segments"))
        finally:
            database.close()

    @contextlib.contextmanager
    def _let_go(self) -> Iterator[None]:
        """Work on the files while no client has them, once unused room is empty."""
        self.close()
        try:
            yield
        except OSError as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"a folder cannot be changed: {error.strerror}") from error
        finally:
            self._connect()

    def _folders(self) -> list[Path]:
        return [one for one in self._path.iterdir() if _SEGMENT.fullmatch(one.name) and not one.is_symlink()]

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        with self._let_go():
            found = searched(self._path, markers)
        with _said():
            collection = self._collection(namespace)
            left = collection is not None and collection.count() > 0
        if found.residual is ResidualBytes.NONE and left:
            why = f"{found.method}: no text is left, but the index of a collection in use keeps their vectors"
            return Residue(ResidualBytes.NOT_CHECKABLE, why)
        return found

    def close(self) -> None:
        self._client.close()
        try:
            for folder in self._folders():
                _blank_unused(folder)
        except OSError as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"a folder cannot be changed: {error.strerror}") from error

    def _collection(self, namespace: str) -> Any | None:
        if not _NAME.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no collection")
        try:
            return self._client.get_collection(namespace, embedding_function=None)
        except (ValueError, self._chroma.errors.NotFoundError):
            return None

    def _items(self, found: Any) -> Iterator[Item]:
        for key, text, fields in zip(found["ids"], found["documents"], found["metadatas"], strict=True):
            yield item_of(key, text, fields or {}, created=self._store.created_field)


def _blank_unused(folder: Path) -> None:
    """Write zeros over the room of a vector index that no item uses.

    A file of another form than is known here is left as it is: what is in it is for the search to find.
    """
    header = folder / _INDEX_HEADER
    if not header.is_file() or header.is_symlink():
        return
    told = header.read_bytes()[: _INDEX_FORM.size]
    if len(told) < _INDEX_FORM.size:
        return
    form, start, room, used, width = _INDEX_FORM.unpack(told)
    if (form, start) == (_INDEX_VERSION, 0) and width > 0:
        _blank_after(folder / _INDEX, width, used, room)
        _blank_after(folder / _LENGTHS, _LENGTH, used, room)


def _blank_after(data: Path, width: int, used: int, room: int) -> None:
    if not data.is_file() or data.is_symlink():
        return
    there = data.stat().st_size  # of an index that grew, what is in use is saved in place, and no more
    if there % width or not used * width <= there <= room * width:
        return
    with data.open("r+b") as file:
        file.seek(used * width)
        left = there - used * width
        while left:
            left -= file.write(bytes(min(left, _AT_ONCE)))
        file.flush()
        os.fsync(file.fileno())


def _named(collection: Any) -> str:
    return str(collection.name)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (InvalidInputError, UnavailableError):
        raise
    except Exception as error:  # the client library raises errors of a dozen roots
        raise UnavailableError(Code.STORE_UNREACHABLE, f"Chroma refuses: {str(error)[:200]}") from error
