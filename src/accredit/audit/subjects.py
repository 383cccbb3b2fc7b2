"""Names for the people that records are about, under which parts can be found and the names themselves say nothing.

A subject is looked for by a value: the id of a user, the id of a task, or a value that stands in parts (a claim of the
signed user or task, an address, a card number). Whatever is kept of it is a keyed digest, so that neither the index nor
the request to erase somebody keeps whom it is about. Values are compared as people write them: without spaces around
them, in any letter case and Unicode spelling.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from accredit.audit.model import Pseudonym
from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.sealing import Sealer

__all__ = ["EVERY_SENSE", "SubjectKeys", "SubjectSense", "claimed_values", "folded"]

MAX_VALUE: Final = 512
MIN_VALUE: Final = 2
_KEY_HEX: Final = 40
_MAX_CLAIMS: Final = 256
_MAX_DEPTH: Final = 8


class SubjectSense(StrEnum):
    """In what sense a value names somebody."""

    USER = "user"
    TASK = "task"
    VALUE = "value"
    """A value that stands in a part."""


EVERY_SENSE: Final = frozenset(SubjectSense)


def folded(value: str) -> str:
    """What a value has in common however it is written.

    Raises:
        InvalidInputError: it is too short to mean anybody, or longer than `MAX_VALUE` characters.
    """
    text = unicodedata.normalize("NFKC", value[: 4 * MAX_VALUE]).strip().casefold()
    if not MIN_VALUE <= len(text) <= MAX_VALUE:
        raise InvalidInputError(
            Code.BODY_MALFORMED, f"a subject is named by {MIN_VALUE} to {MAX_VALUE} characters", hint="name it whole"
        )
    return text


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """Makes the keyed digests. Whoever holds the installation's key can test a guess; nobody else can."""

    sealer: Sealer
    """Derived for this purpose alone."""

    @classmethod
    def under(cls, sealer: Sealer) -> SubjectKeys:
        """Those of an installation."""
        return cls(sealer.derive("audit/subjects"))

    def key(self, sense: SubjectSense, value: str) -> str:
        """The name of one value in one sense. Raises as `folded`."""
        digest = self.sealer.fingerprint(canonical([sense.value, folded(value)])).rpartition(":")[2]
        return f"{sense}:{digest[:_KEY_HEX]}"

    def keys(self, value: str, senses: Collection[SubjectSense] = EVERY_SENSE) -> frozenset[str]:
        """Its names in several senses. Raises as `folded`."""
        return frozenset(self.key(sense, value) for sense in senses)

    def known(self, sense: SubjectSense, values: Iterable[str]) -> Iterator[str]:
        """The names of values somebody else wrote: those that mean nobody have none."""
        for value in values:
            try:
                yield self.key(sense, value)
            except InvalidInputError:
                continue

    def every(self, value: str) -> Iterator[str]:
        """The names of a value somebody else wrote, in every sense."""
        for sense in sorted(EVERY_SENSE):
            yield from self.known(sense, [value])

    def of_pseudonym(self, one: Pseudonym) -> frozenset[str]:
        """The names of whom a pseudonym stands for: as its issuer and it call them together, and by the id alone."""
        length, _, rest = one.value.partition(":")
        alone = [rest[int(length) :]] if length.isascii() and length.isdecimal() and len(length) < 5 else []
        return frozenset(self.known(SubjectSense(one.kind), [one.value, *alone]))


def claimed_values(context: Mapping[str, Any]) -> tuple[str, ...]:
    """Every text and number that the signed facts about user and task hold: whom a task is about stands there."""
    found: dict[str, None] = {}
    waiting: list[tuple[int, Any]] = [(0, context.get("task")), (0, context.get("user"))]
    while waiting and len(found) < _MAX_CLAIMS:
        depth, value = waiting.pop()
        if isinstance(value, Mapping):
            inner: Iterable[Any] = value.values()
        elif isinstance(value, list | tuple):
            inner = value
        else:
            if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
                found[str(value)] = None
            continue
        if depth < _MAX_DEPTH:
            waiting += [(depth + 1, one) for one in inner]
    return tuple(found)
