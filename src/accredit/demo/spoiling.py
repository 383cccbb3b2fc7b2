"""Copies of a data directory, spoilt by somebody who can write its files, and an installation opened on one."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from accredit.audit.state import row_digest
from accredit.bootstrap import Running, run
from accredit.kernel.canonical import canonical
from accredit.kernel.clock import Clock
from accredit.serving import bound, served
from accredit.settings import Settings

__all__ = ["change_a_byte", "copied", "cut_the_tail", "edit_row", "forget_row", "opened", "put_row", "row_of"]


def copied(source: Path, target: Path, spoil: Callable[[Path], None] = lambda _: None) -> Path:
    """A consistent copy of a data directory in use, spoilt."""
    target.mkdir(mode=0o700)
    for file in source.iterdir():
        if file.is_file() and not file.name.startswith(("audit.db", "control.db", "deferred.db", "lock")):
            shutil.copy2(file, target / file.name)
    for name in ("audit.db", "control.db"):
        with (
            contextlib.closing(sqlite3.connect(source / name)) as original,
            contextlib.closing(sqlite3.connect(target / name)) as copy,
        ):
            original.backup(copy)
        (target / name).chmod(0o600)
    spoil(target)
    return target


def change_a_byte(data: Path) -> None:
    """One byte of the record 7."""
    with contextlib.closing(sqlite3.connect(data / "audit.db")) as log, log:
        (body,) = log.execute("SELECT body FROM records WHERE seq = 7").fetchone()
        log.execute("UPDATE records SET body = ? WHERE seq = 7", (body.replace(b"0", b"1", 1),))


def cut_the_tail(data: Path) -> None:
    """The newest records are gone."""
    with contextlib.closing(sqlite3.connect(data / "audit.db")) as log, log:
        (size,) = log.execute("SELECT max(seq) FROM records").fetchone()
        log.execute("DELETE FROM records WHERE seq > ?", (size - 3,))


def row_of(data: Path, kind: str, key: str) -> Mapping[str, Any]:
    """What is stored under a key."""
    with contextlib.closing(sqlite3.connect(data / "control.db")) as state:
        (doc,) = state.execute("SELECT doc FROM state WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    found: Mapping[str, Any] = orjson.loads(doc)
    return found


def put_row(data: Path, kind: str, key: str, doc: Mapping[str, Any]) -> None:
    """Write a row whose own digest fits, as somebody would who has read our source."""
    text = canonical(doc)
    with contextlib.closing(sqlite3.connect(data / "control.db")) as state, state:
        state.execute(
            "UPDATE state SET doc = ?, digest = ? WHERE kind = ? AND key = ?",
            (text, row_digest(kind, key, text), kind, key),
        )


def edit_row(kind: str, key: str, **changed: Any) -> Callable[[Path], None]:
    """Change some of a row's fields."""
    return lambda data: put_row(data, kind, key, {**row_of(data, kind, key), **changed})


def forget_row(kind: str, key: str) -> Callable[[Path], None]:
    """Delete a row."""

    def spoil(data: Path) -> None:
        with contextlib.closing(sqlite3.connect(data / "control.db")) as state, state:
            state.execute("DELETE FROM state WHERE kind = ? AND key = ?", (kind, key))

    return spoil


@contextlib.asynccontextmanager
async def opened(data: Path, clock: Clock, *, public_url: str) -> AsyncIterator[tuple[str, Running]]:
    """An installation on that directory and the address it is reached at; tokens of `public_url` hold there too."""
    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    settings = Settings(port=port, public_url=public_url, allowed_hosts=(f"127.0.0.1:{port}",), disk_reserve_mb=0)
    async with run(data, settings, port=port, clock=clock) as running, served(running.app, listener) as url:
        yield url, running
