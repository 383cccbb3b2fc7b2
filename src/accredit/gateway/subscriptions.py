"""Streams that tell a client when what it may use has changed (MCP 2026-07-28, Subscriptions).

A stream holds no right: what it says is that a list, which the client has to ask for again, is another now. It ends
when its credential does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcNumber
from accredit.gateway.relay import encode_message
from accredit.gateway.replies import Reply
from accredit.gateway.routing import SUBSCRIPTION_KEY
from accredit.gateway.sse import KEEP_ALIVE, event_frame
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId

__all__ = ["Subscriptions"]

_LONGEST_S: Final = 24 * 3600.0
_ALIVE_S: Final = 15.0
_MOST: Final = 8_192
_MOST_OF_ONE: Final = 256
_NOTICES: Final[Mapping[str, str]] = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
"""What can be asked for, and what then is sent."""

Lists = Callable[[], Mapping[str, object] | None]
"""What the lists hold now, by what is asked for; None: the caller is not let in any more."""


class Subscriptions:
    """The open streams of one process."""

    def __init__(self) -> None:
        self._open: Counter[AgentId] = Counter()
        self._change: asyncio.Event = asyncio.Event()
        self._closing = False

    def __len__(self) -> int:
        """How many streams are open."""
        return self._open.total()

    def changed(self) -> None:
        """Have every stream look whether this changes anything for it."""
        event, self._change = self._change, asyncio.Event()
        event.set()

    def close(self) -> None:
        """End every stream, and tell its client that it is the end."""
        self._closing = True
        self.changed()

    async def serve(
        self, agent: AgentId, asked: Any, rpc_id: RpcId, lists: Lists, reply: Reply, flight: Flight
    ) -> None:
        """Serve one stream until its client leaves, its credential ends or the process does.

        Raises:
            RpcError: what is asked for is malformed, or too many streams are open.
        """
        if not isinstance(asked, Mapping):
            raise RpcError(RpcNumber.PARAMS, "`notifications` must be an object", rpc_id=rpc_id)
        if self._open[agent] >= _MOST_OF_ONE or len(self) >= _MOST:
            raise RpcError(
                RpcNumber.REQUEST,
                f"more than {_MOST_OF_ONE} streams of one agent, or {_MOST} in all",
                code=Code.CONCURRENCY_LIMITED,
                status=429,
                rpc_id=rpc_id,
                hint=Code.CONCURRENCY_LIMITED.remedy,
            )
        honoured = [name for name in _NOTICES if asked.get(name) is True]
        self._open[agent] += 1
        try:
            with flight.lasting(_LONGEST_S):
                await self._run(honoured, rpc_id, lists, reply)
        except FlightStopped as stopped:
            if stopped.code is not Code.CALL_TIMEOUT:
                return
        finally:
            self._open[agent] -= 1
            if not self._open[agent]:
                del self._open[agent]
        await reply.result({"resultType": "complete", "_meta": {SUBSCRIPTION_KEY: rpc_id}})

    async def _run(self, honoured: list[str], rpc_id: RpcId, lists: Lists, reply: Reply) -> None:
        async def notify(method: str, **params: Any) -> None:
            notice = {"jsonrpc": "2.0", "method": method, "params": {"_meta": {SUBSCRIPTION_KEY: rpc_id}, **params}}
            await reply.part(event_frame(encode_message(notice)))

        change, known = self._change, lists()
        await notify("notifications/subscriptions/acknowledged", notifications=dict.fromkeys(honoured, True))
        while known is not None and not self._closing:
            try:
                async with asyncio.timeout(_ALIVE_S):
                    await change.wait()
            except TimeoutError:  # a restriction that runs out is no change of state
                await reply.part(KEEP_ALIVE)
            # the next change is waited for before the lists are looked at: one that comes between is not missed
            change, before, known = self._change, known, lists()
            if known is not None:
                for name in honoured:
                    if known[name] != before[name]:
                        await notify(_NOTICES[name])
