"""Classes of the values in arguments."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.monitoring.profiles.shapes import MOST_VALUES, values_of


def _hashed(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _classes(value: object, schema: dict[str, object] | None = None) -> list[str]:
    return [one.kind for one in values_of({"x": value}, _hashed, schema)]


@pytest.mark.requirement("monitoring:shapes:classes")
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "true"),
        (0, "n0"),
        (-950, "-n5"),
        (1000, "n6"),
        (10**400, "n-large"),
        (float("nan"), "n-large"),
        ("DE89370400440532013000", "acct:DE"),
        ("2026-11-27", "d10"),
        ("hello", "s2"),
        ("", "s0"),
    ],
)
def test_a_value_is_of_a_class(value: object, kind: str) -> None:
    assert _classes(value) == [kind]


@pytest.mark.requirement("monitoring:shapes:classes")
def test_addresses_and_links_go_by_their_domain_alone() -> None:
    assert _classes("ann@example.com") == _classes("Bob@EXAMPLE.com") != _classes("ann@example.org")
    assert _classes("https://a.example/x?y") == _classes("HTTPS://A.example/other") != _classes("https://b.example")


@pytest.mark.requirement("monitoring:shapes:choices")
def test_a_choice_of_the_schema_is_told_from_others_and_a_key_it_has_not_is_not_named() -> None:
    schema = {"properties": {"status": {"enum": ["open", "closed"]}, "lines": {"items": {"properties": {"sku": {}}}}}}
    found = values_of({"status": "open", "lines": [{"sku": "a", "Ann Lee": 1}], "Ann": 2}, _hashed, schema)
    assert [one.path for one in found] == [
        "status", "lines[].sku", f"lines[].#{_hashed('Ann Lee')}", f"#{_hashed('Ann')}",
    ]  # fmt: skip
    assert found[0].kind == f"e:{_hashed('open')}" != values_of({"status": "closed"}, _hashed, schema)[0].kind


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=200,
)


@pytest.mark.requirement("monitoring:shapes:bounded")
@given(st.dictionaries(st.text(max_size=8), _JSON, max_size=8))
def test_whatever_the_arguments_there_are_few_short_classes_without_any_of_their_text(
    arguments: dict[str, object],
) -> None:
    found = values_of(arguments, _hashed, {})
    assert len(found) <= MOST_VALUES
    for one in found:
        assert len(one.kind) <= 13
        assert len(one.path) <= 200
        assert set(one.path) <= set("#0123456789abcdef.[]")


@pytest.mark.requirement("monitoring:shapes:bounded")
def test_depth_and_width_have_an_end() -> None:
    deep: object = 1
    for _ in range(500):
        deep = {"a": deep}
    assert _classes(deep) == ["deep"]
    assert len(_classes([1] * 100_000)) == MOST_VALUES
