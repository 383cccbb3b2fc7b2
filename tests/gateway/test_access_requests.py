"""What a person has to approve is asked for over the AuthZEN API, answered by a person, and used once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.enforcement.place import KIM, WORKER, agent
from tests.gateway.asking import Answer, Asking, asking, question

ERROR: Final = "urn:openid:authzen:access-request:error:"
CLERK: Final = agent("clerk", [{"allow": ["read", "refund"]}])
_CENTS = count(100)
"""Each story is about another sum, so none finds the hold of another."""


@pytest.fixture(scope="module")
def pdp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with asking(tmp_path_factory.mktemp("requests") / "data", {}, WORKER, CLERK) as here:
        yield here


@pytest.fixture
def refund(pdp: Asking) -> Iterator[dict[str, Any]]:
    """A refund that has to be approved; what was asked meanwhile is over afterwards, since few may be open at once."""
    yield refunding()
    pdp.at.site.clock.advance(1_000)


def refunding(agent: str = "worker") -> dict[str, Any]:
    asked = question(f"Agent:{agent}", "tools/call", "Tool:crm/refund")
    return asked | {"action": {"name": "tools/call", "properties": {"cents": next(_CENTS)}}}


def _evaluated(here: Asking, body: Mapping[str, Any], approval: str | None = None, **who: Any) -> Answer:
    named = {} if approval is None else {"context": {"approval": {"id": approval}}}
    return here.asked("evaluation", {**body, **named}, here.run(here.token(**who)))


def _denial(here: Asking, body: Mapping[str, Any], **who: Any) -> dict[str, Any]:
    """The denial as its caller would send it back."""
    context = _evaluated(here, body, **who).context
    assert context["reason"] == "approval_required"
    return {"evaluation_id": context["evaluation_id"], **context["access_request"]}


def _requested(
    here: Asking, body: Mapping[str, Any], denial: Mapping[str, Any] | None = None, key: str = "", **who: Any
) -> Answer:
    asked = {**body, "denial": _denial(here, body, **who) if denial is None else denial}
    headers = {"idempotency_key": key} if key else {}
    return here.asked("requests", asked, here.run(here.token(**who)), **headers)


def _task(here: Asking, body: Mapping[str, Any], **who: Any) -> str:
    answer = _requested(here, body, **who)
    assert answer.status == 202, answer.text
    return str(answer.json["task"]["id"])


def _status(here: Asking, task: str, **who: Any) -> Answer:
    return here.run(here.get(f"/access/v1/requests/{task}", here.run(here.token(**who))))


def _approve(here: Asking, task: str, answer: str = "approve") -> None:
    here.run(here.at.operator.answer_hold(task, answer))


def _refused(answer: Answer, status: int, name: str) -> None:
    assert answer.problem(status, "body_malformed")["type"] == f"{ERROR}{name}"


def _called(here: Asking, body: Mapping[str, Any]) -> bool:
    async def call() -> bool:
        told = await here.at.call(await here.at.token("worker"), "refund", body["action"]["properties"])
        await here.at.settled()
        return told.allowed

    return here.run(call())


# -- what is asked for, answered and used


@pytest.mark.requirement("gateway:access-requests:approved")
def test_a_denial_leads_to_a_person_and_back_to_one_call(pdp: Asking, refund: dict[str, Any]) -> None:
    denial = _denial(pdp, refund)
    assert denial["endpoint"] == f"{pdp.at.url}/access/v1/requests"
    submitted = _requested(pdp, refund, denial)
    assert submitted.status == 202
    task = submitted.json["task"]
    assert task["status"] == "pending"
    assert submitted.headers["location"] == task["status_endpoint"] == f"{pdp.at.url}/access/v1/requests/{task['id']}"
    waiting = _status(pdp, task["id"])
    assert (waiting.json, waiting.headers["retry-after"]) == ({"task": task}, "5")
    early = _evaluated(pdp, refund, task["id"])
    assert (early.decision, early.context["reason"], early.context["next_action"]) == (False, "grant_pending", "retry")

    _approve(pdp, task["id"])
    told = _status(pdp, task["id"]).json
    assert (told["task"]["status"], told["result"]["mode"]) == ("approved", "reevaluate")
    approval = told["result"]["approval"]["id"]
    allowed = _evaluated(pdp, refund, approval)
    assert allowed.decision
    assert allowed.context["approval"] == {"id": approval}

    again = _evaluated(pdp, refund, approval)
    assert (again.decision, again.context["reason"]) == (False, "approval_expired")
    assert again.context["next_action"] == "request"
    assert not _called(pdp, refund)


@pytest.mark.requirement("gateway:access-requests:approved")
def test_an_approved_call_passes_the_gateway_once_and_asking_about_it_uses_nothing(
    pdp: Asking, refund: dict[str, Any]
) -> None:
    task = _task(pdp, refund)
    assert not _called(pdp, refund)
    _approve(pdp, task)
    for _ in range(2):
        assert _evaluated(pdp, refund).context["reason"] == "approval_required"
    assert _called(pdp, refund)
    assert not _called(pdp, refund)
    assert _evaluated(pdp, refund, task).context["reason"] == "approval_expired"
    assert _status(pdp, task).json["task"]["status"] == "approved"


@pytest.mark.requirement("gateway:access-requests:approved")
def test_an_approval_counts_for_exactly_what_was_asked(pdp: Asking, refund: dict[str, Any]) -> None:
    task, other = _task(pdp, refund), refunding()
    _approve(pdp, task)
    for told in (_evaluated(pdp, other, task), _evaluated(pdp, other, "hld_nothing")):
        assert (told.decision, told.context["reason"]) == (False, "approval_unverifiable")
    for_kim = _evaluated(pdp, refund, task, user=KIM)
    assert (for_kim.decision, for_kim.context["reason"]) == (False, "approval_unverifiable")
    assert _evaluated(pdp, refund, task).decision


@pytest.mark.requirement("gateway:access-requests:approved")
def test_an_enforcement_point_of_the_tools_server_uses_an_approval_up_like_the_agent(
    pdp: Asking, refund: dict[str, Any]
) -> None:
    task = _task(pdp, refund)
    _approve(pdp, task)
    named = {**refund, "context": {"approval": {"id": task}}}
    elsewhere = pdp.run(pdp.point("elsewhere", servers=[]))
    pdp.asked("evaluation", named, elsewhere).problem(403, "not_authorised")
    assert [pdp.asked("evaluation", named).decision for _ in range(2)] == [True, False]
    assert not _called(pdp, refund)


@pytest.mark.requirement("gateway:access-requests:approved")
@pytest.mark.parametrize("more", [0, 900])
def test_what_a_person_denied_or_nobody_answered_is_not_allowed(pdp: Asking, refund: dict[str, Any], more: int) -> None:
    denial = _denial(pdp, refund)
    task = str(_requested(pdp, refund, denial).json["task"]["id"])
    if more:
        pdp.at.site.clock.advance(more)
    else:
        _approve(pdp, task, "deny")
        _refused(_requested(pdp, refund, denial), 400, "not_requestable")
    assert _status(pdp, task).json["task"]["status"] == ("expired" if more else "denied")
    assert "result" not in _status(pdp, task).json
    told = _evaluated(pdp, refund, task)
    assert (told.decision, told.context["reason"]) == (False, "approval_expired")
    assert not _called(pdp, refund)


@pytest.mark.requirement("gateway:access-requests:approved")
def test_an_approval_that_was_not_used_in_time_is_over(pdp: Asking, refund: dict[str, Any]) -> None:
    task = _task(pdp, refund)
    _approve(pdp, task)
    pdp.at.site.clock.advance(900)
    assert _status(pdp, task).json["task"]["status"] == "expired"
    assert not _evaluated(pdp, refund, task).decision


@pytest.mark.requirement("gateway:access-requests:approved")
def test_requests_and_their_uses_are_on_record(tmp_path: Path) -> None:
    with asking(tmp_path / "data", {}) as here:
        body = refunding()
        denial = _denial(here, body)
        task = str(_requested(here, body, denial).json["task"]["id"])
        _approve(here, task)
        assert _evaluated(here, body, task).decision
        denied, asked, used = here.advice()
        assert [one["code"] for one in (denied, asked, used)] == ["held", "held", "allowed"]
        assert (asked["denied"], asked["hold"]) == (denial["evaluation_id"], task)
        assert len(used["grants"]) == 1
        assert denied["hold"] is None
        assert [len(here.at.records(f"hold.{what}")) for what in ("opened", "granted", "used")] == [1, 1, 1]


# -- what binds a request to its denial


@pytest.mark.requirement("gateway:access-requests:bound")
def test_a_denial_binds_a_request_to_exactly_its_question_and_asker(pdp: Asking, refund: dict[str, Any]) -> None:
    denial = _denial(pdp, refund)
    token = denial["binding_token"]
    own = refunding("clerk")
    own["action"] = refund["action"]
    refused = [
        _requested(pdp, refunding(), denial),
        _requested(pdp, {**refund, "action": {"name": "tools/call"}}, denial),
        _requested(pdp, {**refund, "resource": {"type": "Tool", "id": "crm/read"}}, denial),
        _requested(pdp, refund, denial, user=KIM),
        _requested(pdp, own, denial, name="clerk"),
        _requested(pdp, refund, {**denial, "evaluation_id": "dec_other"}),
        _requested(pdp, refund, {"evaluation_id": denial["evaluation_id"]}),
        _requested(pdp, refund, {**denial, "binding_token": ("B" if token[0] == "A" else "A") + token[1:]}),
        _requested(pdp, refund, {**denial, "binding_token": token[:-8]}),
        _requested(pdp, refund, {**denial, "binding_token": "é"}),
        _requested(pdp, refund, {**denial, "binding_token": {"a": 1}}),
        _requested(pdp, refund, {}),
        pdp.asked("requests", refund, pdp.run(pdp.token())),
        pdp.asked("requests", {**refund, "denial": token}, pdp.run(pdp.token())),
        pdp.asked("requests", {**refund, "denial": denial}),  # by an enforcement point
    ]
    for answer in refused:
        _refused(answer, 400, "invalid_denial_binding")
    assert pdp.run(pdp.at.operator.get("holds", state="open"))["items"] == []
    assert _requested(pdp, refund, {"binding_token": token}).status == 202


@pytest.mark.requirement("gateway:access-requests:bound")
@pytest.mark.parametrize("evaluation", [7, ["dec"], {}, True])
def test_an_evaluation_that_is_no_name_binds_nothing(pdp: Asking, refund: dict[str, Any], evaluation: Any) -> None:
    denial = {**_denial(pdp, refund), "evaluation_id": evaluation}
    _refused(_requested(pdp, refund, denial), 400, "invalid_denial_binding")


@pytest.mark.requirement("gateway:access-requests:bound")
def test_a_denial_binds_for_ten_minutes(pdp: Asking, refund: dict[str, Any]) -> None:
    denial = _denial(pdp, refund)
    pdp.at.site.clock.advance(600)
    _refused(_requested(pdp, refund, denial), 410, "expired_denial")


@pytest.mark.requirement("gateway:access-requests:bound")
def test_a_page_token_is_no_binding(pdp: Asking, refund: dict[str, Any]) -> None:
    sought = {**refund, "resource": {"type": "Tool"}, "page": {"limit": 0}}
    token = pdp.asked("search/resource", sought, pdp.run(pdp.token())).json["page"]["next_token"]
    assert token
    _refused(_requested(pdp, refund, {"binding_token": token}), 400, "invalid_denial_binding")


@pytest.mark.requirement("gateway:access-requests:bound")
def test_only_an_agent_is_told_where_to_ask(pdp: Asking, refund: dict[str, Any]) -> None:
    told = pdp.asked("evaluation", refund)
    assert (told.decision, told.context["reason"]) == (False, "approval_required")
    assert "access_request" not in told.context
    read = question("Agent:worker", "tools/call", "Tool:crm/count")
    assert "access_request" not in _evaluated(pdp, read).context


@pytest.mark.requirement("gateway:access-requests:bound")
@pytest.mark.parametrize(
    "files",
    [{}, {"org/refunds.cedar": 'forbid (principal, action == Action::"crm/refund", resource);'}],
    ids=["allowed", "forbidden"],
)
def test_what_no_person_has_to_or_can_approve_any_more_is_not_requestable(
    tmp_path: Path, files: Mapping[str, str]
) -> None:
    with asking(tmp_path / "data", {}) as here:
        body = refunding()
        denial = _denial(here, body)
        guardrail = '@hold("business-owner") forbid (principal, action == Action::"crm/count", resource);'
        here.run(here.publish({"org/guardrails.cedar": guardrail, **files}))
        _refused(_requested(here, body, denial), 400, "not_requestable")
        assert here.run(here.at.operator.get("holds"))["items"] == []


# -- repeated requests, and those of others


@pytest.mark.requirement("gateway:access-requests:once")
def test_an_equal_request_is_the_same_and_a_key_is_for_one(pdp: Asking, refund: dict[str, Any]) -> None:
    denial, other = _denial(pdp, refund), refunding()
    first = _requested(pdp, refund, denial, key="key-1")
    for again in (_requested(pdp, refund, denial, key="key-1"), _requested(pdp, refund, key="key-2")):
        assert (again.status, again.json) == (202, first.json)
    _refused(_requested(pdp, other, key="key-1"), 409, "duplicate_request")
    own = refunding("clerk")
    assert _requested(pdp, own, key="key-1", name="clerk").status == 202
    _approve(pdp, first.json["task"]["id"])
    approved = _requested(pdp, refund, denial, key="key-1")
    assert (approved.status, approved.json["task"]["status"]) == (201, "approved")


@pytest.mark.requirement("gateway:access-requests:once")
@pytest.mark.parametrize("key", ["x" * 257, "a b"])
def test_a_key_of_another_form_is_refused(pdp: Asking, refund: dict[str, Any], key: str) -> None:
    _requested(pdp, refund, key=key).problem(400, "body_malformed")


@pytest.mark.requirement("gateway:access-requests:once")
def test_several_things_at_once_are_not_taken(pdp: Asking, refund: dict[str, Any]) -> None:
    token = pdp.run(pdp.token())
    pdp.asked("requests", {"items": [refund]}, token).problem(400, "body_malformed")


@pytest.mark.requirement("gateway:access-requests:own")
def test_a_request_is_there_for_its_own_agent_alone(pdp: Asking, refund: dict[str, Any]) -> None:
    task = _task(pdp, refund)
    not_there = _status(pdp, "hld_nothing")
    others = [
        _status(pdp, task, name="clerk"),
        pdp.run(pdp.get(f"/access/v1/requests/{task}")),
        _status(pdp, task + "/"),
        _status(pdp, "x" * 5_000),
    ]
    for answer in (not_there, *others):
        _refused(answer, 404, "unknown_task")
        assert answer.text == not_there.text
    pdp.run(pdp.get(f"/access/v1/requests/{task}", "nobody")).problem(401, "unauthenticated")


@pytest.mark.requirement("gateway:access-requests:own")
def test_no_agent_has_more_than_a_few_requests_open(tmp_path: Path) -> None:
    with asking(tmp_path / "data", {}) as here:
        for _ in range(5):
            _task(here, refunding())
        _refused(_requested(here, refunding()), 400, "not_requestable")
