"""AuthZEN evaluations over HTTP with a durable record of each, against a bare ASGI server that answers a constant.

One process serves one installation whose release has types of another application: 200 users in groups, 1,000 records,
ten policies, none of them free of conditions. An enforcement point asks with 32 requests at once, each about another
user and record; singly, and 20 to a request. The client is a process of its own and, on two cores, half of the cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random  # noqa: TID251 - seeded draws, the same in every run
from typing import Any

import aiohttp
import orjson
import uvloop

from _mcp import Measured, drive
from _policies import CASE
from _report import report

_BATCH = 20
_USERS, _RECORDS = 200, 1_000
_POLICIES = """
permit (principal in Ext::group::"staff", action in [Action::"ext/read", Action::"ext/list"], resource is Ext::record)
when { resource.status == "active" };
permit (principal is Ext::user, action == Action::"ext/write", resource is Ext::record)
when { resource.owner == principal.id };
permit (principal in Ext::group::"leads", action == Action::"ext/write", resource in Ext::folder::"shared")
unless { resource.status == "archived" };
permit (principal in Ext::group::"admins", action == Action::"ext/delete", resource is Ext::record)
when { context.request has mfa && context.request.mfa };
forbid (principal is Ext::user, action == Action::"ext/delete", resource is Ext::record)
when { resource.status == "active" };
forbid (principal is Ext::user, action, resource is Ext::record)
when { principal has suspended && principal.suspended };
forbid (principal in Ext::group::"contractors", action == Action::"ext/write", resource is Ext::record)
unless { context.request has reason };
forbid (principal in Ext::group::"contractors", action, resource in Ext::folder::"finance");
forbid (principal is Ext::user, action == Action::"ext/list", resource is Ext::record)
when { context.action has limit && context.action.limit > 100 };
forbid (principal is Ext::user, action == Action::"ext/write", resource is Ext::record)
when { context.now.minute < 1 && context.request has remote };
"""


def _entities() -> str:
    chance = Random(7)
    groups = ["staff", "leads", "admins", "contractors"]
    found: list[dict[str, Any]] = [
        {
            "uid": {"type": "Ext::user", "id": f"u-{at}"},
            "attrs": {"suspended": at % 50 == 0},
            "parents": [{"type": "Ext::group", "id": name} for name in chance.sample(groups, 2)],
        }
        for at in range(_USERS)
    ]
    found += [
        {
            "uid": {"type": "Ext::record", "id": f"r-{at}"},
            "attrs": {"status": chance.choice(["active", "archived"]), "owner": f"u-{at % _USERS}"},
            "parents": [{"type": "Ext::folder", "id": chance.choice(["shared", "finance", "own"])}],
        }
        for at in range(_RECORDS)
    ]
    return json.dumps(found)


async def _constant(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """As fast as ASGI can: reads the body, parses it, answers."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = orjson.loads(body)
    one = {"decision": True, "context": {"evaluation_id": "dec_0123456789abcdef"}}
    answer = orjson.dumps({"evaluations": [one] * len(asked["evaluations"])} if "evaluations" in asked else one)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _serve_bare() -> None:
    from accredit.serving import bound, served

    async with served(_constant, bound("127.0.0.1", 0)) as url:
        print(url, "-", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def _serve(data: Path, profile: str) -> None:
    """One installation with one enforcement point; prints where it is and the point's key."""
    from accredit.bootstrap import run
    from accredit.serving import bound, served
    from accredit.settings import Settings

    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    settings = Settings(port=port, disk_reserve_mb=0)
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        http = await stack.enter_async_context(aiohttp.ClientSession(base_url=url))

        async def operate(path: str, body: Any) -> Any:
            async with http.post(path, json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        login = await operate("/api/v1/login", {"link": running.first_link})
        http.headers["authorization"] = f"Bearer {login['token']}"
        spec = {"types": ["user", "record"], "servers": [], "calls": {"perMinute": 1_000_000}}
        point = {"apiVersion": "accredit/v1", "kind": "EnforcementPoint", "metadata": {"name": "app"}, "spec": spec}
        await operate("/api/v1/apply", {"files": [{"name": "f.json", "text": json.dumps([point])}]})
        files = {"ext/app.cedar": _POLICIES, "ext/app.json": _entities(), "tests/any.yaml": CASE}
        await operate("/api/v1/policy/publish", {"files": files})
        key = (await operate("/api/v1/enforcement-points/app/keys", {}))["secret"]
        print(url, key, flush=True)
        if profile:
            import cProfile

            watch = cProfile.Profile(time.thread_time)  # waiting for the interpreter is not work
            watch.enable()
        await asyncio.to_thread(sys.stdin.readline)
        if profile:
            watch.disable()
            watch.dump_stats(profile)


def _questions() -> Iterator[dict[str, Any]]:
    chance = Random(11)
    while True:
        yield {
            "subject": {"type": "user", "id": f"u-{chance.randrange(_USERS)}"},
            "action": {"name": chance.choice(["read", "write", "list", "delete"]), "properties": {"limit": 50}},
            "resource": {"type": "record", "id": f"r-{chance.randrange(_RECORDS)}"},
            "context": {"mfa": True, "ip": "192.0.2.1"},
        }


def _asking(session: aiohttp.ClientSession, url: str, key: str, size: int) -> Callable[[], Any]:
    questions = _questions()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    at = f"{url}/access/v1/{'evaluation' if size == 1 else 'evaluations'}"

    async def ask() -> bool:
        some = list(itertools.islice(questions, size))
        body = orjson.dumps(some[0] if size == 1 else {"evaluations": some})
        async with session.post(at, data=body, headers=headers) as answer:
            told = orjson.loads(await answer.read())
            if answer.status != 200:
                return False
            return "decision" in told if size == 1 else len(told["evaluations"]) == size

    return ask


@contextlib.asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[tuple[str, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        url, _, key = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip().partition(" ")
        if not url:
            raise SystemExit(f"{arguments[0]} did not start")
        yield url, key
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()


async def _measure(*, quick: bool, profile: str) -> None:
    rounds, calls = (3, 1_500) if quick else (7, 6_000)
    with tempfile.TemporaryDirectory() as place:
        async with (
            _process("--bare") as (bare, nothing),
            _process("--serve", f"{place}/data", profile) as (url, key),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            figures: dict[str, list[float]] = {}
            latencies: list[float] = []
            errors = 0
            for size, name in ((1, "single"), (_BATCH, "batch")):
                for target, where, with_key in (("bare", bare, nothing), ("accredit", url, key)):
                    await drive(_asking(session, where, with_key, size), Measured(), calls=200, at_once=8)
                    figures[f"{target}_{name}"] = []
                for _ in range(rounds):
                    for target, where, with_key in (("bare", bare, nothing), ("accredit", url, key)):
                        done = Measured()
                        asks = calls if size == 1 else calls // 10
                        began = time.perf_counter()
                        await drive(_asking(session, where, with_key, size), done, calls=asks, at_once=32)
                        figures[f"{target}_{name}"].append(asks * size / (time.perf_counter() - began))
                        errors += done.errors
                        if target == "accredit" and size == 1:
                            latencies += done.latencies_s
    rate = {name: statistics.median(values) for name, values in figures.items()}
    print(f"one at a time, 32 requests in flight: {rate['accredit_single']:.0f} evaluations/s,"
          f" a constant answer {rate['bare_single']:.0f}/s")  # fmt: skip
    print(f"{_BATCH} to a request: {rate['accredit_batch']:.0f} evaluations/s")
    report("authzen", {
        "single_per_s": rate["accredit_single"], "batch_per_s": rate["accredit_batch"],
        "bare_per_s": rate["bare_single"], "ratio": rate["accredit_single"] / rate["bare_single"],
        "single_ms_p50": statistics.median(latencies) * 1000, "errors": errors,
    })  # fmt: skip


def main() -> None:
    """Measure and print; or be one of the two servers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--profile", default="", help="where the server writes a profile of itself")
    arguments.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.bare:
        uvloop.run(_serve_bare())
    elif given.serve:
        uvloop.run(_serve(Path(given.serve[0]), given.serve[1]))
    else:
        uvloop.run(_measure(quick=given.quick, profile=given.profile))


if __name__ == "__main__":
    main()
