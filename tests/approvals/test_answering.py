"""Holds answered by whoever holds the role that the policy names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from accredit.approvals.answering import may_answer
from accredit.approvals.duties import BarredReason, Eligible
from accredit.approvals.model import Hold, HoldState, HoldVerdict
from accredit.approvals.rows import hold_doc, read_hold
from accredit.approvals.service import Holds
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError
from accredit.kernel.ids import HoldId, PersonId, TeamId
from accredit.policy.model import HoldNeed
from accredit.registry.model import Environment, Role
from accredit.registry.organisation import AccountTie, Delegation
from tests.approvals.desk import AGENT, SECURITY, call
from tests.approvals.office import BO, DANA, LENA, MIRA, NOW_US, OLD_US, SAM, UNA, Office, grant, operator

OWNER = HoldNeed("org/owner.000000000000", "owner")
LEAD = HoldNeed("org/lead.000000000000", "team-lead")
SIDES: Mapping[PersonId, str] = {DANA: "owner", UNA: "user"}


class Gatehouse:
    """Held calls of Dana's production agent, which serves Una."""

    def __init__(self) -> None:
        self.office = Office()
        self.holds = Holds(
            self.office.slow, self.office.ids, self.office.clock,
            organisation=lambda: self.office.organisation, steady=self.office.watch.steady,
        )  # fmt: skip

    async def opened(self, *needs: HoldNeed) -> Hold:
        agent = replace(AGENT, environment=Environment.PRODUCTION)
        hold = await self.holds.open(call(agent=agent, barred=SIDES), needs or (SECURITY,))
        assert isinstance(hold, Hold)
        return hold

    async def answer(
        self, hold: Hold, person: PersonId, verdict: HoldVerdict = HoldVerdict.APPROVE, role: str | None = None
    ) -> Hold:
        return await self.holds.decide(
            hold.id, operator(person), verdict, view_digest=hold.view_digest, role=role, reason="checked"
        )

    async def refused(self, hold: Hold, person: PersonId, role: str | None = None) -> AccreditError:
        for verdict in HoldVerdict:
            with pytest.raises(ForbiddenError) as refused:
                await self.answer(hold, person, verdict, role)
        return refused.value


@pytest.mark.requirement("holds:approver:duties")
def test_a_hold_is_answered_by_a_holder_of_the_role_and_the_grant_says_by_roles() -> None:
    async def scenario() -> None:
        house = Gatehouse()
        hold = await house.opened()
        for person in (LENA, MIRA, UNA):
            assert (await house.refused(hold, person)).code is Code.SEPARATION_OF_DUTIES
        granted = await house.answer(hold, SAM)
        assert granted.state is HoldState.GRANTED
        assert [(one.person, one.credential, one.basis) for one in granted.grants] == [(SAM, "tok_sam", "roles")]
        assert read_hold(hold_doc(granted)) == granted

    asyncio.run(scenario())


@pytest.mark.requirement("holds:approver:duties", "holds:approver:served")
def test_the_sides_of_a_call_answer_only_where_a_policy_names_them_whatever_roles_they_hold() -> None:
    async def scenario() -> None:
        house = Gatehouse()
        held = house.office.organisation.grants
        house.office.organise(grants=(*held, grant(DANA, Role.SECURITY), grant(UNA, Role.SECURITY)))
        hold = await house.opened(SECURITY, OWNER)
        for person in (DANA, UNA):
            await house.refused(hold, person, "security")
        await house.refused(hold, UNA, "owner")
        await house.refused(hold, SAM, "owner")
        half = await house.answer(hold, DANA)
        assert [(one.person, one.role) for one in half.grants] == [(DANA, "owner")]
        assert (await house.answer(hold, SAM)).state is HoldState.GRANTED

    asyncio.run(scenario())


@pytest.mark.requirement("holds:approver:duties")
@pytest.mark.parametrize("turn", ["late", "tie", "delegate", "granted", "left", "team"])
def test_an_answer_is_barred_by_the_same_rules_as_a_vote(turn: str) -> None:
    async def scenario() -> None:
        house = Gatehouse()
        office = house.office
        need, person = (LEAD, LENA) if turn == "team" else (SECURITY, SAM)
        others = tuple(one for one in office.organisation.grants if one.holder != person)
        role = Role.TEAM_LEAD if turn == "team" else Role.SECURITY
        people = office.organisation.people
        changes: dict[str, dict[str, Any]] = {
            "late": {"grants": (*others, grant(person, role, since_us=NOW_US))},
            "tie": {"ties": (AccountTie(person, DANA, NOW_US),)},
            "delegate": {"delegations": (Delegation("d", UNA, person, Role.AUDITOR, OLD_US, NOW_US + 1),)},
            "granted": {"grants": (*others, grant(person, role, by=frozenset({DANA})))},
            "left": {"people": {**people, person: replace(people[person], left=True)}},
            "team": {"grants": (*others, grant(person, role, team=TeamId("tea_9")))},
        }
        office.organise(**changes[turn])
        assert (await house.refused(await house.opened(need), person)).code is Code.SEPARATION_OF_DUTIES

    asyncio.run(scenario())


@pytest.mark.requirement("holds:approver:duties")
def test_a_delegate_answers_in_the_holders_place_and_the_grant_says_so() -> None:
    async def scenario() -> None:
        house = Gatehouse()
        lent = Delegation("d", SAM, BO, Role.SECURITY, OLD_US, NOW_US + 900_000_000)
        house.office.organise(delegations=(lent,))
        hold = await house.opened()
        assert house.holds.standing(hold.id, operator(BO)) == {"security": Eligible(SAM)}
        granted = await house.answer(hold, BO)
        assert granted.grants[0].for_person == SAM
        assert house.holds.standing(hold.id, operator(BO)) == {}
        with pytest.raises(AccreditError):
            house.holds.standing(HoldId("hld_none"), operator(BO))

    asyncio.run(scenario())


@pytest.mark.requirement("holds:approver:duties")
def test_a_role_nobody_can_hold_is_answered_by_nobody_and_a_token_without_basis_answers_nothing() -> None:
    async def scenario() -> None:
        house = Gatehouse()
        hold = await house.opened(HoldNeed("org/x.000000000000", "wizard"))
        for person in (SAM, MIRA, BO):
            await house.refused(hold, person)
        other = await house.opened(SECURITY)
        with pytest.raises(ForbiddenError):
            await house.holds.decide(
                other.id, replace(operator(SAM), basis=""), HoldVerdict.APPROVE, view_digest=other.view_digest
            )
        house.office.clock.step_wall(60)
        with pytest.raises(AccreditError) as refused:
            await house.answer(other, SAM)
        assert refused.value.code is Code.CLOCK_UNCONFIRMED

    asyncio.run(scenario())


def test_a_side_that_left_or_is_a_bot_answers_nothing_even_where_it_is_named() -> None:
    async def scenario() -> None:
        house = Gatehouse()
        hold = await house.opened(OWNER)
        people = house.office.organisation.people
        for known, why in (
            (replace(people[DANA], left=True), BarredReason.LEFT),
            (replace(people[DANA], bot=True), BarredReason.BOT),
        ):
            organisation = replace(house.office.organisation, people={**people, DANA: known})
            answer = may_answer(hold, DANA, OWNER, organisation, now_us=NOW_US)
            assert not isinstance(answer, Eligible)
            assert answer.reason is why

    asyncio.run(scenario())
