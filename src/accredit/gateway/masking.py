"""Taking masked properties out of a tool's answer, or withholding what cannot be shown to be free of them. Pure.

A mask names properties, so it can only be kept where everything stands under a name: in JSON objects, as structured
content or as the text of a content block. All else (free text, images, links, resources, the words of an error, a
server's own `_meta`) has no names to look at, and is withheld or dropped. Names are compared exactly when something is
taken out. One that only looks like a masked name says that the server spells its properties in another way than was
registered, and nobody knows what else it does: the whole answer is withheld.

What this does not do: a server that puts a masked value under another name, or into an unmasked text, is not found
out. A mask rests on what was registered of the server, as its data classes do.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.strictjson import MAX_DEPTH

__all__ = ["masked_error", "masked_result"]

_OWN_NUMBERS = range(-32_768, -31_999)
_INTERNAL: Final = -32_603
_LONGEST_NAME: Final = 1024


def masked_result(result: Mapping[str, Any], masked: frozenset[str]) -> dict[str, Any]:
    """The result of `tools/call` without the masked properties; every other value of its objects is as it was.

    Raises:
        UnavailableError: `result_unmaskable`: some of it stands under no name, or under one that only looks like a
            masked one.
    """
    mask = _Mask(masked)
    kept: dict[str, Any] = {key: result[key] for key in ("resultType", "isError") if key in result}
    kept["content"] = [mask.block(block) for block in result["content"]]
    if "structuredContent" in result:
        kept["structuredContent"] = mask.kept(result["structuredContent"])
    return kept


def masked_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol error without the server's words, which could quote anything, nor a number of its own making."""
    number = error["code"] if error["code"] in _OWN_NUMBERS else _INTERNAL
    return {"code": number, "message": "the tool server answered with an error; a mask withholds its words"}


def _withheld() -> UnavailableError:
    code = Code.RESULT_UNMASKABLE
    return UnavailableError(code, code.meaning, hint=code.remedy)


class _Mask:
    """The names of one mask, prepared for one answer."""

    def __init__(self, masked: frozenset[str]) -> None:
        self._masked = masked
        self._alike = frozenset(map(_folded, masked))
        self._quoted = _quoted(masked)

    def block(self, block: Any) -> dict[str, Any]:
        """A content block: its text alone, and that only if it is JSON whose values have names."""
        text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
        if not isinstance(text, str):
            raise _withheld()
        try:
            value = _exact(text)
        except (ValueError, RecursionError) as error:
            raise _withheld() from error
        try:
            return {"type": "text", "text": orjson.dumps(self.kept(value)).decode()}
        except orjson.JSONEncodeError as error:  # half of a surrogate pair
            raise _withheld() from error

    def kept(self, value: Any, depth: int = MAX_DEPTH, *, named: bool = False) -> Any:
        """What is left of a value; `named` if it stands under a property."""
        if not depth:
            raise _withheld()
        if isinstance(value, dict):
            return {key: self.kept(item, depth - 1, named=True) for key, item in value.items() if not self._takes(key)}
        if isinstance(value, list):
            return [self.kept(item, depth - 1, named=named) for item in value]
        if not named:
            raise _withheld()
        if isinstance(value, str):
            self._read(value, depth)
        return value

    def _takes(self, name: str) -> bool:
        if name in self._masked:
            return True
        if len(name) > _LONGEST_NAME or _folded(name) in self._alike:
            raise _withheld()
        return False

    def _read(self, text: str, depth: int) -> None:
        """A text is relayed as it is, so one that is JSON, or holds some, may have nothing to be taken out."""
        if self._quoted.search(text):
            raise _withheld()
        if text.lstrip()[:1] not in {"{", "["}:
            return
        try:
            value = _exact(text)
        except (_RepeatedNameError, RecursionError) as error:
            raise _withheld() from error
        except ValueError:
            return
        if self.kept(value, depth - 1, named=True) != value:
            raise _withheld()


@lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    """What all spellings of a name have in common: letter case, normal form, separators and the unseen put aside."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(filter(str.isalnum, text)) or text


@lru_cache(maxsize=256)
def _quoted(masked: frozenset[str]) -> re.Pattern[str]:
    """A masked name written as a key, in any letter case: in lines of JSON, in a piece of it, in another notation."""
    names = "|".join(re.escape(name) for name in sorted(masked))
    return re.compile(rf"[\"'](?:{names})\\*[\"']\s*:", re.IGNORECASE)


class _RepeatedNameError(ValueError):
    """Readers differ about which of two equal names counts."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedNameError
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# numbers stay the texts they are: what is not masked must not be rounded on its way
_exact = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=orjson.Fragment, parse_float=orjson.Fragment, parse_constant=_refuse
).decode
