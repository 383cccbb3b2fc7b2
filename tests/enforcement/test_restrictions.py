"""States, restrictions and masks as calls meet them: before the decision, before the first byte, and in flight."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.breakglass import BREAK_GLASS, BreakGlass, break_glass_doc
from accredit.approvals.model import HoldVerdict
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Write
from accredit.enforcement.model import Admitted, CallEnd, Refused
from accredit.enforcement.snapshot import Snapshot
from accredit.identity.model import VerifiedUser
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId, PersonId, ServerName, tool_id
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Environment, Restriction, RestrictionKind, Role
from tests.enforcement.place import CRM_FACTS, WORKER, Place, agent, place, site
from tests.gateway.stage import http_json, tool_result

KIND = RestrictionKind
OPERATOR = Actor(person="per_operator", credential="tok_1", basis="single-admin")
HOUR_US = 3_600_000_000
READ, REFUND = tool_id(ServerName("crm"), "read"), tool_id(ServerName("crm"), "refund")
SECRET = "jane@example.com"


async def _restrict(at: Place, kind: RestrictionKind, *, hours: int = 24, **more: Any) -> Restriction:
    agent_id = AgentId((await at.operator.get("agents/worker"))["id"])
    until_us = at.site.clock.now().wall_us + hours * HOUR_US
    made = await at.running.plane.registry.restrict(agent_id, kind, OPERATOR, cause="alr_1", until_us=until_us, **more)
    assert made is not None
    return made


async def _event(at: Place, event: AgentEvent) -> None:
    agent_id = AgentId((await at.operator.get("agents/worker"))["id"])
    await at.running.plane.registry.transition(agent_id, event, OPERATOR)


def _code(answer: Admitted | Refused) -> Code:
    return answer.code if isinstance(answer, Refused) else Code.ALLOWED


# -- restrictions


@pytest.mark.requirement("enforcement:restriction:in-force", "enforcement:restriction:recorded")
def test_a_restriction_denies_what_it_names_until_it_ends_and_the_record_names_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            made = await _restrict(at, KIND.DROP_TOOL, tool=READ, hours=1)
            refused = await at.admit(who, "read")
            assert isinstance(refused, Refused)
            assert (refused.code, refused.policies) == (Code.RESTRICTED, (f"restriction/{made.id}",))
            assert "alr_1" not in repr(refused)
            _, body = at.records("decision")[-1]
            assert (body["code"], body["restrictions"], body["policies"]) == (
                "restricted",
                [made.id],
                [f"restriction/{made.id}"],
            )
            assert _code(await at.admit(who, "refund", {"cents": 5})) is Code.HELD
            listed = [tool.name for tool in at.enforcer.visible(who, ServerName("crm"))]
            assert listed == ["refund"]

            at.site.clock.advance(3600)
            who = await at.principal("worker")
            admitted = await at.admit(who, "read")
            assert isinstance(admitted, Admitted)
            at.settle(admitted)
            _, body = at.records("decision")[-1]
            assert body["restrictions"] == []
            assert "read" in [tool.name for tool in at.enforcer.visible(who, ServerName("crm"))]

    asyncio.run(live())


@pytest.mark.requirement("enforcement:restriction:in-force")
def test_a_step_of_the_clock_ends_no_restriction_until_it_is_confirmed(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            await _restrict(at, KIND.DROP_TOOL, tool=READ, hours=1)
            who = await at.principal("worker")
            who = replace(who, expires_us=who.expires_us + 2 * HOUR_US)
            at.ports["verifier"].instead["still_valid"] = lambda _: None
            at.site.clock.step_wall(3700)
            assert _code(await at.admit(who, "read")) is Code.RESTRICTED
            assert at.enforcer.visible(who, ServerName("crm"))[0].name == "refund"
            at.running.plane.watch.confirm(at.site.clock.now())
            assert _code(await at.admit(who, "read")) is Code.ALLOWED

    asyncio.run(live())


@pytest.mark.requirement("enforcement:restriction:in-force")
def test_a_read_only_agent_is_shown_and_given_reads_alone(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            made = await _restrict(at, KIND.READ_ONLY)
            who = await at.principal("worker")
            assert _code(await at.admit(who, "refund", {"cents": 5})) is Code.RESTRICTED
            assert _code(await at.admit(who, "read")) is Code.ALLOWED
            assert [tool.name for tool in at.enforcer.visible(who, ServerName("crm"))] == ["read"]
            await at.running.plane.registry.lift_restriction(made.id, OPERATOR)
            assert _code(await at.admit(who, "refund", {"cents": 5})) is Code.HELD

    asyncio.run(live())


@pytest.mark.requirement("enforcement:restriction:hold")
def test_a_hold_of_a_restriction_is_answered_by_its_role_and_used_once(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            made = await _restrict(at, KIND.HOLD, role=Role.SECURITY, tool=READ)
            who = await at.principal("worker")
            held = await at.admit(who, "read", {"customer_id": "c-1"})
            assert isinstance(held, Refused)
            assert (held.code, held.roles) == (Code.HELD, ("security",))
            (hold,) = at.running.plane.holds.find()
            assert [need.policy for need in hold.needs] == [f"restriction/{made.id}"]
            await at.operator.answer_hold(str(held.hold), HoldVerdict.APPROVE.value)
            admitted = await at.admit(who, "read", {"customer_id": "c-1"})
            assert isinstance(admitted, Admitted), admitted
            at.settle(admitted)
            _, body = at.records("decision")[-1]
            assert (body["lifted"], len(body["grants"])) == ([f"restriction/{made.id}"], 1)
            assert _code(await at.admit(who, "read", {"customer_id": "c-1"})) is Code.HELD

    asyncio.run(live())


@pytest.mark.requirement("enforcement:restriction:throttle")
def test_a_throttle_slows_calls_and_a_restart_does_not_forget_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with here.started() as at:
                await here.register(at, WORKER)
                await _restrict(at, KIND.THROTTLE, calls_per_minute=2)
                who = await at.principal("worker")
                for _ in range(2):
                    admitted = await at.admit(who, "read")
                    assert isinstance(admitted, Admitted)
                    at.settle(admitted)
                limited = await at.admit(who, "read")
                assert isinstance(limited, Refused)
                assert limited.code is Code.RATE_LIMITED
                assert (limited.detail, limited.retry_after_s) == ("2 calls a minute", 30)
                _, body = at.records("decision")[0]
                assert body["reservation"]["throttle"] == 2
                await at.settled()
            async with here.started() as again:
                assert _code(await again.admit(await again.principal("worker"), "read")) is Code.RATE_LIMITED

    asyncio.run(live())


@pytest.mark.requirement("enforcement:restriction:unproven")
@pytest.mark.parametrize("statement", [
    "DELETE FROM state WHERE kind = 'restriction'",
    "UPDATE state SET doc = replace(doc, '\"drop-tool\"', '\"throttle\"') WHERE kind = 'restriction'",
])  # fmt: skip
def test_a_restriction_removed_or_changed_by_hand_denies_every_call_it_could_have_been_about(
    tmp_path: Path, statement: str
) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with here.started() as at:
                await here.register(at, WORKER)
                await _restrict(at, KIND.DROP_TOOL, tool=READ)
            assert here.sql("control.db", statement) == 1
            async with here.started() as again:
                who = await again.principal("worker")
                assert _code(await again.admit(who, "read")) is Code.STATE_UNPROVEN
                assert _code(await again.admit(who, "refund", {"cents": 5})) is Code.STATE_UNPROVEN

    asyncio.run(live())


# -- between the decision and the first byte


async def _drop(at: Place) -> None:
    await _restrict(at, KIND.DROP_TOOL, tool=READ)


async def _hold(at: Place) -> None:
    await _restrict(at, KIND.HOLD, role=Role.SECURITY)


async def _suspend(at: Place) -> None:
    await _event(at, AgentEvent.SUSPEND)


async def _quarantine(at: Place) -> None:
    await _event(at, AgentEvent.QUARANTINE)


async def _retire(at: Place) -> None:
    await _event(at, AgentEvent.RETIRE)


async def _classify(at: Place) -> None:
    at.site.box.answer = _answering({"id": 1})
    await at.apply(at.site.crm({**CRM_FACTS, "read": {**CRM_FACTS["read"], "fields": {"email": "internal"}}}))


@pytest.mark.requirement("enforcement:recheck", "enforcement:halt:in-flight")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_drop, Code.SNAPSHOT_STALE),
        (_hold, Code.SNAPSHOT_STALE),
        (_classify, Code.SNAPSHOT_STALE),
        (_suspend, Code.AGENT_NOT_ACTIVE),
        (_quarantine, Code.AGENT_NOT_ACTIVE),
        (_retire, Code.AGENT_NOT_ACTIVE),
    ],
)
def test_what_narrows_an_agent_after_the_decision_stops_the_call_before_its_first_byte(
    tmp_path: Path, change: Callable[[Place], Awaitable[None]], code: Code
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            await _restrict(at, KIND.THROTTLE, calls_per_minute=100)
            admitted = await at.admit(await at.principal("worker"), "read")
            assert isinstance(admitted, Admitted)
            admitted.recheck()
            await change(at)
            with pytest.raises(AccreditError) as refused:
                admitted.recheck()
            assert refused.value.code is code
            at.settle(admitted, CallEnd.REVOKED, code=refused.value.code, sent=False)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:recheck")
def test_a_restriction_lifted_after_the_decision_stops_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            slowed = await _restrict(at, KIND.THROTTLE, calls_per_minute=100)
            await _restrict(at, KIND.DROP_TOOL, tool=REFUND)
            admitted = await at.admit(await at.principal("worker"), "read")
            assert isinstance(admitted, Admitted)
            await at.running.plane.registry.lift_restriction(slowed.id, OPERATOR)
            admitted.recheck()
            at.settle(admitted)

    asyncio.run(live())


# -- in flight


@pytest.mark.requirement("enforcement:halt:in-flight")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_suspend, "agent_not_active"),
        (_quarantine, "agent_not_active"),
        (_retire, "agent_not_active"),
        (_drop, "restricted"),
    ],
)
def test_halting_an_agent_or_dropping_its_tool_cancels_what_is_in_flight_once(
    tmp_path: Path, change: Callable[[Place], Awaitable[None]], code: str
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, agent("other", [{"allow": ["read"]}])) as at:

            async def never(_: asyncio.StreamWriter, seen: Any) -> None:
                await seen.until_closed()

            at.site.box.answer = never
            calls = []
            for name in ("worker", "worker", "other"):
                at.site.box.arrived.clear()
                calls.append(asyncio.create_task(at.call(await at.token(name))))
                async with asyncio.timeout(10):
                    await at.site.box.arrived.wait()
            await _hold(at)  # asks a person about the next call, and lets those on their way finish
            assert at.enforcer.cancelled == 0
            await change(at)
            assert at.enforcer.cancelled == 2
            async with asyncio.timeout(10):
                for each in calls[:2]:
                    (await each).refused(code)
            assert not calls[2].done()
            await at.settled()
            assert [(body["end"], body["code"]) for _, body in at.records("outcome")] == [("revoked", code)] * 2
            await at.operator.post("agents/worker/revoke", {"reason": "test"})
            assert at.enforcer.cancelled == 2
            await at.operator.post("agents/other/revoke", {"reason": "test"})
            (await calls[2]).refused("credential_revoked")

    asyncio.run(live())


# -- masks


def _answering(row: Mapping[str, Any], **more: Any) -> Any:
    async def script(writer: asyncio.StreamWriter, seen: Any) -> None:
        result = tool_result(json.dumps(row), structuredContent=row, **more)
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    return script


MASKED = agent("worker", [{"allow": ["read"], "mask": ["personal"]}])
PERSONAL = {**CRM_FACTS, "read": {**CRM_FACTS["read"], "data": ["internal", "personal"],
                                  "fields": {"email": "personal"}}}  # fmt: skip


@pytest.mark.requirement("enforcement:mask")
def test_a_masked_class_reaches_neither_the_agent_nor_the_record_and_is_not_counted_as_touched(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here, here.started() as at:
            here.box.tools[0] = {**here.box.tools[0], "outputSchema": {
                "type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}}  # fmt: skip
            await here.register(at)
            await at.apply(here.crm(PERSONAL))
            await at.apply(MASKED, agent("clerk", [{"allow": ["read"]}], data=["internal", "personal"]))
            for name in ("worker", "clerk"):
                await at.enrol(name)
            here.box.answer = _answering({"id": 1, "contacts": [{"email": SECRET, "kind": "home"}]})
            told = await at.call(await at.token("worker"))
            assert told.json["result"]["structuredContent"] == {"id": 1, "contacts": [{"kind": "home"}]}
            assert SECRET not in json.dumps(told.json)
            seen = await at.call(await at.token("clerk"))
            assert seen.json["result"]["structuredContent"]["contacts"][0]["email"] == SECRET
            await at.settled()
            decided = at.records("decision")
            assert [body["mask"] for _, body in decided] == [["personal"], []]
            assert [header["data_classes"] for header, _ in decided] == [["internal"], ["internal", "personal"]]
            ended = at.records("outcome")
            assert [header["data_classes"] for header, _ in ended] == [["internal"], ["internal", "personal"]]

            here.box.answer = _answering({"id": 1, "Email": SECRET})
            told = await at.call(await at.token("worker"))
            told.refused("result_unmaskable")
            assert SECRET not in json.dumps(told.json)
            await at.settled()
            assert at.records("outcome")[-1][1]["end"] == "withheld"

            worker, clerk = await at.principal("worker"), await at.principal("clerk")
            (shown,) = at.enforcer.visible(worker, ServerName("crm"))
            assert "outputSchema" not in shown.definition  # it would promise what the mask takes away
            (shown,) = at.enforcer.visible(clerk, ServerName("crm"))
            assert "outputSchema" in shown.definition

            # whoever takes the field back takes the tool from those who rest on the mask
            await at.apply(here.crm({**PERSONAL, "read": {**PERSONAL["read"], "fields": {}}}))
            assert _code(await at.admit(worker, "read")) is Code.MASK_UNPLACEABLE
            assert at.enforcer.visible(worker, ServerName("crm")) == ()
            assert _code(await at.admit(clerk, "read")) is Code.ALLOWED

    asyncio.run(live())


# -- who may not answer


@pytest.mark.requirement("enforcement:hold:barred")
def test_the_user_and_outside_of_development_the_owners_are_barred_from_a_hold(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            snapshot: Snapshot = at.running.plane.snapshots.current
            worker = snapshot.catalogue.agent_named("development", "worker")
            assert worker is not None
            who = await at.principal("worker")
            dana = worker.owner
            assert snapshot.barred_for(who, worker) == {}
            there = replace(worker, environment=Environment.PRODUCTION, backup_owner=PersonId("per_second"))
            assert snapshot.barred_for(who, there) == {dana: "owner", PersonId("per_second"): "owner"}
            served = replace(who, user=VerifiedUser("https://id", "u-1", frozenset(), {"email": "dana@example.com"}))
            assert snapshot.barred_for(served, worker) == {dana: "user"}
            assert snapshot.barred_for(served, replace(there, backup_owner=None)) == {dana: "user"}

    asyncio.run(live())


@pytest.mark.requirement("break-glass:narrow")
def test_a_call_whose_hold_does_not_wait_by_break_glass_uses_up_nothing_and_its_record_says_what_was_lifted(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            held = await at.admit(who, "refund", {"cents": 5})
            assert isinstance(held, Refused)
            assert held.code is Code.HELD
            now_us = at.site.clock.now().wall_us
            made = BreakGlass(
                "bgl_1", AgentId((await at.operator.get("agents/worker"))["id"]), (REFUND,), held.policies,
                PersonId("psn_1"), now_us, now_us + HOUR_US, "apr_1",
            )  # fmt: skip
            write = Write(BREAK_GLASS, made.id, break_glass_doc(made, reason="fire", salt="00"))
            change = Change(Facts("break_glass.opened", agent=made.agent), (write,), OPERATOR, {})
            await at.running.plane.control.transact(lambda _: change)
            for cents in (5, 6):
                assert isinstance(await at.admit(who, "refund", {"cents": cents}), Admitted)
            _, body = at.records("decision")[-1]
            assert (body["lifted"], body["grants"]) == (list(held.policies), [])
            at.site.clock.advance(3_600)
            who = await at.principal("worker")
            assert _code(await at.admit(who, "refund", {"cents": 7})) is Code.HELD

    asyncio.run(live())
