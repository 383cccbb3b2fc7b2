"""Sessions of baselines, in this process only: for tests, and what the port means in a few lines."""

from __future__ import annotations

from collections.abc import Collection

from accredit.kernel.canonical import Digest

__all__ = ["MemoryFittedStore"]


class MemoryFittedStore:
    """A `FittedStore` in a dict."""

    def __init__(self) -> None:
        self._kept: dict[Digest, bytes] = {}

    def put(self, digest: Digest, kept: bytes) -> None:
        self._kept[digest] = kept

    def get(self, digest: Digest) -> bytes | None:
        return self._kept.get(digest)

    def keep_only(self, digests: Collection[Digest]) -> int:
        over = [digest for digest in self._kept if digest not in digests]
        for digest in over:
            del self._kept[digest]
        return len(over)

    def close(self) -> None:
        """There is nothing to let go of."""
