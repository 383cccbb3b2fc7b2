"""Discovery of a fleet of 10,000 agents (issue 6): a look at what is registered, a scan's report, and a scan.

Control state is in memory and holds 10,000 agents in production with a credential each; the roll-ups of 60 days, 5 tools
a day for each agent that is used, lie in a database on disk. Of the agents 2 % have not been used, 1 % have lost their
owner, and 1 % are past their last day. `look_s` is the first look, which opens the findings on them as far as one look
opens any; `again_s` the next, which finds nothing new; `rollups_s` what of it is reading use. `match_s` matches 2,000
traces to the fleet. `scan_files_per_s` is a scan of a folder of source files and configurations, of which every
twentieth speaks of an agent. `--quick`: 1,000 agents. Reach: `look_s` + `match_s` <= 60.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from _report import report
from accredit.audit.model import Facts, Usage, UsageDay
from accredit.audit.ports import Actor, Change, Commit, Write
from accredit.identity import rows as identity_rows
from accredit.identity.model import Credential, CredentialState, OpaqueKey
from accredit.identity.state import IdentityState
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import AgentId, CredentialId, PersonId, RandomIds
from accredit.lifecycle.discovery.findings import FindingKind
from accredit.lifecycle.discovery.keys import FoundKeys
from accredit.lifecycle.discovery.matching import Sighting, match
from accredit.lifecycle.discovery.model import TraceKind
from accredit.lifecycle.discovery.scan import scan
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.discovery_operations import DiscoveryOperations
from accredit.registry import rows
from accredit.registry.model import Person
from accredit.registry.service import Registry
from accredit.registry.versions import facets, version_digest
from accredit.storage.memory.control import MemoryControlLog
from accredit.storage.sqlite.records import SqliteRecordStore

_NOW_US = 1_795_392_000_000_000
_DAY_US = 86_400_000_000
_TODAY = _NOW_US // _DAY_US
_DAYS, _TOOLS, _AT_ONCE = 60, 5, 200


def _manifest(name: str, owner: str, expires: str | None) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "audience": "employees", "autonomy": "suggests", "backupOwner": None, "businessService": None,
        "data": ["internal"], "delegates": [], "expires": expires, "hours": None, "inputs": ["employees"],
        "limits": {"callTimeoutMs": 30_000, "callsPerMinute": 60, "concurrency": 2, "costPerDay": None,
                   "runTimeoutMs": 1_200_000},
        "models": [], "owner": owner, "prompt": {"digest": "sha256:" + "0" * 64}, "purpose": "be found", "reach": "team",
        "stores": [], "tools": [], "use": {"annex3": False, "decidesOnPeople": False},
    }  # fmt: skip
    about = {"environment": "production", "name": name, "team": "team_1"}
    return {"apiVersion": "accredit/v1", "kind": "Agent", "metadata": about, "spec": spec}


def _fleet(size: int) -> list[Write]:
    """Every 50th unused, every 100th (and 50 on) without an owner, every 100th (and 25 on) past its last day."""
    writes = [Write(rows.TEAM, "team_1", {"name": "support", "zones": []})]
    for name, left in (("psn_here", False), ("psn_left", True)):
        person = Person(PersonId(name), f"{name}@example.com", left=left)
        writes.append(Write(rows.PERSON, name, rows.person_doc(person, salt="00")))
    long_ago = _NOW_US - 200 * _DAY_US
    for number in range(size):
        agent, owner = f"agt_{number:06}", "psn_left" if number % 100 == 51 else "psn_here"
        form = _manifest(f"agent-{number}", owner, "2026-01-01" if number % 100 == 26 else None)
        digest = version_digest(form)
        writes += [
            Write(rows.VERSION, digest, {"digest": digest, "facets": facets(form), "manifest": form}),
            Write(rows.AGENT, agent, {
                "backup_owner": None, "candidate": None, "environment": "production", "halted_from": None,
                "history": [], "name": f"agent-{number}", "owner": owner, "promoted_from": None, "registered_by": None,
                "registered_us": long_ago, "state": "active", "state_us": long_ago, "team": "team_1", "version": digest,
            }),
            Write(identity_rows.EPOCH, agent, {"epoch": 1}),
            Write(identity_rows.CREDENTIAL, f"crd_{number:06}", identity_rows.credential_doc(Credential(
                CredentialId(f"crd_{number:06}"), AgentId(agent), "", {}, CredentialState.ACTIVE, long_ago,
                OpaqueKey(f"{number:064x}", "production", 1, "", _NOW_US + 90 * _DAY_US),
            ))),
        ]  # fmt: skip
    return writes


def _use(store: SqliteRecordStore, size: int) -> None:
    one = Usage(allows=3, cost_nanos=1_000_000)
    for day in range(_TODAY - _DAYS, _TODAY + 1):
        store.commit(
            Commit((), (), {}, [
                UsageDay(day, f"agt_{number:06}", f"crm/tool_{tool}", one, day * _DAY_US + number)
                for number in range(size) if number % 50
                for tool in range(_TOOLS)
            ])
        )  # fmt: skip


async def _furnished(directory: Path, size: int) -> DiscoveryOperations:
    control, clock, ids = MemoryControlLog(), ScriptedClock(_NOW_US), RandomIds()
    writes = _fleet(size)
    for at in range(0, len(writes), _AT_ONCE):
        some = Change(Facts("bench.put"), tuple(writes[at : at + _AT_ONCE]), Actor(), {})
        await control.transact(lambda _, some=some: some)  # type: ignore[misc]  # one change at a time
    store = SqliteRecordStore(directory / "audit.db", stream="str_bench")
    _use(store, size)
    registry = Registry(control, ids, clock, cast(Any, None), bootstrapping=lambda: False)
    return DiscoveryOperations(
        findings=Findings(control, ids, clock),
        keys=FoundKeys(control, ids, clock),
        operations=cast(Any, None),
        registry=registry,
        identity=IdentityState(control),
        lifecycle=cast(Any, None),
        people=cast(Any, None),
        monitor=cast(Any, SimpleNamespace(alerts=lambda: ())),
        broker=cast(Any, SimpleNamespace(credentials=lambda: ())),
        records=store,
        clock=clock,
        public_url="https://gate.example.com",
    )


async def _looks(directory: Path, size: int) -> dict[str, float]:
    discovery = await _furnished(directory, size)
    began = time.perf_counter()
    discovery._records.last_use(since_day=_TODAY - _DAYS)  # noqa: SLF001 - measured apart from the look
    rollups = time.perf_counter()
    await discovery.look()
    looked = time.perf_counter()
    opened = discovery.findings.find(open_=True)
    while True:  # one look opens a few hundred at most
        before = len(discovery.findings.find(open_=True))
        await discovery.look()
        if len(discovery.findings.find(open_=True)) == before:
            break
    settled = time.perf_counter()
    await discovery.look()
    again = time.perf_counter()
    kinds = [one.seen.kind for one in discovery.findings.find(open_=True)]
    due = {FindingKind.ZOMBIE: size // 50, FindingKind.ORPHAN: size // 100, FindingKind.EXPIRED: size // 100}
    missed = sum(abs(kinds.count(kind) - count) for kind, count in due.items())
    base = Sighting(TraceKind.CLIENT, "cursor", "a/.cursor/mcp.json", "tracker", command="npx tracker")
    traces = [
        replace(base, path=f"{number}/.mcp.json", urls=(f"https://tools{number}.example.com/mcp",)) if number % 2
        else replace(base, kind=TraceKind.CODE, name=f"agent-{number}", command="")
        for number in range(2_000)
    ]  # fmt: skip
    matching = time.perf_counter()
    match(traces, discovery.inventory())
    matched = time.perf_counter()
    return {
        "agents": size,
        "findings": len(kinds),
        "missed": missed,
        "opened_first": len(opened),
        "rollups_s": rollups - began,
        "look_s": looked - rollups,
        "settled_s": settled - rollups,
        "again_s": again - settled,
        "match_s": matched - matching,
    }


def _scanned(directory: Path, files: int) -> dict[str, float]:
    for number in range(files):
        folder = directory / f"{number % 97}" / f"{number % 13}"
        folder.mkdir(parents=True, exist_ok=True)
        if number % 20:
            lines = "\n".join(f"def f{line}(x):\n    return x + {line}" for line in range(60))
            (folder / f"m{number}.py").write_text(f"import os\n{lines}\n")
        elif number % 40:
            (folder / f"a{number}.py").write_text("from pydantic_ai import Agent\nAgent('m', name='a')\n")
        else:
            servers = {f"s{each}": {"command": "npx", "args": ["-y", f"s{each}-mcp"]} for each in range(3)}
            (folder / f"c{number}.json").write_text(json.dumps({"mcpServers": servers}))
    began = time.perf_counter()
    found = scan(directory, salt=b"0" * 32)
    seconds = time.perf_counter() - began
    return {"scan_files_per_s": found.files / seconds, "traces": len(found.traces)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        figures = asyncio.run(_looks(directory, 1_000 if quick else 10_000))
        (directory / "tree").mkdir()
        figures |= _scanned(directory / "tree", 1_000 if quick else 10_000)
    print(
        f"{figures['agents']} agents: first look {figures['look_s']:.2f} s, all {figures['findings']} findings after "
        f"{figures['settled_s']:.2f} s, a look that finds nothing new {figures['again_s']:.2f} s; "
        f"2,000 traces matched in {figures['match_s']:.2f} s; {figures['scan_files_per_s']:.0f} files a second scanned"
    )
    report("discovery", figures)


if __name__ == "__main__":
    main()
