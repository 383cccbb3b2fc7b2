"""Resources, templates of resources, prompts and completion (MCP 2026-07-28 and 2025-11-25), as reads of items.

What a request is about is settled here, before it is anything: which item, of which server, and with what arguments a
policy sees it. It is then admitted, forwarded and settled as a call of a tool is. Lists come from the pinned
definitions of what the agent may read; no URI is ever fetched by the gateway: the item's own server is asked for it.

A completion is judged as a read of its item: the values known so far are the arguments, and one that is still missing
is the empty text. No person is asked to approve one, and it uses up no approval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.enforcement.model import Refused
from accredit.gateway.aggregate import AggregatedNames, aggregated_name
from accredit.gateway.jsonrpc import RpcError, RpcMessage, RpcNumber
from accredit.gateway.ports import EnforcementPoint
from accredit.gateway.problems import status_of
from accredit.gateway.refusals import refusal_result
from accredit.gateway.replies import Reply
from accredit.gateway.routing import Era
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.items import (
    MOST_ARGUMENTS,
    ItemKind,
    UriTemplate,
    item_name,
    listed_item,
    parse_template,
    prompt_key,
    resource_key,
)
from accredit.registry.model import Tool, ToolServer

__all__ = ["ITEM_LISTS", "ITEM_READS", "TOOL_KEY", "ItemRequests", "RpcCall", "check_answer", "tell_refusal", "uri_of"]

TOOL_KEY: Final = "dev.accredit/tool"
"""In `_meta` of what is listed at `/mcp`: the id by which policies name it."""
ITEM_LISTS: Final[Mapping[str, tuple[str, ItemKind]]] = {
    "prompts/list": ("prompts", ItemKind.PROMPT),
    "resources/list": ("resources", ItemKind.RESOURCE),
    "resources/templates/list": ("resourceTemplates", ItemKind.TEMPLATE),
}
"""Methods that list items: the member of the result, and what is in it."""
ITEM_READS: Final = frozenset({"completion/complete", "prompts/get", "resources/read"})
"""Methods that read one."""
_MAX_URI: Final = 1_024
_MAX_NAME: Final = 256
_MAX_TABLES: Final = 4_096
_NOT_FOUND_BEFORE: Final = -32002
"""Resource not found, to clients of the era of sessions; since 2026-07-28 it is a matter of parameters."""


@dataclass(frozen=True, slots=True)
class RpcCall:
    """What a request asks of a tool server, before anybody decided about it."""

    server: ServerName | None
    """None: no server of the agent can be meant."""
    own: str
    """The name among the server's tools; as sent where there is no server."""
    arguments: Mapping[str, Any]
    """As policies see them."""
    method: str
    params: Mapping[str, Any]
    """What goes to the server, if it is admitted: nothing that was not decided about."""
    item: ItemKind | None = None
    completes: str | None = None
    """The argument that values are asked for."""


def tell_refusal(call: RpcCall, era: Era) -> Callable[[Reply, Refused], Any]:
    """How a client is told that nothing came of it: a result for a tool call, else an error of the protocol."""

    async def as_result(reply: Reply, refused: Refused) -> None:
        await reply.result(refusal_result(refused))

    async def as_error(reply: Reply, refused: Refused) -> None:
        number, message = status_of(refused.code), refused.message
        told: dict[str, Any] = dict(refusal_result(refused)["structuredContent"])
        if refused.code is Code.TOOL_NOT_GRANTED:
            # the same for what there is and what there is not
            number = RpcNumber.PARAMS
            if call.method == "resources/read" and era is Era.SESSIONS:
                number = _NOT_FOUND_BEFORE
            message = told["message"] = "the agent's approved version grants no such resource or prompt"
            told["hint"] = "add it to the `resources` or `prompts` in the manifest's `tools` and apply a new version"
            if call.method == "resources/read":
                told["uri"] = call.params["uri"]  # SEP-2164
        await reply.error(number, message, data=told)

    return as_result if call.item is None else as_error


@dataclass(frozen=True, slots=True)
class _Named:
    """An item that a URI could mean."""

    tool: Tool
    values: Mapping[str, str]


@dataclass(slots=True)
class _Templates:
    """The templates of each server, read once for each state of it."""

    known: dict[ServerName, tuple[ToolServer, tuple[tuple[Tool, UriTemplate], ...]]] = field(default_factory=dict)

    def of(self, server: ToolServer) -> tuple[tuple[Tool, UriTemplate], ...]:
        found = self.known.get(server.name)
        if found is not None and found[0] is server:
            return found[1]
        templates = tuple(
            (tool, parse_template(item_name(tool.name)))
            for tool in server.tools.values()
            if tool.item is ItemKind.TEMPLATE
        )
        if len(self.known) >= _MAX_TABLES:
            self.known.clear()
        self.known[server.name] = server, templates
        return templates


class ItemRequests:
    """Lists items, and says which one a request is about."""

    def __init__(self, enforcement: EnforcementPoint) -> None:
        self._enforcement = enforcement
        self._templates = _Templates()
        self._names = AggregatedNames(_prompts_of)

    # -- lists

    def capabilities(self, principal: Principal, servers: Mapping[ServerName, ToolServer]) -> dict[str, Any]:
        """What to announce besides tools: what there is something of to read."""
        kinds = {tool.item for server in servers.values() for tool in server.tools.values()} - {None}
        there = {kind for kind in kinds if any(self._visible(principal, servers, kind))}
        found: dict[str, Any] = {}
        if there & {ItemKind.RESOURCE, ItemKind.TEMPLATE}:
            found["resources"] = {"listChanged": False, "subscribe": True}
        if ItemKind.PROMPT in there:
            found["prompts"] = {"listChanged": False}
        if there & {ItemKind.PROMPT, ItemKind.TEMPLATE}:
            found["completions"] = {}
        return found

    def listed(
        self, principal: Principal, servers: Mapping[ServerName, ToolServer], kind: ItemKind, *, aggregated: bool
    ) -> list[tuple[ServerName, dict[str, Any]]]:
        """What the agent may read of a kind, as pinned; at `/mcp` under names and URIs that mean one item alone."""
        found = list(self._visible(principal, servers, kind))
        if not aggregated:
            return [(tool.server, listed_item(tool.definition)) for tool in found]
        listed, many = [], Counter(tool.name for tool in found)
        for tool in found:
            entry = listed_item(tool.definition) | {"_meta": {TOOL_KEY: tool.id}}
            if kind is ItemKind.PROMPT:
                entry["name"] = aggregated_name(tool.server, item_name(tool.name))
                if self._names.read(entry["name"], servers) is None:
                    continue
            elif many[tool.name] > 1:
                continue  # it would be refused as ambiguous
            listed.append((tool.server, entry))
        return listed

    def _visible(
        self, principal: Principal, servers: Mapping[ServerName, ToolServer], kind: ItemKind | None
    ) -> Iterator[Tool]:
        for server in servers.values():
            if any(tool.item is kind for tool in server.tools.values()):
                yield from self._enforcement.visible(principal, server.name, kind)

    # -- reads

    def read(
        self, principal: Principal, message: RpcMessage, servers: Mapping[ServerName, ToolServer], *, aggregated: bool
    ) -> RpcCall:
        """What a request is about; it need not be there.

        Raises:
            RpcError: the parameters are not those of the method, or more than one granted item is meant.
        """
        match message.method:
            case "resources/read":
                uri = _text(message, message.params.get("uri"), "uri", _MAX_URI)
                named = self._named(principal, message, servers, uri)
                server, own, kind, values = _of(servers, named, resource_key(uri), aggregated=aggregated)
                return RpcCall(server, own, {"uri": uri, **values}, message.method, {"uri": uri}, kind)
            case "prompts/get":
                name = _text(message, message.params.get("name"), "name", _MAX_NAME)
                server, own_name = self._prompt(servers, name, aggregated=aggregated)
                arguments = _texts(message, message.params.get("arguments"), "arguments")
                params = {"name": own_name, "arguments": arguments}
                return RpcCall(server, prompt_key(own_name), arguments, message.method, params, ItemKind.PROMPT)
            case _:
                return self._completion(principal, message, servers, aggregated=aggregated)

    def _prompt(
        self, servers: Mapping[ServerName, ToolServer], name: str, *, aggregated: bool
    ) -> tuple[ServerName | None, str]:
        if not aggregated:
            return next(iter(servers)), name
        return self._names.read(name, servers) or (None, name)

    def _named(
        self, principal: Principal, message: RpcMessage, servers: Mapping[ServerName, ToolServer], uri: str
    ) -> _Named | None:
        """The one item that a URI means to this agent.

        INVARIANT: a URI that is registered means that resource alone, so no template reaches what it does not carry;
        one that two granted items could mean means neither.
        """
        key, meant = resource_key(uri), []
        for server in servers.values():
            exact = server.tools.get(key)
            if exact is not None and exact.item is ItemKind.RESOURCE:
                possible = [_Named(exact, {})]
            else:
                matches = ((tool, template.match(uri)) for tool, template in self._templates.of(server))
                possible = [_Named(tool, values) for tool, values in matches if values is not None]
            if any(self._enforcement.granted(principal, one.tool) for one in possible):
                meant += possible
        if len(meant) > 1:
            raise _ambiguous(message)
        return meant[0] if meant else None

    def _completion(
        self, principal: Principal, message: RpcMessage, servers: Mapping[ServerName, ToolServer], *, aggregated: bool
    ) -> RpcCall:
        ref, argument = message.params.get("ref"), message.params.get("argument")
        context = message.params.get("context")
        ref = ref if isinstance(ref, dict) else {}
        argument = argument if isinstance(argument, dict) else {}
        known = _texts(message, context.get("arguments") if isinstance(context, dict) else None, "context.arguments")
        asked = _text(message, argument.get("name"), "argument.name", _MAX_NAME)
        value = argument.get("value")
        if not isinstance(value, str):
            raise _malformed(message, "`argument.value` must be a text")
        known = {name: one for name, one in known.items() if name != asked}
        given = {**known, asked: value}
        server: ServerName | None
        tool: Tool | None
        kind = ItemKind.PROMPT
        match ref.get("type"):
            case "ref/prompt":
                server, own_name = self._prompt(
                    servers, _text(message, ref.get("name"), "ref.name", _MAX_NAME), aggregated=aggregated
                )
                key, sent = prompt_key(own_name), {"type": "ref/prompt", "name": own_name}
                tool = servers[server].tools.get(key) if server is not None else None
            case "ref/resource":
                uri = _text(message, ref.get("uri"), "ref.uri", _MAX_URI)
                if "uri" in given:  # it is made of the others
                    raise _malformed(message, "`uri` is no variable")
                meant = self._spelled(principal, message, servers, uri)
                server, key, kind, _ = _of(servers, meant, resource_key(uri), aggregated=aggregated)
                sent, tool = {"type": "ref/resource", "uri": uri}, meant.tool if meant is not None else None
            case _:
                raise _malformed(message, "`ref.type` must be `ref/prompt` or `ref/resource`")
        params: dict[str, Any] = {"ref": sent, "argument": {"name": asked, "value": value}}
        if known:
            params["context"] = {"arguments": known}
        arguments = _so_far(tool, given) if tool is not None else given
        return RpcCall(server, key, arguments, message.method, params, kind, completes=asked)

    def _spelled(
        self, principal: Principal, message: RpcMessage, servers: Mapping[ServerName, ToolServer], uri: str
    ) -> _Named | None:
        """The one granted resource or template that is registered under exactly this text."""
        found = [
            _Named(tool, {})
            for server in servers.values()
            if (tool := server.tools.get(resource_key(uri))) is not None
            and tool.item is not None
            and self._enforcement.granted(principal, tool)
        ]
        if len(found) > 1:
            raise _ambiguous(message)
        return found[0] if found else None


def uri_of(message: RpcMessage) -> str:
    """The URI that a request names.

    Raises:
        RpcError: there is none.
    """
    return _text(message, message.params.get("uri"), "uri", _MAX_URI)


def check_answer(method: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of reading an item, as clients get it: nobody but the agent may keep it, and nobody without asking.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    if result.get("resultType", "complete") != "complete":
        raise UnavailableError(
            Code.UPSTREAM_INVALID,
            "the tool server asked for input, which this gateway does not pass on",
            hint="it declares no client capabilities to tool servers",
        )
    match method:
        case "resources/read":
            fits = _all(result.get("contents"), _content)
        case "prompts/get":
            fits = _all(result.get("messages"), _message)
        case _:
            completion = result.get("completion")
            fits = isinstance(completion, dict) and _all(completion.get("values"), lambda one: isinstance(one, str))
    if not fits:
        raise UnavailableError(Code.UPSTREAM_INVALID, f"the tool server's result is not that of `{method}`")
    # a copy that was kept would be read again without a decision
    return {**result, "ttlMs": 0, "cacheScope": "private"} if method == "resources/read" else dict(result)


def _all(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _content(one: Any) -> bool:
    return (
        isinstance(one, dict) and isinstance(one.get("uri"), str) and isinstance(one.get("text", one.get("blob")), str)
    )


def _message(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("content"), dict) and one.get("role") in {"user", "assistant"}


def _prompts_of(server: ToolServer) -> Iterator[str]:
    return (item_name(tool.name) for tool in server.tools.values() if tool.item is ItemKind.PROMPT)


def _of(
    servers: Mapping[ServerName, ToolServer], meant: _Named | None, key: str, *, aggregated: bool
) -> tuple[ServerName | None, str, ItemKind, Mapping[str, str]]:
    """Server, name, kind and values of what is meant; of what is not there as well, which is refused alike."""
    if meant is None:
        return None if aggregated else next(iter(servers)), key, ItemKind.RESOURCE, {}
    return meant.tool.server, meant.tool.name, meant.tool.item or ItemKind.RESOURCE, meant.values


def _so_far(tool: Tool, given: Mapping[str, str]) -> dict[str, str]:
    """The arguments of a read that is still being put together."""
    schema = tool.definition.get("inputSchema")
    required = schema.get("required") if isinstance(schema, Mapping) else None
    missing = {name: "" for name in required or () if isinstance(name, str)}
    if tool.item is ItemKind.RESOURCE:
        missing["uri"] = item_name(tool.name)
    elif tool.item is ItemKind.TEMPLATE:
        template = parse_template(item_name(tool.name))
        missing["uri"] = template.expand({name: given.get(name, "") for name in template.variables})
    return {**missing, **given}


def _ambiguous(message: RpcMessage) -> RpcError:
    return RpcError(
        RpcNumber.PARAMS,
        Code.ITEM_AMBIGUOUS.meaning,
        code=Code.ITEM_AMBIGUOUS,
        rpc_id=message.id,
        hint=Code.ITEM_AMBIGUOUS.remedy,
    )


def _malformed(message: RpcMessage, text: str) -> RpcError:
    return RpcError(RpcNumber.PARAMS, text, rpc_id=message.id)


def _text(message: RpcMessage, value: Any, name: str, most: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise _malformed(message, f"`{name}` must be a text of at most {most} characters")
    return value


def _texts(message: RpcMessage, value: Any, name: str) -> dict[str, str]:
    if value is None:
        return {}
    if (
        not isinstance(value, dict)
        or len(value) > MOST_ARGUMENTS
        or not all(isinstance(v, str) for v in value.values())
    ):
        raise _malformed(message, f"`{name}` must be an object of at most {MOST_ARGUMENTS} texts")
    return value
