"""A folder whose sub-folders are the namespaces and whose files are the items.

Nothing outside the folder is touched: links are neither followed nor deleted through, and an id that leads out of its
namespace is none. A file is overwritten before it is removed; what a file system keeps of it all the same, in
snapshots, journals or spare blocks of a flash drive, nobody can see from here.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import Capabilities, Finished, Holding, Item, ItemPage, Residue
from accredit.registry.model import Store
from accredit.storage.stores.reading import bounded
from accredit.storage.stores.residue import searched

__all__ = ["FolderStore"]

_MOST_READ: Final = 262_144 * 4
_BLOCK: Final = b"\0" * 65_536


class FolderStore:
    """Items as files, by their path below the namespace."""

    def __init__(self, store: Store, path: Path) -> None:
        if not path.is_dir() or path.is_symlink():
            raise UnavailableError(Code.STORE_UNREACHABLE, "there is no such folder")
        self._store = store
        self._root = path
        self._reading: tuple[str, str | None, Iterator[tuple[str, Path]]] | None = None
        """Namespace, cursor and the rest of what is being read."""

    @property
    def version(self) -> str:
        return f"files {sys.platform}"

    def capabilities(self) -> Capabilities:
        return Capabilities(filter_by=("time",), compact=False, drop=True, residual_probe=True)

    def inventory(self) -> Sequence[Holding]:
        with _said():
            found = []
            for entry in sorted(os.scandir(self._root), key=lambda each: each.name):
                if entry.is_dir(follow_symlinks=False):
                    sizes = [(path.lstat().st_size, path.lstat().st_mtime_ns) for _, path in self._files(entry.name)]
                    times = [when // 1_000 for _, when in sizes]
                    found.append(
                        Holding(
                            entry.name,
                            len(sizes),
                            sum(size for size, _ in sizes),
                            min(times, default=None),
                            max(times, default=None),
                        )
                    )
            return found

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        found: list[Item] = []
        with _said():
            if after is None or self._reading is None or self._reading[:2] != (namespace, after):
                start = tuple(after.split("/")) if after is not None else ()
                self._reading = (namespace, after, self._sorted(self._folder(namespace), (), start))
            last = None
            for key, path in self._reading[2]:
                item = self._item(key, path)
                if item is not None:
                    found.append(item)
                    last = key
                if len(found) == limit:
                    break
        self._reading = (namespace, last, self._reading[2])
        return ItemPage(tuple(found), last if len(found) == limit else None)

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        with _said():
            found = [(each, self._path(namespace, each)) for each in ids]
            return tuple(
                item for key, path in found if path is not None and (item := self._item(key, path)) is not None
            )

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        with _said():
            for each in ids:
                path = self._path(namespace, each)
                if path is None:
                    continue
                with path.open("r+b") as file:
                    left = os.fstat(file.fileno()).st_size
                    while left > 0:
                        left -= file.write(_BLOCK[: min(left, len(_BLOCK))])
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        del namespace, ids, field, value
        raise InvalidInputError(Code.BODY_MALFORMED, "a file names no owner")

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        folder = self._folder(namespace)
        with _said():
            if empty and folder.is_dir():
                for inner, _, _ in os.walk(folder, topdown=False):
                    with contextlib.suppress(OSError):  # somebody put a file there meanwhile
                        Path(inner).rmdir()
        return Finished(("overwrite", *(["drop"] if empty else [])), ("snapshots and backups of the file system",))

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del namespace
        return searched(self._root, markers, but="; blocks that no file has any more cannot be seen")

    def close(self) -> None:
        """Nothing is open."""

    # -- within the folder

    def _folder(self, namespace: str) -> Path:
        if not namespace or namespace in {".", ".."} or "/" in namespace or "\0" in namespace:
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no folder")
        return self._root / namespace

    def _files(self, namespace: str) -> Iterator[tuple[str, Path]]:
        """(id, path) of every regular file; links are not there."""
        return self._sorted(self._folder(namespace), (), ())

    def _sorted(self, folder: Path, above: tuple[str, ...], after: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        """In the order of the parts of their ids, from after one on; one folder's names at a time are in memory."""
        if folder.is_symlink() or not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if not after or each.name >= after[0])
        for name in names:
            path, key = folder / name, (*above, name)
            rest = after[1:] if after and name == after[0] else ()
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                yield from self._sorted(path, key, rest)
            elif stat.S_ISREG(mode) and not (after and name == after[0]):
                yield "/".join(key), path

    def _path(self, namespace: str, key: str) -> Path | None:
        """The file of an id, None if there is none; no part of the way may be a link."""
        folder = self._folder(namespace)
        parts = key.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\0" in key:
            return None
        path = folder
        for part in ["", *parts]:
            path = path / part if part else path
            if not os.path.lexists(path):
                return None
            if path.is_symlink():
                return None
        return path if stat.S_ISREG(path.lstat().st_mode) else None

    def _item(self, key: str, path: Path) -> Item | None:
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_READ + 1)
            when = path.lstat().st_mtime_ns // 1_000
        except FileNotFoundError:
            return None
        text, whole = bounded(data[:_MOST_READ].decode("utf-8", "replace"))
        return Item(key, text, {}, when, whole and len(data) <= _MOST_READ)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(Code.STORE_UNREACHABLE, f"the folder refuses: {error.strerror}") from error
