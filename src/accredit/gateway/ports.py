"""What the gateway needs of others: somebody who decides, somebody who looks, and a place for calls that go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from accredit.enforcement.model import Admitted, AskedCall, Call, CallResult, Refused, WeighedCall
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, ServerName
from accredit.registry.items import ItemKind
from accredit.registry.model import Tool, ToolServer

__all__ = ["DeferredCallStore", "DeferredStanding", "EnforcementPoint", "KeptCall", "KeptSize", "ListingWatch"]


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


class DeferredStanding(StrEnum):
    """How far a call is that its client asks about. It only ever goes on, never back."""

    WAITS = "waits"
    """For a person: nothing was sent."""
    BEGUN = "begun"
    """It may have been sent. Of a process that is gone nobody knows whether it was."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A call that its client asks about, as it is kept. What it says is sealed; the rest are opaque ids."""

    id: str
    agent: AgentId
    standing: DeferredStanding
    expires_us: int
    """By the wall clock: from then on it is not told of any more."""
    bound: tuple[str, ...]
    """What it ends with, as `kind:id`: agents, credentials and registrations of issuers."""
    sealed: bytes


@dataclass(frozen=True, slots=True)
class KeptSize:
    """A kept call without what it says."""

    id: str
    agent: AgentId
    standing: DeferredStanding
    expires_us: int
    bound: tuple[str, ...]
    size: int
    """Bytes."""


class DeferredCallStore(Protocol):
    """Keeps calls that go on, and which states handed to clients came back. Blocking; one thread at a time.

    What a method did is on disk when it returns; where it raises UnavailableError, nothing of it was done.
    """

    def sizes(self) -> Sequence[KeptSize]:
        """All that is kept, in the order in which it came to stand where it stands."""
        ...

    def get(self, call: str) -> KeptCall | None:
        """The call of exactly that id."""
        ...

    def add(self, call: KeptCall) -> None:
        """Keep one more; its id is new."""
        ...

    def advance(self, call: KeptCall, *, after: DeferredStanding) -> bool:
        """Put it in the place of the one of its id if that still stands at `after`, all at once; False if not."""
        ...

    def forget(self, calls: Sequence[str]) -> None:
        """Let go of these, if they are there."""
        ...

    def spend(self, state: str, *, until_us: int) -> bool:
        """Note that a state came back, to be remembered until then; False if it had come back before."""
        ...

    def sweep(self, now_us: int) -> int:
        """Let go of everything whose time is over; how much that was."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
