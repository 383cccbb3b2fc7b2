"""The RFC 6962 tree: what makes the log provable, as pure functions of hashes.

Written here because no Python package is fit to rely on; the tests compare it with two independent ones. The traps it
avoids are tests too: leaves and nodes hash under different first bytes, an odd node is promoted and never doubled or
padded, the empty tree is SHA-256 of nothing, every split is at the largest power of two strictly below n, and a proof
of any length but the right one is refused. Section numbers are RFC 9162's, which restates RFC 6962.

The tree is kept in tiles of 256 hashes (C2SP tlog-tiles): the hash at (level, index) covers the entries
`index * 256**level` up to `(index + 1) * 256**level`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = [
    "EMPTY_ROOT",
    "TILE_WIDTH",
    "Frontier",
    "TileReader",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "subtree_root",
    "tree_root",
    "verify_consistency",
    "verify_inclusion",
]

TILE_WIDTH = 256
EMPTY_ROOT = hashlib.sha256(b"").digest()

_HASH_SIZE = 32
_NODE = b"\x01"
_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """§2.1.1: the hash of one entry."""
    return _sha256(b"\x00" + data).digest()


def tree_root(hashes: Sequence[bytes], *, node: bytes = _NODE) -> bytes:
    """§2.1.1: the root over leaf hashes, or over roots of equal complete subtrees with a smaller one last.

    `node` is the domain byte of inner hashes, so that a tree of another kind can never pass for a part of this one.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    size = len(level)
    while size > 1:  # in place: each level overwrites the start of the one below
        at = 0
        for left in range(0, size - 1, 2):
            level[at] = _sha256(node + level[left] + level[left + 1]).digest()
            at += 1
        if size & 1:
            level[at] = level[size - 1]  # promoted as it is
            at += 1
        size = at
    return level[0]


def _split(size: int) -> int:
    """The largest power of two strictly below `size` (>= 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """§2.1.3.1: the siblings from the leaf up; `subtree(lo, hi)` gives the root over the entries lo <= i < hi.

    Raises:
        LookupError: the tree has no such entry.
    """
    if not 0 <= index < size:
        raise LookupError(f"a tree of {size} entries has none at {index}")
    lo, hi = 0, size
    siblings = []
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            siblings.append((middle, hi))
            hi = middle
        else:
            siblings.append((lo, middle))
            lo = middle
    return [subtree(*span) for span in reversed(siblings)]


def consistency_proof(older: int, newer: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """§2.1.4.1: shows that the tree of `newer` entries begins with the tree of `older`; empty if nothing is owed.

    Raises:
        LookupError: the older tree is not the smaller one.
    """
    if not 0 <= older <= newer:
        raise LookupError(f"a tree of {newer} entries does not begin with one of {older}")
    if older in {0, newer}:
        return []
    lo, hi = 0, newer
    spans = []
    while older != hi:
        middle = lo + _split(hi - lo)
        if older <= middle:
            spans.append((middle, hi))
            hi = middle
        else:
            spans.append((lo, middle))
            lo = middle
    if lo:  # the older tree is not itself a complete subtree of the newer one
        spans.append((lo, hi))
    return [subtree(*span) for span in reversed(spans)]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, *, node: bytes = _NODE
) -> bool:
    """§2.1.3.2: whether the entry with hash `leaf` stands at `index` in the tree of `size` entries under `root`.

    INVARIANT: `size` and `root` come from a signed checkpoint, never from whoever gave the proof.
    """
    if not 0 <= index < size or not _are_hashes(leaf, root, *proof):  # step 1
        return False
    position, last, hashed = index, size - 1, leaf  # steps 2 and 3
    for sibling in proof:  # step 4
        if last == 0:
            return False
        if position & 1 or position == last:
            hashed = _sha256(node + sibling + hashed).digest()
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            hashed = _sha256(node + hashed + sibling).digest()
        position >>= 1
        last >>= 1
    return last == 0 and hashed == root  # step 5


def verify_consistency(
    older: int, newer: int, older_root: bytes, newer_root: bytes, proof: Sequence[bytes], *, node: bytes = _NODE
) -> bool:
    """§2.1.4.2: whether the tree under `newer_root` begins with the tree under `older_root`.

    INVARIANT: sizes and roots come from signed checkpoints.
    """
    if not 0 <= older <= newer or not _are_hashes(older_root, newer_root, *proof):
        return False
    if older == newer:
        return not proof and older_root == newer_root
    if older == 0:
        return not proof and older_root == EMPTY_ROOT
    path = list(proof)
    if older & (older - 1) == 0:  # step 2: a power of two is its own first hash
        path.insert(0, older_root)
    if not path:  # step 1
        return False
    position, last = older - 1, newer - 1  # step 3
    while position & 1:  # step 4
        position >>= 1
        last >>= 1
    old_hash = new_hash = path[0]  # step 5
    for sibling in path[1:]:  # step 6
        if last == 0:
            return False
        if position & 1 or position == last:
            old_hash = _sha256(node + sibling + old_hash).digest()
            new_hash = _sha256(node + sibling + new_hash).digest()
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_hash = _sha256(node + new_hash + sibling).digest()
        position >>= 1
        last >>= 1
    return last == 0 and old_hash == older_root and new_hash == newer_root  # step 7


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == _HASH_SIZE for value in values)


class TileReader(Protocol):
    """Gives hashes of a stored tree."""

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        """The hashes start <= index < stop at that tile level; fewer if the tree does not hold them."""
        ...


def subtree_root(tiles: TileReader, lo: int, hi: int) -> bytes:
    """The root over the stored entries lo <= i < hi, where `lo` is aligned as every split of this tree is.

    Reads at most two tiles per level, so a proof over a million entries costs a few small reads.

    Raises:
        LookupError: the stored tree lacks a hash it should hold.
    """
    if lo == hi:
        return EMPTY_ROOT
    level, unit = 0, 1
    while unit * TILE_WIDTH <= hi - lo:
        level, unit = level + 1, unit * TILE_WIDTH
    first, count = lo // unit, (hi - lo) // unit
    hashes = tiles.hashes(level, first, first + count)
    if len(hashes) != count:
        raise LookupError(f"level {level} lacks a hash between {first} and {first + count}")
    middle = lo + count * unit
    if middle < hi:  # smaller than one hash of this level: it hangs, as one node, after the others
        hashes = [*hashes, subtree_root(tiles, middle, hi)]
    return tree_root(hashes)


class Frontier:
    """The right edge of a growing tree: all it takes to go on and to tell the root at every size."""

    __slots__ = ("_levels", "size")

    def __init__(self) -> None:
        self.size = 0
        self._levels: list[list[bytes]] = [[]]

    @classmethod
    def load(cls, tiles: TileReader, size: int) -> Frontier:
        """Continue a stored tree at `size`, reading only its unfinished tiles.

        Raises:
            LookupError: the stored tree lacks a hash it should hold.
        """
        edge = cls()
        edge.size = size
        edge._levels = []
        level, count = 0, size
        while True:
            start = count - count % TILE_WIDTH
            hashes = tiles.hashes(level, start, count)
            if len(hashes) != count - start:
                raise LookupError(f"level {level} lacks a hash between {start} and {count}")
            edge._levels.append(hashes)
            level, count = level + 1, count // TILE_WIDTH
            if not count:
                return edge

    def copy(self) -> Frontier:
        """An independent copy, to try a group of records on."""
        twin = Frontier()
        twin.size = self.size
        twin._levels = [list(level) for level in self._levels]
        return twin

    def append(self, leaves: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Add leaf hashes; returns (level >= 1, index, hash) of every tile this completed, to be stored."""
        completed: list[tuple[int, int, bytes]] = []
        at = 0
        while at < len(leaves):
            room = TILE_WIDTH - len(self._levels[0])
            taken = leaves[at : at + room]
            at += len(taken)
            self._levels[0] += taken
            self.size += len(taken)
            level = 0
            while len(self._levels[level]) == TILE_WIDTH:
                root = tree_root(self._levels[level])
                self._levels[level] = []
                level += 1
                if level == len(self._levels):
                    self._levels.append([])
                self._levels[level].append(root)
                completed.append((level, self.size // TILE_WIDTH**level - 1, root))
        return completed

    def root(self) -> bytes:
        """The root at the present size."""
        rest: list[bytes] = []
        for hashes in self._levels:
            if hashes or rest:
                rest = [tree_root([*hashes, *rest])]
        return rest[0] if rest else EMPTY_ROOT
