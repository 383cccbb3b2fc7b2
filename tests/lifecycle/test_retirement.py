"""Retirement from plan to certificate: who agrees to what, what is taken, what is left to people, what is claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.approvals.model import ApprovalRequest, ApprovalState, VoteVerdict
from accredit.audit.certificates import CertificateStatus, StoreClaim, certificate_name, read_certificate, signed
from accredit.audit.notes import NoteSigner, NoteVerifier
from accredit.kernel.canonical import Digest, canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, TeamId
from accredit.lifecycle.certificates import Certificate
from accredit.lifecycle.certifying import Certified, certified, claim_of
from accredit.lifecycle.credential_inventory import CredentialKind
from accredit.lifecycle.discovery.findings import AgentFinding, FindingAnswer, FindingKind, FindingState
from accredit.lifecycle.discovery.matching import Sighting
from accredit.lifecycle.discovery.model import TraceKind
from accredit.lifecycle.model import Procedure, ProcedureKind
from accredit.lifecycle.stored import Disposition, KeyDestroyed, ResidualBytes, StoreOutcome
from accredit.lifecycle.stores import PATIENCE_US
from accredit.monitoring.model import AlertKind
from accredit.registry.model import Agent, AgentState, Environment, Role, Team
from tests.audit.building import signer
from tests.lifecycle.house import House, agent, file, house, operator, server
from tests.lifecycle.yard import V1, version
from tests.stores.hostile import Shelf, item
from tests.stores.kinds import NAMESPACE
from tests.stores.test_purges import STORES, keeping

DANA, LEE, LENA, OLIVE, CORA, SAM, MIRA = (
    operator(name) for name in ("dana", "lee", "lena", "olive", "cora", "sam", "mira")
)
WRITE: dict[str, Any] = {"write": {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"}}
MEDIUM: dict[str, Any] = {"tools": [{"server": "crm", "allow": ["read", "write"]}]}
DAY_S = 86_400
VKEY = signer().vkey


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


async def medium(place: House, **spec: Any) -> Agent:
    """An active agent that another person has to agree to retire."""
    await place.tools(server(**WRITE))
    return await place.active(**(MEDIUM | {"stores": []} | spec))


def says(one: Certificate | None) -> dict[str, Any]:
    """What a certificate says, read as somebody does who has the log's key and nothing else."""
    assert one is not None
    return dict(read_certificate(one.note.encode(), VKEY))


def newest(place: House, of: Agent) -> dict[str, Any]:
    return says(place.room.retirements.certificates.newest(of.id))


async def left(place: House, of: Agent) -> list[AgentFinding]:
    return list(place.room.discovery.findings.find(open_=True, kind=FindingKind.CREDENTIAL, agent=of.id))


def usage(name: str = "digest", *, last_used: str = "2026-11-20") -> Sighting:
    return Sighting(TraceKind.USAGE, "openai-usage", "usage.csv", name=name, providers=("openai",), last_used=last_used)


# -- who agrees to what


@pytest.mark.requirement("retirement:plan:digest")
def test_what_somebody_asked_for_who_has_left_since_is_not_carried_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            active = await medium(place)
            asked = await place.operations.retire(DANA, active.id, "over")
            assert isinstance(asked, ApprovalRequest)
            await place.operations.person_left(MIRA, DANA.person, "dismissed")
            after = await place.approve(asked.id)
            assert after.state is not ApprovalState.APPROVED
            assert place.agent().state is AgentState.ACTIVE
            fresh = await place.operations.retire(LEE, active.id, "over")
            assert isinstance(fresh, ApprovalRequest)
            await place.approve(fresh.id)
            assert place.registry.get(active.id).state is AgentState.RETIRED  # type: ignore[union-attr]  # it is there

    run(story())


@pytest.mark.requirement("retirement:plan:digest")
def test_a_plan_names_all_that_goes_and_its_digest_is_of_what_is_decided_and_not_of_what_moves(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await medium(place, stores=[{"kind": "memory", "adapter": "mem0"}])
            key = await place.operations.issue_agent_key(DANA, found.id, days=5)
            await place.operations.join_token(DANA, found.id)
            hold = await place.room.record_operations.place_hold(SAM, "matter 1", agent=found.id)
            plan = place.room.retirements.plan(found.id)
            decided = plan.decided
            assert {one["kind"] for one in decided["credentials"]["revoked"]} == {"opaque-key", "join-token"}
            assert key.secret not in repr(decided)
            assert decided["grants"] == ["crm/read", "crm/write"]
            assert decided["legal_holds"] == [hold.id]
            assert "cannot certify" in decided["stores"]["cannot_certify"][0]
            assert {one["class"] for one in decided["archive"]["retention"]} >= {"control", "envelopes"}
            assert (plan.tier, plan.needs_sign_off) == ("medium", True)
            # what moves while it runs is shown, and asks for no other agreement
            await place.operations.apply(DANA, file(agent(purpose="be governed better", **MEDIUM, stores=[])))
            asked = await place.operations.submit(DANA, found.id)
            assert asked is not None
            later = place.room.retirements.plan(found.id)
            assert (later.digest, later.moving["approvals"]) == (plan.digest, [asked.id])
            # another credential does
            await place.operations.issue_agent_key(DANA, found.id, days=5)
            assert place.room.retirements.plan(found.id).digest != plan.digest

    run(story())


@pytest.mark.requirement("retirement:sign-off")
def test_of_a_medium_agent_a_second_person_agrees_who_neither_asked_nor_owns_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await medium(place)
            key = await place.operations.issue_agent_key(DANA, found.id, days=5)
            asked = await place.operations.retire(LENA, found.id, "over")
            assert isinstance(asked, ApprovalRequest)
            assert place.agent().state is AgentState.ACTIVE
            assert await place.operations.retire(LENA, found.id, "over") == asked, "asked twice is asked once"
            _, shown = place.approvals.view(asked.id)
            for who in (LENA, DANA, LEE, CORA):
                with pytest.raises(ForbiddenError):
                    await place.operations.vote(who, asked.id, Role.SECURITY, VoteVerdict.APPROVE, shown, "fine")
            # stopping it waits for nobody
            await place.operations.suspend(DANA, found.id, "now")
            await place.operations.revoke_agent(DANA, found.id, "now")
            with pytest.raises(ConflictError) as moved:  # and that its key is dead is another plan
                await place.operations.retire(LENA, found.id, "over", Digest("sha256:" + "0" * 64))
            assert moved.value.code is Code.PLAN_CHANGED
            again = await place.operations.retire(LENA, found.id, "over")
            assert isinstance(again, ApprovalRequest)
            assert again.id != asked.id
            assert place.approvals.get(asked.id).state is ApprovalState.WITHDRAWN  # type: ignore[union-attr]
            planned = place.approvals.content(again)["plan"]
            await place.approve(again.id)
            procedure = place.room.lifecycle.procedure(found.id)
            assert procedure is not None
            assert (procedure.by, procedure.approvers) == (LENA.person, (SAM.person,))
            assert (procedure.request, procedure.plan) == (again.id, planned)
            told = newest(place, found)
            assert (told["operator"], told["approvers"], told["request"]) == (LENA.person, [SAM.person], again.id)
            assert told["status"] == "complete"
            (credential,) = told["credentials"]
            assert (credential["id"], credential["state"]) == (key.credential.id, "revoked")
            assert credential["refused"] == "credential_revoked"
            assert place.records.size() > credential["record"] >= 0

    run(story())


@pytest.mark.requirement("retirement:sign-off")
def test_what_was_signed_off_is_asked_for_again_if_it_is_another_plan_by_then(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            found = await medium(place)
            asked = await place.operations.retire(DANA, found.id, "over")
            assert isinstance(asked, ApprovalRequest)
            await place.approve_and_die(asked.id)
            await place.operations.issue_agent_key(DANA, found.id, days=5)
            await place.operations.tidy()
            assert place.agent().state is AgentState.ACTIVE
            lapsed = place.approvals.get(asked.id)
            assert lapsed is not None
            assert (lapsed.state, lapsed.used_us) == (ApprovalState.EXPIRED, None)
            (again,) = [one for one in place.approvals.find(state=ApprovalState.OPEN) if one.about == asked.about]
            assert again.parties.requester == DANA.person
            await place.approve(again.id)
            assert place.registry.get(found.id).state is AgentState.RETIRED  # type: ignore[union-attr]

    run(story())


@pytest.mark.requirement("retirement:sign-off")
def test_a_low_agent_and_one_that_never_ran_take_one_person_who_confirms_the_plan_they_saw(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools(server(**WRITE))
            await place.operations.apply(DANA, file(agent("never", **MEDIUM)))
            draft = place.agent("never")
            assert (await place.retired(name="never")).agent == draft.id
            found = await place.active(stores=[])
            seen = place.room.retirements.plan(found.id)
            assert not seen.needs_sign_off
            await place.operations.issue_agent_key(DANA, found.id, days=5)
            with pytest.raises(ConflictError) as changed:
                await place.operations.retire(DANA, found.id, "over", seen.digest)
            assert changed.value.code is Code.PLAN_CHANGED
            with pytest.raises(ForbiddenError):
                await place.operations.retire(CORA, found.id, "over")
            now = place.room.retirements.plan(found.id).digest
            receipt = await place.operations.retire(DANA, found.id, "over", now)
            # twice is once, whoever asks
            assert await place.operations.retire(OLIVE, found.id, "again") == receipt
            assert [one.number for one in place.room.retirements.certificates.all_of(found.id)] == [1]

    run(story())


@pytest.mark.requirement("retirement:traps")
def test_an_agent_that_people_judge_right_now_and_whose_owner_leaves_is_retired_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(5)])
        async with house(tmp_path) as place:
            found = await keeping(place, shelf)
            await place.operations.apply(DANA, file(agent(stores=STORES, reach="company")))
            judged = await place.operations.submit(DANA, found.id)
            assert judged is not None
            await place.room.reviews.start(SAM, agents=[found.name], reason="now and then")
            review = place.room.reviews.reviews.open_of(found.id)
            assert review is not None
            assert place.room.retirements.plan(found.id).moving["reviews"] == [review.id]
            shelf.down = True
            with pytest.raises(UnavailableError):
                await place.operations.retire(DANA, found.id, "over")
            assert place.approvals.get(judged.id).state is ApprovalState.WITHDRAWN  # type: ignore[union-attr]
            await place.operations.person_left(MIRA, DANA.person, "gone")
            await place.room.people.successions.round()
            shelf.down = False
            place.clock.advance(DAY_S)
            await place.operations.tidy()
            await place.room.retirements.round()
            assert place.registry.get(found.id).state is AgentState.RETIRED  # type: ignore[union-attr]
            assert (shelf.deleted, newest(place, found)["operator"]) == (5, DANA.person)

    run(story())


# -- what is taken, and what is left to people


@pytest.mark.requirement("retirement:cascade")
def test_whoever_was_there_for_the_retired_agent_alone_is_proposed_for_retirement(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            hands = [{"agent": "helper", "tools": [{"server": "crm", "allow": ["read"]}]}]
            for name, delegates in (("helper", []), ("digest", hands)):
                await place.operations.apply(DANA, file(agent(name, stores=[], delegates=delegates)))
                request = await place.operations.submit(DANA, place.agent(name).id)
                assert request is not None
                await place.approve(request.id)
                await place.operations.activate(DANA, place.agent(name).id)
            main, helper = place.agent(), place.agent("helper")
            plan = place.room.retirements.plan(main.id).decided["delegations"]
            assert plan == {
                "callees": [{"agent": helper.id, "alone": True, "name": "production/helper"}],
                "callers": [],
            }
            assert place.room.retirements.plan(helper.id).decided["delegations"]["callers"] == [main.id]
            await place.retired()
            findings = place.room.discovery.findings
            (finding,) = findings.find(open_=True, kind=FindingKind.DELEGATE)
            assert (finding.seen.agent, finding.seen.evidence) == (helper.id, {"retired": main.id})
            assert newest(place, main)["delegates"]["callees"][0]["finding"] == finding.id
            await place.room.retirements.round()
            assert findings.known(finding.id).open
            await place.room.discovery.answer(DANA, finding.id, FindingAnswer.RETIRE, "it has nothing to do")
            await place.room.retirements.round()
            assert findings.known(finding.id).state is FindingState.OVER
            assert place.registry.get(helper.id).state is AgentState.RETIRED  # type: ignore[union-attr]

    run(story())


@pytest.mark.requirement("retirement:inventory")
def test_a_credential_that_is_not_ours_to_end_has_an_owner_and_a_deadline_and_keeps_the_certificate_from_complete(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.operations.store_credential(
                OLIVE, "crm-key", origin="http://127.0.0.1:9", header="Authorization", value="a-long-enough-key-123"
            )
            told = server()
            await place.tools(told | {"spec": told["spec"] | {"credential": "crm-key"}})
            found = await place.active(stores=[])
            discovery = place.room.discovery
            beside = Sighting(TraceKind.MANIFEST, "accredit", "repo/agent.yaml", agent="production/digest")
            static = Sighting(
                TraceKind.KEY, "dotenv", "repo/.env", "OPENAI_API_KEY", providers=("openai",), secrets=("openai_key",)
            )
            await discovery.discovered(SAM, [usage()], source="exports", complete=True)
            await discovery.discovered(SAM, [beside, static], source="repo", complete=True)
            known = {one.kind: one for one in place.room.retirements.credentials(found.id)}
            assert known.keys() == {
                CredentialKind.UPSTREAM_CREDENTIAL, CredentialKind.PROVIDER_KEY, CredentialKind.STATIC_KEY,
            }  # fmt: skip
            assert all(one.unreachable for one in known.values())
            await place.retired()
            open_ = await left(place, found)
            assert len(open_) == 3
            certificate = newest(place, found)
            assert certificate["status"] == "complete with exceptions"
            assert [(one["state"], one["owner"]) for one in certificate["credentials"]] == [
                ("left to people", DANA.person)
            ] * 3
            assert all(one["due_us"] > place.clock.now().wall_us for one in certificate["credentials"])
            # a deadline that passes is told of
            place.clock.advance(15 * DAY_S)
            await discovery.tidy()
            late = [one for one in place.room.monitor.alerts(agent=found.id) if one.kind is AlertKind.FINDING_OVERDUE]
            assert len(late) == 3
            # what is not there any more, by the word of a whole scan or ours, ends by itself
            await discovery.discovered(SAM, [beside], source="repo", complete=True)
            await place.operations.remove_credential(OLIVE, "crm-key")
            await place.room.retirements.round()
            (still,) = await left(place, found)
            middle = newest(place, found)
            assert middle["number"] == 2
            assert sorted(one["state"] for one in middle["credentials"]) == [
                "left to people", "not there any more", "not there any more",
            ]  # fmt: skip
            # and what is ended elsewhere takes the word of two
            await discovery.answer(DANA, still.id, FindingAnswer.DISMISS, "deleted at the provider")
            await place.room.retirements.round()
            assert newest(place, found)["number"] == 2
            await discovery.answer(SAM, still.id, FindingAnswer.DISMISS, "seen to be gone there")
            await place.room.retirements.round()
            last = newest(place, found)
            assert (last["status"], last["number"]) == ("complete", 3)
            (attested,) = [one for one in last["credentials"] if one["answered_by"]]
            assert attested["answered_by"] == [DANA.person, SAM.person]
            await place.room.retirements.round()
            assert newest(place, found) == last

    run(story())


@pytest.mark.requirement("retirement:inventory")
def test_a_key_that_comes_to_light_after_the_certificate_is_named_by_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(stores=[])
            await place.retired()
            first = newest(place, found)
            assert first["status"] == "complete"
            await place.room.discovery.discovered(SAM, [usage()], source="exports", complete=True)
            await place.room.retirements.round()
            await place.room.retirements.round()
            (finding,) = await left(place, found)
            second = newest(place, found)
            assert (second["number"], second["status"]) == (2, "complete with exceptions")
            assert [(one["kind"], one["finding"]) for one in second["credentials"]] == [("provider-key", finding.id)]
            await place.room.discovery.discovered(SAM, [], source="exports", complete=True)
            await place.room.retirements.round()
            assert newest(place, found)["status"] == "complete"

    run(story())


@pytest.mark.requirement("retirement:inventory")
def test_an_upstream_credential_that_others_need_stays_and_is_nobodys_exception(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.operations.store_credential(
                OLIVE, "crm-key", origin="http://127.0.0.1:9", header="Authorization", value="a-long-enough-key-123"
            )
            told = server()
            await place.tools(told | {"spec": told["spec"] | {"credential": "crm-key"}})
            await place.operations.apply(DANA, file(agent("other", stores=[])))
            found = await place.active(stores=[])
            await place.retired()
            certificate = newest(place, found)
            assert (certificate["status"], await left(place, found)) == ("complete", [])
            assert certificate["credentials"][0]["state"].startswith("stays")

    run(story())


# -- what is claimed


@pytest.mark.requirement("retirement:certificate:honest")
@pytest.mark.parametrize("fault", ["keeps", "hides"])
def test_of_a_store_that_lies_about_deletion_no_absence_is_claimed(tmp_path: Path, fault: str) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at, f"the caller's order is HERON-{at:05d} as before") for at in range(9)])
        setattr(shelf, fault, True)
        async with house(tmp_path) as place:
            found = await keeping(place, shelf)
            await place.retired()
            certificate = newest(place, found)
            (store,) = certificate["stores"]
            assert (store["claim"], store["certified"]) == ("still there", False)
            assert certificate["status"] == "complete with exceptions"
            assert any("memory shelf/support" in one for one in certificate["exceptions"])

    run(story())


@pytest.mark.requirement("retirement:certificate:honest")
def test_a_store_without_a_namespace_is_never_certified(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            found = await place.active(stores=[{"kind": "memory", "adapter": "mem0"}])
            await place.retired()
            certificate = newest(place, found)
            assert [one["claim"] for one in certificate["stores"]] == ["cannot certify"]
            assert certificate["status"] == "complete with exceptions"

    run(story())


@pytest.mark.requirement("retirement:certificate:pending")
def test_a_store_that_is_down_leaves_it_pending_until_another_takes_its_place(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(5)])
        async with house(tmp_path) as place:
            found = await keeping(place, shelf)
            retirements, entry = place.room.retirements, "memory shelf/support"
            assert await retirements.stores(found.id) == [{"items": 5, "store": entry, "why": ""}]
            shelf.down = True
            (unknown,) = await retirements.stores(found.id)
            assert (unknown["items"], unknown["why"]) == (None, "the shelf is down")
            with pytest.raises(UnavailableError):
                await place.operations.retire(DANA, found.id, "over")
            certificates = place.room.retirements.certificates
            first = certificates.known(found.id)
            assert first.status is CertificateStatus.PENDING
            assert says(first)["pending"] == ["memory shelf/support: it could not be looked into yet"]
            place.clock.advance(DAY_S)
            await place.operations.tidy()
            await place.room.retirements.round()
            assert certificates.known(found.id) == first, "nothing is news until something is"
            shelf.down = False
            await place.operations.tidy()
            await place.room.retirements.round()
            last = newest(place, found)
            assert last["supersedes"] == {"digest": first.digest, "id": first.id}
            assert (last["pending"], last["stores"][0]["claim"], shelf.deleted) == ([], "absent", 5)

    run(story())


@pytest.mark.requirement("retirement:certificate:pending")
def test_a_store_that_stays_down_is_named_as_not_reached(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf(down=True)
        async with house(tmp_path) as place:
            found = await keeping(place, shelf)
            with pytest.raises(UnavailableError):
                await place.operations.retire(DANA, found.id, "over")
            place.clock.advance(PATIENCE_US / 1_000_000)
            await place.operations.tidy()
            await place.room.retirements.round()
            certificate = newest(place, found)
            assert (certificate["status"], certificate["number"]) == ("complete with exceptions", 2)
            assert certificate["stores"][0]["claim"] == "not reached"

    run(story())


@pytest.mark.requirement("retirement:certificate:pending")
def test_what_a_legal_hold_kept_goes_once_the_hold_is_lifted(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at, subject="mr-x" if at % 2 else "mrs-y") for at in range(10)])
        async with house(tmp_path) as place:
            records = place.room.record_operations
            hold = await records.place_hold(SAM, "m", subject="mr-x")
            found = await keeping(place, shelf, subjectField="subject")
            await place.retired()
            held = newest(place, found)
            assert (held["status"], held["stores"][0]["claim"]) == ("pending", "held")
            assert held["pending"] == ["memory shelf/support: 5 items are under legal hold"]
            assert held["stores"][0]["holds"] == [hold.id]
            place.clock.advance(DAY_S)
            await place.room.retirements.round()
            assert (newest(place, found), shelf.deleted) == (held, 5)
            await records.lift_hold(CORA, hold.id, "settled")
            place.clock.advance(DAY_S)
            await place.room.retirements.round()
            last = newest(place, found)
            assert (last["supersedes"]["id"], last["stores"][0]["claim"]) == (held["id"], "absent")
            assert (shelf.kept, last["pending"]) == ({}, [])

    run(story())


@pytest.mark.requirement("retirement:certificate:pending")
def test_a_key_that_is_destroyed_only_later_keeps_it_pending_until_the_key_service_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            until_us = place.clock.now().wall_us + 7 * DAY_S * 1_000_000
            shelf = Shelf(keys={"kms/support": until_us})
            shelf.put(NAMESPACE, [item(at) for at in range(5)])
            found = await keeping(place, shelf, keyScope="kms/{namespace}")
            await place.retired()
            waits = newest(place, found)
            assert (waits["status"], waits["stores"][0]["claim"]) == ("pending", "key pending")
            await place.room.retirements.round()
            assert newest(place, found) == waits
            place.clock.advance(8 * DAY_S)
            await place.room.retirements.round()  # the time is over, and the service does not confirm
            assert newest(place, found)["status"] == "pending"
            shelf.keys["kms/support"] = None
            await place.room.retirements.round()
            assert newest(place, found)["stores"][0]["claim"] == "absent"

    run(story())


def _somebody() -> Agent:
    return Agent(
        id=AgentId("agt_1"), name="digest", team=Team(TeamId("team_1"), "support", frozenset()),
        environment=Environment.PRODUCTION, state=AgentState.RETIRED, owner=DANA.person, backup_owner=None,
        version=version(V1),
    )  # fmt: skip


OUTCOMES = st.builds(
    StoreOutcome,
    id=st.just("prg_1"),
    agent=st.just(AgentId("agt_1")),
    store=st.just("memory shelf/support"),
    adapter=st.just("sqlite"),
    adapter_version=st.just("1"),
    scope=st.just({}),
    plan=st.none(),
    items_before=st.integers(0, 9),
    items_after=st.integers(0, 9),
    deleted=st.integers(0, 9),
    methods=st.just(("delete",)),
    keys=st.lists(st.builds(KeyDestroyed, st.just("kms/a"), st.just("fp"), st.none() | st.just(9)), max_size=1).map(
        tuple
    ),
    api_absent=st.none() | st.booleans(),
    residual=st.sampled_from(ResidualBytes),
    residual_method=st.just("looked"),
    skipped=st.dictionaries(st.sampled_from(Disposition).map(str), st.integers(0, 3)),
    holds=st.just(("lgh_1",)),
    unreachable=st.lists(st.sampled_from(["cannot certify: no namespace", "backups"]), max_size=2).map(tuple),
    operator=st.just("psn_dana"),
    approvers=st.just(()),
    begun_us=st.just(1),
    ended_us=st.just(2),
)


@pytest.mark.requirement("retirement:certificate:honest")
@given(outcome=OUTCOMES)
def test_absence_is_claimed_only_where_it_was_asked_looked_for_and_nothing_kept(outcome: StoreOutcome) -> None:
    kept = [name for name, count in outcome.skipped.items() if count and name != Disposition.OTHERS.value]
    shown = outcome.api_absent is True and outcome.residual is ResidualBytes.NONE and not kept
    pending = any(one.pending_until_us is not None for one in outcome.keys)
    assert (claim_of(outcome) is StoreClaim.ABSENT) == (shown and not pending)
    # and what is open of it is either waited for or an exception, never left out
    if outcome.open:
        procedure = Procedure(
            "prc_1", ProcedureKind.RETIRE, outcome.agent, Digest("sha256:0"), DANA.person, "", "", "", 1
        )
        told = certified(Certified(_somebody(), procedure, 2, (outcome,), (), {}, {}))
        assert sorted([*told["pending"], *told["exceptions"]]) == sorted(outcome.open)
        assert told["status"] != "complete"


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A certificate that says that something is held."""
    made: list[str] = []

    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at, subject="mr-x") for at in range(3)])
        async with house(tmp_path_factory.mktemp("certificate")) as place:
            await place.room.record_operations.place_hold(SAM, "m", subject="mr-x")
            found = await keeping(place, shelf, subjectField="subject")
            await place.operations.issue_agent_key(DANA, found.id, days=5)
            await place.retired()
            made.append(place.room.retirements.certificates.known(found.id).note)

    run(story())
    return made[0]


@pytest.mark.requirement("retirement:certificate:tampered")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_certificate_of_which_any_byte_is_another_does_not_verify(note: str, data: st.DataObject) -> None:
    raw = bytearray(note.encode())
    assert read_certificate(bytes(raw), VKEY)["status"] == "pending"
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidInputError):
        read_certificate(bytes(raw), VKEY)


@pytest.mark.requirement("retirement:certificate:tampered")
def test_a_certificate_that_claims_more_than_it_shows_is_refused_whoever_signed_it(note: str) -> None:
    true = dict(read_certificate(note.encode(), VKEY))
    key = NoteVerifier(VKEY)
    ours = NoteSigner(certificate_name(key.public.hex()[:16]), b"s" * 32)

    def refused(document: dict[str, Any], by: NoteSigner = ours) -> None:
        with pytest.raises(InvalidInputError):
            read_certificate(signed(document, by), VKEY)

    assert read_certificate(signed(true, ours), VKEY) == true
    refused(true | {"status": "complete"})
    refused(true | {"pending": [], "exceptions": [], "status": "complete"})
    refused(true | {"stores": [true["stores"][0] | {"claim": "absent"}]})
    refused(true | {"log": true["log"] | {"position": 10**9}})
    refused({name: value for name, value in true.items() if name != "stores"})
    # signed by another key, or by ours under the name of something else
    refused(true, NoteSigner(certificate_name(key.public.hex()[:16]), b"x" * 32))
    refused(true, NoteSigner(f"accredit.policy/{key.public.hex()[:16]}", b"s" * 32))
    with pytest.raises(InvalidInputError):
        read_certificate(note.encode(), signer(b"x" * 32).vkey)
    text = note.partition("\n")[0]
    assert canonical(orjson.loads(text)).decode() == text
