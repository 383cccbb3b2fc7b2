"""The record format, final from the first record on (DESIGN §5), as pure functions between entries and stored bytes.

    leaf data   = header ‖ SHA-256(0x03 ‖ salt ‖ body)          at most 65,535 bytes, one entry of the tree
    header      = u16 length ‖ canonical JSON of the fixed, non-personal fields
    salted body = salt (32 random bytes) ‖ canonical JSON
    sealed      = for each part: u8 length ‖ name ‖ u32 length ‖ ciphertext

A part's plaintext is a sequence of `u32 length ‖ item`. Each item is the very preimage of its leaf in the part's own
tree, so a verifier hashes stored bytes and re-encodes nothing, and whoever destroys the part's data key destroys its
salts with it:

    0x04 ‖ salt (32) ‖ u16 length ‖ path ‖ JSON value                      a whole pair; leaf = SHA-256(item)
    0x06 ‖ leaf (32) ‖ salt (32) ‖ u16 length ‖ path ‖ start of the value  a pair whose value was too large to keep
    0x07 ‖ hashes (32 each)                                                last: the pairs left out altogether, as the
                                                                           consistency proof from those kept

INVARIANT: the commitment in the body is over every pair as it was seen or sent, also over what was not kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accredit.audit.merkle import consistency_proof, inclusion_proof, tree_root, verify_consistency, verify_inclusion
from accredit.audit.model import Entry, StoredPart, StoredRecord, StoredRow, Usage
from accredit.kernel.canonical import canonical, require_canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.sealing import Sealer

__all__ = [
    "CENSUS",
    "PART_ERASED",
    "REPEATED",
    "SALT_SIZE",
    "UNAUTHENTICATED",
    "Disclosure",
    "EncodedRecord",
    "PartBounds",
    "PartKeys",
    "body_of",
    "disclose",
    "encode",
    "header_of",
    "leaf_data",
    "leaf_hashes",
    "open_part",
    "part_commitment",
    "part_texts",
    "part_values",
    "sealed_part",
    "sealed_parts",
    "stored_record",
    "unseal_part",
    "verify_disclosure",
]

CENSUS: Final = "census"
"""A count of the records before it, by kind: body `{"counts": {kind: n}, "size": n}`."""
PART_ERASED: Final = "part.erased"
"""A tombstone: body `{"erased": [{"part": name, "seq": n}, …]}` names parts whose keys are destroyed with it, and
`forgotten` pseudonyms whose mapping is. INVARIANT: record and destruction are one transaction."""
REPEATED: Final = "refused.repeated"
UNAUTHENTICATED: Final = "refused.authentication.repeated"

FORMAT: Final = 1
SALT_SIZE: Final = 32
MAX_HEADER: Final = 8_192
MAX_BODY: Final = 262_144
MAX_PARTS: Final = 16
MAX_PATH: Final = 1_024
REFUSED_BYTES: Final = 4_096

_HASH = 32
_WHOLE, _CUT, _REST = b"\x04", b"\x06", b"\x07"
_WHOLE_AS_NUMBER: Final = _WHOLE[0]
_PATH_AT: Final = 1 + SALT_SIZE + 2
"""Where the path stands in a whole pair."""
_PAIR_NODE: Final = b"\x05"
_ZERO_NONCE = bytes(12)
_RESERVED = frozenset({"parts", "outbox", "counted"})
_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_PART_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

_U16 = [length.to_bytes(2, "big") for length in range(MAX_PATH + 1)]
_u32 = struct.Struct(">I").pack
_by_name = attrgetter("name")
_sha256 = hashlib.sha256
_number = int.from_bytes
_dumps = orjson.dumps


@dataclass(frozen=True, slots=True)
class PartBounds:
    """How many bytes of pairs one part may keep; what is beyond is committed to, marked and left out."""

    part_bytes: int = 262_144
    refused_bytes: int = REFUSED_BYTES
    """For all parts of a refused call together."""
    control_bytes: int = 4_194_304
    """For a part of a control record: state is rebuilt from it, so all that a change may hold must fit whole."""


@dataclass(slots=True)
class EncodedRecord:
    """A record as it goes to the store. Not frozen: one is made for every call."""

    seq: int
    kind: str
    header: bytes
    body: bytes
    """salt ‖ canonical JSON."""
    leaf_hash: bytes
    sealed: bytes
    wrapped: list[tuple[str, bytes]]
    outbox_id: str | None


class PartKeys:
    """Wraps the data keys of one stream's parts under the installation's key.

    The wrapping key changes every 2**24 records, which keeps random nonces far within what GCM allows for one key.
    """

    def __init__(self, sealer: Sealer, stream: str) -> None:
        self._sealer = sealer
        self._stream = stream
        name = stream.encode()
        self._prefix = len(name).to_bytes(2, "big") + name
        self._epoch = -1
        self._current = sealer

    def belongs_to(self, seq: int, name: str) -> bytes:
        """What key and ciphertext of that part are bound to."""
        return self._prefix + seq.to_bytes(8, "big") + name.encode()

    def wrap(self, seq: int, key: bytes, belongs_to: bytes) -> bytes:
        """Seal a part's data key."""
        return self._of(seq).seal(key, belongs_to=belongs_to)

    def unwrap(self, seq: int, wrapped: bytes, belongs_to: bytes) -> bytes:
        """Open a part's data key.

        Raises:
            InvalidInputError: another installation's key, another place in the log, or changed bytes.
        """
        return self._of(seq).open(wrapped, belongs_to=belongs_to)

    def _of(self, seq: int) -> Sealer:
        if seq >> 24 != self._epoch:
            self._epoch = seq >> 24
            self._current = self._sealer.derive(f"audit/part-keys/{self._epoch}/{self._stream}")
        return self._current


def encode(
    entry: Entry,
    *,
    stream: str,
    seq: int,
    kind_seq: int,
    draw: Callable[[int], bytes],
    keys: PartKeys,
    bounds: PartBounds,
) -> EncodedRecord:
    """Turn an entry into the bytes that are stored, hashed and sealed, at that place in the stream.

    Raises:
        InvalidInputError: the entry has no canonical form, uses a reserved name or is too large.
    """
    try:
        return _encode(entry, stream, seq, kind_seq, draw, keys, bounds)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            Code.UNENCODABLE_INPUT, "the record cannot be encoded", cause=f"{type(error).__name__}: {error}"[:400]
        ) from error


def _encode(
    entry: Entry,
    stream: str,
    seq: int,
    kind_seq: int,
    draw: Callable[[int], bytes],
    keys: PartKeys,
    bounds: PartBounds,
) -> EncodedRecord:
    facts = entry.facts
    if not _KIND.fullmatch(facts.kind):
        raise InvalidInputError(Code.UNENCODABLE_INPUT, f"`{facts.kind[:80]}` is not a kind of record")
    header = canonical(
        {
            "action": facts.action,
            "agent": facts.agent,
            "data_classes": facts.data_classes or None,
            "decision": facts.decision,
            "effect": facts.effect,
            "environment": facts.environment,
            "kind": facts.kind,
            "kind_seq": kind_seq,
            "scope": facts.scope,
            "seq": seq,
            "stream": stream,
            "time": entry.time_us,
            "tool": facts.tool,
            "v": FORMAT,
            "version": facts.version,
        }
    )
    if len(header) > MAX_HEADER:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, f"the record's header is longer than {MAX_HEADER} bytes")
    header = len(header).to_bytes(2, "big") + header

    fields = dict(entry.body)
    if not _RESERVED.isdisjoint(fields):
        raise InvalidInputError(Code.UNENCODABLE_INPUT, f"a body may not name {', '.join(sorted(_RESERVED))} itself")
    require_canonical(fields)
    if entry.outbox_id is not None:
        fields["outbox"] = entry.outbox_id
    if entry.usage is not None:
        fields["counted"] = _counted(entry.usage)
    sealed: bytes = b""
    wrapped: list[tuple[str, bytes]] = []
    if entry.parts:
        sealed, wrapped, fields["parts"] = _seal_parts(entry, seq, draw, keys, bounds)
    body = draw(SALT_SIZE) + canonical(fields)
    if len(body) > MAX_BODY:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, f"the record's body is longer than {MAX_BODY} bytes")
    leaf = _sha256(b"\x00" + header + _sha256(b"\x03" + body).digest()).digest()
    return EncodedRecord(seq, facts.kind, header, body, leaf, sealed, wrapped, entry.outbox_id)


def _counted(usage: Usage) -> dict[str, int]:
    fields = {
        "allows": usage.allows,
        "cost_nanos": usage.cost_nanos,
        "denies": usage.denies,
        "errors": usage.errors,
        "holds": usage.holds,
    }
    return {name: int(count) for name, count in fields.items() if count}


def _seal_parts(
    entry: Entry, seq: int, draw: Callable[[int], bytes], keys: PartKeys, bounds: PartBounds
) -> tuple[bytes, list[tuple[str, bytes]], dict[str, dict[str, Any]]]:
    if len(entry.parts) > MAX_PARTS:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, f"a record has at most {MAX_PARTS} parts")
    frames: list[bytes] = []
    wrapped: list[tuple[str, bytes]] = []
    stated: dict[str, dict[str, Any]] = {}
    left = bounds.refused_bytes
    usual = bounds.part_bytes if entry.outbox_id is None else bounds.control_bytes
    for part in sorted(entry.parts, key=_by_name):
        name = part.name
        head = _part_head(name)
        if name in stated:
            raise InvalidInputError(Code.UNENCODABLE_INPUT, f"part `{name}` stands twice")
        room = min(left, usual) if entry.refused else usual
        plaintext, commitment, cut, used = _frame(part.value, draw, room)
        left -= used
        key = draw(32)
        belongs_to = keys.belongs_to(seq, name)
        # each data key encrypts exactly one plaintext, so a fixed nonce never repeats under a key
        ciphertext = AESGCM(key).encrypt(_ZERO_NONCE, plaintext, belongs_to)
        wrapped.append((name, keys.wrap(seq, key, belongs_to)))
        frames += (head, _u32(len(ciphertext)), ciphertext)
        stated[name] = fields = {
            "ciphertext": _sha256(ciphertext).hexdigest(),
            "commitment": commitment.hex(),
            "pairs": len(part.value),
        }
        if cut:
            fields["truncated"] = cut
    return b"".join(frames), wrapped, stated


@lru_cache(maxsize=256)
def _part_head(name: str) -> bytes:
    if not _PART_NAME.fullmatch(name):
        raise InvalidInputError(Code.UNENCODABLE_INPUT, f"`{name[:80]}` is not a name of a part")
    return bytes((len(name),)) + name.encode()


def _frame(value: Mapping[str, Any], draw: Callable[[int], bytes], room: int) -> tuple[bytes, bytes, int, int]:
    """(plaintext, commitment, how many values are not kept whole, bytes of `room` used)."""
    paths = sorted(value)
    values = [value[path] for path in paths]
    texts = _value_texts(values)
    spelled = [path.encode() for path in paths]
    overlong: set[int] = set()
    if sum(map(len, spelled)) > MAX_PATH:
        overlong = {index for index, path in enumerate(spelled) if len(path) > MAX_PATH}
        spelled = [_shortened(path) if len(path) > MAX_PATH else path for path in spelled]
    salts = draw(SALT_SIZE * len(paths))
    items = [
        _WHOLE + salts[at : at + SALT_SIZE] + _U16[len(path)] + path + text
        for at, path, text in zip(range(0, len(salts), SALT_SIZE), spelled, texts, strict=True)
    ]
    leaves = [_sha256(item).digest() for item in items]
    commitment = tree_root(leaves, node=_PAIR_NODE)
    plaintext = b"".join([_u32(len(item)) + item for item in items])
    if b"null" in plaintext and _holds_nan(values):  # which orjson writes as null
        raise ValueError("a number is not finite")
    if len(plaintext) <= room and not overlong:
        return plaintext, commitment, 0, len(plaintext)
    return _cut_frame(items, leaves, overlong, commitment, room)


def _cut_frame(
    items: list[bytes], leaves: list[bytes], overlong: set[int], commitment: bytes, room: int
) -> tuple[bytes, bytes, int, int]:
    kept: list[bytes] = []
    whole = used = 0
    for index, (item, leaf) in enumerate(zip(items, leaves, strict=True)):
        left = room - used - 4
        if len(item) <= left and index not in overlong:
            kept.append(item)
            whole += 1
        else:
            head = 1 + SALT_SIZE + 2 + int.from_bytes(item[33:35], "big")
            if _HASH + head > left:
                break
            # half of what is left, so that one huge value does not push out every later one
            excerpt = item[head : head + (left - _HASH - head) // 2]
            kept.append(_CUT + leaf + item[1:head] + excerpt)
        used += 4 + len(kept[-1])
    if len(kept) < len(items):
        rest = consistency_proof(len(kept), len(items), lambda lo, hi: tree_root(leaves[lo:hi], node=_PAIR_NODE))
        kept.append(_REST + b"".join(rest))
    plaintext = b"".join(len(item).to_bytes(4, "big") + item for item in kept)
    return plaintext, commitment, len(items) - whole, used


def _shortened(path: bytes) -> bytes:
    start = path[: MAX_PATH // 2].decode(errors="ignore").encode()
    return start + "…sha256:".encode() + _sha256(path).hexdigest().encode()


def _value_texts(values: list[Any]) -> list[bytes]:
    """Each value's JSON, exact: an integer of any size stays one."""
    try:
        return [_dumps(value) for value in values]
    except TypeError:  # an integer beyond 64 bits, or no JSON value at all
        return [
            json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() for value in values
        ]


def _holds_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_holds_nan, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_nan, value))


# -- reading stored bytes


def leaf_data(header: bytes, salted_body: bytes) -> bytes:
    """The entry of the tree that stored bytes stand for."""
    return header + _sha256(b"\x03" + salted_body).digest()


def leaf_hashes(rows: Iterable[StoredRow]) -> list[bytes]:
    """The leaf of every row, from its header and salted body alone: the inner loop of verification."""
    return [_sha256(b"\x00" + header + _sha256(b"\x03" + body).digest()).digest() for _, header, body, _, _, _ in rows]


def sealed_parts(sealed: bytes) -> list[tuple[str, bytes]]:
    """Names and ciphertexts of a record's parts.

    Raises:
        ValueError: the framing is broken.
    """
    parts = []
    at, end = 0, len(sealed)
    while at < end:
        start = at + 1 + sealed[at]
        name = sealed[at + 1 : start].decode()
        at = start + 4 + int.from_bytes(sealed[start : start + 4], "big")
        if at > end or at < start + 4:
            raise ValueError("a part is cut short")
        parts.append((name, sealed[start + 4 : at]))
    return parts


def sealed_part(sealed: bytes, name: str) -> bytes:
    """The ciphertext of one of a record's parts.

    Raises:
        ValueError: the framing is broken before it, or there is no such part.
    """
    wanted = _part_head(name)
    at, end = 0, len(sealed)
    while at < end:
        start = at + 5 + sealed[at]
        following = start + int.from_bytes(sealed[start - 4 : start], "big")
        if following > end:
            break
        if sealed.startswith(wanted, at):
            return sealed[start:following]
        at = following
    raise ValueError("a part is missing or cut short")


def stored_record(stream: str, row: StoredRow, wrapped: Mapping[str, bytes]) -> StoredRecord:
    """The record that a store's row and the data keys it still has stand for.

    Raises:
        ValueError: the framing of the parts is broken.
    """
    seq, header, body, leaf, sealed, outbox_id = row
    parts = tuple(StoredPart(name, text, wrapped.get(name)) for name, text in sealed_parts(sealed))
    return StoredRecord(stream, seq, header, body[:SALT_SIZE], body[SALT_SIZE:], leaf, outbox_id, parts)


def header_of(record: StoredRecord) -> dict[str, Any]:
    """The header's fields."""
    fields: dict[str, Any] = orjson.loads(record.header[2:])
    return fields


def body_of(record: StoredRecord) -> dict[str, Any]:
    """The body's fields, `parts`, `outbox` and `counted` included."""
    fields: dict[str, Any] = orjson.loads(record.body)
    return fields


def open_part(record: StoredRecord, name: str, keys: PartKeys) -> bytes:
    """The plaintext of one part, checked against the commitment in the record's body.

    Raises:
        InvalidInputError: no such part, its key was erased, or it is not what the body commits to.
    """
    part = next((part for part in record.parts if part.name == name), None)
    if part is None or part.wrapped_key is None:
        raise InvalidInputError(Code.NOT_FOUND, f"record {record.seq} has no part `{name[:40]}` that can be opened")
    plaintext = unseal_part(record.seq, name, part.ciphertext, part.wrapped_key, keys)
    stated = body_of(record).get("parts", {}).get(name, {})
    try:
        holds = part_commitment(plaintext, stated["pairs"], bytes.fromhex(stated["commitment"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(Code.LOG_INVALID, f"part `{name[:40]}` of record {record.seq} does not open") from error
    if not holds:
        raise InvalidInputError(Code.LOG_INVALID, f"part `{name[:40]}` of record {record.seq} is not the one committed")
    return plaintext


def _items(plaintext: bytes) -> Iterator[bytes]:
    at, end = 0, len(plaintext)
    while at < end:
        start = at + 4
        at = start + int.from_bytes(plaintext[at:start], "big")
        if at > end or at <= start:
            raise ValueError("an item is cut short")
        yield plaintext[start:at]


def _leaf(item: bytes) -> bytes:
    if item[:1] == _WHOLE:
        return _sha256(item).digest()
    if item[:1] == _CUT:
        return item[1:33]
    raise ValueError("an item of unknown form")


def part_commitment(plaintext: bytes, pairs: int, commitment: bytes) -> bool:
    """Whether a part's plaintext is the one, of that many pairs, under that commitment.

    Raises:
        ValueError: the framing is broken.
    """
    items = list(_items(plaintext))
    rest = items.pop()[1:] if items and items[-1][:1] == _REST else None
    leaves = [_leaf(item) for item in items]
    root = tree_root(leaves, node=_PAIR_NODE)
    if rest is None:
        return len(leaves) == pairs and root == commitment
    proof = [rest[at : at + _HASH] for at in range(0, len(rest), _HASH)]
    return len(leaves) < pairs and verify_consistency(len(leaves), pairs, root, commitment, proof, node=_PAIR_NODE)


def _pair(item: bytes) -> tuple[bytes, str, bytes]:
    start = 1 if item[:1] == _WHOLE else 1 + _HASH
    body = start + SALT_SIZE + 2
    end = body + int.from_bytes(item[body - 2 : body], "big")
    return item[start : body - 2], item[body:end].decode(), item[end:]


def part_texts(plaintext: bytes, names: Collection[str] | None = None, *, whole: bool = False) -> dict[str, bytes]:
    """The pairs that were kept whole, by path, each value as its JSON text; if `names` are given, no other.

    The body counts those cut or left out.

    Raises:
        ValueError: the framing is broken; or, if `whole`, what is looked for may be among those not kept.
    """
    # one loop over offsets, for it is the inner one of judging history again
    found: dict[str, bytes] = {}
    at, end = 0, len(plaintext)
    wanted = end if names is None else len(names)  # no pair is shorter than a byte
    while at < end and wanted:
        start = at + 4
        at = start + _number(plaintext[at:start], "big")
        if at > end or at <= start:
            raise ValueError("an item is cut short")
        if plaintext[start] == _WHOLE_AS_NUMBER:
            path = start + _PATH_AT
            text = path + _number(plaintext[path - 2 : path], "big")
            name = plaintext[path:text].decode()
            if names is None or name in names:
                found[name] = plaintext[text:at]
                wanted -= 1
        elif whole:
            raise ValueError("a pair was not kept whole")
    return found


def part_values(plaintext: bytes, names: Collection[str] | None = None) -> dict[str, Any]:
    """As `part_texts`, with the values themselves. Raises as it does."""
    return {name: _loads(text) for name, text in part_texts(plaintext, names).items()}


def unseal_part(seq: int, name: str, ciphertext: bytes, wrapped: bytes, keys: PartKeys) -> bytes:
    """The plaintext of one stored part. That it is the one committed to is for `open_part` and `audit verify`.

    Raises:
        InvalidInputError: the key or the ciphertext was changed, or belongs elsewhere.
    """
    belongs_to = keys.belongs_to(seq, name)
    try:
        return AESGCM(keys.unwrap(seq, wrapped, belongs_to)).decrypt(_ZERO_NONCE, ciphertext, belongs_to)
    except (InvalidTag, ValueError) as error:
        raise InvalidInputError(Code.LOG_INVALID, f"part `{name[:40]}` of record {seq} does not open") from error


def _loads(text: bytes) -> Any:
    # the fast parser makes a float of an integer beyond 64 bits
    return json.loads(text) if len(text) > 18 and _LONG_NUMBER.search(text) else orjson.loads(text)


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One field of a part, opened alone: it proves itself against the commitment and says nothing of the others."""

    path: str
    salt: bytes
    value: bytes
    """The JSON text as stored."""
    index: int
    pairs: int
    proof: tuple[bytes, ...]


def disclose(plaintext: bytes, path: str) -> Disclosure:
    """Open one field.

    Raises:
        InvalidInputError: the part holds no such field whole, or too little of it was kept to prove one.
    """
    items = list(_items(plaintext))
    if any(item[:1] == _REST for item in items):
        raise InvalidInputError(Code.NOT_FOUND, "too little of the part was kept to open one field of it")
    leaves = [_leaf(item) for item in items]
    for index, item in enumerate(items):
        salt, here, text = _pair(item)
        if here == path and item[:1] == _WHOLE:
            proof = inclusion_proof(index, len(leaves), lambda lo, hi: tree_root(leaves[lo:hi], node=_PAIR_NODE))
            return Disclosure(path, salt, text, index, len(leaves), tuple(proof))
    raise InvalidInputError(Code.NOT_FOUND, f"the part holds no field `{path[:80]}` whole")


def verify_disclosure(disclosure: Disclosure, *, pairs: int, commitment: bytes) -> bool:
    """Whether that field with that value stands in the part whose body states `pairs` and `commitment`."""
    path = disclosure.path.encode()
    if disclosure.pairs != pairs or len(disclosure.salt) != SALT_SIZE or len(path) > MAX_PATH:
        return False
    leaf = _sha256(_WHOLE + disclosure.salt + len(path).to_bytes(2, "big") + path + disclosure.value).digest()
    return verify_inclusion(leaf, disclosure.index, pairs, disclosure.proof, commitment, node=_PAIR_NODE)
