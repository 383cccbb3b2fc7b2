"""An agent whose owner left, as those who answer for it see it in a company that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.company import Company, agent, company


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("successions") / "data") as made:
        yield made


@pytest.mark.requirement("people:adopt", "people:succession:shown")
def test_whoever_is_asked_sees_it_and_takes_it_over_and_who_has_no_part_does_not(firm: Company) -> None:
    def waiting(who: str) -> list[str]:
        return [one["agent_name"] for one in firm.get(who, "successions")["items"]]

    hack = "development/orphaned"
    firm.apply("dana", agent("orphaned", environment="development"))
    assert waiting("una") == []
    assert firm.attempt("lee", f"agents/{hack}/adopt", {"reason": "mine"}) == (409, "conflict")
    firm.post("ada", f"persons/{firm.ids['dana']}/leave", {"reason": "left"})
    assert firm["dana"].get("/api/v1/successions").status_code == 401, "nothing of theirs works any more"
    firm.place.do(firm.place.plane.room.people.successions.round())
    (row,) = (one for one in firm.get("una", "successions")["items"] if one["agent_name"] == hack)
    assert (row["owner"], row["asked_as"], row["asked"]) == (firm.ids["dana"], "backup owner", [firm.ids["lee"]])
    assert (row["step"], row["next"], row["accepted_by"]) == ("asked", "read-only", None)
    assert hack in waiting("lee")
    assert waiting("nick") == []
    assert firm.attempt("nick", f"agents/{hack}/adopt", {"reason": "mine"}) == (404, "not_found")
    assert firm.attempt("sam", f"agents/{hack}/adopt", {"reason": "mine"}) == (403, "not_authorised")
    made = firm.post("lee", f"agents/{hack}/adopt", {"reason": "I know it well"})
    assert (made["owner"], made["next_owner"]) == (firm.ids["lee"], None), "in development it is theirs at once"
    assert hack not in waiting("lee")
    assert firm.attempt("lee", f"agents/{hack}/adopt", {"reason": "again"}) == (409, "conflict")
