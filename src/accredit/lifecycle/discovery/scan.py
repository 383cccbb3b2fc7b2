"""Looks through a folder. Nothing in it is run, changed or followed, and nothing of it can make this take for ever.

Every folder and file is opened below the one before it and never through a link, so what is read lies in the folder
even if somebody moves things about meanwhile. Pipes, sockets and devices are not opened. Archives are not unpacked.
What a folder of packages holds is somebody else's program, and is left out.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.lifecycle.discovery.code import PYTHON_MODULES
from accredit.lifecycle.discovery.detectors import FileFormat, candidates, traces_in
from accredit.lifecycle.discovery.model import ScanBounds, ScanReport, Trace
from accredit.lifecycle.discovery.shown import Secrets, tidy

__all__ = ["scan"]

_PACKAGES: Final = frozenset(
    {
        ".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "virtualenv", "site-packages", "dist-packages",
        "node_modules", "bower_components", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".gradle",
        ".terraform", ".next", ".yarn", ".pnpm-store", ".cargo", "__pypackages__",
    }
)  # fmt: skip
_ARCHIVES: Final = frozenset(
    {"zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "whl", "jar", "war", "egg", "iso", "dmg", "deb", "rpm"}
)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_BOUNDS: Final = ScanBounds()
_MOST_ENTRIES: Final = 100_000
"""Of one folder."""


def scan(root: Path, *, salt: bytes, bounds: ScanBounds = _BOUNDS) -> ScanReport:
    """Look through a folder, or at one file. Equal folders give equal reports, under the same salt.

    Raises:
        NotFoundError: there is nothing there, or it cannot be opened.
    """
    return _Scan(salt, bounds).of(root)


class _FullError(Exception):
    """A bound of the whole scan is reached."""


class _Scan:
    def __init__(self, salt: bytes, bounds: ScanBounds) -> None:
        self._secrets = Secrets(salt)
        self._bounds = bounds
        self._traces: list[Trace] = []
        self._skipped: Counter[str] = Counter()
        self._files = self._read = self._bytes = 0
        self._whole = True

    def of(self, root: Path) -> ScanReport:
        try:
            root.stat()
            if root.is_dir():
                descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._guarded(descriptor, frozenset())
            else:
                descriptor = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    self._file(descriptor, root.name, self._alone(root), frozenset())
                except _FullError:
                    self._whole = False
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise NotFoundError(
                Code.NOT_FOUND, f"`{tidy(str(root))}` cannot be opened: {(error.strerror or '').lower()}"
            ) from error
        traces = sorted(dict.fromkeys(self._traces), key=lambda one: one.place)
        return ScanReport(tuple(traces), self._files, self._read, dict(sorted(self._skipped.items())), self._whole)

    @staticmethod
    def _alone(root: Path) -> str:
        """The path of a file that is looked at by itself: the folders it lies in may say what it is."""
        return "/".join(root.absolute().parts[-4:])

    def _guarded(self, descriptor: int, local: frozenset[str]) -> None:
        try:
            self._folder(descriptor, "", 0, local)
        except _FullError:
            self._whole = False

    def _folder(self, descriptor: int, path: str, depth: int, local: frozenset[str]) -> None:
        """Everything in an open folder, which is closed. `local` are modules that programs here mean by their names."""
        try:
            folders, files = self._listed(descriptor)
            local |= self._modules(descriptor, folders, files)
            for name in files:
                self._file(descriptor, name, f"{path}{name}", local)
            for name in folders:
                if name.lower() in _PACKAGES:
                    self._skipped["packages"] += 1
                elif depth >= self._bounds.depth:
                    self._skipped["too deep"] += 1
                    self._whole = False
                else:
                    try:
                        below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                    except OSError:
                        self._skipped["cannot be opened"] += 1
                        continue
                    self._folder(below, f"{path}{name}/", depth + 1, local)
        finally:
            os.close(descriptor)

    def _listed(self, descriptor: int) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if len(folders) + len(files) >= _MOST_ENTRIES:
                        self._skipped["too many in one folder"] += 1
                        self._whole = False
                        break
                    if entry.is_symlink():
                        self._skipped["link"] += 1
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        files.append(entry.name)
        except OSError:
            self._skipped["cannot be opened"] += 1
        return sorted(folders), sorted(files)

    @staticmethod
    def _modules(descriptor: int, folders: list[str], files: list[str]) -> frozenset[str]:
        """What a program here gets when it imports one of the names that are recognised; none of a package's own."""
        if "__init__.py" in files:
            return frozenset()
        found = {name[:-3] for name in files if name.endswith(".py")} & PYTHON_MODULES
        for name in PYTHON_MODULES.intersection(folders):
            try:
                os.stat(f"{name}/__init__.py", dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            found.add(name)
        return frozenset(found)

    # -- one file

    def _file(self, descriptor: int, name: str, path: str, local: frozenset[str]) -> None:
        self._files += 1
        if self._files > self._bounds.files:
            raise _FullError
        rows = candidates(path)
        if not rows:
            if name.rsplit(".", 1)[-1].lower() in _ARCHIVES:
                self._skipped["archive"] += 1
            return
        shown = tidy(path, 400)
        content = self._content(descriptor, name, rows)
        if isinstance(content, str):
            self._unread(rows, shown, content)
            return
        failed: set[str] = set()
        for row in rows:
            if row.language in failed or (row.words is not None and row.words.search(content) is None):
                continue
            found = self._found(row, shown, content, local)
            if isinstance(found, str):
                if not failed:
                    self._unread((row,), shown, found)
                failed.add(row.language)
                continue
            for one in found:
                self._keep(one)
            if found:
                return

    def _found(self, row: FileFormat, path: str, content: bytes, local: frozenset[str]) -> list[Trace] | str:
        """What a row finds, or why it cannot read the file."""
        if len(content) > row.most_bytes:
            return "too large"
        try:
            return traces_in(row, path, content, self._secrets, local)
        except InvalidInputError as error:
            return error.message

    def _content(self, descriptor: int, name: str, rows: tuple[FileFormat, ...]) -> bytes | str:
        """What is in a file, or why that is not known."""
        try:
            opened = os.open(name, _FILE, dir_fd=descriptor)
        except OSError:
            return "cannot be opened"
        try:
            told = os.fstat(opened)
            if not stat.S_ISREG(told.st_mode):
                return "no plain file"
            if told.st_size > min(self._bounds.file_bytes, max(row.most_bytes for row in rows)):
                return "too large"
            if self._read >= self._bounds.read or self._bytes + told.st_size > self._bounds.total_bytes:
                self._whole = False
                return "beyond the bounds of a scan"
            self._read += 1
            content = b"".join(_chunks(opened, told.st_size))
        except OSError:
            return "cannot be read"
        finally:
            os.close(opened)
        self._bytes += len(content)
        return content

    def _unread(self, rows: tuple[FileFormat, ...], path: str, why: str) -> None:
        """A file that is surely such a configuration is told of; the others are counted."""
        self._skipped[why] += 1
        sure = next((row for row in rows if row.certain), None)
        if sure is not None:
            self._keep(Trace(sure.name, sure.kind, path, unread=why))

    def _keep(self, one: Trace) -> None:
        if len(self._traces) >= self._bounds.traces:
            raise _FullError
        self._traces.append(one)


def _chunks(descriptor: int, most: int) -> Iterator[bytes]:
    """At most so many bytes: the file may grow while it is read."""
    while most > 0 and (chunk := os.read(descriptor, min(most, 1 << 18))):
        yield chunk
        most -= len(chunk)
