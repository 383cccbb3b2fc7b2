"""A program that asks before it runs a tool: yes only if it was decided so, and no whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.clock import SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId
from accredit.sdk import guard as module
from accredit.sdk.guard import AsyncGuard, Guard, ToolDecision, ToolRefusedError
from accredit.sdk.identity import AgentIdentity, AsyncAgentIdentity, send
from accredit.sdk.keyring import InstanceKey, Keyring
from accredit.sdk.wire import WireAnswer, WireRequest
from tests.enforcement.place import KIM, WORKER, agent
from tests.gateway.asking import Asking, asking

CLERK = agent("clerk", [{"allow": ["read", "refund"]}])


@pytest.fixture(scope="module")
def pdp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with asking(tmp_path_factory.mktemp("guard") / "data", {}, WORKER, CLERK) as here:
        yield here


def _guard(here: Asking, name: str = "clerk") -> AsyncGuard:
    return AsyncGuard(here.at.site.identities[name], here.at.url)


@pytest.mark.requirement("sdk:guard:answer")
def test_what_policies_say_of_a_call_is_the_answer_and_on_record(pdp: Asking) -> None:
    guard = _guard(pdp)
    yes = pdp.run(guard.check("crm/read", {"customer_id": "c-1"}, declared={"role": "helper"}))
    assert (bool(yes), yes.code) == (True, "allowed")
    no = pdp.run(guard.check("crm/count", {}))
    assert (bool(no), no.code) == (False, "tool_not_granted")
    assert no.message
    wrong = pdp.run(guard.check("crm/read", {"customer_id": 7}))
    assert (bool(wrong), wrong.code) == (False, "arguments_invalid")
    unknown = pdp.run(guard.check("nowhere/read", {}))
    assert not unknown
    advice = {body["decision_id"]: body["code"] for body in pdp.advice()}
    assert advice[yes.decision_id] == "allowed"
    assert advice[no.decision_id] == "tool_not_granted"


@pytest.mark.requirement("sdk:guard:answer")
def test_a_function_runs_only_after_a_yes(pdp: Asking) -> None:
    ran: list[str] = []

    async def read(customer_id: str) -> str:
        ran.append(customer_id)
        return "Kim"

    guard = _guard(pdp)
    assert pdp.run(guard.run("crm/read", read, customer_id="c-1")) == "Kim"
    with pytest.raises(ToolRefusedError) as refused:
        pdp.run(guard.run("crm/count", read, customer_id="c-2"))
    assert refused.value.decision.code == "tool_not_granted"
    assert ran == ["c-1"]


@pytest.mark.requirement("sdk:guard:answer")
def test_a_user_is_who_their_token_says(pdp: Asking) -> None:
    token = pdp.at.site.directory.token_for(KIM, roles=["support"], audience=pdp.at.url)
    decided = pdp.run(_guard(pdp).check("crm/read", {"customer_id": "c-1"}, subject_token=token))
    assert decided
    (body,) = (one for one in pdp.advice() if one["decision_id"] == decided.decision_id)
    assert body["user"].startswith("psd_")
    assert not pdp.run(_guard(pdp).check("crm/read", {"customer_id": "c-1"}, subject_token="nobody"))


@pytest.mark.requirement("sdk:guard:approval")
@pytest.mark.parametrize("answer", ["approve", "deny", None])
def test_it_waits_for_a_person_and_one_yes_is_used_once(
    pdp: Asking, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.05)
    guard, arguments = _guard(pdp), {"cents": 100 + len(answer or "")}

    async def story() -> ToolDecision:
        at_once = await guard.check("crm/refund", arguments)
        assert (bool(at_once), at_once.code, at_once.approval) == (False, "approval_required", None)
        waiting = asyncio.ensure_future(guard.check("crm/refund", arguments, wait_s=0.5 if answer is None else 20))
        holds: list[Any] = []
        while not holds:
            await asyncio.sleep(0.02)
            holds = [one for one in (await pdp.at.operator.get("holds"))["items"] if one["state"] == "open"]
        if answer is not None:
            await pdp.at.operator.answer_hold(holds[0]["id"], answer)
        decided = await waiting
        assert decided.approval == holds[0]["id"]
        if answer is None:
            await pdp.at.operator.answer_hold(holds[0]["id"], "deny")
        return decided

    decided = pdp.run(story())
    assert bool(decided) is (answer == "approve")
    assert decided.code == {"approve": "allowed", "deny": "approval_denied", None: "approval_required"}[answer]
    again = pdp.run(guard.check("crm/refund", arguments))
    assert (bool(again), again.code) == (False, "approval_required")


# -- whatever goes wrong


def _identity(send: Callable[[WireRequest], WireAnswer]) -> AgentIdentity:
    key = InstanceKey.generate()
    ring = Keyring(key, CredentialId("crd_1"), AgentId("agt_1"), "http://127.0.0.1:1/oauth/token")
    return AgentIdentity(ring, clock=SystemClock(), send=send)


_TOKEN = WireAnswer(200, json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": 300}).encode())


def _answered(status: int, content: bytes) -> ToolDecision:
    def answer(request: WireRequest) -> WireAnswer:
        return _TOKEN if request.url.endswith("/token") else WireAnswer(status, content)

    return Guard(_identity(answer), "http://127.0.0.1:1", send=answer).check("crm/read", {}, wait_s=1)


@pytest.mark.requirement("sdk:guard:closed")
@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b""),
        (200, b"{}"),
        (200, b"[true]"),
        (200, b'{"decision": "true"}'),
        (200, b'{"decision": 1}'),
        (200, b'{"decision": true, "context": 3}'),
        (200, b'{"decision": true'),
        (200, b'{"decision": true, "context": {"x": "' + b"y" * 2**20 + b'"}}'),
        (302, b'{"decision": true}'),
        (500, b'{"decision": true}'),
        (403, b'{"decision": true}'),
        (200, b'{"decision": false, "context": {"reason": "approval_required", "access_request": {"a": 1}}}'),
    ],
)
def test_an_answer_that_is_not_a_plain_yes_is_a_no(status: int, content: bytes) -> None:
    decided = _answered(status, content)
    assert not decided
    assert decided.code == "unavailable"
    assert decided.message


@pytest.mark.requirement("sdk:guard:closed")
@given(st.binary(max_size=64))
def test_no_bytes_are_a_yes_by_accident(content: bytes) -> None:
    assert not _answered(200, content)


@pytest.mark.requirement("sdk:guard:closed")
def test_no_failure_on_the_way_is_a_yes(tmp_path: Path) -> None:
    def fails(error: BaseException) -> Callable[[WireRequest], WireAnswer]:
        def answer(_: WireRequest) -> WireAnswer:
            raise error

        return answer

    for error in (
        OSError("no route"),
        UnavailableError(Code.UPSTREAM_UNREACHABLE, "gone"),
        RecursionError(),
        ValueError(),
    ):
        assert not Guard(_identity(fails(error)), "http://127.0.0.1:1").check("crm/read", {})
        guard = Guard(_identity(lambda _: _TOKEN), "http://127.0.0.1:1", send=fails(error))
        assert not guard.check("crm/read", {})
        with pytest.raises(ToolRefusedError):
            guard.run("crm/read", tmp_path.joinpath("never").touch)
    assert not Guard(_identity(lambda _: _TOKEN), "http://127.0.0.1:1").check("crm/read", {"x": object()})
    assert not list(tmp_path.iterdir())
    # nothing listens there
    assert Guard(_identity(lambda _: _TOKEN), "http://127.0.0.1:1", send=send).check("crm/read", {}).code == (
        Code.UPSTREAM_UNREACHABLE.value
    )
    # whoever stops the program is not answered
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop):
            Guard(_identity(fails(stop())), "http://127.0.0.1:1").check("crm/read", {})
    with pytest.raises(InvalidInputError):
        Guard(_identity(lambda _: _TOKEN), "http://crm.example.com")


@pytest.mark.requirement("sdk:guard:closed")
def test_an_async_program_that_is_cancelled_is_cancelled_and_one_that_fails_is_refused() -> None:
    key = InstanceKey.generate()
    ring = Keyring(key, CredentialId("crd_1"), AgentId("agt_1"), "http://127.0.0.1:1/oauth/token")

    async def live() -> None:
        async def hangs(_: WireRequest) -> WireAnswer:
            await asyncio.sleep(60)
            raise AssertionError

        async def fails(_: WireRequest) -> WireAnswer:
            raise OSError

        asking = asyncio.ensure_future(
            AsyncGuard(AsyncAgentIdentity(ring, send=hangs), "http://127.0.0.1:1").check("crm/read", {})
        )
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not await AsyncGuard(AsyncAgentIdentity(ring, send=fails), "http://127.0.0.1:1").check("crm/read", {})

    asyncio.run(live())
