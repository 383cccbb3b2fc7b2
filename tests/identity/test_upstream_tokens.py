"""Tokens that the broker asks for: for itself, in exchange for its word about a user, and of users' own accounts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from accredit.identity import rows
from accredit.identity.model import Principal, Revocation, RevocationKind, VerifiedUser
from accredit.identity.oauthclient import granted
from accredit.identity.upstreams import (
    BrokeredCredential,
    ClientAuthentication,
    ExchangeSubject,
    OAuthSettings,
    UpstreamKind,
    UpstreamLease,
)
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, PersonId, ServerName
from accredit.registry.model import Environment, ToolServer
from tests.identity.authorization import Client
from tests.identity.world import ADMIN, SUPPORT, URL, USERS, World, run

_ORIGIN = "https://crm.example:8443"
_PASSWORD = "pass:word-canary&1"
_CLIENT_SECRET = "client-secret-canary %/+é"[:-1] + "x"
_AUTH = "https://auth.example"
_SERVER = ToolServer(ServerName("crm"), Environment.DEVELOPMENT, f"{_ORIGIN}/mcp", "crm-key", {})
_CLIENT_GRANT = "client_credentials"
_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"


def _settings(method: ClientAuthentication = ClientAuthentication.CLIENT_SECRET_BASIC, **more: Any) -> OAuthSettings:
    return OAuthSettings(f"{_AUTH}/token", "gateway", method, "crm.read", **more)


def _principal(user: str | None = "kim", *, issuer: str = USERS, **more: Any) -> Principal:
    served = VerifiedUser(issuer, user, frozenset(), more.pop("claims", {})) if user else None
    actors = (SUPPORT,) if user else ()
    return replace(Principal(SUPPORT, CredentialId("crd_1"), 1, 2**62, "d", user=served, actors=actors), **more)


async def _client_world(method: ClientAuthentication = ClientAuthentication.CLIENT_SECRET_BASIC) -> World:
    world = World()
    keyed = method is ClientAuthentication.PRIVATE_KEY_JWT
    world.tokens.clients["gateway"] = Client("gateway", method, _CLIENT_SECRET, grants=frozenset({_CLIENT_GRANT}))
    shown = await world.broker.store(
        "crm-key",
        origin=_ORIGIN,
        kind=UpstreamKind.OAUTH_CLIENT,
        value="" if keyed else _CLIENT_SECRET,
        oauth=_settings(method, resource=f"{_ORIGIN}/mcp"),
        actor=ADMIN,
    )
    if keyed:
        world.tokens.clients["gateway"].key = _public(shown)
    return world


def _public(shown: BrokeredCredential) -> ECKey:
    assert shown.oauth is not None
    assert shown.oauth.public_key is not None
    assert "d" not in shown.oauth.public_key
    return ECKey.import_key(dict(shown.oauth.public_key))


async def _exchange_world(subject: ExchangeSubject = ExchangeSubject.USER, **more: Any) -> World:
    world = World()
    users = USERS if subject is ExchangeSubject.USER else ""
    oauth = _settings(ClientAuthentication.PRIVATE_KEY_JWT, audience="crm-api", subject=subject, users=users, **more)
    shown = await world.broker.store(
        "crm-key", origin=_ORIGIN, kind=UpstreamKind.TOKEN_EXCHANGE, oauth=oauth, actor=ADMIN
    )
    world.tokens.clients["gateway"] = Client(
        "gateway", "private_key_jwt", key=_public(shown), grants=frozenset({_EXCHANGE_GRANT})
    )
    return world


# -- basic


@pytest.mark.requirement("identity:broker:basic")
@pytest.mark.parametrize("password", [_PASSWORD, 'quoted"pass\\word', "plain-password"])
def test_a_password_goes_out_as_basic_and_stands_nowhere(password: str) -> None:
    async def scenario() -> None:
        world = World()
        await world.broker.store(
            "crm-key", origin=_ORIGIN, kind=UpstreamKind.BASIC, username="gate way", value=password, actor=ADMIN
        )
        headers = await world.broker.headers(_SERVER, None)
        scheme, _, pair = headers["Authorization"].partition(" ")
        assert (scheme, b64decode(pair).decode()) == ("Basic", f"gate way:{password}")
        row = world.control.view.get(rows.SECRET, "crm-key")
        seen = repr((world.control.events, row, world.broker.credentials(), vars(world.broker)["_stored"]))
        assert password not in seen
        assert pair not in seen
        again = await world.new_broker().headers(_SERVER, None)
        assert again == headers

    run(scenario())


# -- for the gateway itself


@pytest.mark.requirement("identity:broker:client-credentials")
@pytest.mark.parametrize(
    "method",
    [
        ClientAuthentication.CLIENT_SECRET_BASIC,
        ClientAuthentication.CLIENT_SECRET_POST,
        ClientAuthentication.PRIVATE_KEY_JWT,
    ],
)
def test_a_client_gets_a_token_for_what_the_operator_pinned(method: ClientAuthentication) -> None:
    async def scenario() -> None:
        world = await _client_world(method)
        headers = await world.broker.headers(_SERVER, _principal())
        assert headers == {"Authorization": f"Bearer {world.tokens.given[0]}"}
        (asked,) = world.tokens.asked
        assert (asked["scope"], asked["resource"]) == ("crm.read", f"{_ORIGIN}/mcp")
        assert "subject_token" not in asked

    run(scenario())


@pytest.mark.requirement("identity:broker:one-refresh")
def test_a_token_is_kept_until_shortly_before_it_ends_and_asked_for_once() -> None:
    async def scenario() -> None:
        world = await _client_world()
        gate = asyncio.Event()
        world.tokens.before = gate.wait
        waiting = [asyncio.ensure_future(world.broker.headers(_SERVER, _principal())) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # whoever leaves takes nothing from the others
        await asyncio.sleep(0)
        gate.set()
        got = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError)
        assert {repr(dict(one)) for one in got[1:] if isinstance(one, UpstreamLease)} == {
            repr({"Authorization": f"Bearer {world.tokens.given[0]}"})
        }
        assert len(world.tokens.asked) == 1
        world.clock.advance(269)
        await world.broker.headers(_SERVER, None)
        assert len(world.tokens.asked) == 1
        world.clock.advance(2)
        renewed = await world.broker.headers(_SERVER, None)
        assert renewed["Authorization"] == f"Bearer {world.tokens.given[1]}"
        assert len(world.tokens.asked) == 2

    run(scenario())


@pytest.mark.requirement("identity:broker:token-refused")
@pytest.mark.parametrize(
    "more",
    [
        {"token_type": "DPoP"},
        {"token_type": None},
        {"access_token": None},
        {"access_token": "two words here"},
        {"access_token": "line\r\nbreak-and-more"},
        {"access_token": "short"},
        {"access_token": "x" * 9000},
        {"access_token": 7},
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": "soon"},
        {"expires_in": True},
        {"scope": "crm.read crm.admin"},
        {"scope": ["crm.read"]},
        {"refresh_token": 5},
    ],
)
def test_a_token_that_is_not_what_was_asked_for_is_not_used(more: dict[str, Any]) -> None:
    async def scenario() -> None:
        world = await _client_world()
        world.tokens.more = more
        with pytest.raises(UnavailableError) as caught:
            await world.broker.headers(_SERVER, None)
        assert caught.value.code is Code.UPSTREAM_TOKEN

    run(scenario())


@pytest.mark.requirement("identity:broker:token-refused")
@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"error":"invalid_scope"}'),
        (401, b'{"error":"client-secret-canary","error_description":"client-secret-canary %/+x"}'),
        (200, b"client-secret-canary"),
        (200, b'{"access_token":"a","access_token":"b"}'),
        (200, b"[]"),
        (302, b"{}"),
        (500, b""),
    ],
)
def test_a_refusal_denies_with_a_code_of_its_own_and_repeats_nothing(
    answer: tuple[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        world = await _client_world()
        world.tokens.failing = answer
        with pytest.raises(UnavailableError) as caught:
            await world.broker.headers(_SERVER, None)
        told = caught.value
        assert told.code is Code.UPSTREAM_TOKEN
        assert "canary" not in f"{told.message}{told.hint}{told.cause}{told!r}"
        # one that is down is not asked by every call
        with pytest.raises(UnavailableError):
            await world.broker.headers(_SERVER, None)
        assert len(world.tokens.asked) == 1
        world.tokens.failing = None
        world.clock.advance(1)
        assert await world.broker.headers(_SERVER, None)

    with caplog.at_level(logging.DEBUG):
        run(scenario())
    assert "canary" not in caplog.text


@pytest.mark.requirement("identity:broker:renewed")
def test_a_token_that_the_server_refuses_is_replaced_but_not_over_and_over() -> None:
    async def scenario() -> None:
        world = await _client_world()
        lease = await world.broker.headers(_SERVER, None)
        assert isinstance(lease, UpstreamLease)
        assert await lease.renewed() is None  # it was given just now: another would be refused as well
        world.clock.advance(6)
        other = await lease.renewed()
        assert other is not None
        assert other["Authorization"] == f"Bearer {world.tokens.given[1]}"
        late = await lease.renewed()  # another call had the same one
        assert late is not None
        assert dict(late) == dict(other)
        assert len(world.tokens.asked) == 2
        assert "canary" not in repr(lease)

    run(scenario())


@pytest.mark.requirement("identity:broker:replaced")
def test_what_was_lent_under_a_replaced_or_removed_credential_is_not_used_again() -> None:
    async def scenario() -> None:
        world = await _client_world()
        await world.broker.headers(_SERVER, None)
        world.tokens.clients["gateway"].secret = "another-client-secret"
        await world.broker.store(
            "crm-key",
            origin=_ORIGIN,
            kind=UpstreamKind.OAUTH_CLIENT,
            value="another-client-secret",
            oauth=_settings(),
            actor=ADMIN,
        )
        assert (await world.broker.headers(_SERVER, None))["Authorization"] == f"Bearer {world.tokens.given[1]}"
        gate = asyncio.Event()
        world.tokens.before = gate.wait
        world.clock.advance(400)
        waiting = asyncio.ensure_future(world.broker.headers(_SERVER, None))
        await asyncio.sleep(0)
        await world.broker.remove("crm-key", actor=ADMIN)
        gate.set()
        with pytest.raises(UnavailableError):
            await waiting
        with pytest.raises(UnavailableError):
            await world.broker.headers(_SERVER, None)

    run(scenario())


@pytest.mark.requirement("identity:broker:own-key")
def test_a_clients_key_is_made_here_kept_when_stored_again_and_new_when_asked_for() -> None:
    async def scenario() -> None:
        world = await _client_world(ClientAuthentication.PRIVATE_KEY_JWT)
        (first,) = world.broker.credentials()
        stored: dict[str, Any] = {
            "origin": _ORIGIN,
            "kind": UpstreamKind.OAUTH_CLIENT,
            "oauth": _settings(ClientAuthentication.PRIVATE_KEY_JWT),
        }
        second = await world.broker.store("crm-key", **stored, actor=ADMIN)
        third = await world.broker.store("crm-key", **stored, new_key=True, actor=ADMIN)
        assert first.oauth is not None and second.oauth is not None and third.oauth is not None  # noqa: PT018
        assert first.oauth.public_key == second.oauth.public_key != third.oauth.public_key
        row = world.control.view.get(rows.SECRET, "crm-key")
        assert row is not None
        private = world.broker._opened("crm-key")[1]
        assert json.loads(private)["d"] not in repr((row, world.control.events, world.broker.credentials()))

    run(scenario())


# -- in exchange


@pytest.mark.requirement("identity:broker:exchange")
def test_an_exchange_says_who_the_user_is_and_every_actor_and_passes_no_token_on() -> None:
    async def scenario() -> None:
        world = await _exchange_world()
        headers = await world.broker.headers(_SERVER, _principal(actors=(SUPPORT, "agt_planner")))
        assert headers == {"Authorization": f"Bearer {world.tokens.given[0]}"}
        (claims,), (asked,) = world.tokens.subjects, world.tokens.asked
        assert (claims["iss"], claims["sub"]) == (URL, "kim")
        assert claims["act"] == {"sub": SUPPORT, "act": {"sub": "agt_planner"}}
        assert claims["exp"] - claims["iat"] == 60
        assert (asked["audience"], asked["scope"]) == ("crm-api", "crm.read")
        assert "actor_token" not in asked

    run(scenario())


@pytest.mark.requirement("identity:broker:exchange")
def test_an_exchanged_token_is_one_agents_for_one_user() -> None:
    async def scenario() -> None:
        world = await _exchange_world()
        other = _principal(agent=AgentId("agt_billing"), actors=("agt_billing",))
        callers = [_principal("kim"), _principal("lee"), other, _principal("kim")]
        got = [dict(await world.broker.headers(_SERVER, one)) for one in callers]
        assert got[0] == got[3]
        assert len({repr(one) for one in got}) == 3

    run(scenario())


@pytest.mark.requirement("identity:broker:exchange")
@pytest.mark.parametrize("caller", [_principal(None), _principal("kim", issuer="https://other.example")])
def test_without_a_user_whose_issuer_counts_there_is_no_exchange(caller: Principal) -> None:
    async def scenario() -> None:
        world = await _exchange_world()
        with pytest.raises(UnavailableError) as caught:
            await world.broker.headers(_SERVER, caller)
        assert caught.value.code is Code.UPSTREAM_USER
        assert world.tokens.asked == []

    run(scenario())


@pytest.mark.requirement("identity:broker:exchange")
def test_an_exchange_for_agents_names_the_agent_alone() -> None:
    async def scenario() -> None:
        world = await _exchange_world(ExchangeSubject.AGENT)
        await world.broker.headers(_SERVER, _principal("kim"))
        assert world.tokens.subjects[0]["sub"] == SUPPORT
        assert "act" not in world.tokens.subjects[0]

    run(scenario())


@pytest.mark.requirement("identity:broker:exchange")
def test_an_exchange_that_gives_something_else_is_not_used() -> None:
    async def scenario() -> None:
        world = await _exchange_world()
        world.tokens.more = {"issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}
        with pytest.raises(UnavailableError) as caught:
            await world.broker.headers(_SERVER, _principal())
        assert caught.value.code is Code.UPSTREAM_TOKEN

    run(scenario())


@pytest.mark.requirement("identity:broker:leases-revoked")
def test_what_was_lent_for_an_agent_ends_with_it() -> None:
    async def scenario() -> None:
        world = await _exchange_world(revocation_endpoint=f"{_AUTH}/revoke")
        world.state.on_revoked(world.broker.revoked)
        other = _principal(agent=AgentId("agt_billing"), actors=("agt_billing",))
        await world.broker.headers(_SERVER, _principal())
        kept = dict(await world.broker.headers(_SERVER, other))
        assert world.broker.lent_to(SUPPORT) == world.broker.lent_to(AgentId("agt_billing")) == ("crm-key",)
        await (await world.started()).instance(SUPPORT)
        await world.revocations.revoke_agent(SUPPORT, actor=ADMIN)
        await world.broker.aclose()
        assert (world.broker.lent_to(SUPPORT), world.broker.take_back(SUPPORT)) == ((), ())
        assert world.tokens.revoked == [world.tokens.given[0]]
        assert dict(await world.broker.headers(_SERVER, other)) == kept
        # a token on its way meanwhile is not handed out
        gate = asyncio.Event()
        world.tokens.before = gate.wait
        waiting = asyncio.ensure_future(world.broker.headers(_SERVER, _principal("lee")))
        await asyncio.sleep(0)
        world.broker.revoked(Revocation(RevocationKind.AGENT, SUPPORT))
        gate.set()
        with pytest.raises(UnavailableError) as caught:
            await waiting
        assert caught.value.code is Code.UPSTREAM_TOKEN

    run(scenario())


# -- definitions


@pytest.mark.requirement("identity:broker:definitions")
def test_definitions_are_asked_for_with_the_gateways_own_credential_or_none() -> None:
    async def scenario() -> None:
        world = await _exchange_world()
        assert await world.broker.headers(_SERVER, None) == {}
        with_own = await _exchange_world(definitions="looker")
        with pytest.raises(UnavailableError):
            await with_own.broker.headers(_SERVER, None)
        await with_own.broker.store("looker", origin=_ORIGIN, header="X-Key", value="look-canary-1", actor=ADMIN)
        assert await with_own.broker.headers(_SERVER, None) == {"X-Key": "look-canary-1"}
        await with_own.broker.store("looker", origin="https://evil.example", value="look-canary-1", actor=ADMIN)
        with pytest.raises(UnavailableError):
            await with_own.broker.headers(_SERVER, None)
        assert with_own.tokens.asked == []

    run(scenario())


# -- sealed


@pytest.mark.requirement("identity:broker:sealed")
@pytest.mark.parametrize("field", ["token_endpoint", "client_id", "scope", "users", "audience"])
def test_a_clients_row_with_other_settings_does_not_open(field: str) -> None:
    async def scenario() -> None:
        world = await _exchange_world()
        row = world.control.view.get(rows.SECRET, "crm-key")
        assert row is not None
        doc = {**row.doc, "oauth": {**row.doc["oauth"], field: "https://evil.example/token"}}
        world.broker._fold("crm-key", doc)
        user = _principal("kim", issuer=doc["oauth"]["users"])
        with pytest.raises(UnavailableError) as caught:
            await world.broker.headers(_SERVER, user)
        assert caught.value.code is Code.UPSTREAM_CREDENTIAL
        assert world.tokens.asked == []

    run(scenario())


@pytest.mark.requirement("identity:broker:form")
@pytest.mark.parametrize(
    "changes",
    [
        {"oauth": None},
        {"username": "somebody"},
        {"header": "X-Other"},
        {"value": ""},
        {"value": "short"},
        {"oauth": _settings(ClientAuthentication.NONE), "value": ""},
        {"oauth": _settings(ClientAuthentication.PRIVATE_KEY_JWT)},
        {"oauth": _settings(users=USERS)},
        {"oauth": _settings(audience="x")},
        {"oauth": _settings(authorization_endpoint=f"{_AUTH}/authorize")},
        {"oauth": _settings(definitions="other")},
        {"oauth": replace(_settings(), token_endpoint="http://auth.example/token")},
        {"oauth": replace(_settings(), token_endpoint="https://u:p@auth.example/token")},
        {"oauth": replace(_settings(), token_endpoint="https://auth.example/token#x")},
        {"oauth": replace(_settings(), token_endpoint="")},
        {"oauth": replace(_settings(), revocation_endpoint="http://auth.example/revoke")},
        {"oauth": replace(_settings(), client_id="")},
        {"oauth": replace(_settings(), scope='crm"read')},
        {"oauth": replace(_settings(), scope="a  b")},
        {"oauth": replace(_settings(), public_key={"kty": "EC"})},
        {"kind": UpstreamKind.TOKEN_EXCHANGE, "oauth": _settings(users=USERS)},
        {"kind": UpstreamKind.TOKEN_EXCHANGE, "oauth": _settings(ClientAuthentication.PRIVATE_KEY_JWT), "value": ""},
        {"kind": UpstreamKind.OAUTH_USER, "oauth": _settings(users=USERS)},
        {"kind": UpstreamKind.BASIC, "oauth": None, "username": "a:b"},
        {"kind": UpstreamKind.BASIC, "oauth": None, "username": ""},
    ],
)
def test_a_client_that_could_not_be_kept_safe_is_not_stored(changes: dict[str, Any]) -> None:
    async def scenario() -> None:
        world = World()
        asked = {"origin": _ORIGIN, "kind": UpstreamKind.OAUTH_CLIENT, "value": _CLIENT_SECRET, "oauth": _settings()}
        with pytest.raises(InvalidInputError) as caught:
            await world.broker.store("crm-key", **{**asked, **changes}, actor=ADMIN)
        assert _CLIENT_SECRET not in f"{caught.value.message}{caught.value.hint}{caught.value.cause}"
        assert world.control.events == []

    run(scenario())


@pytest.mark.requirement("identity:broker:token-refused")
@settings(max_examples=200)
@given(
    status=st.sampled_from([200, 400, 401, 500]),
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["access_token", "token_type", "expires_in", "scope", "refresh_token", "error"]), inner
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_whatever_an_authorization_server_says_is_a_token_or_a_refusal(status: int, body: bytes) -> None:
    token = None
    with contextlib.suppress(UnavailableError):  # anything else would be a fault
        token = granted(_settings(), status, body)
    if token is not None:
        assert status == 200
        assert orjson.loads(body)["access_token"] == token.access


# -- of persons


_ALICE = "alice@example.com"
_VERIFIED = {"email": _ALICE, "email_verified": True}


class _People:
    """A world whose tool server is called as the person, and somebody who can connect an account."""

    def __init__(self, world: World, alice: PersonId) -> None:
        self.world = world
        self.accounts = world.broker.accounts
        self.alice = alice

    @classmethod
    async def there(cls, **more: Any) -> _People:
        world = World()
        told = {"issuer": _AUTH, "authorization_endpoint": f"{_AUTH}/authorize", "users": USERS,
                "revocation_endpoint": f"{_AUTH}/revoke", **more}  # fmt: skip
        oauth = _settings(**told)
        await world.broker.store(
            "crm-key", origin=_ORIGIN, kind=UpstreamKind.OAUTH_USER, value=_CLIENT_SECRET, oauth=oauth, actor=ADMIN
        )
        uri = world.broker.accounts.redirect_uri("crm-key")
        grants = frozenset({"authorization_code", "refresh_token"})
        world.tokens.clients["gateway"] = Client(
            "gateway", "client_secret_basic", _CLIENT_SECRET, grants=grants, redirect_uri=uri
        )
        return cls(world, await world.person(_ALICE))

    def consented(self, session: str = "ses_1", person: PersonId | None = None) -> dict[str, str]:
        """Go there and consent: what comes back."""
        url = self.accounts.begin("crm-key", person=person or self.alice, session=session)
        assert url.startswith(f"{_AUTH}/authorize?")
        back = self.world.tokens.consent(dict(parse_qsl(urlsplit(url).query)), user="alice")
        return dict(parse_qsl(urlsplit(back).query))

    async def finish(self, answer: Mapping[str, str], session: str = "ses_1", person: PersonId | None = None) -> None:
        await self.accounts.finish("crm-key", answer, person=person or self.alice, session=session, actor=ADMIN)

    async def connected(self) -> _People:
        await self.finish(self.consented())
        return self

    async def headers(self, user: str | None = _ALICE, **more: Any) -> Mapping[str, str]:
        return await self.world.broker.headers(_SERVER, _principal(user, **more))

    async def refused(self, user: str | None = _ALICE, **more: Any) -> UnavailableError:
        with pytest.raises(UnavailableError) as caught:
            await self.headers(user, **more)
        return caught.value


@pytest.mark.requirement("identity:accounts:connected")
def test_a_person_connects_once_and_agents_that_act_for_them_are_let_in_as_them() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        assert await at.headers() == {"Authorization": f"Bearer {at.world.tokens.given[0]}"}
        assert await at.headers(agent=AgentId("agt_billing")) == await at.headers()
        assert [one.credential for one in at.accounts.of(at.alice)] == ["crm-key"]
        again = at.world.new_broker()
        assert await again.headers(_SERVER, _principal(_ALICE)) == await at.headers()

    run(scenario())


@pytest.mark.requirement("identity:accounts:connected")
def test_whoever_is_not_that_person_by_the_issuer_that_counts_gets_nothing() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        await at.world.person("bob@example.com")
        asked = len(at.world.tokens.asked)
        assert (await at.refused(None)).code is Code.UPSTREAM_USER
        assert (await at.refused(_ALICE, issuer="https://other.example")).code is Code.UPSTREAM_USER
        assert (await at.refused("nobody@example.com")).code is Code.UPSTREAM_USER
        # an address that the issuer does not say it has verified, or is not registered to say so, is nobody's
        for said in ({"email_verified": False}, {"email_verified": "true"}, {}):
            unverified = {"email": _ALICE, **said}
            assert (await at.refused("kim", claims=unverified)).code is Code.UPSTREAM_USER
        # who is two persons is none
        assert (await at.refused("bob@example.com", claims={"email": _ALICE})).code is Code.UPSTREAM_USER
        other = await at.refused("bob@example.com")
        assert other.code is Code.UPSTREAM_NOT_CONNECTED
        assert f"{URL}/console/accounts" in other.hint
        assert "canary" not in f"{other.message}{other.hint}{other.cause}"
        assert await at.headers("kim", claims=_VERIFIED) == await at.headers()
        assert len(at.world.tokens.asked) == asked

    run(scenario())


@pytest.mark.requirement("identity:accounts:bound")
@pytest.mark.parametrize(
    "wrong",
    ["state", "no state", "iss", "no iss", "session", "person", "code", "no code", "error", "twice", "late", "changed"],
)
def test_an_answer_counts_once_for_whoever_went_there_and_from_the_issuer_named(wrong: str) -> None:
    async def scenario() -> None:
        at = await _People.there()
        bob = await at.world.person("bob@example.com")
        answer, who = at.consented(), {"session": "ses_1", "person": at.alice}
        match wrong:
            case "state":
                answer["state"] = answer["state"][:-1] + ("A" if answer["state"][-1] != "A" else "B")
            case "no state":
                del answer["state"]
            case "iss":
                answer["iss"] = f"{_AUTH}/"
            case "no iss":
                del answer["iss"]
            case "session":
                who["session"] = "ses_2"
            case "person":
                who["person"] = bob
            case "code":
                answer["code"] = "code-of-another"
            case "no code":
                answer["code"] = ""
            case "error":
                answer["error"] = "access_denied"
            case "twice":
                await at.finish(answer)
                asked = len(at.world.tokens.asked)
            case "late":
                at.world.clock.advance(601)
            case "changed":
                oauth = replace(at.world.broker.credentials()[0].oauth or _settings(), scope="crm.read crm.write")
                await at.world.broker.store(
                    "crm-key",
                    origin=_ORIGIN,
                    kind=UpstreamKind.OAUTH_USER,
                    value=_CLIENT_SECRET,
                    oauth=oauth,
                    actor=ADMIN,
                )
        with pytest.raises(AccreditError) as caught:
            await at.finish(answer, **who)  # type: ignore[arg-type]
        assert caught.value.code in {Code.NOT_AUTHORISED, Code.UPSTREAM_NOT_CONNECTED, Code.UPSTREAM_TOKEN}
        if wrong == "twice":
            assert len(at.world.tokens.asked) == asked
            return
        assert at.accounts.of(at.alice) == at.accounts.of(bob) == ()
        if wrong != "code":
            assert at.world.tokens.asked == []
        # and it is used up, whatever was wrong with it
        with pytest.raises(ForbiddenError):
            await at.finish(at.consented() | {"state": answer.get("state", "")})

    run(scenario())


@pytest.mark.requirement("identity:accounts:rotated")
def test_refresh_tokens_are_rotated_and_only_the_newest_is_ever_shown() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        for turn in range(1, 4):
            at.world.clock.advance(280)
            both = await asyncio.gather(at.headers(), at.headers("kim", claims=_VERIFIED))
            assert both[0] == both[1] == {"Authorization": f"Bearer {at.world.tokens.given[turn]}"}
        # one that starts anew goes on with the newest
        again = at.world.new_broker()
        at.world.clock.advance(280)
        assert await again.headers(_SERVER, _principal(_ALICE)) == {
            "Authorization": f"Bearer {at.world.tokens.given[4]}"
        }

    run(scenario())


@pytest.mark.requirement("identity:accounts:rotated")
def test_a_rotation_that_could_not_be_stored_is_not_lost_while_the_process_lives() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        at.world.clock.advance(280)
        real = at.world.control.transact

        async def broken(build: Any) -> None:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the record could not be made durable")

        at.world.control.transact = broken  # type: ignore[method-assign]
        assert (await at.refused()).code is Code.AUDIT_UNAVAILABLE
        at.world.control.transact = real  # type: ignore[method-assign]
        at.world.clock.advance(280)
        assert await at.headers() == {"Authorization": f"Bearer {at.world.tokens.given[-1]}"}

    run(scenario())


@pytest.mark.requirement("identity:accounts:ended")
def test_an_account_whose_grant_ended_there_is_not_connected_any_more() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        at.world.tokens._refresh.clear()
        at.world.clock.advance(280)
        assert (await at.refused()).code is Code.UPSTREAM_NOT_CONNECTED
        assert at.accounts.of(at.alice) == ()
        await at.connected()
        assert await at.headers()

    run(scenario())


@pytest.mark.requirement("identity:accounts:ended")
def test_a_failure_of_the_server_ends_no_account() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        at.world.clock.advance(280)
        at.world.tokens.failing = (503, b"down")
        assert (await at.refused()).code is Code.UPSTREAM_TOKEN
        at.world.tokens.failing = None
        at.world.clock.advance(2)
        assert await at.headers()

    run(scenario())


@pytest.mark.requirement("identity:accounts:ended")
def test_a_disconnected_account_is_forgotten_here_at_once_and_revoked_there() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        await at.headers()
        at.world.tokens.failing = (500, b"")
        assert await at.accounts.disconnect("crm-key", person=at.alice, actor=ADMIN) is False
        assert (await at.refused()).code is Code.UPSTREAM_NOT_CONNECTED
        at.world.tokens.failing = None
        await at.connected()
        at.world.clock.advance(1)
        assert await at.accounts.disconnect("crm-key", person=at.alice, actor=ADMIN) is True
        assert [one.startswith("refresh-") for one in at.world.tokens.revoked] == [True]
        assert (await at.refused()).code is Code.UPSTREAM_NOT_CONNECTED
        with pytest.raises(NotFoundError):
            await at.accounts.disconnect("crm-key", person=at.alice, actor=ADMIN)

    run(scenario())


@pytest.mark.requirement("identity:accounts:ended")
def test_a_refresh_on_its_way_when_its_account_is_disconnected_comes_to_nothing() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        at.world.clock.advance(280)
        gate = asyncio.Event()
        at.world.tokens.before = gate.wait
        waiting = asyncio.ensure_future(at.headers())
        await asyncio.sleep(0)
        ending = asyncio.ensure_future(at.accounts.disconnect("crm-key", person=at.alice, actor=ADMIN))
        while at.accounts.of(at.alice):
            await asyncio.sleep(0)
        gate.set()
        await ending
        with pytest.raises(UnavailableError):
            await waiting
        assert (await at.refused()).code is Code.UPSTREAM_NOT_CONNECTED
        assert len(at.world.tokens.revoked) == 2  # what there was, and what came of the refresh

    run(scenario())


@pytest.mark.requirement("identity:accounts:terms")
@pytest.mark.parametrize(
    "change", ["scope", "client_id", "token_endpoint", "resource", "users", "origin", "secret alone", "removed"]
)
def test_consent_is_for_what_was_consented_to(change: str) -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        oauth, origin = at.world.broker.credentials()[0].oauth or _settings(), _ORIGIN
        server, issuer = _SERVER, USERS
        match change:
            case "origin":
                origin = "https://evil.example:443"
                server = replace(_SERVER, url=f"{origin}/mcp")
            case "token_endpoint":
                oauth = replace(oauth, token_endpoint="https://evil.example/token")
            case "users":
                issuer = "https://evil.example"
                oauth = replace(oauth, users=issuer)
            case "secret alone" | "removed":
                pass
            case _:
                oauth = replace(oauth, **{change: "another"})  # type: ignore[arg-type]
        if change == "removed":
            await at.world.broker.remove("crm-key", actor=ADMIN)
        await at.world.broker.store(
            "crm-key", origin=origin, kind=UpstreamKind.OAUTH_USER, value="another-secret-1", oauth=oauth, actor=ADMIN
        )
        caller = _principal(_ALICE, issuer=issuer)
        if change == "secret alone":
            assert await at.world.broker.headers(server, caller)
            return
        with pytest.raises(UnavailableError) as caught:
            await at.world.broker.headers(server, caller)
        assert caught.value.code is Code.UPSTREAM_NOT_CONNECTED

    run(scenario())


@pytest.mark.requirement("identity:accounts:sealed")
def test_an_accounts_tokens_stand_in_no_row_event_or_repr_and_move_to_no_other_person() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        bob = await at.world.person("bob@example.com")
        (row,) = list(at.world.control.view.scan(rows.UPSTREAM_ACCOUNT))
        kept = {name: value for name, value in vars(at.accounts).items() if name != "_post"}  # that is the server
        seen = repr((row, at.world.control.events, at.world.broker.credentials(), kept, at.accounts))
        assert "canary" not in seen
        assert _ALICE not in row.key
        assert b64encode(at.world.tokens.given[0].encode()).decode() not in seen
        await at.world.put(rows.UPSTREAM_ACCOUNT, at.accounts._key("crm-key", bob), {**row.doc, "person": bob})
        assert (await at.refused("bob@example.com")).code is Code.UPSTREAM_NOT_CONNECTED
        at.world.control.doubted = frozenset({(rows.UPSTREAM_ACCOUNT, row.key)})
        assert (await at.refused()).code is Code.UPSTREAM_NOT_CONNECTED

    run(scenario())


@pytest.mark.requirement("identity:accounts:bound")
def test_who_is_on_their_way_is_bounded_and_one_person_displaces_only_themselves() -> None:
    async def scenario() -> None:
        at = await _People.there()
        bob = await at.world.person("bob@example.com")
        first = at.consented()
        for _ in range(50):
            at.accounts.begin("crm-key", person=bob, session="ses_b")
        await at.finish(first)
        assert len(at.accounts._pending) == 8

    run(scenario())


@pytest.mark.requirement("identity:accounts:connected")
def test_what_is_connected_counts_at_once_and_in_place_of_what_was_connected_before() -> None:
    async def scenario() -> None:
        at = await _People.there()
        assert (await at.refused()).code is Code.UPSTREAM_NOT_CONNECTED
        await at.connected()
        first = dict(await at.headers())
        await at.connected()
        assert dict(await at.headers()) != first
        assert [one.startswith("refresh-") for one in at.world.tokens.revoked] == [True]  # what it had before

    run(scenario())


@pytest.mark.requirement("identity:accounts:ended")
def test_one_persons_leaving_takes_nothing_from_another_whose_token_is_being_renewed() -> None:
    async def scenario() -> None:
        at = await (await _People.there()).connected()
        bob = await at.world.person("bob@example.com")
        await at.finish(at.consented("ses_b", bob), "ses_b", bob)
        at.world.clock.advance(280)
        gate = asyncio.Event()
        at.world.tokens.before = gate.wait
        waiting = asyncio.ensure_future(at.headers("bob@example.com"))
        await asyncio.sleep(0)
        ending = asyncio.ensure_future(at.accounts.disconnect("crm-key", person=at.alice, actor=ADMIN))
        while at.accounts.of(at.alice):
            await asyncio.sleep(0)
        gate.set()
        assert await waiting
        await ending

    run(scenario())
