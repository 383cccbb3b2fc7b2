"""How large and how nested a module's text may be, found before the native parser reads it.

Why before: that parser descends the thread's stack once for each bracket and each operator, and a stack that overflows
ends the process. It also reads what stands in a bracket again for each way the bracket could go on (list, set, object
or comprehension), so that twenty brackets take it minutes. Neither can be caught, so a text is counted first.
"""

from __future__ import annotations

import re
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["bounded", "refused"]

_MAX_BYTES: Final = 32 * 1024
_MAX_BRACKETS: Final = 32
_MAX_DEPTH: Final = 64
_MAX_READING: Final = 1_000_000
_AGAIN: Final = 3
"""How often the parser may read what stands one bracket deeper, at most."""
_NUMBER: Final = 40

_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\n]+|\r\n|\#[^\n]*)
    |(?P<operand>"(?:\\.|[^"\\\x00-\x1f])*"|`[^`]*`|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[A-Za-z_][A-Za-z0-9_]*)
    |(?P<symbol>:=|[=<>!]=|[][(){}+*/%,;.:&|<>=-])""",
    re.VERBOSE,
)
_JOINING: Final = frozenset({"as", "contains", "if", "in", "not", "some", "every", "with", "default"})


def refused(what: str, hint: str) -> InvalidInputError:
    """The error of a module that cannot be loaded: what is wrong with it, and what to do."""
    return InvalidInputError(Code.POLICY_INVALID, what, hint=hint)


class _Bracket:
    """What stands between two brackets: how deep its expressions nest at most, and the one that is being read."""

    __slots__ = ("deepest", "inner", "joined")

    def __init__(self) -> None:
        self.deepest = self.inner = self.joined = 0

    def ended(self) -> int:
        self.deepest = max(self.deepest, self.joined + self.inner)
        self.joined = self.inner = 0
        return self.deepest


def bounded(text: str) -> None:
    """Let through what the native parser reads in bounded time and stack.

    Raises:
        InvalidInputError: it is too long or nested too deeply, or has a character that no module has.
    """
    if len(text.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        raise _too_deep()
    open_: list[_Bracket] = [_Bracket()]
    position, reading, again = 0, 0, 1
    operand = fresh = False
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or "\x00" in token[0]:
            raise refused(
                f"does not parse: line {text[:position].count(chr(10)) + 1} has what begins no word of a module",
                "write names in ASCII, and close each quotation",
            )
        position, word = token.end(), token[0]
        if token.lastgroup == "blank":
            fresh = fresh or "\n" in word
            continue
        reading += again
        value = token.lastgroup == "operand" and word not in _JOINING
        here = open_[-1]
        if fresh and operand and ((value and word[0] != "-") or word in {"[", "{", "not", "some", "every", "default"}):
            here.ended()
        if word in {",", ";"}:
            here.ended()
        elif word in {"(", "[", "{"}:
            here.joined += 1
            open_.append(_Bracket())
            again *= 1 if word == "(" else _AGAIN
        elif word in {")", "]", "}"} and len(open_) > 1:
            open_.pop()
            open_[-1].inner = max(open_[-1].inner, here.ended() + 1)
            again //= 1 if word == ")" else _AGAIN
            again = max(again, 1)
        elif not value:
            here.joined += 1
        elif word[0] in "-0123456789":
            here.joined += word[0] == "-"
            if len(word) > _NUMBER:
                raise refused(f"has a number of {len(word)} characters", f"keep numbers to {_NUMBER}")
        operand, fresh = value or word in {")", "]", "}"}, False
        if len(open_) > _MAX_BRACKETS or reading > _MAX_READING or again > _MAX_READING:
            raise _too_deep()
        if here.joined + here.inner > _MAX_DEPTH or open_[-1].inner > _MAX_DEPTH:
            raise _too_deep()
    depth = 0
    for one in reversed(open_):
        one.inner = max(one.inner, depth)
        depth = one.ended() + 1
    if depth > _MAX_DEPTH:
        raise _too_deep()


def _too_deep() -> InvalidInputError:
    return refused(
        "is too long or nested too deeply",
        f"keep it to {_MAX_BYTES} bytes and an expression to {_MAX_DEPTH} levels, and give parts names of their own",
    )
