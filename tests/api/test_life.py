"""One agent's life as the API shows it, and what must come of bad input on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.company import Company, agent, assessment, company, person

_DAY_S = 86_400
_HIGH: dict[str, Any] = {
    "tools": ("read_customer",),
    "data": ["personal"],
    "models": [{"provider": "anthropic", "model": "claude-sonnet-5", "agreement": "dpa-2026-14"}],
}


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("life") / "data") as made:
        yield made


@pytest.mark.requirement("api:life:whole", "monitoring:alert:disposition")
def test_a_low_agent_from_registration_to_retirement(firm: Company) -> None:
    (row,) = firm.apply("dana", agent("ledger"))
    about = "agents/production/ledger"
    assert (row["result"], row["approval"]) == ("created", None)

    # what retirement will do is known before anything was approved
    plan = firm.get("dana", f"{about}/plan")
    assert plan["agent"] == row["id"]
    assert {"credential", "baseline", "policy"} <= {one["step"] for one in plan["steps"]}
    assert all(one["does"] and one["at"] is None for one in plan["steps"])
    tier = firm.get("dana", f"{about}/tier")
    assert (tier["tier"], tier["blocks"], tier["candidate"]) == ("low", [], None)
    assert tier["factors"]
    windows = tier["observed"]["windows"]
    assert [window["days"] for window in windows] == [14, 30]
    assert {one["name"] for one in windows[1]["factors"]} == {one["name"] for one in tier["factors"]}
    assert firm.get("dana", about)["observed"]["windows"] == windows
    assert firm.get("dana", about)["answers"]["decommissioning"]["steps"]

    assert firm.attempt("dana", f"{about}/activate") == (403, "clearance_required")
    submission = firm.post("dana", f"{about}/submit")
    request = submission["id"]
    assert (submission["state"], submission["agent_state"]) == ("open", "submitted")
    shown = firm.get("lena", f"approvals/{request}")
    assert [one["may"] for one in shown["standing"]] == [True]
    assert json.loads(shown["view"])
    stale = {"role": "team-lead", "vote": "approve", "view_digest": "sha256:" + "0" * 64, "comment": ""}
    assert firm.attempt("lena", f"approvals/{request}/vote", stale) == (409, "conflict")
    assert firm.attempt_vote("sam", request, "team-lead") == (403, "separation_of_duties")
    voted = firm.vote("lena", request, "team-lead")
    assert voted["state"] == "approved"
    assert voted["votes"][0]["view_digest"] == shown["view_digest"]
    assert firm.attempt_vote("lena", request, "team-lead") == (409, "conflict")
    procedure = firm.post("dana", f"{about}/activate")["procedure"]
    assert procedure["outcome"] == "completed"
    assert all(step["at"] for step in procedure["steps"])

    # an instance: its key waits for the owner
    instance = firm.enrolled("production/ledger", confirmed=False)
    credential = instance.identity.credential
    assert firm.attempt("dana", f"credentials/{credential}/confirm", {"thumbprint": "A" * 43})[0] >= 400
    confirmed = firm.post("lee", f"credentials/{credential}/confirm", {"thumbprint": instance.identity.thumbprint})
    assert confirmed["state"] == "active"
    assert firm.call(instance, "count_tickets", {}) == {"result": 3}

    # narrowed, and let go again
    made = firm.post("sam", f"{about}/restrictions", {"kind": "read-only", "minutes": 5, "cause": "a look"})
    assert made["in_force"]
    assert made["id"] in {one["id"] for one in firm.get("dana", "restrictions", agent="production/ledger")["items"]}
    firm.post("sam", f"restrictions/{made['id']}/lift", {"reason": "nothing there"})
    assert firm.get("dana", "restrictions", agent="production/ledger")["items"] == []

    # alerts and incidents
    firm.call(instance, "delete_customer", {"customer_id": "c-1"})
    firm.watched()
    alerts = firm.get("sam", "alerts", agent="production/ledger")["items"]
    assert {"first-denial", "new-tool"} <= {one["kind"] for one in alerts}
    assert firm.post("sam", f"alerts/{alerts[0]['id']}/ack", {"note": "mine"})["state"] == "acknowledged"
    resolve = f"alerts/{alerts[0]['id']}/resolve"
    assert firm.attempt("dana", resolve, {"note": "known"})[0] == 400
    resolved = firm.post("dana", resolve, {"note": "known", "disposition": "false-positive"})
    assert (resolved["note"], resolved["disposition"]) == ("known", "false-positive")
    assert firm.attempt("sam", resolve, {"note": "again", "disposition": "duplicate"}) == (409, "conflict")
    told = firm.get("sam", "monitoring/accuracy", agent="production/ledger")["items"]
    assert [(one["kind"], one["false_positive"]) for one in told if one["false_positive"]] == [(alerts[0]["kind"], 1)]
    incident = firm.post("cora", f"{about}/incidents", {"severity": 4, "reason": "counted twice"})
    assert [one["id"] for one in firm.get("dana", "incidents", agent="production/ledger")["items"]] == [incident["id"]]
    firm.post("cora", f"incidents/{incident['id']}/close", {"reason": "counted right"})

    # stopped and started
    for act, by, state in (("suspend", "dana", "suspended"), ("resume", "otto", "active"),
                           ("quarantine", "lena", "quarantined"), ("lift", "sam", "active")):  # fmt: skip
        assert firm.post(by, f"{about}/{act}", {"reason": "as it goes"})["state"] == state

    # the five questions, each with its record
    dossier = firm.get("una", about)
    assert dossier["unanswered"] == []
    assert set(dossier["answers"]) == {"approved_by", "data", "tools", "security_review", "decommissioning"}
    recorded = {name for name, one in dossier["answers"].items() if isinstance(one["record"], int)}
    assert recorded == set(dossier["answers"]) - {"security_review"}, "security has not looked at a low agent"
    assert dossier["answers"]["security_review"]["at"] is None
    assert [one["role"] for one in dossier["answers"]["approved_by"]["votes"]] == ["team-lead"]
    assert firm.get("una", f"{about}/baseline")["tools"] == ["crm-live/count_tickets"]

    # and its end
    receipt = firm.post("dana", f"{about}/retire", {"reason": "nobody asks any more"})
    assert {one["step"] for one in receipt["steps"]} >= {"credential", "baseline", "policy"}
    assert firm.get("una", f"agents/{row['id']}/receipt")["procedure"] == receipt["procedure"]
    assert receipt["checkpoint"].startswith("accredit.log/"), "a log cut short later is found against it"
    assert firm.get("una", f"agents/{row['id']}")["state"] == "retired"
    assert firm.attempt("dana", f"agents/{row['id']}/submit")[0] == 409
    kinds = [one["kind"] for one in firm.get("una", f"agents/{row['id']}/timeline", limit=1000)["items"]]
    assert kinds[-1] == "agent.registered"
    (again,) = firm.apply("dana", agent("ledger"))
    assert again["id"] != row["id"], "a name comes back, an id never does"


@pytest.mark.requirement("api:life:votes")
def test_a_new_version_carries_over_the_votes_of_those_whose_part_is_as_it_was(firm: Company) -> None:
    high = agent("advisor", **_HIGH)
    request = firm.submitted(high)
    assert firm.get("dana", "agents/production/advisor/tier")["tier"] == "high"
    assert firm.get("dana", "agents/production/advisor/tier")["lowers"], "nothing is said of a way to a lower tier"
    assert firm.attempt_vote("sam", request, "security") == (403, "assessment_required")
    wrong = assessment(firm.ids["nick"])
    assert firm.attempt("dana", f"approvals/{request}/assessment", wrong) == (400, "assessment_invalid")
    firm.post("dana", f"approvals/{request}/assessment", assessment(firm.ids["bo"]))
    assert firm.attempt_vote("sam", request, "security", comment="  ") == (400, "comment_required")
    firm.vote("sam", request, "security")
    firm.vote("cora", request, "compliance")

    spec = high["spec"]
    firm.apply("dana", high | {"spec": spec | {"purpose": "Answer customers and look up their data"}})
    assert firm.attempt_vote("bo", request, "business-owner") == (409, "conflict")
    after = firm.get("sam", f"approvals/{firm.post('dana', 'agents/production/advisor/submit')['id']}")
    votes = {one["role"]: one["carried_from"] for one in after["votes"]}
    assert set(votes) <= {"security"}, "compliance judges the purpose: its vote is void"
    assert all(votes.values())


@pytest.mark.requirement("api:life:whole")
def test_a_high_agent_is_asked_the_five_questions_and_each_answer_names_its_record(firm: Company) -> None:
    request = firm.submitted(agent("seen-by-three", **_HIGH))
    firm.post("dana", f"approvals/{request}/assessment", assessment(firm.ids["bo"]))
    for name, role in (("sam", "security"), ("cora", "compliance"), ("bo", "business-owner")):
        assert firm.attempt("dana", "agents/production/seen-by-three/activate") == (403, "clearance_required")
        firm.vote(name, request, role)
    firm.post("dana", "agents/production/seen-by-three/activate")
    answers = firm.get("una", "agents/production/seen-by-three")["answers"]
    size = firm.get("una", "audit/records", limit=1)["items"][0]["seq"]
    assert all(isinstance(one["record"], int) and 0 <= one["record"] <= size for one in answers.values())
    assert len({one["record"] for one in answers.values()}) > 1
    assert answers["security_review"]["at"]


@pytest.mark.requirement("retirement:sign-off", "incident:record")
def test_a_high_agent_ends_as_a_second_person_agreed_with_a_certificate_and_an_incident_if_it_is_seen_again(
    firm: Company,
) -> None:
    about = "agents/production/leaving-for-good"
    request = firm.submitted(agent("leaving-for-good", **_HIGH))
    firm.post("dana", f"approvals/{request}/assessment", assessment(firm.ids["bo"]))
    for name, role in (("sam", "security"), ("cora", "compliance"), ("bo", "business-owner")):
        firm.vote(name, request, role)
    firm.post("dana", f"{about}/activate")
    instance = firm.enrolled("production/leaving-for-good")
    plan = firm.get("dana", f"{about}/plan")
    assert (plan["tier"], plan["needs_sign_off"]) == ("high", True)
    (planned,) = [one for one in plan["decided"]["credentials"]["revoked"] if one["kind"] == "instance-key"]
    assert planned["id"] in {one["id"] for one in firm.get("dana", f"{about}/credentials")["items"]}
    other = {"reason": "over", "plan": "sha256:" + "0" * 64}
    assert firm.attempt("dana", f"{about}/retire", other) == (409, "plan_changed")
    asked = firm.post("dana", f"{about}/retire", {"reason": "over", "plan": plan["digest"]})
    assert (asked["state"], asked["retired"], asked["request"]["id"]) == ("active", None, asked["approval"])
    assert firm.attempt_vote("cora", asked["approval"], "security")[0] == 403
    token = firm.place.do(instance.token())
    firm.clock.advance(1)
    firm.vote("sam", asked["approval"], "security")
    certificate = firm.get("una", f"agents/{instance.id}/certificate")
    assert certificate["says"]["approvers"] == [firm.ids["sam"]]
    assert (certificate["status"], certificate["exceptions"]) == ("complete", [])
    again = firm.post("dana", f"agents/{instance.id}/retire", {"reason": "again"})
    assert (again["state"], again["approval"], again["certificate"]) == ("retired", None, certificate["id"])
    # and whoever goes on with its credential is told of; refusals of one minute are one record
    for _ in range(4):
        with firm.place.client(token) as ghost:
            assert ghost.post("/mcp/crm-live", json={}).status_code == 401
        firm.clock.advance(61)
    firm.watched()
    firm.place.do(firm.place.plane.room.incidents.round())
    (incident,) = firm.get("sam", "incidents", agent=instance.id)["items"]
    assert (incident["rule"], incident["severity"], incident["opened_by"]) == ("ghost", 3, None)
    assert firm.get("dana", f"incidents/{incident['id']}")["id"] == incident["id"], "it is hers"
    assert firm["nick"].get(f"/api/v1/incidents/{incident['id']}").status_code == 404
    assert incident["id"] not in {one["id"] for one in firm.get("nick", "incidents")["items"]}


@pytest.mark.requirement("api:life:signed-out")
def test_a_person_who_is_signed_out_has_nothing_that_works_and_signs_in_anew(firm: Company) -> None:
    (made,) = firm.apply("mira", person("wanda@example.com"))
    path = f"persons/{made['id']}"

    def signed_in() -> dict[str, str]:
        link = firm.post("mira", f"{path}/sign-in-link", {})["link"].partition("#")[2]
        token = firm["una"].post("/api/v1/login", json={"link": link, "name": "x"}).json()["token"]
        return {"authorization": f"Bearer {token}"}

    def status(headers: dict[str, str]) -> int:
        return firm["una"].get("/api/v1/whoami", headers=headers).status_code

    one, other = signed_in(), signed_in()
    unused = firm.post("mira", f"{path}/sign-in-link", {})["link"].partition("#")[2]
    assert firm.attempt("una", f"{path}/sign-out", {"reason": "x"}) == (403, "not_authorised")
    assert (status(one), status(other)) == (200, 200)
    assert firm.post("mira", f"{path}/sign-out", {"reason": "a laptop was stolen"}) == {"signed_out": made["id"]}
    assert (status(one), status(other)) == (401, 401)
    assert firm.attempt("una", "login", {"link": unused, "name": "x"}) == (401, "link_invalid")
    assert status(signed_in()) == 200


@pytest.mark.requirement("api:life:expiry")
def test_a_request_that_ran_out_while_it_was_open_takes_no_vote(firm: Company) -> None:
    request = firm.submitted(agent("forgotten"))
    shown = firm.get("lena", f"approvals/{request}")
    firm.clock.advance(8 * _DAY_S)
    body = {"role": "team-lead", "vote": "approve", "view_digest": shown["view_digest"], "comment": "late"}
    assert firm.attempt("lena", f"approvals/{request}/vote", body) == (409, "conflict")
    after = firm.get("lena", f"approvals/{request}")
    assert (after["state"], after["votes"], after["view"]) == ("expired", [], "")
    assert firm.attempt("dana", "agents/production/forgotten/activate") == (403, "clearance_required")


@pytest.mark.requirement("api:life:at-once")
def test_of_two_votes_at_once_in_a_role_one_counts(firm: Company) -> None:
    request = firm.submitted(agent("contested"))
    shown = firm.get("lena", f"approvals/{request}")
    told: list[int] = []
    start = threading.Barrier(4)

    def voting(verdict: str) -> None:
        body = {"role": "team-lead", "vote": verdict, "view_digest": shown["view_digest"], "comment": "mine"}
        start.wait(10)
        told.append(firm.attempt("lena", f"approvals/{request}/vote", body)[0])

    threads = [threading.Thread(target=voting, args=(one,)) for one in ("approve", "reject") * 2]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sorted(told) == [200, 409, 409, 409]
    after = firm.get("lena", f"approvals/{request}")
    assert len(after["votes"]) == 1
    assert after["state"] in {"approved", "rejected"}


@pytest.mark.requirement("api:life:owners")
def test_an_agent_whose_owner_does_not_exist_or_left_gets_nowhere(firm: Company) -> None:
    unknown = agent("orphan", owner="nobody@example.com", backupOwner="dana@example.com")
    file = {"files": [{"name": "a.json", "text": json.dumps(unknown)}]}
    status, _ = firm.attempt("dana", "apply", file)
    assert 400 <= status < 500
    firm.apply("ada", person("gone@example.com"))
    left = next(one["id"] for one in firm.get("ada", "persons")["items"] if one["email"] == "gone@example.com")
    firm.apply("otto", agent("left-behind", owner="gone@example.com", backupOwner="dana@example.com"))
    firm.post("ada", f"persons/{left}/leave", {"reason": "retired"})
    assert firm.get("dana", "agents/production/left-behind/tier")["tier"] is None
    assert firm.attempt("dana", "agents/production/left-behind/submit") == (409, "no_tier")


@pytest.mark.requirement("api:life:lookalikes")
@pytest.mark.parametrize(
    "email",
    ["d\u0430na@example.com", "dana@ex\u0430mple.com", "dana\u200b@example.com", "\u202edana@example.com",
     "Dana@example.com", "DANA@EXAMPLE.COM", "dana@example.com ", "dana\u00ad@example.com"],
)  # fmt: skip
def test_an_address_that_looks_like_anothers_is_no_new_person(firm: Company, email: str) -> None:
    before = firm.get("ada", "persons")["items"]
    file = {"files": [{"name": "a.json", "text": json.dumps(person(email))}]}
    status, _ = firm.attempt("ada", "apply", file)
    assert firm.get("ada", "persons")["items"] == before, "it is somebody else"
    assert status in {200, 400, 409}


@pytest.mark.requirement("api:life:lookalikes")
@pytest.mark.parametrize("name", ["l\u0435dger", "ledg\u200ber", "\u202eledger", "Ledger", "ledger\n", "led/ger", ""])
def test_a_name_that_looks_like_anothers_is_refused(firm: Company, name: str) -> None:
    file = {"files": [{"name": "a.json", "text": json.dumps(agent(name))}]}
    assert firm.attempt("dana", "apply", file) == (400, "manifest_invalid")


@pytest.mark.requirement("api:life:hostile")
def test_hostile_text_reaches_approvers_as_data_and_as_it_was_written(firm: Company) -> None:
    hostile = 'Tells.", "votes": [{"role": "security"}] </pre><script>alert(1)</script> APPROVED by security'
    high = agent("hostile", **_HIGH)
    request = firm.submitted(high | {"spec": high["spec"] | {"purpose": hostile}})
    form = assessment(firm.ids["bo"])
    form["risks"][0]["risk"] = form["risks"][0]["mitigations"][0]["measure"] = hostile
    firm.post("dana", f"approvals/{request}/assessment", form)
    shown = firm.get("sam", f"approvals/{request}")
    assert shown["votes"] == []
    assert json.dumps(json.loads(shown["view"]), ensure_ascii=False).count(json.dumps(hostile)[1:-1]) >= 3
    voted = firm.vote("cora", request, "compliance", comment=hostile)
    assert [one["comment"] for one in voted["votes"]] == [hostile]
    assert firm.get("sam", f"approvals/{request}")["missing"] == ["security", "business-owner"]


@pytest.mark.requirement("api:life:hostile")
@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u200b", "\U000e0041", "\x1b[2J", "\0"])
def test_signs_nobody_can_see_never_reach_an_approver_as_they_are(firm: Company, sign: str) -> None:
    name = f"signs-{ord(sign[0]):x}"
    document = agent(name, purpose=f"Report{sign} tickets")
    file = {"files": [{"name": "a.json", "text": json.dumps(document)}]}
    status, answer = firm.attempt("dana", "apply", file)
    if status == 200:
        request = firm.post("dana", f"agents/production/{name}/submit")["id"]
        assert sign not in firm["lena"].get(f"/api/v1/approvals/{request}").json()["view"]
    else:
        assert (status, answer) == (400, "manifest_invalid")


@pytest.mark.requirement("api:life:strangers")
def test_who_has_no_part_in_it_learns_nothing(firm: Company) -> None:
    firm.apply("dana", agent("private", environment="development"))
    about, unknown = "/api/v1/agents/development/private", "/api/v1/agents/development/never-was"
    nick = firm["nick"]
    for path in ("", "/tier", "/timeline", "/plan", "/receipt", "/usage", "/unused", "/limits", "/baseline",
                 "/validation"):  # fmt: skip
        answers = [nick.get(one + path) for one in (about, unknown)]
        assert [one.status_code for one in answers] == [404, 404], path
        assert answers[0].text.replace("private", "never-was") == answers[1].text, "it is told that there is one"
    for path in ("agents", "approvals", "holds", "alerts", "credentials", "restrictions", "incidents", "delegations"):
        found = nick.get(f"/api/v1/{path}", params={"state": "all"} if path in {"approvals", "holds", "alerts"} else {})
        assert (found.status_code, found.json()["items"]) == (200, []), path
    for path in ("persons", "roles", "groups", "teams", "servers", "issuers", "agreements", "upstream-credentials",
                 "context-providers",
                 "enforcement-points", "policy/release", "audit/records", "audit/prove/0", "decisions/dec_none",
                 "servers/crm"):  # fmt: skip
        assert nick.get(f"/api/v1/{path}").status_code == 403, path
    for path in ("credentials", "alerts", "restrictions", "approvals", "incidents", "audit/records"):
        assert nick.get(f"/api/v1/{path}", params={"agent": "development/private"}).status_code == 404, path
    assert nick.get("/api/v1/whoami").json()["roles"] == []


@pytest.mark.requirement("api:lists:pages")
def test_every_list_is_read_to_its_end_in_pages_and_each_thing_is_met_once(firm: Company) -> None:
    for name in ("page-a", "page-b", "page-c"):
        firm.submitted(agent(name))
    described = firm["una"].get("/api/openapi.json").json()["paths"]
    paged = [
        path
        for path, each in described.items()
        if {"limit", "after"} <= {one["name"] for one in each.get("get", {}).get("parameters", ())} and "{" not in path
    ]
    assert len(paged) > 12
    for path in paged:
        more = {"state": "all"} if path.endswith(("approvals", "holds", "alerts", "incidents")) else {}
        whole = firm["una"].get(path, params=more).json()["items"]
        met: list[Any] = []
        after: dict[str, str] = {}
        while True:
            page = firm["una"].get(path, params={"limit": 1, **more, **after}).json()
            assert len(page["items"]) <= 1
            met += page["items"]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
            assert len(met) <= len(whole), path
        assert met == whole, path
    records: list[int] = []
    before: dict[str, str] = {}
    while len(records) < 10:
        page = firm["una"].get("/api/v1/audit/records", params={"limit": 3, **before}).json()
        records += [one["seq"] for one in page["items"]]
        before = {"before": page["next"]}
    assert records == list(range(records[0], records[0] - len(records), -1))


@pytest.mark.requirement("api:lists:parameters")
@pytest.mark.parametrize(
    "query", ["envrionment=production", "limit=0", "limit=1001", "limit=1&limit=2", "after=" + "x" * 500, "state=none"]
)
def test_a_parameter_that_is_misspelt_repeated_or_out_of_bounds_is_refused(firm: Company, query: str) -> None:
    answer = firm["una"].get(f"/api/v1/agents?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "body_malformed")


@pytest.mark.requirement("api:life:bounded")
@pytest.mark.parametrize("name", ["x" * 201, "9" * 4000, "agt_" + "f" * 196, "production/" + "y" * 300])
def test_an_id_of_any_size_is_a_problem_and_no_more(firm: Company, name: str) -> None:
    for path in (f"agents/{name}", f"approvals/{name}", f"holds/{name}", f"decisions/{name}"):
        assert firm["una"].get(f"/api/v1/{path}").status_code in {400, 404}, path
    for path in (f"agents/{name}/retire", f"persons/{name}/leave", f"roles/{name}/revoke", f"incidents/{name}/close"):
        assert firm.attempt("ada", path, {"reason": "r"})[0] in {400, 403, 404}, path
