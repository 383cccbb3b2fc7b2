"""The second chapter of `accredit demo`: a low, a medium and a high agent from registration to retirement.

Everybody acts over the API with a token of their own. Each step also tries what must fail.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from mcp import MCPError

from accredit.audit.records import body_of
from accredit.bootstrap import Running
from accredit.demo import fleet, spoiling
from accredit.demo.checks import allowed, refused, require
from accredit.demo.office import HIGH, LOW, MEDIUM, Office
from accredit.demo.world import DemoAgent, World
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.errors import AccreditError

__all__ = ["LIFE", "Life"]

LIFE: tuple[str, ...] = (
    "second_admin",
    "people_sign_in",
    "roles",
    "production_tools",
    "tiers",
    "no_tier",
    "own_vote",
    "approved_low",
    "outlived",
    "first_production_call",
    "excess",
    "superseded",
    "late_role",
    "assessed_high",
    "five_questions",
    "never_seen",
    "suspended",
    "candidate",
    "drifted",
    "retired",
    "ghost",
)


def _code(answer: tuple[int, Any], code: str, what: str) -> Any:
    status, body = answer
    require(status >= 400 and body.get("code") == code, f"{what}: expected `{code}`, got {status} {body}")
    return body


class Life(Office):
    """The steps, in order. Each is a method; its docstring is what the reader sees."""

    def __init__(self, place: World, clock: ScriptedClock) -> None:
        super().__init__(place)
        self._clock = clock
        self._tokens: dict[str, str] = {}

    async def _state(self, agent: str) -> str:
        return str((await self._as("otto").get(f"agents/production/{agent}"))["state"])

    # -- people

    async def second_admin(self) -> None:
        """The first admin invites exactly one more, who signs in with a link of their own: one person's rule ends."""
        first = self._world.operator
        made = await first.post("invitations", {"email": "noel@example.com"})
        _code(await first.attempt("invitations", {"email": "mira@example.com"}), "conflict", "a second invitation")
        await first.delete("invitations")
        await self._invite()
        _code(await self._as("mira").attempt("login", {"link": made["link"].partition("#")[2], "name": "x"}),
              "link_invalid", "an invitation that was withdrawn")  # fmt: skip
        self._clock.advance(1)  # a role counts for what is asked after it began
        require((await self._as("mira").get("whoami"))["basis"] == "roles", "one person still fills every role")
        _code(await self._as("ada").attempt("invitations", {"email": "noel@example.com"}), "not_authorised",
              "an invitation after the second admin")  # fmt: skip

    async def people_sign_in(self) -> None:
        """Everybody gets a link of their own, which works once."""
        await self._applied("ada", *fleet.staff())
        for name in fleet.STAFF:
            link = await self._link(name)
            await self._world.sign_in_as(name, link)
            again = await self._as(name).attempt("login", {"link": link.partition("#")[2], "name": "x"})
            _code(again, "link_invalid", f"{name}'s link, used twice")

    async def roles(self) -> None:
        """A role takes two persons: who asked for it does not approve it, and who gets it does not either."""
        for name, role, team in fleet.ROLES:
            request = await self._ask_for_role(role, team, person=self._as(name).person)
            _code(await self._as("ada").attempt_vote(request, "admin"), "separation_of_duties",
                  "the requester's own vote")  # fmt: skip
            _code(await self._as(name).attempt_vote(request, "admin"), "separation_of_duties",
                  "the beneficiary's vote")  # fmt: skip
            await self._as("mira").vote(request, "admin")
        self._clock.advance(60)
        held = {(one["email"], one["role"]) for one in (await self._as("una").get("roles"))["items"]}
        wanted = {(f"{name}@example.com", role) for name, role, _ in fleet.ROLES}
        require(wanted <= held, f"missing are {sorted(wanted - held)}")

    # -- registration

    async def production_tools(self) -> None:
        """Tools in production, and what they do to the world, take two persons as well. So do issuers."""
        document = fleet.live_server(self._world.crm_url)
        (pending,) = await self._applied("otto", document)
        require(pending["result"] == "pending", f"registered by one person: {pending}")
        _code(await self._as("otto").attempt_vote(pending["approval"], "security"), "separation_of_duties",
              "the operator's own vote")  # fmt: skip
        await self._as("sam").vote(pending["approval"], "security")
        servers = {one["name"] for one in (await self._as("otto").get("servers"))["items"]}
        require("crm-live" in servers, f"registered are {sorted(servers)}")
        await self._vouch()

    async def tiers(self) -> None:
        """Three agents are registered for production; each gets a tier and an explanation that says what lowers it."""
        await self._applied("ada", fleet.agreement())
        await self._applied("dana", *fleet.live_agents().values())
        for name, tier in ((LOW, "low"), (MEDIUM, "medium"), (HIGH, "high")):
            found = await self._as("dana").get(f"agents/production/{name}/tier")
            require(found["tier"] == tier, f"{name} is {found['tier']}: {found}")
        require(found["lowers"], "nothing is said of what would lower it")
        plan = await self._as("dana").get(f"agents/production/{HIGH}/plan")
        require({step["step"] for step in plan["steps"]} >= {"credential", "stores", "baseline"}, f"the plan is {plan}")

    async def no_tier(self) -> None:
        """Personal data for a supplier without agreement, or a prohibited use: such an agent cannot be submitted."""
        document = fleet.live_agents()[HIGH]
        spec = document["spec"]
        for name, changed in (
            ("no-agreement", {"models": [{"provider": "anthropic", "model": "claude-sonnet-5"}]}),
            ("prohibited", {"use": spec["use"] | {"prohibited": ["social-scoring"]}}),
        ):
            metadata = document["metadata"] | {"name": name}
            await self._applied("dana", document | {"metadata": metadata, "spec": spec | changed})
            require(
                (await self._as("dana").get(f"agents/production/{name}/tier"))["tier"] is None, f"{name} has a tier"
            )
            _code(
                await self._as("dana").attempt(f"agents/production/{name}/submit", {}), "no_tier", f"{name} submitted"
            )

    # -- approval and activation

    async def own_vote(self) -> None:
        """By no path does an owner approve their own agent: in their name, through a group, a lent role or a bot."""
        _code(await self._as("dana").attempt(f"agents/production/{LOW}/join-tokens", {}), "enrolment_closed",
              "a production credential before approval")  # fmt: skip
        _code(await self._activate(LOW), "clearance_required", "activation before submission")
        (pending,) = await self._applied("ada", fleet.group())
        await self._as("mira").vote(pending["approval"], "admin")
        asked = await self._ask_for_role("team-lead", "finance", group=fleet.GROUP)
        await self._as("mira").vote(asked, "admin")
        held = (await self._as("dana").get("whoami"))["roles"]
        require("team-lead" in held, f"the group's role does not reach its member: {held}")
        lent = await self._as("lena").post(
            "delegations", {"to": self._as("dana").person, "role": "team-lead", "days": 1}
        )
        (bot,) = await self._applied("ada", fleet.bot())
        made = await self._as("ada").post(f"persons/{bot['id']}/sign-in-link", {})
        await self._world.sign_in_as("robot", made["link"])
        self._clock.advance(1)  # all of it before the request, so that its age is not what keeps anybody out
        request = await self._submit(LOW)
        seen = (await self._as("dana").get(f"approvals/{request}"))["view_digest"]
        vote = {"role": "team-lead", "vote": "approve", "view_digest": seen, "comment": "mine"}
        for name, why in (
            ("dana", "the owner's own vote"),
            ("robot", "the vote of the owner's bot"),
            ("lee", "the backup owner's vote"),
            ("una", "a vote without the role"),
            ("ada", "the vote of whoever made the owner's account"),
            ("lena", "the vote of whoever lent the owner a role"),
        ):
            _code(await self._as(name).attempt(f"approvals/{request}/vote", vote), "separation_of_duties", why)
        await self._as("lena").post(f"delegations/{lent['id']}/end", {})
        await self._as("dana").post(f"approvals/{request}/withdraw", {})
        self._clock.advance(1)

    async def approved_low(self) -> None:
        """A low agent needs its team lead, who judges exactly what was shown; until then it is not activated."""
        request = await self._submit(LOW)
        _code(await self._activate(LOW), "clearance_required", "activation before approval")
        stale = await self._as("lena").attempt(
            f"approvals/{request}/vote",
            {"role": "team-lead", "vote": "approve", "view_digest": "sha256:" + "0" * 64, "comment": ""},
        )
        _code(stale, "conflict", "a vote on another view")
        after = await self._as("lena").vote(request, "team-lead")
        require(after["state"] == "approved", f"the request is {after['state']}")

    async def outlived(self) -> None:
        """A vote does not outlive its voter's role: what it approved is not activated, until it is judged again."""
        (grant,) = (
            one["id"]
            for one in (await self._as("ada").get("roles"))["items"]
            if one["email"] == "lena@example.com" and one["role"] == "team-lead"
        )
        await self._as("ada").post(f"roles/{grant}/revoke", {"reason": "she moves to another team"})
        _code(await self._activate(LOW), "clearance_required", "activation on a vote that does not stand")
        await self._grant("lena", "team-lead", "finance")
        self._clock.advance(60)
        request = self._requests[LOW]
        _code(await self._as("lena").attempt_vote(request, "team-lead"), "separation_of_duties", "a role granted late")
        await self._as("dana").post(f"approvals/{request}/withdraw", {})
        await self._as("lena").vote(await self._submit(LOW), "team-lead")
        await self._activated(LOW)
        require(await self._state(LOW) == "active", f"it is {await self._state(LOW)}")

    async def first_production_call(self) -> None:
        """An instance's key in production waits for the owner, who confirms its thumbprint; then it works."""
        await self._world.enrol(f"production/{LOW}", by=self._as("dana"), server="crm-live")
        agent = self._world.agents[f"production/{LOW}"]
        try:
            await agent.token()
        except AccreditError:
            pass
        else:
            require(holds=False, why="a key nobody confirmed got a token")
        (key,) = (await self._as("dana").get("credentials", agent=f"production/{LOW}"))["items"]
        wrong = {"thumbprint": "A" * 43}
        status, _ = await self._as("dana").attempt(f"credentials/{key['id']}/confirm", wrong)
        require(status >= 400, "another thumbprint was confirmed")
        other = await self._as("otto").attempt(
            f"credentials/{key['id']}/confirm", {"thumbprint": agent.identity.thumbprint}
        )
        _code(other, "not_authorised", "somebody else's confirmation")
        await self._as("dana").post(f"credentials/{key['id']}/confirm", {"thumbprint": agent.identity.thumbprint})
        allowed(await agent.call("count_tickets", {}, token=await agent.token()))

    async def excess(self) -> None:
        """Security cannot approve a medium agent that asks for more than it uses."""
        document = fleet.live_agents()[MEDIUM]
        greedy = document["spec"] | {"data": ["internal", "confidential"]}
        await self._applied("dana", document | {"spec": greedy})
        request = await self._submit(MEDIUM)
        found = await self._as("sam").get(f"agents/production/{MEDIUM}/validation")
        require([one["what"] for one in found["excess"]] == ["confidential"], f"excess: {found['excess']}")
        _code(await self._as("sam").attempt_vote(request, "security"), "access_excess", "security's vote on excess")
        await self._as("lena").vote(request, "team-lead")

    async def superseded(self) -> None:
        """A new version voids the votes of those who judge what changed and carries over the others."""
        old = self._requests[MEDIUM]
        await self._applied("dana", fleet.live_agents()[MEDIUM])
        _code(await self._as("sam").attempt_vote(old, "security"), "conflict", "a vote on a superseded version")
        request = await self._submit(MEDIUM)
        found = await self._as("lena").get(f"approvals/{request}")
        require(not found["votes"], f"the team lead judged the data that changed: {found['votes']}")
        await self._as("sam").vote(request, "security")
        changed = fleet.live_agents()[MEDIUM]
        slower = changed["spec"] | {"businessService": "ticket-desk"}
        await self._applied("dana", changed | {"spec": slower})
        request = await self._submit(MEDIUM)
        found = await self._as("lena").get(f"approvals/{request}")
        require([one["role"] for one in found["votes"]] == ["security"] and found["votes"][0]["carried_from"],
                f"security's vote was not carried over: {found['votes']}")  # fmt: skip

    async def late_role(self) -> None:
        """A role granted after a request was opened does not count for it."""
        await self._grant("cora", "team-lead", "finance")
        self._clock.advance(60)
        request = self._requests[MEDIUM]
        _code(await self._as("cora").attempt_vote(request, "team-lead"), "separation_of_duties", "a role granted late")
        await self._as("lena").vote(request, "team-lead")
        await self._activated(MEDIUM)

    async def assessed_high(self) -> None:
        """A high agent takes a risk assessment and three people, and its refunds still wait for one each time."""
        request = await self._submit(HIGH)
        _code(await self._as("sam").attempt_vote(request, "security"), "assessment_required", "without an assessment")
        await self._as("dana").post(f"approvals/{request}/assessment", fleet.assessment(self._as("bo").person))
        for name, role in (("sam", "security"), ("cora", "compliance")):
            await self._as(name).vote(request, role)
        _code(await self._activate(HIGH), "clearance_required", "activation with two of three")
        await self._as("bo").vote(request, "business-owner")
        await self._activated(HIGH)
        clerk = await self._enrolled(HIGH)
        token = await clerk.token(user="kim@example.com")
        first = refused(await clerk.call("refund_order", {"order_id": "o-2", "cents": 1500}, token=token), "held")
        answered, _ = await self._as("dana").attempt_answer(str(first["hold"]))
        require(answered >= 400, "the owner answered for their own agent")
        await self._as("bo").answer_hold(str(first["hold"]), "approve")
        allowed(await clerk.call("refund_order", {"order_id": "o-2", "cents": 1500}, token=token))

    # -- in service

    async def five_questions(self) -> None:
        """One view answers who approved, what data, which tools, the last security review, and what retirement does."""
        found = await self._as("una").get(f"agents/production/{HIGH}")
        answers = found["answers"]
        require({one["role"] for one in answers["approved_by"]["votes"]} ==
                {"security", "compliance", "business-owner"}, f"approved by {answers['approved_by']}")  # fmt: skip
        require(all(one["credential"] for one in answers["approved_by"]["votes"]), "a vote names no credential")
        require({one["data_class"] for one in answers["data"]["rows"]} == {"personal", "financial"},
                f"data: {answers['data']}")  # fmt: skip
        require({one["tool"] for one in answers["tools"]["rows"]} ==
                {"crm-live/read_customer", "crm-live/refund_order"}, f"tools: {answers['tools']}")  # fmt: skip
        require(answers["security_review"]["at"], f"security review: {answers['security_review']}")
        require(answers["decommissioning"]["steps"], "nothing is said of decommissioning")
        require(all(isinstance(one["record"], int) for one in answers.values()), "an answer names no record")

    async def never_seen(self) -> None:
        """The first refusal of an agent in service is an event of its own."""
        clerk = self._world.agents[f"production/{HIGH}"]
        token = await clerk.token(user="kim@example.com")
        refused(await clerk.call("delete_customer", {"customer_id": "c-17"}, token=token), "tool_not_granted")
        await self._alerted("first-denial", HIGH)

    async def _alerted(self, kind: str, agent: str) -> Mapping[str, Any]:
        await self._world.running.plane.enforcer.drained()
        await self._world.running.plane.watched()
        shown = await self._as("sam").get(f"agents/production/{agent}")
        for one in (await self._as("sam").get("alerts", state="open"))["items"]:
            if one["kind"] == kind and one["agent"] == shown["id"]:
                return dict(one)
        require(holds=False, why=f"no alert `{kind}` for {agent}")
        return {}

    async def drifted(self) -> None:
        """A tool that changed overnight: the call is refused, the agent quarantined, and security alone lifts it."""
        sorter = self._world.agents[f"production/{MEDIUM}"]
        token = await sorter.token()
        self._world.crm.change_definition()
        self._clock.advance(31)
        refused(await sorter.call("count_tickets", {}, token=token), "definition_changed")
        alert = await self._alerted("posture-definition", MEDIUM)
        require(await self._state(MEDIUM) == "quarantined", f"the agent is {await self._state(MEDIUM)}")
        require(await self._dead(token), "a quarantined agent's token works")
        _code(await self._as("dana").attempt(f"agents/production/{MEDIUM}/lift", {"reason": "please"}),
              "not_authorised", "the owner's lifting")  # fmt: skip
        self._world.crm.restore_definition()
        self._clock.advance(31)
        await self._as("sam").post(
            f"alerts/{alert['id']}/resolve", {"note": "the vendor took it back", "disposition": "true-positive"}
        )
        await self._as("sam").post(f"agents/production/{MEDIUM}/lift", {"reason": "as approved again"})
        allowed(await sorter.call("count_tickets", {}, token=await self._fresh(MEDIUM)))

    async def _fresh(self, name: str) -> str:
        agent = self._world.agents[f"production/{name}"]
        agent.identity.forget_tokens()
        return str(await agent.token())

    async def _dead(self, token: str) -> bool:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        async with httpx2.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {token}"}) as http:
            after = await http.post(f"{self._world.url}/mcp/crm-live", json=body)
        return after.status_code == 401

    async def suspended(self) -> None:
        """Suspended, an agent's tokens are dead at once and it gets no other; resumed, it works again."""
        sorter = await self._enrolled(MEDIUM)
        labelled = {"ticket": "T-1", "label": "refund"}
        token = await sorter.token()
        allowed(await sorter.call("label_ticket", labelled, token=token))
        await self._as("dana").post(f"agents/production/{MEDIUM}/suspend", {"reason": "a look at its labels"})
        require(await self._dead(token), "a suspended agent's token works")
        try:
            await self._fresh(MEDIUM)
        except AccreditError:
            pass
        else:
            require(holds=False, why="a suspended agent got a token")
        _code(await self._as("dana").attempt(f"agents/production/{MEDIUM}/resume", {"reason": "fine"}),
              "not_authorised", "the owner's own resuming")  # fmt: skip
        await self._as("otto").post(f"agents/production/{MEDIUM}/resume", {"reason": "fine"})
        allowed(await sorter.call("label_ticket", labelled, token=await self._fresh(MEDIUM)))

    async def candidate(self) -> None:
        """A change to an agent in service waits as a candidate; what was approved goes on running."""
        document = fleet.live_agents()[MEDIUM]
        wider = document["spec"] | {"tools": [{"server": "crm-live", "allow": ["label_ticket", "count_tickets"]}]}
        await self._applied("dana", document | {"spec": wider})
        sorter = self._world.agents[f"production/{MEDIUM}"]
        refused(await sorter.call("count_tickets", {}, token=await sorter.token()), "tool_not_granted")
        _code(await self._activate(MEDIUM), "clearance_required", "activation of a candidate nobody judged")
        self._clock.advance(1)
        request = await self._submit(MEDIUM)
        await self._as("sam").vote(request, "security")
        await self._as("lena").vote(request, "team-lead")
        refused(await sorter.call("count_tickets", {}, token=await sorter.token()), "tool_not_granted")
        await self._activated(MEDIUM)
        allowed(await sorter.call("count_tickets", {}, token=await sorter.token()))

    async def retired(self) -> None:
        """Retired, nothing of an agent works, its id is never used again, and a receipt says what was done."""
        clerk = self._world.agents[f"production/{HIGH}"]
        self._tokens[HIGH] = await clerk.token()
        before = await self._as("dana").get(f"agents/production/{HIGH}")
        plan = await self._as("dana").get(f"agents/production/{HIGH}/plan")
        asked = await self._as("dana").post(
            f"agents/production/{HIGH}/retire", {"reason": "the shop closes", "plan": plan["digest"]}
        )
        require(not await self._dead(self._tokens[HIGH]), "an agent was retired that nobody else agreed to retire")
        self._clock.advance(1)
        await self._as("sam").vote(asked["approval"], "security")
        receipt = await self._as("una").get(f"agents/{before['id']}/receipt")
        steps = {one["step"] for one in receipt["steps"]}
        wanted = {"access", "absence", "audit", "baseline", "credential", "delegates", "limits", "policy", "stores"}
        require(steps == wanted, f"the steps are {steps}")
        certificate = await self._as("una").get(f"agents/{before['id']}/certificate")
        require(certificate["status"].startswith("complete"), f"its certificate is {certificate['status']}")
        require(await self._dead(self._tokens[HIGH]), "a retired agent's token works")
        keys = (await self._as("una").get("credentials", agent=before["id"]))["items"]
        require(all(one["state"] == "revoked" for one in keys), f"its keys are {keys}")
        status, _ = await self._as("dana").attempt(f"agents/{before['id']}/activate", {})
        require(status >= 400, "a retired agent was activated")
        (again,) = await self._applied("dana", fleet.live_agents()[HIGH])
        require(again["id"] != before["id"], "a retired agent's id was used again")

    async def ghost(self) -> None:
        """Whoever comes back with a retired agent's credential is turned away, and that is an alert."""
        clerk = self._world.agents[f"production/{HIGH}"]
        try:
            await self._fresh(HIGH)
        except AccreditError:
            pass
        else:
            require(holds=False, why="a retired agent's key got a token")
        require(await self._dead(self._tokens[HIGH]), "a retired agent's token works")
        await self._world.running.plane.watched()
        found = [one for one in (await self._as("sam").get("alerts", state="open"))["items"] if one["kind"] == "ghost"]
        require(any(one["agent"] == clerk.id for one in found), f"no ghost was seen: {found}")

    async def unproven(self) -> None:
        """State that somebody edited, put back or deleted in the database is refused: the log proves another."""
        sorter = self._world.agents[f"production/{MEDIUM}"]
        token = await sorter.token()
        stored = await asyncio.to_thread(spoiling.row_of, self._world.data, "agent", sorter.id)
        with tempfile.TemporaryDirectory(prefix="accredit-demo-") as place:
            for name, spoil in {
                "edited": spoiling.edit_row("agent", sorter.id, owner=self._as("una").person),
                "rolled back": spoiling.edit_row("agent", sorter.id, version=stored["history"][0]["version"]),
                "deleted": spoiling.forget_row("agent", sorter.id),
                "untouched": lambda _: None,
            }.items():
                data = await asyncio.to_thread(spoiling.copied, self._world.data, Path(place) / name, spoil)
                async with spoiling.opened(data, self._clock, public_url=self._world.url) as (url, other):
                    held = await self._answered(sorter, token, f"{url}/mcp/crm-live")
                    codes = await _codes_on_record(other)
                require(held is (name == "untouched"), f"{name}: the call was {'allowed' if held else 'refused'}")
                require(held or "state_unproven" in codes, f"{name}: on record is {codes}")

    async def _answered(self, agent: DemoAgent, token: str, route: str) -> bool:
        """Whether a call goes through; a row that is not loaded cannot even say whose token it is."""
        allowed = False
        try:
            allowed = not (await agent.call("count_tickets", {}, token=token, route=route)).is_error
        except* MCPError:
            pass
        return allowed


async def _codes_on_record(running: Running) -> list[str]:
    """The reason codes of an installation's newest records."""
    await running.plane.enforcer.drained()
    size = running.plane.records.size()
    return [str(body_of(one).get("code")) for one in running.plane.records.records(max(0, size - 10), size)]
