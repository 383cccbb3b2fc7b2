"""Opaque keys, for clients that can present nothing better: what they prove, and everything that ends them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Actor
from accredit.identity import rows
from accredit.identity.credentials import AgentCredentials
from accredit.identity.enrolment import IssuedKey
from accredit.identity.model import CredentialState, Principal
from accredit.identity.state import IdentityState
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import CredentialId
from accredit.registry.model import AgentState, Environment
from tests.enforcement.place import WORKER, encoded_name, place, raw_bytes
from tests.gateway.stage import modern
from tests.identity.world import ADMIN, BILLING, EXCHANGE, SUPPORT, World, agent, public, run


def _scenario(play: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        await play(await World().started())

    run(scenario())


async def _issued(world: World, **how: Any) -> IssuedKey:
    return await world.enrolment.issue_key(SUPPORT, actor=ADMIN, **{"days": 30, **how})


def _refused(world: World, secret: str, path: str = "/mcp/crm") -> Code:
    with pytest.raises(UnauthenticatedError) as caught:
        world.verifier.verify(secret, path=path)
    assert caught.value.message == "the caller did not prove who it is"
    assert secret not in f"{caught.value!r} {caught.value.cause}"
    return caught.value.code


@pytest.mark.requirement("identity:opaque:proves")
def test_an_opaque_key_proves_its_agent_and_neither_user_nor_task() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        for path in ("/mcp", "/mcp/crm", "/access/v1/evaluation"):
            found = world.verifier.verify(key.secret, path=path)
            assert (found.agent, found.credential, found.epoch) == (SUPPORT, key.credential.id, 1)
            assert (found.user, found.task, found.actors, found.registrations) == (None, None, (), ())
            assert world.verifier.still_valid(found) is None

    _scenario(play)


@pytest.mark.requirement("identity:opaque:hash-only")
def test_only_the_hash_of_an_opaque_key_is_kept_and_nothing_prints_it() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        assert re.fullmatch(r"akey_[A-Za-z0-9_-]{43}", key.secret)
        kept = [row.doc for row in world.control.view.scan(rows.CREDENTIAL)]
        assert kept[0]["opaque"]["hashed"] == rows.secret_hash(key.secret)
        assert key.secret not in f"{kept} {key!r} {world.control.events}"
        assert kept[0]["opaque"]["hashed"] not in f"{key!r} {[change.body for change in world.control.events]}"
        assert rows.credential_from(key.credential.id, kept[0]) == key.credential

    _scenario(play)


@pytest.mark.requirement("identity:opaque:audience")
@pytest.mark.parametrize("path", ["/mcp", "/mcp/crm2", "/mcp/crm/../erp", "/mcp/erp", "/access/v1/evaluation"])
def test_an_opaque_key_for_one_address_is_good_there_alone(path: str) -> None:
    async def play(world: World) -> None:
        key = await _issued(world, path="/mcp/crm")
        assert world.verifier.verify(key.secret, path="/mcp/crm").agent == SUPPORT
        assert _refused(world, key.secret, path) is Code.TOKEN_AUDIENCE

    _scenario(play)


@pytest.mark.requirement("identity:opaque:bounds")
@pytest.mark.parametrize(
    "how", [{"days": 0}, {"days": 91}, {"path": "mcp"}, {"path": "/mcp/.."}, {"path": "/mcp//crm"}, {"path": "/mcp?x"}]
)
def test_an_opaque_key_of_another_form_is_not_made(how: dict[str, Any]) -> None:
    async def play(world: World) -> None:
        with pytest.raises(InvalidInputError):
            await _issued(world, **how)
        assert world.state.credentials_of(SUPPORT) == ()

    _scenario(play)


@pytest.mark.requirement("identity:opaque:unknown")
@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("akey_", Code.API_TOKEN_UNKNOWN),
        ("akey_" + "A" * 43, Code.API_TOKEN_UNKNOWN),
        ("akey_\udcff", Code.API_TOKEN_UNKNOWN),
        ("akey_é", Code.API_TOKEN_UNKNOWN),
        ("akey_" + "A" * 9000, Code.TOKEN_OVERSIZED),
        ("AKEY_" + "A" * 43, Code.TOKEN_MALFORMED),
    ],
)
def test_an_opaque_key_that_was_never_made_proves_nobody(secret: str, code: Code) -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        assert _refused(world, secret) is code
        hashed = rows.secret_hash(key.secret)
        for other in (key.secret + "A", key.secret[:-1], key.secret.upper(), f"akey_{hashed}", hashed):
            with pytest.raises(UnauthenticatedError):
                world.verifier.verify(other, path="/mcp/crm")

    _scenario(play)


# -- what ends it


async def _by_revoking_the_agent(world: World, key: IssuedKey) -> None:
    await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)


async def _by_revoking_the_key(world: World, key: IssuedKey) -> None:
    await world.revocations.revoke_credential(key.credential.id, actor=ADMIN)


async def _by_halting_the_agent(world: World, key: IssuedKey) -> None:
    for write in AgentCredentials().writes_to_halt(world.control.view, SUPPORT):
        await world.put(write.kind, write.key, write.doc)


async def _by_retiring_the_agent(world: World, key: IssuedKey) -> None:
    for write in AgentCredentials().writes_to_end(world.control.view, SUPPORT):
        await world.put(write.kind, write.key, write.doc)


@pytest.mark.requirement("identity:opaque:ended")
@pytest.mark.parametrize(
    "end", [_by_revoking_the_agent, _by_revoking_the_key, _by_halting_the_agent, _by_retiring_the_agent]
)
def test_what_ends_an_agents_credentials_ends_its_opaque_keys_for_good(
    end: Callable[[World, IssuedKey], Coroutine[Any, Any, None]],
) -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        principal = world.verifier.verify(key.secret, path="/mcp/crm")
        told: list[Any] = []
        world.state.on_revoked(told.append)
        await end(world, key)
        assert any(revocation.ends(principal) for revocation in told)
        assert world.verifier.still_valid(principal) is Code.CREDENTIAL_REVOKED
        assert _refused(world, key.secret) is Code.CREDENTIAL_REVOKED
        assert [one.state for one in world.state.credentials_of(SUPPORT)] == [CredentialState.REVOKED]
        another = await _issued(world)  # which brings the first one back no more than a start does
        assert world.verifier.verify(another.secret, path="/mcp/crm").credential == another.credential.id
        assert _refused(world, key.secret) is Code.CREDENTIAL_REVOKED
        assert IdentityState(world.control).credentials_of(SUPPORT) == world.state.credentials_of(SUPPORT)

    _scenario(play)


@pytest.mark.requirement("identity:opaque:ended")
def test_a_locked_opaque_key_is_refused_as_locked() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        await world.revocations.lock(key.credential.id, actor=ADMIN)
        assert _refused(world, key.secret) is Code.CREDENTIAL_LOCKED

    _scenario(play)


@pytest.mark.requirement("identity:opaque:expiry")
def test_an_opaque_key_ends_by_itself_and_a_clock_set_back_does_not_revive_it() -> None:
    async def play(world: World) -> None:
        key = await _issued(world, days=1)
        principal = world.verifier.verify(key.secret, path="/mcp/crm")
        world.clock.advance(86_400 - 1)
        assert world.verifier.verify(key.secret, path="/mcp/crm")
        world.clock.advance(1)
        assert _refused(world, key.secret) is Code.TOKEN_EXPIRED
        assert world.verifier.still_valid(principal) is Code.TOKEN_EXPIRED
        world.clock.step_wall(-3600)
        assert _refused(world, key.secret) is Code.TOKEN_EXPIRED

    _scenario(play)


@pytest.mark.requirement("identity:opaque:bound")
def test_an_opaque_key_is_not_another_agents_nor_of_another_environment() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        principal = world.verifier.verify(key.secret, path="/mcp/crm")
        stolen = Principal(BILLING, principal.credential, 1, principal.expires_us, principal.token_digest)
        assert world.verifier.still_valid(stolen) is Code.CREDENTIAL_REVOKED
        world.directory[SUPPORT] = agent(SUPPORT, environment=Environment.STAGING, state=AgentState.SUBMITTED)
        assert _refused(world, key.secret) is Code.CREDENTIAL_REVOKED
        del world.directory[SUPPORT]
        assert _refused(world, key.secret) is Code.AGENT_UNKNOWN

    _scenario(play)


@pytest.mark.requirement("identity:opaque:unproven")
def test_an_opaque_key_whose_row_or_epoch_is_not_proven_is_refused() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        for doubted in ((rows.CREDENTIAL, key.credential.id), (rows.EPOCH, SUPPORT)):
            world.control.doubted = frozenset({doubted})
            assert _refused(world, key.secret) is Code.STATE_UNPROVEN
            assert _refused(world, "akey_" + "A" * 43) is Code.STATE_UNPROVEN
        world.control.doubted = frozenset()
        assert world.verifier.verify(key.secret, path="/mcp/crm")

    _scenario(play)


@pytest.mark.requirement("identity:opaque:unproven")
def test_an_epoch_that_was_taken_away_is_not_begun_again_by_enrolling() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        await _by_halting_the_agent(world, key)
        join = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        await world.put(rows.EPOCH, SUPPORT, None)
        world.control.doubted = frozenset({(rows.EPOCH, SUPPORT)})
        with pytest.raises(UnavailableError) as caught:
            await _issued(world)
        assert caught.value.code is Code.STATE_UNPROVEN
        with pytest.raises(UnavailableError):
            await world.enrolment.enrol(join.secret, public(world.user_key), source="10.0.0.9")
        await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
        world.control.doubted = frozenset()
        assert _refused(world, key.secret) is Code.CREDENTIAL_REVOKED

    _scenario(play)


# -- making them


@pytest.mark.requirement("identity:opaque:production")
def test_in_production_nobody_but_the_owner_makes_an_opaque_key_and_only_once_enrolment_is_open() -> None:
    async def play(world: World) -> None:
        owner = Actor(person="psn_1", credential="tok_1", basis="roles")
        active = agent(SUPPORT, environment=Environment.PRODUCTION, state=AgentState.ACTIVE)
        world.directory[SUPPORT] = active
        with pytest.raises(ForbiddenError) as caught:
            await world.enrolment.issue_key(SUPPORT, actor=owner, days=1)
        assert caught.value.code is Code.ENROLMENT_CLOSED
        await world.put(rows.ENROLMENT, SUPPORT, {"by": [], "version": active.version.digest})
        with pytest.raises(ForbiddenError) as caught:
            await _issued(world)
        assert caught.value.code is Code.NOT_AUTHORISED
        key = await world.enrolment.issue_key(SUPPORT, actor=owner, days=1)
        assert world.verifier.verify(key.secret, path="/mcp/crm").agent == SUPPORT

    _scenario(play)


@pytest.mark.requirement("identity:opaque:bounds")
@pytest.mark.parametrize("state", [AgentState.RETIRED, AgentState.SUSPENDED])
def test_an_agent_that_was_stopped_gets_no_opaque_key(state: AgentState) -> None:
    async def play(world: World) -> None:
        world.directory[SUPPORT] = agent(SUPPORT, state=state)
        with pytest.raises((NotFoundError, ForbiddenError)):
            await _issued(world)

    _scenario(play)


@pytest.mark.requirement("identity:opaque:bounds")
def test_so_many_opaque_keys_are_alive_at_once_and_ended_ones_make_room() -> None:
    async def play(world: World) -> None:
        keys = [await _issued(world, days=1 + number) for number in range(20)]
        with pytest.raises(ConflictError):
            await _issued(world)
        await world.revocations.revoke_credential(keys[5].credential.id, actor=ADMIN)
        await _issued(world)
        for _ in range(45):
            world.clock.advance(1)
            await world.revocations.revoke_credential(_alive(world)[0], actor=ADMIN)
            await _issued(world)
        assert len(world.state.credentials_of(SUPPORT)) <= 40
        assert _refused(world, keys[5].secret) is Code.API_TOKEN_UNKNOWN  # forgotten, so it proves even less

    _scenario(play)


def _alive(world: World) -> list[CredentialId]:
    return [one.id for one in world.state.credentials_of(SUPPORT) if one.state is CredentialState.ACTIVE]


@pytest.mark.requirement("identity:opaque:no-tokens")
def test_an_opaque_key_gets_no_token_and_acts_for_no_user() -> None:
    async def play(world: World) -> None:
        key = await _issued(world)
        instance = await world.instance()
        form = {
            "grant_type": EXCHANGE,
            "resource": "https://accredit.example/mcp/crm",
            "subject_token": world.subject_token(),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "actor_token": key.secret,
            "actor_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }
        assert (await world.endpoint.token_request(form, "10.0.0.9")).status == 401
        assert world.state.credential_key(key.credential.id) is None
        assert world.verifier.verify(await instance.token(), path="/mcp/crm").credential == instance.credential.id

    _scenario(play)


# -- in a whole installation


@pytest.mark.requirement("identity:opaque:proves")
@pytest.mark.requirement("identity:opaque:header")
@pytest.mark.requirement("identity:opaque:hash-only")
def test_a_client_with_nothing_but_a_key_calls_tools_until_its_agent_is_suspended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def live() -> list[str]:
        async with place(tmp_path / "data", WORKER) as at:
            made = await at.operator.post("agents/worker/keys", {"days": 7})
            only = await at.operator.post("agents/worker/keys", {"path": "/mcp/erp"})
            key = str(made["key"])
            for server, name in (("crm", "read"), (None, "crm__read")):
                assert (await at.call(key, name, server=server)).allowed
                assert (await at.call(only["key"], name, server=server)).status == 401
            body, headers = modern(params={"name": "read", "arguments": {}})
            headers["mcp-name"] = encoded_name("read")
            given = {name: value for name, value in headers.items() if name not in {"host", "authorization"}}
            answer = await at.site.agents_http.post(at.route("crm"), content=body, headers=given | {"x-api-key": key})
            assert answer.status_code == 401, "this endpoint takes no such header"

            how = {"path": "/llm", "source": "127.0.0.1"}
            asked = at.enforcer.authenticate(None, api_key=key, **how)
            assert asked.credential == made["credential"]
            assert at.enforcer.authenticate(f"Bearer {key}", api_key=key, **how) == asked
            token = await at.token("worker")
            for authorization, api_key in (
                (f"Bearer {token}", key),
                (f"Bearer {key}", token),
                (f"Basic {key}", key),
                ("", key),
                (None, token),
                (f"Bearer {token}", token),
                (None, ""),
                (f"Bearer {key}", ""),
            ):
                with pytest.raises(UnauthenticatedError):
                    at.enforcer.authenticate(authorization, api_key=api_key, **how)

            listed = (await at.operator.get("credentials", agent="worker"))["items"]
            assert {(one["id"], one["state"], one["path"]) for one in listed if one["expires"]} == {
                (made["credential"], "active", "/"),
                (only["credential"], "active", "/mcp/erp"),
            }
            assert key not in str(listed)
            await at.settled()
            assert [body["credential"] for _, body in at.records("decision")] == [made["credential"]] * 2
            issued = [body["credential"] for _, body in at.records("credential.key_issued")]
            assert issued == [made["credential"], only["credential"]]
            await at.operator.post("agents/worker/suspend", {"reason": "test"})
            assert (await at.call(key)).status == 401
            await at.operator.post("agents/worker/resume", {"reason": "test"})
            assert (await at.call(key)).status == 401, "a key that was out when its agent was stopped stays ended"
            listed = (await at.operator.get("credentials", agent="worker"))["items"]
            assert {one["state"] for one in listed if one["expires"]} == {"revoked"}
            await at.settled()
            secrets = [key, str(only["key"])]
        at.site.verified()
        return secrets

    secrets = asyncio.run(live())
    assert secrets[0] not in caplog.text
    files = [file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file()]
    for secret in secrets:
        assert not any(secret.encode() in one for one in [*files, *raw_bytes(tmp_path / "data")])
