"""Verification of a whole log from its stored bytes alone, and what it can and cannot show.

Every record's bytes are hashed again: body, header, leaf, the ciphertext of each part. Then the tree over them is
compared with every checkpoint, sequence numbers with their places, kind_seq and census with what was counted, roll-ups
with what the bodies say. Nothing is re-encoded. With keys, the parts are opened and compared with their commitments.

Ranges of records are independent until their leaf hashes meet in the tree, so they can be checked by several
processes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final, TypeAlias

import orjson

from accredit.audit.checkpoint import Checkpoint, CheckpointVerifier
from accredit.audit.merkle import EMPTY_ROOT, Frontier
from accredit.audit.model import StoredRow, Usage, UsageDay
from accredit.audit.ports import LogReader, LogTotals
from accredit.audit.records import CENSUS, PART_ERASED, PartKeys, leaf_hashes, open_part, stored_record
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, UnavailableError

__all__ = ["Anchor", "VerifyReport", "verify_log"]

CHUNK: Final = 8_192
_PAGE: Final = 512
_MISSING: Final = "is missing"
_DAY_US = 86_400_000_000
_sha256 = hashlib.sha256

NO_ANCHOR: Final = (
    "nothing kept outside the log was consulted: a log whose newest records and checkpoints were removed together, "
    "or that was rewritten by whoever holds its signing key, would look whole"
)
WITH_ANCHOR: Final = "what was written after the anchor's checkpoint could have been removed or rewritten unnoticed"

_Fold: TypeAlias = dict[tuple[int, str, str], list[int]]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A checkpoint kept elsewhere, and where."""

    label: str
    """`local file`, `witness`, …: how far it can be trusted is the reader's to judge."""
    note: bytes


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found."""

    ok: bool
    what: str
    """What is wrong, or that nothing is."""
    first_bad: int | None
    """The first record that is not proven, where the fault has a place."""
    size: int
    """Records looked at."""
    signed: int
    """Of these, how many the newest verified checkpoint covers."""
    checkpoints: int
    anchor: str
    """`none`, or where the newest checkpoint compared with was kept."""
    caveat: str
    """What this verification cannot show."""
    opened: int = 0
    erased: int = 0
    """Parts without a key, each with its tombstone."""
    latest_us: int = 0
    """The latest time that a record states."""


class _FaultError(Exception):
    def __init__(self, what: str, first_bad: int | None) -> None:
        super().__init__(what)
        self.first_bad = first_bad


@dataclass(slots=True)
class _Checked:
    """What one range of records says, to be joined with the ranges before it."""

    start: int
    leaves: list[bytes] = field(default_factory=list)
    kinds: dict[str, list[int]] = field(default_factory=dict)
    """Per kind: first kind_seq, how many, seq of the first."""
    censuses: list[tuple[int, dict[str, int], dict[str, int]]] = field(default_factory=list)
    """(seq, counts it states, counts of this range before it)."""
    tombstones: list[tuple[int, str]] = field(default_factory=list)
    missing: list[tuple[int, str]] = field(default_factory=list)
    latest_us: int = 0
    usage: _Fold = field(default_factory=dict)
    opened: int = 0
    fault: tuple[int, str] | None = None


def _check_range(reader: LogReader, start: int, stop: int, keys: PartKeys | None, *, singly: bool = False) -> _Checked:
    done = _Checked(start)
    seq = start
    try:
        each = ((at, at + 1) for at in range(start, stop)) if singly else ((start, stop),)
        rows = chain.from_iterable(reader.rows(*span) for span in each)
        while page := list(islice(rows, 1 if singly else _PAGE)):
            for row, leaf in zip(page, _leaves(page), strict=True):
                wrong = _MISSING if row[0] != seq else _check_row(row, leaf, reader.stream, done)
                if wrong:
                    done.fault = (seq, f"record {seq} {wrong}")
                    return done
                seq += 1
        if seq < stop:
            done.fault = (seq, f"record {seq} {_MISSING}")
        elif keys is not None:
            done.fault = _check_parts(reader, start, stop, keys, done)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        done.fault = (seq, f"record {seq} is not framed as a record")
    except AccreditError as error:
        if not singly:  # which of the page it is can be told only one by one
            return _check_range(reader, start, stop, keys, singly=True)
        done.fault = (seq, f"record {seq} cannot be read: {error.message}")
    return done


def _leaves(page: list[StoredRow]) -> list[bytes]:
    try:
        return leaf_hashes(page)
    except TypeError:  # a cell that is no bytes at all: its record has no leaf, the others have theirs
        return [
            leaf_hashes([row])[0] if isinstance(row[1], bytes) and isinstance(row[2], bytes) else b"" for row in page
        ]


def _check_row(row: StoredRow, leaf: bytes, stream: str, done: _Checked) -> str | None:
    """What is wrong with one record, whose bytes hash to `leaf`; None if nothing is."""
    seq, header, body, stored_leaf, sealed, outbox_id = row
    if leaf != stored_leaf:
        return "does not hash to its leaf"
    facts = orjson.loads(header[2:])
    if (
        facts["seq"] != seq
        or facts["stream"] != stream
        or facts["v"] != 1
        or len(header) != 2 + (header[0] << 8 | header[1])
    ):
        return "has a header of another place, stream or format"
    fields = orjson.loads(body[32:])
    if fields.get("outbox") != outbox_id:
        return "has another outbox id than its body"
    done.latest_us = max(done.latest_us, facts["time"])
    kind = facts["kind"]
    count = done.kinds.get(kind)
    if count is None:
        done.kinds[kind] = [facts["kind_seq"], 1, seq]
    elif facts["kind_seq"] != count[0] + count[1]:
        return f"is number {facts['kind_seq']} of its kind where {count[0] + count[1]} is due"
    else:
        count[1] += 1
    at, end = 0, len(sealed)
    stated = fields.get("parts")
    if stated:
        for name in stated:  # in the order they are stored
            frame = bytes((len(name),)) + name.encode()
            start = at + len(frame)
            length = start + 4
            if sealed[at:start] != frame:
                return f"has no part `{name}` where its body names one"
            at = length + int.from_bytes(sealed[start:length], "big")
            if _sha256(sealed[length:at]).hexdigest() != stated[name]["ciphertext"]:
                return f"has another ciphertext of its part `{name}` than was written"
    if at != end:
        return "holds parts its body does not name"
    counted = fields.get("counted")
    if counted is not None:
        key = (facts["time"] // _DAY_US, facts["agent"] or "", facts["tool"] or "")
        fold = done.usage.get(key)
        if fold is None:
            fold = done.usage[key] = [0, 0, 0, 0, 0, 0]
        for place, name in enumerate(("allows", "denies", "holds", "errors", "cost_nanos")):
            if name in counted:
                fold[place] += counted[name]
        fold[5] = max(fold[5], facts["time"])
    if kind == CENSUS:
        before = {each: pair[1] - (each == CENSUS) for each, pair in done.kinds.items()}
        done.censuses.append((seq, fields["counts"], before))
        if fields["size"] != seq:
            return "states another size in its census"
    elif kind == PART_ERASED:
        done.tombstones += [(gone["seq"], gone["part"]) for gone in fields["erased"]]
        if any(gone["seq"] >= seq for gone in fields["erased"]):
            return "is a tombstone of what was not written yet"
    done.leaves.append(leaf)
    return None


def _check_parts(reader: LogReader, start: int, stop: int, keys: PartKeys, done: _Checked) -> tuple[int, str] | None:
    wrapped = reader.wrapped_keys(start, stop)
    for row in reader.rows(start, stop):
        record = stored_record(reader.stream, row, wrapped.get(row[0], {}))
        if extra := wrapped.get(record.seq, {}).keys() - {part.name for part in record.parts}:
            return record.seq, f"record {record.seq} has a key of a part `{min(extra)}` it does not hold"
        for part in record.parts:
            if part.wrapped_key is None:
                done.missing.append((record.seq, part.name))
                continue
            try:
                open_part(record, part.name, keys)
            except InvalidInputError as error:
                return record.seq, f"record {record.seq}: {error}"
            done.opened += 1
    return None


class _Joined:
    """Everything checked so far, from record 0 on without a gap."""

    def __init__(self, reader: LogReader, heads: list[Checkpoint]) -> None:
        self.tree = Frontier()
        self.kinds: dict[str, int] = {}
        self.usage: _Fold = {}
        self.tombstones: set[tuple[int, str]] = set()
        self.missing: list[tuple[int, str]] = []
        self.opened = 0
        self.signed = 0
        self.latest_us = 0
        self.reader = reader
        self._heads = heads
        """Still to be compared, in order of size."""
        self._last_census = -1

    def add(self, checked: _Checked) -> None:
        self.latest_us = max(self.latest_us, checked.latest_us)
        censuses = {seq for seq, _, _ in checked.censuses}
        at = 0
        while self._heads and self._heads[0].size <= checked.start + len(checked.leaves):
            upto = self._heads[0].size - checked.start
            self._grow(checked.leaves[at:upto])
            at = max(at, upto)
            self._compare(self._heads.pop(0), censuses)
        self._grow(checked.leaves[at:])
        for seq, stated, local in checked.censuses:
            before = {kind: self.kinds.get(kind, 0) + local.get(kind, 0) for kind in {*self.kinds, *local}}
            if stated != {kind: count for kind, count in before.items() if count}:
                raise _FaultError(f"record {seq} states in its census what was not counted before it", seq)
        for kind, (first, count, seq) in sorted(checked.kinds.items(), key=lambda item: item[1][2]):
            if first != (due := self.kinds.get(kind, 0)):
                raise _FaultError(f"record {seq} is number {first} of its kind where {due} is due", seq)
            self.kinds[kind] = first + count
        if checked.fault is not None:
            raise _FaultError(checked.fault[1], checked.fault[0])
        self.tombstones.update(checked.tombstones)
        self.missing += checked.missing
        self.opened += checked.opened
        for key, fold in checked.usage.items():
            mine = self.usage.setdefault(key, [0, 0, 0, 0, 0, 0])
            mine[:5] = [a + b for a, b in zip(mine[:5], fold[:5], strict=True)]
            mine[5] = max(mine[5], fold[5])
        if censuses:
            self._last_census = max(censuses)

    def _grow(self, leaves: list[bytes]) -> None:
        completed = self.tree.append(leaves)
        for level in {level for level, _, _ in completed}:
            ours = [(index, value) for at, index, value in completed if at == level]
            first, last = ours[0][0], ours[-1][0]
            if self.reader.hashes(level, first, last + 1) != [value for _, value in ours]:
                raise _FaultError(f"the stored tree differs at level {level} from tile {first} on", first * 256**level)

    def _compare(self, head: Checkpoint, censuses: set[int]) -> None:
        if self.tree.root() != head.root:
            raise _FaultError(
                f"records {self.signed} to {head.size - 1} are not those under the checkpoint of {head.size}",
                self.signed,
            )
        if head.size - 1 not in censuses and head.size - 1 != self._last_census:
            raise _FaultError(f"the checkpoint of {head.size} does not follow a census", head.size - 1)
        self.signed = max(self.signed, head.size)


def verify_log(
    open_reader: Callable[[], LogReader],
    *,
    verifier: CheckpointVerifier,
    anchors: Sequence[Anchor] = (),
    keys: PartKeys | None = None,
    processes: int = 1,
    rollups: bool = True,
) -> VerifyReport:
    """Verify every record of a stored log or an export, opened read-only through `open_reader`.

    With `keys` parts are opened too, in this process. With several `processes`, `open_reader` must pickle. `rollups`
    compares the counts a store keeps beside the records; an export keeps none. Never raises for what is wrong with the
    log: that is the report.

    Raises:
        UnavailableError: a process that took part in the verification died.
    """
    label, caveat, size, signed, checkpoints = "none", NO_ANCHOR, 0, 0, 0
    joined: _Joined | None = None
    try:
        held = [(anchor, verifier.verify(anchor.note)) for anchor in anchors]
        if held:
            label, caveat = max(held, key=lambda pair: pair[1].size)[0].label, WITH_ANCHOR
        reader = open_reader()
        totals = reader.totals()
        size = totals.size
        heads = _heads(totals, verifier)
        checkpoints = len(heads)
        heads = sorted([*heads, *(head for _, head in held)], key=lambda head: head.size)
        while heads and heads[0].size == 0:
            if heads.pop(0).root != EMPTY_ROOT:
                raise _FaultError("the checkpoint of the empty log has another root", 0)  # noqa: TRY301 - ends in the report below
        joined = _Joined(reader, heads)
        for checked in _ranges(open_reader, reader, size, keys, processes):
            joined.add(checked)
        _conclude(joined, totals, heads, rollups=rollups, opened=keys is not None)
    except _FaultError as fault:
        signed = joined.signed if joined else 0
        return VerifyReport(False, str(fault), fault.first_bad, size, signed, checkpoints, label, caveat)
    except UnavailableError as error:
        if error.code is Code.INTERNAL:
            raise
        signed = joined.signed if joined else 0
        return VerifyReport(False, error.message, None, size, signed, checkpoints, label, caveat)
    except AccreditError as error:
        signed = joined.signed if joined else 0
        return VerifyReport(False, error.message, None, size, signed, checkpoints, label, caveat)
    what = "every record verifies"
    erased = len(joined.missing)
    return VerifyReport(
        True, what, None, size, joined.signed, checkpoints, label, caveat, joined.opened, erased, joined.latest_us
    )


def _heads(totals: LogTotals, verifier: CheckpointVerifier) -> list[Checkpoint]:
    heads = []
    for size, note in totals.checkpoints:
        try:
            head = verifier.verify(note)
        except (InvalidInputError, TypeError, AttributeError) as error:
            raise _FaultError(f"the stored checkpoint of {size} does not verify: {error}", None) from error
        if head.size != size:
            raise _FaultError(f"the stored checkpoint of {size} is one of {head.size}", None)
        heads.append(head)
    return heads


def _conclude(joined: _Joined, totals: LogTotals, heads: list[Checkpoint], *, rollups: bool, opened: bool) -> None:
    size = totals.size
    if heads:
        raise _FaultError(
            f"records from {size} on are missing: a checkpoint signs {heads[-1].size} and {size} are there", size
        )
    untold = sorted(set(joined.missing) - joined.tombstones - _erased_meanwhile(joined, size))
    if untold:
        seq, name = untold[0]
        raise _FaultError(f"record {seq}: the key of its part `{name}` is gone and no tombstone says so", seq)
    if opened and (back := sorted(joined.tombstones - set(joined.missing))):
        seq, name = back[0]
        raise _FaultError(f"record {seq}: its part `{name}` was erased, and its key is there or it never had one", seq)
    if not rollups:
        return
    counts = totals.kinds
    if counts != joined.kinds:
        gone = sum(counts.values()) > size
        raise _FaultError(
            f"{sum(counts.values())} records were counted by kind, and others or {size} are there",
            size if gone else None,
        )
    ours = [UsageDay(*key, Usage(*fold[:5]), fold[5]) for key, fold in sorted(joined.usage.items())]
    if totals.usage != ours:
        raise _FaultError("the daily roll-up is not what the records count", None)


def _erased_meanwhile(joined: _Joined, size: int) -> set[tuple[int, str]]:
    """What was erased while a running server's log was read: its tombstones stand behind the end that was looked at."""
    if not set(joined.missing) - joined.tombstones:
        return set()
    erased: set[tuple[int, str]] = set()
    reader = joined.reader
    for row in reader.rows(size, reader.size()):
        if leaf_hashes([row])[0] == row[3] and orjson.loads(row[1][2:])["kind"] == PART_ERASED:
            erased |= {(gone["seq"], gone["part"]) for gone in orjson.loads(row[2][32:])["erased"]}
    return erased


def _ranges(
    open_reader: Callable[[], LogReader], reader: LogReader, size: int, keys: PartKeys | None, processes: int
) -> Iterator[_Checked]:
    spans = [(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]
    if processes <= 1 or keys is not None or len(spans) < 2:
        for start, stop in spans:
            yield _check_range(reader, start, stop, keys)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(open_reader,)) as pool:
        ahead: list[Future[_Checked]] = []
        try:
            for start, stop in spans:
                ahead.append(pool.submit(_check_here, start, stop))
                if len(ahead) > 2 * processes:
                    yield ahead.pop(0).result()
            while ahead:
                yield ahead.pop(0).result()
        except BrokenExecutor as error:
            raise UnavailableError(Code.INTERNAL, "a verifying process died", cause=repr(error)) from error
        finally:
            for future in ahead:
                future.cancel()


_here: LogReader | None = None


def _begin(open_reader: Callable[[], LogReader]) -> None:
    global _here  # noqa: PLW0603 - a worker process has one reader, opened once
    _here = open_reader()


def _check_here(start: int, stop: int) -> _Checked:
    if _here is None:
        raise InvalidInputError(Code.INTERNAL, "the worker has no log open")
    return _check_range(_here, start, stop, None)
