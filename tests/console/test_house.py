"""What keeps the pages small, and free of anything inline or foreign."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import accredit.console

_ROOM = Path(accredit.console.__file__).parent
_TEMPLATES = sorted((_ROOM / "templates").glob("*"))
_OURS = [path for path in sorted((_ROOM / "static").iterdir()) if not path.name.startswith("htmx")]


@pytest.mark.requirement("console:house:small")
def test_no_template_is_longer_than_a_reader_can_follow() -> None:
    assert len(_TEMPLATES) > 8
    assert {path.name: size for path in _TEMPLATES if (size := len(path.read_text().splitlines())) > 250} == {}


@pytest.mark.requirement("console:house:inline")
def test_no_template_has_a_script_style_or_handler_inline() -> None:
    inline = re.compile(
        r"<script(?![^>]*\bsrc=)|<style\b|\sstyle\s*=|\son[a-z]+=|\bhx-on\b|javascript:|\bjs:|hx-vals|hx-headers"
        r"|\|\s*safe\b|autoescape",
        re.IGNORECASE,
    )
    assert {path.name: found for path in _TEMPLATES if (found := inline.findall(path.read_text()))} == {}


@pytest.mark.requirement("console:house:foreign")
def test_no_page_or_file_of_ours_names_anything_elsewhere() -> None:
    address = re.compile(r"(?:https?:)?//[a-z0-9]", re.IGNORECASE)
    for path in (*_TEMPLATES, *_OURS):
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert address.findall(text) == [], path.name


@pytest.mark.requirement("console:house:foreign")
def test_links_of_a_page_are_made_of_ids_and_never_of_what_somebody_wrote() -> None:
    target = re.compile(r'\b(?:href|src|action|hx-get|hx-post)="([^"]*)"')
    named = {each for path in _TEMPLATES for found in target.findall(path.read_text()) for each in _values(found)}
    assert named <= {
        "agent.id", "first", "following", "frame.here", "hold.id", "href", "one.hold.id", "one.request.id",
        "request.id", "review.id", "campaign.id", "finding.id", "seq", "promoted.id", "dossier.waiting.id",
        "dossier.approved.request.id", "dossier.review.request", "dossier.review.review",
        "offer.name", "one.name", "one.id", "one.request", "state.value", "id", "static",
        "consent_url",  # the https endpoint that an operator registered
    }  # fmt: skip


@pytest.mark.requirement("console:house:vendored")
def test_what_is_vendored_carries_its_version_and_licence() -> None:
    names = {path.name for path in (_ROOM / "static").iterdir()}
    assert {"htmx-4.0.1.min.js", "htmx-LICENSE.txt"} <= names


def _values(text: str) -> list[str]:
    return [re.split(r"[(\s|]", one.strip())[0] for one in re.findall(r"\{\{(.*?)\}\}", text)]
