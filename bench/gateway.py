"""MCP `tools/call` through the gateway with everything on, against direct calls to the same bare ASGI server.

Everything on: token, validation, definition watch, policy with a role, a ticket and hours, session ledger, rate,
concurrency and budget, sealing of three parts, roll-ups, a durable decision record before and an outcome record after
each call. Gateway and server are processes of their own, one worker each; direct and governed calls take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from _mcp import Measured, bare_server, caller, drive
from _policies import CASE
from _processes import answered, process
from _report import report

_ROLES = ["customer-support"]


async def _serve_bare() -> None:
    from accredit.serving import bound, served

    async with served(bare_server, bound("127.0.0.1", 0)) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def _serve_gateway(upstream: str, data: Path) -> None:
    """One installation with one agent; answers each line of standard input with a fresh token."""
    from accredit.bootstrap import run
    from accredit.demo.issuers import Directory, TicketDesk
    from accredit.kernel.clock import SystemClock
    from accredit.kernel.ids import RandomIds
    from accredit.sdk.identity import AsyncAgentIdentity
    from accredit.serving import bound, keep_what_is_loaded, served
    from accredit.settings import Settings

    clock, ids = SystemClock(), RandomIds()
    directory = Directory("https://id.example.com", "d", clock, ids)
    desk = TicketDesk("https://tickets.example.com", "t", clock, ids)
    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    settings = Settings(port=port, disk_reserve_mb=0, attempts_per_minute=1_000_000)
    async with contextlib.AsyncExitStack() as stack:
        desk_url = await stack.enter_async_context(served(desk, bound("127.0.0.1", 0)))
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        keep_what_is_loaded()  # as `accredit up` does
        http = await stack.enter_async_context(aiohttp.ClientSession(base_url=url))

        async def operate(method: str, path: str, body: Any) -> Any:
            async with http.request(method, path, json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        login = await operate("POST", "/api/v1/login", {"link": running.first_link})
        http.headers["authorization"] = f"Bearer {login['token']}"
        await operate("PUT", "/api/v1/upstream-credentials/key",
                      {"origin": upstream, "header": "Authorization", "value": "Bearer 0123456789abcdef"})  # fmt: skip
        fleet = _fleet(upstream, directory, desk, desk_url)
        await operate("POST", "/api/v1/apply", {"files": [{"name": "f.json", "text": json.dumps(fleet)}]})
        await operate(
            "POST", "/api/v1/policy/publish", {"files": {"org/guardrails.cedar": _POLICIES, "tests/any.yaml": CASE}}
        )
        joined = await operate("POST", "/api/v1/agents/bench/join-tokens", {})
        shown = await (await http.get("/api/v1/agents/bench")).json()
        identity = await AsyncAgentIdentity.enrol(url, joined["join_token"])
        print(f"{url}/mcp/crm", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            subject = directory.token_for("kim@example.com", roles=_ROLES, audience=url)
            task = desk.token_for("T-1", user="kim@example.com", agent=shown["id"], customer="c-42", audience=url)
            print(await identity.exchange(f"{url}/mcp/crm", subject_token=subject, task_token=task), flush=True)


_POLICIES = """
@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);
forbid (principal, action, resource in DataClass::"secret");
forbid (principal, action in Action::"@read", resource) when { context has session && context.session has calls && context.session.calls > 1000000 };
"""


def _fleet(upstream: str, directory: Any, desk: Any, desk_url: str) -> list[dict[str, Any]]:
    def document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
        head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": spec}
        return head | ({"metadata": metadata} if metadata else {})

    return [
        document("Person", None, {"email": "dana@example.com"}),
        document("Team", {"name": "support"}, {"zones": ["UTC"]}),
        document("Issuer", {"name": "d"}, {"use": "user", "issuer": directory.url, "jwks": directory.jwks,
                                           "rolesClaim": "roles"}),
        document("Issuer", {"name": "t"}, {"use": "task", "issuer": desk.url, "jwks": desk.jwks,
                                           "claims": {"customer_id": "string"},
                                           "statusUrl": f"{desk_url}/status/{{task}}"}),
        document("ToolServer", {"name": "crm", "environment": "development"}, {
            "url": f"{upstream}/mcp", "credential": "key",
            "tools": {"read_customer": {"effect": "read", "data": ["personal"], "price": "0.000001 USD"}}}),
        document("Agent", {"name": "bench", "team": "support", "environment": "development"}, {
            "purpose": "be measured", "owner": "dana@example.com", "data": ["personal"],
            "tools": [{"server": "crm", "allow": ["read_customer"],
                       "when": {"userRole": "customer-support", "sameAs": {"input.customer_id": "task.customer_id"}}}],
            "hours": {"window": "00:00-24:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "zone": "UTC"},
            "models": [], "prompt": {"digest": "sha256:" + "0" * 64}, "autonomy": "acts-unattended",
            "audience": "employees", "inputs": ["employees"], "reach": "department",
            "use": {"annex3": False, "decidesOnPeople": False},
            "limits": {"calls": {"perMinute": 100000}, "concurrency": 64, "cost": {"perDay": "1000 USD"},
                       "timeout": {"run": "24h"}}}),
    ]  # fmt: skip


def _rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def _measure(*, quick: bool) -> None:
    rounds, calls, grown = (3, 300, 5_000) if quick else (7, 500, 50_000)
    with tempfile.TemporaryDirectory() as place:
        async with (
            process(__file__, "--bare") as (_, upstream),
            process(__file__, "--gateway", upstream, f"{place}/data") as (gate, url),
        ):
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                direct = caller(session, f"{upstream}/mcp", {})

                async def governed() -> Callable[[], Any]:
                    return caller(session, url, {"authorization": f"Bearer {await answered(gate)}"})

                figures: dict[int, dict[str, Measured]] = {}
                through = await governed()
                await drive(through, Measured(), calls=200, at_once=8)
                await drive(direct, Measured(), calls=200, at_once=8)
                for at_once in (1, 16):
                    figures[at_once] = {"direct": Measured(), "gateway": Measured()}
                    for _ in range(rounds):
                        await drive(direct, figures[at_once]["direct"], calls=calls, at_once=at_once)
                        await drive(through, figures[at_once]["gateway"], calls=calls, at_once=at_once)
                before, growth = _rss_mb(gate.pid), Measured()
                for _ in range(grown // 1000):
                    through = await governed()
                    await drive(through, growth, calls=1000, at_once=16)
                grew = _rss_mb(gate.pid) - before
    one, many = figures[1], figures[16]
    middle = {name: statistics.median(measured.latencies_s) * 1000 for name, measured in one.items()}
    rate = {name: len(measured.latencies_s) / measured.wall_s for name, measured in many.items()}
    errors = sum(measured.errors for part in (*figures.values(), {"growth": growth}) for measured in part.values())
    added, ratio = middle["gateway"] - middle["direct"], rate["gateway"] / rate["direct"]
    print(
        f"one call at a time: direct {middle['direct']:.3f} ms, through the gateway {middle['gateway']:.3f} ms (medians)"
    )
    print(f"16 at once: direct {rate['direct']:.0f} calls/s, through the gateway {rate['gateway']:.0f} calls/s")
    print(f"resident memory of the gateway grew by {grew:.1f} MB over {grown} further calls")
    report("gateway", {
        "added_ms_c1": added, "ratio_c16": ratio, "errors": errors,
        f"rss_growth_mb_{grown // 1000}k": grew,
        "direct_ms_c1": middle["direct"], "direct_per_s_c16": rate["direct"], "gateway_per_s_c16": rate["gateway"],
    })  # fmt: skip


def main() -> None:
    """Measure and print; or be one of the two servers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--gateway", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.bare:
        uvloop.run(_serve_bare())
    elif given.gateway:
        uvloop.run(_serve_gateway(given.gateway[0], Path(given.gateway[1])))
    else:
        uvloop.run(_measure(quick=given.quick))


if __name__ == "__main__":
    main()
