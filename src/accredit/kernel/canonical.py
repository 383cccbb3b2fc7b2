"""The one canonical encoding and the one way to hash it.

Canonical bytes are orjson with sorted keys under rules that make them equal RFC 8785 (JCS) byte for byte: ASCII
keys, integers within ±2^53, no floats; any Unicode text in values. Verifiers hash stored bytes and never
re-encode. Digests carry a domain, so a digest of one kind of thing can never stand for another.
"""

from __future__ import annotations

import hashlib
from typing import Any, NewType

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Digest", "canonical", "digest", "digest_value", "require_canonical"]

Digest = NewType("Digest", str)

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def canonical(value: Any) -> bytes:
    """Encode a value that the caller knows to be canonical (built here, or passed `require_canonical`)."""
    return orjson.dumps(value, option=_OPTIONS)


def require_canonical(value: Any) -> None:
    """Check that a value from outside has one canonical form.

    Raises:
        InvalidInputError: a float, an integer beyond ±2^53, a key that is not ASCII text, or another type.
    """
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not -(2**53) < value < 2**53:
            raise InvalidInputError(Code.UNENCODABLE_INPUT, "an integer lies beyond ±2^53")
        return
    if isinstance(value, list | tuple):
        for item in value:
            require_canonical(item)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise InvalidInputError(Code.UNENCODABLE_INPUT, "a key is not ASCII text")
            if type(item) is not str:  # most are: spares the call on the path of every record
                require_canonical(item)
        return
    raise InvalidInputError(Code.UNENCODABLE_INPUT, f"a value of type {type(value).__name__} has no canonical form")


def digest(domain: str, data: bytes) -> Digest:
    """SHA-256 over a domain-separated text: `sha256:<64 hex digits>`."""
    return Digest("sha256:" + hashlib.sha256(b"accredit/v1/" + domain.encode() + b"\0" + data).hexdigest())


def digest_value(domain: str, value: Any) -> Digest:
    """Digest of a value's canonical bytes."""
    return digest(domain, canonical(value))
