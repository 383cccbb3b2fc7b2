"""JSON from outside, read strictly: bounded in size and depth, no repeated keys, no NaN, no lone surrogates.

What is decided must be what is sent (DESIGN §3.4), so a text that two parsers could read differently is refused.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["MAX_DEPTH", "parse_strict"]

MAX_DEPTH = 64


class _RepeatedKeyError(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise _RepeatedKeyError
    return seen


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _integer(text: str) -> int:
    if len(text) > 20:  # beyond 64 bits parsers disagree: some round to a float
        raise ValueError(text[:40])
    return int(text)


_decode = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse, parse_int=_integer).decode


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def parse_strict(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON text.

    Raises:
        InvalidInputError: too large, too deep, not JSON, or a key repeated in an object.
    """
    if len(data) > max_bytes:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"{len(data)} bytes are more than the {max_bytes} allowed")
    try:
        value = orjson.loads(data)  # refuses NaN, invalid UTF-8, lone surrogates and a depth beyond its own limit
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, f"not JSON: {error.msg} at byte {error.pos}") from error
    if data.count(b"{") + data.count(b"[") > max_depth and _deeper_than(value, max_depth):
        raise InvalidInputError(Code.BODY_TOO_DEEP, f"nested deeper than {max_depth} levels")
    if orjson.dumps(value) == data:  # the only text of this value without spaces: nothing in it was left out or bent
        return value
    try:
        _decode(data.decode())
    except _RepeatedKeyError as error:
        raise InvalidInputError(Code.BODY_DUPLICATE_KEYS, "an object repeats a key") from error
    except ValueError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, "not JSON", cause=repr(error)) from error
    return value
