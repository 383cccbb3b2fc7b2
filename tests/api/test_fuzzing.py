"""Made-up requests, good and bad, find nothing: each operation answers as its description says, also what destroys."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.api.fuzzing import Outcome, fuzz, inhabited
from tests.api.installation import Installation, installation

_DESTROYING = (
    "DELETE /api/v1/tokens/{token_id}",
    "POST /api/v1/agents/{name}/quarantine",
    "POST /api/v1/agents/{name}/retire",
    "POST /api/v1/agents/{name}/revoke",
    "POST /api/v1/credentials/{credential}/revoke",
    "POST /api/v1/incidents/{incident}/close",
    "POST /api/v1/issuers/{issuer}/revoke",
    "POST /api/v1/persons/{person}/leave",
    "POST /api/v1/policy/publish",
)


def _fuzzed(place: Installation, seed: int) -> Outcome:
    outcome = fuzz(place, seed=seed, examples=4, phases=("examples", "fuzzing"))
    assert not outcome.findings, "\n".join(outcome.findings[:20])
    assert outcome.complete
    return outcome


def _carried_out(outcome: Outcome, operation: str) -> bool:
    return any(status < 300 for status in outcome.answered[operation])


@pytest.mark.timeout(240)  # about 25 s on an idle machine
@pytest.mark.requirement("api:openapi:fuzzed")
def test_made_up_requests_find_nothing(tmp_path: Path) -> None:
    with installation(tmp_path / "data") as place:  # of its own: little of it is left
        inhabited(place)
        with place.client() as http:
            described = http.get("/api/openapi.json").json()
        outcome = _fuzzed(place, 20261123)
        # what is drawn rests on ids, which are new each time: what nothing was destroyed by is drawn for again
        for seed in range(1, 4):
            if all(_carried_out(outcome, one) for one in _DESTROYING):
                break
            again = _fuzzed(place, seed)
            for label, statuses in again.answered.items():
                outcome.answered.setdefault(label, Counter()).update(statuses)
    operations = {f"{method.upper()} {path}" for path, each in described["paths"].items() for method in each}
    assert set(outcome.answered) == operations
    for one in _DESTROYING:
        assert _carried_out(outcome, one), f"{one} was never carried out"
    assert max(status for statuses in outcome.answered.values() for status in statuses) < 500
