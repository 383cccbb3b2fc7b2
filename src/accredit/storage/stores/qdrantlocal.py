"""A folder that `qdrant-client` keeps in local mode; its collections are the namespaces.

Each collection is a SQLite database of pickled points. They are read by the client itself, which opens pickles: so
such a folder is opened only where the operator of the machine set a directory aside, and whoever can write there can
already run programs as the agents that use it.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import Capabilities, Finished, Holding, Item, ItemPage, Residue
from accredit.registry.model import Store
from accredit.storage.stores.reading import item_of, missing
from accredit.storage.stores.residue import searched

__all__ = ["QdrantFolderStore"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}")


class QdrantFolderStore:
    """Items as points: their text and fields are in the payload."""

    def __init__(self, store: Store, path: Path) -> None:
        try:
            from qdrant_client import QdrantClient, models  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing("store-qdrant", "qdrant-client") from error
        if not (path / "meta.json").is_file():
            raise UnavailableError(Code.STORE_UNREACHABLE, "there is no such folder of Qdrant's")
        self._make, self._models = QdrantClient, models
        self._store, self._path = store, path
        self._client: Any = None
        self._connect()

    def _connect(self) -> None:
        with _said():
            self._client = self._make(path=str(self._path))

    @property
    def version(self) -> str:
        return f"qdrant-client {version('qdrant-client')}, local mode"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            filter_by=("agent", "user", "session"), assign=True, compact=True, drop=True, residual_probe=True
        )

    def inventory(self) -> Sequence[Holding]:
        with _said():
            names = sorted(one.name for one in self._client.get_collections().collections)
            return [Holding(name, self._client.count(name).count) for name in names]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        with _said():
            if not self._there(namespace):
                return ItemPage((), None)
            points, following = self._client.scroll(
                namespace, limit=limit, offset=None if after is None else _key(after), with_payload=True,
                with_vectors=False,
            )  # fmt: skip
        return ItemPage(tuple(self._item(one) for one in points), None if following is None else str(following))

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        keys = [key for one in ids if (key := _key(one)) is not None]
        with _said():
            if not self._there(namespace) or not keys:
                return ()
            return tuple(self._item(one) for one in self._client.retrieve(namespace, keys, with_payload=True))

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        keys = [key for one in ids if (key := _key(one)) is not None]
        with _said():
            if self._there(namespace) and keys:
                there = [one.id for one in self._client.retrieve(namespace, keys, with_payload=False)]
                if there:
                    self._client.delete(namespace, self._models.PointIdsList(points=there))

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        with _said():
            keys = [key for one in ids if (key := _key(one)) is not None]
            self._client.set_payload(namespace, payload={field: value}, points=keys)

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        with _said():
            if empty and self._there(namespace) and not self._client.count(namespace).count:
                self._client.delete_collection(namespace)
            self._client.close()
        try:
            for path in sorted(self._path.glob("collection/*/storage.sqlite")):
                database = sqlite3.connect(path, isolation_level=None, timeout=5)
                try:
                    database.execute("PRAGMA secure_delete=ON")
                    database.execute("VACUUM")
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    database.close()
        except sqlite3.Error as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"a collection cannot be rewritten: {error}") from error
        finally:
            self._connect()
        return Finished(("vacuum", *(["drop"] if empty else [])), ("backups of the folder",))

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del namespace
        return searched(self._path, markers)

    def close(self) -> None:
        self._client.close()

    def _there(self, namespace: str) -> bool:
        if not _NAME.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no collection")
        return bool(self._client.collection_exists(namespace))

    def _item(self, point: Any) -> Item:
        fields = dict(point.payload or {})
        return item_of(str(point.id), fields.pop(self._store.text_field, ""), fields, created=self._store.created_field)


def _key(text: str) -> int | str | None:
    """A point's id: a number or a UUID; None if it can be none."""
    if text.isdecimal() and len(text) < 20:
        return int(text)
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (InvalidInputError, UnavailableError):
        raise
    except Exception as error:  # the client library raises errors of several roots
        raise UnavailableError(Code.STORE_UNREACHABLE, f"Qdrant refuses: {str(error)[:200]}") from error
