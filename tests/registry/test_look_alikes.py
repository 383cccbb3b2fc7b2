"""Names and addresses that look like others: refused by the place they stand at, and nobody is taken for another."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.errors import ManifestError
from accredit.registry.model import Role
from tests.registry.fleet import (
    Fleet,
    agent_document,
    changed,
    example,
    group_document,
    person_document,
    server_document,
)

DANA = "dana@example.com"
ADDRESSES = {
    "cyrillic letter": "d\u0430na@example.com",
    "cyrillic letter in the domain": "dana@ex\u0430mple.com",
    "greek letter": "dan\u03b1@example.com",
    "full width": "\uff44ana@example.com",
    "full width at": "dana\uff20example.com",
    "small full stop": "dana@example\ufe52com",
    "ideographic full stop": "dana@example\u3002com",
    "one dot leader": "dana@example\u2024com",
    "ligature": "o\ufb03ce@example.com",
    "long s": "\u017fam@example.com",
    "dotless i": "m\u0131ra@example.com",
    "kelvin sign": "\u212aim@example.com",
    "mathematical letter": "\U0001d41dana@example.com",
    "combining mark": "da\u0301na@example.com",
    "combining grapheme joiner": "da\u034fna@example.com",
    "zero width space": "da\u200bna@example.com",
    "zero width joiner": "da\u200dna@example.com",
    "word joiner": "dana\u2060@example.com",
    "byte order mark": "\ufeffdana@example.com",
    "soft hyphen": "da\u00adna@example.com",
    "right to left override": "\u202eanad\u202c@example.com",
    "right to left mark": "dana\u200f@example.com",
    "isolate": "\u2066dana\u2069@example.com",
    "tag character": "dana\U000e0061@example.com",
    "variation selector": "dana\ufe0f@example.com",
    "hangul filler": "dana\u3164@example.com",
    "no-break space": "dana\u00a0@example.com",
    "leading space": " dana@example.com",
    "trailing space": "dana@example.com ",
    "line end": "dana@example.com\n",
    "null": "dana\x00@example.com",
    "escape": "dana\x1b[2K@example.com",
    "two addresses": "dana@example.com,lee@example.com",
    "display name": "Dana <dana@example.com>",
    "dot at the end": "dana@example.com.",
}
NAMES = {
    "cyrillic": "crm-\u0430gent",
    "greek": "crm-\u03b1gent",
    "full width": "\uff43rm",
    "zero width": "crm\u200b",
    "bidi": "\u202emrc",
    "tag": "crm\U000e0061",
    "combining": "cr\u0301m",
    "upper case": "Crm",
    "mixed script capital": "\u0421rm",
    "roman numeral": "\u2170",
    "superscript": "crm\u00b2",
    "arabic digit": "crm\u0661",
    "hyphen that is none": "crm\u2010live",
    "minus": "crm\u2212live",
    "underscore": "crm_live",
    "line end": "crm\n",
    "space": "crm ",
}


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """Refusals change nothing, so all of them share one."""
    made = Fleet.staffed()
    made.apply(*example("crm"), agent_document())
    return made


def places(address: str) -> dict[str, dict[str, Any]]:
    """Every place at which a manifest names a person."""
    return {
        "spec.email": person_document(address),
        "spec.controlledBy": person_document("bot-9@example.com", address),
        "spec.members": group_document("staff", [address]),
        "spec.owner": changed(agent_document(), "spec.owner", address),
        "spec.backupOwner": changed(agent_document(), "spec.backupOwner", address),
    }


def named(name: str) -> dict[str, dict[str, Any]]:
    """Every kind of thing that has a name."""
    team = {"apiVersion": "accredit/v1", "kind": "Team", "metadata": {"name": name}, "spec": {"zones": []}}
    agreement = {
        "apiVersion": "accredit/v1",
        "kind": "Agreement",
        "metadata": {"name": name},
        "spec": {"provider": "anthropic", "covers": ["personal"], "document": "sha256:" + "1" * 64},
    }
    return {
        "agent": changed(agent_document(), "metadata.name", name),
        "agent's team": changed(agent_document(), "metadata.team", name),
        "delegate": changed(
            agent_document(),
            "spec.delegates",
            [{"agent": name, "tools": [{"server": "crm", "allow": ["search_orders"]}]}],
        ),
        "server": changed(server_document(), "metadata.name", name),
        "team": team,
        "group": group_document(name, [DANA]),
        "inner group": group_document("outer", [], [name]),
        "agreement": agreement,
    }


def refused(fleet: Fleet, document: dict[str, Any]) -> None:
    before = fleet.control.position
    with pytest.raises((ManifestError, InvalidInputError)) as error:
        fleet.apply(document)
    assert fleet.control.position == before, "something of it was registered"
    shown = f"{error.value} {error.value.hint}"
    assert all(character.isascii() or character.isprintable() for character in shown), "the refusal itself deceives"


@pytest.mark.requirement("registry:person:look-alike")
@pytest.mark.parametrize("kind", ADDRESSES)
def test_an_address_that_is_not_plain_ascii_is_refused_wherever_it_stands(fleet: Fleet, kind: str) -> None:
    for document in places(ADDRESSES[kind]).values():
        refused(fleet, document)
    assert fleet.registry.catalogue.person(ADDRESSES[kind]) is None


@pytest.mark.requirement("registry:names:look-alike")
@pytest.mark.parametrize("kind", NAMES)
def test_a_name_outside_of_the_grammar_is_refused_whatever_it_is_the_name_of(fleet: Fleet, kind: str) -> None:
    for document in named(NAMES[kind]).values():
        refused(fleet, document)


@pytest.mark.requirement("registry:person:look-alike", "registry:names:look-alike")
@given(st.text(max_size=20).filter(lambda text: not text.isascii()))
def test_nothing_that_reads_as_somebody_once_it_is_normalised_is_found_as_them(text: str) -> None:
    fleet = _STAFFED
    for form in ("NFC", "NFKC", "NFD", "NFKD"):
        for address in (f"{text}@example.com", f"dana@{text}"):
            folded = unicodedata.normalize(form, address).casefold()
            assert fleet.registry.catalogue.person(address) is None
            if folded == DANA:
                with pytest.raises(ManifestError):
                    fleet.apply(person_document(address))


_STAFFED = Fleet.staffed()


@pytest.mark.requirement("registry:person:look-alike")
@pytest.mark.parametrize("address", ["DANA@example.com", "dAnA@EXAMPLE.COM", "Dana@example.com"])
def test_letter_case_makes_no_second_person_to_approve_what_the_first_asked_for(address: str) -> None:
    fleet = Fleet.staffed()
    fleet.grant(Role.SECURITY, fleet.person("sam@example.com"))
    with pytest.raises(ManifestError) as error:
        fleet.apply(person_document(address))
    assert [fault.code for fault in error.value.faults] == [Code.CONFLICT]
    assert len([one for one in fleet.registry.catalogue.persons() if one.email.casefold() == DANA]) == 1


@pytest.mark.requirement("registry:names:look-alike")
def test_plain_names_that_merely_resemble_each_other_stay_two_things_with_ids_of_their_own(fleet: Fleet) -> None:
    made = Fleet.staffed()
    one, other = made.person("dana-l@example.com"), made.person("dana-1@example.com")
    assert one != other
    made.apply(*example("crm"))
    names = ("desk-rn", "desk-m", "desk-l", "desk-1")
    ids = {made.apply(changed(agent_document(), "metadata.name", name))[0].id for name in names}
    assert len(ids) == 4
