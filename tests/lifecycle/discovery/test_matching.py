"""What was found, matched to what is registered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId
from accredit.lifecycle.discovery.matching import Inventory, Sighting, match
from accredit.lifecycle.discovery.model import MatchVerdict, TraceKind
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Environment,
    Launch,
    Team,
    ToolServer,
)

_VERSION = AgentVersion(Digest("sha256:" + "0" * 64), {}, {}, (), frozenset(), "UTC", AgentLimits(1, 1, 1, 1, None))


def _agent(name: str, state: AgentState = AgentState.ACTIVE) -> Agent:
    team = Team(TeamId("team_1"), "t", frozenset())
    return Agent(AgentId(f"agt_{name}"), name, team, Environment.PRODUCTION, state, PersonId("p"), None, _VERSION)


_AGENTS = {one.id: one for one in (_agent("clerk"), _agent("gone", AgentState.RETIRED))}
_SERVERS = (
    ToolServer(ServerName("crm"), Environment.PRODUCTION, "https://crm.example.com/mcp", None, {}),
    ToolServer(
        ServerName("files"),
        Environment.PRODUCTION,
        "stdio:files",
        None,
        {},
        launch=Launch("/usr/bin/npx", ("-y", "files-mcp")),
    ),
    ToolServer(ServerName("openai"), Environment.PRODUCTION, "https://api.openai.com/v1", None, {}, api="openai"),
)
_KEYS = {"a" * 64: AgentId("agt_clerk"), "b" * 64: AgentId("agt_gone")}
INVENTORY = Inventory("https://gate.example.com", _AGENTS, _SERVERS, frozenset({"openai-prod"}), _KEYS.get)


def _sighting(kind: TraceKind = TraceKind.CLIENT, **told: Any) -> Sighting:
    return replace(Sighting(kind, "x", "a/b/c.json"), **told)


@pytest.mark.requirement("discovery:match")
@pytest.mark.parametrize(
    ("it", "verdict", "by"),
    [
        (_sighting(), "unregistered", "nothing"),
        (_sighting(unread="too large", name="clerk"), "unregistered", "could not be read"),
        (_sighting(urls=("https://gate.example.com/mcp/crm",)), "registered", "gateway"),
        (_sighting(urls=("https://gate.example.com:443/mcp",)), "registered", "gateway"),
        (_sighting(urls=("https://gate.example.com.evil.org/mcp",)), "unregistered", "nothing"),
        (_sighting(urls=("https://gate.example.com/mcp", "https://crm.example.com/mcp")), "shadow", "`crm`"),
        (_sighting(urls=("https://crm.example.com/mcp/x",), agent="production/clerk"), "shadow", "`crm`"),
        (_sighting(urls=("https://crm.example.com/mcpx",)), "unregistered", "nothing"),
        (_sighting(command="npx files-mcp"), "shadow", "`files`"),
        (_sighting(command="npx other-mcp"), "unregistered", "nothing"),
        (_sighting(TraceKind.KEY, providers=("openai",), secrets=("openai_key",)), "shadow", "`openai`"),
        (_sighting(TraceKind.KEY, providers=("groq",), secrets=("named",)), "unregistered", "nothing"),
        (_sighting(keys=("a" * 64,)), "registered", "its key"),
        (_sighting(keys=("b" * 64,)), "ghost", "its key"),
        (_sighting(keys=("c" * 64,), urls=("https://gate.example.com/mcp",)), "unregistered", "not known"),
        (_sighting(agent="production/clerk"), "registered", "names the agent"),
        (_sighting(agent="agt_clerk"), "registered", "names the agent"),
        (_sighting(agent="production/gone"), "ghost", "names the agent"),
        (_sighting(agent="clerk"), "unregistered", "there is not"),  # in development there is none
        (_sighting(TraceKind.CODE, name="Clerk"), "registered", "its name"),
        (_sighting(TraceKind.CODE, name="gone"), "ghost", "its name"),
        (_sighting(TraceKind.CLIENT, name="clerk"), "unregistered", "nothing"),  # there it is a server's
        (_sighting(TraceKind.USAGE, name="openai-prod"), "registered", "openai-prod"),
        (_sighting(TraceKind.MANIFEST, agent="production/clerk"), "registered", "names the agent"),
    ],
)
def test_what_is_exact_counts_before_what_a_file_says(it: Sighting, verdict: str, by: str) -> None:
    (found,) = match([it], INVENTORY)
    assert (found.verdict, by in found.by) == (verdict, True), found


@pytest.mark.requirement("discovery:match")
@pytest.mark.parametrize(
    ("path", "kind", "verdict"),
    [
        ("svc/main.py", TraceKind.CODE, "registered"),
        ("svc/a/b/c/main.py", TraceKind.CODE, "registered"),
        ("svc/a/b/c/d/main.py", TraceKind.CODE, "unregistered"),
        ("other/main.py", TraceKind.CODE, "unregistered"),
        ("svc/.mcp.json", TraceKind.CLIENT, "unregistered"),
        ("svc/.env", TraceKind.KEY, "unregistered"),
    ],
)
def test_a_registered_manifest_speaks_for_programs_beside_and_below_it(
    path: str, kind: TraceKind, verdict: str
) -> None:
    declared = Sighting(TraceKind.MANIFEST, "accredit", "svc/agent.yaml", "clerk", agent="production/clerk")
    assert match([declared, Sighting(kind, "x", path)], INVENTORY)[1].verdict == verdict


_TEXT = st.text(max_size=12) | st.sampled_from(["production/clerk", "clerk", "gone", "agt_clerk"])


@pytest.mark.requirement("discovery:match")
@given(st.sampled_from(list(TraceKind)), _TEXT, _TEXT, st.booleans())
def test_nothing_that_reaches_a_registered_server_by_itself_is_called_registered(
    kind: TraceKind,
    name: str,
    agent: str,
    by_address: bool,  # noqa: FBT001 - drawn
) -> None:
    past: dict[str, Any] = (
        {"urls": ("https://crm.example.com/mcp",)} if by_address else {"providers": ("openai",), "secrets": ("k",)}
    )
    (found,) = match([replace(Sighting(kind, "x", "p", name, agent=agent), **past)], INVENTORY)
    assert found.verdict is MatchVerdict.SHADOW
