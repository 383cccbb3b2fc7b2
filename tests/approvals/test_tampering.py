"""Rows of control state changed behind the log's back: nothing is approved from them, nor while one is there."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import orjson
import pytest

from accredit.approvals.model import ApprovalState, Hold, HoldState, HoldVerdict
from accredit.approvals.rows import APPROVAL
from accredit.approvals.service import Holds
from accredit.audit.state import row_digest
from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.registry.model import Role
from tests.approvals.desk import SECURITY, call
from tests.approvals.office import BO, DANA, LENA, SAM, Office, grant, operator
from tests.state.installation import Installation


def edit(database: Path, key: str, change: dict[str, object] | None) -> None:
    """What somebody with the data directory and without the keys can do: the row, and a digest that fits it."""
    with sqlite3.connect(database) as connection:
        if change is None:
            connection.execute("DELETE FROM state WHERE key = ?", (key,))
            return
        (kind, doc) = connection.execute("SELECT kind, doc FROM state WHERE key = ?", (key,)).fetchone()
        edited = canonical({**orjson.loads(doc), **change})
        connection.execute(
            "UPDATE state SET doc = ?, digest = ? WHERE key = ?", (edited, row_digest(kind, key, edited), key)
        )


@pytest.mark.requirement("signoff:unproven")
@pytest.mark.parametrize("tampering", ["approved", "needs", "removed", "role", "rolled back"])
def test_a_hand_edited_row_approves_nothing(tmp_path: Path, tampering: str) -> None:
    async def scenario() -> None:
        place = Installation(tmp_path)
        async with place.running() as control:
            office = Office(control)
            await office.record_role(grant(SAM, Role.SECURITY))
            asked = await office.asked()
            before = control.view.get(APPROVAL, asked.id)
            assert before is not None
            await office.vote(asked, LENA)
            if tampering == "rolled back":
                await office.vote(asked, SAM)
        match tampering:
            case "approved":
                edit(place.database, asked.id, {"state": "approved"})
            case "needs":
                edit(place.database, asked.id, {"needs": []})
            case "removed":
                edit(place.database, asked.id, None)
            case "role":
                edit(place.database, grant(SAM, Role.SECURITY).id, {"by": [], "holder": BO})
            case _:
                edit(place.database, asked.id, dict(before.doc))
        async with place.running() as control:
            office.control = control
            office.restart()
            with pytest.raises(AccreditError) as refused:
                office.cleared(asked)
            assert refused.value.code is Code.STATE_UNPROVEN
            with pytest.raises(AccreditError) as refused:
                await office.vote(asked, SAM)
            assert refused.value.code is Code.STATE_UNPROVEN
            assert office.approvals.find(state=ApprovalState.APPROVED) == ()
            assert await office.approvals.sweep() == ()
            # nor is anything else, however sound: the row that is gone could have been the one that bars
            with pytest.raises(AccreditError) as refused:
                await office.asked("v2")
            assert refused.value.code is Code.STATE_UNPROVEN

    asyncio.run(scenario())


@pytest.mark.requirement("signoff:restart")
def test_votes_survive_the_process_and_the_gate_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        place = Installation(tmp_path)
        async with place.running() as control:
            office = Office(control)
            asked = await office.asked()
            await office.vote(asked, LENA)
        async with place.running() as control:
            office.control = control
            office.restart()
            assert office.approvals.view(asked.id)[0]
            whole = await office.vote(asked, SAM)
            assert office.cleared(whole).by == (LENA, SAM)

    asyncio.run(scenario())


@pytest.mark.requirement("holds:approver:unproven")
def test_no_hold_is_answered_by_role_while_a_row_is_unproven(tmp_path: Path) -> None:
    async def scenario() -> None:
        place = Installation(tmp_path)
        async with place.running() as control:
            office = Office(control)
            await office.record_role(grant(BO, Role.SECURITY))
        edit(place.database, grant(BO, Role.SECURITY).id, None)
        async with place.running() as control:
            holds = Holds(control, office.ids, office.clock, organisation=lambda: office.organisation)
            hold = await holds.open(call(), [SECURITY])
            assert isinstance(hold, Hold)
            with pytest.raises(AccreditError) as refused:
                await holds.decide(hold.id, operator(SAM), HoldVerdict.APPROVE, view_digest=hold.view_digest)
            assert refused.value.code is Code.STATE_UNPROVEN
            assert holds.find(state=HoldState.GRANTED) == ()
            assert DANA in office.organisation.people

    asyncio.run(scenario())
