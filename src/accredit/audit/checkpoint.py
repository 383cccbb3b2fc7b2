"""Signed tree heads: C2SP checkpoints, which are signed notes, over Ed25519.

Read strictly, since whoever wants to deceive a verifier writes these too: one spelling of every number and every
base64 text, no extension lines, the signature over the text with its last newline, and origin and size bound by it.
Lines of other keys (witnesses) are allowed and ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Checkpoint", "CheckpointSigner", "CheckpointVerifier", "log_origin", "parse_checkpoint"]

_MAX_NOTE = 65_536
_MAX_SIGNATURES = 32
_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]{1,255}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


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


def _base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("a base64 text is malformed") from error
    if base64.b64encode(raw).decode() != text:
        raise _refused("a base64 text is not spelled canonically")
    return raw


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def parse_checkpoint(note: bytes) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """What a note says and (key name, key id ‖ signature) of each line that signs it. Nothing is verified here.

    Raises:
        InvalidInputError: not exactly a checkpoint.
    """
    if len(note) > _MAX_NOTE:
        raise _refused("it is too large")
    try:
        text = note.decode()
    except UnicodeDecodeError as error:
        raise _refused("it is not UTF-8") from error
    body, blank, signatures = text.rpartition("\n\n")
    if _CONTROL.search(text) or not blank or not signatures.endswith("\n"):
        raise _refused("text and signatures are not separated by an empty line, or a line is not ended")
    lines = body.split("\n")
    if len(lines) != 3 or not lines[0]:
        raise _refused("the text is not origin, size and root")
    origin, size, root = lines[0], lines[1], _base64(lines[2])
    if not _SIZE.fullmatch(size) or len(root) != 32:
        raise _refused("size or root have another form")
    signed = []
    for line in signatures[:-1].split("\n"):
        dash, name, signature = (*line.split(" "), "", "")[:3]
        if line.count(" ") != 2 or dash != "—" or not _NAME.fullmatch(name):
            raise _refused("a signature line has another form")
        signed.append((name, _base64(signature)))
    if len(signed) > _MAX_SIGNATURES:
        raise _refused("it has too many signatures")
    return Checkpoint(origin, int(size), root), signed


class CheckpointVerifier:
    """Accepts what one log's key signed about that log, and nothing else."""

    def __init__(self, vkey: str) -> None:
        """Read a verifier key, `name+keyid+base64(0x01 ‖ public key)`.

        Raises:
            InvalidInputError: the text is not one.
        """
        name, _, rest = vkey.partition("+")
        identifier, _, encoded = rest.partition("+")
        raw = _base64(encoded)
        if (
            not _NAME.fullmatch(name)
            or raw[:1] != _ED25519
            or len(raw) != 33
            or identifier != _key_id(name, raw[1:]).hex()
        ):
            raise InvalidInputError(Code.LOG_INVALID, "not a verifier key of a log", hint="it has the form name+id+key")
        self.origin = name
        self.vkey = vkey
        self._id = bytes.fromhex(identifier)
        self._public = Ed25519PublicKey.from_public_bytes(raw[1:])

    def verify(self, note: bytes) -> Checkpoint:
        """The checkpoint in that note.

        Raises:
            InvalidInputError: malformed, of another log, or not signed by this key.
        """
        checkpoint, signed = parse_checkpoint(note)
        if checkpoint.origin != self.origin:
            raise InvalidInputError(
                Code.LOG_INVALID, f"the checkpoint is of `{checkpoint.origin[:120]}`, not of `{self.origin}`"
            )
        ours = [raw[4:] for name, raw in signed if name == self.origin and raw[:4] == self._id]
        try:
            for signature in ours:
                self._public.verify(signature, checkpoint.text())
        except InvalidSignature as error:
            raise InvalidInputError(Code.LOG_INVALID, "the checkpoint's signature does not verify") from error
        if not ours:
            raise InvalidInputError(Code.LOG_INVALID, "the checkpoint is not signed by the log's key")
        return checkpoint


class CheckpointSigner:
    """Signs the heads of one log.

    INVARIANT: it signs no head that contradicts one it signed before. It knows the sizes of its own lifetime; across
    restarts the fork guard of `LogWriter` checks the stored log against the newest one known.
    """

    def __init__(self, origin: str, seed: bytes) -> None:
        if not _NAME.fullmatch(origin):
            raise InvalidInputError(Code.NAME_INVALID, f"`{origin[:120]}` is not a name of a log")
        self.origin = origin
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        self._id = _key_id(origin, public)
        self.vkey = f"{origin}+{self._id.hex()}+{base64.b64encode(_ED25519 + public).decode()}"
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
        text = checkpoint.text()
        signature = base64.b64encode(self._id + self._key.sign(text)).decode()
        self.last = checkpoint
        return text + f"\n— {self.origin} {signature}\n".encode()

    def verifier(self) -> CheckpointVerifier:
        """The public side of this key."""
        return CheckpointVerifier(self.vkey)
