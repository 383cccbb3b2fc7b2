"""What the routes answer: problems with stable codes, nothing secret, and a log anybody can check."""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import Any
from urllib.parse import quote

import pytest
from starlette.routing import Route

from accredit.api.control import control_api
from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.merkle import leaf_hash, tree_root
from accredit.audit.proof import verify_record_proof
from accredit.audit.tiles import entries_of, tiles_of
from accredit.demo import fleet
from accredit.identity import rows
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.registry.manifest import KINDS
from tests.api.installation import Installation

_CODES = {str(code) for code in Code}


def _problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Check that it is a problem document (RFC 9457 §3)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["code"] == code
    assert found["code"] in _CODES
    assert found["type"] == f"urn:accredit:code:{code}"
    assert found["title"]
    return found


@pytest.mark.requirement("api:problems:form")
def test_paths_and_methods_that_are_not_there_are_problems(place: Installation) -> None:
    with place.client() as http:
        _problem(http.get("/api/v1/nothing"), 404, "not_found")
        assert _problem(http.delete("/api/v1/agents"), 405, "method_unknown")["detail"]
        assert http.delete("/api/v1/agents").headers["allow"] == "GET"
        _problem(http.get("/nothing"), 404, "not_found")
        _problem(http.get("/oauth/token"), 405, "method_unknown")
        _problem(http.post("/healthz"), 405, "method_unknown")
        for path in ("holds/hld_none", "decisions/dec_none", "audit/prove/999999999", "servers/none", "schemas/none"):
            assert http.get(f"/api/v1/{path}").status_code == 404, path
        _problem(http.get("/api/v1/audit/records", params={"limit": "0"}), 400, "body_malformed")
        _problem(http.get("/api/v1/audit/prove/-1"), 400, "body_malformed")
        _problem(http.get(f"/api/v1/audit/prove/{2**70}"), 400, "body_malformed")


@pytest.mark.requirement("api:problems:form")
@pytest.mark.parametrize(
    "name", ["..", "a/b/c", "ünïcode", "\u202e", "%00", "a b", "x" * 300, "production/none", "-", "development/"]
)
def test_a_name_nobody_has_is_a_problem_whatever_it_is_made_of(place: Installation, name: str) -> None:
    with place.client() as http:
        for path in (f"agents/{quote(name, safe='')}", f"agents/{quote(name)}/usage", f"holds/{quote(name, safe='')}"):
            answer = http.get(f"/api/v1/{path}")
            assert answer.status_code in {400, 404}, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert "Traceback" not in answer.text


@pytest.mark.requirement("api:agents:named")
def test_an_agent_is_found_by_name_by_environment_and_name_and_by_id(place: Installation) -> None:
    with place.client() as http:
        wanted = http.get("/api/v1/agents/ticket-counter").json()
        for reference in ("development/ticket-counter", "development%2Fticket-counter", wanted["id"]):
            assert http.get(f"/api/v1/agents/{reference}").json()["id"] == wanted["id"]
        _problem(http.get("/api/v1/agents/production/ticket-counter"), 404, "not_found")
    assert wanted["owner"] == "dana@example.com"
    assert {tool["tool"] for tool in wanted["tools"]} == {"crm/count_tickets", "crm/export_tickets"}


@pytest.mark.requirement("api:agents:named")
def test_an_agent_may_be_called_like_what_can_be_asked_about_agents(place: Installation) -> None:
    with place.client() as http:
        manifest = fleet.agents()["ticket-counter"]
        manifest["metadata"] |= {"name": "usage"}
        applied = http.post("/api/v1/apply", json={"files": [{"name": "a.json", "text": json.dumps(manifest)}]})
        assert applied.status_code == 200, applied.text
        assert http.get("/api/v1/agents/development/usage").json()["name"] == "usage"
        assert http.get("/api/v1/agents/usage").json()["name"] == "usage"
        assert http.get("/api/v1/agents/development/usage/usage").json()["items"] == []
        assert http.get("/api/v1/agents/usage/limits").json()["in_flight"] == 0


@pytest.mark.requirement("api:problems:lists")
def test_everything_wrong_with_manifests_is_said_at_once_and_nothing_of_them_is_applied(place: Installation) -> None:
    good = {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "never@example.com"}}
    bad = {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "x@example.com", "role": "admin"}}
    worse = {"apiVersion": "accredit/v1", "kind": "Team", "metadata": {"name": "Not A Name"}, "spec": {}}
    files = [{"name": f"{at}.json", "text": json.dumps(one)} for at, one in enumerate((good, bad, worse))]
    with place.client() as http:
        found = _problem(http.post("/api/v1/apply", json={"files": files}), 400, "manifest_invalid")
        assert len(found["errors"]) >= 2
        assert any("role" in each for each in found["errors"])
        assert "never@example.com" not in http.get("/api/v1/persons").text


@pytest.mark.requirement("api:problems:lists")
def test_everything_wrong_with_policies_is_said_at_once_by_lint_and_by_publish(place: Installation) -> None:
    files = {
        "org/a.cedar": "permit(principal",
        "org/b.cedar": "forbid(principal",
        "else/c.cedar": "forbid(principal, action, resource);",
    }
    with place.client() as http:
        before = http.get("/api/v1/policy/release").json()["release"]
        found = _problem(http.post("/api/v1/policy/publish", json={"files": files}), 400, "policy_invalid")
        linted = http.post("/api/v1/policy/lint", json={"files": files}).json()["items"]
        assert len(found["errors"]) == len(linted) >= 2
        assert all(one["message"] and one["fix"] for one in linted)
        assert http.get("/api/v1/policy/release").json()["release"] == before


@pytest.mark.requirement("api:problems:internal")
def test_a_mistake_of_ours_keeps_its_text_inside(
    place: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken() -> list[Any]:
        raise RuntimeError("the innermost secret")

    monkeypatch.setattr(place.plane.releases, "history", mistaken)
    with place.client() as http:
        answer = http.get("/api/v1/policy/releases")
    found = _problem(answer, 500, "internal")
    assert "innermost" not in answer.text
    assert found["detail"] == "internal error"
    assert "innermost" in caplog.text


def _get_paths(place: Installation) -> list[str]:
    return [
        re.sub(r":\w+}", "}", route.path)
        for route in control_api(place.plane).routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    ]


@pytest.mark.requirement("api:secrets:none")
def test_no_answer_to_a_reading_request_carries_a_secret(place: Installation) -> None:
    place.call("ticket-counter", "export_tickets", {"pages": 1})
    held = place.call("refund-desk", "refund_order", {"order_id": "o-1", "cents": 7}).structured_content
    with place.client() as http:
        join = http.post("/api/v1/agents/ticket-counter/join-tokens", json={}).json()["join_token"]
        opaque = http.post("/api/v1/agents/ticket-counter/keys", json={}).json()["key"]
        reader = http.post("/api/v1/tokens", json={"name": "canary", "scopes": ["read"]}).json()["token"]
        newest = http.get("/api/v1/audit/records", params={"kind": "decision", "limit": 1}).json()["items"][0]
        link = place.link.partition("#")[2]
        access = place.do(place.world.agents["ticket-counter"].token())
        secrets = [join, opaque, reader, link, place.token, place.world.crm.credential]
        secrets += [access, *map(rows.secret_hash, secrets)]
        given = {
            "/api/v1/schemas/{name}": ["agent.json"],
            "/api/v1/agents/{name}": ["ticket-counter"],
            **{
                f"/api/v1/agents/{{name}}/{about}": ["ticket-counter"]
                for about in (
                    "baseline",
                    "behaviour",
                    "behaviour/diff",
                    "behaviour/sessions",
                    "certificate",
                    "credentials",
                    "limits",
                    "plan",
                    "receipt",
                    "reported",
                    "sessions",
                    "suggestion",
                    "tier",
                    "timeline",
                    "unused",
                    "envelope",
                    "usage",
                    "validation",
                )
            },
            "/api/v1/agents/{name}/export": ["ticket-counter"],
            "/api/v1/agents/{name}/sessions/{session}": ["ses_none"],
            "/api/v1/approvals/{approval}": ["apr_none"],
            "/api/v1/policy/releases/{release}": ["1"],
            "/api/v1/policy/simulations/{simulation}": ["sim_none"],
            "/api/v1/decisions/{decision}/explanation": [newest["body"]["decision_id"], held["decision_id"]],
            "/api/v1/servers/{name}": ["crm"],
            "/api/v1/stores/{name}/namespaces": ["none"],
            "/api/v1/store-purges/{purge}": ["none"],
            "/api/v1/store-reviews/{review}/items": ["none"],
            "/api/v1/holds/{hold}": [held["hold"]],
            "/api/v1/findings/{finding}": ["fnd_none"],
            "/api/v1/incidents/{incident}": ["inc_none"],
            "/api/v1/decisions/{decision}": [newest["body"]["decision_id"], held["decision_id"]],
            "/api/v1/audit/prove/{seq}": ["0"],
            "/api/v1/reviews/{review}": ["rvw_none"],
            "/api/v1/review-campaigns/{campaign}": ["rvc_none"],
        }
        asked: dict[str, dict[str, str | int]] = {"records": {"limit": 1000}, "export": {"form": "annex-iv"}}
        seen = 0
        for path in _get_paths(place):
            for value in given[path] if "{" in path else [""]:
                answer = http.get(re.sub(r"{\w+}", value, path), params=asked.get(path.rpartition("/")[2], {}))
                absent = (
                    "/baseline", "/behaviour", "/behaviour/diff", "/behaviour/sessions", "/certificate", "/receipt",
                    "{approval}", "{simulation}", "{finding}", "{purge}",
                    "{review}", "{campaign}", "{session}",
                )  # fmt: skip
                there = not path.endswith((*absent, "{incident}", "/namespaces", "/items"))
                assert answer.status_code == (200 if there else 404), (path, answer.text)
                seen += 1
                leaked = [one[:12] for one in secrets if one in answer.text]
                assert leaked == [], path
    assert seen > 20


@pytest.mark.requirement("api:sealed:recorded")
def test_whoever_opens_what_was_sealed_is_on_record(place: Installation) -> None:
    place.call("ticket-counter", "export_tickets", {"pages": 1})
    with place.client() as http:
        newest = http.get("/api/v1/audit/records", params={"kind": "decision", "limit": 1}).json()["items"][0]
        shown = http.get(f"/api/v1/decisions/{newest['body']['decision_id']}").json()
        assert shown["decision"]["parts"]["arguments"] == {"pages": 1}
        looked = http.get("/api/v1/audit/records", params={"kind": "record.opened", "limit": 1}).json()["items"][0]
        me = http.get("/api/v1/whoami").json()["person"]
    assert looked["body"]["person"] == me
    assert newest["seq"] in looked["body"]["records"]


@pytest.mark.requirement("api:openapi:served")
def test_the_description_of_the_api_says_what_every_route_needs(place: Installation) -> None:
    with place.client("") as http:
        described = http.get("/api/openapi.json").json()
        assert described["openapi"].startswith("3.")
        (scheme,) = described["components"]["securitySchemes"].values()
        assert scheme["type"] == "http"
        assert scheme["scheme"] == "bearer"
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                open_to_all = path in {"/api/v1/login", "/api/v1/schemas/{name}"}
                assert bool(operation.get("security")) is not open_to_all, (method, path)
                assert "422" not in operation["responses"]
                problem = operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"]
                assert set(problem["properties"]["code"]["enum"]) == _CODES
        for kind in KINDS:
            found = http.get(f"/api/v1/schemas/{kind.lower()}.json").json()
            assert found["properties"]["kind"]["const"] == kind


@pytest.mark.requirement("api:oauth:form")
def test_the_token_endpoint_answers_by_rfc_6749(place: Installation) -> None:
    form = "application/x-www-form-urlencoded"
    with place.client("") as http:
        for content, kind, error in [
            (b"grant_type=client_credentials&grant_type=password", form, "invalid_request"),
            (b"grant_type=password", form, "unsupported_grant_type"),
            (b"grant_type=client_credentials", form, "invalid_client"),
            (b"{}", "application/json", "invalid_request"),
            (b"\xff=1", form, "invalid_request"),
            (b"a=" + b"b" * 70_000, form, "invalid_request"),
            (b"&".join(b"p%d=1" % at for at in range(40)), form, "invalid_request"),
            (b"grant_type", form, "invalid_request"),
        ]:
            answer = http.post("/oauth/token", content=content, headers={"content-type": kind})
            assert answer.json()["error"] == error, content[:40]
            assert answer.status_code == (401 if error == "invalid_client" else 400)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["pragma"] == "no-cache"
            assert answer.json()["code"] in _CODES
            assert isinstance(answer.json()["error_description"], str)


@pytest.mark.requirement("api:oauth:enrol")
def test_a_refused_enrolment_is_a_problem_that_tells_a_stranger_nothing(place: Installation) -> None:
    key = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
           "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}  # fmt: skip
    with place.client("") as http:
        answers = [http.post("/enrol", json={"join_token": token, "jwk": key}) for token in ("accj_x", "", "accl_y")]
        for answer in answers:
            _problem(answer, 401, "unauthenticated")
        assert len({answer.content for answer in answers}) == 1
        _problem(http.post("/enrol", json={"join_token": "accj_x"}), 400, "body_malformed")
        _problem(http.post("/enrol", content=b'{"jwk": 1, "jwk": 2}'), 400, "body_duplicate_keys")
        _problem(http.post("/enrol", content=b"x" * 100_000), 400, "body_oversized")


@pytest.mark.requirement("api:oauth:metadata")
def test_clients_find_the_token_endpoint_from_any_path(place: Installation) -> None:
    with place.client("") as http:
        server = http.get("/.well-known/oauth-authorization-server").json()
        assert server["issuer"] == place.url
        assert server["token_endpoint"] == f"{place.url}/oauth/token"
        keys = http.get(server["jwks_uri"].removeprefix(place.url)).json()["keys"]
        assert keys
        assert not any("d" in key for key in keys)
        for path in ("", "/mcp/crm", "/api/v1"):
            found = http.get(f"/.well-known/oauth-protected-resource{path}").json()
            assert found["resource"] == place.url + path
            assert found["authorization_servers"] == [place.url]
        _problem(http.get("/.well-known/oauth-protected-resource/%22"), 404, "not_found")


@pytest.mark.requirement("api:log:tiles")
def test_anybody_can_check_the_log_from_its_checkpoint_and_tiles(place: Installation) -> None:
    with place.client() as http:
        proof = http.get("/api/v1/audit/prove/3").json()["proof"].encode()
        verifier = CheckpointVerifier(place.world.running.vkey)
        note = http.get("/log/checkpoint").content
        head = verifier.verify(note)
        entries, leaves = [], b""
        for tile in tiles_of(head.size):
            answer = http.get(f"/log/tile/{tile.path()}")
            assert answer.status_code == 200, tile
            if tile.level is None:
                entries += entries_of(answer.content)
            elif tile.level == 0:
                leaves += answer.content
        hashes = [leaf_hash(entry) for entry in entries]
        assert b"".join(hashes) == leaves
        assert tree_root(hashes) == head.root
        assert verify_record_proof(proof, entries[3], verifier)[0] == 3
        for path in ("0/999", "entries/x001", "63/000", "0/000.p/0", "../../root.key", "tile/0/000"):
            assert http.get(f"/log/tile/{path}").status_code == 404, path
    assert base64.b64encode(head.root).decode() in note.decode()


@pytest.mark.requirement("api:health:ready")
def test_readiness_says_why_calls_are_not_served_while_the_process_lives(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UnavailableError(Code.AUDIT_UNAVAILABLE, "no space left on device")

    with place.client() as http:
        assert (http.get("/readyz").status_code, http.get("/readyz").text) == (200, "ok\n")
        with monkeypatch.context() as broken:
            broken.setattr(place.plane.log._store, "commit", full)
            broken.setattr(place.plane.log._store, "reopen", full)
            refused = http.post("/api/v1/tokens", json={"name": "lost", "scopes": ["read"]})
            assert refused.status_code == 503
            answer = http.get("/readyz")
            assert answer.status_code == 503
            assert answer.text.strip() in {"the audit log does not take records", "control events wait for the log"}
            assert http.get("/healthz").text == "ok\n"
        for _ in range(200):
            if http.get("/readyz").status_code == 200:
                break
            threading.Event().wait(0.05)
        else:
            pytest.fail("it does not become ready again by itself")
        assert "lost" in http.get("/api/v1/tokens").text, "what was committed before is recorded after"
