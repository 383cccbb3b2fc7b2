"""People as the registry keeps them: accounts, who answers for which, roles taken back and lent, and who leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accredit.audit.ports import Actor
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import PersonId
from accredit.registry.errors import ManifestError
from accredit.registry.model import Role
from accredit.registry.organisation import Delegation
from accredit.registry.service import ApplyOutcome
from tests.registry.fleet import (
    ADMIN,
    Doubted,
    Fleet,
    agent_document,
    changed,
    example,
    group_document,
    person_document,
)

DAY_US = 86_400_000_000


def _refused(fleet: Fleet, document: dict[str, Any]) -> Code:
    events = len(fleet.control.events)
    with pytest.raises(ManifestError) as refused:
        fleet.apply(document)
    assert len(fleet.control.events) == events
    return refused.value.code


def _left(fleet: Fleet, person: PersonId) -> None:
    asyncio.run(fleet.registry.person_left(person, ADMIN, "gave notice"))


def _as(person: PersonId) -> Actor:
    return Actor(person=person, credential="tok_3", basis="roles")


# -- accounts


@pytest.mark.requirement("registry:person:account")
def test_a_service_account_has_people_and_groups_that_answer_for_it() -> None:
    fleet = Fleet.staffed()
    cat = fleet.person("cat@example.com")
    fleet.enact(fleet.apply(group_document("night", ["cat@example.com"]))[0].proposal)
    bot = fleet.person("bot@example.com", "dana@example.com", "group:night")
    organisation = fleet.registry.organisation
    assert organisation.people[bot].bot
    assert bot in organisation.controlled_by(cat)
    assert fleet.apply(person_document("bot@example.com", "group:night", "dana@example.com"))[0].outcome is (
        ApplyOutcome.UNCHANGED
    )
    assert [tie.by for tie in organisation.ties_of(bot)] == [ADMIN.person], "whoever registered it could be behind"


@pytest.mark.requirement("registry:person:account")
def test_whoever_answered_for_a_service_account_stays_tied_to_it_for_a_while() -> None:
    fleet = Fleet.staffed()
    cat, dana = fleet.person("cat@example.com"), fleet.person("dana@example.com")
    bot = fleet.person("bot@example.com", "cat@example.com", "dana@example.com")
    fleet.apply(person_document("bot@example.com", "dana@example.com"))
    organisation = fleet.registry.organisation
    assert organisation.controllers(bot) == {dana}
    tie = next(tie for tie in organisation.ties_of(cat) if tie.by == cat)
    assert (tie.account, tie.by, tie.at_us) == (bot, cat, fleet.clock.now().wall_us)


@pytest.mark.requirement("registry:person:account")
def test_what_an_account_is_never_changes() -> None:
    fleet = Fleet.staffed()
    fleet.person("cat@example.com")
    fleet.person("bot@example.com", "cat@example.com")
    assert _refused(fleet, person_document("bot@example.com")) is Code.CONFLICT
    assert _refused(fleet, person_document("cat@example.com", "dana@example.com")) is Code.CONFLICT


@pytest.mark.requirement("registry:person:account")
@pytest.mark.parametrize("controller", ["nobody@example.com", "group:nobody", "bot@example.com", "gone@example.com"])
def test_only_people_and_groups_that_are_there_answer_for_an_account(controller: str) -> None:
    fleet = Fleet.staffed()
    fleet.person("bot@example.com", "dana@example.com")
    _left(fleet, fleet.person("gone@example.com"))
    assert _refused(fleet, person_document("another@example.com", controller)) is Code.NOT_FOUND


@pytest.mark.requirement("registry:person:look-alike")
def test_an_address_that_differs_in_letter_case_alone_is_no_other_person() -> None:
    fleet = Fleet.staffed()
    fleet.person("Cat@example.com")
    assert _refused(fleet, person_document("cAT@EXAMPLE.com")) is Code.CONFLICT
    assert fleet.apply(person_document("Cat@EXAMPLE.com"))[0].outcome is ApplyOutcome.UNCHANGED
    assert _refused(fleet, person_document("ca\u0442@example.com")) is Code.MANIFEST_INVALID
    with pytest.raises(ManifestError):
        fleet.apply(person_document("eve@example.com"), person_document("EVE@example.com"))


# -- leaving


@pytest.mark.requirement("registry:person:left")
def test_somebody_who_left_owns_nothing_anew_and_does_not_come_back() -> None:
    fleet = Fleet.staffed()
    fleet.apply(*example("crm"), agent_document())
    _left(fleet, fleet.person("dana@example.com"))
    event = fleet.control.events[-1]
    assert (event.facts.kind, event.narrowing) == ("person.left", True)
    assert [part.value for part in event.parts] == [{"reason": "gave notice"}]
    assert "example.com" not in str(event.body)
    dana = fleet.registry.catalogue.person("dana@example.com")
    assert dana is not None
    assert dana.left
    assert asyncio.run(fleet.registry.person_left(dana.id, ADMIN)) is None
    assert _refused(fleet, changed(agent_document(), "spec.reach", "company")) is Code.OWNER_UNKNOWN
    assert _refused(fleet, person_document("dana@example.com")) is Code.CONFLICT
    assert _refused(fleet, person_document("dana@example.com", "lee@example.com")) is Code.CONFLICT


@pytest.mark.requirement("registry:person:left")
@pytest.mark.parametrize("owner", ["bot@example.com", "nobody@example.com", "DANA@example.com"])
def test_an_owner_is_a_person_who_is_there(owner: str) -> None:
    fleet = Fleet.staffed()
    fleet.person("bot@example.com", "lee@example.com")
    fleet.apply(*example("crm"))
    for field in ("spec.owner", "spec.backupOwner"):
        assert _refused(fleet, changed(agent_document(), field, owner)) is Code.OWNER_UNKNOWN


# -- two administrators


@pytest.mark.requirement("registry:proposal:administrators")
def test_no_way_leads_back_to_a_single_administrator() -> None:
    fleet = Fleet.staffed()
    ann, bob = fleet.person("ann@example.com"), fleet.person("bob@example.com")
    for act in (
        fleet.registry.revoke_role(f"rgr_admin_{bob}", _as(ann)),
        fleet.registry.person_left(bob, _as(ann)),
        fleet.registry.revoke_role(f"rgr_admin_{ann}", _as(ann)),
    ):
        with pytest.raises(ConflictError) as refused:
            asyncio.run(act)
        assert refused.value.code is Code.TWO_PERSONS_REQUIRED
    assert fleet.registry.organisation.holders(Role.ADMIN) == {ann, bob}
    fleet.grant(Role.ADMIN, fleet.person("cat@example.com"))
    asyncio.run(fleet.registry.person_left(bob, _as(ann)))
    assert bob not in fleet.registry.organisation.holders(Role.ADMIN)


@pytest.mark.requirement("registry:role:revoked")
def test_a_role_is_taken_back_at_once_by_one_person_and_only_once() -> None:
    fleet = Fleet.staffed()
    cat = fleet.person("cat@example.com")
    grant = fleet.grant(Role.SECURITY, cat)
    assert asyncio.run(fleet.registry.revoke_role(grant, ADMIN)) is not None
    assert fleet.control.events[-1].narrowing
    assert fleet.registry.organisation.roles_of(cat) == set()
    assert asyncio.run(fleet.registry.revoke_role(grant, ADMIN)) is None
    with pytest.raises(NotFoundError):
        asyncio.run(fleet.registry.revoke_role("rgr_nobody", ADMIN))


# -- delegations


def _delegated(fleet: Fleet, holder: PersonId, to: PersonId, role: Role = Role.SECURITY, days: int = 7) -> Delegation:
    until_us = fleet.clock.now().wall_us + days * DAY_US
    return asyncio.run(fleet.registry.delegate(to, role, until_us, _as(holder)))


@pytest.mark.requirement("registry:role:delegated")
def test_a_vote_is_lent_by_its_holder_for_a_time_and_given_back_by_either_side() -> None:
    fleet = Fleet.staffed()
    cat, dana, lee = (fleet.person(f"{name}@example.com") for name in ("cat", "dana", "lee"))
    fleet.grant(Role.SECURITY, cat)
    delegation = _delegated(fleet, cat, dana)
    assert fleet.registry.organisation.delegations_of(dana) == [delegation]
    with pytest.raises(ForbiddenError):
        asyncio.run(fleet.registry.end_delegation(delegation.id, _as(lee)))
    fleet.clock.advance(60)
    asyncio.run(fleet.registry.end_delegation(delegation.id, _as(dana)))
    (over,) = fleet.registry.organisation.delegations_of(cat)
    assert over.until_us == fleet.clock.now().wall_us, "it is over, and still known"
    assert asyncio.run(fleet.registry.end_delegation(delegation.id, _as(cat))) is None
    with pytest.raises(NotFoundError):
        asyncio.run(fleet.registry.end_delegation("dlg_nobody", _as(cat)))


@pytest.mark.requirement("registry:role:delegated")
def test_a_vote_is_lent_only_by_who_has_it_to_a_person_for_a_bounded_time() -> None:
    fleet = Fleet.staffed()
    cat, dana, gone = (fleet.person(f"{name}@example.com") for name in ("cat", "dana", "gone"))
    bot = fleet.person("bot@example.com", "lee@example.com")
    fleet.grant(Role.SECURITY, cat)
    fleet.grant(Role.OPERATOR, cat)
    _left(fleet, gone)
    refusals: list[tuple[dict[str, Any], type[AccreditError]]] = [
        ({"holder": dana, "to": cat}, ForbiddenError),
        ({"holder": cat, "to": dana, "role": Role.OPERATOR}, ForbiddenError),
        ({"holder": cat, "to": cat}, InvalidInputError),
        ({"holder": cat, "to": bot}, InvalidInputError),
        ({"holder": cat, "to": gone}, ConflictError),
        ({"holder": cat, "to": PersonId("psn_nobody")}, NotFoundError),
        ({"holder": cat, "to": dana, "days": 0}, InvalidInputError),
        ({"holder": cat, "to": dana, "days": 91}, InvalidInputError),
    ]
    for asked, error in refusals:
        with pytest.raises(error):
            _delegated(fleet, **asked)
    _delegated(fleet, cat, dana)
    with pytest.raises(ConflictError):
        _delegated(fleet, cat, dana)
    with pytest.raises(ForbiddenError):
        _delegated(fleet, dana, fleet.person("lee@example.com"))
    fleet.alone = True
    with pytest.raises(ConflictError):
        _delegated(fleet, cat, fleet.person("lee@example.com"))


# -- what the log contradicts


@pytest.mark.requirement("registry:state:unproven")
@pytest.mark.parametrize("kind", ["account_tie", "delegation", "group", "person", "role_grant"])
def test_nobody_is_judged_by_an_organisation_with_a_row_missing_that_could_bar_them(kind: str) -> None:
    control = Doubted()
    fleet = Fleet.staffed(control)
    assert fleet.registry.proven_organisation() is fleet.registry.organisation
    proposal = fleet.registry.propose_role(Role.SECURITY, person=fleet.person("dana@example.com"), actor=ADMIN)
    control.doubted = frozenset({(kind, "gone")})
    for act in (
        fleet.registry.proven_organisation,
        lambda: fleet.enact(proposal),
        lambda: fleet.registry.propose_role(Role.AUDITOR, person=fleet.person("lee@example.com"), actor=ADMIN),
    ):
        with pytest.raises(UnavailableError) as refused:
            act()
        assert refused.value.code is Code.STATE_UNPROVEN
    assert fleet.registry.organisation.people, "reading and stopping go on"
