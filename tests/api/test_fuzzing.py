"""Made-up requests, good and bad, find nothing: each operation answers as its description says, also what destroys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.fuzzing import fuzz, inhabited
from tests.api.installation import installation

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


@pytest.mark.timeout(240)  # about 25 s on an idle machine
@pytest.mark.requirement("api:openapi:fuzzed")
def test_made_up_requests_find_nothing(tmp_path: Path) -> None:
    with installation(tmp_path / "data") as place:  # of its own: little of it is left
        inhabited(place)
        with place.client() as http:
            described = http.get("/api/openapi.json").json()
        outcome = fuzz(place, seed=20261123, examples=4, phases=("examples", "fuzzing"))
    assert not outcome.findings, "\n".join(outcome.findings[:20])
    assert outcome.complete
    operations = {f"{method.upper()} {path}" for path, each in described["paths"].items() for method in each}
    assert set(outcome.answered) == operations
    for one in _DESTROYING:
        assert any(status < 300 for status in outcome.answered[one]), f"{one} was never carried out"
    assert max(status for statuses in outcome.answered.values() for status in statuses) < 500
