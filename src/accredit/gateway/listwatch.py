"""Word of changed lists from tool servers of 2026-07-28: one answer that goes on for each server in use.

A server with sessions tells of them in its session; these have none, so they are asked (`subscriptions/listen`), with
the gateway's own credential, which looks at the lists too. What is heard only brings the next look forward: a server
that tells nothing, or ends its word, is looked at as often as any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from accredit.gateway.relay import ACKNOWLEDGED, LIST_NOTICES
from accredit.gateway.toolservers import Allowance, ListNoticed, ServerExchange, ToolRequest
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import ServerName
from accredit.registry.model import ToolServer

__all__ = ["ListWatches"]

_log = logging.getLogger("accredit.gateway")

_LISTS: Final = ToolRequest(
    "subscriptions/listen",
    {"notifications": {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}},
)
_MOST_HEARD: Final = 256
_BEGIN_S: Final = 10.0
_LONGEST_WAIT_S: Final = 60.0
_TOLD_AT_ONCE: Final = 1_000
_TOLD_PER_S: Final = 100.0


@dataclass(slots=True, eq=False)
class _Heard:
    """A server that is listened to."""

    server: ToolServer
    credential: Mapping[str, str] = field(repr=False)
    """The newest: one that is lent for a time is another when the server is asked again."""
    running: asyncio.Task[None] | None = None


class ListWatches:
    """Listens to each server once, and tells which of them says that a list of its changed."""

    def __init__(
        self,
        exchange: Callable[[ToolServer, ToolRequest, Mapping[str, str]], ServerExchange],
        noticed: ListNoticed,
        *,
        first_wait_s: float = 1.0,
    ) -> None:
        """`first_wait_s` is how long a server whose word ended is left alone before it is asked again."""
        self._exchange = exchange
        self._noticed = noticed
        self._first_wait_s = first_wait_s
        self._heard: OrderedDict[ServerName, _Heard] = OrderedDict()
        """A server that tells nothing stays here as well, so that it is not asked at every look."""
        self._ending: set[asyncio.Task[None]] = set()

    def listen(self, server: ToolServer, credential: Mapping[str, str]) -> None:
        """Listen to a server from now on, if it is not listened to; at most 256, those in use last."""
        heard = self._heard.get(server.name)
        if heard is not None and heard.server.place != server.place:
            self.forget(server.name)
            heard = None
        if heard is None:
            heard = self._heard[server.name] = _Heard(server, credential)
            heard.running = asyncio.get_running_loop().create_task(self._run(heard))
            if len(self._heard) > _MOST_HEARD:
                self.forget(next(iter(self._heard)))
        heard.credential = credential
        self._heard.move_to_end(server.name)

    def forget(self, server: ServerName, *, unless: tuple[object, ...] | None = None) -> None:
        """Listen to that server no more, unless at that place."""
        heard = self._heard.get(server)
        if heard is None or heard.server.place == unless:
            return
        del self._heard[server]
        if heard.running is not None and not heard.running.done():
            heard.running.cancel()
            self._ending.add(heard.running)
            heard.running.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """Listen to nobody any more."""
        for server in list(self._heard):
            self.forget(server)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _run(self, heard: _Heard) -> None:
        loop, wait_s, told = asyncio.get_running_loop(), self._first_wait_s, False
        allowance = Allowance(_TOLD_AT_ONCE, _TOLD_PER_S, loop.time())
        while True:
            begun = loop.time()
            try:
                async with self._exchange(heard.server, _LISTS, heard.credential) as exchange:
                    async with asyncio.timeout(_BEGIN_S):
                        tells = await _tells(exchange)
                    if not tells:
                        return  # it does not tell of lists
                    if told:
                        self._noticed(heard.server.name)  # of what was missed in between
                    told = True
                    while (answer := await exchange.next()) is not None and not answer.final:
                        if not allowance.take(loop.time()):
                            _log.warning("tool server %s says more unasked than is listened to", heard.server.name)
                            return
                        if answer.notice is not None and answer.notice.method in LIST_NOTICES:
                            self._noticed(heard.server.name)
            except (AccreditError, TimeoutError) as error:
                _log.info("tool server %s tells no more of its lists: %s", heard.server.name, type(error).__name__)
            wait_s = self._first_wait_s if loop.time() - begun > _LONGEST_WAIT_S else min(wait_s * 2, _LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)


async def _tells(exchange: ServerExchange) -> bool:
    """Whether the server says that it will tell of a list; False if it answers anything else.

    Raises:
        UnavailableError: it cannot be asked now.
    """
    while (answer := await exchange.next()) is not None:
        if answer.notice is not None and answer.notice.method == ACKNOWLEDGED:
            return answer.notice.lists
        if answer.final:
            break
    return False
