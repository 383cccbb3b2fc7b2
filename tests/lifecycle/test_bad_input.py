"""Owners who are not there, requests that run out, votes at once, clocks that step, text that deceives: issue 3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import ApprovalRequest, ApprovalState, VoteVerdict
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError
from accredit.policy.model import Outcome
from accredit.registry import rows
from accredit.registry.errors import ManifestError
from accredit.registry.model import AgentState, Role
from tests.lifecycle.house import House, agent, file, house, operator, server
from tests.policies import with_cases

DANA, LEE, LENA, MIRA, OLIVE, SAM, UNA = (
    operator(name) for name in ("dana", "lee", "lena", "mira", "olive", "sam", "una")
)
WRITE: dict[str, Any] = {"write": {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"}}
MEDIUM: dict[str, Any] = {"tools": [{"server": "crm", "allow": ["read", "write"]}]}
DAY_S = 86_400
UNSEEN = "\u202e\u200b\u2066\u2069\U000e0041\x1b\ufe0f"
HOSTILE = f"approved{UNSEEN} by security\n}}\n  <script>"


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


async def code_of(act: Coroutine[Any, Any, Any]) -> Code:
    with pytest.raises(AccreditError) as refused:
        await act
    assert refused.value.message
    return refused.value.code


async def vote(place: House, request: ApprovalRequest, name: str, role: Role) -> ApprovalRequest:
    shown = place.approvals.view(request.id)[1]
    return await place.operations.vote(operator(name), request.id, role, VoteVerdict.APPROVE, shown, "looked at it")


def present(place: House, request: ApprovalRequest) -> ApprovalRequest:
    found = place.approvals.get(request.id)
    assert found is not None
    return found


# -- owners


@pytest.mark.requirement("lifecycle:bad-input:owner")
@pytest.mark.parametrize("owner", ["nobody@example.com", "gone@example.com", "robot@example.com"])
def test_an_agent_of_nobody_is_not_registered(tmp_path: Path, owner: str) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            for email, more in (
                ("gone@example.com", {}),
                ("robot@example.com", {"controlledBy": ["dana@example.com"]}),
            ):
                document = {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": email, **more}}
                await place.operations.apply(MIRA, file(document))
            gone = place.registry.catalogue.person("gone@example.com")
            assert gone is not None
            await place.operations.person_left(MIRA, gone.id, "moved on")
            for spec in ({"owner": owner}, {"backupOwner": owner}):
                with pytest.raises(ManifestError) as refused:
                    await place.operations.apply(OLIVE, file(agent(**spec)))
                assert {fault.code for fault in refused.value.faults} == {Code.OWNER_UNKNOWN}
            assert place.registry.catalogue.agent_named("production", "digest") is None

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:owner")
@pytest.mark.parametrize("when", ["draft", "submitted", "approved"])
def test_an_agent_whose_owner_leaves_before_it_runs_is_not_submitted_approved_or_activated(
    tmp_path: Path, when: str
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            await place.operations.apply(DANA, file(agent()))
            found = place.agent().id
            request = None if when == "draft" else await place.operations.submit(DANA, found)
            if when == "approved":
                assert request is not None
                await place.approve(request.id)
            await place.operations.person_left(MIRA, DANA.person, "moved on")
            assert await code_of(place.operations.submit(LEE, found)) in {Code.NO_TIER, Code.TRANSITION_REFUSED}
            if request is not None:
                refused = await code_of(vote(place, request, "lena", Role.TEAM_LEAD))
                assert refused in {Code.APPROVAL_BLOCKED, Code.CONFLICT, Code.SEPARATION_OF_DUTIES}
            assert await code_of(place.operations.activate(LEE, found)) is Code.CLEARANCE_REQUIRED
            await place.operations.tidy()
            assert place.agent().state is not AgentState.ACTIVE
            # somebody else takes it on, and it goes on from there
            await place.operations.apply(LEE, file(agent(owner="lee@example.com", backupOwner="una@example.com")))
            again = await place.operations.submit(LEE, found)
            assert again is not None
            await place.approve(again.id)
            await place.operations.activate(LEE, found)
            assert place.agent().state is AgentState.ACTIVE

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:owner")
def test_an_agent_in_service_whose_owner_left_can_be_stopped_by_its_backup_and_not_changed_in_the_old_name(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = (await place.active()).id
            await place.operations.person_left(MIRA, DANA.person, "moved on")
            assert await code_of(place.operations.join_token(DANA, found)) is Code.NOT_AUTHORISED
            assert place.room.judging.tier_of(place.agent()) is None, "lists show that it has no owner"
            with pytest.raises(ManifestError):
                await place.operations.apply(LEE, file(agent(purpose="other")))
            await place.operations.suspend(LEE, found, "nobody owns it")
            assert place.decision().outcome is Outcome.DENY
            receipt = await place.operations.retire(LEE, found, "nobody owns it")
            assert receipt.agent == found

    run(story())


# -- time


@pytest.mark.requirement("lifecycle:bad-input:expiry")
@pytest.mark.parametrize("votes", [0, 1])
def test_a_request_that_runs_out_while_it_is_open_leaves_a_draft_that_can_be_submitted_again(
    tmp_path: Path, votes: int
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            request = await place.submitted(**MEDIUM)
            for need in request.missing[:votes]:
                await place.vote(request.id, need.role)
            shown = place.approvals.view(request.id)[1]
            place.clock.advance(15 * DAY_S)
            for name, role in (("lena", Role.TEAM_LEAD), ("sam", Role.SECURITY)):
                late = place.operations.vote(operator(name), request.id, role, VoteVerdict.APPROVE, shown, "late")
                assert await code_of(late) is Code.CONFLICT
            assert await code_of(place.operations.activate(DANA, place.agent().id)) is Code.CLEARANCE_REQUIRED
            await place.operations.tidy()
            assert (present(place, request).state, place.agent().state) == (ApprovalState.EXPIRED, AgentState.DRAFT)
            again = await place.operations.submit(DANA, place.agent().id)
            assert again is not None
            assert again.id != request.id
            assert again.votes == ()
        async with house(tmp_path) as place:
            assert place.agent().state is AgentState.SUBMITTED

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:clock")
@pytest.mark.parametrize("seconds", [-40 * DAY_S, -3_600, 3_600, 40 * DAY_S])
def test_while_the_clock_is_in_doubt_nothing_is_approved_enacted_or_activated(tmp_path: Path, seconds: int) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            request = await place.submitted(**MEDIUM)
            role = await place.operations.propose_role(MIRA, Role.COMPLIANCE, person=UNA.person)
            await place.vote(request.id, Role.TEAM_LEAD)
            shown = {one.id: place.approvals.view(one.id)[1] for one in (request, role)}
            place.clock.step_wall(seconds)
            place.steadiness.steady = False
            for one, name, needed in ((request, "sam", Role.SECURITY), (role, "ada", Role.ADMIN)):
                cast = place.operations.vote(
                    operator(name), one.id, needed, VoteVerdict.APPROVE, shown[one.id], "looked at it"
                )
                assert await code_of(cast) in {Code.CLOCK_UNCONFIRMED, Code.CONFLICT}
            refused = await code_of(place.operations.activate(DANA, place.agent().id))
            assert refused in {Code.CLOCK_UNCONFIRMED, Code.CLEARANCE_REQUIRED}
            await place.operations.tidy()
            assert place.agent().state is not AgentState.ACTIVE
            assert not place.registry.organisation.held(UNA.person, Role.COMPLIANCE, None)

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:clock", "signoff:clock")
def test_a_role_asked_for_in_a_process_with_the_clock_set_back_never_judges_what_was_asked_before(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            until_us = request.opened_us
        async with house(tmp_path) as place:  # its clock stands where the first one began
            place.clock.step_wall(-3_600)
            asked = await place.operations.propose_role(MIRA, Role.TEAM_LEAD, person=UNA.person)
            voted = await place.approve(asked.id)
            assert voted.state is ApprovalState.APPROVED
            assert not place.registry.organisation.held(UNA.person, Role.TEAM_LEAD, None), "it would pass for older"
            await place.operations.tidy()
            assert not place.registry.organisation.held(UNA.person, Role.TEAM_LEAD, None)
            place.clock.advance(3_601 + (until_us - place.clock.now().wall_us) // 1_000_000)
            await place.operations.tidy()
            (held,) = place.registry.organisation.held(UNA.person, Role.TEAM_LEAD, None)
            assert held.since_us > until_us
            assert await code_of(vote(place, request, "una", Role.TEAM_LEAD)) is Code.SEPARATION_OF_DUTIES

    run(story())


# -- at once


@pytest.mark.requirement("lifecycle:bad-input:at-once")
def test_the_two_last_votes_at_once_both_count_and_decide_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            request = await place.submitted(**MEDIUM)
            await asyncio.gather(
                vote(place, request, "lena", Role.TEAM_LEAD), vote(place, request, "sam", Role.SECURITY)
            )
            assert present(place, request).state is ApprovalState.APPROVED
            answers = await asyncio.gather(
                *(place.operations.activate(DANA, place.agent().id) for _ in range(3)), return_exceptions=True
            )
            assert not [one for one in answers if isinstance(one, BaseException)]
            kinds = [one.kind for one in place.room.timeline.of(place.agent().id)]
            assert kinds.count("agent.activated") == 1
            assert kinds.count("agent.approved") == 1

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:at-once")
def test_of_an_approval_and_a_rejection_at_once_the_second_meets_what_the_first_left(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            request = await place.submitted(**MEDIUM)
            await asyncio.gather(
                place.vote(request.id, Role.TEAM_LEAD, VoteVerdict.REJECT),
                place.vote(request.id, Role.SECURITY),
                return_exceptions=True,
            )
            assert present(place, request).state is ApprovalState.REJECTED
            await place.operations.tidy()
            assert place.agent().state is AgentState.REJECTED
            assert await code_of(place.operations.activate(DANA, place.agent().id)) in {
                Code.CLEARANCE_REQUIRED,
                Code.TRANSITION_REFUSED,
            }

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:at-once")
def test_a_vote_that_counts_an_activation_and_a_retirement_at_once_leave_nothing_alive(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            await place.approve(request.id)
            found = place.agent().id
            await asyncio.gather(
                place.operations.activate(DANA, found),
                place.operations.retire(DANA, found, "over"),
                place.operations.suspend(DANA, found, "a look"),
                return_exceptions=True,
            )
            await place.operations.tidy()
            last = place.registry.get(found)
            assert last is not None
            assert last.state is AgentState.RETIRED
            assert place.control.view.get("enrolment", found) is None
            assert place.room.lifecycle.receipt(found) is not None

    run(story())


# -- who may


@pytest.mark.requirement("lifecycle:bad-input:without-role")
def test_nobody_without_the_role_approves_whatever_else_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            request = await place.submitted(**MEDIUM)
            for name in ("ada", "mira", "una", "olive", "bo", "cora", "lena", "dana", "lee"):
                refused = await code_of(vote(place, request, name, Role.SECURITY))
                assert refused is Code.SEPARATION_OF_DUTIES
            assert await code_of(vote(place, request, "nobody", Role.SECURITY)) is Code.SEPARATION_OF_DUTIES
            for role in (Role.ADMIN, Role.COMPLIANCE, Role.AUDITOR, Role.OPERATOR, Role.BUSINESS_OWNER):
                assert await code_of(vote(place, request, "sam", role)) is Code.CONFLICT, "the gate does not ask for it"
            assert present(place, request).votes == ()

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:cyclic-groups")
def test_groups_that_contain_each_other_give_their_role_to_their_members_and_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            for name, members, groups in (
                ("one", ["una@example.com"], []),
                ("two", [], ["one"]),
                ("one", ["una@example.com"], ["two"]),
            ):
                document = {
                    "apiVersion": "accredit/v1",
                    "kind": "Group",
                    "metadata": {"name": name},
                    "spec": {"members": members, "groups": groups},
                }
                (applied,) = await place.operations.apply(MIRA, file(document))
                if applied.request is not None:
                    await place.approve(applied.request.id)
            asked = await place.operations.propose_role(MIRA, Role.TEAM_LEAD, group="two")
            await place.approve(asked.id)
            place.clock.advance(1)
            await place.tools()
            request = await place.submitted()
            assert await code_of(vote(place, request, "olive", Role.TEAM_LEAD)) is Code.SEPARATION_OF_DUTIES
            assert (await vote(place, request, "una", Role.TEAM_LEAD)).state is ApprovalState.APPROVED

    run(story())


# -- text


def _seen(place: House, request: ApprovalRequest) -> str:
    text, digest = place.approvals.view(request.id)
    assert text
    assert digest
    assert not set(text) & set(UNSEEN), "something in it is not seen"
    assert all(character == "\n" or character.isprintable() for character in text)
    json.loads(text)  # whatever was written, it stays inside of its own value
    return text


@pytest.mark.requirement("lifecycle:bad-input:hostile-text")
def test_hostile_text_of_a_tool_a_manifest_or_a_policy_is_shown_as_what_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            place.offers.tools["read"] = {
                **place.offers.tools["read"],
                "description": HOSTILE,
                "title": HOSTILE,
                "annotations": {"title": HOSTILE},
            }
            (applied,) = await place.operations.apply(OLIVE, file(server()))
            assert applied.request is not None
            assert "\\u202e" in _seen(place, applied.request)
            await place.approve(applied.request.id)
            shown = 0
            hostile: tuple[tuple[str, Any], ...] = (
                ("purpose", HOSTILE),
                ("businessService", HOSTILE),
                ("models", [{"provider": HOSTILE, "model": HOSTILE}]),
                ("stores", [{"kind": "memory", "adapter": HOSTILE, "namespace": HOSTILE}]),
                ("purpose", "approved by security \u202eecivres"),
                ("purpose", '"}, "tier": "low", "x": {"'),
                ("purpose", "fine\n\n  tier: low\n  excess: none"),
            )
            for field, value in hostile:
                try:
                    await place.operations.apply(DANA, file(agent(**{field: value})))
                except (ManifestError, InvalidInputError):
                    continue  # what cannot be seen is refused in most fields
                request = await place.operations.submit(DANA, place.agent().id)
                assert request is not None
                text = json.loads(_seen(place, request))
                assert text["grounds"]["manifest"]["spec"][field] == value
                assert text["tier"] == "low"
                shown += 1
            assert shown
            asked = await place.operations.publish(
                OLIVE,
                with_cases(
                    {"org/no.cedar": f'// {UNSEEN}\nforbid (principal, action in Action::"@irreversible", resource);'}
                ),
            )
            assert not isinstance(asked, str)
            assert "\\u202e" in _seen(place, asked)

    run(story())


@pytest.mark.requirement("lifecycle:bad-input:hostile-text")
def test_what_people_write_beside_an_act_changes_nothing_but_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            request = await place.submitted(**MEDIUM)
            shown = place.approvals.view(request.id)[1]
            await place.operations.vote(LENA, request.id, Role.TEAM_LEAD, VoteVerdict.APPROVE, shown, HOSTILE)
            _seen(place, request)
            assert place.approvals.view(request.id)[1] == shown, "a comment changes what the next one looks at"
            await place.vote(request.id, Role.SECURITY)
            found = place.agent().id
            await place.operations.activate(DANA, found)
            await place.operations.suspend(DANA, found, HOSTILE)
            await place.operations.resume(OLIVE, found, HOSTILE)
            await place.room.incidents.open(SAM, [found], 3, HOSTILE)
            place.room.dossiers.of(found)
            await place.operations.retire(DANA, found, HOSTILE)
            assert place.control.view.get(rows.AGENT, found) is not None

    run(story())
