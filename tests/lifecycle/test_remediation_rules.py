"""What a release says answers alerts, carried out among the real rooms."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from accredit.monitoring.model import Alert, AlertDisposition, AlertKind, AlertState, Deviation, RemediationKind
from accredit.registry.model import AgentState, RestrictionKind
from tests.lifecycle.house import House, house, operator
from tests.policies import with_cases

OLIVE, DANA, SAM = (operator(name) for name in ("olive", "dana", "sam"))
RULES = """
[[remediation]]
on = ["right-lost"]
do = "throttle"
calls_per_minute = 5
for = "2h"
mode = "act"

[[remediation]]
on = ["ownerless"]
do = "hold"
role = "compliance"

[[remediation]]
on = ["review"]
do = "suspend"
mode = "act"

[[remediation]]
on = ["new-tool"]
do = "drop-tool"
mode = "act"
"""
HELD = '@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);'


async def told(place: House, kind: AlertKind) -> Alert:
    """Somebody tells monitoring of it, and a round answers."""
    agent = place.agent().id
    await place.room.monitor.note(Deviation(agent, kind, "m", {}, place.clock.now().wall_us))
    await place.operations.watch()
    return next(one for one in place.room.monitor.alerts(agent=agent) if one.kind is kind)


@pytest.mark.requirement("monitoring:remediation:carried-out")
def test_rules_of_the_release_in_force_are_carried_out_for_their_time_or_rehearsed(tmp_path: Path) -> None:
    async def live() -> None:
        async with house(tmp_path) as place:
            await place.people()
            await place.tools()
            await place.active()
            before = await told(place, AlertKind.FINDING_OVERDUE)
            assert (before.remediation, before.rehearsed) == (RemediationKind.NONE, "")
            asked = await place.operations.publish(
                OLIVE, {**with_cases({"org/held.cedar": HELD}), "accredit.toml": RULES}
            )
            assert not isinstance(asked, str)
            await place.approve(asked.id)

            slowed = await told(place, AlertKind.RIGHT_LOST)
            (one,) = place.registry.restrictions_of(place.agent().id)
            assert (one.kind, one.calls_per_minute, one.alert) == (RestrictionKind.THROTTLE, 5, slowed.id)
            assert one.until_us - slowed.opened_us == pytest.approx(2 * 3_600_000_000, abs=60_000_000)
            assert place.room.monitor.alert(slowed.id).remedied  # type: ignore[union-attr]

            rehearsed = await told(place, AlertKind.OWNERLESS)
            assert (rehearsed.remediation, rehearsed.rehearsed) == (
                RemediationKind.NONE,
                "hold for compliance, 86400 s",
            )
            assert len(place.registry.restrictions_of(place.agent().id)) == 1

            narrowed = await told(place, AlertKind.NEW_TOOL)  # it is about no tool that could be dropped
            assert narrowed.restriction is RestrictionKind.READ_ONLY

            stopped = await told(place, AlertKind.REVIEW)
            assert place.agent().state is AgentState.SUSPENDED
            await place.operations.resolve(SAM, stopped.id, disposition=AlertDisposition.FALSE_POSITIVE)
            await place.operations.resume(SAM, place.agent().id, "a false alarm")
            assert place.agent().state is AgentState.ACTIVE
            assert place.room.monitor.alert(stopped.id).state is AlertState.RESOLVED  # type: ignore[union-attr]

    asyncio.run(asyncio.wait_for(live(), 60))
