"""Keeps what a running purge will look for on disk: sealed, in a file of its own, gone when the purge is over."""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.sealing import Sealer

__all__ = ["FileSamples"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


class FileSamples:
    """One sealed file per purge in a folder that only this user can read."""

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self._folder = folder
        self._sealer = sealer.derive("purge-samples")

    def put(self, purge: str, samples: Sequence[bytes]) -> None:
        sealed = self._sealer.seal(
            orjson.dumps([b64encode(each).decode() for each in samples]), belongs_to=purge.encode()
        )
        path = self._path(purge)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnavailableError(
                Code.DISK_LOW, f"what is to be looked for cannot be kept: {error.strerror}"
            ) from error

    def get(self, purge: str) -> Sequence[bytes]:
        """What was kept; nothing if that is not there, or not what was kept."""
        try:
            sealed = self._path(purge).read_bytes()
            opened = self._sealer.open(sealed, belongs_to=purge.encode())
        except (OSError, InvalidInputError):
            return ()
        return tuple(b64decode(each) for each in orjson.loads(opened))

    def drop(self, purge: str) -> None:
        self._path(purge).unlink(missing_ok=True)

    def _path(self, purge: str) -> Path:
        assert _NAME.fullmatch(purge)  # noqa: S101 - an id of ours
        return self._folder / f"{purge}.sealed"
