"""Proof that one record stands in the log, to be checked anywhere by anyone: C2SP `.tlog-proof`.

The file carries index, siblings, the signed checkpoint and, in its `extra` line, the record's entry; with the log's
verifier key nothing else is needed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from accredit.audit.checkpoint import Checkpoint, CheckpointVerifier, parse_checkpoint
from accredit.audit.merkle import TileReader, inclusion_proof, leaf_hash, subtree_root, verify_inclusion
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError

__all__ = ["carried_entry", "prove_record", "subtrees", "verify_record_proof"]

_FIRST = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_BYTES = 131_072
_MAX_HASHES = 63


def subtrees(tiles: TileReader) -> Callable[[int, int], bytes]:
    """What the proof functions of `merkle` read a stored tree through."""
    return lambda lo, hi: subtree_root(tiles, lo, hi)


def prove_record(tiles: TileReader, seq: int, *, checkpoint: bytes, entry: bytes = b"") -> bytes:
    """The `.tlog-proof` that the record at `seq` stands under that checkpoint of this log; carries `entry` if given.

    Raises:
        NotFoundError: the checkpoint does not reach that record.
        InvalidInputError: not a checkpoint.
    """
    head, _ = parse_checkpoint(checkpoint)
    if not 0 <= seq < head.size:
        raise NotFoundError(
            Code.NOT_FOUND, f"no checkpoint reaches record {seq} yet", hint="checkpoints come about once a second"
        )
    try:
        siblings = inclusion_proof(seq, head.size, subtrees(tiles))
    except LookupError as error:
        raise InvalidInputError(Code.LOG_INVALID, "the stored log does not hold what the checkpoint signs") from error
    extra = [f"extra {base64.b64encode(entry).decode()}"] if entry else []
    lines = [_FIRST, *extra, f"index {seq}", *(base64.b64encode(sibling).decode() for sibling in siblings), "", ""]
    return "\n".join(lines).encode() + checkpoint


def carried_entry(proof: bytes) -> bytes:
    """The entry that a proof carries: only what `verify_record_proof` says makes it more than a claim.

    Raises:
        InvalidInputError: it carries none.
    """
    lines = proof[:_MAX_BYTES].split(b"\n", 2)
    try:
        if len(lines) == 3 and lines[1].startswith(b"extra "):
            return base64.b64decode(lines[1][6:], validate=True)
    except binascii.Error as error:
        raise InvalidInputError(Code.LOG_INVALID, "not a log proof: malformed text") from error
    raise InvalidInputError(Code.LOG_INVALID, "the proof does not carry its record", hint="see `accredit audit prove`")


def verify_record_proof(proof: bytes, entry: bytes, verifier: CheckpointVerifier) -> tuple[int, Checkpoint]:
    """Where that entry (`records.leaf_data`) stands, and in which signed log.

    Raises:
        InvalidInputError: the proof is malformed, of another log, or not of this entry.
    """
    text, blank, checkpoint = proof.partition(b"\n\n")
    if not blank or len(proof) > _MAX_BYTES:
        raise InvalidInputError(Code.LOG_INVALID, "not a log proof: it has no checkpoint, or is too large")
    head = verifier.verify(checkpoint)
    try:
        first, *lines = text.decode("ascii").split("\n")
        if lines and lines[0].startswith("extra "):
            del lines[0]  # not authenticated by itself: the entry to check is the caller's
        index = _INDEX.fullmatch(lines[0]) if lines else None
        siblings = [base64.b64decode(line, validate=True) for line in lines[1:]]
    except (UnicodeDecodeError, binascii.Error) as error:
        raise InvalidInputError(Code.LOG_INVALID, "not a log proof: malformed text") from error
    if first != _FIRST or index is None or len(siblings) > _MAX_HASHES:
        raise InvalidInputError(Code.LOG_INVALID, "not a log proof: another form")
    seq = int(index[1])
    if not verify_inclusion(leaf_hash(entry), seq, head.size, siblings, head.root):
        raise InvalidInputError(Code.LOG_INVALID, f"the proof does not show this record at {seq}")
    return seq, head
