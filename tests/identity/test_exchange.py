"""On behalf of a user, for a task: RFC 8693 with our `task_token`. Attack scenarios stand here as tests."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey

from accredit.identity.endpoint import TokenReply
from accredit.identity.model import ClaimType, IssuerKind, VerifiedTask, VerifiedUser
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError
from accredit.registry.errors import ManifestError
from tests.identity.test_access import claims_of
from tests.identity.world import (
    ACCESS,
    BILLING,
    CRM,
    SUPPORT,
    TASKS,
    URL,
    USERS,
    Instance,
    World,
    granted,
    jwt,
    public,
    refusal,
    run,
)


async def _instance() -> Instance:
    return await (await World().started()).instance()


def _actor(token: str) -> dict[str, str]:
    return {"actor_token": token, "actor_token_type": ACCESS}


@pytest.mark.requirement("identity:exchange:user")
def test_an_exchange_puts_the_user_first_and_the_agent_as_actor() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        reply = await instance.ask_exchange()
        assert isinstance(reply, TokenReply)
        assert reply.body()["issued_token_type"] == ACCESS
        claims = claims_of(reply.access_token)
        assert (claims["sub"], claims["act"]) == ("kim", {"sub": SUPPORT})
        assert claims["client_id"] == instance.credential.id
        principal = world.verifier.verify(reply.access_token, path="/mcp/crm")
        assert principal.agent == SUPPORT
        assert principal.actors == (SUPPORT,)
        assert principal.user == VerifiedUser(USERS, "kim", frozenset({"customer-support"}), {"department": "north"}), (
            "unregistered claims and unmapped roles are dropped"
        )
        assert principal.task is None
        assert principal.registrations == (world.users.id,)
        assert "kim" not in repr([entry.body for entry in world.audit.entries])

    run(scenario())


@pytest.mark.requirement("identity:exchange:task")
def test_user_and_signed_task_fold_into_one_token() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        token = granted(await instance.ask_exchange(task_token=world.task_token()))
        principal = world.verifier.verify(token, path="/mcp/crm")
        assert principal.task == VerifiedTask(TASKS, "T-1", {"customer_id": "C-7"})
        assert principal.registrations == (world.users.id, world.ticketing.id)

    run(scenario())


@pytest.mark.requirement("identity:exchange:actor-token")
def test_the_agents_own_access_token_proves_the_actor_without_an_assertion() -> None:
    async def scenario() -> None:
        instance = await _instance()
        token = granted(await instance.ask_exchange(_actor(await instance.token())))
        assert instance.world.verifier.verify(token, path="/mcp/crm").user is not None

    run(scenario())


@pytest.mark.requirement("identity:exchange:no-widening")
@pytest.mark.parametrize("resource", [URL, URL + "/mcp", URL + "/mcp/erp", URL + "/mcp/crm2"])
def test_an_exchange_never_reaches_beyond_what_the_actor_token_is_for(resource: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        proof = _actor(await instance.token())
        refused = refusal(await instance.ask_exchange(proof, resource=resource))
        assert (refused.code, refused.error) == (Code.TOKEN_AUDIENCE, "invalid_target")
        granted(await instance.ask_exchange(proof, resource=CRM + "/below"))

    run(scenario())


@pytest.mark.requirement("identity:exchange:no-widening")
def test_what_comes_out_ends_with_the_first_of_what_went_in() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        now = world.now_s

        async def end(**form: str) -> int:
            return int(claims_of(granted(await instance.ask_exchange(**form)))["exp"]) - now

        assert await end() == 300
        assert await end(subject_token=world.subject_token(exp=now + 120)) == 120
        assert await end(task_token=world.task_token(exp=now + 60)) == 60
        actor = _actor(await instance.token())
        world.clock.advance(200)
        reply = await instance.ask_exchange(actor, subject_token=world.subject_token())
        assert claims_of(granted(reply))["exp"] - now == 300
        world.clock.advance(110)  # the actor token is within its tolerance, yet nothing new begins after its end
        assert refusal(await instance.ask_exchange(actor)).code is Code.TOKEN_EXPIRED

    run(scenario())


@pytest.mark.requirement("identity:exchange:actors-kept")
def test_no_earlier_actor_is_stripped() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        subject = world.subject_token(act={"sub": "front-desk", "act": {"sub": "voice-bot"}})
        token = granted(await instance.ask_exchange(subject_token=subject))
        assert claims_of(token)["act"] == {
            "sub": SUPPORT,
            "act": {"sub": "front-desk", "act": {"sub": "voice-bot"}},
        }
        assert world.verifier.verify(token, path="/mcp/crm").actors == (SUPPORT, "front-desk", "voice-bot")

    run(scenario())


@pytest.mark.requirement("identity:exchange:actors-kept")
@pytest.mark.parametrize("act", ["a", {}, {"sub": 1}, {"sub": ""}, [], {"sub": "a", "act": {"sub": None}}])
def test_an_actor_chain_that_cannot_be_read_is_refused_not_dropped(act: Any) -> None:
    async def scenario() -> None:
        instance = await _instance()
        reply = await instance.ask_exchange(subject_token=instance.world.subject_token(act=act))
        assert refusal(reply).code is Code.TOKEN_ACTOR

    run(scenario())


@pytest.mark.requirement("identity:exchange:actors-kept")
def test_a_chain_of_more_than_four_actors_is_refused() -> None:
    async def scenario() -> None:
        instance = await _instance()
        act: dict[str, Any] = {"sub": "a0"}
        for number in range(1, 3):
            act = {"sub": f"a{number}", "act": act}
        reply = await instance.ask_exchange(subject_token=instance.world.subject_token(act=act))
        assert instance.world.verifier.verify(granted(reply), path="/mcp/crm").actors == (SUPPORT, "a2", "a1", "a0")
        act = {"sub": "a3", "act": act}
        reply = await instance.ask_exchange(subject_token=instance.world.subject_token(act=act))
        assert refusal(reply).code is Code.TOKEN_ACTOR

    run(scenario())


@pytest.mark.requirement("identity:exchange:actors-kept")
def test_a_token_that_acts_for_a_user_cannot_be_the_actor_nor_the_subject_of_another_exchange() -> None:
    async def scenario() -> None:
        instance = await _instance()
        delegated = granted(await instance.ask_exchange())
        assert refusal(await instance.ask_exchange(_actor(delegated))).code is Code.TOKEN_ACTOR
        reply = await instance.ask_exchange(subject_token=delegated, subject_token_type=ACCESS)
        assert refusal(reply).code is Code.ISSUER_UNKNOWN

    run(scenario())


@pytest.mark.requirement("identity:exchange:actor-token")
def test_an_actor_token_of_another_credential_than_the_assertions_is_refused() -> None:
    async def scenario() -> None:
        world = await World().started()
        one, other = await world.instance(), await world.instance(BILLING)
        reply = await one.ask_exchange(one.proof() | _actor(await other.token()))
        assert refusal(reply).code is Code.TOKEN_ACTOR

    run(scenario())


@pytest.mark.requirement("identity:exchange:actor-token")
@pytest.mark.parametrize("proof", [{}, {"actor_token": "x"}, {"actor_token": "", "actor_token_type": ACCESS}])
def test_without_proof_of_the_actor_nothing_is_said_about_why(proof: dict[str, str]) -> None:
    async def scenario() -> None:
        instance = await _instance()
        refused = refusal(await instance.ask_exchange(proof))
        assert refused.status == 401
        assert refused.body()["code"] == "unauthenticated"

    run(scenario())


SUBJECTS: dict[str, tuple[Code, dict[str, Any]]] = {
    "for somebody else": (Code.TOKEN_AUDIENCE, {"aud": "https://other.example"}),
    "for a list": (Code.TOKEN_AUDIENCE, {"aud": [URL]}),
    "for nobody": (Code.TOKEN_AUDIENCE, {"aud": None}),
    "may_act names another agent": (Code.TOKEN_ACTOR, {"may_act": {"sub": BILLING}}),
    "may_act names another agent, elsewhere": (
        Code.TOKEN_ACTOR,
        {"aud": "https://other.example", "may_act": {"sub": BILLING}},
    ),
    "may_act is a text": (Code.TOKEN_ACTOR, {"may_act": SUPPORT}),
    "unknown issuer": (Code.ISSUER_UNKNOWN, {"iss": "https://evil.example"}),
    "the task issuer": (Code.ISSUER_UNKNOWN, {"iss": TASKS}),
    "no issuer": (Code.ISSUER_UNKNOWN, {"iss": None}),
    "issuer a list": (Code.ISSUER_UNKNOWN, {"iss": [USERS]}),
    "no subject": (Code.TOKEN_SUBJECT, {"sub": None}),
    "subject a number": (Code.TOKEN_SUBJECT, {"sub": 7}),
    "expired": (Code.TOKEN_EXPIRED, {"iat": 1_799_999_000, "exp": 1_799_999_900}),
    "lives too long": (Code.TOKEN_LIFETIME, {"exp": 1_800_086_401}),
    "typed claim a number": (Code.TOKEN_CLAIMS, {"department": 7}),
    "typed claim null-like list": (Code.TOKEN_CLAIMS, {"department": []}),
    "integer claim true": (Code.TOKEN_CLAIMS, {"level": True}),
    "integer claim a float": (Code.TOKEN_CLAIMS, {"level": 1.5}),
    "boolean claim a text": (Code.TOKEN_CLAIMS, {"staff": "true"}),
    "text claim too long": (Code.TOKEN_CLAIMS, {"department": "x" * 1025}),
    "roles a text": (Code.TOKEN_CLAIMS, {"groups": "grp-cs"}),
    "roles not texts": (Code.TOKEN_CLAIMS, {"groups": ["grp-cs", 1]}),
    "too many roles": (Code.TOKEN_CLAIMS, {"groups": [f"g{n}" for n in range(65)]}),
    "reserved key": (Code.RESERVED_KEY, {"department": {"__entity": {"type": "User", "id": "x"}}}),
    "reserved key in an unregistered claim": (Code.RESERVED_KEY, {"other": [{"__extn": {"fn": "ip"}}]}),
}


@pytest.mark.requirement("identity:exchange:subject")
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_token_that_proves_no_user_to_this_agent_is_refused(name: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        code, changes = SUBJECTS[name]
        refused = refusal(await instance.ask_exchange(subject_token=instance.world.subject_token(**changes)))
        assert refused.code is code
        assert refused.error == "invalid_grant"
        assert refused.credential == instance.credential.id
        assert "kim" not in str(refused.body())

    run(scenario())


@pytest.mark.requirement("identity:exchange:subject")
def test_a_subject_token_for_somebody_else_counts_if_it_lets_this_agent_act() -> None:
    async def scenario() -> None:
        instance = await _instance()
        subject = instance.world.subject_token(aud="https://other.example", may_act={"sub": SUPPORT})
        granted(await instance.ask_exchange(subject_token=subject))

    run(scenario())


@pytest.mark.requirement("identity:exchange:subject")
@pytest.mark.parametrize("typ", ["at+jwt", "task+jwt", None])
def test_a_subject_token_of_a_type_the_issuer_did_not_register_is_refused(typ: str | None) -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        now = world.now_s
        claims = {"iss": USERS, "sub": "kim", "aud": URL, "iat": now, "exp": now + 60}
        reply = await instance.ask_exchange(subject_token=jwt(world.user_key, claims, typ=typ))
        assert refusal(reply).code is Code.TOKEN_TYPE

    run(scenario())


@pytest.mark.requirement("identity:exchange:subject")
@pytest.mark.parametrize(
    "form",
    [
        {"subject_token": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
    ],
)
def test_an_exchange_out_of_form_is_refused(form: dict[str, str]) -> None:
    async def scenario() -> None:
        instance = await _instance()
        assert refusal(await instance.ask_exchange(**form)).status == 400

    run(scenario())


TASK_TOKENS: dict[str, tuple[Code, dict[str, Any]]] = {
    "another agent's": (Code.TOKEN_ACTOR, {"agent": BILLING}),
    "no agent": (Code.TOKEN_ACTOR, {"agent": None}),
    "user A's task with user B's token": (Code.TOKEN_SUBJECT, {"sub": "alex"}),
    "no user": (Code.TOKEN_SUBJECT, {"sub": None}),
    "no task": (Code.TOKEN_CLAIMS, {"task": None}),
    "no jti": (Code.TOKEN_CLAIMS, {"jti": None}),
    "for somebody else": (Code.TOKEN_AUDIENCE, {"aud": "https://other.example"}),
    "for nobody": (Code.TOKEN_AUDIENCE, {"aud": None}),
    "lives 16 minutes": (Code.TOKEN_LIFETIME, {"exp": 1_800_000_960}),
    "expired": (Code.TOKEN_EXPIRED, {"iat": 1_799_999_000, "exp": 1_799_999_900}),
    "from the user issuer": (Code.ISSUER_UNKNOWN, {"iss": USERS}),
    "typed claim a number": (Code.TOKEN_CLAIMS, {"customer_id": 7}),
    "reserved key": (Code.RESERVED_KEY, {"customer_id": {"__entity": {}}}),
}


@pytest.mark.requirement("identity:exchange:task")
@pytest.mark.parametrize("name", TASK_TOKENS)
def test_a_task_token_that_is_not_for_this_agent_and_this_user_is_refused(name: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        code, changes = TASK_TOKENS[name]
        reply = await instance.ask_exchange(task_token=instance.world.task_token(**changes))
        assert refusal(reply).code is code

    run(scenario())


@pytest.mark.requirement("identity:exchange:task")
def test_a_task_token_renews_for_the_instance_that_brought_it_and_for_nobody_else() -> None:
    async def scenario() -> None:
        world = await World().started()
        one, twin = await world.instance(), await world.instance()
        task = world.task_token()
        granted(await one.ask_exchange(task_token=task))
        granted(await one.ask_exchange(task_token=task))
        assert refusal(await twin.ask_exchange(task_token=task)).code is Code.TOKEN_REPLAYED

    run(scenario())


@pytest.mark.requirement("identity:exchange:task")
def test_a_task_alone_without_its_user_is_no_exchange() -> None:
    async def scenario() -> None:
        instance = await _instance()
        reply = await instance.ask_exchange(subject_token="", task_token=instance.world.task_token())
        assert refusal(reply).code is Code.TOKEN_MISSING

    run(scenario())


RSA_KEY = {"kty": "RSA", "n": "u" * 342, "e": "AQAB", "kid": "k"}
ISSUERS: dict[str, dict[str, Any]] = {
    "plain http": {"issuer": "http://login2.example"},
    "no keys": {"jwks": {"keys": []}},
    "keys not a set": {"jwks": []},
    "a private key": {"jwks": {"keys": [{**ECKey.generate_key("P-256").as_dict(private=True), "kid": "k"}]}},
    "a key without kid": {"jwks": {"keys": [public(ECKey.generate_key("P-256"))]}},
    "two keys of one kid": {"jwks": {"keys": [public(ECKey.generate_key("P-256"), kid="k") for _ in range(2)]}},
    "a symmetric key": {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]}},
    "a key on another curve": {"jwks": {"keys": [public(ECKey.generate_key("P-384"), kid="k")]}},
    "a weak key": {"jwks": {"keys": [{**RSA_KEY, "n": "AQAB" * 40}]}},
    "a weak exponent": {"jwks": {"keys": [{**RSA_KEY, "e": "AAAD"}]}},
    "another algorithm": {"jwks": {"keys": [{**RSA_KEY, "alg": "PS256"}]}},
    "reserved claim": {"claims": {"__entity": "string"}},
    "nameless claim": {"claims": {"": "string"}},
    "a claim of 64 characters": {"claims": {"x" * 64: "string"}},
    "33 claims": {"claims": {f"c{number}": "string" for number in range(33)}},
    "our own token type": {"tokenType": "task+jwt"},
    "no token type": {"tokenType": ""},
    "an endless token type": {"tokenType": "x" * 200},
    "an endless address": {"issuer": "https://login2.example/" + "x" * 3000},
    "an endless role": {"roleNames": {"a": "x" * 200}},
    "endless roles": {"roleNames": {f"r{number}": "x" for number in range(257)}},
    "a status": {"statusUrl": f"{TASKS}/{{task}}"},
}


@pytest.mark.requirement("identity:issuers:registration")
@pytest.mark.parametrize("name", ISSUERS)
def test_an_issuer_that_could_not_be_trusted_is_not_registered(name: str) -> None:
    async def scenario() -> None:
        world = await World().started()
        good = world.user_issuer(issuer="https://login2.example")
        with pytest.raises(ManifestError) as caught:
            await world.register("staff-2", good | ISSUERS[name])
        (path,) = ISSUERS[name]
        assert all(fault.path.startswith(f"spec.{path}") for fault in caught.value.faults)
        assert len(world.state.issuers()) == 2
        await world.register("staff-2", good)

    run(scenario())


@pytest.mark.requirement("identity:issuers:registration")
@pytest.mark.parametrize(
    "status_url",
    [None, TASKS, "http://tickets.example/{task}", "https://{task}.example/status", f"{TASKS}/{{task}}/{{task}}"],
)
def test_a_task_issuer_answers_for_each_task_at_its_own_host(status_url: str | None) -> None:
    async def scenario() -> None:
        world = await World().started()
        spec = world.task_issuer(issuer="https://tasks2.example")
        del spec["statusUrl"]
        with pytest.raises(ManifestError):
            await world.register("tasks-2", spec if status_url is None else {**spec, "statusUrl": status_url})
        assert world.state.issuer("tasks-2") is None

    run(scenario())


@pytest.mark.requirement("identity:issuers:registration")
def test_an_issuer_is_registered_once_and_a_claim_has_one_type() -> None:
    async def scenario() -> None:
        world = await World().started()
        with pytest.raises(ManifestError):
            await world.register("staff-2", world.user_issuer())
        other = world.user_issuer(issuer="https://login2.example", claims={"level": "string"})
        with pytest.raises(ManifestError):
            await world.register("staff-2", other)
        assert world.state.claim_types(IssuerKind.TASK) == {"customer_id": ClaimType.STRING}

    run(scenario())


@pytest.mark.requirement("identity:issuers:registration")
@pytest.mark.parametrize("change", ["issuer", "use"])
def test_a_name_never_comes_to_mean_another_issuer(change: str) -> None:
    async def scenario() -> None:
        world = await World().started()
        spec = world.task_issuer() if change == "use" else world.user_issuer(issuer="https://login2.example")
        with pytest.raises(ManifestError):
            await world.register("staff", spec)
        assert world.state.issuer("staff") == world.users

    run(scenario())


@pytest.mark.requirement("identity:issuers:registration")
def test_an_issuer_whose_keys_cannot_be_read_vouches_for_nothing_and_harms_no_other() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        behalf = granted(await instance.ask_exchange(task_token=world.task_token()))
        off_the_curve = {**public(world.task_key, kid="k1"), "x": "A" * 43}
        broken = await world.register("tickets", world.task_issuer(jwks={"keys": [off_the_curve]}))
        assert broken.revoked
        assert world.state.claim_types(IssuerKind.TASK) == {}
        with pytest.raises(UnauthenticatedError):
            world.verifier.verify(behalf, path="/mcp/crm")
        reply = await instance.ask_exchange(task_token=world.task_token())
        assert refusal(reply).code is Code.CREDENTIAL_REVOKED
        after = World(control=world.control, clock=world.clock)
        assert after.state.issuers() == world.state.issuers()
        granted(await instance.ask_exchange())

    run(scenario())


@pytest.mark.requirement("identity:issuers:registration")
@pytest.mark.parametrize("slash", ["", "/"])
def test_this_installation_is_never_an_issuer_to_itself(slash: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        spec = world.user_issuer(issuer=URL + slash, jwks=world.keys.jwks(), tokenType="at+jwt")
        await world.register("ourselves", spec)
        own = world.keys.current()
        now = world.now_s
        claims = {"iss": URL + slash, "sub": SUPPORT, "aud": URL, "iat": now, "exp": now + 60}
        for token in (await instance.token(), jwt(own.key, claims, kid=own.kid, typ="at+jwt")):
            reply = await instance.ask_exchange(subject_token=token)
            assert refusal(reply).code is Code.ISSUER_UNKNOWN

    run(scenario())


@pytest.mark.requirement("identity:exchange:subject")
def test_an_issuer_with_an_audience_of_its_own_is_held_to_it() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        theirs = "https://apps.example/accredit"
        await world.register("staff", world.user_issuer(audience=theirs))
        granted(await instance.ask_exchange(subject_token=world.subject_token(aud=theirs)))
        for audience in (URL, theirs + "/x"):
            reply = await instance.ask_exchange(subject_token=world.subject_token(aud=audience))
            assert refusal(reply).code is Code.TOKEN_AUDIENCE

    run(scenario())


@pytest.mark.requirement("identity:issuers:registration")
@pytest.mark.parametrize("family", ["RSA", "Ed25519"])
def test_issuers_sign_with_the_one_algorithm_of_their_registered_key(family: str) -> None:
    from joserfc import jws
    from joserfc.jwk import OKPKey, RSAKey

    key = RSAKey.generate_key(2048) if family == "RSA" else OKPKey.generate_key("Ed25519")
    algorithm, other = ("RS256", "PS256") if family == "RSA" else ("Ed25519", None)

    def signed(claims: dict[str, Any], name: str) -> str:
        import orjson

        registry = jws.JWSRegistry(algorithms=[name])
        return jws.serialize_compact(
            {"alg": name, "typ": "JWT", "kid": "k1"}, orjson.dumps(claims), key, registry=registry
        )

    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        spec = world.user_issuer(
            issuer="https://login2.example", jwks={"keys": [{**key.as_dict(private=False), "kid": "k1"}]}
        )
        issuer = await world.register("staff-2", spec)
        now = world.now_s
        claims = {"iss": issuer.url, "sub": "kim", "aud": URL, "iat": now, "exp": now + 60}
        granted(await instance.ask_exchange(subject_token=signed(claims, algorithm)))
        if other:
            reply = await instance.ask_exchange(subject_token=signed(claims, other))
            assert refusal(reply).code is Code.TOKEN_ALGORITHM

    run(scenario())
