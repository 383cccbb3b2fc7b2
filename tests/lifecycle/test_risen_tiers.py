"""A tier that rises under an agent in production, among the real rooms: whatever raised it, nothing goes unattended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, UnavailableError
from accredit.lifecycle.remedies import REMEDY
from accredit.monitoring.model import Alert, AlertDisposition, AlertKind, AlertState
from accredit.policy.model import Outcome
from accredit.registry import rows
from accredit.registry.model import AgentState, Restriction, RestrictionKind, Role, Tier
from tests.lifecycle.house import House, agent, file, house, operator, server
from tests.policies import with_cases

DANA, OLIVE, SAM, MIRA = (operator(name) for name in ("dana", "olive", "sam", "mira"))
DAY_S = 86_400
HELD = {"org/held.cedar": '@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);'}
PERSONAL = {"read": {"effect": "read", "data": ["internal", "personal"], "price": "0 USD"}}
MASKED = {"read": {**PERSONAL["read"], "fields": {"email": "personal"}}}
ENDING = {"write": {"effect": "irreversible", "data": ["internal"], "price": "0 USD"}}


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def agreement(expires: str | None) -> dict[str, Any]:
    spec = {"provider": "anthropic", "covers": ["personal"], "document": "sha256:" + "1" * 64, "expires": expires}
    return {"apiVersion": "accredit/v1", "kind": "Agreement", "metadata": {"name": "dpa-1"}, "spec": spec}


async def release(place: House, files: Mapping[str, str]) -> None:
    asked = await place.operations.publish(OLIVE, with_cases(files))
    assert not isinstance(asked, str)
    await place.approve(asked.id)


async def facts(place: House, **told: Any) -> None:
    """Facts of tools, by two persons."""
    await place.tools(server(**told))


async def incident(place: House) -> None:
    await place.room.incidents.open(SAM, [place.agent().id], 1, "it told a customer everything")


async def no_incident(place: House) -> None:
    for one in place.registry.incidents_of(place.agent().id):
        await place.room.incidents.close(operator("cora"), one.id, "explained")


async def delegate(place: House, *allow: str) -> None:
    """The agent that it may call is approved with these tools."""
    document = agent("helper", tools=[{"server": "crm", "allow": list(allow)}], delegates=[])
    await place.operations.apply(DANA, file(document))
    found = place.agent("helper")
    request = await place.operations.submit(DANA, found.id)
    assert request is not None
    await place.approve(request.id)
    await place.operations.activate(DANA, found.id)


@dataclass(frozen=True)
class Rise:
    """What an agent is approved as, what raises its tier later, and what puts that right."""

    tier: Tier
    spec: Mapping[str, Any]
    before: Callable[[House], Awaitable[object]]
    raised: Callable[[House], Awaitable[object]]
    righted: Callable[[House], Awaitable[object]]
    outcome: Outcome = Outcome.HOLD
    """Of a call while it is so: what its grant does not cover any more is refused anyway."""
    tool: str = "read"


async def _ready_for_personal(place: House) -> None:
    await place.operations.apply(MIRA, file(agreement("2027-01-10")))
    await facts(place, **PERSONAL)


async def _held(place: House) -> None:
    await facts(place, **ENDING)
    await release(place, HELD)


async def _delegating(place: House) -> None:
    await facts(place, **WRITE)
    await delegate(place, "read")


async def _expired(place: House) -> None:
    place.clock.advance(60 * DAY_S)


WRITE = {"write": {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"}}
RISES: Mapping[str, Rise] = {
    "a tool acts outside by the word of two": Rise(
        Tier.LOW,
        {},
        facts,
        lambda place: facts(place, read={"effect": "external", "data": ["internal"], "price": "0 USD"}),
        facts,
    ),
    "a tool carries more by the word of two": Rise(
        Tier.LOW, {}, facts, lambda place: facts(place, **PERSONAL), facts, Outcome.DENY
    ),
    "a mask is gone with its field": Rise(
        Tier.LOW,
        {"tools": [{"server": "crm", "allow": ["read"], "mask": ["personal"]}]},
        lambda place: facts(place, **MASKED),
        lambda place: facts(place, **PERSONAL),
        lambda place: facts(place, **MASKED),
        Outcome.DENY,
    ),
    "a release drops a hold": Rise(
        Tier.MEDIUM,
        {"tools": [{"server": "crm", "allow": ["read", "write"]}], "autonomy": "each-act-approved"},
        _held,
        lambda place: release(place, {}),
        lambda place: release(place, HELD),
    ),
    "an agreement ran out": Rise(
        Tier.HIGH,
        {
            "data": ["internal", "personal"],
            "models": [{"provider": "anthropic", "model": "claude-sonnet-5", "agreement": "dpa-1"}],
        },
        _ready_for_personal,
        _expired,
        lambda place: place.operations.apply(MIRA, file(agreement("2028-01-10"))),
    ),
    "an incident is opened": Rise(Tier.LOW, {}, facts, incident, no_incident),
    "whom it may call can do more": Rise(
        Tier.LOW,
        {"delegates": [{"agent": "helper", "tools": [{"server": "crm", "allow": ["read"]}]}]},
        _delegating,
        lambda place: delegate(place, "read", "write"),
        lambda place: delegate(place, "read"),
    ),
}


async def approved(place: House, rise: Rise) -> None:
    """In force under its tier, and nothing to tell of."""
    await rise.before(place)
    found = await place.active(**rise.spec)
    assert (found.state, found.tier) == (AgentState.ACTIVE, rise.tier)
    await place.operations.watch()
    assert place.decision(tool=rise.tool).outcome is Outcome.ALLOW
    assert told(place) == []


def told(place: House, state: AlertState | None = None) -> list[Alert]:
    found = place.room.monitor.alerts(agent=place.agent().id, state=state)
    return [one for one in found if one.kind is AlertKind.POSTURE_TIER]


def holds(place: House) -> list[Restriction]:
    return [one for one in place.registry.restrictions_of(place.agent().id) if one.kind is RestrictionKind.HOLD]


@pytest.mark.requirement("monitoring:tier:risen", "monitoring:tier:once", "monitoring:tier:over", "lifecycle:remedies")
@pytest.mark.parametrize("why", RISES)
def test_whatever_raises_the_tier_is_told_once_held_for_security_and_let_go_when_put_right(
    tmp_path: Path, why: str
) -> None:
    rise = RISES[why]

    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, rise)
            await rise.raised(place)
            for _ in range(3):
                await place.operations.watch()
                (alert,) = told(place)
                assert (alert.state, alert.remedied, alert.matter) == (AlertState.OPEN, True, rise.tier.value)
                (hold,) = holds(place)
                assert (hold.role, hold.tool, hold.alert, hold.until_approved) == (Role.SECURITY, None, alert.id, True)
                decision = place.decision(tool=rise.tool)
                assert decision.outcome is rise.outcome
                assert {need.role for need in decision.needs} <= {"security"}
            place.clock.advance(6 * DAY_S)
            await place.operations.watch()
            assert max(one.until_us for one in holds(place)) == place.clock.now().wall_us + 7 * DAY_S * 1_000_000
            await rise.righted(place)
            await place.operations.watch()
            assert [(one.id, one.state, one.remedied) for one in told(place)] == [(alert.id, AlertState.RESOLVED, True)]
            assert holds(place) == []
            assert place.decision(tool=rise.tool).outcome is Outcome.ALLOW
            kept = [one for one in place.room.timeline.of(place.agent().id) if one.kind == "restriction.lifted"]
            assert [one.basis for one in kept] == ["remediation", "remediation"]

    run(story())


@pytest.mark.requirement("monitoring:tier:approved-anew", "registry:tier:in-force")
def test_a_new_version_approved_under_the_tier_it_rose_to_ends_hold_and_alert(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            await place.operations.watch()
            (alert,) = told(place)
            await place.operations.restrict(
                SAM, place.agent().id, RestrictionKind.HOLD, cause="by hand", role=Role.SECURITY,
                until_us=place.clock.now().wall_us + DAY_S * 1_000_000,
            )  # fmt: skip
            await place.operations.apply(DANA, file(agent(purpose="be governed, and watched")))
            request = await place.operations.submit(DANA, place.agent().id)
            assert request is not None
            assert request.tier is Tier.HIGH
            await place.approve(request.id)
            assert place.decision().outcome is Outcome.HOLD, "approved, and not in force yet"
            await place.operations.activate(DANA, place.agent().id)
            assert place.agent().tier is Tier.HIGH
            assert [(one.alert, one.until_approved) for one in holds(place)] == [(None, False)], "what a person placed"
            await place.operations.lift_restriction(SAM, holds(place)[0].id, "looked at")
            assert place.decision().outcome is Outcome.ALLOW
            await place.operations.watch()
            (after,) = told(place)
            assert (after.id, after.state) == (alert.id, AlertState.RESOLVED)
            assert holds(place) == []

    run(story())


@pytest.mark.requirement("lifecycle:remedies:one")
def test_whoever_resolves_an_alert_again_and_again_leaves_room_for_every_other_restriction(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            for number in range(4):
                await place.operations.watch()
                (still,) = holds(place)
                assert place.decision().outcome is Outcome.HOLD
                (open_,) = [one for one in told(place) if one.closed_us is None]
                assert still.alert == open_.id
                if number < 3:
                    await place.operations.resolve(DANA, open_.id, "fine", disposition=AlertDisposition.EXPECTED_CHANGE)
                    place.clock.advance(1)
            await no_incident(place)
            await place.operations.watch()
            assert holds(place) == []

    run(story())


@pytest.mark.requirement("monitoring:tier:over")
def test_what_a_person_placed_and_what_another_alert_asked_for_stays_when_a_tier_is_right_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            later_us = place.clock.now().wall_us + DAY_S * 1_000_000
            found = place.agent().id
            placed = await place.operations.restrict(
                SAM, found, RestrictionKind.READ_ONLY, cause="by hand", until_us=later_us
            )
            other = await place.registry.restrict(
                found, RestrictionKind.HOLD, REMEDY, cause="alert", until_us=later_us,
                role=Role.SECURITY, alert="alr_other",
            )  # fmt: skip
            await incident(place)
            await place.operations.watch()
            assert len(place.registry.restrictions_of(found)) == 3
            await no_incident(place)
            await place.operations.watch()
            assert set(place.registry.restrictions_of(found)) == {placed, other}

    run(story())


@pytest.mark.requirement("monitoring:tier:once")
def test_a_call_that_is_held_for_a_risen_tier_is_let_through_by_security_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            await place.operations.watch()
            decision = place.decision()
            (need,) = decision.needs
            assert need.role == "security"
            assert need.policy == f"restriction/{holds(place)[0].id}"

    run(story())


@pytest.mark.requirement("monitoring:tier:unknown")
def test_an_agent_whose_tier_cannot_be_known_keeps_its_hold_and_the_others_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            await place.operations.watch()
            await no_incident(place)
            with monkeypatch.context() as tampered:
                tampered.setattr(type(place.control), "unproven", frozenset({(rows.INCIDENT, "inc_1")}))
                await place.operations.watch()
                with pytest.raises(UnavailableError):
                    place.room.judging.present(place.agent())
                assert [one.state for one in told(place)] == [AlertState.OPEN]
                assert place.decision().outcome is Outcome.HOLD
            await place.operations.watch()
            assert [one.state for one in told(place)] == [AlertState.RESOLVED]

    run(story())


@pytest.mark.requirement("policy:tier:none")
def test_an_agent_approved_under_no_tier_gets_nothing_through_in_production(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await facts(place)
            found = await place.active()
            row = place.control.view.get(rows.AGENT, found.id)
            assert row is not None
            doc = {key: value for key, value in row.doc.items() if key != "tier"}
            await place.put(Write(rows.AGENT, found.id, doc))
            assert place.agent().tier is None
            decision = place.decision()
            assert (decision.outcome, decision.code) == (Outcome.DENY, Code.ENTITY_INCOMPLETE)
            await place.operations.watch()
            assert told(place) == []

    run(story())


@pytest.mark.requirement("registry:tier:in-force")
def test_only_putting_a_version_in_force_sets_the_tier_an_agent_stands_in(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await facts(place)
            await place.operations.apply(DANA, file(agent()))
            assert place.agent().tier is None
            request = await place.operations.submit(DANA, place.agent().id)
            assert request is not None
            await place.approve(request.id)
            assert place.agent().tier is None
            await place.operations.activate(DANA, place.agent().id)
            assert place.agent().tier is Tier.LOW
            found = place.agent().id
            await incident(place)
            await place.operations.suspend(DANA, found, "a look")
            await place.operations.resume(OLIVE, found, "fine")
            await place.operations.quarantine(SAM, found, "drift")
            await place.operations.lift(SAM, found, "explained")
            assert place.agent().tier is Tier.LOW
            await place.operations.activate(DANA, found)  # again: nothing happens
            assert place.agent().tier is Tier.LOW
        async with house(tmp_path) as place:
            assert place.agent().tier is Tier.LOW

    run(story())


@pytest.mark.requirement("lifecycle:activate:clearance", "registry:tier:in-force")
def test_a_version_approved_under_one_tier_is_not_put_in_force_once_it_comes_to_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await facts(place)
            request = await place.submitted()
            await place.approve(request.id)
            await incident(place)
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, place.agent().id)
            assert refused.value.code is Code.CLEARANCE_REQUIRED
            assert place.agent().state is not AgentState.ACTIVE

    run(story())


@pytest.mark.requirement("lifecycle:remedies")
def test_a_hold_that_cannot_be_lifted_now_is_lifted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            await place.operations.watch()
            await no_incident(place)

            async def busy(*_: Any) -> None:
                raise ConflictError(Code.CONFLICT, "not now")

            with monkeypatch.context() as patched:
                patched.setattr(place.registry, "lift_restriction", busy)
                await place.operations.watch()
            assert len(holds(place)) == 1
        async with house(tmp_path) as place:
            await place.operations.watch()
            assert holds(place) == []
            assert [(one.state, one.remedied) for one in told(place)] == [(AlertState.RESOLVED, True)]

    run(story())


async def risen(place: House, days: int) -> int:
    """How many agents are suspended after so many more days and two looks."""
    place.clock.advance(days * DAY_S)
    await place.operations.watch()
    await place.operations.watch()
    return await place.room.risen.round()


@pytest.mark.requirement("tier:deadline")
def test_a_tier_that_rose_stops_the_agent_after_five_days_also_if_its_alert_was_called_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            assert await risen(place, 0) == 0
            assert await risen(place, 4) == 0
            (alert,) = told(place)
            await place.operations.acknowledge(SAM, alert.id, "looking")
            await place.operations.resolve(SAM, alert.id, "it is nothing", disposition=AlertDisposition.FALSE_POSITIVE)
            assert await risen(place, 0) == 0
            assert [one.state for one in told(place)] != [AlertState.RESOLVED], "another one tells of it"
            assert await risen(place, 1) == 1
            assert place.agent().state is AgentState.SUSPENDED
            assert await risen(place, 10) == 0
            await place.operations.resume(SAM, place.agent().id, "five more days")
            assert await risen(place, 4) == 0
            assert await risen(place, 1) == 1
            assert place.agent().state is AgentState.SUSPENDED

    run(story())


@pytest.mark.requirement("tier:deadline")
@pytest.mark.parametrize("answer", ["put right", "clock"])
def test_what_is_put_right_or_cannot_be_dated_stops_nobody(tmp_path: Path, answer: str) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await approved(place, RISES["an incident is opened"])
            await incident(place)
            assert await risen(place, 0) == 0
            if answer == "clock":
                place.steadiness.steady = False
            else:
                await no_incident(place)
            assert await risen(place, 6) == 0
            assert place.agent().state is AgentState.ACTIVE

    run(story())
