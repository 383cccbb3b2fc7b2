"""What the gateway needs from the rooms above it: somebody who decides, and somebody who looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from accredit.enforcement.model import Admitted, AskedCall, Call, CallResult, Refused, WeighedCall
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.ids import ServerName
from accredit.registry.items import ItemKind
from accredit.registry.model import Tool, ToolServer

__all__ = ["EnforcementPoint", "ListingWatch"]


class EnforcementPoint(Protocol):
    """The one path every call takes (DESIGN §3)."""

    def authenticate(
        self, authorization: str | None, *, path: str, source: str, api_key: str | None = None
    ) -> Principal:
        """The verified agent behind an `Authorization` header, for use at `path`; no I/O.

        `api_key` is for protocols whose clients send an opaque key in a header of its own.

        Raises:
            UnauthenticatedError: nobody was proven; the code is for the record, not for the caller.
            ForbiddenError: somebody was proven, who may not come here.
        """
        ...

    def turned_away(
        self, code: Code, *, path: str, source: str, credential: str | None = None, cause: str = ""
    ) -> None:
        """Note on record that somebody was refused before there was any call to decide on."""
        ...

    async def admit(self, call: Call) -> Admitted | Refused:
        """Decide, reserve and record one call; admitted means the record is durable."""
        ...

    def inspect(self, admitted: Admitted, result: Mapping[str, Any]) -> None:
        """Look at a result as the agent would be told it, before it is. Once for each admitted call that has one.

        Raises:
            UnavailableError: the agent must not be told.
        """
        ...

    def withholds(self, admitted: Admitted) -> bool:
        """Whether the agent may be told nothing of a result before all of it was looked at (`inspect`)."""
        ...

    def asked(self, admitted: Admitted, calls: Sequence[AskedCall]) -> None:
        """Note that a model's answer, which the agent is about to be told, asks for these calls."""
        ...

    async def weigh(self, admitted: Admitted, asked: AskedCall) -> WeighedCall:
        """What a call that a model's answer asks for would come to, before the agent is told of it; on record.

        Raises:
            UnavailableError: what it came to could not be put on record.
        """
        ...

    def settle(self, admitted: Admitted, result: CallResult) -> None:
        """Take back what the call held and record how it ended. Called exactly once for each admitted call."""
        ...

    def visible(self, principal: Principal, server: ServerName, item: ItemKind | None = None) -> tuple[Tool, ...]:
        """The tools, or items of a kind, to list for this agent, with their pinned definitions.

        Raises:
            NotFoundError: no such server for this agent.
        """
        ...

    def granted(self, principal: Principal, tool: Tool) -> bool:
        """Whether the agent is granted a tool at all: of any other nothing is told, not even its arguments."""
        ...

    def still_valid(self, principal: Principal) -> Code | None:
        """Whether what was authenticated a moment ago still stands; None if so."""
        ...

    def servers(self, principal: Principal) -> Mapping[ServerName, ToolServer]:
        """Every tool server of the agent's environment."""
        ...

    def server(self, name: ServerName) -> ToolServer:
        """The tool server of that name.

        Raises:
            NotFoundError: `server_unknown`.
        """
        ...


class ListingWatch(Protocol):
    """Is told that an agent looks at a server's tools, so what is known of them should be fresh."""

    def freshen(self, server: ToolServer) -> None:
        """Look at the server again soon, in the background, if the last look is more than 5 s old."""
        ...
