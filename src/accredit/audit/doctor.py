"""Is control state what the log says, and if not, what would make it so: the state rebuilt from the records alone.

The server already refuses every row the log contradicts; this says which, what happened to them, and puts them right.
Runs beside a server (read-only) as well as on what a crash left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accredit.audit.model import StoredRecord
from accredit.audit.outbox import PURPOSE, open_entry, unframed
from accredit.audit.ports import ControlStore, NarrowingReserve, RecordReader, StateRow
from accredit.audit.state import STATE_PART, Head, changes_of, read_heads, row_digest, state_path
from accredit.kernel.canonical import canonical
from accredit.kernel.errors import AccreditError
from accredit.kernel.sealing import Sealer

__all__ = ["Diagnosis", "Difference", "Finding", "PartOpener", "StateDoctor", "compare"]

PartOpener = Callable[[StoredRecord, str], Mapping[str, Any]]
"""Opens one part of a record as its pairs; raises an AccreditError if it cannot be opened."""


class Finding(StrEnum):
    """What is wrong with a row."""

    CHANGED = "changed"
    """No record ever put this content there."""
    ROLLED_BACK = "rolled-back"
    """An older record put it there; a newer one exists."""
    MISSING = "missing"
    """The log has it, the database does not."""
    RESURRECTED = "resurrected"
    """The log says it was removed."""
    FOREIGN = "foreign"
    """The log has no record of this key."""
    LOST = "lost"
    """It differs, and the log cannot give the right content back: the record's part does not open or was erased."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not what the log says."""

    kind: str
    key: str
    finding: Finding
    seq: int | None
    """The newest record of the key."""
    digest: str | None
    """Of the row found, None if there is none."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was compared and what differs."""

    rows: int
    control_records: int
    differences: tuple[Difference, ...]
    undrained: tuple[str, ...]
    """Changes on their way into the log; a start records them. Not a fault."""
    foreign: tuple[str, ...]
    """Outbox and reserve entries this installation did not seal. Never recorded; a repair drops those of the outbox."""

    @property
    def sound(self) -> bool:
        return not self.differences and not self.foreign


@dataclass(frozen=True, slots=True)
class _Found:
    rows: Mapping[tuple[str, str], StateRow]
    heads: Mapping[tuple[str, str], Head]
    stated: frozenset[tuple[str, str, str | None]]
    """Everything any record ever said of any row."""
    expected: Mapping[tuple[str, str], StateRow]
    lost: frozenset[tuple[str, str]]
    undrained: tuple[str, ...]
    foreign: tuple[str, ...]
    control_records: int


def compare(
    rows: Mapping[tuple[str, str], StateRow],
    expected: Mapping[tuple[str, str], StateRow],
    *,
    heads: Mapping[tuple[str, str], Head],
    stated: frozenset[tuple[str, str, str | None]],
    lost: frozenset[tuple[str, str]],
) -> tuple[Difference, ...]:
    """Every row that is not as expected, which is what the log says with what is on its way there on top."""
    differences = []
    for kind, key in sorted(rows.keys() | expected.keys() | lost):
        row, head, wanted = rows.get((kind, key)), heads.get((kind, key)), expected.get((kind, key))
        if row == wanted and (kind, key) not in lost:
            continue
        if (kind, key) in lost:
            finding = Finding.LOST
        elif row is None:
            finding = Finding.MISSING
        elif wanted is None:
            finding = Finding.FOREIGN if head is None else Finding.RESURRECTED
        elif row.digest == row_digest(kind, key, row.doc) != wanted.digest and (kind, key, row.digest) in stated:
            finding = Finding.ROLLED_BACK
        else:
            finding = Finding.CHANGED
        differences.append(Difference(kind, key, finding, head.seq if head else None, row.digest if row else None))
    return tuple(differences)


class StateDoctor:
    """Compares control state with the log and repairs it. Blocking; meant for the command line."""

    def __init__(
        self,
        *,
        store: ControlStore,
        records: RecordReader,
        reserve: NarrowingReserve,
        open_part: PartOpener,
        sealer: Sealer,
    ) -> None:
        self._store = store
        self._records = records
        self._reserve = reserve
        self._open_part = open_part
        self._sealer = sealer.derive(PURPOSE)

    def diagnose(self) -> Diagnosis:
        """Rebuild the state from the log and compare.

        A server may be changing both meanwhile, so only what is found twice, exactly alike, is a difference.

        Raises:
            UnavailableError: the log contradicts itself, or the database cannot be read.
        """
        return self._examined()[0]

    def repair(self) -> Diagnosis:
        """Put the rebuilt rows in place of all others and drop outbox entries that are not ours; needs the lock.

        Returns what was wrong before. Rows the log cannot give back are removed, and stay unproven.

        Raises:
            UnavailableError: the log contradicts itself, or the database cannot be written.
        """
        diagnosis, found = self._examined()
        self._store.replace(list(found.expected.values()), forget=diagnosis.foreign)
        return diagnosis

    def _examined(self) -> tuple[Diagnosis, _Found]:
        found = self._find()
        differences = _differences(found)
        if differences:
            found = self._find()
            again = set(_differences(found))
            differences = tuple(difference for difference in differences if difference in again)
        return Diagnosis(len(found.rows), found.control_records, differences, found.undrained, found.foreign), found

    def _find(self) -> _Found:
        records: list[StoredRecord] = []
        heads, _ = read_heads(_kept(self._records.control_records(), records))
        stated = frozenset(change for record in records for change in changes_of(record))
        rows = {(row.kind, row.key): row for row in self._store.rows()}
        at = {record.seq: record for record in records}
        expected: dict[tuple[str, str], StateRow] = {}
        lost = set()
        for (kind, key), head in heads.items():
            if head.digest is None:
                continue
            # an erased part leaves the row itself as the only copy; its digest still proves it
            for row in (self._rebuilt(kind, key, head, at[head.seq]), rows.get((kind, key))):
                if row is not None and row.digest == head.digest == row_digest(kind, key, row.doc):
                    expected[kind, key] = StateRow(kind, key, row.doc, row.digest, head.outbox_id)
                    break
            else:
                lost.add((kind, key))
        undrained, foreign = self._outbox(expected, lost)
        return _Found(rows, heads, stated, expected, frozenset(lost), undrained, foreign, len(records))

    def _rebuilt(self, kind: str, key: str, head: Head, record: StoredRecord) -> StateRow | None:
        try:
            doc = self._open_part(record, STATE_PART)[state_path(kind, key)]
        except (AccreditError, KeyError):
            return None
        text = canonical(doc)
        return StateRow(kind, key, text, row_digest(kind, key, text), head.outbox_id)

    def _outbox(
        self, expected: dict[tuple[str, str], StateRow], lost: set[tuple[str, str]]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of changes on their way and of foreign ones; what the former wrote is expected over what the log says."""
        undrained: dict[str, None] = {}
        foreign: dict[str, None] = {}
        for entry in self._store.undrained():
            outgoing = open_entry(entry, self._sealer)
            (foreign if outgoing is None else undrained)[entry.id] = None
            if outgoing is None or self._records.by_outbox(entry.id) is not None:
                continue
            for write in outgoing.shape.writes:
                lost.discard((write.kind, write.key))
                expected.pop((write.kind, write.key), None)
                if write.doc is not None and write.digest is not None:
                    row = StateRow(write.kind, write.key, write.doc, write.digest, outgoing.id)
                    expected[write.kind, write.key] = row
        for held in self._reserve.entries():
            entry = unframed(held.payload)  # its rows are written when it is recorded, not before
            (foreign if open_entry(entry, self._sealer) is None else undrained)[entry.id] = None
        return tuple(undrained), tuple(foreign)


def _kept(records: Iterable[StoredRecord], into: list[StoredRecord]) -> Iterator[StoredRecord]:
    for record in records:
        into.append(record)
        yield record


def _differences(found: _Found) -> tuple[Difference, ...]:
    return compare(found.rows, found.expected, heads=found.heads, stated=found.stated, lost=found.lost)
