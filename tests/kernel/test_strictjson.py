"""JSON from outside is read strictly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import parse_strict

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(_VALUES)
@pytest.mark.requirement("kernel:json:strict")
def test_what_is_read_is_what_was_written(value: object) -> None:
    for separators in ((", ", ": "), (",", ":")):
        text = json.dumps(value, ensure_ascii=False, separators=separators)
        assert parse_strict(text.encode("utf-8", "surrogatepass"), max_bytes=10**6) == value


@pytest.mark.requirement("kernel:json:strict")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a":1,"a":2}', Code.BODY_DUPLICATE_KEYS),
        (b'{"x":[{"a":1,"b":2,"a":1}]}', Code.BODY_DUPLICATE_KEYS),
        (b'{"a":1,"\\u0061":2}', Code.BODY_DUPLICATE_KEYS),
        (b"[" * 65 + b"]" * 65, Code.BODY_TOO_DEEP),
        (b"[" * 5000 + b"]" * 5000, Code.BODY_MALFORMED),
        (b'{"a":NaN}', Code.BODY_MALFORMED),
        (b'{"a":1e999}', Code.BODY_MALFORMED),
        (b'{"a":123456789012345678901234567890}', Code.BODY_MALFORMED),
        (b'"\\ud800"', Code.BODY_MALFORMED),
        (b'{"a":1', Code.BODY_MALFORMED),
        (b"", Code.BODY_MALFORMED),
        (b"\xef\xbb\xbf{}", Code.BODY_MALFORMED),
        (b'"\xff"', Code.BODY_MALFORMED),
        (b"[" + b"1," * 600 + b"1]", Code.BODY_OVERSIZED),
    ],
)
def test_an_ambiguous_or_oversized_text_is_refused_by_name(text: bytes, code: Code) -> None:
    limit = 1000 if code is Code.BODY_OVERSIZED else 10**6
    with pytest.raises(InvalidInputError) as caught:
        parse_strict(text, max_bytes=limit)
    assert caught.value.code is code
