"""Nobody gets past the door of the API without a credential, with too much, or with what is not JSON."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from starlette.routing import Route

from accredit.api.control import control_api
from tests.api.installation import Installation

_OPEN = {("POST", "/api/v1/login"), ("GET", "/api/v1/schemas/{name}"), ("GET", "/api/openapi.json")}


def _routes(place: Installation) -> Iterator[tuple[str, str]]:
    for route in control_api(place.plane).routes:
        assert isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, re.sub(r":\w+}", "}", route.path)


def _address(path: str) -> str:
    return re.sub(r"{\w+}", "0", path)


def _every_guarded(place: Installation) -> list[tuple[str, str]]:
    return [one for one in _routes(place) if one not in _OPEN]


@pytest.mark.requirement("api:entry:guarded")
@pytest.mark.parametrize("given", ["none", "unknown", "basic", "twice", "empty", "huge"])
def test_every_route_answers_somebody_unknown_with_the_one_constant_document(place: Installation, given: str) -> None:
    headers = {
        "none": [],
        "unknown": [("authorization", "Bearer accp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        "basic": [("authorization", "Basic YTpi")],
        "twice": [("authorization", f"Bearer {place.token}"), ("authorization", f"Bearer {place.token}")],
        "empty": [("authorization", "Bearer")],
        "huge": [("authorization", "Bearer " + "x" * 9000)],
    }[given]
    every = _every_guarded(place)
    assert len(every) > 25
    seen = set()
    with place.client("") as http:
        for method, path in [*every, ("GET", "/api/v1/no-such"), ("PATCH", "/api/v1/apply"), ("GET", "/api/")]:
            answer = http.request(method, _address(path), headers=headers, content=b"{broken")
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
            seen.add(answer.content)
    (document,) = seen
    assert b'"code":"unauthenticated"' in document


_LOOKING = frozenset({"/api/v1/policy/lint", "/api/v1/agent-drafts", "/api/v1/diff"})
"""Posted to, and changing nothing."""


@pytest.mark.requirement("api:entry:reading")
def test_a_token_that_may_only_read_changes_nothing(place: Installation) -> None:
    token = place.reading_token()
    before = place.plane.control.position
    with place.client(token) as http:
        for method, path in _every_guarded(place):
            answer = http.request(method, _address(path), json={})
            if method == "GET" or path in _LOOKING:
                assert answer.status_code != 403, path
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "not_authorised"), (method, path)
        assert http.get("/api/v1/whoami").json()["scopes"] == ["read"]
        assert place.plane.control.position == before


@pytest.mark.requirement("api:entry:reading")
def test_a_reading_token_may_end_itself(place: Installation) -> None:
    with place.client() as admin:
        made = admin.post("/api/v1/tokens", json={"name": "leaving", "scopes": ["read"], "days": 1}).json()
    with place.client(made["token"]) as http:
        assert http.delete(f"/api/v1/tokens/{made['id']}").json() == {"revoked": made["id"]}
        assert http.get("/api/v1/whoami").status_code == 401


@pytest.mark.requirement("api:entry:bounded")
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_that_is_too_large_is_refused_before_a_route_reads_it(place: Installation, chunked: bool) -> None:  # noqa: FBT001 - a case
    piece = b" " * 2**20
    with place.client() as http:
        answer = http.post(
            "/api/v1/apply",
            content=itertools.repeat(piece, 9) if chunked else piece * 9,
            headers={"content-type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "body_oversized")
        assert http.get("/api/v1/whoami").status_code == 200
    with place.client("") as http:
        answer = http.post("/api/v1/login", json={"link": "x" * 5000})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_oversized")


@pytest.mark.requirement("api:entry:strict")
@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "body_malformed"),
        (b"\xff", "application/json", 400, "body_malformed"),
        (b"[]", "application/json", 400, "body_malformed"),
        (b'{"files": {}, "files": {}}', "application/json", 400, "body_duplicate_keys"),
        (b'{"files": ' + b"[" * 40 + b"]" * 40 + b"}", "application/json", 400, "body_too_deep"),
        (b'{"files": {}, "more": 1}', "application/json", 400, "body_malformed"),
        (b'{"files": {"org/a.cedar": 1}}', "application/json", 400, "body_malformed"),
        (b'{"files": {}}', "text/plain", 415, "body_malformed"),
        (b"files=1", "application/x-www-form-urlencoded", 415, "body_malformed"),
        (b"", "application/json", 400, "body_malformed"),
    ],
)
def test_what_is_not_the_json_a_route_takes_is_refused(
    place: Installation, body: bytes, kind: str, status: int, code: str
) -> None:
    with place.client() as http:
        answer = http.post("/api/v1/policy/lint", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    if b"more" in body:
        assert answer.json()["errors"] == ["body.more: Extra inputs are not permitted"]


@pytest.mark.requirement("api:entry:recorded")
def test_whoever_is_turned_away_is_in_the_log_once_a_minute_and_counted_after(place: Installation) -> None:
    with place.client("accp_nobody") as http:
        for _ in range(5):
            http.get("/api/v1/whoami")
    with place.client("") as http:
        http.post("/api/v1/login", json={"link": "accl_used"})
        http.post("/oauth/token", data={"grant_type": "client_credentials", "client_assertion": "x"})
        http.post("/oauth/token", content=b"a=1&a=2", headers={"content-type": "application/x-www-form-urlencoded"})
        http.post("/enrol", json={"join_token": "accj_stale", "jwk": {}})
        http.post("/enrol", content=b"{")
    found = place.records("refused.authentication")
    codes = {one["body"]["code"] for one in found}
    assert {"api_token_unknown", "link_invalid", "body_duplicate_keys", "key_unsuitable", "body_malformed"} <= codes
    assert {one["decision"] for one in found} == {"deny"}
    minutes = [one["time"][:16] for one in found if one["body"]["code"] == "api_token_unknown"]
    assert len(minutes) == len(set(minutes)), "one record a minute for a source and a reason"


@pytest.mark.requirement("api:entry:recorded")
def test_what_was_refused_after_the_caller_was_known_names_its_credential(place: Installation) -> None:
    async def beyond() -> None:
        agent = place.world.agents["ticket-counter"]
        await agent.identity.exchange(place.world.crm_route, subject_token="x.y.z", task_token=None)

    with pytest.raises(Exception, match=r"."):
        place.do(beyond())
    credential = place.world.agents["ticket-counter"].identity.credential
    assert credential in {one["body"]["credential"] for one in place.records("refused.authentication")}


@pytest.mark.requirement("api:entry:addresses")
def test_the_host_and_origin_lists_hold_for_every_route(place: Installation) -> None:
    paths = [_address(path) for _, path in _routes(place)]
    paths += ["/healthz", "/readyz", "/log/checkpoint", "/oauth/token", "/enrol", "/oauth/jwks", "/mcp/crm", "/else"]
    with place.client() as http:
        for path in paths:
            for headers in ({"host": "rebound.example.net"}, {"origin": "https://rebound.example.net"}):
                answer = http.post(path, headers=headers, json={})
                assert answer.status_code == 403, (path, headers)
                assert "origin_refused" in answer.text
