"""A tool that declares a mapping is called only if policies under `ext/` allow what the mapping asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.release import Release, read_release
from accredit.policy.replay import replay, reproduce
from tests.enforcement.place import CRM_FACTS, CRM_TOOLS, KIM, SECRET, TICKET, Place, ToolBox, agent, site, tool
from tests.policies import with_cases

MAPPING: Mapping[str, Any] = {
    "evaluation": {
        "subject": {"id": "$token.sub"},
        "action": {"name": "open"},
        "resource": {
            "type": "account",
            "id": "$'acc-' + params.arguments.account",
            "properties": {"kind": "$size(params.arguments.account) > 2 ? 'long' : 'short'"},
        },
        "context": {"agent": "somebody else", "roles": "$token.roles", "ticket": "$token.?task"},
    }
}
POLICIES = {
    "ext/accounts.cedar": f"""
permit (principal is Ext::identity, action == Action::"ext/open", resource is Ext::account)
when {{ resource.kind == "short" }};
forbid (principal is Ext::identity, action == Action::"ext/open", resource == Ext::account::"acc-7");
permit (principal == Ext::identity::"{KIM}", action == Action::"ext/open", resource is Ext::account)
when {{ context.request.roles.contains("support") && context.caller == "mcp/crm" }};
""",
}
FACTS = {**CRM_FACTS, "open": {"effect": "read", "data": ["internal"], "price": "0.05 USD"}}
TELLER = agent("teller", [{"allow": ["read", "open"]}])


def _opens(mapping: Any, **properties: Any) -> dict[str, Any]:
    made = tool("open", **(properties or {"account": {"type": "string"}}))
    return {**made, "inputSchema": {**made["inputSchema"], "x-authzen-mapping": mapping}}


@asynccontextmanager
async def _bank(data: Path, mapping: Any = MAPPING, files: Mapping[str, str] = POLICIES) -> AsyncIterator[Place]:
    async with site(data, box=ToolBox(*CRM_TOOLS, _opens(mapping))) as empty, empty.started() as started:
        await empty.register(started, TELLER, facts=FACTS, files=files)
        yield started


def _candidate(at: Place, files: Mapping[str, str]) -> Release:
    agents = {one.name: one.id for one in at.running.plane.registry.catalogue.agents()}
    return read_release(files, CedarEngine(), agents=agents)


@pytest.mark.requirement("gateway:mappings:asked")
def test_a_call_goes_through_only_if_what_its_mapping_asks_is_allowed(tmp_path: Path) -> None:
    async def live() -> None:
        async with _bank(tmp_path / "data") as at:
            alone = await at.token("teller")
            assert (await at.call(alone, "open", {"account": "1"})).allowed
            assert (await at.call(alone, "read", {"customer_id": "c-1"})).allowed  # declares nothing
            refused = (await at.call(alone, "open", {"account": "7"})).refused("mapping_denied")
            assert refused["detail"] == "forbidden_by_policy"
            assert refused["policy"][0].startswith("ext/accounts.cedar@")
            told = await at.call(alone, "open", {"account": "1234"})
            assert told.json["result"]["isError"]
            assert told.refused("mapping_denied")["detail"] == "not_permitted"
            # for a user it is the user who is asked about
            kim = await at.token("teller", user=KIM, ticket=TICKET, roles=["support"])
            assert (await at.call(kim, "open", {"account": "1234"})).allowed
            guest = await at.token("teller", user=KIM, ticket=TICKET, roles=["guest"])
            (await at.call(guest, "open", {"account": "1234"})).refused("mapping_denied")
            await at.settled()
            assert [one["params"]["arguments"] for one in map(_sent, at.site.box.calls) if "account" in str(one)] == [
                {"account": "1"},
                {"account": "1234"},
            ]
            # who decided it is on record, also where it was allowed
            allowed = [body for header, body in at.records("decision") if header["decision"] == "allow"]
            assert [any(one.startswith("ext/") for one in body["policies"]) for body in allowed] == [True, False, True]

    asyncio.run(live())


def _sent(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"params": dict(params)}


@pytest.mark.requirement("gateway:mappings:asked")
def test_what_it_came_to_is_reproduced_tried_and_explained(tmp_path: Path) -> None:
    async def live() -> None:
        async with _bank(tmp_path / "data") as at:
            alone = await at.token("teller")
            for account in ("1", "1", "7", "1234"):
                await at.call(alone, "open", {"account": account})
            await at.call(alone, "read", {"customer_id": "c-1"})
            await at.settled()
            calls = at.running.plane.history.calls
            found = reproduce(calls())
            assert (found.differences, found.same) == ([], 5)
            same = replay(calls(), _candidate(at, POLICIES))
            assert (same.untouched, dict(same.changes)) == (5, {})
            stricter = {
                **POLICIES,
                "ext/none.cedar": "forbid (principal is Ext::identity, action, resource is Ext::account);",
            }
            tried = replay(calls(), _candidate(at, stricter))
            assert tried.untouched == 1  # of the tool without a mapping
            ((change, count),) = tried.changes.items()
            assert (change.tool, change.before, change.after, change.code) == (
                "crm/open",
                "allow",
                "deny",
                "mapping_denied",
            )
            assert count == 2
            decision = at.records("decision")[2][1]["decision_id"]
            why = await at.operator.get(f"decisions/{decision}/explanation")
            assert (why["code"], why["detail"]) == ("mapping_denied", "forbidden_by_policy")
            assert [one["effect"] for one in why["policies"]] == ["forbid"]
            assert ("account", "acc-7") in {(one["type"], one["id"]) for one in why["entities"]}
            assert f"without policy {why['policies'][0]['id']}" in {one["change"] for one in why["alternatives"]}

    asyncio.run(live())


@pytest.mark.requirement("gateway:mappings:failed")
def test_what_cannot_be_evaluated_refuses_as_the_binding_says(tmp_path: Path) -> None:
    body = MAPPING["evaluation"]
    asks = {**body, "resource": {"type": "account", "id": "$params.arguments['other']"}}

    async def live() -> None:
        async with _bank(tmp_path / "data", {"evaluation": asks}) as at:
            told = await at.call(await at.token("teller"), "open", {"account": "1"})
            assert told.json["error"]["code"] == -32602
            assert told.json["error"]["message"].startswith("COAZ mapping error: `$params.arguments['other']`: ")
            assert told.refused("mapping_failed")
            assert at.site.box.calls == []
            await at.settled()
            assert at.decisions() == ["mapping_failed"]
            assert reproduce(at.running.plane.history.calls()).same == 1

    asyncio.run(live())


@pytest.mark.requirement("gateway:mappings:failed")
@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ({"id": "$token.sub", "type": "$'identity'"}, None),
        ({}, None),
        ({"id": "$token.client_id"}, None),  # it acts for nobody, so they are one
        ({"id": "$params.arguments.account"}, "mapping_failed"),
        ({"id": "root"}, "mapping_failed"),
        ({"type": "admin"}, "mapping_denied"),
    ],
)
def test_no_mapping_says_who_it_is_that_asks(tmp_path: Path, subject: dict[str, Any], code: str | None) -> None:
    asks = {"evaluation": {**MAPPING["evaluation"], "subject": subject}}

    async def live() -> None:
        async with _bank(tmp_path / "data", asks) as at:
            told = await at.call(await at.token("teller"), "open", {"account": "1"})
            assert told.allowed if code is None else told.refused(code)

    asyncio.run(live())


@pytest.mark.requirement("gateway:mappings:failed")
def test_the_agent_in_the_context_is_ours_to_say(tmp_path: Path) -> None:
    text = 'permit (principal is Ext::identity, action == Action::"ext/open", resource is Ext::account)'
    named = f'{text} when {{ context.request.agent == "somebody else" }};'

    async def live() -> None:
        async with _bank(tmp_path / "data", files={"ext/a.cedar": named}) as at:
            (await at.call(await at.token("teller"), "open", {"account": "1"})).refused("mapping_denied")
            own = (await at.operator.get("agents/teller"))["id"]
            files = {"ext/a.cedar": f'{text} when {{ context.request.agent == "{own}" }};'}
            await at.operator.post("policy/publish", {"files": with_cases(files)})
            assert (await at.call(await at.token("teller"), "open", {"account": "1"})).allowed

    asyncio.run(live())


@pytest.mark.requirement("gateway:mappings:pinned")
def test_a_malformed_mapping_is_never_pinned_and_one_nobody_answers_is_said(tmp_path: Path) -> None:
    async def live() -> None:
        box = ToolBox(*CRM_TOOLS, _opens({"evaluation": {"action": 1}}))
        async with site(tmp_path / "data", box=box) as empty, empty.started() as at:
            await at.sign_in()
            await at.apply(*empty.people())
            origin = empty.raw.url.removesuffix("/mcp")
            credential = {"origin": origin, "header": "Authorization", "value": SECRET}
            await at.operator.put("upstream-credentials/crm-key", credential)
            refused = await at.refused_apply(empty.crm(FACTS))
            assert "x-authzen-mapping" in str(refused)
            box.tools[-1] = _opens(MAPPING)
            await at.apply(empty.crm(FACTS))
            findings = (await at.operator.post("policy/lint", {"files": with_cases({})}))["items"]
            (said,) = [one for one in findings if one["rule"] == "mapping-unanswered"]
            assert (said["severity"], "`identity`, `account`, `open`" in said["message"]) == ("warning", True)

    asyncio.run(live())
