"""Where in the reserve a narrowing change stands: slots of a file whose room was taken when it was made.

A full disk refuses SQLite even a page it already has, but not a write in place. An entry is

    magic (8) ‖ order (8) ‖ length (4) ‖ SHA-256 of order ‖ length ‖ payload (32) ‖ payload, zeros to the slot's end

over as many slots in a row as it needs. A torn write has a wrong checksum and is no entry: nobody was told it stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from accredit.audit.ports import Reserved

__all__ = ["RESERVE_BYTES", "SLOTS", "SLOT_BYTES", "frame", "placed", "read_slots", "slots_for"]

SLOT_BYTES: Final = 8_192
SLOTS: Final = 512
RESERVE_BYTES: Final = SLOT_BYTES * SLOTS

_MAGIC = b"narrow1\n"
_HEADER = len(_MAGIC) + 8 + 4 + 32


def slots_for(payload: bytes) -> int:
    """How many slots in a row a payload needs."""
    return -(-(_HEADER + len(payload)) // SLOT_BYTES)


def frame(order: int, payload: bytes) -> bytes:
    """The bytes of an entry, whole slots long."""
    head = order.to_bytes(8, "big") + len(payload).to_bytes(4, "big")
    entry = _MAGIC + head + hashlib.sha256(head + payload).digest() + payload
    return entry.ljust(slots_for(payload) * SLOT_BYTES, b"\0")


def read_slots(image: bytes) -> tuple[Reserved, ...]:
    """The entries of a reserve's whole content, oldest first."""
    found: list[Reserved] = []
    slot = 0
    while slot < len(image) // SLOT_BYTES:
        entry = _entry(image, slot)
        if entry is not None:
            found.append(entry)
        slot += slots_for(entry.payload) if entry else 1
    return tuple(sorted(found, key=lambda entry: entry.order))


def _entry(image: bytes, slot: int) -> Reserved | None:
    at = slot * SLOT_BYTES
    if image[at : at + len(_MAGIC)] != _MAGIC:
        return None
    head = image[at + len(_MAGIC) : at + len(_MAGIC) + 12]
    start = at + _HEADER
    payload = image[start : start + int.from_bytes(head[8:], "big")]
    if hashlib.sha256(head + payload).digest() != image[start - 32 : start]:
        return None
    return Reserved(slot, int.from_bytes(head[:8], "big"), payload)


def placed(taken: Iterable[Reserved], needed: int) -> int | None:
    """The first slot with that many free ones in a row; None if there is no such room."""
    free = [True] * SLOTS
    for entry in taken:
        for slot in range(entry.slot, entry.slot + slots_for(entry.payload)):
            free[slot] = False
    run = 0
    for slot in range(SLOTS):
        run = run + 1 if free[slot] else 0
        if run == needed:
            return slot - needed + 1
    return None
