"""Findings from what is so to their end, among the real rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Write
from accredit.identity import rows as identity_rows
from accredit.identity.model import Credential, CredentialState, OpaqueKey
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError
from accredit.kernel.ids import CredentialId
from accredit.lifecycle.discovery.findings import AgentFinding, FindingAnswer, FindingKind, FindingState
from accredit.lifecycle.discovery.matching import Sighting
from accredit.lifecycle.discovery.model import TraceKind
from accredit.monitoring.model import AlertKind, Severity
from accredit.registry.manifest import AgentManifest, read_manifests
from accredit.registry.model import AgentState
from tests.lifecycle.house import House, agent, file, house, operator, person_id

_DAY_S = 86_400
_CLIENT = Sighting(TraceKind.CLIENT, "cursor", "a/.cursor/mcp.json", "tracker", command="npx tracker-mcp")
_KEYED = Sighting(TraceKind.KEY, "dotenv", ".env", "OPENAI_API_KEY", providers=("openai",), secrets=("openai_key",))


def _lived(path: Path, living: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with house(path) as place:
            await living(place)

    asyncio.run(run())


async def _with_key(place: House) -> None:
    found, now_us = place.agent(), place.clock.now().wall_us
    epoch = place.control.view.get(identity_rows.EPOCH, found.id)
    opaque = OpaqueKey("0" * 64, "production", epoch.doc["epoch"] if epoch else 1, "", now_us + 2**50)
    key = Credential(CredentialId("crd_1"), found.id, "", {}, CredentialState.ACTIVE, now_us, opaque)
    writes = [Write(identity_rows.CREDENTIAL, key.id, identity_rows.credential_doc(key))]
    if epoch is None:
        writes.append(Write(identity_rows.EPOCH, found.id, {"epoch": 1}))
    await place.put(*writes)


async def _looked(place: House) -> list[AgentFinding]:
    await place.room.discovery.look()
    return list(place.room.discovery.findings.find(open_=True))


async def _refused(coroutine: Coroutine[Any, Any, Any], code: Code) -> None:
    with pytest.raises(AccreditError) as told:
        await coroutine
    assert told.value.code is code


@pytest.mark.requirement("discovery:finding:zombie")
def test_an_agent_that_nobody_uses_is_found_and_is_stopped_when_nobody_answers(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active()
        await _with_key(place)
        place.clock.advance(59 * _DAY_S)
        assert await _looked(place) == []
        place.clock.advance(2 * _DAY_S)
        (found,) = await _looked(place)
        assert (found.seen.kind, found.seen.agent) == (FindingKind.ZOMBIE, place.agent().id)
        assert found.due_us == found.opened_us + 14 * _DAY_S * 1_000_000
        (view,) = place.room.discovery.views([found])
        assert [one.id for one in view.credentials] == ["crd_1"]
        assert (view.owner, view.data) == (person_id("dana"), ("internal",))
        assert await _looked(place) == [found]
        place.clock.advance(13 * _DAY_S)
        await place.room.discovery.tidy()
        assert place.agent().state is AgentState.ACTIVE
        place.clock.advance(2 * _DAY_S)
        await place.room.discovery.tidy()
        assert place.agent().state is AgentState.SUSPENDED
        (alert,) = (one for one in place.room.monitor.alerts() if one.kind is AlertKind.FINDING_OVERDUE)
        assert (alert.matter, alert.agent) == (found.id, place.agent().id)
        after = place.room.discovery.findings.known(found.id)
        assert (after.state, after.escalated_us is not None) == (FindingState.OVER, True)
        await place.room.discovery.tidy()
        assert len(place.room.monitor.alerts()) == 1

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:zombie")
def test_an_agent_without_a_live_key_or_with_a_new_one_is_no_zombie(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active()
        place.clock.advance(100 * _DAY_S)
        assert await _looked(place) == []
        await _with_key(place)
        assert await _looked(place) == []

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:answers")
def test_an_answer_suspends_and_the_finding_is_over_once_that_shows(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery = place.room.discovery
        await place.tools()
        await place.active()
        await _with_key(place)
        place.clock.advance(61 * _DAY_S)
        (found,) = await _looked(place)
        await _refused(discovery.answer(operator("una"), found.id, FindingAnswer.SUSPEND, "no"), Code.NOT_AUTHORISED)
        read = operator("dana", scopes=frozenset({"read"}))
        await _refused(discovery.answer(read, found.id, FindingAnswer.SUSPEND, "no"), Code.NOT_AUTHORISED)
        await _refused(discovery.answer(operator("dana"), found.id, FindingAnswer.ADOPT, "no"), Code.CONFLICT)
        await _refused(discovery.answer(operator("dana"), found.id, FindingAnswer.SUSPEND, " "), Code.BODY_MALFORMED)
        assert place.agent().state is AgentState.ACTIVE
        made = await discovery.answer(operator("dana"), found.id, FindingAnswer.SUSPEND, "not needed now")
        assert (made.finding.state, made.finding.by) == (FindingState.ANSWERED, person_id("dana"))
        assert place.agent().state is AgentState.SUSPENDED
        assert await _looked(place) == []
        await _refused(discovery.answer(operator("dana"), found.id, FindingAnswer.DISMISS, "late"), Code.CONFLICT)

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:orphan")
def test_an_agent_whose_owner_left_is_adopted_by_a_new_version_that_is_signed_off(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery = place.room.discovery
        await place.tools()
        await place.active()
        await place.operations.person_left(operator("ada"), person_id("dana"), "left")
        (found,) = await _looked(place)
        assert (found.seen.kind, found.due_us) == (FindingKind.ORPHAN, found.opened_us + 7 * _DAY_S * 1_000_000)
        (view,) = discovery.views([found])
        assert view.owner == person_id("lee")
        assert FindingAnswer.DISMISS not in view.answers
        await _refused(discovery.answer(operator("sam"), found.id, FindingAnswer.ADOPT, "mine"), Code.NOT_AUTHORISED)
        await discovery.answer(operator("lee"), found.id, FindingAnswer.ADOPT, "it is mine from here on")
        now = place.agent()
        assert now.candidate is not None
        assert now.candidate.manifest["spec"]["owner"] == person_id("lee")
        assert now.candidate.manifest["spec"]["backupOwner"] is None
        assert (now.owner, now.state) == (person_id("dana"), AgentState.ACTIVE)
        (still,) = await _looked(place)
        assert still.state is FindingState.ANSWERED
        request = await place.operations.submit(operator("lee"), now.id)
        assert request is not None
        await place.approve(request.id)
        await place.operations.activate(operator("lee"), now.id)
        assert place.agent().owner == person_id("lee")
        assert await _looked(place) == []

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:expired")
def test_an_agent_past_its_last_day_is_found_until_it_is_retired(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        await place.tools()
        await place.active(expires="2026-11-25")
        assert await _looked(place) == []
        place.clock.advance(3 * _DAY_S)
        (found,) = await _looked(place)
        assert (found.seen.kind, found.seen.severity) == (FindingKind.EXPIRED, Severity.INFO)
        await place.room.discovery.answer(operator("dana"), found.id, FindingAnswer.RETIRE, "it is done")
        assert await _looked(place) == []

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:scan")
def test_what_a_scan_reports_is_found_once_and_ends_when_a_whole_scan_does_not_find_it(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery, who = place.room.discovery, operator("sam")
        (matched,) = await discovery.discovered(who, [_CLIENT], source="", complete=False)
        assert (matched.matched.verdict, matched.finding) == ("unregistered", None)
        await _refused(
            discovery.discovered(operator("una"), [_CLIENT], source="repo", complete=True), Code.NOT_AUTHORISED
        )
        await _refused(discovery.discovered(who, [_CLIENT], source="alerts", complete=True), Code.BODY_MALFORMED)
        first, second = await discovery.discovered(who, [_CLIENT, _KEYED], source="repo", complete=True)
        assert None not in {first.finding, second.finding}
        assert [one.finding for one in await discovery.discovered(who, [_CLIENT], source="repo", complete=False)] == [
            first.finding
        ]
        assert len(discovery.findings.find(open_=True)) == 2
        await discovery.discovered(who, [_KEYED], source="other", complete=True)
        assert len(discovery.findings.find(open_=True)) == 3
        await discovery.discovered(who, [_KEYED], source="repo", complete=True)
        assert discovery.findings.known(first.finding or "").state is FindingState.OVER
        again = (await discovery.discovered(who, [_CLIENT], source="repo", complete=False))[0].finding
        assert again not in {None, first.finding}

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:second-look")
def test_a_grave_finding_is_dismissed_by_two_persons_of_whom_one_is_of_security(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery = place.room.discovery
        (made,) = await discovery.discovered(operator("sam"), [_KEYED], source="repo", complete=True)
        finding = made.finding or ""
        assert discovery.findings.known(finding).seen.severity is Severity.CRITICAL
        sam, olive = operator("sam"), operator("olive")
        first = await discovery.answer(sam, finding, FindingAnswer.DISMISS, "a key for tests")
        assert first.finding.state is FindingState.SECOND_LOOK
        for who in (sam, olive):
            with pytest.raises(ForbiddenError) as told:
                await discovery.answer(who, finding, FindingAnswer.DISMISS, "yes")
            assert told.value.code is Code.SEPARATION_OF_DUTIES
        assert discovery.findings.known(finding).open
        # the other way round there is somebody who may
        (other,) = await discovery.discovered(sam, [_KEYED], source="second", complete=True)
        await discovery.answer(olive, other.finding or "", FindingAnswer.DISMISS, "a key for tests")
        done = await discovery.answer(sam, other.finding or "", FindingAnswer.DISMISS, "so it is")
        assert (done.finding.state, done.finding.by, done.finding.second) == (
            FindingState.DISMISSED, person_id("olive"), person_id("sam"),
        )  # fmt: skip
        (again,) = await discovery.discovered(sam, [_KEYED], source="second", complete=True)
        assert again.finding is None
        place.clock.advance(91 * _DAY_S)
        (anew,) = await discovery.discovered(sam, [_KEYED], source="second", complete=True)
        assert anew.finding is not None

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:second-look")
def test_what_is_not_grave_is_dismissed_by_one_and_told_anew_once_it_is(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery, sam = place.room.discovery, operator("sam")
        (made,) = await discovery.discovered(sam, [_CLIENT], source="repo", complete=True)
        done = await discovery.answer(sam, made.finding or "", FindingAnswer.DISMISS, "a toy")
        assert done.finding.state is FindingState.DISMISSED
        (same,) = await discovery.discovered(sam, [_CLIENT], source="repo", complete=True)
        assert same.finding is None
        graver = Sighting(_CLIENT.kind, _CLIENT.format, _CLIENT.path, _CLIENT.name, secrets=("named",))
        (anew,) = await discovery.discovered(sam, [graver], source="repo", complete=True)
        assert anew.finding is not None

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:register")
def test_registering_gives_a_draft_that_is_a_manifest_and_ends_once_it_is_applied(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery, sam = place.room.discovery, operator("sam")
        hostile = Sighting(
            TraceKind.CODE, "crewai", "a.py\n- x", "My Crew: {evil}\nkind: Person", providers=("a\nb",), command="x\ny"
        )
        (made,) = await discovery.discovered(sam, [hostile], source="repo", complete=True)
        answered = await discovery.answer(sam, made.finding or "", FindingAnswer.REGISTER, "we want it")
        (document,) = read_manifests(answered.draft.encode())
        assert isinstance(document, AgentManifest)
        assert (document.metadata.name, document.spec.owner) == ("my-crew-evil-kind-person", "sam@example.com")
        assert document.metadata.environment == "development"
        before = discovery.findings.known(made.finding or "").due_us
        place.clock.advance(_DAY_S)
        await discovery.answer(sam, made.finding or "", FindingAnswer.REGISTER, "still")
        assert discovery.findings.known(made.finding or "").due_us == before  # no more time by saying it again
        assert len(await _looked(place)) == 1
        await place.operations.apply(
            operator("dana"),
            file(agent(document.metadata.name, environment="development", tools=[], data=["public"], stores=[])),
        )
        assert await _looked(place) == []

    _lived(tmp_path, living)


@pytest.mark.requirement("discovery:finding:durable")
def test_findings_and_their_answers_outlive_the_process(tmp_path: Path) -> None:
    async def first(place: House) -> None:
        (made,) = await place.room.discovery.discovered(operator("sam"), [_KEYED], source="repo", complete=True)
        await place.room.discovery.answer(operator("sam"), made.finding or "", FindingAnswer.DISMISS, "a test")

    async def second(place: House) -> None:
        (found,) = place.room.discovery.findings.find(open_=True)
        assert (found.state, found.by, found.reason) == (FindingState.SECOND_LOOK, person_id("sam"), "a test")
        (same,) = await place.room.discovery.discovered(operator("sam"), [_KEYED], source="repo", complete=True)
        assert same.finding == found.id
        text = repr(list(place.records.rows(0, place.records.size())))
        assert found.id in text
        assert "OPENAI_API_KEY" not in text  # sealed: the log shows ids alone
        assert "a test" not in text

    _lived(tmp_path, first)
    _lived(tmp_path, second)


@pytest.mark.requirement("discovery:finding:at-once")
def test_two_answers_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    async def living(place: House) -> None:
        discovery, sam = place.room.discovery, operator("sam")
        (made,) = await discovery.discovered(sam, [_CLIENT], source="repo", complete=True)
        answers = [discovery.answer(sam, made.finding or "", FindingAnswer.DISMISS, "a toy") for _ in range(2)]
        came = await asyncio.gather(*answers, return_exceptions=True)
        assert sorted(isinstance(one, ConflictError) for one in came) == [False, True]

    _lived(tmp_path, living)
