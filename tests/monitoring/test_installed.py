"""Monitoring over the records of a real installation, as it writes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Write
from accredit.audit.records import body_of
from accredit.enforcement.model import Admitted
from accredit.kernel.errors import AccreditError, UnauthenticatedError
from accredit.kernel.ids import CredentialId
from accredit.monitoring.baselines import BaselineKeeper
from accredit.monitoring.model import AlertKind, PresentTier
from accredit.monitoring.novelty import SeenRefusal, seen_in
from accredit.monitoring.observing import ObservedTraffic
from accredit.monitoring.service import Monitor
from accredit.registry.catalogue import Catalogue
from accredit.registry.observation import Sighted
from tests.enforcement.place import WORKER, Place, place, tool


async def _watched(at: Place) -> Monitor:
    plane = at.running.plane

    def catalogue() -> Catalogue:
        return plane.snapshots.current.catalogue

    monitor = Monitor(
        plane.control,
        plane.records,
        BaselineKeeper(plane.control, catalogue),
        catalogue=catalogue,
        agent_of=lambda one: found.agent if (found := plane.identity.credential(one)) else None,
        clock=plane.clock,
        ids=at.site.ids,
        tier_of=lambda agent: PresentTier(agent.tier),
    )
    await monitor.start()
    return monitor


async def _found(at: Place, monitor: Monitor) -> set[tuple[AlertKind, str]]:
    await at.settled()
    await monitor.round()
    return {(alert.kind, alert.matter) for alert in monitor.alerts()}


@pytest.mark.requirement("monitoring:installed", "monitoring:posture:definition", "monitoring:novelty:tool")
def test_what_the_path_of_a_call_records_is_read_as_it_is_written(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            monitor = await _watched(at)
            who = await at.principal("worker")
            admitted = await at.admit(who)
            assert isinstance(admitted, Admitted)
            at.settle(admitted)
            assert await _found(at, monitor) == set()
            await at.admit(who, "count")
            await at.admit(who, "no-such-tool")
            at.site.box.tools[0] = tool("read") | {"description": "Does read, and sends it elsewhere."}
            at.site.clock.advance(31)
            await at.admit(await at.principal("worker"), "read")
            assert await _found(at, monitor) == {
                (AlertKind.NEW_TOOL, "crm/count"),
                (AlertKind.FIRST_DENIAL, "crm/count"),
                (AlertKind.NEW_TOOL, "unregistered"),
                (AlertKind.FIRST_DENIAL, "unregistered"),
                (AlertKind.POSTURE_DEFINITION, "crm/read"),
            }
            assert monitor.behind <= 5  # its own alerts, which open nothing further
            await monitor.round()
            assert monitor.behind == 0

    asyncio.run(live())


@pytest.mark.requirement("monitoring:installed", "observed:executed", "observed:counts")
def test_what_was_used_is_folded_from_the_records_of_real_calls(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            for _ in range(3):
                admitted = await at.admit(who)
                assert isinstance(admitted, Admitted)
                at.settle(admitted, result={"text": "card 4111 1111 1111 1111"})
            await at.admit(who, "count")
            await at.settled()
            traffic = ObservedTraffic(at.running.plane.records)
            now_us = at.running.plane.clock.now().wall_us
            assert traffic.catch_up(now_us, at_most=10_000)
            use = traffic.use(who.agent, now_us)
            (tool,) = use.tools
            assert (tool.tool, tool.level, tool.executed, tool.alone, tool.attended) == ("crm/read", 1, 3, 0, 0)
            (data,) = use.data
            assert (data.data_class, data.checked, data.sighted) == ("financial", 3, Sighted.COUNTS)

    asyncio.run(live())


@pytest.mark.requirement("monitoring:installed", "monitoring:ghost", "monitoring:ghost:clear")
@pytest.mark.parametrize("way", ["token", "old token", "key"])
def test_a_retired_agents_token_and_key_are_recognised_by_our_own_id_of_them(tmp_path: Path, way: str) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            monitor = await _watched(at)
            token = await at.token("worker")
            (shown,) = (await at.operator.get("credentials", agent="worker"))["items"]
            agent = (await at.operator.get("agents/worker"))["id"]
            await at.operator.post("agents/worker/revoke", {"reason": "over"})
            control = at.running.plane.control
            row = control.view.get("agent", agent)
            assert row is not None
            gone = Change(Facts("test.retired"), (Write("agent", agent, {**row.doc, "state": "retired"}),), Actor(), {})
            await control.transact(lambda _: gone)
            assert await _found(at, monitor) == set()
            if way == "key":
                at.site.clock.advance(600)
                with pytest.raises(AccreditError):
                    await at.token("worker")
            else:
                at.site.clock.advance(600 if way == "old token" else 0)
                with pytest.raises(UnauthenticatedError):
                    at.enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="10.0.0.1")
            assert await _found(at, monitor) == {(AlertKind.GHOST, shown["id"])}
            (record,) = [one for one in at.running.plane.records.records() if isinstance(seen_in(one), SeenRefusal)]
            seen = seen_in(record)
            assert isinstance(seen, SeenRefusal)
            assert seen.credential == CredentialId(shown["id"])
            assert body_of(record).keys() == {"code", "credential", "parts"}

    asyncio.run(live())


@pytest.mark.requirement("monitoring:profiles:installed")
def test_sessions_of_a_real_installation_are_kept_once_they_are_over_and_come_out_the_same_again(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            for _ in range(3):
                admitted = await at.admit(who)
                assert isinstance(admitted, Admitted)
                at.settle(admitted)
            await at.admit(who, "no-such-tool")
            await at.settled()
            room, agent = at.running.plane.room, at.running.plane.snapshots.current.catalogue.agent(who.agent)
            assert agent is not None
            await room.sessions.round()
            assert await room.sessions.newest(agent, 10) == []
            at.site.clock.advance(31 * 60)
            await room.sessions.round()
            (kept,) = await room.sessions.newest(agent, 10)
            assert [(call.tool, call.outcome.value) for call in kept.profile.calls] == [
                ("crm/read", "ok"), ("crm/read", "ok"), ("crm/read", "ok"), ("", "denied"),
            ]  # fmt: skip
            assert kept.profile.features["repeats"] == 2
            assert not kept.profile.in_part
            assert await room.sessions.one(agent, kept.profile.session) == kept
            await asyncio.to_thread(room.sessions.profiles.restart)
            assert await room.sessions.newest(agent, 10) == []
            await room.sessions.round()
            assert await room.sessions.newest(agent, 10) == [kept]

    asyncio.run(live())
