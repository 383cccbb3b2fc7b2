"""The tree against a naive definition, against pymerkle, and against everything that went wrong in other trees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.merkle import (
    EMPTY_ROOT,
    TILE_WIDTH,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    subtree_root,
    tree_root,
    verify_consistency,
    verify_inclusion,
)


def _entry(index: int) -> bytes:
    return b"entry %d" % index


@cache
def _naive(lo: int, hi: int) -> bytes:
    """RFC 9162 §2.1.1 word for word."""
    if hi == lo:
        return hashlib.sha256(b"").digest()
    if hi - lo == 1:
        return hashlib.sha256(b"\x00" + _entry(lo)).digest()
    k = 1
    while k * 2 < hi - lo:
        k *= 2
    return hashlib.sha256(b"\x01" + _naive(lo, lo + k) + _naive(lo + k, hi)).digest()


def _naive_path(index: int, lo: int, hi: int) -> list[bytes]:
    if hi - lo == 1:
        return []
    k = 1
    while k * 2 < hi - lo:
        k *= 2
    if index < lo + k:
        return [*_naive_path(index, lo, lo + k), _naive(lo + k, hi)]
    return [*_naive_path(index, lo + k, hi), _naive(lo, lo + k)]


class _Tiles:
    """Every hash of a tree, computed by the naive definition."""

    def __init__(self, size: int) -> None:
        self._size = size

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        unit = TILE_WIDTH**level
        return [_naive(i * unit, (i + 1) * unit) for i in range(start, min(stop, self._size // unit))]


_SIZES = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 255, 256, 257, 511, 512, 513, 700]))


@pytest.mark.requirement("audit:tree:rfc6962")
def test_the_root_is_the_recursive_definition_at_every_size() -> None:
    leaves = [leaf_hash(_entry(i)) for i in range(600)]
    edge = Frontier()
    for size in range(600):
        assert edge.root() == tree_root(leaves[:size]) == _naive(0, size)
        edge.append([leaves[size]])


@pytest.mark.requirement("audit:tree:oracle")
def test_root_and_proofs_are_those_of_pymerkle() -> None:
    oracle = pymerkle.InmemoryTree(algorithm="sha256")
    size = 133
    for index in range(size):
        oracle.append_entry(_entry(index))
    assert oracle.get_root(size) == _naive(0, size)
    for index in (0, 1, 63, 64, 127, 128, 132):
        theirs = oracle.prove_inclusion(index + 1, size)
        ours = inclusion_proof(index, size, _naive)
        assert theirs.serialize()["path"][1:] == [node.hex() for node in ours]
    for older in (1, 2, 64, 65, 100, 128, 132, 133):
        proof = oracle.prove_consistency(older, size)
        pymerkle.verify_consistency(oracle.get_root(older), oracle.get_root(size), proof)
        assert verify_consistency(
            older, size, oracle.get_root(older), oracle.get_root(size), consistency_proof(older, size, _naive)
        )


@pytest.mark.requirement("audit:tree:inclusion")
@given(size=_SIZES, data=st.data())
def test_every_inclusion_proof_verifies_and_only_for_its_own_place(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, _naive)
    root, leaf = _naive(0, size), leaf_hash(_entry(index))
    assert proof == _naive_path(index, 0, size)
    assert verify_inclusion(leaf, index, size, proof, root)
    other = data.draw(st.integers(-1, size + 1).filter(lambda i: i != index))
    assert not verify_inclusion(leaf, other, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"another"), index, size, proof, root)
    assert not verify_inclusion(leaf, index, size, proof, EMPTY_ROOT)


@pytest.mark.requirement("audit:tree:consistency")
@given(size=_SIZES, data=st.data())
def test_every_consistency_proof_verifies_and_only_for_its_own_sizes(size: int, data: st.DataObject) -> None:
    older = data.draw(st.integers(0, size))
    proof = consistency_proof(older, size, _naive)
    old_root, new_root = _naive(0, older), _naive(0, size)
    assert verify_consistency(older, size, old_root, new_root, proof)
    if 0 < older < size:
        assert not verify_consistency(older, size, leaf_hash(b"forged"), new_root, proof)
        assert not verify_consistency(older, size, old_root, leaf_hash(b"forged"), proof)
        assert not verify_consistency(older, size, new_root, old_root, proof)
        if older > 1:
            assert not verify_consistency(older - 1, size, old_root, new_root, proof)


@pytest.mark.requirement("audit:tree:proof-length")
@given(size=st.integers(2, 70), data=st.data())
def test_a_proof_of_another_length_or_with_a_changed_hash_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    older = data.draw(st.integers(1, size - 1))
    leaf, root, old_root = leaf_hash(_entry(index)), _naive(0, size), _naive(0, older)
    checks: list[tuple[list[bytes], Callable[[list[bytes]], bool]]] = [
        (inclusion_proof(index, size, _naive), lambda p: verify_inclusion(leaf, index, size, p, root)),
        (consistency_proof(older, size, _naive), lambda p: verify_consistency(older, size, old_root, root, p)),
    ]
    for proof, accepted in checks:
        assert accepted(proof)
        assert not accepted([*proof, EMPTY_ROOT])
        assert not accepted([EMPTY_ROOT, *proof])
        assert not accepted(proof[:-1])
        assert not accepted(proof[1:])
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        assert not accepted([*proof[:at], changed, *proof[at + 1 :]])
        assert not accepted([*proof[:at], proof[at] + b"\x00", *proof[at + 1 :]])


@pytest.mark.requirement("audit:tree:domains")
def test_a_node_cannot_pass_for_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    root = tree_root([left, right])
    assert leaf_hash(left + right) != root
    assert not verify_inclusion(leaf_hash(left + right), 0, 1, [], root)


@pytest.mark.requirement("audit:tree:odd-node")
def test_an_odd_node_is_neither_doubled_nor_padded() -> None:
    a, b, c = (leaf_hash(x) for x in (b"a", b"b", b"c"))
    assert tree_root([a, b, c]) != tree_root([a, b, c, c])  # CVE-2012-2459
    assert tree_root([a, b, c]) != tree_root([a, b, c, bytes(32)])
    assert tree_root([a]) == a


@pytest.mark.requirement("audit:tree:empty")
def test_the_empty_tree_is_the_hash_of_nothing_and_proves_no_entry() -> None:
    assert tree_root([]) == Frontier().root() == hashlib.sha256(b"").digest()
    assert not verify_inclusion(EMPTY_ROOT, 0, 0, [], EMPTY_ROOT)
    assert verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not verify_consistency(0, 3, leaf_hash(b""), _naive(0, 3), [])
    assert not verify_consistency(2, 2, _naive(0, 2), _naive(0, 2), [EMPTY_ROOT])


@pytest.mark.requirement("audit:tree:tiles")
@given(size=_SIZES, data=st.data())
def test_the_edge_reloaded_from_tiles_goes_on_as_if_never_stopped(size: int, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(1, 300), max_size=4))
    kept, loaded = Frontier(), Frontier.load(_Tiles(size), size)
    kept.append([leaf_hash(_entry(i)) for i in range(size)])
    assert loaded.root() == kept.root()
    for step in steps:
        leaves = [leaf_hash(_entry(i)) for i in range(kept.size, kept.size + step)]
        completed = kept.append(leaves)
        assert loaded.append(leaves) == completed
        assert loaded.root() == kept.root() == _naive(0, kept.size)
        for level, index, root in completed:
            assert root == _naive(index * TILE_WIDTH**level, (index + 1) * TILE_WIDTH**level)


@pytest.mark.requirement("audit:tree:tiles")
def test_three_levels_of_tiles_give_the_same_roots_and_proofs() -> None:
    size = TILE_WIDTH * TILE_WIDTH + 700
    leaves = [leaf_hash(_entry(i)) for i in range(size)]
    stored: dict[tuple[int, int], bytes] = {(0, i): leaf for i, leaf in enumerate(leaves)}
    edge = Frontier()
    for level, index, root in edge.append(leaves):
        stored[level, index] = root

    class Stored:
        def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
            return [stored[level, i] for i in range(start, stop) if (level, i) in stored]

    tiles = Stored()
    assert edge.root() == tree_root(leaves) == subtree_root(tiles, 0, size) == Frontier.load(tiles, size).root()
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        proof = inclusion_proof(index, size, lambda lo, hi: subtree_root(tiles, lo, hi))
        assert verify_inclusion(leaves[index], index, size, proof, edge.root())
    for older in (1, 256, 300, 65_536, 65_537, size - 1):
        proof = consistency_proof(older, size, lambda lo, hi: subtree_root(tiles, lo, hi))
        assert verify_consistency(older, size, tree_root(leaves[:older]), edge.root(), proof)
    del stored[1, 3]
    with pytest.raises(LookupError):
        subtree_root(tiles, 0, 2048)
    with pytest.raises(LookupError):
        Frontier.load(tiles, 2048)
