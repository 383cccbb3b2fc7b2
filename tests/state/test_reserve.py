"""The reserve takes narrowing changes when nothing else can be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.ports import Reserved
from accredit.audit.reserve import RESERVE_BYTES, SLOT_BYTES, SLOTS, frame, placed, read_slots, slots_for
from accredit.kernel.errors import UnavailableError
from accredit.storage.datadir import ReserveFile

_SIZES = st.lists(st.integers(0, 3 * SLOT_BYTES), max_size=8)


@pytest.fixture
def reserve(tmp_path: Path) -> ReserveFile:
    (tmp_path / "reserve").write_bytes(bytes(RESERVE_BYTES))
    return ReserveFile(tmp_path / "reserve")


@given(_SIZES, st.data())
def test_what_was_put_and_not_cleared_is_read_back_in_order(sizes: list[int], draws: st.DataObject) -> None:
    image = bytearray(RESERVE_BYTES)
    held: list[Reserved] = []
    for order, size in enumerate(sizes, start=1):
        drop: int = draws.draw(st.integers(-1, len(held) - 1))
        if drop >= 0:
            gone = held.pop(drop)
            span = slots_for(gone.payload) * SLOT_BYTES
            image[gone.slot * SLOT_BYTES : gone.slot * SLOT_BYTES + span] = bytes(span)
        payload = bytes([order]) * size
        slot = placed(held, slots_for(payload))
        assert slot is not None
        content = frame(order, payload)
        assert len(content) % SLOT_BYTES == 0
        image[slot * SLOT_BYTES : slot * SLOT_BYTES + len(content)] = content
        held.append(Reserved(slot, order, payload))
    assert read_slots(bytes(image)) == tuple(held)


@given(st.integers(0, 2 * SLOT_BYTES), st.integers(0, 3 * SLOT_BYTES - 1))
def test_a_torn_entry_is_none_and_hides_no_other(size: int, cut: int) -> None:
    torn = frame(1, b"\x07" * size)
    image = torn[:cut] + bytes(len(torn) - min(cut, len(torn)))
    image += frame(2, b"whole")
    found = read_slots(image)
    assert found[-1].payload == b"whole"
    assert len(found) == (2 if image.startswith(torn) else 1)


@given(st.integers(0, SLOT_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_in_an_entry_makes_it_none(at: int, mask: int) -> None:
    entry = bytearray(frame(1, bytes(SLOT_BYTES - 52)))
    assert len(entry) == SLOT_BYTES
    entry[at] ^= mask
    assert read_slots(bytes(entry)) == ()


@pytest.mark.requirement("state:reserve:in-place")
def test_the_file_never_changes_its_size_or_its_blocks(reserve: ReserveFile, tmp_path: Path) -> None:
    before = (tmp_path / "reserve").stat()
    slots = [reserve.put(bytes([n]) * 10_000) for n in range(5)]
    assert [entry.payload[0] for entry in reserve.entries()] == [0, 1, 2, 3, 4]
    reserve.clear(slots[1])
    again = reserve.put(b"later")
    assert again == slots[1]
    assert [entry.payload[0] for entry in reserve.entries()] == [0, 2, 3, 4, ord("l")]
    for slot in (*slots, again):
        reserve.clear(slot)
    after = (tmp_path / "reserve").stat()
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)
    assert (tmp_path / "reserve").read_bytes() == bytes(RESERVE_BYTES)


def test_a_full_reserve_refuses(reserve: ReserveFile) -> None:
    reserve.put(bytes((SLOTS - 1) * SLOT_BYTES - 52))
    reserve.put(b"last")
    with pytest.raises(UnavailableError):
        reserve.put(b"one more")
    assert len(reserve.entries()) == 2


def test_a_reserve_that_is_gone_or_cut_short_refuses_and_is_not_made_anew(reserve: ReserveFile, tmp_path: Path) -> None:
    (tmp_path / "reserve").write_bytes(bytes(100))
    with pytest.raises(UnavailableError):
        reserve.put(b"x")
    (tmp_path / "reserve").unlink()
    with pytest.raises(UnavailableError):
        reserve.put(b"x")
    with pytest.raises(UnavailableError):
        reserve.entries()
    assert not (tmp_path / "reserve").exists()
