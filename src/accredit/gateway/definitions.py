"""What tool servers say about their tools and items, and whether that is still what was pinned (DESIGN §3.4, §3.16).

A server is asked with the gateway's own credential, in bounded pages. What it said is trusted for 30 s; calls do not
wait for a look unless there is none that young, and all who wait share one. Everything that a server in use lists, also
of what is not registered, is looked at every few minutes, and no call waits for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

import orjson
import yaml

from accredit.enforcement.ports import CredentialBroker
from accredit.gateway.toolservers import DISCOVER, ToolRequest, ToolServers, always, answered
from accredit.gateway.upstream import Upstream
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.items import ItemKind, item_kind, offered_item
from accredit.registry.model import LATEST_REVISION, Tool, ToolServer
from accredit.registry.openapi import offered_operations

__all__ = ["ServerDefinitions", "ServerOffer", "UpstreamDefinitions", "WatchedDefinitions"]

_log = logging.getLogger("accredit.gateway")

ServerDefinitions = Mapping[str, Mapping[str, Any]]
"""Definitions as a server sent them, by tool name."""

_MAX_PAGES = 50
_MAX_TOOLS = 2000
_MAX_BYTES = 8 * 2**20
_MAX_YAML = 2**20
_MAX_DOCUMENTS = 256
_MAX_TEXT = 256
_MAX_ITEMS = 20_000
_LOOK_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 30.0

_Look = TypeVar("_Look")


@dataclass(frozen=True, slots=True)
class ServerOffer:
    """All that a server lists."""

    definitions: ServerDefinitions
    kinds: frozenset[ItemKind | None]
    """Of which there was a list that could be read; None: tools."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """A kind of list that a server has."""

    method: str
    member: str
    """Of the result."""
    named_by: str
    """Member of an entry."""
    capability: str
    item: ItemKind | None = None
    most: int = _MAX_TOOLS


_LISTS: Final = (
    _Listing("tools/list", "tools", "name", "tools"),
    _Listing("resources/list", "resources", "uri", "resources", ItemKind.RESOURCE, _MAX_ITEMS),
    _Listing(
        "resources/templates/list", "resourceTemplates", "uriTemplate", "resources", ItemKind.TEMPLATE, _MAX_ITEMS
    ),
    _Listing("prompts/list", "prompts", "name", "prompts", ItemKind.PROMPT),
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUSTED_US = 30_000_000
_EARLY_US = 15_000_000
_LISTED_US = 5_000_000
_SILENT: Final = frozenset({"llm", "local"})
"""Nobody says what they offer: a provider nothing of its models; a program's functions stand in a manifest."""
_WHOLE_US = 300_000_000
_AGAIN_US = 1_000_000
_NOTICED_S = 0.5
"""A server that says so again and again is looked at no more often."""


def _invalid(text: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_INVALID, f"the tool server {text}")


class UpstreamDefinitions:
    """Asks a tool server for its tools and items. This is the registry's source of definitions to pin."""

    def __init__(self, upstream: Upstream, tool_servers: ToolServers, broker: CredentialBroker) -> None:
        """HTTP APIs are asked by the client alone, all others as they are called."""
        self._upstream = upstream
        self._tool_servers = tool_servers
        self._broker = broker
        self._documents: dict[str, tuple[bytes, ServerDefinitions]] = {}
        """The newest OpenAPI document of each address, by its digest, as it was read."""

    async def revision(self, server: ToolServer) -> str:
        """The newest revision of MCP that both the server and we speak.

        Raises:
            UnavailableError: unreachable, too slow, or there is none.
        """
        return await _bounded(self._newest(server), _begin_s(server))

    async def _newest(self, server: ToolServer) -> str:
        credential = await self._broker.headers(server, None)
        return await self._tool_servers.newest_revision(server, credential=credential)

    async def fetch(self, server: ToolServer) -> ServerDefinitions:
        """Every definition the server offers, after it has said that it speaks our protocol version.

        Raises:
            UnavailableError: unreachable, too slow, of another protocol version, or its lists break a bound.
        """
        work = self._probe(server) if server.openapi is None else self._operations(server)
        return await _bounded(work, _begin_s(server))

    async def look(self, server: ToolServer) -> ServerDefinitions:
        """Every definition the server offers, of a server whose version is known. From then on it is listened to.

        Raises:
            UnavailableError: unreachable, too slow, or its lists break a bound.
        """
        if server.openapi is not None:
            return await _bounded(self._operations(server), _begin_s(server))
        found = await _bounded(self._pages(server), _begin_s(server))
        self._tool_servers.listen(server, credential=await self._broker.headers(server, None))
        return found

    async def whole(self, server: ToolServer) -> ServerOffer:
        """Everything the server lists now. A list of items that it has not, or that cannot be read, is left out.

        Raises:
            UnavailableError: unreachable, too slow, or its list of tools breaks a bound.
        """
        if server.openapi is not None:
            return ServerOffer(await self.look(server), frozenset({None}))
        found: dict[str, Mapping[str, Any]] = {}
        kinds: set[ItemKind | None] = set()

        async def lists() -> None:
            for one in _LISTS:
                try:
                    found.update(await self._list(server, one, None))
                except UnavailableError:
                    if one.item is None:
                        raise
                else:
                    kinds.add(one.item)

        await _bounded(lists(), _begin_s(server))
        return ServerOffer(found, frozenset(kinds))

    async def _operations(self, server: ToolServer) -> ServerDefinitions:
        """What an HTTP API says of itself, below its own address."""
        credential = await self._broker.headers(server, None)
        headers = {"Accept": "application/json, application/yaml", "Accept-Encoding": "identity", **credential}
        url = f"{server.url.removesuffix('/')}{server.openapi}"
        async with self._upstream.exchange(
            url, headers, b"", credential=credential, recheck=always, method="GET"
        ) as exchange:
            answer = await exchange.whole()
        if answer.status != 200 or len(answer.body) > _MAX_BYTES:
            raise _invalid(f"answered HTTP {answer.status}, and no OpenAPI document of at most {_MAX_BYTES} bytes")
        known = self._documents.get(server.url)
        digest = sha256(answer.body).digest()
        if known is not None and known[0] == digest:  # it is looked at again and again, and seldom another
            return known[1]
        try:
            offered = await asyncio.to_thread(lambda: offered_operations(_read_document(answer.body)))
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise _invalid("publishes no OpenAPI document in JSON or YAML") from error
        except InvalidInputError as error:
            raise _invalid(f"publishes a document that cannot be read: {error.message}") from error
        if len(self._documents) >= _MAX_DOCUMENTS:
            self._documents.clear()
        self._documents[server.url] = digest, offered
        return offered

    async def _probe(self, server: ToolServer) -> ServerDefinitions:
        credential = await self._broker.headers(server, None)
        revision = await self._tool_servers.revision(server, credential=credential)
        if revision != LATEST_REVISION:  # what a session announced is not told: what it does not list, it does not have
            return await self._offered(server, _LISTS, None, unsure=True)
        announced = (await self._ask(server, DISCOVER.method, DISCOVER.params))[0].get("capabilities")
        announced = announced if isinstance(announced, dict) else {}
        # what announces nothing at all is asked for tools
        return await self._offered(server, [one for one in _LISTS if one.capability in (announced or {"tools"})], None)

    async def _pages(self, server: ToolServer) -> ServerDefinitions:
        """What is offered of each kind that is registered of it: it is not asked for others."""
        kinds = {tool.item for tool in server.tools.values()} or {None}
        return await self._offered(server, [one for one in _LISTS if one.item in kinds], server.tools.keys())

    async def _offered(
        self, server: ToolServer, lists: Iterable[_Listing], items: Container[str] | None, *, unsure: bool = False
    ) -> ServerDefinitions:
        """`items` are the names of those to keep; None: all. Some servers list whatever they hold.

        At a later look a list of items that cannot be read offers nothing: that blocks them, and no tool with them.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for one in lists:
            try:
                found |= await self._list(server, one, items)
            except UnavailableError as error:
                known = items is None and not unsure
                if known or one.item is None or error.code is not Code.UPSTREAM_INVALID:
                    raise
                _log.warning("tool server %s: %s", server.name, error.message)
        return found

    async def _list(
        self, server: ToolServer, of: _Listing, items: Container[str] | None
    ) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        named: set[str] = set()
        tools = of.item is None
        cursor: str | None = None
        size = 0
        for _ in range(_MAX_PAGES):
            page, received = await self._ask(server, of.method, {} if cursor is None else {"cursor": cursor})
            size += received
            listed = page.get(of.member)
            if not isinstance(listed, list) or size > _MAX_BYTES or len(named) + len(listed) > of.most:
                raise _invalid(f"lists no {of.member}, more than {of.most}, or more than {_MAX_BYTES} bytes")
            for one in listed:
                name = one.get(of.named_by) if isinstance(one, dict) else None
                if not isinstance(name, str) or not name or name in named or (tools and len(name) > _MAX_TEXT):
                    raise _invalid(f"lists one of its {of.member} without a name of its own")
                named.add(name)
                if of.item is None:
                    if item_kind(name) is None:  # else it would stand for a resource or prompt
                        found[name] = one
                    continue
                item = offered_item(of.item, one)
                if item is not None and (items is None or item[0] in items):  # else nobody can, or did, register it
                    found[item[0]] = item[1]
            cursor = page.get("nextCursor")
            if cursor is None:
                return found
            if not isinstance(cursor, str) or len(cursor) > 4096:
                raise _invalid("sent a malformed cursor")
        raise _invalid(f"lists its {of.member} on more than {_MAX_PAGES} pages")

    async def _ask(self, server: ToolServer, method: str, params: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        credential = await self._broker.headers(server, None)
        exchange = self._tool_servers.exchange(
            server, ToolRequest(method, params), credential=credential, recheck=always
        )
        return await answered(exchange, method), exchange.received


def _read_document(text: bytes) -> Any:
    if text.lstrip()[:1] == b"{":
        return orjson.loads(text)
    if len(text) > _MAX_YAML:
        raise ValueError("so much YAML keeps everybody else waiting")
    if b"&" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER)):
        raise ValueError("an alias")  # what is repeated could be repeated again and again
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - the safe loader, in C where there is one


def _begin_s(server: ToolServer) -> float:
    """How long a look may take: a program may first have to be started, in one era and then in the other."""
    return _LOOK_TIMEOUT_S if server.launch is None else _START_TIMEOUT_S


async def _bounded(look: Coroutine[Any, Any, _Look], patience_s: float) -> _Look:
    try:
        async with asyncio.timeout(patience_s):
            return await look
    except TimeoutError as error:
        raise UnavailableError(
            Code.UPSTREAM_UNREACHABLE, f"the tool server did not list its tools within {patience_s:g} s"
        ) from error


@dataclass(slots=True)
class _Seen:
    """The newest look at one server."""

    digests: Mapping[str, Digest]
    at_us: int


class WatchedDefinitions:
    """`DefinitionWatch`: compares what servers offer now with what is pinned."""

    def __init__(
        self,
        look: Callable[[ToolServer], Coroutine[Any, Any, ServerDefinitions]],
        *,
        server: Callable[[ServerName], ToolServer],
        digest: Callable[[Mapping[str, Any]], Digest],
        clock: Clock,
        whole: Callable[[ToolServer], Coroutine[Any, Any, ServerOffer]] | None = None,
        offered: Callable[[ServerName, ServerOffer], None] = lambda _name, _offer: None,
    ) -> None:
        """`whole` looks at all that a server lists, which `offered` is told of."""
        self._look = look
        self._whole = whole
        self._offered = offered
        self._server = server
        self._digest = digest
        self._clock = clock
        # by name and place: a server that moved, or is started in another way, is another server
        self._seen: dict[tuple[ServerName, tuple[object, ...]], _Seen] = {}
        self._failed_us: dict[tuple[ServerName, tuple[object, ...]], int] = {}
        self._looking: dict[tuple[ServerName, tuple[object, ...]], asyncio.Task[None]] = {}
        self._noticed: dict[tuple[ServerName, tuple[object, ...]], asyncio.TimerHandle] = {}
        self._closed = False
        self._whole_us: dict[tuple[ServerName, tuple[object, ...]], int] = {}
        """When all that a server lists is due to be looked at."""
        self._wholly: set[asyncio.Task[None]] = set()

    async def refusal(self, server: ServerName, tool: Tool) -> Code | None:
        """None if the tool was seen at the server as pinned within the last 30 s; asks the server if need be."""
        try:
            target = self._server(server)
        except AccreditError:
            return Code.DEFINITION_UNVERIFIED
        if target.protocol in _SILENT:
            return None
        digests, age_us = self._newest(target)
        if age_us > _TRUSTED_US:
            await asyncio.shield(self._start(target))  # who waits may leave; the look goes on for the others
            digests, age_us = self._newest(target)
            if age_us > _TRUSTED_US:
                return Code.DEFINITION_UNVERIFIED
        elif age_us > _EARLY_US:
            self._start(target)
        return None if digests.get(tool.name) == tool.definition_digest else Code.DEFINITION_CHANGED

    def freshen(self, server: ToolServer) -> None:
        """Look again in the background if the newest look is more than 5 s old."""
        if server.protocol not in _SILENT and self._newest(server)[1] > _LISTED_US:
            self._start(server)

    def noticed(self, server: ServerName) -> None:
        """A server says that a list of its is another now: look again soon, once however often it says so."""
        try:
            target = self._server(server)
        except AccreditError:
            return
        key = (target.name, target.place)
        if key not in self._noticed and not self._closed:
            timer = asyncio.get_running_loop().call_later(_NOTICED_S, self._look_again, key)
            self._noticed[key] = timer

    def _look_again(self, key: tuple[ServerName, tuple[object, ...]]) -> None:
        del self._noticed[key]
        try:
            target = self._server(key[0])
        except AccreditError:
            return
        if (looking := self._looking.get(key)) is not None:  # it may have asked before the change
            looking.add_done_callback(lambda _: self.noticed(key[0]))
        else:
            self._start(target)

    def forget(self, server: ServerName) -> None:
        """Trust no earlier look at this server: it was registered or pinned anew."""
        for known in [key for key in self._seen if key[0] == server]:
            del self._seen[known]

    async def aclose(self) -> None:
        """End every look that is under way."""
        self._closed = True
        for timer in self._noticed.values():
            timer.cancel()
        looking = [*self._looking.values(), *self._wholly]
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    def _newest(self, server: ToolServer) -> tuple[Mapping[str, Digest], int]:
        seen = self._seen.get((server.name, server.place))
        if seen is None:
            return {}, _TRUSTED_US + 1
        return seen.digests, self._clock.now().boot_us - seen.at_us

    def _start(self, server: ToolServer) -> asyncio.Task[None]:
        key = (server.name, server.place)
        task = self._looking.get(key)
        if task is None:
            task = self._looking[key] = asyncio.get_running_loop().create_task(self._refresh(server))
            task.add_done_callback(lambda _: self._looking.pop(key, None))
        return task

    async def _refresh(self, server: ToolServer) -> None:
        key = (server.name, server.place)
        started_us = self._clock.now().boot_us
        if started_us - self._failed_us.get(key, -_AGAIN_US) < _AGAIN_US:
            return  # a server that is down is not asked by every call again
        try:
            definitions = await self._look(server)
        except AccreditError as error:
            self._failed_us[key] = self._clock.now().boot_us
            _log.warning("tool server %s: %s (%s)", server.name, error.message, error.cause)
            return
        self._failed_us.pop(key, None)
        # counted from before the question: the server may have changed while it answered
        self._seen[key] = _Seen(
            {name: digest for name, tool in definitions.items() if (digest := self._digest_of(tool))}, started_us
        )
        # not together with the first look at a server: calls wait for that
        if started_us >= self._whole_us.setdefault(key, started_us + 1):
            self._whole_us[key] = started_us + _WHOLE_US
            task = asyncio.get_running_loop().create_task(self._look_at_all(server))
            self._wholly.add(task)
            task.add_done_callback(self._wholly.discard)

    async def _look_at_all(self, server: ToolServer) -> None:
        if self._whole is None:
            return
        try:
            offer = await self._whole(server)
        except AccreditError as error:
            _log.info("tool server %s: %s (%s)", server.name, error.message, error.cause)
            return
        self._offered(server.name, offer)

    def _digest_of(self, tool: Mapping[str, Any]) -> Digest | None:
        try:
            return self._digest(tool)
        except AccreditError:
            return None  # a definition that cannot be pinned is not the pinned one
