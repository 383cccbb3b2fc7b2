"""Taking a secret out of what comes back from whoever was sent it: servers echo headers in their answers.

What is looked for is the secret in every spelling that an ordinary program makes of it: as it is, in JSON, in a URL, in
HTML, in base64 wherever it stands in what was encoded, in hexadecimal, and letter by letter. A server that means to
tell the secret in a spelling of its own invention cannot be kept from it: it has the secret.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

__all__ = ["MIN_SECRET", "secret_of", "without_credential"]

MIN_SECRET: Final = 8
"""Characters. A shorter secret could not be told apart from ordinary text."""
_REDACTED: Final = b"[redacted]"
# one letter spelled by its number: in JSON and programs, in a URL, in HTML; each also escaped once more
_BY_NUMBER: Final = re.compile(
    rb"\\{1,8}(?:u00|x)([2-7][0-9a-fA-F])|%(?:25){0,3}([2-7][0-9a-fA-F])"
    rb"|&(?:amp;)?#[xX]0{0,6}([2-7][0-9a-fA-F]);?|&(?:amp;)?#0{0,6}([0-9]{2,3});?"
    rb"|&(?:amp;)?(amp|lt|gt|quot|apos);|\\{1,8}([\"\\/'])"
)
_SIGNS_OF_NUMBERS: Final = (b"\\u00", b"\\x", b"%", b"&")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_NAMED: Final = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def secret_of(value: str) -> str:
    """Of `Bearer …` and its like what follows the scheme, else the whole value."""
    scheme, space, rest = value.partition(" ")
    return rest.strip() if space and scheme.isalpha() else value


def without_credential(headers: Mapping[str, str], answer: bytes) -> bytes:
    """What a tool server said without the credential it was sent, in any spelling that is likely to come back.

    Works on whole messages: a value split over two pieces of a stream is found only once they are joined. The cost is a
    few scans of the answer, and one more pass where anything in it is spelled by number.
    """
    if not headers:
        return answer
    for value in headers.values():
        for spelling in _spellings(value):
            if spelling in answer:
                answer = answer.replace(spelling, _REDACTED)
    if any(sign in answer for sign in _SIGNS_OF_NUMBERS):
        answer = _without_numbered(headers.values(), answer)
    return answer


def _without_numbered(values: Iterable[str], answer: bytes) -> bytes:
    """The same for spellings that mix letters and their numbers: the text is read, and what is found cut out of it."""
    plain, starts = bytearray(), []  # where in `plain` an escape became one byte, and how far it shifts what follows
    shifts: list[int] = []
    last = shift = 0
    for found in _BY_NUMBER.finditer(answer):
        if (letter := _letter(found)) is None:
            continue
        plain += answer[last : found.start()]
        starts.append(len(plain))
        plain += letter
        last = found.end()
        shift += last - found.start() - 1
        shifts.append(shift)
    if not starts:
        return answer
    plain += answer[last:]
    spans = sorted(span for value in values for spelling in _read(value) for span in _spans(bytes(plain), spelling))
    if not spans:
        return answer
    kept, end = [], 0
    for start, stop in spans:
        at, until = _place(start, starts, shifts), _place(stop, starts, shifts)
        if at > end:
            kept.append(answer[end:at])
        if until > end:
            kept.append(_REDACTED)
            end = until
    return b"".join([*kept, answer[end:]])


def _letter(found: re.Match[bytes]) -> bytes | None:
    in_json, in_url, in_html, by_number, named, escaped = found.groups()
    if (digits := in_json or in_url or in_html) is not None:
        return bytes([int(digits, 16)])
    if by_number is not None:
        return bytes([number]) if 0x20 <= (number := int(by_number)) < 0x7F else None
    return _NAMED[named] if named is not None else escaped


def _spans(text: bytes, spelling: bytes) -> Iterator[tuple[int, int]]:
    at = text.find(spelling)
    while at >= 0:
        yield at, at + len(spelling)
        at = text.find(spelling, at + len(spelling))


def _place(at: int, starts: list[int], shifts: list[int]) -> int:
    """Where in the answer a place in the text that was read of it is."""
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if starts[middle] < at:
            low = middle + 1
        else:
            high = middle
    return at + (shifts[low - 1] if low else 0)


def _secrets(value: str) -> frozenset[str]:
    """What of a header's value must not come back: what follows its scheme, and of `Basic` what that stands for."""
    secret = secret_of(value)
    found = {secret}
    if value[:6].lower() == "basic ":
        try:
            pair = b64decode(secret, validate=True).decode()
        except ValueError:
            pair = ""
        password = pair.partition(":")[2]
        if len(password) >= MIN_SECRET:
            found |= {pair, password}
    return frozenset(found)


@lru_cache(maxsize=128)  # a few credentials, every answer
def _read(value: str) -> tuple[bytes, ...]:
    """What to look for in a text that was read."""
    return tuple(sorted((text.encode() for text in _secrets(value)), key=len, reverse=True))


@lru_cache(maxsize=128)
def _spellings(value: str) -> tuple[bytes, ...]:
    """What to look for in a text as it came, longest first. A scheme in front changes only what base64 makes of it."""
    secrets = _secrets(value)
    found: set[bytes] = set()
    for secret in secrets:
        in_json = json.dumps(secret)[1:-1]
        texts = {
            secret,
            in_json,
            in_json.replace("/", "\\/"),
            quote(secret, safe=""),
            quote(secret),
            html.escape(secret),
        }
        raw = secret.encode()
        found |= {text.encode() for text in texts}
        found |= {raw.hex().encode(), raw.hex().upper().encode()}
        found |= {each for text in {raw, in_json.encode()} for each in _in_base64(text)}
    found.add(b64encode(value.encode()).rstrip(b"="))
    return tuple(sorted(found, key=len, reverse=True))


def _in_base64(secret: bytes) -> Iterator[bytes]:
    """What base64 makes of it alone, and wherever it begins in what is encoded: the letters that are its alone."""
    found = {b64encode(secret).rstrip(b"=")}
    for before in range(3):
        first = (0, 2, 3)[before]  # the letters in front hold bits of what stands before it
        whole = (before + len(secret)) // 3 * 4  # and those behind of what stands after it
        found.add(b64encode(b"\0" * before + secret)[first:whole])
    for each in found:
        if len(each) >= MIN_SECRET:
            yield each
            yield each.translate(_URL_SAFE)
