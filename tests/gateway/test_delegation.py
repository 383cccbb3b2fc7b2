"""Work handed on from agent to agent, over sockets: what the chain may do, what it may not, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from accredit.enforcement.model import Admitted, CallEnd
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnauthenticatedError
from accredit.policy.release import read_release
from accredit.policy.replay import replay, reproduce
from accredit.policy.report import text_report
from tests.enforcement.place import GUARDRAILS, KIM, TICKET, Place, agent, place, site
from tests.families import every_third
from tests.gateway.models import room, writer
from tests.gateway.stage import modern
from tests.policies import with_cases

_TASK = {"input.customer_id": "task.customer_id"}


def delegates(to: str, *tools: str, **when: Any) -> dict[str, Any]:
    """An entry of `delegates`."""
    return {"agent": to, "tools": [{"server": "crm", "allow": list(tools), **({"when": when} if when else {})}]}


def chain_of(*, first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """A planner that delegates to a researcher, which may delegate to a clerk; the planner has no tool of its own."""
    return [
        agent("clerk", [{"allow": ["read", "count", "refund"]}]),
        agent("researcher", [{"allow": ["read", "count", "match", "refund"]}], delegates=list(second)),
        agent("planner", [], delegates=list(first)),
    ]


USUAL = chain_of(
    first=[delegates("researcher", "read", "refund"), delegates("clerk", "count")],
    second=[delegates("clerk", "read", "count", "refund")],
)


async def taken_on(at: Place, handed: str, callee: str, *, server: str | None = "crm") -> str:
    """What the callee makes of what was handed on to it."""
    return await at.site.identities[callee].exchange(at.route(server), subject_token=handed)


async def chained(at: Place, *names: str, server: str | None = "crm", **served: Any) -> str:
    """The access token of the last of these, to whom the others handed on what the first began."""
    token = await at.token(names[0], server=server, **served)
    for giver, callee in pairwise(names):
        handed = await at.site.identities[giver].hand_on(callee, access_token=token)
        token = await taken_on(at, handed, callee, server=server)
    return token


async def refused(attempt: Awaitable[Any], code: Code) -> None:
    with pytest.raises(AccreditError) as caught:
        await attempt
    assert caught.value.code is code, caught.value


async def agent_id(at: Place, name: str) -> str:
    return str((await at.operator.get(f"agents/{name}"))["id"])


SERVED: dict[str, Any] = {"user": KIM, "ticket": TICKET, "roles": ["support"]}


def live(scenario: Callable[[Place], Awaitable[None]], tmp_path: Path, *agents: Mapping[str, Any]) -> None:
    async def run() -> None:
        async with place(tmp_path / "data", *(agents or USUAL)) as at:
            await scenario(at)
            await at.settled()

    asyncio.run(run())


# -- what may be done


@pytest.mark.requirement("delegation:chain:carried", "delegation:hop:decided")
def test_the_last_agent_acts_for_the_user_and_the_record_has_everybody(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk", **SERVED)
        assert (await at.call(token, "read", {"customer_id": "c-1"})).allowed
        await at.settled()
        (call,) = at.site.box.calls
        assert call["name"] == "read"
        ids = [await agent_id(at, name) for name in ("clerk", "researcher", "planner")]
        ((header, body),) = at.records("decision")
        assert (header["agent"], body["code"], body["actors"]) == (ids[0], "allowed", ids)
        assert [hop[0] for hop in body["hops"]] == ids[1:]
        handed = at.records("delegation")
        assert [(one["agent"], one["decision"], stated["callee"]) for one, stated in handed] == [
            (ids[2], "allow", ids[1]),
            (ids[1], "allow", ids[0]),
        ]
        users = {body["user"], *(stated["user"] for _, stated in handed)}
        assert len(users) == len({body["task"], *(stated["task"] for _, stated in handed)}) == 1
        assert users != {None}

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:hop:decided")
def test_a_tool_that_one_hop_does_not_delegate_is_refused_and_not_even_listed(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk", **SERVED)
        why = (await at.call(token, "count")).refused("delegation_not_granted")
        assert why["detail"] == "`planner` to `researcher`", why
        why = (await at.call(await chained(at, "planner", "researcher"), "match", {"customer_id": "c-1"})).why
        assert why["code"] == "delegation_not_granted"
        assert (await at.call(await chained(at, "planner", "clerk"), "count")).allowed
        assert (await at.call(await chained(at, "planner", "clerk"), "read")).refused("delegation_not_granted")
        assert (await at.call(await at.token("clerk"), "read")).allowed, "by itself it may"
        # what a hop delegates the callee has no right to is refused as ever
        why = (await at.call(await chained(at, "planner", "clerk"), "match", {"customer_id": "c-1"})).why
        assert why["code"] == "tool_not_granted"
        body, headers = modern("tools/list")
        answer = (await at.post(token, body, headers)).json()
        assert [tool["name"] for tool in answer["result"]["tools"]] == ["read", "refund"]

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:hop:conditions")
def test_the_conditions_of_each_hop_are_asked_of_the_user_and_task_the_first_agent_had(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        met = await chained(at, "planner", "researcher", **SERVED)
        assert (await at.call(met, "match", {"customer_id": "c-1"})).allowed
        why = (await at.call(met, "match", {"customer_id": "c-2"})).refused("delegation_unmet")
        assert why["unmet"] == ["delegation planner to researcher: sameAs: input.customer_id = task.customer_id"], why
        other = await chained(at, "planner", "researcher", **{**SERVED, "roles": ["sales"]})
        why = (await at.call(other, "match", {"customer_id": "c-1"})).refused("delegation_unmet")
        assert why["unmet"] == ["delegation planner to researcher: userRole: support"]
        nobody = await chained(at, "planner", "researcher")
        (await at.call(nobody, "match", {"customer_id": "c-1"})).refused("delegation_unmet")

    first = [delegates("researcher", "match", userRole="support", sameAs=_TASK)]
    live(scenario, tmp_path, *chain_of(first=first))


@pytest.mark.requirement("delegation:chain:carried")
def test_work_that_serves_no_user_is_handed_on_as_that_of_whoever_began_it(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk")
        principal = at.enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="127.0.0.1")
        assert principal.user is None
        assert principal.actors == tuple([await agent_id(at, name) for name in ("clerk", "researcher", "planner")])
        assert (await at.call(token, "read")).allowed

    live(scenario, tmp_path)


# -- what is never possible


@pytest.mark.requirement("delegation:token:bound")
def test_what_is_handed_on_is_good_for_the_callee_at_the_token_endpoint_and_for_nothing_else(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await at.token("planner", **SERVED)
        handed = await at.site.identities["planner"].hand_on("researcher", access_token=token)
        await refused(taken_on(at, handed, "clerk"), Code.TOKEN_AUDIENCE)
        await refused(taken_on(at, handed, "planner"), Code.TOKEN_AUDIENCE)
        assert (await at.post(handed, *modern())).status_code == 401
        await refused(at.site.identities["researcher"].hand_on("clerk", access_token=handed), Code.TOKEN_TYPE)
        # an access token is no token that hands on: whoever is given one can make nothing of it
        await refused(taken_on(at, token, "researcher"), Code.ISSUER_UNKNOWN)
        await refused(at.site.identities["researcher"].hand_on("clerk", access_token=token), Code.TOKEN_ACTOR)
        # nor can one be changed
        head, _, signature = handed.split(".")
        forged = ".".join((head, token.split(".")[1], signature))
        await refused(taken_on(at, forged, "researcher"), Code.TOKEN_SIGNATURE)

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:token:once")
def test_another_instance_of_the_callee_cannot_take_on_what_one_took_on(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        handed = await at.site.identities["planner"].hand_on("researcher", access_token=await at.token("planner"))
        await taken_on(at, handed, "researcher")
        first = at.site.identities["researcher"]
        await at.enrol("researcher")
        await refused(taken_on(at, handed, "researcher"), Code.TOKEN_REPLAYED)
        first.forget_tokens()
        assert await first.exchange(at.route("crm"), subject_token=handed)

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:chain:bounded")
def test_an_agent_comes_once_in_a_chain_and_four_are_the_most(tmp_path: Path) -> None:
    everybody = [f"a{number}" for number in range(6)]

    def named(name: str) -> dict[str, Any]:
        return agent(name, [{"allow": ["read"]}])

    async def scenario(at: Place) -> None:
        ring = [
            {**each, "spec": {**each["spec"], "delegates": [delegates(to, "read") for to in everybody if to != name]}}
            for name, each in ((name, named(name)) for name in everybody)
        ]
        await at.apply(*ring)
        token = await chained(at, "a0", "a1", "a2", "a3")
        assert (await at.call(token, "read")).allowed
        hand_on = at.site.identities["a3"].hand_on
        await refused(hand_on("a4", access_token=token), Code.DELEGATION_DEPTH)
        pair = await chained(at, "a0", "a1")
        await refused(at.site.identities["a1"].hand_on("a0", access_token=pair), Code.DELEGATION_CYCLE)
        await refused(at.site.identities["a1"].hand_on("a1", access_token=pair), Code.DELEGATION_CYCLE)
        await refused(at.site.identities["a0"].hand_on("a0", access_token=await at.token("a0")), Code.DELEGATION_CYCLE)

    live(scenario, tmp_path, *(named(name) for name in everybody))


@pytest.mark.requirement("delegation:chain:complete")
def test_an_issuer_cannot_put_an_agent_of_ours_into_a_chain(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        planner, identity = await agent_id(at, "planner"), at.site.identities["researcher"]
        claimed = at.site.directory.sign("at+jwt", life_s=900, sub=KIM, aud=at.url, act={"sub": planner})
        await refused(identity.exchange(at.route("crm"), subject_token=claimed), Code.TOKEN_ACTOR)
        outside = at.site.directory.sign("at+jwt", life_s=900, sub=KIM, aud=at.url, act={"sub": "portal"})
        token = await identity.exchange(at.route("crm"), subject_token=outside)
        principal = at.enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="127.0.0.1")
        assert principal.actors[1:] == ("portal",)
        assert principal.delegators == ()
        # and whom an issuer named stays at the end of every chain that is made of it
        handed = await identity.hand_on("clerk", access_token=token)
        further = await taken_on(at, handed, "clerk")
        assert (await at.call(further, "read")).allowed
        await at.settled()
        _, body = at.records("decision")[-1]
        assert body["actors"][1:] == [await agent_id(at, "researcher"), "portal"]
        assert len(body["hops"]) == 1

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:token:narrows")
def test_what_is_made_of_it_reaches_no_further_and_lasts_no_longer(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        planner = at.site.identities["planner"]
        token = await at.token("planner")  # for /mcp/crm
        handed = await planner.hand_on("researcher", access_token=token)
        await refused(taken_on(at, handed, "researcher", server=None), Code.TOKEN_AUDIENCE)
        await refused(taken_on(at, handed, "researcher", server="other"), Code.TOKEN_AUDIENCE)
        await refused(planner.hand_on("researcher", access_token=token, resource=at.route(None)), Code.TOKEN_AUDIENCE)
        wide = await at.token("planner", server=None)
        narrowed = await planner.hand_on("researcher", access_token=wide, resource=at.route("crm"))
        await refused(taken_on(at, narrowed, "researcher", server=None), Code.TOKEN_AUDIENCE)
        assert await taken_on(at, narrowed, "researcher")
        clock = at.site.clock
        assert isinstance(clock, ScriptedClock)
        clock.advance(200)
        late = await taken_on(at, await planner.hand_on("researcher", access_token=token), "researcher")
        assert (await at.call(late, "read")).allowed
        clock.advance(131)  # 30 s are tolerated
        assert (await at.post(late, *modern())).status_code == 401
        await refused(planner.hand_on("researcher", access_token=token), Code.TOKEN_EXPIRED)

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:token:narrows")
def test_neither_a_task_nor_a_scope_can_be_put_in_on_the_way(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        handed = await at.site.identities["planner"].hand_on(
            "researcher", access_token=await at.token("planner", user=KIM)
        )
        researcher = await agent_id(at, "researcher")
        task = at.site.desk.token_for(TICKET, user=KIM, agent=researcher, customer="c-1", audience=at.url)
        exchange = at.site.identities["researcher"].exchange
        await refused(exchange(at.route("crm"), subject_token=handed, task_token=task), Code.TOKEN_SUBJECT)

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:token:bound")
def test_scope_is_refused_where_work_is_handed_on_and_audience_counts_for_nothing_elsewhere(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        identity = at.site.identities["planner"]
        for token, more, code in (
            (await identity.access_token(at.route("crm")), {"scope": "crm/read"}, "token_claims"),
            (await identity.access_token(at.route("crm")), {}, None),
            (at.site.directory.token_for(KIM, roles=[], audience=at.url), {"audience": "https://crm.example"}, None),
        ):
            request = identity._delegation_request("researcher", token, None)
            form = dict(parse_qsl(request.content.decode())) | more
            if "audience" in more:
                form |= {"resource": at.route("crm"), "requested_token_type": form["subject_token_type"]}
            answer = await at.site.agents_http.post(f"{at.url}/oauth/token", data=form)
            told = answer.json()
            if code is not None:
                assert (answer.status_code, told["code"]) == (400, code)
            elif "audience" in more:
                assert (answer.status_code, told["token_type"]) == (200, "Bearer"), told
            else:
                assert (answer.status_code, told["token_type"]) == (200, "N_A"), told
                assert told["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt"

    live(scenario, tmp_path)


# -- what ends it


async def _agent_revoked(at: Place) -> None:
    await at.operator.post("agents/researcher/revoke", {"reason": "test"})


async def _first_revoked(at: Place) -> None:
    await at.operator.post("agents/planner/revoke", {"reason": "test"})


async def _credential_revoked(at: Place) -> None:
    (credential,) = (await at.operator.get("agents/researcher"))["credentials"]
    await at.operator.post(f"credentials/{credential['id']}/revoke", {"reason": "test"})


async def _issuer_revoked(at: Place) -> None:
    await at.operator.post("issuers/directory/revoke", {"reason": "test"})


@pytest.mark.parametrize("ended", [_agent_revoked, _first_revoked, _credential_revoked, _issuer_revoked])
@pytest.mark.requirement("delegation:chain:ended")
def test_whatever_ends_one_of_the_chain_ends_the_token_at_once(
    ended: Callable[[Place], Awaitable[None]], tmp_path: Path
) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk", **SERVED)
        assert (await at.call(token, "read")).allowed
        principal = at.enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="127.0.0.1")
        waiting = await at.admit(principal, "read")
        assert isinstance(waiting, Admitted)
        cancelled: list[Code] = []
        waiting.cancel = cancelled.append
        await ended(at)
        assert len(cancelled) == 1, "what is in flight is cancelled"
        with pytest.raises(UnauthenticatedError):
            waiting.recheck()
        at.settle(waiting, CallEnd.REVOKED)
        assert (await at.post(token, *modern())).status_code == 401

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:chain:ended")
def test_what_was_handed_on_is_worth_nothing_once_its_giver_is_revoked(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        handed = await at.site.identities["planner"].hand_on("researcher", access_token=await at.token("planner"))
        await _first_revoked(at)
        await refused(taken_on(at, handed, "researcher"), Code.DELEGATOR_ENDED)

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:hop:current")
def test_a_delegation_taken_out_of_a_manifest_is_worth_nothing_from_that_moment(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk")
        principal = at.enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="127.0.0.1")
        waiting = await at.admit(principal, "read")
        assert isinstance(waiting, Admitted)
        await at.apply(*chain_of(first=[delegates("researcher", "refund")])[2:])
        with pytest.raises(AccreditError) as caught:
            waiting.recheck()
        assert caught.value.code is Code.SNAPSHOT_STALE
        at.settle(waiting, CallEnd.CANCELLED, sent=False)
        (await at.call(token, "read")).refused("delegation_not_granted")
        await at.operator.post("agents/planner/suspend", {"reason": "test"})
        assert (await at.post(token, *modern())).status_code == 401

    live(scenario, tmp_path)


# -- policies


@pytest.mark.requirement("delegation:policy:forbids")
def test_a_policy_forbids_handing_on_and_what_is_made_of_it(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", **SERVED)
        forbids = (
            'forbid (principal == Agent::"planner", action == Action::"@delegate", resource == Agent::"researcher")'
            ' when { context has tool && context.tool == "crm/read" };'
            'forbid (principal, action == Action::"@delegate", resource in Team::"support")'
            ' when { context has user && context.user has id && context.user.id == "mallory" };'
            'forbid (principal, action == Action::"crm/count", resource) when { context has hops };'
        )
        await at.operator.post("policy/publish", {"files": with_cases({"org/a.cedar": forbids})})
        why = (await at.call(token, "read")).refused("delegation_forbidden")
        assert why["detail"] == "`planner` to `researcher`"
        assert why["policy"][0].startswith("org/a.cedar@"), why
        giver = at.site.identities["planner"]
        mallory = await at.token("planner", user="mallory")
        await refused(giver.hand_on("researcher", access_token=mallory), Code.DELEGATION_FORBIDDEN)
        header, body = at.records("delegation")[-1]
        assert (header["decision"], body["code"]) == ("deny", "delegation_forbidden")
        assert body["policies"]
        (await at.call(await chained(at, "planner", "clerk"), "count")).refused("forbidden_by_policy")
        assert (await at.call(await at.token("clerk"), "count")).allowed

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:policy:holds")
def test_a_held_delegation_waits_for_a_person_and_the_grant_is_for_that_chain_alone(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        holds = '@hold("business-owner") forbid (principal, action == Action::"@delegate", resource == Agent::"clerk");'
        await at.operator.post("policy/publish", {"files": with_cases({"org/a.cedar": holds})})
        token = await chained(at, "researcher", "clerk")
        (await at.call(token, "read", {"customer_id": "c-1"})).refused("held")
        (hold,) = (await at.operator.get("holds"))["items"]
        shown = await at.operator.get(f"holds/{hold['id']}")
        assert '"handed_on_by"' in shown["view"]
        assert "researcher" in shown["view"]
        await at.operator.post(f"holds/{hold['id']}/answer", {"answer": "approve", "view_digest": shown["view_digest"]})
        longer = await chained(at, "planner", "researcher", "clerk")
        (await at.call(longer, "read", {"customer_id": "c-1"})).refused("held")
        assert (await at.call(token, "read", {"customer_id": "c-1"})).allowed
        (await at.call(token, "read", {"customer_id": "c-1"})).refused("held")
        assert (await at.call(await at.token("clerk"), "read", {"customer_id": "c-1"})).allowed

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:hop:decided")
def test_to_hand_on_to_whom_the_manifest_does_not_name_is_refused_and_recorded(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        clerk = at.site.identities["clerk"]
        for named in ("planner", "nobody", await agent_id(at, "planner"), "", "x" * 300):
            await refused(clerk.hand_on(named, access_token=await at.token("clerk")), Code.DELEGATION_NOT_GRANTED)
        records = at.records("delegation")
        assert [header["decision"] for header, _ in records] == ["deny"] * 5

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:restrictions:narrow")
def test_what_a_restriction_takes_from_a_caller_is_not_had_by_handing_it_on(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk")
        assert (await at.call(token, "read")).allowed
        await at.operator.post(
            "agents/planner/restrictions", {"kind": "drop-tool", "tool": "crm/read", "minutes": 60, "cause": "test"}
        )
        (await at.call(token, "read")).refused("restricted")
        assert (await at.call(await at.token("clerk"), "read")).allowed

    live(scenario, tmp_path)


@pytest.mark.parametrize(
    ("halt", "depth"), every_third(product(("suspend", "quarantine", "retire", "revoke"), (1, 0, 2)))
)
@pytest.mark.requirement("delegation:chain:ended")
def test_whoever_is_halted_anywhere_in_a_chain_takes_all_of_it_along(halt: str, depth: int, tmp_path: Path) -> None:
    names = ("planner", "researcher", "clerk")

    async def scenario(at: Place) -> None:
        token = await chained(at, *names, **SERVED)
        assert (await at.call(token, "read")).allowed
        handed = await at.site.identities["researcher"].hand_on("clerk", access_token=await chained(at, *names[:2]))
        principal = at.enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="127.0.0.1")
        waiting = await at.admit(principal, "read")
        assert isinstance(waiting, Admitted)
        cancelled: list[Code] = []
        waiting.cancel = cancelled.append
        await at.operator.post(f"agents/{names[depth]}/{halt}", {"reason": "test"})
        assert len(cancelled) == 1
        with pytest.raises(AccreditError):
            waiting.recheck()
        at.settle(waiting, CallEnd.REVOKED)
        told = await at.post(token, *modern())
        assert told.status_code == 401
        with pytest.raises(AccreditError):
            await taken_on(at, handed, "clerk")
        with pytest.raises(AccreditError):
            await chained(at, *names)

    live(scenario, tmp_path)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.requirement("delegation:limits:counted")
def test_a_throttle_anywhere_in_a_chain_slows_all_that_is_made_of_it(depth: int, tmp_path: Path) -> None:
    names = ("planner", "researcher", "clerk")

    async def scenario(at: Place) -> None:
        token = await chained(at, *names)
        other = await chained(at, "planner", "clerk")
        await at.operator.post(
            f"agents/{names[depth]}/restrictions",
            {"kind": "throttle", "calls_per_minute": 2, "minutes": 60, "cause": "test"},
        )
        for _ in range(2):
            assert (await at.call(token, "read")).allowed
        why = (await at.call(token, "read")).refused("rate_limited")
        assert (f"of `{names[depth]}`" in why["detail"]) is (depth < 2), why
        # the planner's throttle is of all it handed on, by whichever way; who is not in a chain is not slowed
        if depth != 1:
            (await at.call(other, "count")).refused("rate_limited")
        alone = await at.token(names[2])
        assert (await at.call(alone, "read")).allowed is (depth < 2)
        at.site.clock.advance(30)
        assert (await at.call(await chained(at, *names), "read")).allowed
        (await at.call(await chained(at, *names), "read")).refused("rate_limited")

    live(scenario, tmp_path)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.requirement("delegation:limits:counted")
def test_a_budget_that_is_used_up_anywhere_in_a_chain_ends_it_and_a_restart_forgets_nothing(
    depth: int, tmp_path: Path
) -> None:
    names = ("planner", "researcher", "clerk")
    limits = {"limits": {"calls": {"perMinute": 600}, "concurrency": 2, "cost": {"perDay": "0.10 USD"}}}
    agents = [
        {**each, "spec": {**each["spec"], **(limits if each["metadata"]["name"] == names[depth] else {})}}
        for each in USUAL
    ]

    async def run() -> None:
        async with site(tmp_path / "data") as lasting:
            async with lasting.started() as at:
                await lasting.register(at, *agents)
                for _ in range(2):
                    assert (await at.call(await chained(at, *names), "read")).allowed
                why = (await at.call(await chained(at, *names), "read")).refused("budget_exhausted")
                assert (f"of `{names[depth]}`, who handed the work on" in why["detail"]) is (depth < 2), why
                assert (await at.limits(names[depth]))["spent"] == "0.1 USD"
                await at.settled()
            lasting.clock.advance(31)
            async with lasting.started() as again:
                (await again.call(await chained(again, *names), "read")).refused("budget_exhausted")
                assert (await again.limits(names[depth]))["spent"] == "0.1 USD"
                await again.settled()

    asyncio.run(run())


@pytest.mark.requirement("delegation:restrictions:narrow")
def test_a_tool_that_a_restriction_took_from_a_caller_is_not_listed_for_whom_it_hands_on_to(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk")
        await at.operator.post("agents/planner/restrictions", {"kind": "read-only", "minutes": 60, "cause": "test"})
        body, headers = modern("tools/list")
        answer = (await at.post(token, body, headers)).json()
        assert [tool["name"] for tool in answer["result"]["tools"]] == ["read"]

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:models:named", "delegation:limits:counted")
def test_a_model_is_used_in_a_chain_if_it_is_delegated_by_its_name_and_whoever_handed_on_pays_too(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        handed = {"agent": "writer", "tools": [{"server": "gpt", "allow": ["gpt-x"]}]}
        planner = agent("planner", [], delegates=[handed])
        async with room(tmp_path / "data", writer(), planner) as models:
            at = models.at
            route = f"{at.url}/llm"
            own = await at.site.identities["planner"].access_token(route)
            given = await at.site.identities["planner"].hand_on("writer", access_token=own)
            token = await at.site.identities["writer"].exchange(route, subject_token=given)
            asked = {"model": "gpt-x", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
            assert (await models.post("openai/v1/chat/completions", asked, token)).status_code == 200
            (outcome,) = await models.outcomes()
            cost = outcome["settled"]["cost"]
            assert cost > 0
            for name in ("planner", "writer"):
                told = await at.limits(name)
                assert told["spent"] == f"{cost / 10**9:g} USD", told
            before = len(models.provider.asked)
            embedding = {"model": "embed-x", "input": "hello"}
            answer = await models.post("openai/v1/embeddings", embedding, token)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tool_not_granted"), (
                "one that is not handed on reads like one that does not exist"
            )
            answer = await models.post("openai/v1/chat/completions", asked, own)
            assert answer.json()["error"]["code"] == "tool_not_granted", "it may not use what it hands on"
            assert len(models.provider.asked) == before
            headers = {"authorization": f"Bearer {token}"}
            listed = (await at.site.agents_http.get(f"{route}/openai/v1/models", headers=headers)).json()
            assert [one["id"] for one in listed["data"]] == ["gpt-x"]
            assert (await models.post("openai/v1/embeddings", embedding)).status_code == 200, "by itself it may"
            await at.operator.post("agents/planner/suspend", {"reason": "test"})
            assert (await models.post("openai/v1/chat/completions", asked, token)).status_code == 401
            await at.settled()
            assert reproduce(at.running.plane.history.calls()).exact

    asyncio.run(run())


# -- who says so


@pytest.mark.requirement("context:declared:never-verified")
def test_nothing_that_a_call_says_becomes_user_task_or_actors(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        claims = {
            "user": {"id": KIM, "roles": ["support"]},
            "task": {"id": TICKET, "customer_id": "c-1"},
            "actors": ["agt_x"],
            "hops": 3,
            "tool": "crm/read",
        }
        token = await at.token("researcher")
        body, headers = modern(
            params={"name": "match", "arguments": {"customer_id": "c-1"}},
            meta={**claims, "accredit/declared": claims, "accredit/run": "user=kim"},
        )
        more = {"x-user": KIM, "x-accredit-user": KIM, "x-forwarded-user": KIM, "x-actors": "agt_x", "act": "agt_x"}
        await at.post(token, body, {**headers, "mcp-name": "match", **more})
        await at.post(token, *modern(params={"name": "read", "arguments": {"customer_id": "c-1", **claims}}))
        await at.settled()
        calls = [call for call in at.running.plane.history.calls() if call.judged]
        for call in calls:
            facts = call.facts()  # type: ignore[union-attr]
            assert facts is not None
            assert facts["actors"] == []
            assert not {"user", "task", "hops", "tool"} & facts.keys()

    live(scenario, tmp_path)


# -- the past


@pytest.mark.requirement("delegation:past:exact")
def test_calls_of_chains_come_out_again_exactly_and_a_candidate_shows_what_it_would_change(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", "clerk", **SERVED)
        for name in ("read", "count", "refund", "read"):
            await at.call(token, name, {"cents": 5} if name == "refund" else {})
        await at.operator.post(
            "agents/planner/restrictions", {"kind": "drop-tool", "tool": "crm/read", "minutes": 60, "cause": "test"}
        )
        await at.call(token, "read")
        await at.apply(*chain_of(first=[delegates("researcher", "count")])[2:])
        await at.call(token, "read")
        await at.call(await at.token("clerk"), "read")
        await at.settled()
        history = at.running.plane.history
        found = reproduce(history.calls())
        assert found.differences == []
        assert found.judged == found.same == 9, "seven calls, and two hand-overs"
        assert found.exact
        agents = {one.name: str(one.id) for one in at.running.plane.snapshots.current.catalogue.agents()}
        text = 'forbid (principal, action == Action::"@delegate", resource == Agent::"clerk");'
        candidate = read_release({"org/a.cedar": text}, history.engine, agents=agents)
        trial = replay(history.calls(), candidate)
        clerk = agents["clerk"]
        assert {(one.tool, one.before, one.after): count for one, count in trial.changes.items()} == {
            (f"@delegate {clerk}", "allow", "deny"): 1,
            ("crm/read", "allow", "deny"): 2,
            ("crm/refund", "hold", "deny"): 1,
        }

    live(scenario, tmp_path)


async def _handed_on_in_every_way(at: Place) -> None:
    giver, token = at.site.identities["planner"], await at.token("planner", **SERVED)
    await giver.hand_on("researcher", access_token=token)
    await refused(giver.hand_on("nobody", access_token=token), Code.DELEGATION_NOT_GRANTED)
    policies = (
        'forbid (principal, action == Action::"@delegate", resource)'
        ' when { context has user && context.user has id && context.user.id == "mallory" };'
        '@hold("business-owner") forbid (principal, action == Action::"@delegate", resource == Agent::"clerk");'
    )
    files = {"org/a.cedar": policies}
    observed = {"accredit.toml": '[observe]\n"org/b.cedar" = 2026-12-24\n'}
    files |= observed | {"org/b.cedar": 'forbid (principal, action == Action::"@delegate", resource);'}
    await at.operator.post("policy/publish", {"files": with_cases(files)})
    mallory = await at.token("planner", user="mallory")
    await refused(giver.hand_on("researcher", access_token=mallory), Code.DELEGATION_FORBIDDEN)
    await giver.hand_on("clerk", access_token=token)
    await at.apply(*chain_of(first=[delegates("researcher", "refund")])[2:])
    await refused(giver.hand_on("clerk", access_token=token), Code.DELEGATION_NOT_GRANTED)
    await giver.hand_on("researcher", access_token=token)
    await at.settled()


@pytest.mark.requirement("delegation:past:handed")
def test_decisions_on_handing_on_come_out_again_exactly_whatever_they_were(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        await _handed_on_in_every_way(at)
        outcomes = [header["decision"] for header, _ in at.records("delegation")]
        assert outcomes == ["allow", "deny", "deny", "hold", "deny", "allow"]
        history = at.running.plane.history
        found = reproduce(history.calls())
        assert found.differences == []
        # nobody's policies were asked about an agent that there is not
        assert (found.decisions, found.judged, found.same) == (6, 5, 5), found
        parts = [reproduce(history.calls(seq, seq + 3)) for seq in range(0, history.size(), 3)]
        assert sum(part.same for part in parts) == found.same

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:past:simulated")
def test_a_candidate_that_refuses_to_hand_on_breaks_the_runs_that_did(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        await at.apply(agent("planner", [{"allow": ["read"]}], delegates=[delegates("researcher", "read")]))
        token = await at.token("planner", **SERVED)
        assert (await at.call(token, "read")).allowed
        handed = await at.site.identities["planner"].hand_on("researcher", access_token=token)
        assert (await at.call(await taken_on(at, handed, "researcher"), "read")).allowed
        # another user's work is handed on by nobody
        alone = await at.token("planner", user="lee")
        assert (await at.call(alone, "read")).allowed
        await at.settled()
        planner, researcher = [await agent_id(at, name) for name in ("planner", "researcher")]
        # only the hand-over itself: calls of the chain name a tool
        text = 'forbid (principal, action == Action::"@delegate", resource) unless { context has tool };'
        files = {"files": {"org/a.cedar": text}}
        begun = await at.operator.post("policy/simulate", files)
        while (told := await at.operator.get(f"policy/simulations/{begun['id']}"))["state"] == "running":
            await asyncio.sleep(0.01)
        report = told["report"]
        (impact,) = report["impacts"]
        assert (impact["agent"], impact["tool"], impact["before"], impact["after"], impact["code"]) == (
            planner,
            f"@delegate {researcher}",
            "allow",
            "deny",
            "delegation_forbidden",
        )
        (flow,) = report["workflows"]
        assert (flow["agent"], flow["tools"], flow["runs"], flow["of"]) == (
            planner,
            [f"@delegate {researcher}", "crm/read"],
            1,
            1,
        )
        assert report["breaks"]
        assert report["unused"] == [[planner, f"@delegate {researcher}"]]
        changed = {(one["agent"], one["tool"], one["callee"]) for one in report["slices"]}
        assert {(planner, "@delegate", researcher), (planner, "crm/read", researcher)} <= changed
        affected = {one["agent"]: one for one in report["agents"]}
        assert affected[planner]["chains"] == 3, "two of its own, and one that its callee hands on"
        assert affected[researcher]["chains"] > 3, "it hands on itself"
        assert "@delegate development/researcher" in text_report(report)

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:difference:named")
def test_a_difference_names_who_hands_on_what_it_changes(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        files = {"org/a.cedar": 'forbid (principal, action == Action::"crm/count", resource);'}
        found = await at.operator.post("policy/diff", {"files": {**GUARDRAILS, **files}})
        rules = {(one["agent"], one["tool"]): one for one in found["rules"]}
        assert found["rules_total"] == len(rules) == 2
        clerk = rules["development/clerk", "crm/count"]
        assert clerk["handed_on_by"] == ["development/planner", "development/researcher"]
        assert (clerk["before"], clerk["after"], clerk["handed_on_to"]) == ("always", "never", [])
        assert rules["development/researcher", "crm/count"]["handed_on_by"] == []
        files = {
            "org/a.cedar": 'forbid (principal == Agent::"planner", action == Action::"@delegate", resource);',
        }
        found = await at.operator.post("policy/diff", {"files": {**GUARDRAILS, **files}})
        assert {(one["agent"], one["tool"], *one["handed_on_to"], one["after"]) for one in found["rules"]} == {
            ("development/planner", operation, *(f"development/{callee}" for callee in callees), "never")
            for operation, *callees in (
                ("@delegate", "clerk"),
                ("@delegate", "researcher"),
                ("crm/count", "clerk"),
                ("crm/read", "researcher", "clerk"),
                ("crm/refund", "researcher", "clerk"),
            )
        }

    live(scenario, tmp_path)


@pytest.mark.requirement("delegation:explained:hop")
def test_an_explanation_names_the_hop_and_what_would_have_changed_it(tmp_path: Path) -> None:
    async def scenario(at: Place) -> None:
        token = await chained(at, "planner", "researcher", **{**SERVED, "roles": []})
        why = (await at.call(token, "match", {"customer_id": "c-1"})).refused("delegation_unmet")
        await at.settled()
        told = await at.operator.get(f"decisions/{why['decision_id']}/explanation")
        assert told["code"] == "delegation_unmet"
        assert "delegation planner to researcher: userRole: support" in told["unmet"]
        assert any("directly" in each["change"] for each in told["alternatives"]), told

    live(scenario, tmp_path, *chain_of(first=[delegates("researcher", "match", userRole="support")]))
