from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random  # noqa: TID251 - seeded, to draw organisations
from typing import Any

import pytest

from accredit.approvals.duties import TIE_US, Barred, BarredReason, Eligible, duty
from accredit.approvals.model import Parties, Vote, VoteVerdict
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import PersonId
from accredit.registry.model import Person, Role
from accredit.registry.organisation import AccountTie, Delegation, Group, Membership, Organisation, RoleGrant
from tests.approvals.drawing import NOW_US, OLD_US, OPENED_US, OTHER_TEAM, TEAM, drawn, tie
from tests.approvals.naive import may_vote, same_persons

ORGANISATIONS = 12_000
DANA, SAM, LEE, KIM = (PersonId(f"psn_{name}") for name in ("dana", "sam", "lee", "kim"))
BOT = PersonId("psn_bot")
NOBODY: frozenset[PersonId] = frozenset()
ASKED = Parties(DANA)


def people(*who: PersonId, **changes: Any) -> dict[PersonId, Person]:
    return {one: Person(one, f"{one}@example.com", **changes) for one in who}


def granted(holder: str, role: Role = Role.SECURITY, **changes: Any) -> RoleGrant:
    return replace(RoleGrant(f"rg_{holder}_{role}", role, holder, None, NOBODY, OLD_US), **changes)


def organised(**changes: Any) -> Organisation:
    """Dana asks; Sam holds the role of security; Lee and Kim hold none."""
    return replace(Organisation(people(DANA, SAM, LEE, KIM), grants=(granted(SAM),)), **changes)


def vote_by(person: PersonId, role: Role = Role.COMPLIANCE, **changes: Any) -> Vote:
    none = Digest("sha256:0")
    return replace(Vote(role, person, "tok_1", VoteVerdict.APPROVE, "", none, none, NOW_US), **changes)


def judge(organisation: Organisation, person: PersonId, parties: Parties = ASKED, **more: Any) -> Eligible | Barred:
    return duty(
        organisation, parties, person, more.pop("role", Role.SECURITY), more.pop("team", TEAM),
        opened_us=OPENED_US, now_us=more.pop("now_us", NOW_US), **more,
    )  # fmt: skip


def reason(organisation: Organisation, person: PersonId, parties: Parties = ASKED, **more: Any) -> BarredReason | None:
    answer = judge(organisation, person, parties, **more)
    return answer.reason if isinstance(answer, Barred) else None


# -- against the second implementation


@pytest.mark.requirement("duties:law:second-implementation", "duties:law:nobody-asking")
def test_ten_thousand_random_organisations_agree_with_the_naive_answer_and_let_nobody_asking_through() -> None:
    draw = Random(20261124)
    seen: Counter[str] = Counter()
    with_somebody = 0
    for _ in range(ORGANISATIONS):
        organisation, parties, who = drawn(draw)
        before = seen["in another's place"] + seen["in their own name"]
        asking = same_persons(organisation, parties, NOW_US)
        others = tuple(
            vote_by(draw.choice(who), for_person=draw.choice([None, *who])) for _ in range(draw.choice([0, 0, 1]))
        )
        for person in who:
            given: dict[str, Any] = {"opened_us": OPENED_US, "now_us": NOW_US, "others": others}
            cast = None
            if draw.random() < 0.3:
                cast = vote_by(person, Role.SECURITY, for_person=draw.choice([None, *who]), at_us=OPENED_US + 1)
            answer = duty(organisation, parties, person, Role.SECURITY, TEAM, cast=cast, **given)
            may, for_person = may_vote(organisation, parties, person, Role.SECURITY, TEAM, cast=cast, **given)
            assert isinstance(answer, Eligible) == may, (organisation, parties, person, others, cast, answer)
            if isinstance(answer, Eligible):
                assert answer.for_person == for_person
                assert {person, for_person}.isdisjoint(asking)
                seen["in another's place" if for_person else "in their own name"] += 1
            else:
                seen[answer.reason] += 1
        with_somebody += seen["in another's place"] + seen["in their own name"] > before
    # not vacuous: every reason and both ways of voting come up often, and many organisations have somebody who may
    assert ORGANISATIONS >= 10_000
    assert set(seen) == {*BarredReason, "in another's place", "in their own name"}
    assert min(seen.values()) >= 100, seen
    assert seen["in their own name"] >= 4_000
    assert with_somebody >= ORGANISATIONS // 5


@pytest.mark.requirement("duties:law:monotone")
def test_more_parties_more_ties_or_more_delegations_to_a_party_let_nobody_in_who_was_out() -> None:
    draw = Random(7)
    for _ in range(2_000):
        organisation, parties, who = drawn(draw)
        before = {one: judge(organisation, one, parties) for one in who}
        more = replace(parties, authors=parties.authors | {draw.choice(who)})
        tied = replace(organisation, ties=(*organisation.ties, tie(draw, who, NOW_US)))
        for one in who:
            if isinstance(before[one], Barred):
                assert isinstance(judge(organisation, one, more), Barred)
                assert isinstance(judge(tied, one, parties), Barred)


# -- rule by rule, as a reader would ask


@pytest.mark.requirement("duties:role:held")
def test_whoever_holds_the_role_votes_and_nobody_else() -> None:
    assert judge(organised(), SAM) == Eligible()
    assert reason(organised(), LEE) is BarredReason.ROLE_NOT_HELD
    assert reason(organised(), SAM, role=Role.COMPLIANCE) is BarredReason.ROLE_NOT_HELD
    assert reason(organised(), PersonId("psn_none")) is BarredReason.UNKNOWN
    assert reason(organised(grants=(granted(SAM, revoked_us=NOW_US),)), SAM) is BarredReason.ROLE_NOT_HELD
    lead = organised(grants=(granted(SAM, Role.TEAM_LEAD, team=OTHER_TEAM),))
    assert reason(lead, SAM, role=Role.TEAM_LEAD) is BarredReason.ROLE_NOT_HELD


@pytest.mark.requirement("duties:role:before")
def test_a_role_that_came_about_with_the_request_or_after_it_does_not_count() -> None:
    for since_us in (OPENED_US, OPENED_US + 1, NOW_US):
        assert reason(organised(grants=(granted(SAM, since_us=since_us),)), SAM) is BarredReason.ROLE_TOO_NEW
    late = Group("sec", (Membership(SAM, NOBODY, OPENED_US),))
    through = organised(groups={"sec": late}, grants=(granted("group:sec"),))
    assert reason(through, SAM) is BarredReason.ROLE_TOO_NEW
    early = replace(late, members=(Membership(SAM, NOBODY, OLD_US),))
    assert judge(replace(through, groups={"sec": early}), SAM) == Eligible()
    outer = Group("all", (), (("sec", OPENED_US),))
    nested = organised(groups={"sec": early, "all": outer}, grants=(granted("group:all"),))
    assert reason(nested, SAM) is BarredReason.ROLE_TOO_NEW


@pytest.mark.requirement("duties:role:hands")
def test_a_role_granted_by_the_asking_side_by_any_step_does_not_count() -> None:
    dana = frozenset({DANA})
    assert reason(organised(grants=(granted(SAM, by=dana),)), SAM) is BarredReason.ROLE_BY_PARTY
    for group in (
        Group("sec", (Membership(SAM, dana, OLD_US),)),
        Group("sec", (Membership(SAM, NOBODY, OLD_US),), by=dana),
    ):
        through = organised(groups={"sec": group}, grants=(granted("group:sec"),))
        assert reason(through, SAM) is BarredReason.ROLE_BY_PARTY
    by_delegate = organised(
        grants=(granted(SAM, by=frozenset({LEE})),),
        delegations=(Delegation("d", DANA, LEE, Role.TEAM_LEAD, OLD_US, NOW_US),),
    )
    assert reason(by_delegate, SAM) is BarredReason.ROLE_BY_PARTY
    by_made_account = organised(grants=(granted(SAM, by=frozenset({LEE})),), ties=(AccountTie(LEE, DANA, NOW_US),))
    assert reason(by_made_account, SAM) is BarredReason.ROLE_BY_PARTY


@pytest.mark.requirement("duties:role:hands")
def test_another_clean_way_to_a_role_counts_although_an_older_one_does_not() -> None:
    group = Group("sec", (Membership(SAM, frozenset({DANA}), OLD_US),))
    clean = Group("staff", (Membership(SAM, NOBODY, OLD_US + 7),))
    outer = Group("all", (), (("sec", OLD_US), ("staff", OLD_US)))
    for order in (("sec", "staff", "all"), ("all", "staff", "sec")):
        named = {"sec": group, "staff": clean, "all": outer}
        found = organised(groups={name: named[name] for name in order}, grants=(granted("group:all"),))
        assert judge(found, SAM) == Eligible()


@pytest.mark.requirement("duties:groups:cyclic")
def test_groups_that_contain_each_other_end() -> None:
    one = Group("one", (Membership(SAM, NOBODY, OLD_US),), (("two", OLD_US),))
    two = Group("two", (), (("one", OLD_US), ("two", OLD_US), ("gone", OLD_US)))
    found = organised(groups={"one": one, "two": two}, grants=(granted("group:two"),))
    assert judge(found, SAM) == Eligible()
    assert reason(found, LEE) is BarredReason.ROLE_NOT_HELD


@pytest.mark.requirement("duties:parties:barred")
@pytest.mark.parametrize(
    ("parties", "why"),
    [
        (Parties(SAM), BarredReason.REQUESTER),
        (Parties(DANA, authors=frozenset({SAM})), BarredReason.AUTHOR),
        (Parties(DANA, owners=frozenset({SAM})), BarredReason.OWNER),
        (Parties(DANA, beneficiaries=frozenset({SAM})), BarredReason.BENEFICIARY),
    ],
)
def test_no_party_votes_whatever_its_roles(parties: Parties, why: BarredReason) -> None:
    assert reason(organised(), SAM, parties) is why


@pytest.mark.requirement("duties:bots")
def test_bots_never_vote_and_whoever_is_behind_a_party_that_is_one_does_not_either() -> None:
    bot = people(BOT, bot=True, controllers=frozenset({"group:ops"}))
    group = Group("ops", (Membership(SAM, NOBODY, OLD_US),))
    found = organised(people={**organised().people, **bot}, groups={"ops": group}, grants=(granted(SAM), granted(BOT)))
    assert reason(found, BOT) is BarredReason.BOT
    assert judge(found, SAM) == Eligible()
    assert reason(found, SAM, Parties(DANA, authors=frozenset({BOT}))) is BarredReason.ASKING_SIDE
    chain = people(PersonId("psn_inner"), bot=True, controllers=frozenset({BOT}))
    chained = replace(found, people={**found.people, **chain})
    assert reason(chained, SAM, Parties(PersonId("psn_inner"))) is BarredReason.ASKING_SIDE
    by_their_bot = replace(found, grants=(granted(LEE, by=frozenset({BOT})),))
    assert reason(by_their_bot, LEE, Parties(SAM)) is BarredReason.ROLE_BY_PARTY


@pytest.mark.requirement("duties:left")
def test_whoever_left_does_not_vote_nor_does_anybody_in_their_place() -> None:
    gone = organised(
        people={**people(DANA, LEE), **people(SAM, left=True)},
        delegations=(Delegation("d", SAM, LEE, Role.SECURITY, OLD_US, NOW_US + 1),),
    )
    assert reason(gone, SAM) is BarredReason.LEFT
    assert reason(gone, LEE) is BarredReason.LEFT


@pytest.mark.requirement("duties:delegation:direct")
def test_a_delegate_votes_in_the_holders_place_for_that_role_and_that_time() -> None:
    lent = Delegation("d", SAM, LEE, Role.SECURITY, OLD_US, NOW_US + 1)
    assert judge(organised(delegations=(lent,)), LEE) == Eligible(SAM)
    for other in (
        replace(lent, role=Role.COMPLIANCE),
        replace(lent, until_us=NOW_US),
        replace(lent, since_us=NOW_US + 1, until_us=NOW_US + 9),
    ):
        assert reason(organised(delegations=(other,)), LEE) is BarredReason.ROLE_NOT_HELD


@pytest.mark.requirement("duties:delegation:chain")
def test_a_delegation_is_not_passed_on() -> None:
    first = Delegation("d1", SAM, LEE, Role.SECURITY, OLD_US, NOW_US + 1)
    second = Delegation("d2", LEE, KIM, Role.SECURITY, OLD_US, NOW_US + 1)
    assert reason(organised(delegations=(first, second)), KIM) is BarredReason.ROLE_NOT_HELD


@pytest.mark.requirement("duties:delegation:barred")
def test_nobody_votes_in_the_place_of_a_party_or_after_lending_or_borrowing_a_role_from_one() -> None:
    lent = Delegation("d", SAM, LEE, Role.SECURITY, OLD_US, NOW_US + 1)
    assert reason(organised(delegations=(lent,)), LEE, Parties(SAM)) is BarredReason.DELEGATE
    for holder, to in ((DANA, SAM), (SAM, DANA)):
        link = Delegation("d", holder, to, Role.AUDITOR, OLD_US, OPENED_US)
        assert reason(organised(delegations=(link,)), SAM) is BarredReason.DELEGATE
        over = replace(link, until_us=OPENED_US - 1)
        assert judge(organised(delegations=(over,)), SAM) == Eligible()


@pytest.mark.requirement("duties:ties")
def test_for_thirty_days_whoever_made_a_partys_account_or_whose_account_a_party_made_does_not_vote() -> None:
    for made, why in (
        (AccountTie(SAM, DANA, NOW_US - TIE_US + 1), BarredReason.ASKING_SIDE),
        (AccountTie(DANA, SAM, NOW_US - TIE_US + 1), BarredReason.ACCOUNT_TIE),
        (AccountTie(SAM, DANA, NOW_US + 5), BarredReason.ASKING_SIDE),
    ):
        assert reason(organised(ties=(made,)), SAM) is why
        assert judge(organised(ties=(replace(made, at_us=NOW_US - TIE_US),)), SAM) == Eligible()
    chain = (AccountTie(LEE, DANA, NOW_US), AccountTie(SAM, LEE, NOW_US))
    assert reason(organised(ties=chain), SAM) is BarredReason.ASKING_SIDE


@pytest.mark.requirement("duties:ties")
def test_an_administrator_who_invited_a_party_votes_not_but_roles_they_granted_stand() -> None:
    invited = (AccountTie(DANA, KIM, NOW_US), AccountTie(SAM, KIM, NOW_US))
    found = organised(ties=invited, grants=(granted(SAM, by=frozenset({KIM})), granted(KIM)))
    assert judge(found, SAM) == Eligible()
    assert reason(found, KIM) is BarredReason.ACCOUNT_TIE


@pytest.mark.requirement("duties:once")
def test_one_person_fills_one_role_delegations_included() -> None:
    both = organised(
        grants=(granted(SAM), granted(LEE)), delegations=(Delegation("d", SAM, KIM, Role.SECURITY, OLD_US, NOW_US + 1),)
    )
    assert reason(both, SAM, others=[vote_by(SAM)]) is BarredReason.VOTED
    assert reason(both, SAM, others=[vote_by(KIM, for_person=SAM)]) is BarredReason.VOTED
    assert reason(both, KIM, others=[vote_by(KIM)]) is BarredReason.VOTED
    assert reason(both, KIM, others=[vote_by(SAM)]) is BarredReason.VOTED
    assert judge(both, LEE, others=[vote_by(KIM, for_person=SAM)]) == Eligible()


@pytest.mark.requirement("duties:again")
def test_a_vote_is_judged_again_in_the_way_it_was_cast() -> None:
    lent = Delegation("d", SAM, LEE, Role.SECURITY, OLD_US, NOW_US - 5)
    cast = vote_by(LEE, Role.SECURITY, for_person=SAM, at_us=NOW_US - 6)
    found = organised(delegations=(lent,))
    assert judge(found, LEE, cast=cast) == Eligible(SAM)
    assert reason(found, LEE) is BarredReason.ROLE_NOT_HELD
    assert reason(found, LEE, cast=replace(cast, at_us=NOW_US - 5)) is BarredReason.ROLE_NOT_HELD
    assert reason(found, LEE, cast=replace(cast, for_person=None)) is BarredReason.ROLE_NOT_HELD
    assert reason(replace(found, grants=()), LEE, cast=cast) is BarredReason.ROLE_NOT_HELD
    own = replace(found, grants=(granted(SAM), granted(LEE)))
    assert judge(own, LEE, cast=cast) == Eligible(SAM)
