"""Baselines of behaviour among the real rooms: learned, proposed with what is in them, accepted by whoever may."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Write
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.lifecycle.baseline_operations import BaselineOperations
from accredit.monitoring.behaviour import BaselinePart, Behaviour, BehaviourState, LearningSource
from accredit.monitoring.drift.watching import DriftMatter
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.profiles.model import CallOutcome, Feature, ProfiledCall, SessionProfile
from accredit.monitoring.profiles.ports import Progress
from accredit.monitoring.rows import BASELINE
from accredit.registry.model import Agent, Tier
from tests.lifecycle.house import House, agent, file, house, operator, server
from tests.monitoring.traffic import called, ended

DANA, LEE, LENA, OLIVE, SAM, UNA = (operator(one) for one in ("dana", "lee", "lena", "olive", "sam", "una"))
DAY_S = 86_400


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def finish(place: House, found: Agent, many: int = 1, calls: float = 4.0, **changes: Any) -> None:
    """Sessions of an agent under its version in force, a minute apart, are over and kept."""
    store = place.room.sessions.profiles.store
    made: list[SessionProfile] = []
    for _ in range(many):
        place.clock.advance(60)
        now_us, number = place.clock.now().wall_us, store.counts().get(found.id, 0) + len(made)
        one = SessionProfile(
            found.id, f"ses_{number:04d}", found.version.digest, number, number, now_us - 1_000_000, now_us,
            tuple(ProfiledCall("crm/read", CallOutcome.OK) for _ in range(int(calls))),
            {Feature.CALLS.value: calls, Feature.HOUR.value: 10.0},
        )  # fmt: skip
        made.append(replace(one, **changes))
    store.keep(made, Progress())


async def looked(place: House) -> None:
    await place.room.behaviour.round()
    place.clock.advance(601)
    await place.room.baseline_operations.round()


def acts(place: House) -> BaselineOperations:
    return place.room.baseline_operations


def behaviour(place: House) -> Behaviour:
    found = place.room.baselines.of(place.agent().id)
    assert found is not None
    return found.behaviour


async def started(place: House, **spec: Any) -> Agent:
    await place.people()
    await place.tools()
    return await place.active(**spec)


async def proposed(place: House, **spec: Any) -> Digest:
    """The sessions of an agent's first days wait for somebody who accepts them."""
    found = await started(place, **spec)
    finish(place, found, 60)
    await looked(place)
    proposal = behaviour(place).proposal
    assert proposal is not None
    return proposal.digest


def held(kind: AlertKind, place: House) -> list[str]:
    return [one.matter for one in place.room.monitor.alerts() if one.kind is kind and one.closed_us is None]


@pytest.mark.requirement("baseline:learning")
def test_a_version_is_learned_from_its_activation_on_and_proposed_once_there_are_enough(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await started(place)
            assert behaviour(place).state is BehaviourState.LEARNING
            finish(place, found, 59)
            await looked(place)
            assert behaviour(place).state is BehaviourState.LEARNING
            assert acts(place).show(found.id).collected == 59
            finish(place, found, 1)
            await looked(place)
            proposal = behaviour(place).proposal
            assert proposal is not None
            assert (proposal.sessions, proposal.source, proposal.version) == (60, "trial", found.version.digest)
            assert proposal.views == {"calls": 60, "hour": 60}
            seen = acts(place).compare(found.id, BaselinePart.PROPOSAL, BaselinePart.PROPOSAL)
            assert (seen.before.tools, seen.before.hours[10], seen.words) == ({"crm/read": 1.0}, 60, ())
            assert place.room.behaviour.standings(found.id) == (), "nothing is compared with what nobody accepted"

    run(story())


@pytest.mark.requirement("baseline:learning:poisoned")
def test_sessions_under_an_alert_or_in_quarantine_feed_no_baseline(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await started(place)
            finish(place, found, 30)
            place.clock.advance(30)
            now_us = place.clock.now().wall_us
            await place.room.monitor.note(Deviation(found.id, AlertKind.NEW_TOOL, "crm/other", {}, now_us))
            finish(place, found, 30)
            (alert,) = place.room.monitor.alerts(agent=found.id)
            await place.room.monitor.resolve(alert.id, SAM)
            await place.operations.quarantine(SAM, found.id, "looked odd")
            finish(place, found, 10)
            place.clock.advance(60)
            await place.operations.lift(SAM, found.id, "was nothing")
            place.clock.advance(60)
            finish(place, found, 29)
            await looked(place)
            shown = acts(place).show(found.id)
            assert (shown.collected, shown.left_out) == (59, 40)
            finish(place, found, 1)
            await looked(place)
            proposal = behaviour(place).proposal
            assert proposal is not None
            assert (proposal.sessions, proposal.left_out) == (60, 40)

    run(story())


@pytest.mark.requirement("baseline:learning:late")
def test_people_are_told_when_there_are_still_too_few_and_it_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await started(place)
            finish(place, found, 59)
            place.clock.advance(31 * DAY_S)
            await looked(place)
            await looked(place)
            assert held(AlertKind.UNWATCHED, place) == [DriftMatter.FEW]
            finish(place, found)
            await looked(place)
            assert behaviour(place).state is BehaviourState.PROPOSED
            assert held(AlertKind.UNWATCHED, place) == []

    run(story())


@pytest.mark.requirement("baseline:accepted")
def test_the_owner_alone_may_accept_for_an_agent_of_the_lowest_tier(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            digest = await proposed(place)
            found = place.agent()
            assert place.room.judging.present(found).tier is Tier.LOW
            with pytest.raises(ForbiddenError):
                await acts(place).accept(UNA, found.id, digest)
            with pytest.raises(ConflictError):
                await acts(place).accept(DANA, found.id, Digest("sha256:" + "0" * 64))
            await acts(place).accept(DANA, found.id, digest)
            accepted = behaviour(place).accepted
            assert accepted is not None
            assert (accepted.accepted_by, accepted.after, accepted.detectors) == ("psn_dana", 60, {"summing": "1"})
            with pytest.raises(NotFoundError):
                await acts(place).accept(DANA, found.id, digest)
            finish(place, found, 3)
            await place.room.behaviour.round()
            (standing,) = place.room.behaviour.standings(found.id)
            assert (standing.fed, standing.alarmed) == (3, False)
            events = [one.kind for one in place.room.timeline.of(found.id)]
            assert events[-2:] == ["baseline.proposed", "baseline.accepted"]

    run(story())


@pytest.mark.requirement("baseline:accepted")
@pytest.mark.parametrize(
    ("data", "tier", "may"),
    [("confidential", Tier.MEDIUM, {"lena", "sam"}), ("personal", Tier.HIGH, {"sam"})],
)
def test_of_any_other_it_takes_somebody_who_neither_owns_nor_asked(
    tmp_path: Path, data: str, tier: Tier, may: set[str]
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.people()
            await place.tools(server(read={"effect": "read", "data": [data], "price": "0 USD"}))
            found = await place.active(data=[data])
            assert place.room.judging.present(found).tier is tier
            finish(place, found, 60)
            for who in ("dana", "lee", "lena", "sam", "olive"):
                await acts(place).learn(SAM if who == "lena" else LENA, found.id, LearningSource.RECORDED)
                proposal = behaviour(place).proposal
                assert proposal is not None
                if who in may:
                    await acts(place).accept(operator(who), found.id, proposal.digest)
                    continue
                with pytest.raises(ForbiddenError):
                    await acts(place).accept(operator(who), found.id, proposal.digest)
                await acts(place).reset(DANA, found.id, "once more")
            await acts(place).learn(SAM, found.id, LearningSource.RECORDED)
            proposal = behaviour(place).proposal
            assert proposal is not None
            with pytest.raises(ForbiddenError) as refused:
                await acts(place).accept(SAM, found.id, proposal.digest)
            assert refused.value.code is Code.SEPARATION_OF_DUTIES

    run(story())


@pytest.mark.requirement("baseline:sources")
def test_recorded_sessions_become_a_proposal_at_once_if_there_are_enough(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await started(place)
            finish(place, found, 19)
            for wrong in ({"sessions": 19}, {"sessions": 201}):
                with pytest.raises(InvalidInputError):
                    await acts(place).learn(DANA, found.id, LearningSource.RECORDED, **wrong)
            with pytest.raises(InvalidInputError):
                await acts(place).learn(DANA, found.id, LearningSource.TRIAL, since_us=1)
            with pytest.raises(ConflictError):
                await acts(place).learn(DANA, found.id, LearningSource.RECORDED)
            finish(place, found, 11)
            since_us = place.clock.now().wall_us + 1
            finish(place, found, 25)
            made = await acts(place).learn(DANA, found.id, LearningSource.RECORDED, since_us=since_us)
            assert made.behaviour.proposal is not None
            assert made.behaviour.proposal.ids[0] == "ses_0030"
            assert made.behaviour.proposal.proposed_by == "psn_dana"
            with pytest.raises(ConflictError):
                await acts(place).learn(DANA, found.id, LearningSource.TRIAL)
            with pytest.raises(ForbiddenError):
                await acts(place).learn(UNA, found.id, LearningSource.TRIAL)
            await acts(place).reset(DANA, found.id, "anew")
            with pytest.raises(NotFoundError):
                await acts(place).learn(DANA, found.id, LearningSource.PREVIOUS)

    run(story())


async def changed(place: House, **spec: Any) -> Agent:
    """Another version, through its gate into force."""
    await place.operations.apply(operator("dana"), file(agent(**spec)))
    request = await place.operations.submit(DANA, place.agent().id)
    if request is not None and request.missing:
        await place.approve(request.id)
    await place.operations.activate(OLIVE, place.agent().id)
    return place.agent()


@pytest.mark.requirement("baseline:change")
def test_a_change_that_touches_no_behaviour_carries_the_baseline_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            digest = await proposed(place)
            await acts(place).accept(DANA, place.agent().id, digest)
            before = behaviour(place)
            after = await changed(place, purpose="be governed better")
            found = place.room.baselines.of(after.id)
            assert found is not None
            assert (found.version, found.behaviour) == (after.version.digest, before)

    run(story())


@pytest.mark.requirement("baseline:change")
def test_any_other_change_has_it_learned_anew_beside_what_was_accepted(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            digest = await proposed(place)
            await acts(place).accept(DANA, place.agent().id, digest)
            after = await changed(place, prompt={"digest": "sha256:" + "1" * 64})
            now = behaviour(place)
            assert (now.state, now.accepted and now.accepted.digest) == (BehaviourState.LEARNING, digest)
            finish(place, after, 60, calls=40)
            await looked(place)
            assert held(AlertKind.BEHAVIOUR_DRIFT, place) == [DriftMatter.SESSIONS], "against the version before"
            now = behaviour(place)
            assert now.proposal is not None
            assert (
                acts(place).compare(after.id, BaselinePart.ACCEPTED, BaselinePart.PROPOSAL).words[0]
                == "calls per session: median 4 -> 40"
            )
            await acts(place).accept(DANA, after.id, now.proposal.digest)
            now = behaviour(place)
            assert (now.previous and now.previous.digest, now.state) == (digest, BehaviourState.ACCEPTED)
            assert held(AlertKind.BEHAVIOUR_DRIFT, place) == [], "it was about the version before"
            finish(place, after, 10, calls=40)
            await looked(place)
            assert held(AlertKind.BEHAVIOUR_DRIFT, place) == []

    run(story())


@pytest.mark.requirement("baseline:sources")
def test_what_was_accepted_for_the_version_before_can_be_proposed_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            digest = await proposed(place)
            await acts(place).accept(DANA, place.agent().id, digest)
            after = await changed(place, prompt={"digest": "sha256:" + "1" * 64})
            made = await acts(place).learn(DANA, after.id, LearningSource.PREVIOUS)
            assert made.behaviour.proposal is not None
            assert (made.behaviour.proposal.digest, made.behaviour.proposal.source) == (digest, "previous")
            assert made.behaviour.proposal.version == after.version.digest

    run(story())


@pytest.mark.requirement("baseline:unproven")
def test_a_proposal_whose_sessions_are_others_is_not_accepted(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            digest = await proposed(place)
            found, fitted = place.agent(), acts(place)._fitted
            fitted.put(digest, b"others")
            place.room.sessions.profiles.store.clear()
            with pytest.raises(ConflictError) as refused:
                await acts(place).accept(DANA, found.id, digest)
            assert refused.value.code is Code.STATE_UNPROVEN
            assert acts(place).show(found.id).unproven == {digest}
            await acts(place).reset(DANA, found.id, "it is not proven")
            assert behaviour(place).state is BehaviourState.LEARNING

    run(story())


def test_a_baseline_of_a_release_that_learned_nothing_begins_to_learn(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await started(place)
            (row,) = place.control.view.scan(BASELINE)
            older = {name: one for name, one in row.doc.items() if name != "behaviour"}
            await place.put(Write(BASELINE, found.id, older))
            assert behaviour(place).state is BehaviourState.NONE
            await looked(place)
            assert behaviour(place).state is BehaviourState.LEARNING

    run(story())


def test_of_a_retired_agent_nothing_is_learned_or_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            digest = await proposed(place)
            found = place.agent()
            await place.retired()
            with pytest.raises(AccreditError):
                await acts(place).accept(DANA, found.id, digest)
            place.clock.advance(2 * 3_600)
            await looked(place)
            assert acts(place)._fitted.get(digest) is None

    run(story())


async def session(place: House, found: Agent, number: int, calls: int) -> None:
    """A session of so many calls as the log has it, and then nothing until it is over."""
    for at in range(calls):
        at_us = place.clock.now().wall_us
        named: dict[str, Any] = {"number": number * 1_000 + at, "at_us": at_us, "version": found.version.digest}
        asked, answered = called(found.id, **named), ended(found.id, **named)
        body = {**asked.body, "protocol": "mcp", "reason": None, "session": f"ses_{number:04d}"}
        await place.log.append(replace(asked, body=body))
        await place.log.append(answered)
        place.clock.advance(1)
    place.clock.advance(1_900)
    await place.room.sessions.round()
    await place.room.behaviour.round()


@pytest.mark.requirement("baseline:learning", "drift:running:alarm")
def test_from_the_log_to_the_alert(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await started(place)
            for number in range(20):
                await session(place, found, number, 2)
            await acts(place).learn(LENA, found.id, LearningSource.RECORDED)
            proposal = behaviour(place).proposal
            assert proposal is not None
            assert proposal.sessions == 20
            await acts(place).accept(DANA, found.id, proposal.digest)
            for number in range(20, 24):
                await session(place, found, number, 12)
            (alert,) = place.room.monitor.alerts(agent=found.id)
            assert alert.kind is AlertKind.BEHAVIOUR_DRIFT
            assert alert.evidence["words"][0] == "calls per session: median 2 -> 12"
            assert alert.evidence["since_session"] == "ses_0020"

    run(story())
