"""Requests made up from the API's own description, good ones and bad ones, against a real installation.

`make test` runs it briefly and with a fixed seed; `make fuzz` (this module as a program) longer, with a new one.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson
import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.engine import StopReason, events, from_schema
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext

from tests.api.installation import Installation, installation

__all__ = ["Outcome", "fuzz", "inhabited"]

_ANSWERS: Final = ["2xx", "400", "401", "403", "404", "409"]
"""What a request of the described form may be answered with.

400 among them, because the rooms know more than a form can say: that a text is a manifest, that a name has an owner.
Where a form alone refuses what its description allows, `form_is_as_described` finds it instead.
"""
_REFUSALS: Final = ["400", "401", "403", "404", "405", "409", "413", "415"]
"""What a request of another form may be answered with; 413 for one that is bad by being large, and no 5xx."""
_SPARE: Final = "spare-key"
"""A credential that nothing needs."""
_BEYOND_FORMS: Final = "Value error, "
"""How pydantic begins what a validator of ours refuses: rules between fields, which JSON Schema does not hold."""


@dataclass
class Outcome:
    """What a run came to."""

    findings: list[str] = field(default_factory=list)
    answered: dict[str, Counter[int]] = field(default_factory=dict)
    """How often each operation gave which status."""
    complete: bool = False


def fuzz(place: Installation, *, seed: int, examples: int, phases: tuple[str, ...]) -> Outcome:
    """Every check there is over every operation there is."""
    config = schemathesis.Config.from_dict({
        "seed": seed,
        "continue-on-failure": True,
        # a name before its environment is a pattern that few texts match; every operation must be tried all the same
        "suppress-health-check": ["all"],
        "headers": {"Authorization": f"Bearer {place.token}"},
        "generation": {"max-examples": examples, "mode": "all", "no-shrink": True},
        "phases": {one: {"enabled": one in phases} for one in ("examples", "coverage", "fuzzing", "stateful")},
        "checks": {
            "enabled": True,
            "negative_data_rejection": {"expected-statuses": _REFUSALS},
            "positive_data_acceptance": {"expected-statuses": _ANSWERS},
        },
    })  # fmt: skip
    schema = schemathesis.openapi.from_url(f"{place.url}/api/openapi.json", config=config)
    known = _known(place)

    @schema.hook("map_case")
    def at_home(_: HookContext, case: Case[Any]) -> Case[Any]:
        return _at_home(case, known)

    outcome = Outcome()
    for event in from_schema(schema).execute():
        outcome.findings += _found(event)
        if isinstance(event, events.ScenarioFinished):
            for key, interaction in event.recorder.interactions.items():
                if interaction.response is not None:
                    label = event.recorder.cases[key].value.operation.label
                    outcome.answered.setdefault(label, Counter())[interaction.response.status_code] += 1
        elif isinstance(event, events.EngineFinished):
            outcome.complete = event.stop_reason is StopReason.COMPLETED
    return outcome


@schemathesis.check
def form_is_as_described(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """No form refuses what its description allows."""
    if response.status_code == 400 and case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
        refused = [one for one in response.json().get("errors", []) if _BEYOND_FORMS not in one]
        if response.json()["detail"] == "the request does not have the form this route takes":
            assert not refused, f"the description allows what is refused: {refused}"


def _known(place: Installation) -> Mapping[str, list[str]]:
    """Ids and names of what is there, by the parameter or field that takes them: what is destroyed must be real."""
    with place.client() as http:

        def of(path: str, key: str = "id") -> list[str]:
            return [str(one[key]) for one in http.get(f"/api/v1/{path}").json()["items"]]

        people = [one for one in of("persons") if one != http.get("/api/v1/whoami").json()["person"]]
        holds = of("holds?state=all")
        return {
            "agent": of("agents"),
            "alert": of("alerts?state=all"),
            "credential": of("credentials"),
            "decision": [
                one["body"]["decision_id"]
                for one in http.get("/api/v1/audit/records?kind=decision").json()["items"]
            ],
            "hold": holds,
            "incident": of("incidents?state=all"),
            "issuer": of("issuers"),
            "key": [key["id"] for one in http.get("/api/v1/enforcement-points").json()["items"] for key in one["keys"]],
            "point": of("enforcement-points", "name"),
            "name": of("agents"),
            "person": people,
            "restriction": of("restrictions"),
            "server": of("servers", "name"),
            "thumbprint": of("credentials", "thumbprint"),
            "to": people,
            "tool": ["crm/count_tickets"],
            "view_digest": [http.get(f"/api/v1/holds/{one}").json()["view_digest"] for one in holds],
        }  # fmt: skip


def _at_home(case: Case[Any], known: Mapping[str, list[str]]) -> Case[Any]:
    """Three of four good requests speak of what is there, and none of `4.0`.

    JSON Schema calls that an integer; we take no number with a fraction where a whole one belongs (DESIGN §3.4).
    """
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    if isinstance(case.body, dict | list):
        case.body = _whole(case.body)
    servers = case.operation.path.startswith("/api/v1/servers/")
    if case.operation.path.startswith("/api/v1/upstream-credentials/") and "name" in case.path_parameters:
        case.path_parameters["name"] = _SPARE  # without the other one nothing could be asked of the tool server
    if case.operation.label == "POST /api/v1/policy/publish" and isinstance(case.body, dict):
        # texts that are made up are no policies, and without one the release is in force once `apply` published it
        case.body["files"] = {"accredit.toml": f"# {crc32(repr(case.body).encode())}\n"}
    for given in (case.path_parameters, case.body):
        if not isinstance(given, dict):
            continue
        for name in list(given):
            there = known.get("server" if servers and name == "name" else name, [])
            chosen = crc32(repr(given[name]).encode())
            if there and chosen % 4:
                given[name] = there[chosen // 4 % len(there)]
    return case


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _found(event: events.EngineEvent) -> Iterator[str]:
    if isinstance(event, events.NonFatalError):
        yield f"{event.label}: {event.value}"
    elif isinstance(event, events.FatalError):
        yield f"the run broke off: {event.exception}"
    elif isinstance(event, events.ScenarioFinished):
        for key, checks in event.recorder.checks.items():
            for one in checks:
                if one.failure_info is not None:
                    asked = event.recorder.interactions[key].request
                    yield (
                        f"{one.name}: {one.failure_info.failure.message}\n"
                        f"    {asked.method} {asked.uri} {(asked.body or b'')[:500]!r}"
                    )


def inhabited(place: Installation) -> None:
    """Leave something of each kind in it: a held call, an incident, a restriction, people."""
    place.call("refund-desk", "refund_order", {"order_id": "o-1", "cents": 7})
    with place.client() as http:
        made = [
            http.post("/api/v1/agents/refund-desk/incidents", json={"severity": 3, "reason": "a refund went astray"}),
            http.post(
                "/api/v1/agents/support-copilot/restrictions",
                json={"kind": "read-only", "minutes": 60, "cause": "while we look"},
            ),
        ]
        point = {"apiVersion": "accredit/v1", "kind": "EnforcementPoint", "metadata": {"name": "gate"}, "spec": {}}
        files = [{"name": "gate.json", "text": orjson.dumps(point).decode()}]
        assert http.post("/api/v1/apply", json={"files": files}).status_code == 200
        made.append(http.post("/api/v1/enforcement-points/gate/keys", json={}))
        spare = {"origin": "http://127.0.0.1:1", "header": "Authorization", "value": "Bearer nothing-needs-it"}
        assert http.put(f"/api/v1/upstream-credentials/{_SPARE}", json=spare).status_code == 200
    assert [one.status_code for one in made] == [201, 201, 201]


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=150)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    given = parser.parse_args()
    say = sys.stdout.write
    say(f"seed {given.seed}, {given.examples} examples of each operation\n")
    with tempfile.TemporaryDirectory() as folder, installation(Path(folder) / "data") as place:
        inhabited(place)
        outcome = fuzz(
            place, seed=given.seed, examples=given.examples, phases=("examples", "coverage", "fuzzing", "stateful")
        )
    for operation, statuses in sorted(outcome.answered.items()):
        say(f"{operation:60} {dict(sorted(statuses.items()))}\n")
    for one in outcome.findings:
        say(f"{one}\n")
    say(f"{len(outcome.findings)} findings, {'complete' if outcome.complete else 'broken off'}\n")
    return 1 if outcome.findings or not outcome.complete else 0


if __name__ == "__main__":
    sys.exit(_main())
