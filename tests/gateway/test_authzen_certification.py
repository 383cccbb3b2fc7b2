"""The certification scenario of AuthZEN 1.0, test by test, and the interop scenarios, pair by pair.

Their policies and entities are releases (`interop/*/ext/`); their cases and answers are the published ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs
import pytest

from tests.gateway.asking import ALICE_READS, INTEROP, Answer, Asking, asking, release_of

_DECIDED: Final = jsonschema_rs.validator_for(
    json.loads((INTEROP / "schemas/evaluation-response.schema.json").read_text())
)
ALICE: Final = {"type": "user", "id": "alice"}
BOB: Final = {"type": "user", "id": "bob"}
ADMIN: Final = {**BOB, "properties": {"role": "admin"}}
ONE: Final = {"type": "record", "id": "record-1"}
TWO: Final = {"type": "record", "id": "record-2"}
ACTIVE: Final = {**ONE, "properties": {"status": "active"}}
ARCHIVED: Final = {**TWO, "properties": {"status": "archived"}}
USERS: Final = {"type": "user"}
RECORDS: Final = {"type": "record"}
CONTEXT: Final = {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}


def _doing(name: str, **properties: Any) -> dict[str, Any]:
    return {"name": name} | ({"properties": properties} if properties else {})


READ, WRITE = _doing("read"), _doing("write")


@pytest.fixture(scope="module")
def pdp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with asking(tmp_path_factory.mktemp("certification") / "data", release_of("certification")) as here:
        yield here


def _json(answer: Answer) -> Any:
    """The body of a success, of the media type that is due."""
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json


def _decisions(answer: Answer) -> list[bool]:
    body = _json(answer)
    assert "decision" not in body
    for one in body["evaluations"]:
        _DECIDED.validate(one)
    return [one["decision"] for one in body["evaluations"]]


def _found(answer: Answer, kind: str | None) -> set[str]:
    """What a search found, each of the form that is due."""
    body = _json(answer)
    assert isinstance(body["results"], list)
    assert isinstance(body["page"]["next_token"], str)
    for one in body["results"]:
        assert one.keys() == ({"name"} if kind is None else {"type", "id"}), one
        assert kind is None or one["type"] == kind
    names = [one["name"] if kind is None else one["id"] for one in body["results"]]
    assert len(set(names)) == len(names)
    return set(names)


EVALUATED: dict[str, tuple[dict[str, Any], bool]] = {
    "c-2-2-1": ({"subject": ALICE, "action": READ, "resource": ONE}, True),
    "c-2-2-2": ({"subject": BOB, "action": WRITE, "resource": ONE}, False),
    "c-2-2-3": ({"subject": ALICE, "action": READ, "resource": ONE, "context": CONTEXT}, True),
    "c-2-2-4": ({"subject": ALICE, "action": WRITE, "resource": ARCHIVED}, False),
    "c-2-2-5": ({"subject": ADMIN, "action": WRITE, "resource": ARCHIVED}, True),
    "c-2-2-6": ({"subject": ALICE, "action": _doing("delete", soft=True), "resource": ONE}, True),
    "c-2-2-7": ({"subject": ALICE, "action": _doing("delete", soft=False), "resource": ONE}, False),
    "c-2-2-8": (
        {
            "subject": {**ALICE, "properties": {"department": "Sales", "role": "manager"}},
            "action": _doing("read", method="GET"),
            "resource": {**ONE, "properties": {"status": "active", "owner": "bob"}},
        },
        True,
    ),
    "c-2-2-9": (
        {"subject": ALICE, "action": READ, "resource": ONE, "foo": "bar", "futureField": {"nested": True}},
        True,
    ),
    # the fixture's rules that no case of the level states by itself
    "c-1-4 rule 2": ({"subject": ALICE, "action": WRITE, "resource": ONE}, True),
    "c-1-4 rule 3": ({"subject": BOB, "action": READ, "resource": ONE}, True),
}


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize("test", EVALUATED)
def test_basic_level_evaluations(pdp: Asking, test: str) -> None:
    body, expected = EVALUATED[test]
    answer = pdp.asked("evaluation", body)
    told = _json(answer)
    _DECIDED.validate(told)  # c-2-3-1, c-2-3-2
    assert told["decision"] is expected
    # c-1-6: context changes nothing, and c-2-6: neither does asking again
    assert pdp.asked("evaluation", {**body, "context": CONTEXT}).decision is expected
    assert [pdp.asked("evaluation", body).decision for _ in range(3)] == [expected] * 3


def _without(*path: str) -> dict[str, Any]:
    """The first fixture request without one of its fields."""
    body = json.loads(json.dumps(ALICE_READS))
    within = body
    for name in path[:-1]:
        within = within[name]
    del within[path[-1]]
    return dict(body)


REFUSED: dict[str, Any] = {
    "c-2-4-1 subject": _without("subject"),
    "c-2-4-1 action": _without("action"),
    "c-2-4-1 resource": _without("resource"),
    "c-2-4-2 subject.type": _without("subject", "type"),
    "c-2-4-2 subject.id": _without("subject", "id"),
    "c-2-4-2 action.name": _without("action", "name"),
    "c-2-4-2 resource.type": _without("resource", "type"),
    "c-2-4-2 resource.id": _without("resource", "id"),
    "c-2-4-6 subject": {**ALICE_READS, "subject": "alice"},
    "c-2-4-6 action.name": {**ALICE_READS, "action": {"name": 123}},
}


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize("test", REFUSED)
def test_basic_level_errors(pdp: Asking, test: str) -> None:
    pdp.asked("evaluation", REFUSED[test]).problem(400, "body_malformed")
    # c-3-4-2: the other endpoint without `evaluations` is the same one
    pdp.asked("evaluations", REFUSED[test]).problem(400, "body_malformed")


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", json.dumps(ALICE_READS).encode()),  # c-2-4-3
        ("application/x-www-form-urlencoded", json.dumps(ALICE_READS).encode()),
        ("application/json", b'{"subject": '),  # c-2-4-4
        ("application/json", b""),  # c-2-4-5
        ("application/json", b"[]"),
    ],
)
def test_bodies_that_are_no_json_objects(pdp: Asking, content_type: str, body: bytes) -> None:
    for path in ("evaluation", "evaluations", "search/subject", "search/resource", "search/action"):
        pdp.run(pdp.send(path, body, headers={"content-type": content_type})).problem(400, "body_malformed")


@pytest.mark.requirement("gateway:authzen:certification")
def test_request_ids_are_echoed_and_not_needed(pdp: Asking) -> None:
    for path in ("evaluation", "evaluations", "search/subject", "search/resource", "search/action"):
        answer = pdp.asked(path, ALICE_READS, x_request_id="bfe9eb29-ab87-4ca3-be83-a1d5d8305716")  # c-2-5-1, c-5
        assert (answer.status, answer.headers["x-request-id"]) == (200, "bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
        assert pdp.asked(path, ALICE_READS).status == 200  # c-2-5-2
        refused = pdp.asked(path, {}, x_request_id="abc")
        assert (refused.status, refused.headers["x-request-id"]) == (400, "abc")


BATCHES: dict[str, tuple[dict[str, Any], list[bool | None]]] = {
    "c-3-2-1": (
        {"subject": ALICE, "action": READ, "evaluations": [{"resource": ONE}, {"resource": TWO}]},
        [True, None],
    ),
    "c-3-2-2": ({"subject": BOB, "resource": ONE, "evaluations": [{"action": READ}, {"action": WRITE}]}, [True, False]),
    "c-3-2-3": (
        {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": ACTIVE}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    "c-3-2-4": (
        {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN}]},
        [False, True],
    ),
    "c-3-2-5": (
        {
            "evaluations": [
                {"subject": ALICE, "action": READ, "resource": ONE},
                {"subject": BOB, "action": WRITE, "resource": ONE},
            ]
        },
        [True, False],
    ),
    "c-3-2-6": (
        {
            "subject": ALICE,
            "action": READ,
            "context": {"time": "2025-06-27T18:03-07:00"},
            "evaluations": [
                {"resource": ONE},
                {"resource": TWO, "context": {"time": "2025-06-27T19:00-07:00", "source": "batch-override"}},
            ],
        },
        [None, None],
    ),
    "c-3-2-7": (
        {"subject": ALICE, "action": WRITE, "resource": ACTIVE, "evaluations": [{}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    "c-3-4-1": (
        {
            "subject": ALICE,
            "action": READ,
            "options": {"evaluations_semantic": "execute_all"},
            "evaluations": [{"resource": ONE}, {}],
        },
        [True, False],
    ),
}


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize("test", BATCHES)
def test_batch_level(pdp: Asking, test: str) -> None:
    body, expected = BATCHES[test]
    decisions = _decisions(pdp.asked("evaluations", body))  # c-3-3-3, c-3-3-4
    assert len(decisions) == len(expected)  # c-3-3-1
    for decision, due in zip(decisions, expected, strict=True):  # c-3-3-2
        assert due in {None, decision}


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize("more", [{}, {"evaluations": []}], ids=["c-3-4-2", "c-3-4-3"])
def test_evaluations_without_members_are_one_evaluation(pdp: Asking, more: dict[str, Any]) -> None:
    answer = pdp.asked("evaluations", {**ALICE_READS, **more})
    assert answer.decision
    assert "evaluations" not in answer.json


SEARCHED: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "c-4-2-1": ("subject", {"subject": USERS, "action": READ, "resource": ONE}, {"alice", "bob"}),
    "c-4-2-2": ("subject", {"subject": USERS, "action": READ, "resource": ONE, "context": CONTEXT}, {"alice", "bob"}),
    "c-4-2-3": ("subject", {"subject": ALICE, "action": READ, "resource": ONE}, {"alice", "bob"}),
    "c-4-2-4": ("subject", {"subject": USERS, "action": WRITE, "resource": ARCHIVED}, {"bob"}),
    "c-4-3-1": ("resource", {"subject": ALICE, "action": READ, "resource": RECORDS}, {"record-1", "record-2"}),
    "c-4-3-2": (
        "resource",
        {"subject": ALICE, "action": READ, "resource": RECORDS, "context": CONTEXT},
        {"record-1", "record-2"},
    ),
    "c-4-3-3": ("resource", {"subject": ALICE, "action": READ, "resource": ONE}, {"record-1", "record-2"}),
    "c-4-3-4": ("resource", {"subject": ADMIN, "action": WRITE, "resource": RECORDS}, {"record-2"}),
    "c-4-4-1": ("action", {"subject": ALICE, "resource": ONE}, {"read", "write"}),
    "c-4-4-2": ("action", {"subject": ALICE, "resource": ONE, "context": CONTEXT}, {"read", "write"}),
    "c-4-4-3": ("action", {"subject": ADMIN, "resource": ARCHIVED}, {"read", "write"}),
    "c-4-6-1 subject": ("subject", {"subject": USERS, "action": WRITE, "resource": {**ONE, "id": "none"}}, set()),
    "c-4-6-1 resource": ("resource", {"subject": {**ALICE, "id": "none"}, "action": READ, "resource": RECORDS}, set()),
    "c-4-6-1 action": ("action", {"subject": {**ALICE, "id": "nonexistent-user"}, "resource": ONE}, set()),
    "c-4-6-2 subject": ("subject", {"subject": {"type": "spaceship"}, "action": READ, "resource": ONE}, set()),
    "c-4-6-2 resource": ("resource", {"subject": ALICE, "action": READ, "resource": {"type": "spaceship"}}, set()),
    "c-4-6-2 action": ("action", {"subject": {"type": "spaceship", "id": "x"}, "resource": ONE}, set()),
}
_KINDS: Mapping[str, str | None] = {"subject": "user", "resource": "record", "action": None}


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize("test", SEARCHED)
def test_search_level(pdp: Asking, test: str) -> None:
    what, body, expected = SEARCHED[test]
    assert _found(pdp.asked(f"search/{what}", body), _KINDS[what]) == expected


@pytest.mark.requirement("gateway:authzen:certification")
def test_pages_follow_each_other(pdp: Asking) -> None:
    body = {"subject": USERS, "action": READ, "resource": ONE}
    first = pdp.asked("search/subject", {**body, "page": {"limit": 1}})  # c-4-5-1
    token = first.json["page"]["next_token"]
    assert (_found(first, "user"), first.json["page"]["count"], bool(token)) == ({"alice"}, 1, True)
    second = pdp.asked("search/subject", {**body, "page": {"token": token}})  # c-4-5-2, c-4-5-3
    assert _found(second, "user") == {"bob"}
    assert second.json["page"]["next_token"] == ""
    assert next(iter(second.json)) == "page"  # recommended: how many there are is known before they are read


@pytest.mark.requirement("gateway:authzen:certification")
@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("subject", {"subject": USERS, "resource": ONE}),  # c-4-7-1
        ("resource", {"action": READ, "resource": RECORDS}),
        ("action", {"subject": ALICE}),
        ("subject", {"subject": USERS, "action": READ, "resource": RECORDS}),  # c-4-7-2
        ("resource", {"subject": USERS, "action": READ, "resource": RECORDS}),
        ("action", {"subject": USERS, "resource": ONE}),
        ("action", {"subject": ALICE, "resource": RECORDS}),
    ],
)
def test_search_level_errors(pdp: Asking, what: str, body: dict[str, Any]) -> None:
    pdp.asked(f"search/{what}", body).problem(400, "body_malformed")


@pytest.mark.requirement("gateway:authzen:certification")
def test_discovery_level(pdp: Asking) -> None:
    answer = pdp.run(pdp.get("/.well-known/authzen-configuration", key="nobody"))
    told = _json(answer)
    assert told["policy_decision_point"] == pdp.at.url  # c-6-5
    for parameter, path in {
        "access_evaluation_endpoint": "evaluation",
        "access_evaluations_endpoint": "evaluations",
        "search_subject_endpoint": "search/subject",
        "search_resource_endpoint": "search/resource",
        "search_action_endpoint": "search/action",
        "access_request_endpoint": "requests",
    }.items():
        assert told[parameter] == f"{pdp.at.url}/access/v1/{path}"
    assert told["capabilities"] == ["urn:openid:authzen:capability:access-request"]
    assert pdp.run(pdp.send("evaluation/", b"{}")).status == 404


# -- interop scenarios


@pytest.fixture(scope="module")
def interop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    data = tmp_path_factory.mktemp("interop") / "data"
    with asking(data, {}, types=("user", "todo", "record")) as here:
        yield here


@pytest.mark.requirement("gateway:authzen:interop")
def test_the_todo_scenario(interop: Asking) -> None:
    interop.run(interop.publish(release_of("todo")))
    published = json.loads((INTEROP / "todo/decisions.json").read_text())
    one_by_one = [(case, interop.asked("evaluation", case["request"])) for case in published["evaluation"]]
    at_once = [(case, interop.asked("evaluations", case["request"])) for case in published["evaluations"]]
    for _, answer in one_by_one:
        _DECIDED.validate(answer.json)
    assert [case for case, answer in one_by_one if answer.decision is not case["expected"]] == []
    for case, answer in at_once:
        assert _decisions(answer) == [each["decision"] for each in case["expected"]], case
    assert (len(one_by_one), len(at_once)) == (40, 3)


@pytest.mark.requirement("gateway:authzen:interop")
def test_the_search_scenario(interop: Asking) -> None:
    def same(found: list[Any], expected: list[Any]) -> bool:
        return sorted(map(json.dumps, found)) == sorted(map(json.dumps, expected))

    interop.run(interop.publish(release_of("search")))
    published = json.loads((INTEROP / "search/results.json").read_text())
    told = [
        (what, case, _json(interop.asked(f"search/{what}", case["request"])))
        for what, cases in published.items()
        for case in cases
    ]
    assert [case for _, case, body in told if not same(body["results"], case["expected"]["results"])] == []
    assert {what: len(cases) for what, cases in published.items()} == {"subject": 60, "resource": 18, "action": 120}
