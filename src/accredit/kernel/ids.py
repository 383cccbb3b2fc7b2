"""Distinct types for distinct ids, and the one source of randomness.

Ids are opaque, random and never reused: `agt_` + 32 hex digits (128 bits).
"""

from __future__ import annotations

import os
import re
import secrets
from random import Random  # noqa: TID251 - for the seeded source alone
from typing import NewType, Protocol
from urllib.parse import quote, unquote

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = [
    "AgentId",
    "CredentialId",
    "DecisionId",
    "HoldId",
    "IdSource",
    "PersonId",
    "RandomIds",
    "SeededIds",
    "ServerName",
    "TeamId",
    "ToolId",
    "check_name",
    "item_group",
    "tool_id",
    "tool_name",
]

AgentId = NewType("AgentId", str)
CredentialId = NewType("CredentialId", str)
DecisionId = NewType("DecisionId", str)
HoldId = NewType("HoldId", str)
PersonId = NewType("PersonId", str)
ServerName = NewType("ServerName", str)
TeamId = NewType("TeamId", str)
ToolId = NewType("ToolId", str)

_ID_BYTES = 16
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ITEM_GROUPS = frozenset({"prompts", "resources"})


class IdSource(Protocol):
    """Gives unguessable ids and secrets."""

    def new(self, prefix: str) -> str: ...

    def secret(self, size: int) -> bytes: ...


def _spelled(prefix: str, raw: bytes) -> str:
    return f"{prefix}_{raw.hex()}"


class RandomIds:
    """Ids and secrets from the operating system's generator; ids are drawn in blocks, secrets one by one."""

    def __init__(self) -> None:
        self._drawn: list[bytes] = []
        self._process = 0

    def new(self, prefix: str) -> str:
        if self._process != os.getpid():  # a forked process must not hand out the ids its parent will
            self._process = os.getpid()
            self._drawn = []
        try:
            raw = self._drawn.pop()  # atomic: two threads never get the same
        except IndexError:
            block = secrets.token_bytes(_ID_BYTES * 64)
            self._drawn += [block[at : at + _ID_BYTES] for at in range(0, len(block), _ID_BYTES)]
            raw = secrets.token_bytes(_ID_BYTES)
        return _spelled(prefix, raw)

    def secret(self, size: int) -> bytes:
        return secrets.token_bytes(size)


class SeededIds:
    """Repeatable ids for tests and benches: never for anything that must not be guessed."""

    def __init__(self, seed: int) -> None:
        self._draw = Random(seed)  # noqa: S311 - repeatable on purpose, and named so

    def new(self, prefix: str) -> str:
        return _spelled(prefix, self._draw.randbytes(16))

    def secret(self, size: int) -> bytes:
        return self._draw.randbytes(size)


def check_name(name: str, what: str) -> str:
    """Return `name` if it is a valid name of a server, team or agent (DESIGN §3.5).

    Raises:
        InvalidInputError: the name has another form.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(Code.NAME_INVALID, f"`{name[:80]}` is not a valid name of a {what}")
    return name


def item_group(name: str) -> str | None:
    """`resources` or `prompts` if a name is that of an item among a server's tools: `resources/URI`, `prompts/NAME`.

    No tool is registered under such a name.
    """
    group, slash, own = name.partition("/")
    return group if slash and own and group in _ITEM_GROUPS else None


def tool_id(server: str, name: str) -> ToolId:
    """`server/name`, the name percent-encoded outside `[A-Za-z0-9_.-]` (DESIGN §3.5); reversible.

    An item's id has a second slash, `server/prompts/name`, which no tool's has.
    """
    group = item_group(name)
    where, own = (f"{server}/{group}", name[len(group) + 1 :]) if group else (server, name)
    # quote() leaves `~` alone, which the grammar does not
    return ToolId(f"{where}/{quote(own, safe='').replace('~', '%7E')}")


def tool_name(tool: ToolId) -> str:
    """The server's own name of a tool: the inverse of `tool_id`."""
    return unquote(tool.partition("/")[2])
