"""What the detector finds, what it leaves alone, and that no text makes it slow or fail."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random  # noqa: TID251 - seeded by hypothesis
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accredit.kernel.detector import LOCALES, Detection, Detector, Sensitive, Sightings
from tests.kernel.sensitive import CHECKED, clean, hits, spoiled, value_of, word_of

_HARD = [json.loads(line) for line in (Path(__file__).parent / "corpus/hard.jsonl").read_text().splitlines()]
_CLEAN_DOCUMENTS: Final = 3_000
_LOOK: Final = Detector().find


def _said(text: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for one in _LOOK(text):
        said.setdefault(one.kind.value, []).append(text[one.start : one.end])
    return said


@pytest.mark.requirement("kernel:detector:found")
def test_of_each_kind_with_a_check_digit_at_least_95_of_100_values_are_found_where_they_stand() -> None:
    there, found = Counter[Sensitive](), Counter[Sensitive]()
    for hit in hits():
        start = hit.text.index(hit.value)
        there[hit.kind] += 1
        found[hit.kind] += Detection(hit.kind, start, start + len(hit.value)) in _LOOK(hit.text)
    assert set(there) == set(CHECKED)
    assert min(there.values()) >= 40
    assert {kind: found[kind] / there[kind] for kind in there if found[kind] < 0.95 * there[kind]} == {}


@pytest.mark.requirement("kernel:detector:clean")
def test_of_a_thousand_clean_documents_at_most_one_has_a_finding() -> None:
    wrong = [
        (one.kind.value, text[max(0, one.start - 20) : one.end + 20])
        for text in clean(_CLEAN_DOCUMENTS)
        for one in _LOOK(text)
    ]
    assert len(wrong) <= _CLEAN_DOCUMENTS / 1_000, wrong


@pytest.mark.requirement("kernel:detector:found", "kernel:detector:clean")
@pytest.mark.parametrize("case", _HARD, ids=[case["text"][:40] for case in _HARD])
def test_hard_cases_written_by_hand(case: dict[str, Any]) -> None:
    assert _said(case["text"]) == case["found"]


_NEUTRAL = st.lists(
    st.sampled_from(["pay", "Kim", "the", "(new)", "ok:", "2026", "#7", "-", "é", "€ 3.50"]), max_size=6
)


@pytest.mark.requirement("kernel:detector:found")
@given(st.sampled_from(list(CHECKED)), st.integers(0, 10_000), _NEUTRAL, _NEUTRAL)
def test_a_valid_value_is_found_among_words(kind: Sensitive, seed: int, before: list[str], after: list[str]) -> None:
    value = value_of(kind, Random(seed))
    head = " ".join([*before, word_of(kind), ""])
    text = f"{head}{value} {' '.join(after)}"
    assert Detection(kind, len(head), len(head) + len(value)) in _LOOK(text)


@pytest.mark.requirement("kernel:detector:clean")
@given(st.sampled_from(list(CHECKED)), st.integers(0, 10_000), _NEUTRAL)
def test_a_value_with_a_changed_character_is_none_of_its_kind(kind: Sensitive, seed: int, before: list[str]) -> None:
    rnd = Random(seed)
    value = value_of(kind, rnd)
    wrong = spoiled(value, rnd)
    assume(wrong != value)
    text = " ".join([*before, word_of(kind), wrong, "done"])
    assert kind not in {one.kind for one in _LOOK(text)}


@pytest.mark.requirement("kernel:detector:bounded")
@given(
    st.text(alphabet="1234567890 .-+@<:/=ABEGIadefghkps_\\\"'\u00a0\u200b\u0130ß\n", max_size=200), st.text(max_size=60)
)
def test_no_text_raises_and_findings_are_in_order_and_apart(one: str, other: str) -> None:
    text = one + other
    end = 0
    for found in _LOOK(text):
        assert end <= found.start < found.end <= len(text)
        end = found.end
    Detector().count({one: [other, {other: one}, 1, None, 1.5]})


@pytest.mark.requirement("kernel:detector:bounded")
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "1", "1 ", "1-", "1.", "12 345 678 ", "4111 ", "4111 1111 1111 1112 ", "A", "a1", "aaaaaa1", "@", "a@",
        "a@b.", "eyJ", "eyJa.", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----" + "A" * 40, "sk-",
        "ghp_", "xoxb-", "password=", "password ", "token: ", "+1", "+1 (", "tel 1", "phone (", "de12", "de12 ", "<",
        "P<", "1234567<", "2001:", "1.1.1.1.", "://a:", "icd a10 ", "mbi 1e", "mrn a", "bearer ", "nhs 9434765919 ",
        "a@b.co ", "\u200b1", "\\n1", "\x1e1\n", "ß", "\u0130",
    ],
)  # fmt: skip
def test_texts_made_to_be_slow_are_looked_at_in_time(piece: str) -> None:
    # the slowest of them takes 3 s, a quadratic pattern would take minutes
    looked = Detector(most_text=1_000_000).find((piece * (1_000_000 // len(piece) + 1))[:1_000_000])
    assert len(looked) <= 1_000


@pytest.mark.requirement("kernel:detector:bounded")
def test_beyond_the_bounds_nothing_is_looked_at_and_that_is_told() -> None:
    mail = "kim@example.com"
    assert Detector(most_text=100).find("x" * 100 + " " + mail) == ()
    for value in ("x" * 200 + " " + mail, {"a": "x" * 200, "b": mail}, {"a": ["y" * 60, "z" * 60, mail]}, [0] * 300):
        seen = Detector(most_text=100, most_values=50).count(value)
        assert not seen.counts
        assert not seen.whole
    many = Detector(most_findings=5).count([f"k{number}@example.com" for number in range(9)])
    assert many == Sightings({Sensitive.EMAIL: 5}, whole=False)
    deep: Any = mail
    for _ in range(5_000):
        deep = [deep]
    assert Detector().count(deep) == Sightings({Sensitive.EMAIL: 1})


@pytest.mark.requirement("kernel:detector:values")
def test_a_result_of_a_tool_is_looked_at_with_its_keys_and_each_value_counts_once() -> None:
    result = {
        "content": [
            {"type": "text", "text": '{"card": "4111 1111 1111 1111", "nhs_no": 9434765919}'},
            {"type": "text", "text": "name,bsn\nKim,111222333\n" + "Bo,1\n" * 90 + "Ann,999999990"},
        ],
        "structuredContent": {"card": 4111111111111111, "nhs_no": 9434765919, "by": {"ann@example.com": ["x"]}},
    }
    assert Detector().count(result).counts == {
        Sensitive.EMAIL: 1, Sensitive.CARD: 1, Sensitive.UK_NHS: 1, Sensitive.NL_BSN: 2,
    }  # fmt: skip
    assert Detector().count(result).data_classes == {"personal", "financial", "phi"}
    # the header of one value is none of another
    assert not Detector().count(["pesel,x\n1,2", "a\n" + "b" * 99 + " 44051401359"]).counts
    nothing: Any
    for nothing in (None, True, 1.5, {}, [], "", {"a": None}, 10**400):
        assert Detector().count(nothing) == Sightings({})


@pytest.mark.requirement("kernel:detector:values")
def test_a_picture_takes_no_room_of_what_can_be_read_and_is_told_as_not_looked_at() -> None:
    picture = {"type": "image", "data": "iVBORw0K" * 50_000, "mimeType": "image/png"}
    said = {"type": "text", "text": "kim@example.com"}
    seen = Detector(most_text=1_000).count({"content": [picture, picture, said]})
    assert seen == Sightings({Sensitive.EMAIL: 1}, whole=False)


@pytest.mark.requirement("kernel:detector:never-values")
def test_no_value_is_in_what_is_told() -> None:
    text = "card 4111 1111 1111 1111, password=hunter2"
    told = repr([_LOOK(text), Detector().count({"said": text})])
    assert "4111" not in told
    assert "hunter2" not in told
    assert {one.data_class for one in _LOOK(text)} == {"financial", "secret"}


@pytest.mark.requirement("kernel:detector:never-values")
def test_every_kind_is_of_a_registered_data_class() -> None:
    root = Path(__file__).parents[2] / "src/accredit/registry/data_classes.json"
    registered = {each["name"] for each in json.loads(root.read_text())}
    assert {kind.data_class for kind in Sensitive} <= registered


@pytest.mark.requirement("stores:scan")
def test_identifiers_of_countries_that_are_not_named_are_passed_over() -> None:
    text = "SSN 536-90-4399, DNI 12345678Z, write to jane@mail.example.com"
    assert set(Detector().count(text).counts) == {Sensitive.US_SSN, Sensitive.ES_DNI, Sensitive.EMAIL}
    assert set(Detector(locales=["es"]).count(text).counts) == {Sensitive.ES_DNI, Sensitive.EMAIL}
    assert set(Detector(locales=[]).count(text).counts) == {Sensitive.EMAIL}
    every = frozenset[Sensitive]().union(*LOCALES.values())
    own = {kind for kind in Sensitive if kind.value.split("_")[0] in {*LOCALES, "uk"}}
    assert own == every
    with pytest.raises(KeyError):
        Detector(locales=["atlantis"])
