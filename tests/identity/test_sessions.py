"""Sign-in links, sessions of the console, and what ends them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accredit.audit.ports import Actor
from accredit.identity import people as module
from accredit.identity import rows
from accredit.identity.model import ApiToken, Operator, TokenKind
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import PersonId
from accredit.registry.organisation import AccountTie
from tests.identity.world import ADMIN, SUPPORT, World, run

HERE = "127.0.0.1"
KIM = "kim@example.com"


class Place:
    """An installation with two administrators."""

    def __init__(self, world: World, dana: Operator, lee: Operator) -> None:
        self.world = world
        self.people = world.people
        self.dana = dana
        self.lee = lee

    @classmethod
    async def opened(cls) -> Place:
        world = World()
        link = await world.people.bootstrap_admin("dana@example.com")
        assert link is not None
        dana = await _token(world, link)
        lee = await _token(world, await world.people.invite_second_admin(dana, "lee@example.com"))
        return cls(world, replace(dana, basis="roles"), lee)

    async def person(self, email: str = KIM, *, controlled_by: list[str] | None = None) -> PersonId:
        return await self.world.person(email, controlled_by=controlled_by)

    async def session(self, person: PersonId) -> str:
        return await self.people.open_session(await self.people.sign_in_link(self.lee, person), source=HERE)

    def restarted(self) -> World:
        return World(control=self.world.control, clock=self.world.clock)


async def _token(world: World, link: str) -> Operator:
    return world.people.authenticate_operator((await world.people.login(link, "laptop", source=HERE)).secret)


def _code(world: World, secret: str) -> Code | None:
    try:
        world.people.authenticate_session(secret, touch=False)
    except UnauthenticatedError as error:
        return error.code
    return None


# -- links


@pytest.mark.requirement("identity:links:tied")
def test_whoever_makes_a_link_for_somebody_is_tied_to_the_account_and_nobody_to_their_own() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        before = place.world.clock.now().wall_us
        link = await place.people.sign_in_link(place.dana, kim)
        made = AccountTie(kim, place.dana.person, before)
        assert made in place.world.registry.organisation.ties_of(kim), "from the making on, opened or not"
        assert (await _token(place.world, link)).person == kim
        place.world.clock.advance(60)
        await place.people.sign_in_link(place.dana, kim)
        again = AccountTie(kim, place.dana.person, before + 60_000_000)
        assert again in place.world.registry.organisation.ties_of(kim)
        before_own = place.world.registry.organisation.ties_of(place.lee.person)
        await place.people.sign_in_link(place.lee, place.lee.person)
        assert place.world.registry.organisation.ties_of(place.lee.person) == before_own

    run(scenario())


@pytest.mark.requirement("identity:links:authority")
def test_only_who_manages_people_signs_others_in() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim, max_ = await place.person(), await place.person("max@example.com")
        someone = await _token(place.world, await place.people.sign_in_link(place.lee, kim))
        assert (someone.basis, someone.scopes) == ("roles", frozenset({"admin", "read"}))
        for who in (someone, replace(someone, basis="single-admin"), replace(place.lee, scopes=frozenset({"read"}))):
            with pytest.raises(ForbiddenError) as caught:
                await place.people.sign_in_link(who, max_)
            assert caught.value.code is Code.NOT_AUTHORISED
        own = await place.people.sign_in_link(someone, kim)
        assert (await _token(place.world, own)).person == kim
        with pytest.raises(NotFoundError):
            await place.people.sign_in_link(place.lee, PersonId("psn_nobody"))

    run(scenario())


@pytest.mark.requirement("identity:links:single")
def test_a_link_opens_one_token_or_one_session_and_a_newer_one_voids_it() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim, max_ = await place.person(), await place.person("max@example.com")
        lost = await place.people.sign_in_link(place.lee, kim)
        link = await place.people.sign_in_link(place.lee, kim)
        other = await place.people.sign_in_link(place.lee, max_)
        secret = await place.people.open_session(link, source=HERE)
        for used in (link, lost, secret, ""):
            with pytest.raises(UnauthenticatedError):
                await place.people.open_session(used, source=HERE)
            with pytest.raises(UnauthenticatedError):
                await place.people.login(used, "laptop", source=HERE)
        assert (await _token(place.world, other)).person == max_, "another's link is untouched"
        late = await place.people.sign_in_link(place.lee, kim)
        place.world.clock.advance(3600)
        place.world.clock.step_wall(-3000)
        with pytest.raises(UnauthenticatedError):
            await place.people.open_session(late, source=HERE)

    run(scenario())


@pytest.mark.requirement("identity:links:single")
def test_two_who_open_one_link_at_once_are_one() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        link = await place.people.sign_in_link(place.lee, await place.person())
        opened = []
        for attempt in (place.people.open_session(link, source=HERE), place.people.open_session(link, source=HERE)):
            try:
                opened.append(await attempt)
            except UnauthenticatedError:
                continue
        assert len(opened) == 1

    run(scenario())


@pytest.mark.requirement("identity:links:recorded")
def test_signing_in_is_on_record_with_where_it_came_from_sealed() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        await place.people.open_session(
            await place.people.sign_in_link(place.lee, await place.person()), source="203.0.113.9"
        )
        event = place.world.control.events[-1]
        assert event.facts.kind == "session.opened"
        assert "203.0.113.9" not in repr((event.facts, event.body))
        assert event.parts[0].value == {"source": "203.0.113.9"}

    run(scenario())


# -- sessions


@pytest.mark.requirement("identity:sessions:apart")
def test_a_session_is_no_token_and_a_token_no_session() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        secret = await place.session(kim)
        token = await place.people.login(await place.people.sign_in_link(place.lee, kim), "laptop", source=HERE)
        session = place.people.authenticate_session(secret)
        assert (session.person, session.basis) == (kim, "roles")
        assert session.credential.startswith("ses_")
        for recognise, foreign in (
            (place.people.authenticate_operator, secret),
            (place.people.authenticate_session, token.secret),
        ):
            with pytest.raises(UnauthenticatedError) as caught:
                recognise(foreign)
            assert caught.value.code is Code.API_TOKEN_UNKNOWN
        assert secret not in repr(place.world.control.events)

    run(scenario())


@pytest.mark.requirement("identity:sessions:fresh")
def test_a_sign_in_never_takes_over_a_secret_that_was_there_before() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        planted = await place.session(await place.person("eve@example.com"))
        first, second = await place.session(kim), await place.session(kim)
        assert len({planted, first, second}) == 3
        assert place.people.authenticate_session(planted).person != kim

    run(scenario())


@pytest.mark.requirement("identity:sessions:ends")
def test_a_session_ends_after_half_an_hour_without_use_and_looking_on_is_no_use() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        secret = await place.session(await place.person())
        place.world.clock.advance(1799)
        place.people.authenticate_session(secret)
        for _ in range(17):
            place.world.clock.advance(100)
            place.people.authenticate_session(secret, touch=False)
        place.world.clock.advance(100)
        assert _code(place.world, secret) is Code.TOKEN_EXPIRED
        with pytest.raises(UnauthenticatedError):
            place.people.authenticate_session(secret)

    run(scenario())


@pytest.mark.requirement("identity:sessions:ends")
def test_a_session_ends_after_twelve_hours_however_much_it_is_used() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        secret = await place.session(await place.person())
        for _ in range(47):
            place.world.clock.advance(900)
            place.people.authenticate_session(secret)
        place.world.clock.step_wall(-7200)
        place.world.clock.advance(900)
        assert _code(place.world, secret) is Code.TOKEN_EXPIRED

    run(scenario())


@pytest.mark.requirement("identity:sessions:ends")
@pytest.mark.parametrize("step_s", [-86_400, 86_400])
def test_a_wall_clock_that_steps_revives_no_idle_session(step_s: int) -> None:
    async def scenario() -> None:
        place = await Place.opened()
        secret = await place.session(await place.person())
        place.people.authenticate_session(secret)
        place.world.clock.advance(1800)
        place.world.clock.step_wall(step_s)
        assert _code(place.world, secret) is Code.TOKEN_EXPIRED

    run(scenario())


@pytest.mark.requirement("identity:sessions:restart")
def test_a_restart_revives_no_idle_session_and_keeps_one_in_use() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        left_alone, in_use = await place.session(await place.person()), await place.session(place.dana.person)
        for _ in range(3):
            place.world.clock.advance(600)
            place.people.authenticate_session(in_use)
            await place.people.sweep()
        after = place.restarted()
        assert _code(after, in_use) is None
        assert _code(after, left_alone) is Code.CREDENTIAL_REVOKED
        place.world.clock.advance(1800)
        assert _code(place.restarted(), in_use) is Code.TOKEN_EXPIRED, "the process was down; nobody used it"

    run(scenario())


@pytest.mark.requirement("identity:sessions:restart")
def test_use_is_written_down_now_and_then_and_not_for_every_page() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        secret = await place.session(await place.person())
        before = len(place.world.control.events)
        for _ in range(60):
            place.world.clock.advance(10)
            place.people.authenticate_session(secret)
            await place.people.sweep()
        assert len(place.world.control.events) - before == 2

    run(scenario())


@pytest.mark.requirement("identity:sessions:closed")
def test_signing_out_ends_the_session_at_once_and_no_other() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        secret, other = await place.session(kim), await place.session(kim)
        operator = place.people.authenticate_session(secret)
        await place.people.close_session(operator)
        assert (place.world.control.events[-1].facts.kind, place.world.control.events[-1].narrowing) == (
            "session.closed",
            True,
        )
        assert _code(place.world, secret) is Code.CREDENTIAL_REVOKED
        assert _code(place.world, other) is None
        await place.people.close_session(operator)
        with pytest.raises(ForbiddenError):  # what was ended makes nothing new
            await place.people.issue_token(operator, "ci", scopes=["admin"])

    run(scenario())


@pytest.mark.requirement("identity:people:service-accounts")
def test_a_service_account_has_tokens_and_no_session() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        await place.person()
        bot = await place.person("bot@example.com", controlled_by=[KIM])
        link = await place.people.sign_in_link(place.lee, bot)
        with pytest.raises(ForbiddenError):
            await place.people.open_session(link, source=HERE)
        operator = await _token(place.world, link)
        assert operator.person == bot, "the refusal did not use its link up"
        assert place.world.registry.organisation.ties_of(bot)

    run(scenario())


@pytest.mark.requirement("identity:people:service-accounts")
def test_a_session_ends_when_its_person_becomes_a_service_account() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        secret = await place.session(kim)
        row = place.world.control.view.get(rows.PERSON, kim)
        assert row is not None
        await place.world.put(rows.PERSON, kim, {**row.doc, "bot": True, "controllers": [place.dana.person]})
        assert _code(place.world, secret) is Code.NOT_AUTHORISED

    run(scenario())


# -- leaving


@pytest.mark.requirement("identity:people:left")
def test_nothing_of_a_person_who_left_works_from_that_moment_on() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        session = await place.session(kim)
        token = await place.people.login(await place.people.sign_in_link(place.lee, kim), "laptop", source=HERE)
        operator = place.people.authenticate_operator(token.secret)
        unused = await place.people.sign_in_link(place.lee, kim)
        await place.world.registry.person_left(kim, ADMIN)
        assert _code(place.world, session) is Code.PERSON_LEFT
        with pytest.raises(UnauthenticatedError) as caught:
            place.people.authenticate_operator(token.secret)
        assert caught.value.code is Code.PERSON_LEFT
        with pytest.raises(UnauthenticatedError):
            await place.people.open_session(unused, source=HERE)
        with pytest.raises(ForbiddenError):
            await place.people.issue_token(operator, "ci", scopes=["read"])
        with pytest.raises(ConflictError) as refused:
            await place.people.sign_in_link(place.lee, kim)
        assert refused.value.code is Code.PERSON_LEFT

    run(scenario())


@pytest.mark.requirement("identity:people:left")
def test_a_link_made_by_somebody_who_left_opens_nothing() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim, max_ = await place.person(), await place.person("max@example.com")
        operator = await _token(place.world, await place.people.sign_in_link(place.lee, kim))
        row = place.world.control.view.get("role_grant", place.world.registry.organisation.grants[0].id)
        assert row is not None
        await place.world.put("role_grant", "rgr_kim", {**row.doc, "holder": kim})
        kept = await place.people.sign_in_link(operator, max_)
        await place.world.registry.person_left(kim, ADMIN)
        with pytest.raises(UnauthenticatedError):
            await place.people.open_session(kept, source=HERE)

    run(scenario())


@pytest.mark.requirement("identity:people:ended")
def test_ending_somebodys_credentials_takes_all_they_hold_and_all_they_gave_out() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        world = await place.world.started()
        kim = await place.person()
        session = await place.session(place.lee.person)
        for_kim = await place.people.sign_in_link(place.lee, kim)
        from_lee = await world.enrolment.issue_join_token(SUPPORT, actor=Actor(person=place.lee.person))
        from_dana = await world.enrolment.issue_join_token(SUPPORT, actor=Actor(person=place.dana.person))
        await place.people.end_credentials_of(place.lee.person, ADMIN, "laptop stolen")
        event = world.control.events[-1]
        assert event.narrowing
        assert "laptop stolen" not in repr((event.facts, event.body))
        assert _code(world, session) is Code.CREDENTIAL_REVOKED
        with pytest.raises(UnauthenticatedError):
            await place.people.open_session(for_kim, source=HERE)
        ended = {row.key for row in world.control.view.scan(rows.JOIN_TOKEN) if row.doc["expires_us"] == 0}
        assert ended == {rows.secret_hash(from_lee.secret)}
        assert from_dana.secret != from_lee.secret
        before = len(world.control.events)
        await place.people.end_credentials_of(place.lee.person, ADMIN)
        assert len(world.control.events) == before
        with pytest.raises(NotFoundError):
            await place.people.end_credentials_of(PersonId("psn_nobody"), ADMIN)

    run(scenario())


@pytest.mark.requirement("identity:people:ended")
def test_more_credentials_than_fit_into_one_change_are_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ALIVE_EACH", 1_000)  # as an earlier release let them be made

    async def scenario() -> None:
        place = await Place.opened()
        for number in range(450):
            await place.people.issue_token(place.lee, f"ci-{number}", scopes=["read"])
        await place.people.end_credentials_of(place.lee.person, ADMIN)
        assert all(token.revoked for token in place.people.tokens(place.lee))

    run(scenario())


# -- upkeep and bounds


@pytest.mark.requirement("identity:people:tidy")
def test_what_ended_long_ago_is_forgotten_and_a_clock_that_leaps_ahead_forgets_nobody() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        await place.session(kim)
        await place.people.sign_in_link(place.lee, kim)
        place.world.clock.step_wall(400 * 86_400)
        await place.people.sweep()
        assert len(place.world.state.api_tokens()) == 3
        assert list(place.world.control.view.scan(rows.LOGIN_LINK))
        place.world.clock.step_wall(-400 * 86_400)
        place.world.clock.advance(86_400 + 12 * 3600)
        await place.people.sweep()
        await place.people.sweep()
        assert {token.kind for token in place.world.state.api_tokens()} == {TokenKind.TOKEN}
        assert not list(place.world.control.view.scan(rows.LOGIN_LINK))
        before = len(place.world.control.events)
        await place.people.sweep()
        assert len(place.world.control.events) == before

    run(scenario())


@pytest.mark.requirement("identity:people:bounds")
def test_attempts_to_open_a_session_are_limited_before_the_link_is_looked_at() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        link = await place.people.sign_in_link(place.lee, await place.person())
        place.world.gate.wait_s = 3.0
        with pytest.raises(UnavailableError):
            await place.people.open_session(link, source=HERE)
        place.world.gate.wait_s = None
        await place.people.open_session(link, source=HERE)

    run(scenario())


@pytest.mark.requirement("identity:people:bounds")
def test_only_live_credentials_count_against_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ALIVE", 4)

    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        first, second = await place.session(kim), await place.session(kim)
        link = await place.people.sign_in_link(place.lee, kim)
        with pytest.raises(ConflictError):
            await place.people.open_session(link, source=HERE)
        await place.people.close_session(place.people.authenticate_session(first))
        assert await place.people.open_session(link, source=HERE) != second

    run(scenario())


@pytest.mark.requirement("identity:state:proven")
def test_a_person_or_a_second_administrator_whom_the_log_contradicts_does_not_count() -> None:
    async def scenario() -> None:
        place = await Place.opened()
        kim = await place.person()
        secret = await place.session(kim)
        place.world.control.doubted = frozenset({(rows.PERSON, kim)})
        assert _code(place.world, secret) is Code.STATE_UNPROVEN
        await place.world.put(rows.SECOND_ADMIN, rows.SECOND, None)
        assert place.world.state.bootstrapping
        place.world.control.doubted = frozenset({(rows.SECOND_ADMIN, rows.SECOND)})
        assert not place.world.state.bootstrapping, "a row taken away by hand brings the rule of one not back"

    run(scenario())


@pytest.mark.requirement("identity:people:older-rows")
def test_a_token_given_out_before_there_were_sessions_is_still_one() -> None:
    doc = {
        "basis": "single-admin", "expires_us": 2, "id": "tok_1", "issued_us": 1, "person": "psn_1",
        "profile": "laptop", "revoked": False, "scopes": ["read"],
    }  # fmt: skip
    assert rows.api_token_from(doc) == ApiToken("tok_1", PersonId("psn_1"), "laptop", frozenset({"read"}), 1, 2)
