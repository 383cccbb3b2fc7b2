"""Which records concern whom: found in the records themselves, kept beside them under names that say nothing.

A record of a call concerns its verified user and task, whoever the signed facts about these name, and whoever's address
or number the detector finds in a part. What belongs to a call (its outcome, its answers) is found by the call. Nothing
is indexed while a call waits: the index follows the log, and whoever relies on it brings it up to date first.

What has no form, such as a customer number in free text, is found by looking through every part for it once
(`search`): whoever asks to erase somebody says the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from accredit.audit.model import Pseudonym, StoredRecord
from accredit.audit.ports import SubjectStore
from accredit.audit.records import PartKeys, body_of, header_of, part_texts, unseal_part
from accredit.audit.subjects import SubjectKeys, SubjectSense, claimed_values, folded
from accredit.kernel.detector import Detector
from accredit.kernel.errors import AccreditError

__all__ = ["Concerned", "SubjectIndex"]

_PAGE: Final = 256
_BEGAN: Final = "began:"
_CALL: Final = "call:"
_LATER: Final = frozenset({"decision", "advice"})
"""What begins a call; other records with its id belong to it."""


@dataclass(frozen=True, slots=True)
class Concerned:
    """A record that concerns somebody, as far as deleting from it goes."""

    seq: int
    agent: str | None
    time_us: int
    names: frozenset[str]
    """Everybody it concerns."""
    parts: tuple[str, ...]
    """Those that can be opened."""


class SubjectIndex:
    """Fills and asks the index. Blocking: not on the event loop."""

    def __init__(
        self,
        store: SubjectStore,
        keys: PartKeys,
        names: SubjectKeys,
        *,
        pseudonyms: Callable[[], Iterable[Pseudonym]],
        detector: Detector | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._names = names
        self._pseudonyms = pseudonyms
        self._detector = detector or Detector()

    def catch_up(self, *, most: int | None = None) -> int:
        """Look at records that nobody looked at yet, at most so many; returns below which all were.

        Raises:
            UnavailableError: the store cannot be read or written.
        """
        start, size = self._store.indexed(), self._store.size()
        stop = size if most is None else min(size, start + most)
        if start >= stop:
            return stop
        known = {one.pseudonym: one for one in self._pseudonyms()}
        while start < stop:
            end = min(start + _PAGE, stop)
            pairs = [
                (name, record.seq)
                for record in self._store.records(start, end)
                if record.outbox_id is None and record.parts
                for name in self._concerned(record, known)
            ]
            self._store.index(pairs, upto=end)
            start = end
        return stop

    def search(self, value: str, *, upto: int) -> int:
        """Look through every part below `upto` for a value as it stands; how many records have it.

        Raises:
            InvalidInputError: the value means nobody.
            UnavailableError: the store cannot be read or written.
        """
        wanted, name = folded(value), self._names.key(SubjectSense.VALUE, value)
        found = 0
        for start in range(0, upto, _PAGE):
            pairs = [
                (name, record.seq)
                for record in self._store.records(start, min(start + _PAGE, upto))
                if record.outbox_id is None and any(_says(text, wanted) for _, text in self._texts(record))
            ]
            if pairs:
                found += len(pairs)
                self._store.index(pairs, upto=0)
        return found

    def pages(self, names: frozenset[str], start: int, stop: int, size: int) -> Iterator[tuple[list[Concerned], int]]:
        """What concerns any of these names, in pages, each with the place where the next one begins."""
        while seqs := self._store.concerning(names, start, stop, size):
            page: dict[int, Concerned] = {}
            for seq in seqs:
                for one in self._of_call(seq, stop):
                    page.setdefault(one.seq, one)
            start = seqs[-1] + 1
            yield [page[seq] for seq in sorted(page)], start

    def _of_call(self, seq: int, stop: int) -> Iterator[Concerned]:
        """The record, and if it begins a call all that belongs to it."""
        for record in self._store.records(seq, seq + 1):
            names = self.whom(record)
            yield _concerned(record, names)
            call = body_of(record).get("decision_id")
            if header_of(record)["kind"] not in _LATER or not isinstance(call, str):
                continue
            for later in self._store.concerning({_CALL + call}, seq + 1, stop, _PAGE):
                for belonging in self._store.records(later, later + 1):
                    yield _concerned(belonging, names | self._store.names_of(later))

    def whom(self, record: StoredRecord) -> frozenset[str]:
        """Whom a record concerns, by itself or by the call it belongs to; the index is to be up to date."""
        names, call = self._store.names_of(record.seq), body_of(record).get("decision_id")
        if isinstance(call, str) and header_of(record)["kind"] not in _LATER:
            for began in self._store.concerning({_BEGAN + call}, 0, record.seq, 1):
                names |= self._store.names_of(began)
        return names

    def forget(self, names: frozenset[str], upto: int) -> None:
        """Keep no longer which records below `upto` concerned these names."""
        self._store.unindex(names, upto)

    def pseudonyms_of(self, names: frozenset[str]) -> tuple[str, ...]:
        """The pseudonyms of users and tasks of these names."""
        return tuple(one.pseudonym for one in self._pseudonyms() if not names.isdisjoint(self._names.of_pseudonym(one)))

    def _concerned(self, record: StoredRecord, known: dict[str, Pseudonym]) -> set[str]:
        body = body_of(record)
        names: set[str] = set()
        for field in ("user", "task"):
            one = known.get(str(body.get(field)))
            if one is not None:
                names |= self._names.of_pseudonym(one)
        call = body.get("decision_id")
        if isinstance(call, str):
            names.add((_BEGAN if header_of(record)["kind"] in _LATER else _CALL) + call)
        for part, text in self._texts(record):
            values = [text[one.start : one.end] for one in self._detector.find(text)]
            if part == "context":
                values += claimed_values(self._context(record))
            names.update(self._names.known(SubjectSense.VALUE, values))
        return names

    def _texts(self, record: StoredRecord) -> Iterator[tuple[str, str]]:
        """Each part that opens, as text: what does not is for `audit verify` to tell."""
        for part in record.parts:
            if part.wrapped_key is None:
                continue
            try:
                plaintext = unseal_part(record.seq, part.name, part.ciphertext, part.wrapped_key, self._keys)
                texts = part_texts(plaintext)
            except (AccreditError, ValueError):
                continue
            yield part.name, "\n".join(f"{path}: {_plain(text)}" for path, text in texts.items())

    def _context(self, record: StoredRecord) -> dict[str, Any]:
        part = next(one for one in record.parts if one.name == "context")
        if part.wrapped_key is None:
            return {}
        plaintext = unseal_part(record.seq, part.name, part.ciphertext, part.wrapped_key, self._keys)
        return {path: orjson.loads(text) for path, text in part_texts(plaintext, ("user", "task")).items()}


def _plain(text: bytes) -> str:
    """A value as people would read it: escapes of JSON undone where it is a text."""
    decoded = text.decode(errors="replace")
    return str(orjson.loads(text)) if decoded.startswith('"') else decoded


def _says(text: str, wanted: str) -> bool:
    """Whether a text has a value as a whole word, in any letter case."""
    held, at = text.casefold(), -1
    while (at := held.find(wanted, at + 1)) >= 0:
        end = at + len(wanted)
        if not (at and held[at - 1].isalnum()) and not (end < len(held) and held[end].isalnum()):
            return True
    return False


def _concerned(record: StoredRecord, names: frozenset[str]) -> Concerned:
    header = header_of(record)
    return Concerned(
        record.seq,
        header["agent"],
        header["time"],
        names,
        tuple(part.name for part in record.parts if part.wrapped_key is not None),
    )
