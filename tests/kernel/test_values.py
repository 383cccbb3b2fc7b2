"""Canonical bytes, money, ids, sealing."""

from __future__ import annotations

import re
import struct
from decimal import Decimal

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.canonical import canonical, canonical_json, digest_value, require_canonical
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.errors import ForbiddenError, InvalidInputError
from accredit.kernel.ids import RandomIds, SeededIds, check_name, tool_id, tool_name
from accredit.kernel.money import Money
from accredit.kernel.sealing import AesGcmSealer

_ASCII = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=6)
_CANONICAL = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ASCII, inner, max_size=4),
    max_leaves=15,
)


@given(_CANONICAL)
@pytest.mark.requirement("kernel:canonical:jcs")
def test_canonical_bytes_are_those_of_rfc_8785(value: object) -> None:
    require_canonical(value)
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]  # hypothesis's values are JSON


@pytest.mark.parametrize("value", [1.0, {"a": [0.5]}, 2**53, {"é": 1}, {"a": b"x"}, {1: 2}])
@pytest.mark.requirement("kernel:canonical:jcs")
def test_a_value_without_one_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        require_canonical(value)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=6),
    max_leaves=15,
)  # fmt: skip


@given(_ANY_JSON)
@pytest.mark.requirement("kernel:canonical:any-json")
def test_any_json_is_written_as_rfc_8785_has_it(value: object) -> None:
    assert canonical_json(value, max_depth=64) == rfc8785.dumps(value)  # type: ignore[arg-type]  # as above


@given(st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0]))
@pytest.mark.requirement("kernel:canonical:any-json")
def test_a_number_of_any_bits_is_written_as_ecmascript_has_it(number: float) -> None:
    if number - number != 0:  # infinite, or no number
        with pytest.raises(InvalidInputError):
            canonical_json([number], max_depth=1)
    else:
        assert canonical_json([number], max_depth=1) == rfc8785.dumps([number])


@pytest.mark.parametrize(
    ("bits", "text"),
    # RFC 8785 appendix B
    [
        ("0000000000000000", "0"), ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"), ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"), ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"), ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"), ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"), ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"), ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"), ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"), ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"), ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"), ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"), ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)  # fmt: skip
@pytest.mark.requirement("kernel:canonical:any-json")
def test_the_numbers_of_rfc_8785_are_written_as_it_says(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number, max_depth=0) == text.encode()


@pytest.mark.requirement("kernel:canonical:any-json")
def test_keys_are_sorted_by_their_utf_16_code_units() -> None:
    # RFC 8785 §3.2.3
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = canonical_json(dict.fromkeys(names, 0), max_depth=1).decode()
    assert written == '{"\\r":0,"1":0,"\u0080":0,"\u00f6":0,"\u20ac":0,"\U0001f600":0,"\ufb33":0}'


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), 2**53, -(2**53), {"a": [2**70]}, "\ud800", {"\udfff": 1}, {1: 2}, b"x", [{1, 2}],
     [[[0]]]],
)  # fmt: skip
@pytest.mark.requirement("kernel:canonical:any-json")
def test_what_has_no_form_of_rfc_8785_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        canonical_json(value, max_depth=2)


@pytest.mark.requirement("kernel:canonical:domains")
def test_a_digest_of_one_kind_never_stands_for_another() -> None:
    assert digest_value("agent-version", {"a": 1}) != digest_value("policy-release", {"a": 1})


@given(st.decimals("0", "100000000000", places=11))
@pytest.mark.requirement("kernel:money:rounding")
def test_money_is_rounded_against_the_spender(amount: Decimal) -> None:
    nanos = Money.parse(f"{amount:f} USD").nanos
    assert amount <= Decimal(nanos) / 10**9 < amount + Decimal("1e-9")


@pytest.mark.parametrize("text", ["50", "USD 50", "-1 USD", "1e3 USD", "1.5usd", "50 USD ", "1_000 USD", "٣ USD", ""])
@pytest.mark.requirement("kernel:money:rounding")
def test_an_amount_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Money.parse(text)


def test_money_reads_back_what_it_shows() -> None:
    assert str(Money.parse("0.0020 USD")) == "0.002 USD"
    assert str(Money.parse("5000 EUR")) == "5000 EUR"


@given(st.text(min_size=1))
@pytest.mark.requirement("kernel:ids:tools")
def test_a_tool_id_is_reversible_and_of_plain_characters(name: str) -> None:
    spelled = tool_id("crm", name.encode("utf-8", "ignore").decode() or "x")
    assert re.fullmatch(r"crm/[A-Za-z0-9_.%-]+", spelled)
    assert tool_name(spelled) == (name.encode("utf-8", "ignore").decode() or "x")


@pytest.mark.parametrize("name", ["", "A", "a_b", "a.b", "a/b", "-a", "1a", "a" * 64, "\u0430gent", "a\n"])
@pytest.mark.requirement("kernel:ids:names")
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_name(name, "agent")


@pytest.mark.requirement("kernel:ids:opaque")
def test_ids_are_opaque_and_distinct() -> None:
    made = {RandomIds().new("agt") for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"agt_[0-9a-f]{32}", each) for each in made)
    assert SeededIds(7).new("agt") == SeededIds(7).new("agt")


@pytest.mark.requirement("kernel:sealing:binding")
def test_a_sealed_value_opens_only_as_what_it_was_sealed_for() -> None:
    sealer = AesGcmSealer(b"k" * 32, SeededIds(1))
    sealed = sealer.seal(b"secret", belongs_to=b"crm|1")
    assert sealer.open(sealed, belongs_to=b"crm|1") == b"secret"
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for other, owner, holder in (
        (sealed, b"crm|2", sealer),
        (flipped, b"crm|1", sealer),
        (sealed, b"crm|1", sealer.derive("other")),
        (b"", b"crm|1", sealer),
    ):
        with pytest.raises(InvalidInputError):
            holder.open(other, belongs_to=owner)


@pytest.mark.requirement("kernel:clearance:subject")
def test_a_clearance_covers_exactly_its_subject() -> None:
    clearance = Clearance(Subject("policy-release", digest_value("x", 1)), Basis.SINGLE_ADMIN, ("psn_a",), "tok_a")
    clearance.covers("policy-release", digest_value("x", 1))
    with pytest.raises(ForbiddenError):
        clearance.covers("policy-release", digest_value("x", 2))
    with pytest.raises(ForbiddenError):
        clearance.covers("agent-version", digest_value("x", 1))
