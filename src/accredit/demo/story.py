"""`accredit demo`: a sample fleet lives through allowed calls and every refusal; each step checks what really happened.

A step that does not hold ends the demo with its name. Wall and boot clock are scripted together, so the story is the
same at any hour; everything else is real: sockets, keys, the MCP SDK, the database, the log.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from mcp_types import CallToolResult, ElicitResult

from accredit.demo import fleet, spoiling
from accredit.demo.checks import allowed, refused, require, told
from accredit.demo.life import LIFE, Life
from accredit.demo.world import MODERN, SESSIONS, world
from accredit.enforcement.ports import Controls
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.errors import AccreditError
from accredit.offline import check_log, look_at

__all__ = ["STEPS", "StepFailedError", "Story", "live", "run_demo"]

_MONDAY_TEN = int(datetime.fromisoformat("2026-11-23T10:00:00+01:00").timestamp()) * 1_000_000
_AGENTS = ("support-copilot", "refund-desk", "ticket-counter")
_SUPPORT = ("customer-support",)
_INERT = 'forbid (principal, action == Action::"crm/refund_order", resource) when { context.now.minute >= 1440 };'
_CLOSE = 'forbid (principal, action == Action::"crm/read_customer", resource);'


class StepFailedError(Exception):
    """A step did not hold."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"{step}: {why}")
        self.step = step
        self.why = why


class Story(Life):
    """The steps, in order. Each is a method; its docstring is what the reader sees."""

    async def _support_token(self, *, ticket: str | None = "T-1", customer: str = "c-17",
                             roles: tuple[str, ...] = _SUPPORT) -> str:  # fmt: skip
        copilot = self._world.agents["support-copilot"]
        return await copilot.token(user="kim@example.com", roles=roles, ticket=ticket, customer=customer)

    async def _read_customer(self, customer: str, token: str, **more: Any) -> CallToolResult:
        copilot = self._world.agents["support-copilot"]
        return await copilot.call("read_customer", {"customer_id": customer}, token=token, **more)

    async def sign_in(self) -> None:
        """The first admin's link works once."""
        await self._world.sign_in()
        status, answer = await self._world.operator.attempt(
            "login", {"link": self._world.running.first_link, "name": "x"}
        )
        require(status in {401, 403, 409} and answer["code"] == "link_invalid", f"a second use gave {status} {answer}")

    async def register(self) -> None:
        """Teams, people, issuers, the CRM with pinned tools and three agents are registered; policies are published."""
        await self._world.register()
        found = {agent["name"] for agent in (await self._world.operator.get("agents"))["items"]}
        require(found == set(_AGENTS), f"registered are {sorted(found)}")

    async def not_yet(self) -> None:
        """Production is refused until approvals exist, and so is an owner nobody knows."""
        document = fleet.agents()["refund-desk"]
        metadata, spec = document["metadata"], document["spec"]
        for changed, code in (
            (document | {"metadata": metadata | {"environment": "production"}}, "production_refused"),
            (document | {"metadata": metadata | {"name": "orphan"}, "spec": spec | {"owner": "no@example.com"}},
             "owner_unknown"),
        ):  # fmt: skip
            text = fleet.as_file([changed])
            status, answer = await self._world.operator.attempt("apply", {"files": [{"name": "x.json", "text": text}]})
            require(status >= 400 and answer["code"] == code, f"expected `{code}`, got {status} {answer}")

    async def enrol(self) -> None:
        """Every agent's instance makes its own key and enrols it with a single-use join token."""
        for name in _AGENTS:
            await self._world.enrol(name)

    async def direct(self) -> None:
        """The CRM turns away whoever comes past the gateway."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(self._world.crm_url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        require(answer.status_code == 401, f"a direct call gave {answer.status_code}")

    async def stranger(self) -> None:
        """Without a token the gateway answers 401 and says where to get one."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(self._world.crm_route, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        require(answer.status_code == 401 and "resource_metadata=" in answer.headers.get("www-authenticate", ""),
                 f"a call without a token gave {answer.status_code}")  # fmt: skip

    async def allowed_stateless(self) -> None:
        """Support-copilot reads the customer of its ticket (MCP 2026-07-28)."""
        result = await self._read_customer("c-17", await self._support_token(), era=MODERN)
        allowed(result)
        require("ada@customers.example" in str(result.content), f"the CRM's answer did not come back: {result.content}")

    async def allowed_sessions(self) -> None:
        """And again as a client of the era of sessions (MCP 2025-11-25)."""
        allowed(await self._read_customer("c-17", await self._support_token(), era=SESSIONS))

    async def listed(self) -> None:
        """Agents see the tools they may use and no others."""
        copilot = self._world.agents["support-copilot"]
        async with copilot.connected(await self._support_token()) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
        require(names == {"read_customer", "search_orders"}, f"listed are {sorted(names)}")

    async def not_granted(self) -> None:
        """A tool that was not granted is refused."""
        copilot = self._world.agents["support-copilot"]
        token = await self._support_token()
        refused(await copilot.call("delete_customer", {"customer_id": "c-17"}, token=token), "tool_not_granted")

    async def wrong_role(self) -> None:
        """A user without the customer-support role is refused."""
        token = await self._support_token(roles=("marketing",), ticket="T-2")
        refused(await self._read_customer("c-17", token), "user_role_required")

    async def other_customer(self) -> None:
        """Another customer than the ticket's is refused."""
        refused(await self._read_customer("c-42", await self._support_token()), "task_mismatch")

    async def declared(self) -> None:
        """What the agent merely claims about role and ticket satisfies nothing."""
        meta = {"dev.accredit/declared": {"roles": ["customer-support"], "customer_id": "c-42", "ticket": "T-9"}}
        token = await self._world.agents["support-copilot"].token()
        refused(await self._read_customer("c-42", token, meta=meta), "user_role_required")

    async def undeclared(self) -> None:
        """An argument the pinned schema does not declare is refused."""
        copilot = self._world.agents["support-copilot"]
        arguments = {"customer_id": "c-17", "include_password": True}
        refused(
            await copilot.call("read_customer", arguments, token=await self._support_token()), "undeclared_argument"
        )

    async def ceiling(self) -> None:
        """The team's own policy forbids more than twenty orders at a time."""
        copilot = self._world.agents["support-copilot"]
        token = await self._support_token()
        told = refused(
            await copilot.call("search_orders", {"customer_id": "c-17", "limit": 500}, token=token),
            "forbidden_by_policy",
        )
        require("team/customer-support" in str(told["policy"]), f"the policy is not named: {told['policy']}")

    async def held(self) -> None:
        """A refund waits for a person, goes through once when granted, and asks again on replay."""
        desk, refund = self._world.agents["refund-desk"], {"order_id": "o-1", "cents": 4900}
        token = await desk.token(user="kim@example.com")
        first = refused(await desk.call("refund_order", refund, token=token), "held")
        await self._world.operator.answer_hold(str(first["hold"]), "approve")
        changed = refused(await desk.call("refund_order", refund | {"cents": 999_900}, token=token), "held")
        require(changed["hold"] != first["hold"], "a grant was used for other arguments")
        allowed(await desk.call("refund_order", refund, token=token))
        named = {"dev.accredit/hold": first["hold"]}
        refused(await desk.call("refund_order", refund, token=token, meta=named), "grant_used")
        again = refused(await desk.call("refund_order", refund, token=token), "held")
        require(again["hold"] != first["hold"], "a used hold was opened again")
        paid = [arguments for tool, arguments in self._world.crm.reached if tool == "refund_order"]
        require(paid == [refund], f"the CRM paid {paid}")

    async def elicited(self) -> None:
        """A client that declared elicitation is asked in place and goes on when the person has answered."""
        desk, refund = self._world.agents["refund-desk"], {"order_id": "o-3", "cents": 100}

        async def approve(*_: Any) -> ElicitResult:
            for hold in (await self._world.operator.get("holds"))["items"]:
                shown = await self._world.operator.get(f"holds/{hold['id']}")
                if '"o-3"' in shown["view"]:
                    await self._world.operator.answer_hold(hold["id"], "approve")
            return ElicitResult(action="accept", content={})

        token = await desk.token(user="kim@example.com")
        allowed(await desk.call("refund_order", refund, token=token, elicited=approve))

    async def changed_definition(self) -> None:
        """A tool whose definition changed overnight is refused until an operator pins it anew."""
        counter = self._world.agents["ticket-counter"]
        allowed(await counter.call("count_tickets", {}, token=await counter.token()))
        self._world.crm.change_definition()
        self._clock.advance(31)
        refused(await counter.call("count_tickets", {}, token=await counter.token()), "definition_changed")
        repinned = await self._world.operator.post("servers/crm/repin", {"tool": "count_tickets"})
        require(len(repinned["items"]) == 1, f"pinned anew were {repinned}")
        allowed(await counter.call("count_tickets", {}, token=await counter.token()))

    async def budget(self) -> None:
        """A call whose price no longer fits the day's budget is refused."""
        counter = self._world.agents["ticket-counter"]
        self._clock.advance(120)
        for _ in range(2):
            allowed(await counter.call("count_tickets", {}, token=await counter.token()))
        refused(await counter.call("count_tickets", {}, token=await counter.token()), "budget_exhausted")

    async def rate(self) -> None:
        """An agent that calls faster than its manifest says is refused, and told when to come back."""
        counter = self._world.agents["ticket-counter"]
        self._clock.advance(120)
        token = await counter.token()
        async with counter.connected(token) as client:
            results = [await client.call_tool("export_tickets", {"pages": 0}) for _ in range(7)]
        for result in results[:6]:
            allowed(result)
        told = refused(results[6], "rate_limited")
        require(float(told["retry_after_s"]) > 0, "a rate refusal says when to come back")

    async def outside_hours(self) -> None:
        """At eight in the evening support-copilot's hours are over."""
        self._clock.advance(10 * 3600)
        refused(await self._read_customer("c-17", await self._support_token(ticket="T-3")), "outside_hours")

    async def revoked(self) -> None:
        """Revoking a key cuts the stream in flight and the next call, and its token is dead."""
        counter = self._world.agents["ticket-counter"]
        self._world.crm.streaming.clear()
        token = await counter.token()
        export = asyncio.create_task(counter.call("export_tickets", {"pages": 400}, token=token))
        async with asyncio.timeout(10):
            await self._world.crm.streaming.wait()
        answer = await self._world.operator.post(f"agents/{counter.name}/revoke", {"reason": "demo"})
        async with asyncio.timeout(5):
            ended = await asyncio.gather(export, return_exceptions=True)
        result = ended[0]
        cut = isinstance(result, BaseException) or (
            result.is_error and told(result).get("code") == "credential_revoked"
        )
        require(cut, f"the stream went on: {result}")
        require(answer["cancelled_in_flight"] == 1, f"cancelled in flight: {answer['cancelled_in_flight']}")
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        async with httpx2.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {token}"}) as http:
            after = await http.post(self._world.crm_route, json=body)
        require(after.status_code == 401, f"the next call gave {after.status_code}")
        try:
            counter.identity.forget_tokens()
            await counter.token()
        except AccreditError:
            return
        require(holds=False, why="a revoked key got a new token")

    async def reused_join_token(self) -> None:
        """A join token used twice locks the key it enrolled."""
        join_token = await self._world.enrol("refund-desk")
        desk = self._world.agents["refund-desk"]
        token = await desk.token()
        try:
            await type(desk.identity).enrol(self._world.url, join_token, clock=self._clock, ids=self._world.ids)
        except AccreditError as error:
            require(str(error.code) == "join_token_reused", f"the second use gave `{error.code}`")
        else:
            require(holds=False, why="a join token enrolled two keys")
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        async with httpx2.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {token}"}) as http:
            after = await http.post(self._world.crm_route, json=body)
        require(after.status_code == 401, f"the locked key's next call gave {after.status_code}")

    async def recorded(self) -> None:
        """Every call is in the record with its reason, and nothing reached the CRM that was refused."""
        await self._world.running.plane.enforcer.drained()
        records = (await self._world.operator.get("audit/records", limit=1000, kind="decision"))["items"]
        allowed = [record for record in records if record["decision"] == "allow"]
        reached = [tool for tool, _ in self._world.crm.reached]
        require(len(allowed) == len(reached), f"{len(allowed)} calls were allowed, {len(reached)} reached the CRM")
        require("delete_customer" not in reached, "a refused call reached the CRM")
        outcomes = (await self._world.operator.get("audit/records", limit=1000, kind="outcome"))["items"]
        require(len(outcomes) == len(allowed), f"{len(allowed)} decisions, {len(outcomes)} outcomes")
        named = {"tool_not_granted", "user_role_required", "task_mismatch", "outside_hours", "undeclared_argument",
                 "rate_limited", "budget_exhausted", "held", "grant_used", "definition_changed"}  # fmt: skip
        missing = named - {record["code"] for record in records}
        require(not missing, f"no record says {sorted(missing)}")

    async def verified(self) -> None:
        """The log verifies offline."""
        await self._world.running.plane.log.checkpoint()
        report = await asyncio.to_thread(check_log, self._world.data)
        require(report.ok, f"the log does not verify: {report.what}")

    async def tampered(self) -> None:
        """A copy with one byte changed, or cut short, does not verify, and the first bad record is named."""
        kept = self._world.running.plane.log.latest_checkpoint()
        require(kept is not None, "there is no checkpoint to compare with")
        with tempfile.TemporaryDirectory(prefix="accredit-demo-") as place:
            changed = await asyncio.to_thread(
                spoiling.copied, self._world.data, Path(place) / "changed", spoiling.change_a_byte
            )
            report = await asyncio.to_thread(check_log, changed)
            require(not report.ok and report.first_bad == 7, f"a changed byte: {report.what}, at {report.first_bad}")
            cut = await asyncio.to_thread(spoiling.copied, self._world.data, Path(place) / "cut", spoiling.cut_the_tail)
            report = await asyncio.to_thread(lambda: check_log(cut, kept=kept))
            require(not report.ok, "a log cut short verifies against a checkpoint kept elsewhere")

    async def untested(self) -> None:
        """A release whose own cases do not pass is not published, and neither is one that could never act."""
        operator = self._world.operator
        wrong = {path: text.replace("limit: 21", "limit: 19") for path, text in fleet.policies().items()}
        inert = fleet.policies() | {"org/inert.cedar": _INERT}
        for files, code in ((wrong, "policy_tests_failed"), (inert, "policy_invalid")):
            status, answer = await operator.attempt("policy/publish", {"files": files})
            require(status == 400 and answer["code"] == code, f"expected `{code}`, got {status} {answer}")

    async def simulated(self) -> None:
        """What a stricter policy would stop of the calls on record is seen before it is in force."""
        operator = self._world.operator
        made = await operator.post("policy/simulate", {"files": fleet.policies() | {"org/close.cedar": _CLOSE}})
        while made["state"] == "running":
            await asyncio.sleep(0.02)
            made = await operator.get(f"policy/simulations/{made['id']}")
        report = made["report"]
        stopped = {(one["tool"], one["kind"]) for one in report["impacts"]}
        require(report["breaks"] and ("crm/read_customer", "denied") in stopped, f"the simulation found {stopped}")
        require({one["owner"] for one in report["agents"]} != set(), "nobody would be told")
        require(
            made["base"] == (await operator.get("policy/release"))["release"], "a simulation changed what is in force"
        )

    async def explained(self) -> None:
        """A refusal is explained by its policies, their facts, and what would have changed it."""
        records = (await self._world.operator.get("audit/records", limit=1000, kind="decision"))["items"]
        refusal = next(one["body"]["decision_id"] for one in records if one["code"] == "task_mismatch")
        found = await self._world.operator.get(f"decisions/{refusal}/explanation")
        require(found["policies"] and found["unmet"], f"the explanation says {found}")
        changes = {one["change"]: one["outcome"] for one in found["alternatives"]}
        require("allow" in changes.values(), f"nothing would have changed it: {changes}")

    async def reproduced(self) -> None:
        """Every decision on record comes out again exactly, by the policies that were in force then."""
        operator = self._world.operator
        made = await operator.post("policy/replay", {"days": 30})
        while made["state"] == "running":
            await asyncio.sleep(0.02)
            made = await operator.get(f"policy/simulations/{made['id']}")
        proof = made["proof"]
        require(proof["exact"] and proof["same"] > 20, f"history does not come out as recorded: {proof}")

    async def proven_state(self) -> None:
        """Doctor rebuilds the control state from the log and finds it equal."""

        def diagnose() -> Any:
            with look_at(self._world.data) as offline:
                return offline.doctor.diagnose()

        diagnosis = await asyncio.to_thread(diagnose)
        require(diagnosis.sound, f"the state is not what the log proves: {diagnosis.differences}")


STEPS: tuple[str, ...] = (
    "sign_in",
    "register",
    "not_yet",
    "enrol",
    "direct",
    "stranger",
    "allowed_stateless",
    "allowed_sessions",
    "listed",
    "not_granted",
    "wrong_role",
    "other_customer",
    "declared",
    "undeclared",
    "ceiling",
    "held",
    "elicited",
    "changed_definition",
    "budget",
    "rate",
    "outside_hours",
    "untested",
    "simulated",
    "revoked",
    "reused_join_token",
    *LIFE,
    "recorded",
    "explained",
    "reproduced",
    "verified",
    "tampered",
    "unproven",
    "proven_state",
)


async def live(
    steps: Sequence[str] = STEPS,
    *,
    replaced: Callable[[Controls], Controls] = lambda controls: controls,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Live the story, or some of its steps; returns how many held.

    Raises:
        StepFailedError: at the first step that did not.
    """
    clock = ScriptedClock(_MONDAY_TEN)
    with tempfile.TemporaryDirectory(prefix="accredit-demo-") as place:
        async with world(Path(place) / "data", clock, replaced=replaced) as started:
            story = Story(started, clock)
            for number, name in enumerate(steps, 1):
                step: Callable[[], Awaitable[None]] = getattr(story, name)
                try:
                    async with asyncio.timeout(30):
                        await step()
                except Exception as error:
                    raise StepFailedError(name, _reason(error)) from error
                say(f"{number:2}  {step.__doc__}")
    return len(steps)


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_reason(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error)


def run_demo() -> int:
    """The command: print each step; 0 only if every one held."""
    try:
        held = asyncio.run(live(say=lambda line: print(line, flush=True)))
    except StepFailedError as failed:
        print(f"FAILED at step `{failed.step}`: {failed.why}", file=sys.stderr)
        return 1
    print(f"all {held} steps held")
    return 0
