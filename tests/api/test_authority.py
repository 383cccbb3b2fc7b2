"""Who may change what, over every changing route there is and every kind of person there is.

A case speaks of something that is there. Those who may not are refused before anything is done; of the others only
that they are let through is looked at, since what they ask for is often refused for what it asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pytest
from starlette.routing import Route

from accredit.api.control import control_api
from tests.api.company import Company, agent, assessment, company, person
from tests.api.installation import Installation

KINDS: Final = {
    "owner": "dana",
    "backup owner": "lee",
    "team lead": "lena",
    "lead of another team": "olaf",
    "security": "sam",
    "compliance": "cora",
    "business owner": "bo",
    "auditor": "una",
    "operator": "otto",
    "admin": "mira",
    "nobody's": "nick",
}
"""Kinds of person who hold a credential that may change, by who is one; beside them `unknown` and `reader`."""
EVERYBODY: Final = frozenset(KINDS)
OWNERS: Final = frozenset({"owner", "backup owner"})
RUNNING: Final = OWNERS | {"team lead", "operator"}
STOPPING: Final = RUNNING | {"security", "admin"}
ANY: Final = "psn_" + "0" * 32


@dataclass(frozen=True)
class Case:
    """One thing to ask for, and who is let through."""

    route: str
    path: str
    body: dict[str, Any] | None
    may: frozenset[str]
    method: str = "POST"
    alone: bool = True
    """Whether the single administrator of an installation may, outside of production."""


def _file(*documents: dict[str, Any]) -> dict[str, Any]:
    return {"files": [{"name": "a.json", "text": json.dumps(documents)}]}


def _document(kind: str, metadata: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "accredit/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _server(name: str, environment: str, place: Installation) -> dict[str, Any]:
    tools = {"count_tickets": {"effect": "read", "data": [], "price": "0 USD"}}
    url = place.world.crm_url
    return _document("ToolServer", {"name": name, "environment": environment}, url=url, tools=tools)


@dataclass(frozen=True)
class Things:
    """What the cases speak of."""

    agent: str
    declared: dict[str, Any]
    """Its manifest."""
    leaving: str
    """The id of an agent that can go: its name goes with it."""
    server: dict[str, Any]
    """The manifest of a tool server."""
    credential: str
    request: str
    """That waits for a team lead."""
    decided: str
    """A request that is over."""
    accepter: str
    alert: str
    hold: str
    view_digest: str
    finding: str
    review: str
    """Of the agent."""


def _cases(it: Things) -> list[Case]:
    about, why = f"agents/{it.agent}", {"reason": "a look at it"}
    vote = {"role": "team-lead", "vote": "approve", "view_digest": "sha256:" + "0" * 64, "comment": "fine"}
    upstream = {"origin": "not an origin", "header": "Authorization", "value": "x"}
    staff = frozenset(EVERYBODY - {"nobody's"})
    kept = {"agent": it.agent, "store": "none", "namespace": "support"}
    none: frozenset[str] = frozenset()
    return [
        # what is one's own
        Case("token_issue", "tokens", {"name": "mine", "scopes": ["read"], "days": 1}, EVERYBODY),
        Case("token_revoke", "tokens/tok_none", None, EVERYBODY, "DELETE"),
        Case("account_disconnect", "accounts/none/disconnect", {}, EVERYBODY),
        Case("delegation_end", "delegations/dlg_none/end", {}, EVERYBODY),
        # a role can be delegated by whoever holds it
        Case("delegation_add", "delegations", {"to": ANY, "role": "compliance", "days": 1}, frozenset({"compliance"})),
        # people
        Case("invitation", "invitations", {"email": "no address"}, EVERYBODY),  # the address comes first
        Case("invitation", "invitations", {"email": "second@example.com"}, none),
        Case("invitation_withdraw", "invitations", None, none, "DELETE"),
        Case("sign_in_link", f"persons/{ANY}/sign-in-link", {}, frozenset({"admin"})),
        Case("person_leave", f"persons/{ANY}/leave", why, frozenset({"admin"})),
        Case("person_sign_out", f"persons/{ANY}/sign-out", why, frozenset({"admin"})),
        Case("role_grant", "roles", {"role": "auditor", "person": ANY}, frozenset({"admin"})),
        Case("role_revoke", "roles/rgr_none/revoke", why, frozenset({"admin"})),
        # what is registered
        Case("apply", "apply", _file(person("dana@example.com")), frozenset({"admin"})),
        Case("apply", "apply", _file(_document("Team", {"name": "finance"}, zones=["UTC"])), frozenset({"admin"})),
        Case(
            "apply", "apply",
            _file(_document("Agreement", {"name": "dpa-1"}, provider="acme", covers=["personal"],
                            document="sha256:" + "1" * 64)),
            frozenset({"admin", "operator"}),
        ),
        Case(
            "apply", "apply", _file(_document("Gate", {"name": "medium"}, roles={"security": 2})),
            frozenset({"admin"}), alone=False,
        ),
        Case("apply", "apply", _file(it.server), frozenset({"operator"})),
        Case("apply", "apply", _file(it.declared), RUNNING),
        Case("apply", "apply", _file(person("dana@example.com"), it.declared), none),  # all of it or nothing
        Case("server_repin", "servers/none/repin", {}, frozenset({"operator"})),
        Case("issuer_revoke", "issuers/iss_none/revoke", why, frozenset({"operator", "security", "admin"})),
        Case("enforcement_point_key", "enforcement-points/none/keys", {}, frozenset({"admin", "operator"})),
        Case("enforcement_point_key_revoke", "enforcement-points/none/keys/pky_none/revoke", why,
             frozenset({"operator", "security", "admin"})),
        Case("enforcement_point_revoke", "enforcement-points/none/revoke", why,
             frozenset({"operator", "security", "admin"})),
        Case("chat_declare", "chat-channels", {"name": "x", "kind": "slack", "credential": "none"},
             frozenset({"admin"})),
        Case("chat_remove", "chat-channels/none/remove", {}, frozenset({"admin"})),
        Case("chat_link", "chat-channels/none/link", {}, EVERYBODY, alone=False),
        Case("chat_unlink", "chat-links/none/end", {}, frozenset({"admin"})),
        Case("directory_key", "directories/none/keys", {}, frozenset({"admin"})),
        Case("directory_key_revoke", "directories/none/keys/dky_none/revoke", why, frozenset({"admin"})),
        Case("apply", "apply", _file(_document("Directory", {"name": "entra"}, groups=[])), frozenset({"admin"}),
             alone=False),
        Case("apply", "apply", _file(_document("EnforcementPoint", {"name": "gate"}, types=["user"])),
             frozenset({"admin", "operator"})),
        Case("upstream_credential", "upstream-credentials/x", upstream, frozenset({"operator"}), "PUT"),
        Case("upstream_credential_remove", "upstream-credentials/none", None, frozenset({"operator"}), "DELETE"),
        Case("policy_publish", "policy/publish", {"files": {"org/a.cedar": "?"}}, frozenset({"operator", "security"})),
        Case("policy_rollback", "policy/rollback", {"release": "none"}, frozenset({"operator", "security"})),
        Case("policy_mode", "policy/mode", {"policy": "org/none.cedar"}, frozenset({"operator", "security"})),
        Case("policy_test", "policy/test", {"files": {"org/a.cedar": "?"}}, staff),
        Case("policy_diff", "policy/diff", {}, staff),
        Case("policy_simulate", "policy/simulate", {"files": {"org/a.cedar": "?"}},
             frozenset({"operator", "security"})),
        Case("policy_replay", "policy/replay", {"days": 0}, EVERYBODY),
        Case("policy_lint", "policy/lint", {"files": {"org/a.cedar": "?"}}, staff),
        Case("clock_confirm", "clock/confirm", {}, frozenset({"operator", "admin"})),
        # what was found
        Case("discoveries", "discoveries", {"traces": [], "source": "repo"}, frozenset({"operator", "security"})),
        Case("findings_look", "finding-looks", {}, frozenset({"operator", "security"})),
        Case("finding_answer", f"findings/{it.finding}/answer", {**why, "answer": "adopt"},
             frozenset({"operator", "security"})),
        # an agent's life
        Case("join_token", f"{about}/join-tokens", {}, RUNNING),
        Case("agent_key", f"{about}/keys", {}, OWNERS),  # in production
        Case("agent_submit", f"{about}/submit", {}, RUNNING),
        Case("agent_activate", f"{about}/activate", {}, RUNNING),
        Case("agent_resume", f"{about}/resume", why, frozenset({"operator", "security"})),
        Case("agent_lift", f"{about}/lift", why, frozenset({"security"})),
        Case("agent_restrict", f"{about}/restrictions", {"kind": "throttle", "minutes": 1, "cause": "no rate named"},
             frozenset({"security", "operator"})),
        Case("incident_open", f"{about}/incidents", {**why, "severity": 4},
             frozenset({"security", "compliance", "operator"})),
        Case("incident_freeze", "incidents/inc_none/freeze", {}, frozenset({"security", "compliance", "admin"})),
        Case("incident_close", "incidents/inc_none/close", why, frozenset({"security", "compliance", "operator"})),
        Case("restriction_lift", "restrictions/rst_none/lift", why, frozenset({"security"})),
        Case("break_glass_open", f"{about}/break-glass",
             {"tools": ["crm/none"], "policies": ["none"], "minutes": 5, "reason": "a look"},
             frozenset({"team lead", "operator", "security"}), alone=False),
        Case("break_glass_confirm", "break-glass/bgl_none/confirm", {"digest": "x"}, EVERYBODY, alone=False),
        Case("break_glass_end", "break-glass/bgl_none/end", {}, frozenset({"operator", "security", "admin"})),
        Case("break_glass_review", "break-glass/bgl_none/review", {}, frozenset({"operator", "security"})),
        Case("monitoring_rebuild", "monitoring/rebuild", {}, frozenset({"security", "operator"})),
        Case("alert_ack", f"alerts/{it.alert}/ack", {}, OWNERS | {"security", "operator"}),
        Case("alert_resolve", f"alerts/{it.alert}/resolve", {"disposition": "test"}, OWNERS | {"security", "operator"}),
        Case("credential_confirm", f"credentials/{it.credential}/confirm",
             {"thumbprint": "A" * 43}, OWNERS, alone=False),
        Case("agent_adopt", f"{about}/adopt", why, RUNNING),
        Case("agent_suspend", f"{about}/suspend", why, STOPPING),
        Case("agent_quarantine", f"{about}/quarantine", why, STOPPING),
        Case("credential_revoke", f"credentials/{it.credential}/revoke", why, STOPPING),
        Case("agent_revoke", f"{about}/revoke", why, STOPPING),
        Case("agent_retire", f"agents/{it.leaving}/retire", why, RUNNING),
        Case("baseline_learn", f"{about}/baseline/learn", {"source": "trial"}, RUNNING | {"security"}),
        Case("baseline_reset", f"{about}/baseline/reset", why, RUNNING | {"security"}),
        Case("baseline_accept", f"{about}/baseline/accept", {"digest": "sha256:" + "0" * 64},
             OWNERS | {"team lead", "security"}),
        Case("agent_card", f"{about}/card", {}, RUNNING),
        Case("agent_draft", "agent-drafts", {"text": "{}"}, staff),
        Case("manifests_diff", "diff", {"files": []}, staff - OWNERS),
        Case("manifests_prune", "prune", _file(it.server), staff - OWNERS),
        # sign-off
        Case("approval_vote", f"approvals/{it.request}/vote", vote, frozenset({"team lead"}), alone=False),
        Case("approval_assess", f"approvals/{it.request}/assessment", assessment(it.accepter),
             OWNERS | {"security", "compliance", "business owner"}),
        Case("approval_withdraw", f"approvals/{it.decided}/withdraw", {}, RUNNING),
        # stores of memory and knowledge
        Case(
            "apply", "apply",
            _file(_document("Store", {"name": "shelf", "environment": "development"}, adapter="files",
                            location="/srv/shelf", namespaces=["support"], shared=False)),
            frozenset({"operator"}),
        ),
        Case("store_scan", "stores/none/scan", {"namespace": "support"},
             frozenset({"security", "compliance", "operator"})),
        Case("store_plan", "store-purges", kept, RUNNING),
        Case("store_review_begin", "store-reviews", kept, OWNERS | {"team lead", "compliance"}),
        Case("store_purge", "store-purges/none/run", {}, EVERYBODY),  # whose it is comes first
        Case("store_verify", "store-purges/none/verify", {}, EVERYBODY),
        Case("store_review_decide", "store-reviews/none/decide",
             {"item": "x", "digest": "sha256:" + "0" * 64, "verdict": "keep"}, EVERYBODY),
        Case("store_review_clean", "store-reviews/none/clean", {"verdict": "keep"}, EVERYBODY),
        # how long records are kept
        Case("legal_hold_place", "legal-holds", {"matter": "m", "subject": "nobody we know"},
             frozenset({"security", "compliance", "admin"})),
        Case("legal_hold_lift", "legal-holds/none/lift", why, frozenset({"compliance"})),
        Case("erasure_ask", "erasures", {"subject": "nobody we know", "basis": "b"},
             frozenset({"compliance", "operator", "admin"})),
        # reviews
        Case("apply", "apply", _file(_document("ReviewSchedule", {"name": "often"}, every={"high": 1})),
             frozenset({"security", "compliance"})),
        Case("campaign_start", "review-campaigns", {**why, "agents": ["none"]}, frozenset({"security", "compliance"})),
        Case("campaign_close", "review-campaigns/rvc_none/close", {}, frozenset({"security", "compliance"})),
        Case("campaign_accept", "review-campaigns/rvc_none/accept", {**why, "identity": "agt_none"},
             frozenset({"security", "compliance"})),
        Case("campaign_include", "review-campaigns/rvc_none/include", {"agent": it.agent},
             frozenset({"security", "compliance"})),
        Case("review_decide", f"reviews/{it.review}/decide",
             {"view": "none", "decisions": [{"permission": "routine", "verdict": "keep"}]},
             OWNERS | {"team lead", "security"}),
        Case("review_need", f"reviews/{it.review}/need", {"needed": True, "statement": "yes"}, OWNERS),
        Case("review_simulate", f"reviews/{it.review}/simulate", {"permissions": ["none/none"]}, staff),
        Case("hold_answer", f"holds/{it.hold}/answer", {"answer": "deny", "view_digest": it.view_digest},
             frozenset({"business owner"})),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("authority") / "data") as made:
        yield made


@pytest.fixture(scope="module")
def things(firm: Company) -> Things:
    """One of each, in a company."""
    declared = agent("under-test")
    firm.active(declared)
    instance = firm.enrolled("production/under-test")
    firm.call(instance, "delete_customer", {"customer_id": "c-1"})
    firm.watched()
    (alert, *_) = firm.get("sam", "alerts", agent="production/under-test")["items"]
    firm.apply("dana", agent("refunds", environment="development", tools=("refund_order",), data=["financial"]))
    refund = {"order_id": "o-1", "cents": 5}
    held = firm.call(
        firm.enrolled("development/refunds", confirmed=False), "refund_order", refund, user="kim@example.com"
    )
    hold = firm.get("sam", f"holds/{held['hold']}")
    firm.apply("dana", agent("leaving", environment="development"))
    decided = firm.submitted(agent("withdrawn"))
    firm.post("dana", f"approvals/{decided}/withdraw")
    trace = {"kind": "client", "format": "cursor", "path": ".cursor/mcp.json"}
    found = firm.post("sam", "discoveries", {"traces": [trace], "source": "laptops"})
    return Things(
        agent="production/under-test",
        declared=declared,
        leaving=firm.get("dana", "agents/development/leaving")["id"],
        server=_server("crm-else", "production", firm.place),
        credential=instance.identity.credential,
        request=firm.submitted(agent("waiting")),
        decided=decided,
        accepter=firm.ids["bo"],
        alert=alert["id"],
        hold=hold["id"],
        view_digest=hold["view_digest"],
        finding=found["items"][0]["finding"],
        review=_under_review(firm, "under-test"),
    )  # fmt: skip


def _under_review(firm: Company, name: str) -> str:
    firm.post("cora", "review-campaigns", {"agents": [name], "reason": "a look at it"})
    (one,) = firm.get("cora", "reviews", agent=f"production/{name}")["items"]
    return str(one["id"])


def _refused(answer: httpx2.Response) -> bool:
    """Whether whoever asked is turned away for who they are."""
    if answer.status_code < 400:
        return False
    problem = answer.json()
    assert problem["code"] != "internal"
    return problem["code"] in {"unauthenticated", "not_authorised", "separation_of_duties", "production_refused"} or (
        # who has no part in an agent is not even told that there is one
        answer.status_code == 404 and problem["detail"].startswith("no agent is called")
    )


def _asked(http: httpx2.Client, case: Case) -> httpx2.Response:
    return http.request(case.method, f"/api/v1/{case.path}", json=case.body)


@pytest.mark.requirement("api:authority:all")
def test_exactly_those_may_who_should(firm: Company, things: Things) -> None:
    wrong: list[str] = []
    with firm.place.client("") as unknown, firm.place.client(firm.place.reading_token()) as reader:
        for case in _cases(things):
            for kind, http in (("unknown", unknown), ("reader", reader)):
                answer = _asked(http, case)
                told = (answer.status_code, answer.json()["code"] if answer.status_code >= 400 else "")
                due = (401, "unauthenticated") if kind == "unknown" else (403, "not_authorised")
                if case.route in {"policy_lint", "agent_draft", "manifests_diff"} and kind == "reader":
                    due = (200, "") if case.route != "agent_draft" else (400, "body_malformed")  # it changes nothing
                if told != due:
                    wrong.append(f"{case.route}: {kind} is told {told}")
            # those who may come last: what they change is not there for the others to be refused
            for kind in sorted(KINDS, key=lambda one: one in case.may):
                answer = _asked(firm[KINDS[kind]], case)
                if _refused(answer) is (kind in case.may):
                    wrong.append(f"{case.route} {case.path}: {kind} is told {answer.status_code} {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.requirement("api:authority:single-admin")
def test_one_administrator_alone_may_everything_but_production_and_sign_off(place: Installation) -> None:
    declared = agent("alone", environment="development", owner="dana@example.com")
    held = place.call("refund-desk", "refund_order", {"order_id": "o-9", "cents": 3}).structured_content
    with place.client() as http:
        for name in ("alone", "alone-leaving"):
            document = declared | {"metadata": declared["metadata"] | {"name": name}}
            assert http.post("/api/v1/apply", json=_file(document)).status_code == 200
        hold = http.get(f"/api/v1/holds/{held['hold']}").json()
        (credential, *_) = http.get("/api/v1/credentials", params={"agent": "ticket-counter"}).json()["items"]
        it = Things(
            agent="development/alone", declared=declared, leaving="development/alone-leaving",
            server=_server("crm-two", "development", place),
            credential=credential["id"], request="apr_none", decided="apr_none", accepter=ANY, alert="alr_none",
            hold=hold["id"], view_digest=hold["view_digest"], finding="fnd_none",
            review="rvw_none",
        )  # fmt: skip
        kept = {"agent_revoke", "credential_revoke"}  # other tests of this installation call with that key
        for case in _cases(it):
            if case.alone and case.route not in kept:
                answer = _asked(http, case)
                assert not _refused(answer), f"{case.route}: {answer.text}"
        for document in (agent("early"), _server("early", "production", place)):
            answer = http.post("/api/v1/apply", json=_file(document))
            assert (answer.status_code, answer.json()["code"]) == (403, "production_refused")
        assert "early" not in http.get("/api/v1/agents").text


@pytest.mark.requirement("api:authority:all")
def test_no_changing_route_is_without_an_entry(place: Installation) -> None:
    """A route added without saying who may use it fails here."""
    nothing = Things("a", {}, "a", {}, "c", "r", "r", ANY, "a", "h", "d", "f", "r")
    told = {(case.method, case.route) for case in _cases(nothing)}
    routes = {
        (method, route.name)
        for route in control_api(place.plane).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"GET", "HEAD"}
    }
    assert told == routes - {("POST", "login")}, "signing in is for whoever holds a link"
