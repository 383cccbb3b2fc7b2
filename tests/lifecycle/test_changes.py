"""What a newer version needs until it is in force: votes on what widens, another hand for what only narrows."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import ApprovalRequest, ApprovalState
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.registry.model import Role, Tier
from tests.lifecycle.house import House, agent, file, house, operator, server

DANA, LENA, OLIVE = operator("dana"), operator("lena"), operator("olive")
WRITE = {"effect": "write", "scope": "own", "data": ["internal"], "price": "0 USD"}
BOTH = [{"server": "crm", "allow": ["read", "write"]}]
"""With the narrower `read` taken away it stays in its tier."""


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def limited(calls: int) -> dict[str, Any]:
    return {"limits": {"calls": {"perMinute": calls}, "concurrency": 2}}


async def asked(place: House, **spec: Any) -> ApprovalRequest:
    """A newer version, submitted by its owner."""
    await place.operations.apply(DANA, file(agent(**spec)))
    request = await place.operations.submit(DANA, place.agent().id)
    assert request is not None
    return request


@pytest.mark.requirement("change:non-material")
def test_a_version_that_only_narrows_is_activated_by_another_hand_without_a_vote(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            before = await place.active()
            request = await asked(place, stores=[], **limited(75))
            assert request.state is ApprovalState.APPROVED
            assert all(vote.carried_from for vote in request.votes)
            dossier = place.room.dossiers.of(before.id)
            assert [(one.facet, one.material) for one in dossier.changes] == [("limits", False), ("stores", False)]
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, before.id)
            assert refused.value.code is Code.SEPARATION_OF_DUTIES
            assert place.agent().version == before.version
            await place.operations.activate(OLIVE, before.id)
            assert place.agent().version.digest == request.subject.digest
            assert place.agent().version.limits.calls_per_minute == 75
            await asyncio.to_thread(place.room.timeline.catch_up)
            told = [
                event for event in place.room.dossiers.of(before.id).timeline if event.kind == "change.non_material"
            ]
            assert len(told) == 1
            assert [(each["facet"], each["material"]) for each in told[0].body["changed"]] == [
                ("limits", False),
                ("stores", False),
            ]

    run(story())


@pytest.mark.requirement("change:non-material")
def test_what_only_narrows_keeps_the_votes_and_the_access_validation_of_the_medium_tier(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(write=WRITE))
            await place.active(tools=BOTH, autonomy="acts-with-approval")
            assert place.agent().tier is Tier.MEDIUM
            narrower = [{"server": "crm", "allow": ["write"]}]
            request = await asked(place, tools=narrower, autonomy="acts-with-approval")
            assert request.state is ApprovalState.APPROVED
            assert {vote.role for vote in request.votes} == {Role.TEAM_LEAD, Role.SECURITY}
            await place.operations.activate(LENA, place.agent().id)
            assert [grant.tool for grant in place.agent().version.grants] == ["crm/write"]

    run(story())


@pytest.mark.requirement("change:material")
@pytest.mark.parametrize(
    "spec",
    [
        {"purpose": "sell", "stores": []},
        {"prompt": {"digest": "sha256:" + "1" * 64}},
        {"use": {"annex3": False, "decidesOnPeople": False, "legalRole": "provider"}},
        limited(76),
        {"audience": "partners", "stores": []},
    ],
    ids=["purpose", "prompt", "legal-role", "limit", "audience"],
)
def test_what_widens_is_voted_on_however_much_narrows_beside_it(tmp_path: Path, spec: dict[str, Any]) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            before = await place.active()
            request = await asked(place, **spec)
            assert request.state is ApprovalState.OPEN
            assert request.missing
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(OLIVE, before.id)
            assert refused.value.code is Code.CLEARANCE_REQUIRED

    run(story())


@pytest.mark.requirement("change:material")
def test_another_tier_is_voted_on_also_if_it_is_a_lower_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(write=WRITE))
            await place.active(tools=BOTH, autonomy="acts-with-approval")
            request = await asked(place, autonomy="acts-with-approval")
            assert request.tier is Tier.LOW
            assert request.state is ApprovalState.OPEN

    run(story())


@pytest.mark.requirement("change:creeping")
def test_a_limit_that_creeps_up_in_small_steps_is_voted_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            await place.active()
            assert (await asked(place, **limited(70))).state is ApprovalState.APPROVED
            await place.operations.activate(OLIVE, place.agent().id)
            assert (
                await asked(place, **limited(80))
            ).state is ApprovalState.OPEN  # 14 % more, and 33 % of what was seen
            assert (await asked(place, **limited(74))).state is ApprovalState.APPROVED

    run(story())


@pytest.mark.requirement("change:non-material")
def test_who_voted_before_and_declares_the_newer_version_has_no_vote_on_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await place.operations.apply(LENA, file(agent(stores=[])))
            request = await place.operations.submit(DANA, found.id)
            assert request is not None
            assert (request.state, request.votes) == (ApprovalState.OPEN, ())

    run(story())


@pytest.mark.requirement("change:non-material")
def test_what_was_quarantined_is_looked_at_again_whatever_narrows(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await place.operations.apply(DANA, file(agent(stores=[])))
            await place.operations.quarantine(operator("sam"), found.id, "odd")
            replacing = place.approvals  # the desk itself, for the state refuses to be submitted
            candidate = place.agent().candidate
            assert candidate is not None
            request = await replacing.open_version(place.agent(), candidate, DANA)
            assert (request.state, request.votes) == (ApprovalState.OPEN, ())

    run(story())
