from __future__ import annotations

import pytest

from tests.approvals.organisations import tried


@pytest.mark.requirement("duties:law:any-path")
def test_in_no_random_organisation_does_anybody_get_their_own_thing_approved_by_any_path() -> None:
    seen = tried(400)
    # not vacuous: gates are completed in every way there is, and refused for every reason
    for way in ("cleared", "cleared within a template", "cleared in another's place", "cleared under obligations",
                "cleared by a quorum", "glass broken", "glass refused", "voted abstain"):  # fmt: skip
        assert seen[way] >= 1, (way, seen)
    assert seen["cleared"] >= 40
    assert seen["refused separation_of_duties"] >= 1_000
