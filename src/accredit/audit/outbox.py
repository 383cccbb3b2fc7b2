"""What an outbox entry holds: all that its record needs, sealed under the installation's key.

Sealed, because entries are replayed at start: an entry in clear would let whoever can write the database, but not the
log, have any change recorded as if somebody had made it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from accredit.audit.model import Entry, Facts, Part
from accredit.audit.ports import Actor, Change, OutboxEntry, Write
from accredit.audit.state import STATE_PART, Shape, shape, state_path
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError
from accredit.kernel.sealing import Sealer

__all__ = ["Outgoing", "framed", "open_entry", "seal_entry", "unframed"]

PURPOSE = "control-outbox"
"""What the sealer handed in here was derived for."""

MAX_PART_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A change on its way into the log."""

    id: str
    time_us: int
    shape: Shape

    def record(self, follows: int | None) -> Entry:
        """The record to append, after the control record at seq `follows`."""
        change = self.shape.change
        body = {
            **change.body,
            "actor": asdict(change.actor),
            "changes": [[write.kind, write.key, write.digest] for write in self.shape.writes],
            "follows": follows,
        }
        docs = {state_path(write.kind, write.key): write.doc for write in change.writes}
        state = (Part(STATE_PART, docs),) if docs else ()
        return Entry(change.facts, self.time_us, body, (*state, *change.parts), outbox_id=self.id)


def seal_entry(outgoing: Outgoing, sealer: Sealer) -> OutboxEntry:
    """Seal a change for the outbox, bound to its id.

    Raises:
        InvalidInputError: a part holds what JSON cannot say, or is too large.
    """
    change = outgoing.shape.change
    fields = {
        "actor": asdict(change.actor),
        "body": change.body,
        "facts": asdict(change.facts),
        "narrowing": change.narrowing,
        "parts": [[part.name, part.value] for part in change.parts],
        "time_us": outgoing.time_us,
        "writes": [[write.kind, write.key, write.doc] for write in change.writes],
    }
    try:
        # the standard encoder: parts keep integers of any size
        text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        parts = json.dumps(fields["parts"], ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            Code.UNENCODABLE_INPUT, "a part of the change cannot be encoded", cause=repr(error)[:400]
        ) from error
    if len(parts) > MAX_PART_BYTES:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"the parts of a change are larger than {MAX_PART_BYTES} bytes")
    return OutboxEntry(outgoing.id, sealer.seal(text, belongs_to=outgoing.id.encode()))


def open_entry(entry: OutboxEntry, sealer: Sealer) -> Outgoing | None:
    """The change an entry holds; None if this installation did not seal it under that id."""
    try:
        fields: dict[str, Any] = json.loads(sealer.open(entry.sealed, belongs_to=entry.id.encode()))
        facts = {**fields["facts"], "data_classes": tuple(fields["facts"]["data_classes"])}
        change = Change(
            Facts(**facts),
            tuple(Write(kind, key, doc) for kind, key, doc in fields["writes"]),
            Actor(**fields["actor"]),
            fields["body"],
            tuple(Part(name, value) for name, value in fields["parts"]),
            narrowing=fields["narrowing"],
        )
        return Outgoing(entry.id, fields["time_us"], shape(change))
    except (AccreditError, ValueError, KeyError, TypeError):
        return None


def framed(entry: OutboxEntry) -> bytes:
    """An entry as one payload, for the reserve."""
    return entry.id.encode() + b"\n" + entry.sealed


def unframed(payload: bytes) -> OutboxEntry:
    """The inverse of `framed`."""
    spelled, _, sealed = payload.partition(b"\n")
    return OutboxEntry(spelled.decode(errors="replace"), sealed)
