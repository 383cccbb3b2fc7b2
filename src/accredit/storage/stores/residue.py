"""Looks for bytes of deleted items in the files of a store: all of them, whatever they are called."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.lifecycle.stored import ResidualBytes, Residue

__all__ = ["searched"]

_CHUNK: Final = 4 * 2**20
_MOST_FILES: Final = 1_000_000
_MOST_BYTES: Final = 64 * 2**30


def searched(root: Path, markers: Sequence[bytes], *, but: str = "") -> Residue:
    """What of the markers stands in any file at or below a path. `but` says what such a search cannot see.

    Raises:
        UnavailableError: a file cannot be read.
    """
    if not markers:
        return Residue(ResidualBytes.NOT_CHECKABLE, "nothing to look for")
    wanted = re.compile(b"|".join(re.escape(each) for each in sorted(markers)))
    overlap, found, read, files = max(len(each) for each in markers) - 1, set(), 0, 0
    try:
        for path in _files(root):
            files += 1
            with path.open("rb") as file:
                tail = b""
                while chunk := file.read(_CHUNK):
                    read += len(chunk)
                    if wanted.search(tail + chunk):
                        found.add(os.fspath(path.relative_to(root)) if path != root else path.name)
                        break
                    tail = chunk[-overlap:] if overlap else b""
            if files > _MOST_FILES or read > _MOST_BYTES:
                return Residue(ResidualBytes.NOT_CHECKABLE, "there is more on disk than is searched")
    except OSError as error:
        raise UnavailableError(
            Code.STORE_UNREACHABLE, f"a file of the store cannot be read: {error.strerror}"
        ) from error
    if found:
        return Residue(ResidualBytes.FOUND, f"{len(markers)} samples searched in {files} files", tuple(sorted(found)))
    return Residue(ResidualBytes.NONE, f"{len(markers)} samples searched in {files} files, {read} bytes{but}")


def _files(root: Path) -> Iterator[Path]:
    """Every regular file at, below or beside a path that belongs to it; links are not followed."""
    if not root.is_dir():
        # what a database keeps beside its file: journal, write-ahead log, shared memory
        yield from (each for each in sorted(root.parent.glob(f"{root.name}*")) if _regular(each))
        return
    for folder, _, names in os.walk(root):
        yield from (path for name in sorted(names) if _regular(path := Path(folder) / name))


def _regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
