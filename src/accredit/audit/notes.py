"""Signed notes (C2SP signed-note) over Ed25519: a text, an empty line, and a line for each signature.

Read strictly, since whoever wants to deceive a verifier writes these too: one spelling of every base64 text, and the
signature over the text with its last newline. Lines of other keys (witnesses) are allowed and ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["NoteSigner", "NoteVerifier", "exact_base64", "parse_note"]

_MAX_NOTE = 65_536
_MAX_SIGNATURES = 32
_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]{1,255}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def _refused(what: str) -> InvalidInputError:
    return InvalidInputError(Code.LOG_INVALID, f"not a signed note: {what}")


def exact_base64(text: str) -> bytes:
    """The bytes of a base64 text in its one canonical spelling.

    Raises:
        InvalidInputError: it is none, or spelled otherwise.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("a base64 text is malformed") from error
    if base64.b64encode(raw).decode() != text:
        raise _refused("a base64 text is not spelled canonically")
    return raw


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _vkey(name: str, public: bytes) -> str:
    return f"{name}+{_key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def parse_note(note: bytes, *, most: int = _MAX_NOTE) -> tuple[str, list[tuple[str, bytes]]]:
    """The text, its last newline included, and (key name, key id ‖ signature) of each line that signs it.

    Nothing is verified here.

    Raises:
        InvalidInputError: not exactly a signed note of at most so many bytes.
    """
    if len(note) > most:
        raise _refused("it is too large")
    try:
        text = note.decode()
    except UnicodeDecodeError as error:
        raise _refused("it is not UTF-8") from error
    body, blank, signatures = text.rpartition("\n\n")
    if _CONTROL.search(text) or not blank or not signatures.endswith("\n"):
        raise _refused("text and signatures are not separated by an empty line, or a line is not ended")
    signed = []
    for line in signatures[:-1].split("\n"):
        dash, name, signature = (*line.split(" "), "", "")[:3]
        if line.count(" ") != 2 or dash != "—" or not _NAME.fullmatch(name):
            raise _refused("a signature line has another form")
        signed.append((name, exact_base64(signature)))
    if len(signed) > _MAX_SIGNATURES:
        raise _refused("it has too many signatures")
    return f"{body}\n", signed


class NoteVerifier:
    """Accepts what one key signed under its name, and nothing else."""

    def __init__(self, vkey: str) -> None:
        """Read a verifier key, `name+keyid+base64(0x01 ‖ public key)`.

        Raises:
            InvalidInputError: the text is not one.
        """
        name, _, rest = vkey.partition("+")
        identifier, _, encoded = rest.partition("+")
        raw = exact_base64(encoded)
        if (
            not _NAME.fullmatch(name)
            or raw[:1] != _ED25519
            or len(raw) != 33
            or identifier != _key_id(name, raw[1:]).hex()
        ):
            raise InvalidInputError(Code.LOG_INVALID, "not a verifier key", hint="it has the form name+id+key")
        self.name = name
        self.vkey = vkey
        self._id = bytes.fromhex(identifier)
        self.public = raw[1:]
        self._public = Ed25519PublicKey.from_public_bytes(self.public)

    def under(self, name: str) -> NoteVerifier:
        """The same key under another name: an installation's key signs different things under different ones."""
        return NoteVerifier(_vkey(name, self.public))

    def verify(self, note: bytes, *, most: int = _MAX_NOTE) -> str:
        """The text of that note, its last newline included.

        Raises:
            InvalidInputError: malformed, longer than `most` bytes, or not signed by this key.
        """
        text, signed = parse_note(note, most=most)
        ours = [raw[4:] for name, raw in signed if name == self.name and raw[:4] == self._id]
        try:
            for signature in ours:
                self._public.verify(signature, text.encode())
        except InvalidSignature as error:
            raise InvalidInputError(Code.LOG_INVALID, f"the signature of `{self.name}` does not verify") from error
        if not ours:
            raise InvalidInputError(Code.LOG_INVALID, f"not signed by the key of `{self.name}`")
        return text


class NoteSigner:
    """Signs texts under one name. A key may sign under several names: each has an id of its own."""

    def __init__(self, name: str, seed: bytes) -> None:
        """From an Ed25519 seed of 32 bytes.

        Raises:
            InvalidInputError: the name has whitespace or `+`, or is too long.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInputError(Code.NAME_INVALID, f"`{name[:120]}` is not a name a key can sign under")
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        self._id = _key_id(name, public)
        self.vkey = _vkey(name, public)

    def sign(self, text: str) -> bytes:
        """The signed note of a text, which ends with a newline and has no empty line at its end."""
        signature = base64.b64encode(self._id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n".encode()

    def verifier(self) -> NoteVerifier:
        """The public side of this key."""
        return NoteVerifier(self.vkey)
