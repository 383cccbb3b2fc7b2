"""What a legal hold keeps, who places and lifts one, and what it says of whom it is about."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.legal_holds import LegalHold, held_by
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId
from accredit.registry import rows
from accredit.registry.model import Role
from accredit.registry.organisation import RoleGrant
from tests.lifecycle.house import House, house, operator, person_id

CORA, SAM, ADA, OLIVE = operator("cora"), operator("sam"), operator("ada"), operator("olive")


def _hold(**given_: Any) -> LegalHold:
    return LegalHold(
        **({"id": "lgh_1", "matter": "m", "agent": None, "subject": frozenset(), "incident": None, "since_us": None,
            "until_us": None, "placed_by": PersonId("psn_1"), "placed_us": 1} | given_)
    )  # fmt: skip


_AGENTS = st.sampled_from(["agt_a", "agt_b", None])
_SUBJECTS = st.sets(st.sampled_from(["user:1", "value:2", "task:3"]))
_TIMES = st.one_of(st.none(), st.integers(0, 20))


@pytest.mark.requirement("keeping:hold:beats")
@given(_AGENTS, _SUBJECTS, _TIMES, _TIMES, _AGENTS, st.one_of(st.none(), _SUBJECTS), _TIMES)
def test_what_is_not_known_could_be_what_a_hold_means(
    agent: str | None,
    subject: set[str],
    since: int | None,
    until: int | None,
    of: str | None,
    about: set[str] | None,
    at_us: int | None,
) -> None:
    hold = _hold(agent=agent, subject=frozenset(subject), since_us=since, until_us=until)

    def means(of: str, about: set[str], at_us: int) -> bool:
        return (
            agent in {None, of}
            and (not subject or bool(subject & about))
            and (since is None or since <= at_us)
            and (until is None or at_us < until)
        )

    could = any(
        means(who, whom, when)
        for who in ([of] if of else ["agt_a", "agt_b"])
        for whom in ([about] if about is not None else [set(subject), set()])
        for when in ([at_us] if at_us is not None else range(-1, 22))
    )
    kept = held_by(hold, agent=of, subjects=about, at_us=at_us)
    assert kept or not could
    empty = at_us is None and since is not None and until is not None and since >= until  # never placed
    assert could or not kept or empty


@pytest.mark.requirement("keeping:hold:two")
def test_a_hold_is_lifted_by_another_person_in_compliance_than_who_placed_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            acts, holds = place.room.record_operations, place.room.legal_holds
            with pytest.raises(ForbiddenError):
                await acts.place_hold(OLIVE, "m", since_us=1)
            hold = await acts.place_hold(CORA, "m", since_us=1)
            assert holds.blocks() == (hold.id,)
            for who in (SAM, ADA, OLIVE, CORA):
                with pytest.raises(ForbiddenError):
                    await acts.lift_hold(who, hold.id, "over")
            assert holds.blocks() == (hold.id,)
            other = await acts.place_hold(SAM, "m", until_us=5)
            lifted = await acts.lift_hold(CORA, other.id, "over")
            assert (lifted.open, lifted.lifted_by) == (False, CORA.person)
            assert await acts.lift_hold(CORA, other.id, "again") == lifted
            assert holds.blocks() == (hold.id,)
            with pytest.raises(NotFoundError):
                await acts.lift_hold(CORA, "lgh_none", "over")

    asyncio.run(go())


@pytest.mark.requirement("keeping:hold:two")
def test_whoever_was_given_their_role_by_the_placer_does_not_lift(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            acts = place.room.record_operations
            grant = RoleGrant("rgr_new", Role.COMPLIANCE, person_id("mira"), None, frozenset({person_id("ada")}), 2)
            await place.put(rows_write(grant))
            hold = await acts.place_hold(ADA, "m", since_us=1)
            with pytest.raises(ForbiddenError, match="granted by somebody on the asking side"):
                await acts.lift_hold(operator("mira"), hold.id, "over")
            assert not (await acts.lift_hold(CORA, hold.id, "over")).open

    asyncio.run(go())


def rows_write(grant: RoleGrant) -> Any:
    from accredit.audit.ports import Write

    return Write(rows.ROLE_GRANT, grant.id, rows.role_grant_doc(grant))


@pytest.mark.requirement("keeping:hold:beats")
def test_a_hold_means_what_all_that_it_names_fits_and_an_incident_names_its_agent(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            agent = await place.active()
            acts, holds = place.room.record_operations, place.room.legal_holds
            flagged = await place.room.incidents.open(SAM, [agent.id], 2, "a leak")
            hold = await acts.place_hold(SAM, "m", incident=flagged.id, subject=" Customer-8812 ")
            assert hold.agent == agent.id
            assert holds.blocks(agent=agent.id, subject="customer-8812") == (hold.id,)
            assert holds.blocks(subject="CUSTOMER-8812", store="shelf", at_us=3) == (hold.id,)
            assert holds.blocks(agent=agent.id) == (hold.id,)  # about whom is not known
            assert holds.blocks(agent=agent.id, subject="customer-8813") == ()
            assert holds.blocks(agent=AgentId("agt_other"), subject="customer-8812") == ()
            for wrong in ({}, {"since_us": 5, "until_us": 5}, {"subject": " x "}):
                with pytest.raises(InvalidInputError):
                    await acts.place_hold(SAM, "m", **wrong)
            for unknown in ({"agent": AgentId("agt_none")}, {"incident": "inc_none"}):
                with pytest.raises(NotFoundError):
                    await acts.place_hold(SAM, "m", **unknown)

    asyncio.run(go())


@pytest.mark.requirement("keeping:hold:nameless")
def test_no_byte_of_the_state_or_the_log_says_whom_a_hold_means(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            await place.room.record_operations.place_hold(SAM, "matter", subject="customer-8812")

    asyncio.run(go())
    for path in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert b"customer-8812" not in path.read_bytes().lower()


@pytest.mark.requirement("keeping:hold:proven")
def test_a_hold_that_somebody_removed_from_the_database_stops_every_deletion(tmp_path: Path) -> None:
    async def place_one() -> str:
        async with house(tmp_path) as place:
            return (await place.room.record_operations.place_hold(SAM, "matter", since_us=1)).id

    async def ask(place: House) -> None:
        with pytest.raises(ConflictError) as refused:
            place.room.legal_holds.blocks(at_us=0)
        assert refused.value.code is Code.STATE_UNPROVEN

    hold = asyncio.run(place_one())
    database = next(path for path in tmp_path.rglob("*.db") if path.name != "audit.db")
    with sqlite3.connect(database) as connection:
        assert connection.execute("DELETE FROM state WHERE key = ?", (hold,)).rowcount == 1

    async def go() -> None:
        async with house(tmp_path) as place:
            await ask(place)

    asyncio.run(go())


def test_one_administrator_alone_places_a_hold_and_does_not_lift_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as place:
            alone = operator("ada", basis=Basis.SINGLE_ADMIN)
            hold = await place.room.record_operations.place_hold(alone, "m", since_us=1)
            with pytest.raises(AccreditError):
                await place.room.record_operations.lift_hold(alone, hold.id, "over")
            assert place.room.legal_holds.blocks() == (hold.id,)

    asyncio.run(go())
