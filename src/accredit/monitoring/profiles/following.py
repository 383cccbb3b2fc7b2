"""Profiles of all finished sessions, kept up with the log in slices beside everything else.

What is kept follows from the log alone. A process that starts reads again from where the oldest open session began, and
comes to what the one before it had: killed anywhere, nothing is kept twice and nothing is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from accredit.audit.model import StoredRow
from accredit.audit.ports import LogReader
from accredit.audit.records import PartKeys, part_values, sealed_part, stored_record, unseal_part
from accredit.kernel.canonical import Digest
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.sealing import Sealer
from accredit.monitoring.profiles.folding import OpenSessions
from accredit.monitoring.profiles.model import SessionProfile
from accredit.monitoring.profiles.ports import ProfileStore, Progress
from accredit.monitoring.profiles.reading import step_in

__all__ = ["KEPT_DAYS", "MOST_KEPT", "SessionProfiles"]

KEPT_DAYS: Final = 400
MOST_KEPT: Final = 2_000
"""Sessions kept of one agent, the newest."""
_MOST_AT_ONCE: Final = 2_048
"""Records between two times that what was read is kept."""
_DAY_US: Final = 86_400_000_000
_SHORT: Final = 8
_MOST_DEFINITIONS: Final = 1_024


class SessionProfiles:
    """Reads the log into a `ProfileStore`. Called from worker threads; one at a time reads."""

    def __init__(
        self,
        records: LogReader,
        store: ProfileStore,
        *,
        keys: PartKeys,
        sealer: Sealer,
        idle_us: int,
        definition: Callable[[Digest], str | None],
    ) -> None:
        """`definition` gives the text of a tool's pinned definition, if the log proves it; `sealer` hides names."""
        self._records, self.store, self._keys = records, store, keys
        self._sealer = sealer.derive("session-profiles")
        self._idle_us = idle_us
        self._definition = definition
        self._hashed = lru_cache(maxsize=8_192)(self._hash)
        self._facts: dict[Digest, tuple[str, Mapping[str, Any]]] = {}
        self._reading = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        progress = self.store.progress
        if progress.position > self._records.size():  # a log put back from a copy: what was read of the other is wrong
            self.store.clear()
            progress = self.store.progress
        self._already = progress
        """What was kept before this began: all that is finished up to there."""
        self._position = progress.open_from
        self._open = OpenSessions(
            idle_us=self._idle_us,
            hashed=self._hashed,
            key=bytes.fromhex(self._sealer.fingerprint(b"what results say").rpartition(":")[2]),
            tool_facts=self._tool_facts,
        )

    @property
    def position(self) -> int:
        """Every record before it was read."""
        return self._position

    @property
    def behind(self) -> int:
        """How many records are not read yet."""
        return max(self._records.size() - self._position, 0)

    def read(self, most: int, now_us: int) -> int:
        """Read on, at most so many records, and finish what is over by then; how many sessions were kept.

        Raises:
            UnavailableError: log or store cannot be used. Calling again goes on.
        """
        with self._reading:
            stop, kept = min(self._records.size(), self._position + most), 0
            while self._position < stop:
                known = self._position < self._already.position
                until = min(stop, self._position + _MOST_AT_ONCE, self._already.position if known else stop)
                finished = self._fold(until)
                if not known:
                    kept += self._keep(finished)
                elif self._position == self._already.position:
                    self._open.finished(self._already.until_us)  # all of it is kept already
            if self._position == self._records.size() and (finished := self._open.finished(now_us)):
                kept += self._keep(finished)
            return kept

    def restart(self) -> None:
        """Let go of everything, to make it again from the log.

        Raises:
            UnavailableError: the store cannot be used.
        """
        with self._reading:
            self.store.clear()
            self._begin()

    def sweep(self, now_us: int) -> int:
        """Let go of what is too old or too much; how many sessions."""
        return self.store.sweep(before_us=now_us - KEPT_DAYS * _DAY_US, most=MOST_KEPT)

    def _fold(self, stop: int) -> list[SessionProfile]:
        start, found = self._position, list[SessionProfile]()
        wrapped = _Wrapped(self._records, start, stop)
        for row in self._records.rows(start, stop):
            step = step_in(stored_record(self._records.stream, row, {}), _Opener(row, wrapped, self._keys))
            if step is not None:
                found.extend(self._open.add(step))
        self._position = stop
        return found

    def _keep(self, made: Sequence[SessionProfile]) -> int:
        oldest = self._open.open_from
        progress = Progress(self._position, self._position if oldest is None else oldest, self._open.until_us)
        self.store.keep(made, progress)
        return len(made)

    def _hash(self, text: str) -> str:
        return self._sealer.fingerprint(text.encode(errors="surrogatepass")).rpartition(":")[2][:_SHORT]

    def _tool_facts(self, definition: Digest) -> tuple[str, Mapping[str, Any]]:
        known = self._facts.get(definition)
        if known is None:
            text = self._definition(definition)
            read: Any = orjson.loads(text) if text is not None else {}
            schema = read.get("inputSchema")
            known = str(read.get("name", "")), schema if isinstance(schema, Mapping) else {}
            if len(self._facts) >= _MOST_DEFINITIONS:
                self._facts.clear()
            self._facts[definition] = known
        return known


class _Wrapped:
    """Data keys of a stretch of the log, by the name of their parts, read when the first of a name is asked for."""

    def __init__(self, records: LogReader, start: int, stop: int) -> None:
        self._records, self._start, self._stop = records, start, stop
        self._known: dict[str, dict[int, bytes]] = {}

    def of(self, name: str, seq: int) -> bytes | None:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._records.wrapped_keys_of(name, self._start, self._stop)
        return known.get(seq)


class _Opener:
    """Opens the parts of one record."""

    __slots__ = ("_keys", "_row", "_wrapped")

    def __init__(self, row: StoredRow, wrapped: _Wrapped, keys: PartKeys) -> None:
        self._row, self._wrapped, self._keys = row, wrapped, keys

    def __call__(self, name: str) -> Mapping[str, Any] | None:
        seq = self._row[0]
        key = self._wrapped.of(name, seq)
        if key is None:
            return None
        try:
            return part_values(unseal_part(seq, name, sealed_part(self._row[4], name), key, self._keys))
        except (ValueError, KeyError, InvalidInputError):
            return None
