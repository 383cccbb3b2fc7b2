"""Access tokens: how an agent gets one, what it is good for, and when it stops being good."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.identity.access import AccessGrant, access_claims, principal_of
from accredit.identity.audience import covers
from accredit.identity.endpoint import TokenReply
from accredit.identity.model import Principal, VerifiedTask, VerifiedUser
from accredit.identity.tokens import SignedClaims
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError
from accredit.kernel.ids import AgentId, CredentialId
from accredit.registry.model import AgentState
from tests.identity.world import BILLING, CRM, SUPPORT, URL, Instance, World, agent, jwt, refusal, run


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    found: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


async def _instance() -> Instance:
    return await (await World().started()).instance()


def _code_at(world: World, token: str, path: str = "/mcp/crm") -> Code | None:
    try:
        world.verifier.verify(token, path=path)
    except UnauthenticatedError as error:
        return error.code
    return None


@pytest.mark.requirement("identity:access:form")
def test_an_agent_with_its_key_gets_a_short_token_for_one_audience() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        reply = await instance.ask()
        assert isinstance(reply, TokenReply)
        assert reply.body()["expires_in"] == 300
        header = orjson.loads(base64.urlsafe_b64decode(reply.access_token.split(".")[0] + "=="))
        assert header == {"alg": "ES256", "typ": "at+jwt", "kid": world.keys.current().kid}
        claims = claims_of(reply.access_token)
        assert {name: claims[name] for name in ("iss", "sub", "aud", "client_id", "epoch")} == {
            "iss": URL,
            "sub": SUPPORT,
            "aud": CRM,
            "client_id": instance.credential.id,
            "epoch": 1,
        }
        assert claims["exp"] - claims["iat"] == 300
        assert claims["agent_ver"].startswith("sha256:")
        principal = world.verifier.verify(reply.access_token, path="/mcp/crm")
        assert principal.agent == SUPPORT
        assert principal.credential == instance.credential.id
        assert (principal.user, principal.task, principal.actors) == (None, None, ())
        assert reply.access_token not in repr(reply)

    run(scenario())


@pytest.mark.requirement("identity:access:recorded")
def test_a_token_is_given_out_only_once_its_issue_is_on_record() -> None:
    async def scenario() -> None:
        instance = await _instance()
        audit = instance.world.audit
        token = await instance.token()
        entry = audit.entries[-1]
        assert entry.facts.kind == "token.issued"
        assert entry.facts.agent == SUPPORT
        assert token not in repr(audit.entries)
        assert CRM not in repr(entry.body), "what an agent chooses stands in a sealed part only"
        audit.broken = True
        assert refusal(await instance.ask()).code is Code.AUDIT_UNAVAILABLE

    run(scenario())


ASSERTIONS: dict[str, tuple[Code, dict[str, Any]]] = {
    "of another instance": (Code.TOKEN_KEY_UNKNOWN, {"iss": "crd_other", "sub": "crd_other"}),
    "iss differs from sub": (Code.TOKEN_ISSUER, {"iss": "crd_other"}),
    "for somebody else": (Code.TOKEN_AUDIENCE, {"aud": "https://other.example/oauth/token"}),
    "for a list": (Code.TOKEN_AUDIENCE, {"aud": [URL]}),
    "without jti": (Code.TOKEN_CLAIMS, {"jti": None}),
    "without exp": (Code.TOKEN_CLAIMS, {"exp": None}),
    "without sub": (Code.TOKEN_KEY_UNKNOWN, {"sub": None}),
    "for longer than 5 minutes": (Code.TOKEN_LIFETIME, {"exp": 1_800_000_301}),
    "expired": (Code.TOKEN_EXPIRED, {"iat": 1_799_999_900, "exp": 1_799_999_970}),
    "from the future": (Code.TOKEN_NOT_YET_VALID, {"iat": 1_800_000_031, "exp": 1_800_000_091}),
    "from before this process began": (Code.TOKEN_REPLAYED, {"iat": 1_799_999_999}),
}


@pytest.mark.requirement("identity:client:assertion")
@pytest.mark.parametrize("name", ASSERTIONS)
def test_an_assertion_that_proves_nothing_gets_the_one_outward_answer(name: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        code, changes = ASSERTIONS[name]
        refused = refusal(await instance.ask(**instance.proof(**changes)))
        assert refused.code is code
        assert refused.cause
        assert refused.status == 401
        assert refused.body() == {
            "error": "invalid_client",
            "error_description": "the caller did not prove who it is",
            "code": "unauthenticated",
        }

    run(scenario())


@pytest.mark.requirement("identity:client:assertion")
@pytest.mark.parametrize("typ", ["at+jwt", "task+jwt", None])
def test_a_token_of_another_type_is_no_assertion(typ: str | None) -> None:
    async def scenario() -> None:
        instance = await _instance()
        token = jwt(instance.key, instance.assertion_claims(), typ=typ, kid=instance.credential.id)
        proof = {**instance.proof(), "client_assertion": token}
        assert refusal(await instance.ask(**proof)).code is Code.TOKEN_TYPE

    run(scenario())


@pytest.mark.requirement("identity:client:assertion")
@pytest.mark.parametrize("audience", [URL, URL + "/", URL + "/oauth/token"])
@pytest.mark.parametrize("kid", ["credential", "thumbprint", "none"])
def test_standard_clients_of_both_editions_of_rfc_7523_are_understood(audience: str, kid: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        named = {"credential": instance.credential.id, "thumbprint": instance.credential.thumbprint, "none": None}
        token = jwt(instance.key, instance.assertion_claims(aud=audience), kid=named[kid])
        await instance.token(**{**instance.proof(), "client_assertion": token})

    run(scenario())


@pytest.mark.requirement("identity:client:assertion")
def test_a_client_id_beside_the_assertion_must_be_its_own() -> None:
    async def scenario() -> None:
        instance = await _instance()
        await instance.token(client_id=instance.credential.id)
        assert refusal(await instance.ask(client_id="crd_other")).code is Code.TOKEN_SUBJECT

    run(scenario())


@pytest.mark.requirement("identity:client:replay")
def test_an_assertion_is_good_once_even_after_a_restart() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        proof = instance.proof()
        await instance.token(**proof)
        assert refusal(await instance.ask(**proof)).code is Code.TOKEN_REPLAYED
        world.clock.advance(5)
        after = World(control=world.control, clock=world.clock)
        form = {"grant_type": "client_credentials", "resource": CRM, **proof}
        assert refusal(await after.endpoint.token_request(form, "10.0.0.9")).code is Code.TOKEN_REPLAYED

    run(scenario())


@pytest.mark.requirement("identity:client:replay")
def test_setting_the_wall_clock_back_does_not_make_a_spent_assertion_good_again() -> None:
    async def scenario() -> None:
        instance = await _instance()
        proof = instance.proof()
        await instance.token(**proof)
        instance.world.clock.step_wall(3600)
        await instance.token()
        instance.world.clock.step_wall(-3600)
        assert refusal(await instance.ask(**proof)).code is Code.TOKEN_REPLAYED

    run(scenario())


@pytest.mark.requirement("identity:client:bounds")
@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"client_assertion_type": "urn:x"}, "invalid_client"),
        ({"client_assertion": ""}, "invalid_client"),
        ({"client_assertion": "x" * 9000}, "invalid_request"),
        ({f"p{n}": "" for n in range(30)}, "invalid_request"),
        ({"resource": ""}, "invalid_target"),
        ({"resource": "https://other.example/mcp/crm"}, "invalid_target"),
        ({"resource": URL + ".evil.example/mcp"}, "invalid_target"),
        ({"resource": "https://accredit.example@evil.example/mcp"}, "invalid_target"),
        ({"resource": URL + "/mcp/../admin"}, "invalid_target"),
        ({"resource": URL + "/mcp/%2e%2e/admin"}, "invalid_target"),
        ({"resource": URL + "/mcp?x=1"}, "invalid_target"),
        ({"resource": URL + "/mcp#f"}, "invalid_target"),
        ({"resource": URL + "//mcp"}, "invalid_target"),
    ],
)
def test_a_request_out_of_form_gets_its_oauth_error(form: dict[str, str], error: str) -> None:
    async def scenario() -> None:
        instance = await _instance()
        refused = refusal(await instance.ask(**form))
        assert refused.body()["error"] == error
        assert refused.status in {400, 401}

    run(scenario())


@pytest.mark.requirement("identity:client:bounds")
def test_attempts_at_the_token_endpoint_are_limited_before_a_signature_is_checked() -> None:
    async def scenario() -> None:
        instance = await _instance()
        proof = instance.proof()
        instance.world.gate.wait_s = 3.0
        assert refusal(await instance.ask(**proof)).status == 429
        instance.world.gate.wait_s = None
        await instance.token(**proof)

    run(scenario())


@pytest.mark.requirement("identity:access:audience")
@pytest.mark.parametrize(
    ("resource", "path", "good"),
    [
        (CRM, "/mcp/crm", True),
        (CRM, "/mcp/crm/", True),
        (CRM, "/mcp/crm/deeper", True),
        (CRM + "/", "/mcp/crm", True),
        (CRM, "/mcp/crm2", False),
        (CRM, "/mcp", False),
        (CRM, "/", False),
        (CRM, "/mcp/crm/../erp", False),
        (CRM, "/mcp/crm/%2e%2e/erp", False),
        (CRM, "/mcp/crm/..%2ferp", False),
        (CRM, "/mcp/crm/\\..\\erp", False),
        (CRM, "/mcp/crm//x", False),
        (URL + "/mcp", "/mcp/crm", True),
        (URL + "/mcp", "/api/v1/agents", False),
        (URL, "/mcp/crm", True),
        (URL, "/", True),
    ],
)
def test_a_token_is_good_for_its_path_and_below_on_segment_boundaries(resource: str, path: str, good: bool) -> None:  # noqa: FBT001 - the expected answer of a table
    async def scenario() -> None:
        instance = await _instance()
        token = await instance.token(resource=resource)
        for _ in range(2):
            assert _code_at(instance.world, token, path) is (None if good else Code.TOKEN_AUDIENCE)

    run(scenario())


_SEGMENT = st.sampled_from(["a", "b", "crm", "crm2", "..", ".", "%2e%2e", "x%2fy", "a b", ""])


@pytest.mark.requirement("identity:access:audience")
@given(st.lists(st.sampled_from(["a", "b", "crm"]), max_size=3), st.lists(_SEGMENT, max_size=4))
def test_what_an_audience_covers_is_a_plain_prefix_of_segments(audience: list[str], path: list[str]) -> None:
    plain = all(segment in {"a", "b", "crm", "crm2"} for segment in path)
    naive = plain and path[: len(audience)] == audience
    spelled = "".join(f"/{segment}" for segment in path)
    assert covers("".join(f"/{segment}" for segment in audience), spelled) <= naive or path[-1:] == [""]
    if naive:
        assert covers("".join(f"/{segment}" for segment in audience), spelled)


@pytest.mark.requirement("identity:clock:skew")
@pytest.mark.parametrize(("after_s", "code"), [(329.9, None), (330, Code.TOKEN_EXPIRED), (3600, Code.TOKEN_EXPIRED)])
@pytest.mark.parametrize("cached", [True, False])
def test_a_token_ends_thirty_seconds_after_its_expiry_cached_or_not(
    after_s: float,
    code: Code | None,
    cached: bool,  # noqa: FBT001 - a case of a table
) -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        token = await instance.token()
        if cached:
            assert _code_at(world, token) is None
        world.clock.advance(after_s)
        assert _code_at(world, token) is code

    run(scenario())


@pytest.mark.requirement("identity:clock:skew")
@pytest.mark.parametrize(("ahead_s", "code"), [(-60, None), (30, None), (31, Code.TOKEN_NOT_YET_VALID)])
def test_an_instance_whose_clock_is_thirty_seconds_ahead_is_understood(ahead_s: int, code: Code | None) -> None:
    async def scenario() -> None:
        instance = await _instance()
        instance.world.clock.advance(120)
        now = instance.world.now_s + ahead_s
        reply = await instance.ask(**instance.proof(iat=now, exp=now + 60))
        assert (None if isinstance(reply, TokenReply) else reply.code) is code

    run(scenario())


@pytest.mark.requirement("identity:clock:both")
def test_a_wall_clock_set_back_revives_no_cached_token() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        token = await instance.token()
        principal = world.verifier.verify(token, path="/mcp/crm")
        world.clock.advance(331)
        world.clock.step_wall(-3600)
        assert _code_at(world, token) is Code.TOKEN_EXPIRED
        assert world.verifier.still_valid(principal) is Code.TOKEN_EXPIRED

    run(scenario())


@pytest.mark.requirement("identity:cache:bounded")
def test_the_cache_keeps_the_most_recent_tokens_and_a_dropped_one_verifies_again() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        verifier = world.new_verifier(capacity=2)
        tokens = [await instance.token() for _ in range(4)]
        first = [verifier.verify(token, path="/mcp/crm") for token in tokens]
        kept = [verifier.verify(token, path="/mcp/crm") for token in tokens[2:]]
        assert [one is two for one, two in zip(first[2:], kept, strict=True)] == [True, True]
        again = verifier.verify(tokens[0], path="/mcp/crm")
        assert again == first[0]
        assert again is not first[0]

    run(scenario())


@pytest.mark.requirement("identity:access:agent")
def test_a_retired_agent_gets_no_token_and_an_unknown_one_is_refused_on_the_next_call() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        token = await instance.token()
        world.directory[SUPPORT] = agent(SUPPORT, state=AgentState.RETIRED)
        assert refusal(await instance.ask()).code is Code.AGENT_NOT_ACTIVE
        del world.directory[SUPPORT]
        assert _code_at(world, token) is Code.AGENT_UNKNOWN
        assert refusal(await instance.ask()).code is Code.AGENT_UNKNOWN

    run(scenario())


@pytest.mark.requirement("identity:state:proven")
def test_a_row_the_log_contradicts_proves_nobody() -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()
        token = await instance.token()
        other = await (await world.instance(BILLING)).token()
        for kind, key in (("credential", instance.credential.id), ("epoch", SUPPORT)):
            world.control.doubted = frozenset({(kind, key)})
            assert _code_at(world, token) is Code.STATE_UNPROVEN
            assert refusal(await instance.ask()).code is Code.STATE_UNPROVEN
            assert _code_at(world, other) is None

    run(scenario())


_TEXT = st.text(min_size=1, max_size=12)
_CLAIMS = st.dictionaries(_TEXT, st.one_of(_TEXT, st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1)), max_size=3)


@pytest.mark.requirement("identity:access:form")
@given(
    user=st.builds(VerifiedUser, _TEXT, _TEXT, st.frozensets(_TEXT, max_size=3), _CLAIMS),
    task=st.none() | st.builds(VerifiedTask, _TEXT, _TEXT, _CLAIMS),
    earlier=st.lists(_TEXT, max_size=4).map(tuple),
)
def test_what_goes_into_an_access_token_comes_out_of_it(
    user: VerifiedUser, task: VerifiedTask | None, earlier: tuple[str, ...]
) -> None:
    grant = AccessGrant(
        agent=AgentId("agt_a"),
        credential=CredentialId("crd_a"),
        epoch=3,
        version="sha256:0",
        audience=CRM,
        jti="j",
        issued_s=100,
        expires_s=400,
        user=user,
        user_registration="iss_u",
        task=task,
        task_registration="iss_t" if task else "",
        earlier_actors=earlier,
    )
    claims = orjson.loads(orjson.dumps(access_claims(grant, issuer=URL)))
    now = Instant(200_000_000, 5_000_000)
    principal, registration = principal_of(SignedClaims(claims, 100, 400), digest="d", now=now)
    assert principal == Principal(
        agent=AgentId("agt_a"),
        credential=CredentialId("crd_a"),
        epoch=3,
        expires_us=430_000_000,
        token_digest="d",
        user=user,
        task=task,
        actors=("agt_a", *earlier),
        expires_boot_us=235_000_000,
        registrations=("iss_u", "iss_t") if task else ("iss_u",),
    )
    assert registration == ("iss_t" if task else "")
