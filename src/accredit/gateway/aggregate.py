"""The names of tools and prompts at `/mcp`, where those of many servers stand in one list.

A tool is called `server__tool` there. A server's name has no underscore, so the first one ends it, whatever the tool
is called: no tool can take a name that reads as another server's. Models take names of at most 64 characters of
`[A-Za-z0-9_-]`; a tool whose name would be longer or hold anything else is called `_server__tool_` and 24 hex digits of
its digest, the readable part cut to fit. That cannot be mistaken for the first form, which begins with a letter. Each
tool has exactly one name: the one that is listed is the one that is served.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from accredit.kernel.canonical import digest
from accredit.kernel.ids import ServerName, tool_id
from accredit.registry.model import ToolServer

__all__ = ["AggregatedNames", "aggregated_name"]

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_BETWEEN: Final = "__"
_MAX_NAME: Final = 64
_MAX_SERVER: Final = 18
_HEX: Final = 24
"""96 bits: nobody finds a name for a tool that has the digest of somebody else's."""
_MAX_TABLES: Final = 4096


@lru_cache(maxsize=8192)
def aggregated_name(server: ServerName, tool: str) -> str:
    """The one name of a server's tool at `/mcp`."""
    name = f"{server}{_BETWEEN}{tool}"
    if len(name) <= _MAX_NAME and _PLAIN.fullmatch(tool):
        return name
    readable = f"_{server[:_MAX_SERVER]}{_BETWEEN}{_OTHER.sub('-', tool)}"[: _MAX_NAME - _HEX - 1]
    told_apart = digest("aggregated-tool-name", tool_id(server, tool).encode()).removeprefix("sha256:")
    return f"{readable}_{told_apart[:_HEX]}"


def _tools_of(server: ToolServer) -> Iterable[str]:
    return (tool.name for tool in server.tools.values() if tool.item is None)


class AggregatedNames:
    """Reads the names that tools, or prompts, have at `/mcp`.

    What it knows of a server is worked out once for each state of it.
    """

    def __init__(self, own: Callable[[ToolServer], Iterable[str]] = _tools_of) -> None:
        """`own` gives a server's own names of what is named here."""
        self._own = own
        self._shortened: dict[ServerName, tuple[ToolServer, Mapping[str, str | None]]] = {}

    def read(self, name: str, servers: Mapping[ServerName, ToolServer]) -> tuple[ServerName, str] | None:
        """The server among these that a name speaks of, and its own name of the tool, which it need not have.

        INVARIANT: at most one tool: if two ever had the same name, neither has it.
        """
        if not name.startswith("_"):
            server, _, tool = name.partition(_BETWEEN)
            known = servers.get(ServerName(server))
            # else the tool has another name here, and each has one
            return (known.name, tool) if known is not None and aggregated_name(known.name, tool) == name else None
        beginning = name[1:].partition("_")[0]
        found = [
            (known.name, self._table(known)[name])
            for own, known in servers.items()
            if own[:_MAX_SERVER] == beginning and name in self._table(known)
        ]
        if len(found) != 1 or (tool_found := found[0][1]) is None:
            return None
        return found[0][0], tool_found

    def _table(self, server: ToolServer) -> Mapping[str, str | None]:
        """The server's tools whose names were shortened, by that name; None where two tools share one."""
        known = self._shortened.get(server.name)
        if known is not None and known[0] is server:
            return known[1]
        table: dict[str, str | None] = {}
        for own in self._own(server):
            name = aggregated_name(server.name, own)
            if name.startswith("_"):
                table[name] = None if name in table else own
        if len(self._shortened) >= _MAX_TABLES:
            self._shortened.clear()
        self._shortened[server.name] = (server, table)
        return table
