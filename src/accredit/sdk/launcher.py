"""Start an agent's own program so that it is governed without a change: `accredit run -- CMD`.

The program's clients find the gateway through the variables that they read anyway, behind a door on loopback (`relay`);
its frameworks' tools are checked (`adapters`), through a `sitecustomize` on `PYTHONPATH` that installs what the program
imports. No credential is on the command line or in the program's environment but the one of this run.

This steers a program that means well. What holds against one that does not is the gateway: keep the agent's
credentials, and the addresses behind the gateway, out of its reach.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, InvalidInputError, UnauthenticatedError, UnavailableError
from accredit.sdk.guard import AsyncTokens
from accredit.sdk.guarded import CatalogueNames
from accredit.sdk.identity import AsyncSend, send_async
from accredit.sdk.relay import relaying
from accredit.sdk.wire import WireRequest, checked_url

__all__ = ["launch", "program_environment"]

_ON_START: Final = Path(__file__).parent / "onstart"
_FORWARDED: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
    if hasattr(signal, name)
)
_FROM_TERMINAL: Final = frozenset({"SIGINT", "SIGQUIT", "SIGWINCH"})
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells say it
_PAST_US: Final = frozenset(
    {"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_OAUTH_TOKEN", "OPENAI_ADMIN_KEY"}
    | {f"CLAUDE_CODE_USE_{cloud}" for cloud in ("BEDROCK", "FOUNDRY", "VERTEX")}
)
"""What comes before the key or address in clients of OpenAI and Anthropic, or is another key of theirs."""
_UNGOVERNED: Final = frozenset("IES")
"""Options with which Python leaves out what governs it."""


def program_environment(
    environ: Mapping[str, str], *, url: str, agent: str, secret: str, names: CatalogueNames
) -> dict[str, str]:
    """What the program is started with: no `ACCREDIT_` variable but these, and no other key of OpenAI or Anthropic."""
    kept = {name: value for name, value in environ.items() if not name.startswith("ACCREDIT_") and name not in _PAST_US}
    local = ",".join(filter(None, (environ.get("NO_PROXY", environ.get("no_proxy", "")), "127.0.0.1")))
    return kept | {
        "OPENAI_BASE_URL": f"{url}/llm/openai/v1",
        "OPENAI_API_BASE": f"{url}/llm/openai/v1",  # as older clients call it
        "OPENAI_API_KEY": secret,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",  # goes to OpenAI, past the gateway, with this key
        "ANTHROPIC_BASE_URL": f"{url}/llm/anthropic",
        "ANTHROPIC_API_KEY": secret,
        "ACCREDIT_URL": url,
        "ACCREDIT_MCP_URL": f"{url}/mcp",
        "ACCREDIT_AGENT": agent,
        "ACCREDIT_AGENT_KEY": secret,
        "ACCREDIT_TOOL_SERVER": names.server,
        "ACCREDIT_TOOLS": orjson.dumps(dict(names.tools)).decode(),
        "ACCREDIT_UNCHECKED_TOOLS": ",".join(sorted(names.unchecked)),
        "NO_PROXY": local,
        "no_proxy": local,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_ON_START), environ.get("PYTHONPATH", "")))),
    }


def launch(
    command: Sequence[str],
    tokens: AsyncTokens,
    base_url: str,
    *,
    names: CatalogueNames,
    environ: Mapping[str, str],
    send: AsyncSend = send_async,
) -> int:
    """Run a program until it ends; its exit code, or 128 and the signal that ended it. Signals are passed on.

    Raises:
        InvalidInputError: there is no program, or it is Python told to leave out what governs it.
        UnauthenticatedError: the credential is not accepted.
        AccreditError: there is no token for it, or the server cannot be reached.
    """
    _startable(command)
    return asyncio.run(_launched(command, tokens, checked_url(base_url), names, environ, send))


def _startable(command: Sequence[str]) -> None:
    if not command:
        raise InvalidInputError(Code.SETTING_INVALID, "there is no program to run", hint="`accredit run -- CMD ARGS`")
    if not Path(command[0]).name.startswith("python"):
        return
    words = iter(command[1:])
    for word in words:
        if not word.startswith("-") or word in {"-", "--"} or word.startswith(("-c", "-m")):
            return
        if word in {"-W", "-X", "--check-hash-based-pycs"}:
            next(words, "")
        elif not word.startswith(("--", "-W", "-X")) and set(word[1:]) & _UNGOVERNED:
            raise InvalidInputError(
                Code.SETTING_INVALID, f"with `{word}` Python would leave out what governs it", hint="leave it out"
            )


async def _launched(
    command: Sequence[str], tokens: AsyncTokens, base_url: str, names: CatalogueNames, environ: Mapping[str, str],
    send: AsyncSend,
) -> int:  # fmt: skip
    await _accepted(tokens, base_url, send)
    secret = f"run_{secrets.token_urlsafe(32)}"
    async with relaying(base_url, tokens, secret) as url:
        given = program_environment(environ, url=url, agent=tokens.agent, secret=secret, names=names)
        try:
            program = await asyncio.create_subprocess_exec(*command, env=given)
        except OSError as error:
            print(f"error: `{command[0]}` cannot be started: {error.strerror}", file=sys.stderr)  # noqa: T201
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        with _Forwarding(program):
            code = await program.wait()
    return code if code >= 0 else 128 - code


async def _accepted(tokens: AsyncTokens, base_url: str, send: AsyncSend) -> None:
    """Nothing is started for a credential that is not accepted where tools are asked about."""
    route = f"{base_url}/access/v1"
    token = await tokens.access_token(route)
    answer = await send(WireRequest(f"{route}/requests/none", "", b"", token))
    match answer.status:
        case 404:  # it was read who is asking, and there is no such request
            return
        case 401:
            raise UnauthenticatedError(
                Code.UNAUTHENTICATED,
                "the agent's credential is not accepted",
                hint="`accredit credential list` shows whether it ended, or for which path a key is",
            )
        case 403:
            raise ForbiddenError(Code.NOT_AUTHORISED, "the agent may not ask")
        case status:
            raise UnavailableError(Code.UPSTREAM_UNREACHABLE, f"accredit answered with status {status}")


class _Forwarding:
    """Signals to this process go to the program, but for those that its terminal sent to both."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in _FORWARDED:
            self._loop.add_signal_handler(number, self._forward, number)

    def __exit__(self, *_: object) -> None:
        for number in _FORWARDED:
            self._loop.remove_signal_handler(number)

    def _forward(self, number: signal.Signals) -> None:
        if number.name in _FROM_TERMINAL and _in_foreground():
            return
        with suppress(ProcessLookupError):
            self._program.send_signal(number)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
