from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.approvals.requests import request_digest
from accredit.gateway.carried import CarriedState, open_state, seal_state
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, HoldId, SeededIds
from accredit.kernel.sealing import AesGcmSealer
from tests.approvals.desk import AGENT, call

SEALER = AesGcmSealer(b"k" * 32, SeededIds(1)).derive("hold state")
REQUEST = request_digest(call())
CARRIED = CarriedState(HoldId("hld_1"), ("who",), "theirs", {"who": {"action": "accept"}}, "opn_1")
NOW = Instant(1_000, 1_000)


def sealed() -> str:
    return seal_state(SEALER, CARRIED, agent=AGENT.id, user="ü", request=REQUEST, expires_us=2_000)


def opened(
    text: str, *, agent: AgentId = AGENT.id, user: str | None = "ü", request: Digest = REQUEST, now: Instant = NOW
) -> CarriedState | Code:
    return open_state(SEALER, text, agent=agent, user=user, request=request, now=now)


@pytest.mark.requirement("holds:state:sealed")
def test_sealed_state_opens_only_for_its_agent_user_and_request() -> None:
    text = sealed()
    found = opened(text)
    assert isinstance(found, CarriedState)
    assert (found.name, replace(found, name=None, expires_us=0), found.expires_us) == (found.name, CARRIED, 2_000)
    assert opened(text, agent=AgentId("agt_2")) is Code.HOLD_UNKNOWN
    assert opened(text, user=None) is Code.HOLD_UNKNOWN
    assert opened(text, user="u") is Code.HOLD_UNKNOWN
    assert opened(text, request=request_digest(call({}))) is Code.HOLD_UNKNOWN


@pytest.mark.requirement("gateway:questions:once")
def test_a_state_has_one_name_however_it_is_spelled_and_no_two_states_share_one() -> None:
    text = sealed()
    raw, spellings = base64.urlsafe_b64decode(text), {text}
    if text.endswith("="):  # the last letter before the padding has bits that mean nothing
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        at = len(text.rstrip("="))
        every = (text[: at - 1] + letter + text[at:] for letter in letters)
        spellings |= {one for one in every if base64.urlsafe_b64decode(one) == raw}
    names = {found.name for one in spellings if isinstance(found := opened(one), CarriedState)}
    assert len(names) == 1
    other = opened(sealed())
    assert isinstance(other, CarriedState)
    assert other.name not in names


@pytest.mark.requirement("holds:state:sealed")
def test_sealed_state_expires_and_tells_its_bearer_nothing() -> None:
    assert opened(sealed(), now=Instant(2_000, 0)) is Code.HOLD_EXPIRED
    assert b"hld_1" not in base64.urlsafe_b64decode(sealed())


@pytest.mark.requirement("holds:state:sealed")
@given(st.integers(0, 10_000), st.characters(max_codepoint=0x7E))
def test_tampered_state_is_unknown(at: int, character: str) -> None:
    text = sealed()
    at %= len(text)
    changed = text[:at] + character + text[at + 1 :]
    assert opened(changed) is Code.HOLD_UNKNOWN or base64.urlsafe_b64decode(changed) == base64.urlsafe_b64decode(text)


@pytest.mark.requirement("holds:state:sealed")
@given(st.text(max_size=1100))
def test_any_other_text_is_unknown(text: str) -> None:
    assert opened(text) is Code.HOLD_UNKNOWN


def test_overlong_text_is_not_even_decoded() -> None:
    assert opened("A" * 1_000_000) is Code.HOLD_UNKNOWN
