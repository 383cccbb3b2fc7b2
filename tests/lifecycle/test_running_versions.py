"""The version in force, checked against the log all the time: what nobody approved is told of and stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.ids import CredentialId, ServerName
from accredit.lifecycle.discovery.findings import FindingKind
from accredit.monitoring.model import Alert, AlertKind
from accredit.policy.model import Outcome
from accredit.registry import rows
from accredit.registry.model import AgentState, RestrictionKind
from tests.lifecycle.house import House, agent, file, house, operator
from tests.state.installation import Installation as Place

DANA = operator("dana")
DAY_S = 86_400
OTHER_PROMPT = {"prompt": "sha256:" + "7" * 64}


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


async def looked(place: House, times: int = 1) -> list[Alert]:
    for _ in range(times):
        await place.room.running.round()
        await place.operations.watch()
    return [one for one in place.room.monitor.alerts() if one.kind is AlertKind.POSTURE_VERSION]


def tampered(place: House, kind: str, key: str) -> None:
    """A row changed in memory past the log, as only a fault of ours could."""
    row = place.control.view.get(kind, key)
    assert row is not None
    other = replace(row, digest=Digest("sha256:" + "9" * 64))
    place.control._state._rows[kind][key] = other


@pytest.mark.requirement("running:checked", "running:steady")
def test_a_row_that_is_not_what_the_log_says_is_told_of_once_it_stays_so_and_stopped(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            assert await looked(place, 3) == []
            tampered(place, rows.VERSION, found.version.digest)
            assert await looked(place) == [], "what is seen once may be on its way"
            (alert,) = await looked(place)
            assert alert.matter == "row"
            assert alert.evidence["expected"] != alert.evidence["seen"]
            assert place.agent().state is AgentState.QUARANTINED

    run(story())


@pytest.mark.requirement("running:steady")
def test_what_is_changed_through_the_doors_is_no_difference(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            for number in range(3):
                await place.operations.apply(DANA, file(agent(purpose=f"be governed {number}")))
                request = await place.operations.submit(DANA, found.id)
                assert request is not None
                assert await looked(place) == []
                await place.approve(request.id)
                await place.operations.activate(DANA, found.id)
                assert await looked(place) == []
            await place.operations.suspend(DANA, found.id, "a while")
            assert await looked(place, 2) == []

    run(story())


@pytest.mark.requirement("running:unproven")
@pytest.mark.parametrize("kind", ["agent", "version"])
def test_a_row_changed_in_the_file_passes_no_call_and_is_told_of_at_the_next_start(tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
        with closing(sqlite3.connect(Place(tmp_path).database)) as database:
            touched = database.execute(
                "UPDATE state SET doc = replace(CAST(doc AS TEXT), 'perMinute', 'perMinutes') "
                "WHERE kind = ? AND key = ?", (kind, found.id if kind == "agent" else found.version.digest),
            ).rowcount  # fmt: skip
            touched += database.execute(
                "UPDATE state SET digest = ? WHERE kind = ? AND key = ?",
                ("sha256:" + "0" * 64, kind, found.id if kind == "agent" else found.version.digest),
            ).rowcount
            database.commit()
        assert touched == 2
        async with house(tmp_path) as place:
            unproven = place.snapshot().unproven_for(found.id, ServerName("crm"), "read")
            assert unproven is Code.STATE_UNPROVEN
            (alert,) = await looked(place)
            assert (alert.agent, alert.matter) == (found.id, "unproven")
            assert any(one.startswith(f"{kind}/") for one in alert.evidence["seen"])
            assert len(await looked(place, 3)) == 1
            await place.room.discovery.look()
            kinds = {one.seen.kind for one in place.room.discovery.open_findings()}
            assert FindingKind.VERSION_MISMATCH in kinds

    run(story())


@pytest.mark.requirement("running:answered")
def test_another_prompt_of_a_low_agent_is_a_finding_and_stops_it_after_five_days(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            place.room.monitor.note_posture(found.id, CredentialId("crd_1"), OTHER_PROMPT)
            await place.operations.watch()
            assert place.agent().state is AgentState.ACTIVE
            assert place.decision().outcome is Outcome.ALLOW
            await place.room.discovery.look()
            (finding,) = place.room.discovery.open_findings(FindingKind.VERSION_MISMATCH)
            assert finding.due_us == finding.opened_us + 5 * DAY_S * 1_000_000
            place.clock.advance(5 * DAY_S - 1)
            await place.room.discovery.tidy()
            assert place.agent().state is AgentState.ACTIVE
            place.clock.advance(2)
            await place.room.discovery.tidy()
            assert place.agent().state is AgentState.SUSPENDED

    run(story())


@pytest.mark.requirement("running:answered")
def test_another_prompt_of_a_medium_agent_waits_for_a_person_and_is_a_finding(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(reach="company", autonomy="self-starting", audience="partners")
            assert found.tier is not None
            assert found.tier.value == "medium"
            place.room.monitor.note_posture(found.id, CredentialId("crd_1"), OTHER_PROMPT)
            await place.operations.watch()
            assert place.agent().state is AgentState.ACTIVE
            assert place.decision().outcome is Outcome.HOLD
            assert [one.kind for one in place.registry.restrictions_of(found.id)] == [RestrictionKind.HOLD]
            await place.room.discovery.look()
            assert place.room.discovery.open_findings(FindingKind.VERSION_MISMATCH)

    run(story())
