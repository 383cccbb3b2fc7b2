"""A checkpoint kept beside the log, not in it: the least that notices a log put back from an older copy."""

from __future__ import annotations

import os
from pathlib import Path

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = ["CheckpointFile"]


class CheckpointFile:
    """Holds the newest published checkpoint in a file of its own; replaced whole, never torn."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest(self) -> bytes | None:
        """The checkpoint kept, None if there is none yet.

        Raises:
            UnavailableError: there is one and it cannot be read.
        """
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnavailableError(
                Code.AUDIT_UNAVAILABLE, "the kept checkpoint cannot be read", cause=repr(error)
            ) from error

    def keep(self, note: bytes) -> None:
        """Replace the checkpoint kept.

        Raises:
            UnavailableError: it could not be written; the one before is still there.
        """
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            handle = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            try:
                os.write(handle, note)
                os.fsync(handle)
            finally:
                os.close(handle)
            fresh.replace(self._path)
        except OSError as error:
            raise UnavailableError(
                Code.AUDIT_UNAVAILABLE, "the newest checkpoint could not be kept", cause=repr(error)
            ) from error
