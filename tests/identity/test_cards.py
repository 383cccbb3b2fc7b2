"""Signatures on agent cards: ours as others check them, and those of others with the keys that count."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from accredit.identity.cards import signed_card, verified_card
from accredit.identity.keys import SigningKey, issuer_keys, new_signing_key
from accredit.identity.signing import CARDS, SigningKeys
from accredit.kernel.sealing import AesGcmSealer
from tests.identity.world import ADMIN, World, run

_SDK = json.loads((Path(__file__).parent / "cards/by-the-sdk.json").read_text())
"""A card signed by the A2A SDK for Python 1.3, and the key set of whoever did."""
_URL = "https://accredit.example.com/.well-known/agent-card-jwks.json"
_TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
_NAMES = st.text("abcXYZ", min_size=1, max_size=8)
_VALUES = st.recursive(
    st.one_of(_TEXTS, st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(_NAMES, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
_CARDS = st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=6).filter(lambda card: "signatures" not in card)
_KEY = new_signing_key("key_card")


def _keys(key: SigningKey) -> dict[str, Any]:
    return {key.kid: key.public()}


@given(_CARDS)
@pytest.mark.requirement("identity:cards:signed")
def test_a_signed_card_verifies_for_whoever_follows_the_specifications(card: dict[str, Any]) -> None:
    made = signed_card(card, _KEY, keys_url=_URL)
    assert verified_card(made, _keys(_KEY)).kid == _KEY.kid
    (signature,) = made.pop("signatures")
    # RFC 7515 appendix F: the payload is put back in; RFC 8785: it is the canonical card
    payload = base64.urlsafe_b64encode(rfc8785.dumps(made)).rstrip(b"=").decode()
    token = f"{signature['protected']}.{payload}.{signature['signature']}"
    header = jws.deserialize_compact(token, ECKey.import_key(dict(_KEY.public().jwk))).headers()
    assert header == {"alg": "ES256", "jku": _URL, "kid": _KEY.kid, "typ": "JOSE"}


@given(_CARDS, st.data())
@pytest.mark.requirement("identity:cards:verified")
def test_a_card_that_was_changed_anywhere_is_unverified(card: dict[str, Any], data: st.DataObject) -> None:
    made = signed_card(card, _KEY, keys_url=_URL)
    changed = copy.deepcopy(made)
    key = data.draw(st.sampled_from(sorted(card)))
    match data.draw(st.sampled_from(["drop", "other", "add"])):
        case "drop":
            del changed[key]
        case "other":
            changed[key] = data.draw(_VALUES.filter(lambda value: json.dumps(value) != json.dumps(card[key])))
        case _:
            changed["zzzzzzzzz"] = data.draw(_VALUES)
    found = verified_card(changed, _keys(_KEY))
    assert not found.verified
    assert found.why == "unverified: it is not what that key signed"


@pytest.mark.requirement("identity:cards:verified")
def test_what_another_implementation_signed_is_verified_with_its_pinned_key_alone() -> None:
    card, keys = _SDK["card"], issuer_keys(_SDK["keys"])
    assert verified_card(card, keys).kid == "partner-1"
    assert verified_card(card, {}).why == "unverified: its key is not one that counts here"
    mine = {"partner-1": new_signing_key("partner-1").public()}
    assert verified_card(card, mine).why == "unverified: it is not what that key signed"
    for change in ({"name": "Recherche-Agent"}, {"supportedInterfaces": [{"url": "https://evil.example"}]}):
        assert not verified_card(card | change, keys).verified
    # what is empty says nothing, so it is no change (A2A 1.0 §8.4.1)
    assert verified_card(card | {"iconUrl": "", "securitySchemes": {}}, keys).verified


def _resigned(header: dict[str, Any], key: SigningKey = _KEY) -> dict[str, Any]:
    made = signed_card({"name": "a"}, key, keys_url=_URL)
    protected = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return made | {"signatures": [{**made["signatures"][0], "protected": protected}]}


@pytest.mark.requirement("identity:cards:verified")
@pytest.mark.parametrize(
    "card",
    [
        {"name": "a"},
        {"name": "a", "signatures": []},
        {"name": "a", "signatures": "x"},
        {"name": "a", "signatures": [None, 1, {}, {"protected": "!", "signature": "!"}]},
        {"name": "a", "signatures": [{"protected": "W10", "signature": "AA"}]},
        {"name": 0.5, "signatures": [{"protected": "e30", "signature": "AA"}]},
        {"näme": "a", "signatures": [{"protected": "e30", "signature": "AA"}]},
        _resigned({"alg": "none", "kid": "key_card"}),
        _resigned({"alg": "HS256", "kid": "key_card"}),
        _resigned({"alg": "ES256", "kid": "key_card", "crit": ["b64"], "b64": False}),
        _resigned({"alg": "ES256", "kid": "key_card", "jwk": {"kty": "EC"}}),
        _resigned({"alg": "ES256", "kid": ["key_card"]}),
        _resigned({"alg": ["ES256"], "kid": "key_card"}),
    ],
)
def test_a_hostile_or_missing_signature_is_unverified_and_never_an_error(card: dict[str, Any]) -> None:
    assert not verified_card(card, _keys(_KEY)).verified


@pytest.mark.requirement("identity:cards:keys")
def test_a_retired_card_key_stays_published_and_no_token_verifies_with_one() -> None:
    async def scenario() -> None:
        world = await World().started()
        cards = SigningKeys(
            world.control, AesGcmSealer(b"c" * 32, world.ids), clock=world.clock, ids=world.ids, use=CARDS
        )
        await cards.ensure(actor=ADMIN)
        first = cards.current()
        made = signed_card({"name": "a"}, first, keys_url=_URL)
        await cards.rotate(actor=ADMIN)
        world.clock.advance(400 * 86_400)
        await cards.rotate(actor=ADMIN)
        assert verified_card(made, cards.keys()).kid == first.kid
        assert {key["kid"] for key in cards.jwks()["keys"]} == set(cards.keys())
        assert world.keys.find(first.kid) is None
        assert not set(cards.keys()) & set(world.keys.keys())
        again = SigningKeys(
            world.control, AesGcmSealer(b"c" * 32, world.ids), clock=world.clock, ids=world.ids, use=CARDS
        )
        assert again.current().kid == cards.current().kid != first.kid

    run(scenario())
