"""Our own signing keys, and the documents that tell clients about them."""

from __future__ import annotations

import pytest
from joserfc.jwk import KeySet

from accredit.identity.metadata import authorization_server, challenge, protected_resource
from accredit.identity.signing import SigningKeys
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnauthenticatedError, UnavailableError
from accredit.kernel.sealing import AesGcmSealer
from tests.identity.world import ADMIN, URL, World, run


@pytest.mark.requirement("identity:signing:rotation")
def test_a_rotation_fails_no_call_and_its_key_was_published_before() -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()
        old_kid, token = world.keys.current().kid, await instance.token()
        published = {key["kid"] for key in world.keys.jwks()["keys"]}
        assert len(published) == 2
        await world.keys.rotate(actor=ADMIN)
        assert world.keys.current().kid in published - {old_kid}
        assert old_kid in {key["kid"] for key in world.keys.jwks()["keys"]}
        assert world.new_verifier().verify(token, path="/mcp/crm") == world.verifier.verify(token, path="/mcp/crm")
        world.verifier.verify(await instance.token(), path="/mcp/crm")

    run(scenario())


@pytest.mark.requirement("identity:signing:rotation")
def test_a_retired_key_goes_when_its_last_token_has_expired() -> None:
    async def scenario() -> None:
        world = await World().started()
        old_kid = world.keys.current().kid
        await world.keys.rotate(actor=ADMIN)
        world.clock.advance(359)
        assert world.keys.find(old_kid) is not None
        world.clock.advance(1)
        assert world.keys.find(old_kid) is None
        assert old_kid not in {key["kid"] for key in world.keys.jwks()["keys"]}
        await world.keys.rotate(actor=ADMIN)
        assert world.control.view.get("signing_key", old_kid) is None

    run(scenario())


@pytest.mark.requirement("identity:signing:sealed")
def test_private_keys_are_stored_sealed_and_published_nowhere() -> None:
    async def scenario() -> None:
        world = await World().started()
        private = str(world.keys.current().key.as_dict(private=True)["d"])
        assert private not in repr(world.control.events)
        assert private not in repr(world.keys.jwks()) + repr(world.keys.current())
        assert all(set(key) == {"alg", "crv", "kid", "kty", "use", "x", "y"} for key in world.keys.jwks()["keys"])
        KeySet.import_key_set(world.keys.jwks())  # type: ignore[arg-type]  # as an outsider's library reads it

    run(scenario())


@pytest.mark.requirement("identity:signing:sealed")
def test_a_sealed_key_does_not_open_for_another_sealer_and_nothing_is_signed_then() -> None:
    async def scenario() -> None:
        world = await World().started()
        again = SigningKeys(world.control, world.sealer, clock=world.clock, ids=world.ids)
        assert again.current().kid == world.keys.current().kid
        other = SigningKeys(world.control, AesGcmSealer(b"x" * 32, world.ids), clock=world.clock, ids=world.ids)
        with pytest.raises(UnavailableError) as caught:
            other.current()
        assert caught.value.code is Code.STATE_UNPROVEN
        assert other.jwks() == world.keys.jwks(), "verifying goes on"

    run(scenario())


@pytest.mark.requirement("identity:signing:first-start")
def test_keys_are_made_once() -> None:
    async def scenario() -> None:
        world = World()
        with pytest.raises(UnavailableError):
            world.keys.current()
        await world.keys.ensure(actor=ADMIN)
        kid = world.keys.current().kid
        await world.keys.ensure(actor=ADMIN)
        assert world.keys.current().kid == kid
        assert len(world.control.events) == 1

    run(scenario())


@pytest.mark.requirement("identity:metadata:true")
def test_metadata_says_what_exists_and_every_challenge_points_to_it() -> None:
    server = authorization_server(URL)
    assert server["issuer"] == URL
    assert server["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert protected_resource(URL, "/mcp/crm") == {
        "resource": f"{URL}/mcp/crm",
        "authorization_servers": [URL],
        "bearer_methods_supported": ["header"],
    }
    assert challenge(URL, "/mcp/crm") == (
        f'Bearer resource_metadata="{URL}/.well-known/oauth-protected-resource/mcp/crm"'
    )
    for path in ("mcp", '/mcp"x', "/mcp\r\nSet-Cookie: a=b", "/ü"):
        with pytest.raises(InvalidInputError):
            challenge(URL, path)


@pytest.mark.requirement("identity:metadata:true")
def test_every_grant_the_metadata_names_is_one_the_endpoint_knows() -> None:
    async def scenario() -> None:
        world = await World().started()
        for grant_type in authorization_server(URL)["grant_types_supported"]:
            reply = await world.endpoint.token_request({"grant_type": grant_type}, "10.0.0.9")
            assert reply.body()["error"] == "invalid_client"
        with pytest.raises(UnauthenticatedError):
            world.verifier.verify("", path="/mcp/crm")

    run(scenario())
