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

from accredit.demo.world import MODERN, SESSIONS, World, world
from accredit.kernel.clock import Clock, SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError

__all__ = ["run_demo_fleet"]

_PORT = 8700
_PAUSE_S = 1.5
_AGENTS = ("support-copilot", "refund-desk", "ticket-counter")
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
        link = await _seed(started)
        print(f"accredit answers at {started.url}; the sample fleet is enrolled: {', '.join(_AGENTS)}")
        print(f"sign in, once, with: accredit login '{link}'")
        print("refunds wait for you: see `accredit hold list`. Ctrl-C ends it", flush=True)
        traffic = asyncio.create_task(_traffic(started, clock))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({traffic, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (traffic, waiting):
            task.cancel()
        await asyncio.gather(traffic, waiting, return_exceptions=True)
        print("stopping", file=sys.stderr)


async def _seed(started: World) -> str:
    """Register and enrol the fleet, then hand the one administrator over to whoever reads the terminal."""
    await started.sign_in()
    await started.register()
    for name in _AGENTS:
        await started.enrol(name)
    tokens = (await started.operator.get("tokens"))["items"]
    for token in tokens:
        await started.operator.delete(f"tokens/{token['id']}")
    secret = await started.running.plane.people.bootstrap_admin("admin@example.com")
    return f"{started.url}/login#{secret}"


async def _traffic(started: World, clock: Clock) -> None:
    for name, tool, call in itertools.cycle(_TRAFFIC):
        try:
            result = await call(started)
            told = result.structured_content or {}
            verdict = f"refused  {told.get('code')}" if result.is_error else "allowed"
        except* (AccreditError, httpx2.HTTPError, OSError) as group:
            verdict = f"failed   {group.exceptions[0]}"
        at = clock.now().wall_s % 86_400
        print(f"{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}  {name:16} crm/{tool:15} {verdict}", flush=True)
        await asyncio.sleep(_PAUSE_S)
