"""What this room asks of others: somebody who can ask a tool server what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from accredit.registry.model import ToolServer

__all__ = ["DefinitionSource"]


class DefinitionSource(Protocol):
    """Asks a tool server for the definitions of its tools, with the gateway's own credential."""

    async def revision(self, server: ToolServer) -> str:
        """The newest revision of MCP that both the server and we speak.

        Raises:
            UnavailableError: unreachable, too slow, or there is none.
        """
        ...

    async def fetch(self, server: ToolServer) -> Mapping[str, Mapping[str, Any]]:
        """Every definition the server offers, by tool name, as sent. `server.tools` is empty at the first look.

        It is asked in `server.revision`, and in nothing older.

        Raises:
            UnavailableError: unreachable, too slow, a tool named twice, or more than the bounds allow.
        """
        ...
