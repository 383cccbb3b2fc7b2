"""Gates an organisation made stricter, and versions approved under obligations, from manifest to enforced call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import ApprovalRequest, ApprovalState, Obligation, VoteVerdict
from accredit.audit.ports import Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError
from accredit.registry import rows
from accredit.registry.errors import ManifestError
from accredit.registry.model import AgentState, RestrictionKind, Role
from accredit.registry.organisation import RoleGrant
from accredit.registry.rows import role_grant_doc
from tests.lifecycle.house import House, agent, file, house, operator, person_id, server

DANA, MIRA, OLIVE, SAM, UNA = (operator(name) for name in ("dana", "mira", "olive", "sam", "una"))
TOOLS = server(write={"effect": "write", "scope": "own", "data": ["internal"], "price": "0 USD"})
WRITER: dict[str, Any] = {"tools": [{"server": "crm", "allow": ["read", "write"]}]}


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def gate(name: str = "medium", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "accredit/v1", "kind": "Gate", "metadata": {"name": name}, "spec": spec}


async def enacted(place: House, document: dict[str, Any]) -> None:
    (applied,) = await place.operations.apply(MIRA, file(document))
    assert applied.request is not None
    await place.approve(applied.request.id)


async def voted(place: House, request: str, role: Role, who: Any, *under: Obligation) -> None:
    _, digest = place.approvals.view(request)
    await place.operations.vote(who, request, role, VoteVerdict.APPROVE, digest, "looked at it", under)


@pytest.mark.requirement("gates:rule:two-persons", "gates:quorum")
def test_a_gate_is_made_stricter_by_an_administrator_and_security_and_then_counts(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(TOOLS)
            with pytest.raises(ForbiddenError):
                await place.operations.apply(OLIVE, file(gate(roles={"security": 2})))
            (applied,) = await place.operations.apply(MIRA, file(gate(roles={"security": 2})))
            assert applied.request is not None
            assert [need.role for need in applied.request.missing] == [Role.SECURITY]
            assert place.registry.gate("medium") is None
            await place.approve(applied.request.id)
            rule = place.registry.gate("medium")
            assert rule is not None
            assert rule.roles == {Role.SECURITY: 2}
            (again,) = await place.operations.apply(MIRA, file(gate(roles={"security": 2})))
            assert (again.request, again.result.outcome.value) == (None, "unchanged")
            await place.put(
                Write(
                    rows.ROLE_GRANT, "rgr_una2",
                    role_grant_doc(RoleGrant("rgr_una2", Role.SECURITY, person_id("una"), None, frozenset(), 1)),
                )
            )  # fmt: skip
            request = await place.submitted(**WRITER)
            assert request.tier == "medium"
            assert [(need.role, need.count) for need in request.missing] == [(Role.TEAM_LEAD, 1), (Role.SECURITY, 2)]
            for role in (Role.TEAM_LEAD, Role.SECURITY):
                await place.vote(request.id, role)
            assert place.agent().state is AgentState.SUBMITTED
            await voted(place, request.id, Role.SECURITY, UNA)
            assert place.agent().state is AgentState.APPROVED
            await place.operations.activate(DANA, place.agent().id)
            assert place.agent().state is AgentState.ACTIVE

    run(story())


@pytest.mark.requirement("gates:quorum")
def test_a_folder_that_is_compared_tells_of_the_roles_that_the_organisation_added(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(TOOLS)
            await enacted(place, gate("tool-fact", roles={"compliance": 1}))
            await enacted(place, gate(roles={"compliance": 1}))
            changed = server(write={"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"})
            (told,) = (await place.room.gitops.difference(OLIVE, file(changed))).objects
            assert set(told.roles) == {"security", "compliance"}
            await place.submitted(**WRITER)
            (told,) = (await place.room.gitops.difference(OLIVE, file(agent(**{**WRITER, "purpose": "other"})))).objects
            assert set(told.roles) == {"team-lead", "security", "compliance"}

    run(story())


@pytest.mark.requirement("gates:quorum")
def test_an_organisation_asks_more_for_the_end_of_an_agent_as_well(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(TOOLS)
            await enacted(place, gate("retirement", roles={"compliance": 1}))
            active = await place.active(**WRITER, stores=[])
            asked = await place.operations.retire(DANA, active.id, "over")
            assert isinstance(asked, ApprovalRequest)
            assert {need.role for need in asked.missing} == {Role.SECURITY, Role.COMPLIANCE}
            await voted(place, asked.id, Role.SECURITY, SAM)
            assert place.agent().state is AgentState.ACTIVE
            await voted(place, asked.id, Role.COMPLIANCE, operator("cora"))
            ended = place.registry.get(active.id)
            assert ended is not None
            assert ended.state is AgentState.RETIRED

    run(story())


@pytest.mark.requirement("gates:rule:two-persons")
def test_a_gate_that_changed_meanwhile_is_not_set_by_what_was_judged_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.people()
            (first,) = await place.operations.apply(MIRA, file(gate(roles={"security": 2})))
            (second,) = await place.operations.apply(MIRA, file(gate(comment=True)))
            assert first.request is not None
            assert second.request is not None
            await place.approve(first.request.id)
            await place.approve(second.request.id)
            found = place.approvals.get(second.request.id)
            assert found is not None
            assert found.state is ApprovalState.EXPIRED
            rule = place.registry.gate("medium")
            assert rule is not None
            assert not rule.comment

    run(story())


@pytest.mark.requirement("gates:rule:two-persons")
def test_a_gate_tells_nobody_who_is_not_there(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.people()
            with pytest.raises(ManifestError) as refused:
                await place.operations.apply(
                    MIRA, file(gate(backups={"security": ["nobody@example.com", "group:none"]}))
                )
            assert [fault.path for fault in refused.value.faults] == [
                "spec.backups.security[0]",
                "spec.backups.security[1]",
            ]

    run(story())


@pytest.mark.requirement("obligations:in-force", "obligations:kept")
def test_what_a_version_was_approved_under_is_enforced_until_one_is_approved_without_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(TOOLS)
            request = await place.submitted(**WRITER)
            await voted(
                place, request.id, Role.SECURITY, SAM,
                Obligation(RestrictionKind.READ_ONLY, SAM.person, Role.SECURITY),
                Obligation(RestrictionKind.THROTTLE, SAM.person, Role.SECURITY, calls_per_minute=3),
            )  # fmt: skip
            await place.vote(request.id, Role.TEAM_LEAD)
            assert place.registry.restrictions_of(place.agent().id) == ()
            await place.operations.activate(DANA, place.agent().id)
            on = place.registry.restrictions_of(place.agent().id)
            assert {one.kind for one in on} == {RestrictionKind.READ_ONLY, RestrictionKind.THROTTLE}
            assert place.decision(tool="write").code is Code.RESTRICTED
            for one in on:
                with pytest.raises(ConflictError, match="approved under it"):
                    await place.operations.lift_restriction(SAM, one.id, "no more")
            assert len(place.registry.restrictions_of(place.agent().id)) == 2
            await place.operations.apply(DANA, file(agent(**WRITER, autonomy="each-act-approved", purpose="as before")))
            newer = await place.operations.submit(DANA, place.agent().id)
            assert newer is not None
            assert newer.obligations == ()
            await place.approve(newer.id)
            assert place.decision(tool="write").code is Code.RESTRICTED
            await place.operations.activate(DANA, place.agent().id)
            assert place.registry.restrictions_of(place.agent().id) == ()
            assert place.decision(tool="write").code is not Code.RESTRICTED

    run(story())


@pytest.mark.requirement("obligations:kept")
def test_nobody_places_what_comes_with_an_approval_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(TOOLS)
            active = await place.active()
            for kind in (RestrictionKind.CANARY, RestrictionKind.DAILY_COST):
                with pytest.raises(Exception, match="comes with an approval alone"):
                    await place.operations.restrict(
                        SAM, active.id, kind, cause="try", until_us=place.clock.now().wall_us + 1_000_000
                    )

    run(story())
