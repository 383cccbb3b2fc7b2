"""Every tool call of a framework's agent, checked before it runs: what all adapters share, and nothing of one.

An adapter hands over the name and the arguments of a call, and runs the tool only if the decision is a yes. Which tool
of the catalogue a framework's tool is, for how long is waited, and where it is asked stands here, or in the environment
(`from_environment`), as `accredit run` sets it.
"""

from __future__ import annotations

import asyncio
import json
import queue
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.kernel.signatures import signature
from accredit.kernel.strictjson import parse_strict
from accredit.sdk.guard import AsyncGuard, Guard, ToolDecision
from accredit.sdk.identity import AgentIdentity, AgentKey, AsyncAgentIdentity, AsyncAgentKey
from accredit.sdk.keyring import Keyring

__all__ = ["CatalogueNames", "GuardedTools", "Schema"]

Schema = Callable[[], object]
"""Gives the JSON Schema of what a framework's tool takes; None if it has none."""


def _unknown() -> None:
    """A framework that does not say what its tool takes."""


_TIMEOUT_S: Final = 30.0
_ASKED_S: Final = 0.001
"""A person is asked, and not waited for: the agent makes the call again."""
_TOOL: Final = re.compile(r"[a-z][a-z0-9-]{0,62}/[A-Za-z0-9_.%-]{1,384}")
_SERVER: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_OF_SERVER: Final = re.compile(r"mcp__([a-z][a-z0-9-]{0,62})__(.{1,128})")
"""What clients of several MCP servers call a tool."""
_MAX_ARGUMENTS: Final = 1_048_576
_UNNAMED: Final = ToolDecision(allowed=False, code=Code.ACTION_UNKNOWN.value, message=Code.ACTION_UNKNOWN.meaning)
_UNCHECKED: Final = ToolDecision(allowed=True, code="unchecked")
_LATE: Final = ToolDecision(allowed=False, code="timeout", message="the call was not decided in time, so it is refused")
_UNREADABLE: Final = ToolDecision(
    allowed=False, code=Code.ARGUMENTS_INVALID.value, message="the arguments are not one JSON object"
)
_FAILED: Final = ToolDecision(
    allowed=False, code="unavailable", message="the call could not be decided, so it is refused"
)


@dataclass(frozen=True, slots=True)
class CatalogueNames:
    """Which tool of the catalogue a framework's tool is. One that is none is refused.

    Raises:
        InvalidInputError: what is named is no tool or server.
    """

    server: str = ""
    """Where tools are that `tools` does not name."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """`server/tool` by the framework's name."""
    unchecked: frozenset[str] = frozenset()
    """Run without being asked about here: what the gateway itself decides on, since it is called through it, and what
    does nothing, such as a framework's handing over from agent to agent. Empty unless somebody says so."""

    def __post_init__(self) -> None:
        wrong = [tool for tool in self.tools.values() if not _TOOL.fullmatch(tool)]
        if wrong or (self.server and not _SERVER.fullmatch(self.server)):
            named = wrong[0] if wrong else self.server
            raise InvalidInputError(
                Code.SETTING_INVALID, f"`{named[:80]}` is no tool or server", hint="name a tool as `server/tool`"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """What `ACCREDIT_TOOL_SERVER`, `ACCREDIT_TOOLS` and `ACCREDIT_UNCHECKED_TOOLS` say.

        Raises:
            InvalidInputError: what is named is no tool or server.
        """
        return cls(
            environ.get("ACCREDIT_TOOL_SERVER", ""),
            _mapping(environ.get("ACCREDIT_TOOLS", "")),
            frozenset(_words(environ.get("ACCREDIT_UNCHECKED_TOOLS", ""))),
        )

    def find(self, name: str) -> str | None:
        """`server/tool`, or None."""
        if name in self.tools:
            return self.tools[name]
        if (named := _OF_SERVER.fullmatch(name)) is not None:
            return f"{named[1]}/{quote(named[2], safe='')}"
        return f"{self.server}/{quote(name, safe='')}" if self.server else None


class GuardedTools:
    """Decides on the calls of one process. Used from any thread and any event loop; never raises but when stopped."""

    def __init__(
        self, guard: Guard, async_guard: AsyncGuard, names: CatalogueNames, *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        """Ask both guards about what `names` knows; what took longer than `timeout_s` is refused."""
        self._guard = guard
        self._async_guard = async_guard
        self._names = names
        self._timeout_s = timeout_s

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """What `ACCREDIT_URL` and an identity say, as docs/sdk.md lists it.

        Raises:
            InvalidInputError: there is no credential or more than one, or a value is not what it should be.
        """
        url, file, key = (environ.get(f"ACCREDIT_{name}", "") for name in ("URL", "IDENTITY", "AGENT_KEY"))
        names = CatalogueNames.from_environment(environ)
        if bool(file) == bool(key):
            raise InvalidInputError(
                Code.SETTING_INVALID,
                "there is no credential of an agent" if not file else "there are two credentials",
                hint="set one of ACCREDIT_IDENTITY and ACCREDIT_AGENT_KEY, or start the program with `accredit run`",
            )
        if file:
            ring = Keyring.load(Path(file))
            return cls(Guard(AgentIdentity(ring), url), AsyncGuard(AsyncAgentIdentity(ring), url), names)
        agent = AgentId(environ.get("ACCREDIT_AGENT", ""))
        if not agent:
            raise InvalidInputError(Code.SETTING_INVALID, "ACCREDIT_AGENT does not say whose key it is")
        return cls(Guard(AgentKey(agent, key), url), AsyncGuard(AsyncAgentKey(agent, key), url), names)

    def check(self, name: str, arguments: Mapping[str, Any] | str, schema: Schema = _unknown) -> ToolDecision:
        """Whether a framework's tool may run with these arguments, or their JSON, now.

        `schema` gives the framework's own schema of them, if it has one: it is compared with what was registered.
        """
        try:
            asked = self._asked(name, arguments)
            return asked if isinstance(asked, ToolDecision) else self._in_time(*asked, _signature(schema))
        except Exception:  # noqa: BLE001 - whatever it is: a call that was not allowed is refused
            return _FAILED

    async def check_async(
        self, name: str, arguments: Mapping[str, Any] | str, schema: Schema = _unknown
    ) -> ToolDecision:
        """As `check`."""
        try:
            asked = self._asked(name, arguments)
            if isinstance(asked, ToolDecision):
                return asked
            async with asyncio.timeout(self._timeout_s):
                return await self._async_guard.check(*asked, signature=_signature(schema), wait_s=_ASKED_S)
        except TimeoutError:
            return _LATE
        except Exception:  # noqa: BLE001 - whatever it is: a call that was not allowed is refused
            return _FAILED

    def _asked(self, name: str, arguments: Mapping[str, Any] | str) -> ToolDecision | tuple[str, Mapping[str, Any]]:
        if name in self._names.unchecked:
            return _UNCHECKED
        tool = self._names.find(name)
        if tool is None:
            return _UNNAMED
        try:
            if isinstance(arguments, str):  # the same text goes to the tool, so it must read in one way only
                arguments = parse_strict((arguments or "{}").encode(), max_bytes=_MAX_ARGUMENTS)
        except InvalidInputError:
            return _UNREADABLE
        return (tool, arguments) if isinstance(arguments, Mapping) else _UNREADABLE

    def _in_time(self, tool: str, arguments: Mapping[str, Any], known: str | None) -> ToolDecision:
        """Asked in a thread of its own: what blocks there blocks nobody for longer than the time."""
        answer: queue.SimpleQueue[ToolDecision] = queue.SimpleQueue()

        def asks() -> None:
            answer.put(self._guard.check(tool, arguments, signature=known, wait_s=_ASKED_S))

        threading.Thread(target=asks, name="accredit-check", daemon=True).start()
        try:
            return answer.get(timeout=self._timeout_s)
        except queue.Empty:
            return _LATE


def _signature(schema: Schema) -> str | None:
    try:
        return signature(schema())
    except Exception:  # noqa: BLE001 - a framework's own code: what it cannot tell is not compared
        return None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _mapping(text: str) -> dict[str, str]:
    """`{"name": "server/tool"}`."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(tool, str) for tool in found.values()):
        raise InvalidInputError(Code.SETTING_INVALID, "ACCREDIT_TOOLS is not a JSON object of texts")
    return found
