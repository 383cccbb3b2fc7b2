"""What people may do to agents, and what becomes of what two persons decided."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import ApprovalState, VoteVerdict
from accredit.audit.archive import verify_archive
from accredit.audit.ports import Write
from accredit.audit.records import header_of
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, UnavailableError
from accredit.kernel.ids import CredentialId, PersonId, ServerName
from accredit.lifecycle.model import ProcedureEnd, Step
from accredit.monitoring.model import AlertState, RemediationKind
from accredit.registry import rows
from accredit.registry.model import AgentState, Person, RestrictionKind, Role
from accredit.registry.organisation import Group, Membership, RoleGrant
from tests.audit.building import signer
from tests.lifecycle.house import agent, file, house, operator, server
from tests.policies import with_cases

NOTHING = Digest("sha256:" + "0" * 64)
DANA, OLIVE, SAM, UNA, MIRA = (operator(name) for name in ("dana", "olive", "sam", "una", "mira"))


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


@pytest.mark.requirement("lifecycle:operations:life")
def test_an_agents_whole_life_from_manifest_to_receipt(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            assert place.agent().state is AgentState.SUBMITTED
            with pytest.raises(ForbiddenError) as early:
                await place.operations.activate(DANA, place.agent().id)
            assert early.value.code is Code.CLEARANCE_REQUIRED
            await place.approve(request.id)
            assert place.agent().state is AgentState.APPROVED
            await place.operations.activate(DANA, place.agent().id)
            active = place.agent()
            assert active.state is AgentState.ACTIVE
            assert await place.operations.join_token(DANA, active.id)
            await place.operations.suspend(DANA, active.id, "a look")
            await place.operations.resume(OLIVE, active.id, "fine")
            await place.operations.quarantine(SAM, active.id, "drift")
            await place.operations.lift(SAM, active.id, "explained")
            receipt = await place.retired()
            unlooked = "memory qdrant/digest: cannot certify: it is in no registered store, so nobody can look"
            assert receipt.open == (unlooked,)
            (archived,) = [dict(done.result) for done in receipt.steps if done.step is Step.AUDIT]
            path = tmp_path / "archive" / str(archived["archive"])
            assert hashlib.sha256(path.read_bytes()).hexdigest() == archived["sha256"]
            assert verify_archive(path, signer().verifier()) == archived["records"] > 10
            assert place.registry.catalogue.agent_named("production", "digest") is None
            (again,) = await place.operations.apply(DANA, file(agent()))
            assert again.result.id != active.id

    run(story())


@pytest.mark.requirement("lifecycle:operations:authority")
def test_whoever_may_not_is_told_who_may_and_nothing_changes(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            act = place.operations
            position = place.control.position
            refused: list[Coroutine[Any, Any, Any]] = [
                act.apply(UNA, file(agent())),
                act.apply(UNA, file(server("crm", "production"))),
                act.apply(
                    OLIVE, file({"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "x@example.com"}})
                ),
                act.submit(UNA, found.id),
                act.activate(UNA, found.id),
                act.suspend(UNA, found.id, "x"),
                act.quarantine(UNA, found.id, "x"),
                act.resume(DANA, found.id, "x"),
                act.lift(DANA, found.id, "x"),
                act.lift(OLIVE, found.id, "x"),
                act.retire(SAM, found.id, "x"),
                act.join_token(SAM, found.id),
                act.revoke_agent(UNA, found.id, "x"),
                act.revoke_issuer(DANA, "staff", "x"),
                act.repin(DANA, ServerName("crm"), None),
                act.store_credential(DANA, "key", origin="https://a.example", header="x", value="y"),
                act.publish(UNA, {}),
                act.propose_role(OLIVE, Role.SECURITY, person=OLIVE.person),
                act.revoke_role(OLIVE, "rgr_sam"),
                act.person_left(OLIVE, SAM.person, "x"),
                act.lift_restriction(OLIVE, "rst_1", "x"),
                place.room.incidents.open(DANA, [found.id], 1, "it is late"),
            ]
            for each in refused:
                with pytest.raises(ForbiddenError) as error:
                    await each
                assert error.value.code is Code.NOT_AUTHORISED
                assert error.value.hint
            assert place.control.position == position

    run(story())


@pytest.mark.requirement("lifecycle:operations:authority")
def test_a_token_that_only_reads_changes_nothing_whoever_holds_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            act, reader = place.operations, operator("mira", scopes=frozenset({"read"}))
            dana, sam = operator("dana", scopes=frozenset({"read"})), operator("sam", scopes=frozenset({"read"}))
            position = place.control.position
            refused: list[Coroutine[Any, Any, Any]] = [
                act.apply(dana, file(agent(purpose="other"))),
                act.submit(dana, found.id),
                act.vote(sam, "apr_1", Role.SECURITY, VoteVerdict.APPROVE, NOTHING, ""),
                act.withdraw(dana, "apr_2"),
                act.activate(dana, found.id),
                act.suspend(dana, found.id, "x"),
                act.retire(dana, found.id, "x"),
                act.lift(sam, found.id, "x"),
                act.invite(reader, "x@example.com"),
                act.sign_in_link(reader, dana.person),
                act.delegate(sam, DANA.person, Role.SECURITY, place.clock.now().wall_us + 10**9),
                act.end_delegation(sam, "dlg_1"),
                act.revoke_role(sam, "rgr_sam"),
                act.propose_role(reader, Role.SECURITY, person=dana.person),
            ]
            for each in refused:
                with pytest.raises(ForbiddenError) as error:
                    await each
                assert error.value.code is Code.NOT_AUTHORISED
            assert place.control.position == position

    run(story())


@pytest.mark.requirement("lifecycle:operations:declaring")
def test_a_new_agent_is_declared_by_its_owner_to_be_and_a_new_version_by_who_answers_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            with pytest.raises(ForbiddenError):
                await place.operations.apply(UNA, file(agent()))
            await place.operations.apply(DANA, file(agent()))
            # naming oneself as owner gives nothing over an agent that is there
            with pytest.raises(ForbiddenError):
                await place.operations.apply(UNA, file(agent(owner="una@example.com")))
            assert place.agent().owner == DANA.person
            await place.operations.apply(operator("lee"), file(agent(purpose="other")))

    run(story())


@pytest.mark.requirement("lifecycle:operations:two-persons")
def test_what_takes_two_persons_is_in_force_from_the_last_vote_on_and_not_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            (applied,) = await place.operations.apply(OLIVE, file(server()))
            assert applied.request is not None
            assert place.registry.catalogue.server(ServerName("crm")) is None
            after = await place.approve(applied.request.id)
            assert after.used_us is not None
            assert place.registry.catalogue.server(ServerName("crm")) is not None
            asked = await place.operations.propose_role(MIRA, Role.COMPLIANCE, person=UNA.person)
            assert not place.registry.organisation.held(UNA.person, Role.COMPLIANCE, None)
            await place.approve(asked.id)
            (held,) = place.registry.organisation.held(UNA.person, Role.COMPLIANCE, None)
            assert held.by == {MIRA.person, PersonId("psn_ada")}

    run(story())


@pytest.mark.requirement("lifecycle:operations:two-persons")
def test_a_release_is_published_by_the_vote_that_completes_its_gate(tmp_path: Path) -> None:
    files = with_cases({"org/no.cedar": 'forbid (principal, action in Action::"@irreversible", resource);'})

    async def story() -> None:
        async with house(tmp_path) as place:
            asked = await place.operations.publish(OLIVE, files)
            other = await place.operations.publish(OLIVE, {})
            assert not isinstance(asked, str)
            assert not isinstance(other, str)
            third = await place.operations.publish(OLIVE, files | {"org/two.cedar": files["org/no.cedar"]})
            assert not isinstance(third, str)
            before = place.releases.current.digest
            await place.approve_and_die(third.id)
            await place.approve(asked.id)
            assert place.releases.current.digest != before
            # the ground moved: what was judged against another release does not come into force over this one
            with pytest.raises(ForbiddenError) as refused:
                await place.approve(other.id)
            assert refused.value.code is Code.APPROVAL_BLOCKED
            await place.operations.tidy()
            lapsed = place.approvals.get(third.id)
            assert lapsed is not None
            assert lapsed.state is ApprovalState.EXPIRED
            assert len(place.releases.current.policies) == 1

    run(story())


@pytest.mark.requirement("lifecycle:operations:enacted-later")
def test_what_was_cleared_and_not_enacted_is_enacted_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            (applied,) = await place.operations.apply(OLIVE, file(server()))
            assert applied.request is not None
            await place.approve_and_die(applied.request.id)
            place.steadiness.steady = False
            await place.operations.tidy()
            assert place.registry.catalogue.server(ServerName("crm")) is None, "enacted without clearance"
            place.steadiness.steady = True
            await place.operations.tidy()
            assert place.registry.catalogue.server(ServerName("crm")) is not None
            position = place.control.position
            await place.operations.tidy()
            assert place.control.position == position

    run(story())


@pytest.mark.requirement("lifecycle:operations:carried-over")
def test_what_a_request_decided_becomes_the_agents_state_also_if_the_process_ended_in_between(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            await place.approve_and_die(request.id)
            assert place.agent().state is AgentState.SUBMITTED
            await place.operations.tidy()
            assert place.agent().state is AgentState.APPROVED
            place.clock.advance(31 * 86_400)
            await place.operations.tidy()
            assert place.agent().state is AgentState.DRAFT
            again = await place.operations.submit(DANA, place.agent().id)
            assert again is not None
            await place.vote(again.id, Role.TEAM_LEAD, VoteVerdict.REJECT)
            assert place.agent().state is AgentState.REJECTED
            third = await place.operations.submit(DANA, place.agent().id)
            assert third is not None
            await place.operations.withdraw(DANA, third.id)
            assert place.agent().state is AgentState.DRAFT

    run(story())


@pytest.mark.requirement("lifecycle:operations:carried-over")
def test_a_decision_on_an_older_version_moves_no_agent(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            await place.operations.apply(DANA, file(agent(purpose="something else")))
            assert place.agent().state is AgentState.DRAFT
            with pytest.raises(ConflictError):
                await place.vote(request.id, Role.TEAM_LEAD)
            await place.operations.tidy()
            assert place.agent().state is AgentState.DRAFT
            with pytest.raises(ForbiddenError):
                await place.operations.activate(DANA, place.agent().id)

    run(story())


@pytest.mark.requirement("lifecycle:operations:submit")
def test_submitting_twice_is_once_and_what_has_no_tier_is_not_submitted(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            again = await place.operations.submit(DANA, place.agent().id)
            assert again == request
            kinds = [header_of(one)["kind"] for one in place.records.records(0, place.records.size())]
            assert kinds.count("agent.submitted") == 1
            await place.operations.apply(
                DANA, file(agent(use={"annex3": False, "decidesOnPeople": False, "prohibited": ["social-scoring"]}))
            )
            with pytest.raises(ConflictError) as refused:
                await place.operations.submit(DANA, place.agent().id)
            assert refused.value.code is Code.NO_TIER
            assert place.agent().state is AgentState.DRAFT
            await place.operations.apply(OLIVE, file(server("dev", "development")))
            await place.operations.apply(
                DANA, file(agent(environment="development", tools=[{"server": "dev", "allow": ["read"]}]))
            )
            with pytest.raises(ConflictError):
                await place.operations.submit(DANA, place.agent(environment="development").id)

    run(story())


@pytest.mark.requirement("lifecycle:activate:clearance")
def test_a_sign_off_is_used_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            first = await place.active()
            await place.operations.apply(DANA, file(agent(purpose="another")))
            request = await place.operations.submit(DANA, first.id)
            assert request is not None
            await place.approve(request.id)
            await place.operations.activate(DANA, first.id)
            # the first version declared again: that it was signed off once does not bring it back
            await place.operations.apply(DANA, file(agent()))
            candidate = place.agent().candidate
            assert candidate is not None
            assert candidate.digest == first.version.digest
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, first.id)
            assert refused.value.code is Code.CLEARANCE_REQUIRED

    run(story())


@pytest.mark.requirement("lifecycle:activate:clearance", "lifecycle:operations:carried-over")
def test_a_vote_that_stops_counting_after_approval_keeps_the_agent_from_activation(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            request = await place.submitted()
            await place.approve(request.id)
            await place.operations.revoke_role(MIRA, "rgr_lena")
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, place.agent().id)
            assert refused.value.code is Code.CLEARANCE_REQUIRED
            await place.operations.tidy()
            assert place.agent().state is AgentState.SUBMITTED, "it waits for that vote again"

    run(story())


@pytest.mark.requirement("lifecycle:activate:clearance")
def test_an_activation_overtaken_by_a_step_of_the_clock_waits_for_its_confirmation(tmp_path: Path) -> None:
    async def story() -> None:
        def at(moment: str) -> None:
            if moment == "limits given":
                place.steadiness.steady = False

        async with house(tmp_path, at=at) as place:
            await place.tools()
            request = await place.submitted()
            await place.approve(request.id)
            with pytest.raises(UnavailableError) as refused:
                await place.operations.activate(DANA, place.agent().id)
            assert refused.value.code is Code.CLOCK_UNCONFIRMED
            assert place.agent().state is AgentState.APPROVED
            place.steadiness.steady = True
            await place.operations.tidy()
            assert place.agent().state is AgentState.ACTIVE
            procedure = place.room.lifecycle.procedure(place.agent().id)
            assert procedure is not None
            assert procedure.outcome is ProcedureEnd.COMPLETED

    run(story())


@pytest.mark.requirement("lifecycle:retire:first-step")
def test_retirement_closes_what_people_were_being_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await place.operations.apply(DANA, file(agent(purpose="another")))
            request = await place.operations.submit(DANA, found.id)
            assert request is not None
            await place.operations.retire(DANA, found.id, "over")
            closed = place.approvals.get(request.id)
            assert closed is not None
            assert closed.state is ApprovalState.WITHDRAWN
            for act in (place.operations.activate, place.operations.submit):
                with pytest.raises((ForbiddenError, ConflictError)):
                    await act(DANA, found.id)
            assert place.room.monitor.check(found.id) == ()

    run(story())


@pytest.mark.requirement("lifecycle:operations:people")
def test_nothing_of_whoever_left_works_from_that_moment(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            await place.operations.person_left(MIRA, DANA.person, "moved on")
            with pytest.raises(ForbiddenError):
                await place.operations.suspend(DANA, found.id, "x")
            with pytest.raises(ConflictError):
                await place.operations.person_left(MIRA, PersonId("psn_ada"), "only two left")
            await place.operations.revoke_role(OLIVE, "rgr_olive")
            with pytest.raises(ForbiddenError):
                await place.operations.suspend(OLIVE, found.id, "x")

    run(story())


@pytest.mark.requirement("lifecycle:remedies")
def test_a_drifted_tool_answers_itself_and_stays_answered(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(autonomy="self-starting", reach="company", inputs=["web"], audience="public")
            await place.operations.watch()
            assert place.agent().state is AgentState.ACTIVE
            place.offers.tools["read"] = {**place.offers.tools["read"], "description": "Reads, and writes a little."}
            asked = await place.operations.repin(OLIVE, ServerName("crm"), None)
            assert not isinstance(asked, tuple)
            await place.approve(asked.id)
            await place.operations.watch()
            tier = place.room.judging.tier_of(found)
            (alert,) = place.room.monitor.alerts(agent=found.id)
            assert alert.remedied
            restrictions = place.registry.restrictions_of(found.id)
            assert (place.agent().state is AgentState.QUARANTINED) != bool(restrictions), tier
            position = place.control.position
            await place.operations.watch()
            assert place.control.position == position
            kept = [one for one in place.room.timeline.of(found.id) if one.basis == "remediation"]
            assert kept, "the record does not say that nobody did it"

    run(story())


@pytest.mark.requirement("lifecycle:dossier:five-questions")
def test_the_dossier_answers_five_questions_each_with_a_record_of_the_log(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(
                server(write={"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"})
            )
            found = await place.active(tools=[{"server": "crm", "allow": ["read", "write"]}])
            dossier = place.room.dossiers.of(found.id)
            assert dossier.unanswered == ()
            answers = dossier.answers()
            assert answers.keys() == {"approved_by", "data", "tools", "security_review", "decommissioning"}
            for answer in answers.values():
                (record,) = place.records.records(answer["record"], answer["record"] + 1)
                assert record.outbox_id is not None
            votes = {one["role"]: one for one in answers["approved_by"]["votes"]}
            assert {role: one["person"] for role, one in votes.items()} == {
                "security": "psn_sam",
                "team-lead": "psn_lena",
            }
            assert answers["security_review"]["person"] == "psn_sam"
            assert answers["security_review"]["record"] == votes["security"]["record"]
            assert [(one["tool"], one["data_class"]) for one in answers["data"]["rows"]] == [
                ("crm/read", "internal"),
                ("crm/write", "internal"),
            ]
            assert [(one["tool"], one["effect"]) for one in answers["tools"]["rows"]] == [
                ("crm/read", "read"),
                ("crm/write", "write record"),
            ]
            assert all(isinstance(one["record"], int) for one in answers["tools"]["rows"])
            assert next(one["step"] for one in answers["decommissioning"]["steps"]) == "credential"
            assert dossier.baseline is not None
            assert dossier.tiering is not None
            kinds = [event.kind for event in dossier.timeline]
            assert kinds[0] == "agent.activated"
            assert kinds[-1] == "agent.registered"
            assert [one.by for one in dossier.versions] == ["psn_dana"]
            await place.retired()
            after = place.room.dossiers.of(found.id).answers()
            assert after["decommissioning"]["retired_us"] is not None
            assert after["approved_by"]["votes"] == answers["approved_by"]["votes"]
            record = after["decommissioning"]["record"]
            (ended,) = [one for one in place.room.timeline.of(found.id) if one.record == record]
            assert ended.kind == "agent.retired"

    run(story())


@pytest.mark.requirement("lifecycle:dossier:plain")
def test_the_dossier_of_a_draft_says_that_nobody_approved_it_and_what_retirement_would_do(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            await place.operations.apply(DANA, file(agent()))
            dossier = place.room.dossiers.of(place.agent().id)
            answers = dossier.answers()
            assert (dossier.approved, dossier.review, dossier.waiting) == (None, None, None)
            assert answers["approved_by"]["votes"] == []
            assert isinstance(answers["approved_by"]["record"], int)
            assert answers["security_review"]["at_us"] is None
            assert len(answers["decommissioning"]["steps"]) == len(Step)
            request = await place.operations.submit(DANA, place.agent().id)
            assert place.room.dossiers.of(place.agent().id).waiting == request

    run(story())


@pytest.mark.requirement("lifecycle:dossier:plain")
def test_the_dossier_says_what_it_cannot_find_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            monkeypatch.setattr(type(place.control), "unproven", frozenset({(rows.RESTRICTION, "rst_1")}))
            dossier = place.room.dossiers.of(found.id)
            assert [each.partition(":")[0] for each in dossier.unanswered] == ["restrictions"]

    run(story())


@pytest.mark.requirement("lifecycle:operations:new-approval")
def test_a_quarantine_is_lifted_by_no_approval_that_was_given_before_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active()
            request = await place.submitted(purpose="be governed better")
            await place.approve(request.id)
            place.clock.advance(60)
            await place.operations.quarantine(SAM, found.id, "its key was seen elsewhere")
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.activate(DANA, found.id)
            assert refused.value.code is Code.CLEARANCE_REQUIRED
            assert place.agent().state is AgentState.QUARANTINED
            present = place.approvals.get(request.id)
            assert present is not None
            assert (present.state, present.votes) == (ApprovalState.OPEN, ())
            text, _ = place.approvals.view(request.id)
            assert f'"quarantined_us": {place.clock.now().wall_us}' in text, "whoever votes now knows of it"
            again = await place.approve(request.id)
            await place.operations.activate(DANA, found.id)
            assert place.agent().state is AgentState.ACTIVE
            assert place.agent().version.digest == again.subject.digest

    run(story())


@pytest.mark.requirement("lifecycle:remedies")
def test_a_lifted_quarantine_is_over_and_what_is_so_again_is_answered_anew(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(use={"annex3": True, "decidesOnPeople": False})
            for number in (1, 2):
                said = {"prompt": "sha256:" + str(number) * 64}
                place.room.monitor.note_posture(found.id, CredentialId("crd_1"), said)
                await place.operations.watch()
                assert place.agent().state is AgentState.QUARANTINED, number
                (alert,) = place.room.monitor.alerts(agent=found.id, state=AlertState.OPEN)
                assert alert.remediation is RemediationKind.QUARANTINE
                await place.operations.lift(SAM, found.id, "the old deployment is gone")
                assert place.agent().state is AgentState.ACTIVE
                over = place.room.monitor.alert(alert.id)
                assert over is not None
                assert (over.state, over.by) == (AlertState.RESOLVED, SAM.person)

    run(story())


@pytest.mark.requirement("lifecycle:operations:not-by-owners")
def test_what_security_put_on_an_agent_is_not_taken_off_by_its_owner_whatever_role_they_hold(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            held = RoleGrant("rgr_dana", Role.SECURITY, DANA.person, None, frozenset(), 1)
            await place.put(Write(rows.ROLE_GRANT, held.id, rows.role_grant_doc(held)))
            found = await place.active()
            act, until_us = place.operations, place.clock.now().wall_us + 3_600_000_000
            slowed = await act.restrict(SAM, found.id, RestrictionKind.READ_ONLY, cause="a look", until_us=until_us)
            assert slowed is not None
            flag = await place.room.incidents.open(SAM, [found.id], 2, "it is late")
            await act.quarantine(DANA, found.id, "stopping it is everybody's")
            refused: list[Coroutine[Any, Any, Any]] = [
                act.lift_restriction(DANA, slowed.id, "fine"),
                place.room.incidents.close(DANA, flag.id, "fine"),
                act.lift(DANA, found.id, "fine"),
                act.resume(DANA, found.id, "fine"),
            ]
            for each in refused:
                with pytest.raises(ForbiddenError) as error:
                    await each
                assert error.value.code is Code.NOT_AUTHORISED
            await act.lift_restriction(SAM, slowed.id, "fine")
            await place.room.incidents.close(SAM, flag.id, "fine")
            await act.lift(SAM, found.id, "fine")
            assert place.agent().state is AgentState.ACTIVE

    run(story())


@pytest.mark.requirement("lifecycle:operations:authority")
def test_a_service_account_acts_in_no_role_that_votes_also_if_a_group_holds_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            bot = Person(PersonId("psn_bot"), "bot@example.com", bot=True, controllers=frozenset({DANA.person}))
            night = Group("night", (Membership(bot.id, frozenset(), 1),))
            roles = [
                RoleGrant(f"rgr_bot_{role.value}", role, "group:night", None, frozenset(), 1)
                for role in (Role.SECURITY, Role.OPERATOR)
            ]
            await place.put(
                Write(rows.PERSON, bot.id, rows.person_doc(bot, salt="00")),
                Write(rows.GROUP, "night", rows.group_doc(night)),
                *(Write(rows.ROLE_GRANT, one.id, rows.role_grant_doc(one)) for one in roles),
            )
            found = await place.active()
            await place.operations.quarantine(operator("bot"), found.id, "stopping it takes no vote")
            with pytest.raises(ForbiddenError) as refused:
                await place.operations.lift(operator("bot"), found.id, "fine")
            assert refused.value.code is Code.NOT_AUTHORISED

    run(story())
