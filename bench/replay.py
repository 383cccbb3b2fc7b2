"""How fast the past is judged again: by a candidate release, and exactly by what was in force (DESIGN §10, row `replay`).

A data directory is built first, by a process of its own: 10,000 agents of 100 kinds with five tools each, and calls of
1,000 of them as the gateway records them (a decision with three sealed parts, and the outcome of each that went
through), drawn with a fixed seed from a pool of distinct inputs: 80,000 for 1,000,000 calls. Then, with as many
processes as there are cores, their start, reading, unsealing and rebuilding of the control state included:

- `seconds`: a candidate that changes a guardrail in scope of every call, so that none is known to be untouched;
- `all_distinct_seconds`: one that reads an argument which no two calls have in common, so that nothing is asked once;
- `one_team_seconds`: one that changes a policy of one team of twenty;
- `reproduced`: the share of recorded decisions that come out again exactly by the releases and state of then;
- `simulate_s`, `simulate_rss_mb`: the first candidate validated, compared for all 10,000 agents, replayed and reported;
  the most that this process and its workers together resided in.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Awaitable, Iterator
from pathlib import Path
from random import Random  # noqa: TID251 - seeded draws, the same in every run
from typing import Any

import aiohttp
import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from _report import report

_BUSY, _KINDS, _TEAMS, _AHEAD, _AT_ONCE, _SESSIONS = 1_000, 100, 20, 4_000, 200, 64
_TOOLS: dict[str, dict[str, Any]] = {
    "read_customer": {"effect": "read", "data": ["personal"], "price": "0 USD"},
    "search_orders": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "refund_order": {"effect": "irreversible", "data": ["financial"], "price": "0 USD"},
    "label_ticket": {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"},
    "send_mail": {"effect": "external", "data": ["internal"], "price": "0 USD"},
}
_SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer"},
        "customer_id": {"type": "string"},
        "note": {"type": "string"},
        "reference": {"type": "string"},
    },
    "required": ["amount", "customer_id", "reference"],
}
_ORG = "org/amounts.cedar"
_AMOUNT = 'forbid (principal, action in Action::"@call_tool", resource) when {{ context.input.amount > {} }};'
_REFERENCE = (
    'forbid (principal, action in Action::"@call_tool", resource) when { context.input.reference like "*-internal" };'
)
_TEAM = (
    'forbid (principal in Team::"team-{}", action in Action::"@write", resource) when {{ context.input.amount > {} }};'
)
_CANDIDATES = {
    "seconds": {_ORG: _AMOUNT.format(850)},
    "all_distinct_seconds": {_ORG: _AMOUNT.format(950) + _REFERENCE},
    "one_team_seconds": {"team/team-7/own.cedar": _TEAM.format(7, 800)},
}
_CASE = """
servers: {probe: {tools: {look: {effect: read}}}}
agents: {stranger: {tools: []}}
cases: [{name: whoever has no grant, agent: stranger, call: {tool: probe/look}, expect: {outcome: deny}}]
"""


def policies() -> dict[str, str]:
    """Forty-one policies of the organisation, one of each team."""
    guardrails = [
        f'forbid (principal in Team::"team-{n}", action in Action::"@external", resource in DataClass::"personal");'
        for n in range(_TEAMS)
    ]
    guardrails += [
        f'forbid (principal in Team::"team-{n}", action in Action::"@write", resource) '
        f'unless {{ context has user && context.user has roles && context.user.roles.contains("role-{n}") }};'
        for n in range(_TEAMS)
    ]
    hold = '@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource) when { context.input.amount > 500 };'
    return {
        _ORG: _AMOUNT.format(950),
        "org/guardrails.cedar": "\n".join(guardrails),
        "org/holds.cedar": hold,
        **{f"team/team-{n}/own.cedar": _TEAM.format(n, 900) for n in range(_TEAMS)},
        "tests/any.yaml": _CASE,
    }


# -- what is replayed: a data directory, built by a process of its own


async def _crm(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A tool server that only says what it offers."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    asked = orjson.loads((await receive())["body"])
    tools = [{"name": name, "description": f"Does {name}.", "inputSchema": _SCHEMA} for name in _TOOLS]
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


def _agent(kind: int) -> dict[str, Any]:
    team = kind % _TEAMS
    return _document("Agent", {"name": f"agent-{kind:03d}", "team": f"team-{team}", "environment": "development"}, {
        "purpose": f"be replayed, by manifest {kind}", "owner": "dana@example.com",
        "data": ["personal", "internal", "financial"],
        "tools": [{"server": "crm", "allow": list(_TOOLS), "when": {"userRole": f"role-{team}"}}],
        "models": [], "prompt": {"digest": f"sha256:{kind:064x}"}, "autonomy": "acts-unattended",
        "audience": "employees", "inputs": ["employees"], "reach": "department",
        "use": {"annex3": False, "decidesOnPeople": False}, "limits": {"calls": {"perMinute": 60}},
    })  # fmt: skip


async def _multiply(running: Any, count: int) -> None:
    """Every registered agent again and again under another id and name, until there are that many."""
    from accredit.audit.model import Facts
    from accredit.audit.ports import Actor, Change, Write
    from accredit.kernel.ids import RandomIds
    from accredit.registry import rows

    ids, control = RandomIds(), running.plane.control
    known = list(control.view.scan(rows.AGENT))
    writes = [
        Write(rows.AGENT, ids.new("agt"), {**row.doc, "name": f"{row.doc['name']}-{again}"})
        for again in range(1, count // len(known))
        for row in known
    ]
    for at in range(0, len(writes), _AT_ONCE):
        change = Change(Facts("bench.multiplied"), tuple(writes[at : at + _AT_ONCE]), Actor(basis="system"), {})
        await control.transact(lambda _, change=change: change)


def _calls(agents: list[Any], count: int) -> Iterator[tuple[Any, str, str, int, int, int]]:
    """(agent, tool, customer, amount, session, call of the session): sessions of one to eight calls, 64 at a time."""
    draw, tools = Random(1), list(_TOOLS)
    each = max(1, count * 2 // 25 // len(agents))
    pool = [
        [(draw.choice(tools), f"c-{draw.randrange(10**6)}", draw.randrange(1000)) for _ in range(each)] for _ in agents
    ]
    newest = 0
    live: list[list[int]] = [[0, 0, 0, 0]] * _SESSIONS
    for number in range(count):
        place = number % _SESSIONS
        session, whose, made, of = live[place]
        if made == of:
            newest += 1
            session, whose, made, of = newest, draw.randrange(len(agents)), 0, draw.randint(1, 8)
        live[place] = [session, whose, made + 1, of]
        yield (agents[whose], *draw.choice(pool[whose]), session, made + 1)


async def _fill(log: Any, snapshot: Any, began_us: int, count: int) -> None:
    """That many calls, judged and recorded as enforcement does it, but for the network."""
    from accredit.enforcement.model import Call, CallEnd, CallResult
    from accredit.enforcement.records import Passage, decision_entry, outcome_entry
    from accredit.identity.model import Principal
    from accredit.kernel.ids import CredentialId, DecisionId, ServerName
    from accredit.limits.model import Reservation
    from accredit.policy.decide import decide
    from accredit.policy.model import CallRequest

    server = ServerName("crm")
    tools = snapshot.catalogue.server(server).tools
    agents = Random(2).sample(sorted(snapshot.catalogue.agents(), key=lambda agent: agent.name), _BUSY)
    made: dict[Any, Any] = {}
    waiting: deque[Awaitable[Any]] = deque()

    async def append(entry: Any) -> None:
        if len(waiting) == _AHEAD:
            await waiting.popleft()
        waiting.append(log.append(entry))

    for number, (agent, name, customer, amount, session, position) in enumerate(_calls(agents, count)):
        tool, time_us = tools[name], began_us + number
        arguments = {"amount": amount, "customer_id": customer, "note": "n" * 200, "reference": f"ord-{number:09d}"}
        role = agent.version.grants[0].user_role
        context = {
            "input": arguments,
            "now": {"minute": number // 1000 % 1440, "day": "wed", "date": "2026-11-25"},
            "session": {"id": f"ses_{session:026d}", "calls": position, "calls_of_tool": 1, "denied": 0, "seconds": position},
            "instance": {"calls": number},
            "actors": [],
            "user": {"id": "kim@example.com", "roles": [role, "employee"]},
            "task": {"id": f"T-{session}", "customer_id": customer},
        }  # fmt: skip
        principal = Principal(agent.id, CredentialId("crd_bench"), 1, 2**60, "")
        passage = Passage(
            call=Call(principal, server, name, arguments, "mcp/2026-07-28", "10.0.0.7"),
            decision_id=DecisionId(f"dec_{number:026d}"), time_us=time_us, boot_us=time_us, control=snapshot.position,
            snapshot=snapshot.digest, agent=agent, tool=tool, context=context, session=f"ses_{session:026d}",
            request=CallRequest(agent, tool.id, context, time_us=time_us),
            user="psd_zyxwvutsrqponmlkjihgfedcba", task="psd_abcdefghijklmnopqrstuvwxyz",
        )  # fmt: skip
        question = agent.id, name, customer, amount  # all that these policies read
        decision = made.get(question)
        if decision is None:
            decision = made[question] = decide(passage.request, snapshot.policy)
        passage.decision = decision
        if allowed := decision.outcome == "allow":
            passage.reservation = Reservation(f"rsv_{number:026d}", agent.id, 0, "2026-11-25")
        await append(decision_entry(passage, decision.outcome.value, decision.code))
        if allowed:
            ended = CallResult(CallEnd.OK, size=900)
            await append(outcome_entry(passage, ended, time_us=time_us + 1, boot_us=time_us + 1, cost_nanos=0))
    for each in waiting:
        await each


async def _build(data: Path, agents: int, calls: int) -> None:
    from accredit.audit.checkpoint import CheckpointSigner, log_origin
    from accredit.audit.writer import LogWriter
    from accredit.bootstrap import run
    from accredit.kernel.clock import SystemClock
    from accredit.kernel.ids import RandomIds
    from accredit.serving import bound, served
    from accredit.settings import Settings
    from accredit.storage.datadir import DataDirectory
    from accredit.storage.sqlite.records import SqliteRecordStore

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

        login = await operate("POST", "login", {"link": running.first_link})
        http.headers["authorization"] = f"Bearer {login['token']}"
        await operate("PUT", "upstream-credentials/key", {"origin": crm, "header": "Authorization", "value": "x" * 16})
        documents = [
            _document("Person", None, {"email": "dana@example.com"}),
            *(_document("Team", {"name": f"team-{number}"}, {"zones": ["UTC"]}) for number in range(_TEAMS)),
            _document("ToolServer", {"name": "crm", "environment": "development"},
                      {"url": f"{crm}/mcp", "credential": "key", "tools": _TOOLS}),
            *(_agent(kind) for kind in range(_KINDS)),
        ]  # fmt: skip
        await operate("POST", "apply", {"files": [{"name": "f.json", "text": json.dumps(documents)}]})
        await _multiply(running, agents)
        await operate("POST", "policy/publish", {"files": policies()})
        snapshot = running.plane.snapshots.current
        began_us = running.plane.clock.now().wall_us
    # nobody follows the log while it is filled
    gc.disable()
    ids, clock = RandomIds(), SystemClock()
    opened = DataDirectory.read(data, ids=ids)
    store = SqliteRecordStore(opened.audit_db, stream=None)
    key = opened.signing_key()
    public = key.public_key().public_bytes_raw().hex()[:16]
    signer = CheckpointSigner(log_origin(public, store.stream), key.private_bytes_raw())
    log = LogWriter(store, sealer=opened.sealer, signer=signer, clock=clock, ids=ids)
    try:
        await _fill(log, snapshot, began_us, calls)
    finally:
        log.close()
        store.close()
        opened.close()


# -- what is measured


@contextlib.contextmanager
def _installation(agents: int, calls: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="accredit-bench-") as directory:
        data, began = Path(directory) / "data", time.perf_counter()
        built = subprocess.run([sys.executable, __file__, "--build", str(data), str(agents), str(calls)], check=False)
        if built.returncode:
            raise SystemExit("the data directory was not built")
        size = sum(file.stat().st_size for file in data.glob("*.db*")) / 1e6
        print(
            f"{agents:,} agents of {_KINDS} kinds, {calls:,} calls of {_BUSY:,} of them and their outcomes: "
            f"{size:,.0f} MB, built in {time.perf_counter() - began:.0f} s."
        )
        yield data


def _took(call: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def _resident_mb() -> float:
    """The most that this process ever resided in, and as much for each worker as the largest of them."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (own + len(os.sched_getaffinity(0)) * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1e3


def _told(name: str, took: float, found: Any) -> None:
    kinds: Counter[str] = Counter()
    for one, count in found.changes.items():
        kinds[f"{one.before} -> {one.after}"] += count
    print(
        f"{name}: {took:.1f} s, {found.judged / took:,.0f} calls/s; of {found.judged:,}, {found.untouched:,} are "
        f"untouched and {found.again:,} judged again, with {found.distinct:,} questions in all workers; changed: "
        f"{dict(kinds)}; not repeatable: {dict(found.unrepeatable)}; {len(found.runs):,} runs."
    )


def _simulated(past: Any, history: Any) -> dict[str, float]:
    """A change of one policy of the organisation, from its text to the report."""
    from accredit.policy.difference import release_diff, slice_diff
    from accredit.policy.publish import ClaimKind, ContextTypes, Installation, publish
    from accredit.policy.simulation import simulation_report

    newest = next(history.calls(past.size() - 512)).snapshot
    catalogue, base = newest.catalogue, newest.policy
    fleet = {agent.id: agent for agent in catalogue.agents()}
    installation = Installation(
        servers=tuple(catalogue.servers()),
        teams=frozenset(team.name for team in catalogue.teams()),
        agents={agent.name: agent.id for agent in fleet.values()},
        types=ContextTypes(user={"roles": ClaimKind.STRINGS}),
        fleet=tuple(fleet.values()),
    )
    files = {**policies(), **_CANDIDATES["seconds"]}
    steps: dict[str, float] = {}
    steps["validate"], candidate = _took(lambda: publish(files, history.engine, installation))
    steps["compare"], changed = _took(lambda: slice_diff(base, base.with_release(candidate), fleet.values()))
    steps["replay"], found = _took(lambda: past.replay(candidate, 0, past.size()))
    steps["report"], report = _took(
        lambda: simulation_report(
            release_diff(base.release, candidate), changed, found, fleet, since_us=0, until_seq=past.size()
        ).document()
    )
    _told("seconds", steps["replay"], found)
    print(
        f"Simulated: {', '.join(f'{name} {took:.1f} s' for name, took in steps.items())}; {len(changed):,} of "
        f"{len(fleet):,} x {len(_TOOLS)} agents and tools have other rules, {report['denied']:,} calls would be denied, "
        f"{report['breaking']:,} runs would break."
    )
    return {"seconds": steps["replay"], "simulate_s": sum(steps.values()), "simulate_rss_mb": _resident_mb()}


def _measured(data: Path, *, quick: bool) -> dict[str, float]:
    from accredit.enforcement.sharding import ShardedHistory
    from accredit.offline import open_history
    from accredit.policy.release import read_release

    with open_history(data) as history:
        past = ShardedHistory(history, functools.partial(open_history, data))
        size = past.size()
        metrics = _simulated(past, history)  # first: what it resides in is to be its own
        for name in ("all_distinct_seconds",) if quick else ("all_distinct_seconds", "one_team_seconds"):
            release = read_release({**policies(), **_CANDIDATES[name]}, history.engine, agents={})
            metrics[name], found = _took(lambda release=release: past.replay(release, 0, size))
            _told(name, metrics[name], found)
        metrics["reproduce_s"], proof = _took(lambda: past.reproduce(0, size))
        metrics["reproduced"] = proof.same / proof.decisions
        print(
            f"Judged by what was in force then: {proof.same:,} of {proof.decisions:,} came out exactly so, in "
            f"{metrics['reproduce_s']:.1f} s."
        )
        return metrics


def main() -> None:
    """Build, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with _installation(*((1_000, 100_000) if quick else (10_000, 1_000_000))) as data:
        metrics = _measured(data, quick=quick)
    report("replay", {**metrics, "distinct": 8_000 if quick else 80_000})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        uvloop.run(_build(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
