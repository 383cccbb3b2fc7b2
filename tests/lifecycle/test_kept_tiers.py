"""Tiers are kept for lists only as long as everything they rest on stays what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import PersonId
from accredit.registry import rows
from accredit.registry.model import Tier
from tests.lifecycle.house import House, agent, file, house, server
from tests.lifecycle.test_risen_tiers import DANA, ENDING, MIRA, OLIVE, RISES, approved, facts, release, run


def _listed(place: House) -> Tier | None:
    """As a list has it, which must be what a computation of its own comes to."""
    judging, found = place.room.judging, place.agent()
    listed = judging.tier_of(found)
    assert listed is judging.tiering(found, found.version).tier
    again = judging.kept_tier(found)
    assert again == (None if found.version.manifest["spec"]["delegates"] else (listed,))
    return listed


@pytest.mark.requirement("console:fleet:tiers")
@pytest.mark.parametrize("why", RISES)
def test_a_kept_tier_goes_with_whatever_raises_or_rights_it(tmp_path: Path, why: str) -> None:
    async def story() -> None:
        rise = RISES[why]
        async with house(tmp_path) as place:
            await approved(place, rise)
            assert _listed(place) is rise.tier
            place.clock.advance(1)
            await rise.raised(place)
            assert _listed(place) is not rise.tier
            place.clock.advance(1)
            await rise.righted(place)
            assert _listed(place) is rise.tier

    run(story())


@pytest.mark.requirement("console:fleet:tiers")
def test_a_kept_tier_goes_with_the_owner_the_version_and_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await facts(place)
            found = await place.active()
            assert _listed(place) is Tier.LOW
            with monkeypatch.context() as tampered:
                tampered.setattr(type(place.control), "unproven", frozenset({(rows.INCIDENT, "inc_1")}))
                with pytest.raises(UnavailableError):
                    place.room.judging.tier_of(found)
                await place.room.judging.keep_tiers()
            assert _listed(place) is Tier.LOW
            await place.operations.apply(DANA, file(agent("other")))
            assert place.room.judging.kept_tier(place.agent("other")) is None
            await place.room.judging.keep_tiers(at_most=0)
            assert place.room.judging.kept_tier(place.agent("other")) is None
            await place.room.judging.keep_tiers()
            assert place.room.judging.kept_tier(place.agent("other")) == (Tier.LOW,)
            await place.operations.person_left(MIRA, PersonId(found.owner), "moved on")
            assert _listed(place) is None

    run(story())


@pytest.mark.requirement("console:fleet:tiers")
@pytest.mark.parametrize("where", ["scope", "condition"])
def test_a_policy_that_names_one_agent_moves_no_other_however_alike_they_are(tmp_path: Path, where: str) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.operations.apply(OLIVE, file(server("crm-dev", "development", **ENDING)))
            tools = [{"server": "crm-dev", "allow": ["write"]}]
            for name in ("one", "two"):
                document = agent(name, "development", tools=tools, autonomy="each-act-approved")
                await place.operations.apply(DANA, file(document))
            judging = place.room.judging
            one, two = (place.agent(name, "development") for name in ("one", "two"))
            before = [judging.tiering(each, each.version).score for each in (one, two)]
            assert before[0] == before[1]
            scope = f'principal == Agent::"{one.id}"'
            text = f"forbid ({scope}, action, resource);"
            if where == "condition":
                text = f"forbid (principal, action, resource) when {{ {scope} }};"
            await release(place, {"org/held.cedar": f'@hold("business-owner") {text}'})
            after = [judging.tiering(each, each.version).score for each in (one, two)]
            assert (after[0] < before[0], after[1]) == (True, before[1])

    run(story())
