"""An instance brings its own public key and a join token, once."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from accredit.identity import enrolment, rows
from accredit.identity.keys import agent_key
from accredit.identity.model import CredentialState, Revocation, RevocationKind
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId
from accredit.registry.model import AgentState
from tests.identity.world import ADMIN, BILLING, SUPPORT, URL, World, agent, public, run


def _key() -> ECKey:
    return ECKey.generate_key("P-256")


async def _refused(world: World, token: object, jwk: object, source: str = "10.0.0.9") -> AccreditError:
    with pytest.raises(AccreditError) as caught:
        await world.enrolment.enrol(token, jwk, source=source)
    return caught.value


@pytest.mark.requirement("identity:enrolment:own-key")
def test_an_instance_enrols_its_public_key_and_learns_who_it_is() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        key = _key()
        body = orjson.dumps({"join_token": token.secret, "jwk": public(key)})
        reply = await world.enrolment.enrol_request(body, source="10.0.0.9")
        credential = world.state.credentials_of(SUPPORT)[0]
        assert reply == {
            "credential_id": credential.id,
            "agent_id": SUPPORT,
            "state": "active",
            "token_endpoint": f"{URL}/oauth/token",
        }
        assert credential.state is CredentialState.ACTIVE
        assert credential.thumbprint == key.thumbprint()
        assert set(credential.jwk) == {"kty", "crv", "x", "y"}

    run(scenario())


@pytest.mark.requirement("identity:enrolment:hashes-only")
def test_neither_join_token_nor_private_key_is_anywhere_in_what_is_stored() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        key = _key()
        await world.enrolment.enrol(token.secret, public(key), source="10.0.0.9")
        kept = repr(world.control.events) + repr(token)
        assert token.secret not in kept
        assert str(key.as_dict(private=True)["d"]) not in kept
        assert len(base64.urlsafe_b64decode(token.secret.removeprefix("accj_") + "=")) == 32

    run(scenario())


@pytest.mark.requirement("identity:enrolment:single-use")
def test_a_second_use_of_a_join_token_is_refused_and_locks_the_key_it_enrolled() -> None:
    async def scenario() -> None:
        world = await World().started()
        ended: list[Revocation] = []
        world.state.on_revoked(ended.append)
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        credential = await world.enrolment.enrol(token.secret, public(_key()), source="10.0.0.9")
        error = await _refused(world, token.secret, public(_key()))
        assert isinstance(error, ForbiddenError)
        assert error.code is Code.JOIN_TOKEN_REUSED
        locked = world.state.credential(credential.id)
        assert locked is not None
        assert locked.state is CredentialState.LOCKED
        assert [(one.kind, one.id) for one in ended] == [(RevocationKind.CREDENTIAL, credential.id)]
        assert world.control.events[-1].facts.kind == "credential.locked"
        assert world.control.events[-1].narrowing
        events = len(world.control.events)
        assert (await _refused(world, token.secret, public(_key()))).code is Code.JOIN_TOKEN_REUSED
        assert len(world.control.events) == events, "repeating it must not flood the log"

    run(scenario())


@pytest.mark.requirement("identity:enrolment:single-use")
def test_of_two_enrolments_racing_with_one_token_neither_ends_with_a_usable_key() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        ends = await asyncio.gather(
            *(world.enrolment.enrol(token.secret, public(_key()), source="10.0.0.9") for _ in range(2)),
            return_exceptions=True,
        )
        assert sum(isinstance(end, ForbiddenError) for end in ends) == 1
        assert [one.state for one in world.state.credentials_of(SUPPORT)] == [CredentialState.LOCKED]

    run(scenario())


@pytest.mark.requirement("identity:enrolment:unique-key")
def test_a_key_is_enrolled_once_in_the_installation_even_after_its_revocation() -> None:
    async def scenario() -> None:
        world = await World().started()
        first = await world.instance()
        await world.revocations.revoke_credential(first.credential.id, actor=ADMIN)
        token = await world.enrolment.issue_join_token(BILLING, actor=ADMIN)
        error = await _refused(world, token.secret, public(first.key))
        assert isinstance(error, ConflictError)
        assert error.code is Code.KEY_SHARED
        assert world.state.credentials_of(BILLING) == ()

    run(scenario())


def _private(key: ECKey) -> dict[str, Any]:
    return dict(key.as_dict(private=True))


def _padded(key: ECKey) -> dict[str, Any]:
    """The same point, its coordinate written with a leading zero byte: another thumbprint in most libraries."""
    jwk = public(key)
    raw = base64.urlsafe_b64decode(str(jwk["x"]) + "=")
    return {**jwk, "x": base64.urlsafe_b64encode(b"\0" + raw).rstrip(b"=").decode()}


UNSUITABLE: dict[str, Any] = {
    "a pasted private key": lambda: _private(_key()),
    "a padded coordinate": lambda: _padded(_key()),
    "another curve": lambda: public(ECKey.generate_key("P-384")),
    "RSA": lambda: RSAKey.generate_key(2048).as_dict(private=False),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519").as_dict(private=False),
    "a symmetric key": lambda: {"kty": "oct", "k": "c2VjcmV0"},
    "not on the curve": lambda: {**public(_key()), "x": "A" * 43},
    "for encryption": lambda: {**public(_key()), "use": "enc"},
    "another algorithm": lambda: {**public(_key()), "alg": "ES512"},
    "a certificate beside it": lambda: {**public(_key()), "x5c": ["MIIB"]},
    "a very long member": lambda: {**public(_key()), "kid": "k" * 2000},
    "a list": list,
    "a text": lambda: "-----BEGIN PUBLIC KEY-----",
    "nothing": lambda: None,
}


@pytest.mark.requirement("identity:enrolment:key-form")
@pytest.mark.parametrize("name", UNSUITABLE)
def test_a_key_that_is_not_a_plain_public_p256_key_is_refused_and_uses_nothing_up(name: str) -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        error = await _refused(world, token.secret, UNSUITABLE[name]())
        assert isinstance(error, InvalidInputError)
        assert error.code is Code.KEY_UNSUITABLE
        await world.enrolment.enrol(token.secret, public(_key()), source="10.0.0.9")

    run(scenario())


@pytest.mark.requirement("identity:enrolment:key-form")
def test_a_pasted_private_key_is_called_burnt_and_never_repeated() -> None:
    key = _key()
    with pytest.raises(InvalidInputError) as caught:
        agent_key(_private(key))
    assert "generate another" in caught.value.hint
    assert str(_private(key)["d"]) not in caught.value.message + caught.value.hint + caught.value.cause


@pytest.mark.requirement("identity:enrolment:pins")
def test_a_join_token_is_good_only_for_the_thumbprint_and_address_range_it_is_pinned_to() -> None:
    async def scenario() -> None:
        world = await World().started()
        key = _key()
        token = await world.enrolment.issue_join_token(
            SUPPORT, actor=ADMIN, pin_thumbprint=key.thumbprint(), allowed_cidr="10.1.0.0/16"
        )
        causes = {
            (await _refused(world, token.secret, public(_key()), "10.1.2.3")).cause,
            (await _refused(world, token.secret, public(key), "10.2.0.1")).cause,
        }
        assert len(causes) == 2
        assert (await _refused(world, token.secret, public(key), "not an address")).code is Code.JOIN_TOKEN_INVALID
        await world.enrolment.enrol(token.secret, public(key), source="10.1.2.3")

    run(scenario())


@pytest.mark.requirement("identity:enrolment:expiry")
def test_a_join_token_ends_after_fifteen_minutes_and_when_its_agent_is_revoked() -> None:
    async def scenario() -> None:
        world = await World().started()
        late = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        world.clock.advance(900)
        assert (await _refused(world, late.secret, public(_key()))).cause == "expired"
        voided = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
        assert (await _refused(world, voided.secret, public(_key()))).code is Code.JOIN_TOKEN_INVALID

    run(scenario())


@pytest.mark.requirement("identity:enrolment:expiry")
def test_a_clock_set_back_brings_no_join_token_to_life_again() -> None:
    async def scenario() -> None:
        world = await World().started()
        late = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        world.clock.advance(900)
        world.clock.step_wall(-900)
        assert (await _refused(world, late.secret, public(_key()))).cause == "expired"

    run(scenario())


@pytest.mark.requirement("identity:enrolment:bounds")
def test_join_tokens_that_nobody_used_are_bounded_and_those_that_ended_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enrolment, "_MAX_CREDENTIALS", 2)

    async def scenario() -> None:
        world = await World().started()
        await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN, ttl_s=60)
        used = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        with pytest.raises(ConflictError):
            await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        await world.enrolment.enrol(used.secret, public(_key()), source="127.0.0.1")
        world.clock.advance(60)
        await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        kept = [row.doc["credential"] is None for row in world.control.view.scan(rows.JOIN_TOKEN)]
        assert sorted(kept) == [False, True], "the used one is kept, so that a second use is found out"

    run(scenario())


@pytest.mark.requirement("identity:enrolment:bounds")
@pytest.mark.parametrize("token", ["accj_unknown", "x" * 5000, "", None, 7, ["a"], "\ud800"])
def test_a_join_token_nobody_gave_out_is_refused(token: object) -> None:
    async def scenario() -> None:
        world = await World().started()
        error = await _refused(world, token, public(_key()))
        assert isinstance(error, UnauthenticatedError)
        assert error.code is Code.JOIN_TOKEN_INVALID

    run(scenario())


@pytest.mark.requirement("identity:enrolment:bounds")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"join_token":"a"}',
        b'{"join_token":"a","jwk":{},"act_as":"agt_billing"}',
        b'{"join_token":"a","join_token":"b","jwk":{}}',
        b'{"join_token":"' + b"a" * 5000 + b'","jwk":{}}',
        b'{"join_token":"a","jwk":' + b"[" * 30 + b"]" * 30 + b"}",
    ],
)
def test_a_malformed_enrolment_is_refused_before_anything_is_looked_up(body: bytes) -> None:
    async def scenario() -> None:
        world = await World().started()
        with pytest.raises(InvalidInputError):
            await world.enrolment.enrol_request(body, source="10.0.0.9")

    run(scenario())


@pytest.mark.requirement("identity:enrolment:bounds")
def test_attempts_are_limited_before_the_token_is_looked_at() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        world.gate.wait_s = 12.0
        error = await _refused(world, token.secret, public(_key()))
        assert isinstance(error, UnavailableError)
        assert error.code is Code.ATTEMPTS_LIMITED
        world.gate.wait_s = None
        await world.enrolment.enrol(token.secret, public(_key()), source="10.0.0.9")

    run(scenario())


@pytest.mark.requirement("identity:enrolment:agent")
def test_there_is_no_enrolment_for_an_agent_that_does_not_exist_or_is_retired() -> None:
    async def scenario() -> None:
        world = await World().started()
        with pytest.raises(NotFoundError):
            await world.enrolment.issue_join_token(AgentId("agt_nobody"), actor=ADMIN)
        token = await world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)
        world.directory[SUPPORT] = agent(SUPPORT, state=AgentState.RETIRED)
        assert (await _refused(world, token.secret, public(_key()))).code is Code.AGENT_UNKNOWN

    run(scenario())


@pytest.mark.requirement("identity:state:rebuilt")
def test_a_restart_knows_every_key_epoch_and_issuer_again() -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()
        token = await instance.token()
        after = World(control=world.control, clock=world.clock)
        assert after.verifier.verify(token, path="/mcp/crm").credential == instance.credential.id
        assert after.state.issuers() == world.state.issuers()
        assert after.state.epoch(SUPPORT) == 1
        assert world.control.view.get(rows.EPOCH, SUPPORT) is not None

    run(scenario())
