"""Who may ask the AuthZEN API about what, what it answers to anything that is sent, and what is on record of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from tests.enforcement.place import HELPER, KIM, TICKET, WORKER
from tests.gateway.asking import Answer, Asking, asking, question

APP: Final = {
    "ext/app.cedar": """
permit (principal is Ext::user, action == Action::"ext/read", resource is Ext::record)
when { principal has role && principal.role == "staff" };

permit (principal is Ext::user, action == Action::"ext/count", resource is Ext::record)
when { context.action has n && context.action.n > 0 };

forbid (principal is Ext::user, action == Action::"ext/read", resource is Ext::record)
when { context.request has closed && context.request.closed };
""",
    "ext/app.json": json.dumps(
        [{"uid": {"type": "Ext::user", "id": "guest"}, "attrs": {"role": "guest"}}]
        + [{"uid": {"type": "Ext::user", "id": f"staff-{n}"}, "attrs": {"role": "staff"}} for n in range(1, 6)]
    ),
}
SESSION: Final = {
    "org/reads.cedar": """
forbid (principal, action == Action::"crm/read", resource) when { context.session.reads > 2 };
""",
    "accredit.toml": '[counters.reads]\ntools = ["crm/read"]\nwindow = "1h"\n',
}
STAFF: Final = question("user:staff-1", "read", "record:1")
USERS: Final = {**STAFF, "subject": {"type": "user"}}


def calling(agent: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """May this agent call that tool of `crm` so?"""
    asked = question(f"Agent:{agent}", "tools/call", f"Tool:crm/{tool}")
    return asked | {"action": {"name": "tools/call", "properties": arguments}}


READS: Final = calling("worker", "read", customer_id="c-1")


def described(body: Mapping[str, Any], part: str, **properties: Any) -> dict[str, Any]:
    """The same question, saying this of subject, action or resource."""
    return {**body, part: {**body[part], "properties": properties}}


@pytest.fixture(scope="module")
def pdp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with asking(tmp_path_factory.mktemp("authzen") / "data", APP, WORKER, HELPER) as here:
        yield here


# -- who may ask


@pytest.mark.requirement("gateway:authzen:askers")
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer a.b.c", "Bearer acce_", "Bearer acce_" + "x" * 43, "Bearer acce_" + "x" * 20_000,
     "Basic YTpi", "acce_" + "x" * 43],
    ids=lambda header: str(header)[:16],
)  # fmt: skip
def test_whoever_proves_nothing_is_told_one_constant_text(pdp: Asking, header: str | None) -> None:
    async def story() -> Answer:
        headers = {"content-type": "application/json"} | ({} if header is None else {"authorization": header})
        reply = await pdp.at.site.agents_http.post(f"{pdp.at.url}/access/v1/evaluation", json=STAFF, headers=headers)
        return Answer(reply.status_code, reply.headers, reply.text)

    answer = pdp.run(story())
    told = answer.problem(401, "unauthenticated")
    assert told["detail"] == told["title"]
    assert answer.text == pdp.asked("evaluation", {}, "nobody").text
    assert answer.headers["www-authenticate"].startswith("Bearer resource_metadata=")


@pytest.mark.requirement("gateway:authzen:askers")
def test_a_token_for_another_audience_is_nobodys(pdp: Asking) -> None:
    elsewhere = pdp.run(pdp.at.token("worker"))
    pdp.asked("evaluation", READS, elsewhere).problem(401, "unauthenticated")
    assert pdp.asked("evaluation", READS, pdp.run(pdp.token())).decision


@pytest.mark.requirement("gateway:authzen:askers")
def test_a_key_ends_alone_and_a_point_with_all_of_its_keys(pdp: Asking) -> None:
    async def story() -> None:
        operator = pdp.at.operator
        one = await pdp.point("short")
        (row,) = [each for each in (await operator.get("enforcement-points"))["items"] if each["name"] == "short"]
        two = str((await operator.post("enforcement-points/short/keys", {}))["secret"])
        assert (await pdp.ask("evaluation", STAFF, one)).decision
        await operator.post(f"enforcement-points/short/keys/{row['keys'][0]['id']}/revoke", {"reason": "lost"})
        (await pdp.ask("evaluation", STAFF, one)).problem(401, "unauthenticated")
        assert (await pdp.ask("evaluation", STAFF, two)).decision
        await operator.post("enforcement-points/short/revoke", {"reason": "gone"})
        (await pdp.ask("evaluation", STAFF, two)).problem(401, "unauthenticated")

    pdp.run(story())


@pytest.mark.requirement("gateway:authzen:askers")
def test_a_key_that_was_revoked_while_its_question_was_being_sent_does_not_count(pdp: Asking) -> None:
    async def story() -> None:
        key = await pdp.point("slow")

        async def body() -> AsyncIterator[bytes]:
            content = json.dumps(STAFF).encode()
            yield content[:10]
            await pdp.at.operator.post("enforcement-points/slow/revoke", {"reason": "gone"})
            yield content[10:]

        (await pdp.send("evaluation", body(), key)).problem(401, "unauthenticated")

    pdp.run(story())


@pytest.mark.requirement("gateway:authzen:askers")
def test_an_expired_key_is_nobodys(tmp_path: Path) -> None:
    with asking(tmp_path / "data", APP) as here:
        here.at.site.clock.advance(366 * 86_400)
        here.asked("evaluation", STAFF).problem(401, "unauthenticated")


@pytest.mark.requirement("gateway:authzen:askers")
@pytest.mark.parametrize("body", [STAFF, READS], ids=["types", "servers"])
def test_a_point_asks_only_about_what_it_was_registered_for(pdp: Asking, body: dict[str, Any]) -> None:
    key = pdp.run(pdp.point("narrow-types" if body is STAFF else "narrow-servers", types=["user"], servers=[]))
    pdp.asked("evaluation", body, key).problem(403, "not_authorised")
    batch = pdp.asked("evaluations", {"evaluations": [body, body]}, key).json["evaluations"]
    assert [(one["decision"], one["context"]["reason"]) for one in batch] == [(False, "not_authorised")] * 2
    sought = {**body, "subject": {"type": body["subject"]["type"]}}
    assert pdp.asked("search/subject", sought, key).json["results"] == []
    assert pdp.asked("search/subject", sought).json["results"]


@pytest.mark.requirement("gateway:authzen:askers")
def test_whether_a_tool_exists_is_not_told_to_who_may_not_ask_about_its_server(pdp: Asking) -> None:
    key = pdp.run(pdp.point("blind", servers=[]))
    there, not_there = (pdp.asked("evaluation", calling("worker", tool), key) for tool in ("read", "nothing"))
    assert there.problem(403, "not_authorised") == not_there.problem(403, "not_authorised")


@pytest.mark.requirement("gateway:authzen:askers")
def test_an_agent_asks_about_itself_alone(pdp: Asking) -> None:
    token = pdp.run(pdp.token())
    own = pdp.run(pdp.at.operator.get("agents/worker"))["id"]
    for name in ("worker", "development/worker", own):
        assert pdp.asked("evaluation", calling(name, "read"), token).decision
    refused = [calling("helper", "read"), calling("nobody", "read"), calling("production/worker", "read"), STAFF]
    answers = [pdp.asked("evaluation", body, token) for body in refused]
    assert len({str(answer.problem(403, "not_authorised")) for answer in answers}) == 1
    found = pdp.asked("search/subject", {**READS, "subject": {"type": "Agent"}}, token)
    assert [one["id"] for one in found.json["results"]] == [own]
    assert pdp.asked("search/subject", USERS, token).json["results"] == []


@pytest.mark.requirement("gateway:authzen:refused-askers")
def test_asking_about_what_is_not_theirs_is_on_record_with_the_credential(tmp_path: Path) -> None:
    with asking(tmp_path / "data", APP, WORKER, HELPER) as here:
        key, token = here.run(here.point("curious", types=["user"], servers=[])), here.run(here.token())
        (row,) = [
            each for each in here.run(here.at.operator.get("enforcement-points"))["items"] if each["name"] == "curious"
        ]
        here.asked("evaluation", STAFF, key).problem(403, "not_authorised")
        here.asked("evaluation", calling("helper", "match"), token).problem(403, "not_authorised")
        refund = {**calling("helper", "refund", cents=5), "denial": {"binding_token": "x"}}
        here.asked("requests", refund, token).problem(403, "not_authorised")
        assert [(body["code"], body["credential"]) for body in here.turned_away()] == [
            ("not_authorised", row["keys"][0]["id"]),
            ("not_authorised", here.at.site.identities["worker"].credential),
        ]
        here.asked("evaluations", {"evaluations": [STAFF] * 3}, key)

        async def a_minute_later() -> None:
            here.at.site.clock.advance(60)
            here.at.enforcer.tick()

        here.run(a_minute_later())
        here.run(here.at.settled())
        ((_, repeated),) = here.at.records("refused.authentication.repeated")
        assert repeated["counts"] == {"not_authorised": 4}
        assert here.advice() == []


# -- what is answered


@pytest.mark.requirement("gateway:authzen:answers")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (STAFF, None),
        (question("user:guest", "read", "record:1"), "not_permitted"),
        (question("user:staff-1", "read", "record:1", closed=True), "forbidden_by_policy"),
        (question("user:staff-1", "shred", "record:1"), "action_unknown"),
        (question("Agent:worker", "read", "record:1"), "type_unknown"),
        (question("user:staff-1", "read", "Tool:crm/read"), "type_unknown"),
        (READS, None),
        (calling("nobody", "read"), "agent_unknown"),
        (calling("worker", "count"), "tool_not_granted"),
        (calling("worker", "read", customer_id=7), "arguments_invalid"),
        (calling("worker", "refund", cents=5), "approval_required"),
        ({**READS, "action": {"name": "crm/refund"}}, "action_unknown"),
    ],
)  # fmt: skip
def test_an_answer_tells_its_reason_and_names_no_policy(pdp: Asking, body: dict[str, Any], reason: str | None) -> None:
    answer = pdp.asked("evaluation", body)
    assert answer.decision is (reason is None)
    assert answer.context.get("reason") == reason
    assert answer.context["evaluation_id"] == pdp.advice()[-1]["decision_id"]
    assert ".cedar" not in answer.text


@pytest.mark.requirement("gateway:authzen:answers")
def test_a_type_that_no_release_defines_is_denied(pdp: Asking) -> None:
    key = pdp.run(pdp.point("early", types=["user", "record", "spaceship"]))
    answer = pdp.asked("evaluation", question("user:staff-1", "read", "spaceship:1"), key)
    assert (answer.decision, answer.context["reason"]) == (False, "type_unknown")


@pytest.mark.requirement("gateway:authzen:answers")
def test_what_a_release_names_is_not_described_by_whoever_asks(pdp: Asking) -> None:
    for who, decision in (("zoe", True), ("guest", False)):
        asked = described(question(f"user:{who}", "read", "record:1"), "subject", role="staff", id="staff-1")
        assert pdp.asked("evaluation", asked).decision is decision
    assert pdp.asked("evaluation", described(STAFF, "subject", role="guest")).decision


@pytest.mark.requirement("gateway:authzen:answers")
@pytest.mark.parametrize("key", ["__entity", "__extn"])
@pytest.mark.parametrize("part", ["subject", "action", "resource", "context"])
@pytest.mark.parametrize("body", [STAFF, READS], ids=["types", "tools"])
def test_a_reserved_key_denies_wherever_it_stands(pdp: Asking, body: dict[str, Any], part: str, key: str) -> None:
    hidden = {"x": [{key: {"type": "Ext::user", "id": "staff-1"}}]}
    asked = {**body, "context": hidden} if part == "context" else described(body, part, **hidden)
    answer = pdp.asked("evaluation", asked)
    undeclared = body is READS and part == "action"
    assert not answer.decision
    assert answer.context["reason"] == ("undeclared_argument" if undeclared else "reserved_key")


@pytest.mark.requirement("gateway:authzen:claims")
def test_claims_of_an_asker_are_no_verified_facts(pdp: Asking) -> None:
    claims = {"user": {"id": KIM, "roles": ["support"]}, "task": {"id": TICKET, "customer_id": "c-1"}}
    asked = {**described(calling("helper", "match", customer_id="c-1"), "subject", **claims), "context": claims}
    asked["resource"] = {**asked["resource"], "properties": claims}
    for key in (pdp.key, pdp.run(pdp.token("helper"))):
        assert not pdp.asked("evaluation", asked, key).decision
    served = pdp.run(pdp.token("helper", user=KIM, ticket=TICKET, roles=["support"]))
    assert pdp.asked("evaluation", calling("helper", "match", customer_id="c-1"), served).decision
    assert not pdp.asked("evaluation", asked, pdp.run(pdp.token("helper", user=KIM, roles=["support"]))).decision


@pytest.mark.requirement("gateway:authzen:reserves-nothing")
def test_asking_uses_nothing_up_and_is_no_part_of_a_session(tmp_path: Path) -> None:
    with asking(tmp_path / "data", SESSION) as here:
        token, calls = here.run(here.token()), here.run(here.at.token("worker"))
        before = here.run(here.at.limits("worker"))
        for _ in range(5):
            assert here.asked("evaluation", READS, token).decision
            assert here.asked("evaluation", READS).decision
        assert here.run(here.at.limits("worker")) == before
        assert not here.asked("evaluation", calling("worker", "refund", cents=5), token).decision
        assert here.run(here.at.operator.get("holds"))["items"] == []
        assert {body["reservation"] for body in here.advice()} == {None}
        assert (here.at.records("decision"), here.at.site.box.calls) == ([], [])

        async def until_refused() -> int:
            made = 0
            while (await here.at.call(calls, "read", {"customer_id": "c-1"})).allowed:
                made += 1
                await here.at.settled()
            return made

        made = here.run(until_refused())
        assert made == 2
        told = here.asked("evaluation", {**READS, "context": {"session": {"reads": 0}}}, token)
        assert told.context["reason"] == "forbidden_by_policy"


# -- several at once

MEMBERS: Final[list[dict[str, Any]]] = [
    {},
    {"subject": {"type": "user", "id": "guest"}},
    {"action": {"name": 7}},
    {"resource": {"type": "todo", "id": "1"}},
    {"context": {"closed": True}},
    {"action": {"name": "count", "properties": {"n": 1}}},
]


@pytest.mark.requirement("gateway:authzen:semantics")
@pytest.mark.parametrize(
    ("semantic", "members", "expected"),
    [
        (None, MEMBERS, [True, False, False, False, False, True]),
        ("execute_all", MEMBERS, [True, False, False, False, False, True]),
        ("deny_on_first_deny", MEMBERS, [True, False]),
        ("permit_on_first_permit", MEMBERS, [True]),
        ("permit_on_first_permit", MEMBERS[1:], [False, False, False, False, True]),
        ("deny_on_first_deny", [MEMBERS[2], {}], [False]),
        ("deny_on_first_deny", [{}] * 100, [True] * 100),
    ],
)
def test_each_semantic_ends_where_it_says(
    pdp: Asking, semantic: str | None, members: list[dict[str, Any]], expected: list[bool]
) -> None:
    options = {} if semantic is None else {"options": {"evaluations_semantic": semantic}}
    before = len(pdp.advice())
    answers = pdp.asked("evaluations", {**STAFF, **options, "evaluations": members}).json["evaluations"]
    assert [one["decision"] for one in answers] == expected
    broken = [one["context"]["error"]["status"] for one in answers if "error" in one["context"]]
    assert broken == [
        400 if member is MEMBERS[2] else 403 for member in members[: len(expected)] if member in MEMBERS[2:4]
    ]
    assert len(pdp.advice()) - before == len(expected) - len(broken)


@pytest.mark.requirement("gateway:authzen:semantics")
def test_a_member_replaces_a_default_whole(pdp: Asking) -> None:
    body = {**described(question("user:zoe", "read", "record:1"), "subject", role="staff"), "context": {"closed": True}}
    members: list[dict[str, Any]] = [{}, {"context": {}}, {"subject": {"type": "user", "id": "zoe"}, "context": {}}]
    answers = pdp.asked("evaluations", {**body, "evaluations": members}).json["evaluations"]
    assert [one["decision"] for one in answers] == [False, True, False]


@pytest.mark.requirement("gateway:authzen:semantics")
@pytest.mark.parametrize(
    "more",
    [
        {"evaluations": [{}] * 101},
        {"evaluations": {}},
        {"evaluations": [{}, 7]},
        {"evaluations": [{}], "options": {"evaluations_semantic": "sometimes"}},
        {"evaluations": [{}], "options": {"evaluations_semantic": ["execute_all"]}},
        {"evaluations": [{}], "options": 7},
        {"evaluations": [{}], "context": []},
        {"evaluations": [{}], "subject": None},
    ],
)
def test_a_batch_of_another_form_is_refused_whole(pdp: Asking, more: dict[str, Any]) -> None:
    before = len(pdp.advice())
    pdp.asked("evaluations", {**STAFF, **more}).problem(400, "body_malformed")
    assert len(pdp.advice()) == before


@pytest.mark.requirement("gateway:authzen:semantics")
def test_many_at_once_get_each_their_own_answer(pdp: Asking) -> None:
    async def story() -> list[Answer]:
        bodies = [question(f"user:{who}", "read", "record:1") for who in ("staff-1", "guest", "staff-2", "nobody")]
        return await asyncio.gather(*(pdp.ask("evaluation", body) for body in bodies * 10))

    assert [answer.decision for answer in pdp.run(story())] == [True, False, True, False] * 10


# -- anything that is sent


@pytest.mark.requirement("gateway:authzen:bounds")
@pytest.mark.parametrize(
    "body",
    [
        {**STAFF, "context": {"x": "y" * 16_384}},
        {**STAFF, "context": 7},
        {**STAFF, "context": None},
        described(STAFF, "subject", x="y" * 16_384),
        described(STAFF, "action", x="y" * 16_384),
        described(STAFF, "resource", x="y" * 16_384),
        {**STAFF, "resource": {"type": "record", "id": "1", "properties": []}},
        question("user:" + "x" * 1_025, "read", "record:1"),
        question("x" * 129 + ":staff-1", "read", "record:1"),
        question("user:staff-1", "x" * 1_025, "record:1"),
        question("user:", "read", "record:1"),
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_every_part_of_a_question_is_bounded_and_typed(pdp: Asking, body: dict[str, Any]) -> None:
    pdp.asked("evaluation", body).problem(400, "body_malformed")


@pytest.mark.requirement("gateway:authzen:bounds")
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"subject":{"type":"user","id":"guest","id":"staff-1"}}', "body_duplicate_keys"),
        (b'{"action":{}, "action":{}}', "body_duplicate_keys"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "body_too_deep"),
        (b"[" * 100_000, "body_malformed"),
        (b'{"context":{"n":NaN}}', "body_malformed"),
        (b'{"context":{"n":1e400}}', "body_malformed"),
        (b'{"context":{"n":123456789012345678901}}', "body_malformed"),
        (b'{"context":"\\ud800"}', "body_malformed"),
        (b'{"context":"\xff"}', "body_malformed"),
        (b"\xef\xbb\xbf{}", "body_malformed"),
        (b"{} {}", "body_malformed"),
        (b"null", "body_malformed"),
    ],
    ids=lambda given: repr(given)[:40],
)
def test_json_is_read_strictly(pdp: Asking, content: bytes, code: str) -> None:
    pdp.run(pdp.send("evaluation", content)).problem(400, code)


@pytest.mark.requirement("gateway:authzen:bounds")
@pytest.mark.parametrize(
    ("number", "reason"),
    [("1", None), ("0", "not_permitted"), ("-1", "not_permitted"), ("9223372036854775807", None),
     ("9223372036854775808", "unencodable_input"), ("18446744073709551616", "unencodable_input"),
     ("1.5", "unencodable_input"), ("1.0", "unencodable_input"), ("1e3", "unencodable_input"),
     ("true", "not_permitted"), ('"1"', "not_permitted")],
)  # fmt: skip
def test_a_number_that_does_not_fit_exactly_denies(pdp: Asking, number: str, reason: str | None) -> None:
    body = json.dumps(described(question("user:staff-1", "count", "record:1"), "action", n="@")).replace('"@"', number)
    answer = pdp.run(pdp.send("evaluation", body.encode()))
    assert (answer.decision, answer.context.get("reason")) == (reason is None, reason)


@pytest.mark.requirement("gateway:authzen:bounds")
def test_a_body_beyond_the_bound_is_refused_whether_or_not_it_says_its_size(pdp: Asking) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 65_536

    async def story() -> list[Answer]:
        return [await pdp.send("evaluation", content) for content in (b" " * (256 * 1024 + 1), chunks())]

    for answer in pdp.run(story()):
        answer.problem(413, "body_oversized")
    padded = json.dumps(STAFF).encode().ljust(256 * 1024)
    assert pdp.run(pdp.send("evaluation", padded)).decision


@pytest.mark.requirement("gateway:authzen:bounds")
@pytest.mark.parametrize(
    "name",
    [
        "staff-1\0",
        "staff\u200b-1",
        "Staff-1",
        "../staff-1",
        " staff-1",
        'staff-1" || true',
        "\uff53taff-1",
        "\U0001f600",
    ],
)
def test_a_name_that_only_looks_like_one_is_another(pdp: Asking, name: str) -> None:
    body = {**STAFF, "subject": {"type": "user", "id": name}}
    assert pdp.asked("evaluation", body).context["reason"] == "not_permitted"
    assert pdp.asked("evaluation", described(body, "subject", role="staff")).decision


@pytest.mark.requirement("gateway:authzen:bounds")
@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [("evaluation", "GET", "POST"), ("evaluations", "PUT", "POST"), ("search/subject", "DELETE", "POST"),
     ("requests", "GET", "POST"), ("requests/hld_1", "POST", "GET")],
)  # fmt: skip
def test_another_method_is_told_the_one_that_is_served(pdp: Asking, path: str, method: str, allowed: str) -> None:
    answer = pdp.run(pdp.send(path, b"{}", method=method))
    answer.problem(405, "method_unknown")
    assert answer.headers["allow"] == allowed


@pytest.mark.requirement("gateway:authzen:bounds")
@pytest.mark.parametrize("header", [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")])
def test_another_host_or_origin_is_refused(pdp: Asking, header: tuple[str, str]) -> None:
    pdp.run(pdp.send("evaluation", json.dumps(STAFF).encode(), headers=dict([header]))).problem(403, "origin_refused")


@pytest.mark.requirement("gateway:authzen:request-id")
def test_a_request_id_comes_back_with_whatever_is_answered(pdp: Asking) -> None:
    name = "a b~" + "x" * 252

    async def story() -> list[Answer]:
        content, named = json.dumps(STAFF).encode(), {"x-request-id": name}
        return [
            await pdp.send("evaluation", content, headers=named),
            await pdp.send("evaluation", b"{", headers=named),
            await pdp.send("evaluation", content, "nobody", named),
            await pdp.send("nowhere", content, headers=named),
            await pdp.send("evaluation", content, headers=named, method="PUT"),
            await pdp.send("evaluation", content, headers={**named, "host": "evil.example"}),
            await pdp.send("evaluation", b" " * 300_000, headers=named),
        ]

    answers = pdp.run(story())
    assert [answer.status for answer in answers] == [200, 400, 401, 404, 405, 403, 413]
    assert {answer.headers.get("x-request-id") for answer in answers} == {name}


@pytest.mark.requirement("gateway:authzen:request-id")
@pytest.mark.parametrize("given", [[b"x" * 257], [b""], [b"caf\xc3\xa9"], [b"a\tb"], [b"a", b"b"], [b"a", b"a"]])
def test_a_request_id_that_cannot_be_given_back_as_it_came_is_refused(pdp: Asking, given: list[bytes]) -> None:
    more = [(b"x-request-id", value) for value in given]
    answer = pdp.run(pdp.send("evaluation", json.dumps(STAFF).encode(), more=more))
    answer.problem(400, "body_malformed")
    assert "x-request-id" not in answer.headers


# -- pages


def _paged(here: Asking, page: Mapping[str, Any], key: str | None = None, **more: Any) -> Answer:
    return here.asked("search/subject", {**USERS, **more, "page": page}, key)


@pytest.mark.requirement("gateway:authzen:pages")
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
def test_pages_together_are_the_whole_result_once(pdp: Asking, limit: int) -> None:
    found: list[str] = []
    page: dict[str, Any] = {"limit": limit}
    while page.get("token") != "":
        answer = _paged(pdp, page).json
        assert answer["page"]["count"] == len(answer["results"]) <= limit
        found += [one["id"] for one in answer["results"]]
        page = {"limit": limit, "token": answer["page"]["next_token"]}
    assert found == [f"staff-{n}" for n in range(1, 6)]


@pytest.mark.requirement("gateway:authzen:pages")
def test_a_page_of_nothing_does_not_say_that_there_is_nothing(pdp: Asking) -> None:
    first = _paged(pdp, {"limit": 0}).json
    assert (first["results"], bool(first["page"]["next_token"])) == ([], True)
    assert _paged(pdp, {"token": first["page"]["next_token"]}).json["page"]["next_token"]


@pytest.mark.requirement("gateway:authzen:pages")
def test_a_page_token_counts_for_its_asker_and_its_search_for_an_hour(pdp: Asking) -> None:
    token = _paged(pdp, {"limit": 1}).json["page"]["next_token"]
    same = {"token": token, "limit": 1}
    assert _paged(pdp, same).json["results"] == [{"type": "user", "id": "staff-2"}]
    other = pdp.run(pdp.point("other"))
    refused = [
        _paged(pdp, same, other),
        _paged(pdp, same, action={"name": "count"}),
        _paged(pdp, same, context={"closed": False}),
        _paged(pdp, same, resource={"type": "record", "id": "2"}),
        pdp.asked("search/action", {**STAFF, "page": same}),
        _paged(pdp, {"token": token, "limit": 2}),
        _paged(pdp, {"token": ("B" if token[0] == "A" else "A") + token[1:]}),
        _paged(pdp, {"token": token[:-8]}),
    ]
    pdp.at.site.clock.advance(3_600)
    for answer in (*refused, _paged(pdp, same)):
        answer.problem(400, "body_malformed")


@pytest.mark.requirement("gateway:authzen:pages")
@pytest.mark.parametrize(
    "page", [[], {"limit": -1}, {"limit": True}, {"limit": 1.0}, {"limit": "1"}, {"token": 7}, {"token": "\u00e9"},
             {"token": ["x"]}, {"token": {}}, {"token": "A" * 5_000}],
    ids=lambda page: repr(page)[:20],
)  # fmt: skip
def test_a_page_of_another_form_is_refused(pdp: Asking, page: Any) -> None:
    _paged(pdp, page).problem(400, "body_malformed")


# -- limits, and what is on record


@pytest.mark.requirement("gateway:authzen:limits")
def test_a_point_that_asks_too_often_is_told_when_to_come_back(pdp: Asking) -> None:
    key = pdp.run(pdp.point("busy", calls={"perMinute": 1}))
    batch = {**STAFF, "evaluations": [{}] * 100}
    before = len(pdp.advice())
    answer = pdp.asked("evaluations", batch, key)
    answer.problem(429, "attempts_limited")
    assert len(pdp.advice()) == before, "none of them is judged if all of them are too many"
    assert pdp.asked("evaluation", STAFF).decision
    pdp.at.site.clock.advance(int(answer.headers["retry-after"]))
    assert pdp.asked("evaluation", STAFF, key).decision


@pytest.mark.requirement("gateway:authzen:recorded")
def test_every_answer_is_on_record_and_a_search_is_one_record(pdp: Asking) -> None:
    before = len(pdp.advice())
    answers = [
        pdp.asked("evaluation", STAFF),
        pdp.asked("search/subject", USERS),
        pdp.asked("evaluation", READS, pdp.run(pdp.token())),
    ]
    pdp.asked("evaluations", {**STAFF, "evaluations": [{}, {}, {}]})
    bodies = pdp.advice()[before:]
    assert [body["decision_id"] for body in bodies[:3]] == [answer.context["evaluation_id"] for answer in answers]
    assert [body["asked_by"] for body in bodies] == ["app", "app", None, "app", "app", "app"]
    assert (bodies[1]["search"], bodies[1]["found"], bodies[1]["judged"]) == ("subject", 5, 6)


@pytest.mark.requirement("gateway:authzen:recorded")
def test_what_cannot_be_put_on_record_is_not_answered(tmp_path: Path) -> None:
    with asking(tmp_path / "data", APP) as here:

        async def fails(_: Any) -> None:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is full")

        here.at.ports["audit"].instead["append"] = fails
        refused = [
            here.asked("evaluation", STAFF),
            here.asked("evaluation", READS),
            here.asked("evaluation", calling("worker", "count")),
            here.asked("evaluations", {**STAFF, "evaluations": [{}, {}]}),
            here.asked("search/subject", USERS),
        ]
        here.at.ports["audit"].instead.clear()
        for answer in refused:
            answer.problem(503, "audit_unavailable")
            assert "decision" not in answer.json
        assert here.asked("evaluation", STAFF).decision
