"""Sealing: authenticated encryption bound to what the ciphertext belongs to."""

from __future__ import annotations

import hmac
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import IdSource

__all__ = ["AesGcmSealer", "Sealer"]


class Sealer(Protocol):
    """Seals bytes so that only the holder of the key opens them, and only as what they were sealed for."""

    def seal(self, plaintext: bytes, *, belongs_to: bytes) -> bytes: ...

    def open(self, sealed: bytes, *, belongs_to: bytes) -> bytes: ...

    def fingerprint(self, data: bytes) -> str:
        """A keyed digest: the same for the same data, and nothing to who does not hold the key."""
        ...

    def derive(self, purpose: str) -> Sealer:
        """A sealer with an independent key for one purpose."""
        ...


class AesGcmSealer:
    """AES-256-GCM with a random 96-bit nonce before the ciphertext; `belongs_to` is the associated data."""

    def __init__(self, key: bytes, ids: IdSource) -> None:
        self._key = key
        self._ids = ids
        self._aead = AESGCM(key)
        self._fingerprints = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"accredit/v1/fingerprint").derive(key)

    def seal(self, plaintext: bytes, *, belongs_to: bytes) -> bytes:
        nonce = self._ids.secret(12)
        return nonce + self._aead.encrypt(nonce, plaintext, belongs_to)

    def open(self, sealed: bytes, *, belongs_to: bytes) -> bytes:
        """Open what `seal` made.

        Raises:
            InvalidInputError: wrong key, wrong belonging, or changed bytes.
        """
        try:
            return self._aead.decrypt(sealed[:12], sealed[12:], belongs_to)
        except (InvalidTag, ValueError) as error:
            raise InvalidInputError(
                Code.STATE_UNPROVEN, "a sealed value does not open", cause="authentication failed"
            ) from error

    def fingerprint(self, data: bytes) -> str:
        return "hmac-sha256:" + hmac.digest(self._fingerprints, data, "sha256").hex()

    def derive(self, purpose: str) -> AesGcmSealer:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"accredit/v1/" + purpose.encode()).derive(self._key)
        return AesGcmSealer(key, self._ids)
