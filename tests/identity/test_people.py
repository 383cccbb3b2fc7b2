"""People act with credentials of their own; nothing acts for another."""

from __future__ import annotations

import inspect

import pytest

from accredit.identity import people as module
from accredit.identity.model import Operator
from accredit.identity.people import Login, People
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.registry.model import Role
from tests.identity.world import World, run

_EMAIL = "dana@example.com"


async def _link(world: World) -> str:
    link = await world.people.bootstrap_admin(_EMAIL)
    assert link is not None
    return link


async def _signed_in(world: World) -> tuple[Login, Operator]:
    login = await world.people.login(await _link(world), "laptop", source="127.0.0.1")
    return login, world.people.authenticate_operator(login.secret)


def _code(world: World, token: str) -> Code | None:
    try:
        world.people.authenticate_operator(token)
    except UnauthenticatedError as error:
        return error.code
    return None


@pytest.mark.requirement("identity:people:first-admin")
def test_the_first_link_makes_its_holder_the_single_admin() -> None:
    async def scenario() -> None:
        world = World()
        login, operator = await _signed_in(world)
        assert operator.person == login.token.person
        assert operator.person.startswith("psn_")
        assert operator.basis == "single-admin"
        assert operator.scopes == {"admin", "read"}
        row = world.control.view.get("person", operator.person)
        assert row is not None
        assert row.doc["email"] == _EMAIL
        assert len(row.doc["salt"]) == 32, "its digest stands in the log: an address alone could be guessed"
        assert world.registry.organisation.held(operator.person, Role.ADMIN, None)

    run(scenario())


@pytest.mark.requirement("identity:people:no-secrets")
def test_neither_link_nor_token_is_stored_and_no_event_says_the_address_in_clear() -> None:
    async def scenario() -> None:
        world = World()
        link = await _link(world)
        login = await world.people.login(link, "laptop", source="127.0.0.1")
        events = world.control.events
        assert link not in repr(events)
        assert login.secret not in repr(events) + repr(login)
        assert _EMAIL not in repr([(event.facts, event.body) for event in events])

    run(scenario())


@pytest.mark.requirement("identity:people:single-use")
def test_a_link_signs_in_once_and_within_its_hour() -> None:
    async def scenario() -> None:
        world = World()
        link = await _link(world)
        world.clock.advance(3600)
        with pytest.raises(UnauthenticatedError) as caught:
            await world.people.login(link, "laptop", source="127.0.0.1")
        assert caught.value.code is Code.LINK_INVALID
        fresh = await _link(world)
        await world.people.login(fresh, "laptop", source="127.0.0.1")
        for used in (fresh, link, "", "accl_x", "x" * 10_000):
            with pytest.raises(UnauthenticatedError):
                await world.people.login(used, "laptop", source="127.0.0.1")

    run(scenario())


@pytest.mark.requirement("identity:people:first-admin")
def test_a_new_link_voids_the_one_before_and_there_is_none_while_somebody_can_act() -> None:
    async def scenario() -> None:
        world = World()
        lost = await _link(world)
        link = await _link(world)
        with pytest.raises(UnauthenticatedError):
            await world.people.login(lost, "laptop", source="127.0.0.1")
        login = await world.people.login(link, "laptop", source="127.0.0.1")
        assert await world.people.bootstrap_admin("eve@example.com") is None
        world.clock.advance(7 * 86_400)
        again = await world.people.login(await _link(world), "laptop", source="127.0.0.1")
        assert again.token.person == login.token.person, "a lost token never makes a second first admin"

    run(scenario())


@pytest.mark.requirement("identity:people:expiry")
def test_a_token_expires_on_either_clock() -> None:
    async def scenario() -> None:
        world = World()
        login, _ = await _signed_in(world)
        world.clock.advance(7 * 86_400 - 1)
        assert _code(world, login.secret) is None
        world.clock.advance(1)
        assert _code(world, login.secret) is Code.TOKEN_EXPIRED
        world.clock.step_wall(-86_400)
        assert _code(world, login.secret) is Code.TOKEN_EXPIRED

    run(scenario())


@pytest.mark.requirement("identity:people:scopes")
def test_a_further_token_never_has_more_scopes_than_its_maker() -> None:
    async def scenario() -> None:
        world = World()
        _, operator = await _signed_in(world)
        world.clock.advance(1)
        reading = await world.people.issue_token(operator, "ci", scopes=["read"], ttl_s=3600)
        reader = world.people.authenticate_operator(reading.secret)
        assert (reader.person, reader.scopes) == (operator.person, frozenset({"read"}))
        for scopes in (["admin"], ["read"]):  # a leaked reading token must not live on in copies of itself
            with pytest.raises(ForbiddenError):
                await world.people.issue_token(reader, "ci", scopes=scopes)
        with pytest.raises(ForbiddenError):
            await world.people.issue_token(operator, "ci", scopes=["root"])
        with pytest.raises(InvalidInputError):
            await world.people.issue_token(operator, "ci", scopes=[])
        with pytest.raises(InvalidInputError):
            await world.people.issue_token(operator, "ci", scopes=["read"], ttl_s=10**9)
        assert [token.profile for token in world.people.tokens(operator)] == ["laptop", "ci"]

    run(scenario())


@pytest.mark.requirement("identity:people:room")
def test_nobody_uses_up_the_room_of_all_and_nobody_is_kept_out_by_what_was_done_with_their_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_ALIVE_EACH", 3)

    async def scenario() -> None:
        world = World()
        first, operator = await _signed_in(world)
        made = []
        for _ in range(2):
            world.clock.advance(1)
            made.append((await world.people.issue_token(operator, "ci", scopes=["read"])).secret)
        with pytest.raises(ConflictError) as refused:
            await world.people.issue_token(operator, "ci", scopes=["read"])
        assert refused.value.code is Code.CONFLICT
        world.clock.advance(1)
        link = await world.people.sign_in_link(operator, operator.person)
        fresh = await world.people.login(link, "laptop", source="127.0.0.1")
        assert _code(world, first.secret) is Code.CREDENTIAL_REVOKED, "the oldest made room"
        assert {_code(world, secret) for secret in (*made, fresh.secret)} == {None}

    run(scenario())


@pytest.mark.requirement("identity:people:revoke")
def test_a_revoked_token_is_refused_at_once_and_only_its_owner_can_name_it() -> None:
    async def scenario() -> None:
        world = World()
        login, operator = await _signed_in(world)
        stranger = Operator(type(operator.person)("psn_other"), "tok_x", operator.scopes, "")
        with pytest.raises(NotFoundError):
            await world.people.revoke_token(stranger, login.token.id)
        await world.people.revoke_token(operator, login.token.id)
        await world.people.revoke_token(operator, login.token.id)
        assert _code(world, login.secret) is Code.CREDENTIAL_REVOKED
        assert world.control.events[-1].narrowing

    run(scenario())


@pytest.mark.requirement("identity:people:revoke")
def test_a_reading_token_ends_itself_and_no_other() -> None:
    async def scenario() -> None:
        world = World()
        login, operator = await _signed_in(world)
        reading = await world.people.issue_token(operator, "ci", scopes=["read"])
        reader = world.people.authenticate_operator(reading.secret)
        with pytest.raises(ForbiddenError):
            await world.people.revoke_token(reader, login.token.id)
        await world.people.revoke_token(reader, reading.token.id)
        assert _code(world, reading.secret) is Code.CREDENTIAL_REVOKED
        assert _code(world, login.secret) is None

    run(scenario())


@pytest.mark.requirement("identity:people:tokens")
def test_every_bad_api_token_gets_the_same_outward_text() -> None:
    async def scenario() -> None:
        world = World()
        login, operator = await _signed_in(world)
        await world.people.revoke_token(operator, login.token.id)
        told = set()
        for token in ("", "x", login.secret, login.secret + "x", "y" * 10_000, "\ud800"):
            with pytest.raises(UnauthenticatedError) as caught:
                world.people.authenticate_operator(token)
            told.add((caught.value.message, caught.value.hint))
        assert len(told) == 1

    run(scenario())


@pytest.mark.requirement("identity:people:bounds")
def test_names_addresses_and_attempts_are_bounded() -> None:
    async def scenario() -> None:
        world = World()
        for email in ("", "dana", "dana@", "a\n@example.com", "x" * 300 + "@example.com"):
            with pytest.raises(InvalidInputError):
                await world.people.bootstrap_admin(email)
        link = await _link(world)
        for profile in ("", "../x", "a" * 200, "a b"):
            with pytest.raises(InvalidInputError):
                await world.people.login(link, profile, source="127.0.0.1")
        world.gate.wait_s = 1.0
        with pytest.raises(UnavailableError):
            await world.people.login(link, "laptop", source="127.0.0.1")
        world.gate.wait_s = None
        await world.people.login(link, "laptop", source="127.0.0.1")

    run(scenario())


@pytest.mark.requirement("identity:people:no-act-as")
def test_no_way_in_takes_the_name_of_a_person_to_act_as() -> None:
    taken = {
        name
        for method in (People.login, People.authenticate_operator, People.issue_token, People.revoke_token)
        for name in inspect.signature(method).parameters
    }
    assert taken.isdisjoint({"person", "as_person", "user", "act_as", "on_behalf_of", "email"})


@pytest.mark.requirement("identity:state:rebuilt")
def test_a_restart_recognises_the_tokens_given_out_before() -> None:
    async def scenario() -> None:
        world = World()
        login, operator = await _signed_in(world)
        after = World(control=world.control, clock=world.clock)
        assert after.people.authenticate_operator(login.secret) == operator
        assert await after.people.bootstrap_admin(_EMAIL) is None

    run(scenario())
