"""What a row of control state is, and when the log proves one (DESIGN §3.2).

A row counts only if the newest control record of its key carries its digest. The digest covers kind, key and the very
bytes stored, so no row can stand in for another and none is re-encoded to be checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NoReturn

import orjson

from accredit.audit.merkle import leaf_hash
from accredit.audit.model import StoredRecord
from accredit.audit.ports import Change, Row, RowWrite, StateRow, Write
from accredit.audit.records import body_of, leaf_data
from accredit.kernel.canonical import Digest, canonical, digest, require_canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError

__all__ = [
    "Head",
    "LiveState",
    "Proof",
    "Shape",
    "changes_of",
    "prove",
    "read_heads",
    "row_digest",
    "row_of",
    "shape",
    "state_path",
]

STATE_PART: Final = "state"
MAX_DOC_BYTES: Final = 1_048_576
MAX_STATE_BYTES: Final = 3_145_728
"""Of all docs of one change together; the log keeps this much of a control record's parts whole."""
MAX_WRITES: Final = 256
MAX_BODY_BYTES: Final = 65_536
MAX_FACTS_BYTES: Final = 4_096
MAX_PARTS: Final = 15
"""The log takes 16, and `state` is one."""

_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9._:/%~+=,-]{1,600}", re.ASCII)
_PART = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_RESERVED = frozenset({"actor", "changes", "counted", "follows", "outbox", "parts"})


# -- docs nobody can change


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a doc of control state cannot be modified: copy it with `{**doc}`")


class _FrozenDict(dict[str, Any]):
    """A dict that stays as it is. Not a proxy: encoders, `==` and `isinstance` must still know a dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> _FrozenDict:
        return self

    def __deepcopy__(self, memo: Any) -> _FrozenDict:
        return self


class _FrozenList(list[Any]):
    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> _FrozenList:
        return self

    def __deepcopy__(self, memo: Any) -> _FrozenList:
        return self


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return _FrozenDict({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list):
        return _FrozenList([_frozen(item) for item in value])
    return value


# -- rows and changes


def row_digest(kind: str, key: str, doc: bytes) -> Digest:
    """The digest of a row as stored; canonical JSON holds no line feed, so the two texts cannot run together."""
    return digest("state", canonical([kind, key]) + b"\n" + doc)


def row_of(write: RowWrite) -> Row | None:
    """The row a write puts in place, None for a removal."""
    if write.doc is None or write.digest is None:
        return None
    return Row(write.kind, write.key, _frozen(orjson.loads(write.doc)), write.digest)


def state_path(kind: str, key: str) -> str:
    """Where a row's doc stands in the part `state`; a kind holds no slash, so this is reversible."""
    return f"{kind}/{key}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A change that can be stored and recorded: every later step may rely on its sizes and forms."""

    change: Change
    """The same change with docs nobody can modify."""
    writes: tuple[RowWrite, ...]
    rows: tuple[Row | None, ...]
    """What stands under each write's key afterwards."""

    def less(self, kept: Collection[tuple[str, str]]) -> Shape:
        """The change without what it does to some rows."""
        left = [index for index, write in enumerate(self.writes) if (write.kind, write.key) not in kept]
        change = replace(self.change, writes=tuple(self.change.writes[index] for index in left))
        return Shape(change, tuple(self.writes[index] for index in left), tuple(self.rows[index] for index in left))


def shape(change: Change) -> Shape:
    """Check a change and bring it into the form that is stored.

    Raises:
        InvalidInputError: too large, no canonical form, a kind or key of another form, a row written twice, or a name
            in body or parts that the record needs for itself.
    """
    if not _KIND.fullmatch(change.facts.kind):
        raise InvalidInputError(Code.NAME_INVALID, f"`{change.facts.kind[:80]}` is not a kind of record")
    _encoded(asdict(change.facts), MAX_FACTS_BYTES, "the header facts")
    _encoded(asdict(change.actor), MAX_FACTS_BYTES, "the actor")
    if not _RESERVED.isdisjoint(change.body):
        raise InvalidInputError(Code.NAME_INVALID, f"a body may not name {', '.join(sorted(_RESERVED))} itself")
    _encoded(dict(change.body), MAX_BODY_BYTES, "the body")
    names = {part.name for part in change.parts if _PART.fullmatch(part.name)} - {STATE_PART}
    if len(names) < len(change.parts) or len(names) > MAX_PARTS:
        raise InvalidInputError(
            Code.NAME_INVALID,
            f"a change has at most {MAX_PARTS} parts, each of its own name and none named `{STATE_PART}`",
        )
    if not all(isinstance(path, str) for part in change.parts for path in part.value):
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "a part names a value by something else than text")
    if len(change.writes) > MAX_WRITES:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"a change writes at most {MAX_WRITES} rows")
    if len({(write.kind, write.key) for write in change.writes}) < len(change.writes):
        raise InvalidInputError(Code.CONFLICT, "a change writes a row twice")
    writes = tuple(map(_stored, change.writes))
    if sum(len(write.doc or b"") for write in writes) > MAX_STATE_BYTES:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"a change writes at most {MAX_STATE_BYTES} bytes of docs")
    rows = tuple(map(row_of, writes))
    frozen = tuple(
        Write(write.kind, write.key, row.doc if row else None) for write, row in zip(writes, rows, strict=True)
    )
    return Shape(replace(change, writes=frozen, body=_frozen(dict(change.body))), writes, rows)


def _stored(write: Write) -> RowWrite:
    if not _KIND.fullmatch(write.kind):
        raise InvalidInputError(Code.NAME_INVALID, f"`{write.kind[:80]}` is not a kind of row")
    if not _KEY.fullmatch(write.key):
        raise InvalidInputError(
            Code.NAME_INVALID,
            f"`{write.key[:80]}` is not a key of a {write.kind}",
            hint="a key is opaque ASCII text of at most 600 characters; it stands in the log in clear",
        )
    if write.doc is None:
        return RowWrite(write.kind, write.key, None, None)
    doc = _encoded(write.doc, MAX_DOC_BYTES, f"the {write.kind}")
    return RowWrite(write.kind, write.key, doc, row_digest(write.kind, write.key, doc))


def _encoded(value: Mapping[str, Any], limit: int, what: str) -> bytes:
    try:
        text = canonical(value)  # first: it bounds the depth, so that the recursion below cannot run away
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            Code.UNENCODABLE_INPUT, f"{what} has no canonical form", cause=repr(error)[:400]
        ) from error
    if len(text) > limit:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"{what} is larger than {limit} bytes")
    require_canonical(value)
    return text


# -- what the log says


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record of a key."""

    seq: int
    digest: str | None
    """None if it removed the row."""
    outbox_id: str


def changes_of(record: StoredRecord) -> tuple[tuple[str, str, str | None], ...]:
    """(kind, key, digest or None) of every row a control record wrote.

    Raises:
        ValueError: the body has another form.
    """
    changes = body_of(record).get("changes")
    if not isinstance(changes, list):
        raise ValueError("a control record states no changes")  # noqa: TRY004 - bytes of another form, not a slip in code
    return tuple((str(kind), str(key), None if stated is None else str(stated)) for kind, key, stated in changes)


def read_heads(records: Iterable[StoredRecord]) -> tuple[dict[tuple[str, str], Head], int]:
    """The newest record of every key, and the seq of the newest control record (-1 without one).

    Checked here: each record's bytes against its leaf hash, and that each names the control record before it, so that
    none can be left out of those read. That the leaves are the signed tree's is for the verification of the log.

    Raises:
        UnavailableError: the records contradict themselves (`log_invalid`).
    """
    heads: dict[tuple[str, str], Head] = {}
    newest = -1
    for record in records:
        try:
            sound = leaf_hash(leaf_data(record.header, record.salt + record.body)) == record.leaf_hash
            body = body_of(record)
            sound = sound and record.outbox_id is not None and body["outbox"] == record.outbox_id
            sound = sound and body["follows"] == (newest if newest >= 0 else None)
            changes = changes_of(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            sound, changes = False, ()
        if not sound or record.outbox_id is None:
            raise UnavailableError(
                Code.LOG_INVALID,
                f"control record {record.seq} is not as it was written, or one before it is missing",
                hint="run `accredit audit verify`",
            )
        newest = record.seq
        for kind, key, stated in changes:
            heads[kind, key] = Head(record.seq, stated, record.outbox_id)
    return heads, newest


@dataclass(frozen=True, slots=True)
class Proof:
    """Which rows count."""

    proven: tuple[Row, ...]
    unproven: frozenset[tuple[str, str]]


def prove(rows: Iterable[StateRow], heads: Mapping[tuple[str, str], Head]) -> Proof:
    """Hold every row against the newest record of its key, and every such record against the rows."""
    proven: list[Row] = []
    unproven: set[tuple[str, str]] = set()
    missing = {where for where, head in heads.items() if head.digest is not None}
    for row in rows:
        where = (row.kind, row.key)
        head = heads.get(where)
        missing.discard(where)
        if (
            head is not None
            and head.digest == row.digest == row_digest(row.kind, row.key, row.doc)
            and head.outbox_id == row.outbox_id
        ):
            proven.append(Row(row.kind, row.key, _frozen(orjson.loads(row.doc)), Digest(row.digest)))
        else:
            unproven.add(where)
    return Proof(tuple(proven), frozenset(unproven | missing))


# -- the view


class LiveState:
    """A `StateView` over dicts. Scans keep their order and are made once per change, not once per reader."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[str, dict[str, Row]] = {}
        self._scans: dict[str, tuple[Row, ...]] = {}
        for row in rows:
            self._rows.setdefault(row.kind, {})[row.key] = row

    def get(self, kind: str, key: str) -> Row | None:
        of_kind = self._rows.get(kind)
        return of_kind.get(key) if of_kind else None

    def scan(self, kind: str) -> Iterator[Row]:
        scanned = self._scans.get(kind)
        if scanned is None:
            of_kind = self._rows.get(kind, {})
            scanned = self._scans[kind] = tuple(of_kind[key] for key in sorted(of_kind))
        return iter(scanned)

    def enforce(self, change: Shape) -> None:
        """Put a change in force."""
        for write, row in zip(change.writes, change.rows, strict=True):
            self._scans.pop(write.kind, None)
            if row is None:
                self._rows.get(write.kind, {}).pop(write.key, None)
            else:
                self._rows.setdefault(write.kind, {})[write.key] = row
