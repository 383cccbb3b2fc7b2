"""One administrator begins, a second one joins by one link, and the time of one person's rule is over for good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accredit.identity.model import Operator
from accredit.identity.rows import secret_hash
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, UnauthenticatedError
from accredit.registry.model import Role
from tests.identity.world import ADMIN, World, run
from tests.registry.test_look_alikes import ADDRESSES

FIRST = "dana@example.com"
SECOND = "lee@example.com"
HERE = "127.0.0.1"


async def _first(world: World) -> Operator:
    link = await world.people.bootstrap_admin(FIRST)
    assert link is not None
    return await _in(world, link)


async def _in(world: World, link: str) -> Operator:
    return world.people.authenticate_operator((await world.people.login(link, "laptop", source=HERE)).secret)


async def _both(world: World) -> tuple[Operator, Operator]:
    first = await _first(world)
    second = await _in(world, await world.people.invite_second_admin(first, SECOND))
    return first, second


def _alone(world: World) -> bool:
    return world.state.bootstrapping


async def _refused(world: World, link: str) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await world.people.login(link, "laptop", source=HERE)
    assert caught.value.code is Code.LINK_INVALID
    return caught.value.cause


@pytest.mark.requirement("identity:admins:second")
def test_the_second_administrator_joins_by_the_firsts_one_link_and_ends_the_rule_of_one() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        assert (first.basis, _alone(world)) == ("single-admin", True)
        link = await world.people.invite_second_admin(first, SECOND)
        assert _alone(world), "an invitation nobody took up changes nothing"
        second = await _in(world, link)
        assert not _alone(world)
        assert (second.basis, second.person) != (first.basis, first.person)
        assert world.registry.organisation.holders(Role.ADMIN) == {first.person, second.person}
        assert world.control.events[-1].facts.kind == "admin.joined"
        grants = world.registry.organisation.grants
        assert {grant.by for grant in grants} == {frozenset()}, "neither stands behind the other's role"
        assert world.registry.organisation.ties == ()
        again = World(control=world.control, clock=world.clock)
        assert not _alone(again)

    run(scenario())


@pytest.mark.requirement("identity:admins:second")
def test_what_the_first_does_afterwards_is_done_by_role() -> None:
    async def scenario() -> None:
        world = World()
        link = await world.people.bootstrap_admin(FIRST)
        assert link is not None
        login = await world.people.login(link, "laptop", source=HERE)
        first = world.people.authenticate_operator(login.secret)
        await _in(world, await world.people.invite_second_admin(first, SECOND))
        assert world.people.authenticate_operator(login.secret).basis == "roles"

    run(scenario())


@pytest.mark.requirement("identity:admins:one-invitation")
def test_one_invitation_is_open_at_a_time_and_none_once_somebody_joined() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        lost = await world.people.invite_second_admin(first, SECOND)
        with pytest.raises(ConflictError):
            await world.people.invite_second_admin(first, "eve@example.com")
        world.clock.advance(3600)
        link = await world.people.invite_second_admin(first, SECOND)
        world.clock.step_wall(-3000)
        await _refused(world, lost)
        await _in(world, link)
        await _refused(world, link)
        for email in (SECOND, "eve@example.com"):
            with pytest.raises(ForbiddenError):
                await world.people.invite_second_admin(first, email)

    run(scenario())


@pytest.mark.requirement("identity:admins:one-invitation")
def test_an_invitation_sent_to_a_wrong_address_can_be_withdrawn() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        link = await world.people.invite_second_admin(first, "lea@example.com")
        await world.people.withdraw_invitation(first)
        assert world.control.events[-1].narrowing
        await _refused(world, link)
        await world.people.withdraw_invitation(first)
        await _in(world, await world.people.invite_second_admin(first, SECOND))
        with pytest.raises(ForbiddenError):
            await world.people.withdraw_invitation(first)

    run(scenario())


@pytest.mark.requirement("identity:admins:invitee")
def test_the_invited_is_another_person_who_is_there_and_no_service_account() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        gone = await world.person("gone@example.com")
        await world.registry.person_left(gone, ADMIN)
        await world.person("bot@example.com", controlled_by=[FIRST])
        for email in (FIRST, "dana@EXAMPLE.com", "Dana@example.com", "gone@example.com", "bot@example.com"):
            with pytest.raises(ConflictError):
                await world.people.invite_second_admin(first, email)
        for email in ("", "lee", "lee@exämple.com", "le\u0435@example.com", *ADDRESSES.values()):
            with pytest.raises(InvalidInputError):
                await world.people.invite_second_admin(first, email)
        assert not list(world.control.view.scan("login_link"))

    run(scenario())


@pytest.mark.requirement("identity:admins:invitee")
def test_only_the_administrator_invites_and_only_with_a_credential_that_may_change_things() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        member = await world.person("kim@example.com")
        kim = await _in(world, await world.people.sign_in_link(first, member))
        assert kim.basis == "roles", "whoever signs in meanwhile is no single administrator"
        for who in (kim, replace(kim, basis="single-admin"), replace(first, scopes=frozenset({"read"}))):
            with pytest.raises(ForbiddenError):
                await world.people.invite_second_admin(who, SECOND)

    run(scenario())


@pytest.mark.requirement("identity:admins:own-credential")
def test_whoever_joins_does_so_with_a_credential_that_nobody_held_before() -> None:
    """The first could sign in as a person, then invite exactly that one, and be two administrators."""

    async def scenario() -> None:
        world = World()
        first = await _first(world)
        lee = await world.person(SECOND)
        earlier = await world.people.login(await world.people.sign_in_link(first, lee), "laptop", source=HERE)
        session = await world.people.open_session(await world.people.sign_in_link(first, lee), source=HERE)
        unused = await world.people.sign_in_link(first, lee)
        assert world.registry.organisation.ties_of(lee)
        second = await _in(world, await world.people.invite_second_admin(first, SECOND))
        assert second.person == lee
        for attempt in (world.people.authenticate_operator, world.people.authenticate_session):
            for secret in (earlier.secret, session):
                with pytest.raises(UnauthenticatedError):
                    attempt(secret)
        await _refused(world, unused)
        assert not world.registry.organisation.ties_of(first.person), "these two must be able to begin"

    run(scenario())


@pytest.mark.requirement("identity:admins:kept")
def test_neither_of_the_two_can_make_themselves_the_only_one() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        with pytest.raises(ConflictError):
            await world.registry.person_left(first.person, ADMIN)
        second = await _in(world, await world.people.invite_second_admin(first, SECOND))
        for one in (first, second):
            with pytest.raises(ConflictError):
                await world.registry.person_left(one.person, ADMIN)
        await world.people.end_credentials_of(second.person, ADMIN)
        assert not _alone(world), "an administrator who is kept out does not bring the rule of one back"
        with pytest.raises(ForbiddenError):
            await world.people.invite_second_admin(first, "eve@example.com")

    run(scenario())


@pytest.mark.requirement("identity:admins:recovery")
def test_when_no_administrator_can_act_any_more_whoever_starts_the_server_gets_one_link() -> None:
    async def scenario() -> None:
        world = World()
        first, second = await _both(world)
        assert await world.people.bootstrap_admin(FIRST) is None
        world.clock.advance(6 * 86_400)
        reader = await world.people.issue_token(second, "ci", scopes=["read"], ttl_s=90 * 86_400)
        world.clock.advance(2 * 86_400)
        assert world.people.authenticate_operator(reader.secret), "it may read, and help nobody in"
        link = await world.people.bootstrap_admin(FIRST)
        assert link is not None
        assert world.control.events[-1].actor.basis == "recovery"
        back = await _in(world, link)
        assert (back.person, back.basis) == (first.person, "roles")

    run(scenario())


@pytest.mark.requirement("identity:admins:recovery")
def test_an_installation_of_before_there_were_roles_gives_its_first_administrator_the_role() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        grant = world.registry.organisation.grants[0]
        await world.put("role_grant", grant.id, None)
        later = World(control=world.control, clock=world.clock)
        assert not later.registry.organisation.held(first.person, Role.ADMIN, None)
        assert await later.people.bootstrap_admin(FIRST) is None, "who can act already needs no link"
        assert later.registry.organisation.held(first.person, Role.ADMIN, None)
        assert await later.people.bootstrap_admin(FIRST) is None
        assert len(later.registry.organisation.grants) == 1

    run(scenario())


@pytest.mark.requirement("identity:admins:second")
def test_an_invitation_of_an_inviter_who_does_not_count_any_more_makes_nobody_an_administrator() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        link = await world.people.invite_second_admin(first, SECOND)
        row = world.control.view.get("person", first.person)
        assert row is not None
        await world.put("person", first.person, {**row.doc, "left": True})
        await _refused(world, link)
        assert _alone(world)

    run(scenario())


@pytest.mark.requirement("identity:admins:second")
def test_a_second_invitation_slipped_past_the_first_makes_no_third_administrator() -> None:
    async def scenario() -> None:
        world = World()
        first = await _first(world)
        link = await world.people.invite_second_admin(first, SECOND)
        stray = dict(next(iter(world.control.view.scan("login_link"))).doc)
        third = await world.person("eve@example.com")
        await world.put("login_link", secret_hash("accl_stray"), {**stray, "person": third})
        await _in(world, link)
        await _refused(world, "accl_stray")
        assert third not in world.registry.organisation.holders(Role.ADMIN)

    run(scenario())
