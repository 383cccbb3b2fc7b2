"""Each kind of store as the conformance suite fills, opens and searches it."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accredit.lifecycle.ports import StoreAdapter
from accredit.registry.model import Environment, Store
from accredit.storage.stores.files import FolderStore
from accredit.storage.stores.sqlite import SqliteItemStore

NAMESPACE = "support"
OTHER = "billing"


@dataclass(frozen=True, slots=True)
class Row:
    """What is put into a store."""

    id: str
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of store; `root` of a filled one is where its bytes are."""

    name: str
    fill: Callable[[Path, str, Sequence[Row]], None]
    """Put items into a namespace the way an application would."""
    open: Callable[[Store, Path], StoreAdapter]
    place: Callable[[Path], Path]
    """Within a directory of the test."""
    needs: str | None = None
    """The package without which it is not tested here."""
    owners: bool = True
    """Whether an item can name its owner."""
    searchable: bool = True
    """Whether the test itself can look for bytes."""

    @property
    def there(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def store(kind: str, location: Path | str, **changed: Any) -> Store:
    made = Store(
        name="shelf",
        environment=Environment.PRODUCTION,
        adapter=kind,
        location=os.fspath(location),
        credential=None,
        namespaces=("support", "billing"),
        shared=False,
        owner_field="agent_id",
        subject_field="subject",
        key_scope=None,
        id_field="id",
        text_field="text",
        created_field=None,
    )
    return replace(made, **changed)


def _fill_sqlite(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(
        f'CREATE TABLE IF NOT EXISTS "{namespace}" (id TEXT PRIMARY KEY, text TEXT, agent_id TEXT, subject TEXT,'
        " embedding BLOB)"
    )
    database.executemany(
        f'INSERT INTO "{namespace}" VALUES (?, ?, ?, ?, ?)',  # noqa: S608 - a test's own name
        ((one.id, one.text, one.fields.get("agent_id"), one.fields.get("subject"), b"\1\2\3\4") for one in rows),
    )
    database.commit()
    database.close()


def _fill_files(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    for one in rows:
        file = path / namespace / one.id[:2] / one.id
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(one.text)


KINDS: tuple[Kind, ...] = (
    Kind("sqlite", _fill_sqlite, SqliteItemStore, lambda path: path / "memory.db"),
    Kind("files", _fill_files, FolderStore, lambda path: path / "memory", owners=False),
)
