"""kill -9 under load, again and again: nothing answered is lost, nothing sent without its record, nothing is free."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251 - seeded here: rounds must repeat
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from accredit.audit.records import body_of, header_of, open_part, part_values
from accredit.offline import check_log, look_at
from accredit.sdk.identity import AsyncAgentIdentity
from accredit.serving import bound
from tests.enforcement.place import SECRET, ToolBox, agent, document, tool
from tests.gateway.stage import RawServer, Seen, answer_ok, legacy, modern

_ROOT = Path(__file__).parents[2]
_SEED = 20_261_124
_PRICE = 1_000_000
_CLIENTS = 4


@dataclass
class _Installation:
    """A data directory, its tool server and what its clients know."""

    data: Path
    port: int
    upstream: str
    arrived: dict[str, bool] = field(default_factory=dict)
    """By the argument that names a call: whether an admitting record was durable when it reached the tool server."""
    answered: set[str] = field(default_factory=set)
    """Calls whose client got the tool's answer."""
    identity: AsyncAgentIdentity | None = None
    operator: str = ""

    def admissions(self) -> int:
        """How many admitting records another process can read: those that are durable."""
        with closing(sqlite3.connect(f"file:{self.data / 'audit.db'}?mode=ro", uri=True, timeout=10)) as log:
            found = log.execute("SELECT coalesce(sum(allows), 0) FROM usage_daily").fetchone()
        return int(found[0])

    async def note(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        """The tool server: a call is only here if as many admissions are durable as calls have come."""
        name = seen.message["params"]["arguments"]["customer_id"]
        assert name not in self.arrived, "one call was sent twice"
        self.arrived[name] = False
        self.arrived[name] = self.admissions() >= len(self.arrived)
        await answer_ok(writer, seen)


@asynccontextmanager
async def _process(at: _Installation) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.loaded", str(at.data), str(at.port),
        cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = (await program.stdout.readline()).decode().split()
        assert len(line) == 2, "the process did not start"
        yield program, line[0], line[1]
    finally:
        if program.returncode is None:
            program.send_signal(signal.SIGKILL)
        await program.wait()


async def _prepared(at: _Installation) -> None:
    """Register one agent and let it enrol."""
    async with _process(at) as (_, url, link), httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:

        async def ask(method: str, path: str, body: Any) -> Any:
            answer = await http.request(method, f"/api/v1/{path}", json=body)
            assert answer.status_code < 300, answer.text
            return answer.json()

        at.operator = (await ask("POST", "login", {"link": link, "name": "test"}))["token"]
        http.headers["authorization"] = f"Bearer {at.operator}"
        origin = at.upstream.removesuffix("/mcp")
        await ask("PUT", "upstream-credentials/crm-key", {"origin": origin, "header": "Authorization", "value": SECRET})
        limits = {"calls": {"perMinute": 100_000}, "concurrency": 64, "cost": {"perDay": "1000 USD"},
                  "timeout": {"run": "24h"}}  # fmt: skip
        documents = [
            document("Person", None, {"email": "dana@example.com"}),
            document("Team", {"name": "support"}, {"zones": ["UTC"]}),
            document("ToolServer", {"name": "crm", "environment": "development"}, {
                "url": at.upstream, "credential": "crm-key",
                "tools": {"read": {"effect": "read", "data": ["internal"], "price": "0.001 USD"}}}),
            agent("worker", [{"allow": ["read"]}], limits=limits),
        ]  # fmt: skip
        await ask("POST", "apply", {"files": [{"name": "f.json", "text": json.dumps(documents)}]})
        made = await ask("POST", "agents/worker/join-tokens", {})
        at.identity = await AsyncAgentIdentity.enrol(url, made["join_token"])


async def _client(at: _Installation, url: str, name: str, *, modern_era: bool) -> None:
    """Call until the process is gone, each call under a name of its own."""
    assert at.identity is not None
    route = f"{url}/mcp/crm"
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        try:
            token = await at.identity.access_token(route)
            session = ""
            if not modern_era:
                body, headers = legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
                session = (await _post(http, route, token, body, headers)).headers["mcp-session-id"]
            number = 0
            while True:
                number += 1
                call = f"{name}-{number}"
                params = {"name": "read", "arguments": {"customer_id": call}}
                body, headers = modern(params=params) if modern_era else legacy("tools/call", params, session=session)
                answer = (await _post(http, route, token, body, headers)).json()
                assert not answer["result"].get("isError"), answer
                at.answered.add(call)
        except httpx2.TransportError:
            return  # killed


async def _post(
    http: httpx2.AsyncClient, route: str, token: str, body: bytes, headers: dict[str, str]
) -> httpx2.Response:
    given = {key: value for key, value in headers.items() if key != "host"} | {"authorization": f"Bearer {token}"}
    return await http.post(route, content=body, headers=given)


async def _killed_under_load(at: _Installation, draw: random.Random, number: int) -> None:
    async with _process(at) as (program, url, _):
        await _nothing_was_free(at, url)
        clients = [
            asyncio.create_task(_client(at, url, f"r{number}c{one}", modern_era=one % 2 == 0))
            for one in range(_CLIENTS)
        ]
        wanted, before = draw.randint(1, 60), len(at.answered)
        async with asyncio.timeout(60):
            while len(at.answered) - before < wanted and not any(client.done() for client in clients):
                await asyncio.sleep(0.001)
        await asyncio.sleep(draw.random() * 0.02)
        program.send_signal(signal.SIGKILL)
        async with asyncio.timeout(60):
            await asyncio.gather(*clients)


async def _nothing_was_free(at: _Installation, url: str) -> None:
    """What a process that just started says is spent covers every call that was answered, and nothing is open."""
    headers = {"authorization": f"Bearer {at.operator}"}
    async with httpx2.AsyncClient(trust_env=False, headers=headers, timeout=30) as http:
        shown = (await http.get(f"{url}/api/v1/agents/worker/limits")).json()
    assert (shown["reserved"], shown["in_flight"]) == ("0 USD", 0)
    spent = round(float(shown["spent"].split()[0]) * 1_000_000_000)
    admitted = at.admissions()
    assert _PRICE * len(at.answered) <= spent <= _PRICE * admitted, (len(at.answered), spent, admitted)


def _joined(at: _Installation) -> tuple[dict[str, str], dict[str, list[dict[str, Any]]]]:
    """Decision ids by the name of the call, and the outcomes of each decision."""
    named: dict[str, str] = {}
    ends: dict[str, list[dict[str, Any]]] = {}
    with look_at(at.data) as offline:
        records = offline.records()
        for record in records.records():
            header, body = header_of(record), body_of(record)
            if header["kind"] == "decision" and header["decision"] == "allow":
                arguments = part_values(open_part(record, "arguments", offline.part_keys))
                named[arguments["customer_id"]] = body["decision_id"]
            elif header["kind"] == "outcome":
                ends.setdefault(body["decision_id"], []).append(body)
        records.close()  # type: ignore[attr-defined]  # the reader that `look_at` opened for us
    return named, ends


@pytest.mark.timeout(1200)
@pytest.mark.requirement("faults:kill:load")
def test_kill_nine_under_load_loses_nothing_that_was_answered_and_sent_nothing_without_its_record(
    tmp_path: Path, rounds: int
) -> None:
    async def live() -> None:
        draw = random.Random(_SEED)
        box = ToolBox(tool("read"))
        with bound("127.0.0.1", 0) as probe:
            port = int(probe.getsockname()[1])
        async with RawServer(box).run() as raw:
            at = _Installation(tmp_path / "data", port, raw.url)
            box.answer = at.note
            await _prepared(at)
            where = ""
            for number in range(rounds):
                where = f"seed {_SEED}, round {number}"
                await _killed_under_load(at, draw, number)
                report = await asyncio.to_thread(check_log, at.data, opened=True)
                assert report.ok, f"{where}: {report.what}"
                with look_at(at.data) as offline:
                    diagnosis = offline.doctor.diagnose()
                assert diagnosis.sound, f"{where}: {diagnosis.differences}"
            async with _process(at) as (_, url, _):  # closes what the last round left open
                await _nothing_was_free(at, url)
            named, ends = await asyncio.to_thread(_joined, at)
            early = [name for name, recorded in at.arrived.items() if not recorded]
            assert early == [], f"{where}: sent before the record was durable"
            assert at.arrived.keys() <= named.keys(), f"{where}: sent without a record"
            assert at.answered <= at.arrived.keys(), f"{where}: answered by nobody"
            assert {name for name in named if len(ends.get(named[name], ())) != 1} == set(), f"{where}: ends"
            assert ends.keys() == set(named.values()), f"{where}: ends of nothing"
            codes = {body["end"] for found in ends.values() for body in found}
            assert codes <= {"ok", "unknown", "cancelled", "unreachable"}, f"{where}: {codes}"
            assert len(at.answered) >= rounds

    asyncio.run(live())
