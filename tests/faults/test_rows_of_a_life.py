"""Every kind of row that an agent's life leaves, edited, deleted, put back or added by hand in a real installation.

Whatever it is: nothing is approved on it, nobody gets a role by it, nothing that ended comes back, and doctor names it
and puts it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from accredit.demo import spoiling
from accredit.demo.office import HIGH, LOW, MEDIUM
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.offline import check_log, look_at
from accredit.registry.model import AgentState
from tests.families import every_third
from tests.faults.office import (
    ENDED,
    Branch,
    Doc,
    Premises,
    docs_of,
    forged,
    opened,
    premises,
    removed,
    rows_of,
    written,
)

pytestmark = pytest.mark.timeout(300)
LABEL = {"ticket": "T-1", "label": "refund"}
STOPS_LOW = frozenset({"agent", "version", "server", "tool", "epoch", "credential", "policy_current", "policy_release",
                       "policy_publication", "restriction", "team"})  # fmt: skip
"""Kinds on which the calls of an agent rest: with one gone none of them goes through."""


class Court:
    """The premises, for all tests of this module."""

    def __init__(self, runner: asyncio.Runner, of: Premises) -> None:
        self._runner = runner
        self.of = of

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await story

        self._runner.run(bounded())

    def copy(self, into: Path) -> Path:
        return spoiling.copied(self.of.place.data, into / "data")

    def agent(self, name: str) -> str:
        found = [key for key, doc in docs_of(self.of.place.data, "agent").items()
                 if doc["name"] == name and doc["environment"] == "production"]  # fmt: skip
        return found[0]


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield Court(runner, runner.run(stack.enter_async_context(premises())))
        finally:
            runner.run(stack.aclose())


def named_by_doctor(data: Path) -> set[tuple[str, str]]:
    with look_at(data) as offline:
        return {(one.kind, one.key) for one in offline.doctor.diagnose().differences}


async def nothing_is_won(court: Court, branch: Branch) -> None:
    """What holds whatever was tampered with: people and agents try, and the rounds of the process come by."""
    of, plane = court.of, branch.running.plane
    try:
        await plane.watched()
        await plane.room.operations.tidy()
    except AccreditError:
        pass  # it says so, and tries again
    for name, request, role in (
        ("bo", of.known["high"], "business-owner"),
        ("una", of.known["high"], "business-owner"),
        ("otto", of.known["high"], "security"),
        ("mira", of.known["asked"], "admin"),
        ("una", of.known["asked"], "admin"),
    ):
        status, code = await branch.votes(name, request, role)
        assert status >= 400, (name, role)
        assert code in {"state_unproven", "separation_of_duties", "unauthenticated", "not_found", "conflict",
                        "not_authorised"}, code  # fmt: skip
    status, code = await branch.tries("dana", f"agents/{court.agent(HIGH)}/activate")
    assert status >= 400, "activated without clearance"
    assert code in {"state_unproven", "clearance_required", "unauthenticated", "not_found", "not_authorised",
                    "transition_refused"}, code  # fmt: skip
    assert await branch.calls(MEDIUM, "label_ticket", LABEL) != "allowed", "each label waits for a person"
    ended = await branch.calls(ENDED, "count_tickets", {}, token=of.known["retired token"])
    assert ended == "refused", "a retired agent came back"
    for name in (HIGH, ENDED):
        found = plane.registry.catalogue.agent(court.agent(name))  # type: ignore[arg-type] # an id as text
        assert found is None or found.state is not AgentState.ACTIVE
    organisation = plane.registry.organisation
    held = {(one.holder, one.role.value) for one in organisation.grants if one.revoked_us is None}
    assert (of.person_of("una"), "compliance") not in held
    assert (of.person_of("una"), "business-owner") not in held
    assert (of.person_of("otto"), "security") not in held
    for secret in (of.known["token"], of.known["session"]):
        for recognise in (plane.people.authenticate_operator, plane.people.authenticate_session):
            with pytest.raises(AccreditError):
                recognise(secret)
    status, _ = await branch.tries("una", "login", {"link": of.known["link"], "name": "x"})
    assert status >= 400, "a link was opened twice"


async def put_right(court: Court, data: Path) -> None:
    """Doctor puts it right, the log is whole, and what was under way goes on."""
    with look_at(data, repair=True) as offline:
        offline.doctor.repair()
    assert check_log(data).ok
    with look_at(data) as offline:
        assert offline.doctor.diagnose().sound


async def tampered(court: Court, data: Path, rows: set[tuple[str, str]], *, low: bool | None = None) -> None:
    assert named_by_doctor(data) == rows
    if any(kind in _NO_START for kind, _ in rows):
        await refuses_to_start(court, data)
        return
    async with opened(court.of, data) as branch:
        answer = await branch.calls(LOW, "count_tickets", {})
        if low is not None:
            assert (answer == "allowed") == low, answer
        await nothing_is_won(court, branch)
    await put_right(court, data)


@pytest.mark.requirement("faults:life:untouched")
def test_untouched_everything_under_way_goes_on(court: Court, tmp_path: Path) -> None:
    async def live() -> None:
        of, data = court.of, court.copy(tmp_path)
        assert named_by_doctor(data) == set()
        async with opened(of, data) as branch:
            assert await branch.calls(LOW, "count_tickets", {}) == "allowed"
            assert await branch.calls(MEDIUM, "label_ticket", LABEL) == "held"
            assert await branch.votes("una", of.known["high"], "business-owner") == (403, "separation_of_duties")
            assert (await branch.tries("dana", f"agents/{court.agent(HIGH)}/activate"))[1] == "clearance_required"
            assert await branch.votes("bo", of.known["high"], "business-owner") == (200, "")
            assert await branch.tries("dana", f"agents/{court.agent(HIGH)}/activate") == (200, "")
            assert await branch.votes("mira", of.known["asked"], "admin") == (200, "")
            assert await branch.tries("lee", "login", {"link": of.known["open link"], "name": "x"}) == (200, "")
        assert check_log(data).ok

    court.run(live())


# -- put back from a copy that somebody kept

_NO_START = frozenset({"first_admin"})
"""Who is in charge must be known before anybody is let in."""


async def refuses_to_start(court: Court, data: Path) -> None:
    with pytest.raises(AccreditError) as refused:
        async with opened(court.of, data):
            pytest.fail("it started")
    assert refused.value.code is Code.STATE_UNPROVEN
    assert refused.value.message
    await put_right(court, data)


_ROLLED_BACK = ("agent", "agreement", "alert", "api_token", "approval", "baseline", "credential", "delegation", "epoch",
                "group", "incident", "procedure", "role_grant")  # fmt: skip
_BROUGHT_BACK = ("agent_name", "enrolment", "login_link", "proposal", "restriction")


@pytest.mark.requirement("faults:life:rolled-back")
@pytest.mark.parametrize("kind", every_third(_ROLLED_BACK))
def test_a_row_put_back_as_it_was_brings_nothing_back(court: Court, tmp_path: Path, kind: str) -> None:
    async def live() -> None:
        data = court.copy(tmp_path)
        now = {row[1]: row for row in rows_of(data, kind)}
        older = [row for row in rows_of(court.of.before, kind) if row[1] in now and now[row[1]] != row]
        assert older, "nothing of that kind ended"
        written(data, *older)
        await tampered(court, data, {(row[0], row[1]) for row in older})

    court.run(live())


@pytest.mark.requirement("faults:life:rolled-back")
@pytest.mark.parametrize("kind", _BROUGHT_BACK)
def test_a_row_that_was_removed_and_is_put_back_counts_for_nothing(court: Court, tmp_path: Path, kind: str) -> None:
    async def live() -> None:
        data = court.copy(tmp_path)
        now = {row[1] for row in rows_of(data, kind)}
        gone = [row for row in rows_of(court.of.before, kind) if row[1] not in now]
        assert gone, "nothing of that kind was removed"
        written(data, *gone)
        assert named_by_doctor(data) == {(row[0], row[1]) for row in gone}
        async with opened(court.of, data) as branch:
            ended = await branch.calls(ENDED, "count_tickets", {}, token=court.of.known["retired token"])
            assert ended == "refused"
            status, _ = await branch.tries("una", "login", {"link": court.of.known["link"], "name": "x"})
            assert status >= 400
            await branch.running.plane.room.operations.tidy()
            found = branch.running.plane.registry.organisation
            assert not [
                one for one in found.grants if (one.holder, one.role) == (court.of.person_of("una"), "business-owner")
            ]
        await put_right(court, data)

    court.run(live())


# -- deleted


def _first_of(kind: str) -> Callable[[Court, Path], str]:
    """A row of the low agent, if that kind has one for each agent, or any."""

    def chosen(court: Court, data: Path) -> str:
        docs, low = docs_of(data, kind), court.agent(LOW)
        mine = [key for key, doc in docs.items() if key == low or doc.get("agent") == low]
        if kind in {"team", "version"}:
            mine = [docs_of(data, "agent")[low][kind]]
        return next(iter(mine), {"server": "crm-live", "tool": "crm-live/count_tickets"}.get(kind) or next(iter(docs)))

    return chosen


_DELETED = ("account_tie", "agent", "agent_name", "agreement", "alert", "approval", "assessment", "baseline",
            "credential", "delegation", "enrolment", "epoch", "first_admin", "group", "hold", "incident", "login_link",
            "monitoring", "person", "policy_current", "policy_release", "procedure", "proposal", "receipt",
            "restriction", "role_grant", "second_admin", "server", "team", "tool", "version")  # fmt: skip


@pytest.mark.requirement("faults:life:deleted")
@pytest.mark.parametrize("kind", every_third(_DELETED))
def test_a_row_deleted_by_hand_approves_and_revives_nothing(court: Court, tmp_path: Path, kind: str) -> None:
    async def live() -> None:
        data = court.copy(tmp_path)
        key = _first_of(kind)(court, data)
        removed(data, kind, key)
        await tampered(court, data, {(kind, key)}, low=False if kind in STOPS_LOW else None)

    court.run(live())


# -- edited, by whoever knows what would help them

Edit = Callable[[Court, Path], tuple[str, str, Doc]]


def _of(of: str, which: Callable[[Court, str, Doc], bool], /, **changes: Any) -> Edit:
    def edit(court: Court, data: Path) -> tuple[str, str, Doc]:
        key, doc = next((key, doc) for key, doc in docs_of(data, of).items() if which(court, key, doc))
        made = {name: value(court, doc) if callable(value) else value for name, value in changes.items()}
        return of, key, {**doc, **made}

    return edit


def _about(name: str) -> Callable[[Court, str, Doc], bool]:
    return lambda court, key, _: key == court.agent(name)


def _is(known: str) -> Callable[[Court, str, Doc], bool]:
    return lambda court, key, _: key == court.of.known[known]


def _holding(name: str, role: str) -> Callable[[Court, str, Doc], bool]:
    return lambda court, _, doc: (doc["holder"], doc["role"]) == (court.of.person_of(name), role)


def _person(name: str) -> Callable[[Court, str, Doc], bool]:
    return lambda court, key, _: key == court.of.person_of(name)


def _unresolved(court: Court, key: str, doc: Doc) -> bool:
    return doc["closed_us"] is None


def _any(court: Court, key: str, doc: Doc) -> bool:
    return True


def _una(court: Court, doc: Doc) -> str:
    return court.of.person_of("una")


_EDITED: Mapping[str, Edit] = {
    "a request approved": _of("approval", _is("high"), state="approved"),
    "a request that needs nobody": _of("approval", _is("high"), needs=[]),
    "a request of a lower tier": _of("approval", _is("high"), tier="low"),
    "a request that nobody asked for": _of(
        "approval",
        _is("high"),
        parties=lambda _, doc: {**doc["parties"], "requester": None, "authors": [], "owners": []},
    ),
    "a vote more": _of(
        "approval",
        _is("high"),
        votes=lambda court, doc: [
            *doc["votes"],
            {**doc["votes"][0], "role": "business-owner", "person": court.of.person_of("bo")},
        ],
    ),
    "a request that was used, open again": _of(
        "approval", lambda court, _, doc: doc["agent"] == court.agent(LOW), used_us=None
    ),
    "another assessment": _of("assessment", _any, form=lambda _, doc: {**doc["form"], "residual": "low"}),
    "a proposal for somebody else": _of("proposal", _any, content=lambda _, doc: {**doc["content"], "role": "admin"}),
    "a role for another": _of("role_grant", _holding("bo", "business-owner"), holder=_una),
    "another role": _of("role_grant", _holding("una", "auditor"), role="business-owner"),
    "an older role": _of("role_grant", _holding("otto", "security"), revoked_us=None, since_us=1),
    "a group with one more": _of(
        "group", _any, members=lambda court, doc: [{**doc["members"][0], "person": court.of.person_of("una")}]
    ),
    "a longer delegation": _of("delegation", _any, until_us=2**52),
    "an older tie": _of("account_tie", _any, at_us=1),
    "an agreement without end": _of("agreement", _any, expires_us=None, covers=["personal", "financial", "phi"]),
    "an incident that is another agent's": _of("incident", _any, agent=lambda court, _: court.agent(HIGH)),
    "a shorter restriction": _of("restriction", _any, until_us=1),
    "an agent in force": _of("agent", _about(HIGH), state="active", tier="low"),
    "an agent of a lower tier": _of("agent", _about(MEDIUM), tier="low"),
    "a retired agent in force": _of("agent", _about(ENDED), state="active"),
    "an agent of another owner": _of("agent", _about(HIGH), owner=_una),
    "a procedure that completed": _of("procedure", _about(ENDED), outcome=None, ended_us=None, kind="activate"),
    "a receipt of less": _of("receipt", _any, steps=[], open=[]),
    "a baseline of more": _of("baseline", _about(LOW), data=["internal", "personal"], tools=[]),
    "an alert nobody needs to see": _of("alert", _unresolved, state="resolved", closed_us=1),
    "a hold that was granted": _of("hold", _any, state="granted"),
    "a token of more": _of(
        "api_token", lambda court, _, doc: doc["person"] == court.of.person_of("una"), scopes=["admin", "read"],
        person=lambda court, _: court.of.person_of("bo"),
    ),
    "a token that lives again": _of("api_token", lambda _, __, doc: doc["profile"] == "spare", revoked=False),
    "a session that lives again": _of(
        "api_token", lambda _, __, doc: doc["kind"] == "session", revoked=False, used_us=2**52, expires_us=2**52
    ),
    "a link to another account": _of("login_link", _any, person=lambda court, _: court.of.person_of("ada")),
    "another first administrator": _of("first_admin", _any, person=_una),
    "no second administrator": _of("second_admin", _any, person=lambda court, _: court.of.person_of("ada")),
    "another address": _of("person", _person("bo"), email="una@example.com"),
    "an owner who is a service account": _of("person", _person("dana"), bot=True),
    "a key that works again": _of(
        "credential", lambda court, _, doc: doc["agent"] == court.agent(ENDED), state="active"
    ),
    "an epoch of before": _of("epoch", _about(ENDED), epoch=lambda _, doc: doc["epoch"] - 1),
    "a cursor that skips": _of("monitoring", _any, position=2**40),
}  # fmt: skip


@pytest.mark.requirement("faults:life:edited")
@pytest.mark.parametrize("fault", every_third(_EDITED))
def test_a_row_edited_by_whoever_knows_what_would_help_helps_nobody(court: Court, tmp_path: Path, fault: str) -> None:
    async def live() -> None:
        data = court.copy(tmp_path)
        kind, key, doc = _EDITED[fault](court, data)
        assert doc != docs_of(data, kind)[key], "the edit changes nothing"
        (outbox,) = [row[4] for row in rows_of(data, kind) if row[1] == key]
        written(data, forged(kind, key, doc, outbox))
        await tampered(court, data, {(kind, key)})

    court.run(live())


@pytest.mark.requirement("faults:life:edited")
def test_a_link_sent_to_another_account_opens_none(court: Court, tmp_path: Path) -> None:
    async def live() -> None:
        data = court.copy(tmp_path)
        kind, key, doc = _EDITED["a link to another account"](court, data)
        written(data, forged(kind, key, doc))
        async with opened(court.of, data) as branch:
            status, code = await branch.tries("lee", "login", {"link": court.of.known["open link"], "name": "x"})
            assert (status, code) in {(401, "link_invalid"), (503, "state_unproven")}

    court.run(live())


# -- added


@pytest.mark.requirement("faults:life:added")
def test_rows_that_nobody_decided_approve_and_appoint_nobody(court: Court, tmp_path: Path) -> None:
    async def live() -> None:
        data, of = court.copy(tmp_path), court.of
        una, high = of.person_of("una"), court.agent(HIGH)
        some = {kind: next(iter(docs_of(data, kind).values())) for kind in _DELETED}
        approved = docs_of(data, "approval")[of.known["high"]] | {"state": "approved", "needs": [], "id": "apr_forged"}
        grant = some["role_grant"] | {
            "holder": una,
            "role": "business-owner",
            "team": None,
            "revoked_us": None,
            "since_us": 1,
        }
        lent = some["delegation"] | {"holder": of.person_of("bo"), "to": una, "role": "business-owner", "since_us": 1}
        rows = [
            forged("approval", "apr_forged", approved),
            forged("role_grant", "rgr_forged", grant),
            forged("delegation", "dlg_forged", lent | {"until_us": 2**52}),
            forged("group", "forged", {**some["group"], "members": [], "groups": []}),
            forged("enrolment", high, some["enrolment"] | {"version": docs_of(data, "agent")[high]["version"]}),
            forged("login_link", "0" * 64, some["login_link"] | {"person": of.person_of("ada")}),
            forged("incident", "inc_forged", some["incident"] | {"agent": high}),
            forged("alert", "alr_forged", some["alert"]),
            forged("hold", "hld_forged", some["hold"] | {"state": "granted"}),
            forged("agreement", "dpa-forged", some["agreement"]),
            forged("baseline", high, some["baseline"]),
            forged("receipt", high, some["receipt"]),
            forged("proposal", "sha256:" + "1" * 64, some["proposal"]),
        ]
        written(data, *rows)
        assert named_by_doctor(data) == {(row[0], row[1]) for row in rows}
        async with opened(of, data) as branch:
            assert await branch.calls(LOW, "count_tickets", {}) == "allowed"
            assert await branch.calls(MEDIUM, "label_ticket", LABEL) == "held"
            for role in ("business-owner", "security"):
                status, _ = await branch.votes("una", of.known["high"], role)
                assert status >= 400
            status, _ = await branch.votes("una", "apr_forged", "business-owner")
            assert status >= 400
            await branch.running.plane.watched()
            await branch.running.plane.room.operations.tidy()
            status, _ = await branch.tries("dana", f"agents/{high}/activate")
            assert status >= 400
            status, _ = await branch.tries("dana", f"agents/{high}/join-tokens")
            assert status >= 400
        await put_right(court, data)

    court.run(live())
