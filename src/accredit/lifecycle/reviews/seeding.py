"""Permissions that nobody was ever granted, put among those of a few agents of a campaign to see who looks. Pure.

Which agents and tools follows from a secret of the campaign. Nothing on a card tells such a permission apart from one
that was granted some days ago: whoever compares the card with what the agent is for, or with its manifest, finds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, ServerName, ToolId, tool_id
from accredit.lifecycle.reviews.cards import high_effect
from accredit.lifecycle.reviews.model import Seed
from accredit.registry.model import Agent, Effect, Tool, ToolServer

__all__ = ["granted_ever", "seeded_tool", "seeds"]

_DAY_US: Final = 86_400_000_000
_MANY: Final = 20
"""From so many agents on a campaign has two."""
_MADE_UP: Final = ("export_everything", "grant_access", "delete_all", "change_owner", "disable_audit", "wire_transfer")


def granted_ever(agent: Agent, versions: Iterable[Iterable[ToolId]]) -> frozenset[ToolId]:
    """Everything that an agent was ever granted, or is to be."""
    now = (one.tool for version in (agent.version, agent.candidate) if version for one in version.every_grant)
    return frozenset(now).union(*versions)


def seeds(
    secret: str,
    agents: Sequence[Agent],
    granted: Callable[[Agent], frozenset[ToolId]],
    servers: Iterable[ToolServer],
    *,
    now_us: int,
) -> tuple[Seed, ...]:
    """One or two for a campaign on these agents, none without any; `granted` tells all that one was ever granted."""
    order = sorted(agents, key=lambda one: _drawn(secret, "agent", one.id))
    known = list(servers)
    return tuple(_seed(secret, one, granted(one), known, now_us) for one in order[: 2 if len(order) >= _MANY else 1])


def _seed(secret: str, agent: Agent, granted: frozenset[ToolId], servers: Sequence[ToolServer], now_us: int) -> Seed:
    near = {tool.partition("/")[0] for tool in granted}
    candidates = [
        (server.name not in near, _drawn(secret, "tool", tool.id), tool.id)
        for server in servers
        if server.environment is agent.environment and server.api is None
        for tool in server.tools.values()
        if tool.id not in granted and high_effect(tool) and tool.item is None
    ]
    tool = min(candidates)[2] if candidates else _made_up(secret, granted, servers)
    days = 3 + int.from_bytes(_drawn(secret, "day", agent.id)[:2]) % 48
    return Seed(agent.id, tool, max(now_us - days * _DAY_US, agent.registered_us + 1))


def _made_up(secret: str, granted: frozenset[ToolId], servers: Sequence[ToolServer]) -> ToolId:
    """A name at a server that it uses, where every tool that could do harm is granted to it already."""
    server = min((tool.partition("/")[0] for tool in granted), default="tools")
    taken = granted | {tool.id for one in servers for tool in one.tools.values()}
    names = sorted(_MADE_UP, key=lambda name: _drawn(secret, "name", name))
    numbered = (f"{name}_{number}" for number in range(2, 1_000) for name in names)
    return next(found for name in (*names, *numbered) if (found := tool_id(ServerName(server), name)) not in taken)


def seeded_tool(seed: Seed, agent: Agent, known: Tool | None) -> Tool:
    """What the card says of it: the registered tool, or one made up that looks as registered as any."""
    if known is not None:
        return known
    server, _, name = seed.tool.partition("/")
    return Tool(
        id=seed.tool,
        server=ServerName(server),
        name=name,
        effect=Effect.IRREVERSIBLE,
        scope=None,
        data=agent.version.data,
        price=None,
        definition={},
        definition_digest=Digest(""),
    )


def _drawn(secret: str, what: str, one: AgentId | ToolId | str) -> bytes:
    return hashlib.sha256(f"{secret}\0{what}\0{one}".encode()).digest()
