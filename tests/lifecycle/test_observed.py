"""The tier under observation, among the real rooms: more than declared is held at once, told of, stopped in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.notices import notices_of
from accredit.audit.model import Entry
from accredit.audit.ports import Change
from accredit.lifecycle.discovery.findings import FindingKind, FindingState
from accredit.monitoring.deadlines import ANSWER_US, deadline_told
from accredit.monitoring.model import Alert, AlertKind
from accredit.monitoring.rows import OBSERVED
from accredit.policy.model import Outcome
from accredit.registry.model import Agent, AgentState, RestrictionKind, Tier
from tests.lifecycle.house import House, agent, file, house, operator, server
from tests.monitoring.traffic import traffic

DANA, OLIVE, SAM = operator("dana"), operator("olive"), operator("sam")
DAY_S = 86_400


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


async def log(place: House, *entries: Entry) -> None:
    await asyncio.gather(*[place.log.append(one) for one in entries])


async def seen(place: House, found: Agent, count: int = 3, **told: Any) -> None:
    """So many calls of an agent under its version in force, read and weighed."""
    about: dict[str, Any] = {
        "tool": "crm/read",
        "version": found.version.digest,
        "at_us": place.clock.now().wall_us,
    } | told
    await log(place, *traffic(found.id, count, **about))
    await looked(place)


async def looked(place: House) -> None:
    """The background rounds, until nothing of them is left."""
    for _ in range(2):
        await place.room.observed.look()
        await place.operations.watch()
    await place.room.observed.look()


def risen(place: House, name: str = "digest") -> list[Alert]:
    found = place.room.monitor.alerts(agent=place.agent(name).id)
    return [one for one in found if one.kind is AlertKind.POSTURE_TIER and one.closed_us is None]


def findings(place: House) -> dict[FindingKind, Mapping[str, Any]]:
    return {one.seen.kind: one.seen.evidence for one in place.room.discovery.open_findings()}


async def another(place: House, name: str, **spec: Any) -> Agent:
    """One more agent in force."""
    await place.operations.apply(DANA, file(agent(name, **spec)))
    found = place.agent(name)
    request = await place.operations.submit(DANA, found.id)
    assert request is not None
    await place.approve(request.id)
    await place.operations.activate(DANA, found.id)
    return place.agent(name)


@pytest.mark.requirement("observed:answered", "observed:explained")
def test_undeclared_data_in_results_is_held_at_once_found_explained_and_stopped_after_five_days(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            assert found.tier is Tier.LOW
            await looked(place)
            assert place.decision().outcome is Outcome.ALLOW
            await seen(place, found, detected={"card": 1})
            (alert,) = risen(place)
            assert alert.evidence["seen"] == "high"
            assert alert.evidence["observed"] == ["`crm/read` carried `financial`"]
            assert place.decision().outcome is Outcome.HOLD
            assert [one.kind for one in place.registry.restrictions_of(found.id)] == [RestrictionKind.HOLD]
            evidence = findings(place)[FindingKind.UNDER_DECLARED]
            assert evidence["suspended_us"] == alert.opened_us + 5 * DAY_S * 1_000_000
            (finding,) = place.room.discovery.open_findings()
            (view,) = place.room.discovery.views([finding])
            assert (finding.due_us, view.owner) == (finding.opened_us + 5 * DAY_S * 1_000_000, found.owner)
            shown = place.room.dossiers.of(found.id)
            assert shown.observed is not None
            data = shown.observed.windows[-1].factors[0]
            assert (data.name, data.declared, data.observed, data.higher) == ("data", 1, 3, True)
            records = [place.records.rows(position, position + 1) for position in data.records]
            assert len(list(records)) == 3
            assert shown.tiering is not None
            assert shown.tiering.tier is Tier.HIGH
            place.clock.advance(4.9 * DAY_S)
            await place.room.risen.round()
            assert place.agent().state is AgentState.ACTIVE
            place.clock.advance(0.1 * DAY_S)
            await place.room.risen.round()
            assert place.agent().state is AgentState.SUSPENDED

    run(story())


@pytest.mark.requirement("observed:answered", "observed:over")
def test_declaring_it_and_having_that_approved_ends_the_hold_and_the_finding(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
            await place.operations.apply(DANA, file(agent(data=["internal", "financial"])))
            request = await place.operations.submit(DANA, found.id)
            assert request is not None
            assert request.tier is Tier.HIGH
            await place.approve(request.id)
            await place.operations.activate(DANA, found.id)
            await looked(place)
            assert place.agent().tier is Tier.HIGH
            assert risen(place) == []
            assert place.decision().outcome is Outcome.ALLOW
            assert FindingKind.UNDER_DECLARED not in findings(place)

    run(story())


@pytest.mark.requirement("observed:answered")
def test_a_newer_version_that_declares_as_little_is_judged_by_what_was_observed(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
            await place.operations.apply(DANA, file(agent(purpose="be governed again")))
            request = await place.operations.submit(DANA, found.id)
            assert request is not None
            assert request.tier is Tier.HIGH

    run(story())


@pytest.mark.requirement("observed:triage")
def test_what_was_seen_once_is_for_people_and_holds_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, 2, detected={"card": 1})
            assert risen(place) == []
            assert place.decision().outcome is Outcome.ALLOW
            evidence = findings(place)[FindingKind.DATA_SEEN]
            assert (evidence["classes"], evidence["tools"]) == (["financial"], ["crm/read"])
            assert len(evidence["records"]) == 2
            view = await asyncio.to_thread(place.room.observed.view, place.agent())
            assert [(one.data_class, one.checked) for one in view.once] == [("financial", 2)]

    run(story())


@pytest.mark.requirement("observed:restart")
def test_a_start_takes_nothing_back_before_all_of_the_window_is_read(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
            assert risen(place)
        async with house(tmp_path) as place:
            for _ in range(3):
                await place.operations.watch()
            assert len(risen(place)) == 1
            assert place.decision().outcome is Outcome.HOLD
            assert place.room.judging.tier_of(place.agent()) is Tier.HIGH
            await looked(place)
            assert len(risen(place)) == 1
            place.clock.advance(31 * DAY_S)
            await looked(place)
            assert risen(place) == [], "nothing in the window shows it any more"
            assert place.room.judging.tier_of(place.agent()) is Tier.LOW

    run(story())


@pytest.mark.requirement("observed:restart")
def test_while_the_window_is_read_what_is_found_only_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
            before = place.room.judging.tier_of(place.agent())
        monkeypatch.setattr("accredit.lifecycle.observed_operations._MOST_READ", 1)
        async with house(tmp_path) as place:
            for _ in range(5):
                await place.room.observed.round()
                assert place.room.judging.tier_of(place.agent()) is before is Tier.HIGH

    run(story())


@pytest.mark.requirement("observed:folded")
def test_a_large_fleet_is_weighed_in_parts_and_everybodys_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accredit.lifecycle.observed_operations._MOST_WEIGHED", 1)

    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = [await place.active(), await another(place, "second"), await another(place, "third")]
            now_us = place.clock.now().wall_us
            for each in found:
                await log(place, *traffic(each.id, 3, at_us=now_us, version=each.version.digest, detected={"card": 1}))
            for _ in range(3):
                busy = min(found, key=lambda one: one.id)
                await log(place, *traffic(busy.id, 1, at_us=now_us, version=busy.version.digest))
                await place.room.observed.round()
            tiers = [place.room.judging.tier_of(place.agent(one.name)) for one in found]
            assert tiers == [Tier.HIGH] * 3
        async with house(tmp_path) as place:
            await looked(place)
            assert {one.seen.kind for one in place.room.discovery.open_findings()} == {FindingKind.UNDER_DECLARED}

    run(story())


@pytest.mark.requirement("observed:split", "observed:answered")
def test_one_work_cut_into_two_low_agents_is_held_to_what_it_comes_to_together(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            hearer = await place.active(autonomy="suggests", inputs=["public"], audience="public", reach="company")
            doer = await another(place, "doer", autonomy="acts-unattended", reach="user")
            assert (hearer.tier, doer.tier) == (Tier.LOW, Tier.LOW)
            now_us = place.clock.now().wall_us
            for number in range(3):
                for each in (hearer, doer):
                    await log(place, *traffic(
                        each.id, 1, at_us=now_us + number, version=each.version.digest, task=f"psd_task_{number}"
                    ))  # fmt: skip
                await looked(place)
                assert bool(risen(place)) == (number == 2), "two tasks may be an accident"
            for name in ("digest", "doer"):
                (alert,) = risen(place, name)
                assert (alert.evidence["seen"], alert.evidence["floors"]) == ("medium", ["workflow"])
                assert place.decision(name).outcome is Outcome.HOLD
            found = place.room.discovery.open_findings(FindingKind.SPLIT_WORKFLOW)
            assert {one.seen.agent for one in found} == {hearer.id, doer.id}
            evidence = findings(place)[FindingKind.SPLIT_WORKFLOW]
            assert (evidence["agents"], evidence["tier"]) == (sorted([hearer.id, doer.id]), "medium")
            assert evidence["records"]
            view = await asyncio.to_thread(place.room.observed.view, place.agent())
            assert view.workflow is not None
            await place.retired("one agent does it all now", name="doer")
            await looked(place)
            assert risen(place) == []

    run(story())


@pytest.mark.requirement("observed:hints")
def test_an_agent_that_says_it_reads_and_mostly_acts_is_a_finding_and_nothing_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            fact = {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"}
            await place.tools(server(write=fact))
            found = await place.active(
                tools=[{"server": "crm", "allow": ["read", "write"]}], autonomy="acts-unattended",
                purpose="Answer questions of colleagues",
            )  # fmt: skip
            await seen(place, found, 12, tool="crm/write", effect="write", scope="record")
            assert risen(place) == []
            evidence = findings(place)[FindingKind.PURPOSE_MISMATCH]
            assert (evidence["acting_calls"], evidence["calls"], evidence["tools"]) == (12, 12, ["crm/write"])
            (finding,) = place.room.discovery.open_findings(FindingKind.PURPOSE_MISMATCH)
            await place.operations.apply(DANA, file(agent(
                tools=[{"server": "crm", "allow": ["read", "write"]}], autonomy="acts-unattended",
                purpose="Answer questions of colleagues and write down what they say",
            )))  # fmt: skip
            request = await place.operations.submit(DANA, found.id)
            assert request is not None
            await place.approve(request.id)
            await place.operations.activate(DANA, found.id)
            await looked(place)
            assert place.room.discovery.findings.known(finding.id).state is FindingState.OVER

    run(story())


@pytest.mark.requirement("observed:raises")
def test_what_was_observed_of_a_retired_agent_is_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
            await place.retired()
            await log(place, *traffic(found.id, 1, at_us=place.clock.now().wall_us))
            await looked(place)
            row = place.control.view.get(OBSERVED, found.id)
            assert row is None

    run(story())


@pytest.mark.requirement("observed:reminded")
def test_those_who_answer_for_a_risen_agent_are_told_three_times_and_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        told: list[Change] = []

        async def rounds(place: House) -> list[tuple[int, list[str]]]:
            """What was told since the last time."""
            await place.room.risen.round()
            await place.room.risen.round()
            found = [(one.body["stage"], sorted(str(each) for each in one.body["to"])) for one in told]
            notices = [each for one in told for each in notices_of(one, lambda _: "digest")]
            assert len({one.id for one in notices}) == len(told)
            assert all(one.kind == "tier.reminded" for one in notices)
            told.clear()
            return found

        def follow(change: Change) -> None:
            if change.facts.kind == "tier.reminded":
                told.append(change)

        async with house(tmp_path) as place:
            place.control.subscribe(follow)
            await place.tools()
            found = await place.active()
            assert await rounds(place) == []
            await seen(place, found, detected={"card": 1})
            assert await rounds(place) == [(1, ["psn_dana", "psn_lee"])]
            place.clock.advance(2.4 * DAY_S)
            assert await rounds(place) == []
            place.clock.advance(0.1 * DAY_S)
            assert await rounds(place) == [(2, ["psn_dana", "psn_lee"])]
            place.clock.advance(1.6 * DAY_S)
            assert await rounds(place) == [(3, ["psn_dana", "psn_lee", "psn_lena", "psn_sam"])]
            place.steadiness.steady = False
            place.clock.advance(2 * DAY_S)
            assert await rounds(place) == []
            assert place.agent().state is AgentState.ACTIVE
            place.steadiness.steady = True
            assert await rounds(place) == []
            assert place.agent().state is AgentState.SUSPENDED

    run(story())


@pytest.mark.requirement("observed:reminded")
def test_a_start_in_the_middle_tells_of_what_was_missed_at_once_and_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
        async with house(tmp_path) as place:
            place.clock.advance(4.2 * DAY_S)
            for _ in range(3):
                await place.room.risen.round()
            await asyncio.to_thread(place.room.timeline.catch_up)
            told = [one for one in place.room.timeline.of(place.agent().id) if one.kind == "tier.reminded"]
            assert [one.body["stage"] for one in told] == [3]

    run(story())


@pytest.mark.requirement("observed:exposure", "observed:answered")
def test_work_handed_on_by_an_agent_that_anybody_reaches_raises_who_it_was_handed_to(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(autonomy="acts-unattended", reach="company")
            outer = await another(place, "desk", audience="public", inputs=["public"])
            before = place.room.judging.tiering(place.agent(), place.agent().version).score
            await seen(place, found, callers=(outer.id,))
            after = place.room.judging.tiering(place.agent(), place.agent().version)
            assert after.score > before
            exposure = next(one for one in after.factors if one.name == "exposure")
            assert exposure.level == 4
            assert any(source.startswith("observed: ") for source in exposure.sources)

    run(story())


@pytest.mark.requirement("observed:reminded")
def test_if_nobody_who_owns_it_is_there_the_team_and_security_are_told_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await seen(place, found, detected={"card": 1})
            people = place.registry.organisation.people
            gone = {one: replace(known, left=one in {found.owner, found.backup_owner}) for one, known in people.items()}
            organisation = replace(place.registry.organisation, people=gone)
            due_us = risen(place)[0].opened_us + ANSWER_US
            now_us = place.clock.now().wall_us
            told = deadline_told(found, due_us, organisation, told=0, now_us=now_us)
            assert told is not None
            assert (told.stage, told.to) == (1, ("psn_lena", "psn_sam"))
            assert deadline_told(found, due_us, organisation, told=1, now_us=now_us) is None

    run(story())
