"""Database files that are their owner's alone."""

from __future__ import annotations

import os
from pathlib import Path

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = ["create_private"]


def create_private(path: Path) -> None:
    """Make the file unless it is there, readable by its owner alone: SQLite gives its others the same mode.

    Raises:
        UnavailableError: it cannot be opened, or is a link.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise UnavailableError(
            Code.AUDIT_UNAVAILABLE, f"`{path.name}` cannot be opened", cause=repr(error)[:400]
        ) from error
