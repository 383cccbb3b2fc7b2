"""The path of one call with every room real: what each step may refuse, what it gives back, and what is on record."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import HoldRefusal
from accredit.audit.model import Entry, Receipt
from accredit.enforcement.model import Admitted, CallEnd, Refused
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from tests.enforcement.place import (
    CRM_FACTS,
    HELPER,
    KIM,
    TICKET,
    WORKER,
    Place,
    agent,
    place,
    raw_bytes,
    site,
    tool,
)

Break = Callable[[Place], None]


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _later(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def fail(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    return fail


def _instead(port: str, method: str, what: Callable[..., Any]) -> Break:
    return lambda at: at.ports[port].instead.update({method: what})


def _admissions_only(real: Any, fail: Callable[[Entry], Awaitable[Receipt]]) -> Callable[[Entry], Awaitable[Receipt]]:
    """Does to the decision that admits what is said, and appends everything else."""

    def append(entry: Entry) -> Awaitable[Receipt]:
        admits = entry.facts.kind == "decision" and entry.facts.decision == "allow"
        found: Awaitable[Receipt] = fail(entry) if admits else real.append(entry)
        return found

    return append


def _audit(fail: Callable[..., Any]) -> Break:
    return lambda at: at.ports["audit"].instead.update(append=_admissions_only(at.ports["audit"].real, fail))


_DOWN = UnavailableError(Code.LIMITS_UNAVAILABLE, "down")
_NO_CREDENTIAL = UnavailableError(Code.UPSTREAM_CREDENTIAL, "none")
_NO_DISK = UnavailableError(Code.AUDIT_UNAVAILABLE, "no disk")
_BUG = RuntimeError("a mistake of ours")


async def _used_meanwhile(*_: Any, **__: Any) -> HoldRefusal:
    return HoldRefusal(Code.GRANT_USED, "somebody was faster")


_FAULTS: Mapping[str, tuple[Break, Code]] = {
    "schemas": (_instead("validate", "__call__", _raising(_BUG)), Code.INTERNAL),
    "definitions": (_instead("definitions", "refusal", _later(_DOWN)), Code.LIMITS_UNAVAILABLE),
    "definitions, by mistake": (_instead("definitions", "refusal", _later(_BUG)), Code.INTERNAL),
    "policy": (_instead("decide", "__call__", _raising(_BUG)), Code.INTERNAL),
    "grants": (_instead("holds", "any_granted", _raising(_DOWN)), Code.LIMITS_UNAVAILABLE),
    "counters": (_instead("spend", "reserve", _raising(_DOWN)), Code.LIMITS_UNAVAILABLE),
    "broker": (_instead("broker", "headers", _raising(_NO_CREDENTIAL)), Code.UPSTREAM_CREDENTIAL),
    "broker, by mistake": (_instead("broker", "headers", _raising(_BUG)), Code.INTERNAL),
    "grant used meanwhile": (_instead("holds", "consume", _used_meanwhile), Code.GRANT_USED),
    "grants cannot be used up": (_instead("holds", "consume", _later(_NO_DISK)), Code.AUDIT_UNAVAILABLE),
    "log, at once": (_audit(_raising(_NO_DISK)), Code.AUDIT_UNAVAILABLE),
    "log, later": (_audit(_later(_NO_DISK)), Code.AUDIT_UNAVAILABLE),
    "log, by mistake": (_audit(_later(_BUG)), Code.INTERNAL),
}


async def _granted(at: Place, who: Principal) -> None:
    """Have a person approve the refund of 5 cents."""
    held = await at.admit(who, "refund", {"cents": 5})
    assert isinstance(held, Refused)
    assert held.code is Code.HELD
    await at.operator.answer_hold(str(held.hold), "approve")


def _mend(at: Place) -> None:
    for port in at.ports.values():
        port.instead.clear()


async def _sessions_count(at: Place, who: Principal) -> int:
    """What the next call of that session sees as its number."""
    seen: list[int] = []

    def decide(request: Any, snapshot: Any) -> Any:
        seen.append(request.context["session"]["calls"])
        return at.ports["decide"].real(request, snapshot)

    at.ports["decide"].instead["__call__"] = decide
    at.settle(_admitted(await at.admit(who)))
    _mend(at)
    return seen[0]


def _admitted(answer: Admitted | Refused) -> Admitted:
    assert isinstance(answer, Admitted), answer
    return answer


def _refused(answer: Admitted | Refused, code: Code) -> Refused:
    assert isinstance(answer, Refused)
    assert answer.code is code, answer
    return answer


@pytest.mark.requirement("enforcement:give-back:refused", "enforcement:record:refusals")
def test_whatever_control_fails_the_call_is_refused_recorded_and_gives_all_back(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            await _granted(at, who)
            for name, (spoil, code) in _FAULTS.items():
                before = await at.limits("worker")
                spoil(at)
                # a grant is used up before the record is written, and stays used: one approval does for all the others
                asked: Any = ("read",) if name.startswith("log") else ("refund", {"cents": 5})
                answer = _refused(await at.admit(who, *asked), code)
                _mend(at)
                assert await at.limits("worker") == before, name
                assert at.enforcer.in_flight == 0, name
                header, body = at.records("decision")[-1]
                assert (header["decision"], body["code"]) == ("deny", code.value), name
                assert body["decision_id"] == answer.decision_id, name
                assert body["reservation"] is None, name
            await at.settled()
            assert at.records("outcome") == []
            assert await _sessions_count(at, who) == 1, "a refused call stayed counted in its session"
            assert at.site.box.calls == []

    asyncio.run(live())


@pytest.mark.requirement("enforcement:give-back:cancelled")
def test_a_caller_that_goes_away_at_any_wait_leaves_nothing_taken_and_no_end_without_a_beginning(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            await _granted(at, who)
            before = await at.limits("worker")

            async def stays(*_: Any, **__: Any) -> Any:
                reached.set()
                await asyncio.Event().wait()

            def stays_recorded(entry: Entry) -> Awaitable[Receipt]:
                durable = at.ports["audit"].real.append(entry)

                async def wait() -> Receipt:
                    await durable
                    await stays()
                    raise AssertionError

                return wait()

            waits: Mapping[str, tuple[Break, int]] = {
                "definitions": (_instead("definitions", "refusal", stays), 5),
                "a hold opened": (_instead("holds", "open", stays), 6),
                "a grant used": (_instead("holds", "consume", stays), 5),
                "the record": (_audit(stays_recorded), 5),
            }
            for name, (spoil, cents) in waits.items():
                reached = asyncio.Event()
                spoil(at)
                task = asyncio.create_task(at.admit(who, "refund", {"cents": cents}))
                async with asyncio.timeout(10):
                    await reached.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                _mend(at)
                await at.settled()
                assert await at.limits("worker") == before, name
                assert at.enforcer.in_flight == 0, name
            begun = {body["decision_id"] for header, body in at.records("decision") if header["decision"] == "allow"}
            ended = [body for _, body in at.records("outcome")]
            assert {body["decision_id"] for body in ended} == begun
            assert [(body["end"], body["sent"], body["settled"]["cost"]) for body in ended] == [("cancelled", False, 0)]
            assert await _sessions_count(at, who) == 1

    asyncio.run(live())


@pytest.mark.requirement("enforcement:durable-before-admitted")
def test_nothing_is_admitted_before_its_record_is_durable(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who, gate = await at.principal("worker"), asyncio.Event()

            def held_back(entry: Entry) -> Awaitable[Receipt]:
                async def append() -> Receipt:
                    await gate.wait()
                    return await at.ports["audit"].real.append(entry)  # type: ignore[no-any-return]  # the real log's

                return append()

            token = await at.token("worker")
            await at.call(token)  # so that nothing but the record can keep the next one
            at.ports["audit"].instead["append"] = held_back
            admitting = asyncio.create_task(at.admit(who))
            posted = asyncio.create_task(at.call(token))
            for _ in range(200):
                await asyncio.sleep(0)
            assert not admitting.done()
            assert len(at.site.box.calls) == 1
            gate.set()
            admitted = _admitted(await admitting)
            assert admitted.decision_id in {body["decision_id"] for _, body in at.records("decision")}
            assert (await posted).allowed
            at.settle(admitted)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:record:refusals")
def test_every_refusal_is_a_record_with_the_code_that_was_told(tmp_path: Path) -> None:
    limits = {"calls": {"perMinute": 3}, "cost": {"perDay": "1 USD"}}
    slow = agent("slow", [{"allow": ["read"]}], limits=limits)

    async def live() -> None:
        async with place(tmp_path / "data", WORKER, HELPER, slow) as at:
            told: list[Refused] = []

            async def tell(name: str, tool: str, arguments: Mapping[str, Any], code: str, **served: Any) -> None:
                answer = await at.admit(await at.principal(name, **served), tool, arguments)
                assert isinstance(answer, Refused), (tool, code)
                assert answer.code.value == code, answer
                assert answer.message
                assert answer.hint
                told.append(answer)

            served = {"user": KIM, "ticket": TICKET, "roles": ["support"]}
            await tell("worker", "count", {}, "tool_not_granted")
            await tell("worker", "no-such-tool", {}, "tool_not_granted")
            await tell("worker", "read", {"extra": 1}, "undeclared_argument")
            await tell("worker", "read", {"customer_id": 1}, "arguments_invalid")
            await tell("worker", "refund", {"cents": 1}, "held")
            await tell("helper", "match", {"customer_id": "c-1"}, "user_role_required")
            await tell("helper", "match", {"customer_id": "c-2"}, "task_mismatch", **served)
            for _ in range(3):
                at.settle(_admitted(await at.admit(await at.principal("slow"))))
            await tell("slow", "read", {}, "rate_limited")
            there, not_there = (replace(one, decision_id=None) for one in told[:2])
            assert there == not_there  # whether a tool that is not granted exists is told nobody
            recorded = {body["decision_id"]: body["code"] for header, body in at.records("decision")}
            assert [recorded[str(one.decision_id)] for one in told] == [one.code.value for one in told]

    asyncio.run(live())


@pytest.mark.requirement("enforcement:record:flood")
def test_beyond_sixty_equal_refusals_a_minute_one_record_counts_the_rest(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            for _ in range(75):
                _refused(await at.admit(who, "count"), Code.TOOL_NOT_GRANTED)
            _refused(await at.admit(who, "read", {"x": 1}), Code.UNDECLARED_ARGUMENT)
            assert at.decisions().count("tool_not_granted") == 60
            assert at.decisions().count("undeclared_argument") == 1
            at.site.clock.advance(61)
            at.enforcer.tick()
            await at.settled()
            ((header, body),) = at.records("refused.repeated")
            assert (header["tool"], body["code"], body["count"]) == ("crm/count", "tool_not_granted", 15)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:record:no-clear-text", "enforcement:record:pseudonyms")
def test_what_agents_and_users_are_called_stands_nowhere_in_clear_and_their_names_survive_a_restart(
    tmp_path: Path,
) -> None:
    told = {"tool": "tool-called-zanzibar", "label": "run-called-timbuktu", "said": "claim-called-lhasa"}

    async def live() -> None:
        async with site(tmp_path / "data") as empty:
            named: list[tuple[str, ...]] = []
            for start in range(2):
                async with empty.started() as at:
                    if not start:
                        await empty.register(at, HELPER, WORKER)
                    who = await at.principal("helper", user=KIM, ticket=TICKET, roles=["support"])
                    answer = await at.admit(
                        who,
                        "match",
                        {"customer_id": "c-1"},
                        run_label=told["label"],
                        declared={"text": told["said"]},
                    )
                    at.settle(_admitted(answer))
                    _refused(await at.admit(who, told["tool"]), Code.TOOL_NOT_GRANTED)
                    other = await at.principal("helper", user="somebody.else@example.com", roles=[])
                    _refused(await at.admit(other, "match", {"customer_id": "c-1"}), Code.USER_ROLE_REQUIRED)
                    allowed, unknown, stranger = (body for _, body in at.records("decision")[-3:])
                    named.append((allowed["user"], allowed["task"], allowed["run"], unknown["unknown_tool"]))
                    assert stranger["user"] not in {None, allowed["user"]}
                    assert stranger["task"] is None
            assert named[0] == named[1]
            assert all(named[0])
            empty.verified()
        texts = [text.encode() for text in (*told.values(), KIM, TICKET, "somebody.else@example.com")]
        assert not [text for text in texts for stored in raw_bytes(tmp_path / "data") if text in stored]
        files = [path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file()]
        assert not [text for text in texts for content in files if text in content]

    asyncio.run(live())


@pytest.mark.requirement("enforcement:restart:folds", "enforcement:restart:closes-once")
def test_a_call_whose_end_was_never_recorded_counts_in_full_and_is_closed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accredit.audit.writer import LogWriter

    real = LogWriter.append

    async def live() -> None:
        async with site(tmp_path / "data") as empty:
            async with empty.started() as at:
                await empty.register(at, WORKER)
                who = await at.principal("worker")
                opened = {_admitted(await at.admit(who)).decision_id for _ in range(2)}
                at.enforcer._open.clear()  # the process dies here, as far as the log can tell
            for survives in (0, 1):  # killed before and after the first of two is closed
                count = 0

                def dies(log: LogWriter, entry: Entry, survives: int = survives) -> Awaitable[Receipt]:
                    nonlocal count
                    if entry.facts.kind == "outcome":
                        count += 1
                        if count > survives:
                            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "killed")
                    return real(log, entry)

                monkeypatch.setattr(LogWriter, "append", dies)
                with pytest.raises(UnavailableError):
                    async with empty.started():
                        pytest.fail("it started")
                monkeypatch.setattr(LogWriter, "append", real)
            for _ in range(2):
                async with empty.started() as at:
                    ends = [body for _, body in at.records("outcome")]
                    assert {body["decision_id"] for body in ends} == opened
                    assert [(body["code"], body["settled"]["cost"]) for body in ends] == [
                        ("outcome_unknown", 50_000_000)
                    ] * 2
                    shown = await at.limits("worker")
                    assert (shown["spent"], shown["reserved"], shown["in_flight"]) == ("0.1 USD", "0 USD", 0)
                    assert shown["calls_left"] == 598
            empty.verified()

    asyncio.run(live())


@pytest.mark.requirement("enforcement:settle:once")
def test_a_call_is_settled_once_and_what_was_not_sent_costs_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            who = await at.principal("worker")
            sent, unsent = _admitted(await at.admit(who)), _admitted(await at.admit(who))
            assert (await at.limits("worker"))["reserved"] == "0.1 USD"
            at.settle(sent, CallEnd.TOOL_ERROR)
            at.settle(unsent, CallEnd.UNREACHABLE, code=Code.UPSTREAM_UNREACHABLE, sent=False)
            with pytest.raises(KeyError):
                at.settle(sent)
            shown = await at.limits("worker")
            assert (shown["spent"], shown["reserved"], shown["calls_left"]) == ("0.05 USD", "0 USD", 599)
            await at.settled()
            ends = {body["decision_id"]: body for _, body in at.records("outcome")}
            assert [ends[one.decision_id]["settled"]["cost"] for one in (sent, unsent)] == [50_000_000, 0]
            assert len(ends) == 2
            assert await _sessions_count(at, who) == 2

    asyncio.run(live())


async def _revoke(at: Place) -> None:
    await at.operator.post("agents/worker/revoke", {"reason": "test"})


async def _revoke_credential(at: Place) -> None:
    (credential,) = (await at.operator.get("credentials", agent="worker"))["items"]
    await at.operator.post(f"credentials/{credential['id']}/revoke", {"reason": "test"})


async def _repin(at: Place) -> None:
    at.site.box.tools[0] = tool("read") | {"description": "Does read, and more."}
    await at.operator.post("servers/crm/repin", {"tool": "read"})


async def _withdraw(at: Place) -> None:
    await at.apply(agent("worker", [{"allow": ["refund"]}]))


async def _move(at: Place) -> None:
    moved = at.site.crm()
    moved["spec"]["url"] = at.site.raw.url + "/elsewhere"
    await at.apply(moved)


@pytest.mark.requirement("enforcement:recheck")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_revoke, Code.CREDENTIAL_REVOKED),
        (_revoke_credential, Code.CREDENTIAL_REVOKED),
        (_repin, Code.DEFINITION_CHANGED),
        (_withdraw, Code.SNAPSHOT_STALE),
        (_move, Code.SNAPSHOT_STALE),
    ],
)
def test_what_changes_between_the_decision_and_the_first_byte_keeps_the_call_from_being_sent(
    tmp_path: Path, change: Callable[[Place], Awaitable[None]], code: Code
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            admitted = _admitted(await at.admit(await at.principal("worker")))
            admitted.recheck()
            await change(at)
            with pytest.raises(AccreditError) as refused:
                admitted.recheck()
            assert refused.value.code is code
            assert refused.value.hint
            at.settle(admitted, CallEnd.REVOKED, code=refused.value.code, sent=False)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:revoke:in-flight")
def test_a_revocation_cancels_each_call_in_flight_once_and_the_record_says_so(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, agent("other", [{"allow": ["read"]}])) as at:

            async def never(writer: asyncio.StreamWriter, seen: Any) -> None:
                await seen.until_closed()

            at.site.box.answer = never
            calls = []
            for name in ("worker", "worker", "other"):
                at.site.box.arrived.clear()
                calls.append(asyncio.create_task(at.call(await at.token(name))))
                async with asyncio.timeout(10):
                    await at.site.box.arrived.wait()
            answer = await at.operator.post("agents/worker/revoke", {"reason": "test"})
            assert answer["cancelled_in_flight"] == 2
            async with asyncio.timeout(10):
                for each in calls[:2]:
                    (await each).refused("credential_revoked")
            assert not calls[2].done()
            assert at.enforcer.in_flight == 1
            await at.settled()
            assert [body["end"] for _, body in at.records("outcome")] == ["revoked", "revoked"]
            assert (await at.limits("worker"))["in_flight"] == 0
            await at.operator.post("agents/other/revoke", {"reason": "test"})
            (await calls[2]).refused("credential_revoked")

    asyncio.run(live())


@pytest.mark.requirement("enforcement:clock:step")
def test_a_step_of_the_clock_denies_what_depends_on_the_hour_until_somebody_confirms_it(tmp_path: Path) -> None:
    hours = {"window": "08:00-18:00", "days": ["mon", "tue", "wed", "thu", "fri"], "zone": "UTC"}
    bound_to_hours = agent("clerk", [{"allow": ["read"]}], hours=hours)

    async def live() -> None:
        async with place(tmp_path / "data", WORKER, bound_to_hours) as at:
            clerk, worker = await at.principal("clerk"), await at.principal("worker")
            at.settle(_admitted(await at.admit(clerk)))
            at.site.clock.step_wall(-30)
            _refused(await at.admit(clerk), Code.CLOCK_UNCONFIRMED)
            at.site.clock.step_wall(30)  # stepping back is a step too: it stays unconfirmed
            _refused(await at.admit(clerk), Code.CLOCK_UNCONFIRMED)
            at.settle(_admitted(await at.admit(worker)))
            await at.operator.post("clock/confirm", {})
            at.settle(_admitted(await at.admit(clerk)))
            assert len(at.records("clock.confirmed")) == 1

    asyncio.run(live())


@pytest.mark.requirement("enforcement:clock:step")
def test_a_process_that_starts_before_the_newest_record_trusts_its_clock_only_once_somebody_confirms_it(
    tmp_path: Path,
) -> None:
    hours = {"window": "08:00-18:00", "days": ["mon", "tue", "wed", "thu", "fri"], "zone": "UTC"}

    async def live() -> None:
        async with site(tmp_path / "data") as empty:
            async with empty.started() as at:
                await empty.register(at, agent("clerk", [{"allow": ["read"]}], hours=hours))
                at.settle(_admitted(await at.admit(await at.principal("clerk"))))
                await at.settled()
            empty.clock.step_wall(-3600)
            empty.identities["clerk"].forget_tokens()
            for _ in range(2):  # and what the first such process records makes the next one none the wiser
                async with empty.started() as at:
                    _refused(await at.admit(await at.principal("clerk")), Code.CLOCK_UNCONFIRMED)
                    await at.settled()
            async with empty.started() as at:
                await at.operator.post("clock/confirm", {})
                at.settle(_admitted(await at.admit(await at.principal("clerk"))))

    asyncio.run(live())


@pytest.mark.requirement("enforcement:clock:step")
def test_a_clock_set_back_brings_no_agent_to_life_whose_last_day_is_over(tmp_path: Path) -> None:
    until_today = agent("brief", [{"allow": ["read"]}], expires="2026-11-23")

    async def live() -> None:
        async with place(tmp_path / "data", until_today) as at:
            at.settle(_admitted(await at.admit(await at.principal("brief"))))
            at.site.clock.advance(14 * 3600)
            _refused(await at.admit(await at.principal("brief")), Code.AGENT_NOT_ACTIVE)
            at.site.clock.step_wall(-14 * 3600)
            _refused(await at.admit(await at.principal("brief")), Code.CLOCK_UNCONFIRMED)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:task-lapsed")
@pytest.mark.parametrize("why", [Code.TASK_CLOSED, Code.TASK_STATUS_STALE, None])
def test_a_task_that_does_not_count_any_more_is_named_as_what_was_the_matter(tmp_path: Path, why: Code | None) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", HELPER) as at:
            served = await at.principal("helper", user=KIM, roles=["support"], ticket=TICKET, customer="c-1")
            at.settle(_admitted(await at.admit(served, "match", {"customer_id": "c-1"})))
            lapsed = replace(served, task=None, task_out=why)
            _refused(await at.admit(lapsed, "match", {"customer_id": "c-1"}), why or Code.TASK_MISMATCH)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:run-timeout")
def test_a_session_that_runs_longer_than_it_may_is_refused_and_a_new_one_is_not(tmp_path: Path) -> None:
    limits = {"timeout": {"run": "20m"}, "cost": {"perDay": "1 USD"}}

    async def live() -> None:
        async with place(tmp_path / "data", agent("runner", [{"allow": ["read"]}], limits=limits)) as at:
            for minutes, code in ((0, None), (19, None), (1, Code.RUN_TIMEOUT), (30, None)):
                at.site.clock.advance(minutes * 60)
                answer = await at.admit(await at.principal("runner"))
                if code is None:
                    at.settle(_admitted(answer))
                else:
                    _refused(answer, code)

    asyncio.run(live())


@pytest.mark.requirement("enforcement:concurrency")
def test_calls_at_once_are_admitted_up_to_the_limit_and_no_further(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            go, waiting = asyncio.Event(), asyncio.Semaphore(0)
            usual = at.site.box.answer

            async def when_told(writer: asyncio.StreamWriter, seen: Any) -> None:
                waiting.release()
                await go.wait()
                await usual(writer, seen)

            at.site.box.answer = when_told
            token = await at.token("worker")
            calls = [asyncio.create_task(at.call(token)) for _ in range(6)]
            async with asyncio.timeout(20):
                for first in itertools.islice(asyncio.as_completed(calls), 4):
                    (await first).refused("concurrency_limited")
                await waiting.acquire()
                await waiting.acquire()
                go.set()
                told = [await each for each in calls]
            assert sum(one.allowed for one in told) == 2
            assert len(at.site.box.calls) == 2
            assert (await at.limits("worker"))["in_flight"] == 0
            assert (await at.call(token)).allowed

    asyncio.run(live())


@pytest.mark.requirement("enforcement:budget")
def test_no_order_of_calls_spends_more_than_the_budget(tmp_path: Path) -> None:
    poor = agent("poor", [{"allow": ["read"]}], limits={"cost": {"perDay": "0.12 USD"}, "concurrency": 8})

    async def live() -> None:
        async with place(tmp_path / "data", poor) as at:
            token = await at.token("poor")
            told = await asyncio.gather(*[at.call(token) for _ in range(6)])
            assert sum(one.allowed for one in told) == 2
            assert {one.why["code"] for one in told if not one.allowed} == {"budget_exhausted"}
            assert len(at.site.box.calls) == 2
            assert CRM_FACTS["read"]["price"] == "0.05 USD"
            assert (await at.limits("poor"))["left"] == "0.02 USD"

    asyncio.run(live())
