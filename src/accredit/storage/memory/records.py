"""One stream of the audit log in lists: the record store without a disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from accredit.audit.model import LastUse, StoredRecord, StoredRow, ToolDays, Usage, UsageDay
from accredit.audit.ports import Commit, LogTotals
from accredit.audit.records import stored_record
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = ["MemoryRecordStore"]


class MemoryRecordStore:
    """A `RecordStore` in the process. `free` may be set to play a full disk."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.free = 2**40
        self._rows: list[StoredRow] = []
        self._keys: dict[int, dict[str, bytes]] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._kinds: dict[str, int] = {}
        self._outbox: dict[str, int] = {}
        self._usage: dict[tuple[int, str, str], UsageDay] = {}
        self._pseudonyms: dict[str, tuple[str, str, bytes]] = {}
        self._checkpoints: dict[int, bytes] = {}
        self._subjects: set[tuple[int, str]] = set()
        self._indexed = 0

    def size(self) -> int:
        return len(self._rows)

    def rows(self, start: int, stop: int) -> Iterator[StoredRow]:
        return iter(self._rows[start:stop])

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        return (stored_record(self.stream, row, self._keys.get(row[0], {})) for row in self._rows[start:stop])

    def control_records(self, start: int = 0) -> Iterator[StoredRecord]:
        return (record for record in self.records(start) if record.outbox_id is not None)

    def by_outbox(self, outbox_id: str) -> int | None:
        return self._outbox.get(outbox_id)

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        if level == 0:
            return [row[3] for row in self._rows[start:stop]]
        return [self._nodes[level, index] for index in range(start, stop) if (level, index) in self._nodes]

    def checkpoints(self) -> list[tuple[int, bytes]]:
        return sorted(self._checkpoints.items())

    def wrapped_keys(self, start: int, stop: int) -> dict[int, dict[str, bytes]]:
        return {seq: dict(keys) for seq, keys in self._keys.items() if start <= seq < stop}

    def wrapped_keys_of(self, name: str, start: int, stop: int) -> dict[int, bytes]:
        return {seq: keys[name] for seq, keys in self._keys.items() if start <= seq < stop and name in keys}

    def kind_counts(self) -> dict[str, int]:
        return dict(self._kinds)

    def usage(
        self, *, since_day: int = 0, until_day: int | None = None, agent: str | None = None, tool: str | None = None
    ) -> list[UsageDay]:
        return [
            row
            for (day, who, what), row in sorted(self._usage.items())
            if since_day <= day and (until_day is None or day < until_day)
            if agent in {None, who} and tool in {None, what}
        ]

    def tool_days(self, agents: Collection[str], *, since_day: int, counted_since: int) -> list[ToolDays]:
        found: dict[tuple[str, str], list[UsageDay]] = {}
        for row in self.usage(since_day=since_day):
            if row.agent in agents:
                found.setdefault((row.agent, row.tool), []).append(row)
        return [
            ToolDays(
                *key,
                tuple(row.day for row in rows if row.usage.allows),
                *(
                    sum(getattr(row.usage, name) for row in rows if row.day >= counted_since)
                    for name in ("allows", "denies", "cost_nanos")
                ),
            )
            for key, rows in sorted(found.items())
        ]

    def last_use(self, *, since_day: int, agents: Collection[str] | None = None) -> dict[str, LastUse]:
        found: dict[str, LastUse] = {}
        for row in self.usage(since_day=since_day):
            if agents is not None and row.agent not in agents:
                continue
            before = found.get(row.agent, LastUse(0, 0))
            found[row.agent] = LastUse(max(before.last_us, row.last_us), before.cost_nanos + row.usage.cost_nanos)
        return found

    def totals(self) -> LogTotals:
        return LogTotals(self.size(), self.checkpoints(), self.kind_counts(), self.usage())

    def pseudonyms(self) -> list[tuple[str, str, bytes]]:
        return list(self._pseudonyms.values())

    def commit(self, commit: Commit) -> None:
        first = len(self._rows)
        ids = [record.outbox_id for record in commit.records if record.outbox_id is not None]
        if [record.seq for record in commit.records] != list(range(first, first + len(commit.records))):
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "another writer has taken these places")
        if len(set(ids)) < len(ids) or not self._outbox.keys().isdisjoint(ids):
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "an outbox id is in the log already")
        for record in commit.records:
            self._rows.append(
                (record.seq, record.header, record.body, record.leaf_hash, record.sealed, record.outbox_id)
            )
            if record.wrapped:
                self._keys[record.seq] = dict(record.wrapped)
            if record.outbox_id is not None:
                self._outbox[record.outbox_id] = record.seq
        self._nodes.update({(level, index): value for level, index, value in commit.nodes})
        self._kinds.update(commit.kinds)
        for row in commit.usage:
            key = (row.day, row.agent, row.tool)
            self._usage[key] = _added(self._usage.get(key), row)
        for pseudonym in commit.pseudonyms:
            self._pseudonyms.setdefault(pseudonym[0], pseudonym)
        for seq, name in commit.erased:
            self._keys.get(seq, {}).pop(name, None)
        for gone in commit.forgotten:
            self._pseudonyms.pop(gone, None)

    def keep_checkpoint(self, size: int, note: bytes) -> None:
        if size in self._checkpoints:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "a checkpoint of that size is kept already")
        self._checkpoints[size] = note

    def indexed(self) -> int:
        return self._indexed

    def index(self, pairs: Sequence[tuple[str, int]], *, upto: int) -> None:
        self._subjects.update((seq, name) for name, seq in pairs)
        self._indexed = max(self._indexed, upto)

    def concerning(self, names: Collection[str], start: int, stop: int, limit: int) -> list[int]:
        return sorted({seq for seq, name in self._subjects if name in names and start <= seq < stop})[:limit]

    def names_of(self, seq: int) -> frozenset[str]:
        return frozenset(name for at, name in self._subjects if at == seq)

    def unindex(self, names: Collection[str], upto: int) -> None:
        self._subjects = {(seq, name) for seq, name in self._subjects if name not in names or seq >= upto}

    def scrub(self) -> None:
        """Nothing to do: memory keeps no older copy."""

    def free_bytes(self) -> int:
        return self.free

    def tidy(self) -> None:
        """Nothing to do."""

    def reopen(self) -> None:
        """What is here is what there is."""

    def close(self) -> None:
        """Nothing to let go of."""


def _added(before: UsageDay | None, row: UsageDay) -> UsageDay:
    if before is None:
        return row
    old, new = before.usage, row.usage
    usage = Usage(
        old.allows + new.allows,
        old.denies + new.denies,
        old.holds + new.holds,
        old.errors + new.errors,
        old.cost_nanos + new.cost_nanos,
    )
    return UsageDay(row.day, row.agent, row.tool, usage, max(before.last_us, row.last_us))
