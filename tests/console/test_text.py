"""Text that somebody supplied, as a page shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.console.text import datum, moment, rows_alike, short
from accredit.kernel.legible import visible


class _Shape(HTMLParser):
    """The elements and the text of a piece of markup."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.depth += 1
        assert {name for name, _ in attrs} <= {"class", "title"}

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.text += data


def _shape(value: object) -> _Shape:
    shape = _Shape()
    shape.feed(str(datum(value)))
    shape.close()
    return shape


@pytest.mark.requirement("console:text:isolated")
@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_one_box_of_text_and_nothing_in_it_is_markup_or_unseen(text: str) -> None:
    shape = _shape(text)
    assert set(shape.elements) <= {"bdi", "span"}
    assert shape.depth == 0
    assert shape.elements.count("bdi") == (1 if text else 0)
    drawn = shape.text.replace("\n", "")
    assert visible(drawn) == drawn
    assert drawn.isprintable() or not drawn


@pytest.mark.requirement("console:text:isolated")
@given(st.text("abc \u202e\u200b\u0430<>&\"'", min_size=1, max_size=40))
def test_nothing_of_a_text_is_left_out(text: str) -> None:
    back = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), _shape(text).text)
    assert back == text


@pytest.mark.requirement("console:text:marked")
@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("a\u202eb", "U+202E right-to-left override"),
        ("a\u200bb", "U+200B zero width space"),
        ("a\U000e0041b", "U+E0041 tag latin capital letter a"),
        ("a\x1b[2Jb", "U+001B a character without a name"),
        ("a\rb", "U+000D a character without a name"),
        ("p\u0430ypal", "letters of several alphabets in one word"),
        ("\uff41dmin", "letters of several alphabets in one word"),
        ("z\u0351\u0352\u0353\u0354", "U+0354 combining left arrowhead below"),
    ],
)
def test_what_deceives_the_eye_is_marked(text: str, marked: str) -> None:
    assert marked in datum(text)


@pytest.mark.requirement("console:text:marked")
@pytest.mark.parametrize(
    "text", ["\u041f\u0440\u0438\u0432\u0435\u0442", "M\u00fcller", "\u5ba2\u6237", "na\u00efve 3\u20ac", "e\u0301"]
)
def test_words_of_any_one_language_are_left_alone(text: str) -> None:
    assert "odd" not in datum(text)


@pytest.mark.requirement("console:text:isolated")
def test_a_text_and_a_literal_that_look_the_same_are_told_apart() -> None:
    assert datum(1) != datum("1")
    assert datum(True) != datum("true")
    assert datum(None) != datum("none")


@pytest.mark.requirement("console:text:isolated")
def test_moments_and_digests_are_whole_where_the_pointer_rests() -> None:
    assert str(moment(1_795_000_000_000_000)) == (
        '<time datetime="2026-11-18T11:06:40.000+00:00">2026-11-18 11:06:40<span class="zone"> UTC</span></time>'
    )
    assert 'title="sha256:0123456789abcdef"' in short("sha256:0123456789abcdef")
    assert rows_alike([{"a": 1}, {"a": [1, "b"]}]) == ("a",)
    assert rows_alike([{"a": 1}, {"b": 1}]) is None
    assert rows_alike([{"a": {}}, {"a": {}}]) is None
