"""Tiles, proofs and exports: what leaves the house and is checked elsewhere."""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.checkpoint import CheckpointSigner, CheckpointVerifier, parse_checkpoint
from accredit.audit.export import LogExport, export_log
from accredit.audit.merkle import TILE_WIDTH, leaf_hash, tree_root
from accredit.audit.proof import carried_entry, prove_record, verify_record_proof
from accredit.audit.records import leaf_data
from accredit.audit.tiles import TileAddress, entries_of, parse_tile_path, read_tile, tiles_of
from accredit.audit.verify import Anchor, verify_log
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from accredit.storage.memory.records import MemoryRecordStore
from tests.audit.building import STREAM, appended, control, decision, filled, signer, writing


@pytest.fixture(scope="module")
def store() -> MemoryRecordStore:
    made = MemoryRecordStore(STREAM)
    filled(made, 700, every=lambda number: decision(number) if number % 7 == 0 else control(number))
    return made


def _newest(store: MemoryRecordStore) -> tuple[int, bytes]:
    return store.checkpoints()[-1]


@pytest.mark.requirement("audit:tiles:layout")
@pytest.mark.parametrize(
    ("address", "path"),
    [
        (TileAddress(0, 0), "0/000"),
        (TileAddress(0, 273, 112), "0/273.p/112"),
        (TileAddress(1, 1_234_067), "1/x001/x234/067"),
        (TileAddress(None, 1_000), "entries/x001/000"),
        (TileAddress(None, 0, 1), "entries/000.p/1"),
    ],
)
def test_a_tile_has_the_published_path(address: TileAddress, path: str) -> None:
    assert address.path() == path
    assert parse_tile_path(path) == address


@pytest.mark.requirement("audit:tiles:layout")
@given(level=st.none() | st.integers(0, 63), index=st.integers(0, 10**12), width=st.integers(1, TILE_WIDTH))
def test_every_path_reads_back(level: int | None, index: int, width: int) -> None:
    address = TileAddress(level, index, width)
    assert parse_tile_path(address.path()) == address


@pytest.mark.requirement("audit:tiles:layout")
@pytest.mark.parametrize(
    "path",
    ["", "0", "0/0", "0/0000", "00/000", "64/000", "0/x000/001", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000/",
     "../000", "0/000.p/", "entries/x1/000", "0/\u0660\u0660\u0660", "-1/000", "0/000\n"],
)  # fmt: skip
def test_any_other_path_names_no_tile(path: str) -> None:
    with pytest.raises(NotFoundError):
        parse_tile_path(path)


@pytest.mark.requirement("audit:tiles:layout")
def test_a_tree_of_seventy_thousand_has_the_tiles_of_the_specifications_example() -> None:
    tiles = [address for address in tiles_of(70_000) if address.level is not None]
    count = {level: sum(t.level == level and t.width == TILE_WIDTH for t in tiles) for level in range(3)}
    partial_ones = {t.level: t.width for t in tiles if t.width < TILE_WIDTH}
    assert count == {0: 273, 1: 1, 2: 0}
    assert partial_ones == {0: 112, 1: 17, 2: 1}
    assert [t.path() for t in tiles_of(256) if t.level is not None] == ["0/000", "1/000.p/1"]
    assert tiles_of(0) == []


@pytest.mark.requirement("audit:tiles:layout")
def test_tiles_hold_the_tree_under_the_checkpoint_and_bundles_its_entries(store: MemoryRecordStore) -> None:
    size, note = _newest(store)
    leaves: list[bytes] = []
    for address in tiles_of(size):
        data = read_tile(store, address, size=size)
        if address.level is None:
            leaves += [leaf_hash(entry) for entry in entries_of(data)]
        else:
            assert len(data) == 32 * address.width
        if address.level == 1:
            assert data[:32] == tree_root(leaves[:TILE_WIDTH]) or not leaves
    assert tree_root(leaves) == signer().verifier().verify(note).root


@pytest.mark.requirement("audit:tiles:layout")
def test_what_no_checkpoint_covers_is_not_served(store: MemoryRecordStore) -> None:
    for address in (TileAddress(0, 1), TileAddress(0, 0, 101), TileAddress(1, 0, 1), TileAddress(63, 0)):
        with pytest.raises(NotFoundError):
            read_tile(store, address, size=100)
    assert len(read_tile(store, TileAddress(0, 0, 100), size=100)) == 3_200


@pytest.mark.requirement("audit:proof:offline")
@pytest.mark.parametrize("seq", [0, 1, 255, 256, 511, 699])
def test_a_records_proof_verifies_with_nothing_but_the_verifier_key(store: MemoryRecordStore, seq: int) -> None:
    size, note = _newest(store)
    proof = prove_record(store, seq, checkpoint=note)
    ((_, header, body, *_),) = store.rows(seq, seq + 1)
    verifier = CheckpointVerifier(signer().vkey)
    assert proof.startswith(b"c2sp.org/tlog-proof@v1\nindex %d\n" % seq)
    place, head = verify_record_proof(proof, leaf_data(header, body), verifier)
    assert (place, head.size) == (seq, size)
    with_extra = proof.replace(b"\nindex", b"\nextra " + base64.b64encode(b"context") + b"\nindex", 1)
    assert verify_record_proof(with_extra, leaf_data(header, body), verifier) == (place, head)
    carrying = prove_record(store, seq, checkpoint=note, entry=leaf_data(header, body))
    assert verify_record_proof(carrying, carried_entry(carrying), verifier) == (place, head)
    with pytest.raises(InvalidInputError):
        verify_record_proof(with_extra, carried_entry(with_extra), verifier)
    with pytest.raises(InvalidInputError):
        carried_entry(proof)
    ((_, other, other_body, *_),) = store.rows(seq - 1 if seq else 1, seq or 2)
    for wrong, entry in (
        (proof, leaf_data(other, other_body)),
        (proof.replace(b"index %d\n" % seq, b"index %d\n" % (seq + 1)), leaf_data(header, body)),
        (proof.replace(b"index ", b"index 0"), leaf_data(header, body)),
        (proof.replace(b"@v1", b"@v2"), leaf_data(header, body)),
        (proof.replace(b"\n\n", b"\n" + base64.b64encode(bytes(32)) + b"\n\n", 1), leaf_data(header, body)),
        (proof.replace(b"\n\n", b"\n", 1), leaf_data(header, body)),
        (proof[:40], leaf_data(header, body)),
    ):
        with pytest.raises(InvalidInputError):
            verify_record_proof(wrong, entry, verifier)
    with pytest.raises(InvalidInputError):
        verify_record_proof(proof, leaf_data(header, body), signer(b"x" * 32).verifier())


@pytest.mark.requirement("audit:proof:offline")
def test_a_record_no_checkpoint_reaches_has_no_proof_yet(store: MemoryRecordStore) -> None:
    size, note = _newest(store)
    for seq in (-1, size, size + 5):
        with pytest.raises(NotFoundError):
            prove_record(store, seq, checkpoint=note)
    larger = CheckpointSigner(signer().origin, b"s" * 32).sign(size + 300, bytes(32))
    with pytest.raises(InvalidInputError):  # a checkpoint of a log this store does not hold
        prove_record(store, 0, checkpoint=larger)


@pytest.mark.requirement("audit:export:offline")
def test_an_export_verifies_offline_and_so_do_changes_to_it(store: MemoryRecordStore, tmp_path: Path) -> None:
    size, note = _newest(store)
    verifier = signer().verifier()
    directory = tmp_path / "export"
    assert export_log(store, directory, checkpoint=note, verifier=verifier) == size
    with pytest.raises(ConflictError):
        export_log(store, directory, checkpoint=note, verifier=verifier)
    opening = partial(LogExport, directory)
    report = verify_log(opening, verifier=CheckpointVerifier(opening().vkey), rollups=False)
    assert report.ok
    assert report.size == report.signed == size
    export = opening()
    assert list(export.rows(250, 260)) == list(store.rows(250, 260))
    assert [record.seq for record in export.control_records(690)] == [r.seq for r in store.control_records(690)]
    assert export.by_outbox("out_699") == store.by_outbox("out_699")
    assert export.checkpoints() == store.checkpoints()
    assert export.kind_counts() == store.kind_counts()
    assert [part.wrapped_key for record in export.records(0, 9) for part in record.parts] == [None] * 6
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "manifest.json")
    assert len(files) == 2 + 4 + 3 + 3
    for path in files:
        data = path.read_bytes()
        for at in {0, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert not verify_log(opening, verifier=verifier, anchors=_anchors(opening), rollups=False).ok, (path, at)
        path.write_bytes(data[:-1])
        assert not verify_log(opening, verifier=verifier, anchors=_anchors(opening), rollups=False).ok, path
        path.write_bytes(data)
    assert verify_log(opening, verifier=verifier, anchors=_anchors(opening), rollups=False).ok


def _anchors(opening: partial[LogExport]) -> list[Anchor]:
    return [Anchor("export", opening().checkpoint)]


@pytest.mark.requirement("audit:export:offline")
def test_an_incomplete_export_is_no_export(store: MemoryRecordStore, tmp_path: Path) -> None:
    _, note = _newest(store)
    export_log(store, tmp_path, checkpoint=note, verifier=signer().verifier())
    (tmp_path / "tile" / "entries" / "001").unlink()
    report = verify_log(partial(LogExport, tmp_path), verifier=signer().verifier(), rollups=False)
    assert not report.ok
    with pytest.raises(UnavailableError):
        list(LogExport(tmp_path).rows(300, 301))
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InvalidInputError):
        LogExport(tmp_path)


@pytest.mark.requirement("audit:export:offline")
def test_a_running_log_is_exported_up_to_its_checkpoint(tmp_path: Path) -> None:
    store = MemoryRecordStore(STREAM)

    async def go() -> bytes:
        await log.append(decision(0))
        note = await log.checkpoint()
        await log.append(decision(1))
        return note

    with writing(store) as log:
        note = asyncio.run(asyncio.wait_for(go(), 20))
        appended(log, [decision(2)])
        size = export_log(store, tmp_path, checkpoint=note, verifier=signer().verifier())
    assert size == parse_checkpoint(note)[0].size < store.size()
    assert verify_log(partial(LogExport, tmp_path), verifier=signer().verifier(), rollups=False).ok
