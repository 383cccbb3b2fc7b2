"""Reviews (issue 6): how much of one is decided one by one, and how long a fleet takes to prepare.

A whole installation in this process, its control state and log on disk; agents and the roll-ups of their use are put in
by hand. `individual_percent` is of 50 agents with 40 permissions each: 5 % of the tools can do harm (a write to records,
external, irreversible or administering), 10 % of the others write what is the agent's own, the rest reads; of the
permissions 8 % were not used for 60 days or more, 1 % were granted since, and 0.5 % are refused too often. `hidden` counts
those that can do harm, are unused or new, and are not decided on by themselves.

`prepare_s` is the preparation of a campaign on 10,000 agents with 10 permissions each, half of them used on every day
of the last 90 (5 million rows of roll-ups): `begin_s`, until its reviews are durable; `cards_s`, every card with its
suggestions and the effect of each removal; `population_s`, every identity that was seen reconciled. `card_ms` is one
card. `--quick`: 1,000 agents. Reach: `individual_percent` <= 15, `hidden` 0, `prepare_s` <= 60.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _report import report
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Write
from accredit.bootstrap import Running, run
from accredit.identity.model import Operator
from accredit.kernel.ids import AgentId, PersonId, SeededIds
from accredit.lifecycle.reviews.cards import WhyAlone
from accredit.lifecycle.reviews.gathering import AgentCard
from accredit.registry import rows
from accredit.registry.model import Person, Role
from accredit.registry.organisation import RoleGrant
from accredit.registry.versions import facets, version_digest
from accredit.settings import Settings

_DAY_US = 86_400_000_000
_AT_ONCE, _TOOLS, _DAYS, _WIDE, _EACH = 250, 200, 90, 50, 40
_VERSIONS = 100
_WHO = Operator(PersonId("psn_bench"), "tok_bench", frozenset({"admin", "read"}), "roles")
_GRAVE = ({"effect": "write", "scope": "record"}, {"effect": "external"}, {"effect": "irreversible"},
          {"effect": "administer"})  # fmt: skip


def _below(draw: SeededIds, bound: int) -> int:
    return int.from_bytes(draw.secret(4)) % bound


def _document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": spec}
    return head | ({"metadata": metadata} if metadata else {})


def _effect(draw: SeededIds, number: int) -> dict[str, Any]:
    told: dict[str, Any] = {"effect": "read"}
    if number % 20 == 0:
        told = _GRAVE[_below(draw, len(_GRAVE))]
    elif _below(draw, 100) < 10:
        told = {"effect": "write", "scope": "own"}
    return {**told, "data": [("internal", "confidential", "personal")[_below(draw, 3)]], "price": "0 USD"}


async def _put(running: Running, writes: Sequence[Write]) -> None:
    for at in range(0, len(writes), _AT_ONCE):
        change = Change(Facts("bench.put"), tuple(writes[at : at + _AT_ONCE]), Actor(basis="system"), {})
        await running.plane.control.transact(lambda _, change=change: change)


async def _registered(running: Running, draw: SeededIds) -> dict[str, Any]:
    """People, a server with tools in production; the canonical form of an agent that is granted all of them."""
    names = [f"t{number}" for number in range(_TOOLS)]
    await _put(running, [
        Write(rows.PERSON, _WHO.person, rows.person_doc(Person(_WHO.person, "bench@example.com"), salt="00")),
        Write(rows.ROLE_GRANT, "rgr_bench", rows.role_grant_doc(
            RoleGrant("rgr_bench", Role.SECURITY, _WHO.person, None, frozenset(), 1))),
    ])  # fmt: skip
    documents = [
        _document("Team", {"name": "fleet"}, {"zones": ["UTC"]}),
        _document("ToolServer", {"name": "desk", "environment": "development"}, {
            "tools": {name: _effect(draw, number) for number, name in enumerate(names)},
            "definitions": {name: {"description": f"Does {name}.", "inputSchema": {"type": "object"}} for name in names},
        }),
        _document("Agent", {"name": "pattern", "team": "fleet", "environment": "development"}, {
            "purpose": "be reviewed", "owner": "bench@example.com", "data": ["internal", "confidential", "personal"],
            "tools": [{"server": "desk", "allow": names}], "models": [], "prompt": {"digest": "sha256:" + "0" * 64},
            "autonomy": "acts-unattended", "audience": "employees", "inputs": ["employees"], "reach": "department",
            "use": {"annex3": False, "decidesOnPeople": False},
        }),
    ]  # fmt: skip
    await running.plane.registry.apply([("bench.json", json.dumps(documents))], Actor(basis="system"))
    server = running.plane.control.view.get(rows.SERVER, "desk")
    pattern = running.plane.registry.catalogue.agents()
    (known,) = [one for one in pattern if one.name == "pattern"]
    assert server is not None
    await _put(running, [Write(rows.SERVER, "desk", {**server.doc, "environment": "production"})])
    form: dict[str, Any] = json.loads(json.dumps(running.plane.registry.versions(known.id)[-1].manifest, default=dict))
    return form


def _version(pattern: dict[str, Any], name: str, tools: Sequence[str]) -> tuple[str, Write]:
    chosen = [one for one in pattern["spec"]["tools"] if one["tool"] in set(tools)]
    form = {**pattern, "metadata": {**pattern["metadata"], "environment": "production", "name": name}}
    form["spec"] = {**pattern["spec"], "tools": chosen}
    digest = version_digest(form)
    return digest, Write(rows.VERSION, digest, {"digest": digest, "facets": facets(form), "manifest": form})


def _agent(name: str, version: str, since_us: int, history: list[dict[str, Any]], team: str) -> Write:
    return Write(rows.AGENT, f"agt_{name}", {
        "backup_owner": None, "candidate": None, "environment": "production", "halted_from": None, "history": history,
        "name": name, "owner": _WHO.person, "promoted_from": None, "registered_by": None, "registered_us": since_us,
        "state": "active", "state_us": since_us, "team": team, "tier": "medium", "version": version,
    })  # fmt: skip


def _rolled_up(data: Path, found: Sequence[tuple[int, str, str, int, int]]) -> None:
    """(day, agent, tool, allows, denies) as the writer would have counted them."""
    with sqlite3.connect(data / "audit.db", timeout=30) as file:
        file.executemany(
            "INSERT INTO usage_daily (day, agent, tool, allows, denies, holds, errors, cost_nanos, last_us)"
            " VALUES (?, ?, ?, ?, ?, 0, 0, 1000, ?)",
            ((day, agent, tool, allows, denies, day * _DAY_US) for day, agent, tool, allows, denies in found),
        )


async def _wide(running: Running, data: Path, pattern: dict[str, Any], draw: SeededIds) -> dict[str, float]:
    """50 agents with 40 permissions: how much of it is decided one by one, and whether anything is hidden."""
    now_us = running.plane.clock.now().wall_us
    today, since_us = now_us // _DAY_US, now_us - 100 * _DAY_US
    writes: list[Write] = []
    used: list[tuple[int, str, str, int, int]] = []
    for number in range(_WIDE):
        name = f"wide-{number}"
        tools = [f"desk/t{(number * 7 + each * 5 + each) % _TOOLS}" for each in range(_EACH)]
        fresh = {tool for tool in tools if _below(draw, 100) == 0}
        before, old = _version(pattern, name, [tool for tool in tools if tool not in fresh])
        version, new = _version(pattern, name, tools)
        writes += [old, *([new] if version != before else [])]
        history = [{"at_us": since_us, "by": None, "version": before}]
        if version != before:
            history.append({"at_us": now_us - 20 * _DAY_US, "by": None, "version": version})
        team = next(iter(running.plane.registry.catalogue.teams())).id
        writes.append(_agent(name, version, since_us, history, team))
        for tool in tools:
            idle = 60 + _below(draw, 35) if _below(draw, 100) < 8 else 1 + _below(draw, 30)
            denies = 20 if _below(draw, 200) == 0 else 0
            used.append((today - idle, f"agt_{name}", tool, 5, denies))
    await _put(running, writes)
    await asyncio.to_thread(_rolled_up, data, used)
    room = running.plane.room.reviews
    names = [f"wide-{number}" for number in range(_WIDE)]
    campaign = await room.start(_WHO, agents=names, reason="measured")
    cards = [await asyncio.to_thread(room.card, one.id) for one in room.reviews.of_campaign(campaign.id)]
    items = [item for card in cards for item in card.items]
    alone = [item for item in items if not item.routine]
    why = {WhyAlone.HIGH_EFFECT, WhyAlone.UNUSED, WhyAlone.NEW}
    grave = {tool.id for tool in running.plane.registry.catalogue.server(next(iter(
        running.plane.registry.catalogue.servers())).name).tools.values()  # type: ignore[union-attr]  # it is there
        if tool.effect.value in {"external", "irreversible", "administer"} or tool.scope == "record"}  # fmt: skip
    hidden = sum(
        item.routine and (item.tool in grave or item.idle_days >= 60 or bool(why & set(item.why_alone)))
        for item in items
    )
    assert sum(len(card.agent.version.every_grant) for card in cards) == _WIDE * _EACH
    return {
        "individual_percent": 100 * len(alone) / len(items),
        "high_effect_percent": 100 * sum(WhyAlone.HIGH_EFFECT in item.why_alone for item in items) / len(items),
        "unused_percent": 100 * sum(WhyAlone.UNUSED in item.why_alone for item in items) / len(items),
        "hidden": hidden,
    }


async def _fleet(running: Running, data: Path, pattern: dict[str, Any], size: int) -> dict[str, float]:
    """The preparation of a campaign on all of them."""
    now_us = running.plane.clock.now().wall_us
    today, since_us = now_us // _DAY_US, now_us - 100 * _DAY_US
    team = next(iter(running.plane.registry.catalogue.teams())).id
    versions = [
        _version(pattern, f"fleet-{number}", [f"desk/t{(number + each * 19) % _TOOLS}" for each in range(10)])
        for number in range(_VERSIONS)
    ]
    tools = [[one["tool"] for one in write.doc["manifest"]["spec"]["tools"]] for _, write in versions if write.doc]
    await _put(running, [write for _, write in versions])
    await _put(running, [
        _agent(f"fleet-{number}", versions[number % _VERSIONS][0], since_us, [], team) for number in range(size)
    ])  # fmt: skip
    for day in range(today - _DAYS, today):
        await asyncio.to_thread(_rolled_up, data, [
            (day, f"agt_fleet-{number}", tool, 3, 0)
            for number in range(size) for tool in tools[number % _VERSIONS][:5]
        ])  # fmt: skip
    room = running.plane.room.reviews
    began = time.perf_counter()
    campaign = await room.start(_WHO, teams=["fleet"], reason="measured")
    begun = time.perf_counter()
    reviews = room.reviews.of_campaign(campaign.id)
    alone = 0
    for at in range(0, len(reviews), _AT_ONCE):
        some = reviews[at : at + _AT_ONCE]
        made: list[AgentCard] = await asyncio.to_thread(room._cards.cards, campaign, some)  # noqa: SLF001 - in parts
        alone += sum(len(card.alone) for card in made)
    carded = time.perf_counter()
    identities = await asyncio.to_thread(room.identities, campaign)
    reconciled = time.perf_counter()
    took = []
    for one in reviews[:50]:
        single = time.perf_counter()
        await asyncio.to_thread(room.card, one.id)
        took.append((time.perf_counter() - single) * 1e3)
    assert len(reviews) >= size
    assert AgentId("agt_fleet-0") in {one.agent for one in reviews}
    return {
        "agents": len(reviews),
        "identities": len(identities),
        "begin_s": begun - began,
        "cards_s": carded - begun,
        "population_s": reconciled - carded,
        "prepare_s": reconciled - began,
        "card_ms": statistics.median(took),
    }


async def _measured(directory: Path, size: int) -> dict[str, float]:
    data, draw = directory / "data", SeededIds(6)
    async with run(data, Settings(disk_reserve_mb=0), port=0) as running:
        pattern = await _registered(running, draw)
        figures = await _wide(running, data, pattern, draw)
        return figures | await _fleet(running, data, pattern, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="accredit-bench-") as made:
        figures = asyncio.run(_measured(Path(made), 1_000 if quick else 10_000))
    print(
        f"50 agents with 40 permissions: {figures['individual_percent']:.1f} % decided one by one "
        f"({figures['high_effect_percent']:.1f} % can do harm, {figures['unused_percent']:.1f} % unused), "
        f"{figures['hidden']:.0f} hidden; a campaign on {figures['agents']:.0f} agents prepared in "
        f"{figures['prepare_s']:.1f} s (begun {figures['begin_s']:.1f}, cards {figures['cards_s']:.1f}, "
        f"population {figures['population_s']:.1f}), one card {figures['card_ms']:.1f} ms"
    )
    report("reviews", figures)


if __name__ == "__main__":
    main()
