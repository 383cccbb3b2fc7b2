"""Reviews from the first card to the end of a campaign, among the real rooms."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accredit.approvals.model import ApprovalState
from accredit.audit.model import Entry, Facts, Usage
from accredit.audit.ports import Actor
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import ToolId
from accredit.lifecycle.discovery.findings import FindingAnswer, FindingKind, Observed
from accredit.lifecycle.reviews.cards import WhyAlone
from accredit.lifecycle.reviews.deciding import AskedDecision
from accredit.lifecycle.reviews.model import ROUTINE, AgentReviewState, ItemVerdict, ReviewKind, ReviewTrigger
from accredit.monitoring.model import AlertKind, Deviation, Severity
from accredit.policy.model import Outcome
from accredit.registry.model import AgentState, RestrictionKind, Role
from tests.lifecycle.house import House, agent, file, house, operator, person_id
from tests.lifecycle.reviews.desk import NEED, Desk, tools

_Living = Callable[[Desk], Coroutine[Any, Any, None]]
_GRAVE = {"effect": "external", "data": ["internal"], "price": "0 USD"}


def _lived(path: Path, living: _Living, *, at: Callable[[str], None] = lambda _: None) -> None:
    async def run() -> None:
        async with house(path, at=at) as place:
            await living(Desk(place))

    asyncio.run(run())


async def _refused(coroutine: Coroutine[Any, Any, Any], code: Code) -> AccreditError:
    with pytest.raises(AccreditError) as told:
        await coroutine
    assert told.value.code is code
    return told.value


async def _small(desk: Desk) -> None:
    """A low agent, half a year old: three tools in use, one never used."""
    await desk.governed(allow=["read", "find", "list", "spare"], document=tools("read", "find", "list", "spare"))
    desk.place.clock.advance(100 * 86_400)
    for name in ("read", "find", "list"):
        await desk.used(name)


def _matters(place: House) -> set[str]:
    return {one.matter.partition(" ")[0] for one in place.room.monitor.alerts() if one.kind is AlertKind.REVIEW}


@pytest.mark.requirement("reviews:carried-out", "reviews:card:alone")
def test_a_review_takes_away_what_is_not_used_and_keeps_the_rest_with_one_word(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        campaign = await desk.started()
        card = desk.room.card(desk.review().id)
        seeded = campaign.seeded(card.agent.id)
        assert {one.tool for one in card.routine} == {"crm/read", "crm/find", "crm/list"}
        assert {one.tool for one in card.alone} == {"crm/spare"} | seeded
        (spare,) = (one for one in card.alone if one.tool == "crm/spare")
        assert spare.suggestion is not None
        assert (spare.suggestion.verdict, spare.calls) == (ItemVerdict.REMOVE, 0)
        assert desk.place.decision(tool="spare").outcome is Outcome.ALLOW
        await desk.need()
        await desk.decide("sam", ("routine", "keep"))
        for tool in seeded:
            await desk.decide("sam", (tool.partition("/")[2], "remove"))
        assert desk.room.waiting(desk.room.card(desk.review().id)) == ("crm/spare",)
        await desk.decide("sam", ("spare", "remove"))
        (ended,) = desk.room.reviews.of_campaign(campaign.id)
        assert ended.state is AgentReviewState.ANSWERED
        assert all(one.verified_us is not None for one in ended.removals)
        assert desk.place.decision(tool="spare").code is Code.RESTRICTED
        assert desk.place.decision(tool="read").outcome is Outcome.ALLOW
        (restriction,) = desk.place.registry.restrictions_of(desk.place.agent().id)
        assert (restriction.kind, restriction.tool) == (RestrictionKind.DROP_TOOL, "crm/spare")
        candidate = desk.place.agent().candidate
        assert candidate is not None
        assert {one.tool for one in candidate.grants} == {"crm/read", "crm/find", "crm/list"}
        assert "answered" in _matters(desk.place), "the owner hears of it"
        report = await desk.room.close(operator("cora"), campaign.id)
        assert (report.campaign.open, report.waiting, report.outcomes()) == (False, (), {"answered": 1})
        seen = desk.place.room.dossiers.of(ended.agent).review
        assert seen is not None, "the dossier tells of it as the last look of security's"
        assert (seen.person, seen.review, seen.request) == (person_id("sam"), ended.id, None)
        assert seen.record is not None
        assert (report.looks[0].seeded, report.looks[0].missed) == (len(seeded), 0)

    _lived(tmp_path, living)


async def _grave(desk: Desk, **spec: Any) -> None:
    """A high agent: it tells the outside something, with two tools in use and one that is not."""
    document = tools("read", "spare", send=_GRAVE, call=_GRAVE)
    await desk.governed(allow=["read", "spare", "send", "call"], document=document, **spec)
    desk.place.clock.advance(100 * 86_400)
    for name in ("read", "send", "call"):
        await desk.used(name)


async def _answered(desk: Desk, who: str = "sam", *, verdict: str = "remove", seconds: float = 10) -> None:
    await desk.all_of(who, verdict, seconds=seconds)


@pytest.mark.requirement("reviews:deciding")
def test_what_can_do_harm_is_kept_alone_and_whoever_owns_it_does_not_keep_it(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _grave(desk)
        await desk.started()
        assert desk.review().tier == "high"
        await _refused(desk.decide("sam", ("send", "keep"), ("call", "keep")), Code.BULK_REFUSED)
        await _refused(desk.decide("sam", ("send", "keep"), ("routine", "keep")), Code.BULK_REFUSED)
        await _refused(desk.decide("dana", ("send", "keep")), Code.SEPARATION_OF_DUTIES)
        await _refused(desk.decide("lena", ("send", "keep")), Code.SEPARATION_OF_DUTIES)
        await _refused(desk.decide("olive", ("send", "keep")), Code.NOT_AUTHORISED)
        await desk.decide("sam", ("send", "keep"))
        await _refused(desk.decide("sam", ("spare", "keep")), Code.OWN_WORDS_REQUIRED)
        await _refused(
            desk.decide("sam", ("spare", "keep"), why="it was never used in 100 days"), Code.OWN_WORDS_REQUIRED
        )
        await desk.decide("sam", ("spare", "keep"), why="the yearly audit calls it in March")
        assert desk.place.registry.restrictions_of(desk.place.agent().id) == ()

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:deciding")
def test_a_decision_counts_for_what_was_shown_and_for_nothing_else(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        review = desk.review().id
        sams, lenas = desk.look("sam"), desk.look("lena")
        said = [_keep("crm/spare", "the yearly audit calls it in March")]
        await _refused(desk.room.decide(operator("cora"), review, said, sams.digest), Code.NOT_AUTHORISED)
        await _refused(desk.room.decide(operator("dana"), review, said, sams.digest), Code.REVIEW_UNSEEN)
        await desk.room.decide(operator("sam"), review, said, sams.digest)
        # two at once: the other one sees first what was said meanwhile
        await _refused(desk.room.decide(operator("lena"), review, [_remove("crm/spare")], lenas.digest), Code.CONFLICT)
        await desk.decide("lena", ("read", "keep"))
        before = desk.look("sam")
        changed = agent(tools=[{"server": "crm", "allow": ["read", "spare"]}])
        await desk.place.operations.apply(operator("dana"), file(changed))
        assert desk.place.agent().candidate is not None
        request = await desk.place.operations.submit(operator("dana"), desk.place.agent().id)
        assert request is not None
        await desk.place.operations.activate(operator("olive"), desk.place.agent().id)
        await _refused(desk.room.decide(operator("sam"), review, [_keep("crm/read")], before.digest), Code.CONFLICT)
        waits = desk.room.waiting(desk.room.card(review))
        assert {"crm/spare", ROUTINE} <= set(waits), "what was said of another version counts no more"

    _lived(tmp_path, living)


def _keep(tool: str, why: str = "") -> Any:
    return _said(tool, ItemVerdict.KEEP, why)


def _remove(tool: str) -> Any:
    return _said(tool, ItemVerdict.REMOVE, "")


def _said(tool: str, verdict: ItemVerdict, why: str) -> Any:
    return AskedDecision(ToolId(tool), verdict, why)


@pytest.mark.requirement("reviews:careful", "reviews:seeds")
def test_a_seeded_permission_that_is_kept_or_a_look_that_was_none_brings_another_look(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        campaign = await desk.started()
        (seed,) = campaign.seeds
        agent_id = desk.place.agent().id
        await desk.need()
        await _answered(desk, "sam", verdict="keep")
        again = desk.review()
        campaign = desk.room.reviews.campaign(campaign.id)
        assert (again.look, again.state, campaign.look) == (2, AgentReviewState.OPEN, 2)
        assert campaign.barred == {person_id("sam")}
        await _refused(desk.decide("sam", ("routine", "keep")), Code.SEPARATION_OF_DUTIES)
        await _refused(desk.room.close(operator("cora"), campaign.id), Code.REVIEW_INCOMPLETE)
        await _answered(desk, "lena", seconds=1)
        assert desk.review().look == 3, "faster than anybody reads"
        await _answered(desk, "dana")
        (ended,) = desk.room.reviews.of_campaign(campaign.id)
        assert ended.state is AgentReviewState.ANSWERED
        report = await desk.room.close(operator("cora"), campaign.id)
        assert [one.missed for one in report.looks] == [1, 0, 0]
        assert {look for look, _ in report.campaign.flags} == {1, 2}
        # INVARIANT: what was seeded is never carried out
        assert all(one.tool != seed.tool for one in desk.place.registry.restrictions_of(agent_id))
        found = desk.place.agent()
        for version in (found.version, found.candidate):
            assert version is None or version.grant(seed.tool) is None

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:words")
def test_the_need_is_stated_by_an_owner_who_is_there_and_in_words_of_their_own(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.place.operations.apply(
            operator("dana"), file(agent(purpose="Counts the tickets of the support desk"))
        )
        first = await desk.started()
        await _refused(desk.need(text="needed"), Code.OWN_WORDS_REQUIRED)
        await _refused(desk.need(text="be governed be governed be governed"), Code.OWN_WORDS_REQUIRED)
        await _refused(desk.need(text="x" * 3_000), Code.OWN_WORDS_REQUIRED)
        await _refused(desk.need(text="The desk still \u202eneeds it for all of its tickets"), Code.OWN_WORDS_REQUIRED)
        await _refused(desk.need("sam"), Code.NOT_AUTHORISED)
        await desk.need()
        await _answered(desk, "sam")
        await desk.room.close(operator("cora"), first.id)
        await desk.started()
        for copy in (NEED, NEED.upper() + "!", " ".join(reversed(NEED.split())), NEED + " still",
                     NEED.replace("o", "\u043e").replace("e", "\u00e9")):  # fmt: skip
            await _refused(desk.need(text=copy), Code.OWN_WORDS_REQUIRED)
        await desk.place.operations.person_left(operator("ada"), person_id("dana"), "left")
        await _refused(desk.need(text="It reads out what waits overnight to whoever opens up"), Code.NOT_AUTHORISED)
        made = await desk.need("lee", text="It reads out what waits overnight to whoever opens up")
        assert made.need is not None
        assert made.need.by == person_id("lee")
        ended = await desk.need("lee", text="Nobody has opened the desk since we closed Lisbon", needed=False)
        assert ended.state is AgentReviewState.NOT_NEEDED
        assert desk.place.agent().state is AgentState.SUSPENDED

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:deciding", "reviews:words")
def test_what_somebody_said_who_left_since_is_said_by_nobody(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        review = desk.review().id
        await desk.need()
        await desk.decide("sam", ("routine", "keep"))
        assert ROUTINE not in desk.room.waiting(desk.room.card(review))
        for name in ("dana", "sam"):
            await desk.place.operations.person_left(operator("ada"), person_id(name), "left")
        assert ROUTINE in desk.room.waiting(desk.room.card(review))
        await _refused(desk.decide("sam", ("routine", "keep")), Code.NOT_AUTHORISED)
        await _answered(desk, "lena")
        assert desk.review().state is AgentReviewState.OPEN, "who said that it is needed is not there any more"
        await desk.need("lee")
        assert desk.room.reviews.review(review).state is AgentReviewState.ANSWERED

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:deciding")
def test_an_agent_whose_tier_rises_is_reviewed_as_what_it_is_now(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        assert desk.review().tier == "low"
        await desk.decide("lena", ("read", "keep"))
        await desk.place.registry.open_incident([desk.place.agent().id], 1, Actor(), "it told a stranger")
        await _refused(desk.decide("lena", ("find", "keep")), Code.SEPARATION_OF_DUTIES)
        await desk.decide("sam", ("find", "keep"))
        await desk.after(14.1)
        assert "overdue" in _matters(desk.place)
        await desk.after(7)
        assert desk.place.agent().state is AgentState.SUSPENDED

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:silence")
@pytest.mark.parametrize("tier", ["low", "medium", "high"])
def test_silence_narrows_or_stops_and_never_keeps(tmp_path: Path, tier: str) -> None:
    async def living(desk: Desk) -> None:
        if tier == "high":
            await _grave(desk)
        elif tier == "low":
            await _small(desk)
        else:
            own = {"effect": "write", "scope": "own", "data": ["internal"], "price": "0 USD"}
            await desk.governed(allow=["read", "note", "spare"], document=tools("read", "spare", note=own))
            desk.place.clock.advance(100 * 86_400)
            await desk.used("read")
            await desk.used("note")
        await desk.started()
        review = desk.review().id
        assert desk.review().tier == tier
        desk.place.steadiness.steady = False
        await desk.after(40)
        assert desk.room.reviews.review(review).state is AgentReviewState.OPEN, "while the clock is in doubt"
        desk.place.clock.advance(-40 * 86_400)
        desk.place.steadiness.steady = True
        await desk.after(10)
        assert _matters(desk.place) == set()
        await desk.after(3.9)
        assert desk.room.reviews.review(review).state is AgentReviewState.OPEN
        assert _matters(desk.place) == {"waits"}, "people are told before anything is taken away"
        await desk.after(0.2)
        found = desk.room.reviews.review(review)
        if tier == "low":
            assert (found.state, found.extended) == (AgentReviewState.OPEN, True)
            await desk.after(14.1)
        if tier == "high":
            assert (found.state, _matters(desk.place)) == (AgentReviewState.OPEN, {"overdue", "waits"})
            assert desk.place.agent().state is AgentState.ACTIVE
            await desk.after(7)
            assert desk.place.agent().state is AgentState.SUSPENDED
            assert desk.room.reviews.review(review).state is AgentReviewState.SUSPENDED
            return
        found = desk.room.reviews.review(review)
        assert found.state is AgentReviewState.REDUCED
        assert ("crm/spare", True) in [(one.tool, one.silent) for one in found.removals]
        assert desk.place.decision(tool="spare").code is Code.RESTRICTED
        assert desk.place.decision(tool="read").outcome is Outcome.ALLOW
        assert desk.place.agent().state is AgentState.ACTIVE

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:carried-out")
def test_what_was_taken_away_is_kept_so_until_a_version_without_it_is_in_force_or_somebody_gives_it_back(
    tmp_path: Path,
) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        review = desk.review().id
        await desk.need()
        await _answered(desk, "sam")
        await desk.after(85)
        assert desk.place.decision(tool="spare").code is Code.RESTRICTED
        await desk.after(20)
        assert desk.place.decision(tool="spare").code is Code.RESTRICTED, "renewed before it ran out"
        found = desk.place.agent()
        await desk.place.operations.submit(operator("dana"), found.id)
        await desk.place.operations.activate(operator("olive"), found.id)
        assert desk.place.decision(tool="spare").code is Code.TOOL_NOT_GRANTED
        await desk.after(0.1)
        assert desk.room.reviews.review(review).unsettled == ()
        now_us = desk.place.clock.now().wall_us
        left = [one for one in desk.place.registry.restrictions_of(found.id) if one.in_force(now_us)]
        assert left == [], "nothing is left behind"

    async def lifted(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        review = desk.review().id
        await desk.need()
        await _answered(desk, "sam")
        (ours,) = desk.place.registry.restrictions_of(desk.place.agent().id)
        await desk.place.operations.lift_restriction(operator("sam"), ours.id, "it is needed after all")
        await desk.after(1)
        await desk.after(100)
        assert desk.place.decision(tool="spare").outcome is Outcome.ALLOW
        assert [
            one.undone_us is not None for one in desk.room.reviews.review(review).removals if not one.settled_us
        ] == [True]

    for name, story in (("kept", living), ("lifted", lifted)):
        (tmp_path / name).mkdir()
        _lived(tmp_path / name, story)


@pytest.mark.requirement("reviews:carried-out")
def test_what_is_not_shown_to_be_out_of_reach_keeps_the_review_open(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        campaign = await desk.started()
        before, removals = desk.place.snapshot(), desk.room._removals
        now, removals._snapshot = removals._snapshot, lambda: before
        await desk.need()
        await _answered(desk, "sam")
        assert desk.review().state is AgentReviewState.CARRYING_OUT
        assert "unverified" in _matters(desk.place)
        await _refused(desk.room.close(operator("cora"), campaign.id), Code.REVIEW_INCOMPLETE)
        removals._snapshot = now
        await desk.after(0.1)
        assert desk.room.reviews.of_campaign(campaign.id)[0].state is AgentReviewState.ANSWERED

    _lived(tmp_path, living)


class _KilledError(Exception):
    """The process ended here."""


@pytest.mark.requirement("reviews:durable")
def test_a_process_that_ends_at_any_moment_goes_on_where_it_was(tmp_path: Path) -> None:
    for nth in range(1, 6):
        path = tmp_path / str(nth)
        path.mkdir()
        seen: list[str] = []

        def at(moment: str, seen: list[str] = seen, nth: int = nth) -> None:
            if moment.startswith("review"):
                seen.append(moment)
                if len(seen) == nth:
                    raise _KilledError

        async def begun(desk: Desk) -> None:
            await _small(desk)
            await desk.started()
            await desk.need()
            await _answered(desk, "sam", seconds=1)

        async def gone_on(desk: Desk) -> None:
            await desk.after(0.01)
            (campaign,) = desk.room.reviews.campaigns()
            (review,) = desk.room.reviews.of_campaign(campaign.id)
            assert (review.look, campaign.look) == (2, 2)
            real = [one.tool for one in review.removals if one.tool not in campaign.seeded(review.agent)]
            assert real == ["crm/spare"]
            assert [one.tool for one in desk.place.registry.restrictions_of(review.agent)] == ["crm/spare"]
            assert desk.place.decision(tool="spare").code is Code.RESTRICTED

        killed = False
        try:
            _lived(path, begun, at=at)
        except* _KilledError:
            killed = True
        assert killed == (nth <= len(seen))
        if not killed:
            break
        _lived(path, gone_on)
    else:
        pytest.fail("there are more moments than were tried")
    assert nth > 3


async def _under_review(desk: Desk, name: str = "digest") -> list[ReviewTrigger]:
    """What has an agent under review now, once everything that is due was begun."""
    await desk.after(0.05)
    found = desk.room.reviews.open_of(desk.place.agent(name).id)
    return [] if found is None else [kind for kind, _ in found.triggers]


async def _reviewed(desk: Desk, who: str = "sam") -> None:
    await desk.need(text=f"Somebody opens it on day {desk.place.clock.now().wall_us // 86_400_000_000} of our count")
    await _answered(desk, who)


@pytest.mark.requirement("reviews:triggers")
def test_what_happens_to_an_agent_has_it_reviewed_once_and_alone(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        assert await _under_review(desk) == []
        found = desk.place.agent()
        seen = Deviation(found.id, AlertKind.POSTURE_PROMPT, "prompt", {}, desk.place.clock.now().wall_us)
        await desk.place.room.monitor.note(seen)
        assert await _under_review(desk) == [ReviewTrigger.DRIFT]
        review = desk.review()
        (campaign,) = desk.room.reviews.campaigns()
        assert (campaign.kind, campaign.seeds) == (ReviewKind.TRIGGERED, ())
        before = desk.place.control.position
        assert await _under_review(desk) == [ReviewTrigger.DRIFT]
        assert desk.place.control.position == before, "the same thing begins nothing twice"
        # what happens meanwhile joins the review that is open
        await desk.place.room.monitor.note(
            Deviation(found.id, AlertKind.NEW_DESTINATION, "https://x.example", {}, desk.place.clock.now().wall_us)
        )
        assert await _under_review(desk) == [ReviewTrigger.DRIFT, ReviewTrigger.DRIFT]
        await _reviewed(desk)
        assert desk.room.reviews.review(review.id).state is AgentReviewState.ANSWERED
        assert not desk.room.reviews.campaign(campaign.id).open, "nobody has to close it"
        assert await _under_review(desk) == [], "the alerts are open still, and were looked at"
        granted = ["read", "find", "list", "fresh"]
        desk.place.offers.tools["fresh"] = {"name": "fresh", "description": "New.", "inputSchema": {"type": "object"}}
        await desk.place.tools(tools("read", "find", "list", "spare", "fresh"))
        await desk.place.active(tools=[{"server": "crm", "allow": granted}], owner="lee@example.com", backupOwner=None)
        assert set(await _under_review(desk)) == {ReviewTrigger.OWNER_CHANGED, ReviewTrigger.MATERIAL_CHANGE}
        card = desk.room.card(desk.review().id)
        assert {"crm/fresh", "owner"} <= {one.what for one in card.changes}
        (fresh,) = (one for one in card.items if one.tool == "crm/fresh")
        assert WhyAlone.NEW in fresh.why_alone
        assert fresh.suggestion is None, "it had no time to be used"

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:triggers")
def test_an_agent_that_is_idle_or_runs_again_unanswered_is_reviewed(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        found = desk.place.agent()
        seen = Observed(FindingKind.ZOMBIE, found.id, Severity.WARNING, "digest", found.id, "test", {})
        await desk.place.room.discovery.open_finding(seen)
        assert await _under_review(desk) == [ReviewTrigger.IDLE]
        await desk.need(text="Nobody has opened it since the desk in Lisbon closed", needed=False)
        assert desk.place.agent().state is AgentState.SUSPENDED
        assert await _under_review(desk) == []
        await desk.place.operations.resume(operator("olive"), found.id, "we need it after all")
        assert await _under_review(desk) == [ReviewTrigger.RESUMED]

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:schedule")
def test_schedules_begin_reviews_on_their_day_and_only_add_to_what_is_built_in(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        place = desk.place
        await place.tools()
        await place.active()  # low, on 23 November
        await desk.after(200)
        assert desk.room.reviews.campaigns() == ()
        often = {
            "apiVersion": "accredit/v1", "kind": "ReviewSchedule", "metadata": {"name": "often"},
            "spec": {"scope": {"agents": ["digest"]}, "every": {"low": 7}, "day": 15, "respondDays": 5},
        }  # fmt: skip
        await _refused(place.operations.apply(operator("olive"), file(often)), Code.NOT_AUTHORISED)
        await place.operations.apply(operator("cora"), file(often))
        await desk.after(1)  # 12 June
        assert desk.room.reviews.campaigns() == ()
        await desk.after(3)  # 15 June
        (campaign,) = desk.room.reviews.campaigns()
        review = desk.review()
        assert (campaign.kind, campaign.scope.name) == (ReviewKind.SCHEDULED, "often")
        assert review.due_us - review.begun_us == 5 * 86_400 * 1_000_000
        await desk.after(1)
        assert len(desk.room.reviews.campaigns()) == 1
        await _answered(desk, "sam")
        await desk.need()
        await desk.room.close(operator("cora"), campaign.id)
        await desk.after(200)  # 2 January
        assert len(desk.room.reviews.campaigns()) == 1
        await desk.after(14)
        assert len(desk.room.reviews.campaigns()) == 2

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:population")
def test_a_campaign_closes_only_when_every_identity_that_was_seen_is_answered_for(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        campaign = await desk.started(agents=["digest"])
        await _reviewed(desk)
        await _refused(desk.room.include(operator("cora"), campaign.id, desk.place.agent().id), Code.CONFLICT)
        shadow = Observed(FindingKind.SHADOW, "sub", Severity.WARNING, "bot-7", None, "scan", {})
        finding = await desk.place.room.discovery.open_finding(shadow)
        assert finding is not None
        facts = Facts("test.use", agent="agt_nobody", tool="crm/read")
        await desk.place.log.append(Entry(facts, desk.place.clock.now().wall_us, {}, usage=Usage(allows=1)))
        told = await _refused(desk.room.close(operator("cora"), campaign.id), Code.REVIEW_INCOMPLETE)
        assert "2 identities" in told.message
        report = desk.room.report(campaign.id)
        assert {one.subject for one in report.identities} == {finding.id, "agt_nobody"}
        await _refused(desk.room.accept(operator("olive"), campaign.id, "agt_nobody", "a test"), Code.NOT_AUTHORISED)
        await _refused(desk.room.accept(operator("cora"), campaign.id, "agt_other", "a test"), Code.NOT_FOUND)
        await desk.room.accept(operator("cora"), campaign.id, "agt_nobody", "a test of last year's")
        await desk.place.room.discovery.answer(operator("sam"), finding.id, FindingAnswer.DISMISS, "a demo of ours")
        report = await desk.room.close(operator("cora"), campaign.id)
        assert report.population == {"accepted": 1, "answered": 1, "reviewed": 1}
        await _refused(desk.room.accept(operator("cora"), campaign.id, "agt_nobody", "again"), Code.CONFLICT)

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:population")
def test_an_agent_that_is_missing_is_put_on_the_list(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        other = await desk.second("other")
        campaign = await desk.started(agents=["digest"])
        assert {one.name: one.standing for one in desk.room.identities(campaign)} == {
            "production/digest": "reviewed", "production/other": "elsewhere",
        }  # fmt: skip
        made = await desk.room.include(operator("cora"), campaign.id, other.id)
        assert made.campaign == campaign.id
        await _refused(desk.room.include(operator("cora"), campaign.id, other.id), Code.CONFLICT)
        await _refused(desk.started(), Code.CONFLICT)
        await desk.place.operations.retire(operator("olive"), other.id, "over")
        await desk.after(0.1)
        assert desk.room.reviews.review(made.id).state is AgentReviewState.GONE

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:careful", "reviews:triggers")
def test_an_agent_is_never_under_two_reviews(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        other = await desk.second("other")
        campaign = await desk.started()
        first, second = desk.review().id, desk.review("other").id
        await desk.need()
        await _answered(desk, "sam", seconds=1)
        # the campaign waits for the other agent, and this one does something new meanwhile
        seen = Deviation(desk.place.agent().id, AlertKind.POSTURE_PROMPT, "p", {}, desk.place.clock.now().wall_us)
        await desk.place.room.monitor.note(seen)
        assert await _under_review(desk) == [ReviewTrigger.DRIFT]
        alone = desk.review().id
        assert alone != first
        await desk.need(review=second)
        await desk.all_of("sam", "remove", second, seconds=1)
        assert desk.room.reviews.campaign(campaign.id).look == 2
        assert (desk.review().id, desk.room.reviews.review(first).open) == (alone, False)
        assert not desk.room.reviews.review(second).open, "of it everything was taken away: nothing is left to look at"
        await _reviewed(desk, "lena")
        report = await desk.room.close(operator("cora"), campaign.id)
        assert report.outcomes() == {"answered": 2}
        assert desk.room.reviews.open_of(other.id) is None

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:careful")
def test_cards_that_were_opened_in_advance_are_looked_at_no_longer_for_it(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.second("other")
        campaign = await desk.started()
        cards = [desk.look("sam", one.id) for one in desk.room.reviews.of_campaign(campaign.id)]
        for card in cards:
            said = [_remove(card.alone[0].tool)]
            await desk.room.decide(operator("sam"), card.review.id, said, card.digest)
        told = [one.decisions[0].view_ms for one in desk.room.reviews.of_campaign(campaign.id)]
        assert sorted(told) == [0, 20_000]

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:card:suggestion")
@pytest.mark.parametrize("task", [None, "psd_task"])
def test_what_an_agent_bound_to_tasks_first_used_for_none_is_to_be_looked_into(
    tmp_path: Path, task: str | None
) -> None:
    async def living(desk: Desk) -> None:
        place = desk.place
        place.offers.tools["find"] = {
            "name": "find", "description": "Finds.",
            "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        }  # fmt: skip
        key = (
            base64.urlsafe_b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode().rstrip("=")
        )
        issuer = {
            "apiVersion": "accredit/v1", "kind": "Issuer", "metadata": {"name": "tickets"},
            "spec": {"use": "task", "issuer": "https://tasks.example", "statusUrl": "https://tasks.example/{task}",
                     "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": key}]},
                     "claims": {"id": "string"}},
        }  # fmt: skip
        (asked,) = await place.operations.apply(operator("ada"), file(issuer))
        assert asked.request is not None
        await place.vote(asked.request.id, Role.SECURITY)
        bound = {"server": "crm", "allow": ["find"], "when": {"sameAs": {"input.id": "task.id"}}}
        await place.tools(tools("read", "find"))
        await place.active(tools=[bound])
        place.clock.advance(30 * 86_400)
        await place.active(tools=[bound, {"server": "crm", "allow": ["read"]}])
        place.clock.advance(10 * 86_400)
        facts = Facts("decision", agent=place.agent().id, tool="crm/read", decision="allow")
        at_us = place.clock.now().wall_us
        await place.log.append(Entry(facts, at_us, {"task": task}, usage=Usage(allows=1)))
        await desk.started()
        (read,) = (one for one in desk.room.card(desk.review().id).items if one.tool == "crm/read")
        assert WhyAlone.NEW in read.why_alone
        assert read.suggestion is not None
        assert read.suggestion.verdict is (ItemVerdict.KEEP if task else ItemVerdict.INVESTIGATE)

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:silence")
def test_silence_keeps_nothing_by_the_word_of_who_left_and_forgets_no_removal(tmp_path: Path) -> None:
    async def left(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        review = desk.review().id
        await desk.decide("sam", ("spare", "keep"), why="the yearly audit calls it in March")
        await desk.decide("sam", ("read", "remove"))
        await desk.place.operations.person_left(operator("ada"), person_id("sam"), "left")
        await _silent(desk, review)

    async def another_version(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        review = desk.review().id
        await desk.decide("sam", ("read", "remove"))
        narrower = agent(tools=[{"server": "crm", "allow": ["read", "find", "spare"]}])
        await desk.place.operations.apply(operator("dana"), file(narrower))
        await desk.place.operations.submit(operator("dana"), desk.place.agent().id)
        await desk.place.operations.activate(operator("olive"), desk.place.agent().id)
        await _silent(desk, review)

    async def _silent(desk: Desk, review: str) -> None:
        await desk.after(14.1)
        for name in ("read", "find"):
            await desk.used(name)
        await desk.after(14.1)
        ended = desk.room.reviews.review(review)
        assert ended.state is AgentReviewState.REDUCED
        assert {"crm/read", "crm/spare"} <= {one.tool for one in ended.removals}
        assert desk.place.decision(tool="read").code is Code.RESTRICTED
        assert desk.place.decision(tool="spare").code is Code.RESTRICTED

    for name, story in (("left", left), ("version", another_version)):
        (tmp_path / name).mkdir()
        _lived(tmp_path / name, story)


@pytest.mark.requirement("reviews:careful", "reviews:seeds")
def test_a_further_look_is_shown_what_the_first_was_shown_as_new(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        first = await desk.started()
        await _reviewed(desk)
        await desk.room.close(operator("cora"), first.id)
        desk.place.clock.advance(5 * 86_400)
        desk.place.offers.tools["fresh"] = {"name": "fresh", "description": "New.", "inputSchema": {"type": "object"}}
        await desk.place.tools(tools("read", "find", "list", "spare", "fresh"))
        await desk.place.active(tools=[{"server": "crm", "allow": ["read", "find", "list", "fresh"]}])
        await desk.used("fresh", days_ago=0)
        desk.place.clock.advance(86_400)
        campaign = await desk.started()
        before = desk.room.card(desk.review().id)
        told = {one.tool: one.why_alone for one in before.items}
        assert told[ToolId("crm/fresh")] == (WhyAlone.NEW,)
        assert "crm/fresh" in {one.what for one in before.changes}
        await desk.need(text="It reads out what waits overnight to whoever opens up")
        await _answered(desk, "sam", verdict="keep", seconds=1)
        again = desk.room.card(desk.review().id)
        assert again.review.look == 2
        # INVARIANT: a look that was none makes nothing routine, nor do seeded permissions stand out then
        assert {one.tool: one.why_alone for one in again.items} == told
        assert (again.changes, again.reviewed_us) == (before.changes, before.reviewed_us)
        await _answered(desk, "lena", verdict="remove")
        (ended,) = desk.room.reviews.of_campaign(campaign.id)
        mark = desk.room.reviews.mark(ended.agent)
        assert mark is not None
        assert mark.before is not None
        assert (mark.before.at_us, mark.before.before) == (before.reviewed_us, None)

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:triggers", "reviews:durable")
def test_a_review_of_an_event_is_begun_though_the_process_ended_after_its_campaign(tmp_path: Path) -> None:
    async def begun(desk: Desk) -> None:
        await _small(desk)
        await desk.room.round()
        seen = Deviation(desk.place.agent().id, AlertKind.NEW_TOOL, "x", {}, desk.place.clock.now().wall_us)
        await desk.place.room.monitor.note(seen)
        await _killed_after_campaign(desk)

    async def _killed_after_campaign(desk: Desk) -> None:
        reviews = desk.room.reviews
        begin = reviews.begin

        async def killed(campaign: Any, _: Any, actor: Any) -> Any:
            await begin(campaign, (), actor)
            raise _KilledError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reviews, "begin", killed)
            with pytest.raises(_KilledError):
                await desk.room.begin_due()

    async def gone_on(desk: Desk) -> None:
        assert [one.open for one in desk.room.reviews.campaigns()] == [True]
        assert await _under_review(desk) == [ReviewTrigger.DRIFT]
        assert len(desk.room.reviews.campaigns()) == 1

    _lived(tmp_path, begun)
    _lived(tmp_path, gone_on)


@pytest.mark.requirement("reviews:triggers")
def test_a_version_that_was_reviewed_before_hides_nothing_when_it_comes_back(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        place = desk.place
        await desk.governed(allow=["read", "list"], document=tools("read", "find", "list"))
        words = (
            "It reads out what waits overnight to whoever opens up",
            "Lists of orders are drawn up by it before each delivery",
            "Three colleagues look for old letters through this one",
        )
        for allow, text in zip((["read", "find"], ["read", "list"], ["read", "find"]), words, strict=True):
            place.clock.advance(86_400)
            await place.active(tools=[{"server": "crm", "allow": allow}])
            assert await _under_review(desk) == [ReviewTrigger.MATERIAL_CHANGE]
            await desk.need(text=text)
            await _answered(desk)
            assert await _under_review(desk) == []
        seen = Deviation(place.agent().id, AlertKind.NEW_TOOL, "x", {}, place.clock.now().wall_us)
        await place.room.monitor.note(seen)
        assert await _under_review(desk) == [ReviewTrigger.DRIFT]

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:card:alone")
def test_what_a_passing_restriction_drops_is_decided_on_all_the_same(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _grave(desk)
        until_us = desk.place.clock.now().wall_us + 20 * 86_400_000_000
        await desk.place.operations.restrict(
            operator("olive"), desk.place.agent().id, RestrictionKind.DROP_TOOL, cause="a fault", until_us=until_us,
            tool=ToolId("crm/send"),
        )  # fmt: skip
        await desk.started()
        card = desk.room.card(desk.review().id)
        assert "crm/send" in desk.room.waiting(card), "it comes back when the restriction ends"
        await desk.decide("sam", ("send", "remove"))
        await desk.need()
        await _answered(desk, "sam")
        await desk.after(21)
        assert desk.place.decision(tool="send").code is Code.RESTRICTED

    _lived(tmp_path, living)


def test_calls_have_their_turn_while_many_reviews_are_looked_at(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        await desk.room.round()
        found = desk.place.agent().id
        turns = 0

        async def calls() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        waiting = asyncio.create_task(calls())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(desk.room.reviews, "find", lambda *, open_: (desk.room.reviews.open_of(found),) * 1_000)
            await desk.room.round()
        waiting.cancel()
        assert turns >= 100

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:deciding")
def test_a_version_that_comes_while_the_last_answer_is_judged_leaves_the_review_open(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        place, room = desk.place, desk.room
        await _small(desk)
        await desk.started()
        review = desk.review().id
        await desk.need()
        narrower = agent(tools=[{"server": "crm", "allow": ["read", "find", "spare"]}])
        await place.operations.apply(operator("dana"), file(narrower))
        await place.operations.submit(operator("dana"), place.agent().id)
        *others, last = room.waiting(room.card(review))
        for tool in others:
            await desk.decide("sam", (tool.partition("/")[2], "remove"))
        assert last == ROUTINE
        before, loop, card, looked = desk.look("sam"), asyncio.get_running_loop(), room.card, 0

        def meanwhile(asked: str) -> Any:
            nonlocal looked
            looked, made = looked + 1, card(asked)
            if looked == 2:  # the one by which it is judged whether everything is answered
                activation = place.operations.activate(operator("olive"), place.agent().id)
                asyncio.run_coroutine_threadsafe(activation, loop).result(30)
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(room, "card", meanwhile)
            await room.decide(operator("sam"), review, [AskedDecision(last, ItemVerdict.KEEP)], before.digest)
        assert looked >= 2
        assert place.agent().candidate is None
        assert room.reviews.review(review).state is AgentReviewState.OPEN, "what was to go would stay"
        await _answered(desk)
        assert "crm/spare" in {one.tool for one in room.reviews.review(review).removals}

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:schedule")
def test_what_becomes_due_after_the_campaign_of_the_day_was_closed_is_reviewed_in_another(tmp_path: Path) -> None:
    async def living(desk: Desk) -> None:
        place = desk.place
        await desk.governed(allow=["read"], document=tools("read"))
        await desk.second("other")
        place.clock.advance(100 * 86_400)
        closed = []
        for name in ("digest", "other"):
            often = {
                "apiVersion": "accredit/v1", "kind": "ReviewSchedule", "metadata": {"name": "often"},
                "spec": {"scope": {"agents": [name]}, "every": {"low": 1}},
            }  # fmt: skip
            await place.operations.apply(operator("cora"), file(often))
            await desk.room.begin_due()
            review = desk.review(name)
            assert desk.room.reviews.campaign(review.campaign).open
            await desk.need(review=review.id)
            await desk.all_of("sam", "remove", review.id)
            await desk.room.close(operator("cora"), review.campaign)
            closed.append(review.campaign)
        assert len(set(closed)) == 2

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:carried-out", "envelope:within")
@pytest.mark.parametrize(
    ("what", "own"), [("tool", False), ("model", False), ("model", True)], ids=["tool", "model", "model-by-its-owner"]
)
def test_what_a_review_took_away_comes_back_by_no_envelope(tmp_path: Path, what: str, *, own: bool) -> None:
    other = {"provider": "maker", "model": "other"}
    gone = ToolId("crm/spare" if what == "tool" else "maker/other")
    envelope = {"definitions": [{"server": "crm", "allow": ["read", "spare"]}], "models": [other]}

    def spec(allow: list[str], models: list[Any]) -> dict[str, Any]:
        return agent(tools=[{"server": "crm", "allow": allow}], models=models, envelope=envelope)

    async def living(desk: Desk) -> None:
        place = desk.place

        async def next_version(document: dict[str, Any] | None) -> None:
            if document is not None:
                await place.operations.apply(operator("dana"), file(document))
            if place.agent().candidate is None:
                return  # it is in force
            request = await place.operations.submit(operator("dana"), place.agent().id)
            assert request is not None
            if request.state is ApprovalState.APPROVED:
                await place.operations.activate(operator("olive"), place.agent().id)

        await desk.governed(allow=["read", "spare"], document=tools("read", "spare"), envelope=envelope)
        await next_version(spec(["read", "spare"], [other]))
        assert place.agent().version.grant(gone) is not None
        place.clock.advance(100 * 86_400)
        await desk.used("read")
        campaign = await desk.started()
        review, goes = desk.review().id, {gone, *campaign.seeded(place.agent().id)}
        await desk.need()
        for tool in desk.room.waiting(desk.room.card(review)):
            card, verdict = desk.look("sam"), ItemVerdict.REMOVE if tool in goes else ItemVerdict.KEEP
            said = AskedDecision(tool, verdict, "they need it at the end of every winter")
            await desk.room.decide(operator("sam"), review, [said], card.digest)
        assert desk.room.reviews.review(review).state is AgentReviewState.ANSWERED
        allow, models = (["read"], [other]) if what == "tool" else (["read", "spare"], [])
        await next_version(spec(allow, models) if own else None)
        await desk.after(0.1)
        await next_version(spec(["read", "spare"], [other]))
        found, now_us = place.agent(), place.clock.now().wall_us
        on = [one.tool for one in place.registry.restrictions_of(found.id) if one.in_force(now_us)]
        assert found.version.grant(gone) is None or gone in on

    _lived(tmp_path, living)


@pytest.mark.requirement("reviews:durable", "reviews:carried-out")
def test_what_was_restricted_before_a_long_outage_is_renewed_before_that_runs_out(tmp_path: Path) -> None:
    def at(moment: str) -> None:
        if moment == "review removal placed":
            raise _KilledError

    async def begun(desk: Desk) -> None:
        await _small(desk)
        await desk.started()
        await desk.need()
        with pytest.raises(_KilledError):
            await _answered(desk, "sam")

    async def gone_on(desk: Desk) -> None:
        await desk.after(110)  # clocks begin anew with each process: 10 days after it ended
        (review,) = desk.room.reviews.find()
        (ours,) = desk.place.registry.restrictions_of(review.agent)
        assert ours.until_us in {one.until_us for one in review.removals}
        left_days = (ours.until_us - desk.place.clock.now().wall_us) / 86_400_000_000
        await desk.after(left_days - 0.5)
        await desk.after(1)
        assert desk.place.decision(tool="spare").code is Code.RESTRICTED

    _lived(tmp_path, begun, at=at)
    _lived(tmp_path, gone_on)
