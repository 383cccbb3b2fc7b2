"""Taking it back: on the next call, in flight, and against every race."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.audit.model import Receipt
from accredit.audit.ports import Change, StateView
from accredit.identity.endpoint import TokenRefusal
from accredit.identity.model import CredentialState, Revocation, RevocationKind
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError, UnauthenticatedError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId
from accredit.registry.errors import ManifestError
from tests.identity.world import ADMIN, BILLING, SUPPORT, Instance, World, granted, refusal, run


def _code(world: World, token: str) -> Code | None:
    try:
        world.verifier.verify(token, path="/mcp/crm")
    except UnauthenticatedError as error:
        return error.code
    return None


async def _both() -> tuple[World, Instance, Instance]:
    world = await World().started()
    return world, await world.instance(), await world.instance()


@pytest.mark.requirement("identity:revoke:agent")
def test_revoking_an_agent_ends_every_token_and_key_of_it_on_the_next_call() -> None:
    async def scenario() -> None:
        world, one, two = await _both()
        other = await world.instance(BILLING)
        tokens = [await one.token(), await two.token(), granted(await one.ask_exchange())]
        principals = [world.verifier.verify(token, path="/mcp/crm") for token in tokens]
        kept = await other.token()
        await world.revocations.revoke_agent(SUPPORT, actor=ADMIN, reason="it misbehaved")
        assert [_code(world, token) for token in tokens] == [Code.CREDENTIAL_REVOKED] * 3
        assert [world.verifier.still_valid(principal) for principal in principals] == [Code.CREDENTIAL_REVOKED] * 3
        assert refusal(await one.ask()).code is Code.CREDENTIAL_REVOKED
        assert _code(world, kept) is None
        event = world.control.events[-1]
        assert (event.facts.kind, event.narrowing) == ("agent.revoked", True)
        assert "misbehaved" not in repr((event.facts, event.body))

    run(scenario())


@pytest.mark.requirement("identity:revoke:agent")
def test_an_agent_enrolled_anew_works_and_its_old_tokens_stay_dead() -> None:
    async def scenario() -> None:
        world, one, _ = await _both()
        old = await one.token()
        await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
        fresh = await (await world.instance()).token()
        assert _code(world, fresh) is None
        assert _code(world, old) is Code.CREDENTIAL_REVOKED
        assert world.verifier.verify(fresh, path="/mcp/crm").epoch == 2

    run(scenario())


@pytest.mark.requirement("identity:revoke:credential")
def test_revoking_or_locking_one_instance_leaves_the_others_working() -> None:
    async def scenario() -> None:
        world, one, two = await _both()
        three = await world.instance()
        tokens = [await one.token(), await two.token(), await three.token()]
        await world.revocations.revoke_credential(one.credential.id, actor=ADMIN)
        await world.revocations.lock(two.credential.id, actor=ADMIN)
        assert [_code(world, token) for token in tokens] == [Code.CREDENTIAL_REVOKED, Code.CREDENTIAL_LOCKED, None]
        assert refusal(await two.ask()).code is Code.CREDENTIAL_LOCKED

    run(scenario())


@pytest.mark.requirement("identity:revoke:issuer")
def test_revoking_an_issuer_ends_what_rests_on_its_word_and_registering_it_anew_revives_nothing() -> None:
    async def scenario() -> None:
        world, one, _ = await _both()
        own = await one.token()
        behalf = granted(await one.ask_exchange())
        with_task = granted(await one.ask_exchange(task_token=world.task_token()))
        await world.revocations.revoke_issuer(world.ticketing.id, actor=ADMIN)
        assert [_code(world, token) for token in (own, behalf, with_task)] == [None, None, Code.CREDENTIAL_REVOKED]
        reply = await one.ask_exchange(task_token=world.task_token())
        assert refusal(reply).code is Code.CREDENTIAL_REVOKED
        await world.revocations.revoke_issuer(world.users.id, actor=ADMIN)
        assert [_code(world, token) for token in (own, behalf)] == [None, Code.CREDENTIAL_REVOKED]
        with pytest.raises(ManifestError):
            await world.register("staff", world.user_issuer())
        assert refusal(await one.ask_exchange()).code is Code.CREDENTIAL_REVOKED
        await world.register("staff-2", world.user_issuer())
        assert _code(world, behalf) is Code.CREDENTIAL_REVOKED
        assert _code(world, granted(await one.ask_exchange())) is None

    run(scenario())


@pytest.mark.requirement("identity:revoke:race")
def test_a_revocation_that_overtakes_an_issue_keeps_the_token_from_leaving() -> None:
    async def scenario() -> None:
        world, one, _ = await _both()

        async def revoke() -> None:
            world.audit.before_durable = None
            await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)

        world.audit.before_durable = revoke
        refused = refusal(await one.ask())
        assert (refused.code, refused.cause) == (Code.CREDENTIAL_REVOKED, "while issuing")

    run(scenario())


@pytest.mark.requirement("identity:revoke:race")
def test_a_revocation_while_the_tasks_issuer_is_asked_keeps_the_token_from_being_made() -> None:
    async def scenario() -> None:
        world, one, _ = await _both()
        issued = len(world.audit.entries)

        async def revoke() -> None:
            world.statuses.before_answer = None
            await world.revocations.revoke_issuer(world.users.id, actor=ADMIN)

        world.statuses.before_answer = revoke
        refused = refusal(await one.ask_exchange(task_token=world.task_token()))
        assert (refused.code, refused.cause) == (Code.CREDENTIAL_REVOKED, "before issuing")
        assert len(world.audit.entries) == issued

    run(scenario())


@pytest.mark.requirement("identity:revoke:race")
@settings(max_examples=25)
@given(st.lists(st.sampled_from(["ask", "revoke", "enrol", "turn"]), max_size=8))
def test_no_interleaving_of_issues_and_revocations_leaves_a_token_of_before_alive(steps: list[str]) -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()
        asked: list[tuple[int, asyncio.Task[object]]] = []
        revoked = 0

        async def slowly() -> None:
            await asyncio.sleep(0)

        world.audit.before_durable = slowly
        for step in steps:
            match step:
                case "ask":
                    asked.append((revoked, asyncio.ensure_future(instance.ask())))
                case "revoke":
                    revoked += 1
                    await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
                case "enrol":
                    instance = await world.instance()
                case _:
                    await asyncio.sleep(0)
        replies = [(before, await task) for before, task in asked]
        for before, reply in replies:
            if isinstance(reply, TokenRefusal):
                assert reply.code is Code.CREDENTIAL_REVOKED
            elif before < revoked:
                # granted before the revocation came: whoever got it can do nothing with it
                assert _code(world, granted(reply)) is Code.CREDENTIAL_REVOKED  # type: ignore[arg-type]  # not a refusal
            else:
                assert _code(world, granted(reply)) is None  # type: ignore[arg-type]  # not a refusal

    run(scenario())


@pytest.mark.requirement("identity:revoke:listeners")
def test_whoever_has_calls_in_flight_is_told_what_ended_and_whose_they_are() -> None:
    async def scenario() -> None:
        world, one, two = await _both()
        ended: list[Revocation] = []
        mine = world.verifier.verify(granted(await one.ask_exchange()), path="/mcp/crm")
        theirs = world.verifier.verify(await two.token(), path="/mcp/crm")
        world.state.on_revoked(ended.append)
        await world.revocations.revoke_credential(one.credential.id, actor=ADMIN)
        await world.revocations.revoke_issuer(world.users.id, actor=ADMIN)
        assert [(one.kind, one.ends(mine), one.ends(theirs)) for one in ended] == [
            (RevocationKind.CREDENTIAL, True, False),
            (RevocationKind.ISSUER, True, False),
        ]
        ended.clear()
        await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
        assert {revocation.kind for revocation in ended} == {RevocationKind.AGENT, RevocationKind.CREDENTIAL}
        assert any(revocation.ends(theirs) for revocation in ended)

    run(scenario())


@pytest.mark.requirement("identity:revoke:narrowing")
def test_a_revocation_holds_even_if_it_cannot_be_recorded() -> None:
    class Failing(type(World().control)):  # type: ignore[misc]  # the double's own class, whatever it is
        failing = False

        async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
            receipt: Receipt | None = await super().transact(build)
            if self.failing:
                raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is full")
            return receipt

    async def scenario() -> None:
        control = Failing()
        world = await World(control=control).started()
        instance = await world.instance()
        token = await instance.token()
        control.failing = True
        with pytest.raises(UnavailableError):
            await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
        assert _code(world, token) is Code.CREDENTIAL_REVOKED

    run(scenario())


@pytest.mark.requirement("identity:revoke:narrowing")
def test_revoking_again_changes_nothing_and_a_revoked_key_is_never_merely_locked() -> None:
    async def scenario() -> None:
        world, one, _ = await _both()
        await world.revocations.revoke_credential(one.credential.id, actor=ADMIN)
        events = len(world.control.events)
        await world.revocations.revoke_credential(one.credential.id, actor=ADMIN)
        await world.revocations.lock(one.credential.id, actor=ADMIN)
        assert len(world.control.events) == events
        found = world.state.credential(one.credential.id)
        assert found is not None
        assert found.state is CredentialState.REVOKED

    run(scenario())


@pytest.mark.requirement("identity:revoke:unknown")
def test_revoking_what_does_not_exist_says_so() -> None:
    async def scenario() -> None:
        world = await World().started()
        with pytest.raises(NotFoundError):
            await world.revocations.revoke_agent(AgentId("agt_nobody"), actor=ADMIN)
        with pytest.raises(NotFoundError):
            await world.revocations.revoke_credential(CredentialId("crd_none"), actor=ADMIN)
        with pytest.raises(NotFoundError):
            await world.revocations.lock(CredentialId("crd_none"), actor=ADMIN)
        with pytest.raises(NotFoundError):
            await world.revocations.revoke_issuer("iss_none", actor=ADMIN)
        await world.revocations.revoke_agent(BILLING, actor=ADMIN)

    run(scenario())
