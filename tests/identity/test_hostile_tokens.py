"""Every hostile token of research §1.4 and more: refused, each for its own recorded reason, with one outward text."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from accredit.identity.keys import SigningKey
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError
from tests.identity.world import BILLING, CRM, SUPPORT, URL, Instance, World, jwt, run

_B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Forge:
    """Makes tokens with our own key, or without it, that an attacker or a careless integrator could present."""

    def __init__(self, world: World, instance: Instance, good: str) -> None:
        self.world = world
        self.instance = instance
        self.good = good
        self.key: SigningKey = world.keys.current()
        self.head, self.body, self.signature = good.split(".")
        self.claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(self.body + "=="))

    def token(self, claims: dict[str, Any] | bytes | None = None, /, **header: Any) -> str:
        signed = header.pop("key", self.key.key)
        return jwt(
            signed, self.claims if claims is None else claims, **{"typ": "at+jwt", "kid": self.key.kid, **header}
        )

    def but(self, **changes: Any) -> str:
        claims = {name: value for name, value in {**self.claims, **changes}.items() if value is not None}
        return self.token(claims)

    def unsigned(self, header: dict[str, Any], signature: str = "") -> str:
        return f"{_spelled(orjson.dumps(header))}.{self.body}.{signature}"

    def hmac_with_public_key(self) -> str:
        pem = self.key.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = _spelled(orjson.dumps({"alg": "HS256", "typ": "at+jwt", "kid": self.key.kid}))
        return f"{head}.{self.body}." + _spelled(hmac.new(pem, f"{head}.{self.body}".encode(), sha256).digest())

    def with_flipped_bit(self) -> str:
        swapped = _B64[_B64.index(self.signature[5]) ^ 1]
        return f"{self.head}.{self.body}.{self.signature[:5]}{swapped}{self.signature[6:]}"

    def with_other_body(self) -> str:
        body = _spelled(orjson.dumps({**self.claims, "sub": "agt_somebody_else"}))
        return f"{self.head}.{body}.{self.signature}"

    def repeated(self, text: str) -> bytes:
        return orjson.dumps(self.claims)[:-1] + text.encode() + b"}"

    def header_repeating(self) -> str:
        head = f'{{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"{self.key.kid}"}}'
        return f"{_spelled(head.encode())}.{self.body}.{self.signature}"


def _spelled(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _rsa(forge: Forge) -> str:
    key = RSAKey.generate_key(2048)
    registry = jws.JWSRegistry(algorithms=["PS256"])
    header = {"alg": "PS256", "typ": "at+jwt", "kid": forge.key.kid}
    return jws.serialize_compact(header, orjson.dumps(forge.claims), key, registry=registry)


def _hs256(forge: Forge) -> str:
    registry = jws.JWSRegistry(algorithms=["HS256"])
    key = OctKey.import_key(b"guessable-guessable-guessable-00")
    return jws.serialize_compact({"alg": "HS256", "typ": "at+jwt"}, orjson.dumps(forge.claims), key, registry=registry)


HOSTILE: dict[str, tuple[Code, Callable[[Forge], str]]] = {
    "empty": (Code.TOKEN_MISSING, lambda f: ""),
    "oversized": (Code.TOKEN_OVERSIZED, lambda f: f.good + "A" * 8192),
    "not ascii": (Code.TOKEN_MALFORMED, lambda f: f.good + "é"),
    "lone surrogate": (Code.TOKEN_MALFORMED, lambda f: "\ud800." + f.good),
    "two segments": (Code.TOKEN_MALFORMED, lambda f: f"{f.head}.{f.body}"),
    "five segments (JWE)": (Code.TOKEN_MALFORMED, lambda f: f"{f.good}.AAAA.BBBB"),
    "padded header": (Code.TOKEN_MALFORMED, lambda f: f"{f.head}=.{f.body}.{f.signature}"),
    "header is an array": (Code.TOKEN_MALFORMED, lambda f: f"{_spelled(b'[1]')}.{f.body}.{f.signature}"),
    "header is not JSON": (Code.TOKEN_MALFORMED, lambda f: f"{_spelled(b'{alg')}.{f.body}.{f.signature}"),
    "claims are an array": (Code.TOKEN_MALFORMED, lambda f: f.token(b"[]")),
    "claims nested deeply": (Code.TOKEN_MALFORMED, lambda f: f.token(b'{"a":' + b"[" * 20 + b"]" * 20 + b"}")),
    "header repeats a key": (Code.TOKEN_DUPLICATE_KEYS, Forge.header_repeating),
    "claims repeat a key": (Code.TOKEN_DUPLICATE_KEYS, lambda f: f.token(f.repeated(',"sub":"agt_other"'))),
    "crit, unknown": (Code.TOKEN_HEADER, lambda f: f.unsigned({"alg": "ES256", "crit": ["x"], "x": 1})),
    "own jwk": (
        Code.TOKEN_HEADER,
        lambda f: f.token(key=(other := ECKey.generate_key("P-256")), jwk=other.as_dict(private=False)),
    ),
    "jku": (Code.TOKEN_HEADER, lambda f: f.token(jku="https://evil.example/jwks")),
    "x5u": (Code.TOKEN_HEADER, lambda f: f.token(x5u="https://evil.example/cert")),
    "x5c": (Code.TOKEN_HEADER, lambda f: f.token(x5c=["MIIB"])),
    "unencoded payload (b64)": (Code.TOKEN_HEADER, lambda f: f.unsigned({"alg": "ES256", "b64": False})),
    "header too long": (Code.TOKEN_HEADER, lambda f: f.unsigned({"alg": "ES256", "kid": "k" * 600})),
    "id_token": (Code.TOKEN_TYPE, lambda f: f.token(typ="JWT")),
    "no typ": (Code.TOKEN_TYPE, lambda f: f.token(typ=None)),
    "task token": (Code.TOKEN_TYPE, lambda f: f.token(typ="task+jwt")),
    "kid walks": (Code.TOKEN_KEY_UNKNOWN, lambda f: f.token(kid="../../dev/null")),
    "no kid": (Code.TOKEN_KEY_UNKNOWN, lambda f: f.token(kid=None)),
    "kid is a number": (Code.TOKEN_KEY_UNKNOWN, lambda f: f.unsigned({"alg": "ES256", "typ": "at+jwt", "kid": 1})),
    "kid of another case": (Code.TOKEN_KEY_UNKNOWN, lambda f: f.token(kid=f.key.kid.upper())),
    "kid of an instance": (
        Code.TOKEN_KEY_UNKNOWN,
        lambda f: f.token(key=f.instance.key, kid=f.instance.credential.id),
    ),
    "HS256 without kid": (Code.TOKEN_KEY_UNKNOWN, _hs256),
    "alg none": (Code.TOKEN_ALGORITHM, lambda f: f.unsigned({"alg": "none", "typ": "at+jwt", "kid": f.key.kid})),
    "alg NoNe": (Code.TOKEN_ALGORITHM, lambda f: f.unsigned({"alg": "NoNe", "typ": "at+jwt", "kid": f.key.kid})),
    "no alg": (Code.TOKEN_ALGORITHM, lambda f: f.unsigned({"typ": "at+jwt", "kid": f.key.kid})),
    "HS256 with our public key": (Code.TOKEN_ALGORITHM, Forge.hmac_with_public_key),
    "PS256": (Code.TOKEN_ALGORITHM, _rsa),
    "another's signature": (Code.TOKEN_SIGNATURE, lambda f: f.token(key=ECKey.generate_key("P-256"))),
    "flipped bit": (Code.TOKEN_SIGNATURE, Forge.with_flipped_bit),
    "body exchanged": (Code.TOKEN_SIGNATURE, Forge.with_other_body),
    "signature dropped": (Code.TOKEN_SIGNATURE, lambda f: f"{f.head}.{f.body}."),
    "signature of zeros": (Code.TOKEN_SIGNATURE, lambda f: f"{f.head}.{f.body}.{_spelled(bytes(64))}"),
    "other issuer": (Code.TOKEN_ISSUER, lambda f: f.but(iss="https://evil.example")),
    "issuer with a slash": (Code.TOKEN_ISSUER, lambda f: f.but(iss=URL + "/")),
    "no issuer": (Code.TOKEN_ISSUER, lambda f: f.but(iss=None)),
    "no audience": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud=None)),
    "audience list": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud=[CRM, "https://other.example"])),
    "audience elsewhere": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud="https://other.example/mcp/crm")),
    "audience only begins like us": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud=URL + ".evil.example/mcp/crm")),
    "audience another server": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud=URL + "/mcp/erp")),
    "audience shares a prefix": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud=URL + "/mcp/cr")),
    "audience with dot segments": (Code.TOKEN_AUDIENCE, lambda f: f.but(aud=URL + "/mcp/x/../crm")),
    "no exp": (Code.TOKEN_CLAIMS, lambda f: f.but(exp=None)),
    "exp a text": (Code.TOKEN_CLAIMS, lambda f: f.but(exp="9999999999")),
    "exp a float": (Code.TOKEN_CLAIMS, lambda f: f.but(exp=f.claims["exp"] + 0.5)),
    "exp true": (Code.TOKEN_CLAIMS, lambda f: f.but(exp=True)),
    "no iat": (Code.TOKEN_CLAIMS, lambda f: f.but(iat=None)),
    "nbf a text": (Code.TOKEN_CLAIMS, lambda f: f.but(nbf="soon")),
    "no client_id": (Code.TOKEN_CLAIMS, lambda f: f.but(client_id=None)),
    "expired": (Code.TOKEN_EXPIRED, lambda f: f.but(iat=f.claims["iat"] - 330, exp=f.claims["iat"] - 30)),
    "iat in the future": (
        Code.TOKEN_NOT_YET_VALID,
        lambda f: f.but(iat=f.claims["iat"] + 31, exp=f.claims["iat"] + 331),
    ),
    "nbf in the future": (Code.TOKEN_NOT_YET_VALID, lambda f: f.but(nbf=f.claims["iat"] + 31)),
    "lives too long": (Code.TOKEN_LIFETIME, lambda f: f.but(exp=f.claims["iat"] + 301)),
    "ends before it begins": (Code.TOKEN_LIFETIME, lambda f: f.but(exp=f.claims["iat"] - 1)),
    "reserved key in a claim": (Code.RESERVED_KEY, lambda f: f.but(x={"y": [{"__entity": {"type": "User"}}]})),
    "another agent's credential": (Code.CREDENTIAL_REVOKED, lambda f: f.but(sub="agt_billing")),
    "unknown agent": (Code.AGENT_UNKNOWN, lambda f: f.but(sub="agt_nobody")),
    "older epoch": (Code.CREDENTIAL_REVOKED, lambda f: f.but(epoch=0)),
    "epoch to come": (Code.CREDENTIAL_REVOKED, lambda f: f.but(epoch=2)),
    "user without registration": (
        Code.TOKEN_CLAIMS,
        lambda f: f.but(act={"sub": SUPPORT}, sub="kim", user={"iss": "x", "roles": [], "claims": {}}),
    ),
    "user of an unknown registration": (
        Code.CREDENTIAL_REVOKED,
        lambda f: f.but(act={"sub": SUPPORT}, sub="kim", user={"iss": "x", "reg": "iss_0", "roles": [], "claims": {}}),
    ),
}


async def _forge() -> Forge:
    world = await World().started()
    instance = await world.instance()
    await world.instance(BILLING)  # so that nothing but the credential's owner tells the two apart
    good = await instance.token()
    return Forge(world, instance, good)


def _refusal_of(forge: Forge, token: str) -> UnauthenticatedError:
    with pytest.raises(UnauthenticatedError) as caught:
        forge.world.verifier.verify(token, path="/mcp/crm")
    return caught.value


@pytest.mark.requirement("identity:tokens:hostile")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused_for_its_own_reason(name: str) -> None:
    forge = run(_forge())
    forge.world.verifier.verify(forge.good, path="/mcp/crm")
    code, make = HOSTILE[name]
    token = make(forge)
    assert token != forge.good
    for _ in range(2):  # a cache must not turn the second attempt into an answer
        error = _refusal_of(forge, token)
        assert error.code is code
        assert error.cause


@pytest.mark.requirement("identity:tokens:outward")
def test_hostile_tokens_get_one_outward_text_and_no_hint_of_the_reason() -> None:
    forge = run(_forge())
    errors = [_refusal_of(forge, make(forge)) for _, make in HOSTILE.values()]
    assert len({(error.message, error.hint, error.status) for error in errors}) == 1
    assert len(errors) >= 25
    assert len({error.code for error in errors}) >= 17


@pytest.mark.requirement("identity:tokens:outward")
def test_no_refusal_repeats_the_token_or_its_claims_to_the_caller() -> None:
    forge = run(_forge())
    for _, make in HOSTILE.values():
        error = _refusal_of(forge, make(forge))
        assert "crm" not in error.message + error.hint
        assert "agt_" not in error.message + error.hint


@pytest.mark.requirement("identity:tokens:hostile")
def test_a_forged_token_stays_refused_when_presented_after_the_good_one_was_cached() -> None:
    forge = run(_forge())
    forge.world.verifier.verify(forge.good, path="/mcp/crm")
    assert _refusal_of(forge, forge.with_other_body()).code is Code.TOKEN_SIGNATURE
    assert forge.world.verifier.verify(forge.good, path="/mcp/crm").agent == SUPPORT
