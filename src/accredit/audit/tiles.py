"""The log as static resources: C2SP tlog-tiles, for `/log/tile/*` and for exports.

Only what the newest published checkpoint covers is given out, so that everything served can be proven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from accredit.audit.merkle import TILE_WIDTH
from accredit.audit.ports import LogReader
from accredit.audit.records import leaf_data
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError

__all__ = ["TileAddress", "entries_of", "parse_tile_path", "read_tile", "tiles_of"]

_PATH = re.compile(
    r"(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class TileAddress:
    """One tile of hashes, or with level None one bundle of entries; `width` 256 is a full one."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """`<level>/<index>[.p/<width>]`, the index in elements of three digits."""
        level = "entries" if self.level is None else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        spelled = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"{level}/{spelled}" + ("" if self.width == TILE_WIDTH else f".p/{self.width}")


def parse_tile_path(path: str) -> TileAddress:
    """Read what follows `/log/tile/`.

    Raises:
        NotFoundError: the path names no tile.
    """
    match = _PATH.fullmatch(path) if path.isascii() else None
    if match is not None:
        level = None if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("/", "").replace("x", ""))
        address = TileAddress(level, index, int(match["width"] or TILE_WIDTH))
        if address.path() == path and (level or 0) < 64:  # one spelling each
            return address
    raise NotFoundError(Code.NOT_FOUND, f"`{path[:80]}` names no tile of the log")


def read_tile(reader: LogReader, address: TileAddress, *, size: int) -> bytes:
    """The bytes of a tile of the log as it was at `size`, the size of a published checkpoint.

    Raises:
        NotFoundError: that log has no such tile.
    """
    level = address.level or 0
    start = address.index * TILE_WIDTH
    stop = start + address.width
    if stop > size // TILE_WIDTH**level:
        raise NotFoundError(Code.NOT_FOUND, f"the log has no tile `{address.path()}` at its newest checkpoint")
    if address.level is None:
        data = [leaf_data(header, body) for _, header, body, *_ in reader.rows(start, stop)]
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in data)
    return b"".join(reader.hashes(level, start, stop))


def tiles_of(size: int) -> list[TileAddress]:
    """Every tile and bundle of a log of that size, the partial ones at its edge included."""
    addresses = []
    level, count = 0, size
    while count:
        spans = [(index, TILE_WIDTH) for index in range(count // TILE_WIDTH)]
        if count % TILE_WIDTH:
            spans.append((count // TILE_WIDTH, count % TILE_WIDTH))
        addresses += [TileAddress(level, index, width) for index, width in spans]
        if level == 0:
            addresses += [TileAddress(None, index, width) for index, width in spans]
        level, count = level + 1, count // TILE_WIDTH
    return addresses


def entries_of(bundle: bytes) -> list[bytes]:
    """The entries in a bundle.

    Raises:
        ValueError: the framing is broken.
    """
    entries = []
    at = 0
    while at < len(bundle):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        if at > len(bundle) or start > len(bundle):
            raise ValueError("an entry is cut short")
        entries.append(bundle[start:at])
    return entries
