"""What MCP clients keep in their configurations: which servers they start or call, and with what. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from accredit.lifecycle.discovery.model import Trace, TraceKind
from accredit.lifecycle.discovery.shown import MANY, Secrets, program, provider_of_variable, tidy, url

__all__ = [
    "Looked",
    "claude_agent",
    "claude_settings",
    "continue_config",
    "goose",
    "librechat",
    "named_agent",
    "pairs_of",
    "servers_under",
]

_ADDRESSES: Final = ("url", "serverUrl", "httpUrl", "uri", "endpoint", "baseUrl")
_PROGRAMS: Final = ("command", "cmd")
_VARIABLES: Final = ("env", "envs", "environment", "headers", "http_headers", "env_http_headers", "auth", "oauth")


@dataclass(frozen=True, slots=True)
class Looked:
    """A file as its reader gave it, and what a trace of it says in any case."""

    format: str
    path: str
    value: Any
    secrets: Secrets

    def trace(self, kind: TraceKind, name: Any = "", **told: Any) -> Trace:
        """A trace in this file."""
        return Trace(self.format, kind, self.path, tidy(name), **told)

    def client(self, name: Any = "", **told: Any) -> Trace:
        """A trace of an MCP client's."""
        return self.trace(TraceKind.CLIENT, name, **told)


def pairs_of(value: Any) -> list[tuple[str, Any]]:
    """(Name, value) of a mapping, of a list of `NAME=value`, or of a list of {name, value}."""
    if isinstance(value, Mapping):
        return [(str(key), one) for key, one in list(value.items())[:500]]
    found: list[tuple[str, Any]] = []
    for one in value[:500] if isinstance(value, list) else ():
        if isinstance(one, str):
            name, _, text = one.partition("=")
            found.append((name, text))
        elif isinstance(one, Mapping) and isinstance(one.get("name"), str):
            found.append((one["name"], one.get("value", "")))
    return found


def _under(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _entries(value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Servers by name: a mapping of them, or a list of those that say their name."""
    if isinstance(value, Mapping):
        return [(str(name), one) for name, one in list(value.items())[:500] if isinstance(one, Mapping)]
    listed = value[:500] if isinstance(value, list) else ()
    return [(str(one.get("name", "")), one) for one in listed if isinstance(one, Mapping)]


def _server(looked: Looked, name: str, entry: Mapping[str, Any]) -> Trace | None:
    command = next((entry[key] for key in _PROGRAMS if entry.get(key)), None)
    arguments = entry.get("args", entry.get("arguments"))
    variables = [pair for key in _VARIABLES for pair in pairs_of(entry.get(key))]
    if isinstance(command, Mapping):  # an editor that keeps program and arguments together
        variables += pairs_of(command.get("env"))
        command, arguments = command.get("path", command.get("command")), command.get("args", arguments)
    transport = entry.get("transport")
    if isinstance(transport, Mapping):
        variables += pairs_of(transport.get("headers"))
        entry = {**transport, **entry}
    variables += pairs_of(_under(entry, "requestInit", "headers"))
    words = [one for one in arguments if isinstance(one, str)][:MANY] if isinstance(arguments, list) else []
    words += [one for one in command[1:MANY] if isinstance(one, str)] if isinstance(command, list) else []
    raw = [entry[key] for key in _ADDRESSES if isinstance(entry.get(key), str)]
    raw += [one for one in words if one.startswith(("http://", "https://"))]
    urls = tuple(dict.fromkeys(found for one in raw if (found := url(one))))
    started = program(command, arguments)
    if not started and not urls:
        return None
    named = [*variables, *_options(words), *(pair for one in raw for pair in _in_address(one))]
    agent = next((str(one) for key, one in variables if key == "ACCREDIT_AGENT"), "")
    providers = tuple(dict.fromkeys(found for key, _ in variables if (found := provider_of_variable(key))))
    return looked.client(
        name, urls=urls, command=started, agent=tidy(agent), providers=providers, secrets=looked.secrets.of(named)
    )


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """(Name, value) of what is given on a command line, values without a name included."""
    before = ""
    for word in words:
        if word.startswith("-") or "=" in word:
            name, found, value = word.lstrip("-").partition("=")
            if found:
                yield name, value
            before = "" if found else name
        else:
            header, found, value = word.partition(":")
            yield (
                (header if found and before.lower() in {"header", "h"} else before or "argument"),
                (value.strip() if found and before.lower() in {"header", "h"} else word),
            )
            before = ""


def _in_address(address: str) -> list[tuple[str, str]]:
    try:
        parts = urlsplit(address[:4_096])
        asked = parse_qsl(parts.query, max_num_fields=50)
    except ValueError:
        return []
    user = [("password", parts.password)] if parts.password else []
    return [*user, *asked, *(("path token", one) for one in parts.path.split("/") if len(one) >= 24)]


def servers_under(*places: str) -> Callable[[Looked], Iterator[Trace]]:
    """What reads servers under a key, or under keys within one another: `mcp.servers`.

    `*` is any key, and a dot that is part of a key has a backslash before it.
    """

    def reads(looked: Looked) -> Iterator[Trace]:
        for place in places:
            found = [looked.value]
            for key in (one.replace("\\", "") for one in re.split(r"(?<!\\)\.", place)):
                found = [
                    inner
                    for one in found
                    if isinstance(one, Mapping)
                    for inner in (list(one.values())[:200] if key == "*" else [one.get(key)])
                ]
            for each in found:
                for name, entry in _entries(each):
                    trace = _server(looked, name, entry)
                    if trace is not None:
                        yield trace

    return reads


def claude_settings(looked: Looked) -> Iterator[Trace]:
    """Settings of Claude Code: servers that were let in, tools that were allowed, variables it is given."""
    yield from servers_under("mcpServers")(looked)
    value = looked.value if isinstance(looked.value, Mapping) else {}
    told = {"permissions", "hooks", "env", "enabledMcpjsonServers", "enableAllProjectMcpServers", "apiKeyHelper"}
    if told & set(value):
        variables = pairs_of(value.get("env"))
        urls = tuple(found for key, one in variables if key.endswith("_URL") and (found := url(one)))
        yield looked.client("settings", urls=urls, secrets=looked.secrets.of(variables))


def claude_agent(looked: Looked) -> Iterator[Trace]:
    """A subagent of Claude Code, described in the head of a text."""
    if isinstance(looked.value, Mapping) and looked.value.get("name") and looked.value.get("description"):
        model = tidy(looked.value.get("model"))
        yield looked.client(looked.value["name"], models=(model,) if model else ())


def named_agent(looked: Looked) -> Iterator[Trace]:
    """A client's own agent in a file of its own, with the servers it may use."""
    yield from servers_under("mcpServers")(looked)
    value = looked.value
    if isinstance(value, Mapping) and isinstance(value.get("name"), str) and ({"prompt", "tools"} & set(value)):
        model = tidy(value.get("model"))
        yield looked.client(value["name"], models=(model,) if model else ())


def continue_config(looked: Looked) -> Iterator[Trace]:
    """Continue: servers, in a list or as an experiment, and the models with their keys."""
    yield from servers_under("mcpServers", "experimental.modelContextProtocolServers")(looked)
    models = _under(looked.value, "models")
    for one in models[:MANY] if isinstance(models, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("provider"), str):
            named = one.get("name", one.get("title"))
            told = [(key, one.get(key)) for key in ("apiKey", "api_key")]
            base = url(one.get("apiBase"))
            yield looked.client(
                named or one.get("model"), providers=(tidy(one["provider"]),), models=(tidy(one.get("model")),),
                urls=(base,) if base else (), secrets=looked.secrets.of(told),
            )  # fmt: skip


def goose(looked: Looked) -> Iterator[Trace]:
    """Goose: its extensions; those that are part of it have neither program nor address."""
    provider = tidy(_under(looked.value, "GOOSE_PROVIDER"))
    for name, entry in _entries(_under(looked.value, "extensions")):
        trace = _server(looked, name, entry)
        if trace is not None:
            yield trace
        elif entry.get("type") in {"builtin", "platform"}:
            yield looked.client(name, providers=(provider,) if provider else ())


def librechat(looked: Looked) -> Iterator[Trace]:
    """LibreChat: its MCP servers and the endpoints that agents of its users may use."""
    yield from servers_under("mcpServers")(looked)
    for name, entry in _entries(_under(looked.value, "endpoints", "custom")):
        base = url(entry.get("baseURL"))
        secrets = looked.secrets.of([("apiKey", entry.get("apiKey"))])
        if base or secrets:
            yield looked.client(name, urls=(base,) if base else (), providers=(tidy(name),), secrets=secrets)
