"""Incidents: opened by people and by one rule, frozen, and closed by somebody else where it is grave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.records import unauthenticated_entry
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, InvalidInputError, NotFoundError
from accredit.lifecycle.discovery.findings import FindingKind
from accredit.lifecycle.discovery.matching import Sighting
from accredit.lifecycle.discovery.model import TraceKind
from accredit.lifecycle.ghosts import FEW, GHOST_RULE, haunting
from accredit.lifecycle.stored import PurgeState
from accredit.monitoring.model import Alert, AlertKind, AlertState, Deviation, RemediationKind, Severity
from accredit.registry.model import Agent, Incident, Tier
from tests.lifecycle.house import House, agent, file, house, operator
from tests.stores.hostile import Shelf, item
from tests.stores.kinds import NAMESPACE
from tests.stores.test_purges import keeping, purged, settled

DANA, OLIVE, CORA, SAM, UNA = (operator(name) for name in ("dana", "olive", "cora", "sam", "una"))
DAY_US = 86_400_000_000


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


async def gone(place: House) -> tuple[Agent, str]:
    """A retired agent, and a credential that was its."""
    await place.tools()
    found = await place.active(stores=[])
    key = await place.operations.issue_agent_key(DANA, found.id, days=5)
    await place.retired()
    place.clock.advance(60)
    return found, key.credential.id


async def turned_away(place: House, credential: str, times: int) -> None:
    """Somebody presents the credential, and monitoring and the rule look at it."""
    for _ in range(times):
        now_us = place.clock.now().wall_us
        await place.log.append(
            unauthenticated_entry(
                Code.CREDENTIAL_REVOKED, time_us=now_us, source="10.0.0.1", path="/mcp", credential=credential
            )
        )
        place.clock.advance(1)
    await looked(place)


async def looked(place: House) -> None:
    await place.operations.watch()
    await place.room.incidents.round()


def ghosts(place: House, of: Agent) -> list[Incident]:
    return [one for one in place.registry.incidents_of(of.id) if one.rule == GHOST_RULE]


@pytest.mark.requirement("incident:ghost")
def test_a_retired_agent_that_goes_on_knocking_is_one_incident_and_one_that_is_let_in_a_grave_one(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found, credential = await gone(place)
            await turned_away(place, credential, FEW)
            assert ghosts(place, found) == [], "an instance that nobody stopped yet"
            await turned_away(place, credential, 2)
            (one,) = ghosts(place, found)
            (alert,) = [each for each in place.room.monitor.alerts(agent=found.id) if each.kind is AlertKind.GHOST]
            assert (one.severity, one.opened_by, one.linked) == (3, None, (alert.id,))
            await turned_away(place, credential, 20)
            assert ghosts(place, found) == [one], "one of each agent"
            # its provider tells of use: it was seen to succeed
            day = Sighting(
                TraceKind.USAGE, "openai-usage", "u.csv", name="digest", providers=("openai",), last_used="2026-11-24"
            )
            await place.room.discovery.discovered(SAM, [day], source="exports", complete=True)
            await looked(place)
            (graver,) = ghosts(place, found)
            assert (graver.id, graver.severity, [each.what for each in graver.events]) == (
                one.id, 1, ["opened", "raised"],
            )  # fmt: skip
            # a rule opened it, so whoever may closes it; what was looked into opens no other
            await place.room.incidents.close(SAM, one.id, "the key was deleted at the provider")
            await looked(place)
            assert [each.open for each in ghosts(place, found)] == [False]
            place.clock.advance(1)
            await turned_away(place, credential, 1)
            assert [each.open for each in ghosts(place, found)] == [False, True]

    run(story())


@pytest.mark.requirement("incident:ghost")
def test_what_is_reported_of_a_retired_agent_and_a_call_that_was_let_through_are_told_apart() -> None:
    def alert(kind: AlertKind, *, count: int = 1, last_us: int = 20, **evidence: Any) -> Alert:
        return Alert(
            f"alt_{kind}", None, kind, "m", Severity.WARNING, AlertState.OPEN, evidence, 11, RemediationKind.NONE,
            True, count, last_us,
        )  # fmt: skip

    assert haunting(10, [], [], []) is None
    assert haunting(10, [alert(AlertKind.GHOST, count=FEW)], [], []) is None
    assert haunting(10, [alert(AlertKind.NEW_TOOL, count=50)], [], []) is None
    refused = haunting(10, [alert(AlertKind.GHOST, count=FEW + 1)], [], [])
    reported = haunting(10, [alert(AlertKind.REPORTED_AGENT), alert(AlertKind.GHOST, count=9)], [], [])
    let_in = haunting(10, [alert(AlertKind.GHOST, decision="allow"), alert(AlertKind.REPORTED_AGENT)], [], [])
    assert [one.severity for one in (refused, reported, let_in) if one] == [3, 2, 1]
    # what was before it was retired, or before somebody closed an incident, is nothing
    assert haunting(30, [alert(AlertKind.GHOST, decision="allow")], [], []) is None
    assert haunting(10, [alert(AlertKind.GHOST, decision="allow")], [], [], since_us=20) is None


@pytest.mark.requirement("incident:freeze")
def test_what_an_incident_freezes_is_kept_from_every_purge_until_another_person_lifts_it(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(5)])
        async with house(tmp_path) as place:
            found = await keeping(place, shelf)
            incidents = place.room.incidents
            made = await incidents.open(SAM, [found.id], 2, "it wrote to a stranger")
            with pytest.raises(ForbiddenError):
                await incidents.freeze(DANA, made.id)
            frozen = await incidents.freeze(SAM, made.id)
            assert (await incidents.freeze(SAM, made.id)).holds == frozen.holds
            assert place.room.legal_holds.blocks(agent=found.id) == frozen.holds
            outcome = (await settled(place, (await purged(place, found.id)).id)).outcome
            assert outcome is not None
            assert (outcome.deleted, outcome.holds, shelf.deleted) == (0, frozen.holds, 0)
            # closing it lifts nothing
            await incidents.close(SAM, made.id, "the stranger was a colleague")
            assert place.room.legal_holds.blocks(agent=found.id) == frozen.holds
            with pytest.raises(ForbiddenError):
                await place.room.record_operations.lift_hold(SAM, frozen.holds[0], "over")
            await place.room.record_operations.lift_hold(CORA, frozen.holds[0], "over")
            after = await settled(place, (await purged(place, found.id)).id)
            assert (after.state, shelf.deleted) == (PurgeState.ENDED, 5)

    run(story())


@pytest.mark.requirement("incident:tier")
def test_a_grave_incident_holds_the_tier_of_every_agent_it_is_about_until_another_person_closes_it(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(stores=[])
            await place.operations.apply(DANA, file(agent("other", stores=[])))
            other, judging = place.agent("other"), place.room.judging
            assert judging.tier_of(found) is Tier.LOW
            made = await place.room.incidents.open(SAM, [found.id, other.id], 1, "both told a customer everything")
            for each in (found, other):
                tiering = judging.tiering(each, each.version)
                assert tiering.tier is Tier.HIGH
                assert next((one.rule, one.reason) for one in tiering.floors) == (
                    "incident", "an incident of severity 1 is open",
                )  # fmt: skip
            with pytest.raises(ForbiddenError) as alone:
                await place.room.incidents.close(SAM, made.id, "it is fine")
            assert alone.value.code is Code.SEPARATION_OF_DUTIES
            for who in (DANA, UNA):
                with pytest.raises(ForbiddenError):
                    await place.room.incidents.close(who, made.id, "it is fine")
            with pytest.raises(InvalidInputError):
                await place.room.incidents.close(CORA, made.id, "  ")
            closed = await place.room.incidents.close(CORA, made.id, "the customer was told")
            assert (closed.open, closed.closed_by) == (False, CORA.person)
            assert judging.tier_of(found) is Tier.LOW

    run(story())


@pytest.mark.requirement("incident:record")
def test_an_incident_names_only_what_is_there_and_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(stores=[])
            seen = Deviation(found.id, AlertKind.OWNERLESS, "asked", {}, place.clock.now().wall_us)
            await place.room.monitor.note(seen)
            (alert,) = place.room.monitor.alerts(agent=found.id)
            incidents = place.room.incidents
            for unknown in ("alt_none", "record:999999999", "record:-1", "record:1e3", "", "inc_none"):
                with pytest.raises(NotFoundError):
                    await incidents.open(SAM, [found.id], 3, "odd", linked=[unknown])
            with pytest.raises(InvalidInputError):
                await incidents.open(SAM, [found.id], 5, "odd")
            made = await incidents.open(SAM, [found.id, found.id], 3, "odd", linked=[alert.id, "record:0"])
            assert (made.agents, made.linked, made.opened_by) == ((found.id,), (alert.id, "record:0"), SAM.person)
            assert [(one.what, one.by, one.text) for one in made.events] == [("opened", SAM.person, "")]
            assert made.what == "odd"
        async with house(tmp_path) as place:
            assert place.registry.incidents() == (made,)
            assert place.room.discovery.findings.find(kind=FindingKind.GHOST) == ()

    run(story())
