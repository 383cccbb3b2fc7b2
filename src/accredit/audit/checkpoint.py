"""Signed tree heads: C2SP checkpoints, which are signed notes (`notes.py`), over Ed25519.

Read strictly: one spelling of every number, no extension lines, and origin and size bound by the signature.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from accredit.audit.notes import NoteSigner, NoteVerifier, exact_base64, parse_note
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Checkpoint", "CheckpointSigner", "CheckpointVerifier", "log_origin", "parse_checkpoint"]

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its name, how many entries it holds and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """The note text that is signed, its last newline included."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def log_origin(installation: str, stream: str) -> str:
    """The name a stream signs under."""
    return f"accredit.log/{installation}/{stream}"


def _refused(what: str) -> InvalidInputError:
    return InvalidInputError(Code.LOG_INVALID, f"not a checkpoint: {what}")


def _checkpoint(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) != 3 or not lines[0]:
        raise _refused("the text is not origin, size and root")
    origin, size, root = lines[0], lines[1], exact_base64(lines[2])
    if not _SIZE.fullmatch(size) or len(root) != 32:
        raise _refused("size or root have another form")
    return Checkpoint(origin, int(size), root)


def parse_checkpoint(note: bytes) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """What a note says and (key name, key id ‖ signature) of each line that signs it. Nothing is verified here.

    Raises:
        InvalidInputError: not exactly a checkpoint.
    """
    text, signed = parse_note(note)
    return _checkpoint(text), signed


class CheckpointVerifier:
    """Accepts what one log's key signed about that log, and nothing else."""

    def __init__(self, vkey: str) -> None:
        """Read a verifier key, `name+keyid+base64(0x01 ‖ public key)`.

        Raises:
            InvalidInputError: the text is not one.
        """
        self._notes = NoteVerifier(vkey)
        self.origin = self._notes.name
        self.vkey = vkey

    def verify(self, note: bytes) -> Checkpoint:
        """The checkpoint in that note.

        Raises:
            InvalidInputError: malformed, of another log, or not signed by this key.
        """
        checkpoint, _ = parse_checkpoint(note)
        if checkpoint.origin != self.origin:
            raise InvalidInputError(
                Code.LOG_INVALID, f"the checkpoint is of `{checkpoint.origin[:120]}`, not of `{self.origin}`"
            )
        self._notes.verify(note)
        return checkpoint


class CheckpointSigner:
    """Signs the heads of one log.

    INVARIANT: it signs no head that contradicts one it signed before. It knows the sizes of its own lifetime; across
    restarts the fork guard of `LogWriter` checks the stored log against the newest one known.
    """

    def __init__(self, origin: str, seed: bytes) -> None:
        self._notes = NoteSigner(origin, seed)
        self.origin = origin
        self.vkey = self._notes.vkey
        self.last: Checkpoint | None = None

    def sign(self, size: int, root: bytes) -> bytes:
        """The signed note of that head.

        Raises:
            InvalidInputError: a head as large or larger was signed before and differs.
        """
        checkpoint = Checkpoint(self.origin, size, root)
        last = self.last
        if last is not None and (size < last.size or (size == last.size and root != last.root)):
            raise InvalidInputError(
                Code.LOG_INVALID, f"a head of {last.size} records was signed already; one of {size} contradicts it"
            )
        note = self._notes.sign(checkpoint.text().decode())
        self.last = checkpoint
        return note

    def verifier(self) -> CheckpointVerifier:
        """The public side of this key."""
        return CheckpointVerifier(self.vkey)
