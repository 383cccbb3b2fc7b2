"""What was approved before it existed: one team lead's word within it, the whole gate outside of it, never nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import ApprovalState, VoteVerdict
from accredit.audit.ports import Write
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.registry import rows
from accredit.registry.errors import ManifestError
from accredit.registry.model import AgentState, Role, Tier
from accredit.registry.organisation import RoleGrant
from tests.lifecycle.house import House, file, house, operator, person_id, server

DANA, LENA, OLIVE, SAM = (operator(name) for name in ("dana", "lena", "olive", "sam"))
TOOLS = server(
    write={"effect": "write", "scope": "own", "data": ["internal"], "price": "0 USD"},
    end={"effect": "irreversible", "data": ["internal"], "price": "0 USD"},
)
WITHIN: dict[str, Any] = {"tools": [{"server": "crm", "allow": ["read", "write"]}], "stores": []}


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def template(name: str = "writer", **spec: Any) -> dict[str, Any]:
    told = {
        "tools": [{"server": "crm", "allow": ["read", "write"]}],
        "data": ["internal"],
        "autonomy": ["suggests"],
        "audience": ["employees"],
        "inputs": ["employees"],
        "reach": ["team"],
        "limits": {"calls": {"perMinute": 60}, "concurrency": 2},
        "expires": "2027-06-30",
    }
    return {
        "apiVersion": "accredit/v1",
        "kind": "Template",
        "metadata": {"name": name, "team": "support"},
        "spec": told | spec,
    }


async def furnished(place: House, **spec: Any) -> None:
    place.offers.tools = {name: {**one} for name, one in place.offers.tools.items()}
    place.offers.tools["end"] = {**place.offers.tools["read"], "name": "end"}
    await place.tools(TOOLS)
    (applied,) = await place.operations.apply(OLIVE, file(template(**spec)))
    assert applied.request is not None
    assert [need.role for need in applied.request.missing] == [Role.TEAM_LEAD, Role.SECURITY]
    assert place.registry.templates_of(place.registry.catalogue.teams()[0].id) == ()
    await place.approve(applied.request.id)
    (made,) = place.registry.templates_of(place.registry.catalogue.teams()[0].id)
    assert made.by == {LENA.person, SAM.person}


@pytest.mark.requirement("templates:lead-alone")
def test_within_a_template_a_team_lead_is_enough_and_the_view_names_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place)
            request = await place.submitted(**WITHIN)
            assert request.tier is Tier.MEDIUM
            (need,) = request.missing
            (made,) = place.registry.templates_of(place.agent().team.id)
            assert (need.role, need.template, need.validation) == (Role.TEAM_LEAD, made.digest, True)
            assert made.digest in place.approvals.view(request.id)[0]
            await place.vote(request.id, Role.TEAM_LEAD)
            await place.operations.activate(DANA, place.agent().id)
            assert place.agent().state is AgentState.ACTIVE

    run(story())


@pytest.mark.requirement("templates:lead-alone")
def test_a_model_that_a_template_names_is_within_it_and_no_other_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place, models=[{"provider": "anthropic", "model": "claude-sonnet-5"}])
            named = {"models": [{"provider": "anthropic", "model": "claude-sonnet-5"}]}
            request = await place.submitted(**WITHIN, **named)
            assert [need.role for need in request.missing] == [Role.TEAM_LEAD]
            other = {"models": [{"provider": "anthropic", "model": "claude-opus-5"}]}
            request = await place.submitted(**WITHIN, **other)
            assert {need.role for need in request.missing} == {Role.TEAM_LEAD, Role.SECURITY}

    run(story())


@pytest.mark.requirement("templates:bounds")
@pytest.mark.parametrize(
    "beyond",
    [
        {"tools": [{"server": "crm", "allow": ["read", "write", "end"]}]},
        {"autonomy": "each-act-approved"},
        {"audience": "partners"},
        {"inputs": ["employees", "web"]},
        {"reach": "department"},
        {"limits": {"calls": {"perMinute": 61}, "concurrency": 2}},
        {"limits": {"calls": {"perMinute": 60}, "concurrency": 3}},
        {"limits": {"calls": {"perMinute": 60}, "concurrency": 2, "timeout": {"run": "21m"}}},
        {"stores": [{"kind": "memory", "adapter": "qdrant", "namespace": "digest"}]},
        {"data": ["internal", "public", "confidential"]},
        {"use": {"annex3": True, "decidesOnPeople": False}},
        {"envelope": {"prompts": ["sha256:" + "1" * 64]}},
    ],
)
def test_whatever_is_beyond_a_template_takes_the_whole_gate(tmp_path: Path, beyond: dict[str, Any]) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place)
            request = await place.submitted(**(WITHIN | beyond))
            assert Role.SECURITY in {need.role for need in request.missing}
            assert all(need.template is None for need in request.needs)

    run(story())


@pytest.mark.requirement("templates:again")
def test_a_template_that_runs_out_before_the_activation_clears_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place, expires="2026-12-10")
            request = await place.submitted(**WITHIN)
            await place.vote(request.id, Role.TEAM_LEAD)
            assert place.agent().state is AgentState.APPROVED
            assert isinstance(place.clock, ScriptedClock)
            place.clock.advance(20 * 86_400)
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, place.agent().id)
            assert refused.value.code is Code.CLEARANCE_REQUIRED
            found = place.approvals.get(request.id)
            assert found is not None
            assert found.state is not ApprovalState.APPROVED

    run(story())


@pytest.mark.requirement("templates:duties")
def test_a_template_approved_by_somebody_on_the_asking_side_spares_nobodys_word(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place)
            await place.put(
                Write(
                    rows.ROLE_GRANT, "rgr_una2",
                    rows.role_grant_doc(RoleGrant("rgr_una2", Role.SECURITY, person_id("una"), None, frozenset(), 1)),
                )
            )  # fmt: skip
            request = await place.submitted(**(WITHIN | {"backupOwner": "sam@example.com"}))
            assert {need.role for need in request.missing} == {Role.TEAM_LEAD, Role.SECURITY}
            with pytest.raises(ForbiddenError):
                await place.vote(request.id, Role.SECURITY)

    run(story())


@pytest.mark.requirement("templates:bounds")
def test_a_template_names_production_tools_and_ends_within_a_year(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            wrong = template(tools=[{"server": "crm", "allow": ["none"]}], expires="2029-01-01")
            with pytest.raises(ManifestError) as refused:
                await place.operations.apply(OLIVE, file(wrong))
            assert [fault.path for fault in refused.value.faults] == ["spec.tools[0].allow[0]", "spec.expires"]
            with pytest.raises(ForbiddenError):
                await place.operations.apply(SAM, file(template()))

    run(story())


@pytest.mark.requirement("templates:again")
def test_a_tool_whose_facts_changed_since_is_not_the_one_that_was_approved(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place)
            changed = server(
                write={"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"},
                end={"effect": "irreversible", "data": ["internal"], "price": "0 USD"},
            )
            await place.tools(changed)
            request = await place.submitted(**WITHIN)
            assert {need.role for need in request.missing} >= {Role.SECURITY}
            digest = place.approvals.view(request.id)[1]
            await place.operations.vote(LENA, request.id, Role.TEAM_LEAD, VoteVerdict.APPROVE, digest, "fine")
            assert place.agent().state is AgentState.SUBMITTED

    run(story())


@pytest.mark.requirement("templates:stated")
def test_a_template_is_written_out_compared_and_told_apart_by_its_team(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await furnished(place)
            exported = place.room.gitops.export()
            text = exported.files["templates/support/writer.yaml"]
            (applied,) = await place.operations.apply(OLIVE, [("t.yaml", text)])
            assert (applied.result.outcome, applied.request) == ("unchanged", None)
            found = await place.room.gitops.difference(OLIVE, file(template(autonomy=["suggests", "acts-unattended"])))
            (one,) = found.objects
            assert [change.field for change in one.changes] == ["autonomy"]
            assert one.roles == ("team-lead", "security")
            assert found.live_only == ()
            other = await place.room.gitops.difference(OLIVE, file(template("reader")))
            assert [(live.kind, live.name) for live in other.live_only] == [("Template", "support/writer")]

    run(story())
