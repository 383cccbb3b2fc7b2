"""The lists of a whole installation over its port: 10,000 agents, 5,000 people, 1,000,000 records (DESIGN §10).

A data directory of that size is built first: 200 agents are registered by manifest, with 5 tools each, and every one
stands there 50 times under a name and id of its own. Then `accredit up` is started on it, and asked by another process:
for the console's lists as a browser asks for them, filters that match nothing and a page far behind included, and for
the API's list of agents. Nothing is kept between two requests that a change could have voided: before each measured
one a release is published (lists of agents) or a role asked for (inbox, people). `list_ms` is the 95th percentile of
the slowest of the console's. The reference is a static file from the same process.

While tiers are being computed anew after a release, a list of one tier says how many are left; `tiers_known_s` is how
long that lasts. The API waits for them instead: `api_tier_cold_ms` is its first answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from _policies import CASE
from _report import report

_AGENTS, _EACH, _PEOPLE, _TEAMS, _BUSY, _AHEAD, _AT_ONCE = 10_000, 50, 5_000, 20, 200, 4_000, 250
_TOOLS = ("read_customer", "search_orders", "refund_order", "label_ticket", "count_tickets")
_EFFECTS: dict[str, dict[str, Any]] = {
    "read_customer": {"effect": "read", "data": ["personal"], "price": "0 USD"},
    "search_orders": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "refund_order": {"effect": "irreversible", "data": ["financial"], "price": "0 USD"},
    "label_ticket": {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"},
    "count_tickets": {"effect": "read", "data": ["internal"], "price": "0 USD"},
}
_POLICIES = """
@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);
forbid (principal, action, resource in DataClass::"secret");
// release %d
"""


_DECISION: dict[str, Any] = {
    "actors": [], "control": "str:1", "credential": "crd_bench", "definition": None, "engines": {}, "entities": None,
    "faults": [], "grants": [], "hold": None, "lifted": [], "mask": [], "needs": [], "protocol": "mcp/2026-07-28",
    "release": None, "reservation": None, "restrictions": [], "run": None, "session": None, "slice": None,
    "snapshot": None, "task": None, "unknown_tool": None, "unmet": [], "user": None,
}  # fmt: skip
_OUTCOME: dict[str, Any] = {"duration_us": 1000, "end": "ok", "sent": True, "settled": None, "size": 9}


# -- what is measured: a data directory, built by a process of its own


async def _crm(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A tool server that only says what it offers."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    asked = orjson.loads((await receive())["body"])
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    tools = [{"name": name, "description": f"Does {name}.", "inputSchema": schema} for name in _TOOLS]
    result = {"resultType": "complete", "tools": tools, "ttlMs": 60_000, "cacheScope": "public"}
    if asked["method"] != "tools/list":
        result = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    answer = orjson.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": spec}
    return head | ({"metadata": metadata} if metadata else {})


def _agent(number: int) -> dict[str, Any]:
    return _document("Agent", {"name": f"agent-{number:05d}", "team": f"team-{number % _TEAMS}",
                               "environment": "development"}, {
        "purpose": f"be listed, by manifest {number}", "owner": "dana@example.com",
        "data": ["personal", "internal", "financial"],
        "tools": [{"server": "crm", "allow": list(_TOOLS), "when": {"userRole": f"role-{number % 20}"}}],
        "models": [], "prompt": {"digest": "sha256:" + "0" * 64}, "autonomy": "acts-unattended",
        "audience": "employees", "inputs": ["employees"], "reach": "department",
        "use": {"annex3": False, "decidesOnPeople": False}, "limits": {"calls": {"perMinute": 60}},
    })  # fmt: skip


async def _multiply(running: Any) -> None:
    """Every registered agent again and again under another id and name, and people beside them."""
    from accredit.audit.model import Facts
    from accredit.audit.ports import Actor, Change, Write
    from accredit.kernel.ids import PersonId, RandomIds
    from accredit.registry import rows
    from accredit.registry.model import Person

    ids, control = RandomIds(), running.plane.control
    known = list(control.view.scan(rows.AGENT))
    writes = [
        Write(rows.AGENT, ids.new("agt"), {**row.doc, "name": f"{row.doc['name']}-{again}"})
        for again in range(1, _EACH)
        for row in known
    ]
    for number in range(_PEOPLE):
        person = Person(PersonId(ids.new("psn")), f"person-{number:04d}@example.com")
        writes.append(Write(rows.PERSON, person.id, rows.person_doc(person, salt=ids.secret(16).hex())))
    for at in range(0, len(writes), _AT_ONCE):
        change = Change(Facts("bench.multiplied"), tuple(writes[at : at + _AT_ONCE]), Actor(basis="system"), {})
        await control.transact(lambda _, change=change: change)


async def _fill(running: Any, wanted: int) -> None:
    """Decisions and outcomes of those agents until the log has that many records."""
    from accredit.audit.model import Entry, Facts, Part, Usage

    # the calls of a few: monitoring tells of each tool that an agent uses for the first time
    agents = [agent.id for agent in running.plane.registry.catalogue.agents()][:_BUSY]
    common: dict[str, Any] = {"environment": "development", "effect": "read", "data_classes": ("internal",)}
    waiting: deque[Awaitable[Any]] = deque()
    for number in range(max(wanted - running.plane.records.size(), 0) // 2):
        tool, now_us = f"crm/{_TOOLS[number % 5]}", running.plane.clock.now().wall_us
        facts = {**common, "agent": agents[number // 5 % len(agents)], "tool": tool, "decision": "allow"}
        call = {"decision_id": f"dec_{number:026d}", "code": "allowed"}
        body = {**_DECISION, **call, "policies": ["grant/0123456789ab"]}
        part = Part("arguments", {"id": f"c-{number}"})
        entries = (
            Entry(Facts("decision", action="enforced", **facts), now_us, body, (part,), usage=Usage(allows=1)),
            Entry(Facts("outcome", **facts), now_us, {**_OUTCOME, **call}),
        )
        for entry in entries:
            if len(waiting) == _AHEAD:
                await waiting.popleft()
            waiting.append(running.plane.log.append(entry))
    for each in waiting:
        await each


async def _build(data: Path, records: int) -> None:
    """An installation of that size; says whose token is whose."""
    from accredit.bootstrap import run
    from accredit.serving import bound, served
    from accredit.settings import Settings

    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    async with contextlib.AsyncExitStack() as stack:
        crm = await stack.enter_async_context(served(_crm, bound("127.0.0.1", 0)))
        settings = Settings(port=port, disk_reserve_mb=0)
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        http = await stack.enter_async_context(aiohttp.ClientSession(base_url=url))

        async def operate(method: str, path: str, body: Any = None) -> Any:
            async with http.request(method, f"/api/v1/{path}", json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        async def applied(documents: list[dict[str, Any]]) -> None:
            await operate("POST", "apply", {"files": [{"name": "f.json", "text": json.dumps(documents)}]})

        login = await operate("POST", "login", {"link": running.first_link})
        http.headers["authorization"] = f"Bearer {login['token']}"
        await operate("PUT", "upstream-credentials/key", {"origin": crm, "header": "Authorization", "value": "x" * 16})
        server = {"url": f"{crm}/mcp", "credential": "key", "tools": _EFFECTS}
        await applied([
            _document("Person", None, {"email": "dana@example.com"}),
            *(_document("Team", {"name": f"team-{number}"}, {"zones": ["UTC"]}) for number in range(_TEAMS)),
            _document("ToolServer", {"name": "crm", "environment": "development"}, server),
        ])  # fmt: skip
        for at in range(0, _AGENTS // _EACH, 200):
            await applied([_agent(number) for number in range(at, at + 200)])
        await _multiply(running)
        await _fill(running, records)
        await running.plane.watched()  # so that it is not done while something else is measured
        print(json.dumps({"person": login["person"], "token": login["token"]}), flush=True)


# -- whoever asks


@dataclass
class _Asking:
    """Two ways in."""

    console: aiohttp.ClientSession
    api: aiohttp.ClientSession
    releases: int = 0
    people: deque[str] = field(default_factory=deque)

    async def get(self, path: str) -> Any:
        async with self.api.get(f"/api/v1/{path}") as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def post(self, path: str, body: Any) -> Any:
        async with self.api.post(f"/api/v1/{path}", json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def published(self) -> None:
        """A release that differs from the one before: what was judged under it is judged anew."""
        self.releases += 1
        files = {"org/guardrails.cedar": _POLICIES % self.releases, "tests/any.yaml": CASE}
        made = await self.post("policy/simulate", {"files": files, "days": 1})
        while made["state"] == "running":
            await asyncio.sleep(0.1)
            made = await self.get(f"policy/simulations/{made['id']}")
        await self.post("policy/publish", {"files": files})

    async def asked_for_role(self) -> None:
        """An open request more, and an organisation whose indexes are made anew."""
        await self.post("roles", {"role": "auditor", "person": self.people.popleft()})

    async def took_ms(self, path: str, *, api: bool = False) -> tuple[float, str]:
        began = time.perf_counter()
        async with (self.api if api else self.console).get(path, allow_redirects=False) as answer:
            text = await answer.text()
            assert answer.status == 200, (path, answer.status, text[:300])
        return (time.perf_counter() - began) * 1e3, text


def _p95(took: list[float]) -> float:
    return statistics.quantiles(took, n=20, method="inclusive")[18]


async def _sampled(
    asking: _Asking, path: str, rounds: int, before: Callable[[], Awaitable[None]], *, api: bool = False
) -> list[float]:
    took = []
    for _ in range(rounds):
        await before()
        took.append((await asking.took_ms(path, api=api))[0])
    return took


async def _nothing() -> None:
    return


async def _measure(*, quick: bool) -> None:
    records, rounds = (10_000, 4) if quick else (1_000_000, 30)
    with tempfile.TemporaryDirectory(prefix="accredit-bench-") as directory:
        began = time.perf_counter()
        async with _started(Path(directory) / "data", records) as asking:
            print(
                f"{_AGENTS:,} agents, {_PEOPLE:,} people, {records:,} records, in {time.perf_counter() - began:.0f} s"
            )
            found: dict[str, list[float]] = {}
            _, page = await asking.took_ms("/console")
            assert f"{_AGENTS} agents" in page
            middle = f"agent-00100-1/development/{'a' * 8}"
            for path in (
                "/console", "/console?name=nothing", "/console?tier=low", "/console?tier=high&limit=200",
                f"/console?after={middle}", "/console?team=team-7&state=draft", "/console/alerts",
            ):  # fmt: skip
                found[path] = await _sampled(asking, path, rounds, asking.published)
            api: dict[str, list[float]] = {}
            for path in ("", "?q=nothing", "?limit=200", f"?after={middle}"):
                api[path] = await _sampled(asking, f"/api/v1/agents{path}", rounds, asking.published, api=True)
            cold = await _sampled(asking, "/api/v1/agents?tier=low", 2 if quick else 5, asking.published, api=True)
            warm = await _sampled(asking, "/api/v1/agents?tier=low", rounds, _nothing, api=True)
            found["/console?tier=low, known"] = await _sampled(asking, "/console?tier=low", rounds, _nothing)
            await asking.published()
            began = time.perf_counter()
            while "computed anew" in (await asking.took_ms("/console?tier=low"))[1]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.25)
            known_s = time.perf_counter() - began
            one = re.search(r"/console/agents/(agt_\w+)", page)
            assert one is not None
            agent = await _sampled(asking, f"/console/agents/{one[1]}", rounds, asking.published)
            await _second_admin(asking)
            for path in ("/console/inbox", "/console/people", "/console/people?name=nothing"):
                found[path] = await _sampled(asking, path, rounds, asking.asked_for_role)
            _, style = re.findall(r'href="(/console/static/[^"]+)"', page)[:2]
            reference = await _sampled(asking, style, rounds * 4, _nothing)
    for path, took in found.items():
        print(f"{path}: p95 {_p95(took):.0f} ms, median {statistics.median(took):.0f} ms")
    slowest, api_slowest = max(found, key=lambda path: _p95(found[path])), max(map(_p95, api.values()))
    print(f"the slowest list of the console is {slowest}")
    print(f"/api/v1/agents, four ways, the slowest: p95 {api_slowest:.0f} ms; of one tier, known: {_p95(warm):.0f} ms")
    print(f"/api/v1/agents of one tier, the first after a release: {statistics.median(cold):.0f} ms")
    print(f"every tier is known again after {known_s:.1f} s")
    print(f"one agent's page: the first {agent[0]:.0f} ms, then median {statistics.median(agent):.0f} ms")
    print(f"reference, a static file from the same process: p95 {_p95(reference):.1f} ms")
    report("console", {
        "list_ms": _p95(found[slowest]), "api_list_ms": api_slowest, "api_tier_ms": _p95(warm),
        "api_tier_cold_ms": statistics.median(cold), "tiers_known_s": known_s, "agent_ms": statistics.median(agent), "first_agent_ms": agent[0],
        "agents": _AGENTS, "records": records, "reference_ms": _p95(reference),
    })  # fmt: skip


async def _second_admin(asking: _Asking) -> None:
    """From here on roles take two persons, and wait in the inbox."""
    await asking.post("apply", {"files": [{"name": "f.json", "text": json.dumps(
        [_document("Person", None, {"email": "mira@example.com"})])}]})  # fmt: skip
    made = await asking.post("invitations", {"email": "mira@example.com"})
    async with asking.api.post("/api/v1/login", json={"link": made["link"].partition("#")[2], "name": "m"}) as answer:
        assert answer.status == 200, await answer.text()
    async with asking.api.get("/api/v1/persons", params={"limit": "200"}) as answer:
        asking.people.extend(one["id"] for one in (await answer.json())["items"] if one["email"].startswith("person-"))
    for _ in range(5):
        await asking.asked_for_role()


@contextlib.asynccontextmanager
async def _started(data: Path, records: int) -> AsyncIterator[_Asking]:
    builder = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--build", str(data), str(records), stdout=subprocess.PIPE
    )
    said, _ = await builder.communicate()
    if builder.returncode:
        raise SystemExit("the data directory was not built")
    built = json.loads(said)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    url, program = f"http://127.0.0.1:{port}", str(Path(sys.executable).with_name("accredit"))
    process = await asyncio.create_subprocess_exec(
        program, "up", "--data", str(data), "--port", str(port), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if not await asyncio.wait_for(process.stdout.readline(), 300):
            raise SystemExit("the installation did not start")
        jar, headers = aiohttp.CookieJar(unsafe=True), {"sec-fetch-site": "same-origin"}
        async with (
            aiohttp.ClientSession(base_url=url, cookie_jar=jar, headers=headers) as console,
            aiohttp.ClientSession(base_url=url, headers={"authorization": f"Bearer {built['token']}"}) as api,
        ):
            asking = _Asking(console, api)
            made = await asking.post(f"persons/{built['person']}/sign-in-link", {})
            form = {"link": made["link"].partition("#")[2]}
            async with console.post("/login", data=form, allow_redirects=False) as answer:
                assert answer.status == 303, await answer.text()
            yield asking
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.build:
        uvloop.run(_build(Path(given.build[0]), int(given.build[1])))
    else:
        uvloop.run(_measure(quick=given.quick))


if __name__ == "__main__":
    main()
