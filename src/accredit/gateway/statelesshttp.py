"""MCP 2026-07-28 over HTTP: one POST for each request, nothing kept but connections and the word of changed lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from accredit.gateway.listwatch import ListWatches
from accredit.gateway.relay import ALIVE, Answer, ServerAsk, read_answer, upstream_request
from accredit.gateway.resourcewatch import ListeningWatch, listen_to
from accredit.gateway.toolservers import (
    DISCOVER,
    ListNoticed,
    ResourceWatch,
    ServerExchange,
    ToolRequest,
    always,
    discovered,
    nobody_listens,
)
from accredit.gateway.upstream import Exchange, Upstream
from accredit.kernel.ids import ServerName
from accredit.registry.model import ToolServer

__all__ = ["StatelessHttp"]


class _Exchange:
    """Closing the connection before the answer is complete is how the request is cancelled."""

    __slots__ = ("_inner", "_rpc_id")

    def __init__(self, inner: Exchange, rpc_id: int) -> None:
        self._inner = inner
        self._rpc_id = rpc_id

    @property
    def received(self) -> int:
        return self._inner.received

    @property
    def sent(self) -> bool:
        return self._inner.sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def next(self) -> Answer | None:
        while (text := await self._inner.next()) is not None:
            if not text:
                return ALIVE
            answer = read_answer(text, rpc_id=self._rpc_id)
            if answer != ALIVE:  # of notices those alone come here that were asked for
                return answer
        return None

    async def respond(self, ask: ServerAsk, _: Mapping[str, Any], __: Callable[[], None]) -> None:
        raise AssertionError(f"a server of this era sends no requests, {ask.method} among them")


class StatelessHttp:
    """Implements `ToolServerProtocol`."""

    def __init__(
        self, upstream: Upstream, *, list_noticed: ListNoticed = nobody_listens, first_wait_s: float = 1.0
    ) -> None:
        """`first_wait_s` is how long a server that ended its word of changed lists is left alone."""
        self._upstream = upstream
        self._ids = itertools.count(1)
        self._lists = ListWatches(
            lambda server, request, credential: self.exchange(server, request, credential=credential, recheck=always),
            list_noticed,
            first_wait_s=first_wait_s,
        )

    def exchange(
        self,
        server: ToolServer,
        request: ToolRequest,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
    ) -> ServerExchange:
        """As of the port."""
        rpc_id = next(self._ids)
        headers, body = upstream_request(
            request.method,
            request.params,
            rpc_id=rpc_id,
            credential=credential,
            extra=request.parameters,
            progress=request.progress,
            traceparent=request.traceparent,
            capabilities=request.capabilities,
        )
        inner = self._upstream.exchange(server.url, headers, body, credential=credential, recheck=recheck)
        return _Exchange(inner, rpc_id)

    def watch(
        self, server: ToolServer, uri: str, *, credential: Mapping[str, str], recheck: Callable[[], None]
    ) -> ResourceWatch:
        """As of the port."""
        return ListeningWatch(uri, self.exchange(server, listen_to(uri), credential=credential, recheck=recheck))

    def listen(self, server: ToolServer, *, credential: Mapping[str, str]) -> None:
        """As of the port."""
        self._lists.listen(server, credential)

    async def revision(self, server: ToolServer, *, credential: Mapping[str, str]) -> str:
        """As of the port."""
        return await discovered(self.exchange(server, DISCOVER, credential=credential, recheck=always))

    def forget(self, server: ServerName, *, unless: tuple[object, ...] | None = None) -> None:
        """As of the port."""
        self._lists.forget(server, unless=unless)

    async def aclose(self) -> None:
        """Close the client's connections; it opens new ones for whoever still asks."""
        await self._lists.aclose()
        await self._upstream.aclose()
