"""What an agent could do without, as a manifest that can be applied."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.audit.model import Entry, Facts, Usage
from tests.enforcement.place import tool
from tests.lifecycle.house import House, house, operator, server

TOOLS: dict[str, Any] = {
    name: {"effect": "read", "data": ["internal"], "price": "0 USD"} for name in ("read", "write", "other")
}  # fmt: skip
DAY_S = 86_400


async def used(place: House, tool: str) -> None:
    facts = Facts("decision", agent=place.agent().id, tool=tool, decision="allow", environment="production")
    await place.log.append(Entry(facts, place.clock.now().wall_us, {}, usage=Usage(allows=1)))


@pytest.mark.requirement("monitoring:suggestion:manifest")
def test_what_was_not_used_for_long_is_left_out_with_its_reason_and_the_rest_can_be_applied(tmp_path: Path) -> None:
    async def live() -> None:
        async with house(tmp_path) as place:
            await place.people()
            place.offers.tools["other"] = tool("other")
            await place.tools(server(**TOOLS))
            agent = await place.active(tools=[{"server": "crm", "allow": ["read", "write", "other"]}])
            assert place.room.reviews.suggested(agent).removals == ()  # too new for anything to be said
            await used(place, "crm/write")
            place.clock.advance(200 * DAY_S)
            await used(place, "crm/read")
            found = await asyncio.to_thread(place.room.reviews.suggested, agent)
            assert {one.tool: one.calls for one in found.removals} == {"crm/write": 0, "crm/other": 0}
            reasons = {one.tool: one.suggestion.reason for one in found.removals if one.suggestion}
            assert reasons == {
                "crm/write": "it was not used for 200 days", "crm/other": "it was never used in 200 days",
            }  # fmt: skip
            told = found.manifest.document["spec"]["tools"]
            assert [(one["server"], one["allow"]) for one in told] == [("crm", ["read"])]
            await place.operations.apply(operator("dana"), [("f.json", orjson.dumps(dict(found.manifest.document)))])
            candidate = place.registry.get(agent.id)
            assert candidate is not None
            assert {grant.tool for grant in place.registry.versions(agent.id)[-1].grants} == {"crm/read"}

    asyncio.run(asyncio.wait_for(live(), 60))
