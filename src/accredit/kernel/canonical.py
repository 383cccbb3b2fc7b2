"""The one canonical encoding and the one way to hash it.

Canonical bytes are those of RFC 8785 (JCS). What is made here keeps to rules under which orjson with sorted keys writes
just these (`canonical`): ASCII keys, integers within ±2^53, no floats; any Unicode text in values. JSON of others, with
keys of any script and fractions, is written number by number and key by key (`canonical_json`). Verifiers hash stored
bytes and never re-encode. Digests carry a domain, so a digest of one kind of thing can never stand for another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NewType

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Digest", "canonical", "canonical_json", "digest", "digest_value", "require_canonical"]

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


def canonical_json(value: Any, *, max_depth: int) -> bytes:
    """Encode any JSON value as RFC 8785 §3.2 has it.

    Raises:
        InvalidInputError: it is nested deeper, or has no such form: a number that is not finite (§3.2.2.3), an integer
            beyond ±2^53, which readers round apart (RFC 7493 §2.2), a lone surrogate (§3.2.2.2), or what is no JSON.
    """
    try:
        return orjson.dumps(_written(value, max_depth))
    except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
        raise InvalidInputError(
            Code.UNENCODABLE_INPUT, "a value has no canonical form: it is no JSON, or no Unicode", cause=repr(error)
        ) from error


def _written(value: Any, depth: int) -> Any:
    """The value with its keys in order and its fractions as text; orjson writes strings and integers as §3.2.2 does."""
    if depth < 0:
        raise InvalidInputError(Code.BODY_TOO_DEEP, "nested deeper than allowed")
    if isinstance(value, float):
        return orjson.Fragment(_number(value))
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**53) < value < 2**53:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "an integer lies beyond ±2^53")
    if isinstance(value, Mapping):
        # §3.2.3: by UTF-16 code units, which differs from code points where a surrogate pair meets U+E000 to U+FFFF
        return {key: _written(value[key], depth - 1) for key in sorted(value, key=_code_units)}
    if isinstance(value, list | tuple):
        return [_written(item, depth - 1) for item in value]
    return value


def _code_units(key: Any) -> bytes:
    if not isinstance(key, str):
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "a key is not text")
    return key.encode("utf-16-be")


def _number(value: float) -> str:
    """As ECMAScript's Number::toString (§3.2.2.3); `repr` finds the same shortest digits and spells them otherwise."""
    if not math.isfinite(value):
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "a number is not finite")
    if value == 0:
        return "0"  # also -0
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.strip("0")
    if 0 < point <= 21:
        text = f"{digits[:point]:0<{point}}" + (f".{digits[point:]}" if len(digits) > point else "")
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = digits[:1] + (f".{digits[1:]}" if len(digits) > 1 else "") + f"e{point - 1:+d}"
    return f"-{text}" if value < 0 else text


def digest(domain: str, data: bytes) -> Digest:
    """SHA-256 over a domain-separated text: `sha256:<64 hex digits>`."""
    return Digest("sha256:" + hashlib.sha256(b"accredit/v1/" + domain.encode() + b"\0" + data).hexdigest())


def digest_value(domain: str, value: Any) -> Digest:
    """Digest of a value's canonical bytes."""
    return digest(domain, canonical(value))
