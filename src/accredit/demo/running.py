"""`accredit up --demo`: the sample fleet on the real clock, its traffic going on, a line per decision until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
from mcp_types import CallToolResult

from accredit.demo import fleet
from accredit.demo.office import HIGH, LOW, MEDIUM, Office
from accredit.demo.world import MODERN, SESSIONS, World, world
from accredit.kernel.clock import Clock, SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError

__all__ = ["run_demo_fleet"]

_PORT = 8700
_PAUSE_S = 1.5
_AGENTS = ("support-copilot", "refund-desk", "ticket-counter")
_LEAD = {"lena": "team-lead"}
_Scenario = tuple[str, str, Callable[[World], Awaitable[CallToolResult]]]


def _support(
    tool: str, customer: str, *, roles: tuple[str, ...] = ("customer-support",), era: str = MODERN
) -> _Scenario:
    async def call(place: World) -> CallToolResult:
        agent = place.agents["support-copilot"]
        token = await agent.token(user="kim@example.com", roles=roles, ticket="T-1", customer="c-17")
        return await agent.call(tool, {"customer_id": customer}, token=token, era=era)

    return "support-copilot", tool, call


def _plain(name: str, tool: str, arguments: dict[str, Any]) -> _Scenario:
    async def call(place: World) -> CallToolResult:
        agent = place.agents[name]
        return await agent.call(tool, arguments, token=await agent.token(user="kim@example.com"))

    return name, tool, call


_TRAFFIC: tuple[_Scenario, ...] = (
    _support("read_customer", "c-17"),
    _support("search_orders", "c-17", era=SESSIONS),
    _plain("ticket-counter", "export_tickets", {"pages": 1}),
    _support("read_customer", "c-42"),
    _plain("ticket-counter", "count_tickets", {}),
    _support("read_customer", "c-17", roles=("marketing",)),
    _plain("refund-desk", "refund_order", {"order_id": "o-1", "cents": 4900}),
    _plain("refund-desk", "delete_customer", {"customer_id": "c-17"}),
    _plain(f"production/{LOW}", "count_tickets", {}),
    _plain(f"production/{MEDIUM}", "label_ticket", {"ticket": "T-1", "label": "refund"}),
    _plain(f"production/{MEDIUM}", "count_tickets", {}),
)


def run_demo_fleet(data: Path | None, port: int | None) -> int:
    """Run until SIGINT or SIGTERM; in a temporary directory unless one is given."""
    with contextlib.ExitStack() as stack:
        if data is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accredit-demo-"))) / "data"
        elif data.exists() and any(data.iterdir()):
            raise ConflictError(
                Code.CONFLICT, f"`{data.name}` is not empty", hint="the sample fleet starts in an empty directory"
            )
        else:
            place = data
        asyncio.run(_run(place, _PORT if port is None else port))
    return 0


async def _run(place: Path, port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    clock = SystemClock()
    async with world(place, clock, port=port) as started:
        links = await _Seeding(started).seed()
        print(f"accredit answers at {started.url}; the console is at {started.url}/console")
        print(f"log key: {started.running.vkey}")
        print("each link works once, in a browser or with `accredit login LINK`:", *links, sep="\n")
        print(f"{HIGH} waits for the votes of sam, cora and bo; refunds wait for bo. Ctrl-C ends it", flush=True)
        traffic = asyncio.create_task(_traffic(started, clock))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({traffic, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (traffic, waiting):
            task.cancel()
        await asyncio.gather(traffic, waiting, return_exceptions=True)
        print("stopping", file=sys.stderr)


class _Seeding(Office):
    """The fleet as people find it: two agents in production, one that waits for their votes, three in development."""

    async def seed(self) -> list[str]:
        """Register, sign off and enrol everything; then each person's own link, and none of the tokens used here."""
        await self._world.sign_in()
        await self._world.register()
        for name in _AGENTS:
            await self._world.enrol(name)
        await self._invite()
        await self._applied("ada", *fleet.staff())
        for name in fleet.STAFF:
            await self._world.sign_in_as(name, await self._link(name))
        for name, role, team in fleet.ROLES:
            await self._grant(name, role, team)
        await self._applied("ada", fleet.agreement())
        (server,) = await self._applied("otto", fleet.live_server(self._world.crm_url))
        await self._as("sam").vote(server["approval"], "security")
        await self._vouch()
        await self._applied("dana", *fleet.live_agents().values())
        for agent, voters in ((LOW, _LEAD), (MEDIUM, {**_LEAD, "sam": "security"})):
            request = await self._submit(agent)
            for name, role in voters.items():
                await self._as(name).vote(request, role)
            await self._activated(agent)
            await self._enrolled(agent)
        request = await self._submit(HIGH)
        await self._as("dana").post(f"approvals/{request}/assessment", fleet.assessment(self._as("bo").person))
        return [await self._handed_over(name) for name in self._world.people]

    async def _handed_over(self, name: str) -> str:
        """A person's link, and what it is good for; they made it, so nobody else stands behind the account."""
        person = self._as(name)
        roles = ", ".join((await person.get("whoami"))["roles"]) or "owns agents"
        link = (await person.post(f"persons/{person.person}/sign-in-link", {}))["link"]
        for token in (await person.get("tokens"))["items"]:
            if not token["revoked"]:
                await person.delete(f"tokens/{token['id']}")
        return f"  {name:5} {roles:28} {link}"


async def _traffic(started: World, clock: Clock) -> None:
    for name, tool, call in itertools.cycle(_TRAFFIC):
        try:
            result = await call(started)
            told = result.structured_content or {}
            verdict = f"refused  {told.get('code')}" if result.is_error else "allowed"
        except* (AccreditError, httpx2.HTTPError, OSError) as group:
            verdict = f"failed   {group.exceptions[0]}"
        called = f"{started.agents[name].route.rpartition('/')[2]}/{tool}"
        at = clock.now().wall_s % 86_400
        print(f"{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}  {name:24} {called:24} {verdict}", flush=True)
        await asyncio.sleep(_PAUSE_S)
