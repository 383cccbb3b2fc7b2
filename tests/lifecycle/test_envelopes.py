"""Changes that were approved beforehand: in force without a vote by another hand, on record, over with the votes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import ApprovalRequest, ApprovalState
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.kernel.ids import ServerName
from accredit.registry.interchange.facts import ExchangeForm
from accredit.registry.model import Tier
from tests.lifecycle.house import House, agent, file, house, operator, tool

DANA, LENA, OLIVE, SAM = operator("dana"), operator("lena"), operator("olive"), operator("sam")
DAY_S = 86_400
NEWER, NEWEST = ({"digest": "sha256:" + number * 64} for number in "12")
ENVELOPE = {
    "prompts": [NEWER["digest"]],
    "limits": {"calls": {"perMinute": 120}},
    "definitions": [{"server": "crm", "allow": ["read"]}],
    "models": [{"provider": "maker", "model": "other"}],
}
LIMITED = {"limits": {"calls": {"perMinute": 120}, "concurrency": 2}}


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


async def asked(place: House, **spec: Any) -> ApprovalRequest:
    """A newer version with the envelope, submitted by its owner."""
    await place.operations.apply(DANA, file(agent(**{"envelope": ENVELOPE, **spec})))
    request = await place.operations.submit(DANA, place.agent().id)
    assert request is not None
    return request


async def kinds(place: House) -> list[str]:
    await asyncio.to_thread(place.room.timeline.catch_up)
    return [one.kind for one in place.room.timeline.of(place.agent().id) if one.kind.startswith("change.")]


@pytest.mark.requirement("envelope:within", "envelope:listed")
@pytest.mark.parametrize(
    ("spec", "facet"),
    [
        ({"prompt": NEWER}, "prompt"),
        (LIMITED, "limits"),
        ({"models": [{"provider": "maker", "model": "other"}]}, "models"),
    ],
    ids=["prompt", "limits", "models"],
)
def test_what_is_within_the_envelope_is_put_in_force_by_another_hand_and_listed(
    tmp_path: Path, spec: dict[str, Any], facet: str
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(envelope=ENVELOPE)
            request = await asked(place, **spec)
            assert (request.state, request.missing) == (ApprovalState.APPROVED, ())
            assert all(vote.carried_from for vote in request.votes)
            (change,) = place.room.dossiers.of(found.id).changes
            assert (change.facet, change.within, change.rule) == (facet, True, "envelope")
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, found.id)
            assert refused.value.code is Code.SEPARATION_OF_DUTIES
            await place.operations.activate(OLIVE, found.id)
            assert place.agent().version.digest == request.subject.digest
            assert place.agent().tier is Tier.LOW
            await place.operations.watch()
            assert place.room.monitor.alerts(agent=found.id) == (), "what is in force is what was approved"
            assert await kinds(place) == ["change.within_envelope"]
            envelope = place.room.dossiers.of(found.id).envelope
            (use,) = envelope.uses
            assert (use.version, use.by, envelope.since_votes) == (request.subject.digest, DANA.person, 1)
            assert [one["facet"] for one in use.changes] == [facet]
            assert envelope.until_us == request.votes[0].at_us + 365 * DAY_S * 1_000_000
            # what a person votes on begins the count anew
            place.clock.advance(1)
            voted = await asked(place, purpose="be governed and counted", **spec)
            await place.approve(voted.id)
            await place.operations.activate(DANA, found.id)
            envelope = place.room.dossiers.of(found.id).envelope
            assert (len(envelope.uses), envelope.since_votes) == (1, 0)

    run(story())


@pytest.mark.requirement("envelope:outside", "envelope:itself")
@pytest.mark.parametrize(
    "spec",
    [
        {"prompt": NEWEST},
        {"limits": {"calls": {"perMinute": 60}, "concurrency": 3}},
        {**LIMITED, "envelope": {**ENVELOPE, "limits": {"calls": {"perMinute": 121}}}},
        {"prompt": NEWER, "purpose": "sell"},
        {"prompt": NEWER, "autonomy": "acts-unattended"},
        {"prompt": NEWER, "owner": "lee@example.com", "backupOwner": None},
        {"prompt": NEWER, "use": {"annex3": False, "decidesOnPeople": False, "legalRole": "provider"}},
        {"prompt": NEWEST, "envelope": {**ENVELOPE, "prompts": [NEWER["digest"], NEWEST["digest"]]}},
        {"prompt": NEWER, "envelope": {}},
    ],
    ids=[
        "prompt",
        "limit",
        "higher-limit",
        "purpose",
        "autonomy",
        "owner",
        "legal-role",
        "wider-envelope",
        "no-envelope",
    ],
)
def test_what_is_outside_of_it_or_of_a_facet_that_is_left_to_people_is_voted_on(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            await place.active(envelope=ENVELOPE)
            request = await asked(place, **spec)
            assert request.state is ApprovalState.OPEN
            assert request.missing
            assert await kinds(place) == []

    run(story())


@pytest.mark.requirement("envelope:ends")
def test_an_envelope_ends_with_the_votes_on_it_however_often_it_was_used(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(envelope=ENVELOPE)
            place.clock.advance(300 * DAY_S)
            assert (await asked(place, prompt=NEWER)).state is ApprovalState.APPROVED
            await place.operations.activate(OLIVE, found.id)
            place.clock.advance(66 * DAY_S)
            request = await asked(place, prompt=NEWER, **LIMITED)
            assert request.state is ApprovalState.OPEN
            assert request.votes == ()

    run(story())


@pytest.mark.requirement("envelope:within", "envelope:outside")
@pytest.mark.parametrize(("said", "state"), [
    ({"title": "Read"}, ApprovalState.APPROVED),
    ({"description": "Does read, and tells it."}, ApprovalState.OPEN),
])  # fmt: skip
def test_another_definition_of_a_tool_is_within_it_if_it_differs_in_little(
    tmp_path: Path, said: dict[str, Any], state: ApprovalState
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            await place.active(envelope=ENVELOPE)
            place.offers.tools["read"] = tool("read") | said
            repinned = await place.operations.repin(OLIVE, ServerName("crm"), "read")
            assert isinstance(repinned, ApprovalRequest)
            await place.approve(repinned.id)
            request = await asked(place)
            assert request.state is state

    run(story())


@pytest.mark.requirement("envelope:outside")
def test_what_was_quarantined_is_looked_at_again_whatever_was_approved_beforehand(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(envelope=ENVELOPE)
            await place.operations.apply(DANA, file(agent(envelope=ENVELOPE, prompt=NEWER)))
            await place.operations.quarantine(SAM, found.id, "odd")
            candidate = place.agent().candidate
            assert candidate is not None
            request = await place.approvals.open_version(place.agent(), candidate, DANA)
            assert (request.state, request.votes) == (ApprovalState.OPEN, ())

    run(story())


@pytest.mark.requirement("envelope:listed")
def test_annex_iv_tells_of_what_was_determined_beforehand_and_of_each_use(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(envelope=ENVELOPE)
            await asked(place, prompt=NEWER)
            await place.operations.activate(OLIVE, found.id)
            made = place.room.interchange.document(found.id, ExchangeForm.ANNEX_IV)
            (point,) = [one for one in made.body["points"] if one["point"] == "2(f)"]
            told = [one["text"] for one in point["facts"]]
            assert f"Approved beforehand, of prompts: {NEWER['digest']}" in told
            assert "Approved beforehand, of limits: callsPerMinute up to 120" in told
            assert "Approved beforehand, of models: other of maker" in told
            assert f"Version {place.agent().version.digest} came into force within it" in told

    run(story())
