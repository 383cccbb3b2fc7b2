"""Starting an agent's own program, governed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from accredit.cli.profile import load_profile
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.sdk.guard import AsyncTokens
from accredit.sdk.guarded import CatalogueNames

__all__ = ["app"]

app = App()

_Names = Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False)]


@app.command(name="run")
def _run(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    identity: Path | None = None,
    agent: str = "",
    server: str = "",
    tool: _Names = (),
    unchecked: _Names = (),
) -> int:
    """Run an agent's program, its models, tools and frameworks governed: `accredit run -- CMD`.

    The credential is an identity's file, or ACCREDIT_AGENT_KEY. With ACCREDIT_JOIN_TOKEN and no file yet, the
    instance enrols and writes it. The program is given neither. Its exit code is this command's.

    Args:
        command: The program and its arguments, after `--`.
        identity: File of the instance's key (also ACCREDIT_IDENTITY).
        agent: Whose key ACCREDIT_AGENT_KEY is (also ACCREDIT_AGENT).
        server: Tool server that the program's own tools are looked for in (also ACCREDIT_TOOL_SERVER).
        tool: NAME=SERVER/TOOL, what a tool of the program is (also ACCREDIT_TOOLS, as JSON). Repeat it.
        unchecked: A tool called through the gateway, or that does nothing (also ACCREDIT_UNCHECKED_TOOLS). Repeat it.
    """
    environ = os.environ
    said = CatalogueNames.from_environment(environ)
    names = CatalogueNames(server or said.server, {**said.tools, **_named(tool)}, said.unchecked | set(unchecked))
    url = load_profile(environ).url
    tokens = _credential(environ, url, identity, agent)
    from accredit.sdk.launcher import launch  # noqa: PLC0415 - only this command needs it

    return launch(command, tokens, url, names=names, environ=environ)


def _named(given: tuple[str, ...]) -> dict[str, str]:
    named = dict(each.partition("=")[::2] for each in given)
    if not all(named) or len(named) < len(given):
        raise InvalidInputError(Code.SETTING_INVALID, "`--tool` takes NAME=SERVER/TOOL, once for each name")
    return named


def _credential(environ: Mapping[str, str], url: str, identity: Path | None, agent: str) -> AsyncTokens:
    from accredit.sdk.identity import AsyncAgentIdentity, AsyncAgentKey  # noqa: PLC0415 - joserfc takes its time
    from accredit.sdk.keyring import Keyring  # noqa: PLC0415

    file = identity or (Path(environ["ACCREDIT_IDENTITY"]) if environ.get("ACCREDIT_IDENTITY") else None)
    key, join = environ.get("ACCREDIT_AGENT_KEY", ""), environ.get("ACCREDIT_JOIN_TOKEN", "")
    if (file is None) == (not key):
        raise InvalidInputError(
            Code.SETTING_INVALID,
            "there are two credentials" if key else "there is no credential of an agent",
            hint="give --identity FILE, or set ACCREDIT_AGENT_KEY and --agent, and not both",
        )
    if file is None:
        whose = agent or environ.get("ACCREDIT_AGENT", "")
        if not whose:
            raise InvalidInputError(Code.SETTING_INVALID, "nothing says whose key it is", hint="give --agent NAME")
        return AsyncAgentKey(AgentId(whose), key)
    if join and not file.exists():

        async def enrolled() -> AsyncAgentIdentity:
            return await AsyncAgentIdentity.enrol(url, join)

        asyncio.run(enrolled()).save(file)
    return AsyncAgentIdentity(Keyring.load(file))
