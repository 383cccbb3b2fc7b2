"""Which tool a model means by a name: what frameworks make of the names of servers and tools, undone. Pure.

They put a server's name before a tool's and change what models do not take in names: `crm__read`, `mcp__crm__read`,
`crm_read` and `read` are all `read` of `crm`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from accredit.kernel.ids import ServerName

__all__ = ["means", "meant_by", "plain"]

_OTHER: Final = re.compile(r"[^0-9A-Za-z]")


def plain(name: str) -> str:
    """The name with what models do not take in names replaced."""
    return _OTHER.sub("_", name)


def means(asked: str, server: str, tool: str) -> bool:
    """Whether a name can mean that tool of that server; all of them plain."""
    return asked == tool or asked.endswith(f"__{tool}") or _of_server(asked, server, tool)


def _of_server(asked: str, server: str, tool: str) -> bool:
    return asked in {f"{server}_{tool}", f"{server}__{tool}"} or asked.endswith(
        (f"_{server}_{tool}", f"_{server}__{tool}")
    )


def meant_by(asked: str, places: Iterable[tuple[ServerName, str]]) -> list[tuple[ServerName, str]]:
    """The tools, by server and name, that a name can mean; where it names a server, those of that server alone."""
    name = plain(asked)
    found = sorted(place for place in places if means(name, plain(place[0]), plain(place[1])))
    return [place for place in found if _of_server(name, plain(place[0]), plain(place[1]))] or found
